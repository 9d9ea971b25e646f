"""Tests of copilot_proxy.py: `python -m pytest -q`; `python test_copilot_proxy.py` starts
the try-out mode instead, which needs neither pytest nor a subscription.

No network but 127.0.0.1 and no mocks of our own code: the proxy runs whole against a
FakeUpstream, which parses HTTP by itself and refuses what the real Copilot was seen to
refuse (UPSTREAM.md), so that passing here means something there. Banners and numbers
are those of the program.
"""
import argparse
import ast
import asyncio
import base64
import collections
import contextlib
import http.client as http_client  # `http` is a tool below
import http.server as http_server
import inspect
import io
import json
import logging
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import copilot_proxy as cp

try:
    import pytest
except ImportError:
    class _Absent:
        """Stands for pytest's decorators in the try-out mode."""

        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            return args[0] if args and inspect.isfunction(args[0]) else self

    pytest = _Absent()


# ============================================================================
# Tools
# ============================================================================
# What every room's tests share: cuts, a clock, raw clients, a strict reader of streams.


def cuts(data, seed=7):
    """Lists of pieces of `data`: whole, by 1, 2, 3, 7 bytes, and five random cuts."""
    yield [data]
    for size in (1, 2, 3, 7):
        yield [data[at:at + size] for at in range(0, len(data), size)]
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


def run(coro, limit=30.0):
    """asyncio.run with a time limit."""
    async def limited():
        return await asyncio.wait_for(coro, limit)
    return asyncio.run(limited())


async def http(port, raw, limit=10.0):
    """Send `raw`, return every byte until the server closes: not the product's client."""
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
    """Split one whole answer of a closed connection, strictly."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) .*", first).groups()
    headers = {}
    for line in lines:
        name, value = re.fullmatch(r"([!#-'*+.0-9A-Z^-z|~-]+):\s*(.*?)\s*", line).groups()
        assert name.lower() not in headers, "sent twice: " + name
        headers[name.lower()] = value
    if headers.get("transfer-encoding") == "chunked":
        return Answer(int(status), headers, *_dechunk(body))
    length = int(headers.get("content-length", len(body)))
    if method == "HEAD" or status in ("204", "304"):
        length = 0
    assert len(body) <= length, "more body than declared: %r" % body[length:]
    return Answer(int(status), headers, body, len(body) == length)


def _dechunk(raw):
    body, at = b"", 0
    while True:
        line = re.compile(rb"([0-9A-Fa-f]+)\r\n").match(raw, at)
        size = int(line.group(1), 16) if line else 0
        if not line or (size and raw[line.end() + size:line.end() + size + 2] != b"\r\n"):
            return body, False
        if not size:
            assert raw[line.end():] == b"\r\n", "bytes after the last chunk"
            return body, True
        body += raw[line.end():line.end() + size]
        at = line.end() + size + 2


async def ask(port, method, path, body=None, headers=()):
    """One request on a connection of its own; `body` is bytes or an object for JSON."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(
        body).encode()
    pairs = {"Host": "127.0.0.1:%d" % port, "Connection": "close"}
    if body is not None:
        pairs.update({"Content-Type": "application/json", "Content-Length": len(raw)})
    pairs.update(dict(headers))
    head = "".join("%s: %s\r\n" % pair for pair in pairs.items())
    return parse_answer(await http(
        port, ("%s %s HTTP/1.1\r\n%s\r\n" % (method, path, head)).encode() + raw, 30.0),
        method)


def frames(raw):
    """Decode a client's event stream to [(event, object)] and assert its grammar.

    `[DONE]` is ("", "[DONE]"). A stream cut at an event's end is fine; the test says
    whether it may end there.
    """
    got = []
    for block in raw.decode("utf-8").split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        fields = [re.fullmatch(r"(event|data): (.*)", line).groups() for line in lines]
        if fields:
            assert [name for name, _ in fields] in (["event", "data"], ["data"]), block
            data = fields[-1][1]
            got.append((fields[0][1] if len(fields) == 2 else "",
                        data if data == "[DONE]" else json.loads(data)))
    if raw:
        assert raw.endswith(b"\n\n"), "the last event is not whole: %r" % raw[-80:]
    _check_grammar(got)
    return got


def _check_grammar(got):
    for name, obj in got:
        assert not name or obj["type"] == name, "event and type differ: %s" % name
    if got and got[0][0] == "message_start":
        _check_messages([obj for _, obj in got if obj["type"] != "ping"])
    elif got and got[0][0].startswith("response."):
        numbers = [obj["sequence_number"] for _, obj in got if "sequence_number" in obj]
        assert numbers == sorted(set(numbers)), numbers
        assert len({o["response"]["id"] for _, o in got if "response" in o}) <= 1
    elif got:
        assert (("", "[DONE]") not in got) or got.index(("", "[DONE]")) == len(got) - 1


DELTAS = {"text_delta": "text", "input_json_delta": "tool_use", "citations_delta": "text",
          "thinking_delta": "thinking", "signature_delta": "thinking"}


def _check_messages(got):
    opened, index, last = None, -1, ""
    for at, obj in enumerate(got):
        kind = obj["type"]
        assert last not in ("message_stop", "error"), "%s after %s" % (kind, last)
        assert (kind == "message_start") == (at == 0)
        if kind == "content_block_start":
            assert opened is None and obj["index"] == index + 1 and last != "message_delta"
            opened, index = obj["content_block"]["type"], index + 1
        elif kind == "content_block_delta":
            assert obj["index"] == index and DELTAS[obj["delta"]["type"]] == opened, obj
        elif kind == "content_block_stop":
            assert opened and obj["index"] == index
            opened = None
        elif kind in ("message_delta", "message_stop"):
            assert opened is None and (kind, last)[:2] != ("message_delta", kind)
            assert kind == "message_delta" or last == "message_delta"
        last = kind


# ============================================================================
# Fake upstream: what it knows
# ============================================================================
# UPSTREAM 7: the catalogue. Prices are AI credits for a million tokens: input, output,
# cache read, cache write.

MESSAGES, CHAT, RESPONSES = "/v1/messages", "/chat/completions", "/responses"
OPUS, SONNET, HAIKU = (500, 2500, 50, 625), (300, 1500, 30, 375), (100, 500, 10, 125)
GPT, MINI, FREE = (125, 1000, 13, 0), (25, 200, 3, 0), (0, 0, 0, 0)
BUDGET = {"min_thinking_budget": 1024, "max_thinking_budget": 32000}
ADAPTIVE = {"adaptive_thinking": True}
TO_HIGH, TO_XHIGH = ["low", "medium", "high"], ["low", "medium", "high", "xhigh"]
TO_MAX = TO_XHIGH + ["max"]


def _entry(name, vendor, served, sizes, price, efforts=(), supports=None, **more):
    window, prompt, output = sizes
    limits = {"max_context_window_tokens": window, "max_prompt_tokens": prompt,
              "max_output_tokens": output, "vision": {
                  "max_prompt_images": 5, "max_prompt_image_size": 3145728,
                  "supported_media_types": ["image/jpeg", "image/png", "image/webp"]}}
    can = {"streaming": True, "tool_calls": True, "parallel_tool_calls": True,
           "structured_outputs": True, "vision": True, **(supports or {})}
    if efforts:
        can["reasoning_effort"] = list(efforts)
    prices = dict(zip(("input_price", "output_price", "cache_price",
                       "cache_write_price"), price), context_max=window)
    entry = {"id": name, "name": name.replace("-", " ").title().replace("Gpt ", "GPT-"),
             "object": "model", "vendor": vendor, "version": name, "preview": False,
             "model_picker_enabled": True, "policy": {"state": "enabled", "terms": "..."},
             "billing": {"is_premium": price != FREE, "multiplier": 1, "token_prices": {
                 "batch_size": 1000000, "default": prices}},
             "supported_endpoints": served, "capabilities": {
                 "type": "chat", "object": "model_capabilities", "family": name,
                 "tokenizer": "o200k_base", "limits": limits, "supports": can}, **more}
    return {key: value for key, value in entry.items() if value is not None}


def _catalogue():
    both, native = [CHAT, MESSAGES], dict(policy={"state": "disabled", "terms": "..."})
    old = dict(supported_endpoints=None, model_picker_enabled=False, policy=None)
    gpt, only = [CHAT, RESPONSES, "ws:/responses"], [RESPONSES, "ws:/responses"]
    small, large = (200000, 168000, 32000), (1000000, 936000, 64000)
    return [
        _entry("claude-sonnet-4.5", "Anthropic", both, small, SONNET, (), BUDGET),
        _entry("claude-haiku-4.5", "Anthropic", both, (200000, 136000, 64000), HAIKU, (),
               BUDGET),
        _entry("claude-opus-4.5", "Anthropic", both, small, OPUS, TO_HIGH, BUDGET),
        _entry("claude-sonnet-4.6", "Anthropic", both, small, SONNET, TO_HIGH + ["max"],
               {**BUDGET, **ADAPTIVE}),
        _entry("claude-opus-4.6", "Anthropic", both, small, OPUS, TO_HIGH + ["max"],
               {**BUDGET, **ADAPTIVE}),
        _entry("claude-opus-4.7", "Anthropic", both, large, OPUS, TO_MAX, ADAPTIVE),
        _entry("claude-opus-4.8", "Anthropic", both, large, OPUS, TO_MAX,
               {**BUDGET, **ADAPTIVE}, **native),
        _entry("claude-opus-5", "Anthropic", both, large, OPUS, TO_MAX, ADAPTIVE),
        _entry("claude-sonnet-5", "Anthropic", both, large, SONNET, TO_MAX, ADAPTIVE),
        _entry("gpt-4.1", "Azure OpenAI", [], (128000, 128000, 16384), FREE, **old),
        _entry("gpt-4o", "Azure OpenAI", [], (128000, 64000, 4096), FREE, **old),
        _entry("gpt-5-mini", "Azure OpenAI", gpt, (264000, 128000, 64000), MINI, TO_HIGH),
        _entry("gpt-5", "Azure OpenAI", gpt, (400000, 272000, 128000), GPT, TO_HIGH),
        _entry("gpt-5.4", "OpenAI", gpt, (400000, 272000, 128000), GPT, TO_XHIGH),
        _entry("gpt-5.3-codex", "OpenAI", only, (400000, 272000, 128000), GPT, TO_XHIGH,
               is_chat_default=True, policy=None),
        _entry("gpt-5.5", "OpenAI", only, (400000, 272000, 128000), GPT, TO_XHIGH),
        _entry("gemini-2.5-pro", "Google", None, (128000, 128000, 64000), GPT, (),
               {"min_thinking_budget": 128, "max_thinking_budget": 32768},
               policy={"state": "unconfigured", "terms": "..."}),
        _entry("gemini-3-pro-preview", "Google", None, (128000, 128000, 64000), GPT),
        _entry("mind-reader-1", "Experimental", ["/telepathy"], small, GPT),
        {"id": 42, "capabilities": ["this entry does not parse"]},
        {"id": "text-embedding-3-small", "name": "Embedding V3 small", "object": "model",
         "vendor": "Azure OpenAI", "version": "text-embedding-3-small",
         "model_picker_enabled": False, "capabilities": {
             "type": "embeddings", "family": "text-embedding-3-small",
             "tokenizer": "cl100k_base", "limits": {"max_inputs": 512},
             "supports": {"dimensions": True}}},
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
    r"|cli-internal-2026-02-09"
    r"|(effort|structured-outputs|redact-thinking|fast-mode|web-search|pdfs|compact)-.+")
USER = {  # UPSTREAM 4
    "login": "octocat", "access_type_sku": "plus_monthly_subscriber_quota",
    "copilot_plan": "individual_pro", "chat_enabled": True, "token_based_billing": True,
    "quota_reset_date": "2026-12-01", "quota_snapshots": {
        "chat": {"quota_id": "chat", "unlimited": True, "percent_remaining": 100.0},
        "premium_interactions": {
            "quota_id": "premium_interactions", "entitlement": 1500, "remaining": 1287,
            "quota_remaining": 1287.4, "percent_remaining": 85.8, "unlimited": False,
            "overage_count": 0, "overage_permitted": True, "has_quota": True}}}


# ============================================================================
# Fake upstream: what it refuses
# ============================================================================
# A rule yields complaints in the words of the real service; the first one counts. Every
# rule is a row of UPSTREAM 9.1, 10.1, 11.4-11.6, 15.2 or 16, or a documented habit of the
# service behind Copilot.


def whole(status, body, kind="application/json", **headers):
    """An answer in one piece with its length, for scripts too; `body` is text or JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return status, {"content-type": kind, "content-length": "auto", **headers}, [
        text.encode()]


class Refused(Exception):
    """The answer is no; `answer` is how that looks on the wire."""

    def __init__(self, status, body, kind="text/plain; charset=utf-8", **headers):
        super().__init__(body)
        self.answer = whole(status, body, kind, **headers)


def gateway(message, code="invalid_request_body", **more):
    """Copilot's own refusal: JSON called text, Go's escapes, a newline (UPSTREAM 15.1)."""
    body = json.dumps({"error": {"message": message, "code": code, **more}})
    return Refused(400, body.replace(">", "\\u003e").replace("<", "\\u003c") + "\n")


def backend(message, **more):
    """A refusal by the Anthropic service behind Copilot."""
    return Refused(400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": message, **more},
        "request_id": "req_vrtx_fake"}, "application/json")


def walk(obj, path=""):
    """Every (path, object) inside a JSON value."""
    if isinstance(obj, dict):
        yield path, obj
    inner = obj.items() if isinstance(obj, dict) else enumerate(
        obj if isinstance(obj, list) else ())
    for key, value in inner:
        yield from walk(value, "%s.%s" % (path, key) if path else str(key))


def blocks(content):
    """A content as a list of blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


EXTRA = "%s: Extra inputs are not permitted"
PREFILL = ("This model does not support assistant message prefill. The conversation must "
           "end with a user message.")
CONTEXT_BETA, SYSTEM_BETA = "context-management-2025-06-27", \
    "mid-conversation-system-2026-04-07"
MESSAGES_KEYS = frozenset(
    "model messages system tools tool_choice max_tokens stream temperature top_p top_k "
    "stop_sequences metadata thinking output_config context_management".split())
TOOL_KEYS = frozenset("type name description input_schema cache_control defer_loading "
                      "strict input_examples allowed_callers".split())


def _fields(body, entry, betas):
    extra = [key for key in body if key not in MESSAGES_KEYS or (
        key == "context_management" and CONTEXT_BETA not in betas)]
    extra += ["output_config.format." + key for key in (body.get("output_config") or {}).get(
        "format") or () if key not in ("type", "schema")]
    yield from (EXTRA % key for key in extra)
    if not body.get("messages"):
        yield "messages: at least one message is required"
    if not isinstance(body.get("max_tokens"), int):
        yield "max_tokens: Field required"
    elif body["max_tokens"] > 128000:
        yield "max_tokens: %d > 128000, which is the maximum allowed number of output " \
              "tokens for %s" % (body["max_tokens"], entry["id"])


def _cache_marks(body, entry, betas):
    marked = [(path, obj) for key in ("tools", "system", "messages")
              for path, obj in walk(body.get(key), key) if obj.get("cache_control")]
    for path, obj in marked:
        place = path + {"t": ".custom", "s": ""}.get(path[0], ".%s" % obj.get("type"))
        yield from (EXTRA % "%s.cache_control.ephemeral.%s" % (place, key)
                    for key in obj["cache_control"] if key not in ("type", "ttl"))
    if len(marked) > 4:
        yield "A maximum of 4 blocks with cache_control may be provided. Found %d." % len(
            marked)


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
            kind.startswith("memory_") and CONTEXT_BETA not in betas):
        yield "%s: tool type '%s' is not supported" % (path, kind)
    if tool.get("defer_loading") and tool.get("cache_control"):
        yield "%s: cache_control cannot be used with defer_loading" % path
    if kind == "custom":
        yield from (EXTRA % "%s.custom.%s" % (path, key) for key in tool
                    if key not in TOOL_KEYS)
        if not re.fullmatch("[a-zA-Z0-9_-]{1,128}", tool.get("name", "")):
            yield "%s.custom.name: String should match pattern " \
                  "'^[a-zA-Z0-9_-]{1,128}$'" % path
        if not isinstance(tool.get("input_schema"), dict):
            yield "%s.custom.input_schema: Field required" % path


def _thinking(body, entry, betas):
    thinking, can = body.get("thinking") or {}, entry["capabilities"]["supports"]
    kind, budget = thinking.get("type"), thinking.get("budget_tokens", 0)
    if kind == "adaptive" and not can.get("adaptive_thinking"):
        yield "adaptive thinking is not supported on this model"
    if kind == "adaptive" and budget:
        yield EXTRA % "thinking.adaptive.budget_tokens"
    if kind == "enabled" and not can.get("max_thinking_budget"):
        yield '"thinking.type.enabled" is not supported for this model. Use ' \
              '"thinking.type.adaptive" and "output_config.effort".'
    if kind == "enabled" and budget < 1024:
        yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
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
    if "temperature" in body and "top_p" in body:
        yield "`temperature` and `top_p` cannot both be specified for this model."


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
OUTER = ("text", "image", "document", "search_result", "tool_use", "tool_result", "thinking",
         "redacted_thinking")


def _block(path, block, known=OUTER):
    kind = block["type"]
    if kind in ("server_tool_use", "web_search_tool_result"):
        yield "%s: Invalid `encrypted_content` in `search_result` block" % path
    if kind not in known:
        yield "%s: Input tag '%s' found using 'type' does not match any of the expected " \
              "tags" % (path, kind)
    if kind in ("image", "document") and block["source"].get("type") != "base64":
        yield "%s.%s.source.type: only base64 is supported" % (path, kind)
    for at, inner in enumerate(blocks(block.get("content")) if kind == "tool_result" else ()):
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
            yield "messages.%d: `tool_use` ids were found without `tool_result` blocks " \
                  "immediately after: %s." % (at - 1, missing)
        yield from ("messages.%d.content.0: unexpected `tool_use_id` found in `tool_result` "
                    "blocks: %s." % (at, one) for one in results if one not in waiting)
        waiting = [block["id"] for block in content if block["type"] == "tool_use"]


def _thoughts(body, entry, betas):
    spoken = [(at, [b["type"] for b in blocks(message["content"])])
              for at, message in enumerate(body["messages"])
              if message["role"] == "assistant"]
    for number, (at, kinds) in enumerate(spoken):
        if number and kinds[-1] == "thinking":
            yield "messages.%d: The final block in an assistant message cannot be " \
                  "`thinking`." % at
        if "tool_use" in kinds and kinds[-1] != "tool_use":
            yield PREFILL
    if spoken and ("thinking", "thinking") in zip(spoken[-1][1], spoken[-1][1][1:]):
        yield "messages.%d: `thinking` blocks in the latest assistant message cannot be " \
              "modified." % spoken[-1][0]


def _openai(body, entry):
    if entry["id"].startswith(("gpt-5", "o")):
        yield from ("Unsupported parameter: '%s' is not supported with this model." % key
                    for key in ("temperature", "top_p", "n") if body.get(key) is not None)
    tools = body.get("tools")
    if tools == []:
        yield "Invalid 'tools': empty array. Expected an array with minimum length 1."
    if len(tools or ()) > 128 and "OpenAI" in entry["vendor"]:
        yield "Invalid 'tools': array too long. Expected an array with maximum length " \
              "128, but got an array with length %d instead." % len(tools)
    for at, tool in enumerate(tools or []):
        if tool["type"] == "function" and not re.fullmatch(
                "[a-zA-Z0-9_-]{1,64}", (tool.get("function") or tool)["name"]):
            yield "Invalid 'tools[%d].function.name': string does not match pattern " \
                  "'^[a-zA-Z0-9_-]{1,64}$'." % at


def _chat(body, entry):
    if not body.get("messages"):
        yield "messages: at least one message is required"
    for message in body["messages"]:
        parts = blocks(message.get("content"))
        if any(part["type"] not in ("text", "image_url") for part in parts):
            yield "only text and image_url are allowed"
        if message["role"] == "assistant" and not message.get("tool_calls") and not "".join(
                part.get("text", "") for part in parts).strip():
            yield "assistant message must have content or tool_calls"
    most = entry["capabilities"]["limits"]["max_output_tokens"]
    for key in ("max_tokens", "max_completion_tokens"):
        if (body.get(key) or 0) > most:
            yield "%s is too large: %d. This model supports at most %d completion " \
                  "tokens." % (key, body[key], most)
    if sum("copilot_cache_control" in message for message in body["messages"]) > 4:
        yield "at most 4 messages may carry copilot_cache_control"


def _chat_pairs(body, entry):
    waiting = []
    for message in body["messages"] + [{"role": "end"}]:
        if message["role"] == "tool" and message["tool_call_id"] in waiting:
            waiting.remove(message["tool_call_id"])
            continue
        if message["role"] == "tool":
            yield "messages with role 'tool' must be a response to a preceeding message " \
                  "with 'tool_calls'."
        if waiting:
            yield "An assistant message with 'tool_calls' must be followed by tool " \
                  "messages responding to each 'tool_call_id'. The following " \
                  "tool_call_ids did not have response messages: " + ", ".join(waiting)
        waiting = [call["id"] for call in message.get("tool_calls") or []]


def _responses(body, entry):
    banned = ["store", "previous_response_id", "background", "service_tier", "conversation"]
    if entry["id"] in ("gpt-5", "gpt-5.1", "gpt-5.2"):
        banned.append("context_management")
    yield from ("Unsupported parameter: '%s'." % key for key in banned if body.get(key))
    if "usage" in (body.get("include") or ()):
        yield "Invalid value: 'usage'. Supported values are: 'reasoning.encrypted_content'."
    if (body.get("max_output_tokens") or 16) < 16:
        yield "Invalid 'max_output_tokens': integer below minimum value. Expected a value " \
              ">= 16, but got %d instead." % body["max_output_tokens"]
    yield from ("The requested tool %s is not supported." % tool["type"]
                for tool in body.get("tools") or [] if tool["type"] not in (
                    "function", "custom", "web_search", "web_search_preview"))
    if body.get("tool_choice") == {"type": "tool_search"}:
        yield "Invalid value: 'tool_search'."


def _items_in(body, entry):
    if not body.get("input"):
        yield "Missing required parameter: 'input'."
    items = body["input"] if isinstance(body["input"], list) else []
    for at, item in enumerate(items):
        if item.get("type") == "function_call" and item.get("id", "fc")[:2] != "fc":
            yield "Invalid 'input[%d].id': '%s'. Expected an ID that begins with 'fc'." % (
                at, item["id"])
        known = ("output_text", "refusal") if item.get("role") == "assistant" else (
            "input_text", "input_image", "input_file")
        yield from ("Invalid value: '%s'." % part["type"] for part in (
            item["content"] if isinstance(item.get("content"), list) else ())
            if item.get("role") and part["type"] not in known)
    for call in ("function_call", "custom_tool_call"):
        called = [i["call_id"] for i in items if i.get("type") == call]
        given = [i["call_id"] for i in items if i.get("type") == call + "_output"]
        yield from ("No tool output found for function call %s." % one
                    for one in called if one not in given)
        yield from ("No tool call found for function call output with call_id %s." % one
                    for one in given if one not in called)


MESSAGES_RULES = (_fields, _cache_marks, _tools, _thinking, _content, _pairs, _thoughts)
OPENAI_RULES = {CHAT: (_openai, _chat, _chat_pairs),
                RESPONSES: (_openai, _responses, _items_in)}
EFFORT = {MESSAGES: ("output_config", "effort"), CHAT: ("reasoning_effort",),
          RESPONSES: ("reasoning", "effort")}


def refuse_body(path, body, entry, betas):
    """Raise what the real service would say about this body, if anything."""
    effort, efforts = body, entry["capabilities"]["supports"].get("reasoning_effort", [])
    for key in EFFORT[path]:
        effort = (effort or {}).get(key)
    if effort is not None and effort not in efforts:
        raise gateway('%s "%s" is not supported by model %s; supported values: [%s]' % (
            ".".join(EFFORT[path]), effort, entry["id"], " ".join(efforts)),
            "invalid_reasoning_effort")
    for rule in MESSAGES_RULES if path == MESSAGES else ():
        for complaint in rule(body, entry, betas):
            raise backend(complaint)
    for rule in OPENAI_RULES.get(path, ()):
        for complaint in rule(body, entry):
            raise gateway(complaint)
    if any("id" in item for item in body.get("input") or () if isinstance(item, dict)):
        # Ids are good on the connection that made them: the advice is to strip them all.
        raise Refused(401, "input item ID does not belong to this connection\n")


def has_image(body):
    """Whether an image is anywhere in the body, nested in results too."""
    return any(obj.get("type") in ("image", "image_url", "input_image")
               for _, obj in walk(body.get("messages") or body.get("input")))


# ============================================================================
# Fake upstream: how it answers
# ============================================================================
# One Reply in the shapes of UPSTREAM 9.2-9.5, 10.2 and 11.2-11.3.


class Use(NamedTuple):
    """Tokens of one answer, in the order of the prices."""
    input: int
    output: int
    read: int
    write: int

    @property
    def prompt(self):
        return self.input + self.read + self.write


class Reply(NamedTuple):
    """What the model says, before any endpoint spells it."""
    id: str
    model: str
    text: str
    calls: List[Tuple[str, str, str]]  # id, name, arguments as JSON text
    use: Use
    cost: Dict[str, Any]
    signature: str = ""  # of the thinking, when there was any
    thought: str = ""
    cut: bool = False    # max_tokens ended it
    searched: str = ""   # what the server's own web search looked for


def thirds(text):
    """A text in up to three pieces."""
    size = len(text) // 3 + 1
    return [text[at:at + size] for at in range(0, len(text), size)]


def data(obj, name=""):
    """One SSE event as upstream writes them: sorted keys, raw UTF-8."""
    text = json.dumps(obj, sort_keys=True, ensure_ascii=False)
    return ("event: %s\ndata: %s\n\n" % (name, text) if name else
            "data: %s\n\n" % text).encode()


EMPTY_BLOCK = {"text": {"text": ""}, "tool_use": {"input": {}},
               "thinking": {"thinking": "", "signature": ""}}


def messages_reply(reply):
    """The non-streaming answer of /v1/messages."""
    use = {"input_tokens": reply.use.input, "output_tokens": reply.use.output,
           "cache_read_input_tokens": reply.use.read,
           "cache_creation_input_tokens": reply.use.write, "inference_geo": "global"}
    content = [{"type": "thinking", "thinking": reply.thought,
                "signature": reply.signature}] if reply.signature else []
    content += [{"type": "text", "text": reply.text}] if reply.text else []
    content += [{"type": "tool_use", "id": call, "name": name, "input": json.loads(raw)}
                for call, name, raw in reply.calls]
    stop = "max_tokens" if reply.cut else "tool_use" if reply.calls else "end_turn"
    return {"id": reply.id, "type": "message", "role": "assistant",
            "model": reply.model.replace(".", "-"), "content": content,
            "stop_reason": stop, "stop_sequence": None, "stop_details": None,
            "usage": use, "copilot_usage": reply.cost}


def messages_stream(reply):
    """The events of /v1/messages."""
    full = messages_reply(reply)
    start = {**full, "content": [], "stop_reason": None,
             "usage": {**full["usage"], "output_tokens": 1}}
    del start["copilot_usage"]
    events = [{"type": "message_start", "message": start}]
    for index, block in enumerate(full["content"]):
        events += [{"type": "content_block_start", "index": index,
                    "content_block": {**block, **EMPTY_BLOCK[block["type"]]}}]
        events += [{"type": "content_block_delta", "index": index, "delta": delta}
                   for delta in _block_deltas(block)]
        events += [{"type": "content_block_stop", "index": index}]
    events += [{"type": "message_delta", "usage": full["usage"],
                "copilot_usage": reply.cost, "delta": {
                    key: full[key] for key in ("stop_reason", "stop_sequence",
                                                "stop_details")}},
               {"type": "message_stop"}]
    return [data(event, event["type"]) for event in events]


def _block_deltas(block):
    if block["type"] == "text":
        return [{"type": "text_delta", "text": t} for t in thirds(block["text"])]
    if block["type"] == "tool_use":
        raw = json.dumps(block["input"], ensure_ascii=False)
        return [{"type": "input_json_delta", "partial_json": t} for t in ["", *thirds(raw)]]
    text = [{"type": "thinking_delta", "thinking": t} for t in thirds(block["thinking"])]
    return text + [{"type": "signature_delta", "signature": block["signature"]}]


SAFE = {kind: {"filtered": False, "severity": "safe"}
        for kind in ("hate", "self_harm", "sexual", "violence")}


def chat_usage(reply):
    """`usage` and `copilot_usage` of chat completions; no cache writes there."""
    return {"usage": {"prompt_tokens": reply.use.prompt,
                      "completion_tokens": reply.use.output,
                      "prompt_tokens_details": {"cached_tokens": reply.use.read},
                      "total_tokens": reply.use.prompt + reply.use.output},
            "copilot_usage": reply.cost}


def _finish(reply):
    return "length" if reply.cut else "tool_calls" if reply.calls else "stop"


def _call(call, name=None, arguments=None, index=0):
    function = {"name": name, "arguments": arguments}
    made = {"id": call, "index": index, "type": "function" if call else None,
            "function": {k: v for k, v in function.items() if v is not None}}
    return {"content": None, "tool_calls": [
        {k: v for k, v in made.items() if v is not None}]}


def _gpt_chunks(reply):
    yield {"choices": [], "created": 0, "id": "", "prompt_filter_results": [
        {"content_filter_results": SAFE, "prompt_index": 0}]}
    yield {"delta": {"content": "", "role": "assistant"}, "content_filter_results": SAFE}
    for text in thirds(reply.text):
        yield {"delta": {"content": text}, "content_filter_results": {}}
    for index, (call, name, raw) in enumerate(reply.calls):
        yield {"delta": {"role": "assistant", **_call(call, name, "", index)}}
        for text in thirds(raw):
            yield {"delta": _call(None, None, text, index)}
    yield {"delta": {"content": None}, "finish_reason": _finish(reply)}, chat_usage(reply)


def _claude_chunks(reply):
    for text in thirds(reply.text):
        yield {"delta": {"content": text, "role": "assistant"}}
    for call, name, raw in reply.calls:  # parallel calls share index 0
        yield {"delta": {"role": "assistant", **_call(call, name)}}
        for text in ("", raw):
            yield {"delta": _call(None, None, text)}
    yield {"delta": {"content": None}, "finish_reason": _finish(reply)}, chat_usage(reply)


def _gemini_chunks(reply):
    zeros = {"usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0,
                       "prompt_tokens_details": {"cached_tokens": 0},
                       "reasoning_tokens": 0}}
    for text in thirds("Let me see."):
        yield {"delta": {"reasoning_text": text, "role": "assistant"}}, zeros
    for text in thirds(reply.text):
        yield {"delta": {"content": text, "role": "assistant"}}, zeros
    delta = {"content": None, "role": "assistant", "tool_calls": [
        _call(call, name, raw, at)["tool_calls"][0]
        for at, (call, name, raw) in enumerate(reply.calls)]}
    if not reply.calls:
        del delta["tool_calls"]
    else:
        delta["reasoning_opaque"] = reply.signature
    yield {"delta": delta, "finish_reason": _finish(reply)}, zeros
    yield {"choices": [], **chat_usage(reply)}


def chat_stream(reply):
    """The events of /chat/completions, each vendor with its own habits."""
    vendor = reply.model.split("-")[0]
    chunks = {"claude": _claude_chunks, "gemini": _gemini_chunks}.get(vendor, _gpt_chunks)
    made = []
    for chunk in chunks(reply):
        choice, more = chunk if isinstance(chunk, tuple) else (chunk, {})
        if "choices" not in choice:
            choice = {"choices": [{"index": 0, **choice}]}
        made.append(data({"created": 1790000001, "id": reply.id, "model": reply.model,
                          **choice, **more}))
    return made + [b"data: [DONE]\n\n"]


def chat_reply(reply):
    """The non-streaming answer: Claude splits text and calls into choices (9.5)."""
    text = {"role": "assistant", "content": reply.text or None}
    calls = {"role": "assistant", "tool_calls": [
        {"id": call, "type": "function", "function": {"name": name, "arguments": raw}}
        for call, name, raw in reply.calls]}
    if reply.model.startswith("claude"):
        messages = ([text] if reply.text else []) + ([calls] if reply.calls else [])
        choices = [{"message": m, "finish_reason": _finish(reply)} for m in messages]
    else:
        choices = [{"index": 0, "message": {**text, **(calls if reply.calls else {})},
                    "finish_reason": _finish(reply)}]
    return {"choices": choices, "created": 1790000003, "id": reply.id,
            "model": reply.model, **chat_usage(reply)}


def _items(reply, summary):
    if reply.signature:
        yield {"type": "reasoning", "encrypted_content": reply.signature, "summary": [
            {"type": "summary_text", "text": "Looking at it."}] if summary else []}
    notes = []
    if reply.searched:
        yield {"type": "web_search_call", "status": "completed",
               "action": {"type": "search", "query": reply.searched}}
        notes = [{"type": "url_citation", "start_index": 0, "end_index": len(reply.text),
                  "url": "https://example.com/found", "title": "Found"}]
    if reply.text:
        yield {"type": "message", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": reply.text, "annotations": notes}]}
    for call, name, raw in reply.calls:
        yield {"type": "function_call", "status": "completed", "call_id": call,
               "name": name, "arguments": raw}


EMPTY_ITEM = {"reasoning": {"summary": []}, "message": {"content": []},
              "function_call": {"arguments": ""}, "web_search_call": {"action": None}}


def _item_events(item):
    """(kind, fields) between output_item.added and output_item.done."""
    if item["type"] == "reasoning":
        for part in item["summary"]:
            yield "reasoning_summary_part.added", {"summary_index": 0, "part": {
                **part, "text": ""}}
            for text in thirds(part["text"]):
                yield "reasoning_summary_text.delta", {"summary_index": 0, "delta": text}
            yield "reasoning_summary_text.done", {"summary_index": 0, "text": part["text"]}
            yield "reasoning_summary_part.done", {"summary_index": 0, "part": part}
    elif item["type"] == "web_search_call":
        for step in ("in_progress", "searching", "completed"):
            yield "web_search_call." + step, {}
    elif item["type"] == "function_call":
        for text in thirds(item["arguments"]):
            yield "function_call_arguments.delta", {"delta": text}
        yield "function_call_arguments.done", {"arguments": item["arguments"]}
    else:
        part, at = item["content"][0], {"content_index": 0}
        yield "content_part.added", {**at, "part": {**part, "text": "", "annotations": []}}
        for text in thirds(part["text"]):
            yield "output_text.delta", {**at, "delta": text, "logprobs": []}
        for number, note in enumerate(part["annotations"]):
            yield "output_text.annotation.added", {
                **at, "annotation_index": number, "annotation": note}
        yield "output_text.done", {**at, "text": part["text"], "logprobs": []}
        yield "content_part.done", {**at, "part": part}


def responses_reply(reply, body, fresh):
    """The response object; `fresh()` is a new opaque id, as Copilot makes at every use."""
    summary = (body.get("reasoning") or {}).get("summary")
    use = {"input_tokens": reply.use.prompt, "output_tokens": reply.use.output,
           "input_tokens_details": {"cached_tokens": reply.use.read},
           "output_tokens_details": {"reasoning_tokens": 0},
           "total_tokens": reply.use.prompt + reply.use.output}
    return {"id": fresh(), "object": "response", "created_at": 1790000004, "error": None,
            "status": "incomplete" if reply.cut else "completed", "model": reply.model,
            "incomplete_details": {"reason": "max_output_tokens"} if reply.cut else None,
            "output": [{"id": fresh(), **item} for item in _items(reply, summary)],
            "instructions": body.get("instructions"), "tools": body.get("tools", []),
            "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {},
            "store": False, "usage": use}


def responses_stream(reply, body, fresh):
    """The events of /responses: ids differ in every one, the frames repeat all tools."""
    full = responses_reply(reply, body, fresh)
    begun = {**full, "status": "in_progress", "output": [], "usage": None,
             "incomplete_details": None}
    events = [(kind, {"response": {**begun, "id": fresh()}})
              for kind in ("created", "in_progress")]
    for at, item in enumerate(full["output"]):
        events.append(("output_item.added", {"item": {
            **item, **EMPTY_ITEM[item["type"]], "id": fresh(), "status": "in_progress"},
            "output_index": at}))
        events += [(kind, {"item_id": fresh(), "output_index": at, **fields})
                   for kind, fields in _item_events(item)]
        events.append(("output_item.done", {"item": {**item, "id": fresh()},
                                            "output_index": at}))
    events.append((full["status"], {"response": full, "copilot_usage": reply.cost}))
    return [data({"type": "response." + kind, "sequence_number": number, **fields},
                 "response." + kind) for number, (kind, fields) in enumerate(events)]


# ============================================================================
# Fake upstream: the server
# ============================================================================

RESET, CLOSE, HANG = "RESET", "CLOSE", "HANG"  # pieces that end an answer badly
SSE = {"content-type": "text/event-stream; charset=utf-8"}
MARKER = re.compile(r"E2E:([A-Za-z0-9+/=]+):E2E")
REQUEST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n"
                     rb"((?:[!#-'*+.0-9A-Z^-z|~-]+:[ \t]*[ -~\t\x80-\xff]*\r\n)+)\r\n")
