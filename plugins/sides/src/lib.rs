//! What `enrich` and `join` share: a row comes from one of two sources, and has a key and an event time.

use std::collections::BTreeMap;

use floe_plugin_window::{EventTimes, Late};
use floe_sdk::dynamic::{Column, OwnedValue, Row, Schema, Type, Value};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Error, Result, bail};

/// The values of the key columns.
pub type Key = Vec<OwnedValue>;

/// The record field that says which source a row is of.
const SOURCE: &str = "_source";

/// Rows and versions more than these at a time reject rows, unless the configuration says another number.
pub const KEPT_MAX: usize = 1_000_000;

/// Which columns mean what.
pub struct Sides {
    source: usize,
    key: Vec<usize>,
    times: EventTimes,
    late: Late,
    /// In the unit of the event time: every row before it has come.
    watermark: i64,
}

/// A row that waits for others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// In the unit of the column.
    pub time: i64,
    pub values: Vec<OwnedValue>,
}

impl Sides {
    /// Reads its part of the configuration; gives the columns that the operator takes, too.
    pub fn open(config: &Config, upstream: Option<&Schema>) -> Result<(Sides, Schema)> {
        let mut input = Schema::known(upstream)?.clone();
        let source = input.columns.iter().position(|it| it.name == SOURCE).unwrap_or_else(|| {
            input.columns.push(Column::new(SOURCE, Type::Text));
            input.columns.len() - 1
        });
        for column in &input.columns {
            if matches!(column.ty, Type::List(_) | Type::Struct(_)) {
                bail!(
                    "column {:?} cannot be kept: it is {}\n  → take it apart before: plugin = \"flatten\"",
                    column.name,
                    column.ty.name()
                );
            }
        }
        let key = input.indices(&config.require::<Vec<String>>("key")?)?;
        let times = EventTimes::open(config, &input)?;
        let late = Late::open(config)?;
        Ok((Sides { source, key, times, late, watermark: i64::MIN }, input))
    }

    /// The columns that go out: all but the source's name.
    pub fn output(&self, input: &Schema) -> Vec<Column> {
        let columns = input.columns.iter().enumerate();
        columns.filter(|it| it.0 != self.source).map(|it| it.1.clone()).collect()
    }

    /// The places of columns among those that go out.
    pub fn added(&self, output: &[Column], names: &[String]) -> Result<Vec<usize>> {
        let schema = Schema { columns: output.to_vec() };
        let places = schema.indices(names)?;
        for name in names {
            let given = self
                .key
                .iter()
                .chain([&self.times.column()])
                .any(|it| output_place(*it, self.source) == schema.index(name).ok());
            if given {
                bail!("column {name:?} is of both sources: it is in key or time");
            }
        }
        Ok(places)
    }

    /// The name of the row's source, if it is one of the two.
    pub fn source<'b>(&self, row: Row<'b>) -> Result<&'b str> {
        match row.get(self.source) {
            Value::Text(name) => Ok(name),
            _ => bail!("it has no {SOURCE}"),
        }
    }

    /// `None`: a part of it is null, and nothing equals it.
    pub fn key(&self, row: Row<'_>) -> Option<Key> {
        let keep = |it: &usize| OwnedValue::of(row.get(*it)).filter(|it| *it != OwnedValue::Null);
        self.key.iter().map(keep).collect()
    }

    pub fn keep(&self, row: Row<'_>) -> Result<Kept> {
        let time = self.times.of(row)?;
        let values = row.values().enumerate().filter(|it| it.0 != self.source);
        let values = values.map(|it| OwnedValue::of(it.1)).collect::<Option<_>>();
        let values = values.ok_or_else(|| Error::new("a list cannot be kept"))?;
        Ok(Kept { time, values })
    }

    /// Is a row behind the watermark? Then it is counted, and is an error or to be dropped.
    pub fn is_late(&mut self, time: i64) -> Result<bool> {
        if time >= self.watermark {
            return Ok(false);
        }
        let units_per_ms = self.times.units_per_ms;
        let behind = (self.watermark - time + units_per_ms - 1) / units_per_ms;
        let text = format!("late: its event time is {behind} ms behind the watermark");
        self.late.take(Error::new(text)).map(|()| true)
    }

    /// Behind each batch: says how many rows were late.
    pub fn end_batch(&mut self) {
        self.late.end_batch();
    }

    /// A duration of the configuration, in the unit of the event time.
    pub fn duration(&self, config: &Config, name: &str) -> Result<i64> {
        let text: String = config.require(name)?;
        let ms = floe_sdk::dynamic::duration_ms(&text)
            .map_err(|error| Error::new(format!("config.{name}: {error}")))?;
        Ok(ms.saturating_mul(self.times.units_per_ms))
    }

    /// The watermark in the unit of the event time. It never goes back.
    pub fn advance(&mut self, watermark: Timestamp) -> i64 {
        self.watermark = self.watermark.max(watermark.0.saturating_mul(self.times.units_per_ms));
        self.watermark
    }
}

/// Where a column of the input is among those that go out.
fn output_place(column: usize, source: usize) -> Option<usize> {
    (column != source).then(|| column - usize::from(column > source))
}

/// Takes what is before a time out of a map by time.
pub fn take_before<K: Ord, V>(map: &mut BTreeMap<(i64, K), V>, time: i64) -> Option<((i64, K), V)> {
    let first = map.first_entry().filter(|it| it.key().0 < time)?;
    Some(first.remove_entry())
}
