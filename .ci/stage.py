#!/usr/bin/env python3
"""The program in front of a fake Copilot that is as strict as the real one about tools.

stage.py READY_FILE [--account pro]: both listen on 127.0.0.1; the proxy's address and the
fake's go into READY_FILE; SIGINT ends it. Exit 1 = something reached the fake that must not.
What the fake model does is said in the prompt: see drivers/common.py, `marker`.
"""
import argparse
import asyncio
import json
import os
import pathlib
import re
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import copilot_proxy as cp  # noqa: E402
import test_copilot_proxy as kit  # noqa: E402

MARK = "\x1f"  # between kind, namespace and name of a call that is no plain function
UNIONS = ("anyOf", "oneOf", "allOf")
# Codex's words for its own summary, and the proxy's for one that it made.
COMPACTED = re.compile("summary produced by the other|What happened so far in this conv")
ID = re.compile(r"[a-zA-Z0-9_-]+")


def schemas_in(schema, path):
    """(path, schema) of a schema and of all that are in it."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for name, inner in (schema.get("properties") or {}).items():
        yield from schemas_in(inner, "%s.%s" % (path, name))
    for key in ("items", "additionalProperties"):
        yield from schemas_in(schema.get(key), "%s.%s" % (path, key))
    for union in UNIONS:
        for at, inner in enumerate(schema.get(union) or ()):
            yield from schemas_in(inner, "%s.%s.%d" % (path, union, at))


def openai_complaint(tool, schema):
    """What OpenAI says about a tool's schema (UPSTREAM 22.5), or None."""
    text = "Invalid schema for function '%s': " % tool.get("name")
    if schema.get("type") != "object":
        return text + "schema must be a JSON Schema of 'type: \"object\"'"
    if any(union in schema for union in UNIONS):
        return text + "schema must not have 'oneOf'/'anyOf'/'allOf' at the top level"
    for path, inner in schemas_in(schema, "()"):
        if inner.get("type") == "array" and "items" not in inner:
            return text + "In context=%s, array schema missing items" % path
        if inner.get("type") == "object" and not isinstance(inner.get("properties"), dict):
            if inner is schema or "additionalProperties" not in inner:
                return text + "In context=%s, object schema missing properties" % path
        names = inner.get("properties") or {}
        for name in inner.get("required") or ():
            if name not in names:
                return text + "In context=%s, 'required' names the unknown '%s'" % (path, name)
        if tool.get("strict") and inner.get("type") == "object":
            if inner.get("additionalProperties") is not False:
                return text + "'additionalProperties' is required to be supplied and to be false"
            if set(inner.get("required") or ()) != set(names):
                return text + "'required' is required to include every key. Missing one."
    return None


def google_complaint(schema):
    """Whether Google answers `Bad Request` to a schema (UPSTREAM 22.5)."""
    for _, inner in schemas_in(schema, "()"):
        kind, values = inner.get("type"), inner.get("enum")
        if isinstance(kind, list) or (kind == "array" and "items" not in inner):
            return "Bad Request"
        if values is not None and (kind != "string" or not all(isinstance(v, str) for v in values)):
            return "Bad Request"
    return None


def anthropic_complaint(schema):
    """What Anthropic says; `$schema`, which Claude Code always sends, is taken."""
    if schema.get("type") != "object" or any(union in schema for union in UNIONS):
        return "input_schema does not support oneOf, allOf, or anyOf at the top level"
    if not isinstance(schema.get("properties"), dict):
        return "input_schema.properties: Field required"
    return None


def tool_complaints(tools, vendor):
    """What a vendor says about the schemas of the functions in a request."""
    for at, tool in enumerate(tools):
        inner = tool.get("function") or tool
        if tool.get("type") == "namespace":
            if not tool.get("description"):
                yield "Invalid 'tools': empty namespace description."
            yield from tool_complaints(tool["tools"], vendor)
        elif "input_schema" in inner:
            complaint = anthropic_complaint(inner["input_schema"])
            yield complaint and "tools.%d.custom.%s" % (at, complaint)
        elif tool.get("type") == "function" and vendor == "Google":
            yield google_complaint(inner.get("parameters") or {})
        elif tool.get("type") == "function" and vendor != "Anthropic":
            yield openai_complaint(inner, inner.get("parameters") or {})


def list_name(body):
    return "messages" if "messages" in body else "input"


def id_complaints(path, body):
    """What the endpoints say about ids of calls (UPSTREAM 22.3, 22.4)."""
    for where, part in kit.walk(body.get("messages") or body.get("input"), list_name(body)):
        for key in ("id", "tool_use_id"):
            known = part.get("type") in ("tool_use", "tool_result") and path == kit.MESSAGES
            if known and key in part and not ID.fullmatch(part[key]):
                yield "%s.%s: String should match pattern '^[a-zA-Z0-9_-]+$'" % (where, key)
        if path == kit.RESPONSES and len(part.get("call_id") or "") > 64:
            yield "Invalid '%s.call_id': string too long. Expected at most 64." % where
        for call in part.get("tool_calls") or ():
            if path == kit.CHAT and len(call["id"]) > 40:
                yield "Invalid '%s.tool_calls.id': string too long. Expected at most 40." % where


