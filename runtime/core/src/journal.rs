//! The journal of an epoch: for one task, the exact steps that its first operator saw, in order.
//!
//! With the image at epoch n, the source and this journal, a re-execution gives the bytes of n+1. For a task
//! of a keyed stage the tasks of the stage before it are the source, and the steps say how they were merged.
//! A step is a few bytes, 16 at the most on average: `written.rs` has how.

mod written;
mod before_4;

pub use written::Stand;

use crate::chain::Left;
use crate::event_time::EventTime;
use crate::exchange::{RowsHash, digest};
use crate::graph::Outlet;
use crate::position::Offset;
use crate::schema::SchemaUse;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One call of `process`.
    Batch(BatchStep),
    /// One call of `watermark`.
    Watermark(EventTime),
    /// A record that was passed over after it was found to stop the operator.
    Skip(Offset),
    /// One call of `process` with a dead letter that a person gave back: where its record had stood. What was
    /// in it is not written down, so no re-execution goes past it.
    Retry(Offset),
    /// One call of `process` of a task of a keyed stage: which of the rows that were passed to it came next.
    Merge(MergeStep),
    /// A row that was passed and passed over, after it was found to stop the operator.
    MergeSkip { from: u32 },
    /// What the id of a schema means to the batches behind it.
    Schema(SchemaUse),
    /// No call, but what came of the call before: rows left the chain, and this tells them from others.
    Rows(RowsMark),
}

/// The low bits of a hash of all rows that one call of the chain left, to sinks and to the next stage.
///
/// 16 bits, so that a step stays within its 16 bytes: one call in 65,536 that leaves other rows is not told by
/// its mark, and the calls behind it and the state are then what shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsMark(pub u16);

impl RowsMark {
    /// `None` where no row left.
    pub fn of(left: &Left) -> Option<RowsMark> {
        let mut hash = RowsHash::default();
        let mut rows = 0;
        for (outlet, batch) in left {
            let outlet = match outlet {
                Outlet::Sink(number) => *number as u64,
                Outlet::Next => u64::MAX,
            };
            hash.take(&outlet.to_le_bytes());
            digest(batch, &mut |bytes| hash.take(bytes));
            rows += batch.num_rows();
        }
        (rows > 0).then(|| RowsMark(hash.finish() as u16))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeStep {
    /// The task that the rows come from, by its place among the tasks of the stage before, in order of their
    /// names.
    pub from: u32,
    /// The next rows of those that it passed; never of two batches.
    pub rows: u32,
    /// xxh3 of the rows: a re-execution on others is noticed before it runs.
    pub rows_hash: u64,
    /// The greatest record timestamp so far of all that was passed, which the operator saw as its clock.
    pub virtual_time: EventTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStep {
    pub first: Offset,
    pub last: Offset,
    /// Records between `first` and `last`, both included; fewer than the difference where there are gaps.
    pub count: u32,
    /// xxh3 of the input records: a re-execution on other records is noticed before it runs.
    pub input_hash: u64,
    /// The greatest record timestamp so far, which the operator saw as its clock.
    pub virtual_time: EventTime,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    pub steps: Vec<Step>,
}

impl Journal {
    /// Behind the step whose call left these rows.
    pub fn left(&mut self, rows: &Left) {
        self.steps.extend(RowsMark::of(rows).map(Step::Rows));
    }

    /// It tells of each call whether rows left; one of a version before tells of none.
    pub fn is_marked(&self) -> bool {
        self.steps.iter().any(|it| matches!(it, Step::Rows(_)))
    }

    /// Calls and records passed over.
    pub fn calls(&self) -> usize {
        self.steps.iter().filter(|it| !matches!(it, Step::Rows(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    #[test]
    fn a_mark_tells_each_byte_of_a_row_and_where_it_went() {
        let rows = |numbers: Vec<i64>| {
            let column = Arc::new(Int64Array::from(numbers)) as ArrayRef;
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        let mark = |outlet, numbers| RowsMark::of(&vec![(outlet, rows(numbers))]);
        let plain = mark(Outlet::Sink(0), vec![1, 2, 3]);
        assert!(plain.is_some());
        assert_eq!(mark(Outlet::Sink(0), Vec::new()), None);
        // A long column goes through lanes.
        for rows in [3, 40] {
            let numbers: Vec<i64> = (1..=rows).collect();
            let plain = mark(Outlet::Sink(0), numbers.clone());
            for place in 0..numbers.len() {
                for bit in 0..64 {
                    let mut other = numbers.clone();
                    other[place] ^= 1 << bit;
                    assert_ne!(mark(Outlet::Sink(0), other), plain, "bit {bit} of row {place}");
                }
                let mut other = numbers.clone();
                other.swap(place, (place + 1) % numbers.len());
                assert_ne!(mark(Outlet::Sink(0), other), plain, "rows {place} exchanged");
            }
        }
        for (outlet, numbers) in [
            (Outlet::Next, vec![1, 2, 3]),
            (Outlet::Sink(1), vec![1, 2, 3]),
            (Outlet::Sink(0), vec![1, 3, 2]),
            (Outlet::Sink(0), vec![1, 2, 3, 0]),
        ] {
            assert_ne!(mark(outlet, numbers.clone()), plain, "{outlet:?} {numbers:?}");
        }
    }
}
