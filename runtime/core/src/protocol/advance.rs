//! The coordinator as a state machine: (state, event) → (state, actions).
//!
//! One checkpoint is in the making at a time; completed ones wait for their commit in order, at most
//! `commits_pending_max` of them. While that many wait, input is held back instead of a next barrier.

use crate::epoch::Epoch;
use crate::protocol::guarantee::Order;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    next_epoch: Epoch,
    workers: usize,
    sinks: usize,
    commits_pending_max: usize,
    order: Order,
    phase: Phase,
    /// Completed epochs whose commit is not verified; the first is being committed.
    pending: Vec<Epoch>,
    /// Records were taken since the last barrier.
    dirty: bool,
    /// A barrier is due as soon as the phase and the pending commits let one go.
    due: bool,
    stopping: bool,
    held: bool,
    finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Barrier `epoch` is on its way through workers and writers.
    Aligning {
        epoch: Epoch,
        workers_missing: usize,
        sinks_missing: usize,
    },
    /// All parts are at hand; rows are being committed, ahead of the manifest.
    Appending {
        epoch: Epoch,
    },
    /// All parts are at hand; objects and the manifest are being written.
    Completing {
        epoch: Epoch,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interval has passed.
    BarrierDue,
    /// A person asked for a checkpoint: one is made even if nothing was taken since the last.
    Asked,
    /// Records were taken.
    Took,
    /// One worker captured all its tasks at the barrier.
    Captured(Epoch),
    /// One sink prepared its committable.
    Prepared(Epoch),
    /// The rows are in the tables, and the manifest is not visible.
    Appended(Epoch),
    /// The manifest is visible.
    Completed(Epoch),
    /// The commits of all sinks for this epoch are verified, or had nothing to commit.
    Committed(Epoch),
    /// End in order: last checkpoint, commit, finish. Input has ended, or a person stops the run.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send barrier `epoch` behind everything taken so far.
    Inject(Epoch),
    /// Commit the epoch's rows now, although no manifest holds them.
    Append(Epoch),
    /// Write parts, then the manifest.
    Complete(Epoch),
    Commit(Epoch),
    /// Take no more input until `Release`.
    Hold,
    Release,
    /// Everything taken is checkpointed and committed.
    Finish,
}

impl State {
    /// `next_epoch` follows the newest manifest; `pending` were completed before, uncommitted.
    pub fn new(
        next_epoch: Epoch,
        workers: usize,
        sinks: usize,
        commits_pending_max: usize,
    ) -> State {
        assert!(workers > 0);
        assert!(commits_pending_max > 0);
        State {
            next_epoch,
            workers,
            sinks,
            commits_pending_max,
            order: Order::CheckpointFirst,
            phase: Phase::Running,
            pending: Vec::new(),
            dirty: false,
            due: false,
            stopping: false,
            held: false,
            finished: false,
        }
    }

    pub fn in_order(self, order: Order) -> State {
        State { order, ..self }
    }

