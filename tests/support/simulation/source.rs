//! The simulated source: records in memory, that arrive when the seed says so; and their decoder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::ports::{
    Decoded, Decoder, DecoderFactory, PartitionFacts, RejectedRow, Source, StartAt,
};
use floe_core::{Error, EventTime, Offset, Position, Records, Result, TopicPartition};

use crate::simulation::mutant::Mutant;
use crate::simulation::plan::Plan;
use crate::simulation::process::{Life, Process};
use crate::simulation::rng::Rng;
use crate::simulation::world::TOPIC;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: i64,
    pub value: i64,
}

/// Values with a meaning to decoder and operator.
pub const UNDECODABLE: i64 = -1;
pub const POISON: i64 = -2;
pub const REJECTED: i64 = -3;

/// No record lies further behind the newest one of its partition: none is ever late.
pub const OUT_OF_ORDER_MS: i64 = 60;

/// Offsets have gaps, as transactions and compaction leave them, also behind the last record.
pub fn make_input(plan: &Plan, rng: &mut Rng) -> Vec<Vec<InputRecord>> {
    let partition = |(number, count): (usize, &usize)| {
        let (mut offset, mut time) = (rng.below(3) as i64, 1_000_000 + number as i64);
        let mut newest = time;
        (0..*count)
            .map(|_| {
                offset += rng.pick(&[1, 1, 1, 2, 3]);
                time = (time + rng.below(100) as i64 - 20).max(newest - OUT_OF_ORDER_MS);
                newest = newest.max(time);
                let value = match rng.below(1000) {
                    it if it < plan.poison => POISON,
                    it if it < plan.poison + plan.rejects => REJECTED,
                    it if it < plan.poison + 2 * plan.rejects => UNDECODABLE,
                    it => it as i64,
                };
                let key = rng.below(plan.keys) as i64;
                InputRecord { offset, timestamp_ms: time, key, value }
            })
            .collect()
    };
    plan.partitions.iter().enumerate().map(partition).collect()
}

pub struct SimSource {
    process: Arc<Process>,
    input: Arc<Vec<Vec<InputRecord>>>,
    next: BTreeMap<i32, i64>,
}

impl SimSource {
    pub fn new(process: &Arc<Process>) -> SimSource {
        let input = process.world.with(|it| Arc::clone(&it.input));
        SimSource { process: Arc::clone(process), input, next: BTreeMap::new() }
    }

    /// A gap behind the last record, where there is one.
    fn end(&self, partition: usize) -> i64 {
        self.input[partition].last().map_or(0, |it| it.offset + 1 + it.offset % 2)
    }

    fn check_alive(&self) -> Result<()> {
        match self.process.life() {
            Life::Dead => Err(Error::retry("the process is dead")),
            Life::Running | Life::Paused => Ok(()),
        }
    }
}

impl Source for SimSource {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        self.check_alive()?;
        Ok((0..self.input.len())
            .map(|partition| PartitionFacts {
                topic_partition: TopicPartition::new(TOPIC, partition as i32),
                topic_id: Some("the-topic".into()),
                earliest: Offset(0),
                end: Offset(self.end(partition)),
            })
            .collect())
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        assert_eq!(start, StartAt::Earliest);
        Ok(Position(partitions.iter().map(|it| (it.clone(), Offset(0))).collect()))
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        self.check_alive()?;
        let wrong = self.process.world.with(|it| match it.mutant {
            Some(Mutant::PositionAhead) => 1,
            Some(Mutant::PositionBehind) => -1,
            Some(_) | None => 0,
        });
        let place = |at: i64| if at > 0 { at + wrong } else { at };
        self.next = position.0.iter().map(|(task, at)| (task.partition, place(at.0))).collect();
        Ok(())
    }

    fn poll(&mut self, _timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        self.check_alive()?;
        if self.process.life() == Life::Paused {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for partition in 0..self.input.len() {
            let end = self.end(partition);
            let next = self.next[&(partition as i32)];
            let arrived = self.process.world.with(|it| {
                it.rng.chance(it.plan.arrival).then(|| it.rng.range(1..=records_max as u64))
            });
            let (Some(count), true) = (arrived, next < end) else { continue };
            let from = self.input[partition].partition_point(|it| it.offset < next);
            let until = (from + count as usize).min(self.input[partition].len());
            let topic_partition = TopicPartition::new(TOPIC, partition as i32);
            let mut records = Records::new(topic_partition, Offset(next));
            for it in &self.input[partition][from..until] {
                let (key, value) = (it.key.to_le_bytes(), it.value.to_le_bytes());
                let timestamp = EventTime(it.timestamp_ms);
                records.push(Offset(it.offset), timestamp, Some(&key), Some(&value));
            }
            if until == self.input[partition].len() {
                records.advance_to(Offset(end));
            }
            self.next.insert(partition as i32, records.next_offset().0);
            let now = records.next_offset();
            self.process.world.trace(format!("p{} reads {partition} to {now}", self.process.pid));
            all.push(records);
        }
        Ok(all)
    }

    fn report(&mut self, committed: &Position) -> Result<()> {
        self.check_alive()?;
        assert_eq!(committed.0.len(), self.input.len());
        Ok(())
    }
}

pub fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("key", DataType::Int64, false),
        Field::new("value", DataType::Int64, false),
        Field::new("time", DataType::Int64, false),
    ]))
}

pub struct SimDecoder;

impl DecoderFactory for SimDecoder {
    fn name(&self) -> &str {
        "simulated"
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(SimDecoder)
    }
}

impl Decoder for SimDecoder {
    fn decode(&mut self, records: &Records) -> Result<Decoded> {
        let number = |bytes: Option<&[u8]>| {
            i64::from_le_bytes(bytes.and_then(|it| it.try_into().ok()).expect("eight bytes"))
        };
        let (mut rows, mut rejected) = (Vec::new(), Vec::new());
        let (mut offsets, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut times = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let value = number(record.value());
            if value == UNDECODABLE {
                rejected.push(RejectedRow { row: index, reason: "undecodable".into() });
                continue;
            }
            rows.push(index as u32);
            offsets.push(record.offset().0);
            keys.push(number(record.key()));
            values.push(value);
            times.push(record.timestamp().0);
        }
        let partitions = vec![records.topic_partition().partition; offsets.len()];
        let batch = RecordBatch::try_new(
            input_schema(),
            vec![
                Arc::new(Int32Array::from(partitions)),
                Arc::new(Int64Array::from(offsets)),
                Arc::new(Int64Array::from(keys)),
                Arc::new(Int64Array::from(values)),
                Arc::new(Int64Array::from(times)),
            ],
        );
        let batch = batch.expect("the columns stand in the order of the schema");
        Ok(Decoded {
            batch,
            rows: (!rejected.is_empty()).then_some(rows),
            rejected,
            schemas: Vec::new(),
        })
    }
}
