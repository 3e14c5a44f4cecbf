//! The coordinator: turns what happens into events of `protocol::advance`, and does the actions that
//! come back. It decides nothing itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floe_core::committable::{AppendRequest, Committable, CommittedSnapshot, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::manifest::{CheckpointManifest, PipelineIdentity, SinkEntry};
use floe_core::ports::{CheckpointDraft, Clock, LogView, PartitionFacts};
use floe_core::protocol::advance::{self, Action};
use floe_core::protocol::guarantee::{Guarantee, Order};
use floe_core::protocol::identity::NewPartitions;
use floe_core::protocol::orphans::SinkLog;
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, Generation, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::alarm::Alarm;
use crate::commit::{
    Sink, append_request, append_until_settled, commit_request, commit_until_settled,
};
use crate::complete::ToComplete;
use crate::overdue::Overdue;
use crate::reader::ReaderCommand;
use crate::recovery::SinkHistory;
use crate::run::Event;
use crate::task::Stopped;
use crate::telemetry::{EpochStatus, Status};
use crate::wiring::RunSummary;
use crate::worker::Captured;

pub(crate) struct Coordinator {
    pub(crate) state: advance::State,
    pub(crate) identity: PipelineIdentity,
    pub(crate) histories: Vec<SinkHistory>,
    /// Those of rows, then the one of dead letters.
    pub(crate) sinks: Arc<[Sink]>,
    pub(crate) row_sinks: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) view: Arc<dyn LogView>,
    pub(crate) reader: mpsc::UnboundedSender<ReaderCommand>,
    pub(crate) overdue: Arc<Overdue>,
    pub(crate) completer: mpsc::Sender<ToComplete>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    /// The epoch whose barrier is out, as far as its parts have come.
    pub(crate) open: Option<OpenEpoch>,
    pub(crate) savepoint: Savepoint,
    pub(crate) guarantee: Guarantee,
    pub(crate) generation: Generation,
    /// The checkpoint whose rows are committed ahead of it.
    pub(crate) appending: Option<CheckpointDraft>,
    /// Completed and not committed, oldest first.
    pub(crate) pending: VecDeque<(ManifestRef, Arc<CheckpointManifest>)>,
    pub(crate) commits: JoinSet<()>,
    pub(crate) commits_begun: u64,
    pub(crate) status: Arc<Status>,
    pub(crate) summary: RunSummary,
    pub(crate) new_partitions: NewPartitions,
    /// Records that the checkpoint holds at which this attempt began.
    pub(crate) records_before: u64,
    pub(crate) records_at_barrier: u64,
    pub(crate) rows_at_barrier: u64,
    pub(crate) finished: bool,
    /// No barrier before the input's end, and none at a stop.
    pub(crate) one_epoch: bool,
    /// When it was last said that input is held back, by the clock that never goes back.
    pub(crate) said_waiting: Option<Duration>,
}

fn stopped_early() -> Error {
    Error::retry(
        "stopped before the input's end, and a run that replaces partitions is whole or nothing: none of it is in the table\n  → start it again: it begins where this one began",
    )
}

/// How far a savepoint has come that a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Savepoint {
    NotAsked,
    /// The next barrier makes it.
    Due,
    /// This barrier was sent after the asking.
    Open(Epoch),
}

#[derive(Default)]
pub(crate) struct OpenEpoch {
    tasks: Vec<CapturedTask>,
    committables: BTreeMap<usize, Committable>,
    pause: Duration,
}

