#!/usr/bin/env python3
"""Every family against the reference's logits:  families_test.py HOULE [FOLDER...]

Each folder holds tiny checkpoints as tests/golden/text does (default: the golden ones that are there); families that this
houle does not have are left out. For each checkpoint, and for the GGUF file of the same weights, at every CPU level:

- logits of both prompts and the greedy continuation are the reference's;
- not a bit changes with the cut of the prompt, the number of threads, or the company in a batch, in either precision;
- the configuration has no key that is left out of account.

Guards against: a layer described wrongly, a name or layout of a container mixed up, sums whose order depends on what else
is computed.
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
LIMIT = 1e-3  # of the largest logit; a float computation reaches about 1e-5


def golden_root():
    for place in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden"):
        if (place / "text").is_dir():
            return place
    return None


def houle(*args, level=None):
    env = dict(os.environ, **({"HOULE_CPU": level} if level else {}))
    return subprocess.run([HOULE, *map(str, args)], capture_output=True, text=True, timeout=120, env=env)


def levels(model, out):
    """An unknown level is refused with a list of those that this machine has."""
    run = houle("logits", model, "--ids", "1", "--out", out, level="none")
    return re.search(r"which has (.*)", run.stderr).group(1).replace(",", "").split()


def is_known(model, out):
    return "is not known" not in houle("logits", model, "--ids", "1", "--out", out).stderr


class Checkpoint:
    def __init__(self, folder, model, tmp):
        self.folder, self.model, self.out = folder, model, tmp / "logits.safetensors"
        own = model.with_name(model.stem + ".golden.safetensors")  # a GGUF whose settings had to differ
        self.golden = load_file(own if model.is_file() and own.exists() else folder / "golden.safetensors")
        self.prompts = [self.golden[k].reshape(-1).tolist() for k in ("input_ids_0", "input_ids_1")]

    def logits(self, level, prompts, *args):
        ids = [x for p in prompts for x in ("--ids", ",".join(map(str, p)))]
        threads = () if "--threads" in args else ("--threads", 1)  # a busy machine makes barriers slow
        run = houle("logits", self.model, *ids, "--out", self.out, *args, *threads, level=level)
        assert run.returncode == 0, run.stderr.strip()[-300:]
        got = load_file(self.out)
        return [got[k] for k in (["logits"] if len(prompts) == 1 else [f"logits.{i}" for i in range(len(prompts))])]

    def check_golden(self, level):
        worst = 0.0
        for i, ids in enumerate(self.prompts):
            want = self.golden[f"logits_{i}"].reshape(len(ids), -1)
            got, = self.logits(level, [ids], "--precision", "f32")
            assert got.shape == want.shape and np.isfinite(got).all(), f"prompt {i}: shape {got.shape}, or not finite"
            worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
        assert worst <= LIMIT, f"logits are off by {worst:.1e}"
        if "greedy_ids" in self.golden:
            new = self.golden["greedy_ids"].reshape(-1).tolist()
            run = houle("run", self.model, "--precision", "f32", "--ids", ",".join(map(str, self.prompts[0])), "-n", len(new),
                        "--temp", "0", "--ignore-eos", "--print-ids", "--threads", 1, level=level)
            assert run.returncode == 0 and [int(x) for x in run.stdout.split()] == new, f"greedy ids differ {run.stderr[-200:]}"
        return worst

    def check_bits(self, level):
        """Rotations may depend on the declared length: it is the same in all runs."""
        long, short = self.prompts
        for precision in ("f32", "fast"):
            common = ("--precision", precision, "--ctx", max(map(len, self.prompts)))
            alone = {}
            for name, prompt in (("long", long), ("short", short), ("part", short[5:17])):
                alone[name], = self.logits(level, [prompt], *common)
            assert np.isfinite(alone["long"]).all(), f"{precision}: not finite"
            for args in (("--chunk", 1), ("--chunk", 7), ("--chunk", 16), ("--threads", 2), ("--threads", 3)):
                got, = self.logits(level, [long], *common, *args)
                assert np.array_equal(got.view(np.uint32), alone["long"].view(np.uint32)), f"{precision}: bits change with {args}"
            for args in ((), ("--chunk", 5)):
                got = self.logits(level, [short, long, short[5:17], long], *common, *args)
                for one, name in zip(got, ("short", "long", "part", "long")):
                    assert np.array_equal(one.view(np.uint32), alone[name].view(np.uint32)), f"{precision}: bits change in a batch {args}"

    def check_keys(self):
        run = houle("inspect", self.model)
        unread = [line.strip() for line in run.stdout.splitlines() if "unread" in line]
        assert run.returncode == 0 and not unread, unread or run.stderr


def main():
    root = golden_root()
    places = [pathlib.Path(p) for p in sys.argv[2:]] or ([root / "text"] if root else [])
    if not places:
        print("no golden checkpoints here")
        sys.exit(77)
    ggufs = root / "gguf" / "families" if root and not sys.argv[2:] else pathlib.Path("/nonexistent")
    folders = [f for p in places for f in sorted(q.parent for q in p.glob("*/golden.safetensors"))]
    failed = passed = 0
    with tempfile.TemporaryDirectory() as tmp:
        out = pathlib.Path(tmp) / "out"
        folders = [f for f in folders if is_known(f, out)]
        here = levels(folders[0], out)
        for folder in folders:
            for model in (folder, ggufs / (folder.name + ".gguf")):
                if not model.exists():
                    continue
                name = folder.name + (".gguf" if model.is_file() else "")
                try:
                    point = Checkpoint(folder, model, pathlib.Path(tmp))
                    point.check_keys()
                    worst = []
                    for level in here:
                        worst.append(point.check_golden(level))
                        point.check_bits(level)
                    passed += 1
                    print(f"{name:28} ok  " + " ".join(f"{w:.0e}" for w in worst))
                except AssertionError as e:
                    failed += 1
                    print(f"{name:28} FAILED {e}")
    print(f"{passed} passed, {failed} failed, levels: {' '.join(here)}")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
