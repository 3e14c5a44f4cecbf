//! What the cluster says about the topics: their partitions, ids and offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use floe_core::ports::{PartitionFacts, StartAt};
use floe_core::{Error, EventTime, Offset, Position, Result, TopicPartition};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::{KafkaConfig, Topics, topic_pattern};
use super::link::Link;
use super::native::{AdminFailure, Client, OffsetQuery, TopicDescription};

/// Asks the cluster, and turns what it answers into facts or an error for a person.
pub(super) struct Facts<'a> {
    pub(super) client: &'a mut Client,
    pub(super) link: &'a mut Link,
    pub(super) config: &'a KafkaConfig,
}

/// Names of a pattern's near misses that an error shows.
const TOPICS_SHOWN: usize = 5;

impl Facts<'_> {
    /// Every partition of the topics, in order of topic and partition.
    pub(super) fn partitions(&mut self) -> Result<Vec<PartitionFacts>> {
        let topics = self.topics()?;
        let described = self.describe(&topics)?;
        let mut topic_ids = BTreeMap::new();
        let mut partitions = Vec::new();
        for topic in described {
            partitions
                .extend(topic.partitions.iter().map(|it| TopicPartition::new(&topic.topic, *it)));
            topic_ids.insert(topic.topic, topic.topic_id);
        }
        partitions.sort();
        let earliest = self.offsets(&partitions, OffsetQuery::Earliest)?;
        let end = self.offsets(&partitions, OffsetQuery::LastStable)?;
        let facts = partitions.into_iter().map(|it| {
            let topic_id = topic_ids.get(&*it.topic).cloned().flatten();
            let earliest = known(&earliest, &it)?;
            // A topic trimmed between the two requests has its end before the old earliest.
            let end = known(&end, &it)?.max(earliest);
            Ok(PartitionFacts { topic_partition: it, topic_id, earliest, end })
        });
        facts.collect()
    }

    pub(super) fn resolve_start(
        &mut self,
        partitions: &[TopicPartition],
        start: StartAt,
    ) -> Result<Position> {
        let found = match start {
            StartAt::Earliest => self.offsets(partitions, OffsetQuery::Earliest)?,
            StartAt::Latest => self.offsets(partitions, OffsetQuery::LastStable)?,
            StartAt::Timestamp(EventTime(ms)) => {
                let mut end = self.offsets(partitions, OffsetQuery::LastStable)?;
                let found = self.offsets(partitions, OffsetQuery::Timestamp(ms))?;
                // A partition whose records are all older begins at its end.
                end.extend(found);
                end
            }
        };
        let position = partitions.iter().map(|it| Ok((it.clone(), known(&found, it)?)));
        Ok(Position(position.collect::<Result<_>>()?))
    }

    /// Refuses a position that the cluster cannot serve, naming what it has.
    pub(super) fn check_range(&mut self, position: &Position) -> Result<()> {
        let partitions: Vec<TopicPartition> = position.0.keys().cloned().collect();
        let earliest = self.offsets(&partitions, OffsetQuery::Earliest)?;
        // Offsets of open transactions are in range, though nothing can be read there yet.
        let end = self.offsets(&partitions, OffsetQuery::HighWatermark)?;
        for (partition, wanted) in &position.0 {
            let (earliest, end) = (known(&earliest, partition)?, known(&end, partition)?);
            if *wanted < earliest || end < *wanted {
                return Err(out_of_range(partition, *wanted, Some((earliest, end))));
            }
        }
        Ok(())
    }

    /// Refuses when a partition is gone.
    pub(super) fn check_present<'a>(
        &mut self,
        partitions: impl Iterator<Item = &'a TopicPartition> + Clone,
    ) -> Result<()> {
        let topics: BTreeSet<String> = partitions.clone().map(|it| it.topic.to_string()).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        let described = self.client.describe_topics(&topics, self.config.request_timeout);
        let described = described.map_err(|it| self.failure(it))?;
        for it in partitions {
            let Some(topic) = described.iter().find(|topic| *topic.topic == *it.topic) else {
                continue;
            };
            match topic.error {
                None if topic.partitions.contains(&it.partition) => {}
                None => return Err(gone(it)),
                Some(code) => return Err(partition_error(it, code)),
            }
        }
        Ok(())
    }

    /// The range that can be read now, for an error's text: absent when the cluster does not tell.
    pub(super) fn range(&mut self, partition: &TopicPartition) -> Option<(Offset, Offset)> {
        let asked = std::slice::from_ref(partition);
        let earliest = self.offsets(asked, OffsetQuery::Earliest).ok()?;
        let end = self.offsets(asked, OffsetQuery::HighWatermark).ok()?;
        Some((*earliest.get(partition)?, *end.get(partition)?))
    }

    /// The topics' names; of a pattern, those that match now.
    fn topics(&mut self) -> Result<Vec<String>> {
        let pattern = match &self.config.topics {
            Topics::Names(names) => return Ok(names.clone()),
            Topics::Pattern(pattern) => pattern,
        };
        let matches = topic_pattern(pattern)?;
        let metadata =
            match self.client.consumer().fetch_metadata(None, self.config.request_timeout) {
                Ok(metadata) => metadata,
                Err(KafkaError::MetadataFetch(code)) => {
                    return Err(self.failed(code, code.to_string()));
                }
                Err(other) => return Err(self.failed(Code::Unknown, other.to_string())),
            };
        self.link.up();
        // Internal topics are the cluster's own business.
        let all = metadata.topics().iter().map(|it| it.name()).filter(|it| !it.starts_with("__"));
        let (mut matching, others): (Vec<&str>, Vec<&str>) =
            all.partition(|it| matches.is_match(it));
        if matching.is_empty() {
            let shown = others.iter().take(TOPICS_SHOWN).copied().collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(format!(
                "no topic of Kafka at {} matches the pattern \"{pattern}\" as a whole; it has {} others{}{shown}",
                self.config.bootstrap_servers,
                others.len(),
                if shown.is_empty() { "" } else { ", such as " },
            )));
        }
        matching.sort_unstable();
        Ok(matching.into_iter().map(str::to_owned).collect())
    }

    fn describe(&mut self, topics: &[String]) -> Result<Vec<TopicDescription>> {
        let described = self.client.describe_topics(topics, self.config.request_timeout);
        let described = described.map_err(|it| self.failure(it))?;
        self.link.up();
        for TopicDescription { topic, error, partitions, .. } in &described {
            let at = &self.config.bootstrap_servers;
            match error {
                None if partitions.is_empty() => {
                    return Err(Error::retry(format!("topic \"{topic}\" has no partitions yet")));
                }
                None => {}
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                    return Err(Error::invalid(format!(
                        "topic \"{topic}\" does not exist on Kafka at {at}: create it, or correct `kafka` in [source]"
                    )));
                }
                Some(Code::TopicAuthorizationFailed) => return Err(unauthorized(topic)),
                Some(code) => {
                    return Err(Error::retry(format!(
                        "topic \"{topic}\" on Kafka at {at}: {code}"
                    )));
                }
            }
        }
        Ok(described)
    }

    /// One offset for each partition that has one. A partition that is gone is refused.
    fn offsets(
        &mut self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let begin = Instant::now();
        let listed = loop {
            let listed = self.client.list_offsets(partitions, query, self.config.request_timeout);
            let listed = listed.map_err(|it| self.failure(it))?;
            // A new topic, or one whose leader moves, has none for a moment.
            let is_moving = listed.iter().any(|it| it.error.is_some_and(leader_moves));
            if !is_moving || begin.elapsed() > self.config.request_timeout {
                break listed;
            }
            std::thread::sleep(LEADER_PAUSE);
        };
        self.link.up();
        let mut offsets = BTreeMap::new();
        for it in listed {
            match (it.error, it.offset) {
                (None, Some(offset)) => {
                    offsets.insert(it.topic_partition, offset);
                }
                // No record is as late as the timestamp.
                (None, None) => {}
                (Some(code), _) => return Err(partition_error(&it.topic_partition, code)),
            }
        }
        Ok(offsets)
    }

    fn failure(&mut self, failure: AdminFailure) -> Error {
        self.failed(failure.code, failure.text)
    }

    fn failed(&mut self, code: Code, text: String) -> Error {
        self.link.listen(self.client);
        let at = &self.config.bootstrap_servers;
        match code {
            Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::SSL
            | Code::Authentication => self.link.unreachable(at, self.config.request_timeout),
            Code::ClusterAuthorizationFailed | Code::TopicAuthorizationFailed => {
                Error::invalid(format!(
                    "Kafka at {at} does not allow it: {text}; the pipeline's user needs Describe and Read on the topics"
                ))
            }
            _ => Error::retry(format!("Kafka at {at}: {text}")),
        }
    }
}

