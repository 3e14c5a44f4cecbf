//! The pipeline's source, from where the pipeline began to where the table's newest epoch ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::schema::KnownSchemas;
use floe_core::{Error, Offset, Result, TopicPartition};
use floe_operator::InputDecoder;
use floe_pipeline::config::{PipelineSpec, SourceSpec};

use super::reader::{Partition, SourceReader};
use super::span::Span;
use crate::replay::input::{Ranges, Reading};
use crate::wire;

pub(super) struct SourceTruth {
    /// With this source alone.
    spec: PipelineSpec,
    pub(super) columns: SchemaRef,
    decoder: InputDecoder,
    parts: Vec<Part>,
    /// For the first reading: to open a long recording takes its time.
    connected: Mutex<Option<Box<dyn Source>>>,
}

/// What is read of a partition.
struct Part {
    task: TopicPartition,
    earliest: Offset,
    begin: Offset,
    end: Offset,
    /// Records behind `begin` that the pipeline did not take.
    skip: u64,
    /// Records that it took, where a checkpoint says so.
    taken: Option<u64>,
}

impl SourceTruth {
    /// `names` are columns that are wanted; those that the operator does not take have the table's types.
    pub(super) async fn of(
        spec: &PipelineSpec,
        name: Option<&str>,
        (names, types): (&[String], &Schema),
        span: &Span,
    ) -> Result<SourceTruth> {
        let number = number_of(spec, name)?;
        let source = spec.sources[number].clone();
        let known: Arc<KnownSchemas> = Arc::default();
        if let (Some(_), Some(store)) = (source.registry(), wire::store_to_read(spec)?) {
            wire::schemas::recall(&store, &spec.id, &known).await?;
        }
        let for_modules = spec.clone();
        let input = wire::blocking(move || {
            let modules = wire::modules(&for_modules)?;
            let reader = modules.graph.readers[number];
            Ok(Arc::clone(&modules.chain[reader].factory.describe().input))
        });
        let columns = with_columns(&input.await?, names, types)?;
        let decoder = wire::decoder_to(&source, Arc::clone(&columns), &known)?;
        let several = spec.sources.len() > 1;
        let mut spec = spec.clone();
        spec.sources = vec![source.clone()];
        let mut connected = wire::source(&spec).await?;
        let asked = wire::blocking(move || connected.partitions().map(|it| (it, connected)));
        let (facts, connected) = asked.await?;
        let parts = parts(&source, facts, several, span)?;
        let connected = Mutex::new(Some(connected));
        Ok(SourceTruth { spec, columns, decoder, parts, connected })
    }

    pub(super) fn label(&self) -> String {
        let mut topics: Vec<&str> = self.parts.iter().map(|it| &*it.task.topic).collect();
        topics.dedup();
        format!("{}, {} partitions", topics.join(", "), self.parts.len())
    }

    /// Nothing of the checkpoints says how many records there were, so none can be missed.
    pub(super) fn is_unchecked(&self) -> bool {
        self.parts.iter().any(|it| it.taken.is_none())
    }

    pub(super) async fn open(&self) -> Result<SourceReader> {
        let ranges: Ranges =
            self.parts.iter().map(|it| (it.task.clone(), it.begin..it.end)).collect();
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner).take();
        let source = match connected {
            Some(connected) => connected,
            None => wire::source(&self.spec).await?,
        };
        let reading = Reading::new(source, ranges)?;
        let part = |it: &Part| Partition { task: it.task.clone(), skip: it.skip, records: 0 };
        Ok(SourceReader::new(reading, &self.decoder, self.parts.iter().map(part).collect()))
    }

    /// Holds what was read against what the pipeline took. `true`: it began elsewhere, and all is to be read
    /// again from there.
    pub(super) fn settle(&mut self, read: &[Partition]) -> Result<bool> {
        let mut again = false;
        for part in &mut self.parts {
            let records = read.iter().find(|it| it.task == part.task).map_or(0, |it| it.records);
            match part.taken {
                Some(taken) if records > taken => {
                    part.skip += records - taken;
                    again = true;
                }
                Some(taken) if records < taken && part.begin > part.earliest => {
                    (part.begin, part.skip) = (part.earliest, 0);
                    again = true;
                }
                Some(taken) if records < taken => {
                    return Err(Error::refused(format!(
                        "{}: the pipeline took {taken} records up to offset {}, and the source has {records} of them\n  retention or compaction has taken the others out, or the pipeline went back and took some twice\n→ --against a file or a table that has all of them",
                        part.task, part.end
                    )));
                }
                Some(_) | None => {}
            }
        }
        Ok(again)
    }
}

