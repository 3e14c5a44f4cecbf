//! One batch through an operator: the same for the module and for native tests.

use crate::abi::ArrayView;
use crate::error::Result;
use crate::operator::{Emit, Operator};
use crate::outputs::Host;
use crate::row::Value;
use crate::types::Timestamp;

pub(crate) fn process<T: Operator>(
    operator: &mut T,
    batch: ArrayView<'_>,
    out: &mut Emit<T::Output>,
    host: &mut impl Host,
) {
    let reader = T::Input::reader(batch);
    for row in 0..batch.rows() {
        let before = out.mark();
        if let Err(error) = operator.process(T::Input::read(&reader, row), out) {
            out.take_back_to(before);
            host.reject(row, error.text());
        }
        if out.is_large() {
            out.hand_over(host);
        }
    }
    out.hand_over(host);
}

pub(crate) fn watermark<T: Operator>(
    operator: &mut T,
    time: Timestamp,
    out: &mut Emit<T::Output>,
    host: &mut impl Host,
) -> Result<()> {
    operator.watermark(time, out)?;
    out.hand_over(host);
    Ok(())
}
