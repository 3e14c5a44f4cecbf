//! The start of a run: identity, assignment, and all tasks, restored or opened.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use floe_core::event_time::{EventTime, WatermarkRule};
use floe_core::exchange::KeyColumns;
use floe_core::graph::{Graph, Keyed, Port, Stage, Wires};
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, OperatorIdentity, PipelineIdentity, TopicIdentity};
use floe_core::ports::{
    CheckpointLog, DecoderFactory, OperatorFactory, PartitionFacts, Source, StartAt,
};
use floe_core::task::CapturedTask;
use floe_core::{Error, Offset, Position, Result, TopicPartition};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::keyed::KeyedTask;
use crate::link::Link;
use crate::passed::Next;
use crate::recovery::{Start, start_position};
use crate::task::{DecodesFor, Task};
use crate::wiring::{OnError, OperatorWiring, RunConfig};

pub(crate) fn identity_now(
    config: &RunConfig,
    decoder: &dyn DecoderFactory,
    operators: &[OperatorWiring],
    graph: &Graph,
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
    let name = |port: Port| {
        let from = &operators[port.operator];
        let output = from.factory.describe().outputs.get(port.output as usize);
        format!("{}.{}", from.name, output.map_or("", |it| it.0.as_str()))
    };
    PipelineIdentity {
        pipeline: config.pipeline.clone(),
        guarantee: config.guarantee.name().to_owned(),
        topics: topics.into_values().collect(),
        operators: operators
            .iter()
            .enumerate()
            .map(|(index, it)| {
                let description = it.factory.describe();
                let (inputs, keyed) = graph.identity(index, &name);
                OperatorIdentity {
                    name: it.name.clone(),
                    module_hash: description.module_hash,
                    config_hash: description.config_hash,
                    state_version: description.state_version,
                    inputs,
                    keyed,
                }
            })
            .collect(),
        decoder: decoder.name().to_owned(),
        engine: config.engine.clone(),
        isa: config.isa.clone(),
    }
}

/// The source that a partition's records are of.
pub(crate) fn source_of(graph: &Graph, partition: &TopicPartition) -> Result<usize> {
    graph
        .source_of(partition)
        .ok_or_else(|| Error::invalid(format!("{partition} is of no source: none names its topic")))
}

/// Where partitions begin that no checkpoint knows.
pub(crate) type Starts = BTreeMap<TopicPartition, StartAt>;

