#!/usr/bin/env python3
"""Real clients (Claude Code old and new, Codex, the two SDKs) through the proxy.

The drivers and their installer are in ../shared/e2e beside the repository; where that
folder is absent there is nothing to run. Exit status 0 = nothing failed.
"""
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DRIVERS = ROOT.parent / "shared" / "e2e"
CLIENTS = pathlib.Path(os.environ.get(
    "CLIENTS_ROOT", "~/.cache/copilot-proxy-e2e")).expanduser()
CLAUDE = "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
SCENARIOS = ("text write parallel subagent image pdf continue compact retry429 "
             "unknownmodel ptl").split()
BILLING = str(ROOT / ".ci" / "billing.py")  # has a proxy of its own
MODELS = ("gpt-4.1", "gpt-5.5", "claude-opus-4.6")  # chat only, responses only, native


def jobs():
    """(client, label, arguments after the base URL, environment) of every run."""
    for client in ("claude-new", "claude-old"):
        yield client, "billing audit", [BILLING, client], {}  # the longest first
    for client in ("claude-new", "claude-old"):
        binary = {"CLAUDE_BIN": str(CLIENTS / client / CLAUDE)}
        for scenario in SCENARIOS:
            yield client, scenario, ["claude.py", scenario], binary
        for model in MODELS:
            yield client, "write " + model, ["claude.py", "write"], {
                **binary, "E2E_MODEL": model}
    for scenario in ("write", "builtin"):
        yield "codex", scenario, ["codex.py", scenario], {}
    yield "sdk", "anthropic", ["sdk_anthropic.py", ""], {}
    for scenario in ("chat", "responses", "nov1"):
        yield "sdk", "openai " + scenario, ["sdk_openai.py", scenario], {}


def install(clients):
    """Install each client; returns those that could not be had."""
    missing = set()
    for client in clients:
        try:
            done = subprocess.run(
                ["bash", str(DRIVERS / "install.sh"), client], timeout=300,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT)
            said, failed = done.stdout.decode("utf-8", "replace"), done.returncode
        except subprocess.TimeoutExpired:
            said, failed = "no end after 300 s", True
        if failed:
            print("could not install %s: %s" % (client, said.strip()[-300:]))
            missing.add(client)
    return missing


def start(ready):
    """The try-out mode in a process of its own; returns it and its address."""
    log = open(str(ready) + ".log", "wb")
    program = subprocess.Popen(
        [sys.executable, "test_copilot_proxy.py", "--ready-file", str(ready)],
        cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(200):
        if ready.exists() or program.poll() is not None:
            break
        time.sleep(0.1)
    return program, ready.read_text().strip() if ready.exists() else ""


def drive(base, arguments, environment):
    """Run one driver; returns its outcome, seconds and words."""
    script, scenario = arguments
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, script] + [word for word in (
                "" if script == BILLING else base, scenario) if word],
            cwd=str(DRIVERS), timeout=180, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment})
        code, said = done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        code, said = 1, "no end after 180 s"
    outcome = {0: "passed", 77: "skipped"}.get(code, "failed")
    return outcome, time.monotonic() - begun, said


def run_all(base, missing):
    """Run every job, two at a time, and print the table; returns the outcomes."""
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [(job, None if job[0] in missing else pool.submit(
            drive, base, job[2], job[3])) for job in jobs()]
        for (client, label, _, _), future in running:
            outcome, seconds, said = future.result() if future else ("skipped", 0.0, "")
            print("%-11s %-24s %-8s %5.1f s" % (client, label, outcome, seconds),
                  flush=True)
            if outcome == "failed":
                print("    " + said.strip()[-1500:].replace("\n", "\n    "))
            outcomes.append(outcome)
    return outcomes


def stop(program, log):
    """End the try-out mode; returns 1 when it had something to complain of."""
    if program.poll() is None:
        program.send_signal(signal.SIGINT)
    try:
        code = program.wait(30)
    except subprocess.TimeoutExpired:
        program.kill()
        code = "no end after SIGINT"
    if code == 0:
        return 0
    print("the try-out mode ended with %s:" % code)
    print(log.read_text("utf-8", "replace")[-3000:])
    return 1


def main():
    if not DRIVERS.is_dir():
        print("no %s: the real clients are skipped" % DRIVERS)
        return 0
    missing = install(dict.fromkeys(job[0] for job in jobs()))
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        ready = pathlib.Path(folder) / "ready"
        program, base = start(ready)
        outcomes = run_all(base, missing) if base else ["failed"]
        outcomes += ["failed"] * stop(program, pathlib.Path(str(ready) + ".log"))
    print("%d passed, %d failed, %d skipped" % tuple(
        outcomes.count(one) for one in ("passed", "failed", "skipped")))
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
