"""The server's connections: how many there may be, and how long one may keep us waiting.

uvicorn waits for ever for a request that is not sent and for an answer that is not read. A
`Connection` stands between it and the transport, and hangs up on whoever does either.
"""

from __future__ import annotations

import asyncio
import sys
from functools import cached_property
from typing import Any, Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .peers import Owner, owner_of

__all__ = ["MOST_CONNECTIONS", "Connection", "Connections", "connection_of"]

MOST_CONNECTIONS: Final = 512
"""Connections at a time. When there are more, who has been silent longest is hung up on."""

SILENCE: Final = 10.0
"""Seconds until a request's head has to be there, from the connection's beginning or the answer
before it."""

STALL: Final = 30.0
"""Seconds that an answer may wait for its reader."""

_LARGEST_REST: Final = 1 << 27
"""Bytes that are taken from who was refused before all of the body was there. A client that is hung
up on while it sends does not get to read why."""

_STATE: Final = "voicegateway.connection"

_TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


class Connections:
    """All connections of a server.

    Args:
        most: How many there may be at a time.
        silence: Seconds until a request's head has to be there.
        stall: Seconds that an answer may wait for its reader.
    """

    def __init__(
        self,
        *,
        most: int = 0,
        silence: float = SILENCE,
        stall: float = STALL,
    ) -> None:
        self.most = most or _most_here()
        self.silence = silence
        self.stall = stall
        self._open: set[Connection] = set()
        # those that we wait for, the longest silent first
        self._silent: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self, **how: Any) -> asyncio.Protocol:
        """Make the protocol of a new connection; ``http=`` of uvicorn's configuration."""
        return Connection(self, how)

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Put an application behind this, so that it is known when a request is under way."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            connection = connection_of(scope)
            if connection is None:
                await app(scope, receive, send)
                return
            connection.request_began()
            try:
                await app(scope, receive, send)
            finally:
                connection.request_ended()

        return watched

    def add(self, connection: Connection) -> bool:
        """Take a connection in; for one too many the longest silent one goes.

        Returns:
            False when all others are being answered, and so there is no place.
        """
        if len(self._open) >= self.most:
            longest = next(iter(self._silent), None)
            if longest is None:
                return False
            longest.hang_up()
        self._open.add(connection)
        return True

    def silent(self, connection: Connection) -> None:
        """Note that we wait for this connection from now on."""
        self._silent[connection] = None

    def heard(self, connection: Connection) -> None:
        """Note that we do not wait for this connection any more."""
        self._silent.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        self._silent.pop(connection, None)


class Connection(asyncio.Protocol):
    """One connection, with uvicorn's own protocol behind it.

    Args:
        connections: All of them.
        how: What uvicorn makes its protocols with.
    """

    def __init__(self, connections: Connections, how: dict[str, Any]) -> None:
        self._connections = connections
        # uvicorn gives each request a copy of this as scope["state"]
        state = {**how["app_state"], _STATE: self}
        self._uvicorn = H11Protocol(**{**how, "app_state": state})
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._received = 0

    @cached_property
    def owner(self) -> Owner:
        """Whose the other end is, of a connection within this machine."""
        assert self._transport is not None
        client = self._transport.get_extra_info("peername")
        server = self._transport.get_extra_info("sockname")
        return owner_of(client[:2], server[:2])

    def request_began(self) -> None:
        """The head of a request is there; it is being answered."""
        self._under_way += 1
        self._heard()

    def request_ended(self) -> None:
        """A request was answered; the next one may come."""
        self._under_way -= 1
        if not self._under_way:
            self._wait()

    def hang_up(self, last_words: bytes = b"") -> None:
        """End the connection at once.

        Args:
            last_words: What the other end is still told.
        """
        self._heard()
        self._connections.remove(self)
        if self._transport is None:
            return
        if last_words and not self._transport.is_closing():
            self._transport.write(last_words)
            self._transport.close()
        else:
            self._transport.abort()

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._connections.add(self):
            self._transport.write(_TOO_MANY)
            self._transport.close()
            return
        self._uvicorn.connection_made(self._transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._uvicorn.transport is None or self._transport.is_closing():
            return
        if not self._under_way:
            self._received += len(data)
            if self._received > _LARGEST_REST:
                self.hang_up()
                return
        self._uvicorn.data_received(data)

    def eof_received(self) -> bool | None:
        self._uvicorn.eof_received()
        return None

    def pause_writing(self) -> None:
        self._uvicorn.pause_writing()
        loop = asyncio.get_running_loop()
        self._reader_timer = loop.call_later(self._connections.stall, self.hang_up)

    def resume_writing(self) -> None:
        self._stop_reader_timer()
        self._uvicorn.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        self._stop_reader_timer()
        self._connections.remove(self)
        if self._uvicorn.transport is not None:
            self._uvicorn.connection_lost(exc)

    def _wait(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._received = 0
        self._heard()
        self._connections.silent(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._connections.silence, self._waited_enough)

    def _waited_enough(self) -> None:
        # who has begun to send is told why
        self.hang_up(_TOO_LATE if self._received else b"")

    def _heard(self) -> None:
        self._connections.heard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection that a request came by; None under another server, as in tests."""
    found: Connection | None = scope.get("state", {}).get(_STATE)
    return found


def _most_here() -> int:
    """As many connections as this process may open files, with some left for the ledger."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(8, min(MOST_CONNECTIONS, files - 64))
