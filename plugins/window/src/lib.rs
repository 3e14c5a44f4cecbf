//! What `tumble`, `hop` and `session` share: they differ in how rows are put together, and in nothing else.

mod aggregate;
mod late;

use floe_sdk::dynamic::{
    Column, DynamicOperator, Out, OwnedValue, Row, Schema, Shape, Type, Unit, Value,
};
use floe_sdk::event_time::Window;
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Error, Result, bail};

use aggregate::Aggregates;
pub use aggregate::Totals;
pub use late::{EventTimes, Late};

/// The values of the key columns.
pub type Key = Vec<OwnedValue>;

/// Which rows are put together, and when nothing more is added to them.
pub trait Grouping: Sized + 'static {
    /// Reads its part of the configuration.
    fn open(config: &Config) -> Result<Self>;

    /// Calls `add` for each group that the row belongs to; an error when it is late for all of them.
    fn add(&mut self, time: Timestamp, key: Key, add: &mut dyn FnMut(&mut Totals)) -> Result<()>;

    /// Gives the groups away to which no row will come any more.
    fn close(&mut self, watermark: Timestamp) -> Vec<(Window, Key, Totals)>;
}

/// Groups more than these at a time reject rows, unless `max-groups` says another number.
const GROUPS_MAX: usize = 1_000_000;

/// An operator that puts rows together and emits one row a group, when the watermark closes it.
pub struct Windowed<G> {
    key: Vec<usize>,
    times: EventTimes,
    aggregates: Aggregates,
    groups_max: usize,
    /// The state.
    grouping: G,
    groups: usize,
    late: Late,
}

impl<G: Grouping> DynamicOperator for Windowed<G> {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let key = input.indices(&config.get::<Vec<String>>("key")?.unwrap_or_default())?;
        let times = EventTimes::open(&config, input)?;
        let late = Late::open(&config)?;
        let texts: Vec<String> = config.require("aggregates")?;
        let (aggregates, totals) = Aggregates::read(&texts, input)?;

        let time_of =
            |name: &str| Column::new(name, Type::Timestamp(Unit::Millis, Some("UTC".to_owned())));
        let mut columns: Vec<Column> = key.iter().map(|it| input.columns[*it].clone()).collect();
        for column in &columns {
            if matches!(column.ty, Type::List(_) | Type::Struct(_)) {
                bail!("column {:?} cannot be a key: it is {}", column.name, column.ty.name());
            }
        }
        columns.extend([time_of("window_start"), time_of("window_end")]);
        columns.extend(totals);
        let shape = Shape::new(input.clone(), Schema { columns }.checked()?);
        let windowed = Windowed {
            key,
            times,
            aggregates,
            groups_max: config.get("max-groups")?.unwrap_or(GROUPS_MAX),
            grouping: G::open(&config)?,
            groups: 0,
            late,
        };
        Ok((windowed, shape))
    }

    fn process(&mut self, row: Row<'_>, _: &mut Out) -> Result<()> {
        let time = Timestamp(self.times.of(row)?.div_euclid(self.times.units_per_ms));
        let key = self.key.iter().map(|it| OwnedValue::of(row.get(*it)));
        let key: Option<Key> = key.collect();
        let key = key.ok_or_else(|| Error::new("a list cannot be a key"))?;
        let (aggregates, groups, most) = (&self.aggregates, &mut self.groups, self.groups_max);
        let mut no_room = false;
        let added = self.grouping.add(time, key, &mut |totals| {
            // An empty group is a new one; what finds no room stays empty, and is not emitted.
            if totals.is_empty() {
                if *groups >= most {
                    no_room = true;
                    return;
                }
                *groups += 1;
            }
            aggregates.add(totals, row);
        });
        match added {
            Ok(()) if no_room => Err(Error::new(format!(
                "{most} groups are open, and config.max-groups allows no more"
            ))),
            Ok(()) => Ok(()),
            Err(late) => self.late.take(late),
        }
    }

    fn end_batch(&mut self) {
        self.late.end_batch();
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Out) -> Result<()> {
        for (window, key, totals) in self.grouping.close(time) {
            if totals.is_empty() {
                continue;
            }
            self.groups = self.groups.saturating_sub(totals.groups());
            let bounds = [Value::Int(window.start.0), Value::Int(window.end.0)];
            let values = key.iter().map(OwnedValue::value).chain(bounds);
            out.emit(values.chain(self.aggregates.values(&totals)))?;
        }
        Ok(())
    }
}

/// A duration of the configuration, in ms.
pub fn duration(config: &Config, key: &str) -> Result<i64> {
    let text: String = config.require(key)?;
    floe_sdk::dynamic::duration_ms(&text)
        .map_err(|error| Error::new(format!("config.{key}: {error}")))
}
