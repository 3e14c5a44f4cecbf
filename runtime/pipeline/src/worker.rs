//! A worker: runs tasks. Records, then a barrier, in the order in which they were sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Records, Result, TopicPartition};

use crate::dead_letter;
use crate::idle::Watermarks;
use crate::keyed::KeyedTask;
use crate::overdue::Overdue;
use crate::passed::{Next, Passed, PassedRows};
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
    /// Where it is overdue the worker captures before it comes, and passes over it then.
    Barrier(Epoch),
}

/// A checkpoint that waits so long for a barrier to be aligned is told of.
const LONG_ALIGNMENT: Duration = Duration::from_secs(1);

/// Runs tasks of partitions.
pub(crate) struct Worker {
    pub(crate) tasks: BTreeMap<TopicPartition, Task>,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) out: Outgoing,
}

/// Runs tasks of a keyed stage.
pub(crate) struct KeyedWorker {
    pub(crate) tasks: BTreeMap<u32, KeyedTask>,
    pub(crate) out: Outgoing,
    /// What is captured, while what its barrier overtook still comes.
    pub(crate) overtaken: Option<Captured>,
}

/// All tasks of a worker at one barrier.
pub(crate) struct Captured {
    pub(crate) epoch: Epoch,
    pub(crate) tasks: Vec<CapturedTask>,
    pub(crate) pause: Duration,
    /// Something that came before the barrier is left for the next epoch.
    pub(crate) leaves: bool,
}

/// Where a worker's output goes, and the epoch that it belongs to now.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) epoch: Epoch,
    /// Those of rows, then the one of dead letters, where there is one.
    pub(crate) sink_count: usize,
    pub(crate) row_sinks: usize,
    pub(crate) dead_letters_max: u64,
    pub(crate) dead_letters_in_epoch: u64,
    /// Behind the last stage there is none.
    pub(crate) next: Option<Next>,
    pub(crate) status: Arc<Status>,
    pub(crate) overdue: Arc<Overdue>,
}

/// What one element led to, to be sent in this order.
#[derive(Default)]
pub(crate) struct Handled {
    /// (sink, input of its writer).
    pub(crate) to_writers: Vec<(usize, WriterInput)>,
    /// (worker of the next stage, what it gets).
    pub(crate) to_next: Vec<(usize, Passed)>,
    pub(crate) event: Option<Event>,
}

impl Worker {
    pub(crate) fn handle(&mut self, element: Element) -> Result<Handled, Stopped> {
        match element {
            Element::Records(records) => self.take(&records),
            Element::Watermark { task, watermark } => self.take_watermark(&task, watermark),
            // It was overdue.
            Element::Barrier(epoch) if epoch < self.out.epoch => Ok(Handled::default()),
            Element::Barrier(epoch) => Ok(self.barrier(epoch)?.captured(false)),
        }
    }

    /// Where the barrier is overdue, captures now: the records before it that were not taken yet belong to the
    /// next epoch then, and their offsets say so. Nothing is in flight by that.
    pub(crate) fn overtake(&mut self, next: &Element) -> Result<Handled, Stopped> {
        let epoch = self.out.epoch;
        if matches!(next, Element::Barrier(_)) || self.out.overdue.epoch() != Some(epoch) {
            return Ok(Handled::default());
        }
        Ok(self.barrier(epoch)?.captured(true))
    }

    fn barrier(&mut self, epoch: Epoch) -> Result<AtBarrier> {
        self.out.barrier(epoch, self.tasks.values_mut().map(Task::capture))
    }

    fn take(&mut self, records: &Records) -> Result<Handled, Stopped> {
        let (epoch, status) = (self.out.epoch, Arc::clone(&self.out.status));
        let task = task(&mut self.tasks, records.topic_partition());
        let output = task.take(records, epoch, &status)?;
        let (number, virtual_time) = (task.number, task.virtual_time);
        Status::add(&status.records_in, records.len() as u64);
        self.show(records.topic_partition());
        Ok(self.out.hand_on(number, virtual_time, output)?)
    }

    fn take_watermark(
        &mut self,
        of: &TopicPartition,
        watermark: EventTime,
    ) -> Result<Handled, Stopped> {
        let (epoch, status) = (self.out.epoch, Arc::clone(&self.out.status));
        let task = task(&mut self.tasks, of);
        let output = task.take_watermark(watermark, epoch, &status)?;
        let (number, virtual_time) = (task.number, task.virtual_time);
        self.show(of);
        Ok(self.out.hand_on(number, virtual_time, output)?)
    }

