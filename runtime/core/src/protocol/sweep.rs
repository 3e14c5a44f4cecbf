//! Which entries and objects are garbage: classifies all before anything is deleted (I8).

use std::collections::BTreeSet;

use crate::epoch::Slot;

/// One manifest of the log, as far as sweeping is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepFacts {
    pub slot: Slot,
    pub savepoint: bool,
    /// Not all of its commits are verified yet.
    pub pending: bool,
    pub objects: Vec<String>,
}

/// What to do, in this order: move the hint, delete objects, delete entries from the oldest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepPlan {
    /// Readers begin here; every slot from here on is kept.
    pub hint: Option<Slot>,
    pub objects: Vec<String>,
    /// Slots below `hint`, oldest first, so that a sweep that dies half way leaves no hole.
    pub entries: Vec<Slot>,
}

/// Decides. `first` is the oldest slot that still exists, `manifests` are in the order of the log.
///
/// Kept are: the newest `keep` manifests (one at least), every savepoint, every manifest whose commits
/// are pending, and every entry after the oldest of these, so that the log has no hole.
pub fn decide_sweep(first: Slot, manifests: &[SweepFacts], keep: usize) -> SweepPlan {
    let newest_kept_from = manifests.len().saturating_sub(keep.max(1));
    let kept =
        |index: usize, it: &SweepFacts| index >= newest_kept_from || it.savepoint || it.pending;
    let Some(oldest_kept) =
        manifests.iter().enumerate().find(|(index, it)| kept(*index, it)).map(|(_, it)| it.slot)
    else {
        return SweepPlan::default();
    };

    let named: BTreeSet<&str> = manifests
        .iter()
        .enumerate()
        .filter(|(index, it)| kept(*index, it) || it.slot >= oldest_kept && it.pending)
        .flat_map(|(_, it)| it.objects.iter().map(String::as_str))
        .collect();
    let objects = manifests
        .iter()
        .enumerate()
        .filter(|(index, it)| !kept(*index, it))
        .flat_map(|(_, it)| it.objects.iter())
        .filter(|it| !named.contains(it.as_str()))
        .cloned()
        .collect();
    let entries: Vec<Slot> = (first.0..oldest_kept.0).map(Slot).collect();
    let hint = (!entries.is_empty()).then_some(oldest_kept);
    SweepPlan { hint, objects, entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(slot: u64, savepoint: bool, pending: bool) -> SweepFacts {
        SweepFacts {
            slot: Slot(slot),
            savepoint,
            pending,
            objects: vec![format!("own-{slot}"), format!("shared-{}", slot / 2)],
        }
    }

    /// Every log of up to five manifests, each a savepoint or not, pending or not, and every `keep`.
    #[test]
    fn nothing_reachable_is_deleted() {
        for count in 0..=5u32 {
            for bits in 0..1u32 << (2 * count) {
                let manifests: Vec<SweepFacts> = (0..count)
                    .map(|n| {
                        let slot = 3 + 2 * u64::from(n);
                        facts(slot, bits & (1 << (2 * n)) != 0, bits & (2 << (2 * n)) != 0)
                    })
                    .collect();
                for keep in 0..=4 {
                    let plan = decide_sweep(Slot(2), &manifests, keep);
                    check(&manifests, keep, &plan);
                }
            }
        }
    }

    fn check(manifests: &[SweepFacts], keep: usize, plan: &SweepPlan) {
        let newest = manifests.len().saturating_sub(keep.max(1));
        for (index, manifest) in manifests.iter().enumerate() {
            let kept = index >= newest || manifest.savepoint || manifest.pending;
            if kept {
                assert!(!plan.entries.contains(&manifest.slot), "{manifests:?} {keep} {plan:?}");
                for object in &manifest.objects {
                    assert!(!plan.objects.contains(object), "{manifests:?} {keep} {plan:?}");
                }
            } else {
                let own = &manifest.objects[0];
                assert!(plan.objects.contains(own), "{own} lives on: {manifests:?} {keep}");
            }
        }
        if let Some(hint) = plan.hint {
            assert!(plan.entries.iter().all(|it| *it < hint));
        }
        assert!(plan.entries.is_sorted());
    }
}
