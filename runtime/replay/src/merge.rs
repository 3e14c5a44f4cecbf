//! Merge: rows on their way from the replayed tasks of one stage to those of the next, in the order that the
//! journals have.

use std::collections::{BTreeMap, VecDeque};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use floe_core::exchange::{KeyColumns, digest};
use floe_core::graph::Graph;
use floe_core::in_flight::{InFlightElement, PassedInFlight};
use floe_core::journal::MergeStep;
use floe_core::task::CapturedTask;
use floe_core::{Error, Offset, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::task::Link;

/// Rows that one task passed to another by one call of its operators.
#[derive(Clone, Debug)]
pub struct PassedBatch {
    pub(crate) epoch: u64,
    pub(crate) batch: RecordBatch,
    pub(crate) origin: Option<Origin>,
}

/// The records that rows were made from, through whatever stages; a watermark's rows have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub task: TopicPartition,
    pub first: Offset,
    pub last: Offset,
}

/// For each task of the next stage, what a task passed to it.
pub type Passed = Vec<VecDeque<PassedBatch>>;

/// The stage behind a task's own.
pub(crate) struct NextStage {
    key: KeyColumns,
    tasks: u32,
    pub(crate) passed: Passed,
}

impl NextStage {
    /// Behind the last stage there is none.
    pub(crate) fn of(graph: &Graph, stage: usize, links: &[Link]) -> Result<Option<NextStage>> {
        let Some(next) = graph.stage_behind(stage).map(|it| &graph.stages[it]) else {
            return Ok(None);
        };
        let Some(keyed) = &next.keyed else { return Ok(None) };
        let input = &links[next.operators.start].factory.describe().input;
        let key = KeyColumns::find(input, &keyed.columns)?;
        let passed = (0..keyed.tasks).map(|_| VecDeque::new()).collect();
        Ok(Some(NextStage { key, tasks: keyed.tasks, passed }))
    }

    /// As a run parts it.
    pub(crate) fn pass(
        &mut self,
        epoch: u64,
        batch: &RecordBatch,
        origin: Option<&Origin>,
    ) -> Result<()> {
        let origin = origin.cloned();
        if self.tasks == 1 {
            self.passed[0].push_back(PassedBatch { epoch, batch: batch.clone(), origin });
            return Ok(());
        }
        for (passed, rows) in self.passed.iter_mut().zip(self.key.part(batch, self.tasks)) {
            if rows.is_empty() {
                continue;
            }
            let rows = take_record_batch(batch, &UInt32Array::from(rows)).map_err(|error| {
                Error::corrupt(format!("rows cannot be parted by key: {error}"))
            })?;
            passed.push_back(PassedBatch { epoch, batch: rows, origin: origin.clone() });
        }
        Ok(())
    }
}

/// What was passed to a task and is not merged yet, by the task that it comes from.
#[derive(Default)]
pub(crate) struct Waiting(BTreeMap<TopicPartition, VecDeque<PassedBatch>>);

impl Waiting {
    pub(crate) fn put(&mut self, from: TopicPartition, passed: VecDeque<PassedBatch>) {
        self.0.entry(from).or_default().extend(passed);
    }

    /// What the checkpoint has in flight comes before all that is passed behind it.
    pub(crate) fn of(captured: &CapturedTask) -> Waiting {
        let mut waiting = Waiting::default();
        for PassedInFlight { from, what } in &captured.in_flight.passed {
            // A watermark is a step of the journal, where it was taken.
            let InFlightElement::Rows { batch, origin, .. } = what else { continue };
            let origin = origin.offsets.map(|(first, last)| {
                let task = origin.task.clone();
                Origin { task, first, last }
            });
            let passed = PassedBatch { epoch: 0, batch: batch.clone(), origin };
            waiting.0.entry(from.clone()).or_default().push_back(passed);
        }
        waiting
    }

    /// What was passed up to an epoch and waits: what the barrier of the epoch overtook.
    pub(crate) fn in_flight(
        &self,
        epoch: u64,
    ) -> impl Iterator<Item = (&TopicPartition, &RecordBatch)> {
        let each = self.0.iter().flat_map(|(from, all)| all.iter().map(move |it| (from, it)));
        each.filter(move |it| it.1.epoch <= epoch).map(|(from, it)| (from, &it.batch))
    }

    /// The next rows of one task, at most so many, and never of two batches. They may be of an epoch before,
    /// whose barrier overtook them.
    pub(crate) fn take(
        &mut self,
        from: &TopicPartition,
        epoch: u64,
        rows: usize,
    ) -> Option<PassedBatch> {
        let waiting = self.0.get_mut(from)?;
        let front = waiting.front_mut().filter(|it| it.epoch <= epoch)?;
        if front.batch.num_rows() <= rows {
            return waiting.pop_front();
        }
        let taken = PassedBatch { batch: front.batch.slice(0, rows), ..front.clone() };
        front.batch = front.batch.slice(rows, front.batch.num_rows() - rows);
        Some(taken)
    }

    /// The next rows of one task are those that the step took in the run.
    pub(crate) fn are_next(&self, from: &TopicPartition, epoch: u64, step: &MergeStep) -> bool {
        let next = self.0.get(from).and_then(VecDeque::front).filter(|it| it.epoch <= epoch);
        next.filter(|it| it.batch.num_rows() >= step.rows as usize)
            .is_some_and(|it| rows_hash(&it.batch.slice(0, step.rows as usize)) == step.rows_hash)
    }

    /// All that is left up to an epoch.
    pub(crate) fn rest(&mut self, epoch: u64) -> Vec<PassedBatch> {
        let mut rest = Vec::new();
        for waiting in self.0.values_mut() {
            while let Some(front) = waiting.pop_front_if(|it| it.epoch <= epoch) {
                rest.push(front);
            }
        }
        rest
    }
}

/// As a run's journal has it.
pub(crate) fn rows_hash(batch: &RecordBatch) -> u64 {
    let mut hash = Xxh3::new();
    digest(batch, &mut |bytes| hash.update(bytes));
    hash.digest()
}

/// The stage of a task.
pub(crate) fn stage_of(graph: &Graph, links: &[Link], task: &TopicPartition) -> Result<usize> {
    let Some(name) = task.stage() else {
        return graph.source_of(task).ok_or_else(|| {
            Error::invalid(format!(
                "the checkpoint has task {task}, and no source of the pipeline has its topic"
            ))
        });
    };
    let mut keyed = graph.keyed_stages();
    let found = keyed.find(|(_, stage, _)| *links[stage.operators.start].name == *name);
    found.map(|it| it.0).ok_or_else(|| {
        Error::invalid(format!(
            "the checkpoint has task {task}, and no operator {name:?} of the pipeline takes rows by key"
        ))
    })
}
