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
use floe_core::image::Capture;
use floe_core::journal::{Journal, MergeStep, Step};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, EventTime, Offset, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::dead_letter::{Class, DeadLetters};
use crate::passed::{Origin, PassedRows};
use crate::refusal::{Place, Refusal};
use crate::task::{
    Calls, Input, Link, Output, Stopped, Suspect, advanced, count_fuel, go_back, stop_counting,
};
use crate::telemetry::Status;

pub(crate) struct KeyedTask {
    pub(crate) task: TopicPartition,
    /// Among the tasks of its stage.
    pub(crate) number: u32,
    pub(crate) chain: Vec<Link>,
    pub(crate) wires: Arc<Wires>,
    /// Of each task of the stage before.
    pub(crate) upstream: Vec<EventTime>,
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
            let whole = 0..rows.batch.num_rows();
            self.isolate(rows, whole, epoch, status, &mut letters, &mut left)?;
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
        output.add(left, &Origin { task: self.task.clone(), offsets: None });
        output.watermark = Some(least);
        Ok(output.with(letters, status))
    }

    /// As for a partition's task: the half that stops an operator is halved again, until its row stands alone.
    fn isolate(
        &mut self,
        rows: &PassedRows,
        range: Range<usize>,
        epoch: Epoch,
        status: &Status,
        letters: &mut DeadLetters,
        so_far: &mut Left,
    ) -> Result<(), Stopped> {
        let whole = |it: &mut Link| it.operator.capture(Capture::Whole);
        let images = self.chain.iter_mut().map(whole).collect::<Result<Vec<_>>>()?;
        let (steps, virtual_time, letters_before) =
            (self.journal.steps.len(), self.virtual_time, letters.mark());
        let part = rows.batch.slice(range.start, range.len());
        let (link, error) = match self.run_chain(rows, part, epoch, status, letters) {
            Ok(left) => {
                so_far.extend(left);
                return Ok(());
            }
            Err(ChainStop::Refused(error)) => return Err(Stopped::Failed(error)),
            Err(ChainStop::Operator { link, error }) => (link, error),
        };
        go_back(&mut self.chain, &self.task, &images)?;
        self.journal.steps.truncate(steps);
        self.virtual_time = virtual_time;
        letters.back_to(letters_before);
        if range.len() > 1 {
            let middle = range.start + range.len() / 2;
            self.isolate(rows, range.start..middle, epoch, status, letters, so_far)?;
            return self.isolate(rows, middle..range.end, epoch, status, letters, so_far);
        }
        self.journal.steps.push(Step::MergeSkip { from: rows.from });
        let link = &self.chain[link];
        let refusal = Refusal {
            class: Class::Trap,
            on_error: link.on_error,
            operator: &link.name,
            module_hash: link.factory.describe().module_hash,
            reason: &error.message,
        };
        Ok(refusal.settle(&self.task, Place::Passed(&rows.origin), epoch, letters)?)
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
        chain::process(&mut chain, &self.wires, part)
    }

    /// At a quiescent point: the barriers of all inputs have come, no guest frame is on the stack.
    pub(crate) fn capture(&mut self) -> Result<CapturedTask> {
        let operators = self
            .chain
            .iter_mut()
            .map(|link| Ok((link.name.to_string(), link.operator.capture(Capture::Changes)?)))
            .collect::<Result<Vec<_>>>()?;
        self.careful = false;
        stop_counting(&mut self.chain, &self.task)?;
        Ok(CapturedTask {
            task: self.task.clone(),
            operators,
            journal: std::mem::take(&mut self.journal),
            // Its input has no offsets: its rows are counted.
            next_offset: Offset(self.records as i64),
            virtual_time: self.virtual_time,
            watermark: self.watermark,
            records: self.records,
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.chain.iter().map(|it| it.operator.memory_bytes()).sum()
    }
}
