//! Host: a supervisor that starts the process again, as systemd would, until it is done or fenced.

use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::{ClaimRequest, OwnerIdentity, claim};
use floe_core::epoch::EntryId;
use floe_core::error::ErrorKind;
use floe_core::event_time::{EventTimeColumn, WatermarkRule};
use floe_core::graph::{Graph, Keyed, OperatorNode, SinkNode, SourceNode};
use floe_core::ports::{CheckpointLog, Clock, ObjectStore, OperatorFactory, StartAt};
use floe_core::protocol::advance::Backlog;
use floe_core::protocol::identity::NewPartitions;
use floe_pipeline::run::{
    OnError, OperatorWiring, RunConfig, SinkWiring, SourceConfig, Wiring, run,
};
use floe_pipeline::telemetry::Status;
use floe_pipeline::{Driving, Overtaking};
use tokio::sync::watch;

use crate::checkers::tables;
use crate::simulation::committer::SimCommitter;
use crate::simulation::guest::GuestFactory;
use crate::simulation::history::{Ended, How};
use crate::simulation::log::WatchedLog;
use crate::simulation::merged::{MERGED, MergedFactory};
use crate::simulation::operator::SimFactory;
use crate::simulation::plan::{Blow, BlowKind, HostPlan};
use crate::simulation::process::{Life, Process};
use crate::simulation::sink::SimWriter;
use crate::simulation::source::{OUT_OF_ORDER_MS, SimDecoder, SimSource, input_schema};
use crate::simulation::store::SimStore;
use crate::simulation::world::{LETTERS, PIPELINE, State, TABLE, World};

pub struct Host {
    pub world: Arc<World>,
    pub number: usize,
    pub plan: HostPlan,
    /// What will be done to it, in the order of time.
    pub blows: Vec<Blow>,
}

/// A supervisor gives up after so many starts.
const STARTS_MAX: u32 = 60;
/// Every fault ends, and so does every run, long before this.
const LIFE_MAX: Duration = Duration::from_secs(1800);

