//! A failed call, as its caller sees it.

use std::fmt;

use bytes::Bytes;

use super::{DEPTH_MAX, ErrorCode, Executed, FunctionName};

/// The failure of a call, as its caller may see it: its texts name no paths, keys or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// Says if the body of the function ran.
    pub executed: Executed,
    /// The plugin's own code; with [`ErrorCode::Failed`] only.
    pub app_code: Option<String>,
    /// The plugin's own details, one MessagePack value; with [`ErrorCode::Failed`] only.
    pub details: Option<Bytes>,
}

impl Failure {
    /// A failure of a call whose body may have run.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), executed: Executed::Unknown, app_code: None, details: None }
    }

    /// A failure before the body ran.
    pub fn not_executed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { executed: Executed::No, ..Self::new(code, message) }
    }

    /// The function ran, and what it gives is longer than `bytes_max`: a fault of the function, or of its arguments, that
    /// making the call again does not mend.
    pub fn too_long(function: &FunctionName, bytes_max: usize) -> Self {
        let text = format!(
            "function `{function}` ran, and its result has more than {bytes_max} bytes ([server] answer_bytes_max): ask \
             it for less"
        );
        Self::executed(ErrorCode::Failed, text)
    }

    /// The same, of a result that is short enough in every other form.
    pub fn too_long_as_json(bytes_max: usize) -> Self {
        let text = format!(
            "the function ran, and its result has more than {bytes_max} bytes as JSON ([server] answer_bytes_max): ask \
             it for less, or for `Accept: application/msgpack`, which is shorter"
        );
        Self::executed(ErrorCode::Failed, text)
    }

    /// A result with something in it that JSON does not have.
    pub fn without_json(what: &str) -> Self {
        let text = format!(
            "the function ran, and its result has {what}, which JSON cannot show: ask with \
             `Accept: application/msgpack`"
        );
        Self::executed(ErrorCode::Failed, text)
    }

    /// Returns the size, in bytes, of the parts that a plugin wrote.
    pub fn own_bytes(&self) -> usize {
        let texts = [Some(&self.message), self.app_code.as_ref()];
        texts.into_iter().flatten().map(String::len).sum::<usize>()
            + self.details.as_ref().map_or(0, Bytes::len)
    }

    /// A failure after the body began.
    pub fn executed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { executed: Executed::Yes, ..Self::new(code, message) }
    }
}

impl Failure {
    /// The failure of a call that is made within too many others.
    pub fn too_deep(function: &FunctionName) -> Self {
        let text = format!(
            "the call of `{function}` is made within {DEPTH_MAX} others that all wait for it, which is the most: do its \
             functions call each other without an end?"
        );
        Self::not_executed(ErrorCode::LoopDetected, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}
