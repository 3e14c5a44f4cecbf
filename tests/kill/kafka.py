#!/usr/bin/env python3
"""The tests' hands in Kafka: makes topics, produces recordings at a pace, and meddles with consumer groups.

    kafka.py BOOTSTRAP TOPIC create --partitions 4
    kafka.py BOOTSTRAP TOPIC grow --partitions 8
    kafka.py BOOTSTRAP TOPIC produce --input input.jsonl --rate 10000     (stdin: how many it may, "endlessly" or
                                                                           "stop"; its end: all, at once; prints how many)
    kafka.py BOOTSTRAP TOPIC reset-group --group payments --offset 3
    kafka.py BOOTSTRAP TOPIC group --group payments                       (prints its offsets)
    kafka.py BOOTSTRAP TOPIC delete-records                               (all that is there, as retention does)
    kafka.py BOOTSTRAP TOPIC consume                                      (prints the committed records' values)
"""

import argparse
import base64
import json
import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic


def create(options):
    admin = AdminClient({"bootstrap.servers": options.bootstrap})
    # The payments are of another year: a broker that looks at their time would delete them after some minutes.
    topic = NewTopic(
        options.topic,
        num_partitions=options.partitions,
        replication_factor=1,
        config={"retention.ms": "-1"},
    )
    for made in admin.create_topics([topic]).values():
        made.result(30)
    deadline = time.monotonic() + 30
    while True:
        found = admin.list_topics(options.topic, timeout=30).topics[options.topic]
        if found.error is None and len(found.partitions) == options.partitions:
            return
        if time.monotonic() > deadline:
            sys.exit(f"topic {options.topic} does not appear")
        time.sleep(0.05)


def grow(options):
    admin = AdminClient({"bootstrap.servers": options.bootstrap})
    for done in admin.create_partitions([NewPartitions(options.topic, options.partitions)]).values():
        done.result(30)
    deadline = time.monotonic() + 30
    while len(admin.list_topics(options.topic, timeout=30).topics[options.topic].partitions) != options.partitions:
        if time.monotonic() > deadline:
            sys.exit(f"topic {options.topic} does not grow")
        time.sleep(0.05)


def content(value):
    """A key or a value as a recording has it: text, null, or base64."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return value


# So many are handed out by a feed that is stopped at once, too.
RECORDS_MIN = 400


def produce(options):
    # A number, or one of the words.
    said = [0]

    def listen():
        for line in sys.stdin:
            said[0] = int(line) if line.strip().isdigit() else line.strip()
        if said[0] != "stop":
            said[0] = "all"

    threading.Thread(target=listen, daemon=True).start()
    per_tick = max(1, int(options.rate / 100))

    def ticks_before(number):
        """So many hundredths of a second pass before this record, by what was said last."""
        order = said[0]
        if order in ("all", "stop"):
            return 0
        if order == "endlessly" and number >= options.slowly_from:
            return options.slowly_ms / 10
        if order != "endlessly" and number >= order:
            return float("inf")
        return 1 if number % per_tick == 0 else 0

    done = 0
    failed = []
    producer = Producer(
        {
            "bootstrap.servers": options.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            # A broker that is away for a while is part of some tests; what is not delivered is said below.
            "log_level": 2,
            "message.max.bytes": 64 << 20,
            "queue.buffering.max.kbytes": 1 << 18,
            "queue.buffering.max.messages": 1_000_000,
            # Where a record names no partition, librdkafka's own default.
            "partitioner": options.partitioner or "consistent_random",
        }
    )
    with open(options.input, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            ticks = 0
            while ticks < ticks_before(number):
                producer.poll(0)
                time.sleep(0.01)
                ticks += 1
            if said[0] == "stop" and number >= RECORDS_MIN:
                break
            while True:
                try:
                    producer.produce(
                        record.get("topic", options.topic),
                        key=content(record.get("key")),
                        value=content(record.get("value")),
                        **({} if options.partitioner else {"partition": record["partition"]}),
                        timestamp=record.get("timestamp", 0),
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
            done = number + 1
            if number % 1024 == 0:
                producer.poll(0)
    left = producer.flush(120)
    if left or failed:
        sys.exit(f"{left} records are not delivered, {len(failed)} failed: {failed[:1]}")
    print(done)


def group_partitions(options, offset=None):
    admin = AdminClient({"bootstrap.servers": options.bootstrap})
    partitions = admin.list_topics(options.topic, timeout=30).topics[options.topic].partitions
    wanted = []
    for number in partitions:
        place = TopicPartition(options.topic, number)
        if offset is not None:
            place.offset = offset
        wanted.append(place)
    return admin, ConsumerGroupTopicPartitions(options.group, wanted)


def reset_group(options):
    admin, wanted = group_partitions(options, options.offset)
    for done in admin.alter_consumer_group_offsets([wanted]).values():
        for place in done.result(30).topic_partitions:
            if place.error:
                sys.exit(f"{place.topic}/{place.partition}: {place.error}")


def group(options):
    admin, wanted = group_partitions(options)
    for done in admin.list_consumer_group_offsets([wanted]).values():
        for place in done.result(30).topic_partitions:
            print(place.partition, place.offset)


def delete_records(options):
    admin = AdminClient({"bootstrap.servers": options.bootstrap})
    partitions = admin.list_topics(options.topic, timeout=30).topics[options.topic].partitions
    # -1 is the end of the partition.
    ends = [TopicPartition(options.topic, number, -1) for number in partitions]
    for deleted in admin.delete_records(ends).values():
        deleted.result(30)


def consume(options):
    """What a reader of committed transactions sees, a line each: key, tab, value. No order between partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": "witness",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(options.topic, timeout=30).topics[options.topic].partitions
    consumer.assign([TopicPartition(options.topic, number, 0) for number in partitions])
    open_partitions = set(partitions)
    while open_partitions:
        for record in consumer.consume(10_000, timeout=1):
            if record.error() is None:
                key = (record.key() or b"").decode()
                print(key, record.value().decode(), sep="\t")
            elif record.error().code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(record.partition())
            else:
                sys.exit(str(record.error()))
    consumer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("create")
    verb.add_argument("--partitions", type=int, default=4)
    verb.set_defaults(act=create)
    verb = verbs.add_parser("grow")
    verb.add_argument("--partitions", type=int, required=True)
    verb.set_defaults(act=grow)
    verb = verbs.add_parser("produce")
    verb.add_argument("--input", required=True)
    verb.add_argument("--rate", type=float, default=1e9)
    verb.add_argument("--partitioner", help="chooses the partitions in place of the recording: murmur2_random, …")
    verb.add_argument("--slowly-from", type=int, default=0, help="said endlessly, records come slowly from this one on")
    verb.add_argument("--slowly-ms", type=int, default=50)
    verb.set_defaults(act=produce)
    verb = verbs.add_parser("reset-group")
    verb.add_argument("--group", required=True)
    verb.add_argument("--offset", type=int, required=True)
    verb.set_defaults(act=reset_group)
    verb = verbs.add_parser("group")
    verb.add_argument("--group", required=True)
    verb.set_defaults(act=group)
    verbs.add_parser("delete-records").set_defaults(act=delete_records)
    verb = verbs.add_parser("consume")
    verb.set_defaults(act=consume)
    options = parser.parse_args()
    options.act(options)


if __name__ == "__main__":
    main()
