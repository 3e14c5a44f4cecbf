//! Which row differs from the run's, in which column, and which record made it: the epoch is run once more, and its
//! rows are held against those in the data files that its checkpoint names.
//!
//! This reads a table, and only after a replay found that rows differ; nothing is written anywhere.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use arrow_array::{RecordBatch, StructArray};
use floe_core::{Offset, Records, Result, TopicPartition};
use floe_pipeline::config::WriteMode;
use floe_replay::step::{Detail, Stepped};
use floe_replay::{CallAt, Examine, Plan, SinkRows, Watch};
use serde::Serialize;
use serde_json::{Map, Value};

use super::input::Input;
use super::kept_rows;
use super::last_rows::{self, LastRows};
use super::run::run_over;
use super::subject::Subject;
use super::tasks_of;
use crate::command::rows::value;
use crate::terminal::Terminal;

/// The first row that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RowDifference {
    pub(crate) table: String,
    /// The record that makes the row by itself; none where only the whole batch does, or a watermark, or where
    /// the row is not made now.
    pub(crate) offset: Option<i64>,
    /// Among the rows that the call left for this table, from 0.
    pub(crate) row: Option<usize>,
    pub(crate) columns: Vec<ColumnDifference>,
    /// What the run wrote, and what is made now; none: no such row.
    pub(crate) run: Option<Value>,
    pub(crate) now: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ColumnDifference {
    pub(crate) column: String,
    pub(crate) run: Value,
    pub(crate) now: Value,
}

/// Where a replay found it.
pub(crate) struct Found<'a> {
    pub(crate) epoch: u64,
    pub(crate) task: &'a TopicPartition,
    pub(crate) call: u64,
    pub(crate) at: &'a CallAt,
}

/// `None` where nobody has the run's rows, or in none of them is a difference: of an upsert's rows a later one of the
/// same key may have taken the place.
pub(crate) async fn find(
    subject: &Subject,
    found: &Found<'_>,
    before: u64,
    recording: Option<&Path>,
    terminal: &Terminal,
) -> Result<Option<RowDifference>> {
    // All tasks: a table's files hold the rows of all.
    let plan = subject.plan(before, Some(found.epoch), None).await?;
    let Some(planned) = plan.epochs.last() else { return Ok(None) };
    let input = Input::of(subject.input(&plan), recording, &plan.input(), terminal).await?;
    let keys = keys(subject);
    let tasks = tasks_of(subject, &plan)?.into_iter().map(|mut task| {
        task.goes_past = true;
        let is_its = task.task() == found.task;
        let last = LastRows::of(keys.clone());
        (task, Made { call: is_its.then_some(found.call), last, ..Made::default() })
    });
    let made = run_over(tasks.collect(), &input, &plan, terminal)?;
    for (number, sink) in subject.spec.sinks.iter().enumerate() {
        let entry = planned.manifest.sinks.iter().find(|it| it.name == sink.name);
        let (Some(table), Some(entry)) = (sink.spec.table(), entry) else { continue };
        if has_operations(&table.mode) {
            continue;
        }
        let Some(run) = kept_rows::of(subject, found.epoch, number, entry).await? else { continue };
        let mut others = BTreeMap::new();
        let mut now: Vec<Map<String, Value>> = Vec::new();
        for made in made.iter().map(|it| &it.watch) {
            for (row, count) in made.others.iter().filter(|it| it.0.0 == number) {
                *others.entry(row.1).or_insert(0) += count;
            }
            now.extend(made.of_call.iter().filter(|it| it.0 == number).map(|it| it.1.clone()));
        }
        let difference = match keys.contains_key(&number) {
            true => {
                let last = made.iter().map(|it| &it.watch.last).collect::<Vec<_>>();
                last_rows::first_difference(&run, number, &last)
            }
            false => first_difference(&run, &others, &now),
        };
        let Some((row, now, run)) = difference else { continue };
        let offset = match (&now, found.at) {
            (Some(now), CallAt::Records { first, last }) => record_of(
                subject,
                &plan,
                &input,
                found.task,
                (*first, *last),
                number,
                now,
                terminal,
            )?,
            _ => None,
        };
        return Ok(Some(RowDifference {
            table: entry.table.clone(),
            offset: offset.map(|it| it.0),
            row,
            columns: columns(run.as_ref(), now.as_ref()),
            run: run.map(Value::Object),
            now: now.map(Value::Object),
        }));
    }
    Ok(None)
}

