//! `dedup`: lets each key through once within a window of event time.
//!
//! Keys are kept by slices of event time: the slice of a row that came first. A slice is forgotten whole
//! when the newest event time is a window past its end, so memory follows the window and not the stream.

use std::collections::BTreeMap;

use floe_sdk::collections::StringSet;
use floe_sdk::dynamic::{DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Error, Result, bail, log};

/// The window in this many slices: a key is kept for at most a quarter longer than the window.
const SLICES: i64 = 4;

struct Dedup {
    key: Vec<usize>,
    time: usize,
    units_per_ms: i64,
    window_ms: i64,
    outside: Outside,
    keys_max: usize,
    /// The state: keys by the number of their slice.
    slices: BTreeMap<i64, StringSet>,
    newest_ms: i64,
    text: String,
    counts: Counts,
}

/// What becomes of a row that is older than the window: whether it came before is not known any more.
enum Outside {
    Reject,
    Drop,
    Pass,
}

/// Since the last look.
#[derive(Default)]
struct Counts {
    duplicates: u64,
    outside: u64,
}

impl DynamicOperator for Dedup {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let key = input.indices(&config.require::<Vec<String>>("key")?)?;
        for column in &key {
            let column = &input.columns[*column];
            if matches!(column.ty, Type::List(_) | Type::Struct(_) | Type::F32 | Type::F64) {
                bail!("column {:?} cannot be a key: it is {}", column.name, column.ty.name());
            }
        }
        let time = match config.get::<String>("time")? {
            Some(name) => input.index(&name)?,
            None => (input.columns.iter().position(|it| it.name == "_timestamp"))
                .or_else(|| {
                    input.columns.iter().position(|it| matches!(it.ty, Type::Timestamp(..)))
                })
                .ok_or_else(|| {
                    Error::new("no column is a timestamp\n  → name the event time: config.time")
                })?,
        };
        let units_per_ms = match &input.columns[time].ty {
            Type::Timestamp(unit, _) => unit.per_millisecond(),
            Type::I64 => 1,
            other => bail!("config.time must be a timestamp or a long, and is {}", other.name()),
        };
        let outside = match config.get::<String>("outside")?.as_deref() {
            None | Some("reject") => Outside::Reject,
            Some("drop") => Outside::Drop,
            Some("pass") => Outside::Pass,
            Some(other) => bail!("config.outside must be reject, drop or pass, and is {other:?}"),
        };
        let window_ms = floe_sdk::dynamic::duration_ms(&config.require::<String>("window")?)?;
        let dedup = Dedup {
            key,
            time,
            units_per_ms,
            window_ms,
            outside,
            keys_max: config.get("max-keys")?.unwrap_or(usize::MAX),
            slices: BTreeMap::new(),
            newest_ms: i64::MIN,
            text: String::new(),
            counts: Counts::default(),
        };
        Ok((dedup, Shape::same(input)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let Value::Int(time) = row.get(self.time) else { bail!("its event time is null") };
        let time_ms = time.div_euclid(self.units_per_ms);
        write_key(&mut self.text, self.key.iter().map(|it| row.get(*it)));
        if self.slices.values().any(|it| it.contains(&self.text)) {
            self.counts.duplicates += 1;
            return Ok(());
        }
        if time_ms < self.newest_ms.saturating_sub(self.window_ms) {
            self.counts.outside += 1;
            return match self.outside {
                Outside::Reject => Err(Error::new(format!(
                    "its event time is {} ms behind the window of {} ms: whether it came before is not known",
                    self.newest_ms - self.window_ms - time_ms,
                    self.window_ms
                ))),
                Outside::Drop => Ok(()),
                Outside::Pass => out.emit(row.values()),
            };
        }
        if self.slices.values().map(StringSet::len).sum::<usize>() >= self.keys_max {
            bail!("{} keys are kept, and config.max-keys allows no more", self.keys_max);
        }
        self.slices.entry(self.slice(time_ms)).or_default().insert(&self.text);
        if time_ms > self.newest_ms {
            self.newest_ms = time_ms;
            let oldest = self.slice(time_ms.saturating_sub(self.window_ms));
            self.slices.retain(|slice, _| *slice >= oldest);
        }
        out.emit(row.values())
    }

    fn end_batch(&mut self) {
        let Counts { duplicates, outside } = std::mem::take(&mut self.counts);
        if outside > 0 {
            log::warn!("{outside} rows were older than the window of {} ms", self.window_ms);
        }
        if duplicates > 0 {
            log::debug!("{duplicates} duplicates");
        }
    }
}

impl Dedup {
    fn slice(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid((self.window_ms / SLICES).max(1))
    }
}

/// The values as one text, such that different values are different texts.
fn write_key<'v>(text: &mut String, values: impl Iterator<Item = Value<'v>>) {
    use std::fmt::Write;
    text.clear();
    for value in values {
        let written = match value {
            Value::Text(it) => write!(text, "t{}:{it}", it.len()),
            Value::Bytes(it) => it.iter().try_fold((), |(), it| write!(text, "{it:02x}")),
            Value::Int(it) => write!(text, "i{it};"),
            Value::UInt(it) => write!(text, "i{it};"),
            Value::Decimal(it) => write!(text, "i{it};"),
            Value::Bool(it) => write!(text, "{};", u8::from(it)),
            Value::Null => write!(text, "n;"),
            Value::Float(_) | Value::List(_) | Value::Struct(_) => {
                unreachable!("refused when the operator was opened")
            }
        };
        written.expect("a text takes everything");
        text.push(';');
    }
}

floe_sdk::dynamic_operator!(Dedup, name = "dedup", state_version = 1);

#[cfg(test)]
mod tests {
    use super::*;
    use floe_sdk::dynamic::{Column, DynamicTester, Unit};

    #[test]
    fn memory_follows_the_window_and_not_the_stream() {
        let time = Type::Timestamp(Unit::Millis, None);
        let columns = vec![Column::new("id", Type::I64), Column::new("ts", time)];
        let config = r#"{"key": ["id"], "window": "1s"}"#;
        let schema = Schema { columns };
        let mut tester = DynamicTester::<Dedup>::open(config, Some(&schema)).unwrap();
        for id in 0..20_000 {
            // A row a millisecond, and each of them again half a second later.
            let rows = [[Value::Int(id), Value::Int(id)], [Value::Int(id - 500), Value::Int(id)]];
            let done = tester.process(&[&rows[0], &rows[1]]).unwrap();
            assert_eq!(done.rows.len(), if id < 500 { 2 } else { 1 }, "at {id}");
        }
        let kept: usize = tester.operator().slices.values().map(StringSet::len).sum();
        assert!((1000..=1251).contains(&kept), "{kept} keys");
        let bytes_are_apart = |a: &[Value<'_>], b: &[Value<'_>]| {
            let (mut x, mut y) = (String::new(), String::new());
            write_key(&mut x, a.iter().copied());
            write_key(&mut y, b.iter().copied());
            x != y
        };
        use Value::{Bytes, Text};
        assert!(bytes_are_apart(&[Text("a"), Text("b")], &[Text("a;t1:b"), Text("")]));
        assert!(bytes_are_apart(&[Bytes(b"ab"), Bytes(b"")], &[Bytes(b"a"), Bytes(b"b")]));
    }
}
