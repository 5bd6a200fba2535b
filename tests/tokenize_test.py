#!/usr/bin/env python3
"""houle tokenize and houle detokenize as people and programs use them:  tokenize_test.py HOULE

Every golden text against the ids of the reference programs (from tokenizer.json, SentencePiece's file and GGUF),
decoding and streams; the commands for people; requests that are refused. With the environment variable HOULE_TOKENIZERS naming a
folder of published tokenizers (NAME/tokenizer.json, as the README of the golden data tells), those too.
"""
import json
import os
import pathlib
import subprocess
import sys

HOULE = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = next(p / "tokenizer" for p in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden")
              if (p / "tokenizer" / "synth").is_dir())
BYTES = GOLDEN / "synth" / "synth_bytebpe"


def houle(*args, stdin=b""):
    return subprocess.run([HOULE, *map(str, args)], input=stdin, capture_output=True, timeout=120)


def batch(model, requests):
    run = houle("tokenize", model, "--batch", stdin="".join(json.dumps(r) + "\n" for r in requests).encode())
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.decode("utf-8").split("\n") if line]


def check_golden(name, model, cases, stream=None):
    """The reference's ids and texts: all of them."""
    check = HERE / "golden" / "check_batch.py"
    args = [sys.executable, check, "tokenizer", HOULE, model, cases] + ([stream] if stream else [])
    run = subprocess.run(list(map(str, args)), capture_output=True, text=True, timeout=300)
    print(f"{name}: {run.stdout.strip()}")
    assert run.returncode == 0, run.stdout + run.stderr


def check_all_golden():
    for name in ("synth_bytebpe", "synth_unigram", "synth_spmbpe"):
        check_golden(name, GOLDEN / "synth" / name, GOLDEN / f"{name}.jsonl", GOLDEN / f"{name}.stream.jsonl")
    for name in ("synth_bytebpe", "synth_spmbpe"):
        check_golden(f"{name}, GGUF", GOLDEN / "synth" / name / "vocab.gguf", GOLDEN / f"{name}_gguf.jsonl")
    published = pathlib.Path(os.environ.get("HOULE_TOKENIZERS", "/nonexistent"))
    for name in ("qwen3", "deepseek_v3", "gptoss", "llama3_1", "llama2", "gemma3"):
        if (published / name / "tokenizer.json").is_file() and (GOLDEN / f"{name}.jsonl").is_file():
            check_golden(name, published / name, GOLDEN / f"{name}.jsonl", GOLDEN / f"{name}.stream.jsonl")


def check_sentencepiece():
    """The model file itself: what the library that wrote it gives, which differs from tokenizer.json."""
    for name in ("synth_unigram", "synth_spmbpe"):
        cases = [json.loads(line) for line in open(GOLDEN / f"{name}.sentencepiece.jsonl", encoding="utf-8")]
        got = batch(GOLDEN / "synth" / name / "tokenizer.model",
                    [{"text": c["text"]} for c in cases] + [{"ids": c["ids"]} for c in cases])
        for c, ids, text in zip(cases, got, got[len(cases):]):
            assert ids["ids"] == c["ids"], (name, c["n"], ids)
            assert text["text"] == c["decoded"], (name, c["n"], text)
        print(f"{name}, tokenizer.model: {2 * len(cases)} passed")


def check_pieces():
    """What the sampled ids stand for, byte for byte, where that is text."""
    pieces = json.loads((GOLDEN / "synth_bytebpe.pieces.json").read_text("utf-8"))["pieces_hex"]
    valid = {}
    for i, piece in pieces.items():
        try:
            valid[int(i)] = bytes.fromhex(piece).decode("utf-8")
        except UnicodeDecodeError:
            pass
    assert len(valid) > 100, len(valid)
    for (i, text), got in zip(valid.items(), batch(BYTES, [{"ids": [i]} for i in valid])):
        assert got["text"] == text, (i, text, got)


def check_people():
    plain = houle("tokenize", BYTES, "Hello world", "--no-special")
    assert plain.returncode == 0 and plain.stderr == b"", plain
    ids = [int(i) for i in plain.stdout.split()]
    assert ids == batch(BYTES, [{"text": "Hello world"}])[0]["ids"]
    assert houle("tokenize", BYTES, "-", "--no-special", stdin=b"Hello world").stdout == plain.stdout
    assert houle("tokenize", BYTES, "--no-special", stdin=b"Hello world").stdout == plain.stdout
    shown = houle("tokenize", BYTES, "Hello world", "--no-special", "-v").stdout.decode().splitlines()
    assert [int(line.split()[0]) for line in shown] == ids
    assert "".join(json.loads(line.split(None, 1)[1]) for line in shown) == "Hello world", shown
    for given in ([str(i) for i in ids], [",".join(map(str, ids))], [str(ids)]):
        assert houle("detokenize", BYTES, *given).stdout == b"Hello world\n", given
    assert houle("detokenize", BYTES, "-", stdin=plain.stdout).stdout == b"Hello world\n"
    # Any bytes go in: NUL, what is no UTF-8; none are lost where the vocabulary has all bytes.
    for raw in (b"a\0b", b"\0", b"\n", "\U0010FFFF\u0378".encode()):
        ids = houle("tokenize", BYTES / "vocab.gguf", "-", "--no-special", stdin=raw).stdout
        assert houle("detokenize", BYTES / "vocab.gguf", "-", stdin=ids).stdout == raw + b"\n", raw
    ids = houle("tokenize", BYTES, "-", "--no-special", stdin=b"a\xff\xfeb\xe2\x82").stdout
    assert houle("detokenize", BYTES, "-", stdin=ids).stdout == "a\ufffd\ufffdb\ufffd\n".encode(), ids
    # A text that is empty, with and without what is added.
    assert houle("tokenize", BYTES, "", "--no-special").stdout.strip() == b""


def check_special():
    """Special tokens in a text count only where they are asked for."""
    added = json.loads((BYTES / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    for token in [t for t in added if t["special"]]:
        as_token, as_text = batch(BYTES, [{"text": token["content"], "parse_special": p} for p in (True, False)])
        assert as_token["ids"] == [token["id"]], as_token
        assert token["id"] not in as_text["ids"], as_text
        shown, hidden = batch(BYTES, [{"ids": [token["id"]], "skip_special": s} for s in (False, True)])
        assert shown["text"] == token["content"] and hidden["text"] == "", (shown, hidden)


def check_refusals(tmp="/nonexistent"):
    for request in ({}, {"text": 1}, {"ids": ["1"]}, {"ids": [-1]}, {"ids": [1 << 40]}, []):
        assert "error" in batch(BYTES, [request])[0], request
    for line in (b"{\n", b"null\n", b'{"text": "\\ud800"}\n', b"\xff\n"):
        run = houle("tokenize", BYTES, "--batch", stdin=line + b'{"text": "a"}\n')
        answers = [json.loads(a) for a in run.stdout.splitlines()]
        assert run.returncode == 0 and "error" in answers[0] and "ids" in answers[1], (line, run)
    for args, word in ((("tokenize", tmp, "x"), b"nonexistent"), (("tokenize", GOLDEN, "x"), b"tokenizer"),
                       (("detokenize", BYTES, "99999999"), b"99999999"), (("detokenize", BYTES, "x"), b"x"),
                       (("tokenize", HERE / "tokenize_test.py", "x"), b"tokenize_test.py")):
        run = houle(*args)
        assert run.returncode == 1 and run.stdout == b"" and word in run.stderr, (args, run)


check_all_golden()
check_sentencepiece()
check_pieces()
check_people()
check_special()
check_refusals()
print("all passed")
