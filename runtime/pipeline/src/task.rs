//! Task: one source partition with its own instance of each operator of the chain.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use floe_core::chain::{self, Chain, ChainStop, Left};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::event_time::WatermarkRule;
use floe_core::graph::{Outlet, Wires};
use floe_core::in_flight::InFlight;
use floe_core::journal::{BatchStep, Journal, Step};
use floe_core::ports::{Decoder, RejectedRow, Staged};
use floe_core::schema::{SchemaId, SchemaUse};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Offset, Records, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::dead_letter::{Class, DeadLetters, RETRIED, Reason};
use crate::link::{self, Link, Suspected, count_fuel, isolate};
use crate::passed::Origin;
use crate::refusal::{Place, Refusal, resumes};
use crate::run::Event;
use crate::telemetry::Status;
use crate::wiring::OnError;

pub(crate) struct Task {
    pub(crate) task: TopicPartition,
    /// Among the tasks of all partitions.
    pub(crate) number: u32,
    pub(crate) decoder: Box<dyn Decoder>,
    pub(crate) decodes_for: DecodesFor,
    pub(crate) chain: Vec<Link>,
    /// Which outputs they take from each other, and where the others go.
    pub(crate) wires: Arc<Wires>,
    pub(crate) next_offset: Offset,
    pub(crate) virtual_time: EventTime,
    pub(crate) watermark: EventTime,
    /// How the watermark follows the records; `None` where the file has no `event-time`.
    pub(crate) watermark_rule: Option<WatermarkRule>,
    pub(crate) records: u64,
    pub(crate) journal: Journal,
    /// What the ids of schemas mean, as far as the journal says it.
    pub(crate) schemas: BTreeMap<SchemaId, Option<u64>>,
    /// A record at or behind this offset stopped an operator before the run went back to the checkpoint:
    /// until the next barrier, an image is taken before each batch from here on.
    pub(crate) careful_from: Option<Offset>,
}

/// The operator whose columns records are decoded to. Where it begins a keyed stage, it is in another task.
#[derive(Clone)]
pub(crate) struct DecodesFor {
    pub(crate) name: Arc<str>,
    pub(crate) on_error: OnError,
    pub(crate) module_hash: [u8; 32],
}

/// What a call left behind.
#[derive(Default)]
pub(crate) struct Output {
    /// Each batch with its sink.
    pub(crate) rows: Vec<(usize, RecordBatch)>,
    /// For the tasks of the next stage, and what they were made from.
    pub(crate) next: Vec<(RecordBatch, Origin)>,
    /// Where the task's watermark went, behind those rows.
    pub(crate) watermark: Option<EventTime>,
    pub(crate) dead_letters: Option<RecordBatch>,
}

impl Output {
    pub(crate) fn add(&mut self, left: Left, origin: &Origin) {
        for (outlet, rows) in left {
            match outlet {
                Outlet::Sink(sink) => self.rows.push((sink, rows)),
                Outlet::Next => self.next.push((rows, origin.clone())),
            }
        }
    }

    pub(crate) fn with(self, letters: DeadLetters, status: &Status) -> Output {
        letters.refused().iter().for_each(|it| status.reject(*it));
        let dead_letters = (letters.len() > 0).then(|| letters.finish());
        Output { dead_letters, ..self }
    }
}

/// What came of records that went through the chain.
#[derive(Default)]
struct Made {
    rows: Left,
    /// The greatest event time of the records, where the watermark follows them.
    newest: Option<EventTime>,
}

/// Why a task, and with it the run, can't go on as it is.
pub(crate) enum Stopped {
    /// An operator stopped in a batch, and no image from before it is at hand: go back to the checkpoint.
    Poisoned(Suspect),
    Failed(Error),
}

/// Where a record hides that stops an operator.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    pub(crate) task: TopicPartition,
    pub(crate) first: Offset,
    pub(crate) error: Error,
}

impl Stopped {
    pub(crate) fn into_event(self) -> Event {
        match self {
            Stopped::Poisoned(suspect) => Event::Poisoned(suspect),
            Stopped::Failed(error) => Event::Failed(error),
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Failed(error)
    }
}

impl Task {
    pub(crate) fn count_fuel(&mut self) -> Result<()> {
        count_fuel(&mut self.chain, &self.task)
    }

