//! Callers and the functions that they may call: decided on parsed names, never on text.

use std::fmt;
use std::sync::Arc;

use super::{ErrorCode, Failure, FunctionName, HostId};

/// The caller of a function.
///
/// A call that a plugin makes counts as the plugin's own, not as its caller's: the right to call a function includes
/// everything that the function does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A plugin of this host, by name.
    Plugin(Arc<str>),
    /// A host that could seal, by the id of its last hop where it said one, with the key that it sealed with.
    Peer(Option<HostId>, Credential),
    /// An HTTP client of a host that names no callers, with what it was admitted by.
    Client(Credential),
    /// An HTTP client or a host with a key of a caller that the config names.
    Named(Arc<NamedCaller>),
    /// An HTTP client of a host that names callers, with a key that opens the path and is of none of them.
    Unnamed,
}

/// The key or certificate that admitted a caller without a name. It tells such callers apart, and is never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Nothing was asked for: callers of this kind count as one.
    #[default]
    None,
    /// A key that sealed a frame, by its id.
    Sealed([u8; 8]),
    /// A key of a rule, by a part of its digest.
    Key([u8; 16]),
    /// The name in a client's certificate.
    Certificate(CertificateName),
}

impl Credential {
    /// Returns the kind, and the bytes that differ within the kind.
    pub fn parts(&self) -> (&'static str, &[u8]) {
        match self {
            Self::None => ("", &[]),
            Self::Sealed(id) => ("sealed", id),
            Self::Key(digest) => ("key", digest),
            Self::Certificate(CertificateName::Dns(name)) => ("certificate", name.as_bytes()),
            Self::Certificate(CertificateName::Uri(uri)) => ("certificate of a URI", uri.as_bytes()),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A digest is enough to guess a weak key.
        f.write_str(self.parts().0)
    }
}

/// A caller of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCaller {
    /// Its name in the config, the log and refusals.
    pub name: Arc<str>,
    /// The functions that it may call.
    pub functions: FunctionPatterns,
}

/// The name in a client's certificate, with its kind: authorities constrain DNS names and URIs apart, so a URI never
/// stands for a DNS name of the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name, which has no colon.
    Dns(String),
    /// A URI.
    Uri(String),
}

impl CertificateName {
    /// Returns the name that a text of the config stands for: a URI has a colon after its scheme.
    pub fn of_text(text: String) -> Self {
        if text.contains(':') { Self::Uri(text) } else { Self::Dns(text) }
    }

    /// Returns the name without its kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Caller {
    /// Returns true if this caller may call the function.
    pub fn may_call(&self, function: &FunctionName) -> bool {
        match self {
            Self::Plugin(_) | Self::Peer(..) | Self::Client(_) => true,
            Self::Named(caller) => caller.functions.cover(function),
            Self::Unnamed => false,
        }
    }

    /// Returns true if this caller may learn that the function exists. A key without a caller opens the path, and shows
    /// all functions on it.
    pub fn may_see(&self, function: &FunctionName) -> bool {
        !matches!(self, Self::Named(_)) || self.may_call(function)
    }

    /// Returns the name of a named caller.
    pub fn name(&self) -> Option<&str> {
        if let Self::Named(caller) = self { Some(&caller.name) } else { None }
    }

    /// Lets a call of the function pass, or rejects it: with the same text whether the function exists or not.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn authorise(&self, function: &FunctionName) -> Result<(), Box<Failure>> {
        if self.may_call(function) {
            return Ok(());
        }
        let text = match self.name() {
            Some(name) => format!("caller `{name}` may not call function `{function}`"),
            None => format!(
                "the key of this request belongs to no caller, so it may not call function `{function}`: auth.callers \
                 in the host's config lists the callers"
            ),
        };
        Err(Box::new(Failure::not_executed(ErrorCode::PermissionDenied, text)))
    }
}

/// Some functions: one by its name, those below a name, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionPattern {
    /// `demo.f`: this one, and no other.
    Exactly(FunctionName),
    /// `demo.*`: `demo.f` and `demo.x.f`, not `demo` nor `demo2.f`.
    Below(FunctionName),
    /// `*`.
    All,
}

/// A text that is not a pattern of functions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("functions are named as `demo.f`, as `demo.*` for all below `demo`, or as `*` for all")]
pub struct InvalidPattern;

impl FunctionPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] for a star anywhere else, and for what no name of a function can be.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Ok(Self::All);
        }
        let pattern = match text.strip_suffix(".*") {
            Some(prefix) => FunctionName::new(prefix).map(Self::Below),
            None => FunctionName::new(text).map(Self::Exactly),
        };
        pattern.map_err(|_| InvalidPattern)
    }

    /// Returns true if the pattern covers the function.
    pub fn covers(&self, function: &FunctionName) -> bool {
        match self {
            Self::Exactly(name) => name == function,
            Self::Below(prefix) => {
                let rest = function.as_str().strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.starts_with('.'))
            }
            Self::All => true,
        }
    }
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => name.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}.*"),
            Self::All => f.write_str("*"),
        }
    }
}

/// A list of patterns; an empty one covers nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionPatterns(Vec<FunctionPattern>);

impl FunctionPatterns {
    /// Takes the patterns in any order.
    pub fn new(patterns: Vec<FunctionPattern>) -> Self {
        Self(patterns)
    }

    /// Returns true if a pattern of the list covers the function.
    pub fn cover(&self, function: &FunctionName) -> bool {
        self.0.iter().any(|pattern| pattern.covers(function))
    }

    /// Returns the patterns in their order in the config.
    pub fn iter(&self) -> impl Iterator<Item = &FunctionPattern> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
