//! `[plugins.reports]` of the host's configuration. Every key is optional.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Most connections that may be configured: each is a thread and a page cache, or a connection of a server that has
/// others to serve.
pub(crate) const CONNECTIONS_MAX: u32 = 32;

/// The plugin's table in the host's configuration.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// The SQLite file. Without it, and without `database_url`, this host has no database, and calls must be routed to
    /// one that has.
    ///
    /// Write an absolute path: a relative one counts from the directory that the host was started in,
    /// not from the config file.
    pub(crate) database: Option<PathBuf>,
    /// A database of a MySQL or MariaDB server, instead of a file.
    pub(crate) database_url: Option<SecretText>,
    /// Creates a missing file at start, or fills an empty database of a server, from the data set inside the plugin.
    #[serde(default)]
    pub(crate) create: bool,
    /// Connections at one time, 1 to 32.
    #[serde(default = "default_connections_max")]
    pub(crate) connections_max: u32,
    /// Calls that take at least this time, in milliseconds, are logged.
    #[serde(default = "default_slow_query_ms")]
    pub(crate) slow_query_ms: u64,
}

fn default_connections_max() -> u32 {
    4
}

fn default_slow_query_ms() -> u64 {
    200
}

/// A secret as the operator wrote it: itself, `env:NAME` or `file:PATH`. It is shown nowhere.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretText(String);

impl SecretText {
    /// The secret itself.
    ///
    /// # Errors
    /// The variable or the file that should have it does not.
    pub(crate) fn read(&self) -> Result<String, SecretError> {
        if let Some(name) = self.0.strip_prefix("env:") {
            return std::env::var(name).map_err(|_| SecretError::Variable { name: name.to_owned() });
        }
        let Some(path) = self.0.strip_prefix("file:").map(Path::new) else { return Ok(self.0.clone()) };
        // The plugin does not know the folder of the config file, from which such paths count elsewhere in it.
        if path.is_relative() {
            return Err(SecretError::RelativePath { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The reason that a secret cannot be read. No message holds a part of a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the variable `{name}` is not set, or is not UTF-8")]
    Variable { name: String },
    #[error("the path `{}` is relative, and must be absolute", path.display())]
    RelativePath { path: PathBuf },
    #[error("the file `{}` cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_where_the_config_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        let read = |text: &str| SecretText::from(text).read();
        assert_eq!(read("mysql://here").unwrap(), "mysql://here");
        for (content, expected) in [("canary", "canary"), ("canary\n", "canary"), ("canary\r\n", "canary")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&format!("file:{}", path.display())).unwrap(), expected);
        }
        assert_eq!(read("env:CARGO_PKG_NAME").unwrap(), "reports");
        for (text, expected) in [
            ("env:NO_SUCH_VARIABLE", "the variable `NO_SUCH_VARIABLE` is not set"),
            ("file:secrets/url", "the path `secrets/url` is relative"),
            ("file:/no/such/file", "the file `/no/such/file` cannot be read"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", SecretText::from("canary")), "[redacted]");
    }
}
