#!/usr/bin/env python3
"""Published configurations:  configs_test.py HOULE

data/configs/NAME.json is a config.json as published (keys that decide nothing may be left out), expected.json says how
many parameters that model has, all of them and those used for a token. `houle inspect` on a folder with nothing but the
configuration must name the same numbers, and leave no key out of account.

Guards against: spellings of keys that only published files have, defaults of configuration classes, blocks that are
wider or more than they should be at real sizes.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HOULE = pathlib.Path(sys.argv[1]).resolve()
DATA = pathlib.Path(__file__).resolve().parent / "data" / "configs"


def complaints(config, want, folder):
    shutil.copy(config, folder / "config.json")
    run = subprocess.run([HOULE, "inspect", folder], capture_output=True, text=True, timeout=60)
    found = re.search(r"^parameters +(\d+) \(.*?\), (\d+) ", run.stdout, re.M)
    if run.returncode != 0 or not found:
        return [f"no description: {(run.stderr or run.stdout).strip()[-200:]}"]
    total, active = map(int, found.groups())
    wrong = [line.strip() for line in run.stdout.splitlines() if "unread" in line]
    if total != want["total"]:
        wrong.append(f"{total} parameters instead of {want['total']}")
    if want.get("active") is not None and active != want["active"]:
        wrong.append(f"{active} of them used for a token instead of {want['active']}")
    return wrong


def main():
    expected = json.loads((DATA / "expected.json").read_text())
    configs = sorted(p for p in DATA.glob("*.json") if p.name != "expected.json")
    failed = sum(name not in {p.name for p in configs} for name in expected)
    with tempfile.TemporaryDirectory() as tmp:
        for config in configs:
            want = expected.get(config.name)
            wrong = complaints(config, want, pathlib.Path(tmp)) if want else ["not in expected.json"]
            failed += bool(wrong)
            print(f"{config.stem:28} {'; '.join(wrong) or 'ok'}")
    print(f"{len(configs)} configurations, {failed} failed")
    sys.exit(1 if failed or not configs else 0)


if __name__ == "__main__":
    main()
