//! One task, replayed: records go in as they come, each epoch comes out compared.

mod calls;
mod marks;
mod merged;
mod beyond;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use floe_checkpoint::{RunningStateHash, state_hash, with_in_flight};
use floe_core::chain::{self, ChainStop, Left};
use floe_core::graph::{Graph, Outlet, Wires};
use floe_core::image::{Capture, OperatorImage};
use floe_core::journal::{BatchStep, RowsMark, Step};
use floe_core::ports::{Decoder, DecoderFactory, Operator, OperatorFactory, RejectedRow};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Offset, Record, Records, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::merge::{NextStage, Origin, Passed, PassedBatch, Waiting, stage_of};
use crate::pending::Pending;
use crate::plan::PlannedTask;
use crate::rows::{RowHasher, rows_hash_of};
use crate::step::{Examine, Stepped, step};
pub(crate) use calls::Calls;

/// One operator of the chain.
#[derive(Clone)]
pub struct Link {
    pub name: Arc<str>,
    pub factory: Arc<dyn OperatorFactory>,
    /// What it rejects becomes a row of the table of dead letters.
    pub dead_letters: bool,
}

pub struct TaskReplay {
    task: TopicPartition,
    level: usize,
    /// Of the stage of this task.
    links: Vec<Link>,
    /// The operator whose columns records are decoded to.
    decodes_for: Link,
    instances: Vec<Box<dyn Operator>>,
    decoder: Box<dyn Decoder>,
    now: EventTime,
    pending: Pending,
    /// Of a task of a keyed stage, in place of records.
    waiting: Waiting,
    next: Option<NextStage>,
    epochs: VecDeque<(Epoch, PlannedTask)>,
    /// The step of the first of `epochs` that is next.
    at_step: usize,
    open: EpochDone,
    /// The journal of the open epoch tells the rows of each call by a mark.
    is_marked: bool,
    /// Of the rows that the call of the step before left.
    left: Option<RowsMark>,
    /// What the rows of the call that runs are made from.
    origin: Option<Origin>,
    /// Which outputs the operators take from each other, and where the others go.
    wires: Wires,
    /// Of the open epoch, by sink.
    rows: Vec<RowHasher>,
    /// Rows are hashed, to be compared with those of another re-execution.
    pub hash_rows: bool,
    /// Of the images that the instances were restored from, and of what was captured since.
    hash: RunningStateHash,
    /// Records that are looked at one by one, beside the batch that they are in.
    pub examine: Option<Examine>,
    /// Records may be other ones than the run saw: nothing is compared.
    pub altered: bool,
    /// What differs is passed over as far as that can be: somebody looks for what it came to.
    pub goes_past: bool,
    /// Records and rows that the run passed over are given to the operators, which are other ones than it had.
    pub gives_skipped: bool,
    /// Tasks before this one of whose rows more were taken at once than the journal says, for they are others.
    taken_ahead: BTreeSet<TopicPartition>,
    /// All instances are made anew from their images between any two batches.
    pub restore_between: bool,
    differs: bool,
}

/// One epoch of one task, replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochDone {
    pub epoch: u64,
    pub steps: u64,
    pub records: u64,
    pub rows: u64,
    pub dead_letters: u64,
    pub rows_hash: u64,
    pub state_hash: [u8; 32],
    /// The first difference to what the run did.
    pub difference: Option<Difference>,
    /// The state at the difference, where it is the state that differs.
    pub found: Option<Vec<(String, OperatorImage)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The records are not those that the run took.
    Input { first: Offset, last: Offset, expected_count: u32, found_count: usize },
    /// The rows that a task of the stage before passed are not those that the run merged.
    Merged { from: TopicPartition, expected_rows: u32, found_rows: usize },
    /// An operator stopped where none had stopped in the run.
    /// `by` is none for a watermark.
    Stopped { by: Option<Origin>, operator: String, message: String },
    /// A call left other rows than in the run. `call` is its number in the epoch, from 1.
    Rows { call: u64, at: CallAt },
    /// The same steps, and another state.
    State { expected: [u8; 32], found: [u8; 32] },
}

/// What a call of the chain took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAt {
    Records {
        first: Offset,
        last: Offset,
    },
    Watermark(EventTime),
    /// Rows that a task of the stage before passed.
    Merged {
        from: TopicPartition,
        rows: u32,
    },
}

/// Rows that reached a sink.
pub struct SinkRows {
    /// By its number in the pipeline file.
    pub sink: usize,
    /// The call that left them, by its number in the epoch, from 1.
    pub call: u64,
    /// The records that they were made from; none where a watermark made them.
    pub origin: Option<Origin>,
    pub batch: RecordBatch,
}

