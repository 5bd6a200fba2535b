#!/usr/bin/env python3
"""Ollama's way of making models (blobs, create, presets), its embeddings, and filling in for editors.

    ollama_test.py HOULE
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import serve_case
import tiny_model
from hub_server import HubServer
from serve_case import HI, TEMPLATE, Case, Server


def blob(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Pulled(unittest.TestCase):
    def test_two_at_once_and_one_after_a_client_that_left(self):
        """Whoever asks for what is on its way already waits for it, instead of being told to come back."""
        with tempfile.TemporaryDirectory() as folder:
            home, hub = pathlib.Path(folder), HubServer()
            tiny_model.make(home / "seen", template=TEMPLATE)
            files = {f.name: f.read_bytes() for f in (home / "seen").iterdir()}
            hub.add("acme/wanted", files, licence="mit")
            hub.rate = len(files["model.safetensors"]) // 2
            server = Server(home, environment={"HF_ENDPOINT": hub.url, "HOULE_RETRY_SCALE": "0.01"})
            try:
                with ThreadPoolExecutor(4) as clients:
                    leaving = server.connection()
                    leaving.request("POST", "/api/pull", json.dumps({"model": "acme/wanted"}), {"Content-Type": "application/json"})
                    leaving.getresponse().readline()
                    pulls = [clients.submit(server.lines, "/api/pull", {"model": "acme/wanted"}) for _ in range(3)]
                    time.sleep(0.3)
                    leaving.close()
                    hub.rate = 0
                    for pull in pulls:
                        self.assertEqual(pull.result()[-1], {"status": "success"})
            finally:
                server.stop()
                hub.close()


class OfTheStore(unittest.TestCase):
    def test_a_preset_of_a_model_with_a_licence(self):
        """Lists hold the licence for the model and for what is made of it; once they freed the same text twice."""
        with tempfile.TemporaryDirectory() as folder:
            home, hub = pathlib.Path(folder), HubServer()
            tiny_model.make(home / "seen", template=TEMPLATE)
            hub.add("acme/wanted", {f.name: f.read_bytes() for f in (home / "seen").iterdir()}, licence="mit")
            server = Server(home, environment={"HF_ENDPOINT": hub.url, "HOULE_RETRY_SCALE": "0.01"}, store=True)
            try:
                self.assertEqual(server.lines("/api/pull", {"model": "acme/wanted"})[-1], {"status": "success"})
                self.assertEqual(server.lines("/api/create", {"model": "own", "from": "acme/wanted"})[-1], {"status": "success"})
                for _ in range(3):
                    licences = {m["id"]: m["meta"].get("licence") for m in server.get("/v1/models")[1]["data"]}
                    self.assertEqual(licences, {"acme/wanted": "mit", "own": "mit"})
            finally:
                server.stop()
                hub.close()


class Created(Case):
    def send(self, content, name=None):
        return self.server.raw("POST", "/api/blobs/" + (name or blob(content)), content)[0]

    def test_blobs(self):
        content = b"tide " * 1000
        self.assertEqual(self.server.raw("HEAD", "/api/blobs/" + blob(content))[0], 404)
        self.assertEqual(self.send(content), 201)
        self.assertEqual(self.server.raw("HEAD", "/api/blobs/" + blob(content))[0], 200)
        path = self.home / "state" / "houle" / "serve" / "blobs" / blob(content).replace(":", "-")
        self.assertEqual(path.read_bytes(), content)
        self.assertEqual(self.send(content + b"x", blob(content)), 400)
        self.assertEqual(path.read_bytes(), content)
        self.assertEqual(self.send(b"y", blob(b"z")), 400)
        for bad in ("sha256:12", "md5:" + 32 * "0", "..%2f..%2fetc", "sha256:" + 60 * "0" + "/../"):
            self.assertIn(self.server.raw("POST", "/api/blobs/" + bad, b"x")[0], (400, 404), bad)
        large = b"\0" * (33 << 20)  # more than any other body may have
        self.assertEqual(self.send(large), 201)
        connection = self.server.connection()
        connection.putrequest("POST", "/api/blobs/" + blob(b"abc"))
        connection.putheader("Content-Length", "3")
        connection.endheaders(b"ab")
        connection.close()  # cut short
        time.sleep(0.2)
        self.assertEqual(self.server.raw("HEAD", "/api/blobs/" + blob(b"abc"))[0], 404)
        self.assertEqual([p.name for p in path.parent.iterdir() if p.name.startswith(".part")], [])

    def test_presets(self):
        body = {"model": "pirate", "from": "tiny", "system": "Talk like a pirate.", "parameters": {"temperature": 0, "num_predict": 5, "stop": ["\n\n"]},
                "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr"}], "license": "MIT"}
        self.assertEqual(self.server.lines("/api/create", body)[-1], {"status": "success"})
        _, one = self.server.post("/api/chat", {"model": "pirate:latest", "messages": HI, "stream": False})
        self.assertEqual((one["eval_count"], one["model"]), (5, "pirate:latest"))
        whole = [{"role": "system", "content": body["system"]}] + body["messages"] + HI
        _, same = self.server.post("/api/chat", {"model": "tiny", "messages": whole, "stream": False, "options": {"temperature": 0, "num_predict": 5}})
        self.assertEqual(one["message"]["content"], same["message"]["content"])
        _, openai = self.server.post("/v1/chat/completions", {"model": "pirate", "messages": HI, "max_tokens": 3})
        self.assertEqual((openai["usage"]["completion_tokens"], openai["model"]), (3, "pirate"))
        _, own = self.server.post("/api/chat", {"model": "pirate", "messages": [{"role": "system", "content": "Else."}] + HI, "stream": False})
        self.assertNotEqual(own["prompt_eval_count"], one["prompt_eval_count"])
        _, shown = self.server.post("/api/show", {"model": "pirate"})
        self.assertEqual((shown["system"], shown["license"], shown["details"]["parent_model"]), (body["system"], "MIT", "tiny"))
        self.assertIn("num_predict", shown["parameters"])
        self.assertIn("pirate", [m["name"] for m in self.server.get("/api/tags")[1]["models"]])
        self.assertIn("pirate", [m["id"] for m in self.server.get("/v1/models")[1]["data"]])
        jinja = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        status, made = self.server.post("/api/create", {"model": "plain", "from": "pirate", "template": jinja, "stream": False})
        self.assertEqual((status, made["status"]), (200, "success"))
        _, prompt = self.server.post("/apply-template", {"model": "plain", "messages": HI})
        self.assertTrue(prompt["prompt"].startswith("system: Talk like a pirate.\nuser: Hi\n"), prompt)
        for bad in ({"model": "x"}, {"model": "x", "from": "none"}, {"model": "tiny", "from": "tiny"}, {"model": "x", "from": "tiny", "quantize": "q4_0"},
                    {"model": "x", "from": "tiny", "template": "{{ .Prompt }}"}, {"model": "x", "from": "tiny", "adapters": {"a": "b"}},
                    {"model": "x", "from": "tiny", "parameters": {"nonsense": 1}}, {"model": "x", "from": "tiny", "nonsense": 1}):
            self.assertIn(self.server.post("/api/create", bad)[0], (400, 404), bad)
        self.assertEqual(self.server.raw("DELETE", "/api/delete", {"model": "pirate"})[0], 200)
        self.assertEqual(self.server.post("/api/chat", {"model": "pirate", "messages": HI})[0], 404)
        self.assertEqual(self.server.post("/api/push", {"model": "plain"})[0], 501)

    def test_calls_as_messages(self):
        """Templates that know observations, and calls only as messages with the tool's name as their metadata, get them so."""
        jinja = ("{% for m in messages %}{% if m.role == 'observation' %}<o>{{ m.content }}{% elif m.role == 'assistant' %}<a>"
                 "{{ m.get('metadata', '') }}|{{ m.content }}{% elif m.role == 'user' %}<u>{{ m.content }}{% endif %}{% endfor %}")
        status, made = self.server.post("/api/create", {"model": "observer", "from": "tiny", "template": jinja, "stream": False})
        self.assertEqual(status, 200, made)
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"n": 2}'}}
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So", "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "1", "content": "7"}, {"role": "assistant", "content": None, "tool_calls": [call, call]},
                    {"role": "assistant", "content": "Done"}]
        _, prompt = self.server.post("/apply-template", {"model": "observer", "messages": messages})
        self.assertEqual(prompt["prompt"], '<u>Hi<a>|So<a>f|{"n": 2}<o>7<a>f|{"n": 2}<a>f|{"n": 2}<a>|Done')

    def test_models_of_files(self):
        folder = tiny_model.make(self.home / "elsewhere", seed=9, context=2048, template=TEMPLATE)
        files = {}
        for path in folder.iterdir():
            content = path.read_bytes()
            self.assertEqual(self.send(content), 201)
            files[path.name] = blob(content)
        status, error = self.server.post("/api/create", {"model": "made/here", "files": dict(files, **{"x.json": blob(b"none")}), "stream": False})
        self.assertEqual(status, 400, error)
        for name in ("../x", "a/b", ".hidden", "/etc/x"):
            self.assertEqual(self.server.post("/api/create", {"model": "y", "files": {name: next(iter(files.values()))}})[0], 400, name)
        self.assertEqual(self.server.post("/api/create", {"model": "y", "files": {"a.gguf": next(iter(files.values()))}})[0], 400)
        status, made = self.server.post("/api/create", {"model": "made/here", "files": files, "parameters": {"num_predict": 4}, "stream": False})
        self.assertEqual((status, made["status"]), (200, "success"))
        _, said = self.server.post("/api/generate", {"model": "made/here", "prompt": "a", "stream": False})
        self.assertEqual(said["eval_count"], 4, said)
        self.assertEqual(self.server.raw("DELETE", "/api/delete", {"model": "made/here"})[0], 200)
        self.assertEqual(list((self.home / "state" / "houle" / "serve" / "created").iterdir()), [])

    def test_models_of_files_made_again(self):
        """What is refused leaves what there was; other spellings of a name, and a model by the same name, take its place."""
        folder, files = tiny_model.make(self.home / "again", seed=11, context=2048, template=TEMPLATE), {}
        made = self.home / "state" / "houle" / "serve" / "created"
        for path in folder.iterdir():
            self.send(path.read_bytes())
            files[path.name] = blob(path.read_bytes())

        def say(model):
            status, said = self.server.post("/api/generate", {"model": model, "prompt": "a", "stream": False, "options": {"temperature": 0, "num_predict": 8}})
            self.assertEqual(status, 200, said)
            return said["response"]

        def create(status, **body):
            self.assertEqual(self.server.post("/api/create", dict(body, stream=False))[0], status, body)
        self.assertNotEqual(say("tiny"), "")
        create(400, model="tiny", files=files)
        self.assertEqual(list(made.iterdir()) if made.exists() else [], [])
        create(200, model="Twice", files=files)
        first = say("twice:latest")
        self.assertNotEqual(first, say("tiny"))
        create(400, model="twice:latest", files=dict(files, **{"config.json": files["model.safetensors"]}))
        self.assertEqual(say("Twice"), first)
        create(200, model="twice:latest", files=files, parameters={"seed": 1})
        self.assertEqual((say("twice"), len(list(made.iterdir()))), (first, 1))
        create(200, model="twice", **{"from": "twice"}, parameters={"top_k": 5})
        self.assertEqual((say("twice"), len(list(made.iterdir()))), (first, 1))
        create(200, model="TWICE", **{"from": "tiny"})
        self.assertEqual((say("twice"), list(made.iterdir())), (say("tiny"), []))
        self.assertEqual([m["name"] for m in self.server.get("/api/tags")[1]["models"] if m["name"].lower().startswith("twice")], ["TWICE"])
        self.assertEqual(self.server.raw("DELETE", "/api/delete", {"model": "twice"})[0], 200)
        self.assertEqual(self.server.post("/api/show", {"model": "twice"})[0], 404)

    def test_embeddings(self):
        folder = tiny_model.make(self.models / "vectors", context=2048, template=TEMPLATE)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
        time.sleep(1.1)
        status, answer = self.server.post("/api/embed", {"model": "vectors", "input": ["The sea", "A tide"]})
        self.assertEqual((status, len(answer["embeddings"]), answer["model"]), (200, 2, "vectors"), answer)
        _, older = self.server.post("/api/embeddings", {"model": "vectors", "prompt": "The sea"})
        self.assertEqual(older["embedding"], answer["embeddings"][0])
        long = {"model": "vectors", "input": "tide " * 4000}
        self.assertEqual(self.server.post("/api/embed", long)[0], 400)
        self.assertEqual(self.server.post("/api/embed", dict(long, truncate=True))[0], 200)
        self.assertEqual(self.server.post("/api/embed", dict(long, options={"nonsense": 1}))[0], 400)

    def test_generating(self):
        body = {"model": "tiny", "prompt": "What is a tide?", "stream": False, "options": {"temperature": 0, "num_predict": 6}}
        _, first = self.server.post("/api/generate", body)
        self.assertEqual(len(first["context"]), first["prompt_eval_count"] + first["eval_count"])
        _, second = self.server.post("/api/generate", dict(body, prompt="More.", context=first["context"]))
        self.assertGreater(second["prompt_eval_count"], len(first["context"]))
        self.assertEqual(self.server.post("/api/generate", dict(body, context=[1 << 40]))[0], 400)
        self.assertEqual(self.server.post("/api/generate", dict(body, template="{{ .Prompt }}"))[0], 400)
        _, plain = self.server.post("/api/generate", dict(body, template="{% for m in messages %}{{ m.content }}{% endfor %}"))
        self.assertLess(plain["prompt_eval_count"], first["prompt_eval_count"])
        for more in ({"think": True}, {"think": "high"}, {"think": "max"}, {"options": {"tfs_z": 1.0, "mirostat": 0, "num_keep": 4, "num_predict": 2}}):
            self.assertEqual(self.server.post("/api/generate", dict(body, **more))[0], 200, more)
        for more in ({"options": {"mirostat": 2}}, {"options": {"tfs_z": 0.5}}, {"think": "much"}, {"suffix": "x"}, {"images": ["aGk="]}):
            self.assertEqual(self.server.post("/api/generate", dict(body, **more))[0], 400, more)


