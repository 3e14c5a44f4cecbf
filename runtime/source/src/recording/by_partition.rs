//! A map from partitions, looked up without making a `TopicPartition` for each line.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe_core::TopicPartition;

#[derive(Clone, Debug)]
pub(super) struct ByPartition<T>(BTreeMap<Arc<str>, BTreeMap<i32, T>>);

impl<T> Default for ByPartition<T> {
    fn default() -> Self {
        ByPartition(BTreeMap::new())
    }
}

impl<T> ByPartition<T> {
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&T> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut T> {
        self.0.get_mut(topic)?.get_mut(&partition)
    }

    pub(super) fn insert(&mut self, topic: &str, partition: i32, value: T) {
        match self.0.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, value),
            None => self.0.entry(Arc::from(topic)).or_default().insert(partition, value),
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order of topic and partition.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicPartition, &T)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, value)| {
                (TopicPartition { topic: topic.clone(), partition: *partition }, value)
            })
        })
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flat_map(BTreeMap::values_mut)
    }
}
