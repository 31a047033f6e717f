"""A receiver of webhooks: a real HTTP server on loopback, on a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from .machine import PATIENCE

__all__ = ["Receiver", "Received"]


@dataclass(frozen=True)
class Received:
    """One message as it came.

    Attributes:
        path: What was asked for.
        headers: By name in lower case.
        body: Byte for byte.
        status: What it was answered with.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def json(self) -> dict[str, Any]:
        """The body's values."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]


class Receiver:
    """Takes messages, and answers as it is told.

    Args:
        statuses: Answers to the first messages; all others get 204. A status of 0 keeps the sender
            waiting until the receiver is closed.
        headers: Of each answer.
        port: Where to listen; 0 for any.
    """

    def __init__(
        self,
        statuses: Sequence[int] = (),
        *,
        headers: dict[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.received: list[Received] = []
        self._statuses = list(statuses)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._take(
                    self.path, {k.lower(): v for k, v in self.headers.items()}, body
                )
                if status == 0:
                    receiver._closing.wait(60)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The sender has hung up."""

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to send to."""
        return f"http://127.0.0.1:{self.port}/hook"

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[Received]:
        """Wait until so many messages have come, and return all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, timeout), (
                f"{len(self.received)} of {count} messages came"
            )
            return list(self.received)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self._changed:
            status = self._statuses.pop(0) if self._statuses else 204
            self.received.append(Received(path, headers, body, status))
            self._changed.notify_all()
            return status
