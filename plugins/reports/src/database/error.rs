//! Errors of the start. Of `database_url`, messages hold the server, the port and the database only.

use std::io;
use std::path::PathBuf;

use super::fill::FillError;
use crate::config::{CONNECTIONS_MAX, SecretError};

/// The reason that the plugin does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("key `create` needs the key `database` or `database_url`, which says where")]
    CreateWithoutPlace,
    #[error("keys `database` and `database_url`: only one of them can say where the database is")]
    TwoPlaces,
    #[error("key `connections_max`: {found} is outside of 1 to {CONNECTIONS_MAX}")]
    Connections { found: u32 },
    #[error(
        "there is no database file `{}`; with `create = true` the plugin makes it from the data set that it contains",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("the database file `{}` cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("key `database_url`")]
    Secret { source: SecretError },
    #[error(
        "key `database_url`: its value is not a URL like mysql://user:password@host:3306/name, \
         where characters with a meaning in URLs are written as %40"
    )]
    Url,
    #[error("the database server of `{place}` refuses this host")]
    Refused { place: String, source: sqlx::Error },
    #[error("the database `{place}` cannot be made")]
    Create { place: String, source: FillError },
    #[error(
        "the database `{place}` was not filled within {seconds} s, and is as it was: make its tables beforehand, or \
         look for what slows the server down"
    )]
    Slow { place: String, seconds: u64 },
    #[error("`{place}` is not a database of this plugin")]
    Foreign { place: String, source: sqlx::Error },
    #[error("the database `{place}` has an empty table: {probe}")]
    Empty { place: String, probe: &'static str },
}
