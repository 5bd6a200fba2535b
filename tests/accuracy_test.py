#!/usr/bin/env python3
"""How far --precision fast is from --precision f32, for each family:  accuracy_test.py HOULE [--write]

For the golden prompts of each reference checkpoint: the share of positions whose likeliest token is the same, and the
mean Kullback-Leibler divergence of the distributions. Limits are in data/fast_limits.json, measured on the levels that
this was written on and widened; --write measures them anew. These models are tiny and random, so that their
distributions are flat and small differences change the likeliest token more easily than in a real model.

Guards against: activations rounded more than they should be, a cache form that a family does not bear.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

HOULE = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
LIMITS = HERE / "data" / "fast_limits.json"


def logits(folder, precision, ids, scratch):
    out = scratch / f"{precision}.safetensors"
    subprocess.run([HOULE, "logits", folder, "--ids", ids, "--precision", precision, "--out", out], check=True, timeout=120)
    x = load_file(out)["logits"].astype(np.float64)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def compare(folder, scratch):
    golden = load_file(folder / "golden.safetensors")
    same, divergence, rows = 0, 0.0, 0
    for key in sorted(k for k in golden if k.startswith("input_ids"))[:2]:
        ids = ",".join(map(str, golden[key].reshape(-1)[:64].tolist()))
        exact, fast = (logits(folder, p, ids, scratch) for p in ("f32", "fast"))
        same += int((exact.argmax(1) == fast.argmax(1)).sum())
        divergence += float((np.exp(exact) * (exact - fast)).sum())
        rows += len(exact)
    return same / rows, divergence / rows


def main():
    places = (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden")
    text = next(p / "text" for p in places if (p / "text" / "llama").is_dir())
    folders = sorted(p.parent for p in text.glob("*/golden.safetensors"))
    if os.environ.get("HOULE_TEST_FEW") == "1":
        folders = folders[::10]
    limits = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            same, divergence = compare(folder, pathlib.Path(scratch))
            if "--write" in sys.argv:
                limits[folder.name] = {"same": round(max(0, same - 0.06), 3), "divergence": float(f"{max(4 * divergence, 1e-6):.2g}")}
            limit = limits.get(folder.name, {"same": 2, "divergence": 0})
            good = same >= limit["same"] and divergence <= limit["divergence"]
            failed += not good
            print(f"{folder.name:24} {'ok' if good else 'FAILED':6} likeliest token the same {same:.3f} (limit {limit['same']}), "
                  f"divergence {divergence:.2e} (limit {limit['divergence']:.1e})")
    if "--write" in sys.argv:
        LIMITS.write_text(json.dumps(limits, indent=1) + "\n")
    print(f"{len(folders) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not folders else 0)


main()
