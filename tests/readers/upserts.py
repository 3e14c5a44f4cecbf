#!/usr/bin/env python3
"""Compares a payments table of mode "upsert" with the oracle: one row for each merchant of a partition, the last.

A payment whose amount is a multiple of 7 says that its merchant's row is gone. Snapshots on the way are compared
too, each with the input up to the offsets that its summary names. Read by DuckDB's iceberg extension alone, which
knows equality deletes; pyiceberg refuses them. Exit code 0 when equal, 1 when not, with the first differences.
"""

import argparse
import json
import sys
import tempfile

import catalog
import duck
import oracle

SHOWN = 10
# Each is a scan of its own.
SNAPSHOTS_MAX = 8
KEY = "kafka_partition, merchant_id"
COLUMNS = ", ".join(oracle.COLUMNS)


def positions(snapshot) -> dict[int, int]:
    """The next offset of each partition, as floe wrote it into the summary."""
    text = snapshot.summary["floe.positions"]
    pairs = (it.rsplit(":", 1) for it in text.split(","))
    return {int(task.rsplit("/", 1)[1]): int(offset) for task, offset in pairs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    parser.add_argument("input", help="the recording (.jsonl)")
    parser.add_argument("--guarantee", choices=["exactly-once", "at-least-once"], default="exactly-once")
    parser.add_argument("--json", action="store_true", help="print a summary as one JSON object at the end")
    oracle.add_arguments(parser)
    arguments = parser.parse_args()
    differences = 0
    with tempfile.TemporaryDirectory(prefix="floe-upserts-") as folder:
        connection = duck.connect(folder)
        path = f"{folder}/oracle.parquet"
        with open(arguments.input, encoding="utf-8") as lines:
            oracle.write_parquet(oracle.expected_rows(lines, arguments.bad, not arguments.no_dedup), path)
        connection.execute(f"CREATE TABLE oracle AS SELECT {COLUMNS} FROM read_parquet({duck.quote(path)})")
        table = catalog.load(arguments)
        snapshots = sorted(table.metadata.snapshots, key=lambda it: it.sequence_number)
        snapshots = [it for it in snapshots if "floe.epoch" in it.summary.additional_properties]
        # Of epochs that were committed together the last alone says its positions.
        known = [it for it in snapshots if "floe.positions" in it.summary.additional_properties]
        step = max(1, len(known) // SNAPSHOTS_MAX)
        chosen = known[::-1][::step][::-1]
        for snapshot in chosen:
            relation = duck.iceberg_relation(connection, table, snapshot.snapshot_id)
            if relation is None:
                print("no iceberg extension of DuckDB here", file=sys.stderr)
                return 2
            connection.execute("CREATE OR REPLACE TABLE cut (kafka_partition INT, next BIGINT)")
            connection.executemany("INSERT INTO cut VALUES (?, ?)", list(positions(snapshot).items()))
            is_newest = snapshot is chosen[-1]
            # The newest holds all of the input, whatever its summary says.
            within = "oracle" if is_newest else "oracle JOIN cut USING (kafka_partition) WHERE kafka_offset < next"
            connection.execute(
                f"""CREATE OR REPLACE TABLE wanted AS SELECT {COLUMNS} FROM (
                    SELECT {COLUMNS}, row_number() OVER (PARTITION BY {KEY} ORDER BY kafka_offset DESC) AS age
                    FROM (SELECT {COLUMNS} FROM {within})) WHERE age = 1 AND amount_minor % 7 != 0"""
            )
            connection.execute(f"CREATE OR REPLACE TABLE found AS SELECT {COLUMNS} FROM {relation}")
            for what, query in (
                ("missing", "SELECT * FROM wanted EXCEPT ALL SELECT * FROM found"),
                ("too many", "SELECT * FROM found EXCEPT ALL SELECT * FROM wanted"),
            ):
                wrong = connection.execute(f"{query} ORDER BY ALL").fetchall()
                if wrong:
                    differences += len(wrong)
                    print(f"DIFFERS  snapshot {snapshot.snapshot_id}: {len(wrong)} rows are {what}")
                    for row in wrong[:SHOWN]:
                        print(f"           {row}")
        rows, = connection.execute("SELECT count(*) FROM found").fetchone() if chosen else (0,)
        deletes = sum(int(it.summary.additional_properties.get("added-equality-deletes", 0)) for it in snapshots)
    if not rows or not deletes:
        differences += 1
        print(f"DIFFERS  {rows} rows and {deletes} equality deletes show nothing")
    print(f"{'equal' if differences == 0 else 'NOT EQUAL'}  {rows} rows, {len(chosen)} of {len(snapshots)} snapshots compared")
    if arguments.json:
        consistent = len(snapshots) if differences == 0 else 0
        print(json.dumps({"oracle_rows": rows, "snapshots": len(snapshots), "consistent_cuts": consistent}))
    return 0 if differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
