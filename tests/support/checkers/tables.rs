//! Checks the tables: every snapshot is a consistent cut, the last one is everything, each row once.

use std::collections::BTreeMap;

use floe_core::EventTime;
use floe_core::epoch::EntryId;
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;
use floe_core::protocol::guarantee::Guarantee;

use crate::checkers::keyed::Chains;
use crate::checkers::oracle::{Expected, expected, watermark, windows};
use crate::simulation::history::How;
use crate::simulation::operator::WINDOW_ROW;
use crate::simulation::table::Row;
use crate::simulation::world::{LETTERS, State, TABLE, TOPIC};

/// A run that says that all input is in the tables: is it, now?
pub fn lack(state: &State) -> Option<String> {
    if state.plan.guarantee != Guarantee::ExactlyOnce {
        return None;
    }
    let oracle = oracle(state);
    state.tables.keys().find_map(|table| {
        let snapshots = state.history.snapshots.iter().filter(|it| it.table == *table);
        let found: usize =
            snapshots.flat_map(|it| &it.rows).filter(|it| it.offset != WINDOW_ROW).count();
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
        let mut windows_so_far = so_far.clone();
        // Rows of a keyed stage come in its tasks' order, and not in that of the partitions.
        let is_keyed = table == TABLE && state.plan.keyed_tasks > 0;
        let mut chains = Chains::default();
        for (index, snapshot) in
            state.history.snapshots.iter().filter(|it| it.table == *table).enumerate()
        {
            let Some(marker) = &snapshot.marker else { continue };
            for row in &snapshot.rows {
                let rows = match row.offset {
                    WINDOW_ROW => &mut windows_so_far,
                    _ => &mut so_far,
                };
                rows[row.partition as usize].push(row.clone());
            }
            if is_keyed {
                let twice = snapshot.rows.iter().filter_map(|it| chains.add(it));
                wrong.extend(twice.map(|it| format!("snapshot {index} of {table}: {it}")));
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
            // Made of records before the positions, and not in the table yet.
            let of = (manifest.generation, manifest.epoch);
            let in_flight = state.history.in_flight.get(&of).map_or(&[][..], |it| it);
            if is_keyed {
                let broken = chains.check(manifest, in_flight, &oracle);
                wrong.extend(broken.into_iter().map(|it| format!("I4: {place}: {it}")));
            }
            for (task, position) in manifest.position().0.into_iter().filter(|_| !is_keyed) {
                assert_eq!(&*task.topic, TOPIC);
                let partition = task.partition as usize;
                let all = rows_of(&oracle[partition], table);
                let cut = &all[..all.partition_point(|it| it.offset < position.0)];
                if let Some(what) = difference(&so_far[partition], cut) {
                    wrong.push(format!("I4: {place}: {task} before offset {position}: {what}"));
                }
            }
            if table == TABLE {
                let mut windows = windows_so_far.clone();
                for row in in_flight.iter().filter(|it| it.offset == WINDOW_ROW) {
                    windows[row.partition as usize].push(row.clone());
                }
                if is_keyed {
                    windows.iter_mut().for_each(|it| it.sort_by_key(|row| row.values[0]));
                }
                wrong.extend(check_windows(state, manifest, &windows, &place));
            }
        }
        let finished = state.history.ends.iter().any(|it| it.how == How::Finished);
        if is_keyed {
            let broken = chains.check_all(&oracle).into_iter().filter(|_| finished);
            wrong.extend(broken.map(|it| format!("{table} at the end: {it}")));
            continue;
        }
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

/// The windows in the table are those that the manifest's watermarks closed, and the watermarks are those
/// of the records, or of the other partitions where one is idle.
fn check_windows(
    state: &State,
    manifest: &CheckpointManifest,
    so_far: &[Vec<Row>],
    place: &str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for task in manifest.tasks.iter().filter(|it| it.task.stage().is_none()) {
        let (name, at, before) = (&task.task, task.watermark, task.next_offset);
        let input = &state.input[name.partition as usize];
        let own = match state.plan.event_time {
            true => watermark(input, before),
            false => EventTime::MIN,
        };
        if at < own || (at > own && state.plan.idle_after.is_none()) {
            wrong.push(format!(
                "{place}: {name} is at watermark {}, its records at {}",
                at.0, own.0
            ));
        }
        // The guest in WebAssembly keeps no windows.
        let closed = match state.plan.wasm {
            true => Vec::new(),
            false => windows(name.partition, input, before, at),
        };
        if let Some(what) = difference(&so_far[name.partition as usize], &closed) {
            wrong.push(format!("I4: {place}: windows of {name} at watermark {}: {what}", at.0));
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
