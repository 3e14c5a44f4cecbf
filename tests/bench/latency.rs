//! From topic to topic: how long after its sending a record's result shows to a reader of committed
//! transactions, at a steady rate and an epoch every 100 ms.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use floe_core::ports::{Source, StartAt};
use floe_core::{Position, TopicPartition};
use floe_source::{KafkaConfig, KafkaSource, Topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::guarantees::percentile;
use crate::{Bench, feed};

const RATE: u64 = 5_000;
/// After the first result shows: a new broker takes seconds to make its topic of transactions.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(20);
const PARTITIONS: u64 = 4;
const INTERVAL: &str = "100ms";
/// How long the last results may take to show.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a record was sent, by partition and offset.
type Sent = (i32, Instant);

impl Bench {
    pub(crate) fn latencies(&self) -> Result<()> {
        let (input, output) = (format!("{}-in", self.topic), format!("{}-out", self.topic));
        feed::produce(&self.broker, &input, 0)?;
        feed::produce(&self.broker, &output, 0)?;
        let pipeline = self.topic_to_topic(&input, &output)?;
        let mut command = self.floe_run(&pipeline);
        command.stdout(Stdio::null());
        let mut floe = Ended(command.spawn().context("start floe")?);
        let all = self.measure(&input, &output);
        floe.end()?;
        let mut latencies = all?;
        latencies.sort_by(f64::total_cmp);
        self.say("kafka_to_kafka_p50_ms", percentile(&latencies, 0.5), "ms");
        self.say("kafka_to_kafka_p99_ms", percentile(&latencies, 0.99), "ms");
        self.say("kafka_to_kafka_measured_records", latencies.len() as f64, "");

        let full = format!("{}-full", self.topic);
        feed::produce(&self.broker, &full, 0)?;
        let pipeline = self.topic_to_topic(&self.topic, &full)?;
        let mut command = self.floe_run(&pipeline);
        command.arg("--until-end");
        let usage = crate::run(&mut command)?;
        let rate = self.records as f64 / usage.wall_seconds;
        self.say("kafka_to_kafka_records_per_s", rate, "1/s");
        Ok(())
    }

    fn topic_to_topic(&self, input: &str, output: &str) -> Result<std::path::PathBuf> {
        let folder = self.folder.join(output);
        std::fs::create_dir_all(&folder)?;
        let text = format!(
            r#"[pipeline]
id = "{output}"
[source]
kafka = "{input}"
bootstrap-servers = "{}"
[[operator]]
module = "{}"
[sink]
kafka = "{output}"
bootstrap-servers = "{}"
key = ["merchant_id"]
[checkpoint]
store = "file://./checkpoints"
interval = "{INTERVAL}"
"#,
            self.broker,
            self.guest.display(),
            self.broker
        );
        let file = folder.join("pipeline.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Milliseconds of each record that was sent after the warm-up.
    fn measure(&self, input: &str, output: &str) -> Result<Vec<f64>> {
        let (tell, told) = mpsc::channel::<Sent>();
        let (stop, shows) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&self.broker, input, tell, &shows));
            let receiver = scope.spawn(|| receive(&self.broker, output, &stop, &shows));
            let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
            let begin = Instant::now();
            while !receiver.is_finished() && begin.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(50));
                if begin.elapsed() > Duration::from_secs(3) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            stop.store(true, Ordering::Relaxed);
            let seen = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
            let from = sent?;
            let mut at: BTreeMap<i32, Vec<Instant>> = BTreeMap::new();
            for (partition, when) in told {
                at.entry(partition).or_default().push(when);
            }
            let mut latencies = Vec::new();
            for ((partition, offset), shown) in &seen {
                let when = at.get(partition).and_then(|it| it.get(*offset as usize));
                let when = when.with_context(|| format!("{partition} @ {offset} was not sent"))?;
                if *when >= from {
                    latencies.push((*shown - *when).as_secs_f64() * 1e3);
                }
            }
            let records: usize = at.values().map(Vec::len).sum();
            ensure!(seen.len() == records, "{} of {records} records showed", seen.len());
            Ok(latencies)
        })
    }
}

/// Sends at a steady rate; each record is its partition's next. Gives when the warm-up ended.
fn send(
    broker: &str,
    topic: &str,
    tell: mpsc::Sender<Sent>,
    shows: &AtomicBool,
) -> Result<Instant> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("linger.ms", "5");
    let producer: BaseProducer = config.create()?;
    let begin = Instant::now();
    let mut from = None;
    for number in 0.. {
        match from {
            None if shows.load(Ordering::Relaxed) => from = Some(Instant::now() + WARM_UP),
            None => ensure!(begin.elapsed() < PATIENCE, "no result showed in {PATIENCE:?}"),
            Some(from) if from.elapsed() >= MEASURED => break,
            Some(_) => {}
        }
        let due = begin + Duration::from_micros(number * 1_000_000 / RATE);
        while Instant::now() < due {
            producer.poll(Duration::from_millis(1));
        }
        let partition = (number % PARTITIONS) as i32;
        let value = format!(
            r#"{{"txn_id":"txn-{number:012}","merchant_id":"m-{}","amount_minor":{},"currency":"INR","city":"Nairobi","note":"order","ts":0}}"#,
            number % 1000,
            number % 5000
        );
        let key = format!("m-{}", number % 1000);
        let record = BaseRecord::to(topic).key(&key).payload(&value).partition(partition);
        let now = Instant::now();
        producer.send(record).map_err(|(error, _)| error)?;
        tell.send((partition, now)).context("nobody listens")?;
    }
    producer.flush(Duration::from_secs(10)).context("flush the producer")?;
    from.context("records without end end")
}

/// What shows to a reader of committed transactions, and when first.
fn receive(
    broker: &str,
    topic: &str,
    stop: &AtomicBool,
    shows: &AtomicBool,
) -> Result<BTreeMap<(i32, i64), Instant>> {
    let mut config =
        KafkaConfig::new(broker, Topics::Names(vec![topic.to_owned()]), "bench-latency");
    config.properties.insert("fetch.wait.max.ms".to_owned(), "5".to_owned());
    let mut source = KafkaSource::connect(config)?;
    let partitions: Vec<TopicPartition> =
        source.partitions()?.into_iter().map(|it| it.topic_partition).collect();
    let start: Position = source.resolve_start(&partitions, StartAt::Earliest)?;
    source.assign(&start)?;
    let mut seen = BTreeMap::new();
    loop {
        let batches = source.poll(Duration::from_millis(5), 8192)?;
        let now = Instant::now();
        if batches.is_empty() && stop.load(Ordering::Relaxed) {
            return Ok(seen);
        }
        for records in batches {
            shows.store(true, Ordering::Relaxed);
            for record in records.iter() {
                let row: Value = serde_json::from_slice(record.value().context("a value")?)?;
                let number = |name: &str| row[name].as_i64().with_context(|| name.to_owned());
                let place = (number("kafka_partition")? as i32, number("kafka_offset")?);
                if seen.insert(place, now).is_some() {
                    bail!("{place:?} showed twice");
                }
            }
        }
    }
}

/// A process that ends with this, whatever happened.
struct Ended(Child);

impl Ended {
    fn end(&mut self) -> Result<()> {
        // SAFETY: a signal to a process that this one started and has not waited for.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let status = self.0.wait().context("wait for floe")?;
        ensure!(status.success(), "floe ended with {status}");
        Ok(())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
