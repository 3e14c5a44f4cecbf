//! A trap as a value: what class it is, what it says, and the guest's backtrace.

use std::fmt::Write;

use floe_core::Error;
use wasmtime::{Trap, WasmBacktrace};

use crate::host::Host;

/// Frames shown to a person.
const FRAMES_MAX: usize = 12;
/// Of what a guest says when it fails.
const FAILURE_CHARS_MAX: usize = 2000;

pub(crate) fn explain(call: &str, error: &wasmtime::Error, host: &Host) -> Error {
    if host.limiter.host_refused {
        return no_memory(&host.name);
    }
    let mut message = match (&host.failure, error.downcast_ref::<Trap>()) {
        (Some(failure), _) => format!("{call}: {}", shown(failure)),
        (None, Some(trap)) => format!("trap in {call}: {}", class(*trap)),
        (None, None) => format!("{call}: {}", error.root_cause()),
    };
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        for frame in backtrace.frames().iter().take(FRAMES_MAX) {
            write_frame(&mut message, frame);
        }
    }
    Error::operator(message)
}

/// A guest's own words, as much of them as a person reads.
fn shown(failure: &str) -> String {
    match failure.char_indices().nth(FAILURE_CHARS_MAX) {
        None => failure.to_owned(),
        Some((end, _)) => format!("{} … ({} bytes)", &failure[..end], failure.len()),
    }
}

/// The machine's fault and no fact about the guest: the process ends, and nothing is written down.
pub(crate) fn no_memory(operator: &str) -> Error {
    Error::retry(format!(
        "the machine has no memory left for operator {operator}: give it more, or lower limits.memory"
    ))
}

fn class(trap: Trap) -> String {
    match trap {
        Trap::OutOfFuel => {
            "out of fuel: it ran longer than limits.fuel-per-batch allows (a loop without end?)"
                .to_owned()
        }
        Trap::StackOverflow => {
            "stack overflow: its calls nest deeper than limits.stack allows (a recursion without end?)"
                .to_owned()
        }
        Trap::MemoryOutOfBounds => "memory access out of bounds".to_owned(),
        Trap::IntegerDivisionByZero => "integer divide by zero".to_owned(),
        Trap::IntegerOverflow => "integer overflow".to_owned(),
        Trap::UnreachableCodeReached => "unreachable executed (a panic or an abort)".to_owned(),
        other => other.to_string(),
    }
}

/// One line for each function that was inlined into the frame, innermost first, and then its own.
fn write_frame(message: &mut String, frame: &wasmtime::FrameInfo) {
    let own =
        frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), readable);
    // Writing to a string does not fail.
    for symbol in frame.symbols() {
        let name = symbol.name().map_or_else(|| own.clone(), readable);
        let _ = write!(message, "\n    at {name}");
        if let (Some(file), Some(line)) = (symbol.file(), symbol.line()) {
            let _ = write!(message, "   {file}:{line}");
            if let Some(column) = symbol.column() {
                let _ = write!(message, ":{column}");
            }
        }
    }
    if frame.symbols().is_empty() {
        let _ = write!(message, "\n    at {own}");
    }
}

/// A function's name without mangling and without the hash that compilers add.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
