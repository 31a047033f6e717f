"""What the routes of the server ask: one ledger, the reports on it, and the clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from ..config import Config
from ..ledger import Ledger, open_ledger
from ..reports import Reports

__all__ = ["Backend", "backend_of", "open_backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """What a server holds while it runs; ``request.app.state.backend``.

    Attributes:
        config: The configuration as it was at the start, without managed projects.
        ledger: Open for writing, on the server's event loop.
        reports: Answers every question.
        clock: Unix time in seconds.
    """

    config: Config
    ledger: Ledger
    reports: Reports
    clock: Callable[[], float] = time.time


@asynccontextmanager
async def open_backend(
    config: Config, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Backend]:
    """Open the ledger and what stands on it, and close it again.

    Raises:
        LedgerError: The ledger cannot be opened.
    """
    ledger = await open_ledger(config.database_url, clock=clock)
    try:
        yield Backend(config, ledger, Reports(config, ledger, clock=clock), clock)
    finally:
        await ledger.close()


def backend_of(request: Request) -> Backend:
    """The backend of the application that a request came to; a dependency of the routes."""
    backend: Backend = request.app.state.backend
    return backend
