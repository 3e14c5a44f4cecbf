//! Checks that everything that the newest manifests name is there, whatever was swept.

use floe_core::log_entry::LogEntry;

use crate::simulation::world::{PIPELINE, State};

pub fn check(state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    for store in 0..state.stores.len() {
        let manifests = state.history.entries_of(store).filter_map(|it| match &it.entry {
            LogEntry::Manifest(manifest) => Some(manifest),
            LogEntry::Claim(_) => None,
        });
        let manifests: Vec<_> = manifests.collect();
        for manifest in manifests.iter().rev().take(state.plan.keep) {
            for object in &manifest.objects {
                if !state.stores[store].contains_key(&format!("{PIPELINE}/{}", object.path)) {
                    let (epoch, path) = (manifest.epoch, &object.path);
                    wrong.push(format!("I8: epoch {epoch} is kept, and {path} is not there"));
                }
            }
        }
    }
    wrong
}
