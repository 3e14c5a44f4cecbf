//! What a pipeline says about its Kafka cluster, and the librdkafka properties that follow from it.
//!
//! A user's property overrides floe's choice, but for those that the promises of a source rest on.

use std::collections::BTreeMap;
use std::time::Duration;

use floe_core::{Error, Result};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// The topics of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    Names(Vec<String>),
    /// A regular expression over whole topic names. Internal topics (`__…`) never match.
    Pattern(String),
}

/// A Kafka cluster and what to read from it.
#[derive(Clone)]
pub struct KafkaConfig {
    pub bootstrap_servers: String,
    pub topics: Topics,
    /// The group whose offsets show people how far the pipeline is.
    pub group_id: String,
    /// Any librdkafka property but those that floe owns.
    pub properties: BTreeMap<String, String>,
    /// How long one request for facts may take before the cluster counts as unreachable.
    pub request_timeout: Duration,
    /// How long all brokers may be away in the middle of a run before `poll` says so.
    pub unreachable_max: Duration,
}

/// Under the 10 s within which an unreachable broker must be reported.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
const UNREACHABLE_MAX: Duration = Duration::from_secs(60);

/// What is queued may be taken as one batch, whose offsets are 32 bits wide. One fetch (2 GiB at the
/// most) may be queued beyond this limit.
const QUEUED_KBYTES_MAX: u32 = 1 << 20;

/// What floe sets, and a user may change.
const DEFAULTS: [(&str, &str); 9] = [
    ("client.id", "floe"),
    // A consumer slower than the network stalls a second at a time with the default of 1000:
    // 18 s against 5 s on the same job.
    ("fetch.queue.backoff.ms", "5"),
    // With the defaults (500 ms, 1 MiB a partition) one backlogged partition crawls when the
    // others are drained: its broker waits for data of the others.
    ("fetch.wait.max.ms", "20"),
    ("max.partition.fetch.bytes", "2097152"),
    // Together these bound what librdkafka holds in memory, over all partitions: a record of 150 bytes
    // costs it 650, and a fetch that is under way comes on top of a full queue. With 8 MiB a partition,
    // 50 MiB a fetch and 100,000 records it was 440 MB at the peak; so a whole job of payments takes
    // 560 MB and not 740, for the same CPU time.
    ("fetch.max.bytes", "8388608"),
    ("queued.max.messages.kbytes", "32768"),
    ("queued.min.messages", "50000"),
    // How long a topic that is gone may stay unnoticed; 30 s by default, to let new topics appear, which
    // are looked for before they are read here.
    ("topic.metadata.propagation.max.ms", "5000"),
    // A restarted broker is found again within this.
    ("reconnect.backoff.max.ms", "1000"),
];

/// What the promises of a source rest on.
const OWNED: [(&str, &str); 5] = [
    // Positions live in checkpoints. The group's offsets are written for people, after the commit.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position out of range stops the pipeline; it never moves by itself.
    ("auto.offset.reset", "error"),
    // Tells that the end is reached although the last offsets are transaction markers.
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// Properties that are set elsewhere or would break a promise, and what to do instead.
const REFUSED: [(&str, &str); 15] = [
    ("bootstrap.servers", "set `bootstrap-servers` in [source] instead"),
    ("metadata.broker.list", "set `bootstrap-servers` in [source] instead"),
    ("group.id", "the group is named after the pipeline's id"),
    ("group.instance.id", "floe assigns partitions itself and joins no group"),
    ("group.protocol", "floe assigns partitions itself and joins no group"),
    ("group.remote.assignor", "floe assigns partitions itself and joins no group"),
    ("partition.assignment.strategy", "floe assigns partitions itself and joins no group"),
    ("enable.auto.commit", "positions live in checkpoints; the group learns them after the commit"),
    ("auto.commit.enable", "positions live in checkpoints; the group learns them after the commit"),
    (
        "auto.commit.interval.ms",
        "positions live in checkpoints; the group learns them after the commit",
    ),
    ("enable.auto.offset.store", "positions live in checkpoints"),
    (
        "auto.offset.reset",
        "a position never moves by itself; `start` in [source] says where to begin",
    ),
    ("enable.partition.eof", "floe needs it to know that the end of a topic is reached"),
    ("allow.auto.create.topics", "a source creates no topics"),
    ("log.queue", "floe routes the client's log itself"),
];

impl KafkaConfig {
    pub fn new(
        bootstrap_servers: impl Into<String>,
        topics: Topics,
        group_id: impl Into<String>,
    ) -> Self {
        KafkaConfig {
            bootstrap_servers: bootstrap_servers.into(),
            topics,
            group_id: group_id.into(),
            properties: BTreeMap::new(),
            request_timeout: REQUEST_TIMEOUT,
            unreachable_max: UNREACHABLE_MAX,
        }
    }

    /// The properties of the client that reads; refuses those that floe owns, by name.
    pub(super) fn client(&self) -> Result<ClientConfig> {
        self.check()?;
        let mut client = ClientConfig::new();
        // Below notice a client speaks of its own inner life.
        client.set_log_level(RDKafkaLogLevel::Notice);
        for (name, value) in DEFAULTS {
            client.set(name, value);
        }
        for (name, value) in &self.properties {
            client.set(canonical(name), value);
        }
        for (name, value) in OWNED {
            client.set(name, value);
        }
        client.set("isolation.level", "read_committed");
        client.set("bootstrap.servers", &self.bootstrap_servers);
        client.set("group.id", &self.group_id);
        Ok(client)
    }

    fn check(&self) -> Result<()> {
        if self.bootstrap_servers.trim().is_empty() {
            return Err(Error::invalid(
                "no Kafka broker is named: set `bootstrap-servers` in [source], for example \"127.0.0.1:9092\"",
            ));
        }
        if self.group_id.is_empty() {
            return Err(Error::invalid("the consumer group's name is empty"));
        }
        self.check_topics()?;
        self.properties.iter().try_for_each(|(name, value)| check_property(name, value))
    }

    fn check_topics(&self) -> Result<()> {
        let names = match &self.topics {
            Topics::Names(names) => names,
            Topics::Pattern(pattern) => return topic_pattern(pattern).map(|_| ()),
        };
        if names.is_empty() {
            return Err(Error::invalid("no topic is named: set `kafka` in [source]"));
        }
        for (index, name) in names.iter().enumerate() {
            // Kafka's own rule (org.apache.kafka.common.internals.Topic).
            let legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
            if name.is_empty() || name.len() > 249 || !name.chars().all(legal) {
                return Err(Error::invalid(format!(
                    "\"{name}\" is no topic name: 1 to 249 letters, digits, '.', '_' or '-'"
                )));
            }
            if names[..index].contains(name) {
                return Err(Error::invalid(format!("topic \"{name}\" is named twice")));
            }
        }
        Ok(())
    }
}

/// The pattern, made to match whole names.
pub(super) fn topic_pattern(pattern: &str) -> Result<regex_lite::Regex> {
    regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(|it| {
        Error::invalid(format!("topic pattern \"{pattern}\" is no regular expression: {it}"))
    })
}

fn check_property(name: &str, value: &str) -> Result<()> {
    let name = canonical(name);
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(Error::invalid(format!("property \"{name}\" is floe's own: {why}")));
    }
    if name == "isolation.level" && value != "read_committed" {
        return Err(Error::invalid(format!(
            "property \"isolation.level\" must be \"read_committed\", not \"{value}\": records of an aborted \
             transaction would reach the table"
        )));
    }
    if name == "queued.max.messages.kbytes"
        && value.parse::<u32>().is_ok_and(|it| it > QUEUED_KBYTES_MAX)
    {
        return Err(Error::invalid(format!(
            "property \"{name}\" is {value}, {QUEUED_KBYTES_MAX} at the most: one batch must fit 4 GiB"
        )));
    }
    Ok(())
}

