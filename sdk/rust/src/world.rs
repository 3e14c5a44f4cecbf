//! What an operator sees of the world: a time, random numbers and a log, each of them repeatable.

use crate::log::Level;
use crate::types::Timestamp;

#[cfg(target_arch = "wasm32")]
use crate::abi::imports as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::stub as host;

/// The virtual time: the greatest timestamp of the partition's records so far. It is the same when a
/// record is processed again, which no clock is.
pub fn now() -> Timestamp {
    Timestamp(host::now())
}

/// 64 random bits from a seed that is part of the checkpoint: the same when a record is processed again.
pub fn random_u64() -> u64 {
    host::random()
}

pub(crate) fn log(level: Level, text: &str) {
    host::log(level, text);
}
