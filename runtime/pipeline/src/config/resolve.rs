//! From the file's words to the spec: defaults filled in, paths made absolute, contradictions refused.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floe_core::graph::Keyed;

use crate::config::dead_letters::dead_letters;
use crate::config::diagnose::Problem;
use crate::config::document::{
    CatalogTable, CheckpointTable, Document, GuaranteeName, LimitsTable, LogName, OnDivergenceName,
    OnErrorName, OperatorTable, RunTable, TelemetryTable, VerifyTable,
};
use crate::config::document::{DirtyPagesName, MeteringName};
use crate::config::paths::Base;
use crate::config::recording::recording;
use crate::config::sink::sinks;
use crate::config::source::sources;
use crate::config::{
    CatalogKind, CatalogSpec, CheckpointSpec, Guarantee, LimitsSpec, LogFormat, OnDivergence,
    OnError, OperatorSpec, PipelineSpec, Properties, RunSpec, Secret, SinkSpec, TableSpec,
    TelemetrySpec, VerifySpec, WriteMode,
};
use crate::config::{DirtyPages, Metering};
use crate::overdue::Overtaking;

const INTERVAL: Duration = Duration::from_secs(10);
/// Below this, checkpoints would cost more than the records between them.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const KEEP: usize = 10;
const COMMITS_PENDING_MAX: usize = 4;
/// At a gigabyte a minute an outage of a minute is bridged.
const COMMITS_PENDING_BYTES_MAX: u64 = 1 << 30;
/// 16 elements from each of 4 workers, with batches of 8,192 records of 128 bytes.
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;
const BATCH_RECORDS: usize = 8192;
/// A14 of the ABI.
const BATCH_RECORDS_MAX: usize = 65_536;
const ID_LEN_MAX: usize = 100;
/// Tasks of a keyed stage: each has its own instances.
pub const TASKS_MAX: u32 = 1024;

/// What of a catalog's properties also says how a store is reached.
const STORE_PROPERTIES: [&str; 9] = [
    "s3.endpoint",
    "s3.region",
    "client.region",
    "s3.access-key-id",
    "s3.secret-access-key",
    "s3.session-token",
    "s3.path-style-access",
    "gcs.",
    "adls.",
];

pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn resolve(
    document: Document,
    path: &Path,
    env: Env<'_>,
) -> Result<PipelineSpec, Problem> {
    let base = Base(path.parent().unwrap_or(Path::new("")));
    check_id(&document.pipeline.id)?;
    let guarantee = match document.pipeline.guarantee {
        None | Some(GuaranteeName::ExactlyOnce) => Guarantee::ExactlyOnce,
        Some(GuaranteeName::AtLeastOnce) => Guarantee::AtLeastOnce,
        Some(GuaranteeName::AtMostOnce) => Guarantee::AtMostOnce,
    };
    let sources = sources(document.source, &base, env)?;
    if document.operator.is_empty() {
        return Err(Problem::new("operator", "there is no [[operator]]")
            .help("add [[operator]] with module = \"….wasm\""));
    }
    let has_dead_letters = document.dead_letters.is_some();
    let mut operators = Vec::new();
    for (index, table) in document.operator.into_iter().enumerate() {
        let operator = operator(table, index, &base)?;
        if operator.on_error == OnError::DeadLetter && !has_dead_letters {
            let at = format!("operator.{index}.on-error");
            return Err(Problem::new(
                &at,
                "there is no [dead-letters] for on-error = \"dead-letter\"",
            )
            .help(format!(
                "add [dead-letters] with iceberg = \"{}_dead_letters\"",
                document
                    .sink
                    .all
                    .iter()
                    .find_map(|it| it.iceberg.as_deref())
                    .unwrap_or("lake.records")
            )));
        }
        if let Some(name) = &operator.name
            && operators.iter().any(|it: &OperatorSpec| it.name.as_ref() == Some(name))
        {
            let at = format!("operator.{index}.name");
            return Err(Problem::new(&at, format!("two operators are named {name:?}")));
        }
        operators.push(operator);
    }
    let sinks = sinks(document.sink, &base, env)?;
    let is_topic = sinks.iter().any(|it| matches!(it.spec, SinkSpec::Topic(_)));
    if let (true, Guarantee::AtLeastOnce | Guarantee::AtMostOnce) = (is_topic, guarantee) {
        return Err(Problem::new(
            "pipeline.guarantee",
            format!("{} is for a table, and this sink is a topic", guarantee.name()),
        )
        .help("take it out: an epoch is published to a topic in one transaction, exactly once"));
    }
    let replaces = |it: &TableSpec| it.mode == WriteMode::OverwritePartition;
    if guarantee != Guarantee::ExactlyOnce
        && sinks.iter().filter_map(|it| it.spec.table()).any(replaces)
    {
        return Err(Problem::new(
            "pipeline.guarantee",
            format!(
                "{} is for rows, and mode = \"overwrite-partition\" commits a batch whole",
                guarantee.name()
            ),
        )
        .help("take it out: a batch is in the table once, or not at all"));
    }
    let table = sinks.iter().find_map(|it| it.spec.table());
    let checkpoint = checkpoint(document.checkpoint, table, &base)?;
    let recording = document.recording.map(|it| recording(it, &sources)).transpose()?;
    if guarantee == Guarantee::AtLeastOnce && checkpoint.commit_every > 1 {
        return Err(Problem::new(
            "checkpoint.commit-every",
            "under at-least-once the table takes each epoch before its checkpoint, so no epoch can wait for others",
        )
        .help("take it out, or guarantee = \"exactly-once\" in [pipeline]"));
    }
    let dead_letters =
        document.dead_letters.map(|it| dead_letters(it, &sinks, &base, env)).transpose()?;
    Ok(PipelineSpec {
        path: path.to_owned(),
        id: document.pipeline.id,
        guarantee,
        sources,
        operators,
        sinks,
        checkpoint,
        dead_letters,
        telemetry: telemetry(document.telemetry)?,
        verify: document.verify.map(verify).transpose()?,
        recording,
        run: run(document.run)?,
    })
}

