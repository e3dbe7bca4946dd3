//! Rust values to MessagePack.
//!
//! As `rmp-serde` with named fields and human-readable times writes them, except for what would arrive as another value:
//! a `Some` around nothing is an extension, 128-bit integers are decimal text, and a unit struct is nil like `()`.

use rmp::Marker;
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::fault::Fault;
use super::{FOREIGN_EXTENSION, SOME_OF_NOTHING};

/// Appends values to bytes.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// Lists and maps that may still be opened.
    levels: usize,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, depth_max: usize) -> Self {
        Self { out, levels: depth_max }
    }

    fn open(&mut self) -> Result<(), Fault> {
        self.levels = self.levels.checked_sub(1).ok_or_else(Fault::too_deep)?;
        Ok(())
    }

    fn marker(&mut self, marker: Marker) {
        self.out.push(marker.to_u8());
    }

    fn list(&mut self, length: Option<usize>) -> Result<Entries<'_, 'a>, Fault> {
        self.entries(length, Marker::Array32, rmp::encode::write_array_len)
    }

    fn map(&mut self, length: Option<usize>) -> Result<Entries<'_, 'a>, Fault> {
        self.entries(length, Marker::Map32, rmp::encode::write_map_len)
    }

    /// Opens a list or map; a length that is not known yet is filled in at its end.
    fn entries(
        &mut self,
        length: Option<usize>,
        marker: Marker,
        write: fn(&mut Vec<u8>, u32) -> Result<Marker, rmp::encode::ValueWriteError>,
    ) -> Result<Entries<'_, 'a>, Fault> {
        self.open()?;
        let length = match length {
            Some(length) => {
                let announced = u32::try_from(length).map_err(|_| Fault::new("it has too many entries"))?;
                write(self.out, announced).map_err(written)?;
                Length::Announced(announced)
            }
            None => {
                self.marker(marker);
                self.out.extend_from_slice(&[0; 4]);
                Length::At(self.out.len() - 4)
            }
        };
        Ok(Entries { encoder: self, length, count: 0 })
    }

    /// The map of one entry that an enum's variant with contents is. It counts as a level until the contents end.
    fn variant(&mut self, variant: &str) -> Result<(), Fault> {
        self.open()?;
        rmp::encode::write_map_len(self.out, 1).map_err(written)?;
        self.serialize_str(variant)
    }

    /// An extension of another meaning, as `rmpv` hands it over: its type and its bytes.
    fn extension<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let pair = super::to_message_pack(value)?;
        let (kind, bytes): (i8, serde_bytes::ByteBuf) = super::from_message_pack(&pair)?;
        let length = u32::try_from(bytes.len()).map_err(|_| Fault::new("an extension is too long"))?;
        rmp::encode::write_ext_meta(self.out, length, kind).map_err(written)?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Writing to a `Vec` does not fail; the types say that it may.
fn written(error: rmp::encode::ValueWriteError) -> Fault {
    Fault::new(error.to_string())
}

enum Length {
    /// It was written before the entries.
    Announced(u32),
    /// It is written here after them.
    At(usize),
}

/// The entries of an open list or map.
pub(super) struct Entries<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    length: Length,
    count: u32,
}

impl Entries<'_, '_> {
    fn entry<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count = self.count.checked_add(1).ok_or_else(|| Fault::new("it has too many entries"))?;
        value.serialize(&mut *self.encoder)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        self.encoder.serialize_str(name)?;
        self.entry(value)
    }

    fn close(self) -> Result<(), Fault> {
        self.encoder.levels += 1;
        match self.length {
            Length::Announced(announced) if announced != self.count => {
                Err(Fault::new(format!("it announces {announced} entries and has {}", self.count)))
            }
            Length::Announced(_) => Ok(()),
            Length::At(at) => {
                self.encoder.out[at..at + 4].copy_from_slice(&self.count.to_be_bytes());
                Ok(())
            }
        }
    }

    /// Closes the contents of a variant, and the variant.
    fn close_variant(self) -> Result<(), Fault> {
        self.encoder.levels += 1;
        self.close()
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty => $write:ident as $wide:ty,)*) => {$(
        fn $method(self, value: $type) -> Result<(), Fault> {
            rmp::encode::$write(self.out, <$wide>::from(value)).map(drop).map_err(written)
        }
    )*};
}

