//! The second phase: one guarded commit, then a look whether it is really there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use floe_core::committable::{
    AppendRequest, CommitOutcome, CommitRequest, CommittedSnapshot, ManifestRef,
};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::ports::{Committer, LogView, TableFacts};
use floe_core::protocol::judge::{Marker, appended_key};
use floe_core::protocol::orphans::{OrphansFound, SinkLog};
use floe_core::{Epoch, Error, Result};
use iceberg::spec::{DataFile, MAIN_BRANCH};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, TableIdent};

use super::committable::{decode, takes_rows_out};
use super::delta::Delta;
use super::error::{describe, read_failed};
use super::facts::{MarkerPlace, base_facts, look_for_marker, newest_appended, snapshot_of};
use super::guard::{Guard, Stopped};
use super::names::Names;
use super::orphans;
use super::outcome::{Ending, refused};
use super::rewrite::Fence;
use super::swap::{Marks, Swapped};
use super::update::Updater;
use super::upkeep;

pub(super) struct IcebergCommitter {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) updater: Arc<Updater>,
    pub(super) ident: TableIdent,
    pub(super) place: MarkerPlace,
    pub(super) names: Names,
    /// Of the summary entry that names an epoch committed ahead of its checkpoint.
    appended_key: String,
    /// Held while the head of the table is swapped, by a commit or by the upkeep.
    pub(super) writing: tokio::sync::Mutex<()>,
}

/// A request that takes longer is of unknown outcome.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

impl IcebergCommitter {
    pub(super) fn new(
        catalog: Arc<dyn Catalog>,
        updater: Arc<Updater>,
        ident: TableIdent,
        (pipeline, sink, branch): (&str, &str, &str),
        names: Names,
    ) -> Self {
        IcebergCommitter {
            catalog,
            updater,
            ident,
            place: MarkerPlace::of(pipeline, sink, branch),
            names,
            appended_key: appended_key(pipeline, sink),
            writing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn load(&self) -> Result<Table> {
        let what = format!("load table {}", self.ident);
        match tokio::time::timeout(DEADLINE, self.catalog.load_table(&self.ident)).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => Err(read_failed(&what, &error)),
            Err(_) => Err(Error::retry(format!("{what}: no answer in {} s", DEADLINE.as_secs()))),
        }
    }

    async fn look_for_files(
        &self,
        table: &Table,
        delta: &Delta,
        request: &CommitRequest,
    ) -> Result<()> {
        for file in delta.files() {
            let exists = table.file_io().exists(file.file_path()).await;
            if !exists.map_err(|error| read_failed("look for a data file", &error))? {
                return Err(Error::refused(format!(
                    "data file {} of epoch {} is gone, and the epoch is not in table {} yet: was it removed as an orphan?\n  → restore the file; its rows are in it alone",
                    file.file_path(),
                    request.manifest.epoch,
                    self.ident
                )));
            }
        }
        Ok(())
    }

    /// What the crate's own append says: data of the table's partition spec, on main.
    fn is_plain_append(&self, table: &Table, delta: &Delta) -> bool {
        let spec = table.metadata().default_partition_spec_id();
        self.place.branch == MAIN_BRANCH
            && delta.deletes.is_empty()
            && !delta.replaces
            && delta.data.keys().all(|it| *it == spec)
    }

    fn marker(&self, request: &CommitRequest) -> String {
        let marker = Marker {
            table_uuid: request.table_uuid,
            branch: self.place.branch.clone(),
            first_epoch: request.first_epoch(),
            manifest: request.manifest,
            predecessor: request.predecessor,
        };
        marker.to_string()
    }

    fn summary(&self, request: &CommitRequest) -> HashMap<String, String> {
        let information = request.information.iter().filter(|(key, _)| key != RECOMMIT).cloned();
        let marker = (self.place.key.clone(), self.marker(request));
        information.chain([marker]).collect()
    }

    fn transaction(
        &self,
        table: &Table,
        request: &CommitRequest,
        files: Vec<DataFile>,
    ) -> iceberg::Result<Transaction> {
        let transaction = append(Transaction::new(table), self.summary(request), files)?;
        transaction
            .update_table_properties()
            .set(self.place.key.clone(), self.marker(request))
            .apply(transaction)
    }

    /// Looks at the table again: a success counts when the snapshot is there.
    async fn verify(&self, request: &CommitRequest, already: bool) -> Result<CommitOutcome> {
        let table = self.load().await?;
        let found = base_facts(&table, &self.place);
        let newest = found.marker().map(|it| it.manifest);
        if newest.is_none_or(|it| it.slot < request.manifest.slot) {
            return Err(Error::unknown(format!(
                "the catalog reported epoch {} as committed to table {}, and it is not there",
                request.manifest.epoch, self.ident
            )));
        }
        hit(CrashPoint::AfterVerify);
        // A snapshot that expired since has no number any more; the property proves the commit.
        let (snapshot_id, sequence_number) = snapshot_of(&table, &self.place, request.manifest.id)
            .map_or((-1, 0), |it| (it.snapshot_id(), it.sequence_number()));
        let snapshot =
            CommittedSnapshot { manifest: request.manifest, snapshot_id, sequence_number };
        Ok(CommitOutcome { snapshot, already })
    }
}

const RECOMMIT: &str = "recommit";

#[async_trait]
impl Committer for IcebergCommitter {
    async fn observe(&self, expected: Option<&CommittedSnapshot>) -> Result<TableFacts> {
        let table = self.load().await?;
        let facts = base_facts(&table, &self.place);
        if let Some(text) = &facts.unreadable {
            return Err(Error::refused(format!(
                "table {}: property {} holds no marker that this floe can read: {text:?}\n  → use the floe that wrote it, or restore the property",
                self.ident, self.place.key
            )));
        }
        let marker = facts.marker().cloned();
        let marker_snapshot = look_for_marker(&table, &self.place, marker.as_ref(), expected);
        Ok(TableFacts {
            table: self.ident.to_string(),
            table_uuid: facts.table_uuid,
            marker,
            marker_snapshot,
            appended: newest_appended(&table, &self.appended_key, &self.place.branch),
        })
    }

