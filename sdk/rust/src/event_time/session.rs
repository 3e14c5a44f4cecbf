//! Sessions: per key, records that follow each other with less than a gap between them.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::event_time::{Span, Window};
use crate::types::Timestamp;

/// A session that ended: nothing of its key came for the gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<K, A> {
    /// From its first record until the gap behind its last.
    pub window: Window,
    /// Whose it is.
    pub key: K,
    /// What was made of its records.
    pub value: A,
}

/// A value of type `A` for each session of each key `K`.
#[derive(Clone, Debug)]
pub struct Sessions<K, A> {
    gap_ms: i64,
    /// By key, then by first record: (last record, value).
    open: BTreeMap<K, BTreeMap<i64, (i64, A)>>,
    /// (last record, key, first record), so that a watermark looks at what ends only.
    ends: BTreeSet<(i64, K, i64)>,
    watermark: Timestamp,
    late: u64,
}

impl<K: Ord + Clone, A: Default> Sessions<K, A> {
    /// Sessions end when nothing of their key comes for `gap`.
    pub fn new(gap: impl Span) -> Self {
        let gap_ms = gap.millis();
        assert!(0 < gap_ms, "a gap is longer than nothing");
        Sessions {
            gap_ms,
            open: BTreeMap::new(),
            ends: BTreeSet::new(),
            watermark: Timestamp(i64::MIN),
            late: 0,
        }
    }

    /// Changes the value of the session that `time` belongs to. A record between two sessions joins them:
    /// `merge` adds the later one's value to the earlier one's. An error if a session of this record alone
    /// would have ended already: then it is late, and nothing was changed.
    pub fn update(
        &mut self,
        time: Timestamp,
        key: K,
        change: impl FnOnce(&mut A),
        mut merge: impl FnMut(&mut A, A),
    ) -> Result<()> {
        let at = time.0;
        if at + self.gap_ms <= self.watermark.0 {
            self.late += 1;
            return Err(Error::new(format!(
                "late: event time {at} is {} ms behind the watermark",
                self.watermark.0 - at
            )));
        }
        let of_key = self.open.entry(key.clone()).or_default();
        let gap_ms = self.gap_ms;
        // What is less than a gap away on either side: at most two sessions.
        let near: Vec<i64> = of_key
            .range(..at + gap_ms)
            .rev()
            .take(2)
            .filter(|(_, (last, _))| at < last + gap_ms)
            .map(|(first, _)| *first)
            .collect();
        let (mut first, mut last, mut value) = (at, at, None);
        // The earliest first, so that values are merged in the order of time.
        for start in near.into_iter().rev() {
            let Some((end, found)) = of_key.remove(&start) else { continue };
            self.ends.remove(&(end, key.clone(), start));
            first = first.min(start);
            last = last.max(end);
            match &mut value {
                None => value = Some(found),
                Some(value) => merge(value, found),
            }
        }
        let mut value = value.unwrap_or_default();
        change(&mut value);
        of_key.insert(first, (last, value));
        self.ends.insert((last, key, first));
        Ok(())
    }

    /// Takes out all sessions that ended at or before the watermark: by end, then by key.
    pub fn close(&mut self, watermark: Timestamp) -> Vec<Session<K, A>> {
        self.watermark = self.watermark.max(watermark);
        let mut closed = Vec::new();
        while let Some((last, _, _)) = self.ends.first()
            && last + self.gap_ms <= self.watermark.0
            && let Some((last, key, first)) = self.ends.pop_first()
        {
            let Some(of_key) = self.open.get_mut(&key) else { continue };
            let Some((_, value)) = of_key.remove(&first) else { continue };
            if of_key.is_empty() {
                self.open.remove(&key);
            }
            let window = Window { start: Timestamp(first), end: Timestamp(last + self.gap_ms) };
            closed.push(Session { window, key, value });
        }
        closed
    }

    /// Records that were late.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Sessions that are open.
    pub fn open(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_time::Millis;

    fn update(sessions: &mut Sessions<&'static str, Vec<i64>>, key: &'static str, time: i64) {
        let merge = |earlier: &mut Vec<i64>, later: Vec<i64>| earlier.extend(later);
        sessions.update(Timestamp(time), key, |times| times.push(time), merge).unwrap();
    }

    fn closed(
        sessions: &mut Sessions<&'static str, Vec<i64>>,
        at: i64,
    ) -> Vec<(i64, i64, &'static str, Vec<i64>)> {
        let closed = sessions.close(Timestamp(at)).into_iter();
        closed.map(|it| (it.window.start.0, it.window.end.0, it.key, it.value)).collect()
    }

    #[test]
    fn a_session_ends_a_gap_behind_its_last_record() {
        let mut sessions = Sessions::new(Millis(10));
        for (key, time) in [("b", 0), ("a", 5), ("a", 14), ("a", 24)] {
            update(&mut sessions, key, time);
        }
        assert_eq!(sessions.open(), 3);
        assert_eq!(closed(&mut sessions, 9), []);
        assert_eq!(closed(&mut sessions, 24), [(0, 10, "b", vec![0]), (5, 24, "a", vec![5, 14])]);
        assert_eq!(closed(&mut sessions, 34), [(24, 34, "a", vec![24])]);
        assert!(sessions.update(Timestamp(24), "a", |_| (), |_, _| ()).is_err());
        assert_eq!((sessions.late(), sessions.open()), (1, 0));
    }

    #[test]
    fn a_record_out_of_order_joins_two_sessions_in_the_order_of_time() {
        let mut sessions = Sessions::new(Millis(10));
        for time in [0, 18, 40, 9] {
            update(&mut sessions, "a", time);
        }
        assert_eq!(closed(&mut sessions, 28), [(0, 28, "a", vec![0, 18, 9])]);
        update(&mut sessions, "a", 31);
        assert_eq!(closed(&mut sessions, 60), [(31, 50, "a", vec![40, 31])]);
    }

    /// Against sessions made by sorting first.
    #[test]
    fn in_any_order_the_sessions_are_the_same() {
        let mut state = 7u64;
        for _ in 0..200 {
            let mut times: Vec<i64> = (0..30)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 55) as i64
                })
                .collect();
            let mut sessions = Sessions::new(Millis(10));
            times.iter().for_each(|time| update(&mut sessions, "a", *time));
            let found: Vec<Vec<i64>> = sessions
                .close(Timestamp(i64::MAX))
                .into_iter()
                .map(|mut it| {
                    it.value.sort();
                    it.value
                })
                .collect();
            times.sort();
            let wanted: Vec<Vec<i64>> =
                times.chunk_by(|a, b| b - a < 10).map(<[i64]>::to_vec).collect();
            assert_eq!(found, wanted);
        }
    }
}
