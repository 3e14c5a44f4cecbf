//! q4's first half: the highest bid of each auction that is over, made while it was open.

use std::collections::BTreeMap;

use floe_sdk::prelude::*;

use crate::query::Bid;
use crate::{Answer, Event};

#[derive(Default)]
pub(crate) struct Winning {
    open: BTreeMap<i64, Auction>,
    /// By auction: (time, price). A bid may come before its auction, as they are of different partitions.
    bids: BTreeMap<i64, Vec<(i64, i64)>>,
}

struct Auction {
    begin: i64,
    expires: i64,
    category: i64,
}

impl Winning {
    pub(crate) fn open(&mut self, event: &Event<'_>) -> Result<()> {
        let (Some(id), Some(category), Some(expires)) =
            (event.auction, event.category, event.expires)
        else {
            bail!("an auction without id, category or end");
        };
        self.open.insert(id, Auction { begin: event.ts, expires, category });
        Ok(())
    }

    pub(crate) fn bid(&mut self, time: i64, bid: &Bid) {
        self.bids.entry(bid.auction).or_default().push((time, bid.price));
    }

    /// What ended before the watermark has all of its bids.
    pub(crate) fn close(&mut self, time: Timestamp, out: &mut Emit<Answer>) -> Result<()> {
        let is_over = |it: &Auction| it.expires < time.0;
        let over: Vec<i64> = self.open.iter().filter(|it| is_over(it.1)).map(|it| *it.0).collect();
        for id in over {
            let Some(auction) = self.open.remove(&id) else { continue };
            let bids = self.bids.remove(&id).unwrap_or_default();
            let in_time =
                bids.iter().filter(|it| (auction.begin..=auction.expires).contains(&it.0));
            if let Some(price) = in_time.map(|it| it.1).max() {
                out.emit(Answer {
                    auction: Some(id),
                    category: Some(auction.category),
                    price: Some(price),
                    start: Timestamp(auction.begin),
                    end: Timestamp(auction.expires),
                    ..Answer::default()
                })?;
            }
        }
        // No auction that began before them will come any more.
        self.bids.retain(|id, bids| {
            let waits = self.open.contains_key(id);
            bids.retain(|it| waits || it.0 >= time.0);
            !bids.is_empty()
        });
        Ok(())
    }
}
