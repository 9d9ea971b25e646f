#!/usr/bin/env python3
"""copilot-claude-proxy: use your own GitHub Copilot subscription from Claude Code and
from OpenAI-style clients. One file, Python 3.9+, nothing but the standard library.

    python copilot_proxy.py                     serve on http://127.0.0.1:8082
    python copilot_proxy.py run -- claude       serve, run Claude Code, stop with it
    python copilot_proxy.py --help              everything else

It is unofficial, for one person, and spends that person's own Copilot credits under
GitHub's terms. It never hangs on purpose, never reports success that did not happen,
never sends what the client did not ask for, and lets nobody else in.

The file is a house of numbered rooms; a room uses only rooms above it.

     0  Preamble              this page, imports
     1  Config                settings, .env
     2  Errors                every failure a client may see, in both spellings
     3  Logging               one event, one line, no secrets
     4  JSON                  the edge where bytes become checked dicts
     5  Server-sent events    WHATWG framing
     6  HTTP/1.1 wire         bytes <-> heads and bodies, no sockets
     7  Models                the catalogue, names, endpoint choice, limits
     8  Conversation          the hub: one neutral request, one sink for answers
     9  Anthropic Messages    request -> hub, hub -> stream (max_tokens, thinking, tools)
    10  OpenAI chat           request <-> hub, stream -> hub -> stream
    11  OpenAI Responses      hub -> request, stream -> hub, pass-through with stable ids
    12  Native messages       leave the bytes alone; what a 400 teaches
    13  Tokens, usage, limits estimates, ledger, windows, budget
    ~~  the waterline: nothing above it awaits or reads a clock, socket, file,
        environment or random source; rooms below it do
    14  HTTP client           origins, TLS, CONNECT, keep-alive, deadlines
    15  HTTP server           accept, parse, guard, answer
    16  GitHub sign-in        device flow, Copilot token, one file
    17  Copilot upstream      headers, retries, catalogue, quota, billing initiator
    18  Routes                parse, admit, choose, translate, relay
    19  Status page           one HTML string
    20  Command line          verbs, banner, the composition root
"""

# ============================================================================
# 0. Preamble
# ============================================================================
# Imports and the version; nothing else lives here.

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import bisect
import collections
import contextlib
import datetime
import difflib
import email.utils
import hashlib
import hmac
import http
import ipaddress
import itertools
import json
import logging
import os
import random
import re
import secrets
import shutil
import signal
import socket
import ssl
import stat
import struct
import sys
import tempfile
import time
import urllib.parse
import uuid
from typing import (
    Any, Awaitable, Callable, Deque, Dict, FrozenSet, Hashable, Iterable, Iterator,
    List, Mapping, NamedTuple, Optional, Protocol, Sequence, Set, Tuple, Type, Union,
)

__version__ = "1.0.0"

JSON = Dict[str, Any]


# ============================================================================
# 1. Config
# ============================================================================
# Settings as values. One table row per setting drives parsing, `--help`,
# .env.example and the README (tests compare them); the environment itself is read
# in room 20.                                                             uses: 0
# Contract: a bad value raises ConfigError naming variable, value and what is allowed.


class ConfigError(ValueError):
    """A setting that cannot be used; the text is one line for the terminal."""


class Setting(NamedTuple):
    """One environment variable: how to read it, its default, what it means."""

    name: str
    parse: Callable[[str], Any]  # raises ValueError(what is allowed)
    default: Any
    help: str


def _text(raw: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in raw):
        raise ValueError("text without control characters")
    return raw


def _number(low: float, high: float, kind: type = int) -> Callable[[str], Any]:
    def parse(raw: str) -> Any:
        # The pattern, because int() and float() also take "1_0", "inf" and "٣".
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", raw, re.ASCII):
            value = float(raw)
            if low <= value <= high and (kind is float or value == int(value)):
                return kind(value)
        raise ValueError("a %snumber from %g to %g" % (
            "whole " if kind is int else "", low, high))
    return parse