fn number_of(spec: &PipelineSpec, name: Option<&str>) -> Result<usize> {
    let names: Vec<&str> = spec.sources.iter().map(|it| it.name.as_str()).collect();
    let known = names.join(", ");
    match name {
        Some(name) => names.iter().position(|it| *it == name).ok_or_else(|| {
            Error::invalid(format!("the pipeline has no source {name:?}\n→ it has {known}"))
        }),
        None if names.len() == 1 => Ok(0),
        None => Err(Error::invalid(format!(
            "the pipeline has several sources\n→ --source NAME says which one the table is held against: {known}"
        ))),
    }
}

/// The operator's columns, so that the same records are rejected, and those that are wanted beside them.
fn with_columns(input: &SchemaRef, names: &[String], types: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = input.fields().iter().map(|it| it.as_ref().clone()).collect();
    for name in names {
        if fields.iter().any(|it| it.name() == name) {
            continue;
        }
        let own = match name.as_str() {
            "_topic" | "_source" => Some(DataType::Utf8),
            "_partition" => Some(DataType::Int32),
            "_offset" | "_timestamp" => Some(DataType::Int64),
            "_key" => Some(DataType::Binary),
            _ => None,
        };
        let kind = match own {
            Some(kind) => kind,
            None => match types.field_with_name(name) {
                Ok(field) => field.data_type().clone(),
                Err(_) => {
                    let known: Vec<&str> =
                        input.fields().iter().map(|it| it.name().as_str()).collect();
                    return Err(Error::invalid(format!(
                        "column {name:?} is neither in the operator's input nor in the table, so its type is not known\n→ the operator takes {}",
                        known.join(", ")
                    )));
                }
            },
        };
        fields.push(Field::new(name, kind, !name.starts_with('_') || name == "_key"));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn parts(
    source: &SourceSpec,
    facts: Vec<PartitionFacts>,
    several: bool,
    span: &Span,
) -> Result<Vec<Part>> {
    let topics = source.topics();
    let facts: BTreeMap<TopicPartition, PartitionFacts> = facts
        .into_iter()
        .filter(|it| !several || topics.iter().any(|topic| **topic == *it.topic_partition.topic))
        .map(|it| (it.topic_partition.clone(), it))
        .collect();
    let mut parts = Vec::new();
    for (task, end) in &span.position.0 {
        let Some(facts) = facts.get(task) else {
            if several {
                continue;
            }
            return Err(Error::refused(format!(
                "the source has no partition {task} any more, and the table holds records of it\n→ --against a file or a table that has them"
            )));
        };
        if facts.end < *end {
            return Err(Error::refused(format!(
                "{task}: the table holds records up to offset {end}, and the source ends at {}\n→ is it another topic of that name? --against a file or a table that has all records",
                facts.end
            )));
        }
        let newest =
            span.newest.as_ref().and_then(|it| it.tasks.iter().find(|it| it.task == *task));
        let begin = match (source.start, newest) {
            (StartAt::Earliest, _) | (_, None) => facts.earliest,
            // Where no offset is without a record, it began here.
            (_, Some(newest)) => {
                let begin = newest.next_offset.0.saturating_sub_unsigned(newest.records);
                Offset(begin.clamp(facts.earliest.0, end.0.max(facts.earliest.0)))
            }
        };
        parts.push(Part {
            task: task.clone(),
            earliest: facts.earliest,
            begin,
            end: *end,
            skip: 0,
            taken: span.records.as_ref().map(|it| it.get(task).copied().unwrap_or(0)),
        });
    }
    Ok(parts)
}
