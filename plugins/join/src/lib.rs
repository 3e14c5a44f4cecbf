//! `join`: joins two sources by key within a span of event time.
//!
//! A pair goes out as soon as its second row is there, so which pairs there are does not depend on which source
//! is faster. A row is kept until no row can come any more that it could be joined with.

use std::collections::BTreeMap;

use floe_plugin_sides::{KEPT_MAX, Kept, Key, Sides, take_before};
use floe_sdk::dynamic::{DynamicOperator, Out, OwnedValue, Row, Schema, Shape};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Result, bail};

struct Join {
    sides: Sides,
    names: [String; 2],
    /// Places of the columns that come from the right row.
    of_right: Vec<usize>,
    /// A left row without a partner goes out too, when none can come any more.
    keeps_left: bool,
    within: i64,
    rows_max: usize,
    /// The state: rows of the left and of the right source.
    rows: [BTreeMap<Key, BTreeMap<Kept, Many>>; 2],
    /// By time, for when they are forgotten.
    expiry: [BTreeMap<(i64, Key), ()>; 2],
    kept: usize,
}

/// The same row, and how often it came.
#[derive(Default)]
struct Many {
    count: usize,
    is_joined: bool,
}

impl DynamicOperator for Join {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let (sides, input) = Sides::open(&config, upstream)?;
        let mut columns = sides.output(&input);
        let of_right = sides.added(&columns, &config.require::<Vec<String>>("add")?)?;
        of_right.iter().for_each(|it| columns[*it].nullable = true);
        let names = [config.require::<String>("left")?, config.require("right")?];
        if names[0] == names[1] {
            bail!("config.left and config.right are both {:?}", names[0]);
        }
        let keeps_left = match config.get::<String>("type")?.as_deref() {
            None | Some("inner") => false,
            Some("left") => true,
            Some(other) => bail!("config.type must be inner or left, and is {other:?}"),
        };
        let join = Join {
            within: sides.duration(&config, "within")?,
            sides,
            names,
            of_right,
            keeps_left,
            rows_max: config.get("max-rows")?.unwrap_or(KEPT_MAX),
            rows: Default::default(),
            expiry: Default::default(),
            kept: 0,
        };
        Ok((join, Shape::new(input, Schema { columns }.checked()?)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let kept = self.sides.keep(row)?;
        let source = self.sides.source(row)?;
        let Some(side) = self.names.iter().position(|it| it == source) else {
            bail!("it is of source {source}, neither {} nor {}", self.names[0], self.names[1]);
        };
        if self.sides.is_late(kept.time)? {
            return Ok(());
        }
        let Some(key) = self.sides.key(row) else {
            // Null equals nothing: it has no partner, and none will come.
            let alone = self.keeps_left && side == 0;
            return if alone { self.emit(&kept, None, out) } else { Ok(()) };
        };
        if self.kept >= self.rows_max {
            bail!("{} rows are kept, and config.max-rows allows no more", self.kept);
        }
        let is_joined = self.pairs(side, &key, &kept, out)?;
        self.kept += 1;
        self.expiry[side].insert((kept.time, key.clone()), ());
        let many = self.rows[side].entry(key).or_default().entry(kept).or_default();
        many.count += 1;
        many.is_joined |= is_joined;
        Ok(())
    }

    fn end_batch(&mut self) {
        self.sides.end_batch();
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Out) -> Result<()> {
        // A partner is later by `within` at the most, and at the watermark itself one may still come.
        let until = self.sides.advance(time).saturating_sub(self.within);
        for side in 0..2 {
            while let Some(((time, key), ())) = take_before(&mut self.expiry[side], until) {
                self.forget(side, &key, time, out)?;
            }
        }
        Ok(())
    }
}

impl Join {
    /// Emits the row with each partner that is there.
    fn pairs(&mut self, side: usize, key: &Key, kept: &Kept, out: &mut Out) -> Result<bool> {
        let first = Kept { time: kept.time.saturating_sub(self.within), values: Vec::new() };
        let last = kept.time.saturating_add(self.within);
        let Some(partners) = self.rows[1 - side].get(key) else { return Ok(false) };
        let partners = || partners.range(&first..).take_while(|it| it.0.time <= last);
        for (partner, many) in partners() {
            let (left, right) = if side == 0 { (kept, partner) } else { (partner, kept) };
            for _ in 0..many.count {
                self.emit(left, Some(right), out)?;
            }
        }
        let found = partners().next().is_some();
        // After the last row that could be refused: what is marked here did go out.
        if let Some(partners) = self.rows[1 - side].get_mut(key) {
            let partners = partners.range_mut(&first..).take_while(|it| it.0.time <= last);
            partners.for_each(|it| it.1.is_joined = true);
        }
        Ok(found)
    }

    fn emit(&self, left: &Kept, right: Option<&Kept>, out: &mut Out) -> Result<()> {
        let values = left.values.iter().enumerate().map(|(place, own)| {
            match (self.of_right.contains(&place), right) {
                (false, _) => own,
                (true, Some(right)) => &right.values[place],
                (true, None) => &OwnedValue::Null,
            }
        });
        out.emit(values.map(OwnedValue::value))
    }

    /// Drops the key's rows of this time.
    fn forget(&mut self, side: usize, key: &Key, time: i64, out: &mut Out) -> Result<()> {
        let Some(mut rows) = self.rows[side].remove(key) else { return Ok(()) };
        while let Some(first) = rows.first_entry().filter(|it| it.key().time <= time) {
            let (kept, many) = first.remove_entry();
            self.kept -= many.count;
            if self.keeps_left && side == 0 && !many.is_joined {
                for _ in 0..many.count {
                    self.emit(&kept, None, out)?;
                }
            }
        }
        if !rows.is_empty() {
            self.rows[side].insert(key.clone(), rows);
        }
        Ok(())
    }
}

floe_sdk::dynamic_operator!(Join, name = "join", state_version = 1);

#[cfg(test)]
mod tests;
