#!/usr/bin/env python3
"""Codex: codex.py BASE_URL write|builtin|mcp|subagent|compact|error [MODEL] [codex|codex-169]"""
import json
import sys

from common import HERE, Box, installed, marker

base, scenario = sys.argv[1], sys.argv[2]
model = sys.argv[3] if len(sys.argv) > 3 else "gpt-5.3-codex"
folder = sys.argv[4] if len(sys.argv) > 4 else "codex"
program = installed("codex", folder, "node_modules", ".bin", "codex")
box = Box()
own = scenario in ("builtin", "compact-builtin")
lines = ['model = "%s"' % model]
if own:
    lines.append('openai_base_url = "%s/v1"' % base)
else:
    lines.append('model_provider = "proxy"')
if scenario.startswith("compact"):
    lines.append("model_auto_compact_token_limit = 7300")
if not own:
    lines += [
        "[model_providers.proxy]",
        'name = "proxy"',
        'base_url = "%s/v1"' % base,
        'env_key = "PROXY_KEY"',
        'wire_api = "responses"',
    ]
if scenario == "mcp":
    server = json.dumps(str(HERE / "mcp_server.py"))
    lines += ["[mcp_servers.odd]", 'command = "%s"' % sys.executable, "args = [%s]" % server]
box.put(box.home / ".codex/config.toml", "\n".join(lines) + "\n")


def codex(prompt, *options):
    command = [program, "exec", *options, "--skip-git-repo-check", "--json"]
    command += ["--dangerously-bypass-approvals-and-sandbox", prompt]
    keys = {"PROXY_KEY": "test", "OPENAI_API_KEY": "test"}
    return box.run(command, box.env(CODEX_HOME=str(box.home / ".codex"), **keys))


def shell(text):
    return ("exec_command", {"cmd": text})


if scenario in ("write", "builtin"):
    codex("go " + marker([shell("echo %s > out.txt" % box.token)], box.final))
    box.check(ended=box.code == 0, file=box.read("out.txt") == box.token, final=box.final in box.out)
if scenario == "mcp":
    call = ("save", {"name": str(box.folder / "out.txt"), "text": box.token})
    codex("go " + marker([call], box.final))
    box.check(ended=box.code == 0, file=box.read("out.txt") == box.token, final=box.final in box.out)
if scenario == "subagent":
    inner = "do " + marker([shell("echo %s > sub.txt" % box.token)], "SUB_DONE")
    calls = [("spawn_agent", {"message": inner}), shell("sleep 4")]  # while it works
    codex("go " + marker(calls, box.final))
    ran = box.read("sub.txt") == box.token
    box.check(ended=box.code == 0, final=box.final in box.out, sub_agent_ran=ran)
if scenario.startswith("compact"):
    # The output of the first turn's command is what must be compacted away.
    codex("one " + marker([shell("echo one > one.txt; seq 1 3000")], "FIRST"))
    first = box.out
    codex("two " + marker([shell("echo %s > two.txt" % box.token)], box.final), "resume", "--last")
    box.check(
        ended=box.code == 0,
        first="FIRST" in first,
        one=box.read("one.txt") == "one",
        two=box.read("two.txt") == box.token,
        final=box.final in box.out,
        compacted=any('"compacted"' in path.read_text() for path in box.home.rglob("*.jsonl")),
    )
if scenario == "error":
    refusal = {"status": 400, "body": {"error": {"message": "refused on purpose", "code": "no"}}}
    codex("go " + marker(final=box.final, fail=[refusal]))
    box.check(told="refused on purpose" in box.out + box.err, failed=box.code != 0)
sys.exit("no scenario " + scenario)