def _choice(*words: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw.lower() in words:
            return raw.lower()
        raise ValueError(" or ".join(words))
    return parse


def _names(raw: str) -> Tuple[str, ...]:
    return tuple(part.strip() for part in _text(raw).split(",") if part.strip())


def _url(raw: str) -> str:
    parts = urllib.parse.urlsplit(_text(raw))
    if parts.scheme in ("http", "https") and parts.hostname and not parts.query:
        return raw.rstrip("/")
    raise ValueError("an address like https://host")


SETTINGS = (
    Setting("PORT", _number(0, 65535), 8082, "port to listen on; 0 = any free one"),
    Setting("HOST", _text, "127.0.0.1",
            "address to listen on; other than loopback only with API_KEY"),
    Setting("COPILOT_DEFAULT_MODEL", _text, "gpt-4.1",
            "model for clients that name none, or `default`"),
    Setting("GITHUB_TOKEN", _text, "",
            "GitHub OAuth token; skips the sign-in, never written to disk"),
    Setting("GITHUB_COPILOT_CLIENT_ID", _text, "Iv1.b507a08c87ecfe98",
            "OAuth app that the device flow signs in to"),
    Setting("TOKEN_FILE", _text, "~/.copilot-claude-proxy-tokens.json",
            "where the sign-in is kept (mode 0600)"),
    Setting("API_KEY", _text, "",
            "when set, clients must send it as Bearer or x-api-key"),
    Setting("ALLOWED_HOSTS", _names, (), "more Host names to answer to (comma list)"),
    Setting("ALLOWED_ORIGINS", _names, (),
            "web origins that may call the proxy (comma list)"),
    Setting("WEB_SEARCH", _choice("on", "off"), "on",
            "off: answer Claude Code's web search with a text instead of a search"),
    Setting("RATE_LIMIT_DEFAULT", _number(0, 1e6), 60,
            "requests a minute for each session; 0 = off"),
    Setting("RATE_LIMIT_CHAT_COMPLETIONS", _number(0, 1e6), 20,
            "model requests a minute for each session; 0 = off"),
    Setting("MAX_TOKENS_PER_REQUEST", _number(0, 1e9), 0,
            "refuse larger prompts; 0 = the model's own limit"),
    Setting("MAX_TOKENS_PER_MINUTE", _number(0, 1e12), 0,
            "uncached input + output tokens a minute for each session; 0 = off"),
    Setting("CREDIT_BUDGET", _number(0, 1e9, float), 0.0,
            "AI credits a session may use; 0 = no limit"),
    Setting("LOG_LEVEL", _choice("error", "warn", "info", "debug"), "info",
            "error, warn, info or debug"),
    Setting("GITHUB_URL", _url, "https://github.com",
            "GitHub's web address; https://TENANT.ghe.com for data residency"),
    Setting("GITHUB_API_URL", _url, "", "GitHub's API; follows GITHUB_URL"),
    Setting("COPILOT_API_URL", _url, "", "override of the token's endpoints.api"),
    Setting("COPILOT_EDITOR_VERSION", _text, "vscode/1.113.0",
            "Editor-Version that Copilot is told; raise it after a 466"),
    Setting("COPILOT_PLUGIN_VERSION", _text, "copilot-chat/0.42.0",
            "Editor-Plugin-Version that Copilot is told"),
    Setting("COPILOT_API_VERSION", _text, "2026-06-01",
            "X-GitHub-Api-Version that Copilot is told"),
    Setting("IDLE_TIMEOUT", _number(0.05, 86400, float), 300.0,
            "seconds of silence after which an upstream stream is given up"),
    Setting("PING_INTERVAL", _number(0.05, 3600, float), 15.0,
            "seconds between pings to a waiting client"),
    Setting("MAX_BODY_MB", _number(1, 1024), 32, "largest request body"),
    Setting("HTTPS_PROXY", _text, "", "proxy for https, by CONNECT"),
    Setting("HTTP_PROXY", _text, "", "proxy for plain http addresses"),
    Setting("ALL_PROXY", _text, "", "proxy where the other two are not set"),
    Setting("NO_PROXY", _text, "", "hosts reached without a proxy (comma list, or *)"),
    Setting("SSL_CERT_FILE", _text, "", "certificates to trust, one PEM file"),
    Setting("SSL_CERT_DIR", _text, "", "certificates to trust, a hashed folder"),
)
# The names every other tool also reads in lower case.
LOWER_CASE_TOO = frozenset(["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"])
SECRET_SETTINGS = frozenset(
    ["GITHUB_TOKEN", "API_KEY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])


class Config:
    """All settings, frozen: `config.port` is PORT. `repr` shows no secret."""

    def __init__(self, **values: Any) -> None:
        for setting in SETTINGS:
            name = setting.name.lower()
            self.__dict__[name] = values.pop(name, setting.default)
        if values:
            raise TypeError("unknown settings: %s" % ", ".join(sorted(values)))
        tenant = re.fullmatch(r"https://([\w-]+\.ghe\.com)", self.github_url)
        if not self.github_api_url:  # UPSTREAM 1.1: api.T.ghe.com for tenant T
            self.__dict__["github_api_url"] = "https://api." + (
                tenant.group(1) if tenant else "github.com")

    def __getattr__(self, name: str) -> Any:
        # Only reached for a missing name; the annotation tells readers and checkers
        # that settings are attributes.
        raise AttributeError("no such setting: %s" % name.upper())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("settings do not change while the program runs")

    def __repr__(self) -> str:
        shown = ("%s=%r" % (s.name, "***" if s.name in SECRET_SETTINGS
                            and self.__dict__[s.name.lower()] else
                            self.__dict__[s.name.lower()]) for s in SETTINGS)
        return "Config(%s)" % ", ".join(shown)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Read every setting; an empty value counts as not set."""
        values = {}
        for setting in SETTINGS:
            raw = env.get(setting.name, "")
            if not raw and setting.name in LOWER_CASE_TOO:
                raw = env.get(setting.name.lower(), "")
            raw = raw.strip()
            if raw:
                values[setting.name.lower()] = _read_setting(setting, raw)
        return cls(**values)


def _read_setting(setting: Setting, raw: str) -> Any:
    try:
        return setting.parse(raw)
    except ValueError as exc:
        shown = "***" if setting.name in SECRET_SETTINGS else ascii(raw[:80])
        raise ConfigError("%s=%s is not usable: expected %s." % (
            setting.name, shown, exc)) from None


DOTENV_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*"""
    r"""(?:'([^'\n]*)'|"((?:[^"\\\n]|\\.)*)"|([^\n]*?))[ \t]*(?:(?<=[\s'"=])\#[^\n]*)?""")
DOTENV_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> Dict[str, str]:
    """Read .env lines: quotes, `export`, comments, CRLF and a BOM; others are skipped."""
    values = {}
    for line in re.split(r"\r\n|\r|\n", text.lstrip("\ufeff")):
        found = DOTENV_LINE.fullmatch(line)
        if found:
            name, single, double, bare = found.groups()
            if double is not None:
                single = re.sub(r"\\(.)", lambda m: DOTENV_ESCAPES.get(
                    m.group(1), m.group(1)), double)
            values[name] = single if single is not None else (bare or "").strip()
    return values


# ============================================================================
# 2. Errors
# ============================================================================
# One tree for every way to fail that a client may see, its two spellings, and the
# reader of the upstream's own errors (UPSTREAM 15).                      uses: 0
# Contract: str(exc) says what happened, whose fault it is and what to do next, and
# never holds a token; total over the statuses 400-599.


class ProxyError(Exception):
    """A failure that the client is told; `status` is what it is answered with."""

    status = 500
    code: Optional[str] = None          # OpenAI's error.code
    should_retry: Optional[bool] = None  # Claude Code obeys x-should-retry

    def __init__(self, message: str, *, status: int = 0, code: Optional[str] = None,
                 retry_after: str = "", should_retry: Optional[bool] = None) -> None:
        super().__init__(message)
        self.status = status or self.status
        self.code = code or self.code
        self.retry_after = retry_after  # as the header has it: seconds or a date
        if should_retry is not None:
            self.should_retry = should_retry


class BadRequest(ProxyError):
    """The client sent something that cannot be served; the text names the place."""
    status = 400


class ContextOverflow(BadRequest):
    """The prompt does not fit; 0 = a number that nobody has told yet."""
    code = "context_length_exceeded"

    def __init__(self, tokens: int = 0, maximum: int = 0) -> None:
        # Claude Code compacts on exactly this sentence and parses both numbers.
        super().__init__("prompt is too long: %d tokens > %d maximum" % (tokens, maximum))
        self.tokens, self.maximum = tokens, maximum


class AuthRequired(ProxyError):
    """Nobody is signed in, or the client's own key is wrong."""
    status = 401
    # Without it Claude Code tries 11 times in 180 s and hides the text (CLIENTS 1).
    should_retry = False


class BudgetExceeded(ProxyError):
    """The session has used the credits that CREDIT_BUDGET allows."""
    status, code, should_retry = 402, "credit_budget_exceeded", False


class Forbidden(ProxyError):
    """Not from here: a foreign Host or Origin, or an upstream policy."""
    status = 403


class NotFound(ProxyError):
    """No such path, model or session."""
    status = 404


class MethodNotAllowed(ProxyError):
    """The path exists; `allow` lists the methods it takes."""
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RateLimited(ProxyError):
    """Refused by this proxy's own limits; the request was not sent or charged."""
    status = 429


class UpstreamError(ProxyError):
    """GitHub, Copilot or the way there failed; status and words are the upstream's."""
    status = 502

    def __init__(self, message: str, *, kind: str = "", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.kind = kind  # the upstream's own error.type, when it named one
        self.said = message  # the upstream's words without our advice


class UpstreamTimeout(UpstreamError):
    """The upstream said nothing for too long."""
    status = 504


class ConnectFailed(UpstreamError):
    """No byte of an answer came: the request may be sent again."""


class ProtocolError(ProxyError):
    """Bytes that are not HTTP, or over a limit: one answer, then the connection ends."""
    status = 400


class Spelling(NamedTuple):
    """How one status is called in the two dialects."""

    anthropic: str
    openai: str


ERROR_TYPES = {
    400: Spelling("invalid_request_error", "invalid_request_error"),
    401: Spelling("authentication_error", "authentication_error"),
    402: Spelling("billing_error", "insufficient_quota"),
    403: Spelling("permission_error", "permission_error"),
    404: Spelling("not_found_error", "not_found_error"),
    413: Spelling("request_too_large", "invalid_request_error"),
    429: Spelling("rate_limit_error", "rate_limit_error"),
    503: Spelling("overloaded_error", "server_error"),
    504: Spelling("timeout_error", "server_error"),
    529: Spelling("overloaded_error", "server_error"),
}


def _spelling(status: int) -> Spelling:
    return ERROR_TYPES.get(status) or (
        ERROR_TYPES[400] if status < 500 else Spelling("api_error", "server_error"))


def anthropic_error(exc: ProxyError) -> JSON:
    """The body of an Anthropic error answer, and the data of its `error` event."""
    return {"type": "error", "error": {
        "type": _spelling(exc.status).anthropic, "message": str(exc)}}


def openai_error(exc: ProxyError) -> JSON:
    """The body of an OpenAI error answer, and the data of a stream's error chunk."""
    return {"error": {"message": str(exc), "type": _spelling(exc.status).openai,
                      "param": None, "code": exc.code}}


class Advice(NamedTuple):
    """What a person can do about one upstream failure (README, Troubleshooting)."""

    status: int  # 0 = any
    mark: str    # an error code or a part of the text, any case; "" = any
    text: str
    should_retry: Optional[bool] = None


# First match wins. UPSTREAM 15.2 has the words, CLIENTS 1 what Claude Code does.
ADVICE = (
    Advice(0, "certificate", "The connection to the upstream is not trusted; if your "
           "company inspects TLS, set SSL_CERT_FILE to its root certificate.", False),
    Advice(0, "editor-version", "Copilot refused the client version; check "
           "COPILOT_EDITOR_VERSION.", False),
    Advice(0, "personal access tokens are not supported", "A personal access token "
           "cannot be used here; remove GITHUB_TOKEN and sign in with "
           "`python copilot_proxy.py login`.", False),
    Advice(0, "model_not_available_for_integrator", "Your plan or organisation does "
           "not offer this model; `python copilot_proxy.py models` lists yours."),
    Advice(401, "", "Copilot refuses the sign-in; renew it with "
           "`python copilot_proxy.py login`.", False),
    Advice(402, "", "Your Copilot credits or spending limit are used up; see "
           "`python copilot_proxy.py usage` and github.com/settings/copilot.", False),
    Advice(429, "user_model_rate_limited", "Only this model is limited; another model "
           "still works."),
    Advice(429, "weekly", "This is GitHub's weekly limit; waiting minutes will not "
           "help.", False),
    Advice(429, "", "GitHub limits this account for now; wait, or run fewer agents at "
           "once."),
    Advice(403, "rate limit", "GitHub limits this account for now; you are still "
           "signed in.", True),
    Advice(403, "", "GitHub or your organisation refuses this; see "
           "github.com/settings/copilot.", False),
    Advice(408, "", "The request was too slow for Copilot; try again or send less."),
    Advice(413, "", "Copilot takes smaller requests only; remove images or start a new "
           "conversation.", False),
    Advice(421, "", "Your plan has another Copilot address; unset COPILOT_API_URL and "
           "restart.", False),
    Advice(466, "", "Copilot wants a newer client; raise COPILOT_EDITOR_VERSION, "
           "COPILOT_PLUGIN_VERSION and COPILOT_API_VERSION.", False),
    Advice(499, "", "Copilot gave the request up; try again."),
    Advice(503, "", "The model's provider is overloaded; try again in a moment."),
    Advice(502, "", "Copilot or the way to it failed; try again in a moment."),
    Advice(504, "", "Copilot did not answer in time; try again."),
)


def advice_for(status: int, code: str, message: str) -> Optional[Advice]:
    """The first row of ADVICE that fits, or None."""
    said = ("%s %s" % (code, message)).lower()
    for row in ADVICE:
        if row.status in (0, status) and row.mark in said:
            return row
    return None


OVERFLOW_NUMBERS = re.compile(
    r"prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)"
    r"|prompt token count of (\d+) exceeds the limit of (\d+)", re.IGNORECASE)
OVERFLOW_MARKS = ("model_max_prompt_tokens_exceeded", "exceeds the context window",
                  "prompt is too long", "context_length_exceeded")
MAX_MESSAGE = 2000  # an HTML page or a dump does not belong into a client's terminal


def upstream_error(status: int, headers: Mapping[str, str], body: bytes) -> ProxyError:
    """Read an upstream failure in any of the five shapes of UPSTREAM 15.1.

    `headers` needs only .get("retry-after"). A context overflow comes back as
    ContextOverflow, everything else as UpstreamError with the upstream's status.
    """
    message, code, kind = _error_fields(body)
    said = "%s %s" % (code, message)
    if status in (400, 413) and any(mark in said.lower() for mark in OVERFLOW_MARKS):
        numbers = OVERFLOW_NUMBERS.search(message)
        return ContextOverflow(*[int(n) for n in numbers.groups() if n] if numbers else ())
    # 422 is Copilot's content filter (UPSTREAM 15.2): the request is at fault.
    status = 400 if status == 422 else status if 400 <= status < 600 else 502
    advice = advice_for(status, code, message)
    message = message or "the upstream answered %d without a word" % status
    exc = UpstreamError(
        "%s%s %s" % (message, "" if message[-1:] in ".!?" else ".", advice.text)
        if advice else message,
        kind=kind, status=status, code=code or None,
        retry_after=headers.get("retry-after") or "",
        should_retry=advice.should_retry if advice else None)
    exc.said = message
    return exc


def error_in_stream(obj: JSON) -> ProxyError:
    """The error that an upstream put inside a 200 answer (UPSTREAM 9.4, 15.2)."""
    said = json.dumps(obj)
    overflow = any(mark in said.lower() for mark in OVERFLOW_MARKS)
    status = 400 if overflow else 429 if "rate_limit" in said else 502
    return upstream_error(status, {}, said.encode("ascii"))


def _error_fields(body: bytes) -> Tuple[str, str, str]:
    text = body.decode("utf-8", "replace").strip()
    try:
        obj = json.loads(text)
    except (ValueError, RecursionError):
        if text[:1] == "<":  # a load balancer's page
            title = re.search(r"<title>\s*([^<]{1,200})", text)
            text = "the upstream sent a web page%s" % (
                ": " + title.group(1).strip() if title else "")
        return text[:MAX_MESSAGE], "", ""
    while isinstance(obj, dict) and isinstance(obj.get("error"), dict):
        obj = obj["error"]  # shapes 1 and 2
    if not isinstance(obj, dict):
        return text[:MAX_MESSAGE], "", ""
    fields = (obj.get("message") or obj.get("error"), obj.get("code"), obj.get("type"))
    message, code, kind = (
        value if isinstance(value, str) else "" for value in fields)
    return message.strip()[:MAX_MESSAGE] or code, code.partition(":")[0], kind


# ============================================================================
# 3. Logging
# ============================================================================
# Turn one event into one line, over the standard library's logging. Fields are
# metadata, never bodies or tokens.                                     uses: 0, 1
# Contract: one line whatever the fields hold; nothing is formatted when the level is
# off; a failing write never reaches a request.

LOG = logging.getLogger("copilot_proxy")
LOG_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING,
              "info": logging.INFO, "debug": logging.DEBUG}
SECRET = re.compile(
    r"(?:gh[a-z]_|github_pat_)\w+|tid=[^\s\"']+|(?<=bearer )[^\s\"']+"
    r"|(?<=://)[^/\s@\"']+(?=@)", re.IGNORECASE)


def redact(text: str) -> str:
    """Blank out everything that looks like a token or a proxy password."""
    return SECRET.sub("***", text)


def log_event(level: str, event: str, **fields: Any) -> None:
    """Log `event: {fields}`, the form of the program this one replaces."""
    number = LOG_LEVELS[level]
    if LOG.isEnabledFor(number):
        # ASCII, so that control bytes, lone surrogates and terminal escapes are inert.
        LOG.log(number, "%s: %s", event, redact(json.dumps(fields, default=str)))


def log_line(level: str, event: str, text: str) -> None:
    """Log `event: text` for people; `text` is made printable."""
    number = LOG_LEVELS[level]
    if LOG.isEnabledFor(number):
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in redact(text))
        LOG.log(number, "%s: %s", event, shown)


class LevelName(logging.Formatter):
    """`12:00:01 [info] event: ...`"""

    def format(self, record: logging.LogRecord) -> str:
        name = {logging.WARNING: "warn"}.get(record.levelno, record.levelname.lower())
        line = "%s [%s] %s" % (
            time.strftime("%H:%M:%S", time.localtime(record.created)), name,
            record.getMessage())
        if record.exc_info:  # a bug of ours: the traceback on one line, and redacted
            line += " | " + redact(json.dumps(self.formatException(record.exc_info)))
        return line


def configure_logging(level: str, stream: Any) -> None:
    """Send the program's log to `stream`, once."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LevelName())
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(LOG_LEVELS[level])
    logging.raiseExceptions = False  # a closed terminal must not break a request


# ============================================================================
# 4. JSON
# ============================================================================
# The edge where unknown bytes become checked dicts, and back.           uses: 0, 2
# Contract: invalid UTF-8, NaN and over-deep nesting are a BadRequest; unknown keys are
# kept; encoding never fails, a lone surrogate goes out as its \u escape.


def _no_constant(name: str) -> Any:
    raise ValueError("%s is not JSON" % name)


_DECODE = json.JSONDecoder(parse_constant=_no_constant).decode
# One cached encoder each: json.dumps(..., separators=) builds a new one every call.
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ENCODE_ASCII = json.JSONEncoder(separators=(",", ":")).encode
json_string = json.encoder.encode_basestring  # '"..."', non-ASCII kept


def loads(raw: bytes) -> Any:
    """Parse strict UTF-8 JSON; raises ValueError whatever is wrong with it."""
    try:
        return _DECODE(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def loads_object(raw: bytes) -> JSON:
    """Parse a request body; raises BadRequest naming what is wrong and where."""
    try:
        obj = loads(raw)
    except UnicodeDecodeError as exc:
        raise BadRequest("the body is not UTF-8: byte %d is wrong" % exc.start) from None
    except ValueError as exc:
        raise BadRequest("the body is not JSON: %s" % exc) from None
    if not isinstance(obj, dict):
        raise BadRequest("the body must be a JSON object")
    return obj


def dumps(obj: Any) -> bytes:
    """Encode as compact UTF-8; total over whatever loads() returned."""
    try:
        return _ENCODE(obj).encode("utf-8")
    except UnicodeEncodeError:
        return _ENCODE_ASCII(obj).encode("ascii")


def dumps_text(obj: Any) -> str:
    """Encode as compact text, for JSON inside JSON (a call's arguments)."""
    return dumps(obj).decode("utf-8")


KINDS = {str: "a string", list: "a list", dict: "an object", bool: "true or false",
         int: "a whole number", float: "a number"}


def expect(value: Any, kind: type, path: str) -> Any:
    """Return `value` if it is a `kind`; else raise BadRequest naming `path`."""
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (
            isinstance(value, bool) and kind is not bool):
        raise BadRequest("%s: expected %s" % (path, KINDS[kind]))
    return value


def field(obj: JSON, key: str, kind: type, path: str = "", default: Any = None) -> Any:
    """`obj[key]` checked to be a `kind`; absent or null gives `default`."""
    value = obj.get(key)
    if value is None:
        return default
    return expect(value, kind, "%s.%s" % (path, key) if path else key)


def required(obj: JSON, key: str, kind: type, path: str = "") -> Any:
    """`obj[key]` checked to be a `kind`; raises BadRequest when it is missing."""
    where = "%s.%s" % (path, key) if path else key
    if obj.get(key) is None:
        raise BadRequest("%s: required" % where)
    return expect(obj[key], kind, where)


# ============================================================================
# 5. Server-sent events
# ============================================================================
# WHATWG framing (HTML 9.2.6) on bytes, and nothing about any API.       uses: 2, 4
# Contract: the events do not depend on how the bytes were cut. An event without data
# is dropped; the end of the stream counts as the blank line that ends an event,
# because some upstreams leave the last one out (UPSTREAM 17.4).

MAX_EVENT = 32 * 1024 * 1024  # R2; a 10 MB base64 image in one tool result fits
BOM = b"\xef\xbb\xbf"
SSE_DONE = b"data: [DONE]\n\n"
SSE_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
SSE_COMMENT = b": ping\n\n"


class SSEEvent(NamedTuple):
    """One event; `event` is "" when it had no name, `data` is not decoded."""

    event: str
    data: bytes


def encode_sse(event: str, obj: Any) -> bytes:
    """Encode one event; an empty name gives a bare data line, as OpenAI has it."""
    head = b"event: %b\ndata: " % event.encode("utf-8") if event else b"data: "
    return b"%b%b\n\n" % (head, dumps(obj))


def _parse_lines(block: bytes) -> Optional[SSEEvent]:
    event, data = b"", []
    for line in block.split(b"\n"):
        field_name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field_name == b"data":
            data.append(value)
        elif field_name == b"event":
            event = value
    name = event.decode("utf-8", "replace")
    return SSEEvent(name, b"\n".join(data)) if data else None


def _parse_block(block: bytes) -> Optional[SSEEvent]:
    # The two usual shapes, at a third of the cost of the line by line route.
    head, found, data = block.partition(b"data: ")
    if found and b"\n" not in data:
        if not head:
            return SSEEvent("", data)
        if head[:7] == b"event: " and head.find(b"\n") == len(head) - 1:
            return SSEEvent(head[7:-1].decode("utf-8", "replace"), data)
    return _parse_lines(block)


class SSEDecoder:
    """Bytes in, events out; raises UpstreamError for an event over `limit` bytes."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._tail = bytearray()  # what follows the last blank line
        self._skip_lf = False     # a CR ended the last piece, and with it its line
        self._start = True        # only the very first bytes may be a BOM

    @property
    def pending(self) -> bool:
        """Whether a part of an event has come and its end has not."""
        return self._tail not in (b"", b"\n")

    def feed(self, data: bytes) -> List[SSEEvent]:
        """Take the next bytes, return the events that they complete."""
        if self._skip_lf or b"\r" in data:
            data = self._plain_newlines(data)
        if self._tail[-1:] == b"\n":  # half of a blank line, perhaps
            del self._tail[-1:]
            data = b"\n" + data
        blocks = data.split(b"\n\n")
        self._tail += blocks[0]  # a bytearray: bytes would be copied for every piece
        if max(len(self._tail), max(map(len, blocks))) > self._limit:
            raise UpstreamError("the upstream sent an event of more than %d bytes; "
                                "try again" % self._limit)
        if len(blocks) == 1:
            return []
        blocks[0] = bytes(self._tail)
        self._tail = bytearray(blocks.pop())
        if self._start:
            self._start = False
            blocks[0] = blocks[0][3:] if blocks[0][:3] == BOM else blocks[0]
        return [event for event in map(_parse_block, blocks) if event]

    def finish(self) -> List[SSEEvent]:
        """Return the event that the end of the stream completes, if there is one."""
        return self.feed(b"\n\n")

    def _plain_newlines(self, data: bytes) -> bytes:
        if self._skip_lf and data:
            data, self._skip_lf = data[data[:1] == b"\n":], False
        self._skip_lf = data.endswith(b"\r") or self._skip_lf
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


# ============================================================================
# 6. HTTP/1.1 wire
# ============================================================================
# Bytes <-> heads and body pieces (RFC 9112), for both sides.           Uses: 2.
# Contract: no cutting of the input changes the outcome; all is linear and has a limit;
# what two parsers could read in two ways is refused with ProtocolError. Checked by
# patterns, because int(), strip() and splitlines() also take "+5", "5_0" and \x85.

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t -~\x80-\xff]*"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
TOKEN = re.compile(_TOKEN.decode("ascii"))
VALUE = re.compile(_VALUE.decode("latin-1"))
# A target without `"#<>`; browsers leave the other odd ones, as {|}, in a query.
REQUEST_LINE = re.compile(rb"(%b) ([!$-;=?-~]+) HTTP/(1\.[0-9])" % _TOKEN)
STATUS_LINE = re.compile(rb"HTTP/(1\.[0-9]) ([1-5][0-9][0-9])(?: (%b))?" % _VALUE)
FIELDS = re.compile(rb"(?:%b:%b\r\n)*" % (_TOKEN, _VALUE))
CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)\r\n"
    % (_TOKEN, _TOKEN, _QUOTED))
LENGTH = re.compile(r"[0-9]{1,19}")  # 19 digits reach 2^63
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[\w.~%-]{0,255})(?::[0-9]{0,5})?", re.A)
PATH = re.compile(r"/(?:[^%]|%[0-9A-Fa-f]{2})*")
WHOLE_HEAD = re.compile(rb"(?:[^\r\n]+\r\n)+\r\n")
FIRST_BYTE = re.compile(rb"\r|" + _TOKEN)

HOP_BY_HOP = frozenset([  # RFC 9110 7.6.1: about one connection, never passed on
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"])
REASONS = {status.value: status.phrase for status in http.HTTPStatus}
# Bytes of the first line, of one field, of all fields; number of fields.
REQUEST_LIMITS = (16384, 16384, 32768, 100)   # nginx: 8k lines, 32k in all
RESPONSE_LIMITS = (16384, 65536, 65536, 128)  # github.com's CSP alone is 4k
MAX_BLANK_LINES = 4     # before a request; RFC 9112 2.2 asks for one
MAX_CHUNK_LINE = 1024
MAX_EXTENSIONS = 16384  # in a message; CVE-2023-39326 is a drip of ignored bytes
MAX_TRAILER = 16384     # bytes in all
MAX_TRAILERS = 64       # fields

Pairs = Iterable[Tuple[str, str]]


class Headers:
    """Header fields in order, never changed; names are lower-case."""

    def __init__(self, pairs: Pairs = ()) -> None:
        self._pairs = tuple([(name.lower(), value) for name, value in pairs])

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        """The field's value; repeated fields joined by ", " (RFC 9110 5.3), so that a
        doubled Origin or Content-Length is no valid one."""
        values = self.all(name)
        return ", ".join(values) if values else default

    def all(self, name: str) -> List[str]:
        """The values of every field of that name."""
        name = name.lower()
        return [value for key, value in self._pairs if key == name]

    def __iter__(self) -> Iterator[Tuple[str, str]]:
        return iter(self._pairs)


class RequestHead(NamedTuple):
    """A request without its body; `authority` is None unless in absolute-form."""
    method: str
    authority: Optional[str]
    path: str     # decoded
    query: str    # not decoded
    version: str  # "1.0", "1.1" or a later 1.x
    headers: Headers


class ResponseHead(NamedTuple):
    """A status line and its fields."""
    status: int
    reason: str
    version: str
    headers: Headers


def _parse_head(pattern: Any, head: bytes) -> Tuple[List[str], Headers]:
    line, _, block = head.partition(b"\r\n")
    found = pattern.fullmatch(line)
    # FIELDS also refuses obs-fold, a space before the colon, NUL, bare CR and bare LF.
    if not found or not FIELDS.fullmatch(block):
        raise ProtocolError("the %s is malformed or not of HTTP/1.x" % (
            "header" if found else "first line"))
    lines = block.decode("latin-1").split("\r\n")[:-1]
    fields = [line.partition(":") for line in lines]
    return ([group.decode("latin-1") for group in found.groups(b"")],
            Headers([(name, value.strip(" \t")) for name, _, value in fields]))


def _parse_target(target: str) -> Tuple[Optional[str], str, str]:
    authority = None
    if target[:7].lower() == "http://":
        authority, target = re.fullmatch(r"([^/?]*)/?(.*)", target[7:]).groups()
        target = "/" + target
    raw, _, query = target.partition("?")
    path = urllib.parse.unquote(raw, errors="replace") if PATH.fullmatch(raw) else ""
    # Bytes that are not UTF-8 came out as U+FFFD, which is no part of a path of ours.
    if not path or not path.isprintable() or "\ufffd" in path or (
            not HOST.fullmatch(authority or "")):
        raise ProtocolError("the request target is malformed")
    return authority, path, query


def parse_request_head(head: bytes) -> RequestHead:
    """Parse what HeadReader gave: a target in origin-form, absolute-form or the `*` of
    OPTIONS, and exactly one valid Host (HTTP/1.0: at most one)."""
    (method, target, version), headers = _parse_head(REQUEST_LINE, head)
    hosts = headers.all("host")
    if len(hosts) != 1 and (hosts or version != "1.0") or (
            hosts and not HOST.fullmatch(hosts[0])):
        raise ProtocolError("exactly one valid Host header is needed")
    if (method, target) == ("OPTIONS", "*"):
        return RequestHead(method, None, "*", "", version, headers)
    return RequestHead(method, *_parse_target(target), version, headers)


def parse_response_head(head: bytes) -> ResponseHead:
    """Parse what HeadReader gave."""
    (version, status, reason), headers = _parse_head(STATUS_LINE, head)
    return ResponseHead(int(status), reason, version, headers)


def keeps_alive(head: Union[RequestHead, ResponseHead]) -> bool:
    """Does the sender of `head` want to use the connection again?"""
    words = re.split("[ \t]*,[ \t]*", head.headers.get("connection", "").lower())
    return "close" not in words and (head.version != "1.0" or "keep-alive" in words)


def _cut_line(data: bytes, at: int, room: int, status: int) -> Tuple[bytes, int]:
    """The line that begins at `at`, and its end: 0 while its LF is missing."""
    end = data.find(b"\n", at) + 1
    line = data[at:end or None]
    if len(line) > room + 2:  # before the CR, so that a late LF changes nothing
        raise ProtocolError("a line is too long", status=status)
    if end and line[-2:] != b"\r\n":
        raise ProtocolError("a line ends without CR")
    return line, end


class HeadReader:
    """Cuts one head off the stream; after it, `rest` holds the bytes that followed."""

    def __init__(self, limits: Tuple[int, int, int, int] = REQUEST_LIMITS) -> None:
        self.rest = self._tail = b""
        self._first, self._field, self._block, self._fields = limits
        self._lines: List[bytes] = []
        self._blank = 0

    def feed(self, data: bytes) -> Optional[bytes]:
        """Take bytes, give the head without its empty last line once it is complete.

        Raises ProtocolError 400, 414 or 431 at the first byte that is wrong.
        """
        if not self._lines and not self._tail:
            # The usual head came in one piece and is far from every limit.
            whole = WHOLE_HEAD.match(data)
            if whole and whole.end() < self._first and (
                    data.count(b"\n", 0, whole.end()) < self._fields):
                self.rest = data[whole.end():]
                return data[:whole.end() - 2]
        data, at = self._tail + data, 0
        while True:
            line, end = self._cut(data, at)
            if not end:
                self._tail = line
                return None
            at = end
            if line != b"\r\n":
                self._block -= len(line) if self._lines else 0
                self._lines.append(line)
            elif self._lines:
                self.rest = data[at:]
                return b"".join(self._lines)
            else:
                self._blank += 1

    def _cut(self, data: bytes, at: int) -> Tuple[bytes, int]:
        if len(self._lines) > self._fields + 1 or self._block < 0:
            raise ProtocolError("the header fields are too large", status=431)
        if self._lines:
            return _cut_line(data, at, min(self._field, self._block), 431)
        if self._blank > MAX_BLANK_LINES or (
                at < len(data) and not FIRST_BYTE.match(data, at)):
            # Said at once: a TLS greeting need not have an LF, and waits for us.
            raise ProtocolError("not HTTP (this port speaks http, not https)")
        return _cut_line(data, at, self._first, 414)


class Body:
    """A body coming in, of `length` bytes, or None: until the connection ends.

    feed() until `done`; `rest` is then what followed it.
    """

    def __init__(self, length: Optional[int]) -> None:
        self.done, self.rest = length == 0, b""
        self._closes = length is None
        self._left = sys.maxsize if length is None else length

    def feed(self, data: bytes) -> bytes:
        """Take wire bytes, give body bytes."""
        body = data[:self._left]
        self._left -= len(body)
        self.done = not self._left
        self.rest += data[len(body):]
        return body

    def eof(self) -> None:
        """The peer closed; raises ProtocolError when that cut the body short."""
        self.done = self.done or self._closes
        if not self.done:
            raise ProtocolError("the connection ended inside a body")


class ChunkedBody(Body):
    """A chunked body (RFC 9112 7.1); extensions and trailers are checked, not kept."""

    def __init__(self, limit: int = sys.maxsize) -> None:
        super().__init__(0)
        self.done = False
        self._limit = limit          # body bytes that may still come
        # _left of this chunk's data are to come, and then a line:
        self._expect = "size"        # "size", "end" of the data, or "trailer",
        self._room = MAX_CHUNK_LINE  # so long at most;
        self._tail = b""             # this much of it is there
        self._extensions = self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        """Take wire bytes, give body bytes; raises ProtocolError 400, 413 or 431."""
        data, self._tail, at = self._tail + data, b"", 0
        pieces = []
        while not self.done:
            piece = data[at:at + self._left]
            pieces.append(piece)
            at += len(piece)
            self._left -= len(piece)
            if self._left:
                break
            line, end = _cut_line(
                data, at, self._room, 431 if self._expect == "trailer" else 400)
            if not end:
                self._tail = line
                break
            at = end
            self._step(line)
        else:
            self.rest += data[at:]
        return b"".join(pieces)

    def _step(self, line: bytes) -> None:
        if self._expect == "size":
            self._size(line)
        elif self._expect == "trailer":
            self._trailer(line)
        elif line == b"\r\n":
            self._expect, self._room = "size", MAX_CHUNK_LINE
        else:
            raise ProtocolError("a chunk is longer than its size")

    def _size(self, line: bytes) -> None:
        found = CHUNK_LINE.fullmatch(line)
        if not found:
            raise ProtocolError("a chunk size is malformed")
        self._left = int(found.group(1), 16)
        self._limit -= self._left
        self._extensions += len(found.group(2))
        if self._limit < 0:
            raise ProtocolError("the body is too large", status=413)
        if self._extensions > MAX_EXTENSIONS:
            raise ProtocolError("the chunk extensions are too large")
        self._expect, self._room = (
            ("end", 0) if self._left else ("trailer", MAX_TRAILER))

    def _trailer(self, line: bytes) -> None:
        self._room = max(self._room - len(line), 0)
        self._trailers += 1
        self.done = line == b"\r\n"
        if not self.done and not FIELDS.fullmatch(line):
            raise ProtocolError("a trailer field is malformed")
        if self._trailers > MAX_TRAILERS + 1:
            raise ProtocolError("too many trailer fields", status=431)


def _framing(head: Union[RequestHead, ResponseHead], limit: int,
             default: Optional[int]) -> Body:
    coding = head.headers.get("transfer-encoding")
    length = head.headers.get("content-length")
    if coding is not None:
        # RFC 9112 6.1: each of these three is a way to smuggle a request.
        if coding.lower() != "chunked" or length is not None or head.version == "1.0":
            raise ProtocolError("Transfer-Encoding must be chunked, without "
                                "Content-Length, and not in HTTP/1.0")
        return ChunkedBody(limit)
    if length is None:
        return Body(default)
    if not LENGTH.fullmatch(length):
        raise ProtocolError("Content-Length must be one whole number")
    if int(length) > limit:
        raise ProtocolError("the body is too large", status=413)
    return Body(int(length))


def request_framing(head: RequestHead, limit: int = sys.maxsize) -> Body:
    """The reader of a request's body; raises ProtocolError, 413 above `limit` bytes."""
    return _framing(head, limit, 0)


def response_framing(method: str, head: ResponseHead) -> Body:
    """The reader of the body that answers `method` (RFC 9112 6.3)."""
    if method == "HEAD" or head.status < 200 or head.status in (204, 304) or (
            method == "CONNECT" and head.status < 300):
        return Body(0)
    return _framing(head, sys.maxsize, None)


def _encode_head(line: str, pairs: Pairs) -> bytes:
    lines = [line]
    for name, value in pairs:
        if not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise ProtocolError("the header %a cannot be sent" % name, status=500)
        lines.append("%s: %s" % (name, value))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encode_request_head(method: str, target: str, pairs: Pairs) -> bytes:
    """Write a request head; a part that would break it is a ProtocolError."""
    line = "%s %s HTTP/1.1" % (method, target)
    if not REQUEST_LINE.fullmatch(line.encode("utf-8", "surrogatepass")):
        raise ProtocolError("the request line cannot be sent", status=500)
    return _encode_head(line, pairs)


def encode_response_head(status: int, pairs: Pairs) -> bytes:
    """Write a response head; a value that would break it is a ProtocolError (R10)."""
    return _encode_head("HTTP/1.1 %d %s" % (status, REASONS.get(status, "")), pairs)


LAST_CHUNK = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Frame `data`; nothing for b"", which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


# ============================================================================
# 7. Models
# ============================================================================
# The account's catalogue, what a client's model name means in it, and which upstream
# endpoint serves it (SPEC 4, 5; UPSTREAM 7, 8).                          uses: 0, 2
# Contract: a known id means itself; never another family; an entry that cannot be read
# is skipped; every limit comes from the catalogue, 0 = it does not say.

MESSAGES, CHAT, RESPONSES = "/v1/messages", "/chat/completions", "/responses"


class Model(NamedTuple):
    """One entry of the catalogue."""

    id: str
    name: str = ""
    vendor: str = ""
    kind: str = "chat"  # chat, embeddings or completion
    endpoints: Tuple[str, ...] = (CHAT,)
    context: int = 0
    prompt: int = 0
    output: int = 0
    vision: bool = False
    efforts: Tuple[str, ...] = ()
    adaptive: bool = False
    budget: Tuple[int, int] = (0, 0)  # smallest and largest thinking budget
    raw: JSON = {}

    @property
    def offered(self) -> bool:
        """For people to choose; a hidden one is still callable (UPSTREAM 7.1)."""
        policy = _dict(self.raw, "policy")
        return (self.raw.get("model_picker_enabled") is not False
                and policy.get("state", "enabled") == "enabled")

    @property
    def is_claude(self) -> bool:
        """Speaks Anthropic's dialect, with its caching and thinking."""
        return MESSAGES in self.endpoints or self.id.lower().startswith("claude")


def _dict(obj: Any, key: str) -> JSON:
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> Tuple[str, ...]:
    return tuple(item for item in (value if isinstance(value, list) else ())
                 if isinstance(item, str))


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def parse_models(reply: Any) -> List[Model]:
    """Read the answer of GET /models, in its order."""
    entries = reply.get("data") if isinstance(reply, dict) else None
    return [_parse_model(entry) for entry in entries or ()
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
            and entry["id"]] if isinstance(entries, list) else []


def _parse_model(entry: JSON) -> Model:
    about = _dict(entry, "capabilities")
    limits, supports = _dict(about, "limits"), _dict(about, "supports")
    kind = str(about.get("type") or "chat")
    name, vendor = [v if isinstance(v, str) else "" for v in (
        entry.get("name"), entry.get("vendor"))]
    return Model(
        id=entry["id"], name=name or entry["id"], vendor=vendor, kind=kind,
        # Older models list nothing and mean chat (UPSTREAM 7.1).
        endpoints=_strings(entry.get("supported_endpoints")) or (
            (CHAT,) if kind == "chat" else ()),
        context=_whole(limits.get("max_context_window_tokens")),
        prompt=_whole(limits.get("max_prompt_tokens")),
        output=_whole(limits.get("max_output_tokens")),
        vision=bool(supports.get("vision") or limits.get("vision")),
        efforts=_strings(supports.get("reasoning_effort")),
        adaptive=supports.get("adaptive_thinking") is True,
        budget=(_whole(supports.get("min_thinking_budget")),
                _whole(supports.get("max_thinking_budget"))),
        raw=entry)


# Claude Code's short names; its opusplan asks for Sonnet outside plan mode (CLIENTS 1).
ALIASES = {"opus": "claude-opus", "sonnet": "claude-sonnet", "haiku": "claude-haiku",
           "opusplan": "claude-sonnet"}
DATE_SUFFIX = re.compile(r"-20\d\d-?\d\d-?\d\d$")


def _spellings(name: str) -> List[str]:
    """What `name` may be called in the catalogue, best first, `.` as `-`."""
    lower = name.lower().replace(".", "-")
    plain = lower[:-4] if lower.endswith("[1m]") else lower
    return [lower, plain + "-1m" if plain != lower else lower, plain,
            DATE_SUFFIX.sub("", plain)]


def _family(name: str) -> Tuple[List[str], List[int]]:
    """The words and the version: claude-3-5-haiku -> [claude, haiku], [3, 5]."""
    parts = _spellings(ALIASES.get(name.lower(), name))[-1].split("-")
    # Longer numbers are dates (gpt-4-0613); "4o" and "1m" are words.
    return ([p for p in parts if not p.isdigit() and p not in ("preview", "latest")],
            [int(p) for p in parts if p.isdigit() and len(p) < 3])


def resolve_model(name: str, models: Sequence[Model], default: str,
                  kind: str = "chat") -> Model:
    """Find what a client means by `name`; raises NotFound naming close ids."""
    wanted = default if name in ("", "default") else name
    known = [model for model in models if model.kind == kind]
    for model in known:
        if model.id == wanted:
            return model
    by_spelling = {_spellings(model.id)[0]: model for model in reversed(known)}
    for spelling in _spellings(wanted):
        if spelling in by_spelling:
            return by_spelling[spelling]
    words = _family(wanted)[0]
    family = [model for model in known if _family(model.id)[0] == words]
    if family:
        return max(family, key=lambda model: (model.offered, _family(model.id)[1]))
    raise _model_not_found(wanted, known)


def _model_not_found(name: str, known: Sequence[Model]) -> NotFound:
    close = difflib.get_close_matches(name, [m.id for m in known], n=3, cutoff=0.0)
    tier = re.search(r"haiku|sonnet|opus", name.lower())
    setting = ("ANTHROPIC_DEFAULT_%s_MODEL" % tier.group().upper() if tier else
               "ANTHROPIC_MODEL" if "claude" in name else "COPILOT_DEFAULT_MODEL")
    return NotFound(
        "your Copilot account has no model %s. Closest: %s. Set the client's model, or "
        "%s, to one of them; `python copilot_proxy.py models` lists all." % (
            ascii(name[:100]), ", ".join(close) or "none", setting),
        code="model_not_found")


# SPEC 4: what each client dialect can be served from, best first.
ENDPOINT_CHOICE = {"anthropic": (MESSAGES, CHAT, RESPONSES),
                   "openai": (CHAT, RESPONSES), "responses": (RESPONSES,)}


def choose_endpoint(model: Model, dialect: str, models: Sequence[Model] = ()) -> str:
    """The upstream endpoint; raises BadRequest naming which of `models` would work."""
    served = ENDPOINT_CHOICE[dialect]
    for endpoint in served:
        if endpoint in model.endpoints:
            return endpoint
    working = [other.id for other in models if other.offered and other.kind == "chat"
               and set(served) & set(other.endpoints)]
    raise BadRequest("model %s is served by %s only, which this API cannot reach; "
                     "models that work here: %s" % (
                         model.id, ", ".join(model.endpoints) or "nothing known",
                         ", ".join(working[:12]) or "none"),
                     code="unsupported_api_for_model")


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def clamp_effort(effort: str, model: Model) -> str:
    """The nearest effort that the model lists, not above what was asked; "" = none."""
    if effort in model.efforts or effort not in EFFORTS:
        return effort if effort in model.efforts else ""
    listed = [word for word in EFFORTS if word in model.efforts]
    lower = [word for word in listed if EFFORTS.index(word) < EFFORTS.index(effort)]
    return lower[-1] if lower else listed[0] if listed else ""


PRICES = (("input", "input_price"), ("output", "output_price"),
          ("cache_read", "cache_price"), ("cache_write", "cache_write_price"))


def model_prices(model: Model) -> Optional[Dict[str, float]]:
    """AI credits for a million tokens (UPSTREAM 6.2); None = the catalogue is mute."""
    prices = _dict(_dict(model.raw, "billing"), "token_prices")
    batch, default = _whole(prices.get("batch_size")) or 10**6, _dict(prices, "default")
    found = {ours: default[theirs] * 10**6 / batch for ours, theirs in PRICES
             if type(default.get(theirs)) in (int, float)}
    return found if {"input", "output"} <= found.keys() else None


def model_payload(model: Model, shown_as: str = "") -> JSON:
    """One model as OpenAI's and Anthropic's SDKs both read it (SPEC 2)."""
    return {
        "id": shown_as or model.id, "object": "model", "type": "model",
        # The catalogue has no dates; Anthropic's own API says an unknown one so.
        "created": 0, "created_at": "1970-01-01T00:00:00Z",
        "owned_by": model.vendor, "display_name": model.name,
        "context_window": model.context or None,
        "max_output_tokens": model.output or None,
        "endpoints": list(model.endpoints), "vision": model.vision,
        "credits": model_prices(model)}


def models_payload(models: Sequence[Model]) -> JSON:
    """The list, Claude models also under the dashed names that Claude Code knows."""
    data = []
    for model in models:
        if model.offered and model.kind == "chat" or model.kind == "embeddings":
            data.append(model_payload(model))
            dashed = model.id.replace(".", "-")
            if model.is_claude and dashed != model.id:
                data.append(model_payload(model, dashed))
    return {"object": "list", "data": data, "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None}


# ============================================================================
# 8. Conversation
# ============================================================================
# The hub between dialects. A request becomes one neutral Conversation, an answer is
# told to one Sink; so n dialects need n readers and n writers, not n*n translators.
# Uses: 2, 4, 5.
# Contract: a parser maps every part or refuses it by path and kind; terminal events
# come only from Translation.finish(), so a late usage still counts; an upstream that
# ended without its terminal event is an UpstreamError, never a made-up end.


class Text(NamedTuple):
    """Words."""
    text: str


class Image(NamedTuple):
    """A picture by its address: `data:` (base64) or https."""
    url: str
    detail: str = ""


class Document(NamedTuple):
    """A base64 file, as a PDF that Claude Code read."""
    media_type: str
    data: str
    title: str = ""


class Reasoning(NamedTuple):
    """What a model thought; `opaque` is what its vendor wants back, made by `source`."""
    text: str
    opaque: str = ""
    source: str = ""  # vendor and endpoint, see room 9: foreign reasoning is left out


class Call(NamedTuple):
    """A tool call; `arguments` is JSON text, as it was sent."""
    id: str
    name: str
    arguments: str


class Result(NamedTuple):
    """What a tool call gave; parts are Text, Image and Document."""
    call_id: str
    parts: Tuple[Any, ...]
    is_error: bool = False


class Turn(NamedTuple):
    """One message: system, user or assistant; parts in the client's order."""
    role: str
    parts: Tuple[Any, ...]
    path: str = ""        # "messages.3", for error texts
    cached: bool = False  # the client put a cache mark on it


class Tool(NamedTuple):
    """A function the model may call."""
    name: str
    description: str
    schema: JSON
    strict: Optional[bool] = None


class Conversation(NamedTuple):
    """A whole request in no dialect. Absent settings are None or empty."""
    turns: Tuple[Turn, ...]
    tools: Tuple[Tool, ...] = ()
    tool_choice: str = ""  # "", auto, none, required, or "=name" for one function
    parallel: Optional[bool] = None
    max_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    stop: Tuple[str, ...] = ()
    effort: str = ""       # as asked; encoders clamp it to the model's list
    thinking: bool = False  # reasoning was asked for, so summaries are wanted
    schema: Optional[JSON] = None  # {"name","schema","strict"?}; {} = any JSON object
    user: str = ""
    extra: JSON = {}       # fields of an OpenAI body that mean the same in both APIs


class TokenUsage(NamedTuple):
    """Tokens of one answer; `input` is without what came from or went to the cache."""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    nano_aiu: int = 0  # 10^9 = one AI credit (UPSTREAM 6.2)
    reasoning: int = 0  # the part of output that was thinking

    @property
    def prompt(self) -> int:
        """Everything that was read, cached or not."""
        return self.input + self.cache_read + self.cache_write


def count(value: Any) -> int:
    """A token count from the wire: a whole number >= 0, anything else is 0."""
    return value if type(value) is int and value > 0 else 0


def openai_usage(usage: Any, cost: Any = None) -> TokenUsage:
    """Read `usage` of chat completions or Responses, and `copilot_usage` beside it."""
    usage, cost = [obj if isinstance(obj, dict) else {} for obj in (usage, cost)]
    details, thought = [next(
        (usage[name] for name in names if isinstance(usage.get(name), dict)), {})
        for names in (("prompt_tokens_details", "input_tokens_details"),
                      ("completion_tokens_details", "output_tokens_details"))]
    prompt = count(usage.get("prompt_tokens")) or count(usage.get("input_tokens"))
    read = min(count(details.get("cached_tokens")), prompt)
    write = min(count(details.get("cache_write_tokens")), prompt - read)
    return TokenUsage(
        input=prompt - read - write, cache_read=read, cache_write=write,
        output=count(usage.get("completion_tokens")) or count(usage.get("output_tokens")),
        nano_aiu=count(cost.get("total_nano_aiu")),
        reasoning=count(thought.get("reasoning_tokens"))
        or count(usage.get("reasoning_tokens")))


class Sink(Protocol):
    """Where a reader tells an answer; implemented by the writers of rooms 9 and 10."""

    def text(self, text: str) -> None:
        """More of the answer's text."""

    def reasoning(self, text: str) -> None:
        """More of what the model thought."""

    def opaque(self, data: str, source: str) -> None:
        """Encrypted reasoning, whole, to be given back in the next turn."""

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        """A tool call begins; `key` names it in what follows."""

    def arguments(self, key: Hashable, fragment: str) -> None:
        """More of the JSON text of a call's arguments."""

    def refusal(self, text: str) -> None:
        """The model or a filter refuses; said instead of, or after, the text."""

    def end(self, reason: str, usage: TokenUsage) -> None:
        """The answer is complete: stop, length, tool_calls, content_filter (or an
        Anthropic stop_reason of its own)."""

    def error(self, exc: ProxyError) -> None:
        """The answer failed: one error event, and nothing after it."""

    def take(self) -> bytes:
        """The bytes written since the last call."""

    def whole(self) -> JSON:
        """The answer as one object: the fold of what was told (non-streaming)."""

    at_boundary: bool  # a ping may go out now


class Reader(Protocol):
    """Reads one upstream dialect; `finish_reason` is "" until a terminal event came."""

    usage: TokenUsage
    finish_reason: str
    done: bool  # nothing can follow, the upstream may be left

    def read(self, event: SSEEvent, sink: Sink) -> None:
        """Tell one event to `sink`; raises UpstreamError on an error inside it."""


class StreamTranslator(Protocol):
    """What the relay of room 18 drives, translating or passing through."""

    usage: TokenUsage
    finished: bool     # a terminal event came; only a late usage may still follow
    done: bool         # nothing can follow
    at_boundary: bool

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes, give client bytes; raises ProxyError."""

    def finish(self) -> bytes:
        """The upstream ended; raises UpstreamError when it had not finished."""

    def fail(self, exc: ProxyError) -> bytes:
        """The bytes that tell the client of `exc` inside the stream."""


CUT_SHORT = ("the upstream ended the answer without finishing it. "
             "Nothing is wrong with your request; try again.")


class Translation:
    """A StreamTranslator made of a reader and a sink."""

    def __init__(self, reader: Reader, sink: Sink) -> None:
        self._reader, self._sink, self._decoder = reader, sink, SSEDecoder()

    @property
    def usage(self) -> TokenUsage:
        return self._reader.usage

    @property
    def finished(self) -> bool:
        return bool(self._reader.finish_reason)

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def at_boundary(self) -> bool:
        return self._sink.at_boundary

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes, give client bytes; raises ProxyError."""
        read, sink = self._reader.read, self._sink
        for event in self._decoder.feed(data):
            read(event, sink)
        return sink.take()

    def finish(self) -> bytes:
        """End the answer; raises UpstreamError when the upstream had not."""
        for event in self._decoder.finish():
            self._reader.read(event, self._sink)
        if not self._reader.finish_reason:
            raise UpstreamError(CUT_SHORT, code="upstream_cut_short")
        self._sink.end(self._reader.finish_reason, self._reader.usage)
        return self._sink.take()

    def fail(self, exc: ProxyError) -> bytes:
        """The bytes that tell the client of `exc` inside the stream."""
        self._sink.error(exc)
        return self._sink.take()

    def whole(self) -> JSON:
        """The non-streaming answer, after finish()."""
        return self._sink.whole()
