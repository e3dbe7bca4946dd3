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

/// What errors call the envelope as a whole.
const ENVELOPE: &str = "request envelope";
/// Fields of the envelope.
const FIELDS: usize = 7;
/// Bytes of everything in the envelope whose length does not vary, at their longest.
const FIXED_BYTES_MAX: usize = 40;

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
}

impl RequestEnvelope {
    /// Writes the envelope straight behind the room for the header: one allocation.
    pub(super) fn encode(&self) -> Writer {
        let hops_bytes: usize = self.hops.iter().map(|hop| hop.len() + 5).sum();
        let mut writer = Writer::new(
            FIXED_BYTES_MAX
                + self.function.as_str().len()
                + self.arguments.len()
                + hops_bytes
                + self.traceparent.as_ref().map_or(0, |text| text.len())
                + self.idempotency_key.as_ref().map_or(0, Bytes::len),
        );
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
        writer.small_map(0);
        writer
    }

    /// Reads the envelope; the arguments are what is left of `plaintext`, not a copy.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that WIRE.md does not describe.
    pub(super) fn decode(plaintext: BytesMut) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&plaintext);
        reader.fields(ENVELOPE, FIELDS)?;
        let function = function_name(&mut reader)?;
        let range = reader.binary("arguments")?;
        let remaining_ms = reader.unsigned("remaining time")?;
        let hops = hops(&mut reader)?;
        let traceparent = reader.optional(|reader| reader.text("traceparent", TRACEPARENT_BYTES_MAX))?;
        let traceparent = traceparent.map(Arc::from);
        let idempotency_key = reader.optional(|reader| idempotency_key(reader, &plaintext))?;
        let extensions = reader.map("extensions")?;
        for _ in 0..extensions * 2 {
            reader.skip("extensions", NESTING_MAX - 2)?;
        }
        reader.finish(ENVELOPE)?;
        check_arguments(&plaintext[range.clone()])?;
        let arguments = keep(plaintext, range);
        Ok(Self { function, arguments, remaining_ms, hops, traceparent, idempotency_key })
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::{HEADER_BYTES, TAG_BYTES};

    /// The seven fields of a good request, each as MessagePack.
    fn good() -> [Vec<u8>; FIELDS] {
        [
            b"\xa3a.b".to_vec(),
            b"\xc4\x01\x80".to_vec(),
            b"\x05".to_vec(),
            b"\x91\xa1h".to_vec(),
            b"\xa1t".to_vec(),
            b"\xc4\x01k".to_vec(),
            b"\x80".to_vec(),
        ]
    }

    fn decode_fields(fields: &[Vec<u8>]) -> Result<RequestEnvelope, DecodeError> {
        let count = u8::try_from(fields.len()).unwrap();
        RequestEnvelope::decode(BytesMut::from(&[&[0x90 + count][..], &fields.concat()].concat()[..]))
    }

    /// The text of the error with one field replaced, or "" for none.
    fn with(index: usize, value: &[u8]) -> String {
        let mut fields = good();
        fields[index] = value.to_vec();
        decode_fields(&fields).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_good_request_is_read() {
        let envelope = decode_fields(&good()).unwrap();
        assert_eq!(envelope.function.as_str(), "a.b");
        assert_eq!(&envelope.arguments[..], b"\x80");
        assert_eq!(envelope.remaining_ms, 5);
        assert_eq!(envelope.hops, [HostId::from("h")]);
        assert_eq!(envelope.traceparent.as_deref(), Some("t"));
        assert_eq!(envelope.idempotency_key.as_deref(), Some(&b"k"[..]));
    }

    #[test]
    fn each_field_is_refused_by_name() {
        let long = |head: &[u8], length: usize| [head, &vec![b'x'; length]].concat();
        let name = "function name is not 1 to 255 characters of A-Z a-z 0-9 _ - in parts joined by single dots";
        let id = "hosts seen is not 1 to 64 printable ASCII characters without spaces";
        for (index, value, expected) in [
            (0, &b"\xc0"[..], "function name is not a string"),
            (0, b"\xc4\x01a", "function name is not a string"),
            (0, b"\xa0", name),
            (0, b"\xa4a..b", name),
            (0, b"\xa1\xff", "function name is not valid UTF-8"),
            (0, &long(&[0xda, 1, 0], 256), "function name has more than 255 bytes"),
            (0, b"\xdb\xff\xff\xff\xff", "function name has more than 255 bytes"),
            (1, b"\x80", "arguments is not a byte string"),
            (1, b"\xa1\x80", "arguments is not a byte string"),
            (1, b"\xc4\x00", "arguments reaches beyond the end of the message"),
            (1, b"\xc4\x02\x80\x80", "arguments is followed by bytes that belong to nothing"),
            (1, b"\xc4\x07\x82\xa1a\x01\xa1a\x01", "arguments has the key \"a\" more than once"),
            (1, b"\xc6\xff\xff\xff\xff\x80", "arguments reaches beyond the end of the message"),
            (2, b"\xff", "remaining time is not an unsigned integer"),
            (2, b"\xcb\0\0\0\0\0\0\0\0", "remaining time is not an unsigned integer"),
            (2, b"\xd7\0\0\0\0\0\0\0\0\0", "remaining time is not an unsigned integer"),
            (3, b"\x80", "hosts seen is not an array"),
            (3, b"\x91\x01", "hosts seen is not a string"),
            (3, b"\x91\xa0", id),
            (3, b"\x91\xa3a b", id),
            (3, b"\x91\xa2\xc3\xa4", id),
            (3, &long(&[0x91, 0xd9, 65], 65), "hosts seen has more than 64 bytes"),
            (3, &long(&[0xdc, 0, 17], 17), "hosts seen has more than 16 entries"),
            (3, b"\xdd\xff\xff\xff\xff", "hosts seen reaches beyond the end of the message"),
            (4, b"\x01", "traceparent is not a string"),
            (4, &long(&[0xda, 1, 1], 257), "traceparent has more than 256 bytes"),
            (5, b"\xa1k", "idempotency key is not a byte string"),
            (5, &long(&[0xc4, 65], 65), "idempotency key has more than 64 bytes"),
            (6, b"\xc0", "extensions is not a map"),
            (6, b"\x81\xa1a", "extensions reaches beyond the end of the message"),
            (6, b"\x80\xc0", "request envelope is followed by bytes that belong to nothing"),
            (6, &[&b"\x81\xa1a"[..], &[0x91; 100_000]].concat(), "extensions is nested deeper than 64 levels"),
        ] {
            assert_eq!(with(index, value), expected, "field {index}");
        }
    }

    #[test]
    fn limits_are_reached_before_they_are_passed() {
        let long = |head: &[u8], length: usize| [head, &vec![b'x'; length]].concat();
        for (index, value) in [
            (0, long(&[0xd9, 255], 255)),
            (2, b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
            (3, long(&[0x91, 0xd9, 64], 64)),
            (3, [&[0xdc, 0, 16][..], &b"\xa1h".repeat(16)].concat()),
            (4, b"\xc0".to_vec()),
            (4, long(&[0xda, 1, 0], 256)),
            (5, b"\xc0".to_vec()),
            (5, long(&[0xc4, 64], 64)),
            // The envelope and the map of extensions are two of the 64 levels.
            (6, [&b"\x82\x01\xd4\x01\x02\xa1a"[..], &[0x91; 62], b"\xc0"].concat()),
        ] {
            assert_eq!(with(index, &value), "", "field {index}");
        }
    }

    #[test]
    fn the_number_of_fields_is_exact() {
        for count in 0..FIELDS {
            let error = decode_fields(&good()[..count]).unwrap_err().to_string();
            assert_eq!(error, format!("request envelope has {count} fields instead of 7"));
        }
        let error = decode_fields(&[&good()[..], &[vec![0xc0]]].concat()).unwrap_err().to_string();
        assert_eq!(error, "request envelope has 8 fields instead of 7");
        let error = RequestEnvelope::decode(BytesMut::new()).unwrap_err().to_string();
        assert_eq!(error, "request envelope reaches beyond the end of the message");
    }

    #[test]
    fn every_prefix_is_refused() {
        let whole = [&[0x97][..], &good().concat()].concat();
        assert!(RequestEnvelope::decode(BytesMut::from(&whole[..])).is_ok());
        for length in 0..whole.len() {
            let error = RequestEnvelope::decode(BytesMut::from(&whole[..length])).unwrap_err();
            assert!(matches!(error, DecodeError::Truncated { .. }), "{length}: {error}");
        }
    }

    #[test]
    fn the_arguments_are_not_copied() {
        let plaintext = BytesMut::from(&[&[0x97][..], &good().concat()].concat()[..]);
        let start = plaintext.as_ptr();
        let envelope = RequestEnvelope::decode(plaintext).unwrap();
        assert_eq!(envelope.arguments.as_ptr(), start.wrapping_add(7));
    }

    pub(crate) fn envelopes() -> impl Strategy<Value = RequestEnvelope> {
        let host_id = "[!-~]{1,64}".prop_map(HostId::from);
        (
            "[A-Za-z0-9_-]{1,40}(\\.[A-Za-z0-9_-]{1,40}){0,5}",
            proptest::collection::btree_map(any::<String>(), any::<Vec<u8>>(), 0..20),
            any::<u64>(),
            proptest::collection::vec(host_id, 0..=HOPS_MAX),
            proptest::option::of("\\PC{0,64}"),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=IDEMPOTENCY_KEY_BYTES_MAX)),
        )
            .prop_map(|(function, arguments, remaining_ms, hops, traceparent, key)| RequestEnvelope {
                function: FunctionName::new(&function).unwrap(),
                arguments: rmp_serde::to_vec(&arguments).unwrap().into(),
                remaining_ms,
                hops,
                traceparent: traceparent.map(Arc::from),
                idempotency_key: key.map(Bytes::from),
            })
    }

    proptest! {
        #[test]
        fn requests_round_trip_in_one_allocation(envelope in envelopes()) {
            let estimate = envelope.encode().into_frame().capacity();
            let frame = envelope.encode().into_frame();
            prop_assert!(frame.len() + TAG_BYTES <= estimate, "{} of {estimate}", frame.len());
            let decoded = RequestEnvelope::decode(BytesMut::from(&frame[HEADER_BYTES..]));
            prop_assert_eq!(decoded, Ok(envelope));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut plaintext = BytesMut::from(&b"\x97\xa1a"[..]);
            plaintext.extend_from_slice(&bytes);
            if let Ok(envelope) = RequestEnvelope::decode(plaintext) {
                prop_assert!(check_arguments(&envelope.arguments).is_ok());
            }
        }
    }
}
