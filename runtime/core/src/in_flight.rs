//! InFlight: what a barrier overtook on its way to a task of a keyed stage, as the checkpoint holds it.
//!
//! The tasks before have passed it and captured behind it; this task was captured before it took it. So it is
//! part of the cut (Chandy and Lamport's state of a channel): whoever restores the task gives it this first.

use arrow_array::RecordBatch;

use crate::event_time::EventTime;
use crate::position::{Offset, TopicPartition};

/// Empty where the barrier was aligned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InFlight {
    /// Each task's in the order in which it passed them.
    pub passed: Vec<PassedInFlight>,
    /// For each task of the stage before, the watermark of it that was taken, which may be behind its own.
    /// None where nothing was passed.
    pub upstream: Vec<(TopicPartition, EventTime)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PassedInFlight {
    pub from: TopicPartition,
    pub what: InFlightElement,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InFlightElement {
    Rows {
        batch: RecordBatch,
        origin: InFlightOrigin,
        /// Of the task that they come from.
        virtual_time: EventTime,
    },
    Watermark(EventTime),
}

/// Which records of the source rows were made from, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightOrigin {
    pub task: TopicPartition,
    /// None for rows that were made at a watermark.
    pub offsets: Option<(Offset, Offset)>,
}

impl InFlight {
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty()
    }

    pub fn batches(&self) -> impl Iterator<Item = (&TopicPartition, &RecordBatch)> {
        self.passed.iter().filter_map(|it| match &it.what {
            InFlightElement::Rows { batch, .. } => Some((&it.from, batch)),
            InFlightElement::Watermark(_) => None,
        })
    }

    pub fn rows(&self) -> u64 {
        self.batches().map(|(_, it)| it.num_rows() as u64).sum()
    }
}
