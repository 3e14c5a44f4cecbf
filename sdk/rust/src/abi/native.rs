//! An operator natively, with the host's part of the ABI played by whoever holds it: for benches.

use std::ffi::c_void;

use crate::abi::arrow::ArrayView;
use crate::batch;
use crate::operator::{Emit, Operator};
use crate::outputs::Host;
use crate::row::{Column, Row};

/// The operator, what it emits into, and who takes that.
pub struct Native<T: Operator> {
    operator: T,
    out: Emit<T::Output>,
    emit: Emitted,
}

/// Takes the number of an output and an `ArrowArray`, which it only borrows.
type Emitted = extern "C" fn(u32, *const c_void);

impl<T: Operator> Native<T> {
    #[doc(hidden)]
    pub fn new(operator: T, emit: Emitted) -> Self {
        Native { operator, out: Emit::new(), emit }
    }

    /// How many rows of the batch were rejected.
    ///
    /// # Safety
    ///
    /// `batch` points to an `ArrowArray` of the operator's input, canonical as A12 has it.
    #[doc(hidden)]
    pub unsafe fn process(&mut self, batch: *const c_void) -> usize {
        // SAFETY: the caller's.
        let rows = unsafe { ArrayView::new(batch.cast()) };
        let mut host = Taker { emit: self.emit, rejected: 0 };
        batch::process(&mut self.operator, rows, &mut self.out, &mut host);
        host.rejected
    }
}

struct Taker {
    emit: Emitted,
    rejected: usize,
}

impl Host for Taker {
    fn emit<R: Row>(&mut self, output: usize, columns: &mut R::Column) {
        let mut rows = columns.export();
        (self.emit)(output as u32, rows.seal().cast());
        drop(rows);
        columns.clear();
    }

    fn reject(&mut self, _row: usize, _reason: &str) {
        self.rejected += 1;
    }
}
