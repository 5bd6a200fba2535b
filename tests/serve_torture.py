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

import serve_case
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


TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {
    "type": "object", "properties": {"where": {"type": "string"}, "n": {"type": "integer", "minimum": 0}}, "required": ["where"]}}}
SEEDS = [
    ("/v1/chat/completions", {"model": "tiny", "max_tokens": 3, "messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "x"}], "tools": [TOOL], "tool_choice": "auto", "temperature": 0.5, "top_p": 0.9,
        "top_k": 5, "seed": 3, "stop": ["x"], "logit_bias": {"5": 1}, "logprobs": True, "top_logprobs": 2, "n": 2, "stream": True,
        "stream_options": {"include_usage": True}, "presence_penalty": 0.1, "reasoning_effort": "low"}),
    ("/v1/chat/completions", {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {
            "type": "object", "properties": {"a": {"enum": [1, "b", None]}, "c": {"$ref": "#/$defs/d"}}, "required": ["a"],
            "additionalProperties": False, "$defs": {"d": {"type": "array", "items": {"type": "string", "pattern": "^a+$"}, "maxItems": 2}}}}}}),
    ("/v1/completions", {"model": "tiny", "prompt": ["a", "b"], "max_tokens": 3, "echo": True, "logprobs": 2, "grammar": "root ::= [a-c]+"}),
    ("/v1/completions", {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 3, "guided_regex": "[0-9]{1,3}(a|b)*"}),
    ("/v1/embeddings", {"model": "tiny", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}),
    ("/v1/responses", {"model": "tiny", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "max_output_tokens": 3, "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}], "store": False,
        "text": {"format": {"type": "json_object"}}}),
    ("/v1/messages", {"model": "tiny", "max_tokens": 3, "system": [{"type": "text", "text": "s"}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "a", "content": "y"}]}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}, "stream": True,
        "thinking": {"type": "enabled", "budget_tokens": 2}}),
    ("/v1/messages/count_tokens", {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}),
    ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": 3, "temperature": 1},
        "format": {"type": "object"}, "stream": False, "keep_alive": "5m", "think": True}),
    ("/api/generate", {"model": "tiny", "prompt": "x", "system": "s", "options": {"num_predict": 2}, "stream": False, "raw": False}),
    ("/api/show", {"model": "tiny", "verbose": True}),
    ("/api/embed", {"model": "tiny", "input": ["x"], "truncate": True}),
    ("/tokenize", {"model": "tiny", "content": "x y", "add_special": True, "with_pieces": True}),
    ("/detokenize", {"model": "tiny", "tokens": [1, 2]}),
    ("/apply-template", {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}),
    ("/infill", {"model": "tiny", "input_prefix": "a", "input_suffix": "b", "n_predict": 2}),
    ("/rerank", {"model": "tiny", "query": "a", "documents": ["b", "c"], "top_n": 1}),
]
VALUES = [None, True, False, 0, -1, 1, 2 ** 31, -2 ** 63, 2 ** 64, 1e308, -0.0, 0.5, "", "x", "\u0000", "a" * 3000, "\ud83d\ude00", [], [[]],
          [None], {}, {"type": "x"}, {"": None}, [1, "a"], "tiny", "auto", "json_object", "*", "(((((", "root ::= root", "[a-", "{" * 200]


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from places(value[i], (*path, i))


def mutated(rng, body):
    body = json.loads(json.dumps(body))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        path = rng.choice(list(places(body)))
        if not path:
            continue
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        what = rng.random()
        if what < 0.15:
            del inner[path[-1]]
        elif what < 0.25 and isinstance(inner, list):
            inner.extend([json.loads(json.dumps(inner[path[-1]]))] * rng.choice((1, 50)))
        elif what < 0.35:
            for _ in range(rng.choice((3, 60, 200))):
                inner[path[-1]] = [inner[path[-1]]] if rng.random() < 0.5 else {"allOf": inner[path[-1]]}
        else:
            inner[path[-1]] = json.loads(json.dumps(rng.choice(VALUES)))
    text = bytearray(json.dumps(body).replace("1e+308", "1e999").encode())
    if rng.random() < 0.2:
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


class Requests(unittest.TestCase):
    """Requests changed at random: each is answered, none with "our own mistake", and the server goes on."""

    def test_changed_requests(self):
        seconds = float(os.environ.get("HOULE_FUZZ_SECONDS", "0")) or (60 if ALL else 4)
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            tiny_model.make(home / "models" / "tiny", context=256, template=serve_test.TEMPLATE)
            server = serve_test.Server(home, "--models", str(home / "models"), "--cache-disk", "0", "--no-log", "--deadline", "20")
            seed = random.randrange(1 << 30)
            counts = {}

            def work(number):
                rng = random.Random(seed + number)
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    path, body = rng.choice(SEEDS)
                    try:
                        text = mutated(rng, body)
                    except RecursionError: # Python's own limit
                        continue
                    try:
                        status, content, _ = server.raw("POST", path, text)
                    except (OSError, http.client.HTTPException) as e:
                        return f"{path} {text!r}: {e!r} (seed {seed})"
                    counts[status] = counts.get(status, 0) + 1
                    if status == 500 or status > 503:
                        return f"{path} {text!r}: {status} {content!r} (seed {seed})"
                return None

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                failures = [f for f in pool.map(work, range(4)) if f is not None]
            self.assertEqual(server.process.poll(), None, "\n".join(failures))
            self.assertEqual(failures, [])
            self.assertEqual(server.get("/health")[0], 200)
            server.stop()
            print(dict(sorted(counts.items())), file=sys.stderr)


if __name__ == "__main__":
    serve_case.HOULE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
