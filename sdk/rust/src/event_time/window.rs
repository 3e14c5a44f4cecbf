//! Windows of a fixed size: one value for each window and key, until the watermark passes the window's end.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::event_time::Span;
use crate::types::Timestamp;

/// A span of event time: `start` is in it, `end` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first millisecond.
    pub start: Timestamp,
    /// The first millisecond behind it.
    pub end: Timestamp,
}

/// A value of type `A` for each window and key `K`: a count, a sum, a list, whatever has a default.
#[derive(Clone, Debug)]
pub struct Windows<K, A> {
    size_ms: i64,
    slide_ms: i64,
    /// By the start of the window.
    open: BTreeMap<i64, BTreeMap<K, A>>,
    watermark: Timestamp,
    late: u64,
}

impl<K: Ord + Clone, A: Default> Windows<K, A> {
    /// Windows one behind the other: each record is in one.
    pub fn tumbling(size: impl Span) -> Self {
        let size_ms = size.millis();
        Self::of(size_ms, size_ms)
    }

    /// Windows of `size` that begin every `slide`: each record is in `size / slide` of them.
    pub fn hopping(size: impl Span, slide: impl Span) -> Self {
        Self::of(size.millis(), slide.millis())
    }

    fn of(size_ms: i64, slide_ms: i64) -> Self {
        assert!(0 < slide_ms, "a window is longer than nothing");
        assert!(slide_ms <= size_ms, "windows with gaps between them would lose records");
        let watermark = Timestamp(i64::MIN);
        Windows { size_ms, slide_ms, open: BTreeMap::new(), watermark, late: 0 }
    }

    /// Changes the key's value in each window that holds `time`. An error if all of them are closed:
    /// then the record is late, and nothing was changed.
    pub fn update(
        &mut self,
        time: Timestamp,
        key: K,
        mut change: impl FnMut(&mut A),
    ) -> Result<()> {
        // The newest window that holds the time; the others begin before it, slide by slide.
        let mut start = time.0 - time.0.rem_euclid(self.slide_ms);
        if start + self.size_ms <= self.watermark.0 {
            self.late += 1;
            return Err(self.too_late(time));
        }
        while start > time.0 - self.size_ms && start + self.size_ms > self.watermark.0 {
            change(self.open.entry(start).or_default().entry(key.clone()).or_default());
            start -= self.slide_ms;
        }
        Ok(())
    }

    #[cold]
    fn too_late(&self, time: Timestamp) -> Error {
        Error::new(format!(
            "late: event time {} is {} ms behind the watermark",
            time.0,
            self.watermark.0 - time.0
        ))
    }

    /// Takes out all windows that end at or before the watermark: by window, then by key.
    pub fn close(
        &mut self,
        watermark: Timestamp,
    ) -> impl Iterator<Item = (Window, K, A)> + use<K, A> {
        self.watermark = self.watermark.max(watermark);
        let size_ms = self.size_ms;
        // The first start whose window ends behind the watermark.
        let first_open = self.watermark.0.saturating_sub(size_ms).saturating_add(1);
        let open = self.open.split_off(&first_open);
        let closed = std::mem::replace(&mut self.open, open);
        closed.into_iter().flat_map(move |(start, by_key)| {
            let window = Window { start: Timestamp(start), end: Timestamp(start + size_ms) };
            by_key.into_iter().map(move |(key, value)| (window, key, value))
        })
    }

    /// Records that were late.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Windows that are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_time::{Millis, Seconds};

    fn closed(windows: &mut Windows<&'static str, i64>, at: i64) -> Vec<(i64, &'static str, i64)> {
        windows.close(Timestamp(at)).map(|(window, key, sum)| (window.start.0, key, sum)).collect()
    }

    #[test]
    fn a_window_is_closed_once_when_the_watermark_reaches_its_end() {
        let mut windows = Windows::tumbling(Millis(10));
        for (time, key, value) in
            [(12, "b", 1), (0, "a", 2), (9, "b", 3), (10, "a", 4), (9, "a", 5)]
        {
            windows.update(Timestamp(time), key, |sum| *sum += value).unwrap();
        }
        assert_eq!(closed(&mut windows, 9), []);
        assert_eq!(closed(&mut windows, 10), [(0, "a", 7), (0, "b", 3)]);
        let late = windows.update(Timestamp(9), "a", |sum| *sum += 1).unwrap_err();
        assert_eq!(late.text(), "late: event time 9 is 1 ms behind the watermark");
        assert_eq!(windows.late(), 1);
        assert_eq!(closed(&mut windows, 5), [], "the watermark does not go back");
        assert_eq!(closed(&mut windows, 1000), [(10, "a", 4), (10, "b", 1)]);
        assert_eq!(windows.open(), 0);
    }

    #[test]
    fn a_record_is_in_every_window_that_slides_over_it() {
        let mut windows = Windows::hopping(Seconds(10), Seconds(5));
        windows.update(Timestamp(7_000), "a", |sum| *sum += 1).unwrap();
        assert_eq!(closed(&mut windows, 10_000), [(0, "a", 1)]);
        // One of its two windows is closed: it counts in the other.
        windows.update(Timestamp(8_000), "a", |sum| *sum += 1).unwrap();
        assert_eq!(closed(&mut windows, 15_000), [(5_000, "a", 2)]);
        assert!(windows.update(Timestamp(8_000), "a", |sum| *sum += 1).is_err());
    }

    #[test]
    fn times_before_1970_have_windows_too() {
        let mut windows = Windows::tumbling(Millis(10));
        windows.update(Timestamp(-1), "a", |sum| *sum += 1).unwrap();
        assert_eq!(closed(&mut windows, 0), [(-10, "a", 1)]);
    }
}
