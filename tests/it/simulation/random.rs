//! Random seeds with all faults at once, for as long as the budget lasts.

use std::time::{Duration, Instant};

use floe_core::protocol::guarantee::Guarantee;
use floe_tests::simulation::{Plan, simulate};

use super::exhaustive::plan_of_environment;
use super::report::{check, print};

/// At least so many in CI, and more while the time lasts; `SIM_SEEDS` says another number.
const SEEDS_MIN: u64 = 1_000;
const TIME: Duration = Duration::from_secs(30);
/// Every so many seeds one is run twice: a simulation that is no function of its seed proves nothing.
const TWICE_EVERY: u64 = 20;
const WEAKER_SEEDS: u64 = 100;
const KEYED_SEEDS: u64 = 300;
/// An instance costs some hundred microseconds, and a plan makes hundreds.
const GUEST_SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_fault_loses_or_doubles_a_row() {
    let began = Instant::now();
    let wanted = number("SIM_SEEDS");
    let first = number("SIM_FIRST").unwrap_or(1);
    let (mut seeds, mut faults, mut processes, mut epochs, mut orphans) = (0, 0, 0, 0, 0);
    let mut simulated = Duration::ZERO;
    let goes_on = |seeds: u64| match wanted {
        Some(wanted) => seeds < wanted,
        None => seeds < SEEDS_MIN || began.elapsed() < TIME,
    };
    while goes_on(seeds) {
        let seed = first + seeds;
        let plan = Plan::random(seed);
        let outcome = check(&plan, &format!("SIM_SEED={seed}"));
        if seeds % TWICE_EVERY == 0 {
            let again = simulate(&plan, None);
            let differ = outcome.trace.iter().zip(&again.trace).position(|(a, b)| a != b);
            assert_eq!(differ, None, "SIM_SEED={seed}: the same seed went another way");
            assert_eq!(outcome.trace.len(), again.trace.len(), "SIM_SEED={seed}");
        }
        seeds += 1;
        faults += outcome.faults_made;
        processes += u64::from(outcome.processes);
        epochs += outcome.epochs;
        orphans += outcome.orphans;
        simulated += outcome.simulated;
    }
    assert!(orphans > 0 || seeds < SEEDS_MIN, "nothing was ever prepared in vain");
    println!(
        "{seeds} seeds, {processes} processes, {epochs} log entries, {faults} faults, {orphans} orphans swept, {:.0} simulated hours in {:.0} s",
        simulated.as_secs_f64() / 3600.0,
        began.elapsed().as_secs_f64()
    );
}

/// Two stages: rows of all partitions change hands by key, barriers are aligned, and every cut is one over all.
#[test]
fn no_fault_loses_or_doubles_a_row_that_changed_hands() {
    let (mut epochs, mut processes) = (0, 0);
    let first = number("SIM_FIRST").unwrap_or(1);
    for seed in first..first + number("SIM_SEEDS").unwrap_or(KEYED_SEEDS) {
        let plan = Plan::keyed(seed);
        let outcome = check(&plan, &format!("SIM_KEYED={seed}"));
        if seed % TWICE_EVERY == 0 {
            assert_eq!(outcome.trace, simulate(&plan, None).trace, "SIM_KEYED={seed}");
        }
        epochs += outcome.epochs;
        processes += outcome.processes;
    }
    println!("{processes} processes, {epochs} log entries");
}

/// The weaker guarantees, shown both ways: rows repeat under the one and never under the other, and are
/// missing under the other and never under the one. Either way each row has the oracle's counts and sums.
#[test]
fn the_weaker_guarantees_do_what_their_names_say() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let (mut repeated, mut missing) = (0, 0);
        for seed in 1..=WEAKER_SEEDS {
            let plan = Plan { guarantee, ..Plan::random(seed) };
            let outcome =
                check(&plan, &format!("SIM_GUARANTEE={} SIM_SEED={seed}", guarantee.name()));
            repeated += outcome.weakness.repeated;
            missing += outcome.weakness.missing;
        }
        println!("{}: {repeated} rows repeated, {missing} missing", guarantee.name());
        match guarantee {
            Guarantee::AtLeastOnce => assert!(repeated > 0 && missing == 0),
            _ => assert!(repeated == 0 && missing > 0),
        }
    }
}

/// Two logs that both believe they own a table: one of them is told, and no row is lost or doubled.
#[test]
fn a_copy_of_the_store_does_no_harm() {
    for seed in 1..=200 {
        check(&Plan::forked(seed), &format!("SIM_FORKED={seed}"));
    }
}

/// The same under the production engine: wasm instances are captured, restored, and trap.
#[test]
fn no_fault_loses_or_doubles_a_row_of_a_guest() {
    for seed in 1..=GUEST_SEEDS {
        let plan = Plan { wasm: true, ..Plan::random(seed) };
        let outcome = check(&plan, &format!("SIM_GUEST={seed}"));
        if seed % TWICE_EVERY == 0 {
            assert_eq!(outcome.trace, simulate(&plan, None).trace, "SIM_GUEST={seed}");
        }
    }
}

/// Repeats one seed and shows its trace: `SIM_SEED=…`, `SIM_FORKED=…`, `SIM_GUEST=…`, `SIM_KEYED=…` or `SIM_CRASHES=12b,40a`.
#[test]
#[ignore = "for people: repeats a seed that is named by the environment"]
fn one_seed() {
    let name = std::env::var("SIM_GUARANTEE").unwrap_or_else(|_| "exactly-once".to_owned());
    let guarantee = Guarantee::ALL.into_iter().find(|it| it.name() == name);
    let guarantee = guarantee.expect("SIM_GUARANTEE is the name of a guarantee");
    let random = number("SIM_SEED").map(|seed| Plan { guarantee, ..Plan::random(seed) });
    let forked = number("SIM_FORKED").map(Plan::forked);
    let guest = number("SIM_GUEST").map(|seed| Plan { wasm: true, ..Plan::random(seed) });
    let keyed = number("SIM_KEYED").map(Plan::keyed);
    let plan = random.or(forked).or(guest).or(keyed).or_else(plan_of_environment);
    let plan = plan
        .expect("SIM_SEED, SIM_FORKED, SIM_GUEST, SIM_KEYED or SIM_CRASHES names what to repeat");
    let outcome = simulate(&plan, None);
    print(&plan, &outcome);
    let again = simulate(&plan, None);
    let differ = outcome.trace.iter().zip(&again.trace).find(|(a, b)| a != b);
    assert_eq!(differ, None, "the same plan went another way");
    assert!(outcome.violations.is_empty());
}
