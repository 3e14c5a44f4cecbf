//! The swap of a rewritten list for the table's own, and what is known after a lost answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use floe_core::crash_point::{CrashPoint, hit};
use iceberg::spec::{
    DataFile, ManifestContentType, ManifestFile, ManifestListWriter, SnapshotRef, TableMetadata,
};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{
    Catalog, Error, ErrorKind, Namespace, NamespaceIdent, Result, Runtime, TableCommit,
    TableCreation, TableIdent,
};

use super::super::error::describe;
use super::Rewritten;

/// In the summary of a snapshot that rewrote: its id, and the file that lists the data files it replaced.
const REWRITE: &str = "floe.rewrite";
pub(in super::super) const REPLACED: &str = "floe.rewrite.replaced-files";

/// Puts it into the table, or takes it away again. A swap without an answer is settled by looking.
pub(super) async fn swap(
    catalog: &Arc<dyn Catalog>,
    table: &Table,
    rewritten: Rewritten,
) -> Result<()> {
    let location = table.metadata().location();
    let list = format!("{location}/metadata/{}-rewritten-list.avro", rewritten.id);
    let replaced = format!("{location}/metadata/{}-replaced.json", rewritten.id);
    let mut summary = HashMap::from([(REWRITE.to_owned(), rewritten.id.clone())]);
    if !rewritten.replaced.is_empty() {
        let paths: Vec<&str> = rewritten.replaced.iter().map(DataFile::file_path).collect();
        let bytes = serde_json::to_vec(&paths).map_err(invalid)?;
        table.file_io().new_output(&replaced)?.write(bytes.into()).await?;
        summary.insert(REPLACED.to_owned(), replaced.clone());
    }
    hit(CrashPoint::BeforeRewriteSwap);
    let base = Base { catalog: Arc::clone(catalog), rewritten: &rewritten, list: &list };
    let done = match base.load_table(table.identifier()).await {
        Ok(based) => {
            let transaction = Transaction::new(&based);
            let append = transaction
                .fast_append()
                .with_check_duplicate(false)
                .set_snapshot_properties(summary);
            append.apply(transaction)?.commit(&base).await.map(|_| ())
        }
        Err(error) => Err(error),
    };
    hit(CrashPoint::AfterRewriteSwap);
    let mut garbage = vec![list.clone()];
    let outcome = match done {
        Ok(()) => Ok(()),
        Err(error) => match is_there(catalog, table.identifier(), &rewritten.id).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                // It may land yet only if its answer was lost; then what it needs must be there.
                if is_definite(&error) {
                    garbage.push(replaced);
                    garbage.extend(rewritten.manifests.iter().map(|it| it.manifest_path.clone()));
                    garbage.extend(rewritten.made.iter().map(|it| it.file_path().to_owned()));
                }
                Err(error)
            }
            Err(_) => Err(error),
        },
    };
    for location in garbage {
        // What stays is garbage, and harms nobody.
        if let Err(error) = table.file_io().delete(&location).await {
            tracing::debug!("{location} stays: {}", describe(&error));
        }
    }
    if outcome.is_ok() {
        tracing::info!(
            table = %table.identifier(),
            manifests = rewritten.taken.len(),
            files = rewritten.replaced.len(),
            files_made = rewritten.made.len(),
            "rewrote small files"
        );
    }
    match outcome {
        // The writer, or somebody else, changed what was to be rewritten: the next round looks anew.
        Err(error) if error.kind() == ErrorKind::PreconditionFailed => Ok(()),
        other => other,
    }
}

/// An error that says that nothing was applied.
fn is_definite(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PreconditionFailed | ErrorKind::CatalogCommitConflicts | ErrorKind::DataInvalid
    )
}

async fn is_there(catalog: &Arc<dyn Catalog>, ident: &TableIdent, id: &str) -> Result<bool> {
    let table = catalog.load_table(ident).await?;
    let found = table
        .metadata()
        .snapshots()
        .any(|it| it.summary().additional_properties.get(REWRITE).is_some_and(|it| it == id));
    Ok(found)
}

