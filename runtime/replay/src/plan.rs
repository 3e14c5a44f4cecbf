//! What is to be replayed: the images of one checkpoint, and the journals and hashes of those behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use floe_checkpoint::{read_heads, read_log, read_parts};
use floe_core::journal::{Journal, Stand, Step};
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::ObjectStore;
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, Offset, Result, TopicPartition};

pub struct Plan {
    pub pipeline: String,
    /// The checkpoint that is restored; none when a pipeline is replayed from its beginning.
    pub begin: Option<Arc<CheckpointManifest>>,
    /// Of the checkpoint that is restored, or of the first one behind the beginning.
    pub identity: PipelineIdentity,
    /// The engines of all checkpoints from the first to the last: limits of an operator may change with a run.
    pub engines: BTreeSet<String>,
    pub tasks: BTreeMap<TopicPartition, CapturedTask>,
    pub epochs: Vec<PlannedEpoch>,
}

/// One epoch as the checkpoints have it.
pub struct PlannedEpoch {
    pub epoch: Epoch,
    pub manifest: Arc<CheckpointManifest>,
    pub tasks: BTreeMap<TopicPartition, PlannedTask>,
}

#[derive(Clone, Debug)]
pub struct PlannedTask {
    pub journal: Journal,
    /// After the epoch, as the rest.
    pub stand: Stand,
    pub state_hash: [u8; 32],
    /// Taken since the pipeline began.
    pub records: u64,
    /// Of a task of a keyed stage, the tasks of the stage before it, in order of their names.
    pub upstream: Arc<[TopicPartition]>,
}

/// From the checkpoint of `from` to that of `to`; 0 is the pipeline's beginning.
///
/// Without `to` it is the next checkpoint. With `only`, the other tasks are left out.
pub async fn load(
    store: &dyn ObjectStore,
    pipeline: &str,
    from: u64,
    to: Option<u64>,
    only: Option<&TopicPartition>,
) -> Result<Plan> {
    let log = read_log(store, pipeline).await?;
    let kept: Vec<Arc<CheckpointManifest>> = log.manifests().map(|it| Arc::clone(it.1)).collect();
    let Some((oldest, newest)) = kept.first().zip(kept.last()) else {
        return Err(Error::invalid(format!("pipeline {pipeline:?} has no checkpoint yet")));
    };
    let begin = kept.iter().find(|it| it.epoch.0 == from).cloned();
    let from_the_start = from == 0 && oldest.predecessor.is_none();
    if begin.is_none() && !from_the_start {
        let first = if oldest.predecessor.is_none() { 0 } else { oldest.epoch.0 };
        return Err(Error::invalid(format!(
            "pipeline {pipeline:?} has no checkpoint of epoch {from}, it has {first} to {}\n→ floe checkpoint list shows them; [checkpoint] keep says how many there are",
            newest.epoch
        )));
    }
    let mut behind = kept.iter().filter(|it| it.epoch.0 > from).cloned();
    let chosen: Vec<Arc<CheckpointManifest>> = match to {
        None => behind.next().into_iter().collect(),
        Some(to) if kept.iter().any(|it| it.epoch.0 == to) && to > from => {
            behind.take_while(|it| it.epoch.0 <= to).collect()
        }
        Some(to) => {
            return Err(Error::invalid(format!(
                "--to {to}: there is no such checkpoint behind {from}; the newest is {}",
                newest.epoch
            )));
        }
    };
    // A task of a keyed stage is fed by all tasks of the stages before.
    let wanted = |it: &TopicPartition| {
        only.is_none_or(|only| only == it || (only.stage().is_some() && it.stage() != only.stage()))
    };
    if let Some(only) = only
        && !newest.tasks.iter().any(|it| it.task == *only)
    {
        return Err(Error::invalid(format!("the checkpoints have no task {only}")));
    }
    let mut tasks = BTreeMap::new();
    if let Some(manifest) = &begin {
        for task in read_parts(store, pipeline, manifest).await? {
            if wanted(&task.task) {
                tasks.insert(task.task.clone(), task);
            }
        }
    }
    let identity = match (&begin, chosen.first()) {
        (Some(manifest), _) | (None, Some(manifest)) => manifest.identity.clone(),
        (None, None) => oldest.identity.clone(),
    };
    let mut engines = BTreeSet::from([identity.engine.clone()]);
    let mut epochs = Vec::new();
    for manifest in chosen {
        same_operators(&identity, &manifest)?;
        engines.insert(manifest.identity.engine.clone());
        epochs.push(planned_epoch(store, pipeline, manifest, &wanted).await?);
    }
    Ok(Plan { pipeline: pipeline.to_owned(), begin, identity, engines, tasks, epochs })
}

/// The checkpoint from which all epochs up to the newest can be replayed at once, at most so many: back to the last
/// upgrade, and to the last epoch that took dead letters back in.
pub async fn replayable_from(
    store: &dyn ObjectStore,
    pipeline: &str,
    epochs_max: u64,
) -> Result<u64> {
    let log = read_log(store, pipeline).await?;
    let mut newest_first = log.manifests().rev().map(|it| it.1).peekable();
    let Some(newest) = newest_first.peek().map(|it| it.identity.clone()) else { return Ok(0) };
    let mut from = 0;
    for epochs in 0..=epochs_max {
        let Some(manifest) = newest_first.next() else { return Ok(from) };
        from = manifest.epoch.0;
        if epochs == epochs_max {
            return Ok(from);
        }
        let before = newest_first.peek();
        let is_same = before.is_none_or(|it| {
            it.identity.operators == newest.operators && it.identity.decoder == newest.decoder
        });
        if !is_same || (before.is_none() && manifest.predecessor.is_some()) {
            return Ok(from);
        }
        let parts = read_heads(store, pipeline, manifest).await?;
        if parts.iter().any(|it| takes_letters(&it.journal)) {
            return Ok(from);
        }
        if before.is_none() {
            from = 0;
        }
    }
    Ok(from)
}

