//! `[source]`: Kafka or a recording, how records are decoded, and several of them.

use std::path::Path;
use std::time::Duration;

use arrow_schema::TimeUnit;
use floe_core::ports::StartAt;
use floe_core::protocol::identity::NewPartitions;

use crate::config::diagnose::Problem;
use crate::config::document::{
    EventTimeTable, NewPartitionsName, OneOrMany, SourceTable, SourceTables, TombstonesName,
    UnitName,
};
use crate::config::paths::Base;
use crate::config::resolve::Env;
use crate::config::schema;
use crate::config::sink::check_topic;
use crate::config::time::parse_start;
use crate::config::{self, columns};
use crate::config::{EventTimeSpec, Origin, SourceSpec, Topics};

/// Below this, every partition would be idle between two batches.
const IDLE_AFTER_MIN: Duration = Duration::from_millis(10);
/// The name of a source that is alone and is given none.
const DEFAULT_NAME: &str = "source";

pub(super) fn sources(
    SourceTables { all, listed }: SourceTables,
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<Vec<SourceSpec>, Problem> {
    let several = all.len() > 1;
    let mut sources: Vec<SourceSpec> = Vec::new();
    for (index, table) in all.into_iter().enumerate() {
        let one = named_source(table, &sources, several, base, env);
        sources.push(one.map_err(|it| if listed { it.of_item(index) } else { it })?);
    }
    match sources.is_empty() {
        true => Err(Problem::new("source", "there is no source").help("add [source]")),
        false => Ok(sources),
    }
}

fn named_source(
    mut table: SourceTable,
    before: &[SourceSpec],
    several: bool,
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<SourceSpec, Problem> {
    let name = match table.name.take() {
        Some(name) => name,
        None if several => {
            return Err(Problem::new("source", "of several sources each has a name")
                .help("name = \"orders\": operators take it by input = [\"orders\"]"));
        }
        None => DEFAULT_NAME.to_owned(),
    };
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Problem::new("source.name", format!("{name:?} cannot be a source's name"))
            .help("letters, digits, '-' and '_'; it stays what it is for ever"));
    }
    let spec = source(table, name, several, base, env)?;
    if let Some(other) = before.iter().find_map(|it| conflict(it, &spec)) {
        return Err(other);
    }
    Ok(spec)
}

/// What two sources of one pipeline cannot both be.
fn conflict(one: &SourceSpec, other: &SourceSpec) -> Option<Problem> {
    if one.name == other.name {
        let what = format!("two sources are named {:?}", one.name);
        return Some(Problem::new("source.name", what));
    }
    let topics = one.topics();
    if let Some(topic) = other.topics().iter().find(|it| topics.contains(it)) {
        let what = format!("topic {topic} is read by source {:?} already", one.name);
        return Some(Problem::new("source", what).help(
            "a topic is of one source: let one operator take it, and others what that one emits",
        ));
    }
    if let (Some(first), Some(second)) = (one.registry(), other.registry())
        && first != second
    {
        return Some(
            Problem::new("source.schema-registry", "two sources name different schema registries")
                .help("one for all sources: an id means one schema in a whole pipeline"),
        );
    }
    if one.event_time.is_some() != other.event_time.is_some() {
        let without = if one.event_time.is_some() { other } else { one };
        let what = format!(
            "source {:?} has no event-time and another has: their watermarks would never meet",
            without.name
        );
        return Some(Problem::new("source", what).help("event-time = {} in each, or in none"));
    }
    if one.new_partitions != other.new_partitions {
        return Some(
            Problem::new("source.new-partitions", "new-partitions is not the same in all sources")
                .help("write the same in each"),
        );
    }
    None
}

/// The topics of a recording that are a source's; empty for all of one that is alone.
fn recorded_topics(
    given: Option<OneOrMany>,
    several: bool,
    file: &Path,
) -> Result<Vec<String>, Problem> {
    match (given, several) {
        (Some(_), false) => {
            let what = "topics is for several sources, and this one has the whole recording";
            Err(Problem::new("source.topics", what).help("take it out"))
        }
        (Some(OneOrMany(topics)), true) => {
            topics.iter().try_for_each(|it| check_topic(it, "source.topics"))?;
            match topics.is_empty() {
                true => Err(Problem::new("source.topics", "the list of topics is empty")),
                false => Ok(topics),
            }
        }
        (None, false) => Ok(Vec::new()),
        (None, true) => {
            Ok(vec![file.file_stem().unwrap_or_default().to_string_lossy().into_owned()])
        }
    }
}

