//! The payments: as JSON of some 166 bytes, and as two columns of numbers.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, SchemaRef};

/// Batches that all subjects go round.
pub(crate) const BATCHES: usize = 8;
pub(crate) const BATCH_RECORDS: usize = 8192;
pub(crate) const RECORDS: u64 = (BATCHES * BATCH_RECORDS) as u64;
pub(crate) const MERCHANTS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The guest parses.
    Raw,
    /// The host did.
    Typed,
}

impl Kind {
    pub(crate) const BOTH: [Kind; 2] = [Kind::Raw, Kind::Typed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Typed => "typed",
        }
    }
}

pub(crate) struct Feed {
    /// JSON, merchant, amount.
    payments: Vec<Vec<(String, i64, i64)>>,
}

impl Feed {
    pub(crate) fn new() -> Feed {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut payment = |number: usize| {
            let (merchant, amount) = (next(MERCHANTS) as i64 + 1, next(1_000_000) as i64);
            let json = format!(
                r#"{{"txn_id":"txn-{number:010}","merchant":{merchant},"amount_minor":{amount},"currency":"INR","status":"captured","method":"card","ts":{},"city":"Mumbai","retry":false}}"#,
                1_760_000_000_000_u64 + number as u64,
            );
            (json, merchant, amount)
        };
        let mut batch =
            |number| (0..BATCH_RECORDS).map(|it| payment(number * BATCH_RECORDS + it)).collect();
        Feed { payments: (0..BATCHES).map(&mut batch).collect() }
    }

    /// In the columns that an operator declares.
    pub(crate) fn batches(&self, input: &SchemaRef) -> Result<Vec<RecordBatch>> {
        self.payments.iter().map(|it| batch(it, input)).collect()
    }
}

fn batch(payments: &[(String, i64, i64)], input: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &arrow_schema::FieldRef| -> Result<ArrayRef> {
        Ok(match (field.name().as_str(), field.data_type()) {
            ("_value", DataType::Binary) => {
                let values = payments.iter().map(|it| it.0.as_bytes());
                Arc::new(BinaryArray::from_iter_values(values))
            }
            ("_value", DataType::Utf8) => {
                Arc::new(StringArray::from_iter_values(payments.iter().map(|it| &it.0)))
            }
            ("merchant", _) => {
                Arc::new(Int64Array::from_iter_values(payments.iter().map(|it| it.1)))
            }
            ("amount_minor", _) => {
                Arc::new(Int64Array::from_iter_values(payments.iter().map(|it| it.2)))
            }
            (other, _) => return Err(anyhow::anyhow!("the feed has no column {other}")),
        })
    };
    let columns = input.fields().iter().map(column).collect::<Result<_>>()?;
    RecordBatch::try_new(Arc::clone(input), columns)
        .context("columns as the operator declares them")
}
