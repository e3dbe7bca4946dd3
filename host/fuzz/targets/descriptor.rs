//! Any bytes as the descriptor of a plugin.
#![no_main]

use framex_host::plugins::read_descriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match read_descriptor(bytes) {
        Ok(description) => {
            assert!(!description.name.is_empty() && description.name != "proxy", "{description:?}");
            // They are shown on terminals.
            let shown = [&description.version, &description.built_with];
            assert!(!shown.into_iter().any(|text| text.chars().any(char::is_control)), "{description:?}");
            assert!(description.name.bytes().all(|byte| byte.is_ascii_graphic()), "{description:?}");
        }
        Err(text) => assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}"),
    }
});
