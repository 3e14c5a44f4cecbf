//! A journal as bytes: at most 16 a step on average, however few steps an epoch has.
//!
//! Offsets and times are differences, and none is written whole: the last of them is told by where the task
//! stands behind the journal, which its head has anyway.

use super::{BatchStep, Journal, MergeStep, RowsMark, Step};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::event_time::EventTime;
use crate::position::Offset;
use crate::schema::{SchemaId, SchemaUse};

/// Where a task stands behind the last step of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    pub next_offset: Offset,
    pub virtual_time: EventTime,
    pub watermark: EventTime,
}

/// The kinds of steps, in the low half of a step's first byte.
const KIND: u8 = 0x0f;
const BATCH: u8 = 1;
const WATERMARK: u8 = 2;
const SKIP: u8 = 3;
const RETRY: u8 = 5;
const MERGE: u8 = 6;
const MERGE_SKIP: u8 = 7;
const SCHEMA: u8 = 8;
const ROWS: u8 = 9;

/// The mark of the rows that the call left stands behind the step.
const MARKED: u8 = 0x80;
/// A batch that begins right behind the step before it.
const FOLLOWS: u8 = 0x40;
/// A batch without gaps.
const DENSE: u8 = 0x20;

/// Numbers that are written as differences to the one before.
#[derive(Default)]
struct Chain {
    at: i64,
    begun: bool,
}

impl Chain {
    /// The first number of a chain follows on itself.
    fn to(&mut self, value: i64) -> i64 {
        let from = if self.begun { self.at } else { value };
        (self.at, self.begun) = (value, true);
        value.wrapping_sub(from)
    }

    fn by(&mut self, difference: i64) -> i64 {
        self.at = self.at.wrapping_add(difference);
        self.at
    }
}

#[derive(Default)]
struct Chains {
    /// The next offset.
    offset: Chain,
    time: Chain,
    watermark: Chain,
}

impl Chains {
    fn beside(&self, stand: &Stand) -> [(&Chain, i64); 3] {
        [
            (&self.offset, stand.next_offset.0),
            (&self.time, stand.virtual_time.0),
            (&self.watermark, stand.watermark.0),
        ]
    }
}

impl Journal {
    pub fn encode(&self, stand: &Stand, encoder: &mut Encoder) {
        let mut written = Vec::with_capacity(self.steps.len());
        let mut steps = self.steps.iter().peekable();
        while let Some(step) = steps.next() {
            let mark = match (step, steps.peek()) {
                (Step::Rows(_), _) => None,
                (_, Some(Step::Rows(mark))) => Some(*mark),
                _ => None,
            };
            if mark.is_some() {
                steps.next();
            }
            written.push((step, mark));
        }
        let mut chains = Chains::default();
        encoder.list(&written, |encoder, (step, mark)| {
            encode_step(step, if mark.is_some() { MARKED } else { 0 }, &mut chains, encoder);
            if let Some(mark) = mark {
                encoder.raw(&mark.0.to_le_bytes());
            }
        });
        if written.is_empty() {
            return;
        }
        let ahead = chains.beside(stand).map(|(chain, stands)| match chain.begun {
            true => stands.wrapping_sub(chain.at),
            false => 0,
        });
        let which = ahead.iter().enumerate().map(|(bit, it)| u8::from(*it != 0) << bit).sum();
        encoder.u8(which);
        ahead.iter().filter(|it| **it != 0).for_each(|it| encoder.signed(*it));
    }

    pub fn decode(stand: &Stand, decoder: &mut Decoder<'_>) -> Result<Journal, DecodeError> {
        let mut chains = Chains::default();
        let written = decoder.list(|decoder| decode_step(&mut chains, decoder))?;
        let mut journal = Journal::default();
        if written.is_empty() {
            return Ok(journal);
        }
        let which = decoder.u8()?;
        if which > 0b111 {
            return decoder.invalid("a journal ends in an unknown way");
        }
        let mut shifts = [0; 3];
        for (bit, (chain, stands)) in chains.beside(stand).into_iter().enumerate() {
            let ahead = if which & 1 << bit == 0 { 0 } else { decoder.signed()? };
            shifts[bit] = stands.wrapping_sub(ahead).wrapping_sub(chain.at);
        }
        for (mut step, mark) in written {
            shift(&mut step, shifts);
            journal.steps.push(step);
            journal.steps.extend(mark.map(Step::Rows));
        }
        Ok(journal)
    }
}

