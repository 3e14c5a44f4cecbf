//! What an author implements, and what rows are emitted through.

#[cfg(feature = "state")]
use crate::bail;
use crate::config::Config;
use crate::error::Result;
use crate::outputs::{Host, OutputAt, Outputs};
use crate::row::{Row, Value};
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

    /// A row that goes out, by `#[derive(Row)]`; a tuple of rows for several outputs.
    type Output: Outputs;

    /// The operator, if it has no `open` of its own and so no configuration: its module needs no parser for one.
    #[doc(hidden)]
    fn without_config() -> Option<Self> {
        None
    }

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
pub struct Emit<O: Outputs> {
    columns: O::Columns,
    check_at: usize,
}

/// Rows between two looks at the size of what waits to go out.
const CHECK_ROWS: usize = 1024;

/// Rows are handed over in the middle of a batch beyond this: it bounds the memory of an operator that
/// emits much more than it takes in.
const WAITING_BYTES_MAX: usize = 8 << 20;

impl<O: Outputs> Emit<O> {
    pub(crate) fn new() -> Self {
        Emit { columns: O::Columns::default(), check_at: CHECK_ROWS }
    }

    /// Emits a row, to the first output. It always succeeds: the `Result` lets it stand last in `process`.
    #[inline]
    pub fn emit<W: Value<Column = <O::First as Value>::Column>>(&mut self, row: W) -> Result<()> {
        row.append(O::first(&mut self.columns));
        Ok(())
    }

    /// Emits a row to another output, counted from 0: `out.emit_to::<1>(row)`.
    #[inline]
    pub fn emit_to<const N: usize>(
        &mut self,
        row: impl Value<Column = <<O as OutputAt<N>>::Row as Value>::Column>,
    ) -> Result<()>
    where
        O: OutputAt<N>,
    {
        row.append(<O as OutputAt<N>>::column(&mut self.columns));
        Ok(())
    }

    #[inline]
    pub(crate) fn mark(&self) -> O::Mark {
        O::mark(&self.columns)
    }

    #[cold]
    pub(crate) fn take_back_to(&mut self, mark: O::Mark) {
        O::take_back_to(&mut self.columns, mark);
    }

    /// Is it time to hand over what waits, although the batch goes on?
    #[inline]
    pub(crate) fn is_large(&mut self) -> bool {
        let rows = O::rows(&self.columns);
        if rows < self.check_at {
            return false;
        }
        self.check_at = rows + CHECK_ROWS;
        O::bytes(&self.columns) > WAITING_BYTES_MAX
    }

    /// Gives what waits to the host, which takes all of it.
    pub(crate) fn hand_over(&mut self, host: &mut impl Host) {
        self.check_at = CHECK_ROWS;
        O::hand_over(&mut self.columns, host);
    }
}
