//! Checks MessagePack that travels as bytes, so that its later decoders always succeed.

use super::error::DecodeError;
use super::reader::{NESTING_MAX, Reader};

/// Most arguments of one call: bounds the search for repeated names without allocating.
pub const ARGUMENTS_MAX: usize = 256;
/// Longest name of an argument in bytes, as for functions; it bounds the same search.
pub const ARGUMENT_NAME_BYTES_MAX: usize = 255;

/// The arguments as a whole, in error texts.
const ARGUMENTS: &str = "arguments";
/// An argument name, in error texts.
const ARGUMENT_NAME: &str = "argument name";
/// An argument value, in error texts.
const ARGUMENT_VALUE: &str = "argument value";
/// A value of [`check_value`], in error texts.
const VALUE: &str = "value";
/// Enough for almost every call; clearing room for [`ARGUMENTS_MAX`] names would cost more than the walk.
const FEW: usize = 16;

/// Checks that `bytes` are one MessagePack map from distinct strings to values, and nothing else.
///
/// Allocates nothing but the text of an error. Strings are UTF-8, nesting is at most `nesting_max`, the map itself
/// counted, and never more than [`NESTING_MAX`].
///
/// # Errors
/// [`DecodeError`], which names what is wrong; also for more than [`ARGUMENTS_MAX`] arguments, or a name
/// of more than [`ARGUMENT_NAME_BYTES_MAX`] bytes.
pub fn check_arguments(bytes: &[u8], nesting_max: usize) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let levels = nesting_max.min(NESTING_MAX).saturating_sub(1);
    match reader.map(ARGUMENTS)? {
        0 => {}
        count @ 1..=FEW => check_pairs::<FEW>(&mut reader, count, levels)?,
        count @ ..=ARGUMENTS_MAX => check_pairs::<ARGUMENTS_MAX>(&mut reader, count, levels)?,
        _ => {
            return Err(DecodeError::TooMany { field: ARGUMENTS, entries_max: ARGUMENTS_MAX });
        }
    }
    reader.finish(ARGUMENTS)
}

/// Checks that `bytes` are one MessagePack value of any type, and nothing else.
///
/// Allocates nothing. Strings are UTF-8, nesting is at most [`NESTING_MAX`].
///
/// # Errors
/// [`DecodeError`], which names what is wrong.
pub fn check_value(bytes: &[u8]) -> Result<(), DecodeError> {
    check_nested_value(bytes, NESTING_MAX)
}

/// As [`check_value`], for a value that becomes part of another: with at most `levels` levels.
pub(super) fn check_nested_value(bytes: &[u8], levels: usize) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.skip(VALUE, levels)?;
    reader.finish(VALUE)
}

