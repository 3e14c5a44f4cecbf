//! Task: one source partition with its own instance of each operator of the chain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow_array::RecordBatch;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::journal::{BatchStep, Journal, Step};
use floe_core::ports::{Decoder, Operator, RejectedRow, Staged};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Offset, Records, Result, TopicPartition};
use xxhash_rust::xxh3::Xxh3;

use crate::dead_letter::{Class, DeadLetters};
use crate::telemetry::Status;
use crate::wiring::OnError;

pub(crate) struct Task {
    pub(crate) task: TopicPartition,
    pub(crate) decoder: Box<dyn Decoder>,
    pub(crate) chain: Vec<Link>,
    pub(crate) next_offset: Offset,
    pub(crate) virtual_time: EventTime,
    pub(crate) watermark: EventTime,
    pub(crate) records: u64,
    pub(crate) journal: Journal,
}

/// One operator of the chain.
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) on_error: OnError,
    pub(crate) operator: Box<dyn Operator>,
}

/// What a batch left behind: rows for the sink, and dead letters.
pub(crate) struct Output {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) dead_letters: Option<RecordBatch>,
}

impl Task {
    /// Takes a batch through the chain. After an error the task is never used again.
    pub(crate) fn take(
        &mut self,
        records: &Records,
        epoch: Epoch,
        status: &Status,
    ) -> Result<Output> {
        assert!(self.next_offset <= records.first_offset().unwrap_or(self.next_offset), "I7");
        if records.is_empty() {
            self.next_offset = self.next_offset.max(records.next_offset());
            return Ok(Output { rows: Vec::new(), dead_letters: None });
        }
        self.write_down(records);
        let mut letters = DeadLetters::new();

        let decoded = self.decoder.decode(records)?;
        let first = self.chain.first().expect("a chain has an operator");
        for RejectedRow { row, reason } in &decoded.rejected {
            let record = records.get(*row);
            let refusal = Refusal {
                class: Class::Decode,
                on_error: first.on_error,
                operator: &first.name,
                reason,
            };
            refusal.settle(&self.task, Some(record), records, epoch, status, &mut letters)?;
        }

        let mut batches = vec![decoded.batch];
        for (index, link) in self.chain.iter_mut().enumerate() {
            let mut next = Vec::new();
            for batch in batches.iter().filter(|it| it.num_rows() > 0) {
                let staged = call(link, batch, self.virtual_time, status)
                    .map_err(|error| stopped(error, &self.task, records, &link.name, epoch))?;
                for RejectedRow { row, reason } in &staged.rejected {
                    let record = (index == 0).then(|| {
                        let row = decoded.rows.as_ref().map_or(*row, |rows| rows[*row] as usize);
                        records.get(row)
                    });
                    let refusal = Refusal {
                        class: Class::Reject,
                        on_error: link.on_error,
                        operator: &link.name,
                        reason,
                    };
                    refusal.settle(&self.task, record, records, epoch, status, &mut letters)?;
                }
                next.extend(staged.emitted.into_iter().map(|(_, rows)| rows));
            }
            batches = next;
        }

        self.next_offset = records.next_offset();
        self.records += records.len() as u64;
        batches.retain(|it| it.num_rows() > 0);
        let dead_letters = (letters.len() > 0).then(|| letters.finish());
        Ok(Output { rows: batches, dead_letters })
    }

    fn write_down(&mut self, records: &Records) {
        let (Some(first), Some(last)) = (records.first_offset(), records.last_offset()) else {
            return;
        };
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
        let operators = self
            .chain
            .iter_mut()
            .map(|link| Ok((link.name.to_string(), link.operator.capture()?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(CapturedTask {
            task: self.task.clone(),
            operators,
            journal: std::mem::take(&mut self.journal),
            next_offset: self.next_offset,
            virtual_time: self.virtual_time,
            watermark: self.watermark,
            records: self.records,
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.chain.iter().map(|it| it.operator.memory_bytes()).sum()
    }
}

fn call(link: &mut Link, batch: &RecordBatch, now: EventTime, status: &Status) -> Result<Staged> {
    hit(CrashPoint::BeforeGuestCall);
    let begin = Instant::now();
    let staged = link.operator.process(batch, now);
    status.guest_nanos.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    hit(CrashPoint::AfterGuestCall);
    staged
}

/// The message for a person: which records, which operator, what now.
fn stopped(
    error: Error,
    task: &TopicPartition,
    records: &Records,
    operator: &str,
    epoch: Epoch,
) -> Error {
    let first = records.first_offset().unwrap_or(records.next_offset());
    let last = records.last_offset().unwrap_or(records.next_offset());
    let which = if first == last {
        format!("record {task} @ {first}")
    } else {
        format!("a record of {task} @ {first}..{last}")
    };
    Error::new(
        error.kind,
        format!(
            "{which} stopped operator {operator:?} (epoch {epoch})\n  {}\n  nothing of epoch {epoch} is in the table; the pipeline resumes at epoch {}",
            error.message.replace('\n', "\n  "),
            epoch.0.saturating_sub(1),
        ),
    )
}

/// A row that was not taken, and what the pipeline file says about that.
struct Refusal<'a> {
    class: Class,
    on_error: OnError,
    operator: &'a str,
    reason: &'a str,
}

impl Refusal<'_> {
    fn settle(
        &self,
        task: &TopicPartition,
        record: Option<floe_core::Record<'_>>,
        records: &Records,
        epoch: Epoch,
        status: &Status,
        letters: &mut DeadLetters,
    ) -> Result<()> {
        Status::add(&status.rejected, 1);
        let place = || match record {
            Some(record) => format!("record {task} @ {}", record.offset()),
            None => format!(
                "a row made from {task} @ {}..{}",
                records.first_offset().unwrap_or(Offset(0)),
                records.last_offset().unwrap_or(Offset(0))
            ),
        };
        match self.on_error {
            OnError::Fail => {
                let what = match self.class {
                    Class::Decode => "could not be decoded for",
                    Class::Reject => "was rejected by",
                };
                Err(Error::operator(format!(
                    "{} {what} operator {:?} (epoch {epoch})\n  reason: {}\n  nothing of epoch {epoch} is in the table; the pipeline resumes at epoch {}\n  → go past it: on-error = \"dead-letter\" in [[operator]] {}",
                    place(),
                    self.operator,
                    self.reason,
                    epoch.0.saturating_sub(1),
                    self.operator,
                )))
            }
            OnError::Skip => {
                tracing::warn!(task = %task, epoch = epoch.0, operator = self.operator, reason = self.reason, "skipped {}", place());
                Ok(())
            }
            OnError::DeadLetter => {
                let message = match record {
                    Some(_) => self.reason.to_owned(),
                    None => format!("{}: {}", place(), self.reason),
                };
                letters.push(task, record, self.operator, self.class, &message, epoch);
                Ok(())
            }
        }
    }
}
