//! Which entries and objects are garbage: classifies all before anything is deleted (I8).

use std::collections::BTreeSet;

use crate::epoch::{Epoch, Slot};

/// One manifest of the log, as far as sweeping is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepFacts {
    pub slot: Slot,
    /// Made on a person's word, and not given up since.
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

/// Decides. `first` is the oldest slot of the unbroken log; `manifests` are in order, those of savepoints
/// (and of savepoints given up) that stand below `first` included.
///
/// Kept are: the newest `keep` manifests (one at least), every manifest whose commits are pending, every
/// entry after the oldest of these, so that the log has no hole, and every savepoint. A savepoint keeps
/// nothing but its own entry and objects: one that is kept for a year must not keep a year's log.
pub fn decide_sweep(first: Slot, manifests: &[SweepFacts], keep: usize) -> SweepPlan {
    let in_log = manifests.iter().filter(|it| it.slot >= first).count();
    let newest_kept_from = manifests.len() - in_log.min(keep.max(1));
    let holds = |index: usize, it: &SweepFacts| index >= newest_kept_from || it.pending;
    let kept = |index: usize, it: &SweepFacts| it.savepoint || holds(index, it);
    let oldest_held =
        manifests.iter().enumerate().find(|(index, it)| holds(*index, it)).map(|(_, it)| it.slot);
    let begin = oldest_held.unwrap_or(first).max(first);

    let mut named = BTreeSet::new();
    let mut savepoints = BTreeSet::new();
    for (index, it) in manifests.iter().enumerate() {
        if kept(index, it) {
            named.extend(it.objects.iter().map(String::as_str));
        }
        if it.savepoint {
            savepoints.insert(it.slot);
        }
    }
    let mut objects = Vec::new();
    let mut entries = Vec::new();
    for (index, it) in manifests.iter().enumerate() {
        if kept(index, it) {
            continue;
        }
        objects.extend(it.objects.iter().filter(|it| !named.contains(it.as_str())).cloned());
        if it.slot < first {
            entries.push(it.slot);
        }
    }
    entries.extend((first.0..begin.0).map(Slot).filter(|it| !savepoints.contains(it)));
    let hint = (begin > first).then_some(begin);
    SweepPlan { hint, objects, entries }
}

/// An object that a listing showed: the epoch in its name, and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub epoch: Epoch,
    pub name: String,
}

/// Which listed objects nobody names now, nor ever can: what attempts wrote that came to nothing.
///
/// `newest` and `named` are of one reading of the log. Epochs only rise in it, so an attempt at an epoch
/// that was complete then can't complete any more, whoever makes it, and what completes later is of a
/// later epoch. An attempt at a later epoch may be the running owner's, and stays. So this needs no claim,
/// and disturbs no owner.
pub fn decide_abandoned(
    listed: &[ListedObject],
    newest: Option<Epoch>,
    named: &BTreeSet<String>,
) -> Vec<String> {
    let Some(newest) = newest else { return Vec::new() };
    listed
        .iter()
        .filter(|it| it.epoch <= newest && !named.contains(&it.name))
        .map(|it| it.name.clone())
        .collect()
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

    /// Every log of up to five manifests, each a savepoint or not, pending or not, every `keep`, and every
    /// number of them below the first slot of the unbroken log.
    #[test]
    fn nothing_reachable_is_deleted() {
        for count in 0..=5u32 {
            for bits in 0..1u32 << (2 * count) {
                for below in 0..=count {
                    let manifests: Vec<SweepFacts> = (0..count)
                        .map(|n| {
                            let slot = 3 + 2 * u64::from(n);
                            let pending = bits & (2 << (2 * n)) != 0 && n >= below;
                            facts(slot, bits & (1 << (2 * n)) != 0, pending)
                        })
                        .collect();
                    for keep in 0..=4 {
                        let first = Slot(2 + 2 * u64::from(below));
                        let plan = decide_sweep(first, &manifests, keep);
                        check(first, &manifests, keep, &plan);
                    }
                }
            }
        }
    }

    fn check(first: Slot, manifests: &[SweepFacts], keep: usize, plan: &SweepPlan) {
        let all = format!("{first} {manifests:?} {keep} {plan:?}");
        let in_log = manifests.iter().filter(|it| it.slot >= first).count();
        let newest = manifests.len() - in_log.min(keep.max(1));
        let mut oldest_held = None;
        for (index, manifest) in manifests.iter().enumerate() {
            let held = index >= newest || manifest.pending;
            oldest_held = oldest_held.or(held.then_some(manifest.slot));
            if held || manifest.savepoint {
                assert!(!plan.entries.contains(&manifest.slot), "{all}");
                for object in &manifest.objects {
                    assert!(!plan.objects.contains(object), "{all}");
                }
            } else {
                let own = &manifest.objects[0];
                assert!(plan.objects.contains(own), "{own} lives on: {all}");
                let gone = plan.entries.contains(&manifest.slot);
                assert_eq!(gone, oldest_held.is_none() && in_log > 0 || manifest.slot < first);
            }
        }
        let begin = plan.hint.unwrap_or(first);
        assert!(plan.entries.iter().all(|it| *it < begin), "{all}");
        assert!(begin >= first && oldest_held.is_none_or(|it| it >= begin), "{all}");
        assert!(plan.entries.is_sorted());
    }

    #[test]
    fn what_a_running_attempt_wrote_is_not_abandoned() {
        let listed: Vec<ListedObject> = (1..=6)
            .flat_map(|epoch| ["kept", "torn"].map(|it| (epoch, format!("{epoch}-{it}"))))
            .map(|(epoch, name)| ListedObject { epoch: Epoch(epoch), name })
            .collect();
        let named: BTreeSet<String> = (1..=4).map(|epoch| format!("{epoch}-kept")).collect();
        let found = decide_abandoned(&listed, Some(Epoch(4)), &named);
        assert_eq!(found, ["1-torn", "2-torn", "3-torn", "4-torn"]);
        assert!(decide_abandoned(&listed, None, &named).is_empty());
    }
}
