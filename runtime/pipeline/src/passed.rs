//! Passed: rows and watermarks on their way from the tasks of one stage to those of the next, by key.

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use floe_core::exchange::KeyColumns;
use floe_core::in_flight::InFlightOrigin;
use floe_core::{Epoch, Error, EventTime, Result};

pub(crate) type Origin = InFlightOrigin;

/// What flows on the edge from a worker of one stage to a worker of the next.
#[derive(Clone, Debug)]
pub(crate) enum Passed {
    Rows(PassedRows),
    /// For all tasks of the worker, or for one that was restored with it in flight.
    Watermark {
        from: u32,
        to: Option<u32>,
        watermark: EventTime,
    },
    Barrier(Epoch),
}

impl Passed {
    pub(crate) fn is_barrier(&self, epoch: Epoch) -> bool {
        matches!(self, Passed::Barrier(of) if *of == epoch)
    }

    /// What it holds in memory, for the bound of what a barrier may overtake.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Passed::Rows(rows) => rows.batch.get_array_memory_size() as u64,
            Passed::Watermark { .. } | Passed::Barrier(_) => 0,
        }
    }
}

/// Rows of one task for another, by their numbers in their stages.
#[derive(Clone, Debug)]
pub(crate) struct PassedRows {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) batch: RecordBatch,
    pub(crate) origin: Origin,
    /// Of the task that they come from.
    pub(crate) virtual_time: EventTime,
}

/// The stage behind a worker's own.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub(crate) key: KeyColumns,
    pub(crate) tasks: u32,
    pub(crate) workers: usize,
}

impl Next {
    pub(crate) fn worker_of(&self, task: u32) -> usize {
        task as usize % self.workers
    }

    /// The batch by key: for each task that gets some of it, its rows in their order.
    pub(crate) fn part(&self, batch: &RecordBatch) -> Result<Vec<(u32, RecordBatch)>> {
        if self.tasks == 1 {
            return Ok(vec![(0, batch.clone())]);
        }
        let mut parts = Vec::with_capacity(self.tasks as usize);
        for (task, rows) in (0..).zip(self.key.part(batch, self.tasks)) {
            if rows.is_empty() {
                continue;
            }
            let rows = take_record_batch(batch, &UInt32Array::from(rows)).map_err(|error| {
                Error::corrupt(format!("rows cannot be parted by key: {error}"))
            })?;
            parts.push((task, rows));
        }
        Ok(parts)
    }
}
