//! The oracle: the rows that a plain loop over the input makes, without epochs, restarts or batches.

use std::collections::BTreeMap;

use floe_core::rng::OperatorRng;

use floe_core::{EventTime, Offset};

use crate::simulation::operator::{WINDOW_MS, WINDOW_ROW};
use crate::simulation::source::{InputRecord, OUT_OF_ORDER_MS, POISON, REJECTED, UNDECODABLE};
use crate::simulation::table::Row;

pub struct Expected {
    pub totals: Vec<Row>,
    pub letters: Vec<Row>,
}

/// The rows of the windows that a watermark closed, over the records before an offset.
pub fn windows(partition: i32, input: &[InputRecord], before: Offset, at: EventTime) -> Vec<Row> {
    let mut windows: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for record in taken(input).filter(|it| it.offset < before.0) {
        let begin = record.timestamp_ms.div_euclid(WINDOW_MS) * WINDOW_MS;
        let window = windows.entry(begin).or_default();
        *window = (window.0 + 1, window.1 + record.value);
    }
    windows
        .into_iter()
        .filter(|(begin, _)| begin + WINDOW_MS <= at.0)
        .map(|(begin, (count, sum))| Row {
            partition,
            offset: WINDOW_ROW,
            values: vec![begin, count, sum, 0],
        })
        .collect()
}

/// The watermark behind the records before an offset.
pub fn watermark(input: &[InputRecord], before: Offset) -> EventTime {
    let seen = input.iter().filter(|it| it.offset < before.0);
    // A record that stops the operator is passed over, and one that cannot be decoded has no column.
    let counts = seen.filter(|it| !matches!(it.value, POISON | UNDECODABLE));
    let newest = counts.map(|it| it.timestamp_ms).max();
    newest.map_or(EventTime::MIN, |it| EventTime(it - OUT_OF_ORDER_MS))
}

fn taken(input: &[InputRecord]) -> impl Iterator<Item = &InputRecord> {
    input.iter().filter(|it| !matches!(it.value, POISON | REJECTED | UNDECODABLE))
}

/// The rows of one partition in order. `seed` is what the operator was opened with.
pub fn expected(partition: i32, input: &[InputRecord], seed: u64) -> Expected {
    let mut rng = OperatorRng::from_seed(seed);
    let mut by_key: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut expected = Expected { totals: Vec::new(), letters: Vec::new() };
    for record in input {
        if matches!(record.value, POISON | REJECTED | UNDECODABLE) {
            let letter = Row { partition, offset: record.offset, values: Vec::new() };
            expected.letters.push(letter);
            continue;
        }
        let total = by_key.entry(record.key).or_default();
        *total = (total.0 + 1, total.1 + record.value);
        let draw = rng.next_u64() as i64;
        let values = vec![record.key, total.0, total.1, draw];
        expected.totals.push(Row { partition, offset: record.offset, values });
    }
    expected
}
