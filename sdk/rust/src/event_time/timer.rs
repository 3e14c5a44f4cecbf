//! Timers: what is to be done once event time has come so far.

use std::collections::BTreeSet;

use crate::types::Timestamp;

/// Things to do at an event time, each once. `T` says what: a key, or a key and a kind.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    set: BTreeSet<(Timestamp, T)>,
}

impl<T: Ord> Timers<T> {
    /// None is set.
    pub fn new() -> Self {
        Timers { set: BTreeSet::new() }
    }

    /// Sets a timer. One that is set for the same time and thing already stays one.
    pub fn set(&mut self, time: Timestamp, what: T) {
        self.set.insert((time, what));
    }

    /// Takes a timer back. False if it was not set.
    pub fn cancel(&mut self, time: Timestamp, what: T) -> bool {
        self.set.remove(&(time, what))
    }

    /// Takes out what is due at the watermark, by time: all records before that time have come. One that
    /// is set meanwhile for a time that has passed is due at the next watermark.
    pub fn due(&mut self, watermark: Timestamp) -> Vec<(Timestamp, T)> {
        let mut due = Vec::new();
        while self.set.first().is_some_and(|(time, _)| *time <= watermark) {
            due.extend(self.set.pop_first());
        }
        due
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Is none set?
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_and_in_order() {
        let mut timers = Timers::new();
        for (time, what) in [(30, "c"), (10, "b"), (10, "a"), (10, "b"), (20, "x")] {
            timers.set(Timestamp(time), what);
        }
        assert!(timers.cancel(Timestamp(20), "x"));
        assert!(!timers.cancel(Timestamp(20), "x"));
        assert_eq!(timers.due(Timestamp(9)), []);
        assert_eq!(timers.due(Timestamp(10)), [(Timestamp(10), "a"), (Timestamp(10), "b")]);
        assert_eq!(timers.due(Timestamp(10)), []);
        assert_eq!(timers.due(Timestamp(i64::MAX)), [(Timestamp(30), "c")]);
        assert!(timers.is_empty());
    }
}