    async fn commit(&self, request: &CommitRequest, log: &dyn LogView) -> Result<CommitOutcome> {
        let mut done = None;
        for part in parts(request)? {
            let mut left = part;
            done = Some(loop {
                match self.commit_once(&left, log).await? {
                    Tried::Done(outcome) => break outcome,
                    Tried::Within(marker) => left = left.behind(marker),
                }
            });
        }
        Ok(done.expect("a commit carries an epoch"))
    }

    async fn append(&self, request: &AppendRequest) -> Result<i64> {
        assert!(!request.committable.is_empty(), "an epoch without rows writes nothing");
        let (epoch, ident) = (request.epoch, &self.ident);
        let table = self.load().await?;
        if *table.metadata().uuid().as_bytes() != request.table_uuid {
            return Err(Error::refused(format!(
                "table {ident} was dropped and made anew: epoch {epoch} is not committed to it\n  → restore the table, or start anew with another [pipeline] id"
            )));
        }
        let delta = decode(&table, &request.committable.content)?;
        let mut summary: HashMap<String, String> = request.information.iter().cloned().collect();
        summary.insert(appended_key(&request.pipeline, &request.sink), epoch.to_string());
        if !self.is_plain_append(&table, &delta) {
            let marks = Marks { summary, properties: HashMap::new() };
            let Swapped::Done { snapshot_id } = self.swap(epoch, &delta, marks, None).await? else {
                unreachable!("nobody judges an epoch that is ahead of its checkpoint");
            };
            return self.verify_append(&table, epoch, snapshot_id).await;
        }
        let files = delta.data.into_values().flatten().collect();
        let transaction = append(Transaction::new(&table), summary, files).map_err(|error| {
            let why = describe(&error);
            Error::refused(format!("epoch {epoch} does not fit table {ident}: {why}"))
        })?;
        let sent = tokio::time::timeout(DEADLINE, transaction.commit(self.catalog.as_ref())).await;
        hit(CrashPoint::AfterCommitSent);
        let unknown = |why: String| {
            Error::unknown(format!("nobody knows whether table {ident} took epoch {epoch}: {why}"))
        };
        let after = match sent {
            Ok(Ok(after)) => after,
            Ok(Err(error)) => return Err(unknown(describe(&error))),
            Err(_) => return Err(unknown(format!("no answer in {} s", DEADLINE.as_secs()))),
        };
        let head = after.metadata().snapshot_for_ref(MAIN_BRANCH);
        let id = head.map(|it| it.snapshot_id()).ok_or_else(|| unknown("no snapshot".into()))?;
        self.verify_append(&table, epoch, id).await
    }

