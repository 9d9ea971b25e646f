#!/usr/bin/env python3
"""openai-python: openai_sdk.py BASE_URL chat|nov1|responses|state|embeddings [MODEL]"""
import base64
import json
import struct
import sys

from common import in_venv, marker

in_venv("openai")
import openai  # noqa: E402
import pydantic  # noqa: E402

base, scenario = sys.argv[1], sys.argv[2]
model = sys.argv[3] if len(sys.argv) > 3 else "gpt-4.1"
url = base if scenario == "nov1" else base + "/v1"
client = openai.OpenAI(base_url=url, api_key="test", max_retries=0, timeout=30)
ODD = 'B"\n\u00e9\U0001f600'
SAVES = [("save", {"v": "A"}), ("save", {"v": ODD})]
SCHEMA = {"type": "object", "properties": {"v": {"type": "string"}}, "required": ["v"]}
SAVE = {"type": "function", "name": "save", "description": "save", "parameters": SCHEMA}


class Place(pydantic.BaseModel):
    city: str


def collect(**request):
    """(text, calls, finish, usage) of a streamed chat answer."""
    text, calls, finish, usage = "", {}, None, None
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model=model, stream=True, stream_options=options, **request
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for part in choice.delta.tool_calls or []:
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    return text, [calls[index] for index in sorted(calls)], finish, usage


def chat():
    tools = [{"type": "function", "function": {k: SAVE[k] for k in SAVE if k != "type"}}]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "go " + marker(SAVES, "E2E_DONE \u00e9")},
    ]
    text, calls, finish, usage = collect(messages=messages, tools=tools)
    assert finish == "tool_calls", finish
    assert [json.loads(call["arguments"])["v"] for call in calls] == ["A", ODD], calls
    assert len({call["id"] for call in calls}) == 2 and usage.total_tokens > 0
    said = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in calls
    ]
    messages.append({"role": "assistant", "content": None, "tool_calls": said})
    for call in calls:
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "saved"})
    text, calls, finish, usage = collect(messages=messages, tools=tools)
    assert (finish, text, calls) == ("stop", "E2E_DONE \u00e9", []), (finish, text)
    prompt = [{"role": "user", "content": "go " + marker(final="PLAIN")}]
    answer = client.chat.completions.create(model=model, messages=prompt)
    assert answer.choices[0].message.content == "PLAIN" and answer.usage.total_tokens > 0
    parsed = client.chat.completions.parse(model=model, messages=prompt, response_format=Place)
    assert parsed.choices[0].message.parsed.city == "PLAIN", parsed
    assert any(entry.id for entry in client.models.list())


def responses():
    answer = client.responses.create(model=model, input="go " + marker(final="WHOLE"))
    assert answer.output_text == "WHOLE" and answer.status == "completed", answer
    assert answer.usage.total_tokens > 0
    history = [{"role": "user", "content": "go " + marker(SAVES, "E2E_DONE")}]
    with client.responses.stream(model=model, input=history, tools=[SAVE]) as stream:
        first = stream.until_done().get_final_response()
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["v"] for call in calls] == ["A", ODD], first
    history += [item.to_dict() for item in first.output]
    for call in calls:
        history.append(
            {"type": "function_call_output", "call_id": call.call_id, "output": "saved"}
        )
    with client.responses.stream(model=model, input=history, tools=[SAVE]) as stream:
        second = stream.until_done().get_final_response()
    assert second.output_text == "E2E_DONE", second
    parsed = client.responses.parse(
        model=model, input="go " + marker(final="Rome"), text_format=Place
    )
    assert parsed.output_parsed.city == "Rome", parsed


def state():
    """Twenty turns, each knowing the one before by its id only."""
    last = None
    for turn in range(20):
        prompt = "turn %d %s" % (turn, marker(final="T%d" % turn))
        answer = client.responses.create(model=model, input=prompt, previous_response_id=last)
        assert answer.output_text == "T%d" % turn, answer
        assert answer.previous_response_id == last, (answer.previous_response_id, last)
        last = answer.id
    try:
        client.responses.create(model=model, input="x", previous_response_id="resp_unknown")
    except openai.BadRequestError as error:
        assert error.code == "previous_response_not_found", error
    else:
        raise AssertionError("an unknown id was accepted")


def embeddings():
    name = "text-embedding-3-small"
    two = client.embeddings.create(model=name, input=["a", "b"])  # asks for base64
    assert [len(item.embedding) for item in two.data] == [4, 4], two
    assert two.data[0].object == "embedding" and abs(two.data[0].embedding[0] - 0.25) < 1e-6
    raw = client.embeddings.with_raw_response.create(
        model=name, input="a", encoding_format="base64"
    )
    text = json.loads(raw.text)["data"][0]["embedding"]
    assert struct.unpack("<4f", base64.b64decode(text))[0] == 0.25


scenarios = {
    "chat": chat,
    "nov1": chat,
    "responses": responses,
    "state": state,
    "embeddings": embeddings,
}
scenarios[scenario]()
print("OK")
