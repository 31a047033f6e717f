"""Targets that are asked over HTTP: addresses, bodies, forms, who asks, and MCP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from livekit_plugins_voicegateway.server.mcp.tools import TOOLS
from livekit_plugins_voicegateway.server.sessions import COOKIE, Sessions

from .examples import HOSTILE, bodies, json_words, queries
from .stage import TOKEN, Server, outcome_of, site
from .statements import watched_statements
from .target import Broken, Check, Outcome, Target, no_errors_logged

__all__ = ["TARGETS"]

_JSON: Final = [(b"content-type", b"application/json")]

_FORM: Final = [(b"content-type", b"application/x-www-form-urlencoded")]

_MCP: Final = [*_JSON, (b"accept", b"application/json, text/event-stream")]

_PAGE: Final = [(b"accept", b"text/html")]


@contextmanager
def _server(
    make: Callable[[Server], Callable[[bytes], Outcome]], *, token: bool = False
) -> Iterator[Check]:
    """A server whose every statement and every logged error is looked at."""
    with (
        watched_statements() as watch,
        no_errors_logged() as logged,
        site() as config,
        Server(config, token=token) as server,
    ):
        ask = make(server)

        def check(data: bytes) -> Outcome:
            outcome = ask(data)
            watch.check()
            logged()
            return outcome

        yield check


def _query() -> Any:
    def make(server: Server) -> Callable[[bytes], Outcome]:
        def ask(data: bytes) -> Outcome:
            path = data.partition(b"?")[0]
            if path.endswith((b"/events", b"/verify")):
                # the one has no end, the other is asked on a connection of its own
                return "refused"
            headers = _PAGE if len(data) % 2 else []
            return outcome_of(server.ask("GET", data, headers=headers))

        return ask

    return _server(make)


def _body() -> Any:
    def make(server: Server) -> Callable[[bytes], Outcome]:
        def ask(data: bytes) -> Outcome:
            if data[:1] == b"~":
                answer = server.ask("PATCH", b"/v1/projects/lab", headers=_JSON, body=data[1:])
                return outcome_of(answer)
            answer = server.ask("POST", b"/v1/projects", headers=_JSON, body=data)
            if answer.status == 201:
                _forget(server, answer.headers["location"].encode())
            return outcome_of(answer)

        server.ask("POST", b"/v1/projects", headers=_JSON, body=b'{"project_id": "lab"}')
        return ask

    return _server(make)


def _forget(server: Server, address: bytes) -> None:
    shown = server.ask("GET", address)
    gone = server.ask("DELETE", address)
    if shown.status != 200 or gone.status != 200:
        raise Broken(f"what was made is not there: {address!r} {shown} {gone}")


def _form() -> Any:
    targets = (b"/projects/~new", b"/projects/lab/edit", b"/projects/prod/edit", b"/login")

    def make(server: Server) -> Callable[[bytes], Outcome]:
        def ask(data: bytes) -> Outcome:
            target = targets[data[0] % len(targets)] if data else targets[0]
            headers = _FORM
            if data[1:3] == b"--":
                headers = [(b"content-type", b'multipart/form-data; boundary="x"')]
            answer = server.ask("POST", target, headers=[*headers, *_PAGE], body=data[1:])
            where = answer.headers.get("location", "")
            if answer.status == 303 and target == targets[0]:
                gone = server.ask("POST", f"{where}/delete".encode(), headers=_PAGE)
                if gone.status != 303:
                    raise Broken(f"what was made cannot be deleted: {where} {gone}")
            elif answer.status == 303 and (where[:1] != "/" or where[1:2] in ("/", "\\")):
                raise Broken(f"a form leads to another site: {where!r}")
            return outcome_of(answer)

        server.ask("POST", b"/v1/projects", headers=_JSON, body=b'{"project_id": "lab"}')
        return ask

    return _server(make)


def _forms() -> Sequence[bytes]:
    return (
        b"\0project_id=x1&name=N&daily_budget=12.50&budget_action=block&tags=a,b",
        b"\0project_id=x1&provider_0=openai&key_0=sk-1&description=a%0D%0Ab",
        b"\1name=N&drop_provider=openai&has_provider=openai&provider_2=deepgram&key_2=k",
        b"\2name=N",
        b"\3token=x&next=/requests",
        b"\3next=//evil.example&token=" + TOKEN.encode(),
        b'\0--x\r\nContent-Disposition: form-data; name="project_id"\r\n\r\nx1\r\n--x--\r\n',
        b'\0--x\r\nContent-Disposition: form-data; name="name"; filename="f"\r\n\r\nx\r\n--x--\r\n',
    )


def _cookie() -> Any:
    open_session = Sessions(TOKEN, lambda: 1_800_014_400.0).begin()

    def make(server: Server) -> Callable[[bytes], Outcome]:
        def ask(data: bytes) -> Outcome:
            headers = _headers(data)
            told = any(
                known.encode() in value for known in (TOKEN, open_session) for _, value in headers
            )
            answer = server.ask("GET", b"/v1/projects", headers=headers)
            outcome = outcome_of(answer)
            if outcome == "accepted" and answer.status == 200 and not told:
                raise Broken(f"somebody without the token was answered: {headers}")
            return outcome

        return ask

    def prepared() -> Any:
        return _server(make, token=True)

    return prepared()


def _headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read lines of headers; what h11 lets through is what a server can be sent."""
    found = []
    for line in data.split(b"\n"):
        name, colon, value = line.partition(b":")
        kept = bytes(byte for byte in value.strip() if byte > 0x1F and byte != 0x7F)
        if colon and name.strip():
            found.append((name.strip().lower(), kept))
        elif not colon:
            found.append((b"cookie", COOKIE.encode() + b"=" + line.replace(b"\r", b"")))
    return found


