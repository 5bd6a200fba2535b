#!/usr/bin/env python3
"""houle serve as its clients see it: real sockets, every API's shapes, streams, errors, limits, keys, models that come and go.

    serve_test.py HOULE

On tiny models made here (tiny_model.py): what they say means nothing, but the same request always gets the same answer.
"""
import base64
import concurrent.futures
import json
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import serve_case
import tiny_model
from serve_case import HI, TEMPLATE, Case, Server


def chat(**more):
    return {"model": "tiny", "messages": HI, "max_tokens": 8, "temperature": 0, **more}


class OpenAI(Case):
    def test_models(self):
        status, models = self.server.get("/v1/models")
        self.assertEqual(status, 200)
        self.assertIn("tiny", [m["id"] for m in models["data"]])
        self.server.post("/v1/chat/completions", chat())
        _, models = self.server.get("/v1/models")
        tiny = next(m for m in models["data"] if m["id"] == "tiny")
        self.assertEqual((tiny["status"]["value"], tiny["context_length"], tiny["meta"]["pinned"]), ("loaded", 2048, False))
        self.assertGreater(tiny["meta"]["size"], 100000)
        self.assertGreater(tiny["meta"]["tokens_per_second"], 0)
        self.assertGreaterEqual(models["memory"]["used_bytes"], tiny["meta"]["memory_bytes"])  # others may still be there
        self.assertLess(models["memory"]["used_bytes"], models["memory"]["budget_bytes"])
        self.assertEqual(self.server.get("/v1/models/tiny")[1]["object"], "model")
        status, error = self.server.get("/v1/models/none")
        self.assertEqual((status, error["error"]["code"]), (404, "model_not_found"))

    def test_chat_whole_and_streamed_say_the_same(self):
        status, whole = self.server.post("/v1/chat/completions", chat())
        self.assertEqual(status, 200, whole)
        choice = whole["choices"][0]
        self.assertEqual(whole["object"], "chat.completion")
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertIn(choice["finish_reason"], ("stop", "length"))
        self.assertEqual(whole["usage"]["total_tokens"], whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"])
        events = self.server.events("/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(events[-1][1], "[DONE]")
        self.assertEqual(events[-2][1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])
        self.assertEqual(events[-2][1]["choices"], [])
        chunks = [e["choices"][0] for _, e in events[:-2]]
        self.assertEqual(chunks[0]["delta"]["role"], "assistant")
        self.assertEqual("".join(c["delta"].get("content", "") for c in chunks), choice["message"]["content"])
        self.assertEqual([c["finish_reason"] for c in chunks if c["finish_reason"]], [choice["finish_reason"]])

    def test_several_choices_draw_differently_and_the_same_seed_alike(self):
        body = chat(n=3, temperature=1, seed=7, max_tokens=12)
        first, second = (self.server.post("/v1/chat/completions", body)[1] for _ in range(2))
        texts = [c["message"]["content"] for c in first["choices"]]
        self.assertEqual([c["index"] for c in first["choices"]], [0, 1, 2])
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(texts, [c["message"]["content"] for c in second["choices"]])

    def test_same_answer_whatever_else_runs(self):
        body = chat(temperature=1, seed=11, max_tokens=16)
        alone = self.server.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            many = list(pool.map(lambda _: self.server.post("/v1/chat/completions", body)[1], range(12)))
        self.assertEqual({m["choices"][0]["message"]["content"] for m in many}, {alone})

    def test_logprobs(self):
        _, answer = self.server.post("/v1/chat/completions", chat(logprobs=True, top_logprobs=3))
        content = answer["choices"][0]["logprobs"]["content"]
        self.assertGreater(len(content), 0)
        for token in content:
            self.assertEqual(len(token["top_logprobs"]), 3)
            self.assertAlmostEqual(token["logprob"], token["top_logprobs"][0]["logprob"])  # temperature 0 takes the best
        self.refused("/v1/chat/completions", chat(top_logprobs=3), 400, "top_logprobs")

    def test_stop_and_bias(self):
        text = self.server.post("/v1/chat/completions", chat(max_tokens=16))[1]["choices"][0]["message"]["content"]
        stop = text[3:5]
        _, cut = self.server.post("/v1/chat/completions", chat(max_tokens=16, stop=stop))
        self.assertEqual(cut["choices"][0]["message"]["content"], text[:text.index(stop)])
        self.assertEqual(cut["choices"][0]["finish_reason"], "stop")
        _, biased = self.server.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 4, "logit_bias": {"70": 100},
                                                         "logprobs": 0})
        self.assertEqual(len(set(biased["choices"][0]["logprobs"]["tokens"])), 1)

    def test_every_field_is_honoured_or_named(self):
        where = "/v1/chat/completions"
        self.refused(where, chat(no_such_field=1), 400, "no_such_field", "unsupported_parameter")
        self.refused(where, chat(temperature="warm"), 400, "temperature")
        self.refused(where, chat(n=0), 400, "n")
        self.refused(where, chat(max_tokens=1.5), 400, "max_tokens")
        self.refused(where, chat(modalities=["audio"]), 400, "modalities")
        self.refused(where, chat(logit_bias={"99999999": 1}), 400, "logit_bias")
        self.refused(where, {"model": "tiny"}, 400, "messages")
        self.refused(where, {"messages": HI}, 400, "model")
        self.refused(where, {"model": "none", "messages": HI}, 404, code="model_not_found")
        self.refused(where, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]), 400)
        status, _ = self.server.post(where, chat(user="me", metadata={"a": "b"}, store=False, parallel_tool_calls=True))
        self.assertEqual(status, 200)

    def test_unknown_tools_are_left_out_with_a_warning(self):
        tools = [{"type": "web_search"}, {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        status, answer = self.server.post("/v1/chat/completions", chat(tools=tools))
        self.assertEqual(status, 200)
        self.assertIn("web_search", answer["warnings"][0])

    def test_too_long_prompts_are_refused_with_numbers(self):
        error = self.refused("/v1/chat/completions", chat(messages=[{"role": "user", "content": "tide " * 3000}]), 400,
                             code="context_length_exceeded")
        self.assertIn("2048", error["message"])
        self.refused("/v1/chat/completions", chat(max_tokens=5000), 400, code="context_length_exceeded")

    def test_a_prefix_is_found_again(self):
        long = [{"role": "user", "content": "The sea rises and falls. " * 20}]
        self.server.post("/v1/chat/completions", chat(messages=long))
        _, again = self.server.post("/v1/chat/completions", chat(messages=long))
        self.assertGreaterEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], 64)

    def test_completions_with_echo_and_logprobs(self):
        body = {"model": "tiny", "prompt": "The sea is", "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}
        _, whole = self.server.post("/v1/completions", body)
        choice = whole["choices"][0]
        self.assertEqual(choice["text"], "The sea is")
        logprobs = choice["logprobs"]
        self.assertEqual("".join(logprobs["tokens"][1:]), "The sea is")
        self.assertEqual(logprobs["text_offset"][:2], [0, 0])  # the first token is no part of the text
        self.assertIsNone(logprobs["token_logprobs"][0])
        self.assertTrue(all(p < 0 for p in logprobs["token_logprobs"][1:]))
        self.assertEqual(whole["usage"]["completion_tokens"], 0)
        _, tokens = self.server.post("/tokenize", {"model": "tiny", "content": "The sea is", "add_special": True})
        _, same = self.server.post("/v1/completions", dict(body, prompt=[tokens["tokens"], "Two"]))
        self.assertEqual(same["choices"][0]["logprobs"]["token_logprobs"], logprobs["token_logprobs"])
        self.assertEqual([c["index"] for c in same["choices"]], [0, 1])
        streamed = self.server.events("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 3, "temperature": 0, "stream": True})
        _, at_once = self.server.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 3, "temperature": 0})
        self.assertEqual("".join(e["choices"][0]["text"] for _, e in streamed[:-1]), at_once["choices"][0]["text"])

    def test_formats_are_kept(self):
        schema = {"type": "object", "properties": {"city": {"enum": ["Brest", "Vannes"]}, "tide": {"type": "boolean"}},
                  "required": ["city", "tide"], "additionalProperties": False}
        for seed in range(3):
            body = chat(max_tokens=200, temperature=1, seed=seed)
            _, answer = self.server.post("/v1/chat/completions", dict(body, response_format={
                "type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}))
            value = json.loads(answer["choices"][0]["message"]["content"])
            self.assertIn(value["city"], ("Brest", "Vannes"))
            self.assertIsInstance(value["tide"], bool)
            self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
            _, answer = self.server.post("/v1/chat/completions", dict(body, guided_regex="[0-9]{3}-[a-c]"))
            self.assertRegex(answer["choices"][0]["message"]["content"], "^[0-9]{3}-[a-c]$")
            _, answer = self.server.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 50, "seed": seed,
                                                             "guided_choice": ["yes", "no"]})
            self.assertIn(answer["choices"][0]["text"], ("yes", "no"))
            _, answer = self.server.post("/api/chat", {"model": "tiny", "messages": HI, "stream": False, "format": schema})
            self.assertIn(json.loads(answer["message"]["content"])["city"], ("Brest", "Vannes"))
        for field in ({"guided_grammar": 'start: "a" /[0-9]+/ "b"'}, {"guided_grammar": 'root ::= "a" [0-9]+ "b"'},
                      {"grammar": {"syntax": "lark", "definition": 'start: "a" /[0-9]+/ "b"'}}, {"structured_outputs": {"grammar": 'start: "a" /[0-9]+/ "b"'}},
                      {"response_format": {"type": "grammar", "grammar": 'start: "a" /[0-9]+/ "b"'}}):
            _, answer = self.server.post("/v1/chat/completions", chat(max_tokens=100, temperature=1, seed=2, **field))
            self.assertRegex(answer["choices"][0]["message"]["content"], "^a[0-9]+b?$", field)
        self.refused("/v1/chat/completions", chat(guided_grammar="start: ("), 400, "guided_grammar", "unsupported_constraint")
        for bad in ({"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}}, "no schema"):
            self.refused("/v1/chat/completions", chat(response_format={"type": "json_schema", "json_schema": {"schema": bad}}), 400,
                         "response_format")

    def test_forced_calls(self):
        function = {"name": "tide", "parameters": {"type": "object", "properties": {"port": {"enum": ["Brest", "Lorient"]}},
                                                   "required": ["port"], "additionalProperties": False}}
        body = chat(max_tokens=200, temperature=1, seed=3, tools=[{"type": "function", "function": function}])
        for choice in ("required", {"type": "function", "function": {"name": "tide"}}):
            _, answer = self.server.post("/v1/chat/completions", dict(body, tool_choice=choice))
            self.assertEqual(answer["choices"][0]["finish_reason"], "tool_calls", answer)
            call = answer["choices"][0]["message"]["tool_calls"][0]
            self.assertEqual(call["function"]["name"], "tide")
            arguments = json.loads(call["function"]["arguments"])
            self.assertIn(arguments["port"], ("Brest", "Lorient"))
            events = self.server.events("/v1/chat/completions", dict(body, tool_choice=choice, stream=True))
            deltas = [c for _, e in events[:-1] for c in e["choices"][0]["delta"].get("tool_calls", [])]
            self.assertEqual(deltas[0]["function"]["name"], "tide")
            self.assertEqual("".join(d["function"]["arguments"] for d in deltas), call["function"]["arguments"])
        self.refused("/v1/chat/completions", dict(body, tool_choice={"type": "function", "function": {"name": "moon"}}), 400, "tool_choice")
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "tide"}}]}}
        _, answer = self.server.post("/v1/chat/completions", dict(body, tool_choice=allowed, parallel_tool_calls=False))
        self.assertEqual(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "tide")
        custom = {"type": "custom", "custom": {"name": "date", "format": {"type": "grammar", "grammar": {
            "syntax": "lark", "definition": 'start: /20[0-9]{2}/ "\\"" /[01][0-9]/'}}}}
        forced = dict(body, tools=[custom], tool_choice={"type": "custom", "custom": {"name": "date"}})
        _, answer = self.server.post("/v1/chat/completions", forced)
        call = answer["choices"][0]["message"]["tool_calls"][0]
        self.assertEqual((call["type"], call["custom"]["name"]), ("custom", "date"), answer)
        self.assertRegex(call["custom"]["input"], '^20[0-9]{2}"[01][0-9]$')
        events = self.server.events("/v1/chat/completions", dict(forced, stream=True))
        deltas = [c for _, e in events[:-1] for c in e["choices"][0]["delta"].get("tool_calls", [])]
        self.assertEqual("".join(d["custom"].get("input", "") for d in deltas), call["custom"]["input"])
        tool = {"name": "tide", "input_schema": function["parameters"]}
        _, answer = self.server.post("/v1/messages", {"model": "tiny", "max_tokens": 200, "messages": HI, "tools": [tool],
                                                      "tool_choice": {"type": "tool", "name": "tide"}})
        self.assertEqual(answer["stop_reason"], "tool_use", answer)
        self.assertIn(answer["content"][-1]["input"]["port"], ("Brest", "Lorient"))

    def test_embeddings(self):
        self.refused("/v1/embeddings", {"model": "tiny", "input": "a"}, 400, "model")
        folder = tiny_model.make(self.models / "vectors", context=2048, template=TEMPLATE)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
        time.sleep(1.1)
        body = {"model": "vectors", "input": ["The sea", "A tide", "The sea " * 200]}
        status, answer = self.server.post("/v1/embeddings", body)
        self.assertEqual(status, 200, answer)
        vectors = [d["embedding"] for d in answer["data"]]
        self.assertEqual([len(v) for v in vectors], [64] * 3)
        self.assertTrue(all(abs(sum(x * x for x in v) - 1) < 1e-5 for v in vectors))
        self.assertNotEqual(vectors[0], vectors[1])
        _, coded = self.server.post("/v1/embeddings", {"model": "vectors", "input": "A tide", "encoding_format": "base64", "dimensions": 8})
        short = struct.unpack("<8f", base64.b64decode(coded["data"][0]["embedding"]))
        length = sum(x * x for x in vectors[1][:8]) ** 0.5
        for a, b in zip(short, vectors[1]):
            self.assertAlmostEqual(a, b / length, 5)
        self.refused("/v1/embeddings", {"model": "vectors", "input": []}, 400, "input")
        shutil.rmtree(folder)

    def test_tokens_and_templates(self):
        _, tokens = self.server.post("/tokenize", {"model": "tiny", "content": "Héllo <|im_end|>", "with_pieces": True})
        self.assertEqual(tokens["tokens"][-1]["piece"], "<|im_end|>")
        _, back = self.server.post("/detokenize", {"model": "tiny", "tokens": [t["id"] for t in tokens["tokens"]]})
        self.assertEqual(back["content"], "Héllo <|im_end|>")
        _, prompt = self.server.post("/apply-template", {"model": "tiny", "messages": HI})
        self.assertEqual(prompt["prompt"], "<|im_start|>user\nWhat is a tide?<|im_end|>\n<|im_start|>assistant\n")


