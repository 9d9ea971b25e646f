#!/usr/bin/env python3
"""Import the program with warnings as errors and run the tests of its pure rooms, 1-13.

For a Python that has no sockets and no processes: CPython 3.14 in Node (py314.mjs).
"""
import ast
import os
import pathlib
import re
import sys
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
BANNER = re.compile(r"^# =+\n# (\d+)\. .+\n# =+$", re.MULTILINE)


def pure_tests(text):
    """The node ids of the tests of rooms 1-13 that need no loop, thread or clock."""
    marks = [(text.count("\n", 0, m.start()) + 1, int(m[1])) for m in BANNER.finditer(text)]
    for node in ast.parse(text).body:
        room = max((n for line, n in marks if line <= node.lineno), default=0)
        source = ast.get_source_segment(text, node) or ""
        if re.search(r"\brun\(|asyncio|subprocess|socket|thread|linear|perf_counter", source):
            continue
        is_pure = 1 <= room <= 13 and room != 3  # the log is written from a thread
        if is_pure and getattr(node, "name", "").startswith("test_"):
            yield "test_copilot_proxy.py::" + node.name


def main():
    os.chdir(str(ROOT))
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import copilot_proxy  # noqa: F401
    import pytest

    tests = list(pure_tests((ROOT / "test_copilot_proxy.py").read_text("utf-8")))
    print("Python %s" % sys.version.partition(" ")[0], flush=True)
    return int(pytest.main(["-q", "--capture=sys", "-p", "no:cacheprovider", *tests]))


if __name__ == "__main__":
    sys.exit(main())
