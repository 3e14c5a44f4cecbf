//! The journal of an epoch: for one task, the exact steps that its first operator saw, in order.
//!
//! With the image at epoch n, the source and this journal, a re-execution gives the bytes of n+1. For a task
//! of a keyed stage the tasks of the stage before it are the source, and the steps say how they were merged.
//! A step is a few bytes: offsets are written as differences.

use crate::chain::Left;
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::event_time::EventTime;
use crate::exchange::{RowsHash, digest};
use crate::graph::Outlet;
use crate::position::Offset;
use crate::schema::{SchemaId, SchemaUse};

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

const BATCH: u8 = 1;
const WATERMARK: u8 = 2;
const SKIP: u8 = 3;
const RETRY: u8 = 5;
const MERGE: u8 = 6;
const MERGE_SKIP: u8 = 7;
const SCHEMA: u8 = 8;
const ROWS: u8 = 9;
/// A batch that begins right behind the step before it and has no gap: its offsets are its count.
const DENSE: u8 = 4;

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

    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.varint(self.steps.len() as u64);
        let mut offset = 0i64;
        let mut time = 0i64;
        for step in &self.steps {
            match step {
                Step::Batch(batch) => {
                    let count = i64::from(batch.count);
                    let is_dense = batch.first.0 == offset.wrapping_add(1)
                        && batch.last.0 == offset.wrapping_add(count);
                    if is_dense {
                        encoder.u8(DENSE);
                        encoder.varint(u64::from(batch.count));
                    } else {
                        encoder.u8(BATCH);
                        encoder.signed(batch.first.0.wrapping_sub(offset));
                        encoder.signed(batch.last.0.wrapping_sub(batch.first.0));
                        encoder.varint(u64::from(batch.count));
                    }
                    encoder.u64(batch.input_hash);
                    encoder.signed(batch.virtual_time.0.wrapping_sub(time));
                    offset = batch.last.0;
                    time = batch.virtual_time.0;
                }
                Step::Watermark(watermark) => {
                    encoder.u8(WATERMARK);
                    encoder.signed(watermark.0.wrapping_sub(time));
                    time = watermark.0;
                }
                Step::Skip(skipped) => {
                    encoder.u8(SKIP);
                    encoder.signed(skipped.0.wrapping_sub(offset));
                    offset = skipped.0;
                }
                Step::Retry(given_back) => {
                    encoder.u8(RETRY);
                    encoder.signed(given_back.0.wrapping_sub(offset));
                    offset = given_back.0;
                }
                Step::Merge(merge) => {
                    encoder.u8(MERGE);
                    encoder.varint(u64::from(merge.from));
                    encoder.varint(u64::from(merge.rows));
                    encoder.u64(merge.rows_hash);
                    encoder.signed(merge.virtual_time.0.wrapping_sub(time));
                    time = merge.virtual_time.0;
                }
                Step::MergeSkip { from } => {
                    encoder.u8(MERGE_SKIP);
                    encoder.varint(u64::from(*from));
                }
                Step::Schema(schema) => {
                    encoder.u8(SCHEMA);
                    encoder.varint(u64::from(schema.id.0));
                    encoder.option(schema.hash, |encoder, it| encoder.u64(it));
                }
                Step::Rows(mark) => {
                    encoder.u8(ROWS);
                    encoder.raw(&mark.0.to_le_bytes());
                }
            }
        }
    }

    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Journal, DecodeError> {
        let mut offset = 0i64;
        let mut time = 0i64;
        let steps = decoder.list(|decoder| {
            Ok(match decoder.u8()? {
                kind @ (BATCH | DENSE) => {
                    let (first, last, count);
                    if kind == DENSE {
                        count = decoder.varint_u32()?;
                        first = offset.wrapping_add(1);
                        last = offset.wrapping_add(i64::from(count));
                    } else {
                        first = decoder.signed()?.wrapping_add(offset);
                        last = decoder.signed()?.wrapping_add(first);
                        count = decoder.varint_u32()?;
                    }
                    let input_hash = decoder.u64()?;
                    time = decoder.signed()?.wrapping_add(time);
                    offset = last;
                    Step::Batch(BatchStep {
                        first: Offset(first),
                        last: Offset(last),
                        count,
                        input_hash,
                        virtual_time: EventTime(time),
                    })
                }
                WATERMARK => {
                    time = decoder.signed()?.wrapping_add(time);
                    Step::Watermark(EventTime(time))
                }
                SKIP => {
                    offset = decoder.signed()?.wrapping_add(offset);
                    Step::Skip(Offset(offset))
                }
                RETRY => {
                    offset = decoder.signed()?.wrapping_add(offset);
                    Step::Retry(Offset(offset))
                }
                MERGE => {
                    let (from, rows) = (decoder.varint_u32()?, decoder.varint_u32()?);
                    let rows_hash = decoder.u64()?;
                    time = decoder.signed()?.wrapping_add(time);
                    let virtual_time = EventTime(time);
                    Step::Merge(MergeStep { from, rows, rows_hash, virtual_time })
                }
                MERGE_SKIP => Step::MergeSkip { from: decoder.varint_u32()? },
                SCHEMA => {
                    let id = SchemaId(decoder.varint_u32()?);
                    Step::Schema(SchemaUse { id, hash: decoder.option(|it| it.u64())? })
                }
                ROWS => {
                    let mark = [decoder.u8()?, decoder.u8()?];
                    Step::Rows(RowsMark(u16::from_le_bytes(mark)))
                }
                _ => return decoder.invalid("a journal step of an unknown kind"),
            })
        })?;
        Ok(Journal { steps })
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
        for bit in 0..64 {
            for place in 0..3 {
                let mut other = vec![1, 2, 3];
                other[place] ^= 1 << bit;
                assert_ne!(mark(Outlet::Sink(0), other), plain, "bit {bit} of row {place}");
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

    fn batch(first: i64, last: i64, count: u32) -> Step {
        Step::Batch(BatchStep {
            first: Offset(first),
            last: Offset(last),
            count,
            input_hash: u64::MAX,
            virtual_time: EventTime(1_760_000_000_000),
        })
    }

    #[test]
    fn it_comes_back_and_a_call_is_at_most_16_bytes_on_average() {
        let steps: Vec<Step> = (0..1000i64)
            .flat_map(|n| {
                let batch = BatchStep {
                    first: Offset(n * 4096),
                    last: Offset(n * 4096 + 4095),
                    count: 4096,
                    input_hash: n as u64 * 7919,
                    virtual_time: EventTime(1_760_000_000_000 + n * 50),
                };
                [Step::Batch(batch), Step::Rows(RowsMark(n as u16 * 31))]
            })
            .chain([
                Step::Watermark(EventTime(5)),
                Step::Skip(Offset(17)),
                Step::Retry(Offset(3)),
                Step::Merge(MergeStep {
                    from: 3,
                    rows: 2048,
                    rows_hash: 1,
                    virtual_time: EventTime(1_760_000_000_000),
                }),
                Step::MergeSkip { from: 300 },
                Step::Schema(SchemaUse { id: SchemaId(70_000), hash: Some(u64::MAX) }),
                Step::Schema(SchemaUse { id: SchemaId(0), hash: None }),
                batch(18, 18, 1),
                batch(19, 25, 3),
                batch(26, 26, 1),
                batch(28, 28, 1),
            ])
            .collect();
        let journal = Journal { steps };
        let mut encoder = Encoder::new();
        journal.encode(&mut encoder);
        let bytes = encoder.finish();
        assert!(bytes.len() <= 16 * journal.calls(), "{} bytes", bytes.len());
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(Journal::decode(&mut decoder).unwrap(), journal);
        decoder.finish().unwrap();
    }
}
