//! Runs an operator twice: straight and with polls; and captured and restored between any two calls, with
//! fuel counted in every other one.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use floe_core::image::{Capture, OperatorImage};
use floe_core::ports::{ExportedState, Operator, OperatorFactory, Staged};
use floe_core::{EventTime, TopicPartition};
use floe_operator::{Factory, Limits, Metering, Module};

use crate::rows::{Row, batch};

/// What a check says when it does not hold.
pub(crate) type Shown<T> = Result<T, String>;

pub(crate) struct Lab {
    module: Arc<Module>,
    config: String,
    limits: Limits,
    seed: u64,
}

/// Long: no check is about it, and the machine may be busy.
pub(crate) const TIME_PER_CALL: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) enum Step {
    /// The first offset, the rows.
    Rows(i64, Vec<Row>),
    Watermark(i64),
}

/// The virtual time of step `index`.
pub(crate) fn time_of(index: usize) -> EventTime {
    EventTime(1_000_000 + 10 * index as i64)
}

/// What the calls left, and the state at the end.
pub(crate) struct Ran {
    pub(crate) staged: Vec<Staged>,
    pub(crate) image: OperatorImage,
}

impl Lab {
    pub(crate) fn new(module: &Arc<Module>) -> Lab {
        Lab {
            module: Arc::clone(module),
            config: "{}".to_owned(),
            limits: Limits::default(),
            seed: 7,
        }
    }

    pub(crate) fn config(mut self, config: &str) -> Lab {
        config.clone_into(&mut self.config);
        self
    }

    pub(crate) fn seed(mut self, seed: u64) -> Lab {
        self.seed = seed;
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Lab {
        change(&mut self.limits);
        self
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// For a lab with other settings.
    pub(crate) fn module_arc(&self) -> Arc<Module> {
        Arc::clone(&self.module)
    }

    fn factory(&self, metering: Metering) -> Factory {
        let module = Arc::clone(&self.module);
        let limits = Limits { metering, time_per_batch: TIME_PER_CALL, ..self.limits.clone() };
        Factory::new("conformance", module, self.config.clone(), limits)
    }

    pub(crate) fn open(&self) -> Shown<Box<dyn Operator>> {
        self.open_with(Metering::Fuel)
    }

    fn open_with(&self, metering: Metering) -> Shown<Box<dyn Operator>> {
        let task = TopicPartition::new("conformance", 0);
        self.factory(metering).open(&task, self.seed).map_err(|it| it.message)
    }

    pub(crate) fn restore(&self, image: &OperatorImage) -> Shown<Box<dyn Operator>> {
        self.restore_with(Metering::Fuel, image)
    }

    fn restore_with(&self, metering: Metering, image: &OperatorImage) -> Shown<Box<dyn Operator>> {
        let task = TopicPartition::new("conformance", 0);
        self.factory(metering).restore(&task, image).map_err(|it| it.message)
    }

    /// A fresh instance that took what another told of its state.
    pub(crate) fn import(&self, state: &ExportedState) -> Shown<Box<dyn Operator>> {
        let task = TopicPartition::new("conformance", 0);
        let factory = self.factory(Metering::Fuel);
        factory.import(&task, self.seed, state).map_err(|it| it.message)
    }

    pub(crate) fn batch(&self, first: i64, rows: &[Row]) -> RecordBatch {
        batch(self.module.input(), first, rows)
    }

    /// One call.
    pub(crate) fn call(
        &self,
        operator: &mut dyn Operator,
        index: usize,
        step: &Step,
    ) -> Shown<Staged> {
        let time = time_of(index);
        match step {
            Step::Rows(first, rows) => operator.process(&self.batch(*first, rows), time),
            Step::Watermark(watermark) => operator.watermark(EventTime(*watermark), time),
        }
        .map_err(|it| it.message)
    }

    /// Both runs; an error where one fails or where they differ.
    pub(crate) fn run(&self, steps: &[Step]) -> Shown<Ran> {
        let mut operator = self.open_with(Metering::Time)?;
        let mut staged = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            staged.push(self.call(&mut *operator, index, step)?);
        }
        let image = operator.capture(Capture::Whole).map_err(|it| it.message)?;

        let mut operator = self.open()?;
        for (index, step) in steps.iter().enumerate() {
            let between = operator.capture(Capture::Whole).map_err(|it| it.message)?;
            let metering = if index % 2 == 0 { Metering::Fuel } else { Metering::Time };
            operator = self.restore_with(metering, &between)?;
            let again = self.call(&mut *operator, index, step).map_err(|it| {
                format!("after it was captured and restored before call {index}: {it}")
            })?;
            if !is_same(&again, &staged[index]) {
                return Err(format!("restored, call {index} leaves other rows than straight"));
            }
        }
        let restored = operator.capture(Capture::Whole).map_err(|it| it.message)?;
        match difference(&image, &restored) {
            Some(what) => {
                Err(format!("restored between all calls, the final state differs: {what}"))
            }
            None => Ok(Ran { staged, image }),
        }
    }

    /// The rows of one batch: what they left.
    pub(crate) fn rows(&self, rows: &[Row]) -> Shown<Staged> {
        let mut ran = self.run(&[Step::Rows(0, rows.to_vec())])?;
        Ok(ran.staged.remove(0))
    }

    /// The message with which this call fails.
    pub(crate) fn failure(&self, rows: &[Row]) -> Shown<String> {
        let mut operator = self.open()?;
        match self.call(&mut *operator, 0, &Step::Rows(0, rows.to_vec())) {
            Ok(_) => Err("the call succeeds, and must fail".to_owned()),
            Err(message) => Ok(message),
        }
    }
}

fn is_same(a: &Staged, b: &Staged) -> bool {
    a.emitted == b.emitted && a.rejected == b.rejected
}

fn difference(a: &OperatorImage, b: &OperatorImage) -> Option<String> {
    if a.memory != b.memory {
        let (a, b) = (a.memory.to_vec(), b.memory.to_vec());
        let at = (0..a.len().min(b.len())).find(|at| a[*at] != b[*at]);
        return Some(match at {
            Some(at) => format!("memory at {at:#x} is {:#x} and {:#x}", a[at], b[at]),
            None => format!("memory of {} and {} bytes", a.len(), b.len()),
        });
    }
    if let Some(at) = (0..a.globals.len()).find(|at| a.globals.get(*at) != b.globals.get(*at)) {
        return Some(format!("mutable global {at}"));
    }
    (a != b).then(|| "the input region or the random numbers".to_owned())
}

/// One output's rows, in order, as the batches that were handed out.
pub(crate) fn emitted(staged: &Staged, output: u32) -> Vec<&RecordBatch> {
    staged.emitted.iter().filter(|(it, _)| *it == output).map(|(_, batch)| batch).collect()
}

/// The only batch of output 0.
pub(crate) fn one(staged: &Staged) -> Shown<&RecordBatch> {
    match &emitted(staged, 0)[..] {
        [batch] => Ok(batch),
        batches => Err(format!("{} batches were emitted, and it must be one", batches.len())),
    }
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Shown<()> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
