#!/usr/bin/env python3
"""Real clients through the proxy, in front of a strict fake Copilot.

e2e.py [WORD]...: all runs, or those whose client or label holds one of the words. Clients
are installed by package name under ~/.cache/copilot-proxy-e2e (CLIENTS_ROOT moves it); one
that cannot be had is skipped with a word. Exit status 0 = nothing failed.
"""
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple, Tuple

CI = pathlib.Path(__file__).resolve().parent
ROOT = CI.parent
CLIENTS = pathlib.Path(os.environ.get("CLIENTS_ROOT", "~/.cache/copilot-proxy-e2e")).expanduser()
NPM = {
    "claude-new": ["@anthropic-ai/claude-code@2.1.330"],
    "claude-old": ["@anthropic-ai/claude-code@2.1.197"],
    "codex": ["@openai/codex@0.171.0"],
    "codex-169": ["@openai/codex@0.169.0"],
    "opencode": ["opencode-ai"],
    "js": ["ai@7", "@ai-sdk/openai", "openai", "@anthropic-ai/sdk", "zod"],
}
PYTHON = {"venv": ["anthropic", "openai", "openai-agents", "pydantic"]}
NATIVE, CHAT, ONLY, GOOGLE = "claude-sonnet-4.5", "gpt-4.1", "gpt-5.3-codex", "gemini-2.5-pro"
MODELS = (ONLY, CHAT, NATIVE, GOOGLE)
ACCOUNTS = ("pro", "free", "student", "business", "residency")
AUTO_ONLY = ("free", "student")
CLAUDE = "text write parallel subagent image pdf continue compact ptl retry429 unknownmodel"
CODEX = "write builtin mcp subagent compact compact-builtin error"


class Job(NamedTuple):
    """One run of one client: `command` may hold {base}, {fake} and {clients}."""

    client: str
    label: str
    command: Tuple[str, ...]
    account: str = "pro"


def driver(client, label, script, *arguments, account="pro", base="{base}"):
    return Job(client, label, (str(CI / "drivers" / script), base, *arguments), account)


def billing_jobs():
    """Each has a proxy of its own. They are the longest, so they come first."""
    for client in ("claude-new", "claude-old", "codex", "opencode"):
        yield Job(client, "billing audit", (str(CI / "billing.py"), client))


def claude_jobs():
    for client in ("claude-new", "claude-old"):
        for scenario in CLAUDE.split():
            model = "gpt-5" if scenario == "unknownmodel" else NATIVE
            yield driver(client, scenario, "claude.py", scenario, model, client)
        for model in (CHAT, ONLY, GOOGLE, "gpt-5.5", "claude-opus-4.6"):
            yield driver(client, "write " + model, "claude.py", "write", model, client)
    for model in MODELS:
        yield driver("claude-new", "mcp " + model, "claude.py", "mcp", model)
    for model in (CHAT, ONLY):
        yield driver("claude-new", "image " + model, "claude.py", "image", model)
    yield driver("claude-new", "company proxy", "claude.py", "company", base="{fake}")


def codex_jobs():
    for model in MODELS:
        for scenario in CODEX.split():
            yield driver("codex", "%s %s" % (scenario, model), "codex.py", scenario, model)
    for scenario in CODEX.split():
        arguments = (scenario, ONLY, "codex-169")
        yield driver("codex-169", scenario, "codex.py", *arguments)


def sdk_jobs():
    for model in MODELS:
        for scenario in ("chat", "responses", "state"):
            label = "openai %s %s" % (scenario, model)
            yield driver("venv", label, "openai_sdk.py", scenario, model)
        for scenario in ("handoff", "parallel", "image"):
            label = "agents %s %s" % (scenario, model)
            yield driver("venv", label, "agents_sdk.py", scenario, model)
        for scenario in ("tools", "runner"):
            label = "anthropic %s %s" % (scenario, model)
            yield driver("venv", label, "anthropic_sdk.py", scenario, model)
        for scenario in ("stream", "tools", "object"):
            command = ("node", str(CI / "drivers/vercel.mjs"), "{clients}/js", "{base}")
            yield Job("js", "vercel %s %s" % (scenario, model), (*command, scenario, model))
        for scenario in ("responses", "runner"):
            command = ("node", str(CI / "drivers/node_sdk.mjs"), "{clients}/js", "{base}")
            yield Job("js", "node %s %s" % (scenario, model), (*command, scenario, model))
    command = ("node", str(CI / "drivers/node_sdk.mjs"), "{clients}/js", "{base}")
    yield Job("js", "node embeddings", (*command, "embeddings"))
    for scenario in ("nov1", "embeddings"):
        yield driver("venv", "openai " + scenario, "openai_sdk.py", scenario)
    yield driver("-", "tour of all endpoints", "tour.py")


