// The configuration: a JSON object of texts, numbers and truth values.
import { fail } from "./abi";

let keys: string[] = [];
let values: string[] = [];
let isText: bool[] = [];
let asked: bool[] = [];

let source: string = "";
let at: i32 = 0;

function space(): void {
  while (at < source.length && source.charCodeAt(at) <= 32) at++;
}

function text(): string {
  let out = "";
  at++;
  while (at < source.length && source.charCodeAt(at) != 34) {
    if (source.charCodeAt(at) != 92) {
      out += source.charAt(at++);
      continue;
    }
    const escaped = source.charAt(at + 1);
    at += 2;
    if (escaped == "u") {
      out += String.fromCharCode(i32(parseInt(source.substring(at, at + 4), 16)));
      at += 4;
    } else if (escaped == "n") out += "\n";
    else if (escaped == "t") out += "\t";
    else if (escaped == "r") out += "\r";
    else if (escaped == "b") out += "\b";
    else if (escaped == "f") out += "\f";
    else out += escaped;
  }
  at++;
  return out;
}

export function parseConfig(json: string): void {
  source = json;
  at = 0;
  space();
  if (source.charAt(at) != "{") fail("the configuration is no JSON object");
  at++;
  space();
  while (at < source.length && source.charAt(at) == '"') {
    keys.push(text());
    space();
    at++;
    space();
    const isQuoted = source.charAt(at) == '"';
    isText.push(isQuoted);
    asked.push(false);
    if (isQuoted) values.push(text());
    else values.push(nested());
    space();
    if (source.charAt(at) == ",") at++;
    space();
  }
  source = "";
}

function nested(): string {
  const begin = at;
  let depth = 0;
  while (at < source.length) {
    const letter = source.charAt(at);
    if (letter == '"') {
      text();
      continue;
    }
    if (depth == 0 && (letter == "," || letter == "}")) break;
    if (letter == "{" || letter == "[") depth++;
    if (letter == "}" || letter == "]") depth--;
    at++;
  }
  return source.substring(begin, at).trim();
}

function find(key: string): i32 {
  const index = keys.indexOf(key);
  if (index >= 0) asked[index] = true;
  return index;
}

/** A text of the configuration; `otherwise` where the key is missing. */
export function configText(key: string, otherwise: string): string {
  const index = find(key);
  if (index < 0) return otherwise;
  if (!isText[index]) fail("config." + key + " must be a text");
  return values[index];
}

/** A whole number of the configuration. */
export function configLong(key: string, otherwise: i64): i64 {
  const index = find(key);
  if (index < 0) return otherwise;
  const value = I64.parseInt(values[index]);
  if (isText[index] || value.toString() != values[index]) fail("config." + key + " must be a whole number");
  return value;
}

/** True or false of the configuration. */
export function configBool(key: string, otherwise: bool): bool {
  const index = find(key);
  if (index < 0) return otherwise;
  const value = values[index];
  if (isText[index] || (value != "true" && value != "false")) fail("config." + key + " must be true or false");
  return value == "true";
}

export function refuseUnread(): void {
  for (let i = 0; i < keys.length; i++) {
    if (!asked[i]) fail("the configuration has a key that this operator does not know: " + keys[i]);
  }
}
