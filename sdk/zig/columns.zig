//! Rows to Arrow's columns and back, by the row's type.

const std = @import("std");
const builtin = @import("builtin");

pub const allocator = if (builtin.target.cpu.arch.isWasm()) std.heap.wasm_allocator else std.heap.smp_allocator;

/// `ArrowArray` (A11).
pub const Array = extern struct {
    length: i64 = 0,
    null_count: i64 = 0,
    offset: i64 = 0,
    n_buffers: i64 = 0,
    n_children: i64 = 0,
    buffers: [*]const ?*const anyopaque = undefined,
    children: [*]const *const Array = undefined,
    dictionary: ?*const Array = null,
    release: usize = 0,
    private_data: ?*anyopaque = null,
};

/// A number under another format.
pub fn Plain(comptime T: type, comptime format_of_it: []const u8) type {
    return struct {
        value: T,
        pub const floe_format = format_of_it;
        pub const Number = T;
    };
}

pub const Binary = struct {
    bytes: []const u8,
    pub const floe_format = "z";
};

const Kind = enum { boolean, plain, text, list, structure };

pub fn Value(comptime T: type) type {
    return switch (@typeInfo(T)) {
        .optional => |optional| optional.child,
        else => T,
    };
}

fn kindOf(comptime T: type) Kind {
    if (T == bool) return .boolean;
    if (T == []const u8 or T == Binary) return .text;
    return switch (@typeInfo(T)) {
        .int, .float, .array => .plain,
        .pointer => .list,
        .@"struct" => if (@hasDecl(T, "floe_format")) .plain else .structure,
        else => @compileError(@typeName(T) ++ " is no column (README.md, Types)"),
    };
}

pub fn format(comptime T: type) [:0]const u8 {
    return switch (T) {
        bool => "b",
        i8 => "c",
        i16 => "s",
        i32 => "i",
        i64 => "l",
        u8 => "C",
        u16 => "S",
        u32 => "I",
        u64 => "L",
        f32 => "f",
        f64 => "g",
        []const u8 => "u",
        else => switch (@typeInfo(T)) {
            .array => |array| std.fmt.comptimePrint("w:{d}", .{array.len}),
            .pointer => "+l",
            .@"struct" => if (@hasDecl(T, "floe_format")) T.floe_format ++ "" else "+s",
            else => @compileError(@typeName(T) ++ " is no column (README.md, Types)"),
        },
    };
}

/// What a plain value is stored as.
fn Stored(comptime T: type) type {
    return if (@typeInfo(T) == .@"struct") T.Number else T;
}

pub fn hasLists(comptime T: type) bool {
    const V = Value(T);
    return switch (kindOf(V)) {
        .list => true,
        .structure => inline for (@typeInfo(V).@"struct".fields) |field| {
            if (hasLists(field.type)) break true;
        } else false,
        else => false,
    };
}

fn bit(bits: ?*const anyopaque, at: usize) bool {
    const bytes: [*]const u8 = @ptrCast(bits.?);
    return bytes[at / 8] >> @intCast(at % 8) & 1 != 0;
}

/// The value in a row. Texts lie in the input, items of lists in `items`.
pub inline fn read(comptime T: type, array: *const Array, row: usize, items: std.mem.Allocator) T {
    if (@typeInfo(T) == .optional) {
        if (array.null_count != 0 and !bit(array.buffers[0], row)) return null;
        return readValue(@typeInfo(T).optional.child, array, row, items);
    }
    return readValue(T, array, row, items);
}

inline fn readValue(comptime T: type, array: *const Array, row: usize, items: std.mem.Allocator) T {
    switch (comptime kindOf(T)) {
        .boolean => return bit(array.buffers[1], row),
        .plain => {
            const values: [*]align(1) const Stored(T) = @ptrCast(array.buffers[1].?);
            return if (@typeInfo(T) == .@"struct") .{ .value = values[row] } else values[row];
        },
        .text => {
            const ends: [*]align(4) const i32 = @ptrCast(@alignCast(array.buffers[1].?));
            const from: usize = @intCast(ends[row]);
            const until: usize = @intCast(ends[row + 1]);
            const bytes: []const u8 = if (from == until) "" else @as([*]const u8, @ptrCast(array.buffers[2].?))[from..until];
            return if (T == Binary) .{ .bytes = bytes } else bytes;
        },
        .list => {
            const Item = @typeInfo(T).pointer.child;
            const ends: [*]align(4) const i32 = @ptrCast(@alignCast(array.buffers[1].?));
            const from: usize = @intCast(ends[row]);
            const count = @as(usize, @intCast(ends[row + 1])) - from;
            const all = items.alloc(Item, count) catch @panic("out of memory (limits.memory)");
            for (all, from..) |*item, at| item.* = read(Item, array.children[0], at, items);
            return all;
        },
        .structure => {
            var value: T = undefined;
            inline for (@typeInfo(T).@"struct".fields, 0..) |field, index| {
                @field(value, field.name) = read(field.type, array.children[index], row, items);
            }
            return value;
        },
    }
}

const Bytes = struct {
    at: std.ArrayListUnmanaged(u8) = .empty,

    inline fn grow(self: *Bytes, more: usize) []u8 {
        return self.at.addManyAsSlice(allocator, more) catch @panic("out of memory (limits.memory)");
    }

    inline fn push(self: *Bytes, value: anytype) void {
        const bytes = std.mem.toBytes(value);
        @memcpy(self.grow(bytes.len), &bytes);
    }

    fn pushBit(self: *Bytes, index: usize, value: bool) void {
        if (index % 8 == 0) self.grow(1)[0] = 0;
        self.at.items[index / 8] |= @as(u8, @intFromBool(value)) << @intCast(index % 8);
    }

    fn truncateBits(self: *Bytes, count: usize) void {
        self.at.items.len = (count + 7) / 8;
        if (count % 8 != 0) self.at.items[count / 8] &= (@as(u8, 1) << @intCast(count % 8)) - 1;
    }
};

