//! CheckpointManifest: everything one checkpoint holds, by name and hash; versioned bytes.
//!
//! A manifest is an entry of the log. Its visibility completes the checkpoint, and every object it names
//! is durable before that.

use bytes::Bytes;

use crate::committable::{Committable, CommittedSnapshot, ManifestRef};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::epoch::{EntryId, Epoch, Generation, Slot};
use crate::event_time::EventTime;
use crate::position::{Offset, Position, TopicPartition};

/// The version of the bytes below. A change keeps a reader for the old one and adds a golden file.
pub const MANIFEST_VERSION: u32 = 4;

/// Written where no task has rows in flight, so that it is read by those who know of none.
const MANIFEST_VERSION_3: u32 = 3;

/// Still read, as is version 2, where each operator took the first output of the one before it and none had a
/// key. Here a task was one part that held its whole memory.
const MANIFEST_VERSION_1: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointManifest {
    pub id: EntryId,
    pub epoch: Epoch,
    pub generation: Generation,
    /// The manifest before this one, whatever stands between them in the log.
    pub predecessor: Option<ManifestRef>,
    pub identity: PipelineIdentity,
    /// Every object that a restore reads, this checkpoint's own and those of earlier ones that it builds
    /// on, in order; parts refer to them by index.
    pub objects: Vec<ObjectRef>,
    pub tasks: Vec<TaskEntry>,
    pub sinks: Vec<SinkEntry>,
    /// Information for people; decides nothing.
    pub created_ms: i64,
    pub savepoint: bool,
}

/// What must be the same for a checkpoint to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineIdentity {
    pub pipeline: String,
    pub guarantee: String,
    pub topics: Vec<TopicIdentity>,
    pub operators: Vec<OperatorIdentity>,
    pub decoder: String,
    /// Engine version, settings and ABI.
    pub engine: String,
    /// Instruction set; images restore on any, hash equality across them is not promised.
    pub isa: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    pub topic: String,
    pub topic_id: Option<String>,
    pub partitions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorIdentity {
    pub name: String,
    pub module_hash: [u8; 32],
    pub config_hash: [u8; 32],
    pub state_version: u32,
    /// "operator.output" each; empty for the first output of the operator before it.
    pub inputs: Vec<String>,
    /// Where it begins a keyed stage.
    pub keyed: Option<KeyedIdentity>,
}

/// What decides which task has the state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedIdentity {
    pub columns: Vec<String>,
    pub tasks: u32,
    /// The name of the hash.
    pub partitioner: String,
}

/// An object by name, length and hash: torn, missing or altered, it is refused by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Relative to the pipeline's prefix.
    pub path: String,
    pub len: u64,
    /// blake3.
    pub hash: [u8; 32],
}

/// A range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRef {
    pub object: u32,
    pub start: u64,
    pub len: u64,
}

/// One task: its head, and the pages of its operators' memories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEntry {
    pub task: TopicPartition,
    /// Everything but the memories. Of version 1: the memories, too.
    pub head: PartRef,
    /// For each operator of the chain its parts, oldest first: a later part's pages replace an earlier
    /// one's, and pages in no part are zeros.
    pub memories: Vec<Vec<PartRef>>,
    /// blake3 over the task's operator images, uncompressed, and what is in flight: two runs are equal if these are.
    pub state_hash: [u8; 32],
    pub next_offset: Offset,
    /// The greatest record timestamp so far; `EventTime::MIN` before the first.
    pub virtual_time: EventTime,
    pub watermark: EventTime,
    /// Records taken since the pipeline began.
    pub records: u64,
    /// Rows that were passed to it and that its barrier overtook: they are in its head, and in no table yet.
    pub in_flight_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkEntry {
    pub name: String,
    pub table: String,
    pub table_uuid: [u8; 16],
    pub committable: Committable,
    /// The newest earlier manifest with a non-empty committable for this sink.
    pub predecessor: Option<ManifestRef>,
    /// The newest commit that was verified when this manifest was written.
    pub committed: Option<CommittedSnapshot>,
}

impl TaskEntry {
    pub fn parts(&self) -> impl Iterator<Item = &PartRef> {
        std::iter::once(&self.head).chain(self.memories.iter().flatten())
    }
}

impl CheckpointManifest {
    /// Where the source goes on. Tasks of keyed stages have no place in it.
    pub fn position(&self) -> Position {
        let source = self.tasks.iter().filter(|it| it.task.stage().is_none());
        Position(source.map(|it| (it.task.clone(), it.next_offset)).collect())
    }

    /// Made of records before the positions, and in no table yet.
    pub fn in_flight_rows(&self) -> u64 {
        self.tasks.iter().map(|it| it.in_flight_rows).sum()
    }

    /// Bytes of the objects that this checkpoint wrote; their names hold its id.
    pub fn written_bytes(&self) -> u64 {
        let id = self.id.to_string();
        self.objects.iter().filter(|it| it.path.contains(&id)).map(|it| it.len).sum()
    }

