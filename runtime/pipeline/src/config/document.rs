//! The pipeline file as serde reads it: the names and their meanings, which are also the editors' schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::config::secret::Properties;
use crate::config::units::{HumanBytes, HumanDuration};

/// A floe pipeline: records from a source, through WebAssembly operators, into an Iceberg table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) pipeline: PipelineTable,
    pub(super) source: SourceTables,
    /// The operators in order; each takes what the one before it emits, unless it says another `input`.
    #[serde(default)]
    pub(super) operator: Vec<OperatorTable>,
    pub(super) sink: SinkTables,
    #[serde(default)]
    pub(super) checkpoint: CheckpointTable,
    pub(super) dead_letters: Option<DeadLettersTable>,
    #[serde(default)]
    pub(super) telemetry: TelemetryTable,
    pub(super) verify: Option<VerifyTable>,
    pub(super) recording: Option<RecordingTable>,
    #[serde(default)]
    pub(super) run: RunTable,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PipelineTable {
    /// Stable for ever: names the checkpoints, the marker in the table and the consumer group.
    pub(super) id: String,
    /// What the table looks like after failures. Default "exactly-once".
    pub(super) guarantee: Option<GuaranteeName>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::enum_variant_names, reason = "these are their names in the file")]
pub(super) enum GuaranteeName {
    /// Each record's rows are in the table once, whatever fails.
    ExactlyOnce,
    /// Rows of the last epoch may come again after a crash; state is exact.
    AtLeastOnce,
    /// Rows of an epoch may be missing after a crash, and none comes twice; state is exact.
    AtMostOnce,
}

/// `[source]`, or `[[source]]` once for each of several.
#[derive(Debug)]
pub(super) struct SourceTables {
    pub(super) all: Vec<SourceTable>,
    /// They stand in a list, also where it is one.
    pub(super) listed: bool,
}

impl<'de> Deserialize<'de> for SourceTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (all, listed) = deserializer.deserialize_any(OneOrList {
            expecting: "[source], or [[source]] once for each of several",
            item: PhantomData,
        })?;
        Ok(SourceTables { all, listed })
    }
}

impl JsonSchema for SourceTables {
    fn schema_name() -> Cow<'static, str> {
        "Sources".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        one_or_list(&generator.subschema_for::<SourceTable>())
    }
}

/// Where records come from: `kafka` or `recording`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SourceTable {
    /// What operators call it in `input`, and what `_source` says. Of several sources each has one.
    pub(super) name: Option<String>,
    /// A topic, a list of topics, or a pattern between slashes: "/payments-.*/".
    pub(super) kafka: Option<OneOrMany>,
    /// A recording file: one JSON record a line, in place of Kafka.
    pub(super) recording: Option<String>,
    /// Of a recording, where there are several sources: the topics of its lines that are this source's. Default:
    /// the file's name without its ending.
    pub(super) topics: Option<OneOrMany>,
    /// host:port, several with commas. Default: the environment variable FLOE_KAFKA.
    pub(super) bootstrap_servers: Option<String>,
    /// Where a pipeline without a checkpoint begins: "earliest" (default), "latest" or a timestamp.
    pub(super) start: Option<String>,
    /// How a record's value is decoded to what the first operator declares. Default "json".
    pub(super) format: Option<FormatName>,
    /// What a record without a value is, but for "raw": "reject" (default), or "row": a row whose columns are null but
    /// those that the record's key has, where it is a JSON object.
    pub(super) tombstones: Option<TombstonesName>,
    /// For "avro" and "protobuf": the file (.avsc, .proto) with the schema that all values were written by, with nothing in front of them.
    pub(super) schema: Option<String>,
    /// For "protobuf" with `schema`: the full name of the message that values are. Default: the file's first.
    pub(super) message: Option<String>,
    /// For "avro" and "protobuf": the registry that knows the schema whose id each value begins with.
    pub(super) schema_registry: Option<RegistryTable>,
    /// Tells operators a watermark, which timers and windows follow. Default: none is told.
    pub(super) event_time: Option<EventTimeTable>,
    /// The columns of the values, in order, for a first operator that takes any: ["id: string",
    /// "amount: long?"]. Default: what the first operator declares that declares something.
    pub(super) columns: Option<Vec<String>>,
    /// What to do about partitions that the checkpoint does not know. Default "fail".
    pub(super) new_partitions: Option<NewPartitionsName>,
    /// Any librdkafka property.
    #[serde(default)]
    pub(super) properties: Properties,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TombstonesName {
    Reject,
    Row,
}

