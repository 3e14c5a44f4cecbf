//! `enrich`: adds to each row what a changelog said of its key at the row's event time.
//!
//! A row waits until the watermark has passed it. Then all that the changelog says up to its time has come,
//! whichever source was faster, so the rows are the same in every run.

use std::collections::BTreeMap;

use floe_plugin_sides::{KEPT_MAX, Kept, Key, Sides, take_before};
use floe_sdk::dynamic::{DynamicOperator, Out, OwnedValue, Row, Schema, Shape, Value};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Result, bail};

/// A row's key, and all that it says.
type Waiting = (Option<Key>, Vec<OwnedValue>);

struct Enrich {
    sides: Sides,
    table: String,
    /// Places of the columns that come from the table.
    add: Vec<usize>,
    drop_missing: bool,
    waiting_max: usize,
    versions_max: usize,
    /// The state. Rows by time and then by what they say; how often the same came.
    waiting: BTreeMap<(i64, Waiting), u64>,
    waiting_rows: usize,
    /// What the table said of a key, by time: `None` is a deletion.
    table_rows: BTreeMap<Key, BTreeMap<i64, Option<Vec<OwnedValue>>>>,
    /// When what the table says of a key changes, from the watermark on.
    changes: BTreeMap<(i64, Key), ()>,
    versions: usize,
}

impl DynamicOperator for Enrich {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let (sides, input) = Sides::open(&config, upstream)?;
        let mut columns = sides.output(&input);
        let add = sides.added(&columns, &config.require::<Vec<String>>("add")?)?;
        add.iter().for_each(|it| columns[*it].nullable = true);
        let drop_missing = match config.get::<String>("missing")?.as_deref() {
            None | Some("null") => false,
            Some("drop") => true,
            Some(other) => bail!("config.missing must be null or drop, and is {other:?}"),
        };
        let enrich = Enrich {
            sides,
            table: config.require("table")?,
            add,
            drop_missing,
            waiting_max: config.get("max-waiting")?.unwrap_or(KEPT_MAX),
            versions_max: config.get("max-versions")?.unwrap_or(KEPT_MAX),
            waiting: BTreeMap::new(),
            waiting_rows: 0,
            table_rows: BTreeMap::new(),
            changes: BTreeMap::new(),
            versions: 0,
        };
        Ok((enrich, Shape::new(input, Schema { columns }.checked()?)))
    }

    fn process(&mut self, row: Row<'_>, _: &mut Out) -> Result<()> {
        let kept = self.sides.keep(row)?;
        let key = self.sides.key(row);
        if self.sides.source(row)? == self.table {
            return match key {
                Some(key) => self.change(key, kept),
                None => bail!("a row of {} has no key", self.table),
            };
        }
        if self.sides.is_late(kept.time)? {
            return Ok(());
        }
        if self.waiting_rows >= self.waiting_max {
            bail!("{} rows wait, and config.max-waiting allows no more", self.waiting_max);
        }
        self.waiting_rows += 1;
        *self.waiting.entry((kept.time, (key, kept.values))).or_default() += 1;
        Ok(())
    }

    fn end_batch(&mut self) {
        self.sides.end_batch();
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Out) -> Result<()> {
        let watermark = self.sides.advance(time);
        while let Some(((time, (key, values)), count)) = take_before(&mut self.waiting, watermark) {
            self.waiting_rows -= count as usize;
            let versions = key.as_ref().and_then(|it| self.table_rows.get(it));
            let version = versions.and_then(|it| it.range(..=time).next_back());
            let found = version.and_then(|it| it.1.as_ref());
            if found.is_none() && self.drop_missing {
                continue;
            }
            let value = |(place, own): (usize, &OwnedValue)| {
                let added = self.add.iter().position(|it| *it == place);
                match (added, found) {
                    (None, _) => own.clone(),
                    (Some(added), Some(found)) => found[added].clone(),
                    (Some(_), None) => OwnedValue::Null,
                }
            };
            let row: Vec<OwnedValue> = values.iter().enumerate().map(value).collect();
            for _ in 0..count {
                out.emit(row.iter().map(OwnedValue::value))?;
            }
        }
        while let Some(((_, key), ())) = take_before(&mut self.changes, watermark) {
            self.forget(&key, watermark);
        }
        Ok(())
    }
}

impl Enrich {
    fn change(&mut self, key: Key, kept: Kept) -> Result<()> {
        let said: Vec<OwnedValue> = self.add.iter().map(|it| kept.values[*it].clone()).collect();
        let is_deletion = said.iter().all(|it| it.value() == Value::Null);
        let is_new = self.table_rows.get(&key).is_none_or(|it| !it.contains_key(&kept.time));
        if is_new && self.versions >= self.versions_max {
            bail!(
                "{} rows of the table are kept, and config.max-versions allows no more",
                self.versions_max
            );
        }
        self.versions += usize::from(is_new);
        let versions = self.table_rows.entry(key.clone()).or_default();
        versions.insert(kept.time, (!is_deletion).then_some(said));
        self.changes.insert((kept.time, key), ());
        Ok(())
    }

    /// Drops what the key's newest row before the watermark replaced: no row is looked up there any more.
    fn forget(&mut self, key: &Key, watermark: i64) {
        let Some(versions) = self.table_rows.get_mut(key) else { return };
        let before = versions.len();
        if let Some((newest, said)) = versions.range(..watermark).next_back() {
            let (newest, is_deleted) = (*newest, said.is_none());
            *versions = versions.split_off(&newest);
            if is_deleted {
                versions.remove(&newest);
            }
        }
        self.versions -= before - versions.len();
        if versions.is_empty() {
            self.table_rows.remove(key);
        }
    }
}

floe_sdk::dynamic_operator!(Enrich, name = "enrich", state_version = 1);

#[cfg(test)]
mod tests;
