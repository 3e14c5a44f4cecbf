//! The rows that the table must hold, batch by batch: what was made anew, then what was there before and is still.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use floe_core::{Error, Result, TopicPartition};
use floe_sink::iceberg::RowStream;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use sqlx::sqlite::SqliteConnection;

use super::newest::{Last, Newest};
use super::partitions::Partitions;
use super::spool::{self, Spooled};
use super::{ANY_OF_SEVERAL, Recomputed, Stands};
use crate::command::verify::reader::{Places, Rows};

const BATCH: usize = 8192;

pub(crate) struct RecomputedReader {
    made: ParquetRecordBatchReader,
    /// The number of the next row of `made`.
    number: i64,
    tasks: Vec<TopicPartition>,
    stands: Standing,
    base: Option<RowStream>,
    base_epoch: u64,
}

enum Standing {
    All,
    Newest(Newest, SqliteConnection),
    Partitions(Arc<Partitions>),
}

impl RecomputedReader {
    pub(super) async fn open(of: &Recomputed, names: &[String]) -> Result<RecomputedReader> {
        // Keys and partitions are told by all of their columns.
        let (stands, told_by): (Standing, Vec<String>) = match &of.stands {
            Stands::All => (Standing::All, Vec::new()),
            Stands::Newest(newest) => {
                (Standing::Newest(newest.clone(), newest.open().await?), newest.key().to_vec())
            }
            Stands::Partitions(partitions) => (
                Standing::Partitions(Arc::clone(partitions)),
                partitions.columns().map(str::to_owned).collect(),
            ),
        };
        let mut names = names.to_vec();
        for name in told_by {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let base = match &of.base_table {
            None => None,
            Some(table) => Some(table.rows(&names).await?),
        };
        Ok(RecomputedReader {
            made: spool::read(&of.spool, BATCH)?,
            number: 0,
            tasks: of.tasks.clone(),
            stands,
            base,
            base_epoch: of.base.epoch,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Rows>> {
        if let Some(spooled) = Spooled::next(&mut self.made)? {
            return self.made(spooled).await.map(Some);
        }
        let Some(base) = &mut self.base else { return Ok(None) };
        let Some(mut rows) = base.next().await? else { return Ok(None) };
        let stays = match &mut self.stands {
            Standing::All => None,
            Standing::Newest(newest, database) => Some(newest.not_made(database, &rows).await?),
            Standing::Partitions(partitions) => Some(partitions.untouched(&rows)?),
        };
        if let Some(stays) = stays {
            rows = filtered(&rows, stays.into_iter())?;
        }
        let place = format!("there already at epoch {}", self.base_epoch);
        let places = Places::Each(vec![place; rows.num_rows()]);
        Ok(Some(Rows { batch: rows, places }))
    }

    async fn made(&mut self, spooled: Spooled) -> Result<Rows> {
        let begin = self.number;
        self.number += spooled.rows.num_rows() as i64;
        let place = |row: usize| {
            let task = &self.tasks[spooled.tasks.value(row) as usize];
            format!("{task} in epoch {}", spooled.epochs.value(row))
        };
        let count = spooled.rows.num_rows();
        let database = match &mut self.stands {
            Standing::All => {
                let places = Places::Each((0..count).map(place).collect());
                return Ok(Rows { batch: spooled.rows, places });
            }
            Standing::Partitions(partitions) => {
                let stands = partitions.stand(&spooled.rows, &spooled.epochs)?;
                let places = (0..count).filter(|row| stands[*row]).map(place).collect();
                let batch = filtered(&spooled.rows, stands.iter().copied())?;
                return Ok(Rows { batch, places: Places::Each(places) });
            }
            Standing::Newest(_, database) => database,
        };
        let last = Newest::last_of(database, begin..self.number).await?;
        let of = |row: usize| last.get(&(begin + row as i64));
        let batch = filtered(&spooled.rows, (0..count).map(|row| of(row).is_some()))?;
        let places = (0..count).filter_map(|row| match of(row)? {
            Last::Certain => Some(place(row)),
            Last::Any => Some(ANY_OF_SEVERAL.to_owned()),
        });
        Ok(Rows { batch, places: Places::Each(places.collect()) })
    }
}

fn filtered(rows: &RecordBatch, stays: impl Iterator<Item = bool>) -> Result<RecordBatch> {
    let stays: BooleanArray = stays.map(Some).collect();
    filter_record_batch(rows, &stays)
        .map_err(|error| Error::invalid(format!("rows that were made anew: {error}")))
}
