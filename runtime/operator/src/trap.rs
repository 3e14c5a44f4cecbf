//! A trap as a value: what class it is, what it says, and the guest's backtrace.

use std::fmt::Write;

use floe_core::Error;
use wasmtime::{Trap, WasmBacktrace};

use crate::host::Host;

/// Frames shown to a person.
const FRAMES_MAX: usize = 12;

pub(crate) fn explain(call: &str, error: &wasmtime::Error, host: &Host) -> Error {
    if host.limiter.host_refused {
        return Error::retry(format!(
            "the machine has no memory left for operator {}: give it more, or lower limits.memory",
            host.name
        ));
    }
    let mut message = match (&host.failure, error.downcast_ref::<Trap>()) {
        (Some(failure), _) => format!("{call}: {failure}"),
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

fn class(trap: Trap) -> String {
    match trap {
        Trap::OutOfFuel => {
            "out of fuel: it ran longer than limits.fuel-per-batch allows (a loop without end?)"
                .to_owned()
        }
        Trap::StackOverflow => "stack overflow".to_owned(),
        Trap::MemoryOutOfBounds => "memory access out of bounds".to_owned(),
        Trap::IntegerDivisionByZero => "integer divide by zero".to_owned(),
        Trap::IntegerOverflow => "integer overflow".to_owned(),
        Trap::UnreachableCodeReached => "unreachable executed (a panic or an abort)".to_owned(),
        other => other.to_string(),
    }
}

fn write_frame(message: &mut String, frame: &wasmtime::FrameInfo) {
    let function = match frame.func_name() {
        Some(name) => rustc_demangle(name),
        None => format!("function {}", frame.func_index()),
    };
    let place = frame.symbols().iter().find_map(|it| Some((it.file()?, it.line()?, it.column())));
    // Writing to a string does not fail.
    let _ = match place {
        Some((file, line, Some(column))) => {
            write!(message, "\n    at {function}   {file}:{line}:{column}")
        }
        Some((file, line, None)) => write!(message, "\n    at {function}   {file}:{line}"),
        None => write!(message, "\n    at {function}"),
    };
}

/// `wasmtime::FrameSymbol` demangles its own names; a plain one may still be mangled.
fn rustc_demangle(name: &str) -> String {
    name.to_owned()
}
