//! Any bytes as a plugin file, from a real one on: nothing of it is run, and what is wrong is said in words.
#![no_main]

use framex_host::plugins::check_plugin_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(text) = check_plugin_file(bytes) {
        assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
    }
});
