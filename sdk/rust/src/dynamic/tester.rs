//! Native tests of an operator whose columns depend on its configuration.

use crate::abi::{Exported, view_exported};
use crate::config::Config;
use crate::dynamic::batch::{self, Host};
use crate::dynamic::value::{Row, Value, readers};
use crate::dynamic::write::Rows;
use crate::dynamic::{DynamicOperator, Out, OwnedValue, Schema, Shape};
use crate::error::Result;
use crate::stub;
use crate::types::Timestamp;

/// An operator in a test. Rows pass through the same columns, in the same layout, as they do in a pipeline.
pub struct DynamicTester<T> {
    operator: T,
    shape: Shape,
    out: Out,
}

/// What came of a call.
#[derive(Debug, Default, PartialEq)]
pub struct Processed {
    /// The rows that were emitted: output, values. Lists and structs are null here.
    pub rows: Vec<(usize, Vec<OwnedValue>)>,
    /// The rows that were rejected: index within the batch, reason.
    pub rejected: Vec<(usize, String)>,
}

impl<T: DynamicOperator> DynamicTester<T> {
    /// Opens an operator with a configuration in JSON. Time and random numbers of this thread begin anew.
    pub fn open(config: &str, upstream: Option<&Schema>) -> Result<Self> {
        stub::reset();
        let config = Config::parse(config)?;
        let (operator, shape) = T::open(config.clone(), upstream)?;
        config.refuse_unread()?;
        let out = Out::new(&shape.outputs);
        Ok(DynamicTester { operator, shape, out })
    }

    /// What it takes and emits.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The operator, to look at its state.
    pub fn operator(&mut self) -> &mut T {
        &mut self.operator
    }

    /// Processes rows as one batch.
    pub fn process(&mut self, rows: &[&[Value<'_>]]) -> Result<Processed> {
        let mut columns = Rows::new(&self.shape.input);
        rows.iter().try_for_each(|row| columns.push(row.iter().copied()))?;
        let mut exported = columns.export();
        let mut seen = Seen { shape: &self.shape, processed: Processed::default() };
        let batch = view_exported(&mut exported);
        batch::process(&mut self.operator, &self.shape.input, batch, &mut self.out, &mut seen);
        Ok(seen.processed)
    }

    /// Tells the operator that no record before `time` will come any more.
    pub fn watermark(&mut self, time: Timestamp) -> Result<Processed> {
        self.operator.watermark(time, &mut self.out)?;
        let mut seen = Seen { shape: &self.shape, processed: Processed::default() };
        self.out.hand_over(|output, rows| seen.emit(output, rows));
        Ok(seen.processed)
    }
}

struct Seen<'a> {
    shape: &'a Shape,
    processed: Processed,
}

impl Host for Seen<'_> {
    fn emit(&mut self, output: usize, rows: &mut Exported<'_>) {
        let view = view_exported(rows);
        let readers = readers(&self.shape.outputs[output].1, view);
        for row in 0..view.rows() {
            let values = Row::new(&readers, row).values();
            let kept = values.map(|it| OwnedValue::of(it).unwrap_or(OwnedValue::Null)).collect();
            self.processed.rows.push((output, kept));
        }
    }

    fn reject(&mut self, row: usize, reason: &str) {
        self.processed.rejected.push((row, reason.to_owned()));
    }
}
