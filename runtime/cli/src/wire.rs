//! The one place that names Kafka, wasmtime and Iceberg together: from a spec to connected parts.

mod graph;
pub(crate) mod schemas;
mod sources;
mod tables;
mod topic;

pub(crate) use graph::port_name;
pub(crate) use sources::{Decoding, decoder_to, decoding, recording_topic, source, source_decoder};
pub(crate) use tables::{
    SinkSwept, begin_branches, check_tables, commits, epoch_rows, fix_tables, publish, rows,
    stored_rows, sweep_prepared, table_at, table_histories,
};
pub(crate) use topic::topic_reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use floe_checkpoint::claim::PATIENCE;
use floe_checkpoint::{
    ClaimRequest, OwnedLog, OwnerIdentity, claim as claim_log, open_store, process_alive,
    random_ids, read_log,
};
use floe_core::committable::CommittedSnapshot;
use floe_core::event_time::WatermarkRule;
use floe_core::graph::{Graph, OperatorNode};
use floe_core::ports::{Clock, ObjectStore, OperatorFactory, TableFacts};
use floe_core::protocol::guarantee::Order;
use floe_core::protocol::identity::STACKS;
use floe_core::{Error, ErrorKind, Result};
use floe_operator::{DirtyPages, Engine, Factory, Limits, Metering};
use floe_pipeline::config::{
    self, CatalogKind, CatalogSpec, LimitsSpec, OnError, PipelineSpec, SchemaEvolution, SinkSpec,
    SourceSpec, TableSpec, WriteMode,
};
use floe_pipeline::dead_letter::dead_letter_schema;
use floe_pipeline::run::{OperatorWiring, SinkWiring};
use floe_sink::iceberg::{CatalogConfig, IcebergSink, TableConfig, UpsertConfig};

use crate::show::{self, short_hex};
use crate::telemetry::facts::wall_ms;

/// The name of the table of dead letters in checkpoints and markers.
pub(crate) const DEAD_LETTERS: &str = "dead-letters";

/// A loaded module, ready to be instantiated.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) factory: Arc<dyn OperatorFactory>,
    pub(crate) on_error: OnError,
}

impl Module {
    pub(crate) fn into_wiring(self) -> OperatorWiring {
        OperatorWiring { name: self.name, factory: self.factory, on_error: self.on_error }
    }

    pub(crate) fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn on_error_name(&self) -> &'static str {
        match self.on_error {
            OnError::Fail => "fail",
            OnError::Skip => "skip",
            OnError::DeadLetter => "dead-letter",
        }
    }
}

/// The chain of operators, loaded.
pub(crate) struct Modules {
    pub(crate) chain: Vec<Module>,
    /// Which outputs operators and sinks take.
    pub(crate) graph: Graph,
    /// What of the engine decides results.
    pub(crate) engine: String,
    /// The method by which checkpoints find changed pages here.
    pub(crate) dirty_pages: String,
    /// For each source; `None`: no operator is told a watermark.
    pub(crate) event_time: Vec<Option<WatermarkRule>>,
}

impl Modules {
    /// What reaches a sink, by its number.
    pub(crate) fn output(&self, sink: usize) -> Result<SchemaRef> {
        let ports = &self.graph.sinks[sink];
        let first = ports.first().ok_or_else(|| Error::invalid("a sink takes no output"))?;
        let rows = graph::schema_of(&self.chain, *first)?;
        for port in &ports[1..] {
            graph::same_columns(&self.chain, *first, *port)?;
        }
        Ok(rows)
    }
}

/// Modules and tables, connected.
pub(crate) struct Opened {
    pub(crate) modules: Modules,
    pub(crate) decoding: Decoding,
    /// In the order of the pipeline file.
    pub(crate) sinks: Vec<SinkWiring>,
    pub(crate) dead_letters: Option<SinkWiring>,
}

