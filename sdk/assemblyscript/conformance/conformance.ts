// The conformance operator in AssemblyScript: what it must do is written in sdk/abi/CONFORMANCE.md.
import {
  Binary, Bool, Columns, DecimalColumn, Fixed, Level, List, Output, Plain, Struct, Text,
  configText, fail, input, log, now, random, register, reject, within,
} from "../assembly";
export { floe_v1_describe, floe_v1_input, floe_v1_open, floe_v1_process, floe_v1_watermark } from "../assembly";
import { Json, registerState } from "../assembly/state";
export { floe_v1_export_state, floe_v1_import_state } from "../assembly/state";

class Pair {
  a: Plain<i64>;
  b: Text;

  constructor(public cell: Struct) {
    this.a = within(cell).i64("a");
    this.b = within(cell).text("b?");
  }

  set(other: Pair): void {
    this.a.value = other.a.value;
    if (!other.b.isNull) this.b.value = other.b.value;
    this.cell.setValue();
  }
}

class Row {
  command: Text; offset: Plain<i64>; boolean: Bool; tiny: Plain<i8>; small: Plain<i16>; medium: Plain<i32>;
  big: Plain<i64>; utiny: Plain<u8>; usmall: Plain<u16>; umedium: Plain<u32>; ubig: Plain<u64>;
  single: Plain<f32>; twice: Plain<f64>; text: Text; binary: Binary; fixed: Fixed; date: Plain<i32>;
  time: Plain<i64>; millis: Plain<i64>; micros: Plain<i64>; nanos: Plain<i64>; decimal: DecimalColumn;
  list: List; item: Plain<i64>; pair: Pair; pairs: List; pairItem: Pair;

  constructor(columns: Columns) {
    this.command = columns.text("do"); this.offset = columns.i64("_offset"); this.boolean = columns.bool("boolean?");
    this.tiny = columns.i8("tiny?"); this.small = columns.i16("small?"); this.medium = columns.i32("medium?");
    this.big = columns.i64("big?"); this.utiny = columns.u8("utiny?"); this.usmall = columns.u16("usmall?");
    this.umedium = columns.u32("umedium?"); this.ubig = columns.u64("ubig?"); this.single = columns.f32("single?");
    this.twice = columns.f64("twice?"); this.text = columns.text("text?"); this.binary = columns.binary("binary?");
    this.fixed = columns.fixed("fixed?", 4); this.date = columns.date("date?"); this.time = columns.time("time?");
    this.millis = columns.millis("millis?"); this.micros = columns.micros("micros?"); this.nanos = columns.nanos("nanos?");
    this.decimal = columns.decimal("decimal?", 20, 4); 
    const list = columns.list("list?"), pair = new Pair(columns.struct("pair?")), pairs = columns.list("pairs?");
    this.list = list; this.item = within(list).i64("item?"); this.pair = pair;
    this.pairs = pairs; this.pairItem = new Pair(within(pairs).struct("item"));
  }
}

const row = new Row(input);
const main = new Output("main");
const out = new Row(main);
const second = new Output("second");
const secondText = second.text("text");

let greeting: string = "";
let counts = new Map<string, i64>();
const kept: Uint8Array[] = [];

register("conformance", "1.0.0", 7, open, process, watermark);
registerState(7, told, (version: i32, state: Json) => {
  if (version != 7) return false;
  const told = state.member("counts");
  if (told !== null) counts = told.asMap;
  return true;
});

function told(): Json {
  const byKey = Json.list().add(Json.text("counts"));
  return Json.object().with("floe:by-key", byKey).with("counts", Json.map(counts));
}

function open(): void {
  greeting = configText("greeting", "");
  const why = configText("fail", "");
  if (why.length > 0) fail(why);
}

/** Sets the output's cells to the row's. */
function copy(): void {
  out.command.value = row.command.value;
  out.offset.value = row.offset.value;
  if (!row.boolean.isNull) out.boolean.value = row.boolean.value;
  if (!row.tiny.isNull) out.tiny.value = row.tiny.value;
  if (!row.small.isNull) out.small.value = row.small.value;
  if (!row.medium.isNull) out.medium.value = row.medium.value;
  if (!row.big.isNull) out.big.value = row.big.value;
  if (!row.utiny.isNull) out.utiny.value = row.utiny.value;
  if (!row.usmall.isNull) out.usmall.value = row.usmall.value;
  if (!row.umedium.isNull) out.umedium.value = row.umedium.value;
  if (!row.ubig.isNull) out.ubig.value = row.ubig.value;
  if (!row.single.isNull) out.single.value = row.single.value;
  if (!row.twice.isNull) out.twice.value = row.twice.value;
  if (!row.text.isNull) out.text.value = row.text.value;
  if (!row.binary.isNull) out.binary.value = row.binary.value;
  if (!row.fixed.isNull) out.fixed.value = row.fixed.value;
  if (!row.date.isNull) out.date.value = row.date.value;
  if (!row.time.isNull) out.time.value = row.time.value;
  if (!row.millis.isNull) out.millis.value = row.millis.value;
  if (!row.micros.isNull) out.micros.value = row.micros.value;
  if (!row.nanos.isNull) out.nanos.value = row.nanos.value;
  if (!row.decimal.isNull) out.decimal.value = row.decimal.value;
  if (!row.list.isNull) {
    out.list.setValue();
    for (let i = 0; i < row.list.count; i++) {
      row.list.at(i);
      if (!row.item.isNull) out.item.value = row.item.value;
      out.list.add();
    }
  }
  if (!row.pair.cell.isNull) out.pair.set(row.pair);
  if (!row.pairs.isNull) {
    out.pairs.setValue();
    for (let i = 0; i < row.pairs.count; i++) {
      row.pairs.at(i);
      out.pairItem.set(row.pairItem);
      out.pairs.add();
    }
  }
}

function process(): void {
  const command = row.command.value;
  const text = row.text.isNull ? "" : row.text.value;
  if (command == "many") {
    for (let i: i64 = 0; i < row.big.value; i++) {
      copy();
      main.emit();
    }
    return;
  }
  if (command == "second") {
    secondText.value = text;
    return second.emit();
  }
  if (command == "log") return log(row.medium.value as Level, text);
  if (command == "fail") return fail(text);
  if (command == "panic") kept[text.length + 1000] = kept[text.length + 2000];
  if (command == "spin") while (true) { }
  copy();
  if (command == "reject") reject(text);
  else if (command == "now") out.big.value = now();
  else if (command == "clock") out.big.setNull();
  else if (command == "random") out.ubig.value = random();
  else if (command == "keep") {
    const count = counts.has(text) ? counts.get(text) + 1 : 1;
    counts.set(text, count);
    out.big.value = count;
  } else if (command == "keys") out.text.value = counts.keys().join(",");
  else if (command == "grow") {
    kept.push(new Uint8Array(i32(row.big.value)).fill(7));
    let total: i64 = 0;
    for (let i = 0; i < kept.length; i++) total += kept[i].length;
    out.big.value = total;
  } else if (command == "config") out.text.value = greeting;
  else if (command != "echo") reject("no such command");
  main.emit();
}

function watermark(timeMs: i64): void {
  out.command.value = "watermark";
  out.offset.value = 0;
  out.big.value = timeMs;
  main.emit();
}