/// Assigns the checkpoint's position, and the start for partitions that it does not know.
pub(crate) async fn assign(
    mut source: Box<dyn Source>,
    newest: Option<Arc<CheckpointManifest>>,
    partitions: Vec<PartitionFacts>,
    starts: Starts,
) -> Result<(Position, Box<dyn Source>)> {
    blocking(move || {
        let known = newest.as_ref().map(|it| it.position()).unwrap_or_default();
        let mut unknown: Vec<(StartAt, Vec<TopicPartition>)> = Vec::new();
        for (partition, start) in starts.into_iter().filter(|it| !known.0.contains_key(&it.0)) {
            // A partition that appears beside a checkpoint is read whole: nothing of it was ever seen.
            let start = if newest.is_some() { StartAt::Earliest } else { start };
            match unknown.iter_mut().find(|it| it.0 == start) {
                Some((_, of_start)) => of_start.push(partition),
                None => unknown.push((start, vec![partition])),
            }
        }
        let mut fresh = Position::default();
        for (start, partitions) in unknown {
            fresh.0.extend(source.resolve_start(&partitions, start)?.0);
        }
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

/// All tasks of a run.
pub(crate) struct Tasks {
    /// One for each partition, in order of their names.
    pub(crate) source: Vec<Task>,
    /// Of each keyed stage, by their numbers.
    pub(crate) keyed: Vec<Vec<KeyedTask>>,
}

/// Tasks are restored where the checkpoint has them, else opened.
pub(crate) async fn open_tasks(
    config: &RunConfig,
    log: &dyn CheckpointLog,
    start: &Start,
    parts: &TaskParts<'_>,
    position: &Position,
) -> Result<Tasks> {
    let restored = match &start.newest {
        None => Vec::new(),
        Some((_, manifest)) => log.restore(manifest).await?,
    };
    let mut restored: BTreeMap<TopicPartition, CapturedTask> =
        restored.into_iter().map(|it| (it.task.clone(), it)).collect();
    let TaskParts { decoder, operators, graph } = *parts;
    let opening = Arc::new(Opening {
        pipeline: config.pipeline.clone(),
        decoder: Arc::clone(decoder),
        links: operators.iter().map(OperatorLink::of).collect(),
        stages: graph.stages.iter().map(|it| it.operators.clone()).collect(),
        wires: (0..graph.stages.len()).map(|it| Arc::new(graph.wires(it))).collect(),
        readers: graph.readers.clone(),
        watermark_rules: config.sources.iter().map(|it| it.event_time).collect(),
    });
    let mut wanted = Vec::new();
    for (number, (task, offset)) in (0..).zip(&position.0) {
        let stage = source_of(graph, task)?;
        wanted.push(Wanted { stage, number, task: task.clone(), next_offset: *offset });
    }
    for (stage, of, keyed) in graph.keyed_stages() {
        for number in 0..keyed.tasks {
            let task = TopicPartition::of_stage(&operators[of.operators.start].name, number);
            wanted.push(Wanted { stage, number, task, next_offset: Offset(0) });
        }
    }
    let mut in_flight: BTreeMap<TopicPartition, InFlight> = BTreeMap::new();
    for (task, captured) in &mut restored {
        in_flight.insert(task.clone(), std::mem::take(&mut captured.in_flight));
    }
    let wanted: Vec<(Wanted, Option<CapturedTask>)> = wanted
        .into_iter()
        .map(|it| {
            let captured = restored.remove(&it.task);
            (it, captured)
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    let opened: Vec<Opened> = futures::stream::iter(wanted)
        .map(|(wanted, captured)| {
            let opening = Arc::clone(&opening);
            // A task's image is dropped as soon as its instances have it.
            blocking(move || opening.task(wanted, captured))
        })
        .buffered(threads)
        .try_collect()
        .await?;
    let mut tasks = Tasks { source: Vec::new(), keyed: Vec::new() };
    let sources = graph.sources.len();
    tasks.keyed.resize_with(graph.stages.len() - sources, Vec::new);
    for opened in opened {
        match opened {
            Opened::Source(task) => tasks.source.push(*task),
            Opened::Keyed(stage, task) => tasks.keyed[stage - sources].push(*task),
        }
    }
    // Each knows how far those before it have come.
    let (mut before, mut upstream): (Vec<TopicPartition>, Vec<EventTime>) =
        tasks.source.iter().map(|it| (it.task.clone(), it.watermark)).unzip();
    for stage in &mut tasks.keyed {
        let all = before.into();
        for task in stage.iter_mut() {
            let in_flight = in_flight.remove(&task.task).unwrap_or_default();
            task.restore(&all, &upstream, in_flight)?;
        }
        (before, upstream) = stage.iter().map(|it| (it.task.clone(), it.watermark)).unzip();
    }
    Ok(tasks)
}

/// A task that is to be there.
struct Wanted {
    stage: usize,
    /// Among the tasks of its stage; among those of all partitions, whatever their source.
    number: u32,
    task: TopicPartition,
    next_offset: Offset,
}

enum Opened {
    Source(Box<Task>),
    Keyed(usize, Box<KeyedTask>),
}

#[derive(Clone)]
struct OperatorLink {
    name: Arc<str>,
    on_error: OnError,
    factory: Arc<dyn OperatorFactory>,
}

impl OperatorLink {
    fn of(wiring: &OperatorWiring) -> OperatorLink {
        OperatorLink {
            name: Arc::from(wiring.name.as_str()),
            on_error: wiring.on_error,
            factory: Arc::clone(&wiring.factory),
        }
    }
}

/// What all tasks are opened or restored with.
struct Opening {
    pipeline: String,
    decoder: Arc<dyn DecoderFactory>,
    links: Vec<OperatorLink>,
    /// The operators of each stage.
    stages: Vec<Range<usize>>,
    wires: Vec<Arc<Wires>>,
    /// For each source, which is a stage, too.
    readers: Vec<usize>,
    watermark_rules: Vec<Option<WatermarkRule>>,
}

impl Opening {
    fn task(&self, wanted: Wanted, captured: Option<CapturedTask>) -> Result<Opened> {
        let Wanted { stage, number, task, next_offset } = wanted;
        let chain = self.links[self.stages[stage].clone()]
            .iter()
            .enumerate()
            .map(|(index, OperatorLink { name, on_error, factory })| {
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
        let wires = Arc::clone(&self.wires[stage]);
        let virtual_time = captured.as_ref().map_or(EventTime::MIN, |it| it.virtual_time);
        let watermark = captured.as_ref().map_or(EventTime::MIN, |it| it.watermark);
        let records = captured.as_ref().map_or(0, |it| it.records);
        let journal = Journal::default();
        let Some(reader) = self.readers.get(stage) else {
            return Ok(Opened::Keyed(
                stage,
                Box::new(KeyedTask {
                    task,
                    number,
                    chain,
                    wires,
                    before: Arc::default(),
                    upstream: Vec::new(),
                    restored: Vec::new(),
                    virtual_time,
                    watermark,
                    records,
                    journal,
                    careful: false,
                }),
            ));
        };
        let reader = &self.links[*reader];
        Ok(Opened::Source(Box::new(Task {
            decoder: self.decoder.decoder_of(&task),
            task,
            number,
            decodes_for: DecodesFor {
                name: Arc::clone(&reader.name),
                on_error: reader.on_error,
                module_hash: reader.factory.describe().module_hash,
            },
            chain,
            wires,
            next_offset,
            virtual_time,
            watermark,
            watermark_rule: self.watermark_rules[stage],
            records,
            journal,
            schemas: BTreeMap::new(),
            careful_from: None,
        })))
    }
}

/// For each keyed stage, what parts its rows; who runs its tasks is known later.
pub(crate) fn keyed_stages(graph: &Graph, operators: &[OperatorWiring]) -> Result<Vec<Next>> {
    let next = |(_, stage, keyed): (usize, &Stage, &Keyed)| -> Result<Next> {
        let operator = &operators[stage.operators.start];
        let key = KeyColumns::find(&operator.factory.describe().input, &keyed.columns);
        let key = key.map_err(|it| it.context(format!("operator {}: key-by", operator.name)));
        key.map(|key| Next { key, tasks: keyed.tasks, workers: 1 })
    };
    graph.keyed_stages().map(next).collect()
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
