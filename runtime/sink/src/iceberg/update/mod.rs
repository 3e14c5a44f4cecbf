//! A table update by a request of our own: what the crate's transactions cannot say (deletes, branches,
//! schema changes), with the requirements that its own commits have.
//!
//! Why the crate's `Catalog::update_table` does not do: runtime/decisions/015.

mod head;
mod rest;
mod sql;

use std::collections::HashMap;

use floe_core::Result;
use iceberg::table::Table;
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::config::{CatalogConfig, CatalogKind};
pub(super) use head::{new_head, new_snapshot_id, parent_of};
use rest::RestClient;
use sql::SqlClient;

/// A compare-and-swap of a table's metadata.
pub(super) struct Change {
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
}

/// What the catalog made of it. `Err` of the functions below: it was not sent.
pub(super) enum Answer {
    Applied,
    /// A requirement is not met, or somebody was faster: nothing was changed.
    Conflict,
    /// The catalog will never take it, and says why: nothing was changed.
    Refused(String),
    /// Nobody knows whether it was applied.
    Unknown(String),
}

/// Credentials for files below a prefix, under Iceberg's names. They are secrets.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) prefix: String,
    pub(super) config: HashMap<String, String>,
}

pub(super) struct Updater {
    config: CatalogConfig,
    client: OnceCell<Client>,
}

enum Client {
    Sql(SqlClient),
    Rest(RestClient),
}

impl Updater {
    pub(super) fn new(config: &CatalogConfig) -> Updater {
        Updater { config: config.clone(), client: OnceCell::new() }
    }

    /// Sends the change of this very base, once.
    pub(super) async fn update(&self, base: &Table, change: Change) -> Result<Answer> {
        match self.client().await? {
            Client::Sql(client) => client.update(base, change).await,
            Client::Rest(client) => client.update(base, change).await,
        }
    }

    /// What the catalog vends for the files of a table; nothing where it vends nothing.
    pub(super) async fn granted(&self, table: &TableIdent) -> Result<Vec<Granted>> {
        match self.client().await? {
            Client::Sql(_) => Ok(Vec::new()),
            Client::Rest(client) => client.granted(table).await,
        }
    }

    async fn client(&self) -> Result<&Client> {
        let connect = || async {
            Ok(match self.config.kind {
                CatalogKind::Sql => Client::Sql(SqlClient::connect(&self.config).await?),
                CatalogKind::Rest => Client::Rest(RestClient::connect(&self.config).await?),
            })
        };
        self.client.get_or_try_init(connect).await
    }
}
