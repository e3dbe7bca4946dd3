//! JSON of outside callers to the MessagePack that functions take, and back.
//!
//! The host does not know the types of a function, so the mapping is by value: objects are maps, and bytes,
//! which JSON does not have, are base64 strings (RFC 4648, padded), which the SDK's byte types take.

use std::fmt;

use rmp::Marker;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

mod numbers;
mod to_json;

use numbers::Numbers;
pub use to_json::{NoJson, to_json};

/// Whole fractions below this are exact: the next integer has a fraction of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// 2^64: integers of 64 bits are not above it.
const INTEGER_MAX: f64 = 18_446_744_073_709_551_616.0;

/// Turns the JSON object of named arguments into one MessagePack map.
///
/// The output is at most about three times as long as the input; nothing is allocated by what the input claims.
///
/// # Errors
/// A sentence for the caller; lists and objects inside each other, the outermost counted, are at most `nesting_max`.
pub fn arguments_from_json(json: &[u8], nesting_max: usize) -> Result<Vec<u8>, JsonError> {
    if json.trim_ascii().is_empty() {
        return Ok(vec![Marker::FixMap(0).to_u8()]);
    }
    if json.trim_ascii_start().first() != Some(&b'{') {
        let text = "the body must be a JSON object of named arguments".to_owned();
        return Err(JsonError { text, is_too_deep: false });
    }
    let (out, numbers) = (Vec::with_capacity(json.len() + 16), Numbers::new(json));
    let mut packed = Packed { out, nesting_max, is_too_deep: false, numbers };
    let mut decoder = serde_json::Deserializer::from_slice(json);
    let written = ToMessagePack { to: &mut packed, levels: nesting_max }.deserialize(&mut decoder);
    match written.and_then(|()| decoder.end()) {
        Ok(()) => Ok(packed.out),
        Err(error) => {
            let text = format!("the body is not the JSON that is expected: {error}");
            Err(JsonError { text, is_too_deep: packed.is_too_deep })
        }
    }
}

/// The reason for which a body is not valid JSON of arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct JsonError {
    text: String,
    /// It is nested more than is allowed.
    pub is_too_deep: bool,
}

/// The MessagePack of a JSON text.
struct Packed<'j> {
    out: Vec<u8>,
    nesting_max: usize,
    is_too_deep: bool,
    numbers: Numbers<'j>,
}

/// Writes any value of a decoder as MessagePack.
struct ToMessagePack<'a, 'j> {
    to: &'a mut Packed<'j>,
    /// The number of levels that may still be opened.
    levels: usize,
}

