//! Payments as the bytes of their JSON.
const floe = @import("floe");
const totals = @import("totals.zig");

const Record = struct { _value: ?floe.Binary };

const Raw = struct {
    pub const name = "totals_raw";
    pub const version = "1.0.0";
    pub const state_version = 1;
    pub const Input = Record;
    pub const outputs = .{ .main = totals.Total };

    totals: totals.Totals = .{},

    pub fn process(self: *Raw, record: Record, out: *floe.Outputs(Raw)) !void {
        const value = record._value orelse return floe.reject("no payment");
        const it = totals.payment(value.bytes) orelse return floe.reject("no payment");
        out.emit(.main, .{ .merchant = it.merchant, .total = self.totals.add(it.merchant, it.amount) });
    }
};

pub const Operator = Raw;
pub const panic = floe.panic;
comptime {
    floe.register(Raw);
}
