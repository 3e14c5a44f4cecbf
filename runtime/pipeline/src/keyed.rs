//! KeyedTask: the rows of some keys, from all tasks of the stage before, with its own instance of each operator.
//!
//! Which rows came in which order is decided by who was faster, and written to the journal: a re-execution
//! merges them the same way.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use floe_core::chain::{self, ChainStop, Left};
use floe_core::exchange::digest;
use floe_core::graph::Wires;
use floe_core::in_flight::{InFlight, InFlightElement, PassedInFlight};
use floe_core::journal::{Journal, MergeStep, Step};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Offset, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::dead_letter::DeadLetters;
use crate::link::{self, Link, Suspected, count_fuel, isolate};
use crate::passed::{Origin, Passed, PassedRows};
use crate::refusal::{Place, Refusal};
use crate::task::{Calls, Input, Output, Stopped, Suspect, advanced};
use crate::telemetry::Status;

pub(crate) struct KeyedTask {
    pub(crate) task: TopicPartition,
    /// Among the tasks of its stage.
    pub(crate) number: u32,
    pub(crate) chain: Vec<Link>,
    pub(crate) wires: Arc<Wires>,
    /// The tasks of the stage before, by their numbers there.
    pub(crate) before: Arc<[TopicPartition]>,
    /// Of each of them, as far as it was taken.
    pub(crate) upstream: Vec<EventTime>,
    /// What the checkpoint had in flight, until the run begins.
    pub(crate) restored: Vec<Passed>,
    pub(crate) virtual_time: EventTime,
    /// The least of those upstream; it never goes back.
    pub(crate) watermark: EventTime,
    /// Rows taken since the pipeline began.
    pub(crate) records: u64,
    pub(crate) journal: Journal,
    /// A row stopped an operator before the run went back to the checkpoint, and comes again, at whatever
    /// place: until the next barrier, an image is taken before each batch.
    pub(crate) careful: bool,
}

impl KeyedTask {
    pub(crate) fn count_fuel(&mut self) -> Result<()> {
        count_fuel(&mut self.chain, &self.task)
    }

