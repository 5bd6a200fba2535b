#!/usr/bin/env python3
"""Published configurations give the published numbers of parameters:  configs_test.py HOULE

data/configs holds settings of published models; expected.json says for each what is known of it:

    total, active    all parameters of the model without further layers, and those used for a token, exactly
    kept             those of further layers (multi-token prediction), exactly
    stored, copies   what the published files hold: with multi-token-prediction layers and that many copies of the
                     vocabulary's matrix which belong to them
    published, published_active    as its makers say it, rounded; active_without: tables of the vocabulary not counted

Guards against: a key misread (an old spelling, a default of the configuration class), a matrix of the wrong shape,
experts or shared parts counted twice, keys left out of account.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

HOULE = pathlib.Path(sys.argv[1]).resolve()
CONFIGS = pathlib.Path(__file__).resolve().parent / "data" / "configs"
UNITS = {"M": 1e6, "B": 1e9, "T": 1e12}
NEAR = 0.025  # the words of announcements: 355B for 357B


def agrees(count, words):
    digits, unit = words[:-1], UNITS[words[-1]]
    half = 0.5 * 10 ** -len(digits.partition(".")[2])
    return abs(count / unit - float(digits)) <= max(half, NEAR * float(digits)) * 1.001


def inspect(config, folder):
    (folder / "config.json").write_bytes(config)
    run = subprocess.run([HOULE, "inspect", "--json", folder], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    found = report["network"]
    assert found, report.get("why_not")
    assert not found["unread_keys"], found["unread_keys"]
    return found["parameters"], found["active_parameters"], found["kept_parameters"], found["width"] * found["vocabulary"]


def check(name, known, folder):
    total, active, kept, table = inspect((CONFIGS / name).read_bytes(), folder)
    assert known.get("total", total) == total, f"{total} parameters"
    assert known.get("active", active) == active, f"{active} active parameters"
    assert known.get("kept", kept) == kept, f"{kept} parameters of further layers"
    if "published" in known:
        assert agrees(total, known["published"]), f"{total} parameters are not {known['published']}"
    if "stored" in known:
        assert total + kept + known["copies"] * table == known["stored"], f"{total} and {kept} parameters are stored"
    if "published_active" in known:
        seen = active - known.get("active_without", 0) * table
        assert agrees(seen, known["published_active"]), f"{seen} active parameters are not {known['published_active']}"
    return total, active


def main():
    expected = json.loads((CONFIGS / "expected.json").read_text("utf-8"))
    files = {p.name for p in CONFIGS.glob("*.json")} - {"expected.json"}
    assert files == set(expected), files ^ set(expected)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(expected):
            try:
                total, active = check(name, expected[name], pathlib.Path(folder))
                print(f"{name[:-5]:26} {total:>15} {active:>13}")
            except AssertionError as e:
                failed += 1
                print(f"{name[:-5]:26} FAILED {e}")
    print(f"{len(expected) - failed} of {len(expected)} as published")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
