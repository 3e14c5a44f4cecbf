//! The entries that are kept below the first kept slot, so that the log's end is found without any pointer.
//!
//! A sweep leaves holes. A reader that trusted a stale hint could take a hole for the end of the log,
//! and claim inside of it. So a sweep up to slot `f` keeps each power of two below `f`, and each number
//! that comes from `f` by clearing low bits. Then for the last slot `l`, whatever it is:
//!
//! - `l` with its low bits cleared exists, however many are cleared (below `f` it is `f` so cleared);
//! - so a search from the highest bit down finds `l` with one look per bit;
//! - and slot `c` is the last if and only if none of `beyond(c)` exists.

use std::collections::BTreeSet;

use floe_core::epoch::Slot;

/// Slots below `first_kept` that no sweep deletes while `first_kept` stays.
pub(crate) fn kept_below(first_kept: Slot) -> BTreeSet<Slot> {
    let powers = (0..64).map(|bit| 1u64 << bit);
    let cleared = (1..64).map(|bits| first_kept.0 >> bits << bits);
    powers.chain(cleared).filter(|it| 0 < *it && *it < first_kept.0).map(Slot).collect()
}

/// If the log goes on past `last`, one of these slots exists. `Slot(0)` stands for an empty log.
fn beyond(last: Slot) -> Vec<Slot> {
    let bits = 64 - last.0.leading_zeros();
    assert!(bits < 64, "a log of 2^63 entries");
    let inside =
        (0..bits).filter(|bit| last.0 >> bit & 1 == 0).map(|bit| (last.0 >> bit << bit) | 1 << bit);
    inside.chain([1u64 << bits]).map(Slot).collect()
}

/// Where a log that goes on past `last` shows itself, even if a slot of `beyond` was lost: also the slots
/// right behind, and the next powers of two. The larger, the later.
pub(crate) fn signs_beyond(last: Slot) -> BTreeSet<Slot> {
    let bits = 64 - last.0.leading_zeros();
    let near = (1..=NEAR).map(|it| last.0 + it);
    let powers = (bits..(bits + FURTHER_POWERS).min(63)).map(|bit| 1 << bit);
    near.chain(powers).map(Slot).chain(beyond(last)).collect()
}

const NEAR: u64 = 8;
const FURTHER_POWERS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sweeps in all kinds of steps: what exists at the end is found, from nothing and from any slot.
    #[test]
    fn the_end_is_found_whatever_was_swept() {
        for last in 1..300u64 {
            for step in [1, 2, 3, 7, 50] {
                let mut exists: BTreeSet<u64> = (1..=last).collect();
                let mut first = 1;
                while first + step <= last {
                    first += step;
                    let kept = kept_below(Slot(first));
                    exists.retain(|it| *it >= first || kept.contains(&Slot(*it)));
                }
                for candidate in exists.iter().copied().chain([0]) {
                    let goes_on = beyond(Slot(candidate)).iter().any(|it| exists.contains(&it.0));
                    assert_eq!(goes_on, candidate < last, "{candidate} of {last} by {step}");
                }
                assert_eq!(search(&exists), last, "by {step}");
            }
        }
    }

    fn search(exists: &BTreeSet<u64>) -> u64 {
        let mut found = 0u64;
        while let Some(next) = beyond(Slot(found)).iter().rev().find(|it| exists.contains(&it.0)) {
            found = next.0;
        }
        found
    }

    #[test]
    fn little_is_kept() {
        assert!(kept_below(Slot(1_000_000)).len() <= 40);
        assert_eq!(kept_below(Slot(1)), BTreeSet::new());
        assert_eq!(kept_below(Slot(6)), [1, 2, 4].map(Slot).into());
    }
}
