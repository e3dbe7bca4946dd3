//! One MessagePack value as JSON text, written as it is read: no tree of values in between, which would take up to
//! forty times the memory of the value.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rmp::Marker;
use serde::Serialize;

use crate::wire::check_value;

/// Values up to this length are not counted before they are written.
const COUNTED_BYTES_MIN: usize = 64 << 10;
/// Longest JSON of a key that is not a string, in bytes.
const KEY_BYTES_MAX: usize = 1 << 20;

/// Turns one MessagePack value into JSON text of at most `bytes_max` bytes. Nothing but the text is allocated.
///
/// # Errors
/// A sentence, if it is not one well-formed value, if it has a list or map as a key inside of a key, or if its JSON is
/// longer.
pub fn to_json(value: &[u8], bytes_max: usize) -> Result<Vec<u8>, NoJson> {
    check_value(value).map_err(|error| NoJson::Malformed(error.to_string()))?;
    // A long value is gone through twice: text that grows as it is written would lie in memory twice.
    let length = match value.len() {
        ..=COUNTED_BYTES_MIN => value.len() * 2,
        _ => write(value, Text { kept: None, bytes: 0, bytes_max })?.bytes,
    };
    let kept = Some(Vec::with_capacity(length.min(bytes_max)));
    Ok(write(value, Text { kept, bytes: 0, bytes_max })?.kept.unwrap_or_default())
}

/// The MessagePack extension that a `Some` around nothing is (WIRE.md, "Values").
const SOME_OF_NOTHING: [u8; 1] = [83];

/// The reason for which a value has no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoJson {
    /// JSON has nothing for it that would be read as the same value.
    #[error("it has {0}")]
    Lacking(&'static str),
    /// It is not MessagePack, or JSON cannot show it.
    #[error("{0}")]
    Malformed(String),
    /// It would be longer than is allowed.
    #[error("it has more than {0} bytes as JSON")]
    TooLong(usize),
}

fn write(mut value: &[u8], mut to: Text) -> Result<Text, NoJson> {
    AsJson { rest: &mut value, to: &mut to, in_key: false }.value()?;
    Ok(to)
}

/// JSON text of at most `bytes_max` bytes.
struct Text {
    /// `None`: the text is only counted.
    kept: Option<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

impl io::Write for Text {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if text.len() > self.bytes_max - self.bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes += text.len();
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes MessagePack, which was checked to be well-formed, as JSON can have it.
struct AsJson<'a, 'v> {
    rest: &'a mut &'v [u8],
    to: &'a mut Text,
    /// It writes a key, or part of one. Its JSON is text inside of JSON, escaped once more; with keys inside of keys the
    /// text would double with every level, and a hundred bytes of a peer would fill the memory.
    in_key: bool,
}

impl<'v> AsJson<'_, 'v> {
    fn value(&mut self) -> Result<(), NoJson> {
        use Marker as M;
        let [marker] = self.array()?;
        let marker = Marker::from_u8(marker);
        let length = self.length(marker)?;
        match marker {
            M::Null | M::Reserved => self.put(b"null"),
            M::True => self.put(b"true"),
            M::False => self.put(b"false"),
            M::FixPos(value) => self.json(&value),
            M::FixNeg(value) => self.json(&value),
            M::U8 => self.number(u8::from_be_bytes),
            M::U16 => self.number(u16::from_be_bytes),
            M::U32 => self.number(u32::from_be_bytes),
            M::U64 => self.number(u64::from_be_bytes),
            M::I8 => self.number(i8::from_be_bytes),
            M::I16 => self.number(i16::from_be_bytes),
            M::I32 => self.number(i32::from_be_bytes),
            M::I64 => self.number(i64::from_be_bytes),
            M::F32 => {
                let number = f32::from_be_bytes(self.array()?);
                self.finite(number.is_finite(), &number)
            }
            M::F64 => {
                let number = f64::from_be_bytes(self.array()?);
                self.finite(number.is_finite(), &number)
            }
            M::FixStr(_) | M::Str8 | M::Str16 | M::Str32 => {
                let text = String::from_utf8_lossy(self.take(length)?);
                self.json(&text)
            }
            M::Bin8 | M::Bin16 | M::Bin32 => self.base64(length),
            M::FixExt1
            | M::FixExt2
            | M::FixExt4
            | M::FixExt8
            | M::FixExt16
            | M::Ext8
            | M::Ext16
            | M::Ext32 => match self.take(1)? == SOME_OF_NOTHING && length == 1 {
                true => Err(NoJson::Lacking("an option that has a value which is nothing itself")),
                // JSON does not show the types of others.
                false => self.base64(length),
            },
            M::FixArray(_) | M::Array16 | M::Array32 => self.list(length),
            M::FixMap(_) | M::Map16 | M::Map32 => self.map(length),
        }
    }

