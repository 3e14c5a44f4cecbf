//! The pipeline file: TOML text in, a checked `PipelineSpec` out, or every word of what is wrong and where.
//!
//! Pure: the text, the file's name and the environment come in as values.
//! No secret leaves it but through `Secret::expose` and `Properties::expose`.

pub mod columns;
mod dead_letters;
pub mod diagnose;
mod document;
mod environment;
mod paths;
mod recording;
mod resolve;
mod schema;
pub mod secret;
mod sink;
mod source;
mod time;
pub mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_schema::SchemaRef;
use arrow_schema::{Schema, TimeUnit};
use floe_core::event_time::{EventTimeColumn, WatermarkRule};
use floe_core::graph::Keyed;
use floe_core::ports::StartAt;
use floe_core::protocol::identity::NewPartitions;

pub use diagnose::ConfigError;
pub use resolve::TASKS_MAX;
pub use secret::{Properties, Secret};
pub use time::parse_timestamp;

pub use crate::overdue::Overtaking;
pub use crate::wiring::OnError;
pub use floe_core::protocol::guarantee::Guarantee;

/// A pipeline as its file describes it: every default filled in, every path absolute.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    /// The file, for messages.
    pub path: PathBuf,
    pub id: String,
    pub guarantee: Guarantee,
    /// At least one.
    pub sources: Vec<SourceSpec>,
    /// At least one.
    pub operators: Vec<OperatorSpec>,
    /// At least one.
    pub sinks: Vec<NamedSink>,
    pub checkpoint: CheckpointSpec,
    pub dead_letters: Option<DeadLettersSpec>,
    pub telemetry: TelemetrySpec,
    /// `None`: no epoch is run again.
    pub verify: Option<VerifySpec>,
    /// `None`: the input of epochs is not kept.
    pub recording: Option<RecordingSpec>,
    pub run: RunSpec,
}

#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// What operators call it.
    pub name: String,
    pub origin: Origin,
    /// Where a pipeline without a checkpoint begins.
    pub start: StartAt,
    pub format: Format,
    /// A record without a value is a row, with the columns that its key has. Else it is rejected.
    pub tombstone_rows: bool,
    /// The columns that values have, where the file says them.
    pub columns: Option<SchemaRef>,
    /// `None`: operators are told no watermark.
    pub event_time: Option<EventTimeSpec>,
    pub new_partitions: NewPartitions,
}

/// The column is found once the first operator is known: `EventTimeSpec::rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTimeSpec {
    /// `None`: the records' own timestamps.
    pub field: Option<String>,
    pub unit: Option<TimeUnit>,
    pub out_of_order: Duration,
    pub idle_after: Option<Duration>,
}

impl EventTimeSpec {
    /// `input` is what the first operator takes.
    pub fn rule(&self, input: &Schema) -> floe_core::Result<WatermarkRule> {
        let column = self.field.as_ref().map(|it| EventTimeColumn::find(input, it, self.unit));
        Ok(WatermarkRule {
            column: column.transpose()?,
            out_of_order: self.out_of_order,
            idle_after: self.idle_after,
        })
    }
}

#[derive(Clone, Debug)]
pub enum Origin {
    Kafka {
        topics: Topics,
        bootstrap_servers: String,
        properties: Properties,
    },
    Recording {
        file: PathBuf,
        /// Of its lines, where there are several sources; empty: all that it has.
        topics: Vec<String>,
    },
}

