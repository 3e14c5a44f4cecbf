//! What the host keeps for one instance, and the functions that a guest may import (A4, A20).

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use floe_core::EventTime;
use floe_core::ports::RejectedRow;
use floe_core::rng::OperatorRng;
use wasmtime::{Caller, Linker, Memory, ResourceLimiter, Trap};

use crate::abi;
use crate::arrow_out::{read_batch, spend};
use crate::memory::{Checked, GuestMemory, Violation, violation};

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) memory: Option<Memory>,
    pub(crate) outputs: Vec<SchemaRef>,
    pub(crate) now: EventTime,
    pub(crate) rng: OperatorRng,
    pub(crate) limiter: Limiter,
    /// What the module says of its state (A5).
    pub(crate) state_version: u32,
    pub(crate) emitted: Vec<(u32, RecordBatch)>,
    pub(crate) rejected: Vec<RejectedRow>,
    /// A bit for each row of the batch that is being processed; no row during other calls.
    pub(crate) input_rows: usize,
    pub(crate) rejected_bits: Vec<u64>,
    pub(crate) output_bytes_left: u64,
    pub(crate) log_lines_left: u32,
    pub(crate) log_bytes_left: usize,
    pub(crate) failure: Option<String>,
    /// Fuel is counted, and the host's work costs some.
    pub(crate) counts_fuel: bool,
    /// Nothing has an effect during a restore, and output only during `process` and `watermark`.
    pub(crate) may_emit: bool,
}

impl Host {
    /// Forgets the last call's output; this one takes `rows` rows.
    pub(crate) fn begin(&mut self, rows: usize, output_bytes: u64) {
        self.emitted.clear();
        self.rejected.clear();
        self.input_rows = rows;
        self.rejected_bits.clear();
        self.rejected_bits.resize(rows.div_ceil(64), 0);
        self.output_bytes_left = output_bytes;
        self.log_lines_left = LOG_LINES_MAX;
        self.log_bytes_left = LOG_BYTES_MAX;
        self.failure = None;
    }
}

/// Lines of one call that reach the log; a guest in a loop would fill the disk.
const LOG_LINES_MAX: u32 = 1000;
const LOG_BYTES_MAX: usize = 256 << 10;

/// Fuel of what the host does for a guest, in units of about one instruction: a guest that loops over an
/// import ends as one that loops in its own code.
mod fuel {
    pub(super) const NOW: u64 = 100;
    pub(super) const RANDOM: u64 = 100;
    /// A function of WASI that answers and does nothing.
    pub(super) const ANSWER: u64 = 100;
    /// One that is not there: it is called by its type at run time, which takes ten times as long.
    pub(super) const ENOSYS: u64 = 300;
    pub(super) const REJECT: u64 = 200;
    /// A line goes through the whole of `tracing`.
    pub(super) const LOG: u64 = 5_000;
    pub(super) const EMIT: u64 = 2_000;
    /// A copy, and for text its validation, does several bytes in the time of an instruction.
    pub(super) const BYTES_EACH: u64 = 4;
}

/// For an import that is not there.
pub(crate) fn charge_absent(caller: &mut Caller<'_, Host>) -> wasmtime::Result<()> {
    charge(caller, fuel::ENOSYS, 0)
}

fn charge(caller: &mut Caller<'_, Host>, base: u64, bytes: u64) -> wasmtime::Result<()> {
    if !caller.data().counts_fuel {
        return Ok(());
    }
    let left = caller.get_fuel()?;
    match left.checked_sub(base + bytes / fuel::BYTES_EACH) {
        Some(left) => caller.set_fuel(left),
        None => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Growth is decided by the configured limits alone, so it is the same on every machine.
pub(crate) struct Limiter {
    pub(crate) memory_bytes: usize,
    pub(crate) table_elements: usize,
    /// The machine itself refused memory that the limit allows: no fact that a guest may learn.
    pub(crate) host_refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.memory_bytes && maximum.is_none_or(|it| desired <= it))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.host_refused = true;
        Err(error.context("the machine has no memory left for the operator"))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements && maximum.is_none_or(|it| desired <= it))
    }
}