/// librdkafka takes topic properties under a second name too, and spaces around neither.
fn canonical(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("topic.").filter(|it| *it == "auto.offset.reset").unwrap_or(name)
}

/// A client's error about a property, without the value: it may be a password.
pub(super) fn creation_error(error: rdkafka::error::KafkaError) -> Error {
    use rdkafka::error::KafkaError;
    match error {
        KafkaError::ClientConfig(_, description, name, value) => {
            let description = match value.is_empty() {
                true => description,
                false => description.replace(&value, "…"),
            };
            Error::invalid(format!(
                "property \"{name}\" in [source] is not accepted by librdkafka: {description}"
            ))
        }
        other => Error::invalid(format!("the Kafka client cannot be set up: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        let names = Topics::Names(vec!["payments".into()]);
        let mut config = KafkaConfig::new("127.0.0.1:9092", names, "payments");
        config.properties =
            properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        config
    }

    #[test]
    fn owned_properties_are_refused_by_name() {
        for (name, _) in REFUSED {
            let error = config(&[(name, "true")]).client().expect_err(name);
            assert!(error.message.contains(name), "{error}");
        }
        let error = config(&[("isolation.level", "read_uncommitted")]).client().unwrap_err();
        assert!(error.message.contains("isolation.level"), "{error}");
        assert!(config(&[("isolation.level", "read_committed")]).client().is_ok());
    }

    #[test]
    fn a_users_property_overrides_floes_choice() {
        let client =
            config(&[("fetch.wait.max.ms", "7"), ("sasl.username", "u")]).client().unwrap();
        assert_eq!(client.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(client.get("sasl.username"), Some("u"));
        assert_eq!(client.get("fetch.queue.backoff.ms"), Some("5"));
        assert_eq!(client.get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn topics_are_checked() {
        let cases = [
            (Topics::Names(vec![]), "no topic is named"),
            (Topics::Names(vec!["a b".into()]), "is no topic name"),
            (Topics::Names(vec!["".into()]), "is no topic name"),
            (Topics::Names(vec!["a".into(), "a".into()]), "is named twice"),
            (Topics::Pattern("a(".into()), "is no regular expression"),
        ];
        for (topics, why) in cases {
            let error = KafkaConfig::new("h:1", topics, "g").client().expect_err(why);
            assert!(error.message.contains(why), "{error}");
        }
        let error = KafkaConfig::new(" ", Topics::Pattern(".*".into()), "g").client().unwrap_err();
        assert!(error.message.contains("bootstrap-servers"), "{error}");
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let pattern = topic_pattern("pay|refund-[0-9]+").unwrap();
        assert!(pattern.is_match("pay") && pattern.is_match("refund-12"));
        assert!(!pattern.is_match("payments") && !pattern.is_match("my-pay"));
    }

    #[test]
    fn a_wrong_property_is_named_and_its_value_is_not() {
        for (name, value) in [("no.such.thing", "hunter2"), ("fetch.wait.max.ms", "hunter2")] {
            let client = config(&[(name, value)]).client().unwrap();
            let error = creation_error(client.create_native_config().err().unwrap());
            assert!(error.message.contains(name), "{error}");
            assert!(!error.message.contains(value), "{error}");
        }
    }
}
