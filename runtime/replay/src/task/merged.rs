//! A task behind a re-keying: takes rows from the tasks before it, in the order that its journal has.

use floe_core::chain;
use floe_core::journal::MergeStep;
use floe_core::{Error, Result, TopicPartition};

use super::{Calls, Difference, TaskReplay, Watch, restore};
use crate::merge::{PassedBatch, rows_hash};

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
        let mut rows = step.rows as usize;
        if self.altered && !self.waiting.are_next(from, epoch, step) {
            rows = usize::MAX;
            self.taken_ahead.insert(from.clone());
        } else {
            self.taken_ahead.remove(from);
        }
        let found = self.waiting.take(from, epoch, rows);
        let found_rows = found.as_ref().map_or(0, |it| it.batch.num_rows());
        let same = found.as_ref().is_some_and(|it| rows_hash(&it.batch) == step.rows_hash);
        if !same && !self.altered && !self.goes_past {
            let from = from.clone();
            return Ok(Some(Difference::Merged { from, expected_rows: step.rows, found_rows }));
        }
        self.now = step.virtual_time;
        match found {
            Some(passed) => self.merged(epoch, passed, watch),
            None => Ok(None),
        }
    }

    /// Other rows than in the run may be left over; and behind the last checkpoint there is no journal.
    pub(super) fn merge_rest(&mut self, epoch: u64, watch: &mut dyn Watch) -> Result<()> {
        for passed in self.waiting.rest(epoch) {
            self.open.steps += 1;
            if let Some(stopped) = self.merged(epoch.min(self.open.epoch), passed, watch)? {
                self.open.difference = Some(stopped);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn merged(
        &mut self,
        epoch: u64,
        passed: PassedBatch,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        let PassedBatch { batch, origin, .. } = passed;
        self.origin = origin;
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
        self.settle(epoch, None, made, watch)
    }

    /// The run had found that this row stops an operator. Its decision stands.
    pub(super) fn merge_skip(
        &mut self,
        epoch: u64,
        from: &TopicPartition,
        watch: &mut dyn Watch,
    ) -> Result<Option<Difference>> {
        // It was among the rows that were taken before.
        if self.taken_ahead.contains(from) {
            return Ok(None);
        }
        let taken = self.waiting.take(from, epoch, 1);
        if taken.is_none() && !self.altered && !self.goes_past {
            let from = from.clone();
            return Ok(Some(Difference::Merged { from, expected_rows: 1, found_rows: 0 }));
        }
        if let Some(passed) = taken.filter(|_| self.gives_skipped) {
            return self.merged(epoch, passed, watch);
        }
        self.open.dead_letters += u64::from(self.links.iter().any(|it| it.dead_letters));
        watch.refused(epoch, None, "", "skipped, as the run did: it stops an operator");
        Ok(None)
    }
}
