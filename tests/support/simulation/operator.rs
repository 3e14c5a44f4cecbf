//! The simulated operator: count, sum and a random draw per key, and a count and a sum per window of event time;
//! with every kind of state that an image has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use floe_core::encoding::{Decoder, Encoder};
use floe_core::image::{Capture, GlobalValue, MemoryImage, OperatorImage, PAGE_BYTES, PageRun};
use floe_core::ports::{Operator, OperatorDescription, OperatorFactory, RejectedRow, Staged};
use floe_core::rng::OperatorRng;
use floe_core::{Error, EventTime, Result, TopicPartition};

use crate::simulation::mutant::Mutant;
use crate::simulation::source::{POISON, REJECTED, input_schema};
use crate::simulation::world::World;

const WASM_PAGE_BYTES: usize = 64 * 1024;

pub struct SimFactory {
    world: Arc<World>,
    description: OperatorDescription,
}

pub fn output_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("key", DataType::Int64, false),
        Field::new("count", DataType::Int64, false),
        Field::new("sum", DataType::Int64, false),
        Field::new("draw", DataType::Int64, false),
    ]))
}

impl SimFactory {
    pub fn new(world: &Arc<World>) -> SimFactory {
        let description = OperatorDescription {
            name: "totals".into(),
            version: "1".into(),
            state_version: 1,
            module_hash: [3; 32],
            config_hash: [4; 32],
            input: input_schema(),
            outputs: vec![("totals".into(), output_schema())],
            exports_state: false,
            imports_state: false,
        };
        SimFactory { world: Arc::clone(world), description }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.world.with(|it| it.is(mutant))
    }

    fn fresh(&self, task: &TopicPartition, rng: OperatorRng) -> Totals {
        Totals {
            partition: task.partition,
            world: Arc::clone(&self.world),
            totals: BTreeMap::new(),
            windows: BTreeMap::new(),
            watermark: EventTime::MIN,
            records: 0,
            newest: EventTime::MIN,
            rng,
            trapped: false,
            captured: None,
        }
    }
}

impl OperatorFactory for SimFactory {
    fn describe(&self) -> &OperatorDescription {
        &self.description
    }

    fn open(&self, task: &TopicPartition, seed: u64) -> Result<Box<dyn Operator>> {
        let before = self.world.with(|it| it.history.seeds.insert(task.partition, seed));
        if before.is_some_and(|it| it != seed) {
            let what = format!("{task} is opened with another seed than before");
            self.world.with(|it| it.history.notice(what));
        }
        Ok(Box::new(self.fresh(task, OperatorRng::from_seed(seed))))
    }

    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        let rng = if self.is(Mutant::SeedNotRestored) {
            let seed = self.world.with(|it| it.history.seeds.get(&task.partition).copied());
            OperatorRng::from_seed(seed.unwrap_or_default())
        } else {
            OperatorRng::from_state(image.rng_state)
        };
        let mut operator = self.fresh(task, rng);
        if !self.is(Mutant::StateNotRestored) {
            operator.read(image).map_err(|error| Error::corrupt(format!("{task}: {error}")))?;
        }
        Ok(Box::new(operator))
    }
}

/// Windows of event time, one behind the other from 0.
pub const WINDOW_MS: i64 = 150;

/// The offset of a window's row: no record has it.
pub const WINDOW_ROW: i64 = -1;

struct Totals {
    partition: i32,
    world: Arc<World>,
    /// Key to count and sum.
    totals: BTreeMap<i64, (i64, i64)>,
    /// Begin of an open window to count and sum.
    windows: BTreeMap<i64, (i64, i64)>,
    watermark: EventTime,
    records: i64,
    newest: EventTime,
    rng: OperatorRng,
    trapped: bool,
    /// The memory as the last checkpoint holds it, or will: what differs from it has changed.
    captured: Option<Vec<u8>>,
}

/// A key's sums have a page of their own, so that a checkpoint leaves most pages out.
const WINDOWS_PAGE: usize = 12;

impl Totals {
    fn memory(&self) -> Vec<u8> {
        let mut memory = vec![0; WASM_PAGE_BYTES];
        for (key, (count, sum)) in &self.totals {
            let page = usize::try_from(*key).expect("keys are small");
            assert!(page < WINDOWS_PAGE);
            let mut e = Encoder::new();
            e.signed(*count);
            e.signed(*sum);
            let bytes = e.finish();
            memory[page * PAGE_BYTES..][..bytes.len()].copy_from_slice(&bytes);
        }
        let windows: Vec<_> = self.windows.iter().collect();
        let mut e = Encoder::new();
        e.list(&windows, |e, (begin, (count, sum))| {
            e.signed(**begin);
            e.signed(*count);
            e.signed(*sum);
        });
        let bytes = e.finish();
        memory[WINDOWS_PAGE * PAGE_BYTES..][..bytes.len()].copy_from_slice(&bytes);
        memory
    }

    /// The pages that differ from what was captured, if anything was.
    fn changes(&mut self, memory: &[u8]) -> Option<MemoryImage> {
        let before = self.captured.as_deref()?;
        let pages = memory.chunks_exact(PAGE_BYTES).zip(before.chunks_exact(PAGE_BYTES));
        let mut runs: Vec<PageRun> = (0..)
            .zip(pages)
            .filter(|(_, (now, before))| now != before)
            .map(|(first_page, (now, _))| PageRun {
                first_page,
                content: Bytes::copy_from_slice(now),
            })
            .collect();
        if self.world.with(|it| it.is(Mutant::DirtyPageMissed)) {
            runs.pop();
        }
        Some(MemoryImage { bytes: memory.len() as u64, whole: false, runs })
    }

    fn notice(&self, what: String) {
        self.world.with(|it| it.history.notice(what));
    }

