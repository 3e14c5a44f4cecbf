//! Makes a failing plan smaller: what can be left out and still fails is left out.

use std::time::Duration;

use crate::simulation::mutant::Mutant;
use crate::simulation::plan::{Faults, Plan};
use crate::simulation::run::simulate;

type Smaller = fn(&Plan) -> Option<Plan>;

const STEPS: &[Smaller] = &[
    |it| it.strangers.map(|_| Plan { strangers: None, ..it.clone() }),
    |it| (it.poison > 0).then(|| Plan { poison: 0, ..it.clone() }),
    |it| (it.rejects > 0).then(|| Plan { rejects: 0, ..it.clone() }),
    |it| it.dead_letters.then(|| Plan { dead_letters: false, ..it.clone() }),
    |it| (it.faults_end > 0).then(|| Plan { faults_end: 0, ..it.clone() }),
    |it| fault(it, |faults| faults.slow = 0),
    |it| fault(it, |faults| faults.files = 0),
    |it| fault(it, |faults| faults.store = 0),
    |it| fault(it, |faults| faults.catalog = 0),
    |it| fault(it, |faults| faults.late = 0),
    |it| (it.faults_end > 0).then(|| Plan { faults_end: it.faults_end * 3 / 4, ..it.clone() }),
    |it| (it.workers > 1).then(|| Plan { workers: 1, ..it.clone() }),
    |it| {
        (it.patience > Duration::from_secs(1))
            .then(|| Plan { patience: Duration::from_secs(1), ..it.clone() })
    },
    |it| {
        (it.partitions.len() > 1)
            .then(|| Plan { partitions: it.partitions[1..].to_vec(), ..it.clone() })
    },
    |it| {
        it.partitions.iter().any(|it| *it > 1).then(|| Plan {
            partitions: it.partitions.iter().map(|it| it.div_ceil(2)).collect(),
            ..it.clone()
        })
    },
];

fn fault(plan: &Plan, change: impl FnOnce(&mut Faults)) -> Option<Plan> {
    let mut faults = plan.faults;
    change(&mut faults);
    (faults != plan.faults).then(|| Plan { faults, ..plan.clone() })
}

/// The smallest plan found, and what is wrong with it.
pub fn shrink(plan: &Plan, mutant: Option<Mutant>) -> (Plan, Vec<String>) {
    let mut smallest = plan.clone();
    let mut violations = simulate(plan, mutant).violations;
    let mut progress = true;
    while progress {
        progress = false;
        for candidate in candidates(&smallest) {
            let found = simulate(&candidate, mutant).violations;
            if !found.is_empty() {
                (smallest, violations, progress) = (candidate, found, true);
                break;
            }
        }
    }
    (smallest, violations)
}

fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all: Vec<Plan> = STEPS.iter().filter_map(|step| step(plan)).collect();
    for index in 0..plan.crashes.len() {
        let mut fewer = plan.clone();
        fewer.crashes.remove(index);
        all.push(fewer);
    }
    for index in 0..plan.blows.len() {
        let mut fewer = plan.clone();
        fewer.blows.remove(index);
        all.push(fewer);
    }
    if plan.hosts.len() > 1 {
        let mut fewer = plan.clone();
        fewer.hosts.pop();
        fewer.blows.retain(|it| it.host < fewer.hosts.len());
        all.push(fewer);
    }
    all
}