    /// Reads the length that a marker has or is followed by; 0 for one without.
    fn length(&mut self, marker: Marker) -> Result<usize, NoJson> {
        use Marker as M;
        let length = match marker {
            M::FixStr(length) | M::FixArray(length) | M::FixMap(length) => u32::from(length),
            M::Str8 | M::Bin8 | M::Ext8 => u32::from(u8::from_be_bytes(self.array()?)),
            M::Str16 | M::Bin16 | M::Ext16 | M::Array16 | M::Map16 => {
                u32::from(u16::from_be_bytes(self.array()?))
            }
            M::Str32 | M::Bin32 | M::Ext32 | M::Array32 | M::Map32 => u32::from_be_bytes(self.array()?),
            M::FixExt1 => 1,
            M::FixExt2 => 2,
            M::FixExt4 => 4,
            M::FixExt8 => 8,
            M::FixExt16 => 16,
            _ => 0,
        };
        usize::try_from(length).map_err(|_| cut_short())
    }

    fn number<const N: usize, T: Serialize>(&mut self, of: fn([u8; N]) -> T) -> Result<(), NoJson> {
        let number = of(self.array()?);
        self.json(&number)
    }

    fn list(&mut self, length: usize) -> Result<(), NoJson> {
        for place in 0..length {
            self.put(if place == 0 { b"[" } else { b"," })?;
            self.value()?;
        }
        self.put(if length == 0 { b"[]" } else { b"]" })
    }

    fn map(&mut self, length: usize) -> Result<(), NoJson> {
        for place in 0..length {
            self.put(if place == 0 { b"{" } else { b"," })?;
            self.key()?;
            self.put(b":")?;
            self.value()?;
        }
        self.put(if length == 0 { b"{}" } else { b"}" })
    }

    /// JSON has no NaN and no infinity, and `null` would be another value.
    fn finite(&mut self, is_finite: bool, number: &impl Serialize) -> Result<(), NoJson> {
        if is_finite { self.json(number) } else { Err(NoJson::Lacking("a number that is infinite or NaN")) }
    }

    /// A key of a JSON object: text as it is, bytes as base64, anything else as its JSON.
    fn key(&mut self) -> Result<(), NoJson> {
        use Marker as M;
        match self.rest.first().copied().map(M::from_u8) {
            Some(M::FixStr(_) | M::Str8 | M::Str16 | M::Str32 | M::Bin8 | M::Bin16 | M::Bin32) => {
                return self.value();
            }
            Some(M::FixArray(_) | M::Array16 | M::Array32 | M::FixMap(_) | M::Map16 | M::Map32)
                if self.in_key =>
            {
                let text = "a key has keys that are lists or maps themselves, which JSON cannot show";
                return Err(NoJson::Malformed(text.to_owned()));
            }
            _ => {}
        }
        // No longer than the text of the whole may be.
        let mut key = Text { kept: Some(Vec::new()), bytes: 0, bytes_max: KEY_BYTES_MAX };
        AsJson { rest: self.rest, to: &mut key, in_key: true }.value()?;
        self.json(&String::from_utf8_lossy(&key.kept.unwrap_or_default()))
    }

