//! Inbox: what waits for a worker of a keyed stage, from each worker of the stage before; barriers are aligned
//! here, or overtake.
//!
//! An input that has given barrier n gives nothing more until all others have given it, too (Chandy–Lamport):
//! what it sends meanwhile waits, and fills its edge, which is backpressure. An edge leads from a stage to the
//! next and never back, and barriers are sent to all inputs before anything behind them, so none waits for ever.
//!
//! A barrier that is overdue does not wait: the worker captures at once, and what lies before the barrier, or
//! still comes before it, is told as in flight. It stays where it is and is taken afterwards, in the next epoch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use floe_core::Epoch;

use crate::overdue::{ASK_INTERVAL, Overdue};
use crate::passed::Passed;

/// Elements on the edge between two workers. One batch of a task makes one for each task behind the edge.
pub(crate) const PASSED_MAX: usize = 16;

#[derive(Clone)]
pub(crate) struct Inbox {
    inputs: Vec<Input>,
    /// What the checkpoint had in flight: taken before anything new.
    restored: VecDeque<Passed>,
    /// The input that is looked at first: the one behind the last that gave something.
    turn: usize,
    /// When the first input gave the barrier that others have not given yet.
    aligning: Option<Instant>,
    /// The worker has captured, and not all inputs have given the barrier.
    overtaken: Option<Overtaken>,
    in_flight_bytes_max: u64,
}

#[derive(Clone, Default)]
struct Input {
    waiting: VecDeque<Passed>,
    /// It has given this barrier, and others have not.
    at_barrier: Option<Epoch>,
    /// The newest barrier that came, be it waiting.
    came: Option<Epoch>,
}

#[derive(Clone)]
struct Overtaken {
    epoch: Epoch,
    since: Instant,
    passed: Vec<Passed>,
    bytes: u64,
}

/// What a worker is handed.
pub(crate) enum Taken {
    /// Rows or a watermark.
    Element(Passed),
    /// Of all inputs, so long after the first of them gave it.
    Barrier { epoch: Epoch, aligned_in: Duration },
    /// It overtakes what waits: all is to be captured now.
    Overtaking(Epoch),
    /// Behind `Overtaking`: all inputs have given the barrier, and this is what was before it and not taken.
    InFlight { epoch: Epoch, passed: Vec<Passed>, aligned_in: Duration },
}

impl Inbox {
    pub(crate) fn new(inputs: usize, restored: Vec<Passed>, in_flight_bytes_max: u64) -> Inbox {
        Inbox {
            inputs: (0..inputs).map(|_| Input::default()).collect(),
            restored: restored.into(),
            turn: 0,
            aligning: None,
            overtaken: None,
            in_flight_bytes_max,
        }
    }

    /// Before an overdue barrier an edge takes more than it else does, so that the barrier comes through.
    pub(crate) fn is_full(&self, input: usize, overdue: Option<Epoch>) -> bool {
        let input = &self.inputs[input];
        let before_barrier = overdue.is_some_and(|it| input.came.is_none_or(|came| came < it));
        input.waiting.len() >= PASSED_MAX
            && !(before_barrier && self.in_flight_bytes() < self.in_flight_bytes_max)
    }

    pub(crate) fn push(&mut self, input: usize, passed: Passed) {
        let of = &mut self.inputs[input];
        let overtaken = self.overtaken.as_mut().filter(|it| of.came.is_none_or(|e| e < it.epoch));
        match (&passed, overtaken) {
            (Passed::Barrier(epoch), Some(overtaken)) => {
                assert_eq!(*epoch, overtaken.epoch, "barriers come in order");
                of.came = Some(*epoch);
                return;
            }
            (Passed::Barrier(epoch), None) => of.came = Some(*epoch),
            (Passed::Rows(_) | Passed::Watermark { .. }, Some(overtaken)) => {
                overtaken.bytes += passed.bytes();
                overtaken.passed.push(passed.clone());
            }
            (Passed::Rows(_) | Passed::Watermark { .. }, None) => {}
        }
        of.waiting.push_back(passed);
    }

    /// Something that may be taken now is there.
    pub(crate) fn is_ready(&self, overdue: Option<Epoch>) -> bool {
        !self.restored.is_empty()
            || self.inputs.iter().any(|it| it.at_barrier.is_none() && !it.waiting.is_empty())
            || self.has_all_in_flight()
            || self.overtakes(overdue)
    }

    /// The next element of an input that is not at the barrier, or the barrier of all.
    pub(crate) fn take(&mut self, overdue: Option<Epoch>) -> Option<Taken> {
        if self.has_all_in_flight() {
            let Overtaken { epoch, since, passed, .. } = self.overtaken.take()?;
            return Some(Taken::InFlight { epoch, passed, aligned_in: since.elapsed() });
        }
        if self.overtakes(overdue) {
            return overdue.map(|it| self.overtake(it));
        }
        if let Some(restored) = self.restored.pop_front() {
            return Some(Taken::Element(restored));
        }
        loop {
            let count = self.inputs.len();
            let next = (0..count).map(|it| (self.turn + it) % count).find(|it| {
                let input = &self.inputs[*it];
                input.at_barrier.is_none() && !input.waiting.is_empty()
            })?;
            self.turn = next + 1;
            match self.inputs[next].waiting.pop_front()? {
                Passed::Barrier(epoch) => {
                    self.inputs[next].at_barrier = Some(epoch);
                    let since = *self.aligning.get_or_insert_with(Instant::now);
                    if self.inputs.iter().all(|it| it.at_barrier.is_some()) {
                        for input in &mut self.inputs {
                            assert_eq!(input.at_barrier.take(), Some(epoch), "barriers in order");
                        }
                        self.aligning = None;
                        return Some(Taken::Barrier { epoch, aligned_in: since.elapsed() });
                    }
                }
                element => return Some(Taken::Element(element)),
            }
        }
    }