# UPSTREAM 5.1: never forwarded.
NEVER = re.compile(r"x-api-key|x-stainless-.*|transfer-encoding|expect|cookie|origin")


class Asked(NamedTuple):
    """One request as it came."""
    method: str
    path: str
    headers: List[Tuple[str, str]]
    body: bytes
    json: Any

    def header(self, name):
        """The only value of a header, or None."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) < 2, "%s sent %d times" % (name, len(values))
        return values[0] if values else None


def heard(body):
    """The prompt as (role, text) pairs in order; a tool result is ("result", "")."""
    items = body.get("messages") or body.get("input") or body.get("prompt") or []
    said = []
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        role = item.get("role", "")
        if role == "tool" or item.get("type", "").endswith("_output"):
            said.append(("result", ""))
        for part in blocks(item.get("content")):
            said.append(("result", "") if part.get("type") == "tool_result" else
                        (role, part.get("text", "")))
    return said


def weigh(obj):
    """About how many tokens a part of a prompt is; base64 and signatures are free."""
    if isinstance(obj, str):
        return len(obj.encode("utf-8", "replace")) / 4
    if isinstance(obj, dict):
        return 1 + sum(weigh(value) for key, value in obj.items() if key not in (
            "data", "url", "image_url", "signature", "encrypted_content", "type"))
    return sum(map(weigh, obj)) if isinstance(obj, list) else 0


class FakeUpstream:
    """GitHub and Copilot on one port of 127.0.0.1.

    `script[method, path]` holds answers to give first, in order: (status, headers, pieces)
    with pieces of bytes, seconds, an asyncio.Event to wait for, RESET, CLOSE or HANG; None
    is the default behaviour once. Chunked unless the headers say otherwise
    (`content-length: auto` counts; `connection: close` alone ends by closing).
    """

    def __init__(self):
        self.script: Dict[Tuple[str, str], List[Any]] = collections.defaultdict(list)
        self.requests: List[Asked] = []
        self.faults: List[str] = []      # what a proxy must not send, though it works
        self.gone: List[float] = []      # when a client left in the middle of an answer
        self.mints: List[str] = []
        self.initiators: List[Optional[str]] = []
        self.billed = collections.defaultdict(lambda: {"requests": 0, "tokens": 0,
                                                       "nano": 0})
        self.connections = self.open = 0
        self.models = _catalogue()
        self.github_tokens, self.tokens = {"ghu_test"}, set()
        self.token_fields: Dict[str, Any] = {}      # overrides of the token reply
        self.device = ["authorization_pending"]     # polls to answer before success
        self.interval = 0
        self.cut = 0       # cut streams in pieces of this many bytes
        self.pause = 0.0   # seconds between the pieces of a default answer
        self._failed: Dict[str, int] = collections.Counter()
        self._cached: Dict[str, Dict[int, float]] = collections.defaultdict(dict)
        self._opaque: Dict[str, str] = {}
        self._signed: set = set()
        self._tasks: set = set()
        self._number = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        return self

    async def __aexit__(self, kind, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)
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
        self.connections, self.open = self.connections + 1, self.open + 1
        self._tasks.add(asyncio.current_task())
        coming = sending = asyncio.ensure_future(_first_byte(reader))
        try:
            while await coming:
                request = await self._read(coming.result(), reader)
                coming = asyncio.ensure_future(_first_byte(reader))
                sending = asyncio.ensure_future(self._send(request, writer))
                await asyncio.wait({coming, sending}, return_when=asyncio.FIRST_COMPLETED)
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
        headers = [(name.lower(), value.strip()) for name, _, value in (
            line.partition(":") for line in fields.split("\r\n")[:-1])]
        names = [name for name, _ in headers]
        self.faults += ["%s was sent" % name for name in names if NEVER.fullmatch(name)]
        self.faults += ["%s was sent twice" % n for n in set(names) if names.count(n) > 1]
        if ("host", "127.0.0.1:%d" % self.port) not in headers:
            self.faults.append("wrong Host")
        size = int(dict(headers).get("content-length", 0))
        body = await reader.readexactly(size)
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = dict(urllib.parse.parse_qsl(body.decode("latin-1")))
        self.requests.append(Asked(method, target.partition("?")[0], headers, body, parsed))
        return self.requests[-1]

    async def _send(self, request, writer):
        status, headers, pieces = self.answer(request)
        headers = dict(headers)
        if headers.get("content-length") == "auto":
            headers["content-length"] = sum(map(len, pieces))
        chunked = not {"content-length", "connection"} & set(headers)
        if chunked:
            headers["transfer-encoding"] = "chunked"
        headers["x-github-request-id"] = "FA4E:%d" % len(self.requests)
        writer.write(("HTTP/1.1 %d %s\r\n%s\r\n" % (
            status, http_client.responses.get(status, ""), "".join(
                "%s: %s\r\n" % pair for pair in headers.items()))).encode("latin-1"))
        for piece in pieces:
            if piece in (RESET, CLOSE):
                return await _end_badly(writer, piece)
            await self._piece(piece, writer, chunked)
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return "connection" not in headers and request.header("connection") != "close"

    async def _piece(self, piece, writer, chunked):
        await writer.drain()
        if isinstance(piece, (int, float)):
            await asyncio.sleep(piece)
        elif piece == HANG or isinstance(piece, asyncio.Event):
            await (asyncio.Event() if piece == HANG else piece).wait()
        elif piece:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)

    # -- who is asked what ---------------------------------------------------------

    def answer(self, request):
        """The (status, headers, pieces) for a request."""
        path = request.path
        if path in (MESSAGES, CHAT, RESPONSES):
            self.initiators.append(request.header("x-initiator"))
        script = self.script[request.method, path]
        scripted = script.pop(0) if script else None
        if scripted is not None:
            return scripted
        for method, pattern, name in ROUTES:
            if method == request.method and re.fullmatch(pattern, path):
                return self._default(request, name)
        return whole(404, "404 page not found\n", "text/plain")

    def _default(self, request, name):
        try:
            if not name.startswith("_github"):
                self._admit(request)
            return getattr(self, name)(request)
        except Refused as no:
            return no.answer
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
            # The rules take the documented shape for granted, as Go's decoder does.
            self.faults.append("malformed %s: %r" % (request.path, exc))
            return gateway("failed to parse request", "").answer

    def _admit(self, request):
        """UPSTREAM 5.1 and 15.2: the headers without which nothing goes."""
        given, editor = request.header("authorization"), request.header("editor-version")
        if not given:
            raise Refused(400, "bad request: missing Authorization header\n")
        if not editor:
            raise Refused(400, "bad request: missing Editor-Version header for IDE auth\n")
        if not re.fullmatch(r"(vscode|Neovim|Zed)/\S+", editor):
            raise Refused(400, "bad request: unknown Editor-Version header for IDE auth\n")
        if given[:7] != "Bearer " or given[7:] not in self.tokens:
            raise Refused(401, "unauthorized: token expired\n")
        if request.method == "POST" and request.header(
                "content-type") != "application/json":
            self.faults.append("%s without content-type JSON" % request.path)

    def _github_code(self, request):
        self._code = "dev-%s" % self.fresh()
        return whole(200, {
            "device_code": self._code, "user_code": "WDJB-MJHT", "expires_in": 900,
            "verification_uri": self.url + "/login/device", "interval": self.interval})

    def _github_poll(self, request):
        asked = request.json
        if asked.get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code":
            said = "unsupported_grant_type"
        elif asked.get("device_code") != self._code:
            said = "incorrect_device_code"
        else:
            said = self.device.pop(0) if self.device else "ghu_device"
        if said == "ghu_device":
            self.github_tokens.add(said)
            said = {"access_token": said, "token_type": "bearer", "scope": ""}
        elif isinstance(said, str):
            said = {"error": said, "error_description": "The " + said.replace("_", " ")}
        return whole(200, said)

    def _github_admit(self, request):
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or token not in self.github_tokens:
            raise Refused(401, {"message": "Bad credentials", "status": "401"},
                          "application/json")
        if not re.match("(GitHubCopilot|GithubCopilot|vscode)",
                        request.header("user-agent") or ""):
            raise Refused(403, {"message": "Resource not accessible by integration",
                                "error_details": {"notification_id": "go_http_client",
                                                  "message": "Upgrade your client."}},
                          "application/json")

    def _github_token(self, request):
        self._github_admit(request)
        now = int(time.time())
        token = "tid=fake%d;exp=%d;sku=plus_monthly_subscriber_quota;chat=1:mac" % (
            len(self.mints), now + 1800)
        self.mints.append(token)
        self.tokens.add(token)
        return whole(200, {
            "token": token, "expires_at": now + 1800, "refresh_in": 1500,
            "sku": "plus_monthly_subscriber_quota", "individual": True,
            "endpoints": {"api": self.url, "proxy": self.url, "telemetry": self.url},
            "limited_user_quotas": None, "user_notification": None, **self.token_fields})

    def _github_user(self, request):
        self._github_admit(request)
        return whole(200, {**USER, "endpoints": {"api": self.url}})

    def _catalogue(self, request):
        return whole(200, {"object": "list", "data": self.models})

    def _one_model(self, request):
        return whole(200, self._entry(request.path.split("/")[2]))

    def _policy(self, request):
        entry = next(e for e in self.models if e["id"] == request.path.split("/")[2])
        entry["policy"]["state"] = "enabled"
        return whole(200, {})

    def _ping(self, request):
        return whole(200, {})

    def _entry(self, name, path=""):
        for entry in self.models:
            names = [entry["id"]] + ([str(entry["id"]).replace(".", "-")] if path.startswith(
                MESSAGES) else [])
            if name in names and (entry.get("policy") or {}).get("state") != "disabled":
                return entry
        raise gateway("The requested model is not supported.", "model_not_supported",
                      param="model", type="invalid_request_error")

    # -- inference -----------------------------------------------------------------

    def _embeddings(self, request):
        body = request.json
        if self._entry(body["model"])["capabilities"]["type"] != "embeddings" or not \
                isinstance(body.get("input"), list):
            raise gateway("input must be an array of strings")
        return whole(200, {"data": [
            {"embedding": [0.25] * body.get("dimensions", 4), "index": at}
            for at in range(len(body["input"]))], "usage": {
                "prompt_tokens": 1, "total_tokens": 1}})

    def _completion(self, request):
        text = self.decide(request.json)[0]
        return 200, SSE, [data({"id": "cmpl-1", "choices": [
            {"text": piece, "index": 0, "finish_reason": None}]}) for piece in thirds(
                text)] + [data({"id": "cmpl-1", "choices": [
                    {"text": "", "index": 0, "finish_reason": "stop"}]}),
                    b"data: [DONE]\n\n"]

    def _count_tokens(self, request):
        self._betas(request)
        entry = self._entry(request.json.get("model"), MESSAGES)
        if entry["capabilities"]["type"] == "embeddings":
            raise self._wrong_endpoint(entry, request.path)
        return whole(200, {"input_tokens": max(1, self.weigh(request.json))})

    def weigh(self, body):
        """The prompt's tokens."""
        return int(sum(weigh(part) for part, _ in prompt_parts(body)))

    def _wrong_endpoint(self, entry, path):
        return gateway('model "%s" is not accessible via the %s endpoint' % (
            entry["id"], path), "unsupported_api_for_model")

    def _betas(self, request):
        given = [b.strip() for b in (request.header("anthropic-beta") or "").split(",")]
        unknown = [b for b in given if b and not KNOWN_BETA.fullmatch(b)]
        if unknown:
            raise gateway("unsupported beta header(s): " + ", ".join(unknown))
        return given

    def refuse(self, request, entry):
        """Everything that the real service refuses before the model sees it."""
        body, path, betas = request.json, request.path, self._betas(request)
        vision = request.header("copilot-vision-request")
        if has_image(body) and vision != "true":
            raise gateway("missing required Copilot-Vision-Request header for vision "
                          "requests", "")
        if vision and not re.search(rb'"(image|image_url|input_image|document)"',
                                    request.body):
            self.faults.append("Copilot-Vision-Request without an image")
        refuse_body(path, body, entry, betas)
        self._refuse_secrets(body, entry)
        tokens, most = self.weigh(body), entry["capabilities"]["limits"][
            "max_prompt_tokens"]
        if tokens > most:
            raise OVERFLOW[path](tokens, most)

    def _refuse_secrets(self, body, entry):
        for path, obj in walk(body.get("messages")):
            if obj.get("type") == "thinking" and obj["signature"] not in self._signed:
                raise backend("%s: Invalid `signature` in `thinking` block" % path)
            calls = [c["id"] for c in obj.get("tool_calls") or []]
            if entry["vendor"] == "Google" and calls and self._opaque.get(
                    calls[0], obj.get("reasoning_opaque")) != obj.get("reasoning_opaque"):
                raise gateway("function call is missing its reasoning_opaque")

    def _infer(self, request):
        body, path = request.json, request.path
        if not isinstance(body, dict) or not request.body.startswith(b"{"):
            raise gateway("failed to parse request", "")
        entry = self._entry(body.get("model"), path)
        if path not in (entry.get("supported_endpoints") or [CHAT]) or entry[
                "capabilities"]["type"] != "chat":
            raise self._wrong_endpoint(entry, path)
        self.refuse(request, entry)
        reply = self._reply(path, body, entry)
        bill = self.billed[entry["id"]]
        for key, value in (("requests", 1), ("tokens", reply.use.prompt + reply.use.output),
                           ("nano", reply.cost["total_nano_aiu"])):
            bill[key] += value
        more = () if path in (MESSAGES, CHAT) else (body, self.fresh)
        if not body.get("stream"):
            return whole(200, {"copilot_usage": reply.cost, **WHOLE[path](reply, *more)})
        events = STREAM[path](reply, *more)
        if self.cut:
            raw = b"".join(events)
            events = [raw[at:at + self.cut] for at in range(0, len(raw), self.cut)]
        pauses = ([event, self.pause] for event in events)
        return 200, SSE, sum(pauses, []) if self.pause else events

    def _reply(self, path, body, entry):
        text, calls, searched = self.decide(body)
        thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive") or \
            body.get("reasoning") or (entry["vendor"] == "Google" and calls)
        prefix = {MESSAGES: "toolu_", RESPONSES: "call_"}.get(
            path, "tooluse_" if entry["vendor"] == "Anthropic" else "call_")
        made = []
        for call in calls:
            self._number += 1
            made.append((prefix + "%06d" % self._number, call["name"],
                         json.dumps(call["input"], ensure_ascii=False)))
        signature = "Eq" + self.fresh() if thinks else ""
        self._signed.add(signature)
        self._opaque.update({call: signature for call, _, _ in made if signature})
        most = body.get("max_tokens") or body.get("max_output_tokens") or body.get(
            "max_completion_tokens") or 1 << 30
        cut = len(text) > 4 * most
        text = text[:4 * most]
        output = 1 + (len(text) + sum(len(raw) for _, _, raw in made)) // 4
        use = self._use(body, entry, output)
        haiku = "I thought." if thinks and "haiku" in entry["id"] else ""
        return Reply("msg_%06d" % len(self.requests), entry["id"], text, made, use,
                     _cost(entry, use), signature, haiku, cut, searched)

    def _use(self, body, entry, output):
        """Tokens with a prompt cache: Claude's follows the marks, the others' is silent."""
        seen, total, key, read, keep, fresh = self._cached[entry["id"]], 0.0, 0, 0, 0, {}
        claude = entry["vendor"] == "Anthropic"
        for part, marked in prompt_parts(body):
            total += weigh(part)
            key = hash((key, json.dumps(part, sort_keys=True)))
            fresh[key] = int(total)
            read = seen.get(key, read)
            keep = int(total) if marked or not claude else keep
        seen.update({k: tokens for k, tokens in fresh.items() if tokens <= keep})
        write = max(0, keep - read) if claude else 0
        return Use(max(1, int(total)) - read - write, output, read, write)

    def decide(self, body):
        """The rule of shared/e2e/README.md: (text, calls, web search query)."""
        said = heard(body)
        marks = [(at, found) for at, (role, text) in enumerate(said) if role == "user"
                 for found in MARKER.findall(text)]
        tools = [t.get("function") or t for t in body.get("tools") or []]
        names = {tool.get("name") for tool in tools}
        if not marks:
            web = any(t.get("type", "").startswith("web_search") for t in tools)
            text, calls = self.plain(said, names)
            return _as_schema(body, text), calls, said[-1][1][-80:] if web else ""
        at, spec = marks[-1][0], json.loads(base64.b64decode(marks[-1][1]))
        fails, used = spec.get("fail", []), self._failed[spec["id"]]
        if used < len(fails):
            self._failed[spec["id"]] += 1
            raise Refused(fails[used]["status"], fails[used].get("body", ""),
                          "application/json", **fails[used].get("headers", {}))
        answered = any(role == "result" for role, _ in said[at:])
        if spec["calls"] and not answered and names >= {c["name"] for c in spec["calls"]}:
            return "", spec["calls"], ""
        return _as_schema(body, spec["final"]), [], ""

    def plain(self, said, names):
        """(text, calls) for a prompt without a marker; the try-out mode says more."""
        return "ok", []


async def _first_byte(reader):
    try:
        return await reader.read(1)
    except ConnectionError:
        return b""


async def _end_badly(writer, piece):
    await writer.drain()
    if piece == RESET:
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return False


def _as_schema(body, text):
    """`text`, or an object of the JSON schema that the client asked for."""
    asked = [(body.get(key) or {}).get(inner) or {} for key, inner in (
        ("output_config", "format"), ("response_format", "json_schema"),
        ("text", "format"))]
    for schema in (one["schema"] for one in asked if one.get("schema")):
        return json.dumps({name: text for name in schema.get("properties", {})})
    return text


