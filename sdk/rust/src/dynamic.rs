//! Operators whose columns depend on their configuration: `dedup` by whatever key a pipeline names.
//!
//! Rows are [`Value`]s by position. Where the columns are known when the operator is written, derive
//! `Row` and implement [`Operator`](crate::Operator) instead: it is simpler, checked by the compiler, and
//! faster.
//!
//! ```ignore
//! struct Keep { column: usize }
//!
//! impl DynamicOperator for Keep {
//!     fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
//!         let input = Schema::known(upstream)?;
//!         let column = input.index(&config.require::<String>("column")?)?;
//!         Ok((Keep { column }, Shape::same(input)))
//!     }
//!     fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
//!         if row.get(self.column) == Value::Null { Ok(()) } else { out.emit(row.values()) }
//!     }
//! }
//! floe_sdk::dynamic_operator!(Keep, name = "keep", state_version = 1);
//! ```

mod schema;
mod duration;
mod value;
mod owned;
#[cfg(not(target_arch = "wasm32"))]
mod tester;
mod write;
pub(crate) mod batch;

pub use duration::duration_ms;
pub use owned::OwnedValue;
pub use schema::{Column, Schema, Shape, Type, Unit};
#[cfg(not(target_arch = "wasm32"))]
pub use tester::{DynamicTester, Processed};
pub use value::{ListValue, Row, StructValue, Value};
pub use write::Out;

use crate::config::Config;
use crate::error::Result;
use crate::types::Timestamp;

/// An operator that learns its columns from its configuration. Its fields are its state, as those of an
/// [`Operator`](crate::Operator) are.
pub trait DynamicOperator: Sized + 'static {
    /// Makes the operator, once for each partition, and says which columns it takes and emits.
    ///
    /// `upstream` are the columns of what comes before it: of the operator before, or of the source as far
    /// as the pipeline file tells them. It depends on nothing else, and is asked more than once.
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)>;

    /// Takes one row and emits none, one or many. An error rejects this row only, and what it emitted is
    /// taken back.
    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()>;

    /// Is called behind the rows of each batch.
    fn end_batch(&mut self) {}

    /// No record with an event time before `time` will come any more. An error stops the pipeline.
    fn watermark(&mut self, time: Timestamp, out: &mut Out) -> Result<()> {
        let _ = (time, out);
        Ok(())
    }
}

/// Writes the exports of a module whose operator is a [`DynamicOperator`].
#[macro_export]
macro_rules! dynamic_operator {
    ($operator:ty, name = $name:literal, state_version = $state_version:literal) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__export_dynamic!(
            $operator,
            $name,
            ::core::env!("CARGO_PKG_VERSION"),
            $state_version
        );
        // Natively nothing but tests may use the operator; this says that it is used.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::abi::is_dynamic_operator::<$operator>();
    };
}
