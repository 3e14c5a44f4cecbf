//! The queries: what each keeps, what it does with an event, and what it says when a window is over.

use floe_sdk::event_time::{Seconds, Sessions, Windows};
use floe_sdk::prelude::*;

use crate::auctions::Winning;
use crate::day::{LastBids, Statistics, TopBids};
use crate::joins::LocalSellers;
use crate::{Answer, Event};

pub(crate) enum Query {
    /// Every bid as it is.
    PassThrough,
    /// Prices in another currency.
    Currency,
    /// Bids for some auctions.
    Selection,
    /// Sellers of a category who live in some states.
    LocalSellers(LocalSellers),
    /// The winning bid of each auction; averages by category are the next operator's.
    Winning(Winning),
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
    /// Bids of middling prices, by the time of the day, and the letters c in their text.
    Calculation,
    /// In a day: what the bids of an auction come to.
    Statistics(Statistics),
    /// In a day: the last bid of each bidder for each auction.
    LastBids(LastBids),
    /// In a day: the ten best bids of each auction.
    TopBids(TopBids),
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

pub(crate) struct Bid {
    pub(crate) auction: i64,
    pub(crate) bidder: i64,
    pub(crate) price: i64,
}

impl Query {
    pub(crate) fn of(name: &str) -> Result<Query> {
        Ok(match name {
            "q0" => Query::PassThrough,
            "q1" => Query::Currency,
            "q2" => Query::Selection,
            "q3" => Query::LocalSellers(LocalSellers::default()),
            "q4" => Query::Winning(Winning::default()),
            "q5" => Query::HotItems(Windows::hopping(Seconds(10), Seconds(2))),
            "q7" => Query::HighestBid(Windows::tumbling(Seconds(10))),
            "q8" => Query::NewSellers(Windows::tumbling(Seconds(10))),
            "q11" => Query::UserSessions(Sessions::new(Seconds(10))),
            "q12" => Query::BidsPerBidder(Windows::tumbling(Seconds(10))),
            "q14" => Query::Calculation,
            "q17" => Query::Statistics(Statistics::new()),
            "q18" => Query::LastBids(LastBids::new()),
            "q19" => Query::TopBids(TopBids::new()),
            other => bail!(
                "query {other:?}: there are q0 to q5, q7, q8, q11, q12, q14, q17, q18 and q19"
            ),
        })
    }

    pub(crate) fn take(&mut self, event: &Event<'_>, out: &mut Emit<Answer>) -> Result<()> {
        let time = Timestamp(event.ts);
        match (&mut *self, event.kind) {
            (Query::NewSellers(windows), _) => {
                return match (event.kind, event.person, event.seller) {
                    ("person", Some(it), _) => windows.update(time, it, |it| it.came = true),
                    ("auction", _, Some(it)) => windows.update(time, it, |it| it.auctions += 1),
                    _ => Ok(()),
                };
            }
            (Query::LocalSellers(sellers), _) => return sellers.take(event, out),
            (Query::Winning(winning), "auction") => return winning.open(event),
            _ => {}
        }
        let Some(bid) = bid(event)? else { return Ok(()) };
        let row = |price: i64| Answer {
            partition: event.partition,
            auction: Some(bid.auction),
            bidder: Some(bid.bidder),
            price: Some(price),
            start: time,
            end: time,
            ..Answer::default()
        };
        match self {
            Query::PassThrough => out.emit(row(bid.price)),
            Query::Currency => out.emit(row(bid.price * 908 / 1000)),
            Query::Selection if bid.auction % 23 == 0 => out.emit(row(bid.price)),
            Query::Selection => Ok(()),
            Query::HotItems(windows) => windows.update(time, bid.auction, |count| *count += 1),
            Query::HighestBid(windows) => windows.update(time, (), |highest| highest.see(&bid)),
            Query::NewSellers(_) | Query::LocalSellers(_) => unreachable!("it looks at no bid"),
            Query::Winning(winning) => {
                winning.bid(event.ts, &bid);
                Ok(())
            }
            Query::UserSessions(sessions) => {
                sessions.update(time, bid.bidder, |count| *count += 1, |one, other| *one += other)
            }
            Query::BidsPerBidder(windows) => windows.update(time, bid.bidder, |count| *count += 1),
            Query::Calculation => match bid.price * 908 / 1000 {
                price @ 1_000_001..50_000_000 => out.emit(Answer {
                    count: Some(letters_c(event.extra)),
                    text: Some(time_of_day(time).to_owned()),
                    ..row(price)
                }),
                _ => Ok(()),
            },
            Query::Statistics(day) => day.take(time, &bid),
            Query::LastBids(day) => day.take(time, &bid),
            Query::TopBids(day) => day.take(time, &bid),
        }
    }

