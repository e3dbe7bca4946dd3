//! The database of a MySQL or MariaDB server, which may be away when the plugin starts, and go and come later on.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, MySqlPool};
use tokio::time::timeout;

use super::{Database, DatabaseError, PATIENCE, PROBES, Pool, fill};
use crate::config::{Config, SecretText};

/// The schemes of URLs of such servers.
const SCHEMES: [&str; 2] = ["mysql://", "mariadb://"];

/// Time for the start with a slow server; the host allows 10 s by default.
const START_PATIENCE: Duration = Duration::from_secs(8);

/// The state of a database.
enum Found {
    /// It has what it should.
    Whole,
    /// It has no tables yet, or nothing in them.
    Nothing(DatabaseError),
}

/// Connects to the server, and checks the database, or fills it where it is empty and the operator wants that.
///
/// The plugin starts even if the server cannot be reached: machines come up in any order. Until it is there, calls
/// fail with `unreachable`.
///
/// # Errors
/// Faults that the operator has to fix: the URL, an account that the server does not know, a database of something else.
pub(super) async fn open(url: &SecretText, config: &Config) -> Result<Database, DatabaseError> {
    let options = options(url)?;
    let place = place(&options);
    let pool = MySqlPoolOptions::new()
        .max_connections(config.connections_max)
        .acquire_timeout(PATIENCE)
        // One that the server has closed meanwhile is found out before it is used; so the pool needs no background task.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| {
            Box::pin(async { connection.execute("SET SESSION TRANSACTION READ ONLY").await.map(drop) })
        })
        .connect_lazy_with(options.clone());
    let prepared = timeout(START_PATIENCE, prepare(&pool, &options, config.create, &place)).await;
    let late = || match config.create {
        // The server answers too slowly: an operator who wants tables has to know that there are none.
        true => DatabaseError::Slow { place: place.clone(), seconds: START_PATIENCE.as_secs() },
        false => refused(&place, sqlx::Error::PoolTimedOut),
    };
    match prepared.unwrap_or_else(|_elapsed| Err(late())) {
        Ok(()) => tracing::info!(database = place, "the database is open"),
        Err(DatabaseError::Refused { source, .. }) if is_away(&source) => tracing::warn!(
            database = place,
            error = %source,
            "the database server cannot be reached: calls fail until it can, and nothing is checked or created"
        ),
        Err(error) => {
            pool.close().await;
            return Err(error);
        }
    }
    Ok(Database::new(Pool::MySql(pool), config.connections_max))
}

fn options(url: &SecretText) -> Result<MySqlConnectOptions, DatabaseError> {
    let url = url.read().map_err(|source| DatabaseError::Secret { source })?;
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(DatabaseError::Url);
    }
    // What the parser says may hold a part of what it was given.
    let options = MySqlConnectOptions::from_str(&url).map_err(|_| DatabaseError::Url)?;
    match options.get_database() {
        Some(_) => Ok(options),
        None => Err(DatabaseError::Url),
    }
}

/// The server and the database, for messages.
fn place(options: &MySqlConnectOptions) -> String {
    let name = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("{} in {}", name, socket.display()),
        None => format!("{}:{}/{name}", options.get_host(), options.get_port()),
    }
}

async fn prepare(
    pool: &MySqlPool,
    options: &MySqlConnectOptions,
    create: bool,
    place: &str,
) -> Result<(), DatabaseError> {
    let nothing = match probe(pool, place).await? {
        Found::Whole => return Ok(()),
        Found::Nothing(why) => why,
    };
    if !create {
        return Err(nothing);
    }
    // Not one of the pool, which may only read.
    let mut connection = options.connect().await.map_err(|source| refused(place, source))?;
    let filled = fill::fill_server(&mut connection).await;
    filled.map_err(|source| DatabaseError::Create { place: place.to_owned(), source })?;
    // What was committed is there, however this ends.
    let _closed = timeout(PATIENCE, connection.close()).await;
    tracing::info!(database = place, "the database was empty and has been filled");
    match probe(pool, place).await? {
        Found::Whole => Ok(()),
        Found::Nothing(why) => Err(why),
    }
}

/// Looks for the tables, with their columns, and something in them.
async fn probe(pool: &MySqlPool, place: &str) -> Result<Found, DatabaseError> {
    let mut connection = pool.acquire().await.map_err(|source| refused(place, source))?;
    for probe in PROBES {
        let Ok(row) = timeout(PATIENCE, sqlx::query(probe).fetch_optional(&mut *connection)).await else {
            drop(connection.detach());
            return Err(refused(place, sqlx::Error::PoolTimedOut));
        };
        match row {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Ok(Found::Nothing(DatabaseError::Empty { place: place.to_owned(), probe }));
            }
            Err(source) if is_away(&source) => return Err(refused(place, source)),
            Err(source) => {
                let has_no_table = sqlstate(&source).as_deref() == Some("42S02");
                let foreign = DatabaseError::Foreign { place: place.to_owned(), source };
                return if has_no_table { Ok(Found::Nothing(foreign)) } else { Err(foreign) };
            }
        }
    }
    Ok(Found::Whole)
}

fn refused(place: &str, source: sqlx::Error) -> DatabaseError {
    DatabaseError::Refused { place: place.to_owned(), source }
}

/// Returns true if an error means that the server is away; the next call may find it.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        // A certificate that is not to be trusted comes as such data: there is a server, and it is not the right one.
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        sqlx::Error::PoolTimedOut => true,
        // Class 08 is "connection exception": the server shuts down, or has no room for another connection.
        other => sqlstate(other).is_some_and(|state| state.starts_with("08")),
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_and_the_database_are_all_that_is_shown() {
        let options =
            options(&"mysql://me:canary%40x@db.example:3307/flights?ssl-mode=REQUIRED".into()).unwrap();
        assert_eq!(place(&options), "db.example:3307/flights");
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_showing_it() {
        for url in [
            "canary",
            "postgres://me:canary@db.example/flights",
            "mysql://me:canary@db.example",
            "mysql://me:canary@db.example:canary/flights",
            "mysql://me:canary@db.example/flights?ssl-mode=canary",
            "mysql://me:can%ffary@db.example/flights",
        ] {
            let error = framex_sdk::Error::from(options(&url.into()).unwrap_err()).to_string();
            assert!(error.contains("not a URL like mysql://user:password@host"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
