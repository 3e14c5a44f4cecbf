//! An operator in Zig natively: its source with the SDK as it is, and the bench in the host's place.
const floe = @import("floe");
const operator = @import("operator");

const Running = floe.Running(operator.Operator);
const Emit = *const fn (output: u32, rows: *const anyopaque) callconv(.c) void;

var running: Running = undefined;
var on_emit: Emit = undefined;

/// Rows are looked at where they are, and not copied.
fn emit(output: usize, rows: *floe.native.Array) void {
    on_emit(@intCast(output), rows);
}

export fn bench_open(take: Emit) void {
    on_emit = take;
    floe.native.host.on_emit = emit;
    running = Running.open("{}") catch unreachable;
}

export fn bench_process(batch: *const floe.native.Array) i32 {
    running.process(batch);
    return 0;
}
