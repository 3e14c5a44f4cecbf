//! Chains: where each page of the newest checkpoint is stored, and its hash.
//!
//! A checkpoint writes the pages that changed, and names the objects of earlier ones for all others. An
//! object is named as long as one page's newest content is in it. Invariant: for each page, `page_in` is
//! the newest part that holds it, and a part of which nothing is live is named no more.

use std::collections::{BTreeMap, BTreeSet};

use floe_core::Epoch;
use floe_core::manifest::{ObjectRef, PartRef};
use floe_core::position::TopicPartition;

use crate::state_hash::{PageHash, ZERO_PAGE_HASH};
use crate::write::OBJECT_BYTES;

/// Grows with the object's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectNumber(pub(crate) u64);

#[derive(Default)]
pub(crate) struct Chains {
    /// The epoch that changes must be of, so that none is left out. `None`: of any, after a restore.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) objects: BTreeMap<ObjectNumber, ObjectRef>,
    /// For each task, the memories of its operators in the order of the chain.
    pub(crate) tasks: BTreeMap<TopicPartition, Vec<MemoryChain>>,
}

/// The pages of one memory.
#[derive(Default)]
pub(crate) struct MemoryChain {
    pub(crate) hashes: Vec<PageHash>,
    /// Index in `parts`, or `NOWHERE` for zeros that no part tells.
    page_in: Vec<u32>,
    parts: Vec<ChainPart>,
}

const NOWHERE: u32 = u32::MAX;

pub(crate) struct ChainPart {
    pub(crate) object: ObjectNumber,
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) version_1: bool,
    /// Pages whose newest content is here; zeros count, since they hide an older part's content.
    live: u32,
    stored: u32,
    live_stored: u32,
}

impl ChainPart {
    fn live_bytes(&self) -> u64 {
        match self.stored {
            0 => self.len,
            stored => self.len * u64::from(self.live_stored) / u64::from(stored),
        }
    }
}

impl MemoryChain {
    pub(crate) fn resize(&mut self, page_count: usize) {
        self.hashes.resize(page_count, *ZERO_PAGE_HASH);
        self.page_in.resize(page_count, NOWHERE);
    }

    pub(crate) fn page_count(&self) -> usize {
        self.hashes.len()
    }

    /// A part that is newer than all before it.
    pub(crate) fn add(
        &mut self,
        (object, start, len): (ObjectNumber, u64, u64),
        version_1: bool,
        pages: impl Iterator<Item = (u32, PageHash)>,
    ) {
        let index = self.parts.len() as u32;
        let mut part =
            ChainPart { object, start, len, version_1, live: 0, stored: 0, live_stored: 0 };
        for (number, hash) in pages {
            let number = number as usize;
            if let Some(before) = self.parts.get_mut(self.page_in[number] as usize) {
                before.live -= 1;
                before.live_stored -= u32::from(self.hashes[number] != *ZERO_PAGE_HASH);
            }
            self.page_in[number] = index;
            self.hashes[number] = hash;
            part.live += 1;
            part.stored += u32::from(hash != *ZERO_PAGE_HASH);
        }
        part.live_stored = part.stored;
        self.parts.push(part);
    }

    pub(crate) fn parts(&self) -> &[ChainPart] {
        &self.parts
    }

    pub(crate) fn is_live(&self, part: usize, page: u32) -> bool {
        self.page_in.get(page as usize).is_some_and(|it| *it as usize == part)
    }

    /// Lets go of parts without a live page.
    fn retire(&mut self) {
        if self.parts.iter().all(|it| it.live > 0) {
            return;
        }
        let mut kept = 0;
        let renumbered: Vec<u32> = self
            .parts
            .iter()
            .map(|it| {
                kept += u32::from(it.live > 0);
                kept.wrapping_sub(1)
            })
            .collect();
        self.parts.retain(|it| it.live > 0);
        for part in self.page_in.iter_mut().filter(|it| **it != NOWHERE) {
            *part = renumbered[*part as usize];
        }
    }
}

/// Objects beyond what their bytes need that a checkpoint may name: a restore reads each by one request.
const OBJECTS_MAX: u64 = 32;

/// Bytes that a restore may read in vain whatever the image: a request's latency is as long.
const SLACK_BYTES: u64 = 64 * 1024;

/// How much of an object is live.
struct Liveness {
    number: ObjectNumber,
    bytes: u64,
    live_bytes: u64,
    version_1: bool,
}

impl Chains {
    pub(crate) fn next_object(&self) -> ObjectNumber {
        self.objects.last_key_value().map_or(ObjectNumber(0), |(last, _)| ObjectNumber(last.0 + 1))
    }

