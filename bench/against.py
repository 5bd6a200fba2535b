#!/usr/bin/env python3
"""houle beside other engines, in one run:  bench/against.sh [options] PEER_BENCH... -- MODEL.gguf...

PEER_BENCH is llama.cpp's llama-bench, or a program with its interface. In every round each engine measures each model in turn,
between two probes of the machine's roof (bandwidth and int8 peak); rounds whose roof is under 85% of the best are left
out, because shared machines slow down and speed up. Printed are medians, half the spread, and ratios, as a table for
docs/speed.md.

    -p N    prompt tokens (512)          -r N    rounds (5)
    -n N    generated tokens (64)        -t N    threads (2)
    -d N    depth (0)                    --houle PROGRAM (build/houle)
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOF_SHARE = 0.85


def run(*args):
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{args[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def houle(options, model):
    out = json.loads(run(options.houle, "bench", model, "-p", options.p, "-n", options.n, "--depth", options.d, "-r", 1,
                         "--threads", options.t, "--json"))
    roof = out["roof"]
    return (*(out[phase]["tokens_per_second"] if phase in out else 0 for phase in ("prompt", "generation")),
            (roof["read_bytes_per_second"], roof["operations_per_second"]["int8"] or roof["operations_per_second"]["f32"]),
            roof["level"])


def peer(options, program, model):
    rows = json.loads(run(program, "-m", model, "-p", options.p, "-n", options.n, "-d", options.d, "-r", 1, "-t", options.t,
                          "-o", "json"))
    speed = {("prompt" if row["n_prompt"] else "generation"): row["avg_ts"] for row in rows}
    return speed.get("prompt", 0), speed.get("generation", 0)


def median(values):
    return f"{statistics.median(values):.1f} ± {(max(values) - min(values)) / 2:.1f}"


def measure(options, model):
    rounds = []
    for _ in range(options.r):
        ours = houle(options, model)
        rounds.append({"roof": ours[2], "level": ours[3], "houle": ours[:2]} |
                      {program: peer(options, program, model) for program in options.peers})
    best = [max(r["roof"][i] for r in rounds) for i in (0, 1)]
    kept = [r for r in rounds if all(r["roof"][i] >= ROOF_SHARE * best[i] for i in (0, 1))]
    print(f"{pathlib.Path(model).stem}: {len(kept)} of {len(rounds)} rounds counted, level {rounds[0]['level']}, "
          f"reads {best[0] * 1e-9:.1f} GB/s, int8 {best[1] * 1e-12:.2f} TOP/s", file=sys.stderr)
    for phase, name, tokens in ((0, f"prompt {options.p}", options.p), (1, f"generation {options.n}", options.n)):
        if tokens == 0:
            continue
        ours = [r["houle"][phase] for r in kept]
        cells = [pathlib.Path(model).stem, name + (f" at {options.d}" if options.d else ""), median(ours)]
        for program in options.peers:
            theirs = [r[program][phase] for r in kept]
            cells += [median(theirs), f"{statistics.median(ours) / statistics.median(theirs):.2f}×"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("-d", type=int, default=0)
    parser.add_argument("-r", type=int, default=5)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--houle", default=pathlib.Path(__file__).resolve().parent.parent / "build" / "houle")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("peers", nargs="+")
    arguments = sys.argv[1:]
    if "--" in arguments:
        arguments[arguments.index("--")] = "--models"
    options = parser.parse_args(arguments)
    print("| model | | houle, tokens/s | " + " | ".join(f"{pathlib.Path(p).name} | ratio" for p in options.peers) + " |")
    print("|---|---|---|" + "---|---|" * len(options.peers))
    for model in options.models:
        measure(options, model)


main()