def _cost(entry, use):
    prices = entry["billing"]["token_prices"]["default"]
    kinds = (("input", "input_price"), ("output", "output_price"),
             ("cache_read", "cache_price"), ("cache_write", "cache_write_price"))
    details = [{"token_type": kind, "token_count": number, "batch_size": 1000000,
                "cost_per_batch": prices[price] * 10 ** 9}
               for (kind, price), number in zip(kinds, use)]
    return {"token_details": details, "total_nano_aiu": sum(
        one["token_count"] * one["cost_per_batch"] // 1000000 for one in details)}


def prompt_parts(body):
    """(part, carries a cache mark) in the order in which a prompt cache reads them."""
    for tool in body.get("tools") or []:
        yield tool, False
    for block in blocks(body.get("system") or body.get("instructions")):
        yield from _unmarked(block)
    for item in blocks(body.get("input")) + (body.get("messages") or []):
        inner = item.get("content")
        if "copilot_cache_control" in item or not isinstance(inner, list):
            yield from _unmarked(item)
            continue
        for block in inner:
            yield from _unmarked({"role": item.get("role"), **block})


def _unmarked(part):
    marks = ("cache_control", "copilot_cache_control")
    yield ({key: value for key, value in part.items() if key not in marks},
           any(part.get(mark) for mark in marks))


WHOLE = {MESSAGES: messages_reply, CHAT: chat_reply, RESPONSES: responses_reply}
STREAM = {MESSAGES: messages_stream, CHAT: chat_stream, RESPONSES: responses_stream}
OVERFLOW = {  # UPSTREAM 15.2
    MESSAGES: lambda n, most: backend("prompt is too long: %d tokens > %d maximum" % (
        n, most), code="model_max_prompt_tokens_exceeded"),
    CHAT: lambda n, most: gateway("prompt token count of %d exceeds the limit of %d" % (
        n, most), "model_max_prompt_tokens_exceeded"),
    RESPONSES: lambda n, most: gateway(
        "Your input exceeds the context window of this model. Please adjust your input "
        "and try again.")}
ROUTES = (
    ("POST", "/login/device/code", "_github_code"),
    ("POST", "/login/oauth/access_token", "_github_poll"),
    ("GET", "/copilot_internal/v2/token", "_github_token"),
    ("GET", "/copilot_internal/user", "_github_user"),
    ("GET", "/models", "_catalogue"), ("GET", "/models/[^/]+", "_one_model"),
    ("POST", "/models/[^/]+/policy", "_policy"), ("GET", "/_ping", "_ping"),
    ("POST", "/embeddings", "_embeddings"),
    ("POST", "/v1/engines/[^/]+/completions", "_completion"),
    ("POST", "/v1/messages/count_tokens", "_count_tokens"),
    ("POST", "/v1/messages|/chat/completions|/responses", "_infer"),
)


# ============================================================================
# The program whole
# ============================================================================


class Proxy:
    """The product in this process, on a free port, in front of a FakeUpstream."""

    def __init__(self, up, **settings):
        self._folder = tempfile.mkdtemp(prefix="proxy-test-")
        self.token_file = os.path.join(self._folder, "tokens.json")
        self._settings = {
            "github_url": up.url, "github_api_url": up.url, "github_token": "ghu_test",
            "port": 0, "token_file": self.token_file, "rate_limit_default": 0,
            "rate_limit_chat_completions": 0, **settings}

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
# DESIGN's rules, read off the syntax tree: what a reviewer would otherwise have to
# look for by eye.

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = pathlib.Path(cp.__file__).read_text("utf-8")
TREE = ast.parse(SOURCE)
LINES = SOURCE.splitlines()
BANNER = re.compile(r"^# =+\n# (\d+)\. (.+)\n# =+$", re.MULTILINE)
MAX_PRODUCT_LINES, MAX_TEST_LINES = 4600, 5600


def rooms(text):
    """[(number, title, first line, last line)] of a file's banners."""
    found = [(int(m[1]), m[2], text.count("\n", 0, m.start()) + 1)
             for m in BANNER.finditer(text)]
    ends = [start - 1 for _, _, start in found[1:]] + [text.count("\n") + 1]
    return [(n, title, start, end) for (n, title, start), end in zip(found, ends)]


ROOMS = rooms(SOURCE)
FUNCTIONS = [n for n in ast.walk(TREE) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def room_of(line):
    return max((n for n, _, start, _ in ROOMS if start <= line), default=0)


def body_lines(node):
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return body[-1].end_lineno - body[0].lineno + 1


def test_house_size():
    assert len(LINES) <= MAX_PRODUCT_LINES
    assert pathlib.Path(__file__).read_text("utf-8").count("\n") <= MAX_TEST_LINES
    assert [line for line in LINES if len(line) > 88 and "http" not in line] == []


def test_house_map_is_the_banners_and_the_tests_mirror_them():
    doc = re.findall(r"^ +(\d+)  (.+?)(?:  .*)?$", ast.get_docstring(TREE), re.MULTILINE)
    assert [(int(n), title) for n, title in doc] == [(n, title) for n, title, *_ in ROOMS]
    mirror = dict((n, t) for n, t, *_ in rooms(pathlib.Path(__file__).read_text("utf-8")))
    for number, title, *_ in ROOMS[1:]:
        assert mirror.get(number) == title, (number, title)


def test_house_functions_are_short():
    sizes = sorted(body_lines(f) for f in FUNCTIONS)
    assert sizes[len(sizes) // 2] <= 8 and sizes[int(len(sizes) * 0.95)] <= 35
    assert [(f.name, body_lines(f)) for f in FUNCTIONS if body_lines(f) > 60] == []


BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.BoolOp, ast.ExceptHandler)


def test_house_functions_are_simple():
    for f in FUNCTIONS:
        branches = sum(isinstance(n, BRANCHES) for n in ast.walk(f)) + sum(
            len(n.ifs) for n in ast.walk(f) if isinstance(n, ast.comprehension))
        assert branches <= 15, (f.name, branches)
        args = f.args.posonlyargs + f.args.args + f.args.kwonlyargs
        assert len([a for a in args if a.arg not in ("self", "cls")]) <= 7, f.name
        inner = [n for n in ast.walk(f) if n is not f and isinstance(
            n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        assert all(body_lines(n) <= 6 for n in inner), f.name
        for a in args:
            assert a.annotation is not None or a.arg in ("self", "cls"), (f.name, a.arg)
        assert f.returns is not None, f.name


def nesting(node, depth=0):
    deeper = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)
    here = []
    for name in ("body", "orelse", "finalbody", "handlers"):
        for child in getattr(node, name, []) or []:
            elif_ = name == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If)
            step = isinstance(child, deeper) and not elif_
            here.append(nesting(child, depth + step))
    return max(here, default=depth)


def test_house_nesting():
    assert [(f.name, nesting(f)) for f in FUNCTIONS if nesting(f) > 4] == []


def defined(node):
    """The names that a top-level statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def test_house_rooms_use_only_rooms_above():
    home = {name: room_of(node.lineno) for node in TREE.body for name in defined(node)}
    for node in TREE.body:
        here = room_of(node.lineno)
        for used in ast.walk(node):
            if isinstance(used, ast.Name) and home.get(used.id, 0) > here:
                raise AssertionError("room %d uses %s of room %d (line %d)" % (
                    here, used.id, home[used.id], used.lineno))


def test_house_charters_tell_what_a_room_uses():
    home = {name: room_of(node.lineno) for node in TREE.body for name in defined(node)}
    for number, title, start, end in ROOMS[1:]:
        used = {home[n.id] for node in TREE.body if start <= node.lineno <= end
                for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in home}
        charter = "\n".join(LINES[start + 2:start + 14])
        told = re.search(r"[uU]ses: *([\d, -]+)", charter)
        assert told, "room %d tells no uses" % number
        numbers = set()
        for part in re.findall(r"\d+-\d+|\d+", told.group(1)):
            low, _, high = part.partition("-")
            numbers |= set(range(int(low), int(high or low) + 1))
        assert used - {0, number} <= numbers, (number, title, sorted(used - {0, number}))


IMPURE = {"asyncio", "os", "socket", "ssl", "time", "random", "secrets", "tempfile",
          "signal", "shutil", "sys", "subprocess", "open", "print"}


def test_house_waterline():
    surface = next(i for i, line in enumerate(LINES, 1) if line.startswith("# ~~~") and i > 90)
    assert room_of(surface - 3) == 13 and room_of(surface + 4) == 14
    for node in ast.walk(TREE):
        line = getattr(node, "lineno", surface)
        if line >= surface or room_of(line) in (0, 3):  # 3 formats the time of a record
            continue
        assert not isinstance(node, (ast.Await, ast.AsyncFunctionDef)), line
        if isinstance(node, ast.Name):
            assert node.id not in IMPURE, (node.id, line)


def test_house_two_broad_excepts_no_leftovers():
    broad = [n.lineno for n in ast.walk(TREE) if isinstance(n, ast.ExceptHandler) and (
        n.type is None or getattr(n.type, "id", "") in ("Exception", "BaseException"))]
    assert len(broad) <= 2, broad
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", SOURCE)
    prints = [n.lineno for n in ast.walk(TREE) if isinstance(n, ast.Call)
              and getattr(n.func, "id", "") == "print" and room_of(n.lineno) != 20]
    assert prints == []


def test_house_no_changing_globals_and_no_silent_drop():
    assert not [n for n in ast.walk(TREE) if isinstance(n, ast.Global)]
    for node in TREE.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            for name in defined(node):  # a constant, or a NamedTuple-like value
                assert name == name.upper() or name.startswith("_") or name.islower(), name
    for number, _, start, end in ROOMS:
        if number in (9, 10, 11, 12):  # a translator never skips what it does not know
            text = "\n".join(LINES[start - 1:end])
            assert not re.search(r"else:\s*(#[^\n]*\n\s*)*continue", text), number


@pytest.mark.skipif(not hasattr(sys, "stdlib_module_names"), reason="needs Python 3.10")
def test_house_standard_library_only():
    for node in ast.walk(TREE):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [node.module] if isinstance(node, ast.ImportFrom) else [])
        assert all(n.split(".")[0] in sys.stdlib_module_names for n in names), names


def test_house_imports_are_used():
    imported = [a.asname or a.name for n in TREE.body for a in getattr(n, "names", [])
                if isinstance(n, (ast.Import, ast.ImportFrom)) and getattr(n, "module", "") != "__future__"]
    for name in imported:
        assert re.search(r"\b%s\b" % re.escape(name.split(".")[0]), SOURCE.split("__version__", 1)[1]), name


def test_house_why_comments():
    comments = [l for l in LINES if re.match(r"\s*#(?! [=~])", l)]
    assert 0.04 <= len(comments) / len(LINES) <= 0.2
    public = [n for n in TREE.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef,
              ast.ClassDef)) and not n.name.startswith("_")]
    assert [n.name for n in public if not ast.get_docstring(n)] == []


# -- documents that cannot drift ---------------------------------------------

def document(name):
    path = os.path.join(HERE, name)
    if not os.path.exists(path):
        pytest.skip("%s is not beside the test" % name)
    return pathlib.Path(path).read_text("utf-8")


def test_docs_settings():
    readme, example = document("README.md"), document(".env.example")
    for setting in cp.SETTINGS:
        assert "`%s`" % setting.name in readme, setting.name
        assert re.search(r"^#? ?%s=" % setting.name, example, re.MULTILINE), setting.name
    named = set(re.findall(r"^#? ?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    assert named == {s.name for s in cp.SETTINGS}
    cp.Config.from_env(cp.parse_dotenv(example))  # as it stands it starts
    live = re.sub(r"^# ?(?=[A-Z_]+=)", "", example, flags=re.MULTILINE)
    told = cp.Config.from_env(cp.parse_dotenv(live))  # the shown values are the defaults
    default = cp.Config()
    for s in cp.SETTINGS:
        assert getattr(told, s.name.lower()) == getattr(default, s.name.lower()), s.name


def test_docs_routes_and_verbs():
    readme = document("README.md")
    for route in cp.ROUTES:
        assert "`%s %s`" % (route.method, route.path) in readme, route
    for verb in cp.VERBS:
        assert "`%s`" % verb in readme or "copilot_proxy.py %s" % verb in readme, verb
    assert len(readme.splitlines()) <= 330


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
    ("quotes", "A='x # y'\nB=\"p\\nq \\\"r\\\"\"\n", {"A": "x # y", "B": 'p\nq "r"'}),
    ("comments", "# A=1\nA=b # c\nB=a#b\n", {"A": "b", "B": "a#b"}),
    ("empty and junk", "A=\njunk\n=x\n1A=2\n", {"A": ""}),
    ("last wins", "A=1\nA=2", {"A": "2"}),
    ("spaces", "  A = 1  ", {"A": "1"}),
]


@pytest.mark.parametrize("name, text, expected", DOTENV_CASES)
def test_config_dotenv(name, text, expected):
    assert cp.parse_dotenv(text) == expected


BAD_SETTINGS = [
    ("PORT", "x", "a whole number from 0 to 65535"), ("PORT", "65536", "65535"),
    ("PORT", "1_0", "whole"), ("PORT", "٣", "whole"), ("PORT", "8.5", "whole"),
    ("LOG_LEVEL", "loud", "error or warn or info or debug"), ("WEB_SEARCH", "maybe", "on or off"),
    ("IDLE_TIMEOUT", "inf", "a number"), ("IDLE_TIMEOUT", "nan", "a number"),
    ("GITHUB_URL", "github.com", "https://host"), ("COPILOT_API_URL", "https://x/?a", "https://host"),
    ("API_KEY", "a\nb", "control"), ("MAX_BODY_MB", "0", "from 1"), ("CREDIT_BUDGET", "-1", "a number"),
]


@pytest.mark.parametrize("name, raw, allowed", BAD_SETTINGS)
def test_config_bad_value_is_one_clear_line(name, raw, allowed):
    with pytest.raises(cp.ConfigError) as caught:
        cp.Config.from_env({name: raw})
    text = str(caught.value)
    assert text.startswith(name + "=") and allowed in text and "\n" not in text
    assert (raw in text) is (name not in cp.SECRET_SETTINGS and raw.isascii()) or "\n" in raw


def test_config_defaults_tenant_and_secrets():
    config = cp.Config.from_env({"GITHUB_TOKEN": "ghu_secret", "https_proxy": "http://u:pw@h:1",
                                 "API_KEY": "", "UNKNOWN": "1", "PORT": " 0 "})
    assert (config.port, config.host, config.https_proxy) == (0, "127.0.0.1", "http://u:pw@h:1")
    assert config.github_api_url == "https://api.github.com"
    assert "ghu_secret" not in repr(config) and "pw" not in repr(config)
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
    ("anthropic", 400, shape({"type": "error", "error": {"type": "invalid_request_error", "message": "m \u003e"}}), 400, "m >"),
    ("github", 404, shape({"message": "Not Found", "status": "404"}), 404, "Not Found"),
    ("text", 401, b"unauthorized: token expired\n", 401, "unauthorized: token expired"),
    ("empty", 499, b"", 499, "answered 499"),
    ("html", 502, b"<html><title>Unicorn!</title>x</html>", 502, "a web page: Unicorn!"),
    ("filter", 422, b'{"error":{"code":"cyber_policy","message":"blocked"}}', 400, "blocked"),
    ("code only", 429, b'{"error":{"code":"user_weekly_rate_limited:edu"}}', 429, "weekly"),
    ("string error", 500, b'{"error":"broken"}', 500, "broken"),
    ("not a dict", 500, b"[1]", 500, "[1]"), ("deep", 500, b"[" * 5000, 500, "["),
    ("466", 466, b"", 466, "COPILOT_EDITOR_VERSION"), ("odd status", 302, b"moved", 502, "moved"),
    ("bad utf-8", 500, b"\xff\xfe", 500, "\ufffd"),
]


@pytest.mark.parametrize("name, status, body, expected, text", UPSTREAM_ERRORS)
def test_errors_upstream_shapes(name, status, body, expected, text):
    exc = cp.upstream_error(status, {"retry-after": "7"}, body)
    assert exc.status == expected and text in str(exc) and exc.retry_after == "7"
    assert len(str(exc)) < cp.MAX_MESSAGE + 300


OVERFLOWS = [
    (b'{"error":{"message":"prompt token count of 13613 exceeds the limit of 12288","code":"model_max_prompt_tokens_exceeded"}}', (13613, 12288)),
    (b'{"type":"error","error":{"type":"invalid_request_error","code":"model_max_prompt_tokens_exceeded","message":"prompt is too long: 1001284 tokens \\u003e 1000000 maximum"}}', (1001284, 1000000)),
    (b'{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","code":"invalid_request_body"}}', (0, 0)),
]


@pytest.mark.parametrize("body, numbers", OVERFLOWS)
def test_errors_context_overflow(body, numbers):
    exc = cp.upstream_error(400, {}, body)
    assert isinstance(exc, cp.ContextOverflow) and (exc.tokens, exc.maximum) == numbers
    assert str(exc) == "prompt is too long: %d tokens > %d maximum" % numbers
    assert cp.openai_error(exc)["error"]["code"] == "context_length_exceeded"


def test_errors_total_and_both_spellings():
    for status in range(400, 600):
        exc = cp.upstream_error(status, {}, b"")
        for body in (cp.anthropic_error(exc)["error"], cp.openai_error(exc)["error"]):
            assert body["message"] == str(exc) and body["type"]
    exc = cp.BadRequest("x", code="c")
    assert cp.anthropic_error(exc) == {"type": "error", "error": {"type": "invalid_request_error", "message": "x"}}
    assert cp.openai_error(exc)["error"]["code"] == "c"


def test_errors_every_advice_can_be_reached():
    for row in cp.ADVICE:
        status = row.status or 400
        assert row in [cp.advice_for(status, row.mark, ""), cp.advice_for(status, "", row.mark)]
    assert cp.advice_for(403, "", "API rate limit exceeded").should_retry is True


def test_errors_inside_a_stream():
    exc = cp.error_in_stream({"error": {"code": "user_model_rate_limited", "message": "Sorry"}})
    assert exc.status == 429 and "another model" in str(exc)
    assert cp.error_in_stream({"error": {"message": "boom"}}).status == 502


# ============================================================================
# 3. Logging
# ============================================================================

SECRETS = ["gho_abcDEF123", "ghu_x1", "ghp_y2", "github_pat_11AA_bb", "tid=0f3c;exp=1;sku=x:9a1b",
           "Bearer s3cr3t.value", "http://user:hunter2@proxy:1"]


@pytest.mark.parametrize("secret", SECRETS)
def test_logging_redacts(secret):
    told = cp.redact('before "%s" after' % secret)
    assert secret not in told and "hunter2" not in told and "***" in told
    assert told.startswith("before") and told.endswith("after")


def test_logging_one_line_of_ascii_whatever_the_fields(capsys):
    stream = io.StringIO()
    cp.configure_logging("info", stream)
    cp.log_event("info", "e", a="x\ny\x1b[31m\ud800é", b=object)
    cp.log_line("warn", "line", "a\nb\x1b é ghu_tok")
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


# ============================================================================
# 4. JSON
# ============================================================================

BAD_BODIES = [
    (b"", "not JSON"), (b"{", "not JSON"), (b"[]", "object"), (b"\xff{}", "UTF-8: byte 0"),
    (b'{"a":NaN}', "NaN"), (b'{"a":-Infinity}', "Infinity"), (b'{"a":1}x', "not JSON"),
    (b'{"a":' + b"[" * 200000 + b"]" * 200000 + b"}", "not JSON"), (b"null", "object"),
]


@pytest.mark.parametrize("raw, text", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_json_bad_body(raw, text):
    with pytest.raises(cp.BadRequest) as caught:
        cp.loads_object(raw)
    assert text in str(caught.value)


def test_json_encoding_cannot_fail():
    for obj in ({"a": "é\u2028"}, {"a": "\ud800"}, ["\udfff", 1e308, None, True, "\x00"]):
        assert json.loads(cp.dumps(obj)) == obj
    assert cp.dumps({"a": "é"}) == '{"a":"é"}'.encode()
    assert cp.dumps({"a": "\ud800"}) == b'{"a":"\\ud800"}'


GETTERS = [
    (cp.field, {"a": "x"}, ("a", str, "m.3"), "x"), (cp.field, {}, ("a", str, "m"), None),
    (cp.field, {"a": None}, ("a", list, "m", []), []), (cp.field, {"a": 1}, ("a", str, "m.3"), "m.3.a: expected a string"),
    (cp.field, {"a": True}, ("a", int), "a: expected a whole number"), (cp.field, {"a": 1}, ("a", float), 1),
    (cp.field, {"a": 1}, ("a", bool), "a: expected true or false"), (cp.required, {}, ("a", dict, "m"), "m.a: required"),
    (cp.required, {"a": {}}, ("a", dict, "m"), {}), (cp.field, {"a": 1.5}, ("a", int), "a: expected a whole number"),
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

def sse_decode(pieces, **options):
    decoder = cp.SSEDecoder(**options)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


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
    ("mixed ends", b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [
        ("", b"a"), ("", b"b"), ("", b"c")]),
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
    ("u2028 and nel are text", "data: a\u2028b\x85\x0b\x0c\n\n".encode(), [
        ("", "a\u2028b\x85\x0b\x0c".encode())]),
    ("invalid utf-8 stays", b"data: \xff\xc3\n\n", [("", b"\xff\xc3")]),
    ("invalid name", b"event: \xff\ndata: a\n\n", [("\ufffd", b"a")]),
    ("nul", b"data: a\x00b\n\n", [("", b"a\x00b")]),
    ("no blank line at the end", b"data: a\n\ndata: b\n", [("", b"a"), ("", b"b")]),
    ("no line end at the end", b"event: x\ndata: b", [("x", b"b")]),
    ("cr at the end", b"data: a\r", [("", b"a")]),
    ("done", cp.SSE_COMMENT + cp.SSE_PING + cp.SSE_DONE, [
        ("ping", b'{"type":"ping"}'), ("", b"[DONE]")]),
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
        for pieces in cuts(raw, seed=dice.random()):
            assert sse_decode(pieces) == expected


def test_sse_short_cut_and_line_route_agree():
    dice = random.Random(17)
    words = [b"data: ", b"data:", b"data", b"event: ", b"event:", b"x", b"{}", b" ", b":",
             b"\n", b"id: 1", b"\xff", b": "]
    for _ in range(5000):
        block = b"".join(dice.choices(words, k=dice.randrange(9)))
        assert cp._parse_block(block) == cp._parse_lines(block), block


def test_sse_pending_tells_an_unfinished_event():
    decoder = cp.SSEDecoder()
    states = []
    for piece in (b"", b"d", b"ata: a\n", b"\n", b"\n", b"\r\n\r", b"\n", b": c\r"):
        decoder.feed(piece)
        states.append(decoder.pending)
    assert states == [False, True, True, False, False, False, False, True]


def test_sse_event_is_whole_at_its_carriage_return():
    decoder = cp.SSEDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [("", b"a")]
    assert decoder.feed(b"\ndata: b\n\n") == [("", b"b")]


@pytest.mark.parametrize("raw, fits", [
    (b"data: 123\n\n" * 3, True), (b"data: 12345\n\n", False),
    (b"data: 1\n\ndata: 12345\n\n\n", False), (b": 1234567890", False)])
def test_sse_limit_under_every_cut(raw, fits):
    for pieces in cuts(raw):
        if fits:
            assert len(sse_decode(pieces, limit=10)) == 3
        else:
            with pytest.raises(cp.UpstreamError):
                sse_decode(pieces, limit=10)


def test_sse_one_large_event_costs_linear_time():
    raw = b"data: " + b"x" * (4 << 20) + b"\n\n"
    pieces = [raw[at:at + 4096] for at in range(0, len(raw), 4096)]
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

LINE, OWN = b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n"
GET = LINE + OWN + b"\r\n"


def get(*fields):
    return LINE + OWN + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def put(field, body=b"", after=b""):
    """A request with a body; not POST, so that the guard has nothing to say."""
    return b"PUT / HTTP/1.1\r\n" + OWN + field + b"\r\n\r\n" + body + after


def chunked(body, *fields):
    return put(b"\r\n".join((b"Transfer-Encoding: chunked",) + fields), body)


def rows(topic, make, inputs, expected):
    return [("%s %s" % (topic, ascii(one)[2:-1][:60]), make(one), expected)
            for one in inputs]


GOOD_LINES = [
    b"GET / HTTP/1.1", b"GET /?a=b HTTP/1.1", b"GET /a%20b/%C3%BC HTTP/1.1",
    b"get / HTTP/1.1", b"M-SEARCH / HTTP/1.1", b"!#$%&'*+-.^_`|~09 / HTTP/1.1",
    b"GET /{|}[]^`\\ HTTP/1.1", b"GET // HTTP/1.1", b"GET /a//b/../c HTTP/1.1",
    b"GET http://localhost/ HTTP/1.1", b"GET HTTP://LOCALHOST/x?y HTTP/1.1",
    b"GET http://localhost HTTP/1.1", b"GET http://localhost?x=/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"OPTIONS / HTTP/1.1", b"GET / HTTP/1.2", b"GET / HTTP/1.9",
    b"GET /" + b"a" * 8000 + b" HTTP/1.1", b"GET /:@!$&'()*+,;=-._~ HTTP/1.1",
    b"GET /?http://a.b/c?d HTTP/1.1", b"GET /?a=%zz HTTP/1.1"]
BAD_LINES = [
    b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/1.10", b"GET / HTTP/1", b"GET /",
    b"GET / HTTP/1.1 ", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET\t/\tHTTP/1.1",
    b" GET / HTTP/1.1", b"GET / http/1.1", b"GET / HTTP/11", b"GET / HTTP/1,1",
    b"GET / HTTP/+1.1", b"GET / HTTP/1.1\x00", b"GET /\x00 HTTP/1.1",
    b"GET / HTTPS/1.1", b"GET /a b HTTP/1.1", b"GET /\xc3\xbc HTTP/1.1",
    b"GET /\x7f HTTP/1.1", b"HTTP/1.1", b"GET /# HTTP/1.1", b"GET /<x> HTTP/1.1",
    b'GET /"x" HTTP/1.1', b"GET HTTP/1.1", b"G\xcbT / HTTP/1.1", b"G[T / HTTP/1.1",
    b"G(T) / HTTP/1.1", b"GET x HTTP/1.1", b"GET ?x HTTP/1.1", b"GET * HTTP/1.1",
    b"OPTIONS ** HTTP/1.1", b"GET:/ HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1",
    b"GET https://localhost/ HTTP/1.1", b"GET http://a@localhost/ HTTP/1.1",
    b"GET http://[/ HTTP/1.1", b"\x16\x03\x01\x02", b"GET /%zz HTTP/1.1",
    b"GET /%1 HTTP/1.1", b"GET /% HTTP/1.1", b"GET /%00 HTTP/1.1",
    b"GET /%0d%0a HTTP/1.1", b"GET /%7f HTTP/1.1", b"GET /%1b[0m HTTP/1.1",
    b"GET /%ff HTTP/1.1", b"GET /%c0%af HTTP/1.1", b"GET /%ed%a0%80 HTTP/1.1",
    b"GET /%e2%80%a8 HTTP/1.1", b"GET /%c2%85 HTTP/1.1", b"GET / HTTP/1.1\r",
    b"PRI * HTTP/2.0", b"GET / HTTP/1.1\x0b", b"GET\x0b/ HTTP/1.1", b"\x00", b"{}",
    b"GET / HTTP/\xb9.1", b"GET / HTTP/1.1; x", b"Host: localhost", b"\rGET / HTTP/1.1"]
GOOD_FIELDS = [
    b"A:b", b"A: b", b"A:  b\t ", b"A:", b"A: ", b"A: \xfc\xff",
    b"a!#$%&'*+-.^_`|~9: b", b"A: b:c", b"A: \"q\\\"\"", b"A: b\r\nA: c", b"A: b\tc",
    b"Connection: keep-alive", b"Content-Length: 0", b"Connection: , ,x",
    b"Upgrade: h2c\r\nConnection: upgrade", b"TE: trailers",
    b"Content-Length: 0000000000000000000", b"Expect: 100-continue"]
BAD_FIELDS = [
    b"A : b", b"A\t: b", b"A", b": b", b":", b" A: b", b"\tA: b", b"A: b\r\n c",
    b"A: b\r\n\tc", b"A: b\r\n \r\nB: c", b"A\x00: b", b"A: b\x00c", b"A: \x00",
    b"A: \x01", b"A: \x0b", b"A: \x0c", b"A: \x1f", b"A: \x7f", b"A: b\rc", b"A: b\r",
    b"A: \r b", b"A: b\nB: c", b"A: b\n", b"\n", b"A[: b", b"A(b): c", b"\xc4: b",
    b"A b: c", b'"A": b', b"A\x85: b", b"A;: b", b"A/b: c", b"A\r: b", b"A@: b",
    b"A={}: b"]
BAD_HOSTS = [
    b"Host: a\r\nHost: a", b"Host: localhost\r\nHost: localhost", b"X: y", b"Host : a",
    b"Host: a b", b"Host: a, b", b"Host: a/b", b"Host: localhost:1@evil", b"Host: [::1",
    b"Host: ::1", b"Host: [x]", b"Host: a:b", b"Host: a:123456", b"Host: \xfc",
    b"Host: a?", b"Host: http://a", b"Host: a#b", b"Host: a\\b", b"Hosts: a",
    b"Host: " + b"a" * 300]
BAD_LENGTHS = [
    b"+5", b"-5", b"5_0", b"0x5", b"5 5", b"5,5", b"5, 5", b"", b"5.0", b"5e1", b"\xb2",
    b"5\x85", b"\xa05", b"five", b"1" * 20, b"0" * 20, b"5;", b'"5"',
    b"5\r\nContent-Length: 5", b"5\r\nContent-Length: 6", b"\x0b5",
    b"5\r\nTransfer-Encoding: chunked", b"-0"]
BAD_CODINGS = [
    b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"",
    b"chunked,", b",chunked", b"xchunked", b"chunked;q=1",
    b"chunked\r\nTransfer-Encoding: x", b"\x0bchunked", b"\xa0chunked", b"chunked\x85",
    b"'chunked'", b"chun\xeaed", b"chunked\r\nContent-Length: 5",
    b"identity\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: chunked",
    b"\r\n chunked"]
LAST = b"\r\n0\r\n\r\n"
GOOD_CHUNKS = [
    b"5\r\nhello" + LAST, b"05\r\nhello" + LAST, b"0" * 15 + b"5\r\nhello" + LAST,
    b"2\r\nhe\r\n3\r\nllo" + LAST, b"5;a\r\nhello" + LAST,
    b"5;a=b;c=\"d;\\\"e\"\r\nhello" + LAST, b"5 ; a = b\r\nhello" + LAST,
    b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello\r\n0;x\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA:\r\n\r\n",
    b"1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no" + LAST]
BAD_CHUNKS = [
    b"x\r\nhello" + LAST, b"\r\nhello" + LAST, b"+5\r\nhello" + LAST,
    b"-5\r\nhello" + LAST, b"0x5\r\nhello" + LAST, b"5_\r\nhello" + LAST,
    b" 5\r\nhello" + LAST, b"5 \r\nhello" + LAST, b"5\nhello" + LAST,
    b"5\rhello" + LAST, b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhelloX" + LAST, b"4\r\nhello" + LAST, b"6\r\nhello" + LAST,
    b"5;\r\nhello" + LAST, b"5;a=\r\nhello" + LAST, b"5;a\rb\r\nhello" + LAST,
    b"5;a\nhello" + LAST, b"5,5\r\nhello" + LAST, b"5;a=\"b\r\nhello" + LAST,
    b"5;\x00\r\nhello" + LAST, b"5 5\r\nhello" + LAST, b"0" * 17 + b"5\r\nhello" + LAST,
    b"5\r\nhello\r\n0\r\nA : b\r\n\r\n", b"\xb2\r\nhe" + LAST,
    b"5\r\nhello\r\n0\r\n A: b\r\n\r\n", b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\n\r\n", b"5\r\nhello\r\n0\r\nx\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n", b"5\r\nhell", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n",
    b"5", b"", b"1\r\na\r\n\r\n", b"5;" + b"a" * 1100, b"0" * 1100,
    b"1;a" + b"b" * 1023 + b"\r\nx" + LAST]
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
    ("blank lines", b"\r\n" * 4 + GET, "ok"), ("blank line flood", b"\r\n" * 5, "400"),
    ("blank line between", GET + b"\r\n" + GET, "ok ok"),
    ("bare LF first", b"\n" + GET, "400"),
    ("body over", put(b"Content-Length: %d" % (MAX + 1), b"x"), "413"),
    ("length 19 digits", put(b"Content-Length: " + b"9" * 19), "413"),
    ("chunk over", chunked(b"%x\r\n" % (MAX + 1)), "413"),
    ("chunk 16 digits", chunked(b"f" * 16 + b"\r\n"), "413"),
    ("chunks over", chunked(b"1\r\nx\r\n%x\r\n" % MAX), "413"),
    ("extension drip", chunked(b"1;aaaaaaaaaaaaaa\r\nx\r\n" * 1200), "400"),
    ("64 trailers", chunked(b"0\r\n" + b"A: b\r\n" * 64 + b"\r\n"), "ok"),
    ("65 trailers", chunked(b"0\r\n" + b"A: b\r\n" * 65 + b"\r\n"), "431"),
    ("trailers 16 KiB", chunked(b"0\r\n" + (b"A:" + b"b" * 4000 + b"\r\n") * 5), "431"),
    ("trailer without end", chunked(b"0\r\n" + b"A" * 17000), "431")]
OLD = b"GET / HTTP/1.0\r\n"
SEQUENCES = [
    ("nothing", b"", ""), ("half a line", b"GET / HT", ""),
    ("half a head", LINE + OWN, ""), ("two", GET * 2, "ok ok"),
    ("ten", GET * 10, " ".join(["ok"] * 10)),
    ("body, then more", put(b"Content-Length: 5", b"hello", GET), "ok:hello ok"),
    ("chunks, then more", chunked(b"5\r\nhello" + LAST + GET), "ok:hello ok"),
    ("close, then more", get(b"Connection: close") + GET, "ok"),
    ("close in a list", get(b"Connection: x , CLOSE") + GET, "ok"),
    ("close twice", get(b"Connection: x", b"Connection: close") + GET, "ok"),
    ("GET with a body", get(b"Content-Length: 3") + b"abc" + GET, "ok:abc ok"),
    ("body looks like a request", put(b"Content-Length: %d" % len(GET), GET, GET),
     "ok:%s ok" % GET.decode()),
    ("error, then more", get(b"A : b") + GET, "400"),
    ("ok, then error", GET + b"x\r\n\r\n", "ok 400"),
    ("body too short", put(b"Content-Length: 6", b"hello"), "400"),
    ("1.0", OLD + OWN + b"\r\n", "ok"), ("1.0 without Host", OLD + b"\r\n", "ok"),
    ("1.0 closes", OLD + b"\r\n" + GET, "ok"),
    ("1.0 two Hosts", OLD + OWN * 2 + b"\r\n", "400"),
    ("1.0 keep-alive", OLD + b"Connection: Keep-Alive\r\n\r\n" + GET, "ok ok"),
    ("1.0 chunked", OLD + OWN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("1.0 length", OLD + OWN + b"Content-Length: 2\r\n\r\nhi", "ok:hi"),
    ("chunked in capitals", put(b"TRANSFER-ENCODING: CHUNKED", b"2\r\nhi" + LAST),
     "ok:hi"),
    ("LF only", GET.replace(b"\r\n", b"\n"), "400"),
    ("CR only", GET.replace(b"\r\n", b"\r"), ""), ("0.9", b"GET /\r\n\r\n", "400"),
    ("LF before the end", LINE + OWN + b"\n", "400")]
HTTP_CASES = (
    rows("line", lambda one: one + b"\r\n" + OWN + b"\r\n", GOOD_LINES, "ok")
    + rows("line", lambda one: one + b"\r\n" + OWN + b"\r\n", BAD_LINES, "400")
    + rows("field", get, GOOD_FIELDS, "ok") + rows("field", get, BAD_FIELDS, "400")
    + rows("host", lambda one: LINE + one + b"\r\n\r\n", BAD_HOSTS, "400")
    + rows("length", lambda one: put(b"Content-Length: " + one, b"hello"),
           BAD_LENGTHS, "400")
    + rows("coding", lambda one: put(b"Transfer-Encoding: " + one, b"5\r\nhello" + LAST),
           BAD_CODINGS, "400")
    + rows("chunks", chunked, GOOD_CHUNKS, "ok:hello")
    + rows("chunks", chunked, BAD_CHUNKS, "400")
    + LIMITS + SEQUENCES)


def test_wire_table_size():
    assert len(HTTP_CASES) >= 300 and len({name for name, _, _ in HTTP_CASES}) > 290


class SansIO:
    """What a server does with its input, without a socket."""

    def __init__(self):
        self.words, self.open, self.head = [], True, None
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
            raw = self.reader.feed(data)
            if raw is None:
                return None
            self.head, self.body = cp.parse_request_head(raw), b""
            self.framing = cp.request_framing(self.head, MAX)
            return self.reader.rest
        self.body += self.framing.feed(data)
        if not self.framing.done:
            return None
        self.words.append("ok:%s" % self.body.decode("latin-1") if self.body else "ok")
        self.open = cp.keeps_alive(self.head)
        self.head, self.reader = None, cp.HeadReader()
        return self.framing.rest

    def answers(self, pieces):
        for piece in pieces:
            self.feed(piece)
        if self.open and self.head is not None:
            with pytest.raises(cp.ProtocolError) as failure:
                self.framing.eof()
            self.words.append(str(failure.value.status))
        return " ".join(self.words)


@pytest.mark.parametrize("name, raw, expected", HTTP_CASES,
                         ids=[name for name, _, _ in HTTP_CASES])
def test_wire_requests_under_every_cut(name, raw, expected):
    for pieces in cuts(raw):
        assert SansIO().answers(pieces) == expected, [len(p) for p in pieces[:9]]


def answer(*fields, body=b"", status=b"200 OK"):
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", body])


SAYS_CHUNKED, SAYS_CLOSE = b"Transfer-Encoding: chunked", b"Connection: close"
RESPONSES_TABLE = [  # (name, method, bytes, expected): status, body, reusable; or error
    ("length", "GET", answer(b"Content-Length: 2", body=b"hi"), (200, b"hi", True)),
    ("length 0", "GET", answer(b"Content-Length: 0"), (200, b"", True)),
    ("chunked", "GET", answer(SAYS_CHUNKED, body=b"2\r\nhi" + LAST), (200, b"hi", True)),
    ("until close", "GET", answer(body=b"hi"), (200, b"hi", False)),
    ("says close", "GET", answer(SAYS_CLOSE, b"Content-Length: 0"), (200, b"", False)),
    ("HEAD", "HEAD", answer(b"Content-Length: 9"), (200, b"", True)),
    ("HEAD chunked", "HEAD", answer(SAYS_CHUNKED), (200, b"", True)),
    ("204", "GET", answer(status=b"204 No Content"), (204, b"", True)),
    ("304", "GET", answer(b"Content-Length: 9", status=b"304 x"), (304, b"", True)),
    ("100", "POST", answer(status=b"100 Continue"), (100, b"", True)),
    ("CONNECT", "CONNECT", answer(status=b"200 Connected"), (200, b"", True)),
    ("CONNECT refused", "CONNECT", answer(b"Content-Length: 2", body=b"no",
                                          status=b"407 x"), (407, b"no", True)),
    ("empty", "GET", answer(b"Content-Length: 0", status=b"466 "), (466, b"", True)),
    ("no blank", "GET", answer(b"Content-Length: 0", status=b"466"), (466, b"", True)),
    ("latin-1 reason", "GET", answer(b"Content-Length: 0", status=b"200 \xfc"),
     (200, b"", True)),
    ("old", "GET", b"HTTP/1.0 200 OK\r\n\r\nhi", (200, b"hi", False)),
    ("long field", "GET", answer(b"A: " + b"b" * 40000, b"Content-Length: 0"),
     (200, b"", True)),
    ("128 fields", "GET", answer(*[b"A: b"] * 127, b"Content-Length: 0"),
     (200, b"", True)),
    ("129 fields", "GET", answer(*[b"A: b"] * 129), "error"),
    ("head over 64 KiB", "GET", answer(*[b"A: " + b"b" * 30000] * 3), "error"),
    ("cut head", "GET", b"HTTP/1.1 200 OK\r\nA: b\r\n", "cut"),
    ("cut length", "GET", answer(b"Content-Length: 3", body=b"hi"), "error"),
    ("cut chunk", "GET", answer(SAYS_CHUNKED, body=b"3\r\nhi"), "error"),
    ("cut last chunk", "GET", answer(SAYS_CHUNKED, body=b"2\r\nhi\r\n0\r\n"), "error"),
    ("both", "GET", answer(SAYS_CHUNKED, b"Content-Length: 2", body=b"2\r\nhi" + LAST),
     "error"),
    ("coding", "GET", answer(b"Transfer-Encoding: gzip, chunked"), "error"),
    ("two lengths", "GET", answer(*[b"Content-Length: 2"] * 2, body=b"hi"), "error"),
    ("not HTTP", "GET", b"SSH-2.0-OpenSSH\r\n\r\n", "error"),
    ("version", "GET", b"HTTP/2 200\r\n\r\n", "error"),
    ("status", "GET", b"HTTP/1.1 2000 OK\r\n\r\n", "error"),
    ("status 600", "GET", b"HTTP/1.1 600 OK\r\n\r\n", "error"),
    ("fold", "GET", answer(b"A: b", b" c", b"Content-Length: 0"), "error"),
    ("bare LF", "GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "error"),
    ("bare CR", "GET", answer(b"A: b\rc", b"Content-Length: 0"), "error")]


def read_response(method, pieces):
    reader, head, framing, body = cp.HeadReader(cp.RESPONSE_LIMITS), None, None, b""
    try:
        for piece in pieces:
            if head is None:
                raw = reader.feed(piece)
                if raw is None:
                    continue
                head, piece = cp.parse_response_head(raw), reader.rest
                framing = cp.response_framing(method, head)
            body += framing.feed(piece)
        if head is None:
            return "cut"
        reusable = framing.done and not framing.rest and cp.keeps_alive(head)
        framing.eof()
        return head.status, body, reusable
    except cp.ProtocolError:
        return "error"


@pytest.mark.parametrize("name, method, raw, expected", RESPONSES_TABLE,
                         ids=[row[0] for row in RESPONSES_TABLE])
def test_wire_responses_under_every_cut(name, method, raw, expected):
    for pieces in cuts(raw):
        assert read_response(method, pieces) == expected, pieces[:9]


def test_wire_body_limit_counts_both_framings():
    for fields, body in ([b"Content-Length: %d"], b"x"), ([SAYS_CHUNKED], b"%x\r\n"):
        for size, fits in (5, True), (6, False):
            raw = put(*[field % size if b"%" in field else field for field in fields])
            head = cp.parse_request_head(raw[:-2])
            data = body % size if b"%" in body else body
            if fits:
                cp.request_framing(head, 5).feed(data)
            else:
                with pytest.raises(cp.ProtocolError) as failure:
                    cp.request_framing(head, 5).feed(data)
                assert failure.value.status == 413


def test_wire_round_trips():
    dice = random.Random(6)
    names = ["a", "X-B", "c_d", "anthropic-beta", "X-B"]
    chars = [chr(c) for c in range(33, 256) if c != 127]
    for _ in range(200):
        pairs = [(dice.choice(names), " ".join(
            "".join(dice.choices(chars, k=dice.randrange(9))) for _ in "ab").strip(" "))
            for _ in range(dice.randrange(6))]
        lower = [(name.lower(), value) for name, value in pairs]
        raw = cp.encode_request_head("POST", "/v1/m?x", [("Host", "h"), *pairs])
        head = cp.parse_request_head(cp.HeadReader().feed(raw))
        assert (head.path, head.query, list(head.headers)[1:]) == ("/v1/m", "x", lower)
        raw = cp.encode_response_head(404, pairs)
        answer = cp.parse_response_head(cp.HeadReader().feed(raw))
        assert (answer[:3], list(answer.headers)) == ((404, "Not Found", "1.1"), lower)
        body = [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(5))]
        framing = cp.ChunkedBody()
        raw = b"".join(map(cp.encode_chunk, body)) + cp.LAST_CHUNK
        assert framing.feed(raw + b"more") == b"".join(body)
        assert framing.done and framing.rest == b"more"


@pytest.mark.parametrize("name, value", [
    ("a", "b\r\nc: d"), ("a", "b\n"), ("a", "\0"), ("a", "\x7f"), ("a", "\u0100"),
    ("a", "\udc80"), ("a b", "c"), ("a:", "b"), ("", "b"), ("a\r\nb", "c"),
    ("\xe4", "c")])
def test_wire_encoders_refuse_what_would_break_a_head(name, value):
    for encode in (lambda: cp.encode_response_head(200, [(name, value)]),
                   lambda: cp.encode_request_head("GET", "/", [(name, value)])):
        with pytest.raises(cp.ProtocolError):
            encode()


@pytest.mark.parametrize("target", ["/ b", "/\r\n", "/\xfc", "/\ud800", "", "/#"])
def test_wire_encoder_refuses_targets(target):
    with pytest.raises(cp.ProtocolError):
        cp.encode_request_head("GET", target, [])


def test_wire_targets_and_repeated_headers():
    head = cp.parse_request_head(
        b"GET http://Host:1/a%2Fb%20%C3%BC?c=%20 HTTP/1.1\r\n"
        b"Host: x\r\nA: 1\r\na:2\r\n")
    assert head[:5] == ("GET", "Host:1", "/a/b \xfc", "c=%20", "1.1")
    assert head.headers.get("A") == "1, 2" and head.headers.all("a") == ["1", "2"]
    assert head.headers.get("b") is None and head.headers.get("b", "") == ""


# ============================================================================
# 7. Models
# ============================================================================

CATALOGUE = cp.parse_models({"data": _catalogue()})
BY_ID = {model.id: model for model in CATALOGUE}

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
    ("default", "default", "gpt-4.1"),
    ("none", "", "gpt-4.1"),
    ("newer than ours", "claude-haiku-5-5", "claude-haiku-4.5"),
    ("newer, window", "claude-opus-5-5[1m]", "claude-opus-5"),
    ("old order of words", "claude-3-5-haiku-20241022", "claude-haiku-4.5"),
    ("older", "claude-sonnet-4-20250514", "claude-sonnet-5"),
    ("hidden is callable", "gpt-4o", "gpt-4o"),
    ("codex stays codex", "gpt-5.9-codex", "gpt-5.3-codex"),
    ("preview", "gemini-3-pro", "gemini-3-pro-preview"),
    ("another family", "claude-fable-5", cp.NotFound),
    ("unheard of", "llama-3", cp.NotFound),
    ("embeddings do not chat", "text-embedding-3-small", cp.NotFound),
]


@pytest.mark.parametrize("name, asked, expected", NAMES, ids=[row[0] for row in NAMES])
def test_model_names(name, asked, expected):
    if expected is cp.NotFound:
        with pytest.raises(cp.NotFound):
            cp.resolve_model(asked, CATALOGUE, "gpt-4.1")
    else:
        assert cp.resolve_model(asked, CATALOGUE, "gpt-4.1").id == expected


def test_model_ids_mean_themselves():
    for model in CATALOGUE:
        assert cp.resolve_model(model.id, CATALOGUE, "", model.kind) is model


def test_model_window_variant_and_enabled_are_preferred():
    models = [cp.Model("claude-opus-4.6"), cp.Model("claude-opus-4.6-1m"),
              cp.Model("claude-opus-4.7", raw={"policy": {"state": "disabled"}})]
    assert cp.resolve_model("claude-opus-4-6[1m]", models, "").id == "claude-opus-4.6-1m"
    assert cp.resolve_model("opus", models, "").id == "claude-opus-4.6"
    assert cp.resolve_model("claude-opus-4.7", models, "").id == "claude-opus-4.7"


@pytest.mark.parametrize("asked, setting", [
    ("claude-haiku-9", "ANTHROPIC_DEFAULT_HAIKU_MODEL"), ("llama", "COPILOT_DEFAULT_MODEL"),
    ("claude-fable-5", "ANTHROPIC_MODEL"), ("default", "COPILOT_DEFAULT_MODEL")])
def test_model_not_found_names_three_ids_and_the_setting(asked, setting):
    models = [model for model in CATALOGUE if "haiku" not in model.id]
    with pytest.raises(cp.NotFound) as caught:
        cp.resolve_model(asked, models, "nope")
    text = str(caught.value)
    assert setting in text and sum(model.id + "," in text or model.id + "." in text
                                   for model in models) >= 3


def test_model_entries_that_cannot_be_read_are_skipped():
    odd = [None, 7, {}, {"id": ""}, {"id": "a", "capabilities": 3, "policy": [], "name": 1},
           {"id": "b", "supported_endpoints": "x", "capabilities": {
               "limits": {"max_output_tokens": "9"}, "supports": {"reasoning_effort": [1]}}}]
    assert [model.id for model in cp.parse_models({"data": odd})] == ["a", "b"]
    assert cp.parse_models({"data": odd})[1].output == 0
    for reply in (None, [], {}, {"data": None}, {"data": {"a": 1}}):
        assert cp.parse_models(reply) == []
    assert len(CATALOGUE) == len(_catalogue()) - 1


def test_model_fields():
    haiku = BY_ID["claude-haiku-4.5"]
    assert (haiku.context, haiku.prompt, haiku.output) == (200000, 136000, 64000)
    assert haiku.budget == (1024, 32000) and not haiku.adaptive and haiku.vision
    assert BY_ID["gpt-4.1"].endpoints == (cp.CHAT,) and not BY_ID["gpt-4.1"].offered
    assert BY_ID["text-embedding-3-small"].endpoints == ()
    assert BY_ID["claude-opus-5"].adaptive and haiku.is_claude


ENDPOINTS = [  # SPEC 4, every cell
    ("claude-haiku-4.5", cp.MESSAGES, cp.CHAT, cp.BadRequest),
    ("gpt-5-mini", cp.CHAT, cp.CHAT, cp.RESPONSES),
    ("gpt-4.1", cp.CHAT, cp.CHAT, cp.BadRequest),
    ("gpt-5.5", cp.RESPONSES, cp.RESPONSES, cp.RESPONSES),
    ("mind-reader-1", cp.BadRequest, cp.BadRequest, cp.BadRequest),
]


@pytest.mark.parametrize("name, anthropic, openai, responses", ENDPOINTS)
def test_model_endpoint_choice(name, anthropic, openai, responses):
    wanted = {"anthropic": anthropic, "openai": openai, "responses": responses}
    for dialect, expected in wanted.items():
        if expected is cp.BadRequest:
            with pytest.raises(cp.BadRequest, match="work here: .*gpt-5"):
                cp.choose_endpoint(BY_ID[name], dialect, CATALOGUE)
        else:
            assert cp.choose_endpoint(BY_ID[name], dialect, CATALOGUE) == expected


@pytest.mark.parametrize("asked, listed, expected", [
    ("high", "low medium high", "high"), ("max", "low medium high", "high"),
    ("xhigh", "low max", "low"), ("none", "low medium", "low"), ("minimal", "low", "low"),
    ("high", "", ""), ("", "low", ""), ("ultra", "low", ""), ("ultra", "ultra", "ultra")])
def test_model_effort(asked, listed, expected):
    assert cp.clamp_effort(asked, cp.Model("m", efforts=tuple(listed.split()))) == expected


def test_models_payload_pleases_both_sdks_and_claude_code():
    reply = cp.models_payload(CATALOGUE)
    ids = [entry["id"] for entry in reply["data"]]
    assert reply["object"] == "list" and reply["has_more"] is False
    assert (reply["first_id"], reply["last_id"]) == (ids[0], ids[-1])
    assert {"claude-haiku-4.5", "claude-haiku-4-5", "text-embedding-3-small"} <= set(ids)
    assert not {"gpt-4.1", "claude-opus-4.8", "gpt-5-5"} & set(ids)  # hidden, disabled
    assert len(ids) == len(set(ids))
    for entry in reply["data"]:
        assert entry["object"] == entry["type"] == "model" and entry["display_name"]
        assert type(entry["created"]) is int and entry["created_at"].endswith("Z")
    opus = reply["data"][ids.index("claude-opus-5")]
    assert opus["credits"] == {"input": 500, "output": 2500, "cache_read": 50,
                               "cache_write": 625}
    assert cp.model_prices(cp.Model("x")) is None
    assert cp.models_payload([])["first_id"] is None


# ============================================================================
# 8. Conversation
# ============================================================================
# The usage arithmetic, and Translation with a reader small enough to see through.


HUB_USAGE = [
    ("chat", {"prompt_tokens": 512, "completion_tokens": 17,
              "prompt_tokens_details": {"cached_tokens": 384}}, None, (128, 17, 384, 0, 0, 0)),
    ("responses", {"input_tokens": 919, "output_tokens": 95, "input_tokens_details": {
        "cached_tokens": 512, "cache_write_tokens": 128},
        "output_tokens_details": {"reasoning_tokens": 40}}, {"total_nano_aiu": 7},
     (279, 95, 512, 128, 7, 40)),
    ("gemini", {"prompt_tokens": 3, "completion_tokens": 2, "reasoning_tokens": 1}, None,
     (3, 2, 0, 0, 0, 1)),
    ("more cached than read", {"prompt_tokens": 5, "prompt_tokens_details": {
        "cached_tokens": 9, "cache_write_tokens": 9}}, None, (0, 0, 5, 0, 0, 0)),
    ("nonsense", {"prompt_tokens": "7", "completion_tokens": -1,
                  "prompt_tokens_details": None}, {"total_nano_aiu": True}, (0,) * 6),
    ("none", None, "free", (0,) * 6),
]


@pytest.mark.parametrize("name, usage, cost, expected", HUB_USAGE)
def test_hub_usage(name, usage, cost, expected):
    assert cp.openai_usage(usage, cost) == expected


def test_hub_prompt_is_all_that_was_read():
    assert cp.TokenUsage(1, 2, 3, 4).prompt == 8


class LineReader:
    """A dialect of one word an event; `end` is its terminal event."""

    def __init__(self):
        self.usage, self.finish_reason, self.done = cp.TokenUsage(2, 1), "", False

    def read(self, event, sink):
        if event.data == b"end":
            self.finish_reason = "stop"
        else:
            sink.text(event.data.decode())


def test_hub_translation_tells_the_sink_and_ends_only_in_finish():
    for pieces in cuts(b"data: one \n\ndata: two\n\ndata: end"):
        hub = cp.Translation(LineReader(), cp.AnthropicStream("msg_1", "m"))
        out = b"".join(hub.feed(piece) for piece in pieces)
        assert b"message_delta" not in out and not hub.finished and hub.at_boundary
        out += hub.finish()
        assert hub.finished and not hub.done and hub.usage == cp.TokenUsage(2, 1)
        assert cp.fold_message(o for _, o in frames(out))["content"][0]["text"] == "one two"


def test_hub_translation_never_makes_up_an_end():
    hub = cp.Translation(LineReader(), cp.AnthropicStream("msg_1", "m", fold=True))
    assert hub.feed(b"data: one\n\n") == b""
    with pytest.raises(cp.UpstreamError) as caught:
        hub.finish()
    assert str(caught.value) == cp.CUT_SHORT
    hub = cp.Translation(LineReader(), cp.AnthropicStream("msg_1", "m"))
    assert frames(hub.feed(b"data: one\n\n") + hub.fail(caught.value))[-1][0] == "error"


# ============================================================================
# 9. Anthropic Messages
# ============================================================================
# Requests: one row a rule, refusals with their exact path. Answers: every stream is
# checked against the grammar and against its own fold.


def grammar(events):
    """Assert that `events` are one whole Messages stream, as the strictest SDK wants it."""
    assert events[0]["type"] == "message_start" and events[0]["message"]["content"] == []
    assert set(events[0]["message"]["usage"]) == USAGE_FIELDS
    assert [e["type"] for e in events[-2:]] == ["message_delta", "message_stop"]
    assert set(events[-2]["usage"]) == USAGE_FIELDS
    opened, index = None, -1
    for event in events[1:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            assert opened is None, "two blocks open"
            opened, index = event["content_block"]["type"], index + 1
            assert event["content_block"].get("input", {}) == {}  # CLIENTS 1: ignored there
        else:
            assert opened, "%s without a block" % kind
            if kind == "content_block_delta":
                field = GRAMMAR_DELTAS[opened][event["delta"]["type"]]
                assert event["delta"][field], "an empty delta"
            else:
                assert kind == "content_block_stop"
                opened = None
        assert event["index"] == index
    assert opened is None


USAGE_FIELDS = {"input_tokens", "output_tokens", "cache_read_input_tokens",
                "cache_creation_input_tokens"}
GRAMMAR_DELTAS = {"text": {"text_delta": "text"}, "tool_use": {
    "input_json_delta": "partial_json"}, "thinking": {
    "thinking_delta": "thinking", "signature_delta": "signature"}}


# -- requests ----------------------------------------------------------------

SIGNED, NONE = cp.pack_reasoning("b/9+=", "chat:Google"), cp.pack_reasoning("", "")
PNG_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iV"}}
PDF_BLOCK = {"type": "document", "title": "a.pdf", "source": {
    "type": "base64", "media_type": "application/pdf", "data": "JV"}}
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


def brief(part):
    """A part for a table: words bare, a result as {its call: parts}."""
    if isinstance(part, cp.Text):
        return part.text
    if isinstance(part, cp.Result):
        return {"!" * part.is_error + part.call_id: [brief(p) for p in part.parts]}
    return (type(part).__name__, *part)


CALL, CALL2 = ("Call", "c1", "Read", '{"p":"ä"}'), ("Call", "c2", "Now", "{}")
IMAGE, FILE = ("Image", "data:image/png;base64,iV", ""), ("Document", "application/pdf", "JV", "a.pdf")
OWN_THOUGHT, LOST = ("Reasoning", "t", "b/9+=", "chat:Google"), "[result of a tool call that is not shown]"
PAIRED = [["assistant", CALL, CALL2], ["user", {"c1": ["1"]}, {"c2": ["2"]}]]

TURN_CASES = [  # name, messages, [[role, *parts]]
    ("string", [HI_MESSAGE], [["user", "hi"]]),
    ("blocks", [by_user(said("a"), said("b"))], [["user", "a", "b"]]),
    ("blank text is dropped", [by_user(said(""), said(" \n"), said("a"))], [["user", "a"]]),
    ("empty turns are dropped", [HI_MESSAGE, by_model(), {"role": "user", "content": ""}], [["user", "hi"]]),
    ("system anywhere", [HI_MESSAGE, {"role": "system", "content": "s"}, {
        **by_system(), "output_config": {"effort": "low"}}], [["user", "hi"], ["system", "s"]]),
    ("image base64", [by_user(PNG_BLOCK)], [["user", IMAGE]]),
    ("image url", [by_user({"type": "image", "source": {"type": "url", "url": "https://x/y"}})],
     [["user", ("Image", "https://x/y", "")]]),
    ("document", [by_user(PDF_BLOCK)], [["user", FILE]]),
    ("document of text", [by_user({"type": "document", "title": "t", "source": {
        "type": "text", "media_type": "text/plain", "data": "d"}})], [["user", "t\n\nd"]]),
    ("search result", [by_user({"type": "search_result", "title": "t", "source": "u", "content": [
        said("w")]})], [["user", "[search_result t u\ntext w]"]]),
    ("web search in the past", [HI_MESSAGE, by_model(
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [
            {"type": "web_search_result", "title": "t", "url": "u", "encrypted_content": "e"}]},
        {"type": "web_search_tool_result", "tool_use_id": "s2", "content": {
            "type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}})],
     [["user", "hi"], ["assistant", '[server_tool_use web_search\n{"query":"q"}]',
                       "[web_search_tool_result\nweb_search_result t u]",
                       "[web_search_tool_result\nweb_search_tool_result_error max_uses_exceeded]"]]),
    ("call and result", [by_model(USE), by_user(result("c1", "r"))],
     [["assistant", CALL], ["user", {"c1": ["r"]}]]),
    ("no input, empty results", [by_model(USE, NOW), by_user(result("c1"), result("c2", []))],
     [["assistant", CALL, CALL2], ["user", {"c1": []}, {"c2": []}]]),
    ("result of blocks", [by_model(USE), by_user(result("c1", [said("r"), PNG_BLOCK, PDF_BLOCK, {
        "type": "tool_reference", "tool_name": "Web"}], is_error=True))], [["assistant", CALL], [
            "user", {"!c1": ["r", IMAGE, FILE, "The tool Web can be used now."]}]]),
    ("results first", [by_model(USE), by_user(said("t"), result("c1", "r"))],
     [["assistant", CALL], ["user", {"c1": ["r"]}, "t"]]),
    ("results in the order of the calls", [by_model(USE, NOW), by_user(
        result("c2", "2"), result("c1", "1"))], PAIRED),
    ("results over two messages", [by_model(USE, NOW), by_user(result("c1", "1")), by_user(
        result("c2", "2"))], PAIRED),
    ("a system message in between", [by_model(USE, NOW), by_system(said("s")), by_user(
        result("c1", "1"), result("c2", "2"), said("t"))], [*PAIRED, ["system", "s"], ["user", "t"]]),
    ("calls over two messages", [by_model(USE), by_model(NOW), by_user(result("c1", "1"), result("c2", "2"))],
     [["assistant", CALL], ["user", {"c1": ["1"]}], ["assistant", CALL2], ["user", {"c2": ["2"]}]]),
    ("call without result", [by_model(USE), HI_MESSAGE], [["assistant", CALL], ["user", {"!c1": [
        "(no result)"]}, "hi"]]),
    ("call at the end", [HI_MESSAGE, by_model(USE)], [["user", "hi"], ["assistant", CALL], [
        "user", {"!c1": ["(no result)"]}]]),
    ("result without call", [by_user(result("c9", [said("r"), PNG_BLOCK]))], [["user", LOST, "r", IMAGE]]),
    ("one id, two equal results", [by_model(USE), by_user(result("c1", "r"), result("c1", "r"))],
     [["assistant", CALL], ["user", {"c1": ["r"]}, LOST, "r"]]),
    ("one id, two calls", [by_model(USE), by_user(result("c1", "r")), by_model(USE), by_user(result("c1", "s"))],
     [["assistant", CALL], ["user", {"c1": ["r"]}], ["assistant", CALL], ["user", {"c1": ["s"]}]]),
    ("own reasoning", [by_model(thinking("t", SIGNED), said("a"))], [["assistant", OWN_THOUGHT, "a"]]),
    ("redacted", [by_model({"type": "redacted_thinking", "thinking": "t", "data": SIGNED})],
     [["assistant", OWN_THOUGHT]]),
    ("foreign reasoning is left out", [HI_MESSAGE, by_model(
        thinking("t", ""), thinking("t", "EqQBCg=="), {"type": "thinking", "thinking": "t"},
        thinking("t", NONE), {"type": "redacted_thinking", "data": "Eq"}, said("a"))],
     [["user", "hi"], ["assistant", "a"]]),
    ("text goes back with its late opaque", [by_model(thinking("t", NONE), said("a"), thinking(
        "", SIGNED))], [["assistant", "a", OWN_THOUGHT]]),
]


@pytest.mark.parametrize("name, messages, expected", TURN_CASES)
def test_messages_turns(name, messages, expected):
    before = json.dumps(messages)
    turns = cp.parse_messages({"messages": messages}).turns
    assert [[turn.role, *map(brief, turn.parts)] for turn in turns] == expected
    assert json.dumps(messages) == before, "the body was changed"


READ = {"name": "Read", "description": "d", "input_schema": {"type": "object"}}
FOUND = [by_model({**USE, "name": "ToolSearch"}), by_user(result("c1", [
    {"type": "tool_reference", "tool_name": "Web"}]))]
DEFERRED = [READ, {"name": "Web", "input_schema": {}, "defer_loading": True},
            {"name": "DeferredToolPlaceholder", "input_schema": {}, "defer_loading": True}]
BILL = said("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;")
IDS = '{"device_id":"%s","account_uuid":"","session_id":"11d5-aa"}' % ("f" * 64)
CACHED = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}

TOOL, ANY = cp.Tool("Read", "d", {"type": "object"}), {"type": "object", "properties": {}}
TURN, SYSTEM = [cp.Turn(role, (cp.Text(text),), path) for role, text, path in (
    ("user", "hi", "messages.0"), ("system", "s", "system"))]

SETTING_CASES = [  # name, body, {field: expected}
    ("nothing asked", {}, dict(tools=(), tool_choice="", parallel=None, max_tokens=None, stop=(),
                               temperature=None, effort="", thinking=False, schema=None, user="")),
    ("plain", {"max_tokens": 9, "temperature": 0, "top_p": 0.5, "stop_sequences": ["x"], "top_k": 1},
     dict(max_tokens=9, temperature=0, top_p=0.5, stop=("x",))),
    ("tool", {"tools": [READ]}, dict(tools=(TOOL,))),
    ("tool, custom, strict", {"tools": [{**READ, "type": "custom", "strict": True}]},
     dict(tools=(TOOL._replace(strict=True),))),
    ("chat tool", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}]},
     dict(tools=(cp.Tool("f", "", {"a": 1}),))),
    ("responses tool", {"tools": [{"type": "function", "name": "f"}]},
     dict(tools=(TOOL._replace(name="f", description="", schema=ANY),))),
    ("deferred", {"tools": DEFERRED}, dict(tools=(TOOL,))),
    ("deferred and found", {"tools": DEFERRED, "messages": FOUND},
     dict(tools=(TOOL, TOOL._replace(name="Web", description="", schema=ANY)))),
    ("128 and deferred ones", {"tools": [READ] * 128 + DEFERRED[1:]}, dict(tools=(TOOL,) * 128)),
    *[("choice " + kind, {"tools": [READ], "tool_choice": {"type": kind}}, dict(
        tool_choice=word, parallel=None)) for kind, word in (
            ("auto", "auto"), ("any", "required"), ("none", "none"))],
    ("choice tool", {"tools": [READ], "tool_choice": {
        "type": "tool", "name": "Read", "disable_parallel_tool_use": True}},
     dict(tool_choice="=Read", parallel=False)),
    ("choice among none", {"tool_choice": {"type": "auto"}}, dict(tool_choice="")),
    *[("budget %d" % n, {"thinking": {"type": "enabled", "budget_tokens": n}}, dict(
        effort=word, thinking=True)) for n, word in (
            (1024, "low"), (4001, "medium"), (31999, "high"))],
    ("effort before budget", {"thinking": {"type": "enabled", "budget_tokens": 1024},
                              "output_config": {"effort": "max"}}, dict(effort="max", thinking=True)),
    ("adaptive", {"thinking": {"type": "adaptive", "display": "updates"}}, dict(effort="", thinking=True)),
    ("disabled", {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
     dict(effort="none", thinking=False)),
    ("schema", {"output_config": {"format": SCHEMA}},
     dict(schema={"name": "answer", "schema": {"type": "object"}})),
    ("schema, old", {"output_format": SCHEMA}, dict(schema={"name": "answer", "schema": {
        "type": "object"}})),
    ("user", {"metadata": {"user_id": "me"}}, dict(user="me")),
    ("user of Claude Code", {"metadata": {"user_id": IDS}}, dict(user="11d5-aa")),
    ("user too long", {"metadata": {"user_id": "a" * 64 + "_session_1"}},
     dict(user="a" * 54 + "_session_1")),
    ("system", {"system": "s"}, dict(turns=(SYSTEM, TURN))),
    ("system without bill", {"system": [BILL, said("s", **CACHED)]},
     dict(turns=(SYSTEM._replace(cached=True), TURN))),
    ("only a bill", {"system": [BILL]}, dict(turns=(TURN,))),
    ("cache mark", {"messages": [by_user(said("hi", **CACHED))]}, dict(turns=(TURN._replace(cached=True),))),
]


@pytest.mark.parametrize("name, body, expected", SETTING_CASES)
def test_messages_settings(name, body, expected):
    got = cp.parse_messages({"messages": [HI_MESSAGE], **body})
    assert {key: getattr(got, key) for key in expected} == expected


def test_messages_cache_mark_on_a_result():
    turns = cp.parse_messages({"messages": [by_model(USE), by_user(result("c1", "r", **CACHED))]}).turns
    assert [turn.cached for turn in turns] == [False, True]


AT, IN = "messages.0.content", "messages.0.content.0"
REFUSALS = [  # body, start of the message
    ({}, "messages: required"), ({"messages": "hi"}, "messages: expected a list"),
    ({"messages": []}, "messages: at least one"),
    ({"messages": [by_user(), {"role": "system", "content": []}]}, "messages: at least one"),
    ({"messages": ["hi"]}, "messages.0: expected an object"),
    ({"messages": [HI_MESSAGE, {"content": "x"}]}, "messages.1.role: required"),
    ({"messages": [{"role": "tool", "content": ""}]}, "messages.0.role: expected user or assistant"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: required"),
    ({"messages": [{"role": "user", "content": 5}]}, AT + ": expected a list"),
    ({"messages": [by_user("hi")]}, IN + ": expected an object"),
    ({"messages": [by_user({"text": "x"})]}, IN + ".type: required"),
    ({"messages": [by_user({"type": "text"})]}, IN + ".text: required"),
    ({"messages": [by_user({"type": "video"})]}, IN + ": a block of type 'video' cannot be sent to this model (user)"),
    ({"messages": [by_model({"type": "mcp_tool_use"})]}, IN + ": a block of type 'mcp_tool_use'"),
    ({"messages": [by_user(USE)]}, IN + ": a block of type 'tool_use' cannot be sent to this model (user)"),
    ({"messages": [by_model(PNG_BLOCK)]}, IN + ": a block of type 'image' cannot be sent to this model (assistant)"),
    ({"messages": [{"role": "system", "content": [PNG_BLOCK]}]}, IN + ": a block of type 'image'"),
    ({"messages": [by_user(result("c1", [USE]))]}, IN + ".content.0: a block of type 'tool_use'"),
    ({"messages": [by_user({"type": "tool_result"})]}, IN + ".tool_use_id: required"),
    ({"messages": [by_user(result("c1", is_error="no"))]}, IN + ".is_error: expected true"),
    ({"messages": [by_model({**USE, "input": "{}"})]}, IN + ".input: expected an object"),
    ({"messages": [by_model({**USE, "id": None})]}, IN + ".id: required"),
    ({"messages": [by_user({"type": "image"})]}, IN + ".source: required"),
    ({"messages": [by_user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
     IN + ".source.type: expected base64 or url, not 'file'"),
    ({"messages": [by_user({"type": "document", "source": {"type": "url", "url": "u"}})]},
     IN + ".source.type: expected base64 or text, not 'url'"),
    ({"messages": [by_user({"type": "image", "source": {"type": "base64", "data": "iV"}})]},
     IN + ".source.media_type: required"),
    ({"system": [PNG_BLOCK]}, "system.0: a block of type 'image' cannot be sent to this model (system)"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
     "tools.0.type: 'web_search_20250305' is run by"),
    ({"tools": [READ, {"input_schema": {}}]}, "tools.1.name: required"),
    ({"tools": [READ] * 129}, "tools: 129 are too many"),
    ({"tools": [READ], "tool_choice": {"type": "tool", "name": "Write"}},
     "tool_choice.name: expected Read, not 'Write'"),
    ({"tools": [READ], "tool_choice": {"type": "some"}}, "tool_choice.type: expected auto or"),
    ({"thinking": {"type": "deep"}}, "thinking.type: expected"),
    ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type: expected json"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema: required"),
    ({"stop_sequences": [1]}, "stop_sequences.0: expected a string"),
    ({"max_tokens": 0}, "max_tokens: expected at least 1"),
    ({"max_tokens": True}, "max_tokens: expected a whole number"),
    ({"temperature": "hot"}, "temperature: expected a number"),
]


@pytest.mark.parametrize("body, message", REFUSALS)
def test_messages_refusals(body, message):
    with pytest.raises(cp.BadRequest) as caught:
        cp.parse_messages({"messages": [HI_MESSAGE], **body} if body and "messages" not in body else body)
    assert str(caught.value).startswith(message)


def test_messages_signature_is_one_word_and_comes_back():
    for pair in (("b/9+=", "responses:Azure OpenAI"), ("", ""), ("a@b c%41", "x@y")):
        packed = cp.pack_reasoning(*pair)
        assert cp.unpack_reasoning(packed) == pair and packed.split() == [packed]
    assert cp.unpack_reasoning("EqQBCg==") is None is cp.unpack_reasoning("")


# -- answers -----------------------------------------------------------------


class Upper:
    """Names as room 10 would shorten them."""

    def original(self, name):
        return name.upper()


def tell(told, **options):
    sink = cp.AnthropicStream("msg_1", "gpt", 99, **options)
    for method, *args in told:
        getattr(sink, method)(*args)
    return sink


def streamed(told, takes=False, **options):
    """The events of `told`, checked; with `takes` the bytes are taken after each call."""
    sink = cp.AnthropicStream("msg_1", "gpt", 99, **options)
    out = b""
    for method, *args in told:
        getattr(sink, method)(*args)
        out += sink.take() if takes else b""
    events = [obj for _, obj in frames(out + sink.take())]
    grammar(events)
    return events


def shown(message):
    """A Message's content in short."""
    return [(b["type"][0], b.get("text", b.get("thinking", b.get("input"))), *(
        [b["signature"]] if "signature" in b else [b["id"], b["name"]] if "id" in b else []))
        for b in message["content"]]


END, USED = ("end", "stop", cp.TokenUsage()), cp.TokenUsage(10, 5, 3, 2, 7)
CALL_A, CALL_B = ("call", 0, "a", "A"), ("call", 1, "b", "B")
STREAM_CASES = [  # name, told, stop_reason, content
    ("text", [("text", "He"), ("text", ""), ("text", "llo \ud83d"), ("text", "\ude00\n\"é"), END],
     "end_turn", [("t", "Hello 😀\n\"é")]),
    ("nothing", [END], "end_turn", []),
    ("empty words open nothing", [("text", ""), ("reasoning", ""), ("refusal", ""), END],
     "end_turn", []),
    ("thinking before text", [("reasoning", "a"), ("reasoning", "b"), ("text", "c"), END],
     "end_turn", [("t", "ab", NONE), ("t", "c")]),
    ("opaque signs the open block", [("reasoning", "a"), ("opaque", "b/9+=", "chat:Google"),
                                     ("reasoning", "b"), END], "end_turn",
     [("t", "a", SIGNED), ("t", "b", NONE)]),
    ("opaque alone, after text", [("text", "a"), ("opaque", "b/9+=", "chat:Google"), END],
     "end_turn", [("t", "a"), ("t", "", SIGNED)]),
    ("opaque inside a call waits", [CALL_A, ("arguments", 0, "{"), (
        "opaque", "b/9+=", "chat:Google"), ("arguments", 0, "}"), END], "tool_use",
     [("t", {}, "a", "A"), ("t", "", SIGNED)]),
    ("call", [("text", "x"), CALL_A, ("arguments", 0, '{"a'), ("arguments", 0, '":1}'), END],
     "tool_use", [("t", "x"), ("t", {"a": 1}, "a", "A")]),
    ("no arguments", [CALL_A, CALL_B, ("arguments", 1, " "), END], "tool_use",
     [("t", {}, "a", "A"), ("t", {}, "b", "B")]),
    ("no id", [("call", 0, "", "A"), ("call", 1, "", "B"), END], "tool_use",
     [("t", {}, "call_msg_1_0", "A"), ("t", {}, "call_msg_1_1", "B")]),
    ("fragments wait", [CALL_A, ("arguments", 0, '{"a":'), CALL_B, ("arguments", 1, '{"b":{}'),
                        ("arguments", 0, '{}'), ("arguments", 1, "}"), ("arguments", 0, "}"),
                        ("arguments", 0, "\n"), END], "tool_use",
     [("t", {"a": {}}, "a", "A"), ("t", {"b": {}}, "b", "B")]),
    ("text ends the calls", [CALL_A, ("arguments", 0, "{}"), CALL_B, ("arguments", 1, "{}"),
                             ("text", "x"), END], "tool_use",
     [("t", {}, "a", "A"), ("t", {}, "b", "B"), ("t", "x")]),
    ("a call that has not begun lets text by", [CALL_A, ("text", "x"), ("arguments", 0, "{}"), END],
     "tool_use", [("t", "x"), ("t", {}, "a", "A")]),
    ("length", [("text", "x"), ("end", "length", USED)], "max_tokens", [("t", "x")]),
    ("length in a call", [CALL_A, ("arguments", 0, '{"a'), ("end", "length", USED)],
     "max_tokens", []),
    ("length: whole calls stay", [CALL_A, ("arguments", 0, '{"a'), CALL_B, ("arguments", 1, "{}"),
                                  ("call", 2, "c", "C"), ("end", "length", USED)],
     "max_tokens", [("t", {}, "b", "B")]),
    ("tool_calls without one", [("text", "x"), ("end", "tool_calls", USED)], "end_turn", [("t", "x")]),
    ("own stop_reason", [("end", "stop_sequence", USED)], "stop_sequence", []),
    ("filter", [("text", "x"), ("end", "content_filter", USED)], "refusal", [("t", "x")]),
    ("refusal", [("text", "x"), ("refusal", "I "), ("refusal", "won't"), END], "refusal",
     [("t", "x"), ("t", "I won't")]),
]


@pytest.mark.parametrize("name, told, stop_reason, content", STREAM_CASES)
def test_messages_stream_and_fold(name, told, stop_reason, content):
    events = streamed(told)
    sink = tell(told, fold=True)
    assert sink.take() == b"" and events[-2]["delta"]["stop_reason"] == stop_reason
    for message in (events, streamed(told, takes=True)):
        message = json.loads(json.dumps(cp.fold_message(message)))  # joins half surrogates
        assert (message["stop_reason"], shown(message)) == (stop_reason, content)
        assert message == sink.whole()


def test_messages_cut_call_is_in_the_stream_as_it_is():
    events = streamed([CALL_A, ("arguments", 0, '{"a'), CALL_B, ("end", "length", USED)])
    assert [e["delta"].get("partial_json") for e in events if "delta" in e][:-1] == ['{"a']


def test_messages_usage():
    events = streamed([("text", "x"), ("end", "stop", USED)], names=Upper())
    assert events[0]["message"]["usage"]["input_tokens"] == 99
    truth = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3,
             "cache_creation_input_tokens": 2}
    assert events[-2]["usage"] == truth == cp.fold_message(events)["usage"]
    assert cp.fold_message(events)["copilot_usage"] == {"total_nano_aiu": 7}
    untold = streamed([END])  # the upstream told no usage: the estimate stands
    assert "copilot_usage" not in untold[-2]
    assert cp.fold_message(untold)["usage"]["input_tokens"] == 99
    cached = streamed([("end", "stop", cp.TokenUsage(0, 1, 500))])
    assert cp.fold_message(cached)["usage"]["input_tokens"] == 1, "the estimate would be added"


def test_messages_names_and_refusal_are_told():
    events = streamed([("call", 0, "i", "read"), END], names=Upper())
    assert events[1]["content_block"] == {"type": "tool_use", "id": "i", "name": "READ", "input": {}}
    events = streamed([("refusal", "No."), ("end", "length", USED)])
    assert events[-2]["delta"] == {"stop_reason": "refusal", "stop_sequence": None, "stop_details": {
        "type": "refusal", "category": None, "explanation": "No."}}


def test_messages_error_is_the_last_word():
    for told in ([], [("text", "x")], [CALL_A, ("arguments", 0, "{")]):
        sink = tell(told + [("error", cp.UpstreamError("gone", status=503))])
        first = sink.take()
        for method, *args in [("text", "y"), ("call", 9, "z", "Z"), ("opaque", "o", "s"), (
                "arguments", 9, "{}"), END, ("error", cp.UpstreamError("again")), ("start",)]:
            getattr(sink, method)(*args)
        events = [obj for _, obj in frames(first + sink.take())]
        assert events[-1] == {"type": "error", "error": {
            "type": "overloaded_error", "message": "gone"}}
        assert not sink.at_boundary and b"x" in first if ("text", "x") in told else True


def test_messages_start_comes_once_and_before_a_ping():
    sink = cp.AnthropicStream("msg_1", "gpt")
    assert not sink.at_boundary and sink.take() == b""
    sink.start()
    sink.start()
    assert sink.at_boundary and sink.take().count(b"event: message_start") == 1
    sink.text("x")
    assert sink.at_boundary and sink.take().endswith(b'"text":"x"}}\n\n')


MISUSE = [
    ("late arguments", [CALL_A, ("arguments", 0, "{"), ("text", "x"), ("arguments", 0, "}")]),
    ("after the next call", [CALL_A, ("arguments", 0, "{}"), CALL_B, ("arguments", 1, "{"),
                             ("arguments", 0, "{}")]),
    ("twice", [CALL_A, CALL_A]), ("unknown", [("arguments", 5, "{}")]),
]


@pytest.mark.parametrize("name, told", MISUSE)
def test_messages_nothing_reopens(name, told):
    with pytest.raises(cp.UpstreamError):
        tell(told)


@pytest.mark.parametrize("arguments", ['{"a":', "[]", "null", "nonsense"])
def test_messages_fold_never_makes_up_arguments(arguments):
    told = [CALL_A, ("arguments", 0, arguments), END]
    assert streamed(told)[-2]["delta"]["stop_reason"] == "tool_use"  # the client tells the model
    with pytest.raises(cp.UpstreamError, match="called A"):
        tell(told, fold=True).whole()


def test_messages_fold_needs_the_end():
    for told in ([], [("text", "x")], [("text", "x"), ("error", cp.UpstreamError("gone"))]):
        with pytest.raises(cp.UpstreamError):
            tell(told, fold=True).whole()


def random_answer(dice):
    """Calls of a sink in a random order, and what must come out: {channel: text}."""
    calls = {key: json.dumps({"k": "x" * dice.randrange(9), "o": {"é": [key]}})
             for key in range(dice.randrange(4))}
    told, expected, left = [], {key: json.loads(raw) for key, raw in calls.items()}, dict(calls)
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
    words = [(dice.choice(["text", "reasoning"]), dice.choice(["a", "\n", "é", "", "\"}"]))
             for _ in range(dice.randrange(9))]
    expected.update({kind: "".join(w for k, w in words if k == kind) for kind in (
        "text", "reasoning")})
    return words + told + [("end", dice.choice(["stop", "tool_calls"]), USED)], expected


def test_messages_random_answers_lose_nothing():
    for seed in range(300):
        told, expected = random_answer(random.Random(seed))
        for takes in (False, True):
            whole = cp.fold_message(streamed(told, takes))
            got = {int(b["name"][1:]): b["input"] for b in whole["content"] if "input" in b}
            for kind, name in (("text", "text"), ("reasoning", "thinking")):
                got[kind] = "".join(b.get(name, "") for b in whole["content"])
            assert got == expected, seed
        assert tell(told, fold=True).whole() == whole, seed


# ============================================================================
# 10. OpenAI chat
# ============================================================================

GPT41 = cp.Model("gpt-4.1", vendor="Azure OpenAI", output=16384)
GPT5 = cp.Model("gpt-5-mini", vendor="Azure OpenAI", output=64000, efforts=("low", "medium", "high"))
CHAT_CLAUDE = cp.Model("claude-sonnet-4.5", vendor="Anthropic", output=32000,
                       endpoints=(cp.CHAT, cp.MESSAGES))
GEMINI = cp.Model("gemini-2.5-pro", vendor="Google", output=64000)
O1 = cp.Model("o1", vendor="OpenAI")
MARK = {"copilot_cache_control": {"type": "ephemeral"}}
HI = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,AAAA"
LONG = "mcp__" + "x" * 80


def user(*parts):
    return cp.Turn("user", tuple(cp.Text(p) if isinstance(p, str) else p for p in parts), "messages.7")


def assistant(*parts):
    return user(*parts)._replace(role="assistant")


def chat_call(call_id="c1", name="f", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_chat_tool_names():
    names = cp.ToolNames([LONG, "a b", "a_b", "ok-1_A"])
    assert [names.short(n) for n in ("ok-1_A", "a_b")] == ["ok-1_A", "a_b"]
    for odd in (LONG, "a b", "", "é" * 70, "\ud800", "never declared!"):
        short = names.short(odd)
        assert cp.TOOL_NAME.fullmatch(short) and names.original(short) == odd
        assert short == cp.ToolNames(["zz", LONG, "a b", odd]).short(odd)  # any set, any order
    taken = cp.ToolNames(["a b"]).short("a b")  # another tool really has that name
    names = cp.ToolNames(["a b", taken])
    assert names.short(taken) == taken != names.short("a b")
    assert names.original(names.short("a b")) == "a b" and names.original("unknown") == "unknown"


# name, model, conversation fields, what the body must be beside model and stream
ENCODED = [
    ("system anywhere", GPT41, dict(turns=(cp.Turn("system", (cp.Text("S"), cp.Text("T"))), user("hi"),
                                           cp.Turn("system", (cp.Text("U"),)))),
     {"messages": [{"role": "system", "content": "S\n\nT"}, HI, {"role": "system", "content": "U"}]}),
    ("empty turns go", GPT41, dict(turns=(cp.Turn("system", ()), user(""), user("hi"), assistant(""))),
     {"messages": [HI]}),
    ("image", GPT41, dict(turns=(user("see", cp.Image(PNG), cp.Image("https://x/y", "low")),)),
     {"messages": [{"role": "user", "content": [
         {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG}},
         {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}]}]}),
    ("results first", GPT41, dict(turns=(user("go on", cp.Result("c1", (cp.Text("a"), cp.Text("b"))),
                                              cp.Result("c2", (), True)),)),
     {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "a\n\nb"},
                   {"role": "tool", "tool_call_id": "c2", "content": "Error: "},
                   {"role": "user", "content": "go on"}]}),
    ("image of a result", GPT41, dict(turns=(user(cp.Result("c1", (cp.Image(PNG),)), "?"),)),
     {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "(see the next message)"},
                   {"role": "user", "content": [
                       {"type": "text", "text": "From the result of tool call c1:"},
                       {"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "?"}]}]}),
    ("assistant", GPT41, dict(turns=(assistant("Look. \n", cp.Call("c1", "f", "")),)),
     {"messages": [{"role": "assistant", "content": "Look.", "tool_calls": [chat_call()]}]}),
    ("calls only", GPT41, dict(turns=(assistant(cp.Call("c1", LONG, '{"a":1}')),)),
     {"messages": [{"role": "assistant", "content": None, "tool_calls": [
         chat_call("c1", cp.ToolNames().short(LONG), '{"a":1}')]}]}),
    ("own reasoning", GEMINI, dict(turns=(assistant(cp.Reasoning("hm", "OPQ", "chat:google"), "x"),)),
     {"messages": [{"role": "assistant", "content": "x", "reasoning_text": "hm", "reasoning_opaque": "OPQ"}]}),
    ("foreign reasoning", GEMINI, dict(turns=(assistant(cp.Reasoning("hm", "OPQ", "responses:google"), "x"),)),
     {"messages": [{"role": "assistant", "content": "x"}]}),
    ("prefill stays for GPT", GPT41, dict(turns=(user("hi"), assistant("{"))),
     {"messages": [HI, {"role": "assistant", "content": "{"}]}),
    ("prefill ends for Claude", CHAT_CLAUDE, dict(turns=(user("hi"), assistant("{")), max_tokens=9),
     {"messages": [HI, {"role": "assistant", "content": "{"},
                   {"role": "user", "content": "Please continue.", **MARK}], "max_tokens": 9}),
    ("marks", CHAT_CLAUDE, dict(max_tokens=99999, turns=(
        cp.Turn("system", (cp.Text("1"),)), cp.Turn("system", (cp.Text("2"),)),
        cp.Turn("system", (cp.Text("3"),)), user(cp.Result("a", ())), user(cp.Result("b", ())), user("hi"))),
     {"messages": [{"role": "system", "content": "1", **MARK}, {"role": "system", "content": "2"},
                   {"role": "system", "content": "3", **MARK}, {"role": "tool", "tool_call_id": "a", "content": ""},
                   {"role": "tool", "tool_call_id": "b", "content": "", **MARK}, {**HI, **MARK}],
      "max_tokens": 32000}),
    ("tools", GPT41, dict(turns=(user("hi"),), tool_choice="=f", parallel=False, tools=(
        cp.Tool("f", "d", {"$schema": "s", "required": []}), cp.Tool("g", "", {"type": "object"}, True))),
     {"messages": [HI], "parallel_tool_calls": False,
      "tool_choice": {"type": "function", "function": {"name": "f"}},
      "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {
          "type": "object", "properties": {}, "required": []}}},
          {"type": "function", "function": {"name": "g", "strict": True, "parameters": {
              "type": "object", "properties": {}}}}]}),
    ("choice without tools", GPT41, dict(turns=(user("hi"),), tool_choice="auto", parallel=True), {"messages": [HI]}),
    ("samplers", GPT41, dict(turns=(user("hi"),), temperature=0, top_p=0.5, stop=("a", "b"), user="u"),
     {"messages": [HI], "temperature": 0, "top_p": 0.5, "stop": ["a", "b"], "user": "u"}),
    ("gpt-5", GPT5, dict(turns=(user("hi"),), temperature=0, top_p=1, max_tokens=99999, effort="xhigh"),
     {"messages": [HI], "max_completion_tokens": 64000, "reasoning_effort": "high"}),
    ("no efforts", GPT41, dict(turns=(user("hi"),), effort="high", max_tokens=5), {"messages": [HI], "max_tokens": 5}),
    ("schema", GPT41, dict(turns=(user("hi"),), schema={"name": "n", "schema": {}}), {
        "messages": [HI], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}),
    ("any json", GPT41, dict(turns=(user("hi"),), schema={}, extra={"verbosity": "low"}), {
        "messages": [HI], "response_format": {"type": "json_object"}, "verbosity": "low"}),
]


