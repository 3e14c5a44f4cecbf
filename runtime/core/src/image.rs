//! OperatorImage: the whole of one operator instance at a quiescent point.

use bytes::Bytes;

/// 4 KiB by format, whatever the machine's own page size is.
pub const PAGE_BYTES: usize = 4096;

/// Memory, globals and tables of one instance, and what the host keeps for it.
///
/// Invariant: `memory.len()` is a multiple of 64 KiB, WebAssembly's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorImage {
    pub memory: Bytes,
    /// The mutable globals in the module's index order.
    pub globals: Vec<GlobalValue>,
    /// Where the host places input: pointer and capacity, (0, 0) before the first batch. Its bytes
    /// are zero in `memory`.
    pub input_region: (u32, u32),
    pub rng_state: [u64; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalValue {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}
