//! The Kafka source against a real broker, named by FLOE_TEST_KAFKA=host:port.
//!
//! Each test makes topics of its own. Without the variable the tests say so and pass; in CI they fail.

#![allow(clippy::unwrap_used, reason = "a test's helper fails its test")]

mod sasl;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::{Error, ErrorKind, EventTime, Offset, Position, Records, TopicPartition};
use floe_source::{KafkaConfig, KafkaSource, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

/// The broker, or nothing where none is at hand.
fn broker() -> Option<String> {
    address("FLOE_TEST_KAFKA")
}

fn address(variable: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(broker) => Some(broker),
        Err(_) => {
            let is_ci = std::env::var("CI").is_ok_and(|it| it == "true");
            assert!(!is_ci, "{variable} is not set, and CI needs it");
            println!("skipped: {variable}=host:port names no Kafka broker");
            None
        }
    }
}

/// A test's own topic on the broker, with what writes to it.
struct Cluster {
    broker: String,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

static TOPICS: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    fn with_topic(partition_count: i32, settings: &[(&str, &str)]) -> Option<Cluster> {
        let broker = broker()?;
        let admin = ClientConfig::new().set("bootstrap.servers", &broker).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let count = TOPICS.fetch_add(1, Ordering::Relaxed);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
        let topic = format!("floe-test-{now}-{}-{count}", std::process::id());
        let cluster = Cluster { broker, topic, admin, runtime };
        cluster.create(partition_count, settings);
        Some(cluster)
    }

    fn create(&self, partition_count: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(&self.topic, partition_count, TopicReplication::Fixed(1));
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let created = self.admin.create_topics([&topic], &AdminOptions::new());
        self.runtime.block_on(created).unwrap().remove(0).unwrap();
        // The broker answers before all of it knows the topic.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut source = self.source();
        while source.partitions().is_err() {
            assert!(Instant::now() < deadline, "the topic does not appear");
        }
    }

    fn delete(&self) {
        let deleted = self.admin.delete_topics(&[&self.topic], &AdminOptions::new());
        self.runtime.block_on(deleted).unwrap().remove(0).unwrap();
    }

