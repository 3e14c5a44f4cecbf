#!/usr/bin/env python3
"""Compares a payments table whose totals are by merchant over all partitions with the input.

Which partition's record came first is nobody's promise, but each total must follow from another: the rows of
a merchant are one chain of running totals, from nothing to the sum. Every snapshot must be a consistent cut:
exactly the payments before the positions in its summary, each once, whatever partition they came from; but for
those that it says were in flight, of which none may be missing at the end.
Exit code 0 when equal, 1 when not.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict

import catalog

SNAPSHOTS_MAX = 25


def payments(path: str) -> dict[tuple[int, int], tuple[str, int]]:
    """The place of each payment's first coming, its merchant and its amount."""
    found, seen = {}, set()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            value = json.loads(record["value"])
            if value["txn_id"] not in seen:
                seen.add(value["txn_id"])
                found[record["partition"], record["offset"]] = (value["merchant_id"], value["amount_minor"])
    return found


def positions(snapshot) -> dict[int, int]:
    of = [it.rsplit(":", 1) for it in snapshot.summary["floe.positions"].split(",")]
    return {int(task.rsplit("/", 1)[1]): int(offset) for task, offset in of}


def in_flight(snapshot) -> int:
    """Rows of payments before the positions that are in the table with the next epoch."""
    return int(snapshot.summary["floe.in-flight-rows"] or 0)


def problems(
    rows: list[dict], wanted: dict[tuple[int, int], tuple[str, int]], in_flight_rows: int
) -> list[str]:
    wrong = []
    places = Counter((it["kafka_partition"], it["kafka_offset"]) for it in rows)
    wrong += [f"{place} is there {count} times" for place, count in places.items() if count > 1]
    missing = wanted.keys() - places.keys()
    if len(missing) > in_flight_rows:
        wrong += [f"{place} is missing" for place in missing]
    wrong += [f"{place} is not before the position" for place in places.keys() - wanted.keys()]
    before, behind = defaultdict(Counter), defaultdict(Counter)
    sums: Counter = Counter()
    for it in rows:
        merchant, amount, total = it["merchant_id"], it["amount_minor"], it["running_total"]
        if wanted.get((it["kafka_partition"], it["kafka_offset"]), (merchant, amount)) != (merchant, amount):
            wrong.append(f"{it} is another payment")
        before[merchant][total - amount] += 1
        behind[merchant][total] += 1
        sums[merchant] += amount
    for merchant, total in sums.items():
        before[merchant][total] += 1
        behind[merchant][0] += 1
        if before[merchant] != behind[merchant]:
            wrong.append(f"the totals of {merchant} are no chain from 0 to {total}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    catalog.add_arguments(parser)
    parser.add_argument("input", help="the recording")
    arguments = parser.parse_args()
    table = catalog.load(arguments)
    every = payments(arguments.input)
    snapshots = sorted(table.metadata.snapshots, key=lambda it: it.sequence_number or 0)
    snapshots = [it for it in snapshots if "floe.positions" in it.summary.additional_properties]
    step = max(1, len(snapshots) // SNAPSHOTS_MAX)
    looked = snapshots[-1::-step][::-1]
    bad = 0
    for snapshot in looked:
        cut = positions(snapshot)
        wanted = {it: what for it, what in every.items() if it[1] < cut.get(it[0], 0)}
        if snapshot is looked[-1]:
            wanted = every
        rows = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist()
        found = problems(rows, wanted, in_flight(snapshot))
        if found:
            bad += 1
            print(f"DIFFERS  snapshot {snapshot.snapshot_id}: {len(found)} problems")
            print("\n".join(f"           {it}" for it in found[:10]))
    print(json.dumps({"snapshots": len(snapshots), "looked": len(looked), "rows": len(every), "bad": bad}))
    return 1 if bad or not looked else 0


if __name__ == "__main__":
    sys.exit(main())
