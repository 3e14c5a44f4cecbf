//! The committer of the simulated sink: the production judgement over a base, and a swap of that very base.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use floe_core::committable::{
    AppendRequest, CommitOutcome, CommitRequest, CommittedSnapshot, ManifestRef,
};
use floe_core::ports::{Committer, LogAnswer, LogView, MarkerSnapshot, TableFacts};
use floe_core::protocol::judge::{BaseFacts, Marker, Verdict, appended_key, asks_log, judge};
use floe_core::protocol::orphans::{
    Orphan, OrphansFound, PreparedFate, PreparedFile, SinkLog, decide_prepared,
};
use floe_core::{Epoch, Error, ErrorKind, Result};

use crate::simulation::history::SnapshotAdded;
use crate::simulation::mutant::Mutant;
use crate::simulation::process::Process;
use crate::simulation::sink::{epoch_in, files_of};
use crate::simulation::table::Base;
use crate::simulation::world::{PIPELINE, Place, State};

pub struct SimCommitter {
    pub process: Arc<Process>,
    pub sink: &'static str,
    pub table: &'static str,
}

const BRANCH: &str = "main";
/// Conflicts with strangers, one after the other, before the caller is told to try again.
const CONFLICTS_MAX: u32 = 5;

#[async_trait]
impl Committer for SimCommitter {
    async fn observe(&self, _expected: Option<&CommittedSnapshot>) -> Result<TableFacts> {
        let mut tries = 0;
        let base = loop {
            match self.load().await {
                Ok(base) => break base,
                Err(_) if tries < 20 => tries += 1,
                Err(error) => return Err(error),
            }
        };
        let marker = base.facts(&self.key()).marker().cloned();
        let marker_snapshot = match &marker {
            None => MarkerSnapshot::NoMarker,
            Some(marker) => match self.snapshot_of(&base, &marker.manifest) {
                Some(_) => MarkerSnapshot::Found,
                None if base.root_is_missing => MarkerSnapshot::Expired,
                None => MarkerSnapshot::RolledBack,
            },
        };
        Ok(TableFacts {
            table: self.table.to_owned(),
            table_uuid: base.uuid,
            marker,
            marker_snapshot,
            appended: self.appended(&base),
        })
    }

