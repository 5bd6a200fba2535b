#!/usr/bin/env python3
"""Older spellings of configurations:  spellings_test.py HOULE

The golden checkpoints have the newest names of keys; published files often have those that a family started with. For
each family below, the golden configuration is written in its older way, and not a bit of the logits may change.

Guards against: models as they are published being refused, or read with defaults in the place of what they say.
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


def rope_outside(c):
    c["rope_theta"] = c.pop("rope_parameters")["rope_theta"]


def renamed(c, **names):
    for new, old in names.items():
        c[old] = c.pop(new)


def minimax(c):
    rope_outside(c)
    c["model_type"] = "minimax_text_01"
    c["attn_type_list"] = [int(t == "full_attention") for t in c.pop("layer_types")]
    for part, older in (("full_attn", "full_attention"), ("linear_attn", "linear_attention"), ("mlp", "mlp")):
        for factor in ("alpha", "beta"):
            c[f"layernorm_{older}_{factor}"] = c.pop(f"{part}_{factor}_factor")
    c |= {"postnorm": True, "rotary_dim": c["head_dim"], "shared_intermediate_size": [0], "shared_moe_mode": "sigmoid"}


def lfm2(c):
    rope_outside(c)
    c["full_attn_idxs"] = [i for i, t in enumerate(c.pop("layer_types")) if t == "full_attention"]
    renamed(c, intermediate_size="block_ff_dim", tie_word_embeddings="tie_embedding")
    c |= {"block_dim": c["hidden_size"], "block_use_swiglu": True, "conv_dim": c["hidden_size"]}


def granitemoehybrid(c):
    rope_outside(c)
    c["layer_types"] = [{"linear_attention": "mamba", "full_attention": "attention"}[t] for t in c["layer_types"]]
    c["mamba_d_head"] = "auto"
    c["time_step_limit"] = [0.0, float("inf")]  # written as the bare word Infinity


def nemotron_h(c):
    letters = {"linear_attention": "M", "full_attention": "*", "mlp": "-", "moe": "E"}
    c["hybrid_override_pattern"] = "".join(letters[t] for t in c.pop("layers_block_type"))
    c["num_hidden_layers"] = len(c["hybrid_override_pattern"])
    renamed(c, head_dim="attention_head_dim", n_groups="mamba_n_groups", conv_kernel="mamba_d_conv",
            use_conv_bias="mamba_conv_bias")


FAMILIES = (minimax, lfm2, granitemoehybrid, nemotron_h)


def logits(folder, ids, out):
    run = subprocess.run([HOULE, "logits", folder, "--precision", "f32", "--threads", "1", "--ids", ids, "--out", out],
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr.strip()[-300:]
    return load_file(out)["logits"]


def check(folder, older, tmp):
    config = json.loads((folder / "config.json").read_text())
    older(config)
    copy = tmp / folder.name
    copy.mkdir()
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "model.safetensors").symlink_to((folder / "model.safetensors").resolve())
    ids = ",".join(map(str, load_file(folder / "golden.safetensors")["input_ids_0"].reshape(-1).tolist()))
    want, got = logits(folder, ids, tmp / "want"), logits(copy, ids, tmp / "got")
    same = np.array_equal(want.view(np.uint32), got.view(np.uint32))
    assert same, f"logits are off by {np.abs(want - got).max():.1e}"
    run = subprocess.run([HOULE, "inspect", copy], capture_output=True, text=True, timeout=60)
    assert "unread" not in run.stdout, [line for line in run.stdout.splitlines() if "unread" in line]


def main():
    places = (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden")
    text = next((p / "text" for p in places if (p / "text").is_dir()), None)
    found = [(text / f.__name__, f) for f in FAMILIES if text and (text / f.__name__ / "golden.safetensors").exists()]
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        for folder, older in found:
            try:
                check(folder, older, pathlib.Path(tmp))
                print(f"{folder.name:20} ok")
            except AssertionError as e:
                failed += 1
                print(f"{folder.name:20} FAILED {e}")
    print(f"{len(found) - failed} passed, {failed} failed")
    sys.exit(77 if not found else 1 if failed else 0)


if __name__ == "__main__":
    main()
