//! The rows that left by a call, held against the journal's mark of them.

use floe_core::journal::Step;
use floe_core::{Error, Result};

use super::{CallAt, Difference, TaskReplay};

impl TaskReplay {
    /// Takes the mark behind a call's step. The epoch goes on after rows that differ: the state is compared at
    /// its end.
    pub(super) fn compare_rows(&mut self, step: Step) -> Result<()> {
        let (_, planned) = &self.epochs[0];
        let told = match planned.journal.steps.get(self.at_step) {
            Some(Step::Rows(mark)) => {
                self.at_step += 1;
                Some(*mark)
            }
            _ => None,
        };
        if told == self.left || !self.is_marked || self.altered || self.open.difference.is_some() {
            return Ok(());
        }
        let at = match step {
            Step::Batch(batch) => CallAt::Records { first: batch.first, last: batch.last },
            Step::Watermark(watermark) => CallAt::Watermark(watermark),
            Step::Merge(merge) => {
                CallAt::Merged { from: self.upstream(merge.from)?, rows: merge.rows }
            }
            Step::Skip(_)
            | Step::MergeSkip { .. }
            | Step::Schema(_)
            | Step::Retry(_)
            | Step::Rows(_) => return Err(self.rows_of_no_call(self.open.epoch)),
        };
        self.open.difference = Some(Difference::Rows { call: self.open.steps, at });
        Ok(())
    }

    pub(super) fn rows_of_no_call(&self, epoch: u64) -> Error {
        Error::corrupt(format!(
            "the journal of {} in epoch {epoch} tells of rows behind a step that is no call",
            self.task
        ))
    }
}