/// The modules of the chain, each fitting the one before it, for a run.
pub(crate) fn modules(spec: &PipelineSpec) -> Result<Modules> {
    let dirty_pages = match spec.checkpoint.dirty_pages {
        config::DirtyPages::Auto => DirtyPages::Auto,
        config::DirtyPages::Userfaultfd => DirtyPages::Userfaultfd,
        config::DirtyPages::PageHashes => DirtyPages::PageHashes,
    };
    let engine = Engine::with_dirty_pages(Some(module_cache()), dirty_pages)?;
    modules_with(spec, &engine, &|spec| limits(spec))
}

/// For what a journal says: fuel is counted, and no clock stops a call. It is the code as its author built
/// it, without polls, so that the DWARF fits.
pub(crate) fn modules_in(spec: &PipelineSpec, engine: &Arc<Engine>) -> Result<Modules> {
    modules_with(spec, engine, &|spec| limits(spec).for_replay())
}

fn modules_with(
    spec: &PipelineSpec,
    engine: &Arc<Engine>,
    limits_of: &dyn Fn(&LimitsSpec) -> Limits,
) -> Result<Modules> {
    let mut chain: Vec<Module> = Vec::new();
    let mut nodes: Vec<OperatorNode> = Vec::new();
    for operator in &spec.operators {
        let limits = limits_of(&operator.limits);
        let module = load_module(engine, &operator.module, &limits)?;
        let name = operator.name.clone().unwrap_or_else(|| module.name().to_owned());
        if chain.iter().any(|it| it.name == name) {
            return Err(Error::invalid(format!(
                "two operators are named {name:?}\n→ give one of them another name in [[operator]]"
            )));
        }
        let config = operator.config.clone();
        let factory = if module.is_configurable() {
            let upstream = upstream(spec, engine, &chain, &nodes, limits_of)?;
            Factory::configured(&name, module, config, upstream, limits)?
        } else {
            Factory::new(&name, module, config, limits)
        };
        for port in graph::taken(spec, &nodes, chain.len())?.ports {
            graph::fits(&chain, port, &name, &factory.describe().input)?;
        }
        graph::check_key(spec, chain.len(), factory.describe())?;
        nodes.push(graph::node(operator, &name, factory.describe()));
        chain.push(Module {
            name,
            file: operator.module.clone(),
            factory: Arc::new(factory),
            on_error: operator.on_error,
        });
    }
    let graph = graph::graph(spec, &nodes)?;
    let rule = |(source, reader): (&SourceSpec, &usize)| {
        let input = &chain[*reader].factory.describe().input;
        source.event_time.as_ref().map(|it| it.rule(input)).transpose()
    };
    let event_time = spec.sources.iter().zip(&graph.readers).map(rule).collect::<Result<_>>()?;
    let dirty_pages = engine.dirty_pages();
    let engine = engine.settings() + &stacks(spec, &chain);
    Ok(Modules { chain, graph, engine, dirty_pages, event_time })
}

/// The stacks that are not the default, as a checkpoint's identity tells them.
fn stacks(spec: &PipelineSpec, chain: &[Module]) -> String {
    let default = Limits::default().stack_bytes;
    let set: BTreeMap<&str, u64> = spec
        .operators
        .iter()
        .zip(chain)
        .filter_map(|(it, module)| Some((module.name.as_str(), it.limits.stack_bytes?)))
        .filter(|(_, bytes)| *bytes != default)
        .collect();
    match set.is_empty() {
        true => String::new(),
        false => format!("{STACKS}{}", serde_json::json!(set)),
    }
}

/// The operator's stack when a checkpoint with this engine in its identity was made.
pub(crate) fn stack_bytes_then(engine: &str, operator: &str) -> Result<u64> {
    let default = Limits::default().stack_bytes;
    let Some((_, set)) = engine.split_once(STACKS) else { return Ok(default) };
    let set: BTreeMap<String, u64> = serde_json::from_str(set).map_err(|error| {
        Error::corrupt(format!("the stacks of operators in a checkpoint's identity: {error}"))
    })?;
    Ok(set.get(operator).copied().unwrap_or(default))
}