/// Looks on while a task is replayed.
pub trait Watch {
    /// Rows that reached a sink from these records; from a watermark there are none.
    fn rows(&mut self, _epoch: u64, _records: Option<&Records>, _rows: &SinkRows) {}

    /// A record or row that was not taken. `record` is absent for a row that an operator made.
    fn refused(&mut self, _epoch: u64, _record: Option<Record<'_>>, _operator: &str, _why: &str) {}

    fn stepped(&mut self, _epoch: u64, _stepped: Stepped) {}
}

/// Sees nothing.
pub struct Nobody;

impl Watch for Nobody {}

impl TaskReplay {
    /// As the checkpoint left it; without one, as at the pipeline's beginning.
    pub fn new(
        pipeline: &str,
        task: &TopicPartition,
        captured: Option<&CapturedTask>,
        links: &[Link],
        graph: &Graph,
        decoder: &dyn DecoderFactory,
        epochs: Vec<(Epoch, PlannedTask)>,
    ) -> Result<TaskReplay> {
        let stage = stage_of(graph, links, task)?;
        let next = NextStage::of(graph, stage, links)?;
        let reader =
            graph.readers.get(stage).copied().unwrap_or(graph.stages[stage].operators.start);
        let decodes_for = links[reader].clone();
        let links = &links[graph.stages[stage].operators.clone()];
        let instances = match captured {
            Some(captured) => restore(links, task, &captured.operators)?,
            None => links
                .iter()
                .map(|it| it.factory.open(task, seed(pipeline, task, &it.name)))
                .collect::<Result<Vec<_>>>()?,
        };
        let mut hash = RunningStateHash::default();
        if let Some(captured) = captured {
            hash.update(&captured.operators);
        }
        Ok(TaskReplay {
            task: task.clone(),
            level: stage.saturating_sub(graph.sources.len() - 1),
            links: links.to_vec(),
            decodes_for,
            instances,
            decoder: decoder.decoder_of(task),
            now: captured.map_or(EventTime::MIN, |it| it.virtual_time),
            pending: Pending::new(task.clone()),
            waiting: captured.map_or_else(Waiting::default, Waiting::of),
            next,
            epochs: epochs.into(),
            at_step: 0,
            open: EpochDone::default(),
            is_marked: false,
            left: None,
            origin: None,
            wires: graph.wires(stage),
            rows: vec![RowHasher::default(); graph.sinks.len()],
            hash_rows: false,
            hash,
            examine: None,
            altered: false,
            goes_past: false,
            gives_skipped: false,
            taken_ahead: BTreeSet::new(),
            restore_between: false,
            differs: false,
        })
    }

    /// What comes behind the epochs that it has.
    pub fn add_epochs(&mut self, epochs: Vec<(Epoch, PlannedTask)>) {
        self.epochs.extend(epochs);
    }

    /// How many stages are between it and the sources: 0 for a task of a partition.
    pub fn level(&self) -> usize {
        self.level
    }

    pub fn task(&self) -> &TopicPartition {
        &self.task
    }

    /// All epochs are through, or one differed.
    pub fn is_done(&self) -> bool {
        self.epochs.is_empty() || self.differs
    }

    /// Takes records, in offset order over all calls, and gives the epochs that became whole.
    pub fn feed(&mut self, records: Records, watch: &mut dyn Watch) -> Result<Vec<EpochDone>> {
        self.pending.push(records);
        self.go_on(watch)
    }

    /// Takes what a task of the stage before passed to this one. All of it comes before `go_on`.
    pub fn put(&mut self, from: &TopicPartition, passed: VecDeque<PassedBatch>) {
        self.waiting.put(from.clone(), passed);
    }

    /// For each task of the next stage, what this one passed to it.
    pub fn take_passed(&mut self) -> Passed {
        match &mut self.next {
            None => Passed::new(),
            Some(next) => {
                let empty = next.passed.iter().map(|_| VecDeque::new()).collect();
                std::mem::replace(&mut next.passed, empty)
            }
        }
    }

    /// Nobody replays the stage behind this one.
    pub fn is_last(&mut self) {
        self.next = None;
    }

