//! A keyed task by itself: its watermark, idle partitions before it, and a row that stops its operator.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::Error;
use floe_core::image::{Capture, OperatorImage};
use floe_core::ports::{Operator, OperatorDescription, OperatorFactory, Staged};

use super::*;
use crate::wiring::OnError;

/// Emits the sum so far for each row, and the watermark when it is told one. 13 stops it.
struct Sum {
    sum: i64,
}

struct SumFactory(OperatorDescription);

const POISON: i64 = 13;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn rows_of(numbers: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(numbers.to_vec()));
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

fn numbers_of(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

impl Operator for Sum {
    fn process(&mut self, batch: &RecordBatch, _: EventTime) -> Result<Staged> {
        let mut sums = Vec::new();
        for number in numbers_of(batch) {
            if number == POISON {
                return Err(Error::operator("trap: unreachable"));
            }
            self.sum += number;
            sums.push(self.sum);
        }
        Ok(Staged { emitted: vec![(0, rows_of(&sums))], rejected: Vec::new() })
    }

    fn watermark(&mut self, watermark: EventTime, _: EventTime) -> Result<Staged> {
        Ok(Staged { emitted: vec![(0, rows_of(&[watermark.0]))], rejected: Vec::new() })
    }

    fn capture(&mut self, _: Capture) -> Result<OperatorImage> {
        let mut memory = vec![0; 1 << 16];
        memory[..8].copy_from_slice(&self.sum.to_le_bytes());
        Ok(OperatorImage {
            memory: memory.into(),
            globals: Vec::new(),
            input_region: (0, 0),
            rng_state: [1; 4],
        })
    }

    fn forget_captures(&mut self) {}

    fn memory_bytes(&self) -> u64 {
        1 << 16
    }
}

impl OperatorFactory for SumFactory {
    fn describe(&self) -> &OperatorDescription {
        &self.0
    }

    fn open(&self, _: &TopicPartition, _: u64) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Sum { sum: 0 }))
    }

    fn restore(&self, _: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        let memory = image.memory.to_vec();
        let sum = i64::from_le_bytes(memory[..8].try_into().unwrap());
        Ok(Box::new(Sum { sum }))
    }
}

fn task(upstream: usize, on_error: OnError) -> KeyedTask {
    let factory: Arc<dyn OperatorFactory> = Arc::new(SumFactory(OperatorDescription {
        name: "sum".into(),
        version: "1".into(),
        state_version: 1,
        module_hash: [1; 32],
        config_hash: [2; 32],
        input: schema(),
        outputs: vec![("sums".into(), schema())],
        exports_state: false,
        imports_state: false,
    }));
    let task = TopicPartition::of_stage("sum", 1);
    let operator = factory.open(&task, 0).unwrap();
    let name = Arc::from("sum");
    KeyedTask {
        task,
        number: 1,
        chain: vec![Link { name, on_error, factory, counted: None, operator }],
        wires: Arc::new(Wires::chain(1)),
        before: (0..upstream as i32).map(|it| TopicPartition::new("in", it)).collect(),
        upstream: vec![EventTime::MIN; upstream],
        restored: Vec::new(),
        virtual_time: EventTime::MIN,
        watermark: EventTime::MIN,
        records: 0,
        journal: Journal::default(),
        careful: false,
    }
}

fn passed(from: u32, numbers: &[i64], time: i64) -> PassedRows {
    let offsets = Some((Offset(time), Offset(time)));
    let origin = Origin { task: TopicPartition::new("t", from as i32), offsets };
    let (batch, virtual_time) = (rows_of(numbers), EventTime(time));
    PassedRows { from, to: 1, batch, origin, virtual_time }
}

fn sums(output: &Output) -> Vec<i64> {
    output.rows.iter().flat_map(|(_, it)| numbers_of(it)).collect()
}

/// What a task was told, as (from, watermark), and what it told its operator then.
fn told(task: &mut KeyedTask, from: u32, watermark: i64) -> Option<i64> {
    let output = task.take_watermark(from, EventTime(watermark), Epoch(1), &Status::default());
    let output = output.unwrap_or_else(|_| panic!("a watermark stops nothing"));
    assert_eq!(sums(&output), output.watermark.map_or(vec![], |it| vec![it.0]));
    output.watermark.map(|it| it.0)
}

/// The steps of a task's journal without the marks, of which one stands behind each call: each leaves rows.
fn calls(task: &KeyedTask) -> Vec<Step> {
    let is_mark = |it: &Step| matches!(it, Step::Rows(_));
    for two in task.journal.steps.windows(2) {
        let leaves = !is_mark(&two[0]) && !matches!(two[0], Step::MergeSkip { .. });
        assert_eq!(leaves, is_mark(&two[1]), "{two:?}");
    }
    assert!(task.journal.steps.last().is_none_or(is_mark));
    task.journal.steps.iter().filter(|it| !is_mark(it)).copied().collect()
}

#[test]
fn the_watermark_is_the_least_of_all_before_and_never_goes_back() {
    let mut task = task(3, OnError::Fail);
    assert_eq!(told(&mut task, 0, 50), None, "two have not begun");
    assert_eq!(told(&mut task, 1, 70), None);
    assert_eq!(told(&mut task, 2, 60), Some(50));
    assert_eq!(told(&mut task, 0, 40), None, "a smaller one is an old one");
    assert_eq!(told(&mut task, 2, 90), None);
    assert_eq!(told(&mut task, 0, 80), Some(70));
    // A partition that is idle follows the others: it is told so, as a step of its own task.
    assert_eq!(told(&mut task, 1, 80), Some(80));
    assert_eq!(told(&mut task, 1, 80), None, "once");
    let steps = [50, 70, 80].map(|it| Step::Watermark(EventTime(it)));
    assert_eq!(calls(&task), steps);
}

