#!/usr/bin/env python3
"""What houle serve says beside answers: facts of models, progress, signs of life, counts, and fields that it will not take.

    serve_fields_test.py HOULE

In every API alike, each in its own form: what one client can learn, the others can.
"""
import http.client
import json
import os
import pathlib
import shutil
import socket
import sys
import threading
import time
import unittest

import numpy as np
from safetensors.numpy import load_file

import serve_case
import tiny_model
from serve_case import HI, TEMPLATE, Case

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
LONG = [{"role": "user", "content": "The sea rises and falls twice a day. " * 60}]
THINKING = TEMPLATE.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}") + "{# </think> #}"
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def streams(messages):
    """(path, body) of a streamed request in each API."""
    text = messages[-1]["content"]
    return [("/v1/chat/completions", {"model": "tiny", "messages": messages, "max_tokens": 2, "stream": True}),
            ("/v1/completions", {"model": "tiny", "prompt": text, "max_tokens": 2, "stream": True}),
            ("/v1/responses", {"model": "tiny", "input": text, "max_output_tokens": 2, "stream": True}),
            ("/v1/messages", {"model": "tiny", "messages": messages, "max_tokens": 2, "stream": True}),
            ("/api/chat", {"model": "tiny", "messages": messages, "options": {"num_predict": 2}}),
            ("/api/generate", {"model": "tiny", "prompt": text, "options": {"num_predict": 2}})]


class Facts(Case):
    @classmethod
    def arguments(cls):
        for name in ("bert", "bert_rerank"):
            shutil.copytree(GOLDEN / "embed" / name, cls.models / name)
        shutil.copy(GOLDEN / "gguf" / "families" / "llama.gguf", cls.models / "older.gguf")
        return super().arguments()

    def detail(self, name, path="/api/tags"):
        return next(m for m in self.server.get(path)[1]["models"] if m["name"] == name)["details"]

    def test_of_headers_without_loading(self):
        n = sum(int(np.prod(t.shape)) for t in load_file(self.models / "tiny" / "model.safetensors").values())
        want = {"parent_model": "", "format": "safetensors", "family": "llama", "families": ["llama"],
                "parameter_size": f"{n / 1e3:.0f}K", "quantization_level": "F32"}
        self.assertEqual(self.detail("tiny"), want)
        self.assertEqual(self.server.get("/api/ps")[1]["models"], [])  # nothing was loaded for it
        _, shown = self.server.post("/api/show", {"model": "tiny"})
        self.assertEqual(shown["details"], want)
        self.assertEqual(shown["model_info"]["general.parameter_count"], n)
        older = self.detail("older")
        self.assertEqual((older["format"], older["family"]), ("gguf", "llama"))
        self.assertRegex(older["parameter_size"], r"^[0-9.]+[KMB]$")
        self.assertTrue(older["quantization_level"])
        _, models = self.server.get("/v1/models")
        by_name = {m["id"]: m for m in models["data"]}
        self.assertEqual(by_name["tiny"]["meta"]["n_params"], n)
        self.assertEqual((by_name["tiny"]["meta"]["n_embd"], by_name["tiny"]["meta"]["n_ctx_train"]), (64, 2048))
        self.assertEqual((by_name["tiny"]["context_length"], by_name["tiny"]["meta"]["quantization"]), (2048, "F32"))
        self.assertEqual(by_name["tiny"]["capabilities"], ["completion", "tools", "thinking"])
        self.assertEqual((by_name["bert"]["capabilities"], by_name["bert_rerank"]["capabilities"]), (["embedding"], ["rerank"]))
        self.assertEqual(self.server.post("/api/show", {"model": "bert"})[1]["capabilities"], ["embedding"])
        # what Anthropic's clients read of a list
        self.assertEqual((by_name["tiny"]["type"], by_name["tiny"]["display_name"]), ("model", "tiny"))
        self.assertRegex(by_name["tiny"]["created_at"], r"^20\d\d-\d\d-\d\dT")
        self.assertEqual((models["has_more"], models["last_id"]), (False, models["data"][-1]["id"]))
        self.assertEqual(self.server.get("/models")[1]["object"], "list")

    def test_of_files_that_change(self):
        tiny_model.make(self.models / "changes", width=64, context=512)
        time.sleep(1.1)
        small = self.detail("changes")["parameter_size"]
        self.assertNotIn("tools", self.server.post("/api/show", {"model": "changes"})[1]["capabilities"])
        tiny_model.make(self.models / "changes", width=128, context=512, template=TEMPLATE)
        os.utime(self.models / "changes" / "config.json", (time.time() + 5,) * 2)
        self.assertNotEqual(self.detail("changes")["parameter_size"], small)
        self.assertIn("tools", self.server.post("/api/show", {"model": "changes"})[1]["capabilities"])
        (self.models / "changes" / "model.safetensors").write_bytes(b"no model any more")
        os.utime(self.models / "changes" / "config.json", (time.time() + 9,) * 2)
        self.assertEqual(self.detail("changes")["parameter_size"], "")
        shutil.rmtree(self.models / "changes")

    def test_of_presets(self):
        self.server.post("/api/create", {"model": "plain", "from": "tiny", "template": "{% for m in messages %}{{ m.content }}{% endfor %}", "stream": False})
        self.assertEqual(self.detail("plain")["family"], "llama")
        shown = self.server.post("/api/show", {"model": "plain"})[1]
        self.assertEqual((shown["capabilities"], shown["details"]["parent_model"]), (["completion"], "tiny"))


class Waiting(Case):
    """Two models in a budget that holds one: a stream that waits for the other is not silent."""

    @classmethod
    def arguments(cls):
        tiny_model.make(cls.models / "other", seed=2, context=2048, template=TEMPLATE)
        config = cls.home / "config.json"
        config.write_text(json.dumps({"defaults": {"context": 512, "sequences": 4}}))
        return super().arguments() + ["--config", str(config), "--memory", "5M", "--ping", "1", "--queue", "3"]

    def occupy(self):
        """A client that reads the beginning only: its model stays in use until it leaves."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=240)
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # what fits is far less than the answer
        connection.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "other", "messages": HI, "max_tokens": 400, "n": 8, "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}))
        response = connection.getresponse()
        while not response.readline().startswith(b"data:"):
            self.assertFalse(response.isclosed(), "the stream ended before it began")
        return connection

    def ask(self, path, body, release_at):
        """The stream's status, lines, and how many of them were signs of life; the other client leaves behind so many."""
        other = self.occupy()
        asking = http.client.HTTPConnection(self.server.host, self.server.port, timeout=240)
        asking.request("POST", path, json.dumps(body))
        response = asking.getresponse()
        lines, signs = [], 0
        for line in response:
            line = line.decode().rstrip("\n")
            sign = line.startswith(":") or line == "event: ping"
            if path.startswith("/api"):
                value = json.loads(line)
                sign = "error" not in value and not value["done"] and not (value.get("response") or value.get("message", {}).get("content"))
            signs += sign
            lines.append(line)
            if sign and signs == release_at:
                other.close()
        other.close()
        asking.close()
        return response.status, lines, signs

    def test_signs_of_life(self):
        for path, body in streams(HI):
            status, lines, signs = self.ask(path, body, 2)
            self.assertEqual(status, 200, path)
            self.assertGreaterEqual(signs, 2, path)
            self.assertNotIn("error", [k for line in lines if line.startswith("{") for k in json.loads(line)], path)
            ends = {"/v1/responses": "response.incomplete", "/v1/messages": "message_stop"}
            self.assertIn(ends.get(path, "[DONE]" if path.startswith("/v1") else '"done":true'), "\n".join(lines[-3:]).replace(" ", "").replace("data:", ""), path)

    def test_told_in_the_stream(self):
        for path, body in (s for s in streams(HI) if s[0] in ("/v1/chat/completions", "/v1/messages", "/api/chat")):
            status, lines, signs = self.ask(path, body, 0)
            self.assertEqual(status, 200, path)
            self.assertGreaterEqual(signs, 2, path)
            last = [line for line in lines if line.startswith(("data:", "{"))][-1].removeprefix("data: ")
            self.assertIn("try again later", json.dumps(json.loads(last)["error"]), path)
            self.assertEqual("event: error" in lines, path == "/v1/messages")

    def test_not_streamed_has_its_status(self):
        other = self.occupy()
        self.refused("/v1/chat/completions", {"model": "tiny", "messages": HI, "max_tokens": 2}, 503, "model", "model_busy")
        other.close()


class Streams(Case):
    @classmethod
    def arguments(cls):
        tiny_model.make(cls.models / "thinker", context=2048, template=THINKING)
        config = cls.home / "config.json"
        config.write_text(json.dumps({"defaults": {"sequences": 1, "batch": 64}}))
        return super().arguments() + ["--config", str(config), "--ping", "1"]

    def lines(self, path, body):
        """What a stream says: its objects, and how many lines were only signs of life."""
        status, content, _ = self.server.raw("POST", path, body)
        self.assertEqual(status, 200, content)
        objects, signs = [], 0
        for line in content.decode().splitlines():
            signs += line.startswith(":")
            if path.startswith("/api"):
                objects.append(json.loads(line))
            elif line.startswith("data: ") and line != "data: [DONE]":
                objects.append(json.loads(line[6:]))
        return objects, signs

    def test_progress(self):
        for i, (path, body) in enumerate(streams(LONG)):
            fresh = json.loads(json.dumps(body).replace("The sea", f"Sea {i}"))
            objects, _ = self.lines(path, dict(fresh, return_progress=True))
            steps = [o.get("prompt_progress") or o for o in objects if "prompt_progress" in o or o.get("type") == "response.prompt_progress"]
            self.assertGreater(len(steps), 2, path)
            self.assertEqual([s["processed"] for s in steps], sorted(s["processed"] for s in steps))
            self.assertEqual(steps[-1]["processed"], steps[-1]["total"], path)
            self.assertEqual({s["cache"] for s in steps}, {0}, path)
            self.assertGreater(steps[-1]["time_ms"], 0)
            again, _ = self.lines(path, dict(fresh, return_progress=True))
            steps = [o.get("prompt_progress") or o for o in again if "prompt_progress" in o or o.get("type") == "response.prompt_progress"]
            self.assertGreater(steps[0]["cache"], 100, path)
            plain, _ = self.lines(path, fresh)
            self.assertNotIn("prompt_progress", json.dumps(plain), path)

    def wait_behind_others(self, path, body, n):
        """What a stream says while others, n texts each, keep the model busy for a while."""
        stop = threading.Event()

        def occupy():
            while not stop.is_set():
                self.server.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 1900, "ignore_eos": True, "n": n})

        others = [threading.Thread(target=occupy) for _ in range(2)]
        for o in others:
            o.start()
        time.sleep(0.2)
        asking = http.client.HTTPConnection(self.server.host, self.server.port, timeout=240)
        asking.request("POST", path, json.dumps(body))
        response = asking.getresponse()
        got = response.read1(65536)
        stop.set()
        got += response.read()
        asking.close()
        for o in others:
            o.join()
        return got.decode()

    def test_signs_of_life(self):
        """While a request waits its turn, its stream is not silent, and what is said can be read by its clients."""
        n = 2
        for path, body in streams(HI):
            signs = []
            while not signs and n <= 32: # how many it takes depends on the machine
                got = self.wait_behind_others(path, body, n)
                if path.startswith("/api"):
                    objects = [json.loads(line) for line in got.splitlines()]
                    signs = [o for o in objects if not o["done"] and not (o.get("response") or o.get("message", {}).get("content"))]
                else:
                    signs = [line for line in got.splitlines() if line.startswith(":") or line == "event: ping"]
                n *= 1 if signs else 2
            self.assertTrue(signs, (path, got))

    def test_where_a_prompt_leaves_what_is_known(self):
        words = "The moon draws the sea, and the sun does so too; both together make the spring tide. " * 8
        tokens = self.server.post("/tokenize", {"model": "tiny", "content": words})[1]["tokens"]
        self.assertGreater(len(tokens), 200)
        self.server.post("/v1/completions", {"model": "tiny", "prompt": tokens, "max_tokens": 1})
        other = tokens[:150] + [t + 1 for t in tokens[150:]]
        timings = self.server.post("/v1/completions", {"model": "tiny", "prompt": other, "max_tokens": 1})[1]["timings"]
        self.assertEqual((timings["first_difference"], timings["cache_n"]), (150, 128))
        self.assertGreater(timings["prompt_per_token_ms"], 0)
        for path, body in streams(HI): # in every API, streamed and not
            whole = self.server.post(path, dict(body, stream=False))[1]
            self.assertIn("first_difference", whole["timings"], path)
            if path != "/v1/completions":
                objects, _ = self.lines(path, dict(body, stream_options={"include_usage": True}) if "chat/comp" in path else body)
                last = [o for o in objects if "timings" in o or "timings" in o.get("response", {})]
                self.assertEqual(len(last), 1, path)

    def test_unknown_tools_are_left_out_with_a_warning(self):
        tools = [{"type": "web_search"}, LOOK]
        _, answer = self.server.post("/api/chat", {"model": "tiny", "messages": HI, "tools": tools, "stream": False, "options": {"num_predict": 1}})
        self.assertIn("web_search", answer["warnings"][0])
        objects, _ = self.lines("/api/chat", {"model": "tiny", "messages": HI, "tools": tools, "options": {"num_predict": 1}})
        self.assertIn("web_search", objects[-1]["warnings"][0])
        _, prompt = self.server.post("/apply-template", {"model": "tiny", "messages": HI, "tools": tools})
        self.assertIn("web_search", prompt["warnings"][0])
        self.assertNotIn("web_search", prompt["prompt"])
        self.assertIn("look", prompt["prompt"])

    def test_reasoning_under_both_names(self):
        body = {"model": "thinker", "messages": HI, "temperature": 0, "max_tokens": 12, "ignore_eos": True, "logit_bias": {"2005": -100}}
        _, plain = self.server.post("/v1/chat/completions", body)
        self.assertNotIn("reasoning", plain["choices"][0]["message"])
        for more in ({"reasoning": {"enabled": True}}, {"include_reasoning": True}):
            message = self.server.post("/v1/chat/completions", body | more)[1]["choices"][0]["message"]
            self.assertTrue(message["reasoning"])
            self.assertEqual(message["reasoning"], message["reasoning_content"])
            deltas = [e["choices"][0]["delta"] for _, e in self.server.events("/v1/chat/completions", body | more | {"stream": True})[:-1]]
            self.assertEqual("".join(d.get("reasoning", "") for d in deltas), message["reasoning"])
        self.assertNotIn("reasoning", json.dumps(self.server.post("/v1/chat/completions", dict(body, include_reasoning=False))[1]["choices"]))

    def test_log_probabilities_of_ollama(self):
        body = {"model": "tiny", "messages": HI, "options": {"num_predict": 4, "temperature": 0}, "logprobs": True, "top_logprobs": 2}
        _, whole = self.server.post("/api/chat", dict(body, stream=False))
        self.assertEqual(len(whole["logprobs"]), 4)
        self.assertEqual(len(whole["logprobs"][0]["top_logprobs"]), 2)
        objects, _ = self.lines("/api/chat", body)
        self.assertEqual([t for o in objects for t in o.get("logprobs", [])], whole["logprobs"])
        self.refused("/api/chat", dict(body, logprobs=False), 400, "top_logprobs")

    def test_what_is_not_done_here_is_named(self):
        answer = {"model": "tiny", "input": "a", "max_output_tokens": 1}
        for field, value in (("conversation", "conv_1"), ("prompt", {"id": "pmpt_1"}), ("context_management", [{"type": "compaction"}])):
            self.refused("/v1/responses", answer | {field: value}, 400, field, "unsupported_parameter")
        self.refused("/v1/responses/compact", answer, 400, code="unsupported")
        for name in ("truncate", "shift"):
            self.refused("/api/chat", {"model": "tiny", "messages": HI, name: True}, 400)
            self.assertEqual(self.server.post("/api/chat", {"model": "tiny", "messages": HI, name: False, "stream": False, "options": {"num_predict": 1}})[0], 200)
        chat = {"model": "tiny", "messages": HI, "max_tokens": 1}
        self.refused("/v1/chat/completions", dict(chat, mirostat=2), 400, "mirostat")
        self.assertEqual(self.server.post("/v1/chat/completions", dict(chat, mirostat=0, mirostat_tau=5.0, mirostat_eta=0.1))[0], 200)
        for probe in ("", []): # as coding assistants ask whether there is anybody
            status, r = self.server.post("/v1/responses", {"model": "tiny", "input": probe, "max_output_tokens": 1})
            self.assertEqual(status, 200, r)

    def test_who_leaves_has_had_what_was_made(self):
        """Tokens are counted, and charged to the key, also for those who leave before the end."""
        before = self.server.metric("houle_generation_tokens_total")
        asking = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
        asking.request("POST", "/v1/chat/completions", json.dumps({"model": "tiny", "messages": HI, "stream": True, "max_tokens": 1900, "ignore_eos": True}))
        asking.getresponse().read(2000)
        asking.close()
        until = time.monotonic() + 20
        while self.server.metric("houle_generation_tokens_total") == before and time.monotonic() < until:
            time.sleep(0.05)
        self.assertGreater(self.server.metric("houle_generation_tokens_total"), before)

    def test_errors_name_their_request(self):
        status, content, headers = self.server.raw("POST", "/v1/messages", {"model": "none", "messages": HI, "max_tokens": 1})
        self.assertEqual((status, json.loads(content)["request_id"]), (404, headers["X-Request-Id"]))


class Only(Case):
    """Programs made for servers of one model name none."""

    def test_without_a_name(self):
        tokens = self.server.post("/tokenize", {"content": "The sea"})[1]["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"tokens": tokens})[1]["content"], "The sea")
        self.assertIn("user", self.server.post("/apply-template", {"messages": HI})[1]["prompt"])
        self.refused("/rerank", {"query": "a", "documents": ["b"]}, 400, "model")  # it is no such model
        self.refused("/tokenize", {"model": 5, "content": "a"}, 400, "model")
        tiny_model.make(self.models / "second")
        time.sleep(1.1)
        self.refused("/tokenize", {"content": "The sea"}, 400, "model")


if __name__ == "__main__":
    serve_case.HOULE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