fn encode_step(step: &Step, marked: u8, chains: &mut Chains, encoder: &mut Encoder) {
    match step {
        Step::Batch(batch) => {
            let behind = chains.offset.to(batch.first.0);
            let span = batch.last.0.wrapping_sub(batch.first.0).wrapping_add(1);
            let gaps = span.wrapping_sub(i64::from(batch.count)) as u64;
            let follows = if behind == 0 { FOLLOWS } else { 0 };
            let dense = if gaps == 0 { DENSE } else { 0 };
            encoder.u8(BATCH | marked | follows | dense);
            if behind != 0 {
                encoder.signed(behind);
            }
            if gaps != 0 {
                encoder.varint(gaps);
            }
            encoder.varint(u64::from(batch.count));
            encoder.u64(batch.input_hash);
            // It hardly ever falls.
            encoder.varint(chains.time.to(batch.virtual_time.0) as u64);
            chains.offset.to(batch.last.0.wrapping_add(1));
        }
        Step::Watermark(watermark) => {
            encoder.u8(WATERMARK | marked);
            encoder.varint(chains.watermark.to(watermark.0) as u64);
        }
        Step::Skip(offset) | Step::Retry(offset) => {
            let kind = if matches!(step, Step::Skip(_)) { SKIP } else { RETRY };
            encoder.u8(kind | marked);
            encoder.signed(chains.offset.to(offset.0));
            chains.offset.to(offset.0.wrapping_add(1));
        }
        Step::Merge(merge) => {
            encoder.u8(MERGE | marked);
            encoder.varint(u64::from(merge.from));
            encoder.varint(u64::from(merge.rows));
            encoder.u64(merge.rows_hash);
            encoder.varint(chains.time.to(merge.virtual_time.0) as u64);
        }
        Step::MergeSkip { from } => {
            encoder.u8(MERGE_SKIP | marked);
            encoder.varint(u64::from(*from));
        }
        Step::Schema(schema) => {
            encoder.u8(SCHEMA | marked);
            encoder.varint(u64::from(schema.id.0));
            encoder.option(schema.hash, |encoder, it| encoder.u64(it));
        }
        Step::Rows(mark) => {
            encoder.u8(ROWS);
            encoder.raw(&mark.0.to_le_bytes());
        }
    }
}

/// Offsets and times are yet to be shifted.
fn decode_step(
    chains: &mut Chains,
    decoder: &mut Decoder<'_>,
) -> Result<(Step, Option<RowsMark>), DecodeError> {
    let head = decoder.u8()?;
    let allowed = if head & KIND == BATCH { MARKED | FOLLOWS | DENSE } else { MARKED };
    if head & !KIND & !allowed != 0 {
        return decoder.invalid("a journal step is of an unknown kind");
    }
    let step = match head & KIND {
        BATCH => {
            let behind = if head & FOLLOWS == 0 { decoder.signed()? } else { 0 };
            let gaps = if head & DENSE == 0 { decoder.varint()? } else { 0 };
            let first = chains.offset.by(behind);
            let count = decoder.varint_u32()?;
            let next = chains.offset.by(i64::from(count).wrapping_add(gaps as i64));
            Step::Batch(BatchStep {
                first: Offset(first),
                last: Offset(next.wrapping_sub(1)),
                count,
                input_hash: decoder.u64()?,
                virtual_time: EventTime(chains.time.by(decoder.varint()? as i64)),
            })
        }
        WATERMARK => Step::Watermark(EventTime(chains.watermark.by(decoder.varint()? as i64))),
        kind @ (SKIP | RETRY) => {
            let offset = Offset(chains.offset.by(decoder.signed()?));
            chains.offset.by(1);
            if kind == SKIP { Step::Skip(offset) } else { Step::Retry(offset) }
        }
        MERGE => Step::Merge(MergeStep {
            from: decoder.varint_u32()?,
            rows: decoder.varint_u32()?,
            rows_hash: decoder.u64()?,
            virtual_time: EventTime(chains.time.by(decoder.varint()? as i64)),
        }),
        MERGE_SKIP => Step::MergeSkip { from: decoder.varint_u32()? },
        SCHEMA => {
            let id = SchemaId(decoder.varint_u32()?);
            Step::Schema(SchemaUse { id, hash: decoder.option(|it| it.u64())? })
        }
        ROWS => Step::Rows(mark(decoder)?),
        _ => return decoder.invalid("a journal step is of an unknown kind"),
    };
    let mark = if head & MARKED == 0 { None } else { Some(mark(decoder)?) };
    Ok((step, mark))
}

fn mark(decoder: &mut Decoder<'_>) -> Result<RowsMark, DecodeError> {
    Ok(RowsMark(u16::from_le_bytes(decoder.array()?)))
}