impl<'j> ToMessagePack<'_, 'j> {
    fn inner(&mut self) -> ToMessagePack<'_, 'j> {
        ToMessagePack { to: self.to, levels: self.levels - 1 }
    }

    /// Leaves room for a count that is known once all entries are written.
    fn open<E: de::Error>(&mut self, marker: Marker) -> Result<usize, E> {
        if self.levels == 0 {
            self.to.is_too_deep = true;
            return Err(E::custom(format!("nested more than {} levels deep", self.to.nesting_max)));
        }
        self.to.out.push(marker.to_u8());
        let at = self.to.out.len();
        self.to.out.extend_from_slice(&[0; 4]);
        Ok(at)
    }

    fn close(&mut self, at: usize, count: u32) {
        if let Some(room) = self.to.out.get_mut(at..at + 4) {
            room.copy_from_slice(&count.to_be_bytes());
        }
    }

    fn written<E: de::Error>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), rmp::encode::ValueWriteError>,
    ) -> Result<(), E> {
        write(&mut self.to.out).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for ToMessagePack<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToMessagePack<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.to.out.push(Marker::Null.to_u8());
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.to.out.push(if value { Marker::True } else { Marker::False }.to_u8());
        Ok(())
    }

    fn visit_u64<E: de::Error>(mut self, value: u64) -> Result<(), E> {
        self.to.numbers.read += 1;
        self.written(|out| rmp::encode::write_uint(out, value).map(|_| ()))
    }

    fn visit_i64<E: de::Error>(mut self, value: i64) -> Result<(), E> {
        self.to.numbers.read += 1;
        self.written(|out| rmp::encode::write_sint(out, value).map(|_| ()))
    }

    /// A fraction, or an integer with a point, an exponent, or more than 64 bits.
    ///
    /// A function that takes an integer takes it from a whole fraction; so where that is not the number that is written,
    /// an integer goes on.
    fn visit_f64<E: de::Error>(mut self, value: f64) -> Result<(), E> {
        self.to.numbers.read += 1;
        let is_inexact = value.fract() == 0.0 && value.abs() >= WHOLE_MAX && value.abs() <= INTEGER_MAX;
        let integer = if is_inexact { self.to.numbers.last_as_integer() } else { None };
        self.written(|out| match integer {
            // Exact as a fraction as well: it stays one, for a function that takes any value.
            Some(integer) if value as i128 == integer => rmp::encode::write_f64(out, value),
            Some(integer) => match (u64::try_from(integer), i64::try_from(integer)) {
                (Ok(integer), _) => rmp::encode::write_uint(out, integer).map(|_| ()),
                (_, Ok(integer)) => rmp::encode::write_sint(out, integer).map(|_| ()),
                _ => rmp::encode::write_f64(out, value),
            },
            None => rmp::encode::write_f64(out, value),
        })
    }

    fn visit_str<E: de::Error>(mut self, value: &str) -> Result<(), E> {
        self.written(|out| rmp::encode::write_str(out, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let at = self.open(Marker::Array32)?;
        let mut count = 0;
        while seq.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        self.close(at, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let at = self.open(Marker::Map32)?;
        let mut count = 0;
        while map.next_key_seed(self.inner())?.is_some() {
            map.next_value_seed(self.inner())?;
            count += 1;
        }
        self.close(at, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{NESTING_MAX, check_arguments};

    fn check_round_trip(json: &str, expected: &str) {
        let packed = arguments_from_json(json.as_bytes(), NESTING_MAX).unwrap();
        check_arguments(&packed, NESTING_MAX).unwrap();
        assert_eq!(String::from_utf8(to_json(&packed, usize::MAX).unwrap()).unwrap(), expected);
    }

    #[test]
    fn values_survive_the_way_in_and_out() {
        check_round_trip("", "{}");
        check_round_trip(" { } ", "{}");
        let all = r#"{"a":null,"b":[true,false,-1,18446744073709551615,1.5,"x"],"c":{"d":{}}}"#;
        check_round_trip(all, all);
    }

    #[test]
    fn bytes_and_keys_that_json_lacks_are_spelt() {
        let value = rmpv::Value::Map(vec![(7.into(), rmpv::Value::Binary(vec![1, 2, 3]))]);
        let mut packed = Vec::new();
        rmpv::encode::write_value(&mut packed, &value).unwrap();
        assert_eq!(to_json(&packed, usize::MAX).unwrap(), br#"{"7":"AQID"}"#);
    }

    #[test]
    fn integers_are_exact_however_they_are_written() {
        check_round_trip(r#"{"a":9007199254740993.0}"#, r#"{"a":9007199254740993}"#);
        check_round_trip(r#"{"a":["1",18446744073709551615e0]}"#, r#"{"a":["1",18446744073709551615]}"#);
        check_round_trip(r#"{"a":-9223372036854775807.0}"#, r#"{"a":-9223372036854775807}"#);
        check_round_trip(
            r#"{"a":1e18,"b":1.0,"c":-0.0,"d":1e300}"#,
            r#"{"a":1e+18,"b":1.0,"c":-0.0,"d":1e+300}"#,
        );
    }

    #[test]
    fn bad_json_is_refused_in_words() {
        for (json, part) in [
            ("[]", "must be a JSON object"),
            ("7", "must be a JSON object"),
            ("{\"a\":", "EOF"),
            ("{} {}", "trailing"),
            ("{\"a\":1e999}", "number out of range"),
        ] {
            let error = arguments_from_json(json.as_bytes(), NESTING_MAX).unwrap_err();
            assert!(error.to_string().contains(part), "{error} lacks {part}");
            assert!(!error.is_too_deep, "{error}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let error = arguments_from_json(deep.as_bytes(), NESTING_MAX).unwrap_err();
        assert!(
            error.is_too_deep && error.to_string().contains("nested more than 64 levels deep"),
            "{error}"
        );
        let fits = format!("{{\"a\":{}1{}}}", "[".repeat(NESTING_MAX - 1), "]".repeat(NESTING_MAX - 1));
        check_arguments(&arguments_from_json(fits.as_bytes(), NESTING_MAX).unwrap(), NESTING_MAX).unwrap();
        assert!(arguments_from_json(fits.as_bytes(), NESTING_MAX - 1).unwrap_err().is_too_deep);
    }

    #[test]
    fn results_that_are_no_message_pack_are_refused() {
        assert!(to_json(&[0xc1], 99).is_err());
        assert!(to_json(&[0xdd, 0xff, 0xff, 0xff, 0xff], 99).is_err());
    }

    /// Any JSON value, with numbers of every kind that JSON has.
    fn json_values() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has finite numbers", |number| number.is_finite())
                .prop_filter("these become integers", |number| {
                    number.fract() != 0.0 || number.abs() < WHOLE_MAX || number.abs() > INTEGER_MAX
                })
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            let object = proptest::collection::btree_map(any::<String>(), inner.clone(), 0..8);
            prop_oneof![
                proptest::collection::vec(inner, 0..8).prop_map(Value::from),
                object.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Nothing is lost or changed on the way in and out, to the last bit of a number.
        #[test]
        fn json_survives_the_way_through_message_pack(
            arguments in proptest::collection::btree_map("[a-z]{1,8}", json_values(), 0..8),
        ) {
            let arguments = serde_json::Value::Object(arguments.into_iter().collect());
            let text = arguments.to_string();
            let packed = arguments_from_json(text.as_bytes(), NESTING_MAX).unwrap();
            prop_assert_eq!(check_arguments(&packed, NESTING_MAX), Ok(()));
            prop_assert_eq!(String::from_utf8(to_json(&packed, usize::MAX).unwrap()).unwrap(), text.clone());
            prop_assert_eq!(to_json(&packed, text.len()).unwrap().len(), text.len());
            prop_assert_eq!(to_json(&packed, text.len() - 1), Err(NoJson::TooLong(text.len() - 1)));
        }
    }
}
