#!/usr/bin/env python3
"""Do the tests notice a wrong line? mutants.py [--seed N] [--count 60] [--rooms 7-18] [--all]

Makes one-line mutants of the program at random (a comparison turned, a constant changed, a
returned value lost, a call dropped, `and` for `or`) and runs the tests of that room, and
with --all the whole suite over what survived. --named runs the mutants of NAMED instead.
Too slow for .ci/run. The goal is 57 of 60; a survivor is a missing test or a dead line.
"""
import argparse
import ast
import concurrent.futures
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = (ROOT / "copilot_proxy.py").read_text("utf-8")
TESTS = (ROOT / "test_copilot_proxy.py").read_text("utf-8")
BANNER = re.compile(r"^# =+\n# (\d+)\. .+\n# =+$", re.MULTILINE)
TURNED = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: (" is ", " is not "),
    ast.IsNot: (" is not ", " is "),
    ast.In: (" in ", " not in "),
    ast.NotIn: (" not in ", " in "),
}
# Mutants that must be caught, whatever chance draws: (name, room, pattern, replacement).
# A pattern that fits nowhere is a fault of this table: mend it with the code.
NAMED = [
    (
        "the stops of a body passed on lost",
        18,
        r"(exchange\.conversation\.stop) or fit\.stops",
        r"\1",
    ),
    (
        "the stops of a conversation lost",
        18,
        r"exchange\.conversation\.stop or (fit\.stops)",
        r"\1",
    ),
    ("StopAt unwired", 8, r"StopAt\((\w+), stops\)", r"\1"),
    (
        "the learnt ratio wrong",
        13,
        r"max\(0\.4, prompt_tokens / tokens\)",
        "max(0.4, tokens / prompt_tokens)",
    ),
    (
        "legacy usage not read",
        10,
        r"( +)self\.usage = openai_usage\(chunk\)\n"
        r"(?= +self\._out\.append)",
        r"\1pass\n",
    ),
    (
        "legacy usage not told",
        10,
        r'("choices": choices), \*\*_accounts\(self\.usage\)',
        r"\1",
    ),
    (
        "what was left out is not told",
        18,
        r'exchange\.left_out = ", "\.join\(\[[^]]*\]\)\[:400\]',
        'exchange.left_out = ""',
    ),
    (
        "samplers of a model without efforts",
        12,
        r"(drop_both_samplers), OF_REASONERS",
        r"\1, EVERYWHERE",
    ),
    (
        "an answer, but no stream",
        18,
        r'raise UpstreamError\(\s+"the upstream sent an answer, but no stream[^"]*"\s+\)',
        "return",
    ),
]


class Mutant(NamedTuple):
    room: int
    line: int
    what: str
    source: str


def banners(text):
    """[(line, room)] of a file's banners."""
    return [(text.count("\n", 0, m.start()) + 1, int(m[1])) for m in BANNER.finditer(text)]


def room_of(line, marks):
    return max((room for start, room in marks if start <= line), default=0)


def tests_of(room):
    """The node ids of a room's tests."""
    marks = banners(TESTS)
    found = []
    for node in ast.parse(TESTS).body:
        if getattr(node, "name", "").startswith("test_") and room_of(node.lineno, marks) == room:
            found.append("test_copilot_proxy.py::" + node.name)
    return found


