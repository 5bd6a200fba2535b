#!/usr/bin/env python3
"""The clients that programs really use, unchanged, against houle serve: openai, anthropic, ollama, langchain-openai (Python); openai and
ollama (JavaScript).

    clients_test.py HOULE

What is not installed is skipped with a message; `script/bootstrap --all` puts all of them into .venv.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import typing
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = pathlib.Path(os.environ.get("HOULE_CLIENTS", ROOT / ".venv"))
if (VENV / "bin" / "python").exists() and pathlib.Path(sys.prefix).resolve() != VENV.resolve():
    os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])

import serve_case
import tiny_model
from serve_case import HI, TEMPLATE, Case

PARAMETERS = {"type": "object", "properties": {"port": {"type": "string", "enum": ["Brest", "Lorient"]}}, "required": ["port"],
              "additionalProperties": False}


def need(name):
    return unittest.skipUnless(importlib.util.find_spec(name), f"the Python package {name} is not installed (script/bootstrap --all)")


class Clients(Case):
    @classmethod
    def arguments(cls):
        folder = tiny_model.make(cls.models / "vectors", context=2048, template=TEMPLATE)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
        template = TEMPLATE.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}") + "{# </think> #}"
        tiny_model.make(cls.models / "thinker", context=2048, template=template)
        return super().arguments()

    @property
    def url(self):
        return f"http://{self.server.host}:{self.server.port}"

    @need("openai")
    def test_openai(self):
        import openai
        client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
        self.assertIn("tiny", [m.id for m in client.models.list()])
        whole = client.chat.completions.create(model="tiny", messages=HI, max_tokens=8, temperature=0)
        text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(
            model="tiny", messages=HI, max_tokens=8, temperature=0, stream=True) if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        tools = [{"type": "function", "function": {"name": "tide", "parameters": PARAMETERS, "strict": True}}]
        called = client.chat.completions.create(model="tiny", messages=HI, tools=tools, tool_choice="required", max_tokens=200)
        self.assertIn(json.loads(called.choices[0].message.tool_calls[0].function.arguments)["port"], ("Brest", "Lorient"))
        self.assertEqual(len(client.embeddings.create(model="vectors", input="The sea").data[0].embedding), 64)  # asks for base64
        self.assertTrue(client.completions.create(model="tiny", prompt="The", max_tokens=3).choices[0].text)
        with self.assertRaises(openai.NotFoundError):
            client.chat.completions.create(model="none", messages=HI)
        with self.assertRaises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=HI, temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")

    @need("openai")
    def test_openai_responses(self):
        import openai
        import pydantic
        client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
        first = client.responses.create(model="tiny", input="What is a tide?", max_output_tokens=8, temperature=0, extra_body={"ignore_eos": True})
        self.assertTrue(first.output_text)
        second = client.responses.create(model="tiny", input="And ebb?", previous_response_id=first.id, max_output_tokens=8)
        self.assertEqual(second.previous_response_id, first.id)
        self.assertEqual(client.responses.retrieve(first.id).output_text, first.output_text)
        self.assertEqual(len(list(client.responses.input_items.list(first.id))), 1)
        with client.responses.stream(model="tiny", input="What is a tide?", max_output_tokens=8, temperature=0, extra_body={"ignore_eos": True}) as stream:
            types = [event.type for event in stream]
            final = stream.get_final_response() if "response.completed" in types else None
        self.assertIn("response.output_text.delta", types)
        self.assertTrue(final is None or final.output_text == first.output_text)
        tools = [{"type": "function", "name": "tide", "parameters": PARAMETERS, "strict": True}]
        called = client.responses.create(model="tiny", input="Tide?", tools=tools, tool_choice="required", max_output_tokens=200)
        call = next(i for i in called.output if i.type == "function_call")
        answer = client.responses.create(model="tiny", previous_response_id=called.id, tools=tools, max_output_tokens=8,
                                         input=[{"type": "function_call_output", "call_id": call.call_id, "output": "high"}])
        self.assertIn(answer.status, ("completed", "incomplete"))
        thought = client.responses.create(model="thinker", input="Hm", max_output_tokens=40, reasoning={"effort": "low"},
                                          extra_body={"thinking_budget": 5, "logit_bias": {"2005": -100}, "ignore_eos": True})
        self.assertEqual(thought.output[0].type, "reasoning")
        made = client.responses.create(model="tiny", input="Long", background=True, max_output_tokens=1900, top_logprobs=20,
                                       extra_body={"guided_regex": "[a-z ]{8000}"})
        self.assertEqual(client.responses.cancel(made.id).status, "cancelled")
        client.responses.delete(made.id)
        with self.assertRaises(openai.NotFoundError):
            client.responses.retrieve(made.id)

        class Answer(pydantic.BaseModel):
            port: typing.Literal["Brest", "Lorient"]
            high: bool

        parsed = client.responses.parse(model="tiny", input="Say.", text_format=Answer, max_output_tokens=400, temperature=1,
                                        extra_body={"seed": 1})
        self.assertTrue(parsed.output_parsed is None or isinstance(parsed.output_parsed.high, bool))

    @need("anthropic")
    def test_anthropic(self):
        import anthropic
        client = anthropic.Anthropic(base_url=self.url, api_key="none", max_retries=0)
        whole = client.messages.create(model="tiny", messages=HI, max_tokens=8, system="Be brief.", extra_body={"temperature": 0})
        with client.messages.stream(model="tiny", messages=HI, max_tokens=8, system="Be brief.", extra_body={"temperature": 0}) as stream:
            self.assertEqual("".join(stream.text_stream), whole.content[0].text)
        tool = {"name": "tide", "input_schema": PARAMETERS}
        called = client.messages.create(model="tiny", messages=HI, max_tokens=200, tools=[tool], tool_choice={"type": "tool", "name": "tide"})
        use = called.content[-1]
        self.assertEqual((called.stop_reason, use.type), ("tool_use", "tool_use"))
        after = client.messages.create(model="tiny", max_tokens=8, tools=[tool], messages=HI + [
            {"role": "assistant", "content": called.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "high"}]}])
        self.assertEqual(after.role, "assistant")
        thought = client.messages.create(model="thinker", messages=HI, max_tokens=1100, thinking={"type": "enabled", "budget_tokens": 1024})
        self.assertEqual(thought.content[0].type, "thinking")
        self.assertGreater(client.messages.count_tokens(model="tiny", messages=HI).input_tokens, 5)
        with self.assertRaises(anthropic.NotFoundError):
            client.messages.create(model="none", messages=HI, max_tokens=8)

    @need("ollama")
    def test_ollama(self):
        import ollama
        client = ollama.Client(host=self.url)
        self.assertIn("tiny", [m.model for m in client.list().models])
        options = {"temperature": 0, "num_predict": 6}
        whole = client.chat(model="tiny", messages=HI, options=options)
        text = "".join(part.message.content for part in client.chat(model="tiny", messages=HI, options=options, stream=True))
        self.assertEqual(text, whole.message.content)
        self.assertEqual(client.generate(model="tiny", prompt="What is a tide?", options=options).response, text)
        self.assertEqual(client.create(model="short", from_="tiny", system="Be brief.", parameters={"num_predict": 2}).status, "success")
        self.assertEqual(client.chat(model="short", messages=HI).eval_count, 2)
        self.assertEqual(client.show("short").details.parent_model, "tiny")
        blob = self.home / "blob.bin"
        blob.write_bytes(b"tide")
        self.assertTrue(client.create_blob(blob).startswith("sha256:"))
        self.assertEqual(len(client.embed(model="vectors", input=["a", "b"]).embeddings), 2)
        self.assertEqual(len(client.embeddings(model="vectors", prompt="a").embedding), 64)
        client.copy("tiny", "copy")
        client.delete("copy")
        client.delete("short")
        self.assertTrue(client.ps().models)
        with self.assertRaises(ollama.ResponseError):
            client.push("tiny")
        with self.assertRaises(ollama.ResponseError) as caught:
            client.chat(model="none", messages=HI)
        self.assertEqual(caught.exception.status_code, 404)

    @need("langchain_openai")
    def test_langchain(self):
        from langchain_openai import ChatOpenAI
        for more in ({}, {"use_responses_api": True}):
            model = ChatOpenAI(model="tiny", base_url=self.url + "/v1", api_key="none", temperature=0, max_tokens=8, max_retries=0, **more)
            self.assertIsNotNone(model.invoke("What is a tide?").content)
            self.assertTrue(list(model.stream("What is a tide?")))
            tools = [{"type": "function", "function": {"name": "tide", "description": "Tide.", "parameters": PARAMETERS}}]
            caller = ChatOpenAI(model="tiny", base_url=self.url + "/v1", api_key="none", max_tokens=200, max_retries=0, **more)
            calls = caller.bind_tools(tools, tool_choice="required").invoke("Tide?").tool_calls
            self.assertEqual(calls[0]["name"], "tide")

    def test_javascript(self):
        modules = VENV / "js" / "node_modules"
        if not (modules / "openai").exists():
            self.skipTest("the JavaScript packages are not installed (script/bootstrap --all)")
        done = subprocess.run(["node", str(ROOT / "tests" / "clients.cjs"), self.url], capture_output=True, timeout=120, check=False,
                              env=dict(os.environ, NODE_PATH=str(modules)))
        self.assertEqual(done.returncode, 0, done.stderr.decode() + done.stdout.decode())


if __name__ == "__main__":
    serve_case.HOULE = sys.argv.pop(1)
    unittest.main()
