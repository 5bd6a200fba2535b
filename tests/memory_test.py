#!/usr/bin/env python3
"""What a run really takes against what `houle inspect --memory` says:  memory_test.py HOULE

The peak of the resident memory (wait4) with a context that is filled must be at most 1.05 times weights, cache and scratch
together, and 64 MiB for the program itself. The golden models show what does not depend on size, SmolLM2 (where
tests/cli_models.py finds it) what does.
"""
import os
import pathlib
import re
import subprocess
import sys

import cli_models

HOULE = pathlib.Path(sys.argv[1]).resolve()
MIB = 1 << 20
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
GOLDEN = ("text/llama", "text/gemma3", "text/qwen3_moe", "gguf/families/llama.gguf", "gguf/families/deepseek_v3.gguf",
          "gguf/families/qwen3_next.gguf", "gguf/families/gpt_oss_mxfp4.gguf")


def planned(model, context, precision):
    run = subprocess.run([HOULE, "inspect", model, "--memory", "--ctx", str(context), "--precision", precision],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    parts = re.findall(r"^(weights|cache|scratch) +([\d.]+) (\w+)", run.stdout, re.M)
    assert [name for name, _, _ in parts] == ["weights", "cache", "scratch"], run.stdout
    return sum(float(number) * UNITS[unit] for _, number, unit in parts)


def measured(model, context, precision):
    """Fills the context but for 8 tokens, then draws these."""
    ids = ",".join(str(3 + i * 37 % 300) for i in range(context - 8))
    process = subprocess.Popen([HOULE, "run", model, "--ids", ids, "-n", "8", "--temp", "0", "--ignore-eos", "--print-ids", "--ctx",
                                str(context), "--precision", precision], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, message
    return usage.ru_maxrss * 1024


def main():
    if "HOULE_TEST_FEW" in os.environ:
        print("instrumented programs take more memory")
        sys.exit(77)
    cases = [(m, 200) for m in map(cli_models.golden, GOLDEN) if m is not None]
    if cli_models.smollm2() is not None:
        cases += [(cli_models.smollm2(), context) for context in (256, 1024)]
    if not cases:
        print("no models here")
        sys.exit(77)
    failed = 0
    for model, context in cases:
        for precision in ("fast", "f32"):
            plan, peak = planned(model, context, precision), measured(model, context, precision)
            fits = peak <= 1.05 * plan + 64 * MIB
            failed += not fits
            print(f"{model.name:34} {precision:5} {context:5} tokens: planned {plan / MIB:7.1f} MiB, peak {peak / MIB:7.1f} MiB"
                  f"{'' if fits else ' FAILED'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
