"""store_case.py - what the tests of the store have in common: a home of its own for each, a hub (hub_server.py) that
imitates the real one and misbehaves on demand, small model files, and the program.

A test file is run as FILE HOULE [TORTURE] [unittest options] and ends with store_case.main(). Each test's first line
says what it guards."""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from hub_server import HubServer, sha256

HOULE = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
TORTURE = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
CHUNK = 4 << 20
MIB = 1 << 20
random.seed(20)


def gguf(data_bytes, seed=1, split=None):
    """A GGUF file with one tensor of random bytes."""
    def string(s):
        return struct.pack("<Q", len(s)) + s

    def key(name, kind, value):
        return string(name) + struct.pack("<I", kind) + value
    metas = [key(b"general.architecture", 8, string(b"llama")), key(b"general.license", 8, string(b"mit")),
             key(b"llama.block_count", 4, struct.pack("<I", 2)),
             key(b"llama.context_length", 4, struct.pack("<I", 2048)),
             key(b"llama.embedding_length", 4, struct.pack("<I", 64)),
             key(b"llama.attention.head_count", 4, struct.pack("<I", 4)),
             key(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 30000) + string(b"a token") * 30000)]
    if split is not None:
        metas += [key(b"split.no", 2, struct.pack("<H", split[0])), key(b"split.count", 2, struct.pack("<H", split[1]))]
    numbers = data_bytes // 4
    tensor = string(b"t%d" % seed) + struct.pack("<IQIQ", 1, numbers, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(metas)) + b"".join(metas) + tensor
    head += b"\0" * (-len(head) % 32)
    return head + random.Random(seed).randbytes(numbers * 4)


def safetensors(data_bytes, name="w", seed=1):
    header = json.dumps({name: {"dtype": "BF16", "shape": [data_bytes // 2], "data_offsets": [0, data_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(data_bytes)


CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", "num_hidden_layers": 2,
                     "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 2048}).encode()
SMALL = gguf(100_000)
MEDIUM = gguf(22 * MIB, seed=3)
LARGE = gguf(40 * MIB, seed=2)


class StoreCase(unittest.TestCase):
    def setUp(self):
        self.hub = HubServer()
        self.addCleanup(self.hub.close)
        self.home = tempfile.mkdtemp(prefix="houle_store_")
        self.addCleanup(shutil.rmtree, self.home, True)
        self.data = os.path.join(self.home, ".local/share/houle")
        self.models = os.path.join(self.data, "models")

    def environment(self, **more):
        env = {"PATH": os.environ["PATH"], "HOME": self.home, "HF_ENDPOINT": self.hub.url, "HOULE_RETRY_SCALE": "0.01",
               "HOULE_RETRY_ATTEMPTS": "4", "HOULE_STALL_SECONDS": "2"}
        env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        env.update(more)
        return env

    def run_houle(self, *arguments, code=0, env=None, timeout=120, **options):
        done = subprocess.run([HOULE, *arguments], env=self.environment(**(env or {})), capture_output=True, text=True,
                              timeout=timeout, cwd=self.home, **options)
        self.assertEqual(done.returncode, code, "houle %s\n%s%s" % (" ".join(arguments), done.stdout, done.stderr))
        return done

    def pull(self, *arguments, **options):
        return self.run_houle("pull", *arguments, **options)

    def listed(self):
        return {m["name"]: m for m in json.loads(self.run_houle("list", "--json").stdout)["models"]}

    def check_file(self, name, data, file=None):
        """The model is there, complete, and the file has these bytes."""
        shown = json.loads(self.run_houle("show", name, "--json").stdout)
        self.assertTrue(shown["complete"])
        path = shown["path"] if file is None else os.path.join(shown["path"], file)
        with open(path, "rb") as opened:
            self.assertEqual(sha256(opened.read()), sha256(data))
        return shown

    def partials(self):
        folder = os.path.join(self.models, ".partial")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def done_chunks(self):
        """The chunks that are recorded in the maps, read as the format is described in chunk_map.h."""
        done = set()
        for name in self.partials():
            if not name.endswith(".map"):
                continue
            with open(os.path.join(self.models, ".partial", name), "rb") as opened:
                log = opened.read()
            for at in range(64, len(log) - 55, 56):
                kind, number = struct.unpack_from("<I4xQ", log, at)
                if kind == 1:
                    done.add(number)
                elif kind == 2:
                    done.discard(number)
        return done

    def assert_not_kept(self, secret):
        for folder, _, names in os.walk(self.data):
            for name in names:
                with open(os.path.join(folder, name), "rb") as opened:
                    self.assertNotIn(secret, opened.read())

    def ranges(self, match):
        """What was asked for of a file on the content network."""
        with self.hub.lock:
            asked = [h.get("range", "") for where, path, h in self.hub.requests if where == "cdn" and match in path]
        return [tuple(map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", r).groups())) for r in asked if r]

    def wait_until(self, condition):
        for _ in range(3000):
            if condition():
                return
            time.sleep(0.01)
        self.fail("what was waited for has not come")

    def start_pull(self, *arguments):
        return subprocess.Popen([HOULE, "pull", *arguments], env=self.environment(), stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, cwd=self.home)


def main():
    if not HOULE:
        sys.exit("usage: %s HOULE [TORTURE] [unittest options]" % sys.argv[0])
    unittest.main(verbosity=2)
