// Drops a click whose id was seen within the window. The ids seen are the state.
import { type Emit, type Operator, reject } from "floe";

interface Click {
  id: string;
  amount: number;
  _timestamp: number;
}

interface First {
  id: string;
  amount: number;
}

const lastSeen = new Map<string, number>();
let windowMs = 3_600_000;

export default {
  name: "dedup",
  version: "1.0.0",
  input: { id: "text", amount: "int64", _timestamp: "millis" },
  output: { id: "text", amount: "int64" },

  open(config) {
    windowMs = (config.window_ms as number | undefined) ?? windowMs;
  },

  process({ id, amount, _timestamp: at }: Click, emit: Emit<First>) {
    if (id === "") reject("a click has no id");
    if (at - (lastSeen.get(id) ?? -Infinity) <= windowMs) return;
    lastSeen.set(id, at);
    emit({ id, amount });
  },

  watermark(timeMs) {
    for (const [id, seen] of lastSeen) if (seen < timeMs - windowMs) lastSeen.delete(id);
  },
} satisfies Operator<Click, First>;
