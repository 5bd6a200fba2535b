#!/usr/bin/env python3
"""houle template and houle reply against the golden data, and as people use them:  text_test.py HOULE"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HOULE = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = next(p for p in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden")
              if (p / "template").is_dir() and (p / "toolparse").is_dir())


def check_golden(kind, *paths):
    run = subprocess.run([sys.executable, HERE / "golden" / "check_batch.py", kind, HOULE, *paths],
                         capture_output=True, text=True, timeout=600)
    print(f"{kind}: {run.stdout.strip()}")
    assert run.returncode == 0, run.stdout + run.stderr


def houle(*args, given=b"", status=0):
    run = subprocess.run([HOULE, *map(str, args)], input=given, capture_output=True, timeout=60)
    assert run.returncode == status, (args, run.returncode, run.stderr)
    return run.stdout if status == 0 else run.stderr


def check_template_command(tmp):
    (tmp / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if tools %}{{ tools | length }} tools{% endif %}{{ mood }}{{ strftime_now('%Y') }}"
        "{% if add_generation_prompt %}>{% endif %}")
    (tmp / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    chat, tools = tmp / "chat.json", tmp / "tools.json"
    chat.write_text(json.dumps([{"role": "user", "content": "h\u00e9"}]))
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "f"}}]))
    now = ("--now", "2025-07-04 09:05:03")
    assert houle("template", tmp, chat, *now).decode() == "<s>user: h\u00e9\n2025>"
    assert houle("template", tmp, chat, *now, "--tools", tools, "--var", "mood=\"good\"", "--no-generation-prompt"
                 ).decode() == "<s>user: h\u00e9\n1 toolsgood2025"
    (tmp / "request.json").write_text(json.dumps({"messages": [], "tools": [1, 2]}))
    assert houle("template", tmp / "chat_template.jinja", tmp / "request.json", *now).decode() == "2 tools2025>"
    assert b"no-such" in houle("template", tmp, chat, "--name", "no-such", status=1)
    assert b"missing.json" in houle("template", tmp, tmp / "missing.json", status=1)
    (tmp / "bad.jinja").write_text("\n{{ oh")
    assert b"line 2" in houle("template", tmp / "bad.jinja", chat, status=1)


def check_reply_command():
    text = b"<think>why</think>\nHi <tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>"
    message = json.loads(houle("reply", "qwen3", given=text))
    assert message["content"].strip() == "Hi" and message["reasoning_content"] == "why", message
    (call,) = message["tool_calls"]
    assert call["name"] == "f" and json.loads(call["arguments"]) == {"a": 1} and call["id"], message
    assert json.loads(houle("reply", "qwen3", "--inside-reasoning", given=b"a</think>b"))["reasoning_content"] == "a"
    assert b"qwen3" in houle("reply", "no-such-format", status=2)  # the known ones are listed


def main():
    check_golden("template", *sorted(p.parent for p in (GOLDEN / "template").glob("*/template.jinja")))
    check_golden("snippets", GOLDEN / "template" / "snippets.json")
    check_golden("reply", *sorted(p for p in (GOLDEN / "toolparse").glob("*.json") if p.stem != "messages"))
    with tempfile.TemporaryDirectory() as tmp:
        check_template_command(pathlib.Path(tmp))
    check_reply_command()


main()
