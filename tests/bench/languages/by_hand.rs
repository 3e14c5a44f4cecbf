//! The same steps in Rust without an SDK, over the columns where they are: what somebody would write for these
//! columns alone.

use std::hint::black_box;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use floe_bench_totals::{Totals, payment};

use crate::feed::{Feed, Kind};
use crate::native::columns;

pub(crate) struct ByHand {
    kind: Kind,
    batches: Vec<RecordBatch>,
    totals: Totals,
}

impl ByHand {
    pub(crate) fn new(feed: &Feed, kind: Kind) -> ByHand {
        let batches = feed.batches(&columns(kind));
        ByHand {
            kind,
            batches: batches.expect("the feed has these columns"),
            totals: Totals::default(),
        }
    }

    pub(crate) fn process(&mut self, batch: usize) -> Result<()> {
        black_box(self.totals(batch)?);
        Ok(())
    }

    /// The two columns that an operator emits.
    pub(crate) fn totals(&mut self, batch: usize) -> Result<[Int64Array; 2]> {
        let batch = &self.batches[batch];
        let mut merchants = Vec::with_capacity(batch.num_rows());
        let mut sums = Vec::with_capacity(batch.num_rows());
        let mut add = |merchant, amount| {
            merchants.push(merchant);
            sums.push(self.totals.add(merchant, amount));
        };
        match self.kind {
            Kind::Raw => {
                let values = batch.column(0).as_binary::<i32>();
                for row in 0..values.len() {
                    let (merchant, amount) = payment(values.value(row)).context("a payment")?;
                    add(merchant, amount);
                }
            }
            Kind::Typed => {
                let column = |it| batch.column(it).as_primitive::<Int64Type>().values();
                for (merchant, amount) in column(0).iter().zip(column(1)) {
                    add(*merchant, *amount);
                }
            }
        }
        Ok([merchants.into(), sums.into()])
    }
}
