//! Another number of partitions of the source's topic: what each partition's task told of its keys, parted anew as
//! the producer parts records.
//!
//! A key's records are in one partition, and its state in that partition's task. When the topic grew, the key goes
//! to another one, and its state must be there first. So nothing is done where a record that was sent before is
//! still unread, where a key is not in the partition that its records came from, or where the partitions differ in
//! how far their event time is.

use std::collections::BTreeMap;

use floe_core::image::Capture;
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity, TopicIdentity};
use floe_core::ports::{CheckpointLog, PartitionFacts};
use floe_core::protocol::upgrade::{changed_operators, rescaled_operators};
use floe_core::task::CapturedTask;
use floe_core::{Error, ErrorKind, EventTime, Offset, Record, Result, TopicPartition};
use floe_pipeline::config::PipelineSpec;
use floe_pipeline::upgrade;

use super::apply::{newest_of, no_checkpoint, nothing_to_do, report};
use super::partitioner::Partitioner;
use super::plan::New;
use super::rescale::{Places, parted, seed};
use crate::args::UpgradeArgs;
use crate::json_text::Tree;
use crate::replay::input::{Ranges, Reading};
use crate::telemetry::facts::wall_ms;
use crate::wire::{self, Module};

/// The topic as it was and as it is.
struct Grown {
    topic: TopicIdentity,
    after: u32,
    facts: Vec<PartitionFacts>,
}

pub(super) async fn apply(
    spec: &PipelineSpec,
    new: &New,
    newest: &CheckpointManifest,
    (partitions, args): (u32, &UpgradeArgs),
) -> anyhow::Result<()> {
    let store = wire::store(spec)?;
    let Some(grown) = grown(spec, new, newest, partitions).await? else {
        return nothing_to_do(newest, args.json);
    };
    // All that can be wrong is found before the claim: a wrong command must not fence a good run.
    let tasks = floe_checkpoint::read_parts(&*store, &spec.id, newest).await?;
    unread(spec, new, &grown, &tasks, args).await?;
    let mut made = Some((newest.id, moved(tasks, spec, new, &grown, args)?));

    let mut log = wire::claim(spec, args.take_over).await?;
    let (place, newest) = newest_of(&log).ok_or_else(|| no_checkpoint(spec))?;
    let Some(grown) = self::grown(spec, new, &newest, partitions).await? else {
        return nothing_to_do(&newest, args.json);
    };
    let tasks = match made.take().filter(|it| it.0 == newest.id) {
        Some((_, tasks)) => tasks,
        // The run that was fenced had completed another checkpoint.
        None => {
            let tasks = log.restore(&newest).await?;
            unread(spec, new, &grown, &tasks, args).await?;
            moved(tasks, spec, new, &grown, args)?
        }
    };
    let mut identity = new.identity(&newest.identity)?;
    identity.topics = vec![TopicIdentity { partitions: grown.after, ..grown.topic.clone() }];
    let (written, _) =
        upgrade::complete(&mut log, (place, &newest), identity, tasks, wall_ms()).await?;
    let text = format!(
        "topic {}  {} → {} partitions, keys by {}",
        grown.topic.topic,
        grown.topic.partitions,
        grown.after,
        args.partitioner.name()
    );
    report(&newest, written, &text, args.json)?;
    if !args.json {
        println!("  then floe run goes on at epoch {}", written.epoch.0 + 1);
    }
    Ok(())
}

/// `None`: the checkpoint has so many partitions already.
async fn grown(
    spec: &PipelineSpec,
    new: &New,
    newest: &CheckpointManifest,
    partitions: u32,
) -> Result<Option<Grown>> {
    let made = &newest.identity;
    only_partitions(made, &new.identity(made)?)?;
    let [topic] = made.topics.as_slice() else {
        return Err(Error::refused(
            "the pipeline reads several topics, and keys of several topics are parted by several producers\n→ state by key belongs behind key-by; then new-partitions = \"start\" lets partitions come at any time",
        ));
    };
    if topic.partitions == partitions {
        return Ok(None);
    }
    let mut source = wire::source(spec).await?;
    let facts = wire::blocking(move || source.partitions()).await?;
    if facts.len() as u32 != partitions {
        return Err(Error::invalid(format!(
            "--partitions {partitions}: topic {} has {}",
            topic.topic,
            facts.len()
        )));
    }
    if partitions < topic.partitions {
        return Err(Error::invalid(format!(
            "--partitions {partitions}: the checkpoint has {} of topic {}, and a topic only grows",
            topic.partitions, topic.topic
        )));
    }
    if let (Some(before), Some(now)) =
        (&topic.topic_id, facts.iter().find_map(|it| it.topic_id.as_ref()))
        && before != now
    {
        return Err(Error::refused(format!(
            "topic {} was dropped and made anew since checkpoint {}: its offsets mean other records",
            topic.topic, newest.epoch
        )));
    }
    Ok(Some(Grown { topic: topic.clone(), after: partitions, facts }))
}

