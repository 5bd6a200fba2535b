#!/usr/bin/env python3
"""A real model against two reference programs:  smollm2_test.py HOULE

SmolLM2-135M-Instruct in Q4_1, judged as tests/golden/gguf/README.md says: greedy ids, the log-probabilities of the first
step, perplexity; in f32 against float32, in fast (8-bit activations) against llama.cpp. Left out (77) where the model is
not: tests/cli_models.py says where it is looked for.

Guards against: errors that tiny random models forgive (their logits are nearly flat), and precision lost bit by bit.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

import cli_models

HOULE = pathlib.Path(sys.argv[1]).resolve()
MODEL, GOLDEN = cli_models.smollm2(), cli_models.golden("gguf/smollm2")


class Judge:
    """What is compared with, and how near is near enough."""

    def __init__(self, precision, file, margin, logprob, perplexity):
        self.precision, self.margin, self.logprob, self.perplexity = precision, margin, logprob, perplexity
        golden = json.loads((GOLDEN / file).read_text("utf-8"))
        self.cases = [(kind, i, case) for kind in ("raw", "chat") for i, case in enumerate(golden[kind])]


def houle(*args):
    run = subprocess.run([HOULE, *map(str, args)], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, (args, run.stderr)
    return run.stdout


def ids_of(case):
    return ",".join(map(str, case["prompt_ids"]))


def check_first_step(judge, tmp):
    """The ten best of the reference, all prompts as one batch."""
    ids = [x for _, _, case in judge.cases for x in ("--ids", ids_of(case))]
    houle("logits", MODEL, "--precision", judge.precision, *ids, "--out", tmp)
    logits, worst = load_file(tmp), 0.0
    for n, (kind, i, case) in enumerate(judge.cases):
        last = logits[f"logits.{n}"][-1].astype(np.float64)
        logprobs = last - last.max() - np.log(np.exp(last - last.max()).sum())
        off = max(abs(logprobs[token] - want) for token, want in case["steps"][0]["top"])
        assert off <= judge.logprob, f"{kind} {i}: log-probabilities of the first step are off by {off:.4f}"
        worst = max(worst, off)
    return worst


def check_greedy(judge):
    """Equal ids; after a difference where the two best are nearly equal, nothing more can be said."""
    whole = 0
    for kind, i, case in judge.cases:
        want = case["out_ids"]
        got = [int(x) for x in houle("run", MODEL, "--precision", judge.precision, "--ids", ids_of(case), "-n", len(want),
                                     "--temp", "0", "--ignore-eos", "--print-ids").split()]
        at = next((k for k, (a, b) in enumerate(zip(got, want)) if a != b), None)
        assert len(got) == len(want), (kind, i, got)
        if at is None:
            whole += 1
            continue
        best, second = (p for _, p in case["steps"][at]["top"][:2])
        assert best - second < judge.margin, f"{kind} {i}: step {at} gives {got[at]}, not {want[at]}, by {best - second:.3f}"
    return whole


def check_perplexity(judge):
    want = json.loads((GOLDEN / "float32.json").read_text("utf-8"))["perplexity"]
    worst = 0.0
    for chunk in (256, 512):
        shown = houle("perplexity", MODEL, GOLDEN / "ppl_text.txt", "--no-special", "--chunk", chunk, "--precision",
                      judge.precision, "--json")
        off = json.loads(shown)["perplexity"] / want[f"chunks of {chunk}, second half"] - 1
        assert abs(off) <= judge.perplexity, f"perplexity in chunks of {chunk} is off by {off:.2%}"
        worst = max(worst, abs(off))
    return worst


def check_prompts():
    """Texts become the reference's ids, and conversations its prompts."""
    golden = json.loads((GOLDEN / "llamacpp_greedy.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as tmp:
        messages = pathlib.Path(tmp) / "messages.json"
        for case in golden["chat"]:
            messages.write_text(json.dumps(case["messages"]))
            assert houle("template", MODEL, messages) == case["prompt"], case["messages"]
    for case in golden["raw"]:
        assert [int(x) for x in houle("tokenize", MODEL, case["prompt"]).split()] == case["prompt_ids"], case["prompt"]


def main():
    if MODEL is None or GOLDEN is None or "HOULE_TEST_FEW" in os.environ:
        print("no model, no golden data, or too slow a build")
        sys.exit(77)
    check_prompts()
    for judge in (Judge("f32", "float32.json", 0.02, 0.01, 0.001), Judge("fast", "llamacpp_greedy.json", 0.3, 0.4, 0.01)):
        with tempfile.TemporaryDirectory() as tmp:
            first = check_first_step(judge, pathlib.Path(tmp) / "logits.safetensors")
        whole = check_greedy(judge)
        perplexity = check_perplexity(judge)
        print(f"{judge.precision}: first step within {first:.4f}, {whole} of {len(judge.cases)} answers equal all the way, "
              f"perplexity within {perplexity:.3%} of float32's")


if __name__ == "__main__":
    main()