#[test]
fn a_watermark_and_its_rows_stand_in_the_journal_in_their_order() {
    let mut task = task(2, OnError::Fail);
    let status = Status::default();
    let take = |task: &mut KeyedTask, rows: &PassedRows| {
        let output = task.take(rows, Epoch(1), &status);
        sums(&output.unwrap_or_else(|_| panic!("nothing stops it")))
    };
    assert_eq!(take(&mut task, &passed(0, &[1, 2], 100)), [1, 3]);
    assert_eq!(told(&mut task, 0, 90), None);
    // What another task passes is older, and the clock does not go back for it.
    assert_eq!(take(&mut task, &passed(1, &[4], 40)), [7]);
    assert_eq!(told(&mut task, 1, 30), Some(30));
    assert_eq!(task.virtual_time, EventTime(100));
    let kinds: Vec<String> = calls(&task)
        .iter()
        .map(|it| match it {
            Step::Merge(merge) => {
                format!("{} rows of {} at {}", merge.rows, merge.from, merge.virtual_time.0)
            }
            other => format!("{other:?}"),
        })
        .collect();
    let mark = format!("{:?}", Step::Watermark(EventTime(30)));
    assert_eq!(kinds, ["2 rows of 0 at 100", "1 rows of 1 at 100", &mark]);
    assert_eq!(task.records, 3);
}

#[test]
fn a_row_that_stops_the_operator_is_found_and_passed_over_once() {
    let status = Status::default();
    let rows = passed(1, &[1, 2, POISON, 4, 5], 7);
    let mut first = task(2, OnError::Skip);
    let Err(Stopped::Poisoned(suspect)) = first.take(&rows, Epoch(1), &status) else {
        panic!("without an image from before, the run goes back to its checkpoint")
    };
    assert_eq!((suspect.task, suspect.first), (TopicPartition::of_stage("sum", 1), Offset(0)));

    let mut again = task(2, OnError::Skip);
    again.careful = true;
    let output = again.take(&rows, Epoch(1), &status).unwrap_or_else(|_| panic!("it is careful"));
    assert_eq!(sums(&output), [1, 3, 7, 12], "what is behind it goes on from what is before it");
    assert_eq!(status.rejected_total(), 1);
    let steps: Vec<(u32, bool)> = calls(&again)
        .iter()
        .map(|it| match it {
            Step::Merge(merge) => (merge.rows, false),
            Step::MergeSkip { from: 1 } => (1, true),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(steps, [(2, false), (1, true), (2, false)]);
    let captured = again.capture().unwrap();
    assert_eq!(captured.next_offset, Offset(5), "it took five, and passed over one of them");
    assert!(!again.careful, "behind the checkpoint it was settled");
}

#[test]
fn with_fail_the_row_is_named_by_what_it_was_made_from() {
    let mut task = task(2, OnError::Fail);
    task.careful = true;
    let status = Status::default();
    let Err(Stopped::Failed(error)) = task.take(&passed(1, &[POISON], 7), Epoch(3), &status) else {
        panic!("the file says fail")
    };
    for wanted in ["a row of @sum/1 made from t/1 @ 7..7", "trap: unreachable", "epoch 3"] {
        assert!(error.message.contains(wanted), "{wanted} is not in {}", error.message);
    }
}

/// Rows on their way come before the watermark that was told behind them, whatever the tasks before say now.
#[test]
fn what_was_in_flight_comes_back_in_its_order() {
    let mut before = task(2, OnError::Fail);
    before.upstream = vec![EventTime(5), EventTime(7)];
    before.watermark = EventTime(5);
    let rows = PassedRows {
        from: 0,
        to: 1,
        batch: rows_of(&[3]),
        origin: Origin { task: TopicPartition::new("in", 0), offsets: None },
        virtual_time: EventTime(9),
    };
    let other = Passed::Rows(PassedRows { to: 0, ..rows.clone() });
    let told = Passed::Watermark { from: 0, to: None, watermark: EventTime(8) };
    let passed = [Passed::Rows(rows), other, told];
    let in_flight = InFlight {
        passed: passed.iter().filter_map(|it| before.in_flight(it)).collect(),
        upstream: before.watermarks_taken(),
    };
    assert_eq!(in_flight.passed.len(), 2, "one is for another task");

    let mut after = task(2, OnError::Fail);
    after.watermark = EventTime(5);
    // A partition more than before, in front of the others: numbers are others, names are not.
    let names = ["a", "in", "in"].into_iter().zip([0, 0, 1]);
    let all: Arc<[TopicPartition]> = names.map(|(t, n)| TopicPartition::new(t, n)).collect();
    let now = [EventTime(8), EventTime(8), EventTime(7)];
    after.restore(&all, &now, in_flight.clone()).unwrap();
    assert_eq!(after.upstream, [EventTime(8), EventTime(5), EventTime(7)]);
    let restored = std::mem::take(&mut after.restored);
    let status = Status::default();
    let [Passed::Rows(rows), Passed::Watermark { from: 1, to: Some(1), watermark }] = &restored[..]
    else {
        panic!("{restored:?}")
    };
    assert_eq!((rows.from, rows.to, rows.virtual_time), (1, 1, EventTime(9)));
    after.take(rows, Epoch(2), &status).ok().unwrap();
    after.take_watermark(1, *watermark, Epoch(2), &status).ok().unwrap();
    assert_eq!(after.watermark, EventTime(7));

    let unknown: Arc<[TopicPartition]> = [TopicPartition::new("a", 0)].into();
    let error = task(1, OnError::Fail).restore(&unknown, &[EventTime(8)], in_flight).unwrap_err();
    assert!(error.message.contains("in/0, which is no task before it"), "{error}");
}
