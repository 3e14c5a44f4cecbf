//! The conformance operator in Zig: what it must do is written in sdk/abi/CONFORMANCE.md.
const std = @import("std");
const floe = @import("floe");

const Pair = struct { a: i64, b: ?[]const u8 };

const Row = struct {
    do: []const u8,
    _offset: i64 = 0,
    boolean: ?bool = null,
    tiny: ?i8 = null,
    small: ?i16 = null,
    medium: ?i32 = null,
    big: ?i64 = null,
    utiny: ?u8 = null,
    usmall: ?u16 = null,
    umedium: ?u32 = null,
    ubig: ?u64 = null,
    single: ?f32 = null,
    twice: ?f64 = null,
    text: ?[]const u8 = null,
    binary: ?floe.Binary = null,
    fixed: ?[4]u8 = null,
    date: ?floe.Date = null,
    time: ?floe.TimeOfDay = null,
    millis: ?floe.Millis = null,
    micros: ?floe.Micros = null,
    nanos: ?floe.Nanos = null,
    decimal: ?floe.Decimal(20, 4) = null,
    list: ?[]const ?i64 = null,
    pair: ?Pair = null,
    pairs: ?[]const Pair = null,
};

const Command = enum { echo, many, second, reject, fail, panic, log, now, clock, random, keep, keys, grow, spin, config };

const Conformance = struct {
    pub const name = "conformance";
    pub const version = "1.0.0";
    pub const state_version = 7;
    pub const Input = Row;
    pub const outputs = .{ .main = Row, .second = struct { text: []const u8 } };

    greeting: []const u8 = "",
    counts: std.StringHashMapUnmanaged(i64) = .empty,
    kept: std.ArrayListUnmanaged([]u8) = .empty,

    pub fn open(self: *Conformance, config: *floe.Config) !void {
        if (try config.get([]const u8, "greeting")) |greeting| self.greeting = greeting;
        if (try config.get([]const u8, "fail")) |why| floe.fail(why);
    }

    pub fn process(self: *Conformance, row: Row, out: *floe.Outputs(Conformance)) !void {
        const text = row.text orelse "";
        var changed = row;
        switch (std.meta.stringToEnum(Command, row.do) orelse return floe.reject("no such command")) {
            .echo => {},
            .many => {
                for (0..@intCast(row.big.?)) |_| out.emit(.main, row);
                return;
            },
            .second => return out.emit(.second, .{ .text = text }),
            .reject => {
                out.emit(.main, row);
                return floe.reject(text);
            },
            .fail => floe.fail(text),
            .panic => @panic("it was told to"),
            .log => return floe.log(@enumFromInt(row.medium.?), text),
            .now => changed.big = floe.now(),
            .clock => changed.big = null,
            .random => changed.ubig = floe.random(),
            .keep => {
                const count = try self.counts.getOrPutValue(floe.allocator, text, 0);
                if (count.value_ptr.* == 0) count.key_ptr.* = try floe.allocator.dupe(u8, text);
                count.value_ptr.* += 1;
                changed.big = count.value_ptr.*;
            },
            .keys => {
                var all: std.ArrayListUnmanaged(u8) = .empty;
                var keys = self.counts.keyIterator();
                while (keys.next()) |key| {
                    if (all.items.len > 0) try all.append(floe.allocator, ',');
                    try all.appendSlice(floe.allocator, key.*);
                }
                changed.text = all.items;
            },
            .grow => {
                const more = try floe.allocator.alloc(u8, @intCast(row.big.?));
                @memset(more, 7);
                try self.kept.append(floe.allocator, more);
                var total: usize = 0;
                for (self.kept.items) |it| total += it.len;
                changed.big = @intCast(total);
            },
            .spin => while (true) std.mem.doNotOptimizeAway(&changed),
            .config => changed.text = self.greeting,
        }
        out.emit(.main, changed);
    }

    pub fn watermark(_: *Conformance, time_ms: i64, out: *floe.Outputs(Conformance)) !void {
        out.emit(.main, .{ .do = "watermark", .big = time_ms });
    }

    pub fn exportState(self: *const Conformance, json: *floe.Json) !void {
        try json.beginObject();
        try json.objectField("floe:by-key");
        try json.write(.{"counts"});
        try json.objectField("counts");
        try floe.writeMap(json, self.counts);
        try json.endObject();
    }

    pub fn importState(self: *Conformance, told_version: u32, told: std.json.Value) !void {
        if (told_version != state_version) return error.UnknownStateVersion;
        if (told != .object) return error.NotWhatThisOperatorTold;
        try floe.readMap(&self.counts, told.object.get("counts") orelse .null);
    }
};

pub const panic = floe.panic;
comptime {
    floe.register(Conformance);
}
