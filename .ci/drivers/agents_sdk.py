#!/usr/bin/env python3
"""OpenAI's Agents SDK: agents_sdk.py BASE_URL handoff|parallel|image [MODEL]"""
import base64
import struct
import sys
import zlib

from common import in_venv, marker

in_venv("agents")
import agents  # noqa: E402
import openai  # noqa: E402

base, scenario = sys.argv[1], sys.argv[2]
model = sys.argv[3] if len(sys.argv) > 3 else "gpt-5.3-codex"
agents.set_tracing_disabled(True)
client = openai.AsyncOpenAI(base_url=base + "/v1", api_key="test", max_retries=0, timeout=30)
mind = agents.OpenAIResponsesModel(model=model, openai_client=client)
saved = []


@agents.function_tool
def save(v: str) -> str:
    """Save a value."""
    saved.append(v)
    return "saved"


def png(side=16):
    """A small red picture."""
    rows = (b"\0" + bytes([200, 10, 10]) * side) * side

    def part(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


def run(agent, prompt):
    return agents.Runner.run_sync(agent, prompt).final_output


def handoff():
    expert = agents.Agent(name="expert", instructions="e", model=mind)
    first = agents.Agent(name="first", instructions="f", model=mind, handoffs=[expert])
    result = agents.Runner.run_sync(
        first, "go " + marker([("transfer_to_expert", {})], "E2E_DONE")
    )
    assert result.final_output == "E2E_DONE", result.final_output
    assert result.last_agent.name == "expert", result.last_agent


def parallel():
    agent = agents.Agent(name="a", instructions="i", model=mind, tools=[save])
    prompt = "go " + marker([("save", {"v": "A"}), ("save", {"v": "B"})], "E2E_DONE")
    assert run(agent, prompt) == "E2E_DONE" and sorted(saved) == ["A", "B"], saved


def image():
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [
        {"type": "input_text", "text": "look " + marker(final="E2E_DONE")},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    agent = agents.Agent(name="a", instructions="i", model=mind)
    assert run(agent, [{"role": "user", "content": content}]) == "E2E_DONE"


{"handoff": handoff, "parallel": parallel, "image": image}[scenario]()
print("OK")
