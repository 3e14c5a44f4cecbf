//! The price of each order's unit, and the mean price of the item so far.
//!
//! It has a fault on purpose: a service is ordered with quantity 0, and nothing can be divided by that.

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
}

#[derive(Default)]
pub struct Prices {
    by_item: HashMap<String, Sold>,
}

#[operator(state(by_item))]
impl Operator for Prices {
    type Input = Order<'_>;
    type Output = Price<'_>;

    fn process(&mut self, order: Order<'_>, out: &mut Emit<Price<'_>>) -> Result<()> {
        let Order { order_id, item, amount_minor, quantity } = order;
        let unit_price_minor = amount_minor / quantity;
        let sold = self.by_item.entry(item.to_owned()).or_default();
        sold.amount_minor += amount_minor;
        sold.quantity += quantity;
        let mean_price_minor = sold.amount_minor / sold.quantity;
        out.emit(Price { order_id, item, unit_price_minor, mean_price_minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floe_sdk::testing::Tester;

    #[test]
    fn the_mean_is_over_all_units() {
        let mut prices = Tester::new(Prices::default());
        let order =
            |amount_minor, quantity| Order { order_id: "o", item: "tea", amount_minor, quantity };
        assert_eq!(prices.process(order(300, 1)).unwrap()[0].mean_price_minor, 300);
        assert_eq!(prices.process(order(300, 2)).unwrap()[0].mean_price_minor, 200);
        assert_eq!(
            prices.export_state().unwrap(),
            r#"{"by_item":{"tea":{"amount_minor":600,"quantity":3}}}"#
        );
    }
}
