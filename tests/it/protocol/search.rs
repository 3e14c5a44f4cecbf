//! Breadth first over all interleavings of two processes, crashes, lost answers and late swaps.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::model::{Manifest, Step, World};

/// Bounds that end the search in seconds, with every kind of step inside of them several times.
const STARTS: u32 = 3;
const EPOCHS_MAX: usize = 3;
const FLYING_MAX: usize = 2;
const STATES_MAX: usize = 300_000;

/// I4: the table holds a prefix of the log's manifests that have rows, each once, in order.
fn check(world: &World) {
    let with_rows: Vec<&Manifest> = world.manifests().filter(|it| it.rows).collect();
    assert!(world.table.len() <= with_rows.len(), "I4: too many commits: {world:#?}");
    for (committed, manifest) in world.table.iter().zip(&with_rows) {
        assert_eq!(*committed, manifest.at, "I4: {world:#?}");
    }
    for pair in world.manifests().collect::<Vec<_>>().windows(2) {
        assert!(pair[0].at.epoch < pair[1].at.epoch, "epochs grow: {world:#?}");
        assert!(pair[0].generation <= pair[1].generation, "I3: {world:#?}");
    }
}

#[test]
fn no_interleaving_commits_twice_or_leaves_a_gap() {
    let mut seen = BTreeSet::new();
    let mut layer = vec![World::new(STARTS)];
    let (mut steps_taken, mut depth, mut all_committed) = (0u64, 0, 0u64);
    while !layer.is_empty() && seen.len() < STATES_MAX {
        depth += 1;
        let mut next_layer = Vec::new();
        for world in layer {
            for step in world.steps(EPOCHS_MAX) {
                if world.flying.len() == FLYING_MAX && matches!(step, Step::Act(_)) {
                    continue;
                }
                let mut next = world.clone();
                next.take(step);
                check(&next);
                steps_taken += 1;
                let mut hasher = DefaultHasher::new();
                format!("{next:?}").hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    let with_rows = next.manifests().filter(|it| it.rows).count();
                    all_committed += u64::from(with_rows > 1 && next.table.len() == with_rows);
                    next_layer.push(next);
                }
            }
        }
        layer = next_layer;
    }
    println!(
        "{} states, {steps_taken} steps, {depth} deep, {all_committed} with all committed",
        seen.len()
    );
    assert!(seen.len() > 10_000 && all_committed > 100);
}
