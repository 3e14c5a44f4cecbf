// The conformance operator in JavaScript: what it must do is written in sdk/abi/CONFORMANCE.md.
import { now, nullable, random, reject } from "floe";

const row = {
  do: "text", _offset: "int64", boolean: "bool?", tiny: "int8?", small: "int16?", medium: "int32?", big: "int64?",
  utiny: "uint8?", usmall: "uint16?", umedium: "uint32?", ubig: "uint64?", single: "float32?", twice: "float64?",
  text: "text?", binary: "binary?", fixed: "fixed(4)?", date: "date?", time: "time?", millis: "millis?",
  micros: "micros?", nanos: "nanos?", decimal: "decimal(20,4)?", list: nullable(["int64?"]),
  pair: nullable({ a: "int64", b: "text?" }), pairs: nullable([{ a: "int64", b: "text?" }]),
};

let greeting;
const counts = new Map();
const kept = [];
let keptBytes = 0;

const commands = {
  echo: (row, emit) => emit(row),
  many: (row, emit) => { for (let i = 0; i < row.big; i++) emit(row); },
  second: (row, emit) => emit({ text: row.text }, "second"),
  reject: (row, emit) => { emit(row); reject(row.text); },
  fail: (row) => { throw row.text; },
  panic: () => undefined.missing,
  log: (row) => [console.error, console.warn, console.log, console.debug][row.medium](row.text),
  now: (row, emit) => emit({ ...row, big: now() }),
  clock: (row, emit) => emit({ ...row, big: Date.now() }),
  random: (row, emit) => emit({ ...row, ubig: random() }),
  keep: (row, emit) => {
    counts.set(row.text, (counts.get(row.text) ?? 0) + 1);
    emit({ ...row, big: counts.get(row.text) });
  },
  keys: (row, emit) => emit({ ...row, text: [...counts.keys()].join(",") }),
  grow: (row, emit) => {
    kept.push(new Uint8Array(Number(row.big)).fill(7));
    keptBytes += row.big;
    emit({ ...row, big: keptBytes });
  },
  spin: () => { for (;;); },
  config: (row, emit) => emit({ ...row, text: greeting }),
};

export default {
  name: "conformance",
  version: "1.0.0",
  stateVersion: 7,
  input: row,
  outputs: { main: row, second: { text: "text" } },

  open(config) {
    greeting = config.greeting ?? "";
    if (config.fail !== undefined) throw config.fail;
  },

  process(row, emit) {
    const command = commands[row.do];
    if (!command) reject("no such command");
    command(row, emit);
  },

  watermark(timeMs, emit) {
    emit({ do: "watermark", _offset: 0, big: timeMs });
  },

  exportState: () => ({
    "floe:by-key": ["counts"],
    counts: Object.fromEntries([...counts.keys()].sort().map((it) => [it, counts.get(it)])),
  }),

  importState([{ version, state }]) {
    if (version !== 7) throw `state version ${version} is not known`;
    for (const [key, count] of Object.entries(state.counts)) counts.set(key, count);
  },
};
