"""Brings rows to the ledger, and to the outbox of this host while the ledger does not take them.

Runs on the recorder's thread only. A ledger that is slow or fails holds up nothing: what it has not
taken within a third of a second is durable in the outbox, and goes on from there when the ledger is
back, sent by this process or by any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..bugs import report_bug
from ..errors import OutboxError, VoiceGatewayError
from ..log import logger
from .usage import UsageRow

if TYPE_CHECKING:
    from ..ledger.outbox import Outbox
    from ..ledger.refusals import Refusal

__all__ = ["TIDY", "Delivery", "RowSink", "sentence"]

PATIENCE = 0.3
"""Seconds after which rows that are being written are put into the outbox as well. With the time
between two versions of a row (`recorder`) it stays below the second that a process may lose."""

LONGEST_WAIT = 10.0
"""Seconds that somebody who wants all rows written now waits for a ledger that does not answer."""

RETRY = 1.0
"""Seconds between two tries while the ledger cannot be written."""

LOOK = 10.0
"""Seconds between two looks for what other processes have left in the outbox."""

TIDY = 60.0
"""Seconds between two times that the requests of processes which are gone are closed."""

ROWS_AT_ONCE = 1_000
"""Rows of one transaction at most: other processes write in between."""

WAITING_ROWS = 100_000
"""Rows that wait in memory at most, when there is no outbox either: about 60 MB."""


class RowSink(Protocol):
    """Where rows go: an open ledger."""

    async def write(self, rows: list[UsageRow]) -> None:
        """Write all rows in one transaction; raises when none was written."""

    async def close_stale(self, older_than_seconds: float) -> int:
        """Close the open rows that nobody has written for so long; how many."""

    async def close(self) -> None:
        """Close the ledger."""


class Delivery:
    """Rows on their way to the ledger.

    Args:
        open_sink: Opens the ledger; tried again when it fails.
        open_outboxes: Says where rows wait meanwhile: in the first one that can be written.
        monotonic: Seconds that never step.

    Attributes:
        on_failure: Called when the ledger begins to fail, with what it raised.
    """

    def __init__(
        self,
        open_sink: Callable[[], Awaitable[RowSink]],
        open_outboxes: Callable[[], Sequence[Outbox]] = tuple,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_failure: Callable[[Exception], None] = lambda error: None
        self._open_sink = open_sink
        self._open_outboxes = open_outboxes
        self._opened_outboxes: Sequence[Outbox] | None = None
        self._monotonic = monotonic
        self._sink: RowSink | None = None
        self._waiting: dict[str, UsageRow] = {}
        self._writing: asyncio.Task[int] | None = None
        self._set_aside = False  # whether rows of ours may be in an outbox
        self._look_at = 0.0
        self._tidy_at = 0.0
        self._retry_at = 0.0
        self._failing = False
        self._dropped = 0
        self._outbox_failing = False

    @property
    def idle(self) -> bool:
        """Whether every row is in the ledger."""
        return not (self._waiting or self._set_aside or self._writing is not None)

    @property
    def seconds_to_rest(self) -> float | None:
        """How long `deliver` need not be called when nothing waits; None for ever."""
        return None if self._sink is None else TIDY

    @property
    def durable(self) -> bool:
        """Whether every row is in the ledger or in an outbox."""
        return not self._waiting

    def add(self, row: UsageRow) -> None:
        """Bring a row to the ledger; it takes the place of an older version of itself."""
        self._waiting.pop(row.id, None)
        self._waiting[row.id] = row

    async def deliver(self, *, now: bool = False) -> None:
        """Write what waits, or see how far it is. Never raises.

        Args:
            now: Try even if the ledger failed a moment ago, and wait for what comes of it, once
                all rows are safe.
        """
        if self._writing is not None:
            await self._wait_for_what_is_written(0)
            if self._writing is not None and self._waiting:
                self._put_into_outbox()  # the ledger is at something older, for too long already
            await self._wait_for_what_is_written(PATIENCE)
        if self._writing is None and self._is_due(now):
            self._writing = asyncio.create_task(self._write(list(self._waiting.values())))
            await self._wait_for_what_is_written(PATIENCE)
        if self._waiting and (self._failing or self._writing is not None):
            self._put_into_outbox()
        if now and self._writing is not None:
            await asyncio.wait({self._writing}, timeout=LONGEST_WAIT)
            self._see_what_came_of_it()

    async def finish(self) -> None:
        """The process ends: write what waits, and close the ledger. Never raises."""
        await self.deliver(now=True)
        if self._waiting:
            logger.error(
                "VoiceGateway ends with %d rows of usage that neither the ledger nor the outbox "
                "would take",
                len(self._waiting),
            )
        if self._sink is not None:
            try:
                await self._sink.close()
            except Exception as e:
                logger.debug("the ledger could not be closed: %s", e)
            self._sink = None
        for outbox in self._opened_outboxes or ():
            outbox.close()

    @property
    def _outboxes(self) -> Sequence[Outbox]:
        if self._opened_outboxes is None:
            try:
                self._opened_outboxes = self._open_outboxes()
            except VoiceGatewayError as e:
                self._opened_outboxes = ()
                logger.error("usage has no outbox to wait in: %s", e)
        return self._opened_outboxes

    def _is_due(self, now: bool) -> bool:
        tick = self._monotonic()
        if not now and tick < self._retry_at:
            return False
        if self._waiting or (self._set_aside and (now or tick >= self._look_at)):
            return True
        return self._sink is not None and tick >= self._tidy_at

    async def _write(self, rows: list[UsageRow]) -> int:
        """Send on what is in the outbox, then these rows; how many were sent."""
        # here: only a process that records needs a database
        from ..ledger.refusals import write_all_but

        if self._sink is None:
            self._sink = await self._open_sink()
            self._tidy_at = self._monotonic() + TIDY  # who opens a ledger does it at once
        sent = 0
        if self._set_aside or self._monotonic() >= self._look_at:
            sent = await self._drain(self._sink)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            refused = await write_all_but(self._sink, some)
            if refused:
                self._put_apart(refused)
            for row in some:
                if self._waiting.get(row.id) is row:  # and no later version of it
                    del self._waiting[row.id]
        if self._monotonic() >= self._tidy_at:
            await self._tidy(self._sink)
        return sent + len(rows)

    async def _tidy(self, sink: RowSink) -> None:
        from ..ledger.base import STALE_AFTER

        self._tidy_at = self._monotonic() + TIDY
        try:
            await sink.close_stale(STALE_AFTER)
        except VoiceGatewayError as e:
            logger.debug("the requests of processes that are gone cannot be closed now: %s", e)

    def _put_apart(self, refused: Sequence[Refusal]) -> None:
        """Keep what the ledger refuses where it holds up nothing; the log says what it is."""
        for outbox in self._outboxes:
            try:
                outbox.set_aside(refused)
            except OutboxError as e:
                self._say_of_outbox(e)
                continue
            return
        from ..ledger.row_codec import as_it_is

        for row, reason in refused:
            logger.error(
                "VoiceGateway drops usage that is refused (%s), and has no outbox to keep it in: "
                "%s",
                reason,
                as_it_is(row),
            )

    async def _drain(self, sink: RowSink) -> int:
        from ..ledger.outbox import drain

        self._look_at = self._monotonic() + LOOK
        ours, self._set_aside = self._set_aside, False  # rows may come again from now on
        sent = 0
        try:
            for outbox in self._outboxes:
                try:
                    moved = await drain(outbox, sink)
                except OutboxError as e:
                    self._say_of_outbox(e)
                    moved = None
                if moved is None:  # another process is at it: see later whether it came to ours
                    self._set_aside = self._set_aside or ours
                else:
                    sent += moved
        except BaseException:
            self._set_aside = self._set_aside or ours
            raise
        return sent

    async def _wait_for_what_is_written(self, seconds: float) -> None:
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=seconds)
            self._see_what_came_of_it()

    def _see_what_came_of_it(self) -> None:
        task = self._writing
        if task is None or not task.done():
            return
        self._writing = None
        if task.cancelled():  # the recorder's thread begins anew, after a bug
            return
        error = task.exception()
        if error is None:
            if self._failing:
                self._failing = False
                logger.info("VoiceGateway's ledger is back: %d waiting rows written", task.result())
            if self._set_aside:
                self._look_at = min(self._look_at, self._monotonic() + RETRY)
            return
        self._retry_at = self._monotonic() + RETRY
        if not isinstance(error, (VoiceGatewayError, OSError)):
            report_bug("write usage into the ledger", error)
        if not self._failing:
            self._failing = True
            kept = "in memory" if not self._outboxes else f"in {self._outboxes[0].path}"
            logger.error(
                "VoiceGateway cannot write usage: %s Calls go on; usage waits %s and is written "
                "when the ledger is back.",
                sentence(error),
                kept,
            )
            if isinstance(error, Exception):
                self.on_failure(error)

    def _put_into_outbox(self) -> None:
        rows = list(self._waiting.values())
        problem: OutboxError | None = None
        for outbox in self._outboxes:
            try:
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    outbox.put(rows[start : start + ROWS_AT_ONCE])
            except OutboxError as e:
                problem = problem or e
                continue
            self._waiting.clear()
            self._set_aside = True
            self._outbox_failing = False
            return
        if problem is not None:
            self._say_of_outbox(problem)
        self._bound()

    def _say_of_outbox(self, problem: OutboxError) -> None:
        if not self._outbox_failing:
            self._outbox_failing = True
            logger.error(
                "%s. While neither it nor the ledger can be used, usage waits in memory, and is "
                "lost with the process.",
                problem,
            )

    def _bound(self) -> None:
        excess = len(self._waiting) - WAITING_ROWS
        if excess <= 0:
            return
        for row_id in list(self._waiting)[:excess]:
            del self._waiting[row_id]
        if not self._dropped:
            logger.error(
                "VoiceGateway drops the oldest usage: more than %d rows wait for the ledger",
                WAITING_ROWS,
            )
        self._dropped += excess


def sentence(error: BaseException) -> str:
    """What an error says, with a full stop unless it ends as a sentence does."""
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."