class Anthropic(Case):
    BODY = {"model": "tiny", "max_tokens": 8, "temperature": 0, "system": "Be brief.", "messages": HI}

    def test_messages(self):
        status, whole = self.server.post("/v1/messages", self.BODY)
        self.assertEqual(status, 200, whole)
        self.assertEqual((whole["type"], whole["role"]), ("message", "assistant"))
        self.assertIn(whole["stop_reason"], ("end_turn", "max_tokens"))
        events = self.server.events("/v1/messages", dict(self.BODY, stream=True))
        names = [name for name, _ in events]
        self.assertEqual(names[0], "message_start")
        self.assertEqual(names[-2:], ["message_delta", "message_stop"])
        self.assertTrue(all(name == data["type"] for name, data in events))
        text = "".join(d["delta"]["text"] for n, d in events if n == "content_block_delta")
        self.assertEqual(text, "".join(b["text"] for b in whole["content"]))
        self.assertEqual(events[-2][1]["usage"]["output_tokens"], whole["usage"]["output_tokens"])

    def test_blocks_tools_and_counting(self):
        conversation = [
            {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"},
                                              {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Brest"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]}]},
        ]
        tools = [{"name": "weather", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}]
        status, answer = self.server.post("/v1/messages", dict(self.BODY, messages=conversation, tools=tools))
        self.assertEqual(status, 200, answer)
        self.assertIn("web_search", answer["warnings"][0])
        _, count = self.server.post("/v1/messages/count_tokens", {"model": "tiny", "messages": conversation, "tools": tools})
        self.assertGreater(count["input_tokens"], 20)

    def test_a_changing_header_does_not_change_the_prompt(self):
        counts = []
        for header in ("x-anthropic-billing-header: cch=1;", "x-anthropic-billing-header: cch=2345678;"):
            body = {"model": "tiny", "system": [{"type": "text", "text": header}, {"type": "text", "text": "Be brief."}], "messages": HI}
            counts.append(self.server.post("/v1/messages/count_tokens", body)[1]["input_tokens"])
            body["system"] = header + "\nBe brief."
            counts.append(self.server.post("/v1/messages/count_tokens", body)[1]["input_tokens"])
            messages = [{"role": "developer", "content": header + "\nBe brief."}] + HI
            _, prompt = self.server.post("/apply-template", {"model": "tiny", "messages": messages})
            self.assertTrue(prompt["prompt"].startswith("<|im_start|>system\nBe brief.<|im_end|>"), prompt)
        self.assertEqual(len(set(counts)), 1)

    def test_errors(self):
        for body, status, kind in ((dict(self.BODY, model="none"), 404, "not_found_error"),
                                   ({"model": "tiny", "messages": HI}, 400, "invalid_request_error"),
                                   (dict(self.BODY, nonsense=1), 400, "invalid_request_error")):
            got, error = self.server.post("/v1/messages", body)
            self.assertEqual((got, error["type"], error["error"]["type"]), (status, "error", kind))


class Ollama(Case):
    def test_chat_and_generate(self):
        body = {"model": "tiny:latest", "messages": HI, "options": {"temperature": 0, "num_predict": 6}}
        lines = self.server.lines("/api/chat", body)
        self.assertTrue(lines[-1]["done"])
        self.assertEqual(lines[-1]["eval_count"], 6)
        self.assertEqual(lines[-1]["done_reason"], "length")
        _, whole = self.server.post("/api/chat", dict(body, stream=False))
        self.assertEqual("".join(x["message"]["content"] for x in lines), whole["message"]["content"])
        _, generated = self.server.post("/api/generate", {"model": "tiny", "prompt": "What is a tide?", "stream": False,
                                                          "options": {"temperature": 0, "num_predict": 6}})
        self.assertEqual(generated["response"], whole["message"]["content"])
        _, raw = self.server.post("/api/generate", {"model": "tiny", "prompt": "What", "raw": True, "stream": False,
                                                    "options": {"num_predict": 2}})
        self.assertEqual(raw["eval_count"], 2)

    def test_models(self):
        _, loaded = self.server.post("/api/generate", {"model": "tiny"})
        self.assertEqual(loaded["done_reason"], "load")
        self.assertEqual(self.server.get("/api/tags")[1]["models"][0]["name"], "tiny")
        self.assertEqual(self.server.get("/api/ps")[1]["models"][0]["name"], "tiny")
        _, shown = self.server.post("/api/show", {"model": "tiny"})
        self.assertEqual(shown["model_info"]["llama.context_length"], 2048)
        self.assertIn("completion", shown["capabilities"])
        self.assertIn("version", self.server.get("/api/version")[1])
        self.assertEqual(self.server.raw("POST", "/api/copy", {"source": "tiny", "destination": "small"})[0], 200)
        self.assertEqual(self.server.post("/v1/chat/completions", chat(model="small"))[0], 200)
        self.assertEqual(self.server.raw("DELETE", "/api/delete", {"model": "small"})[0], 200)
        self.assertEqual(self.server.post("/v1/chat/completions", chat(model="small"))[0], 404)

    def test_errors(self):
        for body, status in (({"model": "none", "messages": HI}, 404), ({"model": "tiny", "messages": HI, "nonsense": 1}, 400),
                             ({"model": "tiny", "messages": HI, "options": {"nonsense": 1}}, 400),
                             ({"model": "tiny", "messages": HI, "options": {"num_ctx": 2}}, 400)):
            got, error = self.server.post("/api/chat", body)
            self.assertEqual(got, status, error)
            self.assertIsInstance(error["error"], str)
        self.assertEqual(self.server.post("/api/pull", {"model": "http://169.254.169.254/x"})[0], 400)
        self.assertEqual(self.server.post("/api/pull", {"model": "/etc/passwd"})[0], 400)


class Doors(Case):
    """What must not get in, and what must not break the server."""

    def test_hosts_and_origins(self):
        self.assertEqual(self.server.get("/v1/models", Host="evil.example")[0], 403)
        self.assertEqual(self.server.get("/v1/models", Host="localhost:1")[0], 200)
        self.assertEqual(self.server.get("/v1/models", Origin="https://evil.example")[0], 403)
        self.assertEqual(self.server.get("/v1/models", Origin="null")[0], 403)
        status, _, headers = self.server.raw("OPTIONS", "/v1/chat/completions", None, {"Origin": "http://localhost:3000"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, "http://localhost:3000"))

    def test_bodies(self):
        for body in (b"", b"{", b"[]", b"{\"a\":" * 300 + b"1" + b"}" * 300, b"\xff\xfe", b'{"model": "\xc3"}', b"null"):
            status, content, _ = self.server.raw("POST", "/v1/chat/completions", body)
            self.assertEqual(status, 400, body[:20])
            self.assertIn("message", json.loads(content)["error"])
        status, content, _ = self.server.raw("POST", "/v1/chat/completions", b"", {"Content-Length": str(10 << 30)})
        self.assertEqual(status, 413)
        self.assertEqual(self.server.get("/no/such/thing")[0], 404)
        self.assertEqual(self.server.get("/v1/chat/completions")[0], 405)

    def test_cut_requests(self):
        for text in (b"GET", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"mod",
                     b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000, b"\r\n" * 100):
            with socket.create_connection((self.server.host, self.server.port)) as s:
                try:
                    s.sendall(text)
                except OSError:
                    pass
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_who_leaves_is_not_worked_for(self):
        connection = self.server.connection()
        connection.request("POST", "/v1/chat/completions", json.dumps(chat(max_tokens=1900, stream=True, ignore_eos=True, n=16)))
        response = connection.getresponse()
        response.read(10)
        connection.sock.shutdown(socket.SHUT_RDWR)
        response.close()
        connection.close()
        until = time.monotonic() + 20
        while self.server.metric("houle_num_requests_running") > 0:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)
        self.assertLess(self.server.metric("houle_generation_tokens_total"), 16 * 1900)

    def test_health_and_metrics(self):
        self.server.post("/v1/chat/completions", chat())
        self.assertEqual(self.server.get("/health")[1]["status"], "ok")
        self.assertEqual(self.server.get("/ready?model=tiny")[0], 200)
        self.assertEqual(self.server.get("/ready?model=other")[0], 503)
        for name in ("houle_time_to_first_token_seconds_count", "houle_request_prompt_tokens_count", "houle_prompt_tokens_total",
                     "houle_model_loads_total", "houle_memory_budget_bytes"):
            self.assertGreater(self.server.metric(name), 0, name)

    def test_deadline(self):
        status, error = self.server.post("/v1/chat/completions", chat(max_tokens=1900, ignore_eos=True, n=16),
                                         **{"X-Request-Deadline-Seconds": "0.05"})
        self.assertEqual(status, 503, error)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        assert "tide" not in cls.log, "a prompt stands in the log"


class KeysAtOnce(unittest.TestCase):
    def test_none_is_lost(self):
        """The file is read, added to and replaced: of two who do so at once, one must wait."""
        with tempfile.TemporaryDirectory(prefix="houle_keys_") as home:
            file = pathlib.Path(home) / "keys.json"
            names = [f"key{i}" for i in range(24)]
            made = [subprocess.Popen([serve_case.HOULE, "serve", "--keys", str(file), "--make-key", name], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL) for name in names]
            self.assertEqual(len({p.communicate()[0] for p in made}), len(names))
            self.assertEqual([p.returncode for p in made], [0] * len(names))
            self.assertEqual(sorted(k["name"] for k in json.loads(file.read_text())["keys"]), sorted(names))
            self.assertEqual([f.name for f in file.parent.iterdir()], ["keys.json"])


class KeysAndModels(Case):
    """Keys with scopes and rates; two models in a budget that holds one; a broken one; a new one."""

    @classmethod
    def arguments(cls):
        tiny_model.make(cls.models / "other", seed=2, context=2048, template=TEMPLATE)
        (cls.models / "broken").mkdir()
        (cls.models / "broken" / "config.json").write_text('{"model_type": "llama"}')
        cls.file = cls.home / "keys.json"
        cls.keys = {}
        for name, more in (("boss", ["--admin"]), ("guest", []), ("slow", [])):
            made = subprocess.run([serve_case.HOULE, "serve", "--keys", str(cls.file), "--make-key", name, *more], check=True, capture_output=True)
            cls.keys[name] = made.stdout.decode().strip()
        text = json.loads(cls.file.read_text())
        text["keys"][1]["models"] = ["tin*"]
        text["keys"][2]["requests_per_minute"] = 2
        cls.file.write_text(json.dumps(text))
        assert cls.keys["boss"] not in cls.file.read_text()
        config = cls.home / "config.json"
        config.write_text(json.dumps({"defaults": {"context": 512, "sequences": 4},
                                      "models": {"tiny": {"path": "models/tiny", "aliases": ["alias"]},
                                                 "other": {"path": "models/other"}}}))
        return ["--models", str(cls.models), "--config", str(config), "--keys", str(cls.file), "--memory", cls.budget()]

    @classmethod
    def budget(cls):
        return "5M"  # one takes 3.2 MB with a context of 512

    def ask(self, key, **body):
        return self.server.post("/v1/chat/completions", chat(**body), Authorization="Bearer " + key)

    def test_keys(self):
        status, error = self.server.post("/v1/chat/completions", chat())
        self.assertEqual((status, error["error"]["code"]), (401, "invalid_api_key"))
        self.assertEqual(self.ask("houle-wrong")[0], 401)
        self.assertEqual(self.ask(self.keys["boss"])[0], 200)
        status, _ = self.server.post("/v1/messages", {"model": "tiny", "max_tokens": 2, "messages": HI}, **{"x-api-key": self.keys["guest"]})
        self.assertEqual(status, 200)
        self.assertEqual(self.ask(self.keys["guest"], model="other")[0], 403)
        status, models = self.server.get("/v1/models", Authorization="Bearer " + self.keys["guest"])
        self.assertEqual([m["id"] for m in models["data"]], ["tiny"])
        status, _ = self.server.post("/api/copy", {"source": "tiny", "destination": "x"}, Authorization="Bearer " + self.keys["guest"])
        self.assertEqual(status, 403)
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_rates(self):
        self.assertEqual([self.ask(self.keys["slow"])[0] for _ in range(3)], [200, 200, 429])
        _, _, headers = self.server.raw("POST", "/v1/chat/completions", chat(), {"Authorization": "Bearer " + self.keys["slow"]})
        self.assertGreater(int(headers["Retry-After"]), 0)

    def test_models_make_way_for_each_other(self):
        boss = self.keys["boss"]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda i: self.ask(boss, model=("tiny", "other", "alias")[i % 3]), range(18)))
        self.assertEqual([a[0] for a in answers], [200] * 18, [a[1] for a in answers if a[0] != 200])
        _, content, _ = self.server.raw("GET", "/metrics", None, {"Authorization": "Bearer " + boss})
        values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in content.decode().splitlines() if not line.startswith("#")}
        self.assertGreater(values["houle_model_evictions_total{}"], 0)
        self.assertLessEqual(sum(v for k, v in values.items() if k.startswith("houle_memory_models_bytes")), values["houle_memory_budget_bytes{}"])

    def test_a_broken_model_harms_nobody(self):
        status, error = self.ask(self.keys["boss"], model="broken")
        self.assertEqual(status, 500)
        self.assertTrue(error["error"]["message"])
        self.assertEqual(self.ask(self.keys["boss"])[0], 200)

    def test_new_models_are_noticed(self):
        tiny_model.make(self.models / "late", seed=3, context=2048, template=TEMPLATE)
        time.sleep(1.1)
        self.assertEqual(self.ask(self.keys["boss"], model="late")[0], 200)


