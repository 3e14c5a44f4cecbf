// What a script may import and call, for editors and for tsc. README.md has the chapters.

declare module "floe" {
  /** A column's type: "int64", "text?" (may be null), "decimal(20,4)", a struct, a list of its one item. */
  export type Type = string | { readonly [column: string]: Type } | readonly [Type];

  export interface Columns {
    readonly [column: string]: Type;
  }

  /** Hands out a row, to the first output or to the one that is named. */
  export type Emit<Output = Record<string, unknown>> = (row: Output, output?: string) => void;

  export interface Exported {
    version: number;
    state: unknown;
  }

  /** The default export of operator.js or operator.ts. */
  export interface Operator<Input = any, Output = any> {
    name: string;
    version?: string;
    /** Another one when exportState gives something else; 1 unless named. */
    stateVersion?: number;
    input: Columns;
    output?: Columns;
    outputs?: { readonly [output: string]: Columns };
    /** Once for a fresh instance. A key that is not read is refused. */
    open?(config: Record<string, unknown>): void;
    process(row: Input, emit: Emit<Output>): void;
    /** No record before this event time (ms) will come any more. */
    watermark?(timeMs: number, emit: Emit<Output>): void;
    /** For `floe state` and `floe upgrade`: what JSON can hold. */
    exportState?(): unknown;
    importState?(states: Exported[]): void;
  }

  /** This row is not taken, and what was emitted for it is taken back. It does not return. */
  export function reject(reason: string): never;
  /** The virtual time in ms: the greatest timestamp of a record so far. Date.now() is the same. */
  export function now(): number;
  /** 64 bits from the seed in the checkpoint. Math.random() draws from it too. */
  export function random(): bigint;
  /** A struct or a list that may be null. */
  export function nullable(type: Type): { readonly [column: string]: Type };
}

/** Lines of the pipeline's log. */
declare const console: {
  error(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  debug(...values: unknown[]): void;
};
