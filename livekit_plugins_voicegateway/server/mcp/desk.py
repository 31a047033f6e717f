"""Where the tools ask: the HTTP server's backend, or for stdio one that is opened for each call.

A process that speaks over stdio lives as long as the coding agent does. Meanwhile the agent edits
voicegw.yaml, and workers make the ledger: so nothing is kept from one call to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from ...config import load_config
from ...ledger import Ledger, make_ledger
from ...managed import ProjectAdmin, ProjectCatalogue
from ...reports import Reports

__all__ = ["Answering", "Desk", "DeskPerCall", "SharedDesk"]


class Answering(Protocol):
    """What a tool asks; `Backend` of the HTTP server is one."""

    @property
    def reports(self) -> Reports:
        """Answers every question, of all projects there are now."""

    @property
    def admin(self) -> ProjectAdmin:
        """Makes, changes and deletes projects."""


class Desk(Protocol):
    """Hands out what tools ask.

    Attributes:
        config_path: The configuration that was named; None for the one that is found.
        checking: Held while a check runs: it is a process with all plugins in it, and one at a
            time is enough.
    """

    config_path: Path | None
    checking: asyncio.Lock

    def open(self, *, writing: bool) -> AbstractAsyncContextManager[Answering]:
        """Give something to ask, for one call.

        Args:
            writing: Whether the call may change something.

        Raises:
            VoiceGatewayError: The configuration is wrong, or the ledger cannot be used.
        """


class SharedDesk:
    """Hands out what the HTTP server has open anyway.

    Args:
        backend: Its backend.
        config_path: The configuration that it was started with; None without one.
    """

    def __init__(self, backend: Answering, config_path: Path | None) -> None:
        self.config_path = config_path
        self.checking = asyncio.Lock()
        self._backend = backend

    @asynccontextmanager
    async def open(self, *, writing: bool) -> AsyncIterator[Answering]:
        """Give the backend, whatever it is for."""
        yield self._backend


class DeskPerCall:
    """Reads the configuration and opens the ledger for each call, for writing only if it writes.

    Args:
        config_path: The configuration that was named; None for the one that is found.
    """

    def __init__(self, config_path: Path | None) -> None:
        self.config_path = config_path
        self.checking = asyncio.Lock()

    @asynccontextmanager
    async def open(self, *, writing: bool) -> AsyncIterator[Answering]:
        """Open all there is, and close it again."""
        config = load_config(self.config_path)
        async with make_ledger(config.database_url, read_only=not writing) as ledger:
            catalogue = ProjectCatalogue(config, ledger, env=config.env)
            await catalogue.refresh()
            admin = ProjectAdmin(catalogue, ledger, env=config.env)
            yield _Opened(catalogue, ledger, admin)


class _Opened:
    """A ledger that is open for one call."""

    def __init__(self, catalogue: ProjectCatalogue, ledger: Ledger, admin: ProjectAdmin) -> None:
        self.admin = admin
        self._catalogue = catalogue
        self._ledger = ledger

    @property
    def reports(self) -> Reports:
        """Of all projects there are now, the one that was just made included."""
        return Reports(self._catalogue.config, self._ledger)