    fn delete_records(&self, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, NativeOffset::Offset(before)).unwrap();
        self.runtime.block_on(self.admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    fn config(&self) -> KafkaConfig {
        let topics = Topics::Names(vec![self.topic.clone()]);
        KafkaConfig::new(&self.broker, topics, format!("{}-group", self.topic))
    }

    fn source(&self) -> KafkaSource {
        KafkaSource::connect(self.config()).unwrap()
    }

    fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker).set("linger.ms", "1");
        config.set("message.max.bytes", "20000000");
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        config.create().unwrap()
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(&self.topic, partition)
    }

    fn position(&self, offsets: &[i64]) -> Position {
        let offsets = offsets.iter().enumerate();
        Position(offsets.map(|(index, it)| (self.partition(index as i32), Offset(*it))).collect())
    }

    fn send(&self, producer: &BaseProducer, partition: i32, value: &[u8]) {
        let record = BaseRecord::<(), [u8]>::to(&self.topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

const FLUSH: Duration = Duration::from_secs(20);
const READ: Duration = Duration::from_secs(20);

/// Polls until every partition reached `until`; collects what came.
fn read_until(source: &mut KafkaSource, from: &Position, until: &Position) -> Vec<Records> {
    let mut next = from.0.clone();
    let mut read = Vec::new();
    let deadline = Instant::now() + READ;
    while until.0.iter().any(|(partition, end)| next[partition] < *end) {
        assert!(Instant::now() < deadline, "reached only {next:?} of {until:?}");
        for records in source.poll(Duration::from_millis(500), 1000).unwrap() {
            assert!(records.len() <= 1000);
            let before =
                next.insert(records.topic_partition().clone(), records.next_offset()).unwrap();
            assert!(records.first_offset().is_none_or(|it| before <= it));
            assert!(before < records.next_offset());
            read.push(records);
        }
    }
    read
}

fn values(read: &[Records], partition: i32) -> Vec<(i64, String)> {
    let of_partition = read.iter().filter(|it| it.topic_partition().partition == partition);
    let value = |it: Option<&[u8]>| String::from_utf8(it.unwrap().to_vec()).unwrap();
    of_partition.flat_map(|it| it.iter().map(|it| (it.offset().0, value(it.value())))).collect()
}

fn end(facts: &[PartitionFacts]) -> Position {
    Position(facts.iter().map(|it| (it.topic_partition.clone(), it.end)).collect())
}

/// Polls until the source fails.
fn poll_error(source: &mut KafkaSource) -> Error {
    let deadline = Instant::now() + Duration::from_secs(45);
    loop {
        assert!(Instant::now() < deadline, "the source does not fail");
        if let Err(error) = source.poll(Duration::from_millis(200), 1000) {
            return error;
        }
    }
}

#[test]
fn every_part_of_a_record_arrives() {
    let Some(cluster) = Cluster::with_topic(4, &[]) else { return };
    let producer = cluster.producer(&[("compression.type", "zstd")]);
    for index in 0..4000i64 {
        let (key, value) = (format!("k{index}"), format!("väl{index}"));
        let mut record = BaseRecord::to(&cluster.topic).partition((index % 4) as i32);
        record = record.timestamp(1_760_000_000_000 + index).key(&key);
        // Every tenth is a tombstone, every seventh has headers, one without a value.
        if index % 10 != 0 {
            record = record.payload(&value);
        }
        if index % 7 == 0 {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "n", value: Some(&key) })
                .insert(Header { key: "empty", value: None::<&str> });
            record = record.headers(headers);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(FLUSH).unwrap();

    let mut source = cluster.source();
    let facts = source.partitions().unwrap();
    assert_eq!(facts.len(), 4);
    assert!(facts.iter().all(|it| it.earliest == Offset(0) && it.end == Offset(1000)));
    let id = facts[0].topic_id.clone().expect("this broker tells topic ids");
    assert!(facts.iter().all(|it| it.topic_id.as_ref() == Some(&id)));

    let from = cluster.position(&[0, 0, 0, 0]);
    source.assign(&from).unwrap();
    let read = read_until(&mut source, &from, &end(&facts));
    let mut counted = 0;
    for (records, record) in read.iter().flat_map(|it| it.iter().map(move |record| (it, record))) {
        let index = record.offset().0 * 4 + i64::from(records.topic_partition().partition);
        let (key, value) = (format!("k{index}"), format!("väl{index}"));
        assert_eq!(record.timestamp(), EventTime(1_760_000_000_000 + index));
        assert_eq!(record.key(), Some(key.as_bytes()));
        assert_eq!(record.value(), (index % 10 != 0).then_some(value.as_bytes()));
        let headers: Vec<_> = record.headers().collect();
        match index % 7 {
            0 => assert_eq!(headers, [(&b"n"[..], Some(key.as_bytes())), (&b"empty"[..], None)]),
            _ => assert!(headers.is_empty()),
        }
        counted += 1;
    }
    assert_eq!(counted, 4000);
}

#[test]
fn reading_goes_on_at_the_offsets_given_in_this_and_a_new_source() {
    let Some(cluster) = Cluster::with_topic(2, &[]) else { return };
    let producer = cluster.producer(&[]);
    for index in 0..20_000 {
        cluster.send(&producer, index % 2, format!("{index}").as_bytes());
    }
    producer.flush(FLUSH).unwrap();
    let until = cluster.position(&[10_000, 10_000]);
    let mut source = cluster.source();
    // The second assignment comes while records of the first are queued.
    for from in [[0, 0], [5000, 9999], [9000, 3], [10_000, 10_000], [1, 1]] {
        let from = cluster.position(&from);
        source.assign(&from).unwrap();
        source.poll(Duration::from_millis(300), 10).unwrap();
        for source in [&mut source, &mut cluster.source()] {
            source.assign(&from).unwrap();
            let read = read_until(source, &from, &until);
            for partition in [0, 1] {
                let first = from.0[&cluster.partition(partition)].0;
                let expected: Vec<_> = (first..10_000)
                    .map(|it| (it, format!("{}", it * 2 + i64::from(partition))))
                    .collect();
                assert_eq!(values(&read, partition), expected, "from {first}");
            }
        }
    }
}

#[test]
fn a_source_ends_while_records_are_queued() {
    let Some(cluster) = Cluster::with_topic(2, &[]) else { return };
    let producer = cluster.producer(&[]);
    for index in 0..20_000 {
        cluster.send(&producer, index % 2, &[b'x'; 100]);
    }
    producer.flush(FLUSH).unwrap();
    for _ in 0..20 {
        let mut source = cluster.source();
        source.assign(&cluster.position(&[0, 0])).unwrap();
        source.poll(READ, 1).unwrap();
        let begun = Instant::now();
        drop(source);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_start_is_the_earliest_the_end_or_a_time() {
    let Some(cluster) = Cluster::with_topic(2, &[]) else { return };
    let producer = cluster.producer(&[]);
    for index in 0..10 {
        let record = BaseRecord::<(), str>::to(&cluster.topic).partition(0).payload("x");
        producer
            .send(record.timestamp(1_760_000_000_000 + index * 100))
            .map_err(|it| it.0)
            .unwrap();
    }
    producer.flush(FLUSH).unwrap();
    cluster.delete_records(0, 2);
    let mut source = cluster.source();
    let partitions = [cluster.partition(0), cluster.partition(1)];
    for (start, offsets) in [
        (StartAt::Earliest, [2, 0]),
        (StartAt::Latest, [10, 0]),
        (StartAt::Timestamp(EventTime(1_760_000_000_450)), [5, 0]),
        (StartAt::Timestamp(EventTime(1_760_000_009_000)), [10, 0]),
    ] {
        let found = source.resolve_start(&partitions, start).unwrap();
        assert_eq!(found, cluster.position(&offsets), "{start:?}");
    }
}

#[test]
fn an_offset_out_of_range_is_refused_with_what_is_there() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    (0..10).for_each(|it| cluster.send(&producer, 0, format!("{it}").as_bytes()));
    producer.flush(FLUSH).unwrap();
    cluster.delete_records(0, 5);
    let mut source = cluster.source();
    for wanted in [3, 11] {
        let error = source.assign(&cluster.position(&[wanted])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        assert!(
            error.message.contains(&format!("{}/0: offset {wanted}", cluster.topic)),
            "{error}"
        );
        assert!(error.message.contains("offsets 5 to 10"), "{error}");
    }
    // The end itself is a good position, and so is the earliest.
    source.assign(&cluster.position(&[10])).unwrap();
    source.assign(&cluster.position(&[5])).unwrap();
}

#[test]
fn records_deleted_under_a_reader_stop_it() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    let big = vec![b'x'; 200_000];
    for _ in 0..10 {
        (0..20).for_each(|_| cluster.send(&producer, 0, &big));
        producer.flush(FLUSH).unwrap();
    }
    // A small queue keeps the reader from fetching all of it ahead.
    let mut config = cluster.config();
    for (name, value) in
        [("queued.max.messages.kbytes", "1000"), ("max.partition.fetch.bytes", "300000")]
    {
        config.properties.insert(name.to_owned(), value.to_owned());
    }
    let mut source = KafkaSource::connect(config).unwrap();
    source.assign(&cluster.position(&[0])).unwrap();
    let first = source.poll(READ, 1).unwrap();
    assert_eq!(first[0].first_offset(), Some(Offset(0)));
    cluster.delete_records(0, 200);
    let error = poll_error(&mut source);
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("is out of range, offsets 200 to 200"), "{error}");
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let with = |topics| {
        let config = KafkaConfig::new(&cluster.broker, topics, "g");
        KafkaSource::connect(config).unwrap().partitions()
    };
    let begun = Instant::now();
    let error = with(Topics::Names(vec!["no-such-topic".into()])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("topic \"no-such-topic\" does not exist"), "{error}");
    assert!(error.message.contains(&cluster.broker), "{error}");
    // Asking did not make it.
    assert!(with(Topics::Names(vec!["no-such-topic".into()])).is_err());
    let error = with(Topics::Pattern("no-such-.*".into())).unwrap_err();
    assert!(error.message.contains("no topic of Kafka"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let found = with(Topics::Pattern(format!("{}|{}x", cluster.topic, cluster.topic))).unwrap();
    assert_eq!(found[0].topic_partition, cluster.partition(0));
    let mut source = cluster.source();
    let error = source.assign(&cluster.position(&[0, 0])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains(&format!("partition {}/1 is gone", cluster.topic)), "{error}");
}

#[test]
fn a_topic_deleted_under_a_reader_stops_it() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    cluster.send(&producer, 0, b"x");
    producer.flush(FLUSH).unwrap();
    let mut source = cluster.source();
    let from = cluster.position(&[0]);
    source.assign(&from).unwrap();
    read_until(&mut source, &from, &cluster.position(&[1]));
    cluster.delete();
    let error = poll_error(&mut source);
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains(&format!("partition {}/0 is gone", cluster.topic)), "{error}");
}

#[test]
fn a_topic_made_anew_has_another_id() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let before = cluster.source().partitions().unwrap();
    cluster.delete();
    let deadline = Instant::now() + Duration::from_secs(10);
    while cluster.source().partitions().is_ok() {
        assert!(Instant::now() < deadline, "the topic does not go");
    }
    cluster.create(1, &[]);
    let after = cluster.source().partitions().unwrap();
    assert_ne!(before[0].topic_id, after[0].topic_id);
}

#[test]
fn aborted_records_are_not_read_and_the_end_is_reached() {
    let Some(cluster) = Cluster::with_topic(2, &[]) else { return };
    let id = format!("{}-transactions", cluster.topic);
    let producer = cluster.producer(&[("transactional.id", &id)]);
    producer.init_transactions(FLUSH).unwrap();
    let mut committed = BTreeMap::from([(0, Vec::new()), (1, Vec::new())]);
    for round in 0..6 {
        producer.begin_transaction().unwrap();
        for index in 0..50 {
            let value = format!("{round}-{index}");
            cluster.send(&producer, index % 2, value.as_bytes());
            if round % 2 == 0 {
                committed.get_mut(&(index % 2)).unwrap().push(value);
            }
        }
        match round % 2 {
            0 => producer.commit_transaction(FLUSH).unwrap(),
            // An abort drops what was not sent yet: what is to be skipped must be in the log.
            _ => {
                producer.flush(FLUSH).unwrap();
                producer.abort_transaction(FLUSH).unwrap();
            }
        }
    }
    let mut source = cluster.source();
    let facts = source.partitions().unwrap();
    // 25 records and a marker in each of six rounds; the last 26 offsets hold nothing to read.
    assert!(facts.iter().all(|it| it.end == Offset(6 * 26)), "{facts:?}");
    let from = cluster.position(&[0, 0]);
    source.assign(&from).unwrap();
    let read = read_until(&mut source, &from, &end(&facts));
    for (partition, expected) in &committed {
        let read: Vec<String> = values(&read, *partition).into_iter().map(|it| it.1).collect();
        assert_eq!(&read, expected);
    }

    // An open transaction is beyond the end, and its commit moves the end.
    producer.begin_transaction().unwrap();
    cluster.send(&producer, 0, b"open");
    producer.flush(FLUSH).unwrap();
    assert_eq!(source.partitions().unwrap()[0].end, Offset(156));
    assert!(source.poll(Duration::from_millis(500), 10).unwrap().is_empty());
    producer.commit_transaction(FLUSH).unwrap();
    let read = read_until(&mut source, &end(&facts), &cluster.position(&[158, 156]));
    assert_eq!(values(&read, 0), [(156, "open".to_owned())]);

    // A start behind the last record reaches the end without any.
    let from = cluster.position(&[157, 140]);
    source.assign(&from).unwrap();
    let read = read_until(&mut source, &from, &cluster.position(&[158, 156]));
    assert!(read.iter().all(Records::is_empty));
}

#[test]
fn a_record_of_10_mb_arrives() {
    let Some(cluster) = Cluster::with_topic(1, &[("max.message.bytes", "20000000")]) else {
        return;
    };
    let producer = cluster.producer(&[]);
    let big: Vec<u8> = (0..10_000_000u32).map(|it| (it % 251) as u8).collect();
    cluster.send(&producer, 0, b"before");
    cluster.send(&producer, 0, &big);
    cluster.send(&producer, 0, b"after");
    producer.flush(FLUSH).unwrap();
    let mut source = cluster.source();
    let from = cluster.position(&[0]);
    source.assign(&from).unwrap();
    let read = read_until(&mut source, &from, &cluster.position(&[3]));
    let values: Vec<&[u8]> =
        read.iter().flat_map(|it| it.iter()).map(|it| it.value().unwrap()).collect();
    assert_eq!(values.len(), 3);
    assert!(values[1] == big);
    assert_eq!((values[0], values[2]), (&b"before"[..], &b"after"[..]));
}

#[test]
fn a_report_shows_in_the_group_and_moves_nothing() {
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    (0..10).for_each(|it| cluster.send(&producer, 0, format!("{it}").as_bytes()));
    producer.flush(FLUSH).unwrap();
    let mut source = cluster.source();
    let from = cluster.position(&[0]);
    source.assign(&from).unwrap();
    source.report(&cluster.position(&[7])).unwrap();
    let observer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.broker)
        .set("group.id", cluster.config().group_id)
        .create()
        .unwrap();
    let deadline = Instant::now() + READ;
    loop {
        let mut list = TopicPartitionList::new();
        list.add_partition(&cluster.topic, 0);
        let committed = observer.committed_offsets(list, READ).unwrap();
        if committed.elements()[0].offset() == NativeOffset::Offset(7) {
            break;
        }
        assert!(Instant::now() < deadline, "the group learns nothing");
    }
    let read = read_until(&mut source, &from, &cluster.position(&[10]));
    assert_eq!(values(&read, 0).len(), 10);
    // A new source does not ask the group.
    let mut source = cluster.source();
    source.assign(&from).unwrap();
    assert_eq!(values(&read_until(&mut source, &from, &cluster.position(&[10])), 0).len(), 10);
}

#[test]
fn an_unreachable_broker_is_told_within_ten_seconds() {
    // No broker is needed, and port 1 of this host has none.
    let begun = Instant::now();
    let config = KafkaConfig::new("127.0.0.1:1", Topics::Names(vec!["t".into()]), "g");
    let mut source = KafkaSource::connect(config).unwrap();
    let error = source.partitions().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert!(error.message.contains("cannot reach Kafka at 127.0.0.1:1 within 8 s"), "{error}");
    assert!(error.message.contains("Connection refused"), "{error}");
    assert!(error.message.contains("bootstrap-servers"), "{error}");
    drop(source);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
