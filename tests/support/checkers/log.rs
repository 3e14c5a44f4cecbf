//! Checks the log: slots once and in order, generations that grow, epochs that grow, manifests in a chain.

use std::collections::BTreeSet;

use floe_core::committable::ManifestRef;
use floe_core::log_entry::LogEntry;

use crate::simulation::history::History;

pub fn check(history: &History) -> Vec<String> {
    let stores: BTreeSet<usize> = history.entries.iter().map(|it| it.store).collect();
    stores.into_iter().flat_map(|store| check_one(history, store)).collect()
}

fn check_one(history: &History, store: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut next_slot = 1;
    let mut generation = 0;
    let mut newest: Option<ManifestRef> = None;
    let mut ids = BTreeSet::new();
    for written in history.entries_of(store) {
        let slot = written.slot;
        let place = format!("slot {slot} of log {store}, by process {}", written.process);
        // A claim inside of a hole that a sweep left is taken back by its writer.
        let in_a_hole = slot.0 < next_slot && matches!(written.entry, LogEntry::Claim(_));
        if in_a_hole {
            continue;
        }
        if slot.0 != next_slot {
            wrong.push(format!("I2: {place}: slot {next_slot} is next"));
        }
        if !ids.insert(written.entry.id()) {
            wrong.push(format!("{place}: an id that another entry has"));
        }
        next_slot = slot.0 + 1;
        match &written.entry {
            LogEntry::Claim(claim) => {
                if claim.generation.0 <= generation {
                    wrong.push(format!("I3: {place}: generation {} again", claim.generation));
                }
                generation = claim.generation.0;
            }
            LogEntry::Manifest(manifest) => {
                if manifest.generation.0 != generation {
                    wrong.push(format!("I3: {place}: generation {} writes", manifest.generation));
                }
                if newest.is_some_and(|it| it.epoch >= manifest.epoch) {
                    wrong.push(format!("{place}: epoch {} again", manifest.epoch));
                }
                if manifest.predecessor != newest {
                    wrong.push(format!("{place}: the manifest does not name the one before it"));
                }
                newest = Some(ManifestRef { slot, id: manifest.id, epoch: manifest.epoch });
            }
        }
    }
    wrong
}
