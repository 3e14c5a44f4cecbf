#!/usr/bin/env python3
"""Tests the readers: tables made by pyiceberg from the oracle's rows, right ones and broken ones.

A comparison that lets any of the broken tables pass is worth nothing. Needs no server.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import load_catalog

import oracle

HERE = Path(__file__).parent
RECORDS = 4000
# Ends of the epochs, as fractions of each partition; partitions are cut at different places.
EPOCHS = [(0.1, 0.2, 0.0, 0.15), (0.5, 0.4, 0.3, 0.45), (0.5, 0.4, 0.3, 0.45), (1.0, 1.0, 1.0, 1.0)]


def recording(path: Path) -> list[tuple]:
    """Payments with duplicates, Unicode, large, negative and zero amounts; returns the oracle's rows."""
    rng = random.Random(7)
    ends = [0] * 4
    lines = []
    for index in range(RECORDS):
        partition = rng.randrange(4)
        txn = f"txn-{rng.randrange(index)}" if index and rng.random() < 0.07 else f"txn-{index}"
        payment = {
            "txn_id": txn,
            "merchant_id": f"m-{rng.randrange(50)}-é中",
            "amount_minor": rng.choice([0, -rng.randrange(500), rng.randrange(10**4), 2**40 + rng.randrange(99)]),
        }
        record = {"partition": partition, "offset": ends[partition], "value": json.dumps(payment)}
        lines.append(json.dumps(record, ensure_ascii=index % 2 == 0))
        ends[partition] += 1 + (rng.random() < 0.01)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(oracle.expected_rows(lines))


def epochs(rows: list[tuple]) -> list[list[tuple]]:
    """The rows in the snapshots that a right run would make."""
    made, done = [], [0] * 4
    by_partition = [[it for it in rows if it[0] == partition] for partition in range(4)]
    for fractions in EPOCHS:
        epoch = []
        for partition, fraction in enumerate(fractions):
            end = int(len(by_partition[partition]) * fraction)
            epoch += by_partition[partition][done[partition] : end]
            done[partition] = end
        made.append(epoch)
    return made


def changed(row: tuple, column: str, value) -> tuple:
    at = oracle.COLUMNS.index(column)
    return row[:at] + (value,) + row[at + 1 :]


def swap_cut(made: list[list[tuple]]) -> list[list[tuple]]:
    """A row of epoch 3 already in epoch 1: the end is right, the way is not."""
    return [made[0], made[1] + made[3][-1:], made[2], made[3][:-1]]


CASES = {
    "right": (lambda made: made, 0, "4 of 4 are consistent cuts"),
    "a row is missing": (lambda made: [*made[:3], made[3][:-1]], 1, "1 rows are missing"),
    "a row is there twice": (lambda made: [*made[:3], made[3] + made[1][:1]], 1, "2 times"),
    "an epoch is there twice": (lambda made: [*made[:2], made[1], made[3]], 1, "rows are too many"),
    "a total is wrong": (
        lambda made: [*made[:3], [changed(made[3][0], "running_total", 1)] + made[3][1:]],
        1,
        "1 rows of data files are not the oracle's",
    ),
    "an id is wrong": (
        lambda made: [[changed(made[0][0], "txn_id", "x")] + made[0][1:], *made[1:]],
        1,
        "1 rows of data files are not the oracle's",
    ),
    "a record is under another offset": (
        lambda made: [[changed(made[0][0], "kafka_offset", 10**6)] + made[0][1:], *made[1:]],
        1,
        "oracle no such row",
    ),
    "a snapshot is no cut": (swap_cut, 1, "(number 1) is no consistent cut"),
    "the end is not reached": (lambda made: made[:3], 1, "rows are missing"),
    "the end need not be reached": (lambda made: made[:3], 0, "consistent cuts", "--cut"),
    "a hole, with --cut": (lambda made: [made[0], made[1][1:]], 1, "is no consistent cut", "--cut"),
}


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=HERE, capture_output=True, text=True)


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="floe-readers-") as folder:
        rows = recording(Path(folder, "payments.jsonl"))
        made = epochs(rows)
        uri = f"sqlite://{folder}/catalog.db"
        catalog = load_catalog("test", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/lake")
        catalog.create_namespace("lake")
        for number, (name, (change, code, text, *options)) in enumerate(CASES.items()):
            table = catalog.create_table(f"lake.t{number}", schema=oracle.SCHEMA)
            for epoch in change(made):
                columns = list(zip(*epoch)) or [[] for _ in oracle.COLUMNS]
                arrays = [pa.array(list(it), field.type) for it, field in zip(columns, oracle.SCHEMA)]
                table.append(pa.table(arrays, schema=oracle.SCHEMA))
            result = run("compare.py", f"lake.t{number}", f"{folder}/payments.jsonl", "--catalog", uri, *options)
            good = result.returncode == code and text in result.stdout
            failed += not good
            print(f"{'ok' if good else 'FAILED'}  {name}")
            if not good:
                print(f"  exit code {result.returncode}, expected {code} and {text!r}\n{result.stdout}{result.stderr}")
        failed += not readers_agree(uri, rows)
    return 1 if failed else 0


def readers_agree(uri: str, rows: list[tuple]) -> bool:
    """Both readers, and both formats of the first, give the oracle's rows in its order."""
    expected = [dict(zip(oracle.COLUMNS, it)) for it in sorted(rows)]
    order = ["--order-by", "kafka_partition,kafka_offset"]
    good = True
    for reader in ("pyiceberg", "duckdb"):
        result = run("read_table.py", "lake.t0", "--catalog", uri, "--reader", reader, *order)
        read = [json.loads(it) for it in result.stdout.splitlines()]
        same = read == expected
        good &= same
        print(f"{'ok' if same else 'FAILED'}  {reader} reads the oracle's rows {result.stderr if not same else ''}")
    return good


if __name__ == "__main__":
    sys.exit(main())
