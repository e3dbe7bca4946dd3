//! Whole frames: the vectors, every flipped byte, every prefix, and what frames may claim.

use bytes::Bytes;
use proptest::prelude::*;

use super::vectors::FrameVector;
use super::*;
use crate::base::{ErrorCode, Failure, FunctionName, InstanceId};
use crate::wire::cipher::TAG_BYTES;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::keys::generate_secret;
use crate::wire::{By, RequestExtensions, ResponseExtensions};

const LIMITS: Limits = Limits::of_size(1 << 20);
const NOW: u64 = 1_790_000_000_000;

fn ring() -> KeyRing {
    let derive = |_| Arc::new(KeySet::derive(&generate_secret()).unwrap());
    KeyRing::new((0..3).map(derive).collect()).unwrap()
}

fn request(arguments: &[u8]) -> RequestEnvelope {
    RequestEnvelope {
        function: FunctionName::new("demo.echo").unwrap(),
        arguments: Bytes::copy_from_slice(arguments),
        remaining_ms: 1000,
        hops: vec!["host-a".into()],
        traceparent: None,
        idempotency_key: None,
        extensions: RequestExtensions::default(),
    }
}

fn response(result: &[u8]) -> ResponseEnvelope {
    let outcome = Ok(Bytes::copy_from_slice(result));
    ResponseEnvelope { host_id: "host-b".into(), outcome, extensions: ResponseExtensions::default() }
}

fn body(frame: &[u8]) -> BytesMut {
    BytesMut::from(frame)
}

/// Seals any plaintext, also one that no envelope gives.
fn seal_raw(key: &KeySet, kind: Kind, compressed: bool, plaintext: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        compressed,
        key_id: key.id(),
        request_id: RequestId([5; 16]),
        sent_at_ms: NOW,
        nonce: rand::random(),
    };
    let cipher = if kind == Kind::Request { &key.request } else { &key.response };
    seal(cipher, &header, [&[0; HEADER_BYTES], plaintext].concat())
}

#[test]
fn every_frame_vector_opens_and_seals_to_the_same_bytes() {
    let vectors = vectors::load();
    assert!(!vectors.frames.is_empty());
    for vector in vectors.frames {
        let key = Arc::new(KeySet::derive(&vector.secret).unwrap());
        let reencoded = match vector.kind {
            1 => open_request_vector(&key, &vector),
            2 => open_response_vector(&key, &vector),
            other => panic!("{}: kind {other}", vector.name),
        };
        assert_eq!(&reencoded[HEADER_BYTES..], vector.plaintext, "{}", vector.name);
        let header = Header {
            kind: if vector.kind == 1 { Kind::Request } else { Kind::Response },
            compressed: false,
            key_id: key.id(),
            request_id: RequestId(vector.request_id[..].try_into().unwrap()),
            sent_at_ms: vector.sent_at_ms,
            nonce: vector.nonce[..].try_into().unwrap(),
        };
        let cipher = if vector.kind == 1 { &key.request } else { &key.response };
        let sealed = seal(cipher, &header, reencoded);
        match (vector.note.as_str(), vector.lz4) {
            ("opens, and seals to the same bytes", false) => {
                assert_eq!(sealed, vector.frame, "{}", vector.name);
            }
            // The note: "open it; sealing gives the same bytes only without lz4, whose output may differ".
            (note, true) if note.starts_with("open it;") => {
                assert_eq!(sealed.len(), HEADER_BYTES + vector.plaintext.len() + TAG_BYTES);
                assert!(vector.frame.len() < sealed.len());
            }
            (note, _) => panic!("{}: no test reads the note {note:?}", vector.name),
        }
    }
}

