"""What the four sandboxed providers share: faults, a record, and how a connection is broken."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from aiohttp import web

from .faults import Fault, Faults
from .record import Record, RequestRecord

__all__ = ["GARBAGE", "Provider"]

R = TypeVar("R", bound=RequestRecord)

GARBAGE = '{"garbage": '
"""What a fault of that name sends: the beginning of JSON."""


class Provider(ABC, Generic[R]):
    """One provider on loopback.

    Attributes:
        name: As in a model string, ``openai``.
        base_url: What to give to the plugin, or to write into voicegw.yaml, as ``base_url``.
        faults: What is to go wrong; see `Faults.append`.
        record: What was received and sent.
    """

    name: ClassVar[str]

    def __init__(self, clock: Callable[[], float]) -> None:
        self.base_url = ""
        self.faults = Faults()
        self.record: Record[R] = Record()
        self.closing = False
        self._clock = clock
        self._numbers = itertools.count(1)
        self._open = 0
        self._settled = asyncio.Event()
        self._settled.set()

    @abstractmethod
    def listen(self, router: web.UrlDispatcher, url: str) -> None:
        """Add the provider's routes, and set `base_url`.

        Args:
            router: Where to add them, under ``/<name>``.
            url: Of ``/<name>``, without a slash at its end.
        """

    @abstractmethod
    def error_body(self, code: int, message: str, request_id: str) -> dict[str, Any]:
        """Return the JSON with which the provider explains an error status."""

    def new_id(self, prefix: str) -> str:
        """Return the next request id, the same in every run."""
        return f"{prefix}{next(self._numbers):08d}"

    @contextlib.contextmanager
    def recording(self, request: R) -> Iterator[R]:
        """Keep ``request`` in the record, and note how it ended when the block is left."""
        self.record.requests.append(request)
        self._open += 1
        self._settled.clear()
        try:
            yield request
        except (asyncio.CancelledError, ConnectionError):
            # aiohttp cancels the handler of a client that has hung up.
            if request.ending == "open":
                request.ending = "shutdown" if self.closing else "client"
            raise
        finally:
            if request.ending == "open":
                request.ending = "completed" if 0 < request.status < 400 else "error"
            request.ended_at = self._clock()
            self._open -= 1
            if self._open == 0:
                self._settled.set()

    async def settled(self) -> None:
        """Wait until every request that has begun has ended, so that the record is complete.

        A client that hangs up knows it before the provider does.
        """
        await self._settled.wait()

    def note(self, request: RequestRecord, fault: Fault) -> None:
        """Write down that a fault has struck."""
        request.fault = str(fault)
        self.faults.struck.append(fault)
        if fault.kind in ("refuse", "cut", "half"):
            request.ending = "fault"
        elif fault.kind in ("status", "error"):
            request.ending = "error"

    async def fail_first(
        self, http: web.Request, request: RequestRecord, fault: Fault | None
    ) -> web.Response | None:
        """Let a fault strike that comes before any answer.

        Returns:
            The error to answer with, or None to go on.
        """
        if fault is None or not fault.comes_first:
            return None
        self.note(request, fault)
        if fault.kind == "refuse":
            reset(http)
        if fault.kind == "stall":
            await pause(fault)
            return None
        return self.refuse(request, fault.code, fault.message, retry_after=fault.retry_after)

    def refuse(
        self,
        request: RequestRecord,
        code: int,
        message: str,
        *,
        retry_after: float | None = None,
    ) -> web.Response:
        """Return an error status in the provider's format, and write it down."""
        request.status = code
        request.ending = "error"
        headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}
        body = self.error_body(code, message, request.id)
        return web.json_response(body, status=code, headers=headers)


async def pause(fault: Fault) -> None:
    """Wait as long as a stall lasts; for ever means until the client or the sandbox gives up."""
    if fault.seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(fault.seconds)


def reset(http: web.Request) -> NoReturn:
    """Reset the connection: what was sent and not received is lost, as when a process dies."""
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()
    raise ConnectionResetError("the sandbox was told to refuse this request")


def hang_up(http: web.Request) -> NoReturn:
    """Close the connection in the middle: what was sent arrives, nothing comes after it."""
    if http.transport is not None:
        http.transport.close()
    raise ConnectionResetError("the sandbox was told to cut this request")


def hang_up_in_a_frame(http: web.Request, message: str) -> NoReturn:
    """Close the connection when half of a websocket's text frame is sent."""
    payload = message.encode()
    frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    if http.transport is not None:
        http.transport.write(frame[: len(frame) // 2])
    hang_up(http)


def headers_of(http: web.Request) -> dict[str, str]:
    """Return the headers as they were sent."""
    return dict(http.headers.items())


def key_of(http: web.Request) -> str:
    """Return the API key of a request, wherever its provider has it; empty without one."""
    if key := http.headers.get("X-API-Key"):
        return key
    return http.headers.get("Authorization", "").partition(" ")[2]


def compact(message: object) -> str:
    """Write JSON without blanks, as the providers do."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