/// The id is part of object names and of a table property.
fn check_id(id: &str) -> Result<(), Problem> {
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.chars().all(fits) {
        return Err(Problem::new("pipeline.id", format!("{id:?} cannot be a pipeline's id"))
            .help(format!("letters, digits, '-' and '_', 1 to {ID_LEN_MAX} of them")));
    }
    Ok(())
}

fn operator(table: OperatorTable, index: usize, base: &Base<'_>) -> Result<OperatorSpec, Problem> {
    let at = format!("operator.{index}.module");
    let (module, plugin) = match (table.module, table.plugin) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(&at, "[[operator]] has both module and plugin")
                .help("keep one of them"));
        }
        (Some(module), None) if !module.is_empty() => (base.path(&module), None),
        // Where plugins are is not known here.
        (None, Some(plugin)) if !plugin.is_empty() => (PathBuf::new(), Some(plugin)),
        (Some(_) | None, _) => {
            return Err(Problem::new(&at, "[[operator]] says neither module nor plugin").help(
                "module = \"path/to/operator.wasm\", or plugin = \"dedup\" (floe plugin list shows them)",
            ));
        }
    };
    if table.name.as_ref().is_some_and(String::is_empty) {
        return Err(Problem::new(&format!("operator.{index}.name"), "the name is empty"));
    }
    let keyed = keyed(table.key_by, table.tasks, index)?;
    Ok(OperatorSpec {
        name: table.name,
        module,
        plugin,
        config: sorted(serde_json::Value::Object(table.config)).to_string(),
        on_error: match table.on_error {
            None | Some(OnErrorName::Fail) => OnError::Fail,
            Some(OnErrorName::Skip) => OnError::Skip,
            Some(OnErrorName::DeadLetter) => OnError::DeadLetter,
        },
        input: table.input.map(|it| it.0).unwrap_or_default(),
        discard: table.discard,
        keyed,
        limits: limits(table.limits, index)?,
    })
}

fn keyed(columns: Vec<String>, tasks: Option<u32>, index: usize) -> Result<Option<Keyed>, Problem> {
    match (columns.is_empty(), tasks) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err(Problem::new(
            &format!("operator.{index}.tasks"),
            "tasks is for an operator with key-by; without it there is a task for each partition",
        )
        .help("key-by = [\"merchant_id\"], or take tasks out")),
        (false, Some(tasks)) if (1..=TASKS_MAX).contains(&tasks) => {
            Ok(Some(Keyed { columns, tasks }))
        }
        (false, Some(tasks)) => Err(Problem::new(
            &format!("operator.{index}.tasks"),
            format!("{tasks} tasks are too few or too many"),
        )
        .help(format!("1 to {TASKS_MAX}"))),
        (false, None) => Err(Problem::new(
            &format!("operator.{index}.key-by"),
            "key-by says no tasks: how many share the keys",
        )
        .help(
            "tasks = 4; as many as there may be cores: floe upgrade --tasks changes it if operators tell their state by key",
        )),
    }
}

/// Keys in order, whatever map the JSON crate was built with: the text is hashed.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => value,
    }
}

/// Less does not hold what any language's library calls; more than 256 MiB a thread may not get.
const STACK_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;

