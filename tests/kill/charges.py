#!/usr/bin/env python3
"""A server that charges cards: each POST is a line in a file, once for each Idempotency-Key.

    charges.py PORT FILE [--forgets]      with --forgets it does not honour keys

Now and then it charges and breaks the connection, or says 503 before it charges. It may be killed at any moment.
"""

import argparse
import os
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("file")
    parser.add_argument("--forgets", action="store_true")
    options = parser.parse_args()
    chance, lock, keys = random.Random(options.port), Lock(), set()
    if os.path.exists(options.file):
        with open(options.file, encoding="utf-8") as lines:
            whole = [line for line in lines if line.endswith("\n")]
        # A line that was being written when the server died was answered to nobody.
        with open(options.file, "w", encoding="utf-8") as lines:
            lines.writelines(whole)
        keys = {line.split("\t", 1)[0] for line in whole}
    charges = open(options.file, "a", encoding="utf-8")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self):
            key = self.headers["Idempotency-Key"]
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with lock:
                luck = chance.random()
                if luck < 0.02:
                    return self.answer(503)
                if options.forgets or key not in keys:
                    keys.add(key)
                    charges.write(f"{key}\t{body}\n")
                    charges.flush()
                    os.fsync(charges.fileno())
            if luck > 0.98 and not options.forgets:
                self.close_connection = True
                return self.connection.close()
            return self.answer(200)

    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