class Places:
    """Byte offsets of (line, column) pairs."""

    def __init__(self, text):
        self.raw = text.encode()
        self.starts = [0]
        for line in self.raw.split(b"\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)

    def span(self, node):
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def replaced(self, start, end, text):
        return (self.raw[:start] + text.encode() + self.raw[end:]).decode()

    def text(self, start, end):
        return self.raw[start:end].decode()


def edits_of(node, places):
    """(start, end, new text, what) of each way to get one node wrong."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        old, new = TURNED[type(node.ops[0])]
        start = places.span(node.left)[1]
        end = places.span(node.comparators[0])[0]
        between = places.text(start, end)
        if old in between:
            yield start, end, between.replace(old, new, 1), "comparison turned"
    if isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        new = str(not node.value) if isinstance(node.value, bool) else str(node.value + 1)
        yield (*places.span(node), new, "constant changed")
    if isinstance(node, ast.BoolOp) and len(node.values) == 2:
        start = places.span(node.values[0])[1]
        end = places.span(node.values[1])[0]
        between = places.text(start, end)
        word = "or" if isinstance(node.op, ast.Or) else "and"
        other = "and" if word == "or" else "or"
        yield start, end, re.sub(r"\b%s\b" % word, other, between, count=1), "and for or"
    if isinstance(node, ast.Return) and node.value is not None:
        is_none = isinstance(node.value, ast.Constant) and node.value.value is None
        if not is_none:
            yield (*places.span(node.value), "None", "returned value lost")
    if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await)):
        yield (*places.span(node), "pass", "call dropped")


def every_mutant(rooms):
    places = Places(SOURCE)
    marks = banners(SOURCE)
    tree = ast.parse(SOURCE)
    notes = set()
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr):
                notes.update(map(id, ast.walk(part)))
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        room = room_of(line, marks)
        if room not in rooms or id(node) in notes:
            continue
        for start, end, new, what in edits_of(node, places):
            found.append((line, room, start, end, new, what))
    return places, found


def drawn(seed, count, rooms):
    """`count` mutants by chance, at most one a line."""
    places, found = every_mutant(rooms)
    dice = random.Random(seed)
    dice.shuffle(found)
    lines, made = set(), []
    for line, room, start, end, new, what in found:
        if line in lines or len(made) == count:
            continue
        source = places.replaced(start, end, new)
        try:
            compile(source, "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            continue
        lines.add(line)
        made.append(Mutant(room, line, what, source))
    return made


def named():
    made = []
    for name, room, pattern, replacement in NAMED:
        source, count = re.subn(pattern, replacement, SOURCE, count=1)
        if not count:
            print("no place for the mutant %r: mend NAMED" % name)
        line = SOURCE.count("\n", 0, re.search(pattern, SOURCE).start()) + 1 if count else 0
        made.append(Mutant(room, line, name, source if count else ""))
    return made


def survives(mutant, arguments, limit):
    """Whether these tests pass with the mutant; one that never ends is caught."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mutant-"))
    try:
        for name in ("README.md", ".env.example", "LICENSE"):
            shutil.copy(str(ROOT / name), str(folder))
        (folder / "copilot_proxy.py").write_text(mutant.source, "utf-8")
        (folder / "test_copilot_proxy.py").write_text(TESTS, "utf-8")
        options = ["-x", "-q", "-p", "no:cacheprovider", "--deselect", "none"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=str(folder),
            timeout=limit,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def tried(mutant, whole):
    if not mutant.source:
        return mutant, True
    alive = survives(mutant, tests_of(mutant.room), 90)
    if alive and whole:
        alive = survives(mutant, ["-k", "not house and not docs"], 240)
    return mutant, alive


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rooms", default="7-18")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="survivors meet the whole suite")
    parser.add_argument("--named", action="store_true")
    options = parser.parse_args()
    low, _, high = options.rooms.partition("-")
    rooms = range(int(low), int(high or low) + 1)
    mutants = named() if options.named else drawn(options.seed, options.count, rooms)
    survivors = []
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        for mutant, alive in pool.map(lambda one: tried(one, options.all), mutants):
            print("%-8s room %2d line %5d  %s" % (
                "SURVIVES" if alive else "caught", mutant.room, mutant.line, mutant.what
            ), flush=True)
            if alive and mutant.line:
                print("         " + mutant.source.split("\n")[mutant.line - 1].strip())
            survivors += [mutant] if alive else []
    print("%d of %d caught" % (len(mutants) - len(survivors), len(mutants)))
    return 1 if len(survivors) * 20 > len(mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
