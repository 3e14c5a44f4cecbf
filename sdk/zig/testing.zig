//! Native tests of an operator: rows pass through the same columns as in a pipeline.

const std = @import("std");
const columns = @import("columns.zig");
const floe = @import("floe.zig");
const state = @import("state.zig");
const stub = @import("stub.zig");

/// An operator in a test. `rows` and `rejected` are what came of the last call; nothing is freed.
pub fn Tester(comptime Operator: type) type {
    const Row = @field(Operator.outputs, std.meta.fieldNames(@TypeOf(Operator.outputs))[0]);
    return struct {
        const Self = @This();
        running: floe.Running(Operator),
        /// Of output 0.
        var emitted: std.ArrayListUnmanaged(Row) = .empty;

        pub fn open(config: []const u8) !Self {
            stub.on_emit = take;
            return .{ .running = try .open(config) };
        }

        fn take(output: usize, array: *columns.Array) void {
            if (output != 0) return;
            for (0..@intCast(array.length)) |row| {
                emitted.append(columns.allocator, columns.read(Row, array, row, columns.allocator)) catch unreachable;
            }
        }

        /// The rows that came of these as one batch. Their texts are good until the next call.
        pub fn process(self: *Self, rows: []const Operator.Input) []const Row {
            var batch = columns.Column(Operator.Input).init();
            for (rows) |row| batch.append(row);
            emitted.clearRetainingCapacity();
            stub.rejected.clearRetainingCapacity();
            self.running.process(batch.seal());
            return emitted.items;
        }

        pub fn watermark(self: *Self, time_ms: i64) []const Row {
            emitted.clearRetainingCapacity();
            self.running.watermark(time_ms);
            return emitted.items;
        }

        /// The state as JSON.
        pub fn exportState(self: *Self) ![]const u8 {
            const told = try state.tell(Operator, &self.running.operator);
            return told.text[0..told.text_len];
        }

        pub fn importState(self: *Self, version: u32, text: []const u8) !void {
            try state.take(Operator, &self.running.operator, .{ .version = version, .text = text.ptr, .text_len = @intCast(text.len) });
        }

        pub fn rejected(_: *Self, index: usize) struct { row: usize, reason: []const u8 } {
            const it = stub.rejected.items[index];
            return .{ .row = it.row, .reason = it.reason };
        }
    };
}
