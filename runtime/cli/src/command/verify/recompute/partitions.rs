//! Which rows of a table of mode "overwrite-partition" stand: of each partition those of the last epoch that
//! replaced it, and what was appended behind that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use floe_core::Result;
use floe_sink::iceberg::Partitioning;

use super::spool::{self, Spooled};
use crate::command::verify::amount;

const BATCH: usize = 8192;

#[derive(Debug)]
pub(super) struct Partitions {
    partitioning: Partitioning,
    /// The last epoch that replaced each; as many as the batches had partitions.
    replaced: BTreeMap<String, i64>,
}

impl Partitions {
    /// Reads the spool through. Epochs that are not among `replacing` appended their rows.
    pub(super) fn of(
        partitioning: Partitioning,
        replacing: &BTreeSet<i64>,
        spool: &Path,
    ) -> Result<Partitions> {
        let mut partitions = Partitions { partitioning, replaced: BTreeMap::new() };
        let mut rows = spool::read(spool, BATCH)?;
        while let Some(spooled) = Spooled::next(&mut rows)? {
            let names = partitions.names(&spooled.rows)?;
            for (name, epoch) in names.into_iter().zip(spooled.epochs.values()) {
                if replacing.contains(epoch) {
                    let last = partitions.replaced.entry(name).or_insert(*epoch);
                    *last = (*last).max(*epoch);
                }
            }
        }
        Ok(partitions)
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.partitioning.columns()
    }

    /// Which of the rows stand, of which epochs they are.
    pub(super) fn stand(&self, rows: &RecordBatch, epochs: &Int64Array) -> Result<Vec<bool>> {
        let stands = |(name, epoch): (String, &i64)| {
            self.replaced.get(&name).is_none_or(|replaced| replaced <= epoch)
        };
        Ok(self.names(rows)?.into_iter().zip(epochs.values()).map(stands).collect())
    }

    /// Which of the rows are in partitions that no epoch replaced.
    pub(super) fn untouched(&self, rows: &RecordBatch) -> Result<Vec<bool>> {
        let names = self.names(rows)?;
        Ok(names.iter().map(|it| !self.replaced.contains_key(it)).collect())
    }

    fn names(&self, rows: &RecordBatch) -> Result<Vec<String>> {
        let values = self.partitioning.values(rows)?;
        let values: Vec<&ArrayRef> = values.iter().collect();
        Ok((0..rows.num_rows()).map(|row| amount::key(&values, row)).collect())
    }
}
