//! Journals of heads before version 4, read and no more written: the first offset and time were whole.
//!
//! Their marks were of another hash, and are passed over: such a journal tells nothing of rows.

use super::{BatchStep, Journal, MergeStep, Step};
use crate::encoding::{DecodeError, Decoder};
use crate::event_time::EventTime;
use crate::position::Offset;
use crate::schema::{SchemaId, SchemaUse};

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
    pub fn decode_before_4(decoder: &mut Decoder<'_>) -> Result<Journal, DecodeError> {
        let mut offset = 0i64;
        let mut time = 0i64;
        let steps = decoder.list(|decoder| {
            Ok(Some(match decoder.u8()? {
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
                    decoder.array::<2>()?;
                    return Ok(None);
                }
                _ => return decoder.invalid("a journal step of an unknown kind"),
            }))
        })?;
        Ok(Journal { steps: steps.into_iter().flatten().collect() })
    }
}