impl Host {
    pub async fn run(mut self) {
        tokio::time::sleep(self.plan.starts_at).await;
        let store = match self.plan.on_a_copy {
            false => 0,
            true => self.world.with(State::copy_store),
        };
        for _ in 0..STARTS_MAX {
            let process = Process::start(&self.world, self.number, store);
            let how = self.life(&process).await;
            process.turn(Life::Dead);
            self.world.trace(format!("process {} ends: {how:?}", process.pid));
            let ended = Ended { host: self.number, process: process.pid, how: how.clone() };
            self.world.with(|it| {
                it.history.ends.push(ended);
                if how == How::Finished
                    && let Some(lack) = tables::lack(it)
                {
                    let what = format!("process {} says that it finished: {lack}", process.pid);
                    it.history.notice(what);
                }
            });
            let again = match &how {
                How::Killed | How::Stopped => true,
                How::Failed(kind, _) => matches!(kind, ErrorKind::Retry | ErrorKind::Unknown),
                // Refused: another one writes. Its turn may come.
                How::NotClaimed(kind, _) => {
                    matches!(kind, ErrorKind::Retry | ErrorKind::Unknown | ErrorKind::Refused)
                }
                How::Finished | How::Hung => false,
            };
            if !again {
                return;
            }
            let pause = self.world.with(|it| it.rng.range(100..=3_000));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let what = format!("host {} was not done after {STARTS_MAX} starts", self.number);
        self.world.with(|it| it.history.notice(what));
    }

    async fn life(&mut self, process: &Arc<Process>) -> How {
        let (stopper, stop) = watch::channel(false);
        let life = live(process, self.plan.take_over, stop);
        tokio::pin!(life);
        let end = tokio::time::sleep(LIFE_MAX);
        tokio::pin!(end);
        loop {
            let now = self.world.now();
            let next = self.blows.first().copied();
            let blow = async {
                match next {
                    Some(it) => tokio::time::sleep(it.at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = process.died() => return How::Killed,
                how = &mut life => return how,
                () = &mut end => return How::Hung,
                () = blow => {
                    let blow = self.blows.remove(0);
                    strike(process, blow.kind, &stopper);
                }
            }
        }
    }
}

fn strike(process: &Arc<Process>, kind: BlowKind, stopper: &watch::Sender<bool>) {
    match kind {
        BlowKind::Kill => process.turn(Life::Dead),
        BlowKind::Stop => {
            process.world.trace(format!("process {} is told to stop", process.pid));
            stopper.send_replace(true);
        }
        BlowKind::Pause(long) => {
            process.turn(Life::Paused);
            let process = Arc::clone(process);
            tokio::spawn(async move {
                tokio::time::sleep(long).await;
                process.turn(Life::Running);
            });
        }
    }
}

/// One process from its start to its end: what the `run` command does, on simulated parts.
async fn live(process: &Arc<Process>, take_over: bool, stop: watch::Receiver<bool>) -> How {
    let plan = process.world.with(|it| Arc::clone(&it.plan));
    let log = match claimed(process, take_over).await {
        Ok(log) => log,
        Err(error) => return How::NotClaimed(error.kind, error.message),
    };
    let config = RunConfig {
        pipeline: PIPELINE.to_owned(),
        guarantee: plan.guarantee,
        interval: plan.interval,
        backlog: Backlog {
            commits_max: plan.commits_pending_max,
            bytes_max: plan.commits_pending_bytes_max,
            commit_every: plan.commit_every,
        },
        overtaking: plan
            .alignment_timeout
            .map(|after| Overtaking { after, in_flight_bytes_max: plan.in_flight_bytes_max }),
        keep: plan.keep,
        workers: plan.workers,
        batch_records_max: plan.batch_records_max,
        until_end: true,
        one_epoch: false,
        sources: vec![SourceConfig {
            start: StartAt::Earliest,
            event_time: plan.event_time.then(|| watermark_rule(plan.idle_after)),
        }],
        new_partitions: NewPartitions::Fail,
        dead_letters_max: u64::MAX,
        engine: "simulated".to_owned(),
        isa: "any".to_owned(),
        driving: Driving::InTurn(plan.seed),
    };
    let on_error = if plan.dead_letters { OnError::DeadLetter } else { OnError::Skip };
    let factory: Arc<dyn OperatorFactory> = match plan.wasm {
        true => Arc::new(GuestFactory::new(&process.world)),
        false => Arc::new(SimFactory::new(&process.world)),
    };
    let name = "totals".to_owned();
    let mut operators = vec![OperatorWiring { name, factory, on_error }];
    if plan.keyed_tasks > 0 {
        let factory = Arc::new(MergedFactory::new(&process.world));
        let name = MERGED.to_owned();
        operators.push(OperatorWiring { name, factory, on_error: OnError::Fail });
    }
    let wiring = Wiring {
        source: Box::new(SimSource::new(process)),
        decoder: Arc::new(SimDecoder),
        operators,
        graph: graph(plan.keyed_tasks),
        sinks: vec![sink(process, "totals", TABLE)],
        dead_letters: plan.dead_letters.then(|| sink(process, "letters", LETTERS)),
        log,
        clock: Arc::new(SimClock(Arc::clone(&process.world))),
    };
    let told = stop.clone();
    match run(config, wiring, stop, Arc::new(Status::default())).await {
        Ok(_) if *told.borrow() => How::Stopped,
        Ok(_) => How::Finished,
        Err(error) => How::Failed(error.kind, error.message),
    }
}

/// The operator of the partitions, and behind it one that takes rows by key, if there are tasks for it.
pub fn graph(keyed_tasks: u32) -> Graph {
    if keyed_tasks == 0 {
        return Graph::chain(1);
    }
    let operator = |name: &str, keyed| OperatorNode {
        name: name.to_owned(),
        outputs: vec![name.to_owned()],
        input: Vec::new(),
        discard: Vec::new(),
        keyed,
    };
    let keyed = Keyed { columns: vec!["key".to_owned()], tasks: keyed_tasks };
    let operators = [operator("totals", None), operator(MERGED, Some(keyed))];
    let sinks = [SinkNode { input: Vec::new() }];
    Graph::new(&[SourceNode::default()], &operators, &sinks).expect("a graph of two stages")
}

fn watermark_rule(idle_after: Option<Duration>) -> WatermarkRule {
    let column = EventTimeColumn::find(&input_schema(), "time", None);
    WatermarkRule {
        column: Some(column.expect("the input has a column time")),
        out_of_order: Duration::from_millis(OUT_OF_ORDER_MS as u64),
        idle_after,
    }
}

async fn claimed(
    process: &Arc<Process>,
    take_over: bool,
) -> floe_core::Result<Box<dyn CheckpointLog>> {
    let world = Arc::clone(&process.world);
    let (plan, mutant) = world.with(|it| (Arc::clone(&it.plan), it.mutant));
    let store: Arc<dyn ObjectStore> = Arc::new(SimStore { process: Arc::clone(process) });
    let ids = Arc::clone(&world);
    let of_store = process.store;
    let alive = |pid: u32| world.with(|it| it.alive.get(&pid).copied().unwrap_or(false));
    let request = ClaimRequest {
        owner: OwnerIdentity {
            host: format!("host-{}", process.host),
            boot_id: "boot".to_owned(),
            pid: process.pid,
            started_ms: 0,
        },
        take_over,
        watch: plan.interval * 2,
        patience: plan.patience,
        alive: &alive,
        new_id: Box::new(move || ids.with(State::new_id)),
    };
    let inner = Box::new(claim(store, PIPELINE, request).await?);
    Ok(Box::new(WatchedLog { inner, world, store: of_store, mutant }))
}

fn sink(process: &Arc<Process>, sink: &'static str, table: &'static str) -> SinkWiring {
    SinkWiring {
        name: sink.to_owned(),
        table: table.to_owned(),
        table_uuid: process.world.with(|it| it.tables[table].uuid),
        writer: Box::new(SimWriter::new(process, table)),
        committer: Arc::new(SimCommitter { process: Arc::clone(process), sink, table }),
    }
}

impl State {
    pub fn new_id(&mut self) -> EntryId {
        let (high, low) = (self.rng.draw(), self.rng.draw());
        EntryId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// A backup comes to life: it holds what the store holds now.
    fn copy_store(&mut self) -> usize {
        self.stores.push(self.stores[0].clone());
        let store = self.stores.len() - 1;
        let entries: Vec<_> = self.history.entries_of(0).cloned().collect();
        self.history.entries.extend(entries.into_iter().map(|mut it| {
            it.store = store;
            it
        }));
        store
    }
}

struct SimClock(Arc<World>);

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.now().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.0.now()
    }
}
