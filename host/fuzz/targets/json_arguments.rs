//! Any bytes as the JSON body of a call: refused in words, or the same JSON after the way through MessagePack.
#![no_main]

use framex_host::http::transcode::{arguments_from_json, to_json};
use framex_host::wire::{DecodeError, NESTING_MAX, check_arguments};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|json: &[u8]| {
    let packed = match arguments_from_json(json, NESTING_MAX) {
        Ok(packed) => packed,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            return;
        }
    };
    assert!(packed.len() <= 3 * json.len() + 16, "{} bytes of {}", packed.len(), json.len());
    match check_arguments(&packed, NESTING_MAX) {
        Ok(())
        | Err(DecodeError::Repeated { .. } | DecodeError::TooMany { .. } | DecodeError::TooLong { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let back: Value =
        serde_json::from_slice(&to_json(&packed, usize::MAX).expect("it is one value")).expect("it is JSON");
    if json.trim_ascii().is_empty() {
        assert_eq!(back, Value::Object(serde_json::Map::new()));
    } else {
        let read = serde_json::from_slice::<Value>(json).expect("a second decoder reads what was taken");
        assert!(is_same(&back, &read), "{back} is not {read}");
    }
});

/// The same value; an integer of 64 bits with a point or an exponent, which another decoder rounds, is exact.
fn is_same(back: &Value, read: &Value) -> bool {
    match (back, read) {
        (Value::Number(back), Value::Number(read)) => back == read || back.as_f64() == read.as_f64(),
        (Value::Array(back), Value::Array(read)) => {
            back.len() == read.len() && back.iter().zip(read).all(|(back, read)| is_same(back, read))
        }
        (Value::Object(back), Value::Object(read)) => {
            let same =
                |(key, value): (&String, &Value)| read.get(key).is_some_and(|read| is_same(value, read));
            back.len() == read.len() && back.iter().all(same)
        }
        (back, read) => back == read,
    }
}
