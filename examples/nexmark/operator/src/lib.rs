//! Queries of the Nexmark benchmark over auctions, bids and persons; `config = { query = "q5" }` says which.
//!
//! Each partition has an operator of its own, so a query is over the events of one partition: what it
//! groups or joins by must be what the producer keys its records by, or what the operator is keyed by in the
//! pipeline file. The README has the table.

mod auctions;
mod day;
mod joins;
mod query;

use floe_sdk::prelude::*;

use query::Query;

/// An event of any of the three kinds; what a kind lacks is absent.
#[derive(Row)]
pub struct Event<'a> {
    /// "person", "auction", "bid", or "end": an event that only moves event time.
    pub kind: &'a str,
    /// Event time in ms since 1970.
    pub ts: i64,
    /// Of an auction: its id. Of a bid: what is bid for.
    pub auction: Option<i64>,
    /// Of a bid: who bids.
    pub bidder: Option<i64>,
    /// Of a bid.
    pub price: Option<i64>,
    /// Of a person: its id.
    pub person: Option<i64>,
    /// Of a person: the state that it lives in.
    pub state: Option<&'a str>,
    /// Of an auction: whose it is.
    pub seller: Option<i64>,
    /// Of an auction.
    pub category: Option<i64>,
    /// Of an auction: when it ends, in ms since 1970.
    pub expires: Option<i64>,
    /// Of a bid: any text.
    pub extra: Option<&'a str>,
    #[row(name = "_partition")]
    pub partition: i32,
}

/// A row of any of the queries; what a query does not say is absent.
#[derive(Row, Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// 0 for what is over the events of all partitions.
    pub partition: i32,
    pub auction: Option<i64>,
    /// The bidder, or the person.
    pub bidder: Option<i64>,
    pub price: Option<i64>,
    pub count: Option<i64>,
    pub category: Option<i64>,
    /// Of the day's bids of an auction.
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub sum: Option<i64>,
    /// Bids below 10,000, below 1,000,000, and the others.
    pub small: Option<i64>,
    pub middle: Option<i64>,
    pub large: Option<i64>,
    /// The state of the seller, or the time of the day.
    pub text: Option<String>,
    /// The event's time, or the window.
    pub start: Timestamp,
    pub end: Timestamp,
}

struct Nexmark {
    query: Query,
    partition: i32,
}

#[operator]
impl Operator for Nexmark {
    type Input = Event<'_>;
    type Output = Answer;

    fn open(config: Config) -> Result<Self> {
        let query = Query::of(&config.require::<String>("query")?)?;
        Ok(Nexmark { query, partition: 0 })
    }

    fn process(&mut self, event: Event<'_>, out: &mut Emit<Answer>) -> Result<()> {
        self.partition = event.partition;
        self.query.take(&event, out)
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Emit<Answer>) -> Result<()> {
        self.query.close(time, self.partition, out)
    }
}