/// What the next operator of the chain gets, as far as it is known before that one says what it takes: the
/// rows of the operator before; of a source, its columns, of several all of theirs; where a single source
/// says none, those of the first operator that says some.
fn upstream(
    spec: &PipelineSpec,
    engine: &Arc<Engine>,
    chain: &[Module],
    nodes: &[OperatorNode],
    limits_of: &dyn Fn(&LimitsSpec) -> Limits,
) -> Result<Option<SchemaRef>> {
    let taken = graph::taken(spec, nodes, chain.len())?;
    if let Some(port) = taken.ports.first() {
        return graph::schema_of(chain, *port).map(Some);
    }
    let said: Vec<&SchemaRef> =
        taken.sources.iter().filter_map(|it| spec.sources[*it].columns.as_ref()).collect();
    if !said.is_empty() || spec.sources.len() > 1 {
        return sources::columns_of_all(&said, taken.sources.len());
    }
    for operator in &spec.operators {
        let module = load_module(engine, &operator.module, &limits_of(&operator.limits))?;
        if !module.is_configurable() {
            return Ok(Some(Arc::clone(module.input())));
        }
    }
    Ok(None)
}

pub(crate) fn load_module(
    engine: &Arc<Engine>,
    file: &Path,
    limits: &Limits,
) -> Result<Arc<floe_operator::Module>> {
    let bytes = std::fs::read(file).map_err(|error| {
        // Where `floe build` puts what it builds of a folder.
        let built = file.ends_with("target/floe/operator.wasm");
        let hint = match file.ancestors().nth(3) {
            Some(folder) if built => format!("\n  → build it: floe build {}", folder.display()),
            _ => String::new(),
        };
        Error::invalid(format!("module {} cannot be read: {error}{hint}", file.display()))
    })?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    engine.load(&name, &bytes, limits)
}

/// Where compiled modules are kept.
pub(crate) fn module_cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("FLOE_CACHE") {
        return folder.into();
    }
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    caches.unwrap_or_else(std::env::temp_dir).join("floe").join("modules")
}

fn limits(spec: &LimitsSpec) -> Limits {
    let default = Limits::default();
    Limits {
        memory_bytes: spec.memory_bytes.unwrap_or(default.memory_bytes),
        table_elements: spec.table_elements.unwrap_or(default.table_elements),
        stack_bytes: spec.stack_bytes.unwrap_or(default.stack_bytes),
        metering: match spec.metering {
            None | Some(config::Metering::Time) => Metering::Time,
            Some(config::Metering::Fuel) => Metering::Fuel,
        },
        time_per_batch: spec.time_per_batch.unwrap_or(default.time_per_batch),
        fuel_per_batch: spec.fuel_per_batch.unwrap_or(default.fuel_per_batch),
        fuel_per_record: spec.fuel_per_record.unwrap_or(default.fuel_per_record),
        output_bytes_per_batch: spec
            .output_per_batch_bytes
            .unwrap_or(default.output_bytes_per_batch),
        compile_time: spec.compile_time.unwrap_or(default.compile_time),
        module_bytes: spec.module_bytes.unwrap_or(default.module_bytes),
    }
}

/// Loads the modules and opens the tables, made if they are not there.
pub(crate) async fn open(spec: &Arc<PipelineSpec>) -> Result<Opened> {
    let for_modules = Arc::clone(spec);
    let modules = blocking(move || modules(&for_modules)).await?;
    let decoding = decoding(spec, &modules)?;
    let (sinks, dead_letters) = tokio::try_join!(open_sinks(spec, &modules), async {
        match &spec.dead_letters {
            None => Ok(None),
            Some(it) => {
                let rows = dead_letter_schema();
                let opened = match &it.sink {
                    SinkSpec::Table(table) => open_table(spec, DEAD_LETTERS, table, rows).await,
                    SinkSpec::Topic(topic) => topic::open(spec, DEAD_LETTERS, topic, &rows).await,
                };
                opened.map(Some)
            }
        }
    })?;
    Ok(Opened { modules, decoding, sinks, dead_letters })
}

