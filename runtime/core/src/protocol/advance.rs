//! The coordinator as a state machine: (state, event) → (state, actions).
//!
//! One checkpoint is in the making at a time; completed ones wait for their commit in order, several to a
//! commit if so configured, and bounded by count and bytes. At the bound, input is held back instead of a
//! next barrier.

use crate::epoch::Epoch;
use crate::protocol::guarantee::Order;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    next_epoch: Epoch,
    workers: usize,
    sinks: usize,
    backlog: Backlog,
    order: Order,
    phase: Phase,
    /// Completed epochs whose commit is not verified, with the bytes of their rows.
    pending: Vec<(Epoch, u64)>,
    /// The last of the pending epochs that are being committed.
    committing: Option<Epoch>,
    /// Intervals in a row in which nothing was taken, and no checkpoint was in the making.
    quiet_intervals: u32,
    /// Records were taken since the last barrier.
    dirty: bool,
    /// A barrier is due as soon as the phase and the pending commits let one go.
    due: bool,
    stopping: bool,
    held: bool,
    finished: bool,
}

/// How many completed epochs may wait for their commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Commits that may wait.
    pub commits_max: usize,
    /// Bytes of rows that may wait, prepared and not in a table.
    pub bytes_max: u64,
    /// Epochs to a commit.
    pub commit_every: usize,
}

/// After so many intervals without input, an epoch waits for others no longer. More than one, since an
/// interval may be shorter than what a busy source or a busy machine needs for a batch.
const QUIET: u32 = 2;

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
    /// The manifest is visible; it holds rows of so many bytes.
    Completed(Epoch, u64),
    /// The commits of all sinks up to this epoch are verified, or had nothing to commit.
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
    /// Commit all that is pending up to this epoch, as one commit.
    Commit(Epoch),
    /// Take no more input until `Release`.
    Hold,
    Release,
    /// Everything taken is checkpointed and committed.
    Finish,
}