    pub(crate) fn close(
        &mut self,
        time: Timestamp,
        partition: i32,
        out: &mut Emit<Answer>,
    ) -> Result<()> {
        let row = |start, end| Answer { partition, start, end, ..Answer::default() };
        match self {
            Query::PassThrough
            | Query::Currency
            | Query::Selection
            | Query::LocalSellers(_)
            | Query::Calculation => {}
            Query::Winning(winning) => winning.close(time, out)?,
            Query::Statistics(day) => day.close(time, out)?,
            Query::LastBids(day) => day.close(time, out)?,
            Query::TopBids(day) => day.close(time, out)?,
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

/// As the original has it, in UTC.
fn time_of_day(time: Timestamp) -> &'static str {
    match time.0.div_euclid(3_600_000).rem_euclid(24) {
        8..=18 => "dayTime",
        ..=6 | 20.. => "nightTime",
        _ => "otherTime",
    }
}

fn letters_c(text: Option<&str>) -> i64 {
    text.unwrap_or_default().bytes().filter(|it| *it == b'c').count() as i64
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
            state: None,
            seller: None,
            category: None,
            expires: None,
            extra: Some("cab c"),
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
        assert!(Tester::<Nexmark>::open("{\"query\": \"q6\"}").is_err());
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

    #[test]
    fn the_time_of_the_day_and_the_price_decide() {
        let mut q14 = asked("q14");
        let hour = 3_600_000;
        let of = |it: Vec<Answer>| it.into_iter().map(|it| (it.text, it.count)).next();
        for (ts, name) in [(6, "nightTime"), (7, "otherTime"), (8, "dayTime"), (19, "otherTime")] {
            let row = q14.process(bid(ts * hour, 1, 1, 2_000_000)).unwrap();
            assert_eq!(of(row), Some((Some(name.to_owned()), Some(2))), "{ts}");
        }
        assert!(q14.process(bid(1, 1, 1, 1_000_000)).unwrap().is_empty());
        assert!(q14.process(bid(1, 1, 1, 60_000_000)).unwrap().is_empty());
    }

    #[test]
    fn an_auction_is_won_by_a_bid_that_was_made_while_it_was_open() {
        let mut q4 = asked("q4");
        let auction = |ts, id, expires| Event {
            kind: "auction",
            category: Some(id),
            expires: Some(expires),
            ..bid(ts, id, 0, 0)
        };
        // Before, too late, and in time; one of them ahead of its auction.
        q4.process_batch([bid(9, 1, 1, 99), bid(15, 1, 2, 7), auction(10, 1, 20)]);
        q4.process_batch([bid(21, 1, 3, 98), bid(20, 1, 4, 8), auction(10, 2, 20)]);
        assert!(q4.watermark(Timestamp(20)).unwrap().is_empty());
        let rows = q4.watermark(Timestamp(21)).unwrap();
        let won: Vec<_> = rows.iter().map(|it| (it.auction, it.category, it.price)).collect();
        assert_eq!(won, [(Some(1), Some(1), Some(8))]);
    }
}
