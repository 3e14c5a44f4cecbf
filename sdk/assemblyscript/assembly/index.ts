// floe operators in AssemblyScript: a row is a cell in each column, variables are the state, and one function
// takes a row and emits rows. README.md has the chapters.
import { Bytes, LENGTH, CHILDREN, cText, hostEmit, hostReject, zeroed } from "./abi";
import { Binary, Bool, Column, DecimalColumn, Fixed, List, Plain, Struct, Text } from "./columns";
import { parseConfig, refuseUnread } from "./config";

export { Level, fail, floeAbort, log, now, random } from "./abi";
export { Binary, Bool, Column, Decimal, DecimalColumn, Fixed, List, Plain, Struct, Text } from "./columns";
export { configBool, configLong, configText } from "./config";

/** Declares columns, in their order. `?` behind the name: the value may be null. */
export class Columns {
  constructor(public root: Column = new Struct()) {}

  private add<C extends Column>(column: C, name: string, format: string): C {
    column.nullable = name.endsWith("?");
    column.name = column.nullable ? name.substring(0, name.length - 1) : name;
    column.format = format;
    this.root.children.push(column);
    return column;
  }

  bool(name: string): Bool { return this.add(new Bool(), name, "b"); }
  i8(name: string): Plain<i8> { return this.add(new Plain<i8>(), name, "c"); }
  i16(name: string): Plain<i16> { return this.add(new Plain<i16>(), name, "s"); }
  i32(name: string): Plain<i32> { return this.add(new Plain<i32>(), name, "i"); }
  i64(name: string): Plain<i64> { return this.add(new Plain<i64>(), name, "l"); }
  u8(name: string): Plain<u8> { return this.add(new Plain<u8>(), name, "C"); }
  u16(name: string): Plain<u16> { return this.add(new Plain<u16>(), name, "S"); }
  u32(name: string): Plain<u32> { return this.add(new Plain<u32>(), name, "I"); }
  u64(name: string): Plain<u64> { return this.add(new Plain<u64>(), name, "L"); }
  f32(name: string): Plain<f32> { return this.add(new Plain<f32>(), name, "f"); }
  f64(name: string): Plain<f64> { return this.add(new Plain<f64>(), name, "g"); }
  text(name: string): Text { return this.add(new Text(), name, "u"); }
  binary(name: string): Binary { return this.add(new Binary(), name, "z"); }
  /** Days since 1970-01-01. */
  date(name: string): Plain<i32> { return this.add(new Plain<i32>(), name, "tdD"); }
  /** Microseconds since midnight. */
  time(name: string): Plain<i64> { return this.add(new Plain<i64>(), name, "ttu"); }
  /** Milli-, micro- and nanoseconds since 1970, UTC. */
  millis(name: string): Plain<i64> { return this.add(new Plain<i64>(), name, "tsm:UTC"); }
  micros(name: string): Plain<i64> { return this.add(new Plain<i64>(), name, "tsu:UTC"); }
  nanos(name: string): Plain<i64> { return this.add(new Plain<i64>(), name, "tsn:UTC"); }
  decimal(name: string, precision: i32, scale: i32): DecimalColumn {
    return this.add(new DecimalColumn(), name, "d:" + precision.toString() + "," + scale.toString());
  }
  fixed(name: string, width: i32): Fixed {
    const column = this.add(new Fixed(), name, "w:" + width.toString());
    column.width = width;
    return column;
  }
  struct(name: string): Struct { return this.add(new Struct(), name, "+s"); }
  list(name: string): List { return this.add(new List(), name, "+l"); }
}

/** The columns of a struct's fields, or of a list's one item. */
export function within(nested: Column): Columns { return new Columns(nested); }

/** The input's columns. */
export const input = new Columns();

/** One of the outputs, in the order in which they are made. */
export class Output extends Columns {
  index: i32;
  before: usize = 0;
  checkAt: usize = 1024;

  constructor(public name: string) {
    super(new Struct());
    this.index = outputs.length;
    outputs.push(this);
  }

  /** Emits a row of what the cells were set to; cells that were not set are null. */
  emit(): void {
    this.root.isNull = false;
    this.root.append();
  }

