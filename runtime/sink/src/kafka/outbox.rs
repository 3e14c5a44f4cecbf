//! The outbox: records of completed epochs as objects of the checkpoint store, until they are published.
//!
//! A segment is the 8 bytes `floeout` and 1, and one zstd frame; in it, for each record, the key as
//! `option(bytes)` and the value as `bytes` (the words are those of the checkpoint's FORMAT.md). A
//! committable is a `list` of segments: name `string`, records, length `varint`, hash 32 bytes of BLAKE3.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::ports::{ObjectStore, Put};
use floe_core::protocol::orphans::{
    Orphan, OrphansFound, PreparedFate, PreparedFile, SinkLog, decide_prepared,
};
use floe_core::{Epoch, Error, ErrorKind, Result};

use super::encode::OutRecord;

/// Where segments lie.
pub struct Outbox {
    pub store: Arc<dyn ObjectStore>,
    /// The pipeline's folder for them, without a slash at its end.
    pub folder: String,
    /// Whose segments these are: all sinks of a pipeline use one folder.
    pub sink: String,
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
/// Hexadecimal digits of the hash of the sink's name in the names of its segments.
const TAG_DIGITS: usize = 16;
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
        let attempt = uuid::Uuid::new_v4().simple();
        let name = format!("{:012}-{}-{attempt}", epoch.0, self.tag());
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

    /// Finds what attempts left that came to nothing, and what was published and not deleted then; deletes it
    /// unless `dry_run`.
    ///
    /// A segment is read for a checkpoint that is kept and not published. Epochs only rise in the log, so one
    /// of a complete epoch that no kept checkpoint carries is never read again, whoever owns the pipeline.
    pub async fn sweep(&self, log: &SinkLog, dry_run: bool) -> Result<OrphansFound> {
        let mut carried = BTreeSet::new();
        for (_, entry) in &log.kept {
            if !entry.committable.is_empty() {
                let segments = decode_segments(&entry.committable.content)?;
                carried.extend(segments.into_iter().map(|it| it.name));
            }
        }
        let mut found = OrphansFound { settled: log.newest, ..OrphansFound::default() };
        for listed in self.store.list(&self.folder).await? {
            let name = listed.path.rsplit('/').next().unwrap_or(&listed.path);
            let Some(epoch) = self.epoch_in(name) else {
                found.not_ours += 1;
                continue;
            };
            let file = PreparedFile { epoch, carried: carried.contains(name), in_table: false };
            match decide_prepared(log.newest, &file) {
                PreparedFate::Orphan => {
                    let (path, bytes) = (listed.path, listed.bytes);
                    found.orphans.push(Orphan { path, bytes, epoch });
                }
                PreparedFate::InTable | PreparedFate::Carried | PreparedFate::MayBeCommitted => {
                    found.kept += 1;
                }
            }
        }
        if !dry_run {
            for orphan in &found.orphans {
                hit(CrashPoint::BeforeOrphanDelete);
                self.store.delete(&orphan.path).await?;
                hit(CrashPoint::AfterOrphanDelete);
            }
        }
        Ok(found)
    }

    fn tag(&self) -> String {
        blake3::hash(self.sink.as_bytes()).to_hex()[..TAG_DIGITS].to_owned()
    }

    fn epoch_in(&self, name: &str) -> Option<Epoch> {
        let mut parts = name.split('-');
        let (epoch, tag, attempt) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = tag == self.tag() && attempt.len() == 32 && parts.next().is_none();
        let is_number = epoch.len() >= 12 && epoch.bytes().all(|it| it.is_ascii_digit());
        (is_ours && is_number).then(|| epoch.parse().ok().map(Epoch))?
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
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use floe_core::committable::{Committable, ManifestRef};
    use floe_core::epoch::{EntryId, Slot};
    use floe_core::manifest::SinkEntry;
    use floe_core::ports::Listed;

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

    #[derive(Default)]
    struct Memory(Mutex<BTreeMap<String, Bytes>>);

    #[async_trait]
    impl ObjectStore for Memory {
        async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
            self.put(path, bytes).await.map(|()| Put::Created)
        }

        async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
            self.0.lock().unwrap().insert(path.to_owned(), bytes);
            Ok(())
        }

        async fn get(&self, path: &str) -> Result<Option<Bytes>> {
            Ok(self.0.lock().unwrap().get(path).cloned())
        }

        async fn delete(&self, path: &str) -> Result<()> {
            self.0.lock().unwrap().remove(path);
            Ok(())
        }

        async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
            let all = self.0.lock().unwrap();
            let inside = all.iter().filter(|it| it.0.starts_with(folder));
            Ok(inside
                .map(|(path, it)| Listed { path: path.clone(), bytes: it.len() as u64 })
                .collect())
        }
    }

    /// Two sinks of one pipeline; attempts at a complete epoch and at the open one; a floe that named them
    /// otherwise.
    #[tokio::test]
    async fn only_segments_that_no_checkpoint_will_read_are_swept() {
        let store = Arc::new(Memory::default());
        let outbox = |sink: &str| Outbox {
            store: Arc::clone(&store) as Arc<dyn ObjectStore>,
            folder: "p/outbox".to_owned(),
            sink: sink.to_owned(),
        };
        let (ours, theirs) = (outbox("topic"), outbox("letters"));
        let carried = ours.put(Epoch(4), records()).await.unwrap();
        let in_vain = ours.put(Epoch(4), records()).await.unwrap();
        let open = ours.put(Epoch(5), records()).await.unwrap();
        let other = theirs.put(Epoch(1), records()).await.unwrap();
        let old = "p/outbox/000000000001-0123456789abcdef0123456789abcdef";
        store.put(old, Bytes::new()).await.unwrap();
        let entry = SinkEntry {
            name: "topic".into(),
            table: "t".into(),
            table_uuid: [1; 16],
            committable: Committable {
                rows: 3,
                file_count: 1,
                file_bytes: 1,
                content: encode_segments(std::slice::from_ref(&carried)),
            },
            predecessor: None,
            committed: None,
        };
        let at = ManifestRef { slot: Slot(9), id: EntryId([1; 16]), epoch: Epoch(4) };
        let log = SinkLog { kept: vec![(at, entry)], newest: Some(Epoch(4)) };
        let dry = ours.sweep(&log, true).await.unwrap();
        assert_eq!(store.0.lock().unwrap().len(), 5);
        assert_eq!(ours.sweep(&log, false).await.unwrap(), dry);
        assert_eq!((dry.orphans.len(), dry.kept, dry.not_ours), (1, 2, 2));
        assert_eq!(dry.orphans[0].path, format!("p/outbox/{}", in_vain.name));
        let left: Vec<String> = store.0.lock().unwrap().keys().cloned().collect();
        for segment in [&carried, &open, &other] {
            assert!(left.contains(&format!("p/outbox/{}", segment.name)), "{left:?}");
        }
        assert!(left.iter().any(|it| it == old));
        // Nothing is complete: nothing is known to be in vain.
        let nothing = ours.sweep(&SinkLog::default(), false).await.unwrap();
        assert_eq!((nothing.orphans, nothing.kept), (Vec::new(), 2));
    }
}
