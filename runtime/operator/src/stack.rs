//! Calls on a stack as large as limits.stack asks for.

use std::io;

use crate::engine::STACK_BYTES;

/// Beside the guest's frames: those of the host's functions, and of what leads to the call. With the stack of
/// the default limit every thread of Rust has as much (2 MiB in all).
const HOST_BYTES: usize = 1 << 20;

/// Runs a call that may take `bytes` of stack. Where a thread may not have as many, the call gets one of its
/// own (0.2 to 0.5 ms a batch where 2 cores have a load of 16); only the pages that are touched take memory.
pub(crate) fn with_stack<T: Send>(bytes: usize, call: impl FnOnce() -> T + Send) -> io::Result<T> {
    if bytes <= STACK_BYTES {
        return Ok(call());
    }
    let span = tracing::Span::current();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("floe-stack".to_owned())
            .stack_size(bytes + HOST_BYTES)
            .spawn_scoped(scope, || span.in_scope(call))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
