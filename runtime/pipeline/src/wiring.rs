//! What a run is made of: its settings, and the parts that somebody else connected.

use std::sync::Arc;
use std::time::Duration;

use floe_core::Epoch;
use floe_core::event_time::WatermarkRule;
use floe_core::graph::Graph;
use floe_core::ports::{
    CheckpointLog, Clock, Committer, DecoderFactory, OperatorFactory, SinkWriter, Source, StartAt,
};
use floe_core::protocol::advance::Backlog;
use floe_core::protocol::guarantee::Guarantee;
use floe_core::protocol::identity::NewPartitions;

use crate::drive::Driving;
use crate::overdue::Overtaking;

pub struct RunConfig {
    pub pipeline: String,
    pub guarantee: Guarantee,
    pub interval: Duration,
    /// Epochs to a commit, and completed checkpoints that may wait for theirs before input is held back.
    pub backlog: Backlog,
    /// When barriers overtake rows that wait for a slow task; none: they are aligned, always.
    pub overtaking: Option<Overtaking>,
    /// Checkpoints kept.
    pub keep: usize,
    pub workers: usize,
    pub batch_records_max: usize,
    /// Stop at the ends that the partitions have at the start.
    pub until_end: bool,
    /// The run is one epoch: its only barrier is behind the last record, and a stop before it leaves nothing.
    pub one_epoch: bool,
    /// In the order of the graph's sources.
    pub sources: Vec<SourceConfig>,
    pub new_partitions: NewPartitions,
    /// Dead letters between two checkpoints and a worker, before the pipeline stops.
    pub dead_letters_max: u64,
    pub engine: String,
    pub isa: String,
    pub driving: Driving,
}

/// How one of the sources is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Where a partition without a checkpoint begins.
    pub start: StartAt,
    /// `None`: no operator is told a watermark.
    pub event_time: Option<WatermarkRule>,
}

/// What to do with a record that the decoder or an operator would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Fail,
    Skip,
    DeadLetter,
}

pub struct OperatorWiring {
    pub name: String,
    pub factory: Arc<dyn OperatorFactory>,
    pub on_error: OnError,
}

pub struct SinkWiring {
    pub name: String,
    pub table: String,
    pub table_uuid: [u8; 16],
    pub writer: Box<dyn SinkWriter>,
    pub committer: Arc<dyn Committer>,
}

pub struct Wiring {
    /// All sources as one.
    pub source: Box<dyn Source>,
    pub decoder: Arc<dyn DecoderFactory>,
    pub operators: Vec<OperatorWiring>,
    /// Which sources and outputs operators and sinks take.
    pub graph: Graph,
    /// In the order of the graph, which is that of their commits.
    pub sinks: Vec<SinkWiring>,
    pub dead_letters: Option<SinkWiring>,
    pub log: Box<dyn CheckpointLog>,
    pub clock: Arc<dyn Clock>,
}

/// What a run did, for its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    pub epochs: u64,
    pub records: u64,
    pub rows: u64,
    pub rejected: u64,
    pub last_epoch: Option<Epoch>,
}
