//! The traits through which the pipeline reaches the world. Each says what an implementor promises.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use crate::committable::{
    AppendRequest, CommitOutcome, CommitRequest, Committable, CommittedSnapshot, ManifestRef,
};
use crate::epoch::{Epoch, Generation};
use crate::error::{Error, Result};
use crate::event_time::EventTime;
use crate::image::{Capture, OperatorImage};
use crate::manifest::{CheckpointManifest, PipelineIdentity, SinkEntry};
use crate::position::{Offset, Position, TopicPartition};
use crate::protocol::judge::Marker;
use crate::protocol::orphans::{OrphansFound, SinkLog};
use crate::record::Records;
use crate::schema::{SchemaId, SchemaUse, WriterSchema};
use crate::task::CapturedTask;

/// One partition as the source sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    pub topic_partition: TopicPartition,
    /// The topic's identity where the source tells it; a topic made anew has another.
    pub topic_id: Option<String>,
    /// The first offset that can still be read.
    pub earliest: Offset,
    /// The offset behind the last record that can be read now.
    pub end: Offset,
}

/// Where a partition without a checkpoint begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    Latest,
    Timestamp(EventTime),
}

/// A replayable source. It blocks, so one thread of its own drives it.
///
/// Promises: any offset at or after `earliest` can be read again and gives the same record; records of
/// a partition come in offset order; it never moves a position by itself (no reset, no group rebalance).
pub trait Source: Send {
    /// Every partition of the topics, in order of topic and partition.
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>>;

    /// Turns a start into offsets, for the partitions named.
    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position>;

    /// Reads from these offsets on. An offset out of range is an error that names topic, partition,
    /// wanted and available offsets. Called again, it replaces the assignment.
    fn assign(&mut self, position: &Position) -> Result<()>;

    /// Waits up to `timeout` for records and hands out what is there: one `Records` per partition at the
    /// most, each of at most `records_max` records. Empty when nothing came.
    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>>;

    /// Tells people's dashboards how far the committed position is. Never read back.
    fn report(&mut self, committed: &Position) -> Result<()>;
}

/// What a module says of itself.
#[derive(Clone, Debug)]
pub struct OperatorDescription {
    pub name: String,
    pub version: String,
    pub state_version: u32,
    /// blake3 of the module's bytes as the user gave them.
    pub module_hash: [u8; 32],
    /// blake3 of the configuration that `open` gets.
    pub config_hash: [u8; 32],
    pub input: SchemaRef,
    /// Output names and schemas; output 0 goes to the next operator or the sink.
    pub outputs: Vec<(String, SchemaRef)>,
    /// It can tell its state as JSON.
    pub exports_state: bool,
    /// It can take a state that it, or another version of it, told.
    pub imports_state: bool,
}

/// An operator's state in its own words: what it can be given to other code by, as an image cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedState {
    /// The `state_version` of the module that told it.
    pub version: u32,
    /// JSON text.
    pub json: Bytes,
}

/// Makes instances of one operator: one per task.
pub trait OperatorFactory: Send + Sync {
    fn describe(&self) -> &OperatorDescription;

    /// A fresh instance: `_initialize`, then `open` with the configuration.
    fn open(&self, task: &TopicPartition, seed: u64) -> Result<Box<dyn Operator>>;

    /// The instance that the image, a whole one, was captured from, in every bit. Its next capture of
    /// changes is what differs from the image: a checkpoint holds it.
    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>>;

    /// The same operator with fuel counted in every call. Where a call of this one fails, or takes too long,
    /// it decides nothing: the counting one does, from an image of before, which fits both. `None`: this one
    /// counts already.
    fn counted(&self) -> Option<Arc<dyn OperatorFactory>> {
        None
    }

    /// A fresh instance that was opened and then took a state that another told. An error names what the
    /// operator said to it.
    fn import(
        &self,
        task: &TopicPartition,
        seed: u64,
        state: &ExportedState,
    ) -> Result<Box<dyn Operator>> {
        let _ = (task, seed, state);
        Err(no_state(&self.describe().name, "import_state"))
    }
}

/// How an operator without state exports says so.
pub fn no_state(operator: &str, function: &str) -> Error {
    Error::invalid(format!(
        "operator {operator} has no {function}: it cannot tell its state, or take it, outside of its memory\n  → Rust: #[operator(state(field, …))]; other languages: sdk/abi/ABI.md, A24 and A25"
    ))
}

/// One instance of an operator. Between calls it is at a quiescent point.
///
/// Promises: output is staged and handed back only when a call succeeds; after an error the instance is
/// never used again; nothing but its image, its input and the virtual time decides what it does.
pub trait Operator: Send {
    /// `virtual_time` is the greatest record timestamp of the task so far, this batch included.
    fn process(&mut self, batch: &RecordBatch, virtual_time: EventTime) -> Result<Staged>;

