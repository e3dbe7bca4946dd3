//! Any text as `config.toml`, and, after a NUL each, any variables `NAME=VALUE`.
#![no_main]

use std::path::Path;

use framex_host::config::{Config, Environment, Overrides};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|said: &str| {
    let mut parts = said.split('\0');
    let text = parts.next().unwrap_or_default();
    let environment: Environment = parts.filter_map(|part| part.split_once('=')).collect();
    // Secrets in files are looked for where there are none.
    match Config::from_text(text, Path::new("/nonexistent/config.toml"), &environment, &Overrides::default())
    {
        Ok(config) => {
            let shown = [format!("{config:?}"), config.dump().to_string(), config.warnings().join("\n")];
            assert!(shown.iter().take(2).all(|text| !text.is_empty()));
            let _files = config.files();
            let _rules = (config.listener_rules(), config.sealing_secrets(), config.access());
        }
        Err(error) => {
            let text = error.to_string();
            // An error is printed to a terminal.
            let bad = |c: char| c.is_control() && c != '\n';
            assert!(!text.is_empty() && !text.chars().any(bad), "{text:?}");
        }
    }
});
