#!/usr/bin/env python3
"""anthropic-python: anthropic_sdk.py BASE_URL tools|runner [MODEL]"""
import sys

from common import in_venv, marker

in_venv("anthropic")
import anthropic  # noqa: E402

base, scenario = sys.argv[1], sys.argv[2]
model = sys.argv[3] if len(sys.argv) > 3 else "claude-sonnet-4.5"
client = anthropic.Anthropic(base_url=base, api_key="test", max_retries=0, timeout=30)
ODD = 'B"\n\u00e9\U0001f600'
SCHEMA = {"type": "object", "properties": {"v": {"type": "string"}}, "required": ["v"]}
SAVE = {"name": "save", "description": "save a value", "input_schema": SCHEMA}
SAVES = [("save", {"v": "A"}), ("save", {"v": ODD})]


def streamed(messages):
    with client.messages.stream(
        model=model, max_tokens=500, messages=messages, tools=[SAVE]
    ) as stream:
        return stream.get_final_message()


def tools():
    messages = [{"role": "user", "content": "go " + marker(SAVES, "E2E_DONE \u00e9")}]
    first = streamed(messages)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use", first
    assert [call.input["v"] for call in calls] == ["A", ODD], first
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "saved"} for call in calls
    ]
    messages.append({"role": "assistant", "content": first.content})
    messages.append({"role": "user", "content": results})
    last = streamed(messages)
    assert last.stop_reason == "end_turn" and last.content[-1].text == "E2E_DONE \u00e9", last
    whole = client.messages.create(
        model=model,
        max_tokens=500,
        messages=[{"role": "user", "content": "go " + marker(final="PLAIN")}],
    )
    assert whole.content[-1].text == "PLAIN" and whole.type == "message", whole
    counted = client.messages.count_tokens(
        model=model, messages=messages, tools=[SAVE], system="s"
    )
    assert counted.input_tokens > 0
    assert any(entry.id for entry in client.models.list())


def runner():
    """The tool runner: its message threads are refused, so it sends the whole history."""
    saved = []

    @anthropic.beta_tool
    def save(v: str) -> str:
        """Save a value.

        Args:
            v: what to save
        """
        saved.append(v)
        return "saved"

    loop = client.beta.messages.tool_runner(
        model=model,
        max_tokens=500,
        tools=[save],
        messages=[{"role": "user", "content": "go " + marker(SAVES, "E2E_DONE")}],
    )
    last = loop.until_done()
    assert sorted(saved) == ["A", ODD] and last.content[-1].text == "E2E_DONE", (saved, last)


{"tools": tools, "runner": runner}[scenario]()
print("OK")