@pytest.mark.parametrize("name, model, fields, expected", ENCODED, ids=[row[0] for row in ENCODED])
def test_chat_encode(name, model, fields, expected):
    conv = cp.Conversation(**fields)
    body = cp.encode_chat(conv, model, cp.ToolNames(t.name for t in conv.tools))
    assert body == {"model": model.id, "stream": True, **expected}


PACKED, ALIEN = cp.pack_reasoning("OPQ", "chat:google"), cp.pack_reasoning("ALN", "responses:openai")
# name, model, messages and fields sent, what must come of them
PREPARED = [
    ("unknown stays", GPT41, {"logit_bias": {"1": 2}, "seed": 3, "stream_options": {}, "stream": False, "n": 1},
     {"logit_bias": {"1": 2}, "seed": 3, "n": 1}),
    ("gpt-5 limit", GPT5, {"max_tokens": 70000, "temperature": 1, "n": 1, "reasoning_effort": "minimal"},
     {"max_completion_tokens": 64000, "reasoning_effort": "low"}),
    ("gpt-4 limit", GPT41, {"max_completion_tokens": 7, "reasoning_effort": "low"}, {"max_tokens": 7}),
    ("claude limit", CHAT_CLAUDE, {}, {"max_tokens": 32000, "messages": [{**HI, **MARK}]}),
    ("own marks", CHAT_CLAUDE, {"messages": [{**HI, **MARK}, HI]}, {"max_tokens": 32000, "messages": [{**HI, **MARK}, HI]}),
    ("developer", GEMINI, {"messages": [{"role": "developer", "content": "S"}, HI]},
     {"messages": [{"role": "system", "content": "S"}, HI]}),
    ("developer gpt-5", GPT5, {"messages": [{"role": "developer", "content": "S"}]},
     {"messages": [{"role": "developer", "content": "S"}]}),
    ("o1", O1, {"messages": [{"role": "system", "content": "S"}]}, {"messages": [{"role": "user", "content": "S"}]}),
    ("empty assistant", GPT41, {"messages": [HI, {"role": "assistant", "content": " \n"}, HI,
                                             {"role": "assistant", "content": "", "tool_calls": [chat_call()]}]},
     {"messages": [HI, HI, {"role": "assistant", "content": None, "tool_calls": [chat_call()]}]}),
    ("url image", GPT41, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}),
    ("reasoning back", GEMINI, {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "hm",
                                              "reasoning_opaque": PACKED + " "}]},
     {"messages": [{"role": "assistant", "content": "x", "reasoning_text": "hm", "reasoning_opaque": "OPQ"}]}),
    ("reasoning of others", GEMINI, {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "hm",
                                                   "reasoning_opaque": ALIEN}]},
     {"messages": [{"role": "assistant", "content": "x"}]}),
    ("reasoning raw", GEMINI, {"messages": [{"role": "assistant", "content": "x", "reasoning_text": "hm", "reasoning_opaque": "OPQ"}]},
     {"messages": [{"role": "assistant", "content": "x", "reasoning_text": "hm", "reasoning_opaque": "OPQ"}]}),
    ("system last after prefill", CHAT_CLAUDE, {"max_tokens": 1, "messages": [
        HI, {"role": "assistant", "content": "a"}, {"role": "system", "content": "S"}]},
     {"max_tokens": 1, "messages": [HI, {"role": "assistant", "content": "a"}, {"role": "system", "content": "S", **MARK},
                                    {"role": "user", "content": "Please continue.", **MARK}]}),
]