impl State {
    /// `next_epoch` follows the newest manifest; `pending` were completed before, uncommitted.
    pub fn new(next_epoch: Epoch, workers: usize, sinks: usize, backlog: Backlog) -> State {
        assert!(workers > 0);
        assert!(backlog.commits_max > 0);
        assert!(backlog.commit_every > 0);
        State {
            next_epoch,
            workers,
            sinks,
            backlog,
            order: Order::CheckpointFirst,
            phase: Phase::Running,
            pending: Vec::new(),
            committing: None,
            quiet_intervals: 0,
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
            Event::BarrierDue => {
                self.due |= self.dirty;
                let quiet = self.phase == Phase::Running && !self.dirty;
                self.quiet_intervals =
                    if quiet { (self.quiet_intervals + 1).min(QUIET) } else { 0 };
            }
            Event::Asked => self.due = true,
            Event::Took => self.dirty = true,
            Event::Captured(epoch) => self.arrived(epoch, 1, 0),
            Event::Prepared(epoch) => self.arrived(epoch, 0, 1),
            Event::Completed(epoch, bytes) => {
                assert_eq!(self.phase, Phase::Completing { epoch });
                self.phase = Phase::Running;
                // Where the table was first, there is nothing left to commit.
                if self.order == Order::CheckpointFirst {
                    self.pending.push((epoch, bytes));
                }
            }
            Event::Appended(epoch) => {
                assert_eq!(self.phase, Phase::Appending { epoch });
                self.phase = Phase::Completing { epoch };
                actions.push(Action::Complete(epoch));
            }
            Event::Committed(epoch) => {
                // I4: commits end in the order of their epochs.
                assert_eq!(self.committing.take(), Some(epoch));
                self.pending.retain(|it| it.0 > epoch);
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

        let full = self.is_full();
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

        let alone = self.quiet_intervals == QUIET
            || (self.stopping && self.phase == Phase::Running && !self.dirty);
        let enough = self.pending.len() >= self.backlog.commit_every;
        if self.committing.is_none() && !self.pending.is_empty() && (enough || full || alone) {
            let last = self.pending.len().min(self.backlog.commit_every) - 1;
            self.committing = Some(self.pending[last].0);
            actions.push(Action::Commit(self.pending[last].0));
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

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn is_full(&self) -> bool {
        let bytes: u64 = self.pending.iter().map(|it| it.1).sum();
        self.pending.len() >= self.backlog.commits_max.saturating_mul(self.backlog.commit_every)
            || bytes >= self.backlog.bytes_max
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
                    assert!(epoch.0 > world.committed, "I4: in order");
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

    /// Of the rows of each epoch.
    const BYTES: u64 = 10;

    /// All interleavings up to a depth: every event that the world may send next is tried.
    #[test]
    fn every_interleaving_keeps_the_order_and_reaches_the_end() {
        use Order::{CheckpointFirst, TableFirst};
        for (workers, sinks, commits_max, commit_every, bytes_max, order) in [
            (1, 1, 1, 1, u64::MAX, CheckpointFirst),
            (2, 1, 2, 1, u64::MAX, CheckpointFirst),
            (1, 2, 1, 1, u64::MAX, CheckpointFirst),
            (1, 1, 1, 2, u64::MAX, CheckpointFirst),
            (1, 1, 2, 3, u64::MAX, CheckpointFirst),
            (1, 1, 2, 3, 2 * BYTES, CheckpointFirst),
            (1, 1, 1, 1, u64::MAX, TableFirst),
            (2, 2, 1, 1, u64::MAX, TableFirst),
        ] {
            let backlog = Backlog { commits_max, bytes_max, commit_every };
            let pending_max = (commits_max * commit_every).min((bytes_max / BYTES) as usize);
            let state = State::new(Epoch(1), workers, sinks, backlog).in_order(order);
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
            push(Event::Completed(Epoch(epoch), BYTES), |it| {
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
                it.committed = it.committing.take().expect("a commit is under way");
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

    const ONE: Backlog = Backlog { commits_max: 1, bytes_max: u64::MAX, commit_every: 1 };

    fn complete(state: &mut State, epoch: u64) -> Vec<Action> {
        let epoch = Epoch(epoch);
        state.advance(Event::Took);
        assert_eq!(state.advance(Event::BarrierDue), [Action::Inject(epoch)]);
        state.advance(Event::Captured(epoch));
        assert_eq!(state.advance(Event::Prepared(epoch)), [Action::Complete(epoch)]);
        state.advance(Event::Completed(epoch, BYTES))
    }

    #[test]
    fn several_epochs_make_one_commit_and_a_pause_commits_what_there_is() {
        let mut state = State::new(Epoch(1), 1, 1, Backlog { commit_every: 3, ..ONE });
        assert_eq!(complete(&mut state, 1), []);
        assert_eq!(complete(&mut state, 2), []);
        assert_eq!(complete(&mut state, 3), [Action::Commit(Epoch(3))]);
        assert_eq!(state.advance(Event::Committed(Epoch(3))), []);
        assert_eq!(complete(&mut state, 4), []);
        assert_eq!(state.advance(Event::BarrierDue), []);
        assert_eq!(state.advance(Event::BarrierDue), [Action::Commit(Epoch(4))]);
    }

    #[test]
    fn many_bytes_are_committed_before_their_turn() {
        let backlog = Backlog { commit_every: 9, bytes_max: 2 * BYTES, ..ONE };
        let mut state = State::new(Epoch(1), 1, 1, backlog);
        assert_eq!(complete(&mut state, 1), []);
        assert_eq!(complete(&mut state, 2), [Action::Commit(Epoch(2))]);
        state.advance(Event::Took);
        assert_eq!(state.advance(Event::BarrierDue), [Action::Hold], "two wait");
        let released = state.advance(Event::Committed(Epoch(2)));
        assert_eq!(released, [Action::Inject(Epoch(3)), Action::Release]);
    }

    #[test]
    fn an_idle_pipeline_writes_no_checkpoints() {
        let mut state = State::new(Epoch(1), 1, 1, ONE);
        assert_eq!(state.advance(Event::BarrierDue), []);
        assert_eq!(state.advance(Event::Took), []);
        assert_eq!(state.advance(Event::BarrierDue), [Action::Inject(Epoch(1))]);
    }

    #[test]
    fn an_idle_pipeline_makes_the_checkpoint_that_a_person_asks_for() {
        let mut state = State::new(Epoch(1), 1, 1, ONE);
        assert_eq!(state.advance(Event::Asked), [Action::Inject(Epoch(1))]);
    }
}