fn limits(table: LimitsTable, index: usize) -> Result<LimitsSpec, Problem> {
    let stack_bytes = table.stack.map(|it| it.0);
    if let Some(bytes) = stack_bytes.filter(|it| !STACK_BYTES.contains(it)) {
        return Err(Problem::new(
            &format!("operator.{index}.limits.stack"),
            format!("a stack of {bytes} bytes is too small or too large"),
        )
        .help("64KiB to 256MiB; without it an instance has 1MiB"));
    }
    Ok(LimitsSpec {
        memory_bytes: table.memory.map(|it| it.0),
        table_elements: table.table_elements,
        stack_bytes,
        metering: table.metering.map(|it| match it {
            MeteringName::Time => Metering::Time,
            MeteringName::Fuel => Metering::Fuel,
        }),
        time_per_batch: table.time_per_batch.map(|it| it.0),
        fuel_per_batch: table.fuel_per_batch,
        fuel_per_record: table.fuel_per_record,
        output_per_batch_bytes: table.output_per_batch.map(|it| it.0),
        compile_time: table.compile_time.map(|it| it.0),
        module_bytes: table.module_size.map(|it| it.0),
    })
}

pub(super) fn branch(name: Option<String>) -> Result<String, Problem> {
    let name = name.unwrap_or_else(|| "main".to_owned());
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Problem::new("sink.branch", format!("{name:?} cannot be a branch")));
    }
    Ok(name)
}

pub(super) fn table_name(name: String, at: &str) -> Result<String, Problem> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|it| it.trim() != *it || it.is_empty()) {
        return Err(Problem::new(at, format!("{name:?} cannot be a table"))
            .help("namespace.table, such as \"lake.payments\""));
    }
    Ok(name)
}

pub(super) fn catalog(
    CatalogTable(mut properties): CatalogTable,
    at: &str,
    base: &Base<'_>,
) -> Result<CatalogSpec, Problem> {
    let mut required = |key: &str| {
        properties.remove(key).filter(|it| !it.is_empty()).ok_or_else(|| {
            Problem::new(&format!("{at}.{key}"), format!("{key} is missing in the catalog")).help(
                "catalog = { type = \"sql\", uri = \"sqlite://lake.db\", warehouse = \"file://./lake\" }",
            )
        })
    };
    let kind = match required("type")?.as_str() {
        "sql" => CatalogKind::Sql,
        "rest" => CatalogKind::Rest,
        other => {
            return Err(Problem::new(
                &format!("{at}.type"),
                format!("no catalog is of type {other:?}"),
            )
            .help("\"sql\" (sqlite, Postgres) or \"rest\""));
        }
    };
    let uri = base.database(&required("uri")?);
    check_uri(kind, &uri, at)?;
    let warehouse = match (kind, properties.remove("warehouse")) {
        (_, Some(text)) if kind == CatalogKind::Sql || text.contains("://") => {
            Some(base.location(&text))
        }
        (CatalogKind::Sql, _) => {
            return Err(Problem::new(
                &format!("{at}.warehouse"),
                "warehouse is missing in the catalog",
            )
            .help("warehouse = \"file://./lake\" or \"s3://bucket/path\""));
        }
        (CatalogKind::Rest, name) => name,
    };
    let name = properties.remove("name").unwrap_or_else(|| "floe".to_owned());
    Ok(CatalogSpec { kind, name, uri: Secret::new(uri), warehouse, properties })
}

fn check_uri(kind: CatalogKind, uri: &str, at: &str) -> Result<(), Problem> {
    let (schemes, example): (&[&str], _) = match kind {
        CatalogKind::Sql => (
            &["sqlite:", "postgres:", "postgresql:"],
            "sqlite://lake.db or postgres://user@host/db",
        ),
        CatalogKind::Rest => (&["http:", "https:"], "http://127.0.0.1:8181"),
    };
    let at = format!("{at}.uri");
    if !schemes.iter().any(|it| uri.starts_with(it)) {
        let shown = crate::config::secret::hide_password(uri);
        return Err(Problem::new(&at, format!("{shown:?} is no address of such a catalog"))
            .help(format!("uri = \"{example}\"")));
    }
    if uri.contains(":memory:") || uri.contains("mode=memory") {
        return Err(Problem::new(
            &at,
            "a catalog in memory forgets the table when the process ends",
        )
        .help("uri = \"sqlite://lake.db\""));
    }
    Ok(())
}