    async fn commit(&self, request: &CommitRequest, log: &dyn LogView) -> Result<CommitOutcome> {
        let mut left = request.clone();
        for _ in 0..CONFLICTS_MAX {
            let request = &left;
            let base = self.load().await?;
            let facts = base.facts(&self.key());
            match self.verdict(&facts, request, log).await? {
                Verdict::Commit => {}
                Verdict::Already => return Ok(self.outcome(&base, request, true)),
                Verdict::Within { .. } if self.is(Mutant::PartOfRangeIgnored) => {}
                Verdict::Within { marker } => {
                    left = request.behind(marker);
                    continue;
                }
                Verdict::Gap { marker } => {
                    return Err(Error::refused(format!(
                        "a gap: the table is at epoch {}, and epoch {} is to be committed",
                        marker.epoch, request.manifest.epoch
                    )));
                }
                Verdict::Fenced { by } => return Err(Error::fenced(Some(by), "fenced at commit")),
                Verdict::Refuse(refusal) => return Err(Error::refused(format!("{refusal:?}"))),
            }
            match self.swap(&base, request).await {
                Ok(()) => {
                    let base = self.load().await?;
                    return Ok(self.outcome(&base, request, false));
                }
                // Somebody else was faster: judge what there is now.
                Err(error) if error.kind == ErrorKind::Retry => {}
                Err(error)
                    if error.kind == ErrorKind::Unknown && self.is(Mutant::UnknownTakenForDone) =>
                {
                    return Ok(self.outcome(&base, request, false));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::retry("the table is busy"))
    }

    async fn append(&self, request: &AppendRequest) -> Result<i64> {
        for _ in 0..CONFLICTS_MAX {
            let base = self.load().await?;
            match self.push(&base, request).await {
                Ok(id) => return Ok(id),
                Err(error) if error.kind == ErrorKind::Retry => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::retry("the table is busy"))
    }

    async fn maintain(&self) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, log: &SinkLog) -> Result<OrphansFound> {
        let base = self.load().await?;
        let settled = match self.is(Mutant::SweepOfOpenEpochs) {
            true => log.newest.map(|it| Epoch(it.0 + 1)),
            false => log.settled(base.uuid, base.facts(&self.key()).marker()),
        };
        let mut carried = BTreeSet::new();
        for (_, entry) in log.kept.iter().filter(|it| !it.1.committable.is_empty()) {
            carried.extend(files_of(&entry.committable)?);
        }
        let list = |state: &mut State| -> Vec<String> {
            state.files.keys().filter(|it| it.starts_with(self.table)).cloned().collect()
        };
        let listed = self.process.look(Place::Files, "list files", list).await?;
        let mut found = OrphansFound { settled, ..OrphansFound::default() };
        for path in listed {
            let epoch = epoch_in(&path);
            let in_table = base.files.contains(&path) && !self.is(Mutant::SweepOfTheTables);
            let file = PreparedFile { epoch, carried: carried.contains(&path), in_table };
            if decide_prepared(settled, &file) != PreparedFate::Orphan {
                found.kept += 1;
                continue;
            }
            let name = path.clone();
            let delete = move |state: &mut State| {
                state.delete_file(&name);
                Ok(())
            };
            self.process.change(Place::Files, format!("delete {path}"), delete).await?;
            found.orphans.push(Orphan { path, bytes: 1, epoch });
        }
        Ok(found)
    }
}

impl SimCommitter {
    fn is(&self, mutant: Mutant) -> bool {
        self.process.world.with(|it| it.is(mutant))
    }

    fn key(&self) -> String {
        Marker::key(PIPELINE, self.sink, BRANCH)
    }

    async fn load(&self) -> Result<Base> {
        let load = |state: &mut State| state.tables[self.table].load();
        self.process.look(Place::Catalog, &format!("load {}", self.table), load).await
    }

    async fn verdict(
        &self,
        facts: &BaseFacts,
        request: &CommitRequest,
        log: &dyn LogView,
    ) -> Result<Verdict> {
        let again = request.information.iter().any(|(key, _)| key == "recommit");
        if self.is(Mutant::NoGuard) || (again && self.is(Mutant::NoGuardAtRestart)) {
            return Ok(Verdict::Commit);
        }
        if self.is(Mutant::MarkerByNumber) {
            let done = facts.marker().is_some_and(|it| it.manifest.epoch >= request.manifest.epoch);
            return Ok(if done { Verdict::Already } else { Verdict::Commit });
        }
        let answer = match asks_log(facts, request) {
            Some(_) if self.is(Mutant::JudgeIgnoresLog) => LogAnswer::Known,
            Some(manifest) => log.find(&manifest).await?,
            None => LogAnswer::Known,
        };
        Ok(judge(facts, request, answer))
    }

    async fn swap(&self, base: &Base, request: &CommitRequest) -> Result<()> {
        let marker = Marker {
            table_uuid: request.table_uuid,
            branch: BRANCH.to_owned(),
            first_epoch: request.first_epoch(),
            manifest: request.manifest,
            predecessor: request.predecessor,
        };
        let mut files = Vec::new();
        let forgotten = match self.is(Mutant::EarlierForgotten) {
            true => request.earlier.len(),
            false => 0,
        };
        for committable in request.committables().skip(forgotten) {
            files.extend(files_of(committable)?);
        }
        let key = self.key();
        let (table, pid) = (self.table, self.process.pid);
        let (uuid, judged_head) = (base.uuid, base.head);
        let apply = move |state: &mut State| {
            let blind = state.is(Mutant::GuardWithoutSwap);
            let it = state.tables.get_mut(table).expect("the table of the sink");
            let head = if blind { it.head() } else { judged_head };
            let text = marker.to_string();
            let summary = BTreeMap::from([(key.clone(), text.clone())]);
            it.swap(uuid, head, summary, &files, Some((key, text)))?;
            let mut rows = Vec::new();
            for file in &files {
                match state.files.get(file) {
                    Some(found) => rows.extend(found.iter().cloned()),
                    None => state.history.notice(format!("I1: {file} is committed and not there")),
                }
            }
            let added = SnapshotAdded {
                table: table.to_owned(),
                rows,
                marker: Some(marker),
                process: Some(pid),
            };
            state.history.snapshots.push(added);
            Ok(())
        };
        let what = format!("commit epoch {} to {table}", request.manifest.epoch);
        self.process.change(Place::Catalog, what, apply).await
    }

    fn appended(&self, base: &Base) -> Option<Epoch> {
        let key = appended_key(PIPELINE, self.sink);
        let mut epochs = base.ancestors.iter().filter_map(|it| it.summary.get(&key));
        epochs.next().map(|it| Epoch(it.parse().expect("a number as it was written")))
    }

    async fn push(&self, base: &Base, request: &AppendRequest) -> Result<i64> {
        let (table, pid, files) = (self.table, self.process.pid, files_of(&request.committable)?);
        let (uuid, head, epoch) = (base.uuid, base.head, request.epoch);
        let key = appended_key(PIPELINE, self.sink);
        let apply = move |state: &mut State| {
            let it = state.tables.get_mut(table).expect("the table of the sink");
            let summary = BTreeMap::from([(key.clone(), epoch.to_string())]);
            it.swap(uuid, head, summary, &files, None)?;
            let id = it.head().expect("a snapshot was just made");
            let rows = files.iter().flat_map(|it| state.files[it].iter().cloned()).collect();
            let (table, process) = (table.to_owned(), Some(pid));
            state.history.snapshots.push(SnapshotAdded { table, rows, marker: None, process });
            Ok(id)
        };
        self.process.change(Place::Catalog, format!("append epoch {epoch} to {table}"), apply).await
    }

    fn snapshot_of(&self, base: &Base, manifest: &ManifestRef) -> Option<(i64, i64)> {
        let key = self.key();
        let found = base.ancestors.iter().find(|snapshot| {
            let marker = snapshot.summary.get(&key).and_then(|it| Marker::parse(it));
            marker.is_some_and(|it| it.manifest == *manifest)
        });
        found.map(|it| (it.id, it.sequence_number))
    }

    fn outcome(&self, base: &Base, request: &CommitRequest, already: bool) -> CommitOutcome {
        // One that was expired meanwhile has no number any more.
        let (snapshot_id, sequence_number) =
            self.snapshot_of(base, &request.manifest).unwrap_or_default();
        let snapshot =
            CommittedSnapshot { manifest: request.manifest, snapshot_id, sequence_number };
        CommitOutcome { snapshot, already }
    }
}
