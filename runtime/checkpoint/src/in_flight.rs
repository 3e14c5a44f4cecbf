//! What a barrier overtook, as bytes: each batch an Arrow IPC stream, all of it one zstd frame behind its hash.

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::event_time::EventTime;
use floe_core::in_flight::{InFlight, InFlightElement, InFlightOrigin, PassedInFlight};
use floe_core::position::{Offset, TopicPartition};

use crate::compressor::ZSTD_LEVEL;
use crate::part::PartError;

const ROWS: u8 = 1;
const WATERMARK: u8 = 2;

/// A head with more in flight than this was not written by this program: `max-in-flight-bytes` is far below.
const DECODED_BYTES_MAX: u64 = 4 << 30;

pub(crate) fn encode(e: &mut Encoder, in_flight: &InFlight) -> std::io::Result<()> {
    let bytes = encode_plain(in_flight).map_err(std::io::Error::other)?;
    e.raw(blake3::hash(&bytes).as_bytes());
    e.varint(bytes.len() as u64);
    e.bytes(&zstd::bulk::compress(&bytes, ZSTD_LEVEL)?);
    Ok(())
}

fn encode_plain(in_flight: &InFlight) -> Result<Vec<u8>, ArrowError> {
    let mut e = Encoder::new();
    e.list(&in_flight.upstream, |e, (task, watermark)| {
        encode_task(e, task);
        e.signed(watermark.0);
    });
    e.varint(in_flight.passed.len() as u64);
    for PassedInFlight { from, what } in &in_flight.passed {
        encode_task(&mut e, from);
        match what {
            InFlightElement::Rows { batch, origin, virtual_time } => {
                e.u8(ROWS);
                encode_task(&mut e, &origin.task);
                e.option(origin.offsets, |e, (first, last)| {
                    e.signed(first.0);
                    e.signed(last.0);
                });
                e.signed(virtual_time.0);
                e.bytes(&encode_rows(batch)?);
            }
            InFlightElement::Watermark(watermark) => {
                e.u8(WATERMARK);
                e.signed(watermark.0);
            }
        }
    }
    Ok(e.finish())
}

fn encode_task(e: &mut Encoder, task: &TopicPartition) {
    e.string(&task.topic);
    e.signed(i64::from(task.partition));
}

fn encode_rows(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<InFlight, PartError> {
    let hash: [u8; 32] = d.array()?;
    let len = d.varint()?;
    if len > DECODED_BYTES_MAX {
        d.invalid("says that more is in flight than can be")?;
    }
    let bytes = zstd::bulk::decompress(d.bytes()?, len as usize)?;
    // Before anything of it is looked at: what reads Arrow is not made for bytes of nobody's.
    if bytes.len() as u64 != len || blake3::hash(&bytes) != hash {
        d.invalid("has other rows in flight than were written")?;
    }
    let mut d = Decoder::new(&bytes);
    let upstream = d.list(|d| Ok((decode_task(d)?, EventTime(d.signed()?))))?;
    let passed = d.list(decode_passed)?;
    d.finish()?;
    Ok(InFlight { passed, upstream })
}

fn decode_passed(d: &mut Decoder<'_>) -> Result<PassedInFlight, DecodeError> {
    let from = decode_task(d)?;
    let what = match d.u8()? {
        ROWS => {
            let task = decode_task(d)?;
            let offsets = d.option(|d| Ok((Offset(d.signed()?), Offset(d.signed()?))))?;
            let virtual_time = EventTime(d.signed()?);
            let origin = InFlightOrigin { task, offsets };
            let Ok(batch) = decode_rows(d.bytes()?) else {
                return d.invalid("has rows in flight that are no Arrow IPC stream");
            };
            InFlightElement::Rows { batch, origin, virtual_time }
        }
        WATERMARK => InFlightElement::Watermark(EventTime(d.signed()?)),
        _ => return d.invalid("has something in flight of an unknown kind"),
    };
    Ok(PassedInFlight { from, what })
}

fn decode_rows(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let one = reader.next().transpose()?;
    match (one, reader.next()) {
        (Some(batch), None) => Ok(batch),
        (None, _) | (Some(_), Some(_)) => {
            Err(ArrowError::IpcError("a stream is of one batch".to_owned()))
        }
    }
}

pub(crate) fn decode_task(d: &mut Decoder<'_>) -> Result<TopicPartition, DecodeError> {
    let topic = d.string()?;
    let Ok(partition) = i32::try_from(d.signed()?) else {
        return d.invalid("a partition is over 32 bits");
    };
    Ok(TopicPartition::new(&topic, partition))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    /// Beneath the object's own hash: bytes that are not what was written are told before Arrow reads them.
    #[test]
    fn no_byte_of_it_can_be_another() {
        let column = Arc::new(Int64Array::from(vec![7; 300])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let task = TopicPartition::new("payments", 3);
        let origin = InFlightOrigin { task: task.clone(), offsets: Some((Offset(1), Offset(300))) };
        let rows = InFlightElement::Rows { batch, origin, virtual_time: EventTime(5) };
        let watermark = InFlightElement::Watermark(EventTime(4));
        let passed = |what| PassedInFlight { from: task.clone(), what };
        let in_flight = InFlight {
            passed: vec![passed(rows), passed(watermark)],
            upstream: vec![(task.clone(), EventTime(3))],
        };
        let mut e = Encoder::new();
        encode(&mut e, &in_flight).unwrap();
        let bytes = e.finish();
        let read = |bytes: &[u8]| {
            let mut d = Decoder::new(bytes);
            let read = decode(&mut d).map_err(|error| error.to_string())?;
            d.finish().map_err(|error| error.to_string())?;
            Ok::<_, String>(read)
        };
        assert_eq!(read(&bytes).unwrap(), in_flight);
        for index in 0..bytes.len() {
            assert!(read(&bytes[..index]).is_err(), "cut at {index}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                match read(&flipped) {
                    Err(_) => {}
                    // zstd has bits that say nothing of the content.
                    Ok(read) => assert_eq!(read, in_flight, "bit {bit} of byte {index}"),
                }
            }
        }
    }
}
