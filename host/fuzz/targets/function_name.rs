//! Any text as the name of a function, against the rule written in another way.
#![no_main]

use framex_host::base::{FunctionName, nearest};
use libfuzzer_sys::fuzz_target;

fn is_name(text: &str) -> bool {
    let mut after_dot = true;
    for byte in text.bytes() {
        match byte {
            b'.' if after_dot => return false,
            b'.' => after_dot = true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => after_dot = false,
            _ => return false,
        }
    }
    !after_dot && text.len() <= 255
}

fuzz_target!(|text: &str| {
    match FunctionName::new(text) {
        Ok(name) => assert!(is_name(text) && name.as_str() == text),
        Err(_) => assert!(!is_name(text), "{text:?}"),
    }
    // Likeness costs the product of both lengths; long texts are tried against a short name.
    let known = ["demo.some.example_func", "a", ""];
    assert!(nearest(text, known, 2).len() <= 2);
});
