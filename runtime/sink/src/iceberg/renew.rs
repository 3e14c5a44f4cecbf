//! A REST catalog whose token is renewed when the server does not take it any more.
//!
//! The client exchanges a credential for a token once, and keeps that for ever.

use std::collections::HashMap;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, Namespace, NamespaceIdent, Result, TableCommit, TableCreation,
    TableIdent,
};
use iceberg_catalog_rest::RestCatalog;

#[derive(Debug)]
pub(super) struct Renewing(pub(super) RestCatalog);

impl Renewing {
    /// Was the token refused? Then the next request gets a new one. A refused request was not done.
    async fn is_refused(&self, error: &Error) -> bool {
        let text = error.to_string();
        // 419 is the REST specification's own: credentials have timed out.
        let refused = ["status: 401", "status: 419"].iter().any(|it| text.contains(it));
        if refused {
            tracing::debug!("the catalog's token is not taken any more, asking for a new one");
        }
        refused && self.0.invalidate_token().await.is_ok()
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
        renewed!(self, self.0.load_table(table))
    }

    async fn update_table(&self, commit: TableCommit) -> Result<Table> {
        match self.0.update_table(commit).await {
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
        renewed!(self, self.0.list_namespaces(parent))
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        renewed!(self, self.0.create_namespace(namespace, properties.clone()))
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        renewed!(self, self.0.get_namespace(namespace))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        renewed!(self, self.0.namespace_exists(namespace))
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        renewed!(self, self.0.update_namespace(namespace, properties.clone()))
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        renewed!(self, self.0.drop_namespace(namespace))
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        renewed!(self, self.0.list_tables(namespace))
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        // What a creation takes can't be sent twice: a look comes first, with a token that is good then.
        self.namespace_exists(namespace).await?;
        self.0.create_table(namespace, creation).await
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        renewed!(self, self.0.drop_table(table))
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        renewed!(self, self.0.purge_table(table))
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        renewed!(self, self.0.table_exists(table))
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        renewed!(self, self.0.rename_table(from, to))
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        renewed!(self, self.0.register_table(table, metadata_location.clone()))
    }
}
