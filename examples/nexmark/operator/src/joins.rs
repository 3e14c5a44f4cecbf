//! q3: who sells in one category and lives in some states. Persons and auctions meet in either order.

use std::collections::BTreeMap;

use floe_sdk::prelude::*;

use crate::{Answer, Event};

const CATEGORY: i64 = 10;
const STATES: [&str; 3] = ["OR", "ID", "CA"];

/// Both sides, for ever, as the query has no window: by the person's id.
#[derive(Default)]
pub(crate) struct LocalSellers {
    /// The state of each time that the person came.
    persons: BTreeMap<i64, Vec<String>>,
    /// (auction, when it began).
    auctions: BTreeMap<i64, Vec<(i64, i64)>>,
}

impl LocalSellers {
    pub(crate) fn take(&mut self, event: &Event<'_>, out: &mut Emit<Answer>) -> Result<()> {
        let row = |person: i64, state: &str, auction: (i64, i64)| Answer {
            partition: event.partition,
            auction: Some(auction.0),
            bidder: Some(person),
            text: Some(state.to_owned()),
            start: Timestamp(auction.1),
            end: Timestamp(auction.1),
            ..Answer::default()
        };
        match (event.kind, event.person, event.state) {
            ("person", Some(person), Some(state)) if STATES.contains(&state) => {
                for auction in self.auctions.get(&person).into_iter().flatten() {
                    out.emit(row(person, state, *auction))?;
                }
                self.persons.entry(person).or_default().push(state.to_owned());
            }
            ("auction", ..) if event.category == Some(CATEGORY) => {
                let (Some(auction), Some(seller)) = (event.auction, event.seller) else {
                    bail!("an auction without id or seller");
                };
                for state in self.persons.get(&seller).into_iter().flatten() {
                    out.emit(row(seller, state, (auction, event.ts)))?;
                }
                self.auctions.entry(seller).or_default().push((auction, event.ts));
            }
            _ => {}
        }
        Ok(())
    }
}
