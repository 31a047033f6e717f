"""Runs the server: uvicorn on a socket, its limits, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from ..config import Config
from ..log import logger
from .app import create_app
from .connections import Connections
from .guards import LARGEST_HEADERS, LONGEST_ADDRESS
from .listener import BACKLOG

__all__ = ["run"]

_GRACE: Final = 3
"""Seconds that requests have to end when the server does; what is open then is cut off."""


def run(config: Config, listener: socket.socket, started: Callable[[], None]) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Args:
        config: Projects, ledger and token.
        listener: Where to listen.
        started: Called when the server answers.

    Raises:
        LedgerError: The ledger cannot be opened.
        UnsetVariableError: The webhook of alerts needs an environment variable that is not set.
    """
    _log_plainly()
    asyncio.run(_serve(create_app(config), listener, started))


def _log_plainly() -> None:
    """Write a line to standard error for what somebody should know, with its time."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    logger.setLevel(logging.INFO)


async def _serve(app: FastAPI, listener: socket.socket, started: Callable[[], None]) -> None:
    connections = Connections()
    server = _Server(
        uvicorn.Config(
            connections.watch(app),
            http=connections.protocol,  # type: ignore[arg-type]  # uvicorn only calls it
            # so much that our own answer can say what is too large
            h11_max_incomplete_event_size=LONGEST_ADDRESS + 2 * LARGEST_HEADERS,
            backlog=BACKLOG,
            # opened here and not by uvicorn, which would print a traceback when the ledger is ill
            lifespan="off",
            log_config=None,
            # its warnings are of requests that are none: whoever likes could fill the log
            log_level=logging.ERROR,
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
