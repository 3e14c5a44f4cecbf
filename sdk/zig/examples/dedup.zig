//! Drops a click whose id was seen within the window. The ids seen are the state.
const std = @import("std");
const floe = @import("floe");

pub const Click = struct { id: []const u8, amount: i64, _timestamp: floe.Millis };
pub const First = struct { id: []const u8, amount: i64 };

pub const Dedup = struct {
    pub const name = "dedup";
    pub const version = "1.0.0";
    pub const state_version = 1;
    pub const Input = Click;
    pub const outputs = .{ .main = First };

    window_ms: i64 = 3_600_000,
    last_seen: std.StringArrayHashMapUnmanaged(i64) = .empty,

    pub fn open(self: *Dedup, config: *floe.Config) !void {
        if (try config.get(i64, "window_ms")) |window| self.window_ms = window;
    }

    pub fn process(self: *Dedup, click: Click, out: *floe.Outputs(Dedup)) !void {
        if (click.id.len == 0) return floe.reject("a click has no id");
        const at = click._timestamp.value;
        const seen = try self.last_seen.getOrPut(floe.allocator, click.id);
        if (seen.found_existing and at - seen.value_ptr.* <= self.window_ms) return;
        if (!seen.found_existing) seen.key_ptr.* = try floe.allocator.dupe(u8, click.id);
        seen.value_ptr.* = at;
        out.emit(.main, .{ .id = click.id, .amount = click.amount });
    }

    pub fn watermark(self: *Dedup, time_ms: i64, _: *floe.Outputs(Dedup)) !void {
        var index = self.last_seen.count();
        while (index > 0) {
            index -= 1;
            if (self.last_seen.values()[index] >= time_ms - self.window_ms) continue;
            floe.allocator.free(self.last_seen.keys()[index]);
            self.last_seen.swapRemoveAt(index);
        }
    }
};

pub const panic = floe.panic;
comptime {
    floe.register(Dedup);
}
