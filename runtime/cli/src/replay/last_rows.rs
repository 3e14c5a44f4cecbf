//! Rows of tables in which a row replaces the one before of its key: of an epoch the last of each key is in the
//! table's files, so the last ones that are made now are held against those.

use std::collections::BTreeMap;

use super::rows_differ::{Row, RowsDiffer, canonical, same};

/// By sink and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastRows {
    keys: BTreeMap<usize, Vec<String>>,
    rows: BTreeMap<(usize, String), LastRow>,
    /// Rows of the call that is looked at, by sink.
    counts: BTreeMap<usize, usize>,
}

#[derive(Clone, Debug)]
struct LastRow {
    row: Row,
    /// Its number among the rows that the call left for this table, where it is of the call that is looked at.
    number: Option<usize>,
}

impl LastRows {
    pub(crate) fn of(keys: BTreeMap<usize, Vec<String>>) -> LastRows {
        LastRows { keys, ..LastRows::default() }
    }

    pub(crate) fn is_of(&self, sink: usize) -> bool {
        self.keys.contains_key(&sink)
    }

    pub(crate) fn take(&mut self, sink: usize, row: Row, is_of_call: bool) {
        let count = self.counts.entry(sink).or_insert(0);
        let number = is_of_call.then_some(*count);
        *count += usize::from(is_of_call);
        let Some(key) = self.keys.get(&sink) else { return };
        self.rows.insert((sink, key_of(&row, key)), LastRow { row, number });
    }
}

fn key_of(row: &Row, key: &[String]) -> String {
    let values = key.iter().map(|it| row.get(it).map_or_else(String::new, canonical));
    values.collect::<Vec<_>>().join("\0")
}

/// The first row of the call that the run has otherwise under its key; else one that is made no more. Where two tasks
/// make rows of one key, nobody knows which was the last, and the key is passed over.
pub(super) fn first_difference(run: &[Row], sink: usize, made: &[&LastRows]) -> Option<RowsDiffer> {
    let key = made.iter().find_map(|it| it.keys.get(&sink))?;
    let mut now: BTreeMap<&str, Option<&LastRow>> = BTreeMap::new();
    for ((_, key), row) in made.iter().flat_map(|it| &it.rows).filter(|it| it.0.0 == sink) {
        now.entry(key).and_modify(|it| *it = None).or_insert(Some(row));
    }
    let then: BTreeMap<String, &Row> = run.iter().map(|it| (key_of(it, key), it)).collect();
    let of_call = now.iter().filter_map(|(key, it)| Some((*key, (*it)?, it.as_ref()?.number?)));
    let first = of_call
        .filter(|(key, it, _)| {
            let then = then.get(*key);
            it.row.iter().any(|(name, value)| !same(then.and_then(|it| it.get(name)), value))
        })
        .min_by_key(|(_, _, number)| *number);
    if let Some((key, it, number)) = first {
        let then = then.get(key).map(|it| (*it).clone());
        return Some((Some(number), Some(it.row.clone()), then));
    }
    let gone = then.iter().find(|(key, _)| !now.contains_key(key.as_str()))?;
    Some((None, None, Some((*gone.1).clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str, total: i64) -> Row {
        json!({ "id": id, "total": total }).as_object().unwrap().clone()
    }

    fn made(rows: &[(&str, i64, bool)]) -> LastRows {
        let mut made = LastRows::of(BTreeMap::from([(0, vec!["id".to_owned()])]));
        for (id, total, is_of_call) in rows {
            made.take(0, row(id, *total), *is_of_call);
        }
        made
    }

    #[test]
    fn the_last_row_of_a_key_is_held_against_that_of_the_run() {
        let run = [row("a", 1), row("b", 2), row("c", 3)];
        let same = made(&[("a", 9, true), ("a", 1, true), ("b", 2, true), ("c", 3, false)]);
        assert_eq!(first_difference(&run, 0, &[&same]), None);
        // The row of `a` was replaced behind the call.
        let first = made(&[("a", 9, true), ("c", 8, true), ("b", 7, true), ("a", 1, false)]);
        let expected = (Some(1), Some(row("c", 8)), Some(row("c", 3)));
        assert_eq!(first_difference(&run, 0, &[&first]), Some(expected));
        let more = made(&[("d", 4, true), ("a", 1, true), ("b", 2, true), ("c", 3, true)]);
        assert_eq!(first_difference(&run, 0, &[&more]), Some((Some(0), Some(row("d", 4)), None)));
        let fewer = made(&[("a", 1, true), ("b", 2, true)]);
        assert_eq!(first_difference(&run, 0, &[&fewer]), Some((None, None, Some(row("c", 3)))));
        // Nobody knows whose row of `c` was the last.
        let (one, other) = (made(&[("c", 8, true)]), made(&[("c", 7, false)]));
        assert_eq!(first_difference(&run[2..], 0, &[&one, &other]), None);
    }
}
