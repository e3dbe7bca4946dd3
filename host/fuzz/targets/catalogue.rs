//! Any bytes as the catalogue of a peer.
#![no_main]

use framex_host::peers::read_catalogue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match read_catalogue(bytes) {
        Ok(catalogue) => {
            assert!(catalogue.len() <= 10_000);
            if let Some(id) = &catalogue.host_id {
                assert!(
                    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()),
                    "{id:?}"
                );
            }
            for name in catalogue.names() {
                let offered = catalogue.find(name).expect("it is one of its names");
                // It is shown on terminals.
                assert!(!offered.description.chars().any(|c| c.is_control() && c != '\n'), "{offered:?}");
                for schema in [offered.arguments_schema(), offered.result_schema()] {
                    let text = schema.to_string();
                    assert!(text.len() <= 64 * 1024, "{} bytes of {} are kept", text.len(), bytes.len());
                }
            }
        }
        Err(text) => assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}"),
    }
});