/// What the host keeps for a rejected row beside its reason.
const ROW_BYTES: u64 = 64;

/// A guest that breaks the ABI ends its call as a trap.
fn trap(import: &str, broken: Violation) -> wasmtime::Error {
    wasmtime::Error::msg(format!("{import}: {}", broken.0))
}

fn with_memory<T>(
    caller: &mut Caller<'_, Host>,
    import: &str,
    work: impl FnOnce(GuestMemory<'_>, &mut Host) -> Checked<T>,
) -> wasmtime::Result<T> {
    let memory = caller.data().memory.ok_or_else(|| {
        wasmtime::Error::msg(format!("{import}: called before the memory is there"))
    })?;
    let (bytes, host) = memory.data_and_store_mut(caller);
    work(GuestMemory(bytes), host).map_err(|it| trap(import, it))
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        abi::IMPORTS,
        "emit",
        |mut caller: Caller<'_, Host>, output: i32, array: i32| {
            let pointer = u64::from(array as u32);
            let bytes_before = caller.data().output_bytes_left;
            with_memory(&mut caller, "emit", |memory, host| {
                if !host.may_emit {
                    return violation("rows are handed out during process and watermark only");
                }
                let output = output as u32;
                let Some(schema) = host.outputs.get(output as usize) else {
                    return violation(format!(
                        "output {output} of {} is not declared",
                        host.outputs.len()
                    ));
                };
                let batch = read_batch(memory, pointer, schema, &mut host.output_bytes_left)?;
                // The next operator takes so many rows at the most (A14).
                for first in (0..batch.num_rows()).step_by(abi::BATCH_ROWS_MAX) {
                    let rows = abi::BATCH_ROWS_MAX.min(batch.num_rows() - first);
                    host.emitted.push((output, batch.slice(first, rows)));
                }
                Ok(())
            })?;
            let bytes = bytes_before - caller.data().output_bytes_left;
            charge(&mut caller, fuel::EMIT, bytes)?;
            // A15: the rows are copied; the guest's structure is marked as taken.
            let memory = caller.data().memory.expect("it was there above");
            let at = pointer + abi::array::RELEASE;
            memory.write(&mut caller, at as usize, &[0; 4]).map_err(wasmtime::Error::from)
        },
    )?;
    linker.func_wrap(
        abi::IMPORTS,
        "reject",
        |mut caller: Caller<'_, Host>, row: i32, reason: i32, len: i32| {
            charge(&mut caller, fuel::REJECT, u64::from(len as u32))?;
            with_memory(&mut caller, "reject", |memory, host| {
                let row = row as u32 as usize;
                if !host.may_emit {
                    return violation("rows are rejected during process only");
                }
                if row >= host.input_rows {
                    return violation(format!("row {row} of a batch of {} rows", host.input_rows));
                }
                let reason = memory.text(
                    u64::from(reason as u32),
                    u64::from(len as u32),
                    abi::TEXT_BYTES_MAX,
                )?;
                let (word, bit) = (&mut host.rejected_bits[row / 64], 1 << (row % 64));
                if *word & bit != 0 {
                    return violation(format!("row {row} is rejected twice"));
                }
                *word |= bit;
                spend(&mut host.output_bytes_left, ROW_BYTES + reason.len() as u64)?;
                host.rejected.push(RejectedRow { row, reason: reason.to_owned() });
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        abi::IMPORTS,
        "log",
        |mut caller: Caller<'_, Host>, level: i32, text: i32, len: i32| {
            charge(&mut caller, fuel::LOG, u64::from(len as u32))?;
            with_memory(&mut caller, "log", |memory, host| {
                let text = memory.text(
                    u64::from(text as u32),
                    u64::from(len as u32),
                    abi::TEXT_BYTES_MAX,
                )?;
                host.log(level, text);
                Ok(())
            })
        },
    )?;
    linker.func_wrap(abi::IMPORTS, "now", |mut caller: Caller<'_, Host>| {
        charge(&mut caller, fuel::NOW, 0)?;
        Ok(virtual_now(caller.data()))
    })?;
    linker.func_wrap(abi::IMPORTS, "random", |mut caller: Caller<'_, Host>| {
        charge(&mut caller, fuel::RANDOM, 0)?;
        Ok(caller.data_mut().rng.next_u64() as i64)
    })?;
    linker.func_wrap(
        abi::IMPORTS,
        "fail",
        |mut caller: Caller<'_, Host>, text: i32, len: i32| -> wasmtime::Result<()> {
            with_memory(&mut caller, "fail", |memory, host| {
                let text = memory.text(
                    u64::from(text as u32),
                    u64::from(len as u32),
                    abi::TEXT_BYTES_MAX,
                )?;
                host.failure = Some(text.to_owned());
                Ok(())
            })?;
            Err(wasmtime::Error::msg("the operator failed"))
        },
    )?;
    link_wasi(linker)
}