class Page(Case):
    """The files of the page: what browsers are told with them, and that they are sent once."""

    def test_front(self):
        status, body, headers = self.server.raw("GET", "/", None, {"Accept": "text/html,*/*;q=0.8"})
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn(b"<!doctype html>", body)
        policy = dict(p.strip().split(" ", 1) for p in headers["Content-Security-Policy"].split(";"))
        self.assertEqual({policy[p] for p in ("default-src", "base-uri", "form-action", "frame-ancestors")}, {"'none'"})
        self.assertEqual({policy[p] for p in ("script-src", "style-src", "connect-src")}, {"'self'"})
        self.assertEqual((headers["X-Content-Type-Options"], headers["Referrer-Policy"]), ("nosniff", "no-referrer"))
        for wrong in (b"<script>", b"onclick", b"style=", b"http:", b"https:", b"//"):
            self.assertNotIn(wrong, body)
        status, body, headers = self.server.raw("GET", "/", None, {"Accept": "*/*"})  # programs
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
        self.assertIn(b"is running", body)

    def test_files(self):
        _, front, _ = self.server.raw("GET", "/", None, {"Accept": "text/html"})
        types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        left, seen = re.findall(r'(?:href|src)="(page/[^"]+)"', front.decode()), set()
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            status, body, headers = self.server.raw("GET", "/" + name)
            self.assertEqual((status, headers["Content-Type"]), (200, types[name.rsplit(".", 1)[1]]), name)
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            left += ["page/" + m for m in re.findall(r'from "\./([^"]+)"', body.decode())]
            status, again, known = self.server.raw("GET", "/" + name, None, {"If-None-Match": headers["ETag"]})
            self.assertEqual((status, again, known["ETag"]), (304, b"", headers["ETag"]))
            self.assertEqual(self.server.raw("GET", "/" + name, None, {"If-None-Match": '"other"'})[0], 200)
            status, nothing, head = self.server.raw("HEAD", "/" + name)
            self.assertEqual((status, nothing, head["Content-Length"]), (200, b"", str(len(body))))
        self.assertGreater(len(seen), 15)
        for wrong in ("/page/", "/page/none.js", "/page/../page/main.js", "/page/%2e%2e/main.js"):
            self.assertEqual(self.server.raw("GET", wrong)[0], 404, wrong)
        self.assertEqual(self.server.raw("POST", "/page/main.js", "{}")[0], 405)


