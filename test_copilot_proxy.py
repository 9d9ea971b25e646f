"""Tests of copilot_proxy.py: `python -m pytest -q`. `python test_copilot_proxy.py` is
the try-out mode instead, which needs neither pytest nor a subscription.

No network but 127.0.0.1 and no mocks of our own code: the proxy runs whole against a
FakeUpstream, which parses HTTP by itself and refuses what the real Copilot was seen to
refuse (UPSTREAM.md), so that passing here means something there. Banners and numbers
are those of the program.
"""

import argparse
import ast
import asyncio
import atexit
import base64
import collections
import contextlib
import copy
import ctypes
import functools
import gc
import gzip
import hashlib
import http.client as http_client  # `http` is a tool below
import inspect
import io
import itertools
import json
import logging
import math
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import stat
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
import urllib.parse
import zipfile
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import copilot_proxy as cp

try:
    import pytest
except ImportError:

    class _Absent:
        """Stands for pytest's decorators in the try-out mode."""

        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            if args and inspect.isfunction(args[0]):
                return args[0]
            return self

    pytest = _Absent()

# A socket that nobody closed: the warning comes in a __del__, and pytest makes another.
pytestmark = [
    pytest.mark.filterwarnings(kind)
    for kind in ("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
]


# ============================================================================
# Tools
# ============================================================================
# What every room's tests share: cuts, a clock, raw clients, a strict reader of streams.


def short(value):
    """The name of a parameter of a test: some are megabytes long."""
    return repr(value)[:40]


def cuts(data, seed=7):
    """Lists of pieces of `data`: whole, by 1, 2, 3, 7 bytes, and five random cuts."""
    yield [data]
    for size in (1, 2, 3, 7):
        yield [data[at : at + size] for at in range(0, len(data), size)]
    dice = random.Random(seed)
    for _ in range(5):
        marks = sorted(dice.sample(range(len(data) + 1), min(3, len(data))))
        yield [data[a:b] for a, b in zip([0] + marks, marks + [len(data)])]


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


PROMPT = "Only the model may read this."
# Tokens, keys and passwords of all tests, the fake's opaque ids, marked prompts.
LEAK = re.compile(
    r"gh[a-z]_\w|github_pat_\w|tid=[^*]|(?i:bearer|basic) +[^*\s]|://[^/\s*\"']+@"
    r"|hunter2|sk-secret|Marked|b3BhcXVl|0123456789abcdef"
)
ASKED = re.compile(r"\(asked .*\) [-/]|\"asked\": .*")  # a model's name may be logged


class Overheard(logging.Filter):
    """All that the program prints during a test, and the texts that were sent to it.

    A filter, because configure_logging() replaces the handlers.
    """

    def __init__(self):
        super().__init__()
        self.form = cp.LineWriter(io.StringIO())
        self.printed = []
        self.sent = set()
        self.pieces = collections.defaultdict(bytes)  # of other processes

    def filter(self, record):
        self.printed.append(self.form.format(record))
        return True

    def note(self, body):
        """Remember the start of each text in a request, in plain pieces."""
        todo = [body]
        while todo:
            one = todo.pop()
            if isinstance(one, str):
                self.sent.update(re.findall(r"[A-Za-z0-9 .,!?]{12,24}", one[:200]))
            elif isinstance(one, (dict, list)):
                todo += one.values() if isinstance(one, dict) else one

    def leaks(self):
        """The lines since the last call that tell a secret or a text."""
        lines = (
            self.printed + b"\n".join(self.pieces.values()).decode("utf-8", "replace").splitlines()
        )
        found = [
            line[:300]
            for line in lines
            if LEAK.search(line)
            or any(text in ASKED.sub("", line) for text in (PROMPT, *self.sent))
        ]
        for seen in (self.printed, self.pieces, self.sent):
            seen.clear()
        return found


OVERHEARD = Overheard()


@pytest.fixture(autouse=True, scope="session")
def quick_collections():
    """The tests collect often, and what pytest holds takes 80 ms each time."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def early_starts(request):
    """What takes a second to start does so while the first tests run."""
    wanted = {name for item in request.session.items for name in item.fixturenames}
    if CHROMIUM and "chromium" in wanted:
        request.getfixturevalue("chromium")
    if SCHEDSTAT and "programs" in wanted:
        request.getfixturevalue("programs")


@pytest.fixture(autouse=True)
def nothing_private_is_printed():
    """Every test is also one of R9, at debug level."""
    for logger in (cp.LOG, logging.getLogger("asyncio")):
        logger.addFilter(OVERHEARD)
    cp.LOG.setLevel(logging.DEBUG)
    yield
    assert OVERHEARD.leaks() == []


def run(coro, limit=30.0):
    """asyncio.run with a time limit."""

    async def limited():
        return await asyncio.wait_for(coro, limit)

    return asyncio.run(limited())


async def http(port, raw, limit=10.0):
    """Send `raw`, return every byte until the server closes; not our own client."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        writer.write(raw)
        while True:
            piece = await asyncio.wait_for(reader.read(65536), limit)
            got += piece
            if not piece:
                return got
    except ConnectionError:
        return got
    finally:
        writer.close()


class Answer(NamedTuple):
    """What a client got; `complete` is False when the body was cut short."""

    status: int
    headers: Dict[str, str]
    body: bytes
    complete: bool

    @property
    def json(self):
        return json.loads(self.body)


def parse_answer(raw, method="GET"):
    """Read the one answer of a closed connection, strictly."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", first).group(1))
    pairs = [re.fullmatch(r"([!#-'*+.0-9A-Z^-z|~-]+):\s*(.*?)\s*", line).groups() for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "a header twice: %r" % pairs
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, *_dechunk(body))
    if method == "HEAD" or status in (204, 304):
        length = 0
    else:
        length = int(headers.get("content-length", len(body)))
    assert len(body) <= length, "more body than declared: %r" % body[length:]
    return Answer(status, headers, body, len(body) == length)


def _dechunk(raw):
    body = b""
    while True:
        line, _, rest = raw.partition(b"\r\n")
        if re.fullmatch(rb"[0-9A-Fa-f]+", line):
            size = int(line, 16)
        else:
            size = 0
        if not line or (size and rest[size : size + 2] != b"\r\n"):
            return body, False
        if not size:
            assert raw == b"0\r\n\r\n", "not a last chunk: %r" % raw
            return body, True
        body = body + rest[:size]
        raw = rest[size + 2 :]


async def ask(port, method, path, body=None, headers=()):
    """One request on a connection of its own; `body` is bytes or an object for JSON."""
    OVERHEARD.note(body)
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    typed = {"Content-Type": "application/json", "Content-Length": len(raw)}
    pairs = {
        "Host": "127.0.0.1:%d" % port,
        "Connection": "close",
        **({} if body is None else typed),
        **dict(headers),
    }
    head = "".join("%s: %s\r\n" % pair for pair in pairs.items())
    got = await http(port, ("%s %s HTTP/1.1\r\n%s\r\n" % (method, path, head)).encode() + raw, 30.0)
    return parse_answer(got, method)


def frames(raw):
    """Decode a client's event stream to [(event, object)] and assert its grammar.

    `[DONE]` is ("", "[DONE]"). A stream cut at an event's end is fine; the test says
    whether it may end there.
    """
    assert raw.endswith(b"\n\n") or not raw, "the last event is cut: %r" % raw[-80:]
    got = []
    for block in raw.decode("utf-8").split("\n\n")[:-1]:
        fields = [
            re.fullmatch(r"(event|data): (.*)", line).groups()
            for line in block.split("\n")
            if not line.startswith(":")
        ]
        if fields:
            assert [name for name, _ in fields] in (["event", "data"], ["data"]), block
            text = fields[-1][1]
            got.append(
                (
                    fields[0][1] if len(fields) == 2 else "",
                    text if text == "[DONE]" else json.loads(text),
                )
            )
    assert all(obj["type"] == name for name, obj in got if name), got
    assert ("", "[DONE]") not in got[:-1], "an event after [DONE]"
    if got and got[0][0] == "message_start":
        _check_messages([obj for name, obj in got if name != "ping"])
    elif got and got[0][0].startswith("response."):
        numbers = [obj["sequence_number"] for _, obj in got if "sequence_number" in obj]
        assert numbers == sorted(set(numbers)), numbers
        assert len({obj["response"]["id"] for _, obj in got if "response" in obj}) <= 1
    return got


DELTAS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}


def _check_messages(got):
    """Assert the order of a Messages stream, as far as it goes."""
    opened = None
    index = -1
    last = ""
    for obj in got:
        kind = obj["type"]
        assert last not in ("message_stop", "error"), "%s after %s" % (kind, last)
        assert (kind == "message_start") == (not last)
        if kind == "content_block_start":
            index += 1
            assert opened is None and obj["index"] == index and last != "message_delta"
            opened = obj["content_block"]["type"]
        elif kind == "content_block_delta":
            assert obj["index"] == index and DELTAS[obj["delta"]["type"]] == opened, obj
        elif kind == "content_block_stop":
            assert opened and obj["index"] == index
            opened = None
        elif kind in ("message_delta", "message_stop"):
            assert opened is None
            assert (last == "message_delta") == (kind == "message_stop")
        last = kind


def grammar(events):
    """Assert that `events` are one whole Messages stream of our own making, as the
    strictest SDK wants it (CLIENTS 1)."""
    _check_messages(events)
    assert events[-1]["type"] == "message_stop"
    assert events[0]["message"]["content"] == []
    usage_fields = set(events[0]["message"]["usage"])
    assert usage_fields == set(events[-2]["usage"]) == USAGE_FIELDS
    for event in events:
        if event["type"] == "content_block_start":
            # What stands here of a tool's input is ignored by Claude Code.
            assert event["content_block"].get("input", {}) == {}
        elif event["type"] == "content_block_delta":
            assert all(event["delta"].values()), "an empty delta"


def fold_message(events):
    """The Message that the events of a whole stream amount to; a call that was cut, which
    `input` cannot say, is left out."""
    message = {}
    blocks = []  # (start, {field: pieces})
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            blocks.append((event["content_block"], collections.defaultdict(list)))
        elif kind == "content_block_delta":
            for key, piece in event["delta"].items():
                blocks[-1][1][key].append(piece)
        elif kind == "message_delta":
            message.update(event["delta"])
            if event.get("copilot_usage"):
                message["copilot_usage"] = event["copilot_usage"]
            for key, number in event["usage"].items():
                message["usage"][key] = number or message["usage"][key]
    message["content"] = []
    for block, pieces in blocks:
        for key in pieces.keys() & block.keys() - {"type"}:
            block[key] = "".join(pieces[key])
        arguments = "".join(pieces["partial_json"])
        if arguments.strip():
            block["input"] = cp.parse_object(arguments)
        if block.get("input", {}) is not None:
            message["content"].append(block)
    return message


USAGE_FIELDS = {
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
}


class ResponsesGrammar:
    """Reads a Responses stream as the strictest SDK would; `output` is what it adds up to."""

    PARTS = {
        "response.content_part": ("content", "content_index"),
        "response.reasoning_summary_part": ("summary", "summary_index"),
    }
    DELTAS = {
        "response.output_text": ("text", "content", "content_index"),
        "response.refusal": ("refusal", "content", "content_index"),
        "response.reasoning_summary_text": ("text", "summary", "summary_index"),
        "response.function_call_arguments": ("arguments", "", ""),
        "response.custom_tool_call_input": ("input", "", ""),
    }
    SHOWN_LATE = {"status", "phase", "encrypted_content", "summary", "action", "operation"}

    def __init__(self):
        self.items = []
        self.open = {}
        self.parts = {}
        self.last = ""

    def read(self, event):
        kind = event["type"]
        index = event.get("output_index")
        assert self.last not in ("response.completed", "response.incomplete", "response.failed")
        base, _, step = kind.rpartition(".")
        if kind in ("response.created", "response.in_progress"):
            before = {"response.created": "", "response.in_progress": "response.created"}
            assert self.last == before[kind] and event["response"]["output"] == []
            assert event["response"]["status"] == "in_progress"
        elif kind == "response.output_item.added":
            assert index == len(self.items)
            self.items.append(None)
            self.open[index] = event["item"]
        elif kind == "response.output_item.done":
            begun = self.open.pop(index)
            item = event["item"]
            assert begun["id"] == item["id"] and begun["type"] == item["type"]
            assert not any(place[0] == index for place in self.parts), "a part is open"
            self.compare(begun, item)
            self.items[index] = item
        elif base in self.PARTS:
            self.part(event, step, *self.PARTS[base])
        elif base in self.DELTAS and step in ("delta", "done"):
            self.words(event, step, *self.DELTAS[base])
        elif kind in ("response.completed", "response.incomplete"):
            assert not self.open and event["response"]["output"] == self.items
            assert event["response"]["status"] == kind[9:]
        elif kind == "response.failed":
            assert event["response"]["error"]["message"] and self.last == "error"
        else:
            assert kind == "error" or kind.startswith("response.web_search_call"), kind
        self.last = kind

    def compare(self, begun, item):
        known = [k for k in begun if k not in self.SHOWN_LATE and begun[k] != {}]
        assert [begun[k] for k in known] == [item[k] for k in known], (begun, item)

    def part(self, event, step, where, name):
        place = (event["output_index"], event[name])
        item = self.open[event["output_index"]]
        assert event["item_id"] == item["id"]
        if step == "added":
            assert place not in self.parts and event[name] == len(item[where])
            self.parts[place] = ""
            item[where].append(dict(event["part"]))
        else:
            self.parts.pop(place)
            assert item[where][place[1]] == event["part"]

    def words(self, event, step, word, where, name):
        item = self.open[event["output_index"]]
        place = (event["output_index"], event.get(name))
        assert event["item_id"] == item["id"]
        holder = item
        if where:
            assert place in self.parts, "words without a part"
            holder = item[where][place[1]]
        if step == "delta":
            assert event["delta"], "an empty delta"
            holder[word] += event["delta"]
        else:
            assert event[word] == holder[word]


def check_responses(events):
    """Assert OpenAI's order of events; the items that they add up to."""
    grammar = ResponsesGrammar()
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        grammar.read(event)
    return grammar.items


# ============================================================================
# Fake upstream: what it knows
# ============================================================================
# UPSTREAM 7. Prices are AI credits for a million tokens: input, output, cache read and
# cache write. The catalogue also holds an entry that does not parse, an endpoint that
# nobody knows and a model that is not enabled.

MESSAGES = "/v1/messages"
CHAT = "/chat/completions"
RESPONSES = "/responses"
SERVED = {
    "both": [CHAT, MESSAGES],
    "alone": [MESSAGES],
    "old": None,
    "new": ["/telepathy"],
    "gpt": [CHAT, RESPONSES, "ws:/responses"],
    "only": [RESPONSES, "ws:/responses"],
}
BUDGET = {"min_thinking_budget": 1024, "max_thinking_budget": 32000}
THINKS = {
    "budget": BUDGET,
    "adaptive": {"adaptive_thinking": True},
    "either": {**BUDGET, "adaptive_thinking": True},
    "-": {},
}
VENDORS = {
    "claude": "Anthropic",
    "gpt": "Azure OpenAI",
    "gemini": "Google",
    "mind": "Microsoft",
    "o1": "OpenAI",
}
MODEL_ROWS = """
claude-sonnet-4.5    both  200000 168000  32000 300/1500/30/375 budget   -
claude-haiku-4.5     both  200000 136000  64000 100/500/10/125  budget   -
claude-opus-4.5      both  200000 168000  32000 500/2500/50/625 budget   high
claude-sonnet-4.6    both  200000 168000  32000 300/1500/30/375 either   high,max
claude-opus-4.6      both  200000 168000  32000 500/2500/50/625 either   high,max
claude-opus-4.7      both 1000000 936000  64000 500/2500/50/625 adaptive high,xhigh,max
claude-opus-4.8      both 1000000 936000  64000 500/2500/50/625 either   high,xhigh,max
claude-opus-5        both 1000000 936000  64000 500/2500/50/625 adaptive high,xhigh,max
claude-sonnet-5      both 1000000 936000  64000 300/1500/30/375 adaptive high,xhigh,max
claude-scribe-1      alone  200000 168000  32000 300/1500/30/375 budget   -
gpt-4.1              old   128000 128000  16384 0/0/0/0         -        -
gpt-4o               old   128000  64000   4096 0/0/0/0         -        -
gpt-5-mini           gpt   264000 128000  64000 25/200/3/0      -        high
gpt-5                gpt   400000 272000 128000 125/1000/13/0   -        high
gpt-5.4              gpt   400000 272000 128000 125/1000/13/0   -        high,xhigh
gpt-5.3-codex        only  400000 272000 128000 125/1000/13/0   -        high,xhigh
gpt-5.5              only  400000 272000 128000 125/1000/13/0   -        high,xhigh
gemini-2.5-pro       old   128000 128000  64000 125/1000/13/0   -        -
gemini-3-pro-preview old   128000 128000  64000 125/1000/13/0   -        -
mind-reader-1        new   128000 128000  64000 125/1000/13/0   -        -
"""


def _entry(row):
    name, served, window, prompt, output, price, thinks, efforts = row.split()
    supports = {
        "streaming": True,
        "tool_calls": True,
        "parallel_tool_calls": True,
        "structured_outputs": True,
        "vision": True,
        **THINKS[thinks],
    }
    if efforts != "-":
        supports["reasoning_effort"] = ["low", "medium", *efforts.split(",")]
    kinds = ("input_price", "output_price", "cache_price", "cache_write_price")
    prices = dict(zip(kinds, map(int, price.split("/"))), context_max=int(window))
    entry = {
        "id": name,
        "name": name.replace("-", " ").title().replace("Gpt ", "GPT-"),
        "object": "model",
        "vendor": VENDORS[name.partition("-")[0]],
        "version": name,
        "preview": False,
        "model_picker_enabled": "gpt-4" not in name,
        "policy": {"state": "disabled" if name == "claude-opus-4.8" else "enabled", "terms": "..."},
        "billing": {
            "is_premium": price[0] != "0",
            "multiplier": 1,
            "token_prices": {"batch_size": 1000000, "default": prices},
        },
        "supported_endpoints": SERVED[served],
        "capabilities": {
            "type": "chat",
            "object": "model_capabilities",
            "family": name,
            "tokenizer": "o200k_base",
            "supports": supports,
            "limits": {
                "max_context_window_tokens": int(window),
                "max_prompt_tokens": int(prompt),
                "max_output_tokens": int(output),
                "vision": {
                    "max_prompt_images": 5,
                    "max_prompt_image_size": 3145728,
                    "supported_media_types": ["image/jpeg", "image/png"],
                },
            },
        },
    }
    if served == "old":  # absent means chat
        del entry["supported_endpoints"], entry["policy"]
    return entry


EMBEDDER = {
    "id": "text-embedding-3-small",
    "name": "Embedding V3 small",
    "object": "model",
    "vendor": "Azure OpenAI",
    "version": "text-embedding-3-small",
    "model_picker_enabled": False,
    "capabilities": {
        "type": "embeddings",
        "family": "text-embedding-3-small",
        "tokenizer": "cl100k_base",
        "limits": {"max_inputs": 512},
        "supports": {"dimensions": True},
    },
}


def _catalogue():
    return [
        *map(_entry, MODEL_ROWS.strip().splitlines()),
        EMBEDDER,
        {"id": 42, "capabilities": ["this entry does not parse"]},
    ]


# UPSTREAM 11.4; patterns stand for the rows with a star.
KNOWN_BETA = re.compile(
    r"interleaved-thinking-2025-05-14|context-management-2025-06-27"
    r"|advanced-tool-use-2025-11-20|extended-cache-ttl-2025-04-11"
    r"|claude-code-20250219|oauth-2025-04-20|fine-grained-tool-streaming-2025-05-14"
    r"|prompt-caching-2024-07-31|prompt-caching-scope-2026-01-05"
    r"|mid-conversation-system-2026-04-07|tool-search-tool-2025-11-19"
    r"|token-efficient-tools-20(25-02-19|26-03-28)|task-budgets-2026-03-13"
    r"|summarize-connector-text-2026-03-13|afk-mode-2026-01-31"
    r"|cli-internal-2026-02-09|(effort|structured-outputs|redact-thinking)-.+"
    r"|(fast-mode|web-search|pdfs|compact)-.+"
)
USER = {  # UPSTREAM 4
    "login": "octocat",
    "access_type_sku": "plus_monthly_subscriber_quota",
    "copilot_plan": "individual_pro",
    "chat_enabled": True,
    "token_based_billing": True,
    "quota_reset_date": "2026-12-01",
    "quota_snapshots": {
        "chat": {"quota_id": "chat", "unlimited": True, "percent_remaining": 100.0},
        "premium_interactions": {
            "quota_id": "premium_interactions",
            "entitlement": 1500,
            "remaining": 1287,
            "quota_remaining": 1287.4,
            "percent_remaining": 85.8,
            "unlimited": False,
            "overage_count": 0,
            "overage_permitted": True,
            "has_quota": True,
        },
    },
}


def unlimited(kind):
    return {"quota_id": kind, "unlimited": True, "percent_remaining": 100.0}


FEW = {"entitlement": 50, "remaining": 20, "percent_remaining": 40.0, "unlimited": False}
SEAT = {"copilot_plan": "business", "access_type_sku": "copilot_for_business_seat_quota"}
# What copilot_internal/user says of each kind of account, and whether it is Auto only
# (UPSTREAM 4, 22.1).
PLANS = {
    "pro": (USER, False),
    "free": (
        {
            "login": "octocat",
            "copilot_plan": "individual",
            "access_type_sku": "free_limited_copilot",
            "limited_user_quotas": {"chat": 20, "completions": 2000},
            "monthly_quotas": {"chat": 50, "completions": 4000},
            "limited_user_reset_date": "2026-12-01",
        },
        True,
    ),
    "student": (
        {
            **USER,
            "copilot_plan": "individual_edu",
            "access_type_sku": "free_educational_quota",
            "quota_snapshots": {"premium_interactions": FEW, "chat": unlimited("chat")},
        },
        True,
    ),
    "business": (
        {**USER, **SEAT, "quota_snapshots": {"premium_interactions": unlimited("x")}},
        False,
    ),
    "residency": ({**USER, **SEAT, "copilot_plan": "enterprise"}, False),
}


def fit_body(dialect, body, model, endpoint, encode=None, fitter=None, betas=""):
    """The Fit of a client's body; the bytes that are sent must say what it holds."""
    if isinstance(body, bytes):
        raw = body
    else:
        raw = cp.dumps(body)
    client = cp.ClientBody(dialect, betas, *cp.parse_placed(raw))
    if encode:
        upstream = encode(client.body)
    else:
        upstream = client.body
    fit = (fitter or cp.Fitter()).fit(client, upstream, model, endpoint)
    assert cp.loads(fit.encode()) == fit.body, "changed and not touched"
    return fit


# ============================================================================
# Fake upstream: what it refuses
# ============================================================================
# A rule yields complaints in the words of the real service; the first one counts. Every
# rule is a row of UPSTREAM 9.1, 10.1, 11.4-11.6, 15.2 or 16, or a documented habit of
# the service behind Copilot.


def whole(status, body, kind="application/json", **headers):
    """An answer in one piece with its length; `body` is text or an object."""
    if isinstance(body, str):
        text = body
    else:
        text = json.dumps(body)
    return status, {"content-type": kind, "content-length": "auto", **headers}, [text.encode()]


class Refused(Exception):
    """The answer is no; `answer` is how that looks on the wire."""

    def __init__(self, status, body, kind="text/plain; charset=utf-8", **headers):
        super().__init__(body)
        self.answer = whole(status, body, kind, **headers)


def gateway(message, code="invalid_request_body", **more):
    """Copilot's own refusal: JSON called text, Go's escapes, a newline (15.1)."""
    body = json.dumps({"error": {"message": message, "code": code, **more}})
    return Refused(400, body.replace(">", "\\u003e").replace("<", "\\u003c") + "\n")


def backend(message, **more):
    """A refusal by the Anthropic service behind Copilot."""
    return Refused(
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": message, **more},
            "request_id": "req_vrtx_fake",
        },
        "application/json",
    )


def walk(obj, path=""):
    """Every (path, object) inside a JSON value."""
    if isinstance(obj, dict):
        yield path, obj
    if isinstance(obj, dict):
        inner = obj.items()
    else:
        inner = enumerate(obj if isinstance(obj, list) else ())
    for key, value in inner:
        yield from walk(value, "%s.%s" % (path, key) if path else str(key))


def blocks(content):
    """A content as a list of blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


EXTRA = "%s: Extra inputs are not permitted"
PREFILL = (
    "This model does not support assistant message prefill. The conversation "
    "must end with a user message."
)
CONTEXT_BETA = "context-management-2025-06-27"
SYSTEM_BETA = "mid-conversation-system-2026-04-07"
MESSAGES_KEYS = frozenset(
    "model messages system tools tool_choice max_tokens stream temperature top_p top_k "
    "stop_sequences metadata thinking output_config context_management".split()
)
TOOL_KEYS = frozenset(
    "type name description input_schema cache_control defer_loading "
    "strict input_examples allowed_callers".split()
)


def _fields(body, entry, betas):
    extra = [
        key
        for key in body
        if key not in MESSAGES_KEYS or (key == "context_management" and CONTEXT_BETA not in betas)
    ]
    form = (body.get("output_config") or {}).get("format") or {}
    extra += ["output_config.format." + key for key in form if key not in ("type", "schema")]
    yield from (EXTRA % key for key in extra)
    if not body.get("messages"):
        yield "messages: at least one message is required"
    if not isinstance(body.get("max_tokens"), int):
        yield "max_tokens: Field required"
    elif body["max_tokens"] > 128000:
        yield "max_tokens: %d > 128000, which is the maximum allowed number of " "output tokens for %s" % (
            body["max_tokens"],
            entry["id"],
        )


def _cache_marks(body, entry, betas):
    marked = [
        (path, obj)
        for key in ("tools", "system", "messages")
        for path, obj in walk(body.get(key), key)
        if obj.get("cache_control")
    ]
    for path, obj in marked:
        place = path + {"t": ".custom", "s": ""}.get(path[0], ".%s" % obj.get("type"))
        yield from (
            EXTRA % "%s.cache_control.ephemeral.%s" % (place, key)
            for key in obj["cache_control"]
            if key not in ("type", "ttl")
        )
    if len(marked) > 4:
        yield "A maximum of 4 blocks with cache_control may be provided. Found %d." % (len(marked))


def _tools(body, entry, betas):
    tools = body.get("tools") or []
    for at, tool in enumerate(tools):
        yield from _tool("tools.%d" % at, tool, tool.get("type") or "custom", betas)
    if tools and all(tool.get("defer_loading") for tool in tools):
        yield "At least one tool must have defer_loading=false"
    if len({tool.get("name") for tool in tools}) < len(tools):
        yield "tools: Tool names must be unique."


def _tool(path, tool, kind, betas):
    if kind.startswith("web_search_"):
        yield "The use of the web search tool is not supported."
    if re.match("web_fetch_|advisor_", kind) or (
        kind.startswith("memory_") and CONTEXT_BETA not in betas
    ):
        yield "%s: tool type '%s' is not supported" % (path, kind)
    if tool.get("defer_loading") and tool.get("cache_control"):
        yield "%s: cache_control cannot be used with defer_loading" % path
    if kind == "custom":
        yield from (EXTRA % "%s.custom.%s" % (path, key) for key in tool if key not in TOOL_KEYS)
        if not re.fullmatch("[a-zA-Z0-9_-]{1,128}", tool.get("name", "")):
            yield "%s.custom.name: String should match pattern " "'^[a-zA-Z0-9_-]{1,128}$'" % path
        if not isinstance(tool.get("input_schema"), dict):
            yield "%s.custom.input_schema: Field required" % path


def _thinking(body, entry, betas):
    thinking = body.get("thinking") or {}
    can = entry["capabilities"]["supports"]
    kind = thinking.get("type")
    budget = thinking.get("budget_tokens", 0)
    if kind == "adaptive" and not can.get("adaptive_thinking"):
        yield "adaptive thinking is not supported on this model"
    if kind == "adaptive" and budget:
        yield EXTRA % "thinking.adaptive.budget_tokens"
    if kind == "enabled" and not can.get("max_thinking_budget"):
        yield '"thinking.type.enabled" is not supported for this model. Use ' '"thinking.type.adaptive" and "output_config.effort".'
    if kind == "enabled" and budget < 1024:
        yield "thinking.enabled.budget_tokens: Input should be greater than or equal " "to 1024"
    if kind == "enabled" and budget >= body["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if thinking.get("display", "summarized") not in ("summarized", "omitted"):
        yield "thinking.%s.display: Input should be 'summarized' or 'omitted'" % kind
    yield from _samplers(body, kind in ("enabled", "adaptive"))


def _samplers(body, thinks):
    if thinks and (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."
    if thinks and body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled."


def _content(body, entry, betas):
    if any(not block["text"].strip() for block in blocks(body.get("system"))):
        yield "system: text content blocks must be non-empty"
    for at, message in enumerate(body["messages"]):
        if message["role"] == "system" and SYSTEM_BETA not in betas:
            yield 'messages.%d: Unexpected role "system"' % at
        if not message["content"]:
            yield "messages.%d: all messages must have non-empty content" % at
        for place, block in enumerate(blocks(message["content"])):
            if block["type"] == "text" and not block["text"].strip():
                yield "messages: text content blocks must be non-empty"
            yield from _block("messages.%d.content.%d" % (at, place), block)
    if body["messages"][-1]["role"] == "assistant":
        yield PREFILL


INNER = ("text", "image", "document", "tool_reference", "search_result")
OUTER = (
    "text",
    "image",
    "document",
    "search_result",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
)


def _block(path, block, known=OUTER):
    kind = block["type"]
    if kind in ("server_tool_use", "web_search_tool_result"):
        yield "%s: Invalid `encrypted_content` in `search_result` block" % path
    if kind not in known:
        yield "%s: Input tag '%s' found using 'type' does not match any of the " "expected tags" % (
            path,
            kind,
        )
    if kind in ("image", "document") and block["source"].get("type") != "base64":
        yield "%s.%s.source.type: only base64 is supported" % (path, kind)
    if kind == "tool_result":
        results = blocks(block.get("content"))
    else:
        results = []
    for at, inner in enumerate(results):
        yield from _block("%s.tool_result.content.%d" % (path, at), inner, INNER)


def _pairs(body, entry, betas):
    names = {tool.get("name") for tool in body.get("tools") or []}
    for _, obj in walk(body["messages"]):
        if obj.get("type") == "tool_reference" and obj["tool_name"] not in names:
            yield "Tool reference '%s' not found in available tools" % obj["tool_name"]
        if obj.get("type") == "tool_use" and obj["name"] not in names:
            yield "Tool '%s' not found in provided tools" % obj["name"]
    turns = []  # turns of one role in a row count as one
    for message in body["messages"]:
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks(message["content"]))
        elif message["role"] != "system":
            turns.append((message["role"], list(blocks(message["content"]))))
    waiting = []
    for at, (role, content) in enumerate(turns + [("user", [])]):
        results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        missing = ", ".join(one for one in waiting if one not in results)
        if missing:
            yield "messages.%d: `tool_use` ids were found without `tool_result` " "blocks immediately after: %s." % (
                at - 1,
                missing,
            )
        yield from (
            "messages.%d.content.0: unexpected `tool_use_id` found in "
            "`tool_result` blocks: %s." % (at, one)
            for one in results
            if one not in waiting
        )
        waiting = [block["id"] for block in content if block["type"] == "tool_use"]


def media_types_of(entry):
    """What a catalogue entry says that it sees."""
    return entry["capabilities"]["limits"].get("vision", {}).get("supported_media_types", ())


def _thoughts(body, entry, betas):
    spoken = [
        (at, [b["type"] for b in blocks(message["content"])])
        for at, message in enumerate(body["messages"])
        if message["role"] == "assistant"
    ]
    for number, (at, kinds) in enumerate(spoken):
        if number and kinds[-1] == "thinking":
            yield "messages.%d: The final block in an assistant message cannot be " "`thinking`." % at
        if "tool_use" in kinds and kinds[-1] != "tool_use":
            yield PREFILL
    if spoken and ("thinking", "thinking") in zip(spoken[-1][1], spoken[-1][1][1:]):
        yield "messages.%d: `thinking` blocks in the latest assistant message cannot " "be modified." % spoken[
            -1
        ][
            0
        ]


def _openai(body, entry):
    if entry["id"].startswith(("gpt-5", "o")):
        yield from (
            "Unsupported parameter: '%s' is not supported with this model." % k
            for k in ("temperature", "top_p", "n")
            if body.get(k) is not None
        )
    tools = body.get("tools")
    if tools == []:
        yield "Invalid 'tools': empty array. Expected an array with minimum length 1."
    if len(tools or ()) > 128 and "OpenAI" in entry["vendor"]:
        yield "Invalid 'tools': array too long. Expected an array with maximum " "length 128, but got an array with length %d instead." % len(
            tools
        )
    for at, tool in enumerate(tools or []):
        if tool["type"] == "function" and not re.fullmatch(
            "[a-zA-Z0-9_-]{1,64}", (tool.get("function") or tool)["name"]
        ):
            yield "Invalid 'tools[%d].function.name': string does not match pattern " "'^[a-zA-Z0-9_-]{1,64}$'." % at


def _chat(body, entry):
    if not body.get("messages"):
        yield "messages: at least one message is required"
    for message in body["messages"]:
        parts = blocks(message.get("content"))
        allowed = {"text", "image_url"}
        if "application/pdf" in media_types_of(entry):
            allowed.add("file")
        if any(part["type"] not in allowed for part in parts):
            yield "only text and image_url are allowed"
        said = message.get("tool_calls") or "".join(part.get("text", "") for part in parts).strip()
        if message["role"] == "assistant" and not said:
            yield "assistant message must have content or tool_calls"
    most = entry["capabilities"]["limits"]["max_output_tokens"]
    for key in ("max_tokens", "max_completion_tokens"):
        if (body.get(key) or 0) > most:
            yield "%s is too large: %d. This model supports at most %d completion " "tokens." % (
                key,
                body[key],
                most,
            )
    if sum("copilot_cache_control" in message for message in body["messages"]) > 4:
        yield "at most 4 messages may carry copilot_cache_control"


def _chat_pairs(body, entry):
    waiting = []
    for message in body["messages"] + [{"role": "end"}]:
        if message["role"] == "tool" and message["tool_call_id"] in waiting:
            waiting.remove(message["tool_call_id"])
            continue
        if message["role"] == "tool":
            yield "messages with role 'tool' must be a response to a preceeding " "message with 'tool_calls'."
        if waiting:
            yield "An assistant message with 'tool_calls' must be followed by tool " "messages responding to each 'tool_call_id'. The following " "tool_call_ids did not have response messages: " + ", ".join(
                waiting
            )
        waiting = [call["id"] for call in message.get("tool_calls") or []]


SERVED_TOOLS = "function custom web_search web_search_preview namespace tool_search".split()


def _responses(body, entry):
    banned = ["store", "previous_response_id", "background", "service_tier", "conversation"]
    if entry["id"] in ("gpt-5", "gpt-5.1", "gpt-5.2"):
        banned.append("context_management")
    yield from ("Unsupported parameter: '%s'." % key for key in banned if body.get(key))
    if "usage" in (body.get("include") or ()):
        yield "Invalid value: 'usage'. Supported values are: " "'reasoning.encrypted_content'."
    if (body.get("max_output_tokens") or 16) < 16:
        yield "Invalid 'max_output_tokens': integer below minimum value. Expected a " "value >= 16, but got %d instead." % body[
            "max_output_tokens"
        ]
    yield from (
        "The requested tool %s is not supported." % tool["type"]
        for tool in body.get("tools") or []
        if tool["type"] not in SERVED_TOOLS
    )
    if body.get("tool_choice") == {"type": "tool_search"}:
        yield "Invalid value: 'tool_search'."


def _items_in(body, entry):
    if not body.get("input"):
        yield "Missing required parameter: 'input'."
    if isinstance(body["input"], list):
        items = body["input"]
    else:
        items = []
    for at, item in enumerate(items):
        if item.get("type") == "function_call" and item.get("id", "fc")[:2] != "fc":
            yield "Invalid 'input[%d].id': '%s'. Expected an ID that begins with " "'fc'." % (
                at,
                item["id"],
            )
        if item.get("role") == "assistant":
            known = ("output_text", "refusal")
        else:
            known = ("input_text", "input_image", "input_file")
        yield from (
            "Invalid value: '%s'." % part["type"]
            for part in (item["content"] if isinstance(item.get("content"), list) else ())
            if item.get("role") and part["type"] not in known
        )
    for call in ("function_call", "custom_tool_call"):
        called = [i["call_id"] for i in items if i.get("type") == call]
        given = [i["call_id"] for i in items if i.get("type") == call + "_output"]
        yield from (
            "No tool output found for function call %s." % one for one in called if one not in given
        )
        yield from (
            "No tool call found for function call output with call_id %s." % one
            for one in given
            if one not in called
        )


class Refusal(NamedTuple):
    """One row of UPSTREAM 9.1, 10.1, 11.5 or 22: who refuses what, in which words."""

    where: str  # pattern for "endpoint vendor model"
    find: Any  # (body) -> what is wrong, each a text or a tuple for the words
    words: str


def blocks_of(body, *kinds):
    """(path, block) for the blocks of these types in a history, results' too."""
    if "input" in body:
        key = "input"
    else:
        key = "messages"
    for path, obj in walk(body.get(key), key):
        if obj.get("type") in kinds:
            yield path, obj


def bad_values(body, kinds, keys, pattern):
    """(path, key) where a block of `kinds` has an id that the pattern refuses."""
    for path, obj in blocks_of(body, *kinds):
        for key in keys:
            value = obj.get(key)
            if isinstance(value, str) and not re.fullmatch(pattern, value):
                yield path, key


def foreign_ids(body):
    kinds = ("tool_use", "tool_result")
    for path, key in bad_values(body, kinds, ("id", "tool_use_id"), "[a-zA-Z0-9_-]+"):
        yield "%s.%s" % (path, "tool_use.id" if key == "id" else "tool_result." + key)


def chat_ids(body):
    """(path, id) of each call and result of a chat history."""
    for at, message in enumerate(body["messages"]):
        for number, call in enumerate(message.get("tool_calls") or []):
            yield "messages[%d].tool_calls[%d].id" % (at, number), call["id"]
        if message["role"] == "tool":
            yield "messages[%d].tool_call_id" % at, message["tool_call_id"]


def long_chat_ids(body):
    return [(path, len(text)) for path, text in chat_ids(body) if len(text) > 40]


def odd_chat_ids(body):
    return [path for path, text in chat_ids(body) if not re.fullmatch("[a-zA-Z0-9_-]+", text)]


def long_call_ids(body):
    if isinstance(body["input"], list):
        items = body["input"]
    else:
        items = []
    for at, item in enumerate(items):
        call_id = item.get("call_id", "")
        if len(call_id) > 64:
            yield "input[%d].call_id" % at, len(call_id)


def functions_of(body):
    """(index, function) for each offered function of any API."""
    for at, tool in enumerate(body.get("tools") or []):
        if tool.get("type") in (None, "custom") and "input_schema" in tool:
            yield at, tool
        elif tool.get("type") == "function":
            yield at, tool.get("function") or tool
        elif tool.get("type") == "namespace":
            yield from ((at, inner) for inner in tool["tools"])


def schemas_of(body):
    """(name, schema) of each function with parameters."""
    for _, function in functions_of(body):
        if "input_schema" in function:
            key = "input_schema"
        else:
            key = "parameters"
        if key in function:
            yield function["name"], function[key]


SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def inner_schemas(schema):
    """A schema and all inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        for inner in (schema.get(key) or {}).values():
            yield from inner_schemas(inner)
    for key in ("items", "additionalProperties", "not"):
        yield from inner_schemas(schema.get(key))
    for key in SCHEMA_LISTS:
        for inner in schema.get(key) or []:
            yield from inner_schemas(inner)


def is_a(schema, kind):
    """Whether a schema's type is this one, or has it in its list."""
    kinds = schema.get("type")
    return kind == kinds or (isinstance(kinds, list) and kind in kinds)


def no_object(body):
    return [name for name, schema in schemas_of(body) if schema.get("type") != "object"]


def top_unions(body):
    for name, schema in schemas_of(body):
        if schema.keys() & {"anyOf", "oneOf", "allOf"}:
            yield name


def no_properties(body):
    for name, schema in schemas_of(body):
        if not isinstance(schema.get("properties"), dict):
            yield name


def inner_without_properties(body):
    for name, schema in schemas_of(body):
        for inner in inner_schemas(schema):
            if "properties" in inner and not isinstance(inner["properties"], dict):
                yield name
            if is_a(inner, "object") and "properties" not in inner:
                yield name


def no_items(body):
    for name, schema in schemas_of(body):
        for inner in inner_schemas(schema):
            if is_a(inner, "array") and not isinstance(inner.get("items"), (dict, bool)):
                yield name


def undeclared(body):
    for name, schema in schemas_of(body):
        for inner in inner_schemas(schema):
            extra = set(inner.get("required") or ()) - set(inner.get("properties") or ())
            if extra and "properties" in inner:
                yield name, sorted(extra)[0]


def strict_schemas(body):
    """(name, schema) of what is to be kept strictly."""
    for _, function in functions_of(body):
        if function.get("strict"):
            yield function["name"], function.get("parameters") or {}
    form = (body.get("response_format") or {}).get("json_schema") or {}
    form = form or (body.get("text") or {}).get("format") or {}
    if form.get("strict"):
        yield form["name"], form["schema"]


def open_objects(body):
    for name, schema in strict_schemas(body):
        for inner in inner_schemas(schema):
            if is_a(inner, "object") and inner.get("additionalProperties") is not False:
                yield name


def optional_properties(body):
    for name, schema in strict_schemas(body):
        for inner in inner_schemas(schema):
            missing = set(inner.get("properties") or ()) - set(inner.get("required") or ())
            if missing:
                yield name, sorted(missing)[0]


def not_for_google(body):
    for _, schema in schemas_of(body):
        for inner in inner_schemas(schema):
            values = inner.get("enum", [])
            if isinstance(inner.get("type"), list) or (values and is_a(inner, "array")):
                yield ()
            if not all(isinstance(value, str) for value in values):
                yield ()
            if is_a(inner, "array") and not isinstance(inner.get("items"), dict):
                yield ()


def given_keys(*keys):
    """A check for members of the body that are refused."""
    return lambda body: [key for key in keys if body.get(key) is not None]


def choice_without_tools(body):
    if body.get("tool_choice") and not body.get("tools"):
        return [()]
    return []


def forced_choice(body):
    choice = body.get("tool_choice") or {}
    if choice.get("type") in ("any", "tool"):
        return [()]
    return []


def no_calls(body):
    for at, message in enumerate(body["messages"]):
        if message.get("tool_calls") == []:
            yield at


def is_disabled(body):
    return (body.get("thinking") or {}).get("type") == "disabled"


def disabled(body):
    if is_disabled(body):
        return [()]
    return []


def wild_effort(body):
    effort = (body.get("output_config") or {}).get("effort")
    if is_disabled(body) and effort in ("max", "xhigh"):
        return [effort]
    return []


def two_samplers(body):
    if "temperature" in body and "top_p" in body:
        return [()]
    return []


def has_format(body):
    if (body.get("output_config") or {}).get("format"):
        return [()]
    return []


def system_roles(body):
    for at, message in enumerate(body["messages"]):
        if message["role"] == "system":
            yield at


def empty_thoughts(body):
    for path, block in blocks_of(body, "thinking"):
        if not block["thinking"]:
            yield path


def lost_thoughts(body):
    """The tool loop under way, where its turn does not begin with its thinking."""
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    at = len(body["messages"]) - 1
    kinds = [block["type"] for block in blocks(body["messages"][at]["content"])]
    if "tool_result" not in kinds:
        return
    before = [block["type"] for block in blocks(body["messages"][at - 1]["content"])]
    if before[0] not in ("thinking", "redacted_thinking"):
        yield at - 1, before[0]


def marks_in_results(body):
    for path, block in blocks_of(body, "tool_result"):
        for inner in blocks(block.get("content")):
            if inner.get("cache_control"):
                yield path


def documents_of_others(body):
    for path, block in blocks_of(body, "document"):
        if block["source"].get("media_type") != "application/pdf":
            yield path


PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def pictures_of(body):
    """(named type, type by the bytes) of each picture."""
    for _, block in blocks_of(body, "image", "image_url", "input_image"):
        holder = block.get("source") or block.get("image_url") or {}
        if isinstance(holder, dict) and holder.get("type") == "base64":
            named = holder.get("media_type")
            text = holder["data"]
        else:
            if isinstance(holder, str):
                url = holder
            else:
                url = holder.get("url", "")
            named, _, text = url[5:].partition(";base64,")
        head = base64.b64decode(text[:16] + "=" * (-len(text[:16]) % 4))
        kinds = [kind for magic, kind in PICTURES.items() if head.startswith(magic)]
        yield named, (kinds or [named])[0]


def jpgs(body):
    return [() for named, _ in pictures_of(body) if named == "image/jpg"]


def contradicted(body):
    return [(named, seen) for named, seen in pictures_of(body) if named != seen]


def namespaces_of(body):
    for at, tool in enumerate(body.get("tools") or []):
        if tool["type"] == "namespace":
            yield at, tool


def undescribed(body):
    return [at for at, tool in namespaces_of(body) if not tool.get("description")]


def namespaces(body):
    return [at for at, _ in namespaces_of(body)]


def remote_tools(body):
    for at, tool in enumerate(body.get("tools") or []):
        if str(tool.get("type")).startswith(("computer_", "mcp_")):
            yield at, tool["type"]


OF_FUNCTION = "Invalid schema for function '%s': "
TOO_LONG = "Invalid '%s': string too long. Expected a string with maximum length "
TOO_LONG_END = ", but got a string with length %d instead."
NO_PARAMETER = "Unsupported parameter: '%s' is not supported with this model."
ID_PATTERN = "%s: String should match pattern '^[a-zA-Z0-9_-]+$'"
SCHEMA_PATH = "tools.custom.input_schema (%s): "
ALWAYS_THINKS = r"/v1/messages \S+ claude-\S+-5\.5"
M = "/v1/messages "
C = "/chat/completions "
R = "/responses "
OF_OPENAI = "/(chat/completions|responses) OpenAI "
SERVICE_ROWS = (
    # Everybody (UPSTREAM 22.6).
    Refusal("/", choice_without_tools, "tools are required when tool choice is specified"),
    Refusal("/", jpgs, "image media_type: Input should be 'image/jpeg', 'image/png'"),
    Refusal("/", contradicted, "The image was specified as %s, but it appears to be %s"),
    # Anthropic (UPSTREAM 11.5, 22.3, 22.5).
    Refusal(M, foreign_ids, ID_PATTERN),
    Refusal(M, no_object, SCHEMA_PATH + "type: Input should be 'object'"),
    Refusal(M, no_properties, SCHEMA_PATH + "properties: Field required"),
    Refusal(M, top_unions, SCHEMA_PATH + "oneOf, allOf, anyOf are not supported at the top level"),
    Refusal(
        M, marks_in_results, "%s: cache_control may not be specified within tool_result.content"
    ),
    Refusal(M, documents_of_others, "%s.document.source.base64.media_type: 'application/pdf'"),
    Refusal(M, remote_tools, "tools.%d: tool type '%s' is not supported"),
    Refusal(
        M + r"\S+ claude-(sonnet|haiku)-4\.5",
        two_samplers,
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    Refusal(
        M + r"\S+ claude-(opus-4\.7|sonnet-4\.6)",
        has_format,
        "output_config.format: not in allowedPartnerModelFeatures",
    ),
    Refusal(M + r"\S+ claude-sonnet-4\.6", system_roles, 'messages.%d: Unexpected role "system"'),
    Refusal(
        M + r"\S+ claude-(opus|sonnet)-5$",
        wild_effort,
        "effort '%s' is not supported when thinking is disabled",
    ),
    Refusal(ALWAYS_THINKS, disabled, '"thinking.type.disabled" is not supported for this model.'),
    Refusal(
        ALWAYS_THINKS,
        forced_choice,
        'tool_choice: type "tool" and "any" are not supported for this model',
    ),
    Refusal(ALWAYS_THINKS, given_keys("temperature"), "`%s` is deprecated for this model."),
    Refusal(ALWAYS_THINKS, given_keys("top_p", "top_k"), "`%s` is not supported for this model."),
    Refusal(
        M + r"\S+ claude-haiku-5\.5",
        empty_thoughts,
        "%s: each thinking block must contain thinking",
    ),
    Refusal(
        M + r"\S+ claude-sonnet-4\.5",
        lost_thoughts,
        "messages.%d.content.0: Expected `thinking` or `redacted_thinking`, but found `%s`.",
    ),
    # OpenAI (UPSTREAM 9.1, 10.1, 22.4-22.6).
    Refusal(OF_OPENAI, no_object, OF_FUNCTION + "schema must be of 'type: \"object\"'"),
    Refusal(OF_OPENAI, top_unions, OF_FUNCTION + "must not have 'oneOf'/'anyOf'/'allOf' on top"),
    Refusal(OF_OPENAI, no_properties, OF_FUNCTION + "object schema missing properties."),
    Refusal(OF_OPENAI, inner_without_properties, OF_FUNCTION + "object schema missing properties."),
    Refusal(OF_OPENAI, no_items, OF_FUNCTION + "array schema missing items."),
    Refusal(OF_OPENAI, undeclared, OF_FUNCTION + "Extra required key '%s' supplied."),
    Refusal(OF_OPENAI, open_objects, OF_FUNCTION + "'additionalProperties' must be false."),
    Refusal(
        OF_OPENAI,
        optional_properties,
        OF_FUNCTION + "'required' must hold every key. Missing '%s'.",
    ),
    Refusal(C + "OpenAI gpt-5", given_keys("stop"), NO_PARAMETER),
    Refusal(C + "OpenAI gpt-5", given_keys("max_tokens"), NO_PARAMETER),
    Refusal(C + "OpenAI", long_chat_ids, TOO_LONG + "40" + TOO_LONG_END),
    Refusal(C + "Anthropic", odd_chat_ids, ID_PATTERN),
    Refusal(C, no_calls, "Invalid 'messages[%d].tool_calls': empty array."),
    Refusal(R, given_keys("stop"), "Unknown parameter: '%s'."),
    Refusal(R, long_call_ids, TOO_LONG + "64" + TOO_LONG_END),
    Refusal(R, undescribed, "Invalid 'tools[%d].description': empty string."),
    Refusal(R + "OpenAI gpt-5.3-codex", namespaces, "Unknown parameter: 'tools[%d].tools'."),
    # Google gives no reason (UPSTREAM 22.5).
    Refusal(C + "Google", not_for_google, "Bad Request"),
)


def refuse_rows(path, body, entry):
    """Raise the first row of the table that this body meets."""
    subject = "%s %s %s" % (path, entry["vendor"].split()[-1], entry["id"])
    for row in SERVICE_ROWS:
        if not re.match(row.where, subject):
            continue
        for found in row.find(body):
            if "%" in row.words:
                words = row.words % found
            else:
                words = row.words
            raise backend(words) if path == MESSAGES else gateway(words)


MESSAGES_RULES = (_fields, _cache_marks, _tools, _thinking, _content, _pairs, _thoughts)
OPENAI_RULES = {CHAT: (_openai, _chat, _chat_pairs), RESPONSES: (_openai, _responses, _items_in)}
EFFORT = {
    MESSAGES: ("output_config", "effort"),
    CHAT: ("reasoning_effort",),
    RESPONSES: ("reasoning", "effort"),
}


def refuse_body(path, body, entry, betas):
    """Raise what the real service would say about this body, if anything."""
    effort = body
    efforts = entry["capabilities"]["supports"].get("reasoning_effort", [])
    for key in EFFORT[path]:
        effort = (effort or {}).get(key)
    if effort is not None and effort not in efforts:
        raise gateway(
            '%s "%s" is not supported by model %s; supported values: [%s]'
            % (".".join(EFFORT[path]), effort, entry["id"], " ".join(efforts)),
            "invalid_reasoning_effort",
        )
    for rule in MESSAGES_RULES if path == MESSAGES else ():
        for complaint in rule(body, entry, betas):
            raise backend(complaint)
    for rule in OPENAI_RULES.get(path, ()):
        for complaint in rule(body, entry):
            raise gateway(complaint)
    refuse_rows(path, body, entry)
    if any("id" in item for item in body.get("input") or () if isinstance(item, dict)):
        # Ids are good only on the connection that made them: strip them all.
        raise Refused(401, "input item ID does not belong to this connection\n")


LONE = re.compile("[\ud800-\udfff]")


def refuse_surrogates(request, entry):
    """Half a character ends a conversation for ever (UPSTREAM 22.6)."""
    if b"\\ud" not in request.body.lower():
        return
    if LONE.search(json.dumps(request.json, ensure_ascii=False)):
        if entry["vendor"] == "Anthropic":
            raise backend("The request body is not valid JSON: no low surrogate in string")
        raise gateway("failed to parse JSON value")


UNVERIFIED = (
    "The encrypted content %s... could not be verified. Reason: Encrypted content item_id "
    "did not match the target item id."
)


def bound_to(body, at):
    """What thinking at this turn is bound to: all before it but the cache marks."""
    before = [body.get("tools"), body.get("system"), body["messages"][:at]]
    plain = copy.deepcopy(before)
    for _, obj in walk(plain):
        obj.pop("cache_control", None)
    return json.dumps(plain, sort_keys=True)


def has_image(body):
    """Whether an image is anywhere in the body, nested in results too."""
    return any(
        obj.get("type") in ("image", "image_url", "input_image")
        for _, obj in walk(body.get("messages") or body.get("input"))
    )


# ============================================================================
# Fake upstream: how it answers
# ============================================================================
# One Reply in the shapes of UPSTREAM 9.2-9.5, 10.2 and 11.2-11.3.


class Use(NamedTuple):
    """Tokens of one answer."""

    input: int
    output: int
    read: int
    write: int

    @property
    def prompt(self):
        return self.input + self.read + self.write


class Reply(NamedTuple):
    """What the model says, before an endpoint spells it."""

    id: str
    model: str
    text: str
    calls: List[Tuple[str, str, str]]  # id, name, arguments as JSON text
    use: Use
    cost: Dict[str, Any]
    signature: str  # of the thinking, "" when there was none
    cut: bool  # max_tokens ended it
    searched: str  # what the server's own web search looked for
    body: Any  # the request, which the frames of /responses repeat
    fresh: Any  # makes a new opaque id, as Copilot does for every event

    def ending(self, length, calls, stop):
        """Which of the three endings it is."""
        return length if self.cut else calls if self.calls else stop


def thirds(text):
    """A text in up to three pieces."""
    size = len(text) // 3 + 1
    return [text[at : at + size] for at in range(0, len(text), size)]


def data(obj, name=""):
    """One SSE event as upstream writes them: sorted keys, raw UTF-8."""
    text = json.dumps(obj, sort_keys=True, ensure_ascii=False)
    return (("event: %s\n" % name if name else "") + "data: %s\n\n" % text).encode()


def messages_reply(reply):
    """The non-streaming answer of /v1/messages."""
    thought = "I thought." if "haiku" in reply.model else ""  # the others tell none
    if reply.signature:
        content = [{"type": "thinking", "thinking": thought, "signature": reply.signature}]
    else:
        content = []
    content += [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": call, "name": name, "input": json.loads(raw)}
        for call, name, raw in reply.calls
    ]
    use = {
        "input_tokens": reply.use.input,
        "output_tokens": reply.use.output,
        "cache_read_input_tokens": reply.use.read,
        "cache_creation_input_tokens": reply.use.write,
        "inference_geo": "global",
    }
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": reply.model.replace(".", "-"),
        "stop_details": None,
        "usage": use,
        "stop_reason": reply.ending("max_tokens", "tool_use", "end_turn"),
        "stop_sequence": None,
        "copilot_usage": reply.cost,
    }


EMPTY_BLOCK = {
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
}


def messages_stream(reply):
    """The events of /v1/messages."""
    full = messages_reply(reply)
    events = [
        {
            "type": "message_start",
            "message": {
                **full,
                "content": [],
                "stop_reason": None,
                "usage": {**full["usage"], "output_tokens": 1},
            },
        }
    ]
    for index, block in enumerate(full["content"]):
        events += [
            {
                "type": "content_block_start",
                "index": index,
                "content_block": {**block, **EMPTY_BLOCK[block["type"]]},
            }
        ]
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta}
            for delta in _block_deltas(block)
        ]
        events += [{"type": "content_block_stop", "index": index}]
    ending = {key: value for key, value in full.items() if key.startswith("stop_")}
    events += [
        {
            "type": "message_delta",
            "usage": full["usage"],
            "delta": ending,
            "copilot_usage": reply.cost,
        },
        {"type": "message_stop"},
    ]
    return [data(event, event["type"]) for event in events]


def _block_deltas(block):
    if block["type"] == "text":
        return [{"type": "text_delta", "text": t} for t in thirds(block["text"])]
    if block["type"] == "tool_use":
        raw = json.dumps(block["input"], ensure_ascii=False)
        return [{"type": "input_json_delta", "partial_json": t} for t in ["", *thirds(raw)]]
    return [{"type": "thinking_delta", "thinking": t} for t in thirds(block["thinking"])] + [
        {"type": "signature_delta", "signature": block["signature"]}
    ]


SAFE = {
    kind: {"filtered": False, "severity": "safe"}
    for kind in ("hate", "self_harm", "sexual", "violence")
}
ZEROS = {
    "usage": {
        "completion_tokens": 0,
        "prompt_tokens": 0,
        "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0},
        "reasoning_tokens": 0,
    }
}


def _chat_usage(reply):
    use = reply.use  # cache writes are not told on this endpoint
    return {
        "copilot_usage": reply.cost,
        "usage": {
            "prompt_tokens": use.prompt,
            "completion_tokens": use.output,
            "prompt_tokens_details": {"cached_tokens": use.read},
            "total_tokens": use.prompt + use.output,
        },
    }


def _call(index, call="", name="", raw=None):
    made = {"index": index, "function": {}}
    made.update({"id": call, "type": "function"} if call else {})
    made["function"].update({"name": name} if name else {})
    made["function"].update({} if raw is None else {"arguments": raw})
    return {"content": None, "tool_calls": [made]}


def _gpt_chunks(reply):
    yield {
        "choices": [],
        "created": 0,
        "id": "",
        "prompt_filter_results": [{"content_filter_results": SAFE, "prompt_index": 0}],
    }
    yield {"delta": {"content": "", "role": "assistant"}, "content_filter_results": SAFE}
    for text in thirds(reply.text):
        yield {"delta": {"content": text}, "content_filter_results": {}}
    for index, (call, name, raw) in enumerate(reply.calls):
        yield {"delta": {"role": "assistant", **_call(index, call, name, "")}}
        yield from ({"delta": _call(index, raw=text)} for text in thirds(raw))


def _claude_chunks(reply):
    for text in thirds(reply.text):
        yield {"delta": {"content": text, "role": "assistant"}}
    for call, name, raw in reply.calls:  # parallel calls share index 0
        yield {"delta": {"role": "assistant", **_call(0, call, name)}}
        yield from ({"delta": _call(0, raw=text)} for text in ("", raw))


def _gemini_chunks(reply):
    for text in thirds("Let me see."):
        yield {"delta": {"reasoning_text": text, "role": "assistant"}, **ZEROS}
    for text in thirds(reply.text):
        yield {"delta": {"content": text, "role": "assistant"}, **ZEROS}


def _last_chunks(reply):
    """Gemini tells all calls in the finishing chunk and the usage after it."""
    end = {
        "delta": {"content": None},
        "finish_reason": reply.ending("length", "tool_calls", "stop"),
    }
    if not reply.model.startswith("gemini"):
        return [{**end, **_chat_usage(reply)}]
    if reply.calls:
        end["delta"].update(
            reasoning_opaque=reply.signature,
            tool_calls=[_call(at, *call)["tool_calls"][0] for at, call in enumerate(reply.calls)],
        )
    return [{**end, **ZEROS}, {"choices": [], **_chat_usage(reply)}]


def chat_stream(reply):
    """The events of /chat/completions, each vendor with its own habits."""
    chunks = {"claude": _claude_chunks, "gemini": _gemini_chunks}.get(
        reply.model.partition("-")[0], _gpt_chunks
    )
    events = []
    for chunk in [*chunks(reply), *_last_chunks(reply)]:
        made = {"created": 1790000001, "id": reply.id, "model": reply.model}
        made.update((key, chunk.pop(key)) for key in ("usage", "copilot_usage") if key in chunk)
        made.update(chunk if "choices" in chunk else {"choices": [{"index": 0, **chunk}]})
        events.append(data(made))
    return events + [b"data: [DONE]\n\n"]


def chat_reply(reply):
    """The non-streaming answer: Claude splits text and calls into choices (9.5)."""
    text = {"role": "assistant", "content": reply.text or None}
    calls = {
        "role": "assistant",
        "tool_calls": [
            {"id": call, "type": "function", "function": {"name": name, "arguments": raw}}
            for call, name, raw in reply.calls
        ],
    }
    said = [text] * bool(reply.text) + [calls] * bool(reply.calls)
    if not reply.model.startswith("claude"):
        said = [{**calls, **text} if reply.calls else text]
    end = {"finish_reason": reply.ending("length", "tool_calls", "stop")}
    return {
        "choices": [{"message": message, **end} for message in said],
        "id": reply.id,
        "created": 1790000003,
        "model": reply.model,
        **_chat_usage(reply),
    }


def _items(reply):
    if reply.signature:
        yield {
            "type": "reasoning",
            "encrypted_content": reply.signature,
            "summary": (
                [{"type": "summary_text", "text": "Looking at it."}]
                if reply.body["reasoning"].get("summary")
                else []
            ),
        }
    notes = []
    if reply.searched:
        yield {
            "type": "web_search_call",
            "status": "completed",
            "action": {"type": "search", "query": reply.searched},
        }
        notes = [
            {
                "type": "url_citation",
                "url": "https://example.com/found",
                "title": "Found",
                "start_index": 0,
                "end_index": len(reply.text),
            }
        ]
    if reply.text:
        yield {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": reply.text, "annotations": notes}],
        }
    for call, name, raw in reply.calls:
        yield {
            "type": "function_call",
            "status": "completed",
            "call_id": call,
            "name": name,
            "arguments": raw,
        }


EMPTY_ITEM = {
    "reasoning": {"summary": []},
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "web_search_call": {"action": None},
}


def _item_events(item):
    """(kind, fields) between output_item.added and output_item.done."""
    if item["type"] == "web_search_call":
        yield from (
            ("web_search_call." + step, {}) for step in ("in_progress", "searching", "completed")
        )
    elif item["type"] == "function_call":
        yield from _told("function_call_arguments", {}, "arguments", item["arguments"])
    elif item["type"] == "reasoning":
        for part in item["summary"]:
            at = {"summary_index": 0}
            yield "reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
            yield from _told("reasoning_summary_text", at, "text", part["text"])
            yield "reasoning_summary_part.done", {**at, "part": part}
    else:
        part = item["content"][0]
        at = {"content_index": 0}
        yield "content_part.added", {**at, "part": {**part, "text": "", "annotations": []}}
        yield from _told("output_text", {**at, "logprobs": []}, "text", part["text"])
        for number, note in enumerate(part["annotations"]):
            yield "output_text.annotation.added", {
                **at,
                "annotation_index": number,
                "annotation": note,
            }
        yield "content_part.done", {**at, "part": part}


def _told(kind, at, key, text):
    yield from ((kind + ".delta", {**at, "delta": piece}) for piece in thirds(text))
    yield kind + ".done", {**at, key: text}


def responses_reply(reply):
    """The response object of /responses."""
    use = reply.use
    body = reply.body
    fresh = reply.fresh
    if reply.cut:
        cut = {"reason": "max_output_tokens"}
    else:
        cut = None
    return {
        "id": fresh(),
        "object": "response",
        "created_at": 1790000004,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": cut,
        "error": None,
        "model": reply.model,
        "output": [{"id": fresh(), **item} for item in _items(reply)],
        "instructions": body.get("instructions"),
        "tools": body.get("tools", []),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "metadata": {},
        "store": False,
        "usage": {
            "input_tokens": use.prompt,
            "output_tokens": use.output,
            "input_tokens_details": {"cached_tokens": use.read},
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": use.prompt + use.output,
        },
    }


def responses_stream(reply):
    """The events of /responses: an id differs in each, frames repeat all tools."""
    full = responses_reply(reply)
    fresh = reply.fresh
    begun = {
        **full,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    events = [(kind, {"response": {**begun, "id": fresh()}}) for kind in ("created", "in_progress")]
    for at, item in enumerate(full["output"]):
        events.append(
            (
                "output_item.added",
                {
                    "output_index": at,
                    "item": {
                        **item,
                        **EMPTY_ITEM[item["type"]],
                        "id": fresh(),
                        "status": "in_progress",
                    },
                },
            )
        )
        events += [
            (kind, {"item_id": fresh(), "output_index": at, **fields})
            for kind, fields in _item_events(item)
        ]
        events.append(("output_item.done", {"output_index": at, "item": {**item, "id": fresh()}}))
    events.append((full["status"], {"response": full, "copilot_usage": reply.cost}))
    return [
        data({"type": "response." + kind, "sequence_number": number, **fields}, "response." + kind)
        for number, (kind, fields) in enumerate(events)
    ]


WHOLE = {MESSAGES: messages_reply, CHAT: chat_reply, RESPONSES: responses_reply}
STREAM = {MESSAGES: messages_stream, CHAT: chat_stream, RESPONSES: responses_stream}
OVERFLOW = {  # UPSTREAM 15.2
    MESSAGES: lambda n, most: backend(
        "prompt is too long: %d tokens > %d maximum" % (n, most),
        code="model_max_prompt_tokens_exceeded",
    ),
    CHAT: lambda n, most: gateway(
        "prompt token count of %d exceeds the limit of %d" % (n, most),
        "model_max_prompt_tokens_exceeded",
    ),
    RESPONSES: lambda n, most: gateway(
        "Your input exceeds the context window of this model. Please adjust your input "
        "and try again."
    ),
}


# ============================================================================
# Fake upstream: the server
# ============================================================================

RESET, CLOSE, HANG = "RESET", "CLOSE", "HANG"  # pieces that end an answer badly
SSE = {"content-type": "text/event-stream; charset=utf-8"}
MARKER = re.compile(r"E2E:([A-Za-z0-9+/=]+):E2E")
REQUEST = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#-'*+.0-9A-Z^-z|~-]+:[ \t]*[ -~\t\x80-\xff]*\r\n)+)\r\n"
)
# UPSTREAM 5.1: never forwarded. The rest is what a careless copy would add.
NEVER = re.compile(r"x-api-key|x-stainless-.*|transfer-encoding|expect|cookie|origin")


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    headers: List[Tuple[str, str]]
    body: bytes
    json: Any

    def header(self, name):
        """The value of a header, or None."""
        return dict(self.headers).get(name.lower())


def heard(body):
    """The prompt as (role, text) pairs in order; a tool result is ("result", "")."""
    items = body.get("messages") or body.get("input") or body.get("prompt") or []
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    said = []
    for item in items:
        if item.get("role") == "tool" or item.get("type", "").endswith("_output"):
            said.append(("result", ""))
        said += [
            (
                ("result", "")
                if part.get("type") == "tool_result"
                else (item.get("role", ""), part.get("text", ""))
            )
            for part in blocks(item.get("content"))
        ]
    return said


def weigh(obj):
    """About how many tokens a part of a prompt is; base64 and signatures are free."""
    if isinstance(obj, str):
        return len(obj.encode("utf-8", "replace")) / 4
    if isinstance(obj, dict):
        return 1 + sum(
            weigh(value)
            for key, value in obj.items()
            if key not in ("data", "url", "image_url", "signature", "encrypted_content", "type")
        )
    if isinstance(obj, list):
        return sum(map(weigh, obj))
    return 0


def prompt_parts(body):
    """(part, carries a cache mark) in the order in which a prompt cache reads them."""
    parts = [*(body.get("tools") or []), *blocks(body.get("system") or body.get("instructions"))]
    for item in blocks(body.get("input")) + (body.get("messages") or []):
        if "copilot_cache_control" in item or not isinstance(item.get("content"), list):
            parts.append(item)
        else:
            parts += [{"role": item.get("role"), **block} for block in item["content"]]
    marks = ("cache_control", "copilot_cache_control")
    return [
        (
            {key: value for key, value in part.items() if key not in marks},
            any(part.get(mark) for mark in marks),
        )
        for part in parts
    ]


def in_schema(body, text):
    """`text`, or an object of the JSON schema that the client asked for, as a title."""
    for key, inner in (
        ("output_config", "format"),
        ("response_format", "json_schema"),
        ("text", "format"),
    ):
        asked = (body.get(key) or {}).get(inner) or {}
        if asked.get("schema"):
            names = asked["schema"].get("properties", {})
            return json.dumps(dict.fromkeys(names, text))
    return text


def cost_of(entry, use):
    """`copilot_usage` (UPSTREAM 6.2)."""
    prices = entry["billing"]["token_prices"]["default"]
    details = [
        {
            "token_type": kind,
            "token_count": count,
            "batch_size": 1000000,
            "cost_per_batch": prices[price] * 10**9,
        }
        for kind, price, count in (
            ("input", "input_price", use.input),
            ("cache_read", "cache_price", use.read),
            ("cache_write", "cache_write_price", use.write),
            ("output", "output_price", use.output),
        )
    ]
    return {
        "token_details": details,
        "total_nano_aiu": sum(
            one["token_count"] * one["cost_per_batch"] // 1000000 for one in details
        ),
    }


class FakeUpstream:
    """GitHub and Copilot on one port of 127.0.0.1.

    `script[method, path]` holds answers to give first, in order: (status, headers,
    pieces) with pieces of bytes, seconds, an asyncio.Event to wait for, RESET, CLOSE or
    HANG; None is the default behaviour once. Chunked unless the headers say otherwise
    (`content-length: auto` counts; `connection: close` alone ends by closing).
    """

    def __init__(self, plan="pro"):
        self.user, self.auto_only = PLANS[plan]
        self.auto_pool = ["claude-haiku-4.5", "gpt-5-mini"]  # Auto takes the first one
        self.auto_life = 1800
        self.auto_tokens: List[str] = []  # the session tokens given out
        self.auto_chat = True  # chat without a model is served
        self.script: Dict[Tuple[str, str], List[Any]] = collections.defaultdict(list)
        self.requests: List[Asked] = []
        self.faults: List[str] = []  # what a proxy must not send, though it works
        self.gone: List[float] = []  # when a client left in the middle of an answer
        self.mints: List[str] = []  # the Copilot tokens given out
        self.initiators: List[Optional[str]] = []  # X-Initiator of each model request
        # model -> requests, tokens, nano
        self.billed: Dict[str, Any] = collections.defaultdict(collections.Counter)
        self.connections = self.open = 0
        self.models = _catalogue()
        for entry in self.models:
            if self.auto_only:
                entry["model_picker_enabled"] = False
        self.github_tokens = {"ghu_test"}
        self.tokens = set()
        self.token_fields: Dict[str, Any] = {}  # overrides of the token reply
        self.device: List[Any] = ["authorization_pending"]  # polls before the success
        self.interval = 0.1
        self.cut = 0  # cut streams in pieces of this many bytes
        self.pause = 0.0  # seconds between the pieces of a default stream
        self._failed = collections.Counter()
        self._cached: Dict[str, Dict[int, int]] = collections.defaultdict(dict)
        self._opaque: Dict[str, str] = {}
        self._bound: Dict[str, str] = {}  # signature -> what it was made for
        self.blind = False  # the organization has turned vision off
        self._signed = set()
        self._tasks = set()
        self._number = 0
        self._code = ""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        return self

    async def __aexit__(self, kind, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert kind or not self.faults, self.faults

    def asked(self, path):
        """The requests for one path."""
        return [request for request in self.requests if request.path == path]

    def refuse_tokens(self):
        """From now on every Copilot token minted so far is expired."""
        self.tokens.clear()

    def fresh(self):
        """A new opaque id."""
        self._number += 1
        return base64.b64encode(b"opaque id %08d" % self._number).decode()

    # -- the wire ------------------------------------------------------------------

    async def _serve(self, reader, writer):
        self.connections = self.connections + 1
        self.open = self.open + 1
        self._tasks.add(asyncio.current_task())
        coming = sending = asyncio.ensure_future(_first_byte(reader))
        try:
            while await coming:
                request = await self._read(coming.result(), reader)
                coming = asyncio.ensure_future(_first_byte(reader))
                sending = asyncio.ensure_future(self._send(request, writer))
                await asyncio.wait({coming, sending}, return_when="FIRST_COMPLETED")
                if not sending.done() and not coming.result():
                    self.gone.append(time.monotonic())
                    break
                if not await sending:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            self.open -= 1
            self._tasks.discard(asyncio.current_task())
            coming.cancel()
            sending.cancel()
            writer.close()

    async def _read(self, first, reader):
        head = first + await reader.readuntil(b"\r\n\r\n")
        found = REQUEST.fullmatch(head)
        if not found:
            self.faults.append("not HTTP/1.1: %r" % head[:200])
            raise ConnectionError
        method, target, fields = (part.decode("latin-1") for part in found.groups())
        headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in fields.split("\r\n")[:-1])
        ]
        names = [name for name, _ in headers]
        self.faults += ["%s was sent" % name for name in names if NEVER.fullmatch(name)]
        self.faults += ["%s was sent twice" % name for name in set(names) if names.count(name) > 1]
        if ("host", "127.0.0.1:%d" % self.port) not in headers:
            self.faults.append("wrong Host")
        body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
        path = target.partition("?")[0]
        self.requests.append(Asked(method, path, headers, body, self.parse(body)))
        return self.requests[-1]

    def parse(self, body):
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = dict(urllib.parse.parse_qsl(body.decode("latin-1")))
        OVERHEARD.note(parsed)
        return parsed

    async def _send(self, request, writer):
        status, headers, pieces = self.answer(request)
        headers = {"x-github-request-id": "FA4E:%d" % len(self.requests), **dict(headers)}
        if headers.get("content-length") == "auto":
            headers["content-length"] = sum(map(len, pieces))
        chunked = not {"content-length", "connection"} & set(headers)
        if chunked:
            headers["transfer-encoding"] = "chunked"
        writer.write(
            (
                "HTTP/1.1 %d %s\r\n%s\r\n"
                % (
                    status,
                    http_client.responses.get(status, ""),
                    "".join("%s: %s\r\n" % pair for pair in headers.items()),
                )
            ).encode("latin-1")
        )
        for piece in pieces:
            await writer.drain()
            if piece in (RESET, CLOSE):
                if piece == RESET:
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    writer.transport.abort()
                return False
            await self._piece(piece, writer, chunked)
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return "connection" not in headers and request.header("connection") != "close"

    async def _piece(self, piece, writer, chunked):
        if isinstance(piece, (int, float)):
            await asyncio.sleep(piece)
        elif piece == HANG or isinstance(piece, asyncio.Event):
            await (asyncio.Event() if piece == HANG else piece).wait()
        elif piece:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)

    # -- who is asked what ---------------------------------------------------------

    def answer(self, request):
        """The (status, headers, pieces) for a request."""
        if request.path in STREAM:
            self.initiators.append(request.header("x-initiator"))
        script = self.script[request.method, request.path]
        if script:
            scripted = script.pop(0)
        else:
            scripted = None
        if scripted is not None:
            return scripted
        for method, pattern, name in ROUTES:
            if method == request.method and re.fullmatch(pattern, request.path):
                return self._default(request, name)
        return whole(404, "404 page not found\n", "text/plain")

    def _default(self, request, name):
        try:
            if not name.startswith("_github"):
                self._admit(request)
            return getattr(self, name)(request)
        except Refused as no:
            return no.answer
        except (AttributeError, LookupError, TypeError, ValueError) as exc:
            # The rules take the documented shape for granted, as Go's decoder does.
            self.faults.append("malformed %s: %r" % (request.path, exc))
            return gateway("failed to parse request", "").answer

    def _admit(self, request):
        """UPSTREAM 5.1 and 15.2: the headers without which nothing goes."""
        given = request.header("authorization")
        editor = request.header("editor-version")
        if not given:
            raise Refused(400, "bad request: missing Authorization header\n")
        if not editor or not re.fullmatch(r"(vscode|Neovim|Zed)/\S+", editor):
            raise Refused(
                400,
                "bad request: %s Editor-Version header for IDE auth\n"
                % ("unknown" if editor else "missing"),
            )
        if given[:7] != "Bearer " or given[7:] not in self.tokens:
            raise Refused(401, "unauthorized: token expired\n")
        if request.body and request.header("content-type") != "application/json":
            self.faults.append("%s without content-type JSON" % request.path)

    def _github_code(self, request):
        self._code = "dev-%s" % self.fresh()
        return whole(
            200,
            {
                "device_code": self._code,
                "user_code": "WDJB-MJHT",
                "expires_in": 900,
                "verification_uri": self.url + "/login/device",
                "interval": self.interval,
            },
        )

    def _github_poll(self, request):
        asked = request.json
        if asked.get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code":
            said = "unsupported_grant_type"
        elif asked.get("device_code") != self._code:
            said = "incorrect_device_code"
        else:
            if self.device:
                said = self.device.pop(0)
            else:
                said = {"access_token": "ghu_device", "token_type": "bearer", "scope": ""}
        if isinstance(said, str):
            said = {"error": said, "error_description": "The " + said.replace("_", " ")}
        self.github_tokens.add(said.get("access_token"))
        return whole(200, said)

    def _github_admit(self, request):
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or token not in self.github_tokens:
            raise Refused(401, {"message": "Bad credentials", "status": "401"}, "application/json")
        if not re.match("GitHubCopilot|vscode", request.header("user-agent") or ""):
            raise Refused(
                403,
                {
                    "message": "Resource not accessible by integration",
                    "error_details": {
                        "notification_id": "go_http_client",
                        "message": "Upgrade your client.",
                    },
                },
                "application/json",
            )

    def _github_token(self, request):
        self._github_admit(request)
        ends = int(time.time()) + 1800
        sku = self.user["access_type_sku"]
        self.mints.append("tid=fake%d;exp=%d;sku=%s;chat=1:mac" % (len(self.mints), ends, sku))
        self.tokens.add(self.mints[-1])
        return whole(
            200,
            {
                "token": self.mints[-1],
                "expires_at": ends,
                "refresh_in": 1500,
                "sku": sku,
                "endpoints": {"api": self.url, "proxy": self.url, "telemetry": self.url},
                "limited_user_quotas": None,
                **self.token_fields,
            },
        )

    def _github_user(self, request):
        self._github_admit(request)
        return whole(200, {**self.user, "endpoints": {"api": self.url}})

    def _auto_session(self, request):
        if request.json != {"auto_mode": {"model_hints": ["auto"]}}:
            raise gateway("invalid auto mode")
        old = request.header("copilot-session-token")
        if old and old not in self.auto_tokens:
            raise gateway("unknown session token")
        self.auto_tokens.append("auto-%d" % len(self.auto_tokens))
        return whole(
            200,
            {
                "available_models": self.auto_pool,
                "selected_model": self.auto_pool[0],
                "expires_at": int(time.time()) + self.auto_life,
                "discounted_costs": {name: 0.1 for name in self.auto_pool},
                "session_token": self.auto_tokens[-1],
            },
        )

    def _asked_model(self, request):
        """The entry that serves a request; on an Auto-only plan Auto's (22.1)."""
        token = request.header("copilot-session-token")
        name = request.json.get("model")
        if token is not None and (token not in self.auto_tokens or name not in self.auto_pool):
            raise gateway("The requested model is not supported.", "model_not_supported")
        if name is None and request.path == CHAT and self.auto_chat:
            name = next(n for n in self.auto_pool if CHAT in self._find(n)["supported_endpoints"])
        elif self.auto_only and token is None:
            raise gateway("The requested model is not supported.", "model_not_supported")
        return self._find(name, request.path)

    def _models(self, request):
        return whole(200, {"object": "list", "data": self.models})

    def _one_model(self, request):
        return whole(200, self._find(request.path.split("/")[2]))

    def _policy(self, request):
        for entry in self.models:
            if entry["id"] == request.path.split("/")[2]:
                entry["policy"]["state"] = "enabled"
        return whole(200, {})

    def _ping(self, request):
        return whole(200, {})

    def _find(self, name, path=""):
        for entry in self.models:
            names = [entry["id"]]
            if path[:12] == MESSAGES:  # takes both spellings (UPSTREAM 8)
                names.append(str(entry["id"]).replace(".", "-"))
            if name in names and entry.get("policy", {}).get("state") != "disabled":
                return entry
        raise gateway(
            "The requested model is not supported.",
            "model_not_supported",
            param="model",
            type="invalid_request_error",
        )

    # -- inference -----------------------------------------------------------------

    def _embeddings(self, request):
        body = request.json
        if self._find(body["model"]) != EMBEDDER or not isinstance(body["input"], list):
            raise gateway("input must be an array of strings")
        return whole(
            200,
            {
                "data": [
                    {"embedding": [0.25] * body.get("dimensions", 4), "index": at}
                    for at in range(len(body["input"]))
                ],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            },
        )

    def _completion(self, request):
        said = [(text, None) for text in thirds(self.decide(request.json)[0])]
        return (
            200,
            SSE,
            [
                data(
                    {"id": "cmpl-1", "choices": [{"text": text, "index": 0, "finish_reason": why}]}
                )
                for text, why in said + [("", "stop")]
            ]
            + [b"data: [DONE]\n\n"],
        )

    def _count_tokens(self, request):
        self._betas(request)
        entry = self._find(request.json.get("model"), MESSAGES)
        if entry is EMBEDDER:
            raise self._wrong_endpoint(entry, request.path)
        return whole(200, {"input_tokens": max(1, self.weigh(request.json))})

    def weigh(self, body):
        """The prompt's tokens."""
        return int(sum(weigh(part) for part, _ in prompt_parts(body)))

    def _wrong_endpoint(self, entry, path):
        return gateway(
            'model "%s" is not accessible via the %s endpoint' % (entry["id"], path),
            "unsupported_api_for_model",
        )

    def _betas(self, request):
        given = [b.strip() for b in (request.header("anthropic-beta") or "").split(",")]
        unknown = [b for b in given if b and not KNOWN_BETA.fullmatch(b)]
        if unknown:
            raise gateway("unsupported beta header(s): " + ", ".join(unknown))
        return given

    def refuse(self, request, entry):
        """Everything that the real service refuses before the model sees it."""
        body = request.json
        betas = self._betas(request)
        vision = request.header("copilot-vision-request")
        if vision != "true" and has_image(body):
            raise gateway(
                "missing required Copilot-Vision-Request header for vision " "requests", ""
            )
        if vision and not re.search(rb'image|"document"', request.body):
            self.faults.append("Copilot-Vision-Request without an image")
        refuse_surrogates(request, entry)
        refuse_body(request.path, body, entry, betas)
        google = entry["vendor"] == "Google"
        if self.blind and has_image(body):
            raise gateway("vision is not enabled for this organization")
        self._refuse_bound(body, entry)
        for path, obj in walk(body.get("input")):
            if obj.get("type") == "reasoning" and obj["encrypted_content"] not in self._signed:
                raise gateway(UNVERIFIED % obj["encrypted_content"][:8])
        for path, obj in walk(body.get("messages")):
            if obj.get("type") == "thinking" and obj["signature"] not in self._signed:
                raise backend("%s: Invalid `signature` in `thinking` block" % path)
            if google:
                call = (obj.get("tool_calls") or [{}])[0].get("id")
            else:
                call = None
            if self._opaque.get(call, obj.get("reasoning_opaque")) != obj.get("reasoning_opaque"):
                raise gateway("function call is missing its reasoning_opaque")
        tokens = self.weigh(body)
        limits = entry["capabilities"]["limits"]
        if tokens > limits["max_prompt_tokens"]:
            raise OVERFLOW[request.path](tokens, limits["max_prompt_tokens"])

    def _refuse_bound(self, body, entry):
        """The 5.5 generation binds thinking to all that stands before it (22.3)."""
        if "-5.5" not in entry["id"] or entry["vendor"] != "Anthropic":
            return
        for at, message in enumerate(body["messages"]):
            for block in blocks(message.get("content")):
                bound = self._bound.get(block.get("signature"))
                if bound not in (None, bound_to(body, at)):
                    raise backend("The block is bound to a different conversation")

    def _infer(self, request):
        body = request.json
        path = request.path
        entry = self._asked_model(request)
        if entry is EMBEDDER or path not in entry.get("supported_endpoints", [CHAT]):
            raise self._wrong_endpoint(entry, path)
        self.refuse(request, entry)
        reply = self._reply(path, body, entry)
        self.billed[entry["id"]].update(
            requests=1,
            tokens=reply.use.prompt + reply.use.output,
            nano=reply.cost["total_nano_aiu"],
        )
        if not body.get("stream"):
            return whole(200, {"copilot_usage": reply.cost, **WHOLE[path](reply)})
        events = STREAM[path](reply)
        if self.cut:
            raw = b"".join(events)
            events = [raw[at : at + self.cut] for at in range(0, len(raw), self.cut)]
        return 200, SSE, [piece for event in events for piece in (event, self.pause) if piece]

    def _reply(self, path, body, entry):
        text, wanted, searched = self.decide(body)
        google = entry["vendor"] == "Google"
        claude = entry["vendor"] == "Anthropic"
        prefix = "toolu_" if path == MESSAGES else "tooluse_" if claude else "call_"
        calls = [
            (
                "%s%s" % (prefix, self.fresh()[-8:].strip("=")),
                call["name"],
                json.dumps(call["input"], ensure_ascii=False),
            )
            for call in wanted
        ]
        thinks = (
            google
            or body.get("reasoning")
            or (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        )
        if thinks:
            signature = "Eq" + self.fresh()
        else:
            signature = ""
        self._signed.add(signature)
        if path == MESSAGES:
            self._bound[signature] = bound_to(body, len(body["messages"]))
        self._opaque.update({call: signature for call, _, _ in calls if google})
        most = 4 * (
            body.get("max_tokens")
            or body.get("max_output_tokens")
            or body.get("max_completion_tokens")
            or 1 << 30
        )
        output = 1 + (len(text[:most]) + sum(len(raw) for _, _, raw in calls)) // 4
        use = self._use(body, entry, output)
        return Reply(
            "msg_%06d" % len(self.requests),
            entry["id"],
            text[:most],
            calls,
            use,
            cost_of(entry, use),
            signature,
            len(text) > most,
            searched,
            body,
            self.fresh,
        )

    def _use(self, body, entry, output):
        """Tokens with a prompt cache: Claude's follows the marks, others need none."""
        total = 0.0
        key = 0
        read = 0
        keep = 0
        seen = self._cached[entry["id"]]
        fresh = {}
        claude = entry["vendor"] == "Anthropic"
        for part, marked in prompt_parts(body):
            total += weigh(part)
            key = hash((key, json.dumps(part, sort_keys=True)))
            fresh[key] = int(total)
            read = seen.get(key, read)
            if marked or not claude:
                keep = int(total)
            else:
                keep = keep
        seen.update({k: tokens for k, tokens in fresh.items() if tokens <= keep})
        if claude:
            write = max(0, keep - read)
        else:
            write = 0
        return Use(max(1, int(total)) - read - write, output, read, write)

    def decide(self, body):
        """The rule of shared/e2e/README.md: (text, calls, web search query)."""
        said = heard(body)
        tools = [tool.get("function") or tool for tool in body.get("tools") or []]
        names = {tool.get("name") for tool in tools}
        marks = [
            (at, found)
            for at, (role, text) in enumerate(said)
            if role == "user"
            for found in MARKER.findall(text)
        ]
        if not marks:
            web = any(t.get("type", "").startswith("web_search") for t in tools)
            text, calls = self.plain(said, names)
            return in_schema(body, text), calls, said[-1][1][-80:] if web else ""
        at = marks[-1][0]
        spec = json.loads(base64.b64decode(marks[-1][1]))
        fails = spec.get("fail", [])
        used = self._failed[spec["id"]]
        if used < len(fails):
            self._failed[spec["id"]] += 1
            raise Refused(
                fails[used]["status"],
                fails[used].get("body", ""),
                "application/json",
                **fails[used].get("headers", {}),
            )
        wanted = {call["name"] for call in spec["calls"]}
        if wanted and names >= wanted and ("result", "") not in said[at:]:
            return "", spec["calls"], ""
        return in_schema(body, spec["final"]), [], ""

    def plain(self, said, names):
        """(text, calls) for a prompt without a marker; the try-out mode says more."""
        return "ok", []


async def _first_byte(reader):
    try:
        return await reader.read(1)
    except ConnectionError:
        return b""


ROUTES = (
    ("POST", "/login/device/code", "_github_code"),
    ("POST", "/login/oauth/access_token", "_github_poll"),
    ("GET", "/copilot_internal/v2/token", "_github_token"),
    ("GET", "/copilot_internal/user", "_github_user"),
    ("GET", "/models", "_models"),
    ("GET", "/models/[^/]+", "_one_model"),
    ("POST", "/models/session", "_auto_session"),
    ("POST", "/models/[^/]+/policy", "_policy"),
    ("GET", "/_ping", "_ping"),
    ("POST", "/embeddings", "_embeddings"),
    ("POST", "/v1/engines/[^/]+/completions", "_completion"),
    ("POST", "/v1/messages/count_tokens", "_count_tokens"),
    ("POST", "/v1/messages|/chat/completions|/responses", "_infer"),
)


class Proxy:
    """The product in this process, on a free port, in front of a FakeUpstream."""

    def __init__(self, up, **settings):
        self._folder = tempfile.mkdtemp(prefix="proxy-test-")
        self.token_file = os.path.join(self._folder, "tokens.json")
        self._settings = {
            "github_url": up.url,
            "github_api_url": up.url,
            "github_token": "ghu_test",
            "port": 0,
            "token_file": self.token_file,
            "rate_limit_default": 0,
            "rate_limit_chat_completions": 0,
            **settings,
        }

    async def __aenter__(self):
        self.program = cp.Program(cp.Config(**self._settings))
        self.port = await self.program.start()
        self.url = "http://127.0.0.1:%d" % self.port
        return self

    async def __aexit__(self, *_):
        try:
            await self.program.close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def ask(self, method, path, body=None, headers=()):
        """One request to the proxy."""
        return await ask(self.port, method, path, body, headers)


# ============================================================================
# 0. House rules
# ============================================================================
# Read off the tokens and the syntax tree: what a reviewer would otherwise have to look
# for by eye. CONTRIBUTING says why; a number is changed there and here, with its reason.

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = pathlib.Path(cp.__file__).read_text("utf-8")
TEST_SOURCE = pathlib.Path(__file__).read_text("utf-8")
TREE = ast.parse(SOURCE)
LINES = SOURCE.splitlines()
BANNER = re.compile(r"^# =+\n# (\d+)\. (.+)\n# =+$", re.MULTILINE)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION = FUNCTION + (ast.ClassDef,)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.BoolOp, ast.ExceptHandler)
NESTED = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
# What gives a comment away as a reason: a cause, a duty, a precedent or somebody's need.
REASON = re.compile(
    r"\b(because|so|must|avoid\w*|since|instead|RFC|bug|clients?|else|otherwise|never|seen"
    r"|refus\w+|cannot|lest|UPSTREAM|CLIENTS)\b",
    re.IGNORECASE,
)
VAGUE = ("x", "told", "said", "asked", "obj2", "thing", "stuff", "tmp")


def rooms(text):
    """[(number, title, first line, last line)] of a file's banners."""
    found = [(int(m[1]), m[2], text.count("\n", 0, m.start()) + 1) for m in BANNER.finditer(text)]
    ends = [start - 1 for _, _, start in found[1:]] + [text.count("\n") + 1]
    return [(n, title, start, end) for (n, title, start), end in zip(found, ends)]


ROOMS = rooms(SOURCE)
NODES = list(ast.walk(TREE))  # the walk is what takes the time of most rules
FUNCTIONS = [n for n in NODES if isinstance(n, FUNCTION)]


def room_of(line):
    return max((n for n, _, start, _ in ROOMS if start <= line), default=0)


def without_docstring(node):
    has_code = ast.get_docstring(node) is not None and len(node.body) > 1
    if has_code:
        return node.body[1:]
    return node.body


def body_lines(node):
    body = without_docstring(node)
    return body[-1].end_lineno - body[0].lineno + 1


def docstring_lines(nodes):
    """The numbers of all lines on which a docstring stands."""
    found = set()
    for node in nodes:
        if isinstance(node, DEFINITION + (ast.Module,)) and ast.get_docstring(node) is not None:
            found.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def annotations(nodes):
    """{line: [(start, end)]} of all annotations: they are not counted as code."""
    found = collections.defaultdict(list)
    for node in nodes:
        for name in ("annotation", "returns"):
            note = getattr(node, name, None)
            if not isinstance(note, ast.expr):
                continue
            end = (note.end_lineno, note.end_col_offset)
            for line in range(note.lineno, note.end_lineno + 1):
                found[line].append(((note.lineno, note.col_offset), end))
    return found


class Density:
    """Size and density of one file, without comments, docstrings and annotations."""

    def __init__(self, source, nodes):
        docs = docstring_lines(nodes)
        notes = annotations(nodes)
        self.tokens = 0
        self.comments = []
        self.docstrings = []
        code_lines = set()
        inside = 0  # an f-string is one token, though Python 3.12 and newer cut it up
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            line = token.start[0]
            kind = tokenize.tok_name[token.type]
            inside -= kind == "FSTRING_END"
            within = inside
            inside += kind == "FSTRING_START"
            if within or kind == "FSTRING_END":
                continue
            if token.type == tokenize.COMMENT:
                if not re.match(r"# ?[=~-]{3}", token.string):
                    self.comments.append(token)
            elif token.type in LAYOUT:
                continue
            elif token.type == tokenize.STRING and line in docs:
                self.docstrings.append(token)
            elif any(start <= token.start < end for start, end in notes[line]):
                continue
            else:
                self.tokens += 1
                code_lines.update(range(line, token.end[0] + 1))
        self.code_lines = len(code_lines)
        alone = [t for t in self.comments if t.start[0] not in code_lines]
        self.comment_share = len(self.comments) / (len(code_lines) + len(alone))
        self.count(nodes)

    def count(self, nodes):
        """Count what makes a statement dense, for 1,000 statements."""
        kinds = collections.Counter(map(type, nodes))
        statements = [n for n in nodes if isinstance(n, ast.stmt)]
        thousand = len(statements) / 1000
        self.ternaries = kinds[ast.IfExp] / thousand
        self.packed = sum(map(is_packed, statements)) / thousand
        self.comprehensions = sum(kinds[kind] for kind in COMPREHENSION) / thousand


def statement_sizes(nodes):
    """How many expressions each statement without a body has, sorted."""
    found = []
    for node in nodes:
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            found.append(sum(isinstance(part, ast.expr) for part in ast.walk(node)))
    return sorted(found)


def is_packed(node):
    """Whether it is an assignment like `a, b = 1, 2`."""
    if not isinstance(node, ast.Assign):
        return False
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def branches(function):
    count = 0
    for node in ast.walk(function):
        count += isinstance(node, BRANCHES)
        if isinstance(node, ast.comprehension):
            count += len(node.ifs)
    return count


def nesting(node, depth=0):
    here = []
    for name in ("body", "orelse", "finalbody", "handlers"):
        for child in getattr(node, name, []) or []:
            elif_ = name == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If)
            step = isinstance(child, NESTED) and not elif_
            here.append(nesting(child, depth + step))
    return max(here, default=depth)


def arguments_of(function):
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return [a for a in arguments if a.arg not in ("self", "cls")]


def long_closures(function):
    inner = [n for n in ast.walk(function) if isinstance(n, FUNCTION) and n is not function]
    return [n for n in inner if body_lines(n) > 5]


def definitions():
    """{name: [nodes]} of all functions, methods and classes but the special ones."""
    found = collections.defaultdict(list)
    for node in NODES:
        if isinstance(node, DEFINITION) and not node.name.startswith("__"):
            found[node.name].append(node)
    return found


def shared_private_names():
    """Private functions and methods that share their name with another one."""
    return [n for n, nodes in definitions().items() if n.startswith("_") and len(nodes) > 1]


def twins():
    """Classes that a private function, or another class, is called after."""
    names = definitions()
    classes = {n for n, nodes in names.items() if isinstance(nodes[0], ast.ClassDef)}
    lowered = {n.strip("_").lower(): n for n in classes}
    found = []
    for name in names:
        other = lowered.get(name.strip("_").lower(), name)
        if other != name and (name in classes or name.startswith("_")):
            found.append((other, name))
    return found


def vague_names():
    found = []
    for node in NODES:
        for attribute in ("id", "arg", "attr"):
            if getattr(node, attribute, None) in VAGUE:
                found.append((getattr(node, attribute), node.lineno))
    return found


def called_before_defined():
    """Functions and classes of a room that stand below their first user in that room."""
    lines = {n.name: n.lineno for n in TREE.body if isinstance(n, DEFINITION)}
    found = set()
    for node in TREE.body:
        for used in ast.walk(node):
            if isinstance(used, ast.Name) and lines.get(used.id, 0) > node.lineno:
                found.add(used.id)
    return found


# Pages that a reader of the repository does not have, and numbers without a page.
UNRESOLVED = re.compile(
    r"\b(?:SPEC|DESIGN|RELIABILITY|PERFORMANCE|CASES|RESPONSES|TOKENS)\b(?:\.md)?,? [A-Z]?\d"
    r"|\(\d{1,2}\.\d{1,2}[,)]"
)


def unresolved_citations():
    found = []
    for token in product().comments + product().docstrings:
        found += [(token.start[0], words) for words in UNRESOLVED.findall(token.string)]
    return found


# How much it may be today, which only falls; how much it shall be. The rooms are being
# rewritten one by one: who lands one lowers the first number.
HOUSE = {
    # Annotations are no code: the anchors that the numbers come from have none. So neither
    # are their arrows and colons; the second row counts those, as the script does that
    # leaves out the types alone.
    "tokens": (68750, 69000),
    "tokens, and the arrows and colons of annotations": (71150, 69000),
    "lines": (12650, 11000),
    "tokens a code line": (8.5, 8.5),
    "ternaries in 1,000 statements": (25, 25),
    "packed assignments in 1,000 statements": (8, 8),
    "comprehensions in 1,000 statements": (30, 30),
    "expressions in a statement, mean": (6.0, 6.0),
    "expressions in a statement, 99 of 100": (24, 24),
    "comments, least share": (-0.08, -0.08),
    "comments, largest share": (0.18, 0.18),
    "lines of a function, median": (8, 8),
    "lines of a function, 95 of 100": (35, 35),
    "lines of a function, most": (60, 60),
    "functions nested deeper than 3": (0, 0),
    "functions of over 6 parameters": (0, 0),
    "closures of over 5 lines": (0, 0),
    "private names of two things": (6, 6),
    "classes with a twin": (0, 0),
    "names that say nothing": (0, 10),
    "called before defined": (4, 4),
    "citations that do not resolve": (0, 0),
    "tests: tokens a code line": (10, 10),
    "tests: ternaries in 1,000 statements": (20, 20),
    "tests: packed assignments in 1,000 statements": (10, 10),
}


@functools.lru_cache(maxsize=None)
def product():
    return Density(SOURCE, NODES)


def annotation_marks(nodes):
    """How many arrows and colons stand before annotations."""
    results = sum(isinstance(n, FUNCTION) and n.returns is not None for n in nodes)
    parameters = sum(isinstance(n, ast.arg) and n.annotation is not None for n in nodes)
    return results + parameters + sum(isinstance(n, ast.AnnAssign) for n in nodes)


@functools.lru_cache(maxsize=None)
def measured_tests():
    tests = Density(TEST_SOURCE, list(ast.walk(ast.parse(TEST_SOURCE))))
    return {
        "tests: tokens a code line": tests.tokens / tests.code_lines,
        "tests: ternaries in 1,000 statements": tests.ternaries,
        "tests: packed assignments in 1,000 statements": tests.packed,
    }


@functools.lru_cache(maxsize=None)
def measured():
    """What the names of HOUSE stand for, but for those of the tests."""
    sizes = sorted(body_lines(f) for f in FUNCTIONS)
    spread = statement_sizes(NODES)
    return {
        "tokens": product().tokens - annotation_marks(NODES),
        "tokens, and the arrows and colons of annotations": product().tokens,
        "lines": len(LINES),
        "tokens a code line": product().tokens / product().code_lines,
        "ternaries in 1,000 statements": product().ternaries,
        "packed assignments in 1,000 statements": product().packed,
        "comprehensions in 1,000 statements": product().comprehensions,
        "expressions in a statement, mean": sum(spread) / len(spread),
        "expressions in a statement, 99 of 100": spread[int(len(spread) * 0.99)],
        "comments, least share": -product().comment_share,
        "comments, largest share": product().comment_share,
        "lines of a function, median": sizes[len(sizes) // 2],
        "lines of a function, 95 of 100": sizes[int(len(sizes) * 0.95)],
        "lines of a function, most": sizes[-1],
        "functions nested deeper than 3": sum(nesting(f) > 3 for f in FUNCTIONS),
        "functions of over 6 parameters": sum(len(arguments_of(f)) > 6 for f in FUNCTIONS),
        "closures of over 5 lines": sum(map(len, map(long_closures, FUNCTIONS))),
        "private names of two things": len(shared_private_names()),
        "classes with a twin": len(twins()),
        "names that say nothing": len(vague_names()),
        "called before defined": len(called_before_defined()),
        "citations that do not resolve": len(unresolved_citations()),
    }


@pytest.mark.parametrize("name", HOUSE)
def test_house_numbers(name):
    figures = measured_tests() if name.startswith("tests: ") else measured()
    assert figures[name] <= max(HOUSE[name])


def test_house_lines_are_narrow():
    wide = []
    for number, line in enumerate(LINES, 1):
        if len(line) > 88 and room_of(number) != 19:  # a page of HTML has its own lines
            wide.append(number)
    assert wide == []


def test_house_map_is_the_banners_and_the_tests_mirror_them():
    doc = re.findall(r"^ +(\d+)  (.+?)(?:  .*)?$", ast.get_docstring(TREE), re.MULTILINE)
    assert [(int(n), title) for n, title in doc] == [(n, title) for n, title, *_ in ROOMS]
    mirror = {number: title for number, title, *_ in rooms(TEST_SOURCE)}
    for number, title, *_ in ROOMS[1:]:
        assert mirror.get(number) == title, (number, title)


def test_house_functions_are_simple_and_typed():
    for function in FUNCTIONS:
        most = 20 if nesting(function) <= 1 else 15  # a flat chain of ifs reads well
        assert branches(function) <= most, (function.name, function.lineno)
        for argument in arguments_of(function):
            assert argument.annotation is not None, (function.name, argument.arg)
        assert function.returns is not None, function.name


def defined(node):
    """The names that a top-level statement binds."""
    if isinstance(node, DEFINITION):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets = node.targets
    else:
        targets = [getattr(node, "target", None)]
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def test_house_no_name_is_bound_twice():
    bound = collections.Counter()
    for node in TREE.body:
        if not isinstance(node, ast.AugAssign):
            bound.update(set(defined(node)))
    assert [name for name, count in bound.items() if count > 1] == []
    for owner in NODES:
        if isinstance(owner, ast.ClassDef):
            methods = [n for n in owner.body if isinstance(n, FUNCTION) and not n.decorator_list]
            names = [n.name for n in methods]
            assert len(names) == len(set(names)), owner.name


def test_house_rooms_use_only_rooms_above():
    home = {name: room_of(node.lineno) for node in TREE.body for name in defined(node)}
    for node in TREE.body:
        here = room_of(node.lineno)
        for used in ast.walk(node):
            if isinstance(used, ast.Name) and home.get(used.id, 0) > here:
                raise AssertionError(
                    "room %d uses %s of room %d (line %d)"
                    % (here, used.id, home[used.id], used.lineno)
                )


def test_house_charters_tell_what_a_room_uses():
    home = {name: room_of(node.lineno) for node in TREE.body for name in defined(node)}
    for number, title, start, end in ROOMS[1:]:
        used = {
            home[n.id]
            for node in TREE.body
            if start <= node.lineno <= end
            for n in ast.walk(node)
            if isinstance(n, ast.Name) and n.id in home
        }
        charter = "\n".join(LINES[start + 2 : start + 14])
        uses = re.search(r" uses: ([\d, -]+|none)$", charter, re.MULTILINE)
        assert uses, "room %d tells no uses" % number
        numbers = set()
        for part in re.findall(r"\d+-\d+|\d+", uses.group(1)):
            low, _, high = part.partition("-")
            numbers |= set(range(int(low), int(high or low) + 1))
        assert used - {number} == numbers, (number, title, sorted(used - {number}))


IMPURE = {
    "asyncio",
    "os",
    "socket",
    "ssl",
    "time",
    "random",
    "secrets",
    "tempfile",
    "signal",
    "shutil",
    "subprocess",
    "open",
    "print",
}


def test_house_waterline():
    surface = next(i for i, line in enumerate(LINES, 1) if line.startswith("# ~~~") and i > 90)
    assert room_of(surface - 3) == 13 and room_of(surface + 4) == 14
    for node in NODES:
        line = getattr(node, "lineno", surface)
        if line >= surface or room_of(line) in (0, 3):  # 3 formats the time of a record
            continue
        assert not isinstance(node, (ast.Await, ast.AsyncFunctionDef)), line
        if isinstance(node, ast.Name):
            assert node.id not in IMPURE, (node.id, line)


def test_house_two_broad_excepts_no_leftovers():
    broad = [
        n.lineno
        for n in NODES
        if isinstance(n, ast.ExceptHandler)
        and (n.type is None or getattr(n.type, "id", "") in ("Exception", "BaseException"))
    ]
    assert len(broad) <= 2, broad
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", SOURCE)
    prints = [
        n.lineno
        for n in NODES
        if isinstance(n, ast.Call)
        and getattr(n.func, "id", "") == "print"
        and room_of(n.lineno) != 20
    ]
    assert prints == []


def test_house_no_changing_globals_and_no_silent_drop():
    assert not [n for n in NODES if isinstance(n, ast.Global)]
    for node in TREE.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            for name in defined(node):  # a constant, or a NamedTuple-like value
                assert name == name.upper() or name.startswith("_") or name.islower(), name
    for number, _, start, end in ROOMS:
        if number in (9, 10, 11, 12):  # a translator never skips what it does not know
            text = "\n".join(LINES[start - 1 : end])
            assert not re.search(r"else:\s*(#[^\n]*\n\s*)*continue", text), number


def test_house_classes_are_shallow():
    classes = {n.name: n for n in TREE.body if isinstance(n, ast.ClassDef)}
    for owner in classes.values():
        parents = [classes[base.id] for base in owner.bases if getattr(base, "id", "") in classes]
        above = [b.id for p in parents for b in p.bases if getattr(b, "id", "") in classes]
        is_error = owner.lineno < ROOMS[3][2]  # errors are a small tree (room 2)
        assert above == [] or is_error, owner.name
        tuples = [base for base in owner.bases if getattr(base, "id", "") == "NamedTuple"]
        for node in owner.body:
            value = getattr(node, "value", None)
            mutable = isinstance(value, (ast.List, ast.Dict, ast.Set))  # one for all objects
            if mutable:
                names = [name for name in defined(node) if not name.isupper()]
            else:
                names = []
            assert tuples or names == [], (owner.name, node.lineno)


def test_house_python_floor():
    ast.parse(SOURCE, feature_version=(3, 9))
    late = r"asyncio\.(timeout|TaskGroup|Runner)\b|strict=True|\bStrEnum\b|datetime\.UTC"
    assert re.findall(late, SOURCE) == []


@pytest.mark.skipif(not hasattr(sys, "stdlib_module_names"), reason="needs Python 3.10")
def test_house_standard_library_only():
    for node in NODES:
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else ([node.module] if isinstance(node, ast.ImportFrom) else [])
        )
        known = {*sys.stdlib_module_names, "compression"}  # of Python 3.14
        assert all(n.split(".")[0] in known for n in names), names


def test_house_imports_are_used():
    imported = [
        a.asname or a.name
        for n in TREE.body
        for a in getattr(n, "names", [])
        if isinstance(n, (ast.Import, ast.ImportFrom)) and getattr(n, "module", "") != "__future__"
    ]
    for name in imported:
        assert re.search(
            r"\b%s\b" % re.escape(name.split(".")[0]), SOURCE.split("__version__", 1)[1]
        ), name


def test_house_comments_give_reasons_and_docstrings_are_there():
    reasons = [t for t in product().comments if REASON.search(t.string)]
    assert len(reasons) >= 0.3 * len(product().comments)
    public = [n for n in TREE.body if isinstance(n, DEFINITION) and not n.name.startswith("_")]
    assert [n.name for n in public if ast.get_docstring(n) is None] == []


# -- documents that cannot drift ---------------------------------------------


def document(name):
    path = os.path.join(HERE, name)
    if not os.path.exists(path):
        pytest.skip("%s is not beside the test" % name)
    return pathlib.Path(path).read_text("utf-8")


CITATION = re.compile(r"\b(UPSTREAM|CLIENTS)((?: \d+(?:\.\d+)*(?:[-,;]| and)?)+)")


def headings(page):
    text = document(".github/%s.md" % page)
    return set(re.findall(r"^#+ (\d+(?:\.\d+)*)", text, re.MULTILINE))


def cited(text):
    """[(page, section)] of all citations in a text: `UPSTREAM 4-7, 12` cites five."""
    found = []
    for page, numbers in CITATION.findall(text):
        found += [(page, number) for number in re.findall(r"\d+(?:\.\d+)*", numbers)]
    return found


@pytest.mark.parametrize("name", ["copilot_proxy.py", "README.md", ".github/CONTRIBUTING.md"])
def test_docs_citations_resolve(name):
    text = re.sub(r"\s+#? *", " ", document(name))  # a citation may be wrapped
    known = {page: headings(page) for page in ("UPSTREAM", "CLIENTS")}
    assert [(page, n) for page, n in cited(text) if n not in known[page]] == []


def test_docs_pages_cite_themselves_rightly():
    for page in ("UPSTREAM", "CLIENTS"):
        known = headings(page)
        inside = re.findall(r"\((\d+\.\d+)\)", document(".github/%s.md" % page))
        assert [number for number in inside if number not in known] == [], page


def test_docs_settings():
    readme = document("README.md")
    example = document(".env.example")
    for name in cp.SETTINGS:
        assert "`%s`" % name in readme, name
        assert re.search(r"^#? ?%s=" % name, example, re.MULTILINE), name
    named = set(re.findall(r"^#? ?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    assert named == set(cp.SETTINGS)
    cp.Config.from_env(cp.parse_dotenv(example)[0])  # as it stands it starts
    live = re.sub(r"^# ?(?=[A-Z_]+=)", "", example, flags=re.MULTILINE)
    told = cp.Config.from_env(cp.parse_dotenv(live)[0])  # the shown values are the defaults
    default = cp.Config()
    for name in cp.SETTINGS:
        assert getattr(told, name.lower()) == getattr(default, name.lower()), name


def test_docs_routes_and_verbs():
    readme = document("README.md")
    for route in cp.ROUTES:
        assert "`%s %s`" % (route.method, route.path) in readme, route
    for verb in cp.VERBS:
        assert "`%s`" % verb in readme or "copilot_proxy.py %s" % verb in readme, verb
    assert len(readme.splitlines()) <= 320


def test_docs_troubleshooting_has_every_advice():
    readme = document("README.md")
    for row in cp.ADVICE:
        assert row.text in readme, row.text


# ============================================================================
# 1. Config
# ============================================================================

DOTENV_CASES = [
    ("plain", "A=1\nB=two words \n", {"A": "1", "B": "two words"}),
    ("export, BOM, CRLF", "\ufeffexport A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ("quotes", 'A=\'x # y\'\nB="p\\nq \\"r\\""\n', {"A": "x # y", "B": 'p\nq "r"'}),
    ("comments", "# A=1\nA=b # c\nB=a#b\n", {"A": "b", "B": "a#b"}),
    ("empty and junk", "A=\njunk\n=x\n1A=2\n", {"A": ""}),
    ("last wins", "A=1\nA=2", {"A": "2"}),
    ("spaces", "  A = 1  ", {"A": "1"}),
]


@pytest.mark.parametrize("name, text, expected", DOTENV_CASES)
def test_config_dotenv(name, text, expected):
    assert cp.parse_dotenv(text)[0] == expected


DOTENV_ODD_CASES = [
    ("right", "A=1\n\n# x\n  export B = 'c' # d\nC=it's\n", []),
    ("no equals", "A=1\nPORT 8082\n", [2]),
    ("no name", "=1\n2B=1\nA-B=1\nexport=\nexport A B=1\n", [1, 2, 3, 5]),
    ("open quote", "A='x\nB=\"y\\\"\nC='a' b\n", [1, 2, 3]),
    ("not a name's letters", "\u00c4=1\n", [1]),
]


@pytest.mark.parametrize("name, text, expected", DOTENV_ODD_CASES)
def test_config_dotenv_tells_lines_that_are_no_assignment(name, text, expected):
    assert cp.parse_dotenv(text)[1] == expected


DOTENV_LONG = ["A=%s#", "A%s", "export%sA=1", "A='%s", 'A="%s', "A=x%sx#", "A='' %s#"]


@pytest.mark.parametrize("form", DOTENV_LONG)
def test_config_dotenv_is_linear(form):
    def took(text):
        began = time.perf_counter()
        cp.parse_dotenv(text)
        return time.perf_counter() - began

    for fill in (" ", "\\a", "' ", "\t#"):
        assert took(form % (fill * 200_000)) < 0.5, fill


NEAR_MISSES = [
    ("PROT", "PORT"),
    ("PORTS", "PORT"),
    ("API_KEYS", "API_KEY"),
    ("APIKEY", "API_KEY"),
    ("GITHUB_TOKENN", "GITHUB_TOKEN"),
    ("LOG_LEVLE", "LOG_LEVEL"),
    ("port", "PORT"),
    ("TOKEN_FILE", ""),
    ("https_proxy", ""),
    ("FTP_PROXY", ""),
    ("HOME", ""),
    ("PATH", ""),
    ("HOSTNAME", ""),
    ("GITHUB_PAT", ""),
    ("A" * 100_000, ""),
]


@pytest.mark.parametrize("name, meant", NEAR_MISSES, ids=short)
def test_config_knows_names_that_are_nearly_ours(name, meant):
    assert cp.near_misses([name]) == ([(name, meant)] if meant else [])


BAD_SETTINGS = [
    ("PORT", "x", "a whole number from 0 to 65535"),
    ("PORT", "65536", "65535"),
    ("PORT", "1_0", "whole"),
    ("PORT", "٣", "whole"),
    ("PORT", "8.5", "whole"),
    ("LOG_LEVEL", "loud", "error or warn or info or debug"),
    ("WEB_SEARCH", "maybe", "on or off"),
    ("IDLE_TIMEOUT", "inf", "a number"),
    ("IDLE_TIMEOUT", "nan", "a number"),
    ("GITHUB_URL", "github.com", "https://host"),
    ("COPILOT_API_URL", "https://x/?a", "https://host"),
    ("COPILOT_API_URL", "http://copilot.example", "https://"),
    ("GITHUB_API_URL", "http://127.0.0.1.evil.example", "https://"),
    ("GITHUB_API_URL", "http://localhost@evil.example", "https://host"),
    ("GITHUB_API_URL", "https://user:pw@host", "https://host"),
    ("GITHUB_URL", "http://github.com", "https://"),
    ("GITHUB_URL", "https://[::1", "https://host"),
    ("GITHUB_URL", "https://host:99999", "https://host"),
    ("MODEL_MAP", "opus", "claude-haiku-*=gpt-5-mini"),
    ("MODEL_MAP", "opus=,a=b", "claude-haiku-*=gpt-5-mini"),
    ("API_KEY", "a\nb", "control"),
    ("MAX_BODY_MB", "0", "from 1"),
    ("CREDIT_BUDGET", "-1", "a number"),
]


@pytest.mark.parametrize("name, raw, allowed", BAD_SETTINGS)
def test_config_bad_value_is_one_clear_line(name, raw, allowed):
    with pytest.raises(cp.ConfigError) as caught:
        cp.Config.from_env({name: raw})
    text = str(caught.value)
    assert text.startswith(name + "=") and allowed in text and "\n" not in text
    assert (raw in text) is (name not in cp.SECRET_SETTINGS and raw.isascii()) or "\n" in raw


def test_config_defaults_tenant_and_secrets():
    config = cp.Config.from_env(
        {
            "GITHUB_TOKEN": "ghu_secret",
            "https_proxy": "http://u:pw@h:1",
            "API_KEY": "",
            "UNKNOWN": "1",
            "PORT": " 0 ",
        }
    )
    assert (config.port, config.host, config.https_proxy) == (0, "127.0.0.1", "http://u:pw@h:1")
    assert config.github_api_url == "https://api.github.com"
    assert "ghu_secret" not in repr(config) and "pw" not in repr(config)
    assert (config.rate_limit_default, config.rate_limit_chat_completions) == (0, 0)
    assert cp.Config.from_env({"MODEL_MAP": "a=b, c-*=d"}).model_map == (("a", "b"), ("c-*", "d"))
    for url in ("http://127.0.0.2:1", "http://[::1]:8", "http://LOCALHOST", "https://h/api/v3"):
        assert cp.Config.from_env({"GITHUB_API_URL": url}).github_api_url == url
    tenant = cp.Config.from_env({"GITHUB_URL": "https://acme.ghe.com/"})
    assert tenant.github_api_url == "https://api.acme.ghe.com"
    with pytest.raises(AttributeError):
        config.port = 1
    with pytest.raises(TypeError):
        cp.Config(prot=1)


# ============================================================================
# 2. Errors
# ============================================================================


def shape(obj):
    return json.dumps(obj).encode()


UPSTREAM_ERRORS = [
    ("gateway", 400, b'{"error":{"message":"no","code":"invalid_request_body"}}\n', 400, "no"),
    (
        "anthropic",
        400,
        shape({"type": "error", "error": {"type": "invalid_request_error", "message": "m \u003e"}}),
        400,
        "m >",
    ),
    ("github", 404, shape({"message": "Not Found", "status": "404"}), 404, "Not Found"),
    ("text", 401, b"unauthorized: token expired\n", 401, "unauthorized: token expired"),
    ("empty", 499, b"", 502, "answered 499"),
    ("html", 502, b"<html><title>Unicorn!</title>x</html>", 502, "a web page: Unicorn!"),
    ("filter", 422, b'{"error":{"code":"cyber_policy","message":"blocked"}}', 400, "blocked"),
    ("code only", 429, b'{"error":{"code":"user_weekly_rate_limited:edu"}}', 429, "weekly"),
    ("string error", 500, b'{"error":"broken"}', 500, "broken"),
    ("not a dict", 500, b"[1]", 500, "[1]"),
    ("deep", 500, b"[" * 5000, 500, "["),
    ("466", 466, b"", 466, "COPILOT_EDITOR_VERSION"),
    ("odd status", 302, b"moved", 502, "moved"),
    ("bad utf-8", 500, b"\xff\xfe", 500, "\ufffd"),
    (
        "not about the sign-in",
        401,
        b'{"error":{"message":"input item ID does not belong to this connection"}}',
        400,
        "input item ID",
    ),
    (
        "no images",
        400,
        b'{"error":{"message":"vision is not enabled for this organization"}}',
        400,
        "capability_rejected: image_block",
    ),
]


@pytest.mark.parametrize("name, status, body, expected, text", UPSTREAM_ERRORS, ids=short)
def test_errors_upstream_shapes(name, status, body, expected, text):
    exc = cp.upstream_error(status, {"retry-after": "7"}, body)
    assert exc.status == expected and text in str(exc) and exc.retry_after == "7"
    assert len(str(exc)) < cp.MAX_MESSAGE + 300


OVERFLOWS = [
    (
        b'{"error":{"message":"prompt token count of 13613 exceeds the limit of 12288","code":"model_max_prompt_tokens_exceeded"}}',
        (13613, 12288),
    ),
    (
        b'{"type":"error","error":{"type":"invalid_request_error","code":"model_max_prompt_tokens_exceeded","message":"prompt is too long: 1001284 tokens \\u003e 1000000 maximum"}}',
        (1001284, 1000000),
    ),
    (b"prompt token count of 13613 exceeds the limit of 12288", (13613, 12288)),
    (
        b'{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","code":"invalid_request_body"}}',
        (0, 0),
    ),
]


@pytest.mark.parametrize("body, numbers", OVERFLOWS, ids=short)
def test_errors_context_overflow(body, numbers):
    exc = cp.upstream_error(400, {}, body)
    assert isinstance(exc, cp.ContextOverflow) and exc.tokens == numbers[0]
    assert str(exc) == "prompt is too long: %d tokens > %d maximum" % numbers
    assert cp.openai_error(exc)["error"]["code"] == "context_length_exceeded"


def test_errors_total_and_both_spellings():
    for status in range(400, 600):
        exc = cp.upstream_error(status, {}, b"")
        for body in (cp.anthropic_error(exc)["error"], cp.openai_error(exc)["error"]):
            assert body["message"] == str(exc) and body["type"]
    exc = cp.BadRequest("x", code="c")
    assert cp.anthropic_error(exc) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "x"},
    }
    assert cp.openai_error(exc)["error"]["code"] == "c"


def test_errors_every_advice_can_be_reached():
    for row in cp.ADVICE:
        status = row.status or 400
        assert row == cp.advice_for(status, row.mark.upper())
    assert cp.advice_for(403, "API rate limit exceeded").should_retry is True
    assert len(cp.ADVICE) == len(re.findall(r"(?m)^\d", cp.ADVICE_TABLE))


STREAM_ERRORS = [
    ("gateway", {"error": {"code": "user_model_rate_limited", "message": "Sorry"}}, 429, "Sorry"),
    ("no code", {"error": {"message": "boom"}}, 502, "boom"),
    ("text", {"error": "boom"}, 502, "boom"),
    ("list", {"copilot_errors": [{"code": "x", "message": "boom"}]}, 502, "boom"),
    ("flat", {"type": "error", "code": "invalid_request_body", "message": "no"}, 400, "no"),
    (
        "anthropic",
        {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
        529,
        "x",
    ),
    (
        "failed response",
        {
            "type": "response.failed",
            "response": {"error": {"code": "server_error", "message": "x"}},
        },
        502,
        "x",
    ),
    (
        "failed without a word",
        {"type": "response.failed", "response": {"error": None}},
        502,
        "gave",
    ),
    ("code only", {"error": {"code": "quota_exceeded"}}, 402, "quota_exceeded"),
    ("nested", {"error": {"error": {"type": "not_found_error", "message": "x"}}}, 404, "x"),
    ("empty list", {"copilot_errors": []}, 502, "gave"),
]


@pytest.mark.parametrize("name, obj, status, text", STREAM_ERRORS)
def test_errors_inside_a_stream(name, obj, status, text):
    exc = cp.error_in_stream(obj)
    assert exc.status == status and text in str(exc)


def test_errors_overflow_inside_a_stream():
    exc = cp.error_in_stream({"response": {"error": {"code": "context_length_exceeded"}}})
    assert isinstance(exc, cp.ContextOverflow) and exc.tokens == 0


def test_errors_say_whose_they_are_before_a_login_hint():
    refused = cp.upstream_error(401, {}, b"unauthorized: token expired")
    assert str(refused).startswith("This is about GitHub, not Anthropic: unauthorized")
    assert refused.words == "unauthorized: token expired" and refused.whose == "GitHub"
    for exc in (cp.AuthRequired("Sign in."), cp.Forbidden("No."), refused):
        assert str(exc).startswith("This is about GitHub")
    for exc in (cp.KeyRequired("Send the key."), cp.Outsider("Host x.")):
        assert str(exc).startswith("This is about the proxy on your machine")
    assert str(cp.UpstreamError("Broke.")) == "Broke."


def test_errors_carry_details():
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    for exc in (
        cp.BadRequest("no threads", details=details),
        cp.upstream_error(400, {}, shape({"error": {"message": "no", "details": details}})),
    ):
        assert cp.anthropic_error(exc)["error"]["details"] == details
        assert cp.openai_error(exc)["error"]["details"] == details


@pytest.mark.parametrize(
    "piece", ["prompt is too long ", "<title> ", "prompt token count of 1", "9", '{"error":', " "]
)
def test_errors_are_read_in_linear_time(piece):
    def seconds(size):
        body = (piece * (size // len(piece))).encode()
        started = time.perf_counter()
        cp.upstream_error(400, {}, body)
        cp.error_in_stream({"error": {"message": body.decode()}})
        return time.perf_counter() - started

    assert seconds(2_000_000) < 0.25


# ============================================================================
# 3. Logging
# ============================================================================

SECRETS = [
    "gho_abcDEF123",
    "ghu_x1",
    "ghp_y2",
    "github_pat_11AA_bb",
    "tid=0f3c;exp=1;sku=x:9a1b",
    "Bearer s3cr3t.value",
    "http://user:hunter2@proxy:1",
]


def test_logging_a_bug_tells_where_and_not_what(monkeypatch):
    def deep():
        raise KeyError("secret words ghu_abcdef")

    out = io.StringIO()
    for logger in (cp.LOG, logging.getLogger("asyncio")):
        for name in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, name, getattr(logger, name))
    cp.configure_logging("info", out)
    try:
        deep()
    except KeyError as exc:
        cp.LOG.error("handler_failed: %s", "'/x'", exc_info=True)
        logging.getLogger("asyncio").error(
            "Task exception was never retrieved\nfuture: <Task %r>", exc, exc_info=exc
        )
        logging.getLogger("asyncio").error("Exception in callback f(%r)", exc)
    at = deep.__code__.co_firstlineno + 1
    shape = r"KeyError in deep:%d < test_logging_a_bug\w+:\d+" % at
    first, second, third = out.getvalue().splitlines()
    assert re.fullmatch(r"..:..:.. \[error\] handler_failed: '/x' \| " + shape, first)
    assert re.fullmatch(
        r"..:..:.. \[error\] asyncio: Task exception was never retrieved \| " + shape, second
    )
    assert third.endswith("asyncio: Exception in callback f")


@pytest.mark.parametrize("secret", SECRETS)
def test_logging_redacts(secret):
    told = cp.redact('before "%s" after' % secret)
    assert secret not in told and "hunter2" not in told and "***" in told
    assert told.startswith("before") and told.endswith("after")


def test_logging_one_line_of_ascii_whatever_the_fields(capsys):
    stream = io.StringIO()
    cp.configure_logging("info", stream)
    cp.log_event("info", "e", a="x\ny\x1b[31m\ud800é", b=object)
    cp.log_line("warn", "line: a\nb\x1b é ghu_tok")
    cp.log_event("debug", "hidden", a=1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "[info] e: {" in lines[0] and "\x1b" not in stream.getvalue()
    assert lines[1].endswith(r"[warn] line: a\nb\x1b é ***")


def test_logging_formats_nothing_when_off_and_survives_a_dead_sink():
    class Costly:
        def __str__(self):
            raise AssertionError("formatted")

    class Dead(io.StringIO):
        def write(self, text):
            raise OSError("gone")

    cp.configure_logging("error", Dead())
    cp.log_event("debug", "e", a=Costly())
    cp.log_event("error", "e", a=1)


@contextlib.contextmanager
def pipe_stream(**options):
    """(the reading end, a text stream into it) of a pipe; both closed afterwards."""
    reading, writing = os.pipe()
    stream = open(writing, "w", **options)
    try:
        yield reading, stream
    finally:
        os.close(reading)
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def test_logging_never_waits_for_a_reader_and_tells_what_it_dropped():
    with pipe_stream() as (reading, stream):
        cp.configure_logging("info", stream)
        began = time.monotonic()
        for number in range(3000):
            cp.log_line("info", "line %d %s" % (number, "x" * 200))
        assert time.monotonic() - began < 2.0
        got = b""
        while b"dropped" not in got:
            got += os.read(reading, 65536)
        lines = got.decode().splitlines()
        lost = int(re.search(r"(\d+) log lines were dropped", lines[-1])[1])
        assert 1000 <= len(lines) - 1 < 3000 and len(lines) - 1 + lost == 3000
        cp.log_line("info", "afterwards")
        assert b"afterwards" in os.read(reading, 65536)


def test_logging_writes_what_the_stream_cannot_encode():
    with pipe_stream(encoding="ascii", errors="strict") as (reading, stream):
        cp.configure_logging("info", stream)
        cp.log_line("info", "caf\u00e9 \u4e16")
        assert os.read(reading, 999).endswith(b"] caf\\xe9 \\u4e16\n")


def test_logging_has_colour_only_where_told():
    for colour in (False, True):
        with pipe_stream() as (reading, stream):
            cp.configure_logging("info", stream, colour=colour)
            cp.log_line("warn", "words")
            got = os.read(reading, 999).decode()
            assert ("\x1b[33m[warn]\x1b[0m words" in got) is colour and "words" in got


SHORT_NUMBERS = [
    (0, "0"),
    (999, "999"),
    (1000, "1.0k"),
    (9949, "9.9k"),
    (9951, "10k"),
    (118_400, "118k"),
    (999_499, "999k"),
    (999_600, "1.0M"),
    (12_600_000, "13M"),
]


@pytest.mark.parametrize("number, text", SHORT_NUMBERS)
def test_logging_short_numbers(number, text):
    assert cp.short_number(number) == text and len(text) <= 4


# ============================================================================
# 4. JSON
# ============================================================================

BAD_BODIES = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"[]", "object"),
    (b"\xff{}", "UTF-8: byte 0"),
    (b'{"a":NaN}', "NaN"),
    (b'{"a":-Infinity}', "Infinity"),
    (b'{"a":1}x', "not JSON"),
    *[
        (b'{"a":' + opening * levels + b"0" + closing * levels + b"}", "more than 200 levels deep")
        for levels in (200, 480, 700, 1000, 3000, 200000)
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"))
    ],
    (b'{"a":' + b"[" * 200000, "not JSON"),
    (b'{"a":' + b"9" * 5000 + b"}", "digits"),
    (b'{"a":1e999}', "1e999 is too large"),
    (b'{"a":-' + b"9" * 400 + b".5}", "too large"),
    (b"null", "object"),
]


@pytest.mark.parametrize("raw, text", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_json_bad_body(raw, text):
    with pytest.raises(cp.BadRequest) as caught:
        cp.loads_object(raw)
    assert text in str(caught.value)


def test_json_takes_200_levels_and_counts_no_brackets_in_strings():
    brackets = "[{" * 500
    for levels in (1, 100, 199):
        obj = {"a": brackets}
        for _ in range(levels):
            if levels < 100:
                obj = {"a": 1, "b": [brackets], "c": obj}
            else:
                obj = {"c": obj}
        assert cp.loads_object(json.dumps(obj).encode()) == obj
        assert cp.dumps(obj)
    assert cp.loads(b"[" * 200 + b"]" * 200)
    with pytest.raises(ValueError, match="200 levels"):
        cp.loads(b"[" * 201 + b"]" * 201)


def test_json_encoding_cannot_fail():
    for obj in ({"a": "é\u2028"}, {"a": "\ud800"}, ["\udfff", 1e308, None, True, "\x00"]):
        assert json.loads(cp.dumps(obj)) == obj
    assert cp.dumps({"a": "é"}) == '{"a":"é"}'.encode()
    assert cp.dumps({"a": "\ud800"}) == b'{"a":"\\ud800"}'


GETTERS = [
    (cp.field, {"a": "x"}, ("a", str, "m.3"), "x"),
    (cp.field, {}, ("a", str, "m"), None),
    (cp.field, {"a": None}, ("a", list, "m", []), []),
    (cp.field, {"a": 1}, ("a", str, "m.3"), "m.3.a: expected a string"),
    (cp.field, {"a": True}, ("a", int), "a: expected a whole number"),
    (cp.field, {"a": 1}, ("a", float), 1),
    (cp.field, {"a": 1}, ("a", bool), "a: expected true or false"),
    (cp.required, {}, ("a", dict, "m"), "m.a: required"),
    (cp.required, {"a": {}}, ("a", dict, "m"), {}),
    (cp.field, {"a": 1.5}, ("a", int), "a: expected a whole number"),
]


@pytest.mark.parametrize("getter, obj, args, expected", GETTERS)
def test_json_getters(getter, obj, args, expected):
    try:
        assert getter(obj, *args) == expected
    except cp.BadRequest as exc:
        assert str(exc) == expected


# ============================================================================
# 5. Server-sent events
# ============================================================================


def sse_decode(pieces):
    decoder = cp.SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.feed(b"\n\n")


SSE_CASES = [  # WHATWG HTML 9.2.6, its examples and its corners
    ("data only", b"data: a\n\n", [("", b"a")]),
    ("named", b"event: x\ndata: a\n\n", [("x", b"a")]),
    ("name after data", b"data: a\nevent: x\n\n", [("x", b"a")]),
    ("last name wins", b"event: x\nevent: y\ndata: a\n\n", [("y", b"a")]),
    ("name reset", b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), ("", b"b")]),
    ("no space", b"event:x\ndata:a\n\n", [("x", b"a")]),
    ("one space only", b"event:  x\ndata:  a\n\n", [(" x", b" a")]),
    ("two fields in one line", b"event: data: a\ndata: b\n\n", [("data: a", b"b")]),
    ("data in data", b"data: a data: b\n\n", [("", b"a data: b")]),
    ("not quite data", b"xdata: a\n\nevent: x data: a\n\n", []),
    ("name before a stranger", b"event: x\nxdata: a\ndata: b\n\n", [("x", b"b")]),
    ("crlf", b"event: x\r\ndata: a\r\n\r\n", [("x", b"a")]),
    ("cr", b"event: x\rdata: a\r\rdata: b\r\r", [("x", b"a"), ("", b"b")]),
    (
        "mixed ends",
        b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n",
        [("", b"a"), ("", b"b"), ("", b"c")],
    ),
    ("many blank lines", b"\n\n\ndata: a\n\n\n\ndata: b\n\n\n", [("", b"a"), ("", b"b")]),
    ("two lines", b"data: a\ndata: b\n\n", [("", b"a\nb")]),
    ("empty data", b"data:\n\n", [("", b"")]),
    ("field without colon", b"data\n\n", [("", b"")]),
    ("two empty lines", b"data\ndata\n\n", [("", b"\n")]),
    ("name without data", b"event: x\n\ndata: a\n\n", [("", b"a")]),
    ("comments", b": c\n\n:\ndata: a\n: data: b\n\n", [("", b"a")]),
    ("unknown fields", b"id: 1\nretry: 5\nfoo\ndata: a\nid\n\n", [("", b"a")]),
    ("capitals differ", b"Data: a\n\n", []),
    ("bom", b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
    ("bom and blank", b"\xef\xbb\xbf\n\ndata: a\n\n", [("", b"a")]),
    ("one bom only", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [("", b"b")]),
    ("bom later", b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("", b"a")]),
    (
        "u2028 and nel are text",
        "data: a\u2028b\x85\x0b\x0c\n\n".encode(),
        [("", "a\u2028b\x85\x0b\x0c".encode())],
    ),
    ("invalid utf-8 stays", b"data: \xff\xc3\n\n", [("", b"\xff\xc3")]),
    ("invalid name", b"event: \xff\ndata: a\n\n", [("\ufffd", b"a")]),
    ("nul", b"data: a\x00b\n\n", [("", b"a\x00b")]),
    ("no blank line at the end", b"data: a\n\ndata: b\n", [("", b"a"), ("", b"b")]),
    ("no line end at the end", b"event: x\ndata: b", [("x", b"b")]),
    ("cr at the end", b"data: a\r", [("", b"a")]),
    (
        "done",
        cp.SSE_COMMENT + cp.SSE_PING + cp.SSE_DONE,
        [("ping", b'{"type":"ping"}'), ("", b"[DONE]")],
    ),
    ("empty", b"", []),
]


@pytest.mark.parametrize("name, raw, expected", SSE_CASES)
def test_sse_events_do_not_depend_on_cuts(name, raw, expected):
    for pieces in cuts(raw):
        assert sse_decode(pieces) == expected, pieces


def test_sse_corpus_in_one_stream_under_random_cuts():
    # Everything but what acts only at the two ends of a stream.
    cases = [(raw + b"\n\n", out) for name, raw, out in SSE_CASES if "bom" not in name]
    dice = random.Random(5)
    for _ in range(50):
        dice.shuffle(cases)
        raw = b"".join(case[0] for case in cases)
        expected = [event for case in cases for event in case[1]]
        whole_events = re.findall(rb"(?s).*?\n\n", raw)  # the decoder's short way
        for pieces in (whole_events, *cuts(raw, seed=dice.random())):
            assert sse_decode(pieces) == expected


def test_sse_whole_gives_bytes_of_whole_events_with_plain_line_ends():
    decoder = cp.SSEDecoder()
    pieces = (b"", b"d", b"ata: a\n", b"\n", b"\n", b"\r\n\r", b"\n", b": c\r", b"\r:")
    told = [decoder.whole(piece) for piece in pieces]
    assert told == [b"", b"", b"", b"data: a\n\n", b"", b"\n\n\n", b"", b"", b": c\n\n"]


def test_sse_event_is_whole_at_its_carriage_return():
    decoder = cp.SSEDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [("", b"a")]
    assert decoder.feed(b"\ndata: b\n\n") == [("", b"b")]


@pytest.mark.parametrize(
    "raw, fits",
    [
        (b"data: 123\n\n" * 3, True),
        (b"data: 12345\n\n", False),
        (b"data: 1\n\ndata: 12345\n\n\n", False),
        (b": 1234567890", False),
    ],
)
def test_sse_limit_under_every_cut(raw, fits, monkeypatch):
    monkeypatch.setattr(cp, "MAX_EVENT", 10)
    for pieces in cuts(raw):
        if fits:
            assert len(sse_decode(pieces)) == 3
        else:
            with pytest.raises(cp.UpstreamError):
                sse_decode(pieces)


def test_sse_one_large_event_costs_linear_time():
    raw = b"data: " + b"x" * (4 << 20) + b"\n\n"
    pieces = [raw[at : at + 4096] for at in range(0, len(raw), 4096)]
    started = time.process_time()
    assert sse_decode(pieces) == [("", raw[6:-2])]
    assert time.process_time() - started < 1.0  # 20 ms; quadratic would be 2 s and more


def test_sse_encode_round_trip():
    cases = [("", {"a": "\u2028\n\r"}), ("x", [1, None]), ("", "\ud800"), ("ping", {})]
    raw = b"".join(cp.encode_sse(event, obj) for event, obj in cases)
    assert raw.startswith(b"data: ") and b"\r" not in raw
    for pieces in cuts(raw):
        assert [(e, json.loads(d)) for e, d in sse_decode(pieces)] == cases


# ============================================================================
# 6. HTTP/1.1 wire
# ============================================================================
# One table of byte sequences; room 15 sends the same ones to the real server. What is
# expected: a word for each answer, "ok" or "ok:BODY" or a status, and after a status
# the connection ends. Each row runs under every cut, then the input ends.

LINE = b"GET / HTTP/1.1\r\n"
OWN = b"Host: localhost\r\n"
GET = LINE + OWN + b"\r\n"


def get(*fields):
    return LINE + OWN + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def put(field, body=b"", after=b""):
    """A request with a body; not POST, so that the guard has nothing to say."""
    return b"PUT / HTTP/1.1\r\n" + OWN + field + b"\r\n\r\n" + body + after


def chunked(body, *fields):
    return put(b"\r\n".join((b"Transfer-Encoding: chunked",) + fields), body)


def rows(topic, make, inputs, expected):
    return [("%s %s" % (topic, ascii(one)[2:-1][:60]), make(one), expected) for one in inputs]


GOOD_LINES = [
    b"GET / HTTP/1.1",
    b"GET /?a=b HTTP/1.1",
    b"GET /a%20b/%C3%BC HTTP/1.1",
    b"get / HTTP/1.1",
    b"M-SEARCH / HTTP/1.1",
    b"!#$%&'*+-.^_`|~09 / HTTP/1.1",
    b"GET /{|}[]^`\\ HTTP/1.1",
    b"GET // HTTP/1.1",
    b"GET /a//b/../c HTTP/1.1",
    b"GET http://localhost/ HTTP/1.1",
    b"GET HTTP://LOCALHOST/x?y HTTP/1.1",
    b"GET http://localhost HTTP/1.1",
    b"GET http://localhost?x=/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"OPTIONS / HTTP/1.1",
    b"GET / HTTP/1.2",
    b"GET / HTTP/1.9",
    b"GET /" + b"a" * 8000 + b" HTTP/1.1",
    b"GET /:@!$&'()*+,;=-._~ HTTP/1.1",
    b"GET /?http://a.b/c?d HTTP/1.1",
    b"GET /?a=%zz HTTP/1.1",
]
BAD_LINES = [
    b"GET / HTTP/2.0",
    b"GET / HTTP/0.9",
    b"GET / HTTP/1.10",
    b"GET / HTTP/1",
    b"GET /",
    b"GET / HTTP/1.1 ",
    b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1",
    b"GET\t/\tHTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET / http/1.1",
    b"GET / HTTP/11",
    b"GET / HTTP/1,1",
    b"GET / HTTP/+1.1",
    b"GET / HTTP/1.1\x00",
    b"GET /\x00 HTTP/1.1",
    b"GET / HTTPS/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /\xc3\xbc HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"HTTP/1.1",
    b"GET /# HTTP/1.1",
    b"GET /<x> HTTP/1.1",
    b'GET /"x" HTTP/1.1',
    b"GET HTTP/1.1",
    b"G\xcbT / HTTP/1.1",
    b"G[T / HTTP/1.1",
    b"G(T) / HTTP/1.1",
    b"GET x HTTP/1.1",
    b"GET ?x HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS ** HTTP/1.1",
    b"GET:/ HTTP/1.1",
    b"CONNECT localhost:80 HTTP/1.1",
    b"GET https://localhost/ HTTP/1.1",
    b"GET http://a@localhost/ HTTP/1.1",
    b"GET http://[/ HTTP/1.1",
    b"\x16\x03\x01\x02",
    b"GET /%zz HTTP/1.1",
    b"GET /%1 HTTP/1.1",
    b"GET /% HTTP/1.1",
    b"GET /%00 HTTP/1.1",
    b"GET /%0d%0a HTTP/1.1",
    b"GET /%7f HTTP/1.1",
    b"GET /%1b[0m HTTP/1.1",
    b"GET /%ff HTTP/1.1",
    b"GET /%c0%af HTTP/1.1",
    b"GET /%ed%a0%80 HTTP/1.1",
    b"GET /%e2%80%a8 HTTP/1.1",
    b"GET /%c2%85 HTTP/1.1",
    b"GET / HTTP/1.1\r",
    b"PRI * HTTP/2.0",
    b"GET / HTTP/1.1\x0b",
    b"GET\x0b/ HTTP/1.1",
    b"\x00",
    b"{}",
    b"GET / HTTP/\xb9.1",
    b"GET / HTTP/1.1; x",
    b"Host: localhost",
    b"\rGET / HTTP/1.1",
]
GOOD_FIELDS = [
    b"A:b",
    b"A: b",
    b"A:  b\t ",
    b"A:",
    b"A: ",
    b"A: \xfc\xff",
    b"a!#$%&'*+-.^_`|~9: b",
    b"A: b:c",
    b'A: "q\\""',
    b"A: b\r\nA: c",
    b"A: b\tc",
    b"Connection: keep-alive",
    b"Content-Length: 0",
    b"Connection: , ,x",
    b"Upgrade: h2c\r\nConnection: upgrade",
    b"TE: trailers",
    b"Content-Length: 0000000000000000000",
    b"Expect: 100-continue",
    b"A: b\x85Host: evil",
    b"Connection: \xa0close",
    b"A: \xe2\x80\xa8",
]
BAD_FIELDS = [
    b"A : b",
    b"A\t: b",
    b"A",
    b": b",
    b":",
    b" A: b",
    b"\tA: b",
    b"A: b\r\n c",
    b"A: b\r\n\tc",
    b"A: b\r\n \r\nB: c",
    b"A\x00: b",
    b"A: b\x00c",
    b"A: \x00",
    b"A: \x01",
    b"A: \x0b",
    b"A: \x0c",
    b"A: \x1f",
    b"A: \x7f",
    b"A: b\rc",
    b"A: b\r",
    b"A: \r b",
    b"A: b\nB: c",
    b"A: b\n",
    b"\n",
    b"A[: b",
    b"A(b): c",
    b"\xc4: b",
    b"A b: c",
    b'"A": b',
    b"A\x85: b",
    b"A;: b",
    b"A/b: c",
    b"A\r: b",
    b"A@: b",
    b"A={}: b",
    b"A: b\x1cHost: evil",
    b"A: b\x0cHost: evil",
    b"Content-Length : 5",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\x0b: chunked",
]
BAD_HOSTS = [
    b"Host: a\r\nHost: a",
    b"Host: localhost\r\nHost: localhost",
    b"X: y",
    b"Host : a",
    b"Host: a b",
    b"Host: a, b",
    b"Host: a/b",
    b"Host: localhost:1@evil",
    b"Host: [::1",
    b"Host: ::1",
    b"Host: [x]",
    b"Host: a:b",
    b"Host: a:123456",
    b"Host: \xfc",
    b"Host: a?",
    b"Host: http://a",
    b"Host: a#b",
    b"Host: a\\b",
    b"Hosts: a",
    b"Host: " + b"a" * 300,
    b"Host: localhost\x85",
    b"Host: \xa0localhost",
]
BAD_LENGTHS = [
    b"+5",
    b"-5",
    b"5_0",
    b"0x5",
    b"5 5",
    b"5,5",
    b"5, 5",
    b"",
    b"5.0",
    b"5e1",
    b"\xb2",
    b"5\x85",
    b"\xa05",
    b"five",
    b"1" * 20,
    b"0" * 20,
    b"5;",
    b'"5"',
    b"5\r\nContent-Length: 5",
    b"5\r\nContent-Length: 6",
    b"\x0b5",
    b"5\r\nTransfer-Encoding: chunked",
    b"-0",
    b"\xd9\xa5",
    b"5\xc2\xa0",
    b"1_0",
]
BAD_CODINGS = [
    b"gzip",
    b"identity",
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked, chunked",
    b"",
    b"chunked,",
    b",chunked",
    b"xchunked",
    b"chunked;q=1",
    b"chunked\r\nTransfer-Encoding: x",
    b"\x0bchunked",
    b"\xa0chunked",
    b"chunked\x85",
    b"'chunked'",
    b"chun\xeaed",
    b"chunked\r\nContent-Length: 5",
    b"identity\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"\r\n chunked",
]
LAST = b"\r\n0\r\n\r\n"
GOOD_CHUNKS = [
    b"5\r\nhello" + LAST,
    b"05\r\nhello" + LAST,
    b"0" * 15 + b"5\r\nhello" + LAST,
    b"2\r\nhe\r\n3\r\nllo" + LAST,
    b"5;a\r\nhello" + LAST,
    b'5;a=b;c="d;\\"e"\r\nhello' + LAST,
    b"5 ; a = b\r\nhello" + LAST,
    b"5\r\nhello\r\n00\r\n\r\n",
    b"5\r\nhello\r\n0;x\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA:\r\n\r\n",
    b"1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no" + LAST,
]
BAD_CHUNKS = [
    b"x\r\nhello" + LAST,
    b"\r\nhello" + LAST,
    b"+5\r\nhello" + LAST,
    b"-5\r\nhello" + LAST,
    b"0x5\r\nhello" + LAST,
    b"5_\r\nhello" + LAST,
    b" 5\r\nhello" + LAST,
    b"5 \r\nhello" + LAST,
    b"5\nhello" + LAST,
    b"5\rhello" + LAST,
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhelloX" + LAST,
    b"4\r\nhello" + LAST,
    b"6\r\nhello" + LAST,
    b"5;\r\nhello" + LAST,
    b"5;a=\r\nhello" + LAST,
    b"5;a\rb\r\nhello" + LAST,
    b"5;a\nhello" + LAST,
    b"5,5\r\nhello" + LAST,
    b'5;a="b\r\nhello' + LAST,
    b"5;\x00\r\nhello" + LAST,
    b"5 5\r\nhello" + LAST,
    b"0" * 17 + b"5\r\nhello" + LAST,
    b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
    b"\xb2\r\nhe" + LAST,
    b"5\r\nhello\r\n0\r\n A: b\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\n\r\n",
    b"5\r\nhello\r\n0\r\nx\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhell",
    b"5\r\nhello\r\n",
    b"5\r\nhello\r\n0\r\n",
    b"5",
    b"",
    b"1\r\na\r\n\r\n",
    b"5;" + b"a" * 1100,
    b"0" * 1100,
    b"1;a" + b"b" * 1023 + b"\r\nx" + LAST,
    b"5\x85\r\nhello" + LAST,
    b"\xa05\r\nhello" + LAST,
    b'5;a="b\rc"\r\nhello' + LAST,
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\r0\r\n\r\n",
    b"0x0\r\n\r\n",
]
MAX = 1 << 20  # MAX_BODY_MB=1
LIMITS = [
    ("request line 16 KiB", GET.replace(b"/", b"/" + b"a" * 16370, 1), "ok"),
    ("request line over", GET.replace(b"/", b"/" + b"a" * 16371, 1), "414"),
    ("request line without end", b"G" * 16387, "414"),
    ("garbage over the line limit", b"\x01" * 17000, "400"),
    ("field 16 KiB", get(b"A: " + b"b" * 16381), "ok"),
    ("field over", get(b"A: " + b"b" * 16382), "431"),
    ("field without end", LINE + b"A" * 16387, "431"),
    ("long field, bare LF", LINE + b"A:" + b"b" * 16387 + b"\n", "431"),
    ("block over", get(*[b"A: " + b"b" * 11000] * 3), "431"),
    ("block without end", LINE + (b"A: " + b"b" * 1000 + b"\r\n") * 40, "431"),
    ("100 fields", get(*[b"A: b"] * 99), "ok"),
    ("101 fields", get(*[b"A: b"] * 100), "431"),
    ("fields without end", LINE + b"A:\r\n" * 5000, "431"),
    ("blank lines", b"\r\n" * 4 + GET, "ok"),
    ("blank line flood", b"\r\n" * 5, "400"),
    ("CRLF flood", b"\r\n" * 5000, "400"),
    ("CRLF flood after", GET + b"\r\n" * 5000, "ok 400"),
    ("blank line between", GET + b"\r\n" + GET, "ok ok"),
    ("bare LF first", b"\n" + GET, "400"),
    ("body 1 MiB", put(b"Content-Length: %d" % MAX), "400"),  # cut short
    ("chunk 1 MiB", chunked(b"%x\r\n" % MAX), "400"),
    ("body over", put(b"Content-Length: %d" % (MAX + 1), b"x"), "413"),
    ("length 19 digits", put(b"Content-Length: " + b"9" * 19), "413"),
    ("chunk over", chunked(b"%x\r\n" % (MAX + 1)), "413"),
    ("chunk 16 digits", chunked(b"f" * 16 + b"\r\n"), "413"),
    ("chunks over", chunked(b"1\r\nx\r\n%x\r\n" % MAX), "413"),
    ("extension drip", chunked(b"1;aaaaaaaaaaaaaa\r\nx\r\n" * 1200 + LAST[2:]), "400"),
    ("64 trailers", chunked(b"0\r\n" + b"A: b\r\n" * 64 + b"\r\n"), "ok"),
    ("5,000 trailers", chunked(b"0\r\n" + b"A: b\r\n" * 5000 + b"\r\n"), "431"),
    ("65 trailers", chunked(b"0\r\n" + b"A: b\r\n" * 65 + b"\r\n"), "431"),
    ("trailers 16 KiB", chunked(b"0\r\n" + (b"A:" + b"b" * 4000 + b"\r\n") * 5), "431"),
    ("trailer without end", chunked(b"0\r\n" + b"A" * 17000), "431"),
]
OLD = b"GET / HTTP/1.0\r\n"
SEQUENCES = [
    ("nothing", b"", ""),
    ("half a line", b"GET / HT", ""),
    ("half a head", LINE + OWN, ""),
    ("two", GET * 2, "ok ok"),
    ("ten", GET * 10, " ".join(["ok"] * 10)),
    ("body, then more", put(b"Content-Length: 5", b"hello", GET), "ok:hello ok"),
    ("chunks, then more", chunked(b"5\r\nhello" + LAST + GET), "ok:hello ok"),
    ("close, then more", get(b"Connection: close") + GET, "ok"),
    ("close in a list", get(b"Connection: x , CLOSE") + GET, "ok"),
    ("close twice", get(b"Connection: x", b"Connection: close") + GET, "ok"),
    ("GET with a body", get(b"Content-Length: 3") + b"abc" + GET, "ok:abc ok"),
    (
        "body looks like a request",
        put(b"Content-Length: %d" % len(GET), GET, GET),
        "ok:%s ok" % GET.decode(),
    ),
    ("error, then more", get(b"A : b") + GET, "400"),
    ("bad trailer, then more", chunked(b"0\r\nA : b\r\n\r\n" + GET), "400"),
    ("ok, then error", GET + b"x\r\n\r\n", "ok 400"),
    ("body too short", put(b"Content-Length: 6", b"hello"), "400"),
    ("1.0", OLD + OWN + b"\r\n", "ok"),
    ("1.0 without Host", OLD + b"\r\n", "ok"),
    ("1.0 closes", OLD + b"\r\n" + GET, "ok"),
    ("1.0 two Hosts", OLD + OWN * 2 + b"\r\n", "400"),
    ("1.0 keep-alive", OLD + b"Connection: Keep-Alive\r\n\r\n" + GET, "ok ok"),
    ("1.0 chunked", OLD + OWN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("1.0 length", OLD + OWN + b"Content-Length: 2\r\n\r\nhi", "ok:hi"),
    ("chunked in capitals", put(b"TRANSFER-ENCODING: CHUNKED", b"2\r\nhi" + LAST), "ok:hi"),
    ("LF only", GET.replace(b"\r\n", b"\n"), "400"),
    ("CR only", GET.replace(b"\r\n", b"\r"), ""),
    ("0.9", b"GET /\r\n\r\n", "400"),
    ("LF before the end", LINE + OWN + b"\n", "400"),
]
HTTP_CASES = (
    rows("line", lambda one: one + b"\r\n" + OWN + b"\r\n", GOOD_LINES, "ok")
    + rows("line", lambda one: one + b"\r\n" + OWN + b"\r\n", BAD_LINES, "400")
    + rows("field", get, GOOD_FIELDS, "ok")
    + rows("field", get, BAD_FIELDS, "400")
    + rows("host", lambda one: LINE + one + b"\r\n\r\n", BAD_HOSTS, "400")
    + rows("length", lambda one: put(b"Content-Length: " + one, b"hello"), BAD_LENGTHS, "400")
    + rows(
        "coding",
        lambda one: put(b"Transfer-Encoding: " + one, b"2\r\nhi" + LAST),
        BAD_CODINGS,
        "400",
    )
    + rows("chunks", chunked, GOOD_CHUNKS, "ok:hello")
    + rows("chunks", chunked, BAD_CHUNKS, "400")
    + LIMITS
    + SEQUENCES
)


def keeps_alive(head):
    return cp.keeps_alive(head.version, head.headers.get("connection"))


def test_wire_table_size():
    assert len({raw for _, raw, _ in HTTP_CASES}) >= 320
    assert sum(expected[-3:].isdigit() for *_, expected in HTTP_CASES) >= 240  # refused


class SansIO:
    """What a server does with its input, without a socket."""

    def __init__(self):
        self.words = []
        self.open = True
        self.head = None
        self.reader = cp.HeadReader()

    def feed(self, data):
        while self.open and data is not None:
            try:
                data = self.step(data)
            except cp.ProtocolError as exc:
                self.words.append(str(exc.status))
                self.open = False

    def step(self, data):
        """One head or one body; gives what followed, None when more has to come."""
        if self.head is None:
            lines = self.reader.feed(data)
            if not lines:
                return None
            self.head = cp.parse_request_head(lines)
            self.body = b""
            self.framing = cp.body_framing(self.head, MAX)
            rest = self.reader.rest
            self.reader = cp.HeadReader()
            return rest
        self.body += self.framing.feed(data)
        if not self.framing.done:
            return None
        self.words.append("ok:%s" % self.body.decode("latin-1") if self.body else "ok")
        self.open = keeps_alive(self.head)
        self.head = None
        return self.framing.rest

    def answers(self, pieces):
        for piece in pieces:
            self.feed(piece)
        if self.open and self.head is not None:
            with pytest.raises(cp.ProtocolError) as failure:
                self.framing.eof()
            self.words.append(str(failure.value.status))
        return " ".join(self.words)


@pytest.mark.parametrize("name, raw, expected", HTTP_CASES, ids=[name for name, _, _ in HTTP_CASES])
def test_wire_requests_under_every_cut(name, raw, expected):
    for pieces in cuts(raw):
        assert SansIO().answers(pieces) == expected, [len(p) for p in pieces[:9]]


def answer(*fields, body=b"", status=b"200 OK"):
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", body])


SAYS_CHUNKED = b"Transfer-Encoding: chunked"
SAYS_CLOSE = b"Connection: close"
RESPONSES_TABLE = [  # (name, method, bytes, expected): status, body, reusable; or error
    ("length", "GET", answer(b"Content-Length: 2", body=b"hi"), (200, b"hi", True)),
    ("length 0", "GET", answer(b"Content-Length: 0"), (200, b"", True)),
    ("chunks", "GET", answer(SAYS_CHUNKED, body=b"2\r\nhi" + LAST), (200, b"hi", True)),
    ("until close", "GET", answer(body=b"hi"), (200, b"hi", False)),
    ("says close", "GET", answer(SAYS_CLOSE, b"Content-Length: 0"), (200, b"", False)),
    ("HEAD", "HEAD", answer(b"Content-Length: 9"), (200, b"", True)),
    ("HEAD chunked", "HEAD", answer(SAYS_CHUNKED), (200, b"", True)),
    ("204", "GET", answer(status=b"204 No Content"), (204, b"", True)),
    ("304", "GET", answer(b"Content-Length: 9", status=b"304 x"), (304, b"", True)),
    ("100", "POST", answer(status=b"100 Continue"), (100, b"", True)),
    ("CONNECT", "CONNECT", answer(status=b"200 Connected"), (200, b"", True)),
    (
        "CONNECT refused",
        "CONNECT",
        answer(b"Content-Length: 2", body=b"no", status=b"407 x"),
        (407, b"no", True),
    ),
    ("empty", "GET", answer(b"Content-Length: 0", status=b"466 "), (466, b"", True)),
    ("no blank", "GET", answer(b"Content-Length: 0", status=b"466"), (466, b"", True)),
    ("latin-1 reason", "GET", answer(b"Content-Length: 0", status=b"200 \xfc"), (200, b"", True)),
    ("old", "GET", b"HTTP/1.0 200 OK\r\n\r\nhi", (200, b"hi", False)),
    ("long field", "GET", answer(b"A: " + b"b" * 40000, b"Content-Length: 0"), (200, b"", True)),
    ("128 fields", "GET", answer(*[b"A: b"] * 127, b"Content-Length: 0"), (200, b"", True)),
    ("129 fields", "GET", answer(*[b"A: b"] * 129), "error"),
    ("head over 64 KiB", "GET", answer(*[b"A: " + b"b" * 30000] * 3), "error"),
    ("cut head", "GET", b"HTTP/1.1 200 OK\r\nA: b\r\n", "cut"),
    ("cut length", "GET", answer(b"Content-Length: 3", body=b"hi"), "error"),
    ("cut chunk", "GET", answer(SAYS_CHUNKED, body=b"3\r\nhi"), "error"),
    ("cut last chunk", "GET", answer(SAYS_CHUNKED, body=b"2\r\nhi\r\n0\r\n"), "error"),
    ("both", "GET", answer(SAYS_CHUNKED, b"Content-Length: 2", body=b"2\r\nhi" + LAST), "error"),
    ("not HTTP", "GET", b"SSH-2.0-OpenSSH\r\n\r\n", "error"),
    ("version", "GET", b"HTTP/2 200\r\n\r\n", "error"),
    ("status", "GET", b"HTTP/1.1 2000 OK\r\n\r\n", "error"),
    ("fold", "GET", answer(b"A: b", b" c", b"Content-Length: 0"), "error"),
    ("bare LF", "GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "error"),
    ("bare CR", "GET", answer(b"A: b\rc", b"Content-Length: 0"), "error"),
]


def head_lines(raw, *limits):
    return cp.HeadReader(*limits).feed(raw)


def read_response(method, pieces):
    reader = cp.HeadReader(cp.RESPONSE_LIMITS)
    head = None
    framing = None
    body = b""
    try:
        for piece in pieces:
            if head is None:
                lines = reader.feed(piece)
                if not lines:
                    continue
                head = cp.parse_response_head(lines)
                piece = reader.rest
                framing = cp.response_framing(method, head)
            body += framing.feed(piece)
        if head is None:
            return "cut"
        reusable = framing.done and not framing.rest and keeps_alive(head)
        framing.eof()
        return head.status, body, reusable
    except cp.ProtocolError:
        return "error"


@pytest.mark.parametrize(
    "name, method, raw, expected", RESPONSES_TABLE, ids=[row[0] for row in RESPONSES_TABLE]
)
def test_wire_responses_under_every_cut(name, method, raw, expected):
    for pieces in cuts(raw):
        assert read_response(method, pieces) == expected, pieces[:9]


def joined(pairs):
    return {name: ", ".join(value for key, value in pairs if key == name) for name, _ in pairs}


def test_wire_round_trips():
    dice = random.Random(6)
    names = ["a", "X-B", "c_d", "anthropic-beta", "X-B"]
    chars = [chr(c) for c in range(33, 256) if c != 127]
    for _ in range(200):
        pairs = [
            (
                dice.choice(names),
                " ".join("".join(dice.choices(chars, k=dice.randrange(9))) for _ in "ab").strip(
                    " "
                ),
            )
            for _ in range(dice.randrange(6))
        ]
        lower = [(name.lower(), value) for name, value in pairs]
        raw = cp.encode_request_head("POST", "/v1/m?x", [("Host", "h"), *pairs])
        head = cp.parse_request_head(head_lines(raw))
        assert (head.path, head.query, head.headers) == (
            "/v1/m",
            "x",
            joined([("host", "h"), *lower]),
        )
        raw = cp.encode_response_head(404, pairs)
        answer = cp.parse_response_head(head_lines(raw))
        assert (answer[:3], answer.headers) == ((404, "Not Found", "1.1"), joined(lower))
        body = [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(5))]
        framing = cp.ChunkedBody()
        raw = b"".join(map(cp.encode_chunk, body)) + cp.LAST_CHUNK
        assert framing.feed(raw + b"more") == b"".join(body)
        assert framing.done and framing.rest == b"more"


@pytest.mark.parametrize(
    "name, value",
    [
        ("a", "b\r\nc: d"),
        ("a", "b\n"),
        ("a", "\0"),
        ("a", "\x7f"),
        ("a", "\u0100"),
        ("a", "\udc80"),
        ("a b", "c"),
        ("a:", "b"),
        ("", "b"),
        ("a\r\nb", "c"),
        ("\xe4", "c"),
    ],
)
def test_wire_encoders_refuse_what_would_break_a_head(name, value):
    for encode in (
        lambda: cp.encode_response_head(200, [(name, value)]),
        lambda: cp.encode_request_head("GET", "/", [(name, value)]),
    ):
        with pytest.raises(cp.ProtocolError):
            encode()


def test_wire_targets_and_repeated_headers():
    for target in ("/ b", "/\r\n", "/\xfc", "/\ud800", "", "/#"):
        with pytest.raises(cp.ProtocolError):
            cp.encode_request_head("GET", target, [])
    head = cp.parse_request_head(
        ["GET http://Host:1/a%2Fb%20%C3%BC?c=%20 HTTP/1.1", "Host: x", "A: 1", "a:2"]
    )
    assert head[:3] == ("GET", "/a/b \xfc", "c=%20")
    assert (head.version, head.authority) == ("1.1", "Host:1")
    assert head.headers == {"host": "x", "a": "1, 2"}


@pytest.mark.parametrize("unit", [" ", "\t", " \t", "a", " a"])
def test_wire_a_malformed_field_costs_linear_time(unit):
    began = time.process_time()
    with pytest.raises(cp.ProtocolError):
        cp.parse_response_head(["HTTP/1.1 200 OK", "a:" + unit * 30000 + "\x01"])
    assert time.process_time() - began < 1  # quadratic, blanks take 3 s and more


def test_wire_a_head_byte_by_byte_costs_linear_time():
    raw = b"HTTP/1.1 200 OK\r\n" + b"a: %b\r\n" % (b"b" * 500) * 120 + b"\r\n"
    reader = cp.HeadReader(cp.RESPONSE_LIMITS)
    began = time.process_time()
    lines = [line for byte in raw for line in reader.feed(bytes([byte]))]
    assert len(lines) == 121 and lines[-1] == "a: " + "b" * 500
    assert time.process_time() - began < 1  # 0.1 s; judged anew with each it takes 5 s


LONG_TEXT = json.dumps({"a": "words " * 300000}).encode()  # 1.8 MB of JSON
CODED = [  # coding, body as sent, body or status, words
    ("gzip", gzip.compress(b"{}"), b"{}", ""),
    ("GZIP", gzip.compress(b"{}"), b"{}", ""),
    ("x-gzip", gzip.compress(LONG_TEXT), LONG_TEXT, ""),
    ("deflate", zlib.compress(b"{}"), b"{}", ""),
    ("deflate", zlib.compress(LONG_TEXT), LONG_TEXT, ""),
    ("identity", b"{}", b"{}", ""),
    ("gzip", gzip.compress(b"x" * (1 << 21)), b"x" * (1 << 21), ""),  # of the limit
    ("gzip", gzip.compress(b"x" * ((1 << 21) + 1)), 413, "decoded body"),
    ("gzip", gzip.compress(b"x" * (1 << 25)), 413, "decoded body"),  # 33 KB
    ("gzip", gzip.compress(b"{}")[:-1], 400, "cut short"),
    ("gzip", gzip.compress(b"{}") + b"x", 400, "cut short"),
    ("gzip", gzip.compress(b"{}") + b"xy", 400, "not proper gzip"),
    ("gzip", gzip.compress(b'{"a":') + gzip.compress(b"1}"), b'{"a":1}', ""),  # two members
    ("gzip", b"{}", 400, "not proper gzip"),
    ("deflate", zlib.compress(b"{}")[2:-4], b"{}", ""),  # what many call deflate
    ("deflate", zlib.compress(LONG_TEXT)[2:-4], LONG_TEXT, ""),
    ("deflate", b"\xff\xff{}", 400, "not proper deflate"),
    ("br", b"{}", 415, "'br' cannot be read"),
    ("gzip, gzip", b"{}", 415, "cannot be read"),
    ("", b"{}", b"{}", ""),
]


def decode_content(coding, pieces, limit=1 << 21):
    decoder = cp.ContentDecoder(coding, limit)
    got = [part for piece in pieces for part in decoder.feed(piece)]
    decoder.finish()
    assert all(len(part) <= cp.DECODED_SLICE for part in got)
    return b"".join(got)


@pytest.mark.parametrize("coding, raw, expected, words", CODED, ids=range(len(CODED)))
def test_wire_content_codings_under_every_cut(coding, raw, expected, words):
    by_the_kilobyte = [raw[at : at + 1024] for at in range(0, len(raw), 1024)]
    for pieces in cuts(raw) if len(raw) < 100 else ([raw], by_the_kilobyte):
        if isinstance(expected, bytes):
            assert decode_content(coding, pieces) == expected
            continue
        with pytest.raises(cp.ProxyError, match=words) as caught:
            decode_content(coding, pieces)
        assert caught.value.status == expected


def test_wire_zstd_where_python_has_it():
    if cp.zstd is None:
        with pytest.raises(cp.ProxyError, match="enable_request_compression=false") as caught:
            cp.ContentDecoder("zstd", 99)
        assert caught.value.status == 415
        return
    raw = cp.zstd.compress(LONG_TEXT)
    for pieces in ([raw], [raw[at : at + 7] for at in range(0, len(raw), 7)]):
        assert decode_content("zstd", pieces) == LONG_TEXT
    for broken in (raw[:-1], raw + b"xy", b"{}", cp.zstd.compress(b"x" * (1 << 25))):
        with pytest.raises(cp.ProxyError):
            decode_content("zstd", [broken])


HOSTILE_LINES = [  # bytes that make bad patterns slow; all lines end where theirs do
    b"Connection: a" + b" " * 16000 + b"b",
    b"Connection: " + b" ," * 8000,
    b"Connection: " + b"," * 16000,
    b"Content-Type: application/json" + b" " * 16000 + b";",
    b"A:" + b" \t" * 8000 + b"\x01",
    b"Transfer-Encoding:" + b" " * 16000 + b"chunked x",
    b"Content-Length: " + b"0" * 16000,
    b"Authorization: " + b" " * 16000,
    b"Origin: http://" + b"[" * 16000,
]


@pytest.mark.parametrize("line", HOSTILE_LINES, ids=range(len(HOSTILE_LINES)))
def test_wire_hostile_lines_cost_a_millisecond(line):
    took = []
    for _ in range(3):
        began = time.perf_counter()
        with contextlib.suppress(cp.ProxyError):
            head = cp.parse_request_head(head_lines(get(line)))
            keeps_alive(head)
            cp.guard(head, cp.Config(), 1)
            cp.body_framing(head, MAX)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.02  # 16,000 blanks took 0.6 s where a pattern was quadratic


# ============================================================================
# 7. Models, names, Auto
# ============================================================================

ENTRIES = FakeUpstream().models
MODELS = cp.Catalogue(cp.parse_models({"data": ENTRIES}), "gpt-4.1")
AUTO_ONLY = cp.Catalogue(cp.parse_models({"data": FakeUpstream("free").models}))
BY_ID = {model.id: model for model in MODELS}
DIALECTS = ("anthropic", "openai", "responses")

NAMES = [
    ("exact", "claude-sonnet-4.5", "claude-sonnet-4.5"),
    ("case", "Claude-Sonnet-4.5", "claude-sonnet-4.5"),
    ("window suffix", "claude-sonnet-4.5[1m]", "claude-sonnet-4.5"),
    ("dashes", "claude-opus-4-8", "claude-opus-4.8"),
    ("dashes and window", "claude-opus-4-6[1M]", "claude-opus-4.6"),
    ("date", "claude-haiku-4-5-20251001", "claude-haiku-4.5"),
    ("date with dashes", "gpt-4o-2024-11-20", "gpt-4o"),
    ("haiku", "haiku", "claude-haiku-4.5"),
    ("sonnet", "sonnet", "claude-sonnet-5"),
    ("opus", "opus", "claude-opus-5"),
    ("opusplan", "opusplan", "claude-sonnet-5"),
    ("alias with a window", "opus[1m]", "claude-opus-5"),
    ("plan with a window", "opusplan[1m]", "claude-sonnet-5"),
    ("default", "default", "gpt-4.1"),
    ("none", "", "gpt-4.1"),
    ("newer than ours", "claude-haiku-5-5", "claude-haiku-4.5"),
    ("newer, window", "claude-opus-5-5[1m]", "claude-opus-5"),
    ("old order of words", "claude-3-5-haiku-20241022", "claude-haiku-4.5"),
    ("older", "claude-sonnet-4-20250514", "claude-sonnet-5"),
    ("hidden is callable", "gpt-4o", "gpt-4o"),
    ("codex stays codex", "gpt-5.9-codex", "gpt-5.3-codex"),
    ("preview", "gemini-3-pro", "gemini-3-pro-preview"),
    ("auto", "auto", "auto"),
    ("auto, case", "Auto", "auto"),
    ("another family", "claude-fable-5", cp.NotFound),
    ("family that the account lacks", "fable", cp.NotFound),
    ("unheard of", "llama-3", cp.NotFound),
    ("embeddings do not chat", "text-embedding-3-small", cp.NotFound),
    ("a digit that int() refuses", "claude-\u00b2", cp.NotFound),
    ("digits of another script", "gpt-\u0664\u06f5-\U0001d7d8", cp.NotFound),
    ("longest", "x" * 256, cp.NotFound),
    ("too long", "x" * 257, cp.BadRequest),
    ("megabytes", "-9" * 4_000_000, cp.BadRequest),
]


@pytest.mark.parametrize("name, asked, expected", NAMES, ids=[row[0] for row in NAMES])
def test_model_names(name, asked, expected):
    if isinstance(expected, str):
        assert MODELS.resolve(asked, "anthropic").id == expected
        assert MODELS.resolve(asked, "openai").id == expected
    else:
        with pytest.raises(expected) as caught:
            MODELS.resolve(asked, "anthropic")
        assert len(str(caught.value)) < 900


def test_model_ids_mean_themselves():
    for model in MODELS:
        if model.kind == "embeddings":
            dialect = "embeddings"
        else:
            dialect = "anthropic"
        assert MODELS.resolve(model.id, dialect) is model


def test_model_names_are_remembered_in_bounds():
    models = cp.Catalogue(MODELS)
    found = models.resolve("claude-haiku-5-5", "openai")
    models.clear()  # asked again it is not looked up
    assert models.resolve("claude-haiku-5-5", "openai") is found
    models.extend(MODELS)
    for number in range(3 * cp.MOST_RESOLVED):
        models.resolve("claude-haiku-9-%d" % number, "openai")
    assert models.resolve.cache_info().currsize <= cp.MOST_RESOLVED


def test_model_window_variant_and_enabled_are_preferred():
    models = cp.Catalogue(
        [
            cp.Model("claude-opus-4.6"),
            cp.Model("claude-opus-4.6-1m"),
            cp.Model("claude-opus-4.7", policy="disabled"),
            cp.Model("claude-fable-5.1"),
        ]
    )
    resolve = lambda name: models.resolve(name, "anthropic").id
    assert resolve("claude-opus-4-6[1m]") == "claude-opus-4.6-1m"
    assert resolve("opus") == "claude-opus-4.6"
    assert resolve("claude-opus-4.7") == "claude-opus-4.7"
    assert resolve("fable") == resolve("claude-fable-5") == "claude-fable-5.1"
    assert "github.com/settings/copilot" in str(cp.switched_off(models[2]))


MAPPED = [
    ("claude-haiku-*", "claude-haiku-4-5-20251001", "gpt-5-mini"),
    ("*HAIKU*", "claude-haiku-4.5", "gpt-5-mini"),
    ("*", "", "gpt-5-mini"),
    ("gpt-5*mini", "gpt-5-mini", "gpt-5-mini"),
    ("g.t-9", "gpt-9", "gpt-5.5"),  # a dot is a dot
    ("a*a", "a", cp.NotFound),
    ("haiku", "claude-haiku-4.5", "claude-haiku-4.5"),  # whole names only
    ("*a*a*a*a*a*a*b", "a" * 256, cp.NotFound),
]


@pytest.mark.parametrize("pattern, asked, expected", MAPPED, ids=short)
def test_model_map(pattern, asked, expected):
    models = cp.Catalogue(MODELS, "", [("nothing", "gpt-4o"), (pattern, "GPT-5-mini")])
    if expected is cp.NotFound:
        with pytest.raises(cp.NotFound, match="MODEL_MAP"):
            models.resolve(asked, "openai")
    else:
        assert models.resolve(asked, "openai").id == expected
    assert cp.Catalogue(MODELS, "", [("x", "auto")]).resolve("x", "openai") is cp.AUTO_MODEL


def plain_model(name, served="chat", **raw):
    endpoints = {"chat": [cp.CHAT], "responses": [cp.RESPONSES], "both": [cp.CHAT, cp.RESPONSES]}
    entry = {"id": name, "supported_endpoints": endpoints[served], **raw}
    return cp.parse_models({"data": [entry]})[0]


HIDDEN = {"model_picker_enabled": False}
DEFAULTS = [  # the catalogue, COPILOT_DEFAULT_MODEL, for chat clients
    ([plain_model("a"), plain_model("b", is_chat_default=True)], "", "b"),
    ([plain_model("a"), plain_model("b")], "", "a"),
    ([plain_model("a", **HIDDEN), plain_model("b")], "", "b"),
    ([plain_model("a", policy={"state": "disabled"}), plain_model("b")], "", "b"),
    ([plain_model("a", **HIDDEN, is_chat_default=True), plain_model("b")], "", "b"),
    ([cp.Model("a", endpoints=()), plain_model("b")], "", "b"),  # serves no dialect
    ([plain_model("a"), plain_model("b")], "b", "b"),
    ([plain_model("a"), plain_model("b")], "auto", "auto"),
    ([plain_model("a", **HIDDEN)], "", "auto"),
    ([plain_model("a", policy={"state": "disabled"})], "", "auto"),
    ([cp.Model("a", endpoints=("ws:/responses",))], "", "auto"),
    ([plain_model("a", **HIDDEN)], "a", cp.NotFound),
    ([cp.Model("e", kind="embeddings")], "", cp.NotFound),
    ([], "", cp.NotFound),
]


@pytest.mark.parametrize("models, setting, expected", DEFAULTS)
def test_model_default_comes_from_the_catalogue(models, setting, expected):
    catalogue = cp.Catalogue(models, setting)
    for asked in ("", "default"):
        if expected is cp.NotFound:
            with pytest.raises(cp.NotFound):
                catalogue.resolve(asked, "openai")
        else:
            assert catalogue.resolve(asked, "openai").id == expected


def test_model_default_of_embeddings():
    assert MODELS.resolve("", "embeddings").id == "text-embedding-3-small"
    assert AUTO_ONLY.resolve("", "embeddings").id == "text-embedding-3-small"


def test_model_no_id_is_a_default():
    assert cp.Config().copilot_default_model == ""


@pytest.mark.parametrize(
    "models, expected",
    [
        ([plain_model("a"), plain_model("b", "responses")], "b"),
        ([plain_model("a"), plain_model("b", "both"), plain_model("c", "responses")], "b"),
        ([plain_model("b", "responses"), plain_model("c", "both", is_chat_default=True)], "c"),
        ([plain_model("a"), plain_model("b", "responses", **HIDDEN)], "a"),
        ([plain_model("a", "both", **HIDDEN)], "auto"),
        ([plain_model("codex-auto-review", "both"), plain_model("a", "both")], "codex-auto-review"),
    ],
)
def test_model_codex_review_is_a_real_one(models, expected):
    assert cp.Catalogue(models).resolve("codex-auto-review", "openai").id == expected


def test_model_auto_only_plans():
    assert AUTO_ONLY.auto_only and not MODELS.auto_only and not cp.Catalogue().auto_only
    for asked in ("", "auto", "default", "codex-auto-review"):
        assert AUTO_ONLY.resolve(asked, "openai") is cp.AUTO_MODEL
    for asked in ("claude-haiku-4.5", "gpt-4o", "sonnet", "llama"):
        with pytest.raises(cp.NotFound, match="Auto only.*`auto`"):
            AUTO_ONLY.resolve(asked, "anthropic")
    assert [entry["id"] for entry in cp.models_payload(AUTO_ONLY)["data"]] == [
        "auto",
        "text-embedding-3-small",
    ]


@pytest.mark.parametrize(
    "asked, setting",
    [
        ("claude-haiku-9", "ANTHROPIC_DEFAULT_HAIKU_MODEL"),
        ("llama", "COPILOT_DEFAULT_MODEL"),
        ("claude-fable-5", "ANTHROPIC_DEFAULT_FABLE_MODEL"),
        ("claude-2", "ANTHROPIC_MODEL"),
        ("my-gpt-4o", "COPILOT_DEFAULT_MODEL"),
        ("default", "COPILOT_DEFAULT_MODEL"),
    ],
)
def test_model_not_found_names_three_ids_and_the_setting(asked, setting):
    models = cp.Catalogue([model for model in MODELS if "haiku" not in model.id], "nope")
    with pytest.raises(cp.NotFound) as caught:
        models.resolve(asked, "anthropic")
    text = str(caught.value)
    named = re.search(r"Closest: (.+?)\. Set", text)[1].split(", ")
    assert setting in text and len(named) == 3
    assert set(named) <= {model.id for model in models.choices()}  # none that are hidden


def test_model_environment_of_claude_code():
    env = cp.claude_environment(MODELS)
    assert env == {
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME": "Claude Haiku 4.5",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-opus-5",
        "ANTHROPIC_DEFAULT_OPUS_MODEL_NAME": "Claude Opus 5",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "claude-sonnet-5",
        "ANTHROPIC_DEFAULT_SONNET_MODEL_NAME": "Claude Sonnet 5",
        "ANTHROPIC_MODEL": "claude-sonnet-5",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(BY_ID["claude-sonnet-5"].prompt),
    }
    gpt = cp.claude_environment(cp.Catalogue([BY_ID["gpt-5-mini"]]))
    assert gpt["ANTHROPIC_MODEL"] == "gpt-5-mini" and not [k for k in gpt if "DEFAULT" in k]
    auto = cp.claude_environment(AUTO_ONLY)
    assert auto["ANTHROPIC_MODEL"] == auto["ANTHROPIC_DEFAULT_FABLE_MODEL"] == "auto"
    assert cp.claude_environment(cp.Catalogue()) == {}


def test_model_headers_that_cannot_be_sent_are_ignored():
    wants = {"X-Good": "a b", "x-bad": "\u20ac", "x-line": "a\r\nb", "authorization": "t", "x-n": 7}
    odd = {"id": "m", "request_headers": {**wants, "x-\u20ac": "v", "x-empty": ""}}
    assert cp.parse_models({"data": [odd]})[0].headers == (("x-good", "a b"),)
    assert cp.parse_models({"data": [{"id": "m", "request_headers": [1]}]})[0].headers == ()


def test_model_entries_that_cannot_be_read_are_skipped():
    odd = [
        None,
        7,
        {},
        {"id": ""},
        {"id": "\u043c\u043e\u0434\u0435\u043b\u044c"},
        {"id": "two words"},
        {"id": "x" * 257},
        {"id": "a", "capabilities": 3, "policy": [], "name": 1},
        {
            "id": "b",
            "supported_endpoints": "x",
            "capabilities": {
                "limits": {"max_output_tokens": "9"},
                "supports": {"reasoning_effort": [1]},
            },
        },
    ]
    assert [model.id for model in cp.parse_models({"data": odd})] == ["a", "b"]
    assert cp.parse_models({"data": odd})[1].output == 0
    for reply in (None, [], {}, {"data": None}, {"data": {"a": 1}}):
        assert cp.parse_models(reply) == []
    assert len(MODELS) == len(ENTRIES) - 1


def test_model_fields():
    haiku = BY_ID["claude-haiku-4.5"]
    assert (haiku.context, haiku.prompt, haiku.output) == (200000, 136000, 64000)
    assert haiku.budget == (1024, 32000) and not haiku.adaptive and haiku.vision
    assert BY_ID["gpt-4.1"].endpoints == (cp.CHAT,) and not BY_ID["gpt-4.1"].offered
    assert BY_ID["text-embedding-3-small"].endpoints == ()
    assert BY_ID["claude-opus-5"].adaptive


ENDPOINTS = [  # SPEC 4, every cell
    ("claude-haiku-4.5", cp.MESSAGES, cp.CHAT, cp.MESSAGES),
    ("gpt-5-mini", cp.CHAT, cp.CHAT, cp.RESPONSES),
    ("gpt-4.1", cp.CHAT, cp.CHAT, cp.CHAT),
    ("gpt-5.5", cp.RESPONSES, cp.RESPONSES, cp.RESPONSES),
    ("mind-reader-1", cp.BadRequest, cp.BadRequest, cp.BadRequest),
]


@pytest.mark.parametrize("name, anthropic, openai, responses", ENDPOINTS)
def test_model_endpoint_choice(name, anthropic, openai, responses):
    wanted = {"anthropic": anthropic, "openai": openai, "responses": responses}
    for dialect, expected in wanted.items():
        if expected is cp.BadRequest:
            with pytest.raises(cp.BadRequest, match="work here: .*gpt-5"):
                MODELS.choose_endpoint(BY_ID[name], dialect)
        else:
            assert MODELS.choose_endpoint(BY_ID[name], dialect) == expected


@pytest.mark.parametrize(
    "asked, listed, expected",
    [
        ("high", "low medium high", "high"),
        ("max", "low medium high", "high"),
        ("xhigh", "low max", "low"),
        ("none", "low medium", "low"),
        ("minimal", "low", "low"),
        ("high", "", ""),
        ("", "low", ""),
        ("ultra", "low", ""),
        ("ultra", "ultra", "ultra"),
    ],
)
def test_model_effort(asked, listed, expected):
    assert cp.clamp_effort(asked, cp.Model("m", efforts=tuple(listed.split()))) == expected


@pytest.mark.parametrize("dashed", [False, True])
def test_models_payload_pleases_both_sdks_codex_and_claude_code(dashed):
    reply = cp.models_payload(MODELS, dashed=dashed)
    ids = [entry["id"] for entry in reply["data"]]
    assert reply["object"] == "list" and reply["has_more"] is False and reply["models"] == []
    assert (reply["first_id"], reply["last_id"]) == (ids[0], ids[-1])
    shown = ("claude-haiku-4.5", "claude-haiku-4-5")
    assert (shown[dashed] in ids, shown[not dashed] in ids) == (True, False)
    assert {"text-embedding-3-small", "auto", "gpt-5.5"} <= set(ids)
    assert not {"gpt-4.1", "claude-opus-4.8", "gpt-5-5"} & set(ids)  # hidden, disabled
    assert "mind-reader-1" not in ids  # which this API cannot reach
    assert len(ids) == len(set(ids))
    for entry in reply["data"]:
        assert entry["object"] == entry["type"] == "model" and entry["display_name"]
        assert type(entry["created"]) is int and entry["created_at"].endswith("Z")
    opus = reply["data"][ids.index("claude-opus-5")]
    assert opus["credits"] == {"input": 500, "output": 2500, "cache_read": 50, "cache_write": 625}
    limits = BY_ID["claude-opus-5"].context, BY_ID["claude-opus-5"].output
    assert (opus["context_window"], opus["max_output_tokens"]) == limits
    assert cp.models_payload(cp.Catalogue())["first_id"] is None
    assert cp.models_payload(AUTO_ONLY)["first_id"] == "auto"


PRICED = [
    ({}, None),
    ({"input_price": 5}, None),
    ({"input_price": 5, "output_price": 10}, {"input": 5, "output": 10}),
    (
        {"input_price": 5, "output_price": 10, "cache_read_price": 1},
        {"input": 5, "output": 10, "cache_read": 1},
    ),
    ({"input_price": 5, "output_price": float("inf")}, None),
    ({"input_price": -1, "output_price": True}, None),
]


@pytest.mark.parametrize("given, expected", PRICED)
def test_model_prices(given, expected):
    assert cp.parse_prices({"billing": {"token_prices": {"default": given}}}) == expected
    half = {"batch_size": 500_000, "default": {"input_price": 1, "output_price": 2}}
    assert cp.parse_prices({"billing": {"token_prices": half}}) == {"input": 2, "output": 4}


# ============================================================================
# 8. Conversation
# ============================================================================
# The usage arithmetic, and Translation with a reader small enough to see through.


HUB_USAGE = [
    (
        "chat",
        {
            "prompt_tokens": 512,
            "completion_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 384},
        },
        None,
        (128, 17, 384, 0, 0, 0),
    ),
    (
        "responses",
        {
            "input_tokens": 919,
            "output_tokens": 95,
            "input_tokens_details": {"cached_tokens": 512, "cache_write_tokens": 128},
            "output_tokens_details": {"reasoning_tokens": 40},
        },
        {"total_nano_aiu": 7},
        (279, 95, 512, 128, 7, 40),
    ),
    (
        "gemini",
        {"prompt_tokens": 3, "completion_tokens": 2, "reasoning_tokens": 1},
        None,
        (3, 2, 0, 0, 0, 1),
    ),
    (
        "more cached than read",
        {
            "prompt_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9},
        },
        None,
        (0, 0, 5, 0, 0, 0),
    ),
    (
        "nonsense",
        {"prompt_tokens": "7", "completion_tokens": -1, "prompt_tokens_details": None},
        {"total_nano_aiu": True},
        (0,) * 6,
    ),
    ("none", None, "free", (0,) * 6),
]


@pytest.mark.parametrize("name, usage, cost, expected", HUB_USAGE)
def test_hub_usage(name, usage, cost, expected):
    told = {"usage": usage, "copilot_usage": cost}
    assert cp.openai_usage(told) == expected
    assert cp.openai_usage({"usage": usage}, {"copilot_usage": cost}) == expected


def test_hub_prompt_is_all_that_was_read():
    assert cp.TokenUsage(1, 2, 3, 4).prompt == 8


class LineReader:
    """A dialect of one word an event; `end` is its terminal event."""

    def __init__(self):
        self.usage = cp.TokenUsage(2, 1)
        self.finish_reason = ""
        self.done = False
        self.stop_sequence = self.failure = None

    def read(self, event, sink):
        if event.data == b"end":
            self.finish_reason = "stop"
        else:
            sink.text(event.data.decode())


def test_hub_translation_tells_the_sink_and_ends_only_in_finish():
    for pieces in cuts(b"data: one \n\ndata: two\n\ndata: end"):
        hub = cp.Translation(LineReader(), cp.MessagesWriter("msg_1", "m"))
        out = b"".join(hub.feed(piece) for piece in pieces)
        assert b"message_delta" not in out and not hub.finished
        out += hub.finish()
        assert hub.finished and not hub.done and hub.usage == cp.TokenUsage(2, 1)
        assert fold_message(o for _, o in frames(out))["content"][0]["text"] == "one two"


def test_hub_translation_never_makes_up_an_end():
    hub = cp.Translation(LineReader(), cp.MessagesWriter("msg_1", "m", fold=True))
    assert hub.feed(b"data: one\n\n") == b""
    with pytest.raises(cp.UpstreamError) as caught:
        hub.finish()
    assert str(caught.value) == cp.CUT_SHORT
    hub = cp.Translation(LineReader(), cp.MessagesWriter("msg_1", "m"))
    assert frames(hub.feed(b"data: one\n\n") + hub.fail(caught.value))[-1][0] == "error"


def test_hub_translation_ends_before_a_stop_sequence():
    hub = cp.Translation(LineReader(), cp.MessagesWriter("msg_1", "m"), stops=("wo",))
    hub.feed(b"data: one \n\ndata: two\n\ndata: end\n\n")
    hub.finish()
    whole = hub.whole()
    assert whole["content"] == [{"type": "text", "text": "one t"}]
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "wo")


def test_hub_stop_sequence_ends_the_text():
    for stops, pieces, expected in [
        (("END",), ["one E", "N", "D two"], "one "),
        (("END",), ["one EN"], "one EN"),
        (("aab",), list("aaaabaab"), "aa"),
        (("b", "abc"), ["xabc"], "xa"),
        (("\n\n",), ["a\nb\n", "\nc"], "a\nb"),
    ]:
        sink = RSink()
        stop = cp.StopAt(sink, stops)
        for piece in pieces:
            stop.text(piece)
            assert stop.reasoning and stop.refusal  # to look at them tells nothing
        stop.call(1, "c", "ls")
        stop.end("tool_calls", R_SPENT)
        hit = expected != "".join(pieces)
        word = "".join(pieces)[len(expected) :]
        cut = [s for s in stops if hit and word.startswith(s)][:1]
        assert sink.told == [("text", expected)] + (
            [(*R_STOP, *cut)] if hit else [("call", 1, "c", "ls"), R_TOOLS]
        )
        assert sink.take() == b""


def test_hub_tells_calls_one_after_another():
    sink = RSink()
    guard = cp.CallGuard(sink, names={"short": "own"})
    guard.call(1, "a", "short")
    guard.call(2, "b", "ls")
    guard.arguments(2, '{"b":1}')
    assert sink.told == [], "the first one is still to come"
    guard.arguments(1, '{"a"')
    begun = [("call", 1, "a", "own"), ("arguments", 1, '{"a"')]
    assert sink.told == begun
    guard.call(3, "c", "ls")
    guard.arguments(3, "{}")
    assert sink.told == begun, "the first one is not whole"
    guard.arguments(1, ":1}")
    guard.end("tool_calls", R_SPENT)
    rest = [("call", 2, "b", "ls"), ("arguments", 2, '{"b":1}')]
    rest += [("call", 3, "c", "ls"), ("arguments", 3, "{}"), R_TOOLS]
    assert sink.told == [begun[0], ("arguments", 1, '{"a":1}'), *rest]


def test_hub_tells_a_call_at_once_behind_a_whole_one():
    sink = RSink()
    guard = cp.CallGuard(sink)
    for key in (1, 2):
        guard.call(key, "a", "ls")
        guard.arguments(key, '{"a":1')
        assert sink.told[-1] == ("arguments", key, '{"a":1')
        guard.arguments(key, "}")
    guard.call(3, "c", "ls")
    with pytest.raises(cp.UpstreamError, match="not a JSON object"):
        guard.end("stop", R_SPENT)
    assert len(sink.told) == 4
    guard.end("length", R_SPENT)
    assert len(sink.told) == 5, "a cut call that has not begun is left out"


@pytest.mark.parametrize(
    "first, second, more",
    [
        ('{"a"', "{}", ":1}"),  # the first one is not whole
        ("{}", '"{}"', ""),  # perhaps encoded twice
    ],
)
def test_hub_keeps_a_call_that_cannot_be_told_yet(first, second, more):
    sink = RSink()
    guard = cp.CallGuard(sink)
    for key, fragment in ((1, first), (2, second)):
        guard.call(key, "c", "ls")
        guard.arguments(key, fragment)
    assert sink.told == [("call", 1, "c", "ls"), ("arguments", 1, first)]
    guard.arguments(1, more)
    guard.end("stop", R_SPENT)
    rest = [("call", 2, "c", "ls"), ("arguments", 2, "{}"), R_STOP]
    assert sink.told[1:] == [("arguments", 1, first + more), *rest]


NAMELESS = [{"id": odd, "call_id": odd} for odd in ("", None, 5, [], {})] + [{}]


@pytest.mark.parametrize("odd", NAMELESS, ids=lambda odd: str(odd.get("id", "absent")))
@pytest.mark.parametrize("dialect", ["messages", "chat", "responses"])
def test_hub_makes_the_ids_that_an_upstream_leaves_out(dialect, odd):
    wire = RWire()
    told = {"name": "ls", "input": {}, "arguments": "{}", **odd}
    raw = m_start()
    chunks = b""
    for at in range(2):
        raw += m_event("content_block_start", index=at, content_block={"type": "tool_use", **told})
        raw += m_event("content_block_stop", index=at)
        wire.item("done", at, {"type": "function_call", **told})
        call = {"index": at, "function": told, **odd}
        chunks += data({"choices": [{"delta": {"tool_calls": [call]}}]})
    raw += m_event("message_delta", delta={"stop_reason": "tool_use"}) + m_event("message_stop")
    items = [{"type": "function_call", **told} for _ in range(2)]
    chunks += data({"choices": [{"finish_reason": "tool_calls"}]})
    answers = {
        "messages": (raw, cp.MessagesReader),
        "chat": (chunks, cp.ChatReader),
        "responses": (wire.end(output=items).raw, cp.ResponsesReader),
    }
    raw, reader = answers[dialect]
    for fold in (False, True):
        for writer, pattern in (
            (cp.MessagesWriter("msg_1", "m", fold=fold), rb'"id":"(call_[^"]+)"'),
            (cp.ChatWriter("chatcmpl-1", "m", 1, False, fold=fold), rb'"id":"(call_[^"]+)"'),
            (r_writer(fold=fold), rb'"call_id":"(call_[^"]+)"'),
        ):
            machine = cp.Translation(reader(), writer)
            out = machine.feed(raw) + machine.finish()
            ids = re.findall(pattern, cp.dumps(machine.whole()) if fold else out)
            assert len(set(ids)) == 2 and b'id":""' not in out, (writer, ids)


def test_hub_forgives_a_call_behind_a_stop_sequence():
    wire = RWire().message(0, ["one END"])
    raw = wire.call(1, ['{"a":']).end().raw
    machine = cp.Translation(
        cp.ResponsesReader(), cp.ChatWriter("i", "m", 1, False, fold=True), stops=("END",)
    )
    machine.feed(raw)
    machine.finish()
    choice = machine.whole()["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "one "}
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("stops", [["x"] * 100_000, ["x" * 257], ["x" * 10**6] * 2])
def test_hub_refuses_stop_sequences_that_cost_too_much(stops):
    for parse, key in ((cp.parse_messages, "stop_sequences"), (cp.parse_chat, "stop")):
        body = {"messages": [HI_MESSAGE], "max_tokens": 9, key: stops}
        with pytest.raises(cp.BadRequest, match="^%s: at most 64" % key):
            parse(body)


# ============================================================================
# 9. Anthropic Messages
# ============================================================================
# Requests: one row a rule, refusals with their exact path. Answers: every stream is
# checked against the grammar and against its own fold.


# -- requests ----------------------------------------------------------------

SIGNED = cp.pack_reasoning("b/9+=", "chat:Google")
NONE = cp.pack_reasoning("", "")
PNG_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iV"}}
PDF_BLOCK = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JV"},
}
USE = {"type": "tool_use", "id": "c1", "name": "Read", "input": {"p": "ä"}}
NOW = {"type": "tool_use", "id": "c2", "name": "Now"}
HI_MESSAGE = {"role": "user", "content": "hi"}


def said(text, **more):
    return {"type": "text", "text": text, **more}


def result(call_id, content=None, **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def by_user(*blocks):
    return {"role": "user", "content": list(blocks)}


def by_model(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def by_system(*blocks):
    return {"role": "system", "content": list(blocks)}


def thinking(text, signature):
    return {"type": "thinking", "thinking": text, "signature": signature}


READ = {"name": "Read", "description": "d", "input_schema": {"type": "object"}}
DEFERRED = [
    READ,
    {"name": "Web", "input_schema": {}, "defer_loading": True},
    {"name": "DeferredToolPlaceholder", "input_schema": {}, "defer_loading": True},
]
BILL = said("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;")
IDS = '{"device_id":"%s","account_uuid":"","session_id":"11d5-aa"}' % ("f" * 64)
CACHED = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}

TEXT_SOURCE = {"type": "text", "media_type": "text/plain", "data": "body"}
AT = "messages.0.content"
IN = "messages.0.content.0"
REFUSALS = [  # body, start of the message
    ({}, "messages: required"),
    ({"messages": "hi"}, "messages: expected a list"),
    ({"messages": []}, "messages: at least one"),
    ({"messages": [by_user(), {"role": "system", "content": []}]}, "messages: at least one"),
    (
        {
            "messages": [
                by_user(
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": " "},
                    }
                )
            ]
        },
        "messages: at least one",
    ),
    ({"messages": ["hi"]}, "messages.0: expected an object"),
    ({"messages": [HI_MESSAGE, {"content": "x"}]}, "messages.1.role: required"),
    (
        {"messages": [{"role": "tool", "content": ""}]},
        "messages.0.role: expected user or assistant",
    ),
    ({"messages": [{"role": "user"}]}, AT + ": expected a list"),
    ({"messages": [{"role": "user", "content": 5}]}, AT + ": expected a list"),
    ({"messages": [by_user("hi")]}, IN + ": expected an object"),
    ({"messages": [by_user({"text": "x"})]}, IN + ".type: required"),
    ({"messages": [by_user({"type": "text"})]}, IN + ".text: required"),
    (
        {"messages": [by_user(USE)]},
        IN + ": a block of type 'tool_use' cannot be sent to this model (user)",
    ),
    (
        {"messages": [by_model(PNG_BLOCK)]},
        IN + ": a block of type 'image' cannot be sent to this model (assistant)",
    ),
    ({"messages": [{"role": "system", "content": [PNG_BLOCK]}]}, IN + ": a block of type 'image'"),
    ({"messages": [by_user({"type": "tool_result"})]}, IN + ".tool_use_id: required"),
    ({"messages": [by_user(result("c1", is_error="no"))]}, IN + ".is_error: expected true"),
    ({"messages": [by_model({**USE, "input": "{}"})]}, IN + ".input: expected an object"),
    ({"messages": [by_model({**USE, "id": None})]}, IN + ".id: required"),
    ({"messages": [by_user({"type": "image"})]}, IN + ".source: required"),
    (
        {"messages": [by_user({"type": "document", "source": {"type": "url", "url": "u"}})]},
        IN + ".source.type: expected base64 or text or content, not 'url'",
    ),
    (
        {"messages": [by_user({"type": "image", "source": {"type": "base64", "data": 5}})]},
        IN + ".source.data: expected a string",
    ),
    ({"tools": [READ, {"input_schema": {}}]}, "tools.1.name: required"),
    (
        {"tools": [{"type": "x" * 99, "name": "n"}]},
        "tools.0.type: '%s' is known to Anthropic's own" % ("x" * 60),
    ),
    ({"tools": [READ], "tool_choice": {"type": "some"}}, "tool_choice.type: expected auto or"),
    ({"thinking": {"type": "deep"}}, "thinking.type: expected"),
    ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type: expected json"),
    (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema: required",
    ),
    ({"stop_sequences": [1]}, "stop_sequences.0: expected a string"),
    ({"max_tokens": True}, "max_tokens: expected a whole number"),
    ({"temperature": "hot"}, "temperature: expected a number"),
]


@pytest.mark.parametrize("body, message", REFUSALS)
def test_messages_refusals(body, message):
    with pytest.raises(cp.BadRequest) as caught:
        cp.parse_messages(
            {"messages": [HI_MESSAGE], **body} if body and "messages" not in body else body
        )
    assert str(caught.value).startswith(message)


def served(kind, content, **more):
    return {"type": kind, "tool_use_id": "srvtoolu_1", "content": content, **more}


def reference(name):
    return {"type": "tool_reference", "tool_name": name}


PDF_PART = cp.Document("data:application/pdf;base64,JV", "a.pdf")
TOLD_BLOCKS = [  # a block of another server, what the model reads
    (
        {"type": "mcp_tool_use", "id": "m1", "name": "echo", "server_name": "s", "input": {"a": 1}},
        '[mcp_tool_use echo s input {"a":1}]',
    ),
    (
        served("mcp_tool_result", [said("out")], is_error=True),
        "[mcp_tool_result\ntext out is_error true]",
    ),
    ({"type": "compaction", "content": "So far: x."}, "[compaction So far: x.]"),
    (
        served(
            "web_fetch_tool_result",
            {
                "type": "web_fetch_result",
                "url": "u",
                "content": {
                    "type": "document",
                    "title": "t",
                    "source": {"type": "text", "media_type": "text/plain", "data": "body"},
                },
            },
        ),
        "[web_fetch_tool_result\nweb_fetch_result u\ndocument t\ntext text/plain body]",
    ),
    (
        served("web_fetch_tool_result", {"type": "base64", "media_type": "m", "data": "JV"}),
        "[web_fetch_tool_result\nbase64 m]",
    ),
    (
        served(
            "tool_search_tool_result",
            {"type": "tool_search_tool_search_result", "tool_references": [reference("Read")]},
        ),
        "[tool_search_tool_result\ntool_search_tool_search_result\ntool_reference Read]",
    ),
    (
        served(
            "bash_code_execution_tool_result",
            {"type": "bash_code_execution_result", "stdout": "hi\n", "return_code": 0},
        ),
        "[bash_code_execution_tool_result\nbash_code_execution_result hi\n return_code 0]",
    ),
    (
        served(
            "advisor_tool_result", {"type": "advisor_redacted_result", "encrypted_content": "E"}
        ),
        "[advisor_tool_result\nadvisor_redacted_result]",
    ),
    ({"type": "container_upload", "file_id": "file_1"}, "[container_upload file_1]"),
]


@pytest.mark.parametrize("block, text", TOLD_BLOCKS, ids=[row[0]["type"] for row in TOLD_BLOCKS])
def test_messages_blocks_of_other_servers_are_told(block, text):
    for turn in (by_model(block), by_user(block), by_user(result("c9", [block]))):
        told = cp.parse_messages({"messages": [HI_MESSAGE, turn]}).turns[-1].parts[-1]
        assert told in (cp.Text(text), cp.Result("c9", (cp.Text(text),)))


@pytest.mark.parametrize("kind", ["hologram", "tool_resultx", "x" * 99, "Tool_Use"])
def test_messages_unknown_blocks_are_named(kind):
    for turn, path in ((by_user({"type": kind}), IN), (by_model({"type": kind}), IN)):
        with pytest.raises(cp.BadRequest, match="^%s: a block of type '%s'" % (path, kind[:60])):
            cp.parse_messages({"messages": [turn]})


NAMELESS = {"type": "base64", "data": "iV"}
DOCUMENTS = [  # a document without its type, the parts
    ({"source": TEXT_SOURCE}, [cp.Text("body")]),
    (
        {"source": TEXT_SOURCE, "title": "t", "context": "from 1999"},
        [cp.Text("t"), cp.Text("from 1999"), cp.Text("body")],
    ),
    ({k: v for k, v in PDF_BLOCK.items() if k != "type"}, [PDF_PART]),
    ({**PDF_BLOCK, "context": "from 1999"}, [cp.Text("from 1999"), PDF_PART]),
    (
        {"source": {"type": "base64", "media_type": "text/csv", "data": "YSxi"}, "title": "t"},
        [cp.Document("data:text/csv;base64,YSxi", "t")],
    ),
    (
        {"source": {"type": "content", "content": [said("one"), PNG_BLOCK]}, "context": "c"},
        [cp.Text("c"), cp.Text("one"), cp.Image("data:image/png;base64,iV")],
    ),
    ({"source": {"type": "content", "content": "one"}}, [cp.Text("one")]),
    (
        {"source": {"type": "content", "content": [{**PNG_BLOCK, "source": NAMELESS}]}},
        [cp.Image("data:;base64,iV")],
    ),
]


@pytest.mark.parametrize("document, parts", DOCUMENTS)
def test_messages_documents(document, parts):
    block = {**document, "type": "document"}
    assert list(cp.parse_messages({"messages": [by_user(block)]}).turns[0].parts) == parts
    turns = [by_model(USE), by_user(result("c1", [block]))]
    found = cp.parse_messages({"messages": turns}).turns[-1].parts[0]
    assert list(found.parts) == parts


@pytest.mark.parametrize(
    "choice, expected",
    [
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ({"type": "function", "function": {"name": "Read"}}, "=Read"),
        ({"type": "function", "name": "Read"}, "=Read"),
        ({"type": "tool", "name": "Read"}, "=Read"),
        ({"type": "any"}, "required"),
    ],
)
def test_messages_tool_choice_of_either_dialect(choice, expected):
    body = {"messages": [HI_MESSAGE], "tools": [READ], "tool_choice": choice}
    assert cp.parse_messages(body).tool_choice == expected


def test_messages_deferred_tools_that_a_server_found():
    search = served(
        "tool_search_tool_result",
        {"type": "tool_search_tool_search_result", "tool_references": [reference("Web")]},
    )
    body = {"messages": [HI_MESSAGE, by_model(search), HI_MESSAGE], "tools": DEFERRED}
    assert [tool.name for tool in cp.parse_messages(body).tools] == ["Read", "Web"]


def test_messages_system_turns_may_stand_anywhere():
    empty = {"role": "system", "content": [], "output_config": {"effort": "low"}}
    turns = [HI_MESSAGE, empty, by_model(USE), by_system(said("rule")), by_user(result("c1", "r"))]
    parsed = cp.parse_messages({"messages": turns + [empty]}).turns
    assert [turn.role for turn in parsed] == ["user", "assistant", "system", "user"]
    assert parsed[2].parts == (cp.Text("rule"),)


@pytest.mark.parametrize(
    "turns",
    [
        lambda count: [HI_MESSAGE, by_model(said("x"))] * count,
        lambda count: [by_user(*[said("x")] * count)],
        lambda count: [
            turn
            for at in range(count)
            for turn in (by_model({**USE, "id": "c%d" % at}), by_user(result("c%d" % at, "r")))
        ],
        lambda count: [by_user(served("compaction", [[["x"]]] * count))],
    ],
    ids=["short turns", "small blocks", "tool pairs", "odd content"],
)
def test_messages_parse_in_linear_time(turns):
    def seconds(count):
        body = {"messages": turns(count)}
        started = time.process_time()
        cp.parse_messages(body)
        return time.process_time() - started

    few = min(seconds(2000) for _ in range(3))
    assert min(seconds(8000) for _ in range(2)) < 4 * 2 * few + 0.02


ADAPTIVE = cp.Model("claude-a", vendor="Anthropic", adaptive=True)
BUDGETED = cp.Model("claude-b", vendor="Anthropic", budget=(1024, 32000))
THOUGHTLESS = cp.Model("claude-c", vendor="Anthropic")
ONE_TOOL = (cp.Tool("f", "does", {"type": "object"}),)
ONE_SENT = {"tools": [{"name": "f", "description": "does", "input_schema": {"type": "object"}}]}
ENCODED = [  # settings of a conversation, the model, more than model, stream and messages
    ({}, ADAPTIVE, {}),
    ({"max_tokens": 9, "top_p": 0, "stop": ("k",)}, BUDGETED, {"stop_sequences": ["k"]}),
    ({"user": "u", "temperature": 0.5}, BUDGETED, {"metadata": {"user_id": "u"}}),
    ({"effort": "high"}, ADAPTIVE, {"thinking": {"type": "adaptive"}}),
    ({"effort": "high"}, BUDGETED, {"thinking": {"type": "adaptive"}}),
    ({"effort": "high"}, THOUGHTLESS, {}),
    ({"effort": "none"}, ADAPTIVE, {}),
    ({"parallel": True}, ADAPTIVE, {}),
    ({"parallel": False, "tool_choice": "required"}, ADAPTIVE, {}),
    (
        {"parallel": False, "tools": ONE_TOOL},
        ADAPTIVE,
        {**ONE_SENT, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    (
        {"parallel": False, "tool_choice": "required", "tools": ONE_TOOL},
        ADAPTIVE,
        {**ONE_SENT, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    (
        {"parallel": False, "tool_choice": "none", "tools": ONE_TOOL},
        ADAPTIVE,
        {**ONE_SENT, "tool_choice": {"type": "none"}},
    ),
    (
        {"tool_choice": "=f", "tools": ONE_TOOL},
        ADAPTIVE,
        {**ONE_SENT, "tool_choice": {"type": "tool", "name": "f"}},
    ),
    ({"schema": {"schema": SCHEMA["schema"]}}, ADAPTIVE, {"output_config": {"format": SCHEMA}}),
    ({"schema": {}}, ADAPTIVE, {"system": [said(cp.JSON_ONLY)]}),
]


@pytest.mark.parametrize("settings, model, expected", ENCODED)
def test_messages_encode_settings(settings, model, expected):
    turns = (cp.Turn("user", (cp.Text("hi"),)),)
    sent = cp.encode_messages(cp.Conversation(turns, **settings), model)
    fixed = {"model": model.id, "stream": True, "messages": [by_user(said("hi"))]}
    same = {key: settings[key] for key in ("max_tokens", "temperature", "top_p") if key in settings}
    if "effort" in settings:
        same["output_config"] = {"effort": settings["effort"]}
    assert sent == {**fixed, **same, **expected}


def test_messages_encode_what_was_parsed():
    body = {
        "system": [said("rule")],
        "tools": [READ],
        "messages": [
            by_user(said("hi"), PNG_BLOCK, PDF_BLOCK),
            by_model(said("so"), USE, {**USE, "id": "c2", "input": {}}),
            by_user(result("c1", [said("r"), PNG_BLOCK]), result("c2", [said("x")], is_error=True)),
        ],
    }
    sent = cp.encode_messages(cp.parse_messages(body), ADAPTIVE)
    assert sent == {**body, "model": "claude-a", "stream": True}


def test_messages_signature_is_one_word_and_comes_back():
    for pair in (("b/9+=", "responses:Azure OpenAI"), ("", ""), ("a@b c%41", "x@y")):
        packed = cp.pack_reasoning(*pair)
        assert cp.unpack_reasoning(packed) == pair and packed.split() == [packed]
    assert cp.unpack_reasoning("EqQBCg==") is None is cp.unpack_reasoning("")


# -- answers -----------------------------------------------------------------


def guarded_writer(names={}, **options):
    return cp.CallGuard(cp.MessagesWriter("msg_1", "gpt", 99, **options), names=names)


def tell(told, names={}, **options):
    sink = guarded_writer(names, **options)
    for method, *args in told:
        getattr(sink, method)(*args)
    return sink


def streamed(told, takes=False, names={}, **options):
    """The events of `told`, checked; with `takes` the bytes are taken after each call."""
    sink = guarded_writer(names, **options)
    out = b""
    for method, *args in told:
        getattr(sink, method)(*args)
        out += sink.take() if takes else b""
    events = [obj for _, obj in frames(out + sink.take())]
    grammar(events)
    return events


def shown(message):
    """A Message's content in short."""
    return [
        (
            b["type"][0],
            b.get("text", b.get("thinking", b.get("input"))),
            *([b["signature"]] if "signature" in b else [b["id"], b["name"]] if "id" in b else []),
        )
        for b in message["content"]
    ]


END = ("end", "stop", cp.TokenUsage())
USED = cp.TokenUsage(10, 5, 3, 2, 7)
CALL_A = ("call", 0, "a", "A")
CALL_B = ("call", 1, "b", "B")
STREAM_CASES = [  # name, told, stop_reason, content
    (
        "text",
        [("text", "He"), ("text", ""), ("text", "llo \ud83d"), ("text", '\ude00\n"é'), END],
        "end_turn",
        [("t", 'Hello 😀\n"é')],
    ),
    ("nothing", [END], "end_turn", []),
    (
        "empty words open nothing",
        [("text", ""), ("reasoning", ""), ("refusal", ""), END],
        "end_turn",
        [],
    ),
    (
        "thinking before text",
        [("reasoning", "a"), ("reasoning", "b"), ("text", "c"), END],
        "end_turn",
        [("t", "ab", NONE), ("t", "c")],
    ),
    (
        "opaque signs the open block",
        [("reasoning", "a"), ("opaque", "b/9+=", "chat:Google"), ("reasoning", "b"), END],
        "end_turn",
        [("t", "a", SIGNED), ("t", "b", NONE)],
    ),
    (
        "opaque alone, after text",
        [("text", "a"), ("opaque", "b/9+=", "chat:Google"), END],
        "end_turn",
        [("t", "a"), ("t", "", SIGNED)],
    ),
    (
        "opaque inside a call waits",
        [
            CALL_A,
            ("arguments", 0, "{"),
            ("opaque", "b/9+=", "chat:Google"),
            ("arguments", 0, "}"),
            END,
        ],
        "tool_use",
        [("t", {}, "a", "A"), ("t", "", SIGNED)],
    ),
    (
        "call",
        [("text", "x"), CALL_A, ("arguments", 0, '{"a'), ("arguments", 0, '":1}'), END],
        "tool_use",
        [("t", "x"), ("t", {"a": 1}, "a", "A")],
    ),
    (
        "no arguments",
        [CALL_A, ("arguments", 0, "{}"), CALL_B, *[("arguments", 1, w) for w in (" ", "{}")], END],
        "tool_use",
        [("t", {}, "a", "A"), ("t", {}, "b", "B")],
    ),
    (
        "fragments wait",
        [
            CALL_A,
            ("arguments", 0, '{"a":'),
            CALL_B,
            ("arguments", 1, '{"b":{}'),
            ("arguments", 0, "{}"),
            ("arguments", 1, "}"),
            ("arguments", 0, "}"),
            ("arguments", 0, "\n"),
            END,
        ],
        "tool_use",
        [("t", {"a": {}}, "a", "A"), ("t", {"b": {}}, "b", "B")],
    ),
    (
        "text ends the calls",
        [CALL_A, ("arguments", 0, "{}"), CALL_B, ("arguments", 1, "{}"), ("text", "x"), END],
        "tool_use",
        [("t", {}, "a", "A"), ("t", {}, "b", "B"), ("t", "x")],
    ),
    (
        "a call that has not begun lets text by",
        [CALL_A, ("text", "x"), ("arguments", 0, "{}"), END],
        "tool_use",
        [("t", "x"), ("t", {}, "a", "A")],
    ),
    ("length", [("text", "x"), ("end", "length", USED)], "max_tokens", [("t", "x")]),
    (
        "length in a call",
        [CALL_A, ("arguments", 0, '{"a'), ("end", "length", USED)],
        "max_tokens",
        [],
    ),
    (
        "length: whole calls stay",
        [
            CALL_A,
            ("arguments", 0, '{"a'),
            CALL_B,
            ("arguments", 1, "{}"),
            ("call", 2, "c", "C"),
            ("end", "length", USED),
        ],
        "max_tokens",
        [("t", {}, "b", "B")],
    ),
    (
        "tool_calls without one",
        [("text", "x"), ("end", "tool_calls", USED)],
        "end_turn",
        [("t", "x")],
    ),
    ("own stop_reason", [("end", "stop_sequence", USED)], "stop_sequence", []),
    ("filter", [("text", "x"), ("end", "content_filter", USED)], "refusal", [("t", "x")]),
    (
        "refusal",
        [("text", "x"), ("refusal", "I "), ("refusal", "won't"), END],
        "refusal",
        [("t", "x"), ("t", "I won't")],
    ),
]


@pytest.mark.parametrize("name, told, stop_reason, content", STREAM_CASES)
def test_messages_stream_and_fold(name, told, stop_reason, content):
    events = streamed(told)
    sink = tell(told, fold=True)
    assert sink.take() == b"" and events[-2]["delta"]["stop_reason"] == stop_reason
    for message in (events, streamed(told, takes=True)):
        message = json.loads(json.dumps(fold_message(message)))  # joins half surrogates
        assert (message["stop_reason"], shown(message)) == (stop_reason, content)
        assert message == json.loads(json.dumps(sink.whole()))


def test_messages_reader_tells_each_block():
    raw = m_start() + m_block(0, "thinking", ["h", "m"], signature="S")
    raw += m_block(1, "redacted_thinking", data="R") + m_block(2, "text", ["a", "b"])
    raw += m_block(3, "tool_use", id="c1", name="f", input={"p": 1})
    raw += m_block(4, "tool_use", ['{"q', '":2}'], id="c2", name="f")
    assert sink_told([raw + m_end("tool_use")], cp.MessagesReader("s")) == [
        ("reasoning", "hm"),
        ("opaque", "S", "s"),
        ("opaque", "R", "s" + cp.REDACTED),
        ("text", "ab"),
        ("call", 1, "c1", "f"),
        ("arguments", 1, '{"p":1}'),
        ("call", 2, "c2", "f"),
        ("arguments", 2, '{"q":2}'),
        R_TOOLS,
    ]
    for ending, expected in (
        (m_end("end_turn"), R_STOP),
        (m_end("max_tokens"), R_LONG),
        (m_end("stop_sequence", stop_sequence="END"), (*R_STOP, "END")),
        (b"", (cp.UpstreamError, cp.CUT_SHORT)),
    ):
        assert sink_told([m_start() + ending], cp.MessagesReader()) == [expected]


def test_messages_cut_call_is_in_the_stream_as_it_is():
    events = streamed([CALL_A, ("arguments", 0, '{"a'), CALL_B, ("end", "length", USED)])
    assert [e["delta"].get("partial_json") for e in events if "delta" in e][:-1] == ['{"a']


def test_messages_usage():
    events = streamed([("text", "x"), ("end", "stop", USED)], names={"read": "READ"})
    assert events[0]["message"]["usage"]["input_tokens"] == 99
    truth = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    }
    assert events[-2]["usage"] == truth == fold_message(events)["usage"]
    assert fold_message(events)["copilot_usage"] == {"total_nano_aiu": 7}
    untold = streamed([END])  # the upstream told no usage: the estimate stands
    assert "copilot_usage" not in untold[-2]
    assert fold_message(untold)["usage"]["input_tokens"] == 99
    cached = streamed([("end", "stop", cp.TokenUsage(0, 1, 500))])
    assert fold_message(cached)["usage"]["input_tokens"] == 1, "the estimate would be added"


def test_messages_names_and_refusal_are_told():
    told = [("call", 0, "i", "read"), ("arguments", 0, "{}"), END]
    events = streamed(told, names={"read": "READ"})
    assert events[1]["content_block"] == {
        "type": "tool_use",
        "id": "i",
        "name": "READ",
        "input": {},
    }
    events = streamed([("refusal", "No."), ("end", "length", USED)])
    assert events[-2]["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "No."},
    }


OPAQUE = ("opaque", "b/9+=", "chat:Google")
QUIET_CASES = [  # without thinking asked for: name, told, content
    ("text comes first", [OPAQUE, ("text", "x"), END], [("t", "x")]),
    ("reasoning is not shown", [("reasoning", "hm"), OPAQUE, ("text", "x"), END], [("t", "x")]),
    (
        "a call takes its reasoning along",
        [OPAQUE, ("text", "x"), CALL_A, ("arguments", 0, "{}"), END],
        [("t", "x"), ("t", "", SIGNED), ("t", {}, "a", "A")],
    ),
    (
        "which came inside it",
        [CALL_A, ("arguments", 0, "{}"), OPAQUE, END],
        [("t", {}, "a", "A"), ("t", "", SIGNED)],
    ),
    (
        "one for each of two calls",
        [OPAQUE, CALL_A, ("arguments", 0, "{}"), OPAQUE, CALL_B, ("arguments", 1, "{}"), END],
        [("t", "", SIGNED), ("t", {}, "a", "A"), ("t", "", SIGNED), ("t", {}, "b", "B")],
    ),
]


@pytest.mark.parametrize("name, told, content", QUIET_CASES)
def test_messages_thinking_that_nobody_asked_for(name, told, content):
    for takes in (False, True):
        events = streamed(told, takes, thinking=False)
        assert shown(fold_message(events)) == content


def test_messages_name_the_stop_sequence():
    events = streamed([("text", "x"), ("end", "stop", USED, "END")])
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_messages_long_arguments_beside_a_waiting_call_are_linear():
    fragment = '"k":{},' * 10 + '"e":{}'

    def seconds(count):
        sink = tell([CALL_A, ("arguments", 0, "{"), CALL_B, ("arguments", 1, "{")])
        started = time.process_time()
        for at in range(count):
            sink.arguments(0, '"%d":{%s},"e":{}' % (at, fragment))
            sink.arguments(0, ",")
        return time.process_time() - started

    few = min(seconds(500) for _ in range(3))
    assert seconds(4000) < 8 * 2.6 * few + 0.05


def test_messages_error_is_the_last_word():
    for told in ([], [("text", "x")], [CALL_A, ("arguments", 0, "{")]):
        sink = tell(told + [("error", cp.UpstreamError("gone", status=503))])
        first = sink.take()
        for method, *args in [
            ("text", "y"),
            ("call", 9, "z", "Z"),
            ("opaque", "o", "s"),
            ("arguments", 9, "{}"),
            ("end", "length", USED),
            ("error", cp.UpstreamError("again")),
        ]:
            getattr(sink, method)(*args)
        events = [obj for _, obj in frames(first + sink.take())]
        assert events[-1] == {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "gone"},
        }
        assert b'"x"' in first or ("text", "x") not in told


def test_messages_start_comes_once_and_before_a_ping():
    sink = cp.MessagesWriter("msg_1", "gpt")
    assert sink.take() == b""
    sink.text("x")
    assert sink.take().count(b"event: message_start") == 1
    sink.text("x")
    assert sink.take().endswith(b'"text":"x"}}\n\n')


MISUSE = [
    ("late arguments", [CALL_A, ("arguments", 0, "{"), ("text", "x"), ("arguments", 0, "}")]),
    (
        "after the next call",
        [CALL_A, ("arguments", 0, "{}"), CALL_B, ("arguments", 1, "{"), ("arguments", 0, "{}")],
    ),
    ("unknown", [("arguments", 5, "{}")]),
]


@pytest.mark.parametrize("name, told", MISUSE)
def test_messages_nothing_reopens(name, told):
    with pytest.raises(cp.UpstreamError):
        tell(told)


def random_answer(dice):
    """Calls of a sink in a random order, and what must come out: {channel: text}."""
    calls = {
        key: json.dumps({"k": "x" * dice.randrange(9), "o": {"é": [key]}})
        for key in range(dice.randrange(4))
    }
    told = []
    expected = {key: json.loads(raw) for key, raw in calls.items()}
    left = dict(calls)
    for key in calls:
        told.append(("call", key, "id%d" % key, "n%d" % key))
    while left:
        key = dice.choice(list(left))
        size = dice.randrange(1, 9)
        told.append(("arguments", key, left[key][:size]))
        left[key] = left[key][size:]
        if not left[key]:
            del left[key]
    told = [("opaque", "o", "s")] * dice.randrange(2) + told
    words = [
        (dice.choice(["text", "reasoning"]), dice.choice(["a", "\n", "é", "", '"}']))
        for _ in range(dice.randrange(9))
    ]
    expected.update(
        {kind: "".join(w for k, w in words if k == kind) for kind in ("text", "reasoning")}
    )
    return words + told + [("end", dice.choice(["stop", "tool_calls"]), USED)], expected


def test_messages_random_answers_lose_nothing():
    for seed in range(300):
        told, expected = random_answer(random.Random(seed))
        for takes in (False, True):
            whole = fold_message(streamed(told, takes))
            got = {int(b["name"][1:]): b["input"] for b in whole["content"] if "input" in b}
            for kind, name in (("text", "text"), ("reasoning", "thinking")):
                got[kind] = "".join(b.get(name, "") for b in whole["content"])
            assert got == expected, seed
        assert tell(told, fold=True).whole() == whole, seed


# ============================================================================
# 10. OpenAI chat
# ============================================================================

C_GPT41 = cp.Model("gpt-4.1", vendor="Azure OpenAI", output=16384)
C_GPT5 = cp.Model(
    "gpt-5-mini", vendor="Azure OpenAI", output=64000, efforts=("low", "medium", "high")
)
C_CLAUDE = cp.Model(
    "claude-sonnet-4.5", vendor="Anthropic", output=32000, endpoints=(cp.CHAT, cp.MESSAGES)
)
C_GEMINI = cp.Model("gemini-2.5-pro", vendor="Google", output=64000)
C_O1 = cp.Model("o1", vendor="OpenAI")
C_MARK = {"copilot_cache_control": {"type": "ephemeral"}}
C_HI = {"role": "user", "content": "hi"}
C_PNG = "data:image/png;base64,AAAA"
C_LONG = "mcp__" + "x" * 80


def c_call(call_id="c1", name="f", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


C_PACKED, C_ALIEN = cp.pack_reasoning("OPQ", "chat:google"), cp.pack_reasoning(
    "ALN", "responses:openai"
)
# name, model, messages and fields sent, what must come of them
C_PREPARED = [
    (
        "unknown stays",
        C_GPT41,
        {"logit_bias": {"1": 2}, "seed": 3, "stream_options": {}, "stream": False, "n": 1},
        {"logit_bias": {"1": 2}, "seed": 3, "n": 1},
    ),
    (
        "no name is made up",
        C_GPT41,
        {"tools": [{"type": "function", "function": {"name": ""}}]},
        {"tools": [{"type": "function", "function": {"name": ""}}]},
    ),
    (
        "gpt-5 limit",
        C_GPT5,
        {"max_tokens": 70000, "temperature": 1, "n": 1, "reasoning_effort": "minimal"},
        {"max_completion_tokens": 64000, "reasoning_effort": "low"},
    ),
    (
        "gpt-4 limit",
        C_GPT41,
        {"max_completion_tokens": 7, "reasoning_effort": "low"},
        {"max_tokens": 7},
    ),
    ("claude limit", C_CLAUDE, {}, {"max_tokens": 32000, "messages": [{**C_HI, **C_MARK}]}),
    (
        "own marks",
        C_CLAUDE,
        {"messages": [{**C_HI, **C_MARK}, C_HI]},
        {"max_tokens": 32000, "messages": [{**C_HI, **C_MARK}, C_HI]},
    ),
    (
        "developer gpt-5",
        C_GPT5,
        {"messages": [{"role": "developer", "content": "S"}]},
        {"messages": [{"role": "developer", "content": "S"}]},
    ),
    (
        "o1",
        C_O1,
        {"messages": [{"role": "system", "content": "S"}]},
        {"messages": [{"role": "user", "content": "S"}]},
    ),
    (
        "reasoning back",
        C_GEMINI,
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning_content": "hm",
                    "reasoning_opaque": C_PACKED + " ",
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning_text": "hm",
                    "reasoning_opaque": "OPQ",
                }
            ]
        },
    ),
    (
        "reasoning of others",
        C_GEMINI,
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning_content": "hm",
                    "reasoning_opaque": C_ALIEN,
                }
            ]
        },
        {"messages": [{"role": "assistant", "content": "x"}]},
    ),
    (
        "reasoning raw",
        C_GEMINI,
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning_text": "hm",
                    "reasoning_opaque": "OPQ",
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning_text": "hm",
                    "reasoning_opaque": "OPQ",
                }
            ]
        },
    ),
    (
        "system last after prefill",
        C_CLAUDE,
        {
            "max_tokens": 1,
            "messages": [
                C_HI,
                {"role": "assistant", "content": "a"},
                {"role": "system", "content": "S"},
            ],
        },
        {
            "max_tokens": 1,
            "messages": [
                C_HI,
                {"role": "assistant", "content": "a"},
                {"role": "system", "content": "S", **C_MARK},
                {"role": "user", "content": "Please continue.", **C_MARK},
            ],
        },
    ),
]


@pytest.mark.parametrize(
    "name, model, sent, expected", C_PREPARED, ids=[row[0] for row in C_PREPARED]
)
def test_chat_prepare(name, model, sent, expected):
    body = {"model": "asked", "messages": [C_HI], **sent}
    assert fit_body("openai", body, model, CHAT).body == {
        "model": model.id,
        "stream": True,
        "messages": [C_HI],
        **expected,
    }


def c_parsed(message, **rest):
    return cp.parse_chat({"messages": [message], **rest})


def c_part(kind, **rest):
    return c_parsed({"role": "user", "content": [{"type": kind, **rest}]}).turns[0].parts


# name, what is called, its value or the text of its refusal
C_REFUSED_OR_READ = [
    ("no messages there", lambda: cp.parse_chat({}), "messages: required"),
    (
        "role",
        lambda: c_parsed({"role": "function", "content": "x"}),
        "messages.0.role: expected .*, not 'function'",
    ),
    ("part", lambda: c_part("input_audio"), "messages.0.content.0: .* not 'input_audio'"),
    ("file", lambda: c_part("file", file={}), "messages.0.content.0.file.file_data: required"),
    (
        "legacy call",
        lambda: c_parsed({"role": "assistant", "function_call": {"name": "f"}}),
        "messages.0.function_call",
    ),
    (
        "custom call",
        lambda: c_parsed({"role": "assistant", "tool_calls": [{"type": "custom"}]}),
        "messages.0.tool_calls.0.id: required",
    ),
    (
        "call id",
        lambda: c_parsed({"role": "assistant", "tool_calls": [{"function": {}}]}),
        "messages.0.tool_calls.0.id: required",
    ),
    ("tool type", lambda: c_parsed(C_HI, tools=[{"type": "mcp"}]), "tools.0: .*'mcp'"),
    (
        "choice type",
        lambda: c_parsed(C_HI, tool_choice={"type": "allowed_tools"}),
        "tool_choice.allowed_tools: required",
    ),
    (
        "choice word",
        lambda: c_parsed(C_HI, tool_choice="always"),
        "tool_choice: expected an object",
    ),
    (
        "format",
        lambda: c_parsed(C_HI, response_format={"type": "grammar"}),
        "response_format.type: .*'grammar'",
    ),
    (
        "format without schema",
        lambda: c_parsed(C_HI, response_format={"type": "json_schema", "json_schema": {}}),
        "response_format.json_schema.schema: required",
    ),
    ("stop word", lambda: c_parsed(C_HI, stop=[1]), "stop.0: expected a string"),
    ("text", lambda: c_part("text", text="a"), (cp.Text("a"),)),
    (
        "image",
        lambda: c_part("image_url", image_url={"url": C_PNG, "detail": "low"}),
        (cp.Image(C_PNG, "low"),),
    ),
    (
        "developer",
        lambda: c_parsed({"role": "developer", "content": "S"}).turns,
        (cp.Turn("system", (cp.Text("S"),)),),
    ),
    (
        "assistant",
        lambda: c_parsed(
            {"role": "assistant", "content": "x", "refusal": "no", "tool_calls": [c_call()]}
        )
        .turns[0]
        .parts,
        (cp.Text("x"), cp.Text("no"), cp.Call("c1", "f", "{}")),
    ),
    (
        "reasoning",
        lambda: c_parsed(
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "reasoning_opaque": "%s %s raw" % (C_ALIEN, C_PACKED),
            }
        )
        .turns[0]
        .parts,
        (cp.Reasoning("hm", "ALN", "responses:openai"), cp.Reasoning("", "OPQ", "chat:google")),
    ),
    (
        "tools",
        lambda: c_parsed(
            C_HI, tools=[{"type": "function", "function": {"name": "f", "strict": True}}]
        ).tools,
        (cp.Tool("f", "", {}, True),),
    ),
    (
        "choice",
        lambda: c_parsed(
            C_HI, tool_choice={"type": "function", "function": {"name": "f"}}
        ).tool_choice,
        "=f",
    ),
    (
        "settings",
        lambda: c_parsed(
            C_HI,
            tool_choice="none",
            parallel_tool_calls=False,
            max_tokens=5,
            max_completion_tokens=6,
            temperature=0,
            top_p=1.0,
            stop="s",
            reasoning_effort="low",
            user="u",
            seed=1,
            n=1,
            verbosity="low",
            response_format={"type": "json_object"},
        )[2:13],
        ("none", False, 6, 0, 1.0, ("s",), "low", True, {}, "u", {"verbosity": "low"}),
    ),
    (
        "schema",
        lambda: c_parsed(
            C_HI,
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        ).schema,
        {"name": "n", "schema": {}},
    ),
]


@pytest.mark.parametrize(
    "name, act, expected", C_REFUSED_OR_READ, ids=[row[0] for row in C_REFUSED_OR_READ]
)
def test_chat_parse_and_refusals(name, act, expected):
    if isinstance(expected, str) and expected != "=f":
        with pytest.raises(cp.BadRequest, match=expected):
            act()
    else:
        assert act() == expected


C_CUSTOM = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "description": "d",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}},
    },
}
C_FUNCTION = {"type": "function", "function": {"name": "f"}}


def c_allowed(mode, *names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_chat_custom_tools_are_functions_to_the_model():
    call = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** x"}}
    body = {
        "messages": [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        ],
        "tools": [C_CUSTOM, C_FUNCTION],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
    }
    conversation = cp.parse_chat(body)
    assert conversation.turns[0].parts == (cp.Call("c1", "patch", '{"input":"*** x"}'),)
    assert conversation.tool_choice == "=patch"
    assert cp.custom_names(conversation.tools) == {"patch"}
    sent = cp.encode_chat(conversation, C_GPT41)
    assert [tool["type"] for tool in sent["tools"]] == ["function", "function"]
    assert "start: x" in sent["tools"][0]["function"]["description"]


CHOICES = [  # tool_choice, what the hub has of it: the choice and the tools
    (c_allowed("auto", "f"), ("auto", ["f"])),
    (c_allowed("required", "f", "gone"), ("required", ["f"])),
    (c_allowed("auto", "gone"), "tool_choice.allowed_tools.tools: none of them"),
    (c_allowed("none", "f"), "tool_choice.allowed_tools.mode: expected auto or required"),
    ({"type": "custom", "custom": {"name": "patch"}}, ("=patch", ["patch", "f"])),
    ({"type": "custom"}, "tool_choice.custom: required"),
    ({"type": "web_search"}, "tool_choice: expected function or custom or allowed_tools"),
]


@pytest.mark.parametrize("choice, expected", CHOICES)
def test_chat_choices(choice, expected):
    body = {"messages": [C_HI], "tools": [C_CUSTOM, C_FUNCTION], "tool_choice": choice}
    if isinstance(expected, str):
        with pytest.raises(cp.BadRequest, match=expected):
            cp.parse_chat(body)
    else:
        conversation = cp.parse_chat(body)
        names = [tool.name for tool in conversation.tools]
        assert (conversation.tool_choice, names) == expected


C_PDF = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JV"},
}


def test_chat_documents_come_and_go():
    conversation = c_parsed({"role": "user", "content": [C_PDF, {"type": "text", "text": "x"}]})
    assert conversation.turns[0].parts == (PDF_PART, cp.Text("x"))
    sent = cp.encode_chat(conversation, C_GPT41)
    assert sent["messages"][0]["content"] == [C_PDF, {"type": "text", "text": "x"}]
    with pytest.raises(cp.BadRequest, match="file.file_id: no files are kept"):
        c_part("file", file={"file_id": "f1"})
    found = cp.Result("c1", (cp.Text("see"), PDF_PART))
    turns = (cp.Turn("assistant", (cp.Call("c1", "f", "{}"),)), cp.Turn("user", (found,)))
    sent = cp.encode_chat(cp.Conversation(turns), C_GPT41)["messages"]
    assert sent[1] == {"role": "tool", "tool_call_id": "c1", "content": "see"}
    assert sent[2]["content"][1] == C_PDF


# -- answers ----------------------------------------------------------------

C_SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def c_chunk(delta=None, finish=None, **rest):
    choice = {
        "index": 0,
        "content_filter_results": C_SAFE,
        "delta": delta or {},
        "finish_reason": finish,
    }
    return {"choices": [choice], "created": 1, "id": "up-1", "model": "m", **rest}


def c_tools(*calls, **rest):
    return {
        "content": None,
        "tool_calls": [
            {
                k: v
                for k, v in (
                    ("index", i),
                    ("id", c),
                    (
                        "function",
                        {k: v for k, v in (("name", n), ("arguments", a)) if v is not None},
                    ),
                )
                if v is not None
            }
            for i, c, n, a in calls
        ],
        **rest,
    }


C_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4},
}
C_ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "reasoning_tokens": 0}
C_DONE = "[DONE]"
C_NO_IDS = None, [("call_up-1_0", "f", "{}"), ("call_up-1_1", "g", '{"a":2}')], "tool_calls"
# name, chunks, (content, calls, finish_reason) or the error's words, other fields of the message
C_ANSWERS = [
    (
        "text",
        [
            {"choices": [], "prompt_filter_results": []},
            c_chunk({"role": "assistant", "content": ""}),
            c_chunk({"content": "Hé"}),
            c_chunk({"content": 'l"\\\n'}),
            c_chunk({"content": "o"}),
            c_chunk({}, "stop", usage=C_USAGE),
            C_DONE,
        ],
        ('Hél"\\\no', [], "stop"),
        {},
    ),
    (
        "calls of one index",
        [
            c_chunk(c_tools((0, "t1", "f", None))),
            c_chunk(c_tools((0, None, None, ""))),
            c_chunk(c_tools((0, None, None, '{"a"'))),
            c_chunk(c_tools((0, None, None, ":1}"))),
            c_chunk(c_tools((0, "t2", "g", None))),
            c_chunk(c_tools((0, None, None, "{}"))),
            c_chunk({}, "stop"),
            C_DONE,
        ],
        (None, [("t1", "f", '{"a":1}'), ("t2", "g", "{}")], "tool_calls"),
        {},
    ),
    (
        "interleaved",
        [
            c_chunk(c_tools((3, "a", "f", ""), (4, "b", "g", "{"))),
            c_chunk(c_tools((4, None, None, '"x"'), (3, None, None, "{"))),
            c_chunk(c_tools((4, "b", None, ":1}"), (3, "a", None, "}"))),
            c_chunk({}, "tool_calls"),
        ],
        (None, [("a", "f", "{}"), ("b", "g", '{"x":1}')], "tool_calls"),
        {},
    ),
    (
        "name after id, no arguments",
        [
            c_chunk(c_tools((0, "a", None, "{"))),
            c_chunk(c_tools((0, None, "f", None))),
            c_chunk(c_tools((0, None, None, "}"), (1, "b", "g", None))),
            c_chunk({}, "tool_calls"),
        ],
        (None, [("a", "f", "{}"), ("b", "g", "{}")], "tool_calls"),
        {},
    ),
    (
        "no ids",
        [c_chunk(c_tools((0, None, "f", "{}"), (1, None, "g", '{"a":2}'))), c_chunk({}, "stop")],
        C_NO_IDS,
        {},
    ),
    (
        "no ids, one index",
        [
            c_chunk(c_tools((0, None, "f", "{}"))),
            c_chunk(c_tools((0, None, "g", '{"a":2}'))),
            c_chunk({}, "stop"),
        ],
        C_NO_IDS,
        {},
    ),
    (
        "latest without index",
        [
            c_chunk(c_tools(([], "a", "f", "{"))),
            c_chunk(c_tools((None, None, None, "}"))),
            c_chunk({}, "stop"),
        ],
        (None, [("a", "f", "{}")], "tool_calls"),
        {},
    ),
    (
        "arguments as object",
        [c_chunk(c_tools((0, "a", "f", {"x": 1}))), c_chunk({}, "function_call")],
        (None, [("a", "f", '{"x":1}')], "tool_calls"),
        {},
    ),
    (
        "cut by length",
        [c_chunk(c_tools((0, "a", "f", ""))), c_chunk({}, "length")],
        ("", [], "length"),
        {},
    ),
    (
        "gemini",
        [
            c_chunk({"role": "assistant", "reasoning_text": "hm", "content": ""}, usage=C_ZERO),
            c_chunk({"content": "Now"}, usage=C_ZERO),
            c_chunk(
                c_tools((0, "a", "f", "{}"), reasoning_opaque="OPQ"), "tool_calls", usage=C_USAGE
            ),
            c_chunk({"reasoning_text": "!"}, usage=C_ZERO),
        ],
        ("Now", [("a", "f", "{}")], "tool_calls"),
        {"reasoning_content": "hm!", "reasoning_opaque": C_PACKED + " "},
    ),
    (
        "thinking fields",
        [
            c_chunk({"cot_summary": "a", "cot_id": 1}),
            c_chunk({"thinking": "b", "signature": "OPQ"}),
            c_chunk({"content": "x"}, "stop"),
        ],
        ("x", [], "stop"),
        {"reasoning_content": "ab", "reasoning_opaque": C_PACKED + " "},
    ),
    (
        "split choices",
        [
            {
                "choices": [
                    {"delta": {"content": "I look."}, "finish_reason": "tool_calls"},
                    {"delta": c_tools((0, "a", "f", "{}")), "finish_reason": "tool_calls"},
                ],
                "usage": C_USAGE,
            }
        ],
        ("I look.", [("a", "f", "{}")], "tool_calls"),
        {},
    ),
    (
        "a call after the finish",
        [c_chunk({"content": "a"}, "stop"), c_chunk(c_tools((0, "b", "f", "{}"))), C_DONE],
        ("a", [("b", "f", "{}")], "tool_calls"),
        {},
    ),
    (
        "null choices, parts, late usage",
        [
            {"choices": None},
            c_chunk({"content": [{"type": "text", "text": "a"}, {"type": "x"}]}),
            c_chunk({}, "stop", usage=None),
            {"choices": [], "usage": C_USAGE, "copilot_usage": {"total_nano_aiu": 7}},
            C_DONE,
        ],
        ("a", [], "stop"),
        {},
    ),
    ("tool_calls without calls", [c_chunk({"content": "a"}, "tool_calls")], ("a", [], "stop"), {}),
    ("only DONE", [c_chunk({"content": "a"}), C_DONE], ("a", [], "stop"), {}),
    (
        "only DONE, calls",
        [c_chunk(c_tools((0, "a", "f", None))), C_DONE],
        (None, [("a", "f", "{}")], "tool_calls"),
        {},
    ),
    (
        "refusal",
        [c_chunk({"refusal": "No."}), c_chunk({}, "stop")],
        ("", [], "stop"),
        {"refusal": "No."},
    ),
    (
        "filter",
        [
            c_chunk({"content": "a"}),
            {
                "choices": [
                    {
                        "finish_reason": "content_filter",
                        "delta": {"copilot_annotations": {"TextCopyright": []}},
                        "content_filter_results": {
                            "hate": {"filtered": True},
                            "sexual": {"filtered": False},
                        },
                    }
                ]
            },
        ],
        ("a", [], "content_filter"),
        {"refusal": "Copilot's content filter stopped this answer (hate, TextCopyright)."},
    ),
    ("nothing but DONE", [C_DONE], "without finishing", {}),
    ("nothing", [c_chunk({"content": "a"})], "without finishing", {}),
    (
        "error",
        [c_chunk({"content": "a"}), {"error": {"code": "x", "message": "Broke."}}],
        "Broke.",
        {},
    ),
    ("copilot_errors", [{"copilot_errors": [{"code": "x", "message": "Broke."}]}], "Broke.", {}),
    ("flat error", [{"type": "error", "code": "server_error", "message": "Broke."}], "Broke.", {}),
    ("error in words", [{"error": "Broke."}], "Broke.", {}),
    ("finish error", [c_chunk({}, "error")], "ended its answer with an error", {}),
    ("garbage", [c_chunk({"content": "a"}), '{"choices":['], "broken piece", {}),
    ("no object", ["[1]"], "broken piece", {}),
    ("nameless", [c_chunk(c_tools((0, "a", None, "{}"))), c_chunk({}, "stop")], "nameless", {}),
]


def c_sse(chunks):
    return "".join(
        "data: %s\n\n"
        % (c if isinstance(c, str) else json.dumps(c, separators=(",", ":"), ensure_ascii=False))
        for c in chunks
    ).encode()


def c_stream(**rest):
    return cp.ChatWriter("id-1", "asked", 5, True, **rest)


def c_frames(raw):
    """The chunks of a client's stream, its grammar checked; [] after an error."""
    events = [line[6:] for line in raw.decode().split("\n\n") if line]
    assert raw.decode().count("[DONE]") == 1 and events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in chunks} == {
        ("id-1", "chat.completion.chunk", 5, "asked")
    }
    usage = chunks.pop()
    assert usage["choices"] == [] and chunks[0]["choices"][0]["delta"] == {
        "role": "assistant",
        "content": "",
    }
    assert [c["choices"][0]["finish_reason"] is None for c in chunks] == [True] * (
        len(chunks) - 1
    ) + [False]
    message = {"role": "assistant", "content": ""}
    calls = []
    for delta in (c["choices"][0]["delta"] for c in chunks[1:]):
        for call in delta.pop("tool_calls", ()):
            if call["index"] == len(calls):
                calls.append({k: call[k] for k in ("id", "type", "function")})
            else:
                assert set(call) == {"index", "function"} and set(call["function"]) == {"arguments"}
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        for key, text in delta.items():
            message[key] = message.get(key, "") + text
    message["content"] = message["content"] or (None if calls else "")
    message.update({"tool_calls": calls} if calls else {})
    return {
        **usage,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": chunks[-1]["choices"][0]["finish_reason"],
            }
        ],
    }


class ChatTold:
    """A sink that writes down what it is told."""

    def __init__(self):
        self.log = []

    def __getattr__(self, name):
        return lambda *args: self.log.append((name,) + args)


C_TRICKY = [
    "plain",
    "",
    'a"b',
    "back\\slash",
    "line\nbreak",
    "\u2028 ü 日本 🎉",
    "\ud83d",
    '"content":"',
    "\x7f",
    "\\u0041",
    "data: [DONE]",
]
C_CORPUS = [
    c_chunk({"content": text}, **rest) for text in C_TRICKY for rest in ({}, {"usage": None})
] + [
    c_chunk({"content": "x"}, "stop"),
    c_chunk({"content": "y"}, "stop"),
    c_chunk({"content": "x"}, usage=C_ZERO),
    c_chunk({"content": "x"}, usage=C_USAGE),
    c_chunk({"content": "x", "role": "assistant"}),
    c_chunk({"content": None}),
    c_chunk({"content": "x", "reasoning_text": "r"}),
    c_chunk(c_tools((0, "a", "f", "{}"))),
    c_chunk({**c_tools((0, None, None, "1")), "content": "x"}),
    c_chunk(c_tools((0, None, None, '{"x":1'))),
    c_chunk(c_tools((0, None, None, "a"))),
    c_chunk(c_tools((1, None, None, '"nameless"'))),
    c_chunk({"reasoning_text": 'r"'}),
    c_chunk({"reasoning_text": "x"}, usage=C_ZERO),
    c_chunk({"content": "x", "refusal": None}),
    {**c_chunk({"content": "x"}), "choices": c_chunk({"content": "x"})["choices"] * 2},
    {"x": {"content": "x"}, **c_chunk({"content": "x"})},
    {"x": {"content": "y"}, **c_chunk({"content": "x"})},
    {"choices": [], "usage": {**C_USAGE, "completion_tokens": 6}},
    c_chunk({}, "length"),
    {
        **c_chunk({"content": "x"}),
        "choices": [{"delta": {"content": "x"}, "logprobs": {"content": []}}],
    },
]


C_SPACED = [  # the id is where the words seem to stand
    b'{"id":"%b","choices":[{"delta":{"content": "x"}}]}' % words for words in (b"x", b"y")
]


def test_chat_fast_route_tells_the_same():
    dice = random.Random(10)
    fast_ones = 0
    for ascii_only in (True, False):
        datas = [
            json.dumps(c, ensure_ascii=ascii_only, separators=(",", ":")).encode(
                "utf-8", "surrogatepass"
            )
            for c in C_CORPUS
        ]
        datas = [d for d in datas if b"\xed\xa0" not in d] + [
            datas[0].replace(b"plain", raw)
            for raw in (
                b'a","role":"x',
                b"\t",
                b"\\u00e9",
                b"\\ud83d\\ude00",
                b'x"}}],"choices":[{"delta":{"content":"y',
            )
        ]
        datas += C_SPACED * 4
        for _ in range(40):
            fast = cp.ChatReader()
            full = cp.ChatReader()
            one = ChatTold()
            other = ChatTold()
            for data in dice.choices(datas, k=40) + dice.choices(datas[:20] + [datas[0]] * 5, k=20):
                full._frame = None  # never learned anything
                frame = fast._frame
                results = []
                for reader, sink in ((fast, one), (full, other)):
                    try:
                        results.append(reader.read(cp.SSEEvent("", data), sink))
                    except cp.UpstreamError as exc:
                        results.append(str(exc))
                fast_ones += frame is not None and fast._frame is frame
                assert results[0] == results[1] and one.log == other.log, data
                assert (fast.usage, fast.finish_reason, fast.done) == (
                    full.usage,
                    full.finish_reason,
                    full.done,
                )
    assert fast_ones > 300


def test_chat_hands_on_the_pictures_of_a_model():
    turn = cp.Turn("assistant", (cp.Text("see"), cp.Image("https://x/y")))
    (sent,) = cp.encode_chat(cp.Conversation((turn,)), C_GPT41)["messages"]
    assert [part["type"] for part in sent["content"]] == ["text", "image_url"]


def test_chat_stream_error_usage_and_names():
    sink = cp.CallGuard(cp.ChatWriter("i", "m", 1, False), names={"short": C_LONG})
    sink.call("k", "c", "short")
    sink.arguments("k", "{}")
    sink.text("\ud83d")
    out = sink.take()
    assert C_LONG.encode() in out and rb'"\ud83d"' in out and sink.take() == b""
    sink.error(cp.UpstreamError("Gone."))
    sink.end("stop", cp.TokenUsage())
    sink.error(cp.UpstreamError("Again."))
    assert json.loads(sink.take()[6:])["error"]["message"] == "Gone."
    sink = cp.ChatWriter("i", "m", 1, False)
    sink.end("stop", cp.TokenUsage(1, 2, 3, 4, 5, 1))
    assert b"usage" not in sink.take()
    assert sink.whole()["usage"] == {
        "prompt_tokens": 8,
        "completion_tokens": 2,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert sink.whole()["copilot_usage"] == {"total_nano_aiu": 5}


AFTER_THE_END = [b"data: {broken", b'data: {"error":{"message":"late"}}\n\n', b"\xff\x00"]


@pytest.mark.parametrize("rest", AFTER_THE_END)
@pytest.mark.parametrize("end", [[c_chunk({}, "stop")], [c_chunk({}, "stop"), C_DONE]])
def test_chat_ignores_what_follows_the_end(rest, end):
    raw = c_sse([c_chunk({"content": "Hi"}), *end]) + rest
    for fold in (False, True):
        machine = cp.Translation(cp.ChatReader(), c_stream(fold=fold))
        out = machine.feed(raw) + machine.finish()
        assert machine.whole()["choices"][0]["finish_reason"] == "stop"
        assert fold or c_frames(out)["choices"][0]["message"]["content"] == "Hi"


def test_chat_custom_calls_come_back_as_such():
    fragments = ['{"inp', 'ut":"*** x', '\\n"}']
    calls = [c_tools((0, "c1", "patch", fragments[0]))]
    calls += [c_tools((0, None, None, fragment)) for fragment in fragments[1:]]
    raw = c_sse([*map(c_chunk, calls), c_chunk({}, "stop"), C_DONE])
    for pieces in cuts(raw):
        whole = c_stream(fold=True, custom={"patch"})
        drive(pieces, cp.ChatReader, whole)
        call = whole.whole()["choices"][0]["message"]["tool_calls"][0]
        assert call["custom"] == {"name": "patch", "input": "*** x\n"}
        out, _, exc = drive(pieces, cp.ChatReader, c_stream(custom={"patch"}))
        texts = []
        for chunk in [json.loads(line[6:]) for line in out.decode().split("\n\n")[:-2]]:
            for choice in chunk["choices"]:
                for one in choice["delta"].get("tool_calls", ()):
                    assert one.get("type", "custom") == "custom" and "function" not in one
                    texts.append(one["custom"]["input"])
        assert exc is None and "".join(texts) == "*** x\n"


def test_chat_reader_knows_the_model_that_answered():
    reader = cp.ChatReader()
    drive([c_sse([c_chunk({"content": "x"}), c_chunk({}, "stop")])], lambda: reader, c_stream())
    assert reader.model == "m"


def test_completions_of_several_choices_stay_apart():
    chunks = [
        {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "x"}]},
        {
            "id": "cmpl-1",
            "created": 7,
            "choices": [{"index": 1, "text": "y", "finish_reason": "stop"}],
        },
        {"id": "cmpl-1", "created": 7, "choices": [{"text": "b", "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}},
        C_DONE,
    ]
    for pieces in cuts(c_sse(chunks)):
        stream = cp.CompletionStream("copilot-codex")
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
        whole = stream.whole()
        choices = whole["choices"]
        assert (whole["id"], whole["created"]) == ("cmpl-1", 7)
        assert [(c["index"], c["text"], c["finish_reason"]) for c in choices] == [
            (0, "ab", "length"),
            (1, "xy", "stop"),
        ]
        assert stream.whole()["usage"]["total_tokens"] == 11
        assert stream.usage.output == 4
    stream = cp.CompletionStream("copilot-codex")
    stream.feed(c_sse(chunks[:2]))
    assert not stream.finished, "the other choice is still to come"
    with pytest.raises(cp.UpstreamError, match="without finishing"):
        stream.finish()


def test_embeddings_in_base64():
    body = {"input": "x", "encoding_format": "base64", "dimensions": 2}
    model = cp.Model("text-embedding-3-small")
    assert fit_body("embeddings", body, model, "/embeddings").body == {
        "input": ["x"],
        "model": model.id,
        "dimensions": 2,
    }
    answer = {"data": [{"embedding": [1.0, -2]}, {"embedding": [0.5, 3], "index": 1}]}
    coded = cp.encode_embeddings(answer, model, "base64")["data"]
    assert [struct.unpack("<2f", base64.b64decode(e["embedding"])) for e in coded] == [
        (1.0, -2.0),
        (0.5, 3.0),
    ]
    plain = cp.encode_embeddings(answer, model, None)["data"]
    assert plain[0] == {"object": "embedding", "index": 0, "embedding": [1.0, -2]}
    many = {"input": ["x"] * 2049, "model": "e"}  # how many are taken the upstream says
    assert len(fit_body("embeddings", many, model, "/embeddings").body["input"]) == 2049
    with pytest.raises(cp.BadRequest, match="encoding_format"):
        fit_body("embeddings", {"input": "x", "encoding_format": "int8"}, model, "/embeddings")


# ============================================================================
# 11. OpenAI Responses
# ============================================================================

R_GPT = cp.Model("gpt-5.4", vendor="OpenAI", output=1000, efforts=("low", "medium", "high"))
R_OURS = cp.responses_source(R_GPT)


R_THOUGHT_ITEM = {
    "type": "reasoning",
    "encrypted_content": "ENC",
    "summary": [{"type": "summary_text", "text": "hm"}],
}


class RSink:
    """A Sink that keeps what it was told, neighbours of one kind joined."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        def tell(*said):
            if name == "next_message":
                return
            if name == "end" and not said[-1]:  # no stop sequence
                said = said[:-1]
            if (
                self.told
                and name in ("text", "reasoning", "refusal", "arguments")
                and (self.told[-1][:-1] == (name, *said[:-1]))
            ):
                self.told[-1] = (*self.told[-1][:-1], self.told[-1][-1] + said[-1])
            else:
                self.told.append((name, *said))

        return tell

    def take(self):
        return b""


class RWire:
    """Writes a /responses stream as Copilot does: every id new in every event."""

    def __init__(self, named=True, seed=3):
        self.raw = b""
        self.number = 0
        self.named = named
        self.dice = random.Random(seed)

    def id(self):
        return base64.b64encode(bytes(self.dice.choices(range(256), k=30))).decode()

    def event(self, kind, **fields):
        obj = {**fields, "sequence_number": self.number, "type": kind}
        self.number += 1
        if self.named:
            head = "event: %s\n" % kind
        else:
            head = ""
        self.raw += (
            "%sdata: %s\n\n"
            % (head, json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        ).encode()
        return self

    def start(self):
        for kind in ("response.created", "response.in_progress"):
            self.event(
                kind,
                response={
                    "id": self.id(),
                    "status": "in_progress",
                    "instructions": "rate_limit",
                    "output": [],
                },
            )
        return self

    def item(self, kind, index, added, **fields):
        return self.event(
            "response.output_item." + kind,
            output_index=index,
            item={"id": self.id(), **fields, **added},
        )

    def deltas(self, kind, index, pieces, **fields):
        for piece in pieces:
            self.event(
                "response.%s.delta" % kind,
                delta=piece,
                output_index=index,
                item_id=self.id(),
                **fields,
            )
        return self

    def message(self, index, pieces, told=True, kind="output_text"):
        text = "".join(pieces)
        part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
        self.item("added", index, {"content": []}, type="message", role="assistant")
        if told:
            self.deltas(kind, index, pieces, content_index=0, logprobs=[], obfuscation="x9")
        self.event(
            "response.%s.done" % kind,
            output_index=index,
            content_index=0,
            item_id=self.id(),
            text=text,
        )
        return self.item("done", index, {"content": [part]}, type="message")

    def thought(self, index, parts, told=True):
        self.item("added", index, {"encrypted_content": "wrong"}, type="reasoning")
        for at, text in enumerate(parts if told else ()):
            self.deltas("reasoning_summary_text", index, [text[:2], text[2:]], summary_index=at)
        return self.item(
            "done",
            index,
            {"encrypted_content": "ENC"},
            type="reasoning",
            summary=[{"type": "summary_text", "text": p} for p in parts],
        )

    def call(self, index, pieces, told=True, added=True, **fields):
        about = {"type": "function_call", "call_id": "call_%d" % index, "name": "ls"}
        if added:
            self.item("added", index, {"arguments": ""}, **about)
        self.deltas("function_call_arguments", index, pieces if told else ())
        about.update(fields, arguments="".join(pieces))
        return self.item("done", index, about)

    def end(self, status="completed", output=(), **fields):
        return self.event(
            "response." + status,
            copilot_usage={"total_nano_aiu": 7},
            response={
                "id": self.id(),
                "status": status,
                "usage": {
                    "input_tokens": 9,
                    "output_tokens": 5,
                    "input_tokens_details": {"cached_tokens": 4},
                },
                "output": list(output),
                **fields,
            },
        )


def resp_read(pieces):
    sink = RSink()
    machine = cp.Translation(cp.ResponsesReader(R_OURS), sink)
    try:
        for piece in pieces:
            machine.feed(piece)
        machine.finish()
    except cp.ProxyError as exc:
        return sink.told + [(type(exc), str(exc))]
    return sink.told


R_SPENT = cp.TokenUsage(input=5, cache_read=4, output=5, nano_aiu=7)
R_STOP = ("end", "stop", R_SPENT)
R_TOOLS = ("end", "tool_calls", R_SPENT)
R_LONG = ("end", "length", R_SPENT)
R_ERROR = {"code": "server_error", "message": "it broke"}
R_CITED = {
    "type": "message",
    "content": [
        {
            "type": "output_text",
            "text": "a",
            "annotations": [
                {"type": "url_citation", "url": "http://x", "title": "X"},
                {"type": "url_citation", "url": "http://x", "title": "X"},
                {"type": "file_citation", "url": "http://y"},
            ],
        }
    ],
}
RESP_STREAMS = [
    (
        "all kinds",
        RWire()
        .start()
        .thought(0, ["one", "two"])
        .message(1, ["Hé", 'l"o\n'])
        .call(2, ['{"p', '":1}'])
        .call(3, ["{}"])
        .end(),
        [
            ("reasoning", "one\n\ntwo"),
            ("opaque", "ENC", R_OURS),
            ("text", 'Hél"o\n'),
            ("call", 2, "call_2", "ls"),
            ("arguments", 2, '{"p":1}'),
            ("call", 3, "call_3", "ls"),
            ("arguments", 3, "{}"),
            R_TOOLS,
        ],
    ),
    (
        "no event lines",
        RWire(named=False).start().message(0, ["Hi"]).end(),
        [("text", "Hi"), R_STOP],
    ),
    (
        "only done events",
        RWire()
        .thought(0, ["one", "two"], False)
        .message(1, "Hi", False)
        .call(2, ["{}"], told=False, added=False)
        .end(),
        [
            ("reasoning", "one\n\ntwo"),
            ("opaque", "ENC", R_OURS),
            ("text", "Hi"),
            ("call", 2, "call_2", "ls"),
            ("arguments", 2, "{}"),
            R_TOOLS,
        ],
    ),
    (
        "unannounced arguments",
        RWire().call(0, ['{"a"', ":1}"], added=False).end(),
        [("call", 0, "call_0", "ls"), ("arguments", 0, '{"a":1}'), R_TOOLS],
    ),
    ("only the terminal event", RWire().end(output=[R_CITED]), [("text", "a"), R_STOP]),
    (
        "told again at the end",
        RWire().thought(0, ["x"]).message(1, ["a"]).end(output=[R_CITED, R_THOUGHT_ITEM]),
        [("reasoning", "x"), ("opaque", "ENC", R_OURS), ("text", "a"), R_STOP],
    ),
    (
        "no arguments at all",
        RWire().call(0, []).end(),
        [("call", 0, "call_0", "ls"), ("arguments", 0, "{}"), R_TOOLS],
    ),
    (
        "custom tool",
        RWire()
        .item("done", 0, {}, type="custom_tool_call", call_id="c", name="patch", input="*** x")
        .end(),
        [("call", 0, "c", "patch"), ("arguments", 0, '{"input":"*** x"}'), R_TOOLS],
    ),
    (
        "refusal",
        RWire().message(0, ["No", "."], kind="refusal").end(),
        [("refusal", "No."), R_STOP],
    ),
    (
        "strangers",
        RWire()
        .event("ping")
        .event("response.shrug.delta", delta="x")
        .item("added", 0, {}, type="web_search_call")
        .message(1, ["Hi"])
        .end(),
        [("text", "Hi"), R_STOP],
    ),
    (
        "cut arguments",
        RWire()
        .call(0, ['{"a'], status="incomplete")
        .end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
        [("call", 0, "call_0", "ls"), ("arguments", 0, '{"a'), R_LONG],
    ),
    (
        "filtered",
        RWire()
        .message(0, ["x"])
        .end("incomplete", incomplete_details={"reason": "content_filter"}),
        [("text", "x"), ("refusal", cp.FILTERED), ("end", "content_filter", R_SPENT)],
    ),
    (
        "failed",
        RWire().start().message(0, ["x"]).end("failed", error=R_ERROR),
        [("text", "x"), (cp.UpstreamError, "it broke")],
    ),
    (
        "cancelled",
        RWire().end("cancelled", error=None),
        [(cp.UpstreamError, "the upstream gave the request up without a word")],
    ),
    ("nested error", RWire().event("error", error=R_ERROR), [(cp.UpstreamError, "it broke")]),
    ("flat error", RWire().event("error", **R_ERROR), [(cp.UpstreamError, "it broke")]),
    (
        "early end",
        RWire().call(0, ['{"a']).message(1, ["x"]),
        [
            ("call", 0, "call_0", "ls"),
            ("arguments", 0, '{"a'),
            ("text", "x"),
            (cp.UpstreamError, cp.CUT_SHORT),
        ],
    ),
]


@pytest.mark.parametrize("name, script, expected", RESP_STREAMS)
def test_responses_reader_under_every_cut(name, script, expected):
    for pieces in cuts(script.raw):
        told = resp_read(pieces)
        if isinstance(expected[-1][0], type):
            assert (told[:-1], told[-1][0]) == (expected[:-1], expected[-1][0])
            assert told[-1][1].startswith(expected[-1][1])
        else:
            assert told == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"event: error\ndata: x\n\n",
        b'data: {"error":{}}\n\n',
        RWire().message(0, ["abc", "def"]).raw[:-30],
        b"data: \xff\n\n",
    ],
    ids=short,
)
def test_responses_reader_tells_garbage(raw):
    assert resp_read([raw])[-1][0] is cp.UpstreamError
    with pytest.raises(cp.UpstreamError):
        machine = cp.ResponsesTap()
        machine.feed(raw)
        machine.finish()
        machine.whole()


def test_responses_reader_knows_an_error_without_a_type():
    told = resp_read([b'data: {"error":{"message":"it broke"}}\n\n'])
    assert told[-1][1].startswith("it broke")


def test_responses_reader_survives_wrong_types():
    for kind in (*cp.ResponsesReader.EVENTS, *cp.FAILURES):
        for odd in (None, 1, "x", [1], {"type": 1}):
            fields = {
                key: odd
                for key in (
                    "item",
                    "delta",
                    "output_index",
                    "response",
                    "content_index",
                    "error",
                    "message",
                )
            }
            told = resp_read([RWire().event(kind, **fields).raw])
            assert told[-1][0] in ("end", cp.UpstreamError)


def test_responses_reader_does_not_read_what_only_repeats():
    raw = b"event: response.created\ndata: {never parsed\n\n" + RWire().end().raw
    assert resp_read([raw + b"data: [DONE]\n\n"]) == [R_STOP]


def test_responses_a_broken_event_is_an_error():
    start = RWire().message(0, ["x"]).raw
    good = (
        cp.SSEDecoder()
        .feed(RWire().deltas("output_text", 0, ["y"], content_index=0, logprobs=[]).raw)[0]
        .data
    )
    for bad in (good[:-1], good[:40], good.replace(b"y", b"\xff"), good.replace(b"y", b"\x01")):
        told = resp_read([start, b"event: %b\ndata: %b\n\n" % (cp.TEXT_DELTA.encode(), bad)])
        assert "broken piece" in told[-1][1]


def test_responses_random_streams_tell_what_was_written():
    for seed in range(200):
        dice = random.Random(seed)
        script = RWire(named=dice.random() < 0.8, seed=seed).start()
        wanted = []
        for index in range(dice.randrange(5)):
            pieces = [
                "".join(dice.choices('ab"\\é{}\n,', k=dice.randrange(1, 6)))
                for _ in range(dice.randrange(1, 5))
            ]
            told = dice.random() < 0.7
            text = "".join(pieces)
            kind = dice.choice(["text", "call", "thought"])
            if kind == "text":
                script.message(index, pieces, told)
                wanted.append(("text", text))
            elif kind == "call":
                text = json.dumps({"a": text})
                at = dice.randrange(1, len(text))
                script.call(index, [text[:at], text[at:]], told, added=dice.random() < 0.8)
                wanted += [("call", index, "call_%d" % index, "ls"), ("arguments", index, text)]
            else:
                script.thought(index, pieces, told)
                wanted += [("reasoning", "\n\n".join(pieces)), ("opaque", "ENC", R_OURS)]
        joined = RSink()
        for name, *said in wanted:
            getattr(joined, name)(*said)
        calls = any(name == "call" for name, *_ in wanted)
        cut = dice.randrange(len(script.end().raw))
        assert resp_read([script.raw[:cut], script.raw[cut:]]) == (
            joined.told + [R_TOOLS if calls else R_STOP]
        ), seed


def resp_ids(obj):
    """(name, id) of every id in an event."""
    response = obj.get("response", {})
    return [
        pair
        for pair in [
            ("response", response.get("id")),
            (obj.get("output_index"), obj.get("item_id")),
            (obj.get("output_index"), obj.get("item", {}).get("id")),
            *((at, item.get("id")) for at, item in enumerate(response.get("output", []))),
        ]
        if pair[1]
    ]


def resp_without_ids(events):
    plain = [(name, json.dumps(obj, sort_keys=True)) for name, obj in events]
    return [(name, re.sub(r'"(item_)?id": "[^"]*"', "", text)) for name, text in plain]


def test_responses_pass_through_changes_ids_only_under_every_cut():
    script = RWire().start().thought(0, ["one"]).message(1, ["Hé", 'l"o', "\n"])
    script.call(2, ['{"p', '":1}']).end(output=[{"id": script.id()} for _ in range(3)])
    sent = [(name, json.loads(data)) for name, data in cp.SSEDecoder().feed(script.raw)]
    first = {}
    for _, obj in sent:
        for key, value in resp_ids(obj):
            first.setdefault(key, value)
    assert len(first) == 4
    for pieces in cuts(script.raw):
        machine = cp.ResponsesTap()
        got = frames(b"".join(map(machine.feed, pieces)) + machine.finish())
        assert resp_without_ids(got) == resp_without_ids(sent)
        assert all(first[k] == value for _, obj in got for k, value in resp_ids(obj))
        assert (machine.usage, machine.finished, machine.done) == (R_SPENT, True, True)
        assert machine.whole()["copilot_usage"] == {"total_nano_aiu": 7}
        assert machine.whole()["id"] == first["response"]


@pytest.mark.parametrize("named", [True, False])
def test_responses_plain_deltas_are_as_if_parsed(monkeypatch, named):
    def told():
        tap = cp.ResponsesTap()
        return resp_read([script.raw]), tap.feed(script.raw), tap.fail(cp.UpstreamError("x"))

    dice = random.Random(5)
    for seed in range(100):
        script = RWire(named, seed).start()
        for index in range(3):
            pieces = ["".join(dice.choices('ab"\\é{}\n,\x7f', k=3)) for _ in range(9)]
            odd = dice.choice([{}, {"logprobs": []}, {"obfuscation": "a b"}, {"content_index": 12}])
            fields = {"content_index": 0, "logprobs": [], "obfuscation": "x9", **odd}
            script.deltas("output_text", index, pieces + ["plain ", "words"], **fields)
        plain = told()
        with monkeypatch.context() as patch:
            patch.setattr(cp, "PLAIN_DELTA", lambda data: None)
            assert told() == plain


def test_responses_pass_through_leaves_bytes_alone():
    raw = (
        b'event: response.created\ndata: {"response": {"id": "r"},  "x": 1.50}\n\n'
        b'event: new.kind\ndata: {"a":\ndata: 1}\n\n: comment\n\ndata: [DONE]\n\n'
        b'event: response.x.delta\ndata: {"delta": "a"}\n\n'
    )
    machine = cp.ResponsesTap()
    assert machine.feed(raw) == raw.replace(b": comment\n\ndata: [DONE]\n\n", b"")
    assert not machine.done
    with pytest.raises(cp.UpstreamError, match="without finishing"):
        machine.finish()


def test_responses_pass_through_fails_as_clients_understand():
    script = RWire().start().message(0, ["x"])
    for pieces in cuts(script.raw + b"data: garbage\n\n"):
        machine = cp.ResponsesTap()
        got = b""
        try:
            for piece in pieces:
                got += machine.feed(piece)
        except cp.UpstreamError:
            got += machine.fail(cp.UpstreamError("broken", code="rate_limit_exceeded"))
        events = [obj for _, obj in frames(got)]
        assert len(events) == script.number + 2
        assert events[-2]["error"]["message"] == events[-2]["message"] == "broken"
        assert events[-1]["response"]["error"] == {
            "code": "rate_limit_exceeded",
            "message": "broken",
        }
    assert len(frames(cp.ResponsesTap().fail(cp.UpstreamError("x")))) == 2


@pytest.mark.parametrize(
    "script, words, status",
    [
        (RWire().end("failed", error=R_ERROR), "it broke", 502),
        (
            RWire().end("cancelled", error=None),
            "the upstream gave the request up without a word",
            502,
        ),
        (RWire().event("error", **R_ERROR), "it broke", 502),
        (RWire().event("error", **R_ERROR).end("failed", error=R_ERROR), "it broke", 502),
        (RWire().end("failed", error=None).event("error", error=R_ERROR), "it broke", 502),
        (
            RWire()
            .end("failed", error=None)
            .event("error", code="invalid_request_body", message="no"),
            "no",
            400,
        ),
    ],
)
def test_responses_failure_comes_in_two_events(script, words, status):
    for pieces in cuts(script.raw):
        for machine in (
            cp.ResponsesTap(),
            cp.Translation(cp.ResponsesReader(R_OURS), cp.ChatWriter("i", "m", 1, True)),
        ):
            with pytest.raises(cp.ProxyError, match="^" + words) as caught:
                for piece in pieces:
                    machine.feed(piece)
                    if machine.done:
                        break
                machine.finish()
            assert caught.value.status == status
            assert words in machine.fail(caught.value).decode()


def test_responses_frame_of_a_megabyte():
    tools = [{"name": "t", "description": "d" * 1000}] * 1000
    script = RWire().start().message(0, ["x"]).end(tools=tools)
    assert len(script.raw) > 10**6
    pieces = [script.raw[at : at + 16384] for at in range(0, len(script.raw), 16384)]
    assert resp_read(pieces) == [("text", "x"), R_STOP]
    machine = cp.ResponsesTap()
    got = frames(b"".join(map(machine.feed, pieces)))
    assert got[-1][1]["response"]["tools"] == tools


RESP_PREPARED = [
    (
        "kept",
        {"input": "hi", "new": {"a": None}, "reasoning": None},
        {"input": "hi", "new": {"a": None}, "reasoning": None},
    ),
    (
        "left out",
        {
            "store": True,
            "service_tier": "auto",
            "conversation": None,
            "background": False,
            "previous_response_id": None,
            "stream": False,
            "client_metadata": {},
        },
        {"include": ["reasoning.encrypted_content"]},
    ),
    (
        "ids",
        {
            "input": [
                {"id": "x", "type": "message"},
                {"id": "y", "call_id": "c"},
                {"type": "reasoning", "id": "z", "encrypted_content": "E"},
            ]
        },
        {
            "input": [
                {"type": "message"},
                {"call_id": "c"},
                {"type": "reasoning", "encrypted_content": "E"},
            ]
        },
    ),
    (
        "tools",
        {
            "tools": [
                {"type": "function", "name": "f"},
                {"type": "image_generation"},
                {"type": "web_search"},
                {"type": "custom"},
            ]
        },
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"type": "object", "properties": {}},
                },
                {"type": "web_search"},
                {"type": "custom"},
            ]
        },
    ),
    ("no tool left", {"tools": [{"type": "image_generation"}], "tool_choice": "auto"}, {}),
    ("a tool that nobody runs", {"tools": [{"type": "mcp"}]}, "Copilot runs no mcp"),
    ("limits", {"max_output_tokens": 8}, {"max_output_tokens": 16}),
    ("large", {"max_output_tokens": 32000}, {"max_output_tokens": 1000}),
    (
        "effort",
        {"reasoning": {"effort": "xhigh", "summary": "auto"}},
        {"reasoning": {"effort": "high", "summary": "auto"}},
    ),
    (
        "includes",
        {"include": ["usage", "reasoning.encrypted_content"]},
        {"include": ["reasoning.encrypted_content"]},
    ),
    ("only usage", {"include": ["usage"]}, {}),
    ("background", {"background": True}, "background"),
    ("conversation", {"conversation": "c"}, "conversation"),
    ("wrong tools", {"tools": {}}, "^tools: "),
    ("wrong effort", {"reasoning": {"effort": 1}}, r"^reasoning\.effort: "),
]


@pytest.mark.parametrize("name, body, expected", RESP_PREPARED)
def test_responses_prepared(name, body, expected):
    body = {"store": False, **body}
    if isinstance(expected, str):
        with pytest.raises(cp.BadRequest, match=expected):
            fit_body("responses", body, R_GPT, RESPONSES)
    else:
        assert fit_body("responses", body, R_GPT, RESPONSES).body == {
            "model": "gpt-5.4",
            "stream": True,
            "store": False,
            **expected,
        }


def test_responses_second_output_of_a_call_is_told_as_text():
    calls = [r_call("f"), r_out("c", "1"), r_out("c", "2")]
    sent = fit_body("responses", {"input": calls}, R_GPT, RESPONSES).body["input"]
    told = "[result of a tool call that is not shown]\n2"
    assert sent == [*calls[:2], {"role": "user", "content": [r_item("input_text", text=told)]}]


SEARCHES = [
    ("a reminder", [("user", "find x"), ("system", "y")], "find x"),
    (
        "a result",
        [
            ("user", "find x"),
            ("assistant", [USE]),
            ("user", [{"type": "tool_result", "tool_use_id": "c1"}]),
        ],
        "find x",
    ),
    ("more", [("user", "find x"), ("assistant", "x"), ("user", "and y")], "find x\n\nand y"),
    ("begun", [("user", "find x"), ("assistant", "pre")], "find x"),
]


@pytest.mark.parametrize("name, turns, query", SEARCHES, ids=[row[0] for row in SEARCHES])
def test_responses_search_query_is_what_the_users_said(name, turns, query):
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {"messages": messages, "max_tokens": 9, "tools": SEARCH_ASK["tools"]}
    assert cp.search_query(body) == query


def test_responses_web_search():
    body = fit_body("responses", cp.search_request("cats"), R_GPT, RESPONSES).body
    assert {key: body[key] for key in body if key != "include"} == {
        "model": "gpt-5.4",
        "stream": True,
        "store": False,
        "input": "cats",
        "tools": [{"type": "web_search"}],
        "tool_choice": "required",
        "reasoning": {"effort": "low"},
    }
    search = {"type": "web_search_call", "action": {"type": "search", "query": "cats"}}
    deltas = RWire().message(0, ["told", " before"])
    raw = deltas.end(output=[{"type": "web_search_call"}, search, R_CITED]).raw
    events = []
    for fold in (False, True):
        machine = cp.Translation(
            cp.ResponsesReader(search=True), cp.MessagesWriter("msg_1", "m", fold=fold)
        )
        out = cp.SSEDecoder().feed(machine.feed(raw) + machine.finish())
        events += [json.loads(event.data) for event in out]
        whole = machine.whole()
    assert fold_message(events) == whole
    assert whole["usage"]["server_tool_use"] == {"web_search_requests": 1}
    call, result, text = whole["content"]
    assert call == {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "cats"},
    }
    assert result == {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {
                "type": "web_search_result",
                "url": "http://x",
                "title": "X",
                "page_age": None,
                "encrypted_content": "",
            }
        ],
    }
    assert text == {"type": "text", "text": "a"}


# -- Claude's answers to clients of other dialects -----------------------------


def m_event(kind, **fields):
    return data({"type": kind, **fields}, kind)


def m_start(**usage):
    usage = {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1, **usage}
    return m_event("message_start", message={"id": "msg_1", "content": [], "usage": usage})


def m_block(index, kind, pieces=(), **fields):
    """A content block from its start to its stop; a tool_use has fragments of its input."""
    how, word = {
        "text": ("text_delta", "text"),
        "thinking": ("thinking_delta", "thinking"),
        "tool_use": ("input_json_delta", "partial_json"),
        "server_tool_use": ("input_json_delta", "partial_json"),
    }.get(kind, ("", ""))
    start = {"type": kind, **({"input": {}} if kind == "tool_use" else {}), **fields}
    raw = m_event("content_block_start", index=index, content_block=start)
    for piece in pieces:
        delta = {"type": how, word: piece}
        raw += m_event("content_block_delta", index=index, delta=delta)
    if "signature" in fields:
        delta = {"type": "signature_delta", "signature": fields["signature"]}
        raw += m_event("content_block_delta", index=index, delta=delta)
    return raw + m_event("content_block_stop", index=index)


def m_end(reason, **delta):
    usage = {"input_tokens": 0, "output_tokens": 5}
    cost = {"total_nano_aiu": 7}
    delta = {"stop_reason": reason, "stop_sequence": None, **delta}
    ending = m_event("message_delta", delta=delta, usage=usage, copilot_usage=cost)
    return ending + m_event("message_stop")


M_CALL = m_block(1, "tool_use", ['{"p', '":1}'], id="c1", name="ls")
M_STREAMS = [
    (
        "text",
        m_start() + m_block(0, "text", ["H\u00e9", 'l"o\n']) + m_end("end_turn"),
        [("text", 'H\u00e9l"o\n'), R_STOP],
    ),
    (
        "thinking, text, calls",
        m_start()
        + m_block(0, "thinking", ["h", "m"], signature="SIG")
        + m_block(1, "text", ["go"])
        + m_block(2, "tool_use", ['{"p', '":1}'], id="c1", name="ls")
        + m_block(3, "tool_use", ["", "{}"], id="c2", name="ls")
        + m_end("tool_use"),
        [
            ("reasoning", "hm"),
            ("opaque", "SIG", "messages:anthropic"),
            ("text", "go"),
            ("call", 1, "c1", "ls"),
            ("arguments", 1, '{"p":1}'),
            ("call", 2, "c2", "ls"),
            ("arguments", 2, "{}"),
            R_TOOLS,
        ],
    ),
    (
        "hidden thinking",
        m_start()
        + m_block(0, "thinking", signature="SIG")
        + m_block(1, "redacted_thinking", data="RED")
        + m_block(2, "text", ["a"])
        + m_end("end_turn"),
        [
            ("opaque", "SIG", "messages:anthropic"),
            ("opaque", "RED", "messages:anthropic/redacted"),
            ("text", "a"),
            R_STOP,
        ],
    ),
    (
        "a call without arguments",
        m_start() + m_block(0, "tool_use", id="c1", name="ls") + m_end("tool_use"),
        [("call", 1, "c1", "ls"), ("arguments", 1, "{}"), R_TOOLS],
    ),
    (
        "arguments encoded twice",
        m_start()
        + m_block(0, "tool_use", ['"{\\"p', '\\":1}"'], id="c1", name="ls")
        + m_end("tool_use"),
        [("call", 1, "c1", "ls"), ("arguments", 1, '{"p":1}'), R_TOOLS],
    ),
    (
        "arguments that are none",
        m_start() + m_block(0, "tool_use", ['{"p'], id="c1", name="ls") + m_end("tool_use"),
        [
            ("call", 1, "c1", "ls"),
            ("arguments", 1, '{"p'),
            (cp.UpstreamError, "the model called ls with arguments that are not a JSON object"),
        ],
    ),
    (
        "arguments of a server's tool",
        m_start()
        + m_block(0, "server_tool_use", ['{"query":', '"q"}'], id="s1", name="web_search")
        + m_block(1, "text", ["a"])
        + m_end("end_turn"),
        [("text", "a"), R_STOP],
    ),
    (
        "arguments of a call that has no start",
        m_start()
        + m_event("content_block_start", index=2, content_block=[None])
        + m_event("content_block_delta", index=2, delta={"partial_json": "{}"})
        + m_end("tool_use"),
        [(cp.UpstreamError, "the upstream sent arguments of tool call 0, which never began")],
    ),
    (
        "stop sequence",
        m_start()
        + m_block(0, "text", ["a"])
        + m_end("stop_sequence", stop_sequence="END")
        + b"data: [DONE]\n\n",
        [("text", "a"), (*R_STOP, "END")],
    ),
    (
        "cut",
        m_start() + m_block(0, "tool_use", ['{"p'], id="c1", name="ls") + m_end("max_tokens"),
        [("call", 1, "c1", "ls"), ("arguments", 1, '{"p'), R_LONG],
    ),
    (
        "refusal",
        m_start() + m_end("refusal", stop_details={"type": "refusal", "explanation": "No."}),
        [("refusal", "No."), ("end", "content_filter", R_SPENT)],
    ),
    (
        "strangers",
        m_start()
        + m_event("ping")
        + m_event("new_kind", x=1)
        + m_block(0, "server_tool_use", id="s1", name="web_search")
        + m_block(1, "text", ["a"])
        + m_end("pause_turn"),
        [("text", "a"), R_STOP],
    ),
    (
        "error",
        m_start() + m_event("error", error={"type": "overloaded_error", "message": "it broke"}),
        [(cp.UpstreamError, "it broke")],
    ),
    (
        "early end",
        m_start() + m_block(0, "text", ["a"]),
        [("text", "a"), (cp.UpstreamError, cp.CUT_SHORT)],
    ),
]


def sink_told(pieces, reader):
    sink = RSink()
    machine = cp.Translation(reader, sink)
    try:
        for piece in pieces:
            machine.feed(piece)
        machine.finish()
    except cp.ProxyError as exc:
        return sink.told + [(type(exc), str(exc))]
    return sink.told


@pytest.mark.parametrize("name, raw, expected", M_STREAMS, ids=[row[0] for row in M_STREAMS])
def test_messages_reader_under_every_cut(name, raw, expected):
    for pieces in cuts(raw):
        told = sink_told(pieces, cp.MessagesReader())
        if isinstance(expected[-1][0], type):
            assert (told[:-1], told[-1][0]) == (expected[:-1], expected[-1][0])
            assert told[-1][1].startswith(expected[-1][1])
        else:
            assert told == expected


@pytest.mark.parametrize("choice", ["auto", "none", "required", "=f"])
@pytest.mark.parametrize("parallel", [None, False])
def test_messages_choice_needs_tools(choice, parallel):
    conv = cp.Conversation((), tool_choice=choice, parallel=parallel)
    assert not {"tools", "tool_choice"} & cp.encode_messages(conv, C_CLAUDE).keys()
    conv = conv._replace(tools=(cp.Tool("f", "", {"type": "object"}),))
    sent = cp.encode_messages(conv, C_CLAUDE)["tool_choice"]
    assert sent == {"type": "none"} if choice == "none" else len(sent) > (parallel is False)


def test_messages_reader_survives_wrong_types():
    kinds = "message_start message_delta message_stop ping".split()
    for kind in kinds + ["content_block_" + step for step in ("start", "delta", "stop")]:
        for odd in (None, 1, "x", [1], {"type": 1}):
            keys = ("message", "index", "content_block", "delta", "usage", "copilot_usage")
            raw = m_event(kind, **dict.fromkeys(keys, odd))
            told = sink_told([raw], cp.MessagesReader())
            assert told[-1][0] in ("end", cp.UpstreamError)


GUARDED = [
    ("as it is", ['{"a"', ":1}"], '{"a":1}'),
    ("blanks first", [" ", '\n{"a":1}'], '{"a":1}'),
    ("twice", ['"{\\"a\\"', ':1}"'], '{"a":1}'),
    ("none", [], None),
    ("blank", ["  "], None),
    ("no object", ["[1]"], None),
    ("a word", ['"x"'], None),
    ("half", ['{"a'], None),
    ("half of twice", ['"{\\"a'], None),
    ("two", ["{}{}"], None),
]


@pytest.mark.parametrize("name, pieces, expected", GUARDED, ids=[row[0] for row in GUARDED])
def test_hub_guards_the_arguments_of_calls(name, pieces, expected):
    for reason in ("tool_calls", "stop", "length", "content_filter"):
        for free in ((), {"ls"}):
            sink = RSink()
            guard = cp.CallGuard(sink, free)
            guard.call(0, "c", "ls")
            for piece in pieces:
                guard.arguments(0, piece)
            told = lambda: "".join(t[2] for t in sink.told if t[0] == "arguments")
            if free or expected is not None or reason in ("length", "content_filter"):
                guard.end(reason, R_SPENT)
                assert sink.told[-1] == ("end", reason, R_SPENT)
                assert told() == "".join(pieces).lstrip() if free else expected in (None, told())
            else:
                with pytest.raises(cp.UpstreamError, match="ls with arguments"):
                    guard.end(reason, R_SPENT)


# -- requests of Responses clients ---------------------------------------------

PROMPT_ITEM = {"role": "user", "content": PROMPT}


def frames_of(raw):
    """The events of a stream, each as its own bytes."""
    return [event + b"\n\n" for event in raw.split(b"\n\n") if event]


R_USER = {"role": "user", "content": "hi"}
R_NAMESPACE = {
    "type": "namespace",
    "name": "mcp__teams__",
    "description": "",
    "tools": [{"type": "function", "name": "ListChats", "parameters": {}, "strict": False}],
}
R_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patches.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}
R_SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds."}


def r_parsed(*items, **more):
    return cp.parse_responses({"input": [R_USER, *items], **more})


def r_parts(*items, **more):
    return [part for turn in r_parsed(*items, **more).turns[1:] for part in turn.parts]


def r_item(kind, **fields):
    return {"type": kind, **fields}


def r_out(call_id, output, kind="function_call"):
    return r_item(kind + "_output", call_id=call_id, output=output)


def r_call(name, arguments="{}"):
    return r_item("function_call", call_id="c", name=name, arguments=arguments)


R_SAID = [  # name, items, tools, what they are in the hub
    ("message", [r_item("message", role="developer", content="d")], (), [cp.Text("d")]),
    (
        "parts",
        [
            {
                "role": "user",
                "content": [
                    r_item("input_text", text="a"),
                    r_item("input_image", image_url="https://x/y", detail="low"),
                    r_item("input_file", file_data="data:application/pdf;base64,JV", filename="f"),
                ],
            }
        ],
        (),
        [
            cp.Text("a"),
            cp.Image("https://x/y", "low"),
            cp.Document("data:application/pdf;base64,JV", "f"),
        ],
    ),
    (
        "answer, refusal",
        [
            r_item(
                "message",
                role="assistant",
                phase="commentary",
                content=[r_item("output_text", text="a"), r_item("refusal", refusal="b")],
            )
        ],
        (),
        [cp.Text("a"), cp.Text("b")],
    ),
    (
        "call in a namespace",
        [
            r_item(
                "function_call",
                call_id="c",
                name="ListChats",
                namespace="mcp__teams__",
                arguments="{}",
            ),
            r_out("c", [r_item("input_text", text="r")]),
        ],
        [R_NAMESPACE],
        [cp.Call("c", "mcp__teams__ListChats", "{}"), cp.Result("c", (cp.Text("r"),))],
    ),
    (
        "custom call",
        [
            r_item("custom_tool_call", call_id="c", name="apply_patch", input="*** x"),
            r_out("c", "done", "custom_tool_call"),
        ],
        [R_PATCH],
        [cp.Call("c", "apply_patch", '{"input":"*** x"}'), cp.Result("c", (cp.Text("done"),))],
    ),
    (
        "shell call",
        [
            r_item("local_shell_call", call_id="c", action={"command": ["ls"]}),
            r_out("c", "out", "local_shell_call"),
        ],
        [r_item("local_shell")],
        [cp.Call("c", "local_shell", '{"command":["ls"]}'), cp.Result("c", (cp.Text("out"),))],
    ),
    (
        "tool search",
        [
            r_item("tool_search_call", call_id="c", execution="client", arguments={"query": "q"}),
            r_item("tool_search_output", call_id="c", execution="client", tools=[R_NAMESPACE]),
        ],
        [R_SEARCH],
        [
            cp.Call("c", "tool_search", '{"query":"q"}'),
            cp.Result("c", (cp.Text("Found tools: mcp__teams__ListChats"),)),
        ],
    ),
    (
        "reasoning of ours, of others",
        [
            r_item(
                "reasoning",
                encrypted_content=cp.pack_reasoning("S", "messages:anthropic"),
                summary=[r_item("summary_text", text="hm")],
            ),
            r_item("reasoning", encrypted_content="gAAAA", summary=[]),
            r_item("message", role="assistant", content="a"),
        ],
        (),
        [cp.Reasoning("hm", "S", "messages:anthropic"), cp.Text("a")],
    ),
    (
        "a call of no name",
        [r_call(""), r_out("c", "r")],
        (),
        [cp.Call("c", "", "{}"), cp.Result("c", (cp.Text("r"),))],
    ),
    (
        "a server's search",
        [r_item("web_search_call", id="ws", action={"query": "q"}, status="completed")],
        (),
        [cp.Text('[web_search_call {"action":{"query":"q"}}]')],
    ),
    (
        "compaction of ours, of another",
        [
            r_item("compaction", encrypted_content=cp.pack_reasoning("sum", cp.COMPACTED)),
            r_item("compaction", encrypted_content="gAAAA"),
        ],
        (),
        [cp.Text(cp.SUMMARY_LEAD + "sum"), cp.Text(cp.LOST_SUMMARY)],
    ),
]


@pytest.mark.parametrize("name, items, tools, expected", R_SAID, ids=[row[0] for row in R_SAID])
def test_responses_parse_items(name, items, tools, expected):
    assert r_parts(*items, tools=list(tools)) == expected


def test_responses_parse_tools_and_choice():
    body = {
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None},
            {"type": "function", "name": "mcp__teams__ListChats"},
            R_NAMESPACE,
            R_PATCH,
            R_SEARCH,
            {"type": "web_search", "external_web_access": True},
        ]
    }
    conv = r_parsed(**body)
    assert [(t.name, t.kind, t.namespace, t.own) for t in conv.tools] == [
        ("f", "function", "", "f"),
        ("mcp__teams__ListChats", "function", "", "mcp__teams__ListChats"),
        ("mcp__teams__ListChats_", "function", "mcp__teams__", "ListChats"),
        ("apply_patch", "custom", "", "apply_patch"),
        ("tool_search", "tool_search", "", "tool_search"),
    ]
    assert "lark grammar:\nstart: x" in conv.tools[3].description
    assert conv.left_out == ("tool web_search",)
    for choice, expected in [
        (None, ""),
        ("required", "required"),
        ({"type": "function", "name": "f"}, "=f"),
        ({"type": "custom", "name": "apply_patch"}, "=apply_patch"),
        ({"type": "tool_search"}, "=tool_search"),
        ({"type": "web_search"}, ""),
    ]:
        assert r_parsed(**body, tool_choice=choice).tool_choice == expected
    only = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}],
    }
    conv = r_parsed(**body, tool_choice=only)
    assert [tool.name for tool in conv.tools] == ["f"] and conv.tool_choice == "required"
    assert r_parsed(tool_choice="required").tool_choice == ""
    inner = {**R_NAMESPACE, "tools": [{"type": "custom", "name": "sh"}]}
    assert [(t.name, t.kind) for t in r_parsed(tools=[inner]).tools] == [
        ("mcp__teams__sh", "custom")
    ]


def test_responses_found_tools_have_the_names_of_the_offered():
    tools = [{"type": "function", "name": "a__b"}, R_SEARCH]
    inner = {"type": "namespace", "name": "a", "tools": [{"type": "function", "name": "b"}]}
    found = r_item("tool_search_output", call_id="c", tools=[inner])
    conv = r_parsed(r_item("tool_search_call", call_id="c", arguments={}), found, tools=tools)
    assert [tool.name for tool in conv.tools] == ["a__b", "tool_search", "a__b_"]
    assert conv.turns[-1].parts == (cp.Result("c", (cp.Text("Found tools: a__b_"),)),)


def test_responses_verbosity_is_carried():
    conv = r_parsed(text={"verbosity": "low"})
    assert cp.encode_chat(conv, C_GPT41)["verbosity"] == "low"
    assert cp.encode_responses(conv, R_GPT)["text"] == {"verbosity": "low"}
    with pytest.raises(cp.BadRequest, match="^text.verbosity: expected a string"):
        r_parsed(text={"verbosity": 1})


def test_responses_instructions_without_input():
    conv = cp.parse_responses({"input": "", "instructions": "do"})
    assert conv.turns == (cp.Turn("system", (cp.Text("do"),)),)
    assert cp.parse_responses({"input": ""}).turns == ()


@pytest.mark.parametrize(
    "body, words",
    [
        ({"input": None}, "^input: required"),
        ({"input": 1}, "^input: expected a list"),
        ({"input": [1]}, r"^input\.0: expected an object"),
        ({"input": [{"role": "x", "content": ""}]}, r"^input\.0\.role: expected user"),
        ({"input": [{"type": "new_item"}]}, r"^input\.0: an item of type 'new_item'"),
        ({"input": [{"type": "function_call"}]}, r"^input\.0\.call_id: required"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            r"^input\.0\.content\.0: a part of type 'input_audio'",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            r"^input\.0\.content\.0: Copilot keeps no files",
        ),
        ({"tools": [{"type": "mcp", "server_url": "x"}]}, r"^tools\.0: a tool of type 'mcp'"),
        ({"tools": [{"type": "function"}]}, r"^tools\.0\.name: required"),
        ({"tools": [{"type": "function", "name": None}]}, r"^tools\.0\.name: required"),
        ({"tool_choice": {"type": "function", "name": "g"}}, "^tool_choice: 'g' is not among"),
        ({"tool_choice": {}}, r"^tool_choice\.type: required"),
        ({"tool_choice": ""}, "^tool_choice: expected an object"),
        ({"tool_choice": False}, "^tool_choice: expected an object"),
        ({"input": [r_call("f", [{}])]}, r"^input\.0\.arguments: expected a string"),
        ({"input": [r_call("f", True)]}, r"^input\.0\.arguments: expected a string"),
        (
            {"input": [{**r_call("f"), "type": "custom_tool_call", "input": 5}]},
            r"^input\.0\.input: expected a string",
        ),
        ({"instructions": [{"role": "user"}]}, "^instructions: expected a string"),
        ({"text": {"format": {"type": "xml"}}}, r"^text\.format\.type: expected"),
        ({"text": {"format": {"type": "json_schema"}}}, r"^text\.format\.schema: required"),
    ],
)
def test_responses_parse_refusals(body, words):
    with pytest.raises(cp.BadRequest, match=words):
        cp.parse_responses({"input": "hi", **body})


# -- answers for Responses clients ---------------------------------------------


def r_writer(tools=(), **options):
    frame = cp.response_frame({}, "resp_1", "m", 1)
    table = cp.ToolTable({"tools": list(tools)}).tools
    options = {"summary": True, "encrypted": True, **options}
    return cp.ResponsesWriter(frame, table, **options)


def r_told(told, tools=(), **options):
    """(events, whole answer) of what a sink was told, checked against each other."""
    free = cp.custom_names(cp.ToolTable({"tools": list(tools)}).tools.values())
    stream = cp.CallGuard(r_writer(tools, **options), free)
    fold = cp.CallGuard(r_writer(tools, fold=True, **options), free)
    raw = b""
    for name, *said in told:
        getattr(stream, name)(*said)
        getattr(fold, name)(*said)
        raw += stream.take()
    events = [event for _, event in frames(raw)]
    assert check_responses(events) == fold.whole()["output"] and fold.take() == b""
    assert {**events[-1]["response"], **R_SPENT.cost} == fold.whole()
    return events, fold.whole()


def test_responses_writer_tells_no_call_the_arguments_of_another():
    writer = r_writer()
    for key in (0, 1):
        writer.call(key, "c%d" % key, "ls")
        writer.arguments(key, '{"a":')
    writer.arguments(0, " \n")  # behind its end, but nothing
    writer.arguments(1, "1}")
    with pytest.raises(cp.UpstreamError, match="continued tool call 0 after its end"):
        writer.arguments(0, "2}")
    writer.end(*R_TOOLS[1:])
    assert [item["arguments"] for item in writer.whole()["output"]] == ['{"a":', '{"a":1}']


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_responses_writer_takes_no_half_summary_for_a_compaction(reason):
    writer = r_writer(compact=True)
    writer.text("So far")
    with pytest.raises(cp.UpstreamError, match="summary did not come whole"):
        writer.end(reason, R_SPENT)
    writer = r_writer(compact=True)
    with pytest.raises(cp.UpstreamError, match="summary did not come whole"):
        writer.end("stop", R_SPENT)


def test_responses_compaction_is_nothing_but_its_summary():
    told = [("reasoning", "hm"), ("opaque", "E", "messages:anthropic"), ("text", "So far")]
    events, whole = r_told([*told, R_STOP], compact=True)
    assert [item["type"] for item in whole["output"]] == ["compaction"]
    assert cp.summary_text(whole["output"][0]) == cp.SUMMARY_LEAD + "So far"


@pytest.mark.parametrize("kind", [{}, [], 1, None])
def test_responses_reader_survives_an_item_of_no_kind(kind):
    wire = RWire().item("added", 0, {"type": kind}).item("done", 0, {"type": kind, "name": "x"})
    assert resp_read([wire.message(1, ["a"]).end().raw])[0] == ("text", "a")


def test_responses_writer_gives_each_tool_back_as_what_it_is():
    tools = [R_NAMESPACE, R_PATCH, R_SEARCH, r_item("local_shell"), r_item("apply_patch")]
    calls = [
        ("mcp__teams__ListChats", '{"a":1}'),
        ("apply_patch", '{"input":"*** x"}'),
        ("apply_patch", "*** y"),
        ("tool_search", '{"query":"q"}'),
        ("local_shell", '{"command":["ls"]}'),
        ("unknown", "{}"),
    ]
    told = []
    for at, (name, arguments) in enumerate(calls):
        told += [("call", at, "c%d" % at, name), ("arguments", at, arguments)]
    items = r_told([*told, R_TOOLS], tools[:4])[1]["output"]
    shown = [{k: v for k, v in i.items() if k not in ("id", "status", "call_id")} for i in items]
    assert shown == [
        {
            "type": "function_call",
            "name": "ListChats",
            "namespace": "mcp__teams__",
            "arguments": '{"a":1}',
        },
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** x"},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** y"},
        {"type": "tool_search_call", "execution": "client", "arguments": {"query": "q"}},
        {"type": "local_shell_call", "action": {"type": "exec", "env": {}, "command": ["ls"]}},
        {"type": "function_call", "name": "unknown", "arguments": "{}"},
    ]
    assert [item["call_id"] for item in items] == ["c%d" % at for at in range(6)]
    assert {item["status"] for item in items} == {"completed"}


def test_responses_writer_phases_reasoning_and_interleaved_calls():
    told = [
        ("reasoning", "hm"),
        ("opaque", "S", "messages:anthropic"),
        ("text", "look"),
        ("call", 0, "c0", "f"),
        ("arguments", 0, '{"a'),
        ("arguments", 0, '":1}'),
        ("call", 1, "c1", "f"),
        ("arguments", 1, "{}"),
        ("text", "do"),
        ("text", "ne"),
        ("opaque", "T", "chat:google"),
        R_TOOLS,
    ]
    events, answer = r_told(told)
    assert [e["type"] for e in events[:2]] == ["response.created", "response.in_progress"]
    items = answer["output"]
    kinds = ["reasoning", "message", "function_call", "function_call", "message", "reasoning"]
    assert [item["type"] for item in items] == kinds
    assert [items[at]["phase"] for at in (1, 4)] == ["commentary", "final_answer"]
    assert items[4]["content"][0]["text"] == "done" and items[2]["arguments"] == '{"a":1}'
    opaque = [cp.unpack_reasoning(items[at]["encrypted_content"]) for at in (0, 5)]
    assert opaque == [("S", "messages:anthropic"), ("T", "chat:google")]
    assert items[0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    hidden = r_told(told, summary=False, encrypted=False)[1]["output"]
    assert "encrypted_content" not in json.dumps(hidden) and hidden[0]["summary"] == []
    mixed = [*told[:5], *told[6:8], told[5], ("text", "done"), R_TOOLS]
    items = r_told(mixed)[1]["output"]
    assert [item["type"] for item in items] == [*kinds[:3], "message", "function_call"]
    assert [items[at]["arguments"] for at in (2, 4)] == ['{"a":1}', "{}"]


def test_responses_writer_ends_what_is_open_in_order():
    told = [("call", at, "c%d" % at, "f") for at in range(3)] + [("text", "done")]
    for at in range(3):
        told.append(("arguments", at, "{}"))
    events = r_told([*told, R_TOOLS])[0]
    done = [e["output_index"] for e in events if e["type"] == "response.output_item.done"]
    assert done == [0, 1, 2, 3]


def test_responses_writer_incomplete_and_failed():
    for reason, why in (("length", "max_output_tokens"), ("content_filter", "content_filter")):
        told = [("text", "a"), ("call", 0, "c", "f"), ("arguments", 0, '{"a')]
        _, answer = r_told([*told, ("end", reason, R_SPENT)])
        assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": why})
        assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]
    writer = r_writer()
    writer.text("a")
    writer.error(cp.UpstreamError("broken", code="rate_limit_exceeded"))
    writer.text("b")
    events = [event for _, event in frames(writer.take())]
    check_responses(events)
    assert events[-2]["message"] == events[-1]["response"]["error"]["message"] == "broken"
    writer = r_writer()
    writer.end("stop", R_SPENT)
    writer.take()
    writer.error(cp.UpstreamError("late"))
    assert writer.take() == b""


# -- the memory of answers -----------------------------------------------------


def r_answer(name, *items, previous=None):
    answer = {"id": name, "status": "completed", "previous_response_id": previous}
    return answer, list(items)


def r_message(name, text):
    part = r_item("output_text", text=text)
    return r_item("message", id=name, role="assistant", content=[part])


def test_responses_messages_of_one_answer_keep_their_phases():
    script = RWire().message(0, ["look", "ing"]).message(1, ["done"]).end()
    sink = cp.MessagesWriter("msg_1", "m", fold=True)
    assert drive([script.raw], cp.ResponsesReader, sink)[2] is None
    content = sink.whole()["content"]
    assert [block["text"] for block in content] == ["looking", "done"]
    talk_on = {"messages": [HI_MESSAGE, by_model(*content), HI_MESSAGE], "max_tokens": 9}
    sent = cp.encode_responses(cp.parse_messages(talk_on), RESPONSES_MODELS["responses"])
    said = [(i["phase"], i["content"][0]["text"]) for i in sent["input"] if "phase" in i]
    assert said == [("commentary", "looking"), ("final_answer", "done")]
    chat = cp.ChatWriter("i", "m", 1, True, fold=True)
    drive([script.raw], cp.ResponsesReader, chat)
    assert chat.whole()["choices"][0]["message"]["content"] == "looking\n\ndone"
    writer = r_writer(fold=True)
    drive([script.raw], cp.ResponsesReader, writer)
    phases = [item["phase"] for item in writer.whole()["output"]]
    assert phases == ["commentary", "final_answer"]


def test_responses_memory_links_and_forgets():
    memory = cp.ResponseMemory(limit=4000)
    for turn in range(20):
        body = {"input": "q%d" % turn, "previous_response_id": "r%d" % (turn - 1)}
        raw = json.dumps(body).encode()
        if turn:
            previous = body["previous_response_id"]
        else:
            previous = None
        message = r_message("m%d" % turn, "a")
        memory.keep("s", raw, *r_answer("r%d" % turn, message, previous=previous))
    items = memory.expand("s", {"input": "next", "previous_response_id": "r19"})["input"]
    assert len(items) == 41 and items[-1] == {"role": "user", "content": "next"}
    assert [item["content"] for item in items[0::2]] == ["q%d" % n for n in range(20)] + ["next"]
    assert memory.size < 4000
    reference = {"input": [r_item("item_reference", id="m3"), {"id": "m4"}, R_USER]}
    assert memory.expand("s", reference)["input"] == [
        r_message("m3", "a"),
        r_message("m4", "a"),
        R_USER,
    ]
    assert memory.expand("s", {"input": "x"}) == {"input": "x"}
    twice = {"input": [r_item("item_reference", id="m3")] * 1000}
    assert len(memory.expand("s", twice)["input"]) == 1  # 1 MB of references is no 1 GB
    for session, asked, error in [
        ("t", {"previous_response_id": "r19", "input": "x"}, cp.BadRequest),
        ("s", {"previous_response_id": "r20", "input": "x"}, cp.BadRequest),
        ("t", reference, cp.BadRequest),
    ]:
        with pytest.raises(error) as caught:
            memory.expand(session, asked)
        assert (caught.value.code, caught.value.status) in (
            ("previous_response_not_found", 400),
            ("item_not_found", 404),
        )
    memory.keep("t", b"{}" + b" " * 3000, *r_answer("r0"))  # pushes the oldest out
    with pytest.raises(cp.BadRequest, match="r.* not found"):
        memory.expand("s", {"input": "next", "previous_response_id": "r19"})
    for turn in range(300):
        memory.keep("u", b"{}", *r_answer("r%d" % turn, r_message("m", "a" * 50)))
        assert memory.size <= 4000
    memory.keep("u", b" " * 5000, *r_answer("r"))
    assert memory.size <= 4000


def test_responses_memory_of_an_upstream_that_uses_an_id_again():
    memory = cp.ResponseMemory()
    for turn in range(4):
        body = {"input": "q%d" % turn, "previous_response_id": "r" if turn else None}
        memory.expand("s", body)
        previous = body["previous_response_id"]
        memory.keep("s", json.dumps(body).encode(), *r_answer("r", previous=previous))
    items = memory.expand("s", {"input": "next", "previous_response_id": "r"})["input"]
    assert [item["content"] for item in items] == ["q0", "q1", "q2", "q3", "next"]


def test_responses_memory_completes_reasoning():
    memory = cp.ResponseMemory()
    thought = r_item("reasoning", id="rs_1", summary=[], encrypted_content="E")
    memory.keep("s", b'{"input":"x"}', *r_answer("r", thought, r_message("m", "a")))
    asked = {
        "input": [{"type": "item_reference", "id": "m"}, {**thought, "encrypted_content": None}]
    }
    assert memory.expand("s", asked)["input"][1] == thought
    alone = {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}, R_USER]}
    assert memory.expand("s", alone)["input"] == [thought, R_USER]
    foreign = {"input": [{"type": "reasoning", "id": "rs_9", "summary": []}, R_USER]}
    assert memory.expand("s", foreign) == foreign


# -- the dialect matrix: every conversation through every pair --
#
# A request is shown as lines that are the same for every upstream dialect, so that one
# golden holds for all of them; where they must differ the row says how. Each request is
# also put before the fake upstream, and sent once more as the client's own: the chat
# request as that of a chat client, the Responses request as that of a Responses client.

CATALOGUE = {entry["id"]: entry for entry in _catalogue()}
MATRIX = {
    "gpt": "gpt-4.1",
    "gemini": "gemini-2.5-pro",
    "claude": "claude-sonnet-4.5",
    "responses": "gpt-5.5",
}
RESPONSES_MODELS = {
    pair: cp.parse_models({"data": [CATALOGUE[name]]})[0] for pair, name in MATRIX.items()
}
ANY_CHAT = cp.Model("any", vendor="Any", output=10**6, efforts=cp.EFFORTS)  # keeps every setting
LONG_NAME = "mcp__" + "n" * 70
SHORT_NAME = cp.short_name(LONG_NAME)


def show_parts(content):
    """The parts of a message in one line, texts and addresses of images."""
    if isinstance(content, str) or content is None:
        return (content or "").replace("\n\n", "|")
    shown = []
    for part in content:
        kind = part["type"]
        url = part.get("image_url", "")
        assert kind in ("text", "image_url", "input_text", "output_text", "input_image")
        assert ("text" in part) == kind.endswith("text")
        shown.append(part.get("text") or "<%s>" % (url["url"] if isinstance(url, dict) else url))
    return "|".join(shown).replace("\n\n", "|")


def show_tool(tool, choice):
    function = tool.pop("function", tool)
    assert tool["type"] == "function" and {"type", "properties"} <= set(function["parameters"])
    return "tool %s%s %s" % (
        function["name"],
        "!" * bool(function.get("strict")),
        function.get("description") or "-",
    )


def show_settings(body):
    choice = body.pop("tool_choice", None)
    for tool in body.pop("tools", ()):
        yield show_tool(dict(tool), choice)
    if choice:
        yield "choice " + (
            choice if isinstance(choice, str) else "=" + (choice.get("function") or choice)["name"]
        )
    assert body.pop("stream") is True
    yield from ("%s %s" % (key, json.dumps(body.pop(key))) for key in sorted(body))


def show_chat(body):
    """A chat request as lines; a cache mark is a `*`."""
    body = dict(body, model=None)
    for message in body.pop("messages"):
        star = "*" * bool(message.get("copilot_cache_control"))
        if "reasoning_opaque" in message:
            yield "thought %s %s" % (message["reasoning_text"], message["reasoning_opaque"])
        if message["role"] == "tool":
            who = "result " + message["tool_call_id"]
        else:
            who = message["role"]
        if message["content"] or message["role"] == "tool":
            yield "%s%s: %s" % (who, star, show_parts(message["content"]))
        for call in message.get("tool_calls", ()):
            yield "call %s %s %s" % (
                call["id"],
                call["function"]["name"],
                call["function"]["arguments"],
            )
    limit = body.pop("max_tokens", None) or body.pop("max_completion_tokens", None)
    form = body.pop("response_format", {})
    yield from () if limit in (100, None) else ["limit %d" % limit]
    yield from ["schema " + json.dumps(form.get("json_schema", {}))] if form else []
    renamed = {"reasoning_effort": "effort", "parallel_tool_calls": "parallel"}
    yield from show_settings({renamed.get(k, k): v for k, v in body.items() if k != "model"})


def show_responses(body):
    """A Responses request as the same lines."""
    body = dict(body)
    assert body.pop("store") is False and body.pop("include") == ["reasoning.encrypted_content"]
    for item in body.pop("input"):
        kind = item.get("type", "message")
        if kind == "message":
            yield "%s: %s" % (item["role"], show_parts(item["content"]))
        elif kind == "reasoning":
            yield "thought %s %s" % (
                "".join(p["text"] for p in item["summary"]),
                item["encrypted_content"],
            )
        elif kind == "function_call":
            yield "call %s %s %s" % (item["call_id"], item["name"], item["arguments"])
        else:
            assert kind == "function_call_output"
            yield "result %s: %s" % (item["call_id"], show_parts(item["output"]))
    limit = body.pop("max_output_tokens", 100)
    text = body.pop("text", {})
    yield from [] if limit == 100 else ["limit %d" % limit]
    form = text.pop("format", None)
    yield from (
        []
        if form is None
        else ["schema " + json.dumps({k: v for k, v in form.items() if k != "type"})]
    )
    thinks = body.pop("reasoning", {})
    settings = {**body, **text, **{k: thinks[k] for k in thinks}}
    renamed = {"parallel_tool_calls": "parallel", "prompt_cache_key": "user"}
    yield from show_settings({renamed.get(k, k): v for k, v in settings.items() if k != "model"})


def matrix_request(client, pair, body):
    """The upstream request of one cell."""
    model = RESPONSES_MODELS.get(pair, ANY_CHAT)
    if client == "openai" and pair != "responses":
        return fit_body(client, body, model, CHAT).body
    if client == "anthropic":
        parse = cp.parse_messages
    else:
        parse = cp.parse_chat
    if pair == "responses":
        encode = cp.encode_responses
    else:
        encode = cp.encode_chat
    if pair == "responses":
        endpoint = RESPONSES
    else:
        endpoint = CHAT
    return fit_body(client, body, model, endpoint, lambda parsed: encode(parse(parsed), model)).body


def matrix_shown(pair, body):
    """The lines of a request that the fake upstream takes; `user: hi` goes without saying."""
    if pair == "responses":
        path, show = (RESPONSES, show_responses)
    else:
        path, show = (CHAT, show_chat)
    if pair in MATRIX:
        refuse_body(path, json.loads(json.dumps(body)), CATALOGUE[MATRIX[pair]], ())
    return [line for line in show(body) if line.replace("*", "") != "user: hi"]


PNG_URL = "data:image/png;base64,iV"
REFERENCE = {"type": "tool_reference", "tool_name": "Web"}
CALLS = ['call c1 Read {"p":"ä"}', "call c2 Now {}"]
SEEN = [
    "result c1: (see the next message)",
    "user: From the result of tool call c1:|<%s>" % PNG_URL,
]
SHOWN = [CALLS[0], "result c1: r|<%s>" % PNG_URL]
OURS = {
    source: cp.pack_reasoning("OPQ/+=", source)
    for source in ("responses:openai", "chat:google", "chat:anthropic")
}
THOUGHT = "thought hm OPQ/+="
HI_THERE = ["assistant: there"]


def mind(source):
    return {
        "messages": [HI_MESSAGE, by_model(thinking("hm", OURS[source]), said("there")), HI_MESSAGE]
    }


def talk(*messages, **more):
    return {"messages": list(messages), **more}


def asks(**settings):
    return {"tools": [READ], **settings}


READ_LINE = "tool Read d"
THINK = {"type": "adaptive"}
AUTO = 'summary "auto"'
PAST_SEARCH = (
    'assistant: [server_tool_use web_search input {"query":"q"}]|[web_search_tool_result\nweb_search_result t u]|'
    "[web_search_tool_result\nweb_search_tool_result_error max_uses_exceeded]"
)
MATRIX_CASES = [  # name, an Anthropic body, its lines or {pair: lines}; "!" is a refusal
    ("string", talk({"role": "user", "content": "hey"}), ["user: hey"]),
    (
        "blocks, blank ones",
        talk(by_user(said("a"), said(" \n"), said(""), said("b"))),
        ["user: a|b"],
    ),
    ("empty turns", talk(HI_MESSAGE, by_model(), by_system(), {"role": "user", "content": ""}), []),
    ("system string", {"system": "s"}, ["system: s"]),
    ("system empty", {"system": ""}, []),
    (
        "system blocks, billing line",
        {"system": [BILL, said("s", **CACHED), said("t")]},
        ["system: s|t"],
    ),
    (
        "system in between",
        talk(HI_MESSAGE, by_system(said("s")), by_model(said("a")), HI_MESSAGE),
        ["system: s", "assistant: a"],
    ),
    (
        "system last, with effort",
        talk(HI_MESSAGE, {**by_system(said("s")), "output_config": {"effort": "low"}}),
        ["system: s"],
    ),
    ("image", talk(by_user(said("a"), PNG_BLOCK, said("b"))), ["user: a|<%s>|b" % PNG_URL]),
    (
        "image by url",
        talk(by_user({"type": "image", "source": {"type": "url", "url": "https://x/y"}})),
        ["user: <https://x/y>"],
    ),
    (
        "image by file id",
        talk(by_user({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        "!messages.0.content.0.source.type: expected base64 or url, not 'file'",
    ),
    (
        "document of text",
        talk(
            by_user(
                {
                    "type": "document",
                    "title": "t",
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                }
            )
        ),
        ["user: t|d"],
    ),
    (
        "search result",
        talk(
            by_user({"type": "search_result", "title": "t", "source": "u", "content": [said("w")]})
        ),
        ["user: [search_result t u\ntext w]"],
    ),
    (
        "web search in the past",
        talk(
            HI_MESSAGE,
            by_model(
                {
                    "type": "server_tool_use",
                    "id": "s1",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s1",
                    "content": [
                        {
                            "type": "web_search_result",
                            "title": "t",
                            "url": "u",
                            "encrypted_content": "e",
                        }
                    ],
                },
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s2",
                    "content": {
                        "type": "web_search_tool_result_error",
                        "error_code": "max_uses_exceeded",
                    },
                },
            ),
            HI_MESSAGE,
        ),
        {
            "": [PAST_SEARCH],
            "chat>responses": [PAST_SEARCH],
            # Each text a message of its own, so that asides and the answer stay apart.
            "responses": ["assistant: " + part for part in PAST_SEARCH[11:].split("|")],
        },
    ),
    (
        "call and result",
        talk(by_model(said("go"), USE), by_user(result("c1", "r"))),
        ["assistant: go", CALLS[0], "result c1: r"],
    ),
    (
        "no input, empty results",
        talk(by_model(USE, NOW), by_user(result("c1"), result("c2", []))),
        [*CALLS, "result c1: ", "result c2: "],
    ),
    (
        "error",
        talk(by_model(USE), by_user(result("c1", [said("r"), said("s")], is_error=True))),
        [CALLS[0], "result c1: Error:|r|s"],
    ),
    (
        "image in a result",
        talk(by_model(USE), by_user(result("c1", [PNG_BLOCK]), said("t"))),
        {
            "": [CALLS[0], SEEN[0], SEEN[1] + "|t"],
            "responses": [CALLS[0], "result c1: <%s>" % PNG_URL, "user: t"],
            "chat>responses": [CALLS[0], SEEN[0], SEEN[1] + "|t"],
        },
    ),
    (
        "image and text in a result",
        talk(by_model(USE), by_user(result("c1", [said("r"), PNG_BLOCK]))),
        {
            "": [CALLS[0], "result c1: r", SEEN[1]],
            "responses": SHOWN,
            "chat>responses": [CALLS[0], "result c1: r", SEEN[1]],
        },
    ),
    (
        "result, then text",
        talk(by_model(USE), by_user(result("c1", "r"), said("t"))),
        [CALLS[0], "result c1: r", "user: t"],
    ),
    (
        "text, then result",
        talk(by_model(USE), by_user(said("t"), result("c1", "r"))),
        {
            "": [CALLS[0], "result c1: r", "user: t"],
            "responses": [CALLS[0], "user: t", "result c1: r"],
            "chat>responses": [CALLS[0], "result c1: r", "user: t"],
        },
    ),
    (
        "results out of order",
        talk(by_model(USE, NOW), by_user(result("c2", "2"), result("c1", "1"))),
        [*CALLS, "result c2: 2", "result c1: 1"],
    ),
    (
        "results over two messages, system between",
        talk(
            by_model(USE, NOW),
            by_user(result("c1", "1")),
            by_system(said("s")),
            by_user(result("c2", "2"), said("t")),
        ),
        {
            "": [*CALLS, "result c1: 1", "result c2: 2", "system: s", "user: t"],
            "responses": [*CALLS, "result c1: 1", "system: s", "result c2: 2", "user: t"],
            "chat>responses": [*CALLS, "result c1: 1", "result c2: 2", "system: s", "user: t"],
        },
    ),
    (
        "result in a later message",
        talk(by_model(USE), by_user(said("t")), by_user(result("c1", "r"))),
        {
            "": [CALLS[0], "result c1: r", "user: t"],
            "responses": [CALLS[0], "user: t", "result c1: r"],
            "chat>responses": [CALLS[0], "result c1: r", "user: t"],
        },
    ),
    (
        "calls over two messages",
        talk(by_model(USE), by_model(NOW), by_user(result("c1", "1"), result("c2", "2"))),
        [*CALLS, "result c1: 1", "result c2: 2"],
    ),
    (
        "call without result",
        talk(by_model(USE), by_user(said("t"))),
        [CALLS[0], "result c1: " + cp.INTERRUPTED, "user: t"],
    ),
    (
        "call at the end",
        talk(HI_MESSAGE, by_model(USE)),
        [CALLS[0], "result c1: " + cp.INTERRUPTED],
    ),
    (
        "result without call",
        talk(by_user(result("c9", [said("r"), PNG_BLOCK]))),
        {
            "": [
                "user: %s\nr" % cp.ORPHAN,
                "user: From the result of tool call c9:|<%s>" % PNG_URL,
            ],
            "responses": ["user: %s\nr|<%s>" % (cp.ORPHAN, PNG_URL)],
            "chat>responses": [
                "user: %s\nr" % cp.ORPHAN,
                "user: From the result of tool call c9:|<%s>" % PNG_URL,
            ],
        },
    ),
    (
        "one id, two results",
        talk(by_model(USE), by_user(result("c1", "r"), result("c1", "r"))),
        [CALLS[0], "result c1: r", "user: %s\nr" % cp.ORPHAN],
    ),
    (
        "one id, two calls",
        talk(by_model(USE), by_user(result("c1", "r")), by_model(USE), by_user(result("c1", "s"))),
        [CALLS[0], "result c1: r", CALLS[0], "result c1: s"],
    ),
    ("deferred", asks(tools=DEFERRED), [READ_LINE]),
    (
        "deferred and found",
        asks(
            tools=DEFERRED,
            **talk(by_model(USE), by_user(result("c1", [REFERENCE, said("Loaded.")]))),
        ),
        [CALLS[0], "result c1: The tool Web can be used now.|Loaded.", READ_LINE, "tool Web -"],
    ),
    (
        "own reasoning of Gemini",
        mind("chat:google"),
        {"": HI_THERE, "gemini": [THOUGHT, *HI_THERE]},
    ),
    (
        "own reasoning of Claude",
        mind("chat:anthropic"),
        {"": HI_THERE, "claude": [THOUGHT, *HI_THERE]},
    ),
    (
        "own reasoning of GPT",
        mind("responses:openai"),
        {"": HI_THERE, "responses": [THOUGHT, *HI_THERE], "chat>responses": HI_THERE},
    ),
    (
        "late opaque of Gemini",
        talk(
            HI_MESSAGE,
            by_model(
                thinking("h", NONE),
                thinking("m", NONE),
                said("there"),
                thinking("", OURS["chat:google"]),
                USE,
            ),
        ),
        {
            "": [*HI_THERE, CALLS[0], "result c1: " + cp.INTERRUPTED],
            "gemini": [THOUGHT, *HI_THERE, CALLS[0], "result c1: " + cp.INTERRUPTED],
        },
    ),
    (
        "reasoning that led to nothing",
        talk(HI_MESSAGE, by_model(thinking("hm", OURS["responses:openai"])), HI_MESSAGE),
        [],
    ),
    (
        "reasoning of others",
        talk(
            HI_MESSAGE,
            by_model(
                thinking("t", ""),
                thinking("t", "EqQ=="),
                {"type": "redacted_thinking", "data": "Eq"},
                {"type": "thinking", "thinking": "t"},
                said("there"),
            ),
            HI_MESSAGE,
        ),
        HI_THERE,
    ),
    ("reasoning alone", talk(HI_MESSAGE, by_model(thinking("t", "EqQ==")), HI_MESSAGE), []),
    (
        "prefill",
        talk(HI_MESSAGE, by_model(said("{ "))),
        {
            "": ["assistant: {"],
            "claude": ["assistant: {", "user*: Please continue."],
            "responses": ["assistant: { "],
            "chat>responses": ["assistant: {"],
        },
    ),
    (
        "long name",
        asks(
            tools=[{**READ, "name": LONG_NAME}],
            tool_choice={"type": "tool", "name": LONG_NAME},
            **talk(by_model({**USE, "name": LONG_NAME}), by_user(result("c1", "r"))),
        ),
        [
            'call c1 %s {"p":"ä"}' % SHORT_NAME,
            "result c1: r",
            "tool %s d" % SHORT_NAME,
            "choice =" + SHORT_NAME,
        ],
    ),
    (
        "tools of chat and Responses",
        asks(
            tools=[
                {"type": "function", "function": {"name": "f", "parameters": {"a": 1}}},
                {"type": "function", "name": "g", "strict": True},
            ]
        ),
        ["tool f -", "tool g -"],
    ),
    (
        "128 tools",
        asks(tools=[{**READ, "name": "t%d" % n} for n in range(128)] + DEFERRED[1:]),
        ["tool t%d d" % n for n in range(128)],
    ),
    (
        "129 tools",
        asks(tools=[{**READ, "name": "t%d" % n} for n in range(129)]),
        "!tools: 129 are too many, this model takes 128",
    ),
    (
        "a server's tool",
        asks(tools=[READ, {"type": "web_fetch_20250910", "name": "web_fetch"}]),
        "!tools.1.type: 'web_fetch_20250910'",
    ),
    *[
        ("choice " + kind, asks(tool_choice={"type": kind}), [READ_LINE, "choice " + word])
        for kind, word in (("auto", "auto"), ("any", "required"), ("none", "none"))
    ],
    (
        "choice tool, one at a time",
        asks(tool_choice={"type": "tool", "name": "Read", "disable_parallel_tool_use": True}),
        [READ_LINE, "choice =Read", "parallel false"],
    ),
    (
        "choice of an unknown tool",
        asks(tool_choice={"type": "tool", "name": "Web"}),
        "!tool_choice.name: expected Read, not 'Web'",
    ),
    ("choice among none", {"tool_choice": {"type": "auto"}, "tools": []}, []),
    (
        "samplers and stops",
        {"temperature": 0, "top_p": 0.5, "stop_sequences": ["x"], "top_k": 1},
        {"": ['stop ["x"]', "temperature 0", "top_p 0.5"], "responses": []},
    ),
    (
        "limit over the model's",
        {"max_tokens": 10**6},
        {
            "gpt": ["limit 16384"],
            "gemini": ["limit 64000"],
            "claude": ["limit 32000"],
            "responses": ["limit 128000"],
        },
    ),
    ("small limit", {"max_tokens": 1}, {"": ["limit 1"], "responses": ["limit 16"]}),
    ("no limit", {"max_tokens": None}, {"": [], "claude": ["limit 32000"]}),
    *[
        ("effort of " + name, asked, {"": [], "responses": lines, "chat>responses": over})
        for name, asked, lines, over in (
            (
                "the list",
                {"output_config": {"effort": "high"}},
                ['effort "high"'],
                ['effort "high"', AUTO],
            ),
            (
                "more",
                {"output_config": {"effort": "max"}, "thinking": THINK},
                ['effort "xhigh"', AUTO],
                ['effort "xhigh"', AUTO],
            ),
            (
                "none",
                {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
                ['effort "low"'],
                ['effort "low"'],
            ),
            ("the default", {"thinking": THINK}, [AUTO], []),
            *[
                (
                    "a budget of %d" % n,
                    {"thinking": {"type": "enabled", "budget_tokens": n}},
                    *[['effort "%s"' % word, AUTO]] * 2,
                )
                for n, word in ((1024, "low"), (4001, "medium"), (31999, "high"))
            ],
            (
                "effort and budget",
                {
                    "thinking": {"type": "enabled", "budget_tokens": 1024},
                    "output_config": {"effort": "high"},
                },
                *[['effort "high"', AUTO]] * 2,
            ),
        )
    ],
    (
        "structured",
        {"output_config": {"format": SCHEMA}},
        ['schema {"name": "answer", "schema": {"type": "object", "properties": {}}}'],
    ),
    (
        "structured, old",
        {"output_format": SCHEMA},
        ['schema {"name": "answer", "schema": {"type": "object", "properties": {}}}'],
    ),
    ("user", {"metadata": {"user_id": "me"}}, ['user "me"']),
    ("user of Claude Code", {"metadata": {"user_id": IDS}}, ['user "11d5-aa"']),
    (
        "long user",
        {"metadata": {"user_id": "a" * 64 + "_session_1"}},
        ['user "%s_session_1"' % ("a" * 54)],
    ),
    (
        "unknown block",
        talk(by_user({"type": "video"})),
        "!messages.0.content.0: a block of type 'video' cannot be sent to this model (user)",
    ),
    (
        "unknown block in a result",
        talk(by_model(USE), by_user(result("c1", [USE]))),
        "!messages.1.content.0.content.0: a block of type 'tool_use' cannot be sent to this model (tool_result)",
    ),
    (
        "unknown block of the model",
        talk(by_model({"type": "hologram"})),
        "!messages.0.content.0: a block of type 'hologram'",
    ),
    (
        "image in the system",
        {"system": [PNG_BLOCK]},
        "!system.0: a block of type 'image' cannot be sent to this model (system)",
    ),
]


def matrix_check(client, body, expected):
    """Every pair of one conversation, and once more as an OpenAI client would send it."""
    if isinstance(expected, dict):
        table = expected
    else:
        table = {"": expected}
    before = json.dumps(body)
    for pair in MATRIX if "" in table else table:
        lines = table.get(pair, table.get(""))
        if isinstance(lines, str):
            with pytest.raises(cp.BadRequest) as caught:
                matrix_request(client, pair, body)
            assert str(caught.value).startswith(lines[1:]), pair
            continue
        sent = matrix_request(client, pair, body)
        assert unstarred(matrix_shown(pair, sent)) == unstarred(lines), pair
        path = CHAT
        dialect = "openai"
        if pair == "responses":
            path = RESPONSES
            dialect = "responses"
        again = fit_body(dialect, sent, RESPONSES_MODELS[pair], path)
        assert again.encode() == cp.dumps(sent), "a request of ours is not left alone"
    if client == "anthropic" and not isinstance(table.get("gpt", table.get("")), str):
        sent = matrix_request("openai", "responses", matrix_request(client, "any", body))
        lines = table.get("chat>responses", table.get("responses", table.get("")))
        assert matrix_shown("responses", sent) == lines
    assert json.dumps(body) == before, "the client's body was changed"


def unstarred(lines):
    return [line.replace("*:", ":") for line in lines]


C_CALLING = {"role": "assistant", "content": "", "tool_calls": [c_call()]}
C_THINKING = {
    "role": "assistant",
    "content": "there",
    "reasoning_content": "hm",
    "reasoning_opaque": " ".join(OURS.values()) + " ",
}
CHAT_CASES = [  # as above; the bodies are those of a chat client
    ("developer", {"messages": [{"role": "developer", "content": "s"}, C_HI]}, ["system: s"]),
    ("system last", {"messages": [C_HI, {"role": "system", "content": "s"}]}, ["system: s"]),
    (
        "parts and detail",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},
                    ],
                }
            ]
        },
        ["user: a|<https://x/y>"],
    ),
    (
        "empty content, empty result",
        {"messages": [C_HI, C_CALLING, {"role": "tool", "tool_call_id": "c1", "content": ""}]},
        ["call c1 f {}", "result c1: "],
    ),
    (
        "reasoning",
        {"messages": [C_HI, C_THINKING, C_HI]},
        {"": HI_THERE, **{p: [THOUGHT, *HI_THERE] for p in ("gemini", "claude", "responses")}},
    ),
    (
        "foreign reasoning",
        {"messages": [C_HI, {**C_THINKING, "reasoning_opaque": OURS["chat:google"]}, C_HI]},
        {"": HI_THERE, "gemini": [THOUGHT, *HI_THERE]},
    ),
    (
        "empty assistant",
        {"messages": [C_HI, {"role": "assistant", "content": " \n"}, C_HI]},
        {"": [], "responses": ["assistant:  \n"]},
    ),
    (
        "late result",
        {"messages": [C_CALLING, C_HI, {"role": "tool", "tool_call_id": "c1", "content": "r"}]},
        ["call c1 f {}", "result c1: r"],
    ),
    (
        "orphan call",
        {"messages": [C_CALLING, C_HI]},
        {"responses": ["call c1 f {}", "result c1: " + cp.INTERRUPTED]},
    ),
    (
        "tools",
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "f",
                        "strict": True,
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            ],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
        ["tool f -", "choice required", "parallel false"],
    ),
    (
        "129 tools",
        {"tools": [{"type": "function", "function": {"name": "t%d" % n}} for n in range(129)]},
        "!tools: 129 are too many",
    ),
    (
        "settings",
        {
            "max_tokens": 5,
            "max_completion_tokens": 60,
            "temperature": 0,
            "stop": "s",
            "user": "u",
            "verbosity": "low",
            "stream_options": {"include_usage": True},
            "stream": False,
            "seed": 1,
        },
        {
            "": ["limit 60", "seed 1", 'stop "s"', "temperature 0", 'user "u"', 'verbosity "low"'],
            "responses": ["limit 60", 'user "u"', 'verbosity "low"'],
        },
    ),
    ("effort", {"reasoning_effort": "max"}, {"": [], "responses": ['effort "xhigh"', AUTO]}),
    (
        "any JSON",
        {"response_format": {"type": "json_object"}},
        {"": ["schema {}"], "responses": ["schema {}"]},
    ),
    (
        "structured",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {}, "strict": True},
            }
        },
        ['schema {"name": "n", "schema": {}, "strict": true}'],
    ),
    ("two answers", {"n": 2}, "!n: not available here"),
    ("logprobs", {"logprobs": True}, "!logprobs: not available"),
    ("functions", {"functions": [{}]}, "!functions: not available here; use tools"),
    ("penalty", {"presence_penalty": 1}, {"": ["presence_penalty 1"], "responses": []}),
    ("no messages", {"messages": None}, "!messages: "),
    ("no object", {"messages": [1]}, "!messages.0: expected an object"),
]


@pytest.mark.parametrize("name, body, expected", MATRIX_CASES, ids=[row[0] for row in MATRIX_CASES])
def test_matrix_of_anthropic_requests(name, body, expected):
    matrix_check("anthropic", {"messages": [HI_MESSAGE], "max_tokens": 100, **body}, expected)


@pytest.mark.parametrize("name, body, expected", CHAT_CASES, ids=[row[0] for row in CHAT_CASES])
def test_matrix_of_chat_requests(name, body, expected):
    matrix_check(
        "openai", {"messages": [C_HI], "max_tokens": 100, "model": "asked", **body}, expected
    )


def test_matrix_of_what_messages_requires_and_chat_does_not():
    encoded = cp.encode_messages(c_parsed(C_HI, max_tokens=0), C_CLAUDE)
    sent = fit_body("openai", encoded, C_CLAUDE, MESSAGES).body
    assert sent["max_tokens"] == C_CLAUDE.output


def test_matrix_has_at_least_forty_conversations():
    assert len(MATRIX_CASES) >= 40


# -- all nine cells: a conversation from any dialect to any other --------------

DIALECTS = {  # path, model, parser, encoder
    "messages": (MESSAGES, "claude-sonnet-4.5", cp.parse_messages, cp.encode_messages),
    "chat": (CHAT, "gpt-4.1", cp.parse_chat, cp.encode_chat),
    "responses": (RESPONSES, "gpt-5.5", cp.parse_responses, cp.encode_responses),
}
ADDED = re.compile(r"From the result of tool call \S+:|\(see the next message\)|Please continue\.")


def model_of(dialect):
    return cp.parse_models({"data": [CATALOGUE[DIALECTS[dialect][1]]]})[0]


def results_first(lines):
    """Lines with the results of a user's turn before its words, as most APIs have them."""
    ordered = []
    for words, group in itertools.groupby(lines, lambda line: line[0].startswith(("r", "u"))):
        ordered += sorted(group, key=lambda line: words and line[0].startswith("u"))
    return ordered


def said_in(conv):
    """What a conversation says, in one form for all dialects."""
    lines = []
    pictures = []

    def say(who, text):
        text = ADDED.sub("", text).strip()
        if text and lines and lines[-1][0] == who and who in ("system", "user", "assistant"):
            lines[-1] = (who, lines[-1][1] + "\n\n" + text)
        elif text or who.startswith("result"):
            lines.append((who, text))

    for turn in conv.turns:
        for part in turn.parts:
            if isinstance(part, cp.Call):
                say("call %s %s" % (part.id, part.name), json.dumps(json.loads(part.arguments)))
            elif isinstance(part, cp.Result):
                say("result " + part.call_id, cp.text_of(part.spoken))
                pictures += [p.url for p in part.parts if not isinstance(p, cp.Text)]
            elif isinstance(part, cp.Text):
                say(turn.role, part.text)
            elif not isinstance(part, cp.Reasoning):
                pictures.append(part.url)
    tools = [(tool.name, tool.description, tool.schema) for tool in conv.tools]
    return lines, sorted(pictures), tools, conv.tool_choice or "auto"


def fitted(client, served, asked):
    """What goes up in this cell, after the rules of room 12."""
    path, _, _, write = DIALECTS[served]
    _, _, parse, _ = DIALECTS[client]
    model = model_of(served)
    kind = {"messages": "anthropic", "chat": "openai"}.get(client, client)
    encode = None
    if client != served:
        encode = lambda body: write(parse(body), model)
    return fit_body(kind, asked, model, path, encode)


def fits(client, served, asked):
    """Whether what goes up in this cell is taken."""
    path, name, _, _ = DIALECTS[served]
    fit = fitted(client, served, asked)
    refuse_body(path, json.loads(fit.encode()), CATALOGUE[name], fit.betas)


# What Claude's endpoint refuses in words, for the client or for room 12.
UNTAKEN = ("image by url", "prefill", "limit over the model's")
NINE_CASES = [
    row for row in MATRIX_CASES if not isinstance(row[2], str) and "128 tools" not in row[0]
]


@pytest.mark.parametrize("name, body", [row[:2] for row in NINE_CASES])
def test_matrix_of_nine_cells_loses_nothing(name, body):
    first = cp.parse_messages({"messages": [HI_MESSAGE], "max_tokens": 100, **body})
    for client, (_, _, parse, encode) in DIALECTS.items():
        asked = {"max_tokens": 100, **encode(first, model_of(client))}  # clients must say it
        conv = parse(json.loads(json.dumps(asked)))
        for served, (_, _, read_back, write) in DIALECTS.items():
            sent = write(conv, model_of(served))
            told, *rest = said_in(read_back(sent))
            asked_for, *others = said_in(conv)
            assert (results_first(told), rest) == (results_first(asked_for), others)
            if name not in UNTAKEN or served != "messages":
                fits(client, served, asked)


# What the SDKs' model_dump() gives back of an answer, without a value.
NULLS = (
    "refusal audio function_call annotations tool_calls name citations logprobs status phase"
    " caller namespace detail description strict cache_control filename is_error"
).split()
LISTS_HELD = "content tool_calls output tools".split()
OBJECTS_HELD = "function custom source image_url file".split()  # read by translations alone


def with_nulls(value, *holders):
    """A turn, item or tool with every optional member that it lacks as null."""
    if isinstance(value, list):
        return [with_nulls(each, *holders) for each in value]
    if not isinstance(value, dict):
        return value
    held = {key: with_nulls(value[key], *holders) for key in holders if key in value}
    return {**dict.fromkeys(NULLS), **value, **held}


@pytest.mark.parametrize("name, body", [row[:2] for row in NINE_CASES])
def test_null_member_is_an_absent_one_in_all_nine_cells(name, body):
    first = cp.parse_messages({"messages": [HI_MESSAGE], "max_tokens": 100, **body})
    for client, (_, _, _, encode) in DIALECTS.items():
        asked = {"max_tokens": 100, **encode(first, model_of(client))}
        for served in DIALECTS:
            holders = LISTS_HELD
            if client != served:
                holders = LISTS_HELD + OBJECTS_HELD
            members = [key for key in asked if key in cp.WALKED]
            padded = {key: with_nulls(asked[key], *holders) for key in members}
            if name not in UNTAKEN or served != "messages":
                went_up = fitted(client, served, {**asked, **padded}).body
                assert went_up == fitted(client, served, asked).body, (client, served)


def test_matrix_of_nine_cells_has_at_least_forty_conversations():
    assert len(NINE_CASES) >= 40


# Answers: every script of rooms 10 and 11 through both sinks.


def responses_heard(told):
    """What a sink was told, by kind."""
    said = {
        kind: "".join(t[1] for t in told if t[0] == kind)
        for kind in ("text", "refusal", "reasoning")
    }
    arguments = {t[1]: t[2] for t in told if t[0] == "arguments"}
    return {
        **said,
        "opaque": [t[1:] for t in told if t[0] == "opaque"],
        "end": told[-1][1],
        "calls": [
            (call_id, name, arguments.get(key, ""))
            for _, key, call_id, name in (t for t in told if t[0] == "call")
        ],
    }


def heard_by_chat(answer):
    choice = answer["choices"][0]
    message = choice["message"]
    return {
        "text": message["content"] or "",
        "refusal": message.get("refusal", ""),
        "reasoning": message.get("reasoning_content", ""),
        "opaque": [*map(cp.unpack_reasoning, message.get("reasoning_opaque", "").split())],
        "calls": [
            (c["id"].partition("#")[0], c["function"]["name"], c["function"]["arguments"])
            for c in message.get("tool_calls", ())
        ],
        "end": choice["finish_reason"],
    }


def heard_by_responses(response):
    items = response["output"]
    parts = [part for item in items for part in item.get("content", ())]
    calls = [item for item in items if item["type"] == "function_call"]
    opaque = [item["encrypted_content"] for item in items if "encrypted_content" in item]
    why = (response["incomplete_details"] or {"reason": "tool_calls" if calls else "stop"})[
        "reason"
    ]
    return {
        "text": "".join(part.get("text", "") for part in parts),
        "refusal": "".join(part.get("refusal", "") for part in parts),
        "reasoning": "".join(p["text"] for item in items for p in item.get("summary", ())),
        "opaque": [*map(cp.unpack_reasoning, opaque)],
        "end": {"max_output_tokens": "length"}.get(why, why),
        "calls": [(c["call_id"], c["name"], c["arguments"]) for c in calls],
    }


def heard_by_anthropic(message):
    blocks = message["content"]
    opaque = [
        cp.unpack_reasoning(b["signature"]) for b in blocks if b.get("signature", NONE) != NONE
    ]
    return {
        "text": "".join(b.get("text", "") for b in blocks),
        "reasoning": "".join(b.get("thinking", "") for b in blocks),
        "opaque": opaque,
        "end": message["stop_reason"],
        "calls": [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
    }


def as_anthropic(told):
    """`responses_heard` as that dialect says it: a refusal is text, a call that was cut is left out."""
    calls = [(i, name, cp.parse_object(raw)) for i, name, raw in told["calls"]]
    if told["refusal"]:
        end = "refusal"
    else:
        end = cp.STOP_REASONS[told["end"]]
    return {
        "text": told["text"] + told["refusal"],
        "reasoning": told["reasoning"],
        "opaque": told["opaque"],
        "calls": [call for call in calls if call[2] is not None],
        "end": end,
    }


def drive(pieces, reader, sink, **options):
    """(bytes, translation, error) of one answer."""
    machine = cp.Translation(reader(), sink, **options)
    out = b""
    try:
        for piece in pieces:
            out += machine.feed(piece)
        return out + machine.finish(), machine, None
    except cp.ProxyError as exc:
        return out + machine.fail(exc), machine, exc


ANSWERS = (
    [
        (
            "chat, " + name,
            lambda: cp.ChatReader("chat:google"),
            c_sse(chunks),
            (
                told
                if isinstance(told, str)
                else {
                    "text": told[0] or "",
                    "calls": told[1],
                    "end": told[2],
                    "refusal": more.get("refusal", ""),
                    "reasoning": more.get("reasoning_content", ""),
                    "opaque": [*map(cp.unpack_reasoning, more.get("reasoning_opaque", "").split())],
                }
            ),
        )
        for name, chunks, told, more in C_ANSWERS
    ]
    + [
        (
            "responses, " + name,
            lambda: cp.ResponsesReader(R_OURS),
            script.raw,
            told[-1][1] if told[-1][0] != "end" else responses_heard(told),
        )
        for name, script, told in RESP_STREAMS
    ]
    + [
        (
            "messages, " + name,
            cp.MessagesReader,
            raw,
            told[-1][1] if told[-1][0] != "end" else responses_heard(told),
        )
        for name, raw, told in M_STREAMS
        if name != "stop sequence"
    ]
)


@pytest.mark.parametrize("name, reader, raw, expected", ANSWERS, ids=[row[0] for row in ANSWERS])
def test_matrix_of_answers_under_every_cut(name, reader, raw, expected):
    for pieces in cuts(raw):
        for sink, known in (
            (c_stream, heard_by_chat),
            (lambda **o: cp.MessagesWriter("msg_1", "m", 9, **o), heard_by_anthropic),
            (r_writer, heard_by_responses),
        ):
            out, machine, exc = drive(pieces, reader, sink())
            events = frames(out)
            if isinstance(expected, str):
                last = events[-2 if known is heard_by_responses else -1][1]
                assert expected in str(exc) and last["error"]["message"] == str(exc)
                assert ("", "[DONE]") not in events and "message_stop" not in dict(events)
                continue
            folded = sink(fold=True)
            assert exc is None and drive(pieces, reader, folded)[0] == b""
            if known is heard_by_chat:
                assert known(folded.whole()) == expected and c_frames(out) == folded.whole()
                assert ("usage" in folded.whole()) and machine.usage.prompt in (0, 9)
            elif known is heard_by_responses:
                assert known(folded.whole()) == expected
                assert check_responses([o for _, o in events]) == folded.whole()["output"]
            else:
                grammar([obj for _, obj in events])
                assert fold_message(obj for _, obj in events) == folded.whole()
                assert known(folded.whole()) == as_anthropic(expected)
            assert not (b'_tokens":9' in raw) or machine.usage[:3] == (5, 5, 4)


# Both directions at once: an answer, and the next turn that gives it back.

R_TRIP = [
    c_chunk({"reasoning_text": "hm"}),
    c_chunk({"reasoning_opaque": "OPQ/+="}),
    c_chunk({"content": "there"}),
    c_chunk(c_tools((0, "c1", LONG_NAME, '{"p":"\u00e4"}'), (1, "c2", "Now", ""))),
    c_chunk({}, "tool_calls"),
    C_DONE,
]
TRIPS = {
    "gemini": ("chat:google", c_sse(R_TRIP)),
    "claude": ("chat:anthropic", c_sse(R_TRIP)),
    "responses": (
        "responses:openai",
        RWire()
        .item(
            "done",
            0,
            {},
            type="reasoning",
            encrypted_content="OPQ/+=",
            summary=[{"type": "summary_text", "text": "hm"}],
        )
        .message(1, ["the", "re"])
        .item(
            "done",
            2,
            {},
            type="function_call",
            call_id="c1",
            name=SHORT_NAME,
            arguments='{"p":"\u00e4"}',
        )
        .item("done", 3, {}, type="function_call", call_id="c2", name="Now", arguments="")
        .end()
        .raw,
    ),
}


@pytest.mark.parametrize("pair", TRIPS)
def test_matrix_round_trip_keeps_ids_order_errors_and_reasoning(pair):
    source, raw = TRIPS[pair]
    reader = {"responses": cp.ResponsesReader}.get(pair, cp.ChatReader)
    sinks = [
        cp.MessagesWriter("msg_1", "m", fold=True),
        cp.ChatWriter("i", "m", 1, True, fold=True),
    ]
    for sink in sinks:
        names = {SHORT_NAME: LONG_NAME}
        assert drive([raw], lambda: reader(source), sink, names=names)[2] is None
    chat = sinks[1].whole()["choices"][0]["message"]
    assert (
        chat["tool_calls"][0]["function"]["name"]
        == LONG_NAME
        == sinks[0].whole()["content"][2]["name"]
    )
    ids, bare = [call["id"] for call in chat["tool_calls"]], {
        k: chat[k] for k in ("role", "content", "tool_calls")
    }
    bodies = {
        "anthropic": [
            by_model(*sinks[0].whole()["content"]),
            by_user(result("c2", "2"), result("c1", "1", is_error=True), said("next")),
        ],
        "openai": [
            chat,
            *[
                {"role": "tool", "tool_call_id": i, "content": text}
                for i, text in zip(ids, ("Error:\n\n1", "2"))
            ],
            {"role": "user", "content": "next"},
        ],
    }
    bodies["openai, calls only"] = [bare, *bodies["openai"][1:]]
    for client, messages in bodies.items():
        client, _, keeps_no_thought = client.partition(",")
        if keeps_no_thought and pair == "responses":
            thought = []
        else:
            thought = [THOUGHT.replace("hm", "") if keeps_no_thought else THOUGHT]
        for other in MATRIX:
            if client == "openai" and other != "responses":  # names go as the client gave them
                messages = json.loads(json.dumps(messages).replace(LONG_NAME, SHORT_NAME))
            lines = matrix_shown(
                other,
                matrix_request(
                    client, other, {"messages": [HI_MESSAGE, *messages], "max_tokens": 100}
                ),
            )
            assert unstarred(lines) == thought[: other == pair] + [
                *HI_THERE,
                'call c1 %s {"p":"\u00e4"}' % SHORT_NAME,
                "call c2 Now {}",
                *["result c2: 2", "result c1: Error:|1"][:: 1 if client == "anthropic" else -1],
                "user: next",
            ]


def random_talk(dice):
    """Messages in any order of kinds, each word and id in them told once: w0, w1 ..."""
    word = map("w{}".format, range(999))
    call = map("c{}".format, range(999))
    messages = []
    for _ in range(dice.randrange(1, 6)):
        picture = {"type": "image", "source": {"type": "url", "url": "https://" + next(word)}}
        messages.append(by_user(said(next(word)), *[picture] * dice.randrange(2)))
        messages += [by_system(said(next(word)))] * dice.randrange(2)
        calls = [
            {"type": "tool_use", "id": next(call), "name": next(word), "input": {"a": next(word)}}
            for _ in range(dice.randrange(4))
        ]
        messages.append(by_model(*[said(next(word))] * dice.randrange(2), *calls))
        results = [
            result(c["id"], [said(next(word))] * dice.randrange(2), is_error=dice.random() < 0.2)
            for c in calls
        ]
        more = [said(next(word))] * dice.randrange(2)
        dice.shuffle(results)
        messages.append(by_user(*results, *more))
    return messages


def test_matrix_random_conversations_lose_nothing():
    for seed in range(150):
        messages = random_talk(random.Random(seed))
        words, ids = [
            sorted(re.findall(kind, json.dumps(messages))) for kind in (r"\bw\d+", r"\bc\d+")
        ]
        for pair in MATRIX:
            before = []
            for end in range(2 if messages[0] else 1, len(messages) + 1):
                if end < len(messages) and messages[end - 1]["role"] == "assistant":
                    continue  # its results are still to come
                body = {"messages": messages[:end], "max_tokens": 100}
                lines = matrix_shown(pair, matrix_request("anthropic", pair, body))
                lines = [line for line in unstarred(lines) if not line.endswith("Please continue.")]
                assert lines[: len(before)] == before, "the cached prefix moved, seed %d" % seed
                before = lines
            told = "\n".join(lines)
            assert sorted(re.findall(r"\bw\d+", told)) == words, seed
            assert sorted(re.findall(r"\bc\d+", told)) == ids, seed
            talked = json.dumps(messages)
            assert re.findall(r"call (c\d+)", told) == re.findall(r'"id": "(c\d+)', talked), seed
            answered = re.findall(r'"tool_use_id": "(c\d+)', talked)
            assert re.findall(r"result (c\d+)", told) == answered, seed


# ============================================================================
# 12. Fit: what an upstream takes
# ============================================================================

NATIVE = {model.id: model for model in MODELS if cp.MESSAGES in model.endpoints}
CONTEXT = "context-management-2025-06-27"
MARKED = {"type": "ephemeral"}


def ask_of(**more):
    """A Messages body that needs no repair."""
    return {
        "model": "claude-haiku-4.5",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": "hi"}],
        **more,
    }


def turns(*contents):
    """Messages by turns, user first; a tuple is (role, content)."""
    return [
        (
            {"role": one[0], "content": one[1]}
            if isinstance(one, tuple)
            else {"role": ("user", "assistant")[at % 2], "content": one}
        )
        for at, one in enumerate(contents)
    ]


def words(text, **more):
    return {"type": "text", "text": text, **more}


def tool_of(name="t", **more):
    return {"name": name, "input_schema": {"type": "object", "properties": {}}, **more}


def use_of(call, name="t"):
    return {"type": "tool_use", "id": call, "name": name, "input": {}}


def result_of(call, content="ok"):
    return {"type": "tool_result", "tool_use_id": call, "content": content}


def prepared(body, model="claude-haiku-4.5", betas=(), fitter=None):
    """What goes up of a native request, and its betas."""
    fit = fit_body("anthropic", body, NATIVE[model], MESSAGES, fitter=fitter, betas=",".join(betas))
    return fit.body, fit.betas


NATIVE_THOUGHT = {"type": "thinking", "thinking": "", "signature": "EqQB"}
NATIVE_OURS = {"type": "thinking", "thinking": "x", "signature": cp.pack_reasoning("o", "chat:x")}
INTERRUPTED = {
    "type": "tool_result",
    "tool_use_id": "b",
    "is_error": True,
    "content": "The call was interrupted.",
}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
}


def text_document(text):
    return {"type": "document", "source": {"type": "text", "data": text}}


ORPHAN_OK = "[result of a tool call that is not shown]\nok"
REPAIRS = [  # name, model, what is put in, what comes out instead
    (
        "date",
        "claude-haiku-4.5",
        {"model": "claude-haiku-4-5-20251001"},
        {"model": "claude-haiku-4.5"},
    ),
    (
        "top fields",
        "claude-haiku-4.5",
        {
            "cache_control": MARKED,
            "service_tier": "auto",
            "speed": "fast",
            "metadata": {"user_id": "u"},
        },
        {"metadata": {"user_id": "u"}},
    ),
    (
        "scope",
        "claude-haiku-4.5",
        {
            "system": [
                words("s", cache_control={"type": "ephemeral", "scope": "global", "ttl": "1h"})
            ]
        },
        {"system": [words("s", cache_control={"type": "ephemeral", "ttl": "1h"})]},
    ),
    (
        "billing",
        "claude-haiku-4.5",
        {"system": [words("x-anthropic-billing-header: cc_version=2"), words("s")]},
        {"system": [words("s")]},
    ),
    (
        "billing alone",
        "claude-haiku-4.5",
        {"system": [words("x-anthropic-billing-header: cc")]},
        {},
    ),
    (
        "eager",
        "claude-haiku-4.5",
        {"tools": [tool_of(eager_input_streaming=True)]},
        {"tools": [tool_of()]},
    ),
    (
        "server tools",
        "claude-haiku-4.5",
        {
            "tools": [{"type": "web_search_20250305", "name": "web_search"}, tool_of()],
            "tool_choice": {"type": "tool", "name": "web_search"},
        },
        {"tools": [tool_of()]},
    ),
    (
        "only server tools",
        "claude-haiku-4.5",
        {"tools": [{"type": "web_fetch_1", "name": "f"}], "tool_choice": {"type": "any"}},
        {},
    ),
    ("effort unlisted", "claude-haiku-4.5", {"output_config": {"effort": "high"}}, {}),
    (
        "effort above",
        "claude-opus-4.5",
        {"output_config": {"effort": "max", "format": {}}},
        {"output_config": {"effort": "high", "format": {}}},
    ),
    (
        "adaptive to budget",
        "claude-haiku-4.5",
        {
            "thinking": {"type": "adaptive", "display": "updates"},
            "max_tokens": 64000,
            "output_config": {"effort": "low"},
        },
        {"thinking": {"type": "enabled", "budget_tokens": 4000}, "max_tokens": 64000},
    ),
    (
        "budget to adaptive",
        "claude-opus-5",
        {"thinking": {"type": "enabled", "budget_tokens": 31999}},
        {"thinking": {"type": "adaptive"}},
    ),
    (
        "budget clamped",
        "claude-haiku-4.5",
        {"thinking": {"type": "enabled", "budget_tokens": 31999}},
        {"thinking": {"type": "enabled", "budget_tokens": 3999}},
    ),
    (
        "budget raised",
        "claude-haiku-4.5",
        {"thinking": {"type": "enabled", "budget_tokens": 5}, "temperature": 0},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    (
        "no room to think",
        "claude-haiku-4.5",
        {"max_tokens": 500, "thinking": {"type": "enabled", "budget_tokens": 400}},
        {"max_tokens": 500},
    ),
    (
        "forced tool",
        "claude-opus-5",
        {"thinking": {"type": "adaptive"}, "tools": [tool_of()], "tool_choice": {"type": "any"}},
        {"tools": [tool_of()], "tool_choice": {"type": "any"}},
    ),
    ("samplers", "claude-haiku-4.5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}),
    ("context without beta", "claude-haiku-4.5", {"context_management": {}}, {}),
    (
        "empty texts",
        "claude-haiku-4.5",
        {"messages": turns([words(" "), words("a")], [words("\n")], "b")},
        {"messages": [{"role": "user", "content": [words("a")]}, {"role": "user", "content": "b"}]},
    ),
    (
        "foreign thinking",
        "claude-haiku-4.5",
        {
            "messages": turns(
                "a", [NATIVE_OURS, dict(NATIVE_THOUGHT, signature=""), words("b")], "c"
            )
        },
        {"messages": turns("a", [words("b")], "c")},
    ),
    (
        "orphan call",
        "claude-haiku-4.5",
        {
            "tools": [tool_of()],
            "messages": turns("a", [use_of("a"), use_of("b")], [result_of("a")]),
        },
        {
            "tools": [tool_of()],
            "messages": turns("a", [use_of("a"), use_of("b")], [result_of("a"), INTERRUPTED]),
        },
    ),
    (
        "last call",
        "claude-haiku-4.5",
        {"tools": [tool_of()], "messages": turns("a", [use_of("b")])},
        {"tools": [tool_of()], "messages": turns("a", [use_of("b")], [INTERRUPTED])},
    ),
    (
        "orphan result",
        "claude-haiku-4.5",
        {"messages": turns("a", "b", [result_of("x"), words("c")], ("user", [result_of("y")]))},
        {"messages": turns("a", "b", [words(ORPHAN_OK), words("c")], ("user", [words(ORPHAN_OK)]))},
    ),
    (
        "tool reference",
        "claude-haiku-4.5",
        {
            "tools": [tool_of()],
            "messages": turns(
                "a",
                [use_of("a")],
                [
                    result_of(
                        "a", [{"type": "tool_reference", "tool_name": n} for n in ("t", "gone")]
                    )
                ],
            ),
        },
        {
            "tools": [tool_of()],
            "messages": turns(
                "a",
                [use_of("a")],
                [
                    result_of(
                        "a",
                        [
                            {"type": "tool_reference", "tool_name": "t"},
                            words("Tool gone is not available."),
                        ],
                    )
                ],
            ),
        },
    ),
    (
        "advice in history",
        "claude-haiku-4.5",
        {
            "messages": turns(
                "a",
                [
                    {
                        "type": "advisor_tool_result",
                        "content": {"type": "advisor_redacted_result", "encrypted_content": "E"},
                    }
                ],
                "c",
            )
        },
        {
            "messages": turns(
                "a",
                [
                    words(
                        '{"type":"advisor_tool_result",'
                        '"content":{"type":"advisor_redacted_result"}}'
                    )
                ],
                "c",
            )
        },
    ),
    (
        "search in history",
        "claude-haiku-4.5",
        {
            "messages": turns(
                "a",
                [
                    {
                        "type": "server_tool_use",
                        "id": "s",
                        "name": "web_search",
                        "input": {"query": "q"},
                    },
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s",
                        "content": [
                            {"type": "web_search_result", "url": "u", "encrypted_content": "E"}
                        ],
                        "cache_control": MARKED,
                    },
                    words("b"),
                ],
                "c",
            )
        },
        {
            "messages": turns(
                "a",
                [
                    words(
                        '{"type":"server_tool_use","id":"s","name":"web_search","input":'
                        '{"query":"q"}}'
                    ),
                    words(
                        '{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":'
                        '"web_search_result","url":"u"}]}',
                        cache_control=MARKED,
                    ),
                    words("b"),
                ],
                "c",
            )
        },
    ),
    (
        "tool that is gone",
        "claude-haiku-4.5",
        {"messages": turns("a", [use_of("a", "old")], [result_of("a")])},
        {
            "messages": turns("a", [use_of("a", "old")], [result_of("a")]),
            "tools": [tool_of("old", description="No longer available: do not call it.")],
        },
    ),
    (
        "text behind a call",
        "claude-haiku-4.5",
        {
            "tools": [tool_of()],
            "messages": turns(
                "a", [use_of("a"), words("b"), use_of("c")], [result_of("a"), result_of("c")]
            ),
        },
        {
            "tools": [tool_of()],
            "messages": turns(
                "a", [words("b"), use_of("a"), use_of("c")], [result_of("a"), result_of("c")]
            ),
        },
    ),
    (
        "documents of text",
        "claude-haiku-4.5",
        {
            "messages": turns(
                [
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "data": "d"},
                        "cache_control": MARKED,
                    },
                    PDF,
                ]
            )
        },
        {"messages": turns([words("T\n\nd", cache_control=MARKED), PDF])},
    ),
    (
        "all deferred",
        "claude-haiku-4.5",
        {"tools": [tool_of(defer_loading=True), tool_of("u", defer_loading=True)]},
        {"tools": [tool_of(), tool_of("u")]},
    ),
    (
        "prefill",
        "claude-opus-5",
        {"messages": turns("a", "b")},
        {"messages": turns("a", "b", "Please continue.")},
    ),
    (
        "marks in a result",
        "claude-haiku-4.5",
        {
            "tools": [tool_of()],
            "messages": turns(
                "a",
                [{**NATIVE_THOUGHT, "cache_control": MARKED}, use_of("a")],
                [
                    {
                        **result_of(
                            "a", [words("r", cache_control=MARKED), words("s", cache_control=None)]
                        ),
                        "cache_control": {**MARKED, "ttl": "1h"},
                    }
                ],
            ),
        },
        {
            "tools": [tool_of()],
            "messages": turns(
                "a",
                [NATIVE_THOUGHT, use_of("a")],
                [
                    {
                        **result_of("a", [words("r"), words("s")]),
                        "cache_control": {**MARKED, "ttl": "1h"},
                    }
                ],
            ),
        },
    ),
    (
        "empty fields",
        "claude-haiku-4.5",
        {"mcp_servers": [], "container": None, "fallbacks": [], "thread": None},
        {},
    ),
    (
        "choice in a word",
        "claude-haiku-4.5",
        {"tools": [tool_of(description=None)], "tool_choice": "required"},
        {"tools": [tool_of()], "tool_choice": {"type": "any"}},
    ),
    (
        "choice with OpenAI's word",
        "claude-haiku-4.5",
        {"tools": [tool_of()], "tool_choice": {"type": "required"}},
        {"tools": [tool_of()], "tool_choice": {"type": "any"}},
    ),
    (
        "choice of a function",
        "claude-haiku-4.5",
        {"tools": [tool_of()], "tool_choice": {"type": "function", "function": {"name": "t"}}},
        {"tools": [tool_of()], "tool_choice": {"type": "tool", "name": "t"}},
    ),
    (
        "split turns",
        "claude-haiku-4.5",
        {
            "tools": [tool_of()],
            "messages": turns(
                "a",
                [use_of("a")],
                ("assistant", [use_of("b")]),
                ("user", [result_of("a"), words("c")]),
                ("user", [result_of("b")]),
            ),
        },
        {
            "tools": [tool_of()],
            "messages": turns(
                "a", [use_of("a"), use_of("b")], [result_of("a"), result_of("b"), words("c")]
            ),
        },
    ),
    (
        "code that ran elsewhere",
        "claude-haiku-4.5",
        {
            "messages": turns(
                "a",
                [{"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {}}],
                "b",
            )
        },
        {
            "messages": turns(
                "a",
                [
                    words(
                        '{"type":"bash_code_execution_tool_result","tool_use_id":"s","content":{}}'
                    )
                ],
                "b",
            )
        },
    ),
    (
        "documents that say nothing",
        "claude-haiku-4.5",
        {"messages": turns([text_document(""), text_document(" \n"), words("d")])},
        {"messages": turns([words("d")])},
    ),
    (
        "document of blocks",
        "claude-haiku-4.5",
        {
            "messages": turns(
                [{"type": "document", "source": {"type": "content", "content": [words("d")]}}]
            )
        },
        {"messages": turns([words("d")])},
    ),
    (
        "picture",
        "claude-haiku-4.5",
        {
            "messages": turns(
                [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/jpg; charset=x",
                            "data": "iVBO\nRw0K\n",
                        },
                    }
                ]
            )
        },
        {
            "messages": turns(
                [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"},
                    }
                ]
            )
        },
    ),
    (
        "system turn folded",
        "claude-sonnet-4.6",
        {"messages": turns("a", ("system", [words("s")]), ("system", []))},
        {"messages": turns("a", ("user", [words("s")]))},
    ),
]


@pytest.mark.parametrize("name, model, given, expected", REPAIRS, ids=[r[0] for r in REPAIRS])
def test_native_repairs(name, model, given, expected):
    body = ask_of(**{"model": model, **given})
    fixed, betas = prepared(body, model)
    want = {"model": model, "max_tokens": 4000, "messages": body["messages"], **expected}
    assert fixed == want
    kept = [key for key in [*body, *expected] if key in fixed]
    assert list(fixed) == list(dict.fromkeys(kept)), "the order of keys decides the cache"
    entry = next(e for e in ENTRIES if e["id"] == model)
    refuse_body(MESSAGES, fixed, entry, betas)  # the fake knows what the real one refuses


def test_native_body_in_order_goes_up_as_it_came():
    body = ask_of(
        stream=True,
        system=[words("s", cache_control=MARKED)],
        tools=[tool_of()],
        unknown={"kept": [1.50, None]},
        messages=turns("a", [NATIVE_THOUGHT, use_of("1")], [result_of("1", [words("r")])]),
    )
    raw = json.dumps(body, indent=1).encode()
    assert prepared_raw(raw) is raw


def test_native_only_changed_slices_are_written_anew():
    raw = (
        '{"model":"haiku","messages":[{"role":"user","content":"é \\u00e9 1.50"}],'
        '"max_tokens":1e2,"speed":"fast","system":[{"type":"text","text":""},'
        '{"type":"text","text":"s"}]}'
    ).encode()
    out = prepared_raw(raw)
    assert out == raw.replace(b'"haiku"', b'"claude-haiku-4.5"').replace(
        b',"speed":"fast"', b""
    ).replace(b'{"type":"text","text":""},', b"")
    spaced = json.dumps(cp.loads_object(raw)).encode()
    assert cp.loads(prepared_raw(spaced)) == cp.loads(out)
    twice = raw.replace(b'"max_tokens":1e2', b'"x":{"model":"haiku"}')
    assert cp.loads(prepared_raw(twice)) == {
        "model": "claude-haiku-4.5",
        "messages": cp.loads(raw)["messages"],
        "x": {"model": "haiku"},
        "system": [words("s")],
    }


def prepared_raw(raw):
    return fit_body("anthropic", raw, NATIVE["claude-haiku-4.5"], MESSAGES).encode()


def test_native_never_fails_on_strange_bodies():
    dice = random.Random(5)
    strange = [None, 3, "x", [], {}, [None], [{}], {"type": []}, [{"content": [[], {}]}]]
    body = ask_of(
        system=[words("s", cache_control=MARKED)],
        tools=[tool_of()],
        tool_choice={"type": "tool", "name": "t"},
        thinking={"type": "adaptive"},
        output_config={"effort": "low"},
        messages=turns("a", [NATIVE_THOUGHT, use_of("1")], [result_of("1", [words("r")])]),
    )
    for _ in range(400):
        copy = json.loads(json.dumps(body))
        victim = dice.choice([obj for _, obj in walk(copy) if obj])
        victim[dice.choice(list(victim))] = dice.choice(strange)
        with contextlib.suppress(cp.BadRequest):  # which names the place
            prepared(copy)


@pytest.mark.parametrize(
    "kind, source", [("image", "url"), ("document", "url"), ("document", "file")]
)
def test_native_addresses_are_refused_by_place(kind, source):
    block = {"type": kind, "source": {"type": source, source: "https://x/y"}}
    for at, content in (("1", [words("a"), block]), ("0.content.0", [result_of("a", [block])])):
        body = ask_of(tools=[tool_of()], messages=turns("a", [use_of("a")], content))
        with pytest.raises(cp.BadRequest, match="base64") as caught:
            prepared(body)
        assert str(caught.value).startswith("messages.2.content.%s.source: " % at)


def test_native_marks_newest_four_stay():
    body = ask_of(
        tools=[tool_of(cache_control=MARKED)],
        system=[words("s", cache_control=MARKED)],
        messages=turns(
            [words("a", cache_control=MARKED)],
            [words("b", cache_control=MARKED)],
            [words("c", cache_control=MARKED), words("d", cache_control=MARKED)],
        ),
    )
    fixed, _ = prepared(body)
    assert "cache_control" not in fixed["tools"][0]
    assert "cache_control" not in fixed["system"][0]
    assert sum("cache_control" in block for _, block in walk(fixed["messages"])) == 4


def test_native_betas():
    given = ["claude-code-20250219, interleaved-thinking-2025-05-14", CONTEXT, CONTEXT]
    assert prepared(ask_of(context_management={}), betas=given) == (
        ask_of(context_management={}),
        ["interleaved-thinking-2025-05-14", CONTEXT],
    )
    said = ask_of(messages=turns("a", ("system", "s")))
    fixed, betas = prepared(dict(said, model="claude-opus-5"), "claude-opus-5")
    assert fixed["messages"] == said["messages"] and betas == [cp.MID_SYSTEM_BETA]


LESSONS = [  # what was said, the body and betas before, what goes up after
    (
        "beta",
        "unsupported beta header(s): %s, other-1" % CONTEXT,
        {"context_management": {}},
        {},
        [],
    ),
    ("no betas", "invalid beta flag", {}, {}, []),
    (
        "field",
        "context_management: Extra inputs are not permitted",
        {"context_management": {}},
        {},
        [],
    ),
    (
        "deep field",
        "tools.0.custom.input_schema.odd: Extra inputs are not permitted",
        {"tools": [tool_of(), {"name": "u", "input_schema": {"odd": 1, "b": 2}}]},
        {
            "tools": [
                tool_of(),
                {"name": "u", "input_schema": {"b": 2, "type": "object", "properties": {}}},
            ]
        },
        [CONTEXT],
    ),
    (
        "tagged field",
        "messages.0.content.0.text.citations: Extra inputs are not permitted",
        {"messages": turns([words("a", citations=1)])},
        {"messages": turns([words("a")])},
        [CONTEXT],
    ),
    (
        "effort",
        'output_config.effort "max" is not supported by model X; supported values: ' "[medium]",
        {"output_config": {"effort": "max"}},
        {"output_config": {"effort": "medium"}},
        [CONTEXT],
    ),
    (
        "no effort",
        'output_config.effort "max" is not supported by model X',
        {"output_config": {"effort": "max"}},
        {},
        [CONTEXT],
    ),
    (
        "format",
        "Vertex policy: allowedPartnerModelFeatures lacks structured output",
        {"output_config": {"format": {"type": "json_schema"}}, "system": "s"},
        {"system": "s\n\nAnswer with one JSON object and nothing else."},
        [CONTEXT],
    ),
    (
        "role",
        'messages.1: Unexpected role "system"',
        {"messages": turns("a", ("system", "s"))},
        {"messages": turns("a", ("user", "s"))},
        [CONTEXT],
    ),
    (
        "signature",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        {"messages": turns("a", [NATIVE_THOUGHT, words("b")], "c")},
        {"messages": turns("a", [words("b")], "c")},
        [CONTEXT],
    ),
    (
        "max_tokens",
        "max_tokens: 4000 > 2000, which is the maximum allowed",
        {},
        {"max_tokens": 2000},
        [CONTEXT],
    ),
    (
        "adaptive",
        "adaptive thinking is not supported on this model",
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "enabled", "budget_tokens": 3999}},
        [CONTEXT],
    ),
    (
        "enabled",
        '"thinking.type.enabled" is not supported for this model.',
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive"}},
        [CONTEXT],
    ),
    (
        "adaptive budget",
        "thinking.adaptive.budget_tokens: Extra inputs are not permitted",
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "adaptive"}},
        [CONTEXT],
    ),
]


def refusal(words):
    return cp.upstream_error(400, {}, json.dumps({"error": {"message": words}}).encode())


@pytest.mark.parametrize("name, said, given, expected, betas", LESSONS, ids=[r[0] for r in LESSONS])
def test_native_lessons(name, said, given, expected, betas):
    fitter = cp.Fitter()
    model = NATIVE["claude-sonnet-4.6"]
    if name == "role":
        model = NATIVE["claude-opus-4.6"]
    body = ask_of(model=model.id, **given)
    refused = fit_body("anthropic", body, model, MESSAGES, fitter=fitter, betas=CONTEXT)
    lesson = fitter.learn(refused, refusal(said))
    assert model.id in lesson
    fixed = fit_body("anthropic", body, model, MESSAGES, fitter=fitter, betas=CONTEXT)
    want = {**body, **expected}
    for key in set(given) - set(expected):
        want.pop(key)
    assert (fixed.body, fixed.betas) == (want, betas)
    model = model._replace(id="other")
    other = fit_body("anthropic", body, model, MESSAGES, fitter=fitter, betas=CONTEXT).body
    assert other != dict(want, model="other") or name in (
        "no betas",
        "adaptive budget",
    ), "a lesson holds for its model only"


def test_native_lessons_prefill_signature_and_what_teaches_nothing():
    fitter = cp.Fitter()
    body = ask_of(messages=turns("a", "b"))
    model = NATIVE["claude-haiku-4.5"]
    fit = fit_body("anthropic", body, model, MESSAGES, fitter=fitter)
    assert fit.body == body  # haiku takes a prefill
    assert "claude-haiku-4.5" in fitter.learn(fit, refusal(PREFILL))
    assert prepared(body, fitter=fitter)[0]["messages"][-1]["role"] == "user"
    assert fitter.learn(fit, refusal(PREFILL)) == "", "no news is no reason to send again"
    for said in ("no idea", "input item ID does not belong to this connection"):
        assert cp.Fitter().learn(fit, refusal(said)) == ""


def test_lessons_for_chat_and_responses():
    fitter = cp.Fitter()
    model = cp.Model("m", efforts=("minimal", "low", "high"))
    chat = {"temperature": 0, "max_tokens": 5, "reasoning_effort": "minimal", "messages": [C_HI]}
    responses = {"text": {"verbosity": 1, "format": {}}, "input": "x"}
    for dialect, endpoint, body, words in (
        ("openai", CHAT, chat, "Unsupported parameter: 'temperature' is not supported."),
        (
            "openai",
            CHAT,
            chat,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        ),
        (
            "openai",
            CHAT,
            chat,
            "Unsupported value: 'minimal' is not supported with the 'm' model. "
            "Supported values are: 'low', and 'high'.",
        ),
        (
            "responses",
            RESPONSES,
            responses,
            "Unsupported parameter: 'text.verbosity' is not supported",
        ),
    ):
        fit = fit_body(dialect, body, model, endpoint, fitter=fitter)
        assert fitter.learn(fit, refusal(words)), words
    fit = fit_body("openai", chat, model, CHAT, fitter=fitter)
    assert fit.body == {
        "max_completion_tokens": 5,
        "reasoning_effort": "low",
        "messages": [C_HI],
        "model": "m",
        "stream": True,
    }
    assert list(fit.left_out) == ["temperature"]
    fit = fit_body("responses", responses, model, RESPONSES, fitter=fitter)
    assert fit.body["text"] == {"format": {}}


def test_lessons_on_a_sampler_add_to_what_a_reasoner_is_known_to_refuse():
    fitter = cp.Fitter()
    model = cp.Model("gpt-5.4")
    chat = {"temperature": 0, "top_p": 0.5, "top_k": 9, "messages": [C_HI]}
    fit = fit_body("openai", chat, model, CHAT, fitter=fitter)
    assert list(fit.left_out) == ["temperature", "top_p"]
    assert fitter.learn(fit, refusal("`top_k` is not supported with this model"))
    fit = fit_body("openai", chat, model, CHAT, fitter=fitter)
    assert list(fit.left_out) == ["temperature", "top_p", "top_k"]


STREAM_OK = b"".join(
    data(obj, obj["type"])
    for obj in (
        {
            "type": "message_start",
            "message": {
                "usage": {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 5}
            },
        },
        {"type": "content_block_delta", "delta": {"text": '"usage" message_stop "error"'}},
        {
            "type": "message_delta",
            "copilot_usage": {"total_nano_aiu": 77},
            "usage": {
                "input_tokens": 0,
                "output_tokens": 4,
                "cache_creation_input_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        },
        {"type": "message_stop"},
    )
)
TAPPED_USAGE = cp.TokenUsage(9, 4, 5, 2, 77, 3)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_pass_through_is_identity_but_for_line_ends_and_reads_usage(end):
    for pieces in cuts(STREAM_OK.replace(b"\n", end)):
        tap = cp.MessagesTap()
        seen = b""
        for piece in pieces:
            told = tap.feed(piece)
            assert told == b"" or told.endswith(b"\n\n")
            seen += told
            assert tap.done == (seen == STREAM_OK), "the client would miss the end"
        assert tap.finish() == b"" and tap.usage == TAPPED_USAGE and seen == STREAM_OK


def test_pass_through_ends():
    cut = cp.MessagesTap()
    told = cut.feed(STREAM_OK[:-40])
    assert told.endswith(b"\n\n")  # half an event is not begun
    with pytest.raises(cp.UpstreamError, match="without finishing"):
        cut.finish()
    failed = cut.fail(cp.UpstreamError("broken", status=502))
    assert failed.startswith(b"event: error\n") and b"broken" in failed
    unended = cp.MessagesTap()  # no blank line, no newline at the end (UPSTREAM 17.4)
    told = unended.feed(STREAM_OK[:-2])
    assert not unended.done and told + unended.finish() == STREAM_OK


@pytest.mark.parametrize(
    "event",
    [
        data({"type": "error", "error": {"type": "x", "message": "out of luck"}}, "error"),
        data({"type": "error", "code": "x", "message": "out of luck"}, "error"),
        data({"type": "error", "message": "out of luck"}),
        data({"error": {"message": "out of luck", "code": "x"}}),
        data({"error": "out of luck"}),
        b"event: error\ndata: {out of luck\n\n",
    ],
)
def test_messages_tap_says_errors_of_any_shape_behind_what_came_before(event):
    begun = STREAM_OK[: STREAM_OK.index(b"\n\n") + 2]
    for pieces in cuts(begun + event):
        tap = cp.MessagesTap()
        out = b""
        try:
            for piece in pieces:
                out += tap.feed(piece)
        except cp.UpstreamError as exc:
            out += tap.fail(exc)
        events = frames(out)
        assert len(events) == 2 and out.startswith(begun)
        error = events[-1][1]["error"]
        assert "out of luck" in error["message"] or "broken piece" in error["message"]


@pytest.mark.parametrize(
    "line",
    (b'data: {"usage"', b'data: ["usage"]', b'data: "message_stop"', b"data: \xff", b"data: x"),
)
def test_messages_tap_refuses_what_is_no_event(line):
    """A client would skip it and take the answer for whole."""
    tap = cp.MessagesTap()
    with pytest.raises(cp.UpstreamError, match="broken piece"):
        tap.feed(line + b"\n\n")


def test_messages_tap_survives_odd_members():
    tap = cp.MessagesTap()
    for piece in (
        b'data: {"type":"message_delta","usage":3,"copilot_usage":[]}\n\n',
        b'data: {"type":"message_start","message":7,"usage":null}\n\n',
        b'data: {"x":"' + b"x" * (1 << 20),
        b"yz",
        b'"}\n\n',
    ):
        tap.feed(piece)
    assert tap.usage == cp.TokenUsage() and not tap.finished
    tap.feed(STREAM_OK)
    assert tap.done and tap.usage == TAPPED_USAGE


def test_messages_tap_ignores_what_follows_the_end():
    for rest in (b"data: [DONE]\n\n", STREAM_OK, b"\xff{half", b": bye\n\n"):
        for pieces in ([STREAM_OK + rest], [STREAM_OK, rest], list(cuts(STREAM_OK + rest))[2]):
            tap = cp.MessagesTap()
            assert b"".join(map(tap.feed, pieces)) + tap.finish() == STREAM_OK


def plain_events(dice):
    """An event of each kind that need not be parsed, in one of the two orders of keys."""
    text = "".join(
        dice.choice(["a", '"', "\\", "\n", "\u00e9", "\u4f60", "\U0001f600"]) for _ in range(9)
    )
    order = dice.random() < 0.5
    field = dice.choice(["text", "partial_json", "thinking", "signature"])
    for name, more in (
        ("start", {"content_block": {"type": "text", "text": ""}}),
        ("delta", {"delta": {"type": field + "_delta", field: text}}),
        ("stop", {}),
    ):
        obj = {"type": "content_block_" + name, "index": dice.randrange(20), **more}
        compact = {"separators": (",", ":"), "ensure_ascii": dice.random() < 0.5}
        line = json.dumps(obj, sort_keys=order, **compact).encode()
        yield b"event: content_block_%b\ndata: %b\n\n" % (name.encode(), line)


def test_messages_tap_parses_no_plain_event_and_every_odd_one():
    odd = [
        b"",
        b"\xff",
        b"\x01",
        b'"',
        b"\\",
        b"\n",
        b"}",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\\x",
    ]
    for seed in range(400):
        dice = random.Random(seed)
        for event in plain_events(dice):
            assert cp.PLAIN_EVENTS.match(event)[1] == event, "it would be parsed"
            at = dice.randrange(len(event))
            event = event[:at] + dice.choice(odd) + event[at + dice.randrange(3) :]
            if cp.PLAIN_EVENTS.match(event)[1] == event:
                line = event.partition(b"data: ")[2]
                assert cp.loads(line)["type"].startswith("content_block_"), event
                assert "usage" not in cp.loads(line)


def test_messages_tap_gives_back_names():
    block = {"type": "tool_use", "id": "i", "name": "short", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    raw = data(start, "content_block_start") + STREAM_OK
    for pieces in cuts(raw):
        tap = cp.MessagesTap({"short": "a tool/\u00e9"})
        told = b"".join(map(tap.feed, pieces))
        assert told.endswith(STREAM_OK)
        assert frames(told)[0][1]["content_block"] == {**block, "name": "a tool/\u00e9"}


def test_pass_through_of_a_huge_event():
    tap = cp.MessagesTap()
    piece = b"x" * 16384
    began = time.process_time()
    pieces = [b'data: {"x":"', *[piece] * 1024, b'"}\n', b"\n"]
    assert b"".join(map(tap.feed, pieces)) == b"".join(pieces)
    assert time.process_time() - began < 1  # 16 MB; quadratic, it takes 10 s
    with pytest.raises(cp.UpstreamError, match="more than 33554432 bytes"):
        for _ in range(2049):
            tap.feed(piece)


def test_native_usage_of_a_whole_message():
    assert cp.native_usage(
        {"usage": {"input_tokens": 3, "output_tokens": 2}, "copilot_usage": {"total_nano_aiu": 5}}
    ) == cp.TokenUsage(3, 2, nano_aiu=5)
    assert cp.native_usage({}) == cp.native_usage({"usage": [], "copilot_usage": 1})


def test_native_lesson_does_not_repeat_what_the_upstream_quotes():
    fit = fit_body("anthropic", ask_of(), NATIVE["claude-haiku-4.5"], MESSAGES)
    fitter = cp.Fitter()
    fit.body["messages"] = turns("a", [NATIVE_THOUGHT])
    lesson = fitter.learn(fit, refusal("Invalid `signature` in `thinking` block: MARKPROMPT"))
    assert lesson and "MARKPROMPT" not in lesson


def props(**more):
    return {"type": "object", "properties": more}


TEXT = {"type": "string"}
A_TEXT = props(a=TEXT)
B_TEXT = props(b=TEXT)
A_NEEDED = {**A_TEXT, "required": ["a"]}
SCHEMAS = [  # name, maker, the tool's schema, what goes up on /responses (and alike on chat)
    ("reference", "openai", {"$ref": "#/$defs/A", "$defs": {"A": A_NEEDED}}, A_NEEDED),
    ("union of unions", "openai", {"anyOf": [{"oneOf": [A_TEXT]}, B_TEXT]}, props(a=TEXT, b=TEXT)),
    ("all of", "openai", {"allOf": [A_TEXT, {"required": ["a"]}]}, A_NEEDED),
    ("any of a circle", "openai", {"anyOf": [A_TEXT, {"$ref": "#/$defs/A"}]}, A_TEXT),
    ("list of types", "openai", {"type": ["object", "null"]}, props()),
    ("text", "openai", TEXT, props()),
    ("null", "openai", {"type": None, "properties": None}, props()),
    ("null property", "openai", props(a=None, b=True), props(a={}, b=True)),
    ("no list", "openai", props(a={"enum": "x", "anyOf": [], "type": []}), props(a={})),
    ("draft 3", "openai", props(a={**TEXT, "required": True}), A_TEXT),
    (
        "if",
        "openai",
        props(a={"if": {"type": "array"}, "then": {"type": "object"}}),
        props(a={"if": {"type": "array", "items": {}}, "then": props()}),
    ),
    ("items", "google", props(a={"items": True}), props(a={"items": {}})),
    (
        "enum",
        "google",
        props(a={"enum": ["", 1, None]}),
        props(a={"enum": ["", "1"], "nullable": True}),
    ),
]


@pytest.mark.parametrize("name, maker, given, expected", SCHEMAS, ids=[r[0] for r in SCHEMAS])
def test_schemas(name, maker, given, expected):
    model = cp.Model("m", vendor=maker)
    tool = {"type": "function", "name": "f", "parameters": given}
    fit = fit_body("responses", {"input": "x", "tools": [tool]}, model, RESPONSES)
    sent = fit.body["tools"][0]["parameters"]
    assert {**sent, "$defs": 0, "required": 0} == {**expected, "$defs": 0, "required": 0}
    assert sent.get("required", []) == expected.get("required", [])
    tool = {"type": "function", "function": {"name": "f", "parameters": given}}
    body = {"messages": [C_HI], "tools": [tool]}
    assert fit_body("openai", body, model, CHAT).body["tools"][0]["function"]["parameters"] == sent


def test_schema_that_branches_without_end_takes_no_longer():
    names = ["A%d" % at for at in range(60)]
    defs = {
        name: {"anyOf": [{"$ref": "#/$defs/" + other} for other in names[at + 1 :]] * 2}
        for at, name in enumerate(names)
    }
    schema = {"$ref": "#/$defs/A0", "$defs": defs}
    started = time.process_time()
    body = {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": schema}]}
    fit_body("responses", body, cp.Model("m"), RESPONSES)
    assert time.process_time() - started < 0.5


def test_words_that_teach_one_rule_nothing_may_teach_the_next():
    fitter = cp.Fitter()
    model = cp.Model("m")
    inner = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    tool = {"type": "namespace", "name": "n", "description": "d", "tools": [inner]}
    body = {"input": "x", "tools": [tool]}
    fit = fit_body("responses", body, model, RESPONSES, fitter=fitter)
    assert fitter.learn(fit, refusal("Unknown parameter: 'tools[0].tools'."))
    fit = fit_body("responses", body, model, RESPONSES, fitter=fitter)
    assert fit.body["tools"] == [{**tool, "tools": [{**inner, "parameters": EMPTY}]}]
    assert fitter.has_learnt("namespaces", model, RESPONSES)


def test_words_that_were_learnt_from_teach_no_later_rule():
    fitter = cp.Fitter()
    model = NATIVE["claude-opus-4.6"]
    body = ask_of(model=model.id, thinking={"type": "disabled"}, output_config={"effort": "max"})
    fit = fit_body("anthropic", body, model, MESSAGES, fitter=fitter)
    words = "effort 'max' is not supported when thinking is disabled"
    lesson = fitter.learn(fit, refusal(words))
    assert lesson.endswith(": calm effort"), "no blank where there are no names"
    assert fitter.learn(fit, refusal(words)) == ""  # of a twin, or once more
    assert not fitter.has_learnt("effort", model, MESSAGES)
    fit = fit_body("anthropic", body, model, MESSAGES, fitter=fitter)
    assert fit.body["output_config"] == {"effort": "high"}


LEARNT_PATHS = [  # words, what is given, what is left of it
    ("metadata.foo", {"foo": 1}, {"foo": 1}),
    ("metadata.foo", {"foo": 1, "metadata": None}, {"foo": 1, "metadata": None}),
    ("metadata.foo", {"foo": 1, "metadata": {"foo": 2, "b": 3}}, {"foo": 1, "metadata": {"b": 3}}),
    (
        "system.0.cache_control.ephemeral.odd",
        {"system": [words("s", cache_control={**MARKED, "odd": 1}, odd=2)]},
        {"system": [words("s", cache_control=MARKED, odd=2)]},
    ),
]


@pytest.mark.parametrize("path, given, left", LEARNT_PATHS)
def test_learnt_paths_reach_what_they_name_only(path, given, left):
    keys = re.sub(r"\.\d+", ".*", path).split(".")
    cp.remove_path(given, keys)
    assert given == left


def test_document_of_blocks_tells_of_its_pictures():
    source = {"type": "content", "content": [words("d"), picture("image/png")]}
    body = ask_of(messages=says({"type": "document", "source": source}))
    fit = fit_body("anthropic", body, NATIVE["claude-haiku-4.5"], MESSAGES)
    assert fit.body["messages"] == turns([words("d")])
    assert list(fit.left_out) == ["images of a document"]


def test_reference_is_renamed_and_looked_for():
    def sent(*offered):
        found = result_of("a", [{"type": "tool_reference", "tool_name": "m.t"}])
        body = ask_of(
            tools=[tool_of(name) for name in ("t", *offered)],
            messages=turns("a", [use_of("a")], [found]),
        )
        return prepared(body)[0]["messages"][-1]["content"][0]["content"]

    short = cp.short_name("m.t")
    assert sent("m.t") == [{"type": "tool_reference", "tool_name": short}]
    assert sent() == [words("Tool m.t is not available.")]


def test_lessons_of_other_endpoints_break_nothing():
    fitter = cp.Fitter()
    model = cp.Model("m")
    for words in (
        PREFILL,
        "response_format is not supported",
        "effort is not supported",
        "vision is not supported",
        "'input_file'",
        "Unknown parameter: 'stop'",
        "Unexpected role 'system'",
    ):
        fit = fit_body("openai", {"input": ["x"]}, model, "/embeddings", fitter=fitter)
        assert fitter.learn(fit, refusal(words)), words
    fit = fit_body("openai", {"input": ["x"]}, model, "/embeddings", fitter=fitter)
    assert fit.body == {"input": ["x"], "model": "m"}


def test_what_has_meaning_is_never_learnt_away():
    fitter = cp.Fitter()
    model = NATIVE["claude-haiku-4.5"]
    fit = fit_body("anthropic", ask_of(), model, MESSAGES, fitter=fitter)
    for path in ("max_tokens", "messages", "messages.0.content.0.text", "tools.0.custom.name"):
        assert fitter.learn(fit, refusal(path + ": Extra inputs are not permitted")) == ""
        assert fitter.learn(fit, refusal("Unknown parameter: '%s'." % path)) == ""


FLAT = [  # tools of the client, their names after the lesson
    ([{"type": "namespace", "name": "mcp__a", "tools": []}], None),
    (
        [
            {"type": "namespace", "name": "mcp__a", "tools": [{"type": "function", "name": "r"}]},
            {"type": "function", "name": "mcp__a__r"},
            {"type": "tool_search", "execution": "client"},
        ],
        ["mcp__a__r_", "mcp__a__r", "tool_search"],
    ),
]


@pytest.mark.parametrize("tools, names", FLAT)
def test_namespaces_flattened(tools, names):
    fitter = cp.Fitter()
    model = cp.Model("m")
    call = {"type": "function_call", "call_id": "c", "namespace": "mcp__a", "name": "r"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    body = {"input": [{**call, "arguments": "{}"}, output], "tools": tools}
    fit = fit_body("responses", body, model, RESPONSES, fitter=fitter)
    assert ("tools" in fit.body) == bool(names)
    assert not fitter.has_learnt("namespaces", model, RESPONSES)
    assert fitter.learn(fit, refusal("Invalid value: 'namespace' at tools[0].tools"))
    assert fitter.has_learnt("namespaces", model, RESPONSES)

    def encode(client_body):
        return cp.encode_responses(cp.parse_responses(client_body), model)

    fit = fit_body("responses", body, model, RESPONSES, encode, fitter)
    assert [tool["name"] for tool in fit.body.get("tools", [])] == (names or [])
    if names:
        assert fit.body["input"][0]["name"] == names[0]


def test_names_of_namespaces_are_shortened_and_given_back():
    function = {"type": "function", "name": "r.s"}
    for space in ("mcp.a", "n" * 65):
        offer = {"type": "namespace", "name": space, "description": "d", "tools": [function]}
        call = {"type": "function_call", "call_id": "c", "namespace": space, "name": "r.s"}
        output = {"type": "function_call_output", "call_id": "c", "output": "x"}
        body = {"input": [{**call, "arguments": "{}"}, output], "tools": [offer]}
        fit = fit_body("responses", body, cp.Model("m"), RESPONSES)
        sent = fit.body["tools"][0]
        short = {"namespace": sent["name"], "name": sent["tools"][0]["name"]}
        assert short == {"namespace": cp.short_name(space), "name": cp.short_name("r.s")}
        assert {**fit.body["input"][0], **short} == fit.body["input"][0]
        tap = cp.ResponsesTap()
        tap.names = fit.names
        item = {"type": "function_call", **short}
        event = {"type": "response.output_item.done", "output_index": 0, "item": item}
        told = json.loads(tap.feed(data(event))[6:])["item"]
        assert told == {"type": "function_call", "namespace": space, "name": "r.s"}


def test_translated_to_messages():
    model = NATIVE["claude-haiku-4.5"]
    call = {"id": "c", "type": "function", "function": {"name": "f"}}
    call["function"]["arguments"] = '{"x": "\\ud83d"}'
    body = {"messages": [C_HI, {"role": "assistant", "tool_calls": [call]}], "temperature": 1.9}
    client = cp.ClientBody("openai", "", *cp.parse_placed(cp.dumps(body)))
    encoded = cp.encode_messages(cp.parse_chat(client.body), model)
    sent = cp.loads(cp.Fitter().fit(client, encoded, model, MESSAGES).encode())
    assert sent["messages"][1]["content"][0]["input"] == {"x": "\ufffd"}
    assert sent["temperature"] == 1


def test_stops_that_chat_does_not_take():
    for stops in (list("abcde"), []):
        fit = fit_body("openai", {"messages": [C_HI], "stop": stops}, cp.Model("m"), CHAT)
        assert fit.stops == tuple(stops) and "stop" not in fit.body
    fit = fit_body("openai", {"messages": [C_HI], "stop": list("abcd")}, cp.Model("m"), CHAT)
    assert not fit.stops and fit.body["stop"] == list("abcd")


def test_empty_input_costs_no_request():
    with pytest.raises(cp.BadRequest, match="^input: at least one"):
        fit_body("responses", {"input": []}, cp.Model("m"), RESPONSES)


def test_blank_namespace_is_described():
    tool = {"type": "namespace", "name": "n", "description": " \n"}
    tool["tools"] = [{"type": "function", "name": "f"}]
    body = {"input": "x", "tools": [tool]}
    sent = fit_body("responses", body, cp.Model("m"), RESPONSES).body["tools"]
    assert sent[0]["description"] == "Tools of n."


# Models that refuse what the others take, beside those of the catalogue.
MORE_ROWS = """
claude-opus-5.5      both 1000000 936000  64000 500/2500/50/625 adaptive high,xhigh,max
claude-sonnet-5.5    both 1000000 936000  64000 300/1500/30/375 adaptive high,xhigh,max
claude-haiku-5.5     both  200000 100000  64000 100/500/10/125  adaptive high
claude-writer-5.5    alone 200000 168000  32000 300/1500/30/375 adaptive high
claude-chat-1        old   200000 136000  64000 100/500/10/125  -        -
gpt-6.1-sol          only  400000 272000 128000 125/1000/13/0   -        high,xhigh
gpt-5-chat           old   400000 272000 128000 125/1000/13/0   -        high
gpt-4.2              old   128000 128000  16384 0/0/0/0         -        -
gpt-4.3              only  128000 128000  16384 0/0/0/0         -        -
o1-mini              old   128000 128000  16384 0/0/0/0         -        -
"""
LEFT = object()  # this member does not go up


class RuleRow(NamedTuple):
    """A client's request that meets one rule, and what goes up of it."""

    rule: str
    client: str  # the path that is asked
    model: str
    given: Dict[str, Any]
    sent: Dict[str, Any]
    words: str = ""  # a refusal that comes first
    betas: str = ""
    said: bytes = b'"ok"'  # in a whole answer


def hi_turn(text="hi"):
    return [{"role": "user", "content": text}]


def chat_tool(parameters, name="f", **more):
    function = {"name": name, "parameters": parameters, **more}
    return {"type": "function", "function": function}


def flat_tool(parameters, name="f", **more):
    return {"type": "function", "name": name, "parameters": parameters, **more}


def chat_call(call="c1", name="f"):
    return {"id": call, "type": "function", "function": {"name": name, "arguments": "{}"}}


def called_in_chat(call="c1", **more):
    return {"role": "assistant", "tool_calls": [chat_call(call)], **more}


def answered_in_chat(call="c1"):
    return {"role": "tool", "tool_call_id": call, "content": "ok"}


def item_call(call="c1", name="f", **more):
    return {"type": "function_call", "call_id": call, "name": name, "arguments": "{}", **more}


def item_output(call="c1"):
    return {"type": "function_call_output", "call_id": call, "output": "ok"}


def hashed(call):
    return "call_" + hashlib.sha256(call.encode()).hexdigest()[:24]


EMPTY = {"type": "object", "properties": {}}
CLOSED = {**EMPTY, "additionalProperties": False}
PNG_HEAD = "iVBORw0KGgoAAAAN"
JPEG = "/9j/4AAQSkZJRgAB"
LONG = "a" * 70
NAMESPACE = {"type": "namespace", "name": "ns", "tools": [flat_tool(EMPTY)]}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG_HEAD}}
PNG_ITEM = {"type": "input_image", "image_url": "data:image/png;base64," + PNG_HEAD}


def orphaned(kind, *more, said="ok"):
    """What becomes of a result without a call."""
    text = "[result of a tool call that is not shown]\n" + said
    return {"role": "user", "content": [{"type": kind, "text": text.strip()}, *more]}


def picture(kind, text=PNG_HEAD):
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": text}}


def chat_picture(kind, text=PNG_HEAD):
    url = "data:%s;base64,%s" % (kind, text)
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def says(*content):
    return [{"role": "user", "content": list(content)}]


A = "/v1/messages"
O = "/v1/chat/completions"
P = "/v1/responses"
HAIKU = "claude-haiku-4.5"
FIVE = "claude-opus-5.5"
GPT = "gpt-4.2"
SOL = "gpt-6.1-sol"
CHAT_CLAUDE = "claude-chat-1"
GEMINI = "gemini-2.5-pro"
THINKER = "gpt-5-chat"
SYSTEM_TURN = turns("a", ("system", "s"), "b")


def call_block(call):
    return {"type": "tool_use", "id": call, "name": "f", "input": {}}


def result_block(call):
    return {"type": "tool_result", "tool_use_id": call, "content": "ok"}


RULE_ROWS = [
    RuleRow("model", A, HAIKU, {"model": "claude-haiku-4-5-20251001"}, {"model": HAIKU}),
    RuleRow("chat fields", O, GPT, {}, {"stream": True}),
    RuleRow("responses fields", P, SOL, {}, {"stream": True}),
    RuleRow(
        "beta",
        A,
        HAIKU,
        {"context_management": {}},
        {"context_management": LEFT},
        "unsupported beta header(s): " + CONTEXT,
        CONTEXT,
    ),
    RuleRow("beta", A, "claude-opus-4.6", {}, {}, "invalid beta flag", CONTEXT),
    RuleRow("betas", A, "claude-opus-5", {}, {"beta": CONTEXT}, "", "odd-2026-01-01," + CONTEXT),
    RuleRow("top fields", A, HAIKU, {"speed": "fast"}, {"speed": LEFT}),
    RuleRow(
        "top fields",
        A,
        "claude-sonnet-5",
        {"output_format": {"type": "json_schema", "schema": EMPTY}},
        {"output_config": {"format": {"type": "json_schema", "schema": EMPTY}}},
        said=b"{}",
    ),
    RuleRow("limits", P, "claude-opus-4.6", {"temperature": 1.5}, {"temperature": 1}),
    RuleRow(
        "max_tokens",
        A,
        "claude-opus-4.6",
        {"max_tokens": 5000},
        {"max_tokens": 4500},
        "max_tokens: 5000 > 4500, which is the maximum allowed",
    ),
    RuleRow("responses fields", P, SOL, {"max_output_tokens": 5}, {"max_output_tokens": 16}),
    RuleRow("responses fields", P, SOL, {"include": ["usage"]}, {"include": [cp.ENCRYPTED]}),
    RuleRow("responses fields", P, "gpt-4.3", {"include": ["usage"]}, {"include": LEFT}),
    RuleRow(
        "responses fields",
        P,
        SOL,
        {"client_metadata": {}, "internal_odd": 1},
        {"client_metadata": LEFT, "internal_odd": LEFT},
    ),
    RuleRow(
        "responses fields", P, "gpt-4.3", {"reasoning": {"effort": "high"}}, {"reasoning": LEFT}
    ),
    RuleRow("reasoner samplers", O, THINKER, {"temperature": 0}, {"temperature": LEFT}),
    RuleRow("reasoner samplers", A, SOL, {"temperature": 0}, {"temperature": LEFT}),
    RuleRow(
        "second sampler",
        A,
        HAIKU,
        {"temperature": 0.5, "top_p": 0.5},
        {"temperature": 0.5, "top_p": LEFT},
    ),
    RuleRow("samplers", A, FIVE, {"temperature": 0.5}, {"temperature": LEFT}),
    RuleRow("samplers", O, "claude-writer-5.5", {"top_p": 0.5}, {"top_p": LEFT}),
    RuleRow(
        "forced choice",
        A,
        FIVE,
        {"tools": [tool_of()], "tool_choice": {"type": "any"}},
        {"tools": [tool_of()], "tool_choice": {"type": "auto"}},
    ),
    RuleRow("stop", O, THINKER, {"stop": ["k"]}, {"stop": LEFT}, said=b'"o"'),
    RuleRow(
        "choice",
        A,
        HAIKU,
        {"tools": [chat_tool(EMPTY)], "tool_choice": "required"},
        {"tool_choice": {"type": "any"}},
    ),
    RuleRow("chat fields", O, GPT, {"stop": list("kvwxy")}, {"stop": LEFT}, said=b'"o"'),
    RuleRow(
        "pairs",
        A,
        HAIKU,
        {
            "tools": [{"name": "f", "input_schema": EMPTY}],
            "messages": [
                *hi_turn(),
                {"role": "assistant", "content": [call_block("c1"), call_block("c2")]},
                *says(result_block("c1")),
                *says(result_block("c2")),
            ],
        },
        {
            "messages": [
                *hi_turn(),
                {"role": "assistant", "content": [call_block("c1"), call_block("c2")]},
                *says(result_block("c1"), result_block("c2")),
            ]
        },
    ),
    RuleRow("stop", A, SOL, {"stop_sequences": ["k"]}, {"stop": LEFT}, said=b'"o"'),
    RuleRow(
        "stop",
        O,
        GPT,
        {"stop": "k"},
        {"stop": LEFT},
        "Unsupported parameter: 'stop' is not supported with this model.",
        said=b'"o"',
    ),
    RuleRow(
        "limit name",
        O,
        "gpt-4o",
        {"max_tokens": 50},
        {"max_completion_tokens": 50, "max_tokens": LEFT},
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
    ),
    RuleRow("chat fields", O, GPT, {"max_tokens": 10**6}, {"max_tokens": 16384}),
    RuleRow("chat fields", O, THINKER, {"max_tokens": 5}, {"max_completion_tokens": 5}),
    RuleRow("chat fields", O, GPT, {"stream_options": {}}, {"stream_options": LEFT}),
    RuleRow("always thinks", A, FIVE, {"thinking": {"type": "disabled"}}, {"thinking": LEFT}),
    RuleRow(
        "no adaptive",
        A,
        "claude-sonnet-4.6",
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "enabled", "budget_tokens": 3999}},
        "adaptive thinking is not supported on this model",
    ),
    RuleRow(
        "no budget",
        A,
        "claude-opus-4.6",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive"}},
        '"thinking.type.enabled" is not supported for this model.',
    ),
    RuleRow(
        "lost thinking",
        A,
        "claude-sonnet-4.5",
        {
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [tool_of()],
            "messages": turns("a", [use_of("u")], [result_of("u")]),
        },
        {"thinking": LEFT},
    ),
    RuleRow(
        "lost thinking",  # as it goes up: with the result that the client lost
        A,
        "claude-sonnet-4.5",
        {
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [tool_of()],
            "messages": turns("a", [use_of("v")], "b"),
        },
        {"thinking": LEFT},
    ),
    RuleRow(
        "lost thinking",
        P,
        "claude-sonnet-4.5",
        {
            "reasoning": {"effort": "high"},
            "tools": [flat_tool(EMPTY)],
            "input": [*hi_turn(), item_call("w"), *hi_turn("x")],
        },
        {"thinking": LEFT},
    ),
    RuleRow(
        "thinking kind",
        A,
        HAIKU,
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "enabled", "budget_tokens": 3999}},
    ),
    RuleRow(
        "calm effort",
        A,
        "claude-opus-5",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
    ),
    RuleRow("effort", A, HAIKU, {"output_config": {"effort": "low"}}, {"output_config": LEFT}),
    RuleRow("effort", O, THINKER, {"reasoning_effort": "max"}, {"reasoning_effort": "high"}),
    RuleRow("effort", P, SOL, {"reasoning": {"effort": "max"}}, {"reasoning": {"effort": "xhigh"}}),
    RuleRow(
        "format",
        A,
        "claude-opus-4.7",
        {"output_config": {"format": {"type": "json_schema", "schema": EMPTY}}},
        {"output_config": LEFT},
    ),
    RuleRow("fields", A, "claude-opus-4.6", {"odd": 1}, {"odd": LEFT}),
    RuleRow("fields", P, SOL, {"odd": 1}, {"odd": LEFT}, "Unknown parameter: 'odd'."),
    RuleRow(
        "namespaces",
        P,
        "gpt-5.5",
        {"tools": [{**NAMESPACE, "description": "d"}]},
        {"tools": [flat_tool(EMPTY, "ns__f", description="", strict=False)]},
        "Invalid type for 'tools[0].tools': expected nothing.",
    ),
    RuleRow(
        "tools of Responses",
        P,
        SOL,
        {"tools": [NAMESPACE]},
        {"tools": [{**NAMESPACE, "description": "Tools of ns."}]},
    ),
    RuleRow(
        "tools of Messages", A, HAIKU, {"tools": [chat_tool(EMPTY)]}, {"tools": [tool_of("f")]}
    ),
    RuleRow(
        "tools of Messages",
        A,
        HAIKU,
        {"tools": [tool_of(), {"type": "web_fetch_20250910", "name": "web_fetch"}]},
        {"tools": [tool_of()]},
    ),
    RuleRow(
        "tools of Messages",
        A,
        HAIKU,
        {"tools": [tool_of(eager_input_streaming=True)]},
        {"tools": [tool_of()]},
    ),
    RuleRow("schemas", A, HAIKU, {"tools": [tool_of(input_schema={})]}, {"tools": [tool_of()]}),
    RuleRow("schemas", O, GPT, {"tools": [chat_tool({})]}, {"tools": [chat_tool(EMPTY)]}),
    RuleRow("schemas", P, SOL, {"tools": [flat_tool({})]}, {"tools": [flat_tool(EMPTY)]}),
    RuleRow(
        "schemas",
        O,
        GPT,
        {"tools": [chat_tool({**EMPTY, "properties": {"l": {"type": "array"}}})]},
        {"tools": [chat_tool({**EMPTY, "properties": {"l": {"type": "array", "items": {}}}})]},
    ),
    RuleRow(
        "schemas",
        O,
        GEMINI,
        {"tools": [chat_tool({**EMPTY, "properties": {"s": {"type": ["string", "null"]}}})]},
        {
            "tools": [
                chat_tool({**EMPTY, "properties": {"s": {"type": "string", "nullable": True}}})
            ]
        },
    ),
    RuleRow(
        "schemas",
        O,
        GEMINI,
        {"tools": [chat_tool({**EMPTY, "properties": {"s": {"type": ["string", "number"]}}})]},
        {
            "tools": [
                chat_tool(
                    {
                        **EMPTY,
                        "properties": {
                            "s": {"type": "string", "description": "Type: string or number"}
                        },
                    }
                )
            ]
        },
    ),
    RuleRow(
        "strict",
        O,
        GPT,
        {"tools": [chat_tool(EMPTY, strict=True)]},
        {"tools": [chat_tool(EMPTY, strict=False)]},
    ),
    RuleRow(
        "strict",
        P,
        SOL,
        {"tools": [flat_tool(CLOSED, strict=True)]},
        {"tools": [flat_tool(CLOSED, strict=True)]},
    ),
    RuleRow(
        "format schema",
        P,
        SOL,
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": EMPTY, "strict": True}}},
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": EMPTY, "strict": False}
            }
        },
        said=b"{}",
    ),
    RuleRow(
        "names", A, HAIKU, {"tools": [tool_of("a b")]}, {"tools": [tool_of(cp.short_name("a b"))]}
    ),
    RuleRow(
        "names",
        P,
        SOL,
        {"tools": [flat_tool(EMPTY, "a.b")]},
        {"tools": [flat_tool(EMPTY, cp.short_name("a.b"))]},
    ),
    RuleRow(
        "tool list",
        A,
        HAIKU,
        {"tools": [tool_of("a b")], "tool_choice": {"type": "tool", "name": "a b"}},
        {"tool_choice": {"type": "tool", "name": cp.short_name("a b")}},
    ),
    RuleRow(
        "blank", A, HAIKU, {"system": [words("x-anthropic-billing-header: c")]}, {"system": LEFT}
    ),
    RuleRow(
        "chat turns",
        O,
        GPT,
        {
            "messages": turns("a", "b", "c")[:1]
            + [{**turns("a", "b")[1], "reasoning_content": "x"}]
            + hi_turn("c")
        },
        {"messages": turns("a", "b", "c")},
    ),
    RuleRow(
        "roles",
        O,
        "o1-mini",
        {"messages": [{"role": "system", "content": "s"}, *hi_turn()]},
        {"messages": [{"role": "user", "content": "s"}, *hi_turn()]},
    ),
    RuleRow(
        "roles",
        O,
        GPT,
        {"messages": [{"role": "developer", "content": "d"}, *hi_turn()]},
        {"messages": [{"role": "system", "content": "d"}, *hi_turn()]},
    ),
    RuleRow(
        "chat turns",
        O,
        GPT,
        {"messages": turns("a", "b \n", "c")},
        {"messages": turns("a", "b", "c")},
    ),
    RuleRow(
        "system turns",
        A,
        "claude-sonnet-4.6",
        {"messages": SYSTEM_TURN},
        {"messages": turns("a", ("user", "s"), "b")},
    ),
    RuleRow(
        "system turns", A, "claude-opus-5", {"messages": SYSTEM_TURN}, {"messages": SYSTEM_TURN}
    ),
    RuleRow(
        "order",
        A,
        HAIKU,
        {"tools": [tool_of()], "messages": turns("a", [use_of("u"), words("w")], [result_of("u")])},
        {"messages": turns("a", [words("w"), use_of("u")], [result_of("u")])},
    ),
    RuleRow(
        "order",
        A,
        HAIKU,
        {"tools": [tool_of()], "messages": turns("a", [use_of("u")], [words("w"), result_of("u")])},
        {"messages": turns("a", [use_of("u")], [result_of("u"), words("w")])},
    ),
    RuleRow(
        "items",
        P,
        SOL,
        {"tools": [flat_tool(EMPTY)], "input": [item_call(id="call_1"), item_output()]},
        {"input": [item_call(), item_output()]},
    ),
    RuleRow(
        "reasoning",
        P,
        SOL,
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "E1"}, *hi_turn()]},
        {"input": hi_turn()},
    ),
    RuleRow(
        "thinking",
        A,
        HAIKU,
        {"messages": turns("a", [NATIVE_OURS, words("b")], "c")},
        {"messages": turns("a", [words("b")], "c")},
    ),
    RuleRow(
        "thinking",
        A,
        FIVE,
        {"messages": turns("a", [NATIVE_THOUGHT, words("b")], "c")},
        {"messages": turns("a", [words("b")], "c")},
        "messages.1.content.0: The block is bound to a different conversation",
    ),
    RuleRow(
        "empty thinking",
        A,
        "claude-haiku-5.5",
        {"messages": turns("a", [NATIVE_THOUGHT, words("b")], "c")},
        {"messages": turns("a", [words("b")], "c")},
    ),
    RuleRow(
        "server blocks",
        A,
        HAIKU,
        {"messages": turns("a", [{"type": "mcp_tool_use", "id": "m"}], "b")},
        {"messages": turns("a", [words('{"type":"mcp_tool_use","id":"m"}')], "b")},
    ),
    RuleRow(
        "references",
        A,
        HAIKU,
        {
            "tools": [tool_of()],
            "messages": turns(
                "a", [use_of("u")], [result_of("u", [{"type": "tool_reference", "tool_name": "x"}])]
            ),
        },
        {
            "messages": turns(
                "a", [use_of("u")], [result_of("u", [words("Tool x is not available.")])]
            )
        },
    ),
    RuleRow(
        "result marks",
        A,
        HAIKU,
        {
            "tools": [tool_of()],
            "messages": turns(
                "a", [use_of("u")], [result_of("u", [words("r", cache_control=MARKED)])]
            ),
        },
        {
            "messages": turns(
                "a", [use_of("u")], [{**result_of("u", [words("r")]), "cache_control": MARKED}]
            )
        },
    ),
    RuleRow(
        "images",
        A,
        HAIKU,
        {"messages": says(picture("image/jpg", JPEG))},
        {"messages": says(picture("image/jpeg", JPEG))},
    ),
    RuleRow(
        "image URLs",
        O,
        GPT,
        {"messages": [chat_picture("image/jpeg")]},
        {"messages": [chat_picture("image/png")]},
    ),
    RuleRow(
        "documents of text",
        A,
        HAIKU,
        {"messages": says({"type": "document", "source": {"type": "text", "data": "d"}})},
        {"messages": says(words("d"))},
    ),
    RuleRow(
        "ids",
        A,
        HAIKU,
        {"tools": [tool_of()], "messages": turns("a", [use_of("f:0")], [result_of("f:0")])},
        {"messages": turns("a", [use_of(hashed("f:0"))], [result_of(hashed("f:0"))])},
    ),
    RuleRow(
        "ids",
        O,
        GPT,
        {
            "tools": [chat_tool(EMPTY)],
            "messages": [*hi_turn(), called_in_chat(LONG), answered_in_chat(LONG)],
        },
        {"messages": [*hi_turn(), called_in_chat(hashed(LONG)), answered_in_chat(hashed(LONG))]},
    ),
    RuleRow(
        "ids",
        P,
        SOL,
        {"tools": [flat_tool(EMPTY)], "input": [item_call(LONG), item_output(LONG)]},
        {"input": [item_call(hashed(LONG)), item_output(hashed(LONG))]},
    ),
    RuleRow(
        "blank",
        A,
        HAIKU,
        {"messages": says(words(" "), words("a"))},
        {"messages": says(words("a"))},
    ),
    RuleRow(
        "marks",
        A,
        HAIKU,
        {"system": [words("s", cache_control={**MARKED, "scope": "global"})]},
        {"system": [words("s", cache_control=MARKED)]},
    ),
    RuleRow(
        "empty turns",
        A,
        HAIKU,
        {"messages": [*hi_turn(), *turns([]), *hi_turn()]},
        {"messages": hi_turn() * 2},
    ),
    RuleRow(
        "pairs",
        A,
        HAIKU,
        {"messages": turns("a", "b", [result_of("x")])},
        {"messages": turns("a", "b", [words(ORPHAN_OK)])},
    ),
    RuleRow(
        "chat pairs",
        O,
        GPT,
        {"messages": [*hi_turn(), answered_in_chat("x")]},
        {"messages": [*hi_turn(), orphaned("text")]},
    ),
    RuleRow(
        "items",
        P,
        SOL,
        {"input": [*hi_turn(), item_output("x")]},
        {"input": [*hi_turn(), orphaned("input_text")]},
    ),
    RuleRow(
        "prefill",
        A,
        "claude-opus-5",
        {"messages": turns("a", "b")},
        {"messages": turns("a", "b", "Please continue.")},
    ),
    RuleRow(
        "prefill",
        P,
        SOL,
        {"input": turns("a", "b")},
        {"input": turns("a", "b", "Please continue.")},
        words=PREFILL,
    ),
    RuleRow(
        "names",
        A,
        HAIKU,
        {"tools": [tool_of()], "messages": turns("a", [use_of("u")], [result_of("u")])},
        {"tools": [tool_of()]},
    ),
    RuleRow(
        "names",
        A,
        HAIKU,
        {"messages": turns("a", [use_of("u", "old")], [result_of("u")])},
        {"tools": [tool_of("old", description="No longer available: do not call it.")]},
    ),
    RuleRow(
        "tool list",
        A,
        HAIKU,
        {
            "tool_choice": {"type": "any"},
            "messages": turns("a", [use_of("u", "old")], [result_of("u")]),
        },
        {"tool_choice": LEFT},
    ),
    RuleRow(
        "tool list",
        O,
        GPT,
        {"tools": [], "tool_choice": "auto"},
        {"tools": LEFT, "tool_choice": LEFT},
    ),
    RuleRow(
        "too many marks",
        A,
        HAIKU,
        {
            "system": [words("s", cache_control=MARKED)],
            "messages": says(*[words(text, cache_control=MARKED) for text in "abcd"]),
        },
        {"system": [words("s")]},
    ),
    RuleRow(
        "cache",
        O,
        CHAT_CLAUDE,
        {},
        {"messages": [{**hi_turn()[0], "copilot_cache_control": MARKED}]},
    ),
]
# What is refused here, in the client's own words, without a request upstream.
REFUSED_ROWS = [  # rule, path, model, what is put in, words of the answer
    ("shape", A, HAIKU, {"messages": []}, "messages: at least one message is required"),
    ("shape", O, GPT, {"messages": []}, "messages: at least one message is required"),
    (
        "shape",
        A,
        HAIKU,
        {"messages": turns("a", "b", [result_of("x", -1)])},
        "messages.2.content.0.content: expected a list",
    ),
    ("shape", P, SOL, {"input": [None, *hi_turn()]}, "input.0: expected an object"),
    ("meaning", A, HAIKU, {"container": "c"}, "container: not available here"),
    ("meaning", A, HAIKU, {"thread": {"type": "create"}}, "thread: Copilot keeps no threads"),
    ("meaning", O, GPT, {"n": 2}, "n: not available here"),
    ("meaning", P, SOL, {"background": True}, "background: not available here"),
    ("chat fields", O, GPT, {"tools": [chat_tool(EMPTY, "f%d" % n) for n in range(129)]}, "128"),
    ("tools of Responses", P, SOL, {"tools": [{"type": "file_search"}]}, "file_search"),
    (
        "documents",
        P,
        SOL,
        {
            "input": says(
                {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg=="}
            )
        },
        "capability_rejected: document_block",
    ),
]
ELSEWHERE = {"embeddings", "vision"}  # which have a test of their own below


def request_of(row):
    """The client's whole body for a row."""
    base = {"model": row.model}
    if row.client == A:
        base["max_tokens"] = 4000
    if row.client == P:
        base["input"] = "hi"
    else:
        base["messages"] = hi_turn()
    return {**base, **row.given}


def check_sent(row, request):
    """What went up is what the row says, member by member."""
    sent = {**request.json, "beta": request.header("anthropic-beta")}
    for key, value in row.sent.items():
        if value is LEFT:
            assert key not in sent, (row.rule, key)
        else:
            assert sent.get(key) == value, (row.rule, key)


class Served:
    """One proxy before one strict fake, for many rows."""

    async def __aenter__(self):
        self.up = await FakeUpstream().__aenter__()
        self.up.models += map(_entry, MORE_ROWS.strip().splitlines())
        self.up._signed.add("EqQB")
        self.proxy = await Proxy(self.up).__aenter__()
        return self

    async def __aexit__(self, kind, *more):
        await self.proxy.__aexit__(kind, *more)
        await self.up.__aexit__(kind, *more)

    async def say(self, row, stream):
        """The answer, and the model requests that it took."""
        seen = len(self.up.requests)
        body = {**request_of(row), "stream": stream}
        if row.betas:
            headers = {"anthropic-beta": row.betas}
        else:
            headers = {}
        answer = await self.proxy.ask("POST", row.client, body, headers)
        asked = [one for one in self.up.requests[seen:] if one.path in STREAM]
        return answer, asked


def tries_of(row, path):
    """How many requests the first answer takes: one where the rule is known."""
    rule = next(rule for rule in cp.RULES if rule.name == row.rule)
    maker = {"c": "anthropic", "g": "openai", "o": "openai"}[row.model[0]]
    if row.model.startswith("gemini"):
        maker = "google"
    subject = "%s %s %s" % (path, maker, row.model)
    if rule.where and not row.words and re.match(rule.where, subject, re.I):
        return 1
    return 2


async def check_row(served, row):
    """Refused and repaired once, or known from the start; whole and as a stream."""
    if row.words:
        path = (await served.say(row, False))[1][-1].path
        served.up.script["POST", path].append(gateway(row.words).answer)
    answer, asked = await served.say(row, False)
    assert answer.status == 200, answer.body[:300]
    assert len(asked) == tries_of(row, asked[-1].path), "requests"
    assert row.said in answer.body
    check_sent(row, asked[-1])
    for stream in (True, False):
        answer, again = await served.say(row, stream)
        assert answer.status == 200
        assert len(again) == 1, "not learnt"
        check_sent(row, again[0])
        if stream:
            assert len(frames(answer.body)) > 1


def test_rules_whole_program():
    """Each row at the strict fake, which refuses what the real service does."""

    async def scenario():
        faults = []
        async with Served() as served:
            for row in RULE_ROWS:
                try:
                    await check_row(served, row)
                except AssertionError as exc:
                    faults.append((row.rule, row.client, str(exc)[:400]))
        assert faults == []

    run(scenario())


def test_rules_refusals_cost_no_request():
    async def scenario():
        async with Served() as served:
            for rule, client, model, given, said in REFUSED_ROWS:
                row = RuleRow(rule, client, model, given, {})
                for stream in (False, True):
                    answer, asked = await served.say(row, stream)
                    assert (answer.status, asked) == (400, []), rule
                    assert said in answer.json["error"]["message"], rule

    run(scenario())


def test_rules_of_embeddings():
    async def scenario():
        async with Served() as served:
            for given, sent in (("a", ["a"]), (["a", "b"], ["a", "b"])):
                body = {"model": EMBEDDER["id"], "input": given, "encoding_format": "base64"}
                answer = await served.proxy.ask("POST", "/v1/embeddings", body)
                assert len(answer.json["data"]) == len(sent)
                asked = served.up.requests[-1]
                assert asked.json == {"model": EMBEDDER["id"], "input": sent}

    run(scenario())


@pytest.mark.parametrize(
    "client, model, given",
    [
        (A, HAIKU, {"messages": says(picture("image/png"))}),
        (O, GPT, {"messages": [chat_picture("image/png")]}),
        (O, HAIKU, {"messages": [chat_picture("image/png")]}),
    ],
)
def test_rules_of_vision_turned_off(client, model, given):
    """One refusal of the organization is enough, and Claude Code knows the mark."""

    async def scenario():
        async with Served() as served:
            served.up.blind = True
            row = RuleRow("vision", client, model, given, {})
            tries = []
            for stream in (False, True):
                answer, asked = await served.say(row, stream)
                tries.append(len(asked))
                assert answer.status == 400
                said = answer.json["error"]["message"]
                assert "capability_rejected: image_block" in said
            assert tries == [1, 0]

    run(scenario())


def test_rules_have_a_row_each():
    tried = {row.rule for row in RULE_ROWS} | {row[0] for row in REFUSED_ROWS}
    names = [rule.name for rule in cp.RULES]
    assert len(set(names)) == len(names)
    assert tried | ELSEWHERE == set(names), "a new rule needs a row"
    assert not tried & ELSEWHERE


RULE_ORDER = [  # the first must come before the second, and why
    ("shape", "model", "nothing is repaired in vain"),
    ("meaning", "model", "nothing is repaired in vain"),
    ("always thinks", "calm effort", "it sets an effort"),
    ("calm effort", "effort", "the list of the model is the last word"),
    ("thinking kind", "effort", "a budget is chosen by the effort that was asked"),
    ("limits", "thinking kind", "a budget needs the limit"),
    ("second sampler", "samplers", "words on the pair teach about the pair"),
    ("stop", "fields", "the proxy cuts at what it leaves out"),
    ("limit name", "fields", "words on the limit teach its name"),
    ("limit name", "chat fields", "it is read there"),
    ("namespaces", "schemas", "what was inside is fitted too"),
    ("namespaces", "names", "flat names are long"),
    ("tools of Messages", "schemas", "they get a schema of Messages"),
    ("names", "references", "they ask what is offered"),
    ("chat turns", "ids", "carried ids are unpacked before they would be hashed"),
    ("names", "tool list", "what was called is declared there"),
    ("blank", "empty turns", "a turn may become empty"),
    ("thinking", "empty turns", "a turn may become empty"),
    ("empty turns", "pairs", "an empty turn parts a call from its result"),
    ("ids", "pairs", "pairs are found by the new ids"),
    ("pairs", "prefill", "a result may be added behind the last call"),
    ("prefill", "lost thinking", "a refusal teaches it from the turns as they went up"),
    ("result marks", "marks", "a lifted mark is counted"),
    ("marks", "too many marks", "they are counted first"),
    ("pairs", "too many marks", "none is added after"),
    ("prefill", "cache", "the last message is marked"),
]


@pytest.mark.parametrize(
    "dialect, endpoint, name, given, expected",
    [
        ("anthropic", MESSAGES, HAIKU, says(picture("image/png")), True),
        ("anthropic", MESSAGES, HAIKU, says(result_of("a", [picture("image/png")])), True),
        ("anthropic", MESSAGES, HAIKU, says(words('{"type":"image"} "type": "image"')), False),
        ("openai", CHAT, GPT, [chat_picture("image/png")], True),
        ("openai", CHAT, GPT, [{**chat_picture("image/png"), "image": "type"}], True),
        ("openai", CHAT, GPT, [{"role": "user", "content": "image", "image": "type"}], False),
        ("responses", RESPONSES, "gpt-5.3-codex", says(PNG_ITEM), True),
        ("responses", RESPONSES, "gpt-5.3-codex", [{**item_output(), "output": [PNG_ITEM]}], True),
        ("responses", RESPONSES, "gpt-5.3-codex", says(words("input_image")), False),
    ],
)
def test_pictures_have_their_header(dialect, endpoint, name, given, expected):
    entry = TURNS_12.get(name) or CATALOGUE[name]
    body = {"model": name, "max_tokens": 4000, "messages": given}
    if dialect == "responses":
        body = {"model": name, "input": given}
    fit = fit_body(dialect, body, cp.parse_models({"data": [entry]})[0], endpoint)
    assert fit.headers.get("copilot-vision-request") == ("true" if expected else None)


def test_document_of_no_blocks_is_the_upstreams_to_refuse():
    document = {"type": "document", "source": {"type": "content", "content": -1}}
    body = ask_of(messages=says(document))
    assert prepared(body)[0] == body


PAIR_CASES = [  # side, what the client's history is, and what of it goes up
    (
        "anthropic",
        turns("a", [use_of("a")], "hm", ("user", [result_of("a"), words("so")])),
        turns("a", [use_of("a")], [result_of("a"), words("hm")], ("user", [words("so")])),
    ),
    (
        "anthropic",
        turns("a", [use_of("a"), use_of("b")], [result_of("a")], ("system", "s"))
        + says(result_of("b")),
        turns("a", [use_of("a"), use_of("b")], [result_of("a"), result_of("b")], ("system", "s")),
    ),
    (
        "folding",
        turns("a", [use_of("a")], ("system", "s"), ("user", [result_of("a")])),
        turns("a", [use_of("a")], ("user", [result_of("a"), words("s")])),
    ),
    (
        "anthropic",
        turns("a", [use_of("a")], [result_of("a")], "b", [result_of("a", [picture("image/png")])]),
        turns("a", [use_of("a")], [result_of("a")], "b")
        + says(words(ORPHAN_OK[:-3]), picture("image/png")),
    ),
    (
        "openai",
        [*hi_turn(), called_in_chat(), *hi_turn(), answered_in_chat(), *hi_turn()],
        [*hi_turn(), called_in_chat(), answered_in_chat(), *hi_turn(), *hi_turn()],
    ),
    (
        "openai",
        [*hi_turn(), {**answered_in_chat(), "content": [words("ok"), PNG_PART]}],
        [*hi_turn(), orphaned("text", PNG_PART)],
    ),
    (
        "responses",
        [*hi_turn(), item_call(), *hi_turn(), item_output()],
        [*hi_turn(), item_call(), *hi_turn(), item_output()],
    ),
    (
        "responses",
        [*hi_turn(), item_call(), item_output(), item_output()],
        [*hi_turn(), item_call(), item_output(), orphaned("input_text")],
    ),
    ("responses", [{}, *hi_turn()], [{}, *hi_turn()]),  # the upstream has words
    (
        "responses",
        [*hi_turn(), {**item_output(), "output": [PNG_ITEM]}],
        [*hi_turn(), orphaned("input_text", PNG_ITEM, said="")],
    ),
    (
        "responses",
        [*hi_turn(), {**item_output(), "output": {"a": 1}}],
        [*hi_turn(), orphaned("input_text", said='{"a":1}')],
    ),
]
TURNS_12 = {entry["id"]: entry for entry in map(_entry, MORE_ROWS.strip().splitlines())}
PAIR_SIDES = {
    "anthropic": ("anthropic", MESSAGES, HAIKU, "messages", {"tools": [tool_of()]}),
    "folding": ("anthropic", MESSAGES, "claude-sonnet-4.6", "messages", {"tools": [tool_of()]}),
    "openai": ("openai", CHAT, GPT, "messages", {"tools": [chat_tool({})]}),
    "responses": ("responses", RESPONSES, SOL, "input", {"tools": [flat_tool({})]}),
}


@pytest.mark.parametrize("side, history, expected", PAIR_CASES)
def test_pairs_of_calls_and_results(side, history, expected):
    """Late results belong to their calls; nothing of an orphan is lost."""
    dialect, endpoint, name, key, rest = PAIR_SIDES[side]
    entry = TURNS_12.get(name) or CATALOGUE[name]
    body = {"model": name, "max_tokens": 4000, **rest, key: history}
    fit = fit_body(dialect, body, cp.parse_models({"data": [entry]})[0], endpoint)
    sent = [{k: v for k, v in one.items() if k[:7] != "copilot"} for one in fit.body[key]]
    assert sent == expected


def test_rules_stand_in_order():
    places = {rule.name: at for at, rule in enumerate(cp.RULES)}
    for first, second, why in RULE_ORDER:
        assert places[first] < places[second], (first, second, why)


# --- a conversation that grows ------------------------------------------------------------


def growing_messages(at):
    """One exchange of Anthropic's, with something for most rules."""
    call = "functions.t:%d" % at
    reply = [{"type": "text", "text": "t%d" % at}, use_of(call), words(" ")]
    mark = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
    result = result_of(call, [words("r%d" % at), words("")])
    told = [{"type": "document", "source": {"type": "text", "data": "d"}}, result]
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    thought = [NATIVE_OURS, search, words("said %d" % at)]
    last = [words("more"), picture("image/jpg", JPEG)]
    if at == 0:
        last[0]["cache_control"] = mark
    return turns(*[("assistant", reply), ("user", told), ("assistant", thought), ("user", last)])


def growing_chat(at):
    call = "%s%d" % (LONG, at)
    return [
        called_in_chat(call, content="", reasoning_content="x"),
        answered_in_chat(call),
        {"role": "assistant", "content": "said \n", "tool_calls": []},
        answered_in_chat("orphan"),
        chat_picture("image/jpg"),
        called_in_chat("lost%d" % at),
        {"role": "user", "content": "more %d" % at},
    ]


def growing_items(at):
    call = "%s%d" % (LONG, at)
    return [
        {"type": "reasoning", "summary": [], "encrypted_content": cp.pack_reasoning("o", "x")},
        item_call(call, "a.b", id="call_%d" % at, internal_note=1),
        item_output(call),
        item_output("orphan"),
        item_call("lost%d" % at),
        {"role": "user", "content": [{"type": "input_text", "text": "more %d" % at}]},
    ]


GROWING = [  # dialect, endpoint, model, where the turns are, one exchange, the rest
    (
        "anthropic",
        MESSAGES,
        HAIKU,
        "messages",
        growing_messages,
        {"max_tokens": 4000, "tools": [tool_of(), tool_of("a b")]},
    ),
    ("openai", CHAT, GPT, "messages", growing_chat, {"tools": [chat_tool({})]}),
    ("openai", CHAT, GEMINI, "messages", growing_chat, {"tools": [chat_tool({})]}),
    ("responses", RESPONSES, SOL, "input", growing_items, {"tools": [flat_tool({})]}),
]


@pytest.mark.parametrize(
    "dialect, endpoint, name, key, exchange, rest", GROWING, ids=[row[2] for row in GROWING]
)
def test_rules_rewrite_alike_in_every_turn(dialect, endpoint, name, key, exchange, rest):
    """What went up before goes up again, byte for byte: it is cached, and bound to."""
    entry = TURNS_12.get(name) or CATALOGUE[name]
    model = cp.parse_models({"data": [entry]})[0]
    fitter = cp.Fitter()
    history = hi_turn("begin")
    before = b""
    heads = set()
    for at in range(30):
        body = {"model": name, **rest, key: [*history]}
        fit = fit_body(dialect, body, model, endpoint, fitter=fitter)
        items = cp.dumps(fit.body[key])
        heads.add(cp.dumps({**fit.body, key: []}))
        assert items.startswith(before[:-1]), "turn %d" % at
        assert len(items) > len(before)
        refuse_body(endpoint, json.loads(fit.encode()), entry, fit.betas)
        before = items
        history += exchange(at)
    assert len(heads) == 1


@pytest.mark.parametrize("indent", (None, 1))
def test_rules_native_history_goes_up_as_it_came(indent):
    """30 turns of Messages that need nothing: not one byte differs."""
    history = hi_turn("begin")
    for at in range(30):
        call = "toolu_%d" % at
        history += turns(("assistant", [words("t"), use_of(call)]), ("user", [result_of(call)]))
        raw = json.dumps(ask_of(stream=True, tools=[tool_of()], messages=history), indent=indent)
        assert prepared_raw(raw.encode()) == raw.encode()


# --- bodies and where their parts stand ---------------------------------------------------

SPACES = ("", "", "", " ", "\n  ", "\t", "\r\n")
TEXTS = ('""', '"a"', '"\\u00e9\\n"', '"\\ud83d\\ude00"', '"\u00e9\U0001f600"', '"\\"]},{"')
NUMBERS = ("0", "-1", "1.50", "1e2", "12345678901234567890", "-0.0")
ODD_KEYS = ('"messages"', '"mess\\u0061ges"', '"input"', '"tools"', '"system"', '"model"', '"k"')


def odd_value(dice, depth):
    """JSON text of some value."""
    pick = dice.randrange(10)
    if depth == 0 or pick < 4:
        return dice.choice((*TEXTS, *NUMBERS, "true", "false", "null"))
    if pick < 7:
        return odd_list(dice, depth - 1)
    return odd_object(dice, depth - 1)


def spaced(dice, text):
    return dice.choice(SPACES) + text + dice.choice(SPACES)


def odd_list(dice, depth):
    items = [spaced(dice, odd_value(dice, depth)) for _ in range(dice.randrange(4))]
    return "[%s]" % (",".join(items) or dice.choice(SPACES))


def odd_object(dice, depth):
    members = []
    for _ in range(dice.randrange(5)):
        key = spaced(dice, dice.choice(ODD_KEYS))
        members.append("%s:%s" % (key, spaced(dice, odd_value(dice, depth))))
    return "{%s}" % (",".join(members) or dice.choice(SPACES))


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"$schema":"x"}', "{}"),
        ('{"$schema" : "x" , "a":1}', '{"a":1}'),
        ('{"a": 1, "$schema": "x"}', '{"a": 1}'),
        ('{"a":{"$schema":"x","b":[]},"c":2}', '{"a":{"b":[]},"c":2}'),
        ('{"a":1}', ""),
        ('{"$schema":7}', ""),
        (r'{"$schema":"a\"b"}', ""),
        ('{"a":"$schema"}', ""),
        ('{"$schema":7,"a":{"$schema":"x"}}', ""),
        ('{"a":{"$schema":"x"},"$schema":7}', ""),
    ],
)
def test_schema_mark_is_cut_where_it_is_plain_to_see(text, expected):
    assert cp.cut_schemas(text, 1) == expected
    two = "[%s, %s]" % (text, text)
    assert cp.cut_schemas(two, 2) == (expected and "[%s, %s]" % (expected, expected))
    assert cp.cut_schemas(two, 1) == ""


def test_parse_placed_is_json_loads():
    dice = random.Random(12)
    model = cp.Model("k")
    fitted = 0
    for _ in range(3000):
        text = spaced(dice, odd_object(dice, 3))
        raw = text.encode("utf-8")
        client = cp.ClientBody("anthropic", "", *cp.parse_placed(raw))
        expected = json.loads(text)
        assert repr(client.body) == repr(expected), text
        fit = cp.Fit(client, client.body, model, MESSAGES, {})
        if client.places:
            fitted += fit.encode() == raw
        again = dict(client.body, added=[1])
        fit.body["added"] = [1]
        assert json.loads(fit.encode()) == again
    assert fitted > 1500


@pytest.mark.parametrize(
    "raw", (b"[]", b"{", b'{"a":1}x', b'{"a":1,}', b'{"a" 1}', b"\xff", b"{'a':1}")
)
def test_parse_placed_refuses_as_loads_does(raw):
    with pytest.raises(cp.BadRequest) as by_place:
        cp.parse_placed(raw)
    with pytest.raises(cp.BadRequest) as by_loads:
        cp.loads_object(raw)
    assert str(by_place.value) == str(by_loads.value)


# ============================================================================
# 13. Tokens, usage and limits
# ============================================================================
# o200k's counts were made with npm gpt-tokenizer 4.0.0; Claude's are TOKENS 5a's.

PROSE = """The proxy keeps one connection open for each stream. When the client leaves, the upstream
request is cancelled within a second, so nobody pays for words that nobody reads. If the answer was
cut short, the error says whose fault it was and what can be done about it; a made-up ending would
be worse than none."""
CODE = '''class Cart:
    """Items and their total price."""
    def __init__(self, currency="EUR", tax_rate=0.19):
        self.items = []
        self.currency, self.tax_rate = currency, tax_rate

    def add(self, item, quantity=1):
        if quantity < 1:
            raise ValueError(f"quantity must be positive, not {quantity!r}")
        self.items.append((item, quantity))
'''
DATA = "\n".join(
    '{"id": %d, "name": "item-%d", "price": %.2f, "tags": ["new", "red"], "ok": true}'
    % (i, i * 7, i * 3.5)
    for i in range(20)
)
LOGS = "\n".join(
    "2026-11-24T10:%02d:%02dZ INFO worker[%d]: GET /api/v1/items/%d 200 in %d ms"
    % (i, 59 - i, 100 + i, i * 37, i * 13)
    for i in range(20)
)
FRENCH = (
    "Le serveur garde une connexion ouverte pour chaque flux. Quand le client s'en va, la "
    "requête est annulée aussitôt : personne ne paie des mots que personne ne lira. Si la "
    "réponse a été coupée, l'erreur dit pourquoi."
)
RUSSIAN = (
    "Сервер держит одно соединение для каждого потока. Когда клиент уходит, запрос сразу "
    "отменяется, и никто не платит за слова, которых никто не прочтёт."
)
CHINESE = (
    "代理为每个流保持一个连接。客户端离开时,上游请求会在一秒内取消,所以没有人为没人读的文字付费。"
)
ENGLISH = [(PROSE, 68), (CODE, 91), (DATA, 720), (LOGS, 659)]


def test_tokens_near_o200k_and_as_far_from_claude_as_published():
    text = cp.Estimator().text
    for sample, true in ENGLISH:
        assert abs(text(sample, cp.GPT) / true - 1) <= 0.08, sample
    for sample, true in ((FRENCH, 53), (RUSSIAN, 38), (CHINESE, 34)):
        assert abs(text(sample, cp.GPT) / true - 1) <= 0.25, sample
    for family, low, high in ((cp.CLAUDE_4, 1.05, 1.30), (cp.CLAUDE_5, 1.20, 1.70)):
        ratio = sum(text(t, family) / true for t, true in ENGLISH) / len(ENGLISH)
        assert low <= ratio <= high


def odd_texts(count):
    dice = random.Random(13)
    alphabet = "aZé9 \t\n\r'.s/—“ß你ンруα\u0301\ufe0f😀\ud800\x00\u2028हि१ª"
    for _ in range(count):
        yield "".join(dice.choice(alphabet) for _ in range(dice.randrange(40)))
    for _ in range(count):
        yield "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(40)))


def test_tokens_pieces_join_to_the_text_and_cost_something():
    assert re.findall(cp.PIECES, "    if getURLFor(x):\n\n  don't 12345 Привет,语言") == [
        "   ",
        " if",
        " get",
        "URLFor",
        "(x",
        "):\n\n",
        " ",
        " don't",
        " ",
        "123",
        "45",
        " Привет",
        ",语言",
    ]
    text = cp.Estimator().text
    for sample in odd_texts(300):
        pieces = re.findall(cp.PIECES, sample)
        assert "".join(pieces) == sample
        for family in (cp.GPT, cp.CLAUDE_4, cp.CLAUDE_5, cp.GEMINI):
            assert text(sample, family) >= (1 if sample else 0)
            assert all(cp.piece_cost(family.column, piece) > 0 for piece in pieces[:3])


@pytest.mark.parametrize(
    "name, unit",
    [
        ("blanks, then x", " "),
        ("letter", "a"),
        ("capital", "A"),
        ("crlf", "\r\n"),
        ("dash", "-"),
        ("accent", "é"),
        ("camel", "aA"),
        ("marks", " ."),
        ("cjk", "语言"),
        ("emoji", "😀"),
        ("surrogate", "\ud800"),
        ("clitic", "'s"),
        ("base64", None),
        ("unicode", None),
    ],
)
def test_tokens_pathological_text_is_linear(name, unit):
    dice = random.Random(1)
    size = 100_000
    if name == "unicode":
        alphabet = [chr(dice.randrange(0x110000)) for _ in range(9999)]
    else:
        alphabet = "AFZabz01/+"
    if unit:
        sample = unit * (size // len(unit))
    else:
        sample = "".join(dice.choice(alphabet) for _ in range(size))
    began = time.process_time()
    assert cp.Estimator().text(sample + "x" * ("x" in name), cp.CLAUDE_5) > 0
    assert time.process_time() - began < 1  # quadratic: minutes


def test_tokens_memo_is_bounded():
    most = cp.piece_cost.cache_info().maxsize
    for number in range(most + 5000):
        cp.piece_cost(0, "w%d" % number)
    assert cp.piece_cost.cache_info().currsize == most < 100_000
    assert cp.piece_cost(0, "y" * 41) > 1


@pytest.mark.parametrize(
    "model, family",
    [
        ("claude-haiku-4.5", "CLAUDE_4"),
        ("claude-opus-4.6", "CLAUDE_4"),
        ("claude-opus-4-6", "CLAUDE_4"),
        ("claude-sonnet-4-20250514", "CLAUDE_4"),
        ("claude-\u00b3", "CLAUDE_5"),
        ("claude-3-7-sonnet-20250219", "CLAUDE_4"),
        ("claude-opus-4.7", "CLAUDE_5"),
        ("claude-opus-4-8", "CLAUDE_5"),
        ("claude-haiku-5", "CLAUDE_5"),
        ("claude-sonnet-5.5", "CLAUDE_5"),
        ("Claude-Fable-5", "CLAUDE_5"),
        ("claude-mythos", "CLAUDE_5"),
        ("gpt-5.3-codex", "GPT"),
        ("gemini-3.1-pro-preview", "GEMINI"),
        ("grok-4", "GPT"),
        ("", "GPT"),
    ],
)
def test_tokens_family(model, family):
    assert cp.family_of(model) == getattr(cp, family)


TOOL = {
    "name": "read_file",
    "description": "Read one file.",
    "input_schema": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "where"},
            "mode": {"type": "string", "enum": ["text", "bytes"]},
        },
    },
}


def user(*content):
    return {"role": "user", "content": list(content)}


def test_tokens_claude_request_is_its_parts():
    estimator = cp.Estimator()
    words = lambda text: estimator.text(text, cp.CLAUDE_5)
    call = {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "read_file",
        "input": {"path": "/etc/hosts"},
    }
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": CODE}],
    }
    body = {
        "system": [{"type": "text", "text": PROSE, "cache_control": {"type": "ephemeral"}}],
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": [call]},
            user(result),
        ],
    }
    told = estimator.request(body, "claude-opus-5")
    spec = json.dumps(
        {
            "name": TOOL["name"],
            "description": TOOL["description"],
            "parameters": TOOL["input_schema"],
        },
        separators=(",", ":"),
    )
    static = words(PROSE) + 496 + 20 + words(spec)
    call_tokens = 12 + words("read_file") + words('{"path":"/etc/hosts"}')
    messages = 7 + 3 * 4 + words("hello") + call_tokens + 10 + words(CODE)
    assert told == static + messages
    foo = {"messages": [{"role": "user", "content": "foo"}], "tools": [TOOL]}
    assert 0 < estimator.request(foo, "claude-haiku-4.5") - 500 < 120  # /context shows this


def test_tokens_gpt_tools_are_declared_not_json():
    estimator = cp.Estimator()
    shown = {"name": TOOL["name"], "description": TOOL["description"]}
    schema = {"parameters": TOOL["input_schema"]}
    as_json = estimator.text(cp.dumps_text({**shown, **schema}), cp.GPT)
    expected = 3 + 24 + round(0.65 * as_json)
    chat = {"type": "function", "function": {**shown, **schema}}
    for tool in (TOOL, chat, {"type": "function", **shown, **schema}):
        assert estimator.request({"tools": [tool]}, "gpt-5") == expected
    assert estimator.request({"tools": [{"type": "web_search"}]}, "gpt-5") < 45


def test_tokens_three_dialects_agree():
    request = cp.Estimator().request
    shapes = [
        {"system": PROSE, "messages": [user({"type": "text", "text": CODE})]},
        {"messages": [{"role": "system", "content": PROSE}, {"role": "user", "content": CODE}]},
        {"instructions": PROSE, "input": [user({"type": "input_text", "text": CODE})]},
        {"instructions": PROSE, "input": CODE},
    ]
    tokens = [request(body, "gpt-5-mini") for body in shapes]
    assert [t - tokens[0] for t in tokens] == [0, 3, 0, 0]  # a system message is one
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": CODE}}
        ],
    }
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": CODE}
    assert request({"messages": [called]}, "gpt-5") == request({"input": [item]}, "gpt-5")


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\xa5" * (1 << 20)).decode()


@pytest.mark.parametrize(
    "part, expected",
    [
        ({"type": "image", "source": {"type": "base64", "data": PNG}}, 1600),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}}, 1600),
        ({"type": "input_image", "image_url": "data:image/png;base64," + PNG}, 1600),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/c.png"}}, 1600),
        ({"type": "image", "source": {"type": "base64", "data": "\xe9$%"}}, 1600),
        ({"type": "image"}, 1600),
        ({"type": "document", "source": {"type": "base64", "data": "J" * 200_000}}, 7500),
        ({"type": "input_file", "file_data": "data:application/pdf;base64," + "J" * 99}, 2500),
    ],
)
def test_tokens_media_by_number_not_as_text(part, expected):
    for model in ("claude-opus-5", "gpt-5"):
        bare = cp.Estimator().request({"messages": [user()]}, model)
        inside = user({"type": "tool_result", "content": [part]})
        for message, more in ((user(part), 0), (inside, 10)):
            told = cp.Estimator().request({"messages": [message]}, model)
            assert told - bare == expected + more


def test_tokens_thinking_and_odd_shapes():
    bare = cp.Estimator().request({"messages": [user()]}, "claude-opus-5")
    for part in (
        {"type": "thinking", "thinking": "hm", "signature": "x" * 999},
        {"type": "redacted_thinking", "data": "x" * 999},
        {"type": "reasoning", "encrypted_content": "x" * 999},
        None,
        7,
        {"type": []},
        [],
    ):
        assert cp.Estimator().request({"messages": [user(part)]}, "claude-opus-5") == bare
    plain = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": PROSE},
    }
    told = cp.Estimator().request({"messages": [user(plain)]}, "claude-opus-5")
    assert told == bare + cp.Estimator().text(PROSE, cp.CLAUDE_5)
    for body in (
        {},
        {"messages": 5, "tools": {}, "system": 7},
        {"tools": [3, {"function": 1}]},
        {"tools": [{"name": 5, "input_schema": {"properties": [], "enum": 1}}]},
        {"prompt": [["a"]]},
    ):
        for model in ("claude-opus-5", "gpt-5"):
            assert cp.Estimator().request(body, model) >= 1
    deep = []
    for _ in range(300):
        deep = [{"type": "tool_result", "content": deep}]
    assert cp.Estimator().request({"messages": [user(*deep)]}, "gpt-5") > 3000


def test_tokens_growing_conversation_is_counted_once():
    class Counted(cp.Estimator):
        seen = 0

        def text(self, text, family):
            Counted.seen += len(text)
            return super().text(text, family)

    estimator = Counted()
    turns = []
    sums = []
    for number in range(30):
        turns.append({"role": "user", "content": PROSE + str(number)})
        sums.append(estimator.request({"messages": turns, "tools": [TOOL]}, "claude-opus-5"))
    assert sums == sorted(set(sums)) and Counted.seen < 31 * (len(PROSE) + 200)
    assert sums[-1] == cp.Estimator().request({"messages": turns, "tools": [TOOL]}, "claude-opus-5")
    estimator.MOST_UNITS = 10
    estimator.request({"messages": turns}, "gpt-5")
    assert len(estimator._units) <= 10


# -- calibration --------------------------------------------------------------


def words_body(count):
    return {"messages": [user({"type": "text", "text": "word " * count})]}


@pytest.mark.parametrize("words, off", [(20_500, 1.512), (20_500, 0.585), (300, 1.167)])
def test_calibration_one_answer_is_enough(words, off):
    calibration = cp.Estimator()
    body = words_body(words)
    estimated = calibration.request(body, "m")
    assert calibration.predict("m", body) == estimated
    calibration.learn("m", body, round(estimated * off))
    assert abs(calibration.predict("m", body) / estimated / off - 1) <= 0.01
    assert calibration.predict("other", body) == estimated


def test_calibration_guards():
    calibration = cp.Estimator()
    body = words_body(2000)
    estimated = calibration.request(body, "m")
    pictures = words_body(2000)
    pictures["messages"].append(user({"type": "tool_result", "content": [{"type": "image"}]}))
    for skipped, real in ((body, 0), (body, -5), (words_body(150), 999), (pictures, 9000)):
        calibration.learn("m", skipped, real)
        assert calibration.predict("m", body) == estimated
    for off, worst in ((10, 3), (10**9, 3), (0.0005, 0.4)):
        corrupt = cp.Estimator()
        corrupt.learn("m", body, max(1, round(off * estimated)))
        assert corrupt.predict("m", body) == round(worst * estimated)
        for _ in range(8):
            corrupt.learn("m", body, round(1.2 * estimated))
        assert abs(corrupt.predict("m", body) / estimated / 1.2 - 1) <= 0.02
    calibration.learn("m", {}, 0)
    assert calibration.predict("m", {}) >= 1
    for number in range(300):
        calibration.learn("m%d" % number, body, round(1.2 * estimated))
    assert len(calibration._ratios) <= cp.MAX_MODELS


# -- ledger, windows, limits ---------------------------------------------------

SUMMED = (
    "requestCount",
    "tokenCount",
    "inputTokens",
    "outputTokens",
    "cacheReadTokens",
    "cacheWriteTokens",
)


def request_served(session="s", model="m", usage=cp.TokenUsage(), at=0.0, **more):
    return cp.Served(0, at, session, model=model, status=200, usage=usage)._replace(**more)


def test_ledger_shapes():
    ledger = cp.UsageLedger()
    at = 1764000000.0
    empty = ledger.summary()
    assert (empty["totalRequests"], empty["averageTokensPerRequest"], empty["models"]) == (0, 0, {})
    usage = cp.TokenUsage(100, 20, 300, 0, 1_500_000_000)
    ledger.record(request_served("s1", "gpt-5", usage, at))
    ledger.record(request_served("s1", "gpt-5", cp.TokenUsage(7, 1), at + 60.4))
    ledger.record(request_served("s1", "claude-opus-5", at=at + 90.4))
    (session,) = ledger.details()
    models = session.pop("models")
    assert session == {
        "sessionId": "s1",
        "startTime": "2025-11-24T16:00:00Z",
        "lastRequestTime": "2025-11-24T16:01:30Z",
        "requestCount": 3,
        "tokenCount": 428,
        "duration": 90,
        "inputTokens": 107,
        "outputTokens": 21,
        "cacheReadTokens": 300,
        "cacheWriteTokens": 0,
        "cacheHitRatio": 0.7371,
        "credits": 1.5,
    }
    assert [(m, f["requestCount"], f["credits"]) for m, f in models.items()] == [
        ("gpt-5", 2, 1.5),
        ("claude-opus-5", 1, 0),
    ]
    summary = ledger.summary()
    assert (summary["totalRequests"], summary["totalTokens"], summary["activeSessions"]) == (
        3,
        428,
        1,
    )
    assert (summary["credits"], summary["averageTokensPerRequest"]) == (1.5, 142.67)


KINDS = ("input", "cache_read", "cache_write", "output", "credits")


def test_ledger_sums_of_sessions_are_the_totals():
    dice = random.Random(3)
    ledger = cp.UsageLedger()
    real = {}
    for step in range(600):
        session = "s%d" % dice.randrange(20)
        usage = cp.TokenUsage(*(dice.randrange(999) for _ in range(6)))
        status = dice.choice([200, 200, 429, 499, 502])
        model = "m%d" % dice.randrange(4)
        ledger.record(request_served(session, model, usage, float(step), status=status))
        real.setdefault(session, []).append((usage, status))
        if dice.random() < 0.05:
            gone = dice.choice(sorted(real))
            before = {d["sessionId"]: d for d in ledger.details()}
            ledger.reset(gone)
            del real[gone], before[gone]
            assert {d["sessionId"]: d for d in ledger.details()} == before
    summary = ledger.summary()
    details = ledger.details()
    uses = [pair for pairs in real.values() for pair in pairs]
    assert summary["totalRequests"] == len(uses)
    assert summary["totalTokens"] == sum(u.prompt + u.output for u, _ in uses)
    for key in SUMMED:
        assert summary[key] == sum(d[key] for d in details)
        assert summary[key] == sum(m[key] for m in summary["models"].values())
        assert all(d[key] == sum(m[key] for m in d["models"].values()) for d in details)
    totals, rows = ledger.totals(), ledger.sessions()  # of the page
    for key in ("requests", "failed", *KINDS):
        assert abs(totals[key] - sum(row[key] for row in rows)) < 1e-6
    assert totals["failed"] == sum(status in (429, 502) for _, status in uses)
    assert totals["requests"] == len(uses) and len(rows) == len(real)


def test_ledger_is_bounded_but_the_totals_keep():
    ledger = cp.UsageLedger()
    for number in range(1500):
        usage = cp.TokenUsage(1, 1)
        ledger.record(request_served("s%d" % number, "m%d" % number, usage, float(number)))
        usage = cp.TokenUsage(1)
        ledger.record(request_served("kept", "m%d" % (number % 150), usage, float(number)))
    summary = ledger.summary()
    assert (summary["totalRequests"], summary["totalTokens"]) == (3000, 4500)
    assert summary["activeSessions"] == 1000 and ledger.totals()["requests"] == 3000
    assert len(summary["models"]) <= cp.MAX_MODELS + 1
    kept = {d["sessionId"]: d for d in ledger.details()}
    assert len(kept) == 1000 and kept["kept"]["requestCount"] == 1500 and "s500" not in kept
    assert len(ledger._minutes) <= 60 and len(ledger.requests([])) == 100
    ledger.reset_all()
    assert ledger.summary()["totalTokens"] == 0 and ledger.details() == ledger.sessions() == []


# What GET /usage/page says of a request; unknown values are null, never left out.
PAGE_REQUEST = ["n", "at", "session", "who", "model", "asked", "status", "label", "level"]
PAGE_REQUEST += ["input", "output", "cache_read", "cache_write", "credits", "seconds"]
PAGE_REQUEST += ["whose", "reason"]


def test_ledger_page_requests_and_sessions():
    ledger = cp.UsageLedger()
    usage = cp.TokenUsage(1, 2, 3, 4, 5 * 10**8)
    ledger.record(
        request_served(
            "s", usage=usage, at=50.0, number=7, seconds=2.5, who="user", client="claude-cli"
        )
    )
    for number, status in enumerate((499, 402, 429, 404, 502), 8):
        ledger.record(request_served(number=number, status=status, whose="client", reason="why"))
    running = cp.Served(99, 60.0, "s", model="m")
    rows = ledger.requests([running])
    assert [(row["n"], row["label"], row["level"]) for row in rows] == [
        (99, "running", "run"),
        (12, "502", "bad"),
        (11, "404", "bad"),
        (10, "429", "warn"),
        (9, "402", "warn"),
        (8, "left", "off"),
        (7, "200", "good"),
    ]
    unknown = ("seconds", "credits", "whose", "reason", "asked")
    assert {key for key, value in rows[0].items() if value is None} == set(unknown)
    assert list(rows[0]) == PAGE_REQUEST
    assert rows[1]["whose"] == "client" and rows[1]["reason"] == "why"
    assert [rows[-1][kind] for kind in KINDS] == [1, 3, 4, 2, 0.5]
    assert (rows[-1]["who"], rows[-1]["seconds"], rows[-1]["at"]) == ("user", 2.5, 50.0)
    (session,) = ledger.sessions()
    assert session == {
        "id": "s",
        "client": "claude-cli",
        "first": 50.0,
        "last": 52.5,
        "requests": 6,
        "failed": 4,
        "input": 1,
        "cache_read": 3,
        "cache_write": 4,
        "output": 2,
        "credits": 0.5,
    }


def test_ledger_page_minutes():
    ledger = cp.UsageLedger()
    now = 1795877000.0
    first = int(now) // 60 * 60 - 59 * 60
    for minute in range(-3, 60):
        usage = cp.TokenUsage(1, 1, 1, 1, 10**9)
        ledger.record(request_served(model="a", usage=usage, at=first + 60.0 * minute + 1))
    ledger.record(request_served(model="b", usage=cp.TokenUsage(5), at=now - 61.0, seconds=60.0))
    chart = ledger.minutes(now)
    assert chart["from"] == first and [m["model"] for m in chart["models"]] == ["a", "b"]
    assert chart["models"][0]["credits"] == [1.0] * 60
    assert chart["models"][0]["tokens"] == [4] * 60
    assert chart["models"][1]["tokens"] == [0] * 59 + [5]  # at its end
    later = ledger.minutes(now + 120)["models"][0]["credits"]
    assert later == [1.0] * 58 + [0.0] * 2
    for name in "cdefgh":
        ledger.record(request_served(model=name, usage=cp.TokenUsage(1), at=now))
    names = [m["model"] for m in ledger.minutes(now)["models"]]
    assert names == ["a", "b", "c", "d", "e", "3 others"]
    assert ledger.minutes(now)["models"][-1]["tokens"][-1] == 3
    assert cp.UsageLedger().minutes(now) == {"from": first, "models": []}


@pytest.mark.parametrize(
    "asked, outcome",
    [
        ("abcd-1", "abcd-1"),
        ("abcd-12", "abcd-12"),
        ("x", "xyz"),
        ("only-limited", "only-limited"),
        ("abcd", cp.BadRequest),
        ("nobody", cp.NotFound),
        ("", cp.NotFound),
        ("abcd-123", cp.NotFound),
    ],
)
def test_ledger_finds_a_session_by_id_or_prefix(asked, outcome):
    ledger = cp.UsageLedger()
    for name in ("abcd-1", "abcd-12", "xyz"):
        ledger.record(request_served(name))
    others = ["only-limited", "xyz"]
    if isinstance(outcome, str):
        assert ledger.find(asked, others) == outcome
        return
    with pytest.raises(outcome) as caught:
        ledger.find(asked, others)
    if outcome is cp.NotFound:
        assert (str(caught.value), caught.value.code) == (
            "Session ID not found",
            "session_not_found",
        )


def test_usage_log_lines_fold_to_days():
    usage = cp.TokenUsage(1, 2, 3, 4, 25 * 10**7)
    lines = [
        cp.usage_line(request_served(model=model, usage=usage), "2026-11-%sT10:00:00+0100" % day)
        for day, model in (("27", "a"), ("28", "b"), ("28", "a"), ("28", "a"), ("20", "a"))
    ]
    assert json.loads(lines[0]) == {
        "time": "2026-11-27T10:00:00+0100",
        "session": "s",
        "who": "",
        "model": "a",
        "status": 200,
        "input": 1,
        "cache_read": 3,
        "cache_write": 4,
        "output": 2,
        "credits": 0.25,
    }
    odd = [b"", b"{", b"[]", b"{}", b'{"time":7,"credits":1}', lines[0][:30], b"\xff\n"]
    huge = b'{"time":"2026-11-28","credits":1.0,"input":%d}' % 10**400
    assert cp.fold_usage(odd + lines + [huge], "2026-11-27") == [
        ("2026-11-27", "a", 1, 10, 0.25),
        ("2026-11-28", "", 1, 0, 1),
        ("2026-11-28", "a", 2, 20, 0.5),
        ("2026-11-28", "b", 1, 10, 0.25),
    ]


def test_window_never_over_its_limit_and_retry_after_is_exact():
    for seed in range(40):
        dice = random.Random(seed)
        limit = random.Random(seed).randrange(1, 8)
        window = collections.deque()
        now = 1000 * dice.random()
        passed = []
        for _ in range(80):
            wait = cp.seconds_until_free(window, limit, now)
            if wait:
                early = [t for t in passed if t + 60 > now + wait - 1]
                then = [t for t in passed if t + 60 > now + wait]
                assert len(early) >= limit > len(then)
            else:
                window.append([now, 1])
                passed.append(now)
                assert len([t for t in passed if t + 60 > now]) <= limit
            now += dice.choice([0, dice.random(), 5 * dice.random(), wait])


def test_window_entries_can_be_corrected():
    first, second = [0.0, 90], [1.0, 10]
    window = collections.deque([first, second])
    wait = functools.partial(cp.seconds_until_free, window, 100)
    assert wait(2.0) == 58
    first[1] = 0
    window.append([30.0, 40])
    assert wait(30.0) == 0  # 10 and 40
    window.append([31.0, 50])
    assert wait(31.0) == 30  # the second one's end
    assert wait(61.5) == 0
    second[1] = 0
    window.append([70.0, 60])  # long gone: charged when it is known
    assert wait(70.0) == 21


LIMITED = [  # limits, requests at second 0, dialect, second, the outcome
    ({"rate_limit_chat_completions": 2}, 2, "openai", 0.5, 60),
    ({"rate_limit_chat_completions": 2}, 2, "openai", 60, None),
    ({"rate_limit_chat_completions": 20}, 20, "openai", 59.5, 1),
    ({"rate_limit_chat_completions": 2}, 9, "anthropic", 0.5, None),
    ({"rate_limit_default": 60}, 60, "anthropic", 59.5, 1),
    ({"rate_limit_default": 2}, 2, "responses", 1, 59),
    ({}, 99, "anthropic", 0, None),
    ({}, 99, "openai", 0, None),
    ({"max_tokens_per_minute": 330}, 3, "anthropic", 10, 50),
    ({"max_tokens_per_minute": 331}, 3, "openai", 1, None),
    ({"credit_budget": 1.5}, 3, "openai", 999, cp.BudgetExceeded),
    ({"credit_budget": 1.6}, 3, "openai", 1, None),
]


@pytest.mark.parametrize("limits, used, dialect, now, outcome", LIMITED)
def test_limits(limits, used, dialect, now, outcome):
    guard = cp.Limits(cp.Config(**limits))
    wanted = cp.Wanted("s", dialect, host="127.0.0.1:8082")
    for _ in range(used):
        hold = guard.admit(wanted, 0.0)
        guard.settle(hold, 0.0, cp.TokenUsage(80, 10, 5000, 20, 500_000_000))
    guard.admit(wanted._replace(session="another"), now)
    if outcome is None:
        guard.admit(wanted, now)
        return
    for _ in range(3):  # a refusal is not charged: asking again does not move the time
        with pytest.raises(cp.RateLimited if isinstance(outcome, int) else outcome) as caught:
            guard.admit(wanted, now)
    if outcome is cp.BudgetExceeded:
        text = str(caught.value)
        assert "CREDIT_BUDGET" in text
        assert text.endswith("curl -X POST http://127.0.0.1:8082/usage/reset/s")
    else:
        assert caught.value.retry_after == str(outcome)
        guard.admit(wanted, now + outcome)
    del guard.allowances["s"]
    guard.admit(wanted, now)


def test_limits_charge_the_estimate_until_the_cost_is_known():
    guard = cp.Limits(cp.Config(credit_budget=2.0, max_tokens_per_minute=10_000, api_key="k" * 16))
    wanted = cp.Wanted("s", "openai", tokens=100, nano_aiu=10**9)
    holds = []
    for _ in range(50):
        with contextlib.suppress(cp.BudgetExceeded):
            holds.append(guard.admit(wanted, 0.0))
    assert len(holds) == 2  # exact to one estimate
    guard.settle(holds[0], 1.0, cp.TokenUsage())  # refused upstream: it cost nothing
    holds.append(guard.admit(wanted, 1.0))
    with pytest.raises(cp.BudgetExceeded, match="x-api-key: <your API_KEY>"):
        guard.admit(wanted, 1.0)
    guard.settle(holds[1], 2.0, cp.TokenUsage(10, 10, nano_aiu=5 * 10**8))
    holds.append(guard.admit(wanted, 2.0))  # the other is still charged its estimate
    with pytest.raises(cp.BudgetExceeded):
        guard.admit(wanted, 2.0)
    tokens = cp.Limits(cp.Config(max_tokens_per_minute=250))
    held = [tokens.admit(wanted, 0.0) for _ in range(3)]
    with pytest.raises(cp.RateLimited):
        tokens.admit(wanted, 0.0)
    tokens.settle(held[0], 0.0, cp.TokenUsage(1, 1, 10**6))
    tokens.admit(wanted, 0.0)


def test_limits_hold_for_many_sessions():
    guard = cp.Limits(cp.Config(credit_budget=1.0, rate_limit_default=2))
    wanted = cp.Wanted("s", "anthropic", nano_aiu=10**9)
    guard.admit(wanted, 0.0)
    for number in range(5000):  # of one client that names a new session each time
        guard.admit(wanted._replace(session="s%d" % number, nano_aiu=0), 0.0)
    with pytest.raises(cp.BudgetExceeded):
        guard.admit(wanted, 0.0)
    for number in range(cp.MAX_ALLOWANCES):
        guard.admit(wanted._replace(session="t%d" % number), 0.0)
    assert len(guard.allowances) == cp.MAX_ALLOWANCES


def test_limits_prompt_size():
    guard = cp.Limits(cp.Config(max_tokens_per_request=1000, rate_limit_default=1))
    with pytest.raises(cp.ContextOverflow, match="1001 tokens > 1000 maximum"):
        guard.admit(cp.Wanted("s", "anthropic", 1001), 0.0)
    guard.admit(cp.Wanted("s", "anthropic", 1000), 0.0)


UUID = "0b5a1f2c-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    "headers, user_id, session",
    [
        ({"x-claude-code-session-id": UUID, "authorization": "Bearer k"}, None, UUID),
        ({"session-id": "codex.1:a"}, None, "codex.1:a"),
        ({"x-session-id": "ses_9"}, None, "ses_9"),
        (
            {"x-api-key": "k"},
            json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": UUID}),
            UUID,
        ),
        ({}, "user_abc_account__session_" + UUID, UUID),
        ({}, "session_" + "a" * 30_000_000, "a" * 128),
        ({}, "x" * 30_000_000 + "session_abcdefgh", "127.0.0.1"),
        ({}, "someone", "127.0.0.1"),
        ({}, 5, "127.0.0.1"),
        ({"x-api-key": "sk-secret"}, None, "key-"),
        ({"authorization": "Bearer sk-secret"}, "x", "key-"),
        ({"x-session-id": "a/b\r\nc"}, None, "id-"),
        ({"x-session-id": "x" * 129}, None, "id-"),
        ({}, None, "127.0.0.1"),
    ],
    ids=short,
)
def test_session_of(headers, user_id, session):
    if user_id is None:
        body = {}
    else:
        body = {"metadata": {"user_id": user_id}}
    found = cp.session_of(headers, body, "127.0.0.1")
    assert found == session or session in ("key-", "id-") and found.startswith(session)
    assert re.fullmatch(r"[\w.:-]{1,128}", found) and "secret" not in found
    assert found == cp.session_of(headers, body, "127.0.0.1")
    ledger = cp.UsageLedger()
    ledger.record(request_served(found))
    assert ledger.find(ledger.details()[0]["sessionId"]) == found


# ============================================================================
# 14. HTTP client
# ============================================================================
# Against raw servers: each answers its requests with a script of bytes, pauses (a
# float), and the words below.

STAY = "wait for the client to go"
RST = "reset"
FIN = "close"
YES = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"2\r\nok\r\n"  # a chunk


class RawServer:
    """Serves `answers` in order, the last one for ever, over any number of connections."""

    def __init__(self, *answers, tls=None, host="127.0.0.1"):
        self.answers = list(answers)
        self.tls = tls
        self.host = host
        self.connections = self.answered = 0
        self.heads = []
        self.bodies = []
        self.tasks = []

    async def __aenter__(self):
        self.gone = asyncio.Event()
        self.server = await asyncio.start_server(self.talk, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = "%s:%d/x?y=1" % (
            "https://localhost" if self.tls else "http://127.0.0.1",
            self.port,
        )
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def talk(self, reader, writer):
        self.tasks.append(asyncio.current_task())  # gh-90467
        self.connections += 1
        try:
            while await self.exchange(reader, writer):
                self.answered += 1
            self.answered += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def exchange(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        self.bodies.append(await reader.readexactly(int(length[1])) if length else b"")
        self.heads.append(head)
        for step in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            if step is RST:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                writer.transport.abort()
            if step in (RST, FIN):
                return False
            if step is STAY:
                await reader.read()
                raise ConnectionError
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                writer.write(step)
                await writer.drain()
        return True

    async def until(self, count, number=1):
        """Until `count` ("answered", ...) is reached and the client could hear of it."""
        while getattr(self, count) < number:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


def in_a_loop(test):
    """Make a test of an `async def`."""

    def sync(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 30))

    sync.__name__, sync.__wrapped__ = test.__name__, test  # pytest asks for the parameters
    return sync


@contextlib.asynccontextmanager
async def client(tls=None, *rest, **options):
    make_context = tls if callable(tls) else lambda: tls
    pool = cp.ConnectionPool(make_context, *rest, **options)
    try:
        yield pool
    finally:
        await pool.close()


async def fetch(pool, url, limit=1 << 20, method="GET", body=b"", pour=False, **timeouts):
    waits = cp.Timeouts(**timeouts)
    response = await pool.request(method, url, [("x-test", "1")], body, waits)
    if not pour:
        return response.status, await response.read_all(limit)
    pieces = []

    def take(data):  # every other piece stops it
        assert data
        pieces.append(data)
        return len(pieces) % 2 == 0

    while await response.pour(take):
        await asyncio.sleep(0.01)  # what comes now, an end too, is not missed
    conn = response._connection
    assert conn._pouring is None and (conn._due == 0.0 or conn in conn._kept)
    return response.status, b"".join(pieces)


GOOD_ANSWERS = [  # name, answer, body, whether the connection is used again
    ("length", YES, b"ok", True),
    ("chunked", [CHUNKED + OK + b"0\r\n\r\n"], b"ok", True),
    ("extension and trailer", [CHUNKED + b"2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n"], b"ok", True),
    ("byte by byte", [bytes([b]) for b in CHUNKED + OK + OK + b"0\r\n\r\n"], b"okok", True),
    (
        "interim answers",
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\n" + YES[0]],
        b"ok",
        True,
    ),
    ("no content", [b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
    ("until the end", [b"HTTP/1.1 200 OK\r\n\r\n", b"o", b"k", FIN], b"ok", False),
    ("said close", [YES[0].replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")], b"ok", False),
    ("old", [YES[0].replace(b"1.1", b"1.0")], b"ok", False),
    ("more than the body", [YES[0] + b"!"], b"ok", False),
    ("unasked bytes later", [YES[0], 0.005, b"HTTP/1.1 408 Late\r\n\r\n"], b"ok", False),
]


@pytest.mark.parametrize("pour", [False, True])
@pytest.mark.parametrize("name, answer, body, kept", GOOD_ANSWERS)
@in_a_loop
async def test_client_reads_answer(name, answer, body, kept, pour):
    async with RawServer(answer, YES) as server, client() as pool:
        assert (await fetch(pool, server.url, pour=pour))[1] == body
        await server.until("answered")
        assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == (1 if kept else 2)


BAD_ANSWERS = [  # name, answer, exact class, words of the message
    ("cut length", [YES[0][:-1], FIN], "UpstreamError", "cut or garbled"),
    ("cut chunk", [CHUNKED + b"5\r\nab", FIN], "UpstreamError", "cut or garbled"),
    ("no last chunk", [CHUNKED + OK, FIN], "UpstreamError", "cut or garbled"),
    ("bad chunk size", [CHUNKED + b"0x2\r\nok\r\n"], "UpstreamError", "cut or garbled"),
    ("not http", [b"SSH-2.0-x\r\n\r\n"], "UpstreamError", "not proper HTTP"),
    ("two framings", [CHUNKED[:-2] + b"Content-Length: 2\r\n\r\nok"], "UpstreamError", "HTTP"),
    ("gzip", [CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n"], "UpstreamError", "gzip"),
    ("many fields", [CHUNKED[:-2] + b"a: b\r\n" * 200 + b"\r\n"], "UpstreamError", "HTTP"),
    ("large head", [CHUNKED[:-2] + b"a: " + b"b" * 70000], "UpstreamError", "HTTP"),
    ("large body", [CHUNKED + b"400\r\n%b\r\n" % (b"x" * 1024), STAY], "UpstreamError", "over 99"),
    ("nothing", [FIN], "ConnectFailed", "without an answer"),
    ("nothing and reset", [RST], "ConnectFailed", "broke"),
    ("half a head", [CHUNKED[:20], 0.005, FIN], "UpstreamError", "without an answer"),
    ("reset in a body", [YES[0][:-1], 0.005, RST], "UpstreamError", "broke"),
    ("reset is no end", [b"HTTP/1.1 200 OK\r\n\r\nok", 0.005, RST], "UpstreamError", "broke"),
    ("silent", [STAY], "UpstreamTimeout", "sent nothing"),
    (
        "slow head",
        [part for _ in range(16) for part in (b"HTTP/1.1 100 C\r\n\r\n", 0.02)],
        "UpstreamTimeout",
        "sent nothing",
    ),
    ("silent body", [CHUNKED, OK, STAY], "UpstreamTimeout", "sent nothing"),
]


@pytest.mark.parametrize(
    "name, answer, kind, words, pour",
    [
        (*row, pour)
        for row in BAD_ANSWERS
        for pour in (False, True)
        if not (pour and row[0] == "large body")
    ],
)  # its taker has to count
@in_a_loop
async def test_client_reports_failure(name, answer, kind, words, pour):
    quick = kind == "UpstreamTimeout" or answer[-1] is STAY
    async with RawServer(answer) as server, client() as pool:
        with pytest.raises(cp.UpstreamError) as caught:
            await fetch(
                pool,
                server.url,
                99,
                head=0.1 if quick else 9.0,
                idle=0.03 if quick else 9.0,
                pour=pour,
            )
        assert type(caught.value).__name__ == kind and caught.value.status in (502, 504)
        assert words in str(caught.value) and "127.0.0.1" in str(caught.value)
        assert len(server.heads) == 1  # never sent again by itself
        if answer[-1] is STAY:
            await asyncio.wait_for(server.gone.wait(), 1)


@in_a_loop
async def test_client_sends_what_it_should():
    async with RawServer(YES) as server, client() as pool:
        body = os.urandom(1 << 20)
        assert await fetch(pool, server.url, method="POST", body=body) == (200, b"ok")
        assert server.bodies == [body]
        assert server.heads[0].decode().split("\r\n") == [
            "POST /x?y=1 HTTP/1.1",
            "Host: 127.0.0.1:%d" % server.port,
            "Accept-Encoding: identity",
            "x-test: 1",
            "Content-Length: 1048576",
            "",
            "",
        ]
        await fetch(pool, server.url, method="HEAD")
        assert b"Content-Length" not in server.heads[1]
        with pytest.raises(cp.ProxyError):
            await pool.request("GET", server.url, [("a", "b\r\nc: d")])
        for url in ("ftp://x/", "http:///x", "http://x:y/", "nonsense"):
            with pytest.raises(cp.UpstreamError, match="not a usable"):
                await pool.request("GET", url, [])


@in_a_loop
async def test_client_counts_of_connections(monkeypatch):
    async with RawServer(YES) as server, client() as pool:
        for _ in range(20):
            await fetch(pool, server.url)
        assert server.connections == 1
        for _ in range(2):
            await asyncio.gather(*[fetch(pool, server.url) for _ in range(5)])
        assert server.connections == 5 and cp.MAX_IDLE >= 75 and not server.gone.is_set()
    assert cp.SPARE_IDLE <= 10
    monkeypatch.setattr(cp, "SPARE_IDLE", 0.1)
    monkeypatch.setattr(cp, "MAX_KEPT", 4)  # after a burst the rest are given back
    async with RawServer(YES) as server, client() as pool:
        await asyncio.gather(*[fetch(pool, server.url) for _ in range(5)])
        await asyncio.sleep(0.05)
        assert not server.gone.is_set()
        await asyncio.wait_for(server.gone.wait(), 1)
        await asyncio.gather(*[fetch(pool, server.url) for _ in range(4)])
        assert server.connections == 5
    async with RawServer(YES) as server, client() as pool:
        monkeypatch.setattr(cp, "MAX_IDLE", 0.0)
        await fetch(pool, server.url)
        await asyncio.wait_for(server.gone.wait(), 1)
    async with RawServer([CHUNKED, 0.01, OK + b"0\r\n\r\n"]) as server, client() as pool:
        assert await fetch(pool, server.url, pour=True) == (200, b"ok")
        await asyncio.wait_for(server.gone.wait(), 1)


@in_a_loop
async def test_client_pours_any_cut():
    dice = random.Random(5)
    sent = os.urandom(50_000)
    wire = bytearray(CHUNKED)
    at = 0
    while at < len(sent):
        piece = sent[at : at + dice.choice((1, 9, 300, 5000))]
        wire += cp.encode_chunk(piece)
        at += len(piece)
    wire += b"0\r\n\r\n"
    ends = sorted(dice.sample(range(len(wire)), 40)) + [len(wire)]
    steps = [
        step
        for start, end in zip([0, *ends], ends)
        for step in (bytes(wire[start:end]), dice.choice((0.0, 0.002)))
    ]
    async with RawServer(steps) as server, client() as pool:
        for pour in (True, False):
            assert await fetch(pool, server.url, pour=pour) == (200, sent)
        assert server.connections == 1


@in_a_loop
async def test_client_pour_gives_up():
    def fail(data):
        raise KeyError(data)

    async with RawServer([CHUNKED, OK, STAY]) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        with pytest.raises(KeyError, match="ok"):  # the taker's own words
            await response.pour(fail)
        response.close()
        await asyncio.wait_for(server.gone.wait(), 1)
    async with RawServer([CHUNKED, OK, STAY]) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        pieces = []
        waits = asyncio.ensure_future(response.pour(lambda data: not pieces.append(data)))
        while not pieces:
            await asyncio.sleep(0.001)
        waits.cancel()
        for said in (b"2\r\n!", b"!\r\n", b"x"):  # in that very turn, and then garbage
            response._connection.data_received(said)
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert pieces == [b"ok", b"!", b"!"]
        response.close()
        await asyncio.wait_for(server.gone.wait(), 1)
    many = [CHUNKED] + [cp.encode_chunk(bytes(1 << 16))] * 320 + [b"0\r\n\r\n"]
    async with RawServer(many) as server, client() as pool:  # 20 MB, a slow taker
        response = await pool.request("GET", server.url, [])
        size = []
        while await response.pour(lambda data: size.append(len(data))):
            if len(size) == 1:
                await asyncio.sleep(0.2)
                assert response._connection.unread <= 2 * cp.READ_AHEAD
        assert sum(size) == 320 << 16


STALE = [  # the answers after a good first one; requests, connections and the outcome
    ("closed while idle", [YES + [FIN], YES], 2, 2, None),
    ("dies once", [YES, [RST], YES], 3, 2, None),
    ("dies twice", [YES, [FIN], [FIN]], 3, 2, "ConnectFailed"),
    ("half a head", [YES, [b"HTTP/1.1 2", 0.005, FIN], YES], 2, 1, "UpstreamError"),
    ("too slow", [YES, [STAY], YES], 2, 1, "UpstreamTimeout"),
]


@pytest.mark.parametrize("name, answers, requests, connections, kind", STALE)
@in_a_loop
async def test_client_replays_once_and_only_unanswered(name, answers, requests, connections, kind):
    async with RawServer(*answers) as server, client() as pool:
        await fetch(pool, server.url)
        await server.until("answered")
        try:
            assert await fetch(pool, server.url, head=0.1) == (200, b"ok")
            outcome = None
        except cp.UpstreamError as exc:
            outcome = type(exc).__name__
        assert outcome == kind
        assert (len(server.heads), server.connections) == (requests, connections)


@pytest.mark.parametrize("how", ["cancel", "close"])
@pytest.mark.parametrize(
    "answer", [[STAY], [CHUNKED, STAY], [CHUNKED + OK, STAY], [b"HTTP/1.1 200 OK\r\n\r\nok", STAY]]
)
@in_a_loop
async def test_client_that_leaves_closes_the_socket_and_never_succeeds(answer, how):
    async with RawServer(answer) as server, client() as pool:
        waiting = asyncio.ensure_future(pool.request("GET", server.url, []))
        await server.until("connections")
        if answer == [STAY]:
            response = None
        else:
            response = await waiting
        if response:
            waiting = asyncio.ensure_future(response.read_all(99))
            await asyncio.sleep(0.01)
        if response and how == "close":
            response.close()
            response.close()
        else:
            waiting.cancel()
        with pytest.raises((asyncio.CancelledError, cp.UpstreamError)):
            await waiting
        await asyncio.wait_for(server.gone.wait(), 0.5)
        if response:
            with pytest.raises(cp.UpstreamError):
                await response.read()


@pytest.mark.parametrize("turns", range(9))
@in_a_loop
async def test_client_that_leaves_while_connecting_loses_no_socket(turns):
    async with RawServer([STAY]) as server, client() as pool:
        waiting = asyncio.ensure_future(pool.request("GET", server.url, []))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pool.close()
        assert not pool._opening
        gc.collect()  # an unclosed socket is a warning, which is an error


@in_a_loop
async def test_client_reads_what_came_before_a_reset():
    async with RawServer([CHUNKED, 0.005, OK, RST]) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        await server.until("answered")
        assert await response.read() == b"ok"
        for _ in range(2):
            with pytest.raises(cp.UpstreamError, match="broke"):
                await response.read()


@pytest.mark.parametrize(
    "rest, connections",
    [([b"0\r\n\r\n"], 1), ([0.01, b"0\r\n\r\n"], 1), ([0.01, b"1\r\nx\r\n", STAY], 2), ([STAY], 2)],
)
@in_a_loop
async def test_client_finish_keeps_what_ends_in_time(rest, connections):
    async with RawServer([CHUNKED + OK] + rest, YES) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        assert await response.read() == b"ok"
        await response.finish(0.1)
        await fetch(pool, server.url)
        assert server.connections == connections


@in_a_loop
async def test_client_slow_reader_holds_the_upstream_back():
    sent = []

    def steps():
        yield CHUNKED
        for _ in range(200):
            sent.append(1)
            yield b"10000\r\n" + b"x" * 65536 + b"\r\n"
        yield b"0\r\n\r\n"

    async with RawServer(steps()) as server, client() as pool:
        response = await pool.request("GET", server.url, [], timeouts=cp.Timeouts(idle=1))
        await asyncio.sleep(0.05)
        assert len(sent) < 150, "13 MB on the way"
        assert len(await response.read_all(1 << 24)) == 200 << 16


@pytest.mark.parametrize("pauses", [0, 4])
@in_a_loop
async def test_client_idle_timeout_counts_from_the_last_byte_and_only_while_waiting(pauses):
    drip = [part for _ in range(10) for part in (0.02, OK)]
    async with RawServer([CHUNKED] + drip + [STAY]) as server, client() as pool:
        response = await pool.request("GET", server.url, [], timeouts=cp.Timeouts(idle=0.15))
        data = await response.read()
        for _ in range(pauses):
            await asyncio.sleep(0.05)
        while len(data) < 20:
            if len(data) == 18:
                response.idle_timeout = 9.0
            data += await response.read()
        response.idle_timeout = 0.02
        started = time.monotonic()
        with pytest.raises(cp.UpstreamTimeout):
            await response.read()
        assert time.monotonic() - started < 5


@in_a_loop
async def test_client_reaches_ipv6():
    with contextlib.suppress(OSError):
        async with RawServer(YES, host="::1") as server, client() as pool:
            assert await fetch(pool, "http://[::1]:%d/" % server.port) == (200, b"ok")
            assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.heads[0]
            return
    pytest.skip("no IPv6 here")


@pytest.mark.parametrize("silent", [False, True])
@in_a_loop
async def test_client_falls_back_to_ipv4(monkeypatch, silent):
    try:
        bad = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=0)
    except OSError:
        pytest.skip("no IPv6 here")
    address = bad.getsockname()
    fills = [socket.socket(socket.AF_INET6) for _ in range(9)]
    for one in fills if silent else ():  # its queue is full: it lets the next ones hang
        one.setblocking(False)
        one.connect_ex(address)
    if not silent:
        bad.close()
    async with RawServer(YES) as server, client() as pool:

        async def resolve(*_, **__):  # a name with a bad and a good address
            good = "127.0.0.1", server.port
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", address),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", good),
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        began = time.monotonic()
        assert await fetch(pool, "http://two-addresses.test/") == (200, b"ok")
        assert time.monotonic() - began < (1 if silent else 0.2)
    assert cp.EYEBALLS_DELAY <= 0.3
    for one in (bad, *fills):
        one.close()


# -- TLS and proxies ---------------------------------------------------------


def openssl(folder, *words):
    subprocess.run(
        ["openssl", *words],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ca.pem and the certificates good, expired, other, lone (+ .key)."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name, host in (("ca", "Test root"), ("lone", "localhost")):
        openssl(
            folder,
            "req",
            "-x509",
            *key,
            "-keyout",
            name + ".key",
            "-out",
            name + ".pem",
            "-subj",
            "/CN=" + host,
            "-days",
            "2",
        )
    for name, host, days in (
        ("good", "localhost", "2"),
        ("expired", "localhost", "-1"),
        ("other", "example.org", "2"),
    ):
        (folder / "san").write_text("subjectAltName=DNS:" + host)
        openssl(folder, "req", *key, "-keyout", name + ".key", "-out", "csr", "-subj", "/CN=x")
        openssl(
            folder,
            "x509",
            "-req",
            "-in",
            "csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            "san",
            "-out",
            name + ".pem",
        )
    return folder


def server_tls(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(folder / (name + ".pem")), str(folder / (name + ".key")))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def trusting(folder):
    return cp.make_ssl_context(cp.Config(ssl_cert_file=str(folder / "ca.pem")))


class ConnectProxy(RawServer):
    """Opens tunnels to `target`, or answers what it was given."""

    def __init__(self, target, answer=b"HTTP/1.1 200 Opened\r\n\r\n"):
        super().__init__([answer])
        self.target = target

    async def exchange(self, reader, writer):
        await super().exchange(reader, writer)
        if self.target:
            there, back = await asyncio.open_connection("127.0.0.1", self.target.port)
            await asyncio.gather(self.pump(reader, back), self.pump(there, writer))
        return not self.target

    async def pump(self, reader, writer):
        data = True
        try:
            while data:
                data = await reader.read(65536)
                writer.write(data)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def tls_way(folder, name, tunnel):
    """A TLS server with the certificate `name`, a proxy, and a client that may use it."""
    async with (
        RawServer(YES, tls=server_tls(folder, name)) as server,
        ConnectProxy(server) as proxy,
    ):
        proxies = cp.proxies_from(
            cp.Config(
                https_proxy="http://me%%40x:p%%3A%%20s@127.0.0.1:%d" % proxy.port if tunnel else ""
            )
        )
        made = []
        async with client(lambda: made.append(trusting(folder)) or made[0], proxies) as pool:
            yield server, proxy, pool
        assert len(made) == 1


@pytest.mark.parametrize("tunnel", [False, True])
@in_a_loop
async def test_tls_one_connection_for_many_requests(certificates, tunnel):
    async with tls_way(certificates, "good", tunnel) as (server, proxy, pool):
        for _ in range(10):
            assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == 1
        secret = base64.b64encode(b"me@x:p: s").decode()
        assert [head.decode().split("\r\n") for head in proxy.heads] == tunnel * [
            [
                "CONNECT localhost:%d HTTP/1.1" % server.port,
                "Host: localhost:%d" % server.port,
                "Proxy-Authorization: Basic " + secret,
                "",
                "",
            ]
        ]
        assert b"roxy" not in b"".join(server.heads)
        server.answers = [
            [CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (1 << 20, b"x" * (1 << 20))],
            [YES[0][:-1], RST],
            [STAY],
        ]
        assert (await fetch(pool, server.url))[1] == b"x" * (1 << 20)
        with (
            pytest.raises(cp.UpstreamError, match="broke|cut"),
            contextlib.closing(await pool.request("GET", server.url, [])) as response,
        ):
            await response.read_all(9)
        with pytest.raises(cp.UpstreamTimeout):
            await fetch(pool, server.url, head=0.03)
        await asyncio.wait_for(server.gone.wait(), 1)


@in_a_loop
async def test_client_read_tells_late_from_the_end():
    conn = cp.TimedProtocol(1000)
    waits = asyncio.ensure_future(conn.read(9))
    await asyncio.sleep(0)
    conn.data_received(b"x")
    conn.time_out()  # in the turn in which the bytes came
    assert await waits == b"x"
    for seconds in (0.001, 0, -1):
        assert await conn.read(seconds) is None
    conn.data_received(b"y")  # one that was late can still be read
    assert await conn.read(-1) == b"y" and conn.unread == 0
    conn.eof_received()
    assert await conn.read(9) == b""


class ServerTLS:
    """The server's side of TLS, bytes to bytes."""

    def __init__(self, folder):
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.engine = server_tls(folder, "good").wrap_bio(
            self.incoming, self.outgoing, server_side=True
        )

    def say(self, plain, goodbye):
        if plain:
            self.engine.write(plain)
        if goodbye:
            with contextlib.suppress(ssl.SSLError):  # it would wait for the answer
                self.engine.unwrap()
        return self.outgoing.read()

    def shake_hands(self, data):
        self.incoming.write(data)
        done = False
        with contextlib.suppress(ssl.SSLWantReadError):
            self.engine.do_handshake()
            done = True
        return done, self.outgoing.read()


def shaken_hands(folder):
    sent = []
    ours = cp.TLS(trusting(folder), "localhost", sent.append)
    theirs = ServerTLS(folder)
    data = b""
    done = False
    while not done:
        for piece in [data[at : at + 100] for at in range(0, len(data) or 1, 100)]:
            done = ours.shake_hands(piece)
        data = theirs.shake_hands(b"".join(sent))[1]
        sent.clear()
    assert ours.decrypt(data) == b""  # session tickets
    return ours, theirs, sent


def test_tls_any_cut_gives_the_same_bytes(certificates):
    plain = random.Random(1).randbytes(40000)
    ours, theirs, sent = shaken_hands(certificates)
    ours.send(plain)
    theirs.incoming.write(b"".join(sent))
    assert b"".join(theirs.engine.read(1 << 14) for _ in range(3)) == plain
    for number in range(10):
        ours, theirs, _ = shaken_hands(certificates)
        pieces = list(cuts(theirs.say(plain, True), number))[number]
        assert b"".join(map(ours.decrypt, pieces)) == plain
        assert ours.ended and ours.decrypt(b"more") == b""
    ours, _, _ = shaken_hands(certificates)
    with pytest.raises(ssl.SSLError):
        ours.decrypt(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    "head, goodbye, words",
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, None),
        (b"HTTP/1.1 200 OK\r\n\r\n", False, "was cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", False, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True, "cut or garbled"),
        (b"", False, "was cut"),
    ],
)
@in_a_loop
async def test_tls_end_without_a_goodbye_is_no_end(certificates, head, goodbye, words):
    async def serve(reader, writer):
        theirs = ServerTLS(certificates)
        done = False
        while not done:
            done, data = theirs.shake_hands(await reader.read(1000))
            writer.write(data)
        theirs.incoming.write(await reader.read(1000))
        writer.write(theirs.say(head + b"half" if head else b"", goodbye))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "https://localhost:%d/" % server.sockets[0].getsockname()[1]
    async with client(trusting(certificates)) as pool:
        for pour in (False, True):
            if words:
                with pytest.raises(cp.UpstreamError, match=words):
                    await fetch(pool, url, pour=pour)
            else:
                assert await fetch(pool, url, pour=pour) == (200, b"half")
    server.close()


@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize(
    "name, words", [("lone", "SSL_CERT_FILE"), ("expired", "clock"), ("other", "check the address")]
)
@in_a_loop
async def test_tls_bad_certificate_is_explained_and_not_retried(certificates, name, words, tunnel):
    async with tls_way(certificates, name, tunnel) as (server, proxy, pool):
        with pytest.raises(cp.UpstreamError) as caught:
            await fetch(pool, server.url)
        assert not isinstance(caught.value, cp.ConnectFailed)
        assert caught.value.should_retry is False and caught.value.status == 502
        assert words in str(caught.value) and "localhost" in str(caught.value)
        assert server.heads == []


def test_tls_context_and_its_settings(certificates, tmp_path):
    context = trusting(certificates)
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] == 1
    (tmp_path / "empty.pem").write_text("nothing")

    async def lazily(config):
        async with client(lambda: cp.make_ssl_context(config)) as pool:
            await fetch(pool, "https://127.0.0.1:1/")

    for bad in (
        {"ssl_cert_file": str(tmp_path / "absent")},
        {"ssl_cert_dir": "/absent"},
        {"ssl_cert_file": str(tmp_path / "empty.pem")},
    ):
        with pytest.raises(cp.ConfigError, match="SSL_CERT_"):
            cp.make_ssl_context(cp.Config(**bad))
        with pytest.raises(cp.UpstreamError, match="SSL_CERT_.*not usable: expected") as caught:
            asyncio.run(lazily(cp.Config(**bad)))
        assert caught.value.should_retry is False and type(caught.value) is cp.UpstreamError


@in_a_loop
async def test_tls_to_a_plain_or_silent_or_absent_server(certificates):
    async with (
        RawServer(YES) as server,
        client(trusting(certificates), connect_timeout=0.05) as pool,
    ):
        address = "https://127.0.0.1:%d/" % server.port  # waits for CRLF CRLF
        with pytest.raises(cp.ConnectFailed, match="within 0.05 s"):
            await fetch(pool, address)
        server.server.close()
        for url in (address, address.replace("https", "http"), "http://%s/" % ("a" * 70)):
            with pytest.raises(cp.ConnectFailed, match="no connection to"):
                await fetch(pool, url)


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", "login into HTTPS_PROXY"),
        (b"HTTP/1.1 403 No\r\n\r\n", "answered 403 No; ask"),
        (b"HTTP/1.1 200 OK\r\n\r\ntoo early", "before the TLS handshake"),
        (b"gibberish\r\n\r\n", "proper HTTP"),
    ],
)
@in_a_loop
async def test_proxy_refusal_is_explained(certificates, answer, words):
    async with ConnectProxy(None, answer) as proxy:
        url = "http://me:hunter2@127.0.0.1:%d" % proxy.port
        proxies = cp.proxies_from(cp.Config(https_proxy=url))
        async with client(trusting(certificates), proxies) as pool:
            with pytest.raises(cp.UpstreamError) as caught:
                await fetch(pool, "https://api.test/")
        assert caught.value.status == 502 and words in str(caught.value)
        assert "hunter2" not in str(caught.value)


@in_a_loop
async def test_proxy_for_plain_http_gets_the_whole_address():
    async with (
        RawServer(YES) as proxy,
        client(
            None, cp.proxies_from(cp.Config(http_proxy="http://u@127.0.0.1:%d" % proxy.port))
        ) as pool,
    ):
        assert await fetch(pool, "http://api.test/a?b") == (200, b"ok")
        assert proxy.heads[0].startswith(b"GET http://api.test:80/a?b HTTP/1.1\r\n")
        assert b"\r\nHost: api.test\r\n" in proxy.heads[0]
        assert b"\r\nProxy-Authorization: Basic dTo=\r\n" in proxy.heads[0]
        proxy.answers = [[b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]]
        with pytest.raises(cp.UpstreamError, match="its login"):
            await fetch(pool, "http://api.test/")


@pytest.mark.parametrize(
    "no_proxy, url, direct",
    [
        ("", "https://a.test", False),
        ("*", "https://a.test", True),
        ("a.test", "https://a.test", True),
        ("a.test", "https://x.A.test", True),
        (".a.test", "https://a.test", True),
        ("*.a.test", "https://x.a.test", True),
        ("a.test", "https://ba.test", False),
        ("b.test, A.Test", "https://a.test", True),
        ("a.test:443", "https://a.test", True),
        ("a.test:80", "https://a.test", False),
        ("127.0.0.1", "http://127.0.0.1:9/", True),
        ("::1", "http://[::1]:8/", True),
        ("[::1]:8", "http://[::1]:8/", True),
        ("[::1]:9", "http://[::1]:8/", False),
        ("localhost", "http://127.0.0.1/", False),
        (",", "http://127.0.0.1/", False),
    ],
)
def test_proxy_exceptions(no_proxy, url, direct):
    proxies = cp.proxies_from(cp.Config(all_proxy="http://p:1", no_proxy=no_proxy))
    assert (proxies.for_origin(cp.parse_url(url)[0]) is None) == direct


def test_proxy_settings():
    chosen = cp.proxies_from(cp.Config(https_proxy="p1:3128", all_proxy="http://[::1]:8/"))
    assert chosen.for_origin(cp.Origin("https", "x", 443)).origin == ("http", "p1", 3128)
    assert chosen.for_origin(cp.Origin("http", "x", 80)).origin == ("http", "::1", 8)
    assert cp.proxies_from(cp.Config()).for_origin(cp.Origin("https", "x", 443)) is None
    for bad in ("socks5://u:secret@h:1", "https://h:1", "http://", "http://h:port", "http://[:"):
        with pytest.raises(cp.ConfigError, match="ALL_PROXY is not usable") as caught:
            cp.proxies_from(cp.Config(all_proxy=bad))
        assert "secret" not in str(caught.value)


# -- networks that change, programs that are stopped -----------------------------


def stop_acknowledging(sock):
    """From now on the system drops what arrives for `sock`, as a changed network does."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF: ret 0
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
    sock.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="BPF filters are Linux's")


@linux_only
@in_a_loop
async def test_client_leaves_a_kept_connection_that_nobody_acknowledges():
    sockets = []

    class Watched(RawServer):
        async def talk(self, reader, writer):
            sockets.append(writer.get_extra_info("socket"))
            await super().talk(reader, writer)

    assert 0 < cp.DEAD_AFTER <= 10  # and 10 s for a new connection: 20 in all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cp, "DEAD_AFTER", 0.3)
        async with Watched(YES) as server, client() as pool:
            assert await fetch(pool, server.url) == (200, b"ok")
            await server.until("answered")
            stop_acknowledging(sockets[0])
            began = time.monotonic()
            assert await fetch(pool, server.url) == (200, b"ok")
            assert 0.2 < time.monotonic() - began < 1.9
            assert len(server.heads) == server.connections == 2


@linux_only
@in_a_loop
async def test_client_tells_the_system_how_long_silence_may_last():
    async with RawServer(YES) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        sock = response._connection.transport.get_extra_info("socket")
        unacknowledged = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        between = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        assert unacknowledged == 1000 * cp.DEAD_AFTER
        assert idle + between <= 20  # while the upstream thinks


@pytest.mark.parametrize("by_wall, connections", [(0, 1), (60, 1), (100, 2), (-100, 1)])
def test_client_judges_kept_connections_by_the_wall_clock_too(monkeypatch, by_wall, connections):
    wall = time.time

    async def main():
        async with RawServer(YES) as server, client() as pool:
            await fetch(pool, server.url)
            await server.until("answered")
            # Asleep: on Linux and macOS the monotonic clock stands still meanwhile.
            monkeypatch.setattr(time, "time", lambda: wall() + by_wall)
            await fetch(pool, server.url)
            monkeypatch.setattr(time, "time", wall)
            return server.connections

    assert run(main()) == connections


EARLY_HINTS = b"HTTP/1.1 103 Early\r\na: b\r\n\r\n"
UNBOUNDED_ANSWERS = [  # name, answer, words of the failure
    ("interim heads", [EARLY_HINTS * 17 + YES[0]], "more than 16 interim heads"),
    ("101", [b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"], "unasked"),
    ("dripping head", [bytes([b]) for b in YES[0][:9]] + [STAY], "too long"),
    ("dripping interim heads", [EARLY_HINTS, 0.02] * 9 + [STAY], "too long"),
    ("dripping body", [CHUNKED] + [OK, 0.02] * 99, "took too long"),
    ("silent body", [CHUNKED, OK, STAY], "took too long"),
]


@pytest.mark.parametrize(
    "name, answer, words", UNBOUNDED_ANSWERS, ids=[row[0] for row in UNBOUNDED_ANSWERS]
)
@pytest.mark.parametrize("pour", [False, True])
@in_a_loop
async def test_client_bounds_a_whole_exchange(name, answer, words, pour):
    async with RawServer(answer) as server, client() as pool:
        began = time.monotonic()
        with pytest.raises(cp.UpstreamError, match=words):
            await fetch(pool, server.url, pour=pour, total=0.1)
        assert time.monotonic() - began < 0.6


@in_a_loop
async def test_client_bears_sixteen_interim_heads_and_its_total_ends_with_the_exchange():
    async with RawServer([EARLY_HINTS * 16 + YES[0]]) as server, client() as pool:
        assert await fetch(pool, server.url, total=0.1) == (200, b"ok")
        await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == 1


STOPPED_CLIENT = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[1])
import copilot_proxy as cp

async def main():
    pool = cp.ConnectionPool()
    waits = cp.Timeouts(head=0.3, idle=0.3)
    if sys.argv[3] == "body":
        response = await pool.request("GET", sys.argv[2], [], timeouts=waits)
        await response.read()
    print("asking", flush=True)
    if sys.argv[3] == "head":
        response = await pool.request("GET", sys.argv[2], [], timeouts=waits)
    print(await response.read(), flush=True)
    await pool.close()

asyncio.run(main())
"""


async def asleep(child, seconds):
    """Stop a process as a laptop's lid does, and let it go on."""
    child.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    child.send_signal(signal.SIGCONT)


async def check_stopped_client(part):
    """Start a client, stop its process before a part of the answer comes, let it go on."""
    came = asyncio.Event()

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if part == "body":
            writer.write(CHUNKED + OK)
        await came.wait()
        writer.write(OK if part == "body" else CHUNKED + OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]
    words = ["-c", STOPPED_CLIENT, HERE, url, part]
    child = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=subprocess.PIPE)
    try:
        assert await child.stdout.readline() == b"asking\n"
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.4, came.set)
        await asleep(child, 0.6)
        assert await child.stdout.readline() == b"b'ok'\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        server.close()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@in_a_loop
async def test_client_reads_what_came_while_it_was_stopped():
    await asyncio.gather(*(check_stopped_client(part) for part in ("head", "body")))


# ============================================================================
# 15. HTTP server
# ============================================================================
# The real server over loopback: room 6's table, the standard library's client, rules
# for browsers, abuse (with time-outs of 0.1 s), clients that leave, shutdown.

import weakref

QUICK = cp.ServerLimits(head=0.1, body=0.1, idle=0.1, stall=0.1, linger=0.1, half_closed=0.05)


async def echo(request, out):
    await out.send(200, [("content-type", "text/plain")], request.body)


async def write(out, data):
    if not out.push(data):
        await out.drain()


async def count_up(request, out):
    out.start(200, [("content-type", "text/plain")])
    for number in range(3):
        await write(out, b"%d" % number)
    await out.end()


@contextlib.asynccontextmanager
async def serving(handler=echo, limits=cp.ServerLimits(), **settings):
    server = cp.HTTPServer(cp.Config(port=0, **settings), handler, limits)
    server.port = (await server.start())[1]
    try:
        yield server
    finally:
        await asyncio.wait_for(server.close(0), 5)


async def send_pieces(host, port, pieces):
    """All bytes that come back when `pieces` are sent and the input is then ended."""
    reader, writer = await asyncio.open_connection(host, port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def words_of(raw):
    """The answers in `raw`, strictly read, in the words of room 6's table."""
    words = []
    while raw:
        head, body = raw.split(b"\r\n\r\n", 1)
        size = int(re.search(rb"\r\ncontent-length: (\d+)(?:\r|$)", head).group(1))
        status, body, raw = head[9:12].decode(), body[:size], body[size:]
        assert head.startswith(b"HTTP/1.1 ") and len(body) == size
        assert b"nosniff" in head and b"no-store" in head
        words.append(
            status if status != "200" else "ok:" + body.decode("latin-1") if body else "ok"
        )
    return " ".join(words)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_server_answers_the_wire_table_whole_and_cut(host):
    async def all_cases():
        gate = asyncio.Semaphore(40)

        async def one(port, name, pieces, expected):
            async with gate:
                return name, words_of(await send_pieces(host, port, pieces)), expected

        async with serving(host=host, max_body_mb=1) as server:
            return await asyncio.gather(
                *[
                    one(server.port, name, pieces, expected)
                    for number, (name, raw, expected) in enumerate(HTTP_CASES)
                    for pieces in (
                        [raw],
                        [raw[at : at + 1] for at in range(len(raw))],
                        list(cuts(raw, seed=number))[-1],
                    )
                    if len(pieces) <= 400
                ]
            )

    try:
        socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ).close()
    except OSError:
        pytest.skip("no %s here" % host)
    assert [(name, got) for name, got, expected in run(all_cases()) if got != expected] == []


BODIES = [  # (name, the request with a body of `size` bytes)
    ("length", lambda size: put(b"Content-Length: %d" % size, b"x" * size)),
    ("one chunk", lambda size: chunked(b"%x\r\n" % size + b"x" * size + LAST)),
    ("chunks", lambda size: chunked(b"1;a\r\nx\r\n%x\r\n" % (size - 1) + b"x" * (size - 1) + LAST)),
]


@pytest.mark.parametrize("name, make", BODIES, ids=[name for name, _ in BODIES])
def test_server_takes_a_body_of_the_limit_and_not_one_byte_more(name, make):
    async def size(request, out):
        await out.send(200, [], b"%d" % len(request.body))

    async def main():
        async with serving(size, max_body_mb=1) as server:
            return [
                words_of(await send_pieces("127.0.0.1", server.port, [make(n) + GET]))
                for n in (MAX, MAX + 1)
            ]

    assert run(main()) == ["ok:%d ok:0" % MAX, "413"]


def test_server_and_the_standard_client():
    def talk(port):
        conn = http_client.HTTPConnection("127.0.0.1", port, timeout=5)
        kind = {"Content-Type": "application/json"}
        got = []
        for method, path, body in (
            ("GET", "/", None),
            ("HEAD", "/up", None),
            ("POST", "/", b"x" * 300000),
            ("POST", "/", iter([b"ab", b"", b"cd"])),
            ("GET", "/up", None),
        ):
            conn.request(method, path, body, kind, encode_chunked=False)
            reply = conn.getresponse()
            got.append((reply.status, reply.read(), reply.will_close, id(conn.sock)))
        conn.close()
        return got

    async def main():
        async def handler(request, out):
            await (count_up if request.path == "/up" else echo)(request, out)

        async with serving(handler) as server:
            return await asyncio.get_running_loop().run_in_executor(None, talk, server.port)

    got = run(main())
    assert [row[:3] for row in got] == [
        (200, b"", False),
        (200, b"", False),
        (200, b"x" * 300000, False),
        (200, b"abcd", False),
        (200, b"012", False),
    ]
    assert len({row[3] for row in got}) == 1, "the connection was not kept"


EXPECTING = b"PUT / HTTP/1.1\r\nHost: localhost\r\nExpect: %b\r\n" b"Content-Length: %d\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
FRAMED = [  # (name, bytes, must match)
    (
        "1.1",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        rb"HTTP/1.1 200 .*chunked.*\r\n\r\n1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n",
    ),
    (
        "1.0 until close",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        rb"HTTP/1.1 200 (?!.*chunked).*connection: close\r\n\r\n012",
    ),
    ("HEAD", b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", rb"HTTP/1.1 200 .*\r\n\r\n"),
    (
        "close",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        rb"HTTP/1.1 200 .*connection: close\r\n\r\n1\r\n0.*0\r\n\r\n",
    ),
    ("100 and 400", EXPECTING % (b"100-Continue", 1), INTERIM + rb"HTTP/1.1 400 .*"),
    ("100 and 200", EXPECTING % (b"100-continue", 1) + b"x", INTERIM + rb"HTTP/1.1 200 .*"),
    ("no 100 for too much", EXPECTING % (b"100-continue", 9**9), rb"HTTP/1.1 413 .*"),
    (
        "no 100 for 1.0",
        EXPECTING.replace(b"1.1", b"1.0") % (b"100-continue", 1),
        rb"HTTP/1.1 400 .*",
    ),
    ("unknown expectation", EXPECTING % (b"x", 1) + b"x", rb"HTTP/1.1 417 .*"),
]


@pytest.mark.parametrize("name, raw, pattern", FRAMED, ids=[row[0] for row in FRAMED])
def test_server_framing_of_its_answers(name, raw, pattern):
    async def main():
        async with serving(count_up) as server:
            return await send_pieces("127.0.0.1", server.port, [raw])

    got = run(main())
    assert re.fullmatch(pattern, got, re.DOTALL), got


OWN_PAGE = "http://localhost:8082"
PAGE = "https://app.example"
JSON_TYPE = {"content-type": "application/json", "content-length": "2"}
OPEN_TO = {"allowed_hosts": ("Proxy.lan",), "allowed_origins": (PAGE,)}
ASKS = {"origin": PAGE, "access-control-request-method": "POST"}
KEY = "0123456789abcdef"
LOCKED = {"api_key": KEY}
GUARD_CASES = (
    [
        ("GET", {"host": host}, {}, 0)
        for host in (
            "localhost",
            "LocalHost:8082",
            "127.0.0.1",
            "127.0.0.1:8082",
            "[::1]:8082",
            "[::1]",
        )
    ]
    + [
        ("GET", {"host": host}, {}, 403)
        for host in (
            "localhost:8083",
            "localhost.",
            "localhost.evil.com",
            "evil.com",
            "xlocalhost",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "127.1",
            "0.0.0.0:8082",
            "[::]",
            "",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "localhost:",
            "proxy.lan",
            "localhost:08082",
            "[0:0:0:0:0:0:0:1]",
        )
    ]
    + [
        ("GET", {"host": "proxy.LAN:8082"}, OPEN_TO, 0),
        ("GET", {"host": "x.proxy.lan"}, OPEN_TO, 403),
        ("GET", {"host": "proxy.lan:1"}, OPEN_TO, 403),
    ]
    + [
        ("GET", {"origin": origin}, {}, status)
        for origin, status in (
            (OWN_PAGE, 0),
            ("http://127.0.0.1:8082", 0),
            ("http://[::1]:8082", 0),
            ("http://localhost", 403),
            ("https://localhost:8082", 403),
            ("null", 403),
            ("http://localhost:3000", 403),
            (PAGE, 403),
            (OWN_PAGE + ", " + OWN_PAGE, 403),
            ("http://localhost:8082.evil.com", 403),
            ("", 403),
        )
    ]
    + [
        ("GET", {"sec-fetch-site": site}, {}, status)
        for site, status in (
            ("none", 0),
            ("same-origin", 0),
            ("same-site", 403),
            ("cross-site", 403),
            ("", 403),
        )
    ]
    + [
        ("GET", {"origin": PAGE, "sec-fetch-site": "cross-site"}, OPEN_TO, 0),
        ("GET", {"origin": PAGE + ".evil"}, OPEN_TO, 403),
        ("OPTIONS", ASKS, {}, 403),
        ("OPTIONS", ASKS, {**OPEN_TO, **LOCKED}, 0),
        ("OPTIONS", {}, LOCKED, 401),
    ]
    + [
        ("POST", {"content-type": kind, "content-length": "2"}, {}, status)
        for kind, status in (
            ("application/json", 0),
            ("Application/JSON ; charset=utf-8", 0),
            ("", 415),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=application/json", 415),
            ("application/json, text/plain", 415),
            ("application/jsonp", 415),
        )
    ]
    + [
        ("POST", {}, {}, 0),
        ("POST", {"content-length": "00"}, {}, 0),
        ("POST", {"transfer-encoding": "chunked"}, {}, 415),
        ("PUT", {"content-length": "2"}, {}, 0),
    ]
    + [
        ("POST", {name: value}, LOCKED, status)
        for name, value, status in (
            ("authorization", "Bearer " + KEY, 0),
            ("authorization", "bearer " + KEY, 0),
            ("x-api-key", KEY, 0),
            ("x-api-key", KEY + "x", 401),
            ("x-api-key", "", 401),
            ("authorization", "Basic " + KEY, 401),
            ("authorization", KEY, 401),
            ("x-api-key", "\xfc", 401),
            ("x", "y", 401),
            ("x-api-key", KEY[1:], 401),
        )
    ]
    + [(method, {}, LOCKED, 401) for method in ("HEAD", "GET")]
)


@pytest.mark.parametrize("method, headers, settings, expected", GUARD_CASES)
def test_guard_rules(method, headers, settings, expected):
    head = cp.Request(method, "/v1/models", "", {"host": "localhost", **headers})
    try:
        cp.guard(head, cp.Config(**settings), 8082)
    except cp.ProxyError as exc:
        assert exc.status == expected and expected
    else:
        assert not expected


def test_guard_leaves_only_the_front_page_open_and_checks_absolute_targets():
    config = cp.Config(**LOCKED)
    head = cp.Request("GET", "/", "", {"host": "localhost"})
    cp.guard(head._replace(authority="localhost"), config, 1)
    cp.guard(head._replace(method="HEAD", path="/api/hello"), config, 1)
    with pytest.raises(cp.AuthRequired):
        cp.guard(head._replace(method="POST"), config, 1)
    for authority, path, failure in (
        (None, "//", cp.AuthRequired),
        ("evil", "/", cp.Forbidden),
        ("a@localhost", "/", cp.Forbidden),
        ("", "/", cp.Forbidden),
    ):
        with pytest.raises(failure):
            cp.guard(head._replace(authority=authority, path=path), config, 1)


@pytest.mark.parametrize(
    "host, key, fine",
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("LOCALHOST", "", True),
        ("127.8.8.8", "", True),
        ("::", "", False),
        ("0", "", False),
        ("0.0.0.0", "", False),
        ("10.0.0.1", "", False),
        ("proxy.lan", "", False),
        ("localhost.lan", "", False),
        ("0.0.0.0", KEY[1:], False),
        ("0.0.0.0", KEY, True),
        ("proxy.lan", KEY, True),
    ],
)
def test_server_refuses_to_listen_for_everybody_without_a_key(host, key, fine):
    try:
        cp.check_bind(cp.Config(host=host, api_key=key))
        assert fine
    except cp.ConfigError as exc:
        assert not fine and "API_KEY" in str(exc) and "\n" not in str(exc)


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/v1/messages", "error"),
        ("/messages/count_tokens", "error"),
        ("", None),
        ("//v1/v1/messages", "error"),
        ("/chat/completions", None),
        ("/v1/models", None),
    ],
)
def test_server_spells_errors_in_the_dialect_of_the_path(path, kind):
    for exc, pairs in (
        (
            cp.RateLimited("x", retry_after="7", should_retry=True),
            {"retry-after": "7", "x-should-retry": "true"},
        ),
        (cp.MethodNotAllowed("x", allow="GET, HEAD"), {"allow": "GET, HEAD"}),
        (cp.AuthRequired("x"), {"x-should-retry": "false", "www-authenticate": "Bearer"}),
    ):
        status, got, body = cp.error_answer(exc, path)
        assert dict(got) == {"content-type": "application/json", **pairs}
        assert status == exc.status and json.loads(body).get("type") == kind


def test_server_cors_only_for_allowed_origins():
    async def main():
        async with serving(**OPEN_TO) as server:
            return [
                await ask(server.port, method, "/v1/models", None, headers)
                for method, headers in (
                    ("OPTIONS", {**ASKS, "Access-Control-Request-Headers": "x-a"}),
                    ("GET", {"Origin": PAGE}),
                    ("GET", {}),
                    ("GET", {"Origin": "https://evil.example"}),
                )
            ]

    preflight, allowed, plain, foreign = run(main())
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "x-a"
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["vary"] == "origin"
    for one in plain, foreign:
        assert not [name for name in one.headers if name.startswith("access-control")]
    assert foreign.status == 403


def places_taken(server):
    return sum(conn.places for conn in server._connections)


async def soon(condition, seconds=1.0):
    """Wait for `condition`, at most R6's second."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


POSTING = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ABUSES = [  # (name, bytes at once, bytes then dripped, expected)
    ("slow head", b"GET / HT", b"T", rb"HTTP/1.1 408 .*"),
    ("head in slow fields", b"GET / HTTP/1.1\r\n", b"A: b\r\n", rb"HTTP/1.1 408 .*"),
    ("silent in the head", b"GET / HTTP/1.1\r\nHost:", b"", rb"HTTP/1.1 408 .*"),
    ("silent in the body", POSTING + b"Content-Length: 9\r\n\r\nx", b"", rb"HTTP/1.1 408 .*"),
    ("dripping body", POSTING + b"Content-Length: 9999\r\n\r\n", b"x", rb"HTTP/1.1 408 .*"),
    (
        "dripping chunks",
        POSTING + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        rb"HTTP/1.1 408 .*",
    ),
    ("idle from the start", b"", b"", rb""),
    (
        "idle afterwards",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
        rb"HTTP/1.1 200 .*\r\n\r\n",
    ),
]


@pytest.mark.parametrize("name, start, drip, expected", ABUSES, ids=[row[0] for row in ABUSES])
def test_server_ends_slow_clients(name, start, drip, expected):
    async def main():
        async with serving(limits=QUICK) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)
            answer = asyncio.ensure_future(reader.read())
            end = time.monotonic() + 2
            while not answer.done() and time.monotonic() < end:
                writer.write(drip)
                await asyncio.sleep(0.02)
            assert (await ask(server.port, "GET", "/")).status == 200
            writer.close()
            return await asyncio.wait_for(answer, 1)

    got = run(main())
    assert re.fullmatch(expected, got, re.DOTALL), got


def test_server_drops_a_client_that_never_reads():
    sent = []
    ended = []

    async def pour(request, out):
        out.start(200, [])
        try:
            while True:
                await write(out, b"x" * 65536)
                sent.append(1)
        except asyncio.CancelledError:
            ended.append(out.closed)
            raise

    async def main():
        async with serving(pour, QUICK) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
                await soon(lambda: ended)

    run(main())
    assert ended == [True] and len(sent) < 200, "it was buffered without end"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("leave", ["close", "reset", "reset with more to read"])
def test_server_cancels_the_handler_of_a_client_that_left(leave, streaming):
    started = []
    ended = []

    async def wait(request, out):
        if streaming:
            out.start(200, [])
        started.append(1)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(out.closed)
            await write(out, b"nobody sees this")
            raise

    async def main():
        async with serving(wait, cp.ServerLimits(half_closed=0.05)) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            if "more" in leave:
                more = b"GET / HTTP/1.1\r\n"
            else:
                more = b""
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + more)
            await soon(lambda: started)
            if leave != "close":  # so does Claude Code (CLIENTS 1)
                at_once = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            sock.close()
            await soon(lambda: ended)

    run(main())
    assert ended == [True]


def test_server_serves_others_while_one_pipelines():
    order = []

    async def note(request, out):
        order.append(request.path)
        await out.send(200, [])

    async def main():
        async with serving(note) as server:
            pipelines, other = [
                await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)
            ]
            pipelines[1].write(GET * 1000)
            other[1].write(GET.replace(b"/", b"/other", 1))
            await asyncio.wait_for(other[0].readuntil(b"\r\n\r\n"), 5)
            for _, writer in (pipelines, other):
                writer.transport.abort()

    run(main())
    assert order.index("/other") < 100


@pytest.mark.parametrize("size, most", [(900, 5), (2000, 2), (9000, 1)])
def test_server_heavy_bodies_wait_for_their_place(size, most):
    working = []
    seen = []

    async def work(request, out):
        working.append(1)
        seen.append(len(working))
        seen[1:] or gc.collect()  # ends tasks that only the loop knows (gh-90467)
        await asyncio.sleep(0.03)
        working.pop()
        await echo(request, out)

    async def main():
        limits = cp.ServerLimits(heavy=1000, places=5)
        async with serving(work, limits) as server:
            return await asyncio.gather(
                *[ask(server.port, "POST", "/", b"x" * size) for _ in range(5)]
            )

    assert {answer.body for answer in run(main())} == {b"x" * size} and max(seen) == most


def test_server_slow_heavy_body_gives_up_its_place():
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n" + (
        b"Content-Length: 5000\r\n\r\n" + b"x" * 2000
    )

    async def drip(writer):
        while True:  # 1 KiB/s allow it 2 s more
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async def main():
        limits = cp.ServerLimits(heavy=1000, places=5, body=0.4, half_closed=0.05)
        async with serving(limits=limits) as server:
            slow, left = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
            slow[1].write(head % server.port)
            drips = asyncio.ensure_future(drip(slow[1]))
            await soon(lambda: places_taken(server) == 5)
            left[1].write(head % server.port)  # waits, and its client leaves
            await soon(server._line.locked)
            left[1].transport.abort()
            await soon(lambda: len(server._connections) == 1 and not server._line.locked())
            assert places_taken(server) == 5
            patient = await ask(server.port, "POST", "/", b"y" * 3000)
            drips.cancel()
            told = await slow[0].readuntil(b"\r\n")
            slow[1].transport.abort()
            return patient.body, told

    began = time.monotonic()
    body, told = run(main())
    assert body == b"y" * 3000 and b" 408 " in told and time.monotonic() - began < 1.5


def test_server_lets_go_of_the_request_after_an_error():
    seen = []

    async def fails(request, out):
        exc = cp.Forbidden("no")  # its traceback holds this frame, which holds it
        held = {id(request)}  # as long as the request is
        seen.append(weakref.ref(held))
        raise exc

    async def main():
        async with serving(fails) as server:
            await ask(server.port, "GET", "/")
            await soon(lambda: not server._connections)
            return seen[0]()

    gc.disable()  # it would let go of the body, but much later
    try:
        assert run(main()) is None
    finally:
        gc.enable()


def test_server_refuses_one_client_too_many_and_recovers():
    async def main():
        async with serving(limits=cp.ServerLimits(connections=3)) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
            full = await ask(server.port, "GET", "/")
            for _, writer in held:
                writer.close()
            await soon(lambda: len(server._connections) == 0)
            return full, await ask(server.port, "GET", "/")

    full, later = run(main())
    assert (full.status, full.headers["retry-after"], later.status) == (503, "1", 200)


async def broken(request, out):
    if request.path == "/split":
        await out.send(200, [("x", "a\r\nset-cookie: b")], b"")
    if request.path != "/before":
        out.start(200, [])
        await write(out, b"half")
    if request.path == "/silent":
        return
    if request.path == "/twice":
        await out.send(200, [], b"")
    raise cp.Forbidden("no") if request.query else KeyError("a bug")


def test_server_survives_bugs_and_never_sends_a_second_head():
    async def main():
        async with serving(broken) as server:
            raw = b"".join(
                b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
                for path in (b"/before", b"/before?x", b"/split")
            )
            cut = []
            for path in (b"/after", b"/after?x", b"/silent", b"/twice"):
                got = await http(server.port, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                cut.append(b"\r\n0\r\n\r\n" not in got and got.count(b"HTTP/1.1") < 2)
            with pytest.raises(ConnectionResetError):  # no FIN: a regular end in 1.0
                await send_pieces("127.0.0.1", server.port, [b"GET /after HTTP/1.0\r\n\r\n"])
            return words_of(await send_pieces("127.0.0.1", server.port, [raw])), cut

    assert run(main()) == ("500 403 500", [True] * 4)


def test_server_closes_behind_a_handler_that_only_began(caplog):
    """The head waits for a first piece, and is not written after the end."""

    async def begins(request, out):
        out.start(200, [])
        if request.path == "/ends":
            await out.end()

    async def main():
        failures = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        async with serving(begins) as server:
            raw = b"GET /%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            got = [
                await send_pieces("127.0.0.1", server.port, [raw % path])
                for path in (b"ends", b"not")
            ]
        return got, failures

    (ends, cut), failures = run(main())
    assert ends.endswith(b"\r\n\r\n0\r\n\r\n") and cut == b"" and failures == []


def test_server_lingers_but_not_for_ever():
    limits = cp.ServerLimits(linger=0.05)

    async def main():
        async with serving(limits=limits) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(EXPECTING % (b"100-continue", 9**9) + b"x" * (1 << 22))
            assert words_of(await reader.read()) == "413"
            await soon(lambda: not server._connections)
            writer.close()

    run(main())


def test_server_drops_who_leaves_the_last_words_unread():
    servers = []
    transports = []

    async def fill(request, out):
        transports.extend(conn.transport for conn in servers[0]._connections)
        out.start(200, [])
        while not transports[0].get_write_buffer_size():
            out.push(b"x" * 1024)
        await out.end()

    async def main():
        async with serving(fill, QUICK) as server:
            servers.append(server)
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                await soon(lambda: transports and not server._connections)
                assert not transports[0].get_write_buffer_size()

    run(main())


def test_server_reads_only_so_far_ahead_and_then_the_rest():
    async def main():
        gate = asyncio.Event()
        got = b""

        async def waits(request, out):
            await gate.wait()
            await out.send(200, [], b"%d" % len(request.body))

        async with serving(waits) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET + put(b"Content-Length: 33554432", b"x" * (1 << 25)) + GET)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.2)
            assert writer.transport.get_write_buffer_size() > 1 << 23
            gate.set()
            while got.count(b"HTTP/1.1") < 3:
                got += await asyncio.wait_for(reader.read(65536), 5)
            writer.close()
            return words_of(got)

    assert run(main()) == "ok:0 ok:33554432 ok:0"


def test_server_shutdown_waits_then_lets_streams_say_goodbye():
    release = []
    said = []

    async def handler(request, out):
        if request.path != "/waits":
            out.start(200, [])
            await write(out, b"begun ")
        try:
            while not release or request.path != "/ends":
                await asyncio.sleep(0.01)
            await write(out, b"done")
            await out.end()
        except asyncio.CancelledError:
            said.append(out.closed)
            if out.started:
                await write(out, b"goodbye")
            raise

    async def main():
        async with serving(handler) as server:
            idle = await asyncio.open_connection("127.0.0.1", server.port)
            asking = [
                asyncio.ensure_future(
                    http(server.port, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                )
                for path in (b"/ends", b"/endless", b"/waits")
            ]
            await asyncio.sleep(0.05)
            closing = asyncio.ensure_future(server.close(0.2))
            assert await asyncio.wait_for(idle[0].read(), 0.15) == b""
            idle[1].close()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", server.port)
            release.append(1)
            answers = await asyncio.gather(*asking)
            await closing
            return answers

    ends, endless, waits = run(main())
    assert ends.endswith(b"done\r\n0\r\n\r\n")
    assert endless.endswith(b"goodbye\r\n") and said == [False, False]
    assert waits.startswith(b"HTTP/1.1 503 ")


# -- places, codings, ends ---------------------------------------------------------


def heavy_post(size, chunked=False, more=b""):
    """The head of a POST, and what its body looks like."""
    if chunked:
        framing = b"Transfer-Encoding: chunked"
    else:
        framing = b"Content-Length: %d" % size
    body = b"x" * size
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    return POSTING + more + framing + b"\r\n\r\n" + body


@pytest.mark.parametrize("chunked", [False, True])
def test_server_gives_a_place_back_when_the_request_was_sent(chunked):
    """One whose answer goes on for ever holds nobody up."""
    order = []

    async def work(request, out):
        order.append(len(request.body))
        out.release()
        out.release()  # again is harmless
        if len(order) == 1:
            await asyncio.sleep(30)
        await out.send(200, [])

    async def main():
        limits = cp.ServerLimits(heavy=1000, places=5, half_closed=0.05)
        async with serving(work, limits, max_body_mb=1) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(heavy_post(4000, chunked))
            await soon(lambda: order)
            assert places_taken(server) == 0
            answer = await http(server.port, heavy_post(4500, chunked, b"Connection: close\r\n"))
            writer.transport.abort()
            await soon(lambda: not server._connections)
            assert places_taken(server) == 0
            return answer

    assert run(main()).startswith(b"HTTP/1.1 200 ")


def test_server_knows_the_true_size_of_a_chunked_body():
    held = []

    async def work(request, out):
        held.append(1)
        await asyncio.sleep(0.05)
        await out.send(200, [], b"%d" % len(held))

    async def main():
        limits = cp.ServerLimits(heavy=1000, places=5)
        async with serving(work, limits, max_body_mb=1) as server:
            raw = heavy_post(2000, True, b"Connection: close\r\n")
            return await asyncio.gather(*[http(server.port, raw) for _ in range(2)])

    # Each waited until the other was whole, not until it was answered.
    assert {answer[-1:] for answer in run(main())} == {b"2"}


def test_server_serves_heavy_bodies_in_their_order():
    order = []

    async def work(request, out):
        order.append(int(request.path[1:]))
        await asyncio.sleep(0.01)
        await out.send(200, [])

    async def main():
        limits = cp.ServerLimits(heavy=1000, places=5)
        async with serving(work, limits) as server:
            asking = []
            for number, size in enumerate((4000, 4900, 1100, 4900, 1100, 1100)):
                raw = heavy_post(size, more=b"Connection: close\r\n")
                raw = raw.replace(b"POST /", b"POST /%d" % number, 1)
                asking.append(asyncio.ensure_future(http(server.port, raw)))
                await soon(lambda: len(server._connections) > number or order[1:])
                await asyncio.sleep(0.002)
            await asyncio.gather(*asking)

    run(main())
    assert order == sorted(order)


def test_server_undoes_content_codings():
    async def main():
        async with serving(max_body_mb=3) as server:
            got = []
            for coding, raw, expected, words in CODED:
                if coding:
                    pairs = [("content-encoding", coding)]
                else:
                    pairs = []
                answer = await ask(server.port, "POST", "/v1/messages", raw, pairs)
                got.append((coding, len(raw), answer, expected, words))
            return got

    for coding, size, answer, expected, words in run(main()):
        if expected == 413 and size < 10000:
            expected = b"x" * ((1 << 21) + 1)  # here the limit is 3 MB
        if isinstance(expected, bytes):
            assert (answer.status, answer.body) == (200, expected), coding
        else:
            assert answer.status == expected and answer.json["type"] == "error", coding
            assert words in answer.json["error"]["message"]


def test_server_undoes_a_bomb_in_slices():
    """16 MB in 16 KB of gzip: another client is answered meanwhile."""
    bomb = gzip.compress(b"x" * (16 << 20))

    async def measure(request, out):
        await out.send(200, [], b"%d" % len(request.body))

    async def main():
        waits = []
        async with serving(measure) as server:
            posting = asyncio.ensure_future(
                ask(server.port, "POST", "/", bomb, [("content-encoding", "gzip")])
            )
            while not posting.done():
                began = time.perf_counter()
                await ask(server.port, "GET", "/")
                waits.append(time.perf_counter() - began)
            return int(posting.result().body), waits

    size, waits = run(main())
    assert size == 16 << 20 and len(waits) > 1 and max(waits) < 0.5


@pytest.mark.parametrize("path, kind", [("/v1/messages", "type"), ("/v1/responses", "error")])
def test_server_names_what_codex_has_to_switch_off(path, kind):
    if cp.zstd is not None:
        pytest.skip("this Python reads zstd")

    async def main():
        async with serving() as server:
            pairs = [("content-encoding", "zstd")]
            return await ask(server.port, "POST", path, b"(\xb5/\xfd....", pairs)

    answer = run(main())
    assert answer.status == 415 and kind in answer.json
    assert "features.enable_request_compression=false" in answer.json["error"]["message"]


def test_server_counts_connections_while_they_are_open(monkeypatch):
    monkeypatch.setattr(cp, "HEAR_OF_ENDS", 0.005)

    async def main():
        good = 0
        async with serving(limits=cp.ServerLimits(connections=3)) as server:
            for _ in range(40):
                for _ in range(10):
                    socket.create_connection(("127.0.0.1", server.port)).close()
                good += (await ask(server.port, "GET", "/")).status == 200
        return good

    assert run(main()) == 40


def test_server_does_not_count_those_that_it_refused():
    async def main():
        async with serving(limits=cp.ServerLimits(connections=2, linger=5)) as server:
            streams = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(9)]
            await soon(lambda: len(server._open) == 2)
            await asyncio.sleep(0.05)
            for _, writer in streams[:2]:
                writer.close()
            await soon(lambda: not server._open)
            answer = await ask(server.port, "GET", "/")
            for _, writer in streams:
                writer.transport.abort()
            return answer.status

    assert run(main()) == 200


@pytest.mark.parametrize("host, name", [("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")])
def test_server_knows_the_address_that_it_listens_on(host, name):
    async def main():
        async with serving(host=host) as server:
            own = "%s:%d" % (name, server.port)
            got = []
            for pairs in (
                "Host: %s" % own,
                "Host: %s\r\nOrigin: http://%s" % (own, own),
                "Host: localhost",
                "Host: 127.0.0.3:%d" % server.port,
                "Host: %s\r\nOrigin: http://127.0.0.3:%d" % (own, server.port),
                "Host: 0.0.0.0",
            ):
                raw = "GET / HTTP/1.1\r\n%s\r\n\r\n" % pairs
                got.append(words_of(await send_pieces(host, server.port, [raw.encode()])))
            return got

    assert run(main()) == ["ok", "ok", "ok", "403", "403", "403"]


STOPPED_SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import copilot_proxy as cp

async def handle(request, out):
    await out.send(200, [], b"x" * int(request.path[1:] or "1") + request.body)

async def main():
    limits = cp.ServerLimits(head=0.3, body=0.3, idle=0.3, stall=0.3)
    server = cp.HTTPServer(cp.Config(port=0), handle, limits)
    print((await server.start())[1], flush=True)
    await asyncio.sleep(30)

asyncio.run(main())
"""
WHILE_STOPPED = [  # name, bytes before, bytes that come meanwhile, size of the answer
    ("head", b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n\r\n", 1),
    ("idle", b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    ("body", heavy_post(9)[:-3], b"xxx", 10),
    ("large body", heavy_post(900000)[:-800000], b"x" * 800000, 900001),
    ("slow client", b"GET /9000000 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", 9000000),
]


async def check_stopped_server(name, before, after, size):
    """Start a server, stop its process between two parts of a request, let it go on."""
    words = ["-c", STOPPED_SERVER, HERE]
    child = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=subprocess.PIPE)
    try:
        port = int(await child.stdout.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        writer.write(before)
        await asyncio.sleep(0.1)
        child.send_signal(signal.SIGSTOP)
        writer.write(after)
        got = b""
        end = time.monotonic() + 0.5
        while time.monotonic() < end:  # a slow client goes on reading
            with contextlib.suppress(asyncio.TimeoutError):
                got += await asyncio.wait_for(reader.read(1 << 20), end - time.monotonic())
        child.send_signal(signal.SIGCONT)
        while len(got.partition(b"\r\n\r\n")[2]) < size:
            piece = await reader.read(1 << 20)
            assert piece, got[:200]
            got += piece
        assert got.startswith(b"HTTP/1.1 200 "), name
        writer.close()
    finally:
        child.kill()
        await child.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@in_a_loop
async def test_server_reads_what_came_while_it_was_stopped():
    await asyncio.gather(*(check_stopped_server(*row) for row in WHILE_STOPPED))


# ============================================================================
# 16. GitHub sign-in
# ============================================================================

LOGIN_CODE = ("POST", "/login/device/code")
POLL = ("POST", "/login/oauth/access_token")
MINT = ("GET", "/copilot_internal/v2/token")
PENDING = {"error": "authorization_pending"}
LOGIN_LIMITED = {"message": "API rate limit exceeded for user ID 1.", "status": "403"}
ENVELOPE = {
    "message": "Resource not accessible by integration",
    "error_details": {"message": "You are currently logged in as octocat.", "title": "Sign up"},
}
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


@pytest.fixture
def told():
    """What is logged, at every level."""
    stream = io.StringIO()
    level = cp.LOG.level
    handler = logging.StreamHandler(stream)
    cp.LOG.addHandler(handler)
    cp.LOG.setLevel(logging.DEBUG)
    yield stream.getvalue
    cp.LOG.removeHandler(handler)
    cp.LOG.setLevel(level)


class SignIn:
    """A CopilotAuth in front of a FakeUpstream; its sleep only moves its clock."""

    def __init__(self, up, path, **settings):
        self.config = cp.Config(
            **{"github_url": up.url, "github_api_url": up.url, "token_file": str(path), **settings}
        )
        self.up = up
        self.up.interval = 1
        self.clock = FakeClock()
        self.slept = []
        self.pool = cp.ConnectionPool()
        self.store = cp.TokenStore(self.config.token_file)
        self.auth = self.another()

    def another(self):
        """What another process would have."""
        return cp.CopilotAuth(self.config, self.pool, self.store, self.clock, self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.advance(seconds)

    async def fails(self, kind=cp.ProxyError):
        with pytest.raises(kind) as caught:
            await self.auth.token()
        return caught.value

    async def polled(self, auth=None):
        """Let the pending code be used or die; whether somebody is signed in then."""
        auth = auth or self.auth
        while auth.check()["status"] == "pending_verification":
            await asyncio.sleep(0.001)
        return auth.check()["status"] == "authenticated"

    async def settle(self):
        """Let a background exchange end."""
        while self.auth._tokens._flight:
            await asyncio.sleep(0.001)


def sign_in(test, path, **settings):
    """Run `test(one)`; nothing may run, complain or say a secret when it is over."""

    async def both():
        trouble = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        async with FakeUpstream() as up:
            one = SignIn(up, path, **settings)
            try:
                await test(one)
            finally:
                one.auth.close()
                await one.pool.close()
                mine = [
                    task
                    for task in asyncio.all_tasks() - {asyncio.current_task()}
                    if "CopilotAuth" in repr(task)
                ]
                __import__("gc").collect()  # tells of errors that nobody has retrieved
                assert mine == [] and trouble == []

    asyncio.run(asyncio.wait_for(both(), 20))


def saved(path, github="ghu_test", copilot=None):
    path.write_text(json.dumps({"githubToken": github, "copilotToken": copilot, "savedAt": 1}))
    path.chmod(0o600)
    return path


# -- the file --------------------------------------------------------------------------


def test_token_file_shape(tmp_path):
    store = cp.TokenStore(str(tmp_path / "new" / "tokens.json"))
    assert store.load() == {}
    store.save("ghu_1", {"token": "tid=\ud800"})
    got = json.loads(pathlib.Path(store.path).read_text())
    assert list(got) == ["githubToken", "copilotToken", "savedAt"] and store.load() == got
    assert abs(got["savedAt"] / 1000 - time.time()) < 60
    if os.name != "nt":
        assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
    before = os.stat(store.path).st_ino
    store.save("ghu_2")
    assert os.stat(store.path).st_ino != before  # replaced, not written over
    assert os.listdir(os.path.dirname(store.path)) == ["tokens.json"]
    store.clear()
    store.clear()
    assert store.load() == {} and not os.path.exists(store.path)


@posix
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(saved(path.with_name("other"))),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(str(path)),
        lambda path: os.chown(str(saved(path)), 12345, 1),
        *[
            lambda path, raw=raw: path.write_bytes(raw)
            for raw in (
                b'{"a":"%s"}' % (b"x" * 65536),
                b"",
                b"[]",
                b"\xff",
                b"{",
                b"NaN",
                b"[" * 60000,
            )
        ],
    ],
)
def test_token_file_refused(tmp_path, told, make):
    path = tmp_path / "tokens.json"
    try:
        make(path)
    except PermissionError:
        pytest.skip("only root can give files away")
    store = cp.TokenStore(str(path))
    clock = FakeClock()
    auth = cp.CopilotAuth(cp.Config(), None, store, clock)
    for _ in range(3):
        clock.advance(1)
        assert not auth.signed_in()
    assert told().count("token_file_ignored") == 1 and store.load() == {}


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"githubToken": 7},
        {"githubToken": "ghu\r\nx: y"},
        {"githubToken": "ghu_\xe9"},
        {"githubToken": None},
        {"copilotToken": {"token": "tid=1", "expires_at": 10**400}},
    ],
)
def test_token_file_without_a_login(tmp_path, obj):
    async def test(one):
        assert one.auth.check()["status"] == "unauthenticated"
        await one.fails(cp.AuthRequired)

    (tmp_path / "t").write_text(json.dumps(obj))
    sign_in(test, tmp_path / "t")


def fork(work):
    """The id of a child that does `work()`."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


@posix
def test_token_file_loose_mode_full_disk_no_folder(tmp_path, told):
    path = saved(tmp_path / "t")
    path.chmod(0o644)
    assert cp.TokenStore(str(path)).load()["githubToken"] == "ghu_test"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "token_file_mode_repaired" in told()
    before = path.read_bytes()
    store = cp.TokenStore(str(path))

    def fill():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
        store.save("ghu_new")
        os.kill(os.getpid(), signal.SIGKILL)  # proves that save() raised nothing

    assert os.waitpid(fork(fill), 0)[1] == signal.SIGKILL
    assert path.read_bytes() == before and os.listdir(str(tmp_path)) == ["t"]
    store = cp.TokenStore(str(path / "below"))
    store.save("ghu_1")
    assert store.load() == {} and "token_file_not_saved" in told()
    (tmp_path / "folder").mkdir()
    with pytest.raises(cp.ProxyError, match="still signed in"):
        cp.TokenStore(str(tmp_path / "folder")).clear()


@posix
def test_token_file_survives_kill(tmp_path):
    path = saved(tmp_path / "t", "0" * 9000)
    dice = random.Random(3)
    store = cp.TokenStore(str(path))
    seen = set()
    for _ in range(10):
        child = fork(lambda: [store.save(str(n % 10) * 9000) for n in range(10**6)])
        time.sleep(dice.random() / 20)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        token = json.loads(path.read_text())["githubToken"]
        assert token == token[0] * 9000
        seen.add(token)
    assert len(seen) > 1


# -- the device flow -------------------------------------------------------------------


def test_login_states(tmp_path):
    async def test(one):
        auth = one.auth
        used = asyncio.Event()
        one.up.script[POLL] = [(200, {}, [used, json.dumps(PENDING).encode()])]
        assert auth.status() == {"status": "unauthenticated"}
        assert "login" in auth.check()["error"] and await one.polled() is False
        codes = await asyncio.gather(*[auth.login() for _ in range(20)])
        assert codes == [codes[0]] * 20 and len(one.up.asked(LOGIN_CODE[1])) == 1
        assert codes[0] == {
            "verification_uri": one.up.url + "/login/device",
            "user_code": "WDJB-MJHT",
            "expires_in": 899,
            "interval": 1,
            "status": "pending_verification",
        }
        one.clock.advance(60)
        assert (await auth.login())["expires_in"] == 839  # the same code, older
        asked = len(one.up.requests)
        assert auth.check() == {"status": "pending_verification"}
        assert auth.status() == {"status": "unauthenticated"}
        assert len(one.up.requests) == asked and auth.logout() == {"status": "logged_out"}
        assert auth.check()["status"] == "unauthenticated"
        await auth.login()
        used.set()
        assert await one.polled() and auth.check() == {"status": "authenticated"}
        assert await auth.login() == auth.check()
        assert one.store.load()["githubToken"] == auth.github_token() == "ghu_device"
        assert len(one.up.mints) == 1  # at once: the first status tells its end
        left = auth.status()["expiresAt"] - time.time()
        assert 1550 < left < 1570
        assert one.store.load()["copilotToken"]["token"] == one.up.mints[0]
        assert auth.logout() == {"status": "logged_out"} and not os.listdir(str(tmp_path))
        await one.fails(cp.AuthRequired)

    sign_in(test, tmp_path / "t")


SLOW = "slow_down"
SLOWER = {"error": "slow_down", "interval": 30}
POLLS = [  # what GitHub says, how long we slept before each poll, the error
    ([], [1], ""),
    (["authorization_pending"] * 2, [1, 1, 1], ""),
    ([SLOW, SLOW, "authorization_pending"], [1, 6, 11, 11], ""),
    ([SLOWER, {"error": SLOW, "interval": 5}], [1, 30, 35], ""),
    ([SLOW] * 20, [1] + list(range(6, 96, 5)) + [26], "expired"),
    (["expired_token"], [1], "expired"),
    (["access_denied"], [1], "cancelled"),
    (["device_flow_disabled"], [1], "GITHUB_TOKEN"),
    (["incorrect_device_code"], [1], "incorrect device code"),
    (["incorrect_client_credentials"], [1], "GITHUB_COPILOT_CLIENT_ID"),
    ([{"access_token": "bad\r\ntoken"}], [1], "refuses"),
    ([{}], [1], "refuses"),
]


@pytest.mark.parametrize("said, slept, error", POLLS)
def test_login_polls(tmp_path, said, slept, error):
    async def test(one):
        one.up.device = list(said)
        await one.auth.login()
        assert await one.polled() is not bool(error)
        assert one.slept == slept
        if error:
            state = one.auth.check()
            assert state["status"] == "unauthenticated" and error in state["error"]
            assert one.auth.status() == state and not os.path.exists(one.store.path)
            one.up.device = []
            await one.auth.login()  # afresh, with a new code
            assert await one.polled() and len(one.up.asked(LOGIN_CODE[1])) == 2

    sign_in(test, tmp_path / "t")


def test_login_outlives_faults_of_the_network(tmp_path):
    async def test(one):
        one.up.script[POLL] = [
            whole(502, "<html>bad gateway</html>", "text/html"),
            whole(200, "login please"),
            (200, {}, [b'{"acc', RESET]),
            (200, {}, [CLOSE]),
            whole(429, {"message": "x"}),
        ]
        await one.auth.login()
        assert await one.polled()
        assert one.slept == [1] * 7

    sign_in(test, tmp_path / "t")


@pytest.mark.parametrize(
    "answer, error",
    [
        (whole(502, "<html><title>Oops</title>", "text/html"), "Oops"),
        (whole(200, "sign in to the hotel"), "company proxy"),
        (whole(404, {"error": "Not Found"}), "GITHUB_COPILOT_CLIENT_ID"),
        (whole(200, {"error": "device_flow_disabled"}), "switched"),
        (whole(200, {"device_code": 1, "user_code": "A", "verification_uri": "u"}), "refuses"),
        (whole(200, []), "company proxy"),
    ],
)
def test_login_that_cannot_start(tmp_path, answer, error):
    async def test(one):
        one.up.script[LOGIN_CODE] = [answer]
        with pytest.raises(cp.UpstreamError, match=error):
            await one.auth.login()
        assert error in one.auth.check()["error"] and one.slept == []
        assert (await one.auth.login())["user_code"]

    sign_in(test, tmp_path / "t")


def test_login_is_given_up(tmp_path):
    async def test(one):
        one.up.script[LOGIN_CODE] = [(200, {}, [HANG])]
        first = asyncio.ensure_future(one.auth.login())
        while not one.up.requests:
            await asyncio.sleep(0.001)
        one.auth.logout()
        with pytest.raises(cp.AuthRequired, match="signed out"):
            await first
        huge = {
            "device_code": "d",
            "user_code": "u",
            "verification_uri": "v",
            "expires_in": 10**9,
            "interval": -1,
        }
        one.up.script[LOGIN_CODE] = [whole(200, huge)]
        one.up.script[POLL] = [(200, {}, [HANG])] * 2
        assert (await one.auth.login())[
            "expires_in"
        ] == 3595  # waits 5 s before each poll, as where no interval is named
        one.auth.logout()
        await one.auth.login()  # and close() with a poll under way

    sign_in(test, tmp_path / "t")


def test_login_in_another_process_is_taken_over(tmp_path):
    async def test(one):
        await one.fails(cp.AuthRequired)
        other = one.another()
        await other.login()
        await one.polled(other)
        other.close()
        assert (await one.auth.token()).token in one.up.mints
        assert len(one.up.mints) == 1  # the saved one

    sign_in(test, tmp_path / "t")


# -- the Copilot token -----------------------------------------------------------------


def test_token_is_exchanged_once_for_all(tmp_path):
    async def test(one):
        go = asyncio.Event()
        one.up.script[MINT] = [
            (
                200,
                {},
                [go, json.dumps({"token": "tid=1", "expires_at": 5, "refresh_in": 1500}).encode()],
            )
        ]
        calls = [asyncio.ensure_future(one.auth.token()) for _ in range(50)]
        while not one.up.requests:
            await asyncio.sleep(0.001)
        calls[0].cancel()
        await asyncio.sleep(0.001)
        go.set()
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError) and got[1:] == [got[1]] * 49
        assert len(one.up.asked(MINT[1])) == 1
        assert (got[1].api, got[1].proxy) == (
            "https://api.githubcopilot.com",
            "https://copilot-proxy.githubusercontent.com",
        )
        asked = one.up.asked(MINT[1])[0]
        assert asked.header("authorization") == "token ghu_test"
        assert asked.header("x-github-api-version") == "2025-04-01"
        assert asked.header("user-agent").startswith("GitHubCopilotChat/0.")
        again = [one.auth.drop_refused(got[1], expired=True) for _ in range(50)]
        fresh = await asyncio.gather(*[one.auth.token() for _ in range(50)])
        assert again == [True] * 50 and fresh == [fresh[0]] * 50
        assert len(one.up.mints) == 1 and one.auth.drop_refused(got[1], expired=True)
        assert await one.auth.token() == fresh[0]  # an old one's refusal says nothing of it

    sign_in(test, saved(tmp_path / "t"))


def test_token_that_has_worked_is_replaced_at_any_time(tmp_path):
    async def test(one):
        for number in range(20):
            token = await one.auth.token()
            one.auth.worked = token
            assert one.auth.drop_refused(token, expired=True)
            one.clock.advance(1)
        assert len(one.up.mints) == 20

    sign_in(test, saved(tmp_path / "t"))


def test_token_that_never_worked_is_replaced_five_times_in_five_minutes(tmp_path):
    async def test(one):
        for number in range(5):
            token = await one.auth.token()
            assert one.auth.drop_refused(token, expired=True)
            one.clock.advance(10)
        for waited in (0, 100, 149):
            one.clock.advance(waited)
            exc = await one.fails(cp.UpstreamError)
            assert exc.status == 503 and "still signed in" in str(exc)
            one.clock.advance(int(exc.retry_after) - 1 if waited == 149 else 0)
        assert one.auth.check() == {"status": "authenticated"} and len(one.up.mints) == 5
        one.clock.advance(1)
        await one.auth.token()
        assert len(one.up.mints) == 6

    sign_in(test, saved(tmp_path / "t"))


def test_token_good_for_some_requests_is_not_minted_in_a_loop(tmp_path):
    async def test(one):
        for number in range(30):  # each request of one kind is answered "Forbidden"
            token = await one.auth.token()
            one.auth.worked = token
            again = one.auth.drop_refused(token, expired=False)
            assert again is (number < 5)
        assert (await one.auth.token()).token == one.up.mints[-1] and len(one.up.mints) == 6

    sign_in(test, saved(tmp_path / "t"))


def test_token_renew_is_a_proof(tmp_path):
    async def test(one):
        kept = await one.auth.token()
        fresh = await asyncio.gather(*(one.auth.renew() for _ in range(5)))
        assert fresh == fresh[:1] * 5 and fresh[0].token != kept.token and len(one.up.mints) == 2
        assert await one.auth.token() == fresh[0]
        one.up.github_tokens.clear()
        with pytest.raises(cp.AuthRequired):
            await one.auth.renew()

    sign_in(test, saved(tmp_path / "t"))


@pytest.mark.parametrize("skew", [-86400, 0, 86400])
def test_token_is_renewed_early_in_the_background(tmp_path, skew):
    async def test(one):
        one.up.token_fields = {"expires_at": int(time.time()) + 1800 + skew}
        first = await one.auth.token()
        assert abs(first.expires_at - time.time() - 1560) < 5
        assert one.store.load()["copilotToken"]["expires_at"] == first.expires_at
        one.clock.advance(1259)
        assert await one.auth.token() == first and len(one.up.asked(MINT[1])) == 1
        one.clock.advance(2)
        one.up.script[MINT] = [
            whole(500, "<title>Unicorn"),
            whole(429, {"message": "x"}, **{"retry-after": "90"}),
        ]
        for pause in (0, 0.5, 0.6, 89):  # fails, too early, fails, too early
            one.clock.advance(pause)
            assert [await one.auth.token() for _ in range(5)] == [first] * 5
            await one.settle()
        assert len(one.up.asked(MINT[1])) == 3
        one.clock.advance(2)
        assert await one.auth.token() == first
        await one.settle()
        second = await one.auth.token()
        assert second.token == one.up.mints[1] and len(one.up.asked(MINT[1])) == 4
        one.clock.advance(1561)  # asleep for long: now they wait
        assert (await one.auth.token()).token == one.up.mints[2]

    sign_in(test, saved(tmp_path / "t"))


def test_token_refused_while_no_other_may_be_asked_for(tmp_path):
    async def test(one):
        token = await one.auth.token()
        one.auth.worked = token
        one.clock.advance(1300)
        one.up.script[MINT] = [whole(503, "no", **{"retry-after": "90"})]
        assert await one.auth.token() == token
        await one.settle()
        assert one.auth.drop_refused(token, expired=True)
        exc = await one.fails(cp.UpstreamError)
        assert exc.retry_after == "90" and len(one.up.asked(MINT[1])) == 2
        one.clock.advance(90)
        assert (await one.auth.token()).token == one.up.mints[-1] != token.token

    sign_in(test, saved(tmp_path / "t"))


def test_token_failures_back_off(tmp_path):
    async def test(one):
        one.up.script[MINT] = [whole(500, "no")] * 1100
        for number, expected in enumerate((1, 2, 4, 8, 16, 32, 60, 60), 1):
            first = await one.fails(cp.UpstreamError)
            again = await one.fails()
            assert first is again and again.status == 502
            one.clock.advance(expected - 0.01)
            await one.fails()
            assert len(one.up.asked(MINT[1])) == number
            one.clock.advance(0.02)
        assert one.auth.check()["status"] == "authenticated"
        one.auth._failures = 5000  # a night of it
        await one.fails(cp.UpstreamError)
        one.clock.advance(60)
        one.up.script[MINT] = [None, whole(500, "no")]
        assert (await one.auth.token()).token in one.up.mints
        one.clock.advance(2000)
        await one.fails(cp.UpstreamError)
        one.clock.advance(1)  # from the beginning
        assert (await one.auth.token()).token in one.up.mints

    sign_in(test, saved(tmp_path / "t"))


FOUND = {"x-github-request-id": "1"}
BAD = {"message": "Bad credentials", "status": "401"}
EXCHANGES = [  # status, body, headers, GITHUB_TOKEN, class, status, text
    (401, BAD, FOUND, "", cp.AuthRequired, 401, "no longer accepts the sign-in"),
    (401, BAD, FOUND, "ghu_x", cp.AuthRequired, 401, "GITHUB_TOKEN: unset it"),
    (401, BAD, FOUND, "ghp_x", cp.AuthRequired, 401, "classic"),
    (404, {"message": "Not Found"}, FOUND, "github_pat_x", cp.AuthRequired, 401, "fine-gr"),
    (404, {"message": "Not Found"}, FOUND, "ghs_x", cp.AuthRequired, 401, "Actions"),
    (403, {"message": "no"}, FOUND, "gho_x", cp.AuthRequired, 401, "gho_"),
    (404, {"message": "Not Found"}, FOUND, "", cp.Forbidden, 403, "GITHUB_URL"),
    (403, LOGIN_LIMITED, FOUND, "ghp_x", cp.UpstreamError, 403, "still signed in"),
    (403, LOGIN_LIMITED, {}, "", cp.UpstreamError, 403, "still signed in"),
    (429, {}, {}, "", cp.UpstreamError, 429, "limits this account"),
    (500, "<html><title>Unicorn!</title>", FOUND, "", cp.UpstreamError, 502, "token service"),
    (403, {"error_details": []}, FOUND, "", cp.Forbidden, 403, "api.github.com refuses"),
    (403, [1], FOUND, "", cp.Forbidden, 403, "organisation"),
    (403, {"message": "Blocked by policy"}, FOUND, "", cp.Forbidden, 403, "Blocked by policy"),
    (503, "<title>Unicorn! - GitHub</title>", {}, "", cp.UpstreamError, 502, "Unicorn"),
    (502, "GitHub is down for maintenance", {}, "", cp.UpstreamError, 502, "maintenance"),
    *[
        (status, "<html>blocked</html>", {}, env, cp.UpstreamError, 502, "company proxy")
        for status in (301, 401, 403, 404, 503)
        for env in ("", "ghp_x")
    ],
]


@pytest.mark.parametrize("status, body, headers, env, kind, expected, text", EXCHANGES)
def test_token_refusals(status, body, headers, env, kind, expected, text):
    exc = cp.exchange_error(
        status,
        headers,
        (body if isinstance(body, str) else json.dumps(body)).encode(),
        env,
        "api.github.com",
    )
    assert type(exc) is kind and exc.status == expected and text in str(exc)
    assert ("company proxy" in str(exc)) == ("company" in text)


def test_token_notifications_are_told_apart():
    texts = {}
    for row in [*cp.NOTIFICATIONS, "brand_new: refuses Copilot"]:
        kinds, text = row.split(": ")
        for kind in kinds.split():
            body = {**ENVELOPE, "can_signup_for_limited": kind == "not_signed_up"}
            body["error_details"] = {**body["error_details"], "notification_id": kind}
            exc = cp.exchange_error(403, FOUND, json.dumps(body).encode(), "gho_1", "h")
            texts[kind] = str(exc)
            assert text in str(exc) and "octocat" not in str(exc)
            assert "Free" in str(exc) or kind != "not_signed_up"
            assert exc.should_retry is (kind == "server_error") and exc.status == 403
            assert (exc.retry_after == "3600") == (kind == "programmatic_token_generation")
    assert len(texts) == 18 and len(set(texts.values())) == 18


def test_token_refused_by_github_ends_the_minting(tmp_path, told):
    async def test(one):
        one.up.github_tokens.clear()
        for _ in range(3):
            assert "no longer accepts" in str(await one.fails(cp.AuthRequired))
            one.clock.advance(3600)
        with pytest.raises(cp.AuthRequired):
            one.auth.github_token()
        assert len(one.up.asked(MINT[1])) == 1
        assert one.auth.status() == one.auth.check()
        assert "no longer accepts" in one.auth.status()["error"]
        assert one.store.load()["githubToken"] == "ghu_test"  # kept: GitHub may be wrong
        assert (await one.auth.login())["status"] == "pending_verification"
        assert await one.polled() and await one.auth.token()
        one.up.github_tokens.clear()
        one.clock.advance(1300)
        usable = await one.auth.token()
        await one.settle()
        assert await one.auth.token() == usable  # as long as it is good
        assert one.auth.status()["status"] == "unauthenticated"
        one.clock.advance(300)
        await one.fails(cp.AuthRequired)
        assert len(one.up.asked(MINT[1])) == 3

    sign_in(test, saved(tmp_path / "t"))
    assert "copilot_token_failed" in told() and not re.search(r"ghu_\w|tid=\w|octocat|dev-", told())


@pytest.mark.parametrize(
    "answer, seconds",
    [
        (whole(429, {"message": "x"}, **{"retry-after": "90"}), 90),
        (whole(403, LOGIN_LIMITED), 60),
        (whole(403, LOGIN_LIMITED, **{"retry-after": "7"}), 7),
        (whole(500, "no"), 1),
        (whole(503, "no", **{"retry-after": "soon"}), 1),
        (whole(503, "no", **{"retry-after": "Wed, 99 Oct 2026 07:28:00 GMT"}), 1),
    ],
)
def test_token_throttled_exchange_tells_the_true_time(tmp_path, answer, seconds):
    async def test(one):
        one.up.script[MINT] = [answer]
        exc = await one.fails(cp.UpstreamError)
        assert int(exc.retry_after) == seconds
        left = int(exc.retry_after)
        while left > 1:
            one.clock.advance(left // 2)
            exc = await one.fails(cp.UpstreamError)
            assert len(one.up.asked(MINT[1])) == 1  # refused for as long as it says
            left = int(exc.retry_after)
        one.clock.advance(1)
        assert await one.auth.token()

    sign_in(test, saved(tmp_path / "t"))


def test_login_of_another_process_is_noticed_at_once(tmp_path):
    async def test(one):
        path = tmp_path / "t"
        soon = lambda: one.clock.advance(cp.LOOK_EVERY)  # the next request, by far
        first = await one.auth.token()
        one.up.github_tokens.add("ghu_second")
        saved(path, "ghu_second")
        soon()
        second = await one.auth.token()
        assert second.token != first.token and one.auth.github_token() == "ghu_second"
        one.store.clear()  # by `logout` in another terminal
        soon()
        assert one.auth.check()["status"] == "unauthenticated"
        await one.fails(cp.AuthRequired)
        saved(path, "ghu_second")
        soon()
        assert one.auth.status()["status"] == "authenticated"
        path.write_text("{")  # cannot be trusted
        soon()
        await one.fails(cp.AuthRequired)
        saved(path)
        soon()
        assert one.auth.signed_in()
        looks = []
        mark = one.store.mark
        one.store.mark = lambda: looks.append("mark") or mark()
        one.store.load = lambda: looks.append("load") or {}
        for _ in range(100):
            one.auth.signed_in()
        assert looks == []  # one look for all that a request asks
        soon()
        assert one.auth.signed_in() and looks == ["mark"]  # which costs a stat, no more

    sign_in(test, saved(tmp_path / "t"))


def test_login_elsewhere_ends_our_own_code(tmp_path):
    async def test(one):
        one.up.script[POLL] = [(200, {}, [HANG])]
        await one.auth.login()
        saved(tmp_path / "t")
        assert one.auth.check()["status"] in ("authenticated", "pending_verification")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert one.auth.check() == {"status": "authenticated"}
        assert await one.auth.token()

    sign_in(test, tmp_path / "t")


def test_login_is_pending_until_the_first_token_is_there(tmp_path):
    async def test(one):
        go = asyncio.Event()
        one.up.script[MINT] = [(200, {}, [go, b'{"token":"tid=1","refresh_in":1500}'])]
        await one.auth.login()
        while not one.up.asked(MINT[1]):
            await asyncio.sleep(0.001)
        assert one.auth.check() == {"status": "pending_verification"}
        assert one.auth.status() == {"status": "unauthenticated"}
        go.set()
        assert await one.polled()
        assert type(one.auth.status()["expiresAt"]) is int
        one.auth.logout()
        one.up.script[MINT] = [whole(500, "no")]  # signed in all the same
        await one.auth.login()
        assert await one.polled()
        assert one.auth.status() == {"status": "authenticated", "expiresAt": None}

    sign_in(test, tmp_path / "t")


def test_token_file_leftovers_are_swept(tmp_path):
    async def test(one):
        assert not left.exists() and kept.exists() and folder.is_dir()
        left.write_text("{}")
        one.auth.logout()
        assert not left.exists() and kept.exists()

    left = tmp_path / ".copilot-0123456789abcdef"
    kept = tmp_path / ".copilot-0123456789abcdeX"
    folder = tmp_path / ".copilot-fedcba9876543210"
    folder.mkdir()
    for path in (left, kept):
        path.write_text('{"githubToken":"ghu_left"}')
    sign_in(test, saved(tmp_path / "t"))


@posix
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(str(path)),
        lambda path: path.symlink_to("/dev/null"),
    ],
)
def test_token_file_that_is_no_file_is_one_clear_line(tmp_path, make):
    path = tmp_path / "t"
    cp.TokenStore(str(path)).check()
    make(path)
    with pytest.raises(cp.ConfigError) as caught:
        cp.Program(cp.Config(token_file=str(path)))
    text = str(caught.value)
    assert "TOKEN_FILE" in text and "regular file" in text and "\n" not in text


def test_token_entitlement_and_throttle_keep_the_login(tmp_path):
    async def test(one):
        details = {**ENVELOPE["error_details"], "notification_id": "no_copilot_access"}
        for answer, kind in (
            (LOGIN_LIMITED, cp.UpstreamError),
            ({**ENVELOPE, "error_details": details}, cp.Forbidden),
        ):
            one.up.script[MINT] = [whole(403, answer)]
            asked = len(one.up.asked(MINT[1]))
            for _ in range(3):
                await one.fails(kind)
                one.clock.advance(19)
            assert len(one.up.asked(MINT[1])) == asked + 1
            assert one.auth.check() == {"status": "authenticated"}
            one.clock.advance(10)
        await one.auth.token()

    sign_in(test, saved(tmp_path / "t"))


@pytest.mark.parametrize(
    "told, left",
    [(None, 1560), (0, 1560), ("900", 1560), (900, 960), (59, 120), (61, 121), (90000, 86460)],
)
def test_token_life(tmp_path, told, left):
    async def test(one):
        one.up.token_fields = {"refresh_in": told}
        await one.auth.token()
        assert one.auth._tokens.left == left

    sign_in(test, saved(tmp_path / "t"))


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>",
        b"[]",
        b'{"token":"tid=9',
        b'{"token":7}',
        b'{"token":"tid=9\\n"}',
        b'{"token":""}',
        b"x" * 40000,
    ],
    ids=short,
)
def test_token_that_is_none(tmp_path, raw):
    async def test(one):
        one.up.script[MINT] = [(200, {}, [raw])]
        assert "tid=" not in str(await one.fails(cp.UpstreamError))
        assert one.auth.check() == {"status": "authenticated"}

    sign_in(test, saved(tmp_path / "t"))


def test_token_and_logout_while_it_is_exchanged(tmp_path):
    async def test(one):
        for github in ("ghu_test", "ghu_second"):
            go = asyncio.Event()
            asked = len(one.up.requests)
            one.up.script[MINT] = [(200, {}, [go, b'{"token":"tid=late"}'])]
            late = asyncio.ensure_future(one.auth.token())
            while len(one.up.requests) == asked:
                await asyncio.sleep(0.001)
            one.auth.logout()
            if github == "ghu_second":
                hold = asyncio.Event()
                one.up.script[MINT] = [(200, {}, [hold, b'{"token":"tid=new"}'])]
                await one.auth.login()
                while one.auth._tokens._flight is None:
                    await asyncio.sleep(0.001)
                fresh = [asyncio.ensure_future(one.auth.token())]
                await asyncio.sleep(0)
            go.set()
            with pytest.raises(cp.AuthRequired):
                await late
            if github == "ghu_second":
                fresh.append(asyncio.ensure_future(one.auth.token()))  # joins
                hold.set()
                assert [t.token for t in await asyncio.gather(*fresh)] == ["tid=new"] * 2
                assert await one.polled()
            if github == "ghu_test":
                assert one.store.load() == {} and one.auth._tokens._flight is None
                saved(tmp_path / "t")
                one.clock.advance(1)
        assert one.store.load()["githubToken"] == "ghu_device"

    sign_in(test, saved(tmp_path / "t"))


SAVED = {"token": "tid=s;proxy-ep=proxy.business.githubcopilot.com", "refresh_in": 1500}


@pytest.mark.parametrize(
    "left, taken", [(1000, True), (355, False), (-5, False), (3601, False), (3590, True)]
)
def test_token_saved_is_taken_over_only_when_surely_good(tmp_path, left, taken):
    async def test(one):
        token = await one.auth.token()
        assert one.up.mints == ([] if taken else [token.token])
        if taken:
            assert token.api == "https://api.business.githubcopilot.com"
            assert abs(token.expires_at - time.time() - left) < 5
            assert one.auth.drop_refused(token, expired=True)  # it may be renewed at once
            assert (await one.auth.token()).token == one.up.mints[0]
        elsewhere = one.another()
        assert (await elsewhere.token()).token == one.up.mints[0]  # saved, taken over
        assert len(one.up.mints) == 1
        elsewhere.close()

    sign_in(test, saved(tmp_path / "t", copilot={**SAVED, "expires_at": int(time.time()) + left}))


API = "https://api.githubcopilot.com"
GHE = "https://t.ghe.com"
AUTOCOMPLETE = "https://copilot-proxy.githubusercontent.com"


@pytest.mark.parametrize(
    "settings, reply, expected",
    [
        ({}, {}, (API, AUTOCOMPLETE)),
        ({}, SAVED, tuple("https://%s.business.githubcopilot.com" % n for n in ("api", "proxy"))),
        (
            {},
            {**SAVED, "endpoints": {"api": "https://a/", "proxy": "https://p:8443"}},
            ("https://a", "https://p:8443"),
        ),
        (
            {},
            {"endpoints": {"api": "http://127.0.0.1:1", "proxy": "http://localhost"}},
            ("http://127.0.0.1:1", "http://localhost"),
        ),
        *[
            ({}, {"endpoints": {"api": bad, "proxy": bad}}, (API, AUTOCOMPLETE))
            for bad in (
                "http://a",
                "https://a/b",
                "https://u@a",
                "https://\xe9",
                "ftp://a",
                "https://a\n",
                7,
                None,
                "http://127.0.0.1.evil.com",
                "https://",
            )
        ],
        ({}, {"endpoints": ["https://a"]}, (API, AUTOCOMPLETE)),
        ({"github_url": GHE}, {}, ("https://copilot-api.t.ghe.com", AUTOCOMPLETE)),
        (
            {"github_url": GHE, "copilot_api_url": "http://c"},
            SAVED,
            ("http://c", "https://proxy.business.githubcopilot.com"),
        ),
    ],
)
def test_token_endpoints(settings, reply, expected):
    assert cp.endpoints_of(cp.Config(**settings), {"token": "tid=1", **reply}) == expected


def test_token_of_the_environment_is_never_written(tmp_path):
    async def test(one):
        assert await one.auth.login() == {"status": "authenticated"}
        await one.auth.token()
        assert "GITHUB_TOKEN" in one.auth.logout()["note"]
        await one.auth.token()
        assert not os.listdir(str(tmp_path)) and len(one.up.mints) == 2
        saved(tmp_path / "t")
        one.auth.drop_refused(await one.auth.token(), expired=True)
        await one.auth.token()
        assert one.store.load()["copilotToken"] is None
        one.up.github_tokens.clear()
        os.unlink(one.store.path)
        one.clock.advance(2000)
        assert "GITHUB_TOKEN" in str(await one.fails(cp.AuthRequired))
        await one.auth.login()  # instead of it
        assert await one.polled() and await one.auth.token()
        assert one.store.load()["githubToken"] == "ghu_device"
        one.up.github_tokens.clear()
        one.clock.advance(2000)
        assert "GITHUB_TOKEN" not in str(await one.fails(cp.AuthRequired))

    sign_in(test, tmp_path / "t", github_token="ghu_test")


def test_github_is_reached(tmp_path):
    async def test(one):
        await one.auth.ask_github(one.up.url + "/")
        assert len(one.up.requests) == 1
        one.up._server.close()
        await one.pool.close()
        with pytest.raises(cp.ConnectFailed):
            await one.auth.ask_github(one.up.url + "/")

    sign_in(test, tmp_path / "t")


# ============================================================================
# 17. Copilot upstream
# ============================================================================


class Upstream:
    """A CopilotClient in front of a FakeUpstream; it never really sleeps."""

    def __init__(self, up, **settings):
        self.config = cp.Config(
            github_url=up.url,
            github_api_url=up.url,
            github_token="ghu_test",
            token_file=os.path.join(tempfile.gettempdir(), "no-such-token-file"),
            **settings,
        )
        self.pool = cp.ConnectionPool()
        self.clock = FakeClock()
        self.waits = []
        self.auth = cp.CopilotAuth(
            self.config, self.pool, cp.TokenStore(self.config.token_file), self.clock
        )
        self.client = cp.CopilotClient(self.config, self.pool, self.auth, self.clock, self.sleep)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.auth.close()
        await self.pool.close()

    async def post(self, body, endpoint=cp.CHAT, model="gpt-4.1", **more):
        response = await self.client.send(endpoint, cp.dumps(body), cp.Model(model), **more)
        return response, await response.read_all(1 << 20)


CHAT_BODY = {"model": "gpt-4.1", "messages": [{"role": "user", "content": PROMPT}]}
USER_TURN = cp.Initiator("user", "prompt")
UUID_V4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"


def with_upstream(test, **settings):
    """Run `test(up, client)` against a fresh fake."""

    async def both():
        async with FakeUpstream() as up, Upstream(up, **settings) as one:
            await test(up, one)

    asyncio.run(asyncio.wait_for(both(), 30))


# -- pure ------------------------------------------------------------------------------


def test_copilot_headers():
    config = cp.Config()
    got = cp.copilot_headers(config, "tid=1", cp.MESSAGES)
    assert got["authorization"] == "Bearer tid=1"
    assert got["editor-version"].startswith("vscode/")
    assert got["user-agent"].startswith("GitHubCopilotChat/")
    assert got["openai-intent"] == "messages-proxy"
    assert got["content-type"] == "application/json"
    assert "content-type" not in cp.copilot_headers(config, "t", cp.MODELS)
    ghost = cp.copilot_headers(config, "t", cp.engine_path("a/../b"))
    assert ghost["openai-intent"] == "copilot-ghost"
    assert cp.engine_path("a/../b") == "/v1/engines/a%2F..%2Fb/completions"


def test_forwarded_headers():
    given = [
        ("request-id", "1"),
        ("retry-after", "2"),
        ("x-quota-snapshot-chat", "ent=1"),
        ("x-usage-ratelimit-weekly", "r"),
        ("x-github-request-id", "g"),
        ("set-cookie", "c"),
        ("content-length", "3"),
        ("x-quota-snapshot-", ""),
    ]
    assert cp.forward_headers(dict(given)) == given[:5]


RESULT = {"role": "user", "content": [result_of("1"), words("go")]}
CLI = {"user-agent": "claude-cli/2.1.330 (external, cli)"}
OFF = {"type": "disabled"}
NOTICE = "<system-reminder>\n[SYSTEM NOTIFICATION - NOT USER INPUT]\n</system-reminder>\n"
REMIND = words("<system-reminder>\nToday is Monday.\n</system-reminder>\n")


CODEX = {"user-agent": "codex_exec/0.171.0 (Linux; x86_64)"}
OPENCODE = {"user-agent": "opencode/1.18.33 ai-sdk/openai-compatible/2.0"}
MAKE_TITLE = "Generate a title for this conversation:\n"
TITLE = [
    {"role": "system", "content": "You are a title generator."},
    {"role": "user", "content": MAKE_TITLE},
    {"role": "user", "content": "go"},
]
OPENCODE_SUMMARY = "Provide a detailed prompt for continuing our conversation above.\nFocus on"


def last(*texts, **more):
    """A body whose last message has these texts."""
    return ask_of(messages=turns("a", "b", [words(text) for text in texts]), **more)


INITIATORS = [  # name, headers, body, who
    ("typed", {}, ask_of(), "user"),
    ("typed, then system", {}, ask_of(messages=turns("a", ("system", "s"))), "user"),
    ("typed among reminders", CLI, last(REMIND["text"], "go", NOTICE), "user"),
    ("typed with a picture", {}, ask_of(messages=turns([{"type": "image"}])), "user"),
    ("typed behind a reminder", {}, last(REMIND["text"] + "go"), "user"),
    ("typed after a summary", CLI, last("This session is being continued from a", "go"), "user"),
    ("reminders only", CLI, last(REMIND["text"]), "agent"),
    ("tool result", {}, ask_of(messages=[RESULT]), "agent"),
    (
        "tool result, then system",
        {},
        ask_of(messages=[RESULT, {"role": "system", "content": "s"}]),
        "agent",
    ),
    ("continuation", {}, ask_of(messages=turns("a", "b")), "agent"),
    ("chat tool", {}, {"messages": [{"role": "tool", "content": "x"}]}, "agent"),
    (
        "chat typed",
        {},
        {
            "messages": [
                {"role": "user", "content": [words("x")]},
                {"role": "developer", "content": "d"},
            ]
        },
        "user",
    ),
    ("responses text", {}, {"input": "hello"}, "user"),
    (
        "responses typed",
        {},
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "x"}],
                }
            ]
        },
        "user",
    ),
    ("responses result", {}, {"input": [{"type": "function_call_output"}]}, "agent"),
    ("sub-agent", {"x-claude-code-agent-id": "a"}, ask_of(), "agent"),
    (
        "sub-agent by its billing line",
        {},
        ask_of(system=[words("x-anthropic-billing-header: cc_version=2; cc_is_subagent=true;")]),
        "agent",
    ),
    ("class", {"x-claude-code-request-class": "subagent"}, ask_of(), "agent"),
    ("main class", {"x-claude-code-request-class": "main"}, ask_of(), "user"),
    ("compaction header", {"x-claude-code-compaction": "auto"}, ask_of(), "agent"),
    ("compaction", CLI, last("CRITICAL: Respond with TEXT ONLY. Do NOT call any"), "agent"),
    ("compaction of old", CLI, last("Your task is to create a detailed summary of the"), "agent"),
    ("compaction of Codex", CODEX, {"input": "You are performing a CONTEXT CHECKPOINT"}, "agent"),
    ("after it", CODEX, {"input": "Another language model started to solve this problem"}, "agent"),
    ("sub-agent of Codex", {**CODEX, "x-openai-subagent": "review"}, {"input": "x"}, "agent"),
    ("typed in Codex", CODEX, {"input": "Stop hook feedback: how do I configure it?"}, "user"),
    ("opencode title", OPENCODE, {"messages": TITLE}, "agent"),
    ("compaction of opencode", OPENCODE, last("Here is the conversation so far:\n\n<c"), "agent"),
    (
        "after it",
        OPENCODE,
        last("Continue if you have next steps, or stop and ask for clarification if"),
        "agent",
    ),
    ("typed elsewhere", CLI, last("Here is the conversation so far: x"), "user"),
    ("its prompt", OPENCODE, {"messages": TITLE[::2]}, "user"),
    (
        "title in one message",
        OPENCODE,
        ask_of(messages=turns([words(MAKE_TITLE), words("a")])),
        "agent",
    ),
    ("title by another", {}, {"messages": TITLE}, "user"),
    ("title long ago", OPENCODE, ask_of(messages=turns(MAKE_TITLE, "b", "c")), "user"),
    ("sub-agent of opencode", {**OPENCODE, "x-parent-session-id": "s"}, ask_of(), "agent"),
    ("compaction of opencode", OPENCODE, last(OPENCODE_SUMMARY), "agent"),
    ("newer", OPENCODE, last("Here is the conversation so far:\n\n<conversation>"), "agent"),
    ("after it", OPENCODE, last("Continue if you have next steps, or stop and ask for"), "user"),
    (
        "after it, whole",
        OPENCODE,
        last("Continue if you have next steps, or stop and ask for clarification if you are"),
        "agent",
    ),
    ("says agent itself", {"x-initiator": "agent"}, ask_of(), "agent"),
    ("says user itself", {"x-initiator": "user"}, ask_of(messages=[RESULT]), "agent"),
    ("says something else", {"x-initiator": "me"}, ask_of(), "user"),
    ("typed by a person", {}, last("Stop hook feedback: how do I configure it?"), "user"),
    ("reminder by another", {}, last(REMIND["text"]), "user"),
    ("typed in curl", {"user-agent": "curl/8"}, last("<session>\ngo\n</session>"), "user"),
    ("typed in opencode", OPENCODE, last("Output token limit hit. Resume directly"), "user"),
    ("after compaction", CLI, last("This session is being continued from a previous"), "agent"),
    ("background agent", CLI, last(REMIND["text"], NOTICE), "agent"),
    ("resumed", CLI, last("Output token limit hit. Resume directly"), "agent"),
    ("nothing said", CLI, last("go", "[Your previous response had no visible output. P"), "agent"),
    ("hook", CLI, last("Stop hook feedback:\nnot yet"), "agent"),
    ("title", CLI, last("<session>\ngo\n</session>"), "agent"),
    ("search", CLI, last("Perform a web search for the query: x"), "agent"),
    ("fetched page", CLI, ask_of(thinking=OFF, tools=[]), "agent"),
    ("same by another", {}, ask_of(thinking=OFF), "user"),
    ("probe", CLI, ask_of(max_tokens=1), "agent"),
    ("no thinking, tools", CLI, ask_of(thinking=OFF, tools=[tool_of()]), "user"),
    ("strange", {}, {"messages": [None, 3, [], {"role": "user", "content": [[], None]}]}, "user"),
    ("empty", {}, {}, "user"),
]


@pytest.mark.parametrize("name, headers, body, who", INITIATORS, ids=[row[0] for row in INITIATORS])
def test_initiator(name, headers, body, who):
    assert cp.who_asks(headers, body, "s").who == who


@pytest.mark.parametrize(
    "exc, waits",
    [
        (cp.ConnectFailed("x"), 2),
        (cp.ConnectFailed("tls", should_retry=False), 0),
        (cp.UpstreamTimeout("x"), 0),
        (cp.UpstreamError("x", status=408), 1),
        (cp.UpstreamError("x", status=499), 2),
        (cp.UpstreamError("x", status=503), 2),
        (cp.UpstreamError("x", status=503, retry_after="60"), 0),
        (cp.UpstreamError("x", status=503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), 0),
        (cp.UpstreamError("x", status=529, retry_after="3"), 2),
        (cp.UpstreamError("x", status=429, retry_after="1"), 0),
        (cp.UpstreamError("x", status=402), 0),
        (cp.UpstreamError("x", status=403), 0),
        (cp.UpstreamError("x", status=400), 0),
        (cp.BadRequest("x"), 0),
    ],
)
def test_retry_waits(exc, waits):
    for dice in (0.0, 0.999):
        got = [cp.retry_wait(exc, attempt, dice) for attempt in range(4)]
        assert [wait is not None for wait in got] == [at < waits for at in range(4)]
        assert all(0.5 <= wait <= 8 for wait in got if wait is not None)
        assert not exc.retry_after or all(wait >= 3 for wait in got if wait is not None)


QUOTAS = [
    ("credits", USER, "ai_credits", "ai_credits", 1287.4, False),
    (
        "requests, overdrawn",
        {
            "quota_snapshots": {
                "premium_interactions": {
                    "entitlement": 300,
                    "remaining": -1,
                    "percent_remaining": -0.33,
                }
            }
        },
        "premium_requests",
        "premium_requests",
        0,
        True,
    ),
    (
        "overage",
        {
            "quota_snapshots": {
                "premium_interactions": {
                    "remaining": 0,
                    "overage_permitted": True,
                    "token_based_billing": True,
                }
            }
        },
        "ai_credits",
        "ai_credits",
        0,
        False,
    ),
    (
        "blocked",
        {"quota_snapshots": {"chat": {"remaining": 5, "has_quota": False}}},
        "premium_requests",
        "chat",
        5,
        True,
    ),
    (
        "unlimited",
        {"quota_snapshots": {"chat": {"unlimited": True, "remaining": 0}}},
        "premium_requests",
        "chat",
        None,
        False,
    ),
    (
        "free",
        {"limited_user_quotas": {"chat": 20}, "monthly_quotas": {"chat": 50}},
        "premium_requests",
        "chat",
        20,
        False,
    ),
]


@pytest.mark.parametrize("name, reply, billing, quota, left, blocked", QUOTAS)
def test_quota_shapes(name, reply, billing, quota, left, blocked):
    got = cp.parse_quota(reply)
    assert got["billing"] == billing
    one = got["quotas"][quota]
    assert (one["remaining"], one["blocked"]) == (left, blocked)
    if name == "free":
        assert one["percent_remaining"] == 40.0
    if name == "requests, overdrawn":
        assert (one["percent_remaining"], one["overage_count"]) == (0, 1)
    for odd in (
        {},
        {"quota_snapshots": [1], "limited_user_quotas": {"chat": None}},
        {"quota_snapshots": {"chat": 3}, "monthly_quotas": {"chat": "x"}},
        {"login": 5},
    ):
        got = cp.parse_quota(odd)
        assert isinstance(got["quotas"], dict) and got["login"] is None


# -- against the fake --------------------------------------------------------------------


def test_upstream_catalogue_single_flight_cache_and_failure():
    async def check(up, one):
        assert isinstance(one.client.kept_models(), cp.Catalogue) and not one.client.kept_models()
        lists = await asyncio.gather(*(one.client.models() for _ in range(40)))
        assert one.client.kept_models() is lists[0]
        assert all(got is lists[0] for got in lists) and len(up.asked("/models")) == 1
        assert len(up.mints) == 1
        await one.client.models(refresh=True)  # just fetched: not asked again
        one.clock.advance(599)
        await one.client.models()
        assert len(up.asked("/models")) == 1
        await one.client.models(refresh=True)
        assert len(up.asked("/models")) == 2
        one.clock.advance(601)
        up.script["GET", "/models"] = [whole(429, "slow down")]
        assert await one.client.models() and len(up.asked("/models")) == 3
        await one.client.models()  # kept, and the upstream is left alone for a while
        assert len(up.asked("/models")) == 3
        one.client.forget()
        up.script["GET", "/models"] = [whole(500, "<html><title>Unicorn</title>")]
        with pytest.raises(cp.UpstreamError, match="Unicorn"):
            await one.client.models()
        up.script["GET", "/models"] = [whole(200, {"data": []})]
        with pytest.raises(cp.UpstreamError, match="cannot be read"):
            await one.client.models()

    with_upstream(check)


def test_upstream_catalogue_hands_on_when_to_try_again():
    """A failure of the token is the catalogue's; by a real clock, which moves on."""

    async def check(up, one):
        one.auth._clock = one.client._clock = time.monotonic
        one.auth._become("ghu_test")
        one.client.forget()
        up.script[MINT] = [whole(429, {"message": "x"}, **{"retry-after": "9"})]
        with pytest.raises(cp.UpstreamError) as caught:
            await one.client.models()
        assert caught.value.retry_after == "9"

    with_upstream(check)


def test_upstream_catalogue_survives_waiters_that_leave():
    async def check(up, one):
        first = asyncio.ensure_future(one.client.models())
        second = asyncio.ensure_future(one.client.models())
        await asyncio.sleep(0)
        first.cancel()
        assert await second and len(up.asked("/models")) == 1

    with_upstream(check)


def test_upstream_send_headers_on_the_wire():
    async def check(up, one):
        picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
        body = {**CHAT_BODY, "messages": [{"role": "user", "content": picture}]}
        vision = {"copilot-vision-request": "true"}
        await one.post(body, initiator=USER_TURN, headers=vision)
        seen = up.asked(CHAT)[0]
        assert seen.header("copilot-vision-request") == "true"
        assert re.fullmatch(UUID_V4, seen.header("x-request-id"))
        assert seen.header("x-agent-task-id") == seen.header("x-request-id")
        assert seen.header("x-initiator") == "user"
        model = cp.Model(
            "claude-opus-5",
            headers=(("x-extra", "1"), ("x-initiator", "spoof"), ("authorization", "spoof")),
        )
        response = await one.client.send(
            cp.MESSAGES,
            cp.dumps(ask_of(model="claude-opus-5")),
            model,
            cp.AGENT,
            {"anthropic-beta": CONTEXT},
        )
        assert response.status == 200 and cp.loads(await response.read_all(1 << 20))
        seen = up.asked(cp.MESSAGES)[0]
        assert seen.header("x-initiator") == "agent" and seen.header("x-extra") == "1"
        assert seen.header("anthropic-beta") == CONTEXT
        assert seen.header("anthropic-version") == "2023-06-01"
        assert seen.header("x-api-key") is seen.header("copilot-vision-request") is None

    with_upstream(check)


def test_upstream_auto_is_sticky_and_renewed_with_its_old_token():
    async def check(up, one):
        first = await one.client.auto_model("s")
        assert first.id == "claude-haiku-4.5" and dict(first.headers) == {
            "copilot-session-token": "auto-0"
        }
        assert await one.client.auto_model("s") == first
        other = await one.client.auto_model("another")
        assert dict(other.headers) == {"copilot-session-token": "auto-1"}
        up.auto_pool.reverse()  # Copilot would now choose another model
        assert (await one.client.auto_model("third")).id == "gpt-5-mini"
        one.clock.advance(1490)  # 10 s before the last 5 minutes of 30
        assert await one.client.auto_model("s") == first
        one.clock.advance(20)
        renewed = await one.client.auto_model("s")
        assert (renewed.id, dict(renewed.headers)["copilot-session-token"]) == (first.id, "auto-3")
        asked = up.asked("/models/session")
        assert [a.header("copilot-session-token") for a in asked] == [None] * 3 + ["auto-0"]
        up.script["POST", "/models/session"] = [whole(500, "no")]
        one.clock.advance(1600)
        assert await one.client.auto_model("s") == renewed  # still good for a while
        up.auto_pool = ["gpt-5-mini"]  # the conversation's model is gone
        one.clock.advance(61)
        assert (await one.client.auto_model("s")).id == "gpt-5-mini"
        one.client.forget_auto("s")
        await one.client.auto_model("s")
        assert up.asked("/models/session")[-1].header("copilot-session-token") is None

    with_upstream(check)


AUTO_FAILURES = [
    whole(404, {"message": "Not Found"}),
    whole(200, "no JSON"),
    whole(200, {"selected_model": "gpt-5-mini", "session_token": "a\r\nb"}),
    whole(200, {"selected_model": ["gpt-5-mini"], "session_token": "a"}),
    whole(200, {"selected_model": "unheard-of", "session_token": "a", "available_models": [7]}),
    (200, {}, [b'{"sel', CLOSE]),
]


@pytest.mark.parametrize("answer", AUTO_FAILURES)
def test_upstream_auto_that_is_not_to_be_had_is_not_asked_for_at_once(answer):
    async def check(up, one):
        up.script["POST", "/models/session"] = [answer]
        for session in "abc":
            assert await one.client.auto_model(session) is cp.AUTO_MODEL
        assert one.client.auto_failure and len(up.asked("/models/session")) == 1
        one.clock.advance(61)
        assert (await one.client.auto_model("a")).id == "claude-haiku-4.5"

    with_upstream(check)


def test_upstream_auto_many_at_once_and_many_sessions():
    async def check(up, one):
        models = await asyncio.gather(*(one.client.auto_model("s") for _ in range(12)))
        assert models == models[:1] * 12 and len(up.asked("/models/session")) == 1
        for number in range(cp.MOST_CHOICES + 5):
            await one.client.auto_model("s%d" % number)
            one.client.forget_auto("s%d" % (number - 3))
        assert len(one.client._choices) <= cp.MOST_CHOICES

    with_upstream(check)


def test_upstream_auto_odd_life_of_a_token():
    async def check(up, one):
        for life in (-5, 10**9, 0):
            up.auto_life = life
            await one.client.auto_model("s%d" % life)
            one.clock.advance(1400)
            asked = len(up.asked("/models/session"))
            await one.client.auto_model("s%d" % life)
            assert len(up.asked("/models/session")) == asked
            one.clock.advance(100)  # as if it lived for half an hour
            await one.client.auto_model("s%d" % life)
            assert len(up.asked("/models/session")) == asked + 1

    with_upstream(check)


TOKEN_FAULTS = [  # the refusal, how often, tokens minted, requests, raised
    ("401 once", whole(401, "unauthorized: token expired\n"), 1, 2, 2, None),
    ("401 again", whole(401, "unauthorized: token expired\n"), 2, 2, 2, 401),
    ("403 text", whole(403, "Forbidden\n"), 1, 2, 2, None),
    (
        "403 structured",
        whole(403, {"error": {"message": "Forbidden by policy", "code": "policy"}}),
        1,
        1,
        1,
        403,
    ),
    ("421", whole(421, "Misdirected Request\n"), 1, 2, 2, None),
    ("item id", whole(401, "input item ID does not belong to this connection"), 1, 1, 1, 400),
    ("429", whole(429, {"error": {"message": "no"}}), 1, 1, 1, 429),
    ("402", whole(402, "quota exceeded"), 1, 1, 1, 402),
    ("503 once", whole(503, ""), 1, 1, 2, None),
    ("503 for ever", whole(503, ""), 9, 1, 3, 503),
    ("499", whole(499, ""), 2, 1, 3, None),
    ("408", whole(408, "Timed out reading request body."), 2, 1, 2, 408),
]


@pytest.mark.parametrize(
    "name, answer, times, mints, sent, status", TOKEN_FAULTS, ids=[row[0] for row in TOKEN_FAULTS]
)
def test_upstream_faults(name, answer, times, mints, sent, status):
    async def check(up, one):
        await one.auth.token()
        one.clock.advance(60)  # a fresh token is not minted again
        up.script["POST", CHAT] = [answer] * times
        if status is None:
            response, _ = await one.post(CHAT_BODY, initiator=USER_TURN)
            assert response.status == 200
        else:
            with pytest.raises(cp.ProxyError) as caught:
                await one.post(CHAT_BODY, initiator=USER_TURN)
            assert caught.value.status == status
        assert (len(up.mints), len(up.asked(CHAT))) == (mints, sent)
        backs_off = len(one.waits)
        assert up.initiators == ["user"] * (sent - backs_off) + ["agent"] * backs_off

    with_upstream(check)


def test_upstream_40_refused_at_once_mint_one_token():
    async def check(up, one):
        await one.auth.token()
        one.clock.advance(60)
        up.refuse_tokens()
        await asyncio.gather(*(one.post(CHAT_BODY) for _ in range(40)))
        assert len(up.mints) == 2

    with_upstream(check)


def test_upstream_prompt_is_user_once():
    headers = {"x-claude-code-session-id": "s"}
    overflow = whole(
        400, {"error": {"message": "too long", "code": "model_max_prompt_tokens_exceeded"}}
    )

    async def check(up, one):
        async def told(body, refusal=None, given=headers):
            if refusal:
                up.script["POST", CHAT] = [refusal]
            else:
                up.script["POST", CHAT] = []
            with contextlib.suppress(cp.ProxyError):
                await one.post(CHAT_BODY, initiator=cp.who_asks(given, body, "s"))
            return up.initiators[-1]

        def typed(text, before=0):
            return {"messages": turns("x") * before + turns(REMIND["text"] + text)}

        assert await told(typed("a"), whole(429, "wait")) == "user"
        assert await told(typed("a")) == await told(typed("a")) == "agent"
        assert await told(typed("a", 2)) == "user"  # typed again later
        assert await told(typed("b"), overflow) == "user"
        assert await told(typed("b", 2)) == "agent"  # the same, compacted
        assert await told(typed("b", 4)) == "user"
        curl = {}  # typed again, for all we know; but a repair is no new prompt
        assert await told(typed("b"), given=curl) == await told(typed("b"), given=curl) == "user"
        asked = cp.who_asks(curl, typed("c"), "s")
        await one.post(CHAT_BODY, initiator=asked)
        await one.post(CHAT_BODY, initiator=asked)
        assert up.initiators[-2:] == ["user", "agent"]
        hinted = {"x-claude-code-prompt-id": "p1"}
        assert await told(typed("d"), given=hinted) == "user"
        assert await told(typed("e", 7), given=hinted) == "agent"
        one.clock.advance(901)
        assert await told(typed("a", 2)) == "user"

    with_upstream(check)


def test_upstream_error_bodies_are_bounded():
    async def check(up, one):
        up.script["POST", CHAT] = [
            (400, {"content-type": "text/plain"}, [b"x" * 40000, b"y" * 40000, HANG])
        ]
        with pytest.raises(cp.UpstreamError, match="xxx"):
            await one.post(CHAT_BODY)
        up.script["POST", CHAT] = [(403, {"content-length": "50"}, [b"policy says no", CLOSE])]
        with pytest.raises(cp.UpstreamError, match="policy says no"):
            await one.post(CHAT_BODY)

    with_upstream(check)


def test_upstream_count_tokens_and_quota():
    async def check(up, one):
        assert one.client.account() == {}
        quota = await one.client.quota()
        assert (quota["login"], quota["plan"]) == ("octocat", "individual_pro")
        assert one.client.account() is quota is await one.client.quota()
        one.clock.advance(61)
        await one.client.quota()
        assert len(up.asked("/copilot_internal/user")) == 2
        one.client.forget()
        assert one.client.account() == {}
        up.script["GET", "/copilot_internal/user"] = [whole(401, {"message": "Bad"})]
        with pytest.raises(cp.UpstreamError):
            await one.client.quota()
        body = ask_of(model="haiku")
        assert await one.client.count_tokens(body, NATIVE["claude-haiku-4.5"]) >= 1
        assert up.asked(cp.COUNT_TOKENS)[0].json["model"] == "claude-haiku-4.5"
        up.script["POST", cp.COUNT_TOKENS] = [whole(503, "")]
        with pytest.raises(cp.UpstreamError):  # the estimate is better than a wait
            await one.client.count_tokens(body, NATIVE["claude-haiku-4.5"])
        assert one.waits == []

    with_upstream(check)


def test_upstream_engines_have_their_own_host():
    async def check(up, one):
        up.token_fields = {"endpoints": {"api": "http://127.0.0.1:9", "proxy": up.url}}
        response, raw = await one.post({"prompt": PROMPT}, cp.engine_path("copilot-codex"))
        assert b"[DONE]" in raw and up.asked("/v1/engines/copilot-codex/completions")

    with_upstream(check)


# ============================================================================
# 18. Routes
# ============================================================================
# The program whole, over real sockets: client -> proxy -> FakeUpstream and back.


class QuickProxy(Proxy):
    """The program with a clock of its own and a back-off that takes no time."""

    async def __aenter__(self):
        program = self.program = cp.Program(cp.Config(**self._settings))
        self.clock = FakeClock()
        self.waits = []
        program.auth = cp.CopilotAuth(
            program.config, program.pool, cp.TokenStore(self.token_file), self.clock
        )
        program.copilot = cp.CopilotClient(
            program.config, program.pool, program.auth, self.clock, self._sleep
        )
        program.page = cp.StatusPage(program.config, program.auth, program.copilot)
        program.app = cp.App(program.config, program.auth, program.copilot, program.page)
        program.server = cp.HTTPServer(program.config, program.app.handle)
        self.port = await program.start()
        return self

    async def _sleep(self, seconds):
        self.waits.append(seconds)

    async def post(self, path, body, **headers):
        """POST within 2 s, the time that nothing here may take."""
        return await asyncio.wait_for(self.ask("POST", path, body, headers), 2.0)

    async def get(self, path):
        return (await self.ask("GET", path)).json


def whole_program(upstream=FakeUpstream, **settings):
    """Run a test `(up, proxy, ...)` with a fresh program in front of a fresh fake."""

    def made(test):
        async def both(params):
            async with upstream() as up, QuickProxy(up, **settings) as proxy:
                await test(up, proxy, **params)

        def plain(**params):
            run(both(params))

        plain.__signature__ = inspect.Signature(
            list(inspect.signature(test).parameters.values())[2:]
        )
        plain.__name__ = test.__name__
        plain.__doc__ = test.__doc__
        return plain

    return made


async def until(told, seconds=1.0):
    """Wait until `told()` is true, at most so long."""
    due = time.monotonic() + seconds
    while not told() and time.monotonic() < due:
        await asyncio.sleep(0.005)
    return told()


class Cell(NamedTuple):
    """One field of SPEC 4: the client's path, the model, the upstream's path."""

    path: str
    model: str
    served: str

    def body(self, stream, **more):
        routes_said = [{"role": "user", "content": PROMPT}]
        if "responses" in self.path:
            kind = {"input": routes_said}
        else:
            kind = {"max_tokens": 2000, "messages": routes_said}
        return {"model": self.model, "stream": stream, **kind, **more}


CELLS = {
    "anthropic native": Cell("/v1/messages", "claude-sonnet-4.5", MESSAGES),
    "anthropic chat": Cell("/v1/messages", "gpt-4.1", CHAT),
    "anthropic responses": Cell("/v1/messages", "gpt-5.5", RESPONSES),
    "chat chat": Cell("/v1/chat/completions", "gpt-4.1", CHAT),
    "chat claude": Cell("/v1/chat/completions", "claude-sonnet-4.5", CHAT),
    "chat responses": Cell("/v1/chat/completions", "gpt-5.5", RESPONSES),
    "chat messages": Cell("/v1/chat/completions", "claude-scribe-1", MESSAGES),
    "responses responses": Cell("/v1/responses", "gpt-5-mini", RESPONSES),
    "responses messages": Cell("/v1/responses", "claude-sonnet-4.5", MESSAGES),
    "responses chat": Cell("/v1/responses", "gpt-4.1", CHAT),
}
NATIVE_CELL = CELLS["anthropic native"]
CHAT_CELL = CELLS["chat chat"]
EACH_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
ROWS = [(name, cell, stream) for name, cell in CELLS.items() for stream in (True, False)]


def cell_table(rows):
    return pytest.mark.parametrize(
        "cell, stream",
        [row[1:] for row in rows],
        ids=["%s, %s" % (name, "stream" if stream else "whole") for name, _, stream in rows],
    )


EVERY_ROW = cell_table(ROWS)
# A native answer that is not streamed is one JSON object, which the first table covers.
STREAMED_ROWS = cell_table([r for r in ROWS if r[2] or r[1].served != MESSAGES])


def message_of(path, obj):
    """The text of an error in the dialect of `path`; asserts that it is in that one."""
    if "messages" in path:
        assert obj["type"] == "error" and set(obj["error"]) == {"type", "message"}, obj
    else:
        assert {"message", "type", "param", "code"} <= set(obj["error"]), obj
    return obj["error"]["message"]


def Routes_content(obj):
    """(text, (call, name, arguments) or None, reason) pieces of one object."""
    block = obj.get("content_block") or {}
    delta = obj.get("delta")
    if isinstance(delta, dict):
        delta = delta
    else:
        delta = {}
    if block.get("type") == "tool_use":
        yield "", (block["id"], block["name"], ""), None
    yield delta.get("text", ""), (None, None, delta.get("partial_json", "")), delta.get(
        "stop_reason"
    )
    for block in obj.get("content") or ():
        yield block.get("text", ""), (
            block.get("id"),
            block.get("name"),
            json.dumps(block["input"]) if "id" in block else "",
        ), obj["stop_reason"]
    for choice in obj.get("choices") or ():
        routes_said = choice.get("delta") or choice.get("message") or {}
        yield routes_said.get("content") or "", None, choice["finish_reason"]
        for call in routes_said.get("tool_calls") or ():
            function = call["function"]
            yield "", (call.get("id"), function.get("name"), function["arguments"]), None
    response = obj.get("response", obj)
    if response.get("object") == "response" and response["status"] == "completed":
        for item in response["output"]:
            yield "".join(part["text"] for part in item.get("content", ())), (
                item.get("call_id"),
                item.get("name"),
                item.get("arguments", ""),
            ), "completed"


def content_of(answer, stream):
    """(text, [(name, arguments)], reason) of an answer in any dialect."""
    raw = answer.body.replace(b"\r\n", b"\n")
    text = ""
    calls = []
    reason = None
    for obj in [o for _, o in frames(raw)] if stream else [answer.json]:
        for piece, call, why in Routes_content(obj) if obj != "[DONE]" else ():
            text = text + piece
            reason = why or reason
            if call and call[0]:
                calls.append([call[1], ""])
            if call and call[2]:
                calls[-1][1] += call[2]
    return text, [(name, json.loads(raw or "{}")) for name, raw in calls], reason


# -- routes and shapes -------------------------------------------------------------------

HELLO = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 9}
ROUTE_CASES = [  # method, path, body, status, what is told
    ("GET", "/", None, 200, {"status": "ok", "proxy": "copilot-claude-proxy"}),
    ("GET", "/api/hello", None, 200, {"authenticated": True}),
    ("GET", "/auth/status", None, 200, {"status": "authenticated"}),
    ("POST", "/auth/login", {}, 200, {"status": "authenticated"}),
    ("POST", "/auth/check", {}, 200, {"status": "authenticated"}),
    ("POST", "/api/event_logging/batch", {"events": []}, 200, {"success": True}),
    (
        "POST",
        "/usage/reset-all",
        None,
        200,
        {"success": True, "message": "All usage metrics reset"},
    ),
    (
        "POST",
        "/usage/reset/nobody",
        None,
        404,
        {"error": {"message": "Session ID not found", "code": "session_not_found"}},
    ),
    ("GET", "/usage/quota", None, 200, {"plan": "individual_pro"}),
    (
        "GET",
        "/usage/summary",
        None,
        200,
        {"totalRequests": 0, "totalTokens": 0, "activeSessions": 0, "averageTokensPerRequest": 0},
    ),
    ("GET", "/v1/models?limit=1000", None, 200, {"object": "list", "has_more": False}),
    ("GET", "/models", None, 200, {"object": "list"}),
    ("GET", "http://localhost/v1/models", None, 200, {"object": "list"}),
    (
        "GET",
        "/v1/models/claude-sonnet-4-5",
        None,
        200,
        {"id": "claude-sonnet-4-5", "object": "model", "type": "model"},
    ),
    ("GET", "/v1/models/text-embedding-3-small", None, 200, {"object": "model"}),
    ("GET", "/v1/models/no-such", None, 404, {"error": {"code": "model_not_found"}}),
    ("POST", "/messages?beta=true", HELLO, 200, {"type": "message", "model": "gpt-4.1"}),
    ("POST", "/v1/v1/messages", HELLO, 200, {"type": "message"}),
    ("POST", "//v1/messages", HELLO, 200, {"type": "message"}),
    ("POST", "/chat/completions", HELLO, 200, {"object": "chat.completion"}),
    (
        "POST",
        "/v1/v1/responses",
        {"model": "gpt-5.5", "input": PROMPT},
        200,
        {"object": "response", "status": "completed"},
    ),
    ("POST", "/v1/messages/count_tokens", HELLO, 200, {}),
    (
        "POST",
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": PROMPT},
        200,
        {"object": "list", "model": "text-embedding-3-small"},
    ),
    ("POST", "/embeddings", {"input": ["a", "b"]}, 200, {"object": "list"}),
    ("POST", "/v1/embeddings", {"input": 3}, 400, {}),
    (
        "POST",
        "/v1/completions",
        {"prompt": "def f("},
        200,
        {"object": "text_completion", "model": "copilot-codex"},
    ),
    ("POST", "/v1/completions", {"prompt": "x", "model": "../../y"}, 400, {}),
    ("GET", "/v1/responses", None, 426, {}),
    ("GET", "/v1/nothing", None, 404, {}),
    ("GET", "/v1/messages/nothing", None, 404, {}),
    ("GET", "/v1/messages", None, 405, {}),
    ("POST", "/v1/models", {}, 405, {}),
    ("DELETE", "/v1/chat/completions", None, 405, {}),
    ("POST", "/v1/messages", b"{", 400, {}),
    ("POST", "/v1/messages", {"model": 3}, 400, {}),
    ("POST", "/v1/chat/completions", {"model": "gpt-4.1", "stream": "yes"}, 400, {}),
    (
        "POST",
        "/v1/responses",
        {"model": "gpt-4.1", "input": PROMPT},
        200,
        {"object": "response", "status": "completed", "model": "gpt-4.1"},
    ),
    (
        "POST",
        "/v1/responses",
        {"model": "gpt-4.1", "input": PROMPT, "background": True},
        400,
        {"error": {"code": "unsupported_parameter"}},
    ),
    (
        "POST",
        "/v1/responses/compact",
        {"model": "gpt-4.1", "input": PROMPT},
        200,
        {"object": "response.compaction"},
    ),
]
ALLOW = {"/v1/models": "GET, HEAD", "/v1/messages": "POST", "/v1/chat/completions": "POST"}


def has_all(obj, part):
    """Whether a JSON value has all of `part`."""
    if not isinstance(part, dict):
        return obj == part
    return all(key in obj and has_all(obj[key], value) for key, value in part.items())


@whole_program(copilot_default_model="gpt-4.1")
async def test_routes_every_path_and_shape(up, proxy):
    for method, path, body, status, part in ROUTE_CASES:
        answer = await asyncio.wait_for(proxy.ask(method, path, body), 2.0)
        assert (answer.status, answer.complete) == (status, True), (path, answer)
        assert has_all(answer.json, part), (path, answer.json)
        assert status < 400 or message_of(path, answer.json), path
        if method == "GET":
            head = await proxy.ask("HEAD", path)
            assert (head.status, head.body) == (status, b"")
        assert status != 405 or answer.headers["allow"] == ALLOW[path]
    answer = await proxy.post("/v1/completions", {"prompt": PROMPT, "stream": True})
    got = frames(answer.body)
    assert got[-1] == ("", "[DONE]") and answer.headers["x-copilot-model"]
    assert "".join(o["choices"][0]["text"] for _, o in got[:-1]) == "ok"
    assert up.requests[-1].path == "/v1/engines/copilot-codex/completions"
    page = await proxy.ask("GET", "/", headers={"Accept": "text/html"})
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")


@whole_program(api_key="0123456789abcdef")
async def test_only_the_front_page_and_hello_are_read_without_the_key(up, proxy):
    for route in cp.ROUTES:
        path = route.path.replace("{id}", "claude-sonnet-4.5")
        for method in ("HEAD", "GET", "POST"):
            open_to_all = route.handler == "home" and method != "POST"
            answer = await proxy.ask(method, path)
            assert answer.status == (200 if open_to_all else 401), (method, path)
    assert not up.requests  # nor was anybody asked on a stranger's behalf
    answer = await proxy.ask("HEAD", "/v1/models", headers={"x-api-key": "0123456789abcdef"})
    assert answer.status == 200


@whole_program()
async def test_routes_models_and_usage_shapes(up, proxy):
    listed = await proxy.get("/v1/models")
    one = {m["id"]: m for m in listed["data"]}["claude-sonnet-4.5"]
    assert set(
        "object created owned_by type display_name created_at context_window "
        "max_output_tokens endpoints vision credits".split()
    ) <= set(one)
    ends = listed["data"][0]["id"], listed["data"][-1]["id"]
    assert (listed["first_id"], listed["last_id"]) == ends
    for _ in range(2):
        await proxy.post(
            "/v1/messages",
            dict(HELLO, model="claude-haiku-4.5"),
            **{"X-Claude-Code-Session-Id": "0123-abcd"},
        )
    summary = await proxy.get("/usage/summary")
    bills = up.billed.values()
    assert (summary["totalRequests"], summary["activeSessions"]) == (2, 1)
    assert summary["totalTokens"] == sum(bill["tokens"] for bill in bills)
    assert summary["credits"] == sum(bill["nano"] for bill in bills) / 1e9
    details = await proxy.get("/usage/details")
    assert set(
        "sessionId startTime lastRequestTime requestCount tokenCount " "duration".split()
    ) <= set(details[0])
    assert [one["status"] for one in (await proxy.get("/usage/page"))["requests"]] == [200, 200]
    done = await proxy.post("/usage/reset/" + details[0]["sessionId"], {})
    assert done.json == {"success": True, "message": "Usage reset for session: 0123-abcd"}
    assert await proxy.get("/usage/details") == []
    assert (await proxy.post("/auth/logout", {})).json["status"] == "logged_out"


NESTED_BODIES = [  # path, a body with a hole for a value that is nested
    ("/v1/messages", '{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":%s}]}'),
    ("/v1/messages", '{"model":"%s","max_tokens":9,"messages":[],"tools":[{"input_schema":%s}]}'),
    ("/v1/messages/count_tokens", '{"model":"%s","messages":[],"system":%s}'),
    ("/v1/chat/completions", '{"model":"%s","messages":[{"role":"user","content":%s}]}'),
    ("/v1/responses", '{"model":"%s","input":%s}'),
    ("/v1/embeddings", '{"model":"%s","input":%s}'),
    ("/v1/completions", '{"model":"%s","prompt":%s}'),
]


@whole_program()
async def test_routes_name_the_depth_that_is_too_much(up, proxy):
    for path, body in NESTED_BODIES:
        for levels in (480, 700, 1000, 5000):
            for opening, closing in (("[", "]"), ('{"a":', "}")):
                nested = opening * levels + "1" + closing * levels
                raw = (body % ("gpt-4.1", nested)).encode()
                answer = await proxy.ask("POST", path, raw)
                assert answer.status == 400, (path, levels)
                assert "more than 200 levels deep" in answer.json["error"]["message"]


@whole_program()
async def test_routes_give_a_heavy_place_back_when_the_upstream_answers(up, proxy):
    """A 5 MB request does not wait for the end of another's stream."""
    go_on = asyncio.Event()
    stream = [b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', go_on]
    up.script["POST", "/chat/completions"] = [(200, SSE, stream)]
    text = "word " * (1 << 20)
    body = {"model": "gpt-4.1", "stream": True, "messages": [{"role": "user", "content": text}]}
    asking = asyncio.ensure_future(proxy.ask("POST", "/v1/chat/completions", body))
    await until(lambda: up.asked("/chat/completions"), 5.0)
    await until(lambda: places_taken(proxy.program.server) == 0)
    assert not asking.done()
    go_on.set()
    await asking


@whole_program(github_token="")
async def test_routes_signed_out(up, proxy):
    for cell in CELLS.values():
        answer = await proxy.post(cell.path, cell.body(True))
        assert answer.status == 401 and answer.headers["x-should-retry"] == "false"
        assert "login" in message_of(cell.path, answer.json)
    assert await proxy.get("/auth/status") == {"status": "unauthenticated"}
    gone = await proxy.post("/auth/check", {})
    assert gone.status == 400 and gone.json["status"] == "unauthenticated"
    assert (await proxy.get("/"))["authenticated"] is False
    assert (await proxy.ask("GET", "/usage/summary")).status == 200
    first, again = [(await proxy.post("/auth/login", {})).json for _ in range(2)]
    assert first["status"] == "pending_verification"
    assert first["user_code"] == again["user_code"] == "WDJB-MJHT"


@whole_program()
async def test_routes_count_tokens(up, proxy):
    path = "/v1/messages/count_tokens"
    body = dict(HELLO, model="claude-sonnet-4.5")
    bodies = [{**body, "system": "Number %d." % (n % 30)} for n in range(35)]
    up.script["POST", path] = [(200, JSON_KIND, [0.01, b'{"input_tokens":77}'])] * 30
    counts = await asyncio.gather(*(proxy.post(path, one) for one in bodies))
    assert {c.json["input_tokens"] for c in counts} == {77}
    assert up.connections <= 5 and len(up.asked(path)) == 30  # 4, and GitHub's
    assert (await proxy.post(path, bodies[0])).json == {"input_tokens": 77}
    for sent, status in ((31, 400), (32, 503)):  # estimated at once, not tried again
        up.script["POST", path] = [whole(status, "no")]
        told = await proxy.post(path, {**body, "system": "Other %d" % status})
        assert 5 <= told.json["input_tokens"] <= 60 and len(up.asked(path)) == sent
    for size, low, high in ((1, 3, 30), (30000, 20000, 60000)):
        told = await proxy.post(path, dict(HELLO, model="gpt-5.5", system="word " * size))
        assert low < told.json["input_tokens"] < high and len(up.asked(path)) == 32


# -- SPEC 4 and 5 -------------------------------------------------------------------------

SCHEMA_OF_READ = {"type": "object", "properties": {"path": {"type": "string"}}}
READ_TOOL = {"name": "Read", "description": "Reads", "input_schema": SCHEMA_OF_READ}
OPENAI_TOOL = {"name": "Read", "description": "Reads", "parameters": SCHEMA_OF_READ}
IN_DIALECT = {  # the tool and the two endings
    "/v1/messages": (READ_TOOL, "end_turn", "tool_use"),
    "/v1/chat/completions": ({"type": "function", "function": OPENAI_TOOL}, "stop", "tool_calls"),
    "/v1/responses": ({"type": "function", **OPENAI_TOOL}, "completed", "completed"),
}


class TellingUpstream(FakeUpstream):
    """Says a sentence; calls the tool it is given."""

    def plain(self, routes_said, names):
        return "Hällo brave new world", [
            {"name": name, "input": {"path": "ä.py"}} for name in sorted(names - {None})
        ]


@EACH_CELL
@whole_program(TellingUpstream)
async def test_cell_stream_equals_whole(up, proxy, cell):
    tool, *reasons = IN_DIALECT[cell.path]
    for with_tool, reason in enumerate(reasons):
        for stream in (True, False):
            answer = await proxy.post(
                cell.path, cell.body(stream, **{"tools": [tool]} if with_tool else {})
            )
            assert answer.status == 200 and answer.complete
            assert not answer.body.startswith(b":"), "no ping before one is due"
            assert answer.headers["x-copilot-model"] == cell.model
            assert answer.headers["content-type"].partition(";")[0] == (
                "text/event-stream" if stream else "application/json"
            )
            assert content_of(answer, stream) == (
                "Hällo brave new world",
                [("Read", {"path": "ä.py"})] * with_tool,
                reason,
            )
    assert [request.path for request in up.requests[2:]] == [cell.served] * 4
    bill = up.billed[cell.model]
    summary = await proxy.get("/usage/summary")
    assert summary["totalRequests"] == bill["requests"] == 4
    assert summary["totalTokens"] == bill["tokens"] and up.connections == 1
    assert summary["credits"] == pytest.approx(bill["nano"] / 1e9)


@whole_program()
async def test_responses_reasoning_is_packed_for_who_asks(up, proxy):
    said = [
        ("content_block_start", {"content_block": {"type": "thinking", "thinking": ""}}),
        ("content_block_delta", {"delta": {"type": "thinking_delta", "thinking": "hm"}}),
        ("content_block_delta", {"delta": {"type": "signature_delta", "signature": "c2ln"}}),
        ("content_block_stop", {}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
        ("message_stop", {}),
    ]
    start = {"message": {"id": "m", "role": "assistant", "content": [], "usage": {}}}
    raw = [
        cp.encode_sse(kind, {"type": kind, "index": 0, **more})
        for kind, more in [("message_start", start), *said]
    ]
    for include in ([], ["reasoning.encrypted_content"]):
        cell = CELLS["responses messages"]
        up.script["POST", cell.served] = [(200, SSE, raw)]
        answer = await proxy.post(cell.path, cell.body(False, include=include))
        (item,) = [one for one in answer.json["output"] if one["type"] == "reasoning"]
        assert ("encrypted_content" in item) == bool(include)


@whole_program()
async def test_cell_waits_for_the_end_to_keep_the_connection(up, proxy):
    for cell in CELLS.values():
        up.script["POST", cell.served] = [(200, SSE, events_of(cell)[0] + [0.01])]
        assert (await proxy.post(cell.path, cell.body(True))).status == 200
    assert up.connections == 1


@whole_program(TellingUpstream)
async def test_cell_long_tool_names_come_back(up, proxy):
    long = "mcp__" + "x" * 80
    answer = await proxy.post(
        "/v1/chat/completions",
        CELLS["chat responses"].body(
            True, tools=[{"type": "function", "function": {**OPENAI_TOOL, "name": long}}]
        ),
    )
    assert content_of(answer, True)[1][0][0] == long


@whole_program(copilot_default_model="gpt-4.1")
async def test_routes_model_mapping(up, proxy):
    for asked, used in (
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
        ("", "gpt-4.1"),
        ("default", "gpt-4.1"),
        ("GPT-5-Mini", "gpt-5-mini"),
        ("haiku", "claude-haiku-4.5"),
    ):
        answer = await proxy.post("/v1/messages", dict(HELLO, model=asked))
        assert answer.headers["x-copilot-model"] == used, asked
        assert used[:6] == "claude" or answer.json["model"] == (asked or used)
    ids = {entry["id"] for entry in up.models}
    counted = await proxy.post("/v1/messages/count_tokens", dict(HELLO, model="llama-9"))
    assert counted.status == 200 and counted.json["input_tokens"] > 5  # TOKENS 1: always
    for path in ("/v1/messages", "/v1/chat/completions"):
        answer = await proxy.post(path, dict(HELLO, model="llama-9"))
        routes_said = message_of(path, answer.json)
        assert sum(word.strip(",.") in ids for word in routes_said.split()) == 3, routes_said
        assert answer.status == 404
    unheard = await proxy.post("/v1/messages", dict(HELLO, model="mind-reader-1"))
    assert unheard.status == 400 and "/telepathy" in unheard.json["error"]["message"]


ONE_CREDIT = {
    "type": "message",
    "content": [],
    "usage": {"input_tokens": 9, "output_tokens": 9},
    "copilot_usage": {"total_nano_aiu": 10**9},
}


@pytest.mark.parametrize("model", ["claude-haiku-4.5", "claude-opus-5"])
def test_routes_budget_holds_in_parallel(model):
    async def check(up, proxy):
        up.script["POST", MESSAGES] = [whole(200, ONE_CREDIT)] * 60
        body = {**HELLO, "model": model, "max_tokens": 2000, "stream": False}
        session = {"x-claude-code-session-id": "0123-abcd"}
        answers = await asyncio.gather(
            *(proxy.post("/v1/messages", body, **session) for _ in range(50))
        )
        statuses = [answer.status for answer in answers]
        assert 1 <= statuses.count(200) <= 3 and set(statuses) == {200, 402}
        while (await proxy.post("/v1/messages", body, **session)).status == 200:
            pass
        assert 2 <= len(up.asked(MESSAGES)) <= 3
        refused = await proxy.post("/v1/messages", body, **session)
        assert refused.headers["x-should-retry"] == "false"
        line = re.search(r"curl -X POST (http://\S+)", refused.json["error"]["message"])[1]
        base = "http://127.0.0.1:%d" % proxy.port
        assert line == base + "/usage/reset/0123-abcd"
        assert (await proxy.post(line[len(base) :], {})).status == 200
        assert (await proxy.post("/v1/messages", body, **session)).status == 200

    whole_program(credit_budget=2.0)(check)()


@whole_program(credit_budget=1.0, ping_interval=0.05)
async def test_routes_budget_is_charged_for_what_a_client_left(up, proxy):
    body = {**HELLO, "model": "claude-opus-5", "max_tokens": 2000, "stream": True}
    up.script["POST", MESSAGES] = [(200, SSE, [b": upstream\n\n", HANG])]
    early = {"session-id": "left-early"}
    client = asyncio.ensure_future(proxy.ask("POST", "/v1/messages", body, early))
    assert await until(lambda: up.asked(MESSAGES))
    await asyncio.sleep(0.05)
    client.cancel()
    assert await until(lambda: up.gone)
    answer = await proxy.post("/v1/messages", body, **{"session-id": "left-early"})
    assert answer.status == 402  # 2,000 tokens of Opus are 5 credits
    assert (await proxy.post("/v1/messages", body, **{"session-id": "another"})).status == 200


@whole_program()
async def test_routes_usage_log_is_written_aside(up, proxy):
    path = os.path.join(os.path.dirname(proxy.token_file), "usage.jsonl")
    proxy.program.app._usage_log = cp.UsageLog(path)
    for model in ("claude-haiku-4.5", "nobody"):
        await proxy.post("/v1/messages", dict(HELLO, model=model))
    written = pathlib.Path(path)
    assert await until(lambda: written.exists() and written.read_bytes().count(b"\n") == 2)
    raw = written.read_bytes().splitlines()
    lines = [json.loads(line) for line in raw]
    assert sorted(line["status"] for line in lines) == [200, 404]
    (day,) = {line["time"][:10] for line in lines}
    spent = up.billed["claude-haiku-4.5"]["nano"] / 1e9
    rows = cp.fold_usage(raw, day)
    assert [(model, credits) for _, model, _, _, credits in rows] == [
        ("claude-haiku-4.5", spent),
        ("nobody", 0),
    ]
    assert os.name == "nt" or os.stat(path).st_mode & 0o777 == 0o600
    with pytest.raises(cp.ConfigError, match="USAGE_LOG"):
        cp.UsageLog(os.path.dirname(path))
    proxy.program.app._usage_log = cp.UsageLog(os.path.join(path, "below"))  # no folder
    assert (await proxy.post("/v1/messages", dict(HELLO, model="claude-haiku-4.5"))).status == 200


@whole_program()
async def test_routes_count_tokens_by_the_rules(up, proxy):
    path = "/v1/messages/count_tokens"
    answer = await proxy.post(path, {"model": "claude-sonnet-4.5", "messages": []})
    assert answer.status == 400 and not up.asked(path)
    assert "messages: at least one" in answer.json["error"]["message"]
    body = dict(HELLO, model="claude-sonnet-4.5", speed="fast")
    assert (await proxy.post(path, body)).status == 200
    assert b"speed" not in up.asked(path)[0].body


@whole_program()
async def test_routes_count_tokens_in_an_outage_estimates_at_once(up, proxy):
    path = "/v1/messages/count_tokens"
    body = dict(HELLO, model="claude-sonnet-4.5")
    up.script["GET", "/models"] = [whole(503, "busy")] * 99
    up.script["POST", path] = [whole(503, "busy")] * 99
    for number in range(9):
        count = await proxy.post(path, {**body, "system": "Number %d." % number})
        assert count.status == 200 and count.json["input_tokens"] > 5
    assert len(up.asked("/models")) == 3 and not up.asked(path)  # one call and its retries
    up.script.clear()
    proxy.program.app._sizes._down_until = 0.0
    up.script["POST", path] = [whole(503, "busy")] * 99
    for number in range(9):
        await proxy.post(path, {**body, "system": "Letter %d." % number})
    assert len(up.asked(path)) == 1


@whole_program()
async def test_routes_survive_a_huge_cost(up, proxy):
    huge = json.dumps(ONE_CREDIT).replace("1000000000", "9" * 400)
    up.script["POST", MESSAGES] = [whole(200, huge)]
    answer = await proxy.post("/v1/messages", dict(HELLO, model="claude-haiku-4.5", stream=False))
    assert answer.status == 200
    for path in ("summary", "details", "page"):
        assert (await proxy.ask("GET", "/usage/" + path)).status == 200
    assert (await proxy.get("/usage/summary"))["credits"] == 0


PLAN_NAMES = sorted(PLANS)


def account(plan):
    return lambda: FakeUpstream(plan)


async def auto_answers(proxy, stream):
    """What a client of each dialect gets for `auto`."""
    for path in ("/v1/messages", "/v1/chat/completions"):
        body = Cell(path, "auto", "").body(stream)
        answer = await proxy.post(path, body, **{"x-session-id": "auto-session"})
        assert answer.status == 200, answer.body
        yield path, answer


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_routes_auto_on_every_plan(plan):
    async def check(up, proxy):
        for stream in (True, False):
            async for path, answer in auto_answers(proxy, stream):
                assert answer.headers["x-copilot-model"] == "claude-haiku-4.5"
        sent = [asked for path in STREAM for asked in up.asked(path)]
        assert {asked.header("copilot-session-token") for asked in sent} == {"auto-0"}
        assert {asked.json["model"] for asked in sent} == {"claude-haiku-4.5"}
        (used,) = [list(one["models"]) for one in await proxy.get("/usage/details")]
        assert used == ["claude-haiku-4.5"]
        ids = [entry["id"] for entry in (await proxy.get("/v1/models"))["data"]]
        assert "auto" in ids and ("gpt-5-mini" in ids) is not up.auto_only
        default = await proxy.post("/v1/chat/completions", {"messages": HELLO["messages"]})
        assert default.status == 200
        named = await proxy.post("/v1/messages", dict(HELLO, model="claude-haiku-4.5"))
        assert named.status == (404 if up.auto_only else 200)
        assert not up.auto_only or "Auto only" in message_of("messages", named.json)

    whole_program(account(plan))(check)()


@whole_program(account("free"))
async def test_routes_auto_where_no_choice_is_to_be_had(up, proxy):
    up.script["POST", "/models/session"] = [whole(404, "404 page not found\n")] * 9
    for stream, shown in ((True, "auto"), (False, "claude-haiku-4.5")):
        async for path, answer in auto_answers(proxy, stream):
            assert answer.headers["x-copilot-model"] == shown  # as the answer says itself
    (used,) = await proxy.get("/usage/details")
    assert used["models"]["claude-haiku-4.5"]["requestCount"] == used["requestCount"] == 4
    assert len(up.asked("/models/session")) == 1 and len(up.asked(CHAT)) == 4
    assert not any("model" in asked.json for asked in up.asked(CHAT))
    up.auto_chat = False
    for path in ("/v1/messages", "/v1/chat/completions"):
        refused = await proxy.post(path, Cell(path, "auto", "").body(False))
        text = message_of(path, refused.json)
        assert refused.status == 404 and "Auto is not to be had" in text
        assert "page not found" in text and "not supported" in text


@whole_program()
async def test_routes_auto_refused_choice_is_made_anew(up, proxy):
    await proxy.post("/v1/messages", Cell("/v1/messages", "auto", "").body(False))
    up.auto_pool = ["gpt-5-mini"]
    up.script["POST", MESSAGES] = [gateway("no", "model_not_supported").answer]
    answer = await proxy.post("/v1/messages", Cell("/v1/messages", "auto", "").body(False))
    assert (answer.status, answer.headers["x-copilot-model"]) == (200, "gpt-5-mini")
    assert up.asked(CHAT)[0].header("copilot-session-token") == "auto-1"


@whole_program()
async def test_routes_models_that_are_switched_off_retired_or_new(up, proxy):
    def body(model):
        return dict(HELLO, model=model)

    answer = await proxy.post("/v1/messages", body("claude-opus-4.8"))
    text = message_of("messages", answer.json)
    assert answer.status == 403 and "github.com/settings/copilot" in text
    proxy.clock.advance(31)
    up.models[[m["id"] for m in up.models].index("claude-opus-4.8")]["policy"]["state"] = "enabled"
    answer = await proxy.post("/v1/messages", body("claude-opus-4.8"))
    assert answer.headers["x-copilot-model"] == "claude-opus-4.8"  # seen at once
    (gone,) = [entry for entry in up.models if entry["id"] == "gpt-5.3-codex"]
    up.models.remove(gone)  # retired while we run
    proxy.clock.advance(31)
    answer = await proxy.post("/v1/chat/completions", body("gpt-5.3-codex"))
    assert answer.status == 404 and "Closest: " in message_of("chat", answer.json)
    lists = len(up.asked("/models"))
    for _ in range(5):
        assert (await proxy.post("/v1/messages", body("llama-9"))).status == 404
    assert len(up.asked("/models")) <= lists + 1  # not at every request


@whole_program()
async def test_routes_catalogue_failures(up, proxy):
    up.script["GET", "/models"] = [
        whole(500, UNICORN, "text/html"),
        whole(200, "[]"),
        *[whole(503, "busy")] * 3,
    ]
    for status, words in ((500, "Unicorn"), (502, "cannot be read"), (503, "busy")):
        answer = await proxy.post("/v1/messages", HELLO)
        assert answer.status == status and words in message_of("messages", answer.json)
    assert (await proxy.post("/v1/messages", HELLO)).status == 200
    proxy.clock.advance(700)
    up.script["GET", "/models"] = [whole(429, "later")]
    assert (await proxy.post("/v1/messages", HELLO)).status == 200  # the old list


@pytest.mark.parametrize("code", ["model_not_supported", "unsupported_api_for_model"])
@whole_program()
async def test_routes_stale_catalogue_is_read_again_once(up, proxy, code):
    body = dict(HELLO, model="gpt-5-mini")
    await proxy.post("/v1/messages", body)
    mini = next(entry for entry in up.models if entry["id"] == "gpt-5-mini")
    mini["supported_endpoints"] = [RESPONSES]
    proxy.clock.advance(60)
    refused = gateway("it is not accessible", code).answer
    up.script["POST", CHAT] = [refused]
    answer = await proxy.post("/v1/messages", body)
    assert answer.status == 200 and content_of(answer, False)[0] == "ok"
    assert [r.path for r in up.requests[2:]] == [CHAT, CHAT, "/models", RESPONSES]
    proxy.clock.advance(60)
    up.script["POST", CHAT] = [refused] * 9
    answer = await proxy.post("/v1/chat/completions", dict(HELLO, model="gpt-4.1"))
    assert answer.status == 400 and answer.json["error"]["code"] == code
    assert [r.path for r in up.requests[6:]] == [CHAT, "/models"]


# -- faults before the first byte (UPSTREAM 15, 20) ---------------------------------------

JSON_KIND = {"content-type": "application/json"}
ROUTES_LIMITED = {
    "error": {
        "message": "Sorry, you've exhausted this model's rate limit.",
        "code": "user_model_rate_limited:pro_plus",
    }
}
WHEN = "Wed, 21 Oct 2026 07:28:00 GMT"
UNICORN = "<html><head><title>Unicorn!</title></head></html>"
NO_RETRY = {"x-should-retry": "false"}
CUT = {**JSON_KIND, "content-length": "90"}


def routes_said(message, code=""):
    return {"error": {"message": message, "code": code}}


REFUSALS_BEFORE = {  # name: (answer, requests it takes, status, words, headers)
    "429 seconds": (
        whole(429, ROUTES_LIMITED, **{"retry-after": "7"}),
        1,
        429,
        "exhausted",
        {"retry-after": "7"},
    ),
    "429 date": (
        whole(429, ROUTES_LIMITED, **{"retry-after": WHEN}),
        1,
        429,
        "exhausted",
        {"retry-after": WHEN},
    ),
    "429 none": (whole(429, ROUTES_LIMITED), 1, 429, "another model", {"retry-after": None}),
    "402 text": (whole(402, "quota exceeded\n", "text/plain"), 1, 402, "quota exceeded", NO_RETRY),
    "402 JSON": (
        whole(402, routes_said("You have no quota", "quota_exceeded")),
        1,
        402,
        "no quota",
        NO_RETRY,
    ),
    "403 text": (whole(403, "Forbidden\n", "text/plain"), 2, 403, "Forbidden", {}),
    "403 JSON": (
        whole(403, routes_said("Your organization forbids it.", "policy")),
        1,
        403,
        "organization",
        {},
    ),
    "403 throttle": (
        whole(403, {"message": "API rate limit exceeded for user"}),
        1,
        403,
        "still signed in",
        {"x-should-retry": "true"},
    ),
    "401": (whole(401, "unauthorized: token expired\n", "text/plain"), 2, 401, "check`", NO_RETRY),
    "408": (
        whole(408, routes_said("Timed out reading request body.", "user_request_timeout")),
        2,
        408,
        "Timed out",
        {},
    ),
    "413 text": (whole(413, "Request Entity Too Large", "text/plain"), 1, 413, "Too Large", {}),
    "413 JSON": (
        whole(413, routes_said("failed to parse request"), "text/plain"),
        1,
        413,
        "images",
        {},
    ),
    "421": (whole(421, "Misdirected Request\n", "text/plain"), 2, 421, "COPILOT_API_URL", {}),
    "422": (whole(422, routes_said("filtered", "cyber_policy")), 1, 400, "filtered", {}),
    "466": (whole(466, "", "text/plain"), 1, 466, "COPILOT_EDITOR_VERSION", {}),
    "499 empty": (whole(499, ""), 3, 502, "gave the request up", {}),
    "500": (whole(500, routes_said("oops")), 1, 500, "oops", {}),
    "502 HTML": (whole(502, UNICORN, "text/html"), 3, 502, "Unicorn!", {}),
    "503": (whole(503, routes_said("provider limit")), 3, 503, "overloaded", {}),
    "529": (
        whole(
            529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        ),
        3,
        529,
        "Overloaded",
        {},
    ),
    "gzip": (whole(200, "\x1f\x8b", **{"content-encoding": "gzip"}), 3, 502, "gzip", {}),
    "error in a 200": (whole(200, ROUTES_LIMITED), 1, 429, "exhausted", {}),
    "as text": (whole(200, ROUTES_LIMITED, "text/plain"), 1, 429, "exhausted", {}),
    "page in a 200": (whole(200, UNICORN, "text/html"), 1, 502, "upstream", {}),
    "nothing in a 200": (whole(200, ""), 1, 502, "upstream", {}),
    "not HTTP": ((200, {"content-length": "-1"}, []), 3, 502, "not proper HTTP", {}),
    "cut in the body": ((200, CUT, [b"{", CLOSE]), 1, 502, "cut", {}),
    "reset after the head": ((200, CUT, [RESET]), 1, 502, "try again", {}),
    "silent after the head": ((200, CUT, [HANG]), 1, 504, "IDLE_TIMEOUT", {}),
}


@EVERY_ROW
@whole_program(idle_timeout=0.03)
async def test_fault_before_the_first_byte(up, proxy, cell, stream):
    await proxy.post(cell.path, cell.body(stream))
    for name, (answer, takes, status, words, headers) in REFUSALS_BEFORE.items():
        before = len(up.asked(cell.served))
        up.script["POST", cell.served] = [answer] * takes
        proxy.clock.advance(60)  # a token may be minted again
        got = await proxy.post(cell.path, cell.body(stream))
        assert (got.status, got.complete) == (status, True), (name, got)
        assert got.headers["content-type"] == "application/json", name
        assert words in message_of(cell.path, got.json), (name, got.json)
        assert len(up.asked(cell.served)) - before == takes, name
        for key, value in headers.items():
            assert got.headers.get(key) == value, (name, key)
    recent = [one["status"] for one in (await proxy.get("/usage/page"))["requests"]]
    assert recent == [row[2] for row in reversed(REFUSALS_BEFORE.values())] + [200]
    assert (await proxy.post(cell.path, cell.body(stream))).status == 200


# -- faults in the answer -----------------------------------------------------------------

INSIDE = {  # an error as each upstream says it within a stream
    MESSAGES: data(
        {"type": "error", "error": {"type": "overloaded_error", "message": "It broke"}}, "error"
    ),
    CHAT: data(routes_said("It broke", "server_error")),
    RESPONSES: data({"type": "error", **routes_said("It broke", "server_error")}, "error"),
}


def events_of(cell, text="Hello brave new world", calls=True):
    """A regular stream of the cell's upstream: (events, how many end it)."""
    if calls:
        made = [("call_1", "Read", '{"path": "a.py"}')]
    else:
        made = []
    return (
        STREAM[cell.served](
            Reply(
                id="msg_1",
                model=cell.model,
                text=text,
                calls=made,
                use=Use(10, 5, 0, 0),
                cost={"token_details": [], "total_nano_aiu": 7},
                signature="",
                cut=False,
                searched="",
                body={},
                fresh=("id %d" % n for n in range(99)).__next__,
            )
        ),
        {MESSAGES: 2, CHAT: 2, RESPONSES: 1}[cell.served],
    )


def stream_faults(cell):
    """{name: (pieces, words of the error, its status)} for one upstream."""
    events, last = events_of(cell)
    half = events[: len(events) // 2]
    begun = events[len(events) // 2]
    cut = "without finishing|broken piece|garbage"
    lost = "cut|broke|ended|closed|reset"
    faults = {
        "no event": ([], cut, 502),
        "block boundary": (events[:-last], cut, 502),
        "mid block": (half, cut, 502),
        "mid event": (half + [begun[: len(begun) // 2]], cut, 502),
        "close": (half + [CLOSE], lost, 502),
        "close mid event": (half + [begun[:9], CLOSE], lost, 502),
        "reset": (half + [RESET], lost, 502),
        "reset at once": ([RESET], lost, 502),
        "silence": (half + [HANG], "IDLE_TIMEOUT", 504),
        "silence at once": ([HANG], "IDLE_TIMEOUT", 504),
        "garbage": (half + [b"data: {oops\n\n"], "broken|garbage|finish|upstream", 502),
        "error": (half + [INSIDE[cell.served]], "It broke", 502),
        "error at once": ([INSIDE[cell.served]], "It broke", 502),
        "error, then silence": (half + [INSIDE[cell.served], HANG], "It broke", 502),
    }
    if cell.served == RESPONSES:
        faults["failed"] = (
            half
            + [
                data(
                    {
                        "type": "response.failed",
                        "sequence_number": 99,
                        "response": {
                            "id": "id 0",
                            "object": "response",
                            "status": "failed",
                            "output": [],
                            **routes_said("It broke", "server_error"),
                        },
                    },
                    "response.failed",
                )
            ],
            "It broke",
            502,
        )
    return faults


def failed_stream(path, got):
    """The error's words at the end of a failed stream; asserts that it has no other end."""
    names = {name or str(obj) for name, obj in got}
    assert not {"message_stop", "response.completed", "[DONE]"} & names
    name, obj = got[-1]
    if path == "/v1/responses":
        assert name in ("response.failed", "error")
        return (obj.get("error") or obj.get("response", {}).get("error") or obj)["message"]
    assert name == ("error" if path == "/v1/messages" else "")
    return message_of(path, obj)


@STREAMED_ROWS
@whole_program(idle_timeout=0.03)
async def test_fault_in_the_answer(up, proxy, cell, stream):
    faults = stream_faults(cell)
    for name, (pieces, words, status) in faults.items():
        up.script["POST", cell.served] = [(200, SSE, pieces)]
        got = await proxy.post(cell.path, cell.body(stream))
        assert got.complete and got.status == (200 if stream else status), (name, got)
        if cell.served == MESSAGES:  # what was half sent cannot be taken back
            got = got._replace(
                body=re.sub(rb"\n\n(event: \w+|[^\n]*\n?data: [^\n]*[^}\n])\n\n", b"\n\n", got.body)
            )
        if stream:
            told = failed_stream(cell.path, frames(got.body))
        else:
            told = message_of(cell.path, got.json)
        assert re.search(words, told), (name, told)
    recent = [one["status"] for one in (await proxy.get("/usage/page"))["requests"]]
    if cell.served == MESSAGES:
        broke = 529
    else:
        broke = 502
    assert recent[::-1] == [
        broke if stream and words == "It broke" else status for _, words, status in faults.values()
    ]
    assert len(up.asked(cell.served)) == len(faults)  # none sent twice
    assert await until(lambda: up.open <= 1)


def odd_answers(cell):
    """{name: answer} of complete answers in unusual packing."""
    events = events_of(cell, calls=False)[0]
    raw = b"".join(events_of(cell, calls=False)[0])
    long = b"".join(events_of(cell, "Hello " * 175000, False)[0])
    close = {**SSE, "connection": "close"}
    return {
        "1-byte chunks": (200, SSE, [raw[at : at + 1] for at in range(len(raw))]),
        "text/plain": (200, {"content-type": "text/plain; charset=utf-8"}, events),
        "no type": (200, {}, events),
        "close-delimited": (200, close, events + [CLOSE]),
        "counted": (200, {**SSE, "content-length": len(raw)}, events),
        "socket closed after it": (200, {**SSE, "content-length": len(raw)}, events + [CLOSE]),
        "CRLF and comments": (200, SSE, [b": hello\r\n\r\n", raw.replace(b"\n", b"\r\n")]),
        "no blank line at the end": (200, close, [raw[:-1], CLOSE]),
        "stays open": (200, SSE, events + [HANG]),
        "stays open, no [DONE]": (200, SSE, events[: -1 if cell.served == CHAT else None] + [HANG]),
        "reset after the end": (200, SSE, events + [0.01, RESET]),
        "megabyte": (200, SSE, [long[at : at + 65536] for at in range(0, len(long), 65536)]),
    }


@STREAMED_ROWS
def test_odd_but_complete_answers(monkeypatch, cell, stream):
    @whole_program()
    async def check(up, proxy):
        for name, odd in odd_answers(cell).items():
            up.script["POST", cell.served] = [odd]
            began = time.monotonic()
            got = await proxy.post(cell.path, cell.body(stream))
            assert got.status == 200 and got.complete, (name, got)
            if name == "megabyte":
                text = "Hello " * 175000
            else:
                text = "Hello brave new world"
            assert content_of(got, stream) == (text, [], IN_DIALECT[cell.path][1]), name
            assert time.monotonic() - began < 1, name
        summary = await proxy.get("/usage/summary")
        assert summary["inputTokens"] == 10 * len(odd_answers(cell))

    monkeypatch.setattr(cp, "LATE_USAGE", 0.03)
    monkeypatch.setattr(cp.Response.finish, "__defaults__", (0.03,))
    check()


# -- clients that leave, pings, the end of the program -------------------------------------


class HoldingUpstream(FakeUpstream):
    """Lets no head of a model's answer out before `hold` is set."""

    hold = None

    async def _send(self, request, writer):
        if self.hold and request.method == "POST":
            await self.hold.wait()
        return await super()._send(request, writer)


async def begin(proxy, cell, stream, seen=b""):
    """Send a request on a raw connection and read until `seen` came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    raw = json.dumps(cell.body(stream)).encode()
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        b"\r\nContent-Length: %d\r\n\r\n%s" % (cell.path.encode(), len(raw), raw)
    )
    got = b""
    while seen not in got:
        got += await asyncio.wait_for(reader.read(65536), 2.0)
    return reader, writer


WINDOWS = [  # stream, events that the upstream has sent, what the client has seen
    (True, None, b""),
    (True, 0, b"200 OK"),
    (True, 5, b"Hello"),
    (False, 5, b""),
]


def test_client_gone_closes_the_upstream():
    """Before the headers, before the first token, mid stream, and not streamed."""

    async def one(cell, leave, stream, told, seen):
        async with HoldingUpstream() as up, QuickProxy(up) as proxy:
            await proxy.post(cell.path, cell.body(False))
            if told is None:
                up.hold = asyncio.Event()
            else:
                up.hold = None
            up.script["POST", cell.served] = [(200, SSE, events_of(cell)[0][: told or 0] + [HANG])]
            _, writer = await begin(proxy, cell, stream, seen)
            assert await until(lambda: len(up.asked(cell.served)) == 2)
            await asyncio.sleep(0.02)
            leave(writer)
            assert await until(lambda: len(up.gone) == 1)
            recent = (await proxy.get("/usage/page"))["requests"]
            assert [one["status"] for one in recent] == [499, 200]

    async def every():
        await asyncio.gather(
            *(
                one(CELLS[cell], leave, *window)
                for cell in ("anthropic native", "anthropic responses", "chat chat")
                for leave in (lambda w: w.close(), lambda w: w.transport.abort())
                for window in WINDOWS
            )
        )

    run(every())


@EACH_CELL
@whole_program()
async def test_shutdown_ends_a_stream_with_an_error_event(up, proxy, cell):
    events, last = events_of(cell)
    up.script["POST", cell.served] = [(200, SSE, events[:-last] + [HANG]), (200, SSE, [HANG])]
    opened = [await begin(proxy, cell, True, b"Hello"), await begin(proxy, cell, False)]
    await until(lambda: len(up.asked(cell.served)) == 2)
    closing = asyncio.ensure_future(proxy.program.close(0.05))
    rest, refused = [await asyncio.wait_for(r.read(), 3.0) for r, _ in opened]
    for _, writer in opened:
        writer.close()
    await closing
    assert rest.endswith(b"0\r\n\r\n") and b"is being stopped" in rest
    assert b"message_stop" not in rest and b"[DONE]" not in rest
    assert b"response.completed" not in rest and b" 503 " in refused.split(b"\r\n")[0]
    assert message_of(cell.path, json.loads(refused.split(b"\r\n\r\n")[1]))


@EACH_CELL
@whole_program(HoldingUpstream)
async def test_no_parsed_request_is_held_while_a_model_thinks(up, proxy, cell):
    up.hold = asyncio.Event()
    asking = asyncio.ensure_future(proxy.ask("POST", cell.path, cell.body(True)))
    assert await until(lambda: up.asked(cell.served))
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, (cp.Fit, cp.ClientBody))]
    assert held == []
    up.hold.set()
    assert (await asking).status == 200


@whole_program()
async def test_close_leaves_what_is_fetched_in_the_background(up, proxy):
    await proxy.post(NATIVE_CELL.path, NATIVE_CELL.body(True))
    up.script["GET", "/copilot_internal/user"] = [(200, JSON_KIND, [HANG])]
    reading = asyncio.ensure_future(proxy.program.copilot.quota())
    assert await until(lambda: up.asked("/copilot_internal/user"))
    await proxy.program.close(0.1)
    with pytest.raises(cp.ProxyError):
        await reading
    assert await until(lambda: up.open == 0)  # also the one that was asked


@EACH_CELL
@whole_program(ping_interval=0.005)
async def test_pings_only_between_events(up, proxy, cell):
    raw = b"".join(events_of(cell)[0])
    at = raw.rindex(b"\n\n", 0, raw.index(b"ave new")) + 2
    up.script["POST", cell.served] = [
        (200, SSE, [0.025, raw[:at], 0.025, raw[at : at + 9], 0.025, raw[at + 9 :]])
    ]
    answer = await proxy.post(cell.path, cell.body(True))
    if cell.path == "/v1/messages":
        ping = b"event: ping"
    else:
        ping = b": ping"
    assert answer.body.startswith(b": ping\n\n: ping\n\n")
    assert 2 <= answer.body.count(ping, 18) <= 15
    assert cell is not NATIVE_CELL or raw[at:] in answer.body
    assert content_of(answer, True)[0] == "Hello brave new world"
    rung = []
    proxy.program.app._ping = lambda *_: rung.append(1)
    await asyncio.sleep(0.02)
    assert rung == [], "the timer ends with the answer"


# -- tokens, prompts, overflow, lessons ------------------------------------------------------


@whole_program()
async def test_routes_one_exchange_for_fifty(up, proxy):
    async def fifty():
        return {
            a.status
            for a in await asyncio.gather(
                *(
                    proxy.ask("POST", cell.path, cell.body(n % 3 == 0))
                    for n in range(25)
                    for cell in (NATIVE_CELL, CHAT_CELL)
                )
            )
        }

    assert await fifty() == {200} and len(up.mints) == len(up.asked("/models")) == 1
    proxy.clock.advance(60)
    up.refuse_tokens()
    assert await fifty() == {200} and len(up.mints) == 2
    up.script["POST", MESSAGES] = [REFUSALS_BEFORE["401"][0]] * 99
    statuses = []
    for _ in range(9):  # never in a loop: no more than five that are refused at once
        answer = await proxy.post(NATIVE_CELL.path, NATIVE_CELL.body(True))
        statuses.append(answer.status)
        assert "copilot_proxy.py login" not in message_of("messages", answer.json)
    assert statuses == [401] * 3 + [503] * 6 and len(up.mints) == 2 + 5
    assert 0 < int(answer.headers["retry-after"]) <= 300
    up.script.clear()
    proxy.clock.advance(int(answer.headers["retry-after"]))
    assert await fifty() == {200} and len(up.mints) == 2 + 6


MARK = {"cache_control": {"type": "ephemeral"}}
FIRST_ASK = {
    "system": [words("x-anthropic-billing-header: cc_version=2;"), words("Brief.", **MARK)],
    "tools": [READ_TOOL],
    "messages": [{"role": "user", "content": [words(PROMPT, **MARK)]}],
}
GROWN_ASK = {
    **FIRST_ASK,
    "messages": [
        {"role": "user", "content": [words(PROMPT)]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "ä"}}
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "text", **MARK}
            ],
        },
    ],
}


def without_marks(obj):
    """A JSON value without cache marks: they move, the cache goes by what is before."""
    if isinstance(obj, dict):
        return {
            key: without_marks(value)
            for key, value in obj.items()
            if not key.endswith("cache_control")
        }
    if isinstance(obj, list):
        return [without_marks(one) for one in obj]
    return obj


@pytest.mark.parametrize(
    "model, key, marks",
    [("claude-sonnet-4.5", "messages", 2), ("gpt-4.1", "messages", 0), ("gpt-5.5", "input", 0)],
)
@whole_program()
async def test_prompt_prefix_is_the_same_again(up, proxy, model, key, marks):
    for body in (FIRST_ASK, FIRST_ASK, GROWN_ASK):
        answer = await proxy.post(
            "/v1/messages", {"model": model, "max_tokens": 99, "stream": True, **body}
        )
        assert answer.status == 200
    first, again, grown = [r for r in up.requests if r.path in STREAM]
    assert first.body == again.body and b"billing" not in first.body
    same = first.body.index(PROMPT.encode())
    assert first.body[:same] == grown.body[:same]
    old = without_marks(first.json[key])
    new = without_marks(grown.json[key])
    assert len(new) > len(old) and new[: len(old)] == old
    for request in (first, grown):
        assert sum("cache_control" in obj for _, obj in walk(request.json)) == marks


@whole_program()
async def test_prompt_cache_marks_for_claude_on_chat(up, proxy):
    turn = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "ho"}]
    for length in (0, 6, 6):
        body = {
            "model": "claude-sonnet-4.5",
            "messages": [{"role": "system", "content": "Be brief."}, *turn * length, turn[0]],
        }
        answer = await proxy.post("/v1/chat/completions", body)
        sent = up.asked(CHAT)[-1].json["messages"]
        marked = [at for at, m in enumerate(sent) if "copilot_cache_control" in m]
        assert 2 <= len(marked) <= 4 and marked[0] == 0 and marked[-1] == len(sent) - 1
        assert without_marks(sent) == body["messages"]
    assert answer.json["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


# -- what chat models are given and give back ----------------------------------------------


class Readers(FakeUpstream):
    """A fake whose gpt-4.1 reads PDF and whose gpt-5-mini sees nothing."""

    def __init__(self):
        super().__init__()
        for entry in self.models:
            about = entry.get("capabilities")
            if entry.get("id") == "gpt-4.1":
                about["limits"]["vision"]["supported_media_types"].append("application/pdf")
            elif entry.get("id") == "gpt-5-mini":
                del about["limits"]["vision"]
                about["supports"]["vision"] = False


def messages_request(model, *content, **more):
    return {"model": model, "max_tokens": 99, "messages": [by_user(*content)], **more}


MEDIA = [  # model, block, what its refusal says or None
    ("gpt-4.1", PDF_BLOCK, None),
    ("gpt-5-mini", PDF_BLOCK, "capability_rejected: document_block"),
    ("gpt-5-mini", PNG_BLOCK, "capability_rejected: image_block"),
    ("gpt-4.1", PNG_BLOCK, None),
]


@pytest.mark.parametrize("model, block, capability", MEDIA)
@whole_program(Readers)
async def test_media_go_where_the_model_sees_them(up, proxy, model, block, capability):
    answer = await proxy.post("/v1/messages", messages_request(model, block, said("sum up")))
    if capability is None:
        assert answer.status == 200
        sent = up.asked(CHAT)[-1].json["messages"][-1]["content"]
        assert [part["type"] for part in sent][1] == "text"
        assert sent[0]["type"] in ("file", "image_url")
    else:
        assert answer.status == 400 and capability in answer.json["error"]["message"]
        assert not up.asked(CHAT), "it was sent all the same"


@whole_program()
async def test_documents_of_chat_clients_reach_claude(up, proxy):
    content = [C_PDF, {"type": "text", "text": "sum up"}]
    body = {"model": "claude-sonnet-4.5", "messages": [{"role": "user", "content": content}]}
    answer = await proxy.post("/v1/chat/completions", body)
    sent = up.asked(MESSAGES)[-1].json["messages"][0]["content"]
    assert answer.status == 200 and sent[0]["type"] == "document"


@pytest.mark.parametrize("stream", [False, True])
@whole_program()
async def test_custom_tools_of_chat_clients_are_served(up, proxy, stream):
    wrapper = json.dumps({"input": "*** Begin"})
    chunks = [c_chunk(c_tools((0, "c1", "patch", wrapper))), c_chunk({}, "stop"), C_DONE]
    up.script["POST", CHAT] = [(200, SSE, [c_sse(chunks)])]
    body = {"model": "gpt-4.1", "messages": [C_HI], "tools": [C_CUSTOM], "stream": stream}
    answer = await proxy.post("/v1/chat/completions", body)
    sent = up.asked(CHAT)[-1].json["tools"][0]
    assert sent["type"] == "function" and sent["function"]["name"] == "patch"
    if stream:
        assert b'"custom":{"input":"*** Begin"}' in answer.body
    else:
        call = answer.json["choices"][0]["message"]["tool_calls"][0]
        assert call["custom"] == {"name": "patch", "input": "*** Begin"}


@whole_program()
async def test_whole_answers_ignore_what_follows_their_end(up, proxy):
    chunks = c_sse([c_chunk({"content": "Hi"}), c_chunk({}, "stop"), C_DONE])
    for path, body in (
        ("/v1/messages", messages_request("gpt-4.1", said("hi"))),
        ("/v1/chat/completions", {"model": "gpt-4.1", "messages": [C_HI]}),
    ):
        up.script["POST", CHAT] = [(200, SSE, [chunks + b'data: {"choi'])]
        assert (await proxy.post(path, body)).status == 200


@EVERY_ROW
@whole_program()
async def test_overflow_tells_true_numbers(up, proxy, cell, stream):
    most = next(e for e in up.models if e["id"] == cell.model)["capabilities"]["limits"][
        "max_prompt_tokens"
    ]
    inside = (
        200,
        SSE,
        [
            data(
                {
                    "type": "error",
                    **routes_said("Your input exceeds the context window", "invalid_request_body"),
                },
                "error",
            )
        ],
    )
    up.script["POST", cell.served] = [OVERFLOW[cell.served](most + 9, most).answer, inside]
    translated = "responses" not in cell.path and cell.served != MESSAGES
    for at in range(1 + translated):
        answer = await proxy.post(cell.path, cell.body(stream))
        # Before anything was said a refusal inside a stream of Responses is a plain one.
        said_inside = at and stream and cell.served != RESPONSES
        assert answer.status == (200 if said_inside else 400)
        if answer.status != 200:
            obj = answer.json
        else:
            obj = frames(answer.body)[-1][1]
        tokens, maximum = map(
            int,
            re.fullmatch(
                r"prompt is too long: (\d+) tokens > (\d+) maximum", message_of(cell.path, obj)
            ).groups(),
        )
        assert maximum == most and tokens > most, obj
        assert at or cell.served == RESPONSES or tokens == most + 9
        assert (obj["error"].get("code") or obj["error"]["type"]) == (
            "invalid_request_error" if cell.path == "/v1/messages" else "context_length_exceeded"
        )


LEARNT = [  # name, model, request, the refusal if the fake does not make it, what is gone
    (
        "beta",
        "claude-sonnet-4.5",
        {},
        gateway("unsupported beta header(s): interleaved-thinking-2025-05-14").answer,
        None,
    ),
    ("extra input", "claude-sonnet-4.5", {"colour": "red"}, None, b"colour"),
    (
        "in a tool",
        "claude-sonnet-4.5",
        {"tools": [{**READ_TOOL, "colour": "red"}]},
        None,
        b"colour",
    ),
    (
        "signature",
        "claude-opus-4.5",
        {
            "messages": [
                {"role": "user", "content": PROMPT},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "", "signature": "EqForeign"},
                        words("ho"),
                    ],
                },
                {"role": "user", "content": "go on"},
            ]
        },
        None,
        b"EqForeign",
    ),
    (
        "effort",
        "claude-opus-4.6",
        {"output_config": {"effort": "high"}},
        gateway(
            'output_config.effort "high" is not supported by model X; supported values: '
            "[low medium]",
            "invalid_reasoning_effort",
        ).answer,
        b'"high"',
    ),
    (
        "chat field",
        "gpt-4.1",
        {"temperature": 0.5},
        gateway("Unsupported parameter: 'temperature' is not supported with this model.").answer,
        b"temperature",
    ),
]


@pytest.mark.parametrize("name, model, more, refusal, gone", LEARNT, ids=[row[0] for row in LEARNT])
@whole_program()
async def test_lesson_is_one_repair_one_replay_and_remembered(
    up, proxy, name, model, more, refusal, gone
):
    if model.startswith("claude"):
        path = MESSAGES
    else:
        path = CHAT
    if refusal:
        up.script["POST", path] = [refusal]
    else:
        up.script["POST", path] = []
    body = {**HELLO, "model": model, **more}
    for sent in (2, 3):  # in all
        answer = await proxy.post(
            "/v1/messages", body, **{"anthropic-beta": "interleaved-thinking-2025-05-14"}
        )
        assert answer.status == 200 and len(up.asked(path)) == sent, answer
    first, *repaired = up.asked(path)
    assert gone is None or gone in first.body
    for request in repaired:
        assert gone not in request.body if gone else not request.header("anthropic-beta")
    # One person's prompt is billed once; without a session it may be typed again.
    assert up.initiators == ["user", "agent", "user"]
    up.script["POST", path] = [gateway("something else is wrong").answer] * 2
    answer = await proxy.post("/v1/messages", body)
    assert answer.status == 400 and len(up.asked(path)) == 4
    assert "something else is wrong" in answer.json["error"]["message"]


TWINS = [row for row in LEARNT if row[0] in ("extra input", "in a tool", "effort")]


@pytest.mark.parametrize("name, model, more, refusal, gone", TWINS, ids=[row[0] for row in TWINS])
def test_lesson_that_another_request_has_learnt_meanwhile(name, model, more, refusal, gone):
    async def scenario():
        async with HoldingUpstream() as up, QuickProxy(up) as proxy:
            await proxy.get("/v1/models")
            up.hold = asyncio.Event()
            up.script["POST", MESSAGES] = [refusal] * 3 if refusal else []
            body = {**HELLO, "model": model, **more}
            twins = [asyncio.ensure_future(proxy.post("/v1/messages", body)) for _ in range(3)]
            assert await until(lambda: len(up.asked(MESSAGES)) == 3)
            up.hold.set()
            assert [answer.status for answer in await asyncio.gather(*twins)] == [200] * 3
            asked = [gone in request.body for request in up.asked(MESSAGES)]
            assert asked == [True] * 3 + [False] * 3

    run(scenario())


@whole_program()
async def test_only_a_400_teaches(up, proxy):
    up.script["POST", MESSAGES] = [whole(422, {"error": {"message": PREFILL}})]
    answer = await proxy.post("/v1/messages", {**HELLO, "model": "claude-haiku-4.5"})
    assert answer.status != 200 and len(up.asked(MESSAGES)) == 1


UNREAD = "The encrypted content gAA... could not be verified. Reason: it did not match."
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}
FAILED = {"type": "response.failed", "response": {"id": "r", "status": "failed", "error": None}}
OPENINGS = [  # events of a 200 that refuse the request
    [{"type": "error", "code": "invalid_request_body", "message": UNREAD}],
    [CREATED, {"type": "error", "error": {"code": "invalid_request_body", "message": UNREAD}}],
    [CREATED, FAILED, {"type": "error", "code": "invalid_request_body", "message": UNREAD}],
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("events", OPENINGS, ids=["flat", "nested", "two"])
@whole_program()
async def test_refusal_that_opens_a_stream_teaches(up, proxy, events, stream):
    up.script["POST", RESPONSES] = [(200, SSE, [data(event, event["type"]) for event in events])]
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "E" * 80}
    items = [thought, {"role": "user", "content": "hi"}]
    body = {"model": "gpt-5-mini", "input": items, "stream": stream}
    answer = await proxy.post("/v1/responses", body)
    assert answer.status == 200 and b"could not be" not in answer.body, answer
    first, second = up.asked(RESPONSES)
    assert b"EEE" in first.body and b"EEE" not in second.body


# -- web search, limits, nothing leaks -------------------------------------------------------

SEARCH_ASK = {
    "model": "claude-sonnet-4.5",
    "max_tokens": 999,
    "messages": [{"role": "user", "content": "Perform a web search for the query: " + PROMPT}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
}


@pytest.mark.parametrize("stream", [True, False])
@whole_program()
async def test_web_search(up, proxy, stream):
    ask = {**SEARCH_ASK, "stream": stream}
    answer = await proxy.post("/v1/messages", ask)
    assert answer.status == 200 and answer.headers["x-copilot-model"] == "gpt-5-mini"
    assert up.asked(RESPONSES)[0].json["tools"] == [{"type": "web_search"}]
    kinds = re.findall(rb'"type":"(server_tool_use|web_search_tool_result|text)"', answer.body)
    assert kinds == [b"server_tool_use", b"web_search_tool_result", b"text"]
    assert b"https://example.com/found" in answer.body
    assert list((await proxy.get("/usage/summary"))["models"]) == ["gpt-5-mini"]
    up.script["POST", RESPONSES] = [(200, SSE, [])]
    answer = await proxy.post("/v1/messages", ask)
    if stream:  # the head went out with the upstream's
        assert frames(answer.body)[-1][0] == "error"
    else:
        assert answer.status == 502 and message_of("messages", answer.json)
    for entry in up.models:  # nobody who could search is left
        entry["supported_endpoints"] = [CHAT]
    proxy.clock.advance(700)
    answer = await proxy.post("/v1/messages", ask)
    assert answer.status == 200 and b"not available" in answer.body
    assert len(up.asked(RESPONSES)) == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["gpt-5-mini", "gpt-4.1", "claude-sonnet-4.5"])
@whole_program()
async def test_responses_twenty_turns_by_their_ids(up, proxy, model, stream):
    previous = None
    served = None
    for turn in range(20):
        ask = {"model": model, "input": "turn %d." % turn, "stream": stream}
        answer = await proxy.post("/v1/responses", {**ask, "previous_response_id": previous})
        assert answer.status == 200, answer
        if not stream:
            response = answer.json
        else:
            response = frames(answer.body)[-1][1]["response"]
        previous = response["id"]
    sent = json.loads(up.requests[-1].body)
    texts = re.findall(r"turn \d+\.", json.dumps(sent))
    assert texts == ["turn %d." % turn for turn in range(20)]
    assert json.dumps(sent).count('"ok"') == 19
    assert proxy.program.app._memory.size < 100_000
    other = {"model": model, "input": "x", "previous_response_id": previous}
    answer = await proxy.post("/v1/responses", other, **{"X-Session-Id": "another-one"})
    assert answer.status == 400
    assert answer.json["error"]["code"] == "previous_response_not_found"


@whole_program()
async def test_responses_a_refusal_inside_a_200_is_one_and_teaches(up, proxy):
    script = RWire().start().end("failed", error=None)
    words = "The encrypted content gAAA could not be verified. Reason: it did not match."
    script.event("error", code="invalid_request_body", message=words)
    thought = {"type": "reasoning", "encrypted_content": "gAAA", "summary": []}
    said = {"type": "message", "role": "assistant", "content": "a"}
    ask = {"model": "gpt-5.5", "input": [PROMPT_ITEM, thought, said, PROMPT_ITEM], "stream": True}
    for pieces in ([script.raw], frames_of(script.raw)):
        up.script["POST", RESPONSES] = [(200, SSE, pieces)]
        answer = await proxy.post("/v1/responses", ask)
        assert answer.status == 200 and frames(answer.body)[-1][0] == "response.completed"
        assert b"gAAA" not in up.requests[-1].body
        ask = json.loads(json.dumps(ask).replace("gAAA", "gBBB"))
        script.raw = script.raw.replace(b"gAAA", b"gBBB")
    up.script["POST", RESPONSES] = [(200, SSE, [script.raw])] * 9
    answer = await proxy.post("/v1/responses", {**ask, "input": "x"})
    assert answer.status == 400 and "could not be verified" in answer.json["error"]["message"]


@whole_program(web_search="off")
async def test_web_search_off(up, proxy):
    answer = await proxy.post("/v1/messages", {**SEARCH_ASK, "stream": True})
    assert "not available" in content_of(answer, True)[0]
    assert not up.asked(RESPONSES) and not up.asked(MESSAGES)


@whole_program(rate_limit_default=3, rate_limit_chat_completions=2)
async def test_limits_in_the_dialect_of_the_path(up, proxy):
    for cell, most in ((NATIVE_CELL, 3), (CHAT_CELL, 2)):
        name = {"X-Session-Id": cell.path[4:8]}
        for count in range(most + 1):
            answer = await proxy.post(cell.path, cell.body(True), **name)
            assert answer.status == (200 if count < most else 429)
        assert 58 <= int(answer.headers["retry-after"]) <= 60
        assert "RATE_LIMIT" in message_of(cell.path, answer.json)
        assert (await proxy.post("/v1/messages/count_tokens", HELLO, **name)).status == 200
        await proxy.post("/usage/reset/" + cell.path[4:8], {})
        assert (await proxy.post(cell.path, cell.body(True), **name)).status == 200
    assert len(up.asked(MESSAGES)) == 4 and len(up.asked(CHAT)) == 3


@whole_program(credit_budget=0.0001, max_tokens_per_request=5000)
async def test_limits_of_credits_and_tokens(up, proxy):
    for cell in (NATIVE_CELL, CELLS["anthropic responses"]):
        for status in (200, 402):
            answer = await proxy.post(cell.path, cell.body(True), **{"X-Session-Id": cell.model})
            assert answer.status == status
        assert "CREDIT_BUDGET" in message_of(cell.path, answer.json)
        assert answer.headers["x-should-retry"] == "false"
    answer = await proxy.post(
        CHAT_CELL.path, CHAT_CELL.body(True, messages=[{"role": "user", "content": "word " * 9000}])
    )
    assert answer.status == 400 and not up.asked(CHAT)
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert re.search(r"\d{4} tokens > 5000 maximum", answer.json["error"]["message"])


def test_nothing_leaks():
    """300 requests with random faults and clients that leave."""
    dice = random.Random(18)
    table = list(REFUSALS_BEFORE.values())

    async def one(up, proxy, gate):
        async with gate:
            cell = dice.choice(list(CELLS.values()))
            stream = dice.random() < 0.6
            fault = dice.choice([None, "refused", "broken", "leave"])
            if fault:
                up.script["POST", cell.served].append(
                    dice.choice(table)[0]
                    if fault == "refused"
                    else (200, SSE, dice.choice(list(stream_faults(cell).values()))[0])
                )
            if fault != "leave":
                await proxy.ask("POST", cell.path, cell.body(stream))
                return
            _, writer = await begin(proxy, cell, stream)
            await asyncio.sleep(dice.random() * 0.02)
            writer.close()

    @whole_program(idle_timeout=0.03)
    async def check(up, proxy):
        await proxy.get("/v1/models")
        before = len(asyncio.all_tasks()) - 2 * up.open
        gate = asyncio.Semaphore(12)
        await asyncio.gather(*(one(up, proxy, gate) for _ in range(300)))
        # What is left are kept connections, of which the fake has two tasks each.
        assert await until(lambda: len(asyncio.all_tasks()) - 2 * up.open <= before)
        assert up.open <= 13
        upstreams.append(up)

    def descriptors():
        if os.path.isdir("/proc/self/fd"):
            return len(os.listdir("/proc/self/fd"))
        return 0

    upstreams = []
    before = descriptors()
    check()
    assert descriptors() <= before + 1 and upstreams[0].open == 0


@whole_program(github_token="")
async def test_routes_another_account_gets_its_own_catalogue(up, proxy):
    def sign_in(token):  # as `copilot_proxy.py login` in another process does
        up.github_tokens.add(token)
        cp.TokenStore(proxy.token_file).save(token)
        proxy.clock.advance(1)

    sign_in("ghu_one")
    assert (await proxy.ask("GET", "/v1/models/haiku")).status == 200
    await proxy.ask("GET", "/usage/quota")
    assert (await proxy.ask("GET", "/auth/status")).json["login"] == "octocat"
    assert (await proxy.post("/auth/logout", {})).json["status"] == "logged_out"
    assert (await proxy.ask("GET", "/v1/models")).status == 401
    up.models = [entry for entry in up.models if "haiku" not in str(entry.get("id"))]
    sign_in("ghu_two")
    assert "login" not in (await proxy.ask("GET", "/auth/status")).json  # not the old one
    assert (await proxy.ask("GET", "/v1/models/haiku")).status == 404


STOPPED = [
    (path, model, streamed)
    for path in ("/v1/messages", "/v1/chat/completions")
    for model in ("gpt-5.3-codex", "gpt-5-mini", "gpt-4.1")
    for streamed in (False, True)
    if (path, model) != ("/v1/chat/completions", "gpt-4.1")  # its upstream stops by itself
]


@pytest.mark.parametrize("path, model, streamed", STOPPED)
def test_answers_end_where_the_client_says_stop(path, model, streamed):
    """The fake model says `ok` and knows no stop: the proxy cuts behind the o."""
    if path == "/v1/messages":
        key = "stop_sequences"
    else:
        key = "stop"
    body = {
        "model": model,
        "max_tokens": 99,
        "stream": streamed,
        "messages": [{"role": "user", "content": "hi"}],
        key: ["never", "k"],
    }

    async def main():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            return await proxy.ask("POST", path, body)

    answer = run(main())
    assert answer.status == 200, answer
    if path == "/v1/messages":
        if streamed:
            events = [event for _, event in frames(answer.body)]
        else:
            events = []
        if streamed:
            message = fold_message(events)
        else:
            message = answer.json
        assert [block["text"] for block in message["content"]] == ["o"]
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "k")
        return
    if streamed:
        choices = [choice for _, chunk in frames(answer.body)[:-1] for choice in chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    else:
        text = answer.json["choices"][0]["message"]["content"]
        reasons = [answer.json["choices"][0]["finish_reason"]]
    assert (text, reasons) == ("o", ["stop"])


def run_logged(scenario, least=logging.DEBUG):
    """What a scenario gives, and the lines that were logged meanwhile."""
    lines = []
    listener = logging.Handler(least)
    listener.emit = lambda record: lines.append(record.getMessage())
    cp.LOG.addHandler(listener)
    try:
        return run(scenario), lines
    finally:
        cp.LOG.removeHandler(listener)


@pytest.mark.parametrize(
    "method, path, body, word",
    [
        ("GET", "/v1/nothing", None, "no such path"),
        ("DELETE", "/v1/messages", None, "does not take"),
        ("POST", "/v1/messages", b"{", "not JSON"),
        ("POST", "/v1/messages/count_tokens", b"[", "not JSON"),
    ],
)
def test_what_is_no_model_request_leaves_a_line(method, path, body, word):
    async def main():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            await proxy.ask(method, path, body, {"Origin": PAGE})  # a stranger's is no news
            return await proxy.ask(method, path, body)

    answer, lines = run_logged(main(), logging.WARNING)
    refused = [line for line in lines if "request_refused" in line]
    assert len(refused) == 1 and '"status": %d' % answer.status in refused[0]
    assert path in refused[0] and word in refused[0] and len(refused[0]) < 250, refused


def test_a_mapped_model_is_told_once():
    async def main():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            for model in ("haiku", "claude-haiku-4.5", "haiku"):
                await proxy.ask("POST", "/v1/messages", dict(HELLO, model=model))

    (told,) = [line for line in run_logged(main())[1] if "model_mapped" in line]
    assert '"haiku"' in told and "claude-haiku-4.5" in told


@in_a_loop
async def test_heavy_work_is_done_apart_and_huge_work_in_turn():
    small, heavy = 1 << 18, 4 << 20
    names = [
        (await cp.apart(size, threading.current_thread)).name
        for size in (small - 1, small, heavy, heavy + 1, heavy + 2)
    ]
    here, huge = threading.current_thread().name, {one.name for one in cp.HUGE_LANE._threads}
    assert [name == here for name in names] == [True] + [False] * 4
    assert [name in huge for name in names] == [False] * 3 + [True] * 2 and len(huge) == 1


@in_a_loop
async def test_samples_of_prompts_are_bounded():
    sizes = cp.PromptSizes(None)
    for model, size in (("most", 1 << 20), ("too much", (1 << 20) + 1)):
        sizes.learn(model, bytes(size), cp.TokenUsage(size // 4))
    assert list(sizes._samples) == ["most"]
    for number in range(9):
        sizes.learn("m%d" % number, b"{}", cp.TokenUsage(1))
    assert list(sizes._samples) == ["m5", "m6", "m7", "m8"]


def test_what_was_left_out_is_told():
    """In each answer's header, and in the session's first line of the log."""
    body = {
        "model": "gpt-5-mini",
        "max_tokens": 99,
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "hi"}],
    }

    async def main():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            asked = [(p, body) for p in ("/v1/messages", CHAT)]
            for path, more in (
                ("/v1/messages", {**body, "top_k": 3, "temperature": None}),
                (RESPONSES, {"model": "claude-haiku-4.5", "input": "hi", "max_tool_calls": 3}),
            ):
                asked.append((path, {**more, "new": 1, "metadata": {"user_id": "u"}}))
            return [await proxy.ask("POST", path, sent) for path, sent in asked]

    answers, lines = run_logged(main())
    told = [a.headers.get("x-copilot-left-out") for a in answers]
    assert told == ["temperature"] * 2 + ["top_k, new", "max_tool_calls, new"]
    assert any("left out: temperature" in line for line in lines), lines


@pytest.mark.parametrize("path", ["/v1/messages", CHAT, RESPONSES])
def test_an_answer_that_is_no_stream_is_said_before_the_200(path):
    """An upstream that ignores `stream`: its whole answer is no reason for an empty one."""
    body = {"model": "gpt-4.1", "max_tokens": 99, "stream": True}
    messages = [{"role": "user", "content": "hi"}]
    body["input" if path == RESPONSES else "messages"] = messages
    said = {"choices": [{"message": {"role": "assistant", "content": "ok"}}]}

    async def main():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            up.script["POST", CHAT] = [whole(200, said)]
            return await proxy.ask("POST", path, body)

    answer = run(main())
    assert answer.status == 502 and b"an answer, but no stream" in answer.body, answer


# ============================================================================
# 19. Status page
# ============================================================================

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def test_page_is_one_document_with_a_strict_policy():
    async def scenario():
        async with FakeUpstream() as up, Proxy(up) as proxy:
            answers = [
                await proxy.ask("GET", "/", headers=[("accept", "text/html,*/*")]) for _ in range(2)
            ]
            plain = await proxy.ask("GET", "/", headers=[("accept", "*/*")])
        return answers, plain

    (first, second), plain = run(scenario())
    policy = dict(first.headers)["content-security-policy"]
    nonce = re.search(r"'nonce-([\w-]{16,})'", policy).group(1)
    page = first.body.decode()
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert page.count('nonce="%s"' % nonce) == 2 and nonce not in second.body.decode()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page) and "innerHTML" not in page
    assert not re.search(r"\son\w+=|\sstyle=", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert plain.json["proxy"] == "copilot-claude-proxy"


QUOTA = {
    "unlimited": False,
    "entitlement": 1500,
    "remaining": 1287.4,
    "overage_permitted": False,
    "overage_count": 0,
    "blocked": False,
}
NOW = 1795824000.0  # 2026-11-28
SETTINGS_PAGE = "unless you allow more at github.com/settings/copilot."
QUOTA_WORDS = [
    (
        {},
        "2026-12-01",
        "",
        "Resets 1 Dec, in 3 days. 7.9 a day so far; at this pace 1,263.8 are left then.",
        "",
    ),
    (
        {"remaining": 100},
        "2026-12-01",
        "warn",
        "Resets 1 Dec, in 3 days. 51.9 a day so far.",
        "Only 6.7 % left. At this pace it lasts until 29 Nov.",
    ),
    ({}, "2026-12-28", "", "Resets 28 Dec, in 30 days. Too early for a forecast.", ""),
    (
        {"remaining": 1500},
        "2026-11-29",
        "",
        "Resets 29 Nov, in 24 hours. Too early for a forecast.",
        "",
    ),
    (
        {"remaining": -3, "blocked": True},
        "2026-12-01",
        "bad",
        "Resets 1 Dec, in 3 days.",
        "Used up. Copilot refuses what costs AI credits until 1 Dec, " + SETTINGS_PAGE,
    ),
    (
        {"remaining": 0, "overage_permitted": True, "overage_count": 12.5},
        None,
        "warn",
        "",
        "Used up; each request now costs extra, 12.5 so far.",
    ),
    ({"remaining": 150}, "soon", "warn", "", "Only 10 % left."),
]


@pytest.mark.parametrize("change, reset, level, note, warning", QUOTA_WORDS, ids=short)
def test_page_words_for_what_is_left(change, reset, level, note, warning):
    quotas = {"ai_credits": {**QUOTA, **change}, "chat": {**QUOTA, "unlimited": True}}
    (bar,), unlimited = cp.allowances({"quotas": quotas, "reset_date": reset}, NOW)
    assert (bar["level"], bar["note"], bar["warning"]) == (level, note, warning)
    assert bar["left"] >= 0 and 0 <= bar["used"] <= 1 and -1 <= bar["elapsed"] <= 1
    assert unlimited.startswith("Unlimited: chat.")
    line = cp.quota_lines({"quotas": [bar], "quota_note": unlimited})
    assert "AI credits left." in line[0] and line[-1] == "Unlimited: chat."


def test_page_words_for_odd_quotas():
    odd = [{"entitlement": 0}, {"entitlement": None}, {"remaining": None}]
    quotas = {"kind_%d" % at: {**QUOTA, **change} for at, change in enumerate(odd)}
    assert cp.allowances({"quotas": quotas}, NOW) == ([], "")
    assert cp.allowances({}, NOW) == ([], "")


def test_page_lines_are_those_of_env(tmp_path):
    async def scenario(do, up):
        do.env.update(PORT=str(free_port()), API_KEY="k" * 16)
        server = await do.start()
        await until_line(server.stdout, "&& claude")
        key = [("x-api-key", "k" * 16)]
        report = (await ask(int(do.env["PORT"]), "GET", "/usage/page", None, key)).json
        env = [await do("env", "--shell", "fish")]
        line = await ask(
            int(do.env["PORT"]),
            "POST",
            "/usage/line",
            {"session_id": "none", "model": {"display_name": "Opus\x1b[0m"}},
            key,
        )
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return report, env, line

    report, env, line = cli(scenario, tmp_path)
    for connection, (_, out, _) in zip(report["connect"][1:], env):
        shown = connection["text"].replace(cp.HIDDEN_KEY, "k" * 16).replace("'k", "k")
        assert shown.replace("k'", "k") == out.replace("'k", "k").replace("k'", "k") + "claude"
    assert "k" * 16 not in json.dumps(report)
    assert line.headers["content-type"].startswith("text/plain"), line
    assert line.body == b"Opus\\x1b[0m | 0.00 credits, 0.00 today | 1,287.4 of 1,500 left\n"


def test_page_is_small_and_labelled():
    page = cp.PAGE
    assert len(page) <= 24 * 1024 and page.isascii()
    assert '<html lang="en">' in page and "<main>" in page and 'role="status"' in page
    identities = set(re.findall(r'id="(\w+)"', page))
    for name in set(re.findall(r"\$\.(\w+)", page)):
        assert name in identities, name


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4)
        for w, c in zip((0.2126, 0.7152, 0.0722), parts)
    )


def test_page_contrast_is_readable_in_both_schemes():
    pairs = re.findall(r"--(\w+):light-dark\((#\w+),(#\w+)\)", cp.PAGE)
    for scheme in (1, 2):
        colour = {}
        for row in pairs:
            shade = row[scheme]
            if len(shade) == 4:
                shade = "#" + "".join(each * 2 for each in shade[1:])
            colour[row[0]] = luminance(shade)
        for ink in ("ink", "dim", "link", "good", "warn", "bad"):
            for ground in ("bg", "card"):
                dark, light = sorted((colour[ink], colour[ground]))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


SPEED = 100  # the page's timers run so much faster in these tests
TICK = 2.5 / SPEED
FASTER = """
const wait = window.setTimeout, get = window.fetch;
window.setTimeout = (work, ms) => wait(work, ms / %d);
window.refreshes = 0;
window.fetch = (...words) => (refreshes++, get(...words));
window.confirm = () => true;
window.failures = [];
addEventListener("error", e => failures.push(e.message));
addEventListener("securitypolicyviolation", e => failures.push(e.violatedDirective));
"""
TO_CELLS = """
window.cells = (id, row) => [...document.querySelectorAll("#" + id + " tbody tr")][row].children;
window.texts = query => [...document.querySelectorAll(query)].map(each => each.textContent);
window.numbers = query => texts(query).map(each => parseFloat(each.replace(/,/g, "")) || 0);
"""

UNTIL = """(async () => {
%s;
for (const end = performance.now() + 8000; performance.now() < end;) {
if (%s) return true;
await new Promise(done => wait(done, 1))}})()"""


class Chromium:
    """Headless, over its debugging pipe: nothing else has to be installed. One serves all
    tests, whatever their event loop, so a thread waits for what it says."""

    def __init__(self, profile, width=1280, height=900):
        import fcntl

        pipes = [*os.pipe(), *os.pipe()]
        theirs = [fcntl.fcntl(pipes[at], fcntl.F_DUPFD, 20) for at in (0, 3)]

        def wire():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self._process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--no-first-run",
                "--remote-debugging-pipe",
                "--user-data-dir=%s" % profile,
                "--window-size=%d,%d" % (width, height),
                # Stands for a name that an attacker points at 127.0.0.1.
                "--host-resolver-rules=MAP rebind.test 127.0.0.1",
            ],
            preexec_fn=wire,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (pipes[0], pipes[3], *theirs):
            os.close(fd)
        self._out = open(pipes[1], "wb", buffering=0)
        self._in = open(pipes[2], "rb", buffering=0)
        self._waiting = b""
        self._number = 0

    def close(self):
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()

    async def call(self, method, params, session, seen):
        """One command of the DevTools protocol; `seen` is called with the events before
        its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **session}
        self._out.write(json.dumps(message).encode() + b"\0")
        loop = asyncio.get_running_loop()
        while True:
            while b"\0" not in self._waiting:
                reading = loop.run_in_executor(None, self._in.read, 1 << 20)
                self._waiting += await asyncio.wait_for(reading, 20)
            raw, _, self._waiting = self._waiting.partition(b"\0")
            answer = json.loads(raw)
            seen(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    started = Chromium(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


class Browser:
    """A page in a profile of its own."""

    def __init__(self, chromium):
        self._chromium = chromium
        self._session = {}
        self.requests = []

    async def __aenter__(self):
        self.context = await self.call("Target.createBrowserContext")
        target = await self.call("Target.createTarget", url="about:blank", **self.context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Network"):
            await self.call(domain + ".enable")
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=FASTER % SPEED + TO_CELLS)
        return self

    async def __aexit__(self, *_):
        self._session = {}
        await self.call("Target.disposeBrowserContext", **self.context)

    async def call(self, method, **params):
        """One command of the DevTools protocol."""
        return await self._chromium.call(method, params, self._session, self._see)

    def _see(self, event):
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])

    async def js(self, expression):
        """The value of an expression in the page."""
        told = await self.call(
            "Runtime.evaluate",
            expression="(async () => (%s))()" % expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression, first=""):
        """Do what comes first and wait until an expression is true; the page looks itself,
        to miss no moment."""
        assert await self.js(UNTIL % (first, expression)), expression

    async def open(self, url, ready="true"):
        """Go to a page and wait until it is there."""
        await self.call("Page.navigate", url=url)
        there = "location.href.startsWith('%s') && document.readyState === 'complete'"
        while not await self.js(there % url.partition("#")[0]):
            await asyncio.sleep(0.01)
        await self.until(ready)

    async def press(self, *keys):
        """Press keys, one after the other."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Enter": 13}
        for key in keys:
            if key == "Enter":
                text = {"text": "\r"}
            else:
                text = {}
            for kind in ("keyDown", "keyUp"):
                await self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    windowsVirtualKeyCode=codes[key],
                    **text,
                )

    async def move(self, x, y):
        """Move the mouse."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)


HELD = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
WORKED = ("claude-sonnet-4.5", "gpt-5-mini", "claude-haiku-4.5")


async def work(proxy, number, model=""):
    """One request of one of 60 sessions with long names; every ninth fails."""
    name = "ses-%02d-refactor-the-payment-gateway-on-branch-%04x" % (number % 60, number % 60)
    model = model or WORKED[number % 3]
    if number % 9 == 8:
        model = "no-such-model"
    headers = {"x-session-id": name, "user-agent": "opencode/1.18 x"}
    await proxy.ask("POST", "/v1/messages", {**HELD, "model": model}, headers.items())


@contextlib.asynccontextmanager
async def worked_page(chromium, requests=70):
    """(proxy, browser) with the page open and work that goes on."""
    async with FakeUpstream() as up, Proxy(up) as proxy, Browser(chromium) as browser:
        for number in range(requests):
            await work(proxy, number)

        async def go_on():
            number = requests
            while True:
                number += 1
                await work(proxy, number)
                await asyncio.sleep(0.02)

        task = asyncio.ensure_future(go_on())
        try:
            await browser.open(proxy.url + "/", "$.used.hidden === false")
            yield proxy, browser
            assert await browser.js("failures") == []
            assert all(url.startswith((proxy.url, "data:")) for url in browser.requests)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def refreshed(browser, times=2):
    """Wait until the page has read and shown what is new some times."""
    await browser.until("refreshes > %d" % (await browser.js("refreshes") + times))


SELECT = """(() => {const from = %s, to = %s, s = getSelection();
s.setBaseAndExtent(from, 0, to, to.length); window.anchor = from; return s.toString()})()"""


@needs_browser
def test_page_holds_still_while_one_reads(chromium):
    async def scenario():
        async with worked_page(chromium) as (_, browser):
            js = browser.js
            browser.requests.clear()
            began = time.monotonic()
            await refreshed(browser)
            assert {url.partition("/usage")[2] for url in browser.requests} == {"/page"}
            assert len(browser.requests) <= 1 + (time.monotonic() - began) / TICK
            text = "cells('requests', %d)[%d].firstChild"
            held = await js(SELECT % (text % (3, 1) + ".firstChild", text % (5, 5)))
            total = await js("$.since.textContent")
            await refreshed(browser)
            assert await js("getSelection().toString()") == held and await js("anchor.isConnected")
            assert await js("$.hr.textContent") == "Requests, held while you read"
            assert await js("$.since.textContent") != total
            await js("getSelection().removeAllRanges()")
            await browser.until("$.hr.textContent === 'Requests'")
            await js(
                SELECT
                % ("cells('sessions', 0)[2].firstChild", "cells('sessions', 2)[4].firstChild")
            )
            await refreshed(browser)
            assert await js("!getSelection().isCollapsed && getSelection().focusNode.isConnected")
            await js("getSelection().removeAllRanges()")
            await js("document.querySelector('[data-sort=last]').click()")
            await js("(window.held = document.querySelectorAll('#sessions .act')[5]).focus()")
            await js("scrollTo(0, 500)")
            await refreshed(browser)
            assert await js("document.activeElement === held && scrollY") == 500
            tops = "['used', 'sessions', 'requests'].map(id => Math.round("
            tops += "document.getElementById(id).getBoundingClientRect().top + scrollY))"
            await js("document.activeElement.blur()")
            await refreshed(browser)  # a held row may go now
            before = await js(tops)
            await refreshed(browser)
            assert before == await js(tops)

    run(scenario(), 60)


@needs_browser
def test_page_adds_up_and_filters(chromium):
    async def scenario():
        async with worked_page(chromium) as (_, browser):
            js = browser.js
            await js("$.moresessions.click()")
            rows = "#sessions tbody tr"
            for column, slack in ((2, 0), (3, 0.6), (4, 0), (5, 0), (6, 0), (7, 0)):
                total, *parts = await js("numbers('%s > :nth-child(%d)')" % (rows, column + 1))
                assert abs(total - sum(parts)) <= slack and len(parts) == 60, column
            hour, *models = await js("numbers('#legend td:nth-child(2)')")
            assert abs(hour - sum(models)) < 0.05 and models
            await js("document.querySelector('[data-unit=tokens]').click()")
            assert "." not in (await js("texts('#legend td:nth-child(2)')"))[0]
            await js("document.querySelector('[data-show=failed]').click()")
            assert set(await js("texts('#requests tbody .pill')")) == {"404"}
            assert "client: " in (await js("texts('#requests tbody .why')"))[0]
            await js("document.querySelector('[data-show=all]').click()")
            await js("document.querySelector('#sessions .name button').click()")
            assert await js("document.activeElement.id") == "only"
            assert len(set(await js("texts('#requests tbody tr > :nth-child(4)')"))) == 1
            await js("$.only.click()")
            assert await js("$.only.hidden")
            name = await js("document.querySelector('#sessions .name button').textContent")
            await js("document.querySelector('#sessions .act').click()")
            await browser.until("document.activeElement.id === 'hs'")
            await js("document.querySelector('summary').click()")
            await browser.until("texts('#models tbody tr').length > 5")
            await js("($.find.value = 'opus', $.find.oninput())")
            await browser.until("texts('#models td.name').every(name => name.includes('opus'))")
            return name

    assert run(scenario(), 60).startswith("ses-")


@needs_browser
def test_page_by_keyboard_mouse_and_clipboard(chromium):
    async def scenario():
        async with worked_page(chromium, 12) as (proxy, browser):
            js = browser.js
            await browser.call(
                "Browser.grantPermissions",
                permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
                **browser.context,
            )
            await browser.until("$.lines.textContent.includes('ANTHROPIC_MODEL')")
            await browser.until("$.copy.textContent === 'Copied'", first="$.copy.click()")
            report = (await proxy.ask("GET", "/usage/page")).json
            assert await js("navigator.clipboard.readText()") == report["connect"][0]["text"]
            await browser.until("$.copy.textContent === 'Copy'")
            await js("$.tab0.focus()")
            await browser.press("ArrowRight", "ArrowRight", "ArrowRight")
            assert "model_providers" in await js("$.lines.textContent")
            assert await js("document.activeElement.textContent") == "Codex"
            await browser.press("Tab", "Tab")
            assert await js("document.activeElement.id") == "lines"
            await js("$.tab6.click()")
            assert await js("$.copy.hidden")
            await js("scrollTo(0, 0)")
            box = await js(
                "(() => {const r = $.area.getBoundingClientRect();"
                "return [r.x + r.width / 2, r.y + 50]})()"
            )
            await browser.move(*box)
            await browser.until("texts('#legend td')[0].startsWith('At ')")
            await browser.move(5, 5)
            await browser.until("texts('#legend td')[0] === 'Last hour'")
            await js("$.minute.focus()")
            await browser.press("ArrowLeft")
            assert "credits" in await js("$.minute.getAttribute('aria-valuetext')")

    run(scenario(), 60)


@needs_browser
def test_page_says_when_the_proxy_is_gone_and_back(chromium):
    async def scenario():
        async with FakeUpstream() as up, Browser(chromium) as browser:
            async with Proxy(up) as proxy:
                for number in range(9):
                    await work(proxy, number)
                port = proxy.port
                await browser.open(proxy.url + "/", "$.used.hidden === false")
            await browser.until("$.state.textContent === 'The proxy does not answer'")
            assert await browser.js("!$.retry.hidden && texts('#requests tbody tr').length > 5")
            async with Proxy(up, port=port):
                await browser.js("$.retry.click()")
                await browser.until("$.state.textContent === 'Ready'")
                assert await browser.js("document.body.className") == ""

    run(scenario(), 60)


@needs_browser
def test_page_asks_for_the_key(chromium):
    async def scenario():
        key = "a-key-of-more-than-twenty-letters"
        async with FakeUpstream() as up, Proxy(up, api_key=key) as proxy:
            async with Browser(chromium) as browser:
                await browser.open(proxy.url + "/", "$.key.hidden === false")
                assert await browser.js("$.connect.hidden")
                for typed, then in (
                    ("wrong", "/not accepted/.test($.detail.textContent)"),
                    (key, "$.state.textContent === 'Ready'"),
                ):
                    await browser.js("$.keybox.value = '%s'" % typed)
                    await browser.js("$.keybox.focus()")
                    await browser.press("Enter")
                    await browser.until(then)
                assert cp.HIDDEN_KEY in await browser.js("$.lines.textContent")
                assert key not in await browser.js("document.documentElement.outerHTML")
                await browser.js("sessionStorage.clear()")
                await browser.open("about:blank", "true")
                await browser.open(proxy.url + "/#" + key, "$.state.textContent === 'Ready'")
                assert await browser.js("location.hash") == ""

    run(scenario(), 60)


@needs_browser
def test_page_signs_in_and_offers_a_new_code(chromium):
    async def scenario():
        async with FakeUpstream() as up, Proxy(up, github_token="") as proxy:
            async with Browser(chromium) as browser:
                js = browser.js
                up.device = ["access_denied"]
                await browser.open(proxy.url + "/", "$.state.textContent === 'Signed out'")
                await js("$.login.click()")
                await browser.until("$.login.textContent === 'Get a new code'")
                assert "cancelled" in await js("$.refused.textContent")
                up.device = ["authorization_pending"] * 99
                await js("$.login.click()")
                await browser.until("document.activeElement.id === 'copycode'")
                assert await js("$.usercode.textContent") == "WDJB-MJHT"
                left = await js("$.left.textContent")
                assert re.fullmatch(r"1[45] min \d+ s", left)
                up.device.clear()
                await browser.until("$.state.textContent === 'Ready'")
                await browser.until("$.detail.textContent.includes('octocat')")

    run(scenario(), 60)


AXE = os.environ.get("AXE_JS") or next(
    iter(pathlib.Path.home().glob(".cache/copilot-proxy-e2e/*/node_modules/axe-core/axe.min.js")),
    None,
)


@needs_browser
@pytest.mark.skipif(AXE is None, reason="axe-core is not installed (npm)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("settings", [{}, {"github_token": ""}], ids=["signed in", "signed out"])
def test_page_has_no_finding_of_axe(chromium, settings, scheme):
    async def scenario():
        async with (
            FakeUpstream() as up,
            Browser(chromium) as browser,
            Proxy(up, **settings) as proxy,
        ):
            if not settings:
                for number in range(30):
                    await work(proxy, number)
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await browser.call("Emulation.setEmulatedMedia", features=[feature])
            await browser.call("Page.setBypassCSP", enabled=True)
            await browser.open(proxy.url + "/", "$.state.textContent !== 'Reading'")
            source = pathlib.Path(AXE).read_text("utf-8")
            await browser.call("Runtime.evaluate", expression=source)
            return await browser.js(
                "axe.run().then(r => r.violations.map(v => v.id + "
                "v.nodes.map(n => n.target.join())))"
            )

    assert run(scenario(), 60) == []


ATTACK = b"""<!doctype html><body><script>
const say=(k,v)=>{const p=document.createElement("p");p.textContent=k+"="+v;document.body.append(p)};
const t="TARGET";const go=async(k,u,o)=>{try{const r=await fetch(u,o);say(k,r.type+":"+(await r.text()).length)}
catch(e){say(k,"refused")}};
(async()=>{await go("read",t+"/usage/summary");await go("opaque",t+"/auth/logout",{method:"POST",mode:"no-cors"});
await go("simple",t+"/usage/reset-all",{method:"POST",mode:"no-cors",headers:{"content-type":"text/plain"},body:"{}"});
await go("json",t+"/v1/messages",{method:"POST",headers:{"content-type":"application/json"},body:"{}"});
const f=document.createElement("iframe");f.src=t+"/";document.body.append(f);say("done","yes")})()
</script></body>"""


@needs_browser
def test_page_of_another_origin_reads_and_triggers_nothing(chromium):
    async def scenario():
        async with FakeUpstream() as up, Proxy(up) as proxy:

            async def serve(reader, writer):
                body = ATTACK.replace(b"TARGET", proxy.url.encode())
                with contextlib.suppress(EOFError):  # browsers open spare connections
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: "
                        b"close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                    )
                writer.close()

            await proxy.ask(
                "POST",
                "/v1/messages",
                {
                    "model": "gpt-4.1",
                    "max_tokens": 9,
                    "messages": [{"role": "user", "content": "x"}],
                },
            )
            evil = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = evil.sockets[0].getsockname()[1]
            async with Browser(chromium) as browser:
                document = "document.documentElement.outerHTML"
                await browser.open("http://rebind.test:%d/" % proxy.port)
                rebound = await browser.js(document)
                await browser.open("http://127.0.0.1:%d/" % port, "/done=/.test(%s)" % document)
                dom = await browser.js(document)
            evil.close()
            after = (await proxy.ask("GET", "/usage/summary")).json
            status = (await proxy.ask("GET", "/auth/status")).json
            return dom, rebound, after, status

    dom, rebound, after, status = run(scenario(), 60)
    assert "done=yes" in dom and "read=refused" in dom and "json=refused" in dom
    assert after["totalRequests"] == 1 and status["status"] == "authenticated"
    assert "is not this proxy" in rebound and "octocat" not in rebound


# ============================================================================
# 20. Command line
# ============================================================================

SCRIPT = os.path.abspath(cp.__file__)


@functools.lru_cache(maxsize=None)
def compiled():
    """Settings with which `-m copilot_proxy` starts without compiling the script each time."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = {"PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": os.path.dirname(SCRIPT)}
    code = "import copilot_proxy"
    subprocess.run([sys.executable, "-c", code], env=settings, check=True)
    return settings


class ListeningProtocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Lets OVERHEARD have what a process prints, whoever else reads it."""

    def pipe_data_received(self, fd, data):
        OVERHEARD.pieces[self, fd] += data
        super().pipe_data_received(fd, data)


class Cli:
    """The program in a process of its own, in front of a fake upstream."""

    def __init__(self, up, home, **settings):
        self.home = str(home)
        self.prefix = ()
        self.command = ["-m", "copilot_proxy"]
        self.env = {
            **compiled(),
            "PATH": os.environ["PATH"],
            "HOME": self.home,
            "GITHUB_URL": up.url,
            "GITHUB_API_URL": up.url,
            "PORT": "0",
            "PYTHONWARNINGS": "error",
            "LOG_LEVEL": "debug",
            **{k.upper(): str(v) for k, v in settings.items()},
        }

    async def start(self, *args):
        loop = asyncio.get_running_loop()
        pipe = subprocess.PIPE
        transport, protocol = await loop.subprocess_exec(
            lambda: ListeningProtocol(limit=1 << 20, loop=loop),
            *self.prefix,
            sys.executable,
            "-S",  # what is installed there is not needed, and takes time to look through
            *self.command,
            *args,
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        return asyncio.subprocess.Process(transport, protocol, loop)

    async def __call__(self, *args):
        """Exit code, standard output, standard error."""
        process = await self.start(*args)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode(), err.decode()

    async def at_once(self, *lines):
        """What several command lines give that do not depend on each other."""
        return await asyncio.gather(*[self(*line.split()) for line in lines])


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def cli(scenario, home, **settings):
    async def whole():
        async with FakeUpstream() as up:
            return await scenario(Cli(up, home, **{"github_token": "ghu_test", **settings}), up)

    return run(whole(), 60)


def test_cli_help_of_every_verb(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for args in ([], *([verb] for verb in cp.VERBS)):
        with pytest.raises(SystemExit) as caught:
            cp.main(args + ["--help"])
        text = capsys.readouterr().out
        assert caught.value.code == 0 and "exit codes: 0 done" in text
        assert all(len(line) <= 80 for line in text.splitlines())


def test_cli_lists_and_json(tmp_path):
    async def scenario(do, up):
        lists = ("models", "models --json", "usage", "usage --json")
        return await do.at_once(*lists, "check", "env", "env --shell powershell", "login")

    results = cli(scenario, tmp_path)
    assert [code for code, _, _ in results] == [0] * 8
    table, raw, usage, raw_usage, check, env, power, login = results
    assert all(len(line) <= 80 for line in table[1].splitlines())
    assert re.search(r"^claude-sonnet-4\.5 +200k +32k", table[1], re.M)
    assert json.loads(raw[1])["object"] == "list"
    assert "octocat" in usage[1] and "1,287.4 of 1,500" in usage[1]
    assert json.loads(raw_usage[1])["quota"]["login"] == "octocat"
    assert check[1].count("ok    ") == 6 and login[1].startswith("Signed in.")
    assert re.findall("none  (.*)", check[1]) == [
        "sign-in in %s" % (tmp_path / ".copilot-claude-proxy-tokens.json"),
        "proxy on the way to GitHub",
        "proxy on http://127.0.0.1:0",
    ]
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:0\n" in env[1]
    assert "$env:ANTHROPIC_MODEL = 'claude-" in power[1]
    assert env[2] == power[2] == raw[2] == ""


CLI_FAILURES = [
    (
        {},
        ["run", "--log", "/nowhere/log", "--", "true"],
        1,
        "No such file or directory: '/nowhere/log'",
    ),
    ({}, ["serve", "--port", "x"], 2, "PORT='x' is not usable"),
    ({}, ["--env-file", "/nowhere", "models"], 2, "/nowhere cannot be read: No such file"),
    ({"github_url": "http://github.example"}, ["models"], 2, "https://"),
    ({"port": "x"}, ["serve"], 2, "PORT='x' is not usable"),
    ({"host": "0.0.0.0"}, ["serve"], 2, "set API_KEY to 16 or more"),
    ({"github_token": ""}, ["models"], 3, "nobody is signed in"),
    ({"github_token": ""}, ["check"], 3, "FAIL  the sign-in"),
    ({"github_token": "ghp_x"}, ["models"], 3, "classic personal access token"),
    (
        {
            "github_url": "http://127.0.0.1:1",
            "github_api_url": "http://127.0.0.1:1",
            "github_token": "",
        },
        ["login"],
        3,
        "Sign-in failed: no connection to 127.0.0.1",
    ),
    ({}, ["run"], 2, "no command given"),
    ({}, ["run", "--", "no-such-command"], 2, "not on the PATH"),
    ({}, ["frob"], 2, "invalid choice"),
    ({"ssl_cert_file": "/nowhere"}, ["check"], 2, "SSL_CERT_FILE='/nowhere' is not usable"),
    ({"ssl_cert_file": SCRIPT}, ["serve"], 2, "expected a PEM file"),
    ({"ssl_cert_dir": SCRIPT}, ["env"], 2, "expected a folder"),
    (
        {"host": "a.invalid", "api_key": "k" * 16},
        ["serve"],
        1,
        "Cannot listen on http://a.invalid:0: [",
    ),
]


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """What each of CLI_FAILURES gives; they run side by side."""

    async def scenario(do, up):
        running = []
        for settings, args, _, _ in CLI_FAILURES:
            home = tmp_path_factory.mktemp("failure")
            one = Cli(up, home, **{"github_token": "ghu_test", **settings})
            running.append(one(*args))
        return await asyncio.gather(*running)

    return cli(scenario, tmp_path_factory.mktemp("failures"))


@pytest.mark.parametrize(
    "number, code, text", [(n, *row[2:]) for n, row in enumerate(CLI_FAILURES)]
)
def test_cli_failures_are_one_clear_line(failures, number, code, text):
    got, out, err = failures[number]
    assert got == code and text in out + err and "Traceback" not in out + err


def test_cli_first_run_signs_in_and_serves(tmp_path):
    async def scenario(do, up):
        first = await do("login")
        again = await do("models")
        mode = os.stat(os.path.join(do.home, ".copilot-claude-proxy-tokens.json")).st_mode & 0o777
        out = await do("logout")
        return first, again, mode, out, await do("models")

    first, again, mode, out, after = cli(scenario, tmp_path, github_token="")
    assert (
        first[0] == 0 and re.search(r"and enter \w{4}-\w{4}", first[1]) and "Signed in." in first[1]
    )
    assert again[0] == 0 and mode == 0o600 and out[0] == 0 and after[0] == 3
    assert os.listdir(str(tmp_path)) == []


def test_cli_logout_tells_whether_anybody_was_signed_in(tmp_path):
    async def scenario(do, up):
        await do("login")
        return await do("logout"), await do("logout")

    first, again = cli(scenario, tmp_path, github_token="")
    assert first[0] == again[0] == 0 and first[1].startswith("Signed out. The token file is")
    assert "github.com/settings/applications" in first[1]
    assert again[1] == "Nobody was signed in.\n" and "No proxy answers on http://" in again[2]


@pytest.mark.parametrize("verb", ["models", "usage", "env", "check"])
def test_cli_a_wrong_port_is_told_as_well(tmp_path, verb):
    async def scenario(do, up):
        return await do(verb, "--port", str(free_port()))

    code, out, err = cli(scenario, tmp_path, github_token="")
    assert re.search(r"No proxy answers on http://127\.0\.0\.1:\d+\.\n", err)
    assert "nobody is signed in" in out + err and code == (0 if verb == "env" else 3)


def test_cli_asks_a_proxy_with_another_key_and_one_that_is_signed_out(tmp_path):
    async def scenario(do, up):
        do.env["API_KEY"] = "k" * 16
        server = await do.start()
        told = await until_line(server.stdout, "/auth/check")
        do.env["PORT"] = re.search(r"http://127\.0\.0\.1:(\d+)", told)[1]
        signed_out = await do("models")
        do.env["API_KEY"] = "other" * 4
        another = await do("models")
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return signed_out, another

    signed_out, another = cli(scenario, tmp_path, github_token="")
    assert signed_out[0] == another[0] == 3
    assert re.search(r"The proxy on http://\S+ is signed out\.", signed_out[2])
    assert re.search(r"The proxy on http://\S+ has another API_KEY\.", another[2])


@pytest.mark.skipif(os.name == "nt", reason="no sh")
def test_cli_serves_without_any_output_as_under_pythonw(tmp_path):
    async def scenario(do, up):
        do.env["PORT"] = str(free_port())
        do.prefix = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
        server = await do.start()
        for _ in range(200):
            with contextlib.suppress(OSError):
                answer = await ask(int(do.env["PORT"]), "POST", "/v1/messages", HELD)
                break
            await asyncio.sleep(0.05)
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return answer.status, server.returncode

    assert cli(scenario, tmp_path) == (200, 0)


def test_cli_try_out_on_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as caught:
        main(["--port", str(taken.getsockname()[1])])
    assert re.fullmatch(r"Cannot listen on port \d+: Address already in use\.", caught.value.code)


def test_cli_denied_says_so(tmp_path):
    async def scenario(do, up):
        up.device = ["access_denied"]
        return await do("login")

    code, out, _ = cli(scenario, tmp_path, github_token="")
    assert code == 3 and "cancelled on GitHub" in out


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_cli_at_a_terminal_offers_a_new_code(tmp_path):
    async def scenario(do, up):
        up.device = ["access_denied"]
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [sys.executable, SCRIPT],
            env={**do.env, "LOG_LEVEL": "error"},
            cwd=do.home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        loop = asyncio.get_running_loop()
        seen = b""

        async def until_shown(mark):
            nonlocal seen
            while mark not in seen:
                seen += await loop.run_in_executor(None, os.read, ours, 4096)

        try:
            await asyncio.wait_for(until_shown(b"Press Enter"), 15)
            up.device = []
            os.write(ours, b"\n")
            await asyncio.wait_for(until_shown(b"&& claude"), 15)
            process.send_signal(signal.SIGINT)
            return seen.decode(), await loop.run_in_executor(None, process.wait, 10)
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    seen, code = cli(scenario, tmp_path, github_token="")
    assert code == 0 and seen.count("and enter WDJB-MJHT") == 2
    assert seen.count("cancelled on GitHub") == 1 and "The code works for 14:5" in seen
    assert "\r\x1b" not in seen and "octocat" in seen


async def until_line(stream, mark):
    seen = []
    while mark not in (seen[-1] if seen else ""):
        line = await asyncio.wait_for(stream.readline(), 10)
        assert line, "".join(seen)
        seen.append(line.decode())
    return "".join(seen)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_cli_serves_until_a_signal_and_knows_its_port(tmp_path):
    async def scenario(do, up):
        server = await do.start()
        told = await until_line(server.stdout, "&& claude")
        port = int(re.search(r"on http://127\.0\.0\.1:(\d+)", told).group(1))
        answer = await ask(port, "GET", "/auth/status")
        do.env["PORT"] = str(port)
        taken, usage = await do.at_once("serve", "usage")
        server.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(server.communicate(), 15)
        code = server.returncode
        return told, answer, port, taken, usage, code, out.decode(), err.decode()

    told, answer, port, taken, usage, code, out, err = cli(scenario, tmp_path)
    assert "1,287.4 of 1,500 AI credits left." in told and "octocat, individual pro" in told
    assert 'env --port %d)" && claude' % port in told
    assert len(told.splitlines()) <= 12 and max(map(len, told.splitlines()[:-1])) <= 80
    assert answer.json["login"] == "octocat" and code == 0 and "Stopping" in out
    assert taken[0] == 1 and "This program is running there already" in taken[2]
    assert "Nothing used since" in usage[1] and "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_cli_a_signal_wakes_an_event_loop_that_is_about_to_sleep():
    async def scenario():
        stop = cp.stop_event()
        wakes = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakes)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 1)
        return wakes

    assert run(scenario()) != -1


@pytest.mark.parametrize("prefix", [(), ("sh", "-c", 'exec "$0" "$@" <&-')])  # no stdin at all
def test_cli_signed_out_without_a_terminal_prints_curl(tmp_path, prefix):
    async def scenario(do, up):
        do.prefix = prefix
        server = await do.start()
        told = await until_line(server.stdout, "/auth/check")
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return told

    assert re.search(
        r"curl -X POST http://127\.0\.0\.1:\d+/auth/login", cli(scenario, tmp_path, github_token="")
    )


def test_cli_running_proxy_greets_who_signs_in_elsewhere(tmp_path):
    async def scenario(do, up):
        server = await do.start()
        await until_line(server.stdout, "/auth/check")
        login = await do("login")
        greeting = await until_line(server.stdout, "&& claude")
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return login, greeting

    login, greeting = cli(scenario, tmp_path, github_token="")
    assert login[0] == 0 and "octocat, individual pro" in login[1]
    assert "Account   octocat, individual pro" in greeting


RUN_CHILD = """
import os, sys, json, urllib.request as u
e = dict(os.environ)
def get(path, key=None):
    headers = {"x-api-key": key} if key else {}
    try:
        return u.urlopen(u.Request(e["ANTHROPIC_BASE_URL"] + path, headers=headers)).status
    except OSError as exc:
        return exc.code
key = e["ANTHROPIC_AUTH_TOKEN"]
print(json.dumps([e, get("/auth/status"), get("/auth/status", key)]))
sys.exit(7)
"""


def test_cli_run_hands_on_what_leads_here_and_no_secret(tmp_path):
    async def scenario(do, up):
        do.env.update(
            ANTHROPIC_MODEL="mine",
            ANTHROPIC_BASE_URL="http://elsewhere",
            ANTHROPIC_API_KEY="sk-ant-mine",
            CLAUDE_CODE_USE_BEDROCK="1",
            CLAUDE_CODE_USE_FOUNDRY="1",
            API_KEY="k" * 16,
            PORT="1",
            NO_PROXY="corp.example",
            HTTPS_PROXY="http://127.0.0.1:1",
            HTTP_PROXY="http://127.0.0.1:1",
            GITHUB_URL=up.url,
        )
        do.env["NO_PROXY"] += ",127.0.0.1"
        command = ("run", "--", sys.executable, "-c", RUN_CHILD)
        return await asyncio.gather(do(*command), do(*command))

    keys = set()
    for code, out, err in cli(scenario, tmp_path):
        env, without_key, with_key = json.loads(out)
        keys.add(env["ANTHROPIC_AUTH_TOKEN"])
        assert (code, without_key, with_key) == (7, 401, 200)
        assert env["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
        assert env["ANTHROPIC_MODEL"] == "mine" and env["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
        for name in ("NO_PROXY", "no_proxy"):
            assert env[name] == "corp.example,127.0.0.1,localhost,::1"
        for name in ("ANTHROPIC_API_KEY", "API_KEY", "GITHUB_TOKEN"):
            assert name not in env
        assert not [name for name in env if name.startswith("CLAUDE_CODE_USE_")]
        first, last = err.splitlines()
        assert "status page %s/#" % env["ANTHROPIC_BASE_URL"] in first
        assert "Nothing used since" in last
    assert len(keys) == 2 and "k" * 16 not in keys


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_cli_run_passes_a_signal_on_and_waits(tmp_path):
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.05), sys.exit(9)))\n"
        "print('up', flush=True)\ntime.sleep(20)\n"
    )

    async def scenario(do, up):
        process = await do.start("run", "--", sys.executable, "-c", child)
        await until_line(process.stdout, "up")
        process.terminate()
        await asyncio.wait_for(process.communicate(), 10)
        return process.returncode

    assert cli(scenario, tmp_path) == 9


def test_cli_run_gives_codex_its_own_provider(tmp_path):
    fake = tmp_path / "codex"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$OPENAI_API_KEY"\n')
    fake.chmod(0o755)

    async def scenario(do, up):
        return await do("run", "--", str(fake), "exec", "hello")

    code, out, _ = cli(scenario, tmp_path)
    told = out.splitlines()
    options = dict(each.split("=", 1) for flag, each in zip(told, told[1:]) if flag == "-c")
    assert code == 0 and told[-3:-1] == ["exec", "hello"] and len(told[-1]) >= 32
    assert options["model_provider"] == '"copilot"'
    assert options["model_providers.copilot.wire_api"] == '"responses"'
    assert options["model_providers.copilot.env_key"] == '"OPENAI_API_KEY"'
    assert re.fullmatch(r'"http://127.0.0.1:\d+/v1"', options["model_providers.copilot.base_url"])
    assert "codex" in options["model"]


def test_cli_asks_the_running_proxy_first_and_never_by_a_proxy(tmp_path):
    async def scenario(do, up):
        do.env.update(API_KEY="k" * 16, TOKEN_FILE=str(tmp_path / "other"))
        server = await do.start()
        told = await until_line(server.stdout, "&& claude")
        do.env["PORT"] = re.search(r"on http://127\.0\.0\.1:(\d+)", told)[1]
        # Only the running proxy has the token, and any other way is shut.
        del do.env["GITHUB_TOKEN"]
        do.env.update(http_proxy="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
        do.env["no_proxy"] = "nowhere"
        results = await do.at_once("env", "models", "usage")
        do.env["no_proxy"] = "127.0.0.1"  # `check` itself tries GitHub's fake
        results += await do.at_once("check", "usage --json")
        results += [await do("logout"), await do("models")]
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return results

    env, models, usage, check, raw, logout, after = cli(scenario, tmp_path)
    assert [one[0] for one in (env, models, usage, check, raw, logout)] == [0] * 6
    assert "claude-sonnet-4.5" in models[1] and "1,287.4 of 1,500" in usage[1]
    assert "export ANTHROPIC_AUTH_TOKEN=" + "k" * 16 in env[1] and env[2] == ""
    assert "export ANTHROPIC_MODEL=claude-" in env[1]
    assert ": Ready, octocat" in check[1] and "the running proxy reads the quota" in check[1]
    assert json.loads(raw[1])["proxy"]["totalRequests"] == 0
    assert "GITHUB_TOKEN is set in the environment" in logout[1] and after[0] == 0


@pytest.mark.parametrize("host, shown", [("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")])
def test_cli_other_loopback_addresses_are_right_everywhere(tmp_path, host, shown):
    async def scenario(do, up):
        do.env["HOST"] = host
        server = await do.start()
        banner = await until_line(server.stdout, "&& claude")
        port = do.env["PORT"] = re.search(r"on http://\S+:(\d+)", banner)[1]
        usage, env = await do.at_once("usage", "env")
        server.terminate()
        await asyncio.wait_for(server.communicate(), 15)
        return "http://%s:%s" % (shown, port), banner, usage, env

    base, banner, usage, env = cli(scenario, tmp_path)
    assert banner.count(base) == 3
    assert "Nothing used since" in usage[1]
    assert re.search("ANTHROPIC_BASE_URL='?" + re.escape(base) + "'?\n", env[1])
    assert re.search("NO_PROXY='?%s,?" % re.escape(host), env[1])


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_cli_serves_and_ends_whoever_reads_it(tmp_path, reader):
    async def scenario(do, up):
        do.env.update(PORT=str(free_port()), LOG_LEVEL="debug", GITHUB_TOKEN="ghu_test")
        reading, writing = os.pipe()
        if reader == "gone":
            os.close(reading)
        process = subprocess.Popen(
            [sys.executable, SCRIPT], env=do.env, stdout=writing, stderr=writing, cwd=do.home
        )
        os.close(writing)
        port = int(do.env["PORT"])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    await ask(port, "GET", "/")
                    break
                await asyncio.sleep(0.05)
            for number in range(350):  # 65,536 bytes of log and more
                path = "/%d" % number + "x" * 200
                assert (await ask(port, "GET", path)).status == 404
            process.terminate()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, process.wait, 10)
        finally:
            process.kill()
            process.wait()
            if reader == "asleep":
                os.close(reading)

    assert cli(scenario, tmp_path) == 0


def test_cli_log_is_one_narrow_line_a_request(tmp_path):
    async def scenario(do, up):
        server = await do.start()
        banner = await until_line(server.stdout, "&& claude")
        port = int(re.search(r"on http://\S+:(\d+)", banner)[1])
        session = [("x-claude-code-session-id", "d55ec1a5-62c8-492f-9a01-77aa54c0e9b2")]
        for model in ("claude-sonnet-4-5", "claude-sonnet-4.5-20250929", "opus", "opus", "none"):
            await ask(port, "POST", "/v1/messages", {**HELD, "model": model}, session)
        up.script["POST", "/chat/completions"] = [whole(402, {"error": {"message": PROMPT}})]
        await ask(port, "POST", "/v1/chat/completions", {**HELD, "model": "gpt-4.1"}, session)
        server.terminate()
        return (await asyncio.wait_for(server.communicate(), 15))[1].decode().splitlines()

    lines = [
        each for each in cli(scenario, tmp_path, log_level="info") if "model_ignored" not in each
    ]
    assert ["model_mapped" in each for each in lines] == [at == 2 for at in range(len(lines))]
    requests = [each for each in lines if "model_mapped" not in each]
    columns = r"\d\d:\d\d:\d\d \[%s\] d55e %s %-20s %d ....\+....>.... .{5}cr .{4}s"
    for line, (level, who, model, status) in zip(
        requests,
        [
            ("info", "user ", "claude-sonnet-4.5", 200),
            ("info", "(user |agent)", "claude-sonnet-4.5", 200),
            ("info", "(user |agent)", "claude-opus-5", 200),
            ("info", "(user |agent)", "claude-opus-5", 200),
            ("warn", "     ", "none", 404),
            ("warn", "(user |agent)", "gpt-4.1", 402),
        ],
    ):
        found = re.match(columns % (level, who, model, status), line)
        assert found and len(found[0]) == 80, line
        assert bool(line[found.end() :]) is (status >= 400)
    assert "  client: your Copilot account has no model" in requests[4]
    assert "  GitHub: Your Copilot credits or spending limit are used up" in requests[5]


REQUEST_LINES = [
    ("claude-sonnet-4.5", 0.42, 12.3, "claude-sonnet-4.5    200 1.2k+118k> 950  0.42cr 12.3s"),
    ("gemini-3.1-pro-preview", 0.0, 0.1, "gemini-3.1-pro-previ 200 1.2k+118k> 950  0.00cr  0.1s"),
    ("claude-opus-5", 1234.56, 1800, "claude-opus-5    200 1.2k+118k> 950 1234.56cr 1800.0s"),
]


@pytest.mark.parametrize("model, credits, seconds, line", REQUEST_LINES)
def test_cli_log_line_of_a_request_is_never_wider_than_a_terminal(model, credits, seconds, line):
    served = cp.Served(
        number=1,
        at=0.0,
        session="d55ec1a5-62c8",
        who="user",
        model=model,
        status=200,
        usage=cp.TokenUsage(1000, 950, 118_000, 200, nano_aiu=int(credits * 1e9)),
        seconds=seconds,
    )
    assert cp.served_line(served) == "d55e user  " + line
    assert len("12:00:01 [info] " + cp.served_line(served)) == 80


def test_docs_log_line_is_a_real_one():
    assert "\n12:00:01 [info] d55e user  %s\n" % REQUEST_LINES[0][3] in document("README.md")


def test_cli_login_that_cannot_be_saved_fails(tmp_path):
    async def scenario(do, up):
        do.env["TOKEN_FILE"] = "/proc/nowhere/tokens.json"
        return await do("login")

    code, out, err = cli(scenario, tmp_path, github_token="")
    assert code == 1 and "could not be saved in /proc/nowhere/tokens.json" in err


def test_cli_usage_by_day(tmp_path):
    async def scenario(do, up):
        log = tmp_path / "usage.jsonl"
        do.env["USAGE_LOG"] = str(log)
        missing = await do("usage", "--days", "3")
        day = time.strftime("%Y-%m-%d")
        row = {"time": day + "T10:00:00", "model": "m\x1b[31m", "credits": 1.25, "input": 1000}
        log.write_text("%s\nhalf a li\n%s\n" % (json.dumps(row), json.dumps(row)))
        added = await do("usage", "--days", "3")
        del do.env["USAGE_LOG"]
        return day, missing, added, await do("usage", "--days", "3")

    day, missing, added, unset = cli(scenario, tmp_path)
    assert missing[0] == 1 and "No such file" in missing[2] and str(tmp_path) in missing[2]
    assert unset[0] == 2 and "USAGE_LOG, which is not set" in unset[2]
    assert re.search(day + r" +m\\x1b\[31m +2 +2.0k +2.50", added[1])
    assert "2.50 credits in 3 days" in added[1]


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder that passes for the script's own."""
    monkeypatch.setattr(cp, "THIS_FILE", str(tmp_path / "copilot_proxy.py"))
    return tmp_path


def test_cli_environment_beats_env_file_beats_dotenv(beside, capsys):
    (beside / ".env").write_text("PORT=1111\nLOG_LEVEL=debug\nAPI_KEY=beside\n")
    (beside / "mine").write_text("PORT=2222\nAPI_KEY=mine\n")
    config = cp.read_environment({"PORT": "3333", "LOG_LEVEL": ""}, str(beside / "mine"), {})
    assert (config.port, config.log_level, config.api_key) == (3333, "debug", "mine")
    assert capsys.readouterr().err == ""
    assert cp.read_environment({}, "", {"PORT": "4444"}).port == 4444


def test_cli_dotenv_of_the_working_folder_is_not_read(beside, tmp_path_factory, monkeypatch):
    hostile = tmp_path_factory.mktemp("cloned")
    (hostile / ".env").write_text("GITHUB_URL=https://evil.example\nPORT=1\n")
    monkeypatch.chdir(hostile)
    config = cp.read_environment({})
    assert (config.github_url, config.port) == ("https://github.com", 8082)


@pytest.mark.parametrize("in_file", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("in_environment", ["HTTPS_PROXY", "https_proxy"])
def test_cli_a_proxy_of_the_environment_beats_every_file(beside, in_file, in_environment):
    (beside / ".env").write_text("%s=http://file:1\n" % in_file)
    config = cp.read_environment({in_environment: "http://environment:1"})
    assert config.https_proxy == "http://environment:1"
    assert cp.read_environment({}).https_proxy == "http://file:1"


def test_cli_warns_about_what_it_does_not_understand(beside, capsys):
    (beside / ".env").write_text("PROT=1\njunk\nFOO=1\n")
    cp.read_environment({"GITHUB_TOKN": "x"})
    assert capsys.readouterr().err.splitlines() == [
        "copilot_proxy.py: %s: no assignment, line 2" % (beside / ".env"),
        "copilot_proxy.py: GITHUB_TOKN is no setting; is GITHUB_TOKEN meant?",
        "copilot_proxy.py: PROT is no setting; is PORT meant?",
    ]


def test_cli_settings_files_that_cannot_be_read(beside):
    (beside / ".env").mkdir()  # another program's; not ours to complain about
    assert cp.read_environment({}).port == 8082
    (beside / "binary").write_bytes(b"\xff\xfeP\0")
    for name, words in (("binary", "UTF-8"), ("none", "No such"), ("", "direc")):
        with pytest.raises(cp.ConfigError) as caught:
            cp.read_environment({}, str(beside / name))
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_cli_starts_in_odd_surroundings(tmp_path):
    async def scenario(do, up):
        deleted = copy.copy(do)
        os.mkdir(os.path.join(do.home, "gone"))
        deleted.command = [SCRIPT]
        deleted.prefix = ("sh", "-c", 'cd "$HOME/gone" && rmdir ../gone && exec "$0" "$@"')
        zipped = copy.copy(do)
        zipped.command = [os.path.join(do.home, "proxy.zip")]
        with zipfile.ZipFile(*zipped.command, "w") as archive:
            archive.write(SCRIPT, "copilot_proxy.py")
            archive.writestr("__main__.py", "import copilot_proxy as c, sys; sys.exit(c.main())")
        return await asyncio.gather(deleted("models"), zipped("models"))

    for code, out, err in cli(scenario, tmp_path):
        assert (code, err) == (0, "") and "claude-sonnet-4.5" in out


SHELL_VALUES = ["it's", 'a"b$HOME`id`', "a\\'b", "x; touch /tmp/pwned", "\u2019; x", "a b", ""]


@pytest.mark.parametrize("shell, command", [("bash", "sh"), ("fish", "fish")])
def test_cli_env_lines_survive_their_shell(shell, command):
    if not shutil.which(command):
        pytest.skip("no %s here" % command)
    env = {"V%d" % number: value for number, value in enumerate(SHELL_VALUES)}
    script = cp.shell_lines(env, shell) + "\nenv -0"
    done = subprocess.run([command, "-c", script], stdout=subprocess.PIPE, check=True, timeout=20)
    told = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if "=" in line)
    assert {name: told[name] for name in env} == env


def test_cli_env_quotes_for_powershell():
    lines = cp.shell_lines({"A": "it's \u2019x\u201b"}, "powershell")
    assert lines == "$env:A = 'it''s \u2019\u2019x\u201b\u201b'"


def test_cli_compaction_window_follows_the_model():
    small = cp.parse_models(
        {
            "data": [
                {
                    "id": "claude-sonnet-4.5",
                    "capabilities": {"limits": {"max_prompt_tokens": 128000}},
                    "supported_endpoints": ["/v1/messages"],
                }
            ]
        }
    )
    env = cp.client_environment("http://h:1", cp.Config(), cp.Catalogue(small), "k" * 16)
    assert env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "128000"
    assert env["ANTHROPIC_AUTH_TOKEN"] == "k" * 16 and env["OPENAI_BASE_URL"] == "http://h:1/v1"
    assert "ANTHROPIC_DEFAULT_OPUS_MODEL" not in env
    assert "ANTHROPIC_MODEL" not in cp.client_environment(
        "http://h:1", cp.Config(), cp.Catalogue(), ""
    )


# ============================================================================
# The fuzzer
# ============================================================================
# Mutants of valid requests, bodies and upstream streams against the running program:
# no 5xx but for an upstream's garbage, the same answers however the bytes were cut, no
# traceback, alive afterwards, memory flat. Longer by hand: --fuzz-seconds N.

FUZZ_HELLO = {
    "max_tokens": 99,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "h\u00e9llo " + PROMPT}]}],
}
FUZZ_TOOL = {
    "name": "Bash",
    "description": "run",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
}
FUZZ_BODIES = [
    (path, json.dumps(body).encode())
    for path, body in (
        ("/v1/messages", {**FUZZ_HELLO, "model": "claude-sonnet-4.5", "tools": [FUZZ_TOOL]}),
        ("/v1/messages", {**FUZZ_HELLO, "model": "gpt-4.1", "stream": True, "system": "s"}),
        (
            "/v1/messages",
            {
                "model": "gpt-5-mini",
                "max_tokens": 9,
                "messages": [
                    {"role": "user", "content": PROMPT},
                    {
                        "role": "assistant",
                        "content": [
                            {
                                "type": "tool_use",
                                "id": "t1",
                                "name": "Bash",
                                "input": {"command": "ls"},
                            }
                        ],
                    },
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a"}],
                    },
                ],
            },
        ),
        ("/v1/messages/count_tokens", {**FUZZ_HELLO, "model": "gpt-4.1"}),
        ("/v1/chat/completions", {**FUZZ_HELLO, "model": "gpt-4.1", "stream": True}),
        ("/v1/responses", {"model": "gpt-5-mini", "input": PROMPT, "instructions": PROMPT}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["x"]}),
    )
]

FUZZ_STREAMS = [
    ("claude-sonnet-4.5", "/v1/messages"),
    ("gpt-4.1", "/chat/completions"),
    ("gpt-5.5", "/responses"),
]


def fuzz_post(path, body):
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), len(body))
    ) + body


FUZZ_REQUESTS = [
    GET,
    GET * 3,
    get(b"Accept: */*", b"X: y") + GET,
    OLD + b"\r\n",
    put(b"Content-Length: 5", b"hello", GET),
    get(b"Connection: close"),
    chunked(b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n") + GET,
    GET.replace(b"/", b"http://localhost/v1/models?x=%20", 1),
    get(b"Origin: null", b"Sec-Fetch-Site: none"),
    put(b"Content-Length: 2\r\nExpect: 100-continue", b"hi"),
    fuzz_post("/v1/messages", FUZZ_BODIES[0][1]) + GET,
]
NASTY = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b'"',
    b"\\",
    b"%",
    b"%00",
    b"0",
    b"-",
    b"+",
    b"_",
    b"1e999",
    b"9" * 20,
    b"0x10",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"[" * 3000,
    b"\\ud800",
    b"\\u0000",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"chunked",
    b"A: b\r\n",
    b"data: ",
    b"\n\n",
    b"event: error\n",
    b"[DONE]",
    b"A" * 9000,
    b"HTTP/1.1 ",
    b"close",
]


def mutant(dice, raw, others):
    """`raw` with one to four places cut, doubled, or replaced by something odd."""
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(raw) + 1)
        end = min(len(raw), at + dice.choice((0, 1, 1, 2, 9, 50)))
        other = dice.choice(others)
        start = dice.randrange(len(other))
        raw = (
            raw[:at]
            + dice.choice(
                (
                    b"",
                    raw[at:end] * 2,
                    dice.choice(NASTY),
                    bytes([dice.randrange(256)]),
                    other[start : start + dice.randrange(60)],
                )
            )
            + raw[end:]
        )
    return raw


class Fuzzer:
    """What it sends is decided by `seed` alone."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.ran = collections.Counter()

    async def run(self, seconds):
        told = io.StringIO()
        end = time.monotonic() + seconds
        cp.configure_logging("debug", told)
        cp.LOG.addFilter(OVERHEARD)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.write("Traceback: %r" % context)
        )
        async with FakeUpstream() as self.up, Proxy(self.up) as self.proxy:
            self.streams = [await self.good_stream(*row) for row in FUZZ_STREAMS]
            while time.monotonic() < end:
                for kind in (self.request, self.body, self.stream):
                    await asyncio.gather(*[kind() for _ in range(8)])
                    self.ran[kind.__name__] += 8
                self.up.script.clear()
                assert "Traceback" not in told.getvalue(), told.getvalue()[-3000:]
                assert OVERHEARD.leaks() == []
                told.truncate(told.seek(0))
                for record in (self.up.requests, self.up.gone, self.up.initiators):
                    record.clear()
            assert (await self.proxy.ask("GET", "/v1/models")).status == 200
            self.up.faults.clear()  # a mutant asks for what no client asks for
        return self.ran

    async def request(self):
        raw = mutant(self.dice, self.dice.choice(FUZZ_REQUESTS), FUZZ_REQUESTS)
        pieces = list(cuts(raw, seed=self.dice.random()))[self.dice.choice((-1, -2, -3))]
        got = [
            re.findall(rb"HTTP/1\.1 (\d{3}) ", await send_pieces("127.0.0.1", self.proxy.port, one))
            for one in ([raw], pieces)
        ]
        assert got[0] == got[1], (got, [raw], pieces)
        assert not [1 for status in got[0] if status[:1] == b"5"], (got, raw)

    async def body(self):
        path, raw = self.dice.choice(FUZZ_BODIES)
        raw = mutant(self.dice, raw, [raw for _, raw in FUZZ_BODIES])
        got = parse_answer(await send_pieces("127.0.0.1", self.proxy.port, [fuzz_post(path, raw)]))
        assert got.status < 500 and got.complete, (got, path, raw)
        if got.status == 200 and got.headers["content-type"].startswith("text/event"):
            frames(got.body)
        else:
            assert got.body[:1] in b"{[" and got.json is not None, (got, path, raw)

    async def good_stream(self, model, upstream):
        """(path upstream, our request for it, the stream that answers it)."""
        seen = []
        body = {**FUZZ_HELLO, "model": model, "stream": True}
        self.up.answer = lambda asked: seen.append(FakeUpstream.answer(self.up, asked)) or seen[-1]
        assert (await self.proxy.ask("POST", "/v1/messages", body)).status == 200
        del self.up.answer
        return upstream, body, b"".join(piece for piece in seen[-1][2] if isinstance(piece, bytes))

    async def stream(self):
        upstream, body, raw = self.dice.choice(self.streams)
        raw = mutant(self.dice, raw, [raw for _, _, raw in self.streams])
        self.up.script["POST", upstream].append(
            (
                200,
                {"content-type": "text/event-stream"},
                list(cuts(raw, seed=self.dice.random()))[-1],
            )
        )
        got = await self.proxy.ask("POST", "/v1/messages", body)
        assert got.status in (200, 400, 502, 503) and got.complete, (got, raw)
        if got.status == 200 and upstream != "/v1/messages":  # that one is passed through
            frames(got.body)


def memory_now():
    """Resident MB; 0 where there is no /proc."""
    gc.collect()  # 3.13 lets 200,000 objects wait for it: 7 MB that are no leak
    with contextlib.suppress(OSError):
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) / 256
    return 0


def fuzz(seconds, seed):
    """Run it twice; the second time, memory has to stay flat (R14: 8 MB)."""
    asyncio.run(Fuzzer(seed).run(seconds / 2))
    before = memory_now()
    ran = asyncio.run(Fuzzer(seed + 1).run(seconds / 2))
    grown = memory_now() - before
    print("seed %d: %s; memory %+.1f MB" % (seed, dict(ran), grown))
    assert grown < 8 or seconds < 20, grown  # shorter is all warming up
    return ran


def test_fuzz_for_a_moment():
    ran = fuzz(1.8, seed=5)
    assert len(ran) == 3 and min(ran.values()) >= 8, ran


# ============================================================================
# Adversaries
# ============================================================================
# Bodies made to be slow, for every endpoint: doubled, a body may cost 2.6 times as much
# CPU, and meanwhile another client is answered within 120 ms for each of its megabytes.
# The proxy and a fake upstream that checks nothing run as processes of their own;
# `--bench` tells the same of 32 MB.

QUARTER = 1 << 16  # bytes: the test goes to four times that, for a few of the rows
MOST_GROWTH = 2.6
MOST_STALL = 0.12  # seconds of another client's wait, for each megabyte of the body
TEXT = {"type": "text", "text": "x"}
CALLED = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


def fill(unit, size):
    """A list of `unit`, that takes `size` bytes as JSON."""
    return [unit] * max(1, size // (len(json.dumps(unit)) + 2))


def numbered(make, size):
    """As fill(), of what `make` makes of a number."""
    return [make(number) for number in range(max(1, size // (len(json.dumps(make(99999))) + 2)))]


def flat(lists):
    return [item for one in lists for item in one]


def user_says(content):
    return {"messages": [{"role": "user", "content": content}]}


def model_says(blocks):
    opening, last = ({"role": "user", "content": text} for text in ("hello", "go on"))
    return {"messages": [opening, {"role": "assistant", "content": blocks}, last]}


def a_use(number):
    return {"type": "tool_use", "id": "t%d" % number, "name": "f", "input": {}}


def a_result(number):
    return {"type": "tool_result", "tool_use_id": "t%d" % number, "content": "ok"}


def use_and_result(number):
    return [
        {"role": "assistant", "content": [a_use(number)]},
        {"role": "user", "content": [a_result(number)]},
    ]


def two_turns_of_tools(size):
    uses = numbered(a_use, size // 2)
    results = [a_result(number) for number in reversed(range(len(uses)))]
    opening = {"role": "user", "content": "go"}
    turns = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    return {"messages": [opening, *turns]}


def a_tool(name, schema):
    return {"name": name, "input_schema": {"type": "object", **schema}}


def one_tool(schema):
    return {**user_says("go"), "tools": [a_tool("f", schema)]}


def nested(levels, inner):
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def image(size):
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(size * 3 // 4)).decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": picture},
    }


def short_turns(size):
    pair = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    return {"messages": flat(fill(pair, size)) + [pair[0]]}


UNSIGNED = {"type": "thinking", "thinking": "x", "signature": "bad"}
SEARCHED = {"type": "web_search_tool_result", "tool_use_id": "a", "content": []}
PATTERNS = {  # name: size -> what stands in a body of the Messages API
    "words": lambda size: user_says("word " * (size // 5)),
    "blanks": lambda size: user_says(" " * size),
    "line ends": lambda size: user_says("\n" * (size // 2)),
    "one letter": lambda size: user_says("a" * size),
    "digits": lambda size: user_says("1" * size),
    "quotes": lambda size: user_says('"\\' * (size // 4)),
    "brackets": lambda size: user_says("<[{(" * (size // 4)),
    "reminders": lambda size: user_says("<system-reminder>" * (size // 17)),
    "Chinese": lambda size: user_says("\u4e2d" * (size // 6)),
    "surrogates": lambda size: user_says("\ud800" * (size // 6)),
    "small blocks": lambda size: user_says(fill(TEXT, size)),
    "empty blocks": lambda size: user_says([*fill({**TEXT, "text": ""}, size), TEXT]),
    "marked blocks": lambda size: user_says(
        fill({**TEXT, "cache_control": {"type": "ephemeral"}}, size)
    ),
    "short turns": short_turns,
    "one side's turns": lambda size: {"messages": fill({"role": "user", "content": "a"}, size)},
    "system turns": lambda size: {
        "messages": [
            {"role": "user", "content": "a"},
            *fill({"role": "system", "content": "b"}, size),
        ]
    },
    "system blocks": lambda size: {**user_says("a"), "system": fill(TEXT, size)},
    "thoughts": lambda size: model_says([*fill(UNSIGNED, size), TEXT]),
    "refused thoughts": lambda size: {
        **model_says([*fill(UNSIGNED, size), TEXT]),
        "system": "refuse=signature",
    },
    "turns of thoughts": lambda size: {
        "messages": flat(
            fill(
                [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": [UNSIGNED, TEXT]},
                ],
                size,
            )
        )
        + [{"role": "user", "content": "a"}]
    },
    "tool pairs": lambda size: {
        "messages": [{"role": "user", "content": "go"}, *flat(numbered(use_and_result, size))]
    },
    "tools in two turns": two_turns_of_tools,
    "orphan results": lambda size: user_says(numbered(a_result, size)),
    "orphan calls": lambda size: model_says(numbered(a_use, size)),
    "searches": lambda size: model_says([*fill(SEARCHED, size), TEXT]),
    "unknown blocks": lambda size: user_says(fill({"type": "strange"}, size)),
    "stop sequences": lambda size: {
        **user_says("a"),
        "stop_sequences": numbered("s{}".format, size),
    },
    "model name": lambda size: {**user_says("a"), "model": "claude-" + "x" * size},
    "model versions": lambda size: {**user_says("a"), "model": "claude-" + "1.1-" * (size // 4)},
    "user id": lambda size: {**user_says("a"), "metadata": {"user_id": "u" * size}},
    "strange keys": lambda size: {**user_says("a"), **{k: 1 for k in numbered("k{}".format, size)}},
    "numbers": lambda size: {**user_says("a"), "strange": [1] * (size // 3)},
    "floats": lambda size: {**user_says("a"), "strange": [1.5] * (size // 5)},
    "brackets to the end": lambda size: {**user_says("a"), "strange": b"[" * size},
    "deep values": lambda size: {**user_says("a"), "strange": fill(nested(180, 1), size)},
    "deep inputs": lambda size: model_says(
        [{**a_use(0), "input": {"a": fill(nested(180, 1), size)}}, TEXT]
    ),
    "tools": lambda size: {
        **user_says("a"),
        "tools": numbered(lambda number: a_tool("t%d" % number, {}), size),
    },
    "tools of one name": lambda size: {**user_says("a"), "tools": fill(a_tool("t", {}), size)},
    "properties": lambda size: one_tool(
        {
            "properties": {
                k: {"type": "string"} for k in numbered("property {:06}".format, size // 3)
            }
        }
    ),
    "alternatives": lambda size: one_tool({"properties": {"a": {"anyOf": fill({}, size)}}}),
    "enumeration": lambda size: one_tool(
        {"properties": {"a": {"enum": numbered("e{}".format, size)}}}
    ),
    "deep schemas": lambda size: one_tool(
        {"properties": {"a": {"anyOf": fill(nested(150, {"type": "string"}), size)}}}
    ),
    "required": lambda size: one_tool({"required": numbered("r{}".format, size)}),
    "description": lambda size: {
        **user_says("a"),
        "tools": [{**a_tool("f", {}), "description": "<a" * (size // 2)}],
    },
    "small images": lambda size: user_says(fill(image(9), size)),
    "one image": lambda size: user_says([image(size)]),
    "overflow": lambda size: user_says("refuse=overflow " + "word " * (size // 5)),
}
CHAT_PATTERNS = {  # those that chat spells in its own way
    "small parts": lambda size: user_says(fill(TEXT, size)),
    "short turns": short_turns,
    "tool messages": lambda size: {
        "messages": flat(
            numbered(
                lambda number: [
                    {"role": "assistant", "tool_calls": [{**CALLED, "id": "c%d" % number}]},
                    {"role": "tool", "tool_call_id": "c%d" % number, "content": "ok"},
                ],
                size,
            )
        )
    },
    "tool calls": lambda size: model_says("a")
    and {
        "messages": [
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "tool_calls": numbered(lambda number: {**CALLED, "id": "c%d" % number}, size),
            },
        ]
    },
    "orphan answers": lambda size: {
        "messages": [
            {"role": "user", "content": "a"},
            *numbered(lambda n: {"role": "tool", "tool_call_id": "c%d" % n, "content": "a"}, size),
        ]
    },
    "stop": lambda size: {**user_says("a"), "stop": numbered("s{}".format, size)},
    "system turns": PATTERNS["system turns"],
    "words": PATTERNS["words"],
    "model name": PATTERNS["model name"],
    "strange keys": PATTERNS["strange keys"],
    "functions": lambda size: {
        **user_says("a"),
        "tools": numbered(
            lambda n: {"type": "function", "function": {"name": "f%d" % n, "parameters": {}}}, size
        ),
    },
    "images": lambda size: user_says(
        fill(
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}, size
        )
    ),
    "overflow": PATTERNS["overflow"],
}
SPOKEN = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}


def call_items(number):
    call = {"type": "function_call", "call_id": "c%d" % number, "name": "f", "arguments": "{}"}
    return [call, {"type": "function_call_output", "call_id": "c%d" % number, "output": "ok"}]


RESPONSES_PATTERNS = {
    "words": lambda size: {"input": "word " * (size // 5)},
    "items": lambda size: {"input": fill(SPOKEN, size)},
    "parts": lambda size: {"input": [{**SPOKEN, "content": fill(SPOKEN["content"][0], size)}]},
    "call items": lambda size: {"input": [SPOKEN, *flat(numbered(call_items, size))]},
    "orphan outputs": lambda size: {
        "input": [SPOKEN, *[call_items(n)[1] for n in range(size // 70)]]
    },
    "reasoning": lambda size: {
        "input": [
            SPOKEN,
            *numbered(
                lambda n: {
                    "type": "reasoning",
                    "id": "r%d" % n,
                    "summary": [],
                    "encrypted_content": "e",
                },
                size,
            ),
        ]
    },
    "references": lambda size: {
        "input": [SPOKEN, *numbered(lambda n: {"type": "item_reference", "id": "i%d" % n}, size)]
    },
    "instructions": lambda size: {"input": "a", "instructions": "a" * size},
    "model name": lambda size: {"input": "a", "model": "gpt-" + "x" * size},
    "functions": lambda size: {
        "input": "a",
        "tools": numbered(
            lambda n: {"type": "function", "name": "f%d" % n, "parameters": {}}, size
        ),
    },
    "namespaces": lambda size: {
        "input": "a",
        "tools": numbered(lambda n: {"type": "namespace", "name": "n%d" % n, "tools": []}, size),
    },
    "overflow": lambda size: {"input": "refuse=overflow " + "word " * (size // 5)},
}
SMALL_PATTERNS = [  # path, name, size -> body
    ("/v1/embeddings", "inputs", lambda size: {"input": fill("a", size)}),
    ("/v1/embeddings", "tokens", lambda size: {"input": [1] * (size // 3)}),
    ("/v1/completions", "prompt", lambda size: {"prompt": "a" * size}),
    ("/v1/completions", "prompts", lambda size: {"prompt": fill("a", size)}),
    ("/v1/responses/compact", "items", RESPONSES_PATTERNS["items"]),
    ("/api/event_logging/batch", "events", lambda size: {"events": fill({}, size)}),
    ("/usage/line", "words", lambda size: {"session_id": "a" * size}),
    ("/auth/login", "words", lambda size: {"a": "a" * size}),
    ("/nowhere", "words", lambda size: {"a": "a" * size}),
]


class Adversary(NamedTuple):
    """One slow body: whom it is sent to, and how a body of some size is made."""

    path: str
    model: str
    pattern: str
    make: Any

    @property
    def name(self):
        return "%s %s: %s" % (self.path, self.model, self.pattern)

    def request(self, port, size):
        body = self.make(size)
        if self.model:
            body = {"model": self.model, "max_tokens": 99, "stream": True, **body}
        cut = body.get("strange")
        if isinstance(cut, bytes):  # what json cannot say
            body["strange"] = 0
        raw = json.dumps(body).encode()
        if isinstance(cut, bytes):
            raw = raw[:-2] + cut
        head = "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        head += "Connection: close\r\nContent-Length: %d\r\n\r\n"
        return (head % (self.path, port, len(raw))).encode() + raw


def adversaries():
    """Every endpoint with every pattern that its dialect can say, for a model of each
    upstream API in turn."""
    rows = []
    for model in ("claude-sonnet-4.5", "gpt-4.1", "gpt-5.5"):
        rows += [Adversary("/v1/messages", model, *row) for row in PATTERNS.items()]
        rows += [Adversary("/v1/chat/completions", model, *row) for row in CHAT_PATTERNS.items()]
        rows += [Adversary("/v1/responses", model, *row) for row in RESPONSES_PATTERNS.items()]
    for row in PATTERNS.items():
        rows.append(Adversary("/v1/messages/count_tokens", "gpt-4.1", *row))
    return rows + [Adversary(path, "", *row) for path, *row in SMALL_PATTERNS]


# What was slow once, and every eighth of the others; --bench takes them all.
ONCE_SLOW = "refused thoughts|tool pairs|tools in two turns|stop sequences|small blocks|short turns"
ONCE_SLOW = re.compile("/v1/messages claude.*: (%s|overflow|model name|user id)" % ONCE_SLOW)
SOME_ADVERSARIES = [
    row
    for number, row in enumerate(adversaries())
    if number % 8 == 0 or ONCE_SLOW.fullmatch(row.name)
]


class Cost(NamedTuple):
    """What one request did: its status, CPU seconds, and the longest wait of another
    client, in seconds, and in what the proxy worked meanwhile: that tells nothing of
    the other programs on this machine."""

    status: int
    cpu: float
    seconds: float
    wait: float


async def attack(programs, adversary, size):
    """Send a body; ask `GET /` all the while."""
    raw = adversary.request(programs.port("proxy"), size)
    before = worked = programs.cpu("proxy")
    attacking = asyncio.ensure_future(http(programs.port("proxy"), raw, 60.0))
    seconds = []
    waits = []
    while not attacking.done():
        began = time.perf_counter()
        await ask(programs.port("proxy"), "GET", "/")
        seconds.append(time.perf_counter() - began)
        now = programs.cpu("proxy")
        waits.append(now - worked)
        worked = now
    got = attacking.result()
    return Cost(int(got[9:12] or 0), worked - before, max(seconds), max(waits))


def growth(small, large):
    """How many times as much a doubled body costs, for one four times as large: over two
    steps, because the machine may be busy in one of them. 4 ms are what any request
    costs."""
    return math.sqrt(max(0, large.cpu - 0.004) / max(small.cpu, 0.002))


# Rows that are too slow today, and whose room they wait for. Empty in the end.
NOT_YET: Dict[str, str] = {}


SCHEDSTAT = os.path.exists("/proc/self/schedstat")


@pytest.fixture(scope="session")
def programs():
    with Programs() as started:
        yield started


async def costs_of(programs, adversary, quarter=QUARTER):
    """At n, 2n and 4n, each the best of up to three: the machine may be busy."""
    best = {}
    for _ in range(3):
        for size in (quarter, 2 * quarter, 4 * quarter):
            cost = await attack(programs, adversary, size)
            seen = best.get(size, cost)
            best[size] = Cost(cost.status, *map(min, cost[1:], seen[1:]))
        if not complaints(best):
            break
    return best


def complaints(costs):
    by_size = [cost for _, cost in sorted(costs.items())]
    times = growth(by_size[0], by_size[-1])
    if times > MOST_GROWTH:
        found = ["%.1f times" % times]
    else:
        found = []
    for size, cost in costs.items():
        if cost.wait > 0.08 + MOST_STALL * size / 1e6:
            found.append("%.0f ms of another's wait for %.1f MB" % (1000 * cost.wait, size / 1e6))
        if cost.status >= 500 or not cost.status:
            found.append("status %d" % cost.status)
    return found


@pytest.mark.skipif(not SCHEDSTAT, reason="the CPU time is read from Linux's /proc")
@pytest.mark.parametrize("adversary", SOME_ADVERSARIES, ids=lambda row: row.name)
def test_adversary_costs_linear_time_and_holds_nobody_up(programs, adversary):
    if adversary.name in NOT_YET:
        pytest.skip("%s has yet to mend it" % NOT_YET[adversary.name])
    assert complaints(run(costs_of(programs, adversary))) == []


# ============================================================================
# Secrets
# ============================================================================
# What every test checks of what is printed (OVERHEARD), here with the widest requests;
# and of marked secrets an answer may have only what the upstream said of a prompt.

MARKS = {
    "github": "ghu_MarkedLogin",
    "copilot": "MarkedCopilot",
    "key": "MarkedKey0123456",
    "device": "MarkedDevice",
    "prompt": "MarkedPrompt",
    "tool": "MarkedTool",
}
MARKED_TOOL = {
    "name": "Bash",
    "description": MARKS["tool"],
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "string", "description": MARKS["tool"]}},
    },
}
MARKED_MESSAGES = [
    {"role": "user", "content": MARKS["prompt"]},
    {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"a": MARKS["tool"]}}
        ],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": MARKS["tool"]}],
    },
]
MARKED_CHAT = [
    {"role": "system", "content": MARKS["prompt"]},
    {"role": "user", "content": MARKS["prompt"]},
]
MARKED_FAILURES = [
    None,
    (200, {"content-type": "text/event-stream"}, [b'data: {"you said MarkedPrompt']),
    (200, {"content-type": "text/event-stream"}, [RESET]),
    *[
        whole(status, json.dumps({"error": {"code": "x", "message": "you said MarkedPrompt"}}))
        for status in (400, 401, 403, 413, 422, 429, 500)
    ],
    (
        200,
        {"content-type": "text/event-stream"},
        [
            data(
                {
                    "type": "error",
                    "error": {"type": "api_error", "message": "you said MarkedPrompt"},
                },
                "error",
            )
        ],
    ),
]


def marked_requests():
    """(method, path, body, headers) of every route and of what is refused."""
    for model in ("claude-sonnet-4.5", "gpt-4.1", "gpt-5.5"):
        for stream in (False, True):
            yield "POST", "/v1/messages", {
                "model": model,
                "max_tokens": 9,
                "stream": stream,
                "tools": [MARKED_TOOL],
                "system": MARKS["prompt"],
                "messages": MARKED_MESSAGES,
            }, {}
            yield "POST", "/v1/chat/completions", {
                "model": model,
                "stream": stream,
                "messages": MARKED_CHAT,
            }, {}
            yield "POST", "/v1/responses", {
                "model": model,
                "stream": stream,
                "input": MARKS["prompt"],
            }, {}
    yield "POST", "/v1/messages/count_tokens", {
        "model": "claude-sonnet-4.5",
        "messages": MARKED_MESSAGES,
    }, {}
    yield "POST", "/v1/embeddings", {
        "model": "text-embedding-3-small",
        "input": MARKS["prompt"],
    }, {}
    for broken in (b'{"model": "MarkedPrompt', b"MarkedPrompt", b"\xffMarkedPrompt"):
        yield "POST", "/v1/messages", broken, {}
    for odd in (
        {"role": "x", "content": MARKS["prompt"]},
        MARKS["prompt"],
        {"role": "user", "content": [MARKS["prompt"]]},
        {"role": "user", "content": [{"type": "x", "text": MARKS["prompt"]}]},
    ):
        yield "POST", "/v1/messages", {"model": "gpt-4.1", "max_tokens": 9, "messages": [odd]}, {}
    for path in (
        "/",
        "/v1/models",
        "/auth/status",
        "/usage/summary",
        "/usage/details",
        "/usage/quota",
        "/usage/page",
        "/nowhere?api_key=" + MARKS["key"],
    ):
        yield "GET", path, None, {}
        yield "GET", path, None, {"x-api-key": MARKS["key"] + "x"}
    yield "POST", "/api/event_logging/batch", {"events": [MARKS["prompt"]]}, {}
    yield "POST", "/v1/messages", {"a": MARKS["prompt"]}, {"Host": "evil.example"}
    yield "POST", "/auth/logout", {}, {}
    yield "POST", "/v1/chat/completions", {"model": "gpt-4.1", "messages": MARKED_CHAT}, {}


async def _with_marks(do, up):
    """All answers and all output of the program."""
    server = await do.start()
    answers = []
    told = await until_line(server.stdout, "http://127")
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", told).group(1))
    key = {"x-api-key": MARKS["key"]}

    async def send(method, path, body, headers=()):
        answers.append(await ask(port, method, path, body, {**key, **dict(headers)}))
        return answers[-1]

    reader = asyncio.ensure_future(server.stdout.read())
    await send("POST", "/auth/login", {})
    while (await send("POST", "/auth/check", {})).json["status"] == "pending_verification":
        await asyncio.sleep(0.05)
    assert (await send("GET", "/v1/models", None)).status == 200
    for failure in MARKED_FAILURES:
        for path in ("/v1/messages", "/chat/completions", "/responses"):
            up.script["POST", path] = [failure] * 3
            await send(
                "POST",
                "/v1/messages",
                {
                    "model": {"/v1/messages": "claude-sonnet-4.5", "/responses": "gpt-5.5"}.get(
                        path, "gpt-4.1"
                    ),
                    "max_tokens": 9,
                    "stream": True,
                    "messages": MARKED_MESSAGES,
                },
            )
        up.script["POST", "/v1/messages/count_tokens"] = [failure]
        await send(
            "POST",
            "/v1/messages/count_tokens",
            {"model": "claude-sonnet-4.5", "messages": MARKED_MESSAGES},
        )
    up.script.clear()
    for one in marked_requests():
        await send(*one)
    server.terminate()
    err = await asyncio.wait_for(server.stderr.read(), 20)
    await server.wait()
    up.faults.clear()  # the odd requests
    return answers, told + (await reader).decode() + err.decode()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_idle_memory(tmp_path):  # R4
    async def scenario(do, up):
        server = await do.start()
        await until_line(server.stdout, "http://127")
        await asyncio.sleep(cp.TRIM_AFTER + 0.3)
        used = pathlib.Path("/proc/%d/status" % server.pid).read_text()
        server.terminate()
        assert await server.wait() == 0
        return int(re.search(r"VmRSS:\s+(\d+) kB", used)[1])

    # Of which 15 MB are the syntax tree that CPython keeps of a main script while it runs.
    assert cli(scenario, tmp_path) <= 58 * 1024


def test_overheard_hears_everything(tmp_path):
    async def scenario(do, up):
        body = {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Nobody knows th\u00eb rest."}],
        }
        async with Proxy(up) as proxy:
            assert (await proxy.ask("POST", "/v1/messages", body)).status == 200
        assert OVERHEARD.sent == {"Nobody knows th"} and OVERHEARD.printed
        cp.log_event("debug", "sent", body=body)
        assert len(OVERHEARD.leaks()) == 1
        assert (await do("ghu_verb"))[0] == 2
        assert OVERHEARD.leaks()  # on the other process's standard error

    cli(scenario, tmp_path)
    for secret in (*SECRETS, *MARKS.values(), PROMPT):
        cp.LOG.debug("%s", secret)
        assert OVERHEARD.leaks() or cp.redact(secret) != secret, secret
        OVERHEARD.printed.append(secret)  # as if nothing had redacted it
        assert OVERHEARD.leaks(), secret


def test_no_secret_is_ever_answered(tmp_path):
    async def scenario(do, up):
        up.token_fields = {"token": "tid=%s;exp=2000000000:x" % MARKS["copilot"]}
        up.tokens.add(up.token_fields["token"])
        up.script["POST", "/login/device/code"] = [
            whole(
                200,
                {
                    "device_code": MARKS["device"],
                    "user_code": "AAAA-BBBB",
                    "expires_in": 900,
                    "verification_uri": up.url + "/login/device",
                    "interval": 0.1,
                },
            )
        ]
        up.script["POST", "/login/oauth/access_token"] = [
            whole(200, {"access_token": MARKS["github"], "token_type": "bearer", "scope": ""})
        ]
        up.github_tokens.add(MARKS["github"])
        return await _with_marks(do, up)

    answers, printed = cli(
        scenario,
        tmp_path,
        api_key=MARKS["key"],
        github_token="",
        rate_limit_default=0,
        rate_limit_chat_completions=0,
    )
    assert "[debug]" in printed and "request_refused" in printed and "Traceback" not in printed
    assert sum(one.status == 200 for one in answers) > 25
    for one in answers:
        said = repr(one.headers).encode() + one.body.replace(b"you said MarkedPrompt", b"")
        assert not [name for name, mark in MARKS.items() if mark.encode() in said], one


# ============================================================================
# The try-out mode
# ============================================================================
# `python test_copilot_proxy.py`: the program in front of the fake upstream, to be tried
# with real clients by people without a subscription, and by .ci/e2e.py.

PASTE = """
The proxy is at {url}, with a fake Copilot behind it: nothing leaves this computer.

Claude Code in bash or zsh:
  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=try \\
  ANTHROPIC_MODEL=claude-sonnet-5 claude
in PowerShell:
  $env:ANTHROPIC_BASE_URL='{url}'; $env:ANTHROPIC_AUTH_TOKEN='try'
  $env:ANTHROPIC_MODEL='claude-sonnet-5'; claude
curl:
  curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "model": "gpt-5-mini", "messages": [{{"role": "user", "content": "hello"}}]}}'

Say "try a tool" to Claude Code to see a harmless tool call. Status page: {url}/
Ctrl-C ends it.
"""


class FriendlyUpstream(FakeUpstream):
    """Says more than `ok` to a person."""

    def plain(self, said, names):
        wishes = [
            at
            for at, (role, text) in enumerate(said)
            if role == "user" and "try a tool" in text.lower()
        ]
        if wishes and "Bash" in names and ("result", "") not in said[wishes[-1] :]:
            return "", [
                {
                    "name": "Bash",
                    "input": {
                        "command": "echo hello from the fake Copilot",
                        "description": "Say hello, as a demonstration",
                    },
                }
            ]
        if wishes:
            return "The tool ran and its result came back: the whole way works.", []
        return (
            "Hello from the fake Copilot. Your prompt of %d characters arrived "
            "and this answer came back through the proxy. That is all I can do."
            % sum(len(text) for _, text in said)
        ), []


async def _try_out(port, ready_file):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    up = FriendlyUpstream()
    if ready_file:
        up.pause = 0.0
    else:
        up.pause = 0.05
    async with up, Proxy(up, port=port) as proxy:
        print(PASTE.format(url=proxy.url), flush=True)
        if ready_file:
            pathlib.Path(ready_file + ".new").write_text(proxy.url)
            os.replace(ready_file + ".new", ready_file)
        await stop.wait()
        print("%d requests reached the fake Copilot." % len(up.requests))
        for fault in sorted(set(up.faults)):
            print("fault: " + fault)
        faults = up.faults
        up.faults = []
    if faults:
        return 1
    return 0


# `--bench`: what the proxy adds. It and a bare pipe run as processes of their own in
# front of one fake upstream; only ratios mean something on another computer.

WORKS = (  # name, path, model, connections, requests on each, events, pause in ms
    ("small, whole", "/v1/messages", "claude-sonnet-4.5", 1, 300, 0, 0),
    ("burst, translated", "/v1/messages", "gpt-4.1", 1, 5, 2000, 0),
    ("burst, chat", "/chat/completions", "gpt-4.1", 1, 5, 2000, 0),
    ("16 slow streams", "/v1/messages", "gpt-4.1", 16, 1, 100, 10),
)


class BenchUpstream(FakeUpstream):
    """Answers a prompt `events=N pause=MS` with so many chunks, and checks nothing."""

    def parse(self, body):
        if len(body) > 20000:
            return {}
        return super().parse(body)

    def answer(self, request):
        self.requests.clear()  # of megabytes
        wish = re.search(rb"events=(\d+) pause=(\d+)", request.body)
        if b"refuse=signature" in request.body and b'"thinking"' in request.body:
            return backend("messages.1.content.0: Invalid `signature` in `thinking` block").answer
        if b"refuse=overflow" in request.body:
            return gateway("Your input exceeds the context window of this model.").answer
        if not wish and len(request.body) > 20000:
            return self.short_answer(request.path)
        if not wish:
            return super().answer(request)
        events = int(wish[1])
        pause = int(wish[2]) / 1000
        if not events:
            return whole(
                200,
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [],
                    "usage": {"input_tokens": 9, "output_tokens": 1},
                },
            )
        chunk, last = [
            data(
                {
                    "id": "c",
                    "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": why}],
                }
            )
            for text, why in ((" some words", None), ("", "stop"))
        ]
        return 200, SSE, [chunk, pause][: 1 + (pause > 0)] * events + [last, b"data: [DONE]\n\n"]

    def short_answer(self, path):
        if path.endswith("/completions") and path not in STREAM:
            chunk = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
            return 200, SSE, [data(chunk), b"data: [DONE]\n\n"]
        if path not in STREAM:
            return whole(200, {"data": [], "input_tokens": 9, "usage": {"prompt_tokens": 9}})
        reply = Reply("r", "gpt-5", "ok", [], Use(9, 0, 0, 1), {}, "", False, "", {}, self.fresh)
        return 200, SSE, STREAM[path](reply)


async def _floor(upstream, reader, writer):
    """The least a Python proxy can do: the request parsed, the answer passed on."""
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
    length = re.compile(rb"(?i)(content-length: *)(\d+)")
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(length.search(head)[2]))
            body = json.dumps(json.loads(body)).encode()
            up_writer.write(length.sub(rb"\g<1>%d" % len(body), head) + body)
            head = await up_reader.readuntil(b"\r\n\r\n")
            size = length.search(head)
            if size:
                writer.write(head + await up_reader.readexactly(int(size[2])))
                continue
            writer.write(head)
            line = b""
            while line != b"0\r\n":
                line = await up_reader.readuntil(b"\r\n")
                writer.write(line + await up_reader.readexactly(int(line, 16) + 2))
                await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()
        up_writer.close()


async def _bench_child(kind):
    if kind == "upstream":
        async with BenchUpstream() as up:
            print("at http://127.0.0.1:%d" % up.port, flush=True)
            await asyncio.Event().wait()
    server = await asyncio.start_server(
        lambda reader, writer: _floor(int(kind), reader, writer), "127.0.0.1", 0
    )
    print("at http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _bench_client(port, path, model, requests, prompt):
    body = json.dumps(
        {
            "model": model,
            "max_tokens": 99,
            "stream": "=0 " not in prompt,
            "messages": [{"role": "user", "content": prompt}],
        }
    ).encode()
    raw = (
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\n\r\n" % (path, port, len(body))
    ).encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    firsts = []
    for _ in range(requests):
        began = time.perf_counter()
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        size = re.search(rb"content-length: *(\d+)", head)
        answer = b""
        if size:
            answer = await reader.readexactly(int(size[1]))
        else:
            answer = b""
        firsts.append(time.perf_counter() - began)
        while not size and not answer.endswith(b"\r\n0\r\n\r\n"):
            answer = answer[-9:] + await reader.read(65536)
    writer.close()
    return firsts


async def _bench(programs):
    """Ours against the floor, interleaved; the first round only warms up."""
    print("%-18s %28s %24s" % ("", "CPU us per event or request", "us to the head, median"))
    for name, path, model, connections, requests, events, pause in WORKS:
        spent = collections.defaultdict(list)
        firsts = collections.defaultdict(list)
        prompt = "events=%d pause=%d" % (events, pause)
        for turn in range(5):
            for who in ("proxy", "floor"):
                ask_one = (programs.port(who), path, model, requests, prompt)
                before = programs.cpu(who)
                got = await asyncio.gather(*[_bench_client(*ask_one) for _ in range(connections)])
                used = programs.cpu(who) - before
                if turn:
                    spent[who].append(1e6 * used / (connections * requests * max(1, events)))
                    firsts[who] += [1e6 * first for one in got for first in one]
        used = {who: statistics.median(spent[who]) for who in spent}
        took = {who: statistics.median(firsts[who]) for who in firsts}
        ratio = used["proxy"] / used["floor"]
        added = took["proxy"] - took["floor"]
        row = (name, used["proxy"], used["floor"], ratio, took["proxy"], added)
        print("%-18s %6.1f, floor %6.1f = %4.2f x %8.0f, added %6.0f" % row, flush=True)
    for who, child in programs.children.items():
        status = pathlib.Path("/proc/%d/status" % child.pid).read_text()
        print("%-8s %s" % (who, re.search(r"VmHWM:.*|$", status)[0]))


class Programs:
    """The proxy in front of a fake upstream that checks nothing, as processes. Nobody
    waits for one before its port is wanted."""

    def __init__(self):
        self.children = {}
        self._ports = {}
        self.folder = tempfile.mkdtemp(prefix="proxy-bench-")

    def start(self, name, *command, **env):
        self.children[name] = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **env},
        )

    def port(self, name):
        """Where one listens."""
        if name == "proxy" and name not in self.children:
            self.start_proxy()
        if name not in self._ports:
            line = self.children[name].stdout.readline()
            self._ports[name] = int(re.search(rb":(\d+)\s*$", line)[1])
        return self._ports[name]

    def start_proxy(self):
        url = "http://127.0.0.1:%d" % self.port("upstream")
        self.start(
            "proxy",
            cp.__file__,
            PORT="0",
            GITHUB_TOKEN="ghu_test",
            GITHUB_URL=url,
            GITHUB_API_URL=url,
            COPILOT_API_URL=url,
            LOG_LEVEL="error",
            TOKEN_FILE=os.path.join(self.folder, "t"),
        )

    def __enter__(self):
        self.start("upstream", __file__, "--bench-child", "upstream")
        return self

    def __exit__(self, *_):
        for child in self.children.values():
            child.kill()
            child.wait()
            child.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu(self, name):
        """Seconds that all threads of a program have worked."""
        threads = pathlib.Path("/proc/%d/task" % self.children[name].pid).glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


async def _bench_adversaries(programs, size):
    """What a large body costs and how long it holds the others up, by endpoint."""
    heads = ("%g MB" % (size / (1 << 20)), "CPU ms/MB", "stall ms/MB", "in seconds", "status")
    print("\n%-44s %12s %14s %14s %8s" % heads)
    worst = {}
    for adversary in adversaries():
        cost = await attack(programs, adversary, size)
        thousandth = size / 1e9
        stall = cost.wait / thousandth
        numbers = (cost.cpu / thousandth, stall, cost.seconds / thousandth, cost.status)
        print("%-44s %12.1f %14.1f %14.1f %8d" % (adversary.name[:44], *numbers), flush=True)
        worst[adversary.path] = max(worst.get(adversary.path, (0,)), (stall, adversary.name))
    for path, (stall, name) in worst.items():
        print("%-28s at most %6.1f ms/MB: %s" % (path, stall, name))


def bench(megabytes):
    """Start upstream, floor and proxy; print what each work costs. Linux only."""
    with Programs() as programs:
        programs.start("floor", __file__, "--bench-child", str(programs.port("upstream")))
        asyncio.run(_bench(programs))
        asyncio.run(_bench_adversaries(programs, int(megabytes * (1 << 20))))


def main(argv):
    parser = argparse.ArgumentParser(description="Try it without a subscription.")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--ready-file", default="", help="file to write the address to")
    parser.add_argument("--fuzz-seconds", type=float, help="run the fuzzer so long")
    parser.add_argument("--bench", action="store_true", help="measure it instead")
    parser.add_argument("--bench-mb", type=float, default=32.0, help="size of large bodies")
    parser.add_argument("--bench-child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.fuzz_seconds:
        fuzz(options.fuzz_seconds, int(time.time()))
        return 0
    if options.bench:
        return bench(options.bench_mb)
    if options.bench_child:
        return asyncio.run(_bench_child(options.bench_child))
    cp.configure_logging("info", sys.stderr)
    try:
        return asyncio.run(_try_out(options.port, options.ready_file))
    except OSError as exc:
        sys.exit("Cannot listen on port %d: %s." % (options.port, os.strerror(exc.errno)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