    /// A barrier came, is overdue, and has to overtake something that is not too much.
    fn overtakes(&self, overdue: Option<Epoch>) -> bool {
        let Some(epoch) = overdue else { return false };
        let waits = |it: &Input| {
            it.at_barrier == Some(epoch) || it.waiting.iter().any(|it| it.is_barrier(epoch))
        };
        let is_first = |it: &Input| {
            it.at_barrier == Some(epoch)
                || it.waiting.front().is_some_and(|it| it.is_barrier(epoch))
        };
        self.overtaken.is_none()
            && self.inputs.iter().any(waits)
            && !(self.restored.is_empty() && self.inputs.iter().all(is_first))
            && self.in_flight_bytes() <= self.in_flight_bytes_max
    }

    fn overtake(&mut self, epoch: Epoch) -> Taken {
        let passed: Vec<Passed> = self.before_barrier().cloned().collect();
        let bytes = passed.iter().map(Passed::bytes).sum();
        for input in &mut self.inputs {
            input.at_barrier = None;
            input.waiting.retain(|it| !it.is_barrier(epoch));
        }
        let since = self.aligning.take().unwrap_or_else(Instant::now);
        self.overtaken = Some(Overtaken { epoch, since, passed, bytes });
        Taken::Overtaking(epoch)
    }

    fn has_all_in_flight(&self) -> bool {
        let came = |epoch| self.inputs.iter().all(|it| it.came.is_some_and(|came| came >= epoch));
        self.overtaken.as_ref().is_some_and(|it| came(it.epoch))
    }

    /// What a barrier would overtake now, or has overtaken.
    fn in_flight_bytes(&self) -> u64 {
        match &self.overtaken {
            Some(overtaken) => overtaken.bytes,
            None => self.before_barrier().map(Passed::bytes).sum(),
        }
    }

    /// What waits and is before the next barrier.
    fn before_barrier(&self) -> impl Iterator<Item = &Passed> {
        let open = self.inputs.iter().filter(|it| it.at_barrier.is_none());
        let before = open
            .flat_map(|it| it.waiting.iter().take_while(|it| !matches!(it, Passed::Barrier(_))));
        self.restored.iter().chain(before)
    }

    /// Some inputs are at the barrier, and others are not.
    fn is_aligning(&self) -> bool {
        self.inputs.iter().any(|it| it.at_barrier.is_some())
    }

    /// Looks at another input first than it would.
    pub(crate) fn turn_to(&mut self, input: usize) {
        self.turn = input % self.inputs.len();
    }
}

/// An inbox between threads.
struct Shared {
    state: Mutex<State>,
    /// Something came, or the last sender went.
    came: Condvar,
    /// Something was taken, or the receiver went.
    taken: Condvar,
    overdue: Arc<Overdue>,
}

struct State {
    inbox: Inbox,
    senders: usize,
    received: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has told so in an event, and the run ends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is woken when a barrier becomes overdue, so who waits for one asks now and then.
    fn wait<'a>(
        &self,
        on: &Condvar,
        state: MutexGuard<'a, State>,
        asks: bool,
    ) -> MutexGuard<'a, State> {
        match asks {
            true => {
                let waited = on.wait_timeout(state, ASK_INTERVAL);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            false => on.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

pub(crate) struct Sender {
    shared: Arc<Shared>,
    input: usize,
}

pub(crate) struct Receiver(Arc<Shared>);

/// One sender for each input, and where it all comes out.
pub(crate) fn channel(
    inputs: usize,
    restored: Vec<Passed>,
    overdue: Arc<Overdue>,
) -> (Vec<Sender>, Receiver) {
    let inbox = Inbox::new(inputs, restored, overdue.in_flight_bytes_max());
    let state = State { inbox, senders: inputs, received: true };
    let (came, taken) = (Condvar::new(), Condvar::new());
    let shared = Arc::new(Shared { state: Mutex::new(state), came, taken, overdue });
    let sender = |input| Sender { shared: Arc::clone(&shared), input };
    ((0..inputs).map(sender).collect(), Receiver(Arc::clone(&shared)))
}

impl Sender {
    /// Waits while the edge is full. False when the receiver is gone.
    pub(crate) fn send(&self, passed: Passed) -> bool {
        let Shared { overdue, taken, came, .. } = &*self.shared;
        let mut state = self.shared.lock();
        while state.received && state.inbox.is_full(self.input, overdue.epoch()) {
            state = self.shared.wait(taken, state, overdue.may_be());
        }
        if !state.received {
            return false;
        }
        state.inbox.push(self.input, passed);
        came.notify_one();
        true
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.lock().senders -= 1;
        self.shared.came.notify_one();
    }
}

impl Receiver {
    /// Waits for what comes next. `None` when all senders are gone and nothing is left that could be taken.
    pub(crate) fn recv(&self) -> Option<Taken> {
        let Shared { overdue, taken, came, .. } = &*self.0;
        let mut state = self.0.lock();
        loop {
            if let Some(next) = state.inbox.take(overdue.epoch()) {
                taken.notify_all();
                return Some(next);
            }
            if state.senders == 0 {
                return None;
            }
            let asks = overdue.may_be() && state.inbox.is_aligning();
            state = self.0.wait(came, state, asks);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.lock().received = false;
        self.0.taken.notify_all();
    }
}

#[cfg(test)]
mod tests;