    /// Takes a batch through the chain. After an error the task is never used again.
    pub(crate) fn take(
        &mut self,
        records: &Records,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output, Stopped> {
        assert!(self.next_offset <= records.first_offset().unwrap_or(self.next_offset), "I7");
        let mut letters = DeadLetters::new();
        let mut made = Made::default();
        if let (Some(first), Some(last)) = (records.first_offset(), records.last_offset()) {
            if self.careful_from.is_some_and(|from| from <= last) {
                let letters = &mut letters;
                let made = &mut made;
                let mut batch =
                    SuspectedRecords { task: self, records, epoch, status, letters, made };
                isolate(&mut batch, 0..records.len())?;
            } else {
                let whole = self.run_chain(records, epoch, status, &mut letters);
                made = whole.map_err(|stop| match stop {
                    ChainStop::Refused(error) => Stopped::Failed(error),
                    ChainStop::Operator { error, .. } => {
                        Stopped::Poisoned(Suspect { task: self.task.clone(), first, error })
                    }
                })?;
            }
            self.records += records.len() as u64;
        }
        self.next_offset = self.next_offset.max(records.next_offset());
        let mut output = Output::default();
        let offsets = records.first_offset().zip(records.last_offset());
        output.add(made.rows, &self.origin(offsets));
        let next = self.watermark_rule.zip(made.newest);
        if let Some(next) = next.and_then(|(rule, newest)| rule.after(self.watermark, newest)) {
            self.advance(next, epoch, status, &mut letters, &mut output)?;
        }
        Ok(output.with(letters, status))
    }

    /// Takes a watermark that comes from elsewhere than the task's own records.
    pub(crate) fn take_watermark(
        &mut self,
        watermark: EventTime,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output, Stopped> {
        // Records that came since it was sent may have brought the task further.
        if watermark <= self.watermark {
            return Ok(Output::default());
        }
        let mut letters = DeadLetters::new();
        let mut output = Output::default();
        self.advance(watermark, epoch, status, &mut letters, &mut output)?;
        Ok(output.with(letters, status))
    }

    fn origin(&self, offsets: Option<(Offset, Offset)>) -> Origin {
        Origin { task: self.task.clone(), offsets }
    }

    /// Takes dead letters that are given back. Where the task stands in its partition stays as it is; the
    /// records keep the offsets that they had.
    pub(crate) fn retry(
        &mut self,
        records: &Records,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output> {
        let mut letters = DeadLetters::new();
        for record in records.iter() {
            let reason = Reason {
                operator: "",
                module_hash: self.decodes_for.module_hash,
                class: RETRIED,
                message: "given back",
            };
            let place = (record.offset(), record.offset());
            letters.push(&self.task, Some(record), Some(place), &reason, epoch);
        }
        let (mut made, before) = (Made::default(), self.virtual_time);
        let begin = self.journal.steps.len();
        let mut batch = SuspectedRecords {
            task: self,
            records,
            epoch,
            status,
            letters: &mut letters,
            made: &mut made,
        };
        isolate(&mut batch, 0..records.len()).map_err(|stopped| match stopped {
            Stopped::Failed(error) | Stopped::Poisoned(Suspect { error, .. }) => error,
        })?;
        self.virtual_time = self.virtual_time.max(before);
        self.forget_steps(begin);
        let steps = records.iter().map(|it| Step::Retry(it.offset()));
        self.journal.steps.extend(steps);
        let mut output = Output::default();
        let offsets = records.first_offset().zip(records.last_offset());
        output.add(made.rows, &self.origin(offsets));
        Ok(output.with(letters, status))
    }

    /// Tells the chain the watermark, as a step of the journal.
    ///
    /// An operator that stops here stops the pipeline whatever its `on-error` says: there is no record to pass
    /// over, and a watermark that is passed over would leave windows open for ever. But first the run goes back
    /// once, to see it with fuel counted.
    fn advance(
        &mut self,
        watermark: EventTime,
        epoch: Epoch,
        status: &Status,
        letters: &mut DeadLetters,
        output: &mut Output,
    ) -> Result<(), Stopped> {
        assert!(watermark > self.watermark, "a watermark never goes back");
        self.watermark = watermark;
        self.journal.steps.push(Step::Watermark(watermark));
        let mut chain = Calls {
            task: &self.task,
            links: &mut self.chain,
            now: self.virtual_time,
            input: Input::Watermark(watermark),
            epoch,
            status,
            letters,
        };
        let left = chain::watermark(&mut chain, &self.wires, watermark).map_err(|stop| {
            advanced(stop, (&self.task, self.next_offset), &self.chain, watermark, epoch)
        })?;
        self.journal.left(&left);
        output.add(left, &self.origin(None));
        output.watermark = Some(watermark);
        Ok(())
    }

    fn run_chain(
        &mut self,
        records: &Records,
        epoch: Epoch,
        status: &Status,
        letters: &mut DeadLetters,
    ) -> Result<Made, ChainStop> {
        let decoded = self.decoder.decode(records)?;
        self.write_down(records, &decoded.schemas);
        let first = &self.decodes_for;
        for RejectedRow { row, reason } in &decoded.rejected {
            let refusal = Refusal {
                class: Class::Decode,
                on_error: first.on_error,
                operator: &first.name,
                module_hash: first.module_hash,
                reason,
            };
            let place = Place::Record(records.get(*row));
            refusal.settle(&self.task, place, epoch, letters)?;
        }
        let newest = self.watermark_rule.and_then(|rule| match rule.column {
            Some(column) => column.newest(&decoded.batch),
            None => records.iter().map(|it| it.timestamp()).max(),
        });

        let mut chain = Calls {
            task: &self.task,
            links: &mut self.chain,
            now: self.virtual_time,
            input: Input::Batch { records, rows: decoded.rows.as_deref() },
            epoch,
            status,
            letters,
        };
        let rows = chain::process(&mut chain, &self.wires, decoded.batch)?;
        self.journal.left(&rows);
        Ok(Made { rows, newest })
    }

    /// Takes steps back that come to nothing.
    fn forget_steps(&mut self, behind: usize) {
        self.journal.steps.truncate(behind);
        self.schemas.clear();
        for step in &self.journal.steps {
            if let Step::Schema(schema) = step {
                self.schemas.insert(schema.id, schema.hash);
            }
        }
    }

    fn write_down(&mut self, records: &Records, schemas: &[SchemaUse]) {
        let (Some(first), Some(last)) = (records.first_offset(), records.last_offset()) else {
            return;
        };
        for schema in schemas {
            if self.schemas.insert(schema.id, schema.hash) != Some(schema.hash) {
                self.journal.steps.push(Step::Schema(*schema));
            }
        }
        let newest = records.iter().map(|it| it.timestamp()).max().unwrap_or(EventTime::MIN);
        self.virtual_time = self.virtual_time.max(newest);
        let mut hash = Xxh3::new();
        records.digest(|bytes| hash.update(bytes));
        self.journal.steps.push(Step::Batch(BatchStep {
            first,
            last,
            count: records.len() as u32,
            input_hash: hash.digest(),
            virtual_time: self.virtual_time,
        }));
    }

    /// At a quiescent point: no guest frame is on the stack, all output was handed on.
    pub(crate) fn capture(&mut self) -> Result<CapturedTask> {
        let operators = link::capture(&mut self.chain, &self.task)?;
        self.careful_from = None;
        self.schemas.clear();
        Ok(CapturedTask {
            task: self.task.clone(),
            operators,
            journal: std::mem::take(&mut self.journal),
            next_offset: self.next_offset,
            virtual_time: self.virtual_time,
            watermark: self.watermark,
            records: self.records,
            in_flight: InFlight::default(),
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        link::memory_bytes(&self.chain)
    }
}

/// Records of a partition among which one may stop an operator.
struct SuspectedRecords<'a> {
    task: &'a mut Task,
    records: &'a Records,
    epoch: Epoch,
    status: &'a Status,
    letters: &'a mut DeadLetters,
    made: &'a mut Made,
}

impl Suspected for SuspectedRecords<'_> {
    fn place(&mut self) -> link::Place<'_> {
        link::Place {
            chain: &mut self.task.chain,
            task: &self.task.task,
            journal: &mut self.task.journal,
            virtual_time: &mut self.task.virtual_time,
            letters: self.letters,
        }
    }

    fn forget_steps(&mut self, behind: usize) {
        self.task.forget_steps(behind);
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), ChainStop> {
        let part = self.records.slice(range);
        let made = self.task.run_chain(&part, self.epoch, self.status, self.letters)?;
        self.made.rows.extend(made.rows);
        self.made.newest = self.made.newest.max(made.newest);
        Ok(())
    }

    fn pass_over(&mut self, at: usize, link: usize, error: &Error) -> Result<()> {
        let record = self.records.get(at);
        self.task.journal.steps.push(Step::Skip(record.offset()));
        let refusal = Refusal::of_trap(&self.task.chain[link], error);
        refusal.settle(&self.task.task, Place::Record(record), self.epoch, self.letters)
    }
}

/// Why a task's watermark does not go on. `of` is the task and where it stands.
pub(crate) fn advanced(
    stop: ChainStop,
    of: (&TopicPartition, Offset),
    chain: &[Link],
    watermark: EventTime,
    epoch: Epoch,
) -> Stopped {
    match stop {
        ChainStop::Refused(error) => Stopped::Failed(error),
        ChainStop::Operator { error, .. } if !chain.iter().all(Link::is_decided) => {
            Stopped::Poisoned(Suspect { task: of.0.clone(), first: of.1, error })
        }
        ChainStop::Operator { link, error } => {
            let place = Place::Watermark(watermark).text(of.0);
            let resumes = resumes(epoch);
            Stopped::Failed(Error::operator(format!(
                "{place} stopped operator {:?} (epoch {epoch})\n  {}\n  nothing of epoch {epoch} is in the table; the pipeline {resumes}\n  a watermark is no record: on-error does not go past it",
                chain[link].name,
                error.message.replace('\n', "\n  ")
            )))
        }
    }
}

/// The chain while it takes one batch.
pub(crate) struct Calls<'a> {
    pub(crate) task: &'a TopicPartition,
    pub(crate) links: &'a mut [Link],
    pub(crate) now: EventTime,
    pub(crate) input: Input<'a>,
    pub(crate) epoch: Epoch,
    pub(crate) status: &'a Status,
    pub(crate) letters: &'a mut DeadLetters,
}

/// What the first operator is called with.
pub(crate) enum Input<'a> {
    /// `rows` as in `Decoded`.
    Batch {
        records: &'a Records,
        rows: Option<&'a [u32]>,
    },
    /// Rows of another task.
    Passed(&'a Origin),
    Watermark(EventTime),
}

impl Chain for Calls<'_> {
    fn len(&self) -> usize {
        self.links.len()
    }