    /// Does all that can be done with the records that are here.
    pub fn go_on(&mut self, watch: &mut dyn Watch) -> Result<Vec<EpochDone>> {
        let mut done = Vec::new();
        while !self.is_done() {
            let (epoch, planned) = &self.epochs[0];
            let epoch = epoch.0;
            self.open.epoch = epoch;
            if self.at_step == 0 {
                self.is_marked = planned.journal.is_marked();
            }
            let Some(step) = planned.journal.steps.get(self.at_step).copied() else {
                if self.altered {
                    self.merge_rest(epoch, watch)?;
                }
                done.push(self.close_epoch()?);
                continue;
            };
            let last = match step {
                Step::Batch(batch) => Some(batch.last),
                Step::Skip(offset) => Some(offset),
                Step::Watermark(_)
                | Step::Retry(_)
                | Step::Merge(_)
                | Step::MergeSkip { .. }
                | Step::Schema(_)
                | Step::Rows(_) => None,
            };
            if last.is_some_and(|last| self.pending.last().is_none_or(|it| it < last)) {
                break;
            }
            self.at_step += 1;
            self.open.steps += 1;
            self.left = None;
            let difference = match step {
                Step::Batch(batch) => self.batch(epoch, &batch, watch)?,
                Step::Watermark(watermark) => self.watermark(epoch, watermark, watch)?,
                Step::Skip(offset) => self.skip(epoch, offset, watch)?,
                Step::Merge(merge) => {
                    let from = self.upstream(merge.from)?;
                    self.merge(epoch, &from, &merge, watch)?
                }
                Step::MergeSkip { from } => {
                    let from = self.upstream(from)?;
                    self.merge_skip(epoch, &from, watch)?
                }
                Step::Schema(schema) => {
                    self.decoder.recall(schema)?;
                    None
                }
                Step::Retry(_) => unreachable!("a plan with one is refused"),
                Step::Rows(_) => return Err(self.rows_of_no_call(epoch)),
            };
            if difference.is_none() {
                self.compare_rows(step)?;
            }
            if difference.is_some() {
                self.open.difference = self.open.difference.take().or(difference);
                self.differs = true;
                done.push(std::mem::take(&mut self.open));
            }
        }
        Ok(done)
    }

    /// What is left to do lacks records: the recording ends before the journal does.
    pub fn lacking(&self) -> Option<Error> {
        if self.is_done() {
            return None;
        }
        let (epoch, planned) = &self.epochs[0];
        let wanted = match planned.journal.steps.get(self.at_step) {
            Some(Step::Batch(batch)) => batch.last,
            Some(Step::Skip(offset)) => *offset,
            Some(_) | None => return None,
        };
        let has = match self.pending.last() {
            Some(last) => format!("it ends at offset {last}"),
            None => "it has none of them".to_owned(),
        };
        Some(Error::invalid(format!(
            "the recording lacks records of {} that epoch {epoch} took, up to offset {wanted}: {has}",
            self.task
        )))
    }

    fn close_epoch(&mut self) -> Result<EpochDone> {
        let (_, planned) = self.epochs.pop_front().expect("go_on looked at it");
        self.at_step = 0;
        self.rows.fill(RowHasher::default());
        let mut done = std::mem::take(&mut self.open);
        // The last state is hashed whole: a page that was written and not noticed shows there.
        let whole = self.restore_between || self.epochs.is_empty();
        let operators = match whole {
            true => state_hash(&self.capture()?),
            false => {
                let changes = self.captured(Capture::Changes)?;
                self.hash.update(&changes)
            }
        };
        done.state_hash = with_in_flight(operators, self.waiting.in_flight(done.epoch));
        if done.state_hash != planned.state_hash && !self.altered {
            let (expected, found) = (planned.state_hash, done.state_hash);
            done.difference.get_or_insert(Difference::State { expected, found });
            done.found = Some(self.capture()?);
        }
        self.differs = done.difference.is_some();
        Ok(done)
    }

    pub fn capture(&mut self) -> Result<Vec<(String, OperatorImage)>> {
        self.captured(Capture::Whole)
    }

    fn captured(&mut self, what: Capture) -> Result<Vec<(String, OperatorImage)>> {
        let both = self.links.iter().zip(&mut self.instances);
        both.map(|(link, it)| Ok((link.name.to_string(), it.capture(what)?))).collect()
    }

    fn batch(
        &mut self,
        epoch: u64,
        step: &BatchStep,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let records = self.pending.take(step.first, step.last);
        let mut hash = Xxh3::new();
        records.digest(|bytes| hash.update(bytes));
        let same = records.len() == step.count as usize && hash.digest() == step.input_hash;
        if !same && !self.altered && !self.goes_past {
            return Ok(Some(Difference::Input {
                first: step.first,
                last: step.last,
                expected_count: step.count,
                found_count: records.len(),
            }));
        }
        self.now = step.virtual_time;
        self.records(epoch, &records, watch)
    }

