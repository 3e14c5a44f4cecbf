//! World: the store, the tables, the input and the time of one simulation, and the fate of each effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use floe_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::simulation::history::History;
use crate::simulation::mutant::Mutant;
use crate::simulation::plan::{Plan, Side};
use crate::simulation::rng::Rng;
use crate::simulation::source::{InputRecord, make_input};
use crate::simulation::table::{Row, SimTable};

/// The name of the pipeline, of its topic and of its tables.
pub const PIPELINE: &str = "sim";
pub const TOPIC: &str = "in";
pub const TABLE: &str = "db.totals";
pub const LETTERS: &str = "db.letters";

pub struct World {
    state: Mutex<State>,
    began: Instant,
}

pub struct State {
    pub plan: Arc<Plan>,
    pub mutant: Option<Mutant>,
    pub rng: Rng,
    pub input: Arc<Vec<Vec<InputRecord>>>,
    /// The pipeline's store, and copies of it.
    pub stores: Vec<BTreeMap<String, Bytes>>,
    pub tables: BTreeMap<String, SimTable>,
    /// Data files by name.
    pub files: BTreeMap<String, Vec<Row>>,
    pub history: History,
    /// One line an effect: two runs of a seed have the same.
    pub trace: Vec<String>,
    /// Effects so far, and which of them change something.
    pub effects: u64,
    pub changing: Vec<u64>,
    /// Requests that were sent and have not landed.
    pub in_flight: usize,
    pub faults_made: u64,
    pub processes: u32,
    pub alive: BTreeMap<u32, bool>,
}

/// What an effect touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Store,
    Catalog,
    Files,
}

/// What becomes of one effect; made before it is sent.
#[derive(Clone, Debug)]
pub struct Fate {
    pub number: u64,
    pub latency: Duration,
    pub crash: Option<Side>,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not applied, and an error.
    Refused(ErrorKind),
    /// Applied, and an error.
    AnswerLost,
    /// An error, and applied this much later.
    Late(Duration),
}

impl World {
    pub fn new(plan: &Plan, mutant: Option<Mutant>) -> Arc<World> {
        let mut rng = Rng::new(plan.seed);
        let input = make_input(plan, &mut rng);
        let mut tables = BTreeMap::from([(TABLE.to_owned(), SimTable::new([1; 16]))]);
        if plan.dead_letters {
            tables.insert(LETTERS.to_owned(), SimTable::new([2; 16]));
        }
        let state = State {
            plan: Arc::new(plan.clone()),
            mutant,
            rng,
            input: Arc::new(input),
            stores: vec![BTreeMap::new()],
            tables,
            files: BTreeMap::new(),
            history: History::default(),
            trace: Vec::new(),
            effects: 0,
            changing: Vec::new(),
            in_flight: 0,
            faults_made: 0,
            processes: 0,
            alive: BTreeMap::new(),
        };
        Arc::new(World { state: Mutex::new(state), began: Instant::now() })
    }

    /// Everything happens on one thread, so this never waits.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("no holder of this lock panics"))
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn trace(&self, line: impl Into<String>) {
        let (now, line) = (self.now().as_millis(), line.into());
        self.with(|it| it.trace.push(format!("{now:>7} ms  {line}")));
    }

    /// Takes the world apart at the end.
    pub fn into_state(self) -> State {
        self.state.into_inner().expect("no holder of this lock panics")
    }
}

impl State {
    /// I8 of data files, looked at in the moment of the deed.
    pub fn delete_file(&mut self, file: &str) {
        if self.files.remove(file).is_none() {
            return;
        }
        self.history.orphans += 1;
        if self.tables.values().any(|it| it.files.contains(file)) {
            self.history.notice(format!("I8: {file} is deleted, and a snapshot names it"));
        }
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Numbers an effect and draws what becomes of it.
    pub fn fate(&mut self, place: Place, changes: bool) -> Fate {
        self.effects += 1;
        let number = self.effects;
        if changes {
            self.changing.push(number);
        }
        let plan = Arc::clone(&self.plan);
        let crash = plan.crashes.iter().find(|it| it.effect == number).map(|it| it.side);
        let active = number <= plan.faults_end;
        let latency_ms = match place {
            Place::Store => self.rng.range(1..=20),
            Place::Catalog => self.rng.range(2..=60),
            Place::Files => self.rng.range(1..=10),
        };
        let slow = active && self.rng.chance(plan.faults.slow);
        let latency_ms = if slow { self.rng.range(500..=30_000) } else { latency_ms };
        let rate = match place {
            Place::Store => plan.faults.store,
            Place::Catalog => plan.faults.catalog,
            Place::Files => plan.faults.files,
        };
        // The client of a store repeats what only reads, so few of these errors come through.
        let rate = if changes { rate } else { rate / 8 };
        let fault = (active && self.rng.chance(rate)).then(|| self.fault(changes));
        self.faults_made += u64::from(fault.is_some());
        Fate { number, latency: Duration::from_millis(latency_ms), crash, fault }
    }

    fn fault(&mut self, changes: bool) -> Fault {
        if !changes {
            return Fault::Refused(ErrorKind::Retry);
        }
        if self.rng.chance(self.plan.faults.late) {
            let long = self.rng.chance(300);
            let ms = if long { self.rng.range(2_000..=90_000) } else { self.rng.range(5..=2_000) };
            return Fault::Late(Duration::from_millis(ms));
        }
        match self.rng.below(3) {
            0 => Fault::Refused(ErrorKind::Retry),
            1 => Fault::Refused(ErrorKind::Unknown),
            _ => Fault::AnswerLost,
        }
    }
}

pub fn no_answer(what: &str) -> Error {
    Error::unknown(format!("{what}: no answer"))
}
