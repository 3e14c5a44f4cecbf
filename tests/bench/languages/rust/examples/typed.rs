//! Payments as columns.

use floe_bench_totals::{Total, Totals};
use floe_sdk::prelude::*;

#[derive(Row)]
pub(crate) struct Payment {
    merchant: i64,
    amount_minor: i64,
}

#[derive(Default)]
pub(crate) struct Typed {
    totals: Totals,
}

#[operator(name = "totals_typed")]
impl Operator for Typed {
    type Input = Payment;
    type Output = Total;

    fn process(&mut self, it: Payment, out: &mut Emit<Total>) -> Result<()> {
        out.emit(Total {
            merchant: it.merchant,
            total: self.totals.add(it.merchant, it.amount_minor),
        })
    }
}
