//! The queries: what each keeps, what it does with an event, and what it says when a window is over.

use floe_sdk::event_time::{Seconds, Sessions, Windows};
use floe_sdk::prelude::*;

use crate::{Answer, Event};

pub(crate) enum Query {
    /// Every bid as it is.
    PassThrough,
    /// Prices in another currency.
    Currency,
    /// Bids for some auctions.
    Selection,
    /// In 10 s every 2 s: the auctions with the most bids.
    HotItems(Windows<i64, i64>),
    /// In 10 s: the highest bids.
    HighestBid(Windows<(), Highest>),
    /// In 10 s: persons who came and opened auctions, and how many.
    NewSellers(Windows<i64, Seller>),
    /// Bids of a bidder without a pause of 10 s.
    UserSessions(Sessions<i64, i64>),
    /// In 10 s: bids of each bidder.
    BidsPerBidder(Windows<i64, i64>),
}

#[derive(Default)]
pub(crate) struct Highest {
    price: i64,
    /// (auction, bidder) of all bids of that price.
    bids: Vec<(i64, i64)>,
}

#[derive(Default)]
pub(crate) struct Seller {
    came: bool,
    auctions: i64,
}

struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
}

impl Query {
    pub(crate) fn of(name: &str) -> Result<Query> {
        Ok(match name {
            "q0" => Query::PassThrough,
            "q1" => Query::Currency,
            "q2" => Query::Selection,
            "q5" => Query::HotItems(Windows::hopping(Seconds(10), Seconds(2))),
            "q7" => Query::HighestBid(Windows::tumbling(Seconds(10))),
            "q8" => Query::NewSellers(Windows::tumbling(Seconds(10))),
            "q11" => Query::UserSessions(Sessions::new(Seconds(10))),
            "q12" => Query::BidsPerBidder(Windows::tumbling(Seconds(10))),
            other => bail!("query {other:?}: there are q0, q1, q2, q5, q7, q8, q11 and q12"),
        })
    }

    pub(crate) fn take(&mut self, event: &Event<'_>, out: &mut Emit<Answer>) -> Result<()> {
        let time = Timestamp(event.ts);
        if let Query::NewSellers(windows) = self {
            return match (event.kind, event.person, event.seller) {
                ("person", Some(person), _) => windows.update(time, person, |it| it.came = true),
                ("auction", _, Some(seller)) => windows.update(time, seller, |it| it.auctions += 1),
                _ => Ok(()),
            };
        }
        let Some(bid) = bid(event)? else { return Ok(()) };
        let row = |price: i64| Answer {
            partition: event.partition,
            auction: Some(bid.auction),
            bidder: Some(bid.bidder),
            price: Some(price),
            count: None,
            start: time,
            end: time,
        };
        match self {
            Query::PassThrough => out.emit(row(bid.price)),
            Query::Currency => out.emit(row(bid.price * 908 / 1000)),
            Query::Selection if bid.auction % 23 == 0 => out.emit(row(bid.price)),
            Query::Selection => Ok(()),
            Query::HotItems(windows) => windows.update(time, bid.auction, |count| *count += 1),
            Query::HighestBid(windows) => windows.update(time, (), |highest| highest.see(&bid)),
            Query::NewSellers(_) => unreachable!("it looks at no bid"),
            Query::UserSessions(sessions) => {
                sessions.update(time, bid.bidder, |count| *count += 1, |one, other| *one += other)
            }
            Query::BidsPerBidder(windows) => windows.update(time, bid.bidder, |count| *count += 1),
        }
    }

