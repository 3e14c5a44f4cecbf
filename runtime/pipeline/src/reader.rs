//! The reader: drives the source and says which worker gets what, in order. It never waits itself.

use std::collections::BTreeMap;

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::ports::Source;
use floe_core::{Epoch, Error, Offset, Position, Result, TopicPartition};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::idle::IdleWatch;
use crate::run::Event;
use crate::worker::Element;

pub(crate) enum ReaderCommand {
    /// Send barrier `epoch` behind everything sent so far.
    Inject(Epoch),
    Hold,
    Release,
    Report(Position),
    /// Look at the partitions again: lag for people, and whether there are more of them.
    Look,
}

pub(crate) struct Reader {
    pub(crate) source: Box<dyn Source>,
    pub(crate) worker_count: usize,
    pub(crate) worker_of: BTreeMap<TopicPartition, usize>,
    pub(crate) position: Position,
    /// With `--until-end`: the ends at the start.
    pub(crate) ends: Option<BTreeMap<TopicPartition, Offset>>,
    pub(crate) batch_records_max: usize,
    pub(crate) poll_timeout: Duration,
    /// Where `event-time` has `idle-after`.
    pub(crate) idle: Option<IdleWatch>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    held: bool,
    /// Records were handed out since the last barrier.
    took: bool,
    ended: bool,
    read_any: bool,
}

/// Elements to send, each with its worker, in order.
pub(crate) type Sends = Vec<(usize, Element)>;

impl Reader {
    pub(crate) fn new(
        source: Box<dyn Source>,
        position: Position,
        events: mpsc::UnboundedSender<Event>,
    ) -> Reader {
        Reader {
            source,
            worker_count: 0,
            worker_of: BTreeMap::new(),
            position,
            ends: None,
            batch_records_max: 8192,
            poll_timeout: Duration::from_millis(20),
            idle: None,
            events,
            held: false,
            took: false,
            ended: false,
            read_any: false,
        }
    }

    /// While held, only a command brings the reader on.
    pub(crate) fn held(&self) -> bool {
        self.held
    }

    pub(crate) fn obey(&mut self, command: ReaderCommand) -> Sends {
        match command {
            ReaderCommand::Hold => self.held = true,
            ReaderCommand::Release => {
                self.held = self.ended;
                if let Some(idle) = &mut self.idle {
                    idle.resume();
                }
            }
            ReaderCommand::Inject(epoch) => {
                self.took = false;
                return (0..self.worker_count).map(|it| (it, Element::Barrier(epoch))).collect();
            }
            ReaderCommand::Report(position) => {
                hit(CrashPoint::BeforeReport);
                // For dashboards only: a failure is said and changes nothing.
                if let Err(error) = self.source.report(&position) {
                    tracing::warn!("could not report offsets to the consumer group: {error}");
                }
                hit(CrashPoint::AfterReport);
            }
            ReaderCommand::Look => {
                let partitions = self.source.partitions();
                if let (Some(idle), Ok(partitions)) = (&mut self.idle, &partitions) {
                    idle.ends(partitions);
                }
                let _ = self.events.send(Event::Partitions(partitions));
            }
        }
        Vec::new()
    }

    /// Takes what the source has. At the end of the input it holds itself and says so.
    pub(crate) fn poll(&mut self) -> Result<Sends> {
        assert!(!self.held);
        if !self.read_any {
            hit(CrashPoint::BeforeFirstRead);
        }
        if self.notice_end() {
            return Ok(Vec::new());
        }
        let batches = self.source.poll(self.poll_timeout, self.batch_records_max)?;
        let mut sends = Vec::with_capacity(batches.len());
        for records in batches {
            if !records.is_empty() {
                if !self.read_any {
                    self.read_any = true;
                    hit(CrashPoint::AfterFirstRead);
                }
                self.take();
                if let Some(idle) = &mut self.idle {
                    idle.record(records.topic_partition());
                }
            }
            let task = records.topic_partition();
            let (Some(position), Some(worker)) =
                (self.position.0.get_mut(task), self.worker_of.get(task))
            else {
                return Err(Error::refused(format!(
                    "the source hands out records of {task}, which was not assigned"
                )));
            };
            *position = (*position).max(records.next_offset());
            sends.push((*worker, Element::Records(records)));
        }
        if let Some(idle) = &mut self.idle {
            let told = idle.look(&self.position);
            if !told.is_empty() {
                self.take();
            }
            let element =
                |(task, watermark)| (self.worker_of[&task], Element::Watermark { task, watermark });
            sends.extend(told.into_iter().map(element));
        }
        Ok(sends)
    }

    /// Says once an epoch that it has something in it.
    fn take(&mut self) {
        if !self.took {
            self.took = true;
            let _ = self.events.send(Event::Took);
        }
    }

    fn notice_end(&mut self) -> bool {
        let Some(ends) = &self.ends else { return false };
        let reached = |(task, end): (&TopicPartition, &Offset)| {
            self.position.0.get(task).is_some_and(|position| position >= end)
        };
        if !self.ended && ends.iter().all(reached) {
            self.ended = true;
            self.held = true;
            let _ = self.events.send(Event::InputEnded);
        }
        self.ended
    }
}
