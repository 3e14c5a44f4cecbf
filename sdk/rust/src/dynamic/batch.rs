//! One batch through an operator whose columns are known when the pipeline starts.

use crate::abi::{ArrayView, Exported};
use crate::dynamic::schema::Schema;
use crate::dynamic::value::{Row, readers};
use crate::dynamic::{DynamicOperator, Out};

/// What takes rows and rejections.
pub(crate) trait Host {
    fn emit(&mut self, output: usize, rows: &mut Exported<'_>);
    fn reject(&mut self, row: usize, reason: &str);
}

pub(crate) fn process<T: DynamicOperator>(
    operator: &mut T,
    input: &Schema,
    batch: ArrayView<'_>,
    out: &mut Out,
    host: &mut impl Host,
) {
    let readers = readers(input, batch);
    let mut before = Vec::new();
    for row in 0..batch.rows() {
        out.rows(&mut before);
        if let Err(error) = operator.process(Row::new(&readers, row), out) {
            out.take_back_to(&before);
            host.reject(row, error.text());
        }
        // Not at each row: it looks at every column.
        if row % 1024 == 1023 && out.is_large() {
            out.hand_over(|output, rows| host.emit(output, rows));
        }
    }
    operator.end_batch();
    out.hand_over(|output, rows| host.emit(output, rows));
}