    async fn maintain(&self) -> Result<()> {
        if self.place.branch != MAIN_BRANCH {
            // Upkeep knows main alone, and what waits on a branch is not to be touched.
            return Ok(());
        }
        let fence = Fence { place: &self.place, names: &self.names };
        upkeep::upkeep(&self.catalog, &self.updater, &self.ident, &self.writing, &fence).await
    }

    async fn sweep(&self, log: &SinkLog) -> Result<OrphansFound> {
        let table = self.load().await?;
        if upkeep::is_off(table.metadata()) {
            return Ok(OrphansFound::default());
        }
        let found = orphans::find_orphans(&table, &self.place, &self.names, log).await?;
        orphans::delete(&table, &found).await?;
        Ok(found)
    }
}

/// How one attempt ended.
enum Tried {
    Done(CommitOutcome),
    /// The table holds a part of it, up to this manifest.
    Within(ManifestRef),
}

impl IcebergCommitter {
    async fn commit_once(&self, request: &CommitRequest, log: &dyn LogView) -> Result<Tried> {
        assert!(
            request.committables().all(|it| !it.is_empty()),
            "an epoch without rows writes nothing to the table"
        );
        let table = self.load().await?;
        let marker = base_facts(&table, &self.place).marker().map(|it| it.manifest);
        if let Some(marker) = marker.filter(|it| request.holds_earlier(it)) {
            return Ok(Tried::Within(marker));
        }
        let mut delta = decode(&table, &request.committable.content)?;
        for carried in &request.earlier {
            delta = decode(&table, &carried.committable.content)?.and(delta);
        }
        if request.information.iter().any(|(key, _)| key == RECOMMIT)
            && !already_there(&table, &self.place, request)
        {
            self.look_for_files(&table, &delta, request).await?;
        }
        if !self.is_plain_append(&table, &delta) {
            let properties = HashMap::from([(self.place.key.clone(), self.marker(request))]);
            let marks = Marks { summary: self.summary(request), properties };
            let epoch = request.manifest.epoch;
            return match self.swap(epoch, &delta, marks, Some((request, log))).await? {
                Swapped::Done { .. } => {
                    self.delete_old_metadata(&table).await;
                    self.verify(request, false).await.map(Tried::Done)
                }
                Swapped::Stopped(stopped) => self.stopped(stopped, request).await,
            };
        }
        let files = delta.data.into_values().flatten().collect();
        let transaction = self.transaction(&table, request, files).map_err(|error| {
            Error::refused(format!(
                "epoch {} does not fit table {}: {}",
                request.manifest.epoch,
                self.ident,
                describe(&error)
            ))
        })?;
        let guard = Guard {
            catalog: Arc::clone(&self.catalog),
            place: &self.place,
            request,
            log,
            stopped: Mutex::new(None),
            sent: AtomicBool::new(false),
        };
        let writing = self.writing.lock().await;
        let done = tokio::time::timeout(DEADLINE, transaction.commit(&guard)).await;
        drop(writing);
        let stopped = guard.stopped.lock().expect("no holder of this lock panics").take();
        match (done, stopped) {
            (Ok(Ok(_)), _) => {
                self.delete_old_metadata(&table).await;
                self.verify(request, false).await.map(Tried::Done)
            }
            (_, Some(stopped)) => self.stopped(stopped, request).await,
            (Ok(Err(error)), None) if !guard.sent.load(Ordering::SeqCst) => {
                let now = self.load().await?;
                let spec = |it: &Table| it.metadata().default_partition_spec_id();
                if spec(&now) != spec(&table) {
                    // The files carry their own spec: the next attempt says so.
                    return Err(Error::retry(format!(
                        "the partition spec of table {} changed meanwhile",
                        self.ident
                    )));
                }
                Err(not_sent(&self.ident, &error))
            }
            (Ok(Err(error)), None) => Err(Error::unknown(format!(
                "nobody knows whether table {} took epoch {}: {}",
                self.ident,
                request.manifest.epoch,
                describe(&error)
            ))),
            (Err(_), None) => Err(Error::unknown(format!(
                "nobody knows whether table {} took epoch {}: no answer in {} s",
                self.ident,
                request.manifest.epoch,
                DEADLINE.as_secs()
            ))),
        }
    }

