//! Results, failures and extensions: good, odd, and refused by name.

use proptest::prelude::*;

use super::*;
use crate::wire::frame::HEADER_BYTES;

fn decode(parts: &[&[u8]]) -> Result<ResponseEnvelope, DecodeError> {
    ResponseEnvelope::decode(BytesMut::from(&parts.concat()[..]))
}

/// The text of the error, or "" for none.
fn error(parts: &[&[u8]]) -> String {
    decode(parts).err().map(|error| error.to_string()).unwrap_or_default()
}

fn failure(map: &[u8]) -> Failure {
    *decode(&[b"\x94\xa1h\xc2", map, b"\x80"]).unwrap().outcome.unwrap_err()
}

fn failure_error(map: &[u8]) -> String {
    error(&[b"\x94\xa1h\xc2", map, b"\x80"])
}

#[test]
fn a_result_is_not_copied_and_not_looked_at() {
    let plaintext = BytesMut::from(&b"\x94\xa1h\xc3\xc4\x02\xc1\xc1\x80"[..]);
    let start = plaintext.as_ptr();
    let envelope = ResponseEnvelope::decode(plaintext).unwrap();
    let result = envelope.outcome.unwrap();
    assert_eq!(&result[..], b"\xc1\xc1");
    assert_eq!(result.as_ptr(), start.wrapping_add(6));
    assert_eq!(&*envelope.host_id, "h");
}

#[test]
fn each_field_is_refused_by_name() {
    let id = "host id is not 1 to 64 printable ASCII characters without spaces";
    let deep = [&b"\x94\xa1h\xc3\xc4\x00\x81\xa1a"[..], &[0x91; 100_000]].concat();
    let huge = b"\x94\xa1h\xc3\xc6\xff\xff\xff\xff";
    for (bytes, expected) in [
        (&b"\x93\xa1h\xc3\xc4\x00"[..], "response envelope has 3 fields instead of 4"),
        (b"\x94\x01\xc3\xc4\x00\x80", "host id is not a string"),
        (b"\x94\xa0\xc3\xc4\x00\x80", id),
        (b"\x94\xa2h\n\xc3\xc4\x00\x80", id),
        (b"\x94\xa1\xff\xc3\xc4\x00\x80", "host id is not valid UTF-8"),
        (b"\x94\xa1h\xc0\xc4\x00\x80", "success is not a boolean"),
        (b"\x94\xa1h\xc3\x80", "result is not a byte string"),
        (huge, "result reaches beyond the end of the message"),
        (b"\x94\xa1h\xc2\xc4\x00", "failure is not a map"),
        (b"\x94\xa1h\xc3\xc4\x00\xc0", "extensions is not a map"),
        (b"\x94\xa1h\xc3\xc4\x00\x81\xa5retry\x01", "extension retry is not a boolean"),
        (b"\x94\xa1h\xc3\xc4\x00\x81\xa3now\xff", "extension now is not an unsigned integer"),
        (b"\x94\xa1h\xc3\xc4\x00\x80\x80", "response envelope is followed by bytes that belong to nothing"),
        (&deep, "extensions is nested deeper than 64 levels"),
    ] {
        assert_eq!(error(&[bytes]), expected);
    }
}

#[test]
fn failures_are_read_whatever_else_their_map_has() {
    let map = b"\x84\xa4code\xaaoverloaded\x01\x02\xa7message\xa1m\xa7details\x81\xc0\xc0";
    assert_eq!(failure(map), Failure::new(ErrorCode::Overloaded, "m"));
    let map = b"\x84\xa7message\xa1m\xa4code\xa6failed\xa7details\x81\xa2id\x07\xa8executed\xc3";
    let expected = Failure {
        details: Some(Bytes::from_static(b"\x81\xa2id\x07")),
        ..Failure::executed(ErrorCode::Failed, "m")
    };
    assert_eq!(failure(map), expected);
}

#[test]
fn an_unknown_code_is_internal_and_named() {
    let map = b"\x83\xa4code\xa6melted\xa7message\xa3hot\xa8executed\xc2";
    let expected = "the peer failed with the unknown code \"melted\": hot";
    assert_eq!(failure(map), Failure::not_executed(ErrorCode::Internal, expected));
}

#[test]
fn bad_failures_are_refused_by_name() {
    let deep = [&b"\x81\xa7details"[..], &[0x91; 63], b"\xc0"].concat();
    for (map, expected) in [
        (&b"\x80"[..], "failure code is missing"),
        (b"\x81\xa4code\xa5panic", "failure message is missing"),
        (b"\x81\xa4code\x01", "failure code is not a string"),
        (b"\x81\xa7message\xc0", "failure message is not a string"),
        (b"\x81\xa7message\xa1\xff", "failure message is not valid UTF-8"),
        (b"\x81\xa8executed\x01", "executed is not a boolean"),
        (b"\x81\xa8app_code\x01", "failure app code is not a string"),
        (b"\x82\xa4code\xa5panic\xa4code\xa5panic", "failure has the key \"code\" more than once"),
        (b"\x82\xa8executed\xc0\xa8executed\xc0", "failure has the key \"executed\" more than once"),
        (b"\x82\xa7details\xc0\xa7details\xc0", "failure has the key \"details\" more than once"),
        (&deep, "failure details is nested deeper than 64 levels"),
    ] {
        assert_eq!(failure_error(map), expected);
    }
    let long = [&b"\x81\xa4code\xd9\x41"[..], &[b'x'; 65]].concat();
    assert_eq!(failure_error(&long), "failure code has more than 64 bytes");
}

