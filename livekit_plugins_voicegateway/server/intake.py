"""The ledger as workers write it through the server: on a connection of its own, and with a memory
of what was granted to whom, for those who have not heard the answer.

So a report does not wait for rows that are written, and who follows the ledger sees what comes
in: a connection is told of others' changes only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ..config import Config
from ..errors import LedgerError
from ..ledger import Ledger, make_ledger
from ..ledger.base import Grant

__all__ = ["Grants", "Intake"]

_REMEMBERED: Final = 10_000
"""Grants that are remembered: those of a thousand workers in a minute."""


class Grants:
    """What was granted, by the name that a worker gave to its question.

    An answer that is not heard would leave money in the hands of who does not know of it, for as
    long as it renews its lease: so it says that it has not heard, and the money goes back.
    """

    def __init__(self) -> None:
        self._granted: dict[str, int] = {}
        self._unheard: dict[str, None] = {}

    def known(self, name: str) -> int | None:
        """Return what was granted under a name; None when nobody has asked under it."""
        return self._granted.get(name)

    def granted(self, name: str, grant: Grant) -> bool:
        """Note an answer; False when its worker has given it up already."""
        if name in self._unheard:
            del self._unheard[name]
            return False
        self._granted[name] = grant.granted_nanos
        _shorten(self._granted)
        return True

    def give_up(self, name: str) -> int:
        """Forget a grant whose worker has not heard of it; nano-dollars that go back now."""
        nanos = self._granted.pop(name, None)
        if nanos is None:
            self._unheard[name] = None
            _shorten(self._unheard)
        return nanos or 0


def _shorten(kept: dict[str, int] | dict[str, None]) -> None:
    while len(kept) > _REMEMBERED:
        del kept[next(iter(kept))]


class Intake:
    """Opens the ledger for workers when the first one asks.

    Args:
        config: Says where it is.
        clock: Unix time in seconds.

    Attributes:
        grants: What was granted to workers.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.grants = Grants()
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
