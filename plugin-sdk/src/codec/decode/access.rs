//! The contents of lists, maps, variants and extensions.

use serde::de::value::{BorrowedBytesDeserializer, SeqAccessDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::{Deserialize, de};

use super::{Decoder, Fault};

/// The entries of a list or map.
pub(in crate::codec) struct Entries<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl<'d, 'de> Entries<'d, 'de> {
    pub(super) fn new(decoder: &'d mut Decoder<'de>, count: usize) -> Self {
        Self { decoder, left: count }
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }

    fn key<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.left -= 1;
        self.decoder.in_key = true;
        let key = seed.deserialize(&mut *self.decoder)?;
        self.decoder.in_key = false;
        Ok(key)
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 { Ok(None) } else { self.key(seed).map(Some) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant of an enum: its name alone, or a map of its name to its contents.
pub(super) struct Variant<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    has_contents: bool,
}

impl<'d, 'de> Variant<'d, 'de> {
    pub(super) fn without_contents(decoder: &'d mut Decoder<'de>) -> Self {
        Self { decoder, has_contents: false }
    }

    pub(super) fn with_contents(entries: &'d mut Entries<'_, 'de>) -> Self {
        entries.left = 0;
        Self { decoder: entries.decoder, has_contents: true }
    }

    fn contents(&mut self) -> Result<&mut Decoder<'de>, Fault> {
        if self.has_contents {
            return Ok(self.decoder);
        }
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a variant with contents"))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let name = seed.deserialize(&mut *self.decoder)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        if self.has_contents { Deserialize::deserialize(self.decoder) } else { Ok(()) }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self.contents()?)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.contents()?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.contents()?.deserialize_struct("", fields, visitor)
    }
}

/// An extension of another meaning, as `rmpv` takes it: a list of its type and its bytes.
pub(super) struct Extension<'de> {
    kind: Option<i8>,
    bytes: Option<&'de [u8]>,
}

impl<'de> Extension<'de> {
    pub(super) fn new(kind: i8, bytes: &'de [u8]) -> SeqAccessDeserializer<Self> {
        SeqAccessDeserializer::new(Self { kind: Some(kind), bytes: Some(bytes) })
    }
}

impl<'de> SeqAccess<'de> for Extension<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if let Some(kind) = self.kind.take() {
            return seed.deserialize(kind.into_deserializer()).map(Some);
        }
        let bytes = self.bytes.take().map(BorrowedBytesDeserializer::new);
        bytes.map(|bytes| seed.deserialize(bytes)).transpose()
    }
}
