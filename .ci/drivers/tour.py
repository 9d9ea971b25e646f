#!/usr/bin/env python3
"""One conversation that is moved between models of all three endpoints: tour.py BASE_URL

Three times around, with tools, an image, a PDF, thinking and the blocks of server tools in
its history, as Claude Code's /model does it; once whole and once streamed. The client does
what Claude Code does: a block that is named by `capability_rejected` is dropped for good.
"""
import base64
import json
import sys
import urllib.error
import urllib.request
import zlib

from common import marker

base = sys.argv[1]
MODELS = ("claude-sonnet-4.5", "gpt-4.1", "gpt-5.3-codex", "gemini-2.5-pro", "claude-opus-4.7")
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg"
    "=="
)
PDF = base64.b64encode(b"%PDF-1.4\n" + zlib.compress(b"page")).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
DOCUMENT = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    "title": "A page",
}
SCHEMA = {"type": "object", "properties": {"v": {"type": "string"}}, "required": ["v"]}
TOOLS = [{"name": "save", "description": "Save a value.", "input_schema": SCHEMA}]
# What Anthropic's own service had done before the conversation came here.
EARLIER = [
    {"role": "user", "content": [{"type": "text", "text": "look it up"}, IMAGE, DOCUMENT]},
    {
        "role": "assistant",
        "content": [
            {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": {"query": "weather"},
            },
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": [
                    {
                        "type": "web_search_result",
                        "title": "Sun",
                        "url": "https://example.com/",
                        "encrypted_content": "AAAA",
                    }
                ],
            },
            {"type": "text", "text": "It is sunny."},
            {"type": "thinking", "thinking": "hm", "signature": "Zm9yZWlnbg=="},
            {"type": "tool_use", "id": "functions.save:0", "name": "save", "input": {"v": "s"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "functions.save:0",
                "content": [{"type": "text", "text": "saved"}, IMAGE],
            }
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Saved."}]},
]


def post(model, messages, stream):
    body = {
        "model": model,
        "max_tokens": 4000,
        "tools": TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "messages": messages,
        "stream": stream,
    }
    if model.endswith("4.7"):
        body["thinking"] = {"type": "adaptive"}
    request = urllib.request.Request(
        base + "/v1/messages?beta=true",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "anthropic-version": "2023-06-01"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        raw = answer.read()
    return folded(raw) if stream else json.loads(raw)


def folded(raw):
    """The message of a stream; the grammar is the unit tests' business."""
    message, texts = {}, {}
    for line in raw.decode().split("\n"):
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        kind = event["type"]
        assert kind != "error", event
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            message["content"].append(event["content_block"])
        elif kind == "content_block_delta":
            block = message["content"][event["index"]]
            for key, piece in event["delta"].items():
                if key == "partial_json":
                    texts[event["index"]] = texts.get(event["index"], "") + piece
                elif key != "type":
                    block[key] = (block.get(key) or "") + piece
        elif kind == "message_delta":
            message.update(event["delta"])
    for index, text in texts.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return message


def without(messages, kind):
    """The conversation without the blocks of one kind, as Claude Code drops them."""
    kept = []
    for message in messages:
        blocks = []
        for block in message["content"]:
            if block["type"] == "tool_result" and isinstance(block["content"], list):
                inner = [one for one in block["content"] if one["type"] != kind]
                block = {**block, "content": inner}
            if block["type"] != kind:
                blocks.append(block)
        kept.append({**message, "content": blocks})
    return kept


def answer(model, messages, stream):
    try:
        return messages, post(model, messages, stream)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        for kind in ("document", "image"):
            if "capability_rejected: %s_block" % kind in text:
                fewer = without(messages, kind)
                return fewer, post(model, fewer, stream)
        raise AssertionError("%s: %s %s" % (model, error.code, text)) from None


def tour(stream):
    messages = list(EARLIER)
    for lap in range(3):
        for model in MODELS:
            final = "%s %d" % (model, lap)
            prompt = "go " + marker([("save", {"v": "A"}), ("save", {"v": "B"})], final)
            asked = [{"type": "text", "text": prompt}, IMAGE, DOCUMENT]
            messages.append({"role": "user", "content": asked})
            messages, first = answer(model, messages, stream)
            calls = [block for block in first["content"] if block["type"] == "tool_use"]
            values = [call["input"]["v"] for call in calls]
            assert first["stop_reason"] == "tool_use" and values == ["A", "B"], (model, first)
            messages.append({"role": "assistant", "content": first["content"]})
            results = []
            for call in calls:
                result = {"type": "tool_result", "tool_use_id": call["id"], "content": "saved"}
                results.append(result)
            messages.append({"role": "user", "content": results})
            messages, last = answer(model, messages, stream)
            text = "".join(block.get("text", "") for block in last["content"])
            assert text == final and last["stop_reason"] == "end_turn", (model, last)
            messages.append({"role": "assistant", "content": last["content"]})


tour(stream=False)
tour(stream=True)
print("OK")
