#!/usr/bin/env python3
"""/v1/responses as its clients see it: items, events, conversations that the server keeps, answers in the background.

    responses_test.py HOULE
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import serve_case
import tiny_model
from serve_case import TEMPLATE, Case, Server

ASK = "What is a tide?"
TOOL = {"type": "function", "name": "tide", "strict": False, "parameters": {
    "type": "object", "properties": {"port": {"type": "string", "enum": ["Brest", "Lorient"]}, "hours": {"type": "integer"}},
    "required": ["port"], "additionalProperties": False}}


def ask(**more):
    return {"model": "tiny", "input": ASK, "max_output_tokens": 12, "temperature": 0, **more}


# Long enough to be interrupted, also where a small model runs fast.
SLOW = {"max_output_tokens": 1900, "guided_regex": "[a-z ]{8000}", "top_logprobs": 20, "temperature": 1}


def text_of(response):
    return "".join(p["text"] for i in response["output"] if i["type"] == "message" for p in i["content"])


class Responses(Case):
    where = "/v1/responses"

    def make(self, **more):
        status, response = self.server.post(self.where, ask(**more))
        self.assertEqual(status, 200, response)
        return response

    def test_an_answer_has_all_its_fields(self):
        r = self.make(metadata={"a": "b"}, instructions="Be brief.")
        for key in ("id", "object", "created_at", "status", "error", "incomplete_details", "instructions", "max_output_tokens", "model",
                    "output", "parallel_tool_calls", "previous_response_id", "reasoning", "store", "temperature", "text", "tool_choice",
                    "tools", "top_p", "truncation", "usage", "metadata", "background"):
            self.assertIn(key, r)
        self.assertEqual((r["object"], r["metadata"], r["instructions"]), ("response", {"a": "b"}, "Be brief."))
        self.assertEqual((r["status"], r["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"}))
        usage = r["usage"]
        self.assertEqual(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
        self.assertEqual(usage["output_tokens"], 12)
        self.assertIn("cached_tokens", usage["input_tokens_details"])
        self.assertIn("reasoning_tokens", usage["output_tokens_details"])
        message = r["output"][-1]
        self.assertEqual((message["type"], message["role"], message["content"][0]["type"]), ("message", "assistant", "output_text"))
        # The same as chat completions say of the same prompt.
        _, chat = self.server.post("/v1/chat/completions", {"model": "tiny", "temperature": 0, "max_tokens": 12, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]})
        self.assertEqual(text_of(r), chat["choices"][0]["message"]["content"])

    def test_events_add_up_to_the_answer(self):
        events = self.server.events(self.where, ask(stream=True))
        self.assertTrue(all(name == data["type"] for name, data in events))
        self.assertEqual([d["sequence_number"] for _, d in events], list(range(len(events))))
        names = [name.removeprefix("response.") for name, _ in events]
        deltas = names.count("output_text.delta")
        self.assertEqual(names, ["created", "in_progress", "output_item.added", "content_part.added"] + ["output_text.delta"] * deltas +
                         ["output_text.done", "content_part.done", "output_item.done", "incomplete"])
        text = "".join(d["delta"] for n, d in events if n == "response.output_text.delta")
        last = events[-1][1]["response"]
        self.assertEqual(text, text_of(last))
        self.assertEqual(text, text_of(self.make()))
        added = next(d for n, d in events if n == "response.output_item.added")
        self.assertTrue(all(d["item_id"] == added["item"]["id"] for n, d in events if "output_text" in n or "content_part" in n))
        self.assertEqual(self.server.get(f"{self.where}/{last['id']}")[1], last)

    def test_a_conversation_goes_on(self):
        first = self.make(instructions="Speak of the sea.")
        second = self.make(previous_response_id=first["id"], input=[{"role": "user", "content": [{"type": "input_text", "text": "And ebb?"}]}])
        self.assertEqual(second["previous_response_id"], first["id"])
        whole = [{"role": "user", "content": ASK}, {"role": "assistant", "content": text_of(first)}, {"role": "user", "content": "And ebb?"}]
        same = self.make(input=whole, store=False)
        self.assertEqual(text_of(second), text_of(same))  # instructions are not handed on
        third = self.make(previous_response_id=second["id"], input="More.")
        self.assertGreater(third["usage"]["input_tokens"], second["usage"]["input_tokens"])
        self.refused(self.where, ask(previous_response_id="resp_none"), 400, "previous_response_id", "previous_response_not_found")
        self.refused(self.where, ask(previous_response_id=same["id"]), 400, "previous_response_id")
        status, items = self.server.get(f"{self.where}/{second['id']}/input_items")
        self.assertEqual((status, items["object"], len(items["data"]), items["has_more"]), (200, "list", 1, False))
        self.assertEqual(items["data"][0]["role"], "user")
        status, gone, _ = self.server.raw("DELETE", f"{self.where}/{second['id']}")
        self.assertEqual((status, json.loads(gone)["deleted"]), (200, True))
        self.assertEqual(self.server.get(f"{self.where}/{second['id']}")[0], 404)
        self.assertEqual(self.server.get(f"{self.where}/{second['id']}/nothing")[0], 404)
        self.refused(self.where, ask(previous_response_id=third["id"]), 400, "previous_response_id")  # a link is missing

    def test_pages_of_items(self):
        items = [{"role": "user", "content": f"{i}"} for i in range(5)]
        r = self.make(input=items)
        where = f"{self.where}/{r['id']}/input_items"
        _, page = self.server.get(where + "?limit=2&order=asc")
        self.assertEqual([i["content"] for i in page["data"]], ["0", "1"])
        self.assertTrue(page["has_more"])
        _, page = self.server.get(where + f"?limit=3&order=asc&after={page['last_id']}")
        self.assertEqual(([i["content"] for i in page["data"]], page["has_more"]), (["2", "3", "4"], False))
        self.assertEqual(self.server.get(where)[1]["data"][0]["content"], "4")
        self.assertEqual(self.server.get(where + "?limit=0")[0], 400)

    def test_items_of_all_kinds(self):
        conversation = [
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tide at Brest?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I should look."}]},
            {"type": "function_call", "call_id": "c1", "name": "tide", "arguments": "{\"port\": \"Brest\"}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "shell", "input": "ls \"x\""},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "high"}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "none"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "High.", "annotations": []}]},
            {"role": "user", "content": "Thanks."},
        ]
        tools = [TOOL, {"type": "custom", "name": "shell"}, {"type": "namespace", "name": "n", "tools": []}, {"type": "web_search"}]
        r = self.make(input=conversation, tools=tools)
        self.assertEqual(len([w for w in r["warnings"] if "not known here" in w]), 3, r["warnings"])
        for bad in ([{"type": "function_call", "name": "x"}], [{"role": "robot", "content": ""}], [1], {"a": 1},
                    [{"role": "user", "content": [{"type": "input_image", "image_url": "http://169.254.169.254/"}]}]):
            self.refused(self.where, ask(input=bad), 400)
        self.assertEqual(self.make(input=[], max_output_tokens=1)["usage"]["output_tokens"], 1)  # some ask so whether anybody is there
        first = self.make()
        again = self.make(input=[{"role": "user", "content": ASK}, {"type": "item_reference", "id": first["output"][0]["id"]},
                                 {"role": "user", "content": "More."}])
        self.assertEqual(again["usage"]["input_tokens"], self.make(previous_response_id=first["id"], input="More.")["usage"]["input_tokens"])
        self.refused(self.where, ask(input=[{"type": "item_reference", "id": "msg_none_0"}]), 400, "input", "item_not_found")

    def test_fields_are_honoured_or_named(self):
        for field in ({"conversation": "c"}, {"prompt": {"id": "p"}}, {"no_such_field": 1}, {"include": ["nothing"]}, {"truncation": "x"},
                      {"metadata": {"a": 1}}, {"top_logprobs": 99}, {"background": True, "store": False},
                      {"tool_choice": {"type": "function", "name": "none"}}, {"max_output_tokens": -1}, {"reasoning": {"effort": "huge"}},
                      {"context_management": [{"type": "compaction"}]}):
            status, error = self.server.post(self.where, ask(**field))
            self.assertEqual(status, 400, field)
            self.assertIn(error["error"]["param"].split(".")[0].split("_effort")[0], field)
        self.refused(self.where, ask(model="none"), 404, code="model_not_found")
        self.refused(self.where, ask(input="tide " * 3000), 400, code="context_length_exceeded")
        r = self.make(user="me", safety_identifier="x", service_tier="auto", prompt_cache_key="k", max_tool_calls=2, parallel_tool_calls=True,
                      reasoning={"effort": "low"}, text={"verbosity": "low"}, include=["reasoning.encrypted_content"], stream_options=None)
        self.assertEqual(r["reasoning"], {"effort": "low"})
        _, count = self.server.post(self.where + "/input_tokens", {"model": "tiny", "input": ASK})
        self.assertEqual((count["object"], count["input_tokens"]), ("response.input_tokens", self.make()["usage"]["input_tokens"]))

    def test_truncation(self):
        items = [{"role": "user", "content": f"{i} " + "The sea rises and falls. " * 20} for i in range(12)]
        self.refused(self.where, ask(input=items), 400, code="context_length_exceeded")
        r = self.make(input=items, truncation="auto")
        self.assertIn("oldest items", r["warnings"][0])
        self.assertLess(r["usage"]["input_tokens"], 2048)

    def test_formats_and_log_probabilities(self):
        schema = {"type": "object", "properties": {"tide": {"type": "boolean"}}, "required": ["tide"], "additionalProperties": False}
        r = self.make(text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}, max_output_tokens=100,
                      temperature=1, seed=3)
        self.assertIsInstance(json.loads(text_of(r))["tide"], bool)
        self.assertEqual(r["status"], "completed")
        self.refused(self.where, ask(text={"format": {"type": "json_schema", "schema": {"$dynamicRef": "#x"}}}), 400, "text.format")
        r = self.make(include=["message.output_text.logprobs"], top_logprobs=2)
        tokens = r["output"][0]["content"][0]["logprobs"]
        self.assertEqual({len(t["top_logprobs"]) for t in tokens}, {2})
        events = self.server.events(self.where, ask(include=["message.output_text.logprobs"], top_logprobs=2, stream=True))
        streamed = [t for n, d in events if n == "response.output_text.delta" for t in d["logprobs"]]
        self.assertEqual(streamed, tokens)

    def test_calls(self):
        body = {"tools": [TOOL], "tool_choice": "required", "max_output_tokens": 200, "temperature": 1, "seed": 3}
        r = self.make(**body)
        call = r["output"][-1]
        self.assertEqual((call["type"], call["name"], call["status"]), ("function_call", "tide", "completed"))
        self.assertIn(json.loads(call["arguments"])["port"], ("Brest", "Lorient"))
        events = self.server.events(self.where, ask(**body, stream=True))
        names = [n for n, _ in events]
        self.assertIn("response.function_call_arguments.delta", names)
        arguments = "".join(d["delta"] for n, d in events if n == "response.function_call_arguments.delta")
        self.assertEqual(arguments, call["arguments"])
        done = next(d for n, d in events if n == "response.function_call_arguments.done")
        self.assertEqual((done["arguments"], done["name"]), (arguments, "tide"))
        after = self.make(previous_response_id=r["id"], tools=[TOOL], input=[{"type": "function_call_output", "call_id": call["call_id"], "output": "high"}])
        self.assertGreater(after["usage"]["input_tokens"], r["usage"]["input_tokens"])
        for choice in ({"type": "function", "name": "tide"}, {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "tide"}]}):
            self.assertEqual(self.make(**dict(body, tool_choice=choice))["output"][-1]["name"], "tide")
        self.assertEqual(self.make(tools=[TOOL], tool_choice="none")["usage"]["input_tokens"], self.make()["usage"]["input_tokens"])

    def test_tools_that_take_text_in_a_grammar(self):
        lark = {"type": "custom", "name": "sum", "description": "Adds.", "format": {
            "type": "grammar", "syntax": "lark", "definition": 'start: NUMBER "+" NUMBER "\\n" "\\"" /[a-c]{2}/ "\\""\nNUMBER: /[0-9]{1,3}/'}}
        regex = {"type": "custom", "name": "date", "format": {"type": "grammar", "syntax": "regex", "definition": "20[0-9]{2}-[01][0-9]"}}
        for tool, pattern in ((lark, '^[0-9]{1,3}\\+[0-9]{1,3}\n"[a-c]{2}"$'), (regex, "^20[0-9]{2}-[01][0-9]$")):
            for seed in range(3):
                body = {"tools": [tool], "tool_choice": {"type": "custom", "name": tool["name"]}, "max_output_tokens": 200, "temperature": 1,
                        "seed": seed}
                call = self.make(**body)["output"][-1]
                self.assertEqual((call["type"], call["name"]), ("custom_tool_call", tool["name"]), call)
                self.assertRegex(call["input"], pattern)
            events = self.server.events(self.where, ask(**body, stream=True))
            self.assertEqual("".join(d["delta"] for n, d in events if n == "response.custom_tool_call_input.delta"), call["input"])
        bad = dict(lark, format=dict(lark["format"], definition="start: ("))
        self.refused(self.where, ask(tools=[bad], tool_choice={"type": "custom", "name": "sum"}), 400, "tool_choice", "unsupported_constraint")
        self.refused(self.where, ask(tools=[dict(lark, format={"type": "grammar", "syntax": "abnf", "definition": ""})]), 400, "tools")

    def wait(self, made, *states):
        until = time.monotonic() + 60
        while True:
            status, r = self.server.get(f"{self.where}/{made['id']}")
            self.assertEqual(status, 200, r)
            if r["status"] in states:
                return r
            self.assertLess(time.monotonic(), until, r)
            time.sleep(0.02)

    def test_in_the_background(self):
        made = self.make(background=True)
        self.assertEqual(made["status"], "queued")
        done = self.wait(made, "incomplete")
        self.assertEqual(text_of(done), text_of(self.make()))
        events = self.server.events(self.where, ask(background=True, stream=True))
        made = events[0][1]["response"]
        self.assertEqual(events[-1][0], "response.incomplete")
        _, content, _ = self.server.raw("GET", f"{self.where}/{made['id']}?stream=true&starting_after=3")
        again = [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith("data: ")]
        self.assertEqual(again, [d for _, d in events[4:]])
        self.assertEqual(self.server.get(f"{self.where}/{done['id']}?stream=true")[0], 400)

    def test_cancelling(self):
        made = self.make(background=True, **SLOW)
        status, cancelled = self.server.post(f"{self.where}/{made['id']}/cancel", {})
        self.assertEqual((status, cancelled["status"]), (200, "cancelled"))
        self.assertLess(cancelled["usage"]["output_tokens"], 1900)
        self.assertEqual(self.server.get(f"{self.where}/{made['id']}")[1]["status"], "cancelled")
        self.assertEqual(self.server.post(f"{self.where}/{self.make()['id']}/cancel", {})[0], 400)
        self.assertEqual(self.server.post(f"{self.where}/resp_none/cancel", {})[0], 404)
        # A client that leaves takes nothing with it.
        connection = self.server.connection()
        connection.request("POST", self.where, json.dumps(ask(background=True, stream=True, max_output_tokens=200, ignore_eos=True)))
        response = connection.getresponse()
        line = b""
        while not line.startswith(b"data: "):
            line = response.readline()
        first = json.loads(line[6:])["response"]
        connection.close()
        self.assertEqual(self.wait(first, "incomplete")["usage"]["output_tokens"], 200)


class Reasoning(Case):
    """A model whose answers begin within its reasoning."""

    @classmethod
    def arguments(cls):
        template = TEMPLATE.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}") + "{# </think> #}"
        tiny_model.make(cls.models / "thinker", context=2048, template=template)
        return super().arguments()

    def test_budgets(self):
        for body, where in (({"reasoning": {"max_tokens": 7}}, "/v1/responses"), ({"thinking_budget": 7}, "/v1/responses")):
            r = self.server.post(where, ask(model="thinker", max_output_tokens=40, ignore_eos=True, logit_bias={"2005": -100}, **body))[1]
            self.assertEqual([i["type"] for i in r["output"]], ["reasoning", "message"], r)
            self.assertGreaterEqual(r["usage"]["output_tokens_details"]["reasoning_tokens"], 7)
            self.assertLess(r["usage"]["output_tokens_details"]["reasoning_tokens"], 20)
        chat = {"model": "thinker", "messages": serve_case.HI, "temperature": 0, "logit_bias": {"2005": -100}, "max_tokens": 40, "ignore_eos": True}
        whole = self.server.post("/v1/chat/completions", chat)[1]["choices"][0]["message"]
        cut = self.server.post("/v1/chat/completions", dict(chat, thinking_budget_tokens=7))[1]["choices"][0]["message"]
        self.assertTrue(whole["reasoning_content"].startswith(cut["reasoning_content"]))
        self.assertEqual(whole["content"], "")
        self.assertTrue(cut["content"])
        hidden = self.server.post("/v1/chat/completions", dict(chat, reasoning={"max_tokens": 7, "exclude": True}))[1]["choices"][0]["message"]
        self.assertEqual(hidden["content"], cut["content"])
        self.assertNotIn("reasoning_content", hidden)
        # a form binds what comes behind the reasoning, not the reasoning itself
        bound = self.server.post("/v1/chat/completions", dict(chat, thinking_budget_tokens=7, guided_choice=["ebb", "flow"]))[1]["choices"][0]["message"]
        self.assertEqual(bound["reasoning_content"], cut["reasoning_content"])
        self.assertIn(bound["content"], ("ebb", "flow"))
        message = {"model": "thinker", "messages": serve_case.HI, "temperature": 0, "max_tokens": 1500,
                   "thinking": {"type": "enabled", "budget_tokens": 1024}}
        blocks = self.server.post("/v1/messages", message)[1]
        self.assertEqual([b["type"] for b in blocks["content"]][0], "thinking")

    def test_reasoning_comes_back(self):
        body = ask(model="thinker", max_output_tokens=40, ignore_eos=True, logit_bias={"2005": -100}, reasoning={"max_tokens": 7}, include=["reasoning.encrypted_content"])
        events = self.server.events("/v1/responses", dict(body, stream=True))
        names = [n.removeprefix("response.") for n, _ in events]
        for name in ("reasoning_text.delta", "reasoning_text.done", "output_text.delta"):
            self.assertIn(name, names)
        r = events[-1][1]["response"]
        reasoning, message = r["output"]
        self.assertEqual(reasoning["content"][0]["type"], "reasoning_text")
        counts = []
        for item in (reasoning, dict(reasoning, content=None), dict(reasoning, content=[], encrypted_content=None, summary=[
                {"type": "summary_text", "text": reasoning["content"][0]["text"]}])):
            item = {k: v for k, v in item.items() if v is not None}
            status, count = self.server.post("/v1/responses/input_tokens", {"model": "thinker", "input": [
                {"role": "user", "content": ASK}, item, message, {"role": "user", "content": "More."}]})
            self.assertEqual(status, 200, count)
            counts.append(count["input_tokens"])
        self.assertEqual(len(set(counts)), 1)
        status, _ = self.server.post("/v1/responses", ask(input=[{"role": "user", "content": ASK}, dict(reasoning, encrypted_content="gAAAA!"), message]))
        self.assertEqual(status, 200)
        events = self.server.events("/v1/responses", dict(body, reasoning={"max_tokens": 7, "summary": "auto"}, stream=True))
        names = [n.removeprefix("response.") for n, _ in events]
        for name in ("reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"):
            self.assertIn(name, names)
        self.assertTrue(events[-1][1]["response"]["output"][0]["summary"][0]["text"])


class Keeping(unittest.TestCase):
    """What was answered outlives the process, and belongs to the key that asked."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="houle_responses_")
        self.home = pathlib.Path(self.folder.name)
        tiny_model.make(self.home / "tiny", context=2048, template=TEMPLATE)

    def tearDown(self):
        self.folder.cleanup()

    def serve(self, *more):
        return Server(self.home, str(self.home / "tiny"), "--memory", "1G", *more)

    def test_through_a_crash(self):
        server = self.serve()
        first = server.post("/v1/responses", ask())[1]
        running = server.post("/v1/responses", ask(background=True, **SLOW))[1]
        server.kill()
        server = self.serve()
        status, again = server.get("/v1/responses/" + first["id"])
        self.assertEqual((status, again), (200, first))
        status, lost = server.get("/v1/responses/" + running["id"])
        self.assertEqual((status, lost["status"], lost["error"]["code"]), (200, "failed", "server_error"))
        status, more = server.post("/v1/responses", ask(previous_response_id=first["id"], input="More."))
        self.assertEqual(status, 200, more)
        self.assertGreater(more["usage"]["input_tokens"], first["usage"]["input_tokens"])
        self.assertEqual((self.home / "state" / "houle" / "serve").stat().st_mode & 0o777, 0o700)
        server.stop()

    def test_budget_and_memory(self):
        server = self.serve("--state-disk", "20K")
        made = [server.post("/v1/responses", ask())[1]["id"] for _ in range(30)]
        found = [server.get("/v1/responses/" + i)[0] for i in made]
        self.assertEqual((found[0], found[-1]), (404, 200))
        server.stop()
        server = self.serve("--state-disk", "0")
        self.assertEqual(server.get("/v1/responses/" + made[-1])[0], 404)
        first = server.post("/v1/responses", ask())[1]
        self.assertEqual(server.post("/v1/responses", ask(previous_response_id=first["id"]))[0], 200)
        server.stop()

    def test_keys(self):
        keys = []
        for name in ("one", "two"):
            made = subprocess.run([serve_case.HOULE, "serve", "--keys", str(self.home / "keys"), "--make-key", name], check=True, capture_output=True)
            keys.append({"Authorization": "Bearer " + made.stdout.decode().strip()})
        server = self.serve("--keys", str(self.home / "keys"))
        first = server.post("/v1/responses", ask(), **keys[0])[1]
        self.assertEqual(server.get("/v1/responses/" + first["id"], **keys[0])[0], 200)
        self.assertEqual(server.get("/v1/responses/" + first["id"], **keys[1])[0], 404)
        self.assertEqual(server.post("/v1/responses", ask(previous_response_id=first["id"]), **keys[1])[0], 400)
        status, _, _ = server.raw("DELETE", "/v1/responses/" + first["id"], None, keys[1])
        self.assertEqual(status, 404)
        server.stop()

    def test_stopping_waits_for_the_background(self):
        server = self.serve()
        made = server.post("/v1/responses", ask(background=True, max_output_tokens=300, ignore_eos=True))[1]
        server.stop()
        server = self.serve()
        self.assertEqual(server.get("/v1/responses/" + made["id"])[1]["usage"]["output_tokens"], 300)
        server.stop()


if __name__ == "__main__":
    serve_case.HOULE = sys.argv.pop(1)
    unittest.main()
