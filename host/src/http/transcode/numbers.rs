//! Numbers of a JSON text as they are written: serde_json hands over a fraction where an integer has a point or an
//! exponent, and from 2^53 on that may be another number.

/// Finds numbers in a text that a decoder has read up to there.
pub(crate) struct Numbers<'j> {
    json: &'j [u8],
    at: usize,
    /// Numbers that the decoder has handed over.
    pub(crate) read: usize,
    /// Numbers before `at`.
    passed: usize,
}

impl<'j> Numbers<'j> {
    pub(crate) fn new(json: &'j [u8]) -> Self {
        Self { json, at: 0, read: 0, passed: 0 }
    }

    /// The number that was read last, if it is an integer of 64 bits. Goes through each part of the text once.
    pub(crate) fn last_as_integer(&mut self) -> Option<i128> {
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => self.skip_text(),
                b'-' | b'0'..=b'9' => {
                    let number = self.token();
                    self.passed += 1;
                    if self.passed == self.read {
                        return integer(number);
                    }
                }
                _ => self.at += 1,
            }
        }
        None
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.json.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
    }

    fn token(&mut self) -> &'j str {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        self.at += length;
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }
}

/// The value of a JSON number that is an integer of 64 bits.
fn integer(number: &str) -> Option<i128> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let mut digits = format!("{whole}{fraction}");
    if exponent < 0 {
        // Only zeros may stand behind the point.
        let kept = digits.len().checked_sub(usize::try_from(exponent.unsigned_abs()).ok()?)?;
        if !digits.get(kept..)?.bytes().all(|digit| digit == b'0') {
            return None;
        }
        digits.truncate(kept);
    } else if exponent <= 20 {
        digits.extend(std::iter::repeat_n('0', usize::try_from(exponent).ok()?));
    } else {
        return None;
    }
    let integer: i128 = digits.parse().ok()?;
    (i64::MIN.into()..=u64::MAX.into()).contains(&integer).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_to_the_last_digit() {
        for (number, expected) in [
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("18446744073709551615.00", Some(u64::MAX.into())),
            ("-9.223372036854775808e18", Some(i64::MIN.into())),
            ("1844674407370955161500e-2", Some(18_446_744_073_709_551_615)),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1.5e1", Some(15)),
            ("1.5", None),
            ("15e-1", None),
            ("1e20", None),
            ("1e999999999999", None),
            ("18446744073709551616", None),
            ("-9223372036854775809", None),
            ("-0.0", Some(0)),
        ] {
            assert_eq!(integer(number), expected, "{number}");
        }
    }

    #[test]
    fn numbers_are_found_between_texts() {
        let json = br#"{"a1":[1,"2\\","3\"4"],"b":{"c\\\"5":-6e1}}"#;
        let mut numbers = Numbers::new(json);
        numbers.read = 1;
        assert_eq!(numbers.last_as_integer(), Some(1));
        numbers.read = 2;
        assert_eq!(numbers.last_as_integer(), Some(-60));
        numbers.read = 3;
        assert_eq!(numbers.last_as_integer(), None);
    }
}
