//! One batch through an operator: the same for the module and for native tests.

use crate::abi::ArrayView;
use crate::error::Result;
use crate::operator::{Emit, Operator};
use crate::row::{Row, Value};
use crate::types::Timestamp;

/// What takes rows and rejections.
pub(crate) trait Host<R: Row> {
    /// Takes all rows out of the columns.
    fn emit(&mut self, columns: &mut R::Column);
    fn reject(&mut self, row: usize, reason: &str);
}

pub(crate) fn process<T: Operator>(
    operator: &mut T,
    batch: ArrayView<'_>,
    out: &mut Emit<T::Output>,
    host: &mut impl Host<T::Output>,
) {
    let reader = T::Input::reader(batch);
    for row in 0..batch.rows() {
        let rows_before = out.rows();
        if let Err(error) = operator.process(T::Input::read(&reader, row), out) {
            out.take_back_to(rows_before);
            host.reject(row, error.text());
        }
        if out.is_large() {
            hand_over(out, host);
        }
    }
    hand_over(out, host);
}

pub(crate) fn watermark<T: Operator>(
    operator: &mut T,
    time: Timestamp,
    out: &mut Emit<T::Output>,
    host: &mut impl Host<T::Output>,
) -> Result<()> {
    operator.watermark(time, out)?;
    hand_over(out, host);
    Ok(())
}

fn hand_over<R: Row>(out: &mut Emit<R>, host: &mut impl Host<R>) {
    if out.rows() > 0 {
        host.emit(out.all());
    }
}
