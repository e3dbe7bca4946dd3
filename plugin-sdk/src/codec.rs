//! MessagePack of arguments, results and errors: named fields, human-readable times and ids.
//!
//! The host has already checked that arguments are one well-formed map (WIRE.md); what is left here is typing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes, bytes_field};
use crate::error::{CallError, Code};

/// Deepest nesting of a value (WIRE.md).
const DEPTH_MAX: usize = 64;

/// Encodes a value the way that it travels.
pub(crate) fn to_message_pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(128);
    let mut encoder = rmp_serde::Serializer::new(&mut bytes).with_human_readable().with_struct_map();
    value.serialize(&mut encoder)?;
    Ok(bytes)
}

/// Decodes one value.
pub(crate) fn from_message_pack<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<T, rmp_serde::decode::Error> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    decoder.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut decoder)
}

/// Encodes the arguments of a call.
#[doc(hidden)]
pub fn arguments_to<T: Serialize>(arguments: &T) -> Result<Vec<u8>, CallError> {
    to_message_pack(arguments).map_err(|error| {
        CallError::not_executed(Code::InvalidArgument, format!("the arguments cannot be encoded: {error}"))
    })
}

/// Decodes the arguments of a call, and on a fault says which one does not fit.
#[doc(hidden)]
pub fn arguments_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    from_message_pack(bytes).map_err(|_| CallError::not_executed(Code::InvalidArgument, misfit::<T>(bytes)))
}

/// Decodes once more, slower, to name the place of the fault.
fn misfit<T: DeserializeOwned>(bytes: &[u8]) -> String {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    decoder.set_max_depth(DEPTH_MAX);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut decoder) else {
        return "the arguments do not fit".to_owned();
    };
    let path = error.path().to_string();
    let cause = match error.inner() {
        rmp_serde::decode::Error::Syntax(text) => text.clone(),
        rmp_serde::decode::Error::TypeMismatch(marker) => format!("{} has the wrong type", kind_of(*marker)),
        other => other.to_string(),
    };
    if path == "." { cause } else { format!("argument `{path}`: {cause}") }
}

/// What a MessagePack marker begins, in words.
fn kind_of(marker: rmp::Marker) -> &'static str {
    use rmp::Marker as M;
    match marker {
        M::Null => "null",
        M::True | M::False => "a boolean",
        M::FixStr(_) | M::Str8 | M::Str16 | M::Str32 => "a string",
        M::Bin8 | M::Bin16 | M::Bin32 => "bytes",
        M::FixArray(_) | M::Array16 | M::Array32 => "an array",
        M::FixMap(_) | M::Map16 | M::Map32 => "an object",
        M::F32 | M::F64 => "a fraction",
        _ => "a number",
    }
}

/// Encodes a result.
#[doc(hidden)]
pub fn result_to<T: Serialize>(result: T) -> Result<Vec<u8>, CallError> {
    to_message_pack(&result)
        .map_err(|error| CallError::ran(Code::Internal, format!("the result cannot be encoded: {error}")))
}

/// Decodes a result.
#[doc(hidden)]
pub fn result_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    from_message_pack(bytes).map_err(|error| {
        CallError::ran(Code::Incompatible, format!("the result has another type than expected: {error}"))
    })
}

/// Encodes a result that the author wrote as `Vec<u8>`.
#[doc(hidden)]
pub fn result_bytes_to(result: Vec<u8>) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::with_capacity(result.len() + 5);
    let mut encoder = rmp_serde::Serializer::new(&mut bytes);
    bytes_field::serialize(&result, &mut encoder)
        .map_err(|error| CallError::ran(Code::Internal, format!("the result cannot be encoded: {error}")))?;
    Ok(bytes)
}

/// Decodes a result that the author wrote as `Vec<u8>`.
#[doc(hidden)]
pub fn result_bytes_from(bytes: &[u8]) -> Result<Vec<u8>, CallError> {
    result_from::<Bytes>(bytes).map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        id: u64,
        names: Vec<String>,
    }

    fn check_misfit(json: &serde_json::Value, expected: &str) {
        let error = arguments_from::<Arguments>(&to_message_pack(json).unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.executed(), Some(false));
        assert!(error.message().contains(expected), "{} lacks {expected}", error.message());
    }

    #[test]
    fn misfits_name_the_argument() {
        check_misfit(
            &serde_json::json!({"id": "x", "names": []}),
            "argument `id`: a string has the wrong type",
        );
        check_misfit(&serde_json::json!({"id": 1, "names": ["a", 2]}), "argument `names[1]`");
        check_misfit(&serde_json::json!({"id": 1}), "missing field `names`");
        check_misfit(&serde_json::json!({"id": 1, "names": [], "more": 1}), "unknown field `more`");
        let fits = serde_json::json!({"id": 1, "names": ["a"]});
        let arguments: Arguments = arguments_from(&to_message_pack(&fits).unwrap()).unwrap();
        assert_eq!((arguments.id, arguments.names.len()), (1, 1));
    }
}