/// Opens, compares with what the vector says, and encodes again.
fn open_request_vector(key: &Arc<KeySet>, vector: &FrameVector) -> Vec<u8> {
    let ring = KeyRing::new(vec![Arc::clone(key)]).unwrap();
    let opened = open_request(&ring, body(&vector.frame)).unwrap();
    assert_eq!(opened.request_id.0, vector.request_id[..], "{}", vector.name);
    assert_eq!(opened.sent_at_ms, vector.sent_at_ms, "{}", vector.name);
    assert_eq!(opened.plaintext.compressed, vector.lz4, "{}", vector.name);
    let envelope = opened.plaintext.decode_request(&LIMITS).unwrap();
    let (function, extensions) = match vector.name.as_str() {
        "hello" => {
            let hello = Some(instance_from(0x10));
            ("framex.hello", RequestExtensions { hello, ..RequestExtensions::default() })
        }
        "request to a receiver" => {
            let to = Some(instance_from(0x20));
            ("demo.some.example_func", RequestExtensions { to, ..RequestExtensions::default() })
        }
        _ => ("demo.some.example_func", RequestExtensions::default()),
    };
    assert_eq!(envelope.function.as_str(), function, "{}", vector.name);
    assert_eq!(envelope.extensions, extensions, "{}", vector.name);
    envelope.encode().into_frame()
}

/// 16 bytes that count up from the first.
fn instance_from(first: u8) -> InstanceId {
    InstanceId(std::array::from_fn(|index| first + u8::try_from(index).unwrap()))
}

/// Opens, compares with what the vector says, and encodes again.
fn open_response_vector(key: &KeySet, vector: &FrameVector) -> Vec<u8> {
    let request_id = RequestId(vector.request_id[..].try_into().unwrap());
    let envelope = open_response(key, request_id, body(&vector.frame), &LIMITS).unwrap();
    assert_eq!(&*envelope.host_id, "host-b", "{}", vector.name);
    let by = |first| Some(By { host_id: "host-b".into(), instance: instance_from(first) });
    let none = ResponseExtensions::default();
    let expected = match vector.name.as_str() {
        "answer to a hello" => ResponseExtensions { by: by(0x20), now_ms: Some(1_790_000_000_001), ..none },
        "answer of the receiver" => ResponseExtensions { by: by(0x20), ..none },
        "misdirected, by the next life" => {
            ResponseExtensions { by: by(0x30), took_over_ms: Some(2500), ..none }
        }
        _ => none,
    };
    assert_eq!(envelope.extensions, expected, "{}", vector.name);
    envelope.encode().into_frame()
}

#[test]
fn requests_and_responses_travel_under_each_key_of_a_ring() {
    let ring = ring();
    let other = self::ring();
    for compression in [Compression::Never, Compression::Auto { bytes_min: 0 }] {
        let sent = request(&[&b"\x81\xa1a\xc5\x03\xe8"[..], &[7; 1000]].concat());
        let (id, frame) = seal_request(ring.sealing(), NOW, &sent, compression);
        assert_eq!(frame.len() < 200, compression != Compression::Never);
        assert_eq!(open_request(&other, body(&frame)).unwrap_err(), OpenError::NotAuthentic);
        let opened = open_request(&ring, body(&frame)).unwrap();
        assert_eq!((opened.request_id, opened.sent_at_ms), (id, NOW));
        assert_eq!(opened.plaintext.decode_request(&LIMITS), Ok(sent));

        let answer = response(&[9; 1000]);
        let frame = seal_response(&opened.key, id, NOW + 1, &answer, compression);
        assert_eq!(frame.len() < 200, compression != Compression::Never);
        assert_eq!(open_response(ring.sealing(), id, body(&frame), &LIMITS), Ok(answer));
    }
    let older = ring.find(ring.sealing().id()).unwrap();
    let (first, _) = seal_request(older, NOW, &request(b"\x80"), Compression::Never);
    let (second, _) = seal_request(older, NOW, &request(b"\x80"), Compression::Never);
    assert_ne!(first, second);
}

#[test]
fn every_flipped_byte_and_every_prefix_is_refused_alike() {
    let ring = ring();
    let key = ring.sealing();
    for arguments in [&b"\x80"[..], &[&b"\x81\xa1a\xc4\xc8"[..], &[7; 200]].concat()] {
        let compression = Compression::Auto { bytes_min: 100 };
        let (id, sealed) = seal_request(key, NOW, &request(arguments), compression);
        let answer = seal_response(key, id, NOW, &response(arguments), compression);
        let open_request = |frame: &[u8]| open_request(&ring, body(frame)).map(drop);
        let open_response = |frame: &[u8]| match open_response(key, id, body(frame), &LIMITS) {
            Ok(_) => Ok(()),
            Err(ResponseError::Open(error)) => Err(error),
            Err(ResponseError::Decode(error)) => panic!("decoded before it was authentic: {error}"),
        };
        check_refusals(&sealed, open_request);
        check_refusals(&answer, open_response);
        assert_eq!(open_request(&answer), Err(OpenError::NotAuthentic), "a response is not a request");
        assert_eq!(open_response(&sealed), Err(OpenError::NotAuthentic), "a request is not a response");
    }
}