/// The buffers of a column of `T`.
pub fn Column(comptime T: type) type {
    const is_optional = @typeInfo(T) == .optional;
    const V = Value(T);
    const kind = kindOf(V);
    const child_types: []const type = switch (kind) {
        .list => &.{@typeInfo(V).pointer.child},
        .structure => blk: {
            var types: []const type = &.{};
            for (@typeInfo(V).@"struct".fields) |field| types = types ++ .{field.type};
            break :blk types;
        },
        else => &.{},
    };
    var child_columns: [child_types.len]type = undefined;
    for (child_types, &child_columns) |child, *column| column.* = Column(child);
    const Children = std.meta.Tuple(&child_columns);
    const child_count = child_columns.len;
    return struct {
        const Self = @This();
        len: usize = 0,
        null_count: usize = 0,
        validity: Bytes = .{},
        data: Bytes = .{},
        ends: Bytes = .{},
        children: Children,
        array: Array = .{},
        buffers: [3]?*const anyopaque = @splat(null),
        child_arrays: [child_count]*const Array = undefined,

        pub fn init() Self {
            var self: Self = .{ .children = undefined };
            inline for (&self.children) |*child| child.* = .init();
            if (kind == .text or kind == .list) self.ends.push(@as(i32, 0));
            return self;
        }

        pub inline fn append(self: *Self, value: T) void {
            if (is_optional) {
                if (value) |there| self.appendValue(there) else self.appendNull();
            } else self.appendValue(value);
        }

        inline fn appendValue(self: *Self, value: V) void {
            if (self.null_count > 0) self.validity.pushBit(self.len, true);
            switch (kind) {
                .boolean => self.data.pushBit(self.len, value),
                .plain => self.data.push(if (@typeInfo(V) == .@"struct") value.value else value),
                .text => {
                    const text = if (V == Binary) value.bytes else value;
                    @memcpy(self.data.grow(text.len), text);
                    self.ends.push(@as(i32, @intCast(self.data.at.items.len)));
                },
                .list => {
                    for (value) |item| self.children[0].append(item);
                    self.ends.push(@as(i32, @intCast(self.children[0].len)));
                },
                .structure => inline for (@typeInfo(V).@"struct".fields, 0..) |field, index| {
                    self.children[index].append(@field(value, field.name));
                },
            }
            self.len += 1;
        }

        pub fn appendNull(self: *Self) void {
            if (self.null_count == 0) {
                self.validity.at.clearRetainingCapacity();
                for (0..self.len) |row| self.validity.pushBit(row, true);
            }
            self.null_count += 1;
            self.validity.pushBit(self.len, false);
            switch (kind) {
                .boolean => self.data.pushBit(self.len, false),
                .plain => @memset(self.data.grow(@sizeOf(Stored(V))), 0),
                .text => self.ends.push(@as(i32, @intCast(self.data.at.items.len))),
                .list => self.ends.push(@as(i32, @intCast(self.children[0].len))),
                .structure => inline for (&self.children) |*child| child.appendNull(),
            }
            self.len += 1;
        }

        pub fn truncate(self: *Self, len: usize) void {
            if (len >= self.len) return;
            if (self.null_count > 0) {
                for (len..self.len) |row| {
                    if (!bit(self.validity.at.items.ptr, row)) self.null_count -= 1;
                }
                self.validity.truncateBits(len);
            }
            var end: usize = 0;
            if (kind == .text or kind == .list) {
                end = @intCast(std.mem.readInt(i32, self.ends.at.items[len * 4 ..][0..4], .little));
                self.ends.at.items.len = (len + 1) * 4;
            }
            switch (kind) {
                .boolean => self.data.truncateBits(len),
                .plain => self.data.at.items.len = len * @sizeOf(Stored(V)),
                .text => self.data.at.items.len = end,
                .list => self.children[0].truncate(end),
                .structure => inline for (&self.children) |*child| child.truncate(len),
            }
            self.len = len;
        }

        pub fn bytes(self: *const Self) usize {
            var all = self.validity.at.items.len + self.data.at.items.len + self.ends.at.items.len;
            inline for (&self.children) |*child| all += child.bytes();
            return all;
        }

        /// The array over the buffers, good until the next append.
        pub fn seal(self: *Self) *Array {
            var count: usize = 1;
            self.buffers = @splat(null);
            if (self.null_count > 0) self.buffers[0] = self.validity.at.items.ptr;
            if (kind == .text or kind == .list) {
                self.buffers[count] = self.ends.at.items.ptr;
                count += 1;
            }
            if (kind != .list and kind != .structure) {
                self.buffers[count] = if (self.data.at.items.len > 0) self.data.at.items.ptr else null;
                count += 1;
            }
            inline for (&self.children, 0..) |*child, index| self.child_arrays[index] = child.seal();
            self.array = .{
                .length = @intCast(self.len),
                .null_count = @intCast(self.null_count),
                .n_buffers = @intCast(count),
                .n_children = child_count,
                .buffers = &self.buffers,
                .children = &self.child_arrays,
            };
            return &self.array;
        }
    };
}
