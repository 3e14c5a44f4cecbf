// The state for other code (A24, A25): told as JSON and taken back. README.md, State, says how a module uses it.
import { cText, fail, zeroed } from "./abi";
import { Json, parseJson } from "./json";

export { Json } from "./json";

let stateVersion: i32 = 1;
let tell: (() => Json) | null = null;
let take: ((version: i32, state: Json) => bool) | null = null;

/** Tells the state, and takes one that this operator told; false refuses a version that is not known. */
export function registerState(version: i32, exportState: () => Json, importState: (version: i32, state: Json) => bool): void {
  stateVersion = version;
  tell = exportState;
  take = importState;
}

// What the module exports: `export { floe_v1_export_state, floe_v1_import_state } from` this file.

export function floe_v1_export_state(): usize {
  if (tell === null) fail("this operator has no export_state: call registerState");
  const text = tell!().toString();
  const state = zeroed(12);
  store<i32>(state, stateVersion);
  store<usize>(state, cText(text), 4);
  store<i32>(state, String.UTF8.byteLength(text), 8);
  return state;
}

export function floe_v1_import_state(states: usize, count: i32): i32 {
  if (take === null) fail("this operator has no import_state: call registerState");
  if (count != 1) fail("several states cannot be merged by this operator");
  const version = load<i32>(states);
  const text = String.UTF8.decodeUnsafe(load<usize>(states, 4), usize(load<i32>(states, 8)));
  if (!take!(version, parseJson(text))) fail("the state of version " + version.toString() + " is not known to this operator");
  return 0;
}