async fn open_sinks(spec: &PipelineSpec, modules: &Modules) -> Result<Vec<SinkWiring>> {
    let mut sinks = Vec::new();
    for (number, sink) in spec.sinks.iter().enumerate() {
        let rows = modules.output(number)?;
        let opened = match &sink.spec {
            SinkSpec::Table(table) => open_table(spec, &sink.name, table, rows).await,
            SinkSpec::Topic(topic) => topic::open(spec, &sink.name, topic, &rows).await,
        };
        sinks.push(opened.map_err(|error| name_operator(error, modules, number))?);
    }
    Ok(sinks)
}

async fn open_table(
    spec: &PipelineSpec,
    name: &str,
    table: &TableSpec,
    rows: SchemaRef,
) -> Result<SinkWiring> {
    let catalog = catalog_config(&table.catalog);
    let sink = IcebergSink::open(&spec.id, name, &catalog, &table_config(table), rows).await?;
    if !sink.lacks().changes.is_empty() && !tables::is_ours(spec, name, sink.table_uuid()).await? {
        return Err(sink.disagreement(&catalog));
    }
    let sink = match spec.guarantee.order() {
        Order::CheckpointFirst => sink,
        Order::TableFirst => sink.unguarded(),
    };
    Ok(SinkWiring {
        name: name.to_owned(),
        table: sink.table_name(),
        table_uuid: sink.table_uuid(),
        writer: sink.writer()?,
        committer: sink.committer(),
    })
}

fn catalog_config(catalog: &CatalogSpec) -> CatalogConfig {
    CatalogConfig {
        kind: match catalog.kind {
            CatalogKind::Sql => floe_sink::iceberg::CatalogKind::Sql,
            CatalogKind::Rest => floe_sink::iceberg::CatalogKind::Rest,
        },
        name: catalog.name.clone(),
        uri: catalog.uri.expose().to_owned(),
        warehouse: catalog.warehouse.clone(),
        properties: catalog.properties.expose().clone(),
    }
}

fn table_config(table: &TableSpec) -> TableConfig {
    TableConfig {
        table: table.table.clone(),
        create: table.create,
        partition_by: table.partition_by.clone(),
        branch: table.branch.clone(),
        mode: match &table.mode {
            WriteMode::Append => floe_sink::iceberg::WriteMode::Append,
            WriteMode::OverwritePartition => floe_sink::iceberg::WriteMode::OverwritePartition,
            WriteMode::Upsert { key, op_column } => {
                floe_sink::iceberg::WriteMode::Upsert(UpsertConfig {
                    key: key.clone(),
                    op_column: op_column.clone(),
                })
            }
        },
        schema_evolution: match table.schema_evolution {
            SchemaEvolution::Additive => floe_sink::iceberg::SchemaEvolution::Additive,
            SchemaEvolution::None => floe_sink::iceberg::SchemaEvolution::None,
        },
        properties: table.properties.expose().clone(),
    }
}

/// The sink sees columns; whose they are is known here.
fn name_operator(error: Error, modules: &Modules, sink: usize) -> Error {
    let Some(port) = modules.graph.sinks[sink].first() else { return error };
    let from = &modules.chain[port.operator];
    let Some(columns) = error.message.find("\n    ") else { return error };
    if !error.message.contains(DISAGREE) {
        return error;
    }
    let description = from.factory.describe();
    let (before, after) = error.message.split_at(columns);
    let output = description.outputs.get(port.output as usize).map_or("", |it| it.0.as_str());
    Error::new(
        error.kind,
        format!(
            "{before}\n  operator  {}  (blake3 {}, output {output:?}){after}",
            from.file_name(),
            short_hex(&description.module_hash)
        ),
    )
}

/// How the sink begins when the columns do not fit.
const DISAGREE: &str = "the table and the operator disagree";

