//! A batch's way through a chain of operators: the one order in which a run and its replay call them.

use arrow_array::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::event_time::EventTime;
use crate::ports::{RejectedRow, Staged};

/// The operators of one task, by their place in the chain, and what becomes of rejected rows.
pub trait Chain {
    fn len(&self) -> usize;

    /// One call of `process`, at the task's virtual time.
    fn process(&mut self, link: usize, batch: &RecordBatch) -> Result<Staged>;

    /// One call of `watermark`, at the task's virtual time.
    fn watermark(&mut self, link: usize, watermark: EventTime) -> Result<Staged>;

    /// A row that operator `link` would not take. An error ends the batch.
    fn refuse(&mut self, link: usize, row: &RejectedRow) -> Result<()>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a batch did not come through the chain.
pub enum ChainStop {
    /// An operator trapped or broke the ABI, and its instance with it.
    Operator {
        link: usize,
        error: Error,
    },
    Refused(Error),
}

impl From<Error> for ChainStop {
    fn from(error: Error) -> Self {
        ChainStop::Refused(error)
    }
}

/// Takes a batch through the whole chain. An operator is never called for no rows.
pub fn process(
    chain: &mut dyn Chain,
    batch: RecordBatch,
) -> std::result::Result<Vec<RecordBatch>, ChainStop> {
    let mut batches = vec![batch];
    for link in 0..chain.len() {
        batches = pass(chain, link, &batches)?;
    }
    Ok(batches)
}

/// Tells the whole chain a watermark. What an operator emits at it reaches the next before the watermark does.
pub fn watermark(
    chain: &mut dyn Chain,
    watermark: EventTime,
) -> std::result::Result<Vec<RecordBatch>, ChainStop> {
    let mut batches = Vec::new();
    for link in 0..chain.len() {
        batches = pass(chain, link, &batches)?;
        let staged = chain.watermark(link, watermark).map_err(|it| stopped(link, it))?;
        batches.extend(staged.emitted.into_iter().flat_map(|(_, rows)| in_calls(rows)));
    }
    Ok(batches)
}

fn pass(
    chain: &mut dyn Chain,
    link: usize,
    batches: &[RecordBatch],
) -> std::result::Result<Vec<RecordBatch>, ChainStop> {
    let mut next = Vec::new();
    for batch in batches.iter().filter(|it| it.num_rows() > 0) {
        let staged = chain.process(link, batch).map_err(|it| stopped(link, it))?;
        for row in &staged.rejected {
            chain.refuse(link, row)?;
        }
        next.extend(staged.emitted.into_iter().flat_map(|(_, rows)| in_calls(rows)));
    }
    Ok(next)
}

fn stopped(link: usize, error: Error) -> ChainStop {
    match error.kind {
        ErrorKind::Operator => ChainStop::Operator { link, error },
        _ => ChainStop::Refused(error),
    }
}

/// Rows of one call of an operator at the most (A14); an operator may emit more at once.
const CALL_ROWS_MAX: usize = 65_536;

fn in_calls(rows: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows())
        .step_by(CALL_ROWS_MAX)
        .map(move |from| rows.slice(from, CALL_ROWS_MAX.min(rows.num_rows() - from)))
}
