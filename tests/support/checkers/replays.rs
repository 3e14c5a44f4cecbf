//! Checks that what is kept can be run again: from the oldest kept checkpoint to the newest, each task by its
//! journal, those of the keyed stage by the order in which rows were merged; every state comes out the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use floe_checkpoint::read_log;
use floe_core::ports::{Listed, ObjectStore, OperatorFactory, Put};
use floe_core::{Error, EventTime, Offset, Records, Result, TopicPartition};
use floe_replay::{EpochDone, Link, Nobody, TaskReplay};

use crate::simulation::Plan;
use crate::simulation::host::graph;
use crate::simulation::merged::{MERGED, MergedFactory};
use crate::simulation::operator::SimFactory;
use crate::simulation::source::{InputRecord, SimDecoder};
use crate::simulation::world::{PIPELINE, State, World};

pub fn check(plan: &Plan, state: &State) -> Vec<String> {
    let store = Kept(state.stores[0].clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without input and output");
    match runtime.block_on(replayed(plan, state, &store)) {
        Ok(epochs) => epochs
            .into_iter()
            .filter_map(|(task, it)| {
                let what = it.difference?;
                Some(format!("epoch {} of {task} is not what a replay makes: {what:?}", it.epoch))
            })
            .collect(),
        Err(error) => vec![format!("what is kept cannot be run again: {error}")],
    }
}

async fn replayed(
    plan: &Plan,
    state: &State,
    store: &Kept,
) -> Result<Vec<(TopicPartition, EpochDone)>> {
    let log = read_log(store, PIPELINE).await?;
    // Older ones may stand in the log and have lost objects already, where a sweep died.
    let mut kept: Vec<_> = log.manifests().map(|it| it.1).rev().take(plan.keep).collect();
    kept.reverse();
    let (Some(oldest), Some(newest)) = (kept.first(), kept.last()) else { return Ok(Vec::new()) };
    let from = if oldest.predecessor.is_none() { 0 } else { oldest.epoch.0 };
    if from == newest.epoch.0 {
        return Ok(Vec::new());
    }
    let kept = floe_replay::plan::load(store, PIPELINE, from, Some(newest.epoch.0), None).await?;
    // What the operators notice there is no concern of the world that is judged.
    let world = World::new(plan, None);
    let link = |name: &str, factory: Arc<dyn OperatorFactory>| Link {
        name: Arc::from(name),
        factory,
        dead_letters: plan.dead_letters,
    };
    let links = [
        link("totals", Arc::new(SimFactory::new(&world))),
        link(MERGED, Arc::new(MergedFactory::new(&world))),
    ];
    let graph = graph(plan.keyed_tasks);
    let mut of_partitions = Vec::new();
    let mut keyed = Vec::new();
    for task in kept.all_tasks() {
        let (captured, epochs) = (kept.tasks.get(&task), kept.of_task(&task));
        let replay =
            TaskReplay::new(PIPELINE, &task, captured, &links, &graph, &SimDecoder, epochs)?;
        if replay.level() == 0 { &mut of_partitions } else { &mut keyed }.push(replay);
    }
    let ranges = kept.input();
    let mut done = Vec::new();
    for mut replay in of_partitions {
        let task = replay.task().clone();
        let mut epochs = replay.go_on(&mut Nobody)?;
        if let Some(range) = ranges.get(&task) {
            let input = &state.input[task.partition as usize];
            epochs.extend(replay.feed(records(&task, input, range.clone()), &mut Nobody)?);
        }
        replay.lacking().map_or(Ok(()), Err)?;
        for (number, passed) in (0..).zip(replay.take_passed()) {
            let to = keyed.iter_mut().find(|it| it.task().partition == number);
            let to = to.ok_or_else(|| Error::corrupt(format!("no keyed task {number} is kept")))?;
            to.put(&task, passed);
        }
        done.extend(epochs.into_iter().map(|it| (task.clone(), it)));
    }
    for mut replay in keyed {
        replay.is_last();
        let task = replay.task().clone();
        let epochs = replay.go_on(&mut Nobody)?;
        done.extend(epochs.into_iter().map(|it| (task.clone(), it)));
    }
    Ok(done)
}

fn records(
    task: &TopicPartition,
    input: &[InputRecord],
    range: std::ops::Range<Offset>,
) -> Records {
    let mut records = Records::new(task.clone(), range.start);
    for it in input.iter().filter(|it| range.contains(&Offset(it.offset))) {
        let (key, value) = (it.key.to_le_bytes(), it.value.to_le_bytes());
        records.push(Offset(it.offset), EventTime(it.timestamp_ms), Some(&key), Some(&value));
    }
    records
}

/// The store as it was at the end. Nobody writes to it any more.
struct Kept(BTreeMap<String, Bytes>);

#[async_trait]
impl ObjectStore for Kept {
    async fn put_if_absent(&self, path: &str, _: Bytes) -> Result<Put> {
        Err(Error::invalid(format!("a replay writes {path}")))
    }

    async fn put(&self, path: &str, _: Bytes) -> Result<()> {
        Err(Error::invalid(format!("a replay writes {path}")))
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.0.get(path).cloned())
    }

    async fn delete(&self, path: &str) -> Result<()> {
        Err(Error::invalid(format!("a replay deletes {path}")))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let inside = self.0.iter().filter(|it| it.0.starts_with(folder));
        let listed = |(path, bytes): (&String, &Bytes)| Listed {
            path: path.clone(),
            bytes: bytes.len() as u64,
        };
        Ok(inside.map(listed).collect())
    }
}
