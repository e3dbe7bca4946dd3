//! 128-bit integers, which neither MessagePack nor the numbers of most JSON readers have: decimal text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serializer};

/// `i128` or `u128`.
pub(super) trait Wide: FromStr + TryFrom<i128> + TryFrom<u128> + fmt::Display {
    /// The expectation in the error for any other value.
    const EXPECTED: &'static str;

    /// 16 bytes, as earlier builds wrote them.
    fn from_be_bytes(bytes: [u8; 16]) -> Self;
}

impl Wide for i128 {
    const EXPECTED: &'static str =
        "a 128-bit integer: as a string of digits, or as a number of at most 64 bits";

    fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self::from_be_bytes(bytes)
    }
}

impl Wide for u128 {
    const EXPECTED: &'static str =
        "a 128-bit integer that is not negative: as a string of digits, or as a number of at most 64 bits";

    fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self::from_be_bytes(bytes)
    }
}

pub(super) fn misfit<T: Wide, E: Error>() -> E {
    E::custom(format!("expected {}", T::EXPECTED))
}

pub(super) fn from_text<T: Wide, E: Error>(text: &str) -> Result<T, E> {
    // Rust takes a plus sign as well, which the schema does not.
    let text = (!text.starts_with('+')).then_some(text);
    text.and_then(|text| text.parse().ok()).ok_or_else(misfit::<T, E>)
}

pub(super) fn from_bytes<T: Wide, E: Error>(bytes: &[u8]) -> Result<T, E> {
    bytes.try_into().map(T::from_be_bytes).map_err(|_| misfit::<T, E>())
}

/// Takes numbers, text and bytes.
pub(super) struct OfNumber<T>(PhantomData<T>);

impl<T> OfNumber<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Wide> Visitor<'_> for OfNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.visit_i128(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.visit_u128(value.into())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<T, E> {
        T::try_from(value).map_err(|_| misfit::<T, E>())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<T, E> {
        T::try_from(value).map_err(|_| misfit::<T, E>())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        from_text(text)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        from_bytes(bytes)
    }
}

/// A type of a `#[model]`'s field that holds 128-bit integers.
///
/// Serde itself keeps none of them while it looks for the variant of an enum, or for the fields of a flattened struct
/// (serde-rs/serde#2230), so `#[model]` sends such fields as text itself.
pub trait WideField: Sized {
    /// Writes it.
    fn put<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    /// Reads it.
    fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl WideField for $type {
            fn put<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }

            fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(OfNumber::new())
            }
        }
    )*};
}

integers!(i128, u128);

/// Serde's own traits for a [`WideField`].
struct AsField<T>(T);

impl<T: WideField> serde::Serialize for AsField<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.put(serializer)
    }
}

impl<'de, T: WideField> Deserialize<'de> for AsField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::take(deserializer).map(Self)
    }
}

impl<T: WideField> WideField for Option<T> {
    fn put<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => serializer.serialize_some(&AsField(value)),
            None => serializer.serialize_none(),
        }
    }

    fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<AsField<T>>::deserialize(deserializer)?.map(|field| field.0))
    }
}

impl<T: WideField> WideField for Vec<T> {
    fn put<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(AsField))
    }

    fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<AsField<T>>::deserialize(deserializer)?.into_iter().map(|field| field.0).collect())
    }
}

#[doc(hidden)]
pub mod wide_field {
    //! `#[serde(with)]` for a field that holds 128-bit integers.
    use super::*;

    pub fn serialize<T: WideField, S: Serializer>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
        field.put(serializer)
    }

    pub fn deserialize<'de, T: WideField, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::take(deserializer)
    }
}
