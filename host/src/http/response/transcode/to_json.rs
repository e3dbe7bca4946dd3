//! One MessagePack value as JSON text, written as it is read: no tree of values in between, which would take up to
//! forty times the memory of the value.

use std::io;

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
        _ => {
            let mut counted = Counted { bytes: 0, bytes_max };
            write(value, &mut counted)?;
            counted.bytes
        }
    };
    let mut text = Text { text: Vec::with_capacity(length.min(bytes_max)), bytes_max };
    write(value, &mut text)?;
    Ok(text.text)
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

fn write(mut value: &[u8], to: &mut impl Sink) -> Result<(), NoJson> {
    let mut writer = AsJson { rest: &mut value, to, in_key: false };
    writer.value()
}

/// Takes JSON text.
trait Sink {
    fn put(&mut self, text: &[u8]) -> Result<(), NoJson>;
}

/// Counts what is put.
struct Counted {
    bytes: usize,
    bytes_max: usize,
}

impl Sink for Counted {
    fn put(&mut self, text: &[u8]) -> Result<(), NoJson> {
        self.bytes += text.len();
        if self.bytes > self.bytes_max { Err(NoJson::TooLong(self.bytes_max)) } else { Ok(()) }
    }
}

struct Text {
    text: Vec<u8>,
    bytes_max: usize,
}

impl Sink for Text {
    fn put(&mut self, text: &[u8]) -> Result<(), NoJson> {
        if text.len() > self.bytes_max - self.text.len() {
            return Err(NoJson::TooLong(self.bytes_max));
        }
        self.text.extend_from_slice(text);
        Ok(())
    }
}

/// Puts what serde_json writes, which is the same for both.
struct Put<'a, S>(&'a mut S, Option<NoJson>);

impl<S: Sink> io::Write for Put<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes).map_err(|error| {
            self.1 = Some(error);
            io::ErrorKind::FileTooLarge
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes MessagePack, which was checked to be well-formed, as JSON can have it.
struct AsJson<'a, 'v, S> {
    rest: &'a mut &'v [u8],
    to: &'a mut S,
    /// It writes a key, or part of one. Its JSON is text inside of JSON, escaped once more; with keys inside of keys the
    /// text would double with every level, and a hundred bytes of a peer would fill the memory.
    in_key: bool,
}

impl<'v, S: Sink> AsJson<'_, 'v, S> {
    fn value(&mut self) -> Result<(), NoJson> {
        use Marker as M;
        match self.marker()? {
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
            M::FixStr(length) => self.text(length.into()),
            marker @ (M::Str8 | M::Str16 | M::Str32) => {
                let length = self.length(marker)?;
                self.text(length)
            }
            marker @ (M::Bin8 | M::Bin16 | M::Bin32) => {
                let length = self.length(marker)?;
                self.base64(length)
            }
            marker @ (M::FixExt1
            | M::FixExt2
            | M::FixExt4
            | M::FixExt8
            | M::FixExt16
            | M::Ext8
            | M::Ext16
            | M::Ext32) => {
                let length = self.length(marker)?;
                // JSON does not show the types of others.
                match self.take(1)? == SOME_OF_NOTHING && length == 1 {
                    true => Err(NoJson::Lacking("an option that has a value which is nothing itself")),
                    false => self.base64(length),
                }
            }
            M::FixArray(length) => self.list(length.into()),
            marker @ (M::Array16 | M::Array32) => {
                let length = self.length(marker)?;
                self.list(length)
            }
            M::FixMap(length) => self.map(length.into()),
            marker @ (M::Map16 | M::Map32) => {
                let length = self.length(marker)?;
                self.map(length)
            }
        }
    }

    /// The length that follows a marker.
    fn length(&mut self, marker: Marker) -> Result<usize, NoJson> {
        use Marker as M;
        let length = match marker {
            M::Str8 | M::Bin8 | M::Ext8 => u32::from(u8::from_be_bytes(self.array()?)),
            M::Str16 | M::Bin16 | M::Ext16 | M::Array16 | M::Map16 => {
                u32::from(u16::from_be_bytes(self.array()?))
            }
            M::Str32 | M::Bin32 | M::Ext32 | M::Array32 | M::Map32 => u32::from_be_bytes(self.array()?),
            M::FixExt2 => 2,
            M::FixExt4 => 4,
            M::FixExt8 => 8,
            M::FixExt16 => 16,
            _ => 1,
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
        let mut key = Text { text: Vec::new(), bytes_max: KEY_BYTES_MAX };
        AsJson { rest: self.rest, to: &mut key, in_key: true }.value()?;
        self.json(&String::from_utf8_lossy(&key.text))
    }

    fn text(&mut self, length: usize) -> Result<(), NoJson> {
        let text = String::from_utf8_lossy(self.take(length)?);
        self.json(&text)
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
        let mut put = Put(self.to, None);
        let written = serde_json::to_writer(&mut put, value);
        written.map_err(|error| put.1.unwrap_or_else(|| NoJson::Malformed(error.to_string())))
    }

    fn put(&mut self, text: &[u8]) -> Result<(), NoJson> {
        self.to.put(text)
    }

    fn marker(&mut self) -> Result<Marker, NoJson> {
        let [marker] = self.array()?;
        Ok(Marker::from_u8(marker))
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