fn shift(step: &mut Step, [offsets, times, watermarks]: [i64; 3]) {
    let offset = |it: &mut Offset| it.0 = it.0.wrapping_add(offsets);
    match step {
        Step::Batch(batch) => {
            offset(&mut batch.first);
            offset(&mut batch.last);
            batch.virtual_time.0 = batch.virtual_time.0.wrapping_add(times);
        }
        Step::Watermark(it) => it.0 = it.0.wrapping_add(watermarks),
        Step::Skip(it) | Step::Retry(it) => offset(it),
        Step::Merge(it) => it.virtual_time.0 = it.virtual_time.0.wrapping_add(times),
        Step::MergeSkip { .. } | Step::Schema(_) | Step::Rows(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(journal: &Journal, stand: &Stand) -> Vec<u8> {
        let mut encoder = Encoder::new();
        journal.encode(stand, &mut encoder);
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(Journal::decode(stand, &mut decoder).unwrap(), *journal, "{stand:?}");
        decoder.finish().unwrap();
        bytes
    }

    fn stand(next_offset: i64, virtual_time: i64, watermark: i64) -> Stand {
        Stand {
            next_offset: Offset(next_offset),
            virtual_time: EventTime(virtual_time),
            watermark: EventTime(watermark),
        }
    }

    const NOW: i64 = 1_760_000_000_000;

    fn batch(first: i64, last: i64, count: u32) -> Step {
        Step::Batch(BatchStep {
            first: Offset(first),
            last: Offset(last),
            count,
            input_hash: u64::MAX,
            virtual_time: EventTime(NOW + last),
        })
    }

    /// Calls with a mark each, as large as they come: 8,192 records, and 10 s of event time.
    fn calls(number: i64, step: impl Fn(i64) -> Step) -> Journal {
        let rows = |it| Step::Rows(RowsMark(it as u16 * 31));
        Journal { steps: (0..number).flat_map(|it| [step(it), rows(it)]).collect() }
    }

    #[test]
    fn a_call_is_at_most_16_bytes_however_few_there_are() {
        let far = 9_000_000_000_000;
        for number in [0, 1, 2, 3, 7, 1000] {
            let time = |it: i64| EventTime(NOW + it * 10_000);
            let batches = calls(number, |it| {
                Step::Batch(BatchStep {
                    first: Offset(far + it * 8192),
                    last: Offset(far + it * 8192 + 8191),
                    count: 8192,
                    input_hash: u64::MAX - it as u64,
                    virtual_time: time(it),
                })
            });
            let merges = calls(number, |it| {
                Step::Merge(MergeStep {
                    from: it as u32 % 100,
                    rows: 100,
                    rows_hash: u64::MAX - it as u64,
                    virtual_time: time(it),
                })
            });
            let watermarks = calls(number, |it| Step::Watermark(time(it)));
            let last = NOW + (number - 1) * 10_000;
            let stand = stand(far + number * 8192, last, last);
            for journal in [batches, merges, watermarks] {
                let bytes = written(&journal, &stand).len();
                assert!(bytes <= 16 * journal.calls().max(1), "{number} calls, {bytes} bytes");
            }
        }
    }

    #[test]
    fn it_comes_back_wherever_the_task_stands() {
        let time = EventTime(NOW);
        let steps = vec![
            Step::Rows(RowsMark(7)),
            Step::Rows(RowsMark(8)),
            Step::Watermark(EventTime(5)),
            Step::Skip(Offset(17)),
            Step::Retry(Offset(3)),
            Step::Merge(MergeStep { from: 3, rows: 2048, rows_hash: 1, virtual_time: time }),
            Step::MergeSkip { from: 300 },
            Step::Rows(RowsMark(9)),
            Step::Schema(SchemaUse { id: SchemaId(70_000), hash: Some(u64::MAX) }),
            Step::Schema(SchemaUse { id: SchemaId(0), hash: None }),
            batch(18, 18, 1),
            Step::Rows(RowsMark(10)),
            batch(19, 25, 3),
            batch(26, 26, 1),
            batch(28, 28, 1),
            // No run makes these two; every number is written and read.
            batch(9, 2, 40),
            batch(i64::MIN, i64::MAX, u32::MAX),
            Step::Watermark(EventTime(-5)),
        ];
        let all = Journal { steps };
        let ends = [0, 29, NOW, i64::MIN, i64::MAX];
        for offset in ends {
            for time in ends {
                for watermark in ends {
                    for length in 0..=all.steps.len() {
                        let journal = Journal { steps: all.steps[..length].to_vec() };
                        written(&journal, &stand(offset, time, watermark));
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_journal_says_is_refused() {
        let read = |bytes: &[u8]| Journal::decode(&stand(0, 0, 0), &mut Decoder::new(bytes));
        assert!(read(&[1, MERGE_SKIP, 0, 0]).is_ok());
        assert!(read(&[1, MERGE_SKIP | FOLLOWS, 0, 0]).is_err(), "a batch's flag");
        assert!(read(&[1, 4, 0, 0]).is_err(), "a kind of before");
        assert!(read(&[1, MERGE_SKIP, 0, 8, 0]).is_err(), "an unknown ending");
        assert!(read(&[1, MERGE_SKIP, 0]).is_err(), "no ending");
    }
}
