// A running total for each merchant: as rust/src/lib.rs has it, step by step.
const SLOTS: u32 = 4096;

/** Open addressing, merchant and total side by side. Merchant 0 is an empty slot. */
const slots = memory.data(4096 * 16, 16);

export function add(merchant: i64, amount: i64): i64 {
  let at = u32((<u64>merchant * 0x9e3779b97f4a7c15) >> 52);
  while (true) {
    const slot = slots + usize(at % SLOTS) * 16;
    const key = load<i64>(slot);
    if (key == merchant) {
      const total = load<i64>(slot, 8) + amount;
      store<i64>(slot, total, 8);
      return total;
    }
    if (key == 0) {
      store<i64>(slot, merchant);
      store<i64>(slot, amount, 8);
      return amount;
    }
    at++;
  }
}

/** Of the payment that was read last. */
export let merchant: i64 = 0;
export let amount: i64 = 0;

// Where the text that was read last begins and ends.
let begin: usize = 0;
let end: usize = 0;

/** Merchant and amount of a payment as JSON: an object of texts, whole numbers and words. */
export function payment(json: Uint8Array): bool {
  let hasMerchant = false, hasAmount = false;
  let at = json.dataStart;
  const stop = at + usize(json.length);
  if (at == stop || load<u8>(at) != 0x7b) return false;
  at++;
  while (true) {
    at = text(at, stop);
    if (at == 0 || at >= stop || load<u8>(at) != 0x3a) return false;
    const nameAt = begin, nameLength = end - begin;
    at++;
    if (at >= stop) return false;
    const first = load<u8>(at);
    if (first == 0x22) {
      at = text(at, stop);
      if (at == 0) return false;
    } else if (first == 0x2d || (first >= 0x30 && first <= 0x39)) {
      let value: i64 = 0;
      if (first == 0x2d) at++;
      while (at < stop && load<u8>(at) >= 0x30 && load<u8>(at) <= 0x39) value = value * 10 + (load<u8>(at++) - 0x30);
      if (first == 0x2d) value = -value;
      if (nameLength == 8 && load<u64>(nameAt) == 0x746e61686372656d) {
        merchant = value;
        hasMerchant = true;
      } else if (nameLength == 12 && load<u64>(nameAt) == 0x6d5f746e756f6d61 && load<u32>(nameAt, 8) == 0x726f6e69) {
        amount = value;
        hasAmount = true;
      }
    } else {
      while (at < stop && load<u8>(at) >= 0x61 && load<u8>(at) <= 0x7a) at++;
    }
    if (at >= stop) return false;
    const next = load<u8>(at++);
    if (next == 0x7d) return hasMerchant && hasAmount;
    if (next != 0x2c) return false;
  }
}

/** Sets `begin` and `end` to between the quotes; gives what is behind them, or 0. */
function text(at: usize, stop: usize): usize {
  if (at >= stop || load<u8>(at) != 0x22) return 0;
  let to = at + 1;
  begin = to;
  while (to < stop) {
    const letter = load<u8>(to);
    if (letter == 0x22) {
      end = to;
      return to + 1;
    }
    to += letter == 0x5c ? 2 : 1;
  }
  return 0;
}
