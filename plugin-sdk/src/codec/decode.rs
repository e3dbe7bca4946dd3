//! MessagePack to Rust values.
//!
//! It takes what `encode` writes and what builds of before wrote, and from JSON what JSON can only write so: whole
//! fractions for integers, and keys of maps as text.

mod access;
mod head;

use serde::Deserialize as _;
use serde::de::{Deserializer, Error as _, Visitor};

use self::access::{Entries, Extension, Variant};
use self::head::{Head, Reader};
use super::fault::Fault;
use super::{DEPTH_MAX, wide};

/// Whole fractions below this are exact: the next integer has a fraction of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// 2^64, and no integer of 64 bits is above it. A host hands over a fraction only where it is exactly what was written.
const INTEGER_MAX: f64 = 18_446_744_073_709_551_616.0;

/// Reads values from bytes.
pub(super) struct Decoder<'de> {
    bytes: Reader<'de>,
    /// A head that was read to be looked at.
    next: Option<Head<'de>>,
    /// Lists and maps that may still be opened.
    levels: usize,
    /// It reads a key of a map, which is text if it comes from JSON.
    in_key: bool,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes: Reader { rest: bytes }, next: None, levels: DEPTH_MAX, in_key: false }
    }

    /// Nothing may follow the value.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.bytes.rest.is_empty() {
            Ok(())
        } else {
            Err(Fault::new("bytes follow that belong to nothing"))
        }
    }

    fn head(&mut self) -> Result<Head<'de>, Fault> {
        self.next.take().map_or_else(|| self.bytes.head(), Ok)
    }

    /// Looks at the next head, which stays.
    fn peek(&mut self) -> Result<Head<'de>, Fault> {
        let head = self.head()?;
        self.next = Some(head);
        Ok(head)
    }

    /// The text of a key that stands for something else.
    fn key_text(&mut self) -> Result<Option<&'de str>, Fault> {
        match self.in_key.then(|| self.peek()).transpose()? {
            Some(Head::Text(text)) => Ok(Some(text)),
            _ => Ok(None),
        }
    }

    fn entries<T>(
        &mut self,
        count: usize,
        visit: impl FnOnce(&mut Entries<'_, 'de>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let in_key = std::mem::take(&mut self.in_key);
        self.levels = self.levels.checked_sub(1).ok_or_else(Fault::too_deep)?;
        let mut entries = Entries::new(self, count);
        let value = visit(&mut entries)?;
        if entries.left() > 0 {
            return Err(Fault::new(format!("{} more entries than expected", entries.left())));
        }
        self.levels += 1;
        self.in_key = in_key;
        Ok(value)
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let head = self.head()?;
        let fraction = match head {
            Head::Unsigned(value) => return visitor.visit_u64(value),
            Head::Signed(value) => return visitor.visit_i64(value),
            Head::Text(text) if self.in_key => {
                return match (text.parse(), text.parse()) {
                    (Ok(value), _) => visitor.visit_u64(value),
                    (_, Ok(value)) => visitor.visit_i64(value),
                    _ => Err(head.misfit()),
                };
            }
            Head::F32(value) => f64::from(value),
            Head::F64(value) => value,
            _ => return Err(head.misfit()),
        };
        // JSON Schema calls 1.0 an integer, and some languages write every number so.
        match fraction {
            _ if fraction.fract() != 0.0 => Err(head.misfit()),
            0.0..INTEGER_MAX => visitor.visit_u64(fraction as u64),
            _ if (i64::MIN as f64..0.0).contains(&fraction) => visitor.visit_i64(fraction as i64),
            _ => Err(head.misfit()),
        }
    }

    /// A 128-bit integer: decimal text; or a number, or 16 bytes as builds of before wrote.
    fn wide<T: wide::Wide>(&mut self) -> Result<T, Fault> {
        match self.peek()? {
            Head::Text(text) => {
                self.next = None;
                wide::from_text(text)
            }
            Head::Bytes(bytes) => {
                self.next = None;
                wide::from_bytes(bytes)
            }
            // What has more bits is written as digits, so this may be rounded.
            Head::F32(_) | Head::F64(_) if !self.is_small_fraction() => Err(wide::misfit::<T, Fault>()),
            Head::Unsigned(_) | Head::Signed(_) | Head::F32(_) | Head::F64(_) => {
                self.integer(wide::OfNumber::new())
            }
            head => Err(head.misfit()),
        }
    }

    fn is_small_fraction(&self) -> bool {
        match self.next {
            Some(Head::F32(value)) => f64::from(value).abs() < WHOLE_MAX,
            Some(Head::F64(value)) => value.abs() < WHOLE_MAX,
            _ => false,
        }
    }

    fn fraction<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.key_text()?.map(str::parse) {
            Some(Ok(value)) => {
                self.next = None;
                visitor.visit_f64(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A list or map as a key of a map is JSON in text where it comes from JSON.
    fn composed<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.key_text()? {
            Some(text) if text.starts_with(['[', '{']) => {
                self.next = None;
                let mut json = serde_json::Deserializer::from_str(text);
                let value = json.deserialize_any(visitor).map_err(Fault::custom)?;
                json.end().map_err(Fault::custom)?;
                Ok(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.head()? {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(value) => visitor.visit_u64(value),
            Head::Signed(value) => visitor.visit_i64(value),
            Head::F32(value) => visitor.visit_f32(value),
            Head::F64(value) => visitor.visit_f64(value),
            Head::Text(text) => visitor.visit_borrowed_str(text),
            Head::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Head::List(count) => self.entries(count, |entries| visitor.visit_seq(entries)),
            Head::Map(count) => self.entries(count, |entries| visitor.visit_map(entries)),
            Head::Some(around) => {
                self.next = Some(if around == 1 { Head::Nil } else { Head::Some(around - 1) });
                visitor.visit_some(self)
            }
            Head::Extension(kind, bytes) => visitor.visit_newtype_struct(Extension::new(kind, bytes)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.key_text()?.map(str::parse) {
            Some(Ok(value)) => {
                self.next = None;
                visitor.visit_bool(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = self.wide()?;
        visitor.visit_i128(value)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = self.wide()?;
        visitor.visit_u128(value)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.fraction(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.fraction(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek()? {
            Head::Nil => {
                self.next = None;
                visitor.visit_none()
            }
            Head::Some(_) => self.deserialize_any(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.head()? {
            // Builds of before wrote a unit struct as an empty list.
            Head::Nil | Head::List(0) => visitor.visit_unit(),
            Head::Text("null") if self.in_key => visitor.visit_unit(),
            head => Err(head.misfit()),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            super::FOREIGN_EXTENSION => self.deserialize_any(visitor),
            super::AS_IT_IS if self.next.is_none() => {
                let begin = self.bytes.rest;
                serde::de::IgnoredAny::deserialize(&mut *self)?;
                visitor.visit_borrowed_bytes(&begin[..begin.len() - self.bytes.rest.len()])
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.composed(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.composed(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.composed(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.composed(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.composed(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.peek()? {
            Head::Text(_) => visitor.visit_enum(Variant::without_contents(self)),
            Head::Map(1) => {
                self.next = None;
                self.entries(1, |entries| visitor.visit_enum(Variant::with_contents(entries)))
            }
            Head::Map(_) => Err(Fault::new("a variant with contents is an object with one name")),
            head => Err(head.misfit()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek()? {
            // Bytes that happen to be UTF-8 are not text.
            head @ Head::Bytes(_) => Err(head.misfit()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf identifier ignored_any
    }
}
