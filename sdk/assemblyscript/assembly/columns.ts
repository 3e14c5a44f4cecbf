// Columns: a cell of the current row each. Input cells are read, output cells are set before `emit`.
import { ARRAY_BYTES, BUFFERS, Bytes, CHILDREN, LENGTH, N_BUFFERS, N_CHILDREN, NULL_COUNT, cText, zeroed } from "./abi";

/** A column of 128 bits: a number times 10 to the power of the column's scale. */
export class Decimal {
  constructor(public low: u64 = 0, public high: i64 = 0) {}
}

/** The cell of one column. It is null until it is set, and after each row. */
export abstract class Column {
  name: string = "";
  format: string = "";
  nullable: bool = false;
  children: Column[] = [];
  /** Is the value of this row null? Set a value, or `setNull()`. */
  isNull: bool = true;

  // Input: the host's array and the row in it.
  protected array: usize = 0;
  protected row: usize = 0;

  // Output: Arrow's buffers.
  length: usize = 0;
  private nullCount: usize = 0;
  private validity: Bytes = new Bytes();
  protected data: Bytes = new Bytes();
  protected ends: Bytes = new Bytes();
  private out: usize = 0;

  setNull(): void { this.isNull = true; }

  @inline protected buffer(index: usize): usize {
    return load<usize>(load<usize>(this.array, BUFFERS) + index * sizeof<usize>());
  }

  begin(array: usize): void {
    this.array = array;
    for (let i = 0; i < this.children.length; i++) {
      this.children[i].begin(load<usize>(load<usize>(array, CHILDREN) + usize(i) * sizeof<usize>()));
    }
  }

  select(row: usize): void {
    this.row = row;
    this.isNull = load<i64>(this.array, NULL_COUNT) != 0 &&
      ((load<u8>(this.buffer(0) + row / 8) >> u8(row % 8)) & 1) == 0;
  }

  /** Appends what was set, or a null. */
  append(): void {
    if (this.isNull) {
      if (this.nullCount++ == 0) {
        this.validity.length = 0;
        for (let i: usize = 0; i < this.length; i++) this.validity.pushBit(i, true);
      }
      this.validity.pushBit(this.length, false);
    } else if (this.nullCount > 0) {
      this.validity.pushBit(this.length, true);
    }
    this.appendValue();
    this.length++;
    this.isNull = true;
  }

  protected abstract appendValue(): void;
  protected abstract truncateValues(length: usize): void;

  truncate(length: usize): void {
    if (length >= this.length) return;
    if (this.nullCount > 0) {
      for (let i = length; i < this.length; i++) {
        if (((load<u8>(this.validity.at + i / 8) >> u8(i % 8)) & 1) == 0) this.nullCount--;
      }
      this.validity.truncateBits(length);
    }
    this.truncateValues(length);
    this.length = length;
  }

  bytes(): usize {
    let bytes = this.validity.length + this.data.length + this.ends.length;
    for (let i = 0; i < this.children.length; i++) bytes += this.children[i].bytes();
    return bytes;
  }

  protected hasEnds(): bool { return false; }
  protected hasData(): bool { return true; }

  /** The ArrowArray over the buffers, good until the next append. */
  seal(): usize {
    const count = usize(this.children.length);
    // The array, three buffers, the children.
    if (this.out == 0) this.out = zeroed(ARRAY_BYTES + (3 + count) * sizeof<usize>());
    const buffers = this.out + ARRAY_BYTES, children = buffers + 3 * sizeof<usize>();
    let next = buffers;
    store<usize>(next, this.nullCount > 0 ? this.validity.at : 0);
    next += sizeof<usize>();
    if (this.hasEnds()) {
      store<usize>(next, this.ends.at);
      next += sizeof<usize>();
    }
    if (this.hasData()) {
      store<usize>(next, this.data.at);
      next += sizeof<usize>();
    }
    for (let i: usize = 0; i < count; i++) {
      store<usize>(children + i * sizeof<usize>(), this.children[i32(i)].seal());
    }
    store<i64>(this.out, this.length, LENGTH);
    store<i64>(this.out, this.nullCount, NULL_COUNT);
    store<i64>(this.out, (next - buffers) / sizeof<usize>(), N_BUFFERS);
    store<i64>(this.out, count, N_CHILDREN);
    store<usize>(this.out, buffers, BUFFERS);
    store<usize>(this.out, children, CHILDREN);
    return this.out;
  }

  /** The ArrowSchema (A6), for ever. */
  schema(): usize {
    const count = usize(this.children.length);
    const at = zeroed(48);
    store<usize>(at, cText(this.format));
    store<usize>(at, cText(this.name), 4);
    store<i64>(at, this.nullable ? 2 : 0, 16);
    store<i64>(at, count, 24);
    const children = zeroed(max<usize>(count, 1) * sizeof<usize>());
    for (let i: usize = 0; i < count; i++) {
      store<usize>(children + i * sizeof<usize>(), this.children[i32(i)].schema());
    }
    store<usize>(at, children, 32);
    return at;
  }
}

/** i8 … u64, f32, f64, and what is stored as one: dates, times, timestamps. */
export class Plain<T> extends Column {
  private set: T = <T>0;

  // @ts-ignore: decorator
  @inline get value(): T { return load<T>(this.buffer(1) + this.row * sizeof<T>()); }
  // @ts-ignore: decorator
  @inline set value(value: T) { this.set = value; this.isNull = false; }

