"""What the routes ask: one ledger, all projects, the reports on them, and the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import Request

from ..config import Config
from ..errors import LedgerError
from ..ledger import Ledger, open_ledger
from ..ledger.urls import is_server, without_credentials
from ..log import logger
from ..managed import ProjectAdmin, ProjectCatalogue
from ..reports import Reports
from .changes import Changes
from .intake import Intake
from .metrics import Metrics
from .upkeep import keeping_order, sending_alerts

__all__ = ["Backend", "backend_of", "open_backend"]


class Backend:
    """What a server holds while it runs; ``request.app.state.backend``.

    Args:
        config: The configuration as the file has it.
        ledger: Open for writing, on the server's event loop.
        clock: Unix time in seconds.

    Attributes:
        ledger: As it was given.
        clock: As it was given.
        catalogue: All projects: those of the file, and those made at run time.
        admin: Makes, changes and deletes the latter.
        changes: Tells who shows something that it has changed.
        intake: The ledger as workers write it that have no database.
        metrics: What Prometheus is told.
        verifying: Held while the whole ledger is read.
    """

    def __init__(self, config: Config, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.ledger = ledger
        self.clock = clock
        self.catalogue = ProjectCatalogue(config, ledger, env=config.env)
        self.admin = ProjectAdmin(self.catalogue, ledger, env=config.env, clock=clock)
        self.changes = Changes(self._versions, refresh=self.take_in)
        self.intake = Intake(config, clock)
        self.metrics = Metrics()
        self.verifying = asyncio.Lock()
        self._noted: tuple[str, ...] = ()
        self._asked = self.catalogue.config
        self._reports = Reports(config, ledger, clock=clock)

    @property
    def config(self) -> Config:
        """The configuration with all projects there are now."""
        return self.catalogue.config

    @property
    def reports(self) -> Reports:
        """Answers every question, of all projects there are now."""
        if self._asked is not self.catalogue.config:
            self._asked = self.catalogue.config
            self._reports = Reports(self._asked, self.ledger, clock=self.clock)
        return self._reports

    async def take_in(self) -> None:
        """Take in what has become of the projects, and log what is new to be known of them.

        Raises:
            LedgerError: The ledger cannot be read; all stays as it was.
        """
        await self.catalogue.refresh()
        for note in self.catalogue.notes:
            if note not in self._noted:
                logger.warning("%s", note)
        self._noted = self.catalogue.notes

    async def _versions(self) -> tuple[int, int]:
        return await self.ledger.version(), await self.ledger.projects_version()


@asynccontextmanager
async def open_backend(
    config: Config, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Backend]:
    """Open the ledger and what stands on it, and close it again.

    Raises:
        LedgerError: The ledger cannot be opened.
        UnsetVariableError: The webhook of alerts needs an environment variable that is not set.
    """
    url = config.database_url
    if is_server(url):
        raise LedgerError(
            f"not serving: `database.url` is another server's, {without_credentials(url)}, for "
            "workers that may not hold a database's credentials. A server keeps a ledger itself: "
            "write sqlite:///voicegw.db or postgresql://user@host/database."
        )
    ledger = await open_ledger(url, clock=clock)
    try:
        backend = Backend(config, ledger, clock)
        await backend.take_in()
        async with keeping_order(config, clock=clock), sending_alerts(config, clock=clock):
            watching = asyncio.create_task(backend.changes.watch())
            try:
                yield backend
            finally:
                backend.changes.close()
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                await backend.intake.close()
    finally:
        await ledger.close()


def backend_of(request: Request) -> Backend:
    """The backend of the application that a request came to; a dependency of the routes."""
    backend: Backend = request.app.state.backend
    return backend
