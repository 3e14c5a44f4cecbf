//! Limits of one operator. Each has a default, and each is decided by counting, never by the clock, but
//! for the compile time, which is spent before a record is read. Where a call outruns its time, fuel is
//! counted from there on, and decides.

use std::time::Duration;

use crate::engine::STACK_BYTES;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance.
    pub memory_bytes: u64,
    pub table_elements: u64,
    /// Bytes of calls into one another, on the machine's stack. What a guest keeps in its own memory and calls
    /// a stack is memory.
    pub stack_bytes: u64,
    pub metering: Metering,
    /// What a call may work before its task is run again with fuel counted.
    pub time_per_batch: Duration,
    /// Fuel of a call whatever its rows, about one unit an instruction.
    pub fuel_per_batch: u64,
    /// Fuel added for each row of the batch.
    pub fuel_per_record: u64,
    /// Bytes that one call may emit.
    pub output_bytes_per_batch: u64,
    pub compile_time: Duration,
    pub module_bytes: u64,
}

/// How calls without an end are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// Every call has its fuel counted.
    #[default]
    Fuel,
    /// A watchdog stops a call that outruns `time_per_batch`; whatever fails is run again with fuel counted.
    Time,
}

impl Limits {
    /// For calls that a journal says came to their end, whatever fuel they took: a replay decides nothing
    /// again. Other code, which it may be given, still ends.
    pub fn for_replay(self) -> Limits {
        /// Three instructions in each cycle, which guests do not reach.
        const FUEL_PER_SECOND_MAX: f64 = 1e10;
        let fuel_in_time = match self.metering {
            Metering::Fuel => 0,
            Metering::Time => (self.time_per_batch.as_secs_f64() * FUEL_PER_SECOND_MAX) as u64,
        };
        let fuel_per_batch = self.fuel_per_batch.saturating_add(fuel_in_time);
        Limits { metering: Metering::Fuel, fuel_per_batch, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 1 << 30,
            table_elements: 1 << 20,
            stack_bytes: STACK_BYTES as u64,
            metering: Metering::Fuel,
            // The largest batch of a slow language takes half of it (65,536 records of 15 µs).
            time_per_batch: Duration::from_secs(2),
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
