//! Reads MessagePack from a slice: borrowed, bounded before anything is believed, never recursing without
//! a limit.
//!
//! Markers come from `rmp`; the rest is written out here, since every length has to be compared with what
//! is left of the message, and every error has to name the field.

use std::ops::Range;

use rmp::Marker;

use super::error::DecodeError;

/// Most arrays and maps inside each other (WIRE.md, "Plaintext"), the outermost counted.
pub const NESTING_MAX: usize = 64;

/// The head of one value, with its length or its whole content.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Nil,
    Boolean(bool),
    Unsigned(u64),
    /// Negative numbers, floats and extension types: this many bytes follow, which are skipped unread.
    Opaque(usize),
    Text(usize),
    Binary(usize),
    Array(usize),
    Map(usize),
}

/// A position in one message. Each method reads one value; `field` is what its errors call it.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position in bytes from the start of the message.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// Requires that nothing is left.
    pub(super) fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(DecodeError::Trailing { field }) }
    }

    /// An array of exactly `expected` entries.
    pub(super) fn fields(&mut self, field: &'static str, expected: usize) -> Result<(), DecodeError> {
        let found = self.array(field)?;
        if found == expected { Ok(()) } else { Err(DecodeError::FieldCount { field, found, expected }) }
    }

    /// An array; returns the number of entries, which is at most the number of bytes that are left.
    pub(super) fn array(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        match self.token(field)? {
            Token::Array(count) => self.entries(field, count, 1),
            _ => Err(DecodeError::Invalid { field, expected: "an array" }),
        }
    }

    /// A map; returns the number of pairs, at most half the number of bytes that are left.
    pub(super) fn map(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        match self.token(field)? {
            Token::Map(count) => self.entries(field, count, 2),
            _ => Err(DecodeError::Invalid { field, expected: "a map" }),
        }
    }

    /// An unsigned integer.
    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.token(field)? {
            Token::Unsigned(value) => Ok(value),
            _ => Err(DecodeError::Invalid { field, expected: "an unsigned integer" }),
        }
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.token(field)? {
            Token::Boolean(value) => Ok(value),
            _ => Err(DecodeError::Invalid { field, expected: "a boolean" }),
        }
    }

    /// A string of at most `bytes_max` bytes.
    pub(super) fn text(&mut self, field: &'static str, bytes_max: usize) -> Result<&'a str, DecodeError> {
        match self.token(field)? {
            Token::Text(length) if length <= bytes_max => self.utf8(field, length),
            Token::Text(_) => Err(DecodeError::TooLong { field, bytes_max }),
            _ => Err(DecodeError::Invalid { field, expected: "a string" }),
        }
    }

    /// A byte string; returns where it lies in the message.
    pub(super) fn binary(&mut self, field: &'static str) -> Result<Range<usize>, DecodeError> {
        match self.token(field)? {
            Token::Binary(length) => {
                let start = self.at;
                self.take(field, length)?;
                Ok(start..self.at)
            }
            _ => Err(DecodeError::Invalid { field, expected: "a byte string" }),
        }
    }

    /// Reads a nil if there is one.
    pub(super) fn nil(&mut self) -> bool {
        let is_nil = self.bytes.get(self.at) == Some(&Marker::Null.to_u8());
        self.at += usize::from(is_nil);
        is_nil
    }

    /// Nil, or what `read` reads.
    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.nil() { Ok(None) } else { read(self).map(Some) }
    }

    /// A string if there is one; anything else is skipped: for keys that may be unknown.
    pub(super) fn text_or_skip(
        &mut self,
        field: &'static str,
        levels: usize,
    ) -> Result<Option<&'a str>, DecodeError> {
        let start = self.at;
        if let Token::Text(length) = self.token(field)? {
            return self.utf8(field, length).map(Some);
        }
        self.at = start;
        self.skip(field, levels).map(|()| None)
    }

    /// One value of any type with at most `levels` arrays and maps inside each other.
    ///
    /// Recurses `levels` deep at most; strings have to be UTF-8.
    pub(super) fn skip(&mut self, field: &'static str, levels: usize) -> Result<(), DecodeError> {
        let count = match self.token(field)? {
            Token::Nil | Token::Boolean(_) | Token::Unsigned(_) => 0,
            Token::Opaque(length) | Token::Binary(length) => self.take(field, length).map(|_| 0)?,
            Token::Text(length) => self.utf8(field, length).map(|_| 0)?,
            Token::Array(_) | Token::Map(_) if levels == 0 => {
                return Err(DecodeError::TooDeep { field, nesting_max: NESTING_MAX });
            }
            Token::Array(count) => self.entries(field, count, 1)?,
            Token::Map(count) => self.entries(field, count, 2)? * 2,
        };
        for _ in 0..count {
            self.skip(field, levels - 1)?;
        }
        Ok(())
    }

    /// Refuses a number of entries that cannot fit into what is left, each of at least `bytes_each`.
    fn entries(&self, field: &'static str, count: usize, bytes_each: usize) -> Result<usize, DecodeError> {
        let left = self.bytes.len() - self.at;
        if count <= left / bytes_each { Ok(count) } else { Err(DecodeError::Truncated { field }) }
    }

    fn utf8(&mut self, field: &'static str, length: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(field, length)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(DecodeError::Truncated { field })?;
        self.at += length;
        Ok(taken)
    }

    /// A big-endian integer of `N` bytes.
    fn number<const N: usize>(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.take(field, N)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A length of `N` bytes, at most 4.
    fn length<const N: usize>(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        // One that a 32-bit host cannot even express is beyond the end all the more.
        usize::try_from(self.number::<N>(field)?).map_err(|_| DecodeError::Truncated { field })
    }

    fn token(&mut self, field: &'static str) -> Result<Token, DecodeError> {
        let marker = self.take(field, 1)?[0];
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::True => Token::Boolean(true),
            Marker::False => Token::Boolean(false),
            Marker::FixPos(value) => Token::Unsigned(u64::from(value)),
            Marker::U8 => Token::Unsigned(self.number::<1>(field)?),
            Marker::U16 => Token::Unsigned(self.number::<2>(field)?),
            Marker::U32 => Token::Unsigned(self.number::<4>(field)?),
            Marker::U64 => Token::Unsigned(self.number::<8>(field)?),
            Marker::FixNeg(_) => Token::Opaque(0),
            Marker::I8 => Token::Opaque(1),
            Marker::I16 => Token::Opaque(2),
            Marker::I32 | Marker::F32 => Token::Opaque(4),
            Marker::I64 | Marker::F64 => Token::Opaque(8),
            Marker::FixStr(length) => Token::Text(usize::from(length)),
            Marker::Str8 => Token::Text(self.length::<1>(field)?),
            Marker::Str16 => Token::Text(self.length::<2>(field)?),
            Marker::Str32 => Token::Text(self.length::<4>(field)?),
            Marker::Bin8 => Token::Binary(self.length::<1>(field)?),
            Marker::Bin16 => Token::Binary(self.length::<2>(field)?),
            Marker::Bin32 => Token::Binary(self.length::<4>(field)?),
            Marker::FixArray(count) => Token::Array(usize::from(count)),
            Marker::Array16 => Token::Array(self.length::<2>(field)?),
            Marker::Array32 => Token::Array(self.length::<4>(field)?),
            Marker::FixMap(count) => Token::Map(usize::from(count)),
            Marker::Map16 => Token::Map(self.length::<2>(field)?),
            Marker::Map32 => Token::Map(self.length::<4>(field)?),
            // An extension has one byte of type in front of its data.
            Marker::FixExt1 => Token::Opaque(2),
            Marker::FixExt2 => Token::Opaque(3),
            Marker::FixExt4 => Token::Opaque(5),
            Marker::FixExt8 => Token::Opaque(9),
            Marker::FixExt16 => Token::Opaque(17),
            Marker::Ext8 => Token::Opaque(self.length::<1>(field)?.saturating_add(1)),
            Marker::Ext16 => Token::Opaque(self.length::<2>(field)?.saturating_add(1)),
            Marker::Ext32 => Token::Opaque(self.length::<4>(field)?.saturating_add(1)),
            Marker::Reserved => {
                return Err(DecodeError::Invalid { field, expected: "MessagePack, which has no byte 0xc1" });
            }
        })
    }
}

#[cfg(test)]
mod tests;
