//! Counts the rows of one side into a ledger.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use floe_core::{Error, Result};
use serde_json::{Map, Value};

use super::super::rows::value;

use super::amount;
use super::ledger::{Ledger, Side};
use super::reader::{Reader, Rows};

/// The columns of one side by their names there.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) key: Vec<String>,
    pub(super) sums: Vec<String>,
    /// Whose values are compared and not added up.
    pub(super) checks: Vec<String>,
    /// Counted once for each value of this one.
    pub(super) once: Option<String>,
    /// Names a row within its key.
    pub(super) row: Option<String>,
}

impl Columns {
    /// Each name once.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in
            self.key.iter().chain(&self.sums).chain(&self.checks).chain(&self.once).chain(&self.row)
        {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// All are there, and what is to be added up is a number.
    pub(super) fn check(&self, schema: &Schema, place: &str) -> Result<()> {
        for name in self.names() {
            if schema.field_with_name(&name).is_err() {
                let known: Vec<&str> =
                    schema.fields().iter().map(|it| it.name().as_str()).collect();
                return Err(Error::invalid(format!(
                    "{place} has no column {name:?}\n→ it has {}; --key, --sum and --distinct take COLUMN=TABLE_COLUMN where names differ",
                    known.join(", ")
                )));
            }
        }
        for name in &self.sums {
            let kind = schema.field_with_name(name).map(|it| it.data_type());
            if let Ok(kind) = kind
                && amount::digits(kind).is_none()
            {
                return Err(Error::invalid(format!(
                    "column {name:?} of {place} is {kind}: --sum takes integers, decimals and floating-point numbers"
                )));
            }
        }
        Ok(())
    }
}

/// How rows are counted.
pub(super) struct Counting<'a> {
    pub(super) side: Side,
    pub(super) columns: &'a Columns,
    /// Digits behind the point, of each sum.
    pub(super) digits: &'a [u8],
    /// These keys alone.
    pub(super) only: Option<&'a HashSet<String>>,
    /// The values of keys with one row are put here.
    pub(super) values: Option<&'a RefCell<Values>>,
}

/// Of keys the values of their row. `None`: there are several.
pub(super) type Values = HashMap<String, Option<Map<String, Value>>>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) rows: u64,
    /// Rows that were not counted, since their value of the distinct column had come before.
    pub(super) again: u64,
}

/// Reads to the end.
pub(super) async fn count(
    reader: &mut Reader,
    ledger: &mut Ledger,
    counting: &Counting<'_>,
    mut progress: impl FnMut(&Reader, u64),
) -> Result<Counted> {
    let mut counted = Counted::default();
    while let Some(rows) = reader.next().await? {
        counted.rows += rows.batch.num_rows() as u64;
        counted.again += add(&rows, ledger, counting).await?;
        progress(reader, counted.rows);
    }
    Ok(counted)
}

async fn add(rows: &Rows, ledger: &mut Ledger, counting: &Counting<'_>) -> Result<u64> {
    let Counting { side, columns, digits, only, values } = counting;
    let batch = &rows.batch;
    let key = columns.key.iter().map(|it| column(batch, it)).collect::<Result<Vec<_>>>()?;
    let sums = columns.sums.iter().map(|it| column(batch, it)).collect::<Result<Vec<_>>>()?;
    let checks = columns.checks.iter().map(|it| column(batch, it)).collect::<Result<Vec<_>>>()?;
    let named: Option<Vec<&ArrayRef>> = match &columns.row {
        None => None,
        Some(row) => Some(key.iter().copied().chain([column(batch, row)?]).collect()),
    };
    let first = match &columns.once {
        None => None,
        Some(once) => {
            let once = column(batch, once)?;
            let ids: Vec<_> =
                (0..batch.num_rows()).map(|row| amount::identity(once, row)).collect();
            Some(ledger.first_seen(&ids).await?)
        }
    };
    let mut again = 0;
    let mut amounts = Vec::with_capacity(sums.len());
    let mut hashes = Vec::with_capacity(checks.len());
    for row in 0..batch.num_rows() {
        if first.as_ref().is_some_and(|it| !it[row]) {
            again += 1;
            continue;
        }
        let mut name = amount::key(&key, row);
        if only.is_some_and(|it| !it.contains(&name)) {
            continue;
        }
        if let Some(named) = &named {
            name = amount::key(named, row);
        }
        amounts.clear();
        for (sum, digits) in sums.iter().zip(*digits) {
            amounts.push(amount::amount(sum, row, *digits)?);
        }
        hashes.clear();
        hashes.extend(checks.iter().map(|it| amount::check(it, row)));
        if let Some(values) = values {
            let compared = columns.sums.iter().chain(&columns.checks);
            let of_row = compared.zip(sums.iter().chain(&checks));
            let of_row = of_row.map(|(name, it)| (name.clone(), value::json(it, row))).collect();
            let of_key = values.borrow_mut().insert(name.clone(), Some(of_row));
            if of_key.is_some() {
                values.borrow_mut().insert(name.clone(), None);
            }
        }
        ledger.add(*side, name, (&amounts, &hashes), || rows.places.of(row)).await?;
    }
    Ok(again)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::invalid(format!("a batch of rows has no column {name:?}")))
}
