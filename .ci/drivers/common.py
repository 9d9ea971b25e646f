"""What the drivers share: the marker that tells the fake model what to do, and a sandbox.

The prompt contains `E2E:<base64 JSON>:E2E` with {"calls": [{"name", "input"}], "final",
"fail": [{"status", "headers", "body"}], "id"}. The fake model takes the last one in the
user's text; while `fail` has entries that were not used for this id it answers with the
next as an HTTP error; if no tool result follows and every call's tool is offered it makes
these calls; otherwise it says `final`. Without a marker it says `ok`.
"""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

CLIENTS = pathlib.Path(os.environ.get("CLIENTS_ROOT", "~/.cache/copilot-proxy-e2e")).expanduser()
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def marker(calls=(), final="ok", fail=()):
    spec = {
        "calls": [{"name": name, "input": given} for name, given in calls],
        "final": final,
        "fail": list(fail),
        "id": uuid.uuid4().hex,
    }
    return "E2E:" + base64.b64encode(json.dumps(spec).encode()).decode() + ":E2E"


def installed(name, *path):
    """The program of a client; ends with 77 where it is not installed."""
    program = os.environ.get(name.upper() + "_BIN") or CLIENTS.joinpath(*path)
    if not os.path.exists(program):
        print("SKIP: %s is not installed" % name)
        sys.exit(77)
    return str(program)


def in_venv(module):
    """Import a module, in the clients' venv if need be; ends with 77 without it."""
    try:
        return __import__(module)
    except ImportError:
        python = CLIENTS / "venv/bin/python"
        if python.exists() and sys.executable != str(python):
            os.execv(str(python), [str(python), *sys.argv])
        print("SKIP: %s is not installed" % module)
        sys.exit(77)


class Box:
    """A home and a folder of their own, and a clean environment."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
        self.home = self.root / "home"
        self.folder = self.root / "work"
        self.home.mkdir()
        self.folder.mkdir()
        self.token = "TOK" + uuid.uuid4().hex[:12]
        self.final = "E2E_DONE " + self.token
        self.begun = time.monotonic()
        self.code, self.out, self.err = 0, "", ""

    def put(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def env(self, **more):
        config = {
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
        }
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TMPDIR": str(self.root),
            "CI": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **config,
            **more,
        }

    def run(self, command, env, limit=100):
        program = subprocess.Popen(
            command,
            cwd=str(self.folder),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = program.communicate(timeout=limit)
            self.code = program.returncode
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            out, err = program.communicate()
            self.code = 124
        self.out = out.decode("utf-8", "replace")
        self.err = err.decode("utf-8", "replace")
        return self.code

    def read(self, name):
        try:
            return (self.folder / name).read_text().strip()
        except OSError:
            return None

    def check(self, **conditions):
        """End the driver: 0 if all conditions hold, else 1 and what was seen."""
        wrong = [name for name, holds in conditions.items() if not holds]
        seconds = time.monotonic() - self.begun
        if wrong:
            print("FAIL (%.1f s): %s; exit code %s" % (seconds, ", ".join(wrong), self.code))
            print("--- stdout\n%s\n--- stderr\n%s" % (self.out[-3000:], self.err[-2500:]))
            print("files: %s" % os.listdir(self.folder))
        else:
            print("OK (%.1f s)" % seconds)
        shutil.rmtree(self.root, ignore_errors=True)
        sys.exit(1 if wrong else 0)