    fn base64(&mut self, length: usize) -> Result<(), NoJson> {
        let bytes = self.take(length)?;
        self.put(b"\"")?;
        // Whole groups of three bytes: only the last part has a padding.
        let mut text = [0; 4 << 10];
        for part in bytes.chunks(text.len() / 4 * 3) {
            let count = BASE64_STANDARD.encode_slice(part, &mut text).map_err(|_| cut_short())?;
            self.put(&text[..count])?;
        }
        self.put(b"\"")
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), NoJson> {
        serde_json::to_writer(&mut *self.to, value).map_err(|error| match error.is_io() {
            true => NoJson::TooLong(self.to.bytes_max),
            false => NoJson::Malformed(error.to_string()),
        })
    }

    fn put(&mut self, text: &[u8]) -> Result<(), NoJson> {
        self.to.write_all(text).map_err(|_| NoJson::TooLong(self.to.bytes_max))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoJson> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(cut_short)?;
        *self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'v [u8], NoJson> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
        *self.rest = rest;
        Ok(bytes)
    }
}

fn cut_short() -> NoJson {
    NoJson::Malformed("it reaches beyond the end of the message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_shown_and_text_is_as_long_as_allowed() {
        let all: &[(&[u8], &str)] = &[
            (b"\xca\x3f\x8c\xcc\xcd", "1.1"),
            (b"\xcc\xff", "255"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xe0", "-32"),
            (b"\xd9\x02\"\n", "\"\\\"\\n\""),
            (b"\xc4\x00", "\"\""),
            (b"\xd6\x05abcd", "\"YWJjZA==\""),
            (b"\xc7\x01\x05a", "\"YQ==\""),
            (b"\xdc\x00\x02\xc0\x90", "[null,[]]"),
            (b"\xde\x00\x02\xc2\xc3\xa1a\x80", "{\"false\":true,\"a\":{}}"),
            (b"\x81\xc4\x01a\xc0", "{\"YQ==\":null}"),
        ];
        for (value, text) in all {
            assert_eq!(to_json(value, text.len()).unwrap(), text.as_bytes());
            assert_eq!(to_json(value, text.len() - 1), Err(NoJson::TooLong(text.len() - 1)), "{text}");
        }
        let long = [&b"\xc6\x00\x10\x00\x00"[..], &vec![7; 1 << 20]].concat();
        let text = to_json(&long, usize::MAX).unwrap();
        assert_eq!(text.capacity(), text.len(), "it was counted before");
        assert_eq!(text, format!("\"{}\"", BASE64_STANDARD.encode(&long[5..])).into_bytes());
        assert_eq!(to_json(&long, text.len() - 1), Err(NoJson::TooLong(text.len() - 1)));
    }

    #[test]
    fn what_json_lacks_is_refused_and_not_made_null() {
        for value in [
            &b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"[..],
            b"\xca\x7f\x80\x00\x00",
            b"\x91\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
            b"\x91\xd4\x53\x01",
        ] {
            assert!(matches!(to_json(value, 99), Err(NoJson::Lacking(_))), "{value:x?}");
        }
    }

    #[test]
    fn keys_inside_of_keys_do_not_fill_the_memory() {
        // A pair of numbers as a key is shown, and so is a map.
        assert_eq!(to_json(b"\x81\x92\x01\x02\x03", 99).unwrap(), br#"{"[1,2]":3}"#);
        assert_eq!(to_json(b"\x81\x81\x01\xa1a\x03", 99).unwrap(), br#"{"{\"1\":\"a\"}":3}"#);
        for bytes in [
            b"\x81\x81\x80\xc0\xc0".to_vec(),
            b"\x81\x91\x81\x90\xc0\xc0".to_vec(),
            [[0x81; 60].as_slice(), b"\x80", &[0xc0; 60]].concat(),
        ] {
            assert!(to_json(&bytes, 99).unwrap_err().to_string().contains("a key has keys"));
        }
    }
}
