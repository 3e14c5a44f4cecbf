//! The state for other code (A24, A25): told as JSON and taken back. README.md, State, says how an operator uses it.

const std = @import("std");
const floe = @import("floe.zig");

/// `floe_state` (A24).
pub const State = extern struct { version: u32, text: [*]const u8, text_len: u32 };

comptime {
    if (floe.is_wasm) std.debug.assert(@sizeOf(State) == 12);
}

/// What `exportState` writes to.
pub const Json = std.json.Stringify;

/// A map by text as an object, in the order of the keys: equal maps are told alike.
pub fn writeMap(json: *Json, map: anytype) !void {
    const keys = try floe.allocator.alloc([]const u8, map.count());
    defer floe.allocator.free(keys);
    var all = map.iterator();
    for (keys) |*key| key.* = all.next().?.key_ptr.*;
    std.mem.sortUnstable([]const u8, keys, {}, struct {
        fn lessThan(_: void, a: []const u8, b: []const u8) bool {
            return std.mem.lessThan(u8, a, b);
        }
    }.lessThan);
    try json.beginObject();
    for (keys) |key| {
        try json.objectField(key);
        try json.write(map.get(key).?);
    }
    try json.endObject();
}

/// What `writeMap` wrote, into a map of `floe.allocator`. Keys are copied.
pub fn readMap(map: anytype, told: std.json.Value) !void {
    const Of = @FieldType(@TypeOf(map.*).KV, "value");
    if (told != .object) return error.NotWhatThisOperatorTold;
    var all = told.object.iterator();
    while (all.next()) |it| {
        const value = try std.json.parseFromValueLeaky(Of, floe.allocator, it.value_ptr.*, .{ .allocate = .alloc_always });
        try map.put(floe.allocator, try floe.allocator.dupe(u8, it.key_ptr.*), value);
    }
}

/// The state as JSON, for ever.
pub fn tell(comptime Operator: type, operator: *const Operator) !State {
    var text: std.Io.Writer.Allocating = .init(floe.allocator);
    var json: Json = .{ .writer = &text.writer };
    try operator.exportState(&json);
    const bytes = text.written();
    return .{ .version = Operator.state_version, .text = bytes.ptr, .text_len = @intCast(bytes.len) };
}

pub fn take(comptime Operator: type, operator: *Operator, state: State) !void {
    // Its texts are gone afterwards: what is kept is copied.
    var arena: std.heap.ArenaAllocator = .init(floe.allocator);
    defer arena.deinit();
    const value = std.json.parseFromSliceLeaky(std.json.Value, arena.allocator(), state.text[0..state.text_len], .{}) catch
        floe.fail("the state is no JSON");
    try operator.importState(state.version, value);
}
