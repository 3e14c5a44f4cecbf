//! A world of values around the production decisions: a log, a table, two processes, requests in flight.

use floe_core::committable::{Carried, CommitRequest, Committable, GapRule, ManifestRef};
use floe_core::epoch::{EntryId, Slot};
use floe_core::ports::{LogAnswer, MarkerSnapshot};
use floe_core::protocol::advance::{Action, Backlog, Event, State};
use floe_core::protocol::judge::{BaseFacts, Marker, Verdict, asks_log, judge};
use floe_core::protocol::recover::{
    MarkerRelation, SinkCheckpoint, SinkDecision, SinkFacts, decide_sink,
};
use floe_core::{Epoch, Generation};

const TABLE_UUID: [u8; 16] = [1; 16];
pub(super) const PROCESSES: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) log: Vec<Entry>,
    /// The manifests that were committed, each with its predecessor, in the order of the snapshots.
    pub(super) table: Vec<ManifestRef>,
    pub(super) processes: [Option<Process>; PROCESSES],
    /// Swaps that were sent: they may land at any time, whoever sent them.
    pub(super) flying: Vec<Swap>,
    pub(super) starts_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Claim(Generation),
    Manifest(Manifest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) at: ManifestRef,
    pub(super) generation: Generation,
    pub(super) rows: bool,
    /// The newest earlier manifest with rows, and the newest that was known to be committed.
    pub(super) predecessor: Option<ManifestRef>,
    pub(super) committed: Option<ManifestRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) base: usize,
    /// What it carries, oldest first.
    pub(super) manifests: Vec<ManifestRef>,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    generation: Generation,
    /// Entries of the log that it has read or written.
    seen: usize,
    doing: Doing,
    newest_committing: Option<ManifestRef>,
    committed: Option<ManifestRef>,
    /// The swap that it waits for.
    waits: Option<Swap>,
}

#[derive(Clone, Debug)]
enum Doing {
    Starting,
    Recommitting(Vec<Manifest>),
    Running { state: State, under_way: UnderWay, pending: Vec<Manifest> },
}

/// What the state machine asked for and has no answer to.
#[derive(Clone, Debug, Default)]
struct UnderWay {
    /// The epoch that is being completed, with or without rows.
    completing: Option<(Epoch, bool)>,
    /// The last epoch of the commit.
    committing: Option<Epoch>,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Start(usize),
    Crash(usize),
    /// The process does what it does next, without waiting.
    Act(usize),
    /// A barrier, over records with or without output.
    Barrier(usize, bool),
    /// A swap lands; its sender, if it still waits, is told or not.
    Land(usize, bool),
    /// The sender of a swap gives up waiting for it; it flies on.
    GiveUp(usize),
}

impl World {
    pub(super) fn new(starts: u32) -> World {
        World {
            log: Vec::new(),
            table: Vec::new(),
            processes: [None, None],
            flying: Vec::new(),
            starts_left: starts,
        }
    }

    pub(super) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.log.iter().filter_map(|it| match it {
            Entry::Manifest(manifest) => Some(manifest),
            Entry::Claim(_) => None,
        })
    }

    pub(super) fn steps(&self, epochs_max: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            match process {
                None if self.starts_left > 0 => steps.push(Step::Start(index)),
                None => {}
                Some(process) => {
                    steps.push(Step::Crash(index));
                    if process.waits.is_some() {
                        steps.push(Step::GiveUp(index));
                    } else if process.has_work() {
                        steps.push(Step::Act(index));
                    }
                    if process.takes_barriers() && self.manifests().count() < epochs_max {
                        steps.extend([true, false].map(|rows| Step::Barrier(index, rows)));
                    }
                }
            }
        }
        for index in 0..self.flying.len() {
            steps.extend([true, false].map(|told| Step::Land(index, told)));
        }
        steps
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Start(index) => {
                self.starts_left -= 1;
                let generation = self.log.last().map_or(Generation(1), |it| it.generation().next());
                self.log.push(Entry::Claim(generation));
                self.processes[index] = Some(Process::new(generation, self.log.len()));
            }
            Step::Crash(index) => self.processes[index] = None,
            Step::Act(index) => self.with(index, Process::act),
            Step::Barrier(index, rows) => self.with(index, |it, _| it.barrier(rows)),
            Step::GiveUp(index) => self.with(index, |it, _| {
                it.waits = None;
                true
            }),
            Step::Land(index, told) => {
                let swap = self.flying.remove(index);
                let landed = self.table.len() == swap.base;
                if landed {
                    self.table.extend(&swap.manifests);
                }
                let waiting = self
                    .processes
                    .iter()
                    .position(|it| it.as_ref().is_some_and(|it| it.waits.as_ref() == Some(&swap)));
                if let Some(waiting) = waiting {
                    self.with(waiting, |it, _| {
                        it.waits = None;
                        if landed && told {
                            it.committed_all();
                        }
                        true
                    });
                }
            }
        }
    }

    /// Takes the process out, lets it work, and puts it back unless it ended.
    fn with(&mut self, index: usize, work: impl FnOnce(&mut Process, &mut World) -> bool) {
        let mut process = self.processes[index].take().expect("a step of a process that lives");
        if work(&mut process, self) {
            self.processes[index] = Some(process);
        }
    }

    /// What the log says to the process of this generation, which has read `seen` entries.
    fn find(&self, manifest: ManifestRef, seen: usize, generation: Generation) -> LogAnswer {
        let known = self.manifests().any(|it| it.at == manifest && it.at.slot.0 <= seen as u64);
        let newer = self.log[seen..].iter().map(|it| it.generation()).find(|it| *it > generation);
        match (known, newer) {
            (true, _) => LogAnswer::Known,
            (false, Some(by)) => LogAnswer::FencedBy(by),
            (false, None) => LogAnswer::Absent,
        }
    }
}

