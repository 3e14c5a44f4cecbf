//! Queries of the Nexmark benchmark over auctions, bids and persons; `config = { query = "q5" }` says which.
//!
//! Each partition has an operator of its own, so a query is over the events of one partition: what it
//! groups or joins by must be what the producer keys its records by. The README has the table.

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
    /// Of a bid: what is bid for.
    pub auction: Option<i64>,
    /// Of a bid: who bids.
    pub bidder: Option<i64>,
    /// Of a bid.
    pub price: Option<i64>,
    /// Of a person: its id.
    pub person: Option<i64>,
    /// Of an auction: whose it is.
    pub seller: Option<i64>,
    #[row(name = "_partition")]
    pub partition: i32,
}

/// A row of any of the queries.
#[derive(Row, Clone, Debug, PartialEq)]
pub struct Answer {
    pub partition: i32,
    pub auction: Option<i64>,
    /// The bidder, or the person.
    pub bidder: Option<i64>,
    pub price: Option<i64>,
    pub count: Option<i64>,
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
