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
    """Calls tools on demand: three rounds of Bash, a search, a sub-agent that does both."""

    def plain(self, said, names):
        asked = max(at for at, (role, text) in enumerate(said) if role == "user" and text)
        done = said[asked:].count(("result", ""))
        if "three rounds" in said[asked][1] and done < 3 and "Bash" in names:
            return "", [{"name": "Bash", "input": {"command": "echo %d" % done,
                                                   "description": "count"}}]
        if "search the web" in said[asked][1] and not done and "WebSearch" in names:
            return "", [{"name": "WebSearch", "input": {"query": "weather"}}]
        if "delegate" in said[asked][1] and not done and "Agent" in names:
            return "", [{"name": "Agent", "input": {
                "description": "count", "prompt": "do three rounds",
                "subagent_type": "general-purpose"}}]
        long = "word " * 4000 if "long answer" in said[asked][1] else ""
        return long or "<analysis>a</analysis><summary>all is done</summary>", []


class Session:
    """One client with a home of its own."""

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

    async def headless(self, prompt, *options, **env):
        """claude -p"""
        program = await asyncio.create_subprocess_exec(
            self.binary, "-p", prompt, "--dangerously-skip-permissions", *options,
            cwd=self.folder, env={**self.env, **env}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        await asyncio.wait_for(program.wait(), 60)

    async def terminal(self, check, *steps):
        """Type each step into the interactive client and check what it cost."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        program = await asyncio.create_subprocess_exec(
            self.binary, "--dangerously-skip-permissions", cwd=self.folder, env=self.env,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
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


async def audit(client, binary):
    """One client's run; returns what is wrong."""
    wrong, seen = [], 0
    async with Copilot() as up, kit.Proxy(up) as proxy:
        async def check(step, users):
            nonlocal seen
            while True:  # until nothing more comes, a background agent's report included
                before = len(up.requests)
                await asyncio.sleep(2)
                if len(up.requests) == before:
                    break
            told, seen = up.initiators[seen:], len(up.initiators)
            right = told.count("user") == users and set(told) <= {"user", "agent"} and told
            print("%s %-42s %-5s %s" % (client, step[:42], "ok" if right else "WRONG",
                                        " ".join(told)), flush=True)
            wrong.extend([] if right else [step])

        with tempfile.TemporaryDirectory(prefix="billing-") as folder:
            one = Session(binary, proxy.url, folder)
            for prompt, *options in (("three rounds",), ("delegate this",), ("search the web",),
                                     ("go on", "--continue")):
                await one.headless(prompt, *options)
                await check(" ".join([prompt, *options]), 1)
            await one.headless("/compact", "--continue")
            await check("/compact --continue", 0)
            for name, answer in ("refused with 429", SLOW), ("too long, compacted", TOO_LONG):
                up.script["POST", "/v1/messages"] = [answer]
                await one.headless(name, "--continue")
                await check(name, 1)
            await one.headless("long answer", CLAUDE_CODE_MAX_OUTPUT_TOKENS="1200")
            await check("long answer, resumed", 1)
            await one.terminal(check, ("three rounds", 1), ("delegate this", 1),
                               ("search the web", 1), ("/compact", 0), ("three rounds", 1))
        sessions = (await proxy.ask("GET", "/usage/details")).json
    told = [sum(s["tokenCount"] for s in sessions), sum(round(s["credits"] * 1e9) for s in sessions)]
    billed = [sum(one[key] for one in up.billed.values()) for key in ("tokens", "nano")]
    print("%s tokens and nano-credits: %s told, %s billed" % (client, told, billed))
    return wrong + ([] if told == billed else ["usage"])


def main(names):
    found = [(name, str(CLIENTS / name / CLAUDE)) for name in names or ("claude-new", "claude-old")
             if (CLIENTS / name / CLAUDE).exists()]
    wrong = [one for name, binary in found for one in asyncio.run(audit(name, binary))]
    return 1 if wrong else 0 if found else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
