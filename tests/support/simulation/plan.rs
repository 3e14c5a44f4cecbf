//! Plan: everything that will happen to a simulated world, made from its seed before it starts.

use std::time::Duration;

use floe_core::protocol::guarantee::Guarantee;

use crate::simulation::rng::Rng;

/// Stops a process at an effect on the world, counted from 1 over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    pub effect: u64,
    pub side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// How often, of a thousand effects, something goes wrong with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub store: u64,
    pub catalog: u64,
    pub files: u64,
    /// Of the faults, those that are applied some time after the answer was given up.
    pub late: u64,
    /// Effects that take seconds.
    pub slow: u64,
}

/// Something that is done to a host from outside, at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    pub host: usize,
    pub at: Duration,
    pub kind: BlowKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlowKind {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after this long.
    Pause(Duration),
    /// SIGTERM: the run ends in order, and is started again.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPlan {
    pub starts_at: Duration,
    pub take_over: bool,
    /// Works on a copy of the checkpoint store, made when it starts: a restored backup.
    pub on_a_copy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// Records in each partition.
    pub partitions: Vec<usize>,
    pub keys: u64,
    /// The operator is WebAssembly under the production engine.
    pub wasm: bool,
    /// Of a thousand records: they make the operator trap, or are rejected by it.
    pub poison: u64,
    pub rejects: u64,
    /// With a table for them; else they are skipped.
    pub dead_letters: bool,
    pub interval: Duration,
    pub commits_pending_max: usize,
    pub keep: usize,
    pub workers: usize,
    pub batch_records_max: usize,
    /// Tasks of a second stage that takes rows by key; 0: there is none.
    pub keyed_tasks: u32,
    /// Barriers that are out for longer overtake the rows on their way.
    pub alignment_timeout: Option<Duration>,
    pub in_flight_bytes_max: u64,
    /// Of a thousand looks at a partition, those that bring records.
    pub arrival: u64,
    pub patience: Duration,
    pub faults: Faults,
    /// After this many effects nothing goes wrong any more, so that a run comes to an end.
    pub faults_end: u64,
    pub crashes: Vec<Crash>,
    pub blows: Vec<Blow>,
    pub hosts: Vec<HostPlan>,
    pub guarantee: Guarantee,
    /// Watermarks follow the records' column `time`.
    pub event_time: bool,
    /// With them: a partition that was read to its end, and is quiet for this long, follows the others.
    pub idle_after: Option<Duration>,
    /// Other writers of the table, and expiry of its snapshots: the pause between two of their deeds.
    pub strangers: Option<Duration>,
    /// Epochs to a commit.
    pub commit_every: usize,
    /// Each sink's epoch weighs one byte.
    pub commits_pending_bytes_max: u64,
}

impl Plan {
    /// A small input, one host, and no fault: the crashes are added.
    pub fn calm(seed: u64) -> Plan {
        Plan {
            seed,
            partitions: vec![5, 4],
            keys: 3,
            wasm: false,
            poison: 0,
            rejects: 0,
            dead_letters: false,
            interval: Duration::from_millis(40),
            commits_pending_max: 2,
            keep: 1,
            workers: 2,
            batch_records_max: 2,
            keyed_tasks: 0,
            alignment_timeout: None,
            in_flight_bytes_max: u64::MAX,
            arrival: 60,
            patience: Duration::from_secs(20),
            faults: Faults::default(),
            faults_end: 0,
            crashes: Vec::new(),
            blows: Vec::new(),
            hosts: vec![HostPlan { starts_at: Duration::ZERO, take_over: false, on_a_copy: false }],
            guarantee: Guarantee::ExactlyOnce,
            event_time: false,
            idle_after: None,
            strangers: None,
            commit_every: 1,
            commits_pending_bytes_max: u64::MAX,
        }
    }

