//! Named cases: plans that once showed a bug. They stay.

use std::time::Duration;

use floe_tests::simulation::Plan;
use floe_tests::simulation::plan::{Blow, BlowKind, Crash, Faults, HostPlan, Side};

use super::report::check;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn host(starts_at_ms: u64, take_over: bool) -> HostPlan {
    HostPlan { starts_at: ms(starts_at_ms), take_over, on_a_copy: false }
}

fn blow(host: usize, at_ms: u64, kind: BlowKind) -> Blow {
    Blow { host, at: ms(at_ms), kind }
}

/// Watermarks, windows and idle partitions, with a kill in the middle: partition 1 ends early and its
/// windows are closed by the watermark of the other, which takes the wall clock to decide.
#[test]
fn an_idle_partition_follows_the_others_and_a_restart_changes_nothing() {
    let name = "named: an_idle_partition_follows_the_others_and_a_restart_changes_nothing";
    let told = |idle_after, seed| {
        let plan = Plan {
            partitions: vec![60, 6],
            event_time: true,
            idle_after,
            batch_records_max: 3,
            blows: vec![blow(0, 300, BlowKind::Kill), blow(0, 500, BlowKind::Kill)],
            ..Plan::calm(seed)
        };
        let trace = check(&plan, name).trace;
        trace.iter().filter(|it| it.contains("watermark of 1:")).count()
    };
    let told = |idle_after| (11..19).map(|seed| told(idle_after, seed)).sum::<usize>();
    let (alone, with_others) = (told(None), told(Some(ms(100))));
    assert!(with_others > alone, "{with_others} watermarks, and {alone} of its own records");
}

/// A start that reads the log slowly while its owner writes on and sweeps saw entries vanish one after
/// the other, and called the log damaged.
#[test]
fn a_sweep_during_a_slow_start_is_no_loss() {
    let plan = Plan {
        partitions: vec![19],
        keys: 1,
        interval: ms(21),
        keep: 3,
        workers: 1,
        batch_records_max: 1,
        arrival: 40,
        patience: ms(1000),
        faults: Faults { slow: 60, ..Faults::default() },
        faults_end: 139,
        crashes: vec![Crash { effect: 80, side: Side::Before }],
        blows: vec![
            blow(1, 137, BlowKind::Pause(ms(18_279))),
            blow(0, 1394, BlowKind::Pause(ms(6_787))),
        ],
        hosts: vec![host(0, false), host(302, true), host(532, true)],
        ..Plan::calm(868)
    };
    check(&plan, "named: a_sweep_during_a_slow_start_is_no_loss");
}

/// A claim written into a slot that a sweep had freed is taken back by its writer. A reader that came
/// between the two called the log damaged; if the writer was killed between them, for ever.
#[test]
fn a_claim_in_a_hole_is_no_damage() {
    let strangers = Some(ms(25));
    let plan = Plan {
        partitions: vec![16, 37],
        interval: ms(36),
        commits_pending_max: 3,
        keep: 2,
        workers: 1,
        batch_records_max: 6,
        arrival: 40,
        patience: ms(1000),
        faults: Faults { catalog: 100, slow: 20, ..Faults::default() },
        faults_end: 220,
        blows: vec![
            blow(2, 76, BlowKind::Pause(ms(5_133))),
            blow(1, 601, BlowKind::Pause(ms(13_561))),
            blow(0, 1112, BlowKind::Stop),
        ],
        hosts: vec![host(0, true), host(924, true), host(1181, false)],
        strangers,
        ..Plan::calm(2384)
    };
    check(&plan, "named: a_claim_in_a_hole_is_no_damage");
    let plan = Plan {
        partitions: vec![25, 6, 30],
        keys: 5,
        interval: ms(62),
        keep: 2,
        workers: 1,
        batch_records_max: 1,
        arrival: 100,
        patience: ms(1000),
        faults: Faults { slow: 20, ..Faults::default() },
        faults_end: 127,
        crashes: vec![Crash { effect: 247, side: Side::After }],
        blows: vec![blow(1, 1092, BlowKind::Stop)],
        hosts: vec![host(0, true), host(245, true), host(232, true)],
        strangers: Some(ms(58)),
        ..Plan::calm(121_738)
    };
    check(&plan, "named: a_claim_in_a_hole_is_no_damage");
}

/// A process that was fenced while it restored found parts swept by the new owner, and called them
/// damaged instead of saying that it is fenced.
#[test]
fn fenced_while_restoring_is_fenced() {
    let plan = Plan {
        partitions: vec![36, 28],
        keys: 7,
        poison: 60,
        interval: ms(10),
        commits_pending_max: 1,
        keep: 2,
        workers: 1,
        batch_records_max: 5,
        arrival: 40,
        patience: ms(1000),
        blows: vec![blow(1, 1268, BlowKind::Pause(ms(9_681))), blow(0, 281, BlowKind::Stop)],
        hosts: vec![host(0, false), host(1130, true)],
        strangers: Some(ms(116)),
        ..Plan::calm(1153)
    };
    check(&plan, "named: fenced_while_restoring_is_fenced");
}

/// The first of several puts of an entry landed after the entry was swept, and a hint landed late too: the
/// entry stood alone before a hole, and the pipeline refused to start for ever.
#[test]
fn a_swept_entry_that_comes_back_is_no_loss() {
    let plan = Plan {
        partitions: vec![33],
        keys: 8,
        interval: ms(42),
        commits_pending_max: 1,
        workers: 1,
        batch_records_max: 3,
        arrival: 40,
        patience: ms(1000),
        faults: Faults { store: 150, late: 250, slow: 60, ..Faults::default() },
        faults_end: 162,
        blows: vec![blow(0, 313, BlowKind::Stop)],
        hosts: vec![host(0, true)],
        ..Plan::calm(117_704)
    };
    check(&plan, "named: a_swept_entry_that_comes_back_is_no_loss");
}

/// An owner whose answer was lost was asleep while its successor swept that entry: it read a free slot, took
/// its log for whole, and said that the table was ahead of it. It is fenced.
#[test]
fn an_owner_that_was_swept_away_is_fenced() {
    let plan = Plan {
        partitions: vec![33, 9, 3],
        keys: 1,
        poison: 20,
        interval: ms(32),
        commits_pending_max: 1,
        keep: 3,
        workers: 1,
        batch_records_max: 2,
        arrival: 100,
        patience: ms(1000),
        faults: Faults { store: 150, catalog: 400, slow: 20, ..Faults::default() },
        faults_end: 132,
        hosts: vec![host(0, true), host(1108, false)],
        event_time: true,
        strangers: Some(ms(124)),
        ..Plan::calm(1010)
    };
    check(&plan, "named: an_owner_that_was_swept_away_is_fenced");
}

/// The same with checkpoints that name earlier objects: the entry that came back had its objects still, because
/// a newer checkpoint was built upon them, and was taken for the sign of a loss.
#[test]
fn a_swept_entry_that_comes_back_with_its_objects_is_no_loss() {
    let plan = Plan {
        partitions: vec![31, 37, 30],
        keys: 8,
        rejects: 40,
        dead_letters: true,
        interval: ms(51),
        workers: 1,
        batch_records_max: 6,
        arrival: 40,
        patience: ms(1000),
        faults: Faults { store: 300, catalog: 250, late: 500, ..Faults::default() },
        faults_end: 340,
        hosts: vec![host(0, true)],
        event_time: false,
        idle_after: Some(ms(239)),
        ..Plan::calm(9691)
    };
    check(&plan, "named: a_swept_entry_that_comes_back_with_its_objects_is_no_loss");
}
