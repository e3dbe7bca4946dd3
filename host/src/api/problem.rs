//! Errors: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::FailedPlugin;

/// An error. The function's own `details`, of any form, follow as the last field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemView<'a> {
    /// `urn:framex:error:` and the code.
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    /// The text of the HTTP status.
    pub title: Cow<'a, str>,
    /// The HTTP status.
    pub status: u16,
    /// The cause, for people.
    pub detail: Cow<'a, str>,
    /// The stable code.
    pub code: Cow<'a, str>,
    /// The function's own code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_code: Option<Cow<'a, str>>,
    /// Of a call: whether the body of its function ran; `null` if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<Option<bool>>,
    /// Of a reload of the whole host: the plugins that made it fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_plugins: Option<Cow<'a, [FailedPlugin]>>,
    /// Of a change: the step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Cow<'a, str>>,
}
