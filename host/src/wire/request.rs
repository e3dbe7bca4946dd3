//! The envelope of a request: a MessagePack array of seven fields (WIRE.md, "Plaintext").

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::base::{
    FunctionName, HOPS_MAX, HostId, IDEMPOTENCY_KEY_BYTES_MAX, Identity, InstanceId, RequestId,
};

use super::check::check_arguments;
use super::error::DecodeError;
use super::reader::{NESTING_MAX, Reader};
use super::writer::Writer;

/// Longest host id in bytes.
pub const HOST_ID_BYTES_MAX: usize = 64;
/// Longest `traceparent` in bytes. Version 00 of W3C Trace Context has 55; later versions may append.
pub const TRACEPARENT_BYTES_MAX: usize = 256;

/// Name of the extension that names the process that a request is for.
const TO: &str = "to";
/// Name of the extension that makes a request a hello.
const HELLO: &str = "hello";
/// Name of the extension that says how many calls wait for this one.
const DEPTH: &str = "depth";
/// Name of the extension that has the id of the call, as logs have it.
const CALL: &str = "call";
/// The function that a hello names. A host that knows no hellos answers that it has no such function.
const HELLO_FUNCTION: &str = "framex.hello";
/// The arguments of a hello: a MessagePack map without entries.
const NO_ARGUMENTS: &[u8] = &[0x80];
/// Levels that are left for a value inside the extensions: the envelope and that map are two.
const INNER_LEVELS: usize = NESTING_MAX - 2;
/// The envelope as a whole, in error texts.
const ENVELOPE: &str = "request envelope";
/// Fields of the envelope.
const FIELDS: usize = 7;
/// Bytes of everything in the envelope whose length does not vary, at their longest.
const FIXED_BYTES_MAX: usize = 136;
/// Bytes in front of the content of a string at their longest.
const TEXT_HEAD_BYTES_MAX: usize = 5;

/// One call as it travels between hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEnvelope {
    /// The called function.
    pub function: FunctionName,
    /// One MessagePack map from name to value; checked with [`check_arguments`] on receipt.
    pub arguments: Bytes,
    /// The remaining time for this call, in milliseconds; 0 means no deadline.
    pub remaining_ms: u64,
    /// The hosts that the call has been through, oldest first; at most [`HOPS_MAX`].
    pub hops: Vec<HostId>,
    /// W3C `traceparent`, at most [`TRACEPARENT_BYTES_MAX`].
    pub traceparent: Option<Arc<str>>,
    /// Stays the same over the attempts of one call; at most [`IDEMPOTENCY_KEY_BYTES_MAX`].
    pub idempotency_key: Option<Bytes>,
    /// The extensions.
    pub extensions: RequestExtensions,
}

/// The extensions of a request that this version knows (WIRE.md, "Extensions").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestExtensions {
    /// `to`: the process that the frame was made for. Any other runs nothing of it.
    pub to: Option<InstanceId>,
    /// `hello`: the instance of the sender, which asks who opens its frames. Nothing is called.
    pub hello: Option<InstanceId>,
    /// `depth`: how many calls the call is made within, each of which waits for it.
    pub depth: u64,
    /// `call`: the id of the call in logs, which a call within it has as well, on every host; the id of a frame is a new
    /// one for each attempt.
    pub call: Option<RequestId>,
}

impl RequestEnvelope {
    /// The request that begins a connection: who opens the frames that are sent over it? `from` is the sender.
    ///
    /// # Panics
    /// Never: the function's name is well-formed.
    pub fn hello(from: &Identity, remaining_ms: u64) -> Self {
        Self {
            function: FunctionName::new(HELLO_FUNCTION).expect("the name of a hello is well-formed"),
            arguments: Bytes::from_static(NO_ARGUMENTS),
            remaining_ms,
            hops: vec![Arc::clone(from.host_id())],
            traceparent: None,
            idempotency_key: None,
            extensions: RequestExtensions { hello: Some(from.instance()), ..RequestExtensions::default() },
        }
    }

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
        let RequestExtensions { to, hello, depth, call } = self.extensions;
        let ids = [(TO, to), (HELLO, hello), (CALL, call.map(|RequestId(id)| InstanceId(id)))];
        let count = ids.iter().filter(|(_, id)| id.is_some()).count();
        writer.small_map(u8::try_from(count).unwrap_or(0) + u8::from(depth > 0));
        if depth > 0 {
            writer.text(DEPTH);
            writer.unsigned(depth);
        }
        for (name, id) in ids {
            if let Some(InstanceId(id)) = id {
                writer.text(name);
                writer.binary(&id);
            }
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

    /// Reads the envelope; the arguments are the rest of `plaintext`, without a copy.
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
        let extensions = read_extensions(&mut reader, &plaintext)?;
        reader.finish(ENVELOPE)?;
        check_arguments(&plaintext[range.clone()], nesting_max)?;
        let arguments = keep(plaintext, range);
        Ok(Self { function, arguments, remaining_ms, hops, traceparent, idempotency_key, extensions })
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

/// The extensions that this version knows; all others are skipped.
fn read_extensions(reader: &mut Reader<'_>, plaintext: &[u8]) -> Result<RequestExtensions, DecodeError> {
    let field = "extensions";
    let mut extensions = RequestExtensions::default();
    for _ in 0..reader.map(field)? {
        match reader.text_or_skip(field, INNER_LEVELS)? {
            Some(TO) => extensions.to = Some(instance(reader, plaintext, "extension to")?),
            Some(HELLO) => extensions.hello = Some(instance(reader, plaintext, "extension hello")?),
            Some(CALL) => {
                let InstanceId(id) = instance(reader, plaintext, "extension call")?;
                extensions.call = Some(RequestId(id));
            }
            Some(DEPTH) => extensions.depth = reader.unsigned("extension depth")?,
            _ => reader.skip(field, INNER_LEVELS)?,
        }
    }
    Ok(extensions)
}

/// The instance of a process. One of another length is an error: a frame that names a receiver which cannot be read is
/// not one that names none.
pub(super) fn instance(
    reader: &mut Reader<'_>,
    plaintext: &[u8],
    field: &'static str,
) -> Result<InstanceId, DecodeError> {
    let range = reader.binary(field)?;
    let bytes = plaintext[range].try_into();
    bytes.map(InstanceId).map_err(|_| DecodeError::Invalid { field, expected: "16 bytes" })
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
