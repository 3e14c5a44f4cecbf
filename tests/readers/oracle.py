#!/usr/bin/env python3
"""What the payments pipeline must have written, computed from the recording in a few lines of Python.

A payment whose txn_id was seen before in its partition is left out; running_total is the sum of a
merchant's payments in the partition so far. Nothing of floe is used, and no state but two dictionaries.
"""

import argparse
import base64
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("txn_id", pa.string()),
        ("merchant_id", pa.string()),
        ("amount_minor", pa.int64()),
        ("running_total", pa.int64()),
    ]
)
COLUMNS = SCHEMA.names
BATCH_ROWS = 100_000


class BadRecord(Exception):
    pass


def payment(value) -> tuple[str, str, int]:
    """The fields of a record's value, or why it is no payment."""
    if isinstance(value, dict):
        value = base64.b64decode(value["base64"])
    if value is None:
        raise BadRecord("it is a tombstone")
    try:
        fields = json.loads(value)
    except ValueError as error:
        raise BadRecord(f"it is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadRecord("it is no JSON object")
    for name, kind in (("txn_id", str), ("merchant_id", str), ("amount_minor", int)):
        if type(fields.get(name)) is not kind:
            raise BadRecord(f"{name} is {fields.get(name)!r}")
    if not -(2**63) <= fields["amount_minor"] < 2**63:
        raise BadRecord("amount_minor is beyond 64 bits")
    return fields["txn_id"], fields["merchant_id"], fields["amount_minor"]


def expected_rows(lines, bad: str = "fail", dedup: bool = True):
    """Yields (partition, offset, txn_id, merchant_id, amount_minor, running_total)."""
    seen: dict[int, set[str]] = {}
    totals: dict[int, dict[str, int]] = {}
    last: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = json.loads(line)
        partition, offset = record["partition"], record["offset"]
        if offset <= last.get(partition, -1):
            raise SystemExit(f"line {number}: offset {offset} of partition {partition} does not increase")
        last[partition] = offset
        try:
            txn_id, merchant_id, amount = payment(record.get("value"))
        except BadRecord as error:
            if bad == "skip":
                continue
            raise SystemExit(f"line {number}: no payment, {error}; pass --bad skip if floe was told to skip it")
        of_partition = seen.setdefault(partition, set())
        if dedup:
            if txn_id in of_partition:
                continue
            of_partition.add(txn_id)
        sums = totals.setdefault(partition, {})
        total = sums[merchant_id] = sums.get(merchant_id, 0) + amount
        yield partition, offset, txn_id, merchant_id, amount, total


def write_parquet(rows, path: str) -> int:
    """Streams rows into a Parquet file; returns how many."""
    count, batch = 0, []

    def flush(writer) -> None:
        columns = zip(*batch) if batch else [[] for _ in COLUMNS]
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA)]
        writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        batch.clear()

    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for row in rows:
            batch.append(row)
            count += 1
            if len(batch) == BATCH_ROWS:
                flush(writer)
        flush(writer)
    return count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bad", choices=["fail", "skip"], default="fail", help="what to do about a record that is no payment"
    )
    parser.add_argument("--no-dedup", action="store_true", help="count a repeated txn_id again")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", help="recording, one JSON object a line")
    parser.add_argument("out", help="Parquet file to write")
    add_arguments(parser)
    arguments = parser.parse_args()
    with open(arguments.recording, encoding="utf-8") as lines:
        count = write_parquet(expected_rows(lines, arguments.bad, not arguments.no_dedup), arguments.out)
    print(f"{count} rows expected", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
