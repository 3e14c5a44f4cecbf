//! The operators of one task as the chain calls them.

use arrow_array::RecordBatch;
use floe_core::chain::Chain;
use floe_core::ports::{Operator, RejectedRow, Staged};
use floe_core::{EventTime, Records, Result};

use super::{Link, Watch};

/// The chain while it takes one batch or one watermark.
pub(crate) struct Calls<'a> {
    pub(crate) links: &'a [Link],
    pub(crate) instances: &'a mut [Box<dyn Operator>],
    pub(crate) now: EventTime,
    pub(crate) records: Option<&'a Records>,
    pub(crate) rows: Option<&'a [u32]>,
    pub(crate) dead_letters: u64,
    pub(crate) epoch: u64,
    pub(crate) watch: &'a mut dyn Watch,
}

impl Chain for Calls<'_> {
    fn len(&self) -> usize {
        self.instances.len()
    }

    fn process(&mut self, link: usize, batch: &RecordBatch) -> Result<Staged> {
        self.instances[link].process(batch, self.now)
    }

    fn watermark(&mut self, link: usize, watermark: EventTime) -> Result<Staged> {
        self.instances[link].watermark(watermark, self.now)
    }

    fn refuse(&mut self, link: usize, row: &RejectedRow) -> Result<()> {
        self.dead_letters += u64::from(self.links[link].dead_letters);
        let record = self
            .records
            .filter(|_| link == 0)
            .map(|records| records.get(self.rows.map_or(row.row, |rows| rows[row.row] as usize)));
        self.watch.refused(self.epoch, record, &self.links[link].name, &row.reason);
        Ok(())
    }
}