/// Of each table whose rows replace each other the columns of its key, by the sink's number.
fn keys(subject: &Subject) -> BTreeMap<usize, Vec<String>> {
    let sinks = subject.spec.sinks.iter().enumerate();
    let keys = sinks.filter_map(|(number, sink)| match &sink.spec.table()?.mode {
        WriteMode::Upsert { key, .. } => Some((number, key.clone())),
        WriteMode::Append | WriteMode::OverwritePartition => None,
    });
    keys.collect()
}

/// A column tells rows that are written from rows that go; the files hold those alone that are written.
fn has_operations(mode: &WriteMode) -> bool {
    matches!(mode, WriteMode::Upsert { op_column: Some(_), .. })
}

pub(super) fn objects(batch: &RecordBatch) -> impl Iterator<Item = Map<String, Value>> {
    let columns = StructArray::from(batch.clone());
    (0..batch.num_rows()).map(move |row| value::object(&columns, row))
}

pub(super) type Row = Map<String, Value>;

/// The number of a row among those of the call, the row now, and the run's.
pub(super) type RowsDiffer = (Option<usize>, Option<Row>, Option<Row>);

/// Holds the rows of the call against those of the run that no other call made. Gives the first that the run does
/// not have, with its number, and the row of the run that is most like it; else one that is made no more.
fn first_difference(run: &[Row], others: &BTreeMap<u64, i64>, now: &[Row]) -> Option<RowsDiffer> {
    // The table may have columns that the operator does not emit.
    let names: Option<Vec<String>> = now.first().map(|it| it.keys().cloned().collect());
    let of_run = |row: &Row| match &names {
        Some(names) => identity(row, names.iter()),
        None => identity(row, row.keys()),
    };
    let mut left = others.iter().map(|(row, count)| (*row, -count)).collect::<BTreeMap<_, _>>();
    for row in run {
        *left.entry(of_run(row)).or_insert(0) += 1;
    }
    let mut unexpected = None;
    for (number, row) in now.iter().enumerate() {
        let count = left.entry(identity(row, row.keys())).or_insert(0);
        *count -= 1;
        if *count < 0 && unexpected.is_none() {
            unexpected = Some((number, row));
        }
    }
    let mut missing = run.iter().filter(|row| {
        let count = left.entry(of_run(row)).or_insert(0);
        *count -= 1;
        *count >= 0
    });
    let Some((number, row)) = unexpected else {
        let row = missing.next()?;
        return Some((None, None, Some(row.clone())));
    };
    let alike = |other: &Row| row.iter().filter(|it| same(other.get(it.0), it.1)).count();
    let mut nearest: Option<(usize, &Row)> = None;
    for other in missing {
        let alike = alike(other);
        // Of several that are as much alike, the one that was written first.
        if nearest.is_none_or(|it| alike > it.0) {
            nearest = Some((alike, other));
        }
    }
    Some((Some(number), Some(row.clone()), nearest.map(|it| it.1.clone())))
}

fn columns(run: Option<&Row>, now: Option<&Row>) -> Vec<ColumnDifference> {
    let (Some(run), Some(now)) = (run, now) else { return Vec::new() };
    let differs = now.iter().filter(|(name, value)| !same(run.get(*name), value));
    let column = |(name, now): (&String, &Value)| ColumnDifference {
        column: name.clone(),
        run: run.get(name).cloned().unwrap_or(Value::Null),
        now: now.clone(),
    };
    differs.map(column).collect()
}

pub(super) fn same(run: Option<&Value>, now: &Value) -> bool {
    run.is_some_and(|run| canonical(run) == canonical(now))
}

/// The same for the same values, also where the table's column is wider than the operator's.
fn identity<'a>(row: &Row, names: impl Iterator<Item = &'a String>) -> u64 {
    let mut hash = DefaultHasher::new();
    for name in names {
        name.hash(&mut hash);
        canonical(row.get(name).unwrap_or(&Value::Null)).hash(&mut hash);
    }
    hash.finish()
}

pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if !(number.is_i64() || number.is_u64()) => format!("{float}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// What an epoch's calls made: of one call the rows themselves, of all others how often each was made.
#[derive(Default)]
struct Made {
    call: Option<u64>,
    /// By sink and identity.
    others: BTreeMap<(usize, u64), i64>,
    of_call: Vec<(usize, Row)>,
    last: LastRows,
}

impl Watch for Made {
    fn rows(&mut self, _: u64, _: Option<&Records>, rows: &SinkRows) {
        if self.last.is_of(rows.sink) {
            let is_its = self.call == Some(rows.call);
            return objects(&rows.batch).for_each(|it| self.last.take(rows.sink, it, is_its));
        }
        if self.call == Some(rows.call) {
            return self.of_call.extend(objects(&rows.batch).map(|it| (rows.sink, it)));
        }
        for row in objects(&rows.batch) {
            *self.others.entry((rows.sink, identity(&row, row.keys()))).or_insert(0) += 1;
        }
    }
}

/// The record of a batch that makes the row by itself.
#[expect(clippy::too_many_arguments, reason = "where to look, and for what")]
fn record_of(
    subject: &Subject,
    plan: &Plan,
    input: &Input,
    task: &TopicPartition,
    offsets: (Offset, Offset),
    sink: usize,
    row: &Row,
    terminal: &Terminal,
) -> Result<Option<Offset>> {
    let mut tasks = tasks_of(subject, plan)?;
    tasks.retain(|it| it.task() == task);
    let examine = Examine { offsets, detail: Detail::Rows, cores: false, before: None };
    let tasks = tasks.into_iter().map(|mut task| {
        task.examine = Some(examine);
        task.goes_past = true;
        (task, Maker { sink, row: identity(row, row.keys()), offset: None })
    });
    let replayed = run_over(tasks.collect(), input, plan, terminal)?;
    Ok(replayed.iter().find_map(|it| it.watch.offset))
}

struct Maker {
    sink: usize,
    row: u64,
    offset: Option<Offset>,
}

impl Watch for Maker {
    fn stepped(&mut self, _: u64, stepped: Stepped) {
        let mut of_sink = stepped.emitted.iter().filter(|it| it.sink == self.sink);
        let makes =
            |it: &SinkRows| objects(&it.batch).any(|it| identity(&it, it.keys()) == self.row);
        if self.offset.is_none() && of_sink.any(makes) {
            self.offset = Some(stepped.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    fn of(txn: &str, total: i64) -> Row {
        row(json!({ "txn": txn, "merchant": "m", "total": total }))
    }

    /// Rows of the run, of all other calls, and of the call; the number of the row that differs, and its columns.
    fn check(run: &[Row], others: &[Row], now: &[Row], row: Option<usize>, differs: &[&str]) {
        let mut made = BTreeMap::new();
        for other in others {
            *made.entry(identity(other, other.keys())).or_insert(0) += 1;
        }
        let found = first_difference(run, &made, now).unwrap();
        assert_eq!(found.0, row);
        let columns = columns(found.2.as_ref(), found.1.as_ref());
        assert_eq!(columns.iter().map(|it| it.column.as_str()).collect::<Vec<_>>(), differs);
    }

    #[test]
    fn the_row_and_its_column_are_found_among_those_of_other_calls() {
        let run = [of("a", 1), of("x", 9), of("b", 2), of("c", 3), of("d", 4)];
        // From the second row of the call on all totals are others.
        let now = [of("a", 1), of("b", 7), of("c", 8)];
        check(&run, &[of("x", 9), of("d", 9)], &now, Some(1), &["total"]);
        assert_eq!(first_difference(&run[..1], &BTreeMap::new(), &now[..1]), None);
        // One that is made no more, and one that was not made.
        check(&run[..3], &[of("x", 9)], &now[..1], None, &[]);
        check(&run[..1], &[], &[of("a", 1), of("a", 1)], Some(1), &[]);
    }

    #[test]
    fn wider_columns_and_more_of_them_are_the_same() {
        let run = [row(json!({ "n": 2, "f": 1.5, "more": null }))];
        let now = [row(json!({ "n": 2, "f": 1.5 }))];
        assert_eq!(first_difference(&run, &BTreeMap::new(), &now), None);
        assert_eq!(columns(Some(&run[0]), Some(&now[0])), []);
    }
}