impl SourceSpec {
    /// Where there are several sources, all topics of this one; a source that is alone may have others, too.
    pub fn topics(&self) -> Vec<String> {
        match &self.origin {
            Origin::Kafka { topics: Topics::Named(names), .. } => names.clone(),
            Origin::Kafka { topics: Topics::Pattern(_), .. } => Vec::new(),
            Origin::Recording { topics, .. } => topics.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    Named(Vec<String>),
    /// A regular expression, without its slashes.
    Pattern(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Raw,
    Avro(SchemaOrigin),
    Protobuf {
        origin: SchemaOrigin,
        /// With a file: which of its messages values are. `None`: the first.
        message: Option<String>,
    },
}

/// Where the schema of values is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaOrigin {
    /// One for all values, in a file.
    File(PathBuf),
    /// By the id that each value begins with.
    Registry(RegistrySpec),
}

/// A schema registry that speaks Confluent's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySpec {
    /// At least one.
    pub urls: Vec<String>,
    /// user:password
    pub basic_auth: Option<Secret>,
    pub bearer_token: Option<Secret>,
    /// PEM files.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl SourceSpec {
    /// Where values name their schemas.
    pub fn registry(&self) -> Option<&RegistrySpec> {
        match &self.format {
            Format::Json | Format::Raw => None,
            Format::Avro(origin) | Format::Protobuf { origin, .. } => match origin {
                SchemaOrigin::Registry(registry) => Some(registry),
                SchemaOrigin::File(_) => None,
            },
        }
    }
}

#[derive(Clone, Debug)]
pub struct OperatorSpec {
    /// `None`: the module's own name.
    pub name: Option<String>,
    pub module: PathBuf,
    /// A plugin's name: whoever knows where plugins are sets `module`.
    pub plugin: Option<String>,
    /// JSON text with sorted keys: what `open` gets, and what the checkpoint keeps a hash of.
    pub config: String,
    pub on_error: OnError,
    /// "source", "operator" or "operator.output". Empty: the first output of the operator before it.
    pub input: Vec<String>,
    /// Outputs whose rows go nowhere.
    pub discard: Vec<String>,
    /// Where it begins a stage whose tasks share the keys.
    pub keyed: Option<Keyed>,
    pub limits: LimitsSpec,
}

/// How calls without an end are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metering {
    Time,
    Fuel,
}

/// Limits of one operator; `None` is the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsSpec {
    pub memory_bytes: Option<u64>,
    pub table_elements: Option<u64>,
    pub stack_bytes: Option<u64>,
    pub metering: Option<Metering>,
    pub time_per_batch: Option<Duration>,
    pub fuel_per_batch: Option<u64>,
    pub fuel_per_record: Option<u64>,
    pub output_per_batch_bytes: Option<u64>,
    pub compile_time: Option<Duration>,
    pub module_bytes: Option<u64>,
}

/// A sink, with its name in checkpoints and markers.
#[derive(Clone, Debug)]
pub struct NamedSink {
    pub name: String,
    /// "operator" or "operator.output". Empty: the first output of the last operator.
    pub input: Vec<String>,
    pub spec: SinkSpec,
}

/// Where rows go.
#[derive(Clone, Debug)]
pub enum SinkSpec {
    Table(TableSpec),
    Topic(TopicSpec),
}

impl SinkSpec {
    pub fn table(&self) -> Option<&TableSpec> {
        match self {
            SinkSpec::Table(table) => Some(table),
            SinkSpec::Topic(_) => None,
        }
    }

    /// The table's or the topic's name.
    pub fn name(&self) -> &str {
        match self {
            SinkSpec::Table(table) => &table.table,
            SinkSpec::Topic(topic) => &topic.topic,
        }
    }
}

/// A topic to publish to.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub topic: String,
    pub bootstrap_servers: String,
    /// Columns that make a record's key.
    pub key: Vec<String>,
    /// Records are command intents, and get an idempotency key.
    pub intents: bool,
    /// Any librdkafka property.
    pub properties: Properties,
}

/// An Iceberg table to write to.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// `namespace.table`.
    pub table: String,
    pub catalog: CatalogSpec,
    pub create: bool,
    pub partition_by: Vec<String>,
    pub branch: String,
    pub mode: WriteMode,
    pub schema_evolution: SchemaEvolution,
    /// Table properties, Java spelling.
    pub properties: Properties,
}

/// What becomes of the pipeline's own table when an operator's columns change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// Columns are added and numbers widened; the rest is refused.
    Additive,
    None,
}

/// What an epoch's rows are to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteMode {
    Append,
    /// The newest version of their keys' rows.
    Upsert {
        key: Vec<String>,
        /// The column that says whether a row is deleted, and is not stored.
        op_column: Option<String>,
    },
    /// All that the partitions have in which there are some.
    OverwritePartition,
}