/// One thing is changed at a time.
fn only_partitions(made: &PipelineIdentity, now: &PipelineIdentity) -> Result<()> {
    let refused = |what: String| {
        Error::refused(format!(
            "more than the number of partitions is not as the checkpoint has it, nothing was done\n  {what}\n→ one thing at a time"
        ))
    };
    let lines = |others: Vec<floe_core::protocol::identity::Mismatch>| {
        refused(others.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))
    };
    let rescaled = rescaled_operators(made, now).map_err(lines)?;
    if let Some(index) = rescaled.first() {
        return Err(refused(format!(
            "operator {} has another number of tasks",
            now.operators[*index].name
        )));
    }
    match changed_operators(made, now).map_err(lines)?.first() {
        None => Ok(()),
        Some(index) => Err(refused(format!(
            "operator {} is another module, or configured otherwise",
            now.operators[*index].name
        ))),
    }
}

/// Records that wait must be where their keys belong now: those that were sent before the topic grew, and whose
/// keys move, would be taken by a task that has their state no more.
async fn unread(
    spec: &PipelineSpec,
    new: &New,
    grown: &Grown,
    tasks: &[CapturedTask],
    args: &UpgradeArgs,
) -> Result<()> {
    if chain_of(new).iter().all(|it| args.fresh.contains(&it.name)) {
        // No state moves.
        return Ok(());
    }
    let partitioner = args.partitioner;
    let next: BTreeMap<&TopicPartition, Offset> =
        tasks.iter().map(|it| (&it.task, it.next_offset)).collect();
    let mut ranges = Ranges::new();
    for facts in &grown.facts {
        let begin = next.get(&facts.topic_partition).copied().unwrap_or(facts.earliest);
        if begin < facts.end {
            ranges.insert(facts.topic_partition.clone(), begin..facts.end);
        }
    }
    if ranges.is_empty() {
        return Ok(());
    }
    let source = wire::source(spec).await?;
    let (before, after) = (grown.topic.partitions, grown.after);
    wire::blocking(move || {
        let mut reading = Reading::new(source, ranges)?;
        while let Some(runs) = reading.next()? {
            for records in &runs {
                let task = records.topic_partition();
                for record in records.iter() {
                    belongs(task, &record, partitioner, (before, after))?;
                }
            }
        }
        Ok(())
    })
    .await
}

/// The operators that run in the tasks of partitions.
fn chain_of(new: &New) -> &[Module] {
    &new.modules.chain[new.modules.graph.stages[0].operators.clone()]
}

fn belongs(
    task: &TopicPartition,
    record: &Record<'_>,
    partitioner: Partitioner,
    (before, after): (u32, u32),
) -> Result<()> {
    let offset = record.offset();
    let name = partitioner.name();
    let Some(key) = record.key() else {
        return Err(Error::refused(format!(
            "record {task} @ {offset} has no key: nothing says in which partition its state belongs\n→ state by key belongs behind key-by"
        )));
    };
    let (here, old, now) = (
        task.partition as u32,
        partitioner.partition_of(key, before),
        partitioner.partition_of(key, after),
    );
    let key = String::from_utf8_lossy(key);
    if here == now {
        Ok(())
    } else if here == old {
        Err(Error::refused(format!(
            "record {task} @ {offset} (key {key:?}) was sent before the topic grew and is not read yet, and its key's state would move to {}/{now}\n→ producers stop, floe run --until-end reads all, and only then the topic grows\n→ as it is now: --fresh lets the operators begin anew",
            task.topic
        )))
    } else {
        Err(Error::refused(format!(
            "record {task} @ {offset} (key {key:?}) is not where {name} puts it ({}/{now})\n→ the producer has another partitioner: --partitioner",
            task.topic
        )))
    }
}

