// Drops a click whose id was seen within the window. The ids seen are the state.
import { Output, configLong, input, register, reject } from "../assembly";
export { floe_v1_describe, floe_v1_input, floe_v1_open, floe_v1_process, floe_v1_watermark } from "../assembly";

const id = input.text("id");
const amount = input.i64("amount");
const at = input.millis("_timestamp");

const first = new Output("main");
const firstId = first.text("id");
const firstAmount = first.i64("amount");

let windowMs: i64 = 0;
const lastSeen = new Map<string, i64>();

register("dedup", "1.0.0", 1, () => { windowMs = configLong("window_ms", 3600000); }, process, watermark);

function process(): void {
  const key = id.value;
  if (key.length == 0) return reject("a click has no id");
  if (lastSeen.has(key) && at.value - lastSeen.get(key) <= windowMs) return;
  lastSeen.set(key, at.value);
  firstId.value = key;
  firstAmount.value = amount.value;
  first.emit();
}

function watermark(timeMs: i64): void {
  const ids = lastSeen.keys();
  for (let i = 0; i < ids.length; i++) {
    if (lastSeen.get(ids[i]) < timeMs - windowMs) lastSeen.delete(ids[i]);
  }
}
