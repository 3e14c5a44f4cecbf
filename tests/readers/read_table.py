#!/usr/bin/env python3
"""Reads an Iceberg table by pyiceberg or by DuckDB, and writes its rows in a fixed order.

JSON lines are one object a row, with values as JSON has them (timestamps and decimals as text); Parquet
and Arrow files keep the types. Rows are sorted by all columns, or by those of --order-by first.
"""

import argparse
import sys
import tempfile

import pyarrow as pa

import catalog
import duck


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    parser.add_argument("--reader", choices=["pyiceberg", "duckdb"], default="pyiceberg")
    parser.add_argument("--snapshot", type=int, help="snapshot id; the newest by default")
    parser.add_argument("--branch", help="its head, in place of a snapshot")
    parser.add_argument("--columns", help="names with commas; all by default")
    parser.add_argument("--order-by", help="names with commas; all columns by default")
    parser.add_argument("--format", choices=["jsonl", "parquet", "arrow"], default="jsonl")
    parser.add_argument("--out", default="-", help="file to write; - for standard output (jsonl only)")
    arguments = parser.parse_args()
    if arguments.out == "-" and arguments.format != "jsonl":
        parser.error("--out is needed for this format")

    table = catalog.load(arguments)
    if arguments.branch:
        arguments.snapshot = table.metadata.refs[arguments.branch].snapshot_id
    with tempfile.TemporaryDirectory(prefix="floe-read-") as folder:
        connection = duck.connect(folder)
        relation = rows(connection, table, arguments, folder)
        columns = ", ".join(f'"{it}"' for it in selected(connection, relation, arguments.columns))
        first = [f'"{it}"' for it in (arguments.order_by or "").split(",") if it]
        order = ", ".join([*first, columns])
        write(connection, f"SELECT {columns} FROM {relation} ORDER BY {order}", arguments)
    return 0


def rows(connection, table, arguments, folder: str) -> str:
    """SQL for the table's rows, read by the reader that was asked for."""
    if arguments.reader == "pyiceberg":
        scan = table.scan(snapshot_id=arguments.snapshot)
        connection.register("rows", scan.to_arrow_batch_reader())
        connection.execute("CREATE TEMP TABLE read AS SELECT * FROM rows")
        return "read"
    relation = duck.iceberg_relation(connection, table, arguments.snapshot)
    if relation is not None:
        return relation
    print("DuckDB has no iceberg extension here: it reads the files that pyiceberg names", file=sys.stderr)
    files = duck.LocalFiles(table, folder)
    tasks = list(table.scan(snapshot_id=arguments.snapshot).plan_files())
    if any(it.delete_files for it in tasks):
        raise SystemExit("the table has delete files, which this way of reading would ignore")
    if not tasks:
        connection.register("rows", table.scan(snapshot_id=arguments.snapshot).to_arrow())
        return "rows"
    paths = ", ".join(duck.quote(files.path(it.file.file_path)) for it in tasks)
    return f"read_parquet([{paths}], union_by_name = true)"


def selected(connection, relation: str, columns: str | None) -> list[str]:
    if columns:
        return columns.split(",")
    return [it[0] for it in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]


def write(connection, query: str, arguments) -> None:
    if arguments.format == "parquet":
        connection.execute(f"COPY ({query}) TO {duck.quote(arguments.out)} (FORMAT parquet, COMPRESSION zstd)")
    elif arguments.format == "arrow":
        reader = connection.execute(query).to_arrow_reader(100_000)
        with pa.ipc.new_file(arguments.out, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
    elif arguments.out == "-":
        reader = connection.execute(f"SELECT to_json(it)::VARCHAR FROM ({query}) it").to_arrow_reader(100_000)
        for batch in reader:
            sys.stdout.write("".join(line + "\n" for line in batch.column(0).to_pylist()))
    else:
        connection.execute(f"COPY ({query}) TO {duck.quote(arguments.out)} (FORMAT json)")


if __name__ == "__main__":
    sys.exit(main())
