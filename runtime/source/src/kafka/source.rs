//! The source itself: assigns partitions, takes batches, and groups their records by partition.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use floe_core::ports::{PartitionFacts, Source, StartAt};
use floe_core::{Error, EventTime, Offset, Position, Records, Result, TopicPartition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::config::{KafkaConfig, creation_error};
use super::facts::{Facts, PROBE_TIMEOUT, out_of_range, partition_error};
use super::link::Link;
use super::native::{Batch, Client, Message};

/// Reads the partitions of a Kafka cluster from the offsets it is told.
pub struct KafkaSource {
    config: KafkaConfig,
    client_config: ClientConfig,
    client: Client,
    link: Link,
    /// The next offset of each assigned partition.
    next: BTreeMap<TopicPartition, Offset>,
    /// Errors found behind records that were handed out first.
    held: VecDeque<Error>,
    reporter: Option<Reporter>,
}

/// Tells the group how far the pipeline is, by a client of its own: the answer to a commit may make a
/// client give up its partitions (somebody else's members in the group), which must not reach ours.
struct Reporter {
    client: Client,
    link: Link,
}

/// A poll hands out no more than this and one batch, so that a task's input stays small, and the edges hold
/// little whatever the size of records.
const POLL_BYTES: usize = 8 << 20;

/// A waiting poll listens to the client's events this often.
const LISTEN_EVERY: Duration = Duration::from_millis(200);

impl KafkaSource {
    /// Makes the client. The first request to the cluster is `partitions`.
    pub fn connect(config: KafkaConfig) -> Result<Self> {
        let client_config = config.client()?;
        let client = Client::open(&client_config).map_err(creation_error)?;
        Ok(KafkaSource {
            config,
            client_config,
            client,
            link: Link::default(),
            next: BTreeMap::new(),
            held: VecDeque::new(),
            reporter: None,
        })
    }

    fn facts(&mut self) -> Facts<'_> {
        Facts { client: &mut self.client, link: &mut self.link, config: &self.config }
    }

    /// Takes what is there, up to `records_max` records, waiting up to `wait` for the first.
    fn take(&mut self, wait: Duration, records_max: usize) -> Vec<Records> {
        let mut gathered = Gathered::default();
        let mut wait = wait;
        while gathered.record_count < records_max && gathered.byte_len < POLL_BYTES {
            let batch = self.client.take(wait, records_max - gathered.record_count);
            wait = Duration::ZERO;
            if batch.len() == 0 {
                break;
            }
            self.gather(&batch, &mut gathered);
        }
        gathered.records
    }

    /// Moves a batch's records into one `Records` per partition.
    fn gather(&mut self, batch: &Batch, gathered: &mut Gathered) {
        let mut index = 0;
        while index < batch.len() {
            let first = batch.get(index);
            if let Some(code) = first.error() {
                self.gather_error(first, code, gathered);
                index += 1;
                continue;
            }
            // librdkafka hands out one partition's fetched records side by side.
            let (key, partition) = (first.topic_key(), first.partition());
            let same = |it: Message<'_>| {
                it.topic_key() == key && it.partition() == partition && it.error().is_none()
            };
            let start = index;
            index += 1;
            while index < batch.len() && same(batch.get(index)) {
                index += 1;
            }
            self.gather_run(batch, start..index, gathered);
        }
    }

    /// Moves records of one partition that stand side by side in a batch.
    fn gather_run(&mut self, batch: &Batch, run: std::ops::Range<usize>, gathered: &mut Gathered) {
        let Some((at, next)) = self.find(batch.get(run.start), gathered, || size(batch, &run))
        else {
            return;
        };
        let records = &mut gathered.records[at];
        let bytes_before = records.byte_len();
        for message in run.map(|it| batch.get(it)) {
            // What was read before is never handed out again, whatever the client sends.
            let offset = Offset(message.offset());
            if offset < *next {
                continue;
            }
            records.push(offset, EventTime(message.timestamp_ms()), message.key(), message.value());
            message.headers(|name, value| records.push_header(name, value));
            *next = Offset(offset.0 + 1);
            gathered.record_count += 1;
        }
        gathered.byte_len += records.byte_len() - bytes_before;
    }

    /// The place of a message's partition, and its next offset. Nothing for a partition that is not
    /// assigned any more.
    fn find<'a>(
        &'a mut self,
        message: Message<'_>,
        gathered: &mut Gathered,
        size: impl FnOnce() -> (usize, usize),
    ) -> Option<(usize, &'a mut Offset)> {
        let partition = TopicPartition::new(message.topic()?, message.partition());
        let next = self.next.get_mut(&partition)?;
        let key = (message.topic_key(), message.partition());
        let at = *gathered.places.entry(key).or_insert_with(|| {
            let (count, byte_len) = size();
            let records = Records::with_capacity(partition, *next, count, byte_len);
            gathered.records.push(records);
            gathered.records.len() - 1
        });
        Some((at, next))
    }

    /// An error in the stream of records: the end of a partition, or something to tell.
    fn gather_error(&mut self, message: Message<'_>, code: Code, gathered: &mut Gathered) {
        match code {
            Code::PartitionEOF => {
                self.link.up();
                let end = Offset(message.offset());
                if self.is_news(message, end)
                    && let Some((at, next)) = self.find(message, gathered, || (0, 0))
                {
                    // Transaction markers and aborted records stand between the last record and the end.
                    gathered.records[at].advance_to(end);
                    *next = end;
                }
            }
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::GroupAuthorizationFailed => self.link.note(code, message.error_text()),
            code => {
                if let Some(error) = self.stream_error(message, code) {
                    self.held.push_back(error);
                }
            }
        }
    }

    fn is_news(&self, message: Message<'_>, offset: Offset) -> bool {
        let Some(topic) = message.topic() else { return false };
        let partition = TopicPartition::new(topic, message.partition());
        self.next.get(&partition).is_some_and(|it| *it < offset)
    }

    fn stream_error(&mut self, message: Message<'_>, code: Code) -> Option<Error> {
        let text = message.error_text();
        let Some(topic) = message.topic().filter(|_| message.partition() >= 0) else {
            return Some(Error::retry(format!(
                "Kafka at {}: {text}",
                self.config.bootstrap_servers
            )));
        };
        let partition = TopicPartition::new(topic, message.partition());
        // A partition given back meanwhile is nobody's business.
        let wanted = *self.next.get(&partition)?;
        Some(match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let wanted = Offset(message.offset()).max(wanted);
                let available = self.facts().range(&partition);
                out_of_range(&partition, wanted, available)
            }
            Code::MessageSizeTooLarge => Error::invalid(format!(
                "the record of {partition} at offset {wanted} is too large to fetch: raise \
                 \"receive.message.max.bytes\" and \"fetch.max.bytes\" in `properties` of [source] ({text})"
            )),
            Code::BadMessage | Code::BadCompression | Code::InvalidMessage => {
                Error::corrupt(format!(
                    "the records of {partition} from offset {wanted} on cannot be decoded: {text}"
                ))
            }
            Code::NotImplemented => Error::invalid(format!(
                "the records of {partition} from offset {wanted} on are encoded in a way this build cannot read: {text}"
            )),
            code => partition_error(&partition, code),
        })
    }

    /// Fails when no broker was there for too long. A silent topic is not a silent cluster: it is asked.
    fn check_link(&mut self) -> Result<()> {
        let Some(down) = self.link.down_for().filter(|it| *it >= self.config.unreachable_max)
        else {
            return Ok(());
        };
        let topic = self.next.keys().next().map(|it| it.topic.to_string());
        match self.client.consumer().fetch_metadata(topic.as_deref(), PROBE_TIMEOUT) {
            Ok(_) => {
                self.link.up();
                Ok(())
            }
            Err(_) => {
                self.link.listen(&mut self.client);
                Err(self.link.unreachable(&self.config.bootstrap_servers, down))
            }
        }
    }

    /// Asks whether the partitions are still there, when the client's log gives a reason to.
    fn check_suspicion(&mut self) -> Result<()> {
        if !self.link.take_suspicion() {
            return Ok(());
        }
        let KafkaSource { config, client, link, next, .. } = self;
        Facts { client, link, config }.check_present(next.keys())
    }
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        self.facts().partitions()
    }

    fn resolve_start(&mut self, partitions: &[TopicPartition], start: StartAt) -> Result<Position> {
        self.facts().resolve_start(partitions, start)
    }

    fn assign(&mut self, position: &Position) -> Result<()> {
        self.facts().check_range(position)?;
        let failed = |it: KafkaError| Error::retry(format!("partitions cannot be assigned: {it}"));
        // Given back first: an assignment that only changes an offset would not be a new one.
        self.client.consumer().unassign().map_err(failed)?;
        self.held.clear();
        self.next = position.0.clone();
        let list = native_list(position).map_err(failed)?;
        self.client.consumer().assign(&list).map_err(failed)
    }

    fn poll(&mut self, timeout: Duration, records_max: usize) -> Result<Vec<Records>> {
        let deadline = Instant::now() + timeout;
        loop {
            self.link.listen(&mut self.client);
            if let Some(error) = self.held.pop_front() {
                return Err(error);
            }
            self.check_link()?;
            self.check_suspicion()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let records = self.take(left.min(LISTEN_EVERY), records_max.max(1));
            if !records.is_empty() {
                self.link.up();
                return Ok(records);
            }
            if self.held.is_empty() && Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Sends the offsets and does not wait. Whatever becomes of them, the pipeline goes on.
    fn report(&mut self, committed: &Position) -> Result<()> {
        let reporter = match &mut self.reporter {
            Some(reporter) => reporter,
            None => {
                let client = Client::open(&self.client_config).map_err(creation_error)?;
                self.reporter.insert(Reporter { client, link: Link::default() })
            }
        };
        reporter.link.listen(&mut reporter.client);
        let sent = native_list(committed)
            .and_then(|it| reporter.client.consumer().commit(&it, CommitMode::Async));
        if let Err(error) = sent {
            tracing::warn!(target: "floe::kafka", %error, "the group's offsets could not be sent");
        }
        Ok(())
    }
}

/// Records taken by one poll, in the order in which their partitions came.
#[derive(Default)]
struct Gathered {
    records: Vec<Records>,
    /// Where the records of a topic (by its key) and partition are.
    places: HashMap<(usize, i32), usize>,
    record_count: usize,
    byte_len: usize,
}

/// Records and bytes of a run, so that its arena is allocated once.
fn size(batch: &Batch, run: &std::ops::Range<usize>) -> (usize, usize) {
    let len = |it: Option<&[u8]>| it.map_or(0, <[u8]>::len);
    let byte_len =
        run.clone().map(|it| len(batch.get(it).key()) + len(batch.get(it).value())).sum();
    (run.len(), byte_len)
}

fn native_list(position: &Position) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(position.0.len());
    for (partition, offset) in &position.0 {
        list.add_partition_offset(
            &partition.topic,
            partition.partition,
            NativeOffset::Offset(offset.0),
        )?;
    }
    Ok(list)
}