def _cookies() -> Sequence[bytes]:
    session = Sessions(TOKEN, lambda: 1_800_014_400.0).begin().encode()
    before = Sessions(TOKEN, lambda: 1_700_000_000.0).begin().encode()
    other = Sessions("another", lambda: 1_800_014_400.0).begin().encode()
    said, _, signature = session.rpartition(b".")
    return (
        session,
        before,
        other,
        said,
        said + b".",
        b"." + signature,
        b"99999999999." + session.partition(b".")[2],
        b'Cookie: {"a": 1}; voicegw_session="' + session + b'"; b=\\',
        b"Cookie: voicegw_session=" + b"\\" * 2000,
        b"Authorization: Bearer " + TOKEN.encode(),
        b"Authorization: Basic eDp5",
        b"Authorization: Bearer x\nAuthorization: Bearer y",
        b"Host: evil.example\nOrigin: http://evil.example\nSec-Fetch-Site: cross-site",
        b"Origin: null\nX-Forwarded-For: 127.0.0.1\nHost: [::1]:8080",
    )


def _mcp() -> Any:
    def make(server: Server) -> Callable[[bytes], Outcome]:
        def ask(data: bytes) -> Outcome:
            if b'"check"' in data:
                return "refused"  # a process of its own
            answer = server.ask("POST", b"/mcp", headers=_MCP, body=data)
            outcome = outcome_of(answer)
            if answer.body and answer.media_type == "application/json":
                said = json.loads(answer.body)
                text = json.dumps(said)
                if "this is a fault of VoiceGateway" in text:
                    raise Broken(text)
                failed = "error" in said or (said.get("result") or {}).get("isError")
                return "refused" if failed else outcome
            return outcome

        return ask

    return _server(make)


def _tool() -> Any:
    names = [name for name in TOOLS if name != "check"]

    def make(server: Server) -> Callable[[bytes], Outcome]:
        by_message = _message_of(server)

        def ask(data: bytes) -> Outcome:
            try:
                arguments = json.loads(data[1:])
            except (ValueError, RecursionError):
                return "refused"
            return by_message(names[data[0] % len(names)], arguments)

        return ask

    return _server(make)


def _message_of(server: Server) -> Callable[[str, object], Outcome]:
    def ask(name: str, arguments: object) -> Outcome:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        }
        answer = server.ask("POST", b"/mcp", headers=_MCP, body=json.dumps(message).encode())
        outcome_of(answer)
        said = json.loads(answer.body)
        if "this is a fault of VoiceGateway" in json.dumps(said):
            raise Broken(f"{name} {arguments!r} failed: {said}")
        if "error" in said:
            if not said["error"]["message"]:
                raise Broken(f"refused without a reason: {said}")
            return "refused"
        if said["result"].get("isError"):
            if not said["result"]["content"][0]["text"]:
                raise Broken(f"refused without a reason: {said}")
            return "refused"
        return "accepted"

    return ask


def _messages() -> Sequence[bytes]:
    plain = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": "x", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        },
    ]
    calls = [
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": name, "arguments": {"project_id": "prod", "period": "7d"}},
        }
        for name in TOOLS
        if name != "check"
    ]
    return tuple(json.dumps(message).encode() for message in (*plain, *calls))


def _arguments() -> Sequence[bytes]:
    told: Sequence[dict[str, object]] = (
        {},
        {"project_id": "prod"},
        {"project_id": "lab", "confirm": True},
        {"period": "2026-05-01..2026-05-31", "project": "prod"},
        {"project": "prod", "modality": "llm", "model": "openai/x", "status": "failed", "limit": 5},
        {"room": "call-17", "cursor": "abc"},
    )
    numbers = range(len(TOOLS) - 1)
    plain = [bytes([number]) + json.dumps(part).encode() for number in numbers for part in told]
    return (*plain, *(bytes([number]) + body for number in (2, 3) for body in bodies()))


TARGETS: Final = (
    Target("query", "addresses and queries of HTTP", _query, queries, HOSTILE, 26_000),
    Target(
        "body",
        "bodies of HTTP",
        _body,
        lambda: (*bodies(), *(b"~" + body for body in bodies())),
        (*json_words(), *HOSTILE),
        26_000,
    ),
    Target("form", "forms of the dashboard and of the log-in", _form, _forms, HOSTILE, 20_000),
    Target("cookie", "cookies, tokens, Host and Origin", _cookie, _cookies, HOSTILE, 50_000),
    Target("message", "messages of MCP", _mcp, _messages, (*json_words(), *HOSTILE), 15_000),
    Target(
        "tool", "arguments of MCP's tools", _tool, _arguments, (*json_words(), *HOSTILE), 15_000
    ),
)
