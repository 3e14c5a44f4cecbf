//! The guard: a catalog around the catalog, through which `Transaction::commit` loads its base.
//!
//! The transaction loads the table anew at each of its attempts and applies its actions again; a check
//! before it protects nothing. The guard judges the very base that the compare-and-swap then names (I5).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use floe_core::committable::CommitRequest;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::ports::{LogAnswer, LogView};
use floe_core::protocol::judge::{Verdict, asks_log, judge};
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, Namespace, NamespaceIdent, Result, TableCommit, TableCreation,
    TableIdent,
};

use super::facts::{MarkerPlace, base_facts};

pub(super) struct Guard<'a> {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) place: &'a MarkerPlace,
    pub(super) request: &'a CommitRequest,
    pub(super) log: &'a dyn LogView,
    /// Why the last base was not let through.
    pub(super) stopped: Mutex<Option<Stopped>>,
    /// An update was sent whose answer was no success: it may have been applied.
    pub(super) sent: AtomicBool,
}

pub(super) enum Stopped {
    Verdict(Verdict),
    Log(floe_core::Error),
}

impl std::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Judges a base, and asks the log where the base alone does not decide.
pub(super) async fn judge_base(
    table: &Table,
    place: &MarkerPlace,
    request: &CommitRequest,
    log: &dyn LogView,
) -> std::result::Result<(), Stopped> {
    let base = base_facts(table, place);
    let answer = match asks_log(&base, request) {
        None => LogAnswer::Known,
        Some(manifest) => log.find(&manifest).await.map_err(Stopped::Log)?,
    };
    match judge(&base, request, answer) {
        Verdict::Commit => Ok(()),
        verdict => Err(Stopped::Verdict(verdict)),
    }
}

impl Guard<'_> {
    fn stop(&self, stopped: Stopped) -> Error {
        *self.stopped.lock().expect("no holder of this lock panics") = Some(stopped);
        // Not retryable, so the transaction ends here.
        Error::new(ErrorKind::PreconditionFailed, "the guard does not let this base through")
    }
}

#[async_trait]
impl Catalog for Guard<'_> {
    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let table = self.catalog.load_table(table).await?;
        match judge_base(&table, self.place, self.request, self.log).await {
            Ok(()) => Ok(table),
            Err(stopped) => Err(self.stop(stopped)),
        }
    }

    async fn update_table(&self, commit: TableCommit) -> Result<Table> {
        self.sent.store(true, Ordering::SeqCst);
        let updated = self.catalog.update_table(commit).await;
        hit(CrashPoint::AfterCommitSent);
        match updated {
            Ok(table) => Ok(table),
            // A conflict is an answer: it was not applied.
            Err(error) if error.kind() == ErrorKind::CatalogCommitConflicts => {
                self.sent.store(false, Ordering::SeqCst);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        self.catalog.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        self.catalog.create_namespace(namespace, properties).await
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        self.catalog.get_namespace(namespace).await
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        self.catalog.namespace_exists(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.catalog.update_namespace(namespace, properties).await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.catalog.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.catalog.list_tables(namespace).await
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        self.catalog.create_table(namespace, creation).await
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        self.catalog.drop_table(table).await
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        self.catalog.purge_table(table).await
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        self.catalog.table_exists(table).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.catalog.rename_table(from, to).await
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        self.catalog.register_table(table, metadata_location).await
    }
}
