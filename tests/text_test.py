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


# What a template writes of a call is what its models write: the format of the family must read it back.
WRITTEN = {
    "deepseek_v3_1": "deepseek_v3_1", "glm_4_6": "glm_4_6", "glm_4_7_flash": "glm_4_7", "kimi_k2": "kimi_k2",
    "kimi_k2_thinking": "kimi_k2_thinking", "llama3_1": "llama3_1", "minimax_m1": "minimax_m1", "minimax_m2": "minimax_m2",
    "ministral_3_reasoning": "ministral_3_reasoning", "mistral_nemo": "mistral_nemo", "mistral_small_3_2": "mistral_small_3_2",
    "qwen2_5": "qwen2_5", "qwen3": "qwen3", "qwen3_5": "qwen3_5", "qwen3_coder": "qwen3_coder", "gpt_oss": "gpt_oss",
}
CALLS = [{"city": "Nowhere } \"x\" <b>, [y]", "unit": "celsius"}, {"city": "it's: a test\nof two lines"}]


def check_round_trips():
    tools = json.loads((GOLDEN / "toolparse" / "kimi_k2.json").read_text("utf-8"))["tools"]
    seen = 0
    for name, form in WRITTEN.items():
        folder = GOLDEN / "template" / name
        if not (folder / "template.jinja").is_file():
            continue
        tokens = json.loads((folder / "cases.json").read_text("utf-8"))["tokens"]
        user = {"role": "user", "content": "Well?"}
        for arguments in CALLS:
            call = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
            asks = [{"vars": {"messages": [user, *more], "tools": tools, "add_generation_prompt": not more, **tokens}}
                    for more in ([], [{"role": "assistant", "content": "", "tool_calls": [call]}])]
            out = houle("template", folder / "template.jinja", "--batch", "--now", "2025-07-04 09:05:03",
                        given="".join(json.dumps(a) + "\n" for a in asks).encode())
            prompt, whole = (json.loads(line)["text"] for line in out.decode().splitlines())
            text = whole[len(os.path.commonprefix([prompt, whole])):]
            asks = [{"text": text, "tools": tools}, {"chunks": list(text), "tools": tools}]
            out = houle("reply", form, "--batch", given="".join(json.dumps(a) + "\n" for a in asks).encode())
            for line in out.decode().splitlines():
                (read,) = json.loads(line)["message"]["tool_calls"]
                assert (read["name"], json.loads(read["arguments"])) == ("get_weather", arguments), (name, text, read)
                seen += 1
    print(f"round trips: {seen} calls")
    assert seen > 0


def main():
    check_round_trips()
    check_golden("template", *sorted(p.parent for p in (GOLDEN / "template").glob("*/template.jinja")))
    check_golden("snippets", GOLDEN / "template" / "snippets.json")
    check_golden("reply", *sorted(p for p in (GOLDEN / "toolparse").glob("*.json") if p.stem != "messages"))
    with tempfile.TemporaryDirectory() as tmp:
        check_template_command(pathlib.Path(tmp))
    check_reply_command()


main()
