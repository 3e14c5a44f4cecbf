//! Running totals per merchant. A payment that comes again, by its id, is counted once.

use floe_sdk::collections::{HashMap, StringSet};
use floe_sdk::prelude::*;

#[derive(Row)]
pub struct Payment<'a> {
    pub txn_id: &'a str,
    pub merchant_id: &'a str,
    pub amount_minor: i64,
    #[row(name = "_partition")]
    pub partition: i32,
    #[row(name = "_offset")]
    pub offset: i64,
}

#[derive(Row, Debug, PartialEq)]
pub struct Total<'a> {
    pub txn_id: &'a str,
    pub merchant_id: &'a str,
    pub amount_minor: i64,
    pub running_total: i64,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
}

/// The fields are the state. They are checkpointed as they are.
pub struct Payments {
    /// The ids of all payments so far; `None` with `dedup = false`.
    seen: Option<StringSet>,
    total_by_merchant: HashMap<Box<str>, i64>,
}

#[operator(state(seen, total_by_merchant))]
impl Operator for Payments {
    type Input = Payment<'_>;
    type Output = Total<'_>;

    fn open(config: Config) -> Result<Self> {
        let dedup = config.get("dedup")?.unwrap_or(true);
        Ok(Payments { seen: dedup.then(StringSet::new), total_by_merchant: HashMap::default() })
    }

    fn process(&mut self, payment: Payment<'_>, out: &mut Emit<Total<'_>>) -> Result<()> {
        let Payment { txn_id, merchant_id, amount_minor, .. } = payment;

        // A rejected record must leave no trace in the state, so what can fail comes first.
        let total = self.total_by_merchant.get_mut(merchant_id);
        let before = total.as_ref().map_or(0, |it| **it);
        let Some(running_total) = before.checked_add(amount_minor) else {
            bail!("the total of merchant {merchant_id} leaves 64 bits: {before} + {amount_minor}");
        };

        if let Some(seen) = &mut self.seen
            && !seen.insert(txn_id)
        {
            return Ok(());
        }
        match total {
            Some(total) => *total = running_total,
            None => {
                self.total_by_merchant.insert(merchant_id.into(), running_total);
            }
        }
        out.emit(Total {
            txn_id,
            merchant_id,
            amount_minor,
            running_total,
            kafka_partition: payment.partition,
            kafka_offset: payment.offset,
        })
    }
}

#[cfg(test)]
mod tests;