    fn watermark(&mut self, watermark: EventTime, virtual_time: EventTime) -> Result<Staged>;

    fn capture(&mut self, what: Capture) -> Result<OperatorImage>;

    /// The next capture of changes is whole: no checkpoint holds what this instance was restored from.
    fn forget_captures(&mut self);

    fn memory_bytes(&self) -> u64;

    /// Tells the state. The instance ends with it, so the telling changes nothing that goes on.
    fn export(self: Box<Self>) -> Result<ExportedState> {
        Err(no_state("", "export_state"))
    }

    /// A WebAssembly core dump: for people, also after an error. `None` where there is no WebAssembly.
    fn core_dump(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Fuel that the last call took, where calls are metered.
    fn last_fuel(&self) -> Option<u64> {
        None
    }
}

/// What one call of an operator left: output batches in the order of `emit`, and rejected rows.
#[derive(Clone, Debug, Default)]
pub struct Staged {
    /// (output, rows).
    pub emitted: Vec<(u32, RecordBatch)>,
    pub rejected: Vec<RejectedRow>,
}

/// A row of the input batch that the operator, or the decoder, would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    pub row: usize,
    pub reason: String,
}

/// Turns raw records into the columns that the first operator declares.
///
/// Promises: a pure function of the records and of the schemas that it says it used; `rows[i]` is the index of the record behind row `i`;
/// a record is either a row or a rejection, never both and never neither.
pub trait Decoder: Send {
    fn decode(&mut self, records: &Records) -> Result<Decoded>;

    /// For a re-execution: what an id meant to the run from here on.
    fn recall(&mut self, schema: SchemaUse) -> Result<()> {
        Err(Error::corrupt(format!(
            "the journal names schema {}, and values here have none",
            schema.id
        )))
    }
}

pub struct Decoded {
    pub batch: RecordBatch,
    /// For each row of `batch`, the index of its record. `None` when every record became a row.
    pub rows: Option<Vec<u32>>,
    /// `row` is the index of the record.
    pub rejected: Vec<RejectedRow>,
    /// What the ids in the values meant: each id once.
    pub schemas: Vec<SchemaUse>,
}

pub trait DecoderFactory: Send + Sync {
    /// Names the decoder and its version, for the manifest.
    fn name(&self) -> &str;

    fn decoder(&self) -> Box<dyn Decoder>;

    /// For the records of one partition: where there are several sources, each decodes in its own way.
    fn decoder_of(&self, partition: &TopicPartition) -> Box<dyn Decoder> {
        let _ = partition;
        self.decoder()
    }
}

/// The first phase of a sink: rows become data files that no reader of the table sees.
///
/// Promises: `write` may get rows of epoch n+1 while n is open, never after `prepare(n)` rows of n;
/// what `prepare` returns is durable; a file's name is unique to the attempt.
#[async_trait]
pub trait SinkWriter: Send {
    /// Before the first row, when the pipeline is ours and what earlier checkpoints carry is in the table:
    /// the table is made to take what will be written. Repeating it is harmless.
    async fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()>;

    /// Closes the epoch's files.
    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable>;

    /// Forgets all rows that were not prepared: the run goes back to a checkpoint and writes them again.
    fn abandon(&mut self);
}

/// The second phase of a sink: committables become visible, each once and in order.
#[async_trait]
pub trait Committer: Send + Sync {
    /// The table's identity and the newest marker of this pipeline and sink in it.
    ///
    /// `expected` is the newest verified commit that the checkpoints know of: it tells a rollback from an
    /// expiry where the history alone does not.
    async fn observe(&self, expected: Option<&CommittedSnapshot>) -> Result<TableFacts>;

    /// Commits through the guard (`protocol::judge`), then verifies by loading the table again.
    /// Repeating it is harmless: a commit that had been applied is found by its marker.
    /// `log` answers whether a manifest id is in this pipeline's log, read again when asked.
    async fn commit(&self, request: &CommitRequest, log: &dyn LogView) -> Result<CommitOutcome>;

    /// Commits without a guard, for at-least-once: a repeat adds the rows again. Verified as in `commit`;
    /// gives the snapshot's id.
    async fn append(&self, request: &AppendRequest) -> Result<i64>;

    /// Expires snapshots and deletes old metadata, as configured. Failures are the caller's to log.
    async fn maintain(&self) -> Result<()>;

    /// Deletes what attempts prepared for this sink and nobody names now, nor ever can, as
    /// `protocol::orphans` decides. `log` was read before. May be killed at any point.
    async fn sweep(&self, log: &SinkLog) -> Result<OrphansFound>;
}

