//! Loads a [`Config`]: reads the layers, and checks them.

use std::path::Path;

use super::check::{self, Validator};
use super::keys::RawConfig;
use super::read::{file, layers};
use super::{Config, ConfigError, Environment, LocalEndpoints, Overrides, Trust};

impl Config {
    /// Reads the file, at most 1 MiB, the variables of this process, which override it, and `overrides`.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem that could be found in one go.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_with(path, &Environment::of_process(), overrides)
    }

    /// Reads the file again for a reload. A pipe gives its text once: one without text is refused, because it would
    /// reset every key to its default.
    ///
    /// # Errors
    /// As [`Config::load`], and [`ConfigError::Drained`].
    pub fn reload(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let config = Self::load(path, overrides)?;
        if !config.has_text && !path.is_file() {
            return Err(ConfigError::Drained(path.to_owned()));
        }
        Ok(config)
    }

    /// As [`Config::load`], with the variables passed in.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let (text, readable_by_others) = file::config_file(path)?;
        let mut config = Self::from_text(&text, path, environment, overrides)?;
        config.readable_by_others = readable_by_others;
        config.has_text = !text.trim().is_empty();
        Ok(config)
    }

    /// As [`Config::load_with`], with the text of the file passed in; `path` names it in errors, and
    /// relative paths are relative to its folder.
    ///
    /// # Errors
    /// As [`Config::load`], except errors of the file.
    pub fn from_text(
        text: &str,
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        checked(text, path, environment, overrides, check::config)
    }

    /// Reads the table `[trust]` of a file and of variables alone: secrets of other tables need not exist.
    ///
    /// # Errors
    /// As [`Config::load_with`], except wrong values of other tables.
    pub fn trust_of(path: &Path, environment: &Environment) -> Result<Trust, ConfigError> {
        let (text, _) = file::config_file(path)?;
        let check = |validator: &mut Validator<'_>, raw: RawConfig| check::trust(validator, raw.trust);
        checked(&text, path, environment, &Overrides::default(), check)
    }

    /// Reads the endpoints of a host from the file and the variables, without secrets: commands run
    /// without the secrets of the daemon.
    ///
    /// # Errors
    /// As [`Config::load`], for unknown keys and wrong types anywhere, and for wrong values of these keys.
    pub fn local_endpoints(path: &Path, environment: &Environment) -> Result<LocalEndpoints, ConfigError> {
        let (text, _) = file::config_file(path)?;
        checked(&text, path, environment, &Overrides::default(), check::local_endpoints)
    }
}

/// Merges the layers, and returns what `check` makes of them, if it has found no problem.
fn checked<T>(
    text: &str,
    path: &Path,
    environment: &Environment,
    overrides: &Overrides,
    check: impl FnOnce(&mut Validator<'_>, RawConfig) -> T,
) -> Result<T, ConfigError> {
    let (raw, sources) = layers::merge(text, path, environment, overrides)?;
    let mut validator = Validator::new(&sources, environment)?;
    let checked = check(&mut validator, raw);
    validator.finish(checked)
}
