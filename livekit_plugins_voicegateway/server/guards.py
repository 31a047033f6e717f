"""What stands between the door and the routes: HEAD, limits of requests, and faults of our own."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..log import logger
from .problems import RETRY_SECONDS, Fault, problem

__all__ = [
    "LARGEST_BODY",
    "LARGEST_HEADERS",
    "LONGEST_ADDRESS",
    "MOST_STREAMS",
    "Guards",
    "oversized",
]

LARGEST_BODY: Final = 1 << 20
"""Bytes of a request's body; a project with keys for ten providers has some 3 kB."""

LONGEST_BODY: Final = 20.0
"""Seconds until all of a body has to be there."""

LONGEST_ADDRESS: Final = 8_192
"""Bytes of path and query."""

LARGEST_HEADERS: Final = 32_768
"""Bytes of all headers: on localhost a browser sends the cookies of every other program, too."""

MOST_STREAMS: Final = 128
"""Pages and programs that follow ``/v1/events`` at a time."""

_STREAMS: Final = frozenset({"/v1/events"})

_OPEN_BODIES: Final = {"/login": 1 << 14, "/health": 0}
"""Bytes that are taken from who need not have shown a token."""


def oversized(scope: Scope) -> Fault | None:
    """Say what of a request's head is larger than any that we need; None when nothing is."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
        return Fault(
            414,
            "address-too-long",
            "The address is too long",
            f"Path and query have more than {LONGEST_ADDRESS} bytes.",
            headers={"connection": "close"},
        )
    if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
        return Fault(
            431,
            "headers-too-large",
            "The headers are too large",
            f"All headers together have more than {LARGEST_HEADERS} bytes.",
            headers={"connection": "close"},
        )
    return None


class Guards:
    """Answers HEAD as GET without a body, stops bodies that are large or do not come and streams
    that are too many, and turns a crash into a problem.

    Args:
        app: What is behind it.
        longest_body: Seconds until all of a body has to be there.
    """

    def __init__(self, app: ASGIApp, longest_body: float = LONGEST_BODY) -> None:
        self._app = app
        self._longest_body = longest_body
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        largest = _OPEN_BODIES.get(scope["path"], LARGEST_BODY)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > largest:
            await problem(scope, _too_large(largest))(scope, receive, send)
            return
        answering = _Answering(send, head=scope["method"] == "HEAD")
        if answering.head:
            scope = {**scope, "method": "GET"}
        streaming = scope["path"] in _STREAMS
        if streaming and self._streams >= MOST_STREAMS:
            await problem(scope, _too_many())(scope, receive, answering)
            return
        self._streams += streaming
        try:
            await self._app(scope, _limited(receive, largest, self._longest_body), answering)
        except asyncio.CancelledError:
            # uvicorn does this with what is still open some seconds after it was told to end
            if not answering.started:
                await problem(scope, _ending())(scope, receive, answering)
        except ClientDisconnect:
            return
        except Exception:
            # %r: a line break in a path is none in the log
            logger.exception("%s %r failed", scope["method"], scope["path"])
            if answering.started:
                # what has been sent cannot be taken back: hang up, so that it is seen to be cut off
                raise
            await problem(scope, _ours())(scope, receive, answering)
        finally:
            self._streams -= streaming


class _Answering:
    """Sends an answer on, and for HEAD nothing but its beginning."""

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send = send
        self.head = head
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
        if self.head and message["type"] == "http.response.body":
            # with more_body=False at once: a stream would never end
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


def _limited(receive: Receive, largest: int, longest: float) -> Receive:
    """Stop a body without a length as soon as it is too large, and one that does not come."""
    size = 0
    whole = False
    deadline: float | None = None

    async def receiving() -> Message:
        nonlocal size, whole, deadline
        if whole:
            # from here on it is waited for the client to leave, and that may take long
            return await receive()
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + longest
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(
                408, f"The body was not there after {longest:g} s.", {"connection": "close"}
            ) from None
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > largest:
                raise HTTPException(413, _larger_than(largest))
        return message

    return receiving


def _too_large(largest: int) -> Fault:
    return Fault(413, "content-too-large", "Content Too Large", _larger_than(largest))


def _larger_than(largest: int) -> str:
    return f"The body is larger than {largest} bytes."


def _too_many() -> Fault:
    return Fault(
        503,
        "too-many-streams",
        "Too many streams",
        f"{MOST_STREAMS} pages or programs follow the events already.",
        headers={"retry-after": str(RETRY_SECONDS)},
    )


def _ending() -> Fault:
    return Fault(
        503,
        "ending",
        "The server ends",
        "The server was told to end while this request was under way.",
        headers={"retry-after": str(RETRY_SECONDS), "connection": "close"},
    )


def _ours() -> Fault:
    return Fault(
        500,
        "internal",
        "A fault of VoiceGateway",
        "This is a fault of VoiceGateway and not of the request. What happened is in the server's "
        "log. Please report it.",
    )