    /// Everything at random; each kind of fault is absent from some plans, so that none hides another.
    pub fn random(seed: u64) -> Plan {
        // Its own stream: the world draws from the seed itself.
        let mut rng = Rng::new(seed ^ 0x706C_616E);
        let rng = &mut rng;
        let hosts = hosts(rng);
        let host_count = hosts.len() as u64;
        let crash_count = rng.pick(&[0, 0, 1, 2, 4]);
        let blow_count = rng.pick(&[0, 1, 1, 2, 4]) + (host_count - 1);
        Plan {
            seed,
            partitions: (0..rng.range(1..=3)).map(|_| rng.range(0..=40) as usize).collect(),
            keys: rng.range(1..=9),
            wasm: false,
            poison: rng.pick(&[0, 0, 0, 20, 60]),
            rejects: rng.pick(&[0, 0, 40]),
            dead_letters: rng.chance(500),
            interval: Duration::from_millis(rng.range(10..=80)),
            commits_pending_max: rng.range(1..=3) as usize,
            keep: rng.range(1..=3) as usize,
            workers: rng.range(1..=3) as usize,
            batch_records_max: rng.range(1..=8) as usize,
            keyed_tasks: 0,
            alignment_timeout: None,
            in_flight_bytes_max: u64::MAX,
            arrival: rng.pick(&[40, 100, 300]),
            patience: Duration::from_secs(rng.pick(&[1, 10, 120])),
            faults: Faults {
                store: rng.pick(&[0, 0, 50, 150, 300]),
                catalog: rng.pick(&[0, 100, 250, 400]),
                files: rng.pick(&[0, 0, 0, 60]),
                late: rng.pick(&[0, 250, 500]),
                slow: rng.pick(&[0, 0, 20, 60]),
            },
            faults_end: rng.range(100..=900),
            crashes: (0..crash_count)
                .map(|_| Crash {
                    effect: rng.range(1..=250),
                    side: rng.pick(&[Side::Before, Side::After]),
                })
                .collect(),
            blows: (0..blow_count)
                .map(|_| Blow {
                    host: rng.below(host_count) as usize,
                    at: Duration::from_millis(rng.range(0..=1500)),
                    kind: match rng.below(4) {
                        0 => BlowKind::Kill,
                        1 | 2 => BlowKind::Pause(Duration::from_millis(rng.range(10..=20_000))),
                        _ => BlowKind::Stop,
                    },
                })
                .collect(),
            hosts,
            strangers: rng.chance(500).then(|| Duration::from_millis(rng.range(5..=200))),
            guarantee: Guarantee::ExactlyOnce,
            // Drawn last: seeds keep their other events.
            event_time: rng.chance(700),
            idle_after: rng.chance(500).then(|| Duration::from_millis(rng.range(10..=300))),
            commit_every: rng.pick(&[1, 1, 2, 3, 5]),
            commits_pending_bytes_max: rng.pick(&[u64::MAX, u64::MAX, 1, 4]),
        }
    }

    /// Rows change hands between tasks on their way.
    pub fn keyed(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x6B65_7965);
        let mut plan = Plan::random(seed);
        // A partition alone would be no merging.
        plan.partitions.resize_with(plan.partitions.len().max(2), || rng.range(10..=40) as usize);
        // Between two that are kept there is something to replay.
        let keep = rng.range(2..=4) as usize;
        let keyed_tasks = rng.range(1..=4) as u32;
        let timeout = rng.pick(&[None, Some(0), Some(0), Some(1), Some(4)]);
        Plan {
            keyed_tasks,
            keep,
            alignment_timeout: timeout.map(Duration::from_millis),
            in_flight_bytes_max: rng.pick(&[u64::MAX, u64::MAX, 0, 2000]),
            ..plan
        }
    }

    /// A backup of the checkpoint store comes to life beside the original, on the same table.
    pub fn forked(seed: u64) -> Plan {
        let plan = Plan::random(seed);
        let starts_at = Duration::from_millis(100 + seed % 300);
        Plan {
            partitions: vec![40; plan.partitions.len()],
            arrival: 40,
            poison: 0,
            hosts: vec![
                HostPlan { starts_at: Duration::ZERO, take_over: true, on_a_copy: false },
                HostPlan { starts_at, take_over: true, on_a_copy: true },
            ],
            ..plan
        }
    }
}

fn hosts(rng: &mut Rng) -> Vec<HostPlan> {
    let count = rng.pick(&[1, 1, 2, 2, 3]);
    (0..count)
        .map(|index| HostPlan {
            starts_at: Duration::from_millis(match index {
                0 => 0,
                _ => rng.range(0..=1200),
            }),
            take_over: rng.chance(700),
            on_a_copy: false,
        })
        .collect()
}
