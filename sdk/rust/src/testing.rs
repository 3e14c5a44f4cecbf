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

use crate::abi::leak_view;
use crate::batch::{self, Host};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::log::Level;
use crate::operator::{Emit, Operator};
use crate::row::Value;
use crate::stub;
use crate::types::Timestamp;

/// An input row of an operator.
pub type InputRow<'a, T> = <<T as Operator>::Input as Value>::Of<'a>;

/// An output row of an operator.
pub type OutputRow<T> = <<T as Operator>::Output as Value>::Of<'static>;

/// An operator in a test. Rows that came out may be kept: what they borrow is never freed.
pub struct Tester<T: Operator> {
    operator: T,
    out: Emit<T::Output>,
}

/// What came of a batch.
pub struct Batch<T: Operator> {
    /// The rows that were emitted.
    pub rows: Vec<OutputRow<T>>,
    /// The rows that were rejected: index within the batch, reason.
    pub rejected: Vec<(usize, String)>,
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
        let config = Config::parse(config)?;
        let operator = T::open(config.clone())?;
        config.refuse_unread()?;
        Ok(Tester { operator, out: Emit::new() })
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
        let mut came_of_it = Batch::new();
        batch::process(&mut self.operator, leak_view(columns), &mut self.out, &mut came_of_it);
        came_of_it
    }

    /// Tells the operator that no record before `time` will come any more.
    pub fn watermark(&mut self, time: Timestamp) -> Result<Vec<OutputRow<T>>> {
        let mut came_of_it = Batch::<T>::new();
        batch::watermark(&mut self.operator, time, &mut self.out, &mut came_of_it)?;
        Ok(came_of_it.rows)
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
    fn new() -> Self {
        Batch { rows: Vec::new(), rejected: Vec::new() }
    }
}

impl<T: Operator> Host<T::Output> for Batch<T> {
    fn emit(&mut self, columns: &mut <T::Output as Value>::Column) {
        let rows = leak_view(std::mem::take(columns));
        let reader = T::Output::reader(rows);
        self.rows.extend((0..rows.rows()).map(|row| T::Output::read(&reader, row)));
    }

    fn reject(&mut self, row: usize, reason: &str) {
        self.rejected.push((row, reason.to_owned()));
    }
}