    /// Takes rows through the chain. After an error the task is never used again.
    pub(crate) fn take(
        &mut self,
        rows: &PassedRows,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output, Stopped> {
        let mut letters = DeadLetters::new();
        let mut left = Left::new();
        if self.careful {
            let (letters, left) = (&mut letters, &mut left);
            let mut batch = SuspectedRows { task: self, rows, epoch, status, letters, left };
            isolate(&mut batch, 0..rows.batch.num_rows())?;
        } else {
            let made = self.run_chain(rows, rows.batch.clone(), epoch, status, &mut letters);
            left = made.map_err(|stop| match stop {
                ChainStop::Refused(error) => Stopped::Failed(error),
                ChainStop::Operator { error, .. } => {
                    let first = Offset(self.records as i64);
                    Stopped::Poisoned(Suspect { task: self.task.clone(), first, error })
                }
            })?;
        }
        self.records += rows.batch.num_rows() as u64;
        let mut output = Output::default();
        output.add(left, &rows.origin);
        Ok(output.with(letters, status))
    }

    /// Takes the watermark of a task of the stage before.
    pub(crate) fn take_watermark(
        &mut self,
        from: u32,
        watermark: EventTime,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output, Stopped> {
        let of = &mut self.upstream[from as usize];
        *of = watermark.max(*of);
        let least = self.upstream.iter().copied().min().unwrap_or(EventTime::MIN);
        let mut output = Output::default();
        if least <= self.watermark {
            return Ok(output);
        }
        let mut letters = DeadLetters::new();
        self.watermark = least;
        self.journal.steps.push(Step::Watermark(least));
        let mut chain = Calls {
            task: &self.task,
            links: &mut self.chain,
            now: self.virtual_time,
            input: Input::Watermark(least),
            epoch,
            status,
            letters: &mut letters,
        };
        let left = chain::watermark(&mut chain, &self.wires, least);
        let at = Offset(self.records as i64);
        let left =
            left.map_err(|stop| advanced(stop, (&self.task, at), &self.chain, least, epoch))?;
        self.journal.left(&left);
        output.add(left, &Origin { task: self.task.clone(), offsets: None });
        output.watermark = Some(least);
        Ok(output.with(letters, status))
    }

    fn run_chain(
        &mut self,
        rows: &PassedRows,
        part: RecordBatch,
        epoch: Epoch,
        status: &Status,
        letters: &mut DeadLetters,
    ) -> Result<Left, ChainStop> {
        self.virtual_time = self.virtual_time.max(rows.virtual_time);
        let mut hash = Xxh3::new();
        digest(&part, &mut |bytes| hash.update(bytes));
        self.journal.steps.push(Step::Merge(MergeStep {
            from: rows.from,
            rows: part.num_rows() as u32,
            rows_hash: hash.digest(),
            virtual_time: self.virtual_time,
        }));
        let mut chain = Calls {
            task: &self.task,
            links: &mut self.chain,
            now: self.virtual_time,
            input: Input::Passed(&rows.origin),
            epoch,
            status,
            letters,
        };
        let left = chain::process(&mut chain, &self.wires, part)?;
        self.journal.left(&left);
        Ok(left)
    }

    /// At a quiescent point: the barriers of all inputs have come, or one overtakes; no guest frame is on the
    /// stack.
    pub(crate) fn capture(&mut self) -> Result<CapturedTask> {
        let operators = link::capture(&mut self.chain, &self.task)?;
        self.careful = false;
        Ok(CapturedTask {
            task: self.task.clone(),
            operators,
            journal: std::mem::take(&mut self.journal),
            // Its input has no offsets: its rows are counted.
            next_offset: Offset(self.records as i64),
            virtual_time: self.virtual_time,
            watermark: self.watermark,
            records: self.records,
            in_flight: InFlight::default(),
        })
    }

    /// Of each task before, the watermark as far as it was taken.
    pub(crate) fn watermarks_taken(&self) -> Vec<(TopicPartition, EventTime)> {
        self.before.iter().cloned().zip(self.upstream.iter().copied()).collect()
    }

    /// As a checkpoint holds it, where it is for this task.
    pub(crate) fn in_flight(&self, passed: &Passed) -> Option<PassedInFlight> {
        let (from, what) = match passed {
            Passed::Rows(rows) if rows.to == self.number => {
                let origin = rows.origin.clone();
                let batch = rows.batch.clone();
                let virtual_time = rows.virtual_time;
                (rows.from, InFlightElement::Rows { batch, origin, virtual_time })
            }
            Passed::Watermark { from, to, watermark } if to.is_none_or(|it| it == self.number) => {
                (*from, InFlightElement::Watermark(*watermark))
            }
            Passed::Rows(_) | Passed::Watermark { .. } | Passed::Barrier(_) => return None,
        };
        Some(PassedInFlight { from: self.before[from as usize].clone(), what })
    }

    /// Takes over what its checkpoint has in flight, and how far the tasks before it have come.
    pub(crate) fn restore(
        &mut self,
        before: &Arc<[TopicPartition]>,
        watermarks: &[EventTime],
        in_flight: InFlight,
    ) -> Result<()> {
        self.before = Arc::clone(before);
        let number = |of: &TopicPartition| {
            let found = before.iter().position(|it| it == of).map(|it| it as u32);
            found.ok_or_else(|| {
                Error::corrupt(format!(
                    "{} has rows in flight from {of}, which is no task before it",
                    self.task
                ))
            })
        };
        let mut upstream = watermarks.to_vec();
        for (task, watermark) in &in_flight.upstream {
            upstream[number(task)? as usize] = *watermark;
        }
        let mut restored = Vec::with_capacity(in_flight.passed.len());
        for PassedInFlight { from, what } in in_flight.passed {
            let (from, to) = (number(&from)?, self.number);
            restored.push(match what {
                InFlightElement::Rows { batch, origin, virtual_time } => {
                    Passed::Rows(PassedRows { from, to, batch, origin, virtual_time })
                }
                InFlightElement::Watermark(watermark) => {
                    Passed::Watermark { from, to: Some(to), watermark }
                }
            });
        }
        (self.upstream, self.restored) = (upstream, restored);
        Ok(())
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        link::memory_bytes(&self.chain)
    }
}

/// Rows of another task among which one may stop an operator.
struct SuspectedRows<'a> {
    task: &'a mut KeyedTask,
    rows: &'a PassedRows,
    epoch: Epoch,
    status: &'a Status,
    letters: &'a mut DeadLetters,
    left: &'a mut Left,
}

impl Suspected for SuspectedRows<'_> {
    fn place(&mut self) -> link::Place<'_> {
        link::Place {
            chain: &mut self.task.chain,
            task: &self.task.task,
            journal: &mut self.task.journal,
            virtual_time: &mut self.task.virtual_time,
            letters: self.letters,
        }
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), ChainStop> {
        let part = self.rows.batch.slice(range.start, range.len());
        let left = self.task.run_chain(self.rows, part, self.epoch, self.status, self.letters)?;
        self.left.extend(left);
        Ok(())
    }

    fn pass_over(&mut self, _: usize, link: usize, error: &Error) -> Result<()> {
        self.task.journal.steps.push(Step::MergeSkip { from: self.rows.from });
        let refusal = Refusal::of_trap(&self.task.chain[link], error);
        let place = Place::Passed(&self.rows.origin);
        refusal.settle(&self.task.task, place, self.epoch, self.letters)
    }
}

#[cfg(test)]
mod tests;
