"""The ledger as workers write it through the server: on a connection of its own.

So a report does not wait for rows that are written, and who follows the ledger sees what comes
in: a connection is told of others' changes only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from ..config import Config
from ..errors import LedgerError
from ..ledger import Ledger, make_ledger

__all__ = ["Intake"]


class Intake:
    """Opens the ledger for workers when the first one asks.

    Args:
        config: Says where it is.
        clock: Unix time in seconds.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._config = config
        self._opening = asyncio.Lock()
        self._ledger: Ledger | None = None

    async def ledger(self) -> Ledger:
        """Return the ledger, open for writing.

        Raises:
            LedgerError: It cannot be opened.
        """
        if self._ledger is None:
            async with self._opening:
                if self._ledger is None:
                    made = make_ledger(self._config.database_url, clock=self.clock)
                    await made.open()
                    self._ledger = made
        return self._ledger

    async def close(self) -> None:
        """Close the ledger."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            with suppress(LedgerError):
                await ledger.close()
