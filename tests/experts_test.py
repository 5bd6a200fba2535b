#!/usr/bin/env python3
"""Models of experts in less memory than they take:  experts_test.py HOULE

For each tiny mixture of experts among the golden checkpoints (a tensor for each expert, stacks, halves that alternate in one
tensor, values with scales, hashed tables; GGUF too): with the least memory that houle says it needs, and with a little
more, logits are bit for bit those of the unlimited run, for prompts in one piece and token by token, and for a generated
text. Experts must have been given up and read again meanwhile.

Guards against: an expert that is given up while it is used, the wrong expert's bytes, halves or scales mixed up, a budget
that is not kept, a file cut short that is taken for zeros, a lack of memory that is told without what is needed.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

HOULE = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
ROOTS = [pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden"]
MODELS = """text/gpt_oss text/gpt_oss_mxfp4 text/mixtral text/qwen3_moe text/deepseek_v3 text/deepseek_v3_fp8 text/llama4_text
text/longcat_flash text/deepseek_v4 text/gemma4_moe_text text/gemma4_text text/qwen3_next text/minimax_m2 text/granitemoehybrid
gguf/families/gpt_oss.gguf gguf/families/gpt_oss_mxfp4.gguf gguf/families/qwen3_moe.gguf gguf/families/deepseek_v2.gguf
gguf/families/gemma4_text.gguf gguf/families/llama4_text.gguf""".split()
if os.environ.get("HOULE_TEST_FEW") == "1":
    MODELS = MODELS[:2] + ["gguf/families/qwen3_moe.gguf"]
IDS = [5, 17, 250, 3, 99, 101, 7, 42, 13, 200, 77, 31, 64, 128, 9, 18, 27, 36, 45, 54]


def houle(*args):
    return subprocess.run([HOULE, *map(str, args)], capture_output=True, text=True, timeout=300)


def logits(model, out, *args):
    run = houle("logits", model, "--ids", ",".join(map(str, IDS)), "--out", out, "--threads", 2, *args)
    assert run.returncode == 0, run.stderr[-300:]
    return load_file(out)["logits"].view(np.uint32)


def least(*command):
    """What a command says that it needs, in KiB."""
    run = houle(*command, "--memory", "1K")
    found = re.search(r"needs --memory (\d+)K at the least", run.stderr)
    assert run.returncode == 1 and found, run.stderr[-300:]
    return int(found.group(1))


def check_model(model, out):
    command = ("logits", model, "--ids", ",".join(map(str, IDS)), "--out", out, "--threads", 2)
    for precision in ("fast", "f32"):
        whole = logits(model, out, "--precision", precision)
        for chunk in (len(IDS), 1):
            args = ("--precision", precision, "--chunk", chunk)
            need = least(*command, *args)
            for memory in (need, need + 64):
                assert np.array_equal(logits(model, out, *args, "--memory", f"{memory}K"), whole), \
                    f"{precision}, chunks of {chunk}, {memory} KiB: other bits"
            run = houle(*command, *args, "--memory", f"{need - 1}K")
            assert run.returncode == 1 and "at the least" in run.stderr, f"{need - 1} KiB were enough, {need} were asked for"
    generate = ("run", model, "--ids", "1,2,3", "-n", 12, "--temp", 0, "--ignore-eos", "--print-ids", "--threads", 2, "-v")
    whole = houle(*generate)
    run = houle(*generate, "--memory", f"{least(*generate)}K")
    assert run.returncode == 0 and run.stdout == whole.stdout, run.stderr[-300:]
    assert "experts:" not in whole.stderr
    found = re.search(r"experts: ([\d.]+)% of (\d+) uses were in memory", run.stderr)
    return (float(found.group(1)), int(found.group(2))) if found else None


def main():
    failed, checked = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        for name in MODELS:
            model = next((root / name for root in ROOTS if (root / name).exists()), None)
            if model is None:
                continue
            checked += 1
            try:
                used = check_model(model, tmp / "logits.safetensors")
                print(f"ok    {name}" + (f": {used[0]}% of {used[1]} uses in memory" if used else ": tables only"))
            except AssertionError as problem:
                failed += 1
                print(f"FAIL  {name}: {problem}")
    if checked == 0:
        print("no golden models here; nothing was checked")
        return 77
    print(f"{checked} models, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
