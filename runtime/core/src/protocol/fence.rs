//! Which generation may still write, and what a lost slot means.

use crate::epoch::{EntryId, Generation};
use crate::log_entry::LogEntry;

/// What became of a put into the next slot, once the slot's entry is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOutcome {
    /// The entry is ours: an earlier answer was lost.
    Ours,
    /// A later generation owns the pipeline. Stop, and write nothing more.
    Fenced { by: Generation },
    /// An entry of a generation at or below ours, but not ours: only possible while we claim. Read it
    /// (a manifest there is a valid checkpoint) and try the next slot.
    Behind,
}

/// Decides from the entry that stands in the slot that we wanted.
pub fn settle_slot(ours: EntryId, our_generation: Generation, found: &LogEntry) -> SlotOutcome {
    if found.id() == ours {
        SlotOutcome::Ours
    } else if found.generation() > our_generation {
        SlotOutcome::Fenced { by: found.generation() }
    } else {
        SlotOutcome::Behind
    }
}

/// What is known before claiming a pipeline that has entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerFacts {
    /// The last claim was made on this host, since it last booted.
    pub same_host: bool,
    /// On the same host: the claiming process still runs.
    pub process_alive: bool,
    /// The log grew while we watched it for two intervals.
    pub advanced: bool,
    pub take_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    Claim,
    /// Watch the log for two intervals, then decide again.
    Watch,
    /// Somebody else is writing; a person says `--take-over` if that is meant.
    Refuse,
}

/// Keeps two supervisors from fencing each other for ever. `watched` says whether we have watched yet.
pub fn decide_claim(owner: Option<OwnerFacts>, watched: bool) -> ClaimDecision {
    let Some(owner) = owner else { return ClaimDecision::Claim };
    if owner.take_over || (owner.same_host && !owner.process_alive) {
        return ClaimDecision::Claim;
    }
    match (watched, owner.advanced) {
        (false, _) => ClaimDecision::Watch,
        (true, true) => ClaimDecision::Refuse,
        (true, false) => ClaimDecision::Claim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_entry::Claim;

    fn claim(id: u8, generation: u64) -> LogEntry {
        LogEntry::Claim(Claim {
            id: EntryId([id; 16]),
            generation: Generation(generation),
            pipeline: "p".into(),
            host: "h".into(),
            boot_id: "b".into(),
            pid: 1,
            started_ms: 0,
        })
    }

    #[test]
    fn a_slot_is_ours_by_its_id_and_fences_by_its_generation() {
        let ours = EntryId([1; 16]);
        for generation in 1..5 {
            assert_eq!(settle_slot(ours, Generation(3), &claim(1, generation)), SlotOutcome::Ours);
            let outcome = settle_slot(ours, Generation(3), &claim(2, generation));
            let expected = if generation > 3 {
                SlotOutcome::Fenced { by: Generation(generation) }
            } else {
                SlotOutcome::Behind
            };
            assert_eq!(outcome, expected);
        }
    }

    #[test]
    fn a_live_owner_is_never_taken_from_without_being_told_to() {
        for bits in 0..32u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let owner = OwnerFacts {
                same_host: bit(0),
                process_alive: bit(1),
                advanced: bit(2),
                take_over: bit(3),
            };
            let decision = decide_claim(Some(owner), bit(4));
            let dead = owner.same_host && !owner.process_alive;
            if decision == ClaimDecision::Claim && !owner.take_over && !dead {
                assert!(bit(4) && !owner.advanced, "{owner:?}");
            }
            if owner.take_over || dead {
                assert_eq!(decision, ClaimDecision::Claim);
            }
        }
        assert_eq!(decide_claim(None, false), ClaimDecision::Claim);
    }
}
