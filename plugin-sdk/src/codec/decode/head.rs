//! The heads of MessagePack values.

use rmp::Marker;

use crate::codec::SOME_OF_NOTHING;
use crate::codec::fault::Fault;

/// The head of a value: its type and length, or all of it if it has no entries.
#[derive(Debug, Clone, Copy)]
pub(in crate::codec) enum Head<'de> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    List(usize),
    Map(usize),
    /// This number of `Some` around nothing.
    Some(u8),
    Extension(i8, &'de [u8]),
}

impl Head<'_> {
    /// In words, for people.
    fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Signed(_) => "a number",
            Self::F32(_) | Self::F64(_) => "a fraction",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "an array",
            Self::Map(_) => "an object",
            Self::Some(_) => "an option",
            Self::Extension(..) => "an extension",
        }
    }

    pub(super) fn misfit(&self) -> Fault {
        Fault::new(format!("{} has the wrong type", self.kind()))
    }
}

/// Bytes that have not been read yet.
pub(super) struct Reader<'de> {
    pub(super) rest: &'de [u8],
}

impl<'de> Reader<'de> {
    fn take(&mut self, length: usize) -> Result<&'de [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(Fault::cut_short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(Fault::cut_short)?;
        self.rest = rest;
        Ok(*array)
    }

    fn text(&mut self, length: usize) -> Result<Head<'de>, Fault> {
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Head::Text).map_err(|_| Fault::new("a string is not valid UTF-8"))
    }

    /// A length of one, two or four bytes.
    fn length<const N: usize>(&mut self) -> Result<usize, Fault> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// Each entry takes at least one byte, so a count that is larger claims what is not there.
    fn count(&self, count: usize) -> Result<usize, Fault> {
        if count > self.rest.len() { Err(Fault::cut_short()) } else { Ok(count) }
    }

    fn extension(&mut self, length: usize) -> Result<Head<'de>, Fault> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok(match (kind, self.take(length)?) {
            (SOME_OF_NOTHING, [around]) if *around > 0 => Head::Some(*around),
            (kind, bytes) => Head::Extension(kind, bytes),
        })
    }

    /// Reads what a value begins with.
    pub(super) fn head(&mut self) -> Result<Head<'de>, Fault> {
        use Marker as M;
        let [marker] = self.array()?;
        Ok(match M::from_u8(marker) {
            M::Null => Head::Nil,
            M::True => Head::Bool(true),
            M::False => Head::Bool(false),
            M::FixPos(value) => Head::Unsigned(value.into()),
            M::FixNeg(value) => Head::Signed(value.into()),
            M::U8 => Head::Unsigned(u8::from_be_bytes(self.array()?).into()),
            M::U16 => Head::Unsigned(u16::from_be_bytes(self.array()?).into()),
            M::U32 => Head::Unsigned(u32::from_be_bytes(self.array()?).into()),
            M::U64 => Head::Unsigned(u64::from_be_bytes(self.array()?)),
            M::I8 => Head::Signed(i8::from_be_bytes(self.array()?).into()),
            M::I16 => Head::Signed(i16::from_be_bytes(self.array()?).into()),
            M::I32 => Head::Signed(i32::from_be_bytes(self.array()?).into()),
            M::I64 => Head::Signed(i64::from_be_bytes(self.array()?)),
            M::F32 => Head::F32(f32::from_be_bytes(self.array()?)),
            M::F64 => Head::F64(f64::from_be_bytes(self.array()?)),
            M::FixStr(length) => self.text(length.into())?,
            M::Str8 => self.length::<1>().and_then(|length| self.text(length))?,
            M::Str16 => self.length::<2>().and_then(|length| self.text(length))?,
            M::Str32 => self.length::<4>().and_then(|length| self.text(length))?,
            M::Bin8 => Head::Bytes(self.length::<1>().and_then(|length| self.take(length))?),
            M::Bin16 => Head::Bytes(self.length::<2>().and_then(|length| self.take(length))?),
            M::Bin32 => Head::Bytes(self.length::<4>().and_then(|length| self.take(length))?),
            M::FixArray(count) => Head::List(self.count(count.into())?),
            M::Array16 => Head::List(self.length::<2>().and_then(|count| self.count(count))?),
            M::Array32 => Head::List(self.length::<4>().and_then(|count| self.count(count))?),
            M::FixMap(count) => Head::Map(self.count(count.into())?),
            M::Map16 => Head::Map(self.length::<2>().and_then(|count| self.count(count))?),
            M::Map32 => Head::Map(self.length::<4>().and_then(|count| self.count(count))?),
            M::FixExt1 => self.extension(1)?,
            M::FixExt2 => self.extension(2)?,
            M::FixExt4 => self.extension(4)?,
            M::FixExt8 => self.extension(8)?,
            M::FixExt16 => self.extension(16)?,
            M::Ext8 => self.length::<1>().and_then(|length| self.extension(length))?,
            M::Ext16 => self.length::<2>().and_then(|length| self.extension(length))?,
            M::Ext32 => self.length::<4>().and_then(|length| self.extension(length))?,
            M::Reserved => return Err(Fault::new("MessagePack has no byte 0xc1")),
        })
    }
}