    pub fn sink(&self, name: &str) -> Option<&SinkEntry> {
        self.sinks.iter().find(|it| it.name == name)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        let has_in_flight = self.in_flight_rows() > 0;
        e.u32(if has_in_flight { MANIFEST_VERSION } else { MANIFEST_VERSION_3 });
        e.raw(&self.id.0);
        e.varint(self.epoch.0);
        e.varint(self.generation.0);
        e.option(self.predecessor, encode_ref);
        self.identity.encode(&mut e);
        e.list(&self.objects, |e, object| {
            e.string(&object.path);
            e.varint(object.len);
            e.raw(&object.hash);
        });
        e.list(&self.tasks, |e, task| {
            e.string(&task.task.topic);
            e.signed(i64::from(task.task.partition));
            encode_part(e, &task.head);
            e.list(&task.memories, |e, parts| e.list(parts, encode_part));
            e.raw(&task.state_hash);
            e.signed(task.next_offset.0);
            e.signed(task.virtual_time.0);
            e.signed(task.watermark.0);
            e.varint(task.records);
            if has_in_flight {
                e.varint(task.in_flight_rows);
            }
        });
        e.list(&self.sinks, |e, sink| {
            e.string(&sink.name);
            e.string(&sink.table);
            e.raw(&sink.table_uuid);
            e.varint(sink.committable.rows);
            e.varint(u64::from(sink.committable.file_count));
            e.varint(sink.committable.file_bytes);
            e.bytes(&sink.committable.content);
            e.option(sink.predecessor, encode_ref);
            e.option(sink.committed, |e, committed| {
                encode_ref(e, committed.manifest);
                e.signed(committed.snapshot_id);
                e.signed(committed.sequence_number);
            });
        });
        e.signed(self.created_ms);
        e.u8(u8::from(self.savepoint));
        e.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<CheckpointManifest, DecodeError> {
        let mut d = Decoder::new(bytes);
        let version = d.u32()?;
        if !(MANIFEST_VERSION_1..=MANIFEST_VERSION).contains(&version) {
            return d.invalid("a checkpoint manifest of another version");
        }
        let manifest = CheckpointManifest {
            id: EntryId(d.array()?),
            epoch: Epoch(d.varint()?),
            generation: Generation(d.varint()?),
            predecessor: d.option(decode_ref)?,
            identity: PipelineIdentity::decode(&mut d, version)?,
            objects: d.list(|d| {
                Ok(ObjectRef { path: d.string()?, len: d.varint()?, hash: d.array()? })
            })?,
            tasks: d.list(|d| decode_task(d, version))?,
            sinks: d.list(decode_sink)?,
            created_ms: d.signed()?,
            savepoint: match d.u8()? {
                0 => false,
                1 => true,
                _ => return d.invalid("a flag is neither 0 nor 1"),
            },
        };
        for task in &manifest.tasks {
            for part in task.parts() {
                let Some(object) = manifest.objects.get(part.object as usize) else {
                    return d.invalid("a task names an object that is not in the manifest");
                };
                if part.start.checked_add(part.len).is_none_or(|end| end > object.len) {
                    return d.invalid("a task's part is outside of its object");
                }
            }
        }
        d.finish()?;
        Ok(manifest)
    }
}

impl PipelineIdentity {
    fn encode(&self, e: &mut Encoder) {
        e.string(&self.pipeline);
        e.string(&self.guarantee);
        e.list(&self.topics, |e, topic| {
            e.string(&topic.topic);
            e.option(topic.topic_id.as_deref(), |e, id| e.string(id));
            e.varint(u64::from(topic.partitions));
        });
        e.list(&self.operators, |e, operator| {
            e.string(&operator.name);
            e.raw(&operator.module_hash);
            e.raw(&operator.config_hash);
            e.varint(u64::from(operator.state_version));
            e.list(&operator.inputs, |e, it| e.string(it));
            e.option(operator.keyed.as_ref(), |e, keyed| {
                e.list(&keyed.columns, |e, it| e.string(it));
                e.varint(u64::from(keyed.tasks));
                e.string(&keyed.partitioner);
            });
        });
        e.string(&self.decoder);
        e.string(&self.engine);
        e.string(&self.isa);
    }

