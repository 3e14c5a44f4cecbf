#!/usr/bin/env python3
"""Compares a payments table with the oracle, row by row: the newest snapshot, and each on the way.

Every snapshot must be a consistent cut: for each partition exactly the oracle's rows for a prefix of the
input, and never less than the snapshot before it. The newest must be all of the input (but with --cut).
The newest snapshot is read three ways: by pyiceberg, by DuckDB's iceberg extension (where it is at hand),
and, as all the others, file by file. Exit code 0 when equal, 1 when not, with the first differences.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict

from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

import catalog
import duck
import oracle

SHOWN = 10
COLUMNS = ", ".join(oracle.COLUMNS)
DIFFERS = " OR ".join(f"r.{it} IS DISTINCT FROM o.{it}" for it in oracle.COLUMNS)


class Comparison:
    def __init__(self, connection, table: Table, folder: str) -> None:
        self.connection, self.table, self.folder = connection, table, folder
        self.differences = 0
        self.summary: dict[str, object] = {}

    def fetch(self, query: str) -> list[tuple]:
        return self.connection.execute(query).fetchall()

    def differ(self, what: str, examples: list[str] | None = None, count: int = 1) -> None:
        self.differences += count
        print(f"DIFFERS  {what}")
        for it in (examples or [])[:SHOWN]:
            print(f"           {it}")

    # The oracle.

    def load_oracle(self, path: str) -> None:
        self.connection.execute(
            f"""CREATE TABLE oracle AS SELECT {COLUMNS},
                row_number() OVER (PARTITION BY kafka_partition ORDER BY kafka_offset) AS n
                FROM read_parquet({duck.quote(path)})"""
        )
        (rows, partitions), = self.fetch("SELECT count(*), count(DISTINCT kafka_partition) FROM oracle")
        self.summary["oracle_rows"] = rows
        print(f"oracle     {rows} rows in {partitions} partitions")

    # The table: which data files are in which snapshot, and the rows of each file.

    def load_files(self) -> None:
        metadata = self.table.metadata
        snapshots = sorted(metadata.snapshots, key=lambda it: (it.sequence_number or 0, it.timestamp_ms))
        entries_of: dict[str, list[tuple[str, int]]] = {}
        files: dict[str, tuple[int, int]] = {}
        members: list[tuple[int, int]] = []
        for number, snapshot in enumerate(snapshots):
            for manifest in snapshot.manifests(self.table.io):
                path = manifest.manifest_path
                if path not in entries_of:
                    entries_of[path] = self.entries(manifest)
                for location, row_count in entries_of[path]:
                    file_id, _ = files.setdefault(location, (len(files), row_count))
                    members.append((number, file_id))
        self.snapshots = snapshots
        self.connection.execute("CREATE TABLE files (file_id INT, path VARCHAR, row_count BIGINT)")
        self.connection.execute("CREATE TABLE members (snapshot INT, file_id INT)")
        local = duck.LocalFiles(self.table, self.folder)
        self.insert("files", ((id, local.path(it), rows) for it, (id, rows) in files.items()))
        self.insert("members", members)
        twice = self.fetch("SELECT snapshot, file_id FROM members GROUP BY ALL HAVING count(*) > 1")
        for number, file_id in twice[:SHOWN]:
            self.differ(f"snapshot {snapshots[number].snapshot_id} names data file {file_id} twice")
        self.summary |= {"snapshots": len(snapshots), "data_files": len(files)}
        print(f"table      {len(snapshots)} snapshots, {len(files)} data files")

    def entries(self, manifest) -> list[tuple[str, int]]:
        entries = []
        for entry in manifest.fetch_manifest_entry(self.table.io, discard_deleted=True):
            if entry.data_file.content != DataFileContent.DATA:
                raise SystemExit(f"{entry.data_file.file_path} is a delete file; an append-only table has none")
            entries.append((entry.data_file.file_path, entry.data_file.record_count))
        return entries

    def insert(self, name: str, rows) -> None:
        import pyarrow as pa

        schema = [it[0] for it in self.fetch(f"DESCRIBE {name}")]
        columns = list(zip(*rows)) or [[] for _ in schema]
        if columns[0]:
            self.connection.register("inserted", pa.table(dict(zip(schema, map(list, columns)))))
            self.connection.execute(f"INSERT INTO {name} SELECT * FROM inserted")
            self.connection.unregister("inserted")

    def load_rows(self) -> None:
        self.connection.execute(f"CREATE TABLE rows AS SELECT 0 AS file_id, {COLUMNS} FROM oracle LIMIT 0")
        paths = [it[0] for it in self.fetch("SELECT path FROM files ORDER BY file_id")]
        for start in range(0, len(paths), 200):
            some = ", ".join(map(duck.quote, paths[start : start + 200]))
            self.connection.execute(
                f"""INSERT INTO rows SELECT file_id, {COLUMNS}
                    FROM read_parquet([{some}], filename = true, union_by_name = true) JOIN files ON filename = path"""
            )
        wrong = self.fetch(
            """SELECT path, row_count, coalesce(n, 0) FROM files
               LEFT JOIN (SELECT file_id, count(*) AS n FROM rows GROUP BY ALL) USING (file_id)
               WHERE row_count != coalesce(n, 0)"""
        )
        for path, named, found in wrong[:SHOWN]:
            self.differ(f"{path} holds {found} rows, its manifest says {named}")

    # Rows of all files against the oracle, once; then only counts are needed for each snapshot.

    def compare_rows(self) -> None:
        joined = f"rows r LEFT JOIN oracle o USING (kafka_partition, kafka_offset) WHERE o.n IS NULL OR {DIFFERS}"
        (count,), = self.fetch(f"SELECT count(*) FROM {joined}")
        if count:
            examples = self.fetch(
                f"""SELECT kafka_partition, kafka_offset, r.txn_id, r.merchant_id, r.amount_minor, r.running_total,
                    o.txn_id, o.merchant_id, o.amount_minor, o.running_total, o.n IS NULL
                    FROM {joined} ORDER BY kafka_partition, kafka_offset LIMIT {SHOWN}"""
            )
            texts = [
                f"{it[0]} @ {it[1]}: table {it[2:6]}, " + ("oracle no such row" if it[10] else f"oracle {it[6:10]}")
                for it in examples
            ]
            self.differ(f"{count} rows of data files are not the oracle's", texts, count)

    def compare_snapshots(self) -> None:
        """All rows of a file are the oracle's now, so a snapshot is a prefix iff no row is in it twice and
        each partition counts as many rows as the number of its last one."""
        self.connection.execute(
            """CREATE TABLE pieces AS SELECT file_id, kafka_partition, count(*) AS row_count, max(n) AS last
               FROM rows JOIN oracle USING (kafka_partition, kafka_offset) GROUP BY ALL"""
        )
        self.connection.execute(
            """CREATE TABLE twice AS SELECT kafka_partition, kafka_offset, list(file_id) AS files
               FROM rows GROUP BY ALL HAVING count(*) > 1"""
        )
        repeated: dict[int, list[str]] = defaultdict(list)
        for number, partition, offset, count in self.fetch(
            """SELECT snapshot, kafka_partition, kafka_offset, count(*) AS n
               FROM (SELECT kafka_partition, kafka_offset, unnest(files) AS file_id FROM twice)
               JOIN members USING (file_id) GROUP BY ALL HAVING n > 1 ORDER BY ALL"""
        ):
            repeated[number].append(f"{partition} @ {offset}: {count} times")
        cuts: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
        for number, partition, rows, last in self.fetch(
            """SELECT snapshot, kafka_partition, sum(row_count)::BIGINT, max(last) FROM members
               JOIN pieces USING (file_id) GROUP BY ALL ORDER BY ALL"""
        ):
            cuts[number][partition] = (rows, last)
        before: dict[int, int] = {}
        bad = 0
        for number, snapshot in enumerate(self.snapshots):
            problems = repeated[number]
            for partition, (rows, last) in cuts[number].items():
                if rows != last:
                    problems.append(f"partition {partition}: {rows} rows, but the last one is the oracle's {last}th")
            now = {partition: last for partition, (_, last) in cuts[number].items()}
            for partition, last in before.items():
                if now.get(partition, 0) < last:
                    problems.append(f"partition {partition} goes back from {last} rows to {now.get(partition, 0)}")
            before = now
            if problems:
                bad += 1
                self.differ(f"snapshot {snapshot.snapshot_id} (number {number}) is no consistent cut", problems)
        good = len(self.snapshots) - bad
        self.summary["consistent_cuts"] = good
        print(f"snapshots  {good} of {len(self.snapshots)} are consistent cuts")

    # A weaker guarantee: every row is the oracle's, and either none is missing or none is there twice.

    def compare_weaker(self, name: str, relation: str, guarantee: str) -> None:
        self.connection.execute(f"CREATE OR REPLACE TABLE newest AS SELECT {COLUMNS} FROM {relation}")
        (count,), = self.fetch("SELECT count(*) FROM newest")
        (distinct,), = self.fetch(f"SELECT count(*) FROM (SELECT DISTINCT {COLUMNS} FROM newest)")
        (strange,), = self.fetch(f"SELECT count(*) FROM (SELECT {COLUMNS} FROM newest EXCEPT SELECT {COLUMNS} FROM oracle)")
        (missing,), = self.fetch(f"SELECT count(*) FROM (SELECT {COLUMNS} FROM oracle EXCEPT SELECT {COLUMNS} FROM newest)")
        repeated = count - distinct
        if strange:
            self.differ(f"{name}: {strange} rows are not the oracle's", count=strange)
        if missing and guarantee == "at-least-once":
            self.differ(f"{name}: {missing} rows are missing, and at-least-once loses none", count=missing)
        if repeated and guarantee == "at-most-once":
            self.differ(f"{name}: {repeated} rows are there again, and at-most-once repeats none", count=repeated)
        self.summary |= {f"rows_{name}": count, "repeated": repeated, "missing": missing}
        print(f"newest     {count} rows by {name}: {repeated} repeated, {missing} missing")

    # The newest snapshot, by readers that know Iceberg.

    def compare_newest(self, name: str, relation: str, cut: bool) -> None:
        self.connection.execute(f"CREATE OR REPLACE TABLE newest AS SELECT {COLUMNS} FROM {relation}")
        (count,), = self.fetch("SELECT count(*) FROM newest")
        expected = "oracle"
        if cut:
            # Only as much of each partition as the table has got to.
            expected = """(SELECT o.* FROM oracle o JOIN (SELECT kafka_partition, max(kafka_offset) AS last
                           FROM newest GROUP BY ALL) USING (kafka_partition) WHERE o.kafka_offset <= last)"""
        for what, query in (
            ("missing", f"SELECT {COLUMNS} FROM {expected} EXCEPT ALL SELECT {COLUMNS} FROM newest"),
            ("too many", f"SELECT {COLUMNS} FROM newest EXCEPT ALL SELECT {COLUMNS} FROM {expected}"),
        ):
            (wrong,), = self.fetch(f"SELECT count(*) FROM ({query})")
            if wrong:
                examples = self.fetch(f"SELECT * FROM ({query}) ORDER BY ALL LIMIT {SHOWN}")
                self.differ(f"{name}: {wrong} rows are {what}", [str(it) for it in examples], wrong)
        self.summary[f"rows_{name}"] = count
        print(f"newest     {count} rows by {name}")

    def compare_newest_under(self, guarantee: str, name: str, relation: str, cut: bool) -> None:
        if guarantee == "exactly-once":
            self.compare_newest(name, relation, cut)
        else:
            self.compare_weaker(name, relation, guarantee)

    def read_newest(self, cut: bool, guarantee: str) -> None:
        if self.table.current_snapshot() is None:
            self.differ("the table has no snapshot")
            return
        reader = self.table.scan(selected_fields=tuple(oracle.COLUMNS)).to_arrow_batch_reader()
        self.connection.register("scanned", reader)
        self.compare_newest_under(guarantee, "pyiceberg", "scanned", cut)
        relation = duck.iceberg_relation(self.connection, self.table)
        if relation is None:
            print("newest     not read by DuckDB: no iceberg extension here")
        else:
            self.compare_newest_under(guarantee, "duckdb", relation, cut)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    parser.add_argument("input", help="the recording (.jsonl), or the oracle's rows (.parquet)")
    parser.add_argument("--cut", action="store_true", help="the newest snapshot may be a prefix of the input too")
    parser.add_argument("--guarantee", choices=["exactly-once", "at-least-once", "at-most-once"], default="exactly-once")
    parser.add_argument("--json", action="store_true", help="print a summary as one JSON object at the end")
    oracle.add_arguments(parser)
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="floe-compare-") as folder:
        path = arguments.input
        if not path.endswith(".parquet"):
            path = f"{folder}/oracle.parquet"
            with open(arguments.input, encoding="utf-8") as lines:
                oracle.write_parquet(oracle.expected_rows(lines, arguments.bad, not arguments.no_dedup), path)
        comparison = Comparison(duck.connect(folder), catalog.load(arguments), folder)
        comparison.load_oracle(path)
        comparison.load_files()
        comparison.load_rows()
        comparison.compare_rows()
        if arguments.guarantee == "exactly-once":
            comparison.compare_snapshots()
        comparison.read_newest(arguments.cut, arguments.guarantee)
    seconds = time.monotonic() - begun
    equal = comparison.differences == 0
    print(f"{'equal' if equal else 'NOT EQUAL'}      in {seconds:.1f} s")
    if arguments.json:
        print(json.dumps(comparison.summary | {"equal": equal, "differences": comparison.differences}))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
