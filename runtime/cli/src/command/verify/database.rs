//! A temporary database on the disk, for what need not fit into memory.

use std::path::Path;

use floe_core::{Error, Result};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// Nothing of it has to survive the process.
pub(super) async fn open(file: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .pragma("journal_mode", "OFF")
        .pragma("synchronous", "OFF")
        .pragma("temp_store", "FILE")
        .pragma("cache_size", "-65536");
    SqliteConnection::connect_with(&options).await.map_err(failed)
}

pub(super) async fn run(database: &mut SqliteConnection, statement: &str) -> Result<()> {
    sqlx::query(statement).execute(database).await.map(drop).map_err(failed)
}

pub(super) fn failed(error: sqlx::Error) -> Error {
    Error::retry(format!(
        "the temporary database in {}: {error}\n→ TMPDIR names another folder, with more room",
        std::env::temp_dir().display()
    ))
}