impl<'e, 'a> Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Entries<'e, 'a>;
    type SerializeTuple = Entries<'e, 'a>;
    type SerializeTupleStruct = Entries<'e, 'a>;
    type SerializeTupleVariant = Entries<'e, 'a>;
    type SerializeMap = Entries<'e, 'a>;
    type SerializeStruct = Entries<'e, 'a>;
    type SerializeStructVariant = Entries<'e, 'a>;

    numbers! {
        serialize_i8: i8 => write_sint as i64,
        serialize_i16: i16 => write_sint as i64,
        serialize_i32: i32 => write_sint as i64,
        serialize_i64: i64 => write_sint as i64,
        serialize_u8: u8 => write_uint as u64,
        serialize_u16: u16 => write_uint as u64,
        serialize_u32: u32 => write_uint as u64,
        serialize_u64: u64 => write_uint as u64,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        rmp::encode::write_f32(self.out, value).map_err(written)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        rmp::encode::write_f64(self.out, value).map_err(written)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        self.serialize_str(&value.to_string())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        self.serialize_str(&value.to_string())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.marker(if value { Marker::True } else { Marker::False });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        rmp::encode::write_str(self.out, value).map_err(written)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        rmp::encode::write_bin(self.out, value).map_err(written)
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_unit()
    }

    /// `Some` is its value, and around a value that is nil itself an extension: it would arrive as `None`.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let at = self.out.len();
        value.serialize(&mut *self)?;
        let around = match *self.out.get(at..).unwrap_or_default() {
            [nil] if nil == Marker::Null.to_u8() => 0,
            [extension, kind, around]
                if extension == Marker::FixExt1.to_u8() && kind == SOME_OF_NOTHING.to_be_bytes()[0] =>
            {
                around
            }
            _ => return Ok(()),
        };
        let around = around.checked_add(1).ok_or_else(Fault::too_deep)?;
        self.out.truncate(at);
        rmp::encode::write_ext_meta(self.out, 1, SOME_OF_NOTHING).map_err(written)?;
        self.out.push(around);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.marker(Marker::Null);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        if name == FOREIGN_EXTENSION {
            return self.extension(value);
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.levels += 1;
        Ok(())
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Entries<'e, 'a>, Fault> {
        self.list(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Entries<'e, 'a>, Fault> {
        self.list(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Entries<'e, 'a>, Fault> {
        self.list(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Entries<'e, 'a>, Fault> {
        self.variant(variant)?;
        self.list(Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Entries<'e, 'a>, Fault> {
        self.map(length)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Entries<'e, 'a>, Fault> {
        self.map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Entries<'e, 'a>, Fault> {
        self.variant(variant)?;
        self.map(Some(length))
    }
}

macro_rules! entries {
    ($($trait:ident: $method:ident($($name:ident: $type:ty)?) => $entry:ident, $close:ident;)*) => {$(
        impl $trait for Entries<'_, '_> {
            type Ok = ();
            type Error = Fault;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Result<(), Fault> {
                self.$entry($($name,)? value)
            }

            fn end(self) -> Result<(), Fault> {
                self.$close()
            }
        }
    )*};
}

entries! {
    SerializeSeq: serialize_element() => entry, close;
    SerializeTuple: serialize_element() => entry, close;
    SerializeTupleStruct: serialize_field() => entry, close;
    SerializeTupleVariant: serialize_field() => entry, close_variant;
    SerializeStruct: serialize_field(name: &'static str) => field, close;
    SerializeStructVariant: serialize_field(name: &'static str) => field, close_variant;
}

impl SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.entry(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}