def account_jobs():
    """A tool round on every kind of account, with three clients."""
    for account in ACCOUNTS:
        auto = account in AUTO_ONLY
        models = ("auto", "auto", "auto") if auto else (NATIVE, ONLY, CHAT)
        claude, codex, openai = models
        yield driver("claude-new", account, "claude.py", "write", claude, account=account)
        yield driver("codex", account, "codex.py", "write", codex, account=account)
        yield driver("venv", account, "openai_sdk.py", "chat", openai, account=account)


def jobs(words):
    groups = (billing_jobs, claude_jobs, codex_jobs, sdk_jobs, account_jobs)
    every = [job for group in groups for job in group()]
    if not words:
        return every
    return [j for j in every if any(word in j.client + " " + j.label for word in words)]


def install_command(client):
    """What installs a client, and the path that shows that it is there."""
    folder = CLIENTS / client
    if client in PYTHON:
        made = "%s -m venv %s && %s/bin/pip install -q %s"
        words = (sys.executable, folder, folder, " ".join(PYTHON[client]))
        return ["sh", "-c", made % words], folder / "bin/openai"
    options = ["--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder)]
    return ["npm", "install", *options, *NPM[client]], folder / "node_modules"


def install(clients):
    """Install each client that is not there; returns those that could not be had."""
    CLIENTS.mkdir(parents=True, exist_ok=True)
    missing = set()
    for client in clients:
        if client == "-":
            continue
        command, shown = install_command(client)
        if shown.exists():
            continue
        try:
            done = subprocess.run(
                command,
                timeout=300,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            words = done.stdout.decode("utf-8", "replace").strip()[-300:]
            failed = done.returncode != 0
        except (OSError, subprocess.TimeoutExpired) as error:
            words = str(error)
            failed = True
        if failed:
            print("could not install %s: %s" % (client, words), flush=True)
            missing.add(client)
    return missing


class Stage:
    """The program and the fake in a process of their own, for one kind of account."""

    def __init__(self, account, folder):
        self.account = account
        self.ready = pathlib.Path(folder) / account
        self.log = pathlib.Path(folder) / (account + ".log")
        command = [sys.executable, str(CI / "stage.py"), str(self.ready), "--account", account]
        self.program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def addresses(self):
        """(the proxy's, the fake's); empty when it did not start."""
        for _ in range(900):  # importing the tests takes seconds on a busy machine
            if self.ready.exists() or self.program.poll() is not None:
                break
            time.sleep(0.1)
        return self.ready.read_text().split() if self.ready.exists() else []

    def stop(self):
        """End it; returns 1 when it had something to complain of."""
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGINT)
        try:
            code = self.program.wait(30)
        except subprocess.TimeoutExpired:
            self.program.kill()
            code = "no end after SIGINT"
        if code == 0:
            return 0
        print("the stage for %s ended with %s:" % (self.account, code))
        print(self.log.read_text("utf-8", "replace")[-3000:])
        return 1


def drive(job, base, fake):
    """Run one driver; returns its outcome, seconds and words."""
    words = [word.format(base=base, fake=fake, clients=CLIENTS) for word in job.command]
    if not words[0] == "node":
        words.insert(0, sys.executable)
    begun = time.monotonic()
    try:
        done = subprocess.run(
            words,
            timeout=240,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        code = done.returncode
        output = done.stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        code = 1
        output = str(error)
    outcome = {0: "passed", 77: "skipped"}.get(code, "failed")
    return outcome, time.monotonic() - begun, output


def run_all(wanted, stages, missing):
    """Run the jobs, two at a time, and print the table; returns the outcomes."""
    places = {account: stage.addresses() for account, stage in stages.items()}
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = []
        for job in wanted:
            future = None
            if job.client not in missing:
                future = pool.submit(drive, job, *(places[job.account] or ("", "")))
            running.append((job, future))
        for job, future in running:
            outcome, seconds, output = "skipped", 0.0, ""
            if future is not None:
                outcome, seconds, output = future.result()
            row = (job.client, job.label, outcome, seconds)
            print("%-11s %-34s %-8s %5.1f s" % row, flush=True)
            if outcome == "failed":
                print("    " + output.strip()[-1200:].replace("\n", "\n    "), flush=True)
            outcomes.append(outcome)
    return outcomes


def main(words):
    wanted = jobs(words)
    missing = install(dict.fromkeys(job.client for job in wanted))
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        accounts = dict.fromkeys(job.account for job in wanted)
        stages = {account: Stage(account, folder) for account in accounts}
        outcomes = run_all(wanted, stages, missing)
        for stage in stages.values():
            outcomes += ["failed"] * stage.stop()
    counts = [outcomes.count(one) for one in ("passed", "failed", "skipped")]
    print("%d passed, %d failed, %d skipped" % tuple(counts))
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
