//! Bytes that travel as MessagePack `bin`, and as base64 in JSON.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes. On the wire a MessagePack `bin`; in JSON a base64 string.
///
/// A field or argument written `Vec<u8>` or `Option<Vec<u8>>` travels the same way; inside other types
/// (`Vec<Vec<u8>>`) use this one, since a `Vec<u8>` there is a sequence of numbers: right, but slow.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor).map(Self)
    }
}

impl schemars::JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

/// Takes `bin`, a base64 string, or a sequence of numbers.
struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or a base64 string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(bytes)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        BASE64_STANDARD
            .decode(text)
            .map_err(|_| E::custom("expected bytes as a base64 string (RFC 4648, padded)"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        // A claimed length is a hint from the other side, not something to allocate.
        let mut bytes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[doc(hidden)]
pub mod bytes_field {
    //! `#[serde(with)]` for a field written `Vec<u8>`.
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

#[doc(hidden)]
pub mod optional_bytes_field {
    //! `#[serde(with)]` for a field written `Option<Vec<u8>>`.
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(serde_bytes::Bytes::new).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes>::deserialize(deserializer)?.map(|bytes| bytes.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_message_pack, to_message_pack};

    #[test]
    fn bytes_are_bin_and_accept_base64() {
        let packed = to_message_pack(&Bytes(vec![1, 2, 3])).unwrap();
        assert_eq!(packed, [0xc4, 3, 1, 2, 3]);
        assert_eq!(from_message_pack::<Bytes>(&packed).unwrap().0, [1, 2, 3]);
        let text = to_message_pack("AQID").unwrap();
        assert_eq!(from_message_pack::<Bytes>(&text).unwrap().0, [1, 2, 3]);
        let numbers = to_message_pack(&[1, 2, 3]).unwrap();
        assert_eq!(from_message_pack::<Bytes>(&numbers).unwrap().0, [1, 2, 3]);
        assert!(from_message_pack::<Bytes>(&to_message_pack("not base64!").unwrap()).is_err());
    }
}
