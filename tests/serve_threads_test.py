#!/usr/bin/env python3
"""Everything of houle serve that threads share, used at once:  serve_threads_test.py HOULE

Answers in the background that are followed, cancelled and deleted; models that are given up while they answer, with a draft and with
experts read from disk; clients that leave; presets that come and go; lists and counts read all the while. In a build with the thread
sanitizer a race ends the server with an exit status of its own; in every build all answers must be right.
"""
import http.client
import json
import os
import random
import sys
import threading
import time
import unittest

import serve_case
import tiny_model
from serve_case import HI, TEMPLATE, Case

SECONDS = float(os.environ.get("HOULE_THREADS_SECONDS", "0")) or (4 if os.environ.get("HOULE_TEST_FEW") == "1" else 3)


class Threads(Case):
    @classmethod
    def arguments(cls):
        tiny_model.make(cls.models / "small", seed=2, layers=1, context=2048, template=TEMPLATE)
        tiny_model.make(cls.models / "many", seed=3, context=2048, template=TEMPLATE, experts=64)
        folder = tiny_model.make(cls.models / "vectors", context=2048)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
        config = cls.home / "config.json"
        config.write_text(json.dumps({"defaults": {"context": 512, "sequences": 4, "cache_tokens": 1024}, "models": {
            "tiny": {"path": "models/tiny", "draft": "small"}, "many": {"path": "models/many", "memory": "4M"},
            "plain": {"path": "models/tiny", "draft_tokens": 0}}}))
        return ["--models", str(cls.models), "--config", str(config), "--memory", "10M", "--queue", "60", "--cache-dir", str(cls.home / "prefixes")]

    # ---- what the threads do: each once, and again until the time is over ---------------------------------------------------

    def follow(self, rng):
        """An answer in the background: its events, then cancelled, deleted, or left alone."""
        body = {"model": rng.choice(("tiny", "many")), "input": f"What is tide {rng.randrange(9)}?", "max_output_tokens": rng.choice((4, 60)),
                "background": True, "stream": rng.random() < 0.5, "ignore_eos": True}
        status, content, _ = self.server.raw("POST", "/v1/responses", body)
        if status == 503: # all places are taken
            return
        self.assertEqual(status, 200, content)
        made = json.loads(content.split(b"data: ", 1)[1].split(b"\n", 1)[0])["response"] if body["stream"] else json.loads(content)
        identity = made["id"]
        what = rng.randrange(4)
        if what == 0:
            self.assertIn(self.server.post(f"/v1/responses/{identity}/cancel", {})[0], (200, 404))
        elif what == 1:
            self.assertEqual(self.server.raw("DELETE", "/v1/responses/" + identity)[0], 200)
        elif what == 2:
            self.assertEqual(self.server.get("/v1/responses/" + identity)[0], 200)
        else:
            self.server.raw("GET", f"/v1/responses/{identity}?stream=true&starting_after=1")

    def leave(self, rng):
        """A stream that its client gives up in the middle."""
        asking = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
        asking.request("POST", "/v1/chat/completions", json.dumps({"model": rng.choice(("tiny", "many", "plain")), "messages": HI, "stream": True, "n": 2,
                                                                   "max_tokens": 200, "ignore_eos": True, "return_progress": True}))
        response = asking.getresponse()
        response.read(rng.choice((1, 100, 3000)))
        asking.close()

    def answer(self, rng):
        """The same request gets the same answer, whatever happens beside it."""
        model = rng.choice(("tiny", "many", "plain"))
        path, body, said = rng.choice((
            ("/v1/chat/completions", {"model": model, "messages": HI, "max_tokens": 12, "seed": 5}, lambda a: a["choices"][0]["message"]["content"]),
            ("/v1/messages", {"model": model, "messages": HI, "max_tokens": 12, "temperature": 0}, lambda a: a["content"]),
            ("/api/generate", {"model": model, "prompt": "a", "stream": False, "options": {"num_predict": 6, "seed": 3}}, lambda a: a["response"]),
            ("/v1/chat/completions", {"model": model, "messages": HI, "max_tokens": 40, "seed": 4, "response_format": {"type": "json_object"}},
             lambda a: a["choices"][0]["message"]["content"])))
        status, answer = self.server.post(path, body)
        if status == 503:
            return
        self.assertEqual(status, 200, answer)
        key = (path, json.dumps(body))
        self.assertEqual(self.said.setdefault(key, said(answer)), said(answer), key)

    def unload(self, rng):
        """A model is told to go while it answers."""
        self.server.post("/api/generate", {"model": rng.choice(("tiny", "many", "plain", "vectors")), "keep_alive": 0})
        time.sleep(rng.random() * 0.2)

    def look(self, rng):
        for path in ("/v1/models", "/api/tags", "/api/ps", "/metrics", "/health"):
            self.assertEqual(self.server.raw("GET", path)[0], 200, path)
        self.server.post("/api/show", {"model": rng.choice(("tiny", "many"))})

    def embed(self, rng):
        status, answer = self.server.post("/v1/embeddings", {"model": "vectors", "input": ["a", "The sea " * rng.randrange(1, 60)]})
        self.assertIn(status, (200, 503), answer)

    def preset(self, rng):
        name = f"preset{rng.randrange(3)}"
        self.server.post("/api/create", {"model": name, "from": "plain", "system": "Be brief.", "stream": False})
        self.server.post("/v1/chat/completions", {"model": name, "messages": HI, "max_tokens": 2})
        self.server.raw("DELETE", "/api/delete", {"model": name})

    def test_all_at_once(self):
        seed = random.randrange(1 << 30)
        self.said, failures, counts = {}, [], {}
        until = time.monotonic() + SECONDS

        def work(number, what):
            rng = random.Random(seed + number)
            try:
                while time.monotonic() < until and not failures:
                    what(rng)
                    counts[what.__name__] = counts.get(what.__name__, 0) + 1
            except Exception as e: # pylint: disable=broad-except
                failures.append(f"{what.__name__}: {e!r} (seed {seed})")

        kinds = (self.follow, self.follow, self.leave, self.leave, self.answer, self.answer, self.unload, self.look, self.embed, self.preset)
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(kinds)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.server.get("/health")[0], 200)
        misses = self.server.metric("houle_expert_misses_total")
        evictions = self.server.metric("houle_model_evictions_total")
        print(f"{counts}, {evictions:.0f} evictions, {misses:.0f} pieces of experts read", file=sys.stderr)


if __name__ == "__main__":
    serve_case.HOULE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