    pub(crate) fn close(
        &mut self,
        time: Timestamp,
        partition: i32,
        out: &mut Emit<Answer>,
    ) -> Result<()> {
        let row = |start, end| Answer {
            partition,
            auction: None,
            bidder: None,
            price: None,
            count: None,
            start,
            end,
        };
        match self {
            Query::PassThrough | Query::Currency | Query::Selection => {}
            Query::HotItems(windows) => {
                let counts: Vec<_> = windows.close(time).collect();
                for of_window in counts.chunk_by(|a, b| a.0 == b.0) {
                    let most = of_window.iter().map(|it| it.2).max();
                    for (window, auction, count) in of_window {
                        if Some(*count) == most {
                            let (auction, count) = (Some(*auction), Some(*count));
                            out.emit(Answer { auction, count, ..row(window.start, window.end) })?;
                        }
                    }
                }
            }
            Query::HighestBid(windows) => {
                for (window, (), highest) in windows.close(time) {
                    for (auction, bidder) in highest.bids {
                        out.emit(Answer {
                            auction: Some(auction),
                            bidder: Some(bidder),
                            price: Some(highest.price),
                            ..row(window.start, window.end)
                        })?;
                    }
                }
            }
            Query::NewSellers(windows) => {
                for (window, person, seller) in windows.close(time) {
                    if seller.came && seller.auctions > 0 {
                        let (bidder, count) = (Some(person), Some(seller.auctions));
                        out.emit(Answer { bidder, count, ..row(window.start, window.end) })?;
                    }
                }
            }
            Query::UserSessions(sessions) => {
                for it in sessions.close(time) {
                    let (bidder, count) = (Some(it.key), Some(it.value));
                    out.emit(Answer { bidder, count, ..row(it.window.start, it.window.end) })?;
                }
            }
            Query::BidsPerBidder(windows) => {
                for (window, bidder, count) in windows.close(time) {
                    let (bidder, count) = (Some(bidder), Some(count));
                    out.emit(Answer { bidder, count, ..row(window.start, window.end) })?;
                }
            }
        }
        Ok(())
    }
}

impl Highest {
    fn see(&mut self, bid: &Bid) {
        if self.bids.is_empty() || bid.price > self.price {
            self.price = bid.price;
            self.bids.clear();
        }
        if bid.price == self.price {
            self.bids.push((bid.auction, bid.bidder));
        }
    }
}

fn bid(event: &Event<'_>) -> Result<Option<Bid>> {
    if event.kind != "bid" {
        return Ok(None);
    }
    match (event.auction, event.bidder, event.price) {
        (Some(auction), Some(bidder), Some(price)) => Ok(Some(Bid { auction, bidder, price })),
        _ => bail!("a bid without auction, bidder or price"),
    }
}

#[cfg(test)]
mod tests {
    use floe_sdk::testing::Tester;

    use super::*;
    use crate::Nexmark;

    fn bid(ts: i64, auction: i64, bidder: i64, price: i64) -> Event<'static> {
        Event {
            kind: "bid",
            ts,
            auction: Some(auction),
            bidder: Some(bidder),
            price: Some(price),
            person: None,
            seller: None,
            partition: 3,
        }
    }

    fn asked(query: &str) -> Tester<Nexmark> {
        Tester::open(&format!("{{\"query\": \"{query}\"}}")).unwrap()
    }

    #[test]
    fn hot_items_are_those_with_the_most_bids_of_a_window() {
        let mut q5 = asked("q5");
        q5.process_batch([bid(1, 7, 1, 5), bid(2, 8, 1, 5), bid(3, 7, 1, 5), bid(10_500, 8, 1, 5)]);
        let rows = q5.watermark(Timestamp(10_000)).unwrap();
        let last = rows.last().unwrap();
        assert_eq!((last.auction, last.count, last.start.0), (Some(7), Some(2), 0));
        assert_eq!(rows.len(), 5, "one for each of the windows that begin from -8 s to 0 s");
        assert!(asked("q2").process(bid(1, 24, 1, 1)).unwrap().is_empty());
        assert!(Tester::<Nexmark>::open("{\"query\": \"q3\"}").is_err());
    }

    #[test]
    fn a_late_bid_is_rejected() {
        let mut q7 = asked("q7");
        q7.process_batch([bid(1, 7, 1, 5), bid(2, 8, 2, 5), bid(2, 9, 2, 4)]);
        let rows = q7.watermark(Timestamp(10_000)).unwrap();
        assert_eq!(rows.iter().map(|it| it.auction).collect::<Vec<_>>(), [Some(7), Some(8)]);
        let late = q7.process(bid(9_999, 7, 1, 5)).unwrap_err();
        assert!(late.to_string().contains("1 ms behind the watermark"), "{late}");
    }
}
