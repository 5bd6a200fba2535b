#!/usr/bin/env python3
"""Every family against the reference's logits:  families_test.py HOULE [FOLDER...]

Each folder holds tiny checkpoints as tests/golden/text does (default: the golden ones that are there); families that this
houle does not have are left out. For each checkpoint, and for the GGUF file of the same weights:

- logits and the greedy continuation are the reference's, at every CPU level;
- both files give the same logits;
- not a bit changes with the cut of the prompt, the number of threads, or the company in a batch, in either precision;
- the configuration has no key that is left out of account, and means the same in the spelling of earlier years.

Guards against: a layer described wrongly, a name or layout of a container mixed up, sums whose order depends on what else
is computed.

HOULE_TEST_ALL=1 tries each cut of the prompt at each level in each container; without it the levels take turns, which
needs a tenth of the time. HOULE_TEST_FEW=1 takes a few families only (for builds that run slowly).
"""
import concurrent.futures
import json
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
ALL, FEW = (os.environ.get(name) == "1" for name in ("HOULE_TEST_ALL", "HOULE_TEST_FEW"))
FEW_NAMES = ("llama", "gemma3_text", "deepseek_v3", "qwen3_next", "gpt_oss_mxfp4")
LIMIT = 1e-3       # of the largest logit; a float computation reaches about 1e-5
SAME_LIMIT = 1e-4  # between containers


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


def is_known(folder, out):
    return "is not known" not in houle("logits", folder, "--ids", "1", "--out", out).stderr


def difference(got, want):
    assert got.shape == want.shape and np.isfinite(got).all(), f"shape {got.shape} instead of {want.shape}, or not finite"
    return float(np.abs(got - want).max() / np.abs(want).max())


def older(config):
    """A configuration as it was written before rope_parameters; None where nothing was published so."""
    if "text_config" in config:
        text = older(config["text_config"])
        return text and dict(config, text_config=text)
    config = dict(config)
    rope = dict(config.pop("rope_parameters", {}))
    if "sliding_attention" in rope and config["model_type"].startswith("gemma3"):
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    if "rope_theta" not in rope or "llama_4_scaling_beta" in rope:
        return None
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            config[key] = rope.pop(key)
    kind = rope.pop("rope_type")
    return dict(config, rope_scaling=None if kind == "default" else dict(rope, **{"rope_type" if kind == "llama3" else "type": kind}))


class Checkpoint:
    def __init__(self, folder, model, out, golden=None):
        self.folder, self.model, self.out = folder, model, out
        own = model.with_name(model.stem + ".golden.safetensors")  # a GGUF whose settings had to differ
        self.is_own = model.is_file() and own.exists()
        self.golden = golden or load_file(own if self.is_own else folder / "golden.safetensors")
        keys = sorted(k for k in self.golden if k.startswith("input_ids"))
        self.prompts = [self.golden[k].reshape(-1).tolist() for k in keys]
        self.wanted = [self.golden[k.replace("input_ids", "logits")].reshape(len(p), -1) for k, p in zip(keys, self.prompts)]

    def logits(self, level, prompts, *args):
        ids = [x for p in prompts for x in ("--ids", ",".join(map(str, p)))]
        threads = () if "--threads" in args else ("--threads", 1)  # a busy machine makes barriers slow
        run = houle("logits", self.model, *ids, "--out", self.out, *args, *threads, level=level)
        assert run.returncode == 0, run.stderr.strip()[-300:]
        got = load_file(self.out)
        return [got[k] for k in (["logits"] if len(prompts) == 1 else [f"logits.{i}" for i in range(len(prompts))])]

    def check_golden(self, level, which):
        """The worst difference, and the logits."""
        got = [self.logits(level, [self.prompts[i]], "--precision", "f32")[0] for i in which]
        worst = max(difference(g, self.wanted[i]) for g, i in zip(got, which))
        assert worst <= LIMIT, f"{level}: logits are off by {worst:.1e}"
        return worst, got

    def check_greedy(self, level):
        if "greedy_ids" not in self.golden:
            return
        new = self.golden["greedy_ids"].reshape(-1).tolist()
        run = houle("run", self.model, "--precision", "f32", "--ids", ",".join(map(str, self.prompts[0])), "-n", len(new),
                    "--temp", "0", "--ignore-eos", "--print-ids", "--threads", 1, level=level)
        assert run.returncode == 0 and [int(x) for x in run.stdout.split()] == new, f"greedy ids differ {run.stderr[-200:]}"

    def check_bits(self, level, precision, cuts, batches):
        """Rotations may depend on the declared length: it is the same in all runs."""
        long = max(self.prompts, key=len)
        prompts = {"long": long, "short": self.prompts[1] if len(self.prompts) > 1 else long[9:50], "part": long[5:17]}
        common = ("--precision", precision, "--ctx", len(long))
        alone = {name: self.logits(level, [p], *common)[0] for name, p in prompts.items()}
        assert all(np.isfinite(x).all() for x in alone.values()), f"{level} {precision}: not finite"
        for args in cuts:
            got, = self.logits(level, [long], *common, *args)
            assert np.array_equal(got.view(np.uint32), alone["long"].view(np.uint32)), f"{level} {precision}: bits change with {args}"
        order = ("short", "long", "part", "long")
        for args in batches:
            got = self.logits(level, [prompts[name] for name in order], *common, *args)
            for one, name in zip(got, order):
                assert np.array_equal(one.view(np.uint32), alone[name].view(np.uint32)), \
                    f"{level} {precision}: bits of {name} change in a batch {args}"

    def check_spelling(self, level, tmp):
        config = older(json.loads((self.folder / "config.json").read_text("utf-8")))
        if config is None:
            return
        folder = tmp / self.folder.name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").symlink_to((self.folder / "model.safetensors").resolve())
        got, = Checkpoint(folder, folder, self.out, self.golden).logits(level, self.prompts[:1], "--precision", "f32")
        off = difference(got, self.wanted[0])
        assert off <= LIMIT, f"in the older spelling logits are off by {off:.1e}"

    def check_keys(self):
        run = houle("inspect", self.model)
        unread = [line.strip() for line in run.stdout.splitlines() if "unread" in line]
        assert run.returncode == 0 and not unread, unread or run.stderr