    fn records(
        &mut self,
        epoch: u64,
        records: &Records,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let (Some(first), Some(last)) = (records.first_offset(), records.last_offset()) else {
            return Ok(None);
        };
        if self.restore_between {
            let images = self.capture()?;
            self.instances = restore(&self.links, &self.task, &images)?;
        }
        if let Some(examine) = self.examine
            && first <= examine.offsets.1
            && examine.offsets.0 <= last
        {
            self.step(epoch, records, examine, self.now, watch)?;
        }
        let decoded = self.decoder.decode(records)?;
        for RejectedRow { row, reason } in &decoded.rejected {
            self.open.dead_letters += u64::from(self.decodes_for.dead_letters);
            watch.refused(epoch, Some(records.get(*row)), &self.decodes_for.name, reason);
        }
        let mut calls = Calls {
            links: &self.links,
            instances: &mut self.instances,
            now: self.now,
            records: Some(records),
            rows: decoded.rows.as_deref(),
            dead_letters: 0,
            epoch,
            watch,
        };
        let made = chain::process(&mut calls, &self.wires, decoded.batch);
        self.open.dead_letters += calls.dead_letters;
        self.open.records += records.len() as u64;
        self.origin = Some(Origin { task: self.task.clone(), first, last });
        self.settle(epoch, Some(records), made, watch)
    }

    fn watermark(
        &mut self,
        epoch: u64,
        watermark: EventTime,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let mut calls = Calls {
            links: &self.links,
            instances: &mut self.instances,
            now: self.now,
            records: None,
            rows: None,
            dead_letters: 0,
            epoch,
            watch,
        };
        let made = chain::watermark(&mut calls, &self.wires, watermark);
        self.open.dead_letters += calls.dead_letters;
        self.origin = None;
        self.settle(epoch, None, made, watch)
    }

    /// Hands on what the chain made of records, rows or a watermark; or says where it stopped.
    fn settle(
        &mut self,
        epoch: u64,
        records: Option<&Records>,
        made: Result<Left, ChainStop>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        match made {
            Ok(made) => {
                self.take_rows(epoch, records, made, watch)?;
                Ok(None)
            }
            Err(ChainStop::Refused(error)) => Err(error),
            Err(ChainStop::Operator { link, error }) => Ok(Some(Difference::Stopped {
                by: self.origin.clone(),
                operator: self.links[link].name.to_string(),
                message: error.message,
            })),
        }
    }

    /// The run had found that this record stops an operator. Its decision stands.
    fn skip(
        &mut self,
        epoch: u64,
        offset: Offset,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let records = self.pending.take(offset, offset);
        if records.is_empty() {
            return Ok(Some(Difference::Input {
                first: offset,
                last: offset,
                expected_count: 1,
                found_count: 0,
            }));
        }
        if self.gives_skipped {
            return self.records(epoch, &records, watch);
        }
        self.open.records += 1;
        self.open.dead_letters += u64::from(self.links.iter().any(|it| it.dead_letters));
        if let Some(examine) = self.examine
            && examine.offsets.0 <= offset
            && offset <= examine.offsets.1
        {
            let now = self.now.max(records.get(0).timestamp());
            self.step(epoch, &records, examine, now, watch)?;
        }
        watch.refused(
            epoch,
            Some(records.get(0)),
            "",
            "skipped, as the run did: it stops an operator",
        );
        Ok(None)
    }

    /// Beside the batch, and without an effect on it.
    fn step(
        &mut self,
        epoch: u64,
        records: &Records,
        examine: Examine,
        now: EventTime,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let images = self.capture()?;
        let (links, task) = (&self.links, &self.task);
        let each =
            step((links, &self.wires), task, &images, &mut *self.decoder, records, examine, now)?;
        each.into_iter().for_each(|it| watch.stepped(epoch, it));
        Ok(())
    }

    fn take_rows(
        &mut self,
        epoch: u64,
        records: Option<&Records>,
        made: Left,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        if self.is_marked && !self.altered {
            self.left = RowsMark::of(&made);
        }
        for (outlet, batch) in made {
            let Outlet::Sink(sink) = outlet else {
                if let Some(next) = &mut self.next {
                    next.pass(epoch, &batch, self.origin.as_ref())?;
                }
                continue;
            };
            let call = self.open.steps;
            self.open.rows += batch.num_rows() as u64;
            if self.hash_rows {
                self.rows[sink].update(&batch);
            }
            let origin = self.origin.clone();
            watch.rows(epoch, records, &SinkRows { sink, call, origin, batch });
        }
        self.open.rows_hash = rows_hash_of(&self.rows);
        Ok(())
    }
}

pub(crate) fn restore(
    links: &[Link],
    task: &TopicPartition,
    images: &[(String, OperatorImage)],
) -> Result<Vec<Box<dyn Operator>>> {
    if images.len() != links.len() {
        return Err(Error::invalid(format!(
            "the checkpoint of {task} has {} operators, and the pipeline {}",
            images.len(),
            links.len()
        )));
    }
    links.iter().zip(images).map(|(link, (_, image))| link.factory.restore(task, image)).collect()
}

/// As a run has it: the same for the same pipeline, task and operator.
fn seed(pipeline: &str, task: &TopicPartition, operator: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{pipeline}\0{task}\0{operator}").as_bytes())
}
