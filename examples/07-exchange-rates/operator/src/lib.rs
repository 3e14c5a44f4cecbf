//! Orders priced by the exchange rate that held when they were made: two sources, joined by event time.
//!
//! An order waits until the watermark has passed it. Then all rates up to its time have come, whichever source
//! was faster, so the rows are the same in every run.

use std::collections::BTreeMap;

use floe_sdk::prelude::*;

/// A record of either source; what the other has is absent.
#[derive(Row)]
pub struct Record<'a> {
    /// "orders" or "rates": the source's name in the pipeline file.
    #[row(name = "_source")]
    pub source: &'a str,
    pub currency: &'a str,
    /// Event time in ms since 1970.
    pub ts: i64,
    pub order_id: Option<&'a str>,
    pub amount_minor: Option<i64>,
    /// Millionths of the home currency.
    pub rate_micro: Option<i64>,
}

#[derive(Row, Debug, PartialEq)]
pub struct Priced {
    pub order_id: String,
    pub currency: String,
    pub ts: Timestamp,
    pub amount_minor: i64,
    /// When the rate began that the order was priced by; absent where there was none yet.
    pub rate_ts: Option<Timestamp>,
    pub home_minor: Option<i64>,
}

/// The fields are the state. They are checkpointed as they are.
#[derive(Default)]
pub struct Pricing {
    /// Of each currency the amounts by time, then in order of the ids.
    waiting: BTreeMap<String, BTreeMap<(i64, String), i64>>,
    /// For each currency its rates by time; of those that the watermark has passed, the newest.
    rates: BTreeMap<String, BTreeMap<i64, i64>>,
}

// Both maps are by `currency`, so the pipeline's `tasks` may be changed.
#[operator(state(by_key(waiting, rates)))]
impl Operator for Pricing {
    type Input = Record<'_>;
    type Output = Priced;

    fn process(&mut self, record: Record<'_>, _: &mut Emit<Priced>) -> Result<()> {
        match (record.source, record.order_id, record.amount_minor, record.rate_micro) {
            ("orders", Some(id), Some(amount_minor), _) => {
                let waiting = self.waiting.entry(record.currency.to_owned()).or_default();
                waiting.insert((record.ts, id.to_owned()), amount_minor);
            }
            ("rates", _, _, Some(rate)) => {
                self.rates.entry(record.currency.to_owned()).or_default().insert(record.ts, rate);
            }
            (source, ..) => bail!("this is no record of source {source}"),
        }
        Ok(())
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Emit<Priced>) -> Result<()> {
        let passed = time.0;
        for (currency, waiting) in &mut self.waiting {
            let rates = self.rates.get(currency);
            // A record at the watermark itself may still come.
            while let Some(first) = waiting.first_entry().filter(|it| it.key().0 < passed) {
                let ((ts, order_id), amount_minor) = first.remove_entry();
                let rate = rates.and_then(|it| it.range(..=ts).next_back());
                let home = rate.and_then(|it| amount_minor.checked_mul(*it.1));
                out.emit(Priced {
                    order_id,
                    currency: currency.clone(),
                    ts: Timestamp(ts),
                    amount_minor,
                    rate_ts: rate.map(|it| Timestamp(*it.0)),
                    home_minor: home.map(|it| it / 1_000_000),
                })?;
            }
        }
        self.waiting.retain(|_, it| !it.is_empty());
        for rates in self.rates.values_mut() {
            // No order will come any more that an older one than the newest of these is for.
            let newest = rates.range(..passed).next_back().map(|it| *it.0);
            if let Some(newest) = newest {
                *rates = rates.split_off(&newest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
