"""A houle serve of its own for each class of tests, with tiny models: what the tests of the server share."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import tiny_model

HOULE = None
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] %}{{ m['content'] }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if enable_thinking is defined and enable_thinking %}<|think|>{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HI = [{"role": "user", "content": "What is a tide?"}]


class Server:
    """A houle of its own, in a home of its own."""

    def __init__(self, home, *arguments, environment=None, store=False):
        self.home, self.asked_to_stop = pathlib.Path(home), False
        ready = self.home / f"ready{time.monotonic_ns()}"
        env = dict(os.environ, HOME=str(home), XDG_CACHE_HOME=str(self.home / "cache"), XDG_DATA_HOME=str(self.home / "data"),
                   XDG_STATE_HOME=str(self.home / "state"), **(environment or {}))
        self.log = open(self.home / f"log{time.monotonic_ns()}", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [HOULE, "serve", "--store" if store else "--no-store", "--port", "0", "--ready-file", str(ready), "--threads", "2", *arguments],
            env=env, stderr=self.log, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not ready.exists() or ready.stat().st_size == 0:
            if self.process.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                raise AssertionError("the server did not start: " + self.log.read())
            time.sleep(0.02)
        url = urllib.parse.urlparse(ready.read_text())
        self.host, self.port = url.hostname, url.port

    def stop(self, expect=0):
        if self.process.poll() is None and not self.asked_to_stop:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        assert code == expect, f"exit status {code}: {text[-3000:]}"
        return text

    def kill(self):
        """As a crash would: nothing is put in order."""
        self.process.kill()
        self.process.wait(60)
        self.log.close()

    def connection(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def raw(self, method, path, body=None, headers=None):
        connection = self.connection()
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content, response.headers

    def get(self, path, **headers):
        status, content, _ = self.raw("GET", path, None, headers)
        return status, json.loads(content)

    def post(self, path, body, **headers):
        status, content, _ = self.raw("POST", path, body, headers)
        return status, json.loads(content) if content else None

    def events(self, path, body):
        """(event, data) of a stream of server-sent events; data is parsed."""
        status, content, headers = self.raw("POST", path, body)
        assert status == 200, content
        assert headers["Content-Type"].startswith("text/event-stream"), headers["Content-Type"]
        out = []
        for block in content.decode().split("\n\n"):
            name = data = None
            for line in block.split("\n"):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data = line[6:]
            if data is not None:
                out.append((name, data if data == "[DONE]" else json.loads(data)))
        return out

    def lines(self, path, body):
        status, content, _ = self.raw("POST", path, body)
        assert status == 200, content
        return [json.loads(line) for line in content.decode().splitlines()]

    def metric(self, name):
        _, content, _ = self.raw("GET", "/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in content.decode().splitlines()
                   if line.startswith((name + "{", name + " ")))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="houle_serve_")
        cls.home = pathlib.Path(cls.folder.name)
        cls.models = cls.home / "models"
        tiny_model.make(cls.models / "tiny", context=2048, template=TEMPLATE)
        cls.server = Server(cls.home, *cls.arguments())

    @classmethod
    def arguments(cls):
        return ["--models", str(cls.models), "--memory", "1G"]

    @classmethod
    def tearDownClass(cls):
        try:
            cls.log = cls.server.stop()
        finally:
            cls.folder.cleanup()

    def refused(self, path, body, status, param=None, code=None):
        got, error = self.server.post(path, body)
        self.assertEqual(got, status, error)
        if isinstance(error["error"], dict):
            self.assertTrue(error["error"]["message"])
            error = error["error"]
        if param is not None:
            self.assertEqual(error["param"], param)
        if code is not None:
            self.assertEqual(error["code"], code)
        return error