fn checkpoint(
    table: CheckpointTable,
    sink: Option<&TableSpec>,
    base: &Base<'_>,
) -> Result<CheckpointSpec, Problem> {
    let catalog = sink.map(|it| &it.catalog);
    let interval = table.interval.map_or(INTERVAL, |it| it.0);
    if interval < INTERVAL_MIN {
        return Err(Problem::new("checkpoint.interval", "the interval is below 10ms")
            .help("interval = \"10s\" is the default; \"1s\" is often short enough"));
    }
    let beside = catalog.and_then(|it| it.warehouse.as_ref()).filter(|it| it.contains("://"));
    let store = match (&table.store, beside) {
        (Some(store), _) => base.location(store),
        (None, Some(warehouse)) => {
            format!("{}/.floe/checkpoints", warehouse.trim_end_matches('/'))
        }
        (None, None) => {
            return Err(Problem::new(
                "checkpoint.store",
                match catalog {
                    Some(_) => "nothing says where checkpoints are kept: the catalog's warehouse is no location",
                    None => "nothing says where checkpoints are kept: a topic has no place beside it",
                },
            )
            .help("[checkpoint] store = \"s3://bucket/checkpoints\" or \"file://./checkpoints\""));
        }
    };
    if table.in_flight_bytes_max.is_some() && table.alignment_timeout.is_none() {
        return Err(Problem::new(
            "checkpoint.in-flight-bytes-max",
            "it bounds what a barrier overtakes, and without alignment-timeout none does",
        )
        .help("alignment-timeout = \"10s\""));
    }
    let mut properties: Properties = catalog
        .into_iter()
        .flat_map(|it| it.properties.expose())
        .filter(|(name, _)| STORE_PROPERTIES.iter().any(|it| name.starts_with(it)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, value) in table.properties.expose() {
        properties.insert(name, value);
    }
    Ok(CheckpointSpec {
        store,
        interval,
        keep: at_least_one(table.keep, KEEP, "checkpoint.keep")?,
        commit_every: at_least_one(table.commit_every, 1, "checkpoint.commit-every")?,
        commits_pending_bytes_max: table
            .commits_pending_bytes_max
            .map_or(COMMITS_PENDING_BYTES_MAX, |it| it.0),
        commits_pending_max: at_least_one(
            table.commits_pending_max,
            COMMITS_PENDING_MAX,
            "checkpoint.commits-pending-max",
        )?,
        overtaking: table.alignment_timeout.map(|after| Overtaking {
            after: after.0,
            in_flight_bytes_max: table.in_flight_bytes_max.map_or(IN_FLIGHT_BYTES_MAX, |it| it.0),
        }),
        dirty_pages: match table.dirty_pages {
            None | Some(DirtyPagesName::Auto) => DirtyPages::Auto,
            Some(DirtyPagesName::Userfaultfd) => DirtyPages::Userfaultfd,
            Some(DirtyPagesName::PageHashes) => DirtyPages::PageHashes,
        },
        properties,
    })
}

fn telemetry(table: TelemetryTable) -> Result<TelemetrySpec, Problem> {
    let listen = match table.listen {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Problem::new("telemetry.listen", format!("{text:?} is no address to listen on"))
                .help("listen = \"127.0.0.1:9900\"")
        })?),
    };
    let log = match table.log {
        None | Some(LogName::Human) => LogFormat::Human,
        Some(LogName::Json) => LogFormat::Json,
    };
    Ok(TelemetrySpec { listen, log })
}

fn verify(table: VerifyTable) -> Result<VerifySpec, Problem> {
    let words: Vec<&str> = table.sample.split_whitespace().collect();
    let one_of = match words.as_slice() {
        ["1", "of", number, "epochs"] => number.parse().ok().filter(|it| *it > 0),
        _ => None,
    };
    let one_of = one_of.ok_or_else(|| {
        Problem::new("verify.sample", format!("{:?} is no sample of epochs", table.sample))
            .help("sample = \"1 of 100 epochs\"")
    })?;
    let cpu = table.cpu.as_deref().unwrap_or("10%");
    let percent = cpu.strip_suffix('%').and_then(|it| it.trim().parse().ok());
    let cpu_percent = percent.filter(|it| (1..=100).contains(it)).ok_or_else(|| {
        Problem::new("verify.cpu", format!("{cpu:?} is no share of a core"))
            .help("cpu = \"10%\", from 1% to 100%")
    })?;
    let on_divergence = match table.on_divergence {
        None | Some(OnDivergenceName::Log) => OnDivergence::Log,
        Some(OnDivergenceName::Stop) => OnDivergence::Stop,
    };
    Ok(VerifySpec { one_of, cpu_percent, on_divergence })
}

fn run(table: RunTable) -> Result<RunSpec, Problem> {
    let batch = at_least_one(table.batch_records, BATCH_RECORDS, "run.batch-records")?;
    if batch > BATCH_RECORDS_MAX {
        return Err(Problem::new("run.batch-records", format!("{batch} records are too many"))
            .help(format!("at most {BATCH_RECORDS_MAX}")));
    }
    let workers = match table.workers {
        None => None,
        Some(_) => Some(at_least_one(table.workers, 1, "run.workers")?),
    };
    Ok(RunSpec { workers, batch_records_max: batch })
}

fn at_least_one(given: Option<u32>, default: usize, at: &str) -> Result<usize, Problem> {
    match given {
        None => Ok(default),
        Some(0) => Err(Problem::new(at, "0 is too few").help("1 or more")),
        Some(number) => Ok(number as usize),
    }
}
