//! The journal of an epoch: for one task, the exact steps that its first operator saw, in order.
//!
//! With the image at epoch n, the source and this journal, a re-execution gives the bytes of n+1. For a task
//! of a keyed stage the tasks of the stage before it are the source, and the steps say how they were merged.
//! A step is a few bytes: offsets are written as differences.

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::event_time::EventTime;
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
/// A batch that begins right behind the step before it and has no gap: its offsets are its count.
const DENSE: u8 = 4;

impl Journal {
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
                _ => return decoder.invalid("a journal step of an unknown kind"),
            })
        })?;
        Ok(Journal { steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn it_comes_back_and_a_step_is_at_most_14_bytes_on_average() {
        let steps: Vec<Step> = (0..1000i64)
            .map(|n| {
                Step::Batch(BatchStep {
                    first: Offset(n * 4096),
                    last: Offset(n * 4096 + 4095),
                    count: 4096,
                    input_hash: n as u64 * 7919,
                    virtual_time: EventTime(1_760_000_000_000 + n * 50),
                })
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
        assert!(bytes.len() <= 14 * journal.steps.len(), "{} bytes", bytes.len());
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(Journal::decode(&mut decoder).unwrap(), journal);
        decoder.finish().unwrap();
    }
}
