//! The oracle: the rows that a plain loop over the input makes, without epochs, restarts or batches.

use std::collections::BTreeMap;

use floe_core::rng::OperatorRng;

use crate::simulation::source::{InputRecord, POISON, REJECTED, UNDECODABLE};
use crate::simulation::table::Row;

pub struct Expected {
    pub totals: Vec<Row>,
    pub letters: Vec<Row>,
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