/// The tasks of the checkpoint with those of all partitions.
fn moved(
    tasks: Vec<CapturedTask>,
    spec: &PipelineSpec,
    new: &New,
    grown: &Grown,
    args: &UpgradeArgs,
) -> Result<Vec<CapturedTask>> {
    let (old, mut all): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|it| it.task.stage().is_none());
    if old.len() != grown.topic.partitions as usize {
        return Err(Error::corrupt(format!(
            "the checkpoint has {} tasks of topic {}, and says {} partitions",
            old.len(),
            grown.topic.topic,
            grown.topic.partitions
        )));
    }
    let chain = chain_of(new);
    for name in &args.fresh {
        if !chain.iter().any(|it| it.name == *name) {
            return Err(Error::invalid(format!(
                "--fresh {name}: no operator of that name runs in the tasks of partitions"
            )));
        }
    }
    let watermark = old[0].watermark;
    if let Some(other) = old.iter().find(|it| it.watermark != watermark)
        && !chain.iter().all(|it| args.fresh.contains(&it.name))
    {
        return Err(Error::refused(format!(
            "the watermark of {} is {} ms, and that of {} is {} ms: a key that moves would see its event time go back, or forth\n→ state by key with event time belongs behind key-by",
            old[0].task, watermark.0, other.task, other.watermark.0
        )));
    }
    let virtual_time = old.iter().map(|it| it.virtual_time).max().unwrap_or(EventTime::MIN);
    let mut made: Vec<CapturedTask> = grown
        .facts
        .iter()
        .map(|facts| {
            let task = facts.topic_partition.clone();
            let before = old.iter().find(|it| it.task == task);
            CapturedTask {
                task,
                operators: Vec::new(),
                journal: Journal::default(),
                next_offset: before.map_or(facts.earliest, |it| it.next_offset),
                virtual_time,
                watermark,
                records: before.map_or(0, |it| it.records),
                in_flight: InFlight::default(),
            }
        })
        .collect();
    let keys = Producer(args.partitioner);
    for (index, module) in chain.iter().enumerate() {
        let refused = |error: Error| match error.kind {
            ErrorKind::Operator => Error::refused(error.message),
            _ => error,
        };
        let states = match args.fresh.contains(&module.name) {
            true => None,
            false => Some(parted(module, &old, index, &keys, grown.after).map_err(refused)?),
        };
        for (number, task) in made.iter_mut().enumerate() {
            let seed = seed((&spec.id, 0), &old, index, number);
            let operator = match &states {
                None => module.factory.open(&task.task, seed),
                Some(states) => module.factory.import(&task.task, seed, &states[number]),
            };
            let image = operator.map_err(refused)?.capture(Capture::Whole)?;
            task.operators.push((module.name.clone(), image));
        }
    }
    all.extend(made);
    all.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(all)
}

/// Keys are those of records, and a record's key is the text of the state's.
struct Producer(Partitioner);

impl Places for Producer {
    fn tasks_of(&self, keys: &[&Tree], tasks: u32) -> Result<Vec<usize>> {
        let place = |key: &&Tree| -> Result<usize> {
            let Tree::Leaf(text) = key else {
                return Err(Error::refused(format!(
                    "{} is no key of a record: of several columns it is not known how the producer writes them",
                    key.line()
                )));
            };
            // A quoted text is its bytes; a number is a key as it is written.
            let bytes = match text.starts_with('"') {
                true => serde_json::from_str::<String>(text)
                    .map_err(|error| Error::corrupt(format!("a key of a state: {error}")))?,
                false => text.clone(),
            };
            Ok(self.0.partition_of(bytes.as_bytes(), tasks) as usize)
        };
        keys.iter().map(place).collect()
    }

    fn text(&self) -> &'static str {
        "the keys of records, as the producer parts them"
    }
}

#[cfg(test)]
mod tests {
    use floe_core::Records;

    use super::*;

    #[test]
    fn a_record_belongs_where_its_key_goes_now() {
        let check = |key: Option<&str>, partition: u32| {
            let task = TopicPartition::new("payments", partition as i32);
            let mut records = Records::new(task.clone(), Offset(9));
            records.push(Offset(9), EventTime(0), key.map(str::as_bytes), None);
            belongs(&task, &records.get(0), Partitioner::Murmur2, (4, 8))
        };
        let message = |key, partition| check(key, partition).unwrap_err().message;
        let of = |key: &str, of| Partitioner::Murmur2.partition_of(key.as_bytes(), of);
        let keys: Vec<String> = (0..50).map(|it| format!("m-{it}")).collect();
        let moves = keys.iter().find(|it| of(it, 4) != of(it, 8)).unwrap();
        let stays = keys.iter().find(|it| of(it, 4) == of(it, 8)).unwrap();
        check(Some(moves), of(moves, 8)).unwrap();
        check(Some(stays), of(stays, 4)).unwrap();
        assert!(message(Some(moves), of(moves, 4)).contains("was sent before the topic grew"));
        assert!(message(Some(stays), of(stays, 8) + 1).contains("is not where murmur2 puts it"));
        assert!(message(None, 0).contains("has no key"));
    }

    #[test]
    fn keys_of_a_state_are_the_bytes_of_records_keys() {
        let keys = Producer(Partitioner::Murmur2);
        let leaf = |text: &str| Tree::Leaf(text.to_owned());
        let (text, number, escaped) = (leaf("\"21\""), leaf("21"), leaf("\"a\\\"b\""));
        let of = |key: &[u8]| Partitioner::Murmur2.partition_of(key, 1000) as usize;
        let places = keys.tasks_of(&[&text, &number, &escaped], 1000).unwrap();
        assert_eq!(places, [of(b"21"), of(b"21"), of(b"a\"b")]);
        let several = Tree::List(vec![leaf("1"), leaf("2")]);
        assert!(keys.tasks_of(&[&several], 2).unwrap_err().message.contains("several columns"));
    }
}
