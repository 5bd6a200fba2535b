#!/usr/bin/env python3
"""houle serve ill-treated: killed at random moments under load, flooded, fed slowly, cut off.

    serve_torture.py HOULE

What must hold afterwards: it starts again, says what it said before (nothing damaged is taken from its cache), and answers
others all the while. HOULE_TEST_ALL=1: fifty kills and ten thousand connections instead of a few.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import unittest

import serve_test
import tiny_model

ALL = os.environ.get("HOULE_TEST_ALL") == "1"
FEW = os.environ.get("HOULE_TEST_FEW") == "1"
TEXTS = ["The tide comes in twice a day because " * 12, "Of all the boats in the harbour, " * 20, "0 1 2 3 4 5 6 7 8 9 " * 25]


def conversation(number):
    return {"model": "tiny", "max_tokens": 12, "temperature": 0, "seed": 1,
            "messages": [{"role": "user", "content": TEXTS[number % len(TEXTS)] + str(number % 5)}]}


class Kills(unittest.TestCase):
    def test_killed_at_random_moments(self):
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            tiny_model.make(home / "models" / "tiny", context=2048, template=serve_test.TEMPLATE)
            config = home / "config.json" # the cache is small, so that much is written to disk and read back
            config.write_text(json.dumps({"models": {"tiny": {"path": "models/tiny", "context": 1024, "sequences": 4, "cache_tokens": 1024}}}))
            options = ["--config", str(config), "--cache-dir", str(home / "prefixes")]
            server = serve_test.Server(home, *options)
            wanted = {}
            for i in range(15):
                status, answer = server.post("/v1/chat/completions", conversation(i))
                self.assertEqual(status, 200, answer)
                wanted[i] = answer["choices"][0]["message"]["content"]
            server.stop()
            seed = random.randrange(1 << 30)
            rng = random.Random(seed)
            hits = 0
            for turn in range(50 if ALL else 3 if FEW else 8):
                server = serve_test.Server(home, *options)
                stop = threading.Event()
                wrong = []

                def ask(number):
                    while not stop.is_set():
                        try:
                            status, answer = server.post("/v1/chat/completions", conversation(number))
                        except (OSError, http.client.HTTPException, ValueError):
                            return # killed
                        said = answer["choices"][0]["message"]["content"] if status == 200 else answer
                        if said != wanted[number % 15]:
                            wrong.append((number, said))
                        number += 1

                threads = [threading.Thread(target=ask, args=(rng.randrange(15),)) for _ in range(4)]
                for t in threads:
                    t.start()
                time.sleep(rng.random() * 0.7)
                try:
                    hits += server.metric("houle_prefix_cache_hits_total")
                except (OSError, http.client.HTTPException):
                    pass
                server.process.send_signal(signal.SIGKILL)
                stop.set()
                for t in threads:
                    t.join()
                server.stop(expect=-signal.SIGKILL)
                self.assertEqual(wrong, [], f"seed {seed}, kill {turn}")
            server = serve_test.Server(home, *options)
            for i in range(15):
                status, answer = server.post("/v1/chat/completions", conversation(i))
                self.assertEqual((status, answer["choices"][0]["message"]["content"]), (200, wanted[i]), f"seed {seed}")
            server.stop()


class Floods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        home = pathlib.Path(cls.folder.name)
        tiny_model.make(home / "models" / "tiny", context=2048, template=serve_test.TEMPLATE)
        cls.server = serve_test.Server(home, "--models", str(home / "models"), "--cache-disk", "0", "--idle", "3", "--no-log")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def connect(self):
        return socket.create_connection((self.server.host, self.server.port), timeout=20)

    def answers(self):
        status, answer = self.server.post("/v1/chat/completions", conversation(0))
        self.assertEqual(status, 200, answer)

    def resident(self):
        for line in pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def test_slow_senders_are_sent_away_and_harm_nobody(self):
        slow = [self.connect() for _ in range(60)]
        for s in slow:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 2:
            for s in slow:
                try:
                    s.sendall(b"X")
                except OSError:
                    pass
            self.answers()
            time.sleep(0.3)
        until = time.monotonic() + 30
        for s in slow: # nothing more is sent: the server ends it
            s.settimeout(max(until - time.monotonic(), 0.1))
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
            s.close()
        self.answers()

    def test_half_closed(self):
        body = json.dumps(conversation(1)).encode()
        with self.connect() as s: # taken for somebody who has left
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            s.shutdown(socket.SHUT_WR)
            got = b""
            try:
                while piece := s.recv(65536):
                    got += piece
            except ConnectionError:
                pass
        self.assertTrue(got == b"" or got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), got[:100])
        with self.connect() as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(65536):
                    pass
            except ConnectionError:
                pass
        self.answers()

    def test_bodies_cut_anywhere(self):
        body = json.dumps({**conversation(2), "stream": True, "max_tokens": 3}).encode()
        whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for cut in range(0, len(whole), 1 if ALL else 17):
            with self.connect() as s:
                s.sendall(whole[:cut])
        for start in range(0, len(body), 1 if ALL else 23): # a body that ends too early, as it says itself
            status, _, _ = self.server.raw("POST", "/v1/chat/completions", body[:start])
            self.assertEqual(status, 400)
        self.answers()

    def test_many_short_connections(self):
        count = 10000 if ALL else 500
        self.answers()
        before = self.resident()

        def one(number):
            try:
                with self.connect() as s:
                    if number % 3 == 0:
                        return 1
                    s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if number % 3 == 1:
                        return 1
                    return 1 if s.recv(100).startswith(b"HTTP/1.1 200") else 0
            except OSError:
                return 0

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            good = sum(pool.map(one, range(count)))
        self.assertGreater(good, count * 0.9)
        self.answers()
        self.assertLess(self.resident() - before, 64 << 20)


if __name__ == "__main__":
    serve_test.HOULE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