#[derive(Clone, Debug)]
pub struct CatalogSpec {
    pub kind: CatalogKind,
    pub name: String,
    pub uri: Secret,
    /// A location for a SQL catalog; for REST a location or a name that the server knows.
    pub warehouse: Option<String>,
    /// Everything else, Java spelling: credential, token, oauth2-server-uri, s3.endpoint, …
    pub properties: Properties,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    Sql,
    Rest,
}

/// How a checkpoint finds what changed; it decides no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyPages {
    Auto,
    Userfaultfd,
    PageHashes,
}

#[derive(Clone, Debug)]
pub struct CheckpointSpec {
    /// A URL: file://, s3://, gs://, az://.
    pub store: String,
    pub interval: Duration,
    /// Checkpoints kept for people and for going back.
    pub keep: usize,
    /// Checkpoints to a table commit.
    pub commit_every: usize,
    /// Commits, and bytes of data files, that may wait for the catalog before the pipeline slows down.
    pub commits_pending_max: usize,
    pub dirty_pages: DirtyPages,
    pub commits_pending_bytes_max: u64,
    /// None: barriers wait until they are aligned.
    pub overtaking: Option<Overtaking>,
    /// The store's properties, Java spelling; the catalog's storage properties unless named here.
    pub properties: Properties,
}

#[derive(Clone, Debug)]
pub struct DeadLettersSpec {
    pub sink: SinkSpec,
    /// More than these between two checkpoints stop the pipeline.
    pub max: u64,
}

#[derive(Clone, Debug, Default)]
pub struct TelemetrySpec {
    pub listen: Option<SocketAddr>,
    pub log: LogFormat,
}

/// Which epochs are run again in the background, to see that they come out the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifySpec {
    /// Every so many epochs.
    pub one_of: u64,
    /// Of one core, on average.
    pub cpu_percent: u8,
    pub on_divergence: OnDivergence,
}

/// The input of epochs, kept beside the checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingSpec {
    pub keep_epochs: u64,
    /// Of one epoch, compressed.
    pub epoch_bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDivergence {
    Log,
    Stop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

#[derive(Clone, Debug)]
pub struct RunSpec {
    /// `None`: one for each core.
    pub workers: Option<usize>,
    pub batch_records_max: usize,
}

impl PipelineSpec {
    /// The first sink.
    pub fn sink(&self) -> &SinkSpec {
        &self.sinks[0].spec
    }

    /// The recording that all sources are parts of, where there is one.
    pub fn recording_file(&self) -> Option<&Path> {
        fn file(source: &SourceSpec) -> Option<&Path> {
            match &source.origin {
                Origin::Recording { file, .. } => Some(file),
                Origin::Kafka { .. } => None,
            }
        }
        let first = file(&self.sources[0])?;
        self.sources.iter().all(|it| file(it) == Some(first)).then_some(first)
    }

    /// A sink by its name; the first without one.
    pub fn sink_named(&self, name: Option<&str>) -> floe_core::Result<&NamedSink> {
        let Some(name) = name else { return Ok(&self.sinks[0]) };
        self.sinks.iter().find(|it| it.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.sinks.iter().map(|it| it.name.as_str()).collect();
            floe_core::Error::invalid(format!(
                "the pipeline has no sink {name:?}\n→ it has {}",
                known.join(", ")
            ))
        })
    }

    /// Reads a pipeline file's text. `path` is the file's name for messages and the base of relative paths,
    /// `env` looks up an environment variable.
    pub fn parse(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<PipelineSpec, ConfigError> {
        let mut source = diagnose::SourceText::new(text, path);
        let document = source.read(env)?;
        resolve::resolve(document, path, env).map_err(|problem| source.error_at(problem))
    }
}

/// An error at a place in a pipeline file, found by somebody who knows more than the file says.
/// `at`: keys from the top, such as "operator.0.config.key".
pub fn error_at(text: &str, path: &Path, at: &str, message: String, help: String) -> ConfigError {
    let problem = diagnose::Problem::new(at, message).help(help);
    diagnose::SourceText::new(text, path).error_at(problem)
}

/// The JSON schema of the pipeline file, for editors.
pub fn json_schema() -> serde_json::Value {
    document::json_schema()
}

#[cfg(test)]
mod tests;
