//! Every marker, every border, and what must not be believed.

use super::*;

const FIELD: &str = "thing";

fn skip(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.skip(FIELD, 64).map(|()| reader.position())
}

/// One value of each marker, as long as the MessagePack specification says.
fn samples() -> Vec<Vec<u8>> {
    let with = |head: &[u8], tail: usize| [head, &vec![0; tail]].concat();
    vec![
        vec![0x00],
        vec![0x7f],
        vec![0xe0],
        vec![0xff],
        vec![0xc0],
        vec![0xc2],
        vec![0xc3],
        with(&[0x80], 0),
        with(&[0x82], 4),
        with(&[0x90], 0),
        with(&[0x9f], 15),
        with(&[0xa0], 0),
        with(&[0xbf], 31),
        with(&[0xc4, 3], 3),
        with(&[0xc5, 1, 0], 256),
        with(&[0xc6, 0, 1, 0, 0], 65_536),
        with(&[0xc7, 3, 9], 3),
        with(&[0xc8, 1, 0, 9], 256),
        with(&[0xc9, 0, 1, 0, 0, 9], 65_536),
        with(&[0xca], 4),
        with(&[0xcb], 8),
        with(&[0xcc], 1),
        with(&[0xcd], 2),
        with(&[0xce], 4),
        with(&[0xcf], 8),
        with(&[0xd0], 1),
        with(&[0xd1], 2),
        with(&[0xd2], 4),
        with(&[0xd3], 8),
        with(&[0xd4], 2),
        with(&[0xd5], 3),
        with(&[0xd6], 5),
        with(&[0xd7], 9),
        with(&[0xd8], 17),
        with(&[0xd9, 40], 40),
        with(&[0xda, 1, 0], 256),
        with(&[0xdb, 0, 1, 0, 0], 65_536),
        with(&[0xdc, 0, 20], 20),
        with(&[0xdd, 0, 0, 0, 20], 20),
        with(&[0xde, 0, 20], 40),
        with(&[0xdf, 0, 0, 0, 20], 40),
    ]
}

#[test]
fn every_marker_is_skipped_to_its_end_and_no_further() {
    for sample in samples() {
        let followed = [&sample[..], &[0xc0, 0xc0]].concat();
        assert_eq!(skip(&followed), Ok(sample.len()), "{:x}", sample[0]);
        for length in 0..sample.len().min(300) {
            let expected = Err(DecodeError::Truncated { field: FIELD });
            assert_eq!(skip(&sample[..length]), expected, "{:x} cut to {length}", sample[0]);
        }
    }
    let reserved = skip(&[0xc1]).unwrap_err().to_string();
    assert_eq!(reserved, "thing is not MessagePack, which has no byte 0xc1");
}

#[test]
fn lengths_of_four_gigabytes_are_beyond_the_end() {
    for marker in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
        let bytes = [marker, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        assert_eq!(skip(&bytes), Err(DecodeError::Truncated { field: FIELD }), "{marker:x}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize, marker: &[u8]| [marker.repeat(depth), vec![0xc0]].concat();
    for marker in [&[0x91][..], &[0x81, 0x00]] {
        assert!(skip(&nested(64, marker)).is_ok());
        for depth in [65, 100_000] {
            let expected = Err(DecodeError::TooDeep { field: FIELD, nesting_max: 64 });
            assert_eq!(skip(&nested(depth, marker)), expected, "{depth}");
        }
    }
}

#[test]
fn strings_are_utf8_wherever_they_are() {
    let expected = Err(DecodeError::NotUtf8 { field: FIELD });
    assert_eq!(skip(&[0xa1, 0xff]), expected);
    assert_eq!(skip(&[0x91, 0xa2, 0xc3, 0x28]), expected);
    assert_eq!(skip(&[0x81, 0xa1, 0x80, 0x01]), expected);
    assert_eq!(skip(&[0xa2, 0xc3, 0xa4]), Ok(3));
}

#[test]
fn other_types_are_refused_by_name() {
    let message = |result: Result<(), DecodeError>| result.unwrap_err().to_string();
    let reader = || Reader::new(&[0xd4, 0x01, 0x02]);
    assert_eq!(message(reader().array(FIELD).map(drop)), "thing is not an array");
    assert_eq!(message(reader().map(FIELD).map(drop)), "thing is not a map");
    assert_eq!(message(reader().unsigned(FIELD).map(drop)), "thing is not an unsigned integer");
    assert_eq!(message(reader().boolean(FIELD).map(drop)), "thing is not a boolean");
    assert_eq!(message(reader().text(FIELD, 9).map(drop)), "thing is not a string");
    assert_eq!(message(reader().binary(FIELD).map(drop)), "thing is not a byte string");
    let long = Reader::new(b"\xa3abc").text(FIELD, 2).map(drop);
    assert_eq!(message(long), "thing has more than 2 bytes");
}

#[test]
fn numbers_are_big_endian() {
    for (bytes, value) in [
        (&[0x7f][..], 127),
        (&[0xcc, 0xff], 255),
        (&[0xcd, 1, 2], 0x0102),
        (&[0xce, 1, 2, 3, 4], 0x0102_0304),
        (&[0xcf, 0xff, 2, 3, 4, 5, 6, 7, 8], 0xff02_0304_0506_0708),
    ] {
        assert_eq!(Reader::new(bytes).unsigned(FIELD), Ok(value));
    }
}
