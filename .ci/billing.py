#!/usr/bin/env python3
"""What real sessions are billed as: billing.py [claude-new|claude-old|codex|opencode]...

The proxy and a fake Copilot in this process; Claude Code headless and in a terminal, Codex
and opencode headless. Each typed prompt must reach Copilot as `X-Initiator: user` once, all
else (tool rounds, titles, sub-agents, compaction, what is tried again after a 429) as
`agent`, and /usage/details must equal what Copilot counted. Exit 0 = so it is, 77 = no
client here.
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


SUMMARY = "<analysis>a</analysis><summary>all is done</summary>"


class Copilot(kit.FakeUpstream):
    """Calls tools on demand: three rounds of a shell, a search, a sub-agent."""

    def plain(self, said, names):
        typed = max(at for at, (role, text) in enumerate(said) if role == "user" and text)
        prompt = said[typed][1]
        done = said[typed:].count(("result", ""))
        if "summary produced by the other" in prompt:
            return "all is done", []
        for words, rounds, name, given in (
            ("three rounds", 3, "Bash", {"command": "echo %d" % done, "description": "c"}),
            ("three rounds", 3, "bash", {"command": "echo %d" % done, "description": "c"}),
            ("three rounds", 3, "exec_command", {"cmd": "echo %d; seq 1 900" % done}),
            ("search the web", 1, "WebSearch", {"query": "weather"}),
            ("delegate", 1, "Agent", DELEGATED),
            ("delegate", 1, "task", DELEGATED),
        ):
            if words in prompt and done < rounds and name in names:
                return "", [{"name": name, "input": given}]
        if "long answer" in prompt:
            return "word " * 4000, []
        return SUMMARY, []


DELEGATED = {"description": "c", "prompt": "do three rounds", "subagent_type": "general-purpose"}


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


class Other:
    """A client that takes one prompt a run; `again` goes on with the last session."""

    def __init__(self, program, url, folder):
        self.program = program
        self.folder = folder
        self.home = pathlib.Path(folder, "home")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "KEY": "x",
            "NO_PROXY": "127.0.0.1",
        }
        self.configure(url)

    async def run(self, *arguments):
        nothing = asyncio.subprocess.DEVNULL
        program = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            cwd=self.folder,
            env=self.env,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )
        await asyncio.wait_for(program.wait(), 90)


class Codex(Other):
    steps = (("three rounds", 1), ("again, three rounds", 1), ("refused with 429", 1, SLOW))
    # The four tool rounds overflow this, so each prompt is compacted in its middle.
    config = """
model = "gpt-5.3-codex"
model_provider = "proxy"
model_auto_compact_token_limit = 7300
[model_providers.proxy]
name = "proxy"
base_url = "%s/v1"
env_key = "KEY"
wire_api = "responses"
"""

    def configure(self, url):
        path = self.home / ".codex/config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(self.config % url)

    async def say(self, prompt, again):
        options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        resume = ["resume", "--last"] if again else []
        await self.run("exec", *resume, *options, prompt)


class Opencode(Other):
    steps = (
        ("three rounds", 1),  # and a title
        ("delegate this", 1),
        ("long answer", 1),  # is compacted
        ("refused with 429", 1, SLOW),
    )

    def configure(self, url):
        model = {"name": "m", "tool_call": True, "limit": {"context": 14000, "output": 4000}}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "proxy",
            "options": {"baseURL": url + "/v1", "apiKey": "x"},
            "models": {"gpt-4.1": model},
        }
        config = {
            "provider": {"proxy": provider},
            "model": "proxy/gpt-4.1",
            "small_model": "proxy/gpt-4.1",
            "autoupdate": False,
            "share": "disabled",
            "permission": "allow",
        }
        self.home.mkdir(parents=True)
        pathlib.Path(self.folder, "opencode.json").write_text(json.dumps(config))

    async def say(self, prompt, again):
        await self.run("run", *(["--continue"] if again else []), prompt)


class Audit:
    """What Copilot counted since the last check, against what it should have."""

    def __init__(self, name, up):
        self.name = name
        self.up = up
        self.seen = 0
        self.wrong = []

    async def check(self, step, users):
        before = -1
        while before != len(self.up.requests):  # a background agent reports later
            before = len(self.up.requests)
            await asyncio.sleep(2)
        initiators = self.up.initiators[self.seen :]
        self.seen = len(self.up.initiators)
        right = initiators and initiators.count("user") == users
        right = right and set(initiators) <= {"user", "agent"}
        words = "ok" if right else "WRONG"
        row = (self.name, step, words, " ".join(map(str, initiators)))
        print("%s %-40s %-5s %s" % row, flush=True)
        if not right:
            self.wrong.append(step)

    async def total(self, proxy):
        """Compare the tokens and the price of all sessions."""
        sessions = (await proxy.ask("GET", "/usage/details")).json
        counted = [
            sum(session["tokenCount"] for session in sessions),
            sum(round(session["credits"] * 1e9) for session in sessions),
        ]
        billed = [
            sum(model[key] for model in self.up.billed.values()) for key in ("tokens", "nano")
        ]
        row = (self.name, counted, billed)
        print("%s tokens, nano-credits: %s counted, %s billed" % row)
        if counted != billed:
            self.wrong.append("usage")


async def claude_session(audit, up, client):
    path = ("POST", "/v1/messages")
    for prompt, users, *refusal in (
        ("three rounds", 1),
        ("delegate this", 1),
        ("search the web", 1),
        ("/compact", 0),
        ("refused with 429", 1, SLOW),
        ("too long", 1, TOO_LONG),
    ):
        up.script[path] = refusal
        await client.headless(prompt, *([] if users and not refusal else ["--continue"]))
        await audit.check(prompt, users)
    await client.headless("long answer", CLAUDE_CODE_MAX_OUTPUT_TOKENS="1200")
    await audit.check("long answer, resumed", 1)
    await client.interactive(
        audit.check,
        ("three rounds", 1),
        ("delegate this", 1),
        ("search the web", 1),
        ("/compact", 0),
        ("three rounds", 1),
    )


async def other_session(audit, up, client):
    paths = [("POST", path) for path in (kit.CHAT, kit.RESPONSES)]
    for number, (prompt, users, *refusal) in enumerate(client.steps):
        for path in paths:
            up.script[path] = list(refusal)
        await client.say(prompt, number > 0)
        for path in paths:
            up.script[path] = []
        await audit.check(prompt, users)


async def audit(name, program):
    """One client's run; returns what is wrong."""
    with tempfile.TemporaryDirectory(prefix="billing-") as folder:
        async with Copilot() as up, kit.Proxy(up) as proxy:
            made = Audit(name, up)
            if name.startswith("claude"):
                await claude_session(made, up, Client(program, proxy.url, folder))
            else:
                kind = {"codex": Codex, "opencode": Opencode}[name]
                await other_session(made, up, kind(program, proxy.url, folder))
            await made.total(proxy)
    return made.wrong


PROGRAMS = {
    "claude-new": "claude-new/" + CLAUDE,
    "claude-old": "claude-old/" + CLAUDE,
    "codex": "codex/node_modules/.bin/codex",
    "opencode": "opencode/node_modules/.bin/opencode",
}


def main(names):
    found = [(name, CLIENTS / PROGRAMS[name]) for name in names]
    found = [(name, str(program)) for name, program in found if program.exists()]
    wrong = [one for name, program in found for one in asyncio.run(audit(name, program))]
    if wrong:
        return 1
    return 0 if found else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PROGRAMS)))
