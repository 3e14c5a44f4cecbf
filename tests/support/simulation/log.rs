//! A wrapper around the production log: it notes what checkpoints have in flight, and plants the bugs that no
//! store can express.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use floe_core::committable::{Committable, ManifestRef};
use floe_core::epoch::Slot;
use floe_core::image::PageRun;
use floe_core::journal::{Journal, Step};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointDraft, CheckpointLog, LogView, SweepReport};
use floe_core::task::CapturedTask;
use floe_core::{ErrorKind, EventTime, Generation, Result};

use crate::simulation::mutant::Mutant;
use crate::simulation::sink::rows_of;
use crate::simulation::world::{PIPELINE, State, World};

pub struct WatchedLog {
    pub inner: Box<dyn CheckpointLog>,
    pub world: Arc<World>,
    pub store: usize,
    pub mutant: Option<Mutant>,
}

#[async_trait]
impl CheckpointLog for WatchedLog {
    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    fn manifests(&self) -> Vec<(ManifestRef, Arc<CheckpointManifest>)> {
        let mut all = self.inner.manifests();
        if self.mutant == Some(Mutant::CommitForgotten)
            && let Some((_, newest)) = all.last_mut()
        {
            let mut altered = (**newest).clone();
            altered.sinks.iter_mut().for_each(|it| it.committable = Committable::EMPTY);
            *newest = Arc::new(altered);
        }
        all
    }

    fn view(&self) -> Arc<dyn LogView> {
        self.inner.view()
    }

    /// As `async_trait` would write it, but for the log itself: it can't be shared between threads.
    fn restore<'log, 'manifest, 'all>(
        &'log self,
        manifest: &'manifest CheckpointManifest,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<CapturedTask>>> + Send + 'all>>
    where
        'log: 'all,
        'manifest: 'all,
        Self: 'all,
    {
        let restored = self.inner.restore(manifest);
        let no_time = self.mutant == Some(Mutant::VirtualTimeNotRestored);
        let no_watermark = self.mutant == Some(Mutant::WatermarkNotRestored);
        let exchanged = self.mutant == Some(Mutant::KeyedStateExchanged);
        let dropped = self.mutant == Some(Mutant::InFlightDropped);
        let twice = self.mutant == Some(Mutant::InFlightTwice);
        Box::pin(async move {
            let mut tasks = restored.await?;
            if no_time {
                tasks.iter_mut().for_each(|it| it.virtual_time = EventTime::MIN);
            }
            if no_watermark {
                tasks.iter_mut().for_each(|it| it.watermark = EventTime::MIN);
            }
            for task in &mut tasks {
                let passed = &mut task.in_flight.passed;
                if dropped {
                    passed.clear();
                }
                if twice {
                    passed.extend_from_within(..);
                }
            }
            let mut keyed = tasks.iter_mut().filter(|it| it.task.stage().is_some());
            if let (true, Some(first), Some(second)) = (exchanged, keyed.next(), keyed.next()) {
                std::mem::swap(&mut first.operators, &mut second.operators);
            }
            Ok(tasks)
        })
    }

    async fn complete(
        &mut self,
        mut draft: CheckpointDraft,
    ) -> Result<(ManifestRef, Arc<CheckpointManifest>)> {
        if self.mutant == Some(Mutant::MergeOrderLost) {
            draft.tasks.iter_mut().for_each(|it| exchange_merges(&mut it.journal));
        }
        if self.mutant == Some(Mutant::UnlikePagesShared) {
            share_unlike(&mut draft.tasks);
        }
        let (epoch, sinks) = (draft.epoch, draft.sinks.clone());
        // An attempt of an epoch that came to nothing is replaced by the one that follows it.
        let in_flight = draft.tasks.iter().flat_map(|it| it.in_flight.batches());
        let rows: Vec<_> = in_flight.flat_map(|(_, batch)| rows_of(batch)).collect();
        let generation = self.inner.generation();
        self.world.with(|it| it.history.in_flight.insert((generation, epoch), rows));
        let done = self.inner.complete(draft).await;
        match &done {
            Err(error)
                if matches!(error.kind, ErrorKind::Fenced { .. })
                    && self.mutant == Some(Mutant::FenceIgnored) =>
            {
                match self.inner.manifests().last() {
                    Some((place, newest)) => {
                        let mut taken = (**newest).clone();
                        taken.id = self.world.with(State::new_id);
                        (taken.epoch, taken.sinks) = (epoch, sinks);
                        let slot = Slot(place.slot.0 + 1);
                        Ok((ManifestRef { slot, id: taken.id, epoch }, Arc::new(taken)))
                    }
                    None => done,
                }
            }
            _ => done,
        }
    }

    async fn savepoint_asked(&mut self) -> Result<bool> {
        self.inner.savepoint_asked().await
    }

    async fn sweep(&mut self, keep: usize, pending: &[ManifestRef]) -> Result<SweepReport> {
        let report = self.inner.sweep(keep, pending).await?;
        if self.mutant == Some(Mutant::SweepReachable)
            && let Some((_, newest)) = self.inner.manifests().last()
            && let Some(object) = newest.objects.first()
        {
            let path = format!("{PIPELINE}/{}", object.path);
            self.world.with(|it| it.stores[self.store].remove(&path));
        }
        Ok(report)
    }
}

/// A page stands for those of that number in all later tasks, whatever they hold.
fn share_unlike(tasks: &mut [CapturedTask]) {
    let mut first: BTreeMap<u32, Bytes> = BTreeMap::new();
    for (_, image) in tasks.iter_mut().flat_map(|it| &mut it.operators) {
        let pages = image.memory.pages().map(|(number, content)| {
            let content = first.entry(number).or_insert_with(|| Bytes::copy_from_slice(content));
            PageRun { first_page: number, content: content.clone() }
        });
        image.memory.runs = pages.collect();
    }
}

/// The first two merges behind one another that are of two tasks; what the journal has between them stays there.
fn exchange_merges(journal: &mut Journal) {
    let from = |it: &Step| match it {
        Step::Merge(merge) => Some(merge.from),
        _ => None,
    };
    let merges: Vec<(usize, u32)> =
        journal.steps.iter().enumerate().filter_map(|(at, it)| Some((at, from(it)?))).collect();
    if let Some(two) = merges.windows(2).find(|it| it[0].1 != it[1].1) {
        journal.steps.swap(two[0].0, two[1].0);
    }
}
