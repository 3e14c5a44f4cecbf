//! Behind the last checkpoint: records and rows without a journal, and nothing to compare with.

use floe_core::{EventTime, Record, Records, Result};

use super::{Difference, EpochDone, SinkRows, TaskReplay, Watch};
use crate::rows::RowHasher;
use crate::step::{Detail, Stepped, dirty};

impl TaskReplay {
    /// Runs records behind the last checkpoint: there is no journal to follow and nothing to compare with.
    ///
    /// Where a stage follows, records are run one by one, so that each row behind it has its record.
    pub fn run_on(&mut self, watch: &mut dyn Watch) -> Result<EpochDone> {
        self.open = EpochDone::default();
        self.rows.fill(RowHasher::default());
        for records in self.pending.drain() {
            let newest = records.iter().map(|it| it.timestamp()).max().unwrap_or(EventTime::MIN);
            self.now = self.now.max(newest);
            let each = if self.next.is_some() { 1 } else { records.len() };
            for from in (0..records.len()).step_by(each) {
                self.open.steps += 1;
                let part = records.slice(from..from + each);
                if let Some(stopped) = self.records(0, &part, watch)? {
                    self.open.difference = Some(stopped);
                    self.merge_by_record(watch)?;
                    return Ok(std::mem::take(&mut self.open));
                }
            }
        }
        self.merge_by_record(watch)?;
        Ok(std::mem::take(&mut self.open))
    }

    /// Rows behind the last checkpoint, those of one record after those of another.
    fn merge_by_record(&mut self, watch: &mut dyn Watch) -> Result<()> {
        for passed in self.waiting.rest(u64::MAX) {
            self.open.steps += 1;
            let origin = passed.origin.clone();
            let examine = self.examine.filter(|it| {
                origin
                    .as_ref()
                    .is_some_and(|at| it.offsets.0 <= at.last && at.first <= it.offsets.1)
            });
            let Some((origin, examine)) = origin.zip(examine) else {
                if let Some(stopped) = self.merged(0, passed, watch)? {
                    self.open.difference = Some(stopped);
                    break;
                }
                continue;
            };
            let looks = examine.detail != Detail::Rows;
            let before = if looks { self.capture()? } else { Vec::new() };
            let mut seen = Seen { stepped: Stepped::behind(&origin), watch };
            let stopped = self.merged(0, passed, &mut seen)?;
            let mut stepped = seen.stepped;
            match &stopped {
                Some(Difference::Stopped { operator, message, .. }) => {
                    stepped.stopped = Some((operator.clone(), message.clone()));
                }
                Some(_) | None if looks => stepped.dirty = dirty(&before, &self.capture()?),
                Some(_) | None => {}
            }
            watch.stepped(0, stepped);
            if stopped.is_some() {
                self.open.difference = stopped;
                break;
            }
        }
        Ok(())
    }
}

/// Takes down what rows of one record do, and tells the one who looks on, too.
struct Seen<'a> {
    stepped: Stepped,
    watch: &'a mut dyn Watch,
}

impl Watch for Seen<'_> {
    fn rows(&mut self, epoch: u64, records: Option<&Records>, rows: &SinkRows) {
        let SinkRows { sink, call, origin, batch } = rows;
        let (origin, batch) = (origin.clone(), batch.clone());
        self.stepped.emitted.push(SinkRows { sink: *sink, call: *call, origin, batch });
        self.watch.rows(epoch, records, rows);
    }

    fn refused(&mut self, epoch: u64, record: Option<Record<'_>>, operator: &str, why: &str) {
        self.stepped.rejected.push((operator.to_owned(), why.to_owned()));
        self.watch.refused(epoch, record, operator, why);
    }
}
