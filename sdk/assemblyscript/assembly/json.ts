// JSON as a value: what the state is told in.
import { fail } from "./abi";

enum Kind { Null, Bool, Number, Text, List, Object }

/** A value of JSON. Numbers are kept as they are written. */
export class Json {
  private kind: Kind = Kind.Null;
  private written: string = "";
  private items: Json[] = [];
  private keys: string[] = [];

  static text(value: string): Json { return new Json().set(Kind.Text, value); }
  static long(value: i64): Json { return new Json().set(Kind.Number, value.toString()); }
  static double(value: f64): Json {
    if (!isFinite(value)) fail("a number that JSON has not");
    return new Json().set(Kind.Number, value.toString());
  }
  static bool(value: bool): Json { return new Json().set(Kind.Bool, value ? "true" : "false"); }
  static list(): Json { return new Json().set(Kind.List, ""); }
  static object(): Json { return new Json().set(Kind.Object, ""); }
  /** A map of whole numbers, in the order of its keys: equal maps are told alike. */
  static map(map: Map<string, i64>): Json {
    const object = Json.object();
    const keys = map.keys().sort();
    for (let i = 0; i < keys.length; i++) object.with(keys[i], Json.long(map.get(keys[i])));
    return object;
  }

  private set(kind: Kind, written: string): Json {
    this.kind = kind;
    this.written = written;
    return this;
  }

  /** Adds a member to an object, and gives the object. */
  with(key: string, value: Json): Json {
    this.keys.push(key);
    this.items.push(value);
    return this;
  }

  /** Adds an item to a list, and gives the list. */
  add(value: Json): Json {
    this.items.push(value);
    return this;
  }

  /** An object's value of this key; null where it has none. */
  member(key: string): Json | null {
    const index = this.keys.indexOf(key);
    return index < 0 ? null : this.items[index];
  }

  /** The items of a list, or the values of an object. */
  get values(): Json[] { return this.items; }
  /** The keys of an object, beside `values`. */
  get names(): string[] { return this.keys; }

  get isNull(): bool { return this.kind == Kind.Null; }
  get asText(): string { return this.wanted(Kind.Text, "a text"); }
  get asLong(): i64 {
    const number = I64.parseInt(this.wanted(Kind.Number, "a whole number"));
    if (number.toString() != this.written) fail("the state has " + this.written + " where it needs a whole number");
    return number;
  }
  get asDouble(): f64 { return parseFloat(this.wanted(Kind.Number, "a number")); }
  get asBool(): bool { return this.wanted(Kind.Bool, "true or false") == "true"; }
  /** What `Json.map` told. */
  get asMap(): Map<string, i64> {
    this.wanted(Kind.Object, "an object");
    const map = new Map<string, i64>();
    for (let i = 0; i < this.keys.length; i++) map.set(this.keys[i], this.items[i].asLong);
    return map;
  }

  private wanted(kind: Kind, name: string): string {
    if (this.kind != kind) fail("the state has " + this.toString() + " where it needs " + name);
    return this.written;
  }

  toString(): string {
    if (this.kind == Kind.Null) return "null";
    if (this.kind == Kind.Text) return quoted(this.written);
    if (this.kind == Kind.Bool || this.kind == Kind.Number) return this.written;
    const parts: string[] = [];
    for (let i = 0; i < this.items.length; i++) {
      const value = this.items[i].toString();
      parts.push(this.kind == Kind.Object ? quoted(this.keys[i]) + ":" + value : value);
    }
    return this.kind == Kind.Object ? "{" + parts.join(",") + "}" : "[" + parts.join(",") + "]";
  }

  /** Of a value whose text was read. */
  static read(kind: i32, written: string): Json { return new Json().set(<Kind>kind, written); }
}

function quoted(text: string): string {
  let begin = 0;
  const parts: string[] = ['"'];
  for (let i = 0; i < text.length; i++) {
    const letter = text.charCodeAt(i);
    if (letter >= 32 && letter != 34 && letter != 92) continue;
    parts.push(text.substring(begin, i));
    const hex = letter.toString(16);
    parts.push(letter == 34 ? '\\"' : letter == 92 ? "\\\\" : "\\u" + "0000".substring(hex.length) + hex);
    begin = i + 1;
  }
  parts.push(text.substring(begin));
  parts.push('"');
  return parts.join("");
}

let source: string = "";
let at: i32 = 0;

/** Reads a whole text as one value. */
export function parseJson(text: string): Json {
  source = text;
  at = 0;
  const read = value();
  source = "";
  return read;
}

function space(): i32 {
  while (at < source.length && source.charCodeAt(at) <= 32) at++;
  return at < source.length ? source.charCodeAt(at) : 0;
}

function value(): Json {
  const first = space();
  if (first == 0x22) return Json.text(text());
  if (first == 0x7b || first == 0x5b) return nested(first == 0x7b);
  const begin = at;
  while (at < source.length && ",]} \n\r\t".indexOf(source.charAt(at)) < 0) at++;
  const word = source.substring(begin, at);
  if (word == "null") return Json.read(Kind.Null, "");
  if (word == "true" || word == "false") return Json.bool(word == "true");
  if (word.length == 0) fail("the state is no JSON");
  return Json.read(Kind.Number, word);
}

function nested(isObject: bool): Json {
  const all = isObject ? Json.object() : Json.list();
  const closer = isObject ? 0x7d : 0x5d;
  at++;
  while (space() != closer) {
    if (at >= source.length) fail("the state is no JSON");
    if (isObject) {
      const key = text();
      if (space() != 0x3a) fail("the state is no JSON");
      at++;
      all.with(key, value());
    } else {
      all.add(value());
    }
    if (space() == 0x2c) at++;
  }
  at++;
  return all;
}

/** `at` is at the opening quote. */
function text(): string {
  if (space() != 0x22) fail("the state is no JSON");
  at++;
  const parts: string[] = [];
  let begin = at;
  while (at < source.length && source.charCodeAt(at) != 0x22) {
    if (source.charCodeAt(at) != 0x5c) {
      at++;
      continue;
    }
    parts.push(source.substring(begin, at));
    const escaped = source.charAt(at + 1);
    at += 2;
    if (escaped == "u") {
      parts.push(String.fromCharCode(i32(parseInt(source.substring(at, at + 4), 16))));
      at += 4;
    } else {
      const known = "nrtbf".indexOf(escaped);
      parts.push(known < 0 ? escaped : "\n\r\t\b\f".charAt(known));
    }
    begin = at;
  }
  parts.push(source.substring(begin, at));
  at++;
  return parts.join("");
}
