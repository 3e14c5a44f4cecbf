//! The state as JSON and back.

const std = @import("std");
const floe = @import("floe");

const Counts = struct {
    pub const name = "counts";
    pub const version = "1.0.0";
    pub const state_version = 3;
    pub const Input = struct { id: []const u8 };
    pub const outputs = .{ .main = Input };

    by_id: std.StringHashMapUnmanaged(i64) = .empty,
    since: i64 = 0,

    pub fn process(self: *Counts, row: Input, _: *floe.Outputs(Counts)) !void {
        const count = try self.by_id.getOrPutValue(floe.allocator, row.id, 0);
        count.value_ptr.* += 1;
    }

    pub fn exportState(self: *const Counts, json: *floe.Json) !void {
        try json.beginObject();
        try json.objectField("by_id");
        try floe.writeMap(json, self.by_id);
        try json.objectField("since");
        try json.write(self.since);
        try json.endObject();
    }

    pub fn importState(self: *Counts, told_version: u32, told: std.json.Value) !void {
        if (told_version > state_version) return error.UnknownStateVersion;
        try floe.readMap(&self.by_id, told.object.get("by_id").?);
        if (told.object.get("since")) |since| self.since = since.integer;
    }
};

test "a state is told in order, and taken as it was told" {
    var tester = try floe.Tester(Counts).open("{}");
    _ = tester.process(&.{ .{ .id = "b" }, .{ .id = "a\"\n" }, .{ .id = "b" }, .{ .id = "" } });
    tester.running.operator.since = -4;
    const expected = "{\"by_id\":{\"\":1,\"a\\\"\\n\":1,\"b\":2},\"since\":-4}";
    try std.testing.expectEqualStrings(expected, try tester.exportState());
    var other = try floe.Tester(Counts).open("{}");
    try other.importState(3, expected);
    try std.testing.expectEqualStrings(expected, try other.exportState());
    var older = try floe.Tester(Counts).open("{}");
    try older.importState(2, "{\"by_id\": {\"b\": 7}}");
    try std.testing.expectEqual(7, older.running.operator.by_id.get("b"));
    try std.testing.expectError(error.UnknownStateVersion, older.importState(4, "{}"));
}
