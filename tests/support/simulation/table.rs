//! The simulated table: snapshots on one branch, a compare-and-swap over its head, and a property.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use floe_core::protocol::judge::{BaseFacts, Marker};
use floe_core::{Error, ErrorKind, Result};

/// A row as the checkers compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub partition: i32,
    pub offset: i64,
    /// Key, count, sum and random draw; nothing for a dead letter.
    pub values: Vec<i64>,
}

#[derive(Clone, Debug)]
pub struct SimTable {
    pub uuid: [u8; 16],
    /// All there ever were; those below `kept_from` are expired.
    pub snapshots: Vec<Snapshot>,
    pub kept_from: usize,
    /// The files that snapshots name: none takes rows out, so the head names them all.
    pub files: Arc<BTreeSet<String>>,
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub id: i64,
    pub sequence_number: i64,
    pub summary: BTreeMap<String, String>,
}

/// The table as one load shows it.
#[derive(Clone, Debug)]
pub struct Base {
    pub uuid: [u8; 16],
    pub head: Option<i64>,
    /// The head and its ancestors that are not expired, newest first.
    pub ancestors: Vec<Snapshot>,
    pub root_is_missing: bool,
    pub files: Arc<BTreeSet<String>>,
    pub properties: BTreeMap<String, String>,
}

impl SimTable {
    pub fn new(uuid: [u8; 16]) -> SimTable {
        SimTable {
            uuid,
            snapshots: Vec::new(),
            kept_from: 0,
            files: Arc::default(),
            properties: BTreeMap::new(),
        }
    }

    pub fn head(&self) -> Option<i64> {
        self.snapshots.last().map(|it| it.id)
    }

    pub fn load(&self) -> Base {
        Base {
            uuid: self.uuid,
            head: self.head(),
            ancestors: self.snapshots[self.kept_from..].iter().rev().cloned().collect(),
            root_is_missing: self.kept_from > 0,
            files: Arc::clone(&self.files),
            properties: self.properties.clone(),
        }
    }

    /// Swaps the head, if it is the one that was judged.
    pub fn swap(
        &mut self,
        uuid: [u8; 16],
        head: Option<i64>,
        summary: BTreeMap<String, String>,
        files: &[String],
        property: Option<(String, String)>,
    ) -> Result<()> {
        if self.uuid != uuid {
            return Err(Error::refused("another table"));
        }
        if self.head() != head {
            return Err(Error::new(ErrorKind::Retry, "conflict: the head has moved"));
        }
        self.push(summary);
        Arc::make_mut(&mut self.files).extend(files.iter().cloned());
        self.properties.extend(property);
        Ok(())
    }

    /// A snapshot on top of whatever there is.
    pub fn push(&mut self, summary: BTreeMap<String, String>) {
        let number = self.snapshots.len() as i64 + 1;
        self.snapshots.push(Snapshot { id: 1000 + number, sequence_number: number, summary });
    }

    /// Our newest marker, as the table's property has it.
    pub fn newest_marker(&self) -> Option<Marker> {
        let newest = self.properties.iter().find(|it| it.0.starts_with("floe."));
        newest.map(|it| Marker::parse(it.1).expect("a marker as it was written"))
    }
}

impl Base {
    /// Our facts in it, as a committer must gather them.
    pub fn facts(&self, key: &str) -> BaseFacts {
        let mut unreadable = None;
        let mut read = |text: &String| {
            let marker = Marker::parse(text);
            if marker.is_none() {
                unreadable = Some(text.clone());
            }
            marker
        };
        let property = self.properties.get(key).and_then(&mut read);
        let summary = self.ancestors.iter().find_map(|it| it.summary.get(key)).and_then(&mut read);
        BaseFacts { table_uuid: self.uuid, property, summary, unreadable }
    }
}
