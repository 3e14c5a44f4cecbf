//! The start of a run: identity, assignment, and one task per partition, restored or opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe_core::event_time::{EventTime, WatermarkRule};
use floe_core::graph::{Graph, Wires};
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, OperatorIdentity, PipelineIdentity, TopicIdentity};
use floe_core::ports::{
    CheckpointLog, DecoderFactory, OperatorFactory, PartitionFacts, Source, StartAt,
};
use floe_core::task::CapturedTask;
use floe_core::{Error, Offset, Position, Result, TopicPartition};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::recovery::{Start, start_position};
use crate::task::{Link, Task};
use crate::wiring::{OnError, OperatorWiring, RunConfig};

pub(crate) fn identity_now(
    config: &RunConfig,
    decoder: &dyn DecoderFactory,
    operators: &[OperatorWiring],
    partitions: &[PartitionFacts],
) -> PipelineIdentity {
    let mut topics: BTreeMap<&str, TopicIdentity> = BTreeMap::new();
    for facts in partitions {
        let topic = &facts.topic_partition.topic;
        topics
            .entry(topic)
            .or_insert_with(|| TopicIdentity {
                topic: topic.to_string(),
                topic_id: facts.topic_id.clone(),
                partitions: 0,
            })
            .partitions += 1;
    }
    PipelineIdentity {
        pipeline: config.pipeline.clone(),
        guarantee: config.guarantee.name().to_owned(),
        topics: topics.into_values().collect(),
        operators: operators
            .iter()
            .map(|it| {
                let description = it.factory.describe();
                OperatorIdentity {
                    name: it.name.clone(),
                    module_hash: description.module_hash,
                    config_hash: description.config_hash,
                    state_version: description.state_version,
                }
            })
            .collect(),
        decoder: decoder.name().to_owned(),
        engine: config.engine.clone(),
        isa: config.isa.clone(),
    }
}

/// Assigns the checkpoint's position, and the start for partitions that it does not know.
pub(crate) async fn assign(
    mut source: Box<dyn Source>,
    newest: Option<Arc<CheckpointManifest>>,
    partitions: Vec<PartitionFacts>,
    start: StartAt,
) -> Result<(Position, Box<dyn Source>)> {
    blocking(move || {
        let known = newest.as_ref().map(|it| it.position()).unwrap_or_default();
        let unknown: Vec<TopicPartition> = partitions
            .iter()
            .map(|it| it.topic_partition.clone())
            .filter(|it| !known.0.contains_key(it))
            .collect();
        // A partition that appears beside a checkpoint is read whole: nothing of it was ever seen.
        let start = if newest.is_some() { StartAt::Earliest } else { start };
        let fresh = source.resolve_start(&unknown, start)?;
        for facts in &partitions {
            if let Some(wanted) = known.0.get(&facts.topic_partition)
                && (*wanted < facts.earliest || *wanted > facts.end)
            {
                return Err(out_of_range(facts, *wanted));
            }
        }
        let position = start_position(newest.as_deref(), &partitions, &fresh);
        source.assign(&position)?;
        Ok((position, source))
    })
    .await
}

fn out_of_range(facts: &PartitionFacts, wanted: floe_core::Offset) -> Error {
    let lost = if wanted < facts.earliest {
        format!(
            "records {wanted}..{} are gone: retention passed them before they were read",
            facts.earliest
        )
    } else {
        "the partition ends before it: the topic was made anew or truncated".to_owned()
    };
    Error::refused(format!(
        "{}: the checkpoint goes on at offset {wanted}, and offsets {}..{} are available\n  {lost}\n  → restore the records, or start anew with another [pipeline] id; floe never resets an offset by itself",
        facts.topic_partition, facts.earliest, facts.end
    ))
}

/// What every task is made of.
pub(crate) struct TaskParts<'a> {
    pub(crate) decoder: &'a Arc<dyn DecoderFactory>,
    pub(crate) operators: &'a [OperatorWiring],
    pub(crate) graph: &'a Graph,
}

/// One task per partition: restored where the checkpoint has it, else opened.
pub(crate) async fn open_tasks(
    config: &RunConfig,
    log: &dyn CheckpointLog,
    start: &Start,
    parts: &TaskParts<'_>,
    position: &Position,
) -> Result<Vec<Task>> {
    let restored = match &start.newest {
        None => Vec::new(),
        Some((_, manifest)) => log.restore(manifest).await?,
    };
    let mut restored: BTreeMap<TopicPartition, CapturedTask> =
        restored.into_iter().map(|it| (it.task.clone(), it)).collect();
    let TaskParts { decoder, operators, graph } = *parts;
    let wires = Arc::new(graph.wires(0));
    let parts: Vec<_> = position
        .0
        .iter()
        .map(|(task, offset)| (task.clone(), *offset, restored.remove(task)))
        .collect();
    let links: Vec<(Arc<str>, OnError, Arc<dyn OperatorFactory>)> = operators
        .iter()
        .map(|it| (Arc::from(it.name.as_str()), it.on_error, Arc::clone(&it.factory)))
        .collect();
    let opening = Arc::new(Opening {
        pipeline: config.pipeline.clone(),
        decoder: Arc::clone(decoder),
        links,
        wires,
        watermark_rule: config.event_time,
    });
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    futures::stream::iter(parts)
        .map(|(task, next_offset, captured)| {
            let opening = Arc::clone(&opening);
            // A task's image is dropped as soon as its instances have it.
            blocking(move || opening.task(task, next_offset, captured))
        })
        .buffered(threads)
        .try_collect()
        .await
}

/// What all tasks are opened or restored with.
struct Opening {
    pipeline: String,
    decoder: Arc<dyn DecoderFactory>,
    links: Vec<(Arc<str>, OnError, Arc<dyn OperatorFactory>)>,
    wires: Arc<Wires>,
    watermark_rule: Option<WatermarkRule>,
}

impl Opening {
    fn task(
        &self,
        task: TopicPartition,
        next_offset: Offset,
        captured: Option<CapturedTask>,
    ) -> Result<Task> {
        let chain = self
            .links
            .iter()
            .enumerate()
            .map(|(index, (name, on_error, factory))| {
                let operator = match &captured {
                    Some(captured) => factory.restore(&task, &captured.operators[index].1)?,
                    None => factory.open(&task, seed(&self.pipeline, &task, name))?,
                };
                Ok(Link {
                    name: Arc::clone(name),
                    on_error: *on_error,
                    factory: Arc::clone(factory),
                    counted: None,
                    operator,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let virtual_time = captured.as_ref().map_or(EventTime::MIN, |it| it.virtual_time);
        let watermark = captured.as_ref().map_or(EventTime::MIN, |it| it.watermark);
        let records = captured.as_ref().map_or(0, |it| it.records);
        Ok(Task {
            task,
            decoder: self.decoder.decoder(),
            chain,
            wires: Arc::clone(&self.wires),
            next_offset,
            virtual_time,
            watermark,
            watermark_rule: self.watermark_rule,
            records,
            journal: Journal::default(),
            careful_from: None,
        })
    }
}

/// The seed of an operator's random numbers: the same for the same pipeline, task and operator.
fn seed(pipeline: &str, task: &TopicPartition, operator: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{pipeline}\0{task}\0{operator}").as_bytes())
}

/// Runs what blocks on a thread where it may; on a runtime of one thread, which a simulation uses, at once.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