    pub fn advance(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::BarrierDue => self.due |= self.dirty,
            Event::Asked => self.due = true,
            Event::Took => self.dirty = true,
            Event::Captured(epoch) => self.arrived(epoch, 1, 0),
            Event::Prepared(epoch) => self.arrived(epoch, 0, 1),
            Event::Completed(epoch) => {
                assert_eq!(self.phase, Phase::Completing { epoch });
                self.phase = Phase::Running;
                // Where the table was first, there is nothing left to commit.
                if self.order == Order::CheckpointFirst {
                    self.pending.push(epoch);
                    if self.pending.len() == 1 {
                        actions.push(Action::Commit(epoch));
                    }
                }
            }
            Event::Appended(epoch) => {
                assert_eq!(self.phase, Phase::Appending { epoch });
                self.phase = Phase::Completing { epoch };
                actions.push(Action::Complete(epoch));
            }
            Event::Committed(epoch) => {
                // I4: commits end in the order of their epochs.
                assert_eq!(self.pending.first(), Some(&epoch));
                self.pending.remove(0);
                if let Some(next) = self.pending.first() {
                    actions.push(Action::Commit(*next));
                }
            }
            Event::Stop => self.stopping = true,
        }
        self.settle(&mut actions);
        actions
    }

    fn arrived(&mut self, epoch: Epoch, workers: usize, sinks: usize) {
        let Phase::Aligning { epoch: open, workers_missing, sinks_missing } = &mut self.phase
        else {
            panic!("a part of epoch {epoch} arrives and no barrier is out");
        };
        assert_eq!(*open, epoch);
        *workers_missing = workers_missing.checked_sub(workers).expect("a worker captures once");
        *sinks_missing = sinks_missing.checked_sub(sinks).expect("a sink prepares once");
    }

    fn settle(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Aligning { epoch, workers_missing: 0, sinks_missing: 0 } = self.phase {
            match self.order {
                Order::CheckpointFirst => {
                    self.phase = Phase::Completing { epoch };
                    actions.push(Action::Complete(epoch));
                }
                Order::TableFirst => {
                    self.phase = Phase::Appending { epoch };
                    actions.push(Action::Append(epoch));
                }
            }
        }

        let full = self.pending.len() >= self.commits_pending_max;
        let last = self.stopping && self.dirty;
        if self.phase == Phase::Running && (self.due || last) && !full {
            let epoch = self.next_epoch;
            self.next_epoch = epoch.next();
            self.due = false;
            self.dirty = false;
            self.phase =
                Phase::Aligning { epoch, workers_missing: self.workers, sinks_missing: self.sinks };
            actions.push(Action::Inject(epoch));
        }

        // While commits wait, a due barrier can't go out, and the epoch must not grow without bound.
        let hold = self.stopping || (self.due && full);
        if hold != self.held {
            self.held = hold;
            actions.push(if hold { Action::Hold } else { Action::Release });
        }

        let idle = self.phase == Phase::Running && self.pending.is_empty() && !self.dirty;
        if self.stopping && idle && !self.finished {
            self.finished = true;
            actions.push(Action::Finish);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The world around the machine: what it was told to do and has not answered yet.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct World {
        captured_left: usize,
        prepared_left: usize,
        completing: Option<u64>,
        appending: Option<u64>,
        committing: Option<u64>,
        completed: u64,
        committed: u64,
        injected: u64,
        held: bool,
        stopped: bool,
        finished: bool,
        took: u8,
        asked: bool,
    }

    fn apply(world: &mut World, actions: Vec<Action>, workers: usize, sinks: usize) {
        for action in actions {
            assert!(!world.finished, "{action:?} after the end");
            match action {
                Action::Inject(epoch) => {
                    assert_eq!(epoch.0, world.injected + 1);
                    assert_eq!(world.completing, None);
                    world.injected = epoch.0;
                    (world.captured_left, world.prepared_left) = (workers, sinks);
                }
                Action::Complete(epoch) => {
                    assert_eq!((world.captured_left, world.prepared_left), (0, 0));
                    world.completing = Some(epoch.0);
                }
                Action::Append(epoch) => {
                    assert_eq!((world.captured_left, world.prepared_left), (0, 0));
                    assert_eq!(epoch.0, world.completed + 1, "the table is one epoch ahead");
                    world.appending = Some(epoch.0);
                }
                Action::Commit(epoch) => {
                    assert!(epoch.0 <= world.completed, "I6: {epoch} is not complete");
                    assert_eq!(world.committing, None);
                    assert_eq!(epoch.0, world.committed + 1, "I4: in order");
                    world.committing = Some(epoch.0);
                }
                Action::Hold => world.held = true,
                Action::Release => world.held = false,
                Action::Finish => {
                    assert_eq!(world.committed, world.injected, "all is committed at the end");
                    world.finished = true;
                }
            }
        }
    }

    /// All interleavings up to a depth: every event that the world may send next is tried.
    #[test]
    fn every_interleaving_keeps_the_order_and_reaches_the_end() {
        use Order::{CheckpointFirst, TableFirst};
        for (workers, sinks, pending_max, order) in [
            (1, 1, 1, CheckpointFirst),
            (2, 1, 2, CheckpointFirst),
            (1, 2, 1, CheckpointFirst),
            (1, 1, 1, TableFirst),
            (2, 2, 1, TableFirst),
        ] {
            let state = State::new(Epoch(1), workers, sinks, pending_max).in_order(order);
            let world = World {
                captured_left: 0,
                prepared_left: 0,
                completing: None,
                appending: None,
                committing: None,
                completed: 0,
                committed: 0,
                injected: 0,
                held: false,
                stopped: false,
                finished: false,
                took: 0,
                asked: false,
            };
            let mut seen = BTreeSet::new();
            let mut ends = 0;
            let mut open = vec![(state, world, 0)];
            while let Some((state, world, depth)) = open.pop() {
                if !seen.insert((format!("{state:?}"), world.clone())) || depth > 24 {
                    continue;
                }
                ends += u32::from(world.finished);
                for (event, next) in next_events(&world) {
                    let (mut state, mut world) = (state.clone(), next);
                    let actions = state.advance(event);
                    apply(&mut world, actions, workers, sinks);
                    if order == TableFirst {
                        assert!(world.completed <= world.committed, "{world:?}");
                    }
                    let backlog = world.completed.saturating_sub(world.committed);
                    assert!(backlog <= pending_max as u64 + 1, "{backlog} wait for their commit");
                    // Whatever happened, a stopped world with nothing under way has finished.
                    if world.stopped && next_events(&world).is_empty() {
                        assert!(world.finished, "stuck: {state:?} {world:?}");
                    }
                    open.push((state, world, depth + 1));
                }
            }
            assert!(ends > 0 && seen.len() > 100, "{ends} ends in {} states", seen.len());
        }
    }

    fn next_events(world: &World) -> Vec<(Event, World)> {
        let mut events = Vec::new();
        let mut push = |event, change: fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            events.push((event, next));
        };
        if world.finished {
            return events;
        }
        let open = Epoch(world.injected);
        if world.captured_left > 0 {
            push(Event::Captured(open), |it| it.captured_left -= 1);
        }
        if world.prepared_left > 0 {
            push(Event::Prepared(open), |it| it.prepared_left -= 1);
        }
        if let Some(epoch) = world.completing {
            push(Event::Completed(Epoch(epoch)), |it| {
                it.completing = None;
                it.completed += 1;
            });
        }
        if let Some(epoch) = world.appending {
            push(Event::Appended(Epoch(epoch)), |it| {
                it.appending = None;
                it.committed += 1;
            });
        }
        if let Some(epoch) = world.committing {
            push(Event::Committed(Epoch(epoch)), |it| {
                it.committing = None;
                it.committed += 1;
            });
        }
        if !world.stopped {
            push(Event::BarrierDue, |_| ());
            if !world.asked {
                push(Event::Asked, |it| it.asked = true);
            }
            push(Event::Stop, |it| it.stopped = true);
            if !world.held && world.took < 4 {
                push(Event::Took, |it| it.took += 1);
            }
        }
        events
    }

    #[test]
    fn an_idle_pipeline_writes_no_checkpoints() {
        let mut state = State::new(Epoch(1), 1, 1, 1);
        assert_eq!(state.advance(Event::BarrierDue), []);
        assert_eq!(state.advance(Event::Took), []);
        assert_eq!(state.advance(Event::BarrierDue), [Action::Inject(Epoch(1))]);
    }

    #[test]
    fn an_idle_pipeline_makes_the_checkpoint_that_a_person_asks_for() {
        let mut state = State::new(Epoch(1), 1, 1, 1);
        assert_eq!(state.advance(Event::Asked), [Action::Inject(Epoch(1))]);
    }
}