/// Checks `count` pairs of name and value, at most `N`; the values nest to at most the given number of levels.
fn check_pairs<const N: usize>(
    reader: &mut Reader<'_>,
    count: usize,
    levels: usize,
) -> Result<(), DecodeError> {
    let mut names = [""; N];
    for done in 0..count {
        let name = reader.text(ARGUMENT_NAME, ARGUMENT_NAME_BYTES_MAX)?;
        if names[..done].contains(&name) {
            return Err(DecodeError::Repeated { field: ARGUMENTS, key: name.to_owned() });
        }
        names[done] = name;
        reader.skip(ARGUMENT_VALUE, levels).map_err(|error| match error {
            DecodeError::TooDeep { field, .. } => DecodeError::TooDeep { field, nesting_max: levels + 1 },
            error => error,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The text of the error, or "" for none.
    fn arguments(bytes: &[u8]) -> String {
        check_arguments(bytes, NESTING_MAX).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn numbered(count: usize) -> Vec<u8> {
        let map: BTreeMap<String, usize> = (0..count).map(|number| (format!("a{number}"), number)).collect();
        rmp_serde::to_vec(&map).unwrap()
    }

    #[test]
    fn maps_of_names_pass() {
        for count in [0, 1, 15, 16, 17, 255, 256] {
            assert_eq!(arguments(&numbered(count)), "", "{count}");
        }
        assert_eq!(arguments(b"\x81\xa1a\xd4\x01\x02"), "", "an extension type is a value");
        assert_eq!(arguments(b"\x81\xa1a\x82\xa1b\x01\xa1b\x02"), "", "only the outermost map has names");
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (bytes, expected) in [
            (&b""[..], "arguments reaches beyond the end of the message"),
            (b"\x90", "arguments is not a map"),
            (b"\xc0", "arguments is not a map"),
            (b"\xd4\x01\x02", "arguments is not a map"),
            (b"\x81\x01\x02", "argument name is not a string"),
            (b"\x81\xc4\x01a\x02", "argument name is not a string"),
            (b"\x81\xd4\x01\x02\x02", "argument name is not a string"),
            (b"\x81\xa1\xff\x02", "argument name is not valid UTF-8"),
            (b"\x81\xa1a\xa1\xff", "argument value is not valid UTF-8"),
            (b"\x81\xa1a", "argument value reaches beyond the end of the message"),
            (b"\x81\xa1a\xc1", "argument value is not MessagePack, which has no byte 0xc1"),
            (b"\x80\xc0", "arguments is followed by bytes that belong to nothing"),
            (b"\x82\xa1a\x01\xa1a\x02", "arguments has the key \"a\" more than once"),
            (b"\x82\xa0\x01\xa0\x02", "arguments has the key \"\" more than once"),
            (b"\xdf\xff\xff\xff\xff\xa1a\x01", "arguments reaches beyond the end of the message"),
            (b"\x81\xdb\xff\xff\xff\xffa", "argument name has more than 255 bytes"),
            (b"\x81\xa1a\xdb\xff\xff\xff\xff", "argument value reaches beyond the end of the message"),
        ] {
            assert_eq!(arguments(bytes), expected, "{bytes:x?}");
        }
        assert_eq!(arguments(&numbered(257)), "arguments has more than 256 entries");
    }

    #[test]
    fn a_repeated_name_is_found_among_many() {
        let mut many = numbered(200);
        many[2] += 1;
        many.extend(b"\xa3a42\x00");
        assert_eq!(arguments(&many), "arguments has the key \"a42\" more than once");
    }

    #[test]
    fn nesting_counts_the_map_itself() {
        let nested = |depth: usize| [&b"\x81\xa1a"[..], &vec![0x91; depth], b"\xc0"].concat();
        assert_eq!(arguments(&nested(63)), "");
        for depth in [64, 100_000] {
            assert_eq!(arguments(&nested(depth)), "argument value is nested deeper than 64 levels");
        }
        assert_eq!(check_value(&nested(63)), Ok(()));
        assert_eq!(check_value(&nested(64)), Err(DecodeError::TooDeep { field: VALUE, nesting_max: 64 }));
    }

    #[test]
    fn a_value_is_exactly_one() {
        assert_eq!(check_value(b"\x93\x01\xa1a\xc0"), Ok(()));
        assert_eq!(check_value(b"\x01\x01"), Err(DecodeError::Trailing { field: VALUE }));
        assert_eq!(check_value(b""), Err(DecodeError::Truncated { field: VALUE }));
    }

    proptest! {
        /// `rmp-serde` reads all bytes that pass: no later code meets bytes that it cannot walk.
        #[test]
        fn what_passes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if check_value(&bytes).is_ok() {
                prop_assert!(rmp_serde::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
            }
        }

        /// All bytes that `rmp-serde` writes pass.
        #[test]
        fn what_is_encoded_passes(map: BTreeMap<String, (Option<f64>, Vec<i64>, String)>) {
            prop_assert_eq!(check_arguments(&rmp_serde::to_vec_named(&map).unwrap(), NESTING_MAX), Ok(()));
        }
    }
}