/// A schema registry that speaks Confluent's API. The names are those of Confluent's clients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RegistryTable {
    /// "https://host:8081", or a list of them: the next is asked where one does not answer.
    pub(super) url: OneOrMany,
    /// user:password
    pub(super) basic_auth_user_info: Option<String>,
    /// A token, in place of user and password.
    pub(super) bearer_auth_token: Option<String>,
    /// A PEM file with certificates to trust besides the usual ones.
    pub(super) ssl_ca_location: Option<String>,
    /// A PEM file with a certificate of our own, and one with its key.
    pub(super) ssl_certificate_location: Option<String>,
    pub(super) ssl_key_location: Option<String>,
}

/// Where a record's event time is, and how far the watermark stays behind it. `{}` is good.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct EventTimeTable {
    /// A column that the first operator takes. Default: the records' own timestamps.
    pub(super) field: Option<String>,
    /// What a number in it counts since 1970: "s", "ms" (default), "us" or "ns".
    pub(super) unit: Option<UnitName>,
    /// How far a record may lie behind the newest one of its partition and not be late. Default "0s".
    pub(super) out_of_order: Option<HumanDuration>,
    /// A partition without records for this long follows the watermark of the others. Default: never.
    pub(super) idle_after: Option<HumanDuration>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UnitName {
    S,
    Ms,
    Us,
    Ns,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FormatName {
    /// A JSON object a record; its fields are the operator's columns.
    Json,
    /// An Avro record whose fields are the operator's columns, by `schema` or `schema-registry`.
    Avro,
    /// A Protobuf message whose fields are the operator's columns, by `schema` or `schema-registry`.
    Protobuf,
    /// Nothing is decoded: the operator takes `_value`.
    Raw,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NewPartitionsName {
    /// Stop and say so: keys may have moved between partitions, and state stays where it was.
    Fail,
    /// Begin them at `start`.
    Start,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OperatorTable {
    /// Default: the module's own name.
    pub(super) name: Option<String>,
    /// The WebAssembly module, relative to this file.
    pub(super) module: Option<String>,
    /// A ready-made operator in place of a module: `floe plugin list`.
    pub(super) plugin: Option<String>,
    /// Anything; the operator's `open` gets it as JSON.
    #[serde(default)]
    pub(super) config: serde_json::Map<String, serde_json::Value>,
    /// What it takes: sources by their names, and outputs of operators before it, "operator" or
    /// "operator.output". Default: the first output of the operator before it.
    pub(super) input: Option<OneOrMany>,
    /// Outputs whose rows go nowhere.
    #[serde(default)]
    pub(super) discard: Vec<String>,
    /// Columns of its input: all rows with the same values in them go to the same task, whatever partition they
    /// come from. The operators behind it go with it.
    #[serde(default)]
    pub(super) key_by: Vec<String>,
    /// With `key-by`: how many tasks share the keys. `floe upgrade --tasks` changes it.
    pub(super) tasks: Option<u32>,
    /// What becomes of a record that cannot be decoded, that the operator rejects, or that makes it
    /// trap. Default "fail".
    pub(super) on_error: Option<OnErrorName>,
    #[serde(default)]
    pub(super) limits: LimitsTable,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnErrorName {
    /// Stop the pipeline and name the record.
    Fail,
    /// Count it and go on.
    Skip,
    /// Write it to the table of [dead-letters] and go on.
    DeadLetter,
}

/// What one instance of the operator may use; each has a default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) memory: Option<HumanBytes>,
    pub(super) table_elements: Option<u64>,
    /// How deep its calls may nest, in bytes of the machine's stack, 64KiB to 256MiB. Default 1MiB.
    pub(super) stack: Option<HumanBytes>,
    /// How a call without an end is found. Default "time".
    pub(super) metering: Option<MeteringName>,
    /// What a call may work before its task goes back to the checkpoint and counts fuel, which decides. Default 2s.
    pub(super) time_per_batch: Option<HumanDuration>,
    /// Instructions, roughly, that one batch may take where fuel is counted.
    pub(super) fuel_per_batch: Option<u64>,
    /// Instructions, roughly, that each record adds to that.
    pub(super) fuel_per_record: Option<u64>,
    pub(super) output_per_batch: Option<HumanBytes>,
    pub(super) compile_time: Option<HumanDuration>,
    pub(super) module_size: Option<HumanBytes>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MeteringName {
    /// By the time that it works; then again with fuel counted, until the next checkpoint.
    Time,
    /// By its fuel, counted in every call: slower by a half.
    Fuel,
}

/// `[sink]`, or `[[sink]]` once for each of several.
#[derive(Debug)]
pub(super) struct SinkTables {
    pub(super) all: Vec<SinkTable>,
    /// They stand in a list, also where it is one.
    pub(super) listed: bool,
}

impl<'de> Deserialize<'de> for SinkTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (all, listed) = deserializer.deserialize_any(OneOrList {
            expecting: "[sink], or [[sink]] once for each of several",
            item: PhantomData,
        })?;
        Ok(SinkTables { all, listed })
    }
}

/// A table, or an array of tables; gives them, and whether they stand in an array.
struct OneOrList<T> {
    expecting: &'static str,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrList<T> {
    type Value = (Vec<T>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<Self::Value, A::Error> {
        let one = T::deserialize(MapAccessDeserializer::new(keys))?;
        Ok((vec![one], false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok((all, true))
    }
}

fn one_or_list(one: &Schema) -> Schema {
    json_schema!({
        "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }]
    })
}

impl JsonSchema for SinkTables {
    fn schema_name() -> Cow<'static, str> {
        "Sinks".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        one_or_list(&generator.subschema_for::<SinkTable>())
    }
}

/// The Iceberg table, or the Kafka topic, that rows go to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SinkTable {
    /// Stable for ever: names the marker in the table. Default "sink", which only one may have.
    pub(super) name: Option<String>,
    /// The outputs whose rows it takes: "operator" or "operator.output". Default: the first output of the last
    /// operator.
    pub(super) input: Option<OneOrMany>,
    /// namespace.table
    pub(super) iceberg: Option<String>,
    /// A topic, in place of a table: an epoch's records show in it by one transaction.
    pub(super) kafka: Option<String>,
    /// The table's catalog.
    pub(super) catalog: Option<CatalogTable>,
    /// The topic's brokers. Default: the environment variable FLOE_KAFKA.
    pub(super) bootstrap_servers: Option<String>,
    /// Columns that make a record's key in the topic, where records of one key keep their order; or a row's key in
    /// a table of mode "upsert".
    #[serde(default)]
    pub(super) key: Vec<String>,
    /// Under mode "upsert", the column that says whether a row's key is gone: a string ("d" or "delete"; "c", "u", …
    /// are upserts) or a boolean (true). It is not stored. Default: "_op", where the operator emits it.
    pub(super) op_column: Option<String>,
    /// The topic's records are command intents: each gets an idempotency key for `floe effects`.
    pub(super) intents: Option<bool>,
    /// Make the table from the operator's output if it is not there. Default true.
    pub(super) create: Option<bool>,
    /// Partition transforms for a table that is made: "day(ts)", "bucket(16, merchant_id)", "truncate(4, x)", "x".
    #[serde(default)]
    pub(super) partition_by: Vec<String>,
    /// Default "append".
    pub(super) mode: Option<ModeName>,
    /// When operators emit other columns than the pipeline's table has. Default "additive".
    pub(super) schema_evolution: Option<SchemaEvolutionName>,
    /// The table's branch to commit to. Default "main".
    pub(super) branch: Option<String>,
    /// Table properties in Java's spelling, such as "write.target-file-size-bytes"; of a topic, any librdkafka
    /// property.
    #[serde(default)]
    pub(super) properties: Properties,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ModeName {
    /// Rows are added.
    Append,
    /// Rows replace those of their key.
    Upsert,
    /// A run with --until-end replaces the partitions that it has rows for, all of them in one snapshot.
    OverwritePartition,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SchemaEvolutionName {
    /// The next run adds columns as optional ones and widens numbers; anything else is refused.
    Additive,
    /// The table stays as it is: `floe check --fix-table` changes it.
    None,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CheckpointTable {
    /// file://, s3://, gs:// or az://. Default: .floe/checkpoints beside the sink's warehouse.
    pub(super) store: Option<String>,
    /// Default "10s".
    pub(super) interval: Option<HumanDuration>,
    /// Checkpoints kept. Default 10.
    pub(super) keep: Option<u32>,
    /// The table is committed to every n checkpoints, and when no records come. Default 1.
    pub(super) commit_every: Option<u32>,
    /// Commits that may wait for the catalog. Default 4.
    pub(super) commits_pending_max: Option<u32>,
    /// How a checkpoint finds the pages of state that changed. Default "auto".
    pub(super) dirty_pages: Option<DirtyPagesName>,
    /// Bytes of data files that may wait for the catalog. Default "1GiB".
    pub(super) commits_pending_bytes_max: Option<HumanBytes>,
    /// A barrier that is out for longer overtakes rows that wait for a slow task behind key-by: they are kept in
    /// the checkpoint, and are in the tables with the next one. Default: none, barriers wait.
    pub(super) alignment_timeout: Option<HumanDuration>,
    /// Bytes that a barrier may overtake at one worker; with more it waits. Default "64MiB".
    pub(super) in_flight_bytes_max: Option<HumanBytes>,
    /// The store's properties in Java's spelling; default: those of the sink's catalog.
    #[serde(default)]
    pub(super) properties: Properties,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DirtyPagesName {
    /// userfaultfd where the kernel and the container allow it, else page hashes.
    Auto,
    /// The kernel keeps the books; refused where it does not.
    Userfaultfd,
    /// The hashes of all pages are compared in the pause: 74 ms a GiB.
    PageHashes,
}

/// Where records go that were not taken: a table (`iceberg`) or a topic (`kafka`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct DeadLettersTable {
    /// namespace.table
    pub(super) iceberg: Option<String>,
    /// A table's. Default: the sink's.
    pub(super) catalog: Option<CatalogTable>,
    /// A topic, which must be there. Each letter is a JSON object; its key and value are hexadecimal.
    pub(super) kafka: Option<String>,
    /// A topic's. Default: FLOE_KAFKA.
    pub(super) bootstrap_servers: Option<String>,
    /// A topic's: any librdkafka property.
    pub(super) properties: Option<Properties>,
    /// Stop when more than these arrive between two checkpoints. Default 1000.
    pub(super) max: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TelemetryTable {
    /// host:port for the status page, /metrics, /live and /ready. Default: none.
    pub(super) listen: Option<String>,
    /// Default "human".
    pub(super) log: Option<LogName>,
}

/// Epochs that are run again in the background, to see that they come out the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VerifyTable {
    /// "1 of 100 epochs".
    pub(super) sample: String,
    /// Share of one core that it may take on average: "10%" (default).
    pub(super) cpu: Option<String>,
    /// What to do when an epoch comes out otherwise. Default "log".
    pub(super) on_divergence: Option<OnDivergenceName>,
}

/// The input of the last epochs, kept beside the checkpoints: replay and bundle then need no Kafka.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RecordingTable {
    /// "10 epochs".
    pub(super) keep: String,
    /// What one epoch may take, compressed; a larger one is not kept. Default "256MiB".
    pub(super) epoch_max: Option<HumanBytes>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnDivergenceName {
    /// Log an error, count it, and go on.
    Log,
    /// Stop in order, with exit code 5.
    Stop,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogName {
    Human,
    Json,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RunTable {
    /// Threads that run operators. Default: one for each core.
    pub(super) workers: Option<u32>,
    /// Records that an operator gets in one call, at the most: 1 to 65536. Default 8192.
    pub(super) batch_records: Option<u32>,
}

/// A catalog: `type`, `uri`, `warehouse`, `name`, and any property in Java's spelling.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct CatalogTable(pub(super) Properties);

impl JsonSchema for CatalogTable {
    fn schema_name() -> Cow<'static, str> {
        "Catalog".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let property = |text: &str| serde_json::json!({ "type": "string", "description": text });
        json_schema!({
            "description": "A catalog, with any further property in Java's spelling.",
            "type": "object",
            "required": ["type", "uri"],
            "properties": {
                "type": { "enum": ["sql", "rest"] },
                "uri": property("sqlite://FILE, postgres://…, or the REST catalog's http(s)://…"),
                "warehouse": property("Where tables live, or a name that the REST catalog knows."),
                "name": property("The catalog's own name. Default \"floe\"."),
                "credential": property("client-id:client-secret for OAuth2."),
                "token": property("A bearer token."),
                "oauth2-server-uri": property("Default: the catalog's own /v1/oauth/tokens.")
            },
            "additionalProperties": { "type": ["string", "number", "boolean"] }
        })
    }
}

/// "a" or ["a", "b"].
#[derive(Debug)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopicsVisitor;
        impl<'de> Visitor<'de> for TopicsVisitor {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a topic or a list of topics")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut many = Vec::new();
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(TopicsVisitor)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "Topics".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 }
            ]
        })
    }
}

pub(super) fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "floe pipeline".into());
    }
    schema
}
