//! Decides at which snapshots the tables of several pipelines tell the same moment of event time: what is done
//! at 11:00 finds the rows up to 11:00 in all of them, or is not done yet.

use crate::event_time::EventTime;

/// What is known of a table: at a snapshot, no row of a record before that time is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableMoments {
    pub pipeline: String,
    pub table: String,
    /// In any order.
    pub moments: Vec<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub watermark: EventTime,
    /// `None`: the table is empty.
    pub snapshot: Option<i64>,
}

impl TableMoments {
    /// How far the table is.
    pub fn newest(&self) -> Option<Moment> {
        self.moments.iter().copied().max_by_key(|it| it.watermark)
    }

    /// The first that has all up to the time: of what comes later it has the least.
    fn at(&self, time: EventTime) -> Option<Moment> {
        let whole = self.moments.iter().copied().filter(|it| time <= it.watermark);
        whole.min_by_key(|it| it.watermark)
    }
}

/// The latest time up to which all tables are whole, set back to a multiple of the period. `None`: one of them
/// has no watermark yet.
pub fn newest_common(tables: &[TableMoments], period_ms: Option<i64>) -> Option<EventTime> {
    let newest = tables.iter().map(|it| Some(it.newest()?.watermark));
    let least = newest.collect::<Option<Vec<EventTime>>>()?.into_iter().min()?;
    let back = period_ms.map_or(0, |period| least.0.rem_euclid(period));
    Some(EventTime(least.0.saturating_sub(back)))
}

/// Where to read each table so that all that ends at the time or before is in each of them. `None`: not all are
/// there yet, and nobody should act on any.
pub fn align(tables: &[TableMoments], time: EventTime) -> Option<Vec<Moment>> {
    tables.iter().map(|it| it.at(time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(moments: &[(i64, i64)]) -> TableMoments {
        let moment = |(watermark, snapshot): &(i64, i64)| Moment {
            watermark: EventTime(*watermark),
            snapshot: Some(*snapshot),
        };
        TableMoments { moments: moments.iter().map(moment).collect(), ..TableMoments::default() }
    }

    /// For each pair of tables with watermarks below 6 and each time: both or none, and never a table that
    /// lacks something.
    #[test]
    fn all_are_whole_or_none_is_read() {
        let some = |bits: u32| -> Vec<(i64, i64)> {
            (0..6).filter(|it| bits & 1 << it != 0).map(|it| (it, 100 + it)).collect()
        };
        for (one, other) in (0..64).flat_map(|one| (0..64).map(move |other| (one, other))) {
            let tables = [table(&some(one)), table(&some(other))];
            for time in (0..7).map(EventTime) {
                let ready =
                    tables.iter().all(|it| it.newest().is_some_and(|it| time <= it.watermark));
                let aligned = align(&tables, time);
                assert_eq!(aligned.is_some(), ready, "{one:b} {other:b} {time:?}");
                for (table, moment) in tables.iter().zip(aligned.into_iter().flatten()) {
                    assert!(time <= moment.watermark);
                    let nearer =
                        |it: &&Moment| time <= it.watermark && it.watermark < moment.watermark;
                    assert_eq!(table.moments.iter().find(nearer), None);
                }
            }
            let common = newest_common(&tables, None);
            assert_eq!(common.is_some(), one != 0 && other != 0);
            assert!(common.is_none_or(|it| align(&tables, it).is_some()));
            let later = common.map(|it| EventTime(it.0 + 1));
            assert!(later.is_none_or(|it| align(&tables, it).is_none()));
        }
    }

    #[test]
    fn a_period_sets_the_time_back() {
        for (period, time) in [(None, -7), (Some(5), -10), (Some(7), -7), (Some(100), -100)] {
            assert_eq!(newest_common(&[table(&[(-7, 1)])], period), Some(EventTime(time)));
        }
        assert_eq!(newest_common(&[], None), None);
    }
}