/// What a sink's table holds of this pipeline. `None`: there is no such table yet.
pub(crate) async fn observe(
    spec: &Arc<PipelineSpec>,
    number: usize,
    expected: Option<&CommittedSnapshot>,
) -> Result<Option<TableFacts>> {
    let sink = &spec.sinks[number];
    let table = match &sink.spec {
        SinkSpec::Table(table) => table,
        SinkSpec::Topic(topic) => return topic::observe(spec, &sink.name, topic).await,
    };
    if !catalog_exists(&table.catalog) {
        return Ok(None);
    }
    let for_modules = Arc::clone(spec);
    let rows = blocking(move || modules(&for_modules)?.output(number)).await?;
    let catalog = catalog_config(&table.catalog);
    let config = TableConfig { create: false, ..table_config(table) };
    if IcebergSink::check_schema(&catalog, &config, &rows).await?.is_none() {
        return Ok(None);
    }
    let opened = IcebergSink::open(&spec.id, &sink.name, &catalog, &config, rows).await?;
    opened.committer().observe(expected).await.map(Some)
}

/// A command that looks does not make the catalog's file.
fn catalog_exists(catalog: &CatalogSpec) -> bool {
    match catalog.uri.expose().strip_prefix("sqlite://") {
        Some(file) => Path::new(file.split('?').next().unwrap_or(file)).exists(),
        None => true,
    }
}

pub(crate) fn store(spec: &PipelineSpec) -> Result<Arc<dyn ObjectStore>> {
    open_store(&spec.checkpoint.store, spec.checkpoint.properties.expose())
}

/// For commands that only look: they make no folder. `None` where a local one is not there yet.
pub(crate) fn store_to_read(spec: &PipelineSpec) -> Result<Option<Arc<dyn ObjectStore>>> {
    match spec.checkpoint.store.strip_prefix("file://") {
        Some(folder) if !Path::new(folder).exists() => Ok(None),
        Some(_) | None => store(spec).map(Some),
    }
}

/// Takes the pipeline: from here on every older run of it is fenced.
pub(crate) async fn claim(spec: &PipelineSpec, take_over: bool) -> Result<OwnedLog> {
    let request = ClaimRequest {
        owner: OwnerIdentity::of_this_process(wall_ms()),
        take_over,
        watch: spec.checkpoint.interval * 2,
        patience: PATIENCE,
        alive: &process_alive,
        new_id: random_ids(),
    };
    claim_log(store(spec)?, &spec.id, request).await
}

/// How the sink is reached, without secrets.
pub(crate) fn sink_text(sink: &SinkSpec) -> String {
    match sink {
        SinkSpec::Table(table) => catalog_text(&table.catalog),
        SinkSpec::Topic(topic) => format!("kafka {}", topic.bootstrap_servers),
    }
}

/// A fenced process says who fenced it, also where it learnt it from the table.
pub(crate) async fn with_owner(spec: &PipelineSpec, error: Error) -> Error {
    let fenced = matches!(error.kind, ErrorKind::Fenced { .. });
    if !fenced || error.message.contains("started by") {
        return error;
    }
    // Who can't be asked now is not named; the error says the rest.
    let Ok(store) = store(spec) else { return error };
    let Ok(reading) = read_log(&*store, &spec.id).await else { return error };
    match reading.newest_claim() {
        None => error,
        Some((_, claim)) => Error {
            message: format!(
                "{}\n  started by  {} pid {} at {}",
                error.message,
                claim.host,
                claim.pid,
                show::time_of_day(claim.started_ms)
            ),
            ..error
        },
    }
}

/// "rest http://127.0.0.1:8181 lake", without secrets.
pub(crate) fn catalog_text(catalog: &CatalogSpec) -> String {
    let kind = match catalog.kind {
        CatalogKind::Sql => "sql",
        CatalogKind::Rest => "rest",
    };
    let warehouse = catalog.warehouse.as_ref().map_or(String::new(), |it| format!(" {it}"));
    format!("{kind} {}{warehouse}", catalog.uri.as_uri())
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::retry(format!("a thread of this program ended early: {error}"))),
    }
}

pub(crate) struct WallClock {
    begin: Instant,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        WallClock { begin: Instant::now() }
    }
}

impl Clock for WallClock {
    fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    fn monotonic(&self) -> Duration {
        self.begin.elapsed()
    }
}
