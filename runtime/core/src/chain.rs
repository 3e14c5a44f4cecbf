//! A batch's way through the operators of a stage: the one order in which a run and its replay call them.

use arrow_array::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::event_time::EventTime;
use crate::graph::{Outlet, Wires};
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

/// Rows that leave the chain, each batch with where it goes, in the order of `wires`.
pub type Left = Vec<(Outlet, RecordBatch)>;

/// Takes a batch through all operators of a stage. An operator is never called for no rows.
pub fn process(
    chain: &mut dyn Chain,
    wires: &Wires,
    batch: RecordBatch,
) -> std::result::Result<Left, ChainStop> {
    let mut emitted: Emitted = Vec::with_capacity(chain.len());
    for link in 0..chain.len() {
        let made = match link {
            0 => pass(chain, 0, std::slice::from_ref(&batch))?,
            _ => pass(chain, link, &taken(&wires.inputs[link], &emitted))?,
        };
        emitted.push(made);
    }
    Ok(left(wires, &emitted, Some(batch)))
}

/// Tells all operators of a stage a watermark. What an operator emits at it reaches the next before the
/// watermark does.
pub fn watermark(
    chain: &mut dyn Chain,
    wires: &Wires,
    watermark: EventTime,
) -> std::result::Result<Left, ChainStop> {
    let mut emitted: Emitted = Vec::with_capacity(chain.len());
    for link in 0..chain.len() {
        let batches = match link {
            0 => Vec::new(),
            _ => taken(&wires.inputs[link], &emitted),
        };
        let mut made = pass(chain, link, &batches)?;
        let staged = chain.watermark(link, watermark).map_err(|it| stopped(link, it))?;
        made.extend(in_calls(staged.emitted));
        emitted.push(made);
    }
    Ok(left(wires, &emitted, None))
}

/// For each operator so far, its rows by output.
type Emitted = Vec<Vec<(u32, RecordBatch)>>;

fn taken(inputs: &[(usize, u32)], emitted: &Emitted) -> Vec<RecordBatch> {
    let of = |(link, output): &(usize, u32)| {
        let output = *output;
        emitted[*link].iter().filter(move |it| it.0 == output).map(|it| it.1.clone())
    };
    inputs.iter().flat_map(of).collect()
}

fn left(wires: &Wires, emitted: &Emitted, input: Option<RecordBatch>) -> Left {
    let mut left = Vec::new();
    for (from, outlet) in &wires.leaving {
        match from {
            Some(port) => {
                let batches = taken(std::slice::from_ref(port), emitted);
                left.extend(batches.into_iter().map(|it| (*outlet, it)));
            }
            None => left.extend(input.clone().map(|it| (*outlet, it))),
        }
    }
    left.retain(|it| it.1.num_rows() > 0);
    left
}

fn pass(
    chain: &mut dyn Chain,
    link: usize,
    batches: &[RecordBatch],
) -> std::result::Result<Vec<(u32, RecordBatch)>, ChainStop> {
    let mut next = Vec::new();
    for batch in batches.iter().filter(|it| it.num_rows() > 0) {
        let staged = chain.process(link, batch).map_err(|it| stopped(link, it))?;
        for row in &staged.rejected {
            chain.refuse(link, row)?;
        }
        next.extend(in_calls(staged.emitted));
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

fn in_calls(emitted: Vec<(u32, RecordBatch)>) -> impl Iterator<Item = (u32, RecordBatch)> {
    emitted.into_iter().flat_map(|(output, rows)| {
        (0..rows.num_rows())
            .step_by(CALL_ROWS_MAX)
            .map(move |from| (output, rows.slice(from, CALL_ROWS_MAX.min(rows.num_rows() - from))))
    })
}