class Effective(unittest.TestCase):
    def test_settings_and_who_says_so(self):
        with tempfile.TemporaryDirectory(prefix="houle_serve_") as home:
            folder = tiny_model.make(pathlib.Path(home) / "tiny", context=2048, template=TEMPLATE)
            (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_k": 20}')
            config = pathlib.Path(home) / "config.json"
            config.write_text(json.dumps({"defaults": {"sequences": 4, "context": 1024},
                                          "models": {"assistant": {"path": "tiny", "aliases": ["gpt"], "context": 512, "defaults": {"top_k": 7, "seed": 1}},
                                                     "helped": {"path": "tiny", "draft": "small"}}}))

            def show(*arguments):
                done = subprocess.run([serve_case.HOULE, "show", "--effective", *arguments], capture_output=True, timeout=60, check=False,
                                      env={"HOME": home, "PATH": "/usr/bin:/bin"})
                return done.returncode, done.stdout.decode(), done.stderr.decode()

            status, out, err = show("gpt", "--config", str(config), "--json")
            self.assertEqual(status, 0, err)
            rows = {r["name"]: (r["value"], r["from"]) for r in json.loads(out)["settings"]}
            self.assertEqual(rows["context"], (512, f"{config}, models.assistant"))
            self.assertEqual(rows["sequences"], (4, f"{config}, defaults"))
            self.assertEqual(rows["batch"], (256, "built in"))
            self.assertEqual(rows["temperature"][1], "the model's files")
            self.assertAlmostEqual(rows["temperature"][0], 0.6, 5)
            self.assertEqual((rows["top_k"], rows["seed"]), ((7, f"{config}, models.assistant"), (1, f"{config}, models.assistant")))
            self.assertEqual(rows["top_p"][1], "built in")
            self.assertEqual((rows["draft"], rows["draft_tokens"]), ((None, "built in"), (4, "built in")))
            status, out, err = show("helped", "--config", str(config), "--json")
            rows = {r["name"]: (r["value"], r["from"]) for r in json.loads(out)["settings"]}
            self.assertEqual((rows["draft"], rows["draft_tokens"]), (("small", f"{config}, models.helped"), (8, "built in")))
            status, out, _ = show(str(folder))
            self.assertEqual(status, 0)
            self.assertIn("context", out)
            self.assertEqual(show("nothing")[0], 1)
            config.write_text('{"defaults": {"nonsense": 1}}')
            self.assertEqual(show(str(folder), "--config", str(config))[0], 1)


class Drafts(Case):
    """A model that guesses ahead for another: the same answers, its memory in the budget, a wrong one told of."""

    @classmethod
    def arguments(cls):
        tiny_model.make(cls.models / "other", seed=2, context=2048, template=TEMPLATE)
        tiny_model.make(cls.models / "wide", seed=2, context=2048, template=TEMPLATE)
        tokenizer = cls.models / "wide" / "tokenizer.json"
        text = json.loads(tokenizer.read_text("utf-8"))
        vocab = text["model"]["vocab"]
        first, second = sorted(k for k in vocab if len(k) == 1)[10:12]
        vocab[first], vocab[second] = vocab[second], vocab[first]
        tokenizer.write_text(json.dumps(text), "utf-8")
        config = cls.home / "config.json"
        config.write_text(json.dumps({"defaults": {"context": 512}, "models": {
            "plain": {"path": "models/tiny", "draft_tokens": 0}, "alike": {"path": "models/tiny", "draft": "models/tiny"},
            "helped": {"path": "models/tiny", "draft": "other"}, "wrong": {"path": "models/tiny", "draft": "wide"}}}))
        return ["--models", str(cls.models), "--config", str(config), "--memory", "1G"]

    def test_guesses_change_nothing(self):
        bytes_of = {}
        for seed in range(4):
            answers = {}
            for name in ("plain", "alike", "helped"):
                status, answer = self.server.post("/v1/chat/completions", chat(model=name, seed=seed, max_tokens=80, ignore_eos=True))
                self.assertEqual(status, 200, answer)
                answers[name] = answer["choices"][0]["message"]["content"]
            self.assertEqual(len(set(answers.values())), 1, answers)
        _, running = self.server.get("/api/ps")
        for model in running["models"]:
            bytes_of[model["name"]] = model["size"]
        self.assertGreater(bytes_of["helped"], bytes_of["plain"] + 100000)

    def test_another_vocabulary_is_refused(self):
        status, error = self.server.post("/v1/chat/completions", chat(model="wrong"))
        self.assertEqual(status, 500)
        self.assertIn("one vocabulary", error["error"]["message"])


class Stopping(unittest.TestCase):
    def test_answers_are_completed(self):
        with tempfile.TemporaryDirectory(prefix="houle_serve_") as home:
            tiny_model.make(pathlib.Path(home) / "tiny", context=2048, template=TEMPLATE)
            server = Server(home, str(pathlib.Path(home) / "tiny"), "--memory", "1G")
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                answer = pool.submit(server.post, "/v1/chat/completions", chat(max_tokens=300, ignore_eos=True))
                until = time.monotonic() + 20
                while server.metric("houle_num_requests_running") < 1 and time.monotonic() < until and not answer.done():
                    time.sleep(0.005)
                server.process.send_signal(signal.SIGTERM)
                server.asked_to_stop = True
                status, whole = answer.result(60)
            self.assertEqual((status, whole["usage"]["completion_tokens"]), (200, 300))
            server.stop()

    def test_other_machines_are_not_let_in_without_keys(self):
        done = subprocess.run([serve_case.HOULE, "serve", "--no-store", "--host", "0.0.0.0", "--port", "0", "--cache-disk", "0"], capture_output=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"API keys", done.stderr)


if __name__ == "__main__":
    serve_case.HOULE = sys.argv.pop(1)
    unittest.main()
