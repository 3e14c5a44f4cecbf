//! Inbox: what waits for a worker of a keyed stage, from each worker of the stage before; barriers are aligned
//! here.
//!
//! An input that has given barrier n gives nothing more until all others have given it, too (Chandy–Lamport):
//! what it sends meanwhile waits, and fills its edge, which is backpressure. An edge leads from a stage to the
//! next and never back, and barriers are sent to all inputs before anything behind them, so none waits for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use floe_core::Epoch;

use crate::passed::Passed;

/// Elements on the edge between two workers. One batch of a task makes one for each task behind the edge.
pub(crate) const PASSED_MAX: usize = 16;

pub(crate) struct Inbox {
    inputs: Vec<Input>,
    /// The input that is looked at first: the one behind the last that gave something.
    turn: usize,
    /// When the first input gave the barrier that others have not given yet.
    aligning: Option<Instant>,
}

#[derive(Default)]
struct Input {
    waiting: VecDeque<Passed>,
    /// It has given this barrier, and others have not.
    at_barrier: Option<Epoch>,
}

/// What a worker is handed.
pub(crate) enum Taken {
    /// Rows or a watermark.
    Element(Passed),
    /// Of all inputs, so long after the first of them gave it.
    Barrier { epoch: Epoch, aligned_in: Duration },
}

impl Inbox {
    pub(crate) fn new(inputs: usize) -> Inbox {
        let inputs = (0..inputs).map(|_| Input::default()).collect();
        Inbox { inputs, turn: 0, aligning: None }
    }

    pub(crate) fn is_full(&self, input: usize) -> bool {
        self.inputs[input].waiting.len() >= PASSED_MAX
    }

    pub(crate) fn push(&mut self, input: usize, passed: Passed) {
        self.inputs[input].waiting.push_back(passed);
    }

    /// Something that may be taken now is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.inputs.iter().any(|it| it.at_barrier.is_none() && !it.waiting.is_empty())
    }

    /// The next element of an input that is not at the barrier, or the barrier of all.
    pub(crate) fn take(&mut self) -> Option<Taken> {
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
}

pub(crate) struct Sender {
    shared: Arc<Shared>,
    input: usize,
}

pub(crate) struct Receiver(Arc<Shared>);

/// One sender for each input, and where it all comes out.
pub(crate) fn channel(inputs: usize) -> (Vec<Sender>, Receiver) {
    let state = State { inbox: Inbox::new(inputs), senders: inputs, received: true };
    let (came, taken) = (Condvar::new(), Condvar::new());
    let shared = Arc::new(Shared { state: Mutex::new(state), came, taken });
    let sender = |input| Sender { shared: Arc::clone(&shared), input };
    ((0..inputs).map(sender).collect(), Receiver(Arc::clone(&shared)))
}

impl Sender {
    /// Waits while the edge is full. False when the receiver is gone.
    pub(crate) fn send(&self, passed: Passed) -> bool {
        let mut state = self.shared.lock();
        while state.received && state.inbox.is_full(self.input) {
            state = self.shared.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.received {
            return false;
        }
        state.inbox.push(self.input, passed);
        self.shared.came.notify_one();
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
        let mut state = self.0.lock();
        loop {
            if let Some(taken) = state.inbox.take() {
                self.0.taken.notify_all();
                return Some(taken);
            }
            if state.senders == 0 {
                return None;
            }
            state = self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner);
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
mod tests {
    use floe_core::EventTime;

    use super::*;

    fn mark(from: u32, time: i64) -> Passed {
        Passed::Watermark { from, watermark: EventTime(time) }
    }

    fn text(taken: Option<Taken>) -> String {
        match taken {
            None => "nothing".to_owned(),
            Some(Taken::Barrier { epoch, .. }) => format!("barrier {epoch}"),
            Some(Taken::Element(Passed::Watermark { from, watermark })) => {
                format!("{from}:{}", watermark.0)
            }
            Some(Taken::Element(other)) => format!("{other:?}"),
        }
    }

    #[test]
    fn an_input_at_the_barrier_waits_for_the_others() {
        let mut inbox = Inbox::new(3);
        inbox.push(0, Passed::Barrier(Epoch(1)));
        inbox.push(0, mark(0, 10));
        inbox.push(1, mark(1, 1));
        inbox.push(1, Passed::Barrier(Epoch(1)));
        inbox.push(1, mark(1, 11));
        assert_eq!(text(inbox.take()), "1:1");
        assert_eq!(text(inbox.take()), "nothing", "10 and 11 are behind the barrier");
        inbox.push(2, mark(2, 2));
        assert_eq!(text(inbox.take()), "2:2");
        inbox.push(2, Passed::Barrier(Epoch(1)));
        assert_eq!(text(inbox.take()), "barrier 1");
        let rest = [text(inbox.take()), text(inbox.take()), text(inbox.take())];
        assert_eq!(rest, ["0:10", "1:11", "nothing"]);
    }

    #[test]
    fn the_time_between_the_first_barrier_and_the_last_is_told() {
        let mut inbox = Inbox::new(2);
        for epoch in [Epoch(1), Epoch(2)] {
            inbox.push(0, Passed::Barrier(epoch));
            assert!(inbox.take().is_none());
            let waited = Duration::from_millis(20);
            std::thread::sleep(waited);
            inbox.push(1, Passed::Barrier(epoch));
            let Some(Taken::Barrier { aligned_in, .. }) = inbox.take() else { panic!("a barrier") };
            assert!(aligned_in >= waited, "{aligned_in:?}");
        }
    }

    #[test]
    fn a_full_edge_holds_its_sender_and_a_barrier_goes_through() {
        let (mut senders, receiver) = channel(2);
        let slow = senders.pop().unwrap();
        let fast = senders.pop().unwrap();
        let sending = std::thread::spawn(move || {
            assert!(fast.send(Passed::Barrier(Epoch(1))));
            (0..100).all(|it| fast.send(mark(0, it)))
        });
        // All that the fast one sends is behind the barrier that the slow one has not given.
        let working = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while let Some(taken) = receiver.recv() {
                seen.push(text(Some(taken)));
            }
            seen
        });
        assert!(slow.send(mark(1, 1)));
        assert!(slow.send(Passed::Barrier(Epoch(1))));
        drop(slow);
        assert!(sending.join().unwrap());
        let seen = working.join().unwrap();
        assert_eq!(seen[..2], ["1:1".to_owned(), "barrier 1".to_owned()]);
        assert_eq!(seen.len(), 102);
    }

    #[test]
    fn nobody_waits_for_who_is_gone() {
        let (senders, receiver) = channel(1);
        (0..PASSED_MAX).for_each(|it| assert!(senders[0].send(mark(0, it as i64))));
        let waiting = std::thread::spawn(move || senders[0].send(mark(0, 99)));
        drop(receiver);
        assert!(!waiting.join().unwrap());
    }
}