async fn planned_epoch(
    store: &dyn ObjectStore,
    pipeline: &str,
    manifest: Arc<CheckpointManifest>,
    wanted: &dyn Fn(&TopicPartition) -> bool,
) -> Result<PlannedEpoch> {
    let parts = read_heads(store, pipeline, &manifest).await?;
    let mut tasks = BTreeMap::new();
    for (entry, part) in manifest.tasks.iter().zip(parts) {
        assert_eq!(entry.task, part.task);
        refuse_retried(&part.journal, manifest.epoch)?;
        if wanted(&entry.task) {
            let planned = PlannedTask {
                stand: part.stand(),
                journal: part.journal,
                state_hash: entry.state_hash,
                records: entry.records,
                upstream: upstream(&manifest, &entry.task),
            };
            tasks.insert(entry.task.clone(), planned);
        }
    }
    Ok(PlannedEpoch { epoch: manifest.epoch, manifest, tasks })
}

/// The tasks that feed a task of a keyed stage, in the order in which its journal numbers them.
fn upstream(manifest: &CheckpointManifest, task: &TopicPartition) -> Arc<[TopicPartition]> {
    let Some(stage) = task.stage() else { return Arc::default() };
    let keyed = manifest.identity.operators.iter().filter(|it| it.keyed.is_some());
    let stages: Vec<&str> = keyed.map(|it| it.name.as_str()).collect();
    let before = stages.iter().position(|it| *it == stage).and_then(|it| it.checked_sub(1));
    let before = before.map(|it| stages[it]);
    let mut tasks: Vec<TopicPartition> =
        manifest.tasks.iter().map(|it| it.task.clone()).filter(|it| it.stage() == before).collect();
    tasks.sort();
    tasks.into()
}

fn takes_letters(journal: &Journal) -> bool {
    journal.steps.iter().any(|it| matches!(it, Step::Retry(_)))
}

/// Dead letters that a person gave back are in no topic.
fn refuse_retried(journal: &Journal, epoch: Epoch) -> Result<()> {
    match takes_letters(journal) {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "epoch {epoch} took dead letters back in, which are not in the source\n→ replay up to the one before it, and from it on, each by itself"
        ))),
    }
}

/// An upgrade between two checkpoints is no re-execution: memory was made by another module.
fn same_operators(identity: &PipelineIdentity, manifest: &CheckpointManifest) -> Result<()> {
    let now = &manifest.identity;
    if identity.operators == now.operators && identity.decoder == now.decoder {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "epoch {} was made by other operators than the checkpoint before it\n→ replay up to the one before it, and from it on, each by itself",
        manifest.epoch
    )))
}

impl PlannedEpoch {
    /// Makes the ranges reach over the records of this epoch, which follow on what they have.
    pub fn add_input(&self, ranges: &mut BTreeMap<TopicPartition, std::ops::Range<Offset>>) {
        for (task, planned) in &self.tasks {
            for step in &planned.journal.steps {
                let (first, last) = match step {
                    Step::Batch(batch) => (batch.first, batch.last),
                    Step::Skip(offset) => (*offset, *offset),
                    Step::Watermark(_)
                    | Step::Retry(_)
                    | Step::Merge(_)
                    | Step::MergeSkip { .. }
                    | Step::Schema(_)
                    | Step::Rows(_) => continue,
                };
                let end = Offset(last.0 + 1);
                let range = ranges.entry(task.clone()).or_insert(first..end);
                range.end = end;
            }
        }
    }
}

impl Plan {
    /// What must be read of each task: from the checkpoint's position to behind the last record that the
    /// journals name. A task without records is left out.
    pub fn input(&self) -> BTreeMap<TopicPartition, std::ops::Range<Offset>> {
        let mut ranges = BTreeMap::new();
        self.epochs.iter().for_each(|it| it.add_input(&mut ranges));
        ranges
    }

    /// Records of the source that the epochs hold.
    pub fn records(&self) -> u64 {
        let before = |task: &TopicPartition| self.tasks.get(task).map_or(0, |it| it.records);
        let of_source = |it: &(&TopicPartition, &PlannedTask)| it.0.stage().is_none();
        let taken = |(task, it): (&TopicPartition, &PlannedTask)| it.records - before(task);
        let last = self.epochs.last();
        last.map_or(0, |it| it.tasks.iter().filter(of_source).map(taken).sum())
    }

    /// The journal of one task over all epochs.
    pub fn of_task(&self, task: &TopicPartition) -> Vec<(Epoch, PlannedTask)> {
        let all = self.epochs.iter();
        all.filter_map(|it| Some((it.epoch, it.tasks.get(task)?.clone()))).collect()
    }

    /// All tasks: those of the checkpoint, and those that came later.
    pub fn all_tasks(&self) -> Vec<TopicPartition> {
        let mut all: Vec<TopicPartition> = self.tasks.keys().cloned().collect();
        for epoch in &self.epochs {
            all.extend(epoch.tasks.keys().cloned());
        }
        all.sort();
        all.dedup();
        all
    }
}
