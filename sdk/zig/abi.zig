//! The host's functions (A4) and the module's exports (A2). The only file with imports.

const std = @import("std");
const columns = @import("columns.zig");
const floe = @import("floe.zig");
const state = @import("state.zig");

const raw = struct {
    extern "floe_v1" fn emit(output: u32, array: *columns.Array) void;
    extern "floe_v1" fn reject(row: u32, reason: [*]const u8, reason_len: u32) void;
    extern "floe_v1" fn log(level: u32, text: [*]const u8, text_len: u32) void;
    extern "floe_v1" fn now() i64;
    extern "floe_v1" fn random() u64;
    extern "floe_v1" fn fail(text: [*]const u8, text_len: u32) noreturn;
};

pub fn emit(output: usize, array: *columns.Array) void {
    raw.emit(@intCast(output), array);
}
pub fn reject(row: usize, reason: []const u8) void {
    raw.reject(@intCast(row), reason.ptr, @intCast(reason.len));
}
pub fn log(level: u32, text: []const u8) void {
    raw.log(level, text.ptr, @intCast(text.len));
}
pub fn now() i64 {
    return raw.now();
}
pub fn random() u64 {
    return raw.random();
}
pub fn fail(text: []const u8) noreturn {
    raw.fail(text.ptr, @intCast(text.len));
}

/// `ArrowSchema` (A6).
const Schema = extern struct {
    format: [*:0]const u8,
    name: [*:0]const u8,
    metadata: u32 = 0,
    flags: i64,
    n_children: i64,
    children: [*]const *const Schema,
    dictionary: u32 = 0,
    release: u32 = 0,
    private_data: u32 = 0,
};

const Output = extern struct { name: [*]const u8, name_len: u32, schema: *const Schema };

/// `floe_description` (A5).
const Description = extern struct {
    name: [*]const u8,
    name_len: u32,
    version: [*]const u8,
    version_len: u32,
    state_version: u32,
    input: *const Schema,
    output_count: u32,
    outputs: [*]const Output,
};

comptime {
    std.debug.assert(@sizeOf(columns.Array) == 64 and @offsetOf(columns.Array, "release") == 52);
    std.debug.assert(@sizeOf(Schema) == 48 and @offsetOf(Schema, "children") == 32);
    std.debug.assert(@sizeOf(Description) == 32 and @sizeOf(Output) == 12);
}

fn schema(comptime T: type, comptime name: [:0]const u8) *const Schema {
    const V = columns.Value(T);
    const children: []const *const Schema = switch (@typeInfo(V)) {
        .@"struct" => |it| if (@hasDecl(V, "floe_format")) &.{} else blk: {
            var all: []const *const Schema = &.{};
            for (it.fields) |field| all = all ++ .{schema(field.type, field.name)};
            break :blk all;
        },
        .pointer => |it| if (V == []const u8) &.{} else &.{schema(it.child, "item")},
        else => &.{},
    };
    const made = Schema{
        .format = columns.format(V),
        .name = name,
        .flags = if (@typeInfo(T) == .optional) 2 else 0,
        .n_children = children.len,
        .children = children.ptr,
    };
    return &made;
}

pub fn Exports(comptime Operator: type) type {
    return struct {
        var running: floe.Running(Operator) = undefined;
        var region: []align(64) u8 = &.{};

        fn describe() callconv(.c) *const Description {
            const names = comptime std.meta.fieldNames(@TypeOf(Operator.outputs));
            const outputs = comptime blk: {
                var all: [names.len]Output = undefined;
                for (names, &all) |name, *output| {
                    output.* = .{ .name = name.ptr, .name_len = name.len, .schema = schema(@field(Operator.outputs, name), "") };
                }
                break :blk all;
            };
            const description = comptime Description{
                .name = Operator.name,
                .name_len = Operator.name.len,
                .version = Operator.version,
                .version_len = Operator.version.len,
                .state_version = Operator.state_version,
                .input = schema(Operator.Input, ""),
                .output_count = names.len,
                .outputs = &outputs,
            };
            return &description;
        }

        fn input(bytes: u32) callconv(.c) [*]u8 {
            if (bytes > region.len) {
                // What was input is no state.
                std.crypto.secureZero(u8, region);
                floe.allocator.free(region);
                region = floe.allocator.alignedAlloc(u8, .fromByteUnits(64), bytes) catch fail("out of memory (limits.memory)");
            }
            return region.ptr;
        }

        fn open(config: [*]const u8, len: u32) callconv(.c) i32 {
            running = floe.Running(Operator).open(config[0..len]) catch |problem| fail(@errorName(problem));
            return 0;
        }

        fn process(batch: *const columns.Array) callconv(.c) i32 {
            running.process(batch);
            return 0;
        }

        fn watermark(time_ms: i64) callconv(.c) i32 {
            running.watermark(time_ms);
            return 0;
        }

        var told: state.State = undefined;

        fn exportState() callconv(.c) *const state.State {
            told = state.tell(Operator, &running.operator) catch |problem| fail(@errorName(problem));
            return &told;
        }

        fn importState(states: [*]const state.State, count: u32) callconv(.c) i32 {
            if (count != 1) fail("several states cannot be merged by this operator");
            state.take(Operator, &running.operator, states[0]) catch |problem| fail(@errorName(problem));
            return 0;
        }

        pub fn export_all() void {
            if (@hasDecl(Operator, "exportState")) @export(&exportState, .{ .name = "floe_v1_export_state" });
            if (@hasDecl(Operator, "importState")) @export(&importState, .{ .name = "floe_v1_import_state" });
            @export(&describe, .{ .name = "floe_v1_describe" });
            @export(&input, .{ .name = "floe_v1_input" });
            @export(&open, .{ .name = "floe_v1_open" });
            @export(&process, .{ .name = "floe_v1_process" });
            @export(&watermark, .{ .name = "floe_v1_watermark" });
        }
    };
}
