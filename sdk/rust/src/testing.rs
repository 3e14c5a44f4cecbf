//! Native tests of an operator: rows in, rows out, no WebAssembly.
//!
//! ```
//! # use floe_sdk::prelude::*;
//! # #[derive(Row)] struct Number { n: i64 }
//! # #[derive(Default)] struct Sum { n: i64 }
//! # #[operator] impl Operator for Sum {
//! #   type Input = Number; type Output = Number;
//! #   fn process(&mut self, row: Number, out: &mut Emit<Number>) -> Result<()> {
//! #     ensure!(row.n >= 0, "negative"); self.n += row.n; out.emit(Number { n: self.n }) } }
//! use floe_sdk::testing::Tester;
//!
//! let mut sum = Tester::new(Sum::default());
//! assert_eq!(sum.process(Number { n: 2 }).unwrap()[0].n, 2);
//! assert_eq!(sum.process(Number { n: -1 }).unwrap_err().to_string(), "negative");
//! assert_eq!(sum.process(Number { n: 3 }).unwrap()[0].n, 5);
//! ```
//!
//! Rows pass through the same columns, in the same layout, as they do in a pipeline.

use crate::abi::{ArrayView, leak_view};
use crate::batch;
use crate::config;
use crate::error::{Error, Result};
use crate::log::Level;
use crate::operator::{Emit, Operator};
use crate::outputs::{Host, OutputAt, Outputs};
use crate::row::{Row, Value};
use crate::stub;
use crate::types::Timestamp;

/// An input row of an operator.
pub type InputRow<'a, T> = <<T as Operator>::Input as Value>::Of<'a>;

/// An output row of an operator.
pub type OutputRow<T> = RowOf<<<T as Operator>::Output as Outputs>::First>;

type RowOf<R> = <R as Value>::Of<'static>;

/// An operator in a test. Rows that came out may be kept: what they borrow is never freed.
pub struct Tester<T: Operator> {
    operator: T,
    out: Emit<T::Output>,
}

/// What came of a batch.
pub struct Batch<T: Operator> {
    /// The rows that were emitted to the first output.
    pub rows: Vec<OutputRow<T>>,
    /// The rows that were rejected: index within the batch, reason.
    pub rejected: Vec<(usize, String)>,
    others: Came,
}

impl<T: Operator> Tester<T> {
    /// Tests an operator as it is. Time and random numbers of this thread begin anew.
    pub fn new(operator: T) -> Self {
        stub::reset();
        Tester { operator, out: Emit::new() }
    }

    /// Opens an operator with a configuration in JSON, as a pipeline does.
    pub fn open(config: &str) -> Result<Self> {
        stub::reset();
        Ok(Tester { operator: config::open(config)?, out: Emit::new() })
    }

    /// The operator, to look at its state.
    pub fn operator(&mut self) -> &mut T {
        &mut self.operator
    }

    /// Processes one row: the rows that it emitted, or why it was rejected.
    pub fn process(&mut self, row: InputRow<'_, T>) -> Result<Vec<OutputRow<T>>> {
        let mut batch = self.process_batch([row]);
        match batch.rejected.pop() {
            None => Ok(batch.rows),
            Some((_, reason)) => Err(Error::new(reason)),
        }
    }

    /// Processes rows as one batch.
    pub fn process_batch<'a>(
        &mut self,
        rows: impl IntoIterator<Item = InputRow<'a, T>>,
    ) -> Batch<T> {
        let mut columns = <T::Input as Value>::Column::default();
        rows.into_iter().for_each(|row| row.append(&mut columns));
        let mut came_of_it = Came::default();
        batch::process(&mut self.operator, leak_view(columns), &mut self.out, &mut came_of_it);
        came_of_it.batch()
    }

    /// Tells the operator that no record before `time` will come any more.
    pub fn watermark(&mut self, time: Timestamp) -> Result<Vec<OutputRow<T>>> {
        Ok(self.watermark_batch(time)?.rows)
    }

    /// As `watermark`, with the rows of all outputs.
    pub fn watermark_batch(&mut self, time: Timestamp) -> Result<Batch<T>> {
        let mut came_of_it = Came::default();
        batch::watermark(&mut self.operator, time, &mut self.out, &mut came_of_it)?;
        Ok(came_of_it.batch())
    }

    /// The state as JSON, as `floe state` shows it.
    #[cfg(feature = "state")]
    pub fn export_state(&self) -> Result<String> {
        self.operator.export_state()
    }

    /// Gives the operator a state that version `version` of it told, as `floe upgrade` does.
    /// `own_version` is what stands in `#[operator(state_version = …)]`.
    #[cfg(feature = "state")]
    pub fn import_state(&mut self, own_version: u32, version: u32, json: &str) -> Result<()> {
        crate::state::import(&mut self.operator, own_version, version, json)
    }

    /// Sets what `floe_sdk::now` answers.
    pub fn set_now(&mut self, time: Timestamp) {
        stub::world(|it| it.now_ms = time.0);
    }

    /// The lines logged since the last look.
    pub fn take_log(&mut self) -> Vec<(Level, String)> {
        stub::world(|it| std::mem::take(&mut it.lines))
    }
}

impl<T: Operator> Batch<T> {
    /// The rows that were emitted to another output, counted from 0: `batch.output::<1>()`.
    pub fn output<const N: usize>(&self) -> Vec<RowOf<<T::Output as OutputAt<N>>::Row>>
    where
        T::Output: OutputAt<N>,
    {
        self.others.rows::<<T::Output as OutputAt<N>>::Row>(N)
    }
}

/// What the operator gave to the host: of each output the columns, which are never freed.
#[derive(Default)]
struct Came {
    emitted: Vec<(usize, ArrayView<'static>)>,
    rejected: Vec<(usize, String)>,
}

impl Came {
    fn batch<T: Operator>(mut self) -> Batch<T> {
        let rows = self.rows::<<T::Output as Outputs>::First>(0);
        Batch { rows, rejected: std::mem::take(&mut self.rejected), others: self }
    }

    /// Of an output, whose rows are of type `R`.
    fn rows<R: Row>(&self, output: usize) -> Vec<RowOf<R>> {
        let of_it = self.emitted.iter().filter(|it| it.0 == output);
        let rows = of_it.flat_map(|(_, view)| {
            let reader = R::reader(*view);
            (0..view.rows()).map(move |row| R::read(&reader, row))
        });
        rows.collect()
    }
}

impl Host for Came {
    fn emit<R: Row>(&mut self, output: usize, columns: &mut R::Column) {
        self.emitted.push((output, leak_view(std::mem::take(columns))));
    }

    fn reject(&mut self, row: usize, reason: &str) {
        self.rejected.push((row, reason.to_owned()));
    }
}
