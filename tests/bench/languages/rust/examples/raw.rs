//! Payments as the bytes of their JSON.

use floe_bench_totals::{Total, Totals, payment};
use floe_sdk::prelude::*;

#[derive(Row)]
pub(crate) struct Record<'a> {
    _value: Option<&'a [u8]>,
}

#[derive(Default)]
pub(crate) struct Raw {
    totals: Totals,
}

#[operator(name = "totals_raw")]
impl Operator for Raw {
    type Input = Record<'_>;
    type Output = Total;

    fn process(&mut self, record: Record<'_>, out: &mut Emit<Total>) -> Result<()> {
        let Some((merchant, amount)) = record._value.and_then(payment) else {
            bail!("no payment");
        };
        out.emit(Total { merchant, total: self.totals.add(merchant, amount) })
    }
}
