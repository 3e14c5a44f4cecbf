//! Links: the operators of one task, the images that they go back to, and the search for what stops one.

use std::ops::Range;
use std::sync::Arc;

use floe_core::chain::ChainStop;
use floe_core::image::{Capture, OperatorImage};
use floe_core::journal::Journal;
use floe_core::ports::{Operator, OperatorFactory};
use floe_core::{Error, EventTime, Result, TopicPartition};

use crate::dead_letter::DeadLetters;
use crate::task::Stopped;
use crate::wiring::OnError;

/// One operator of the chain.
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) on_error: OnError,
    pub(crate) factory: Arc<dyn OperatorFactory>,
    /// In place of `factory` until the next barrier: fuel is counted, so what a call does is decided.
    pub(crate) counted: Option<Arc<dyn OperatorFactory>>,
    pub(crate) operator: Box<dyn Operator>,
}

impl Link {
    /// A call that fails has failed: nothing is left that would decide it.
    pub(crate) fn is_decided(&self) -> bool {
        self.counted.is_some() || self.factory.counted().is_none()
    }
}

/// From here to the next barrier every call has its fuel counted: the instances go on from their images
/// in the compile that counts. Time may have chosen that it is so; what comes of it is the same.
pub(crate) fn count_fuel(chain: &mut [Link], task: &TopicPartition) -> Result<()> {
    for link in chain {
        let Some(counted) = link.factory.counted() else { continue };
        let image = link.operator.capture(Capture::Whole)?;
        link.operator = counted.restore(task, &image)?;
        link.operator.forget_captures();
        link.counted = Some(counted);
    }
    Ok(())
}

/// Behind the capture for a checkpoint, which holds what the instances go on from.
pub(crate) fn stop_counting(chain: &mut [Link], task: &TopicPartition) -> Result<()> {
    for link in chain.iter_mut().filter(|it| it.counted.is_some()) {
        let image = link.operator.capture(Capture::Whole)?;
        link.operator = link.factory.restore(task, &image)?;
        link.counted = None;
    }
    Ok(())
}

/// An instance that trapped is never used again: each is made anew from its image. No checkpoint holds
/// that image, so the next capture for one is whole.
pub(crate) fn go_back(
    chain: &mut [Link],
    task: &TopicPartition,
    images: &[OperatorImage],
) -> Result<()> {
    for (link, image) in chain.iter_mut().zip(images) {
        let factory = link.counted.as_ref().unwrap_or(&link.factory);
        link.operator = factory.restore(task, image)?;
        link.operator.forget_captures();
    }
    Ok(())
}

/// At a quiescent point: each operator's name, and what the next checkpoint keeps of it.
pub(crate) fn capture(
    chain: &mut [Link],
    task: &TopicPartition,
) -> Result<Vec<(String, OperatorImage)>> {
    let operators = chain
        .iter_mut()
        .map(|link| Ok((link.name.to_string(), link.operator.capture(Capture::Changes)?)))
        .collect::<Result<Vec<_>>>()?;
    stop_counting(chain, task)?;
    Ok(operators)
}

pub(crate) fn memory_bytes(chain: &[Link]) -> u64 {
    chain.iter().map(|it| it.operator.memory_bytes()).sum()
}

/// What a part of a batch changes of its task, and can be taken back.
pub(crate) struct Place<'a> {
    pub(crate) chain: &'a mut [Link],
    pub(crate) task: &'a TopicPartition,
    pub(crate) journal: &'a mut Journal,
    pub(crate) virtual_time: &'a mut EventTime,
    pub(crate) letters: &'a mut DeadLetters,
}

/// A batch that may hold something which stops an operator.
pub(crate) trait Suspected {
    fn place(&mut self) -> Place<'_>;

    /// The steps of the journal from this one on are no more.
    fn forget_steps(&mut self, behind: usize) {
        self.place().journal.steps.truncate(behind);
    }

    /// Runs a part of it through the chain, and keeps what came of it.
    fn run(&mut self, range: Range<usize>) -> Result<(), ChainStop>;

    /// This one alone stops an operator.
    fn pass_over(&mut self, at: usize, link: usize, error: &Error) -> Result<()>;
}

/// Runs part of a batch; where it stops an operator, goes back to the image from before it and runs its halves,
/// until the guilty one stands alone. If none fails alone, the parts stand.
pub(crate) fn isolate(batch: &mut dyn Suspected, range: Range<usize>) -> Result<(), Stopped> {
    let place = batch.place();
    let whole = |it: &mut Link| it.operator.capture(Capture::Whole);
    let images = place.chain.iter_mut().map(whole).collect::<Result<Vec<_>>>()?;
    let (steps, virtual_time, letters) =
        (place.journal.steps.len(), *place.virtual_time, place.letters.mark());
    let (link, error) = match batch.run(range.clone()) {
        Ok(()) => return Ok(()),
        Err(ChainStop::Refused(error)) => return Err(Stopped::Failed(error)),
        Err(ChainStop::Operator { link, error }) => (link, error),
    };
    let place = batch.place();
    go_back(place.chain, place.task, &images)?;
    *place.virtual_time = virtual_time;
    place.letters.back_to(letters);
    batch.forget_steps(steps);
    if range.len() > 1 {
        let middle = range.start + range.len() / 2;
        isolate(batch, range.start..middle)?;
        return isolate(batch, middle..range.end);
    }
    Ok(batch.pass_over(range.start, link, &error)?)
}
