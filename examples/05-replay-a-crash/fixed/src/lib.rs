//! The price of each order's unit, and the mean price of the item so far. A service has a quantity of zero:
//! its price is the order's amount.
//!
//! Its state has the number of orders besides, so it is version 2, and reads what version 1 told.

use std::collections::HashMap;

use floe_sdk::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Row)]
pub struct Order<'a> {
    pub order_id: &'a str,
    pub item: &'a str,
    pub amount_minor: i64,
    pub quantity: i64,
}

#[derive(Row, Debug, PartialEq)]
pub struct Price<'a> {
    pub order_id: &'a str,
    pub item: &'a str,
    pub unit_price_minor: i64,
    pub mean_price_minor: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct Sold {
    amount_minor: i64,
    quantity: i64,
    /// Since version 2.
    #[serde(default)]
    orders: u64,
}

#[derive(Default)]
pub struct Prices {
    by_item: HashMap<String, Sold>,
}

#[operator(state_version = 2, state(by_item))]
impl Operator for Prices {
    type Input = Order<'_>;
    type Output = Price<'_>;

    fn process(&mut self, order: Order<'_>, out: &mut Emit<Price<'_>>) -> Result<()> {
        let Order { order_id, item, amount_minor, quantity } = order;
        ensure!(quantity >= 0, "a quantity of {quantity}");
        let units = quantity.max(1);
        let sold = self.by_item.entry(item.to_owned()).or_default();
        sold.amount_minor += amount_minor;
        sold.quantity += units;
        sold.orders += 1;
        let mean_price_minor = sold.amount_minor / sold.quantity;
        out.emit(Price { order_id, item, unit_price_minor: amount_minor / units, mean_price_minor })
    }

    fn migrate_state(&mut self, state: &State) -> Result<()> {
        match state.version() {
            1 => {
                self.by_item = state.get("by_item")?;
                Ok(())
            }
            _ => state.refuse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floe_sdk::testing::Tester;

    #[test]
    fn a_service_has_a_price_and_the_old_state_is_read() {
        let mut prices = Tester::new(Prices::default());
        let old = r#"{"by_item":{"repair":{"amount_minor":600,"quantity":3}}}"#;
        prices.import_state(2, 1, old).unwrap();
        let order = Order { order_id: "o", item: "repair", amount_minor: 1000, quantity: 0 };
        let rows = prices.process(order).unwrap();
        assert_eq!((rows[0].unit_price_minor, rows[0].mean_price_minor), (1000, 400));
        assert_eq!(
            prices.export_state().unwrap(),
            r#"{"by_item":{"repair":{"amount_minor":1600,"orders":1,"quantity":4}}}"#
        );
    }
}
