//! Opens the database that the configuration names, and makes it first where the operator wants that; then answers
//! queries from it, each in bounded time.
//!
//! `open` runs in `on_start` only, which may block. What is open afterwards is read-only.

mod error;
mod fill;
mod mysql;
mod row;
mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Encode, Executor, IntoArguments, MySqlPool, SqlitePool, Type};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(crate) use error::DatabaseError;
pub(crate) use row::{Row, Value};

use crate::config::{CONNECTIONS_MAX, Config};
use crate::error::ReportError;
use mysql::is_away;

/// Time that a call waits for its turn, for a connection, and for the answer to a query: 2 s each. The functions have
/// 5 s, so that a server that has gone is reported as such.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads every column that the functions use, from one row.
const PROBES: [&str; 3] = [
    "SELECT carrier, name FROM airlines LIMIT 1",
    "SELECT code, name, city, region FROM airports LIMIT 1",
    "SELECT date, origin, scheduled_departure, carrier, flight, destination, departure_delay, arrival_delay, \
     distance_miles FROM flights LIMIT 1",
];

/// An open database, which the functions take as `#[state]`. Clones share it.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    /// As many as the pool has connections: who has one and gets no connection knows that none can be made.
    turns: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

/// Opens the configured database; `None` where none is configured.
///
/// # Errors
/// Names the key, the file or the server, and what is wrong with it.
pub(crate) async fn open(config: &Config) -> Result<Option<Database>, DatabaseError> {
    if !(1..=CONNECTIONS_MAX).contains(&config.connections_max) {
        return Err(DatabaseError::Connections { found: config.connections_max });
    }
    match (&config.database, &config.database_url) {
        (None, None) if config.create => Err(DatabaseError::CreateWithoutPlace),
        (None, None) => Ok(None),
        (Some(path), None) => sqlite::open(path, config).await.map(Some),
        (None, Some(url)) => mysql::open(url, config).await.map(Some),
        (Some(_), Some(_)) => Err(DatabaseError::TwoPlaces),
    }
}

impl Database {
    fn new(pool: Pool, connections_max: u32) -> Self {
        // 32 at most.
        Self { pool, turns: Arc::new(Semaphore::new(connections_max as usize)) }
    }

    /// All rows of a query that has a `?` for each of `values`.
    ///
    /// # Errors
    /// The database is busy, away, or cannot answer.
    ///
    /// # Cancel safety
    /// A query that is given up takes its connection with it.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, ReportError> {
        let Ok(turn) = timeout(PATIENCE, self.turns.acquire()).await else {
            return Err(ReportError::Busy);
        };
        let rows = match &self.pool {
            Pool::Sqlite(pool) => fetch(pool, sql, values, Row::Sqlite).await,
            Pool::MySql(pool) => fetch(pool, sql, values, Row::MySql).await,
        };
        drop(turn);
        rows.map_err(|error| match &self.pool {
            Pool::MySql(_) if is_away(&error) => {
                tracing::warn!(%error, "the database server cannot be reached");
                ReportError::Unreachable
            }
            // Another process writes to the file.
            Pool::Sqlite(_) if matches!(error, sqlx::Error::PoolTimedOut) => ReportError::Busy,
            _ => ReportError::from_database(&error),
        })
    }

    /// The first row of a query, if there is any.
    ///
    /// # Errors
    /// As [`Database::rows`].
    pub(crate) async fn first(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, ReportError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Closes all connections, which ends the thread that sqlx has for each one to a file.
    pub(crate) async fn close(&self) {
        let closed = match &self.pool {
            Pool::Sqlite(pool) => timeout(PATIENCE, pool.close()).await,
            Pool::MySql(pool) => timeout(PATIENCE, pool.close()).await,
        };
        if closed.is_err() {
            tracing::warn!("the connections to the database were not all closed in time");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pools would show the options of their connections.
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// A connection in the middle of a query. Dropped there, it is closed: back in the pool, it would be waited for until
/// the server has answered, which one that has gone never does.
struct InUse<DB: sqlx::Database>(Option<PoolConnection<DB>>);

impl<DB: sqlx::Database> Drop for InUse<DB> {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

async fn fetch<DB>(
    pool: &sqlx::Pool<DB>,
    sql: &'static str,
    values: &[Value<'_>],
    to_row: fn(DB::Row) -> Row,
) -> sqlx::Result<Vec<Row>>
where
    DB: sqlx::Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> Option<&'v str>: Encode<'v, DB> + Type<DB>,
    for<'v> i64: Encode<'v, DB> + Type<DB>,
{
    let mut query = sqlx::query(sql);
    for value in values {
        query = match *value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        };
    }
    let mut in_use = InUse(Some(pool.acquire().await?));
    let Some(connection) = &mut in_use.0 else { return Err(sqlx::Error::PoolClosed) };
    let rows = match timeout(PATIENCE, query.fetch_all(&mut **connection)).await {
        Ok(rows) => rows?,
        Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
    };
    drop(in_use.0.take());
    Ok(rows.into_iter().map(to_row).collect())
}

#[cfg(test)]
pub(crate) mod tests;
