//! The limit: the same Rust, compiled by the same LLVM at the same level, over the same columns.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use floe_bench_totals::{Totals, payment};

use crate::feed::{Feed, Kind};

pub(crate) struct Native {
    kind: Kind,
    batches: Vec<RecordBatch>,
    totals: Totals,
}

impl Native {
    pub(crate) fn new(feed: &Feed, kind: Kind) -> Native {
        let number = |name| Field::new(name, DataType::Int64, false);
        let fields = match kind {
            Kind::Raw => vec![Field::new("_value", DataType::Binary, true)],
            Kind::Typed => vec![number("merchant"), number("amount_minor")],
        };
        let batches = feed.batches(&Arc::new(Schema::new(fields)));
        Native {
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
