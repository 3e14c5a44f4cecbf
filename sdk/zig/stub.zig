//! The host's functions natively, for tests: what an operator emitted is given to `on_emit`.

const std = @import("std");
const columns = @import("columns.zig");

pub var now_ms: i64 = 0;
pub var on_emit: *const fn (output: usize, array: *columns.Array) void = undefined;
pub var rejected: std.ArrayListUnmanaged(struct { row: usize, reason: []const u8 }) = .empty;

pub fn emit(output: usize, array: *columns.Array) void {
    on_emit(output, array);
}
pub fn reject(row: usize, reason: []const u8) void {
    const copy = columns.allocator.dupe(u8, reason) catch @panic("out of memory");
    rejected.append(columns.allocator, .{ .row = row, .reason = copy }) catch @panic("out of memory");
}
pub fn log(level: u32, text: []const u8) void {
    std.debug.print("{d} {s}\n", .{ level, text });
}
pub fn now() i64 {
    return now_ms;
}
var bits: u64 = 0;
/// splitmix64: other numbers than the host's, and repeatable like them.
pub fn random() u64 {
    bits +%= 0x9e3779b97f4a7c15;
    var it = bits;
    it = (it ^ it >> 30) *% 0xbf58476d1ce4e5b9;
    it = (it ^ it >> 27) *% 0x94d049bb133111eb;
    return it ^ it >> 31;
}
pub fn fail(text: []const u8) noreturn {
    std.debug.panic("the operator failed: {s}", .{text});
}
