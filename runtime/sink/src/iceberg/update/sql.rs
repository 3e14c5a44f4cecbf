//! The update in a SQL catalog: metadata is written to a new file, then one row is swapped.

use std::str::FromStr;

use floe_core::{Error, Result};
use iceberg::MetadataLocation;
use iceberg::table::Table;
use sqlx::AnyPool;

use super::super::config::CatalogConfig;
use super::super::connect::{LOCKED_MAX, again_while_locked, sql_uri, unreachable};
use super::super::error::describe;
use super::{Answer, Change};

pub(super) struct SqlClient {
    pool: AnyPool,
    name: String,
    is_postgres: bool,
}

/// One swap at a time, and one that waits for a lock.
const CONNECTIONS_MAX: u32 = 2;

impl SqlClient {
    pub(super) async fn connect(config: &CatalogConfig) -> Result<SqlClient> {
        sqlx::any::install_default_drivers();
        again_while_locked(LOCKED_MAX, || SqlClient::connect_now(config)).await
    }

    async fn connect_now(config: &CatalogConfig) -> Result<SqlClient> {
        let (uri, _) = sql_uri(config).await?;
        let pool = sqlx::any::AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect(&uri)
            .await
            .map_err(|error| unreachable(config, &error.to_string()))?;
        let is_postgres = uri.starts_with("postgres");
        Ok(SqlClient { pool, name: config.name.clone(), is_postgres })
    }

    pub(super) async fn update(&self, base: &Table, change: Change) -> Result<Answer> {
        let failed = |error: iceberg::Error| {
            Error::retry(format!("update table {}: {}", base.identifier(), describe(&error)))
        };
        for requirement in &change.requirements {
            if requirement.check(Some(base.metadata())).is_err() {
                return Ok(Answer::Conflict);
            }
        }
        let before = base.metadata_location_result().map_err(failed)?.to_owned();
        let mut builder = base.metadata().clone().into_builder(Some(before.clone()));
        for update in change.updates {
            builder = match update.apply(builder) {
                Ok(builder) => builder,
                Err(error) => return Ok(Answer::Refused(describe(&error))),
            };
        }
        let metadata = match builder.build() {
            Ok(built) => built.metadata,
            Err(error) => return Ok(Answer::Refused(describe(&error))),
        };
        let location = MetadataLocation::from_str(&before)
            .map_err(failed)?
            .with_next_version()
            .with_new_metadata(&metadata);
        metadata.write_to(base.file_io(), &location).await.map_err(failed)?;
        match self.swap(base, &before, &location.to_string()).await {
            Ok(1) => Ok(Answer::Applied),
            Ok(_) => {
                // What stays is garbage and harms nobody.
                let _ = base.file_io().delete(location.to_string()).await;
                Ok(Answer::Conflict)
            }
            Err(error) => Ok(Answer::Unknown(error.to_string())),
        }
    }

    /// The statement that the crate's catalog sends too. It commits by itself, so its answer is the commit's.
    async fn swap(&self, base: &Table, before: &str, after: &str) -> sqlx::Result<u64> {
        let mark = |number: u32| match self.is_postgres {
            true => format!("${number}"),
            false => "?".to_owned(),
        };
        let statement = format!(
            "UPDATE iceberg_tables SET metadata_location = {}, previous_metadata_location = {} \
             WHERE catalog_name = {} AND table_name = {} AND table_namespace = {} \
             AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location = {}",
            mark(1),
            mark(2),
            mark(3),
            mark(4),
            mark(5),
            mark(6)
        );
        let ident = base.identifier();
        let done = sqlx::query(&statement)
            .bind(after.to_owned())
            .bind(before.to_owned())
            .bind(self.name.clone())
            .bind(ident.name().to_owned())
            .bind(ident.namespace().as_ref().join("."))
            .bind(before.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}
