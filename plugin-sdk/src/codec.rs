//! MessagePack of arguments, results and errors: named fields, human-readable times and ids.
//!
//! A value is the same on every host: distinctions that its bytes would lose are carried (`encode`), or the value is
//! refused before it leaves (`untagged`). The host has already checked that arguments are one well-formed map (WIRE.md); what is
//! left here is typing.

mod decode;
mod encode;
mod fault;
mod untagged;
mod wide;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::decode::Decoder;
use self::encode::Encoder;
pub(crate) use self::fault::Fault;
pub use self::untagged::{Untagged, serialize_untagged};
pub use self::wide::wide_field;
use crate::bytes::Bytes;
use crate::error::{CallError, Code};

/// Deepest nesting of a value (WIRE.md).
pub(crate) const DEPTH_MAX: usize = 64;

/// The MessagePack extension that a `Some` around nothing is (WIRE.md, "Values"): `Some(None)`, `Some(())`. Its one byte
/// counts the `Some`.
const SOME_OF_NOTHING: i8 = 83;

/// By this name a value asks for its bytes as they are.
pub(crate) const AS_IT_IS: &str = "$framex_sdk::as_it_is";

/// By this name `rmpv` hands over extensions of other meanings, and takes them.
const FOREIGN_EXTENSION: &str = rmpv::MSGPACK_EXT_STRUCT_NAME;

/// Encodes a value the way that it travels.
pub(crate) fn to_message_pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Fault> {
    untagged::checked(|| encoded(value, DEPTH_MAX))
}

/// Encodes a value of at most `depth_max` levels, without a look at untagged enums.
fn encoded<T: Serialize + ?Sized>(value: &T, depth_max: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(128);
    value.serialize(&mut Encoder::new(&mut bytes, depth_max))?;
    Ok(bytes)
}

/// Decodes one value.
pub(crate) fn from_message_pack<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Fault> {
    let mut decoder = Decoder::new(bytes);
    let value = T::deserialize(&mut decoder)?;
    decoder.finish()?;
    Ok(value)
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
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut Decoder::new(bytes)) else {
        return "the arguments do not fit".to_owned();
    };
    let (path, cause) = (error.path().to_string(), error.inner());
    if path == "." { cause.to_string() } else { format!("argument `{path}`: {cause}") }
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
    result_to(serde_bytes::ByteBuf::from(result))
}

/// Decodes a result that the author wrote as `Vec<u8>`.
#[doc(hidden)]
pub fn result_bytes_from(bytes: &[u8]) -> Result<Vec<u8>, CallError> {
    result_from::<Bytes>(bytes).map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests;