impl Entry {
    fn generation(&self) -> Generation {
        match self {
            Entry::Claim(generation) => *generation,
            Entry::Manifest(manifest) => manifest.generation,
        }
    }
}

impl Process {
    fn new(generation: Generation, seen: usize) -> Process {
        Process {
            generation,
            seen,
            doing: Doing::Starting,
            newest_committing: None,
            committed: None,
            waits: None,
        }
    }

    fn has_work(&self) -> bool {
        match &self.doing {
            Doing::Starting | Doing::Recommitting(_) => true,
            Doing::Running { under_way, .. } => {
                under_way.completing.is_some() || under_way.committing.is_some()
            }
        }
    }

    fn takes_barriers(&self) -> bool {
        matches!(&self.doing, Doing::Running { under_way, .. } if under_way.completing.is_none())
    }

    /// False when the process ends: it is fenced.
    fn act(&mut self, world: &mut World) -> bool {
        match &mut self.doing {
            Doing::Starting => self.recover(world),
            Doing::Recommitting(left) => match left.is_empty() {
                false => {
                    let left = left.clone();
                    self.commit(&left, world)
                }
                true => {
                    let newest = world.manifests().filter(|it| it.at.slot.0 <= self.seen as u64);
                    let next = newest.last().map_or(Epoch(1), |it| it.at.epoch.next());
                    // A restart may come with another setting.
                    let commit_every = 1 + self.generation.0 as usize % 2;
                    let backlog = Backlog { commits_max: 2, bytes_max: u64::MAX, commit_every };
                    let state = State::new(next, 1, 1, backlog);
                    let under_way = UnderWay::default();
                    self.doing = Doing::Running { state, under_way, pending: Vec::new() };
                    true
                }
            },
            Doing::Running { under_way, pending, .. } => match under_way.completing {
                Some((epoch, rows)) => self.complete(epoch, rows, world),
                None => {
                    let last = under_way.committing.expect("there is something to do");
                    let range = pending.iter().filter(|it| it.at.epoch <= last && it.rows);
                    let range: Vec<Manifest> = range.copied().collect();
                    self.commit(&range, world)
                }
            },
        }
    }

    fn recover(&mut self, world: &mut World) -> bool {
        let seen: Vec<Manifest> =
            world.manifests().filter(|it| it.at.slot.0 <= self.seen as u64).copied().collect();
        let newest = seen.last();
        let checkpoint = newest.map(|it| SinkCheckpoint {
            table_uuid: TABLE_UUID,
            newest_committing: if it.rows { Some(it.at) } else { it.predecessor },
            committed: it.committed,
        });
        self.newest_committing = checkpoint.and_then(|it| it.newest_committing);
        self.committed = checkpoint.and_then(|it| it.committed);
        let marker = world.table.last().copied();
        let relation = match marker.map(|it| world.find(it, self.seen, self.generation)) {
            None => MarkerRelation::NoMarker,
            Some(LogAnswer::Known) => MarkerRelation::InLog,
            Some(LogAnswer::Absent) => MarkerRelation::NotInLog,
            Some(LogAnswer::FencedBy(_)) => return false,
        };
        let facts = SinkFacts {
            name: "sink".into(),
            table: "t".into(),
            table_uuid: TABLE_UUID,
            checkpoint,
            marker,
            relation,
            snapshot: match marker {
                None => MarkerSnapshot::NoMarker,
                Some(_) => MarkerSnapshot::Found,
            },
        };
        let left = match decide_sink(&facts) {
            SinkDecision::Settled => Vec::new(),
            SinkDecision::Recommit { after } => {
                let behind = |it: &Manifest| after.is_none_or(|after| it.at.slot > after.slot);
                seen.into_iter().filter(|it| it.rows && behind(it)).collect()
            }
            SinkDecision::Refuse(refusal) => panic!("refused: {refusal}\n{world:#?}"),
        };
        self.doing = Doing::Recommitting(left);
        true
    }

