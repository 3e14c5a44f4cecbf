//! Checks the tables: every snapshot is a consistent cut, the last one is everything, each row once.

use std::collections::BTreeMap;

use floe_core::epoch::EntryId;
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;

use crate::checkers::oracle::{Expected, expected};
use crate::simulation::history::How;
use crate::simulation::table::Row;
use crate::simulation::world::{LETTERS, State, TABLE, TOPIC};

/// A run that says that all input is in the tables: is it, now?
pub fn lack(state: &State) -> Option<String> {
    let oracle = oracle(state);
    state.tables.keys().find_map(|table| {
        let snapshots = state.history.snapshots.iter().filter(|it| it.table == *table);
        let found: usize = snapshots.map(|it| it.rows.len()).sum();
        let wanted: usize = oracle.iter().map(|it| rows_of(it, table).len()).sum();
        (found < wanted).then(|| format!("{table} has {found} of {wanted} rows"))
    })
}

fn oracle(state: &State) -> Vec<Expected> {
    (0..state.input.len())
        .map(|partition| {
            let seed = state.history.seeds.get(&(partition as i32)).copied().unwrap_or_default();
            expected(partition as i32, &state.input[partition], seed)
        })
        .collect()
}

fn rows_of<'a>(expected: &'a Expected, table: &str) -> &'a [Row] {
    match table {
        TABLE => &expected.totals,
        LETTERS => &expected.letters,
        other => panic!("a table {other}"),
    }
}

pub fn check(state: &State) -> Vec<String> {
    let manifests: BTreeMap<EntryId, &CheckpointManifest> = state
        .history
        .entries
        .iter()
        .filter_map(|it| match &it.entry {
            LogEntry::Manifest(manifest) => Some((manifest.id, manifest)),
            LogEntry::Claim(_) => None,
        })
        .collect();
    let oracle = oracle(state);

    let mut wrong = Vec::new();
    for table in state.tables.keys() {
        let mut so_far: Vec<Vec<Row>> = vec![Vec::new(); state.input.len()];
        for (index, snapshot) in
            state.history.snapshots.iter().filter(|it| it.table == *table).enumerate()
        {
            let Some(marker) = &snapshot.marker else { continue };
            for row in &snapshot.rows {
                so_far[row.partition as usize].push(row.clone());
            }
            if table == LETTERS {
                // Those of the decoder come before those of the operator, batch by batch.
                so_far.iter_mut().for_each(|it| it.sort_by_key(|row| row.offset));
            }
            let place = format!("snapshot {index} of {table}, epoch {}", marker.manifest.epoch);
            let Some(manifest) = manifests.get(&marker.manifest.id) else {
                wrong.push(format!("I6: {place}: committed, and its manifest is not visible"));
                continue;
            };
            for (task, position) in manifest.position().0 {
                assert_eq!(&*task.topic, TOPIC);
                let partition = task.partition as usize;
                let all = rows_of(&oracle[partition], table);
                let cut = &all[..all.partition_point(|it| it.offset < position.0)];
                if let Some(what) = difference(&so_far[partition], cut) {
                    wrong.push(format!("I4: {place}: {task} before offset {position}: {what}"));
                }
            }
        }
        let finished = state.history.ends.iter().any(|it| it.how == How::Finished);
        for (partition, rows) in so_far.iter().enumerate() {
            let all = rows_of(&oracle[partition], table);
            match difference(rows, all) {
                Some(what) if finished => {
                    wrong.push(format!("{table}: partition {partition} at the end: {what}"));
                }
                Some(_) | None => {}
            }
        }
    }
    wrong
}

fn difference(found: &[Row], expected: &[Row]) -> Option<String> {
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    match (found.get(same), expected.get(same)) {
        (None, None) => None,
        (Some(row), None) => Some(format!("{} rows too many, first {row:?}", found.len() - same)),
        (None, Some(row)) => {
            Some(format!("{} rows are missing, first {row:?}", expected.len() - same))
        }
        (Some(found), Some(wanted)) => {
            Some(format!("row {same} is {found:?}, and should be {wanted:?}"))
        }
    }
}
