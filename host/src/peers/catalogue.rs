//! The catalogue of a peer: untrusted, so parsed under bounds, and only as far as it is needed.
//!
//! Only the functions that the peer runs itself count, so that no two hosts pass a call back and forth.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::base::{FunctionName, HostId};

/// The maximum number of functions of one peer.
const FUNCTIONS_MAX: usize = 10_000;
/// The maximum length of a description in bytes; the rest is cut off.
const DESCRIPTION_BYTES_MAX: usize = 2048;
/// The maximum size of a schema in bytes; `true`, which says nothing, replaces a larger one.
const SCHEMA_BYTES_MAX: usize = 16 * 1024;
/// The maximum size of all schemas of a peer in bytes: as a tree, a schema takes up to thirty times as much while it is
/// shown.
const SCHEMAS_BYTES_MAX: usize = 1024 * 1024;
/// The maximum length of a host's id in bytes, as in the config.
const HOST_ID_BYTES_MAX: usize = 64;

/// The functions that a peer runs itself.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The peer's id; nothing if it is not a valid one.
    pub host_id: Option<HostId>,
    functions: HashMap<FunctionName, Arc<Offered>>,
    /// The functions that the peer passes on to other hosts.
    elsewhere: HashSet<FunctionName>,
    /// The number of entries with invalid names.
    pub(super) misnamed: usize,
    /// The entity tag by which the peer recognises this catalogue.
    pub(super) tag: Option<HeaderValue>,
}

/// A function that a peer offers, in the peer's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The function may run twice.
    pub idempotent: bool,
    /// A text for people; without control characters other than line ends.
    pub description: String,
    arguments: Option<Box<str>>,
    result: Option<Box<str>>,
}

impl Offered {
    /// JSON Schema of the named arguments; `true` where it is unknown.
    pub fn arguments_schema(&self) -> Value {
        schema(self.arguments.as_deref())
    }

    /// JSON Schema of the result; `true` where it is unknown.
    pub fn result_schema(&self) -> Value {
        schema(self.result.as_deref())
    }
}

fn schema(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Bool(true))
}

/// The reason why an answer is not a catalogue, without any of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidCatalogue {
    #[error("the catalogue has more than {FUNCTIONS_MAX} functions")]
    TooMany,
    #[error("the answer is not a catalogue: line {line}, column {column}")]
    Malformed { line: usize, column: usize },
}

impl Catalogue {
    /// Parses the body of an answer.
    pub(super) fn parse(body: &[u8], tag: Option<HeaderValue>) -> Result<Self, InvalidCatalogue> {
        let document: Document<'_> = serde_json::from_slice(body)
            .map_err(|error| InvalidCatalogue::Malformed { line: error.line(), column: error.column() })?;
        let Functions { offered, elsewhere, misnamed, too_many, .. } = document.functions;
        if too_many {
            return Err(InvalidCatalogue::TooMany);
        }
        let is_id = |id: &&str| {
            (1..=HOST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let host_id = Some(&*document.host_id).filter(is_id).map(Into::into);
        Ok(Self { host_id, functions: offered, elsewhere, misnamed, tag })
    }

    /// Returns the function of that name.
    pub fn find(&self, name: &FunctionName) -> Option<&Arc<Offered>> {
        self.functions.get(name)
    }

    /// Returns true if the peer names the function at all, even as one that runs on another host.
    pub fn lists(&self, name: &FunctionName) -> bool {
        self.functions.contains_key(name) || self.elsewhere.contains(name)
    }

    /// Returns all names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &FunctionName> {
        self.functions.keys()
    }

    /// Returns the number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Returns true if there are no functions.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Returns true if another catalogue has functions of the same names.
    pub(super) fn has_names_of(&self, other: &Self) -> bool {
        self.len() == other.len() && self.names().all(|name| other.functions.contains_key(name))
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default, borrow)]
    host_id: Cow<'a, str>,
    functions: Functions,
}

#[derive(Deserialize)]
struct ListedFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    runs: Cow<'a, str>,
    #[serde(default)]
    idempotent: bool,
    #[serde(default, borrow)]
    description: Cow<'a, str>,
    #[serde(default)]
    arguments: SchemaText,
    #[serde(default)]
    result: SchemaText,
}

/// The entries that count.
#[derive(Default)]
struct Functions {
    offered: HashMap<FunctionName, Arc<Offered>>,
    elsewhere: HashSet<FunctionName>,
    schemas_bytes: usize,
    misnamed: usize,
    too_many: bool,
}

impl Functions {
    fn take(&mut self, entry: ListedFunction<'_>) {
        let name = FunctionName::new(&entry.name);
        if entry.runs != "local" {
            self.elsewhere.extend(name);
            return;
        }
        let Ok(name) = name else {
            self.misnamed += 1;
            return;
        };
        let arguments = self.keep(entry.arguments);
        let result = self.keep(entry.result);
        let description = described(&entry.description);
        self.offered
            .insert(name, Arc::new(Offered { idempotent: entry.idempotent, description, arguments, result }));
    }

    fn keep(&mut self, schema: SchemaText) -> Option<Box<str>> {
        let kept = schema.0.filter(|text| self.schemas_bytes + text.len() <= SCHEMAS_BYTES_MAX)?;
        self.schemas_bytes += kept.len();
        Some(kept)
    }
}

/// Returns a peer's text in a form that is safe on a terminal.
fn described(text: &str) -> String {
    let end = text.floor_char_boundary(DESCRIPTION_BYTES_MAX);
    text[..end].chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

impl<'de> Deserialize<'de> for Functions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Functions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of functions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Functions, A::Error> {
                let mut functions = Functions::default();
                let mut seen = 0;
                while let Some(entry) = entries.next_element::<ListedFunction<'de>>()? {
                    seen += 1;
                    if seen > FUNCTIONS_MAX {
                        functions.too_many = true;
                        while entries.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                    functions.take(entry);
                }
                Ok(functions)
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

/// Returns a schema as text, as a tree could take many times as much; nothing if it is too large.
#[derive(Default)]
struct SchemaText(Option<Box<str>>);

impl<'de> Deserialize<'de> for SchemaText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = Bounded { bytes: Vec::new(), is_over: false };
        let mut serializer = serde_json::Serializer::new(&mut text);
        serde_transcode::transcode(deserializer, &mut serializer).map_err(D::Error::custom)?;
        let Bounded { bytes, is_over } = text;
        if is_over {
            return Ok(Self(None));
        }
        Ok(Self(String::from_utf8(bytes).ok().map(String::into_boxed_str)))
    }
}

/// Keeps what fits, and takes the rest without keeping it.
struct Bounded {
    bytes: Vec<u8>,
    is_over: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_over |= self.bytes.len() + bytes.len() > SCHEMA_BYTES_MAX;
        if !self.is_over {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
