//! The writer of one sink: rows of all workers, aligned at each barrier, become a committable.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Result};
use tokio::sync::mpsc;

use crate::alarm::Alarm;
use crate::run::Event;

/// What flows on the edge from a worker to a writer. A worker's rows come before its barrier.
pub(crate) enum WriterInput {
    Rows { epoch: Epoch, batch: RecordBatch },
    Barrier(Epoch),
}

pub(crate) struct Writer {
    pub(crate) sink: usize,
    pub(crate) workers: usize,
    pub(crate) writer: Box<dyn SinkWriter>,
    pub(crate) input: mpsc::Receiver<WriterInput>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl Writer {
    /// Ends when all workers are gone, and gives the sink's writer back.
    pub(crate) async fn run(mut self) -> (usize, Box<dyn SinkWriter>) {
        let _alarm = Alarm::new("writer", &self.events);
        if let Err(error) = self.write_all().await {
            // Nobody listens any more only when the run has ended already.
            let _ = self.events.send(Event::Failed(error));
        }
        (self.sink, self.writer)
    }

    async fn write_all(&mut self) -> Result<()> {
        // Chandy–Lamport: barriers seen per epoch; the epoch is whole when each worker's has come.
        let mut barriers: BTreeMap<Epoch, usize> = BTreeMap::new();
        while let Some(input) = self.input.recv().await {
            match input {
                WriterInput::Rows { epoch, batch } => self.writer.write(epoch, batch).await?,
                WriterInput::Barrier(epoch) => {
                    let seen = barriers.entry(epoch).or_default();
                    *seen += 1;
                    if *seen == self.workers {
                        barriers.remove(&epoch);
                        hit(CrashPoint::BeforeDataFileClose);
                        let committable = self.writer.prepare(epoch).await?;
                        hit(CrashPoint::AfterDataFileClose);
                        let event = Event::Prepared { epoch, sink: self.sink, committable };
                        if self.events.send(event).is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
