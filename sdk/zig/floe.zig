//! floe operators in Zig: rows are structs, the fields of a struct are the state, and one function takes a row
//! and emits rows. README.md has the chapters.

const std = @import("std");
const builtin = @import("builtin");
const columns = @import("columns.zig");
const state = @import("state.zig");
const host = if (is_wasm) @import("abi.zig") else @import("stub.zig");
pub const is_wasm = builtin.target.cpu.arch.isWasm();

pub const Millis = columns.Plain(i64, "tsm:UTC");
pub const Micros = columns.Plain(i64, "tsu:UTC");
pub const Nanos = columns.Plain(i64, "tsn:UTC");
/// Days since 1970-01-01, and microseconds since midnight.
pub const Date = columns.Plain(i32, "tdD");
pub const TimeOfDay = columns.Plain(i64, "ttu");
/// A number times 10 to the power of `scale`.
pub fn Decimal(comptime precision: u8, comptime scale: i8) type {
    return columns.Plain(i128, std.fmt.comptimePrint("d:{d},{d}", .{ precision, scale }));
}
/// Bytes; `[]const u8` alone is text.
pub const Binary = columns.Binary;

/// For what the operator keeps: all of it is the state.
pub const allocator = columns.allocator;

pub const Level = enum(u32) { err, warn, info, debug };

/// Writes a line to the pipeline's log.
pub fn log(level: Level, text: []const u8) void {
    host.log(@intFromEnum(level), cut(text));
}

/// The virtual time in ms: the same when a record is processed again.
pub fn now() i64 {
    return host.now();
}

/// 64 random bits from a seed in the checkpoint.
pub fn random() u64 {
    return host.random();
}

/// Ends the call: the pipeline stops with this message.
pub fn fail(text: []const u8) noreturn {
    host.fail(cut(text));
}

/// `pub const panic = floe.panic;` in the root file gives panics their message.
pub const panic = std.debug.FullPanic(struct {
    fn end(message: []const u8, _: ?usize) noreturn {
        host.fail(cut(message));
    }
}.end);

var reason: []const u8 = "";

/// `return floe.reject("why");`: this row is not taken, and what was emitted for it is taken back.
pub fn reject(why: []const u8) error{Rejected} {
    reason = why;
    return error.Rejected;
}

const text_bytes_max = 65536;

/// What the host takes of a text, cut between two letters.
fn cut(text: []const u8) []const u8 {
    if (text.len <= text_bytes_max) return text;
    var end: usize = text_bytes_max;
    while (end > 0 and text[end] & 0xc0 == 0x80) end -= 1;
    return text[0..end];
}

/// The configuration in the pipeline file. A key that nobody asks for is refused.
pub const Config = struct {
    values: std.json.ObjectMap,
    asked: std.StringHashMapUnmanaged(void) = .empty,

    /// A bool, an integer, a float or a text.
    pub fn get(self: *Config, comptime T: type, key: []const u8) !?T {
        try self.asked.put(allocator, key, {});
        const value = self.values.get(key) orelse return null;
        return std.json.parseFromValueLeaky(T, allocator, value, .{}) catch {
            fail(try std.fmt.allocPrint(allocator, "config.{s} must be {s}", .{ key, @typeName(T) }));
        };
    }

    fn refuseUnread(self: *Config) !void {
        for (self.values.keys()) |key| {
            if (self.asked.contains(key)) continue;
            const text = "the configuration has a key that this operator does not know: {s}";
            fail(try std.fmt.allocPrint(allocator, text, .{key}));
        }
    }
};

