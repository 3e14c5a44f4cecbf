//! The state hash of a task: two runs are equal if theirs are.
//!
//! It is over the canonical, uncompressed content of the operator images, in the order of the chain: how
//! an image was stored does not show in it.

use floe_core::encoding::Encoder;
use floe_core::image::{GlobalValue, OperatorImage, PAGE_BYTES};

pub(crate) static ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

const DOMAIN: &[u8] = b"floe state 1";

/// The hash that a `TaskEntry` holds.
pub fn state_hash(operators: &[(String, OperatorImage)]) -> [u8; 32] {
    let mut state = StateHasher::new(operators.len());
    for (_, image) in operators {
        let mut memory = MemoryHasher::new();
        for page in image.memory.chunks(PAGE_BYTES) {
            memory.page(page);
        }
        state.operator(image, memory);
    }
    state.finish()
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

    pub(crate) fn operator(&mut self, image: &OperatorImage, memory: MemoryHasher) {
        let mut e = Encoder::new();
        e.u64(image.memory.len() as u64);
        e.raw(memory.root().as_bytes());
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

/// The root over the hashes of the 4 KiB pages, in order.
pub(crate) struct MemoryHasher {
    root: blake3::Hasher,
    zero_page: blake3::Hash,
}

impl MemoryHasher {
    pub(crate) fn new() -> MemoryHasher {
        MemoryHasher { root: blake3::Hasher::new(), zero_page: blake3::hash(&ZERO_PAGE) }
    }

    /// Returns whether the page is all zeros.
    pub(crate) fn page(&mut self, page: &[u8]) -> bool {
        let zero = page == ZERO_PAGE;
        let hash = if zero { self.zero_page } else { blake3::hash(page) };
        self.root.update(hash.as_bytes());
        zero
    }

    fn root(&self) -> blake3::Hash {
        self.root.finalize()
    }
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
