//! The state hash of a task: two runs are equal if theirs are.
//!
//! It is over the canonical, uncompressed content of the operator images, in the order of the chain: how
//! an image was stored does not show in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrow_array::RecordBatch;
use floe_core::TopicPartition;
use floe_core::encoding::Encoder;
use floe_core::exchange::digest;
use floe_core::image::{GlobalValue, OperatorImage, PAGE_BYTES, ZERO_PAGE};

const DOMAIN: &[u8] = b"floe state 1";
const DOMAIN_IN_FLIGHT: &[u8] = b"floe flight 1";

pub(crate) type PageHash = [u8; 32];

pub(crate) static ZERO_PAGE_HASH: LazyLock<PageHash> =
    LazyLock::new(|| *blake3::hash(&ZERO_PAGE).as_bytes());

pub(crate) fn page_hash(page: &[u8]) -> PageHash {
    match *page == ZERO_PAGE {
        true => *ZERO_PAGE_HASH,
        false => *blake3::hash(page).as_bytes(),
    }
}

/// The hash that a `TaskEntry` holds, of whole images.
pub fn state_hash(operators: &[(String, OperatorImage)]) -> [u8; 32] {
    assert!(operators.iter().all(|it| it.1.memory.whole), "changes alone have no state hash");
    RunningStateHash::default().update(operators)
}

/// The state hash of instances that are captured again and again: a page is hashed when it changed.
#[derive(Default)]
pub struct RunningStateHash {
    /// For each operator of the chain; `None` before its first image.
    pages: Vec<Option<Vec<PageHash>>>,
}

impl RunningStateHash {
    /// Takes whole images, or what changed since the images that it took before. Gives the hash that
    /// `state_hash` gives of the whole.
    pub fn update(&mut self, captured: &[(String, OperatorImage)]) -> [u8; 32] {
        self.pages.resize(captured.len(), None);
        let mut state = StateHasher::new(captured.len());
        for ((_, image), hashes) in captured.iter().zip(&mut self.pages) {
            if image.memory.whole {
                *hashes = Some(Vec::new());
            }
            let hashes = hashes.as_mut().expect("what changes was whole before");
            hashes.resize(image.memory.bytes as usize / PAGE_BYTES, *ZERO_PAGE_HASH);
            for (number, page) in image.memory.pages() {
                hashes[number as usize] = page_hash(page);
            }
            state.operator(image, hashes);
        }
        state.finish()
    }
}

/// Joins the operators of a chain.
pub(crate) struct StateHasher(blake3::Hasher);

impl StateHasher {
    pub(crate) fn new(operator_count: usize) -> StateHasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN);
        hasher.update(&(operator_count as u64).to_le_bytes());
        StateHasher(hasher)
    }

    /// The root is over the hashes of all pages in order: 8 MiB of hashes for a GiB, 2 ms of background
    /// time, so a tree that is kept up to date would not pay.
    pub(crate) fn operator(&mut self, image: &OperatorImage, page_hashes: &[PageHash]) {
        assert_eq!((page_hashes.len() * PAGE_BYTES) as u64, image.memory.bytes);
        let mut e = Encoder::new();
        e.u64(image.memory.bytes);
        e.raw(blake3::hash(page_hashes.as_flattened()).as_bytes());
        encode_globals(&mut e, &image.globals);
        e.u32(image.input_region.0);
        e.u32(image.input_region.1);
        image.rng_state.iter().for_each(|it| e.u64(*it));
        self.0.update(&e.finish());
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The state hash of a task with rows on their way to it, from the one of its operators. Those of one task are
/// in the order in which it passed them; how those of several come between each other is not part of it.
pub fn with_in_flight<'a>(
    operators: [u8; 32],
    batches: impl Iterator<Item = (&'a TopicPartition, &'a RecordBatch)>,
) -> [u8; 32] {
    let mut by_task: BTreeMap<&TopicPartition, Vec<&RecordBatch>> = BTreeMap::new();
    for (from, batch) in batches {
        by_task.entry(from).or_default().push(batch);
    }
    if by_task.is_empty() {
        return operators;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN_IN_FLIGHT);
    hasher.update(&operators);
    for (from, batches) in by_task {
        let mut e = Encoder::new();
        e.string(&from.topic);
        e.signed(i64::from(from.partition));
        e.varint(batches.len() as u64);
        hasher.update(&e.finish());
        for batch in batches {
            digest(batch, &mut |bytes| {
                hasher.update(bytes);
            });
        }
    }
    *hasher.finalize().as_bytes()
}

const I32: u8 = 1;
const I64: u8 = 2;
const F32: u8 = 3;
const F64: u8 = 4;
const V128: u8 = 5;

pub(crate) fn encode_globals(e: &mut Encoder, globals: &[GlobalValue]) {
    e.list(globals, |e, global| match global {
        GlobalValue::I32(value) => {
            e.u8(I32);
            e.u32(*value as u32);
        }
        GlobalValue::I64(value) => {
            e.u8(I64);
            e.u64(*value as u64);
        }
        GlobalValue::F32(bits) => {
            e.u8(F32);
            e.u32(*bits);
        }
        GlobalValue::F64(bits) => {
            e.u8(F64);
            e.u64(*bits);
        }
        GlobalValue::V128(bits) => {
            e.u8(V128);
            e.raw(&bits.to_le_bytes());
        }
    });
}

pub(crate) fn decode_globals(
    d: &mut floe_core::encoding::Decoder<'_>,
) -> Result<Vec<GlobalValue>, floe_core::encoding::DecodeError> {
    d.list(|d| {
        Ok(match d.u8()? {
            I32 => GlobalValue::I32(d.u32()? as i32),
            I64 => GlobalValue::I64(d.u64()? as i64),
            F32 => GlobalValue::F32(d.u32()?),
            F64 => GlobalValue::F64(d.u64()?),
            V128 => GlobalValue::V128(u128::from_le_bytes(d.array()?)),
            _ => return d.invalid("a global of an unknown type"),
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use floe_core::image::{MemoryImage, PageRun};

    use super::*;

    fn image(memory: MemoryImage) -> Vec<(String, OperatorImage)> {
        let image = OperatorImage {
            memory,
            globals: vec![GlobalValue::I64(3)],
            input_region: (64, 64),
            rng_state: [1; 4],
        };
        vec![("totals".to_owned(), image)]
    }

    /// A page written, one made zeros again, and a growth: as if all had been hashed.
    #[test]
    fn changes_give_the_hash_of_the_whole() {
        let mut memory = vec![0u8; 65_536];
        memory[5000] = 1;
        memory[9000] = 2;
        let mut running = RunningStateHash::default();
        let first = image(memory.clone().into());
        assert_eq!(running.update(&first), state_hash(&first));

        memory.resize(131_072, 0);
        memory[5000] = 0;
        memory[70_000] = 7;
        let page = |number: usize| PageRun {
            first_page: number as u32,
            content: Bytes::copy_from_slice(&memory[number * PAGE_BYTES..][..PAGE_BYTES]),
        };
        let changes = MemoryImage { bytes: 131_072, whole: false, runs: vec![page(1), page(17)] };
        let whole = image(memory.clone().into());
        assert_eq!(running.update(&image(changes.clone())), state_hash(&whole));
        // A page that is left out is told as it was.
        let wanting = MemoryImage { runs: vec![page(1)], ..changes };
        let mut other = RunningStateHash::default();
        other.update(&first);
        assert_ne!(other.update(&image(wanting)), state_hash(&whole));
    }
}
