//! Runs a plan to its end and lets the checkers judge what happened.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use floe_core::protocol::guarantee::Guarantee;

use crate::checkers;
use crate::checkers::weaker::Weakness;
use crate::simulation::history::SnapshotAdded;
use crate::simulation::host::Host;
use crate::simulation::mutant::Mutant;
use crate::simulation::plan::{HostPlan, Plan};
use crate::simulation::world::{State, World};

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
    }
    let simulated = world.now();
    (world, simulated)
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
    Outcome {
        violations,
        weakness,
        trace: state.trace.clone(),
        effects: state.effects,
        changing: state.changing.clone(),
        faults_made: state.faults_made,
        processes: state.processes,
        epochs: state.history.entries.len(),
        simulated,
    }
}