@pytest.mark.parametrize("name, model, sent, expected", PREPARED, ids=[row[0] for row in PREPARED])
def test_chat_prepare(name, model, sent, expected):
    body = {"model": "asked", "messages": [HI], **sent}
    before = json.dumps(body)
    assert cp.prepare_chat(body, model) == {"model": model.id, "stream": True, "messages": [HI], **expected}
    assert json.dumps(body) == before


def parsed(message, **rest):
    return cp.parse_chat({"messages": [message], **rest})


def part(kind, **rest):
    return parsed({"role": "user", "content": [{"type": kind, **rest}]}).turns[0].parts


# name, what is called, its value or the text of its refusal
REFUSED_OR_READ = [
    ("document", lambda: cp.encode_chat(cp.Conversation((user(cp.Document("application/pdf", "x")),)), GPT41, cp.ToolNames()),
     "messages.7: this model takes text and images, not application/pdf"),
    ("document in result", lambda: cp.encode_chat(cp.Conversation((
        user(cp.Result("c", (cp.Document("application/pdf", "x"),))),)), GPT41, cp.ToolNames()), "messages.7: .*application/pdf"),
    ("stops", lambda: cp.encode_chat(cp.Conversation((user("x"),), stop=tuple("abcde")), GPT41, cp.ToolNames()), "stop: 5"),
    ("too many tools", lambda: cp.prepare_chat({"messages": [], "tools": [{}] * 129}, GPT41), "tools: 129"),
    ("no messages", lambda: cp.prepare_chat({}, GPT41), "messages: required"),
    ("bad message", lambda: cp.prepare_chat({"messages": [1]}, GPT41), "messages.0: expected an object"),
    ("two choices", lambda: cp.prepare_chat({"messages": [HI], "n": 2}, GPT5), "n: "),
    ("functions", lambda: cp.prepare_chat({"messages": [HI], "functions": [{}]}, GPT41), "functions: .*use tools"),
    ("no messages there", lambda: cp.parse_chat({}), "messages: required"),
    ("logprobs", lambda: parsed(HI, logprobs=True), "logprobs: "),
    ("penalty", lambda: parsed(HI, presence_penalty=0.5), "presence_penalty: "),
    ("role", lambda: parsed({"role": "function", "content": "x"}), "messages.0.role: expected .*, not 'function'"),
    ("part", lambda: part("input_audio"), "messages.0.content.0: .* not 'input_audio'"),
    ("file", lambda: part("file", file={}), "messages.0.content.0: expected text or refusal or image_url, not 'file'"),
    ("legacy call", lambda: parsed({"role": "assistant", "function_call": {"name": "f"}}), "messages.0.function_call"),
    ("custom call", lambda: parsed({"role": "assistant", "tool_calls": [{"type": "custom"}]}), "messages.0.tool_calls.0: expected function, not 'custom'"),
    ("call id", lambda: parsed({"role": "assistant", "tool_calls": [{"function": {}}]}), "messages.0.tool_calls.0.id: required"),
    ("tool type", lambda: parsed(HI, tools=[{"type": "mcp"}]), "tools.0: .*'mcp'"),
    ("choice type", lambda: parsed(HI, tool_choice={"type": "allowed_tools"}), "tool_choice: .*'allowed_tools'"),
    ("choice word", lambda: parsed(HI, tool_choice="always"), "tool_choice: expected an object"),
    ("format", lambda: parsed(HI, response_format={"type": "grammar"}), "response_format.type: .*'grammar'"),
    ("stop word", lambda: parsed(HI, stop=[1]), "stop.0: expected a string"),
    ("text", lambda: part("text", text="a"), (cp.Text("a"),)),
    ("no text", lambda: part("text", text=""), ()),
    ("image", lambda: part("image_url", image_url={"url": PNG, "detail": "low"}), (cp.Image(PNG, "low"),)),
    ("developer", lambda: parsed({"role": "developer", "content": "S"}).turns, (cp.Turn("system", (cp.Text("S"),), "messages.0"),)),
    ("result", lambda: parsed({"role": "tool", "tool_call_id": "c", "content": "R"}).turns,
     (cp.Turn("user", (cp.Result("c", (cp.Text("R"),)),), "messages.0"),)),
    ("assistant", lambda: parsed({"role": "assistant", "content": "x", "refusal": "no", "tool_calls": [chat_call()]}).turns[0].parts,
     (cp.Text("x"), cp.Text("no"), cp.Call("c1", "f", "{}"))),
    ("reasoning", lambda: parsed({"role": "assistant", "content": None, "reasoning_content": "hm",
                                  "reasoning_opaque": "%s %s raw" % (ALIEN, PACKED)}).turns[0].parts,
     (cp.Reasoning("hm", "ALN", "responses:openai"), cp.Reasoning("", "OPQ", "chat:google"))),
    ("tools", lambda: parsed(HI, tools=[{"type": "function", "function": {"name": "f", "strict": True}}]).tools,
     (cp.Tool("f", "", {}, True),)),
    ("choice", lambda: parsed(HI, tool_choice={"type": "function", "function": {"name": "f"}}).tool_choice, "=f"),
    ("settings", lambda: parsed(HI, tool_choice="none", parallel_tool_calls=False, max_tokens=5, max_completion_tokens=6,
                                temperature=0, top_p=1.0, stop="s", reasoning_effort="low", user="u", seed=1, n=1,
                                verbosity="low", response_format={"type": "json_object"})[2:],
     ("none", False, 6, 0, 1.0, ("s",), "low", True, {}, "u", {"verbosity": "low"})),
    ("schema", lambda: parsed(HI, response_format={"type": "json_schema", "json_schema": {"name": "n"}}).schema, {"name": "n"}),
]


@pytest.mark.parametrize("name, act, expected", REFUSED_OR_READ, ids=[row[0] for row in REFUSED_OR_READ])
def test_chat_parse_and_refusals(name, act, expected):
    if isinstance(expected, str) and expected != "=f":
        with pytest.raises(cp.BadRequest, match=expected):
            act()
    else:
        assert act() == expected


# -- answers ----------------------------------------------------------------

CHAT_SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def chunk(delta=None, finish=None, **rest):
    choice = {"index": 0, "content_filter_results": CHAT_SAFE, "delta": delta or {}, "finish_reason": finish}
    return {"choices": [choice], "created": 1, "id": "up-1", "model": "m", **rest}


def tools(*calls, **rest):
    return {"content": None, "tool_calls": [
        {k: v for k, v in (("index", i), ("id", c), ("function", {k: v for k, v in (
            ("name", n), ("arguments", a)) if v is not None})) if v is not None} for i, c, n, a in calls], **rest}


USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "reasoning_tokens": 0}
DONE = "[DONE]"
# name, chunks, (content, calls, finish_reason) or the error's words, other fields of the message
ANSWERS = [
    ("text", [{"choices": [], "prompt_filter_results": []}, chunk({"role": "assistant", "content": ""}),
              chunk({"content": "Hé"}), chunk({"content": 'l"\\\n'}), chunk({"content": "o"}), chunk({}, "stop", usage=USAGE), DONE],
     ('Hél"\\\no', [], "stop"), {}),
    ("calls of one index", [chunk(tools((0, "t1", "f", None))), chunk(tools((0, None, None, ""))),
                            chunk(tools((0, None, None, '{"a"'))), chunk(tools((0, None, None, ":1}"))),
                            chunk(tools((0, "t2", "g", None))), chunk(tools((0, None, None, "[]"))), chunk({}, "stop"), DONE],
     (None, [("t1", "f", '{"a":1}'), ("t2", "g", "[]")], "tool_calls"), {}),
    ("interleaved", [chunk(tools((3, "a", "f", ""), (4, "b", "g", ""))), chunk(tools((4, None, None, "2"), (3, None, None, "1"))),
                     chunk(tools((4, "b", None, "3"))), chunk({}, "tool_calls")],
     (None, [("a", "f", "1"), ("b", "g", "23")], "tool_calls"), {}),
    ("name after id, no arguments", [chunk(tools((0, "a", None, "{"))), chunk(tools((0, None, "f", None))),
                                     chunk(tools((0, None, None, "}"), (1, "b", "g", None))), chunk({}, "tool_calls")],
     (None, [("a", "f", "{}"), ("b", "g", "{}")], "tool_calls"), {}),
    ("no ids", [chunk(tools((0, None, "f", "1"), (1, None, "g", "2"))), chunk({}, "stop")],
     (None, [("call_up-1_0", "f", "1"), ("call_up-1_1", "g", "2")], "tool_calls"), {}),
    ("no ids, one index", [chunk(tools((0, None, "f", "1"))), chunk(tools((0, None, "g", "2"))), chunk({}, "stop")],
     (None, [("call_up-1_0", "f", "1"), ("call_up-1_1", "g", "2")], "tool_calls"), {}),
    ("latest without index", [chunk(tools(([], "a", "f", "1"))), chunk(tools((None, None, None, "2"))), chunk({}, "stop")],
     (None, [("a", "f", "12")], "tool_calls"), {}),
    ("arguments as object", [chunk(tools((0, "a", "f", {"x": 1}))), chunk({}, "function_call")],
     (None, [("a", "f", '{"x":1}')], "tool_calls"), {}),
    ("cut by length", [chunk(tools((0, "a", "f", ""))), chunk({}, "length")], (None, [("a", "f", "")], "length"), {}),
    ("gemini", [chunk({"role": "assistant", "reasoning_text": "hm", "content": ""}, usage=ZERO), chunk({"content": "Now"}, usage=ZERO),
                chunk(tools((0, "a", "f", "{}"), reasoning_opaque="OPQ"), "tool_calls", usage=USAGE), chunk({"reasoning_text": "!"}, usage=ZERO)],
     ("Now", [("a", "f", "{}")], "tool_calls"), {"reasoning_content": "hm!", "reasoning_opaque": PACKED + " "}),
    ("thinking fields", [chunk({"cot_summary": "a", "cot_id": 1}), chunk({"thinking": "b", "signature": "OPQ"}), chunk({"content": "x"}, "stop")],
     ("x", [], "stop"), {"reasoning_content": "ab", "reasoning_opaque": PACKED + " "}),
    ("split choices", [{"choices": [{"delta": {"content": "I look."}, "finish_reason": "tool_calls"},
                                    {"delta": tools((0, "a", "f", "{}")), "finish_reason": "tool_calls"}], "usage": USAGE}],
     ("I look.", [("a", "f", "{}")], "tool_calls"), {}),
    ("null choices, parts, late usage", [{"choices": None}, chunk({"content": [{"type": "text", "text": "a"}, {"type": "x"}]}),
                                         chunk({}, "stop", usage=None), {"choices": [], "usage": USAGE, "copilot_usage": {"total_nano_aiu": 7}}, DONE],
     ("a", [], "stop"), {}),
    ("tool_calls without calls", [chunk({"content": "a"}, "tool_calls")], ("a", [], "stop"), {}),
    ("only DONE", [chunk({"content": "a"}), DONE], ("a", [], "stop"), {}),
    ("only DONE, calls", [chunk(tools((0, "a", "f", None))), DONE], (None, [("a", "f", "{}")], "tool_calls"), {}),
    ("refusal", [chunk({"refusal": "No."}), chunk({}, "stop")], ("", [], "stop"), {"refusal": "No."}),
    ("filter", [chunk({"content": "a"}), {"choices": [{"finish_reason": "content_filter", "delta": {"copilot_annotations": {
        "TextCopyright": []}}, "content_filter_results": {"hate": {"filtered": True}, "sexual": {"filtered": False}}}]}],
     ("a", [], "content_filter"), {"refusal": "Copilot's content filter stopped this answer (hate, TextCopyright)."}),
    ("nothing but DONE", [DONE], "without finishing", {}), ("nothing", [chunk({"content": "a"})], "without finishing", {}),
    ("error", [chunk({"content": "a"}), {"error": {"code": "x", "message": "Broke."}}], "Broke.", {}),
    ("copilot_errors", [{"copilot_errors": [{"code": "x", "message": "Broke."}]}], "Broke.", {}),
    ("finish error", [chunk({}, "error")], "ended its answer with an error", {}),
    ("garbage", [chunk({"content": "a"}), "{\"choices\":["], "broken piece", {}), ("no object", ["[1]"], "no answer", {}),
    ("nameless", [chunk(tools((0, "a", None, "{}"))), chunk({}, "stop")], "nameless", {}),
]


def sse(chunks):
    return "".join("data: %s\n\n" % (c if isinstance(c, str) else json.dumps(c, separators=(",", ":"), ensure_ascii=False))
                   for c in chunks).encode()


def chat_chat_stream(**rest):
    return cp.ChatStream("id-1", "asked", 5, True, **rest)


def chat_frames(raw):
    """The chunks of a client's stream, its grammar checked; [] after an error."""
    events = [line[6:] for line in raw.decode().split("\n\n") if line]
    assert raw.decode().count("[DONE]") == 1 and events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in chunks} == {("id-1", "chat.completion.chunk", 5, "asked")}
    usage = chunks.pop()
    assert usage["choices"] == [] and chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["finish_reason"] is None for c in chunks] == [True] * (len(chunks) - 1) + [False]
    message, calls = {"role": "assistant", "content": ""}, []
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
    return {**usage, "object": "chat.completion", "choices": [{"index": 0, "message": message, "logprobs": None,
                                                               "finish_reason": chunks[-1]["choices"][0]["finish_reason"]}]}


def chat_run(pieces, sink):
    translation = cp.Translation(cp.ChatReader("chat:google"), sink)
    out = b"".join([translation.feed(piece) for piece in pieces])
    return out + translation.finish(), translation


