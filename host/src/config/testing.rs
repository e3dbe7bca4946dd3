//! Helpers of the tests of this module.

use std::path::Path;

use super::{Config, ConfigError, Environment, Overrides};

/// Loads a text as `config.toml`.
pub(super) fn load(
    text: &str,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    Config::from_text(text, Path::new("config.toml"), environment, overrides)
}

/// Loads a text that is right, without variables and flags.
pub(super) fn config(text: &str) -> Config {
    load(text, &Environment::default(), &Overrides::default()).unwrap()
}

/// Returns the problems of a text.
pub(super) fn problems(text: &str) -> String {
    problems_of(text, &Environment::default(), &Overrides::default())
}

/// As [`problems`], with variables and flags.
pub(super) fn problems_of(text: &str, environment: &Environment, overrides: &Overrides) -> String {
    load(text, environment, overrides).err().map(|error| error.to_string()).unwrap_or_default()
}
