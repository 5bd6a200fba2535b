#!/usr/bin/env python3
"""houle inspect as people and programs use it:  inspect_test.py HOULE

The golden malformed files, the dump of every golden type against the reference's values, the JSON against what the
files are known to hold, and what strangers' strings do to a terminal.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

HOULE = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = next(p for p in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden")
              if (p / "gguf" / "types").is_dir())


def inspect(*args):
    return subprocess.run([HOULE, "inspect", *map(str, args)], capture_output=True, timeout=60)


def check_malformed():
    run = subprocess.run([sys.executable, HERE / "golden" / "check_batch.py", "malformed", HOULE, GOLDEN / "gguf" / "malformed"],
                         capture_output=True, text=True, timeout=300)
    print(run.stdout.strip())
    assert run.returncode == 0, run.stdout


def check_dumps(tmp):
    numbers = 0
    for gguf in sorted((GOLDEN / "gguf" / "types").glob("*.gguf")):
        out = tmp / "dump.safetensors"
        run = inspect(gguf, "--dump", out)
        assert run.returncode == 0 and run.stdout == b"", (gguf, run.stderr)
        got, want = load_file(out), load_file(gguf.with_suffix(".safetensors"))
        for name, values in got.items():
            reference = want[name].astype(np.float32)
            assert values.dtype == np.float32 and values.shape == reference.shape, (gguf, name)
            same = (values.view(np.uint32) == reference.view(np.uint32)) | (np.isnan(values) & np.isnan(reference))
            assert same.all(), (gguf, name, np.argwhere(~same)[:5])
            numbers += values.size
    print(f"dump: {numbers} numbers are those of the reference")
    assert numbers > 200000
    # A dump that cannot be finished leaves nothing, and does not replace what was there.
    out.write_bytes(b"kept")
    run = inspect(GOLDEN / "gguf" / "types" / "Q4_K.gguf", "--dump", tmp / "no" / "such" / "folder")
    assert run.returncode == 1 and b"folder" in run.stderr, run
    run = inspect(GOLDEN / "gguf" / "malformed" / "trunc_data.gguf", "--dump", out)
    assert run.returncode == 1 and out.read_bytes() == b"kept", run
    assert sorted(p.name for p in tmp.iterdir()) == [out.name]


def check_json():
    types = GOLDEN / "gguf" / "types"
    got = json.loads(inspect(types / "PLAIN.gguf", "--json").stdout)
    known = json.loads((types / "PLAIN.json").read_text("utf-8"))
    assert got["container"] == "gguf" and got["version"] == 3 and len(got["files"]) == 1
    assert got["files"][0]["bytes"] == (types / "PLAIN.gguf").stat().st_size
    assert got["total"] == {"tensors": 7, "parameters": 218, "bytes": sum(t["bytes"] for t in got["types"])}
    known["kv"].pop("k.empty")  # the program that wrote the file leaves empty strings out
    for key, value in known["kv"].items():
        assert got["metadata"][key] == value, (key, got["metadata"][key], value)
    assert set(known["kv"]) | set(known["arrays"]) < set(got["metadata"])
    for key, value in known["arrays"].items():
        entry = got["metadata"][key]
        assert entry["type"] == "array" and entry["count"] == len(value) and entry["value"] == value, (key, entry)
    raw = (types / "PLAIN.gguf").read_bytes()
    want = load_file(types / "PLAIN.safetensors")
    for tensor in got["tensors"]:
        assert tensor["shape"] == known["tensors"][tensor["name"]]["shape_row_major"], tensor
        stored = raw[tensor["offset"]:tensor["offset"] + tensor["bytes"]]
        assert stored == want[tensor["name"]].tobytes(), tensor
    assert {t["name"] for t in got["tensors"]} == set(want)


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text


def check_folder_and_terminal(tmp):
    folder = tmp / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "nobody_knows", "rope_theta": 1000000.0, "x": NaN}')
    save_file({"w\x1b[2J\n": np.ones((2, 3), np.float32), "b": np.zeros(0, np.int8)}, folder / "model.safetensors",
              metadata={"format": "pt"})
    run = inspect(folder, "--tensors", "--full")
    assert run.returncode == 0 and b"\x1b" not in run.stdout and b"nobody_knows" in run.stdout, run.stdout
    got = json.loads(inspect(folder, "--json").stdout)
    assert got["config"] == {"model_type": "nobody_knows", "rope_theta": 1000000.0, "x": None}
    assert got["container"] == "safetensors" and got["version"] is None
    assert got["metadata"] == {"format": {"type": "string", "value": "pt"}}
    assert sorted((t["name"], t["shape"]) for t in got["tensors"]) == [("b", [0]), ("w\x1b[2J\n", [2, 3])]

    # What is missing is named: the family, or the kind of its layers.
    assert got["network"] is None and "the family 'nobody_knows' is not known" in got["why_not"], got["why_not"]
    config = {"model_type": "qwen3", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 41,
              "num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": ["full_attention"] * 3 + ["x\x1byz"] * 38}
    known = dict(config, layer_types=["full_attention"] * 41, colour="blue")
    other = tmp / "other"
    other.mkdir()
    for settings, expected in ((config, "mixer 'x\\x1byz' is not known; layers 3-40 use it"),
                               (dict(config, model_type="nobody"), "mixer 'x\\x1byz' is not known; layers 3-40 use it"),
                               (dict(known, layer_types=["full_attention", 7]), "layer_types[1] is no word"),
                               (dict(known, hidden_act="loud"), "activation 'loud' is not known")):
        (other / "config.json").write_text(json.dumps(settings))
        report = json.loads(inspect(other, "--json").stdout)
        assert report["network"] is None and expected in report["why_not"], (expected, report["why_not"])
    (other / "config.json").write_text(json.dumps(known))
    report = json.loads(inspect(other, "--json").stdout)["network"]
    assert report["family"] == "qwen3" and report["layers"] == 41 and report["unread_keys"] == "colour", report
    families = json.loads(inspect("--families", "--json").stdout)["families"]
    assert {"family": "llama", "gguf": "llama", "golden": "llama"}.items() <= next(f for f in families if f["family"] == "llama").items()

    # Arrays are cut unless --full; bytes that are no UTF-8 do not break the JSON.
    tokens = [b"\xff\xfe", b"\x1b]0;title\x07"] + [b"t%d" % i for i in range(98)]
    array = gguf_string(b"tokens") + struct.pack("<IIQ", 9, 8, 100) + b"".join(map(gguf_string, tokens))
    (tmp / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array)
    got = json.loads(inspect(tmp / "a.gguf", "--json").stdout)["metadata"]["tokens"]
    assert got["count"] == 100 and got["value"][:3] == ["\ufffd\ufffd", "\x1b]0;title\x07", "t0"] and len(got["value"]) == 16
    assert len(json.loads(inspect(tmp / "a.gguf", "--json", "--full").stdout)["metadata"]["tokens"]["value"]) == 100
    assert b"\x1b" not in inspect(tmp / "a.gguf", "--full").stdout

    run = inspect(tmp / "nothing")
    assert run.returncode == 1 and b"nothing" in run.stderr
    assert inspect().returncode == 2 and inspect("a", "--unknown").returncode == 2


check_malformed()
for check in (check_dumps, check_folder_and_terminal):
    with tempfile.TemporaryDirectory() as folder:
        check(pathlib.Path(folder))
check_json()