@pytest.mark.parametrize("name, chunks, expected, more", ANSWERS, ids=[row[0] for row in ANSWERS])
def test_chat_answers_under_every_cut(name, chunks, expected, more):
    for pieces in cuts(sse(chunks)):
        if isinstance(expected, str):
            with pytest.raises(cp.UpstreamError, match=expected):
                chat_run(pieces, chat_chat_stream())
            continue
        out, translation = chat_run(pieces, chat_chat_stream())
        whole = chat_frames(out)
        choice = whole["choices"][0]
        content, calls, finish = expected
        made = [chat_call(*call) for call in calls]
        assert choice["message"] == {"role": "assistant", "content": content, **more, **({"tool_calls": made} if made else {})}
        assert choice["finish_reason"] == finish and translation.done == (DONE in chunks)
        folded = chat_chat_stream(fold=True)
        assert chat_run(pieces, folded)[0] == b"" and folded.whole() == whole
        if "usage" in str(chunks):
            assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (9, 5)
            assert whole["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_chat_json_answer_instead_of_a_stream():
    obj = {"choices": [{"finish_reason": "tool_calls", "message": {"content": "I look.", "role": "assistant"}},
                       {"finish_reason": "tool_calls", "message": {"tool_calls": [chat_call("a"), chat_call("b", "g", "")]}}],
           "id": "msg", "usage": USAGE}
    reader, sink = cp.ChatReader(), chat_chat_stream(fold=True)
    reader.read_json(obj, sink)
    sink.end(reader.finish_reason, reader.usage)
    message = sink.whole()["choices"][0]["message"]
    assert message["content"] == "I look." and reader.done and reader.usage.cache_read == 4
    assert message["tool_calls"] == [chat_call("a"), chat_call("b", "g", "{}")]
    with pytest.raises(cp.UpstreamError, match="Busy"):
        cp.ChatReader().read_json({"error": {"message": "Busy.", "code": "user_model_rate_limited"}}, sink)


class Told:
    """A sink that writes down what it is told."""

    def __init__(self):
        self.log = []

    def __getattr__(self, name):
        return lambda *args: self.log.append((name,) + args)


TRICKY = ["plain", "", "a\"b", "back\\slash", "line\nbreak", "\u2028 ü 日本 🎉", "\ud83d", '"content":"', "\x7f", "\\u0041", "data: [DONE]"]
CORPUS = [chunk({"content": text}, **rest) for text in TRICKY for rest in ({}, {"usage": None})] + [
    chunk({"content": "x"}, "stop"), chunk({"content": "y"}, "stop"), chunk({"content": "x"}, usage=ZERO), chunk({"content": "x"}, usage=USAGE),
    chunk({"content": "x", "role": "assistant"}), chunk({"content": None}), chunk({"content": "x", "reasoning_text": "r"}),
    chunk(tools((0, "a", "f", "{}"))), chunk({**tools((0, None, None, "1")), "content": "x"}), chunk({"content": "x", "refusal": None}),
    {**chunk({"content": "x"}), "choices": chunk({"content": "x"})["choices"] * 2},
    {"x": {"content": "x"}, **chunk({"content": "x"})}, {"x": {"content": "y"}, **chunk({"content": "x"})},
    {"choices": [], "usage": {**USAGE, "completion_tokens": 6}}, chunk({}, "length"),
    {**chunk({"content": "x"}), "choices": [{"delta": {"content": "x"}, "logprobs": {"content": []}}]}]


def test_chat_fast_route_tells_the_same():
    dice, fast_ones = random.Random(10), 0
    for ascii_only in (True, False):
        datas = [json.dumps(c, ensure_ascii=ascii_only, separators=(",", ":")).encode("utf-8", "surrogatepass") for c in CORPUS]
        datas = [d for d in datas if b"\xed\xa0" not in d] + [datas[0].replace(b"plain", raw) for raw in (
            b'a","role":"x', b"\t", b"\\u00e9", b"\\ud83d\\ude00", b'x"}}],"choices":[{"delta":{"content":"y')]
        for _ in range(40):
            fast, full, one, other = cp.ChatReader(), cp.ChatReader(), Told(), Told()
            for data in dice.choices(datas, k=40) + dice.choices(datas[:20] + [datas[0]] * 5, k=20):
                full._head = b""  # never learned anything
                fast_ones += bool(fast._head) and fast._fast_text(data) is not None
                results = []
                for reader, sink in ((fast, one), (full, other)):
                    try:
                        results.append(reader.read(cp.SSEEvent("", data), sink))
                    except cp.UpstreamError as exc:
                        results.append(str(exc))
                assert results[0] == results[1] and one.log == other.log, data
                assert (fast.usage, fast.finish_reason, fast.done) == (full.usage, full.finish_reason, full.done)
    assert fast_ones > 300


def test_chat_stream_error_usage_and_names():
    sink = cp.ChatStream("i", "m", 1, False, names=cp.ToolNames([LONG]))
    sink.call("k", "c", cp.ToolNames([LONG]).short(LONG))
    sink.text("\ud83d")
    out = sink.take()
    assert LONG.encode() in out and rb'"\ud83d"' in out and sink.take() == b""
    sink.error(cp.UpstreamError("Gone."))
    sink.end("stop", cp.TokenUsage())
    sink.error(cp.UpstreamError("Again."))
    assert json.loads(sink.take()[6:])["error"]["message"] == "Gone."
    sink = cp.ChatStream("i", "m", 1, False)
    sink.end("stop", cp.TokenUsage(1, 2, 3, 4, 5, 1))
    assert b"usage" not in sink.take() and sink.at_boundary
    assert sink.whole()["usage"] == {
        "prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1}}
    assert sink.whole()["copilot_usage"] == {"total_nano_aiu": 5}


def random_turns(dice):
    turns = [cp.Turn("system", (cp.Text("S"),))] * dice.randrange(3)
    for n in range(dice.randrange(1, 6)):
        calls = ["c%d_%d" % (n, i) for i in range(dice.randrange(3))]
        turns.append(user("ask %d " % n, *[cp.Image(PNG)] * dice.randrange(2)))
        turns.append(assistant(dice.choice(["", "say "]), *[cp.Call(c, dice.choice([LONG, "f"]), "{}") for c in calls]))
        if calls:
            turns.append(user(*[cp.Result(c, (cp.Text("r"),) + (cp.Image(PNG),) * dice.randrange(2)) for c in calls]))
    return turns


def test_chat_random_conversations():
    for seed in range(200):
        dice = random.Random(seed)
        turns, model = random_turns(dice), dice.choice([GPT41, CHAT_CLAUDE, GEMINI])
        bodies = [cp.encode_chat(cp.Conversation(tuple(turns[:n])), model, cp.ToolNames())["messages"]
                  for n in range(1, len(turns) + 1)]
        plain = [[{k: v for k, v in m.items() if k != "copilot_cache_control"} for m in body] for body in bodies]
        for body, before, after in zip(bodies, plain, plain[1:] + plain[-1:]):
            assert sum("copilot_cache_control" in m for m in body) <= 4, seed
            before = before[:-1] if before and before[-1].get("content") == "Please continue." else before
            assert after[:len(before)] == before, seed  # the prefix does not move
            open_calls = []
            for message in before:
                if message["role"] == "tool":
                    open_calls.remove(message["tool_call_id"])
                elif open_calls:
                    raise AssertionError("a message between call and result, seed %d" % seed)
                open_calls += [call["id"] for call in message.get("tool_calls", ())]
                assert message["role"] != "assistant" or message["content"] or message["tool_calls"]


# ============================================================================
# 11. OpenAI Responses
# ============================================================================

R_GPT = cp.Model("gpt-5.4", vendor="OpenAI", output=1000,
                 efforts=("low", "medium", "high"))
R_PLAIN = cp.Model("gpt-4.1", vendor="Azure OpenAI", output=1000)
R_OURS = cp.responses_source(R_GPT)


def resp_encode(*turns, model=R_GPT, **settings):
    turns = tuple(cp.Turn(*turn, "messages.%d" % at) for at, turn in enumerate(turns))
    conv = cp.Conversation(turns, **settings)
    return cp.encode_responses(conv, model, cp.ToolNames(t.name for t in conv.tools))


def resp_said(role, *texts):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role,
            "content": [{"type": kind, "text": text} for text in texts]}


R_PIXEL = cp.Image("data:image/png;base64,AAAA")
R_PDF = cp.Document("application/pdf", "AAAA")
R_PIXEL_PART = {"type": "input_image", "image_url": R_PIXEL.url, "detail": "auto"}
R_CALL, R_RESULT = cp.Call("c1", "ls", '{"a": 1}'), cp.Result("c1", (cp.Text("ok"),))
R_CALL_ITEM = {"type": "function_call", "call_id": "c1", "name": "ls",
             "arguments": '{"a": 1}'}
R_THOUGHT = cp.Reasoning("hm", "ENC", R_OURS)
R_THOUGHT_ITEM = {"type": "reasoning", "encrypted_content": "ENC",
                "summary": [{"type": "summary_text", "text": "hm"}]}


def resp_output(output):
    return {"type": "function_call_output", "call_id": "c1", "output": output}


R_A, R_B, R_C = cp.Text("a"), cp.Text("b"), cp.Text("c")
RESP_INPUTS = [
    ("system anywhere", [("system", (R_A,)), ("user", (R_B,)), ("system", (R_C,))],
     [resp_said("system", "a"), resp_said("user", "b"), resp_said("system", "c")]),
    ("empty texts", [("system", ()), ("user", (cp.Text(""), R_B, R_C))],
     [resp_said("user", "b", "c")]),
    ("image", [("user", (R_A, R_PIXEL))],
     [{"type": "message", "role": "user",
       "content": [{"type": "input_text", "text": "a"}, R_PIXEL_PART]}]),
    ("call", [("assistant", (R_A, R_CALL)), ("user", (R_RESULT, R_B))],
     [resp_said("assistant", "a"), R_CALL_ITEM, resp_output("ok"),
      resp_said("user", "b")]),
    ("reasoning", [("assistant", (R_THOUGHT, R_A, R_THOUGHT._replace(text=""), R_CALL)),
                   ("user", (R_RESULT,))],
     [R_THOUGHT_ITEM, resp_said("assistant", "a"), {**R_THOUGHT_ITEM, "summary": []},
      R_CALL_ITEM, resp_output("ok")]),
    ("foreign reasoning", [("assistant", (cp.Reasoning("x", "ENC", "chat:google"),
                                          cp.Reasoning("y", "", R_OURS), R_A))],
     [resp_said("assistant", "a")]),
    ("reasoning alone", [("assistant", (R_A, R_THOUGHT, R_THOUGHT))],
     [resp_said("assistant", "a")]),
    ("result with an image", [("assistant", (R_CALL,)),
                              ("user", (cp.Result("c1", (R_A, R_PIXEL)),))],
     [R_CALL_ITEM, resp_output([{"type": "input_text", "text": "a"}, R_PIXEL_PART])]),
    ("failed result", [("assistant", (R_CALL,)),
                       ("user", (R_RESULT._replace(is_error=True),))],
     [R_CALL_ITEM, resp_output("Error:\nok")]),
    ("empty result", [("assistant", (R_CALL,)), ("user", (cp.Result("c1", ()),))],
     [R_CALL_ITEM, resp_output("")]),
    ("orphan call", [("assistant", (R_CALL, R_A))],
     [R_CALL_ITEM, resp_said("assistant", "a"),
      resp_output("Error: the call was interrupted, it has no result.")]),
    ("document", [("user", (R_PDF,))], cp.BadRequest),
    ("document in a result", [("user", (cp.Result("c1", (R_PDF,)),))], cp.BadRequest),
    ("image of the assistant", [("assistant", (R_PIXEL,))], cp.BadRequest),
]


@pytest.mark.parametrize("name, turns, expected", RESP_INPUTS)
def test_responses_input(name, turns, expected):
    if expected is cp.BadRequest:
        with pytest.raises(cp.BadRequest, match=r"^messages\.0: .*(pdf|image)"):
            resp_encode(*turns)
    else:
        assert resp_encode(*turns)["input"] == expected


R_TOOL = cp.Tool("x" * 70, "does", {"properties": {"a": {}}})
R_SHORT = cp.ToolNames([R_TOOL.name]).short(R_TOOL.name)
R_TOOL_ENTRY = {"type": "function", "name": R_SHORT, "description": "does",
                "strict": False,
                "parameters": {"type": "object", "properties": {"a": {}}}}
R_ALWAYS = {"model": "gpt-5.4", "stream": True, "store": False,
          "include": ["reasoning.encrypted_content"]}
RESP_SETTINGS = [
    ("nothing", {}, {}),
    ("tools", dict(tools=(R_TOOL,), tool_choice="=" + R_TOOL.name, parallel=False),
     {"tools": [R_TOOL_ENTRY], "tool_choice": {"type": "function", "name": R_SHORT},
      "parallel_tool_calls": False}),
    ("strict", dict(tools=(R_TOOL._replace(strict=True),), tool_choice="required"),
     {"tools": [{**R_TOOL_ENTRY, "strict": True}], "tool_choice": "required"}),
    ("choice without tools", dict(tool_choice="auto", parallel=True), {}),
    ("small limit", dict(max_tokens=1), {"max_output_tokens": 16}),
    ("large limit", dict(max_tokens=5000), {"max_output_tokens": 1000}),
    ("effort", dict(effort="max", thinking=True),
     {"reasoning": {"effort": "high", "summary": "auto"}}),
    ("summary only", dict(thinking=True), {"reasoning": {"summary": "auto"}}),
    ("samplers go", dict(temperature=0.0, top_p=0.5, stop=("x",)), {}),
    ("schema", dict(schema={"schema": {"type": "object"}, "strict": True}),
     {"text": {"format": {"type": "json_schema", "name": "answer", "strict": True,
                          "schema": {"type": "object"}}}}),
    ("any JSON, extra", dict(schema={}, extra={"verbosity": "low", "metadata": {}}),
     {"text": {"format": {"type": "json_object"}, "verbosity": "low"}, "metadata": {}}),
    ("user", dict(user="me"), {"prompt_cache_key": "me"}),
    ("own key", dict(user="me", extra={"prompt_cache_key": "k"}),
     {"prompt_cache_key": "k"}),
]


@pytest.mark.parametrize("name, settings, expected", RESP_SETTINGS)
def test_responses_settings(name, settings, expected):
    body = resp_encode(("user", (cp.Text("hi"),)), **settings)
    assert body == {**R_ALWAYS, "input": [resp_said("user", "hi")], **expected}


def test_responses_settings_of_a_model_that_does_not_reason():
    body = resp_encode(model=R_PLAIN, temperature=0.0, top_p=0.5, effort="high",
                       thinking=True, user="u" * 150)
    assert len(body.pop("prompt_cache_key")) == 64
    assert body == {"model": "gpt-4.1", "stream": True, "store": False,
                    "temperature": 0.0, "top_p": 0.5}
    assert cp.responses_source(R_PLAIN) == R_OURS
    with pytest.raises(cp.BadRequest, match="129 tools"):
        resp_encode(tools=tuple(R_TOOL._replace(name="t%d" % n) for n in range(129)))


def test_responses_prefix_is_stable():
    turns = [("user", (cp.Text("go"),)), ("assistant", (R_THOUGHT, R_CALL)),
             ("user", (R_RESULT, cp.Text("and"))), ("assistant", (cp.Text("done"),))]
    whole = resp_encode(*turns)["input"]
    for length in (1, 3):
        part = resp_encode(*turns[:length])["input"]
        assert cp.dumps(whole).startswith(cp.dumps(part)[:-1])


class RSink:
    """A Sink that keeps what it was told, neighbours of one kind joined."""

    at_boundary = True

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        def tell(*said):
            if self.told and name in ("text", "reasoning", "refusal", "arguments") and (
                    self.told[-1][:-1] == (name, *said[:-1])):
                self.told[-1] = (*self.told[-1][:-1], self.told[-1][-1] + said[-1])
            else:
                self.told.append((name, *said))
        return tell

    def take(self):
        return b""


class RWire:
    """Writes a /responses stream as Copilot does: every id new in every event."""

    def __init__(self, named=True, seed=3):
        self.raw, self.number, self.named = b"", 0, named
        self.dice = random.Random(seed)

    def id(self):
        return base64.b64encode(bytes(self.dice.choices(range(256), k=30))).decode()

    def event(self, kind, **fields):
        obj = {**fields, "sequence_number": self.number, "type": kind}
        self.number += 1
        head = "event: %s\n" % kind if self.named else ""
        self.raw += ("%sdata: %s\n\n" % (head, json.dumps(
            obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False))).encode()
        return self

    def start(self):
        for kind in ("response.created", "response.in_progress"):
            self.event(kind, response={"id": self.id(), "status": "in_progress",
                                       "instructions": "rate_limit", "output": []})
        return self

    def item(self, kind, index, added, **fields):
        return self.event("response.output_item." + kind, output_index=index,
                          item={"id": self.id(), **fields, **added})

    def deltas(self, kind, index, pieces, **fields):
        for piece in pieces:
            self.event("response.%s.delta" % kind, delta=piece, output_index=index,
                       item_id=self.id(), **fields)
        return self

    def message(self, index, pieces, told=True, kind="output_text"):
        text = "".join(pieces)
        part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
        self.item("added", index, {"content": []}, type="message", role="assistant")
        if told:
            self.deltas(kind, index, pieces, content_index=0, logprobs=[],
                        obfuscation="x9")
        self.event("response.%s.done" % kind, output_index=index, content_index=0,
                   item_id=self.id(), text=text)
        return self.item("done", index, {"content": [part]}, type="message")

    def thought(self, index, parts, told=True):
        self.item("added", index, {"encrypted_content": "wrong"}, type="reasoning")
        for at, text in enumerate(parts if told else ()):
            self.deltas("reasoning_summary_text", index, [text[:2], text[2:]],
                        summary_index=at)
        return self.item("done", index, {"encrypted_content": "ENC"}, type="reasoning",
                         summary=[{"type": "summary_text", "text": p} for p in parts])

    def call(self, index, pieces, told=True, added=True, **fields):
        about = {"type": "function_call", "call_id": "call_%d" % index, "name": "ls"}
        if added:
            self.item("added", index, {"arguments": ""}, **about)
        self.deltas("function_call_arguments", index, pieces if told else ())
        about.update(fields, arguments="".join(pieces))
        return self.item("done", index, about)

    def end(self, status="completed", output=(), **fields):
        return self.event("response." + status, copilot_usage={"total_nano_aiu": 7},
                          response={"id": self.id(), "status": status, "usage": {
                              "input_tokens": 9, "output_tokens": 5,
                              "input_tokens_details": {"cached_tokens": 4}},
                              "output": list(output), **fields})


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
R_STOP, R_TOOLS = ("end", "stop", R_SPENT), ("end", "tool_calls", R_SPENT)
R_LONG = ("end", "length", R_SPENT)
R_ERROR = {"code": "server_error", "message": "it broke"}
R_CITED = {"type": "message", "content": [
    {"type": "output_text", "text": "a", "annotations": [
        {"type": "url_citation", "url": "http://x", "title": "X"},
        {"type": "url_citation", "url": "http://x", "title": "X"},
        {"type": "file_citation", "url": "http://y"}]}]}
RESP_STREAMS = [
    ("all kinds", RWire().start().thought(0, ["one", "two"])
     .message(1, ["Hé", "l\"o\n"]).call(2, ['{"p', '":1}']).call(3, ["{}"]).end(),
     [("reasoning", "one\n\ntwo"), ("opaque", "ENC", R_OURS), ("text", "Hél\"o\n"),
      ("call", 2, "call_2", "ls"), ("arguments", 2, '{"p":1}'),
      ("call", 3, "call_3", "ls"), ("arguments", 3, "{}"), R_TOOLS]),
    ("no event lines", RWire(named=False).start().message(0, ["Hi"]).end(),
     [("text", "Hi"), R_STOP]),
    ("only done events", RWire().thought(0, ["one", "two"], False)
     .message(1, "Hi", False).call(2, ["{}"], told=False, added=False).end(),
     [("reasoning", "one\n\ntwo"), ("opaque", "ENC", R_OURS), ("text", "Hi"),
      ("call", 2, "call_2", "ls"), ("arguments", 2, "{}"), R_TOOLS]),
    ("unannounced arguments", RWire().call(0, ['{"a"', ":1}"], added=False).end(),
     [("call", 0, "call_0", "ls"), ("arguments", 0, '{"a":1}'), R_TOOLS]),
    ("only the terminal event", RWire().end(output=[R_CITED]), [("text", "a"), R_STOP]),
    ("told again at the end", RWire().thought(0, ["x"]).message(1, ["a"]).end(
        output=[R_CITED, R_THOUGHT_ITEM]), [
            ("reasoning", "x"), ("opaque", "ENC", R_OURS), ("text", "a"), R_STOP]),
    ("no arguments at all", RWire().call(0, []).end(),
     [("call", 0, "call_0", "ls"), ("arguments", 0, "{}"), R_TOOLS]),
    ("custom tool", RWire().item("done", 0, {}, type="custom_tool_call", call_id="c",
                                  name="patch", input="*** x").end(),
     [("call", 0, "c", "patch"), ("arguments", 0, '{"input":"*** x"}'), R_TOOLS]),
    ("refusal", RWire().message(0, ["No", "."], kind="refusal").end(),
     [("refusal", "No."), R_STOP]),
    ("strangers", RWire().event("ping").event("response.shrug.delta", delta="x").item(
        "added", 0, {}, type="web_search_call").message(1, ["Hi"]).end(),
     [("text", "Hi"), R_STOP]),
    ("cut arguments", RWire().call(0, ['{"a'], status="incomplete").end(
        "incomplete", incomplete_details={"reason": "max_output_tokens"}),
     [("call", 0, "call_0", "ls"), ("arguments", 0, '{"a'), R_LONG]),
    ("filtered", RWire().message(0, ["x"]).end(
        "incomplete", incomplete_details={"reason": "content_filter"}),
     [("text", "x"), ("refusal", cp.FILTERED), ("end", "content_filter", R_SPENT)]),
    ("failed", RWire().start().message(0, ["x"]).end("failed", error=R_ERROR),
     [("text", "x"), (cp.UpstreamError, "it broke")]),
    ("cancelled", RWire().end("cancelled", error=None),
     [(cp.UpstreamError, "the answer was given up")]),
    ("nested error", RWire().event("error", error=R_ERROR),
     [(cp.UpstreamError, "it broke")]),
    ("flat error", RWire().event("error", **R_ERROR), [(cp.UpstreamError, "it broke")]),
    ("early end", RWire().call(0, ['{"a']).message(1, ["x"]),
     [("call", 0, "call_0", "ls"), ("arguments", 0, '{"a'), ("text", "x"),
      (cp.UpstreamError, cp.CUT_SHORT)]),
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


@pytest.mark.parametrize("raw", [
    b"data: {\n\n", b"data: []\n\n", b"event: error\ndata: x\n\n",
    b'data: {"error":{}}\n\n',
    RWire().message(0, ["abc", "def"]).raw[:-30], b"data: \xff\n\n"])
def test_responses_reader_tells_garbage(raw):
    assert resp_read([raw])[-1][0] is cp.UpstreamError
    with pytest.raises(cp.UpstreamError):
        machine = cp.ResponsesPassThrough()
        machine.feed(raw)
        machine.finish()
        machine.whole()


def test_responses_reader_knows_an_error_without_a_type():
    told = resp_read([b'data: {"error":{"message":"it broke"}}\n\n'])
    assert told[-1][1].startswith("it broke")


def test_responses_reader_survives_wrong_types():
    for kind in cp.ResponsesReader.EVENTS:
        for odd in (None, 1, "x", [1], {"type": 1}):
            fields = {key: odd for key in ("item", "delta", "output_index", "response",
                                           "content_index", "error", "message")}
            told = resp_read([RWire().event(kind, **fields).raw])
            assert told[-1][0] in ("end", cp.UpstreamError)


def test_responses_reader_does_not_read_what_only_repeats():
    raw = b"event: response.created\ndata: {never parsed\n\n" + RWire().end().raw
    assert resp_read([raw + b"data: [DONE]\n\n"]) == [R_STOP]


@pytest.mark.parametrize("text", [
    "a", "é\u2028\U0001f600", '"', "\\", "\n", "", '","delta":"x', "{",
    "b", '"output_index":9,', '{"delta":"x","output_index":7}', "\x7f", "<"])
def test_responses_fast_paths_equal_the_full_parse(text):
    for order in (sorted, reversed):
        obj = {"content_index": 1, "delta": text, "item_id": "m\u00fc/+=",
               "output_index": 3, "obfuscation": text, "type": cp.TEXT_DELTA,
               "logprobs": [{"item_id": "n", "delta": "d"}] if text == "a" else []}
        obj = {key: obj[key] for key in order(list(obj))}
        first = cp.encode_sse(cp.TEXT_DELTA, {**obj, "delta": "x", "item_id": '"id"'})
        for raw in (cp.dumps(obj), json.dumps(obj).encode(),
                    cp.dumps({**obj, "output_index": 4}),
                    cp.dumps({**obj, "content_index": 2})):
            event, got, full = cp.SSEEvent(cp.TEXT_DELTA, raw), RSink(), RSink()
            quick, slow = cp.ResponsesReader(), cp.ResponsesReader()
            quick.read(cp.SSEDecoder().feed(first)[0], RSink())
            quick.read(event, got)
            slow._delta(cp.TEXT_DELTA, json.loads(raw), full)
            assert got.told == full.told and quick._told >= slow._told
            machine, parsed = cp.ResponsesPassThrough(), json.loads(raw)
            machine.feed(first)
            sent = machine.feed(b"event: %b\ndata: %b\n\n" % (
                cp.TEXT_DELTA.encode(), raw))
            machine._pin_ids(parsed)
            assert cp.loads(cp.SSEDecoder().feed(sent)[0].data) == parsed


def test_responses_fast_paths_leave_broken_events_to_the_parser():
    start = RWire().message(0, ["x"]).raw
    good = cp.SSEDecoder().feed(RWire().deltas(
        "output_text", 0, ["y"], content_index=0, logprobs=[]).raw)[0].data
    for bad in (good[:-1], good[:40], good.replace(b"y", b"\xff"),
                good.replace(b"y", b"\x01")):
        told = resp_read([start, b"event: %b\ndata: %b\n\n" % (
            cp.TEXT_DELTA.encode(), bad)])
        assert "broken piece" in told[-1][1]


def test_responses_stop_sequence_ends_the_text():
    for stops, pieces, expected in [
            (("END",), ["one E", "N", "D two"], "one "),
            (("END",), ["one EN"], "one EN"), (("aab",), list("aaaabaab"), "aa"),
            (("b", "abc"), ["xabc"], "xa"), (("\n\n",), ["a\nb\n", "\nc"], "a\nb")]:
        sink = RSink()
        stop = cp.StopAt(sink, stops)
        for piece in pieces:
            stop.text(piece)
        stop.call(1, "c", "ls")
        stop.end("tool_calls", R_SPENT)
        hit = "".join(pieces) != expected
        assert sink.told == [("text", expected)] + (
            [R_STOP] if hit else [("call", 1, "c", "ls"), R_TOOLS])
        assert stop.at_boundary and stop.take() == b""


def test_responses_random_streams_tell_what_was_written():
    for seed in range(200):
        dice = random.Random(seed)
        script, wanted = RWire(named=dice.random() < 0.8, seed=seed).start(), []
        for index in range(dice.randrange(5)):
            pieces = ["".join(dice.choices('ab"\\é{}\n,', k=dice.randrange(1, 6)))
                      for _ in range(dice.randrange(1, 5))]
            told, text = dice.random() < 0.7, "".join(pieces)
            kind = dice.choice(["text", "call", "thought"])
            if kind == "text":
                script.message(index, pieces, told)
                wanted.append(("text", text))
            elif kind == "call":
                script.call(index, pieces, told, added=dice.random() < 0.8)
                wanted += [("call", index, "call_%d" % index, "ls"),
                           ("arguments", index, text)]
            else:
                script.thought(index, pieces, told)
                wanted += [("reasoning", "\n\n".join(pieces)),
                           ("opaque", "ENC", R_OURS)]
        joined = RSink()
        for name, *said in wanted:
            getattr(joined, name)(*said)
        calls = any(name == "call" for name, *_ in wanted)
        cut = dice.randrange(len(script.end().raw))
        assert resp_read([script.raw[:cut], script.raw[cut:]]) == (
            joined.told + [R_TOOLS if calls else R_STOP]), seed


def resp_ids(obj):
    """(name, id) of every id in an event."""
    response = obj.get("response", {})
    return [pair for pair in [
        ("response", response.get("id")), (obj.get("output_index"), obj.get("item_id")),
        (obj.get("output_index"), obj.get("item", {}).get("id")),
        *((at, item.get("id")) for at, item in enumerate(response.get("output", [])))]
        if pair[1]]


def resp_without_ids(events):
    plain = [(name, json.dumps(obj, sort_keys=True)) for name, obj in events]
    return [(name, re.sub(r'"(item_)?id": "[^"]*"', "", text)) for name, text in plain]


def test_responses_pass_through_changes_ids_only_under_every_cut():
    script = RWire().start().thought(0, ["one"]).message(1, ["Hé", "l\"o", "\n"])
    script.call(2, ['{"p', '":1}']).end(output=[{"id": script.id()} for _ in range(3)])
    sent = [(name, json.loads(data)) for name, data in
            cp.SSEDecoder().feed(script.raw)]
    first = {}
    for _, obj in sent:
        for key, value in resp_ids(obj):
            first.setdefault(key, value)
    assert len(first) == 4
    for pieces in cuts(script.raw):
        machine = cp.ResponsesPassThrough()
        got = frames(b"".join(map(machine.feed, pieces)) + machine.finish())
        assert resp_without_ids(got) == resp_without_ids(sent)
        assert all(first[k] == value for _, obj in got for k, value in resp_ids(obj))
        assert (machine.usage, machine.finished, machine.done) == (R_SPENT, True, True)
        assert machine.whole()["copilot_usage"] == {"total_nano_aiu": 7}
        assert machine.whole()["id"] == first["response"]


def test_responses_pass_through_leaves_bytes_alone():
    raw = (b'event: response.created\ndata: {"response": {"id": "r"},  "x": 1.50}\n\n'
           b'event: new.kind\ndata: {"a":\ndata: 1}\n\n: comment\n\ndata: [DONE]\n\n'
           b'event: response.x.delta\ndata: {"delta": "a"}\n\n')
    machine = cp.ResponsesPassThrough()
    assert machine.feed(raw) == raw.replace(b": comment\n\ndata: [DONE]\n\n", b"")
    assert not machine.done
    with pytest.raises(cp.UpstreamError, match="without finishing"):
        machine.finish()


def test_responses_pass_through_fails_as_clients_understand():
    script = RWire().start().message(0, ["x"])
    for pieces in cuts(script.raw + b"data: garbage\n\n"):
        machine, got = cp.ResponsesPassThrough(), b""
        try:
            for piece in pieces:
                got += machine.feed(piece)
        except cp.UpstreamError:
            got += machine.fail(cp.UpstreamError("broken", code="rate_limit_exceeded"))
        events = [obj for _, obj in frames(got)]
        assert len(events) == script.number + 2
        assert events[-2]["error"]["message"] == events[-2]["message"] == "broken"
        assert events[-1]["response"]["error"] == {
            "code": "rate_limit_exceeded", "message": "broken"}
    assert len(frames(cp.ResponsesPassThrough().fail(cp.UpstreamError("x")))) == 2
    for script in (RWire().end("failed", error=R_ERROR),
                   RWire().event("error", **R_ERROR)):
        machine = cp.ResponsesPassThrough()
        assert machine.feed(script.raw) and machine.finish() == b""
        with pytest.raises(cp.UpstreamError, match="it broke"):
            machine.whole()


def test_responses_frame_of_a_megabyte():
    tools = [{"name": "t", "description": "d" * 1000}] * 1000
    script = RWire().start().message(0, ["x"]).end(tools=tools)
    assert len(script.raw) > 10 ** 6
    pieces = [script.raw[at:at + 16384] for at in range(0, len(script.raw), 16384)]
    assert resp_read(pieces) == [("text", "x"), R_STOP]
    machine = cp.ResponsesPassThrough()
    got = frames(b"".join(map(machine.feed, pieces)))
    assert got[-1][1]["response"]["tools"] == tools


RESP_PREPARED = [
    ("kept", {"input": "hi", "new": {"a": None}, "reasoning": None},
     {"input": "hi", "new": {"a": None}}),
    ("left out", {"store": True, "service_tier": "auto", "conversation": None,
                  "background": False, "previous_response_id": None, "stream": False,
                  "client_metadata": {}}, {}),
    ("ids", {"input": [{"id": "x", "type": "message"}, {"id": "y", "call_id": "c"},
                       {"type": "reasoning", "id": "z", "encrypted_content": "E"}]},
     {"input": [{"type": "message"}, {"call_id": "c"},
                {"type": "reasoning", "encrypted_content": "E"}]}),
    ("tools", {"tools": [{"type": "function", "name": "f"}, {"type": "namespace"},
                         {"type": "web_search"}, {"type": "mcp"}, {"type": "custom"}]},
     {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"},
                {"type": "custom"}]}),
    ("no tool left", {"tools": [{"type": "namespace"}]}, {}),
    ("chosen tool", {"tools": [{"type": "mcp"}], "tool_choice": {"type": "mcp"}},
     {"tools": [{"type": "mcp"}], "tool_choice": {"type": "mcp"}}),
    ("limits", {"max_output_tokens": 8}, {"max_output_tokens": 16}),
    ("large", {"max_output_tokens": 32000}, {"max_output_tokens": 1000}),
    ("effort", {"reasoning": {"effort": "xhigh", "summary": "auto"}},
     {"reasoning": {"effort": "high", "summary": "auto"}}),
    ("includes", {"include": ["usage", "reasoning.encrypted_content"]},
     {"include": ["reasoning.encrypted_content"]}),
    ("only usage", {"include": ["usage"]}, {}),
    ("memory", {"previous_response_id": "r"}, "previous_response_id.* full input"),
    ("background", {"background": True}, "background"),
    ("conversation", {"conversation": "c"}, "conversation"),
    ("reference", {"input": [1, {"type": "item_reference", "id": "x"}]}, r"^input\.1"),
    ("wrong tools", {"tools": {}}, "^tools: "),
    ("wrong effort", {"reasoning": {"effort": 1}}, r"^reasoning\.effort: "),
]


@pytest.mark.parametrize("name, body, expected", RESP_PREPARED)
def test_responses_prepared(name, body, expected):
    before = json.dumps(body)
    if isinstance(expected, str):
        with pytest.raises(cp.BadRequest, match=expected):
            cp.prepare_responses(body, R_GPT)
    else:
        assert cp.prepare_responses(body, R_GPT) == {
            "model": "gpt-5.4", "stream": True, "store": False, **expected}
    assert json.dumps(body) == before


def test_responses_left_out_names_fields_and_tools():
    assert cp.left_out({
        "service_tier": "auto", "background": False, "tools": [
            {"type": "namespace"}, {"type": "function"}]
    }) == ["service_tier", "tool namespace"]


def test_responses_web_search():
    assert cp.search_request("cats", R_GPT) == {
        "model": "gpt-5.4", "stream": True, "store": False, "input": "cats",
        "tools": [{"type": "web_search"}], "tool_choice": "required",
        "reasoning": {"effort": "low"}}
    search = {"type": "web_search_call", "action": {"type": "search", "query": "cats"}}
    call, result, text = cp.search_blocks({"output": [
        {"type": "web_search_call"}, search, R_CITED]}, "srvtoolu_1")
    assert call == {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
                    "input": {"query": "cats"}}
    assert result == {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
                      "content": [{"type": "web_search_result", "url": "http://x",
                                   "title": "X", "page_age": None,
                                   "encrypted_content": ""}]}
    assert text == {"type": "text", "text": "a"}
    assert len(cp.search_blocks({}, "x")) == 2


# ============================================================================
# 12. Native messages
# ============================================================================

NATIVE = {model.id: model for model in CATALOGUE if cp.MESSAGES in model.endpoints}
CONTEXT = "context-management-2025-06-27"
MARKED = {"type": "ephemeral"}


def ask_of(**more):
    """A Messages body that needs no repair."""
    return {"model": "claude-haiku-4.5", "max_tokens": 4000,
            "messages": [{"role": "user", "content": "hi"}], **more}


def turns(*contents):
    """Messages by turns, user first; a tuple is (role, content)."""
    return [{"role": one[0], "content": one[1]} if isinstance(one, tuple) else {
        "role": ("user", "assistant")[at % 2], "content": one}
        for at, one in enumerate(contents)]


def words(text, **more):
    return {"type": "text", "text": text, **more}


def tool_of(name="t", **more):
    return {"name": name, "input_schema": {"type": "object"}, **more}


def use_of(call, name="t"):
    return {"type": "tool_use", "id": call, "name": name, "input": {}}


def result_of(call, content="ok"):
    return {"type": "tool_result", "tool_use_id": call, "content": content}


def prepared(body, model="claude-haiku-4.5", betas=(), lessons=None):
    """What goes up, checked to be whole JSON and to leave the body alone."""
    before = json.dumps(body)
    raw = cp.dumps(body)
    out, names = cp.prepare_messages(
        raw, body, NATIVE[model], lessons or cp.Lessons(), betas)
    assert json.dumps(body) == before
    return cp.loads_object(out), names


THOUGHT = {"type": "thinking", "thinking": "", "signature": "EqQB"}
OURS = {"type": "thinking", "thinking": "x", "signature": cp.pack_reasoning("o", "chat:x")}
INTERRUPTED = {"type": "tool_result", "tool_use_id": "b", "is_error": True,
        "content": "The call was interrupted."}
REPAIRS = [  # name, model, what is put in, what comes out instead
    ("date", "claude-haiku-4.5", {"model": "claude-haiku-4-5-20251001"},
     {"model": "claude-haiku-4.5"}),
    ("top fields", "claude-haiku-4.5", {"cache_control": MARKED, "service_tier": "auto",
     "speed": "fast", "metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
    ("scope", "claude-haiku-4.5", {"system": [words("s", cache_control={
        "type": "ephemeral", "scope": "global", "ttl": "1h"})]},
     {"system": [words("s", cache_control={"type": "ephemeral", "ttl": "1h"})]}),
    ("billing", "claude-haiku-4.5",
     {"system": [words("x-anthropic-billing-header: cc_version=2"), words("s")]},
     {"system": [words("s")]}),
    ("billing alone", "claude-haiku-4.5",
     {"system": [words("x-anthropic-billing-header: cc")]}, {}),
    ("eager", "claude-haiku-4.5", {"tools": [tool_of(eager_input_streaming=True)]},
     {"tools": [tool_of()]}),
    ("server tools", "claude-haiku-4.5", {"tools": [
        {"type": "web_search_20250305", "name": "web_search"}, tool_of()],
        "tool_choice": {"type": "tool", "name": "web_search"}}, {"tools": [tool_of()]}),
    ("only server tools", "claude-haiku-4.5", {"tools": [
        {"type": "web_fetch_1", "name": "f"}], "tool_choice": {"type": "any"}}, {}),
    ("effort unlisted", "claude-haiku-4.5", {"output_config": {"effort": "high"}}, {}),
    ("effort above", "claude-opus-4.5", {"output_config": {"effort": "max", "format": {}}},
     {"output_config": {"effort": "high", "format": {}}}),
    ("adaptive to budget", "claude-haiku-4.5",
     {"thinking": {"type": "adaptive", "display": "updates"}, "max_tokens": 64000,
      "output_config": {"effort": "low"}},
     {"thinking": {"type": "enabled", "budget_tokens": 4000}, "max_tokens": 64000}),
    ("budget to adaptive", "claude-opus-5",
     {"thinking": {"type": "enabled", "budget_tokens": 31999}},
     {"thinking": {"type": "adaptive"}}),
    ("budget clamped", "claude-haiku-4.5",
     {"thinking": {"type": "enabled", "budget_tokens": 31999}},
     {"thinking": {"type": "enabled", "budget_tokens": 3999}}),
    ("budget raised", "claude-haiku-4.5", {"thinking": {
        "type": "enabled", "budget_tokens": 5}, "temperature": 0},
     {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("no room to think", "claude-haiku-4.5", {"max_tokens": 500, "thinking": {
        "type": "enabled", "budget_tokens": 400}}, {"max_tokens": 500}),
    ("forced tool", "claude-opus-5", {"thinking": {"type": "adaptive"}, "tools": [
        tool_of()], "tool_choice": {"type": "any"}},
     {"tools": [tool_of()], "tool_choice": {"type": "any"}}),
    ("samplers", "claude-haiku-4.5", {"temperature": 0.5, "top_p": 0.9},
     {"temperature": 0.5}),
    ("context without beta", "claude-haiku-4.5", {"context_management": {}}, {}),
    ("empty texts", "claude-haiku-4.5",
     {"messages": turns([words(" "), words("a")], [words("\n")], "b")},
     {"messages": [{"role": "user", "content": [words("a")]},
                   {"role": "user", "content": "b"}]}),
    ("foreign thinking", "claude-haiku-4.5",
     {"messages": turns("a", [OURS, dict(THOUGHT, signature=""), words("b")], "c")},
     {"messages": turns("a", [words("b")], "c")}),
    ("orphan call", "claude-haiku-4.5",
     {"tools": [tool_of()], "messages": turns(
         "a", [use_of("a"), use_of("b")], [result_of("a")])},
     {"tools": [tool_of()], "messages": turns(
         "a", [use_of("a"), use_of("b")], [INTERRUPTED], ("user", [result_of("a")]))}),
    ("last call", "claude-haiku-4.5",
     {"tools": [tool_of()], "messages": turns("a", [use_of("b")])},
     {"tools": [tool_of()], "messages": turns("a", [use_of("b")], [INTERRUPTED])}),
    ("orphan result", "claude-haiku-4.5",
     {"messages": turns("a", "b", [result_of("x"), words("c")], ("user", [result_of("y")]))},
     {"messages": turns("a", "b", [words("c")])}),
    ("tool reference", "claude-haiku-4.5",
     {"tools": [tool_of()], "messages": turns("a", [use_of("a")], [result_of("a", [
         {"type": "tool_reference", "tool_name": n} for n in ("t", "gone")])])},
     {"tools": [tool_of()], "messages": turns("a", [use_of("a")], [result_of("a", [
         {"type": "tool_reference", "tool_name": "t"},
         words("Tool gone is not available.")])])}),
    ("prefill", "claude-opus-5", {"messages": turns("a", "b")},
     {"messages": turns("a", "b", "Please continue.")}),
    ("system turn folded", "claude-sonnet-4.6",
     {"messages": turns("a", ("system", [words("s")]), ("system", []))},
     {"messages": turns("a", ("user", [words("s")]))}),
]


@pytest.mark.parametrize("name, model, given, expected", REPAIRS, ids=[r[0] for r in REPAIRS])
def test_native_repairs(name, model, given, expected):
    body = ask_of(**{"model": model, **given})
    fixed, betas = prepared(body, model)
    want = {"model": model, "max_tokens": 4000, "messages": body["messages"], **expected}
    assert fixed == want
    kept = [key for key in body if key in fixed]
    assert list(fixed) == kept, "the order of keys decides what is cached"
    entry = next(e for e in _catalogue() if e["id"] == model)
    refuse_body(MESSAGES, fixed, entry, betas)  # the fake knows what the real one refuses


def test_native_body_in_order_goes_up_as_it_came():
    body = ask_of(stream=True, system=[words("s", cache_control=MARKED)], tools=[tool_of()],
                  unknown={"kept": [1.50, None]}, messages=turns(
                      "a", [THOUGHT, use_of("1")], [result_of("1", [words("r")])]))
    raw = json.dumps(body, indent=1).encode()
    assert cp.prepare_messages(
        raw, body, NATIVE["claude-haiku-4.5"], cp.Lessons(), [])[0] is raw


def test_native_only_changed_slices_are_written_anew():
    raw = ('{"model":"haiku","messages":[{"role":"user","content":"é \\u00e9 1.50"}],'
           '"max_tokens":1e2,"speed":"fast","system":[{"type":"text","text":""},'
           '{"type":"text","text":"s"}]}').encode()
    out = prepared_raw(raw)
    assert out == raw.replace(b'"haiku"', b'"claude-haiku-4.5"').replace(
        b',"speed":"fast"', b"").replace(b'{"type":"text","text":""},', b"")
    spaced = json.dumps(cp.loads_object(raw)).encode()  # not our spelling: all anew
    assert cp.loads(prepared_raw(spaced)) == cp.loads(out)
    twice = raw.replace(b'"max_tokens":1e2', b'"x":{"model":"haiku"}')
    assert cp.loads(prepared_raw(twice)) == {
        "model": "claude-haiku-4.5", "messages": cp.loads(raw)["messages"],
        "x": {"model": "haiku"}, "system": [words("s")]}
    assert prepared_raw(b'{"speed":1,"messages":[]}') == (
        b'{"messages":[],"model":"claude-haiku-4.5"}')


def prepared_raw(raw):
    return cp.prepare_messages(raw, cp.loads_object(raw), NATIVE["claude-haiku-4.5"],
                               cp.Lessons(), [])[0]


def test_native_never_fails_on_strange_bodies():
    dice = random.Random(5)
    strange = [None, 3, "x", [], {}, [None], [{}], {"type": []}, [{"content": [[], {}]}]]
    body = ask_of(system=[words("s", cache_control=MARKED)], tools=[tool_of()],
                  tool_choice={"type": "tool", "name": "t"}, thinking={"type": "adaptive"},
                  output_config={"effort": "low"}, messages=turns(
                      "a", [THOUGHT, use_of("1")], [result_of("1", [words("r")])]))
    for _ in range(400):
        copy = json.loads(json.dumps(body))
        victim = dice.choice([obj for _, obj in walk(copy) if obj])
        victim[dice.choice(list(victim))] = dice.choice(strange)
        prepared(copy)


def test_native_marks_newest_four_stay():
    body = ask_of(tools=[tool_of(cache_control=MARKED)], system=[words("s", cache_control=MARKED)],
                  messages=turns([words("a", cache_control=MARKED)],
                                 [words("b", cache_control=MARKED)],
                                 [words("c", cache_control=MARKED),
                                  words("d", cache_control=MARKED)]))
    fixed, _ = prepared(body)
    assert "cache_control" not in fixed["tools"][0]
    assert "cache_control" not in fixed["system"][0]
    assert sum("cache_control" in block for _, block in walk(fixed["messages"])) == 4


def test_native_betas():
    given = ["claude-code-20250219, interleaved-thinking-2025-05-14", CONTEXT, CONTEXT]
    assert prepared(ask_of(context_management={}), betas=given) == (
        ask_of(context_management={}), ["interleaved-thinking-2025-05-14", CONTEXT])
    said = ask_of(messages=turns("a", ("system", "s")))
    fixed, betas = prepared(dict(said, model="claude-opus-5"), "claude-opus-5")
    assert fixed["messages"] == said["messages"] and betas == [cp.MID_SYSTEM_BETA]


LESSONS = [  # what was said, the body and betas before, what goes up after
    ("beta", "unsupported beta header(s): %s, other-1" % CONTEXT,
     {"context_management": {}}, {}, []),
    ("no betas", "invalid beta flag", {}, {}, []),
    ("field", "context_management: Extra inputs are not permitted",
     {"context_management": {}}, {}, []),
    ("deep field", "tools.0.custom.input_schema.odd: Extra inputs are not permitted",
     {"tools": [tool_of(), {"name": "u", "input_schema": {"odd": 1, "b": 2}}]},
     {"tools": [tool_of(), {"name": "u", "input_schema": {"b": 2}}]}, [CONTEXT]),
    ("tagged field", "messages.0.content.0.text.citations: Extra inputs are not permitted",
     {"messages": turns([words("a", citations=1)])}, {"messages": turns([words("a")])},
     [CONTEXT]),
    ("effort", 'output_config.effort "max" is not supported by model X; supported values: '
     "[medium]", {"output_config": {"effort": "max"}},
     {"output_config": {"effort": "medium"}}, [CONTEXT]),
    ("no effort", 'output_config.effort "max" is not supported by model X',
     {"output_config": {"effort": "max"}}, {}, [CONTEXT]),
    ("role", 'messages.1: Unexpected role "system"',
     {"messages": turns("a", ("system", "s"))}, {"messages": turns("a", ("user", "s"))},
     [CONTEXT]),
    ("signature", "messages.1.content.0: Invalid `signature` in `thinking` block",
     {"messages": turns("a", [THOUGHT, words("b")], "c")},
     {"messages": turns("a", [words("b")], "c")}, [CONTEXT]),
    ("max_tokens", "max_tokens: 4000 > 2000, which is the maximum allowed", {},
     {"max_tokens": 2000}, [CONTEXT]),
    ("adaptive", "adaptive thinking is not supported on this model",
     {"thinking": {"type": "adaptive"}},
     {"thinking": {"type": "enabled", "budget_tokens": 3999}}, [CONTEXT]),
    ("enabled", '"thinking.type.enabled" is not supported for this model.',
     {"thinking": {"type": "enabled", "budget_tokens": 2000}},
     {"thinking": {"type": "adaptive"}}, [CONTEXT]),
    ("adaptive budget", "thinking.adaptive.budget_tokens: Extra inputs are not permitted",
     {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}, [CONTEXT]),
]


@pytest.mark.parametrize("name, said, given, expected, betas", LESSONS,
                         ids=[r[0] for r in LESSONS])
def test_native_lessons(name, said, given, expected, betas):
    lessons, model = cp.Lessons(), NATIVE["claude-sonnet-4.6"]
    if name == "role":
        model = NATIVE["claude-opus-4.6"]
    body = ask_of(model=model.id, **given)
    refused = cp.upstream_error(400, {}, json.dumps({"error": {"message": said}}).encode())
    assert lessons.learn(model.id, cp.MESSAGES, refused, cp.dumps(body))
    fixed, names = cp.prepare_messages(cp.dumps(body), body, model, lessons, [CONTEXT])
    want = {**body, **expected}
    for key in set(given) - set(expected):
        want.pop(key)
    assert (cp.loads(fixed), names) == (want, betas)
    other, _ = cp.prepare_messages(
        cp.dumps(body), body, model._replace(id="other"), lessons, [CONTEXT])
    assert cp.loads(other) != dict(want, model="other") or name in (
        "no betas", "adaptive budget"), "a lesson holds for its model only"


def test_native_lessons_prefill_signature_and_what_teaches_nothing():
    lessons, body = cp.Lessons(), ask_of(messages=turns("a", "b"))
    assert prepared(body, lessons=lessons)[0] == body  # haiku takes a prefill
    refused = cp.upstream_error(400, {}, PREFILL.encode())
    assert "claude-haiku-4.5" in lessons.learn(
        "claude-haiku-4.5", cp.MESSAGES, refused, cp.dumps(body))
    assert prepared(body, lessons=lessons)[0]["messages"][-1]["role"] == "user"
    for exc in (cp.upstream_error(500, {}, PREFILL.encode()), cp.ContextOverflow(9, 8),
                cp.upstream_error(400, {}, b"no idea"), cp.BadRequest(PREFILL)):
        assert lessons.learn("m", cp.MESSAGES, exc, b"{}") == ""


def test_lessons_for_chat_and_responses():
    lessons = cp.Lessons()
    for endpoint, status, said in (
            (cp.CHAT, 400, "Unsupported parameter: 'temperature' is not supported with this "
             "model."),
            (cp.CHAT, 400, "Unsupported parameter: 'max_tokens' is not supported with this "
             "model. Use 'max_completion_tokens' instead."),
            (cp.CHAT, 400, "Unsupported value: 'minimal' is not supported with the 'm' model. "
             "Supported values are: 'low', and 'high'."),
            (cp.RESPONSES, 400, "Unsupported parameter: 'text.verbosity' is not supported"),
            (cp.RESPONSES, 401, "input item ID does not belong to this connection")):
        exc = cp.upstream_error(status, {}, said.encode())
        assert lessons.learn("m", endpoint, exc, b"{}"), said
    assert lessons.apply({"temperature": 0, "max_tokens": 5, "reasoning_effort": "minimal"},
                         "m", cp.CHAT) == {"max_completion_tokens": 5,
                                           "reasoning_effort": "low"}
    body = {"input": [{"id": "x", "call_id": "c"}], "text": {"verbosity": 1, "format": {}}}
    assert lessons.apply(body, "m", cp.RESPONSES) == {
        "input": [{"call_id": "c"}], "text": {"format": {}}}
    assert lessons.apply(body, "other", cp.RESPONSES) is body


STREAM_OK = b"".join(data(obj, obj["type"]) for obj in (
    {"type": "message_start", "message": {"usage": {
        "input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 5}}},
    {"type": "content_block_delta", "delta": {"text": '"usage" message_stop "error"'}},
    {"type": "message_delta", "copilot_usage": {"total_nano_aiu": 77}, "usage": {
        "input_tokens": 0, "output_tokens": 4, "cache_creation_input_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 3}}},
    {"type": "message_stop"}))
TAPPED_USAGE = cp.TokenUsage(9, 4, 5, 2, 77, 3)


@pytest.mark.parametrize("raw", [STREAM_OK, STREAM_OK.replace(b"\n", b"\r\n")],
                         ids=["lf", "crlf"])
def test_pass_through_is_identity_and_reads_usage(raw):
    for pieces in cuts(raw):
        tap, seen = cp.PassThrough(), b""
        for piece in pieces:
            assert tap.feed(piece) is piece
            seen += piece
            assert tap.done == (seen == raw), "the client would miss the end"
        assert tap.finish() == b"" and tap.usage == TAPPED_USAGE and tap.at_boundary


def test_pass_through_ends():
    cut = cp.PassThrough()
    cut.feed(STREAM_OK[:-40])
    with pytest.raises(cp.UpstreamError, match="without finishing"):
        cut.finish()
    assert not cut.at_boundary
    failed = cut.fail(cp.UpstreamError("broken", status=502))
    assert failed.startswith(b"\n\nevent: error\n") and b"broken" in failed
    unended = cp.PassThrough()  # no blank line, no newline at the end (UPSTREAM 17.4)
    unended.feed(STREAM_OK[:-2])
    assert not unended.done and unended.finish() == b"\n\n"
    told = cp.PassThrough()
    told.feed(data({"type": "error", "error": {"type": "overloaded_error"}}, "error"))
    assert told.done and told.finish() == b""
    gateway_error = cp.PassThrough()
    gateway_error.feed(data({"error": {"message": "out of luck", "code": "x"}}))
    with pytest.raises(cp.UpstreamError, match="out of luck"):
        gateway_error.finish()


def test_pass_through_tap_survives_anything():
    tap = cp.PassThrough()
    for piece in (b'data: {"usage"\n', b'data: ["usage"]\n', b'data: "message_stop"\n\n',
                  b'data: {"type":"message_delta","usage":3,"copilot_usage":[]}\n\n',
                  b'data: {"type":"message_start","message":7,"usage":null}\n\n',
                  b"data: \xff message_stop\n\n", b"data: " + b"x" * (1 << 20), b"yz", b"\n\n"):
        assert tap.feed(piece) is piece
    assert tap.usage == cp.TokenUsage() and not tap.finished and tap.at_boundary
    tap.feed(STREAM_OK)
    assert tap.done and tap.usage == TAPPED_USAGE


def test_native_usage_of_a_whole_message():
    assert cp.native_usage({"usage": {"input_tokens": 3, "output_tokens": 2},
                            "copilot_usage": {"total_nano_aiu": 5}}) == cp.TokenUsage(
                                3, 2, nano_aiu=5)
    assert cp.native_usage({}) == cp.native_usage({"usage": [], "copilot_usage": 1})


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
DATA = "\n".join('{"id": %d, "name": "item-%d", "price": %.2f, "tags": ["new", "red"], "ok": true}'
                 % (i, i * 7, i * 3.5) for i in range(20))
LOGS = "\n".join("2026-11-24T10:%02d:%02dZ INFO worker[%d]: GET /api/v1/items/%d 200 in %d ms"
                 % (i, 59 - i, 100 + i, i * 37, i * 13) for i in range(20))
FRENCH = ("Le serveur garde une connexion ouverte pour chaque flux. Quand le client s'en va, la "
          "requête est annulée aussitôt : personne ne paie des mots que personne ne lira. Si la "
          "réponse a été coupée, l'erreur dit pourquoi.")
RUSSIAN = ("Сервер держит одно соединение для каждого потока. Когда клиент уходит, запрос сразу "
           "отменяется, и никто не платит за слова, которых никто не прочтёт.")
CHINESE = "代理为每个流保持一个连接。客户端离开时,上游请求会在一秒内取消,所以没有人为没人读的文字付费。"
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
    text = cp.Estimator().text
    for sample in odd_texts(300):
        pieces = re.findall(cp.PIECES, sample)
        assert "".join(pieces) == sample
        for family in (cp.GPT, cp.CLAUDE_4, cp.CLAUDE_5, cp.GEMINI):
            assert text(sample, family) >= (1 if sample else 0)
            assert all(cp._Costs(family)[piece] > 0 for piece in pieces[:3])


@pytest.mark.parametrize("name, unit", [
    ("blanks, then x", " "), ("letter", "a"), ("capital", "A"), ("crlf", "\r\n"), ("dash", "-"),
    ("accent", "é"), ("camel", "aA"), ("marks", " ."), ("cjk", "语言"), ("emoji", "😀"),
    ("surrogate", "\ud800"), ("clitic", "'s"), ("base64", None), ("unicode", None)])
def test_tokens_pathological_text_is_linear(name, unit):
    dice, size = random.Random(1), 100_000
    alphabet = [chr(dice.randrange(0x110000)) for _ in range(9999)] if name == "unicode" else "AFZabz01/+"
    sample = unit * (size // len(unit)) if unit else "".join(dice.choice(alphabet) for _ in range(size))
    began = time.process_time()
    assert cp.Estimator().text(sample + "x" * ("x" in name), cp.CLAUDE_5) > 0
    assert time.process_time() - began < 1  # quadratic: minutes


def test_tokens_memo_is_bounded():
    costs = cp._Costs(cp.GPT)
    for number in range(costs.MOST + 5000):
        costs["w%d" % number]
    assert len(costs) <= costs.MOST
    assert costs["y" * 41] > 1 and "y" * 41 not in costs


@pytest.mark.parametrize("model, family", [
    ("claude-haiku-4.5", "CLAUDE_4"), ("claude-opus-4.6", "CLAUDE_4"), ("claude-opus-4-6", "CLAUDE_4"),
    ("claude-sonnet-4-20250514", "CLAUDE_4"), ("claude-3-7-sonnet-20250219", "CLAUDE_4"),
    ("claude-opus-4.7", "CLAUDE_5"), ("claude-opus-4-8", "CLAUDE_5"), ("claude-haiku-5", "CLAUDE_5"),
    ("claude-sonnet-5.5", "CLAUDE_5"), ("Claude-Fable-5", "CLAUDE_5"), ("claude-mythos", "CLAUDE_5"),
    ("gpt-5.3-codex", "GPT"), ("gemini-3.1-pro-preview", "GEMINI"), ("grok-4", "GROK"), ("", "GPT")])
def test_tokens_family(model, family):
    assert cp.family_of(model) == getattr(cp, family)


TOKENS_TOOL = {"name": "read_file", "description": "Read one file.", "input_schema": {
    "type": "object", "properties": {
        "path": {"type": "string", "description": "where"},
        "mode": {"type": "string", "enum": ["text", "bytes"]}}}}


def tokens_user(*content):
    return {"role": "tokens_user", "content": list(content)}


def test_tokens_claude_request_is_its_parts():
    estimator = cp.Estimator()
    words = lambda text: estimator.text(text, cp.CLAUDE_5)
    call = {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "/etc/hosts"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": CODE}]}
    body = {"system": [{"type": "text", "text": PROSE, "cache_control": {"type": "ephemeral"}}],
            "tools": [TOKENS_TOOL], "messages": [{"role": "tokens_user", "content": "hello"},
                                          {"role": "assistant", "content": [call]}, tokens_user(result)]}
    told = estimator.request(body, "claude-opus-5")
    spec = json.dumps({"name": TOKENS_TOOL["name"], "description": TOKENS_TOOL["description"],
                       "parameters": TOKENS_TOOL["input_schema"]}, separators=(",", ":"))
    assert told.static == words(PROSE) + 496 + 20 + words(spec)
    assert told.messages == 7 + 3 * 4 + words("hello") + 12 + words("read_file") + words(
        '{"path":"/etc/hosts"}') + 10 + words(CODE)
    assert not told.has_media and told.total == told.static + told.messages
    foo = {"messages": [{"role": "tokens_user", "content": "foo"}], "tools": [TOKENS_TOOL]}
    assert 0 < estimator.request(foo, "claude-haiku-4.5").total - 500 < 120  # /context shows this


def test_tokens_gpt_tools_are_declared_not_json():
    estimator = cp.Estimator()
    words = lambda text: estimator.text(text, cp.GPT)
    expected = 24 + 6 + words("read_file") + 2 + words("Read one file.") + 5 + 3 + words(
        "path") + words("mode") + 2 + words("where") + 7 + words("text") + words("bytes")
    chat = {"type": "function", "function": {
        "name": TOKENS_TOOL["name"], "description": TOKENS_TOOL["description"], "parameters": TOKENS_TOOL["input_schema"]}}
    for tool in (TOKENS_TOOL, chat, {"type": "function", **chat["function"]}):
        assert estimator.request({"tools": [tool]}, "gpt-5").static == expected
    assert estimator.request({"tools": [{"type": "web_search"}]}, "gpt-5").static == 30


def test_tokens_three_dialects_agree():
    request = cp.Estimator().request
    shapes = [
        {"system": PROSE, "messages": [tokens_user({"type": "text", "text": CODE})]},
        {"messages": [{"role": "system", "content": PROSE}, {"role": "tokens_user", "content": CODE}]},
        {"instructions": PROSE, "input": [tokens_user({"type": "input_text", "text": CODE})]},
        {"instructions": PROSE, "input": CODE}]
    told = [request(body, "gpt-5-mini") for body in shapes]
    assert len({t.messages for t in told}) == 1
    assert [t.static - told[0].static for t in told] == [0, 3, 0, 0]  # a system message is one
    called = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": CODE}}]}
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": CODE}
    assert request({"messages": [called]}, "gpt-5") == request({"input": [item]}, "gpt-5")


def png(wide, high, size=64):
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", wide, high)
                            + b"\xa5" * size).decode()


@pytest.mark.parametrize("name, head, size", [
    ("png", base64.b64decode(png(640, 480)), (640, 480)),
    ("gif", b"GIF89a" + struct.pack("<HH", 20, 30) + b"\0" * 9, (20, 30)),
    ("webp lossy", b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 99, 77), (99, 77)),
    ("webp extended", b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + b"\x1f\x03\0\x57\x02\0", (800, 600)),
    ("jpeg behind Exif", b"\xff\xd8\xff\xe1\x40\x02" + b"\xff\xc0" * 0x2000 + b"\xff\xc4\0\4ab"
     b"\xff\xc2\0\x11\x08" + struct.pack(">HH", 90, 160) + b"\3", (160, 90)),
    ("cut short", b"\xff\xd8\xff\xe1\x40", (0, 0)), ("no image", b"%PDF-1.7", (0, 0)),
    ("jpeg of zeros", b"\xff\xd8\xff\0\0\0\0\0\0\0\0\0", (0, 0)), ("nothing", b"", (0, 0))])
def test_tokens_image_size(name, head, size):
    assert tuple(cp.image_size(head)) == size


@pytest.mark.parametrize("part, claude, gpt", [
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png(280, 56)}}, 20, 22),
    ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + png(280, 56)}}, 20, 22),
    ({"type": "input_image", "image_url": "data:image/png;base64," + png(280, 56)}, 20, 22),
    ({"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}, 1600, 1600),
    ({"type": "image", "source": {"type": "base64", "data": png(9999, 9999, 3 << 20)}}, 4000, 3000),
    ({"type": "image", "source": {"type": "base64", "data": "é$%"}}, 1600, 1600), ({"type": "image"}, 1600, 1600),
    ({"type": "document", "source": {"type": "base64", "data": "J" * 200_000}}, 7500, 7500),
    ({"type": "input_file", "file_data": "data:application/pdf;base64," + "J" * 99}, 2500, 2500)])
def test_tokens_media_by_size_not_as_text(part, claude, gpt):
    for model, expected in (("claude-opus-5", claude), ("gpt-5", gpt)):
        bare = cp.Estimator().request({"messages": [tokens_user()]}, model)
        inside = tokens_user({"type": "tool_result", "content": [part]})
        for message, more in ((tokens_user(part), 0), (inside, 10)):
            told = cp.Estimator().request({"messages": [message]}, model)
            assert told.messages - bare.messages == expected + more and told.has_media


def test_tokens_thinking_and_odd_shapes():
    bare = cp.Estimator().request({"messages": [tokens_user()]}, "claude-opus-5")
    for part in ({"type": "thinking", "thinking": "hm", "signature": "x" * 999},
                 {"type": "redacted_thinking", "data": "x" * 999},
                 {"type": "reasoning", "encrypted_content": "x" * 999}, None, 7, {"type": []}, []):
        assert cp.Estimator().request({"messages": [tokens_user(part)]}, "claude-opus-5") == bare
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": PROSE}}
    told = cp.Estimator().request({"messages": [tokens_user(plain)]}, "claude-opus-5").messages
    assert told == bare.messages + cp.Estimator().text(PROSE, cp.CLAUDE_5)
    for body in ({}, {"messages": 5, "tools": {}, "system": 7}, {"tools": [3, {"function": 1}]},
                 {"tools": [{"name": 5, "input_schema": {"properties": [], "enum": 1}}]}, {"prompt": [["a"]]}):
        for model in ("claude-opus-5", "gpt-5"):
            assert cp.Estimator().request(body, model).total >= 1
    deep = []
    for _ in range(300):
        deep = [{"type": "tool_result", "content": deep}]
    assert cp.Estimator().request({"messages": [tokens_user(*deep)]}, "gpt-5").total > 3000


def test_tokens_growing_conversation_is_counted_once():
    class Counted(cp.Estimator):
        seen = 0

        def text(self, text, family):
            Counted.seen += len(text)
            return super().text(text, family)

    estimator, turns, sums = Counted(), [], []
    for number in range(30):
        turns.append({"role": "tokens_user", "content": PROSE + str(number)})
        sums.append(estimator.request({"messages": turns, "tools": [TOKENS_TOOL]}, "claude-opus-5").total)
    assert sums == sorted(set(sums)) and Counted.seen < 31 * (len(PROSE) + 200)
    assert sums[-1] == cp.Estimator().request({"messages": turns, "tools": [TOKENS_TOOL]}, "claude-opus-5").total
    estimator.MOST_UNITS = 10
    estimator.request({"messages": turns}, "gpt-5")
    assert len(estimator._units) <= 10


# -- calibration --------------------------------------------------------------

@pytest.mark.parametrize("static, messages, real", [
    (20000, 500, 31000), (20000, 500, 12000), (0, 5000, 6400), (15000, 60000, 81000), (300, 0, 350)])
def test_calibration_one_answer_is_enough(static, messages, real):
    calibration, estimate = cp.Calibration(), cp.Estimate(static, messages)
    assert calibration.predict("m", estimate) == static + messages
    calibration.learn("m", estimate, real)
    assert abs(calibration.predict("m", estimate) / real - 1) <= 0.01
    assert calibration.predict("other", estimate) == static + messages


def test_calibration_learns_both_ratios_of_a_session():
    calibration = cp.Calibration()
    for history in (500, 4000, 9000, 20000, 60000):
        estimate = cp.Estimate(20000, history)
        calibration.learn("m", estimate, int(1.3 * 20000 + 0.8 * history))
    for estimate in (cp.Estimate(20000, 500), cp.Estimate(20000, 90000), cp.Estimate(0, 25000)):
        real = 1.3 * estimate.static + 0.8 * estimate.messages
        assert abs(calibration.predict("m", estimate) / real - 1) <= 0.03


def test_calibration_guards():
    calibration, estimate = cp.Calibration(), cp.Estimate(1000, 1000)
    for skipped, real in ((estimate, 0), (estimate, -5), (cp.Estimate(90, 90), 999),
                          (cp.Estimate(1000, 1000, True), 9000)):
        calibration.learn("m", skipped, real)
        assert calibration.predict("m", estimate) == 2000
    for real, worst in ((20000, 6000), (10 ** 12, 6000), (1, 800)):
        corrupt = cp.Calibration()
        corrupt.learn("m", estimate, real)
        assert corrupt.predict("m", estimate) == worst
        for _ in range(12):
            corrupt.learn("m", estimate, 2400)
        assert abs(corrupt.predict("m", estimate) / 2400 - 1) <= 0.02
    assert calibration.predict("m", cp.Estimate(0, 0)) == 1
    for number in range(300):
        calibration.learn("m%d" % number, estimate, 2400)
    assert len(calibration._filters) <= cp.MAX_MODELS


# -- ledger, windows, limits ---------------------------------------------------

SUMMED = ("requestCount", "tokenCount", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")


def test_ledger_shapes():
    ledger = cp.UsageLedger()
    empty = ledger.summary()
    assert (empty["totalRequests"], empty["averageTokensPerRequest"], empty["models"]) == (0, 0, {})
    ledger.record("s1", "gpt-5", cp.TokenUsage(100, 20, 300, 0, 1_500_000_000), 1764000000.0)
    ledger.record("s1", "gpt-5", cp.TokenUsage(7, 1), 1764000060.4)
    ledger.record("s1", "claude-opus-5", cp.TokenUsage(), 1764000090.4)
    (session,) = ledger.details()
    models = session.pop("models")
    assert session == {
        "sessionId": "s1", "startTime": "2025-11-24T16:00:00Z", "lastRequestTime": "2025-11-24T16:01:30Z",
        "requestCount": 3, "tokenCount": 428, "duration": 90, "inputTokens": 107, "outputTokens": 21,
        "cacheReadTokens": 300, "cacheWriteTokens": 0, "cacheHitRatio": 0.7371, "credits": 1.5}
    assert [(m, f["requestCount"], f["credits"]) for m, f in models.items()] == [
        ("gpt-5", 2, 1.5), ("claude-opus-5", 1, 0)]
    told = ledger.summary()
    assert (told["totalRequests"], told["totalTokens"], told["activeSessions"], told["credits"],
            told["averageTokensPerRequest"]) == (3, 428, 1, 1.5, 142.67)


def test_ledger_sums_of_sessions_are_the_totals():
    dice, ledger, real = random.Random(3), cp.UsageLedger(), {}
    for step in range(600):
        session = "s%d" % dice.randrange(20)
        usage = cp.TokenUsage(*(dice.randrange(999) for _ in range(6)))
        ledger.record(session, "m%d" % dice.randrange(4), usage, float(step))
        real.setdefault(session, []).append(usage)
        if dice.random() < 0.05:
            gone = dice.choice(sorted(real))
            before = {d["sessionId"]: d for d in ledger.details()}
            assert ledger.reset(gone) == gone
            del real[gone], before[gone]
            assert {d["sessionId"]: d for d in ledger.details()} == before
    told, details = ledger.summary(), ledger.details()
    assert told["totalRequests"] == sum(map(len, real.values()))
    assert told["totalTokens"] == sum(u.prompt + u.output for us in real.values() for u in us)
    for key in SUMMED:
        assert told[key] == sum(d[key] for d in details) == sum(m[key] for m in told["models"].values())
        assert all(d[key] == sum(m[key] for m in d["models"].values()) for d in details)


def test_ledger_is_bounded_but_the_totals_keep():
    ledger = cp.UsageLedger()
    for number in range(1500):
        ledger.record("s%d" % number, "m%d" % number, cp.TokenUsage(1, 1), float(number))
        ledger.record("kept", "m%d" % (number % 150), cp.TokenUsage(1), float(number))
    told = ledger.summary()
    assert (told["totalRequests"], told["totalTokens"], told["activeSessions"]) == (3000, 4500, 1000)
    assert len(told["models"]) <= cp.MAX_MODELS + 1
    kept = {d["sessionId"]: d for d in ledger.details()}
    assert len(kept) == 1000 and kept["kept"]["requestCount"] == 1500 and "s500" not in kept
    ledger.reset_all()
    assert ledger.summary()["totalTokens"] == 0 and ledger.details() == []


@pytest.mark.parametrize("asked, outcome", [
    ("abcd-1", "abcd-1"), ("abcd-12", "abcd-12"), ("x", "xyz"), ("abcd", cp.BadRequest),
    ("nobody", cp.NotFound), ("", cp.NotFound), ("abcd-123", cp.NotFound)])
def test_ledger_reset_by_id_or_prefix(asked, outcome):
    ledger = cp.UsageLedger()
    for name in ("abcd-1", "abcd-12", "xyz"):
        ledger.record(name, "m", cp.TokenUsage(1), 0.0)
    if isinstance(outcome, str):
        assert ledger.reset(asked) == outcome
        assert outcome not in [d["sessionId"] for d in ledger.details()] and len(ledger.details()) == 2
    else:
        with pytest.raises(outcome) as caught:
            ledger.reset(asked)
        assert outcome is cp.BadRequest or (str(caught.value), caught.value.code) == (
            "Session ID not found", "session_not_found")
        assert len(ledger.details()) == 3


def test_window_never_over_its_limit_and_retry_after_is_exact():
    for seed in range(40):
        dice, limit = random.Random(seed), random.Random(seed).randrange(1, 8)
        window, now, passed = cp.SlidingWindow(limit), 1000 * dice.random(), []
        for _ in range(80):
            wait = window.wait(now)
            if wait:
                early = [t for t in passed if t + 60 > now + wait - 1]
                then = [t for t in passed if t + 60 > now + wait]
                assert len(early) >= limit > len(then)
            else:
                window.add(now)
                passed.append(now)
                assert len([t for t in passed if t + 60 > now]) <= limit
            now += dice.choice([0, dice.random(), 5 * dice.random(), wait])


LIMITED = [  # limits, requests at second 0, dialect, second, the outcome
    ({"rate_limit_chat_completions": 2}, 2, "openai", 0.5, 60),
    ({"rate_limit_chat_completions": 2}, 2, "openai", 60, None), ({}, 20, "openai", 59.5, 1),
    ({"rate_limit_chat_completions": 2}, 9, "anthropic", 0.5, None), ({}, 60, "anthropic", 59.5, 1),
    ({"rate_limit_default": 2}, 2, "responses", 1, 59), ({"rate_limit_default": 0}, 99, "anthropic", 0, None),
    ({"max_tokens_per_minute": 330}, 3, "anthropic", 10, 50), ({"max_tokens_per_minute": 331}, 3, "openai", 1, None),
    ({"credit_budget": 1.5}, 3, "openai", 999, cp.BudgetExceeded), ({"credit_budget": 1.6}, 3, "openai", 1, None)]


@pytest.mark.parametrize("limits, used, dialect, now, outcome", LIMITED)
def test_limits(limits, used, dialect, now, outcome):
    guard = cp.Limits(cp.Config(**limits))
    for _ in range(used):
        guard.admit("s", dialect, 0.0)
        guard.charge("s", 0.0, cp.TokenUsage(80, 10, 5000, 20, 500_000_000))
    guard.admit("another", dialect, now)
    if outcome is None:
        return guard.admit("s", dialect, now)
    for _ in range(3):  # a refusal is not charged: asking again does not move the time
        with pytest.raises(cp.RateLimited if isinstance(outcome, int) else outcome) as caught:
            guard.admit("s", dialect, now)
    if outcome is cp.BudgetExceeded:
        assert "CREDIT_BUDGET" in str(caught.value) and "/usage/reset/s" in str(caught.value)
    else:
        assert caught.value.retry_after == str(outcome)
        guard.admit("s", dialect, now + outcome)
    guard.reset("s")
    return guard.admit("s", dialect, now)


def test_limits_prompt_size_and_sessions_are_bounded():
    guard = cp.Limits(cp.Config(max_tokens_per_request=1000, rate_limit_default=1))
    with pytest.raises(cp.ContextOverflow, match="1001 tokens > 1000 maximum"):
        guard.admit("s", "anthropic", 0.0, 1001)
    guard.admit("s", "anthropic", 0.0, 1000)
    for number in range(1200):
        guard.admit("s%d" % number, "anthropic", 1.0)
    assert len(guard._sessions) == cp.MAX_SESSIONS


UUID = "0b5a1f2c-1111-4222-8333-444455556666"


@pytest.mark.parametrize("headers, user_id, session", [
    ({"x-claude-code-session-id": UUID, "authorization": "Bearer k"}, None, UUID),
    ({"session-id": "codex.1:a"}, None, "codex.1:a"), ({"x-session-id": "ses_9"}, None, "ses_9"),
    ({"x-api-key": "k"}, json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": UUID}), UUID),
    ({}, "user_abc_account__session_" + UUID, UUID), ({}, "someone", "127.0.0.1"), ({}, 5, "127.0.0.1"),
    ({"x-api-key": "sk-secret"}, None, "key-"), ({"authorization": "Bearer sk-secret"}, "x", "key-"),
    ({"x-session-id": "a/b\r\nc"}, None, "id-"), ({"x-session-id": "x" * 129}, None, "id-"),
    ({}, None, "127.0.0.1")])
def test_session_of(headers, user_id, session):
    body = {} if user_id is None else {"metadata": {"user_id": user_id}}
    found = cp.session_of(headers, body, "127.0.0.1")
    assert found == session or session in ("key-", "id-") and found.startswith(session)
    assert re.fullmatch(r"[\w.:-]{1,128}", found) and "secret" not in found
    assert found == cp.session_of(headers, body, "127.0.0.1")
    ledger = cp.UsageLedger()
    ledger.record(found, "m", cp.TokenUsage(1), 0.0)
    assert ledger.reset(ledger.details()[0]["sessionId"]) == found


# ============================================================================
# 14. HTTP client
# ============================================================================
# Against raw servers: each answers its requests with a script of bytes, pauses (a
# float), and the words below.

STAY, RST, FIN = "wait for the client to go", "reset", "close"
YES = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class RawServer:
    """Serves `answers` in order, the last one for ever, over any number of connections."""

    def __init__(self, *answers, tls=None, host="127.0.0.1"):
        self.answers, self.tls, self.host = list(answers), tls, host
        self.connections, self.heads, self.bodies, self.tasks = 0, [], [], []

    async def __aenter__(self):
        self.gone = asyncio.Event()
        self.server = await asyncio.start_server(self.talk, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        scheme = "https" if self.tls else "http"
        self.url = "%s://%s:%d/x?y=1" % (scheme, "localhost" if self.tls else self.host, self.port)
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
                pass
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
            if step is FIN:
                return False
            if step is RST:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
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


def in_a_loop(test):
    """Make a test of an `async def`."""
    def sync(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 30))
    sync.__name__, sync.__wrapped__ = test.__name__, test  # pytest asks for the parameters
    return sync


@contextlib.asynccontextmanager
async def client(tls=None, *rest, **options):
    pool = cp.ConnectionPool(tls, *rest, **options)
    try:
        yield pool
    finally:
        await pool.close()


async def fetch(pool, url, limit=1 << 20, method="GET", body=b"", **timeouts):
    response = await pool.request(method, url, [("x-test", "1")], body, **timeouts)
    return response.status, await response.read_all(limit)


GOOD_ANSWERS = [  # name, answer, body, whether the connection is used again
    ("length", YES, b"ok", True),
    ("chunked", [CHUNKED + b"2\r\nok\r\n0\r\n\r\n"], b"ok", True),
    ("extension and trailer", [CHUNKED + b"2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n"], b"ok", True),
    ("one byte at a time", [bytes([b]) for b in CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"],
     b"ok", True),
    ("interim answers", [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\n"
                         + YES[0]], b"ok", True),
    ("no content", [b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
    ("until the end", [b"HTTP/1.1 200 OK\r\n\r\n", b"o", b"k", FIN], b"ok", False),
    ("said close", [YES[0].replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")], b"ok", False),
    ("old", [YES[0].replace(b"1.1", b"1.0")], b"ok", False),
    ("more than the body", [YES[0] + b"!"], b"ok", False),
    ("unasked bytes later", [YES[0], 0.005, b"HTTP/1.1 408 Late\r\n\r\n"], b"ok", False),
]


@pytest.mark.parametrize("name, answer, body, kept", GOOD_ANSWERS)
@in_a_loop
async def test_client_reads_answer(name, answer, body, kept):
    async with RawServer(answer, YES) as server, client() as pool:
        assert (await fetch(pool, server.url))[1] == body
        await asyncio.sleep(0.02)
        assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == (1 if kept else 2)


BAD_ANSWERS = [  # name, answer, exact class, words of the message
    ("cut length", [YES[0][:-1], FIN], "UpstreamError", "cut or garbled"),
    ("cut chunk", [CHUNKED + b"5\r\nab", FIN], "UpstreamError", "cut or garbled"),
    ("no last chunk", [CHUNKED + b"2\r\nok\r\n", FIN], "UpstreamError", "cut or garbled"),
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
    ("slow head", [part for _ in range(99) for part in (b"HTTP/1.1 100 C\r\n\r\n", 0.01)],
     "UpstreamTimeout", "sent nothing"),
    ("silent body", [CHUNKED, b"2\r\nok\r\n", STAY], "UpstreamTimeout", "sent nothing"),
]


@pytest.mark.parametrize("name, answer, kind, words", BAD_ANSWERS)
@in_a_loop
async def test_client_reports_failure(name, answer, kind, words):
    async with RawServer(answer) as server, client() as pool:
        with pytest.raises(cp.UpstreamError) as caught:
            await fetch(pool, server.url, 99, head_timeout=0.1, idle_timeout=0.03)
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
            "POST /x?y=1 HTTP/1.1", "Host: 127.0.0.1:%d" % server.port,
            "Accept-Encoding: identity", "x-test: 1", "Content-Length: 1048576", "", ""]
        await fetch(pool, server.url, method="HEAD")
        assert b"Content-Length" not in server.heads[1]
        with pytest.raises(cp.ProxyError):
            await pool.request("GET", server.url, [("a", "b\r\nc: d")])
        for url in ("ftp://x/", "http:///x", "http://x:y/", "nonsense"):
            with pytest.raises(cp.UpstreamError, match="not a usable"):
                await pool.request("GET", url, [])


@in_a_loop
async def test_client_counts_of_connections():
    async with RawServer(YES) as server, client() as pool:
        for _ in range(20):
            await fetch(pool, server.url)
        assert server.connections == 1
        await asyncio.gather(*[fetch(pool, server.url) for _ in range(5)])
        await asyncio.gather(*[fetch(pool, server.url) for _ in range(5)])
        assert server.connections == 5


@in_a_loop
async def test_client_idle_connections_age(monkeypatch):
    assert cp.MAX_IDLE >= 75
    monkeypatch.setattr(cp, "MAX_IDLE", 0.0)
    async with RawServer(YES) as server, client() as pool:
        await fetch(pool, server.url)
        await fetch(pool, server.url)
        await asyncio.wait_for(server.gone.wait(), 1)
        assert server.connections == 2


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
        await asyncio.sleep(0.01)
        try:
            assert await fetch(pool, server.url, head_timeout=0.2) == (200, b"ok")
            outcome = None
        except cp.UpstreamError as exc:
            outcome = type(exc).__name__
        assert outcome == kind
        assert (len(server.heads), server.connections) == (requests, connections)


@pytest.mark.parametrize("answer", [[STAY], [CHUNKED, STAY], [CHUNKED + b"2\r\nok\r\n", STAY]])
@in_a_loop
async def test_client_cancelled_closes_the_socket_at_once(answer):
    async with RawServer(answer) as server, client() as pool:
        task = asyncio.ensure_future(fetch(pool, server.url))
        await asyncio.sleep(0.03)
        task.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 1)
        assert time.monotonic() - started < 0.5


@in_a_loop
async def test_client_response_closed_is_never_a_success():
    until_end = [b"HTTP/1.1 200 OK\r\n\r\nok", STAY]
    async with RawServer(until_end) as server, client() as pool:
        response = await pool.request("GET", server.url, [])
        assert await response.read() == b"ok"
        waiting = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        response.close()
        response.close()
        for read in (waiting, response.read()):
            with pytest.raises(cp.UpstreamError):
                await read
        await asyncio.wait_for(server.gone.wait(), 1)


@pytest.mark.parametrize("rest, connections", [
    ([b"0\r\n\r\n"], 1), ([0.01, b"0\r\n\r\n"], 1), ([0.01, b"1\r\nx\r\n", STAY], 2), ([STAY], 2)])
@in_a_loop
async def test_client_finish_keeps_what_ends_in_time(rest, connections):
    async with RawServer([CHUNKED + b"2\r\nok\r\n"] + rest, YES) as server, client() as pool:
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
        response = await pool.request("GET", server.url, [], idle_timeout=1)
        await asyncio.sleep(0.05)
        assert len(sent) < 150, "13 MB on the way"
        assert len(await response.read_all(1 << 24)) == 200 << 16


@pytest.mark.parametrize("pauses", [0, 2])
@in_a_loop
async def test_client_idle_timeout_counts_from_the_last_byte_and_only_while_waiting(pauses):
    drip = [part for _ in range(8) for part in (0.02, b"2\r\nok\r\n")]
    async with RawServer([CHUNKED] + drip + [b"0\r\n\r\n"]) as server, client() as pool:
        response = await pool.request("GET", server.url, [], idle_timeout=0.08)
        assert await response.read() == b"ok"
        for _ in range(pauses):
            await asyncio.sleep(0.05)
        assert await response.read_all(99) == b"ok" * 7


@in_a_loop
async def test_client_reaches_ipv6():
    try:
        server = await RawServer(YES, host="::1").__aenter__()
    except OSError:
        pytest.skip("no IPv6 here")
    async with client() as pool:
        url = "http://[::1]:%d/" % server.port
        assert await fetch(pool, url) == (200, b"ok")
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.heads[0]
    await server.__aexit__()


# -- TLS ---------------------------------------------------------------------

def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ca.pem and the certificates good, expired, other, lone (+ .key)."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=Test root", "-days", "2")
    openssl(folder, "req", "-x509", *key, "-keyout", "lone.key", "-out", "lone.pem",
            "-subj", "/CN=localhost", "-days", "2", "-addext", "subjectAltName=DNS:localhost")
    for name, host, days in (("good", "localhost", "2"), ("expired", "localhost", "-1"),
                             ("other", "example.org", "2")):
        (folder / "san").write_text("subjectAltName=DNS:%s,IP:127.0.0.1\n" % host
                                    if name != "other" else "subjectAltName=DNS:" + host)
        openssl(folder, "req", *key, "-keyout", name + ".key", "-out", "csr", "-subj", "/CN=x")
        openssl(folder, "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", days, "-extfile", "san", "-out", name + ".pem")
    return folder


def server_tls(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(folder / (name + ".pem")), str(folder / (name + ".key")))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def trusting(folder):
    return cp.make_ssl_context(cp.Config(ssl_cert_file=str(folder / "ca.pem")))


@in_a_loop
async def test_tls_one_connection_for_many_requests(certificates):
    tls = server_tls(certificates, "good")
    made = []
    async with RawServer(YES, tls=tls) as server, client(
            lambda: made.append(trusting(certificates)) or made[0]) as pool:
        for _ in range(10):
            assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == len(made) == 1
        server.answers = [[STAY]]
        with pytest.raises(cp.UpstreamTimeout):
            await fetch(pool, server.url, head_timeout=0.03)
        await asyncio.wait_for(server.gone.wait(), 1)


@pytest.mark.parametrize("name, words", [
    ("lone", "SSL_CERT_FILE"), ("expired", "clock"), ("other", "check the address")])
@in_a_loop
async def test_tls_bad_certificate_is_explained_and_not_retried(certificates, name, words):
    tls = server_tls(certificates, name)
    async with RawServer(YES, tls=tls) as server, client(trusting(certificates)) as pool:
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
    for bad in ({"ssl_cert_file": str(tmp_path / "absent")}, {"ssl_cert_dir": "/absent"},
                {"ssl_cert_file": str(tmp_path / "empty.pem")}):
        with pytest.raises(cp.ConfigError, match="SSL_CERT_"):
            cp.make_ssl_context(cp.Config(**bad))

    async def lazily():
        async with client(lambda: cp.make_ssl_context(cp.Config(**bad))) as pool:
            with pytest.raises(cp.UpstreamError, match="SSL_CERT_FILE"):
                await fetch(pool, "https://127.0.0.1:1/")
    asyncio.run(lazily())


@in_a_loop
async def test_tls_to_a_plain_or_silent_or_absent_server(certificates):
    async with RawServer(YES) as server, client(
            trusting(certificates), connect_timeout=0.05) as pool:
        address = "https://127.0.0.1:%d/" % server.port  # waits for CRLF CRLF
        with pytest.raises(cp.ConnectFailed, match="within 0.05 s"):
            await fetch(pool, address)
        server.server.close()
        for url in (address, address.replace("https", "http"), "http://%s/" % ("a" * 70)):
            with pytest.raises(cp.ConnectFailed, match="no connection to"):
                await fetch(pool, url)


# -- proxies -----------------------------------------------------------------

class ConnectProxy(RawServer):
    """Opens tunnels to `target`, or answers what it was given."""

    def __init__(self, target, answer=b"HTTP/1.1 200 Opened\r\n\r\n"):
        super().__init__([answer])
        self.target = target

    async def exchange(self, reader, writer):
        await super().exchange(reader, writer)
        if self.heads[-1].startswith(b"CONNECT") and b" 200 " in self.answers[0][0]:
            there, back = await asyncio.open_connection("127.0.0.1", self.target.port)
            await asyncio.gather(self.pump(reader, back), self.pump(there, writer))
            return False
        return True

    async def pump(self, reader, writer):
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
        finally:
            writer.close()


@in_a_loop
async def test_proxy_tunnels_tls(certificates):
    async with RawServer(YES, tls=server_tls(certificates, "good")) as server, \
            ConnectProxy(server) as proxy:
        proxies = cp.proxies_from(cp.Config(
            https_proxy="http://me%%40x:p%%3A%%20s@127.0.0.1:%d" % proxy.port))
        async with client(trusting(certificates), proxies) as pool:
            for _ in range(3):
                assert await fetch(pool, server.url) == (200, b"ok")
        assert server.connections == proxy.connections == 1
        secret = base64.b64encode(b"me@x:p: s").decode()
        assert proxy.heads[0].decode().split("\r\n") == [
            "CONNECT localhost:%d HTTP/1.1" % server.port,
            "Host: localhost:%d" % server.port,
            "Proxy-Authorization: Basic " + secret, "", ""]
        assert b"roxy" not in b"".join(server.heads)
        await asyncio.wait_for(server.gone.wait(), 1)


@in_a_loop
async def test_proxy_tunnel_checks_the_certificate(certificates):
    async with RawServer(YES, tls=server_tls(certificates, "other")) as server, \
            ConnectProxy(server) as proxy:
        proxies = cp.proxies_from(cp.Config(all_proxy="127.0.0.1:%d" % proxy.port))
        async with client(trusting(certificates), proxies) as pool:
            with pytest.raises(cp.UpstreamError, match="check the address"):
                await fetch(pool, server.url)
        assert server.heads == []


@pytest.mark.parametrize("answer, words", [
    (b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", "login into HTTPS_PROXY"),
    (b"HTTP/1.1 403 No\r\n\r\n", "answered 403 No; ask"),
    (b"HTTP/1.1 200 OK\r\n\r\ntoo early", "answered 200"), (b"gibberish\r\n\r\n", "proper HTTP")])
@in_a_loop
async def test_proxy_refusal_is_explained(certificates, answer, words):
    async with ConnectProxy(None, answer) as proxy:
        url = "http://me:secret@127.0.0.1:%d" % proxy.port
        proxies = cp.proxies_from(cp.Config(https_proxy=url))
        async with client(trusting(certificates), proxies) as pool:
            with pytest.raises(cp.UpstreamError) as caught:
                await fetch(pool, "https://api.test/")
        assert caught.value.status == 502 and words in str(caught.value)
        assert "secret" not in str(caught.value)


@in_a_loop
async def test_proxy_for_plain_http_gets_the_whole_address():
    async with RawServer(YES) as proxy, client(None, cp.proxies_from(cp.Config(
            http_proxy="http://u@127.0.0.1:%d" % proxy.port))) as pool:
        assert await fetch(pool, "http://api.test/a?b") == (200, b"ok")
        assert proxy.heads[0].startswith(b"GET http://api.test:80/a?b HTTP/1.1\r\n")
        assert b"\r\nHost: api.test\r\n" in proxy.heads[0]
        assert b"\r\nProxy-Authorization: Basic dTo=\r\n" in proxy.heads[0]
        proxy.answers = [[b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]]
        with pytest.raises(cp.UpstreamError, match="its login"):
            await fetch(pool, "http://api.test/")


@pytest.mark.parametrize("no_proxy, url, direct", [
    ("", "https://a.test", False), ("*", "https://a.test", True), ("a.test", "https://a.test", True),
    ("a.test", "https://x.A.test", True), (".a.test", "https://a.test", True),
    ("*.a.test", "https://x.a.test", True), ("a.test", "https://ba.test", False),
    ("b.test, A.Test", "https://a.test", True), ("a.test:443", "https://a.test", True),
    ("a.test:80", "https://a.test", False), ("127.0.0.1", "http://127.0.0.1:9/", True),
    ("::1", "http://[::1]:8/", True),
    ("[::1]:8", "http://[::1]:8/", True), ("[::1]:9", "http://[::1]:8/", False),
    ("localhost", "http://127.0.0.1/", False), (",", "http://127.0.0.1/", False)])
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


# ============================================================================
# 15. HTTP server
# ============================================================================
# The real server over loopback: room 6's table, the standard library's client, rules
# for browsers, abuse (with time-outs of 0.15 s), clients that leave, shutdown.

import gc

QUICK = cp.ServerLimits(head=0.15, body=0.15, idle=0.15, stall=0.15, unsent=0.15,
                        linger=0.1, half_closed=0.05)


async def echo(request, out):
    await out.send(200, [("content-type", "text/plain")], request.body)


async def count_up(request, out):
    await out.start(200, [("content-type", "text/plain")])
    for number in range(3):
        await out.write(b"%d" % number)
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
        words.append(status if status != "200" else
                     "ok:" + body.decode("latin-1") if body else "ok")
    return " ".join(words)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_server_answers_the_wire_table_whole_and_cut(host):
    async def all_cases():
        gate = asyncio.Semaphore(40)

        async def one(port, name, pieces, expected):
            async with gate:
                return name, words_of(await send_pieces(host, port, pieces)), expected

        async with serving(host=host, max_body_mb=1) as server:
            return await asyncio.gather(*[
                one(server.port, name, pieces, expected)
                for number, (name, raw, expected) in enumerate(HTTP_CASES)
                for pieces in ([raw], list(cuts(raw, seed=number))[-1])])

    if host == "::1" and not has_ipv6():
        pytest.skip("no ::1 here")
    assert [(name, got) for name, got, expected in run(all_cases())
            if got != expected] == []


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_server_and_the_standard_client():
    def talk(port):
        conn = http_client.HTTPConnection("127.0.0.1", port, timeout=5)
        kind = {"Content-Type": "application/json"}
        got = []
        for method, path, body in (
                ("GET", "/", None), ("HEAD", "/up", None), ("POST", "/", b"x" * 300000),
                ("POST", "/", iter([b"ab", b"", b"cd"])), ("GET", "/up", None)):
            conn.request(method, path, body, kind, encode_chunked=False)
            reply = conn.getresponse()
            got.append((reply.status, reply.read(), reply.will_close, id(conn.sock)))
        conn.close()
        return got

    async def main():
        async def handler(request, out):
            await (count_up if request.path == "/up" else echo)(request, out)
        async with serving(handler) as server:
            return await asyncio.get_running_loop().run_in_executor(
                None, talk, server.port)
    got = run(main())
    assert [row[:3] for row in got] == [
        (200, b"", False), (200, b"", False), (200, b"x" * 300000, False),
        (200, b"abcd", False), (200, b"012", False)]
    assert len({row[3] for row in got}) == 1, "the connection was not kept"


EXPECTING = (b"PUT / HTTP/1.1\r\nHost: localhost\r\nExpect: %b\r\n"
             b"Content-Length: %d\r\n\r\n")
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
SERVER_STREAM_CASES = [  # (name, bytes, must match)
    ("1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
     rb"HTTP/1.1 200 .*chunked.*\r\n\r\n1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"),
    ("1.0 until close", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     rb"HTTP/1.1 200 (?!.*chunked).*connection: close\r\n\r\n012"),
    ("HEAD", b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
     rb"HTTP/1.1 200 .*\r\n\r\n"),
    ("close", b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
     rb"HTTP/1.1 200 .*connection: close\r\n\r\n1\r\n0.*0\r\n\r\n"),
    ("100 and 400", EXPECTING % (b"100-Continue", 1), INTERIM + rb"HTTP/1.1 400 .*"),
    ("100 and 200", EXPECTING % (b"100-continue", 1) + b"x",
     INTERIM + rb"HTTP/1.1 200 .*"),
    ("no 100 for too much", EXPECTING % (b"100-continue", 9 ** 9), rb"HTTP/1.1 413 .*"),
    ("no 100 for 1.0", EXPECTING.replace(b"1.1", b"1.0") % (b"100-continue", 1),
     rb"HTTP/1.1 400 .*"),
    ("unknown expectation", EXPECTING % (b"x", 1) + b"x", rb"HTTP/1.1 417 .*")]


@pytest.mark.parametrize("name, raw, pattern", SERVER_STREAM_CASES,
                         ids=[row[0] for row in SERVER_STREAM_CASES])
def test_server_framing_of_its_answers(name, raw, pattern):
    async def main():
        async with serving(count_up) as server:
            return await send_pieces("127.0.0.1", server.port, [raw])
    got = run(main())
    assert re.fullmatch(pattern, got, re.DOTALL), got


OWN_PAGE, PAGE = "http://localhost:8082", "https://app.example"
JSON_TYPE = {"content-type": "application/json", "content-length": "2"}
OPEN_TO = {"allowed_hosts": ("Proxy.lan",), "allowed_origins": (PAGE,)}
ASKS = {"origin": PAGE, "access-control-request-method": "POST"}
KEY = "0123456789abcdef"
LOCKED = {"api_key": KEY}
GUARD_CASES = (
    [("GET", {"host": host}, {}, 0) for host in (
        "localhost", "LocalHost:8082", "127.0.0.1", "127.0.0.1:8082", "[::1]:8082",
        "[::1]")]
    + [("GET", {"host": host}, {}, 403) for host in (
        "localhost:8083", "localhost.", "localhost.evil.com", "evil.com", "xlocalhost",
        "127.0.0.1.nip.io", "127.0.0.2", "127.1", "0.0.0.0:8082", "[::]", "",
        "[::ffff:127.0.0.1]", "2130706433", "localhost:", "proxy.lan", "localhost:08082",
        "[0:0:0:0:0:0:0:1]")]
    + [("GET", {"host": "proxy.LAN:8082"}, OPEN_TO, 0),
       ("GET", {"host": "x.proxy.lan"}, OPEN_TO, 403),
       ("GET", {"host": "proxy.lan:1"}, OPEN_TO, 403)]
    + [("GET", {"origin": origin}, {}, status) for origin, status in (
        (OWN_PAGE, 0), ("http://127.0.0.1:8082", 0), ("http://[::1]:8082", 0),
        ("http://localhost", 403), ("https://localhost:8082", 403), ("null", 403),
        ("http://localhost:3000", 403), (PAGE, 403), (OWN_PAGE + ", " + OWN_PAGE, 403),
        ("http://localhost:8082.evil.com", 403), ("", 403))]
    + [("GET", {"sec-fetch-site": site}, {}, status) for site, status in (
        ("none", 0), ("same-origin", 0), ("same-site", 403), ("cross-site", 403),
        ("", 403))]
    + [("GET", {"origin": PAGE, "sec-fetch-site": "cross-site"}, OPEN_TO, 0),
       ("GET", {"origin": PAGE + ".evil"}, OPEN_TO, 403), ("OPTIONS", ASKS, {}, 403),
       ("OPTIONS", ASKS, {**OPEN_TO, **LOCKED}, 0), ("OPTIONS", {}, LOCKED, 401)]
    + [("POST", {"content-type": kind, "content-length": "2"}, {}, status)
       for kind, status in (
           ("application/json", 0), ("Application/JSON ; charset=utf-8", 0), ("", 415),
           ("text/plain", 415), ("application/x-www-form-urlencoded", 415),
           ("multipart/form-data; boundary=application/json", 415),
           ("application/json, text/plain", 415), ("application/jsonp", 415))]
    + [("POST", {}, {}, 0), ("POST", {"content-length": "00"}, {}, 0),
       ("POST", {"transfer-encoding": "chunked"}, {}, 415),
       ("PUT", {"content-length": "2"}, {}, 0)]
    + [("POST", {name: value}, LOCKED, status) for name, value, status in (
        ("authorization", "Bearer " + KEY, 0), ("authorization", "bearer " + KEY, 0),
        ("x-api-key", KEY, 0), ("x-api-key", KEY + "x", 401), ("x-api-key", "", 401),
        ("authorization", "Basic " + KEY, 401), ("authorization", KEY, 401),
        ("x-api-key", "\xfc", 401), ("x", "y", 401), ("x-api-key", KEY[1:], 401))]
    + [("HEAD", {}, LOCKED, 0), ("GET", {}, LOCKED, 401)])


@pytest.mark.parametrize("method, headers, settings, expected", GUARD_CASES)
def test_guard_rules(method, headers, settings, expected):
    pairs = {"host": "localhost", **headers}
    headers = cp.Headers(pairs.items())
    head = cp.RequestHead(method, None, "/v1/models", "", "1.1", headers)
    try:
        cp.guard(head, cp.Config(**settings), 8082)
    except cp.ProxyError as exc:
        assert exc.status == expected and expected
    else:
        assert not expected


def test_guard_leaves_only_the_front_page_open_and_checks_absolute_targets():
    config, headers = cp.Config(**LOCKED), cp.Headers([("host", "localhost")])
    cp.guard(cp.RequestHead("GET", "localhost", "/", "", "1.1", headers), config, 1)
    for authority, path, failure in (
            (None, "//", cp.AuthRequired), ("evil", "/", cp.Forbidden),
            ("a@localhost", "/", cp.Forbidden), ("", "/", cp.Forbidden)):
        with pytest.raises(failure):
            cp.guard(cp.RequestHead("GET", authority, path, "", "1.1", headers), config,
                     1)


@pytest.mark.parametrize("host, key, fine", [
    ("127.0.0.1", "", True), ("::1", "", True), ("LOCALHOST", "", True),
    ("127.8.8.8", "", True), ("::", "", False), ("0", "", False), ("10.0.0.1", "", False),
    ("0.0.0.0", "", False),
    ("proxy.lan", "", False), ("localhost.lan", "", False), ("0.0.0.0", KEY[1:], False),
    ("0.0.0.0", KEY, True), ("proxy.lan", KEY, True)])
def test_server_refuses_to_listen_for_everybody_without_a_key(host, key, fine):
    try:
        cp.check_bind(cp.Config(host=host, api_key=key))
        assert fine
    except cp.ConfigError as exc:
        assert not fine and "API_KEY" in str(exc) and "\n" not in str(exc)


@pytest.mark.parametrize("path, kind", [
    ("/v1/messages", "error"), ("/messages/count_tokens", "error"), ("", None),
    ("//v1/v1/messages", "error"), ("/v1/chat/completions", None), ("/v1/models", None)])
def test_server_spells_errors_in_the_dialect_of_the_path(path, kind):
    for exc, pairs in (
            (cp.RateLimited("x", retry_after="7", should_retry=True),
             {"retry-after": "7", "x-should-retry": "true"}),
            (cp.MethodNotAllowed("x", "GET, HEAD"), {"allow": "GET, HEAD"}),
            (cp.AuthRequired("x"),
             {"x-should-retry": "false", "www-authenticate": "Bearer"})):
        status, got, body = cp.error_answer(exc, path)
        assert dict(got) == {"content-type": "application/json", **pairs}
        assert status == exc.status and json.loads(body).get("type") == kind


def test_server_cors_only_for_allowed_origins():
    async def main():
        async with serving(**OPEN_TO) as server:
            return [await ask(server.port, method, "/v1/models", None, headers)
                    for method, headers in (
                        ("OPTIONS", {**ASKS, "Access-Control-Request-Headers": "x-a"}),
                        ("GET", {"Origin": PAGE}), ("GET", {}),
                        ("GET", {"Origin": "https://evil.example"}))]
    preflight, allowed, plain, foreign = run(main())
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "x-a"
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["vary"] == "origin"
    for one in plain, foreign:
        assert not [name for name in one.headers if name.startswith("access-control")]
    assert foreign.status == 403


async def until(condition, seconds=1.0):
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
    ("silent in the body", POSTING + b"Content-Length: 9\r\n\r\nx", b"",
     rb"HTTP/1.1 408 .*"),
    ("dripping body", POSTING + b"Content-Length: 9999\r\n\r\n", b"x",
     rb"HTTP/1.1 408 .*"),
    ("dripping chunks", POSTING + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n",
     rb"HTTP/1.1 408 .*"),
    ("idle from the start", b"", b"", rb""),
    ("idle afterwards", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"",
     rb"HTTP/1.1 200 .*\r\n\r\n")]


@pytest.mark.parametrize("name, start, drip, expected", ABUSES,
                         ids=[row[0] for row in ABUSES])
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
    sent, ended = [], []

    async def pour(request, out):
        await out.start(200, [])
        try:
            while True:
                await out.write(b"x" * 65536)
                sent.append(1)
        except asyncio.CancelledError:
            ended.append(out.closed)
            raise

    async def main():
        async with serving(pour, QUICK) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
                await until(lambda: ended)
    run(main())
    assert ended == [True] and len(sent) < 200, "it was buffered without end"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("leave", ["close", "reset", "reset with more to read"])
def test_server_cancels_the_handler_of_a_client_that_left(leave, streaming):
    started, ended = [], []

    async def wait(request, out):
        if streaming:
            await out.start(200, [])
        started.append(1)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(out.closed)
            await out.write(b"nobody sees this")
            raise

    async def main():
        async with serving(wait) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            more = b"GET / HTTP/1.1\r\n" if "more" in leave else b""
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + more)
            await until(lambda: started)
            if leave != "close":  # so does Claude Code (CLIENTS 1)
                at_once = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            sock.close()
            await until(lambda: ended)
    run(main())
    assert ended == [True]


def test_server_keeps_pipelined_requests_while_the_handler_works():
    async def slow(request, out):
        await asyncio.sleep(0.02)
        await echo(request, out)

    async def main():
        async with serving(slow) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            one = b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n"
            writer.write((one + b"x" * 90000) * 4)
            got = b""
            while got.count(b"x") < 4 * 90000:
                got += await asyncio.wait_for(reader.read(65536), 5)
            writer.close()
            return words_of(got)
    assert run(main()) == " ".join(["ok:" + "x" * 90000] * 4)


def test_server_refuses_one_client_too_many_and_recovers():
    async def main():
        async with serving(limits=cp.ServerLimits(connections=3)) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port)
                    for _ in range(3)]
            full = await ask(server.port, "GET", "/")
            for _, writer in held:
                writer.close()
            await until(lambda: len(server._connections) == 0)
            return full, await ask(server.port, "GET", "/")
    full, later = run(main())
    assert (full.status, full.headers["retry-after"], later.status) == (503, "1", 200)


async def broken(request, out):
    if request.path != "/before":
        await out.start(200, [])
        await out.write(b"half")
    if request.path == "/silent":
        return
    raise cp.Forbidden("no") if request.query else KeyError("a bug")


def test_server_survives_bugs_and_never_sends_a_second_head():
    async def main():
        async with serving(broken) as server:
            raw = b"".join(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
                           for path in (b"/before", b"/before?x", b"/before"))
            cut = []
            for path in (b"/after", b"/after?x", b"/silent"):
                got = await http(
                    server.port, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                cut.append(b"\r\n0\r\n\r\n" not in got and got.count(b"HTTP/1.1") < 2)
            return words_of(await send_pieces("127.0.0.1", server.port, [raw])), cut

    assert run(main()) == ("500 403 500", [True] * 3)


def test_server_checks_the_headers_that_a_handler_sends():
    async def splitting(request, out):
        await out.send(200, [("x", "a\r\nset-cookie: b")], b"")

    async def main():
        async with serving(splitting) as server:
            return await ask(server.port, "GET", "/")
    got = run(main())
    assert got.status == 500 and "set-cookie" not in got.headers


def test_server_shutdown_waits_then_lets_streams_say_goodbye():
    release, said = [], []

    async def handler(request, out):
        if request.path != "/waits":
            await out.start(200, [])
            await out.write(b"begun ")
        try:
            while not release or request.path != "/ends":
                await asyncio.sleep(0.01)
            await out.write(b"done")
            await out.end()
        except asyncio.CancelledError:
            said.append(out.closed)
            if out.started:
                await out.write(b"goodbye")
            raise

    async def main():
        async with serving(handler) as server:
            idle = await asyncio.open_connection("127.0.0.1", server.port)
            asking = [asyncio.ensure_future(http(
                server.port, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path))
                for path in (b"/ends", b"/endless", b"/waits")]
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


def test_server_handlers_survive_the_garbage_collector():
    async def main():
        gate = asyncio.Event()

        async def waits(request, out):
            await gate.wait()
            await echo(request, out)
        async with serving(waits) as server:
            asking = [asyncio.ensure_future(ask(server.port, "GET", "/"))
                      for _ in range(20)]
            await until(lambda: len(server._connections) == 20)
            gc.collect()  # gh-90467
            gate.set()
            return [answer.status for answer in await asyncio.gather(*asking)]
    assert run(main()) == [200] * 20


# ============================================================================
# 17. Copilot upstream
# ============================================================================


class Upstream:
    """A CopilotClient in front of a FakeUpstream; it never really sleeps."""

    def __init__(self, up, **settings):
        self.config = cp.Config(
            github_url=up.url, github_api_url=up.url, github_token="ghu_test",
            token_file=os.path.join(tempfile.gettempdir(), "no-such-token-file"), **settings)
        self.pool = cp.ConnectionPool(ssl.create_default_context())
        self.clock, self.waits = FakeClock(), []
        self.auth = cp.CopilotAuth(self.config, self.pool, cp.TokenStore(
            self.config.token_file), self.clock)
        self.client = cp.CopilotClient(
            self.config, self.pool, self.auth, self.clock, self.sleep)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.auth.close()
        await self.pool.close()

    async def post(self, body, endpoint=cp.CHAT, model="gpt-4.1", **more):
        response = await self.client.send(
            endpoint, cp.dumps(body), cp.Model(model), **more)
        return response, await response.read_all(1 << 20)


CHAT_BODY = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}
USER_TURN = cp.Initiator("user", "prompt")


def with_upstream(test, **settings):
    """Run `test(up, client)` against a fresh fake."""
    async def both():
        async with FakeUpstream() as up, Upstream(up, **settings) as one:
            await test(up, one)
    asyncio.run(asyncio.wait_for(both(), 30))


# -- pure ------------------------------------------------------------------------------


def test_copilot_headers():
    config = cp.Config()
    pairs = cp.copilot_headers(config, "tid=1", cp.MESSAGES, "id-1")
    got = dict(pairs)
    assert len(got) == len(pairs)
    assert got["authorization"] == "Bearer tid=1" and got["x-request-id"] == "id-1"
    assert got["editor-version"].startswith("vscode/")
    assert got["user-agent"].startswith("GitHubCopilotChat/")
    assert got["openai-intent"] == "messages-proxy"
    assert got["content-type"] == "application/json"
    assert "content-type" not in dict(cp.copilot_headers(config, "t", cp.MODELS, "i"))
    ghost = dict(cp.copilot_headers(config, "t", cp.engine_path("a/../b"), "i"))
    assert ghost["openai-intent"] == "copilot-ghost"
    assert cp.engine_path("a/../b") == "/v1/engines/a%2F..%2Fb/completions"


def test_forwarded_headers():
    given = [("request-id", "1"), ("retry-after", "2"), ("x-quota-snapshot-chat", "ent=1"),
             ("x-usage-ratelimit-weekly", "r"), ("x-github-request-id", "g"),
             ("set-cookie", "c"), ("content-length", "3"), ("x-quota-snapshot-", "")]
    assert cp.forward_headers(cp.Headers(given)) == given[:5]


@pytest.mark.parametrize("body, expected", [
    ({"content": [{"type": "image", "source": {}}]}, True),
    ({"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}, True),
    ({"content": [{"type": "image_url"}]}, True),
    ({"input": [{"content": [{"type": "input_image"}]}]}, True),
    ({"content": 'say {"type":"image"} or {"type": "image"}'}, False),
    ({"content": [{"type": "text", "text": "image"}], "image": "type"}, False)])
def test_has_image(body, expected):
    for raw in (json.dumps(body).encode(), cp.dumps(body)):
        assert cp.has_image(raw) is expected


RESULT = {"role": "user", "content": [result_of("1"), words("go")]}
COMPACT = "Your task is to create a detailed summary of the conversation... <summary>"
CLI = {"user-agent": "claude-cli/2.1.330 (external, cli)"}
OFF = {"type": "disabled"}
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]
INITIATORS = [  # name, headers, body, who
    ("typed", {}, ask_of(), "user"),
    ("typed, then system", {}, ask_of(messages=turns("a", ("system", "s"))), "user"),
    ("tool result", {}, ask_of(messages=[RESULT]), "agent"),
    ("tool result, then system", {}, ask_of(
        messages=[RESULT, {"role": "system", "content": "s"}]), "agent"),
    ("continuation", {}, ask_of(messages=turns("a", "b")), "agent"),
    ("chat tool", {}, {"messages": [{"role": "tool", "content": "x"}]}, "agent"),
    ("chat typed", {}, {"messages": [{"role": "user", "content": [words("x")]},
                                     {"role": "developer", "content": "d"}]}, "user"),
    ("responses text", {}, {"input": "hello"}, "user"),
    ("responses typed", {}, {"input": [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "x"}]}]}, "user"),
    ("responses result", {}, {"input": [{"type": "function_call_output"}]}, "agent"),
    ("sub-agent", {"x-claude-code-agent-id": "a"}, ask_of(), "agent"),
    ("class", {"x-claude-code-request-class": "subagent"}, ask_of(), "agent"),
    ("main class", {"x-claude-code-request-class": "main"}, ask_of(), "user"),
    ("compaction header", {"x-claude-code-compaction": "auto"}, ask_of(), "agent"),
    ("compaction text", {}, ask_of(messages=turns("a", "b", [words(COMPACT)])), "agent"),
    ("title", CLI, ask_of(thinking=OFF, output_config={"format": {}}, tools=[]), "user"),
    ("title schema", CLI, ask_of(thinking=OFF, output_config={"format": {"type": "x"}}),
     "agent"),
    ("title system", CLI, ask_of(thinking=OFF, system=[words("Write a title")]), "agent"),
    ("search", CLI, ask_of(thinking=OFF, tools=SEARCH), "agent"),
    ("probe", CLI, ask_of(max_tokens=1), "agent"),
    ("no thinking, tools", CLI, ask_of(thinking=OFF, tools=[tool_of("title")]), "user"),
    ("same by another", {}, ask_of(thinking=OFF, system=[words("Write a title")]), "user"),
    ("strange", {}, {"messages": [None, 3, [], {"role": "user", "content": [[], None]}]},
     "user"),
    ("empty", {}, {}, "user"),
]


@pytest.mark.parametrize("name, headers, body, who", INITIATORS,
                         ids=[row[0] for row in INITIATORS])
def test_initiator(name, headers, body, who):
    assert cp.initiator(cp.Headers(headers.items()), body) == who


@pytest.mark.parametrize("exc, waits", [
    (cp.ConnectFailed("x"), 2), (cp.ConnectFailed("tls", should_retry=False), 0),
    (cp.UpstreamTimeout("x"), 0), (cp.UpstreamError("x", status=408), 1),
    (cp.UpstreamError("x", status=499), 2), (cp.UpstreamError("x", status=503), 2),
    (cp.UpstreamError("x", status=503, retry_after="60"), 0),
    (cp.UpstreamError("x", status=503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), 0),
    (cp.UpstreamError("x", status=529, retry_after="3"), 2),
    (cp.UpstreamError("x", status=429, retry_after="1"), 0),
    (cp.UpstreamError("x", status=402), 0), (cp.UpstreamError("x", status=403), 0),
    (cp.UpstreamError("x", status=400), 0), (cp.BadRequest("x"), 0)])
def test_retry_waits(exc, waits):
    for dice in (0.0, 0.999):
        got = [cp.retry_wait(exc, attempt, dice) for attempt in range(4)]
        assert [wait is not None for wait in got] == [at < waits for at in range(4)]
        assert all(0.5 <= wait <= 8 for wait in got if wait is not None)
        assert not exc.retry_after or all(wait >= 3 for wait in got if wait is not None)


QUOTAS = [
    ("credits", USER, "ai_credits", "ai_credits", 1287.4, False),
    ("requests, overdrawn", {"quota_snapshots": {"premium_interactions": {
        "entitlement": 300, "remaining": -1, "percent_remaining": -0.33}}},
     "premium_requests", "premium_requests", -1, True),
    ("overage", {"quota_snapshots": {"premium_interactions": {
        "remaining": 0, "overage_permitted": True, "token_based_billing": True}}},
     "ai_credits", "ai_credits", 0, False),
    ("blocked", {"quota_snapshots": {"chat": {"remaining": 5, "has_quota": False}}},
     "premium_requests", "chat", 5, True),
    ("unlimited", {"quota_snapshots": {"chat": {"unlimited": True, "remaining": 0}}},
     "premium_requests", "chat", None, False),
    ("free", {"limited_user_quotas": {"chat": 20}, "monthly_quotas": {"chat": 50}},
     "premium_requests", "chat", 20, False),
]


@pytest.mark.parametrize("name, reply, billing, quota, left, blocked", QUOTAS)
def test_quota_shapes(name, reply, billing, quota, left, blocked):
    got = cp.parse_quota(reply)
    assert got["billing"] == billing
    one = got["quotas"][quota]
    assert (one["remaining"], one["blocked"]) == (left, blocked)
    if name == "free":
        assert one["percent_remaining"] == 40.0
    for odd in ({}, {"quota_snapshots": [1], "limited_user_quotas": {"chat": None}},
                {"quota_snapshots": {"chat": 3}, "monthly_quotas": {"chat": "x"}}):
        assert isinstance(cp.parse_quota(odd)["quotas"], dict)


# -- against the fake --------------------------------------------------------------------


def test_upstream_catalogue_single_flight_cache_and_failure():
    async def check(up, one):
        lists = await asyncio.gather(*(one.client.models() for _ in range(40)))
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
        await one.post({**CHAT_BODY, "messages": [{"role": "user", "content": picture}]},
                       initiator=USER_TURN)
        seen = up.asked(CHAT)[0]
        assert seen.header("copilot-vision-request") == "true"
        assert seen.header("x-initiator") == "user"
        model = cp.Model("claude-opus-5", raw={"request_headers": {
            "X-Extra": "1", "x-initiator": "spoof", "Authorization": "spoof"}})
        response = await one.client.send(
            cp.MESSAGES, cp.dumps(ask_of(model="claude-opus-5")), model, betas=[CONTEXT],
            headers=cp.Headers([("anthropic-version", "2023-06-01"), ("x-api-key", "k")]))
        assert response.status == 200 and cp.loads(await response.read_all(1 << 20))
        seen = up.asked(cp.MESSAGES)[0]
        assert seen.header("x-initiator") == "agent" and seen.header("x-extra") == "1"
        assert seen.header("anthropic-beta") == CONTEXT
        assert seen.header("anthropic-version") == "2023-06-01"
        assert seen.header("x-api-key") is seen.header("copilot-vision-request") is None
    with_upstream(check)


TOKEN_FAULTS = [  # the refusal, how often, tokens minted, requests, raised
    ("401 once", whole(401, "unauthorized: token expired\n"), 1, 2, 2, None),
    ("401 again", whole(401, "unauthorized: token expired\n"), 2, 2, 2, 401),
    ("403 text", whole(403, "Forbidden\n"), 1, 2, 2, None),
    ("403 structured", whole(403, {"error": {"message": "Forbidden by policy",
                                             "code": "policy"}}), 1, 1, 1, 403),
    ("421", whole(421, "Misdirected Request\n"), 1, 2, 2, None),
    ("item id", whole(401, "input item ID does not belong to this connection"),
     1, 1, 1, 401),
    ("429", whole(429, {"error": {"message": "no"}}), 1, 1, 1, 429),
    ("402", whole(402, "quota exceeded"), 1, 1, 1, 402),
    ("503 once", whole(503, ""), 1, 1, 2, None),
    ("503 for ever", whole(503, ""), 9, 1, 3, 503),
    ("499", whole(499, ""), 2, 1, 3, None),
    ("408", whole(408, "Timed out reading request body."), 2, 1, 2, 408),
]


@pytest.mark.parametrize("name, answer, times, mints, sent, status", TOKEN_FAULTS,
                         ids=[row[0] for row in TOKEN_FAULTS])
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


def test_upstream_prompt_repeated_after_an_answer_is_agent():
    headers = cp.Headers([("x-claude-code-session-id", "s")])

    async def check(up, one):
        def who(body=CHAT_BODY, given=headers):
            return one.client.initiator(given, body, "s")
        up.script["POST", CHAT] = [whole(429, "wait")]
        with pytest.raises(cp.UpstreamError):
            await one.post(CHAT_BODY, initiator=who())
        assert who().who == "user"  # not billed
        await one.post(CHAT_BODY, initiator=who())
        assert who({**CHAT_BODY, "stream": True}).who == "agent"
        assert who({"messages": CHAT_BODY["messages"] * 2}).who == "user"
        assert who(given=cp.Headers()).who == "user"  # curl: typed again, for all we know
        one.clock.advance(901)
        assert who().who == "user"
        hinted = cp.Headers([("x-claude-code-prompt-id", "p1")])
        await one.post(CHAT_BODY, initiator=who(given=hinted))
        assert who({"messages": []}, hinted).who == "agent"
    with_upstream(check)


def test_upstream_error_bodies_are_bounded():
    async def check(up, one):
        up.script["POST", CHAT] = [(400, {"content-type": "text/plain"},
                                    [b"x" * 40000, b"y" * 40000, HANG])]
        with pytest.raises(cp.UpstreamError, match="xxx"):
            await one.post(CHAT_BODY)
        up.script["POST", CHAT] = [(403, {"content-length": "50"}, [b"policy says no",
                                                                      CLOSE])]
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
        response, raw = await one.post({"prompt": "def f"}, cp.engine_path("copilot-codex"))
        assert b"[DONE]" in raw and up.asked("/v1/engines/copilot-codex/completions")
    with_upstream(check)


# ============================================================================
# The try-out mode
# ============================================================================
# `python test_copilot_proxy.py`: the program in front of the fake upstream, to be tried
# with real clients by people without a subscription, and by .ci/e2e.py.

PASTE = """
The proxy is at {url}, with a fake Copilot behind it: nothing leaves this computer.

Claude Code in bash or zsh:
  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=try ANTHROPIC_MODEL=claude-sonnet-4.5 claude
in PowerShell:
  $env:ANTHROPIC_BASE_URL='{url}'; $env:ANTHROPIC_AUTH_TOKEN='try'
  $env:ANTHROPIC_MODEL='claude-sonnet-4.5'; claude
curl:
  curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "model": "gpt-5-mini", "messages": [{{"role": "user", "content": "hello"}}]}}'

Say "try a tool" to Claude Code to see a harmless tool call. Status page: {url}/
Ctrl-C ends it.
"""


class FriendlyUpstream(FakeUpstream):
    """Says more than `ok` to a person."""

    def plain(self, said, names):
        wishes = [at for at, (role, text) in enumerate(said)
                  if role == "user" and "try a tool" in text.lower()]
        if wishes and "Bash" in names and ("result", "") not in said[wishes[-1]:]:
            return "", [{"name": "Bash", "input": {
                "command": "echo hello from the fake Copilot",
                "description": "Say hello, as a demonstration"}}]
        if wishes:
            return "The tool ran and its result came back to me: the whole way works.", []
        return ("Hello from the fake Copilot. Your prompt of %d characters arrived, and this "
                "answer came back through the proxy as a stream. I cannot do more than that."
                % sum(len(text) for _, text in said)), []


async def _try_out(port, ready_file):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    up = FriendlyUpstream()
    up.pause = 0.0 if ready_file else 0.05
    async with up, Proxy(up, port=port) as proxy:
        print(PASTE.format(url=proxy.url), flush=True)
        if ready_file:
            pathlib.Path(ready_file + ".new").write_text(proxy.url)
            os.replace(ready_file + ".new", ready_file)
        await stop.wait()
        print("%d requests reached the fake Copilot." % len(up.requests))
        for fault in sorted(set(up.faults)):
            print("fault: " + fault)
        faults, up.faults = up.faults, []
    return 1 if faults else 0


def main(argv):
    parser = argparse.ArgumentParser(description="Try the proxy without a subscription.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 = any")
    parser.add_argument("--ready-file", default="", help="file to write the address to")
    options = parser.parse_args(argv)
    cp.configure_logging("info", sys.stderr)
    return asyncio.run(_try_out(options.port, options.ready_file))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
