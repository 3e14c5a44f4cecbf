#!/usr/bin/env python3
"""Payments in Avro and Protobuf behind Confluent's header, and a registry that knows their schemas.

    typed.py encode avro input.jsonl          (a recording of JSON payments → the same in Avro, on stdout)
    typed.py serve --port 0 --user u:p [--changed]    (prints its port; ends when stdin does)

The first half of the payments is by one schema where that can hold them, the rest by its successor; behind them come two values that
nobody can decode. Encoded by the specifications, with no line of floe's.
"""

import argparse
import base64
import json
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AVRO = {
    1: {
        "type": "record", "name": "Payment", "namespace": "shop",
        "fields": [
            {"name": "txn_id", "type": "string"},
            {"name": "merchant_id", "type": "string"},
            {"name": "amount_minor", "type": "int"},
        ],
    },
    # The amount is wider, its place another; a map and a type from another subject are new.
    2: {
        "type": "record", "name": "Payment", "namespace": "shop",
        "fields": [
            {"name": "labels", "type": {"type": "map", "values": "double"}},
            {"name": "amount_minor", "type": ["null", "long"]},
            {"name": "address", "type": "shop.Address"},
            {"name": "merchant_id", "type": "string"},
            {"name": "txn_id", "type": "string"},
        ],
    },
}
ADDRESS = {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "zip", "type": "string"}]}
PROTOBUF = {
    11: 'syntax = "proto3"; package shop; message Other { string x = 1; } '
    "message Payment { string txn_id = 1; string merchant_id = 2; int32 amount_minor = 3; }",
    12: 'syntax = "proto3"; package shop; import "shop/address.proto"; /* wider */ message Payment { '
    "string txn_id = 1; string merchant_id = 2; int64 amount_minor = 3; Address address = 9; map<string, double> labels = 10; }",
}
ADDRESS_PROTO = 'syntax = "proto3"; package shop; message Address { string zip = 1; }'
REFERENCES = {
    "AVRO": {"name": "shop.Address", "subject": "address", "version": 1},
    "PROTOBUF": {"name": "shop/address.proto", "subject": "address-proto", "version": 1},
}


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value):
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def text(value):
    return zigzag(len(value.encode())) + value.encode()


def avro(payment, number):
    amount, merchant, txn = payment["amount_minor"], payment["merchant_id"], payment["txn_id"]
    if number == 1:
        return text(txn) + text(merchant) + zigzag(amount)
    # A block of a map whose size stands before it, then one whose size does not.
    entry = text("a") + struct.pack("<d", 0.5)
    labels = zigzag(-1) + zigzag(len(entry)) + entry + zigzag(1) + text("b") + struct.pack("<d", 1.5) + zigzag(0)
    return labels + zigzag(1) + zigzag(amount) + text("zip") + text(merchant) + text(txn)


def field(number, kind, content):
    return varint(number << 3 | kind) + content


def protobuf(payment, number):
    def of_text(number, value):
        return field(number, 2, varint(len(value.encode())) + value.encode())

    amount = payment["amount_minor"] & (1 << 64) - 1
    # A field that is zero is not written.
    out = of_text(1, payment["txn_id"]) + of_text(2, payment["merchant_id"])
    out += field(3, 0, varint(amount)) if amount else b""
    if number == 11:
        # Its message is the second one of the file.
        return zigzag(1) + zigzag(1) + out
    return zigzag(0) + field(9, 2, varint(5) + of_text(1, "zip")) + field(99, 1, b"12345678") + out


def encode(options):
    lines = open(options.input, encoding="utf-8").read().splitlines()
    ids = {"avro": (1, 2), "protobuf": (11, 12)}[options.format]
    write = {"avro": avro, "protobuf": protobuf}[options.format]

    def put(record, value):
        record["value"] = {"base64": base64.b64encode(value).decode()}
        print(json.dumps(record))

    for at, line in enumerate(lines):
        record = json.loads(line)
        payment = json.loads(record["value"])
        # What is too great for the first schema is why there is a second.
        number = ids[0] if at < len(lines) // 2 and abs(payment["amount_minor"]) < 1 << 31 else ids[1]
        put(record, b"\0" + struct.pack(">I", number) + write(payment, number))
    last = max(it["offset"] for it in map(json.loads, lines) if it["partition"] == 0)
    for more, value in enumerate([b"\0\0\0\0\x4d", b"no frame"]):
        put({**json.loads(lines[-1]), "partition": 0, "offset": last + 1 + more, "key": None}, value)


def serve(options):
    def answer(path):
        parts = path.strip("/").split("/")
        if parts[:2] == ["schemas", "ids"]:
            number = int(parts[2])
            kind = "AVRO" if number in AVRO else "PROTOBUF"
            found = json.dumps(AVRO[number]) if number in AVRO else PROTOBUF.get(number)
            if found is None:
                return 404, {"error_code": 40403, "message": "Schema not found"}
            if options.changed:
                found = found.replace("txn_id", "txn")
            told = {"schema": found}
            # Confluent's registry leaves the type out where it is Avro.
            if kind != "AVRO":
                told["schemaType"] = kind
            if number in (2, 12):
                told["references"] = [REFERENCES[kind]]
            return 200, told
        if parts[0] == "subjects" and parts[1] in ("address", "address-proto"):
            found = json.dumps(ADDRESS) if parts[1] == "address" else ADDRESS_PROTO
            return 200, {"subject": parts[1], "version": 1, "id": 3, "schema": found}
        if parts[0] == "subjects" and parts[1].endswith("-value"):
            status, told = answer(f"/schemas/ids/{options.newest}")
            return status, {**told, "subject": parts[1], "version": 2, "id": options.newest}
        return 404, {"error_code": 40401, "message": "Subject not found"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            given = self.headers.get("Authorization", "")
            basic = "Basic " + base64.b64encode(options.user.encode()).decode()
            wanted = f"Bearer {options.token}" if options.token else basic
            status, told = answer(self.path) if given == wanted else (401, {"error_code": 40101, "message": "who?"})
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{options.tls}/server.pem", f"{options.tls}/server.key")
        # Who has no certificate of ours is not answered.
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(f"{options.tls}/ca.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("encode")
    verb.add_argument("format", choices=["avro", "protobuf"])
    verb.add_argument("input")
    verb.set_defaults(act=encode)
    verb = verbs.add_parser("serve")
    verb.add_argument("--port", type=int, default=0)
    verb.add_argument("--user", default="")
    verb.add_argument("--token", help="a bearer token, in place of user and password")
    verb.add_argument("--tls", metavar="FOLDER", help="certificates of both sides")
    verb.add_argument("--newest", type=int, default=2)
    verb.add_argument("--changed", action="store_true")
    verb.set_defaults(act=serve)
    options = parser.parse_args()
    options.act(options)


main()
