// The host's functions (A4), and memory that only grows. The only file with imports.

// @ts-ignore: decorator
@external("floe_v1", "emit") declare function importEmit(output: i32, array: usize): void;
// @ts-ignore: decorator
@external("floe_v1", "reject") declare function importReject(row: i32, reason: usize, bytes: i32): void;
// @ts-ignore: decorator
@external("floe_v1", "log") declare function importLog(level: i32, text: usize, bytes: i32): void;
// @ts-ignore: decorator
@external("floe_v1", "now") declare function importNow(): i64;
// @ts-ignore: decorator
@external("floe_v1", "random") declare function importRandom(): u64;
// @ts-ignore: decorator
@external("floe_v1", "fail") declare function importFail(text: usize, bytes: i32): void;

const TEXT_BYTES_MAX: i32 = 65536;

/** UTF-8 of a text, cut between two letters to what the host takes. */
function utf8(text: string): ArrayBuffer {
  const bytes = String.UTF8.encode(text);
  if (bytes.byteLength <= TEXT_BYTES_MAX) return bytes;
  let end = TEXT_BYTES_MAX;
  while (end > 0 && (load<u8>(changetype<usize>(bytes) + end) & 0xc0) == 0x80) end--;
  return bytes.slice(0, end);
}

/** Ends the call: the pipeline stops with this message. */
export function fail(text: string): void {
  const bytes = utf8(text);
  importFail(changetype<usize>(bytes), bytes.byteLength);
}

export function hostEmit(output: i32, array: usize): void { importEmit(output, array); }

export function hostReject(row: i32, reason: string): void {
  const bytes = utf8(reason);
  importReject(row, changetype<usize>(bytes), bytes.byteLength);
}

export enum Level { Error, Warn, Info, Debug }

/** Writes a line to the pipeline's log. */
export function log(level: Level, text: string): void {
  const bytes = utf8(text);
  importLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** The virtual time in ms: the same when a record is processed again. */
export function now(): i64 { return importNow(); }

/** 64 random bits from a seed in the checkpoint. */
export function random(): u64 { return importRandom(); }

/** What `asc` calls for a mistake: `--use abort=…/floeAbort`. */
export function floeAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  const where = file === null ? "" : " (" + file + ":" + line.toString() + ":" + column.toString() + ")";
  fail(what + where);
}

/** Bytes outside of the collected heap. */
export class Bytes {
  at: usize = 0;
  length: usize = 0;
  private capacity: usize = 0;

  /** Room for more bytes; gives where they begin. */
  // @ts-ignore: decorator
  @inline grow(more: usize): usize {
    if (this.length + more > this.capacity || this.at == 0) this.reserve(more);
    const at = this.at + this.length;
    this.length += more;
    return at;
  }

  private reserve(more: usize): void {
    let capacity = max<usize>(this.capacity * 2, 1024);
    while (capacity < this.length + more) capacity *= 2;
    this.at = this.at == 0 ? heap.alloc(capacity) : heap.realloc(this.at, capacity);
    this.capacity = capacity;
  }

  pushBit(index: usize, value: bool): void {
    if (index % 8 == 0) store<u8>(this.grow(1), 0);
    const at = this.at + index / 8;
    store<u8>(at, load<u8>(at) | ((value ? 1 : 0) << u8(index % 8)));
  }

  truncateBits(count: usize): void {
    this.length = (count + 7) / 8;
    if (count % 8 != 0) {
      const at = this.at + count / 8;
      store<u8>(at, load<u8>(at) & u8((1 << u8(count % 8)) - 1));
    }
  }
}

/** UTF-8 with a zero at its end, for ever. */
export function cText(text: string): usize {
  const bytes = String.UTF8.byteLength(text, true);
  const at = heap.alloc(bytes);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, at, true);
  return at;
}

/** Zeroed memory for ever. */
export function zeroed(bytes: usize): usize {
  const at = heap.alloc(bytes);
  memory.fill(at, 0, bytes);
  return at;
}

// Offsets in ArrowArray (A11).
export const LENGTH: usize = 0;
export const NULL_COUNT: usize = 8;
export const N_BUFFERS: usize = 24;
export const N_CHILDREN: usize = 32;
export const BUFFERS: usize = 40;
export const CHILDREN: usize = 44;
export const ARRAY_BYTES: usize = 64;
