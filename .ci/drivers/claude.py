#!/usr/bin/env python3
"""Claude Code, headless: claude.py BASE_URL SCENARIO [MODEL] [claude-new|claude-old]

Scenarios: text write parallel subagent image pdf continue compact ptl retry429
unknownmodel mcp company. ptl sends Copilot's own words for a context overflow: it passes
when the proxy says them so that Claude Code compacts. company starts `run -- claude` with
HTTPS_PROXY set: nothing may arrive there; its BASE_URL is the fake upstream's.
"""
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import zlib

from common import HERE, ROOT, Box, installed, marker

BINARY = ("node_modules", "@anthropic-ai", "claude-code-linux-x64", "claude")
base, scenario = sys.argv[1], sys.argv[2]
model = sys.argv[3] if len(sys.argv) > 3 else "claude-sonnet-4.5"
program = installed("claude", sys.argv[4] if len(sys.argv) > 4 else "claude-new", *BINARY)
OVERFLOW = {
    "message": "prompt token count of 140000 exceeds the limit of 128000",
    "code": "model_max_prompt_tokens_exceeded",
}
SUMMARY = "<analysis>a</analysis><summary>E2E summary</summary>"
box = Box()
QUIET = {
    "IS_SANDBOX": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
}
FLAGS = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]


def claude(prompt, *options, **env):
    """Run one prompt; returns (events, the last result)."""
    found = box.env(
        ANTHROPIC_BASE_URL=base, ANTHROPIC_AUTH_TOKEN="test", ANTHROPIC_MODEL=model, **QUIET, **env
    )
    box.run([program, "-p", prompt, *FLAGS, *options], found)
    return read_events()


def read_events():
    events = []
    for line in box.out.splitlines():
        if line.startswith("{"):
            events.append(json.loads(line))
    results = [event for event in events if event.get("type") == "result"]
    return events, results[-1] if results else {}


def bash(command):
    return ("Bash", {"command": command, "description": "e2e"})


def said(result):
    return box.final in (result.get("result") or "")


def compacted(events):
    return any(event.get("subtype") == "compact_boundary" for event in events)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(side=16):
    rows = (b"\0" + bytes([200, 10, 10]) * side) * side
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def document():
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    start = len(made)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"xref\n0 4\n0000000000 65535 f \n" + rows
    return made + b"trailer << /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def text():
    _, result = claude("say it " + marker(final=box.final))
    box.check(ended=box.code == 0, final=said(result), right=not result.get("is_error"))


def write():
    path = str(box.folder / "out.txt")
    call = ("Write", {"file_path": path, "content": box.token + "\n"})
    _, result = claude("write " + marker([call], box.final))
    box.check(
        ended=box.code == 0,
        file=box.read("out.txt") == box.token,
        final=said(result),
        two_turns=result.get("num_turns") == 2,
    )


def parallel():
    calls = [bash("echo %s > a.txt" % box.token), bash("echo %s > b.txt" % box.token)]
    calls.append(("Read", {"file_path": "/etc/hostname"}))
    events, result = claude("go " + marker(calls, box.final))
    ids = set()
    for event in events:
        if event.get("type") == "user":
            for part in event["message"]["content"]:
                if isinstance(part, dict) and part.get("type") == "tool_result":
                    ids.add(part["tool_use_id"])
    box.check(
        ended=box.code == 0,
        a=box.read("a.txt"),
        b=box.read("b.txt"),
        three=len(ids) == 3,
        final=said(result),
    )


def subagent():
    inner = "do " + marker([bash("echo %s > sub.txt" % box.token)], "SUB_DONE")
    call = {"description": "e2e", "prompt": inner, "subagent_type": "general-purpose"}
    claude("go " + marker([("Agent", call)], box.final))
    box.check(
        ended=box.code == 0, file=box.read("sub.txt") == box.token, final=box.final in box.out
    )


