//! The envelope of a response: a MessagePack array of four fields (WIRE.md, "Plaintext").

use bytes::{Bytes, BytesMut};

use crate::base::{ErrorCode, Failure, HostId, InstanceId, Outcome};

use super::check::check_nested_value;
use super::error::DecodeError;
use super::reader::{NESTING_MAX, Reader};
use super::request::{host_id, instance, keep};
use super::writer::Writer;

/// The envelope as a whole, in error texts.
const ENVELOPE: &str = "response envelope";
/// The map of a failure, in error texts.
const FAILURE: &str = "failure";
/// The map of extensions, in error texts.
const EXTENSIONS: &str = "extensions";
/// Fields of the envelope.
const FIELDS: usize = 4;
/// Fields of the extension `by`.
const BY_FIELDS: usize = 2;
/// Longest error code in bytes, known or not.
const CODE_BYTES_MAX: usize = 64;
/// Bytes of everything in the envelope whose length does not vary, at their longest.
const FIXED_BYTES_MAX: usize = 208;
/// Levels that are left for a value inside the failure or the extensions: the envelope and that map are two.
const INNER_LEVELS: usize = NESTING_MAX - 2;

/// The answer to one call as it travels between hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseEnvelope {
    /// The host that ran the function, or refused it: 1 to 64 bytes of printable ASCII without spaces.
    pub host_id: HostId,
    /// The result, as MessagePack that is not looked at here, or why there is none.
    pub outcome: Outcome,
    /// The extensions.
    pub extensions: ResponseExtensions,
}

/// The extensions of a response that this version knows (WIRE.md, "Extensions").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseExtensions {
    /// `by`: the process that opened the request. A host of before it was known says nothing.
    pub by: Option<By>,
    /// `now`: the clock of that process, Unix time in milliseconds. With a hello, and with a frame whose stamp was
    /// refused.
    pub now_ms: Option<u64>,
    /// `retry`: the stamp was refused, and the sender is to stamp its frames by `now`.
    pub retry: bool,
    /// `took_over`: how many milliseconds ago this process took over from the one that the frame was made for, which
    /// had ended by then: an earlier life of the host in `by`.
    pub took_over_ms: Option<u64>,
    /// `repeated`: the outcome is that of an earlier call with the same idempotency key.
    pub repeated: bool,
}

/// The process that opened a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The id of the host.
    pub host_id: HostId,
    /// The process.
    pub instance: InstanceId,
}

impl ResponseEnvelope {
    /// Writes the envelope straight behind the room for the header: one allocation.
    ///
    /// Details of a failure that are not one MessagePack value of at most 62 levels are left out with a
    /// warning: they come from a plugin, and must not make the rest unreadable.
    pub(super) fn encode(&self) -> Writer {
        let mut writer = Writer::new(self.bytes_max());
        writer.array(FIELDS);
        writer.text(&self.host_id);
        writer.boolean(self.outcome.is_ok());
        match &self.outcome {
            Ok(result) => writer.binary(result),
            Err(failure) => write_failure(&mut writer, failure),
        }
        self.extensions.encode(&mut writer);
        writer
    }

    /// At least as many bytes as [`ResponseEnvelope::encode`] writes.
    fn bytes_max(&self) -> usize {
        let outcome = match &self.outcome {
            Ok(result) => result.len(),
            Err(failure) => {
                failure.message.len()
                    + failure.app_code.as_ref().map_or(0, String::len)
                    + failure.details.as_ref().map_or(0, Bytes::len)
            }
        };
        let by = self.extensions.by.as_ref().map_or(0, |by| by.host_id.len());
        FIXED_BYTES_MAX + self.host_id.len() + by + outcome
    }

    /// Reads the envelope; the result is the rest of `plaintext`, without a copy.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that WIRE.md does not describe. A code that this version does not know
    /// is not an error: the failure is then [`ErrorCode::Internal`] and its message names the code.
    pub(super) fn decode(plaintext: BytesMut) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&plaintext);
        reader.fields(ENVELOPE, FIELDS)?;
        let host_id = host_id(&mut reader, "host id")?;
        let body = if reader.boolean("success")? {
            Ok(reader.binary("result")?)
        } else {
            Err(read_failure(&mut reader, &plaintext)?)
        };
        let extensions = ResponseExtensions::decode(&mut reader, &plaintext)?;
        reader.finish(ENVELOPE)?;
        let outcome = body.map(|range| keep(plaintext, range)).map_err(Box::new);
        Ok(Self { host_id, outcome, extensions })
    }
}

impl ResponseExtensions {
    fn encode(&self, writer: &mut Writer) {
        let Self { by, now_ms, retry, took_over_ms, repeated } = self;
        let numbers = [("now", now_ms), ("took_over", took_over_ms)];
        let flags = [("retry", *retry), ("repeated", *repeated)];
        let count = u8::from(by.is_some()) + flags.iter().map(|(_, flag)| u8::from(*flag)).sum::<u8>();
        writer.small_map(numbers.iter().fold(count, |count, (_, number)| count + u8::from(number.is_some())));
        if let Some(By { host_id, instance }) = by {
            writer.text("by");
            writer.array(BY_FIELDS);
            writer.text(host_id);
            writer.binary(&instance.0);
        }
        for (name, _) in flags.iter().filter(|(_, flag)| *flag) {
            writer.text(name);
            writer.boolean(true);
        }
        for (name, number) in numbers {
            if let Some(number) = number {
                writer.text(name);
                writer.unsigned(*number);
            }
        }
    }

