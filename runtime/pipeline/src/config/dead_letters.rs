//! `[dead-letters]`: a table or a topic for the records that were not taken.

use crate::config::diagnose::Problem;
use crate::config::document::DeadLettersTable;
use crate::config::paths::Base;
use crate::config::resolve::{Env, catalog, table_name};
use crate::config::sink::check_topic;
use crate::config::{
    DeadLettersSpec, NamedSink, Properties, SchemaEvolution, SinkSpec, TableSpec, TopicSpec,
    WriteMode,
};

const MAX: u64 = 1000;

pub(super) fn dead_letters(
    table: DeadLettersTable,
    sinks: &[NamedSink],
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<DeadLettersSpec, Problem> {
    let max = table.max.unwrap_or(MAX);
    let sink = match (&table.iceberg, &table.kafka) {
        (Some(_), None) => SinkSpec::Table(letters_table(table, sinks, base)?),
        (None, Some(_)) => SinkSpec::Topic(letters_topic(table, sinks, env)?),
        (Some(_), Some(_)) => {
            let what = "[dead-letters] has both iceberg and kafka";
            return Err(Problem::new("dead-letters.kafka", what).help("keep one of them"));
        }
        (None, None) => {
            let what = "[dead-letters] says neither iceberg nor kafka";
            return Err(Problem::new("dead-letters", what)
                .help("iceberg = \"namespace.table\", or kafka = \"topic\""));
        }
    };
    Ok(DeadLettersSpec { sink, max })
}

fn letters_table(
    table: DeadLettersTable,
    sinks: &[NamedSink],
    base: &Base<'_>,
) -> Result<TableSpec, Problem> {
    for (given, key) in [
        (table.bootstrap_servers.is_some(), "bootstrap-servers"),
        (table.properties.is_some(), "properties"),
    ] {
        if given {
            let at = format!("dead-letters.{key}");
            return Err(Problem::new(&at, format!("{key} is for a topic, and this is a table"))
                .help("take it out"));
        }
    }
    let first = sinks.iter().find_map(|it| it.spec.table());
    let catalog = match (table.catalog, first) {
        (Some(table), _) => catalog(table, "dead-letters.catalog", base)?,
        (None, Some(sink)) => sink.catalog.clone(),
        (None, None) => {
            return Err(Problem::new("dead-letters", "catalog is missing in [dead-letters]").help(
                "catalog = { type = \"sql\", uri = \"sqlite://lake.db\", warehouse = \"file://./lake\" }",
            ));
        }
    };
    let name = table_name(table.iceberg.unwrap_or_default(), "dead-letters.iceberg")?;
    if sinks.iter().any(|it| it.spec.table().is_some_and(|it| it.table == name)) {
        return Err(Problem::new("dead-letters.iceberg", format!("{name} is a sink's own table"))
            .help(format!("iceberg = \"{name}_dead_letters\"")));
    }
    Ok(TableSpec {
        table: name,
        catalog,
        create: true,
        partition_by: Vec::new(),
        branch: "main".to_owned(),
        mode: WriteMode::Append,
        schema_evolution: SchemaEvolution::Additive,
        properties: Properties::default(),
    })
}

fn letters_topic(
    table: DeadLettersTable,
    sinks: &[NamedSink],
    env: Env<'_>,
) -> Result<TopicSpec, Problem> {
    if table.catalog.is_some() {
        let what = "catalog is for a table, and this is a topic";
        return Err(Problem::new("dead-letters.catalog", what).help("take it out"));
    }
    let bootstrap_servers =
        table.bootstrap_servers.or_else(|| env("FLOE_KAFKA")).ok_or_else(|| {
            Problem::new("dead-letters.bootstrap-servers", "no Kafka server is named").help(
                "bootstrap-servers = \"host:9092\" in [dead-letters], or FLOE_KAFKA=host:9092",
            )
        })?;
    let topic = table.kafka.unwrap_or_default();
    check_topic(&topic, "dead-letters.kafka")?;
    if sinks.iter().any(|it| matches!(&it.spec, SinkSpec::Topic(it) if it.topic == topic)) {
        return Err(Problem::new("dead-letters.kafka", format!("{topic} is a sink's own topic"))
            .help(format!("kafka = \"{topic}-dead-letters\"")));
    }
    Ok(TopicSpec {
        topic,
        bootstrap_servers,
        // Letters of one record stay in order.
        key: vec!["topic".to_owned(), "partition".to_owned(), "offset".to_owned()],
        intents: false,
        properties: table.properties.unwrap_or_default(),
    })
}
