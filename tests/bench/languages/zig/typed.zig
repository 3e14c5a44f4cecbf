//! Payments as columns.
const floe = @import("floe");
const totals = @import("totals.zig");

const Payment = struct { merchant: i64, amount_minor: i64 };

const Typed = struct {
    pub const name = "totals_typed";
    pub const version = "1.0.0";
    pub const state_version = 1;
    pub const Input = Payment;
    pub const outputs = .{ .main = totals.Total };

    totals: totals.Totals = .{},

    pub fn process(self: *Typed, it: Payment, out: *floe.Outputs(Typed)) !void {
        out.emit(.main, .{ .merchant = it.merchant, .total = self.totals.add(it.merchant, it.amount_minor) });
    }
};

pub const Operator = Typed;
pub const panic = floe.panic;
comptime {
    floe.register(Typed);
}
