//! Makes the database out of the CSV files that are compiled in (`data/README.md`).

use std::fs;
use std::io;
use std::path::Path;

use sqlx::database::HasStatementCache;
use sqlx::{
    ConnectOptions, Connection, Encode, Executor, IntoArguments, MySqlConnection, QueryBuilder, Type,
};

/// Rows in one statement: nine columns of as many rows stay far below SQLite's 32,766 parameters, and the 65,535 of
/// MySQL.
const ROWS_AT_ONCE: usize = 500;

const SQLITE_SCHEMA: &str = "
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

/// The same for a server. Several hosts may create tables there at once, and a table outlives a start that failed.
const MYSQL_SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS airlines (
        carrier VARCHAR(2) PRIMARY KEY,
        name VARCHAR(100) NOT NULL
    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS airports (
        code VARCHAR(3) PRIMARY KEY,
        name VARCHAR(100) NOT NULL,
        city VARCHAR(100) NOT NULL,
        region VARCHAR(2) NOT NULL
    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS flights (
        date VARCHAR(10) NOT NULL,
        origin VARCHAR(3) NOT NULL,
        scheduled_departure VARCHAR(5) NOT NULL,
        carrier VARCHAR(2) NOT NULL,
        flight INT NOT NULL,
        destination VARCHAR(3) NOT NULL,
        departure_delay INT,
        arrival_delay INT,
        distance_miles INT NOT NULL,
        PRIMARY KEY (date, origin, carrier, flight),
        FOREIGN KEY (origin) REFERENCES airports (code),
        FOREIGN KEY (carrier) REFERENCES airlines (carrier),
        FOREIGN KEY (destination) REFERENCES airports (code)
    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
];

/// The tables in the order in which they refer to each other, with their lines below a header.
const TABLES: [(&str, &str); 3] = [
    ("INSERT INTO airlines ", include_str!("../../data/airlines.csv")),
    ("INSERT INTO airports ", include_str!("../../data/airports.csv")),
    ("INSERT INTO flights ", include_str!("../../data/flights.csv")),
];

/// The reason that the database cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Makes the SQLite file `path` in one step: a file of that name is always complete, even after a crash.
///
/// # Errors
/// The folder does not exist or cannot be written to, or the disk is full.
pub(super) async fn create_file(path: &Path) -> Result<(), FillError> {
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
    let mut connection = super::sqlite::options(part).foreign_keys(true).connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SQLITE_SCHEMA).execute(&mut *transaction).await?;
    // The tables are `STRICT`: they turn the texts of numbers into numbers and refuse everything else that does not fit.
    insert_all(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await
}

/// Makes the tables that are not there, and fills them all or none. Rows that are there already are an error.
///
/// # Errors
/// The account may not do that, another host has just done it, or a table is one of something else.
pub(super) async fn fill_server(connection: &mut MySqlConnection) -> Result<(), FillError> {
    for table in MYSQL_SCHEMA {
        sqlx::raw_sql(table).execute(&mut *connection).await?;
    }
    let mut transaction = connection.begin().await?;
    // The server's mode decides whether what does not fit is refused or cut; here it is refused.
    let strict = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
    sqlx::raw_sql(strict).execute(&mut *transaction).await?;
    insert_all(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Inserts the lines of all tables.
async fn insert_all<C>(connection: &mut C) -> Result<(), sqlx::Error>
where
    C: Connection,
    C::Database: HasStatementCache,
    <C::Database as sqlx::Database>::Arguments: IntoArguments<C::Database>,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    for<'v> Option<&'v str>: Encode<'v, C::Database> + Type<C::Database>,
{
    for (into, csv) in TABLES {
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        for lines in lines.chunks(ROWS_AT_ONCE) {
            let mut query = QueryBuilder::<C::Database>::new(into);
            query.push_values(lines, |mut row, line| {
                for field in line.split(',') {
                    row.push_bind(Some(field).filter(|field| !field.is_empty()));
                }
            });
            query.build().persistent(false).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::database::tests::filled;

    async fn check_count(sql: &'static str, expected: i64) {
        let (_folder, database) = filled().await;
        let row = database.first(sql, &[]).await.unwrap().unwrap();
        let count: i64 = row.number("count(*)").unwrap();
        assert_eq!(count, expected, "{sql}");
    }

    #[tokio::test]
    async fn the_cut_is_whole() {
        check_count("SELECT count(*) FROM airlines", 15).await;
        check_count("SELECT count(*) FROM airports", 97).await;
        check_count("SELECT count(*) FROM flights", 6099).await;
        check_count("SELECT count(*) FROM flights WHERE departure_delay IS NULL", 35).await;
        check_count("SELECT count(*) FROM flights WHERE arrival_delay IS NULL", 56).await;
        check_count("SELECT count(DISTINCT date) AS 'count(*)' FROM flights", 7).await;
        check_count("SELECT count(DISTINCT origin) AS 'count(*)' FROM flights", 3).await;
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
