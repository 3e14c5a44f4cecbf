#!/usr/bin/env python3
"""Doubles one row of a table of payments, takes one out and changes the amount of one, as nobody should.

Prints the three rows as one JSON object. A table with equality deletes (--upserts) is read by DuckDB. The readers of the tests are to find exactly these.
"""

import argparse
import json
import tempfile

import pyarrow as pa
import pyarrow.compute as pc

import catalog
import duck


def rows_of(table, is_upserted: bool) -> pa.Table:
    if not is_upserted:
        return table.scan().to_arrow()
    with tempfile.TemporaryDirectory(prefix="floe-tamper-") as folder:
        connection = duck.connect(folder)
        relation = duck.iceberg_relation(connection, table)
        if relation is None:
            raise SystemExit("no iceberg extension of DuckDB here")
        return connection.execute(f"SELECT * FROM {relation}").arrow().read_all().cast(table.schema().as_arrow())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    parser.add_argument("--upserts", action="store_true")
    arguments = parser.parse_args()
    table = catalog.load(arguments)
    rows = rows_of(table, arguments.upserts)
    rows = rows.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
    count = rows.num_rows
    doubled, lost, changed = (rows.slice(it, 1) for it in (count // 7, count // 2, count - 5))
    ids = rows["txn_id"].type
    gone = pa.array([it["txn_id"][0].as_py() for it in (lost, changed)], ids)
    kept = rows.filter(pc.invert(pc.is_in(rows["txn_id"], gone)))
    at = rows.column_names.index("amount_minor")
    field = rows.schema.field(at)
    amount = pa.array([changed["amount_minor"][0].as_py() + 1], field.type)
    altered = pa.concat_tables([kept, doubled, changed.set_column(at, field, amount)])
    table.overwrite(altered.cast(table.schema().as_arrow()))
    told = {"doubled": doubled, "lost": lost, "changed": changed}
    print(json.dumps({name: it.to_pylist()[0] for name, it in told.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
