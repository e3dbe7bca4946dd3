//! The envelope of a request: a MessagePack array of seven fields (WIRE.md, "Plaintext").

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::base::{FunctionName, HOPS_MAX, HostId, IDEMPOTENCY_KEY_BYTES_MAX};

use super::check::{NESTING_MAX, check_arguments};
use super::error::DecodeError;
use super::reader::Reader;
use super::writer::Writer;

/// Longest host id in bytes.
pub const HOST_ID_BYTES_MAX: usize = 64;
/// Longest `traceparent` in bytes. Version 00 of W3C Trace Context has 55; later versions may append.
pub const TRACEPARENT_BYTES_MAX: usize = 256;

/// Name of the extension that tells a host that it is talking to itself.
const INSTANCE: &str = "instance";
/// What errors call the envelope as a whole.
const ENVELOPE: &str = "request envelope";
/// Fields of the envelope.
const FIELDS: usize = 7;
/// Bytes of everything in the envelope whose length does not vary, at their longest.
const FIXED_BYTES_MAX: usize = 68;
/// Bytes in front of the content of a string at their longest.
const TEXT_HEAD_BYTES_MAX: usize = 5;

/// One call as it travels between hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEnvelope {
    /// What is called.
    pub function: FunctionName,
    /// One MessagePack map from name to value; checked with [`check_arguments`] on receipt.
    pub arguments: Bytes,
    /// What is left of the time for this call, in milliseconds; 0 is no deadline.
    pub remaining_ms: u64,
    /// The hosts that the call has been through, oldest first; at most [`HOPS_MAX`].
    pub hops: Vec<HostId>,
    /// W3C `traceparent`, at most [`TRACEPARENT_BYTES_MAX`].
    pub traceparent: Option<Arc<str>>,
    /// Stays the same over the attempts of one call; at most [`IDEMPOTENCY_KEY_BYTES_MAX`].
    pub idempotency_key: Option<Bytes>,
    /// Extension `instance`: 16 random bytes of the sending process, which only itself recognises.
    pub instance: Option<[u8; 16]>,
}

impl RequestEnvelope {
    /// Writes the envelope straight behind the room for the header: one allocation.
    pub(super) fn encode(&self) -> Writer {
        let mut writer = Writer::new(self.bytes_max());
        writer.array(FIELDS);
        writer.text(self.function.as_str());
        writer.binary(&self.arguments);
        writer.unsigned(self.remaining_ms);
        writer.array(self.hops.len());
        self.hops.iter().for_each(|hop| writer.text(hop));
        match &self.traceparent {
            Some(text) => writer.text(text),
            None => writer.nil(),
        }
        match &self.idempotency_key {
            Some(key) => writer.binary(key),
            None => writer.nil(),
        }
        match &self.instance {
            Some(instance) => {
                writer.small_map(1);
                writer.text(INSTANCE);
                writer.binary(instance);
            }
            None => writer.small_map(0),
        }
        writer
    }

    /// At least as many bytes as [`RequestEnvelope::encode`] writes.
    fn bytes_max(&self) -> usize {
        FIXED_BYTES_MAX
            + self.function.as_str().len()
            + self.arguments.len()
            + self.hops.iter().map(|hop| hop.len() + TEXT_HEAD_BYTES_MAX).sum::<usize>()
            + self.traceparent.as_ref().map_or(0, |text| text.len())
            + self.idempotency_key.as_ref().map_or(0, Bytes::len)
    }

    /// Reads the envelope; the arguments are what is left of `plaintext`, not a copy.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that WIRE.md does not describe.
    pub(super) fn decode(plaintext: BytesMut, nesting_max: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&plaintext);
        reader.fields(ENVELOPE, FIELDS)?;
        let function = function_name(&mut reader)?;
        let range = reader.binary("arguments")?;
        let remaining_ms = reader.unsigned("remaining time")?;
        let hops = hops(&mut reader)?;
        let traceparent = reader.optional(|reader| reader.text("traceparent", TRACEPARENT_BYTES_MAX))?;
        let traceparent = traceparent.map(Arc::from);
        let idempotency_key = reader.optional(|reader| idempotency_key(reader, &plaintext))?;
        let instance = read_extensions(&mut reader, &plaintext)?;
        reader.finish(ENVELOPE)?;
        check_arguments(&plaintext[range.clone()], nesting_max)?;
        let arguments = keep(plaintext, range);
        Ok(Self { function, arguments, remaining_ms, hops, traceparent, idempotency_key, instance })
    }
}

/// The id of a host: 1 to [`HOST_ID_BYTES_MAX`] bytes of printable ASCII without spaces.
pub(super) fn host_id(reader: &mut Reader<'_>, field: &'static str) -> Result<HostId, DecodeError> {
    let text = reader.text(field, HOST_ID_BYTES_MAX)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err(DecodeError::Invalid { field, expected: "1 to 64 printable ASCII characters without spaces" })
    }
}

/// Turns a buffer into the part of it that is still needed, without copying.
pub(super) fn keep(mut buffer: BytesMut, range: Range<usize>) -> Bytes {
    buffer.truncate(range.end);
    buffer.advance(range.start);
    buffer.freeze()
}

fn function_name(reader: &mut Reader<'_>) -> Result<FunctionName, DecodeError> {
    let field = "function name";
    let text = reader.text(field, FunctionName::BYTES_MAX)?;
    FunctionName::new(text).map_err(|_| DecodeError::Invalid {
        field,
        expected: "1 to 255 characters of A-Z a-z 0-9 _ - in parts joined by single dots",
    })
}

fn hops(reader: &mut Reader<'_>) -> Result<Vec<HostId>, DecodeError> {
    let field = "hosts seen";
    let count = reader.array(field)?;
    if count > HOPS_MAX {
        return Err(DecodeError::TooMany { field, entries_max: HOPS_MAX });
    }
    (0..count).map(|_| host_id(reader, field)).collect()
}

/// The extension that this version knows; all others are skipped.
fn read_extensions(reader: &mut Reader<'_>, plaintext: &[u8]) -> Result<Option<[u8; 16]>, DecodeError> {
    let field = "extensions";
    let mut instance = None;
    for _ in 0..reader.map(field)? {
        if reader.text_or_skip(field, NESTING_MAX - 2)? == Some(INSTANCE) {
            let range = reader.binary("extension instance")?;
            instance = plaintext[range].try_into().ok();
        } else {
            reader.skip(field, NESTING_MAX - 2)?;
        }
    }
    Ok(instance)
}

/// Copies the key: it is short, and a slice would keep the whole frame alive with it.
fn idempotency_key(reader: &mut Reader<'_>, plaintext: &[u8]) -> Result<Bytes, DecodeError> {
    let field = "idempotency key";
    let range = reader.binary(field)?;
    if range.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(DecodeError::TooLong { field, bytes_max: IDEMPOTENCY_KEY_BYTES_MAX });
    }
    Ok(Bytes::copy_from_slice(&plaintext[range]))
}

#[cfg(test)]
mod tests;