    fn read(&mut self, image: &OperatorImage) -> Result<(), String> {
        let memory = image.memory.to_vec();
        for (key, page) in (0..).zip(memory.chunks_exact(PAGE_BYTES)).take(WINDOWS_PAGE) {
            let mut d = Decoder::new(page);
            let total = d.signed().and_then(|count| Ok((count, d.signed()?)));
            let total = total.map_err(|error| error.to_string())?;
            // A key that was never seen has a page of zeros.
            if total != (0, 0) {
                self.totals.insert(key, total);
            }
        }
        let mut d = Decoder::new(&memory[WINDOWS_PAGE * PAGE_BYTES..]);
        let windows = d.list(|d| Ok((d.signed()?, (d.signed()?, d.signed()?))));
        self.windows = windows.map_err(|error| error.to_string())?.into_iter().collect();
        self.captured = Some(memory);
        match image.globals[..] {
            [GlobalValue::I64(records), GlobalValue::I64(newest), GlobalValue::I64(watermark)] => {
                (self.records, self.newest) = (records, EventTime(newest));
                self.watermark = EventTime(watermark);
                Ok(())
            }
            _ => Err("other globals than were captured".into()),
        }
    }
}

impl Operator for Totals {
    fn process(&mut self, batch: &RecordBatch, virtual_time: EventTime) -> Result<Staged> {
        if self.trapped {
            self.notice("an instance is used after it trapped".into());
        }
        if virtual_time < self.newest {
            self.notice(format!("virtual time goes back to {} ms", virtual_time.0));
        }
        self.newest = virtual_time;
        let long = |index: usize| batch.column(index).as_primitive::<Int64Type>();
        let partitions = batch.column(0).as_primitive::<Int32Type>();
        let (mut out_partitions, mut out) = (Vec::new(), [const { Vec::new() }; 5]);
        let mut rejected = Vec::new();
        for row in 0..batch.num_rows() {
            let (key, value) = (long(2).value(row), long(3).value(row));
            if value == POISON {
                // What a trap leaves behind is never seen by anybody.
                self.totals.clear();
                self.trapped = true;
                return Err(Error::operator("poison"));
            }
            if value == REJECTED {
                rejected.push(RejectedRow { row, reason: "not taken".into() });
                continue;
            }
            let total = self.totals.entry(key).or_default();
            *total = (total.0 + 1, total.1 + value);
            let total = *total;
            let time = long(4).value(row);
            if time < self.watermark.0 {
                self.notice(format!("a record of {time} ms is late behind {}", self.watermark.0));
            }
            let window = self.windows.entry(time.div_euclid(WINDOW_MS) * WINDOW_MS).or_default();
            *window = (window.0 + 1, window.1 + value);
            self.records += 1;
            let draw = self.rng.next_u64() as i64;
            out_partitions.push(partitions.value(row));
            let values = [long(1).value(row), key, total.0, total.1, draw];
            out.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        let mut columns: Vec<arrow_array::ArrayRef> =
            vec![Arc::new(Int32Array::from(out_partitions))];
        for column in out {
            columns.push(Arc::new(Int64Array::from(column)));
        }
        let rows = RecordBatch::try_new(output_schema(), columns);
        let rows = rows.expect("the columns stand in the order of the schema");
        Ok(Staged { emitted: vec![(0, rows)], rejected })
    }

    fn watermark(&mut self, watermark: EventTime, virtual_time: EventTime) -> Result<Staged> {
        if self.trapped {
            self.notice("an instance is told a watermark after it trapped".into());
        }
        if watermark <= self.watermark {
            self.notice(format!("watermark {} comes after {}", watermark.0, self.watermark.0));
        }
        if virtual_time < self.newest {
            self.notice(format!("virtual time goes back to {} ms", virtual_time.0));
        }
        self.newest = virtual_time;
        self.watermark = watermark;
        self.world.trace(format!("watermark of {}: {}", self.partition, watermark.0));
        let open = self.windows.split_off(&(watermark.0 - WINDOW_MS + 1));
        let closed = std::mem::replace(&mut self.windows, open);
        let column = |of: &dyn Fn(i64, (i64, i64)) -> i64| -> arrow_array::ArrayRef {
            Arc::new(Int64Array::from_iter_values(closed.iter().map(|(at, it)| of(*at, *it))))
        };
        let rows = RecordBatch::try_new(
            output_schema(),
            vec![
                Arc::new(Int32Array::from(vec![self.partition; closed.len()])),
                column(&|_, _| WINDOW_ROW),
                column(&|begin, _| begin),
                column(&|_, (count, _)| count),
                column(&|_, (_, sum)| sum),
                column(&|_, _| 0),
            ],
        );
        let rows = rows.expect("the columns stand in the order of the schema");
        Ok(Staged { emitted: vec![(0, rows)], rejected: Vec::new() })
    }

    fn capture(&mut self, what: Capture) -> Result<OperatorImage> {
        if self.trapped {
            self.notice("an instance is captured after it trapped".into());
        }
        let memory = self.memory();
        let changes = match what {
            Capture::Whole => None,
            Capture::Changes => {
                let changes = self.changes(&memory);
                self.captured = Some(memory.clone());
                changes
            }
        };
        Ok(OperatorImage {
            memory: changes.unwrap_or_else(|| memory.into()),
            globals: [self.records, self.newest.0, self.watermark.0].map(GlobalValue::I64).to_vec(),
            input_region: (0, 0),
            rng_state: self.rng.state(),
        })
    }

    fn forget_captures(&mut self) {
        if !self.world.with(|it| it.is(Mutant::DirtySetDropped)) {
            self.captured = None;
        }
    }

    fn memory_bytes(&self) -> u64 {
        WASM_PAGE_BYTES as u64
    }
}
