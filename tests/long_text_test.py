#!/usr/bin/env python3
"""A text longer than a chunk of the cache (1,024 entries):  long_text_test.py HOULE

At every CPU level, for each form of the cache: the logits behind 1,100 tokens are bit for bit the same however the text is cut
and with one thread or two; in floats all levels agree, and what `fast` rounds beyond the first chunk moves them little.

Guards against: a sum whose order, or whose precision (levels with bf16 round what lies beyond the first chunk), depends on
where a step began or on how many rows it had.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

import tiny_model

HOULE = pathlib.Path(sys.argv[1]).resolve()
FEW = os.environ.get("HOULE_TEST_FEW") == "1"
IDS = ",".join(str(3 + (7 * i + i * i // 5) % 200) for i in range(1100))


def houle(level, *args):
    env = dict(os.environ, **({"HOULE_CPU": level} if level else {}))
    return subprocess.run([HOULE, *map(str, args)], capture_output=True, text=True, timeout=300, env=env)


def logits(model, out, level, *args):
    """Of the tokens around the chunk's border, and the last ones."""
    run = houle(level, "logits", model, "--ids", IDS, "--out", out, *args)
    assert run.returncode == 0, run.stderr[-300:]
    return load_file(out)["logits"][1000:]


def main():
    with tempfile.TemporaryDirectory() as tmp:
        model, out = tiny_model.make(pathlib.Path(tmp) / "tiny", context=2048), pathlib.Path(tmp) / "logits.safetensors"
        levels = re.search(r"which has (.*)", houle("none", "logits", model, "--ids", "1", "--out", out).stderr)
        levels = levels.group(1).replace(",", "").split()
        wanted = logits(model, out, levels[0], "--precision", "f32")
        largest = np.abs(wanted).max()
        for level in levels[-1:] if FEW else levels:
            floats = logits(model, out, level, "--precision", "f32")
            assert np.abs(floats - wanted).max() <= 1e-4 * largest, level
            for cache in ("f16", "q8_0", "f32"):
                args = ("--precision", "fast", "--cache-type", cache)
                whole = logits(model, out, level, *args)
                off = np.sqrt(np.mean(np.square(whole - wanted))) / largest
                assert off <= 0.02, f"{level} {cache}: {off}"
                for cut in ((100, 2), (7, 1)) if FEW else ((513, 1), (100, 2), (7, 2), (1, 1)):
                    part = logits(model, out, level, *args, "--chunk", cut[0], "--threads", cut[1])
                    assert np.array_equal(part.view(np.uint32), whole.view(np.uint32)), f"{level} {cache}: {cut}"
        print(json.dumps({"levels": levels, "largest logit": float(largest)}))


main()