fn source(
    table: SourceTable,
    name: String,
    several: bool,
    base: &Base<'_>,
    env: Env<'_>,
) -> Result<SourceSpec, Problem> {
    let start = match &table.start {
        None => StartAt::Earliest,
        Some(text) => parse_start(text).map_err(|it| Problem::new("source.start", it))?,
    };
    let format =
        schema::format(table.format, table.schema, table.schema_registry, table.message, base)?;
    let tombstone_rows = matches!(table.tombstones, Some(TombstonesName::Row));
    if tombstone_rows && format == config::Format::Raw {
        return Err(Problem::new(
            "source.tombstones",
            "with format = \"raw\" tombstones are rows already",
        )
        .help("take it out: their _value is null"));
    }
    let event_time = table.event_time.map(event_time).transpose()?;
    let columns = match table.columns {
        None => None,
        Some(columns) => Some(columns::schema(&columns).map_err(|(index, what)| {
            Problem::new(&format!("source.columns.{index}"), what).help(columns::HELP)
        })?),
    };
    let new_partitions = match table.new_partitions {
        None | Some(NewPartitionsName::Fail) => NewPartitions::Fail,
        Some(NewPartitionsName::Start) => NewPartitions::Start,
    };
    let origin = match (table.kafka, table.recording) {
        (Some(_), Some(_)) => {
            return Err(Problem::new("source.recording", "[source] has both kafka and recording")
                .help("keep one of them"));
        }
        (None, None) => {
            return Err(Problem::new("source", "[source] says neither kafka nor recording")
                .help("kafka = \"topic\", or recording = \"file.jsonl\""));
        }
        (None, Some(file)) => {
            for (given, key) in [
                (table.bootstrap_servers.is_some(), "bootstrap-servers"),
                (!table.properties.is_empty(), "properties"),
            ] {
                if given {
                    return Err(Problem::new(
                        &format!("source.{key}"),
                        format!("{key} is for kafka, and this source is a recording"),
                    )
                    .help("take it out"));
                }
            }
            let file = base.path(&file);
            let topics = recorded_topics(table.topics, several, &file)?;
            Origin::Recording { file, topics }
        }
        (Some(_), None) if table.topics.is_some() => {
            let what = "topics is for a recording, and this source is kafka";
            return Err(Problem::new("source.topics", what)
                .help("name the topics in kafka = [\"a\", \"b\"]"));
        }
        (Some(topics), None) => {
            let bootstrap_servers =
                table.bootstrap_servers.or_else(|| env("FLOE_KAFKA")).ok_or_else(|| {
                    Problem::new("source.bootstrap-servers", "no Kafka server is named").help(
                        "bootstrap-servers = \"host:9092\" in [source], or FLOE_KAFKA=host:9092",
                    )
                })?;
            Origin::Kafka {
                topics: topic_names(topics, several)?,
                bootstrap_servers,
                properties: table.properties,
            }
        }
    };
    Ok(SourceSpec {
        name,
        origin,
        start,
        format,
        tombstone_rows,
        columns,
        event_time,
        new_partitions,
    })
}

fn event_time(table: EventTimeTable) -> Result<EventTimeSpec, Problem> {
    if table.unit.is_some() && table.field.is_none() {
        return Err(Problem::new(
            "source.event-time.unit",
            "unit is for a field, and without one event time is the records' own timestamp",
        )
        .help("add field = \"…\", or take unit out"));
    }
    let idle_after = table.idle_after.map(|it| it.0);
    if idle_after.is_some_and(|it| it < IDLE_AFTER_MIN) {
        return Err(Problem::new("source.event-time.idle-after", "idle-after is below 10ms")
            .help("longer than records are on their way: \"30s\" is a beginning"));
    }
    Ok(EventTimeSpec {
        field: table.field,
        unit: table.unit.map(|it| match it {
            UnitName::S => TimeUnit::Second,
            UnitName::Ms => TimeUnit::Millisecond,
            UnitName::Us => TimeUnit::Microsecond,
            UnitName::Ns => TimeUnit::Nanosecond,
        }),
        out_of_order: table.out_of_order.map_or(Duration::ZERO, |it| it.0),
        idle_after,
    })
}

fn topic_names(OneOrMany(mut names): OneOrMany, several: bool) -> Result<Topics, Problem> {
    if let [one] = names.as_slice()
        && let Some(pattern) = one.strip_prefix('/').and_then(|it| it.strip_suffix('/'))
        && !pattern.is_empty()
    {
        if several {
            let what = "a pattern of topics is for a source that is alone";
            return Err(Problem::new("source.kafka", what)
                .help("name the topics: the checkpoint keeps which topic is which source's"));
        }
        return Ok(Topics::Pattern(pattern.to_owned()));
    }
    names.sort();
    names.dedup();
    names.iter().try_for_each(|it| check_topic(it, "source.kafka"))?;
    match names.is_empty() {
        true => Err(Problem::new("source.kafka", "the list of topics is empty")),
        false => Ok(Topics::Named(names)),
    }
}
