//! Databases that open, and databases that do not.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn config(database: Option<PathBuf>, create: bool) -> Config {
    Config { database, database_url: None, create, connections_max: 2, slow_query_ms: 200 }
}

/// A fresh database of the embedded data set; it lives as long as the folder.
pub(crate) async fn filled() -> (TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Some(folder.path().join("flights.db")), true);
    let database = open(&config).await.unwrap().unwrap();
    (folder, database)
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
    check_refused(&config(None, true), &["`create` needs the key `database` or `database_url`"]).await;
    let url = || Some("mysql://me:canary@127.0.0.1/flights".into());
    let both = Config { database_url: url(), ..config(Some(PathBuf::from("/flights.db")), false) };
    check_refused(&both, &["`database` and `database_url`: only one"]).await;
    let nowhere = Config { database_url: Some("env:NO_SUCH_VARIABLE".into()), ..config(None, false) };
    check_refused(&nowhere, &["key `database_url`", "variable `NO_SUCH_VARIABLE` is not set"]).await;
    let many = Config { connections_max: 33, ..config(None, false) };
    check_refused(&many, &["`connections_max`: 33 is outside of 1 to 32"]).await;
}

#[tokio::test]
async fn a_file_that_cannot_serve_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    let name = path.display().to_string();

    check_refused(&config(Some(path.clone()), false), &["no database file", &name, "create = true"]).await;
    assert!(!path.exists(), "looking for it does not make it");
    check_refused(&config(Some(folder.path().to_owned()), true), &["cannot be read", "directory"]).await;
    let nowhere = folder.path().join("no/such/folder.db");
    check_refused(&config(Some(nowhere), true), &["cannot be made"]).await;

    fs::write(&path, "something else that is long enough to have a header of SQLite").unwrap();
    check_refused(&config(Some(path.clone()), true), &["is not a database of this plugin", &name]).await;
    fs::write(&path, "").unwrap();
    check_refused(&config(Some(path), true), &["is not a database of this plugin", "no such table"]).await;
}

#[tokio::test]
async fn a_database_with_an_empty_table_is_refused() {
    let (folder, pool) = filled().await;
    pool.close().await;
    let path = folder.path().join("flights.db");
    let pool = SqlitePool::connect_with(sqlite::options(&path)).await.unwrap();
    sqlx::query("DELETE FROM flights").execute(&pool).await.unwrap();
    pool.close().await;
    check_refused(&config(Some(path), true), &["has an empty table", "FROM flights"]).await;
}

#[tokio::test]
async fn what_is_open_is_read_only() {
    let (_folder, database) = filled().await;
    let Pool::Sqlite(pool) = &database.pool else { panic!("it is a file") };
    let error = sqlx::query("DELETE FROM flights").execute(pool).await.unwrap_err();
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