    fn process(&mut self, link: usize, batch: &RecordBatch) -> Result<Staged> {
        called(self.status, || self.links[link].operator.process(batch, self.now))
    }

    fn watermark(&mut self, link: usize, watermark: EventTime) -> Result<Staged> {
        called(self.status, || self.links[link].operator.watermark(watermark, self.now))
    }

    fn refuse(&mut self, link: usize, row: &RejectedRow) -> Result<()> {
        // Behind the first operator a row is one that an operator made.
        let place = match self.input {
            Input::Batch { records, rows } if link == 0 => {
                Place::Record(records.get(rows.map_or(row.row, |rows| rows[row.row] as usize)))
            }
            Input::Batch { records, .. } => Place::MadeFrom(records),
            Input::Passed(origin) => Place::Passed(origin),
            Input::Watermark(watermark) => Place::Watermark(watermark),
        };
        let link = &self.links[link];
        let refusal = Refusal {
            class: Class::Reject,
            on_error: link.on_error,
            operator: &link.name,
            module_hash: link.factory.describe().module_hash,
            reason: &row.reason,
        };
        refusal.settle(self.task, place, self.epoch, self.letters)
    }
}

/// One call of an operator.
fn called(status: &Status, call: impl FnOnce() -> Result<Staged>) -> Result<Staged> {
    hit(CrashPoint::BeforeGuestCall);
    let begin = Instant::now();
    let staged = call();
    status.guest_calls.observe(begin.elapsed());
    hit(CrashPoint::AfterGuestCall);
    staged
}
