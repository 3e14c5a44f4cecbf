//! Limits of one operator. Each has a default, and each is decided by counting, never by the clock, but
//! for the compile time, which is spent before a record is read.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance.
    pub memory_bytes: u64,
    pub table_elements: u64,
    /// Fuel of a call whatever its rows, about one unit an instruction.
    pub fuel_per_batch: u64,
    /// Fuel added for each row of the batch.
    pub fuel_per_record: u64,
    /// Bytes that one call may emit.
    pub output_bytes_per_batch: u64,
    pub compile_time: Duration,
    pub module_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 1 << 30,
            table_elements: 1 << 20,
            // Well under a second of a loop that does nothing, since finding the record that loops takes some
            // twenty such calls. Typed payments take 1,200 units a record, JSON parsed in the guest some 10,000.
            fuel_per_batch: 500_000_000,
            fuel_per_record: 100_000,
            output_bytes_per_batch: 256 << 20,
            compile_time: Duration::from_secs(120),
            module_bytes: 64 << 20,
        }
    }
}
