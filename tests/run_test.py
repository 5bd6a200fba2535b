#!/usr/bin/env python3
"""houle run, perplexity, bench, doctor and the library as people use them:  run_test.py HOULE ASK

On a tiny model made here (tests/tiny_model.py); with HOULE_SMOLLM2 naming the real file (or the one that script/try
fetched), the chat also on that.
"""
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

import tiny_model

HOULE, ASK = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
FEW = os.environ.get("HOULE_TEST_FEW") == "1"


def houle(*args, stdin=b"", env=None, status=0):
    run = subprocess.run([HOULE, *map(str, args)], input=stdin, capture_output=True, timeout=300,
                         env={**os.environ, **(env or {})})
    assert run.returncode == status, (args, run.returncode, run.stderr.decode("utf-8", "replace"))
    return run


def answer(*args, stdin=b""):
    """Runs with --json and returns the object."""
    return json.loads(houle("run", *args, "--json", stdin=stdin).stdout)


def check_answers(model):
    """A prompt, piped input, and the same seed: the same text; stop strings cut; usage counts."""
    one = answer(model, "hello there", "-n", 12, "--seed", 5, "--temp", 1)
    assert one["usage"]["completion_tokens"] == 12 or one["finish_reason"] == "stop", one
    assert one == answer(model, "-n", 12, "--seed", 5, "--temp", 1, stdin=b"hello there\n") | {"timing": one["timing"]}
    assert one["content"] != answer(model, "hello there", "-n", 12, "--seed", 6, "--temp", 1)["content"]
    best = answer(model, "hello there", "-n", 16, "--temp", 0, "--ignore-eos")
    assert best["content"] == answer(model, "hello there", "-n", 16, "--temp", 0, "--ignore-eos", "--threads", 1)["content"]
    assert best["finish_reason"] == "length"
    text = best["content"]
    stop = text[len(text) // 2:len(text) // 2 + 3]
    cut = answer(model, "hello there", "-n", 16, "--temp", 0, "--ignore-eos", "--stop", stop)
    assert cut["finish_reason"] == "stop" and cut["content"] == text[:text.index(stop)], (text, stop, cut)
    plain = houle("run", model, "hello there", "-n", 16, "--temp", 0, "--ignore-eos", "-v")
    assert plain.stdout.decode().rstrip("\n") == text.rstrip("\n")
    assert re.search(rb"prompt tokens .*first token after [0-9.]+ s.*tokens/s", plain.stderr), plain.stderr


def check_refusals(model, folder):
    """Wrong input: one line that says what and where, exit status 1 (2 for wrong use)."""
    def complains(pattern, *args, stdin=b"", status=1):
        lines = houle(*args, stdin=stdin, status=status).stderr.decode("utf-8").strip().split("\n")
        assert len(lines) == 1 and re.search(pattern, lines[0]), (pattern, lines)

    complains("nowhere.gguf", "run", folder / "nowhere.gguf", "x")
    complains("UTF-8", "run", model, stdin=b"caf\xe9")
    complains("empty", "run", model, stdin=b"")
    complains(r"tokens.*context of 64.*--ctx", "run", model, "--ctx", 64, stdin=b"word " * 500)
    complains("--temp", "run", model, "--temp", "warm", status=2)
    complains("--nonsense", "run", model, "--nonsense", status=2)
    strange = folder / "strange"
    strange.mkdir()
    (strange / "config.json").write_text('{"model_type": "frobnicator"}')
    complains("frobnicator", "run", strange, "x")
    assert b"frobnicator" in houle("inspect", strange).stdout


def check_escapes(folder):
    """A template's or model's text cannot send escapes to a terminal: what is shown is printable."""
    run = houle("run", folder, "hello", "-n", 40, "--temp", 2, "--seed", 3, "--ignore-eos")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", run.stdout), run.stdout


def check_drafts(model, folder):
    """A model that guesses ahead changes nothing but the time; one with other tokens is refused with the first of them."""
    other, strange = tiny_model.make(folder / "other", seed=2), tiny_model.make(folder / "strange", seed=3)
    tokenizer = json.loads((strange / "tokenizer.json").read_text("utf-8"))
    vocab = tokenizer["model"]["vocab"]
    first, second = sorted(k for k in vocab if len(k) == 1)[10:12]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    (strange / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    for how in (["--temp", 0], ["--temp", 1, "--seed", 3], ["--temp", 1, "--seed", 4, "--top-p", 0.9]):
        line = [model, "hello there", "-n", 60, "--ignore-eos", *how]
        plain = answer(*line, "--draft-tokens", 0)
        assert plain["timing"]["guessed_tokens"] == 0
        for draft in ([], ["--draft", model], ["--draft", other], ["--draft", other, "--draft-tokens", 2]):
            guessed = answer(*line, *draft)
            assert guessed["content"] == plain["content"] and guessed["usage"] == plain["usage"], (how, draft)
    run = houle("run", model, "hello", "--draft", strange, status=1)
    assert re.search(rb"strange.*cannot guess for.*token %d" % min(vocab[first], vocab[second]), run.stderr), run.stderr
    measured = json.loads(houle("bench", model, "-p", 0, "-n", 16, "-r", 1, "--draft", model, "--json").stdout)["draft"]
    assert measured["always_guessed"] == measured["always_right"] > 0, measured


def check_perplexity(model, folder):
    text = folder / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 60, "utf-8")
    result = json.loads(houle("perplexity", model, text, "--chunk", 64, "--precision", "f32", "--json").stdout)
    assert result["chunks"] > 2 and result["tokens_scored"] == result["chunks"] * 31, result
    # the same from logits of the first chunk
    ids = json.loads("[" + houle("tokenize", model, text.read_text()).stdout.decode().strip().replace(" ", ",") + "]")
    out = folder / "logits.safetensors"
    houle("logits", model, "--ids", ",".join(map(str, ids[:64])), "--out", out)
    import numpy as np
    from safetensors.numpy import load_file
    logits = load_file(out)["logits"].astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = np.exp(-np.mean([logp[i - 1, ids[i]] for i in range(33, 64)]))
    first = json.loads(houle("perplexity", model, text, "--chunk", 64, "--chunks", 1, "--precision", "f32", "--json").stdout)
    assert abs(first["perplexity"] / expected - 1) < 1e-4, (first, expected)


def check_machine(model):
    levels = houle("doctor", "--levels").stdout.decode().split()
    assert levels[0] == "generic"
    texts = {level: houle("run", model, "hello", "-n", 8, "--temp", 0, "--precision", "f32", env={"HOULE_CPU": level}).stdout
             for level in levels}
    assert len(set(texts.values())) == 1, texts
    refused = houle("run", model, "hello", env={"HOULE_CPU": "mmx"}, status=1).stderr.decode()
    assert all(level in refused for level in levels), refused
    if FEW:
        return
    result = json.loads(houle("bench", model, "-p", 32, "-n", 8, "-r", 2, "--json").stdout)
    assert result["prompt"]["tokens_per_second"] > 0 and len(result["generation"]["rounds"]) == 2
    assert result["weight_bytes_per_token"] > 0 and result["roof"]["read_bytes_per_second"] > 0
    # Guards against a level without loops of its own: a peak of 0, and shares that are infinite.
    assert result["prompt"]["share_of_peak"] > 0 and result["generation"]["share_of_bandwidth"] > 0, result
    roof = json.loads(houle("bench", "--roof", "-r", 1, "--json").stdout)
    assert [row["level"] for row in roof["levels"]] == levels
    assert all(row["f32"] > 0 for row in roof["levels"]) and roof["roof"]["operations_per_second"]["f32"] > 0, roof


def check_library(model):
    """The example program: the library from outside."""
    run = subprocess.run([ASK, model, 'say "hi"'], capture_output=True, timeout=120)
    assert run.returncode == 0 and run.stdout.strip(), run
    run = subprocess.run([ASK, "/nonexistent", "x"], capture_output=True, timeout=120)
    assert run.returncode == 1 and b"/nonexistent" in run.stderr, run


class Terminal:
    """houle run MODEL on a terminal of its own."""

    def __init__(self, model, home, *args):
        self.child, self.handle = pty.fork()
        if self.child == 0:
            os.environ.update(HOME=str(home), TERM="dumb", XDG_STATE_HOME=str(home / "state"))
            # libedit keeps the names of functions that are added to it for ever, which is not ours to report.
            os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
            os.execv(HOULE, [str(HOULE), "run", str(model), *map(str, args)])
        self.seen = ""

    def until(self, pattern, seconds=60):
        """Waits for the pattern in what is new; returns it all."""
        end = time.time() + seconds
        while not re.search(pattern, self.seen):
            left = end - time.time()
            assert left > 0, f"waited for {pattern!r}, saw {self.seen!r}"
            if select.select([self.handle], [], [], min(left, 1))[0]:
                try:
                    got = os.read(self.handle, 65536)
                except OSError:
                    got = b""
                assert got, f"the chat ended; waited for {pattern!r}, saw {self.seen!r}"
                self.seen += got.decode("utf-8", "replace")
        found, self.seen = self.seen, ""
        return found

    def say(self, line):
        os.write(self.handle, line.encode() + b"\n")

    def end(self):
        deadline = time.time() + 30
        while time.time() < deadline:
            done, status = os.waitpid(self.child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if select.select([self.handle], [], [], 0.1)[0]:
                try:
                    os.read(self.handle, 65536)
                except OSError:
                    pass
        os.kill(self.child, signal.SIGKILL)
        raise AssertionError("the chat did not end")


def check_chat(model, folder):
    """The chat: turns, commands, an interrupt that keeps the chat, files."""
    saved = folder / "saved.json"
    t = Terminal(model, folder, "-n", 20, "--ignore-eos", "--temp", 0, "-v")
    t.until(r">>> ")
    t.say("hello there")
    first = t.until(r"new tokens.*\n(?s:.*)>>> ")
    assert "(0 of them known)" in first, first
    t.say("and again")
    second = t.until(r"new tokens.*\n(?s:.*)>>> ")
    known, total = (int(re.search(p, second).group(1)) for p in (r"\((\d+) of them known\)", r"(\d+) prompt tokens"))
    assert known > total // 2, second  # the second turn computes only what is new
    t.say(f"/save {saved}")
    t.until(r">>> ")
    assert [m["role"] for m in json.loads(saved.read_text())] == ["user", "assistant", "user", "assistant"]
    t.say("/nonsense")
    assert "/help" in t.until(r"no such command.*\n(?s:.*)>>> ")
    t.say("/set temp 0.5")
    t.until(r">>> ")
    t.say("/set")
    assert re.search(r"temp +0\.5", t.until(r"verbose(?s:.*)>>> "))
    t.say("/clear")
    t.until(r">>> ")
    t.say(f"/load {saved}")
    t.until(r">>> ")
    t.say("/regenerate")
    t.until(r"new tokens.*\n(?s:.*)>>> ")
    t.say("/set n 100000")
    t.until(r">>> ")
    t.say("go on")
    time.sleep(0.3)
    os.kill(t.child, signal.SIGINT)
    t.until(r"(interrupted|length)\)(?s:.*)>>> ")
    t.say("/quit")
    assert t.end() == 0


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        model = tiny_model.make(folder / "tiny")
        check_answers(model)
        check_refusals(model, folder)
        check_escapes(model)
        check_drafts(model, folder)
        check_perplexity(model, folder)
        check_machine(model)
        check_library(model)
        check_chat(model, folder)
    print("run: all checks passed")


main()