#[test]
fn extensions_are_read_in_any_order_and_unknown_ones_skipped() {
    let read = |extensions: &[u8]| {
        let read = decode(&[b"\x94\xa1h\xc3\xc4\x00", extensions]).unwrap().extensions;
        (read.retry, read.now_ms, read.took_over_ms)
    };
    assert_eq!(read(b"\x82\xa5retry\xc3\xa3now\x07"), (true, Some(7), None));
    assert_eq!(read(b"\x83\xa3now\x07\x05\x91\xc0\xa5retry\xc3"), (true, Some(7), None));
    assert_eq!(read(b"\x82\xa5retry\xc2\xa3now\x07"), (false, Some(7), None));
    assert_eq!(read(b"\x81\xa9took_over\x09"), (false, None, Some(9)));
    assert_eq!(read(b"\x81\xa6itself\xc3"), (false, None, None));
    assert_eq!(read(b"\x80"), (false, None, None));
}

#[test]
fn who_opened_the_frame_is_read_whole_or_refused_by_name() {
    let by = |value: &[u8]| decode(&[b"\x94\xa1h\xc3\xc4\x00\x81\xa2by", value]);
    let instance = [&b"\xc4\x10"[..], &[7; 16]].concat();
    let read = by(&[&b"\x92\xa1b"[..], &instance].concat()).unwrap().extensions.by;
    assert_eq!(read, Some(By { host_id: "b".into(), instance: InstanceId([7; 16]) }));
    for (value, expected) in [
        (&b"\xc0"[..], "extension by is not an array"),
        (b"\x91\xa1b", "extension by has 1 fields instead of 2"),
        (b"\x92\xa1b\xc0", "extension by is not a byte string"),
        (b"\x92\xa1b\xc4\x01x", "extension by is not 16 bytes"),
        (
            &[&b"\x92\xa0"[..], &instance].concat(),
            "extension by is not 1 to 64 printable ASCII characters without spaces",
        ),
    ] {
        assert_eq!(by(value).unwrap_err().to_string(), expected);
    }
}

#[test]
fn details_that_nobody_could_read_are_left_out() {
    let deep = |depth| [vec![0x91; depth], vec![0xc0]].concat();
    for (details, kept) in
        [(deep(62), true), (deep(63), false), (vec![], false), (vec![1, 1], false), (vec![0xc1], false)]
    {
        let sent = Failure {
            details: Some(details.into()),
            app_code: Some("e".into()),
            ..Failure::executed(ErrorCode::Failed, "m")
        };
        let envelope = ResponseEnvelope {
            host_id: "h".into(),
            outcome: Err(Box::new(sent.clone())),
            extensions: ResponseExtensions::default(),
        };
        let frame = envelope.encode().into_frame();
        let received = *decode(&[&frame[HEADER_BYTES..]]).unwrap().outcome.unwrap_err();
        let expected = if kept { sent } else { Failure { details: None, ..sent } };
        assert_eq!(received, expected);
    }
}

fn failures() -> impl Strategy<Value = Failure> {
    (
        proptest::sample::select(&ErrorCode::ALL[..]),
        any::<String>(),
        any::<Option<bool>>(),
        any::<Option<String>>(),
        any::<Option<Vec<(u64, String)>>>(),
    )
        .prop_map(|(code, message, executed, app_code, details)| {
            let details = details.map(|details| rmp_serde::to_vec(&details).unwrap().into());
            let failure = Failure { code, message, executed: executed.into(), app_code, details };
            if code == ErrorCode::Failed {
                failure
            } else {
                Failure { app_code: None, details: None, ..failure }
            }
        })
}

fn extensions() -> impl Strategy<Value = ResponseExtensions> {
    let by = ("[!-~]{1,64}", any::<[u8; 16]>());
    let by =
        by.prop_map(|(host_id, instance)| By { host_id: host_id.into(), instance: InstanceId(instance) });
    let rest = (any::<Option<u64>>(), any::<bool>(), any::<Option<u64>>(), any::<bool>());
    (proptest::option::of(by), rest).prop_map(|(by, (now_ms, retry, took_over_ms, repeated))| {
        ResponseExtensions { by, now_ms, retry, took_over_ms, repeated }
    })
}

proptest! {
    #[test]
    fn responses_round_trip_in_one_allocation(
        host_id in "[!-~]{1,64}",
        result in proptest::result::maybe_ok(any::<Vec<u8>>(), failures()),
        extensions in extensions(),
    ) {
        let envelope = ResponseEnvelope {
            host_id: host_id.into(),
            outcome: result.map(Bytes::from).map_err(Box::new),
            extensions,
        };
        let frame = envelope.encode().into_frame();
        prop_assert!(frame.len() - HEADER_BYTES <= envelope.bytes_max());
        prop_assert_eq!(decode(&[&frame[HEADER_BYTES..]]), Ok(envelope));
    }

    #[test]
    fn garbage_is_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for head in [&b"\x94\xa1h\xc2"[..], b"\x94\xa1h\xc2\x85\xa4code\xa6failed", b""] {
            if let Ok(envelope) = decode(&[head, &bytes]) {
                let again = envelope.encode().into_frame();
                prop_assert_eq!(decode(&[&again[HEADER_BYTES..]]), Ok(envelope));
            }
        }
    }
}
