#!/usr/bin/env python3
"""Numbers are read and written the same in every locale:  locale_test.py HOULE

A locale with a decimal comma and one whose letter I is another are made for the test (localedef) where the machine has
the sources; each command must print the same bytes in all. Guards against: 0.7 read as 0, 1.5 written as 1,5, "I" folded to
something that is no "i".
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import cli_models

HOULE = pathlib.Path(sys.argv[1]).resolve()
LOCALES = {"de_DE.UTF-8": "de_DE", "tr_TR.UTF-8": "tr_TR"}
TEMPLATE = "{{ 1.5 }} {{ '%.3f' % 2.5 }} {{ 1e300 * 10 }} {{ '0.25' | float + 1 }} {{ 'TITLE' | lower }} {{ messages | tojson }}"


def make_locales(folder):
    """Those that could be made and work."""
    made = []
    for name, source in LOCALES.items():
        try:
            subprocess.run(["localedef", "-i", source, "-f", "UTF-8", folder / name], capture_output=True)
            shown = subprocess.run(["printf", "%.1f", "1"], env={"LOCPATH": str(folder), "LC_ALL": name, "PATH": os.environ["PATH"]},
                                   capture_output=True, text=True).stdout
        except FileNotFoundError:
            continue
        if shown == "1,0":
            made.append(name)
    return made


def commands(tmp):
    (tmp / "chat.jinja").write_text(TEMPLATE)
    (tmp / "chat.json").write_text(json.dumps([{"role": "user", "content": "h\u00e9", "score": 0.125}]))
    yield "template", tmp / "chat.jinja", tmp / "chat.json"
    yield ("--help",)
    vocab = cli_models.golden("tokenizer/synth/synth_unigram")
    yield "tokenize", vocab, "I\u0130\u0131i 1.5 1,5"
    for kind in ("Q4_K", "PLAIN"):
        file = cli_models.golden(f"gguf/types/{kind}.gguf")
        yield "inspect", file
        yield "inspect", file, "--json"
    for name in ("text/llama", "gguf/families/gemma3_text.gguf"):
        model = cli_models.golden(name)
        if model is not None:
            yield "inspect", model, "--memory", "--ctx", "100"
            yield ("run", model, "--ids", "5,17,250", "-n", "12", "--temp", "0.75", "--top-p", "0.9", "--min-p", "0.01",
                   "--repeat-penalty", "1.1", "--seed", "7", "--ignore-eos", "--print-ids", "--threads", "1")
            (tmp / "ids.json").write_text(json.dumps(list(range(3, 67))))
            yield "perplexity", model, "--ids", tmp / "ids.json", "--chunk", "32", "--threads", "1"
            yield "perplexity", model, "--ids", tmp / "ids.json", "--chunk", "32", "--threads", "1", "--json"


def outcome(args, locale, folder):
    # The C library keeps what it makes of LOCPATH for ever, which is not ours to report.
    quiet = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    env = dict(os.environ, LC_ALL=locale, LOCPATH=str(folder), ASAN_OPTIONS=quiet)
    run = subprocess.run([HOULE, *map(str, args)], env=env, capture_output=True, timeout=120)
    return run.returncode, run.stdout, run.stderr


def main():
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        folder = tmp / "locales"
        folder.mkdir()
        made = make_locales(folder)
        if not made:
            print("no locale but the C one can be had here")
            sys.exit(77)
        count = 0
        for args in commands(tmp):
            want = outcome(args, "C.UTF-8", folder)
            assert want[0] == 0, (args, want)
            for locale in made:
                got = outcome(args, locale, folder)
                assert got == want, (locale, args, want, got)
            count += 1
    print(f"{count} commands print the same in {', '.join(made)}")


if __name__ == "__main__":
    main()
