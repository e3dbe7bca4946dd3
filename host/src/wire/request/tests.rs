//! Each field of a request: good, at its limit, and refused by name.

use proptest::prelude::*;

use super::*;
use crate::wire::frame::HEADER_BYTES;

fn decode_whole(plaintext: BytesMut) -> Result<RequestEnvelope, DecodeError> {
    RequestEnvelope::decode(plaintext, NESTING_MAX)
}

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
    decode_whole(BytesMut::from(&[&[0x90 + count][..], &fields.concat()].concat()[..]))
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
        (6, b"\x81\xa2to\xc0", "extension to is not a byte string"),
        (6, b"\x81\xa2to\xc4\x01x", "extension to is not 16 bytes"),
        (6, b"\x81\xa5hello\xc4\x00", "extension hello is not 16 bytes"),
        (6, b"\x80\xc0", "request envelope is followed by bytes that belong to nothing"),
        (
            6,
            &[&b"\x81\xa1a"[..], &[0x91; 63], b"\xc0"].concat(),
            "extensions is nested deeper than 64 levels",
        ),
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
    let error = decode_whole(BytesMut::new()).unwrap_err().to_string();
    assert_eq!(error, "request envelope reaches beyond the end of the message");
}

#[test]
fn every_prefix_is_refused() {
    let whole = [&[0x97][..], &good().concat()].concat();
    assert!(decode_whole(BytesMut::from(&whole[..])).is_ok());
    for length in 0..whole.len() {
        let error = decode_whole(BytesMut::from(&whole[..length])).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated { .. }), "{length}: {error}");
    }
}

#[test]
fn the_arguments_are_not_copied() {
    let plaintext = BytesMut::from(&[&[0x97][..], &good().concat()].concat()[..]);
    let start = plaintext.as_ptr();
    let envelope = decode_whole(plaintext).unwrap();
    assert_eq!(envelope.arguments.as_ptr(), start.wrapping_add(7));
}

fn envelopes() -> impl Strategy<Value = RequestEnvelope> {
    let host_id = "[!-~]{1,64}".prop_map(HostId::from);
    (
        "[A-Za-z0-9_-]{1,40}(\\.[A-Za-z0-9_-]{1,40}){0,5}",
        proptest::collection::btree_map(any::<String>(), any::<Vec<u8>>(), 0..20),
        any::<u64>(),
        proptest::collection::vec(host_id, 0..=HOPS_MAX),
        proptest::option::of("\\PC{0,64}"),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=IDEMPOTENCY_KEY_BYTES_MAX)),
        any::<(Option<[u8; 16]>, Option<[u8; 16]>, u64, Option<[u8; 16]>)>(),
    )
        .prop_map(
            |(function, arguments, remaining_ms, hops, traceparent, key, (to, hello, depth, call))| {
                RequestEnvelope {
                    function: FunctionName::new(&function).unwrap(),
                    arguments: rmp_serde::to_vec(&arguments).unwrap().into(),
                    remaining_ms,
                    hops,
                    traceparent: traceparent.map(Arc::from),
                    idempotency_key: key.map(Bytes::from),
                    extensions: RequestExtensions {
                        to: to.map(InstanceId),
                        hello: hello.map(InstanceId),
                        depth,
                        call: call.map(RequestId),
                    },
                }
            },
        )
}

proptest! {
    #[test]
    fn requests_round_trip_in_one_allocation(envelope in envelopes()) {
        let frame = envelope.encode().into_frame();
        prop_assert!(frame.len() - HEADER_BYTES <= envelope.bytes_max());
        let decoded = decode_whole(BytesMut::from(&frame[HEADER_BYTES..]));
        prop_assert_eq!(decoded, Ok(envelope));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut plaintext = BytesMut::from(&b"\x97\xa1a"[..]);
        plaintext.extend_from_slice(&bytes);
        if let Ok(envelope) = decode_whole(plaintext) {
            prop_assert!(check_arguments(&envelope.arguments, NESTING_MAX).is_ok());
        }
    }
}

#[test]
fn a_hello_is_a_call_that_older_hosts_can_read() {
    let own = Identity::new("host-a".into());
    let hello = RequestEnvelope::hello(&own, 5000);
    let frame = hello.encode().into_frame();
    let read = decode_whole(BytesMut::from(&frame[HEADER_BYTES..])).unwrap();
    assert_eq!(read, hello);
    assert_eq!((read.function.as_str(), &read.arguments[..]), ("framex.hello", &b"\x80"[..]));
    assert_eq!(
        read.extensions,
        RequestExtensions { hello: Some(own.instance()), ..RequestExtensions::default() }
    );
}
