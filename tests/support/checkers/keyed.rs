//! Checks the table of a keyed plan: every snapshot is a consistent cut over all partitions, and the rows of each
//! key are one chain, in which each partition's rows keep their order.
//!
//! Which partition's row comes first is nobody's promise, so no plain loop over the input can say it.

use std::collections::{BTreeMap, BTreeSet};

use floe_core::Offset;
use floe_core::manifest::CheckpointManifest;

use crate::checkers::oracle::Expected;
use crate::simulation::operator::WINDOW_ROW;
use crate::simulation::table::Row;

/// Where a row comes from.
type Place = (i32, i64);

/// The rows up to one snapshot.
#[derive(Default)]
pub struct Chains {
    rows: BTreeMap<Place, Row>,
    /// By key and number in its chain.
    chains: BTreeMap<i64, BTreeMap<i64, Place>>,
}

impl Chains {
    pub fn add(&mut self, row: &Row) -> Option<String> {
        if row.offset == WINDOW_ROW {
            return None;
        }
        let place = (row.partition, row.offset);
        if self.rows.insert(place, row.clone()).is_some() {
            return Some(format!("record {place:?} is there twice"));
        }
        let before = self.chains.entry(row.values[0]).or_default().insert(row.values[1], place);
        before.map(|it| format!("{it:?} and {place:?} are both number {} of a key", row.values[1]))
    }

    /// Against the rows that the tasks of the partitions make, up to the manifest's positions and without those
    /// that it has in flight.
    pub fn check(
        &self,
        manifest: &CheckpointManifest,
        in_flight: &[Row],
        oracle: &[Expected],
    ) -> Vec<String> {
        let position = manifest.position();
        let before = |row: &&Row| {
            let mut tasks = position.0.iter();
            let is_it = |it: &Row| (it.partition, it.offset) == (row.partition, row.offset);
            !in_flight.iter().any(is_it)
                && tasks.any(|(task, next)| {
                    task.partition == row.partition && Offset(row.offset) < *next
                })
        };
        let all = oracle.iter().flat_map(|it| &it.totals).filter(before);
        self.check_rows(all)
    }

    /// Against all rows.
    pub fn check_all(&self, oracle: &[Expected]) -> Vec<String> {
        self.check_rows(oracle.iter().flat_map(|it| &it.totals))
    }

    fn check_rows<'a>(&self, wanted: impl Iterator<Item = &'a Row>) -> Vec<String> {
        let wanted: BTreeMap<Place, &Row> =
            wanted.map(|it| ((it.partition, it.offset), it)).collect();
        let of_wanted: BTreeSet<&Place> = wanted.keys().collect();
        let found: BTreeSet<&Place> = self.rows.keys().collect();
        let mut wrong = Vec::new();
        if let Some(first) = of_wanted.difference(&found).next() {
            wrong.push(format!("record {first:?} has no row"));
        }
        if let Some(first) = found.difference(&of_wanted).next() {
            wrong.push(format!("record {first:?} has a row, and is behind the cut"));
        }
        if wrong.is_empty() {
            wrong.extend(self.chains.iter().filter_map(|(key, it)| self.broken(*key, it, &wanted)));
        }
        wrong
    }

    /// Where a key's chain breaks.
    fn broken(
        &self,
        key: i64,
        chain: &BTreeMap<i64, Place>,
        wanted: &BTreeMap<Place, &Row>,
    ) -> Option<String> {
        let mut sum = 0;
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for (number, (nth, place)) in (1..).zip(chain) {
            let (row, of_partition) = (&self.rows[place], wanted[place]);
            sum += of_partition.values[2];
            let made = (row.values[0], *nth, row.values[2], row.values[3]);
            let right = (of_partition.values[0], number, sum, of_partition.values[3]);
            if made != right {
                return Some(format!("key {key}, record {place:?}: {made:?} and not {right:?}"));
            }
            if last.insert(place.0, place.1).is_some_and(|it| it >= place.1) {
                return Some(format!("key {key}: record {place:?} comes behind a later one"));
            }
        }
        None
    }
}