/// Where rows of an operator go out: `try out.emit(.main, row)`.
pub fn Outputs(comptime Operator: type) type {
    const names = std.meta.fieldNames(@TypeOf(Operator.outputs));
    var types: [names.len]type = undefined;
    for (names, &types) |name, *column| column.* = columns.Column(@field(Operator.outputs, name));
    const Columns = std.meta.Tuple(&types);
    return struct {
        const Self = @This();
        columns: Columns,
        before: [names.len]usize = @splat(0),
        check_at: [names.len]usize = @splat(1024),

        pub fn init() Self {
            var self: Self = .{ .columns = undefined };
            inline for (&self.columns) |*column| column.* = .init();
            return self;
        }

        pub fn emit(self: *Self, comptime name: @Type(.enum_literal), row: @field(Operator.outputs, @tagName(name))) void {
            inline for (names, 0..) |it, index| {
                if (comptime std.mem.eql(u8, it, @tagName(name))) self.columns[index].append(row);
            }
        }

        fn takeBack(self: *Self) void {
            inline for (&self.columns, 0..) |*column, index| column.truncate(self.before[index]);
        }

        /// Rows go out in the middle of a batch beyond 8 MiB.
        fn handOverLarge(self: *Self) void {
            inline for (&self.columns, 0..) |*column, index| {
                if (column.len >= self.check_at[index]) {
                    self.check_at[index] = column.len + 1024;
                    if (column.bytes() > 8 << 20) self.handOverOne(index);
                }
                self.before[index] = column.len;
            }
        }

        fn handOverOne(self: *Self, comptime index: usize) void {
            const column = &self.columns[index];
            if (column.len > 0) host.emit(index, column.seal());
            column.truncate(0);
            self.before[index] = 0;
            self.check_at[index] = 1024;
        }

        fn handOver(self: *Self) void {
            inline for (0..names.len) |index| self.handOverOne(index);
        }
    };
}

/// An operator that runs: in the module, or in a test.
pub fn Running(comptime Operator: type) type {
    return struct {
        const Self = @This();
        operator: Operator,
        out: Outputs(Operator),
        items: std.heap.ArenaAllocator,

        pub fn open(text: []const u8) !Self {
            var self: Self = .{ .operator = .{}, .out = .init(), .items = .init(allocator) };
            const parsed = std.json.parseFromSliceLeaky(std.json.Value, allocator, text, .{ .allocate = .alloc_always }) catch
                fail("the configuration is no JSON object");
            if (parsed != .object) fail("the configuration is no JSON object");
            var config: Config = .{ .values = parsed.object };
            if (@hasDecl(Operator, "open")) try self.operator.open(&config);
            try config.refuseUnread();
            return self;
        }

        pub fn process(self: *Self, batch: *const columns.Array) void {
            for (0..@intCast(batch.length)) |index| {
                const row = columns.read(Operator.Input, batch, index, self.items.allocator());
                self.operator.process(row, &self.out) catch |problem| {
                    if (problem == error.OutOfMemory) fail("out of memory (limits.memory)");
                    self.out.takeBack();
                    host.reject(index, cut(if (problem == error.Rejected) reason else @errorName(problem)));
                };
                self.out.handOverLarge();
                if (comptime columns.hasLists(Operator.Input)) _ = self.items.reset(.retain_capacity);
            }
            self.out.handOver();
        }

        pub fn watermark(self: *Self, time_ms: i64) void {
            if (!@hasDecl(Operator, "watermark")) return;
            self.operator.watermark(time_ms, &self.out) catch |problem| fail(@errorName(problem));
            self.out.handOver();
        }
    };
}

/// Makes the root file a module: `comptime { floe.register(Dedup); }`.
pub fn register(comptime Operator: type) void {
    if (is_wasm) host.Exports(Operator).export_all();
}

/// For `exportState` and `importState`.
pub const Json = state.Json;
pub const writeMap = state.writeMap;
pub const readMap = state.readMap;

/// Native tests: `var tester = try floe.Tester(Dedup).open("{}");`.
pub const Tester = @import("testing.zig").Tester;

/// For whoever plays the host natively, as the bench of languages does.
pub const native = struct {
    pub const Array = columns.Array;
    pub const host = @import("stub.zig");
};
