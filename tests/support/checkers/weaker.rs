//! Checks the tables under at-least-once and at-most-once: rows may repeat, or be missing, and be nothing else.

use std::collections::BTreeMap;

use floe_core::protocol::guarantee::Guarantee;
use floe_core::{EventTime, Offset};

use crate::checkers::oracle::{expected, windows};
use crate::simulation::history::How;
use crate::simulation::table::Row;
use crate::simulation::world::{LETTERS, State};

/// What a weaker guarantee let happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weakness {
    pub repeated: usize,
    pub missing: usize,
}

/// Every row must be one of the oracle's, with the counts and sums that the oracle has: state is exact.
pub fn check(state: &State) -> (Vec<String>, Weakness) {
    let mut wrong = Vec::new();
    let mut weakness = Weakness::default();
    let finished = state.history.ends.iter().any(|it| it.how == How::Finished);
    for table in state.tables.keys() {
        let mut found: BTreeMap<(i32, i64, Vec<i64>), usize> = BTreeMap::new();
        for snapshot in state.history.snapshots.iter().filter(|it| it.table == *table) {
            for row in &snapshot.rows {
                let key = (row.partition, row.offset, row.values.clone());
                *found.entry(key).or_default() += 1;
            }
        }
        for (partition, input) in state.input.iter().enumerate() {
            let number = partition as i32;
            let seed = state.history.seeds.get(&number).copied().unwrap_or_default();
            let oracle = expected(number, input, seed);
            let (must, may) = match table.as_str() {
                LETTERS => (oracle.letters, Vec::new()),
                // How far the watermark came differs: any window may be closed, and none must be.
                _ => {
                    let all = windows(number, input, Offset(i64::MAX), EventTime(i64::MAX));
                    (oracle.totals, all)
                }
            };
            for row in &must {
                let times = take(&mut found, row);
                weakness.repeated += times.saturating_sub(1);
                weakness.missing += usize::from(times == 0);
                if times == 0 && finished && state.plan.guarantee != Guarantee::AtMostOnce {
                    wrong.push(format!("{table}: {row:?} is missing"));
                }
                if times > 1 && state.plan.guarantee != Guarantee::AtLeastOnce {
                    wrong.push(format!("{table}: {row:?} is there {times} times"));
                }
            }
            for row in &may {
                let times = take(&mut found, row);
                if times > 1 && state.plan.guarantee != Guarantee::AtLeastOnce {
                    wrong.push(format!("{table}: window {row:?} is there {times} times"));
                }
            }
        }
        wrong.extend(found.keys().map(|it| format!("{table}: a row {it:?} that no record makes")));
    }
    (wrong, weakness)
}

fn take(found: &mut BTreeMap<(i32, i64, Vec<i64>), usize>, row: &Row) -> usize {
    found.remove(&(row.partition, row.offset, row.values.clone())).unwrap_or_default()
}
