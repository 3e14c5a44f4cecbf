//! A REST catalog whose token is renewed when the server does not take it any more, and whose tables' files
//! are reached with what it vends.
//!
//! The client exchanges a credential for a token once, and keeps that for ever.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, Namespace, NamespaceIdent, Result, TableCommit, TableCreation,
    TableIdent,
};
use iceberg_catalog_rest::RestCatalog;

use super::vending::Vending;

#[derive(Debug)]
pub(super) struct Renewing {
    pub(super) catalog: RestCatalog,
    /// It has a credential, by which it gets a new token.
    pub(super) renews: bool,
    pub(super) vending: Option<Arc<Vending>>,
}

impl Renewing {
    /// Was the token refused? Then the next request gets a new one. A refused request was not done.
    async fn is_refused(&self, error: &Error) -> bool {
        if !self.renews {
            return false;
        }
        let text = error.to_string();
        // 419 is the REST specification's own: credentials have timed out.
        let refused = ["status: 401", "status: 419"].iter().any(|it| text.contains(it));
        if refused {
            tracing::debug!("the catalog's token is not taken any more, asking for a new one");
        }
        refused && self.catalog.invalidate_token().await.is_ok()
    }
}

impl Renewing {
    /// The table's files may be asked for from now on.
    fn noted(&self, table: Table) -> Table {
        if let Some(vending) = &self.vending {
            vending.note(&table);
        }
        table
    }
}

/// Asks again with a new token, once.
macro_rules! renewed {
    ($self:ident, $request:expr) => {
        match $request.await {
            Err(error) if $self.is_refused(&error).await => $request.await,
            done => done,
        }
    };
}

#[async_trait]
impl Catalog for Renewing {
    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let loaded: Result<Table> = renewed!(self, self.catalog.load_table(table));
        loaded.map(|it| self.noted(it))
    }

    async fn update_table(&self, commit: TableCommit) -> Result<Table> {
        match self.catalog.update_table(commit).await {
            // As after a conflict, the transaction begins anew.
            Err(error) if self.is_refused(&error).await => {
                let what = "the catalog's token had expired";
                Err(Error::new(ErrorKind::CatalogCommitConflicts, what).with_retryable(true))
            }
            done => done,
        }
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        renewed!(self, self.catalog.list_namespaces(parent))
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        renewed!(self, self.catalog.create_namespace(namespace, properties.clone()))
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        renewed!(self, self.catalog.get_namespace(namespace))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        renewed!(self, self.catalog.namespace_exists(namespace))
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        renewed!(self, self.catalog.update_namespace(namespace, properties.clone()))
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        renewed!(self, self.catalog.drop_namespace(namespace))
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        renewed!(self, self.catalog.list_tables(namespace))
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        // What a creation takes can't be sent twice: a look comes first, with a token that is good then.
        self.namespace_exists(namespace).await?;
        self.catalog.create_table(namespace, creation).await.map(|it| self.noted(it))
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        renewed!(self, self.catalog.drop_table(table))
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        renewed!(self, self.catalog.purge_table(table))
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        renewed!(self, self.catalog.table_exists(table))
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        renewed!(self, self.catalog.rename_table(from, to))
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        renewed!(self, self.catalog.register_table(table, metadata_location.clone()))
    }
}
