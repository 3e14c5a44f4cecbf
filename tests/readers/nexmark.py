#!/usr/bin/env python3
"""Compares the rows of a Nexmark query with DuckDB's answer over all events at once.

Nothing of floe is used: events are read from the recording, rows from what `floe rows --json` printed.
Windows that only the last events ("end") are in stay open, and hold no bids, persons or auctions.
Exit code 0 when equal, 1 when not, with the first differences.
"""

import argparse
import json
import sys

import duckdb

SIZE, SLIDE, GAP = 10_000, 2_000, 10_000
COLUMNS = "partition, auction, bidder, price, count, start, \"end\""
TUMBLED = f"floor(ts / {SIZE})::BIGINT * {SIZE}"

QUERIES = {
    "q0": "SELECT partition, auction, bidder, price, NULL, ts, ts FROM bids",
    "q1": "SELECT partition, auction, bidder, price * 908 // 1000, NULL, ts, ts FROM bids",
    "q2": "SELECT partition, auction, bidder, price, NULL, ts, ts FROM bids WHERE auction % 23 = 0",
    "q5": f"""
        WITH slid AS (SELECT partition, auction, unnest(generate_series(ts - ts % {SLIDE} - {SIZE} + {SLIDE}, ts, {SLIDE})) AS start FROM bids),
        counted AS (SELECT partition, start, auction, count(*) AS n FROM slid GROUP BY ALL)
        SELECT partition, auction, NULL, NULL, n, start, start + {SIZE} FROM counted
        QUALIFY n = max(n) OVER (PARTITION BY partition, start)""",
    "q7": f"""
        SELECT partition, auction, bidder, price, NULL, {TUMBLED}, {TUMBLED} + {SIZE} FROM bids
        QUALIFY price = max(price) OVER (PARTITION BY partition, {TUMBLED})""",
    "q8": f"""
        WITH came AS (SELECT DISTINCT partition, person, {TUMBLED} AS start FROM events WHERE kind = 'person'),
        opened AS (SELECT partition, seller, {TUMBLED} AS start, count(*) AS n FROM events WHERE kind = 'auction' GROUP BY ALL)
        SELECT partition, NULL, person, NULL, n, start, start + {SIZE} FROM came
        JOIN opened USING (partition, start) WHERE seller = person""",
    "q11": f"""
        WITH marked AS (SELECT partition, bidder, ts, coalesce(ts - lag(ts) OVER w >= {GAP}, true) AS first FROM bids
                        WINDOW w AS (PARTITION BY partition, bidder ORDER BY ts)),
        numbered AS (SELECT *, sum(first::INT) OVER (PARTITION BY partition, bidder ORDER BY ts) AS session FROM marked)
        SELECT partition, NULL, bidder, NULL, count(*), min(ts), max(ts) + {GAP} FROM numbered
        GROUP BY partition, bidder, session""",
    "q12": f"""
        SELECT partition, NULL, bidder, NULL, count(*), {TUMBLED}, {TUMBLED} + {SIZE} FROM bids
        GROUP BY partition, bidder, {TUMBLED}""",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("query", choices=QUERIES)
    parser.add_argument("events", help="the recording (.jsonl)")
    parser.add_argument("rows", help="what `floe rows --json` printed")
    arguments = parser.parse_args()
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE events (partition INT, kind VARCHAR, ts BIGINT, auction BIGINT, bidder BIGINT, price BIGINT, person BIGINT, seller BIGINT)"
    )
    with open(arguments.events, encoding="utf-8") as lines:
        records = [json.loads(it) for it in lines]
    fields = ("kind", "ts", "auction", "bidder", "price", "person", "seller")
    values = [(it["partition"], json.loads(it["value"])) for it in records]
    insert(connection, "events", [(partition, *(value.get(it) for it in fields)) for partition, value in values])
    connection.execute("CREATE VIEW bids AS SELECT * FROM events WHERE kind = 'bid'")
    connection.execute(f"CREATE TABLE wanted AS SELECT * FROM ({QUERIES[arguments.query]}) AS it({COLUMNS})")
    connection.execute("CREATE TABLE found AS SELECT * FROM wanted LIMIT 0")
    with open(arguments.rows, encoding="utf-8") as lines:
        rows = [json.loads(it) for it in lines]
    insert(connection, "found", [tuple(moment(row.get(it)) for it in names()) for row in rows])
    (count,) = connection.execute("SELECT count(*) FROM wanted").fetchone()
    wrong = 0
    for what, one, other in (("missing", "wanted", "found"), ("too many", "found", "wanted")):
        found = connection.execute(f"SELECT * FROM (FROM {one} EXCEPT ALL FROM {other}) ORDER BY ALL").fetchall()
        wrong += len(found)
        if found:
            print(f"DIFFERS  {arguments.query}: {len(found)} rows are {what}", *found[:5], sep="\n  ")
    print(f"{arguments.query}: {count} rows by DuckDB, {len(rows)} by floe, {wrong} differ")
    return 0 if wrong == 0 and count > 0 else 1


def names() -> list[str]:
    return [it.strip().strip('"') for it in COLUMNS.split(",")]


def moment(value):
    """A time as floe prints it, as ms since 1970; anything else as it is."""
    if isinstance(value, str):
        from datetime import datetime, timezone

        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return round(time.timestamp() * 1000)
    return value


def insert(connection, table: str, rows: list[tuple]) -> None:
    import pyarrow as pa

    if rows:
        names = [it[0] for it in connection.execute(f"DESCRIBE {table}").fetchall()]
        columns = {name: pa.array(column, pa.string() if name == "kind" else pa.int64()) for name, column in zip(names, zip(*rows))}
        connection.register("inserted", pa.table(columns))
        connection.execute(f"INSERT INTO {table} SELECT * FROM inserted")
        connection.unregister("inserted")


if __name__ == "__main__":
    sys.exit(main())
