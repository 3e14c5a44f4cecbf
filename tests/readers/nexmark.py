#!/usr/bin/env python3
"""Compares the rows of Nexmark queries with DuckDB's answers over all events at once.

Nothing of floe is used: events are read from the recording, rows from what `floe rows --json` printed.
Windows that only the last events ("end") are in stay open, and hold no bids, persons or auctions.
Exit code 0 when equal, 1 when not, with the first differences.
"""

import argparse
import json
import sys

import duckdb

SIZE, SLIDE, GAP, DAY = 10_000, 2_000, 10_000, 86_400_000
COLUMNS = "partition, auction, bidder, price, count, start, \"end\""
TUMBLED = f"floor(ts / {SIZE})::BIGINT * {SIZE}"
OF_DAY = f"floor(ts / {DAY})::BIGINT * {DAY}"
# Where a query says other columns than these.
OWN_COLUMNS = {
    "q4": "category, window_start, window_end, count, sum, average",
    "q14": f"{COLUMNS}, text",
    "q3": f"{COLUMNS}, text",
    "q17": f"{COLUMNS}, min, max, sum, small, middle, large",
}

QUERIES = {
    "q0": "SELECT partition, auction, bidder, price, NULL, ts, ts FROM bids",
    "q1": "SELECT partition, auction, bidder, price * 908 // 1000, NULL, ts, ts FROM bids",
    "q2": "SELECT partition, auction, bidder, price, NULL, ts, ts FROM bids WHERE auction % 23 = 0",
    "q3": """
        SELECT a.partition, a.auction, a.seller, NULL, NULL, a.ts, a.ts, p.state FROM events a JOIN events p ON a.seller = p.person
        WHERE a.kind = 'auction' AND a.category = 10 AND p.kind = 'person' AND p.state IN ('OR', 'ID', 'CA')""",
    "q4": f"""
        WITH won AS (SELECT a.auction, a.category, a.expires, max(b.price) AS price FROM events a JOIN bids b USING (auction)
                     WHERE a.kind = 'auction' AND b.ts BETWEEN a.ts AND a.expires GROUP BY ALL)
        SELECT category, floor(expires / {DAY})::BIGINT * {DAY} AS day, day + {DAY}, count(*), sum(price)::BIGINT, avg(price)
        FROM won GROUP BY ALL""",
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
    "q14": """
        SELECT partition, auction, bidder, price * 908 // 1000 AS p, length(extra) - length(replace(extra, 'c', '')), ts, ts,
               CASE WHEN hour(moment) BETWEEN 8 AND 18 THEN 'dayTime' WHEN hour(moment) <= 6 OR hour(moment) >= 20 THEN 'nightTime' ELSE 'otherTime' END
        FROM (SELECT *, epoch_ms(ts) AS moment FROM bids) WHERE p > 1000000 AND p < 50000000""",
    "q17": f"""
        SELECT 0, auction, NULL, sum(price)::BIGINT // count(*), count(*), {OF_DAY}, {OF_DAY} + {DAY}, min(price), max(price), sum(price)::BIGINT,
               count(*) FILTER (price < 10000), count(*) FILTER (price >= 10000 AND price < 1000000), count(*) FILTER (price >= 1000000)
        FROM bids GROUP BY auction, {OF_DAY}""",
    "q18": f"""
        SELECT 0, auction, bidder, price, NULL, ts, ts FROM bids
        QUALIFY row_number() OVER (PARTITION BY auction, bidder, {OF_DAY} ORDER BY ts DESC, price DESC) = 1""",
    "q19": f"""
        SELECT 0, auction, bidder, price, row_number() OVER w AS rank, ts, ts FROM bids
        WINDOW w AS (PARTITION BY auction, {OF_DAY} ORDER BY price DESC, ts, bidder) QUALIFY rank <= 10""",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", help="the recording (.jsonl)")
    parser.add_argument("rows", nargs="+", help="QUERY=FILE each: what `floe rows --json` printed")
    arguments = parser.parse_args()
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE events (partition INT, kind VARCHAR, ts BIGINT, auction BIGINT, bidder BIGINT, price BIGINT, person BIGINT, seller BIGINT, state VARCHAR, category BIGINT, expires BIGINT, extra VARCHAR)"
    )
    with open(arguments.events, encoding="utf-8") as lines:
        records = [json.loads(it) for it in lines]
    fields = ("kind", "ts", "auction", "bidder", "price", "person", "seller", "state", "category", "expires", "extra")
    values = [(it["partition"], json.loads(it["value"])) for it in records]
    insert(connection, "events", [(partition, *(value.get(it) for it in fields)) for partition, value in values])
    connection.execute("CREATE VIEW bids AS SELECT * FROM events WHERE kind = 'bid'")
    equal = [is_equal(connection, *it.split("=", 1)) for it in arguments.rows]
    return 0 if all(equal) else 1


def is_equal(connection, query: str, file: str) -> bool:
    said = OWN_COLUMNS.get(query, COLUMNS)
    connection.execute(f"CREATE OR REPLACE TABLE wanted AS SELECT * FROM ({QUERIES[query]}) AS it({said})")
    connection.execute("CREATE OR REPLACE TABLE found AS SELECT * FROM wanted LIMIT 0")
    with open(file, encoding="utf-8") as lines:
        rows = [json.loads(it) for it in lines]
    insert(connection, "found", [tuple(moment(row.get(it)) for it in names(said)) for row in rows])
    (count,) = connection.execute("SELECT count(*) FROM wanted").fetchone()
    wrong = 0
    for what, one, other in (("missing", "wanted", "found"), ("too many", "found", "wanted")):
        found = connection.execute(f"SELECT * FROM (FROM {one} EXCEPT ALL FROM {other}) ORDER BY ALL").fetchall()
        wrong += len(found)
        if found:
            print(f"DIFFERS  {query}: {len(found)} rows are {what}", *found[:5], sep="\n  ")
    print(f"{query}: {count} rows by DuckDB, {len(rows)} by floe, {wrong} differ")
    return wrong == 0 and count > 0


def names(columns: str) -> list[str]:
    return [it.strip().strip('"') for it in columns.split(",")]


def moment(value):
    """A time as floe prints it, as ms since 1970; anything else as it is."""
    if isinstance(value, str) and value[:2].isdigit():
        from datetime import datetime, timezone

        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return round(time.timestamp() * 1000)
    return value


def insert(connection, table: str, rows: list[tuple]) -> None:
    import pyarrow as pa

    if rows:
        types = {"VARCHAR": pa.string(), "DOUBLE": pa.float64()}
        described = connection.execute(f"DESCRIBE {table}").fetchall()
        columns = {it[0]: pa.array(column, types.get(it[1], pa.int64())) for it, column in zip(described, zip(*rows))}
        connection.register("inserted", pa.table(columns))
        connection.execute(f"INSERT INTO {table} SELECT * FROM inserted")
        connection.unregister("inserted")


if __name__ == "__main__":
    sys.exit(main())
