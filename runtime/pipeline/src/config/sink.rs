//! `[sink]`: a table or a topic, what belongs to neither, and several of them.

use crate::config::diagnose::Problem;
use crate::config::document::{ModeName, SchemaEvolutionName, SinkTable, SinkTables};
use crate::config::paths::Base;
use crate::config::resolve::{Env, branch, catalog, table_name};
use crate::config::{NamedSink, SchemaEvolution, SinkSpec, TableSpec, TopicSpec, WriteMode};

/// The name of a sink that the file gives none.
const DEFAULT_NAME: &str = "sink";
/// The table of [dead-letters] has this name in checkpoints.
const DEAD_LETTERS: &str = "dead-letters";

pub(super) fn sinks(
    SinkTables { all, listed }: SinkTables,
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<Vec<NamedSink>, Problem> {
    let mut sinks: Vec<NamedSink> = Vec::new();
    for (index, table) in all.into_iter().enumerate() {
        let named = named_sink(table, &sinks, base, env);
        sinks.push(named.map_err(|it| if listed { it.of_item(index) } else { it })?);
    }
    match sinks.is_empty() {
        true => Err(Problem::new("sink", "there is no sink").help("add [sink]")),
        false => Ok(sinks),
    }
}

fn named_sink(
    mut table: SinkTable,
    before: &[NamedSink],
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<NamedSink, Problem> {
    let given = table.name.take();
    let name = given.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let input = table.input.take().map(|it| it.0).unwrap_or_default();
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if name.is_empty() || !name.chars().all(fits) || name == DEAD_LETTERS {
        return Err(Problem::new("sink.name", format!("{name:?} cannot be a sink's name"))
            .help("letters, digits, '-' and '_'; it stays what it is for ever"));
    }
    if before.iter().any(|it| it.name == name) {
        return Err(match given {
            Some(_) => Problem::new("sink.name", format!("two sinks are named {name:?}")),
            None => Problem::new("sink", "of several sinks each has a name, but for one").help(
                "name = \"…\" in each [[sink]]; the one that was there alone before is \"sink\"",
            ),
        });
    }
    let spec = sink(table, base, env)?;
    if let Some(other) = before.iter().find(|it| is_same(&it.spec, &spec)) {
        let key = if spec.table().is_some() { "sink.iceberg" } else { "sink.kafka" };
        let what = format!("{} is where sink {:?} writes", spec.name(), other.name);
        return Err(Problem::new(key, what)
            .help("one sink may take several outputs: input = [\"a.x\", \"b.y\"]"));
    }
    Ok(NamedSink { name, input, spec })
}

fn is_same(a: &SinkSpec, b: &SinkSpec) -> bool {
    match (a, b) {
        (SinkSpec::Table(a), SinkSpec::Table(b)) => {
            a.table == b.table
                && a.branch == b.branch
                && a.catalog.uri.expose() == b.catalog.uri.expose()
                && a.catalog.warehouse == b.catalog.warehouse
        }
        (SinkSpec::Topic(a), SinkSpec::Topic(b)) => {
            a.topic == b.topic && a.bootstrap_servers == b.bootstrap_servers
        }
        (SinkSpec::Table(_), SinkSpec::Topic(_)) | (SinkSpec::Topic(_), SinkSpec::Table(_)) => {
            false
        }
    }
}

fn sink(table: SinkTable, base: &Base<'_>, env: Env<'_>) -> Result<SinkSpec, Problem> {
    match (&table.iceberg, &table.kafka) {
        (Some(_), None) => sink_table(table, base).map(SinkSpec::Table),
        (None, Some(_)) => sink_topic(table, env).map(SinkSpec::Topic),
        (Some(_), Some(_)) => Err(Problem::new("sink.kafka", "[sink] has both iceberg and kafka")
            .help("keep one of them")),
        (None, None) => Err(Problem::new("sink", "[sink] says neither iceberg nor kafka")
            .help("iceberg = \"namespace.table\", or kafka = \"topic\"")),
    }
}

fn sink_topic(table: SinkTable, env: Env<'_>) -> Result<TopicSpec, Problem> {
    for (given, key) in [
        (table.catalog.is_some(), "catalog"),
        (table.create.is_some(), "create"),
        (!table.partition_by.is_empty(), "partition-by"),
        (table.mode.is_some(), "mode"),
        (table.op_column.is_some(), "op-column"),
        (table.branch.is_some(), "branch"),
        (table.schema_evolution.is_some(), "schema-evolution"),
    ] {
        if given {
            return Err(Problem::new(
                &format!("sink.{key}"),
                format!("{key} is for a table, and this sink is a topic"),
            )
            .help("take it out"));
        }
    }
    let bootstrap_servers =
        table.bootstrap_servers.or_else(|| env("FLOE_KAFKA")).ok_or_else(|| {
            Problem::new("sink.bootstrap-servers", "no Kafka server is named")
                .help("bootstrap-servers = \"host:9092\" in [sink], or FLOE_KAFKA=host:9092")
        })?;
    let topic = table.kafka.unwrap_or_default();
    check_topic(&topic, "sink.kafka")?;
    let intents = table.intents.unwrap_or(false);
    if intents && table.key.is_empty() {
        return Err(Problem::new("sink.intents", "an intent needs a name that never changes")
            .help("key = [\"…\"]: the columns that name it, such as topic, partition and offset of its cause"));
    }
    Ok(TopicSpec {
        topic,
        bootstrap_servers,
        key: table.key,
        intents,
        properties: table.properties,
    })
}

fn sink_table(table: SinkTable, base: &Base<'_>) -> Result<TableSpec, Problem> {
    let mode = mode(&table)?;
    if table.bootstrap_servers.is_some() {
        return Err(Problem::new(
            "sink.bootstrap-servers",
            "bootstrap-servers is for a topic, and this sink is a table",
        )
        .help("take it out"));
    }
    if table.intents.is_some() {
        return Err(Problem::new(
            "sink.intents",
            "intents is for a topic, and this sink is a table",
        )
        .help("take it out"));
    }
    let Some(described) = table.catalog else {
        return Err(Problem::new("sink", "catalog is missing in [sink]").help(
            "catalog = { type = \"sql\", uri = \"sqlite://lake.db\", warehouse = \"file://./lake\" }",
        ));
    };
    Ok(TableSpec {
        table: table_name(table.iceberg.unwrap_or_default(), "sink.iceberg")?,
        catalog: catalog(described, "sink.catalog", base)?,
        create: table.create.unwrap_or(true),
        partition_by: table.partition_by,
        branch: branch(table.branch)?,
        mode,
        schema_evolution: match table.schema_evolution {
            None | Some(SchemaEvolutionName::Additive) => SchemaEvolution::Additive,
            Some(SchemaEvolutionName::None) => SchemaEvolution::None,
        },
        properties: table.properties,
    })
}

fn mode(table: &SinkTable) -> Result<WriteMode, Problem> {
    match table.mode {
        Some(ModeName::Upsert) if table.key.is_empty() => Err(Problem::new(
            "sink.mode",
            "mode = \"upsert\" replaces the rows of a key, and no key is named",
        )
        .help("key = [\"id\"]: the columns that name a row")),
        Some(ModeName::Upsert) => {
            let mut key = table.key.clone();
            key.sort();
            key.dedup();
            if key.len() < table.key.len() {
                return Err(Problem::new("sink.key", "a column is in the key twice"));
            }
            Ok(WriteMode::Upsert { key: table.key.clone(), op_column: table.op_column.clone() })
        }
        Some(ModeName::OverwritePartition) if table.partition_by.is_empty() => Err(Problem::new(
            "sink.mode",
            "mode = \"overwrite-partition\" replaces partitions, and none are named",
        )
        .help("partition-by = [\"day(ts)\"]: what the table is partitioned by")),
        None | Some(ModeName::Append | ModeName::OverwritePartition) => {
            for (given, key) in
                [(!table.key.is_empty(), "key"), (table.op_column.is_some(), "op-column")]
            {
                if given {
                    return Err(Problem::new(
                        &format!("sink.{key}"),
                        format!("{key} is for a topic, or a table whose rows are replaced, and rows are appended to this one"),
                    )
                    .help("mode = \"upsert\", or take it out"));
                }
            }
            Ok(match table.mode {
                Some(ModeName::OverwritePartition) => WriteMode::OverwritePartition,
                None | Some(ModeName::Append | ModeName::Upsert) => WriteMode::Append,
            })
        }
    }
}

pub(super) fn check_topic(name: &str, at: &str) -> Result<(), Problem> {
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    let pattern = match at {
        "source.kafka" => "; a pattern alone, between slashes: \"/payments-.*/\"",
        _ => "",
    };
    Err(Problem::new(at, format!("{name:?} cannot be a topic"))
        .help(format!("letters, digits, '.', '_' and '-'{pattern}")))
}