class FillIn(Case):
    """Models with marks for filling in: their tokenizers decide."""

    MARKS = {
        "psm": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>", "<|fim_pad|>"),
        "spm": ("[PREFIX]", "[SUFFIX]"),
    }

    @classmethod
    def arguments(cls):
        for name, marks in cls.MARKS.items():
            folder = tiny_model.make(cls.models / name, context=2048, template=TEMPLATE)
            path = folder / "tokenizer.json"
            tokenizer = json.loads(path.read_text("utf-8"))
            # In the place of other special tokens, so that the matrix need not grow.
            own = [t for t in tokenizer["added_tokens"] if t["id"] >= 2000][-len(marks):]
            assert len(own) == len(marks), [t["content"] for t in tokenizer["added_tokens"]]
            for token, mark in zip(own, marks):
                token.update(content=mark, special=True)
            path.write_text(json.dumps(tokenizer), "utf-8")
            config = folder / "tokenizer_config.json"
            settings = json.loads(config.read_text("utf-8"))
            settings.pop("added_tokens_decoder", None)
            config.write_text(json.dumps(settings), "utf-8")
        return super().arguments()

    def no_marks(self, name):
        """Models as small as these repeat their marks; these are forbidden them."""
        return {str(self.server.post("/tokenize", {"model": name, "content": mark})[1]["tokens"][0]): -100 for mark in self.MARKS[name]}

    def test_prompts(self):
        body = {"input_prefix": "int add(", "input_suffix": ") {", "n_predict": 4, "temperature": 0}
        for name, order in (("psm", ["<|fim_prefix|>", "int add(", "<|fim_suffix|>", ") {", "<|fim_middle|>"]),
                            ("spm", ["[SUFFIX]", ") {", "[PREFIX]", "int add("])):
            bias = self.no_marks(name)
            status, said = self.server.post("/infill", dict(body, model=name, logit_bias=bias))
            self.assertEqual(status, 200, said)
            tokens = [self.server.post("/tokenize", {"model": name, "content": text})[1]["count"] for text in order]
            bos = self.server.post("/tokenize", {"model": name, "content": "", "add_special": True})[1]["count"]
            self.assertEqual(said["tokens_evaluated"], sum(tokens) + bos)
            raw = self.server.post("/v1/completions", {"model": name, "prompt": "".join(order), "max_tokens": 4, "temperature": 0, "logit_bias": bias})[1]
            self.assertEqual(said["content"], raw["choices"][0]["text"])
            suffix = self.server.post("/v1/completions", {"model": name, "prompt": "int add(", "suffix": ") {", "max_tokens": 4, "temperature": 0,
                                                             "logit_bias": bias})[1]
            self.assertEqual(suffix["choices"][0]["text"], said["content"])
            ollama = self.server.post("/api/generate", {"model": name, "prompt": "int add(", "suffix": ") {", "stream": False,
                                                        "options": {"num_predict": 4, "temperature": 0, "logit_bias": bias}})[1]
            self.assertEqual(ollama["response"], said["content"])
            self.assertIn("insert", self.server.post("/api/show", {"model": name})[1]["capabilities"])
        self.refused("/infill", dict(body, model="tiny"), 400, "input_suffix", "no_fill_in_tokens")
        self.refused("/v1/completions", {"model": "tiny", "prompt": "a", "suffix": "b"}, 400, "suffix")
        self.assertNotIn("insert", self.server.post("/api/show", {"model": "tiny"})[1]["capabilities"])

    def test_infill(self):
        body = {"model": "psm", "input_prefix": "a", "input_suffix": "b", "n_predict": 8, "temperature": 0, "cache_prompt": True,
                "samplers": ["top_k"], "t_max_predict_ms": 600_000, "t_max_prompt_ms": 500, "n_indent": 0,
                "logit_bias": self.no_marks("psm")}
        _, alone = self.server.post("/infill", body)
        _, more = self.server.post("/infill", dict(body, input_extra=[{"filename": "x.c", "text": "int x;"}], prompt="if"))
        self.assertGreater(more["tokens_evaluated"], alone["tokens_evaluated"])
        self.assertEqual(alone["stop_type"], "limit")
        events = self.server.events("/infill", dict(body, stream=True))
        self.assertEqual("".join(e["content"] for _, e in events), alone["content"])
        self.assertTrue(events[-1][1]["stop"])
        _, picked = self.server.post("/infill", dict(body, response_fields=["content", "nothing"]))
        self.assertEqual(picked, {"content": alone["content"]})
        for bad in ({"input_extra": [{"filename": "a\nb", "text": ""}]}, {"input_extra": [1]}, {"nonsense": 1}, {"input_prefix": 1}):
            self.assertEqual(self.server.post("/infill", dict(body, **bad))[0], 400, bad)
        self.assertEqual(self.server.post("/infill", {"model": "psm"})[0], 400)
        # Lines that are indented less than the cursor's end it.
        text = self.server.post("/infill", dict(body, n_indent=4, n_predict=60, guided_regex="x\\n    y\\nz{20}"))[1]
        self.assertEqual(text["content"], "x\n    y")
        text = self.server.post("/infill", dict(body, n_indent=2, n_predict=60, guided_regex="x\n    y\n\n\t w\n \n  v\n z{20}"))[1]
        self.assertEqual(text["content"], "x\n    y\n\n\t w\n \n  v")  # lines of nothing are not less indented

    def test_best_of(self):
        body = {"model": "tiny", "prompt": "The sea", "max_tokens": 5, "temperature": 1.5, "seed": 4, "logprobs": 0}
        _, many = self.server.post("/v1/completions", dict(body, n=6))
        _, best = self.server.post("/v1/completions", dict(body, n=2, best_of=6))
        mean = {c["text"]: sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["token_logprobs"]) for c in many["choices"]}
        self.assertEqual([c["text"] for c in best["choices"]], sorted(mean, key=mean.get, reverse=True)[:2])
        self.assertEqual([c["index"] for c in best["choices"]], [0, 1])
        self.assertEqual(best["usage"]["completion_tokens"], many["usage"]["completion_tokens"])
        self.refused("/v1/completions", dict(body, best_of=6, stream=True), 400, "best_of")


