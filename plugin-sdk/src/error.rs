//! Errors of calls: what the host says, and what the author's functions say, with code and details kept.

use std::any::Any;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{from_message_pack, to_message_pack};

/// The reason that a call has no result. The names are stable; more may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// No such function.
    NotFound,
    /// The arguments do not fit.
    InvalidArgument,
    /// The other host does not know this one.
    Unauthenticated,
    /// This caller may not call this function.
    PermissionDenied,
    /// The time ran out.
    DeadlineExceeded,
    /// The call was given up.
    Cancelled,
    /// A limit was reached; later it may work.
    Overloaded,
    /// The host or plugin that would run it cannot at present.
    Unavailable,
    /// The call came back to a host that it had been through.
    LoopDetected,
    /// The frame was seen before, or is too old.
    Replayed,
    /// The two sides disagree on a format or type.
    Incompatible,
    /// The function panicked.
    Panic,
    /// The function returned its own error: see [`CallError::app_code`] and [`CallError::details`].
    Failed,
    /// A fault of the host, or a code that this version does not know.
    #[serde(other)]
    Internal,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A call that has no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CallError {
    code: Code,
    message: String,
    #[serde(default)]
    executed: Option<bool>,
    #[serde(default)]
    app_code: Option<String>,
    #[serde(default, with = "details_field")]
    #[schemars(with = "Option<serde_json::Value>")]
    details: Option<rmpv::Value>,
}

impl CallError {
    pub(crate) fn not_executed(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), executed: Some(false), app_code: None, details: None }
    }

    pub(crate) fn ran(code: Code, message: impl Into<String>) -> Self {
        Self { executed: Some(true), ..Self::not_executed(code, message) }
    }

    /// A failure with one of the general codes: `invalid_argument`, `overloaded` and so on, with their HTTP statuses.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::ran(code, message)
    }

    /// A failure of the author's own, with a code that callers can match on.
    pub fn failed(app_code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { app_code: Some(app_code.into()), ..Self::ran(Code::Failed, message) }
    }

    /// Adds details of any serde type; they arrive typed at the caller.
    ///
    /// Details that cannot be encoded are left out, and the message says so.
    #[must_use]
    pub fn with_details<T: Serialize>(mut self, details: &T) -> Self {
        let value = to_message_pack(details)
            .map_err(|error| error.to_string())
            .and_then(|bytes| details_field::read(&bytes));
        match value {
            Ok(value) => self.details = Some(value),
            Err(error) => self.message.push_str(&format!(" (its details cannot be encoded: {error})")),
        }
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns true if the body of the called function ran; `None` if that is unknown.
    #[must_use]
    pub fn executed(&self) -> Option<bool> {
        self.executed
    }

    /// The function's own code, with [`Code::Failed`].
    #[must_use]
    pub fn app_code(&self) -> Option<&str> {
        self.app_code.as_deref()
    }

    /// The function's own details, if there are any and they have this type.
    #[must_use]
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, self.details.as_ref()?).ok()?;
        from_message_pack(&bytes).ok()
    }

    /// Reads what came over the ABI with status err.
    pub(crate) fn from_wire(bytes: &[u8]) -> Self {
        from_message_pack(bytes).unwrap_or_else(|error| Self {
            executed: None,
            ..Self::ran(Code::Internal, format!("the error cannot be read: {error}"))
        })
    }

    /// Writes what goes over the ABI with status err.
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        to_message_pack(self).unwrap_or_default()
    }

    /// The same error as the outcome of a function that called the failed one: its own body did run.
    fn passed_on(mut self) -> Self {
        self.executed = Some(true);
        self
    }
}

mod details_field {
    //! Details are any MessagePack, and travel as it is.
    use serde::de::{Deserialize, Deserializer, Error, Visitor};
    use serde::{Serialize, Serializer};

    use crate::codec::{AS_IT_IS, DEPTH_MAX};

    pub(super) fn read(mut bytes: &[u8]) -> Result<rmpv::Value, String> {
        rmpv::decode::read_value_with_max_depth(&mut bytes, 2 * DEPTH_MAX).map_err(|error| error.to_string())
    }

