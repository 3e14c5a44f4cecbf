// Drops a click whose id was seen within the window. The ids seen are the state.
import { reject } from "floe";

const lastSeen = new Map();
let windowMs;

export default {
  name: "dedup",
  version: "1.0.0",
  input: { id: "text", amount: "int64", _timestamp: "millis" },
  output: { id: "text", amount: "int64" },

  open(config) {
    windowMs = config.window_ms ?? 3_600_000;
  },

  process({ id, amount, _timestamp: at }, emit) {
    if (id === "") reject("a click has no id");
    if (at - lastSeen.get(id) <= windowMs) return;
    lastSeen.set(id, at);
    emit({ id, amount });
  },

  watermark(timeMs) {
    for (const [id, seen] of lastSeen) if (seen < timeMs - windowMs) lastSeen.delete(id);
  },
};
