//! q17 to q19: what of a day's bids is asked of each auction, or of each bidder of it.

use floe_sdk::event_time::{Seconds, Windows};
use floe_sdk::prelude::*;

use crate::Answer;
use crate::query::Bid;

const DAY: Seconds = Seconds(86_400);
/// The best bids of an auction that q19 asks for.
const TOP: usize = 10;

/// q17.
pub(crate) struct Statistics(Windows<i64, Totals>);

#[derive(Default)]
struct Totals {
    count: i64,
    min: Option<i64>,
    max: Option<i64>,
    sum: i64,
    small: i64,
    middle: i64,
    large: i64,
}

impl Statistics {
    pub(crate) fn new() -> Statistics {
        Statistics(Windows::tumbling(DAY))
    }

    pub(crate) fn take(&mut self, time: Timestamp, bid: &Bid) -> Result<()> {
        let price = bid.price;
        self.0.update(time, bid.auction, |totals| {
            totals.count += 1;
            totals.min = Some(totals.min.map_or(price, |it| it.min(price)));
            totals.max = Some(totals.max.map_or(price, |it| it.max(price)));
            totals.sum += price;
            match price {
                ..10_000 => totals.small += 1,
                10_000..1_000_000 => totals.middle += 1,
                1_000_000.. => totals.large += 1,
            }
        })
    }

    pub(crate) fn close(&mut self, time: Timestamp, out: &mut Emit<Answer>) -> Result<()> {
        for (window, auction, totals) in self.0.close(time) {
            out.emit(Answer {
                auction: Some(auction),
                price: Some(totals.sum / totals.count),
                count: Some(totals.count),
                min: totals.min,
                max: totals.max,
                sum: Some(totals.sum),
                small: Some(totals.small),
                middle: Some(totals.middle),
                large: Some(totals.large),
                start: window.start,
                end: window.end,
                ..Answer::default()
            })?;
        }
        Ok(())
    }
}

/// q18: (auction, bidder) → (time, price) of the last bid; of two at a time, the higher.
pub(crate) struct LastBids(Windows<(i64, i64), (i64, i64)>);

impl LastBids {
    pub(crate) fn new() -> LastBids {
        LastBids(Windows::tumbling(DAY))
    }

    pub(crate) fn take(&mut self, time: Timestamp, bid: &Bid) -> Result<()> {
        self.0.update(time, (bid.auction, bid.bidder), |last| {
            *last = (*last).max((time.0, bid.price));
        })
    }

    pub(crate) fn close(&mut self, time: Timestamp, out: &mut Emit<Answer>) -> Result<()> {
        for (_, (auction, bidder), (at, price)) in self.0.close(time) {
            out.emit(Answer {
                auction: Some(auction),
                bidder: Some(bidder),
                price: Some(price),
                start: Timestamp(at),
                end: Timestamp(at),
                ..Answer::default()
            })?;
        }
        Ok(())
    }
}

/// q19: the best bids of each auction, and the rank of each; of two of one price, the earlier.
pub(crate) struct TopBids(Windows<i64, Vec<Ranked>>);

/// Less is better: minus the price, the time, the bidder.
type Ranked = (i64, i64, i64);

impl TopBids {
    pub(crate) fn new() -> TopBids {
        TopBids(Windows::tumbling(DAY))
    }

    pub(crate) fn take(&mut self, time: Timestamp, bid: &Bid) -> Result<()> {
        self.0.update(time, bid.auction, |best| {
            let ranked = (-bid.price, time.0, bid.bidder);
            best.insert(best.partition_point(|it| *it <= ranked), ranked);
            best.truncate(TOP);
        })
    }

    pub(crate) fn close(&mut self, time: Timestamp, out: &mut Emit<Answer>) -> Result<()> {
        for (_, auction, best) in self.0.close(time) {
            for (rank, (price, at, bidder)) in (1..).zip(best) {
                out.emit(Answer {
                    auction: Some(auction),
                    bidder: Some(bidder),
                    price: Some(-price),
                    count: Some(rank),
                    start: Timestamp(at),
                    end: Timestamp(at),
                    ..Answer::default()
                })?;
            }
        }
        Ok(())
    }
}
