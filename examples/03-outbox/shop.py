#!/usr/bin/env python3
"""An application with an outbox: each order and the word of it are written in one transaction.

    shop.py URI sell 500      500 orders more
    shop.py URI compare       rows of the table on stdin, JSON lines: is each outbox row there, once, as it is?
"""

import json
import random
import sys
from collections import Counter

import psycopg2

TABLES = """
create table if not exists orders (order_id bigint generated always as identity primary key, account text not null);
create table if not exists outbox (
    outbox_id bigint generated always as identity primary key,
    account text not null,
    amount_minor bigint not null,
    at timestamptz not null default clock_timestamp()
);
"""


def sell(database, count):
    with database, database.cursor() as cursor:
        cursor.execute(TABLES)
    for _ in range(count):
        account, amount = f"a-{random.randrange(20)}", random.randrange(1, 100_000)
        with database, database.cursor() as cursor:
            cursor.execute("insert into orders (account) values (%s)", (account,))
            cursor.execute("insert into outbox (account, amount_minor) values (%s, %s)", (account, amount))


def compare(database, lines):
    with database, database.cursor() as cursor:
        cursor.execute("select outbox_id, account, amount_minor from outbox")
        wanted = sorted(cursor.fetchall())
    rows = [json.loads(line) for line in lines]
    found = sorted((row["outbox_id"], row["account"], row["amount_minor"]) for row in rows)
    if found == wanted:
        print(f"{len(wanted)} outbox rows, each once in the table")
        return
    missing, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    for row in sorted(missing.elements())[:10]:
        print("missing in the table:", row)
    for row in sorted(extra.elements())[:10]:
        print("too many in the table:", row)
    sys.exit(f"{missing.total()} rows are missing, {extra.total()} are too many")


def main():
    uri, verb = sys.argv[1:3]
    database = psycopg2.connect(uri)
    if verb == "sell":
        sell(database, int(sys.argv[3]))
    elif verb == "compare":
        compare(database, sys.stdin)
    else:
        sys.exit(__doc__)


main()
