//! A running total per merchant, whole: `cargo build --example totals --target wasm32-unknown-unknown`.

use floe_sdk::prelude::*;
use std::collections::HashMap;

#[derive(Row)]
struct Payment {
    txn_id: String,
    merchant_id: String,
    amount_minor: i64,
}

#[derive(Row)]
struct Total {
    txn_id: String,
    merchant_id: String,
    running_total: i64,
}

/// The fields are the state. They are checkpointed as they are.
#[derive(Default)]
struct Totals {
    by_merchant: HashMap<String, i64>,
}

#[operator(state(by_merchant))]
impl Operator for Totals {
    type Input = Payment;
    type Output = Total;

    fn process(&mut self, payment: Payment, out: &mut Emit<Total>) -> Result<()> {
        ensure!(payment.amount_minor >= 0, "negative amount"); // rejects this record only
        let total = self.by_merchant.entry(payment.merchant_id.clone()).or_default();
        *total += payment.amount_minor;
        out.emit(Total {
            txn_id: payment.txn_id,
            merchant_id: payment.merchant_id,
            running_total: *total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floe_sdk::testing::Tester;

    #[test]
    fn totals_run_and_refunds_are_rejected() {
        let payment = |id: &str, amount_minor| Payment {
            txn_id: id.into(),
            merchant_id: "m".into(),
            amount_minor,
        };
        let mut totals = Tester::new(Totals::default());
        assert_eq!(totals.process(payment("1", 2)).unwrap()[0].running_total, 2);
        let refused = totals.process(payment("2", -1)).err().unwrap();
        assert_eq!(refused.to_string(), "negative amount");
        let rows = totals.process(payment("3", 3)).unwrap();
        assert_eq!((rows[0].txn_id.as_str(), rows[0].running_total), ("3", 5));
    }
}