/// What a committer may ask of the log while it judges.
#[async_trait]
pub trait LogView: Send + Sync {
    /// Where the manifest stands in our log, or how our log stands when it is not there.
    async fn find(&self, manifest: &ManifestRef) -> Result<LogAnswer>;

    /// The manifests that are kept, those of savepoints that stand below the log included. `None`: not all of
    /// them are known here.
    fn kept(&self) -> Option<Vec<(ManifestRef, Arc<CheckpointManifest>)>> {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAnswer {
    /// It is an entry of our log (or older than all that is kept, at a slot below the first kept).
    Known,
    /// It is none of ours, and no claim beyond our generation was found.
    Absent,
    /// The log holds a claim above our generation.
    FencedBy(Generation),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    pub table: String,
    pub table_uuid: [u8; 16],
    pub marker: Option<Marker>,
    /// For a marker: is the snapshot that it was written with still an ancestor of the branch head?
    pub marker_snapshot: MarkerSnapshot,
    /// The newest epoch in the summaries of the branch head and its ancestors that was committed ahead of
    /// its checkpoint.
    pub appended: Option<Epoch>,
}

/// What the walk over the parents of the branch head found (DESIGN §4: rolled back or expired).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerSnapshot {
    /// No marker, so nothing to look for.
    NoMarker,
    /// The committed snapshot is an ancestor of the head, or the head.
    Found,
    /// A parent is missing before it was found: old snapshots were expired; the property counts.
    Expired,
    /// A snapshot with a lower sequence number came first: the branch was rolled back.
    RolledBack,
}

/// The object store under a pipeline's prefix.
///
/// Promises: `put_if_absent` is atomic, durable when it returns, and visible to every later read; at most
/// one of several writers of a name gets `Created`. A lost answer is `ErrorKind::Unknown`.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put>;

    /// Overwrites. For hints only: nothing may depend on what it holds.
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()>;

    async fn get(&self, path: &str) -> Result<Option<Bytes>>;

    /// Deleting what is absent succeeds.
    async fn delete(&self, path: &str) -> Result<()>;

    /// The objects in a folder, in any order. It may show what is just being deleted, and miss what is
    /// just being written. For finding garbage alone: no state is ever found by listing.
    async fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// It is behind a network: what fails now may work in a minute.
    fn may_be_away(&self) -> bool {
        true
    }
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: String,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    Exists,
}

/// Where a pipeline keeps the schemas that its values were written with, for good.
#[async_trait]
pub trait KeptSchemas: Send + Sync {
    async fn get(&self, id: SchemaId) -> Result<Option<WriterSchema>>;

    /// Durable when it returns. An id keeps its first schema: another one is refused.
    async fn keep(&self, id: SchemaId, schema: &WriterSchema) -> Result<()>;
}

/// The wall clock. It may choose how and when to do something, never what a guest sees.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// A clock that never goes back.
    fn monotonic(&self) -> Duration;
}

/// The log of one pipeline, owned: the claim was made (I3, I7).
///
/// Promises: what `complete` returns is visible to every later reader; after an error of kind `Fenced`
/// nothing more is written.
#[async_trait]
pub trait CheckpointLog: Send {
    fn generation(&self) -> Generation;

    /// All kept manifests in the order of the log, each with its place.
    fn manifests(&self) -> Vec<(ManifestRef, Arc<CheckpointManifest>)>;

    fn view(&self) -> Arc<dyn LogView>;

    /// Counts requests to the store that were asked again while it did not answer.
    fn store_retries(&self) -> Arc<AtomicU64> {
        Arc::default()
    }

    /// Reads a checkpoint's parts, each verified by length, hash and state hash.
    async fn restore(&self, manifest: &CheckpointManifest) -> Result<Vec<CapturedTask>>;

    /// Writes the parts, then the manifest as the next entry: this completes the checkpoint (I1, I2).
    async fn complete(
        &mut self,
        draft: CheckpointDraft,
    ) -> Result<(ManifestRef, Arc<CheckpointManifest>)>;

    /// Did a person ask for a savepoint that no manifest has answered yet? One reads again what people
    /// wrote beside the log.
    async fn savepoint_asked(&mut self) -> Result<bool>;

    /// Deletes what no kept manifest names; never what is in `pending` (I8). Returns what was deleted.
    async fn sweep(&mut self, keep: usize, pending: &[ManifestRef]) -> Result<SweepReport>;
}

/// A checkpoint before it has a place in the log.
#[derive(Clone, Debug)]
pub struct CheckpointDraft {
    pub epoch: Epoch,
    pub identity: PipelineIdentity,
    pub tasks: Vec<CapturedTask>,
    pub sinks: Vec<SinkEntry>,
    pub created_ms: i64,
    pub savepoint: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub entries: u64,
    pub objects: u64,
}
