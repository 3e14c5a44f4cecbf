//! Runs a plan to its end and lets the checkers judge what happened.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::kept_manifests;
use floe_core::ports::Committer;
use floe_core::protocol::guarantee::Guarantee;
use floe_core::protocol::orphans::SinkLog;

use crate::checkers;
use crate::checkers::weaker::Weakness;
use crate::simulation::committer::SimCommitter;
use crate::simulation::history::SnapshotAdded;
use crate::simulation::host::Host;
use crate::simulation::mutant::Mutant;
use crate::simulation::plan::{HostPlan, Plan};
use crate::simulation::process::{Life, Process};
use crate::simulation::sink::epoch_in;
use crate::simulation::store::SimStore;
use crate::simulation::world::{LETTERS, PIPELINE, State, TABLE, World};

#[derive(Default)]
pub struct Outcome {
    /// Nothing, if all is well.
    pub violations: Vec<String>,
    /// What a weaker guarantee let happen.
    pub weakness: Weakness,
    pub trace: Vec<String>,
    pub effects: u64,
    /// The numbers of the effects that change something: crash points.
    pub changing: Vec<u64>,
    pub faults_made: u64,
    pub processes: u32,
    pub epochs: usize,
    /// Data files prepared in vain that were swept.
    pub orphans: u64,
    pub simulated: Duration,
}

/// Late requests land within this.
const SETTLE: Duration = Duration::from_secs(200);
/// What strangers do at the most.
const STRANGE_DEEDS_MAX: u32 = 40;

/// A panic anywhere is a violation like any other.
pub fn simulate(plan: &Plan, mutant: Option<Mutant>) -> Outcome {
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output");
        // What a killed process left hanging goes with the runtime.
        runtime.block_on(play(plan, mutant))
    }));
    match played {
        Ok((world, simulated)) => {
            let Ok(world) = Arc::try_unwrap(world) else {
                panic!("somebody holds on to the world")
            };
            judge(plan, &world.into_state(), simulated)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| it.to_string()));
            Outcome {
                violations: vec![format!("a panic: {}", text.unwrap_or_default())],
                ..Outcome::default()
            }
        }
    }
}

async fn play(plan: &Plan, mutant: Option<Mutant>) -> (Arc<World>, Duration) {
    let world = World::new(plan, mutant);
    let mut hosts = Vec::new();
    for (number, host) in plan.hosts.iter().enumerate() {
        let mut blows: Vec<_> = plan.blows.iter().filter(|it| it.host == number).copied().collect();
        blows.sort_by_key(|it| it.at);
        let host = Host { world: Arc::clone(&world), number, plan: *host, blows };
        hosts.push(host.run());
    }
    if let Some(pause) = plan.strangers {
        tokio::spawn(strangers(Arc::clone(&world), pause));
    }
    futures::future::join_all(hosts).await;

    tokio::time::sleep(SETTLE).await;
    let in_flight = world.with(|it| it.in_flight);
    assert_eq!(in_flight, 0, "every request lands");
    if plan.hosts.iter().all(|it| !it.on_a_copy) {
        // Whatever happened before, a start without faults must come to the end.
        let host = HostPlan { starts_at: Duration::ZERO, take_over: true, on_a_copy: false };
        world.with(|it| {
            let calm = Plan { crashes: Vec::new(), faults_end: 0, ..(*it.plan).clone() };
            it.plan = Arc::new(calm);
        });
        let number = plan.hosts.len();
        Host { world: Arc::clone(&world), number, plan: host, blows: Vec::new() }.run().await;
        tokio::time::sleep(SETTLE).await;
        tidy(&world).await;
    }
    let simulated = world.now();
    (world, simulated)
}

/// A person sweeps when all is done: then the files are those that the tables name, but for some of epochs
/// that no table came to.
async fn tidy(world: &Arc<World>) {
    if world.with(|it| it.plan.guarantee) != Guarantee::ExactlyOnce {
        return;
    }
    // Not counted: nothing that is crashed or compared comes so late.
    let counted = world.with(|it| it.effects);
    let process = Process::start(world, usize::MAX, 0);
    let store = SimStore { process: Arc::clone(&process) };
    let kept = kept_manifests(&store, PIPELINE).await.expect("the log can be read without faults");
    let letters = world.with(|it| it.plan.dead_letters).then_some(("letters", LETTERS));
    for (sink, table) in [("totals", TABLE)].into_iter().chain(letters) {
        let log = SinkLog::of(kept.iter().map(|(at, it)| (*at, it.as_ref())), sink);
        let committer = SimCommitter { process: Arc::clone(&process), sink, table };
        let found = committer.sweep(&log).await.expect("nothing fails without faults");
        let settled = found.settled;
        world.with(|it| {
            let ours = it.files.keys().filter(|it| it.starts_with(table)).cloned();
            let left: Vec<String> =
                ours.filter(|file| !it.tables[table].files.contains(file)).collect();
            for file in left.iter().filter(|it| settled.is_some_and(|to| epoch_in(it) <= to)) {
                it.history.notice(format!("{file} is in no table after a sweep up to {settled:?}"));
            }
        });
    }
    process.turn(Life::Dead);
    world.with(|it| {
        it.effects = counted;
        it.changing.retain(|number| *number <= counted);
    });
}

/// Other writers of the tables, a user's property, and expiry of snapshots.
async fn strangers(world: Arc<World>, pause: Duration) {
    for deed in 0..STRANGE_DEEDS_MAX {
        tokio::time::sleep(pause).await;
        world.with(|it| it.strange_deed(deed));
    }
}

impl State {
    fn strange_deed(&mut self, deed: u32) {
        let names: Vec<String> = self.tables.keys().cloned().collect();
        let name = &names[self.rng.below(names.len() as u64) as usize];
        let kind = self.rng.below(3);
        let table = self.tables.get_mut(name).expect("a table of this name");
        match kind {
            0 => {
                table.push(BTreeMap::new());
                self.history.snapshots.push(SnapshotAdded {
                    table: name.clone(),
                    rows: Vec::new(),
                    marker: None,
                    process: None,
                });
            }
            1 => {
                table.properties.insert("owner".to_owned(), deed.to_string());
            }
            // All but the head.
            _ => table.kept_from = table.snapshots.len().saturating_sub(1),
        }
    }
}

fn judge(plan: &Plan, state: &State, simulated: Duration) -> Outcome {
    let mut violations = state.history.noticed.clone();
    violations.extend(checkers::log::check(&state.history));
    let mut weakness = Weakness::default();
    match plan.guarantee {
        Guarantee::ExactlyOnce => violations.extend(checkers::tables::check(state)),
        Guarantee::AtLeastOnce | Guarantee::AtMostOnce => {
            let (wrong, found) = checkers::weaker::check(state);
            violations.extend(wrong);
            weakness = found;
        }
    }
    violations.extend(checkers::ends::check(plan, state));
    violations.extend(checkers::reachable::check(state));
    if plan.keyed_tasks > 0 {
        violations.extend(checkers::replays::check(plan, state));
    }
    Outcome {
        violations,
        weakness,
        trace: state.trace.clone(),
        effects: state.effects,
        changing: state.changing.clone(),
        faults_made: state.faults_made,
        processes: state.processes,
        epochs: state.history.entries.len(),
        orphans: state.history.orphans,
        simulated,
    }
}
