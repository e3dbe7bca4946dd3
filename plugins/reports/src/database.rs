//! Opens the database file that the configuration names, and makes it first where the operator wants that.
//!
//! Runs in `on_start` only, which may block. What is open afterwards is read-only.

mod fill;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::config::{CONNECTIONS_MAX, Config};

/// How long a query waits for another process that writes, and a call for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads every column that the functions use, from one row.
const PROBES: [&str; 3] = [
    "SELECT carrier, name FROM airlines LIMIT 1",
    "SELECT code, name, city, region FROM airports LIMIT 1",
    "SELECT date, origin, scheduled_departure, carrier, flight, destination, departure_delay, arrival_delay, \
     distance_miles FROM flights LIMIT 1",
];

/// Why the plugin does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("key `create` needs the key `database`, which says where")]
    CreateWithoutPath,
    #[error("key `connections_max`: {found} is outside of 1 to {CONNECTIONS_MAX}")]
    Connections { found: u32 },
    #[error(
        "there is no database file `{}`; with `create = true` the plugin makes it from the data set that it contains",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("the database file `{}` cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the database file `{}` cannot be made", path.display())]
    Create { path: PathBuf, source: fill::FillError },
    #[error("`{}` is not a database of this plugin", path.display())]
    Foreign { path: PathBuf, source: sqlx::Error },
    #[error("the database `{}` has an empty table: {probe}", path.display())]
    Empty { path: PathBuf, probe: &'static str },
}

/// Opens the configured database read-only; `None` where none is configured.
///
/// # Errors
/// Names the key or the file, and what is wrong with it.
pub(crate) async fn open(config: &Config) -> Result<Option<SqlitePool>, DatabaseError> {
    if !(1..=CONNECTIONS_MAX).contains(&config.connections_max) {
        return Err(DatabaseError::Connections { found: config.connections_max });
    }
    let Some(path) = &config.database else {
        return if config.create { Err(DatabaseError::CreateWithoutPath) } else { Ok(None) };
    };
    // Absolute in every message, as a relative path does not say where it was looked for.
    let path = std::path::absolute(path)
        .map_err(|source| DatabaseError::Unreadable { path: path.clone(), source })?;
    ensure_present(&path, config.create).await?;

    let pool = SqlitePoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(BUSY_TIMEOUT)
        // A connection to a file does not age, and without these the pool needs no background task.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options(&path).read_only(true))
        .await
        .map_err(|source| DatabaseError::Foreign { path: path.clone(), source })?;
    if let Err(error) = probe(&pool, &path).await {
        pool.close().await;
        return Err(error);
    }
    tracing::info!(database = %path.display(), "the database is open");
    Ok(Some(pool))
}

/// How files are opened, for reading and for filling. The threads' names tell operators whose they are.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|id| format!("reports-db-{id}"))
}

/// Finds a readable file, or makes it.
async fn ensure_present(path: &Path, create: bool) -> Result<(), DatabaseError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            Err(DatabaseError::Unreadable { path: path.to_owned(), source })
        }
        // SQLite says of any unreadable file that it is "unable to open" it; this says why.
        Ok(_) => match File::open(path) {
            Ok(_) => Ok(()),
            Err(source) => Err(DatabaseError::Unreadable { path: path.to_owned(), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
            fill::create(path).await.map_err(|source| DatabaseError::Create { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DatabaseError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(DatabaseError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Checks that the tables are there, with their columns, and not empty.
async fn probe(pool: &SqlitePool, path: &Path) -> Result<(), DatabaseError> {
    for probe in PROBES {
        let row = sqlx::query(probe).fetch_optional(pool).await;
        match row {
            Ok(Some(_)) => {}
            Ok(None) => return Err(DatabaseError::Empty { path: path.to_owned(), probe }),
            Err(source) => return Err(DatabaseError::Foreign { path: path.to_owned(), source }),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use tempfile::TempDir;

    use super::*;

    fn config(database: Option<PathBuf>, create: bool) -> Config {
        Config { database, create, connections_max: 2, slow_query_ms: 200 }
    }

    /// A fresh database of the embedded data set; it lives as long as the folder.
    pub(crate) async fn filled() -> (TempDir, SqlitePool) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(Some(folder.path().join("flights.db")), true);
        let pool = open(&config).await.unwrap().unwrap();
        (folder, pool)
    }

    async fn check_refused(config: &Config, expected: &[&str]) {
        // As the host shows it, with causes.
        let error = framex_sdk::Error::from(open(config).await.unwrap_err()).to_string();
        for part in expected {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }

    #[tokio::test]
    async fn a_host_without_a_database_starts() {
        assert!(open(&config(None, false)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn wrong_config_is_refused() {
        check_refused(&config(None, true), &["`create` needs the key `database`"]).await;
        let many = Config { connections_max: 33, ..config(None, false) };
        check_refused(&many, &["`connections_max`: 33 is outside of 1 to 32"]).await;
    }

    #[tokio::test]
    async fn a_file_that_cannot_serve_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flights.db");
        let name = path.display().to_string();

        check_refused(&config(Some(path.clone()), false), &["no database file", &name, "create = true"])
            .await;
        assert!(!path.exists(), "looking for it does not make it");
        check_refused(&config(Some(folder.path().to_owned()), true), &["cannot be read", "directory"]).await;
        let nowhere = folder.path().join("no/such/folder.db");
        check_refused(&config(Some(nowhere), true), &["cannot be made"]).await;

        fs::write(&path, "something else that is long enough to have a header of SQLite").unwrap();
        check_refused(&config(Some(path.clone()), true), &["is not a database of this plugin", &name]).await;
        fs::write(&path, "").unwrap();
        check_refused(&config(Some(path), true), &["is not a database of this plugin", "no such table"])
            .await;
    }

    #[tokio::test]
    async fn a_database_with_an_empty_table_is_refused() {
        let (folder, pool) = filled().await;
        pool.close().await;
        let path = folder.path().join("flights.db");
        let pool = SqlitePool::connect_with(options(&path)).await.unwrap();
        sqlx::query("DELETE FROM flights").execute(&pool).await.unwrap();
        pool.close().await;
        check_refused(&config(Some(path), true), &["has an empty table", "FROM flights"]).await;
    }

    #[tokio::test]
    async fn what_is_open_is_read_only() {
        let (_folder, pool) = filled().await;
        let error = sqlx::query("DELETE FROM flights").execute(&pool).await.unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
    }

    #[tokio::test]
    async fn an_existing_database_is_used_as_it_is() {
        let (folder, pool) = filled().await;
        pool.close().await;
        let path = folder.path().join("flights.db");
        let before = fs::read(&path).unwrap();
        let pool = open(&config(Some(path.clone()), true)).await.unwrap().unwrap();
        pool.close().await;
        assert!(fs::read(&path).unwrap() == before);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["flights.db"], "nothing else is left in the folder");
    }
}
