const std = @import("std");
const floe = @import("floe");
const Dedup = @import("dedup.zig").Dedup;

test "the first of each id within a window goes on" {
    var tester = try floe.Tester(Dedup).open("{\"window_ms\": 1000}");
    const rows = tester.process(&.{
        .{ .id = "a", .amount = 1, ._timestamp = .{ .value = 0 } },
        .{ .id = "a", .amount = 2, ._timestamp = .{ .value = 1000 } },
        .{ .id = "", .amount = 3, ._timestamp = .{ .value = 0 } },
        .{ .id = "b", .amount = 4, ._timestamp = .{ .value = 10 } },
        .{ .id = "a", .amount = 5, ._timestamp = .{ .value = 1001 } },
    });
    try std.testing.expectEqual(3, rows.len);
    for ([_]i64{ 1, 4, 5 }, rows) |amount, row| try std.testing.expectEqual(amount, row.amount);
    try std.testing.expectEqualStrings("b", rows[1].id);
    try std.testing.expectEqual(2, tester.rejected(0).row);
    try std.testing.expectEqualStrings("a click has no id", tester.rejected(0).reason);
    _ = tester.watermark(1500);
    try std.testing.expectEqual(1, tester.running.operator.last_seen.count());
}
