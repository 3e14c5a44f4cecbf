#!/usr/bin/env python3
"""Writes a recording of payments: the same file for the same arguments, everywhere.

    ./generate.py --records 2000000 --out payments.jsonl

A merchant's payments are in one partition, in the order of their offsets. A duplicate repeats an earlier
payment's id, merchant and amount, as a producer does that sends again. Merchants' names and notes
are Unicode; amounts are mostly small, some beyond 2^40, some negative, some zero.
"""

import argparse
import json
import random
import sys
import zlib

FIRST_TIMESTAMP_MS = 1_760_000_000_000

# Duplicates come soon after their payment: out of the last so many of a partition.
DUPLICATES_OUT_OF = 4096

NAMES = ["मुंबई चाय", "Café Zoë", "東京堂", "Søndergård", "Plain Goods", "Кофейня", "Ñandú", "☕ & 🥐"]
NOTES = ["", "", "", "rücküberweisung", "注文 42", "\"quoted\" \\ back", "líne\nbreak", "😀"]

# S2 of the guarantees: without dedup m-A ends at 1800 and m-B at 4000; with it at 1800 and 2000.
S2 = [
    ("txn-1", "m-A", 1000),
    ("txn-2", "m-A", 500),
    ("txn-3", "m-B", 2000),
    ("txn-3", "m-B", 2000),
    ("txn-4", "m-A", 300),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--merchants", type=int, default=10_000)
    parser.add_argument("--duplicates", type=float, default=0.07, help="the fraction that comes again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s2", action="store_true", help="begin with the five payments of S2")
    parser.add_argument("--out", default="-", help="a file, or - for standard output")
    return parser.parse_args()


def merchant(number):
    """A merchant's id, and its name for the payment's text."""
    return f"m-{number}", NAMES[number % len(NAMES)]


def amount(draw):
    """An amount in minor units, from one draw of [0, 1)."""
    if draw < 0.90:
        return int(draw * 1_000_000) + 1
    if draw < 0.95:
        return -int((draw - 0.90) * 10_000_000)
    if draw < 0.97:
        return 0
    return (1 << 40) + int((draw - 0.97) * 1e14)


def quoted(text):
    """The text within JSON's quotes, for a value that is itself a text in a line of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def lines(options):
    """Every line of the recording."""
    rng = random.Random(options.seed)
    draw = rng.random
    merchants = []
    for number in range(options.merchants):
        merchant_id, name = merchant(number)
        partition = zlib.crc32(merchant_id.encode()) % options.partitions
        merchants.append((merchant_id, name, partition))
    notes = [quoted(note) for note in NOTES]
    offsets = [0] * options.partitions
    recent = [[] for _ in range(options.partitions)]

    def line(partition, timestamp, key, fields):
        # `fields` is the inside of the value; as a text in JSON its quotes and backslashes are escaped.
        value = fields.replace("\\", "\\\\").replace('"', '\\"')
        offset = offsets[partition]
        offsets[partition] = offset + 1
        return (
            f'{{"partition":{partition},"offset":{offset},"timestamp":{timestamp},'
            f'"key":"{key}","value":"{{{value}}}"}}\n'
        )

    if options.s2:
        for index, (txn_id, merchant_id, amount_minor) in enumerate(S2):
            timestamp = FIRST_TIMESTAMP_MS + index
            partition = zlib.crc32(merchant_id.encode()) % options.partitions
            yield line(
                partition,
                timestamp,
                merchant_id,
                f'"txn_id":"{txn_id}","merchant_id":"{merchant_id}",'
                f'"amount_minor":{amount_minor},"ts":{timestamp}',
            )

    for number in range(options.records):
        timestamp = FIRST_TIMESTAMP_MS + 1000 + number // 2
        merchant_id, name, partition = merchants[int(draw() * options.merchants)]
        sent = recent[partition]
        if sent and draw() < options.duplicates:
            # Sent again: the same payment, at another time.
            merchant_id, fields = sent[int(draw() * len(sent))]
        else:
            chosen = draw()
            fields = (
                f'"txn_id":"txn-{number:08x}-{int(draw() * 0x1000000):06x}",'
                f'"merchant_id":"{merchant_id}","amount_minor":{amount(chosen)},'
                f'"currency":"INR","merchant":"{name}","note":"{notes[int(chosen * 1000) % 8]}",'
                f'"ts":{timestamp}'
            )
            if len(sent) < DUPLICATES_OUT_OF:
                sent.append((merchant_id, fields))
            else:
                sent[number % DUPLICATES_OUT_OF] = (merchant_id, fields)
        yield line(partition, timestamp, merchant_id, fields)


def main():
    options = arguments()
    out = sys.stdout if options.out == "-" else open(options.out, "w", encoding="utf-8", newline="\n")
    with out:
        chunk = []
        for text in lines(options):
            chunk.append(text)
            if len(chunk) == 8192:
                out.write("".join(chunk))
                chunk.clear()
        out.write("".join(chunk))


if __name__ == "__main__":
    main()
