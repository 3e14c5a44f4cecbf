#!/usr/bin/env python3
"""Compares the rows of `join` and `enrich` with DuckDB's answer over all records at once.

Nothing of floe is used: records are read from the recordings, rows from what `floe rows --json` printed.
Exit code 0 when equal, 1 when not, with the first differences.
"""

import argparse
import json
import sys

import duckdb
import pyarrow as pa

WITHIN_MS = 20_000
# The last records stand alone, a long time behind all others.
RECORDS = "(FROM {} WHERE id IS NULL OR id NOT LIKE 'end-%')"
LEFT, RIGHT = RECORDS.format("lefts"), RECORDS.format("rights")
PAIRS = f"l.id = r.id AND abs(l.ts - r.ts) <= {WITHIN_MS}"

QUERIES = {
    "inner": (f"SELECT l.id, l.ts, l.said, r.said FROM {LEFT} l JOIN {RIGHT} r ON {PAIRS}", "paid"),
    "left": (f"SELECT l.id, l.ts, l.said, r.said FROM {LEFT} l LEFT JOIN {RIGHT} r ON {PAIRS}", "paid"),
    "enrich": (f"SELECT l.id, l.ts, l.said, r.said FROM {LEFT} l ASOF LEFT JOIN {RIGHT} r ON l.id = r.id AND l.ts >= r.ts", "rate"),
}


def records(path: str, column: str) -> list[tuple]:
    with open(path, encoding="utf-8") as lines:
        values = [json.loads(json.loads(it)["value"]) for it in lines]
    return [(it["id"], it["ts"], it[column]) for it in values]


def table(connection, name: str, rows: list[tuple], columns: list[str]) -> None:
    types = [pa.string()] + [pa.int64()] * (len(columns) - 1)
    cells = list(zip(*rows)) if rows else [()] * len(columns)
    connection.register(f"{name}_rows", pa.table([pa.array(it, kind) for it, kind in zip(cells, types)], columns))
    connection.execute(f"CREATE TABLE {name} AS FROM {name}_rows")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("query", choices=QUERIES)
    parser.add_argument("left", help="the recording of the left source (.jsonl)")
    parser.add_argument("right", help="that of the right source")
    parser.add_argument("rows", help="what `floe rows --json` printed")
    arguments = parser.parse_args()
    query, added = QUERIES[arguments.query]
    connection = duckdb.connect()
    table(connection, "lefts", records(arguments.left, "amount"), ["id", "ts", "said"])
    table(connection, "rights", records(arguments.right, added), ["id", "ts", "said"])
    columns = ["id", "ts", "amount", "added"]
    connection.execute(f"CREATE TABLE wanted AS SELECT * FROM ({query}) AS it({', '.join(columns)})")
    with open(arguments.rows, encoding="utf-8") as lines:
        rows = [json.loads(it) for it in lines if it.strip()]
    rows = [it for it in rows if not (it["id"] or "").startswith("end-")]
    table(connection, "found", [(it["id"], it["ts"], it["amount"], it[added]) for it in rows], columns)
    (count, matched) = connection.execute("SELECT count(*), count(added) FROM wanted").fetchone()
    wrong = 0
    for what, one, other in (("missing", "wanted", "found"), ("too many", "found", "wanted")):
        different = connection.execute(f"SELECT * FROM (FROM {one} EXCEPT ALL FROM {other}) ORDER BY ALL").fetchall()
        wrong += len(different)
        if different:
            print(f"DIFFERS  {arguments.query}: {len(different)} rows are {what}", *different[:5], sep="\n  ")
    print(f"{arguments.query}: {count} rows by DuckDB, {matched} of them joined, {len(rows)} by floe, {wrong} differ")
    return 0 if wrong == 0 and matched > 100 else 1


if __name__ == "__main__":
    sys.exit(main())