fn virtual_now(host: &Host) -> i64 {
    if host.now == EventTime::MIN { 0 } else { host.now.0 }
}

impl Host {
    fn log(&mut self, level: i32, text: &str) {
        let operator = self.name.as_str();
        let Some(left) = self.log_lines_left.checked_sub(1) else { return };
        let bytes_left = self.log_bytes_left.checked_sub(text.len());
        self.log_bytes_left = bytes_left.unwrap_or(0);
        self.log_lines_left = if bytes_left.is_some() { left } else { 0 };
        if self.log_lines_left == 0 {
            tracing::warn!(
                operator,
                "{LOG_LINES_MAX} lines or {LOG_BYTES_MAX} bytes in one call: the rest is not shown"
            );
            return;
        }
        match level {
            0 => tracing::error!(operator, "{text}"),
            1 => tracing::warn!(operator, "{text}"),
            2 => tracing::info!(operator, "{text}"),
            _ => tracing::debug!(operator, "{text}"),
        }
    }
}

const WASI_SUCCESS: i32 = 0;
const WASI_CLOCK_MONOTONIC: i32 = 1;
const WASI_EBADF: i32 = 8;
const WASI_EINVAL: i32 = 28;

/// The part of WASI preview 1 that is virtual; the rest answers ENOSYS (`module.rs` adds it by the types
/// that the module imports).
fn link_wasi(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let wasi = abi::WASI;
    linker.func_wrap(
        wasi,
        "clock_time_get",
        |mut caller: Caller<'_, Host>, clock: i32, _precision: i64, at: i32| {
            charge(&mut caller, fuel::NOW, 0)?;
            let nanos = virtual_now(caller.data()).saturating_mul(1_000_000);
            // Go's runtime does not start with a monotonic clock that says 0, as it does before any record.
            let nanos = if clock == WASI_CLOCK_MONOTONIC { nanos.max(1) } else { nanos };
            Ok(write(&mut caller, at, &nanos.to_le_bytes()))
        },
    )?;
    linker.func_wrap(
        wasi,
        "clock_res_get",
        |mut caller: Caller<'_, Host>, _clock: i32, at: i32| {
            charge(&mut caller, fuel::ANSWER, 0)?;
            Ok(write(&mut caller, at, &1_000_000i64.to_le_bytes()))
        },
    )?;
    linker.func_wrap(wasi, "random_get", |mut caller: Caller<'_, Host>, at: i32, len: i32| {
        charge(&mut caller, fuel::RANDOM, fuel::BYTES_EACH * u64::from(len as u32))?;
        let Some(memory) = caller.data().memory else { return Ok(WASI_EINVAL) };
        let (bytes, host) = memory.data_and_store_mut(&mut caller);
        let (at, len) = (at as u32 as usize, len as u32 as usize);
        match at.checked_add(len).and_then(|end| bytes.get_mut(at..end)) {
            Some(target) => {
                host.rng.fill(target);
                Ok(WASI_SUCCESS)
            }
            None => Ok(WASI_EINVAL),
        }
    })?;
    linker.func_wrap(
        wasi,
        "fd_write",
        |mut caller: Caller<'_, Host>, fd: i32, vectors: i32, count: i32, written: i32| {
            charge(&mut caller, fuel::LOG, 0)?;
            if fd != 1 && fd != 2 {
                return Ok(WASI_EBADF);
            }
            let text =
                with_memory(&mut caller, "fd_write", |memory, _| gather(memory, vectors, count));
            let Ok(text) = text else { return Ok(WASI_EINVAL) };
            charge(&mut caller, 0, text.len() as u64)?;
            let line = String::from_utf8_lossy(&text);
            if !line.trim_end().is_empty() {
                caller.data_mut().log(if fd == 2 { 1 } else { 2 }, line.trim_end());
            }
            Ok(write(&mut caller, written, &(text.len() as u32).to_le_bytes()))
        },
    )?;
    linker.func_wrap(
        wasi,
        "proc_exit",
        |mut caller: Caller<'_, Host>, code: i32| -> wasmtime::Result<()> {
            caller.data_mut().failure = Some(format!("the operator called exit({code})"));
            Err(wasmtime::Error::msg("the operator exited"))
        },
    )?;
    for (sizes, get) in [("args_sizes_get", "args_get"), ("environ_sizes_get", "environ_get")] {
        linker.func_wrap(wasi, sizes, |mut caller: Caller<'_, Host>, count: i32, bytes: i32| {
            charge(&mut caller, fuel::ANSWER, 0)?;
            Ok(match write(&mut caller, count, &[0; 4]) {
                WASI_SUCCESS => write(&mut caller, bytes, &[0; 4]),
                error => error,
            })
        })?;
        linker.func_wrap(wasi, get, |mut caller: Caller<'_, Host>, _: i32, _: i32| {
            charge(&mut caller, fuel::ANSWER, 0).map(|()| WASI_SUCCESS)
        })?;
    }
    linker.func_wrap(wasi, "fd_prestat_get", |mut caller: Caller<'_, Host>, _: i32, _: i32| {
        charge(&mut caller, fuel::ANSWER, 0).map(|()| WASI_EBADF)
    })?;
    linker.func_wrap(wasi, "sched_yield", |mut caller: Caller<'_, Host>| {
        charge(&mut caller, fuel::ANSWER, 0).map(|()| WASI_SUCCESS)
    })?;
    linker.func_wrap(wasi, "fd_fdstat_get", |mut caller: Caller<'_, Host>, fd: i32, at: i32| {
        charge(&mut caller, fuel::ANSWER, 0)?;
        if !(0..=2).contains(&fd) {
            return Ok(WASI_EBADF);
        }
        // A character device without flags or rights.
        let mut stat = [0u8; 24];
        stat[0] = 2;
        Ok(write(&mut caller, at, &stat))
    })?;
    Ok(())
}

fn write(caller: &mut Caller<'_, Host>, at: i32, bytes: &[u8]) -> i32 {
    let Some(memory) = caller.data().memory else { return WASI_EINVAL };
    match memory.write(caller, at as u32 as usize, bytes) {
        Ok(()) => WASI_SUCCESS,
        Err(_) => WASI_EINVAL,
    }
}

fn gather(memory: GuestMemory<'_>, vectors: i32, count: i32) -> Checked<Vec<u8>> {
    let mut text = Vec::new();
    for index in 0..u64::from(count as u32).min(64) {
        let vector = u64::from(vectors as u32) + 8 * index;
        let (at, len) = (memory.u32(vector)?, memory.u32(vector + 4)?);
        let left = abi::TEXT_BYTES_MAX - text.len() as u64;
        text.extend_from_slice(memory.bytes(u64::from(at), u64::from(len).min(left))?);
    }
    Ok(text)
}
