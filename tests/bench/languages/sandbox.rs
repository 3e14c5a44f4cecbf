//! A language's operator as a pipeline runs it: the module through the product's own factory and calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use floe_core::image::Capture;
use floe_core::ports::{Operator, OperatorFactory};
use floe_core::{EventTime, TopicPartition};
use floe_operator::{Engine, Factory, Limits, Metering, with_script};
use wasmparser::{Parser, Payload};

use crate::by_hand::ByHand;
use crate::feed::{BATCH_RECORDS, BATCHES, Feed, Kind};

pub(crate) struct Compiled {
    name: String,
    wasm: Vec<u8>,
    factory: Factory,
}

impl Compiled {
    /// `None`: it is not built.
    pub(crate) fn find(
        engine: &Arc<Engine>,
        folder: &Path,
        language: &str,
        kind: Kind,
    ) -> Result<Option<Compiled>> {
        let name = format!("{language}_{}", kind.name());
        let read = |file: &str| std::fs::read(folder.join(file)).ok();
        let wasm = match language {
            "js" => {
                let script = read(&format!("{name}.js")).and_then(|it| String::from_utf8(it).ok());
                let Some((interpreter, script)) = read("javascript.wasm").zip(script) else {
                    return Ok(None);
                };
                with_script(&interpreter, &script)?
            }
            _ => match read(&format!("{name}.wasm")) {
                Some(wasm) => wasm,
                None => return Ok(None),
            },
        };
        // As `floe run` has it.
        let limits = Limits { metering: Metering::Time, ..Limits::default() };
        let module = engine.load(&name, &wasm, &limits)?;
        let factory = Factory::new(&name, module, "{}".to_owned(), limits);
        Ok(Some(Compiled { name, wasm, factory }))
    }

    fn open(&self) -> Result<Box<dyn Operator>> {
        Ok(self.factory.open(&task(), 1)?)
    }

    /// Its rows are those by hand.
    pub(crate) fn compare(&self, feed: &Feed, kind: Kind) -> Result<()> {
        let mut by_hand = ByHand::new(feed, kind);
        let mut operator = self.open()?;
        for (index, batch) in feed.batches(&self.factory.describe().input)?.iter().enumerate() {
            let staged = operator.process(batch, EventTime(1))?;
            ensure!(staged.rejected.is_empty(), "{} rejects payments", self.name);
            let mut expected = by_hand.totals(index)?.map(|it| it.values().to_vec());
            for (_, rows) in &staged.emitted {
                for (column, expected) in expected.iter_mut().enumerate() {
                    let values = rows.column(column).as_primitive::<Int64Type>().values();
                    ensure!(
                        expected.starts_with(values),
                        "{} emits other rows than there are by hand",
                        self.name
                    );
                    expected.drain(..values.len());
                }
            }
            ensure!(expected.iter().all(Vec::is_empty), "{} emits too few rows", self.name);
        }
        Ok(())
    }

    /// Without names and debug information, which no instance has.
    pub(crate) fn module_bytes(&self) -> Result<usize> {
        let mut bytes = 8;
        for payload in Parser::new(0).parse_all(&self.wasm) {
            match payload? {
                Payload::CustomSection(_) => {}
                other => bytes += other.as_section().map_or(0, |(_, range)| range.len() + 6),
            }
        }
        Ok(bytes)
    }

    /// From the compiled module to an operator that is open: the median of many.
    pub(crate) fn instantiate_us(&self) -> Result<f64> {
        let mut took = Vec::new();
        for _ in 0..31 {
            let begin = Instant::now();
            let operator = self.open()?;
            took.push(begin.elapsed().as_secs_f64() * 1e6);
            drop(operator);
        }
        Ok(crate::median(took))
    }

    /// Bytes of the pages that change between two checkpoints with so many records between them.
    pub(crate) fn checkpoint_bytes(&self, feed: &Feed, kind: Kind, records: u64) -> Result<u64> {
        let mut metered = Metered::new(self, feed, kind)?;
        let batches = |metered: &mut Metered| {
            (0..records as usize / BATCH_RECORDS).try_for_each(|it| metered.process(it % BATCHES))
        };
        batches(&mut metered)?;
        metered.operator.capture(Capture::Changes)?;
        batches(&mut metered)?;
        Ok(metered.operator.capture(Capture::Changes)?.memory.held_bytes())
    }
}

/// An instance, and batches as it takes them.
pub(crate) struct Metered {
    operator: Box<dyn Operator>,
    batches: Vec<RecordBatch>,
}

impl Metered {
    pub(crate) fn new(compiled: &Compiled, feed: &Feed, kind: Kind) -> Result<Metered> {
        let batches = feed.batches(&compiled.factory.describe().input);
        let batches = batches.with_context(|| format!("{} ({})", compiled.name, kind.name()))?;
        Ok(Metered { operator: compiled.open()?, batches })
    }

    pub(crate) fn process(&mut self, batch: usize) -> Result<()> {
        let staged = self.operator.process(&self.batches[batch], EventTime(1))?;
        ensure!(staged.rejected.is_empty(), "it rejects payments");
        std::hint::black_box(staged);
        Ok(())
    }
}

fn task() -> TopicPartition {
    TopicPartition::new("payments", 0)
}
