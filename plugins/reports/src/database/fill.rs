//! Makes the database file out of the CSV files that are compiled in (`data/README.md`).

use std::fs;
use std::io;
use std::path::Path;

use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection};

/// Rows in one statement: nine columns of as many rows stay far below SQLite's 32,766 parameters.
const ROWS_AT_ONCE: usize = 500;

const SCHEMA: &str = "
    CREATE TABLE airlines (
        carrier TEXT PRIMARY KEY,
        name TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE airports (
        code TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        city TEXT NOT NULL,
        region TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE flights (
        date TEXT NOT NULL,
        origin TEXT NOT NULL REFERENCES airports,
        scheduled_departure TEXT NOT NULL,
        carrier TEXT NOT NULL REFERENCES airlines,
        flight INTEGER NOT NULL,
        destination TEXT NOT NULL REFERENCES airports,
        departure_delay INTEGER, -- minutes; NULL: cancelled
        arrival_delay INTEGER, -- minutes; NULL: cancelled, diverted or not recorded
        distance_miles INTEGER NOT NULL,
        PRIMARY KEY (date, origin, carrier, flight)
    ) STRICT, WITHOUT ROWID;
";

const AIRLINES: &str = include_str!("../../data/airlines.csv");
const AIRPORTS: &str = include_str!("../../data/airports.csv");
const FLIGHTS: &str = include_str!("../../data/flights.csv");

/// Why the file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
}

/// Makes `path` in one step: there is never a part of it under that name, whatever happens meanwhile.
///
/// # Errors
/// The folder does not exist or cannot be written to, or the disk is full.
pub(super) async fn create(path: &Path) -> Result<(), FillError> {
    let mut part = path.as_os_str().to_owned();
    // Another host may be making the same file; the later one replaces it by an equal one.
    part.push(format!(".part-{}", std::process::id()));
    let part = Path::new(&part);
    // Says "No such file or directory", where SQLite would say "unable to open database file".
    drop(fs::File::create(part)?);
    let outcome = match write(part).await {
        Ok(()) => fs::rename(part, path).map_err(FillError::from),
        Err(error) => Err(error.into()),
    };
    if outcome.is_err() {
        // The first error is the one to tell; a part that stays is harmless.
        let _removed = fs::remove_file(part);
    }
    outcome
}

async fn write(part: &Path) -> Result<(), sqlx::Error> {
    let mut connection = super::options(part).foreign_keys(true).connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
    insert(&mut transaction, "INSERT INTO airlines ", AIRLINES).await?;
    insert(&mut transaction, "INSERT INTO airports ", AIRPORTS).await?;
    insert(&mut transaction, "INSERT INTO flights ", FLIGHTS).await?;
    transaction.commit().await?;
    connection.close().await
}

/// Inserts the lines of a CSV file below its header. The tables are `STRICT`: they turn the texts of numbers into
/// numbers and refuse everything else that does not fit.
async fn insert(
    connection: &mut SqliteConnection,
    into: &'static str,
    csv: &'static str,
) -> Result<(), sqlx::Error> {
    let lines: Vec<&str> = csv.lines().skip(1).collect();
    for lines in lines.chunks(ROWS_AT_ONCE) {
        let mut query = QueryBuilder::<Sqlite>::new(into);
        query.push_values(lines, |mut row, line| {
            for field in line.split(',') {
                row.push_bind(Some(field).filter(|field| !field.is_empty()));
            }
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::database::tests::filled;

    async fn check_count(sql: &'static str, expected: i64) {
        let (_folder, pool) = filled().await;
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        assert_eq!(count, expected, "{sql}");
    }

    #[tokio::test]
    async fn the_cut_is_whole() {
        check_count("SELECT count(*) FROM airlines", 15).await;
        check_count("SELECT count(*) FROM airports", 97).await;
        check_count("SELECT count(*) FROM flights", 6099).await;
        check_count("SELECT count(*) FROM flights WHERE departure_delay IS NULL", 35).await;
        check_count("SELECT count(*) FROM flights WHERE arrival_delay IS NULL", 56).await;
        check_count("SELECT count(DISTINCT date) FROM flights", 7).await;
        check_count("SELECT count(DISTINCT origin) FROM flights", 3).await;
    }

    #[tokio::test]
    async fn the_cut_is_consistent() {
        check_count("SELECT count(*) FROM pragma_foreign_key_check", 0).await;
        check_count("SELECT count(*) FROM airlines WHERE carrier NOT IN (SELECT carrier FROM flights)", 0)
            .await;
        check_count(
            "SELECT count(*) FROM airports WHERE code NOT IN (SELECT origin FROM flights UNION SELECT destination FROM flights)",
            0,
        )
        .await;
        check_count("SELECT count(*) FROM flights WHERE date IS NOT date(date)", 0).await;
        check_count(
            "SELECT count(*) FROM flights WHERE scheduled_departure NOT GLOB '[0-2][0-9]:[0-5][0-9]'",
            0,
        )
        .await;
        check_count(
            "SELECT count(*) FROM flights WHERE departure_delay IS NULL AND arrival_delay IS NOT NULL",
            0,
        )
        .await;
        check_count("SELECT count(*) FROM flights WHERE distance_miles NOT BETWEEN 50 AND 5000", 0).await;
    }
}
