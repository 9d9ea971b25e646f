#!/usr/bin/env python3
"""An MCP server on stdio whose tools have the schemas that vendors refuse.

Its tool `save` really writes a file: {"name": ..., "text": ...}.
"""
import json
import sys

TEXT = {"type": "string"}
SCHEMAS = {
    "save": {"type": "object", "properties": {"name": TEXT, "text": TEXT}, "required": ["name"]},
    "no_items": {"type": "object", "properties": {"tags": {"type": "array"}}},
    "no_properties": {"type": "object"},
    "two_types": {"type": "object", "properties": {"q": {"type": ["string", "null"]}}},
    "numbers": {"type": "object", "properties": {"n": {"type": "integer", "enum": [1, 2, 3]}}},
    "enum_on_array": {
        "type": "object",
        "properties": {"a": {"type": "array", "items": TEXT, "enum": [["x"], ["y"]]}},
    },
    "deep": {
        "type": "object",
        "properties": {
            "o": {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "object"}}}
        },
    },
    "undeclared": {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"]},
    "union": {
        "type": "object",
        "anyOf": [
            {"properties": {"path": TEXT}, "required": ["path"]},
            {"properties": {"url": TEXT}, "required": ["url"]},
        ],
    },
    "dialect": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": {"anyOf": [{"type": "array"}, {"type": "null"}]}},
        "additionalProperties": False,
    },
}


def result(method, params):
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion", "2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
    if method == "tools/list":
        return {
            "tools": [
                {"name": name, "description": "Tool %s." % name, "inputSchema": schema}
                for name, schema in SCHEMAS.items()
            ]
        }
    if method == "tools/call":
        given = params.get("arguments") or {}
        if params.get("name") == "save":
            with open(given["name"], "w") as file:
                file.write(given.get("text", ""))
        return {"content": [{"type": "text", "text": "saved"}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        answer["result"] = result(message["method"], message.get("params") or {})
        print(json.dumps(answer), flush=True)
