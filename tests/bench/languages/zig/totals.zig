//! A running total for each merchant: as rust/src/lib.rs has it, step by step.
const std = @import("std");

pub const Total = struct { merchant: i64, total: i64 };
pub const Payment = struct { merchant: i64, amount: i64 };

const slot_count = 4096;

/// Open addressing. Merchant 0 is an empty slot.
pub const Totals = struct {
    slots: [slot_count]Total = @splat(.{ .merchant = 0, .total = 0 }),

    pub inline fn add(self: *Totals, merchant: i64, amount: i64) i64 {
        var at: usize = @intCast((@as(u64, @bitCast(merchant)) *% 0x9e3779b97f4a7c15) >> 52);
        while (true) : (at += 1) {
            const slot = &self.slots[at % slot_count];
            if (slot.merchant == merchant) {
                slot.total += amount;
                return slot.total;
            }
            if (slot.merchant == 0) {
                slot.* = .{ .merchant = merchant, .total = amount };
                return amount;
            }
        }
    }
};

/// Merchant and amount of a payment as JSON: an object of texts, whole numbers and words.
pub inline fn payment(json: []const u8) ?Payment {
    var merchant: ?i64 = null;
    var amount: ?i64 = null;
    if (json.len == 0 or json[0] != '{') return null;
    var at: usize = 1;
    while (true) {
        const name = text(json, &at) orelse return null;
        if (at >= json.len or json[at] != ':') return null;
        at += 1;
        if (at >= json.len) return null;
        switch (json[at]) {
            '"' => _ = text(json, &at) orelse return null,
            '-', '0'...'9' => {
                const value = number(json, &at);
                if (std.mem.eql(u8, name, "merchant")) {
                    merchant = value;
                } else if (std.mem.eql(u8, name, "amount_minor")) {
                    amount = value;
                }
            },
            else => while (at < json.len and std.ascii.isLower(json[at])) {
                at += 1;
            },
        }
        if (at >= json.len) return null;
        switch (json[at]) {
            ',' => at += 1,
            '}' => return .{ .merchant = merchant orelse return null, .amount = amount orelse return null },
            else => return null,
        }
    }
}

/// Between its quotes, as it is written.
inline fn text(json: []const u8, at: *usize) ?[]const u8 {
    if (at.* >= json.len or json[at.*] != '"') return null;
    const begin = at.* + 1;
    var end = begin;
    while (true) {
        if (end >= json.len) return null;
        switch (json[end]) {
            '"' => break,
            '\\' => end += 2,
            else => end += 1,
        }
    }
    at.* = end + 1;
    return json[begin..end];
}

inline fn number(json: []const u8, at: *usize) i64 {
    const negative = json[at.*] == '-';
    at.* += @intFromBool(negative);
    var value: i64 = 0;
    while (at.* < json.len and std.ascii.isDigit(json[at.*])) : (at.* += 1) {
        value = value *% 10 +% (json[at.*] - '0');
    }
    return if (negative) -%value else value;
}