    fn show(&self, task: &TopicPartition) {
        let task = &self.tasks[task];
        self.watermarks.put(&task.task, task.watermark);
        let status = &self.out.status;
        status.virtual_time_ms.fetch_max(task.virtual_time.0, Ordering::Relaxed);
        status.update_task(&task.task, |it| {
            it.next_offset = task.next_offset.0;
            it.records = task.records;
            it.memory_bytes = task.memory_bytes();
            it.virtual_time_ms = (task.records > 0).then_some(task.virtual_time.0);
            it.watermark_ms = task.watermark.begun().map(|it| it.0);
        });
    }
}

fn task<'a>(tasks: &'a mut BTreeMap<TopicPartition, Task>, task: &TopicPartition) -> &'a mut Task {
    tasks.get_mut(task).expect("the reader knows each task's worker")
}

impl KeyedWorker {
    /// What its tasks' checkpoint had in flight, to be taken first. It is handed out once.
    pub(crate) fn restored(&mut self) -> Vec<Passed> {
        self.tasks.values_mut().flat_map(|it| std::mem::take(&mut it.restored)).collect()
    }

    /// Rows or a watermark; barriers are aligned before they come here.
    pub(crate) fn handle(&mut self, passed: Passed) -> Result<Handled, Stopped> {
        match passed {
            Passed::Rows(rows) => self.take(&rows),
            Passed::Watermark { from, to, watermark } => {
                let (epoch, status) = (self.out.epoch, Arc::clone(&self.out.status));
                let mut handled = Handled::default();
                let told = |it: &&mut KeyedTask| to.is_none_or(|to| it.number == to);
                for task in self.tasks.values_mut().filter(told) {
                    let output = task.take_watermark(from, watermark, epoch, &status)?;
                    let more = self.out.hand_on(task.number, task.virtual_time, output)?;
                    handled.to_writers.extend(more.to_writers);
                    handled.to_next.extend(more.to_next);
                    show(task, &status);
                }
                Ok(handled)
            }
            Passed::Barrier(_) => unreachable!("the inbox aligns barriers"),
        }
    }

    fn take(&mut self, rows: &PassedRows) -> Result<Handled, Stopped> {
        let (epoch, status) = (self.out.epoch, Arc::clone(&self.out.status));
        let task = self.tasks.get_mut(&rows.to).expect("rows come to the worker of their task");
        let output = task.take(rows, epoch, &status)?;
        show(task, &status);
        Ok(self.out.hand_on(task.number, task.virtual_time, output)?)
    }

    /// All inputs have given the barrier, and everything before it is processed.
    pub(crate) fn barrier(&mut self, epoch: Epoch, aligned_in: Duration) -> Result<Handled> {
        self.out.status.alignments.observe(aligned_in);
        if aligned_in >= LONG_ALIGNMENT {
            let tasks = self.tasks.values().map(|it| it.task.to_string()).collect::<Vec<_>>();
            tracing::info!(
                %epoch,
                seconds = aligned_in.as_secs_f64(),
                tasks = tasks.join(", "),
                "a barrier waited long for the slowest task before it: the checkpoint is as much later, and no record"
            );
        }
        Ok(self.barrier_now(epoch)?.captured(false))
    }

    fn barrier_now(&mut self, epoch: Epoch) -> Result<AtBarrier> {
        self.out.barrier(epoch, self.tasks.values_mut().map(KeyedTask::capture))
    }

    /// The barrier goes on at once. What it overtakes is told by `in_flight`, before the next barrier comes.
    pub(crate) fn overtake(&mut self, epoch: Epoch) -> Result<Handled> {
        assert!(self.overtaken.is_none(), "one barrier after the other");
        let mut at_barrier = self.barrier_now(epoch)?;
        for (captured, task) in at_barrier.captured.tasks.iter_mut().zip(self.tasks.values()) {
            captured.in_flight.upstream = task.watermarks_taken();
        }
        self.overtaken = Some(at_barrier.captured);
        Ok(at_barrier.handled)
    }

    /// All inputs have given the barrier that overtook this.
    pub(crate) fn in_flight(
        &mut self,
        epoch: Epoch,
        passed: &[Passed],
        aligned_in: Duration,
    ) -> Handled {
        self.out.status.alignments.observe(aligned_in);
        let mut captured = self.overtaken.take().expect("what is in flight was overtaken");
        assert_eq!(captured.epoch, epoch, "barriers come in order");
        for (captured, task) in captured.tasks.iter_mut().zip(self.tasks.values()) {
            let of_task = passed.iter().filter_map(|it| task.in_flight(it));
            captured.in_flight.passed = of_task.collect();
            if captured.in_flight.is_empty() {
                captured.in_flight.upstream.clear();
            }
        }
        captured.leaves = !passed.is_empty();
        let rows = captured.tasks.iter().map(|it| it.in_flight.rows()).sum::<u64>();
        let bytes = passed.iter().map(Passed::bytes).sum::<u64>();
        let status = &self.out.status;
        Status::add(&status.barriers_overtook, 1);
        Status::add(&status.bytes_overtaken, bytes);
        let tasks = self.tasks.values().map(|it| it.task.to_string()).collect::<Vec<_>>();
        tracing::info!(
            %epoch,
            rows,
            bytes,
            tasks = tasks.join(", "),
            "a barrier overtook rows that wait for a slow task: they are in the checkpoint, and in the tables with the next epoch"
        );
        Handled { event: Some(Event::Captured(captured)), ..Handled::default() }
    }
}

