//! Planted bugs: a suite that does not find them would not find ours.

use floe_tests::simulation::{Mutant, Plan, simulate};

/// Each must be found within so many seeds.
const SEEDS_MAX: u64 = 400;

#[test]
fn every_planted_bug_is_found() {
    let mut alive = Vec::new();
    for mutant in Mutant::ALL {
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            let plans = [
                ("random", Plan::random(seed)),
                ("forked", Plan::forked(seed)),
                ("keyed", Plan::keyed(seed)),
            ];
            plans.into_iter().find_map(|(kind, plan)| {
                let wrong = simulate(&plan, Some(*mutant)).violations;
                wrong.first().map(|first| (kind, seed, first.clone()))
            })
        });
        match found {
            Some((kind, seed, wrong)) => println!("{mutant:?}: {kind} seed {seed}: {wrong}"),
            None => alive.push(*mutant),
        }
    }
    assert!(alive.is_empty(), "not found within {SEEDS_MAX} seeds: {alive:?}");
}