  handOver(): void {
    if (this.root.length > 0) hostEmit(this.index, this.root.seal());
    this.root.truncate(0);
    this.before = 0;
    this.checkAt = 1024;
  }
}

const outputs: Output[] = [];

let name: string = "";
let version: string = "";
let stateVersion: i32 = 1;
let openOperator: (() => void) | null = null;
let processRow: (() => void) | null = null;
let tellWatermark: ((timeMs: i64) => void) | null = null;

/** Makes this module an operator. Call it once, at the top level. */
export function register(
  operatorName: string, operatorVersion: string, operatorStateVersion: i32,
  open: () => void, process: () => void, watermark: (timeMs: i64) => void,
): void {
  name = operatorName;
  version = operatorVersion;
  stateVersion = operatorStateVersion;
  openOperator = open;
  processRow = process;
  tellWatermark = watermark;
}

let rejection: string | null = null;

/** This row is not taken, and what was emitted for it is taken back. The first reason counts. */
export function reject(reason: string): void {
  if (rejection === null) rejection = reason;
}

/** Rows go out in the middle of a batch beyond this. */
const WAITING_BYTES_MAX: usize = 8 << 20;

// What the module exports: `export { floe_v1_… } from` this file.

export function floe_v1_process(batch: usize): i32 {
  const rows = usize(load<i64>(batch, LENGTH));
  const columns = input.root.children;
  input.root.begin(batch);
  const process = processRow!;
  for (let row: usize = 0; row < rows; row++) {
    for (let i = 0; i < columns.length; i++) unchecked(columns[i]).select(row);
    process();
    const reason = rejection;
    if (reason !== null) {
      for (let i = 0; i < outputs.length; i++) outputs[i].root.truncate(outputs[i].before);
      hostReject(i32(row), reason);
      rejection = null;
    }
    for (let i = 0; i < outputs.length; i++) {
      const output = unchecked(outputs[i]);
      if (output.root.length >= output.checkAt) {
        output.checkAt = output.root.length + 1024;
        if (output.root.bytes() > WAITING_BYTES_MAX) output.handOver();
      }
      output.before = output.root.length;
    }
  }
  for (let i = 0; i < outputs.length; i++) outputs[i].handOver();
  return 0;
}

export function floe_v1_watermark(timeMs: i64): i32 {
  tellWatermark!(timeMs);
  for (let i = 0; i < outputs.length; i++) outputs[i].handOver();
  return 0;
}

export function floe_v1_open(config: usize, bytes: i32): i32 {
  parseConfig(String.UTF8.decodeUnsafe(config, usize(bytes)));
  openOperator!();
  refuseUnread();
  return 0;
}

let region: usize = 0;
let regionBytes: usize = 0;

export function floe_v1_input(bytes: i32): usize {
  if (usize(bytes) + 64 > regionBytes) {
    if (region != 0) {
      // What was input is no state.
      memory.fill(region, 0, regionBytes);
      heap.free(region);
    }
    regionBytes = usize(bytes) + 64;
    region = heap.alloc(regionBytes);
  }
  return (region + 63) & ~63;
}

let description: usize = 0;

export function floe_v1_describe(): usize {
  if (description != 0) return description;
  description = zeroed(32);
  store<usize>(description, cText(name));
  store<i32>(description, String.UTF8.byteLength(name), 4);
  store<usize>(description, cText(version), 8);
  store<i32>(description, String.UTF8.byteLength(version), 12);
  store<i32>(description, stateVersion, 16);
  input.root.format = "+s";
  store<usize>(description, input.root.schema(), 20);
  store<i32>(description, outputs.length, 24);
  const all = zeroed(12 * usize(outputs.length) + 1);
  store<usize>(description, all, 28);
  for (let i = 0; i < outputs.length; i++) {
    const output = all + 12 * usize(i);
    outputs[i].root.format = "+s";
    store<usize>(output, cText(outputs[i].name));
    store<i32>(output, String.UTF8.byteLength(outputs[i].name), 4);
    store<usize>(output, outputs[i].root.schema(), 8);
  }
  return description;
}
