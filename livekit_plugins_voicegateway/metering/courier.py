"""Carries usage from the outbox of this host to a ledger on another one.

Where the ledger is a server's, each process of a host puts its rows into the outbox they share, and
one of them carries them on, so that a host needs two connections however many processes it has.
Which one it is decides a lock that ends with its process: another one takes over within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ..background import BackgroundThread
from ..errors import LedgerError, OutboxError, VoiceGatewayError
from ..log import logger
from .delivery import TIDY, RowSink, sentence
from .usage import UsageRow

if TYPE_CHECKING:
    from ..ledger.outbox import Outbox

__all__ = ["Courier", "OutboxSink"]

PAUSE: Final = 0.5
"""Seconds between two looks into the outbox."""

RETRY: Final = 1.0
"""Seconds between two tries while the ledger is away, or another process carries."""


HAND_OVER: Final = 1.5
"""Seconds that a process which ends waits at most until another one has carried what it has put
into the outbox: that one may be ending, too, and have looked for the last time already."""

GLANCE: Final = 0.05
"""Seconds between two looks meanwhile."""


class OutboxSink:
    """What a recorder writes to when a courier carries on: the outbox.

    Args:
        outboxes: The first that can be written is used.
        wake: Called when something was put there.
    """

    def __init__(self, outboxes: Sequence[Outbox], wake: Callable[[], None]) -> None:
        self._outboxes = outboxes
        self._wake = wake

    async def write(self, rows: list[UsageRow]) -> None:
        """Keep rows durably on this host.

        Raises:
            OutboxError: No outbox can be written.
        """
        problem: OutboxError | None = None
        for outbox in self._outboxes:
            try:
                outbox.put(rows)
            except OutboxError as e:
                problem = problem or e
                continue
            self._wake()
            return
        if problem is not None:
            raise problem

    async def close_stale(self, older_than_seconds: float) -> int:
        """Does nothing: the process that carries does it."""
        return 0

    async def close(self) -> None:
        """Close the outboxes."""
        for outbox in self._outboxes:
            outbox.close()


class Courier:
    """The thread of a process that carries, or waits to take over from the one that does.

    Args:
        open_ledger: Opens the ledger, on this thread; tried again when it fails.
        open_outboxes: Says where rows wait.
        monotonic: Seconds that never step.

    Attributes:
        on_failure: Called when the ledger begins to fail, with what it raised.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Awaitable[RowSink]],
        open_outboxes: Callable[[], Sequence[Outbox]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_failure: Callable[[Exception], None] = lambda error: None
        self._open_ledger = open_ledger
        self._open_outboxes = open_outboxes
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = BackgroundThread("courier", self._main)
        # the thread alone touches what follows
        self._ledger: RowSink | None = None
        self._tidy_at = 0.0
        self._failing = False

    def wake(self) -> None:
        """Something waits in the outbox. From any thread."""
        self._wake.set()
        if not self._stopping.is_set():
            self._thread.begin()

    def close(self, timeout: float = 5.0) -> bool:
        """Carry what waits, if it is this process that carries, and end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the thread has ended in time. What it has not carried waits for the next one.
        """
        self._stopping.set()
        self._wake.set()
        return self._thread.join(timeout)

    def _main(self) -> None:
        outboxes = self._open_outboxes()
        with ExitStack() as held, asyncio.Runner() as runner:
            for outbox in outboxes:
                held.callback(outbox.close)
            ours: list[Outbox] = []
            try:
                self._go_round(outboxes, ours, held, runner)
            finally:
                # what was opened on this event loop is of no use on another
                runner.run(self._close_ledger())

    def _go_round(
        self,
        outboxes: Sequence[Outbox],
        ours: list[Outbox],
        held: ExitStack,
        runner: asyncio.Runner,
    ) -> None:
        ends_at = math.inf
        while True:
            stopping = self._stopping.is_set()
            try:
                self._hold(outboxes, ours, held)
                pause = runner.run(self._carry(ours)) if ours else RETRY
            except Exception:
                logger.exception("VoiceGateway could not carry usage on; please report this")
                pause = RETRY
            if stopping:
                ends_at = min(ends_at, self._monotonic() + HAND_OVER)
                if self._monotonic() >= ends_at or not _waits_elsewhere(outboxes, ours):
                    break
                time.sleep(GLANCE)
                continue
            # others of this host put rows there, too, and wake nobody
            (self._wake if ours and not self._failing else self._stopping).wait(pause)
            self._wake.clear()

    def _hold(self, outboxes: Sequence[Outbox], ours: list[Outbox], held: ExitStack) -> None:
        for outbox in outboxes:
            if outbox in ours or not outbox.exists():
                continue
            with contextlib.suppress(OutboxError), ExitStack() as trying:
                if trying.enter_context(outbox.draining()):
                    held.push(trying.pop_all())
                    ours.append(outbox)

    async def _carry(self, ours: Sequence[Outbox]) -> float:
        """Carry what waits; seconds until it is worth another look."""
        from ..ledger.base import STALE_AFTER
        from ..ledger.outbox import send_on

        sent = 0
        try:
            for outbox in ours:
                if outbox.is_empty():
                    continue
                if self._ledger is None:
                    self._ledger = await self._open_ledger()
                    self._tidy_at = self._monotonic() + TIDY  # who opens a ledger does it at once
                sent += await send_on(outbox, self._ledger)
            if self._ledger is not None and self._monotonic() >= self._tidy_at:
                self._tidy_at = self._monotonic() + TIDY
                await self._ledger.close_stale(STALE_AFTER)
        except (VoiceGatewayError, OSError) as e:
            if not self._failing:
                self._failing = True
                logger.error(
                    "VoiceGateway cannot send usage on: %s Calls go on; usage waits in %s and is "
                    "sent when the ledger is back.",
                    sentence(e),
                    ours[0].path,
                )
                if isinstance(e, LedgerError):
                    self.on_failure(e)
            return RETRY
        if self._failing and sent:
            self._failing = False
            logger.info("VoiceGateway's ledger is back: %d waiting rows written", sent)
        return PAUSE

    async def _close_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            with contextlib.suppress(Exception):
                await ledger.close()


def _waits_elsewhere(outboxes: Sequence[Outbox], ours: Sequence[Outbox]) -> bool:
    """Whether something waits that it is for another process to carry."""
    for outbox in outboxes:
        with contextlib.suppress(OutboxError):
            if outbox not in ours and not outbox.is_empty():
                return True
    return False
