#!/usr/bin/env python3
"""What real Claude Code sessions are billed as: billing.py [claude-new|claude-old]...

The proxy and a fake Copilot in this process; the client headless and in a terminal. Each
typed prompt must reach Copilot as `X-Initiator: user` once, all else as `agent`, and
/usage/details must equal what Copilot counted. Exit 0 = so it is, 77 = no client here.
"""
import asyncio
import fcntl
import json
import os
import pathlib
import pty
import struct
import sys
import tempfile
import termios

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import test_copilot_proxy as kit  # noqa: E402

CLIENTS = pathlib.Path(os.environ.get("CLIENTS_ROOT", "~/.cache/copilot-proxy-e2e")).expanduser()
CLAUDE = "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
SLOW = kit.whole(429, {"error": {"message": "slow"}}, **{"retry-after": "1"})
TOO_LONG = kit.whole(400, {"error": {
    "message": "prompt token count of 140000 exceeds the limit of 128000",
    "code": "model_max_prompt_tokens_exceeded"}})


class Copilot(kit.FakeUpstream):
    """Calls tools on demand: three rounds of Bash, a search, a sub-agent."""

    def plain(self, said, names):
        asked = max(at for at, (role, text) in enumerate(said) if role == "user" and text)
        prompt, done = said[asked][1], said[asked:].count(("result", ""))
        for words, rounds, name, call in (
                ("three rounds", 3, "Bash", {"command": "echo %d" % done, "description": "c"}),
                ("search the web", 1, "WebSearch", {"query": "weather"}),
                ("delegate", 1, "Agent", {"description": "c", "prompt": "do three rounds",
                                          "subagent_type": "general-purpose"})):
            if words in prompt and done < rounds and name in names:
                return "", [{"name": name, "input": call}]
        if "long answer" in prompt:
            return "word " * 4000, []
        return "<analysis>a</analysis><summary>all is done</summary>", []


class Client:
    """Claude Code with a home of its own."""

    def __init__(self, binary, url, folder):
        self.binary, self.folder = binary, folder
        home = pathlib.Path(folder, "home")
        home.mkdir()
        (home / ".claude.json").write_text(json.dumps({
            "hasCompletedOnboarding": True, "bypassPermissionsModeAccepted": True,
            "projects": {folder: {"hasTrustDialogAccepted": True}}}))
        nowhere = "http://127.0.0.1:9"  # titles are asked for, but nothing leaves
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "IS_SANDBOX": "1",
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "x", "TERM": "xterm-256color",
            "ANTHROPIC_MODEL": "claude-sonnet-4.5", "ENABLE_TOOL_SEARCH": "false",
            "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "NO_PROXY": "127.0.0.1",
            "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}

    async def run(self, *arguments, terminal=asyncio.subprocess.DEVNULL, **env):
        return await asyncio.create_subprocess_exec(
            self.binary, "--dangerously-skip-permissions", *arguments, cwd=self.folder,
            env={**self.env, **env}, stdin=terminal, stdout=terminal, stderr=terminal,
            start_new_session=True)

    async def headless(self, prompt, *options, **env):
        await asyncio.wait_for((await self.run("-p", prompt, *options, **env)).wait(), 60)

    async def interactive(self, check, *steps):
        """Type each step into the terminal client and check what it cost."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        program = await self.run(terminal=slave)
        asyncio.get_running_loop().add_reader(master, lambda: os.read(master, 1 << 16))
        await asyncio.sleep(4)
        for text, users in steps:
            os.write(master, text.encode())
            await asyncio.sleep(0.5)
            os.write(master, b"\r")
            await check("terminal: " + text, users)
        program.kill()
        await program.wait()
        asyncio.get_running_loop().remove_reader(master)


async def audit(name, binary):
    """One client's run; returns what is wrong."""
    wrong, seen = [], 0
    with tempfile.TemporaryDirectory(prefix="billing-") as folder:
        async with Copilot() as up, kit.Proxy(up) as proxy:
            async def check(step, users):
                nonlocal seen
                before = -1
                while before != len(up.requests):  # a background agent reports later
                    before = len(up.requests)
                    await asyncio.sleep(2)
                told, seen = up.initiators[seen:], len(up.initiators)
                right = told and told.count("user") == users and set(told) <= {"user", "agent"}
                print("%s %-40s %-5s %s" % (name, step, "ok" if right else "WRONG",
                                            " ".join(told)), flush=True)
                wrong.extend([] if right else [step])

            one, path = Client(binary, proxy.url, folder), ("POST", "/v1/messages")
            for prompt, users, *refusal in (
                    ("three rounds", 1), ("delegate this", 1), ("search the web", 1),
                    ("/compact", 0), ("refused with 429", 1, SLOW), ("too long", 1, TOO_LONG)):
                up.script[path] = refusal
                await one.headless(prompt, *([] if users and not refusal else ["--continue"]))
                await check(prompt, users)
            await one.headless("long answer", CLAUDE_CODE_MAX_OUTPUT_TOKENS="1200")
            await check("long answer, resumed", 1)
            await one.interactive(check, ("three rounds", 1), ("delegate this", 1),
                                  ("search the web", 1), ("/compact", 0), ("three rounds", 1))
            sessions = (await proxy.ask("GET", "/usage/details")).json
            told = [sum(s["tokenCount"] for s in sessions),
                    sum(round(s["credits"] * 1e9) for s in sessions)]
            billed = [sum(m[key] for m in up.billed.values()) for key in ("tokens", "nano")]
    print("%s tokens, nano-credits: %s told, %s billed" % (name, told, billed))
    return wrong + ([] if told == billed else ["usage"])


def main(names):
    found = [(name, str(CLIENTS / name / CLAUDE)) for name in names
             if (CLIENTS / name / CLAUDE).exists()]
    wrong = [one for name, binary in found for one in asyncio.run(audit(name, binary))]
    return 1 if wrong else 0 if found else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["claude-new", "claude-old"]))
