//! The operator of the simulated keyed stage: for each key the number of rows so far and the sum over them,
//! whatever partition they came from. Equal keys in two tasks, or a row before its barrier, show in both.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use floe_core::encoding::{Decoder, Encoder};
use floe_core::image::{Capture, GlobalValue, OperatorImage};
use floe_core::ports::{Operator, OperatorDescription, OperatorFactory, Staged};
use floe_core::{Error, EventTime, Result, TopicPartition};

use crate::simulation::mutant::Mutant;
use crate::simulation::operator::{WINDOW_ROW, output_schema};
use crate::simulation::world::World;

/// The name of the operator, and of its stage.
pub const MERGED: &str = "merged";

const WASM_PAGE_BYTES: usize = 64 * 1024;

pub struct MergedFactory {
    world: Arc<World>,
    description: OperatorDescription,
}

impl MergedFactory {
    pub fn new(world: &Arc<World>) -> MergedFactory {
        let description = OperatorDescription {
            name: MERGED.into(),
            version: "1".into(),
            state_version: 1,
            module_hash: [5; 32],
            config_hash: [6; 32],
            input: output_schema(),
            outputs: vec![("merged".into(), output_schema())],
            exports_state: false,
            imports_state: false,
        };
        MergedFactory { world: Arc::clone(world), description }
    }

    fn fresh(&self) -> Merged {
        Merged {
            world: Arc::clone(&self.world),
            totals: BTreeMap::new(),
            before: BTreeMap::new(),
            newest: EventTime::MIN,
            order: 0,
        }
    }
}

impl OperatorFactory for MergedFactory {
    fn describe(&self) -> &OperatorDescription {
        &self.description
    }

    fn open(&self, _: &TopicPartition, _: u64) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.fresh()))
    }

    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        let mut merged = self.fresh();
        let memory = image.memory.to_vec();
        let mut d = Decoder::new(&memory);
        let totals = d.list(|d| Ok((d.signed()?, (d.signed()?, d.signed()?))));
        let totals = totals.map_err(|error| Error::corrupt(format!("{task}: {error}")))?;
        merged.totals = totals.into_iter().collect();
        merged.before = merged.totals.clone();
        match image.globals[..] {
            [GlobalValue::I64(order)] => merged.order = order,
            _ => return Err(Error::corrupt(format!("{task}: other globals than were captured"))),
        }
        Ok(Box::new(merged))
    }
}

struct Merged {
    world: Arc<World>,
    /// Key to count and sum.
    totals: BTreeMap<i64, (i64, i64)>,
    /// As they were before the last batch.
    before: BTreeMap<i64, (i64, i64)>,
    newest: EventTime,
    /// Of all rows in the order in which they were merged: counts and sums would come out the same in any.
    order: i64,
}

impl Operator for Merged {
    fn process(&mut self, batch: &RecordBatch, virtual_time: EventTime) -> Result<Staged> {
        if virtual_time < self.newest {
            let what = format!("virtual time of a keyed task goes back to {} ms", virtual_time.0);
            self.world.with(|it| it.history.notice(what));
        }
        self.newest = virtual_time;
        self.before.clone_from(&self.totals);
        let long = |index: usize| batch.column(index).as_primitive::<Int64Type>();
        let (mut counts, mut sums) = (Vec::new(), Vec::new());
        let partitions = batch.column(0).as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let place = (i64::from(partitions.value(row)) << 32) ^ long(1).value(row);
            self.order = self.order.wrapping_mul(31).wrapping_add(place);
            let (count, sum) = match long(1).value(row) {
                // A window's row goes through as it is.
                WINDOW_ROW => (long(3).value(row), long(4).value(row)),
                _ => {
                    let total = self.totals.entry(long(2).value(row)).or_default();
                    *total = (total.0 + 1, total.1 + long(4).value(row));
                    *total
                }
            };
            counts.push(count);
            sums.push(sum);
        }
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[3] = Arc::new(Int64Array::from(counts));
        columns[4] = Arc::new(Int64Array::from(sums));
        let rows = RecordBatch::try_new(output_schema(), columns);
        let rows = rows.expect("the columns stand in the order of the schema");
        Ok(Staged { emitted: vec![(0, rows)], rejected: Vec::new() })
    }

    fn watermark(&mut self, _: EventTime, virtual_time: EventTime) -> Result<Staged> {
        self.newest = virtual_time;
        Ok(Staged { emitted: Vec::new(), rejected: Vec::new() })
    }

    fn capture(&mut self, _: Capture) -> Result<OperatorImage> {
        let ahead = self.world.with(|it| it.is(Mutant::KeyedCaptureBehindRows));
        let totals = if ahead { &self.before } else { &self.totals };
        let all: Vec<_> = totals.iter().collect();
        let mut e = Encoder::new();
        e.list(&all, |e, (key, (count, sum))| {
            e.signed(**key);
            e.signed(*count);
            e.signed(*sum);
        });
        let mut memory = e.finish();
        memory.resize(WASM_PAGE_BYTES, 0);
        Ok(OperatorImage {
            memory: memory.into(),
            globals: vec![GlobalValue::I64(self.order)],
            input_region: (0, 0),
            rng_state: [0; 4],
        })
    }

    fn forget_captures(&mut self) {}

    fn memory_bytes(&self) -> u64 {
        WASM_PAGE_BYTES as u64
    }
}