/// Between two questions while a partition gets its leader, which takes a broker some 100 ms.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

fn leader_moves(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
    )
}

/// How long the probe of a silent cluster may take.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a broker's error about one partition means for a pipeline.
pub(super) fn partition_error(partition: &TopicPartition, code: Code) -> Error {
    match code {
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => gone(partition),
        Code::TopicAuthorizationFailed => unauthorized(&partition.topic),
        code => Error::retry(format!("partition {partition}: {code}")),
    }
}

fn gone(partition: &TopicPartition) -> Error {
    Error::refused(format!(
        "partition {partition} is gone: topic \"{}\" was deleted, made anew or has fewer partitions; records that \
         were not read yet are lost with it; bring the topic back, or start over with another pipeline id",
        partition.topic
    ))
}

fn unauthorized(topic: &str) -> Error {
    Error::invalid(format!(
        "topic \"{topic}\" may not be read: the pipeline's Kafka user needs Describe and Read on it"
    ))
}

pub(super) fn out_of_range(
    partition: &TopicPartition,
    wanted: Offset,
    available: Option<(Offset, Offset)>,
) -> Error {
    let (available, what) = match available {
        Some((earliest, end)) if wanted < earliest => (
            format!("offsets {earliest} to {end} (excluded) are there"),
            "records were deleted before they were read: lengthen the topic's retention",
        ),
        Some((earliest, end)) => (
            format!("offsets {earliest} to {end} (excluded) are there"),
            "the topic is shorter than it was: it was made anew or lost records",
        ),
        None => ("what is there is not known".to_owned(), "see the topic's offsets"),
    };
    Error::refused(format!(
        "partition {partition}: offset {wanted} is out of range, {available}; {what}; nothing was skipped, \
         and floe never resets a position by itself"
    ))
}

fn known(offsets: &BTreeMap<TopicPartition, Offset>, partition: &TopicPartition) -> Result<Offset> {
    offsets.get(partition).copied().ok_or_else(|| {
        Error::retry(format!("partition {partition}: the cluster did not tell its offsets"))
    })
}