    pub(super) fn serialize<S: Serializer>(
        details: &Option<rmpv::Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match details {
            Some(details) => details.serialize(serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<rmpv::Value>, D::Error> {
        let details = deserializer.deserialize_newtype_struct(AS_IT_IS, Details)?;
        Ok(Some(details).filter(|details| !details.is_nil()))
    }

    struct Details;

    impl<'de> Visitor<'de> for Details {
        type Value = rmpv::Value;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("details")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<rmpv::Value, E> {
            read(bytes).map_err(E::custom)
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, other: D) -> Result<rmpv::Value, D::Error> {
            rmpv::Value::deserialize(other)
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.app_code.as_deref().unwrap_or(&self.code.to_string()), self.message)
    }
}

impl std::error::Error for CallError {}

/// The result of a marked function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The ready-made error of marked functions: any error converts into it with `?`,
/// and a [`CallError`] keeps its code and details.
///
/// For errors that callers match on by type, write an enum and mark it [`macro@crate::proxy_error`].
pub struct Error(Box<CallError>);

impl Error {
    /// A failure with a code that callers can match on.
    pub fn new(app_code: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(CallError::failed(app_code, message)))
    }

    /// The error as the caller sees it.
    #[must_use]
    pub fn as_call_error(&self) -> &CallError {
        &self.0
    }

    /// Adds details of any serde type.
    #[must_use]
    pub fn with_details<T: Serialize>(self, details: &T) -> Self {
        Self(Box::new(self.0.with_details(details)))
    }
}

impl std::ops::Deref for Error {
    type Target = CallError;

    fn deref(&self) -> &CallError {
        &self.0
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        if let Some(call_error) = (&error as &dyn Any).downcast_ref::<CallError>() {
            return Self(Box::new(call_error.clone()));
        }
        Self::new("error", with_causes(&error))
    }
}

/// The error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// An error type of marked functions: it crosses hosts and arrives with its type.
///
/// [`Error`] is one; [`macro@crate::proxy_error`] makes one of an enum.
pub trait ProxyError: Sized {
    /// Returns the error that goes over the wire.
    fn to_call_error(&self) -> CallError;
    /// Returns the caller's error: the original one if this type made it, or a variant for any other.
    fn from_call_error(error: CallError) -> Self;
}

impl ProxyError for Error {
    fn to_call_error(&self) -> CallError {
        (*self.0).clone()
    }

    fn from_call_error(error: CallError) -> Self {
        Self(Box::new(error))
    }
}

impl ProxyError for CallError {
    fn to_call_error(&self) -> CallError {
        self.clone()
    }

    fn from_call_error(error: CallError) -> Self {
        error
    }
}

/// Returns the outcome of a function that ran and returned `error`.
pub(crate) fn outcome_of<E: ProxyError>(error: &E) -> CallError {
    error.to_call_error().passed_on()
}

/// Tries to read an author's error type out of the details of a failed call.
#[doc(hidden)]
pub fn failure_from_details<T: DeserializeOwned>(error: &CallError) -> Option<T> {
    (error.code == Code::Failed).then(|| error.details()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_error_round_trips_with_details() {
        let error = CallError::failed("no_such_user", "there is no user 7").with_details(&(7, "x"));
        let back = CallError::from_wire(&error.to_wire());
        assert_eq!(back, error);
        assert_eq!(back.details::<(u64, String)>(), Some((7, "x".to_owned())));
        assert_eq!(back.to_string(), "no_such_user: there is no user 7");
        for details in [None, Some(None), Some(Some(u128::MAX))] {
            let back =
                CallError::from_wire(&CallError::failed("x", "x").with_details(&(1, details)).to_wire());
            assert_eq!(back.details::<(u8, Option<Option<u128>>)>(), Some((1, details)));
        }
    }

    #[test]
    fn question_mark_keeps_the_code_of_a_call_error() {
        let inner = CallError::not_executed(Code::Unavailable, "the peer is down");
        let error = Error::from(inner);
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(outcome_of(&error).executed, Some(true), "the function that called did run");
        assert_eq!(Error::from(fmt::Error).app_code(), Some("error"));
    }

    #[test]
    fn unknown_code_is_internal() {
        let bytes =
            to_message_pack(&serde_json::json!({"code": "brand_new", "message": "m", "executed": null}))
                .unwrap();
        assert_eq!(CallError::from_wire(&bytes).code(), Code::Internal);
    }
}
