//! What an author implements, and what rows are emitted through.

#[cfg(feature = "state")]
use crate::bail;
use crate::config::Config;
use crate::error::Result;
use crate::row::{Column, Row, Value};
#[cfg(feature = "state")]
use crate::state::State;
use crate::types::Timestamp;

/// A program over a stream of rows. Its fields are its state: they are checkpointed as they are and
/// restored to the bit, so there is nothing to save and nothing to load.
///
/// Put `#[operator]` on the `impl`. It writes the exports of the module, and `open` where it is left out.
pub trait Operator: Sized + 'static {
    /// A row that comes in, by `#[derive(Row)]`. One that borrows is written `Payment<'_>`.
    type Input: Row;

    /// A row that goes out, by `#[derive(Row)]`.
    type Output: Row;

    /// Makes the operator, once for each partition, from `config` in the pipeline file.
    ///
    /// Left out, it is `Default::default()`. A key that `open` does not read is refused.
    fn open(config: Config) -> Result<Self>;

    /// Takes one row and emits none, one or many.
    ///
    /// An error rejects this row only, and what it emitted is taken back. What it changed in `self`
    /// stays changed, so check first and change afterwards. A panic stops the pipeline.
    fn process(
        &mut self,
        row: <Self::Input as Value>::Of<'_>,
        out: &mut Emit<Self::Output>,
    ) -> Result<()>;

    /// No record with an event time before `time` will come any more. An error stops the pipeline.
    fn watermark(&mut self, time: Timestamp, out: &mut Emit<Self::Output>) -> Result<()> {
        let _ = (time, out);
        Ok(())
    }

    /// Tells the state as JSON, for `floe state` and `floe upgrade`.
    ///
    /// `#[operator(state(field, …))]` writes it.
    #[cfg(feature = "state")]
    fn export_state(&self) -> Result<String> {
        bail!("export_state is not written: name the fields in #[operator(state(…))]")
    }

    /// Takes a state of this module's own `state_version`, in an operator that `open` made.
    ///
    /// `#[operator(state(field, …))]` writes it.
    #[cfg(feature = "state")]
    fn import_state(&mut self, state: &State) -> Result<()> {
        state.refuse()
    }

    /// Takes a state that another version of this operator told, `state.version()`.
    ///
    /// ```
    /// # use floe_sdk::prelude::*; use std::collections::BTreeMap;
    /// # #[derive(Default)] struct Totals { by_merchant: BTreeMap<String, (i64, u64)> }
    /// # impl Totals {
    /// fn migrate_state(&mut self, state: &State) -> Result<()> {
    ///     match state.version() {
    ///         1 => {
    ///             let totals: BTreeMap<String, i64> = state.get("by_merchant")?; // without the count
    ///             self.by_merchant = totals.into_iter().map(|(id, sum)| (id, (sum, 0))).collect();
    ///             Ok(())
    ///         }
    ///         _ => state.refuse(),
    ///     }
    /// }
    /// # }
    /// ```
    #[cfg(feature = "state")]
    fn migrate_state(&mut self, state: &State) -> Result<()> {
        state.refuse()
    }
}

/// Where rows go out. They are kept as columns and handed over once a batch.
pub struct Emit<R: Row> {
    columns: R::Column,
    check_at: usize,
}

/// Rows between two looks at the size of what waits to go out.
const CHECK_ROWS: usize = 1024;

/// Rows are handed over in the middle of a batch beyond this: it bounds the memory of an operator that
/// emits much more than it takes in.
const WAITING_BYTES_MAX: usize = 8 << 20;

impl<R: Row> Emit<R> {
    pub(crate) fn new() -> Self {
        Emit { columns: R::Column::default(), check_at: CHECK_ROWS }
    }

    /// Emits a row. It always succeeds: the `Result` lets it stand last in `process`.
    #[inline]
    pub fn emit<W: Value<Column = R::Column>>(&mut self, row: W) -> Result<()> {
        row.append(&mut self.columns);
        Ok(())
    }

    #[inline]
    pub(crate) fn rows(&self) -> usize {
        self.columns.rows()
    }

    #[cold]
    pub(crate) fn take_back_to(&mut self, rows: usize) {
        self.columns.truncate(rows);
    }

    /// Is it time to hand over what waits, although the batch goes on?
    #[inline]
    pub(crate) fn is_large(&mut self) -> bool {
        if self.rows() < self.check_at {
            return false;
        }
        self.check_at = self.rows() + CHECK_ROWS;
        self.columns.bytes() > WAITING_BYTES_MAX
    }

    /// What waits, for a host that takes all of it.
    pub(crate) fn all(&mut self) -> &mut R::Column {
        self.check_at = CHECK_ROWS;
        &mut self.columns
    }
}