    /// What it means that a base was not let through.
    async fn stopped(&self, stopped: Stopped, request: &CommitRequest) -> Result<Tried> {
        match stopped {
            Stopped::Log(error) => Err(error),
            Stopped::Verdict(verdict) => match refused(verdict, &self.ident, request) {
                Ending::Already => self.verify(request, true).await.map(Tried::Done),
                Ending::Within(marker) => Ok(Tried::Within(marker)),
                Ending::Error(error) => Err(error),
            },
        }
    }

    /// A success counts when the snapshot is there: a catalog may have dropped it.
    async fn verify_append(&self, before: &Table, epoch: Epoch, snapshot: i64) -> Result<i64> {
        if self.load().await?.metadata().snapshot_by_id(snapshot).is_none() {
            return Err(Error::unknown(format!(
                "nobody knows whether table {} took epoch {epoch}: it was reported as committed, and is not there",
                self.ident
            )));
        }
        hit(CrashPoint::AfterVerify);
        self.delete_old_metadata(before).await;
        Ok(snapshot)
    }

    /// Metadata files that the newest metadata no longer lists, if the table's properties say so.
    async fn delete_old_metadata(&self, before: &Table) {
        match self.catalog.load_table(&self.ident).await {
            Ok(after) => upkeep::delete_old_metadata(before, &after).await,
            Err(error) => tracing::debug!("old metadata files stay: {}", describe(&error)),
        }
    }
}

/// The crate's own append of these files.
fn append(
    transaction: Transaction,
    summary: HashMap<String, String>,
    files: Vec<DataFile>,
) -> iceberg::Result<Transaction> {
    let append = transaction
        .fast_append()
        // It reads every manifest of the table at every commit; the guard answers the question.
        .with_check_duplicate(false)
        .set_snapshot_properties(summary)
        .add_data_files(files);
    append.apply(transaction)
}

/// What is committed at once. Deletes don't reach rows beside them, and what replaces a partition is not replaced
/// by what comes with it: such epochs go one after the other.
fn parts(request: &CommitRequest) -> Result<Vec<CommitRequest>> {
    let mut take_rows_out = false;
    for committable in request.committables() {
        take_rows_out |= takes_rows_out(&committable.content)?;
    }
    if !take_rows_out || request.earlier.is_empty() {
        return Ok(vec![request.clone()]);
    }
    let mut parts = request.one_by_one();
    let last = parts.len() - 1;
    parts[last].information.retain(|(key, _)| key != "floe.first-epoch");
    for part in &mut parts[..last] {
        // Positions and times are the last epoch's.
        part.information.retain(|(key, _)| OF_ANY_EPOCH.contains(&key.as_str()));
        part.information.push(("floe.epoch".to_owned(), part.manifest.epoch.to_string()));
    }
    Ok(parts)
}

/// Information that is the same for all epochs of a commit.
const OF_ANY_EPOCH: [&str; 3] = ["floe.pipeline", "floe.generation", RECOMMIT];

fn already_there(table: &Table, place: &MarkerPlace, request: &CommitRequest) -> bool {
    base_facts(table, place).marker().is_some_and(|it| it.manifest == request.manifest)
}

/// Nothing was sent that could have been applied.
fn not_sent(table: &TableIdent, error: &iceberg::Error) -> Error {
    use iceberg::ErrorKind;
    let message = format!("commit to table {table}: {}", describe(error));
    match error.kind() {
        ErrorKind::DataInvalid | ErrorKind::FeatureUnsupported => Error::refused(message),
        ErrorKind::TableNotFound | ErrorKind::NamespaceNotFound => Error::refused(format!(
            "{message}\n  → was the table dropped? restore it, or start anew with another [pipeline] id"
        )),
        _ => Error::retry(message),
    }
}
