#!/usr/bin/env python3
"""pictures.py: make .github/page.png and .github/terminal.svg from the try-out mode.

Needs Chromium (CHROMIUM=its path, or on the PATH); nothing leaves this computer.
"""

import asyncio
import base64
import contextlib
import html
import io
import os
import pathlib
import random
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import copilot_proxy as cp  # noqa: E402
import test_copilot_proxy as tests  # noqa: E402

SESSIONS = ["d55ec1a5-62c8-492f-9a01-77aa54c0e9b2", "07f062ce-d2d5-4dd9-8d3e-2b5c2d9ff110"]
MODELS = ["claude-sonnet-5", "claude-haiku-4.5", "gpt-5.3-codex", "claude-opus-5"]
WIDTH = 120  # characters of the terminal


def an_hour_of_work(ledger, now):
    """What a developer's hour looks like in the ledger, made up but the same each time."""
    dice = random.Random(7)
    for number in range(180):
        minute = 59 - number // 3
        prompt = dice.randrange(4000, 90000)
        cached = int(prompt * dice.uniform(0.7, 0.97))
        usage = cp.TokenUsage(
            input=prompt - cached,
            output=dice.randrange(80, 2500),
            cache_read=cached,
            nano_aiu=dice.randrange(20, 900) * 10**7,
        )
        served = cp.Served(
            number + 1,
            now - 60 * minute - dice.random() * 50,
            SESSIONS[dice.random() < 0.3],
            client="claude-cli",
            who="user" if number % 9 == 0 else "agent",
            model=MODELS[min(3, int(dice.expovariate(1)))],
            status=200,
            usage=usage,
            seconds=dice.uniform(1, 20),
        )
        ledger.record(served)


def terminal(text):
    """The text as an SVG of a terminal."""
    lines = [line for line in text.splitlines() if "model_ignored" not in line]
    height = 20 * len(lines) + 30
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">' % (8 * WIDTH, height),
        '<rect width="100%" height="100%" rx="8" fill="#0e1116"/>',
        '<g font-family="ui-monospace,Menlo,Consolas,monospace" font-size="13" fill="#e5e8ec">',
    ]
    for number, line in enumerate(lines):
        if len(line) > WIDTH:
            line = line[: WIDTH - 4] + " ..."
        colour = ' fill="#f0b45c"' if "[warn]" in line else ""
        words = html.escape(line)
        place = '<text x="14" y="%d" xml:space="preserve"%s>' % (26 + 20 * number, colour)
        parts.append("%s%s</text>" % (place, words))
    return "\n".join([*parts, "</g></svg>", ""])


async def main():
    os.environ["SHELL"] = "/bin/bash"
    cp.THIS_FILE = "/home/you/copilot_proxy.py"
    printed = io.StringIO()
    cp.configure_logging("info", printed)
    async with tests.FakeUpstream() as up, tests.Proxy(up, port=8082) as proxy:
        program = proxy.program
        program.show = printed.write
        program.show("$ python3 copilot_proxy.py\n")
        program.show("copilot-claude-proxy %s on %s\n" % (cp.__version__, program.base))
        await cp.banner(program)
        for number, model in enumerate([MODELS[0], MODELS[1], "no-such-model", MODELS[0]]):
            pairs = [("x-claude-code-session-id", SESSIONS[number % 2])]
            body = {"model": model, "max_tokens": 99, "messages": [tests.HELD["messages"][0]]}
            await proxy.ask("POST", "/v1/messages", body, pairs)
        program.app._ledger.reset_all()
        an_hour_of_work(program.app._ledger, time.time())
        (ROOT / ".github" / "terminal.svg").write_text(terminal(printed.getvalue()), "utf-8")
        chromium = tests.Chromium(tempfile.mkdtemp(), 1280, 1180)
        with contextlib.closing(chromium):
            async with tests.Browser(chromium) as browser:
                await browser.open(proxy.url + "/", "$.lines.textContent.includes('_MODEL')")
                await asyncio.sleep(0.3)
                clip = {"x": 0, "y": 0, "width": 1265, "height": 1000, "scale": 1}
                shot = await browser.call("Page.captureScreenshot", clip=clip)
                (ROOT / ".github" / "page.png").write_bytes(base64.b64decode(shot["data"]))


asyncio.run(main())