    fn commit(&mut self, range: &[Manifest], world: &mut World) -> bool {
        let marker = |at: ManifestRef| Marker {
            table_uuid: TABLE_UUID,
            branch: "main".into(),
            first_epoch: at.epoch,
            manifest: at,
            predecessor: None,
        };
        let newest = world.table.last().copied().map(marker);
        let base = BaseFacts {
            table_uuid: TABLE_UUID,
            property: newest.clone(),
            summary: newest,
            unreadable: None,
        };
        let (last, earlier) = range.split_last().expect("an empty commit is skipped");
        let carried = |it: &Manifest| Carried { manifest: it.at, committable: Committable::EMPTY };
        let mut request = CommitRequest {
            pipeline: "p".into(),
            sink: "sink".into(),
            table_uuid: TABLE_UUID,
            manifest: last.at,
            predecessor: range[0].predecessor,
            earlier: earlier.iter().map(carried).collect(),
            gap: GapRule::Refuse,
            committable: Committable::EMPTY,
            information: Vec::new(),
        };
        let newest = base.marker().map(|it| it.manifest);
        if let Some(marker) = newest.filter(|it| request.holds_earlier(it)) {
            assert_eq!(judge(&base, &request, LogAnswer::Known), Verdict::Within { marker });
            request = request.behind(marker);
        }
        let asked = asks_log(&base, &request);
        let answer =
            asked.map_or(LogAnswer::Known, |it| world.find(it, self.seen, self.generation));
        match judge(&base, &request, answer) {
            Verdict::Commit => {
                let each = request.one_by_one();
                let manifests = each.iter().map(|it| it.manifest).collect();
                let swap = Swap { base: world.table.len(), manifests };
                world.flying.push(swap.clone());
                self.waits = Some(swap);
            }
            Verdict::Already => self.committed_all(),
            Verdict::Fenced { .. } => return false,
            Verdict::Within { .. } | Verdict::Gap { .. } | Verdict::Refuse(_) => {
                panic!("epoch {} is not committed: {base:?}\n{world:#?}", last.at.epoch)
            }
        }
        true
    }

    fn committed_all(&mut self) {
        match &mut self.doing {
            Doing::Starting => panic!("nothing was sent"),
            Doing::Recommitting(left) => {
                self.committed = left.last().map(|it| it.at);
                left.clear();
            }
            Doing::Running { state, under_way, pending } => {
                let last = under_way.committing.expect("a commit is under way");
                let done = pending.iter().rfind(|it| it.at.epoch <= last && it.rows);
                self.committed = done.map(|it| it.at);
                committed_up_to(last, state, under_way, pending);
            }
        }
    }

    fn barrier(&mut self, rows: bool) -> bool {
        let Doing::Running { state, under_way, .. } = &mut self.doing else {
            panic!("only a running process takes barriers")
        };
        state.advance(Event::Took);
        react(state, Event::BarrierDue, under_way);
        if let Some((_, output)) = &mut under_way.completing {
            *output = rows;
        }
        true
    }

    fn complete(&mut self, epoch: Epoch, rows: bool, world: &mut World) -> bool {
        if world.log.len() > self.seen {
            let taken = world.log[self.seen].generation();
            assert!(taken > self.generation, "I3: nobody else writes in our generation");
            return false;
        }
        let slot = Slot(world.log.len() as u64 + 1);
        let mut id = [slot.0 as u8; 16];
        id[0] = self.generation.0 as u8;
        let at = ManifestRef { slot, id: EntryId(id), epoch };
        let manifest = Manifest {
            at,
            generation: self.generation,
            rows,
            predecessor: self.newest_committing,
            committed: self.committed,
        };
        world.log.push(Entry::Manifest(manifest));
        self.seen += 1;
        if rows {
            self.newest_committing = Some(at);
        }
        let Doing::Running { state, under_way, pending } = &mut self.doing else {
            panic!("only a running process completes")
        };
        under_way.completing = None;
        pending.push(manifest);
        react(state, Event::Completed(epoch, 1), under_way);
        skip_empty(state, under_way, pending);
        true
    }
}

/// Does at once what a barrier asks of workers and writers. One that had waited for commits goes out over
/// records without output.
fn react(state: &mut State, event: Event, under_way: &mut UnderWay) {
    let mut actions = state.advance(event);
    while !actions.is_empty() {
        match actions.remove(0) {
            Action::Inject(epoch) => {
                state.advance(Event::Captured(epoch));
                let more = state.advance(Event::Prepared(epoch));
                assert!(more.contains(&Action::Complete(epoch)));
                under_way.completing = Some((epoch, false));
            }
            Action::Commit(last) => under_way.committing = Some(last),
            Action::Append(_) => unreachable!("the table is never first here"),
            Action::Complete(_) | Action::Hold | Action::Release | Action::Finish => {}
        }
    }
}

fn committed_up_to(
    last: Epoch,
    state: &mut State,
    under_way: &mut UnderWay,
    pending: &mut Vec<Manifest>,
) {
    pending.retain(|it| it.at.epoch > last);
    under_way.committing = None;
    react(state, Event::Committed(last), under_way);
    skip_empty(state, under_way, pending);
}

/// Epochs without rows are committed when their turn comes, without touching the table.
fn skip_empty(state: &mut State, under_way: &mut UnderWay, pending: &mut Vec<Manifest>) {
    if let Some(last) = under_way.committing
        && pending.iter().all(|it| it.at.epoch > last || !it.rows)
    {
        committed_up_to(last, state, under_way, pending);
    }
}
