//! Records of one task that wait for the rest of their batch.

use std::collections::VecDeque;

use floe_core::{Offset, Records, TopicPartition};

/// Runs of records as they came, in offset order. `at` is how many of the first run are used up.
pub(crate) struct Pending {
    task: TopicPartition,
    runs: VecDeque<Records>,
    at: usize,
}

impl Pending {
    pub(crate) fn new(task: TopicPartition) -> Pending {
        Pending { task, runs: VecDeque::new(), at: 0 }
    }

    pub(crate) fn push(&mut self, records: Records) {
        if !records.is_empty() {
            self.runs.push_back(records);
        }
    }

    /// The last offset that is here.
    pub(crate) fn last(&self) -> Option<Offset> {
        self.runs.back().and_then(Records::last_offset)
    }

    /// All records up to `last`, those before `first` passed over.
    pub(crate) fn take(&mut self, first: Offset, last: Offset) -> Records {
        if self.at == 0
            && let Some(run) = self.runs.front()
            && run.first_offset() == Some(first)
            && run.last_offset() == Some(last)
        {
            return self.runs.pop_front().expect("it was looked at above");
        }
        let mut taken = Records::new(self.task.clone(), first);
        while let Some(run) = self.runs.front() {
            while self.at < run.len() {
                let record = run.get(self.at);
                if record.offset() > last {
                    return taken;
                }
                self.at += 1;
                if record.offset() >= first {
                    taken.push(record.offset(), record.timestamp(), record.key(), record.value());
                    for (name, value) in record.headers() {
                        taken.push_header(name, value);
                    }
                }
            }
            self.at = 0;
            self.runs.pop_front();
        }
        taken
    }

    /// Everything that is here, run by run.
    pub(crate) fn drain(&mut self) -> Vec<Records> {
        let mut runs: Vec<Records> = self.runs.drain(..).collect();
        if let Some(first) = runs.first_mut() {
            *first = first.slice(self.at..first.len());
        }
        self.at = 0;
        runs.retain(|it| !it.is_empty());
        runs
    }
}
