//! The event time of rows, and what becomes of those that come behind the watermark.

use floe_sdk::dynamic::{Row, Schema, Type, Value};
use floe_sdk::{Config, Result, bail, log};

/// The column that `time` names.
pub struct EventTimes {
    column: usize,
    /// How many of the column's units a millisecond has.
    pub units_per_ms: i64,
}

impl EventTimes {
    /// Reads `time` of the configuration.
    pub fn open(config: &Config, input: &Schema) -> Result<EventTimes> {
        let column = input.index(&config.require::<String>("time")?)?;
        let units_per_ms = match &input.columns[column].ty {
            Type::Timestamp(unit, _) => unit.per_millisecond(),
            Type::I64 => 1,
            other => bail!("config.time must be a timestamp or a long, and is {}", other.name()),
        };
        Ok(EventTimes { column, units_per_ms })
    }

    /// Its place among the columns of the input.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Of a row, in the column's unit.
    pub fn of(&self, row: Row<'_>) -> Result<i64> {
        match row.get(self.column) {
            Value::Int(time) => Ok(time),
            _ => bail!("its event time is null"),
        }
    }
}

/// What becomes of rows behind the watermark, and how many there were in this batch.
pub struct Late {
    drops: bool,
    rows: u64,
}

impl Late {
    /// Reads `late` of the configuration.
    pub fn open(config: &Config) -> Result<Late> {
        let drops = match config.get::<String>("late")?.as_deref() {
            None | Some("reject") => false,
            Some("drop") => true,
            Some(other) => bail!("config.late must be reject or drop, and is {other:?}"),
        };
        Ok(Late { drops, rows: 0 })
    }

    /// A late row is rejected with this error, or passed over.
    pub fn take(&mut self, error: floe_sdk::Error) -> Result<()> {
        self.rows += 1;
        if self.drops { Ok(()) } else { Err(error) }
    }

    /// Behind each batch: says how many there were.
    pub fn end_batch(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows > 0 {
            log::warn!("{rows} rows came behind the watermark");
        }
    }
}