class Again(unittest.TestCase):
    def test_presets_outlive_the_process(self):
        with tempfile.TemporaryDirectory(prefix="houle_ollama_") as home:
            tiny_model.make(pathlib.Path(home) / "tiny", context=2048, template=TEMPLATE)
            for name, more in (("boss", ["--admin"]), ("guest", [])):
                made = subprocess.run([serve_case.HOULE, "serve", "--keys", home + "/keys", "--make-key", name, *more], check=True, capture_output=True)
                key = {"Authorization": "Bearer " + made.stdout.decode().strip()}
                boss, guest = (key, None) if name == "boss" else (boss, key)
            arguments = [home + "/tiny", "--memory", "1G", "--keys", home + "/keys"]
            server = Server(home, *arguments)
            body = {"model": "short", "from": "tiny", "parameters": {"num_predict": 3}, "stream": False}
            self.assertEqual(server.post("/api/create", body, **guest)[0], 403)
            self.assertEqual(server.raw("POST", "/api/blobs/" + blob(b"x"), b"x", guest)[0], 403)
            self.assertEqual(server.post("/api/create", body, **boss)[0], 200)
            server.kill()
            server = Server(home, *arguments)
            self.assertEqual(server.post("/api/generate", {"model": "short", "prompt": "a", "stream": False}, **guest)[1]["eval_count"], 3)
            server.stop()


if __name__ == "__main__":
    serve_case.HOULE = sys.argv.pop(1)
    unittest.main()
