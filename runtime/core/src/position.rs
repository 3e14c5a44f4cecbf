//! Topic-partitions, offsets, and the position of a whole source: the next offset per partition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One record's number in its partition; in a position, the next one to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// A partition of a topic. It is also the name of the task that reads it.
///
/// A task of a keyed stage has a name of this form, too: '@' and the stage's first operator, and its number.
/// No topic's name has an '@'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// The next offset to read, for each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<TopicPartition, Offset>);

impl TopicPartition {
    pub fn new(topic: &str, partition: i32) -> Self {
        TopicPartition { topic: Arc::from(topic), partition }
    }

    /// "payments/3", as it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.rsplit_once('/')?;
        let partition: i32 = partition.parse().ok()?;
        (!topic.is_empty() && partition >= 0).then(|| TopicPartition::new(topic, partition))
    }

    /// The name of a task of the stage that begins with an operator.
    pub fn of_stage(operator: &str, index: u32) -> Self {
        TopicPartition::new(&format!("@{operator}"), index as i32)
    }

    /// The first operator of the stage whose task has this name; none for a partition's.
    pub fn stage(&self) -> Option<&str> {
        self.topic.strip_prefix('@')
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
