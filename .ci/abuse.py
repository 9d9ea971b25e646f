#!/usr/bin/env python3
"""Abuse of the running program (RELIABILITY R4): 200 attackers of each kind, from a
process of their own, while a healthy client works; then 8 bodies of 30 MiB, refused and
answered, natively and translated, and what memory stays of them. Linux only.

    .ci/abuse.py [FOLDER OF copilot_proxy.py]     about 45 s; exit 0 = within R4
"""
import asyncio
import contextlib
import json
import multiprocessing
import os
import pathlib
import socket
import struct
import sys
import tempfile
import time

ROOT = pathlib.Path(sys.argv[1] if sys.argv[1:] else pathlib.Path(__file__).parent.parent)
sys.path.insert(0, str(ROOT))
from test_copilot_proxy import FakeUpstream, ask  # noqa: E402

ATTACKERS = 200
MB = 1024.0  # kB, as /proc counts
POST = (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n")
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def drip(reader, writer, start, piece):
    """Say `start`, then `piece` each second, until the server ends it."""
    writer.write(start)
    answer = asyncio.ensure_future(reader.read())
    while not answer.done():
        await asyncio.wait([answer], timeout=1)
        writer.write(piece)


async def slowloris(reader, writer):
    await drip(reader, writer, b"GET / HTTP/1.1\r\n", b"A: b\r\n")


async def slow_body(reader, writer):
    await drip(reader, writer, POST % (1 << 20) + b"x" * 60000, b"x")


async def idle(reader, writer):
    await drip(reader, writer, b"", b"")


async def never_reading(reader, writer):
    writer.transport.pause_reading()
    while not writer.transport.is_closing():
        writer.write(MODELS * 100)
        await writer.drain()


async def resets(reader, writer):
    body = json.dumps({"model": "gpt-4.1", "max_tokens": 9, "stream": True, "messages": [
        {"role": "user", "content": "hello"}]}).encode()
    writer.write(POST % len(body) + body)
    await asyncio.sleep(0.3)
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await asyncio.sleep(0.3)


KINDS = ((slowloris, 12), (slow_body, 4), (idle, 3), (never_reading, 5), (resets, 4))


def attack(port, kind, seconds, ended):
    """In the attackers' process: keep ATTACKERS connections of one kind busy."""
    async def one(stop):
        while time.monotonic() < stop:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await asyncio.wait_for(kind(reader, writer), stop - time.monotonic())
                    with ended.get_lock():
                        ended.value += 1
                finally:
                    writer.transport.abort()

    async def all_of_them():
        stop = time.monotonic() + seconds
        await asyncio.gather(*[one(stop) for _ in range(ATTACKERS)],
                             return_exceptions=True)
    asyncio.run(all_of_them())


class Watched:
    """What /proc tells of the proxy's process."""

    def __init__(self, pid):
        self._status, self._fds = "/proc/%d/status" % pid, "/proc/%d/fd" % pid
        self.peak = 0

    def rss(self):
        text = pathlib.Path(self._status).read_text()
        now = int(text.split("VmRSS:")[1].split()[0]) / MB
        self.peak = max(self.peak, now)
        return now

    def fds(self):
        return len(os.listdir(self._fds))

    async def sample(self):
        while True:
            self.rss()
            await asyncio.sleep(0.03)


async def healthy(port, times):
    """A client that does its work, a new connection for each request."""
    while True:
        began = time.monotonic()
        try:
            if len(times) % 5:
                answer = await ask(port, "GET", "/v1/models")
            else:
                answer = await ask(port, "POST", "/v1/chat/completions", {
                    "model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]})
            good = answer.status == 200 and answer.complete
        except (OSError, AttributeError):
            good = False
        times.append((good, (time.monotonic() - began) * 1000))
        await asyncio.sleep(0.01)


async def settled(watched, fds, seconds=10):
    """Seconds until the file descriptors are back."""
    began = time.monotonic()
    while watched.fds() > fds and time.monotonic() - began < seconds:
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def under(watched, port, work):
    """Run `work` beside a healthy client: its success in %, its p99 in ms, the peak."""
    times, watched.peak = [], 0
    beside = [asyncio.ensure_future(healthy(port, times)),
              asyncio.ensure_future(watched.sample())]
    await work
    for task in beside:
        while not task.done():  # before Python 3.12 wait_for() can swallow it
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
    slow = sorted(ms for _, ms in times)
    return (100.0 * sum(good for good, _ in times) / len(times), len(times),
            slow[len(slow) * 99 // 100], watched.peak)


BIG = 30 << 20
TEXT = [{"type": "text", "text": "a word " * (BIG // 7)}]  # more than any model reads
IMAGE = [{"type": "image", "source": {
    "type": "base64", "media_type": "image/png", "data": "iVBO" * (BIG // 4)}}]
BODIES = (("refused", "claude-sonnet-4.5", TEXT), ("native", "claude-sonnet-4.5", IMAGE),
          ("translated", "gpt-4.1", IMAGE), ("native again", "claude-sonnet-4.5", IMAGE))


async def big_bodies(port, model, content):
    body = json.dumps({"model": model, "max_tokens": 9, "messages": [
        {"role": "user", "content": content}]}).encode()

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST.replace(b"Host", b"Connection: close\r\nHost") % len(body))
        for at in range(0, len(body), 1 << 18):
            writer.write(body[at:at + (1 << 18)])
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer[9:12].decode()
    return await asyncio.gather(*[one() for _ in range(8)])


async def measure(up, port, pid):
    watched, failures = Watched(pid), []

    def report(name, row, allowed, extra=""):
        good, count, p99, peak = row
        print("%-14s healthy %5.1f %% of %4d, p99 %4.0f ms; RSS peak %5.1f MB (%+.1f)%s"
              % (name, good, count, p99, peak, peak - base, extra), flush=True)
        if peak - base > allowed or (allowed < 100 and (good < 99 or p99 > 500)):
            failures.append(name)

    for _ in range(3):
        await ask(port, "GET", "/v1/models")
    await asyncio.sleep(1)  # it gives back the memory of its start
    base, fds = watched.rss(), watched.fds()
    print("idle           RSS %.1f MB, %d fds" % (base, fds))
    if base > 40:
        failures.append("idle")
    report("no attack", await under(watched, port, asyncio.sleep(1)), 64)
    for kind, seconds in KINDS:
        ended = multiprocessing.Value("i", 0)
        child = multiprocessing.Process(target=attack, args=(port, kind, seconds, ended))
        child.start()
        row = await under(watched, port, asyncio.get_running_loop().run_in_executor(
            None, child.join))
        back = await settled(watched, fds + up.open)  # kept for 90 s
        report(kind.__name__, row, 64, "; %d ended; fds back in %.1f s (upstream connections: %d)" % (
            ended.value, back, up.open))
        if back >= 10 or (kind is slowloris and ended.value < ATTACKERS):
            failures.append(kind.__name__)
    for name, model, content in BODIES:
        statuses = []

        async def bodies():
            statuses.extend(await big_bodies(port, model, content))
        row = await under(watched, port, bodies())
        up.requests.clear()
        await asyncio.sleep(1)
        report("8 x 30 MiB", row, 512, "; %s: %s; a second later %.1f MB" % (
            name, " ".join(sorted(set(statuses))), watched.rss()))
        if statuses != ["400" if name == "refused" else "200"] * 8:
            failures.append(name)
    print("afterwards     %d fds" % watched.fds())
    return failures


async def main():
    up = FakeUpstream()
    async with up:
        with tempfile.TemporaryDirectory() as home:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ROOT.resolve() / "copilot_proxy.py"), cwd=home,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={
                    "PATH": os.environ["PATH"], "HOME": home, "PORT": "0",
                    "GITHUB_URL": up.url, "GITHUB_API_URL": up.url,
                    "GITHUB_TOKEN": "ghu_test", "RATE_LIMIT_DEFAULT": "0",
                    "RATE_LIMIT_CHAT_COMPLETIONS": "0", "LOG_LEVEL": "error"})
            try:
                port = 0
                while not port:
                    line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
                    at = line.find("http://127.0.0.1:")
                    port = int(line[at + 17:].split("/")[0].split()[0]) if at >= 0 else 0
                failures = await measure(up, port, process.pid)
            finally:
                process.terminate()
                rest = (await process.communicate())[0].decode()
        print(rest[-2000:] if "Traceback" in rest else "no traceback")
        up.faults.clear()
    print("over R4: " + ", ".join(failures) if failures else "all within R4")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
