//! Any bytes as MessagePack arguments of a caller, as the result of a plugin, and as its failure.
#![no_main]

use framex_host::http::transcode::{NoJson, to_json};
use framex_host::wire::{NESTING_MAX, check_arguments, check_value, decode_failure, encode_failure};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if check_arguments(bytes, NESTING_MAX).is_ok() {
        check_value(bytes).expect("arguments are a value");
    }
    // What passes can be read by everything that comes later; what does not is refused by it too.
    match check_value(bytes) {
        Ok(()) => {
            let mut rest = bytes;
            rmpv::decode::read_value_ref(&mut rest).expect("a second decoder reads what was checked");
            assert!(rest.is_empty());
            match to_json(bytes, usize::MAX) {
                Ok(text) => {
                    assert!(text.len() <= 8 * bytes.len() + 8, "{} bytes of {}", text.len(), bytes.len());
                    serde_json::from_slice::<serde_json::Value>(&text).expect("the JSON form is JSON");
                    assert_eq!(to_json(bytes, text.len()).as_ref(), Ok(&text));
                    assert_eq!(to_json(bytes, text.len() - 1), Err(NoJson::TooLong(text.len() - 1)));
                }
                Err(text) => assert!(text.to_string().contains("a key has keys"), "{text}"),
            }
        }
        Err(_) => assert!(to_json(bytes, usize::MAX).is_err()),
    }
    if let Ok(failure) = decode_failure(bytes) {
        assert_eq!(decode_failure(&encode_failure(&failure)), Ok(failure));
    }
});
