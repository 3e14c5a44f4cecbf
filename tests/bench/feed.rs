//! Payments into Kafka: JSON of about 150 bytes, 10,000 merchants, 7 % duplicates, the same from each seed.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PARTITIONS: u64 = 4;
const MERCHANTS: u64 = 10_000;
const NAMES: [&str; 6] = ["Zürich", "İstanbul", "मुंबई", "東京", "Nairobi", "Αθήνα"];

pub(crate) fn produce(broker: &str, topic: &str, records: u64) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("linger.ms", "20").set("compression.type", "lz4");
    config.set("queue.buffering.max.messages", "500000");
    create(&config, topic)?;
    let producer: BaseProducer = config.create()?;
    let mut random = 1u64;
    for number in 0..records {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = random >> 33;
        // A duplicate has an earlier payment's id, and with it its merchant and partition.
        let id = if draw % 100 < 7 && number > 1000 { number - 1 - draw % 1000 } else { number };
        let merchant = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % MERCHANTS;
        let amount = match draw % 50 {
            0 => -(draw as i64 % 10_000),
            1 => 0,
            2 => (1 << 40) + draw as i64,
            _ => draw as i64 % 1_000_000,
        };
        let value = format!(
            r#"{{"txn_id":"txn-{id:012}","merchant_id":"m-{merchant}","amount_minor":{amount},"currency":"INR","city":"{}","note":"order {}","ts":{}}}"#,
            NAMES[(draw % 6) as usize],
            draw % 100_000,
            1_760_000_000_000u64 + number
        );
        let key = format!("m-{merchant}");
        let mut record = BaseRecord::to(topic)
            .key(&key)
            .payload(&value)
            .partition((merchant % PARTITIONS) as i32)
            .timestamp(1_760_000_000_000 + number as i64);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            if error != full {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(50));
            record = back;
        }
        if number % 1024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).context("flush the producer")
}

fn create(config: &ClientConfig, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // The records' own times are long ago, and must not be what retention goes by.
    let new = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(1))
        .set("retention.ms", "-1");
    let made = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    made.into_iter()
        .next()
        .context("an answer for the topic")?
        .map_err(|(_, code)| anyhow!("create topic: {code}"))?;
    Ok(())
}