    /// Reads the extensions that this version knows and skips all others.
    fn decode(reader: &mut Reader<'_>, plaintext: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        for _ in 0..reader.map(EXTENSIONS)? {
            match reader.text_or_skip(EXTENSIONS, INNER_LEVELS)? {
                Some("by") => {
                    reader.fields("extension by", BY_FIELDS)?;
                    let host_id = host_id(reader, "extension by")?;
                    let instance = instance(reader, plaintext, "extension by")?;
                    read.by = Some(By { host_id, instance });
                }
                Some("now") => read.now_ms = Some(reader.unsigned("extension now")?),
                Some("retry") => read.retry = reader.boolean("extension retry")?,
                Some("repeated") => read.repeated = reader.boolean("extension repeated")?,
                Some("took_over") => read.took_over_ms = Some(reader.unsigned("extension took_over")?),
                _ => reader.skip(EXTENSIONS, INNER_LEVELS)?,
            }
        }
        Ok(read)
    }
}

/// A failure as the MessagePack map of WIRE.md, which is also what crosses the plugin ABI.
pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    let mut writer = Writer::new(FIXED_BYTES_MAX + failure.message.len());
    write_failure(&mut writer, failure);
    writer.into_plaintext()
}

/// Reads such a map, all of `bytes`.
///
/// # Errors
/// [`DecodeError`] as for the failure in a response.
pub fn decode_failure(bytes: &[u8]) -> Result<Failure, DecodeError> {
    let mut reader = Reader::new(bytes);
    let failure = read_failure(&mut reader, bytes)?;
    reader.finish(FAILURE)?;
    Ok(failure)
}

fn write_failure(writer: &mut Writer, failure: &Failure) {
    let with_details = failure.code == ErrorCode::Failed;
    writer.small_map(if with_details { 5 } else { 3 });
    writer.text("code");
    writer.text(failure.code.as_str());
    writer.text("message");
    writer.text(&failure.message);
    writer.text("executed");
    match failure.executed.known() {
        Some(executed) => writer.boolean(executed),
        None => writer.nil(),
    }
    if !with_details {
        return;
    }
    writer.text("app_code");
    match &failure.app_code {
        Some(app_code) => writer.text(app_code),
        None => writer.nil(),
    }
    writer.text("details");
    match &failure.details {
        Some(details) => match check_nested_value(details, INNER_LEVELS) {
            Ok(()) => writer.raw(details),
            Err(error) => {
                tracing::warn!(%error, "the details of a failure are left out of the response");
                writer.nil();
            }
        },
        None => writer.nil(),
    }
}

fn read_failure(reader: &mut Reader<'_>, plaintext: &[u8]) -> Result<Failure, DecodeError> {
    let (mut code, mut message, mut executed) = (None, None, None);
    let (mut app_code, mut details) = (None, None);
    for _ in 0..reader.map(FAILURE)? {
        let Some(key) = reader.text_or_skip(FAILURE, INNER_LEVELS)? else {
            reader.skip(FAILURE, INNER_LEVELS)?;
            continue;
        };
        let fresh = match key {
            "code" => code.replace(reader.text("failure code", CODE_BYTES_MAX)?).is_none(),
            "message" => message.replace(reader.text("failure message", usize::MAX)?).is_none(),
            "executed" => {
                let value = reader.optional(|reader| reader.boolean("executed"))?;
                executed.replace(value).is_none()
            }
            "app_code" => {
                let value = reader.optional(|reader| reader.text("failure app code", usize::MAX))?;
                app_code.replace(value).is_none()
            }
            "details" => {
                let (is_nil, start) = (reader.nil(), reader.position());
                if !is_nil {
                    reader.skip("failure details", INNER_LEVELS)?;
                }
                let value = (!is_nil).then(|| &plaintext[start..reader.position()]);
                details.replace(value).is_none()
            }
            _ => reader.skip(FAILURE, INNER_LEVELS).map(|()| true)?,
        };
        if !fresh {
            return Err(DecodeError::Repeated { field: FAILURE, key: key.to_owned() });
        }
    }
    let wire_code = code.ok_or(DecodeError::Missing { field: "failure code" })?;
    let message = message.ok_or(DecodeError::Missing { field: "failure message" })?;
    let executed = executed.flatten().into();
    let Some(code) = ErrorCode::from_wire(wire_code) else {
        let message = format!("the peer failed with the unknown code {wire_code:?}: {message}");
        return Ok(Failure { executed, ..Failure::new(ErrorCode::Internal, message) });
    };
    let mut failure = Failure { executed, ..Failure::new(code, message) };
    if code == ErrorCode::Failed {
        failure.app_code = app_code.flatten().map(str::to_owned);
        failure.details = details.flatten().map(Bytes::copy_from_slice);
    }
    Ok(failure)
}

#[cfg(test)]
mod tests;
