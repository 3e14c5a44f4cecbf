//! A task behind a re-keying: takes rows from the tasks before it, in the order that its journal has.

use arrow_array::RecordBatch;
use floe_core::chain;
use floe_core::journal::MergeStep;
use floe_core::{Error, Offset, Result, TopicPartition};

use super::{Calls, Difference, TaskReplay, Watch, restore};
use crate::merge::rows_hash;

impl TaskReplay {
    /// A task of the stage before, by its number in the open epoch.
    pub(super) fn upstream(&self, number: u32) -> Result<TopicPartition> {
        let (epoch, planned) = &self.epochs[0];
        planned.upstream.get(number as usize).cloned().ok_or_else(|| {
            Error::corrupt(format!(
                "the journal of {} in epoch {epoch} names task {number} of the stage before, which has {}",
                self.task,
                planned.upstream.len()
            ))
        })
    }

    pub(super) fn merge(
        &mut self,
        epoch: u64,
        from: &TopicPartition,
        step: &MergeStep,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let rows = if self.altered { usize::MAX } else { step.rows as usize };
        let found = self.waiting.take(from, epoch, rows);
        let found_rows = found.as_ref().map_or(0, RecordBatch::num_rows);
        let same = found.as_ref().is_some_and(|it| rows_hash(it) == step.rows_hash);
        if !same && !self.altered {
            let from = from.clone();
            return Ok(Some(Difference::Merged { from, expected_rows: step.rows, found_rows }));
        }
        self.now = step.virtual_time;
        match found {
            Some(batch) => self.merged(epoch, batch, watch),
            None => Ok(None),
        }
    }

    /// Other rows than in the run may be left over; and behind the last checkpoint there is no journal.
    pub(super) fn merge_rest(&mut self, epoch: u64, watch: &mut dyn Watch) -> Result<()> {
        for batch in self.waiting.rest(epoch) {
            if let Some(stopped) = self.merged(epoch.min(self.open.epoch), batch, watch)? {
                self.open.difference = Some(stopped);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn merged(
        &mut self,
        epoch: u64,
        batch: RecordBatch,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        if self.restore_between {
            let images = self.capture()?;
            self.instances = restore(&self.links, &self.task, &images)?;
        }
        let mut calls = Calls {
            links: &self.links,
            instances: &mut self.instances,
            now: self.now,
            records: None,
            rows: None,
            dead_letters: 0,
            epoch,
            watch,
        };
        let made = chain::process(&mut calls, &self.wires, batch);
        self.open.dead_letters += calls.dead_letters;
        self.settle(epoch, None, made, (Offset(0), Offset(0)), watch)
    }

    /// The run had found that this row stops an operator. Its decision stands.
    pub(super) fn merge_skip(
        &mut self,
        epoch: u64,
        from: &TopicPartition,
        watch: &mut dyn Watch,
    ) -> Option<Difference> {
        if self.waiting.take(from, epoch, 1).is_none() && !self.altered {
            let from = from.clone();
            return Some(Difference::Merged { from, expected_rows: 1, found_rows: 0 });
        }
        self.open.dead_letters += u64::from(self.links.iter().any(|it| it.dead_letters));
        watch.refused(epoch, None, "", "skipped, as the run did: it stops an operator");
        None
    }
}