def check_all(point, here):
    worst = []
    for level in here:
        worst.append(point.check_golden(level, range(len(point.prompts)))[0])
        point.check_greedy(level)
        for precision in ("f32", "fast"):
            point.check_bits(level, precision, (("--chunk", 1), ("--chunk", 7), ("--chunk", 16), ("--threads", 2), ("--threads", 3)),
                             ((), ("--chunk", 5)))
    return worst


def check_in_turn(point, here, turn):
    """The widest cut and the smallest, threads and batches, each at some level."""
    gguf = point.model.is_file()
    worst = [point.check_golden(level, [0])[0] for level in ([here[turn % len(here)]] if gguf else here)]
    worst.append(point.check_golden(here[(turn + 1) % len(here)], range(1, len(point.prompts)))[0] if len(point.prompts) > 1 else 0)
    point.check_greedy(here[turn % len(here)])
    if not gguf:
        first, second = here[turn % len(here)], here[(turn + 2) % len(here)]
        point.check_bits(first, "fast", (("--chunk", 1), ("--chunk", 7, "--threads", 2)), (("--chunk", 16),))
        point.check_bits(second, "f32", (("--chunk", (1, 7, 16)[turn % 3], "--threads", 2),), ((),))
    return worst


def check_folder(folder, ggufs, here, turn):
    """Lines to print, and how many checkpoints passed and failed."""
    lines, counts, logits = [], [0, 0], {}
    with tempfile.TemporaryDirectory() as tmp:
        for model in (folder, ggufs / (folder.name + ".gguf")):
            if not model.exists():
                continue
            name = folder.name + (".gguf" if model.is_file() else "")
            try:
                point = Checkpoint(folder, model, pathlib.Path(tmp) / "logits.safetensors")
                point.check_keys()
                worst = check_all(point, here) if ALL else check_in_turn(point, here, turn)
                if model == folder:
                    point.check_spelling(here[turn % len(here)], pathlib.Path(tmp))
                if not point.is_own:
                    logits[name] = point.check_golden(here[-1], [0])[1][0]
                    apart = max(difference(logits[name], other) for other in logits.values())
                    assert apart <= SAME_LIMIT, f"logits of the two files are {apart:.1e} apart"
                counts[0] += 1
                lines.append(f"{name:28} ok  " + " ".join(f"{w:.0e}" for w in worst))
            except AssertionError as e:
                counts[1] += 1
                lines.append(f"{name:28} FAILED {e}")
    return lines, counts


def main():
    root = golden_root()
    places = [pathlib.Path(p) for p in sys.argv[2:]] or ([root / "text"] if root else [])
    if not places:
        print("no golden checkpoints here")
        sys.exit(77)
    ggufs = root / "gguf" / "families" if root and not sys.argv[2:] else pathlib.Path("/nonexistent")
    folders = [f for p in places for f in ([p] if (p / "golden.safetensors").exists()
               else sorted(q.parent for q in p.glob("*/golden.safetensors")))]
    if FEW:
        folders = [f for f in folders if f.name in FEW_NAMES]
    with tempfile.TemporaryDirectory() as tmp:
        out = pathlib.Path(tmp) / "out"
        folders = [f for f in folders if is_known(f, out)]
        here = levels(folders[0], out)
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for lines, counts in pool.map(lambda i: check_folder(folders[i], ggufs, here, i), range(len(folders))):
            print("\n".join(lines), flush=True)
            passed, failed = passed + counts[0], failed + counts[1]
    print(f"{passed} passed, {failed} failed, levels: {' '.join(here)}")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
