//! A case through the real sandbox, in one of the ways that must all give the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, StructArray};
use floe_core::image::Capture;
use floe_core::ports::{Decoder, DecoderFactory, Operator, OperatorFactory, Staged};
use floe_core::{Error, EventTime, Offset, Records, Result, TopicPartition};
use floe_operator::{Factory, Format, InputDecoder, Limits, Module};
use floe_pipeline::config::columns;

use super::{Case, CaseRecord, Outcome, Step};
use crate::command::rows::value;

/// How a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One instance from begin to end.
    Straight,
    /// At each barrier the instance is captured, dropped, and restored into a fresh one.
    AtBarriers,
    /// A batch has one record, and between two batches the instance is made anew.
    BetweenRecords,
    /// As the last, without the restoring: tells apart what the restoring did from what the batches did.
    OneByOne,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Straight, Way::AtBarriers, Way::BetweenRecords];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Straight => "straight",
            Way::AtBarriers => "restored at barriers",
            Way::BetweenRecords => "restored between all records",
            Way::OneByOne => "one record a batch",
        }
    }

    fn one_record(self) -> bool {
        matches!(self, Way::BetweenRecords | Way::OneByOne)
    }
}

/// The operator under test, with a case's configuration.
pub(crate) struct Subject {
    factory: Factory,
    decoder: InputDecoder,
}

impl Subject {
    pub(crate) fn new(module: &Arc<Module>, case: &Case) -> Result<Subject> {
        let limits = Limits::default();
        let upstream = match &case.columns {
            None => None,
            Some(texts) => Some(columns::schema(texts).map_err(|(_, what)| {
                Error::invalid(format!("{}: {what}\n→ {}", case.file.display(), columns::HELP))
            })?),
        };
        let config = case.config.clone();
        let factory =
            Factory::configured(module.name(), Arc::clone(module), config, upstream, limits)?;
        let format = if case.raw { Format::Raw } else { Format::Json };
        let decoder = InputDecoder::new(format, Arc::clone(&factory.describe().input))?;
        Ok(Subject { factory, decoder })
    }
}

/// Rows of one call at the most (A14).
const BATCH_RECORDS_MAX: usize = floe_operator::BATCH_ROWS_MAX;

pub(crate) fn run<'a>(subject: &'a Subject, case: &'a Case, way: Way) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut run: Option<Running<'a>> = None;
    let mut waiting: Vec<&'a CaseRecord> = Vec::new();
    for step in &case.steps {
        match step {
            Step::Record(record) => {
                let partition = record.place.map_or(0, |(partition, _)| partition);
                let is_other = run.as_ref().is_none_or(|it| it.task.partition != partition);
                if is_other {
                    if let Some(run) = &mut run {
                        run.take(&waiting, &mut outcome)?;
                    }
                    waiting.clear();
                    run = Some(Running::open(subject, partition)?);
                }
                // A batch is of one source.
                if let Some(run) = &mut run
                    && waiting.last().is_some_and(|it| it.source != record.source)
                {
                    run.take(&waiting, &mut outcome)?;
                    waiting.clear();
                }
                waiting.push(record);
                let (Some(run), true) =
                    (&mut run, way.one_record() || waiting.len() == BATCH_RECORDS_MAX)
                else {
                    continue;
                };
                run.take(&waiting, &mut outcome)?;
                waiting.clear();
                if way == Way::BetweenRecords {
                    run.restore()?;
                }
            }
            Step::Barrier if way == Way::AtBarriers => {
                if let Some(run) = &mut run {
                    run.take(&waiting, &mut outcome)?;
                    waiting.clear();
                    run.restore()?;
                }
            }
            Step::Barrier => {}
            Step::Watermark(time) => {
                if run.is_none() {
                    run = Some(Running::open(subject, 0)?);
                }
                let Some(run) = &mut run else { continue };
                run.take(&waiting, &mut outcome)?;
                waiting.clear();
                let staged = run.operator.watermark(EventTime(*time), run.virtual_time)?;
                run.keep(staged, &[], &mut outcome)?;
                if way == Way::BetweenRecords {
                    run.restore()?;
                }
            }
        }
    }
    if let Some(run) = &mut run {
        run.take(&waiting, &mut outcome)?;
    }
    outcome.rejected.sort();
    Ok(outcome)
}

struct Running<'a> {
    subject: &'a Subject,
    task: TopicPartition,
    /// One for each source that records name.
    decoders: BTreeMap<Option<&'a str>, Box<dyn Decoder>>,
    operator: Box<dyn Operator>,
    virtual_time: EventTime,
    /// For records that have no place of their own.
    next: i64,
}

/// The seed of random numbers: the same in every run of a case.
const SEED: u64 = 1;

impl<'a> Running<'a> {
    fn open(subject: &'a Subject, partition: i32) -> Result<Running<'a>> {
        let task = TopicPartition { topic: "case".into(), partition };
        let operator = subject.factory.open(&task, SEED)?;
        let decoders = BTreeMap::new();
        Ok(Running { subject, task, decoders, operator, virtual_time: EventTime::MIN, next: 0 })
    }

    fn restore(&mut self) -> Result<()> {
        let image = self.operator.capture(Capture::Whole)?;
        self.operator = self.subject.factory.restore(&self.task, &image)?;
        Ok(())
    }

    fn take(&mut self, batch: &[&'a CaseRecord], outcome: &mut Outcome) -> Result<()> {
        let Some(first) = batch.first() else { return Ok(()) };
        let mut records = Records::new(self.task.clone(), Offset(self.next));
        for record in batch {
            let offset = record.place.map_or(self.next, |(_, offset)| offset);
            self.next = offset + 1;
            let timestamp = EventTime(record.timestamp.unwrap_or(offset));
            self.virtual_time = self.virtual_time.max(timestamp);
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            records.push(Offset(offset), timestamp, key, value);
            for (name, value) in &record.headers {
                records.push_header(name, value.as_deref());
            }
        }
        let source = first.source.as_deref();
        let decoder =
            self.decoders.entry(source).or_insert_with(|| self.subject.decoder_of(source));
        let decoded = decoder.decode(&records)?;
        for rejection in decoded.rejected {
            outcome.rejected.push((batch[rejection.row].line, rejection.reason));
        }
        if decoded.batch.num_rows() == 0 {
            return Ok(());
        }
        let staged = self.operator.process(&decoded.batch, self.virtual_time)?;
        let lines: Vec<usize> = match &decoded.rows {
            None => batch.iter().map(|it| it.line).collect(),
            Some(rows) => rows.iter().map(|it| batch[*it as usize].line).collect(),
        };
        self.keep(staged, &lines, outcome)
    }

    fn keep(&self, staged: Staged, lines: &[usize], outcome: &mut Outcome) -> Result<()> {
        for (output, rows) in staged.emitted {
            let (name, _) = &self.subject.factory.describe().outputs[output as usize];
            let rows = StructArray::from(rows);
            for row in 0..rows.len() {
                outcome.rows.push((name.clone(), value::object(&rows, row)));
            }
        }
        for rejection in staged.rejected {
            outcome.rejected.push((lines[rejection.row], rejection.reason));
        }
        Ok(())
    }
}

impl Subject {
    fn decoder_of(&self, source: Option<&str>) -> Box<dyn Decoder> {
        match source {
            None => self.decoder.decoder(),
            Some(name) => self.decoder.clone().of_source(name).decoder(),
        }
    }

    /// The name of the first output.
    pub(crate) fn first_output(&self) -> &str {
        self.factory.describe().outputs.first().map_or("", |(name, _)| name.as_str())
    }
}