fn check_refusals(frame: &[u8], open: impl Fn(&[u8]) -> Result<(), OpenError>) {
    assert_eq!(open(frame), Ok(()));
    for length in 0..frame.len() {
        assert_eq!(open(&frame[..length]), Err(OpenError::NotAuthentic), "{length} bytes");
    }
    let longer = [frame, &[0]].concat();
    assert_eq!(open(&longer), Err(OpenError::NotAuthentic), "a byte more");
    let mut flipped = frame.to_vec();
    for at in 0..frame.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            let expected = match flipped[at] {
                digit @ b'0'..=b'9' if at == 3 => OpenError::Incompatible { version: digit - b'0' },
                _ => OpenError::NotAuthentic,
            };
            assert_eq!(open(&flipped), Err(expected), "bit {bit} of byte {at}");
            flipped[at] = frame[at];
        }
    }
}

#[test]
fn a_response_answers_one_request_under_one_key() {
    let ring = ring();
    let key = ring.sealing();
    let frame = seal_response(key, RequestId([1; 16]), NOW, &response(b"\xc0"), Compression::Never);
    assert!(open_response(key, RequestId([1; 16]), body(&frame), &LIMITS).is_ok());
    let not_authentic = Err(ResponseError::Open(OpenError::NotAuthentic));
    assert_eq!(open_response(key, RequestId([2; 16]), body(&frame), &LIMITS), not_authentic);
    let other = KeySet::derive(&generate_secret()).unwrap();
    assert_eq!(open_response(&other, RequestId([1; 16]), body(&frame), &LIMITS), not_authentic);
}

/// Frames whose tag is right for the other direction: the kind alone gives them away.
#[test]
fn each_key_seals_one_kind_only() {
    let ring = ring();
    let key = ring.sealing();
    let header = |kind| Header {
        kind,
        compressed: false,
        key_id: key.id(),
        request_id: RequestId([1; 16]),
        sent_at_ms: NOW,
        nonce: [1; 24],
    };
    let (request, response) = (request(b"\x80").encode(), response(b"\xc0").encode());
    let forged = seal(&key.request, &header(Kind::Response), response.into_frame());
    assert_eq!(open_request(&ring, body(&forged)).unwrap_err(), OpenError::NotAuthentic);
    let refused = open_response(key, RequestId([1; 16]), body(&forged), &LIMITS);
    assert_eq!(refused, Err(ResponseError::Open(OpenError::NotAuthentic)));
    let forged = seal(&key.response, &header(Kind::Request), request.into_frame());
    assert_eq!(open_request(&ring, body(&forged)).unwrap_err(), OpenError::NotAuthentic);
    let refused = open_response(key, RequestId([1; 16]), body(&forged), &LIMITS);
    assert_eq!(refused, Err(ResponseError::Open(OpenError::NotAuthentic)));
}

#[test]
fn authentic_nonsense_is_a_decode_error() {
    let ring = ring();
    let decode = |compressed, plaintext: &[u8]| {
        let frame = seal_raw(ring.sealing(), Kind::Request, compressed, plaintext);
        let opened = open_request(&ring, body(&frame)).unwrap();
        opened.plaintext.decode_request(&LIMITS).unwrap_err()
    };
    let shown = |compressed, plaintext: &[u8]| decode(compressed, plaintext).to_string();
    assert_eq!(shown(false, b""), "request envelope reaches beyond the end of the message");
    assert_eq!(shown(false, &[0x91; 100_000]), "request envelope has 1 fields instead of 7");
    assert_eq!(shown(true, b"\x00\x00\x00"), "the compressed message reaches beyond the end of the message");
    let huge = "the message has 4294967295 bytes uncompressed, the limit is 1048576";
    assert_eq!(shown(true, b"\xff\xff\xff\xff\x10a"), huge);
    let failure = decode(true, b"\xff\xff\xff\xff\x10a").to_failure();
    assert_eq!(failure, Failure::not_executed(ErrorCode::InvalidArgument, huge));
}