/// Between two calls of a committer's upkeep.
const COMMITS_PER_MAINTENANCE: u64 = 20;
/// An attempt leaves files of its open epochs, two at the most.
const COMMITS_BEFORE_SWEEP: u64 = 3;
/// A listing of the table's folder costs a request for each thousand files, and within a run only a record
/// that stops an operator makes it leave files.
const SWEEP_INTERVAL_MS: u64 = 6 * 3600 * 1000;
/// What may go on for hours is said this often.
const SAY_INTERVAL: Duration = Duration::from_secs(10);
/// Lag and partition counts are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl Coordinator {
    /// Every future below is cancel-safe: `recv`, `tick` and `changed` lose nothing when dropped.
    pub(crate) async fn run(
        &mut self,
        mut happened: mpsc::UnboundedReceiver<Event>,
        mut stop: watch::Receiver<bool>,
        interval: Duration,
    ) -> Result<(), Stopped> {
        let mut barrier =
            tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        barrier.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look =
            tokio::time::interval_at(tokio::time::Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stoppable = true;
        while !self.finished {
            // In order, rare ones first, so that a simulation is a function of its seed.
            tokio::select! {
                biased;
                changed = stop.changed(), if stoppable => {
                    // A sender that is gone can't ask for a stop any more.
                    stoppable = changed.is_ok() && !*stop.borrow();
                    if changed.is_ok() && *stop.borrow() {
                        if self.one_epoch {
                            return Err(Stopped::Failed(stopped_early()));
                        }
                        tracing::info!("stopping: last checkpoint, commit, end");
                        self.advance(advance::Event::Stop).await?;
                    }
                }
                _ = barrier.tick(), if !self.one_epoch => self.advance(advance::Event::BarrierDue).await?,
                _ = look.tick() => self.command(ReaderCommand::Look),
                event = happened.recv() => {
                    let event = event.expect("the coordinator holds a sender itself");
                    self.happened(event).await?;
                }
            }
        }
        Ok(())
    }

    async fn happened(&mut self, event: Event) -> Result<(), Stopped> {
        let done = match event {
            Event::Took => self.advance(advance::Event::Took).await,
            Event::InputEnded => self.advance(advance::Event::Stop).await,
            Event::Captured(Captured { epoch, tasks, pause, leaves }) => {
                if leaves {
                    // The next epoch has something in it, though the source may have nothing more.
                    self.advance(advance::Event::Took).await?;
                }
                let open = self.open.get_or_insert_default();
                open.tasks.extend(tasks);
                open.pause = open.pause.max(pause);
                self.advance(advance::Event::Captured(epoch)).await
            }
            Event::Prepared { epoch, sink, committable } => {
                let open = self.open.get_or_insert_default();
                let before = open.committables.insert(sink, committable);
                assert!(before.is_none(), "a sink prepares an epoch once");
                self.advance(advance::Event::Prepared(epoch)).await
            }
            Event::Completed { place, manifest, took } => {
                self.completed(place, manifest, took).await
            }
            Event::Appended { epoch, snapshots, took } => {
                self.appended(epoch, &snapshots, took).await
            }
            Event::Committed { epoch, snapshots, took } => {
                self.committed(epoch, snapshots, took).await
            }
            Event::SavepointAsked => {
                // It is seen again and again until the manifest is there.
                if self.savepoint != Savepoint::NotAsked {
                    return Ok(());
                }
                tracing::info!("a savepoint is asked for");
                self.savepoint = Savepoint::Due;
                if self.one_epoch {
                    // Its one checkpoint, at its end, is the savepoint.
                    return Ok(());
                }
                self.advance(advance::Event::Asked).await
            }
            Event::Partitions(facts) => self.looked(facts),
            Event::Failed(error) => Err(error),
            Event::Poisoned(suspect) => return Err(Stopped::Poisoned(suspect)),
        };
        Ok(done?)
    }

    async fn advance(&mut self, event: advance::Event) -> Result<()> {
        for action in self.state.advance(event) {
            match action {
                Action::Inject(epoch) => {
                    if self.savepoint == Savepoint::Due {
                        self.savepoint = Savepoint::Open(epoch);
                    }
                    // A savepoint and what a person stops at are whole: no row is on its way.
                    let aligned =
                        self.savepoint == Savepoint::Open(epoch) || self.state.is_stopping();
                    self.overdue.goes_out(epoch, aligned);
                    self.command(ReaderCommand::Inject(epoch));
                }
                Action::Hold => {
                    self.say_what_waits();
                    self.command(ReaderCommand::Hold);
                }
                Action::Release => self.command(ReaderCommand::Release),
                Action::Complete(epoch) => {
                    let draft = match self.appending.take() {
                        Some(appended) => appended,
                        None => self.draft(epoch),
                    };
                    assert_eq!(draft.epoch, epoch);
                    // The completer takes one piece of work at a time, and has none: this does not wait long.
                    let _ = self.completer.send(ToComplete::Draft(Box::new(draft))).await;
                }
                Action::Append(epoch) => self.append(epoch),
                Action::Commit(epoch) => self.commit(epoch),
                Action::Finish => self.finished = true,
            }
        }
        Ok(())
    }

    /// At a stop input is held back for good, which was said already.
    fn say_what_waits(&mut self) {
        let now = self.clock.monotonic();
        let is_new = self.said_waiting.is_none_or(|it| now.saturating_sub(it) >= SAY_INTERVAL);
        if is_new && !self.state.is_stopping() {
            self.said_waiting = Some(now);
            let checkpoints = self.pending.len();
            let bytes: u64 = self.pending.iter().map(|(_, it)| rows_bytes(it)).sum();
            tracing::warn!(checkpoints, bytes, "input is held back: so much waits to be committed");
        }
    }

    fn command(&self, command: ReaderCommand) {
        // A reader that is gone has said why in an event of its own.
        let _ = self.reader.send(command);
    }

    fn draft(&mut self, epoch: Epoch) -> CheckpointDraft {
        let mut open = self.open.take().expect("parts came before the epoch is whole");
        open.tasks.sort_by(|a, b| a.task.cmp(&b.task));
        let sinks = self
            .sinks
            .iter()
            .enumerate()
            .map(|(index, sink)| SinkEntry {
                name: sink.name.clone(),
                table: sink.table.clone(),
                table_uuid: sink.table_uuid,
                committable: open.committables.remove(&index).expect("each sink prepared"),
                predecessor: self.histories[index].newest_committing,
                committed: self.histories[index].committed,
            })
            .collect();
        let records = self.status.records_in.load(Ordering::Relaxed);
        let rows = self.status.rows_out.load(Ordering::Relaxed);
        let images = || open.tasks.iter().flat_map(|it| &it.operators).map(|(_, image)| image);
        self.status.push_epoch(EpochStatus {
            epoch: epoch.0,
            records: records - self.records_at_barrier,
            rows: rows - self.rows_at_barrier,
            pause_seconds: open.pause.as_secs_f64(),
            image_bytes: images().map(|it| it.memory.bytes).sum(),
            dirty_bytes: images().map(|it| it.memory.held_bytes()).sum(),
            ..EpochStatus::default()
        });
        (self.records_at_barrier, self.rows_at_barrier) = (records, rows);
        CheckpointDraft {
            epoch,
            identity: self.identity.clone(),
            tasks: open.tasks,
            sinks,
            created_ms: self.clock.wall_ms(),
            savepoint: self.savepoint == Savepoint::Open(epoch),
        }
    }

    async fn completed(
        &mut self,
        place: ManifestRef,
        manifest: Arc<CheckpointManifest>,
        took: Duration,
    ) -> Result<()> {
        for (history, entry) in self.histories.iter_mut().zip(&manifest.sinks) {
            if !entry.committable.is_empty() {
                history.newest_committing = Some(place);
            }
        }
        let now = self.clock.wall_ms();
        self.status.update_epoch(place.epoch.0, |it| {
            it.checkpoint_seconds = took.as_secs_f64();
            it.written_bytes = manifest.written_bytes();
            it.completed_ms = now;
        });
        self.summary.records = records_taken(&manifest).saturating_sub(self.records_before);
        self.summary.rows += self.rows_of(&manifest);
        if self.savepoint == Savepoint::Open(place.epoch) {
            tracing::info!(epoch = place.epoch.0, "made a savepoint");
            self.savepoint = Savepoint::NotAsked;
        }
        let bytes = rows_bytes(&manifest);
        match self.guarantee.order() {
            Order::CheckpointFirst => self.pending.push_back((place, manifest)),
            Order::TableFirst => self.settled(&manifest),
        }
        self.status.commits_pending.store(self.pending.len() as u64, Ordering::Relaxed);
        self.summary.epochs += 1;
        self.summary.last_epoch = Some(place.epoch);
        self.advance(advance::Event::Completed(place.epoch, bytes)).await
    }

    /// Commits the epoch's rows ahead of its checkpoint. The manifest then carries none: the table has them,
    /// and no start must commit them again.
    fn append(&mut self, epoch: Epoch) {
        let mut draft = self.draft(epoch);
        let (sinks, generation) = (Arc::clone(&self.sinks), self.generation);
        let (events, status) = (self.events.clone(), Arc::clone(&self.status));
        let maintain = self.summary.epochs.is_multiple_of(COMMITS_PER_MAINTENANCE);
        let requests: Vec<_> = draft
            .sinks
            .iter()
            .map(|entry| {
                let has_rows = !entry.committable.is_empty();
                has_rows.then(|| append_request(&draft, entry, generation))
            })
            .collect();
        for entry in &mut draft.sinks {
            entry.committable = Committable::EMPTY;
        }
        self.appending = Some(draft);
        let alarm = Alarm::new("committer", &events);
        self.commits.spawn(async move {
            let _alarm = alarm;
            let begin = tokio::time::Instant::now();
            let done = append_epoch(&sinks, &requests, &status).await;
            let _ = events.send(match done {
                Ok(snapshots) => Event::Appended { epoch, snapshots, took: begin.elapsed() },
                Err(error) => Event::Failed(error),
            });
            if maintain {
                maintain_tables(&sinks).await;
            }
        });
    }

    async fn appended(
        &mut self,
        epoch: Epoch,
        snapshots: &[Option<i64>],
        took: Duration,
    ) -> Result<()> {
        while self.commits.try_join_next().is_some() {}
        let now = self.clock.wall_ms();
        let snapshot_id = snapshots.first().copied().flatten();
        let mut rows = 0;
        self.status.update_epoch(epoch.0, |it| {
            it.commit_seconds = Some(took.as_secs_f64());
            it.committed_ms = Some(now);
            it.snapshot_id = snapshot_id;
            rows = it.rows;
        });
        self.summary.rows += rows;
        let (generation, commit_ms) = (self.generation.0, took.as_millis() as u64);
        let epoch_number = epoch.0;
        tracing::info!(
            epoch = epoch_number,
            generation,
            rows,
            commit_ms,
            snapshot = snapshot_id,
            "committed"
        );
        self.advance(advance::Event::Appended(epoch)).await
    }

    /// Rows of an epoch for all sinks but that of dead letters.
    fn rows_of(&self, manifest: &CheckpointManifest) -> u64 {
        manifest.sinks.iter().take(self.row_sinks).map(|it| it.committable.rows).sum()
    }

    /// The epoch is in the tables and has its checkpoint.
    fn settled(&self, manifest: &CheckpointManifest) {
        self.command(ReaderCommand::Report(manifest.position()));
        let pending = self.pending.iter().map(|(place, _)| *place).collect();
        // A completer that is busy sweeps after the next commit.
        let _ = self.completer.try_send(ToComplete::Sweep { pending });
    }

    /// Commits all that is pending up to this epoch.
    fn commit(&mut self, last: Epoch) {
        let checkpoints: Vec<_> =
            self.pending.iter().filter(|(place, _)| place.epoch <= last).cloned().collect();
        assert_eq!(checkpoints.last().map(|it| it.0.epoch), Some(last));
        let (sinks, view) = (Arc::clone(&self.sinks), Arc::clone(&self.view));
        let guarantee = self.guarantee;
        let (events, status) = (self.events.clone(), Arc::clone(&self.status));
        self.commits_begun += 1;
        let maintain = self.commits_begun.is_multiple_of(COMMITS_PER_MAINTENANCE);
        let sweep = self.sweeps_now();
        let alarm = Alarm::new("committer", &events);
        self.commits.spawn(async move {
            let _alarm = alarm;
            let begin = tokio::time::Instant::now();
            let done = commit_epochs(&sinks, &checkpoints, guarantee, view.as_ref(), &status).await;
            let _ = events.send(match done {
                Ok(snapshots) => Event::Committed { epoch: last, snapshots, took: begin.elapsed() },
                Err(error) => Event::Failed(error),
            });
            if maintain {
                maintain_tables(&sinks).await;
            }
            if sweep {
                sweep_prepared(&sinks, view.as_ref()).await;
            }
        });
    }

    /// The files that were prepared in vain are looked for once the table is past all that an attempt before
    /// this one may have left, and then now and again.
    fn sweeps_now(&self) -> bool {
        let now_ms = self.clock.monotonic().as_millis() as u64;
        let last_ms = self.status.swept_ms.load(Ordering::Relaxed);
        let is_due = last_ms == 0 || now_ms.saturating_sub(last_ms) >= SWEEP_INTERVAL_MS;
        let sweeps = is_due && self.commits_begun >= COMMITS_BEFORE_SWEEP;
        if sweeps {
            self.status.swept_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
        sweeps
    }

    async fn committed(
        &mut self,
        last: Epoch,
        snapshots: Vec<Option<CommittedSnapshot>>,
        took: Duration,
    ) -> Result<()> {
        let count = self.pending.iter().take_while(|(place, _)| place.epoch <= last).count();
        let done: Vec<_> = self.pending.drain(..count).collect();
        while self.commits.try_join_next().is_some() {}
        for (history, snapshot) in self.histories.iter_mut().zip(&snapshots) {
            history.committed = snapshot.or(history.committed);
        }
        let now = self.clock.wall_ms();
        let snapshot_id = snapshots.first().copied().flatten().map(|it| it.snapshot_id);
        self.status.commits_pending.store(self.pending.len() as u64, Ordering::Relaxed);
        for (place, _) in &done {
            self.status.update_epoch(place.epoch.0, |it| {
                it.commit_seconds = Some(took.as_secs_f64());
                it.committed_ms = Some(now);
                it.snapshot_id = snapshot_id;
            });
        }
        let (_, manifest) = done.last().expect("a commit is of a pending epoch");
        tracing::info!(
            epoch = last.0,
            generation = manifest.generation.0,
            rows = done.iter().map(|(_, it)| self.rows_of(it)).sum::<u64>(),
            commit_ms = took.as_millis() as u64,
            snapshot = snapshot_id,
            "committed"
        );
        self.settled(manifest);
        self.advance(advance::Event::Committed(last)).await
    }

    fn looked(&mut self, facts: Result<Vec<PartitionFacts>>) -> Result<()> {
        let facts = match facts {
            Ok(facts) => facts,
            // A broker that does not answer now is noticed by the reading itself if it stays away.
            Err(error) => {
                tracing::debug!("could not look at the partitions: {error}");
                return Ok(());
            }
        };
        for it in &facts {
            self.status.update_task(&it.topic_partition, |status| status.end_offset = it.end.0);
        }
        for topic in &self.identity.topics {
            let now =
                facts.iter().filter(|it| *it.topic_partition.topic == *topic.topic).count() as u32;
            if now > topic.partitions && self.new_partitions == NewPartitions::Fail {
                return Err(Error::refused(format!(
                    "topic {}: had {} partitions at the start and has {now} now: keys may have moved, and state stays where it was\n  → new-partitions = \"start\" in [source] if the operators keep no state by key",
                    topic.topic, topic.partitions
                )));
            }
        }
        Ok(())
    }
}

pub(crate) fn records_taken(manifest: &CheckpointManifest) -> u64 {
    let source = manifest.tasks.iter().filter(|it| it.task.stage().is_none());
    source.map(|it| it.records).sum()
}

/// Of what the checkpoint carries for the tables.
fn rows_bytes(manifest: &CheckpointManifest) -> u64 {
    manifest.sinks.iter().map(|it| it.committable.file_bytes).sum()
}

/// Commits epochs to each sink in order, as one commit each.
async fn commit_epochs(
    sinks: &[Sink],
    checkpoints: &[(ManifestRef, Arc<CheckpointManifest>)],
    guarantee: Guarantee,
    view: &dyn LogView,
    status: &Status,
) -> Result<Vec<Option<CommittedSnapshot>>> {
    let mut snapshots = Vec::new();
    for sink in sinks {
        snapshots.push(match commit_request(checkpoints, &sink.name, guarantee) {
            None => None,
            Some(request) => {
                let outcome = commit_until_settled(sink, &request, guarantee, view, status).await?;
                outcome.map(|it| it.snapshot)
            }
        });
    }
    Ok(snapshots)
}

/// Commits the rows of an epoch ahead of its checkpoint, to each sink in order.
async fn append_epoch(
    sinks: &[Sink],
    requests: &[Option<AppendRequest>],
    status: &Status,
) -> Result<Vec<Option<i64>>> {
    let mut snapshots = Vec::new();
    for (sink, request) in sinks.iter().zip(requests) {
        snapshots.push(match request {
            None => None,
            Some(request) => append_until_settled(sink, request, status).await?,
        });
    }
    Ok(snapshots)
}

async fn maintain_tables(sinks: &[Sink]) {
    for sink in sinks {
        hit(CrashPoint::BeforeMaintain);
        if let Err(error) = sink.committer.maintain().await {
            tracing::warn!(table = %sink.table, "upkeep of the table failed: {error}");
        }
        hit(CrashPoint::AfterMaintain);
    }
}

/// What could not be deleted now is garbage still at the next sweep.
async fn sweep_prepared(sinks: &[Sink], view: &dyn LogView) {
    let Some(kept) = view.kept() else { return };
    for sink in sinks {
        let log = SinkLog::of(kept.iter().map(|(at, it)| (*at, it.as_ref())), &sink.name);
        match sink.committer.sweep(&log).await {
            Ok(found) if found.orphans.is_empty() => {}
            Ok(found) => tracing::info!(
                table = %sink.table,
                files = found.orphans.len(),
                bytes = found.orphans.iter().map(|it| it.bytes).sum::<u64>(),
                "swept files that were prepared in vain"
            ),
            Err(error) => {
                tracing::warn!(table = %sink.table, "sweep of prepared files failed: {error}")
            }
        }
    }
}