    fn decode(d: &mut Decoder<'_>, version: u32) -> Result<PipelineIdentity, DecodeError> {
        let has_graph = version >= MANIFEST_VERSION_3;
        Ok(PipelineIdentity {
            pipeline: d.string()?,
            guarantee: d.string()?,
            topics: d.list(|d| {
                Ok(TopicIdentity {
                    topic: d.string()?,
                    topic_id: d.option(|d| d.string())?,
                    partitions: d.varint_u32()?,
                })
            })?,
            operators: d.list(|d| {
                Ok(OperatorIdentity {
                    name: d.string()?,
                    module_hash: d.array()?,
                    config_hash: d.array()?,
                    state_version: d.varint_u32()?,
                    inputs: if has_graph { d.list(|d| d.string())? } else { Vec::new() },
                    keyed: if has_graph { d.option(decode_keyed)? } else { None },
                })
            })?,
            decoder: d.string()?,
            engine: d.string()?,
            isa: d.string()?,
        })
    }
}

fn decode_keyed(d: &mut Decoder<'_>) -> Result<KeyedIdentity, DecodeError> {
    Ok(KeyedIdentity {
        columns: d.list(|d| d.string())?,
        tasks: d.varint_u32()?,
        partitioner: d.string()?,
    })
}

fn encode_ref(e: &mut Encoder, manifest: ManifestRef) {
    e.varint(manifest.slot.0);
    e.raw(&manifest.id.0);
    e.varint(manifest.epoch.0);
}

fn decode_ref(d: &mut Decoder<'_>) -> Result<ManifestRef, DecodeError> {
    Ok(ManifestRef { slot: Slot(d.varint()?), id: EntryId(d.array()?), epoch: Epoch(d.varint()?) })
}

fn encode_part(e: &mut Encoder, part: &PartRef) {
    e.varint(u64::from(part.object));
    e.varint(part.start);
    e.varint(part.len);
}

fn decode_part(d: &mut Decoder<'_>) -> Result<PartRef, DecodeError> {
    Ok(PartRef { object: d.varint_u32()?, start: d.varint()?, len: d.varint()? })
}

fn decode_task(d: &mut Decoder<'_>, version: u32) -> Result<TaskEntry, DecodeError> {
    let topic = d.string()?;
    let partition = d.signed()?;
    let Ok(partition) = i32::try_from(partition) else {
        return d.invalid("a partition is over 32 bits");
    };
    Ok(TaskEntry {
        task: TopicPartition::new(&topic, partition),
        head: decode_part(d)?,
        memories: match version {
            MANIFEST_VERSION_1 => Vec::new(),
            _ => d.list(|d| d.list(decode_part))?,
        },
        state_hash: d.array()?,
        next_offset: Offset(d.signed()?),
        virtual_time: EventTime(d.signed()?),
        watermark: EventTime(d.signed()?),
        records: d.varint()?,
        in_flight_rows: match version {
            MANIFEST_VERSION => d.varint()?,
            _ => 0,
        },
    })
}

fn decode_sink(d: &mut Decoder<'_>) -> Result<SinkEntry, DecodeError> {
    Ok(SinkEntry {
        name: d.string()?,
        table: d.string()?,
        table_uuid: d.array()?,
        committable: Committable {
            rows: d.varint()?,
            file_count: d.varint_u32()?,
            file_bytes: d.varint()?,
            content: Bytes::copy_from_slice(d.bytes()?),
        },
        predecessor: d.option(decode_ref)?,
        committed: d.option(|d| {
            Ok(CommittedSnapshot {
                manifest: decode_ref(d)?,
                snapshot_id: d.signed()?,
                sequence_number: d.signed()?,
            })
        })?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> CheckpointManifest {
        let earlier = ManifestRef { slot: Slot(3), id: EntryId([3; 16]), epoch: Epoch(2) };
        CheckpointManifest {
            id: EntryId([7; 16]),
            epoch: Epoch(3),
            generation: Generation(2),
            predecessor: Some(earlier),
            identity: PipelineIdentity {
                pipeline: "payments".into(),
                guarantee: "exactly-once".into(),
                topics: vec![TopicIdentity {
                    topic: "payments".into(),
                    topic_id: Some("x".into()),
                    partitions: 4,
                }],
                operators: vec![OperatorIdentity {
                    name: "totals".into(),
                    module_hash: [1; 32],
                    config_hash: [2; 32],
                    state_version: 1,
                    inputs: vec!["parse.rows".into()],
                    keyed: Some(KeyedIdentity {
                        columns: vec!["merchant_id".into()],
                        tasks: 4,
                        partitioner: "floe-hash-1".into(),
                    }),
                }],
                decoder: "json-1".into(),
                engine: "wasmtime".into(),
                isa: "x86_64".into(),
            },
            objects: vec![ObjectRef { path: "parts/a".into(), len: 100, hash: [9; 32] }],
            tasks: vec![TaskEntry {
                task: TopicPartition::new("payments", 3),
                head: PartRef { object: 0, start: 10, len: 20 },
                memories: vec![vec![PartRef { object: 0, start: 30, len: 70 }], vec![]],
                state_hash: [4; 32],
                next_offset: Offset(17),
                virtual_time: EventTime(1_760_000_000_000),
                watermark: EventTime::MIN,
                records: 17,
                in_flight_rows: 0,
            }],
            sinks: vec![SinkEntry {
                name: "sink".into(),
                table: "lake.payments".into(),
                table_uuid: [5; 16],
                committable: Committable {
                    rows: 12,
                    file_count: 1,
                    file_bytes: 2048,
                    content: Bytes::from_static(b"files"),
                },
                predecessor: Some(earlier),
                committed: Some(CommittedSnapshot {
                    manifest: earlier,
                    snapshot_id: -5,
                    sequence_number: 2,
                }),
            }],
            created_ms: 1_760_000_000_001,
            savepoint: false,
        }
    }

    #[test]
    fn it_comes_back() {
        let manifest = example();
        assert_eq!(CheckpointManifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = example().encode();
        for len in 0..bytes.len() {
            assert!(CheckpointManifest::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