#[test]
fn the_limit_holds_with_and_without_compression() {
    let ring = ring();
    let sent = request(&[&b"\x81\xa1a\xc5\x03\xe8"[..], &[7; 1000]].concat());
    let exact = sent.encode().into_frame().len() - HEADER_BYTES;
    for compression in [Compression::Never, Compression::Auto { bytes_min: 0 }] {
        let (_, frame) = seal_request(ring.sealing(), NOW, &sent, compression);
        let decode = |bytes_max| {
            let limits = Limits::of_size(bytes_max);
            open_request(&ring, body(&frame)).unwrap().plaintext.decode_request(&limits)
        };
        assert_eq!(decode(exact), Ok(sent.clone()));
        let expected = DecodeError::TooLarge { bytes: exact, bytes_max: exact - 1 };
        assert_eq!(decode(exact - 1), Err(expected));
    }
}

#[test]
fn a_response_that_is_none_is_a_decode_error() {
    let ring = ring();
    let key = ring.sealing();
    let frame = seal_raw(key, Kind::Response, false, b"\x94\xa1h\xc3\xc4\x00\x80\xc0");
    let error = open_response(key, RequestId([5; 16]), body(&frame), &LIMITS).unwrap_err();
    assert_eq!(error.to_string(), "response envelope is followed by bytes that belong to nothing");
}

#[test]
fn opening_moves_nothing() {
    let ring = ring();
    let (_, frame) = seal_request(ring.sealing(), NOW, &request(b"\x81\xa1a\x01"), Compression::Never);
    let received = body(&frame);
    let range = received.as_ptr_range();
    let opened = open_request(&ring, received).unwrap();
    assert_eq!(format!("{:?}", opened.plaintext), "Plaintext { bytes: 31, compressed: false }");
    let envelope = opened.plaintext.decode_request(&LIMITS).unwrap();
    assert!(range.contains(&envelope.arguments.as_ptr()));
}

proptest! {
    /// Every sealed frame opens to the same bytes, and no longer once a bit of it, or its length, has changed.
    #[test]
    fn frames_open_as_they_were_sealed_and_not_otherwise(
        plaintext in proptest::collection::vec(any::<u8>(), 0..300),
        place: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let ring = ring();
        let frame = seal_raw(ring.sealing(), Kind::Request, false, &plaintext);
        let opened = open_request(&ring, body(&frame)).map(|opened| opened.plaintext.bytes);
        prop_assert_eq!(opened, Ok(BytesMut::from(&plaintext[..])));
        let mut flipped = frame.clone();
        flipped[place.index(frame.len())] ^= 1 << bit;
        prop_assert!(open_request(&ring, body(&flipped)).is_err());
        prop_assert!(open_request(&ring, body(&frame[..place.index(frame.len())])).is_err());
        prop_assert!(open_request(&ring, body(&[&frame[..], &[bit]].concat())).is_err());
    }

    /// Envelopes survive the way, compressed or not.
    #[test]
    fn calls_and_answers_survive_the_way(
        arguments in proptest::collection::btree_map("[a-z]{1,6}", proptest::collection::vec(any::<u8>(), 0..600), 0..4),
        bytes_min in 0..2000_usize,
    ) {
        let arguments = rmp_serde::to_vec(&arguments).unwrap();
        let (ring, compression) = (ring(), Compression::Auto { bytes_min });
        let (call, answer) = (request(&arguments), response(&arguments));
        let (id, frame) = seal_request(ring.sealing(), NOW, &call, compression);
        let opened = open_request(&ring, body(&frame)).unwrap();
        prop_assert_eq!((opened.request_id, opened.sent_at_ms), (id, NOW));
        let key = Arc::clone(&opened.key);
        prop_assert_eq!(opened.plaintext.decode_request(&LIMITS), Ok(call));
        let frame = seal_response(&key, id, NOW, &answer, compression);
        prop_assert_eq!(open_response(&key, id, body(&frame), &LIMITS), Ok(answer));
    }
}