def look(name, data):
    path = box.folder / name
    path.write_bytes(data)
    _, result = claude("look " + marker([("Read", {"file_path": str(path)})], box.final))
    box.check(ended=box.code == 0, final=said(result), right=not result.get("is_error"))


def go_on():
    _, first = claude("one " + marker([bash("echo one > one.txt")], "FIRST"))
    _, result = claude(
        "two " + marker([bash("echo %s > two.txt" % box.token)], box.final), "--continue"
    )
    box.check(
        ended=box.code == 0,
        one=box.read("one.txt"),
        two=box.read("two.txt"),
        final=said(result),
        same_session=result.get("session_id") == first.get("session_id"),
    )


def compact():
    claude("one " + marker([bash("echo one > one.txt")], SUMMARY))
    events, _ = claude("/compact", "--continue")
    box.check(ended=box.code == 0, boundary=compacted(events))


def ptl():
    claude("one " + marker(final="FIRST " * 50))
    claude("two " + marker(final="SECOND " * 50), "--continue")
    refusal = [{"status": 400, "body": {"error": OVERFLOW}}]
    events, result = claude(
        "three " + marker(final=SUMMARY + box.final, fail=refusal), "--continue"
    )
    box.check(ended=box.code == 0, compacted=compacted(events), final=said(result))


def retry429():
    slow = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
    refusal = {"status": 429, "headers": {"retry-after": "1"}, "body": slow}
    _, result = claude("go " + marker(final=box.final, fail=[refusal]))
    box.check(ended=box.code == 0, final=said(result))


def mcp_options():
    server = {"command": sys.executable, "args": [str(HERE / "mcp_server.py")]}
    path = box.put(box.root / "mcp.json", json.dumps({"mcpServers": {"odd": server}}))
    return ["--mcp-config", path, "--strict-mcp-config"]


def mcp():
    call = ("mcp__odd__save", {"name": str(box.folder / "out.txt"), "text": box.token})
    _, result = claude(
        "go " + marker([call], box.final), *mcp_options(), ENABLE_TOOL_SEARCH="false"
    )
    box.check(ended=box.code == 0, file=box.read("out.txt") == box.token, final=said(result))


def company():
    """`run -- claude` beside a company's proxy."""
    listener = socket.create_server(("127.0.0.1", 0))
    arrived = []

    def watch():
        while True:
            connection, _ = listener.accept()
            arrived.append(connection.recv(300))
            connection.close()

    threading.Thread(target=watch, daemon=True).start()
    proxy = "http://127.0.0.1:%d" % listener.getsockname()[1]
    env = box.env(
        HTTPS_PROXY=proxy,
        https_proxy=proxy,
        GITHUB_URL=base,
        GITHUB_API_URL=base,
        COPILOT_API_URL=base,
        GITHUB_TOKEN="ghu_test",
        TOKEN_FILE=str(box.root / "tokens.json"),
        ANTHROPIC_MODEL=model,
        **QUIET,
    )
    for name in ("NO_PROXY", "no_proxy"):
        env.pop(name, None)
    prompt = "go " + marker([bash("echo %s > out.txt" % box.token)], box.final)
    env["PATH"] = "%s%s%s" % (pathlib.Path(program).parent, os.pathsep, env["PATH"])
    command = [sys.executable, str(ROOT / "copilot_proxy.py"), "run", "--", "claude"]
    box.run([*command, "-p", prompt, *FLAGS], env)
    _, result = read_events()
    box.check(
        ended=box.code == 0,
        file=box.read("out.txt") == box.token,
        final=said(result),
        nothing_at_the_company_proxy=arrived == [],
    )


SCENARIOS = {
    "text": text,
    "write": write,
    "unknownmodel": write,
    "parallel": parallel,
    "subagent": subagent,
    "image": lambda: look("f.png", picture()),
    "pdf": lambda: look("f.pdf", document()),
    "continue": go_on,
    "compact": compact,
    "ptl": ptl,
    "retry429": retry429,
    "mcp": mcp,
    "company": company,
}
SCENARIOS[scenario]()
