//! A row that was not taken: where it stands, what the pipeline file says about it, and what people read.

use floe_core::{Epoch, Error, EventTime, Offset, Record, Records, Result, TopicPartition};

use crate::dead_letter::{Class, DeadLetters, Reason};
use crate::link::Link;
use crate::passed::Origin;
use crate::wiring::OnError;

/// What a row, or a call, came from.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Record(Record<'a>),
    /// A row that an operator made from these records.
    MadeFrom(&'a Records),
    /// A row that a task of another stage passed on.
    Passed(&'a Origin),
    /// A row that an operator made when it was told this watermark.
    Watermark(EventTime),
}

impl Place<'_> {
    pub(crate) fn text(&self, task: &TopicPartition) -> String {
        match self {
            Place::Record(record) => format!("record {task} @ {}", record.offset()),
            Place::MadeFrom(records) => format!(
                "a row made from {task} @ {}..{}",
                records.first_offset().unwrap_or(records.next_offset()),
                records.last_offset().unwrap_or(records.next_offset())
            ),
            Place::Passed(Origin { task: of, offsets: Some((first, last)) }) => {
                format!("a row of {task} made from {of} @ {first}..{last}")
            }
            Place::Passed(Origin { task: of, offsets: None }) => {
                format!("a row of {task} that {of} made at a watermark")
            }
            Place::Watermark(watermark) => format!("watermark {} ms of {task}", watermark.0),
        }
    }

    /// The first and the last offset of what it came from.
    fn offsets(&self) -> Option<(Offset, Offset)> {
        match self {
            Place::Record(record) => Some((record.offset(), record.offset())),
            Place::MadeFrom(records) => records.first_offset().zip(records.last_offset()),
            Place::Passed(origin) => origin.offsets,
            Place::Watermark(_) => None,
        }
    }

    fn record(&self) -> Option<Record<'_>> {
        match self {
            Place::Record(record) => Some(*record),
            // A row made from one record is that record's, whoever rejects it.
            Place::MadeFrom(records) if records.len() == 1 => Some(records.get(0)),
            Place::MadeFrom(_) | Place::Passed(_) | Place::Watermark(_) => None,
        }
    }
}

/// A row that was not taken, and what the pipeline file says about that.
pub(crate) struct Refusal<'a> {
    pub(crate) class: Class,
    pub(crate) on_error: OnError,
    pub(crate) operator: &'a str,
    pub(crate) module_hash: [u8; 32],
    pub(crate) reason: &'a str,
}

impl<'a> Refusal<'a> {
    /// Of what alone stops the operator of a link.
    pub(crate) fn of_trap(link: &'a Link, error: &'a Error) -> Refusal<'a> {
        Refusal {
            class: Class::Trap,
            on_error: link.on_error,
            operator: &link.name,
            module_hash: link.factory.describe().module_hash,
            reason: &error.message,
        }
    }

    pub(crate) fn settle(
        &self,
        task: &TopicPartition,
        place: Place<'_>,
        epoch: Epoch,
        letters: &mut DeadLetters,
    ) -> Result<()> {
        let text = match place {
            Place::Watermark(_) => format!("a row made at {}", place.text(task)),
            Place::Record(_) | Place::MadeFrom(_) | Place::Passed(_) => place.text(task),
        };
        letters.count(self.class);
        match self.on_error {
            OnError::Fail => {
                // Behind a stage, the last of the records that the row may be made from.
                let last = match place {
                    Place::Passed(origin) => origin.offsets.map(|it| it.1),
                    _ => place.record().map(|it| it.offset()),
                };
                let look = last.map_or_else(String::new, |offset| {
                    let before = epoch.0.saturating_sub(1);
                    format!(
                        "\n  → look at it: floe replay PIPELINE --checkpoint {before} --task {task} --until {offset} --step"
                    )
                });
                Err(Error::operator(self.failure(&text, epoch, &look)))
            }
            OnError::Skip => {
                let (epoch, operator, reason) = (epoch.0, self.operator, self.reason);
                tracing::warn!(task = %task, epoch, operator, reason, "skipped {text}");
                Ok(())
            }
            OnError::DeadLetter => {
                let record = place.record();
                let message = match record {
                    Some(_) => self.reason.to_owned(),
                    None => format!("{text}: {}", self.reason),
                };
                let reason = Reason {
                    operator: self.operator,
                    module_hash: self.module_hash,
                    class: self.class.name(),
                    message: &message,
                };
                let of = if let Place::Passed(origin) = place { &origin.task } else { task };
                letters.push(of, record, place.offsets(), &reason, epoch);
                Ok(())
            }
        }
    }

    fn failure(&self, place: &str, epoch: Epoch, look: &str) -> String {
        let (operator, reason) = (self.operator, self.reason.replace('\n', "\n  "));
        let what = match self.class {
            Class::Decode => format!("could not be decoded for operator {operator:?}"),
            Class::Reject => format!("was rejected by operator {operator:?}"),
            Class::Trap => format!("stopped operator {operator:?}"),
        };
        let resumes = resumes(epoch);
        format!(
            "{place} {what} (epoch {epoch})\n  {reason}\n  nothing of epoch {epoch} is in the table; the pipeline {resumes}{look}\n  → go past it: on-error = \"dead-letter\" in [[operator]] {operator}"
        )
    }
}

/// Where a pipeline goes on that stops in this epoch.
pub(crate) fn resumes(epoch: Epoch) -> String {
    match epoch.0 {
        1 => "starts at the beginning".to_owned(),
        open => format!("resumes at epoch {}", open - 1),
    }
}
