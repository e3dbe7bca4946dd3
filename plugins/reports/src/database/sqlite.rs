//! The SQLite file: opened read-only, and made first where the operator wants that.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::{Database, DatabaseError, PATIENCE, PROBES, Pool, fill};
use crate::config::Config;

/// Opens the file, as it is or as it was just made.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(super) async fn open(path: &Path, config: &Config) -> Result<Database, DatabaseError> {
    // Absolute in every message, as a relative path does not say where it was looked for.
    let path = std::path::absolute(path)
        .map_err(|source| DatabaseError::Unreadable { path: path.to_owned(), source })?;
    ensure_present(&path, config.create).await?;
    let place = path.display().to_string();

    let pool = SqlitePoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(PATIENCE)
        // A connection to a file does not age, and without these the pool needs no background task.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options(&path).read_only(true))
        .await
        .map_err(|source| DatabaseError::Foreign { place: place.clone(), source })?;
    if let Err(error) = probe(&pool, &place).await {
        pool.close().await;
        return Err(error);
    }
    tracing::info!(database = place, "the database is open");
    Ok(Database::new(Pool::Sqlite(pool), config.connections_max))
}

/// Returns the options to open files with, for reading and for filling. Operators see the plugin in the threads' names.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
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
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => fill::create_file(path)
            .await
            .map_err(|source| DatabaseError::Create { place: path.display().to_string(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DatabaseError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(DatabaseError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Checks that the tables are there, with their columns, and not empty.
async fn probe(pool: &SqlitePool, place: &str) -> Result<(), DatabaseError> {
    for probe in PROBES {
        let row = sqlx::query(probe).fetch_optional(pool).await;
        match row {
            Ok(Some(_)) => {}
            Ok(None) => return Err(DatabaseError::Empty { place: place.to_owned(), probe }),
            Err(source) => return Err(DatabaseError::Foreign { place: place.to_owned(), source }),
        }
    }
    Ok(())
}
