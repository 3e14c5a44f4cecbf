#!/usr/bin/env python3
"""What the table must hold after a recording: computed from the recording alone, without floe.

    ./oracle.py input.jsonl > expect.jsonl
    ./oracle.py input.jsonl --no-dedup --totals
    floe rows pipeline.toml --json | ./oracle.py input.jsonl --check -

Rows are in the order of partition and offset. Each partition counts for itself.
"""

import argparse
import json
import sys


def rows(lines, dedup):
    """The expected rows, in the order of the recording."""
    seen, totals = {}, {}
    for text in lines:
        record = json.loads(text)
        payment = json.loads(record["value"])
        partition = record["partition"]
        ids = seen.setdefault(partition, set())
        if dedup and payment["txn_id"] in ids:
            continue
        ids.add(payment["txn_id"])
        key = (partition, payment["merchant_id"])
        totals[key] = totals.get(key, 0) + payment["amount_minor"]
        yield {
            "txn_id": payment["txn_id"],
            "merchant_id": payment["merchant_id"],
            "amount_minor": payment["amount_minor"],
            "running_total": totals[key],
            "kafka_partition": partition,
            "kafka_offset": record["offset"],
        }


def place(row):
    return row["kafka_partition"], row["kafka_offset"]


def compare(expected, found):
    """Says what differs first; the exit code."""
    for number, (wanted, row) in enumerate(zip(expected, found)):
        if row != wanted:
            print(f"row {number + 1} differs\n  expected  {wanted}\n  found     {row}")
            return 1
    if len(found) != len(expected):
        print(f"expected {len(expected)} rows, found {len(found)}")
        return 1
    print(f"{len(found)} rows, all as expected")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording")
    parser.add_argument("--no-dedup", action="store_true", help="count a payment each time it comes")
    parser.add_argument("--totals", action="store_true", help="print each merchant's last total instead")
    parser.add_argument("--check", metavar="ROWS", help="compare with these rows, one JSON object a line")
    options = parser.parse_args()
    with open(options.recording, encoding="utf-8") as recording:
        expected = list(rows(recording, not options.no_dedup))
    expected.sort(key=place)
    if options.check:
        with sys.stdin if options.check == "-" else open(options.check, encoding="utf-8") as lines:
            found = sorted((json.loads(line) for line in lines), key=place)
        sys.exit(compare(expected, found))
    if options.totals:
        last = {(row["merchant_id"], row["kafka_partition"]): row["running_total"] for row in expected}
        for (merchant_id, _), total in sorted(last.items()):
            print(f"{merchant_id}\t{total}")
        return
    for row in expected:
        sys.stdout.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