/// The data files that a snapshot replaced, as it wrote them down. A list that is gone was used.
pub(in super::super) async fn replaced_files(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<Vec<String>> {
    let Some(location) = snapshot.summary().additional_properties.get(REPLACED) else {
        return Ok(Vec::new());
    };
    if !table.file_io().exists(location).await? {
        return Ok(Vec::new());
    }
    let bytes = table.file_io().new_input(location)?.read().await?;
    serde_json::from_slice(&bytes).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::DataInvalid, error.to_string())
}

/// The catalog, through which the action sees the real head with the rewritten list in place of its own.
struct Base<'a> {
    catalog: Arc<dyn Catalog>,
    rewritten: &'a Rewritten,
    list: &'a str,
}

impl std::fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Base<'_> {
    async fn rewritten(&self, table: Table) -> Result<Table> {
        let moved = |what: &str| Error::new(ErrorKind::PreconditionFailed, what.to_owned());
        let head = table.metadata().current_snapshot().cloned();
        let head = head.ok_or_else(|| moved("the table was emptied"))?;
        let list = table.manifest_list_reader(&head).load().await?;
        let (taken, mut stay): (Vec<ManifestFile>, Vec<ManifestFile>) = list
            .consume_entries()
            .into_iter()
            .partition(|it| self.rewritten.taken.contains(&it.manifest_path));
        let found: BTreeSet<&String> = taken.iter().map(|it| &it.manifest_path).collect();
        if found.len() < self.rewritten.taken.len() {
            return Err(moved("somebody else rewrote the table"));
        }
        let deletes = stay.iter().any(|it| it.content == ManifestContentType::Deletes);
        if deletes && !self.rewritten.replaced.is_empty() {
            return Err(moved("somebody deleted rows by their place in a file"));
        }
        stay.extend(self.rewritten.manifests.iter().cloned());
        let writer = table.file_io().new_output(self.list)?.writer().await?;
        let mut writer = ManifestListWriter::v2(
            writer,
            head.snapshot_id(),
            head.parent_snapshot_id(),
            head.sequence_number(),
        );
        writer.add_manifests(stay.into_iter())?;
        writer.close().await?;
        self.with_list(table, head.snapshot_id())
    }

    /// The same table, its head over the rewritten list, with the totals of that.
    fn with_list(&self, table: Table, head: i64) -> Result<Table> {
        let mut metadata = serde_json::to_value(table.metadata()).map_err(invalid)?;
        let snapshots = metadata["snapshots"].as_array_mut().into_iter().flatten();
        for snapshot in snapshots.filter(|it| it["snapshot-id"] == head) {
            snapshot["manifest-list"] = self.list.into();
            let (made, replaced) = (&self.rewritten.made, &self.rewritten.replaced);
            let bytes = |files: &[DataFile]| files.iter().map(DataFile::file_size_in_bytes).sum();
            let change = [
                ("total-data-files", made.len() as u64, replaced.len() as u64),
                ("total-files-size", bytes(made), bytes(replaced)),
            ];
            for (key, more, less) in change {
                let total = snapshot["summary"][key].as_str().and_then(|it| it.parse::<u64>().ok());
                if let Some(total) = total {
                    let total = (total + more).saturating_sub(less);
                    snapshot["summary"][key] = total.to_string().into();
                }
            }
        }
        let metadata: TableMetadata = serde_json::from_value(metadata).map_err(invalid)?;
        let location = table.metadata_location_result()?.to_owned();
        Table::builder()
            .metadata(metadata)
            .metadata_location(location)
            .identifier(table.identifier().clone())
            .file_io(table.file_io().clone())
            .runtime(Runtime::current())
            .disable_cache()
            .build()
    }
}

#[async_trait]
impl Catalog for Base<'_> {
    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let table = self.catalog.load_table(table).await?;
        self.rewritten(table).await
    }

    async fn update_table(&self, commit: TableCommit) -> Result<Table> {
        self.catalog.update_table(commit).await
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