    /// Lets go of parts and objects without a live page; `keep` are this checkpoint's own.
    pub(crate) fn retire(&mut self, keep: ObjectNumber) {
        self.tasks.values_mut().flatten().for_each(MemoryChain::retire);
        let named: BTreeSet<ObjectNumber> =
            self.tasks.values().flatten().flat_map(|it| &it.parts).map(|it| it.object).collect();
        self.objects.retain(|it, _| *it >= keep || named.contains(it));
    }

    /// Objects before `own` to be written anew, as far as they are live, so that a restore reads at most
    /// twice the image, and few objects. In groups of which each fits into an object.
    pub(crate) fn to_clean(&self, own: ObjectNumber) -> Vec<Vec<ObjectNumber>> {
        let all = self.liveness();
        let live: u64 = all.iter().map(|it| it.live_bytes).sum();
        let mut bytes: u64 = all.iter().map(|it| it.bytes).sum();
        let mut count = all.len() as u64;
        let mut old: Vec<Liveness> = all.into_iter().filter(|it| it.number < own).collect();
        let mut chosen = Vec::new();

        // The least live first: they give back the most for the least.
        old.sort_by_key(|it| it.live_bytes * 1000 / it.bytes.max(1));
        old.retain(|it| {
            let clean = it.version_1 || bytes > 2 * live + SLACK_BYTES;
            if clean {
                bytes -= it.bytes - it.live_bytes;
                chosen.push((it.number, it.live_bytes));
            }
            !clean
        });
        // Many small ones become few: half of the allowance at once, so that it is seldom.
        let objects_max = OBJECTS_MAX + 2 * live / OBJECT_BYTES as u64;
        if count > objects_max {
            old.sort_by_key(|it| it.live_bytes);
            for it in old {
                if count <= objects_max - OBJECTS_MAX / 2 {
                    break;
                }
                chosen.push((it.number, it.live_bytes));
                count -= 1;
            }
        }
        in_groups(chosen)
    }

    fn liveness(&self) -> Vec<Liveness> {
        let mut all: BTreeMap<ObjectNumber, Liveness> = self
            .objects
            .iter()
            .map(|(number, object)| {
                let (number, bytes) = (*number, object.len);
                (number, Liveness { number, bytes, live_bytes: 0, version_1: false })
            })
            .collect();
        // A part of several memories counts once, and as live as it is where most of it is.
        let mut parts: BTreeMap<(ObjectNumber, u64), (u64, &ChainPart)> = BTreeMap::new();
        for part in self.tasks.values().flatten().flat_map(|it| &it.parts) {
            let (most, _) = parts.entry((part.object, part.start)).or_insert((0, part));
            // Each memory of a part of version 1 has its pages in it; their sum is a part's at the most.
            let others = if part.version_1 { *most } else { 0 };
            *most = (*most).max(others + part.live_bytes());
        }
        for (live_bytes, part) in parts.into_values() {
            let number = part.object;
            let own = Liveness { number, bytes: 0, live_bytes: 0, version_1: false };
            let it = all.entry(number).or_insert(own);
            it.live_bytes += live_bytes;
            it.version_1 |= part.version_1;
            if !self.objects.contains_key(&number) {
                // This checkpoint's own: it is not known as an object yet.
                it.bytes += part.len;
            }
        }
        all.into_values().collect()
    }

    /// The objects as a manifest names them, and for each its index.
    pub(crate) fn named(&self) -> (Vec<ObjectRef>, BTreeMap<ObjectNumber, u32>) {
        let objects = self.objects.values().cloned().collect();
        let indexes = self.objects.keys().copied().zip(0..).collect();
        (objects, indexes)
    }
}

fn in_groups(chosen: Vec<(ObjectNumber, u64)>) -> Vec<Vec<ObjectNumber>> {
    let mut groups: Vec<Vec<ObjectNumber>> = Vec::new();
    let mut group_bytes = 0;
    for (number, live_bytes) in chosen {
        match groups.last_mut() {
            Some(group) if group_bytes + live_bytes <= OBJECT_BYTES as u64 => {
                group.push(number);
                group_bytes += live_bytes;
            }
            _ => {
                groups.push(vec![number]);
                group_bytes = live_bytes;
            }
        }
    }
    groups
}

pub(crate) fn part_ref(
    indexes: &BTreeMap<ObjectNumber, u32>,
    object: ObjectNumber,
    start: u64,
    len: u64,
) -> PartRef {
    PartRef { object: indexes[&object], start, len }
}