fn show(task: &KeyedTask, status: &Status) {
    status.update_task(&task.task, |it| {
        // Its input has no offsets, and nothing of it lies in a topic.
        it.next_offset = task.records as i64;
        it.end_offset = task.records as i64;
        it.records = task.records;
        it.memory_bytes = task.memory_bytes();
        it.virtual_time_ms = (task.records > 0).then_some(task.virtual_time.0);
        it.watermark_ms = task.watermark.begun().map(|it| it.0);
    });
}

impl Outgoing {
    /// Rows go before the watermark that they were made at.
    fn hand_on(&mut self, from: u32, virtual_time: EventTime, output: Output) -> Result<Handled> {
        let mut handled = Handled::default();
        for (sink, batch) in output.rows {
            Status::add(&self.status.rows_out, batch.num_rows() as u64);
            handled.to_writers.push((sink, WriterInput::Rows { epoch: self.epoch, batch }));
        }
        if let Some(letters) = output.dead_letters {
            self.count_dead_letters(&letters)?;
            let input = WriterInput::Rows { epoch: self.epoch, batch: letters };
            handled.to_writers.push((self.row_sinks, input));
        }
        let Some(next) = &self.next else { return Ok(handled) };
        for (batch, origin) in output.next {
            for (to, batch) in next.part(&batch)? {
                let rows = PassedRows { from, to, batch, origin: origin.clone(), virtual_time };
                handled.to_next.push((next.worker_of(to), Passed::Rows(rows)));
            }
        }
        if let Some(watermark) = output.watermark {
            let told = |worker| (worker, Passed::Watermark { from, to: None, watermark });
            handled.to_next.extend((0..next.workers).map(told));
        }
        Ok(handled)
    }

    fn count_dead_letters(&mut self, letters: &RecordBatch) -> Result<()> {
        assert!(self.sink_count > self.row_sinks, "on-error = \"dead-letter\" comes with a table");
        self.dead_letters_in_epoch += letters.num_rows() as u64;
        if self.dead_letters_in_epoch <= self.dead_letters_max {
            return Ok(());
        }
        Err(Error::operator(format!(
            "{} records became dead letters in epoch {}, and [dead-letters] max is {}\n  the last: {}\n  nothing of epoch {} is in the tables, and none of these letters\n  → floe replay --checkpoint {} --step shows what becomes of its records; raise max if they are meant to be letters",
            self.dead_letters_in_epoch,
            self.epoch,
            self.dead_letters_max,
            dead_letter::last_of(letters),
            self.epoch,
            self.epoch.0.saturating_sub(1)
        )))
    }

    /// All that was taken is processed and its rows handed on: the quiescent point.
    fn barrier(
        &mut self,
        epoch: Epoch,
        capture: impl Iterator<Item = Result<CapturedTask>>,
    ) -> Result<AtBarrier> {
        assert_eq!(epoch, self.epoch, "barriers come in order");
        hit(CrashPoint::BeforeCapture);
        let begin = Instant::now();
        let tasks = capture.collect::<Result<Vec<_>>>()?;
        let pause = begin.elapsed();
        hit(CrashPoint::AfterCapture);
        self.epoch = epoch.next();
        self.dead_letters_in_epoch = 0;
        let to_writers =
            (0..self.sink_count).map(|sink| (sink, WriterInput::Barrier(epoch))).collect();
        let workers = self.next.as_ref().map_or(0, |it| it.workers);
        let to_next = (0..workers).map(|worker| (worker, Passed::Barrier(epoch))).collect();
        let captured = Captured { epoch, tasks, pause, leaves: false };
        Ok(AtBarrier { handled: Handled { to_writers, to_next, event: None }, captured })
    }
}

/// What a barrier led to: the barriers behind it, and what was captured.
struct AtBarrier {
    handled: Handled,
    captured: Captured,
}

impl AtBarrier {
    fn captured(self, leaves: bool) -> Handled {
        let captured = Captured { leaves, ..self.captured };
        Handled { event: Some(Event::Captured(captured)), ..self.handled }
    }
}
