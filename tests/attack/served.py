"""An application behind the limits of the server, on a real socket, with limits in reach."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from livekit_plugins_voicegateway.server.access import Access
from livekit_plugins_voicegateway.server.connections import Connections
from livekit_plugins_voicegateway.server.guards import Guards
from livekit_plugins_voicegateway.server.problems import Fault, problem
from livekit_plugins_voicegateway.server.sessions import Sessions

SECONDS = 30.0


class Served:
    """A running server.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        connections: Its connections.
        began: Set when the endless answer at ``/endless`` is being sent.
        left: Set when who read it has been hung up on.
    """

    def __init__(self, port: int, connections: Connections) -> None:
        self.port = port
        self.connections = connections
        self.began = threading.Event()
        self.left = threading.Event()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def ask(self, path: str = "/", *, body: bytes = b"", headers: str = "") -> bytes:
        """Send a whole request, and return all of the answer."""
        with self.connect() as connection:
            connection.sendall(
                f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
                f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """Read until the other end hangs up."""
    parts = []
    while part := _part(connection):
        parts.append(part)
    return b"".join(parts)


def _part(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@contextmanager
def served(
    connections: Connections, *, longest_body: float = SECONDS, sessions: Sessions | None = None
) -> Iterator[Served]:
    """Serve on a thread: ``/`` answers with what it was sent, ``/endless`` without an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = Served(listener.getsockname()[1], connections)

    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def endless(request: Request) -> Response:
        async def stream() -> AsyncIterator[bytes]:
            running.began.set()
            try:
                while True:
                    yield b"x" * 65_536
                    await asyncio.sleep(0)
            finally:
                running.left.set()

        return StreamingResponse(stream())

    async def follow(request: Request) -> Response:
        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 1\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        fault = Fault(error.status_code, "http", "http", error.detail, headers=error.headers)
        return problem(request.scope, fault)

    app = Starlette(
        routes=[
            Route("/", echo, methods=["GET", "POST"]),
            Route("/endless", endless),
            Route("/v1/events", follow),
        ],
        exception_handlers=dict.fromkeys((408, 413), of_http),
    )
    guarded = Access(Guards(app, longest_body), sessions)
    server = uvicorn.Server(
        uvicorn.Config(
            connections.watch(guarded),
            http=connections.protocol,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=1 << 17,
            lifespan="off",
            log_config=None,
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield running
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
