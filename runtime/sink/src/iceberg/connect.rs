//! Connects to a catalog: SQL (sqlite, Postgres) or REST.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floe_core::{Error, Result};
use iceberg::{Catalog, CatalogBuilder};
use iceberg_catalog_rest::RestCatalogBuilder;
use iceberg_catalog_sql::{SqlBindStyle, SqlCatalogBuilder};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

use super::config::{CatalogConfig, CatalogKind};
use super::error::describe;
use super::renew::Renewing;
use super::storage::ObjectStorageFactory;
use super::vending::{DELEGATION, VENDED, VENDING, Vending};

/// A server that does not answer is given up after this; who asked decides whether to ask again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A database that is locked for longer is held by somebody.
pub(super) const LOCKED_MAX: Duration = Duration::from_secs(10);
const LOCKED_RETRY: Duration = Duration::from_millis(20);

pub async fn connect(config: &CatalogConfig) -> Result<Arc<dyn Catalog>> {
    let connecting = again_while_locked(LOCKED_MAX, || connect_now(config));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(unreachable(config, "no answer in 20 s")),
    }
}

/// While another connection makes the database or is the last to close it, SQLite may say so at once, whatever
/// the time-out that it was given.
pub(super) async fn again_while_locked<T, F>(
    max: Duration,
    mut connect: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    loop {
        match connect().await {
            Err(error) if is_locked(&error) && begin.elapsed() < max => {
                tokio::time::sleep(LOCKED_RETRY).await;
            }
            connected => return connected,
        }
    }
}

fn is_locked(error: &Error) -> bool {
    error.message.contains("database is locked")
}

async fn connect_now(config: &CatalogConfig) -> Result<Arc<dyn Catalog>> {
    let properties: HashMap<String, String> = config.properties.clone().into_iter().collect();
    let storage = Arc::new(ObjectStorageFactory { properties: properties.clone() });
    match config.kind {
        CatalogKind::Sql => {
            let (uri, style) = sql_uri(config).await?;
            let Some(warehouse) = &config.warehouse else {
                return Err(Error::invalid(
                    "a SQL catalog needs a warehouse, the folder or bucket of its tables\n  → set warehouse in [sink] catalog, as \"file://./lake\" or \"s3://bucket/path\"",
                ));
            };
            let builder = SqlCatalogBuilder::default()
                .uri(uri)
                .warehouse_location(warehouse.trim_end_matches('/'))
                .sql_bind_style(style)
                .with_storage_factory(storage);
            let catalog = builder.load(config.name.clone(), HashMap::new()).await;
            Ok(Arc::new(catalog.map_err(|error| unreachable(config, &describe(&error)))?))
        }
        CatalogKind::Rest => {
            let mut properties = properties;
            properties.insert("uri".to_owned(), config.uri.clone());
            if let Some(warehouse) = &config.warehouse {
                properties.insert("warehouse".to_owned(), warehouse.clone());
            }
            // Who has keys of his own wants no others.
            let vending = (!properties.contains_key("s3.access-key-id")).then(|| {
                let (vending, name) = Vending::register(config);
                properties.insert(VENDING.to_owned(), name);
                let sends = |it: &String| it.eq_ignore_ascii_case(&format!("header.{DELEGATION}"));
                if !properties.keys().any(sends) {
                    properties.insert(format!("header.{DELEGATION}"), VENDED.to_owned());
                }
                vending
            });
            let builder = RestCatalogBuilder::default().with_storage_factory(storage);
            let catalog = builder.load(config.name.clone(), properties).await;
            let catalog = catalog.map_err(|error| unreachable(config, &describe(&error)))?;
            let renews = config.properties.contains_key("credential");
            let catalog: Arc<dyn Catalog> = Arc::new(Renewing { catalog, renews, vending });
            // The first request is what shows whether somebody answers.
            catalog
                .list_namespaces(None)
                .await
                .map_err(|error| unreachable(config, &describe(&error)))?;
            Ok(catalog)
        }
    }
}

pub(super) fn unreachable(config: &CatalogConfig, why: &str) -> Error {
    Error::retry(format!(
        "the catalog {} cannot be reached: {why}\n  → check that it runs, that uri in [sink] catalog is right, and the credentials",
        config.place()
    ))
}

/// sqlite is put into WAL mode, which the file then keeps: in rollback-journal mode the catalog client
/// was seen to report a COMMIT that had failed as done.
pub(super) async fn sql_uri(config: &CatalogConfig) -> Result<(String, SqlBindStyle)> {
    if config.uri.starts_with("postgres:") || config.uri.starts_with("postgresql:") {
        return Ok((config.uri.clone(), SqlBindStyle::DollarNumeric));
    }
    if !config.uri.starts_with("sqlite:") {
        return Err(Error::invalid(format!(
            "catalog uri {}: a SQL catalog is sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE",
            config.place()
        )));
    }
    let failed = |error: sqlx::Error| unreachable(config, &error.to_string());
    let path = config.uri.trim_start_matches("sqlite:").trim_start_matches("//");
    let file = path.split('?').next().unwrap_or(path);
    if let Some(folder) = std::path::Path::new(file).parent()
        && !folder.as_os_str().is_empty()
    {
        std::fs::create_dir_all(folder).map_err(|error| unreachable(config, &error.to_string()))?;
    }
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{file}"))
        .map_err(failed)?
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(10))
        .journal_mode(SqliteJournalMode::Wal);
    let connection = options.connect().await.map_err(failed)?;
    sqlx::Connection::close(connection).await.map_err(failed)?;
    Ok((format!("sqlite://{file}?mode=rwc"), SqlBindStyle::QMark))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was asked, and what came of it, where the first answers are these.
    async fn asked(max: Duration, answers: &[&str]) -> (usize, Result<()>) {
        let mut asked = 0;
        let done = again_while_locked(max, || {
            let answer = answers.get(asked).map(|it| Error::retry((*it).to_owned()));
            asked += 1;
            std::future::ready(answer.map_or(Ok(()), Err))
        });
        let done = done.await;
        (asked, done)
    }

    #[tokio::test]
    async fn a_locked_database_is_asked_again_and_nothing_else() {
        let locked = "error returned from database: (code: 5) database is locked";
        assert!(matches!(asked(LOCKED_MAX, &[locked, locked]).await, (3, Ok(()))));
        assert!(matches!(asked(LOCKED_MAX, &[locked, "no such file"]).await, (2, Err(_))));
        assert!(matches!(asked(Duration::ZERO, &[locked]).await, (1, Err(_))), "locked for longer");
    }
}
