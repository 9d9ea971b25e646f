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

     0  Preamble                  this page, imports
     1  Config                    settings, .env
     2  Errors                    every failure a client may see, in both spellings
     3  Logging                   one event, one line, no secrets
     4  JSON                      the edge where bytes become checked dicts
     5  Server-sent events        WHATWG framing
     6  HTTP/1.1 wire             bytes <-> heads and bodies, no sockets
     7  Models, names, Auto       the catalogue, names, endpoint choice, limits, prices
     8  Conversation              the hub: one neutral request, one sink for answers
     9  Anthropic Messages        request -> hub -> stream: blocks, tools, thinking
    10  OpenAI chat               requests and chunks both ways; embeddings, completions
    11  OpenAI Responses          requests and events both ways; web search
    12  Fit: what an upstream takes  refused samplers, tools, fields: what is sent
    13  Tokens, usage and limits  estimates, ledger, windows, budget
    ~~  the waterline: nothing above it awaits or reads a clock, socket, file,
        environment or random source, but for the log of room 3, which has a clock,
        a thread and a stream; rooms below it do
    14  HTTP client               origins, TLS, CONNECT, keep-alive, deadlines
    15  HTTP server               accept, parse, guard, answer
    16  GitHub sign-in            device flow, Copilot token, one file
    17  Copilot upstream          headers, retries, catalogue, quota, who pays
    18  Routes                    parse, choose, admit, translate, relay
    19  Status page               one HTML string
    20  Command line              verbs, banner, the composition root
"""

# ============================================================================
# 0. Preamble
# ============================================================================
# Imports and the version; nothing else lives here.

from __future__ import annotations

import argparse
import asyncio
import base64
import bisect
import collections
import concurrent.futures
import contextlib
import fnmatch
import functools
import gc
import hashlib
import hmac
import http
import ipaddress
import itertools
import json
import logging
import math
import operator
import os
import queue
import random
import re
import secrets
import shlex
import signal
import socket
import ssl
import stat
import struct
import sys
import threading
import time
import traceback
import urllib.parse
import zlib
from typing import (
    Any, Awaitable, Callable, Collection, Container, Deque, Dict, Hashable, Iterable,
    Iterator, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Set, Tuple,
    Union,
)

try:
    from compression import zstd  # new in Python 3.14
except ImportError:
    zstd = None

__version__ = "1.0.0"

JSON = Dict[str, Any]


# ============================================================================
# 1. Config
# ============================================================================
# Settings as values, one row each; tests compare the rows with .env.example and the
# README. The environment itself is read in room 20.                          uses: none
# Contract: a bad value raises ConfigError naming variable, value and what is allowed;
# no text, however long or odd, takes more than linear time.


class ConfigError(ValueError):
    """A setting that cannot be used; the text is one line for the terminal."""


def parse_text(raw: str) -> str:
    """Any text of one line."""
    if re.search(r"[\0-\x1f\x7f]", raw):
        raise ValueError("text without control characters")
    return raw


def parse_number(raw: str, low: float, high: float, kind: type = int) -> Any:
    """A number from `low` to `high`."""
    # The pattern, because int() and float() also take "1_0", "inf" and "٣".
    value = -1.0
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", raw):
        value = float(raw)
    if not low <= value <= high or value != kind(value):
        whole = "whole " * (kind is int)
        raise ValueError("a %snumber from %g to %g" % (whole, low, high))
    return kind(value)


def parse_choice(raw: str, *words: str) -> str:
    """One of `words`, in any case."""
    if raw.lower() not in words:
        raise ValueError(" or ".join(words))
    return raw.lower()


def parse_commas(raw: str) -> Tuple[str, ...]:
    """The parts of a comma list."""
    return tuple(filter(None, map(str.strip, parse_text(raw).split(","))))


def parse_pairs(raw: str) -> Tuple[Tuple[str, ...], ...]:
    """A comma list of `name=id`."""
    halves = [part.partition("=")[::2] for part in parse_commas(raw)]
    pairs = [tuple(map(str.strip, pair)) for pair in halves]
    if not all(map(all, pairs)):
        raise ValueError("pairs like claude-haiku-*=gpt-5-mini, with commas")
    return tuple(pairs)


ADDRESS = re.compile(
    r"(?:https://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"|http://(?:(?i:localhost)|127(?:\.[0-9]{1,3}){3}|\[::1\]))"
    r"(?::([0-9]{1,5}))?(?:/[\w.~%!$&'()*+,;=:@/-]*)?",
    re.ASCII,
)


def parse_address(raw: str) -> str:
    """An address that a token may be sent to: https, or this computer."""
    found = ADDRESS.fullmatch(raw)
    if not found or int(found[1] or 0) > 65535:
        raise ValueError("an address like https://host (http:// only on this computer)")
    return raw.rstrip("/")


class Setting:
    """One environment variable: its default, and how its text is read."""

    def __init__(
        self, default: Any = "", parse: Callable[..., Any] = parse_text, *limits: Any
    ) -> None:
        self.default = default
        self.parse = parse  # (text, *limits); raises ValueError(what is allowed)
        self.limits = limits


class Settings:
    """The table of all settings, which the README and .env.example explain; Config has
    their values under the same names."""

    port = Setting(8082, parse_number, 0, 65535)  # 0 = any free one
    host = Setting("127.0.0.1")  # other than loopback only with API_KEY
    copilot_default_model = Setting()  # for clients that name none
    model_map = Setting((), parse_pairs)
    github_token = Setting()  # never written to disk
    github_copilot_client_id = Setting("Iv1.b507a08c87ecfe98")
    token_file = Setting("~/.copilot-claude-proxy-tokens.json")
    api_key = Setting()  # when set, clients must send it as Bearer or x-api-key
    allowed_hosts = Setting((), parse_commas)
    allowed_origins = Setting((), parse_commas)
    web_search = Setting("on", parse_choice, "on", "off")
    # Requests a minute for each session, the second for /v1/chat/completions. Off, as
    # twelve parallel sub-agents of one session met 51 refusals at 60 a minute.
    rate_limit_default = Setting(0, parse_number, 0, 1e6)
    rate_limit_chat_completions = Setting(0, parse_number, 0, 1e6)
    max_tokens_per_request = Setting(0, parse_number, 0, 1e9)
    max_tokens_per_minute = Setting(0, parse_number, 0, 1e12)
    credit_budget = Setting(0.0, parse_number, 0, 1e9, float)
    usage_log = Setting()
    log_level = Setting("info", parse_choice, "error", "warn", "info", "debug")
    github_url = Setting("https://github.com", parse_address)  # or https://T.ghe.com
    github_api_url = Setting("https://api.github.com", parse_address)  # or of tenant T
    copilot_api_url = Setting("", parse_address)  # instead of the token's endpoint
    copilot_editor_version = Setting("vscode/1.113.0")  # to be raised after a 466
    copilot_plugin_version = Setting("copilot-chat/0.42.0")
    copilot_api_version = Setting("2026-06-01")
    idle_timeout = Setting(300.0, parse_number, 0.05, 86400, float)
    ping_interval = Setting(15.0, parse_number, 0.05, 3600, float)
    max_body_mb = Setting(32, parse_number, 1, 1024)
    https_proxy = Setting()
    http_proxy = Setting()
    all_proxy = Setting()
    no_proxy = Setting()
    ssl_cert_file = Setting()
    ssl_cert_dir = Setting()


# PORT and so on, as the environment names them.
SETTINGS = {
    name.upper(): row
    for name, row in vars(Settings).items()
    if isinstance(row, Setting)
}
# The names that every other tool also reads in lower case.
LOWER_CASE_TOO = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
SECRET_SETTINGS = ("GITHUB_TOKEN", "API_KEY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
TENANT = re.compile(r"https://([\w-]+\.ghe\.com)", re.ASCII)


def one_layer(source: Mapping[str, str]) -> Dict[str, str]:
    """What one source of settings sets; a proxy's name in either case is the same
    setting, so that an https_proxy of the environment beats every file."""
    layer = {name: value for name, value in source.items() if value}
    for name in LOWER_CASE_TOO:
        if name.lower() in layer:
            layer.setdefault(name, layer[name.lower()])
    return layer


_DEFAULTS = {name.lower(): row.default for name, row in SETTINGS.items()}
_Values = collections.namedtuple("_Values", _DEFAULTS, defaults=_DEFAULTS.values())


class Config(_Values):
    """All settings, frozen: `config.port` is PORT. `repr` shows no secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        public = [name for name in SETTINGS if name not in SECRET_SETTINGS]
        return "Config(%r)" % {name: getattr(self, name.lower()) for name in public}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Read every setting; an empty value counts as not set."""
        values = {}
        for name, raw in one_layer(env).items():
            raw = raw.strip()
            if raw and name in SETTINGS:
                setting = SETTINGS[name]
                try:
                    values[name.lower()] = setting.parse(raw, *setting.limits)
                except ValueError as exc:
                    shown = "***" if name in SECRET_SETTINGS else ascii(raw[:80])
                    raise ConfigError(
                        f"{name}={shown} is not usable: expected {exc}."
                    ) from None
        tenant = TENANT.fullmatch(values.get("github_url", ""))
        if tenant:  # its API is at api.T.ghe.com (UPSTREAM 1.1)
            values.setdefault("github_api_url", "https://api." + tenant[1])
        return cls(**values)


def near_misses(names: Iterable[str]) -> List[Tuple[str, str]]:
    """(name, the setting that was probably meant) for names that are nearly ours."""
    import difflib  # here, as everywhere: who starts the program need not wait for it

    # By their letters in alphabetical order, so that PROT is PORT.
    ours = {"".join(sorted(name)): name for name in SETTINGS}
    known = {*SETTINGS, *map(str.lower, LOWER_CASE_TOO)}
    found = []
    for name in names:
        if name not in known and len(name) <= 40:
            letters = "".join(sorted(name.upper()))
            close = difflib.get_close_matches(letters, ours, n=1, cutoff=0.87)
            found += [(name, ours[each]) for each in close]
    return found


DOTENV_LINE = re.compile(
    r"(?:export[ \t]+)?([A-Za-z_][A-Za-z_0-9]*)\s*=\s*"
    r"""(?:'([^']*)'\s*(?:#.*)?|"((?:[^"\\]|\\.)*)"\s*(?:#.*)?|((?!['"\s]).*))"""
)
DOTENV_COMMENT = re.compile(r"(?:^|[ \t])#")
DOTENV_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> Tuple[Dict[str, str], List[int]]:
    """Read .env: quotes, `export`, comments, CRLF, a BOM. Gives the values, and the
    numbers of the lines that are no assignment."""
    values = {}
    odd = []
    lines = re.split(r"\r\n|\r|\n", text.lstrip("\ufeff"))
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line[:1] in ("", "#"):
            continue
        found = DOTENV_LINE.fullmatch(line)
        if not found:  # also where its quotes do not close
            odd.append(number)
            continue
        name, value, quoted, bare = found.groups()
        if quoted is not None:
            value = re.sub(r"\\(.)", lambda m: DOTENV_ESCAPES.get(m[1], m[1]), quoted)
        elif bare is not None:
            value = DOTENV_COMMENT.split(bare, 1)[0].strip()
        values[name] = value
    return values, odd


# ============================================================================
# 2. Errors
# ============================================================================
# One tree for every way to fail that a client may see, its two spellings, and the
# reader of the upstream's own errors (UPSTREAM 15).                             uses: 0
# Contract: str(exc) says what happened, whose fault it is and what to do next, and
# never holds a token; total over the statuses 400-599; linear in the upstream's bytes.

# Claude Code puts "Please run /login" before the texts of 401 and 403, so these begin
# by saying whose error it is (CLIENTS 8).
LOGIN_OPENINGS = {
    "GitHub": "This is about GitHub, not Anthropic: ",
    "client": "This is about the proxy on your machine, not Anthropic: ",
}


class ProxyError(Exception):
    """A failure that the client is told; `status` is what it is answered with. What
    `facts` say goes before what the class says."""

    status = 500
    whose = "this program"  # fault it is; else client, own limit, GitHub, network
    code = ""  # OpenAI's error.code
    kind = ""  # the upstream's own error.type, when it named one
    details: Any = None  # what SDKs read for their typed errors
    retry_after = ""  # as the header has it: seconds or a date
    should_retry: Optional[bool] = None  # Claude Code obeys x-should-retry
    logged = False  # in the line of its request

    def __init__(self, message: str, **facts: Any) -> None:
        self.words = message  # without our opening and our advice
        self.reason = message  # for the log: never words that may quote the prompt
        vars(self).update(facts)
        if self.status in (401, 403):
            message = LOGIN_OPENINGS.get(self.whose, "") + message
        super().__init__(message)


class BadRequest(ProxyError):
    """The client sent something that cannot be served; the text names the place."""

    status = 400
    whose = "client"


class ContextOverflow(BadRequest):
    """The prompt does not fit; 0 = a number that nobody has told yet."""

    code = "context_length_exceeded"

    def __init__(self, tokens: int = 0, maximum: int = 0) -> None:
        # Claude Code compacts on exactly this sentence and parses both numbers.
        super().__init__(f"prompt is too long: {tokens} tokens > {maximum} maximum")
        self.tokens = tokens


class AuthRequired(ProxyError):
    """Nobody is signed in to GitHub, or the sign-in is refused."""

    status = 401
    whose = "GitHub"
    # Without it Claude Code tries 11 times in 180 s and hides the text (CLIENTS 1).
    should_retry = False


class KeyRequired(AuthRequired):
    """The client's key is not this proxy's own API_KEY."""

    whose = "client"


class BudgetExceeded(ProxyError):
    """The session has used the credits that CREDIT_BUDGET allows."""

    status = 402
    whose = "own limit"
    code = "credit_budget_exceeded"
    should_retry = False


class Forbidden(ProxyError):
    """GitHub refuses Copilot to this account."""

    status = 403
    whose = "GitHub"


class Outsider(Forbidden):
    """Not from here: a foreign Host or Origin."""

    whose = "client"


class NotFound(ProxyError):
    """No such path, model or session."""

    status = 404
    whose = "client"


class MethodNotAllowed(ProxyError):
    """The path exists; the fact `allow` lists the methods it takes."""

    status = 405
    whose = "client"
    allow: str


class RateLimited(ProxyError):
    """Refused by this proxy's own limits; the request was not sent or charged."""

    status = 429
    whose = "own limit"


class ClientLeft(ProxyError):
    """The client closed its connection; this is for the log and the page only."""

    status = 499
    whose = "client"


class UpstreamError(ProxyError):
    """GitHub, Copilot or the way there failed; status and words are the upstream's."""

    status = 502
    whose = "GitHub"


class UpstreamTimeout(UpstreamError):
    """The upstream said nothing for too long."""

    status = 504


class ConnectFailed(UpstreamError):
    """No byte of an answer came: the request may be sent again."""

    whose = "network"


class ProtocolError(ProxyError):
    """Bytes that are not HTTP, or over a limit: one answer, then the end."""

    status = 400
    whose = "client"


# status: Anthropic's name for it, OpenAI's; 400 and 500 also stand for the others.
ERROR_TYPES = {
    400: "invalid_request_error invalid_request_error",
    401: "authentication_error authentication_error",
    402: "billing_error insufficient_quota",
    403: "permission_error permission_error",
    404: "not_found_error not_found_error",
    413: "request_too_large invalid_request_error",
    429: "rate_limit_error rate_limit_error",
    500: "api_error server_error",
    503: "overloaded_error server_error",
    504: "timeout_error server_error",
    529: "overloaded_error server_error",
}


def _error_body(exc: ProxyError, spelling: int) -> JSON:
    types = ERROR_TYPES.get(exc.status) or ERROR_TYPES[exc.status // 100 * 100]
    error = {"message": str(exc), "type": types.split()[spelling]}
    if exc.details:
        error["details"] = exc.details
    return error


def anthropic_error(exc: ProxyError) -> JSON:
    """The body of an Anthropic error answer, and the data of its `error` event."""
    return {"type": "error", "error": _error_body(exc, 0)}


def openai_error(exc: ProxyError) -> JSON:
    """The body of an OpenAI error answer, and the data of a stream's error chunk."""
    error = {**_error_body(exc, 1), "param": None, "code": exc.code or None}
    return {"error": error}


class Advice(NamedTuple):
    """What a person can do about one upstream failure (README, Troubleshooting)."""

    status: int  # 0 = any
    mark: str  # an error code or a part of the text, any case; "" = any
    should_retry: Optional[bool]
    text: str


# Status, whether clients should try again, mark; then the text. First match wins.
# UPSTREAM 15.2 has the words, CLIENTS 1 what Claude Code does.
ADVICE_TABLE = """
0 never certificate
    The connection to the upstream is not trusted; if your company inspects TLS, set
    SSL_CERT_FILE to its root certificate.
0 never editor-version
    Copilot refused the client version; check COPILOT_EDITOR_VERSION.
0 never personal access tokens are not supported
    A personal access token cannot be used here; remove GITHUB_TOKEN and sign in with
    `python copilot_proxy.py login`.
0 - model_not_available_for_integrator
    Your plan or organisation does not offer this model; `python copilot_proxy.py
    models` lists yours.
0 never vision is not enabled
    Your organisation allows no images, and this one is sent again in every turn: go
    on without it (capability_rejected: image_block).
401 never
    Copilot refuses a token that GitHub gave out; `python copilot_proxy.py check`
    shows where it ends.
402 never
    Your Copilot credits or spending limit are used up; see `python copilot_proxy.py
    usage` and github.com/settings/copilot.
429 - user_model_rate_limited
    Only this model is limited; another model still works.
429 never weekly
    This is GitHub's weekly limit; waiting minutes will not help.
429 -
    GitHub limits this account for now; wait, or run fewer agents at once.
403 again rate limit
    GitHub limits this account for now; you are still signed in.
403 never
    GitHub or your organisation refuses this; see github.com/settings/copilot.
408 -
    The request was too slow for Copilot; try again or send less.
413 never
    Copilot takes smaller requests only; remove images or start a new conversation.
421 never
    Your plan has another Copilot address; unset COPILOT_API_URL and restart.
466 never
    Copilot wants a newer client; raise COPILOT_EDITOR_VERSION, COPILOT_PLUGIN_VERSION
    and COPILOT_API_VERSION.
499 -
    Copilot gave the request up; try again.
503 -
    The model's provider is overloaded; try again in a moment.
502 -
    Copilot or the way to it failed; try again in a moment.
504 -
    Copilot did not answer in time; try again.
"""
TRY_AGAIN = {"again": True, "never": False, "-": None}
ADVICE = [
    Advice(int(status), mark, TRY_AGAIN[again], " ".join(text.split()))
    for status, again, mark, text in re.findall(
        r"^(\d+) (\S+) ?(.*)\n((?: +.+\n)+)", ADVICE_TABLE, re.MULTILINE
    )
]


def advice_for(status: int, words: str) -> Optional[Advice]:
    """The first row of ADVICE that fits a code and a message, or None."""
    for row in ADVICE:
        if row.status in (0, status) and row.mark in words.lower():
            return row
    return None


OVERFLOW = re.compile(
    "model_max_prompt_tokens_exceeded|exceeds the context window|prompt is too long"
    "|prompt token count of|context_length_exceeded|maximum context length",
    re.IGNORECASE,
)
OVERFLOW_NUMBERS = re.compile(
    r"(?:prompt is too long\D{0,40}|prompt token count of )(\d{1,12})"
    r"(?: ?tokens? ?> ?| exceeds the limit of )(\d{1,12})",
    re.IGNORECASE | re.ASCII,
)
# What a code or type inside a 200 answer would have been as a status; first match wins.
STATUS_MARKS = {
    429: "rate_limit|too_many_requests",
    529: "overloaded",
    402: "quota|billing|spend_limit",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    504: "timeout",
    400: "invalid|unsupported|not_supported|policy|content_filter",
    502: "",
}
# Copilot's content filter and a request that it gave up, whose numbers no client knows
# (UPSTREAM 15.2).
RENAMED_STATUSES = {422: 400, 499: 502}
MAX_MESSAGE = 2000  # an HTML page or a dump does not belong into a client's terminal
MAX_PAGE = 64 * 1024  # what is looked at of an error that is not JSON


class ErrorWords(NamedTuple):
    """What an upstream's error says of itself; "" = nothing."""

    words: str
    code: str = ""
    kind: str = ""
    details: Any = None


def _words_in(obj: Any) -> ErrorWords:
    """Read an error of any shape: flat, under `error`, in a list, in a response."""
    inner = obj
    while isinstance(inner, dict):
        obj = inner
        inner = obj.get("error") or obj.get("copilot_errors") or obj.get("response")
        if isinstance(inner, list) and inner:
            inner = inner[0]
    if not isinstance(obj, dict):
        return ErrorWords(json.dumps(obj)[:MAX_MESSAGE])
    words = {key: value.strip() for key, value in obj.items() if type(value) is str}
    code = words.get("code", "")
    message = words.get("message") or words.get("error") or code
    code = code.partition(":")[0]  # what follows is the plan
    kind = words.get("type", "")
    return ErrorWords(message[:MAX_MESSAGE], code, kind, obj.get("details"))


def _error_of(error: ErrorWords, status: int, retry_after: str = "") -> ProxyError:
    words = error.words or "the upstream gave the request up without a word"
    name = f"{error.code} {words}"
    if status in (400, 413, 502) and OVERFLOW.search(name):
        found = OVERFLOW_NUMBERS.search(words)
        return ContextOverflow(*map(int, found.groups() if found else ()))
    facts = error._asdict()
    text = words
    reason = "Copilot refuses the request."
    advice = advice_for(status, name)
    if advice:
        _, _, facts["should_retry"], reason = advice
        end = "" if words.endswith((".", "!", "?")) else "."
        text = f"{words}{end} {reason}"
    if error.code:
        reason += " (%s)" % error.code[:60]
    facts.update(words=words, reason=reason, retry_after=retry_after)
    return UpstreamError(text, status=RENAMED_STATUSES.get(status, status), **facts)


def upstream_error(status: int, headers: Mapping[str, str], body: bytes) -> ProxyError:
    """Read an upstream failure in any of the five shapes of UPSTREAM 15.1.

    `headers` needs only .get("retry-after"). A context overflow comes back as
    ContextOverflow, everything else as UpstreamError with the upstream's status.
    """
    text = body.decode("utf-8", "replace")
    try:
        error = _words_in(json.loads(text))
    except (ValueError, RecursionError):
        words = text[:MAX_PAGE].strip()
        if words[:1] == "<":  # a load balancer's page
            title = re.search(r"<title>([^<]{1,200})|$", words)
            words = "the upstream sent a web page: " + (title[1] or "untitled").strip()
        error = ErrorWords(words[:MAX_MESSAGE])
    if not error.words:
        error = error._replace(words=f"the upstream answered {status} without a word")
    if not 400 <= status < 600:
        status = 502
    if status == 401 and "does not belong to this connection" in error.words:
        status = 400  # about an input item, not about the sign-in (UPSTREAM 15.2)
    return _error_of(error, status, headers.get("retry-after") or "")


def error_in_stream(obj: JSON) -> ProxyError:
    """The error that an upstream put inside a 200 answer, in any of its shapes."""
    error = _words_in(obj)
    name = f"{error.code} {error.kind}"
    status = next(
        status for status in STATUS_MARKS if re.search(STATUS_MARKS[status], name)
    )
    return _error_of(error, status)


# ============================================================================
# 3. Logging
# ============================================================================
# Turn one event into one line, over the standard library's logging. Fields are
# metadata, never bodies or tokens.                                           uses: none
# Contract: one printable line whatever the fields hold; nothing is formatted when the
# level is off; nobody ever waits for who reads the log. For that LineWriter has a
# thread that writes, and the clock tells when: no other room above the waterline may.

LOG = logging.getLogger("copilot_proxy")
LOG_LEVELS = {
    name: getattr(logging, name.upper()) for name in ("error", "warn", "info", "debug")
}
LEVEL_COLOURS = {"error": "31", "warn": "33"}  # red, yellow; the others are dimmed
# Each alternative begins with a letter of its own, so that a line is searched quickly.
SECRET = re.compile(
    r"gh[a-z]_\w+|github_pat_\w+|tid=[^\s\"']+|bearer [^\s\"']+|Bearer [^\s\"']+"
    r"|//[^/\s@\"']+(?=@)"
)


def redact(text: str) -> str:
    """Blank out everything that looks like a token or a proxy password."""
    return SECRET.sub("***", text)


def printable(text: str) -> str:
    """The text with everything escaped that a terminal might obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def is_logged(level: str) -> bool:
    """Whether it is worth building a line of this level."""
    return LOG.isEnabledFor(LOG_LEVELS[level])


_BLANK = vars(logging.LogRecord(LOG.name, 0, "", 0, "", (), None))


def log_line(level: str, text: str) -> None:
    """Log a line for people."""
    if is_logged(level):
        # A copy, because making a record costs more than writing its line.
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__.update(
            _BLANK, levelno=LOG_LEVELS[level], levelname=level, created=time.time(),
            msg=text,
        )
        LOG.handle(record)


def log_event(level: str, event: str, **fields: Any) -> None:
    """Log `event: {fields}`, the form of the program this one replaces."""
    if is_logged(level):
        # ASCII, so that control bytes, lone surrogates and terminal escapes are inert.
        log_line(level, f"{event}: {json.dumps(fields, default=str)}")


def short_number(number: float) -> str:
    """At most four characters for a count: `950`, `1.2k`, `118k`, `1.5M`."""
    if number < 1000:
        return str(int(number))
    unit = "k"
    number /= 1e3
    if number >= 999.5:
        unit = "M"
        number /= 1e3
    if number < 9.95:
        return f"{number:.1f}{unit}"
    return f"{round(number)}{unit}"


MAX_LINES_WAITING = 1000
# Seconds between two writings: waking the thread costs more than a line, so that a
# burst of lines shares it.
NAP = 0.05


class LineWriter(logging.Handler):
    """Writes lines, also the log's, from a thread of its own: a pipe that nobody reads
    stops nobody; what does not fit into the queue is dropped, counted, told."""

    def __init__(self, stream: Any, *, colour: bool = False) -> None:
        super().__init__()
        self._stream = stream
        self._colour = colour
        buffer = getattr(stream, "buffer", None)
        # Unbuffered, as the lock of a buffer that is stuck would stop Python's exit. A
        # stream without one is in memory and never stuck.
        self._raw = getattr(buffer, "raw", buffer)
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._dropped = 0
        if self._raw is not None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def format(self, record: logging.LogRecord) -> str:
        """`12:00:01 [info] event: ...`, on a terminal with the level in its colour."""
        text = record.getMessage()
        if record.name != LOG.name:  # asyncio's, where reprs of what failed may follow
            words = re.match(r"[^\n(<]*", text)[0]
            text = f"{record.name}: {words.strip()}"
        if record.exc_info:
            # A bug of ours: its kind and where it came from, the deepest first. Not its
            # words, as a KeyError may quote the prompt.
            kind, _, trace = record.exc_info
            frames = traceback.walk_tb(trace)
            places = [f"{frame.f_code.co_name}:{line}" for frame, line in frames]
            text += " | %s in %s" % (kind.__name__, " < ".join(places[:-13:-1]))
        level = record.levelname.lower().removesuffix("ing")
        mark = f"[{level}]"
        if self._colour:
            mark = f"\x1b[{LEVEL_COLOURS.get(level, '2')}m{mark}\x1b[0m"
        clock = "%02d:%02d:%02d" % time.localtime(record.created)[3:6]
        return f"{clock} {mark} {printable(redact(text))}"

    def emit(self, record: logging.LogRecord) -> None:
        self.put(self.format(record) + "\n")

    def put(self, text: str) -> None:
        """Write `text` soon; never waits."""
        if self._raw is None:
            # It is closed, or there is none, as under pythonw.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self._stream.write(text)
        elif self._queue.qsize() < MAX_LINES_WAITING:
            self._queue.put(text)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Wait until all is written, but no longer than half a second."""
        if self._raw is not None:
            self._queue.put(None)
            self._thread.join(0.5)
        super().close()

    def _run(self) -> None:
        while True:
            lines = [self._queue.get()]
            while not self._queue.empty():
                lines.append(self._queue.get())
            self._write_all("".join(filter(None, lines)))
            if self._dropped and self._queue.empty():
                lost = self._dropped
                self._dropped = 0
                self._write_all(f"{lost} log lines were dropped: nobody read them\n")
            if None in lines:
                return
            time.sleep(NAP)

    def _write_all(self, text: str) -> None:
        data = text.encode(self._stream.encoding, "backslashreplace")
        with contextlib.suppress(OSError, ValueError):  # the reader has gone
            while data:
                written = self._raw.write(data)
                if written is None:  # another program made the pipe non-blocking
                    time.sleep(0.05)
                data = data[written or 0 :]


def configure_logging(level: str, stream: Any, *, colour: bool = False) -> None:
    """Send the program's log to `stream`, and what asyncio has to say."""
    writer = LineWriter(stream, colour=colour)
    for logger, least in ((LOG, level), (logging.getLogger("asyncio"), "warn")):
        logger.handlers[:] = [writer]
        logger.propagate = False
        logger.setLevel(LOG_LEVELS[least])


# ============================================================================
# 4. JSON
# ============================================================================
# The edge where unknown bytes become checked dicts, and back.                uses: 0, 2
# Contract: what is no strict JSON (invalid UTF-8, NaN, a number without end) or is
# nested too deeply is a BadRequest; unknown keys are kept; encoding what was read never
# fails, a lone surrogate goes out as its \u escape.

# Python gives up after 480 to 1,000 levels, at other places in every version; tool
# schemas, the deepest bodies that clients send, have a dozen.
MAX_DEPTH = 200
MAX_DIGITS = 4300  # of a whole number; as in Python since 3.10.7, int() is quadratic


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 could be read, but not be written again
        raise ValueError("the number %s is too large" % digits[:40])
    return number


_DECODER = json.JSONDecoder(
    parse_constant=_no_constant,
    # macOS's own Python, 3.9.6, has no limit of its own.
    parse_int=None if hasattr(sys, "set_int_max_str_digits") else _parse_int,
    parse_float=_parse_float,
)
_DECODE = _DECODER.decode
_scan = _DECODER.scan_once  # (text, at) -> (value, end), raising StopIteration
# Cached, because json.dumps(..., separators=) builds a new one every call.
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
json_string = json.encoder.encode_basestring  # '"..."', non-ASCII kept


def _is_too_deep(raw: bytes, value: Any) -> bool:
    # Each level takes two bytes, so that most events of a stream are not looked at.
    if len(raw) <= 2 * MAX_DEPTH:
        return False
    # Level by level and in C; a dict of nothing but texts and numbers is not tracked.
    level = [value]
    for _ in range(MAX_DEPTH - 1):
        level = list(filter(gc.is_tracked, gc.get_referents(*level)))
        if not level:
            return False
    return any(isinstance(each, (dict, list)) for each in gc.get_referents(*level))


def loads(raw: bytes) -> Any:
    """Parse strict UTF-8 JSON; raises ValueError whatever is wrong with it."""
    too_deep = f"it is nested more than {MAX_DEPTH} levels deep"
    try:
        value = _DECODE(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError(too_deep) from None
    if _is_too_deep(raw, value):
        raise ValueError(too_deep)
    return value


def loads_object(raw: bytes) -> JSON:
    """Parse a request body; raises BadRequest naming what is wrong and where."""
    try:
        value = loads(raw)
    except UnicodeDecodeError as exc:
        raise BadRequest(f"the body is not UTF-8: byte {exc.start} is wrong") from None
    except ValueError as exc:
        raise BadRequest(f"the body is not JSON that can be read: {exc}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def read_object(raw: bytes) -> JSON:
    """The JSON object in `raw`; {} = there is none."""
    with contextlib.suppress(BadRequest):
        return loads_object(raw)
    return {}


def dumps(value: Any) -> bytes:
    """Encode as compact UTF-8; total over whatever loads() returned."""
    # What UTF-8 cannot say is a lone surrogate, and \udc80 is also JSON's spelling.
    return _ENCODE(value).encode("utf-8", "backslashreplace")


def dumps_text(value: Any) -> str:
    """Encode as compact text, for JSON inside JSON (a call's arguments)."""
    return dumps(value).decode("utf-8")


KINDS = {
    str: "a string",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def _path_to(path: str, key: str) -> str:
    return ".".join(filter(None, (path, key)))


def expect(value: Any, kind: type, path: str, key: str = "") -> Any:
    """Return `value` if it is a `kind`; else raise BadRequest naming the path."""
    actual = type(value)  # not isinstance(), because a bool is an int to it
    if actual is not kind and (kind, actual) != (float, int):
        raise BadRequest(f"{_path_to(path, key)}: expected {KINDS[kind]}")
    return value


def field(obj: JSON, key: str, kind: type, path: str = "", default: Any = None) -> Any:
    """`obj[key]` checked to be a `kind`; absent or null gives `default`."""
    value = obj.get(key)
    if type(value) is kind:  # as nearly always
        return value
    return default if value is None else expect(value, kind, path, key)


def required(obj: JSON, key: str, kind: type, path: str = "") -> Any:
    """`obj[key]` checked to be a `kind`; raises BadRequest when it is missing."""
    value = field(obj, key, kind, path)
    if value is None:
        raise BadRequest(f"{_path_to(path, key)}: required")
    return value


def text_field(obj: JSON, key: str, path: str = "") -> str:
    """`obj[key]` checked to be a text; absent or null gives an empty one."""
    return field(obj, key, str, path, "")


def object_field(obj: JSON, key: str, path: str = "") -> JSON:
    """`obj[key]` checked to be an object; absent or null gives an empty one."""
    return field(obj, key, dict, path, {})


def required_text(obj: JSON, key: str, path: str = "") -> str:
    """`obj[key]` checked to be a text; raises BadRequest when it is missing."""
    return required(obj, key, str, path)


def one_of(word: str, words: Collection[str], path: str) -> str:
    """Return `word` if it is one of `words`; else raise BadRequest naming `path`."""
    if word not in words:
        known = " or ".join(words)
        raise BadRequest("%s: expected %s, not %s" % (path, known, ascii(word[:40])))
    return word


def typed(obj: Any, key: str, kind: type) -> Any:
    """`obj[key]` if it is a `kind`, else an empty one: the getter that never raises."""
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, kind) else kind()


def text_at(obj: Any, key: str) -> str:
    """The text `obj[key]`, else "": as typed(), for what is read most."""
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, str) else ""


def object_at(obj: Any, key: str) -> JSON:
    """The object `obj[key]`, else {}."""
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, dict) else {}


def list_at(obj: Any, key: str) -> List[Any]:
    """The list `obj[key]`, else []."""
    value = obj.get(key) if isinstance(obj, dict) else None
    return value if isinstance(value, list) else []


def objects_at(obj: Any, key: str) -> List[JSON]:
    """The objects in the list `obj[key]`; none in anything else."""
    return objects(list_at(obj, key))


def objects(value: Any) -> List[JSON]:
    """The objects in a list; none in anything else."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict)]


_find_half = re.compile(rb"\\u[dD]").search
# Escapes, whole pairs first, so that what is left of a surrogate stands alone.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def replace_lone_surrogates(raw: bytes) -> bytes:
    """Put U+FFFD in the place of each half character that JSON text spells.

    Every vendor refuses one, and a history that holds one is refused for ever after
    (UPSTREAM 22.6). Text without any is given back as it is.
    """
    if not _find_half(raw):
        return raw
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], raw)


# A member's value, and where it stands in a text, from its key on.
Place = Tuple[Any, int, int]


def _token(pattern: str) -> Callable[..., Any]:
    return re.compile(pattern.replace(" ", r"[ \t\n\r]*")).match


_first_key = _token(r' { "([^"\\\x00-\x1f]*)" : ')
_next_key = _token(r' , "([^"\\\x00-\x1f]*)" : ')
_last_brace = _token(r" } \Z")


def _place_members(text: str) -> Dict[str, Place]:
    """The members of an object; of two with one name the last, as with loads()."""
    places: Dict[str, Place] = {}
    found = _first_key(text)
    end = found.end()
    while found:
        value, end = _scan(text, found.end())
        places[found[1]] = (value, found.start(1) - 1, end)
        found = _next_key(text, end)
    _last_brace(text, end).end()
    return places


def parse_placed(raw: bytes) -> Tuple[JSON, bytes, str, Dict[str, Place]]:
    """Parse a request body; also its bytes as they may be sent, their text, and where
    its members stand: none where only loads() can read it. Raises BadRequest."""
    raw = replace_lone_surrogates(raw)
    try:
        text = raw.decode("utf-8")
        places = _place_members(text)
    except (ValueError, AttributeError, StopIteration, RecursionError):
        return loads_object(raw), raw, "", {}  # a missing token: it says what is wrong
    body = {key: place[0] for key, place in places.items()}
    if _is_too_deep(raw, body):
        loads_object(raw)  # as above
    return body, raw, text, places


# -- tables that do not grow for ever ------------------------------------------------


def keep_newest(table: Dict[Any, Any], key: Hashable, value: Any, most: int) -> None:
    """Set `key` as the youngest of at most `most`; the oldest goes for it."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


# ============================================================================
# 5. Server-sent events
# ============================================================================
# WHATWG framing (HTML 9.2.6) on bytes, and nothing about any API.            uses: 2, 4
# Contract: the events do not depend on how the bytes were cut. An event without data
# is dropped; the end of the stream counts as the blank line that ends an event,
# because some upstreams leave the last one out (UPSTREAM 17.4).

MAX_EVENT = 32 * 1024 * 1024  # bytes; a 10 MB base64 image in one tool result fits
BOM = b"\xef\xbb\xbf"
SSE_DONE = b"data: [DONE]\n\n"
SSE_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
SSE_COMMENT = b": ping\n\n"


class SSEEvent(NamedTuple):
    """One event; `event` is "" when it had no name, `data` is not decoded."""

    event: str
    data: bytes


def frame_event(name: str, data: bytes) -> bytes:
    """One event; an empty name gives bare data lines, as OpenAI has them."""
    head = b"event: %b\n" % name.encode("utf-8") if name else b""
    return b"%bdata: %b\n\n" % (head, data.replace(b"\n", b"\ndata: "))


def encode_sse(name: str, obj: Any) -> bytes:
    """Encode one event."""
    return frame_event(name, dumps(obj))


def event_too_large() -> UpstreamError:
    """The error for an event that nobody can want."""
    return UpstreamError(
        f"the upstream sent an event of more than {MAX_EVENT} bytes; try again"
    )


def parse_block(block: bytes) -> Optional[SSEEvent]:
    """The event that a block of lines is, None where it has no data."""
    if len(block) > MAX_EVENT:
        raise event_too_large()
    name = b""
    data = []
    for line in block.split(b"\n"):
        key, _, value = line.partition(b":")
        if key == b"data":
            data.append(value.removeprefix(b" "))
        elif key == b"event":
            name = value.removeprefix(b" ")
    if not data:  # a comment, or a name alone
        return None
    return SSEEvent(name.decode("utf-8", "replace"), b"\n".join(data))


class SSEDecoder:
    """Bytes in, events out; raises UpstreamError for an event over MAX_EVENT."""

    def __init__(self) -> None:
        self._tail = bytearray()  # what follows the last blank line
        self._skip_lf = False  # a CR ended the last piece, and with it its line
        self._start = True  # only the very first bytes may be a BOM

    def whole(self, data: bytes) -> bytes:
        """Take the next bytes, return the events that they complete, each line of them
        ended by a plain LF."""
        if self._skip_lf or b"\r" in data:
            data = self._plain_newlines(data)
        if self._start or self._tail or data[-2:] != b"\n\n":  # else: as it came
            data = self._join(data)
        return data

    def feed(self, data: bytes) -> List[SSEEvent]:
        """As whole(), each event by itself. The stream's end is fed as a blank line."""
        blocks = self.whole(data).split(b"\n\n")[:-1]
        return list(filter(None, map(parse_block, blocks)))

    def _join(self, data: bytes) -> bytes:
        if self._tail[-1:] == b"\n":  # half of a blank line, perhaps
            del self._tail[-1:]
            data = b"\n" + data
        events, blank, rest = data.rpartition(b"\n\n")
        if blank:
            events = b"%b%b\n\n" % (self._tail, events)
            self._tail.clear()
            if self._start:
                self._start = False
                events = events.removeprefix(BOM)
        self._tail += rest  # a bytearray: bytes would be copied for every piece
        if len(self._tail) > MAX_EVENT:
            raise event_too_large()
        return events

    def _plain_newlines(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._skip_lf:
            data = data.removeprefix(b"\n")
        self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


# ============================================================================
# 6. HTTP/1.1 wire
# ============================================================================
# Bytes <-> heads and body pieces (RFC 9112), for both sides.                    uses: 2
# Contract: no cutting of the input changes the outcome; all is linear and has a limit;
# what two parsers could read in two ways is refused with ProtocolError. Checked by
# patterns, because int(), strip() and splitlines() also take "+5", "5_0" and \x85.

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = r"[\t -~\x80-\xff]*"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
TOKEN = re.compile(_TOKEN)
VALUE = re.compile(_VALUE)
# A target without `"#<>`; browsers leave the other odd ones, as {|}, in a query.
REQUEST_LINE = re.compile(r"(%s) ([!$-;=?-~]+) HTTP/(1\.[0-9])" % _TOKEN)
STATUS_LINE = re.compile(r"HTTP/(1\.[0-9]) ([1-5][0-9][0-9])(?: (%s))?" % _VALUE)
FIELD = re.compile(r"(%s):(%s)" % (_TOKEN, _VALUE))  # [ \t]* there is quadratic
# The end of a chunk's data, with which the next one begins: its size and extensions.
_EXTENSION = r"[ \t]*;[ \t]*%s(?:[ \t]*=[ \t]*(?:%s|%s))?" % (_TOKEN, _TOKEN, _QUOTED)
CHUNK_LINE = re.compile(
    rb"\r\n([0-9A-Fa-f]{1,16})((?:%b)*)\r\n" % _EXTENSION.encode("ascii")
)
LENGTH = re.compile(r"[0-9]{1,19}")  # 19 digits reach 2^63
HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z_.~%-]{0,255})(?::[0-9]{0,5})?"
)
PATH = re.compile(r"/(?:[^%]|%[0-9A-Fa-f]{2})*")
ABSOLUTE = re.compile(r"(?i:http)://([^/?]*)/?(.*)")
FIRST_BYTE = re.compile(rb"\r|" + _TOKEN.encode("ascii"))

REASONS = {status.value: status.phrase for status in http.HTTPStatus}
# Bytes of the first line, of one field, of all fields; number of fields.
REQUEST_LIMITS = (16384, 16384, 32768, 100)  # nginx: 8k lines, 32k in all
RESPONSE_LIMITS = (16384, 65536, 65536, 128)  # github.com's CSP alone is 4k
TRAILER_LIMITS = (1024, 16384, 16384, 64)  # its first line is the last chunk's
UNLIMITED = math.inf
MAX_BLANK_LINES = 4  # before a request; RFC 9112 2.2 asks for one
MAX_CHUNK_LINE = 1024
MAX_EXTENSIONS = 16384  # in a message; CVE-2023-39326 is a drip of ignored bytes
CODINGS = ("identity", "gzip", "x-gzip", "deflate", "zstd" if zstd else "")
DECODED_SLICE = 1 << 20  # bytes undone at once: some milliseconds
ZSTD_ERROR = getattr(zstd, "ZstdError", zlib.error)
ZSTD_WINDOW = 23  # 8 MB by its logarithm: all that RFC 9659 allows senders

Pairs = Iterable[Tuple[str, str]]
# By lower-case names. Repeated fields are joined by ", " (RFC 9110 5.3), so that a
# doubled Origin or Content-Length is no valid one.
Headers = Dict[str, str]


class Request(NamedTuple):
    """A request, at first without its body."""

    method: str
    path: str  # decoded
    query: str  # not decoded
    headers: Headers
    body: bytes = b""  # without its Content-Encoding
    peer: str = ""
    version: str = "1.1"  # or "1.0", or a later 1.x
    authority: Optional[str] = None  # of a target in absolute-form


class ResponseHead(NamedTuple):
    """A status line and its fields."""

    status: int
    reason: str
    version: str
    headers: Headers


# -- heads -----------------------------------------------------------------------


@functools.lru_cache(maxsize=128)  # peers say the same lines again and again
def _parse_field(line: str) -> Tuple[str, str]:
    # It refuses obs-fold, a space before the colon, NUL, bare CR and bare LF, too.
    found = FIELD.fullmatch(line)
    if not found:
        raise ProtocolError("the header is malformed or not of HTTP/1.x")
    return found[1].lower(), found[2].strip(" \t")


def _parse_fields(lines: List[str]) -> Headers:
    pairs = list(map(_parse_field, lines))
    headers = dict(pairs)
    if len(headers) < len(pairs):
        for name in headers:
            headers[name] = ", ".join([value for key, value in pairs if key == name])
    return headers


def _parse_head(pattern: Any, lines: List[str]) -> Tuple[Tuple[str, ...], Headers]:
    found = pattern.fullmatch(lines[0])
    if not found:
        raise ProtocolError("the first line is malformed or not of HTTP/1.x")
    return found.groups(""), _parse_fields(lines[1:])


@functools.lru_cache(maxsize=64)  # of 16 KiB at most
def _parse_target(target: str) -> Tuple[Optional[str], str, str]:
    authority = None
    absolute = ABSOLUTE.fullmatch(target)
    if absolute:
        authority = absolute[1]
        target = "/" + absolute[2]
    raw, _, query = target.partition("?")
    path = urllib.parse.unquote(raw)
    good = PATH.fullmatch(raw) and HOST.fullmatch(authority or "")
    # Bytes that are not UTF-8 came out as U+FFFD, which is no part of a path of ours.
    if not good or not path.isprintable() or "\ufffd" in path:
        raise ProtocolError("the request target is malformed")
    return authority, path, query


def parse_request_head(lines: List[str]) -> Request:
    """Parse what a HeadReader gave: a target in origin-form, absolute-form or the `*`
    of OPTIONS, and exactly one valid Host (HTTP/1.0: at most one)."""
    (method, target, version), headers = _parse_head(REQUEST_LINE, lines)
    # Two come as "a, b", which is no valid one.
    host = headers.get("host", "" if version == "1.0" else None)
    if host is None or not HOST.fullmatch(host):
        raise ProtocolError("exactly one valid Host header is needed")
    path = target
    query = ""
    authority = None
    if (method, target) != ("OPTIONS", "*"):
        authority, path, query = _parse_target(target)
    return Request(method, path, query, headers, b"", "", version, authority)


def parse_response_head(lines: List[str]) -> ResponseHead:
    """Parse what a HeadReader gave."""
    (version, status, reason), headers = _parse_head(STATUS_LINE, lines)
    return ResponseHead(int(status), reason, version, headers)


@functools.lru_cache(maxsize=64)
def keeps_alive(version: str, options: Optional[str]) -> bool:
    """Does a sender whose `Connection` has these options want to use it again?"""
    if options is None:
        return version != "1.0"
    words = [word.strip(" \t") for word in options.lower().split(",")]
    return "close" not in words and (version != "1.0" or "keep-alive" in words)


class HeadReader:
    """A head coming in: feed() until it gives lines; `rest` is then what followed them.
    No byte is judged twice, and the first wrong one is refused when it comes: a TLS
    greeting need not have an LF, and waits for us."""

    rest = b""
    _blank = 0  # lines before the first
    _size = 0  # bytes of fields

    def __init__(self, limits: Tuple[int, int, int, int] = REQUEST_LIMITS) -> None:
        self._limits = limits
        self._lines: List[str] = []  # the whole ones
        self._line = bytearray()  # the incomplete one

    def feed(self, data: bytes) -> List[str]:
        """Take the next bytes; give the lines without the empty last one, [] while it
        has not come. Raises ProtocolError 400, 414 or 431."""
        # As a rule all comes at once, and is far from every limit.
        head, end, rest = data.partition(b"\r\n\r\n")
        if end and not (self._lines or self._line) and len(head) <= self._limits[0]:
            lines = head.decode("latin-1").split("\r\n")
            if lines[0] and len(lines) <= self._limits[3]:
                self.rest = rest
                return lines
        while data:
            piece, newline, data = data.partition(b"\n")
            if self._take(piece, newline):
                self.rest = data
                return self._lines
        return []

    def _take(self, piece: bytes, newline: bytes) -> bool:
        """Judge more of a line; True: it is the empty one that ends the others."""
        room, longest, block, most = self._limits
        status = 414
        line = self._line
        line += piece
        if self._lines:
            room = min(longest, block - self._size)
            status = 431
        elif not FIRST_BYTE.match(line):
            raise ProtocolError("not HTTP (this port speaks http, not https)")
        if len(line) > room + len(b"\r"):
            raise ProtocolError("a line is too long", status=status)
        if not newline:
            return False
        if not line.endswith(b"\r"):
            raise ProtocolError("a line ends without CR")
        self._line = bytearray()
        if line == b"\r" and self._lines:
            return True
        if line == b"\r":
            self._blank += 1
            if self._blank > MAX_BLANK_LINES:
                raise ProtocolError("too many blank lines")
            return False
        if self._lines:
            self._size += len(line + newline)
        self._lines.append(line[:-1].decode("latin-1"))
        if self._size > block or len(self._lines) > most + 1:
            raise ProtocolError("the header fields are too large", status=431)
        return False


# -- bodies ----------------------------------------------------------------------


class Body:
    """A body coming in: feed() until `done`; `rest` is then what followed it. One of
    UNLIMITED length goes until the connection ends."""

    done = False
    rest = b""

    def __init__(self, length: float) -> None:
        self._left: Any = length
        self.done = not length

    def feed(self, data: bytes) -> bytes:
        """Take wire bytes, give body bytes."""
        if len(data) > self._left:
            self.rest = data[self._left :]
            data = data[: self._left]
        self._left -= len(data)
        self.done = not self._left
        return data

    def eof(self) -> bytes:
        """The peer closed; raises ProtocolError when that cut the body short."""
        self.done = self.done or self._left == UNLIMITED
        if not self.done:
            raise ProtocolError("the connection ended inside a body")
        return b""


class ChunkedBody(Body):
    """A chunked body (RFC 9112 7.1); extensions and trailers are checked, not kept."""

    def __init__(self, limit: float = UNLIMITED) -> None:
        self._left = 0  # bytes of this chunk
        self._limit = limit  # bytes that may come
        self._extensions = MAX_EXTENSIONS  # bytes of them that may come
        self._tail = b"\r\n"  # of the line that is incomplete
        self._trailer: Optional[HeadReader] = None  # once it has begun

    def feed(self, data: bytes) -> bytes:
        """Take wire bytes, give body bytes; raises ProtocolError 400, 413 or 431."""
        data = self._tail + data
        pieces = [data[: self._left]]
        at = self._left  # the end of a chunk's data, perhaps of what is still to come
        while at < len(data) and not self._trailer:
            line = CHUNK_LINE.match(data, at, at + MAX_CHUNK_LINE)
            if not line:
                break
            size = int(line[1], 16)
            self._limit -= size
            if self._limit < 0:
                raise ProtocolError("the body is too large", status=413)
            self._extensions -= len(line[2])
            if self._extensions < 0:
                raise ProtocolError("the chunk extensions are too large")
            start = line.end()
            at = start + size
            pieces.append(data[start:at])
            if not size:
                # The last one's line stands for the first line in the trailer's head.
                self._trailer = HeadReader(TRAILER_LIMITS)
                at = line.start(1)
        self._left = max(at - len(data), 0)
        self._tail = data[at:]
        if self._trailer:
            self._feed_trailer(self._trailer)
        elif len(self._tail) >= MAX_CHUNK_LINE or self._tail.find(b"\n", 2) > 0:
            raise ProtocolError("a chunk is malformed, or longer than its size")
        return b"".join(pieces)

    def _feed_trailer(self, trailer: HeadReader) -> None:
        lines = trailer.feed(self._tail)
        self._tail = b""
        if lines:
            _parse_fields(lines[1:])
            self.done = True
            self.rest = trailer.rest


def body_framing(
    head: Union[Request, ResponseHead], limit: float = UNLIMITED, unsaid: float = 0
) -> Body:
    """The reader of the body after `head`, of `unsaid` bytes when no field tells;
    raises ProtocolError, 413 above `limit` bytes."""
    coding = head.headers.get("transfer-encoding")
    length = head.headers.get("content-length")
    if coding is not None:
        # RFC 9112 6.1: each of these three is a way to smuggle a request.
        if coding.lower() != "chunked" or length is not None or head.version == "1.0":
            raise ProtocolError("Transfer-Encoding must be chunked, and stand alone")
        return ChunkedBody(limit)
    if length is None:
        return Body(unsaid)
    if not LENGTH.fullmatch(length):
        raise ProtocolError("Content-Length must be one whole number")
    if int(length) > limit:
        raise ProtocolError("the body is too large", status=413)
    return Body(int(length))


def response_framing(method: str, head: ResponseHead) -> Body:
    """The reader of the body that answers `method` (RFC 9112 6.3)."""
    bodiless = method == "HEAD" or head.status < 200 or head.status in (204, 304)
    if bodiless or method == "CONNECT" and head.status < 300:
        return Body(0)
    return body_framing(head, unsaid=UNLIMITED)


class ContentDecoder:
    """Undoes a Content-Encoding (else ProxyError 415), in slices, each when it is
    wanted: `limit` bytes at most, of one member after another (RFC 1952 2.2)."""

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding.lower() or "identity"
        self._left = limit  # bytes that may come out
        self._engine: Any = None
        if self._coding not in CODINGS:
            raise ProxyError(
                "Content-Encoding %s cannot be read here (zstd takes Python 3.14): "
                "send the body as it is, or in gzip or deflate; in Codex set "
                "features.enable_request_compression=false." % ascii(coding[:40]),
                status=415,
            )

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take coded bytes, give plain ones; raises ProtocolError, 413 at the limit."""
        if self._coding == "identity":
            yield data
            return
        piece = b""
        while data or len(piece) == DECODED_SLICE:
            engine = self._engine or self._new_engine(data)
            try:
                piece = engine.decompress(data, DECODED_SLICE)
            except (zlib.error, ZSTD_ERROR) as exc:
                raise ProtocolError(f"not proper {self._coding} ({exc})") from None
            self._left -= len(piece)
            if self._left < 0:
                raise ProtocolError("the decoded body is too large", status=413)
            yield piece
            if engine.eof:
                self._engine = None
                data = engine.unused_data
                piece = b""
            else:  # zlib gives back what it has not read, zstd keeps it
                self._engine = engine
                data = getattr(engine, "unconsumed_tail", b"")

    def _new_engine(self, data: bytes) -> Any:
        if self._coding == "zstd":
            options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW}
            return zstd.ZstdDecompressor(options=options)
        # Many send deflate without zlib's head (RFC 9110 8.4.1.2); the first byte of
        # one names the method 8, and no encoder begins with that without it.
        bare = self._coding == "deflate" and data[0] & 15 != 8
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else 32 + zlib.MAX_WBITS)

    def finish(self) -> None:
        """The body has ended; raises ProtocolError when that cut it short."""
        if self._engine:
            raise ProtocolError(f"the {self._coding} body is cut short")


# -- what is sent ------------------------------------------------------------------


@functools.lru_cache(maxsize=128)  # as _parse_field
def _encode_field(pair: Tuple[str, str]) -> str:
    name, value = pair
    if not (TOKEN.fullmatch(name) and VALUE.fullmatch(value)):
        raise ProtocolError("the header %a cannot be sent" % name[:80], status=500)
    return f"{name}: {value}\r\n"


def _encode_head(line: str, pairs: Pairs) -> bytes:
    fields = "".join(map(_encode_field, pairs))
    return f"{line}\r\n{fields}\r\n".encode("latin-1")


def encode_request_head(method: str, target: str, pairs: Pairs) -> bytes:
    """Write a request head; a part that would break it is a ProtocolError."""
    line = f"{method} {target} HTTP/1.1"
    if not REQUEST_LINE.fullmatch(line):
        raise ProtocolError("the request line cannot be sent", status=500)
    return _encode_head(line, pairs)


def encode_response_head(status: int, pairs: Pairs) -> bytes:
    """Write a response head; a value that would break it is a ProtocolError."""
    return _encode_head(f"HTTP/1.1 {status} {REASONS.get(status, '')}", pairs)


LAST_CHUNK = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Frame `data`; nothing for b"", which would end the body."""
    if not data:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)


# ============================================================================
# 7. Models, names, Auto
# ============================================================================
# The account's catalogue, what a client's model name means in it, and which upstream
# endpoint serves it (UPSTREAM 7, 8, 22.1).                                uses: 0, 2, 4
# Contract: a known id means itself; never another family; an entry that cannot be read
# is skipped; every limit comes from the catalogue, 0 = it does not say.

MESSAGES = "/v1/messages"
CHAT = "/chat/completions"
RESPONSES = "/responses"
EMBEDDINGS = "/embeddings"
# What each client dialect can be served from, best first.
ENDPOINT_CHOICE = {
    "anthropic": (MESSAGES, CHAT, RESPONSES), "openai": (CHAT, MESSAGES, RESPONSES),
    "responses": (RESPONSES, MESSAGES, CHAT),
}


def _strings(obj: JSON, key: str) -> Tuple[str, ...]:
    return tuple(item for item in list_at(obj, key) if isinstance(item, str))


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
    headers: Tuple[Tuple[str, str], ...] = ()  # what its requests carry besides
    prices: Optional[Dict[str, float]] = None  # as parse_prices() gives them
    media_types: Tuple[str, ...] = ()  # what it reads beside text (UPSTREAM 22.4)
    policy: str = "enabled"  # the state of its terms, if it has any
    in_picker: bool = True  # of official clients; a hidden one is still callable
    raw: JSON = {}

    @property
    def offered(self) -> bool:
        """For people to choose, and within our reach."""
        reachable = not {MESSAGES, CHAT, RESPONSES}.isdisjoint(self.endpoints)
        return reachable and self.in_picker and self.policy == "enabled"

    @property
    def maker(self) -> str:
        """The vendor in one word: Azure OpenAI is OpenAI."""
        return self.vendor.lower().rpartition(" ")[2]


# Copilot's own choice of a model for a conversation, at a tenth less (UPSTREAM 22.1).
# As it stands here where that was not to be had: chat takes requests without a model.
AUTO = "auto"
AUTO_MODEL = Model(AUTO, "Auto", "GitHub")

# An id stands in our headers, a model's own headers in our requests.
MODEL_ID = re.compile(r"[!-~]{1,256}")
MODEL_HEADER = re.compile(r"[Xx]-[A-Za-z0-9-]{1,64}")
MODEL_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,1000}[!-~])?")
MOST_TOKENS = 10**12  # no limit of a model is larger


def _limit(obj: JSON, key: str) -> int:
    return min(typed(obj, key, int), MOST_TOKENS)


def _parse_headers(entry: JSON) -> Tuple[Tuple[str, str], ...]:
    wanted = object_at(entry, "request_headers")
    return tuple(
        (name.lower(), text_at(wanted, name))
        for name in filter(MODEL_HEADER.fullmatch, wanted)
        if MODEL_HEADER_VALUE.fullmatch(text_at(wanted, name))
    )


PRICES = {  # Copilot's names for them; one has two (UPSTREAM 22.1)
    "input_price": "input",
    "output_price": "output",
    "cache_price": "cache_read",
    "cache_read_price": "cache_read",  # since API version 2026-08-01
    "cache_write_price": "cache_write",
}


def parse_prices(entry: JSON) -> Optional[Dict[str, float]]:
    """AI credits for a million tokens (UPSTREAM 6.2); None = the catalogue is mute."""
    billed = object_at(object_at(entry, "billing"), "token_prices")
    batch = _limit(billed, "batch_size") or 10**6
    listed = object_at(billed, "default")
    prices = {}
    for key, name in PRICES.items():
        price = listed.get(key)
        if type(price) in (int, float) and 0 <= price < 1e9:
            prices[name] = price * 10**6 / batch
    if "input" in prices and "output" in prices:
        return prices
    return None


def _parse_model(entry: JSON) -> Model:
    about = object_at(entry, "capabilities")
    limits = object_at(about, "limits")
    supports = object_at(about, "supports")
    kind = text_at(about, "type") or "chat"
    endpoints = _strings(entry, "supported_endpoints")
    if not endpoints and kind == "chat":
        endpoints = (CHAT,)  # older models list nothing and mean chat (UPSTREAM 7.1)
    return Model(  # its fields in their order
        entry["id"],
        text_at(entry, "name") or entry["id"],
        text_at(entry, "vendor"),
        kind,
        endpoints,
        _limit(limits, "max_context_window_tokens"),
        _limit(limits, "max_prompt_tokens"),
        _limit(limits, "max_output_tokens"),
        bool(supports.get("vision") or limits.get("vision")),
        _strings(supports, "reasoning_effort"),
        supports.get("adaptive_thinking") is True,
        (
            _limit(supports, "min_thinking_budget"),
            _limit(supports, "max_thinking_budget"),
        ),
        _parse_headers(entry),
        parse_prices(entry),
        _strings(object_at(limits, "vision"), "supported_media_types"),
        text_at(object_at(entry, "policy"), "state") or "enabled",
        entry.get("model_picker_enabled") is not False,
        entry,
    )


def parse_models(reply: Any) -> List[Model]:
    """Read the answer of GET /models, in its order."""
    return [
        _parse_model(entry)
        for entry in objects(list_at(reply, "data"))
        if MODEL_ID.fullmatch(text_at(entry, "id"))
    ]


# -- names ---------------------------------------------------------------------

FAMILIES = "haiku fable opus sonnet".split()  # Claude Code's short names (CLIENTS 1)
# Codex asks for it, Copilot has none (UPSTREAM 22.4).
CODEX_REVIEW = "codex-auto-review"
LONGEST_NAME = 256
MOST_RESOLVED = 256  # names that one catalogue remembers
DATE_SUFFIX = re.compile(r"-20[0-9]{2}-?[0-9]{2}-?[0-9]{2}$")
# What names no family; "4o" and "1m" do.
NO_WORD = re.compile("[0-9]+|preview|latest|claude")
VERSION = re.compile("[0-9]{1,2}")  # longer ones are dates: gpt-4-0613


def _spellings(name: str) -> Tuple[str, ...]:
    """What `name` may be called in the catalogue, best first, `.` as `-`."""
    lower = name.lower().replace(".", "-")
    plain = lower.removesuffix("[1m]")
    return lower.replace("[1m]", "-1m"), plain, DATE_SUFFIX.sub("", plain)


def _words_and_version(name: str) -> Tuple[List[str], List[int]]:
    """claude-3-5-haiku -> [haiku], [3, 5]."""
    # Claude Code's opusplan is Sonnet outside plan mode (CLIENTS 1).
    parts = _spellings(name)[-1].replace("opusplan", "sonnet").split("-")
    words = [part for part in parts if not NO_WORD.fullmatch(part)]
    return words, [int(part) for part in parts if VERSION.fullmatch(part)]


def switched_off(model: Model) -> Forbidden:
    """The refusal of a model whose terms nobody has accepted, or an owner forbids."""
    return Forbidden(
        f"GitHub Copilot has the model {model.id} switched off for this account; "
        "enable it under github.com/settings/copilot, or ask your organisation's "
        "administrator.",
        code="model_disabled",
        should_retry=False,
    )


def _model_not_found(name: str, known: Sequence[Model]) -> NotFound:
    import difflib  # here, as who starts the program should not wait for it

    close = difflib.get_close_matches(name, [model.id for model in known], 3, 0.0)
    setting = "ANTHROPIC_MODEL" if "claude" in name else "COPILOT_DEFAULT_MODEL"
    for family in FAMILIES:
        if family in name.lower():
            setting = f"ANTHROPIC_DEFAULT_{family.upper()}_MODEL"
    return NotFound(
        "your Copilot account has no model %s. Closest: %s. Set the client's model, or "
        "%s, to one of them, or map the name with MODEL_MAP; "
        "`python copilot_proxy.py models` lists all."
        % (ascii(name[:100]), ", ".join(close) or "none", setting),
        code="model_not_found",
    )


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is what MODEL_MAP calls `pattern`: `*` is anything, any case."""
    plain = re.sub(r"[\[?]", r"[\g<0>]", pattern.lower())  # else they stood for others
    return fnmatch.fnmatchcase(name.lower(), plain)


class Catalogue(List[Model]):
    """An account's models in the upstream's order, and what names mean among them.
    `default` is the model for clients that name none, "" = the catalogue's own;
    `renamed` are pairs of a name, with `*` for anything, and the id that it stands for.
    """

    def __init__(
        self, models: Iterable[Model] = (), default: str = "",
        renamed: Sequence[Tuple[str, str]] = (),
    ) -> None:
        super().__init__(models)
        self._default = default
        self._renamed = renamed
        self.resolve = functools.lru_cache(MOST_RESOLVED)(self._resolve)
        shown = {model.in_picker for model in self if model.kind == "chat"}
        # Copilot Free and Student: every entry is hidden, and none may be named.
        self.auto_only = shown == {False}

    def _resolve(self, wanted: str, dialect: str) -> Model:
        """What a client means by a name; raises NotFound with what to do instead."""
        if len(wanted) > LONGEST_NAME:
            raise BadRequest(f"model: a name has at most {LONGEST_NAME} characters")
        hits = (real for pattern, real in self._renamed if _fits(wanted, pattern))
        name = next(hits, wanted)
        kind = "embeddings" if dialect == "embeddings" else "chat"
        if name in ("", "default"):
            return self.default(kind)
        if kind == "chat":
            if name.lower() == AUTO:
                return AUTO_MODEL
            if name == CODEX_REVIEW:
                model = self.default()
                able = (
                    each
                    for each in (model, *self.choices())
                    if RESPONSES in each.endpoints
                )
                return next(able, model)
            if self.auto_only:
                raise NotFound(
                    "this GitHub Copilot plan is Auto only: GitHub chooses the model, "
                    "as on Copilot Free and Student, and %s cannot be named. Ask for "
                    "the model `auto`, or map the name to it: MODEL_MAP=*=auto"
                    % ascii(name[:100]),
                    code="model_not_found",
                )
        return self._named(name, kind)

    def _named(self, name: str, kind: str) -> Model:
        known = [model for model in self if model.kind == kind]
        by_name = {_spellings(model.id)[0]: model for model in reversed(known)}
        by_name.update((model.id, model) for model in known)
        for spelling in (name, *_spellings(name)):
            if spelling in by_name:
                return by_name[spelling]
        model = self.newest(name, kind)
        if model is None:
            raise _model_not_found(name, self.choices(kind))
        return model

    def newest(self, name: str, kind: str = "chat") -> Optional[Model]:
        """The best of the family that `name` is of; None = the account has none."""

        def rank(model: Model) -> Tuple[bool, List[int]]:
            return model.offered, _words_and_version(model.id)[1]

        words, _ = _words_and_version(name)
        family = [
            model
            for model in self
            if model.kind == kind and _words_and_version(model.id)[0] == words
        ]
        return max(family, key=rank, default=None)

    def default(self, kind: str = "chat") -> Model:
        """The model for a client that names none."""
        if kind == "chat" and self._default not in ("", "default"):
            return self.resolve(self._default, kind)
        able = self.choices(kind)
        if not able:
            raise _model_not_found("default", able)
        return min(able, key=lambda model: model.raw.get("is_chat_default") is not True)

    def choose_endpoint(self, model: Model, dialect: str) -> str:
        """The upstream endpoint; raises BadRequest naming models that would work."""
        if dialect == "embeddings":
            return EMBEDDINGS
        for endpoint in ENDPOINT_CHOICE[dialect]:
            if endpoint in model.endpoints:
                return endpoint
        working = [each.id for each in self.choices()[:12]]
        raise BadRequest(
            "model %s is served by %s only, which this API cannot reach; "
            "models that work here: %s"
            % (model.id, ", ".join(model.endpoints), ", ".join(working)),
            code="unsupported_api_for_model",
        )

    def choices(self, kind: str = "chat") -> List[Model]:
        """What clients and people may choose from; Auto is open to every plan."""
        known = [model for model in self if model.kind == kind]
        if kind != "chat" or not known:
            return known
        return [model for model in known if model.offered] + [AUTO_MODEL]


# -- effort, and what clients see -----------------------------------------------

EFFORTS = "none minimal low medium high xhigh max".split()


def clamp_effort(effort: str, model: Model) -> str:
    """The nearest effort that the model lists, if possible not above; "" = none."""
    nearest = [effort]
    if effort in EFFORTS:
        at = EFFORTS.index(effort)
        nearest = EFFORTS[at::-1] + EFFORTS[at + 1 :]
    return next((word for word in nearest if word in model.efforts), "")


def shown_id(model: Model, *, dashed: bool = True) -> str:
    """Its id, for Claude Code with the dashes that it knows Claude models by."""
    if dashed and model.id.startswith("claude"):
        return model.id.replace(".", "-")
    return model.id


def model_payload(model: Model, shown_as: str) -> JSON:
    """One model as OpenAI's and Anthropic's SDKs both read it."""
    return {
        "object": "model",
        "type": "model",
        # The catalogue has no dates; Anthropic's own API says an unknown one so.
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "id": shown_as,
        "owned_by": model.vendor,
        "display_name": model.name,
        "endpoints": list(model.endpoints),
        "vision": model.vision,
        "credits": model.prices,
        "context_window": model.context or None,
        "max_output_tokens": model.output or None,
    }


def models_payload(models: Catalogue, *, dashed: bool = False) -> JSON:
    """Each model once; `dashed` for who speaks Anthropic's API."""
    listed = models.choices() + models.choices("embeddings")
    data = [model_payload(each, shown_id(each, dashed=dashed)) for each in listed]
    ids = [entry["id"] for entry in data] or [None]
    return {
        "object": "list",
        "data": data,
        "models": [],  # Codex reads this key, and is content with an empty list
        "has_more": False,
        "first_id": ids[0],
        "last_id": ids[-1],
    }


MIN_COMPACT_WINDOW = 60_000  # Claude Code compacts 33,000 below it (CLIENTS 1)


def claude_environment(models: Catalogue) -> Dict[str, str]:
    """The variables that tell Claude Code this account's models: no families that the
    account lacks, and Auto for all on an Auto-only plan."""
    env = {}
    chosen = None
    with contextlib.suppress(ProxyError):
        chosen = models.default()
    for family in FAMILIES:  # the last found is for all
        model = AUTO_MODEL if models.auto_only else models.newest(family)
        if model and model.offered:
            chosen = model
            name = f"ANTHROPIC_DEFAULT_{family.upper()}_MODEL"
            env[name] = shown_id(model)
            env[name + "_NAME"] = model.name
    if chosen:
        env["ANTHROPIC_MODEL"] = shown_id(chosen)
        if chosen.prompt >= MIN_COMPACT_WINDOW:
            env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(chosen.prompt)
    return env


# ============================================================================
# 8. Conversation
# ============================================================================
# The hub between dialects. A request becomes one neutral Conversation, an answer goes
# to one Sink; so n dialects need n readers and n writers, not n*n translators.
#                                                                       uses: 0, 2, 4, 5
# Contract: a parser maps every part or refuses it by path and kind; terminal events
# come only from finish(), so a late usage still counts; an upstream that ended without
# its terminal event is an UpstreamError, never a made-up end.


class Text(NamedTuple):
    """Words."""

    text: str


class Image(NamedTuple):
    """A picture by its address: `data:` (base64) or https."""

    url: str
    detail: str = ""


class Document(NamedTuple):
    """A file, mostly a PDF, by its `data:` address."""

    url: str
    title: str = ""


class Reasoning(NamedTuple):
    """What a model thought; its vendor wants `opaque` back, which `source` made."""

    text: str
    opaque: str = ""
    source: str = ""  # vendor and endpoint; encoders leave out what others made


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

    @property
    def spoken(self) -> Tuple[Any, ...]:
        """The parts for an API that has no field for a failure: OpenAI's have none."""
        return (Text("Error:"), *self.parts) if self.is_error else self.parts


class Turn(NamedTuple):
    """One message: system, user or assistant; parts in the client's order."""

    role: str
    parts: Tuple[Any, ...]


class Tool(NamedTuple):
    """A function that the model may call.

    Tools of other kinds are functions to the model and come back as what they are: a
    client wants `own` and `namespace`, the model knows `name`.
    """

    name: str
    description: str
    schema: JSON
    strict: Optional[bool] = None
    kind: str = "function"
    namespace: str = ""
    own: str = ""


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
    effort: str = ""  # as asked; encoders clamp it to the model's list
    thinking: bool = False  # reasoning was asked for, so summaries are wanted
    schema: Optional[JSON] = None  # {"name","schema","strict"?}; {} = any JSON object
    user: str = ""
    extra: JSON = {}  # fields of an OpenAI body that mean the same in both APIs
    left_out: Tuple[str, ...] = ()  # what the hub cannot say; the client is told


def text_of(parts: Iterable[Any]) -> str:
    """The texts among `parts`, a blank line between two."""
    return "\n\n".join(p.text for p in parts if isinstance(p, Text) and p.text)


def given(**fields: Any) -> JSON:
    """The fields that say something; 0 and False do."""
    return {k: v for k, v in fields.items() if v not in (None, "", {}, [])}


def required_word(obj: JSON, key: str, words: Collection[str], path: str) -> str:
    """`obj[key]`, which must be one of `words`; raises BadRequest when it is not."""
    return one_of(required_text(obj, key, path), words, _path_to(path, key))


def parse_list(
    obj: JSON, key: str, parse: Callable[[Any, str], Any], path: str = ""
) -> List[Any]:
    """Parse the objects in the list `obj[key]`, each with its own path."""
    parsed = []
    for at, item in enumerate(field(obj, key, list, path, ())):
        where = f"{_path_to(path, key)}.{at}"
        parsed.append(parse(expect(item, dict, where), where))
    return parsed


MAX_STOPS = 64  # OpenAI takes 4; each is looked for in every piece of an answer
MAX_STOP = 256  # characters


def parse_stops(body: JSON, key: str) -> Tuple[str, ...]:
    """The stop sequences in the list `body[key]`; raises BadRequest for too many."""
    stops = field(body, key, list, default=())
    for at, stop in enumerate(stops):
        if at == MAX_STOPS or len(expect(stop, str, f"{key}.{at}")) > MAX_STOP:
            raise BadRequest(f"{key}: at most {MAX_STOPS} of {MAX_STOP} characters")
    return tuple(filter(None, stops))


def samplers(body: JSON) -> JSON:
    """The members of a Conversation that every API calls alike."""
    return {key: field(body, key, float) for key in ("temperature", "top_p")}


# --- tools that are no functions ------------------------------------------------------

INPUT_SCHEMA: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def custom_tool(name: str, description: str, form: JSON) -> Tool:
    """A tool of free text as a function of one string; the grammar in `form`, its
    `format`, cannot be enforced by a schema and is said in words."""
    words = [description, "Put the whole text into `input`."]
    grammar = object_at(form, "grammar") or form
    rules = text_at(grammar, "definition")
    if rules:
        syntax = text_at(grammar, "syntax")
        words.append(f"It must follow this {syntax} grammar:\n{rules}")
    return Tool(name, "\n\n".join(filter(None, words)), INPUT_SCHEMA, kind="custom")


def custom_names(tools: Iterable[Tool]) -> Set[str]:
    """The names of the tools that take any text."""
    return {tool.name for tool in tools if tool.kind == "custom"}


def parse_object(text: str) -> Optional[JSON]:
    """The JSON object that `text` is, perhaps encoded twice; None for anything else."""
    try:
        value = loads(text.encode("utf-8", "backslashreplace"))
    except ValueError:
        return None
    if isinstance(value, str):
        return parse_object(value)
    return value if isinstance(value, dict) else None


def unwrap_input(arguments: str) -> str:
    """The text for a custom tool; what is not our wrapper is handed over as it is."""
    wrapped = parse_object(arguments) or {}
    text = wrapped.get("input")
    return text if isinstance(text, str) and len(wrapped) == 1 else arguments


def join_turns(turns: Iterable[Turn]) -> Tuple[Turn, ...]:
    """What a model said in one go is one turn, because thinking must stand before its
    calls (UPSTREAM 11.6) and results behind them all; what says nothing is none."""
    joined: List[Turn] = []
    full = [turn for turn in turns if turn.parts]
    for role, group in itertools.groupby(full, operator.attrgetter("role")):
        if role == "assistant":
            parts = itertools.chain.from_iterable(turn.parts for turn in group)
            joined.append(Turn(role, tuple(parts)))
        else:
            joined += group
    return tuple(joined)


# --- usage ----------------------------------------------------------------------------


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

    @property
    def credits(self) -> float:
        """AI credits, 0 where Copilot told no price."""
        return self.nano_aiu / 1e9

    @property
    def cost(self) -> JSON:
        """The price as a member of an answer, when it is known: Copilot's own."""
        nano_aiu = self.nano_aiu
        return {"copilot_usage": {"total_nano_aiu": nano_aiu}} if nano_aiu else {}


MOST_COUNTED = 10**15  # a million AI credits; what is larger would not fit a float


def count_at(obj: Any, key: str) -> int:
    """The count `obj[key]` from the wire: a whole number > 0, else 0."""
    value = obj.get(key) if isinstance(obj, dict) else 0
    return value if type(value) is int and 0 < value <= MOST_COUNTED else 0


def openai_usage(answer: JSON, event: JSON = {}) -> TokenUsage:
    """The `usage` of an answer of OpenAI's, the `copilot_usage` of it or `event`."""
    usage = object_at(answer, "usage")
    kinds = ("prompt", "completion")
    if "input_tokens" in usage:
        kinds = ("input", "output")
    prompt, output = [count_at(usage, kind + "_tokens") for kind in kinds]
    details, more = [object_at(usage, kind + "_tokens_details") for kind in kinds]
    read = min(count_at(details, "cached_tokens"), prompt)
    write = min(count_at(details, "cache_write_tokens"), prompt - read)
    thought = count_at(more, "reasoning_tokens") or count_at(usage, "reasoning_tokens")
    nano_aiu = count_at((event or answer).get("copilot_usage"), "total_nano_aiu")
    return TokenUsage(prompt - read - write, output, read, write, nano_aiu, thought)


# --- answers --------------------------------------------------------------------------


class Sink(Protocol):
    """Where a reader puts an answer, piece by piece; the writers of rooms 9 to 11.

    text(text), reasoning(text)
    refusal(text): instead of, or after, the text
    next_message(): the text that follows is another message's
    opaque(data, source): encrypted reasoning, whole, to be given back in the next turn
    call(key, call_id, name): a tool call begins; `key` names it where its arguments
        follow in fragments
    arguments(key, fragment)
    end(reason, usage, stop_sequence=""): the answer is complete: stop, length,
        tool_calls or content_filter. With "stop", `stop_sequence` is what the answer
        was cut at, where that is known.
    error(exc): one event, and nothing after it
    take() -> bytes: what was written since the last call
    search(query, pages): a web search was run; MessagesWriter alone has it
    whole() -> JSON: after end(), the same answer as one object; its `id` at any time
    """

    def __getattr__(self, name: str) -> Any: ...


class Reader:
    """Reads one upstream dialect; `finish_reason` is "" until a terminal event came."""

    usage = TokenUsage()
    finish_reason = ""
    stop_sequence = ""
    model = ""  # which one answered, where the answer says so
    failure: Optional[ProxyError] = None
    done = False  # nothing can follow, the upstream may be left

    def read(self, event: SSEEvent, sink: Sink) -> None:
        """Give one event to `sink`; raises ProxyError on an error inside it."""


def event_object(event: SSEEvent) -> JSON:
    """The object that an event carries; raises UpstreamError for anything else."""
    try:
        return loads_object(event.data)
    except BadRequest:
        words = "the upstream sent a broken piece of its answer; try again"
        raise UpstreamError(words) from None


class StopAt:
    """A Sink before `sink` that ends the answer before the first of `stops`, where an
    upstream does not (UPSTREAM 22.6). The rest is read for its usage."""

    _held = ""  # what may begin a stop sequence
    _hit = ""  # the stop sequence that came

    def __init__(self, sink: Any, stops: Sequence[str]) -> None:
        self._sink = sink
        self._stops = stops

    def text(self, text: str) -> None:
        if self._hit:
            return
        text = self._held + text
        stops = self._stops
        ends = [(text.find(s) + len(s), -len(s), s) for s in stops if s in text]
        at = max(0, len(text) - max(map(len, stops)))
        while not any(stop.startswith(text[at:]) for stop in stops):
            at += 1
        if ends:
            end, size, self._hit = min(ends)  # whichever ends first
            at = end + size
        self._held = "" if ends else text[at:]
        if at:
            self._sink.text(text[:at])

    def _release(self) -> None:
        if self._held:
            self._sink.text(self._held)
        self._held = ""

    def end(self, reason: str, usage: TokenUsage, stop_sequence: str = "") -> None:
        """End it; what was cut ended well."""
        self._release()
        if self._hit:
            reason = "stop"
            stop_sequence = self._hit
        self._sink.end(reason, usage, stop_sequence)

    def __getattr__(self, name: str) -> Any:
        def put(*args: Any) -> None:  # once a stop was hit, nothing more is said
            if not self._hit:
                self._release()
                getattr(self._sink, name)(*args)

        return put


class CallGuard:
    """A Sink before `sink` that tells calls one after another, each of them whole.

    A call is told with its first arguments, or at the end if the one before it was not
    whole then: some upstreams send several at a time. One without an id gets one of the
    answer's. What is encoded twice is unwrapped at the end; what is no JSON object then
    is an UpstreamError.
    """

    def __init__(
        self, sink: Any, free: Container[str] = (), names: Mapping[str, str] = {}
    ) -> None:
        """`free` are the tools that take any text, `names` the client's own names."""
        self._sink = sink
        self.text = sink.text  # most of an answer: not one step more than needed
        self._free = free
        self._own = names
        self._calls: Dict[Hashable, Tuple[str, List[str]]] = {}  # name and arguments
        self._waiting: Dict[Hashable, str] = {}  # ids of the calls that were not told
        self._latest: List[str] = []  # arguments of the one that was told last

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        self._calls[key] = (self._own.get(name, name), [])
        self._waiting[key] = (
            call_id or f"call_{self._sink.whole()['id']}_{len(self._calls)}"
        )

    def arguments(self, key: Hashable, fragment: str) -> None:
        if key not in self._calls:
            raise UpstreamError(
                f"the upstream sent arguments of tool call {key!r}, which never began"
            )
        name, pieces = self._calls[key]
        if not pieces:
            fragment = fragment.lstrip()  # some upstreams open with a blank
        if not fragment:
            return
        pieces.append(fragment)
        if key not in self._waiting:
            self._sink.arguments(key, fragment)
        elif len(pieces) == 1 and key == next(iter(self._waiting)):
            latest = self._latest
            is_next = not latest or parse_object("".join(latest)) is not None
            # What opens as a string is perhaps encoded twice.
            if is_next and (fragment[0] != '"' or name in self._free):
                self._tell(key, name, pieces)

    def _tell(self, key: Hashable, name: str, pieces: List[str]) -> None:
        self._latest = pieces
        self._sink.call(key, self._waiting.pop(key), name)
        self._sink.arguments(key, "".join(pieces))

    def end(self, reason: str, usage: TokenUsage, stop_sequence: str = "") -> None:
        """End it; raises UpstreamError for a call that nobody can run."""
        for key, (name, pieces) in self._calls.items():
            text = "".join(pieces)
            if name not in self._free:
                parsed = parse_object(text)
                # One that the length limit cut is no error: its client sees why.
                if parsed is None and reason in ("stop", "tool_calls"):
                    raise UpstreamError(
                        f"the model called {name} with arguments that are not a JSON "
                        "object; try again."
                    )
                if parsed is None:
                    continue
                if text[0] == '"':
                    text = dumps_text(parsed)
            if key in self._waiting:
                self._tell(key, name, [text])
        self._sink.end(reason, usage, stop_sequence)

    def __getattr__(self, name: str) -> Any:
        # What is no call's passes as it is.
        return getattr(self._sink, name)


def refuse_late(key: Hashable, fragment: str) -> None:
    """Raise UpstreamError for arguments of an ended call, if they are more than blanks:
    clients run a tool at its end, so what comes later is lost for good."""
    if fragment.strip():
        raise UpstreamError(f"the upstream continued tool call {key!r} after its end")


GO_ON = "Please continue."  # where a model takes no text begun for it (UPSTREAM 11.5)
CUT_SHORT = (
    "the upstream ended the answer without finishing it. Nothing is wrong with your "
    "request; try again."
)


class StreamTranslator:
    """What the relay of room 18 drives: upstream bytes in, client bytes out.

    Who inherits has `_read`, which takes one event and puts bytes into `_out`.
    """

    usage = TokenUsage()
    model = ""  # as a Reader's
    failure: Optional[ProxyError] = None  # in a terminal event; finish() raises it
    finished = False  # a terminal event came; only a late usage may still follow
    done = False  # nothing can follow

    def __init__(self) -> None:
        self._decoder = SSEDecoder()
        self._out: List[bytes] = []

    def take(self) -> bytes:
        """What is ready for the client."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def read_all(self, data: bytes) -> None:
        """Read the events that `data` completes."""
        for event in self._decoder.feed(data):
            try:
                if not self.done:
                    self._read(event)
            except ProxyError:
                # The answer is whole: behind it only a usage still matters.
                if not self.finished:
                    raise

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes, give client bytes; raises ProxyError."""
        self.read_all(data)
        return self.take()

    def finish(self) -> bytes:
        """The upstream ended; raises its failure, UpstreamError when it was cut."""
        self.read_all(b"\n\n")  # some leave out the last blank line (UPSTREAM 17.4)
        if self.failure is not None:
            raise self.failure
        if not self.finished:
            raise UpstreamError(CUT_SHORT, code="upstream_cut_short")
        return self.take()

    def fail(self, exc: ProxyError) -> bytes:
        """The bytes that tell the client of `exc` inside the stream."""
        return self.take() + encode_sse("", openai_error(exc))


class Translation(StreamTranslator):
    """A StreamTranslator made of a reader and a sink."""

    def __init__(
        self, reader: Reader, sink: Sink, free: Container[str] = (),
        stops: Sequence[str] = (), names: Mapping[str, str] = {},
    ) -> None:
        """`stops` are StopAt's, `free` and `names` CallGuard's."""
        super().__init__()
        self._reader = reader
        self._sink = sink
        self._outer: Any = CallGuard(sink, free, names)
        if stops:  # first of all: what comes after one is no call to guard
            self._outer = StopAt(self._outer, stops)

    usage = property(lambda self: self._reader.usage)
    model = property(lambda self: self._reader.model)

    def _read(self, event: SSEEvent) -> None:
        reader = self._reader
        reader.read(event, self._outer)
        self.finished = reader.finish_reason != ""
        self.failure = reader.failure
        self.done = reader.done

    def take(self) -> bytes:
        return self._sink.take()

    def finish(self) -> bytes:
        """End the answer; raises what the upstream failed by."""
        out = super().finish()
        reader = self._reader
        self._outer.end(reader.finish_reason, reader.usage, reader.stop_sequence)
        return out + self.take()

    def fail(self, exc: ProxyError) -> bytes:
        """The bytes that tell the client of `exc` inside the stream."""
        self._sink.error(exc)
        return self.take()

    def whole(self) -> JSON:
        """The non-streaming answer, after finish()."""
        return self._sink.whole()


# ============================================================================
# 9. Anthropic Messages
# ============================================================================
# The Anthropic dialect: a Messages request to the hub and back, Copilot's stream read,
# and a stream or a whole Message written.                        uses: 0, 2, 4, 5, 7, 8
# Contract: the stream is `message_start (start delta* stop)* message_delta
# message_stop`, indexes from 0, one block open, none opened twice; the answer without
# streaming is what the stream amounts to.

SIGNATURE_MARK = "copilot-claude-proxy@"
# How Claude Code's billing line begins. It is no instruction, and as it changes with
# each session nothing behind it would be found in the cache (CLIENTS 1).
BILLING_MARK = "x-anthropic-billing-header"


def pack_reasoning(opaque: str, source: str) -> str:
    """The signature, one word, of a thinking block of ours: it brings `opaque` back."""
    quote = functools.partial(urllib.parse.quote, safe="+/=:", errors="replace")
    return SIGNATURE_MARK + "@".join(map(quote, (source, opaque)))


def unpack_reasoning(signature: str) -> Optional[Tuple[str, str]]:
    """(opaque, source) of a signature of ours, None for every other one."""
    if not signature.startswith(SIGNATURE_MARK):
        return None
    words = signature.removeprefix(SIGNATURE_MARK).partition("@")
    source, _, opaque = map(urllib.parse.unquote, words)
    return opaque, source


# --- requests -------------------------------------------------------------------------

# What Anthropic's servers have run or written is told in words to all others.
SERVER_BLOCK = re.compile(
    r"[a-z0-9_]{1,60}_tool_(?:use|result)"
    r"|search_result|compaction|container_upload|fallback",
    re.ASCII,
)
# Encrypted, or about no more than which block belongs to which.
UNREADABLE = (
    "id tool_use_id encrypted_content encrypted_index encrypted_stdout "
    "cache_control caller"
).split()
# Which block may stand where; text may everywhere.
PLACES = {
    "user": ("image", "document", "tool_result"),
    "assistant": ("tool_use", "thinking", "redacted_thinking"),
    "system": (),
    "tool_result": ("image", "document", "tool_reference"),
    "document": ("image",),
}


def _words_of(value: Any) -> Iterator[str]:
    """The words of a block and of all that is in it, a line for each object."""
    if isinstance(value, list):
        for inner in value:
            yield from _words_of(inner)
    elif isinstance(value, dict):
        yield "\n"
        for key, inner in value.items():
            if key in UNREADABLE or (key, value.get("type")) == ("data", "base64"):
                continue
            if key == "input" or type(inner) in (bool, int, float):
                yield f"{key} {dumps_text(inner)}"
            else:
                yield from _words_of(inner)
    elif value:
        yield str(value)


def _parse_stranger(block: JSON, place: str, path: str) -> Text:
    """A block of another server in words; raises BadRequest for any other."""
    kind = block["type"]
    if place == "system" or not SERVER_BLOCK.fullmatch(kind):
        words = "%s: a block of type %r cannot be sent to this model (%s)"
        raise BadRequest(words % (path, kind[:60], place))
    return Text("[%s]" % " ".join(_words_of(block)).replace(" \n ", "\n").strip())


SOURCES = {"image": ("base64", "url"), "document": ("base64", "text", "content")}


def _parse_media(block: JSON, path: str, parse: Callable[..., Any]) -> List[Any]:
    """An image or a document; `parse` reads a document that is made of blocks."""
    kind = block["type"]
    title = text_field(block, "title", path)
    context = Text(text_field(block, "context", path))
    source = required(block, "source", dict, path)
    path += ".source"
    form = required_word(source, "type", SOURCES[kind], path)
    if form == "content":
        return [Text(title), context, *parse(source.get(form), kind, f"{path}.{form}")]
    if form == "url":
        return [Image(required_text(source, form, path))]
    data = required_text(source, "data", path)
    if form == "text":
        return [Text(title), context, Text(data)]
    media_type = text_field(source, "media_type", path)  # room 12 names a picture
    url = f"data:{media_type};base64,{data}"
    return [Image(url)] if kind == "image" else [context, Document(url, title)]


def _parse_thinking(block: JSON, path: str) -> List[Any]:
    # With a foreign or no signature only its own model can use the block; another would
    # take it for its answer if it came as text.
    ours = unpack_reasoning(text_field(block, "signature", path))
    if ours is None:
        return []
    return [Reasoning(text_field(block, "thinking", path), *ours)]


def _parse_parts(content: Any, place: str, path: str) -> List[Any]:
    """The parts that content is, without blank texts: refused everywhere (UPSTREAM
    11.5), and without thinking that no other model can use."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts: List[Any] = []
    for at, block in enumerate(expect(content, list, path)):
        here = f"{path}.{at}"
        kind = required_text(expect(block, dict, here), "type", here)
        if kind == "text":
            parts.append(Text(required_text(block, "text", here)))
        elif kind not in PLACES[place]:
            parts.append(_parse_stranger(block, place, here))
        elif kind in SOURCES:
            parts += _parse_media(block, here, _parse_parts)
        elif kind == "tool_use":
            names = [required_text(block, key, here) for key in ("id", "name")]
            arguments = dumps_text(field(block, "input", dict, here, {}))
            parts.append(Call(*names, arguments))
        elif kind == "tool_result":
            call_id = required_text(block, "tool_use_id", here)
            inner = _parse_parts(block.get("content") or "", kind, here + ".content")
            failed = field(block, "is_error", bool, here, False)
            parts.append(Result(call_id, tuple(inner), failed))
        elif kind == "tool_reference":
            name = required_text(block, "tool_name", here)
            parts.append(Text(f"The tool {name} can be used now."))
        else:
            parts += _parse_thinking(block, here)
    return [part for part in parts if not isinstance(part, Text) or part.text.strip()]


def _parse_message(message: JSON, path: str) -> Turn:
    role = required_word(message, "role", ("user", "assistant", "system"), path)
    parts = _parse_parts(message.get("content"), role, path + ".content")
    return Turn(role, tuple(parts))


def _parse_messages_tool(entry: JSON, path: str) -> Tool:
    kind = field(entry, "type", str, path, "custom")
    if kind not in ("custom", "function"):
        raise BadRequest(
            f"{path}.type: {kind[:60]!r} is known to Anthropic's own models and "
            "servers only and cannot be used with this model"
        )
    # OpenAI's shape is accepted: the original's README shows it (UPSTREAM 0.4).
    tool = field(entry, "function", dict, path) or entry
    schema = field(tool, "input_schema", dict, path)
    return Tool(
        required_text(tool, "name", path),
        text_field(tool, "description", path),
        schema or object_field(tool, "parameters", path),
        field(tool, "strict", bool, path),
    )


def _found_tools(messages: List[JSON]) -> Set[str]:
    """What tool searches have found: deferred tools are wanted then (CLIENTS 1)."""
    found = set()
    for message in messages:
        for block in objects_at(message, "content"):
            content = block.get("content")
            # Of a search that Anthropic's server ran, else of the client's own.
            references = list_at(content, "tool_references") or objects(content)
            found.update(text_at(each, "tool_name") for each in references)
    return found


def _parse_messages_tools(body: JSON) -> Tuple[Tool, ...]:
    tools = parse_list(body, "tools", _parse_messages_tool)
    entries = list_at(body, "tools")
    deferred = {text_at(e, "name") for e in entries if e.get("defer_loading")}
    if deferred:
        deferred -= _found_tools(body["messages"])
    return tuple(tool for tool in tools if tool.name not in deferred)


TOOL_CHOICES = {
    "auto": "auto",
    "any": "required",
    "none": "none",
    "tool": "=",
    "required": "required",  # the words of OpenAI, whose tools are taken too
    "function": "=",
}


def _parse_tool_choice(body: JSON, tools: Tuple[Tool, ...]) -> Tuple[str, Any]:
    """The hub's tool_choice, and whether calls may be parallel (None = not said)."""
    path = "tool_choice"
    choice = body.get(path)
    if choice is None or not tools:  # OpenAI refuses a choice among no tools
        return "", None
    if isinstance(choice, str):
        choice = {"type": choice}
    kind = required_word(expect(choice, dict, path), "type", TOOL_CHOICES, path)
    wanted = TOOL_CHOICES[kind]
    if wanted == "=":
        named = field(choice, "function", dict, path) or choice
        wanted += required_word(named, "name", [tool.name for tool in tools], path)
    alone = field(choice, "disable_parallel_tool_use", bool, path)
    return wanted, False if alone else None


# An eighth and a half of the largest budget there is, 32,000 (UPSTREAM 16).
BUDGET_EFFORTS = ((4000, "low"), (16000, "medium"), (math.inf, "high"))


def _parse_effort(body: JSON, config: JSON) -> Tuple[str, bool]:
    """The effort and whether thinking is to be shown."""
    effort = text_field(config, "effort", "output_config")
    thinking = field(body, "thinking", dict)
    if not thinking:
        return effort, False
    kinds = ("enabled", "adaptive", "disabled")
    if required_word(thinking, "type", kinds, "thinking") == "disabled":
        return "none", False
    budget = field(thinking, "budget_tokens", int, "thinking", 0)
    if budget and not effort:
        effort = next(effort for most, effort in BUDGET_EFFORTS if budget <= most)
    return effort, True


def _parse_output_format(body: JSON, config: JSON) -> Optional[JSON]:
    old = field(body, "output_format", dict)  # its name in 2025
    form = field(config, "format", dict, "output_config", old)
    if form is None:
        return None
    path = "output_config.format"
    required_word(form, "type", ("json_schema",), path)
    return {"name": "answer", "schema": required(form, "schema", dict, path)}


def _parse_user(body: JSON) -> str:
    user = text_field(object_field(body, "metadata"), "user_id", "metadata")
    # Claude Code's is JSON inside JSON (CLIENTS 1).
    session = re.search(r'"session_id": {0,4}"([\w-]{1,64})"', user, re.ASCII)
    if session:
        user = session[1]
    return user[-64:]  # OpenAI takes no more


def parse_messages(body: JSON) -> Conversation:
    """Read a Messages request; raises BadRequest naming the path of what is wrong."""
    system = _parse_parts(body.get("system") or "", "system", "system")
    rules = [part for part in system if not part.text.startswith(BILLING_MARK)]
    required(body, "messages", list)
    turns = parse_list(body, "messages", _parse_message)
    if not any(turn.parts for turn in turns):
        raise BadRequest("messages: at least one message with content is required")
    config = object_field(body, "output_config")
    tools = _parse_messages_tools(body)
    choice, parallel = _parse_tool_choice(body, tools)
    effort, thinking = _parse_effort(body, config)
    return Conversation(
        turns=join_turns([Turn("system", tuple(rules)), *turns]), tools=tools,
        tool_choice=choice, parallel=parallel,
        max_tokens=field(body, "max_tokens", int), **samplers(body), effort=effort,
        thinking=thinking, stop=parse_stops(body, "stop_sequences"),
        schema=_parse_output_format(body, config), user=_parse_user(body),
    )


# --- requests for Copilot -------------------------------------------------------------

REDACTED = "/redacted"  # a source whose opaque was a redacted_thinking block
JSON_ONLY = "Answer with one JSON object and nothing else."
CHOICE_TYPES = {"auto": "auto", "required": "any", "none": "none"}


def messages_source(model: Model) -> str:
    """Who made a signed thinking block: its vendor's models can all read it."""
    return "messages:" + model.maker


def _encode_file(part: Any) -> JSON:
    """An image, or a document, which has a title."""
    head, _, data = part.url.partition(";base64,")
    source = {"type": "url", "url": part.url}
    if data:
        source = {"type": "base64", "media_type": head[5:], "data": data}
    if isinstance(part, Image):
        return {"type": "image", "source": source}
    return given(type="document", source=source, title=part.title)


def _encode_call(call: Call) -> JSON:
    arguments = parse_object(call.arguments)
    if arguments is None and call.arguments.strip():
        arguments = {"arguments": call.arguments}  # cut, as the model wrote it
    return dict(type="tool_use", id=call.id, name=call.name, input=arguments or {})


def _encode_thinking(part: Reasoning, source: str) -> JSON:
    if not part.opaque or not part.source.startswith(source):
        return {}
    if part.source.endswith(REDACTED):
        return {"type": "redacted_thinking", "data": part.opaque}
    return {"type": "thinking", "thinking": part.text, "signature": part.opaque}


def _encode_parts(parts: Iterable[Any], source: str) -> List[JSON]:
    """The blocks of parts; none of what says nothing, or nothing to this model."""
    blocks: List[JSON] = []
    for part in parts:
        if isinstance(part, Text):
            blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, Call):
            blocks.append(_encode_call(part))
        elif isinstance(part, Reasoning):
            blocks.append(_encode_thinking(part, source))
        elif isinstance(part, Result):
            content = _encode_parts(part.parts, source)
            block = given(
                type="tool_result", tool_use_id=part.call_id, content=content,
                is_error=part.is_error or None,
            )
            blocks.append(block)
        else:
            blocks.append(_encode_file(part))
    return list(filter(None, blocks))


def _encode_tools(conversation: Conversation) -> JSON:
    """`tools` and `tool_choice`."""
    tools = []
    for tool in conversation.tools:
        entry = given(
            name=tool.name, description=tool.description, input_schema=tool.schema,
            strict=tool.strict or None,
        )
        tools.append(entry)
    wanted = conversation.tool_choice
    if not tools:
        return {}  # a choice would be among what room 12 declares for the history
    choice = given(type=CHOICE_TYPES.get(wanted))
    if wanted.startswith("="):
        choice = {"type": "tool", "name": wanted[1:]}
    if conversation.parallel is False and wanted != "none":  # which stands alone
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return given(tools=tools, tool_choice=choice)


def encode_messages(conversation: Conversation, model: Model) -> JSON:
    """The Messages request for a conversation; room 12 adds what the model wants."""
    source = messages_source(model)
    system: List[JSON] = []
    messages: List[JSON] = []
    for turn in conversation.turns:
        content = _encode_parts(turn.parts, source)
        if turn.role == "system" and not messages:
            system += content
        elif content:
            messages.append({"role": turn.role, "content": content})
    effort = conversation.effort
    thinking = None
    if effort not in ("", "none", "minimal") and (model.adaptive or model.budget[1]):
        thinking = {"type": "adaptive"}
    config = given(effort=effort)
    if conversation.schema:
        schema = conversation.schema["schema"]
        config["format"] = {"type": "json_schema", "schema": schema}
    elif conversation.schema is not None:
        system.append({"type": "text", "text": JSON_ONLY})
    settings = given(
        model=model.id, stream=True, max_tokens=conversation.max_tokens, system=system,
        temperature=conversation.temperature, top_p=conversation.top_p,
        stop_sequences=list(conversation.stop), thinking=thinking, output_config=config,
        metadata=given(user_id=conversation.user), **_encode_tools(conversation),
    )
    return {**settings, "messages": messages}


# --- Copilot's answers ----------------------------------------------------------------

FINISH_REASONS = {
    "max_tokens": "length", "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
REFUSED_TEXT = "The model declined to answer this."
# The members of `usage`, in the order of TokenUsage.
USAGE_KEYS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def native_usage(obj: JSON) -> TokenUsage:
    """The usage of a whole Message, or of anything that has its two usage members."""
    usage = object_at(obj, "usage")
    details = object_at(usage, "output_tokens_details")
    return TokenUsage(
        *[count_at(usage, key) for key in USAGE_KEYS],
        nano_aiu=count_at(obj.get("copilot_usage"), "total_nano_aiu"),
        reasoning=count_at(details, "thinking_tokens"),
    )


def add_usage(message: JSON, event: JSON) -> None:
    """Take into the usage members of `message` what an event of its stream says."""
    for part in (event, object_at(event, "message")):
        news = object_at(part, "usage").items()
        message["usage"].update((key, n) for key, n in news if n)  # 0 is no news
        message.update(given(copilot_usage=part.get("copilot_usage")))


def messages_event(event: SSEEvent, message: JSON) -> JSON:
    """The object of an event, whose usage goes into `message`; raises UpstreamError for
    a broken one and the error that one is, in whatever shape."""
    obj = event_object(event)
    kind = obj.get("type")
    if kind == "error" or obj.get("error"):
        raise error_in_stream(obj)
    if kind in ("message_start", "message_delta"):
        add_usage(message, obj)
    return obj


class MessagesReader(Reader):
    """A Reader of /v1/messages; `source` is the model's messages_source()."""

    _signature = ""  # of the open block
    _calls = 0  # how many have begun; the latest is the open one

    def __init__(self, source: str = "messages:anthropic") -> None:
        self._source = source
        self._message: JSON = {"usage": {}}
        self._ending: JSON = {}  # what message_delta told
        self._block: JSON = {}  # the open one

    usage = property(lambda self: native_usage(self._message))

    def read(self, event: SSEEvent, sink: Sink) -> None:
        """Give one event to `sink`; raises ProxyError on an error inside it."""
        if event.data == b"[DONE]":  # follows message_stop on some accounts
            return
        obj = messages_event(event, self._message)
        kind = obj.get("type")
        if kind == "content_block_start":
            self._block_start(object_at(obj, "content_block"), sink)
        elif kind == "content_block_delta":
            self._block_delta(object_at(obj, "delta"), sink)
        elif kind == "content_block_stop":
            self._block_stop(sink)
        elif kind == "message_delta":
            self._ending.update(given(**object_at(obj, "delta")))
        elif kind == "message_stop":
            stop = text_at(self._ending, "stop_reason")
            if stop == "refusal":
                details = object_at(self._ending, "stop_details")
                sink.refusal(text_at(details, "explanation") or REFUSED_TEXT)
            self.stop_sequence = text_at(self._ending, "stop_sequence")
            ended = "stop"
            if self._calls and not self.stop_sequence:
                ended = "tool_calls"
            self.finish_reason = FINISH_REASONS.get(stop, ended)
            self.done = True

    def _block_start(self, block: JSON, sink: Sink) -> None:
        self._block = block
        self._signature = ""
        if block.get("type") == "tool_use":
            self._calls += 1
            sink.call(self._calls, text_at(block, "id"), text_at(block, "name"))
        elif text_at(block, "text"):
            sink.text(block["text"])

    def _block_delta(self, delta: JSON, sink: Sink) -> None:
        block = self._block
        if text_at(delta, "text"):
            sink.text(delta["text"])
        elif text_at(delta, "thinking"):
            sink.reasoning(delta["thinking"])
        elif text_at(delta, "signature"):
            self._signature = delta["signature"]
        elif text_at(delta, "partial_json"):
            if text_at(block, "type").endswith("_tool_use"):
                return  # of a tool that ran upstream
            block.pop("input", None)  # it comes in pieces
            sink.arguments(self._calls, delta["partial_json"])

    def _block_stop(self, sink: Sink) -> None:
        block = self._block
        kind = block.get("type")
        if kind == "tool_use" and "input" in block:
            sink.arguments(self._calls, dumps_text(block["input"]))
        elif kind == "thinking" and self._signature:
            sink.opaque(self._signature, self._source)
        elif kind == "redacted_thinking" and text_at(block, "data"):
            sink.opaque(block["data"], self._source + REDACTED)
        self._block = {}


# --- answers for Anthropic clients ----------------------------------------------------

STOP_REASONS = dict(
    stop="end_turn", length="max_tokens", tool_calls="tool_use",
    content_filter="refusal",
)
# What may be open -> more of its start, the type and the field of its deltas.
OPENINGS: Dict[str, Tuple[JSON, bytes, bytes]] = {
    "text": ({"text": ""}, b"text_delta", b"text"),
    "thinking": ({"thinking": "", "signature": ""}, b"thinking_delta", b"thinking"),
    "tool_use": ({"input": {}}, b"input_json_delta", b"partial_json"),
    "server_tool_use": ({"input": {}}, b"input_json_delta", b"partial_json"),
    "web_search_tool_result": ({}, b"", b""),
}
# Most of an answer: its JSON is put together by hand, 0.4 us instead of 2.
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"%b","%b":%b}}\n\n'
)


def anthropic_usage(usage: TokenUsage) -> JSON:
    """`usage` in Anthropic's words."""
    # Clients keep the estimate of message_start where a 0 follows (CLIENTS 1).
    read = usage.input or min(usage.prompt, 1)
    return dict(zip(USAGE_KEYS, usage._replace(input=read)))


class MessagesWriter:
    """A Sink that writes a Messages stream, or with `fold` only what whole() gives.

    What is told of one block between two take() goes out as one delta: bursts cost
    little. A tool block ends when other content comes, or the answer ends.
    """

    _open = ""  # the type of the open block
    _key: Hashable = None  # of the open call
    _index = -1
    _calls = 0

    def __init__(
        self, message_id: str, model: str, input_tokens: int = 0, *, fold: bool = False,
        thinking: bool = True,
    ) -> None:
        self._message: JSON = dict(
            id=message_id, type="message", role="assistant", model=model, content=[],
            stop_reason=None, stop_sequence=None,
            usage=anthropic_usage(TokenUsage(input_tokens)),
        )
        self._thinking = thinking  # asked for; else only what a call needs is told
        self._mute = fold  # no bytes are wanted, or none any more
        self._out: List[bytes] = []
        self._block: JSON = {}  # the start of the open one
        self._pending: List[str] = []  # told of it, not yet written
        self._text: List[str] = []  # what was
        self._signatures: List[str] = []  # not yet written
        self._refusal = ""

    def _add_piece(self, kind: str, text: str) -> None:
        if self._open != kind:
            if not text:
                return
            self._begin(kind)
        self._pending.append(text)

    text = functools.partialmethod(_add_piece, "text")

    def reasoning(self, text: str) -> None:
        if self._thinking:
            self._add_piece("thinking", text)

    def refusal(self, text: str) -> None:
        if not self._refusal:
            self.next_message()
        self._refusal += text
        self.text(text)

    def next_message(self) -> None:
        if self._open == "text":
            self._close()

    def opaque(self, data: str, source: str) -> None:
        self._signatures.append(pack_reasoning(data, source))
        # A call must not be broken in two. Where no thinking was asked for, an empty
        # block before the text would be content[0] of clients that read only that.
        if self._open != "tool_use" and self._thinking:
            self._sign()

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        self._begin("tool_use", id=call_id, name=name)
        self._calls += 1
        self._key = key

    def arguments(self, key: Hashable, fragment: str) -> None:
        if self._open == "tool_use" and key == self._key:
            self._pending.append(fragment)
        else:
            refuse_late(key, fragment)

    def search(self, query: str, pages: Mapping[str, str]) -> None:
        """Tell of a web search that was run for the answer: the titles of its pages."""
        self._message["usage"]["server_tool_use"] = {"web_search_requests": 1}
        about = {"type": "web_search_result", "page_age": None, "encrypted_content": ""}
        found = [dict(about, url=url, title=title) for url, title in pages.items()]
        tool_use_id = "srvtoolu_" + self._message["id"][4:]
        self._begin("server_tool_use", id=tool_use_id, name="web_search")
        self._pending.append(dumps_text({"query": query}))
        self._begin("web_search_tool_result", tool_use_id=tool_use_id, content=found)

    def end(self, reason: str, usage: TokenUsage, stop_sequence: str = "") -> None:
        """End the answer. A call that was cut stays as it is, as with Anthropic:
        clients go on after max_tokens (CLIENTS 1)."""
        self._start()
        self._close()
        if self._calls:
            self._sign()
        stop = STOP_REASONS.get(reason, reason)
        if stop in ("end_turn", "tool_use"):
            # Claude Code asks again for a tool_use without a call (CLIENTS 1).
            stop = "tool_use" if self._calls else "end_turn"
        if self._refusal:
            stop = "refusal"
        if stop_sequence:
            stop = "stop_sequence"
        delta: JSON = {"stop_reason": stop, "stop_sequence": stop_sequence or None}
        if stop == "refusal":
            words = self._refusal or "a content filter"
            details = {"type": stop, "category": None, "explanation": words}
            delta["stop_details"] = details
        self._message.update(delta)
        add_usage(self._message, {"usage": anthropic_usage(usage), **usage.cost})
        tokens = self._message["usage"]
        self._write_event("message_delta", delta=delta, usage=tokens, **usage.cost)
        self._write_event("message_stop")
        self._mute = True

    def error(self, exc: ProxyError) -> None:
        self._flush()
        self._write_event("error", **anthropic_error(exc))
        self._mute = True

    def take(self) -> bytes:
        self._flush()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def whole(self) -> JSON:
        return self._message

    def _start(self) -> None:
        if self._index < 0:
            self._write_event("message_start", message=self._message)

    def _begin(self, kind: str, **more: Any) -> None:
        self._close()
        if self._thinking or kind == "tool_use":
            self._sign()
        self._start()
        self._open = kind
        self._block = {"type": kind, **more, **OPENINGS[kind][0]}
        self._index += 1
        self._write_event(
            "content_block_start", index=self._index, content_block=self._block
        )

    def _sign(self) -> None:
        """Write the signatures, each behind thinking: the open block's or none."""
        pending = self._signatures
        self._signatures = []
        for signature in pending:
            if self._open != "thinking":
                self._begin("thinking")
            self._close(signature)

    def _close(self, signature: str = "") -> None:
        """End the open block; a thinking one is always signed, if with nothing, so that
        room 12 knows it as ours."""
        if not self._open:
            return
        self._flush()
        block = self._block
        if self._open == "thinking":
            block["signature"] = signature or pack_reasoning("", "")
            self._write_delta(b"signature_delta", b"signature", block["signature"])
        self._write_event("content_block_stop", index=self._index)
        text = "".join(self._text)
        if "input" in block:
            block["input"] = parse_object(text)
        elif text:
            block[self._open] = text
        # Of a call that was cut half must not run, and `input` cannot say so.
        if block.get("input", {}) is not None:
            self._message["content"].append(block)
        self._open = ""
        self._text = []

    def _flush(self) -> None:
        text = "".join(self._pending)
        if text:
            self._pending = []
            self._text.append(text)
            _, kind, key = OPENINGS[self._open]
            self._write_delta(kind, key, text)

    def _write_delta(self, kind: bytes, key: bytes, text: str) -> None:
        if not self._mute:
            self._out.append(DELTA % (self._index, kind, key, dumps(text)))

    def _write_event(self, event: str, **fields: Any) -> None:
        if not self._mute:
            self._out.append(encode_sse(event, {"type": event, **fields}))


# --- the pass-through -----------------------------------------------------------------


def restore_names(content: Any, names: Mapping[str, str]) -> bool:
    """Give the calls of a content the client's own names; whether one had another."""
    found = False
    for block in objects(content):
        name = text_at(block, "name")
        if block.get("type") == "tool_use" and name in names:
            block["name"] = names[name]
            found = True
    return found


# A JSON string whose bytes are UTF-8; one of many escapes is left to the parser.
_STRING = (
    rb'"[ !#-\[\]-~]*(?:(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|[\xc2-\xdf][\x80-\xbf]'
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb'|\xf0[\x90-\xbf][\x80-\xbf]{2})[ !#-\[\]-~]*){0,999}"'
)
# Events in the two orders of keys that were ever seen: whole JSON that tells neither a
# usage, nor a tool's name, nor the end, so that most of a stream need not be parsed.
# Behind them stands one that has to be, if any.
PLAIN_EVENTS = re.compile(
    rb"(?!\Z)\n*((?:event: content_block_\w+\ndata: \{(?:"
    rb'"type":"content_block_delta","index":\d+,"delta":\{"type":"\w+","\w+":%b\}|'
    rb'"delta":\{"\w+":%b,"type":"\w+"\},"index":\d+,"type":"content_block_delta"|'
    rb'"type":"content_block_stop","index":\d+|"index":\d+,"type":"content_block_stop"|'
    rb'"type":"content_block_start","index":\d+,"content_block":\{"type":"text",'
    rb'"text":""\}|"content_block":\{"text":"","type":"text"\},"index":\d+,'
    rb'"type":"content_block_start")\}\n\n)*)((?:(?:.+\n)+\n)?)' % (_STRING, _STRING)
)


class MessagesTap(StreamTranslator):
    """A StreamTranslator that passes events on as they came, and reads the usage.

    An event goes out when it is whole: no client could read what stood behind a half.
    `names` are the client's own for tools that had to be called otherwise.
    """

    def __init__(self, names: Mapping[str, str] = {}) -> None:
        super().__init__()
        self._names = names
        self._message: JSON = {"usage": {}}

    usage = property(lambda self: native_usage(self._message))

    def read_all(self, data: bytes) -> None:
        for plain, block in PLAIN_EVENTS.findall(self._decoder.whole(data)):
            if self.done:  # a second answer, or [DONE]: nothing that a client waits for
                return
            self._out.append(plain)
            event = block and parse_block(block)
            if event:
                self._out.append(self._restored(event, block))

    def _restored(self, event: SSEEvent, block: bytes) -> bytes:
        """Read an event; gives what the client is to see of it."""
        obj = messages_event(event, self._message)
        self.finished = self.done = obj.get("type") == "message_stop"
        if restore_names([obj.get("content_block")], self._names):
            return encode_sse(event.event, obj)
        return block

    def fail(self, exc: ProxyError) -> bytes:
        """What came before the failure, and an error event."""
        return self.take() + encode_sse("error", anthropic_error(exc))


# ============================================================================
# 10. OpenAI chat
# ============================================================================
# Chat completions on both sides: requests of OpenAI clients and for Copilot, its chunks
# read and chunks written (UPSTREAM 9).                            uses: 0, 2, 4, 5, 7-9
# Contract: no request is mutated; the same history gives the same messages in every
# turn, for the prompt cache; the sink is told the same on the fast and the full route.

# --- requests of chat clients ---------------------------------------------------------

SAME_IN_RESPONSES = {"verbosity": str, "prompt_cache_key": str, "metadata": dict}

# Gemini refuses calls that come back without their reasoning (UPSTREAM 9.1). Most
# clients keep only what OpenAI's API knows, but all keep ids: a call's id carries it.
CARRIED = "#" + SIGNATURE_MARK


def unpack_reasonings(words: str) -> List[Tuple[str, str]]:
    """(opaque, source) of every word of ours; ChatWriter gives them out."""
    return list(filter(None, map(unpack_reasoning, words.split())))


def uncarry(message: JSON) -> JSON:
    """A chat message with its calls' own ids, and what one carried in its own field."""
    answered, mark, _ = text_at(message, "tool_call_id").partition(CARRIED)
    if mark:
        return dict(message, tool_call_id=answered)
    calls = objects_at(message, "tool_calls")
    ids = [text_at(call, "id").partition(CARRIED) for call in calls]
    carried = [SIGNATURE_MARK + packed for _, mark, packed in ids if mark]
    if not carried:
        return message
    calls = [{**call, "id": own} for call, (own, _, _) in zip(calls, ids)]
    opaque = message.get("reasoning_opaque") or carried[0]
    return dict(message, tool_calls=calls, reasoning_opaque=opaque)


# What calls and tools may be, and the name of such a call's arguments.
ARGUMENTS = {"function": "arguments", "custom": "input"}


def _open_entry(entry: JSON, path: str, *kinds: str) -> Tuple[str, JSON, str]:
    """The type of an entry (absent: the first of `kinds`), what it holds under that
    name, and where that stands."""
    kind = field(entry, "type", str, path, kinds[0])
    one_of(kind, kinds, path)
    return kind, required(entry, kind, dict, path), f"{path}.{kind}"


def _parse_part(part: JSON, path: str) -> Any:
    kind = required_text(part, "type", path)
    if kind in ("text", "refusal"):
        return Text(text_field(part, kind, path))
    _, inner, path = _open_entry(part, path, "text", "image_url", "file")
    if kind == "image_url":
        url = required_text(inner, "url", path)
        return Image(url, text_field(inner, "detail", path))
    if inner.get("file_id"):
        raise BadRequest(f"{path}.file_id: no files are kept here; send file_data")
    url = required_text(inner, "file_data", path)
    return Document(url, text_field(inner, "filename", path))


def _parse_content(message: JSON, path: str) -> List[Any]:
    content = message.get("content") or ""
    if isinstance(content, str):
        return [Text(content)]
    return parse_list(message, "content", _parse_part, path)


def _parse_call(call: JSON, path: str) -> Call:
    call_id = required_text(call, "id", path)
    kind, inner, path = _open_entry(call, path, *ARGUMENTS)
    name = required_text(inner, "name", path)
    arguments = text_field(inner, ARGUMENTS[kind], path)
    if kind == "custom":
        arguments = dumps_text({"input": arguments})
    return Call(call_id, name, arguments)


def _parse_assistant(message: JSON, path: str) -> List[Any]:
    for key in ("function_call", "audio"):
        if message.get(key):
            raise BadRequest(f"{path}.{key}: send tool_calls or text")
    thoughts = []
    thought = text_field(message, "reasoning_content", path)
    packed = text_field(message, "reasoning_opaque", path)
    for opaque, source in unpack_reasonings(packed):
        thoughts.append(Reasoning(thought, opaque, source))
        thought = ""  # one text for all: the vendor reads only what is encrypted
    refusal = Text(text_field(message, "refusal", path))
    calls = parse_list(message, "tool_calls", _parse_call, path)
    return [*thoughts, *_parse_content(message, path), refusal, *calls]


TURN_ROLES = dict(
    system="system", developer="system", user="user", tool="user",
    assistant="assistant",
)  # role "function" went with functions


def _parse_turn(message: JSON, path: str) -> Turn:
    message = uncarry(message)
    role = required_word(message, "role", TURN_ROLES, path)
    parse = _parse_assistant if role == "assistant" else _parse_content
    parts = [part for part in parse(message, path) if part != Text("")]
    if role == "tool":
        parts = [Result(required_text(message, "tool_call_id", path), tuple(parts))]
    return Turn(TURN_ROLES[role], tuple(parts))


def parse_function(kind: str, tool: JSON, path: str) -> Tool:
    """Read what a tool of `kind` says; it is the same in chat and in Responses."""
    name = required_text(tool, "name", path)
    description = text_field(tool, "description", path)
    if kind == "custom":
        return custom_tool(name, description, object_field(tool, "format", path))
    schema = object_field(tool, "parameters", path)
    return Tool(name, description, schema, field(tool, "strict", bool, path), kind)


def _parse_tool(entry: JSON, path: str) -> Tool:
    return parse_function(*_open_entry(entry, path, *ARGUMENTS))


def _parse_choice(body: JSON, tools: Tuple[Tool, ...]) -> Tuple[str, Tuple[Tool, ...]]:
    """The hub's tool_choice, and the tools that are left to choose from."""
    choice = body.get("tool_choice")
    if choice in (None, *CHOICE_TYPES):
        return choice or "", tools
    kinds = (*ARGUMENTS, "allowed_tools")
    choice = field(body, "tool_choice", dict)
    kind, inner, path = _open_entry(choice, "tool_choice", *kinds)
    if kind != "allowed_tools":
        return "=" + required_text(inner, "name", path), tools
    mode = required_word(inner, "mode", ("auto", "required"), path)
    allowed = {tool.name for tool in parse_list(inner, "tools", _parse_tool, path)}
    left = tuple(tool for tool in tools if tool.name in allowed)
    if not left:
        raise BadRequest(f"{path}.tools: none of them is among the tools")
    return mode, left


def parse_format(form: JSON, path: str, holder: str) -> Optional[JSON]:
    """The hub's schema for the form of answers, which `holder` holds."""
    kinds = ("text", "json_object", "json_schema")
    kind = required_word(form, "type", kinds, path)
    if kind == "json_schema":
        named = required(form, kind, dict, path)
        required(named, "schema", dict, holder)
        return named
    return {} if kind == "json_object" else None


def parse_chat(body: JSON) -> Conversation:
    """Read a chat request for a model of another endpoint; raises BadRequest."""
    required(body, "messages", list)
    form = field(body, "response_format", dict, default={"type": "text"})
    tools = tuple(parse_list(body, "tools", _parse_tool))
    choice, tools = _parse_choice(body, tools)
    stops = body.get("stop")
    if isinstance(stops, str):
        stops = [stops]
    effort = text_field(body, "reasoning_effort")
    extra = {key: field(body, key, kind) for key, kind in SAME_IN_RESPONSES.items()}
    return Conversation(
        turns=join_turns(parse_list(body, "messages", _parse_turn)),
        tools=tools,
        tool_choice=choice,
        parallel=field(body, "parallel_tool_calls", bool),
        max_tokens=field(body, "max_completion_tokens", int)
        or field(body, "max_tokens", int),
        **samplers(body),
        stop=parse_stops({"stop": stops}, "stop"),
        effort=effort,
        thinking=effort not in ("", "none"),
        schema=parse_format(form, "response_format", "response_format.json_schema"),
        user=text_field(body, "user"),
        extra=given(**extra),
    )


def needs_translation(body: JSON) -> bool:
    """Whether a chat request says what Copilot's chat endpoint was never seen to take:
    custom tools, and a choice among some of the tools. The hub can say both."""
    named = [body.get("tool_choice"), *list_at(body, "tools")]
    kinds = {text_at(each, "type") for each in named}
    return "custom" in kinds or "allowed_tools" in kinds


def has_files(body: JSON) -> bool:
    """Whether a document is anywhere in a chat request."""
    return any(
        part.get("type") == "file"
        for message in objects_at(body, "messages")
        for part in objects_at(message, "content")
    )


# --- requests for Copilot -------------------------------------------------------------


def chat_source(model: Model) -> str:
    """Who made an encrypted reasoning of this endpoint: only they can read it."""
    return "chat:" + model.maker


def _encode_part(part: Any) -> JSON:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Document):
        name = part.title or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": part.url}}
    image = {"url": part.url, **given(detail=part.detail)}
    return {"type": "image_url", "image_url": image}


def _encode_content(parts: List[Any]) -> Any:
    """A string where there is only text."""
    if all(isinstance(part, Text) for part in parts):
        return text_of(parts)
    return list(map(_encode_part, parts))


def _encode_turn(turn: Turn, source: str) -> List[JSON]:
    """The messages of a turn, results first; `source` can read its own reasoning."""
    messages: List[JSON] = []
    rest: List[Any] = []
    calls = []
    thoughts = ""
    opaque = ""
    for part in turn.parts:
        if isinstance(part, Call):
            function = {"name": part.name, "arguments": part.arguments or "{}"}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, Result):
            content = text_of(part.spoken)
            moved = [inner for inner in part.parts if not isinstance(inner, Text)]
            if moved:  # a tool message holds only text
                content = content or "(see the next message)"
                rest += [Text(f"From the result of tool call {part.call_id}:"), *moved]
            result = {"role": "tool", "tool_call_id": part.call_id, "content": content}
            messages.append(result)
        elif not isinstance(part, Reasoning):
            rest.append(part)
        elif part.source in ("", source):
            # Gemini's opaque comes blocks after its text and wants that text back
            # beside it (UPSTREAM 9.1, 9.3), so text is given back unless another
            # vendor's opaque came with it.
            thoughts += part.text
            opaque = part.opaque or opaque
    content = _encode_content(rest)
    message: JSON = {"role": turn.role, "content": content or None}
    if opaque:
        message.update(reasoning_text=thoughts, reasoning_opaque=opaque)
    message.update(given(tool_calls=calls))
    if content or calls:
        messages.append(message)
    return messages


def _encode_tool(tool: Tool) -> JSON:
    function = {"name": tool.name, "parameters": tool.schema}
    function.update(given(description=tool.description, strict=tool.strict))
    return {"type": "function", "function": function}


def encode_chat(conversation: Conversation, model: Model) -> JSON:
    """The chat request for a conversation; room 12 fits it: names its limit too."""
    source = chat_source(model)
    messages: List[JSON] = []
    for turn in conversation.turns:
        messages += _encode_turn(turn, source)
    choice: Any = conversation.tool_choice
    if choice.startswith("="):
        choice = {"type": "function", "function": {"name": choice[1:]}}
    parallel = conversation.parallel
    if not conversation.tools:  # OpenAI refuses the two without
        choice = parallel = None
    body = {
        "model": model.id,
        "stream": True,
        "messages": messages,
        **conversation.extra,
        **given(
            max_tokens=conversation.max_tokens, temperature=conversation.temperature,
            top_p=conversation.top_p, stop=list(conversation.stop),
            reasoning_effort=conversation.effort, user=conversation.user,
            tools=list(map(_encode_tool, conversation.tools)), tool_choice=choice,
            parallel_tool_calls=parallel,
        ),
    }
    if conversation.schema:
        schema = {"name": "answer", **conversation.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif conversation.schema is not None:
        body["response_format"] = {"type": "json_object"}
    return body


# --- Copilot's answers ----------------------------------------------------------------

REASONING_FIELDS = ("reasoning_text", "cot_summary", "thinking", "reasoning_content")
OPAQUE_FIELDS = ("reasoning_opaque", "signature")


def _first_words(delta: JSON, keys: Tuple[str, ...]) -> str:
    """Of several names for one thing, the first that holds words."""
    for key in keys:
        words = text_at(delta, key)
        if words:
            return words
    return ""


def _filter_text(choice: JSON, delta: JSON) -> str:
    """What Copilot's filter objected to, in words (UPSTREAM 9.4)."""
    results = object_at(choice, "content_filter_results").items()
    causes = [name for name, result in results if typed(result, "filtered", bool)]
    causes += object_at(delta, "copilot_annotations")
    reason = f" ({', '.join(causes)})" if causes else ""
    return f"Copilot's content filter stopped this answer{reason}."


class _OpenCall:
    """A tool call under way; arguments that come before its name are held."""

    name = ""
    held = ""
    empty = True  # no argument went on

    def __init__(self, call_id: str) -> None:
        self.id = call_id


def _one_string(raw: bytes) -> Optional[str]:
    """What a JSON string without its first quote spells; None if that is not all."""
    try:
        text = raw.decode("utf-8")
        words, end = json.decoder.scanstring(text, 0)
    except ValueError:  # the full parse says what is wrong
        return None
    return words if end == len(text) else None


class ChatReader(Reader):
    """Read Copilot's chunks, by every rule of UPSTREAM 9.4 and 9.5.

    `source` is chat_source() of the model; encrypted reasoning is told as its work.
    """

    _has_content = False
    _latest: Optional[_OpenCall] = None
    # Of the last chunk, if it was plain: the bytes around its words, and their taker.
    _frame: Optional[Tuple[bytes, bytes, Callable[[str], None]]] = None

    def __init__(self, source: str = "") -> None:
        self._source = source
        self._calls: Dict[str, _OpenCall] = {}  # by id
        self._at: Dict[Optional[int], _OpenCall] = {}  # the latest of each index

    def read(self, event: SSEEvent, sink: Sink) -> None:
        """Give one event to `sink`; raises ProxyError on an error inside it."""
        if self._frame:
            # What stands between the known bytes is one whole JSON string, so the rest
            # of the document was parsed just before: 0.8 us instead of 5 to 15.
            head, tail, put = self._frame
            data = event.data
            if data.startswith(head) and data.endswith(tail):
                words = _one_string(data[len(head) : len(data) - len(tail) + 1])
                if words:
                    put(words)
                if words is not None:
                    return
        self._frame = None
        if not self.done:
            self._read_chunk(event, sink)

    def _learn_frame(self, data: bytes, put: Callable[[str], None], words: str) -> None:
        """Keep what surrounds the words of a chunk that says nothing else."""
        value = dumps(words)
        head, colon, tail = data.partition(b":" + value)
        rest = head + tail
        # The only such string, and no other has escapes: it is what was said.
        if colon and value not in rest and b"\\" not in rest:
            self._frame = (head + b':"', b'"' + tail, put)

    def _read_chunk(self, event: SSEEvent, sink: Sink) -> None:
        if event.data.strip() == b"[DONE]":
            # Nothing follows; alone it ends an answer that had said something.
            self.done = True
            if not self.finish_reason and (self._has_content or self._calls):
                self._finish("stop", sink)
            return
        chunk = event_object(event)
        failed = "error" in (event.event, chunk.get("type"))
        if failed or chunk.get("error") or chunk.get("copilot_errors"):
            raise error_in_stream(chunk)
        self.model = text_at(chunk, "model") or self.model
        self._read_usage(chunk)
        # Split ones are one answer; whole ones come as a message (UPSTREAM 9.5).
        handed: List[Any] = []
        for choice in objects_at(chunk, "choices"):
            delta = object_at(choice, "delta") or object_at(choice, "message")
            handed += self._read_delta(delta, chunk, sink)
            reason = text_at(choice, "finish_reason")
            if reason == "content_filter" and self.finish_reason != reason:
                sink.refusal(_filter_text(choice, delta))
            if reason:
                self._finish(reason, sink)
        if len(handed) == 1 and handed[0]:
            self._learn_frame(event.data, *handed[0])

    def _read_usage(self, chunk: JSON) -> None:
        if chunk.get("usage") or chunk.get("copilot_usage"):
            usage = openai_usage(chunk)
            nano_aiu = usage.nano_aiu or self.usage.nano_aiu
            if not usage.prompt and not usage.output:  # Gemini's, with every chunk
                usage = self.usage
            self.usage = usage._replace(nano_aiu=nano_aiu)

    def _read_delta(self, delta: JSON, chunk: JSON, sink: Sink) -> List[Any]:
        """Tell a delta; what was told to whom, None where that is not all."""
        parts = [text_at(part, "text") for part in list_at(delta, "content")]
        content = text_at(delta, "content") or "".join(parts)
        refusal = text_at(delta, "refusal")
        if content or refusal:
            self._has_content = True
        opaque = _first_words(delta, OPAQUE_FIELDS)
        handed: List[Any] = [
            (sink.reasoning, _first_words(delta, REASONING_FIELDS)),
            (lambda data: sink.opaque(data, self._source), opaque),
            (sink.text, content),
            (sink.refusal, refusal),
        ]
        handed = [each for each in handed if each[1]]
        for put, words in handed:
            put(words)
        for call in objects_at(delta, "tool_calls"):
            handed.append(self._read_call(call, chunk, sink))
        return handed

    def _read_call(self, delta: JSON, chunk: JSON, sink: Sink) -> Any:
        function = object_at(delta, "function")
        name = text_at(function, "name")
        call = self._latest = self._call_for(delta, name, chunk)
        arguments = function.get("arguments") or ""
        is_plain = call.name and arguments and isinstance(arguments, str)
        if name and not call.name:
            call.name = name
            sink.call(call.id, call.id, name)
            if self.finish_reason == "stop":  # the other half of a split answer
                self.finish_reason = "tool_calls"
        if not isinstance(arguments, str):
            arguments = dumps_text(arguments)
        call.held += arguments
        if not call.held or not call.name:
            return None
        put = functools.partial(sink.arguments, call.id)
        put(call.held)
        call.held = ""
        call.empty = False
        return (put, arguments) if is_plain else None

    def _call_for(self, delta: JSON, name: str, chunk: JSON) -> _OpenCall:
        """The call of a fragment: by id, by index, or the latest one; another name
        begins another call where no id tells them apart (UPSTREAM 9.4)."""
        call_id = text_at(delta, "id")
        index = delta.get("index")
        call = self._calls.get(call_id)
        if type(index) is not int:
            index = None
        if not call_id:
            call = self._at.get(index, self._latest)
            named = call and name and call.name
            if named and (index not in self._at or name != call.name):
                call = None
        if call is None:
            call_id = call_id or f"call_{text_at(chunk, 'id')}_{len(self._calls)}"
            call = self._calls[call_id] = _OpenCall(call_id)
        if index is not None:
            self._at[index] = call
        return call

    def _finish(self, reason: str, sink: Sink) -> None:
        if reason == "error":
            raise UpstreamError("the model ended its answer with an error; try again")
        self.finish_reason = reason
        if reason in ("length", "content_filter"):
            return
        # What was sent decides, not the upstream's word (UPSTREAM 9.4).
        self.finish_reason = "tool_calls" if self._calls else "stop"
        for call in self._calls.values():
            if not call.name:
                raise UpstreamError("the upstream called a nameless tool; try again")
            if call.empty:  # no arguments are {} (UPSTREAM 9.4)
                call.empty = False
                sink.arguments(call.id, "{}")


# --- answers for chat clients ---------------------------------------------------------


def _accounts(usage: TokenUsage) -> JSON:
    """What an answer says of its cost."""
    return {
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.output,
            "total_tokens": usage.prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        },
        **usage.cost,
    }


class ChatWriter:
    """A Sink that writes chat chunks or, with `fold`, keeps what whole() returns.

    Reasoning goes out as `reasoning_content`, which opencode and Continue read;
    encrypted reasoning as `reasoning_opaque`: packed words with a space between, which
    uncarry and parse_chat take back. `custom` are the names of the custom tools.
    """

    _reason = ""  # why it ended
    _carried = ""  # what the next call's id is to carry

    def __init__(
        self, completion_id: str, model: str, created: int, include_usage: bool, *,
        fold: bool = False, custom: Container[str] = (),
    ) -> None:
        self._about: JSON = dict(
            id=completion_id, object="chat.completion.chunk", created=created,
            model=model,
        )
        self._include_usage = include_usage
        self._fold = fold
        self._custom = custom
        self._pieces: Dict[Any, List[str]] = {}  # with fold: the texts by their key
        self._frames: Dict[Any, Tuple[bytes, ...]] = {}  # else: the bytes around one
        self._calls: Dict[Hashable, Tuple[int, JSON]] = {}  # with their indexes
        self._inputs: Dict[int, List[str]] = {}  # of custom calls, till they are whole
        self._out: List[bytes] = []
        self._write_chunk({"role": "assistant", "content": ""})

    def _with_choice(self, key: str, words: JSON, reason: Optional[str]) -> JSON:
        choice = {"index": 0, key: words, "logprobs": None, "finish_reason": reason}
        return dict(self._about, choices=[choice])

    def _write_chunk(self, delta: JSON, reason: Optional[str] = None) -> None:
        if not self._fold:
            self._out.append(encode_sse("", self._with_choice("delta", delta, reason)))

    def _put(self, key: Any, text: str) -> None:
        """Add to a field of the message, or to a call's arguments by its index."""
        if self._fold:
            self._pieces.setdefault(key, []).append(text)
            return
        if key not in self._frames:  # 0.4 us for each delta instead of 4
            delta: JSON = {key: "\0"}
            if isinstance(key, int):
                kind = "custom" if key in self._inputs else "function"
                delta = {"tool_calls": [{"index": key, kind: {ARGUMENTS[kind]: "\0"}}]}
            chunk = encode_sse("", self._with_choice("delta", delta, None))
            self._frames[key] = chunk.rpartition(b'"\\u0000"')
        head, _, tail = self._frames[key]
        # A lone surrogate has no UTF-8; its backslash form is its JSON escape.
        encoded = json_string(text).encode("utf-8", "backslashreplace")
        self._out.append(head + encoded + tail)

    text = functools.partialmethod(_put, "content")
    reasoning = functools.partialmethod(_put, "reasoning_content")
    refusal = functools.partialmethod(_put, "refusal")

    def next_message(self) -> None:
        self.text("\n\n")  # there is but one text

    def opaque(self, data: str, source: str) -> None:
        # Clients join what comes in pieces: the space keeps them apart.
        packed = pack_reasoning(data, source)
        self._put("reasoning_opaque", packed + " ")
        if source.startswith("chat:"):  # Responses takes calls without
            self._carried = "#" + packed

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        index = len(self._calls)
        kind = "custom" if name in self._custom else "function"
        call = {
            "id": call_id + self._carried, "type": kind,
            kind: {"name": name, ARGUMENTS[kind]: ""},
        }
        self._carried = ""
        self._calls[key] = (index, call)
        self._write_chunk({"tool_calls": [{"index": index, **call}]})

    def arguments(self, key: Hashable, fragment: str) -> None:
        index, call = self._calls[key]
        if call["type"] == "custom":  # wrapped: unwrapped when it is whole
            self._inputs.setdefault(index, []).append(fragment)
        else:
            self._put(index, fragment)

    def end(self, reason: str, usage: TokenUsage, stop_sequence: str = "") -> None:
        """Write the finish chunk, the usage when it was asked for, and [DONE]."""
        if self._reason:
            return
        for index, fragments in self._inputs.items():
            self._put(index, unwrap_input("".join(fragments)))
        self._reason = reason
        self._write_chunk({}, reason)
        self._about.update(_accounts(usage))  # which whole() shows in any case
        if self._include_usage:
            self._out.append(encode_sse("", {**self._about, "choices": []}))
        self._out.append(SSE_DONE)

    def error(self, exc: ProxyError) -> None:
        """Write one error chunk; no [DONE] follows, for the answer is not done."""
        if not self._reason:
            self._reason = "error"
            self._out.append(encode_sse("", openai_error(exc)))

    def take(self) -> bytes:
        """The bytes written since the last call; none with `fold`."""
        out = b"" if self._fold else b"".join(self._out)
        self._out = []
        return out

    def whole(self) -> JSON:
        """The chat.completion that the chunks add up to, after end()."""
        texts = {key: "".join(pieces) for key, pieces in self._pieces.items()}
        calls = []
        for index, call in self._calls.values():
            kind = call["type"]
            inner = {**call[kind], ARGUMENTS[kind]: texts.pop(index, "")}
            calls.append({**call, kind: inner})
        message = {"role": "assistant", "content": None if calls else "", **texts}
        message.update(given(tool_calls=calls))
        answer = self._with_choice("message", message, self._reason)
        return {**answer, "object": "chat.completion"}


# --- the two small APIs beside chat ---------------------------------------------------

LEGACY_ENGINE = "copilot-codex"  # the original's (UPSTREAM 14)


def encode_embeddings(answer: JSON, model: Model, form: Any) -> JSON:
    """The upstream's embeddings as OpenAI's SDKs read them.

    They ask for base64 of little-endian float32 without being told to, and Node's makes
    nothing of a list of floats then (UPSTREAM 22.6).
    """
    data = []
    for at, entry in enumerate(objects_at(answer, "data")):
        item = {"object": "embedding", "index": at, **entry}
        if form == "base64":
            numbers = list_at(entry, "embedding")
            packed = struct.pack(f"<{len(numbers)}f", *numbers)
            item["embedding"] = base64.b64encode(packed).decode("ascii")
        data.append(item)
    return {**answer, "object": "list", "model": model.id, "data": data}


def prepare_completion(body: JSON) -> Tuple[str, JSON]:
    """Engine and body for legacy autocomplete, which only streams (UPSTREAM 14)."""
    required_text(body, "prompt")
    engine = text_field(body, "model") or LEGACY_ENGINE
    if not re.fullmatch(r"[\w.-]{1,64}", engine, re.ASCII):
        raise BadRequest(f"model: expected the name of an engine, as {LEGACY_ENGINE}")
    prepared = {**body, "stream": True}
    prepared.pop("model", None)
    return engine, prepared


class CompletionStream(StreamTranslator):
    """Legacy completions: events as they are, and their texts for whole()."""

    def __init__(self, engine: str) -> None:
        super().__init__()
        self._choices: Dict[int, JSON] = {}  # by their index
        self._about: JSON = dict(
            id="cmpl-0", object="text_completion", created=0, model=engine,
        )

    def _read(self, event: SSEEvent) -> None:
        if event.data.strip() == b"[DONE]":
            self.finished = self.done = True
            return
        chunk = event_object(event)
        if chunk.get("error"):
            raise error_in_stream(chunk)
        self._about.update(given(id=chunk.get("id"), created=chunk.get("created")))
        for choice in objects_at(chunk, "choices"):
            index = count_at(choice, "index")
            fresh = {"index": index, "text": "", "logprobs": None}
            kept = self._choices.setdefault(index, fresh)
            kept["text"] += text_at(choice, "text")
            reason = choice.get("finish_reason")
            kept["finish_reason"] = reason or kept.get("finish_reason", "stop")
        if chunk.get("usage"):
            self.usage = openai_usage(chunk)
        self._out.append(frame_event("", event.data))

    def finish(self) -> bytes:
        """The end; raises UpstreamError when the upstream had not finished."""
        return super().finish() + SSE_DONE

    def whole(self) -> JSON:
        """The answer for stream:false."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        return {**self._about, "choices": choices, **_accounts(self.usage)}


# ============================================================================
# 11. OpenAI Responses
# ============================================================================
# Requests of Responses clients and for Copilot, its events read and events written, the
# memory of answers, the pass-through, web search (UPSTREAM 10, 22.4; CLIENTS 2-4, 8).
#                                                                 uses: 0, 2, 4, 5, 7-10
# Contract: upstream items are known by output_index, never by id, because Copilot
# encrypts ids anew in every event; what only a `done` event says is neither lost nor
# said twice; an item is the same in its `done` event and in the whole answer.

ENCRYPTED = "reasoning.encrypted_content"
REASONERS = r"o\d|gpt-[5-9]"  # models that reason, whatever the catalogue says
# These want to hear which of their messages were asides (UPSTREAM 22.4).
PHASED = re.compile(r"gpt-(?:5\.[3-9]|[6-9])")


def takes_reasoning(model: Model) -> bool:
    """Whether a model may be told how to reason."""
    return bool(model.efforts or re.match(REASONERS, model.id))


def responses_source(model: Model) -> str:
    """Who made an encrypted reasoning of this endpoint; it is OpenAI's own."""
    return "responses:" + (model.maker or "openai")


# --- requests of Responses clients ----------------------------------------------------

# Tools of OpenAI's own that the client runs: what a model is offered, what else an item
# of a call says, and its member that holds the arguments, with what must be in them.
CLIENT_TOOLS: Dict[str, JSON] = loads(b"""{
  "local_shell": {
    "description": "Run a command on the user's machine.",
    "parameters": {"type": "object", "required": ["command"], "properties": {
      "command": {"type": "array", "items": {"type": "string"}},
      "working_directory": {"type": "string"}, "timeout_ms": {"type": "integer"}
    }},
    "item": {}, "member": "action", "blank": {"type": "exec", "env": {}, "command": []}
  },
  "shell": {
    "description": "Run shell commands on the user's machine.",
    "parameters": {"type": "object", "required": ["commands"], "properties": {
      "commands": {"type": "array", "items": {"type": "string"}},
      "timeout_ms": {"type": "integer"}, "max_output_length": {"type": "integer"}
    }},
    "item": {}, "member": "action", "blank": {}
  },
  "apply_patch": {
    "description": "Create, change or delete a file.",
    "parameters": {"type": "object", "required": ["type", "path"], "properties": {
      "type": {"enum": ["create_file", "update_file", "delete_file"]},
      "path": {"type": "string"},
      "diff": {"type": "string", "description": "a V4A diff; none to delete"}
    }},
    "item": {}, "member": "operation", "blank": {}
  },
  "tool_search": {
    "description": "Find more tools.",
    "parameters": {"type": "object", "required": ["query"],
      "properties": {"query": {"type": "string"}}},
    "item": {"execution": "client"}, "member": "arguments", "blank": {}
  }
}""")
# Run by OpenAI's servers. Codex always offers the first, so a model without it does
# without; what has no such use would be another task without its tool.
SPARED_TOOLS = ("web_search", "image_generation")
# Calls that have a name, and the member that holds their arguments.
NAMED_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
CALLS = (*NAMED_CALLS, *(kind + "_call" for kind in CLIENT_TOOLS))
RESULTS = tuple(kind + "_output" for kind in (*CALLS, "tool_search"))


def input_items(body: JSON) -> List[Any]:
    """The input of a Responses request as a list, whatever it is."""
    words = text_at(body, "input")
    return [{"role": "user", "content": words}] if words else list_at(body, "input")


class ToolTable:
    """The tools of a Responses request, and those that its searches found, each a
    function of its own name: no other API has namespaces."""

    def __init__(self, body: JSON) -> None:
        self.tools: Dict[str, Tool] = {}
        self.left_out: Dict[str, None] = {}
        self._flat: Dict[Tuple[str, str], str] = {}
        # A name in a namespace gives way: the others go up as they are.
        self._plain = {text_at(one, "name") for one in objects_at(body, "tools")}
        add = functools.partial(self._add_tool, "")
        parse_list(body, "tools", add)
        for at, item in enumerate(input_items(body)):
            if text_at(item, "type") == "tool_search_output":
                parse_list(item, "tools", add, f"input.{at}")

    def name_of(self, item: JSON) -> str:
        """What the model knows the function of a call, or of a choice, as."""
        name = text_at(item, "name" if "name" in item else "type")
        namespace = text_at(item, "namespace")
        flat = f"{namespace.rstrip('_')}__{name}" if namespace else name
        return self._flat.get((namespace, name), flat)

    def _add_tool(self, namespace: str, tool: JSON, path: str) -> None:
        kind = required_text(tool, "type", path)
        if kind.startswith(SPARED_TOOLS):
            self.left_out["tool " + kind] = None
            return
        if kind == "namespace":
            inner = text_field(tool, "name", path) or kind
            parse_list(tool, "tools", functools.partial(self._add_tool, inner), path)
            return
        if kind in CLIENT_TOOLS:
            tool = {**CLIENT_TOOLS[kind], **given(**tool), "name": kind}
        elif kind not in ARGUMENTS:
            raise BadRequest(
                f"{path}: a tool of type {kind[:40]!a} is run by OpenAI's servers, "
                "which Copilot does not offer; use a function or an MCP server of your "
                "client",
                code="unsupported_tool",
            )
        made = parse_function(kind, tool, path)
        place = (namespace, made.name)
        flat = self.name_of({"namespace": namespace, "name": made.name})
        if place not in self._flat:
            while flat in self.tools or namespace and flat in self._plain:
                flat += "_"  # so that two of one name do not become one
        self._flat[place] = flat
        self.tools[flat] = made._replace(name=flat, own=made.name, namespace=namespace)


def _parse_input_part(part: JSON, path: str) -> Any:
    kind = required_text(part, "type", path)
    if kind.endswith("text"):
        return Text(text_field(part, "text", path))
    if kind == "refusal":
        return Text(text_field(part, kind, path))
    if part.get("file_id") or part.get("file_url"):
        raise BadRequest(f"{path}: Copilot keeps no files; send the data itself")
    if kind == "input_image":
        detail = text_field(part, "detail", path)
        return Image(required_text(part, "image_url", path), detail)
    if kind == "input_file":
        url = required_text(part, "file_data", path)
        return Document(url, text_field(part, "filename", path))
    raise BadRequest(
        f"{path}: a part of type {kind[:40]!a} cannot be sent to this model"
    )


def _parse_input_content(holder: JSON, key: str, path: str) -> Tuple[Any, ...]:
    content = holder.get(key)
    if isinstance(content, str):
        parts = [Text(content)]
    else:
        parts = parse_list(holder, key, _parse_input_part, path)
    return tuple(part for part in parts if part != Text(""))


INPUT_ROLES = ("user", "assistant", "system", "developer")
COMPACTED = "copilot-claude-proxy:summary"  # the source of a summary that we made
SUMMARY_LEAD = "What happened so far in this conversation:\n\n"
LOST_SUMMARY = (
    "[The earlier part of this conversation was compacted by another model and cannot "
    "be read by this one.]"
)
SUMMARY_PROMPT = (
    "Summarise this conversation for a colleague who goes on with it and sees nothing "
    "but your summary: the user's wishes in their words, what was done and decided and "
    "why, files, names, figures and commands that matter, what failed, and what is to "
    "be done next. Write the summary only."
)
# What OpenAI's servers did in an earlier turn; the members that are words.
SERVER_ITEMS = re.compile(
    r"(?:web_search|file_search|code_interpreter|image_generation|computer|mcp)_call"
    r"(?:_output)?|mcp_\w{1,40}"
)
WORDS = ("action", "queries", "name", "arguments", "code", "output", "error", "tools")


def summary_text(item: JSON) -> str:
    """The words that stand for a compaction item, or for the wish for one."""
    if item.get("type") == "compaction_trigger":
        return SUMMARY_PROMPT
    ours = unpack_reasoning(text_at(item, "encrypted_content"))
    if ours and ours[1] == COMPACTED:
        return SUMMARY_LEAD + ours[0]
    return LOST_SUMMARY


def call_arguments(item: JSON) -> str:
    """The arguments of a call as JSON text, whatever its kind calls them."""
    if "input" in item:
        return dumps_text({"input": item["input"]})
    held = item.get("arguments") or item.get("action") or item.get("operation") or {}
    return held if isinstance(held, str) else dumps_text(held)


def _parse_result(table: ToolTable, kind: str, item: JSON, path: str) -> Result:
    call_id = required_text(item, "call_id", path)
    output = item.get("output") or ""
    if kind == "tool_search_output":
        found = [
            table.name_of(tool._replace(name=tool.own)._asdict())
            for tool in ToolTable({"tools": item.get("tools")}).tools.values()
        ]
        output = "Found tools: %s" % (", ".join(found) or "none")
    elif kind.removesuffix("_output") in NAMED_CALLS:
        return Result(call_id, _parse_input_content(item, "output", path))
    elif not isinstance(output, str):
        output = dumps_text(output)
    return Result(call_id, (Text(output),))


def _parse_item(table: ToolTable, item: JSON, path: str) -> Turn:
    kind = text_field(item, "type", path) or "message"
    if kind == "message":
        role = required_word(item, "role", INPUT_ROLES, path)
        content = _parse_input_content(item, "content", path)
        return Turn(role.replace("developer", "system"), content)
    if kind in RESULTS:
        return Turn("user", (_parse_result(table, kind, item, path),))
    if kind.startswith("compaction"):
        return Turn("user", (Text(summary_text(item)),))
    parts: Tuple[Any, ...] = ()
    if kind in CALLS:
        call_id = required_text(item, "call_id", path)
        name = kind.removesuffix("_call")
        if kind in NAMED_CALLS:
            required_text(item, "name", path)
            text_field(item, NAMED_CALLS[kind], path)
            name = table.name_of(item)
        parts = (Call(call_id, name, call_arguments(item)),)
    elif kind == "reasoning":
        ours = unpack_reasoning(text_field(item, "encrypted_content", path))
        if ours and ours[0]:  # else only its own model can read it
            thought = text_of(_parse_input_content(item, "summary", path))
            parts = (Reasoning(thought, *ours),)
    elif SERVER_ITEMS.fullmatch(kind):
        about = {key: item[key] for key in WORDS if key in item}
        parts = (Text(f"[{kind} {dumps_text(about)}]"),)
    else:
        raise BadRequest(
            f"{path}: an item of type {kind[:40]!a} cannot be sent to this model"
        )
    return Turn("assistant", parts)


def _choice_among(body: JSON, table: ToolTable) -> str:
    """The choice; where only some are allowed, the others are not offered then."""
    choice = body.get("tool_choice")
    if choice in (None, *CHOICE_TYPES):
        return choice or ""
    kind = required_text(expect(choice, dict, "tool_choice"), "type", "tool_choice")
    if kind.startswith(SPARED_TOOLS):
        table.left_out["tool_choice " + kind] = None
        return ""
    names = dict.fromkeys(map(table.name_of, objects(choice.get("tools", [choice]))))
    chosen = {name: tool for name, tool in table.tools.items() if name in names}
    if not chosen:
        wanted = ", ".join(names)[:64]
        raise BadRequest(f"tool_choice: {wanted!a} is not among the tools")
    if kind != "allowed_tools":
        return "=" + table.name_of(choice)
    table.tools = chosen
    choice = {"mode": "auto", **choice}
    return required_word(choice, "mode", ("auto", "required"), "tool_choice")


def parse_responses(body: JSON) -> Conversation:
    """Read a request, after ResponseMemory.expand(), for a model of another endpoint;
    raises BadRequest."""
    table = ToolTable(body)
    text_field(body, "instructions")  # a list of parts is only for content
    turns = [Turn("system", _parse_input_content(body, "instructions", ""))]
    if not isinstance(body.get("input"), str):
        required(body, "input", list)
    listed = {"input": input_items(body)}
    turns += parse_list(listed, "input", functools.partial(_parse_item, table))
    reasoning = object_field(body, "reasoning")
    text = object_field(body, "text")
    form = field(text, "format", dict, "text", {"type": "text"})
    # In chat all but the type stands one level deeper.
    named = {key: form[key] for key in form if key != "type"}
    choice = _choice_among(body, table)
    return Conversation(
        turns=join_turns(turns),
        tools=tuple(table.tools.values()),
        tool_choice=choice if table.tools else "",
        parallel=field(body, "parallel_tool_calls", bool),
        max_tokens=field(body, "max_output_tokens", int),
        **samplers(body),
        effort=text_field(reasoning, "effort", "reasoning"),
        thinking=bool(reasoning.get("summary")),
        schema=parse_format(
            {**form, "json_schema": named}, "text.format", "text.format"
        ),
        user=text_field(body, "user") or text_field(body, "prompt_cache_key"),
        extra=given(verbosity=text_field(text, "verbosity", "text")),
        left_out=tuple(table.left_out),
    )


# --- requests for Copilot -------------------------------------------------------------


def _content_part(part: Any, role: str) -> JSON:
    if isinstance(part, Image):
        detail = part.detail or "auto"
        return {"type": "input_image", "image_url": part.url, "detail": detail}
    if isinstance(part, Document):
        name = part.title or "document.pdf"
        return {"type": "input_file", "filename": name, "file_data": part.url}
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": kind, "text": part.text}


def _item_of(part: Any, role: str) -> JSON:
    # Without ids: those of another connection are refused (UPSTREAM 10.1).
    if isinstance(part, Call):
        return dict(
            type="function_call", call_id=part.id, name=part.name,
            arguments=part.arguments or "{}",
        )
    if isinstance(part, Reasoning):
        summary = {"type": "summary_text", "text": part.text}
        return {
            "type": "reasoning", "encrypted_content": part.opaque,
            "summary": [summary] if part.text else [],
        }
    if isinstance(part, Result):
        output: Any = text_of(part.spoken)
        if not all(isinstance(inner, Text) for inner in part.spoken):
            output = [_content_part(inner, "user") for inner in part.spoken]
        return {
            "type": "function_call_output", "call_id": part.call_id, "output": output,
        }
    return {"type": "message", "role": role, "content": [_content_part(part, role)]}


def _turn_items(turn: Turn, model: Model) -> List[JSON]:
    items: List[JSON] = []
    source = responses_source(model)
    is_phased = turn.role == "assistant" and PHASED.match(model.id)
    for part in turn.parts:
        if isinstance(part, Reasoning) and part.source != source:
            continue  # only who made it can read it
        item = _item_of(part, turn.role)
        goes_on = items and item["type"] == items[-1]["type"] == "message"
        if goes_on and not is_phased:
            items[-1]["content"] += item["content"]
        else:
            items.append(item)
    while items and items[-1]["type"] == "reasoning":
        items.pop()  # refused without what it led to
    phase = "final_answer"
    for item in reversed(items if is_phased else []):
        if item["type"] == "message":
            item["phase"] = phase
        phase = "commentary"  # whatever stands before something else
    return items


def encode_responses(conv: Conversation, model: Model) -> JSON:
    """The request for a conversation, all but what room 12 sets for every client, and
    `stop`, which Responses does not have."""
    text = given(verbosity=conv.extra.get("verbosity"))
    if conv.schema is not None:
        text["format"] = {"type": "json_object"}
    if conv.schema:
        text["format"] = {"type": "json_schema", "name": "answer", **conv.schema}
    tools = [
        dict(
            type="function", name=tool.name, strict=bool(tool.strict),
            description=tool.description, parameters=tool.schema,
        )
        for tool in conv.tools
    ]
    choice: Any = conv.tool_choice
    if choice.startswith("="):
        choice = {"type": "function", "name": choice[1:]}
    return given(
        **{"prompt_cache_key": conv.user, **conv.extra, "verbosity": None}, text=text,
        input=[item for turn in conv.turns for item in _turn_items(turn, model)],
        max_output_tokens=conv.max_tokens, temperature=conv.temperature,
        top_p=conv.top_p,
        reasoning=given(effort=conv.effort, summary="auto" if conv.thinking else ""),
        tools=tools, tool_choice=choice, parallel_tool_calls=conv.parallel,
    )


# --- Copilot's answers ----------------------------------------------------------------


def parse_event(event: SSEEvent) -> Tuple[str, JSON]:
    """The type of an event and its object; raises UpstreamError for garbage."""
    obj = event_object(event)
    kind = event.event or text_at(obj, "type")
    if not kind and "error" in obj:
        kind = "error"  # a bare one has neither name nor type (UPSTREAM 15.2)
    return kind, obj


ENDINGS = ("response.completed", "response.incomplete")
FAILURES = ("response.failed", "response.cancelled", "error")
PREAMBLE = ("response.created", "response.in_progress")


def take_failure(reader: Any, obj: JSON) -> None:
    """Keep the `failure` that tells more: one comes as two events, in any order and
    each with half the words (UPSTREAM 22.4). With the second `reader` is done."""
    old = reader.failure
    reader.done = old is not None
    if old is None or "without a word" in str(old):
        reader.failure = error_in_stream(obj)


class ResponsesOpening(StreamTranslator):
    """Looks at how a stream begins: some refusals come as a 200 (UPSTREAM 22.4). Once
    `done`, `failure` tells whether that is all that it was."""

    finished = True  # so that garbage is passed over: whoever reads it all says so

    def _read(self, event: SSEEvent) -> None:
        if event.event in PREAMBLE:
            return
        self.done = True
        kind, obj = parse_event(event)
        if kind in FAILURES:
            take_failure(self, obj)


TEXT_DELTA = "response.output_text.delta"
# Type of a delta event, or of a part of a whole item -> the Sink's method.
DELTAS = {
    TEXT_DELTA: "text",
    "output_text": "text",
    "response.refusal.delta": "refusal",
    "refusal": "refusal",
    "response.reasoning_summary_text.delta": "reasoning",
    "summary_text": "reasoning",
}
# A delta of text as Copilot writes it: most of an answer, and not worth a whole parse.
# What differs in anything is parsed, so that broken JSON is found.
PLAIN_DELTA = re.compile(
    rb'{"content_index":(\d),"delta":"([ !#-\[\]-~]*)",("item_id":"[ !#-\[\]-~]*"),'
    rb'"logprobs":\[\],"obfuscation":"\w*","output_index":(\d|[1-9]\d),'
    rb'"sequence_number":[1-9]\d{0,8},"type":"response\.output_text\.delta"}',
    re.ASCII,
).fullmatch
ALL_PARTS = -1  # stands for the parts of an item whose `done` was read
FILTERED = "The answer was stopped by Copilot's content filter."


class ResponsesReader(Reader):
    """A Reader of /responses; `source` is the model's responses_source(). With `search`
    the sink hears nothing before the end, and then of the search first."""

    _message = -1  # output_index of the last text

    def __init__(
        self, source: str = "responses:openai", *, search: bool = False
    ) -> None:
        self._source = source
        self._events = self.SEARCH_EVENTS if search else self.EVENTS
        # Of items: (output_index, part) that has words, (output_index, ALL_PARTS).
        self._given: Set[Tuple[int, int]] = set()
        self._calls: Dict[int, str] = {}  # output_index: call id

    def _give(self, kind: str, place: Tuple[int, int], text: str, sink: Sink) -> None:
        method = DELTAS.get(kind)
        if not method or not text:
            return
        index, part = place
        if method == "text" and self._message != index:
            if self._message >= 0:
                sink.next_message()
            self._message = index
        if method == "reasoning" and part and place not in self._given:
            text = "\n\n" + text
        self._given.add(place)
        getattr(sink, method)(text)

    def _delta(self, kind: str, index: int, obj: JSON, sink: Sink) -> None:
        part = typed(obj, "content_index", int) or typed(obj, "summary_index", int)
        self._give(kind, (index, part), text_at(obj, "delta"), sink)

    def _arguments(self, kind: str, index: int, obj: JSON, sink: Sink) -> None:
        text = text_at(obj, "delta")
        if (index, 0) not in self._given:
            text = text or text_at(obj, "arguments")
        if text and index in self._calls:  # else: the item's `done` brings them
            self._given.add((index, 0))
            sink.arguments(index, text)

    def _item(self, kind: str, index: int, obj: JSON, sink: Sink) -> None:
        """An item begins or is done: give what has not been given."""
        item = object_at(obj, "item")
        is_done = kind != "response.output_item.added"
        name = text_at(item, "name")
        is_call = text_at(item, "type") in NAMED_CALLS and index not in self._calls
        if (index, ALL_PARTS) in self._given:
            return
        if is_call and (name or is_done):
            if not name:
                raise UpstreamError("the upstream called a nameless tool; try again")
            call_id = self._calls[index] = text_at(item, "call_id")
            sink.call(index, call_id, name)
        if not is_done:
            return
        self._given.add((index, ALL_PARTS))
        for at, part in enumerate(list_at(item, "summary") or list_at(item, "content")):
            if (index, at) not in self._given:
                text = text_at(part, "text") or text_at(part, "refusal")
                self._give(text_at(part, "type"), (index, at), text, sink)
        self._arguments(kind, index, {"arguments": call_arguments(item)}, sink)
        # The value in `added` is another one, and not to be used (UPSTREAM 10.1).
        opaque = text_at(item, "encrypted_content")
        if opaque and item.get("type") == "reasoning":
            sink.opaque(opaque, self._source)

    def _ended(self, kind: str, index: int, obj: JSON, sink: Sink) -> None:
        response = object_at(obj, "response")
        # Some items stand only here, and some upstreams count them otherwise.
        known = {call_id: index for index, call_id in self._calls.items() if call_id}
        for at, item in enumerate(objects_at(response, "output")):
            index = known.get(text_at(item, "call_id"), at)
            self._item(kind, index, {"item": item}, sink)
        self.finish_reason = "tool_calls" if self._calls else "stop"
        if kind == "response.incomplete":
            self.finish_reason = "length"
            details = object_at(response, "incomplete_details")
            if details.get("reason") == "content_filter":
                self.finish_reason = "content_filter"
                sink.refusal(FILTERED)
        self.usage = openai_usage(response, obj)
        self.done = True

    def _searched(self, kind: str, index: int, obj: JSON, sink: Sink) -> None:
        query = ""
        pages: Dict[str, str] = {}
        for item in objects_at(object_at(obj, "response"), "output"):
            query = max(query, text_at(object_at(item, "action"), "query"), key=len)
            pages.update(
                (text_at(note, "url"), text_at(note, "title"))
                for part in objects_at(item, "content")
                for note in objects_at(part, "annotations")
                if note.get("type") == "url_citation"
            )
        sink.search(query, pages)
        self._ended(kind, index, obj, sink)

    EVENTS = {
        TEXT_DELTA: _delta,
        "response.refusal.delta": _delta,
        "response.reasoning_summary_text.delta": _delta,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _arguments,
        "response.output_item.added": _item,
        "response.output_item.done": _item,
        **dict.fromkeys(ENDINGS, _ended),
    }
    SEARCH_EVENTS = dict.fromkeys(ENDINGS, _searched)

    def read(self, event: SSEEvent, sink: Sink) -> None:
        """Give one event to `sink`; raises ProxyError for garbage."""
        name, data = event
        # Unparsed: response.created alone repeats 100 KB of tools (UPSTREAM 10.2).
        is_known = name in self._events or name in FAILURES
        if name[:9] == "response." and not is_known or data == b"[DONE]":
            return
        plain = is_known and PLAIN_DELTA(data)
        if plain:
            place = (int(plain[4]), int(plain[1]))
            self._give(TEXT_DELTA, place, plain[2].decode("ascii"), sink)
            return
        kind, obj = parse_event(event)
        if kind in FAILURES:
            take_failure(self, obj)
            self.finish_reason = "error"
        elif kind in self._events:
            self._events[kind](self, kind, typed(obj, "output_index", int), obj, sink)


# --- answers for Responses clients ----------------------------------------------------


def responses_usage(usage: TokenUsage) -> JSON:
    """`usage` in the words of Responses; its input includes what was cached."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    }


# A response that has only begun, for a request that says no more than it must.
BLANK_RESPONSE = loads(b"""{
  "id": "", "object": "response", "created_at": 0, "status": "in_progress",
  "background": false, "completed_at": null, "error": null,
  "incomplete_details": null, "instructions": null, "max_output_tokens": null,
  "metadata": {}, "model": "", "output": [], "parallel_tool_calls": true,
  "previous_response_id": null, "prompt_cache_key": null,
  "reasoning": {"effort": null, "summary": null}, "safety_identifier": null,
  "service_tier": "default", "store": true, "temperature": 1.0,
  "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
  "top_p": 1.0, "truncation": "disabled", "usage": null, "user": null
}""")


def response_frame(body: JSON, response_id: str, model: str, created: int) -> JSON:
    """A response that has only begun, for the request `body`."""
    same = {key: body[key] for key in BLANK_RESPONSE if body.get(key) is not None}
    return {
        **BLANK_RESPONSE, **same, "id": response_id, "model": model,
        "created_at": created,
    }


def failure_events(exc: ProxyError, response: JSON, number: int) -> bytes:
    """`error` in both its shapes, which SDKs raise, then what Codex reads."""
    error = {"code": exc.code or "server_error", "message": str(exc)}
    event = dict(
        error, type="error", sequence_number=number, param=None, **openai_error(exc)
    )
    failed = {**response, "status": "failed", "error": error}
    end = {"type": "response.failed", "sequence_number": number + 1, "response": failed}
    return encode_sse("error", event) + encode_sse("response.failed", end)


# How one kind of words is written: what holds them, and in which list, the names of the
# events, the blank part, its member with the text, more of its delta and done events.
FORMS: Dict[str, JSON] = loads(b"""{
  "text": {
    "item": {"type": "message", "status": "in_progress", "role": "assistant"},
    "parts": "content", "part_event": "content_part", "event": "output_text",
    "part": {"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
    "word": "text", "more": {"logprobs": []}
  },
  "refusal": {
    "item": {"type": "message", "status": "in_progress", "role": "assistant"},
    "parts": "content", "part_event": "content_part", "event": "refusal",
    "part": {"type": "refusal", "refusal": ""}, "word": "refusal", "more": {}
  },
  "reasoning": {
    "item": {"type": "reasoning"}, "parts": "summary",
    "part_event": "reasoning_summary_part", "event": "reasoning_summary_text",
    "part": {"type": "summary_text", "text": ""}, "word": "text", "more": {}
  }
}""")
ID_PREFIXES = dict(
    message="msg_", reasoning="rs_", function_call="fc_", custom_tool_call="ctc_",
    compaction="cmp_",
)


class _OpenItem(NamedTuple):
    """An item under way: where events say that it is, its words or arguments so far."""

    item: JSON
    place: JSON
    form: Any  # that of its words, or the Tool that is called
    pieces: List[str]


def call_members(kind: str, arguments: str) -> JSON:
    """What an item of a call says of its arguments."""
    if kind == "function":
        return {"arguments": arguments}
    if kind == "custom":
        return {"input": unwrap_input(arguments)}
    about = CLIENT_TOOLS[kind]
    given_members = {**about["blank"], **(parse_object(arguments) or {})}
    return {**about["item"], about["member"]: given_members}


class ResponsesWriter:
    """A Sink that writes a Responses stream or, with `fold`, keeps it for whole().

    `frame` is response_frame(); `tools` are the request's by the names that the model
    knows. An item is open until something else begins.
    """

    _number = 0  # of the event that comes next
    _open: Optional[_OpenItem] = None
    _key: Hashable = None  # of the latest call

    def __init__(
        self, frame: JSON, tools: Mapping[str, Tool], *, fold: bool = False,
        summary: bool = False, encrypted: bool = False, compact: bool = False,
    ) -> None:
        self.items: List[JSON] = []  # the output, with all that is to come back
        self._frame = frame
        self._tools = tools
        self._mute = fold
        self._summary = summary and not compact  # reasoning is shown in words
        self._encrypted = encrypted or compact  # and in its vendor's own form
        self._compact = compact  # the answer is a summary to go on with
        self._gist: List[str] = []  # its words
        if compact:
            self.text = self._gist.append
        self._out: List[bytes] = []
        self._waiting: List[str] = []  # what came encrypted while a message was open
        for kind in ("created", "in_progress"):
            self._write(kind, response=frame)

    def _add_words(self, what: str, text: str) -> None:
        form = FORMS[what]
        if self._open is None or self._open.form is not form:
            self._close_item()
            parts: List[JSON] = []
            self._open = self._add_item({**form["item"], form["parts"]: parts}, form)
            place = self._open.place
            place[form["parts"] + "_index"] = 0
            self._write(form["part_event"] + ".added", **place, part=form["part"])
            parts.append(dict(form["part"]))
        _, place, _, pieces = self._open
        pieces.append(text)
        self._write(form["event"] + ".delta", **place, delta=text, **form["more"])

    text = functools.partialmethod(_add_words, "text")
    refusal = functools.partialmethod(_add_words, "refusal")

    def reasoning(self, text: str) -> None:
        if self._summary:
            self._add_words("reasoning", text)

    def opaque(self, data: str, source: str) -> None:
        if self._compact:
            return
        packed = pack_reasoning(data, source)
        if self._open is None:
            self._add_whole("reasoning", packed, summary=[])
        elif self._open.form is FORMS["reasoning"]:
            self._open.item["encrypted_content"] = packed
            self._close_item()
        else:  # so that a text is not broken in two
            self._waiting.append(packed)

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        self._close_item()
        tool = self._tools.get(name) or Tool(name, "", {}, own=name)
        kind = "custom_tool" if tool.kind == "custom" else tool.kind
        item = {"type": kind + "_call", "status": "in_progress", "call_id": call_id}
        if kind not in CLIENT_TOOLS:
            item.update(name=tool.own, **given(namespace=tool.namespace))
        item.update(call_members(tool.kind, ""))
        self._open = self._add_item(item, tool)
        self._key = key

    def arguments(self, key: Hashable, fragment: str) -> None:
        call = self._open
        if call is None or not isinstance(call.form, Tool) or key != self._key:
            refuse_late(key, fragment)
            return
        call.pieces.append(fragment)
        if call.form.kind == "function":
            self._write("function_call_arguments.delta", **call.place, delta=fragment)

    def end(self, reason: str, usage: TokenUsage, stop_sequence: str = "") -> None:
        """End the answer; what the length or a filter cut is `incomplete`."""
        why = {"length": "max_output_tokens", "content_filter": reason}.get(reason)
        status = "incomplete" if why else "completed"
        if self._compact:
            if why or not self._gist:
                raise UpstreamError("the summary did not come whole; try again")
            self._add_whole(
                "compaction", pack_reasoning("".join(self._gist), COMPACTED)
            )
        self._close_item("final_answer", status)
        answer = dict(
            self._frame, status=status, usage=responses_usage(usage),
            completed_at=None if why else self._frame["created_at"],
            incomplete_details={"reason": why} if why else None,
            output=list(map(self._shown, self.items)),
        )
        self._write(status, response=answer, **usage.cost)
        self._frame = {**answer, **usage.cost}
        self._mute = True

    def error(self, exc: ProxyError) -> None:
        if not self._mute:
            self._mute = True
            self._out.append(failure_events(exc, self._frame, self._number))

    def take(self) -> bytes:
        """The bytes written since the last call; none with `fold`."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def whole(self) -> JSON:
        """The response, after end()."""
        return self._frame

    def _write(self, event: str, **fields: Any) -> None:
        if not self._mute:
            kind = "response." + event
            obj = {"type": kind, "sequence_number": self._number, **fields}
            self._number += 1
            self._out.append(encode_sse(kind, obj))

    def _shown(self, item: JSON) -> JSON:
        if self._encrypted:
            return item
        return {key: item[key] for key in item if key != "encrypted_content"}

    def _add_item(self, item: JSON, form: Any) -> _OpenItem:
        index = len(self.items)
        prefix = ID_PREFIXES.get(item["type"], "item_")
        # Of the answer's id, because this room has no randomness of its own.
        item["id"] = f"{prefix}{index:04x}{self._frame['id'][-20:]}"
        self.items.append(item)
        self._write("output_item.added", output_index=index, item=self._shown(item))
        return _OpenItem(item, {"item_id": item["id"], "output_index": index}, form, [])

    def _end_item(self, done: _OpenItem) -> None:
        index = done.place["output_index"]
        item = self._shown(done.item)
        self._write("output_item.done", output_index=index, item=item)

    def _add_whole(self, kind: str, packed: str, **more: Any) -> None:
        item = {"type": kind, **more, "encrypted_content": packed}
        self._end_item(self._add_item(item, None))

    def _close_item(self, phase: str = "commentary", status: str = "completed") -> None:
        """Close what is open. A message was an aside unless it is the last."""
        done = self._open
        if done is None:
            return
        self._open = None
        item, place, form, pieces = done
        text = "".join(pieces)
        if isinstance(form, Tool):
            if parse_object(text) is not None:
                status = "completed"  # it was not this that was cut
            members = call_members(form.kind, text)
            item.update(members, status=status)
            if form.kind == "custom":
                self._write(
                    "custom_tool_call_input.delta", **place, delta=item["input"]
                )
            member = NAMED_CALLS.get(item["type"])
            if member:
                event = f"{item['type']}_{member}.done"
                self._write(event, **place, **members, name=item["name"])
        else:
            part = item[form["parts"]][0]
            words = {form["word"]: text}
            part.update(words)
            self._write(form["event"] + ".done", **place, **words, **form["more"])
            self._write(form["part_event"] + ".done", **place, part=part)
        if item["type"] == "message":
            item.update(status=status, phase=phase)
        self._end_item(done)
        for packed in self._waiting:
            self._add_whole("reasoning", packed, summary=[])
        self._waiting = []

    next_message = _close_item


# --- what earlier answers were --------------------------------------------------------


def is_compaction(body: JSON) -> bool:
    """Whether a request wants its conversation in short, not an answer."""
    return text_at([{}, *input_items(body)][-1], "type") == "compaction_trigger"


def compaction_output(body: JSON, answer: JSON) -> Optional[List[JSON]]:
    """What stands for a conversation: the user's words and the summary that `answer`
    has, else None."""
    output = list_at(answer, "output")
    summary = [item for item in output if text_at(item, "type") == "compaction"]
    wishes = [item for item in input_items(body) if text_at(item, "role") == "user"]
    return wishes + summary if summary else None


MEMORY = 16 << 20  # bytes of requests and answers, all sessions together


def not_kept(what: str, name: str, status: int, code: str) -> BadRequest:
    """The error for what is not remembered, in OpenAI's words and with its status."""
    exc = BadRequest(
        f"{what} with id '{name[:100]}' not found: it was not finished, or too long "
        "ago. Send all of the input.",
        status=status,
        code=code,
    )
    exc.reason = "an earlier answer is not known here (any more): " + code
    return exc


class _Kept(NamedTuple):
    """A finished answer: the number of the one before it, never a copy."""

    previous: int  # a smaller one, so no chain is a ring; 0 = none, -1 = a gap
    request: bytes  # as the client sent it: parsed only when it is wanted
    output: List[Tuple[str, bytes]]  # the id of each item, and all of it
    names: List[Tuple[str, str]]  # session and id, of it and of its items
    size: int


class ResponseMemory:
    """The answers that `previous_response_id` and `item_reference` name: a session's
    own. The oldest go first, and a chain with a gap is not known any more."""

    size = 0
    _count = 0

    def __init__(self, limit: int = MEMORY) -> None:
        self._limit = limit
        self._answers: Dict[int, _Kept] = {}
        self._numbers: Dict[Tuple[str, str], int] = {}  # the latest of a name

    def keep(
        self, session: str, request: bytes, answer: JSON, items: List[JSON]
    ) -> None:
        """Remember a finished answer with all its items, no other."""
        if answer.get("status") != "completed":
            return
        names = [(session, text_at(item, "id")) for item in [answer, *items]]
        output = [(text_at(item, "id"), dumps(item)) for item in items]
        size = len(request) + sum(len(raw) for _, raw in output)
        before = self._number(session, text_at(answer, "previous_response_id"))
        self._count += 1
        self._answers[self._count] = _Kept(before, request, output, names, size)
        self._numbers.update(dict.fromkeys(names, self._count))
        self.size += size
        while self.size > self._limit:
            number = next(iter(self._answers))
            kept = self._answers.pop(number)
            self.size -= kept.size
            for name in kept.names:
                if self._numbers.get(name) == number:  # else it was used again
                    del self._numbers[name]

    def _number(self, session: str, name: str) -> int:
        """Which answer has a name, or an item of it: -1 is none (any more)."""
        return self._numbers.get((session, name), -1) if name else 0

    def expand(self, session: str, body: JSON) -> JSON:
        """The request with all that it only refers to, itself where that is nothing;
        raises BadRequest for an answer or an item that is not known."""
        previous = text_field(body, "previous_response_id")
        items = input_items(body)
        number = self._number(session, previous)
        while number:
            kept = self._answers.get(number)
            if kept is None:
                raise not_kept(
                    "Previous response", previous, 400, "previous_response_not_found"
                )
            output = [loads(raw) for _, raw in kept.output]
            items = [*input_items(loads(kept.request)), *output, *items]
            number = kept.previous
        # Items in the place of references, each once, so that this is never more than
        # what was kept and sent; and reasoning with what its vendor wants back, because
        # many clients leave that out.
        seen: Set[str] = set()
        whole: List[Any] = []
        for item in items:
            name = text_at(item, "id")
            is_reference = name != "" and item.keys() <= {"id", "type"}
            if is_reference and name in seen:
                continue
            is_thought = text_at(item, "type") == "reasoning"
            if is_reference or is_thought and not item.get("encrypted_content"):
                kept = self._answers.get(self._number(session, name))
                raw = dict(kept.output if kept else ()).get(name)
                if raw:
                    item = loads(raw)
                elif is_reference:
                    raise not_kept("Item", name, 404, "item_not_found")
            seen.add(name)
            whole.append(item)
        if not previous and whole == items:
            return body
        return {**body, "input": whole, "previous_response_id": ""}


# --- the pass-through -----------------------------------------------------------------


def wants_memory(body: JSON, model: Model) -> bool:
    """Whether reasoning must be kept here for a client that does not ask for it."""
    include = list_at(body, "include")
    keeps = body.get("store") is not False and ENCRYPTED not in include
    return keeps and takes_reasoning(model)


class ResponsesTap(StreamTranslator):
    """A StreamTranslator for Responses clients: Copilot's own events with one id each.

    OpenAI's SDK raises when the id of a response differs between events (CLIENTS 6).
    Calls get the client's own names, and encrypted reasoning goes to who asked for it.
    """

    _number = 0  # of the event that comes next
    _changed = False  # whether an event is no more the upstream's own

    def __init__(self, *, hide: bool = False, previous: str = "") -> None:
        super().__init__()
        self.names: Mapping[str, str] = {}  # upstream's tool name -> the client's
        self.items: List[JSON] = []  # the output, with all that is to come back
        self._hide = hide
        self._previous = previous  # answer that the client named, which went up whole
        self._ids: Dict[Any, str] = {}  # by output_index, and of the "response"
        self._answer = BLANK_RESPONSE  # the last event's

    def _set(self, holder: JSON, key: str, value: Any) -> None:
        if value and holder.get(key) != value:
            holder[key] = value
            self._changed = True

    def _pin(self, holder: JSON, key: str, place: Any) -> None:
        """Give an id its first value."""
        own = text_at(holder, key)
        if own:
            self._set(holder, key, self._ids.setdefault(place, own))

    def _pass_on(self, kind: str, obj: JSON) -> None:
        """Make an event what the client is to see."""
        index = typed(obj, "output_index", int)
        self._pin(obj, "item_id", index)
        response = object_at(obj, "response")
        if response:
            self._pin(response, "id", "response")
            self._set(response, "previous_response_id", self._previous)
            self._answer = response
        items = objects([obj.get("item"), *list_at(response, "output")])
        if items and kind in ENDINGS:  # else they came one by one only
            self.items = []
        for at, item in enumerate(items, index):
            self._pin(item, "id", at)
            for key in ("name", "namespace"):
                self._set(item, key, self.names.get(text_at(item, key)))
            if kind != "response.output_item.added":
                self.items.append(dict(item))
            if self._hide and item.get("type") == "reasoning":
                self._changed |= item.pop("encrypted_content", None) is not None

    def _read(self, event: SSEEvent) -> None:
        name, data = event
        plain = PLAIN_DELTA(data)
        own_id = plain and self._ids.get(int(plain[4]))
        if own_id:
            data = data.replace(plain[3], b'"item_id":' + dumps(own_id))
        elif data == b"[DONE]":  # not of this API, never seen (UPSTREAM 10.2)
            return
        else:
            kind, obj = parse_event(event)
            if kind in FAILURES:
                self.finished = True
                take_failure(self, obj)
                return
            self._changed = False
            self._pass_on(kind, obj)
            if self._changed:
                data = dumps(obj)
            if kind in ENDINGS:
                self.finished = self.done = True
                self.usage = openai_usage(self._answer, obj)
                cost = given(copilot_usage=obj.get("copilot_usage"))
                self._answer = {**self._answer, **cost}
        self._number += 1
        self._out.append(frame_event(name, data))

    def fail(self, exc: ProxyError) -> bytes:
        """The bytes that tell the client of `exc` inside the stream."""
        return self.take() + failure_events(exc, self._answer, self._number)

    def whole(self) -> JSON:
        """The answer for stream:false, after finish()."""
        return self._answer


# --- Claude Code's web search ---------------------------------------------------------

NO_SEARCH = (
    "Web search is not available through this proxy: no model of this Copilot "
    "account offers it, or WEB_SEARCH is off. Answer from what you know, and "
    "say that you could not search."
)


def search_query(body: JSON) -> Optional[str]:
    """The words of Claude Code's search request (CLIENTS 1); None for any other."""
    tools = list_at(body, "tools")
    if len(tools) != 1 or not text_at(tools[0], "type").startswith("web_search_"):
        return None
    turns = parse_messages({**body, "tools": [], "tool_choice": None}).turns
    return text_of(part for turn in turns if turn.role == "user" for part in turn.parts)


def search_model(models: Sequence[Model]) -> Optional[Model]:
    """The cheapest model that can search: a search is a side job."""
    able = [model for model in models if RESPONSES in model.endpoints and model.offered]

    def price(model: Model) -> Tuple[float, bool]:
        is_light = model.raw.get("model_picker_category") == "lightweight"
        return (model.prices or {}).get("input", 1e9), not is_light

    return min(able, key=price, default=None)


def search_request(query: str) -> JSON:
    """A Responses body that answers `query` from the web."""
    return dict(
        input=query, tools=[{"type": "web_search"}], tool_choice="required",
        reasoning={"effort": "low"},
    )


# ============================================================================
# 12. Fit: what an upstream takes
# ============================================================================
# The one place that knows what a vendor, an endpoint or a model refuses, and what is
# sent instead: every body passes RULES last, whatever its path.     uses: 0, 2, 4, 7-11
# Contract: a body that needs nothing goes up as it came, byte for byte; what is
# rewritten is rewritten alike in every turn, because of the cached prefix; meaning is
# refused by name or said otherwise, and `left_out` says so; a refusal turns rows on.


class ClientBody(NamedTuple):
    """What a client sent: the parsed body, its bytes, and where its members stand."""

    dialect: str
    betas: str  # its anthropic-beta header
    body: JSON
    raw: bytes = b""
    text: str = ""
    places: Dict[str, Place] = {}


# What a rule says of the object that it was shown.
KEPT = 0
CHANGED = 1  # a comparison says it too: True counts as 1
GONE = 2  # the walk empties it and takes it out
_schema_value = re.compile(r'\s*:\s*"[^"\\]*"\s*(,\s*)?').match


def cut_schemas(text: str, number: int) -> str:
    """A text without its `number` members `$schema`, which Claude Code sends with each
    tool; "" if those are not plain to see."""
    first, *others = text.split('"$schema"')
    if len(others) != number:
        return ""
    kept = [first]
    for other in others:
        found = _schema_value(other)
        if not found:
            return ""
        if not found[1]:  # the last member: the comma stands before it
            kept.append(kept.pop().rstrip(", \t\r\n"))
        kept.append(other[found.end() :])
    return "".join(kept)


class Fit:
    """One request on its way up: what the rules read, change and leave behind.

    `body` is the client's own on a pass-through, else what an encoder wrote; rules edit
    it in place. What is put in a member's place is seen by itself; where something
    inside was changed, the member must be touched, which the walk does for its own.
    """

    stops: Tuple[str, ...] = ()  # at which the proxy itself has to cut
    member = ""  # the member that the walk is in
    cuts = 0  # how many schemas have lost their `$schema`
    turn = 0  # of the user's and the model's, the number that the walk is in
    pictures = False  # whether there are any

    def __init__(
        self, client: ClientBody, body: JSON, model: Model, endpoint: str,
        learnt: Mapping[str, Mapping[str, None]],
    ) -> None:
        self.client = client
        self.body = body
        self.model = model
        self.endpoint = endpoint
        self.learnt = learnt  # rule -> what refusals told of it
        self.left_out: Dict[str, None] = {}  # what the upstream is not told, in words
        self.betas: List[str] = []  # for the anthropic-beta header
        self.names: Dict[str, str] = {}  # the upstream's name of a tool: the client's
        self.offered: Dict[str, None] = {}  # names of tools
        self.called: Dict[str, None] = {}
        self.calls: List[Tuple[int, Any]] = []  # their turns and ids
        self.results: List[Tuple[int, Any]] = []  # the turn before each, and its call
        self.marked: List[Tuple[str, JSON]] = []  # member, and holder of a cache mark

    @property
    def headers(self) -> Dict[str, str]:
        """The headers that the request needs besides."""
        headers = {}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        if self.pictures:  # else not: an organisation may forbid vision
            headers["copilot-vision-request"] = "true"
        return headers

    def tell(self, what: str) -> None:
        """Note something that is left out."""
        self.left_out[what] = None

    def leave_out(self, key: str) -> None:
        """Take a member out of the body, and tell so."""
        if self.body.pop(key, None) is not None:
            self.tell(key)

    def read(self, holder: str, key: str) -> Any:
        """A field of a member of the body; of the body itself, if `holder` is ""."""
        return (object_at(self.body, holder) if holder else self.body).get(key)

    def put(self, holder: str, key: str, value: Any) -> None:
        """Set such a field; None takes it out, and with the last one what held it."""
        config = self.body
        if holder:  # a copy, so that encode() sees it
            config = self.body[holder] = {**object_at(self.body, holder)}
        if value is None:
            config.pop(key, None)
        else:
            config[key] = value
        if not config:
            del self.body[holder]

    def touch(self, key: str) -> None:
        """Have a list written anew, because something in it was changed."""
        self.body[key] = [*self.body[key]]

    def encode(self) -> bytes:
        """The bytes to send: the client's own for all members that were not touched."""
        client, body = self.client, self.body
        places = client.places
        if body is not client.body or not places:
            # Arguments were a text: their escapes became characters since.
            return replace_lone_surrogates(dumps(body))
        own = {key for key in places if body.get(key, self) is places[key][0]}
        if len(own) == len(places) == len(body) and not self.cuts:
            return client.raw
        pieces: List[Any] = []
        for key in body:
            piece = key in own and self._own_bytes(key)
            pieces += [b",", piece or dumps(key) + b":" + dumps(body[key])]
        pieces[0] = b"{"
        return b"".join([*pieces, b"}"])

    def _own_bytes(self, key: str) -> Any:
        """What the client sent of a member; b"" if that cannot be cut as it must."""
        raw, text = self.client.raw, self.client.text
        _, start, end = self.client.places[key]
        if key == "tools" and self.cuts:
            return cut_schemas(text[start:end], self.cuts).encode("utf-8")
        if 2 * (end - start) < len(text):
            return text[start:end].encode("utf-8")
        # The bulk is not copied: a megabyte newly allocated costs up to a millisecond.
        before = len(text[:start].encode("utf-8"))
        behind = len(text[end:].encode("utf-8"))
        return memoryview(raw)[before : len(raw) - behind]


# --- the walk -------------------------------------------------------------------------

# One walk serves all rules about blocks, because a history may have 100,000 of them.
WALKED = ("tools", "system", "messages", "input")
OFFERED = "offered"  # the kind of what stands in `tools`
INNER = ("content", "tool_calls", "output")  # where an object holds others
LEAVES = frozenset("text tool_use thinking image input_text output_text".split())
DEEPEST = 4  # turn, result, search result, text: nothing means more below
Repair = Callable[..., Any]  # (fit) -> None, or (fit, object) -> what it did to it
Repairs = Dict[str, List[Repair]]


def path_of(value: Any, wanted: JSON) -> str:
    """Where this very object stands in a body, as messages.3.content.0."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if inner is wanted:
            return str(key)
        path = path_of(inner, wanted) if isinstance(inner, (dict, list)) else ""
        if path:
            return f"{key}.{path}"
    return ""


def drop_nulls(item: JSON) -> bool:
    """A null member is an absent one: OpenAI's SDKs give back every field that their
    answers may have, and Copilot knows few. `content` is null in any call's message."""
    nulls = [key for key, value in item.items() if value is None and key != "content"]
    for key in nulls:
        del item[key]
    return bool(nulls)


def visit(fit: Fit, items: List[Any], kind: str, repairs: Repairs, depth: int) -> int:
    """Show the objects of a list to the rules of their kind, then what those hold."""
    verdict = KEPT
    inner_keys = ("tools",) if kind else INNER  # a namespace has tools
    for item in items:
        if type(item) is not dict:
            if depth < 2:  # deeper ones may be what an unknown block holds
                at = f"{path_of(fit.body, items)}.{items.index(item)}"
                expect(item, dict, at)
            continue
        answer = KEPT
        if None in item.values():
            answer = drop_nulls(item)
        shown = str(kind or item.get("role") or item.get("type"))
        for repair in repairs.get(shown, ()):
            answer |= repair(fit, item)
            if answer & GONE:
                item.clear()
                break
        for key in () if shown in LEAVES else inner_keys:
            inner = item.get(key)
            if type(inner) is list and depth < DEEPEST:
                # Whatever happened inside, the outer one is changed by it.
                answer |= bool(visit(fit, inner, kind, repairs, depth + 1))
        verdict |= answer
    if verdict & GONE:  # emptied above; what a client sent empty says nothing either
        items[:] = filter(None, items)
    return verdict


def walk(repairs: Repairs, fit: Fit) -> None:
    """Show each object of a request to the rules of its kind, outer ones first."""
    for key in WALKED:
        fit.member = key
        kind = OFFERED if key == "tools" else ""
        items = fit.body.get(key)
        if isinstance(items, list) and visit(fit, items, kind, repairs, 0):
            fit.touch(key)


# --- what nobody takes, and what is no model's business -------------------------------


def check_shape(fit: Fit) -> None:
    """What no upstream would take costs no request."""
    body = fit.client.body
    turns = field(body, "messages", list)
    if not turns and fit.client.dialect in ("anthropic", "openai"):
        raise BadRequest("messages: at least one message is required")
    if body.get("input") == [] and not body.get("previous_response_id"):
        raise BadRequest("input: at least one item is required")
    field(body, "tools", list)


def content_of(fit: Fit, holder: JSON) -> Any:
    """A text, a list or nothing; raises BadRequest naming what is none of these."""
    content = holder.get("content")
    if content is None or isinstance(content, (str, list)):
        return content
    return expect(content, list, path_of(fit.body, holder), "content")


# Fields that mean something which Copilot has not, and what to do instead, by the API
# that the client speaks. What only some models refuse is no row here but one of RULES.
UNSERVED = {
    "anthropic": {
        "mcp_servers": "connect MCP servers in the client", "container": "",
        "fallbacks": "",
    },
    "openai": {
        "n": "",
        "audio": "",
        "modalities": "",
        "logprobs": "",
        "functions": "use tools",
    },
    "responses": {
        "background": "answers come at once; leave it out",
        "conversation": "send the full input", "prompt": "send instructions and input",
    },
}
HARMLESS = {"n": 1, "modalities": ["text"]}  # values that ask for nothing


def refuse_meaning(fit: Fit) -> None:
    """Say no to what would change the answer and cannot be had.

    It reads what the client sent, because no translation carries such a field.
    """
    body = fit.client.body
    unserved = UNSERVED.get(fit.client.dialect, {})
    for key in sorted(unserved.keys() & body.keys()):
        if not body[key]:
            fit.body.pop(key, None)  # it says nothing, and is refused
        elif body[key] != HARMLESS.get(key):
            advice = unserved[key] or "leave it out"
            words = f"{key}: not available here; {advice}"
            raise BadRequest(words, code="unsupported_parameter")
    if fit.client.dialect == "anthropic" and body.pop("thread", None):
        # Both of Anthropic's SDKs send the whole history after exactly this answer.
        raise BadRequest(
            "thread: Copilot keeps no threads; send the whole history",
            details={
                "error_code": "thread_unsupported_request",
                "unsupported": ["thread"],
            },
        )


# What translation reads, and what changes no answer where an API has none of it.
HEEDED = frozenset(
    "background cache_control client_metadata conversation include input instructions"
    " max_completion_tokens max_output_tokens max_tokens messages metadata modalities"
    " model n output_config output_format parallel_tool_calls previous_response_id"
    " prompt prompt_cache_key prompt_cache_retention reasoning reasoning_effort"
    " response_format safety_identifier service_tier stop stop_sequences store stream"
    " stream_options system temperature text thinking thread tool_choice tools top_p"
    " truncation user verbosity".split()
)


def lost_fields(client: ClientBody) -> List[str]:
    """What a request says that its translation has no word for."""
    return [key for key, value in client.body.items() if value and key not in HEEDED]


def name_model(fit: Fit) -> None:
    """Copilot's id instead of the client's name for it."""
    if fit.model.id == AUTO:  # Copilot chooses, and the answer names what
        fit.body.pop("model", None)
    elif fit.body.get("model") != fit.model.id:
        fit.body["model"] = fit.model.id


# What must not vanish from a request, wherever it stands: a refusal of one of these
# goes to the client with its words.
MEANING = frozenset(
    "model messages input stream max_tokens system instructions tools tool_choice role"
    " content text type id name arguments function tool_calls tool_call_id tool_use_id"
    " call_id output source data image_url format response_format schema json_schema"
    " input_schema parameters properties thread mcp_servers container prompt thinking"
    " reasoning conversation".split()
)


def field_path(fit: Fit, words: str) -> Set[str]:
    """The path of a refused field without its numbers; none for what has meaning."""
    path = re.sub(r"\.?\[?\b\d+\b\]?", ".*", words)
    if path.rpartition(".")[2] in MEANING:
        return set()
    return {path}


def remove_path(value: Any, path: List[str]) -> bool:
    """Remove what an error's path names, where tags stand between the members: that is
    a type, and of a tool without one it is custom."""
    if not path or not isinstance(value, (dict, list)):
        return False
    key, *rest = path
    if isinstance(value, list):
        return any([remove_path(item, rest if key == "*" else path) for item in value])
    if not rest:
        return value.pop(key, None) is not None
    inner = value.get(key)
    if key == value.get("type", "custom") and not isinstance(inner, (dict, list)):
        inner = value
    return remove_path(inner, rest)


def drop_fields(fit: Fit) -> None:
    """Leave out the fields that refusals have named."""
    for path in fit.learnt.get("fields", ()):
        if remove_path(fit.body, path.split(".")):
            fit.body = {**fit.body}  # which is written anew as a whole
            fit.tell(path)


# --- Messages: fields and thinking ----------------------------------------------------

# What official clients forward: one unknown value may cost the request (UPSTREAM 11.4,
# 22.3).
BETA_PREFIXES = tuple(
    "interleaved-thinking- context-management- advanced-tool-use- extended-cache-ttl-"
    " per-turn-control- thinking-binding-controls- mid-conversation- inline-tools-"
    " fallback-credit-".split()
)
CONTEXT_BETA = "context-management-"
MID_SYSTEM_BETA = "mid-conversation-system-2026-04-07"  # role system in messages


def takes_beta(fit: Fit, name: str) -> bool:
    """Whether no refusal has named this beta, the field of it, or all of them."""
    refused = fit.learnt.get("beta", ())
    if name.startswith(CONTEXT_BETA):
        refused = {*refused, *fit.learnt.get("fields", ())}
    return {"", name, "context_management"}.isdisjoint(refused)


def choose_betas(fit: Fit) -> None:
    """Keep the betas that are known to be taken; the field of one goes with it."""
    for name in dict.fromkeys(map(str.strip, fit.client.betas.split(","))):
        if name.startswith(BETA_PREFIXES) and takes_beta(fit, name):
            fit.betas.append(name)
    if not any(name.startswith(CONTEXT_BETA) for name in fit.betas):
        fit.leave_out("context_management")


def fit_top_fields(fit: Fit) -> None:
    """Fields of Anthropic's own API that Copilot refuses, and an output format under
    its name of today with no key but its own (UPSTREAM 11.5)."""
    for key in ("cache_control", "service_tier", "speed"):
        fit.leave_out(key)
    old_format = fit.body.pop("output_format", None)  # its name in 2025
    form = fit.read("output_config", "format") or old_format
    if isinstance(form, dict):  # name and strict are OpenAI's
        plain = {key: form[key] for key in ("type", "schema") if key in form}
        if plain != form or form is old_format:
            fit.put("output_config", "format", plain)


def fit_messages_limits(fit: Fit) -> None:
    """max_tokens, which Messages requires and OpenAI does not, and the temperature,
    both within their bounds."""
    body = fit.body
    limit = min(map(int, fit.learnt.get("max_tokens", ())), default=0)
    # Not clamped to the catalogue, which lists 64,000 where 128,000 is taken.
    if limit and count_at(body, "max_tokens") > limit:
        body["max_tokens"] = limit
    if fit.client.dialect == "anthropic":
        return
    if not body.get("max_tokens"):
        body["max_tokens"] = fit.model.output or 32000
    if body.get("temperature") is not None:
        body["temperature"] = min(body["temperature"], 1)  # OpenAI's goes to 2


# Thinking budgets for clients that ask for an effort, where the model has no adaptive
# thinking. Claude Code asks for 31,999 itself.
EFFORT_BUDGETS = {"low": 4000, "medium": 12000}
MIN_BUDGET, MAX_BUDGET = 1024, 31999


def thinking_kind(fit: Fit, thinking: JSON) -> Optional[JSON]:
    """The thinking that the model has; None where max_tokens leaves no room for it."""
    low, high = fit.model.budget
    adaptive = fit.model.adaptive and "no adaptive" not in fit.learnt
    if "no budget" in fit.learnt:
        adaptive = True
        high = 0
    fitted = {**thinking}
    if fitted.get("display") == "updates":  # its beta is not forwarded
        del fitted["display"]
    if adaptive and not high:
        fitted["type"] = "adaptive"
    elif high and not adaptive and fitted["type"] == "adaptive":
        effort = str(fit.read("output_config", "effort"))
        budget = EFFORT_BUDGETS.get(effort, MAX_BUDGET)
        fitted.update(type="enabled", budget_tokens=budget)
    if fitted["type"] == "adaptive":
        fitted.pop("budget_tokens", None)
        return fitted
    least = low or MIN_BUDGET
    room = (count_at(fit.body, "max_tokens") or 10**9) - 1
    wanted = max(count_at(fitted, "budget_tokens"), least)
    fitted["budget_tokens"] = min(wanted, high or room, room)
    return fitted if fitted["budget_tokens"] >= least else None


def fit_thinking(fit: Fit) -> None:
    """Ask for thinking in the kind that the model has, or not at all."""
    thinking = fit.body.get("thinking")
    kind = text_at(thinking, "type")
    if kind == "disabled" and "always thinks" in fit.learnt:
        fit.leave_out("thinking")
        fit.put("output_config", "effort", "low")
    if kind not in ("adaptive", "enabled"):
        return
    forced = fit.read("tool_choice", "type") in ("any", "tool")
    fitted = None if forced else thinking_kind(fit, thinking)
    if fitted is None:
        fit.leave_out("thinking")
        return
    if fitted != thinking:
        fit.body["thinking"] = fitted
    if fit.body.get("temperature") not in (None, 1):
        fit.leave_out("temperature")


def drop_second_sampler(fit: Fit) -> None:
    """Of temperature and top_p these models take one (UPSTREAM 22.3)."""
    if fit.body.get("temperature") is not None:
        fit.leave_out("top_p")


def drop_both_samplers(fit: Fit) -> None:
    """OpenAI's reasoning models take neither (UPSTREAM 9.1)."""
    fit.leave_out("temperature")
    fit.leave_out("top_p")


def drop_samplers(fit: Fit) -> None:
    """Leave out the samplers that refusals have named."""
    for key in fit.learnt.get("samplers", ()):
        fit.leave_out(key)


def tool_holder(tool: JSON) -> JSON:
    """Where a tool, or a call of chat, holds its name: inside, or itself."""
    for key in ("function", "custom"):
        if isinstance(tool.get(key), dict):
            return tool[key]
    return tool


def fit_messages_choice(fit: Fit) -> None:
    """OpenAI's forms are taken as a courtesy (UPSTREAM 0.4); a forced choice of a tool
    that is refused becomes `auto`."""
    choice = fit.body.get("tool_choice")
    if isinstance(choice, str):
        choice = {"type": choice}
    kind = text_at(choice, "type")
    if kind == "function":
        choice = {"type": "tool", "name": tool_holder(choice).get("name")}
    elif kind == "required":
        choice = {**choice, "type": "any"}
    if text_at(choice, "type") in ("any", "tool") and "forced choice" in fit.learnt:
        choice = {key: choice[key] for key in choice if key != "name"}
        choice["type"] = "auto"
        fit.tell("tool_choice")
    if choice:
        fit.body["tool_choice"] = choice


# --- effort and formats, on every endpoint --------------------------------------------

# Clamped, never refused: an effort is a wish, and clients send what others list.
EFFORT_PATH = {
    MESSAGES: ("output_config", "effort"),
    RESPONSES: ("reasoning", "effort"),
}
FORMAT_PATH = {
    MESSAGES: ("output_config", "format"),
    RESPONSES: ("text", "format"),
}


def fit_effort(fit: Fit) -> None:
    """Clamp the effort to what the model lists, or what a refusal has listed."""
    path = EFFORT_PATH.get(fit.endpoint, ("", "reasoning_effort"))
    name = f"{path[0]}.{path[1]}".lstrip(".")
    effort = fit.read(*path)
    efforts = tuple(fit.learnt.get("effort", fit.model.efforts))
    if "calm effort" in fit.learnt and fit.read("thinking", "type") == "disabled":
        efforts = tuple(one for one in efforts if one not in ("xhigh", "max"))
    if effort is None or expect(effort, str, name) in efforts:
        return
    fitted = clamp_effort(effort, fit.model._replace(efforts=efforts))
    fit.put(*path, fitted or None)
    if not fitted:
        fit.tell(name)


def add_to_system(fit: Fit, words: str) -> None:
    """Say something in the system text."""
    body = fit.body
    if fit.endpoint == CHAT:
        body["messages"] = [{"role": "system", "content": words}, *body["messages"]]
        return
    key = "system" if fit.endpoint == MESSAGES else "instructions"
    system = body.get(key)
    if isinstance(system, list):
        body[key] = [*system, {"type": "text", "text": words}]
    else:
        body[key] = "\n\n".join(filter(None, [system, words]))


def say_format(fit: Fit) -> None:
    """Ask in words for the output format that the model refuses as a field."""
    path = FORMAT_PATH.get(fit.endpoint, ("", "response_format"))
    form = fit.read(*path)
    fit.put(*path, None)
    if not isinstance(form, dict) or form.get("type") == "text":
        return
    fit.tell("output format (said in words)")
    schema = object_at(form, "json_schema").get("schema") or form.get("schema")
    words = JSON_ONLY
    if schema:
        words = f"{words[:-1]}, by this JSON Schema: {dumps_text(schema)}"
    add_to_system(fit, words)


# --- tools ----------------------------------------------------------------------------


# Refused as tools, so Claude Code's own search is answered elsewhere (UPSTREAM 11.5).
UNSERVED_BY_MESSAGES = ("web_search_", "web_fetch_", "advisor_")
# "The requested tool is not supported": seen for each of these (UPSTREAM 10.1).
UNSERVED_BY_RESPONSES = (
    "mcp code_interpreter file_search computer computer_use computer_use_preview"
    " local_shell"
).split()


def fit_messages_tool(fit: Fit, tool: JSON) -> int:
    """Tools of Anthropic's servers are left out, as clients offer them unasked; those
    in OpenAI's form are taken as a courtesy (UPSTREAM 0.4); some keys are refused."""
    kind = str(tool.get("type"))
    if kind.startswith(UNSERVED_BY_MESSAGES):
        fit.tell(f"tool {kind}")
        return GONE
    before = {**tool}
    if kind == "function":
        plain = {**tool_holder(tool)}
        tool.clear()
        tool.update(name=plain.get("name"), description=plain.get("description"))
        tool["input_schema"] = plain.get("parameters") or {}
        drop_nulls(tool)
    tool.pop("eager_input_streaming", None)
    if tool.get("defer_loading"):
        tool.pop("cache_control", None)
    return tool != before


def is_blank(text: Any) -> bool:
    """Whether a text or a list says nothing; what is neither does not count as one."""
    return text in ("", []) or isinstance(text, str) and text.isspace()


def fit_responses_tool(fit: Fit, tool: JSON) -> int:
    """What cannot be left out without changing the task is refused by name, as Copilot
    refuses a namespace without description or tools (UPSTREAM 22.4)."""
    kind = tool.get("type")
    if kind in UNSERVED_BY_RESPONSES:
        raise BadRequest(
            f"tools: Copilot runs no {kind}; leave it out, or connect it in the client "
            "as functions"
        )
    if kind == "image_generation":
        fit.tell("tool image_generation")
        return GONE
    if kind != "namespace":
        return KEPT
    if not tool.get("tools"):
        return GONE
    blank = is_blank(tool.get("description") or "")
    if blank:
        tool["description"] = f"Tools of {tool.get('name')}."
    return blank


# Any MCP server can bring a schema that a vendor refuses, and with it every request
# fails for as long as the server is there (UPSTREAM 22.5).
SCHEMA_MAPS = frozenset(
    "properties patternProperties dependentSchemas $defs definitions".split()
)
UNIONS = ("anyOf", "oneOf", "allOf")
SCHEMA_HOLDERS = frozenset(
    "anyOf oneOf allOf prefixItems items additionalProperties not if then else"
    " contains propertyNames".split()
)
LIST_KEYWORDS = {"required", "enum", "prefixItems", *UNIONS}
MOST_BRANCHES = 100  # that are merged to one object


def subschemas(schema: Any) -> Iterator[JSON]:
    """A schema and those inside it, outer ones first; they may be edited meanwhile."""
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if type(current) is not dict or not current:
            continue
        yield current
        for key, inner in current.items():
            if key in SCHEMA_MAPS and isinstance(inner, dict):
                waiting.extend(inner.values())
            elif key in SCHEMA_HOLDERS:
                waiting.extend(inner if isinstance(inner, list) else [inner])


def texts_of(schema: JSON, key: str) -> List[str]:
    """The texts in a list; none in anything else."""
    return [text for text in list_at(schema, key) if isinstance(text, str)]


def describe(schema: JSON, words: str) -> None:
    """Add words to the description of a schema or a tool."""
    described = text_at(schema, "description")
    schema["description"] = f"{described}\n\n{words}" if described else words


# Each fix edits one schema, not those inside it.


def fix_keywords(schema: JSON) -> None:
    """No keyword that is empty or of another kind than it must be: it says nothing."""
    for key in LIST_KEYWORDS.intersection(schema):
        value = schema[key]
        if not isinstance(value, list) or (not value and key != "required"):
            del schema[key]
    kinds = schema.get("type", "any")
    if not kinds or not isinstance(kinds, (str, list)):
        del schema["type"]


def fix_containers(schema: JSON) -> None:
    """An object has properties and requires none but those; an array has items."""
    kinds = schema.get("type") or ()  # one text, or a list of them
    if "object" in kinds or "properties" in schema:
        inner = object_at(schema, "properties")
        schema["properties"] = {name: inner[name] or {} for name in inner}
        if "required" in schema:
            names = texts_of(schema, "required")
            schema["required"] = [name for name in names if name in inner]
    items = schema.get("items")
    if isinstance(items, list):
        schema["items"] = {"anyOf": items} if items else {}
    elif "array" in kinds and not isinstance(items, (dict, bool)):
        schema["items"] = {}


def fix_for_google(schema: JSON) -> None:
    """Google: one type, an enum of texts, and items that are a schema."""
    if isinstance(schema.get("items"), bool):
        schema["items"] = {}
    kinds, values = schema.get("type"), schema.get("enum")
    if isinstance(kinds, list):
        named = [kind for kind in kinds if kind != "null"]
        schema["type"] = named[0] if named else "string"
        if "null" in kinds:
            schema["nullable"] = True
        if len(named) > 1:
            describe(schema, f"Type: {' or '.join(map(str, named))}")
    if not isinstance(values, list):
        return
    if schema.get("type", "string") != "string":
        del schema["enum"]
        describe(schema, f"One of: {dumps_text(values)[1:-1]}")
        return
    if None in values:
        schema["nullable"] = True
    schema["enum"] = [
        value if isinstance(value, str) else dumps_text(value)
        for value in values
        if value is not None
    ]


def fix_all(schema: Any, *fixes: Callable[[JSON], None]) -> bool:
    """Apply fixes to a schema and to all inside it; whether they changed one."""
    changed = False
    for current in subschemas(schema):
        before = {**current}
        for fix in fixes:
            fix(current)
        changed |= current != before
    return changed


def definition(root: JSON, schema: JSON) -> JSON:
    """What a schema refers to, if that is a definition of its own root; else {}."""
    path = str(schema.get("$ref")).split("/")
    if len(path) != 3 or path[0] != "#":
        return {}
    return object_at(object_at(root, path[1]), path[2])


def merge_branches(
    schema: JSON, root: JSON, properties: JSON, seen: List[JSON]
) -> Set[str]:
    """Add all properties of a schema and its branches; the names that all require."""
    if len(seen) > MOST_BRANCHES:  # they may refer to each other
        return set()
    seen.append(schema)
    for name, inner in object_at(schema, "properties").items():
        properties.setdefault(name, inner)
    needed = set(texts_of(schema, "required"))
    unions = {key: objects(schema.get(key)) for key in UNIONS}
    if "$ref" in schema:
        unions["allOf"].append(definition(root, schema))
    for key, branches in unions.items():
        names = [merge_branches(each, root, properties, seen) for each in branches]
        if key == "allOf":
            needed.update(*names)
        elif names:
            needed |= set.intersection(*names)
    return needed


def flatten_union(schema: JSON, tool: JSON) -> None:
    """One object in the place of a union or a reference, the branches told in words."""
    if schema.keys().isdisjoint(("$ref", *UNIONS)):
        return
    properties: JSON = {}
    needed = merge_branches(schema, schema, properties, [])
    branches = objects(schema.get("anyOf")) + objects(schema.get("oneOf"))
    choices = [definition(schema, branch) or branch for branch in branches]
    for key in ("$ref", *UNIONS):
        schema.pop(key, None)
    if choices:
        describe(tool, f"Arguments by one of: {dumps_text(choices)[:2000]}")
    schema.update(properties=properties, required=sorted(needed))


def fit_schema(fit: Fit, tool: JSON) -> int:
    """Fit a tool's schema to the API that it is offered in (UPSTREAM 22.5)."""
    holder = tool_holder(tool)
    kind, key = "function", "parameters"
    if fit.endpoint == MESSAGES:
        kind, key = "custom", "input_schema"
    elif fit.endpoint == CHAT and key not in holder:
        return KEPT
    if tool.get("type") not in (None, kind):
        return KEPT
    schema = holder.get(key)
    if not isinstance(schema, dict):
        schema = holder[key] = {}
    if "$schema" in schema:
        del schema["$schema"]
        fit.cuts += 1
    before = {**schema}
    flatten_union(schema, holder)
    schema["type"] = "object"
    schema["properties"] = object_at(schema, "properties")
    fixes: List[Callable[[JSON], None]] = [fix_keywords, fix_containers]
    if fit.model.maker == "google":
        fixes.append(fix_for_google)
    inside = key == "parameters" and fix_all(schema, *fixes)
    return inside or schema != before


def is_strict(schema: Any) -> bool:
    """Whether a schema keeps OpenAI's rule for strict ones."""
    for current in subschemas(schema):
        properties = current.get("properties")
        if not isinstance(properties, dict):
            continue
        if current.get("additionalProperties") is not False:
            return False
        if properties.keys() != set(texts_of(current, "required")):
            return False
    return True


def loosen(fit: Fit, shown: JSON, key: str = "parameters", what: str = "tools") -> bool:
    """`strict` only where every object is closed and requires all that it has."""
    holder = tool_holder(shown)
    if holder.get("strict") is not True or is_strict(holder.get(key)):
        return False
    fit.tell(f"strict of {what}")
    holder["strict"] = False
    return True


def fit_format_schema(fit: Fit) -> None:
    """The schema of an output format follows the rules of a tool's."""
    path = ("text", "format")
    if fit.endpoint == CHAT:
        path = ("response_format", "json_schema")
    form = fit.read(*path)
    if not isinstance(form, dict):
        return
    changed = fix_all(form.get("schema"), fix_keywords, fix_containers)
    if changed | loosen(fit, form, "schema", "the output format"):
        fit.put(*path, form)


# OpenAI documents 64 characters, Anthropic 128 (UPSTREAM 16).
def _plain_to(most: int) -> Callable[[str], Any]:
    """What matches the names and ids that every vendor takes."""
    return re.compile("[a-zA-Z0-9_-]{1,%d}" % most).fullmatch


PLAIN_NAME = {MESSAGES: _plain_to(128), CHAT: _plain_to(64), RESPONSES: _plain_to(64)}


def digest_of(text: str) -> str:
    """64 characters that stand for a text, the same in every turn."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def short_name(name: str) -> str:
    """A tool name that every vendor takes."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return f"{plain[:53]}_{digest_of(name)[:10]}"


def rename(fit: Fit, holder: JSON, key: str = "name") -> int:
    """Shorten one tool name; the answer is given the client's own again."""
    name = holder.get(key)
    if not name or not isinstance(name, str) or PLAIN_NAME[fit.endpoint](name):
        return KEPT  # what is none is to be refused, not to be made up
    holder[key] = short_name(name)
    fit.names[holder[key]] = name
    return CHANGED


def fit_name(fit: Fit, shown: JSON) -> int:
    """Names of tools and namespaces, where they are offered and where called."""
    holder = tool_holder(shown)
    verdict = rename(fit, holder) | rename(fit, shown, "namespace")
    names = fit.offered if fit.member == "tools" else fit.called
    names[str(holder.get("name"))] = None
    return verdict


LOST_TOOL = {
    "description": "No longer available: do not call it.",
    "input_schema": {"type": "object", "properties": {}},
}


def tidy_tools(fit: Fit) -> None:
    """Say nothing of tools where there are none; declare what a history of Messages
    calls."""
    body = fit.body
    choice = object_at(body, "tool_choice")
    if rename(fit, tool_holder(choice)):
        body["tool_choice"] = {**choice}  # a copy, so that encode() sees it
    if not body.get("tools"):
        for key in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(key, None)
    if fit.endpoint != MESSAGES:
        return
    lost = [{**LOST_TOOL, "name": n} for n in fit.called if n not in fit.offered]
    tools = list_at(body, "tools")
    if lost:
        tools = body["tools"] = tools + lost
    if tools:
        chosen = text_at(choice, "name")
        if chosen and chosen not in fit.offered:
            fit.leave_out("tool_choice")
        if all(tool.get("defer_loading") for tool in tools):
            for tool in tools:  # one at least must not wait to be found
                del tool["defer_loading"]
            fit.touch("tools")


# --- blocks of a Messages history -----------------------------------------------------


def as_blocks(content: Any) -> List[JSON]:
    """A content as a list of blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def texts_in(content: Any) -> str:
    """The texts of a content, a line each."""
    texts = [text_at(part, "text") for part in as_blocks(content)]
    return "\n".join(filter(None, texts))


def say_block(block: JSON, text: str) -> int:
    """Put a text block in the place of another, with its cache mark."""
    for key in block.keys() - {"cache_control"}:
        del block[key]
    block.update(type="text", text=text)
    return CHANGED


def signature_of(block: JSON) -> str:
    """What thinking or reasoning of any kind is known by."""
    keys = ("signature", "data", "encrypted_content")
    return "".join(text_at(block, key) for key in keys)[-64:]


def drop_thinking(fit: Fit, block: JSON) -> int:
    """Thinking that its reader cannot read: of ours, of others, refused before."""
    ours = unpack_reasoning(text_at(block, "signature") or text_at(block, "data"))
    own = signature_of(block)
    if ours or not own or own in fit.learnt.get("thinking", ()):
        return GONE
    if "empty thinking" in fit.learnt and is_blank(block.get("thinking")):
        return GONE
    return block.pop("cache_control", None) is not None  # which is refused here


def thought_prints(fit: Fit, words: str) -> Set[str]:
    """All thinking of a refused request: the client sends it again in every turn."""
    blocks = objects_at(fit.body, "input")
    for turn in objects_at(fit.body, "messages"):
        blocks += objects_at(turn, "content")
    thoughts = ("thinking", "redacted_thinking", "reasoning")
    return {signature_of(block) for block in blocks if block.get("type") in thoughts}


def drop_blank(fit: Fit, block: JSON) -> int:
    """Refused as "text content blocks must be non-empty" (UPSTREAM 11.5); and Claude
    Code's billing line, which spoils the cache, as each session has its own."""
    text = block.get("text")
    if not isinstance(text, str):
        return KEPT
    blank = is_blank(text) or text.startswith(BILLING_MARK)
    return GONE if blank else KEPT


def say_server_block(fit: Fit, block: JSON) -> int:
    """Blocks of other servers' tools as words: they alone read what is encrypted."""
    run = str(block.get("name") or block.get("type"))
    if run.startswith("tool_search"):
        return KEPT
    if "code_execution" in run and "code_execution" in fit.offered:
        return KEPT  # newer models have that tool
    remove_path(block, ["content", "encrypted_content"])
    plain = {key: block[key] for key in block if key != "cache_control"}
    return say_block(block, dumps_text(plain))


def say_reference(fit: Fit, block: JSON) -> int:
    """A found tool that is not offered any more."""
    name = block.get("tool_name")
    verdict = rename(fit, block, "tool_name")
    if str(block.get("tool_name")) in fit.offered:
        return verdict
    return say_block(block, f"Tool {name} is not available.")


def lift_marks(fit: Fit, block: JSON) -> int:
    """A cache mark inside a result is refused: it belongs to the result."""
    parts = objects(content_of(fit, block))
    marked = [part for part in parts if part.get("cache_control")]
    for part in marked:
        block.setdefault("cache_control", part.pop("cache_control"))
    return bool(marked)


MARK_KEYS = {"type", "ttl"}  # scope is refused, even with its own beta
MAX_MARKS = 4  # more are refused (UPSTREAM 11.5)


def fit_mark(fit: Fit, block: JSON) -> int:
    """Count a cache mark and leave it only the keys that are taken."""
    mark = block.get("cache_control")
    if not isinstance(mark, dict):
        return KEPT
    fit.marked.append((fit.member, block))
    refused = mark.keys() - MARK_KEYS
    for key in refused:
        del mark[key]
    return bool(refused)


def drop_marks(fit: Fit) -> None:
    """Drop the first cache marks: a later one covers what stands before it."""
    for member, block in fit.marked[:-MAX_MARKS]:
        del block["cache_control"]
        fit.touch(member)


# --- pictures and documents -----------------------------------------------------------

# "image/jpg" and a type that the bytes contradict are refused (UPSTREAM 22.6).
MAGIC = {  # how their base64 begins
    "iVBORw": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


def picture(named: str, data: str) -> Tuple[str, str]:
    """A picture's type by its first bytes, and its base64 in one line."""
    data = "".join(data.split())
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return kind, data
    return named.partition(";")[0].replace("image/jpg", "image/jpeg"), data


def own_source(fit: Fit, block: JSON) -> JSON:
    """The source of a block, which holds its bytes: nobody here fetches any."""
    source = object_at(block, "source")
    kind = source.get("type")
    if kind in ("url", "file"):
        raise BadRequest(
            f"{path_of(fit.body, block)}.source: Copilot takes no {block['type']} by "
            f"{kind}; send its bytes as base64."
        )
    return source


def check_ability(fit: Fit, lesson: str, able: bool, kind: str, advice: str) -> None:
    """Say no to what the model cannot read, by the catalogue or by a refusal."""
    if lesson in fit.learnt or (fit.model.raw and not able):
        raise BadRequest(
            f"capability_rejected: {kind}_block: {fit.model.id} takes no {kind}s here; "
            f"{advice}, or choose a model that does"
        )


def check_vision(fit: Fit) -> None:
    """Claude Code drops its pictures when it reads this mark (CLIENTS 1)."""
    fit.pictures = True
    advice = "remove them from the conversation"
    check_ability(fit, "vision", fit.model.vision, "image", advice)


def fit_image(fit: Fit, block: JSON) -> bool:
    """An image block of Messages."""
    check_vision(fit)
    source = own_source(fit, block)
    before = {**source}
    if source.get("type") == "base64":
        kind, data = picture(text_at(source, "media_type"), text_at(source, "data"))
        source.update(media_type=kind, data=data)
    return source != before


def fit_image_url(fit: Fit, part: JSON) -> int:
    """A picture in a data URL, in either of OpenAI's forms."""
    check_vision(fit)
    holder, key = part, "image_url"
    if isinstance(part.get(key), dict):
        holder, key = part[key], "url"
    url = text_at(holder, key)
    found = re.match(r"data:([^,]{0,99});base64,", url)
    if found is None:
        return KEPT
    holder[key] = "data:%s;base64,%s" % picture(found[1], url[found.end() :])
    return holder[key] != url


def check_document(fit: Fit, part: JSON) -> int:
    """A PDF for a model that does not list the type, or has refused one."""
    able = "application/pdf" in fit.model.media_types
    check_ability(fit, "documents", able, "document", "send the text")
    return KEPT


def fit_document(fit: Fit, block: JSON) -> int:
    """A document that is text becomes text: only PDF is taken (UPSTREAM 11.5)."""
    source = own_source(fit, block)
    text = text_at(source, "data")
    content = source.get("content")
    if isinstance(content, (str, list)):
        text = texts_in(content)
        if any(part.get("type") == "image" for part in objects(content)):
            fit.tell("images of a document")
    elif source.get("type") != "text":
        return KEPT
    words = [text_at(block, "title"), text_at(block, "context"), text]
    text = "\n\n".join(filter(None, words))
    return GONE if is_blank(text) else say_block(block, text)


# --- turns ----------------------------------------------------------------------------

# Chat refuses ids above 40 characters, Responses above 64 (UPSTREAM 22.4); Messages
# takes no others than these (UPSTREAM 22.3).
PLAIN_ID = {MESSAGES: _plain_to(128), CHAT: _plain_to(40), RESPONSES: _plain_to(64)}
ID_KEYS = "id tool_use_id tool_call_id call_id".split()


def fit_call_id(fit: Fit, shown: JSON) -> int:
    """Ids of other vendors' calls. Nothing to undo: new ids are the upstream's own."""
    verdict = KEPT
    for key in ID_KEYS:
        call_id = shown.get(key)
        if type(call_id) is not str:
            continue
        if not PLAIN_ID[fit.endpoint](call_id):
            call_id = shown[key] = f"call_{digest_of(call_id)[:24]}"
            verdict = CHANGED
        if key == "id":
            fit.calls.append((fit.turn, call_id))
        else:
            fit.results.append((fit.turn - 1, call_id))
    return verdict


RANKS = {"tool_result": 0, "tool_use": 2}  # of the blocks of a turn


def rank_of(block: Any) -> int:
    """Where a block stands in its turn."""
    return RANKS.get(text_at(block, "type"), 1)


def sort_blocks(fit: Fit, turn: JSON) -> int:
    """Results first, as they are looked for right behind the calls (UPSTREAM 11.5), and
    calls last: text behind one is refused as if it were a prefill (UPSTREAM 11.6).
    It is shown each turn, so it counts them for those that pair calls and results."""
    fit.turn += 1
    content = content_of(fit, turn)
    if type(content) is not list or len(content) < 2:
        return KEPT
    before = [*content]
    content.sort(key=rank_of)
    return content != before


def fit_system_turn(fit: Fit, turn: JSON) -> int:
    """Instructions in between need a beta; else they become the user's words, as Claude
    Code folds them."""
    # That model refuses them with the beta too.
    refused = "system turns" in fit.learnt or fit.model.id == "claude-sonnet-4.6"
    if refused or not takes_beta(fit, MID_SYSTEM_BETA):
        turn.pop("output_config", None)  # which no other turn may have
        turn["role"] = "user"
        fit.turn += 1  # which it counts as from here on
        return CHANGED
    if MID_SYSTEM_BETA not in fit.betas:
        fit.betas.append(MID_SYSTEM_BETA)
    return KEPT


def drop_empty_turns(fit: Fit) -> None:
    """A turn that says nothing is refused (UPSTREAM 11.5), a system text too."""
    if is_blank(fit.body.get("system")):
        del fit.body["system"]
    turns = fit.body["messages"]
    kept = [turn for turn in turns if not is_blank(turn.get("content"))]
    if len(kept) < len(turns):
        fit.body["messages"] = kept


# A call without a result is refused by every vendor; clients lose some on Ctrl-C.
INTERRUPTED = "The call was interrupted."
UNANSWERED = {"type": "tool_result", "is_error": True, "content": INTERRUPTED}
UNANSWERED_CHAT = {"role": "tool", "content": INTERRUPTED}
ORPHAN = "[result of a tool call that is not shown]"


def orphan_parts(content: Any, kind: str) -> List[JSON]:
    """A result without a call as a text of this kind, and what in it is none: what it
    says may matter. But a reference loads no tool without its call, and is refused."""
    parts = as_blocks(content)
    if parts != objects(parts):
        parts = as_blocks(dumps_text(content))
    words = "\n".join(filter(None, [ORPHAN, texts_in(parts)]))
    more = [
        part
        for part in parts
        if "text" not in part and part.get("type") != "tool_reference"
    ]
    return [{"type": kind, "text": words}, *more]


def part_results(
    blocks: List[JSON], waiting: Dict[str, None], results: List[JSON]
) -> List[JSON]:
    """Blocks or messages without the results that calls wait for, which `results` gets;
    those of no call become the user's words."""
    others: List[JSON] = []
    for block in blocks:
        call_id = str(block.get("tool_use_id") or block.get("tool_call_id"))
        if block.get("type") != "tool_result" and block.get("role") != "tool":
            others.append(block)
        elif call_id in waiting:
            del waiting[call_id]
            results.append(block)
        elif "role" in block:
            parts = orphan_parts(block.get("content"), "text")
            others.append({"role": "user", "content": parts})
        else:
            words, *more = orphan_parts(block.get("content"), "text")
            say_block(block, words["text"])
            others += [block, *more]
    return others


def answer_calls(turns: List[JSON], waiting: Dict[str, None]) -> List[JSON]:
    """The turns behind calls, with the results in the first one of the user's, since a
    turn of their own would part the calls from other results."""
    results: List[JSON] = []
    for turn in turns:
        blocks = objects_at(turn, "content")
        others = part_results(blocks, waiting, results)
        if others != blocks:
            turn["content"] = others
    results += [{**UNANSWERED, "tool_use_id": call_id} for call_id in waiting]
    if not results:
        return turns
    homes = [turn for turn in turns if turn.get("role") == "user"]
    if not homes:
        homes = [{"role": "user"}]
        turns = homes + turns
    homes[0]["content"] = results + as_blocks(homes[0].get("content"))
    return turns


def is_answer(turn: JSON) -> bool:
    """Whether the model has said it."""
    return turn.get("role") == "assistant"


def pair_blocks(fit: Fit) -> None:
    """Every tool_use is answered in the user's next turn, and nothing else is."""
    if fit.calls == fit.results:  # each right behind its call, as nearly always
        return
    paired: List[JSON] = []
    waiting: Dict[str, None] = {}
    for answered, run in itertools.groupby([*fit.body["messages"], {}], is_answer):
        turns = list(run)
        if answered:
            blocks = [one for turn in turns for one in as_blocks(turn.get("content"))]
            blocks.sort(key=rank_of)  # one turn: results are looked for behind the last
            uses = [one for one in blocks if one.get("type") == "tool_use"]
            waiting = {str(use.get("id")): None for use in uses}
            if uses:
                turns = [{**turns[0], "content": blocks}]
        else:
            turns = answer_calls(turns, waiting)
        paired += turns
    fit.body["messages"] = paired[:-1]
    drop_empty_turns(fit)


def end_with_user(fit: Fit) -> None:
    """Models since 4.6 refuse a text begun for them; older ones go on with it."""
    key = "input" if fit.endpoint == RESPONSES else "messages"
    turns = list_at(fit.body, key)
    adaptive = fit.model.adaptive and "no adaptive" not in fit.learnt
    if adaptive or "prefill" in fit.learnt or fit.endpoint == CHAT:
        roles = [turn.get("role") for turn in turns if turn.get("role") != "system"]
        if roles[-1:] == ["assistant"]:
            fit.body[key] = [*turns, {"role": "user", "content": GO_ON}]


def blocks_of(turn: JSON, *kinds: str) -> List[JSON]:
    """The blocks of a turn that are of these kinds."""
    blocks = objects_at(turn, "content")
    return [block for block in blocks if block.get("type") in kinds]


def loop_calls(fit: Fit, words: str = "") -> Set[str]:
    """The calls behind the last prompt: the tool loop that is under way."""
    calls: Set[str] = set()
    for turn in reversed(objects_at(fit.body, "messages")):
        if turn.get("role") == "user" and not blocks_of(turn, "tool_result"):
            break
        calls.update(str(call.get("id")) for call in blocks_of(turn, "tool_use"))
    return calls


def drop_lost_thinking(fit: Fit) -> None:
    """No thinking in a tool loop whose own is lost, once that is refused. The loop is
    looked at as it goes up, which is how the refusal has taught it."""
    if not loop_calls(fit).isdisjoint(fit.learnt["lost thinking"]):
        fit.leave_out("thinking")


# --- OpenAI chat ----------------------------------------------------------------------


def cut_at_stops(fit: Fit) -> None:
    """Where `stop` is refused, this proxy cuts the answer itself (UPSTREAM 22.6)."""
    key = "stop_sequences" if fit.client.dialect == "anthropic" else "stop"
    stops = fit.client.body.get(key)
    if isinstance(stops, str):
        stops = [stops]
    if isinstance(stops, list):
        fit.stops = parse_stops({key: stops}, key)
    fit.body.pop("stop", None)


MAX_TOOLS = 128  # HARD_TOOL_LIMIT of the official client (UPSTREAM 16)


def check_tool_count(body: JSON) -> None:
    """Raise BadRequest for more tools than are taken: none may be dropped unasked."""
    tools = list_at(body, "tools")
    if len(tools) > MAX_TOOLS:
        raise BadRequest(
            f"tools: {len(tools)} are too many, this model takes {MAX_TOOLS}; switch "
            "some MCP servers off"
        )


def fit_chat_fields(fit: Fit) -> None:
    """Fields of chat, and the limit under the name that is taken (UPSTREAM 9.1)."""
    body, model = fit.body, fit.model
    body["stream"] = True  # whole answers have a cap and a time-out
    body.pop("stream_options", None)  # usage comes unasked
    reasoner = re.match(REASONERS, model.id)
    if reasoner:
        body.pop("n", None)
    check_tool_count(body)
    stops = body.get("stop")
    if isinstance(stops, list) and not 0 < len(stops) <= 4:  # in OpenAI's words
        cut_at_stops(fit)
    wanted = field(body, "max_completion_tokens", int) or field(body, "max_tokens", int)
    if not wanted and re.match("claude", model.id):
        wanted = model.output  # as the official client
    if not wanted:
        return
    for key in ("max_tokens", "max_completion_tokens"):
        body.pop(key, None)
    named = reasoner or "limit name" in fit.learnt
    key = "max_completion_tokens" if named else "max_tokens"
    # Clamped to the catalogue: only Messages is known to take more than that lists.
    body[key] = min(wanted, model.output or wanted)


def fit_role(fit: Fit, message: JSON) -> bool:
    """`developer` is OpenAI's reasoning models' word; o1 knows none but the user's."""
    before = message["role"]
    message["role"] = "user" if fit.model.id.startswith("o1") else "system"
    return message["role"] != before


def fit_chat_turn(fit: Fit, message: JSON) -> int:
    """Copilot gets back what ChatWriter gave out, and nothing that another made; no
    blank ends, no empty list, no turn that says nothing (UPSTREAM 9.1)."""
    before = {**message}
    message.update(uncarry(message))
    if message.get("role") != "assistant":
        return message != before
    thought = message.pop("reasoning_content", None)
    packed = unpack_reasonings(text_at(message, "reasoning_opaque"))
    if packed:
        del message["reasoning_opaque"]
    for opaque, source in packed:
        if source == chat_source(fit.model):
            message.update(reasoning_text=thought or "", reasoning_opaque=opaque)
    for key in ("tool_calls", "annotations"):
        if message.get(key) == []:
            del message[key]
    if isinstance(message.get("content"), str):
        message["content"] = message["content"].rstrip()
    if not message.get("content") and not message.get("tool_calls"):
        return GONE
    return message != before


def pair_chat_results(fit: Fit) -> None:
    """Every call is answered right behind it, and nothing else is."""
    messages = fit.body["messages"]
    paired: List[JSON] = []
    behind: List[JSON] = []  # the model's last turn
    waiting: Dict[str, None] = {}
    for message in [*messages, {"role": "assistant"}]:
        if not is_answer(message):
            behind.append(message)
            continue
        results: List[JSON] = []
        others = part_results(behind, waiting, results)
        stubs = [{**UNANSWERED_CHAT, "tool_call_id": call_id} for call_id in waiting]
        paired += [*results, *stubs, *others, message]
        behind = []
        calls = objects_at(message, "tool_calls")
        waiting = {str(call.get("id")): None for call in calls}
    if paired[:-1] != messages:
        fit.body["messages"] = paired[:-1]


def mark_for_cache(fit: Fit) -> None:
    """Mark at most 4 messages (UPSTREAM 9.1): a cached prompt costs a tenth."""
    messages = fit.body["messages"]
    if any("copilot_cache_control" in message for message in messages):
        return  # the client knows Copilot and does it itself
    systems = [each for each in messages if each.get("role") == "system"]
    results = [each for each in messages if each.get("role") == "tool"]
    for message in systems[:1] + systems[-1:] + results[-1:] + messages[-1:]:
        message["copilot_cache_control"] = {"type": "ephemeral"}
    fit.touch("messages")


# --- OpenAI Responses -----------------------------------------------------------------

INCLUDES = (
    "web_search_call.action.sources",  # of the tools that Copilot has
    "message.output_text.logprobs",
    "message.input_image.image_url",
)
NOTES = "internal_"  # so begin members that Codex keeps for itself (CLIENTS 8)
LEAST_OUTPUT = 16  # a smaller max_output_tokens is a 400 (UPSTREAM 10.1)
LONGEST_KEY = 64  # of a prompt_cache_key


def fit_responses_fields(fit: Fit) -> None:
    """Fields that Copilot refuses or does not know (UPSTREAM 10.1)."""
    body, model = fit.body, fit.model
    body["stream"] = True  # whole answers have a cap and a time-out
    fit.leave_out("service_tier")
    check_tool_count(body)
    notes = [key for key in body if key.startswith(NOTES)]
    for key in ("previous_response_id", "client_metadata", *notes):  # (CLIENTS 2)
        body.pop(key, None)
    include = field(body, "include", list, default=[])
    known = INCLUDES
    if takes_reasoning(model):
        known = (ENCRYPTED, *INCLUDES)
    elif text_at(body.pop("reasoning", None), "effort"):
        fit.tell("reasoning.effort")
    wanted = [*include, ENCRYPTED] if wants_memory(body, model) else include
    kept = [one for one in wanted if one in known]
    if kept != include:
        body["include"] = kept
    if not kept:
        body.pop("include", None)
    body["store"] = False
    limit = field(body, "max_output_tokens", int)
    if limit is not None:
        most = min(limit, model.output or limit)
        body["max_output_tokens"] = max(LEAST_OUTPUT, most)
    cache_key = text_at(body, "prompt_cache_key")
    if len(cache_key) > LONGEST_KEY:
        body["prompt_cache_key"] = digest_of(cache_key)


def fit_items(fit: Fit) -> None:
    """Leave out ids, which another connection refuses (UPSTREAM 10.1), Codex's notes,
    and reasoning of another vendor or refused before; a compaction of ours becomes the
    user's words. Every call by name has one output, and every such output a call."""
    items = list_at(fit.body, "input")
    refused = fit.learnt.get("reasoning", ())
    names = [(text_at(item, "type"), text_at(item, "call_id")) for item in items]
    known = collections.Counter(names)
    kept: List[JSON] = []
    for item, (kind, call_id) in zip(items, names):
        ours = unpack_reasoning(text_at(item, "encrypted_content"))
        if kind == "reasoning" and (ours or signature_of(item) in refused):
            continue
        plain = {
            key: value
            for key, value in item.items()
            if key != "id" and not key.startswith(NOTES)
        }
        if ours:
            words = [{"type": "input_text", "text": summary_text(item)}]
            plain = {"type": "message", "role": "user", "content": words}
        call = kind.removesuffix("_output")
        if call != kind and call in NAMED_CALLS:
            known[call, call_id] -= 1
            if known[call, call_id] < 0:
                parts = orphan_parts(item.get("output"), "input_text")
                plain = {"role": "user", "content": parts}
        kept.append(plain)
        output = kind + "_output"
        if kind in NAMED_CALLS and not known[output, call_id]:
            kept.append({"type": output, "call_id": call_id, "output": INTERRUPTED})
    if kept != items:
        fit.body["input"] = kept


def fit_embeddings(fit: Fit) -> None:
    """A list only, and no word on the encoding, which is ignored (UPSTREAM 13)."""
    body = fit.body
    inputs = body.get("input")
    if isinstance(inputs, str):
        inputs = body["input"] = [inputs]
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("input: expected a string or a list of strings")
    form = field(body, "encoding_format", str, default="float")
    one_of(form, ("float", "base64"), "encoding_format")
    body.pop("encoding_format", None)


# --- the table ------------------------------------------------------------------------

# Of subjects, as "/chat/completions google gemini-3.1-pro-preview" or
# "/v1/messages anthropic claude-sonnet-4.5".
EVERYWHERE = r"/(?:v1/messages|chat/completions|responses) "
ON_MESSAGES = r"/v1/messages "
ON_CHAT = r"/chat/completions "
ON_RESPONSES = r"/responses "
ON_OPENAI = r"/(?:chat/completions|responses) "
OF_REASONERS = rf"/(?:chat/completions|responses) \S* (?:{REASONERS})"
CALL_KINDS = "tool_use function custom function_call custom_tool_call"
RESULT_KINDS = "tool_result tool function_call_output custom_tool_call_output"
# What another server ran, so that no model here can read it (UPSTREAM 11.5).
SERVER_BLOCKS = (
    "server_tool_use web_search_tool_result web_fetch_tool_result advisor_tool_result"
    " code_execution_tool_result bash_code_execution_tool_result"
    " text_editor_code_execution_tool_result container_upload mcp_tool_use"
    " mcp_tool_result compaction"
)


# Where a cache mark may stand.
MARKED = f"{OFFERED} text image document tool_use tool_result search_result"


def whole_words(fit: Fit, words: str) -> Set[str]:
    """Names in a list; "" where a refusal needs no more words."""
    return set(re.split(r"[^\w.-]+", words.strip(" .[]")))


def noted(fit: Fit) -> None:
    """For a row that another one reads: the lesson is all that there is of it."""


class Rule(NamedTuple):
    """One thing that an upstream refuses, and how a request gets around it."""

    name: str  # what a lesson of it is called
    repair: Repair = noted
    where: str = ""  # pattern for "endpoint maker model"; none = once it is taught
    kinds: str = ""  # of the objects that it is shown; none = all at once
    words: str = ""  # a refusal with these words teaches it
    learn: Callable[[Fit, str], Set[str]] = whole_words  # what exactly; none = nothing


# To add a rule: write its repair, a function of the Fit alone or of it and one object,
# which edits in place and answers KEPT, CHANGED or GONE; give it a row here, with
# `where` if it is known from the start (ON_CHAT + "google " for one vendor's models on
# chat) and `words` if a refusal tells of it; add it to the table of this room's tests,
# and what the real service says to the fake upstream.
# Top to bottom: those with `kinds` share a walk, which is where the first of them
# stands, and the first words that match teach, or nothing does if they have before.
RULES: Tuple[Rule, ...] = (
    # Whole requests: first what must be refused, so that nothing is repaired in vain.
    Rule("shape", check_shape, EVERYWHERE),
    Rule("meaning", refuse_meaning, EVERYWHERE),  # UPSTREAM 22.3
    Rule("model", name_model, f"{EVERYWHERE}|/embeddings "),
    Rule("choice", fit_messages_choice, ON_MESSAGES),  # UPSTREAM 0.4
    Rule("embeddings", fit_embeddings, "/embeddings "),  # UPSTREAM 13, 22.6
    Rule("beta", words=r"unsupported beta header\(s\): ([\w.,\- ]+)|invalid beta flag"),
    Rule("betas", choose_betas, ON_MESSAGES),  # UPSTREAM 11.4, 22.3
    Rule("top fields", fit_top_fields, ON_MESSAGES),  # UPSTREAM 11.5, 22.3
    Rule("limits", fit_messages_limits, ON_MESSAGES),  # UPSTREAM 11.5
    Rule("max_tokens", words=r"max_tokens: \d+ > (\d+)"),
    Rule("responses fields", fit_responses_fields, ON_RESPONSES),  # UPSTREAM 10.1
    Rule("reasoner samplers", drop_both_samplers, OF_REASONERS),  # UPSTREAM 9.1
    Rule(
        "second sampler",
        drop_second_sampler,
        r"/v1/messages \S* claude-(?:sonnet|haiku)-4[.-]5",
        words=r"temperature\W{1,3}and\W{1,3}top_p\W{1,3}cannot both",
    ),  # UPSTREAM 22.3
    Rule(
        "samplers", drop_samplers,
        words=r"\b(temperature|top_p|top_k)\W{0,2} is (?:not supported|deprecated)",
    ),  # UPSTREAM 22.3
    Rule(
        "forced choice", words=r"tool_choice: type .{1,40} (?:is|are) not supported"
    ),  # UPSTREAM 22.3
    Rule(
        "stop", cut_at_stops, f"/responses |{OF_REASONERS}", words=r"parameter: 'stop'"
    ),  # UPSTREAM 22.6
    Rule(
        "limit name", words=r"'max_tokens' is not supported.{1,80}max_completion_tokens"
    ),
    Rule("chat fields", fit_chat_fields, ON_CHAT),  # UPSTREAM 9.1
    Rule("always thinks", words=r"thinking\.type\.disabled"),  # UPSTREAM 22.3
    Rule("no adaptive", words=r"adaptive thinking is not supported"),
    Rule("no budget", words=r"thinking\.type\.enabled"),
    Rule("thinking kind", fit_thinking, ON_MESSAGES),  # UPSTREAM 11.5
    Rule(
        "calm effort", words=r"effort '\w+' is not supported when thinking is disabled"
    ),  # UPSTREAM 22.3
    Rule(
        "effort",
        fit_effort,
        EVERYWHERE,
        words=r"(?:effort\b.{0,80}|'(?:none|minimal|low|medium|high|xhigh|max)' is )"
        r"not supported(?:.{0,120}?supported values[^:]{0,20}:(.*))?",
    ),  # UPSTREAM 11.5
    Rule(
        "format",
        say_format,
        words=r"allowedPartnerModelFeatures"
        r"|(?:output_config\.format|response_format|text\.format|structured outputs?)"
        r"\b.{0,80}(?:not permitted|not supported)",
    ),  # UPSTREAM 11.5
    Rule(
        "fields",
        drop_fields,
        words=r"([\w.]+): extra inputs are not permitted"
        r"|(?:unsupported|unknown) parameter: '([\w.\[\]]+)'"
        r"|unrecognized request argument supplied: ([\w.]+)",
        learn=field_path,
    ),
    Rule("format schema", fit_format_schema, ON_OPENAI),  # UPSTREAM 22.4, 22.5
    Rule(
        "namespaces", words=r"tools\[\d+\]\.tools|\bnamespace\b|\btool_search\b"
    ),  # UPSTREAM 22.4: such a model gets the request translated (18)
    Rule(
        "reasoning",
        words=r"encrypted content.{1,200}could not be (?:verified|decrypted)",
        learn=thought_prints,
    ),  # UPSTREAM 22.4
    # Offered tools: before the turns, because those ask what is offered.
    Rule("tools of Messages", fit_messages_tool, ON_MESSAGES, OFFERED),  # UPSTREAM 11.5
    Rule(
        "tools of Responses", fit_responses_tool, ON_RESPONSES, OFFERED
    ),  # UPSTREAM 10.1
    Rule("schemas", fit_schema, EVERYWHERE, OFFERED),  # UPSTREAM 22.5
    Rule("strict", loosen, ON_OPENAI, OFFERED),  # UPSTREAM 22.4
    Rule("names", fit_name, EVERYWHERE, f"{OFFERED} {CALL_KINDS}"),  # UPSTREAM 11.5, 16
    # Turns, items and blocks: carried ids before ids, else they would be hashed.
    Rule("chat turns", fit_chat_turn, ON_CHAT, "assistant tool"),
    Rule(
        "roles", fit_role, rf"/chat/completions \S* (?:o1|(?!{REASONERS}))",
        "system developer",
    ),  # UPSTREAM 9.1
    Rule(
        "system turns", fit_system_turn, ON_MESSAGES, "system",
        words=r"unexpected role \W?system",
    ),  # UPSTREAM 11.5
    Rule("order", sort_blocks, ON_MESSAGES, "user assistant"),  # UPSTREAM 11.5, 11.6
    Rule(
        "thinking",
        drop_thinking,
        ON_MESSAGES,
        "thinking redacted_thinking",
        words=r"signature`? in `?thinking|block cannot be `?thinking"
        r"|thinking.{1,80}cannot be modified|bound to a different conversation",
        learn=thought_prints,
    ),  # UPSTREAM 11.6, 22.3
    Rule(
        "empty thinking", words=r"each thinking block must contain thinking"
    ),  # UPSTREAM 22.3
    Rule(
        "server blocks", say_server_block, ON_MESSAGES, SERVER_BLOCKS
    ),  # UPSTREAM 11.5
    Rule("references", say_reference, ON_MESSAGES, "tool_reference"),  # UPSTREAM 11.5
    Rule("result marks", lift_marks, ON_MESSAGES, "tool_result"),  # UPSTREAM 22.3
    Rule("images", fit_image, ON_MESSAGES, "image"),  # UPSTREAM 22.6
    Rule("image URLs", fit_image_url, ON_OPENAI, "image_url input_image"),
    Rule("vision", words=r"vision is not (?:enabled|supported)"),
    Rule("documents of text", fit_document, ON_MESSAGES, "document"),  # UPSTREAM 11.5
    Rule(
        "documents",
        check_document,
        ON_OPENAI,
        "file input_file",
        words=r"only text and image_url are allowed|'(?:input_)?file'|input_file"
        r"|file input is not supported",
    ),  # UPSTREAM 9.1, 22.4
    Rule(
        "ids", fit_call_id, EVERYWHERE, f"{CALL_KINDS} {RESULT_KINDS}"
    ),  # UPSTREAM 22.3, 22.4
    Rule("blank", drop_blank, ON_MESSAGES, "text"),  # UPSTREAM 11.5
    Rule("marks", fit_mark, ON_MESSAGES, f"{MARKED} {SERVER_BLOCKS}"),  # UPSTREAM 11.5
    # What the walk has left: pairs before the last turn, since they may add one.
    Rule("empty turns", drop_empty_turns, ON_MESSAGES),  # UPSTREAM 11.5
    Rule("pairs", pair_blocks, ON_MESSAGES),  # UPSTREAM 11.5
    Rule("chat pairs", pair_chat_results, ON_CHAT),
    Rule("items", fit_items, ON_RESPONSES),  # UPSTREAM 10.1
    Rule(
        "prefill", end_with_user, r"/v1/messages |/chat/completions \S* claude",
        words=r"does not support assistant message prefill",
    ),  # UPSTREAM 11.5
    Rule(
        "lost thinking",
        drop_lost_thinking,
        words=r"expected `?thinking`? or `?redacted_thinking`?, but found",
        learn=loop_calls,
    ),  # UPSTREAM 22.3
    Rule("tool list", tidy_tools, EVERYWHERE),  # UPSTREAM 11.5, 22.6
    Rule("too many marks", drop_marks, ON_MESSAGES),  # UPSTREAM 11.5
    Rule("cache", mark_for_cache, r"/chat/completions \S* claude"),  # UPSTREAM 9.1
)
MAX_LESSONS = 5000  # of one rule and model: an upstream gone mad must not grow us
MAX_SUBJECTS = 500  # models times endpoints; never as many in one catalogue
Step = Callable[[Fit], None]


def subject_of(endpoint: str, model: Model) -> str:
    """What rules hold for, and lessons are kept by: "endpoint maker model"."""
    return f"{endpoint} {model.maker} {model.id}"


@functools.lru_cache(MAX_SUBJECTS)
def plan_steps(subject: str, *learnt: str) -> List[Step]:
    """The rules that hold for "endpoint maker model", as steps; one walks."""
    steps: List[Step] = []
    repairs: Repairs = {}
    talks = re.match(EVERYWHERE, subject)
    for rule in RULES:
        known = rule.where and re.match(rule.where, subject, re.I)
        if not known and rule.name not in learnt:
            continue
        if rule.kinds and not talks:  # texts are no objects to be shown
            continue
        if not rule.kinds:
            steps.append(rule.repair)
        elif not repairs:
            steps.append(functools.partial(walk, repairs))
        for kind in rule.kinds.split():
            repairs.setdefault(kind, []).append(rule.repair)
    return steps


class Fitter:
    """Fits requests, and remembers what refusals taught while the process lives."""

    def __init__(self) -> None:
        self._learnt: Dict[str, Dict[str, Dict[str, None]]] = {}  # subject -> rule

    def fit(self, client: ClientBody, body: JSON, model: Model, endpoint: str) -> Fit:
        """Run the rules over `body`, which they edit; raises BadRequest.

        After a lesson build the body anew from the client's bytes and fit that: twice
        over one body, a rule would meet its own work.
        """
        subject = subject_of(endpoint, model)
        learnt = self._learnt.get(subject, {})
        fit = Fit(client, body, model, endpoint, learnt)
        for step in plan_steps(subject, *learnt):
            step(fit)
        return fit

    def has_learnt(self, rule: str, model: Model, endpoint: str) -> bool:
        """Whether a refusal has taught a rule."""
        return rule in self._learnt.get(subject_of(endpoint, model), {})

    def learn(self, fit: Fit, exc: UpstreamError) -> str:
        """Take in a refusal, a 400; a sentence on what it taught, "" = nothing new."""
        subject = subject_of(fit.endpoint, fit.model)
        learnt = self._learnt.get(subject, {})
        for rule in RULES:
            found = rule.words and re.search(rule.words, exc.words, re.I | re.S)
            if not found:
                continue
            known = learnt.get(rule.name, {})
            details = rule.learn(fit, "".join(filter(None, found.groups())))
            news = sorted(details - known.keys())
            if not details:  # these words may be another rule's
                continue
            if not news:
                break
            for name in news:
                keep_newest(known, name, None, MAX_LESSONS)
            learnt[rule.name] = known
            keep_newest(self._learnt, subject, learnt, MAX_SUBJECTS)
            # Logged: not the upstream's words, which may quote the prompt, nor prints.
            names = [name for name in news[:8] if re.fullmatch(r"[\w.*-]{1,60}", name)]
            if rule.learn is thought_prints:
                names = []
            lesson = f"{rule.name} {', '.join(names)}".rstrip()
            return f"{fit.model.id} refuses this, so it is sent otherwise: {lesson}"
        return ""


# ============================================================================
# 13. Tokens, usage and limits
# ============================================================================
# Arithmetic over an injected clock: how long a prompt is, what was used, and who has
# to wait.                                                               uses: 0-2, 4, 8
# Contract: an estimate is >= 1 and linear in the text; sums of sessions are the totals;
# what an admitted request may cost is charged at once and corrected by what it did
# cost; every table here is bounded.

# How o200k cuts text before it looks for tokens, without \p classes: the same pieces on
# 919 samples but for 1.3 % of the worst.
_SYM = (
    r"\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    r"\u2010-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u206f\u200b-\u200f\u20a0-\u20bf"
    r"\u2100-\u2bff\u3001-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30fb\ufe30-\ufe6f"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffee\ufff9-\ufffd"
    r"\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e3f\ue000-\uf8ff"
    r"\U0001f000-\U0001faff\U000e0000-\U000e007f"
)
_OTHER_SCRIPTS = (
    r"\u0530-\u060b\u060d-\u061a\u061c-\u061e\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef"
    r"\u06fa-\u0963\u0970-\u0e3e\u0e40-\u1dff\u2c00-\u2fdf\u3005-\u3007\u3040-\u30fa"
    r"\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ud7ff\uf900-\ufdff\ufe20-\ufe2f"
    r"\ufe70-\ufefe\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc\U00010000-\U0001efff"
    r"\U00020000-\U0003ffff"
)
PIECES = "|".join(
    (
        r"{lead}[{up}]*[a-z\u00aa\u00b5\u00ba\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff"
        r"\u0300-\u036f\ufe00-\ufe0f]+{clitic}",
        r"{lead}[{up}]+{clitic}",
        r"{lead}[\u0400-\u052f\u0370-\u03ff\u1f00-\u1fff]+",
        r"{lead}[{other}]+",
        r"[0-9]{{1,3}}",
        r" ?[{ascii}{sym}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
        r"[\s\S]",
    )
).format(
    lead=r"[\t\x0b\x0c !-/:-@\[-`{-~\u00a0\u2000-\u200a\u3000" + _SYM + "]?",
    up=r"A-Z\u00c0-\u00d6\u00d8-\u00de", clitic="(?:'(?:[stmd]|re|ve|ll))?",
    other=_OTHER_SCRIPTS, ascii=r"!-/:-@\[-`{-~", sym=_SYM,
)

# The prices of pieces, fitted to published counts on code, data and 60 languages: 4 %
# off in the median on English, code and data.
WEIGHTS = {  # o200k, Claude up to 4.6, Claude from 4.7
    "word": (0.99, 1.04, 1.29),  # letters, and one blank before them
    "marked": (1.27, 2.06, 2.49),  # letters, and a punctuation mark before them
    "cap": (0.05, 0.41, 1.23),
    "long": (0.09, 0.14, 0.40),  # letters 7-20 of a lower or Capitalised word
    "upper": (0.15, 0.45, 0.85),  # letters 2-12 of an UPPER or MIxed one
    "beyond": (0.30, 0.36, 0.90),
    "number": (1.07, 1.08, 0.97),
    "blank": (0.99, 0.75, 0.42),
    "newline": (1.40, 1.42, 1.68),
    "punct": (1.01, 1.00, 1.13),
    "change": (0.18, 0.35, 0.70),  # in a run, each change of character after two
    "repeat": (0.02, 0.03, 0.11),  # in a run, each repetition after three
    "ending": (-0.06, 1.09, 1.27),  # the run takes the newline with it
    "latin1": (0.35, 0.80, 1.10),  # each letter with an accent
    "extended": (0.50, 1.50, 0.80),  # and more where it is not of Latin-1
    "sign": (1.03, 1.21, 1.52),
    "script": (0.35, 0.40, 0.40),
}
# Of other scripts each character has a price; a row's holds up to the next one, so
# that rare scripts are not forgotten.
SCRIPTS = (  # first character, o200k, Claude
    (0, 1.83, 1.90),
    (0x370, 0.35, 0.72),
    (0x400, 0.28, 0.37),
    (0x590, 0.45, 0.78),
    (0x600, 0.30, 0.71),
    (0x900, 0.42, 1.2),
    (0xE00, 0.40, 0.88),
    (0x1000, 0.45, 1.5),
    (0x2000, 1.83, 1.90),
    (0x3005, 0.59, 0.75),
    (0x3100, 0.81, 0.99),
    (0xAC00, 0.68, 1.24),
    (0xE000, 1.83, 1.90),
    (0x1F000, 2.39, 2.40),
    (0x1FB00, 0.81, 0.99),
)
SCRIPT_STARTS = [row[0] for row in SCRIPTS]
COMMON_SIGNS = re.compile(
    "[\u00a0-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u203a\u20ac\u2122\u2190\u2192\u221a"
    "\u2500\u2502\u251c\u2501\u2550\u2551\u200b\ufeff]"
).match


class Family(NamedTuple):
    """How one kind of model counts."""

    column: int  # of WEIGHTS
    factor: float = 1.0  # on all text
    request: int = 3  # tokens around a request,
    message: int = 3  # around each message,
    tools: int = 24  # before the tools,
    tool: int = 0  # around each tool,
    declared: float = 0.65  # and of a tool's JSON: as a declaration it is shorter


GPT = Family(0)
# Claude Code takes 500 off when it asks for tools.
CLAUDE_4 = Family(1, message=4, tools=496, tool=20, declared=1)
CLAUDE_5 = CLAUDE_4._replace(column=2, request=7)  # and 4.7, 4.8
GEMINI = Family(0, factor=1.16)
_CLAUDE_VERSION = re.compile(r"claude[^0-9]*([0-9]{1,9})(?:[.-]([0-9]{1,2})(?![0-9]))?")


def family_of(model: str) -> Family:
    """The family of a model's id; an unknown Claude is a new one."""
    name = model.lower()
    if "gemini" in name:
        return GEMINI
    if "claude" not in name:
        return GPT
    found = _CLAUDE_VERSION.search(name)
    if found and (int(found[1]), int(found[2] or 0)) < (4, 7):
        return CLAUDE_4
    # Counting too little is the dangerous side: Claude Code would compact too late.
    return CLAUDE_5


def word_marks(piece: str) -> Dict[str, float]:
    """What a piece of letters has of each row of WEIGHTS."""
    marked = not piece[0].isalpha()
    letters = piece[marked:]
    size = len(letters)
    marks: Dict[str, float] = {
        "marked" if marked and piece[0] != " " else "word": 1,
        "beyond": max(0, size - 20),
    }
    if not letters.isascii():
        accents = [char > "\xff" for char in letters if char > "\x7f"]
        marks.update(latin1=len(accents), extended=sum(accents))
    if letters[1:].islower() or letters.islower():
        marks["long"] = max(0, min(size, 20) - 6)
        marks["cap"] = not letters.islower()
    else:
        marks["upper"] = min(size, 12) - 1
    return marks


def run_marks(piece: str) -> Dict[str, float]:
    """What a run of ASCII punctuation has of each row of WEIGHTS."""
    run = piece.strip(" \r\n")
    changes = sum(map(str.__ne__, run, run[1:]))
    return {
        "punct": 1,
        "change": max(0, changes - 2),
        "repeat": max(0, len(run) - changes - 4),
        "ending": piece[-1] in "\r\n",
    }


@functools.lru_cache(60_000)  # a session has 17,600 pieces a MB
def piece_cost(column: int, piece: str) -> float:
    """Tokens of one piece, by a column of WEIGHTS."""
    cost = 0.0
    first = piece[0] if piece[0].isalpha() else piece[1:2]
    if piece.isspace():
        marks = {"newline" if "\n" in piece or "\r" in piece else "blank": 1}
    elif piece.isdigit():
        marks = {"number": 1}
    elif first.isalpha() and (first < "\u0250" or "\u1e00" <= first < "\u1f00"):
        marks = word_marks(piece)
    elif piece.isascii():
        marks = run_marks(piece)
    elif len(piece) > 1:
        run = piece.lstrip(" ")
        cost = sum(piece_cost(column, char) for char in run)
        letters = any(map(str.isalpha, run[:2]))  # they share one run's price
        marks = {"script": 1 - len(run) if letters else 0}
    elif COMMON_SIGNS(piece):
        marks = {"sign": 1}
    else:
        row = SCRIPTS[bisect.bisect(SCRIPT_STARTS, ord(piece)) - 1]
        cost = row[min(column, 1) + 1]
        marks = {"script": 1}
    return cost + sum([WEIGHTS[name][column] * marks[name] for name in marks])


IMAGE_TOKENS = 1600  # as for a large one: clients compact late rather than never
PAGE_TOKENS = 2500
PAGE_SIZE = 80_000  # characters of JSON; a page of a PDF seldom has more
IMAGES = ("image", "image_url", "input_image")
MEDIA = (*IMAGES, "document", "file", "input_file", "input_audio")
# Earlier thinking is not counted by its vendor, and a signature is no text.
UNCOUNTED = {"thinking", "redacted_thinking", "reasoning"}
AROUND = {
    "tool_use": 12,
    "function": 12,
    "function_call": 12,
    "tool_result": 10,
    "function_call_output": 10,
}
COUNTED = """content text name arguments output function tool_calls tool_name
    refusal""".split()


SLICE = 256 * 1024  # so that the pieces of one long text are never all in memory


def declaration(tool: Any) -> str:
    """What a model reads of a tool of any dialect, as JSON."""
    spec = object_at(tool, "function") or tool
    schema = object_at(spec, "input_schema") or object_at(spec, "parameters")
    shown = {
        "name": text_at(spec, "name"), "description": text_at(spec, "description"),
        "parameters": schema,
    }
    return dumps_text(shown)


class Estimator:
    """Counts tokens without a vocabulary, 10 MB a second; threads may share it.

    It learns, for each model, how far it is off: one ratio real / estimated."""

    MOST_UNITS = 20_000

    def __init__(self) -> None:
        self._units: Dict[Hashable, int] = {}
        self._ratios: Dict[str, float] = {}

    def predict(self, model: str, body: JSON) -> int:
        """The tokens that the upstream will say it read."""
        return max(1, round(self._ratios.get(model, 1.0) * self.request(body, model)))

    def learn(self, model: str, body: JSON, prompt_tokens: int) -> None:
        """Take what it said, cached tokens included; 0 = it did not say."""
        text = dumps_text(body)
        if any('"type":"%s"' % kind in text for kind in MEDIA):
            return  # they are counted by their number only
        tokens = self.request(body, model)
        if tokens >= 200 and prompt_tokens > 0:
            # Bounded, so that one corrupt usage does not last.
            ratio = min(3.0, max(0.4, prompt_tokens / tokens))
            ratio = (self._ratios.get(model, ratio) + ratio) / 2
            keep_newest(self._ratios, model, ratio, MAX_MODELS)

    def text(self, text: str, family: Family) -> int:
        """Tokens of a text; 0 only for an empty one."""
        cost = functools.partial(piece_cost, family.column)
        total = 0.0
        for at in range(0, len(text), SLICE):
            # Compiled at the first use: 10 ms that a start need not wait for.
            total += sum(map(cost, re.findall(PIECES, text[at : at + SLICE])))
        return max(min(1, len(text)), round(total * family.factor))

    def request(self, body: JSON, model: str) -> int:
        """Estimate a body of any dialect, checked or not; identical parts only once."""
        family = family_of(model)
        turns = body.get("messages") or body.get("input") or body.get("prompt") or []
        if not isinstance(turns, list):
            turns = [turns]
        tools = list_at(body, "tools")
        tokens = family.request + family.message * len(turns)
        if tools:
            tokens += family.tools
        for part in (body.get("system"), body.get("instructions"), *turns):
            tokens += self._unit(part, family)
        for tool in map(declaration, tools):
            tokens += family.tool + round(family.declared * self._unit(tool, family))
        return tokens

    def _unit(self, unit: Any, family: Family) -> int:
        # A conversation grows at its end, and /context asks 35 times about the same
        # parts at once (CLIENTS 1); a digest costs a fiftieth of a count.
        digest = hashlib.blake2b(dumps(unit), digest_size=16).digest()
        found = self._units.get((family, digest))
        if found is None:
            if len(self._units) >= self.MOST_UNITS:
                self._units.clear()
            found = self._units[family, digest] = self._content(unit, family)
        return found

    def _content(self, content: Any, family: Family) -> int:
        tokens = 0
        waiting = [content]  # a list of our own: clients nest deeper than Python calls
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                tokens += self.text(part, family)
            if isinstance(part, list):
                waiting += part
            if not isinstance(part, dict):
                continue
            kind = text_at(part, "type")
            source = object_at(part, "source")
            if kind in MEDIA and source.get("type") == "text":
                waiting.append(text_at(source, "data"))
            elif kind in IMAGES:
                tokens += IMAGE_TOKENS
            elif kind in MEDIA:
                tokens += PAGE_TOKENS * (1 + len(dumps_text(part)) // PAGE_SIZE)
            elif kind not in UNCOUNTED:
                tokens += AROUND.get(kind, 0)
                waiting += filter(None, map(part.get, COUNTED))
                if "input" in part:
                    waiting.append(dumps_text(part["input"]))
        return tokens


MAX_MODELS = 100  # a catalogue has about 40

# -- the ledger ------------------------------------------------------------------


class Served(NamedTuple):
    """One model request, as the page and USAGE_LOG tell it."""

    number: int  # never used again, so that the page can follow a row
    at: float  # of its arrival, seconds since 1970
    session: str
    client: str = ""
    who: str = ""  # user or agent
    requested: str = ""  # the client's name for the model, where more than spelling
    model: str = ""
    status: int = 0  # 0 = running
    usage: TokenUsage = TokenUsage()
    seconds: float = 0.0
    whose: str = ""
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether the client got an error; one that left got none."""
        return self.status >= 400 and self.status != 499


Tally = Tuple[float, ...]  # requests, failed ones, then the fields of TokenUsage
Tallies = Dict[Any, Tally]  # by model
NOTHING: Tally = (0, 0, *TokenUsage())


def _add_tally(tallies: Tallies, key: Hashable, tally: Iterable[float]) -> None:
    tallies[key] = tuple(map(operator.add, tallies.get(key, NOTHING), tally))


def _sum(tallies: Iterable[Tally]) -> Tally:
    return tuple(map(sum, zip(NOTHING, *tallies)))


def _figures(tally: Tally) -> JSON:
    usage = TokenUsage(*tally[2:])
    return {
        "requestCount": tally[0],
        "tokenCount": usage.prompt + usage.output,
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "cacheReadTokens": usage.cache_read,
        "cacheWriteTokens": usage.cache_write,
        "cacheHitRatio": round(usage.cache_read / (usage.prompt or 1), 4),
        "credits": usage.credits,
    }


def _report(tallies: Tallies) -> JSON:
    used = {model: tally for model, tally in tallies.items() if tally[0]}
    models = {model: _figures(tally) for model, tally in used.items()}
    return {**_figures(_sum(used.values())), "models": models}


# Disjoint; these, and credits, as the page names them.
TOKEN_KINDS = TokenUsage._fields[:4]


def _spent(usage: TokenUsage) -> JSON:
    return {**dict(zip(TOKEN_KINDS, usage)), "credits": usage.credits}


def _page_sums(tallies: Tallies) -> JSON:
    requests, failed, *usage = _sum(tallies.values())
    return {"requests": requests, "failed": failed, **_spent(TokenUsage(*usage))}


def _iso(seconds: float) -> str:
    import datetime  # here, so that no start waits for it

    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


LEVELS = {0: "run", 402: "warn", 429: "warn", 499: "off"}  # others by their hundred
LABELS = {0: "running", 499: "left"}


def _page_request(served: Served) -> JSON:
    return {
        "n": served.number,
        "at": served.at,
        "session": served.session,
        "who": served.who,
        "model": served.model,
        "asked": served.requested or None,
        "status": served.status,
        "label": LABELS.get(served.status, str(served.status)),
        "level": LEVELS.get(served.status, "bad" if served.failed else "good"),
        **_spent(served.usage),
        "credits": served.usage.credits or None,
        "seconds": served.seconds if served.status else None,
        "whose": served.whose or None,
        "reason": served.reason or None,
    }


MAX_SESSIONS = 1000
MAX_RECENT = 100
MINUTES = 60  # of the chart
MAX_SERIES = 6


class UsageLedger:
    """Who used what since the start; in memory only.

    summary() and details() have the shapes of the JSON endpoints, the rest those of the
    status page: unix seconds, AI credits, and four disjoint kinds of tokens.
    """

    def __init__(self) -> None:
        self._recent: Deque[Served] = collections.deque(maxlen=MAX_RECENT)
        self.reset_all()

    def reset_all(self) -> None:
        """Forget everything but the recent requests."""
        # What the page tells of each session, and its sums.
        self._sessions: Dict[str, Tuple[JSON, Tallies]] = {}
        # Sessions dropped for room too. The order of first use is the page's colours.
        self._totals: Tallies = {}
        self._minutes: Dict[int, Tallies] = {}

    def record(self, served: Served) -> None:
        """Add one request that has ended, a failed one too."""
        self._recent.append(served)
        end = served.at + served.seconds
        about, models = self._sessions.get(served.session) or (
            {"client": served.client or None, "first": served.at, "last": end},
            {},
        )
        about["last"] = max(about["last"], end)
        keep_newest(self._sessions, served.session, (about, models), MAX_SESSIONS)
        minute = self._minutes.setdefault(int(end) // 60, {})
        if len(self._minutes) > MINUTES:
            del self._minutes[min(self._minutes)]
        model = served.model
        if model not in self._totals and len(self._totals) >= MAX_MODELS:
            model = "other"
        tally = (1, served.failed, *served.usage)
        for tallies in (models, minute, self._totals):
            _add_tally(tallies, model, tally)

    def summary(self) -> JSON:
        """The sums, over the sessions dropped for room too."""
        report = _report(self._totals)
        requests, tokens = report["requestCount"], report["tokenCount"]
        return {
            "totalRequests": requests,
            "totalTokens": tokens,
            "activeSessions": len(self._sessions),
            "averageTokensPerRequest": round(tokens / (requests or 1), 2),
            **report,
        }

    def details(self) -> List[JSON]:
        """One entry for each session, the latest first."""
        return [
            {
                "sessionId": name,
                "startTime": _iso(about["first"]),
                "lastRequestTime": _iso(about["last"]),
                "duration": round(about["last"] - about["first"]),
                **_report(models),
            }
            for name, (about, models) in reversed(self._sessions.items())
        ]

    def totals(self) -> JSON:
        """The sums for the page."""
        return _page_sums(self._totals)

    def sessions(self) -> List[JSON]:
        """Every session for the page."""
        return [
            {"id": name, **about, **_page_sums(models)}
            for name, (about, models) in self._sessions.items()
        ]

    def requests(self, running: Iterable[Served]) -> List[JSON]:
        """The requests for the page: those under way, then the newest."""
        newest = [*running, *reversed(self._recent)]
        return list(map(_page_request, newest[:MAX_RECENT]))

    def minutes(self, now: float) -> JSON:
        """The chart of the last 60 whole minutes, the running one last."""
        first = int(now) // 60 - MINUTES + 1
        names = list(self._totals)
        single = MAX_SERIES - (len(names) > MAX_SERIES)
        series = {name: [name] for name in names[:single]}
        others = names[single:]
        if others:
            series[f"{len(others)} others"] = others
        models = []
        for title, names in series.items():
            row: JSON = {"model": title, "credits": [], "tokens": []}
            for minute in range(first, first + MINUTES):
                tallies = self._minutes.get(minute, {})
                tally = _sum(tallies.get(name, NOTHING) for name in names)
                usage = TokenUsage(*tally[2:])
                row["credits"].append(usage.credits)
                row["tokens"].append(usage.prompt + usage.output)
            models.append(row)
        return {"from": first * 60, "models": models}

    def find(self, name: str, others: Iterable[str] = ()) -> str:
        """The session with this id, or the only one whose id begins so."""
        ids = {*self._sessions, *others}
        if name in ids:
            return name
        found = [session for session in ids if name and session.startswith(name)]
        if not found:
            raise NotFound("Session ID not found", code="session_not_found")
        if len(found) > 1:
            words = f"{len(found)} session ids begin like this; give more of it."
            raise BadRequest(words, code="session_ambiguous")
        return found[0]

    def reset(self, session: str) -> None:
        """Forget a session by its whole id."""
        _, models = self._sessions.pop(session, (None, {}))
        for model, tally in models.items():
            _add_tally(self._totals, model, map(operator.neg, tally))


# -- USAGE_LOG: a line a request, and what each day cost ----------------------------


def usage_line(served: Served, local_time: str) -> bytes:
    """One line of USAGE_LOG; `local_time` is ISO 8601, so that its days are ours."""
    record = {
        "time": local_time,
        "session": served.session,
        "who": served.who,
        "model": served.model,
        "status": served.status,
        **_spent(served.usage),
    }
    return dumps(record) + b"\n"


def fold_usage(lines: Iterable[bytes], since: str) -> List[Tuple[Any, ...]]:
    """Sum the lines of USAGE_LOG from the day `since` on: day, model, requests, tokens
    and credits."""
    days: Tallies = {}
    for line in lines:
        record = read_object(line)  # none in half a line, from a kill
        key = (text_at(record, "time")[:10], text_at(record, "model")[:100])
        if key[0] >= since:
            tokens = sum(count_at(record, kind) for kind in TOKEN_KINDS)
            _add_tally(days, key, (1, tokens, typed(record, "credits", float)))
    return [(*key, *sums) for key, sums in sorted(days.items())]


# -- limits --------------------------------------------------------------------------


WINDOW = 60.0  # seconds


def seconds_until_free(window: Deque[List[float]], limit: int, now: float) -> int:
    """The first whole second, counted from now, at which one more fits in a window of
    [when, cost], the oldest first."""
    while window and window[0][0] + WINDOW <= now:
        window.popleft()
    excess = sum(cost for _, cost in window) + 1 - limit
    free = now
    for then, cost in window:
        if excess <= 0:
            break
        excess -= cost
        free = then + WINDOW
    seconds = int(free - now)
    return seconds + (now + seconds < free)


class Wanted(NamedTuple):
    """A model request, as the limits see it; its costs are estimates."""

    session: str
    dialect: str
    prompt: int = 0  # tokens
    tokens: int = 0  # uncached input and output
    nano_aiu: int = 0
    host: str = ""  # where the client reaches us


class _Allowance:
    """What one session has used of what it may use."""

    def __init__(self) -> None:
        self.nano_aiu = 0
        # By the name of the setting that limits them.
        self.windows: Dict[str, Deque[List[float]]] = collections.defaultdict(
            collections.deque
        )


class Hold(NamedTuple):
    """What an admitted request was charged, until it is known what it cost."""

    allowance: _Allowance
    nano_aiu: int
    entry: List[float]  # of its tokens, in their window


# RATE_LIMIT_CHAT_COMPLETIONS is for /v1/chat/completions only, as its name says.
RATES = {"openai": "rate_limit_chat_completions"}
TOKEN_RATE = "max_tokens_per_minute"
CLIENT_LIMITS = """rate_limit_default rate_limit_chat_completions max_tokens_per_minute
    max_tokens_per_request credit_budget""".split()
# As many as may be at it within a window's minute: who is forgotten starts anew.
MAX_ALLOWANCES = 20_000


class Limits:
    """Admits or refuses model requests, each session for itself."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.allowances: Dict[str, _Allowance] = {}  # by session; one gone begins anew
        self.on = any(getattr(config, name) for name in CLIENT_LIMITS)

    def admit(self, wanted: Wanted, now: float) -> Hold:
        """Charge a request what it may cost, or raise why not; settle() what it did."""
        config = self._config
        if 0 < config.max_tokens_per_request < wanted.prompt:
            raise ContextOverflow(wanted.prompt, config.max_tokens_per_request)
        allowance = self.allowances.get(wanted.session) or _Allowance()
        keep_newest(self.allowances, wanted.session, allowance, MAX_ALLOWANCES)
        if 0 < config.credit_budget <= allowance.nano_aiu / 1e9:
            key = " -H 'x-api-key: <your API_KEY>'" if config.api_key else ""
            raise BudgetExceeded(
                "this session has used the %g AI credits that CREDIT_BUDGET allows. "
                "Raise it, or reset the session: "
                "curl -X POST%s http://%s/usage/reset/%s"
                % (config.credit_budget, key, wanted.host, wanted.session)
            )
        rate = RATES.get(wanted.dialect, "rate_limit_default")
        for name in (rate, TOKEN_RATE):
            limit = getattr(config, name)
            wait = seconds_until_free(allowance.windows[name], limit, now)
            if limit and wait:
                raise RateLimited(
                    f"this proxy's own {name.upper()}={limit} is reached; try again in "
                    f"{wait} s, or raise it (0 = off).",
                    retry_after=str(wait),
                )
        allowance.windows[rate].append([now, 1])
        entry = [now, wanted.tokens]
        allowance.windows[TOKEN_RATE].append(entry)
        allowance.nano_aiu += wanted.nano_aiu
        return Hold(allowance, wanted.nano_aiu, entry)

    def settle(self, hold: Hold, now: float, usage: TokenUsage) -> None:
        """Charge what the answer cost, and now, instead of the estimate."""
        allowance, nano_aiu, entry = hold
        allowance.nano_aiu += usage.nano_aiu - nano_aiu
        entry[1] = 0
        tokens = usage.input + usage.cache_write + usage.output
        allowance.windows[TOKEN_RATE].append([now, tokens])


# -- sessions ------------------------------------------------------------------------

# Claude Code (CLIENTS 1), Codex and opencode (CLIENTS 2, 3).
SESSION_HEADERS = ("x-claude-code-session-id", "session-id", "x-session-id")
# In metadata.user_id: JSON text since 2.1, user_..._account__session_UUID before.
USER_SESSION = re.compile(r'session_(?:id" ?: ?")?([0-9A-Za-z-]{8,128})')
SAFE_SESSION = re.compile(r"[0-9A-Za-z._:-]{1,128}")


@functools.lru_cache(MAX_SESSIONS)
def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def session_of(headers: Mapping[str, str], body: JSON, peer: str) -> str:
    """Whose request it is, as a name that is safe in headers, paths and logs."""
    name = next(filter(None, map(headers.get, SESSION_HEADERS)), "")
    if not name and "metadata" in body:
        user = text_at(body["metadata"], "user_id")
        found = USER_SESSION.search(user[:1000])
        name = found[1] if found else ""
    key = headers.get("x-api-key") or headers.get("authorization")
    if key and not name:
        return "key-" + _short_hash(key)  # the key itself is a secret
    name = name or peer
    return name if SAFE_SESSION.fullmatch(name) else "id-" + _short_hash(name)


# ~~~~~~~~~~~~~~~~~~ the waterline: below this line the program touches the world ~~~~


# ============================================================================
# 14. HTTP client
# ============================================================================
# Origins, proxies, TLS, keep-alive and deadlines over asyncio streams; nothing about
# GitHub.                                                                   uses: 1-3, 6
# Contract: a request is sent twice only when a kept connection died before the first
# byte of an answer; TLS is always verified; close(), or cancelling who waits, closes
# the socket at once. It fails with ConnectFailed (no byte of an answer came),
# UpstreamTimeout or UpstreamError.
#
# The life of a connection: ConnectionPool.request() takes a kept one or opens one
# (happy eyeballs; a proxy's CONNECT; TLS), which must be there in connect_timeout.
# send_request() writes the request and waits `head` seconds for the head of its answer;
# interim heads are skipped. Response.pour(), on which read() is built, then gives the
# body, each wait of at most `idle` seconds, all of it within `total`. Where the body
# ended as it should and no side said close, the connection rests among the kept ones
# and looks after itself: it goes after MAX_IDLE seconds, also of the clock that runs
# while the computer sleeps, and sooner when there are many. Every other end aborts it:
# a cut body, silence, a reader that leaves. A network that changed under it (Wi-Fi,
# VPN) says nothing: the system finds out after DEAD_AFTER seconds, the read fails with
# ConnectFailed, and request() sends the request once more over a fresh connection.


MAX_IDLE = 90.0  # seconds; people think for a minute, a handshake costs 155 ms
MAX_KEPT = 16  # idle connections to each origin that may stay so long
SPARE_IDLE = 8.0  # seconds that the others stay, which a burst leaves
# Seconds for a proxy's answer to CONNECT, and for each step of the TLS handshake, when
# who wanted the connection has left; who waits for it gives up at connect_timeout.
MAX_HANDSHAKE = 90.0
READ_AHEAD = 512 * 1024  # bytes; with more of them unread, the upstream must wait
# OpenSSL keeps buffers as large as the largest piece that it was given.
TLS_BUFFER = 32 * 1024  # bytes of a recv(), which it decrypts at once
TLS_RECORD = 16 * 1024  # bytes that it encrypts at once (RFC 8446 5.1)
SEND_SLICE = 256 * 1024  # encrypted and sent at once: a call to the system costs 20 us
TCP_KEEP_ALIVE = 15  # seconds; NATs forget silent connections while a model thinks
TCP_PROBE_EVERY = 5  # seconds, once one of those probes was not answered
DEAD_AFTER = 10  # seconds unacknowledged: half of the 20 that a person should wait
# By platform: the numbers of the socket options for TCP_KEEP_ALIVE, TCP_PROBE_EVERY and
# DEAD_AFTER, as Python does not name them all, and in how many units to a second the
# last is told. That is TCP_USER_TIMEOUT, TCP_RXT_CONNDROPTIME or TCP_MAXRT.
TCP_OPTIONS = {
    "linux": (4, 5, 18, 1000), "darwin": (0x10, 0x101, 0x80, 1), "win32": (3, 17, 5, 1),
}
EYEBALLS_DELAY = 0.25  # RFC 8305 5: so long IPv6 may take until IPv4 is tried too
LATE = 0.5  # seconds that a timer is late when this program was stopped
LEAVE_OPENING = 0.5  # seconds that close() waits for what is still being opened
MAX_INTERIM = 16  # heads of 1xx before the answer; each resets nobody's deadline
DEFAULT_PORTS = {"http": 80, "https": 443}
NEVER = float("inf")


class Timeouts(NamedTuple):
    """How many seconds an exchange may take."""

    head: float = 300.0  # from the request until the whole head of its answer
    idle: float = 300.0  # between two pieces of the body
    total: float = NEVER  # for all of it, connecting too


class Origin(NamedTuple):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@functools.lru_cache(maxsize=64)
def parse_url(url: str) -> Tuple[Origin, str, str]:
    """Split an absolute URL into origin, Host and target; raises UpstreamError."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        port = 0
    if not port or not parts.hostname:
        raise UpstreamError("%a is not a usable http(s) address" % redact(url))
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    return Origin(parts.scheme, parts.hostname, port), host, target


class Proxy(NamedTuple):
    """A proxy and the header that it wants."""

    origin: Origin
    pairs: Tuple[Tuple[str, str], ...] = ()


class Proxies(NamedTuple):
    """Which proxy leads where; only NO_PROXY makes exceptions, also for loopback."""

    https: Optional[Proxy] = None
    http: Optional[Proxy] = None
    exceptions: Tuple[str, ...] = ()

    def for_origin(self, origin: Origin) -> Optional[Proxy]:
        """The proxy on the way to `origin`, or None."""
        proxy = self.https if origin.scheme == "https" else self.http
        if proxy is None:
            return None
        names = (origin.host, f"[{origin.host}]", origin.authority)
        for rule in self.exceptions:  # as curl: `*`, or a host and all below it
            rule = rule.lstrip("*.").lower()
            if not rule or any(("." + name).endswith("." + rule) for name in names):
                return None
        return proxy


def _parse_proxy(name: str, url: str) -> Optional[Proxy]:
    if not url:
        return None
    if "://" not in url:
        url = "http://" + url
    with contextlib.suppress(UpstreamError):
        origin, _, _ = parse_url(url)
        login, _, _ = urllib.parse.urlsplit(url).netloc.rpartition("@")
        if login and ":" not in login:
            login += ":"
        plain = urllib.parse.unquote_to_bytes(login)
        basic = "Basic " + base64.b64encode(plain).decode("ascii")
        if origin.scheme == "http":
            return Proxy(origin, (("Proxy-Authorization", basic),) if login else ())
    raise ConfigError(
        f"{name} is not usable: expected http://host:port or "
        "http://user:password@host:port."
    )


def proxies_from(config: Config) -> Proxies:
    """Read the four proxy settings; raises ConfigError."""
    every = _parse_proxy("ALL_PROXY", config.all_proxy)
    https = _parse_proxy("HTTPS_PROXY", config.https_proxy) or every
    http = _parse_proxy("HTTP_PROXY", config.http_proxy) or every
    return Proxies(https, http, tuple(re.findall(r"[^,\s]+", config.no_proxy)))


def make_ssl_context(config: Config) -> ssl.SSLContext:
    """The one TLS context, 21 ms of work; raises ConfigError for bad certificates."""
    cafile = os.path.expanduser(config.ssl_cert_file) or None
    capath = os.path.expanduser(config.ssl_cert_dir) or None
    if capath and not os.path.isdir(capath):  # OpenSSL would not mention it
        raise ConfigError("SSL_CERT_DIR=%a is not usable: expected a folder." % capath)
    try:
        context = ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as exc:
        raise ConfigError(
            "SSL_CERT_FILE=%a is not usable: expected a PEM file with "
            "certificates (%s)." % (cafile, exc)
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # On since Python 3.13, but the roots of companies that inspect TLS rarely meet it.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


CHECK_CLOCK = "check this computer's clock; if it is right, the server must renew it"
CHECK_NAME = "check the address in your settings; something may intercept the way to it"
CHECK_TRUST = (
    "if your company inspects TLS, set SSL_CERT_FILE to its root certificate; with "
    'Python from python.org on macOS run "Install Certificates.command" once'
)
CERTIFICATE_ADVICE = {  # by OpenSSL's X509_V_ERR_*; the others are about trust
    9: CHECK_CLOCK,
    10: CHECK_CLOCK,
    62: CHECK_NAME,
    64: CHECK_NAME,
}


def _connect_error(exc: Exception, where: str) -> UpstreamError:
    if isinstance(exc, ConfigError):
        return UpstreamError(f"no TLS to {where}: {exc}", should_retry=False)
    if isinstance(exc, ssl.SSLCertVerificationError):
        advice = CERTIFICATE_ADVICE.get(exc.verify_code, CHECK_TRUST)
        return UpstreamError(
            f"the certificate of {where} is refused "
            f"({exc.verify_message.rstrip('.')}): {advice}",
            should_retry=False,
        )
    return ConnectFailed(
        f"no connection to {where} ({exc}); check the network, DNS, the proxy "
        "settings and any firewall"
    )


def _proxy_error(head: ResponseHead, where: str) -> UpstreamError:
    advice = "ask who runs it, or add the host to NO_PROXY"
    if head.status == 407:
        advice = "put its login into HTTPS_PROXY, as http://user:password@host:port"
    return UpstreamError(
        f"the proxy on the way to {where} answered {head.status} {head.reason}; "
        f"{advice}",
        should_retry=False,
    )


def _keep_alive(sock: socket.socket) -> None:
    """Have the system find out when the other side is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform in TCP_OPTIONS:
        *numbers, units = TCP_OPTIONS[sys.platform]
        values = (TCP_KEEP_ALIVE, TCP_PROBE_EVERY, int(DEAD_AFTER * units))
        with contextlib.suppress(OSError):  # a system that is too old for it
            for number, value in zip(numbers, values):
                sock.setsockopt(socket.IPPROTO_TCP, number, value)


class TimedProtocol(asyncio.StreamReaderProtocol):
    """A StreamReader over one socket, and a deadline for who reads from it. One timer
    for all deadlines, which finds out late that it is not due yet: one for each costs 3
    us, asyncio.wait_for 24."""

    def __init__(self, limit: int) -> None:
        self.reader = asyncio.StreamReader(limit // 2)  # it stops at twice that
        super().__init__(self.reader)
        self._loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.unread = 0  # bytes
        self.deadline = NEVER  # of everything; no read() waits longer
        self.error: Optional[UpstreamError] = None  # raised at the end of what came
        self._due = 0.0  # 0: nobody waits
        self._timer: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread += len(data)
        self.reader.feed_data(data)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._timer:
            self._timer.cancel()
        # A StreamReader that hears of a reset forgets what it holds (an early 413).
        super().connection_lost(None)

    async def read(self, seconds: float) -> Optional[bytes]:
        """What came, b"" at the end, None when neither came in time."""
        if not self.unread:
            self._expect(seconds)
        try:
            data = await self.reader.read(65536)
        except TimeoutError:
            self.reader.set_exception(None)  # who closes reads on
            return None
        finally:
            self._due = 0.0
        self.unread -= len(data)
        if self.error and not data:
            raise self.error
        return data

    async def read_head(
        self, head: HeadReader, data: bytes, due: float
    ) -> Optional[List[str]]:
        """The lines of the head that `data` begins; [] when the input ended before it
        did, None when it was not there when due."""
        lines: List[str] = []
        while not lines:
            data = data or await self.read(due - time.monotonic())
            if not data:
                return None if data is None else []
            lines = head.feed(data)
            data = b""
        return lines

    def _expect(self, seconds: float) -> None:
        self._due = min(time.monotonic() + seconds, self.deadline)  # the loop's clock
        if not self._timer or self._timer.when() > self._due:
            self._set_timer()

    def _set_timer(self, was_late: bool = False) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        wait = self._due - time.monotonic()
        # After a sleep or a SIGSTOP the loop runs its timers before it has read what
        # waits in the sockets: it does that before it comes to the second one.
        if wait > 0 or not was_late:
            self._timer = self._loop.call_later(wait, self._set_timer, wait <= 0)
        elif self._due:
            self.time_out()

    def time_out(self) -> None:
        """What was expected is late."""
        if not self.unread:  # else the reader is being woken for that
            self.reader.set_exception(TimeoutError())


class TLS:
    """The client's side of TLS over `write`, bytes to bytes; it raises ssl.SSLError.
    With asyncio's transport for it a paced stream costs a fifth more (2026-11), and a
    connection has a buffer of 256 KiB."""

    def __init__(
        self, context: ssl.SSLContext, host: str, write: Callable[[bytes], Any]
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host
        )
        self._transmit = write
        self.ended = False  # by its own goodbye (close_notify)

    def shake_hands(self, data: bytes) -> bool:
        """Go on with what came; True: that was all of it."""
        self._incoming.write(data)
        try:
            self._engine.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:  # also what tells the other side that it is not believed
            self._transmit(self._outgoing.read())
        return True

    def decrypt(self, data: bytes) -> bytes:
        """The plain bytes that are complete with what came."""
        self._incoming.write(data)
        pieces: List[bytes] = []
        try:
            while not self.ended and (self._incoming.pending or self._engine.pending()):
                pieces.append(self._engine.read(TLS_RECORD))
                self.ended = not pieces[-1]
        except ssl.SSLWantReadError:  # the rest of a record is still to come
            pass
        if self._outgoing.pending:  # the answer to a change of keys
            self._transmit(self._outgoing.read())
        return b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Encrypt and write."""
        pieces = []
        for at in range(0, len(data), TLS_RECORD):
            self._engine.write(data[at : at + TLS_RECORD])
            pieces.append(self._outgoing.read())
        self._transmit(b"".join(pieces))


class UpstreamConnection(TimedProtocol):
    """The way to one origin, for one exchange after another. Between two of them it
    stands in `kept`, the one that was used last at the end."""

    def __init__(self, origin: Origin, kept: List[UpstreamConnection]) -> None:
        super().__init__(READ_AHEAD)
        self.origin = origin
        self._kept = kept
        self._tls: Optional[TLS] = None
        self._heard = False  # has a byte of this answer come?
        # While somebody waits in pour(): what takes the bytes, the seconds of silence
        # that it bears, and the future that ends it.
        self._pouring: Any = None
        # When another exchange may begin at the latest, by the clock that runs while
        # the computer sleeps.
        self._latest = 0.0

    # -- what the transport tells ------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.error:  # who waited for it has left
            self._loop.call_soon(transport.abort)  # Python 3.9 first adds its reader

    def data_received(self, data: bytes) -> None:
        if self._tls:
            try:
                data = self._tls.decrypt(data)
            except ssl.SSLError as exc:
                self.abort(self.broken(f"TLS failed ({exc})"))
                return
            if self._tls.ended:
                self._loop.call_soon(self.eof_received)  # after these bytes
        if not data:
            return
        self._heard = True
        if self._pouring:
            self._pour_out(data)
        else:
            super().data_received(data)

    def eof_received(self) -> Optional[bool]:
        super().eof_received()
        if self._tls and not self._tls.ended:  # by whom is not known (RFC 9112 9.8)
            self.abort(self.broken("the connection was cut"))
        if self._pouring:
            self._pour_out(b"")
        return True

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if exc and not self.error:
            self.error = self.broken(f"the connection broke ({exc})")
        super().connection_lost(exc)
        if self._pouring:
            self._pour_out(b"")

    def time_out(self) -> None:
        if self in self._kept:
            if self in self._kept[:-MAX_KEPT]:
                self.abort()
            if self.close_if_stale():
                self._kept.remove(self)
            else:
                self._expect(SPARE_IDLE)
            return
        # The upstream is silent; a slow client is waited for without a deadline.
        silence = "sent nothing for too long; try again, or raise IDLE_TIMEOUT"
        if time.monotonic() >= self.deadline:
            silence = "took too long; try again"
        self.abort(UpstreamTimeout(f"{self.origin.host} {silence}"))

    # -- from its opening to its end -----------------------------------------------

    async def open(
        self, proxy: Optional[Proxy], make_context: Callable[[], ssl.SSLContext]
    ) -> None:
        """Connect, by the proxy if there is one, in TLS if the origin wants it. Raises
        OSError or UpstreamError, and sets no deadline."""
        context = make_context() if self.origin.scheme == "https" else None
        first = proxy.origin if proxy else self.origin
        await self._loop.create_connection(
            lambda: self, first.host, first.port, happy_eyeballs_delay=EYEBALLS_DELAY
        )
        self.transport.max_size = TLS_BUFFER
        _keep_alive(self.transport.get_extra_info("socket"))
        if context is None:
            return
        if proxy:
            authority = self.origin.authority
            pairs = [("Host", authority), *proxy.pairs]
            head = encode_request_head("CONNECT", authority, pairs)
            answer, _, data = await self.send_request(
                "CONNECT", head, b"", MAX_HANDSHAKE
            )
            if answer.status >= 300:
                raise _proxy_error(answer, self.origin.host)
            if data:
                raise UpstreamError(
                    f"the proxy on the way to {self.origin.host} sent bytes of its own "
                    "before the TLS handshake; add the host to NO_PROXY",
                    should_retry=False,
                )
        tls = TLS(context, self.origin.host, self.transport.write)
        data = b""
        while not tls.shake_hands(data):
            data = await self.read(MAX_HANDSHAKE)
            if not data:
                raise ConnectionError("it was closed during the TLS handshake")
        self._tls = tls

    def broken(self, what: str) -> UpstreamError:
        """The error for a failure of the exchange that is going on."""
        kind = UpstreamError if self._heard else ConnectFailed
        return kind(f"{self.origin.host}: {what}; try again")

    def abort(self, error: Optional[UpstreamError] = None) -> None:
        """Close the socket at once; who reads from it now or later gets `error`."""
        self.error = self.error or error or self.broken("the answer was given up")
        if self.transport:
            self.transport.abort()

    def rest(self) -> None:
        """Its exchange is over; from now on it waits for another."""
        self.deadline = NEVER
        self._latest = time.time() + MAX_IDLE
        self._kept.append(self)
        self._expect(SPARE_IDLE)

    def close_if_stale(self) -> bool:
        """Close it if no other exchange can begin on it; True = none can."""
        stale = (
            self.unread > 0  # bytes that nobody has asked for
            or self.reader.at_eof()
            or self.transport.is_closing()
            or self.transport.get_write_buffer_size() > 0
            or time.time() >= self._latest
        )
        if stale:
            self.abort()
        return stale

    # -- an exchange -----------------------------------------------------------------

    async def pour(self, take: Callable[[bytes], bool], seconds: float) -> None:
        """Give the bytes to `take` the moment they come, b"" at the end, until it
        returns False; what it raises is raised here. A reader that is woken for them
        costs a turn of the event loop: 25 us of 60."""
        while self.unread or self.reader.at_eof():
            if not take(await self.read(seconds)):
                return
        poured = self._loop.create_future()
        pouring = (take, seconds, poured)
        self._pouring = pouring
        self._expect(seconds)
        try:
            await poured
        except asyncio.CancelledError:
            if self._pouring is pouring:  # else the connection may be another's by now
                self._pouring = None
                self.abort()
            raise

    def _pour_out(self, data: bytes) -> None:
        take, seconds, poured = self._pouring
        failure = None
        self._due = 0.0
        try:
            if not data and self.error:
                raise self.error
            if take(data):
                self._expect(seconds)
                return
        except Exception as exc:  # its place is in pour()
            failure = exc
        self._pouring = None
        if poured.done():  # who waits may have been cancelled in this turn
            return
        if failure:
            poured.set_exception(failure)
        else:
            poured.set_result(None)

    async def send_request(
        self, method: str, head: bytes, body: bytes, seconds: float
    ) -> Tuple[ResponseHead, Body, bytes]:
        """Send a request, wait so long for the head of its answer (interim ones are
        skipped); give it, the reader of its body, and the bytes that came with it."""
        due = time.monotonic() + seconds
        self._heard = False
        send = self._tls.send if self._tls else self.transport.write
        # Nothing waits until it is taken: an early 413 comes before.
        send(head + body[:SEND_SLICE])
        for at in range(SEND_SLICE, len(body), SEND_SLICE):
            send(body[at : at + SEND_SLICE])
        data = b""
        try:
            for _ in range(1 + MAX_INTERIM):
                reader = HeadReader(RESPONSE_LIMITS)
                lines = await self.read_head(reader, data, due)
                if not lines:
                    raise self.broken("the connection ended without an answer")
                data = reader.rest
                answer = parse_response_head(lines)
                if answer.status == 101:
                    raise ProtocolError("it changed to another protocol, unasked")
                if answer.status == 407:
                    raise _proxy_error(answer, self.origin.host)
                coding = answer.headers.get("content-encoding", "identity")
                if coding.lower() != "identity":
                    raise self.broken(f"the answer came in {coding}, unasked")
                if answer.status >= 200:
                    return answer, response_framing(method, answer), data
            raise ProtocolError(f"it sent more than {MAX_INTERIM} interim heads")
        except ProtocolError as exc:
            raise self.broken(f"the answer is not proper HTTP ({exc})") from None


class Response:
    """An answer whose body is still to come; read it to the end or close() it.
    `idle_timeout` may be changed: the seconds of silence that read() bears."""

    def __init__(
        self, connection: UpstreamConnection, head: ResponseHead, body: Body,
        data: bytes, idle_timeout: float,
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        self.idle_timeout = idle_timeout
        self._body = body
        self._connection = connection
        self._closed = False
        self._reusable = keeps_alive(head.version, head.headers.get("connection"))
        self._ahead = b""  # body bytes that nobody has read yet
        if data or body.done:
            self._ahead = self._decode(data)

    async def read(self) -> bytes:
        """Body bytes, at least one; b"" at the end."""
        pieces: List[bytes] = []
        await self.pour(pieces.append)  # it gives None, which ends it
        return b"".join(pieces)

    async def pour(self, take: Callable[[bytes], Optional[bool]]) -> bool:
        """Give body bytes to `take` as they come, until it returns False or the body
        ends; True = the body has not ended."""

        def take_body(data: bytes) -> bool:
            body = self._decode(data)
            return (not body or bool(take(body))) and not self._body.done

        ahead = self._ahead
        self._ahead = b""
        if (not ahead or take(ahead)) and not self._body.done:
            await self._connection.pour(take_body, self.idle_timeout)
        return not self._body.done

    async def read_all(self, limit: int) -> bytes:
        """The whole body; raises UpstreamError when it is over `limit` bytes."""
        whole = bytearray()

        def take(data: bytes) -> bool:
            whole.extend(data)
            return len(whole) <= limit

        await self.pour(take)
        if len(whole) > limit:
            self.close()
            raise self._connection.broken(f"the answer is over {limit} bytes")
        return bytes(whole)

    async def finish(self, seconds: float = 0.5) -> None:
        """Leave a stream that has said all: if its body ends in time the connection is
        used again, else it is closed."""
        if self._closed:
            return
        self.idle_timeout = seconds
        with contextlib.suppress(UpstreamError):
            await self.read()
        self.close()

    def close(self) -> None:
        """Close the connection, unless the body has ended: then it is used again."""
        if self._closed:
            return
        self._closed = True
        if self._reusable and self._body.done and not self._body.rest:
            self._connection.rest()
        else:
            self._connection.abort()

    def _decode(self, data: bytes) -> bytes:
        try:
            body = self._body.feed(data) if data else self._body.eof()
        except ProtocolError as exc:
            error = self._connection.broken(f"the answer is cut or garbled ({exc})")
            self._connection.abort(error)
            raise error from None
        if self._body.done:
            self.close()
        return body


class ConnectionPool:
    """Sends requests over kept connections; `make_context` is called once."""

    def __init__(
        self, make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        proxies: Proxies = Proxies(), connect_timeout: float = 10.0,
    ) -> None:
        self._context = functools.lru_cache(maxsize=1)(make_context)
        self._proxies = proxies
        self._connect_timeout = connect_timeout
        self._kept: Dict[Origin, List[UpstreamConnection]] = {}
        self._opening: Set[asyncio.Task[None]] = set()

    async def request(
        self, method: str, url: str, headers: Iterable[Tuple[str, str]],
        body: bytes = b"", timeouts: Timeouts = Timeouts(),
    ) -> Response:
        """Send one request (Host, Accept-Encoding and Content-Length are added), wait
        for the head of its answer, whatever its status; follow no redirects."""
        origin, host, target = parse_url(url)
        pairs = [("Host", host), ("Accept-Encoding", "identity"), *headers]
        if body or method not in ("GET", "HEAD"):
            pairs.append(("Content-Length", str(len(body))))
        proxy = self._proxies.for_origin(origin)
        if proxy and origin.scheme == "http":  # proxies let CONNECT lead to 443 only
            target = f"http://{origin.authority}{target}"
            pairs += proxy.pairs
        head = encode_request_head(method, target, pairs)
        deadline = time.monotonic() + timeouts.total
        for connection in self._candidates(origin):
            connection.deadline = deadline
            fresh = connection.transport is None
            try:
                if fresh:
                    await self._connect(connection, proxy)
                answer = await connection.send_request(
                    method, head, body, timeouts.head
                )
                return Response(connection, *answer, timeouts.idle)
            except (UpstreamError, asyncio.CancelledError) as exc:
                connection.abort()
                # A kept one had died unseen, and nobody read the request?
                if fresh or not isinstance(exc, ConnectFailed):
                    raise

    def _candidates(self, origin: Origin) -> Iterator[UpstreamConnection]:
        """A kept one, if there is any, and a fresh one, which is to be connected."""
        kept = self._kept.setdefault(origin, [])
        while kept:
            connection = kept.pop()
            if not connection.close_if_stale():
                yield connection
                break
        yield UpstreamConnection(origin, kept)

    async def close(self) -> None:
        """Close the idle connections; the others are their readers'."""
        for kept in self._kept.values():
            for connection in kept:
                connection.abort()
        if self._opening:
            await asyncio.wait(self._opening, timeout=LEAVE_OPENING)
        await asyncio.sleep(0)  # the turn of the loop in which that is done

    async def _connect(
        self, connection: UpstreamConnection, proxy: Optional[Proxy]
    ) -> None:
        due = min(time.monotonic() + self._connect_timeout, connection.deadline)
        # Not wait_for(), which before Python 3.12 can swallow a cancellation.
        task = asyncio.ensure_future(connection.open(proxy, self._context))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        try:
            await asyncio.wait([task], timeout=due - time.monotonic())
            if time.monotonic() > due + LATE:  # stopped, or asleep: look once more
                await asyncio.wait([task], timeout=LATE)
            if not task.done():
                task.cancel()
                raise TimeoutError("none within %g s" % self._connect_timeout)
            task.result()
        except (OSError, UnicodeError, ConfigError, ConnectFailed) as exc:
            where = connection.origin.host
            if proxy:
                where += " by the proxy " + proxy.origin.authority
            raise _connect_error(exc, where) from None

    def _opened(self, task: asyncio.Task[None]) -> None:
        # One whose caller was cancelled opens nevertheless, and then closes: cancelled
        # in the wrong turn, create_connection() loses its socket.
        self._opening.discard(task)
        if not task.cancelled():
            task.exception()  # else the loop complains that nobody has asked


# ============================================================================
# 15. HTTP server
# ============================================================================
# Accept, parse, guard, call one function, answer.                      uses: 1-4, 6, 14
# Contract: one answer to each request, the next one is parsed after it; a client that
# left cancels the handler, a slow one stops it; what is wrong is answered in the path's
# dialect.
#
# The life of a connection: the loop accepts it, a ClientConnection is made and with it
# the task _serve_client(), which ends with it. Above `connections` open ones it is
# answered 503. Else _serve_request() takes one request after another: _read_request()
# waits `idle` seconds for the first byte and `head` more for the rest of the head;
# framing and guard() are judged before any of the body is read; _read_body() reads it,
# undoes its Content-Encoding and, when it is heavy, waits in line for its places; the
# handler answers through a Responder. What cannot be understood is answered once and
# ends the connection, because where the next request would begin is not known. While
# the handler works the next bytes wait, 64 KiB of them here; the end of the input or a
# reset cancels the handler. close() then sends the end, reads on for `linger` seconds,
# so that the client sees the last answer, and gives the socket back.


class ServerLimits(NamedTuple):
    """A number of clients, bytes and seconds; tests set them low."""

    connections: int = 512
    heavy: int = 4 << 20  # a body over it waits for a place for each so many bytes
    places: int = 16  # of all; translated, a body is in memory up to eight times
    head: float = 10.0  # from a request's first byte to the end of its head
    body: float = 30.0  # without progress, and until BODY_RATE is asked for
    idle: float = 65.0  # most clients close after 60, and should be the first to
    stall: float = 60.0  # the client takes nothing of an answer
    linger: float = 2.0  # RFC 9112 9.6: closing at once destroys the last answer
    half_closed: float = 0.5  # see eof_received


BODY_RATE = 1024  # bytes a second; slower is an attack, not a modem
HEAVY_RATE = 128 * 1024  # of a heavy body whose place others wait for
MAX_UNREAD = 65536  # bytes kept of what a client sends before its turn
MAX_UNSENT = 65536  # bytes of an answer the client has yet to take
TRIM_AFTER = 0.3  # seconds until give_back_memory()
GIVE_WAY = 0.001  # seconds that the loop waits while a thread is at a large body
HEAR_OF_ENDS = 0.02  # seconds in which the loop hears of clients that have left
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
JSON_HEADERS = [("content-type", "application/json")]
SAFE_PAIRS = (("x-content-type-options", "nosniff"), ("cache-control", "no-store"))


def error_answer(exc: ProxyError, path: str) -> Tuple[int, Pairs, bytes]:
    """Status, headers and body that tell the client of `exc`."""
    spell = openai_error
    if re.match(r"/+(?:v1/+)*messages", path):
        spell = anthropic_error
    pairs = [*JSON_HEADERS]
    if exc.retry_after:
        pairs.append(("retry-after", exc.retry_after))
    if exc.should_retry is not None:
        pairs.append(("x-should-retry", str(exc.should_retry).lower()))
    if isinstance(exc, MethodNotAllowed):
        pairs.append(("allow", exc.allow))
    if exc.status == 401:
        pairs.append(("www-authenticate", "Bearer"))
    return exc.status, pairs, dumps(spell(exc))


def _own_address(host: str) -> str:
    """HOST as clients spell it; all zeros stand for no address of their own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    if address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)


def check_bind(config: Config) -> None:
    """Raise ConfigError when others could reach the proxy without a key."""
    try:
        local = ipaddress.ip_address(config.host).is_loopback
    except ValueError:
        local = config.host.lower() == "localhost"
    if not local and len(config.api_key) < 16:
        raise ConfigError(
            f"HOST={config.host} lets other machines in: set API_KEY to 16 or more "
            "characters, or HOST to 127.0.0.1."
        )


def _is_preflight(request: Request) -> bool:
    wanted = request.headers.get("access-control-request-method")
    return request.method == "OPTIONS" and wanted is not None


def _cors_pairs(request: Request, config: Config) -> List[Tuple[str, str]]:
    origin = request.headers.get("origin")
    if origin not in config.allowed_origins:
        return []
    pairs = [("access-control-allow-origin", origin), ("vary", "origin")]
    if _is_preflight(request):
        wanted = request.headers.get("access-control-request-headers", "content-type")
        pairs += [
            ("access-control-allow-headers", wanted),
            ("access-control-allow-methods", "GET, POST"),
            ("access-control-allow-private-network", "true"),
        ]
    return pairs


@functools.lru_cache(maxsize=8)
def _own_names(
    host: str, more: Tuple[str, ...], port: int
) -> Tuple[Set[str], Set[str]]:
    """What is this proxy in a Host and in an Origin."""
    own = [*LOOPBACK, _own_address(host)]
    names = {name.lower() for name in (*own, *more)}
    names |= {f"{name}:{port}" for name in names}
    # The port must be named: without it, it is another program's page.
    origins = {f"http://{name}:{port}" for name in own}
    if port == 80:
        origins |= {"http://" + name for name in own}
    return names, origins


def _check_browser(request: Request, config: Config, port: int) -> None:
    """Refuse DNS rebinding and the pages of other sites."""
    # Compared whole: startswith("localhost:") would let `localhost:1@evil` in.
    names, origins = _own_names(config.host, config.allowed_hosts, port)
    for host in (request.headers.get("host"), request.authority):
        # HTTP/1.0 may leave Host out; no browser does.
        if host is not None and host.lower() not in names:
            raise Outsider(
                "the Host %s is not this proxy; its owner can add it to "
                "ALLOWED_HOSTS." % host[:200]
            )
    origin = request.headers.get("origin")
    if origin in config.allowed_origins:
        return
    if origin is not None and origin.lower() not in origins:
        raise Outsider(
            "pages of %s may not use this proxy; its owner can add them to "
            "ALLOWED_ORIGINS." % origin[:200]
        )
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Outsider("other web sites may not use this proxy.")


# Whether the proxy runs anybody may ask: Claude Code does so without a key (CLIENTS 1).
OPEN_PATHS = ("/", "/api/hello")


def _check_key(request: Request, key: bytes) -> None:
    """Ask for API_KEY, but not for reading OPEN_PATHS, nor for a page's preflight."""
    reads = request.method in ("GET", "HEAD")
    if reads and request.path in OPEN_PATHS or _is_preflight(request):
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token if scheme.lower() == "bearer" else ""
    keys = (bearer, request.headers.get("x-api-key", ""))
    if not any([hmac.compare_digest(one.encode("latin-1"), key) for one in keys]):
        raise KeyRequired("this proxy needs its API_KEY as Bearer token or x-api-key.")


def guard(request: Request, config: Config, port: int) -> None:
    """Raise ProxyError unless this request may come in."""
    _check_browser(request, config, port)
    if config.api_key:
        _check_key(request, config.api_key.encode("utf-8"))
    if request.method != "POST":
        return
    # Browsers post forms and plain text anywhere without asking first.
    media, _, _ = request.headers.get("content-type", "").partition(";")
    if media.strip(" \t").lower() == "application/json":
        return
    if not body_framing(request).done:
        raise ProxyError("the body of a POST must be application/json.", status=415)


def give_back_memory() -> None:
    """Return freed memory to the system where the C library keeps it (glibc): 14 MB
    after the compilation of this file, 100 MB after some large bodies."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):  # musl
            import ctypes  # here, so that no start waits for it

            ctypes.CDLL(None).malloc_trim(0)


class ClientConnection(TimedProtocol):
    """One client's socket, and whether it is still there."""

    def __init__(
        self, limits: ServerLimits, places: asyncio.Semaphore,
        accept: Callable[[ClientConnection], asyncio.Task[None]],
    ) -> None:
        super().__init__(MAX_UNREAD)
        self._limits = limits
        self._places = places
        self._accept = accept
        self._unsent = 0.0  # bytes, when a slow client is waited for
        self.heavy = False  # this request's body is
        self.places = 0  # that it has taken
        self.ahead = b""  # what was read too early, for the next read
        self.busy = False  # from a request's first byte to the end of its answer
        self.gone = False  # nobody reads any more, or is to

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.writer = asyncio.StreamWriter(transport, self, self.reader, self._loop)
        # None when the client left before it could be asked.
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self.port = transport.get_extra_info("sockname")[1]
        transport.set_write_buffer_limits(MAX_UNSENT)
        transport.max_size = MAX_UNREAD  # a recv(); 256 KiB are much for 512
        self.task = self._accept(self)

    def eof_received(self) -> Optional[bool]:
        # It left or, as `nc -N` does, has only nothing more to say: an answer that is
        # nearly there goes out, but no model works for nobody.
        self._loop.call_later(self._limits.half_closed, self._leave)
        return super().eof_received()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self.busy and not self.gone:
            self.task.cancel()
        self.gone = True

    async def take_places(self, size: int) -> None:
        """Wait until there is room for a heavy body."""
        self.heavy = True
        needed = math.ceil(size / self._limits.heavy)
        while self.places < min(needed, self._limits.places):
            await self._places.acquire()
            self.places += 1

    def keep_places(self, size: int) -> None:
        """Give back what a body of this size does not need: all with 0."""
        while self.places > math.ceil(size / self._limits.heavy):
            self.places -= 1
            self._places.release()

    def end_request(self) -> None:
        """Let go of what a heavy one held."""
        if self.heavy:
            self.heavy = False
            self.keep_places(0)
            self._loop.call_later(TRIM_AFTER, give_back_memory)

    def push(self, data: bytes) -> bool:
        """Send, but nothing to one that is gone; False: call drain() before more."""
        if self.gone:
            return True
        self.transport.write(data)
        return self.transport.get_write_buffer_size() <= MAX_UNSENT

    async def drain(self) -> None:
        """Wait until a slow client has taken the most of what was sent."""
        if self.gone or self.transport.get_write_buffer_size() <= MAX_UNSENT:
            return
        await self._while_taken(self.writer.drain())

    async def _while_taken(self, sent: Awaitable[None]) -> None:
        """Wait until all is `sent`, as long as the client takes something of it."""
        self._unsent = NEVER
        self.time_out()
        try:
            with contextlib.suppress(ConnectionError):  # connection_lost tells
                await sent
        finally:
            self._unsent = 0
            self._due = 0.0

    def time_out(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if not self._unsent:
            super().time_out()
        elif unsent < self._unsent:
            self._unsent = unsent
            self._expect(self._limits.stall)
        else:
            self.transport.abort()

    def reset(self) -> None:
        """Break off, by RST: HTTP/1.0 takes the usual FIN for the end of the answer."""
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.transport.abort()

    async def close(self) -> None:
        """Send what is left, wait for the client to see it, give the socket back."""
        self.gone = True
        due = time.monotonic() + self._limits.linger
        with contextlib.suppress(OSError):  # lost, and we are about to be told
            self.writer.write_eof()
        while await self.read(due - time.monotonic()):
            pass
        self.writer.close()
        await self._while_taken(self.writer.wait_closed())


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    # In English: only locale.setlocale() would change that, and nobody calls it.
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))


class Responder:
    """The one answer to a request: send(), or start(), push() with drain(), and end().
    What is written to a client that is gone is dropped; `closed` tells."""

    def __init__(self, conn: ClientConnection) -> None:
        self._conn = conn
        self._head = b""  # of a streamed answer, while it waits for the first piece
        self.request = Request("", "", "", {})  # what it answers, once that is known
        self.pairs: Pairs = ()  # that every answer to it has
        self.keep = False  # the connection, afterwards
        self.started = False  # the head is out
        self.ended = False  # the answer is complete
        self.drain = conn.drain

    @property
    def closed(self) -> bool:
        """Is nobody there who reads it?"""
        return self._conn.gone

    def release(self) -> None:
        """The request's body is no longer needed: others may have its place."""
        self._conn.keep_places(0)

    def _answer_head(self, status: int, pairs: Pairs) -> bytes:
        if self.started:
            raise RuntimeError("a request is answered once")
        pairs = [*pairs, *SAFE_PAIRS, *self.pairs, ("date", _date(int(time.time())))]
        if not self.keep:
            pairs.append(("connection", "close"))
        elif self.request.version == "1.0":
            pairs.append(("connection", "keep-alive"))
        head = encode_response_head(status, pairs)
        self.started = True
        return head

    async def send(self, status: int, pairs: Pairs, body: bytes = b"") -> None:
        """Send a whole answer."""
        if status != 204:  # RFC 9110 8.6
            pairs = [*pairs, ("content-length", str(len(body)))]
        head = self._answer_head(status, pairs)
        self.ended = True
        if self.request.method != "HEAD":
            head += body
        if not self._conn.push(head):
            await self._conn.drain()

    async def fail(self, exc: ProxyError) -> None:
        """Answer with an error, or break off what has begun."""
        # Frames that hold the exception and are held by it would keep the body until
        # the garbage collector comes.
        exc.__traceback__ = None
        exc.__context__ = None
        if self.started:
            self._conn.reset()
        else:
            await self.send(*error_answer(exc, self.request.path))

    def start(self, status: int, pairs: Pairs) -> None:
        """Send the head of a streamed answer, with the first piece if that is there."""
        # HTTP/1.0 knows no chunks: there the end of the connection ends the answer.
        self._chunks = self.request.version != "1.0"
        self.keep = self.keep and self._chunks
        if self._chunks:
            pairs = [*pairs, ("transfer-encoding", "chunked")]
        self._head = self._answer_head(status, pairs)
        asyncio.get_running_loop().call_soon(self.push, b"")

    def push(self, data: bytes, ending: bytes = b"") -> bool:
        """Send a piece of a streamed answer; False: call drain() before more."""
        if self.ended or self.request.method == "HEAD":
            data = b""
        elif self._chunks:
            data = encode_chunk(data) + ending
        data = self._head + data
        self._head = b""
        return self._conn.push(data)

    async def end(self, last: bytes = b"") -> None:
        """Complete a streamed answer with `last`; without an end the client sees that
        it was cut."""
        self.push(last, LAST_CHUNK)
        self.ended = True
        await self._conn.drain()


class HTTPServer:
    """Calls `handler(request, responder)` for each request. A ProxyError it raises
    before it began to answer is answered for it. At a shutdown it is cancelled while
    `responder.closed` is false, and may write an error event."""

    def __init__(
        self, config: Config, handler: Callable[[Request, Responder], Awaitable[None]],
        limits: ServerLimits = ServerLimits(),
    ) -> None:
        self._config = config
        self._handler = handler
        self._limits = limits
        # Holds the tasks, too: before 3.10 the garbage collector ends those that only
        # the loop knows, mid stream (gh-90467).
        self._connections: Set[ClientConnection] = set()
        self._open: Set[ClientConnection] = set()  # those of them that are served
        self._closing = False

    async def start(self) -> Tuple[str, int]:
        """Listen; gives the address. Raises ConfigError (see check_bind) or OSError."""
        check_bind(self._config)
        sys.setswitchinterval(GIVE_WAY)
        loop = asyncio.get_running_loop()
        self._line = asyncio.Lock()  # in which heavy bodies wait, each for its places
        places = asyncio.Semaphore(self._limits.places)
        self._server = await loop.create_server(
            lambda: ClientConnection(self._limits, places, self._accept),
            self._config.host, self._config.port, backlog=512,
        )
        loop.call_later(TRIM_AFTER, give_back_memory)
        return self._server.sockets[0].getsockname()[:2]

    async def close(self, grace: float) -> None:
        """Stop accepting at once; answers may finish for `grace` seconds."""
        self._closing = True
        self._server.close()
        for conn in self._connections:
            if not conn.busy:
                conn.transport.close()
        await self._wait(grace)
        for conn in self._connections:
            conn.task.cancel()
        await self._wait(self._limits.linger)
        for conn in self._connections:
            conn.transport.abort()
        await self._wait(self._limits.linger)

    async def _wait(self, seconds: float) -> None:
        tasks = [conn.task for conn in self._connections]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    # -- one connection ------------------------------------------------------------

    def _accept(self, conn: ClientConnection) -> asyncio.Task[None]:
        self._connections.add(conn)
        task = asyncio.get_running_loop().create_task(self._serve_client(conn))
        task.add_done_callback(lambda _: self._connections.discard(conn))
        return task

    async def _serve_client(self, conn: ClientConnection) -> None:
        try:
            if len(self._open) >= self._limits.connections:
                await asyncio.sleep(HEAR_OF_ENDS)
            if len(self._open) >= self._limits.connections:
                full = ProxyError("too many connections", status=503, retry_after="1")
                await Responder(conn).fail(full)
                return
            self._open.add(conn)
            while await self._serve_request(conn) and not conn.gone:
                conn.end_request()
                if conn.ahead:  # who pipelines must not hold up the others
                    await asyncio.sleep(0)
        finally:
            self._open.discard(conn)
            conn.end_request()
            await conn.close()

    async def _serve_request(self, conn: ClientConnection) -> bool:
        """Answer one request; False when the connection ends with it."""
        out = Responder(conn)
        request = None
        try:
            request = await self._read_request(conn, out)
            if request is None:
                return False
            if _is_preflight(request):
                await out.send(204, [])
            else:
                await self._handler(request, out)
            if not out.started:
                raise RuntimeError("the handler gave no answer")
        except asyncio.CancelledError:  # a shutdown, or nobody is there to read this
            out.keep = False
            if not out.started:
                away = ProxyError("the proxy is shutting down; try again.", status=503)
                await out.fail(away)
            raise
        except ProxyError as exc:
            if not exc.logged:
                # Who was not let in, or speaks no HTTP, shall not fill the log.
                log_event(
                    "warn" if request else "info", "request_refused", status=exc.status,
                    peer=conn.peer, path=out.request.path[:60], error=exc.reason[:100],
                )
            await out.fail(exc)
        except Exception:  # a bug must cost one answer, not the server
            LOG.error(
                "handler_failed: %s", redact(ascii(out.request.path))[:80],
                exc_info=True,
            )
            bug = ProxyError("this is a bug of the proxy; its log has the details.")
            await out.fail(bug)
        finally:
            conn.busy = False
        return out.keep and out.ended and not self._closing

    async def _read_request(
        self, conn: ClientConnection, out: Responder
    ) -> Optional[Request]:
        data = conn.ahead or await conn.read(self._limits.idle)
        if not data:
            return None
        conn.busy = True
        due = time.monotonic() + self._limits.head
        reader = HeadReader()
        lines = await conn.read_head(reader, data, due)
        if lines is None:
            raise ProtocolError("the request head took too long", status=408)
        if not lines:
            return None
        conn.ahead = reader.rest
        request = parse_request_head(lines)
        out.request = request
        out.pairs = _cors_pairs(request, self._config)
        body = body_framing(request, self._config.max_body_mb << 20)
        keep = keeps_alive(request.version, request.headers.get("connection"))
        out.keep = keep and body.done  # nobody reads the body of what is refused
        guard(request, self._config, conn.port)
        content = await self._read_body(conn, request, body)
        out.keep = keep
        return Request(*request[:4], content, conn.peer)

    async def _read_body(
        self, conn: ClientConnection, request: Request, body: Body
    ) -> bytes:
        coding = request.headers.get("content-encoding", "identity")
        decoder = ContentDecoder(coding, self._config.max_body_mb << 20)
        expectation = request.headers.get("expect")
        if expectation and request.version != "1.0":  # RFC 9110 10.1.1
            if expectation.lower() != "100-continue":
                raise ProtocolError("unknown expectation", status=417)
            if not body.done:
                conn.push(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = 0
        pieces: List[bytes] = []
        began = time.monotonic()
        while not body.done:
            data = conn.ahead or await conn.read(self._patience(conn, began, size))
            if data is None:
                raise ProtocolError("the request body took too long", status=408)
            data = body.feed(data) if data else body.eof()
            conn.ahead = body.rest
            for part in decoder.feed(data):
                pieces.append(part)
                size += len(part)
                if size > self._limits.heavy and not conn.places:
                    await self._take_places(conn, request)
                    began = time.monotonic()
                elif len(part) == DECODED_SLICE:
                    await asyncio.sleep(0)
        decoder.finish()
        if conn.heavy:
            conn.keep_places(size)
        return b"".join(pieces)

    def _patience(self, conn: ClientConnection, began: float, size: int) -> float:
        """Seconds to wait for more of a body: `size` bytes of it, decoded, give it time
        from when it `began`, or from when it was let in as a heavy one."""
        slow = conn.places and self._line.locked()
        due = began + self._limits.body + size / (HEAVY_RATE if slow else BODY_RATE)
        return min(self._limits.body, due - time.monotonic())

    async def _take_places(self, conn: ClientConnection, request: Request) -> None:
        """Wait in line for the places of a heavy body; of those whose size is not known
        four may come at once."""
        size = self._limits.heavy * self._limits.places // 4
        if not request.headers.get("content-encoding"):
            size = int(request.headers.get("content-length", size))
        async with self._line:
            await conn.take_places(size)


# ============================================================================
# 16. GitHub sign-in
# ============================================================================
# The device flow, the Copilot token and the one file that keeps them (UPSTREAM 2, 3);
# the cache with one flight, in which codes, tokens, catalogue and quota are kept.
#                                                                       uses: 0-4, 8, 14
# Contract: many callers, one exchange; a failed exchange never deletes the GitHub
# token and is never tried in a loop; GITHUB_TOKEN is never written to disk; what other
# processes do to the file holds from the next request on.

LOGIN_HINT = (
    "run `python copilot_proxy.py login`, or POST /auth/login and enter the "
    "code it answers with"
)
MAX_TOKEN_FILE = 64 * 1024  # ours has about 1 KB; what is cut there is no JSON
LEFTOVER = re.compile(r"\.copilot-[0-9a-f]{16}")
SHORT_CALL = Timeouts(total=30.0)  # for all that costs nothing
NOT_GITHUB = (
    "this answer is not GitHub's, a company proxy or firewall may be in the way"
)


def token_in(obj: Any, key: str) -> str:
    """A token that may stand in a header, "" when there is none."""
    token = text_at(obj, key)
    return token if re.fullmatch(r"[!-~]+", token) else ""


def _open_plain(path: str, flags: int) -> int:
    # Never a symlink, which could lead to another's file, and no waiting for a FIFO.
    plain = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags | plain, 0o600)


class TokenStore:
    """The token file: `{"githubToken", "copilotToken", "savedAt"}`, mode 0600."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self._folder = os.path.dirname(self.path)

    def check(self) -> None:
        """Raise ConfigError where something else than a file stands at the path."""
        with contextlib.suppress(OSError):  # there is none yet
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                raise ConfigError(
                    f"TOKEN_FILE={ascii(self.path)} is not usable: expected a regular "
                    "file, not a folder, a link or a device."
                )

    def mark(self) -> Any:
        """What changes whenever somebody replaces, edits or deletes the file."""
        try:
            info = os.lstat(self.path)
        except OSError:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns

    def load(self) -> JSON:
        """The file's object; {} when there is none or it cannot be trusted."""
        try:
            self.check()
            with open(self.path, "rb", opener=_open_plain) as file:
                info = os.fstat(file.fileno())
                posix = os.name != "nt"  # Windows has no owners and modes of this kind
                if posix and info.st_uid != os.getuid():
                    raise ValueError("it belongs to another user")
                if posix and info.st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                    log_event("warn", "token_file_mode_repaired", path=self.path)
                return loads_object(file.read(MAX_TOKEN_FILE))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, BadRequest) as exc:
            log_event("warn", "token_file_ignored", path=self.path, reason=str(exc))
            return {}

    def save(self, github: str, copilot: Optional[JSON] = None) -> Any:
        """Replace the file in one step, and give its mark(); a failure is logged, the
        login goes on."""
        temporary = os.path.join(self._folder, ".copilot-" + secrets.token_hex(8))
        now = int(time.time() * 1000)
        content = dict(githubToken=github, copilotToken=copilot, savedAt=now)
        try:
            os.makedirs(self._folder, exist_ok=True)
            with open(temporary, "xb", opener=_open_plain) as file:
                file.write(dumps(content))
                file.flush()
                os.fsync(file.fileno())  # else a crash can leave an empty new file
            os.replace(temporary, self.path)
        except OSError as exc:
            log_event("error", "token_file_not_saved", path=self.path, reason=str(exc))
            self.sweep()
        return self.mark()

    def sweep(self) -> None:
        """Delete what a save that was killed left behind: it holds the token."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if LEFTOVER.fullmatch(entry.name) and entry.is_file():
                    os.unlink(entry.path)

    def clear(self) -> None:
        """Delete the file; raises ProxyError when it stays."""
        self.sweep()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise ProxyError(
                f"you are still signed in, {self.path} cannot be deleted "
                f"({exc.strerror})."
            ) from None


class CopilotToken(NamedTuple):
    """What the exchange gives: a token for half an hour and where to use it."""

    token: str
    api: str  # inference host, COPILOT_API_URL already applied
    proxy: str  # autocomplete host
    expires_at: int  # unix seconds, for people; the life is kept on the monotonic clock


# -- what a failed exchange means (UPSTREAM 3.4, 3.5) --------------------------------

NOTIFICATIONS = """
no_copilot_access not_signed_up: This account has no Copilot subscription
subscription_ended expired_coupon revoked_coupon: The subscription has ended
billing_locked: GitHub reports a billing problem; settle it
enterprise_managed_user_account: Your organisation has to give this account Copilot; \
ask its administrator
feature_flag_blocked spammy_user access_revoked: GitHub has blocked this account; \
contact GitHub Support
trade_restricted trade_restricted_country: Not available in this country
snippy_not_configured: Choose whether suggestions may match public code
codespaces_demo_inactive: The Copilot demo has ended
go_http_client: GitHub refused our User-Agent; raise COPILOT_PLUGIN_VERSION
programmatic_token_generation: Too many token requests; try again in an hour
server_error: GitHub has a problem; try again in a moment
""".strip().splitlines()
# What GITHUB_TOKEN may be instead of an editor's `ghu_`.
TOKEN_PREFIXES = {
    "ghp_": "a classic personal access token",
    "gho_": "of another app",
    "github_pat_": "a fine-grained personal access token",
    "ghs_": "an Actions or App installation token",
}
GITHUBS_PAGE = re.compile(rb"github|unicorn", re.IGNORECASE)


def _notification_error(kind: str, hint: str) -> Forbidden:
    # The envelope's own message names the account: shown to nobody, logged nowhere.
    text = "GitHub refuses Copilot to this account"
    for row in NOTIFICATIONS:
        kinds, meaning = row.split(": ")
        if kind in kinds.split():
            text = meaning
    return Forbidden(
        f"{text}. See github.com/settings/copilot ({kind}). {hint}",
        should_retry=kind == "server_error",
        retry_after="3600" if kind == "programmatic_token_generation" else "",
    )


def _token_hint(env_token: str) -> str:
    for prefix, meaning in TOKEN_PREFIXES.items():
        if env_token.startswith(prefix):
            return (
                f"GITHUB_TOKEN is {meaning} ({prefix}), Copilot takes an editor's "
                f"(ghu_); unset it, {LOGIN_HINT}."
            )
    return ""


def exchange_error(
    status: int, headers: Mapping[str, str], body: bytes, env_token: str, host: str
) -> ProxyError:
    """Tell the failures of the token exchange with `host` apart: AuthRequired only
    when the GitHub token is dead. `env_token` is GITHUB_TOKEN if that was sent."""
    exc = upstream_error(status, headers, body)
    if status == 429 or "rate limit" in str(exc).lower():
        return exc  # throttled, so still signed in
    hint = _token_hint(env_token)
    envelope = read_object(body)
    kind = text_at(object_at(envelope, "error_details"), "notification_id")[:60]
    if status == 403 and kind:
        if envelope.get("can_signup_for_limited"):
            hint = "Copilot Free is open to it. " + hint
        return _notification_error(kind, hint)
    # Its pages in an outage have no request id.
    outage = status >= 500 and GITHUBS_PAGE.search(body)
    if not (outage or headers.get("x-github-request-id")):
        return UpstreamError(f"{NOT_GITHUB}: {exc}")
    if status >= 500:
        return UpstreamError(
            f"GitHub's token service at {host} fails ({status}: {exc.words}); try "
            "again in a moment.",
            retry_after=exc.retry_after,
        )
    if status not in (401, 403, 404):
        return exc
    if hint:
        return AuthRequired(hint)
    if status == 401:  # only this ends the sign-in
        dead = "GITHUB_TOKEN: unset it" if env_token else "the sign-in"
        return AuthRequired(f"GitHub no longer accepts {dead}; {LOGIN_HINT}.")
    words = (
        f"{host} refuses this account a Copilot token (403: {exc.words}). A policy of "
        "your organisation can forbid it; ask its administrator."
    )
    if status == 404:
        words = (
            "GitHub knows no Copilot for this account here; check GITHUB_URL, or sign "
            "in with another account."
        )
    return Forbidden(words, should_retry=False)


def editor_headers(config: Config) -> Dict[str, str]:
    """Who we are, to GitHub and Copilot; a generic agent is refused (UPSTREAM 3.4)."""
    version = config.copilot_plugin_version.rpartition("/")[2]
    return {
        "user-agent": "GitHubCopilotChat/" + version,
        "editor-version": config.copilot_editor_version,
        "editor-plugin-version": config.copilot_plugin_version,
    }


# Where a token may be sent: https, or http on loopback for tests.
ENDPOINT = re.compile(
    r"(https://[A-Za-z0-9_.-]+(?::[0-9]+)?"
    r"|http://(?:127\.0\.0\.1|localhost)(?::[0-9]+)?)/?"
)
PROXY_HINT = re.compile(r"proxy-ep=proxy(\.[A-Za-z0-9_.-]+)")


def _named_host(reply: JSON, name: str) -> str:
    """What a token says of a host; "" = nothing."""
    named = ENDPOINT.fullmatch(text_at(object_at(reply, "endpoints"), name))
    hint = PROXY_HINT.search(reply["token"])
    if named:
        return named[1]
    return f"https://{name}{hint[1]}" if hint else ""


def endpoints_of(config: Config, reply: JSON) -> Tuple[str, str]:
    """Inference and autocomplete host of a token, in the order of UPSTREAM 1.1."""
    tenant = config.github_url.partition("://")[2]
    api = "https://api.githubcopilot.com"
    if tenant.endswith(".ghe.com"):
        api = "https://copilot-api." + tenant
    return (
        config.copilot_api_url or _named_host(reply, "api") or api,
        _named_host(reply, "proxy") or "https://copilot-proxy.githubusercontent.com",
    )


# What ends the wait for a code (UPSTREAM 2.2).
DEVICE_FAILURES = {
    "expired_token": "The code has expired; start again.",
    "access_denied": "The sign-in was cancelled on GitHub; start again.",
    "device_flow_disabled": "GitHub or your tenant has switched the device flow off; "
    "set GITHUB_TOKEN instead.",
    "incorrect_client_credentials": "GitHub does not know this app; check "
    "GITHUB_COPILOT_CLIENT_ID and GITHUB_URL.",
}
LEAST_POLL = 0.1  # seconds between two polls; GitHub says 5
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def _device_error(reply: JSON) -> UpstreamError:
    error = str(reply.get("error") or "unknown")[:80]
    reason = str(reply.get("error_description") or "no reason given")[:200]
    unheard_of = f"GitHub refuses the sign-in: {reason} ({error})."
    return UpstreamError(DEVICE_FAILURES.get(error, unheard_of))


class Cached:
    """A value fetched on need, by one flight for all who wait; one that is still good
    outlives the failure of the next."""

    retry_at = 0.0
    failure: Optional[ProxyError] = None  # of the last fetch
    _flight: Optional[asyncio.Future[None]] = None

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Tuple[Any, float, float]]],
        clock: Callable[[], float],
        pause: Optional[Callable[[ProxyError], float]] = None,
    ) -> None:
        self._fetch = fetch  # gives what put() takes, or raises a ProxyError
        self._clock = clock
        self._pause = pause or self._pause_if_good  # seconds after a failure
        self.put()

    def put(self, value: Any = None, renew_in: float = 0.0, life: float = 0.0) -> None:
        """Keep a value, to be renewed in so many seconds and good for so many."""
        now = self._clock()
        self.value = value
        self.renew_at = now + renew_in
        self._good_until = now + life

    @property
    def left(self) -> float:
        """How many seconds the value is still good; 0 = not at all."""
        return max(0.0, self._good_until - self._clock())

    def start(self) -> None:
        """Begin to fetch, unless somebody does or the last failure forbids it."""
        if self._flight is None and self._clock() >= self.retry_at:
            self._flight = asyncio.ensure_future(self._load())

    async def get(self, *, early: float = 0.0, wait: bool = True) -> Any:
        """The value, new if it is to be renewed in less than `early` seconds; raises
        the ProxyError of fetching it. With `wait` off a good one is given at once and
        the new one later."""
        now = self._clock()
        if now + early >= self.renew_at:
            self.start()
            if self._flight and (wait or now >= self._good_until):
                # Whoever leaves must not take the others down, nor close() the waiters.
                await asyncio.wait([self._flight])
        if now < self._good_until:
            return self.value
        failure = self.failure.with_traceback(None)  # grows with every raise
        pause = self.retry_at - self._clock()
        if pause > 0:
            failure.retry_after = str(math.ceil(pause))
        raise failure

    def _pause_if_good(self, exc: ProxyError) -> float:
        if not self.left:
            return 0.0
        log_event("warn", "refresh_failed", reason=str(exc))
        return 60.0  # no hammering of a broken upstream

    async def _load(self) -> None:
        try:
            self.put(*await self._fetch())
            self.failure = None
        except ProxyError as exc:
            self.failure = exc
            self.retry_at = self._clock() + self._pause(exc)
        finally:
            self._flight = None

    def close(self) -> None:
        """Leave what is being fetched, and tell who waits for it."""
        self.failure = AuthRequired(f"signed out meanwhile; {LOGIN_HINT}.")
        if self._flight:
            self._flight.cancel()


LOOK_EVERY = 0.001  # seconds; a small request comes by three times in one
MOST_UNUSED = 5  # tokens refused before they ever worked,
UNUSED_SPAN = 300.0  # in so many seconds; more would look like a loop (UPSTREAM 3.4)


class CopilotAuth:
    """Who is signed in, and a valid Copilot token for whoever asks."""

    _polling: Optional[asyncio.Future[None]] = None
    _mark: Any = "never looked"  # the file as it was last seen
    _look_at = 0.0  # when it is looked at again

    def __init__(
        self, config: Config, pool: ConnectionPool, store: TokenStore,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._pool = pool
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._become(config.github_token)
        self._store.sweep()

    def _become(self, github: str) -> None:
        """Start afresh with this GitHub token, or with none."""
        self._github = github
        self._dead = ""  # why GitHub no longer takes it
        self._code = Cached(self._request_code, self._clock)
        self._tokens = Cached(self._new_token, self._clock, self._back_off)
        self._failures = 0
        self.worked: Optional[CopilotToken] = None  # the last that Copilot took
        # Until when the last others count that it refused at once.
        self._unused = collections.deque([0.0] * MOST_UNUSED, MOST_UNUSED)

    def signed_in(self) -> bool:
        """Whether a GitHub token is there that is not known to be dead."""
        now = self._clock()
        if now >= self._look_at or not self._github:
            self._look_at = now + LOOK_EVERY
            mark = self._store.mark()
            if mark != self._mark:
                self._mark = mark
                self._follow_file()
        return bool(self._github) and not self._dead

    def _follow_file(self) -> None:
        """Take over what another process wrote: a sign-in, another one, a logout."""
        env_token = self._config.github_token
        if env_token == self._github != "" and not self._dead:
            return
        saved = self._store.load()
        github = token_in(saved, "githubToken") or env_token
        if github == self._github:
            return
        self.close()
        self._become(github)
        reply = saved.get("copilotToken")
        if token_in(reply, "token"):  # one that is surely good saves an exchange
            left = count_at(reply, "expires_at") - int(time.time())
            if 360 < left <= 3600:  # a longer life means that the clock is wrong
                self._tokens.put(*self._term(reply, left - 60))

    def close(self) -> None:
        """Stop polling and exchanging."""
        self._code.close()
        self._tokens.close()
        if self._polling:
            self._polling.cancel()
            self._polling = None

    # -- the GitHub token ----------------------------------------------------

    def github_token(self) -> str:
        """The long-lived token; raises AuthRequired when there is none that works."""
        if not self.signed_in():
            raise AuthRequired(
                self._dead or f"nobody is signed in to GitHub: {LOGIN_HINT}."
            )
        return self._github

    def check(self) -> JSON:
        """`POST /auth/check`: where the sign-in stands, without talking to GitHub."""
        signed_in = self.signed_in()  # first: it can end our own polling
        if self._polling and not self._polling.done():
            return {"status": "pending_verification"}  # or its first token is to come
        if signed_in:
            return {"status": "authenticated"}
        error = self._failure or f"no sign-in is under way: {LOGIN_HINT}."
        return {"status": "unauthenticated", "error": error}

    def status(self) -> JSON:
        """`GET /auth/status`."""
        state = self.check()
        if state["status"] != "authenticated":
            return {"status": "unauthenticated", **given(error=self._failure)}
        token = self._tokens.value
        return {**state, "expiresAt": token and token.expires_at}

    @property
    def _failure(self) -> str:
        """Why the last sign-in failed or ended, "" = it did not."""
        return str(self._code.failure or self._dead)

    def logout(self) -> JSON:
        """Forget the login and delete the file; GITHUB_TOKEN can only be named."""
        self._store.clear()
        self._mark = None  # of a file that is not there
        self.close()
        self._become(self._config.github_token)
        reply = {"status": "logged_out"}
        if self._github:
            reply["note"] = (
                "GITHUB_TOKEN is set in the environment and stays in use; unset it and "
                "restart."
            )
        return reply

    async def ask_github(
        self, url: str, body: bytes = b"", *, token: str = ""
    ) -> Tuple[Response, bytes]:
        """GET, or POST a body, in the name of `token`; the answer's head and body.
        Raises the ProxyError that says why GitHub cannot be reached."""
        headers = {"accept": "application/json", **editor_headers(self._config)}
        if token:
            headers["authorization"] = "token " + token
            headers["x-github-api-version"] = "2025-04-01"
        if body:
            headers["content-type"] = "application/json"
        response = await self._pool.request(
            "POST" if body else "GET", url, headers.items(), body, SHORT_CALL
        )
        return response, await response.read_all(MAX_TOKEN_FILE // 2)

    # -- the device flow (RFC 8628, UPSTREAM 2) ------------------------------

    async def login(self) -> JSON:
        """Give the pending code, or ask GitHub for one and begin to poll."""
        if self.signed_in():
            return {"status": "authenticated"}
        code = await self._code.get()
        left = int(self._code.left)
        return {"status": "pending_verification", **code, "expires_in": left}

    async def _request_code(self) -> Tuple[JSON, float, float]:
        reply = await self._oauth("/login/device/code", {"scope": "read:user"})
        code = {
            key: text_at(reply, key)
            for key in ("device_code", "verification_uri", "user_code")
        }
        if "" in code.values():
            raise _device_error(reply)
        interval = typed(reply, "interval", float) or count_at(reply, "interval") or 5
        code["interval"] = max(LEAST_POLL, interval)
        life = min(count_at(reply, "expires_in") or 900, 3600)
        polling = self._sign_in(code.pop("device_code"), code["interval"], life)
        self._polling = asyncio.ensure_future(polling)
        return code, life, life

    async def _sign_in(self, device_code: str, interval: float, life: int) -> None:
        try:
            github = await self._poll(device_code, interval, self._clock() + life)
        except ProxyError as exc:
            log_event("warn", "login_failed", reason=str(exc))
            self._code.put()
            self._code.failure = exc
            return
        self._become(github)
        self._mark = self._store.save(github)
        log_event("info", "login_completed")
        with contextlib.suppress(ProxyError):  # the next request says why
            await self.token()

    async def _poll(self, device_code: str, interval: float, until: float) -> str:
        fields = {"device_code": device_code, "grant_type": DEVICE_GRANT}
        while self._clock() < until:
            # Before the first poll, too: RFC 8628 3.5.
            await self._sleep(min(interval, until - self._clock()))
            reply = {"error": "authorization_pending"}
            with contextlib.suppress(UpstreamError):  # it may pass before the code does
                reply = await self._oauth("/login/oauth/access_token", fields)
            token = token_in(reply, "access_token")
            if token:
                return token
            error = reply.get("error")
            if error == "slow_down":
                interval = max(count_at(reply, "interval"), interval + 5)
            elif error != "authorization_pending":
                raise _device_error(reply)
        raise _device_error({"error": "expired_token"})

    async def _oauth(self, path: str, fields: JSON) -> JSON:
        client_id = self._config.github_copilot_client_id
        response, raw = await self.ask_github(
            self._config.github_url + path, dumps({"client_id": client_id, **fields})
        )
        if response.status == 404:
            raise _device_error({"error": "incorrect_client_credentials"})
        if response.status != 200:
            raise upstream_error(response.status, response.headers, raw)
        with contextlib.suppress(BadRequest):
            return loads_object(raw)
        raise UpstreamError(NOT_GITHUB)

    # -- the Copilot token (UPSTREAM 3) --------------------------------------

    def token(self) -> Awaitable[CopilotToken]:
        """A valid Copilot token; raises AuthRequired, Forbidden or UpstreamError. In
        its last 5 minutes it is still given out while its successor is fetched; only an
        expired one makes callers wait, all on the same exchange."""
        if not (self.signed_in() or self._tokens.left):
            self.github_token()
        return self._tokens.get(wait=False)

    def renew(self) -> Awaitable[CopilotToken]:
        """Exchange now, whatever is kept: the proof that the sign-in works."""
        self._tokens.put()
        self._tokens.retry_at = 0.0
        return self.token()

    def drop_refused(self, token: CopilotToken, *, expired: bool) -> bool:
        """Forget `token`, which the upstream refused; True = another may help. One that
        has worked and then expired is replaced at any time, others are counted: five in
        five minutes, then no more is minted until the first is that old."""
        if token is not self._tokens.value:
            return True
        now = self._clock()
        if not expired or token is not self.worked:
            if self._unused[0] > now:
                return False  # it is good enough for other requests
            self._unused.append(now + UNUSED_SPAN)
            if expired and self._unused[0] > now:
                self._tokens.retry_at = self._unused[0]
                self._tokens.failure = UpstreamError(
                    "GitHub Copilot refuses the tokens that GitHub gives out, "
                    f"{MOST_UNUSED} in a row. You are still signed in; try again "
                    "later.",
                    status=503,
                )
        self._tokens.put()
        return True

    async def _new_token(self) -> Tuple[CopilotToken, float, float]:
        api = self._config.github_api_url
        github = self.github_token()
        response, raw = await self.ask_github(
            api + "/copilot_internal/v2/token", token=github
        )
        status = response.status
        reply: JSON = {}
        if status == 200:
            reply = read_object(raw)
            # Not in its own words: they may hold half a token.
            status = 502
            raw = b"no Copilot token came."
        if not token_in(reply, "token"):
            env_token = github if github == self._config.github_token else ""
            host = api.partition("://")[2]
            raise exchange_error(status, response.headers, raw, env_token, host)
        self._failures = 0
        term = self._term(reply, count_at(reply, "refresh_in") or 1500)
        # Another process may have signed out, or in as another person.
        if self._store.load().get("githubToken") == github != self._config.github_token:
            kept = {**reply, "expires_at": term[0].expires_at}
            self._mark = self._store.save(github, kept)
        return term

    def _back_off(self, exc: ProxyError) -> float:
        # 1, 2, 4 ... 60 s; the longest for what time does not heal soon (UPSTREAM 3.4).
        wait: float = min(2**self._failures, 60)
        if re.fullmatch("[1-9][0-9]{0,5}", exc.retry_after):
            wait = float(exc.retry_after)
        elif exc.status == 403:
            wait = 60.0
        elif isinstance(exc, AuthRequired):
            self._dead = str(exc)
            self._tokens.renew_at = math.inf  # there is nothing to renew it with
            self._mark = "to be looked at"  # GITHUB_TOKEN is dead, the file may help
            wait = 0.0
        self._failures += 1
        log_event("warn", "copilot_token_failed", status=exc.status, reason=str(exc))
        return wait

    def _term(
        self, reply: JSON, refresh_in: float
    ) -> Tuple[CopilotToken, float, float]:
        """A token for refresh_in + 60 s from now, whatever its clock says."""
        life = min(max(refresh_in, 60), 86400) + 60.0
        hosts = endpoints_of(self._config, reply)
        token = CopilotToken(reply["token"], *hosts, int(time.time() + life))
        return token, max(life - 300, life / 2), life


# ============================================================================
# 17. Copilot upstream
# ============================================================================
# The one place that knows Copilot's headers and paths: send, retry, catalogue, Auto,
# quota, and who pays for a request (UPSTREAM 4-7, 12, 15, 22.1).
#                                                             uses: 0-4, 6-8, 13, 14, 16
# Contract: send() gives a 2xx answer or raises a ProxyError; nothing is sent again once
# a byte of an answer was handed out; one exchange for many callers.
#
# The life of a 401: upstream_error() (2) makes of Copilot's refusal an UpstreamError;
# what is about an input item and not about the sign-in, a 400, which has no such life.
# wants_new_token() has send() turn to CopilotAuth.drop_refused() (16), which forgets
# the token and counts it, but for one that had worked before; token() then gets another
# from GitHub, and the request goes up once more. The client sees a second refusal, or
# the 503 that ends five counted in five minutes. A 401 of GitHub itself is an
# AuthRequired by exchange_error() (16): no more tokens are asked for until somebody
# signs in anew.

MODELS = "/models"
COUNT_TOKENS = MESSAGES + "/count_tokens"
AUTO_SESSION = "/models/session"
ENGINES = "/v1/engines/"  # the autocomplete host's paths (UPSTREAM 14)
MAX_ERROR = 64 * 1024
MAX_CATALOGUE = 16 * 1024 * 1024
CATALOGUE_LIFE = 600.0  # seconds, as in VS Code


def engine_path(engine: str) -> str:
    """The path of the legacy autocomplete service for one engine."""
    return ENGINES + urllib.parse.quote(engine, "") + "/completions"


# They sway Copilot's content filter, so they follow official clients (UPSTREAM 5.1).
INTENTS = {
    MESSAGES: "messages-proxy",
    COUNT_TOKENS: "messages-proxy",
    MODELS: "model-access",
    AUTO_SESSION: "model-access",
    CHAT: "conversation-agent",
    RESPONSES: "conversation-agent",
    EMBEDDINGS: "conversation-other",
}


def new_uuid() -> str:
    """A random UUID (RFC 9562 5.4) that guards nothing, at half the uuid's cost."""
    bits = "%032x" % random.getrandbits(128)
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


def copilot_headers(config: Config, token: str, endpoint: str) -> Dict[str, str]:
    """What all requests on the inference host carry, but for ids (UPSTREAM 5.1)."""
    intent = INTENTS.get(endpoint, "copilot-ghost")
    headers = {
        "authorization": "Bearer " + token,
        **editor_headers(config),
        "copilot-integration-id": "vscode-chat",
        "x-github-api-version": config.copilot_api_version,
        "openai-intent": intent,
        "x-interaction-type": intent,
    }
    if endpoint.startswith(ENGINES):
        headers["openai-organization"] = "github-copilot"
    if endpoint != MODELS:
        headers["content-type"] = "application/json"
    if endpoint == MESSAGES:
        # Always: under a newer one Anthropic refuses samplers (UPSTREAM 22.3).
        headers["anthropic-version"] = "2023-06-01"
    return headers


FORWARDED = re.compile(
    r"(?:x-)?request-id|retry-after|x-github-request-id|x-copilot-service-request-id"
    r"|x-ratelimit-exceeded|x-(?:quota-snapshot|usage-ratelimit)-.+"
)


def forward_headers(headers: Mapping[str, str]) -> List[Tuple[str, str]]:
    """What the client may see of the upstream's headers (UPSTREAM 5.3, 6.3)."""
    return [pair for pair in headers.items() if FORWARDED.fullmatch(pair[0])]


# -- who pays: `user` once for what a person typed, `agent` for the rest ---------------


class Initiator(NamedTuple):
    """The X-Initiator of a request, and the prompt that it answers."""

    who: str
    key: Hashable = None
    place: int = 0  # the prompt's place in the conversation; 0 = does not matter


AGENT = Initiator("agent")
NOBODY = Initiator("")  # pays for what costs nothing


# How the texts begin that a client sends as the user's though nobody typed them, by how
# its User-Agent begins: a person may type them elsewhere.
CLIENT_MARKS = {
    # Titles, searches, compaction, resumed answers, hooks, finished background agents
    # (2.1.197 to 2.1.332, seen 2026-11).
    "claude-": re.compile(
        r"<session>|Perform a web search for the query: |\[SUGGESTION MODE"
        r"|CRITICAL: Respond with TEXT ONLY|Your task is to create a detailed summ"
        r"|This session is being continued from |Output token limit hit"
        r"|\[Your previous response had no visible |Your tool call was malform"
        r"|Continue from where you left off\.|[A-Za-z]{1,40} hook feedback:"
        r"|<task-notification>|\[[A-Z -]{1,60} - NOT USER INPUT\]"
    ),
    # Compaction, and the turn that goes on after it (0.169, 0.171).
    "codex": re.compile(
        "You are performing a CONTEXT CHECKPOINT"
        "|Another language model started to solve this problem"
    ),
    # Compaction, and what goes on after it (1.18.33).
    "opencode/": re.compile(
        "Provide a detailed prompt for continuing our conversation above"
        "|Here is the conversation so far:"
        "|Continue if you have next steps, or stop and ask for clarification"
    ),
}
# opencode's title, whose prompt follows, in the same turn or in one of its own.
TITLE_MARK = "Generate a title for this conversation:"
# Sub-agents and questions beside the conversation say so themselves: Claude Code's,
# Codex's and opencode's.
SIDE_HEADERS = """
x-claude-code-agent-id x-claude-code-compaction x-claude-code-request-class
x-openai-subagent x-codex-parent-thread-id
x-parent-session-id
""".split()


def _items(body: JSON) -> List[Any]:
    items = body.get("messages") or body.get("input")
    return items if isinstance(items, list) else [{"role": "user", "content": items}]


def _is_reminder(text: str) -> bool:
    begins = text.lstrip().startswith("<system-reminder>")
    return begins and not text.partition("</system-reminder>")[2].strip()


def _texts_of(item: JSON) -> Optional[List[str]]:
    """The user's texts in a message, reminders too; None = not the user's at all."""
    content = item.get("content")
    if item.get("role") != "user":
        return None
    if isinstance(content, str):
        return [content]
    parts = objects(content)
    if any(part.get("type") == "tool_result" for part in parts):
        return None  # texts beside a result are not typed either
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _last_item(items: List[Any]) -> JSON:
    """The last message or item; instructions may follow the prompt (CLIENTS 1)."""
    for item in reversed(items):
        if isinstance(item, dict) and item.get("role") not in ("system", "developer"):
            return item
    return {"role": "user"}


def _is_side_request(headers: Headers, body: JSON) -> bool:
    """Whether its headers, or its billing line, say that nobody typed it."""
    if headers.get("x-initiator") == "agent":  # as Copilot's own clients
        return True
    # Claude Code calls the conversation itself "main" (CLIENTS 1).
    if not {None, "main"}.issuperset(map(headers.get, SIDE_HEADERS)):
        return True
    first = list_at(body, "system")[:1]
    return any("cc_is_subagent=true" in text_at(each, "text")[:2000] for each in first)


def _is_side_question(body: JSON) -> bool:
    """Claude Code's questions beside the conversation, for titles, pages or probes:
    without tools and thinking, while the conversation always has tools (2026-11)."""
    no_thinking = text_at(object_at(body, "thinking"), "type") == "disabled"
    return body.get("max_tokens") == 1 or no_thinking and not body.get("tools")


def _is_automatic(agent: str, text: str, items: List[Any]) -> bool:
    """Whether the client that sent it makes such texts by itself."""
    for client, marks in CLIENT_MARKS.items():
        if agent.startswith(client) and marks.match(text.lstrip()):
            return True
    if not agent.startswith("opencode/"):
        return False
    for item in objects(items[-2:]):
        for spoken in _texts_of(item) or ():
            if spoken.startswith(TITLE_MARK):
                return True
    return False


def who_asks(headers: Headers, body: JSON, session: str) -> Initiator:
    """Who asks: `user` for a prompt that a person typed, and when in doubt."""
    agent = headers.get("user-agent", "")
    items = _items(body)
    item = _last_item(items)
    texts = _texts_of(item)
    if texts is None or _is_side_request(headers, body):
        return AGENT
    texts = texts or [""]  # of a picture
    if agent.startswith("claude-"):
        if _is_side_question(body):
            return AGENT
        texts = [text for text in texts if not _is_reminder(text)]
    if not texts or _is_automatic(agent, texts[-1], items):
        return AGENT
    prompt = headers.get("x-claude-code-prompt-id")
    if prompt:
        return Initiator("user", prompt)
    if any(map(headers.get, SESSION_HEADERS)):
        return Initiator("user", (session, hash(texts[-1] or dumps(item))), len(items))
    # Without a session of its own a client's same words may well be typed again.
    return Initiator("user", object())


# -- when to try again ---------------------------------------------------------

RETRIED = {408: 1, 499: 2, 502: 2, 503: 2, 504: 2, 529: 2}  # UPSTREAM 15.2
SHORT_WAIT = re.compile("[0-8]?")  # seconds; what takes longer the client decides


def retry_wait(exc: ProxyError, attempt: int, dice: float) -> Optional[float]:
    """Seconds until the next try after `attempt` retries, None = give up; dice < 1."""
    if (
        exc.should_retry is False
        or attempt >= RETRIED.get(exc.status, 0)
        or isinstance(exc, UpstreamTimeout)  # has cost 300 s already, may be billed
        or not SHORT_WAIT.fullmatch(exc.retry_after)  # or a date
    ):
        return None
    return max(0.5 * 4**attempt * (1 + dice), float(exc.retry_after or 0))


def wants_new_token(exc: ProxyError) -> bool:
    """Whether another Copilot token, or the host named with it, may help."""
    if exc.status != 403:
        return exc.status in (401, 421)
    reason = exc.code or exc.kind  # with one it is final
    return not reason and exc.words.lower().startswith("forbidden")


# -- the account's quota (UPSTREAM 4) ------------------------------------------


def _snapshot(raw: JSON) -> JSON:
    """One quota; overdrawn it is used up, and the rest is overage."""
    unlimited = raw.get("unlimited") is True  # then figures say nothing
    figures = {
        key: value
        for key, value in raw.items()
        if type(value) in (int, float) and abs(value) < 1e15 and not unlimited
    }
    total = figures.get("entitlement")
    left = figures.get("quota_remaining", figures.get("remaining"))
    percent = figures.get("percent_remaining")
    overage = figures.get("overage_count", 0)
    permitted = raw.get("overage_permitted") is True
    if left is not None:
        overage = max(overage, -left)
        left = max(left, 0)
        if total:
            percent = 100.0 * left / total
    return {
        "unlimited": unlimited,
        "entitlement": total,
        "remaining": left,
        "percent_remaining": percent and max(0.0, percent),
        "overage_permitted": permitted,
        "overage_count": overage,
        "blocked": left == 0 and not permitted or raw.get("has_quota") is False,
    }


def parse_quota(reply: JSON) -> JSON:
    """Read copilot_internal/user, whatever the plan and its billing."""
    raw: Dict[str, JSON] = {}
    # Copilot Free on the old billing has figures only.
    totals = object_at(reply, "monthly_quotas")
    for name, left in object_at(reply, "limited_user_quotas").items():
        raw[name] = {"remaining": left, "entitlement": totals.get(name)}
    snapshots = object_at(reply, "quota_snapshots")
    for name in snapshots:
        raw[name] = object_at(snapshots, name)
    by_tokens = [each.get("token_based_billing") for each in (reply, *raw.values())]
    billing = "ai_credits" if True in by_tokens else "premium_requests"
    names = {"premium_interactions": billing}
    quotas = {names.get(key, key): _snapshot(raw[key]) for key in raw}
    return {
        "login": text_at(reply, "login") or None,
        "plan": reply.get("copilot_plan"),
        "sku": reply.get("access_type_sku"),
        "billing": billing,
        "quotas": quotas,
        "reset_date": reply.get("quota_reset_date")
        or reply.get("limited_user_reset_date"),
    }


# -- sending -------------------------------------------------------------------


MOST_CHOICES = 1000  # conversations whose model is remembered
AUTO_PAUSE = 60.0  # seconds until a choice that was not to be had is asked for again
NO_MODEL = Model("")
AUTO_BODY = b'{"auto_mode":{"model_hints":["auto"]}}'
MOST_PROMPTS = 1000
REPEATED = 900.0  # seconds within which the same prompt at the same place is a retry


async def _refusal(response: Response) -> ProxyError:
    """The error that an answer is; one that is long or cut still tells its status."""
    raw = b""
    with contextlib.closing(response), contextlib.suppress(UpstreamError):
        while len(raw) < MAX_ERROR:
            piece = await response.read()
            if not piece:
                break
            raw += piece
    exc = upstream_error(response.status, response.headers, raw)
    log_event(
        "debug", "upstream_refused", status=response.status, code=exc.code,
        ids=dict(forward_headers(response.headers)),
    )
    return exc


class CopilotClient:
    """The signed-in account's Copilot."""

    _owner = ""  # whose catalogue and quota are kept

    def __init__(
        self, config: Config, pool: ConnectionPool, auth: CopilotAuth,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._pool = pool
        self._auth = auth
        self._clock = clock
        self._sleep = sleep
        self._headers = functools.lru_cache(64)(
            functools.partial(copilot_headers, config)
        )
        # As long as the answer speaks; silence is also what comes first.
        self._patience = Timeouts(config.idle_timeout, config.idle_timeout)
        self._prompts: Dict[Hashable, Tuple[float, int]] = {}  # when, place
        self.forget()

    # -- what the account has --------------------------------------------------

    def forget(self) -> None:
        """Another account may follow; a fetch under way ends in the old caches."""
        self._models = Cached(self._fetch_models, self._clock)
        self._quota = Cached(self._fetch_quota, self._clock)
        self._choices: Dict[str, Cached] = {}  # session -> the model that Auto chose
        self.auto_failure = ""  # why the last choice was not to be had
        self._auto_after = 0.0

    def close(self) -> None:
        """Leave what is being fetched: nobody would close what it gives back."""
        for cached in (self._models, self._quota, *self._choices.values()):
            cached.close()

    def _check_owner(self) -> None:
        """Start anew when another account has signed in; raises AuthRequired."""
        owner = self._auth.github_token()
        if owner != self._owner:
            self._owner = owner
            self.forget()

    def models(self, refresh: bool = False) -> Awaitable[Catalogue]:
        """The catalogue, `refresh`ed unless it is just half a minute old; raises
        ProxyError when it was never to be had."""
        self._check_owner()
        return self._models.get(early=(CATALOGUE_LIFE - 30.0) * refresh)

    async def _fetch_models(self) -> Tuple[Catalogue, float, float]:
        response = await self.send(MODELS)
        reply = read_object(await response.read_all(MAX_CATALOGUE))
        config = self._config
        models = Catalogue(
            parse_models(reply), config.copilot_default_model, config.model_map
        )
        if not models:
            raise UpstreamError("Copilot's list of models cannot be read; try again.")
        return models, CATALOGUE_LIFE, math.inf

    def quota(self) -> Awaitable[JSON]:
        """The account's quota, at most a minute old."""
        self._check_owner()
        return self._quota.get()

    async def _fetch_quota(self) -> Tuple[JSON, float, float]:
        response, raw = await self._auth.ask_github(
            self._config.github_api_url + "/copilot_internal/user",
            token=self._auth.github_token(),
        )
        if response.status != 200:
            raise upstream_error(response.status, response.headers, raw)
        reply = read_object(raw)
        if not reply:
            raise UpstreamError("GitHub's account page cannot be read; try again.")
        return parse_quota(reply), 60.0, math.inf

    def kept_models(self) -> Catalogue:
        """The catalogue as it was last read, empty before; nobody is asked."""
        return self._models.value or Catalogue()

    def account(self) -> JSON:
        """What the last quota call told, {} before; raises AuthRequired."""
        self._check_owner()
        return self._quota.value or {}

    # -- Auto (UPSTREAM 22.1) ----------------------------------------------------

    async def auto_model(self, session: str) -> Model:
        """The model that Copilot chooses for a conversation and then stays with; its
        token is among its headers. AUTO_MODEL where `auto_failure` tells why."""
        self._check_owner()
        choice = self._choices.get(session) or Cached(
            functools.partial(self._choose_auto, session), self._clock
        )
        keep_newest(self._choices, session, choice, MOST_CHOICES)
        if not choice.left and self._clock() < self._auto_after:
            return AUTO_MODEL
        try:
            return await choice.get()
        except UpstreamError as exc:
            self.auto_failure = str(exc)
            self._auto_after = self._clock() + AUTO_PAUSE
            log_event("warn", "auto_failed", status=exc.status, reason=str(exc))
            return AUTO_MODEL

    def forget_auto(self, session: str) -> None:
        """Let Copilot choose anew for a conversation: it refused what it chose."""
        self._choices.pop(session, None)

    async def _choose_auto(self, session: str) -> Tuple[Model, float, float]:
        choice = self._choices.get(session)  # none when it was forgotten meanwhile
        old = choice and choice.value  # its token is among its headers
        response = await self.send(
            AUTO_SESSION, AUTO_BODY, old or NO_MODEL, patient=False
        )
        reply = read_object(await response.read_all(MAX_ERROR))
        token = token_in(reply, "session_token")
        available = list_at(reply, "available_models")
        names = [text_at(reply, "selected_model"), *available]
        if old and old.id in available:
            names.insert(0, old.id)  # the conversation's cache lives there
        models = await self.models()
        able = [model for name in names for model in models if model.id == name]
        if not token or not able:
            raise UpstreamError(
                "Copilot's choice of a model cannot be read; try again."
            )
        life = typed(reply, "expires_at", int) - int(time.time())
        if not 60 <= life <= 86400:
            life = 1800  # one of the two clocks is wrong
        headers = (*able[0].headers, ("copilot-session-token", token))
        return able[0]._replace(headers=headers), life - 300, life

    # -- requests ----------------------------------------------------------------

    def who_pays(self, initiator: Initiator) -> str:
        """`agent` for a client's retry and for our own, as with the official client."""
        seen = self._prompts.get(initiator.key)
        if seen and seen[1] in (0, initiator.place):
            if self._clock() - seen[0] < REPEATED:
                return "agent"
        return initiator.who

    def _note(self, initiator: Initiator, exc: Optional[ProxyError] = None) -> None:
        """Remember a prompt that Copilot looked at."""
        key = initiator.key
        if key is None or isinstance(exc, ConnectFailed):
            return
        # Claude Code compacts what is too long, and sends it at another place.
        place = 0 if isinstance(exc, ContextOverflow) else initiator.place
        keep_newest(self._prompts, key, (self._clock(), place), MOST_PROMPTS)

    async def send(
        self, endpoint: str, body: bytes = b"", model: Model = NO_MODEL,
        initiator: Initiator = NOBODY, headers: Mapping[str, str] = {}, *,
        patient: bool = True,
    ) -> Response:
        """Send, and again where another token or, if `patient`, some time may help; the
        answer's head has come and is 2xx. Raises ProxyError. No body makes a GET."""
        method = "POST" if body else "GET"
        timeouts = self._patience if initiator.who else SHORT_CALL
        wanted = {**dict(model.headers), **headers}
        renewed = False
        retries = 0
        while True:
            token = await self._auth.token()
            host = token.proxy if endpoint.startswith(ENGINES) else token.api
            # What a model wants besides never replaces ours.
            fields = {**wanted, **self._headers(token.token, endpoint)}
            fields["x-request-id"] = fields["x-agent-task-id"] = new_uuid()
            if initiator.who:
                fields["x-initiator"] = self.who_pays(initiator)
            try:
                response = await self._pool.request(
                    method, host + endpoint, fields.items(), body, timeouts
                )
                if 200 <= response.status < 300:
                    self._note(initiator)
                    self._auth.worked = token
                    return response
                refusal = await _refusal(response)
            except UpstreamError as exc:
                refusal = exc
            if wants_new_token(refusal):
                # It counts the second refusal too, so it is asked first.
                again = self._auth.drop_refused(token, expired=refusal.status == 401)
                if renewed or not again:
                    raise refusal
                renewed = True
                continue
            self._note(initiator, refusal)
            wait = retry_wait(refusal, retries, random.random())
            if wait is None or not patient:
                raise refusal
            log_event(
                "info", "upstream_retry", endpoint=endpoint, status=refusal.status,
                wait=round(wait, 2),
            )
            retries += 1
            await self._sleep(wait)

    async def count_tokens(
        self, body: JSON, model: Model, headers: Mapping[str, str] = {}
    ) -> int:
        """The upstream's own count for a Messages request; free of charge."""
        raw = dumps({**body, "model": model.id})
        response = await self.send(
            COUNT_TOKENS, raw, model, headers=headers, patient=False
        )
        reply = loads_object(await response.read_all(MAX_ERROR))
        return count_at(reply, "input_tokens")


# ============================================================================
# 18. Routes
# ============================================================================
# What each path does: parse, choose, admit, translate, relay.                uses: 0-17
# Contract: the path decides the dialect of every error; the first byte to the client
# waits for the upstream's status; usage is recorded once, also on failure; a stream
# that failed ends with an error event (after a bug of ours, no ProxyError, the
# connection is reset instead), never with a made-up end.
#
# The life of a request: HTTPServer (15) reads it and calls App.handle(). find_route()
# names the handler; a model request becomes an Exchange, the one record of it: headers,
# log line, ledger and page all tell what that holds. _serve() has _choose() look up
# model and endpoint (7), _admit() charge the limits (13) and the handler of the dialect
# answer; at last _account() notes what it came to.
# The handler gives _forward() a `prepare`, which makes of the client's body the body or
# the Conversation (8-11) that goes up; _fit_body() has it encoded for the endpoint and
# run through the rules of Fitter (12). CopilotClient.send() (17) adds token and
# headers, tries again where that may help, and gives the Response (14) once its head is
# a 2xx. After a refusal that teaches a rule _forward() fits anew and sends again; after
# one that shows the catalogue to be stale _choose_again() has it read anew.
# Then a translator reads the answer: the upstream's bytes -> SSE (5) -> reader -> sink
# (8) -> the client's bytes; where both speak Messages or both Responses, a tap passes
# the bytes on and reads the usage. _answer() has it streamed by _relay(), where pump()
# feeds the translator and pings go out between events, or folds the same events to one
# object.
# A ProxyError before the first byte to the client is spelt by error_answer() (15), a
# later one by translator.fail(), because the status line is gone. Why a stream ends so:
# an error of the upstream's inside it (9-11); broken JSON, or a tool call without a
# name, with arguments that are no object or that come when it is over (8-11); an end
# without a terminal event (CUT_SHORT, 8); a line that broke, or was silent for
# IDLE_TIMEOUT (14); the end of the program (STOPPING). When the client leaves, its task
# is cancelled, and closing the Exchange closes the connection upstream.


class Route(NamedTuple):
    """One endpoint; `{id}` is any last part of a path. HEAD follows GET."""

    method: str
    path: str
    handler: str  # what answers it: App's attribute without its "_"
    dialect: str = ""  # of a model request; such a handler is given an Exchange


# Who may call is the same for all: guard() (15) has turned away foreign hosts and web
# pages, and, where API_KEY is set, everybody without it but at OPEN_PATHS.
ROUTES = [Route(*row.split()) for row in """
GET   /                            home
GET   /api/hello                   home
POST  /auth/login                  auth.login
POST  /auth/check                  auth_check
GET   /auth/status                 auth_status
POST  /auth/logout                 auth.logout
POST  /v1/messages                 messages           anthropic
POST  /v1/messages/count_tokens    count_tokens
GET   /v1/models                   models
GET   /v1/models/{id}              one_model
POST  /v1/chat/completions         chat               openai
POST  /v1/responses                responses          responses
POST  /v1/responses/compact        responses_compact  responses
GET   /v1/responses                responses_socket
POST  /v1/embeddings               embeddings         embeddings
POST  /v1/completions              completions        completions
GET   /usage/summary               ledger.summary
GET   /usage/details               ledger.details
GET   /usage/quota                 copilot.quota
GET   /usage/page                  usage_page
POST  /usage/line                  usage_line
POST  /usage/reset/{id}            usage_reset
POST  /usage/reset-all             usage_reset_all
POST  /api/event_logging/batch     event_batch
""".strip().splitlines()]


def segments(path: str) -> List[str]:
    """The path's parts without empty ones and any leading v1, of which clients write
    none, one or two."""
    return list(itertools.dropwhile("v1".__eq__, filter(None, path.split("/"))))


@functools.lru_cache(maxsize=256)
def find_route(method: str, path: str) -> Route:
    """The route of a request; raises NotFound or MethodNotAllowed."""
    parts = segments(path)
    routes: Dict[str, Route] = {}
    for route in ROUTES:
        wanted = segments(route.path)
        if wanted[-1:] == ["{id}"]:
            wanted[-1:] = parts[-1:]
        if wanted == parts:
            routes[route.method] = route
    if "GET" in routes:
        routes["HEAD"] = routes["GET"]
    if method in routes:
        return routes[method]
    if routes:
        words = f"{path[:200]} does not take {method[:20]}."
        raise MethodNotAllowed(words, allow=", ".join(routes))
    raise NotFound(
        f"no such path: {path[:200]}. Clients use the base URL without /v1 for "
        "Anthropic and with /v1 for OpenAI."
    )


TEXT_HEADERS = [("content-type", "text/plain; charset=utf-8")]
SSE_HEADERS = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("x-accel-buffering", "no"),
]
# How a conversation goes to an endpoint of Copilot, what reads the answers, and who
# alone can read its encrypted reasoning.
UPSTREAMS: Dict[str, Tuple[Callable[..., JSON], Any, Callable[[Model], str]]] = {
    MESSAGES: (encode_messages, MessagesReader, messages_source),
    CHAT: (encode_chat, ChatReader, chat_source),
    RESPONSES: (encode_responses, ResponsesReader, responses_source),
}
NO_CONVERSATION = Conversation(())


# -- one model request, and what the log says of it ------------------------------------

CLIENT_NAME = re.compile(r"[0-9A-Za-z._-]{0,40}")  # the first product of User-Agent
# What follows a model's name in some spellings: a date, and Claude's 1M window.
SPELLING = re.compile(r"(-20[0-9]{2}(-?[0-9]{2}){2}|\[1m\]|-1m)+$")


@functools.lru_cache(MAX_MODELS)
def shown_names(requested: str, used: str) -> Tuple[str, str]:
    """What log and page call a model: the client's name, "" where another is only
    another spelling, and Copilot's."""
    names = (requested, used)
    plain = {SPELLING.sub("", name.lower().replace(".", "-")) for name in names}
    mapped = "" not in plain and len(plain) > 1
    return printable(requested) if mapped else "", printable(used or requested)[:100]


class Exchange:
    """One model request: who wants what, what serves it, and what came of it."""

    parsed: Optional[ClientBody] = None  # between two goings up
    model = NO_MODEL
    endpoint = ""
    conversation = NO_CONVERSATION  # what went up, without turns; not for pass-throughs
    stops: Sequence[str] = ()  # where the answer is cut, as the upstream may not do it
    left_out = ""  # what the upstream was not told, in words
    response: Optional[Response] = None
    source: Any = None  # of a Responses answer: what keeps it for later
    compact = False  # whether the answer is to be the conversation in short
    native = True  # whether a model that speaks Responses gets the request as it is
    spoken = False  # the client has seen an event
    timer: Any = None  # of the next ping
    status = 0
    usage = TokenUsage()
    who = ""  # "user" or "agent", who pays; "" = it never reached Copilot
    number = 0  # unique since the start
    hold: Optional[Hold] = None  # what the limits charged it
    whose = ""  # whose failure it is, as in ProxyError
    reason = ""  # why it failed, in words

    def __init__(self, request: Request, out: Responder, dialect: str) -> None:
        self.request = request
        self.size = len(request.body)
        self.out = out
        self.dialect = dialect
        body = self.body
        self.requested = text_field(body, "model")
        self.stream = field(body, "stream", bool, default=False)
        self.session = session_of(request.headers, body, request.peer)
        self.names: Mapping[str, str] = {}  # the upstream's of a tool: the client's
        self.begun: List[asyncio.Future[bytes]] = []  # pieces read before pump()
        self.started = time.monotonic()

    def blame(self, exc: ProxyError) -> None:
        """Note a failure for the log and the page."""
        exc.logged = True
        self.status = exc.status
        self.whose = exc.whose
        self.reason = printable(exc.reason[:300])

    @property
    def client(self) -> ClientBody:
        """The parsed request, read anew where it is needed again; raises BadRequest."""
        if self.parsed is None:
            betas = self.request.headers.get("anthropic-beta", "")
            placed = parse_placed(self.request.body)
            self.parsed = ClientBody(self.dialect, betas, *placed)
        return self.parsed

    @property
    def body(self) -> JSON:
        """What the client sent; rules edit it on its way up."""
        return self.client.body

    @property
    def shown_as(self) -> str:
        """The model's name in the answer: the client's own."""
        return self.requested or self.model.id

    def headers(self) -> List[Tuple[str, str]]:
        """What the client is told beside the answer."""
        pairs = [("x-copilot-model", self.model.id)]
        if self.left_out:
            left_out = re.sub(r"[^ -~]", "?", self.left_out)
            pairs.append(("x-copilot-left-out", left_out))
        if self.dialect == "responses":
            # Replayed reasoning is in `usage`: Codex must not add it (UPSTREAM 22.4).
            pairs.append(("x-reasoning-included", "true"))
        if self.response:
            pairs += forward_headers(self.response.headers)
        return pairs

    def served(self) -> Served:
        """The request as it stands, for the log, the page and USAGE_LOG."""
        seconds = time.monotonic() - self.started
        agent = self.request.headers.get("user-agent", "")
        return Served(
            self.number, time.time() - seconds, self.session,
            CLIENT_NAME.match(agent)[0], self.who,
            *shown_names(self.requested[:100], self.model.id), self.status, self.usage,
            seconds, self.whose, self.reason,
        )

    def translation(self, sink: Sink) -> Translation:
        """What reads the upstream's answer into `sink`."""
        _, reader, source = UPSTREAMS[self.endpoint]
        custom = custom_names(self.conversation.tools)
        reader = reader(source(self.model))
        return Translation(reader, sink, custom, self.stops, self.names)

    def read_ahead(self) -> asyncio.Future[bytes]:
        """Begin to read a piece of the answer, which pump() then takes first."""
        reading = asyncio.ensure_future(self.response.read())
        self.begun.append(reading)
        return reading

    async def send(self, answer: bytes, pairs: Pairs = JSON_HEADERS) -> None:
        """Answer as a whole, as a rule with JSON."""
        await self.out.send(200, [*pairs, *self.headers()], answer)

    def close(self) -> None:
        """Leave the upstream, whatever it still has to say."""
        for reading in self.begun:
            reading.cancel()
        self.begun = []
        if self.response:
            self.response.close()

    def log_stream(self, step: str) -> None:
        """Log how far its stream has come, for who debugs."""
        log_event("debug", f"stream_{step}_{self.dialect}", model=self.model.id)


@functools.lru_cache(MAX_SESSIONS)
def session_mark(session: str) -> str:
    """Four characters that tell a session from others in the log."""
    hexadecimal = re.match("(?:key-|id-)?([0-9a-f]{4})[0-9a-f]{4}", session)
    if hexadecimal:
        return hexadecimal[1]
    return re.sub("[^0-9A-Za-z]", "", session)[-4:]  # made names differ at their end


def served_line(served: Served) -> str:
    """A request's log line, 80 columns with time and level: uncached + cached input >
    output. The reason of a failure follows, however wide it is."""
    usage = served.usage
    figures = "%3d %4s+%4s>%4s %5.2fcr %4.1fs" % (
        served.status, short_number(usage.input + usage.cache_write),
        short_number(usage.cache_read), short_number(usage.output), usage.credits,
        served.seconds,
    )
    # What the figures leave is the model's, so that a dear request is no wider.
    room = 52 - len(figures)
    model = served.model[:room].ljust(room)
    mark = session_mark(served.session)
    line = f"{mark:4} {served.who:5} {model} {figures}"
    if served.whose:
        line += f"  {served.whose}: {served.reason}"
    return line


# -- work beside the event loop, the sizes of prompts, USAGE_LOG -----------------------

HEAVY_WORK = 1 << 18  # bytes; a thread costs 0.2 ms, they cost up to 70
HUGE_WORK = 4 << 20  # bytes; they take turns, because translated they are 200 MB
HUGE_LANE = concurrent.futures.ThreadPoolExecutor(1)


async def apart(size: int, work: Callable[[], Any]) -> Any:
    """The outcome of pure `work` on `size` bytes; where it is much, the event loop goes
    on meanwhile. (20,000 turns of five words take 200 ms.)"""
    if size < HEAVY_WORK:
        return work()
    lane = HUGE_LANE if size > HUGE_WORK else None  # None: the loop's own threads
    return await asyncio.get_running_loop().run_in_executor(lane, work)


BYTES_A_TOKEN = 4  # of JSON; who sees it as a figure gets the true one at the end
PromptCost = Tuple[float, float]  # tokens, but for those of the cache, and nano AIU
MAX_SAMPLE = 1 << 20  # bytes
MAX_SAMPLES = 4
MAX_COUNTED = 512
OUTAGE = 60.0  # seconds for which a failed count is not tried again
USUAL_OUTPUT = 4000  # tokens that an answer is thought to have at the most
FADING = 0.7  # of what the dearest cost, with every other
UNPRICED = 10**9  # nano AIU of a request whose price the catalogue does not tell


class PromptSizes:
    """How long prompts are: an estimate, or the upstream's count; and what they may
    cost, so that the limits can charge it before the answer."""

    def __init__(self, copilot: CopilotClient) -> None:
        self._copilot = copilot
        self._estimator = Estimator()
        self._dearest: Dict[str, PromptCost] = {}  # of a byte by model; engines: ""
        # The last real request of each model: read only when a count is asked for, so
        # that nobody pays for estimates that nobody wants.
        self._samples: Dict[str, Tuple[bytes, int]] = {}
        self._counted: Dict[int, int] = {}
        self._down_until = 0.0
        self._turn = asyncio.Semaphore(4)  # Claude Code asks 35 at once (CLIENTS 1)

    def cost(self, model: Model, size: int, most_output: int) -> PromptCost:
        """What a request may cost: nothing of it cached, but scarcely more than those
        of its model did, byte for byte."""
        prompt = size // BYTES_A_TOKEN
        output = min(most_output or USUAL_OUTPUT, USUAL_OUTPUT)
        tokens = prompt + output
        nano = UNPRICED
        if model.prices:  # AI credits for a million
            price = prompt * model.prices["input"] + output * model.prices["output"]
            nano = 1000 * price
        dearest = (tokens / size, nano / size)
        most_tokens, most_nano = self._dearest.setdefault(model.id, dearest)
        return min(tokens, most_tokens * size), min(nano, most_nano * size)

    def learn(self, model: str, raw: bytes, usage: TokenUsage) -> None:
        """What the upstream counted for a whole request."""
        size = len(raw)
        if size <= MAX_SAMPLE:
            keep_newest(self._samples, model, (raw, usage.prompt), MAX_SAMPLES)
        if model in self._dearest:  # of late, as one cheap question says little
            tokens, nano = self._dearest[model]
            used = usage.input + usage.cache_write + usage.output
            self._dearest[model] = (
                max(used / size, tokens * FADING),
                max(usage.nano_aiu / size, nano * FADING),
            )

    def estimate(self, body: JSON, model: str) -> int:
        """Tokens of a request, corrected by what real usage has shown."""
        sample = self._samples.pop(model, None)
        if sample is not None:
            raw, prompt = sample
            self._estimator.learn(model, loads_object(raw), prompt)
        return self._estimator.predict(model, body)

    async def ask(self, question: Callable[[], Awaitable[Any]], otherwise: Any) -> Any:
        """Copilot's answer, or `otherwise`; after a failure nobody waits for one."""
        try:
            if time.monotonic() >= self._down_until:
                return await question()
        except ProxyError as exc:
            if exc.status >= 500:  # a 400 is about this body only
                self._down_until = time.monotonic() + OUTAGE
        return otherwise

    async def count(self, raw: bytes, fit: Fit) -> int:
        """The upstream's own count where it has one, else the estimate."""
        key = hash(raw)  # of 64 bits
        async with self._turn:
            tokens = self._counted.get(key)
            if not tokens and MESSAGES in fit.model.endpoints:
                count = self._copilot.count_tokens
                tokens = await self.ask(
                    lambda: count(fit.body, fit.model, fit.headers), 0
                )
        if not tokens:
            return await apart(len(raw), lambda: self.estimate(fit.body, fit.model.id))
        keep_newest(self._counted, key, tokens, MAX_COUNTED)
        return tokens


APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)


class UsageLog:
    """USAGE_LOG: a line a request, appended by a thread: no disk is waited for."""

    def __init__(self, path: str) -> None:
        self._path = os.path.expanduser(path)
        self._complained = False
        if path and os.path.isdir(self._path):
            raise ConfigError(f"USAGE_LOG={path} is not usable: expected a file.")

    def write(self, served: Served) -> None:
        """Append one request; a failure is told once and never reaches a request."""
        if self._path:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(served.at))
            line = usage_line(served, stamp)
            asyncio.get_running_loop().run_in_executor(None, self._append, line)

    def _append(self, line: bytes) -> None:
        try:
            # Who used what is private, and a FIFO may have no reader.
            handle = os.open(self._path, APPEND, 0o600)
            with os.fdopen(handle, "ab", 0) as file:
                file.write(line)
        except OSError as exc:
            if not self._complained:
                self._complained = True
                log_event("warn", "usage_log_failed", path=self._path, reason=str(exc))


# -- the upstream's answer ---------------------------------------------------------

MAX_ANSWER = 64 * 1024 * 1024  # bytes of a whole JSON answer


async def whole_answer(response: Response, begun: bytes = b"") -> Tuple[bytes, JSON]:
    """A JSON answer and its object; cut, garbled or an error inside is raised."""
    raw = begun + await response.read_all(MAX_ANSWER)
    answer = read_object(raw)
    if object_at(answer, "error"):  # in a 200 (UPSTREAM 15.2, last row)
        raise error_in_stream(answer)
    if not answer:
        raise UpstreamError("the upstream's answer is not whole JSON; try again.")
    return raw, answer


async def read_opening(exchange: Exchange, patience: float) -> None:
    """Read how a stream begins that is not called one, or that may be a refusal; raises
    what it is instead. Any other is not waited for: the client's 200 may go out."""
    kind = exchange.response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        piece = await exchange.read_ahead()
        if piece.lstrip()[:1] in (b"{", b"<", b""):
            await whole_answer(exchange.response, piece)
            raise UpstreamError(
                "the upstream sent an answer, but no stream; try again."
            )
    elif exchange.endpoint == RESPONSES:
        opening = ResponsesOpening()
        while not opening.done:
            reading = exchange.read_ahead()
            await asyncio.wait([reading], timeout=patience)
            if not reading.done() or reading.exception():
                return
            if not reading.result():
                break
            opening.feed(reading.result())
        if opening.failure and opening.failure.status < 500:
            raise opening.failure


# What may still come after a terminal event is a usage chunk (UPSTREAM 9.4 rule 8); an
# upstream that keeps the connection open after it must not keep the client waiting.
LATE_USAGE = 2.0


async def pump_late_usage(
    exchange: Exchange, translator: StreamTranslator, take: Callable[[bytes], bool]
) -> None:
    """Feed what may follow a terminal event: the answer is complete without it."""
    timer = asyncio.get_running_loop().call_later(LATE_USAGE, exchange.close)
    with contextlib.suppress(UpstreamError):
        while not translator.done and await exchange.response.pour(take):
            pass
    timer.cancel()


async def pump(
    exchange: Exchange, translator: StreamTranslator, push: Callable[[bytes], bool]
) -> bytes:
    """Feed the translator and `push` what it makes of it, until nothing can follow, and
    give the end. Where push() gives False the client is slow and is waited for."""

    def take(data: bytes) -> bool:
        events = translator.feed(data)
        exchange.spoken = exchange.spoken or bool(events)
        fits = not events or push(events)
        return fits and not translator.finished

    try:
        for reading in exchange.begun:
            take(await reading)
        exchange.begun = []
        while not translator.finished:
            await exchange.out.drain()
            if not await exchange.response.pour(take):
                break
        if not translator.done:
            await pump_late_usage(exchange, translator, take)
        return translator.finish()
    finally:
        exchange.usage = translator.usage
        name = translator.model
        if exchange.model.id == AUTO and MODEL_ID.fullmatch(name):  # Copilot's choice
            exchange.model = exchange.model._replace(id=name)


async def fold_answer(exchange: Exchange, translator: Any) -> JSON:
    """The whole answer, from the stream that the upstream sends in any case."""
    await pump(exchange, translator, lambda _: True)
    return translator.whole()


# -- the handlers ------------------------------------------------------------------

OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MAX_TRIES = 4  # a body may need more than one lesson; each is learnt once
STALE_CATALOGUE = ("model_not_supported", "unsupported_api_for_model")


# Why a request ends that still runs when the program ends; told, never raised.
STOPPING = ProxyError(
    "the proxy is being stopped; start it again and repeat the request.", status=503
)


class App:
    """The handlers and what they share; `handle` is the server's one callback."""

    def __init__(
        self, config: Config, auth: CopilotAuth, copilot: CopilotClient, page: Any
    ) -> None:
        self._config = config
        self._auth = auth
        self._copilot = copilot
        self._page = page  # the StatusPage of the next room
        self._ledger = UsageLedger()
        self._usage_log = UsageLog(config.usage_log)
        self._limits = Limits(config)
        self._fitter = Fitter()
        self._sizes = PromptSizes(copilot)
        self._memory = ResponseMemory()
        self._live: Dict[Exchange, None] = {}  # requests under way, for the status page
        self._numbers = itertools.count(1)
        self._told: Dict[Tuple[str, str], bool] = {}  # what the log says only once

    async def handle(self, request: Request, out: Responder) -> None:
        """Answer one request; the server spells a ProxyError in the path's dialect."""
        route = find_route(request.method, request.path)
        if not route.dialect:
            await out.send(*await self._reply(request, route.handler))
            return
        exchange = await apart(
            len(request.body), lambda: Exchange(request, out, route.dialect)
        )
        with contextlib.closing(exchange):
            await self._serve(exchange, getattr(self, "_" + route.handler))
            if exchange.response:
                await exchange.response.finish()  # the connection may be of use

    async def _reply(self, request: Request, handler: str) -> Tuple[int, Any, bytes]:
        """Status, headers and body for all but model requests."""
        answer = operator.attrgetter("_" + handler)(self)
        # What App only passes on is the same whatever the request says.
        reply = answer() if "." in handler else answer(request)
        if asyncio.iscoroutine(reply):
            reply = await reply
        if isinstance(reply, tuple):
            return reply
        return 200, JSON_HEADERS, dumps(reply)

    # -- status, sign-in, usage: they return JSON, or status, headers and body -----

    def _home(self, request: Request) -> Any:
        if request.path == "/" and "text/html" in request.headers.get("accept", ""):
            return (200, *self._page.document(secrets.token_urlsafe(16)))
        return {
            "status": "ok",
            "proxy": "copilot-claude-proxy",
            "version": __version__,
            "authenticated": self._auth.signed_in(),
        }

    def _auth_check(self, _: Request) -> Any:
        state = self._auth.check()
        signed_out = state["status"] == "unauthenticated"
        return 400 if signed_out else 200, JSON_HEADERS, dumps(state)

    def _auth_status(self, _: Request) -> JSON:
        state = self._auth.status()
        if state["status"] != "authenticated":
            return state
        account = self._copilot.account()
        return {**state, **given(login=account.get("login"), plan=account.get("plan"))}

    async def report(self, _: Any = None) -> JSON:
        """All that the status page shows, whoever asks."""
        running = [exchange.served() for exchange in self._live]
        return await self._page.report(self._ledger, running)

    _usage_page = report

    def _usage_line(self, request: Request) -> Any:
        body = loads_object(request.body)
        model = text_at(object_at(body, "model"), "display_name")
        session = text_at(body, "session_id")
        line = self._page.line(self._ledger, session, printable(model[:60]))
        return 200, TEXT_HEADERS, (line + "\n").encode("utf-8")

    def _usage_reset(self, request: Request) -> JSON:
        name = segments(request.path)[-1]
        session = self._ledger.find(name, self._limits.allowances)
        self._ledger.reset(session)
        self._limits.allowances.pop(session, None)
        return {"success": True, "message": f"Usage reset for session: {name}"}

    def _usage_reset_all(self, _: Request) -> JSON:
        self._ledger.reset_all()
        self._limits.allowances.clear()
        return {"success": True, "message": "All usage metrics reset"}

    def _event_batch(self, _: Request) -> JSON:
        return {"success": True}  # Claude Code's telemetry ends here

    async def _models(self, request: Request) -> JSON:
        # Claude Code knows the dashed names; it and Anthropic's SDKs send this header.
        dashed = request.headers.get("anthropic-version") is not None
        return models_payload(await self._copilot.models(), dashed=dashed)

    async def _one_model(self, request: Request) -> JSON:
        name = segments(request.path)[-1]
        models = await self._copilot.models()
        for model in models:
            if model.id == name:
                return model_payload(model, name)
        return model_payload(models.resolve(name, "anthropic"), name)

    def _responses_socket(self, request: Request) -> Any:
        # Codex falls back to POST at once on a 426, after 6 s on anything else
        # (CLIENTS 2). It asks each time, so that is not logged.
        words = "this proxy serves /v1/responses by POST only; use POST."
        return error_answer(ProxyError(words, status=426), request.path)

    async def _count_tokens(self, request: Request) -> JSON:
        raw = request.body
        body = await apart(len(raw), lambda: loads_object(raw))
        requested = text_field(body, "model")
        model = Model(requested[:LONGEST_NAME])
        models = await self._sizes.ask(self._copilot.models, Catalogue())
        with contextlib.suppress(NotFound, BadRequest):  # an estimate needs none
            model = models.resolve(requested, "anthropic")
        client = ClientBody("anthropic", "", body)
        fit = await apart(  # raises what a request would
            len(raw), lambda: self._fitter.fit(client, body, model, MESSAGES)
        )
        return {"input_tokens": max(1, await self._sizes.count(raw, fit))}

    # -- model requests: choose, admit, account --------------------------------------

    async def _serve(
        self, exchange: Exchange, answer: Callable[[Exchange], Awaitable[None]]
    ) -> None:
        """Choose for one model request, admit and answer it; account for it whatever
        happens."""
        self._live[exchange] = None
        exchange.number = next(self._numbers)
        exchange.initiator = who_asks(
            exchange.request.headers, exchange.body, exchange.session
        )
        try:
            await self._choose(exchange)
            self._admit(exchange)
            try:
                await answer(exchange)
            except UpstreamError as exc:
                await self._choose_again(exchange, exc)
                await answer(exchange)
            exchange.status = exchange.status or 200
        except ProxyError as exc:
            raise await self._blame(exchange, exc) from None
        except asyncio.CancelledError:
            left = ClientLeft("it closed the connection")
            exchange.blame(left if exchange.out.closed else STOPPING)
            raise
        finally:
            del self._live[exchange]
            self._account(exchange)

    async def _choose(self, exchange: Exchange, *, refresh: bool = False) -> None:
        """Find model and endpoint; for an unknown name the catalogue is read again."""
        if exchange.dialect == "completions":
            return  # an engine of the autocomplete host, in no catalogue
        models = await self._copilot.models(refresh)
        try:
            model = models.resolve(exchange.requested, exchange.dialect)
            if model.policy == "disabled":
                raise switched_off(model)
        except (NotFound, Forbidden):
            if refresh:
                raise
            await self._choose(exchange, refresh=True)
            return
        if model.id == AUTO:
            model = await self._copilot.auto_model(exchange.session)
        exchange.model = model
        exchange.endpoint = models.choose_endpoint(model, exchange.dialect)
        requested, used = shown_names(exchange.requested[:100], model.id)
        if requested and self._is_news(requested, used):
            log_event("info", "model_mapped", requested=requested, used=used)

    def _is_news(self, *fact: str) -> bool:
        """Whether the log has yet to tell it; clients repeat themselves."""
        news = fact not in self._told
        keep_newest(self._told, fact, True, MAX_SESSIONS)
        return news

    def _admit(self, exchange: Exchange) -> None:
        """Apply this proxy's own limits; what they refuse is not charged."""
        if not self._limits.on:
            return
        prompt = 0
        # No text has more tokens than bytes: short requests need no estimate.
        if 0 < self._config.max_tokens_per_request < exchange.size:
            prompt = self._sizes.estimate(exchange.body, exchange.model.id)
        most = max(count_at(exchange.body, name) for name in OUTPUT_LIMITS)
        tokens, nano = self._sizes.cost(exchange.model, exchange.size, most)
        wanted = Wanted(
            exchange.session, exchange.dialect, prompt, int(tokens), int(nano),
            exchange.request.headers.get("host", ""),
        )
        exchange.hold = self._limits.admit(wanted, time.monotonic())

    async def _choose_again(self, exchange: Exchange, exc: UpstreamError) -> None:
        """Read the catalogue anew where a refusal shows that it is stale; raises the
        refusal, in better words if need be, where another answer is not to be had."""
        if exc.code not in STALE_CATALOGUE or exchange.out.started:
            raise exc
        before = (exchange.model.id, exchange.endpoint)
        self._copilot.forget_auto(exchange.session)
        await self._choose(exchange, refresh=True)
        if (exchange.model.id, exchange.endpoint) != before:
            return
        if exchange.model.id == AUTO:
            raise NotFound(
                "GitHub Copilot's Auto is not to be had for this account: "
                f"{self._copilot.auto_failure} A request "
                f"without a model was refused too: {exc}",
                code="model_not_found",
            )
        raise (
            exc if exchange.model.policy == "enabled" else switched_off(exchange.model)
        )

    async def _blame(self, exchange: Exchange, exc: ProxyError) -> ProxyError:
        """Note a failure; gives it as the client is to see it: Claude Code cuts by the
        numbers of an overflow, so they may not be 0 (CLIENTS 1)."""
        if isinstance(exc, ContextOverflow) and not exc.tokens:
            model = exchange.model
            tokens = await apart(
                exchange.size, lambda: self._sizes.estimate(exchange.body, model.id)
            )
            most = model.prompt or model.context or tokens
            exc = ContextOverflow(max(tokens, most + 1), most)
        exchange.blame(exc)
        return exc

    def _account(self, exchange: Exchange) -> None:
        exchange.status = exchange.status or 500  # a bug: the server says more of it
        served = exchange.served()
        usage = served.usage
        self._ledger.record(served)
        self._usage_log.write(served)
        self._page.spend(usage.credits)
        # An answer that was left half-way, or broke, costs what it was estimated to.
        unknown = exchange.response and exchange.status != 200 and not usage.nano_aiu
        if exchange.hold and not unknown:
            self._limits.settle(exchange.hold, time.monotonic(), usage)
        if usage.prompt:
            self._sizes.learn(exchange.model.id, exchange.request.body, usage)
        level = "warn" if served.failed else "info"
        if is_logged(level):
            line = served_line(served)
            left_out = exchange.left_out
            if left_out and self._is_news(exchange.session, left_out):
                line += "  left out: " + left_out[:200]
            log_line(level, line)

    # -- to the upstream and back ------------------------------------------------------

    async def _forward(
        self, exchange: Exchange, prepare: Optional[Callable[[JSON], Any]] = None, *,
        streams: bool = True,
    ) -> None:
        """Fit and send, and again when a refusal taught how to say it: then the head of
        an answer has come, and what it `streams` is no refusal. `prepare` makes of the
        client's body a Conversation, or another body for the endpoint."""
        exchange.who = exchange.who or self._copilot.who_pays(exchange.initiator)
        sent: Any = None
        for _ in range(2 * MAX_TRIES):
            fit, body = await apart(
                exchange.size, lambda: self._fit_body(exchange, prepare)
            )
            if (body, fit.betas) == sent:  # else another request was taught meanwhile
                lesson = self._fitter.learn(fit, refusal)
                if not lesson:
                    break
                log_event("info", "lesson", model=exchange.model.id, lesson=lesson)
                continue
            sent = (body, fit.betas)
            headers = fit.headers
            del fit  # ten times its bytes, while a model thinks
            try:
                exchange.response = await self._copilot.send(
                    exchange.endpoint, body, exchange.model, exchange.initiator,
                    headers,
                )
                if streams:
                    # A refusal inside a 200 follows its head at once: half a second.
                    await read_opening(exchange, self._config.ping_interval / 30)
                exchange.out.release()
                return
            except UpstreamError as exc:
                refusal = exc
            exchange.close()
            if refusal.status != 400:  # it teaches nothing
                break
        raise refusal

    def _fit_body(
        self, exchange: Exchange, prepare: Optional[Callable[[JSON], Any]]
    ) -> Tuple[Fit, bytes]:
        """The request as the upstream takes it, and its bytes."""
        client = exchange.client
        exchange.parsed = None  # the rules edit it, and 100 streams hold none
        body = prepare(client.body) if prepare else client.body
        exchange.conversation = NO_CONVERSATION
        left_out: List[str] = []
        if isinstance(body, Conversation):
            left_out = [*body.left_out, *lost_fields(client)]
            exchange.conversation = body._replace(turns=())
            encode, _, _ = UPSTREAMS[exchange.endpoint]
            body = encode(body, exchange.model)
        fit = self._fitter.fit(client, body, exchange.model, exchange.endpoint)
        exchange.names = fit.names
        exchange.stops = exchange.conversation.stop or fit.stops
        exchange.left_out = ", ".join([*left_out, *fit.left_out])[:400]
        raw = fit.encode()
        fit.client = client._replace(text="")  # nor its text while they wait
        return fit, raw

    async def _answer(self, exchange: Exchange, translator: StreamTranslator) -> None:
        """Stream the translation, or fold it into one object: the same answer."""
        if exchange.stream:
            await self._relay(exchange, translator)
        else:
            await exchange.send(dumps(await fold_answer(exchange, translator)))

    async def _relay(self, exchange: Exchange, translator: StreamTranslator) -> None:
        """Pump one streamed answer: upstream bytes -> translator -> client."""
        out = exchange.out
        out.start(200, SSE_HEADERS + exchange.headers())
        exchange.log_stream("start")
        self._ping(exchange, translator, due=False)
        try:
            last = await pump(exchange, translator, out.push)
            exchange.log_stream("completed")
        except ProxyError as exc:  # the status line is long gone: say it in the stream
            exchange.close()
            last = translator.fail(await self._blame(exchange, exc))
            exchange.log_stream("error")
        except asyncio.CancelledError:
            exchange.log_stream("closed")
            if not out.closed:  # the program stops, the client is still there
                await out.end(translator.fail(STOPPING))
            raise
        finally:
            exchange.timer.cancel()
        await out.end(last)

    def _ping(
        self, exchange: Exchange, translator: StreamTranslator, *, due: bool = True
    ) -> None:
        """Keep a waiting client's timers from running out, between events only."""
        # An event goes out only behind message_start, which must be the first.
        event = exchange.spoken and exchange.dialect == "anthropic"
        if due and not translator.finished:
            exchange.out.push(SSE_PING if event else SSE_COMMENT)
        exchange.timer = asyncio.get_running_loop().call_later(
            self._config.ping_interval, self._ping, exchange, translator
        )

    # -- the dialects ------------------------------------------------------------------

    async def _messages(self, exchange: Exchange) -> None:
        query = search_query(exchange.body)
        if query is not None:
            await self._web_search(exchange, query)
        elif exchange.endpoint != MESSAGES:
            await self._forward(exchange, parse_messages)
            writer = MessagesWriter(
                "msg_" + secrets.token_hex(12), exchange.shown_as,
                exchange.size // BYTES_A_TOKEN, fold=not exchange.stream,
                thinking=exchange.conversation.thinking,
            )
            await self._answer(exchange, exchange.translation(writer))
        else:
            await self._forward(exchange, streams=exchange.stream)
            if exchange.stream:
                await self._relay(exchange, MessagesTap(exchange.names))
                return
            answer, message = await whole_answer(exchange.response)
            exchange.usage = native_usage(message)
            if restore_names(message.get("content"), exchange.names):
                answer = dumps(message)
            await exchange.send(answer)

    async def _web_search(self, exchange: Exchange, query: str) -> None:
        """Claude Code's search request: a model that can search by itself, or words."""
        message_id = "msg_" + secrets.token_hex(12)
        writer = MessagesWriter(message_id, exchange.shown_as, fold=not exchange.stream)
        if self._config.web_search == "on" and await self._take_searcher(exchange):
            await self._forward(exchange, lambda _: search_request(query))
            await self._answer(
                exchange, Translation(ResponsesReader(search=True), writer)
            )
            return
        writer.text(NO_SEARCH)
        writer.end("stop", TokenUsage())
        if exchange.stream:
            await exchange.send(writer.take(), SSE_HEADERS)
        else:
            await exchange.send(dumps(writer.whole()))

    async def _take_searcher(self, exchange: Exchange) -> Optional[Model]:
        """Turn to a model that searches the web; None = the account has none."""
        searcher = search_model(await self._copilot.models())
        if searcher:
            exchange.model = searcher
            exchange.endpoint = RESPONSES
        return searcher

    async def _chat(self, exchange: Exchange) -> None:
        options = object_field(exchange.body, "stream_options")
        if MESSAGES in exchange.model.endpoints and has_files(exchange.body):
            exchange.endpoint = MESSAGES  # only there Claude models read PDF
        translated = exchange.endpoint != CHAT or needs_translation(exchange.body)
        await self._forward(exchange, parse_chat if translated else None)
        writer = ChatWriter(
            "chatcmpl-" + secrets.token_hex(12), exchange.shown_as, int(time.time()),
            options.get("include_usage") is True, fold=not exchange.stream,
            custom=custom_names(exchange.conversation.tools),
        )
        await self._answer(exchange, exchange.translation(writer))

    async def _responses(self, exchange: Exchange) -> None:
        tools = list_at(exchange.body, "tools")
        kinds = {text_at(tool, "type")[:10] for tool in tools}
        if kinds == {"web_search"} and exchange.endpoint != RESPONSES:
            await self._take_searcher(exchange)  # nothing else was offered
        await self._answer(exchange, await self._forward_responses(exchange))
        source = exchange.source
        self._memory.keep(
            exchange.session, exchange.request.body, source.whole(), source.items
        )

    async def _responses_compact(self, exchange: Exchange) -> None:
        """A conversation in short: by the model's own way, else by its summary."""
        exchange.stream = False
        exchange.compact = True
        body = self._memory.expand(exchange.session, exchange.body)
        output = None
        if exchange.endpoint == RESPONSES:
            with contextlib.suppress(UpstreamError):
                answer = await fold_answer(
                    exchange, await self._forward_responses(exchange)
                )
                output = compaction_output(body, answer)
        if output is None:
            exchange.close()
            exchange.native = False
            answer = await fold_answer(
                exchange, await self._forward_responses(exchange)
            )
            output = compaction_output(body, answer)
        reply = {key: answer.get(key) for key in ("id", "created_at", "usage")}
        reply.update(object="response.compaction", output=output)
        await exchange.send(dumps(reply))

    async def _forward_responses(self, exchange: Exchange) -> Any:
        """Send a Responses request as it is, or translated; what reads the answer."""
        prepare = functools.partial(self._prepare_responses, exchange)
        await self._forward(exchange, prepare)
        source = exchange.source
        if isinstance(source, ResponsesTap):
            source.names = exchange.names
            return source
        return exchange.translation(source)

    def _prepare_responses(self, exchange: Exchange, client_body: JSON) -> Any:
        """What goes up, with all that the request only refers to; sets the `source`."""
        body = self._memory.expand(exchange.session, client_body)
        if exchange.compact:
            items = [*input_items(body), {"type": "compaction_trigger"}]
            body = {**body, "input": items}
        if body is not client_body:
            body = loads_object(dumps(body))  # what is remembered must stay as it is
        model, endpoint = exchange.model, exchange.endpoint
        flat = self._fitter.has_learnt("namespaces", model, endpoint)
        if exchange.native and endpoint == RESPONSES and not flat:
            exchange.source = ResponsesTap(
                hide=wants_memory(body, model),
                previous=text_at(client_body, "previous_response_id"),
            )
            return body
        conversation = parse_responses(body)
        compact = is_compaction(body)
        if compact:
            conversation = conversation._replace(tool_choice="none", schema=None)
        response_id = "resp_" + secrets.token_hex(12)
        created = int(time.time())
        exchange.source = ResponsesWriter(
            response_frame(client_body, response_id, exchange.shown_as, created),
            {tool.name: tool for tool in conversation.tools},
            fold=not exchange.stream,
            summary=conversation.thinking,
            encrypted=ENCRYPTED in list_at(body, "include"),
            compact=compact,
        )
        return conversation

    async def _embeddings(self, exchange: Exchange) -> None:
        encoding = exchange.body.get("encoding_format")
        await self._forward(exchange, streams=False)
        _, reply = await whole_answer(exchange.response)
        exchange.usage = openai_usage(reply)
        await exchange.send(dumps(encode_embeddings(reply, exchange.model, encoding)))

    async def _completions(self, exchange: Exchange) -> None:
        engine, body = prepare_completion(exchange.body)
        exchange.model = Model(engine)
        exchange.endpoint = engine_path(engine)
        await self._forward(exchange, lambda _: body)
        await self._answer(exchange, CompletionStream(engine))


# ============================================================================
# 19. Status page
# ============================================================================
# What people are told, in words made once: banner, `usage`, `check` and the page at /
# say the same sentence. The page is one HTML string: no build, no third-party script.
#                                                            uses: 0-2, 4, 7, 13, 16, 17
# Contract: report() never waits for Copilot and holds no secret; the page sets text,
# never HTML, and its nonce is the only script and style that its policy allows.

# -- what to paste ---------------------------------------------------------------

SHELLS = {  # how a variable is set, and what quotes its value
    "bash": ("export {}={}", shlex.quote),
    "fish": ("set -gx {} {}", lambda text: "'%s'" % re.sub(r"(['\\])", r"\\\1", text)),
    # It takes the four typographic single quotes for quotes, so they double.
    "powershell": (
        "$env:{} = {}",
        lambda text: "'%s'" % re.sub("(['\u2018-\u201b])", r"\1\1", text),
    ),
}
HIDDEN_KEY = "<your API_KEY>"
OWN_HOSTS = ("127.0.0.1", "localhost", "::1")


def client_environment(
    base: str, config: Config, models: Catalogue, key: str
) -> Dict[str, str]:
    """The variables that lead clients here, with the models of this account."""
    # With HTTPS_PROXY set, Claude Code sends even 127.0.0.1 to the proxy (CLIENTS 8).
    hosts = re.findall(r"[^,\s]+", config.no_proxy)
    hosts += [urllib.parse.urlsplit(base).hostname, *OWN_HOSTS]
    no_proxy = ",".join(dict.fromkeys(filter(None, hosts)))
    return {
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_AUTH_TOKEN": key,
        "OPENAI_BASE_URL": base + "/v1",
        "OPENAI_API_KEY": key,
        # The billing line changes with every session, so it would break caching.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        **claude_environment(models),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def shell_lines(env: Mapping[str, str], shell: str) -> str:
    """`env` as lines to paste, each value quoted as its shell wants it."""
    form, quote = SHELLS[shell]
    return "\n".join(form.format(name, quote(value)) for name, value in env.items())


def codex_options(base: str, model: str) -> Dict[str, str]:
    """Codex's settings, value as TOML. An entry of its own and not `openai_base_url`:
    with that Codex compacts remotely and, signed in, sends zstd bodies (CLIENTS 8)."""
    options = {
        "model_provider": "copilot",
        "model_providers.copilot.name": "GitHub Copilot",
        "model_providers.copilot.base_url": base + "/v1",
        "model_providers.copilot.env_key": "OPENAI_API_KEY",
        "model_providers.copilot.wire_api": "responses",
    }
    if model:
        options["model"] = model
    return {name: dumps_text(value) for name, value in options.items()}


def codex_model(models: Catalogue) -> str:
    """The model for Codex, "" = none is known."""
    for model in models:
        if model.offered and "codex" in model.id:
            return model.id
    with contextlib.suppress(ProxyError):
        return models.default().id
    return ""


CODEX = "At the top of ~/.codex/config.toml, with OPENAI_API_KEY=%s in the environment."
OPENCODE = """\
{"provider": {"copilot": {
  "npm": "@ai-sdk/openai-compatible",
  "options": {"baseURL": "%s/v1", "apiKey": %s},
  "models": {"%s": {}}
}}}"""
CONTINUE = """\
- name: Copilot
  provider: openai
  model: %s
  apiBase: %s/v1
  apiKey: %s"""
CURSOR = (
    "Cursor calls the base URL from its own servers, so it cannot reach this machine "
    "without a tunnel; with one, set API_KEY and ALLOWED_HOSTS first."
)


def _client_lines(env: Mapping[str, str], models: Catalogue) -> List[JSON]:
    """For each client, where its lines belong and the lines."""
    base = env["ANTHROPIC_BASE_URL"]
    key = env["OPENAI_API_KEY"]
    quoted = dumps_text(key)
    model = env.get("ANTHROPIC_MODEL", "auto")
    options = codex_options(base, codex_model(models)).items()
    rows = [
        (
            "Claude Code, " + shell, "In the terminal where Claude Code is to run.",
            shell_lines(env, shell.lower()) + "\nclaude",
        )
        for shell in ("bash", "fish", "PowerShell")
    ]
    rows += [
        ("Codex", CODEX % key, "\n".join("%s = %s" % option for option in options)),
        ("opencode", "In opencode.json.", OPENCODE % (base, quoted, model)),
        (
            "Continue", "In ~/.continue/config.yaml, under models.",
            CONTINUE % (model, base, quoted),
        ),
        ("Cursor", CURSOR, ""),
        (
            "SDKs", "For SDKs, aider, llm: In the terminal where it is to run.",
            shell_lines(env, "bash"),
        ),
    ]
    return [dict(zip(("name", "where", "text"), row)) for row in rows]


# -- what is left ------------------------------------------------------------------


def _day(seconds: float) -> str:
    moment = time.gmtime(seconds)
    return f"{moment.tm_mday} {time.strftime('%b', moment)}"


def amount(number: float) -> str:
    """A figure as people write it: 7.7, 1,287.4, 12."""
    return f"{number:,.1f}".removesuffix(".0")


def plural(number: int, word: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{number:,} {word}" + "s" * (number != 1)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


class Period(NamedTuple):
    """The month for which an allowance is given, in unix seconds."""

    begin: float
    end: float

    def when(self, now: float) -> str:
        """When the allowance is renewed, in words."""
        hours = (self.end - now) / 3600
        wait = "soon"
        if hours >= 36:
            wait = f"in {round(hours / 24)} days"
        elif hours >= 2:
            wait = f"in {round(hours)} hours"
        return f"Resets {_day(self.end)}, {wait}."


def period_of(reset: Any) -> Optional[Period]:
    """The period that ends on GitHub's reset date; None = the date cannot be read."""
    import datetime  # here, as few starts need it

    try:
        end = datetime.datetime.fromisoformat(str(reset)[:10] + "T00:00+00:00")
    except ValueError:
        return None
    month_before = end - datetime.timedelta(days=end.day)  # its last day
    begin = month_before.replace(day=min(end.day, month_before.day))
    return Period(begin.timestamp(), end.timestamp())


def _pace(used: float, left: float, period: Period, now: float) -> Tuple[str, str]:
    """What the pace so far means: a sentence, and a warning or ""."""
    past = (now - period.begin) / 86400
    if past < 1 or used <= 0:
        return "Too early for a forecast.", ""
    pace = used / past
    rest = left - pace * (period.end - now) / 86400
    so_far = f"{amount(pace)} a day so far"
    if rest < 0:
        end = _day(now + 86400 * left / pace)
        return so_far + ".", f"At this pace it lasts until {end}."
    return f"{so_far}; at this pace {amount(rest)} are left then.", ""


def _empty_words(name: str, snapshot: JSON, period: Optional[Period]) -> str:
    if snapshot["overage_permitted"]:
        extra = amount(snapshot["overage_count"])
        return f"Used up; each request now costs extra, {extra} so far."
    until = " until " + _day(period.end) if period else ""
    return (
        f"Used up. Copilot refuses what costs {name}{until}, unless you allow more at "
        "github.com/settings/copilot."
    )


def quota_bar(name: str, snapshot: JSON, period: Optional[Period], now: float) -> JSON:
    """One limited quota for the page: a bar, today's mark, its sentences."""
    total = snapshot["entitlement"]
    left = snapshot["remaining"]
    note = ""
    warning = ""
    elapsed = -1.0
    if period:
        note = period.when(now)
        elapsed = _share(now - period.begin, period.end - period.begin)
    if left <= 0 or snapshot["blocked"]:
        warning = _empty_words(name, snapshot, period)
    else:
        if left <= total / 10:
            warning = f"Only {amount(100 * left / total)} % left."
        if period:
            forecast, end = _pace(total - left, left, period, now)
            note = f"{note} {forecast}"
            warning = f"{warning} {end}".strip()
    return {
        "name": name,
        "left": max(0, left),
        "of": total,
        "used": _share(total - left, total),
        "elapsed": elapsed,
        "level": "bad" if snapshot["blocked"] else "warn" * bool(warning),
        "note": note,
        "warning": warning,
    }


TODAY_MARK = "The mark on the bar is today."
UNITS = {"premium_requests": "tokens"}  # of the chart, by billing
QUOTA_NAMES = {"ai_credits": "AI credits"}


def allowances(quota: JSON, now: float) -> Tuple[List[JSON], str]:
    """The limited quotas, and a note about the others."""
    period = period_of(quota.get("reset_date"))
    limited = []
    unlimited = []
    for key, snapshot in quota.get("quotas", {}).items():
        name = QUOTA_NAMES.get(key, key.replace("_", " "))
        if snapshot["unlimited"]:
            unlimited.append(name)
        elif snapshot["entitlement"] and snapshot["remaining"] is not None:
            limited.append(quota_bar(name, snapshot, period, now))
    notes = [f"Unlimited: {', '.join(unlimited)}."] * bool(unlimited)
    notes += [TODAY_MARK] * bool(limited and period)
    return limited, " ".join(notes)


def _left(bar: JSON) -> str:
    return f"{amount(bar['left'])} of {amount(bar['of'])}"


def quota_lines(report: JSON) -> List[str]:
    """The allowances of a report for a terminal."""
    lines = []
    for bar in report["quotas"]:
        words = f"{_left(bar)} {bar['name']} left. {bar['note']} {bar['warning']}"
        lines.append(" ".join(words.split()))
    note = report["quota_note"].replace(TODAY_MARK, "").strip()
    return lines + [note] * bool(note)


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Copilot proxy</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style nonce="{nonce}">
:root{color-scheme:light dark;--bg:light-dark(#f5f6f8,#0e1116);--card:light-dark(#fff,#161a20);
--ink:light-dark(#1a1d21,#e5e8ec);--dim:light-dark(#59626d,#9aa4af);--line:light-dark(#e2e5e9,#2b313a);
--edge:light-dark(#868f99,#68727d);--link:light-dark(#0b57d0,#8ab4f8);--good:light-dark(#136c36,#6fd08c);--warn:light-dark(#854c00,#f0b45c);--bad:light-dark(#b3261e,#ff8f86)}
*{box-sizing:border-box;margin:0}[hidden]{display:none!important}html{scroll-padding-top:4rem}
body{background:var(--bg);color:var(--ink);font:14px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums}
h1,h2{font-size:1rem}h1,h2,.sum,#legend tr:first-child{font-weight:600}header{position:sticky;top:0;z-index:2;background:var(--card);
border-bottom:1px solid var(--line)}.bar,main,footer{max-width:78rem;margin:auto;padding:.55rem 1rem}
.bar,.head,.row{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem .8rem}.grow,#detail{flex:1}
.pill,.hint{border-radius:1rem;padding:.05rem .6rem;background:color-mix(in srgb,currentColor 11%,transparent)}
.pill{font-weight:600;white-space:nowrap}.hint{border-radius:.4rem;padding:.4rem .7rem;margin:.6rem 0}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.run,a{color:var(--link)}.dim,.off,th{color:var(--dim)}
section,details{background:var(--card);border:1px solid var(--line);border-radius:.65rem;margin:0 0 1rem}
.pad,summary{padding:1rem}.head,.more{padding:.7rem 1rem}summary h2{display:inline}
.top{display:grid;grid-template-columns:3fr 2fr;gap:1rem}.big{font-size:1.75rem;line-height:1.3}.big span{font-size:1rem}
svg{display:block;width:100%}.meter{height:.6rem;margin:.5rem 0}.back{fill:var(--line)}.tick{fill:var(--ink)}
rect.warn{fill:#d98a1e}rect.bad{fill:#d3473c}.m0,.k0,.k1,.k2{fill:#3f7fdc}.m1,.k3{fill:#cf6420}.m2{fill:#16957a}.m3{fill:#b1589f}.m4{fill:#957c14}.m5{fill:#7b8691}
.k1{opacity:.33}.k2{opacity:.55}button,input,.btn{font:inherit;color:inherit;background:var(--card);border:1px solid var(--edge);border-radius:.4rem;
padding:.2rem .7rem;min-height:2rem}button:hover{border-color:var(--ink)}button:not(.name *){min-width:4.3rem}
.go{background:var(--link);border-color:var(--link);color:var(--card);font-weight:600;text-decoration:none}.btn{display:inline-block}
.seg button{margin-left:.3rem}.seg button,.act{color:var(--dim)}.seg [aria-pressed=true]{color:var(--ink);background:var(--bg);border-color:var(--edge)}
:focus-visible,.area:focus-within{outline:2px solid var(--link);outline-offset:2px}
.sr,#sessions th:last-child,#requests th:last-child{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.plot{display:grid;grid-template-columns:2.4rem 1fr 20rem;gap:.3rem .6rem;padding:.6rem 1rem 1rem}
.ys,.xs{display:flex;justify-content:space-between;color:var(--dim);font-size:.8rem}.xs{grid-area:2/2}
.ys{flex-direction:column;text-align:right;margin:-.6rem 0}.area{position:relative;height:11rem}.area svg{height:100%}
.area input{position:absolute;inset:0;width:100%;height:100%;opacity:0;touch-action:pan-y}.area line{stroke:var(--line);vector-effect:non-scaling-stroke}
#cursor{fill:var(--ink);opacity:.1}#legend{grid-area:1/3/3/4;margin-left:1rem;border-collapse:collapse;align-self:start}
#legend td{padding:.2rem 0 .2rem .8rem;text-align:right;border-top:1px solid var(--line)}#legend td:first-child{padding:0;
text-align:left;overflow-wrap:anywhere}#legend tr:first-child td{border:0}.sw{display:inline-block;width:.65rem;margin-right:.4rem}
.t,.t thead,.t tbody{display:block}.t tr{display:grid;gap:.1rem .8rem;align-items:center;
padding:.4rem 1rem}.t tr,.more{border-top:1px solid var(--line)}.t td,.t th{padding:0;min-width:0;text-align:left}th{font-weight:400}
.t .n{text-align:right;overflow-wrap:anywhere}.sum{background:var(--bg)}.cut{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
#sessions tr{grid-template-columns:1fr 6.4rem 4.4rem 5rem 5.4rem 6.4rem 6.6rem 5rem 5rem 4.3rem}
#requests tr{grid-template-columns:4rem 1fr 5rem 6.5rem 3.6rem 4rem 4rem 4rem 5.4rem 5.6rem 4rem}
#models tr{grid-template-columns:1fr 5rem 5rem 4rem 5.6rem 5.6rem 4rem 16rem}.t .name{display:flex;gap:.5rem;align-items:center;white-space:nowrap}
.name button{border:0;padding:0;min-height:1.6rem;background:none;text-decoration:underline var(--edge)}
.live::before{content:"";flex:none;width:.5rem;height:.5rem;border-radius:50%;background:var(--good)}.t svg{height:.5rem}.sw,.t .sw{height:.65rem}.act{min-height:1.6rem;padding:0}
.t .why{grid-column:2/-1;color:var(--bad)}.why b{color:var(--ink)}.tabs{padding:0 .4rem;border-bottom:1px solid var(--line)}
.tabs button{border-width:0 0 2px;border-color:transparent;border-radius:0;color:var(--dim)}
.tabs [aria-selected=true]{color:var(--ink);border-color:var(--link)}pre,.code{font-family:ui-monospace,Consolas,monospace}
pre{margin-top:.8rem;padding:.8rem 1rem;overflow-x:auto;background:var(--bg);border-radius:.4rem}
.code{font-size:2.1rem;font-weight:700}ol{padding-left:1.2rem}li{margin:.7rem 0}.down main{filter:grayscale(1)}.down svg{opacity:.6}main{padding-top:1rem}
@media(max-width:66rem){#detail{flex-basis:100%;order:1}#state{margin-right:auto}.plot{grid-template-columns:2.4rem 1fr}#legend{grid-area:3/1/4/3;margin:1rem 0 0}
.t thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.t tbody tr{grid-template-columns:repeat(auto-fill,minmax(min(5rem,22%),1fr))!important;gap:.2rem .6rem}.t .n{text-align:left}
.t .n::before{content:attr(data-l);display:block;color:var(--dim);font:12px system-ui}.t .name{grid-column:span 4}
.t td:empty{display:none}.wide{grid-column:span 2}.mix{grid-column:span 3}.t .why{grid-column:1/-1}}
@media(max-width:44rem){.top{grid-template-columns:1fr;gap:0}h1{position:absolute;clip-path:inset(50%)}button,input{min-height:2.6rem}}</style></head><body>
<header><div class="bar"><h1>copilot-claude-proxy</h1><p id="state" role="status" class="pill off">Reading</p>
<p id="detail" class="dim"></p><button id="retry" hidden>Try now</button><a id="link" href="#connect">Connect a client</a></div></header>
<main><p id="say" class="sr" role="status"></p>
<section id="key" class="pad" hidden><h2>This proxy has a key</h2><p class="dim">It was started with API_KEY; only this tab keeps what you enter.</p><br>
<form id="keyform" class="row"><label for="keybox">API_KEY</label><input id="keybox" type="password" autocomplete="off" required><button class="go">Open</button></form></section>
<section id="signin" class="pad" hidden><h2>Sign in to GitHub</h2><p id="refused" class="hint bad" role="alert" hidden></p>
<div id="nocode"><p class="dim">You enter a code on GitHub; the proxy then works with your own Copilot subscription.</p><br><button id="login" class="go">Get a code</button></div>
<ol id="code" hidden><li><div class="row"><span class="code" id="usercode"></span><button id="copycode">Copy</button></div></li>
<li class="dim"><a id="where" class="btn go" rel="noreferrer" target="_blank"></a> and enter the code there.</li>
<li class="dim">This page goes on by itself. The code works for <span id="left"></span>.</li></ol></section>
<div id="account" class="top" hidden><section class="pad"><h2>This month</h2><div id="quotas"></div><p id="others" class="dim"></p></section>
<section class="pad"><h2>Right now</h2><p class="big"><b id="hour"></b> <span class="dim">credits in the last hour</span></p>
<p id="running"></p><p id="since" class="dim"></p></section></div><p id="idle" class="pad dim" hidden>No request yet. What clients ask and what it costs appears here.</p>
<div id="used" hidden><section><div class="head"><h2 class="grow">Last hour by minute</h2><div class="seg">
<button data-unit="credits">Credits</button><button data-unit="tokens">Tokens</button></div></div>
<div class="plot"><div class="ys"><span id="y2"></span><span id="y1"></span><span>0</span></div><div class="area" id="area">
<svg id="svg" viewBox="0 0 600 100" preserveAspectRatio="none" aria-hidden="true"><line x2="600"/><line x2="600" y1="50" y2="50"/><line
 x2="600" y1="100" y2="100"/><rect id="cursor" width="10" height="100"/></svg><input id="minute" type="range" max="59" aria-label="Minute"></div><div class="xs" id="xs"></div>
<table id="legend"><tbody></tbody></table></div></section>
<section><div class="head"><h2 id="hs" class="grow" tabindex="-1">Sessions</h2><div class="seg">
<button data-sort="credits">Costliest</button><button data-sort="last">Latest</button></div></div>
<table class="t" id="sessions"></table><p class="more" hidden><button id="moresessions"></button></p></section>
<section><div class="head"><h2 id="hr" class="grow">Requests</h2><button id="only" hidden></button>
<div class="seg"><button data-show="all">All</button><button data-show="failed">Failed</button></div></div>
<table class="t" id="requests"></table><p class="more dim" id="none">None.</p><p class="more" hidden><button id="morerequests"></button></p></section></div>
<details id="catalogue" hidden><summary><h2>Models and prices</h2></summary><div class="head"><label for="find">Search</label>
<input id="find" type="search"><span id="found" class="dim" role="status"></span></div><table class="t" id="models"></table>
<p class="more dim">Prices are AI credits for a million tokens; a credit is US$0.01.</p></details>
<section id="connect" hidden><div class="head"><h2>Connect a client</h2></div><div class="tabs" id="tabs" role="tablist" aria-label="Clients">
</div><div id="panel" class="pad" role="tabpanel"><div class="row"><p id="place" class="dim grow"></p><button id="copy">Copy</button></div>
<pre id="lines" tabindex="0"></pre></div></section></main>
<footer id="foot" class="dim"></footer>
<script nonce="{nonce}">
"use strict";
const $=new Proxy({},{get:(_,id)=>document.getElementById(id)}),all=q=>document.querySelectorAll(q);
const KINDS=["input","cache_read","cache_write","output"],TOKENS=["Input|n","Cache read|n","Cache write|n","Output|n"];
// `run` prints the address with its key behind the #, which no server sees.
if(location.hash.length>20){sessionStorage.key_=location.hash.slice(1);history.replaceState(null,"","/")}
const view={unit:"",sort:"credits",show:"all"},whole={};
let data,models,fails=0,seen=0,timer,only="",pick=0,tab=0;
// What holds an end of the reader's selection is not written to.
const inside=e=>{const s=getSelection();return !s.isCollapsed&&(e.contains(s.anchorNode)||e.contains(s.focusNode))};
const busy=e=>e.contains(document.activeElement)||inside(e),see=(id,on)=>{$[id].hidden=!on};
const put=(e,t)=>{t=""+t;if(e.textContent!==t&&!inside(e))e.textContent=t};
const attr=(e,k,v)=>{v=""+v;if(e.getAttribute(k)!==v)e.setAttribute(k,v)};
const made=(e,attrs,kids)=>{for(const k in attrs)attr(e,k,attrs[k]);e.append(...kids);return e};
const el=(tag,cls,...kids)=>made(document.createElement(tag),{class:cls||""},kids);
const svg=(tag,attrs,...kids)=>made(document.createElementNS("http://www.w3.org/2000/svg",tag),attrs,kids);
const bars=(cls,...fills)=>svg("svg",{class:cls,viewBox:"0 0 1000 10",preserveAspectRatio:"none","aria-hidden":true},
 ...fills.map(c=>svg("rect",{class:c,height:10,width:1000})));
const part=(r,x,width)=>{attr(r,"x",Math.round(1000*x));attr(r,"width",Math.round(1000*width))};
const num=(n,lo=0,hi=lo)=>(n||0).toLocaleString("en",{minimumFractionDigits:lo,maximumFractionDigits:hi});
const cr=n=>n>0&&n<.005?"<0.01":num(n,2),total=v=>v.reduce((a,b)=>a+b,0);
const short=n=>Intl.NumberFormat("en",{notation:"compact",maximumSignificantDigits:3}).format(n).replace("K","k");
const clock=(s,how="short")=>new Date(1e3*s).toLocaleTimeString("en-GB",{timeStyle:how});
const failed=r=>r.status>=400;
async function ask(path,method="GET"){
 const r=await fetch(path,{method,signal:AbortSignal.timeout(1e4),headers:{"x-api-key":sessionStorage.key_||""}});
 const body=await r.json().catch(()=>({}));if(r.ok)return body;
 throw Object.assign(Error(body.error?.message||"status "+r.status),{status:r.status})}
async function copy(button,from){try{await navigator.clipboard.writeText(from.textContent)}
 catch{getSelection().selectAllChildren(from);document.execCommand("copy");getSelection().empty()}
 put(button,"Copied");put($.say,"Copied");setTimeout(()=>{put(button,"Copy");put($.say,"")},1600)}
// Rows by key: what stays is not rebuilt, and nothing moves or goes that the reader holds.
function rows(body,list,key,create,fill){const old=body.kept||new Map(),kept=body.kept=new Map(),hold=busy(body);
 list.forEach(x=>kept.set(key(x),old.get(key(x))||create(x)));
 old.forEach((r,k)=>kept.has(k)||(busy(r)?kept.set(k,r):r.remove()));let at=body.firstChild;
 list.forEach(x=>{const r=kept.get(key(x));fill(r,x);if(r===at)at=at.nextSibling;else if(!hold||!r.parentNode)body.insertBefore(r,at)})}
const swatch=cls=>bars("sw",cls),fill=(tr,texts)=>texts.forEach((t,i)=>t==null||put(tr.children[i],t));
function table(id,...names){const row=tag=>el("tr","",...names.map((n,i)=>{const [name,cls]=n.split("|"),c=el(tag,cls);
 if(tag==="td")attr(c,"data-l",name);else c.append(...(id==="sessions"&&i>3&&i<8?[swatch("k"+(i-4))]:[]),name);return c}));
 $[id].append(el("thead","",row("th")),el("tbody"));return()=>row("td")}
const sessionRow=table("sessions","Session|name","Active|wide","Requests|n","Credits|n",...TOKENS,"Mix|mix","Reset");
const requestRow=table("requests","Time","Model|cut wide","Status","Session|cut","Paid by","Seconds|n","Credits|n",...TOKENS,"Reason|why");
const modelRow=table("models","Model|name","Context|n","Output|n","In|n","Cache read|n","Cache write|n","Out|n","Endpoints|mix");
function head(level,text,detail){attr($.state,"class","pill "+level);put($.state,text);put($.detail,detail);document.title=text+" - Copilot proxy"}
function signin({error,code}){see("code",code);see("nocode",!code);see("refused",error&&!code);
 put($.refused,error||"");put($.login,error?"Get a new code":"Get a code");if(!code)return;
 put($.usercode,code.user_code);put($.where,"Open "+code.verification_uri.replace("https://",""));
 if(/^https?:/.test(code.verification_uri))attr($.where,"href",code.verification_uri);put($.left,code.left)}
function account({quotas,quota_note,hour,now_note,total_note}){
 rows($.quotas,quotas,q=>q.name,()=>el("div","",el("p","big",el("b"),el("span","dim")),bars("meter","back","","tick"),el("p"),el("p")),(e,q)=>{
 const [top,meter,note,hint]=e.children,[,used,tick]=meter.children;put(top.firstChild,num(q.left,0,1));
 put(top.lastChild," of "+num(q.of)+" "+q.name+" left");
 part(used,0,q.used);attr(used,"class",q.level||"m0");part(tick,q.elapsed*.997,.003);put(note,q.note);
 attr(hint,"class","hint "+q.level);hint.hidden=!q.warning;put(hint,q.warning)});
 put($.others,quota_note);put($.hour,cr(hour));put($.running,now_note);put($.since,total_note)}
function chart({minutes:{from,models}}){const unit=view.unit,sums=Array.from({length:60},(_,
 i)=>total(models.map(m=>m[unit][i]))),peak=Math.max(...sums),
 ten=10**Math.floor(Math.log10(peak||1)),top=[1,2,3,4,5,6,8,10].find(k=>k*ten>=peak)*ten,base=Array(60).fill(100),
 fmt=unit==="credits"?cr:num,groups=$.svg.children;
 models.forEach((m,k)=>{if(!groups[k+4])$.svg.append(svg("g",{class:"m"+k},...sums.map((_,i)=>svg("rect",{x:10*i+1,width:8}))));
 m[unit].forEach((v,i)=>{const r=groups[k+4].children[i],h=100*v/top;base[i]-=h;attr(r,"y",base[i].toFixed(1));attr(r,"height",h.toFixed(1))})});
 put($.y2,short(top));put($.y1,short(top/2));rows($.xs,[0,15,30,45,60],x=>x,()=>el("span"),(e,x)=>put(e,x>59?"now":clock(from+60*x)));
 // The legend tells the hour, or the minute that is pointed at.
 const i=pick?Math.max(0,(pick-from)/60):59,of=v=>pick?v[i]:total(v),sum=of(sums);attr($.cursor,"x",pick?10*i:-10);
 const lines=models.map((m,k)=>({k,name:m.model,v:m[unit],all:total(m[unit])})).filter(m=>m.all).sort((a,b)=>b.all-a.all);
 rows($.legend.tBodies[0],[{k:-1,name:pick?"At "+clock(pick):"Last hour",v:sums},...lines],m=>m.k,
 m=>el("tr","",el("td","",...(m.k<0?[]:[swatch("m"+m.k)]),el("span")),el("td"),el("td")),
 (tr,m)=>{put(tr.firstChild.lastChild,m.name);fill(tr,[null,fmt(of(m.v)),m.k<0?"Share":Math.round(100*of(m.v)/(sum||1))+" %"])});$.minute.value=i;
 attr($.minute,"aria-valuetext",[clock(from+60*i)+": "+fmt(sums[i])+" "+unit,...lines.filter(m=>m.v[i]).map(m=>m.name+" "+fmt(m.v[i]))].join(", "))}
function point(i){pick=i==null?0:data.minutes.from+60*i;chart(data)}
function cut(id,list,limit){const b=$["more"+id];b.parentNode.hidden=list.length<=limit;
 put(b,whole[id]?"Show fewer":"Show all "+list.length);return whole[id]?list:list.slice(0,limit)}
function sessions(d){const list=[...d.sessions].sort((a,b)=>b[view.sort]-a[view.sort]);
 rows($.sessions.tBodies[0],[{id:"",...d.totals},...cut("sessions",list,8)],s=>s.id,s=>{const tr=sessionRow(),
 c=tr.children;if(!s.id){tr.className="sum";return tr}
 const b=el("button","cut",s.id),x=el("button","act","Reset");c[0].append(b,el("span","dim"));c[8].append(bars("",
 "k0","k1","k2","k3"));c[9].append(x);b.title=s.id;b.onclick=()=>{only=s.id;requests(data,true);$.only.focus();$.hr.scrollIntoView()};
 attr(x,"aria-label","Reset "+s.id);x.onclick=()=>reset(s.id);return tr},(tr,s)=>{const c=tr.children,sum=total(KINDS.map(k=>s[k]))||1;let x=0;
 fill(tr,[s.id?null:"All since "+clock(d.started),s.id?clock(s.first)+" - "+clock(s.last):"",num(s.requests),
 cr(s.credits),...KINDS.map(k=>num(s[k]))]);if(!s.id)return;attr(c[0],"class","name"+(d.now-s.last<60?" live":""));put(c[0].lastChild,s.client||"");
 KINDS.forEach((k,i)=>{const w=s[k]/sum;part(c[8].firstChild.children[i],x,w);x+=w})})}
async function reset(id){if(!confirm("Forget what this session used? "+id))return;
 try{await ask("/usage/reset/"+encodeURIComponent(id),"POST");$.hs.focus();tick()}catch(e){alert(e.message)}}
function requests(d,force){const body=$.requests.tBodies[0],fits=d.requests.filter(r=>(view.show==="all"||failed(r))&&(!only||r.session===only)),
 list=cut("requests",fits,12),hold=!force&&body.kept&&busy(body);put($.hr,hold?"Requests, held while you read":"Requests");
 if(hold)d.requests.forEach(r=>body.kept.has(r.n)&&request(body.kept.get(r.n),r));
 else rows(body,list,r=>r.n,()=>{const tr=requestRow(),c=tr.children;c[1].append(el("span"),el("span","dim"));c[2].append(el("span"));
 c[11].append(el("b"),el("span"));return tr},request);see("only",only);put($.only,"Only "+only.slice(0,18)+": show all");see("none",!fits.length);
 put(all("[data-show=failed]")[0],"Failed "+d.requests.filter(failed).length)}
function request(tr,r){const c=tr.children,pill=c[2].firstChild;
 fill(tr,[clock(r.at,"medium"),null,null,r.session,r.who,num(r.status?r.seconds:data.now-r.at,1),
 r.credits?cr(r.credits):"",...KINDS.map(k=>r[k]?short(r[k]):"")]);
 put(c[1].firstChild,r.model||"no model");put(c[1].lastChild,r.asked?" asked "+r.asked:"");attr(c[1],"title",
 c[1].textContent);attr(c[3],"title",r.session);put(pill,r.label);attr(pill,"class","pill "+r.level);
 c[11].hidden=!r.reason;put(c[11].firstChild,r.whose?r.whose+": ":"");put(c[11].lastChild,r.reason||"")}
async function catalogue(){try{models=models||(await ask("/v1/models")).data}catch(e){return put($.found,e.message)}
 const show=n=>n==null?"-":n>9999?short(n):num(n,0,2),list=models.filter(m=>(m.id+m.endpoints).toLowerCase().includes($.find.value.trim().toLowerCase()));
 rows($.models.tBodies[0],list,m=>m.id,modelRow,(tr,m)=>{const p=m.credits||{};
 fill(tr,[m.id,...[m.context_window,m.max_output_tokens,...KINDS.map(k=>p[k])].map(show),
   m.endpoints.join(" ")])});put($.found,list.length+" found")}
function connect({connect:list}){rows($.tabs,list,c=>c.name,c=>{const b=el("button","",c.name);attr(b,"role","tab");return b},
 (b,c)=>{const i=list.indexOf(c);b.id="tab"+i;attr(b,"aria-selected",i===tab);b.tabIndex=i===tab?0:-1;b.onclick=()=>turn(i)});
 attr($.panel,"aria-labelledby","tab"+tab);put($.place,list[tab].where);put($.lines,list[tab].text);see("lines",
 list[tab].text);see("copy",list[tab].text)}
const turn=i=>{tab=i;getSelection().empty();connect(data)};
$.tabs.onkeydown=e=>{const n=data.connect.length,step={ArrowRight:1,ArrowLeft:n-1}[e.key];if(step){turn((tab+step)%n);$["tab"+tab].focus()}};
function draw(d){const ok=d.auth.status==="authenticated",any=d.requests.length||d.totals.requests;if(!view.unit)press("unit",d.unit);
 parts({signin:!ok,account:ok,used:any,idle:ok&&!any,catalogue:ok,connect:1});
 head(...d.state);signin(d.auth);account(d);chart(d);sessions(d);requests(d);connect(d);put($.foot,d.foot)}
function parts(on){["key","signin","account","used","idle","catalogue","connect"].forEach(x=>see(x,on[x]));see("link",on.connect)}
async function tick(){clearTimeout(timer);
 try{data=await ask("/usage/page");seen=Date.now()/1e3;fails=0;document.body.className="";see("retry");draw(data)}
 catch(e){if(e.status===401){parts({key:1});head("warn","Key needed",sessionStorage.key_?"This key was not accepted.":"")}
 else if(++fails>1||!seen){document.body.className="down";see("retry",true);
   head("bad","The proxy does not answer",seen?"These figures are from "+clock(seen,
 "medium")+", its last answer. It is asked again by itself.":e.message)}}timer=setTimeout(tick,document.hidden?3e4:2500)}
function press(name,value){view[name]=value;all("[data-"+name+"]").forEach(b=>attr(b,"aria-pressed",b.dataset[name]===value))}
Object.entries({unit:chart,sort:sessions,show:requests}).forEach(([name,redraw])=>{press(name,view[name]);
 all("[data-"+name+"]").forEach(b=>{b.onclick=()=>{getSelection().empty();press(name,b.dataset[name]);redraw(data,true)}})});
Object.entries({sessions,requests}).forEach(([id,redraw])=>{$["more"+id].onclick=()=>{whole[id]=!whole[id];redraw(data,true)}});
$.only.onclick=()=>{only="";requests(data,true);all("[data-show]")[0].focus()};
$.minute.oninput=()=>point(+$.minute.value);$.minute.onblur=()=>point();$.area.onpointerleave=()=>document.activeElement===$.minute||point();
$.area.onpointermove=e=>{const r=$.svg.getBoundingClientRect();point(Math.min(59,Math.floor(60*(e.clientX-r.left)/r.width)))};
$.copy.onclick=()=>copy($.copy,$.lines);$.copycode.onclick=()=>copy($.copycode,$.usercode);
$.login.onclick=async()=>{try{await ask("/auth/login","POST");await tick();$.copycode.focus()}catch(e){see("refused",
 true);put($.refused,"Sign-in failed: "+e.message)}};
$.keyform.onsubmit=e=>{e.preventDefault();sessionStorage.key_=$.keybox.value;tick()};
$.catalogue.ontoggle=$.find.oninput=catalogue;$.retry.onclick=tick;document.onvisibilitychange=()=>document.hidden||tick();tick();
</script></body></html>
"""

# -- the report ----------------------------------------------------------------------

RECENT_FAILURE = 300.0  # seconds that a failure stays in the state line
READ_AGAIN = 60.0  # seconds between two readings of the quota for the page


def _now_note(running: int, hour: float) -> str:
    work = "Nothing running"
    if running:
        work = plural(running, "request") + " running"
    return f"{work}, US${hour / 100:.2f} in the last hour"


def _total_note(totals: JSON, since: str) -> str:
    """What was used since the start, in one line."""
    if not totals["requests"]:
        return f"Nothing used since {since}"
    failed = f", {totals['failed']:,} failed," if totals["failed"] else ""
    requests = plural(totals["requests"], "request")
    return f"{totals['credits']:,.2f} credits for {requests}{failed} since {since}"


class StatusPage:
    """The page, and the figures behind it."""

    def __init__(
        self, config: Config, auth: CopilotAuth, copilot: CopilotClient
    ) -> None:
        self._config = config
        self._auth = auth
        self._copilot = copilot
        self.base = ""  # our address, once we listen
        self.failure: Optional[ProxyError] = None  # of the last reading
        self._started = time.time()
        self._since = time.strftime("%d %b %Y, %H:%M")
        self._read_at = -READ_AGAIN
        self._reading: Any = None
        self._spent: Dict[Any, float] = collections.defaultdict(float)  # by the day

    def document(self, nonce: str) -> Tuple[List[Tuple[str, str]], bytes]:
        """Headers and body for `GET /` when a browser asks; a fresh nonce each time."""
        policy = (
            "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        return [
            ("content-type", "text/html; charset=utf-8"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", policy.format(nonce)),
        ], PAGE.replace("{nonce}", nonce).encode("ascii")

    async def read(self) -> None:
        """Ask Copilot for models and quota; `failure` says what went wrong."""
        self._read_at = time.monotonic()
        self.failure = None
        try:
            await self._copilot.models()
            await self._copilot.quota()
        except ProxyError as exc:
            self.failure = exc

    def _read_soon(self) -> None:
        if time.monotonic() - self._read_at >= READ_AGAIN:
            self._reading = asyncio.ensure_future(self.read())

    def spend(self, credits: float) -> None:
        """Add to what today has cost."""
        self._spent[time.localtime()[:3]] += credits

    async def _sign_in_state(self) -> JSON:
        """`auth` of the report; never starts a sign-in."""
        state = self._auth.check()["status"]
        code = None
        if state == "pending_verification":
            pending = await self._auth.login()
            if "user_code" in pending:
                left = "%d min %d s" % divmod(pending["expires_in"], 60)
                code = {key: pending[key] for key in ("user_code", "verification_uri")}
                code["left"] = left
        error = self._auth.status().get("error")
        return {"status": state, "code": code, "error": error}

    @property
    def _quota(self) -> JSON:
        """What GitHub last said about the account; {} before, and for nobody."""
        return self._copilot.account() if self._auth.signed_in() else {}

    def _state(
        self, auth: JSON, person: str, quotas: List[JSON], latest: List[JSON]
    ) -> List[str]:
        """How the proxy stands: a level, a few words, one line."""
        if auth["status"] == "pending_verification":
            return ["warn", "Waiting for GitHub", "Enter the code on GitHub."]
        if auth["status"] == "unauthenticated":
            return ["warn", "Signed out", "Sign in to start."]
        line = ", ".join(filter(None, (person, self.base)))
        if any(bar["level"] == "bad" for bar in quotas):
            return ["bad", "Used up", line]
        ended = [row for row in latest if row["status"] not in (0, 499)]
        since = time.time() - RECENT_FAILURE
        if any(row["status"] >= 400 and row["at"] > since for row in ended[:1]):
            return ["warn", "Ready, last request failed", line]
        return ["good", "Ready", line]

    async def report(self, ledger: UsageLedger, running: Sequence[Served]) -> JSON:
        """`GET /usage/page`: everything that the page shows."""
        now = time.time()
        auth = await self._sign_in_state()
        models = Catalogue()
        quota = self._quota
        if auth["status"] == "authenticated":
            self._read_soon()
            models = self._copilot.kept_models()
        plan = str(quota.get("plan") or "").replace("_", " ")
        person = ", ".join(filter(None, (quota.get("login"), plan)))
        quotas, quota_note = allowances(quota, now)
        if self.failure:
            quota_note = f"Not known now: {self.failure}"
        requests = ledger.requests(running)
        totals = ledger.totals()
        minutes = ledger.minutes(now)
        hour = sum(sum(series["credits"]) for series in minutes["models"])
        key = HIDDEN_KEY if self._config.api_key else "copilot"
        env = client_environment(self.base, self._config, models, key)
        return {
            "now": now,
            "started": self._started,
            "state": self._state(auth, person, quotas, requests),
            "auth": auth,
            "account": person,
            "quotas": quotas,
            "quota_note": quota_note,
            "unit": UNITS.get(quota.get("billing"), "credits"),
            "hour": hour,
            "now_note": _now_note(len(running), hour),
            "total_note": _total_note(totals, self._since[-5:]),
            "totals": totals,
            "minutes": minutes,
            "sessions": ledger.sessions(),
            "requests": requests,
            "env": env,
            "connect": _client_lines(env, models),
            "foot": f"copilot-claude-proxy {__version__}, running since {self._since}",
        }

    def line(self, ledger: UsageLedger, session: str, model: str) -> str:
        """`POST /usage/line`: the status line of Claude Code."""
        rows = ledger.sessions()
        spent = sum(row["credits"] for row in rows if row["id"] == session)
        today = self._spent[time.localtime()[:3]]
        parts = [model, f"{spent:.2f} credits, {today:.2f} today"]
        bars, _ = allowances(self._quota, time.time())
        self._read_soon()
        return " | ".join(filter(None, parts + [_left(bar) + " left" for bar in bars]))


# ============================================================================
# 20. Command line
# ============================================================================
# The verbs, what they print, and the one place where everything is built. The only
# room that reads the environment and prints.                        uses: 0-4, 7, 13-19
# Contract: exit codes 0 done, 1 failed, 2 wrong usage or setting, 3 not signed in.

THIS_FILE = __file__  # absolute since Python 3.9, and needs no working folder
DONE, FAILED, USAGE, NOT_SIGNED_IN = range(4)
EXAMPLES = """\
examples:
  python copilot_proxy.py                     sign in if need be, then serve
  python copilot_proxy.py run -- claude       Claude Code on your Copilot models
  python copilot_proxy.py run -- codex        the same for Codex
  eval "$(python copilot_proxy.py env)"       this shell, to a running proxy
  python copilot_proxy.py models --json       the catalogue, for programs

exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 not signed in.
Settings are environment variables or lines of .env beside the script;
.env.example lists them all.
"""


def show(text: str) -> None:
    """Print for a person; a closed pipe is not an error of ours."""
    with contextlib.suppress(OSError, ValueError):
        print(text, end="", flush=True)


def say(text: str) -> None:
    """Print a line, or several."""
    show(text + "\n")


def complain(text: str) -> None:
    """One line on standard error, which no `eval` reads."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"copilot_proxy.py: {printable(text)}\n")
        sys.stderr.flush()


class Program:
    """Everything, built once; `await start()` listens, `await close()` ends it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.show = show
        self.pool = ConnectionPool(
            lambda: make_ssl_context(config), proxies_from(config)
        )
        # Our own port is on this computer, so no proxy is on the way there.
        self.direct = ConnectionPool()
        self.store = TokenStore(config.token_file)
        self.store.check()
        self.auth = CopilotAuth(config, self.pool, self.store)
        self.copilot = CopilotClient(config, self.pool, self.auth)
        self.page = StatusPage(config, self.auth, self.copilot)
        self.app = App(config, self.auth, self.copilot, self.page)
        self.server = HTTPServer(config, self.app.handle)
        self.listens = False
        self._reached_at(config.host, config.port)

    def _reached_at(self, host: str, port: int) -> None:
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.base = self.page.base = "http://" + Origin("http", host, port).authority

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError when the address is taken."""
        host, port = await self.server.start()
        self.listens = True
        self._reached_at(host, port)
        return port

    async def close(self, grace: float = 10.0) -> None:
        """Stop listening, let streams finish for `grace` seconds, close everything."""
        if self.listens:
            await self.server.close(grace)
        self.auth.close()
        self.copilot.close()
        await self.pool.close()
        await self.direct.close()


# -- settings ----------------------------------------------------------------------


def read_environment(
    environ: Mapping[str, str], env_file: str = "", forced: Mapping[str, str] = {}
) -> Config:
    """The settings; what is odd about where they come from goes to standard error.

    The environment beats --env-file, which beats .env beside the script. That of the
    working folder is not read: `run -- claude` is started inside repositories that
    strangers wrote, and their .env could name another GitHub to sign in to.
    """
    beside = os.path.join(os.path.dirname(THIS_FILE), ".env")
    values: Dict[str, str] = {}
    names = [*environ]
    for path in [beside] * os.path.isfile(beside) + [env_file] * bool(env_file):
        try:
            with open(path, encoding="utf-8") as file:
                layer, odd = parse_dotenv(file.read())
        except (OSError, UnicodeError) as exc:
            reason = getattr(exc, "strerror", "it is not UTF-8")
            raise ConfigError(f"{path} cannot be read: {reason}.") from None
        values.update(one_layer(layer))
        names += layer
        if odd:
            lines = ", ".join(map(str, odd[:5]))
            complain(f"{path}: no assignment, line {lines}")
    for pair in near_misses(names):
        complain("%s is no setting; is %s meant?" % pair)
    for layer in (environ, forced):
        values.update(one_layer(layer))
    config = Config.from_env(values)
    check_bind(config)
    if config.ssl_cert_file or config.ssl_cert_dir:
        make_ssl_context(config)  # raises where they cannot be used
    return config


# -- who answers: the proxy that runs, or this process -----------------------------

QUICK = Timeouts(head=2.0, idle=2.0, total=5.0)  # it answers from memory
SLOW = Timeouts(head=35.0, idle=35.0, total=40.0)  # it asks GitHub meanwhile


async def ask_running(
    program: Program, path: str, method: str = "GET", timeouts: Timeouts = SLOW
) -> JSON:
    """The answer of the proxy on our own port; raises ProxyError."""
    headers = [*JSON_HEADERS, ("x-api-key", program.config.api_key)]
    body = b"{}" * (method == "POST")
    url = program.base + path
    response = await program.direct.request(
        method, url, headers, body, timeouts=timeouts
    )
    raw = await response.read_all(MAX_CATALOGUE)
    if response.status != 200:
        words = upstream_error(response.status, response.headers, raw).words
        raise ProxyError(words, status=response.status)
    return loads_object(raw)


async def find_out(program: Program, path: str) -> JSON:
    """What a proxy would answer, found out by this process; raises ProxyError."""
    if path == "/v1/models":
        return models_payload(await program.copilot.models())
    if path == "/usage/quota":
        return await program.copilot.quota()
    await program.page.read()
    return await program.app.report()


async def find_source(
    program: Program,
) -> Tuple[Callable[[str], Awaitable[JSON]], str]:
    """Who answers: the proxy on our port where it is signed in, so that a GITHUB_TOKEN
    that only it has is enough, else this process; and why it is not the proxy."""
    absent = "The proxy on %s is signed out."
    try:
        state = await ask_running(program, "/auth/status", timeouts=QUICK)
        if state.get("status") == "authenticated":
            return functools.partial(ask_running, program), ""
    except ProxyError as exc:
        absent = "No proxy answers on %s."
        if exc.status == 401:
            absent = "The proxy on %s has another API_KEY."
    absent %= program.base
    if not program.auth.signed_in():
        complain(absent)
    return functools.partial(find_out, program), absent


# -- signing in ----------------------------------------------------------------------


def exit_code(exc: Exception) -> int:
    """The code that tells scripts of a failure."""
    if isinstance(exc, ConfigError):
        return USAGE
    return NOT_SIGNED_IN if isinstance(exc, AuthRequired) else FAILED


def is_terminal(stream: Any) -> bool:
    """Whether a person is at its other end."""
    return stream is not None and stream.isatty()


def at_terminal() -> bool:
    """Whether a person can read and answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


async def _count_down(program: Program, seconds: float) -> None:
    """Wait until the code is used or dead; at a terminal a line tells how long it is
    good for."""
    end = time.monotonic() + seconds
    terminal = is_terminal(sys.stdout)
    try:
        while program.auth.check()["status"] == "pending_verification":
            left = max(0, int(end - time.monotonic()))
            if terminal:
                # Back at the line's start, so that a log line or ^C covers it.
                program.show("\rThe code works for %d:%02d \r" % divmod(left, 60))
            await asyncio.sleep(0.1)
    finally:
        if terminal:
            program.show("\r%30s\r" % "")


async def sign_in(program: Program) -> bool:
    """Show a code, count down, and wait until it is used or dead."""
    auth = program.auth
    outcome = "Signed in."
    try:
        code = await auth.login()
        if not auth.signed_in():
            shown = map(printable, (code["verification_uri"], code["user_code"]))
            program.show("\nOpen      %s\nand enter %s\n\n" % tuple(shown))
            await _count_down(program, code["expires_in"])
        if not auth.signed_in():
            raise ProxyError(auth.check().get("error", "the code was not used."))
    except ProxyError as exc:
        outcome = f"Sign-in failed: {exc}"
    if not is_logged("info"):  # the log, on the same terminal, tells how it went
        program.show(outcome + "\n")
    return auth.signed_in()


def _enter_pressed() -> asyncio.Future[None]:
    """Done when a line was typed. Read without Python's own buffer of standard input,
    whose lock would stop the end of the program."""
    pressed: concurrent.futures.Future[None] = concurrent.futures.Future()

    def read() -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1024)
            pressed.set_result(None)

    threading.Thread(target=read, daemon=True).start()
    return asyncio.wrap_future(pressed)


async def sign_in_patiently(program: Program) -> None:
    """Offer a new code after each that was denied or has expired, until somebody has
    signed in, here or elsewhere."""
    while not await sign_in(program):
        program.show("Press Enter for a new code, Ctrl-C to stop.\n")
        pressed = _enter_pressed()
        while not pressed.done() and not program.auth.signed_in():
            await asyncio.wait([pressed], timeout=1.0)


# -- the banner ----------------------------------------------------------------------


DEFAULT_SHELL = "powershell" if os.name == "nt" else "bash"
STARTERS = {
    "bash": 'eval "$({})" && claude', "fish": "{} --shell fish | source; claude",
    "powershell": "{} --shell powershell | Invoke-Expression; claude",
}


def start_line(base: str) -> str:
    """The one line that starts Claude Code on this proxy, for the shell in use."""
    shell = os.path.basename(os.environ.get("SHELL", DEFAULT_SHELL))
    python = os.path.basename(sys.executable) or "python3"
    command = "%s %s env" % (python, shlex.quote(THIS_FILE))
    port = base.rpartition(":")[2]
    if port != str(Config().port):
        command += " --port " + port
    return STARTERS.get(shell, STARTERS[DEFAULT_SHELL]).format(command)


def account_lines(report: JSON) -> List[str]:
    """Who is signed in and what is left, at 80 columns."""
    import textwrap  # here, as not every start needs it

    lines = [f"Account   {printable(report['account'])}"]
    for left in quota_lines(report):
        lines += textwrap.wrap(
            "%-10s%s" % ("Left", printable(left)), 79, subsequent_indent=" " * 10
        )
    return lines


async def banner(program: Program) -> None:
    """Who is signed in, what is left, and the line to paste: at most 12 lines."""
    report = await find_out(program, "/usage/page")
    key = "your API_KEY" if program.config.api_key else "any key"
    lines = account_lines(report)[:6] + [
        f"OpenAI    base URL {program.base}/v1, {key}", f"Page      {program.base}/",
        "Claude Code, in a second terminal:", "  " + start_line(program.base),
    ]
    program.show("\n".join(lines) + "\n")


CURL_LINES = """\
Nobody is signed in. Get a code, enter it on GitHub, and the proxy does the rest:
  curl -X POST {0}/auth/login
  curl -X POST {0}/auth/check
"""


async def greet(program: Program) -> None:
    """Sign in where a person can see it, else say how; then the banner."""
    if at_terminal():
        await sign_in_patiently(program)
    elif not program.auth.signed_in():
        program.show(CURL_LINES.format(program.base))
    while not program.auth.signed_in():  # by now perhaps, on the page or by `login`
        await asyncio.sleep(0.25)
    await banner(program)


# -- the verbs -----------------------------------------------------------------------


def aligned(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Rows as columns; `sides` has "<" or ">" for each, as in a format."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    form = "  ".join(map("{{:{}{}}}".format, sides, widths))
    return "\n".join(form.format(*row).rstrip() for row in rows)


PRICED = ("input", "output")


def models_table(entries: Sequence[JSON]) -> str:
    """The entries of /v1/models for people, within 80 columns."""
    rows = [["MODEL", "CONTEXT", "OUTPUT", "IMAGES", "IN", "OUT", "ENDPOINTS"]]
    for entry in entries:
        limits = (entry["context_window"], entry["max_output_tokens"])
        prices = entry["credits"] or {}
        served = " ".join(entry["endpoints"])
        served = re.sub("ws:[^ ]* ?|/v1/|/completions|/", "", served)
        rows.append(
            [
                printable(entry["id"])[:30],
                *[short_number(size) if size else "-" for size in limits],
                "yes" * entry["vision"],
                *["%g" % prices[each] if each in prices else "-" for each in PRICED],
                printable(served)[:24],
            ]
        )
    return aligned(rows, "<>><>><") + "\n\nIN, OUT: AI credits per million tokens."


def on_signal(number: int, call: Callable[[], None]) -> None:
    """Have `call` called by the event loop when a signal comes."""
    loop = asyncio.get_running_loop()
    try:
        # Not signal.signal(): a signal just before the loop goes to sleep wakes nobody.
        loop.add_signal_handler(number, call)
    except NotImplementedError:  # Windows, whose loop is always woken
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))


def stop_event() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the program at once."""
    event = asyncio.Event()

    def stop() -> None:
        if event.is_set():
            os._exit(128 + signal.SIGINT)
        event.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        on_signal(number, stop)
    return event


async def listen(program: Program) -> None:
    """Serve from now on; raises a ProxyError that explains a taken port."""
    try:
        await program.start()
    except OSError as exc:
        reason = str(exc)
        if exc.errno and exc.errno > 0:  # else a name that no address is known of
            reason = os.strerror(exc.errno)
        advice = "Set PORT to another number (PORT=0 takes any free one)."
        with contextlib.suppress(ProxyError):
            answer = await ask_running(program, "/", timeouts=QUICK)
            if answer.get("proxy") == "copilot-claude-proxy":
                advice = "This program is running there already. " + advice
        words = f"Cannot listen on {program.base}: {reason}. {advice}"
        raise ProxyError(words) from None


async def verb_serve(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Listen until Ctrl-C (the default)."""
    stop = stop_event()
    await listen(program)
    program.show = LineWriter(sys.stdout).put  # who reads it may stop reading
    program.show(f"copilot-claude-proxy {__version__} on {program.base}\n")
    greeting = asyncio.ensure_future(greet(program))
    await stop.wait()
    greeting.cancel()
    await asyncio.gather(greeting, return_exceptions=True)
    start = "\r" * at_terminal()  # over the ^C that the terminal shows
    program.show(
        start + "Stopping; running answers get 10 seconds. Ctrl-C stops at once.\n"
    )


async def verb_login(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Sign in to GitHub with a code."""
    if not await sign_in(program):
        return NOT_SIGNED_IN
    await program.auth.token()
    say("\n".join(account_lines(await find_out(program, "/usage/page"))))
    if program.config.github_token:
        say("GITHUB_TOKEN is set and used; nothing is saved.")
    elif not program.store.load().get("githubToken"):
        complain(f"the sign-in could not be saved in {program.store.path}")
        return FAILED


REVOKE = (
    "The token file is deleted. To revoke the app too: github.com/settings/applications"
)


async def verb_logout(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Forget the sign-in, also that of a running proxy."""
    anybody = program.auth.signed_in()
    _, absent = await find_source(program)
    answer: JSON = {}
    with contextlib.suppress(ProxyError):
        answer = await ask_running(program, "/auth/logout", "POST")
    answer.update(program.auth.logout())
    if anybody or not absent:
        say("Signed out. " + answer.get("note", REVOKE))
    else:
        say("Nobody was signed in.")


async def verb_models(program: Program, args: argparse.Namespace) -> Optional[int]:
    """List the models of your plan with their limits and prices."""
    ask, _ = await find_source(program)
    payload = await ask("/v1/models")
    say(dumps_text(payload) if args.json else models_table(payload["data"]))


def usage_by_day(path: str, days: int) -> str:
    """What each day has cost, from the lines of USAGE_LOG."""
    if not path:
        raise ConfigError("usage --days adds up USAGE_LOG, which is not set")
    first = time.localtime(time.time() - 86400 * (days - 1))
    with open(os.path.expanduser(path), "rb") as file:
        used = fold_usage(file, time.strftime("%Y-%m-%d", first))
    rows = [["DAY", "MODEL", "REQUESTS", "TOKENS", "CREDITS"]]
    spent = 0.0
    for day, model, requests, tokens, credits in used:
        figures = (f"{requests}", short_number(tokens), f"{credits:.2f}")
        rows.append([day, printable(model)[:40], *figures])
        spent += credits
    return f"{aligned(rows, '<<>>>')}\n\n{spent:.2f} credits in {days} days"


async def verb_usage(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Show what is left of your quota, and what a running proxy has used."""
    if args.days:
        say(usage_by_day(program.config.usage_log, args.days))
        return None
    ask, absent = await find_source(program)
    quota = await ask("/usage/quota")
    if args.json:
        proxy = None
        if not absent:
            proxy = await ask("/usage/summary")
        say(dumps_text({"quota": quota, "proxy": proxy}))
        return None
    report = await ask("/usage/page")
    used = f"The proxy on {program.base}: {report['total_note']}"
    say("\n".join([*account_lines(report), "", absent or used]))


COMPETING = re.compile(
    r"ANTHROPIC_API_KEY|CLAUDE_CODE_USE_\w+|CLAUDE_CODE_OAUTH_TOKEN"
    r"|ANTHROPIC_(?:BEDROCK|VERTEX|FOUNDRY|AWS)\w*",
    re.ASCII,
)


async def verb_env(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Print the lines that point Claude Code and OpenAI clients here."""
    ask, _ = await find_source(program)
    try:
        await ask("/v1/models")  # which a proxy that nobody has used yet reads for this
    except ProxyError as exc:  # the addresses hold without a catalogue
        complain(f"without models: {exc}")
    report = await ask("/usage/page")
    key = program.config.api_key
    env = {name: text.replace(HIDDEN_KEY, key) for name, text in report["env"].items()}
    say(shell_lines(env, args.shell))
    for name in filter(COMPETING.fullmatch, os.environ):
        complain(f"{name} is set and leads Claude Code elsewhere; unset it")


SECRETS_OF_OURS = ("GITHUB_TOKEN", "API_KEY")
# Kept where the person has chosen them; the others must lead here.
CHOOSABLE = re.compile(r"ANTHROPIC_(?:DEFAULT_\w+_)?MODEL\w*|CLAUDE_CODE_\w+", re.ASCII)


def child_environment(
    environ: Mapping[str, str], ours: Mapping[str, str]
) -> Dict[str, str]:
    """What a command is run with: nothing that competes with us, no secret of ours
    but its own key."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in SECRETS_OF_OURS and not COMPETING.fullmatch(name)
    }
    chosen = {name: kept[name] for name in filter(CHOOSABLE.fullmatch, kept)}
    return {**kept, **ours, **chosen}


def for_command(command: List[str], program: Program) -> List[str]:
    """The command with what it needs beside its environment: Codex its provider."""
    name = os.path.basename(command[0]).partition(".")[0].lower()
    if name != "codex":
        return command
    options = []
    model = codex_model(program.copilot.kept_models())  # an own -m beats it
    for pair in codex_options(program.base, model).items():
        options += ["-c", "%s=%s" % pair]
    return [command[0], *options, *command[1:]]


async def run_command(command: List[str], env: Dict[str, str]) -> int:
    """Run to the end; its exit code, as a shell has it."""
    child = await asyncio.create_subprocess_exec(*command, env=env)

    def pass_on(number: int) -> None:
        if child.returncode is None:
            child.send_signal(number)

    # Ctrl-C reaches the whole foreground group: the command decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            on_signal(number, functools.partial(pass_on, number))
    code = await child.wait()
    if code < 0:
        return 128 - code
    return code


async def verb_run(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Serve on a free port, run a command that uses it, stop with it."""
    import shutil  # here, as few starts need it

    command = args.command[args.command[:1] == ["--"] :]
    if not command:
        raise ConfigError(
            "run: no command given; python copilot_proxy.py run -- claude"
        )
    path = shutil.which(command[0])
    if path is None:
        raise ConfigError(f"run: {command[0]} is not on the PATH")
    # A full-screen program owns the terminal: our lines go to a file, or nowhere.
    with open(args.log or os.devnull, "a", encoding="utf-8") as log:
        await listen(program)
        if not program.auth.signed_in() and not await sign_in(program):
            return NOT_SIGNED_IN
        models = await program.copilot.models()
        key = program.config.api_key
        ours = client_environment(program.base, program.config, models, key)
        complain(f"status page {program.base}/#{key}")
        command = for_command([path, *command[1:]], program)
        if args.log:
            configure_logging(program.config.log_level, log)
        code = await run_command(command, child_environment(os.environ, ours))
        complain((await program.app.report())["total_note"])
        logging.shutdown()
    return code


async def verb_check(program: Program, args: argparse.Namespace) -> Optional[int]:
    """Test Python, TLS, GitHub, the sign-in and the catalogue."""
    config = program.config
    ask, absent = await find_source(program)
    running = []
    if not absent:
        running = (await ask("/usage/page"))["state"]
    facts = {
        "Python": f"{sys.version.split()[0]}, {ssl.OPENSSL_VERSION}",
        f"sign-in in {program.store.path}": program.store.load() and "saved",
        "GITHUB_TOKEN": config.github_token and "set, and used before any other",
        "proxy on the way to GitHub": redact(config.https_proxy or config.all_proxy),
        f"proxy on {program.base}": ", ".join(running[1:]),
    }
    for name, value in facts.items():
        if value:
            say(f"ok    {name}: {printable(value)}")
        else:
            say("none  " + name)
    who = "this program" if absent else "the running proxy"
    reach = functools.partial(program.auth.ask_github, config.github_api_url + "/")
    steps = {"GitHub answers, TLS included": reach}
    if absent or program.auth.signed_in():
        steps["the sign-in gives a Copilot token"] = program.auth.renew
    steps[who + " reads the catalogue"] = functools.partial(ask, "/v1/models")
    steps[who + " reads the quota"] = functools.partial(ask, "/usage/quota")
    for text, step in steps.items():
        try:
            await step()
        except ProxyError as exc:
            say(f"FAIL  {text}\n      {printable(str(exc))}")
            return exit_code(exc)
        say(f"ok    {text}")


# Their first lines are the help.
VERBS = {
    "serve": verb_serve,
    "login": verb_login,
    "logout": verb_logout,
    "models": verb_models,
    "usage": verb_usage,
    "env": verb_env,
    "run": verb_run,
    "check": verb_check,
}


async def run_verb(verb: str, config: Config, args: argparse.Namespace) -> int:
    """Build the program, run one verb, and leave nothing open."""
    program = Program(config)
    try:
        return await VERBS[verb](program, args) or DONE
    finally:
        await program.close()


def argument_parser() -> argparse.ArgumentParser:
    """Verbs and their options."""
    # Before or after a verb's name.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--port", metavar="N", help="instead of PORT")
    common.add_argument("--host", metavar="ADDRESS", help="instead of HOST")
    common.add_argument("--env-file", metavar="FILE", help="read settings from FILE")
    shared: Any = {
        "epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter,
        "parents": [common],
    }
    parser = argparse.ArgumentParser(
        prog="copilot_proxy.py",
        description="Use your own GitHub Copilot subscription from Claude Code and\n"
        "from OpenAI-style clients.",
        **shared,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, verb in VERBS.items():
        text = verb.__doc__
        add = verbs.add_parser(name, help=text, description=text, **shared).add_argument
        if name in ("models", "usage"):
            add("--json", action="store_true", help="for programs")
        if name == "usage":
            days = "what each day of USAGE_LOG cost"
            add("--days", metavar="N", type=int, default=0, help=days)
        elif name == "env":
            add("--shell", choices=sorted(SHELLS), default=DEFAULT_SHELL)
        elif name == "run":
            add("--log", metavar="FILE", help="append the log to FILE")
            add("command", nargs=argparse.REMAINDER, metavar="-- COMMAND...")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one verb; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    defaults = argparse.Namespace(verb="serve", port="", host="", env_file="")
    args = argument_parser().parse_args(argv, defaults)
    forced = {"PORT": args.port, "HOST": args.host}
    if args.verb == "run":
        # Of many at once each has its port, and other users of the machine get in to
        # none: its child alone knows the key.
        forced["PORT"] = args.port or "0"
        forced["API_KEY"] = secrets.token_urlsafe(24)
    try:
        config = read_environment(os.environ, args.env_file, forced)
        # Where a person reads the outcome of a verb, a log would say it again.
        level = config.log_level if args.verb == "serve" else "error"
        colour = is_terminal(sys.stderr) and not os.environ.get("NO_COLOR")
        configure_logging(level, sys.stderr, colour=colour)
        return asyncio.run(run_verb(args.verb, config, args))
    except (ConfigError, ProxyError, OSError) as exc:  # of a file that a person named
        complain(str(exc))
        return exit_code(exc)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
