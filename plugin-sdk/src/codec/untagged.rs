//! Enums marked `#[serde(untagged)]`: a value is read as the first variant that fits, so what would arrive as another
//! one is refused before it leaves.

use std::cell::Cell;

use serde::de::DeserializeOwned;
use serde::ser::{Error, Serialize, Serializer};

use super::{DEPTH_MAX, encoded, from_message_pack};

/// An untagged enum, by `#[model]`.
pub trait Untagged: DeserializeOwned {
    /// The name of the variant that it is.
    fn variant(&self) -> &'static str;
    /// Writes it as serde itself does, without a tag.
    ///
    /// # Errors
    /// The errors of the serializer.
    fn serialize_untagged<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Serde's own form: for other formats than the wire's, and within a check.
    Plain,
    /// The wire's form, after a check.
    Checked,
    /// With the names of all variants, to compare them.
    Marked,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Plain) };
}

/// Sets the mode as long as it lives.
struct Within(Mode);

impl Within {
    fn new(mode: Mode) -> Self {
        Self(MODE.replace(mode))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

/// Has what `encode` writes checked.
pub(super) fn checked<T>(encode: impl FnOnce() -> T) -> T {
    let _within = Within::new(Mode::Checked);
    encode()
}

/// An enum without a tag, in any mode.
struct Plain<'a, T>(&'a T);

impl<T: Untagged> Serialize for Plain<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_untagged(serializer)
    }
}

/// `Serialize` of an untagged enum.
#[doc(hidden)]
pub fn serialize_untagged<T: Untagged + Serialize, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match MODE.get() {
        Mode::Plain => value.serialize_untagged(serializer),
        Mode::Marked => serializer.serialize_newtype_variant("", 0, value.variant(), &Plain(value)),
        Mode::Checked => {
            let _within = Within::new(Mode::Plain);
            check(value).map_err(S::Error::custom)?;
            value.serialize_untagged(serializer)
        }
    }
}

/// Reads the value back as its receiver will, and compares the two with all their variants.
fn check<T: Untagged + Serialize>(value: &T) -> Result<(), String> {
    let refused = |why: &str| {
        format!(
            "`{}` of an untagged enum would arrive as another value: {why}; give the variants contents that differ, \
             or the enum a tag (#[serde(tag = \"type\")])",
            value.variant()
        )
    };
    let plain = encoded(value, DEPTH_MAX).map_err(|error| error.to_string())?;
    let Ok(back) = from_message_pack::<T>(&plain) else {
        return Err(refused("no variant takes it back"));
    };
    let _within = Within::new(Mode::Marked);
    // A name is a level of its own.
    let marked = |value: &T| encoded(value, 2 * DEPTH_MAX).ok().and_then(|bytes| tree(&bytes));
    match marked(value) {
        Some(sent) if marked(&back) == Some(sent.clone()) => Ok(()),
        _ => Err(refused(&format!("it fits `{}` as well", back.variant()))),
    }
}

/// The value as it can be compared: maps and sets have no order of their own.
fn tree(bytes: &[u8]) -> Option<Vec<u8>> {
    let value = rmpv::decode::read_value(&mut &bytes[..]).ok()?;
    Some(sorted(value))
}

fn sorted(value: rmpv::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match value {
        rmpv::Value::Array(values) => {
            let mut values: Vec<_> = values.into_iter().map(sorted).collect();
            values.sort_unstable();
            bytes.push(b'[');
            values.iter().for_each(|value| put(value, &mut bytes));
        }
        rmpv::Value::Map(entries) => {
            let mut entries: Vec<_> =
                entries.into_iter().map(|(key, value)| (sorted(key), sorted(value))).collect();
            entries.sort_unstable();
            bytes.push(b'{');
            for (key, value) in &entries {
                put(key, &mut bytes);
                put(value, &mut bytes);
            }
        }
        value => {
            // Writing to a `Vec` does not fail.
            let _written = rmpv::encode::write_value(&mut bytes, &value);
        }
    }
    bytes
}

fn put(part: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&part.len().to_be_bytes());
    bytes.extend_from_slice(part);
}
