"""Whether anything has changed in the ledger: looked for once, told to everybody who follows.

The same look takes in the projects that another process has made, changed or deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..errors import LedgerError
from ..log import logger

__all__ = ["Change", "Changes"]

_INTERVAL: Final = 0.5
"""Seconds between two looks at the ledger: nobody is told more often."""

_SILENCE: Final = 15.0
"""Seconds after which a proxy or a browser might hang up when it hears nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What may be different from before.

    Attributes:
        usage: Something was recorded.
        projects: A project was created, changed or deleted.
    """

    usage: bool
    projects: bool


class Changes:
    """Looks at the ledger for everybody who wants to know that it has changed.

    Args:
        versions: Two numbers, which differ from before when usage and when projects were written.
        refresh: Takes in what has become of the projects; before anybody is told.
        interval: Seconds between two looks.
        silence: Seconds without a change after which followers are told that there was none.
    """

    def __init__(
        self,
        versions: Callable[[], Awaitable[tuple[int, int]]],
        refresh: Callable[[], Awaitable[object]],
        *,
        interval: float = _INTERVAL,
        silence: float = _SILENCE,
    ) -> None:
        self._ask = versions
        self._refresh = refresh
        self._interval = interval
        self._silence = silence
        self._versions: tuple[int, int] | None = None
        self._moved = asyncio.Event()
        self._closed = False

    async def watch(self) -> None:
        """Look at the ledger until cancelled; one that does not answer is looked at again."""
        trouble = ""
        while True:
            try:
                with suppress(LedgerError):
                    await self._look()
                trouble = ""
            except Exception as error:
                # of what stands in the ledger: everybody would wait for changes for ever
                if str(error) != trouble:
                    logger.exception("what has changed in the ledger cannot be taken in")
                trouble = str(error)
            await asyncio.sleep(self._interval)

    async def follow(self) -> AsyncIterator[Change | None]:
        """Give each change since this was called; None when there was none for a while.

        Ends when the server does. Who is slow is told of several changes as one.
        """
        seen = self._versions
        while not self._closed:
            if self._versions == seen:
                try:
                    await asyncio.wait_for(self._moved.wait(), self._silence)
                except TimeoutError:
                    yield None
            elif seen is None or self._versions is None:
                seen = self._versions
            else:
                (usage, projects), seen = seen, self._versions
                yield Change(usage != seen[0], projects != seen[1])

    def close(self) -> None:
        """Let every follower end."""
        self._closed = True
        self._moved.set()

    async def _look(self) -> None:
        versions = await self._ask()
        if versions != self._versions:
            await self._refresh()
            self._versions = versions
            self._moved.set()
            self._moved = asyncio.Event()
