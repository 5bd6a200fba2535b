#!/usr/bin/env python3
"""One published configuration of each family, run without its weights:  bench/families.sh [options] [CONFIG...]

Each is run by `houle bench --shape` with a few layers that stand for all. Printed is a table for docs/speed.md: bytes of weights that
a token reads, tokens/s of the whole network, how many the bandwidth would allow, and the share of that which is reached; families under
70% are named below it, with the step that takes the longest.

    --type TYPE     of the weights (q4_k)        --layers N     to run (4)
    -n N            generated tokens (12)        -p N           prompt tokens (64; 0: none)
    --threads N     (those of the machine)       --houle PROGRAM (build/houle)
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "tests" / "data" / "configs"
ENOUGH = 0.7


def model_type(path):
    config = json.loads(path.read_text("utf-8"))
    return (config.get("text_config") or {}).get("model_type") or config.get("model_type", "")


def one_of_each():
    """The smallest configuration of each model_type that is no toy: the first whose file comes, by its number of weights."""
    known = json.loads((CONFIGS / "expected.json").read_text("utf-8"))
    size = lambda path: known[path.name].get("total") or known[path.name].get("stored") or 10**15
    found = {}
    for path in sorted((p for p in CONFIGS.glob("*.json") if p.name != "expected.json"), key=size):
        found.setdefault(model_type(path), path)
    return [found[name] for name in sorted(found)]


def measure(options, config):
    command = [options.houle, "bench", "--shape", config, "--layers", options.layers, "--type", options.type, "-p", options.p, "-n",
               options.n, "-r", 2, "--profile", "--json"]
    if options.threads:
        command += ["--threads", options.threads]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if run.returncode != 0:
        print(f"| {model_type(config)} | {config.stem} | {run.stderr.strip()} |", flush=True)
        return None
    return json.loads(run.stdout)


def slowest(result):
    """The step that wastes most in the whole network: its time beyond what its weights would take at the machine's bandwidth."""
    roof = result["roof"]["read_bytes_per_second"]
    times = {kind["kind"]: kind["layers"] / kind["measured"] for kind in result["shape"]["kinds"]}
    wasted = lambda row: (row["seconds"] - row["weight_bytes"] / roof) * times.get(row["layers"], 1)
    worst = max(result["profile"]["generation"], key=wasted)
    every = sum(row["seconds"] * times.get(row["layers"], 1) for row in result["profile"]["generation"])
    return f"{worst['step']} {worst['of']} ({worst['layers']}), {wasted(worst) / every:.0%} of all time"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default="q4_k")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("-n", type=int, default=12)
    parser.add_argument("-p", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--houle", default=ROOT / "build" / "houle")
    parser.add_argument("configs", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    slow = []
    print("| family | model | layers run | a token reads | prompt, t/s | generation, t/s | bandwidth allows | share |")
    print("|---|---|---|---|---|---|---|---|")
    for config in options.configs or one_of_each():
        result = measure(options, config)
        if result is None:
            slow.append((model_type(config), "does not run"))
            continue
        shape, whole = result["shape"], result["shape"]["whole"]
        roof, speed = result["roof"]["read_bytes_per_second"], whole["generation_tokens_per_second"]
        share = whole["share_of_bandwidth"]
        prompt = f"{whole['prompt_tokens_per_second']:.1f}" if options.p else "-"
        print(f"| {model_type(config)} | {config.stem} | {shape['layers_measured']} of {shape['layers']} | "
              f"{whole['weight_bytes_per_token'] / 2**30:.2f} GiB | {prompt} | {speed:.2f} | "
              f"{roof / whole['weight_bytes_per_token']:.2f} | {share:.0%} |", flush=True)
        if share < ENOUGH:
            slow.append((model_type(config), f"{share:.0%}; longest beyond its bytes: {slowest(result)}"))
    print()
    for name, why in slow:
        print(f"under {ENOUGH:.0%}: {name}: {why}")
    return 0


sys.exit(main())
