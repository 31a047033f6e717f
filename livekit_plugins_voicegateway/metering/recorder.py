"""The recorder: one thread per process that turns meters into rows of the ledger.

The event loop of a call only appends a meter to a deque. The thread wakes while anything is
running, brings open rows up to date, closes finished ones, splits streams at midnight, and
writes all of it in one transaction. When the ledger cannot be written, rows wait here, each in
its latest state, and the log says so once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from ..background import BackgroundThread
from ..log import logger
from .meter import Meter
from .rows import Part, RowBuilder
from .usage import UsageRow

__all__ = ["Recorder", "RowSink"]

INTERVAL = 0.2
"""Seconds between two writes while anything runs: rows are durable in well under a second."""

REFRESH = 0.7
"""Seconds after which the row of a running stream is written again."""

HEARTBEAT = 10.0
"""Seconds after which an open row is written even if nothing changed, to show that it lives."""

SLICE = 0.0005
"""Seconds of work between two pauses of the thread. While it works it holds the interpreter's lock,
and an event loop that has something to do waits for it, for 5 ms each time if it is let."""

PAUSE = 0.0005
"""Seconds of a pause: yielding without sleeping would give the lock back to the same thread."""

RETRY = 1.0
"""Seconds between two tries while the ledger cannot be written."""

ROWS_AT_ONCE = 1_000
"""Rows of one transaction at most: other processes write in between."""

WAITING_ROWS = 100_000
"""Rows that wait in memory at most while the ledger cannot be written: about 60 MB."""


class RowSink(Protocol):
    """Where rows go: an open ledger."""

    async def write(self, rows: list[UsageRow]) -> None:
        """Write all rows in one transaction; raises when none was written."""

    async def close(self) -> None:
        """Close the ledger."""


@dataclass(slots=True)
class _Running:
    meter: Meter
    part: Part
    written: UsageRow | None = None
    written_at: float = 0.0


class Recorder:
    """Collects meters from any thread or event loop, and keeps their rows up to date.

    Args:
        open_sink: Opens the ledger, on the recorder's thread; tried again when it fails.
        rows: Turns meters into rows.
        day_of: Calendar day of a Unix time in the configured zone.
        day_start: Unix time at which a calendar day begins.
        clock: Unix time in seconds.
        monotonic: Seconds that never step.

    Attributes:
        on_failure: Called when the ledger begins to fail, with what it raised.
    """

    def __init__(
        self,
        open_sink: Callable[[], Awaitable[RowSink]],
        rows: RowBuilder,
        *,
        day_of: Callable[[float], str],
        day_start: Callable[[str], float],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_sink = open_sink
        self._rows = rows
        self._day_of = day_of
        self._day_start = day_start
        self._clock = clock
        self._monotonic = monotonic

        self.on_failure: Callable[[Exception], None] = lambda error: None
        self._inbox: deque[Meter] = deque()
        self._tickets: deque[Future[bool]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stopping = False
        self._thread = BackgroundThread("recorder", self._main)

        # the recorder's thread alone touches what follows
        self._sink: RowSink | None = None
        self._running: list[_Running] = []
        self._waiting: dict[str, UsageRow] = {}
        self._retry_at = 0.0
        self._failing = False
        self._dropped = 0

    def track(self, meter: Meter) -> None:
        """Record ``meter`` from now until it is closed. Costs the caller about a microsecond."""
        self._inbox.append(meter)
        if not self._wake.is_set():
            self._wake.set()
        self._thread.begin()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the recorder's thread soon, for work that must not block a call."""
        self._jobs.append(job)
        self._hurry.set()
        self._wake.set()
        self._thread.begin()

    def flush(self) -> Future[bool]:
        """Write everything that is known now.

        Returns:
            A future with True when all of it is durable, False when the ledger cannot be written.
        """
        ticket: Future[bool] = Future()
        if not self._thread.has_begun:
            ticket.set_result(True)
            return ticket
        self._tickets.append(ticket)
        self._hurry.set()
        self._wake.set()
        return ticket

    def close(self, timeout: float = 5.0) -> bool:
        """Write everything, close the ledger and end the thread.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the thread has ended in time.
        """
        if not self._thread.has_begun:
            return True
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        return self._thread.join(timeout)

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            while not self._stopping:
                if not self._running and not self._waiting and not self._tickets:
                    self._wake.wait()
                self._hurry.wait(INTERVAL)
                self._hurry.clear()
                self._wake.clear()
                runner.run(self._round())
            runner.run(self._finish())

    async def _finish(self) -> None:
        self._retry_at = 0.0
        await self._round()
        if self._waiting:
            logger.error(
                "VoiceGateway ends with %d rows of usage that the ledger would not take",
                len(self._waiting),
            )
        if self._sink is not None:
            await self._sink.close()
            self._sink = None

    async def _round(self) -> None:
        tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
        # who does not wait any longer has cancelled, and from here on nobody can
        tickets = [ticket for ticket in tickets if ticket.set_running_or_notify_cancel()]
        try:
            self._work()
            self._collect(everything=bool(tickets))
            await self._write(force=bool(tickets))
        except Exception:
            logger.exception("VoiceGateway's recorder failed; it will try again")
        finally:
            for ticket in tickets:
                ticket.set_result(not self._waiting)

    def _work(self) -> None:
        while self._jobs:
            try:
                self._jobs.popleft()()
            except Exception:
                logger.exception("VoiceGateway's recorder failed at a job; usage is still recorded")

    def _collect(self, *, everything: bool) -> None:
        now = self._clock()
        tick = self._monotonic()
        today = self._day_of(now)
        for _ in range(len(self._inbox)):
            meter = self._inbox.popleft()
            self._running.append(_Running(meter, self._rows.first_part(meter)))

        still: list[_Running] = []
        pause_at = self._monotonic() + SLICE
        for running in self._running:
            if self._monotonic() >= pause_at:
                time.sleep(PAUSE)
                pause_at = self._monotonic() + SLICE
            meter = running.meter
            closed = meter.status != "open"
            if not closed and running.part.day != today and meter.request.modality == "stt":
                self._split_at_midnight(running, today)
            if (
                closed
                or everything
                or running.written is None
                or tick - running.written_at >= REFRESH
            ):
                self._put(running, tick)
            if closed:
                self._rows.learn(meter)
                if meter.span is not None and running.written is not None:
                    meter.span.priced(running.written, last=True)
            else:
                still.append(running)
        self._running = still

    def _put(self, running: _Running, tick: float) -> None:
        row = self._rows.row(running.meter, running.part)
        unchanged = running.written is not None and _same_usage(row, running.written)
        if unchanged and tick - running.written_at < HEARTBEAT:
            return
        hold = running.meter.hold
        if hold is not None:
            hold.spend(row.cost_nanos or 0, row.day)
            if row.status != "open":
                hold.release()
        running.written, running.written_at = row, tick
        self._waiting.pop(row.id, None)
        self._waiting[row.id] = row

    def _split_at_midnight(self, running: _Running, today: str) -> None:
        midnight = max(self._day_start(today), running.part.started_at)
        ended = self._rows.row(running.meter, running.part, ended_at=midnight)
        self._waiting[ended.id] = ended
        if running.meter.span is not None:
            running.meter.span.priced(ended, last=False)
        running.part = self._rows.next_part(running.meter, today, midnight)
        running.written = None

    async def _write(self, *, force: bool) -> None:
        if not self._waiting or (not force and self._monotonic() < self._retry_at):
            return
        rows = list(self._waiting.values())
        try:
            if self._sink is None:
                self._sink = await self._open_sink()
            for start in range(0, len(rows), ROWS_AT_ONCE):
                some = rows[start : start + ROWS_AT_ONCE]
                await self._sink.write(some)
                for row in some:
                    del self._waiting[row.id]
        except Exception as e:
            self._retry_at = self._monotonic() + RETRY
            if not self._failing:
                self._failing = True
                logger.error(
                    "VoiceGateway cannot write usage: %s. Calls go on; usage waits in memory and "
                    "is written when the ledger is back.",
                    e,
                )
                self.on_failure(e)
            self._bound()
            return
        if self._failing:
            self._failing = False
            logger.info("VoiceGateway's ledger is back: %d waiting rows written", len(rows))

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


def _same_usage(row: UsageRow, other: UsageRow) -> bool:
    return (
        row.status == other.status
        and row.audio_seconds == other.audio_seconds
        and row.input_tokens == other.input_tokens
        and row.output_tokens == other.output_tokens
        and row.characters == other.characters
        and row.ttfb_ms == other.ttfb_ms
        and row.cost_nanos == other.cost_nanos  # of the time connected, though nobody speaks
    )
