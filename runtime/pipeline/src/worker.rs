//! A worker: runs tasks. Records, then a barrier, in the order in which they were sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow_array::RecordBatch;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::{Epoch, Error, EventTime, Records, Result, TopicPartition};

use crate::idle::Watermarks;
use crate::run::Event;
use crate::task::{Output, Stopped, Task};
use crate::telemetry::Status;
use crate::writer::WriterInput;

/// What flows on the edge from the reader to a worker.
pub(crate) enum Element {
    Records(Records),
    /// For a task whose partition is idle.
    Watermark {
        task: TopicPartition,
        watermark: EventTime,
    },
    /// Never overtakes records.
    Barrier(Epoch),
}

pub(crate) struct Worker {
    pub(crate) tasks: BTreeMap<TopicPartition, Task>,
    /// The epoch that records belong to now.
    pub(crate) epoch: Epoch,
    /// Those of rows, then the one of dead letters, where there is one.
    pub(crate) sink_count: usize,
    pub(crate) row_sinks: usize,
    pub(crate) dead_letters_max: u64,
    pub(crate) dead_letters_in_epoch: u64,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) status: Arc<Status>,
}

/// What one element led to, to be sent in this order.
#[derive(Default)]
pub(crate) struct Handled {
    /// (sink, input of its writer).
    pub(crate) to_writers: Vec<(usize, WriterInput)>,
    pub(crate) event: Option<Event>,
}

impl Worker {
    pub(crate) fn handle(&mut self, element: Element) -> Result<Handled, Stopped> {
        match element {
            Element::Records(records) => self.take(&records),
            Element::Watermark { task, watermark } => self.take_watermark(&task, watermark),
            Element::Barrier(epoch) => Ok(self.barrier(epoch)?),
        }
    }

    fn take(&mut self, records: &Records) -> Result<Handled, Stopped> {
        let (epoch, status) = (self.epoch, Arc::clone(&self.status));
        let output = self.task(records.topic_partition()).take(records, epoch, &status)?;
        Status::add(&self.status.records_in, records.len() as u64);
        self.show(records.topic_partition());
        self.hand_on(output)
    }

    fn take_watermark(
        &mut self,
        task: &TopicPartition,
        watermark: EventTime,
    ) -> Result<Handled, Stopped> {
        let (epoch, status) = (self.epoch, Arc::clone(&self.status));
        let output = self.task(task).take_watermark(watermark, epoch, &status)?;
        self.show(task);
        self.hand_on(output)
    }

    fn task(&mut self, task: &TopicPartition) -> &mut Task {
        self.tasks.get_mut(task).expect("the reader knows each task's worker")
    }

    fn hand_on(&mut self, output: Output) -> Result<Handled, Stopped> {
        let mut to_writers = Vec::with_capacity(output.rows.len());
        for (sink, batch) in output.rows {
            Status::add(&self.status.rows_out, batch.num_rows() as u64);
            to_writers.push((sink, WriterInput::Rows { epoch: self.epoch, batch }));
        }
        if let Some(letters) = output.dead_letters {
            self.count_dead_letters(&letters)?;
            to_writers
                .push((self.row_sinks, WriterInput::Rows { epoch: self.epoch, batch: letters }));
        }
        Ok(Handled { to_writers, event: None })
    }

    fn show(&self, task: &TopicPartition) {
        let task = &self.tasks[task];
        self.watermarks.put(&task.task, task.watermark);
        self.status.virtual_time_ms.fetch_max(task.virtual_time.0, Ordering::Relaxed);
        self.status.update_task(&task.task, |it| {
            it.next_offset = task.next_offset.0;
            it.records = task.records;
            it.memory_bytes = task.memory_bytes();
            it.virtual_time_ms = (task.records > 0).then_some(task.virtual_time.0);
            it.watermark_ms = task.watermark.begun().map(|it| it.0);
        });
    }

    fn count_dead_letters(&mut self, letters: &RecordBatch) -> Result<()> {
        assert!(
            self.sink_count > self.row_sinks,
            "on-error = \"dead-letter\" comes with a table for them"
        );
        self.dead_letters_in_epoch += letters.num_rows() as u64;
        if self.dead_letters_in_epoch <= self.dead_letters_max {
            return Ok(());
        }
        Err(Error::operator(format!(
            "{} records became dead letters in epoch {}, and [dead-letters] max is {}\n  nothing of epoch {} is in the tables\n  → look at the newest rows of the dead letters' table; raise max if they are meant to go there",
            self.dead_letters_in_epoch, self.epoch, self.dead_letters_max, self.epoch
        )))
    }

    /// All records before the barrier are processed and their rows handed on: the quiescent point.
    fn barrier(&mut self, epoch: Epoch) -> Result<Handled> {
        assert_eq!(epoch, self.epoch, "barriers come in order");
        hit(CrashPoint::BeforeCapture);
        let begin = Instant::now();
        let tasks = self.tasks.values_mut().map(Task::capture).collect::<Result<Vec<_>>>()?;
        let pause = begin.elapsed();
        hit(CrashPoint::AfterCapture);
        self.epoch = epoch.next();
        self.dead_letters_in_epoch = 0;
        let to_writers =
            (0..self.sink_count).map(|sink| (sink, WriterInput::Barrier(epoch))).collect();
        Ok(Handled { to_writers, event: Some(Event::Captured { epoch, tasks, pause }) })
    }
}
