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
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import mutate
import serve_case
import serve_test
import tiny_model
from serve_case import HI

ALL = os.environ.get("HOULE_TEST_ALL") == "1"
FEW = os.environ.get("HOULE_TEST_FEW") == "1"
TEXTS = ["The tide comes in twice a day because " * 12, "Of all the boats in the harbour, " * 20, "0 1 2 3 4 5 6 7 8 9 " * 25]


def conversation(number):
    return {"model": "tiny", "max_tokens": 12, "temperature": 0, "seed": 1,
            "messages": [{"role": "user", "content": TEXTS[number % len(TEXTS)] + str(number % 5)}]}


class Kills(unittest.TestCase):
    """After each kill: nothing damaged is said, every answer that a client got is still stored, every key that was given out is good."""

    def make_key(self, name, after=None):
        """A key, as the command prints it; None when it was killed first (`after` so many seconds)."""
        made = subprocess.Popen([serve_case.HOULE, "serve", "--keys", str(self.file), "--make-key", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if after is not None:
            time.sleep(after)
            made.kill()
        text = made.communicate(timeout=60)[0].decode()
        if text.endswith("\n"): # what was printed was promised
            self.keys.append(text.strip())
        return text.strip() or None

    def post(self, path, body):
        return self.server.post(path, body, Authorization="Bearer " + self.keys[0])

    def load(self, number, stop):
        while not stop.is_set():
            number += 1
            try:
                if number % 3 == 0:
                    status, answer = self.post("/v1/responses", {"model": "tiny", "input": f"What is tide {number}?", "max_output_tokens": 8})
                    if status == 200:
                        self.stored[answer["id"]] = answer
                    continue
                status, answer = self.post("/v1/chat/completions", conversation(number))
            except (OSError, http.client.HTTPException, ValueError):
                return # killed
            said = answer["choices"][0]["message"]["content"] if status == 200 else answer
            if said != self.wanted[number % 15]:
                self.wrong.append((number, said))

    def check(self, why):
        """All that was promised, by the server that was just started (which takes no file of keys that others can read)."""
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600, why)
        for key in self.keys:
            self.assertEqual(self.server.get("/v1/models", Authorization="Bearer " + key)[0], 200, why)
        for name, answer in self.stored.items():
            self.assertEqual(self.server.get("/v1/responses/" + name, Authorization="Bearer " + self.keys[0]), (200, answer), why)

    def test_killed_at_random_moments(self):
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            tiny_model.make(home / "models" / "tiny", context=2048, template=serve_test.TEMPLATE)
            config, self.file = home / "config.json", home / "keys.json"
            # the cache is small, so that much is written to disk and read back
            config.write_text(json.dumps({"models": {"tiny": {"path": "models/tiny", "context": 1024, "sequences": 4, "cache_tokens": 1024}}}))
            options = ["--config", str(config), "--cache-dir", str(home / "prefixes"), "--keys", str(self.file)]
            self.keys, self.stored, self.wanted, self.wrong = [], {}, {}, []
            self.assertIsNotNone(self.make_key("first"))
            self.server = serve_test.Server(home, *options)
            for i in range(15):
                status, answer = self.post("/v1/chat/completions", conversation(i))
                self.assertEqual(status, 200, answer)
                self.wanted[i] = answer["choices"][0]["message"]["content"]
            self.server.stop()
            seed = random.randrange(1 << 30)
            rng = random.Random(seed)
            turns = 50 if ALL else 3 if FEW else 8
            for turn in range(turns):
                why = f"seed {seed}, kill {turn}"
                self.server = serve_test.Server(home, *options)
                self.check(why)
                stop = threading.Event()
                threads = [threading.Thread(target=self.load, args=(rng.randrange(15), stop)) for _ in range(4)]
                threads.append(threading.Thread(target=self.make_key, args=(f"key{turn}", rng.choice((None, rng.random() * 0.05)))))
                for t in threads:
                    t.start()
                time.sleep(rng.random() * 0.7)
                self.server.process.send_signal(signal.SIGKILL)
                stop.set()
                for t in threads:
                    t.join()
                self.server.stop(expect=-signal.SIGKILL)
                self.assertEqual(self.wrong, [], why)
            self.server = serve_test.Server(home, *options)
            self.check(f"seed {seed}, in the end")
            for i in range(15):
                status, answer = self.post("/v1/chat/completions", conversation(i))
                self.assertEqual((status, answer["choices"][0]["message"]["content"]), (200, self.wanted[i]), f"seed {seed}")
            self.server.stop()
            print(f"{turns} kills: {len(self.stored)} stored answers and {len(self.keys)} keys are there", file=sys.stderr)


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
        until = time.monotonic() + 3
        while True: # the last of them are being closed: for a moment, this address may have as many as it is allowed
            try:
                self.answers()
                break
            except ConnectionResetError:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
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


def as_schema(rng):
    schema = rng.choice(mutate.SCHEMAS)
    parts = [part for one in mutate.SCHEMAS for part in one.values()]
    keys = mutate.SCHEMA_KEYS
    schema = mutate.tree(rng, schema, mutate.VALUES + parts + mutate.SCHEMAS + [{"$ref": "#"}, {"$ref": "#/$defs/n"}, "^a{2,9}$", "date-time", "array"], keys)
    if isinstance(schema, dict) and rng.random() < 0.3:
        schema[rng.choice(keys)] = mutate.copy(rng.choice(mutate.SCHEMAS))
    tool = {"name": "look", "parameters": schema, "strict": True}
    return rng.choice((
        lambda: ("/v1/chat/completions", {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}}),
        lambda: ("/v1/completions", {"prompt": "a", "guided_json": schema}),
        lambda: ("/v1/responses", {"input": "a", "store": False, "text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}),
        lambda: ("/v1/chat/completions", {"messages": HI, "tools": [{"type": "function", "function": tool}], "tool_choice": rng.choice(("required", "auto"))}),
        lambda: ("/v1/messages", {"messages": HI, "tools": [{"name": "look", "input_schema": schema}], "tool_choice": {"type": "any"}}),
        lambda: ("/v1/messages", {"messages": HI, "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        lambda: ("/api/chat", {"messages": HI, "stream": False, "format": schema})))()


def as_grammar(seeds, words, syntax):
    def make(rng):
        text = mutate.text(rng, seeds, words)
        custom = {"type": "grammar", "syntax": "lark" if syntax == "gbnf" else syntax, "definition": text}
        return rng.choice((
            lambda: ("/v1/completions", {"prompt": "a", "grammar": {"syntax": syntax, "definition": text}}),
            lambda: ("/v1/completions", {"prompt": "a", "guided_regex" if syntax == "regex" else "guided_grammar": text}),
            lambda: ("/v1/chat/completions", {"messages": HI, "structured_outputs": {"regex" if syntax == "regex" else "grammar": text}}),
            lambda: ("/v1/responses", {"input": "a", "store": False, "tools": [{"type": "custom", "name": "look", "format": custom}],
                                       "tool_choice": rng.choice(("required", "auto"))})))()
    return make


def as_template(rng):
    text = mutate.text(rng, mutate.templates(), mutate.TEMPLATE_WORDS)
    more = {"messages": SEEDS[0][1]["messages"], "tools": [TOOL], "add_generation_prompt": rng.random() < 0.5}
    return rng.choice((
        lambda: ("/api/generate", {"prompt": "a", "system": "s", "template": text, "stream": False}),
        lambda: [("/api/create", {"model": "made", "from": "tiny", "template": text, "stream": False}), ("/apply-template", {**more, "model": "made"})],
        lambda: [("/api/create", {"model": "other", "from": "tiny", "template": text, "stream": False}),
                 ("/v1/chat/completions", {**more, "model": "other", "reasoning_effort": "low", "chat_template_kwargs": {"x": {"y": [1, None]}}})]))()


def limits(rng, path, body):
    """So that a made-up request is soon over."""
    body = {"model": "tiny", **body}
    if path in ("/v1/chat/completions", "/v1/completions", "/v1/messages"):
        body |= {"max_tokens": 8, "seed": rng.randrange(99)} if path != "/v1/messages" else {"max_tokens": 8}
    elif path == "/v1/responses":
        body["max_output_tokens"] = 8
    elif path in ("/api/chat", "/api/generate"):
        body["options"] = {"num_predict": 8}
    return path, json.dumps(body).replace("1e+308", "1e999").encode()


class Changed(unittest.TestCase):
    """What is sent is changed at random: each request is answered, none with "our own mistake", and the server goes on.

    HOULE_FUZZ_SECONDS: how long each of them goes on; HOULE_FUZZ_SEED: as one that went wrong said."""

    def bombard(self, make):
        """make(rng): a path and bytes, or a list of them."""
        seconds = float(os.environ.get("HOULE_FUZZ_SECONDS", "0")) or (60 if ALL else 2 if FEW else 4)
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            tiny_model.make(home / "models" / "tiny", context=4096, template=serve_test.TEMPLATE)
            server = serve_test.Server(home, "--models", str(home / "models"), "--cache-disk", "0", "--no-log", "--deadline", "20")
            seed = int(os.environ.get("HOULE_FUZZ_SEED", "0")) or random.randrange(1 << 30)
            counts, slowest = {}, [0.0]

            def send(path, text):
                began = time.monotonic()
                try:
                    status, content, _ = server.raw("POST", path, text)
                except (OSError, http.client.HTTPException) as e:
                    return f"{path} {text!r}: {e!r} (seed {seed})"
                slowest[0] = max(slowest[0], time.monotonic() - began)
                counts[status] = counts.get(status, 0) + 1
                return f"{path} {text!r}: {status} {content!r} (seed {seed})" if status == 500 or status > 503 else None

            def work(number):
                rng = random.Random(seed + number)
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    try:
                        made = make(rng)
                    except RecursionError: # Python's own limit
                        continue
                    for path, text in made if isinstance(made, list) else [made]:
                        failure = send(path, text)
                        if failure is not None:
                            return failure
                return None

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                failures = [f for f in pool.map(work, range(4)) if f is not None]
            self.assertEqual(server.process.poll(), None, "\n".join(failures))
            self.assertEqual(failures, [])
            self.assertEqual(server.get("/health")[0], 200)
            server.stop()
            print(f"{self._testMethodName}: {sum(counts.values())} requests, {dict(sorted(counts.items()))}, slowest {slowest[0]:.1f} s", file=sys.stderr)

    def language(self, make):
        def limited(rng):
            made = make(rng)
            return [limits(rng, *one) for one in (made if isinstance(made, list) else [made])]
        self.bombard(limited)

    def test_requests(self):
        def make(rng):
            path, body = rng.choice(SEEDS)
            return path, mutate.body(rng, body)
        self.bombard(make)

    def test_schemas(self):
        self.language(as_schema)

    def test_gbnf(self):
        self.language(as_grammar(mutate.GBNF, mutate.GBNF_WORDS, "gbnf"))

    def test_lark(self):
        self.language(as_grammar(mutate.LARK, mutate.LARK_WORDS, "lark"))

    def test_regexes(self):
        self.language(as_grammar(mutate.REGEX, mutate.REGEX_WORDS, "regex"))

    def test_templates(self):
        self.language(as_template)


if __name__ == "__main__":
    serve_case.HOULE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
