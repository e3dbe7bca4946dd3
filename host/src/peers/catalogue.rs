//! What a peer says that it runs, of which nothing is believed: parsed under bounds, into what is needed only.
//!
//! Of the entries those count that the peer runs itself, so that no two hosts send a call to and fro.

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

/// Most functions of one peer.
const FUNCTIONS_MAX: usize = 10_000;
/// Longest part of a description that is kept, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2048;
/// Largest schema that is kept, in bytes; in the place of a larger one stands `true`, which says nothing.
const SCHEMA_BYTES_MAX: usize = 16 * 1024;
/// What all schemas of a peer may take, in bytes: a schema as a tree takes up to thirty times as much while it is shown.
const SCHEMAS_BYTES_MAX: usize = 1024 * 1024;
/// Longest id of a host in bytes, as in the config.
const HOST_ID_BYTES_MAX: usize = 64;

/// The functions that a peer runs itself.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// What the peer calls itself; nothing if that is no id of a host.
    pub host_id: Option<HostId>,
    functions: HashMap<FunctionName, Arc<Offered>>,
    /// Those that it passes on to other hosts.
    elsewhere: HashSet<FunctionName>,
    /// Entries whose names no function can have.
    pub(super) misnamed: usize,
    /// By which the peer recognises it.
    pub(super) tag: Option<HeaderValue>,
}

/// A function that a peer offers, in the peer's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Running it twice does no harm.
    pub idempotent: bool,
    /// For people; without control characters other than line ends.
    pub description: String,
    arguments: Option<Box<str>>,
    result: Option<Box<str>>,
}

impl Offered {
    /// JSON Schema of the named arguments; `true` where it is unknown.
    #[must_use]
    pub fn arguments_schema(&self) -> Value {
        schema(self.arguments.as_deref())
    }

    /// JSON Schema of the result; `true` where it is unknown.
    #[must_use]
    pub fn result_schema(&self) -> Value {
        schema(self.result.as_deref())
    }
}

fn schema(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Bool(true))
}

/// Why an answer is no catalogue. Nothing of the answer is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidCatalogue {
    #[error("the catalogue has more than {FUNCTIONS_MAX} functions")]
    TooMany,
    #[error("the answer is no catalogue: line {line}, column {column}")]
    Malformed { line: usize, column: usize },
}

impl Catalogue {
    /// Reads the body of an answer.
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

    /// The function of that name.
    #[must_use]
    pub fn find(&self, name: &FunctionName) -> Option<&Arc<Offered>> {
        self.functions.get(name)
    }

    /// Returns true if the peer names the function at all, be it as one that runs on another host.
    #[must_use]
    pub fn lists(&self, name: &FunctionName) -> bool {
        self.functions.contains_key(name) || self.elsewhere.contains(name)
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &FunctionName> {
        self.functions.keys()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Whether another one has the same functions, by name.
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
struct Entry<'a> {
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
    fn take(&mut self, entry: Entry<'_>) {
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

/// A text of a peer as it may stand on a terminal.
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
                while let Some(entry) = entries.next_element::<Entry<'de>>()? {
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

/// A schema as text: as a tree, it could take many times as much. Nothing where it is too large.
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