def offers(body):
    """{name: (kind, namespace, real name)} of every tool that a call may name."""
    found = {}
    searched = [item for item in items_of(body) if item.get("type") == "tool_search_output"]
    loaded = [tool for item in searched for tool in item.get("tools") or ()]
    for tool in [*(body.get("tools") or ()), *loaded]:
        inner = tool.get("function") or tool
        group = inner["tools"] if tool.get("type") == "namespace" else [inner]
        namespace = inner["name"] if tool.get("type") == "namespace" else ""
        for one in group:
            kind = tool.get("type") or "function"
            if "input_schema" in one:  # Anthropic's own tools are called custom
                kind = "function"
            name = one.get("name") or kind
            offer = ("function" if kind == "namespace" else kind, namespace, name)
            found.setdefault(name, offer)
            found.setdefault(name.rpartition("__")[2], offer)
    return found


def items_of(body):
    items = body.get("input")
    return items if isinstance(items, list) else []


def retold_item(item):
    """An item as the plain fake is to hear it: what was compacted away had its results."""
    if item.get("type") == "tool_search_output":
        return []
    words = json.dumps(item.get("content") or "")
    if item.get("type") == "compaction" or COMPACTED.search(words):
        return [item, {"type": "compacted_output"}]
    return [item]


class Stage(kit.FakeUpstream):
    """Copilot's strictness about tools, and the item types that Codex uses."""

    def refuse(self, request, entry):
        body = dict(request.json)
        tools = body.get("tools") or []
        refusal = kit.backend if request.path == kit.MESSAGES else kit.gateway
        for complaint in tool_complaints(tools, entry["vendor"]):
            if complaint:
                raise refusal(complaint)
        for complaint in id_complaints(request.path, body):
            raise refusal(complaint)
        plain = [t for t in tools if t.get("type") not in ("namespace", "tool_search")]
        if plain or not tools:
            super().refuse(request._replace(json={**body, "tools": plain} if tools else body), entry)

    def decide(self, body):
        last = kit.heard(body)[-1:] or [("", "")]
        if re.search("CONTEXT CHECKPOINT|Summarise this conversation", last[0][1]):
            return "A short summary.", [], ""
        offered = offers(body)
        plain = [{"type": "function", "name": name} for name in offered]
        web = [t for t in body.get("tools") or () if str(t.get("type")).startswith("web_search")]
        seen = dict(body, tools=plain + web)
        key = list_name(body)
        if isinstance(body.get(key), list):
            seen[key] = [item for one in body[key] for item in retold_item(one)]
        text, calls, query = super().decide(seen)
        return text, [self.named(call, offered) for call in calls], query

    @staticmethod
    def named(call, offered):
        kind, namespace, name = offered[call["name"]]
        plain = kind == "function" and not namespace
        return {**call, "name": name if plain else MARK.join((kind, namespace, name))}

    def _infer(self, request):
        status, headers, pieces = super()._infer(request)
        if request.path != kit.RESPONSES:
            return status, headers, pieces
        items = items_of(request.json)
        compact = bool(items) and items[-1].get("type") == "compaction_trigger"
        if not request.json.get("stream"):
            obj = rewritten(json.loads(b"".join(pieces)), compact)
            return kit.whole(status, obj)
        return status, headers, [piece for event in pieces for piece in retold(event, compact)]


def retold(event, compact):
    """One event of the plain fake, in the item types that were asked for."""
    if not isinstance(event, bytes) or b"data: {" not in event:
        return [event]
    obj = json.loads(event.partition(b"data: ")[2])
    kind = obj.get("type", "")
    if compact and re.search(r"content_part|output_text", kind):
        return []
    return [kit.data(rewritten(obj, compact), kind)]


def rewritten(obj, compact):
    if isinstance(obj, list):
        return [rewritten(one, compact) for one in obj]
    if not isinstance(obj, dict):
        return obj
    obj = {key: rewritten(value, compact) for key, value in obj.items()}
    if compact and obj.get("type") == "message" and "content" in obj:
        return {"id": obj.get("id"), "type": "compaction", "encrypted_content": "c29tZXRoaW5n"}
    if obj.get("type") == "function_call" and MARK in obj.get("name", ""):
        return called(obj)
    return obj


def called(item):
    """A call in the form of its kind of tool."""
    kind, namespace, name = item["name"].split(MARK)
    made = {**item, "name": name}
    if namespace:
        made["namespace"] = namespace
    if kind == "custom":
        made["type"] = "custom_tool_call"
        arguments = json.loads(made.pop("arguments") or "{}")
        made["input"] = arguments.get("input", "")
    if kind == "tool_search":
        made["type"] = "tool_search_call"
        made["execution"] = "client"
        made["arguments"] = json.loads(made["arguments"] or "{}")
        del made["name"]
    return made


async def serve(ready, account):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    up = Stage(account)
    async with up, kit.Proxy(up) as proxy:
        pathlib.Path(ready + ".new").write_text("%s\n%s\n" % (proxy.url, up.url))
        os.replace(ready + ".new", ready)
        await stop.wait()
        faults, up.faults = sorted(set(up.faults)), []
    for fault in faults:
        print("fault: " + fault)
    return 1 if faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ready")
    parser.add_argument("--account", default="pro")
    options = parser.parse_args()
    cp.configure_logging("info", sys.stderr)
    return asyncio.run(serve(options.ready, options.account))


if __name__ == "__main__":
    sys.exit(main())
