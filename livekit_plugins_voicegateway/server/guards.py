"""What stands between the door and the routes: HEAD, the size of bodies, and faults of our own."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..log import logger
from .problems import RETRY_SECONDS, Fault, problem

__all__ = ["LARGEST_BODY", "Guards"]

LARGEST_BODY: Final = 1 << 20
"""Bytes of a request's body; a project with keys for ten providers has some 3 kB."""

_TOO_LARGE: Final = f"The body is larger than {LARGEST_BODY} bytes."


class Guards:
    """Answers HEAD as GET without a body, stops large bodies, and turns a crash into a problem.

    Args:
        app: What is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > LARGEST_BODY:
            await problem(scope, _too_large())(scope, receive, send)
            return
        answering = _Answering(send, head=scope["method"] == "HEAD")
        if answering.head:
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, _counting(receive), answering)
        except asyncio.CancelledError:
            # uvicorn does this with what is still open some seconds after it was told to end
            if not answering.started:
                await problem(scope, _ending())(scope, receive, answering)
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if answering.started:
                # what has been sent cannot be taken back: hang up, so that it is seen to be cut off
                raise
            await problem(scope, _ours())(scope, receive, answering)


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


def _counting(receive: Receive) -> Receive:
    """Stop a body without a length as soon as it is too large."""
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                raise HTTPException(413, _TOO_LARGE)
        return message

    return receiving


def _too_large() -> Fault:
    return Fault(413, "content-too-large", "Content Too Large", _TOO_LARGE)


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
