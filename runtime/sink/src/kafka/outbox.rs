//! The outbox: records of completed epochs as objects of the checkpoint store, until they are published.
//!
//! A segment is the 8 bytes `floeout` and 1, and one zstd frame; in it, for each record, the key as
//! `option(bytes)` and the value as `bytes` (the words are those of the checkpoint's FORMAT.md). A
//! committable is a `list` of segments: name `string`, records, length `varint`, hash 32 bytes of BLAKE3.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::ports::{ObjectStore, Put};
use floe_core::{Epoch, Error, ErrorKind, Result};

use super::encode::OutRecord;

/// Where segments lie.
pub struct Outbox {
    pub store: Arc<dyn ObjectStore>,
    /// The pipeline's folder for them, without a slash at its end.
    pub folder: String,
}

/// A segment by name, length and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    name: String,
    pub(super) records: u64,
    len: u64,
    hash: [u8; 32],
}

const MAGIC: &[u8; 8] = b"floeout\x01";
const ZSTD_LEVEL: i32 = 1;
/// As long as the owner of the checkpoints waits for their store.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Outbox {
    /// Durable when it returns. The name is unique to the attempt.
    pub(super) async fn put(&self, epoch: Epoch, records: Vec<OutRecord>) -> Result<Segment> {
        let count = records.len() as u64;
        let bytes = Bytes::from(encode(&records).map_err(|it| {
            Error::retry(format!("compress records of epoch {epoch} for the outbox: {it}"))
        })?);
        let name = format!("{:012}-{}", epoch.0, uuid::Uuid::new_v4().simple());
        let path = format!("{}/{name}", self.folder);
        let (begin, mut pause) = (Instant::now(), Duration::from_millis(50));
        loop {
            let error = match self.store.put_if_absent(&path, bytes.clone()).await {
                // Nobody else uses the name: what exists is our own earlier attempt, which is whole.
                Ok(Put::Created | Put::Exists) => break,
                Err(error) => error,
            };
            let again = matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry);
            if !again || begin.elapsed() >= PATIENCE || !self.store.may_be_away() {
                return Err(error);
            }
            tracing::warn!(path, error = %error, "a segment was not written, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(Segment { name, records: count, len: bytes.len() as u64, hash })
    }

    /// A segment that is missing or altered is refused by name.
    pub(super) async fn get(&self, segment: &Segment) -> Result<Vec<OutRecord>> {
        let path = format!("{}/{}", self.folder, segment.name);
        let damaged = |why: &str| {
            Error::corrupt(format!(
                "{path} is damaged: {why}\n  → restore the object from a backup of the store; its records are in it alone, and nothing was published"
            ))
        };
        let Some(bytes) = self.store.get(&path).await? else {
            return Err(damaged("it is missing"));
        };
        if bytes.len() as u64 != segment.len || *blake3::hash(&bytes).as_bytes() != segment.hash {
            return Err(damaged("its content is not what was written"));
        }
        let records = decode(&bytes).map_err(|it| damaged(&it))?;
        match records.len() as u64 == segment.records {
            true => Ok(records),
            false => Err(damaged("it holds another number of records")),
        }
    }

    /// What was published is needed no more. A failure leaves garbage, and is only logged.
    pub(super) async fn delete(&self, segments: &[Segment]) {
        for segment in segments {
            let path = format!("{}/{}", self.folder, segment.name);
            if let Err(error) = self.store.delete(&path).await {
                tracing::warn!(path, error = %error, "a published segment stays in the outbox");
            }
        }
    }
}

fn encode(records: &[OutRecord]) -> std::io::Result<Vec<u8>> {
    let mut zstd = zstd::stream::write::Encoder::new(MAGIC.to_vec(), ZSTD_LEVEL)?;
    for record in records {
        let mut e = Encoder::new();
        e.option(record.key.as_deref(), |e, key| e.bytes(key));
        e.bytes(&record.value);
        zstd.write_all(&e.finish())?;
    }
    zstd.finish()
}

fn decode(bytes: &[u8]) -> Result<Vec<OutRecord>, String> {
    let frame = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a segment does")?;
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(frame)
        .and_then(|mut it| it.read_to_end(&mut plain))
        .map_err(|it| it.to_string())?;
    let mut d = Decoder::new(&plain);
    let mut records = Vec::new();
    let mut one = || -> Result<(), DecodeError> {
        while d.at() < plain.len() {
            let key = d.option(|d| Ok(d.bytes()?.to_vec()))?;
            records.push(OutRecord { key, value: d.bytes()?.to_vec() });
        }
        Ok(())
    };
    one().map_err(|it| it.to_string())?;
    Ok(records)
}

pub(super) fn encode_segments(segments: &[Segment]) -> Bytes {
    let mut e = Encoder::new();
    e.list(segments, |e, segment| {
        e.string(&segment.name);
        e.varint(segment.records);
        e.varint(segment.len);
        e.raw(&segment.hash);
    });
    Bytes::from(e.finish())
}

pub(super) fn decode_segments(content: &[u8]) -> Result<Vec<Segment>> {
    let read = || -> Result<Vec<Segment>, DecodeError> {
        let mut d = Decoder::new(content);
        let segments = d.list(|d| {
            let name = d.string()?;
            let safe = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
            if name.is_empty() || !safe {
                return d.invalid("a segment has a name that is none");
            }
            Ok(Segment { name, records: d.varint()?, len: d.varint()?, hash: d.array()? })
        })?;
        d.finish()?;
        Ok(segments)
    };
    read().map_err(|it| Error::corrupt(format!("the checkpoint's list of segments {it}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<OutRecord> {
        vec![
            OutRecord { key: None, value: b"{}".to_vec() },
            OutRecord { key: Some(b"k".to_vec()), value: vec![7; 100_000] },
            OutRecord { key: Some(vec![]), value: vec![] },
        ]
    }

    #[test]
    fn segments_come_back_and_every_altered_byte_is_noticed() {
        let bytes = encode(&records()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), records());
        let hash = blake3::hash(&bytes);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            // The hash decides; the decoder must only not fail badly.
            assert_ne!(blake3::hash(&altered), hash);
            let _ = decode(&altered);
            let _ = decode(&bytes[..at]);
        }
    }

    #[test]
    fn a_list_of_segments_comes_back_and_cannot_leave_its_folder() {
        let segment = |name: &str| Segment { name: name.into(), records: 3, len: 9, hash: [4; 32] };
        let segments = vec![segment("000000000001-ab"), segment("000000000001-cd")];
        assert_eq!(decode_segments(&encode_segments(&segments)).unwrap(), segments);
        for bad in ["", "../x", "a/b", "."] {
            assert!(decode_segments(&encode_segments(&[segment(bad)])).is_err(), "{bad}");
        }
    }
}