  protected appendValue(): void { store<T>(this.data.grow(sizeof<T>()), this.isNull ? <T>0 : this.set); }
  protected truncateValues(length: usize): void { this.data.length = length * sizeof<T>(); }
}

export class Bool extends Column {
  private set: bool = false;

  get value(): bool { return ((load<u8>(this.buffer(1) + this.row / 8) >> u8(this.row % 8)) & 1) != 0; }
  set value(value: bool) { this.set = value; this.isNull = false; }

  protected appendValue(): void { this.data.pushBit(this.length, !this.isNull && this.set); }
  protected truncateValues(length: usize): void { this.data.truncateBits(length); }
}

export class DecimalColumn extends Column {
  private set: Decimal = new Decimal();

  get value(): Decimal {
    const at = this.buffer(1) + this.row * 16;
    return new Decimal(load<u64>(at), load<i64>(at, 8));
  }
  set value(value: Decimal) { this.set = value; this.isNull = false; }

  protected appendValue(): void {
    const at = this.data.grow(16);
    store<u64>(at, this.isNull ? 0 : this.set.low);
    store<i64>(at, this.isNull ? 0 : this.set.high, 8);
  }
  protected truncateValues(length: usize): void { this.data.length = length * 16; }
}

/** Binary of one length. */
export class Fixed extends Column {
  private set: Uint8Array = new Uint8Array(0);
  width: i32 = 0;

  get value(): Uint8Array {
    const bytes = new Uint8Array(this.width);
    memory.copy(bytes.dataStart, this.buffer(1) + this.row * usize(this.width), usize(this.width));
    return bytes;
  }
  set value(value: Uint8Array) { this.set = value; this.isNull = false; }

  protected appendValue(): void {
    const at = this.data.grow(usize(this.width));
    if (this.isNull || this.set.length != this.width) memory.fill(at, 0, usize(this.width));
    else memory.copy(at, this.set.dataStart, usize(this.width));
  }
  protected truncateValues(length: usize): void { this.data.length = length * usize(this.width); }
}

abstract class Varying extends Column {
  constructor() {
    super();
    store<i32>(this.ends.grow(4), 0);
  }

  @inline protected from(): usize { return usize(load<i32>(this.buffer(1) + this.row * 4)); }
  @inline protected until(): usize { return usize(load<i32>(this.buffer(1) + this.row * 4, 4)); }
  protected hasEnds(): bool { return true; }

  protected appendValue(): void {
    if (!this.isNull) this.appendBytes();
    store<i32>(this.ends.grow(4), i32(this.data.length));
  }
  protected abstract appendBytes(): void;

  protected truncateValues(length: usize): void {
    this.data.length = usize(load<i32>(this.ends.at + length * 4));
    this.ends.length = (length + 1) * 4;
  }
}

export class Text extends Varying {
  private set: string = "";

  /** Decodes the row's UTF-8. It may be kept. */
  get value(): string { return String.UTF8.decodeUnsafe(this.buffer(2) + this.from(), this.until() - this.from()); }
  set value(value: string) { this.set = value; this.isNull = false; }

  protected appendBytes(): void {
    const bytes = usize(String.UTF8.byteLength(this.set));
    String.UTF8.encodeUnsafe(changetype<usize>(this.set), this.set.length, this.data.grow(bytes), false);
  }
}

export class Binary extends Varying {
  private set: Uint8Array = new Uint8Array(0);

  get value(): Uint8Array {
    const length = this.until() - this.from();
    const bytes = new Uint8Array(i32(length));
    memory.copy(bytes.dataStart, this.buffer(2) + this.from(), length);
    return bytes;
  }
  set value(value: Uint8Array) { this.set = value; this.isNull = false; }

  protected appendBytes(): void {
    memory.copy(this.data.grow(usize(this.set.length)), this.set.dataStart, usize(this.set.length));
  }
}

/** A struct: declare its fields with `in`'s or `out`'s functions, given the struct as `of`. */
export class Struct extends Column {
  select(row: usize): void {
    super.select(row);
    for (let i = 0; i < this.children.length; i++) this.children[i].select(row);
  }

  /** The struct is there, with the fields that are set. */
  setValue(): void { this.isNull = false; }

  protected hasData(): bool { return false; }
  protected appendValue(): void {
    for (let i = 0; i < this.children.length; i++) {
      if (this.isNull) this.children[i].setNull();
      this.children[i].append();
    }
  }
  protected truncateValues(length: usize): void {
    for (let i = 0; i < this.children.length; i++) this.children[i].truncate(length);
  }
}

/** A list; its item is a column of its own. */
export class List extends Varying {
  /** Input: how many items the row has. */
  get count(): i32 { return i32(this.until() - this.from()); }

  /** Input: makes the item column show the item. */
  at(index: i32): void { this.children[0].select(this.from() + usize(index)); }

  /** Output: the list is there, with the items that are added from now on. */
  setValue(): void { this.isNull = false; }

  /** Output: adds what the item column was set to, or a null. */
  add(): void { this.children[0].append(); }

  protected hasData(): bool { return false; }
  protected appendBytes(): void {}
  protected appendValue(): void { store<i32>(this.ends.grow(4), i32(this.children[0].length)); }
  protected truncateValues(length: usize): void {
    this.children[0].truncate(usize(load<i32>(this.ends.at + length * 4)));
    this.ends.length = (length + 1) * 4;
  }
}
