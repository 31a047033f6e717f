"""Runs the server: a socket, uvicorn on it, and a clean end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from ..config import Config
from ..errors import VoiceGatewayError
from ..log import logger
from .access import check_listener
from .app import create_app

__all__ = ["ListenError", "run"]

_GRACE: Final = 3
"""Seconds that requests have to end when the server does; what is open then is cut off."""

_BACKLOG: Final = 128
"""Connections that may wait to be accepted."""


class ListenError(VoiceGatewayError):
    """The server cannot listen where it was told to. Says why, and what else to try.

    Args:
        host: The address.
        port: The port.
        error: What the system said.
    """

    def __init__(self, host: str, port: int, error: OSError) -> None:
        self.host = host
        self.port = port
        where = address(host, port)
        match error.errno:
            case errno.EADDRINUSE:
                why = "another program listens there. Stop it, or choose another --port"
            case errno.EACCES:
                why = "this user may not. Ports below 1024 are the system's: choose another --port"
            case errno.EADDRNOTAVAIL:
                why = f"this machine has no address {host}. Choose another --host"
            case _:
                why = f"{error.strerror or error}. Choose another --host or --port"
        super().__init__(f"cannot listen on {where}: {why}.")


def run(config: Config, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Args:
        config: Projects, ledger and token.
        host: Address to listen on.
        port: TCP port; 0 for any that is free.
        started: Called with the server's URL when it answers.

    Raises:
        UnsafeListenerError: Other machines could ask, and there is no token.
        ListenError: The port cannot be had.
        LedgerError: The ledger cannot be opened.
    """
    check_listener(host, config.server.token)
    _log_plainly()
    app = create_app(config)
    with _listen(host, port) as listener:
        url = f"http://{address(host, listener.getsockname()[1])}"
        asyncio.run(_serve(app, listener, lambda: started(url)))


def _log_plainly() -> None:
    """Write a line to standard error for what somebody should know, with its time."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    logger.setLevel(logging.INFO)


def address(host: str, port: int) -> str:
    """Return host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _serve(app: FastAPI, listener: socket.socket, started: Callable[[], None]) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            # opened here and not by uvicorn, which would print a traceback when the ledger is ill
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            # nobody's word for who asks and by which scheme
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
            ws="none",
        ),
        started,
    )
    async with app.router.lifespan_context(app):
        server.at_exit = app.state.backend.changes.close
        await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells when it answers, and lets endless streams end when it has to."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started
        self.at_exit: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.at_exit()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # not to be raised again when all is closed: to be told to end is no failure
        self._captured_signals.clear()


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket ourselves, to say clearly why it cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(host, port, error) from error
    return listener
