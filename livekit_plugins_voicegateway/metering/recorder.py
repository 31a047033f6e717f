"""The recorder: one thread per process that turns meters into rows of the ledger.

The event loop of a call only appends a meter to a deque. The thread wakes while anything is
running, brings open rows up to date, closes finished ones, splits streams at midnight, and
hands all of it to a `Delivery`, which writes it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ..background import BackgroundThread
from ..bugs import fault_of, never_raises, report_bug
from .delivery import Delivery
from .meter import Meter
from .rows import Part, RowBuilder
from .usage import UsageRow

__all__ = ["Recorder"]

INTERVAL = 0.2
"""Seconds between two writes while anything runs: rows are durable in well under a second."""

REFRESH = 0.4
"""Seconds after which the row of a running stream is written again."""

HEARTBEAT = 10.0
"""Seconds after which an open row is written even if nothing changed, to show that it lives."""

SLICE = 0.0005
"""Seconds of work between two pauses of the thread. While it works it holds the interpreter's lock,
and an event loop that has something to do waits for it, for 5 ms each time if it is let."""

PAUSE = 0.0005
"""Seconds of a pause: yielding without sleeping would give the lock back to the same thread."""


@dataclass(slots=True)
class _Running:
    meter: Meter
    part: Part
    written: UsageRow | None = None
    written_at: float = 0.0


class Recorder:
    """Collects meters from any thread or event loop, and keeps their rows up to date.

    Args:
        delivery: Brings rows to the ledger, on the recorder's thread.
        rows: Turns meters into rows.
        day_of: Calendar day of a Unix time in the configured zone.
        day_start: Unix time at which a calendar day begins.
        clock: Unix time in seconds.
        monotonic: Seconds that never step.
    """

    def __init__(
        self,
        delivery: Delivery,
        rows: RowBuilder,
        *,
        day_of: Callable[[float], str],
        day_start: Callable[[str], float],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._delivery = delivery
        self._rows = rows
        self._day_of = day_of
        self._day_start = day_start
        self._clock = clock
        self._monotonic = monotonic

        self._inbox: deque[Meter] = deque()
        self._tickets: deque[Future[bool]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stopping = False
        self._thread = BackgroundThread("recorder", self._main)

        # the recorder's thread alone touches what follows
        self._running: list[_Running] = []

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
            A future with True when all of it is durable, in the ledger or in the outbox.
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
                if not self._running and self._delivery.idle and not self._tickets:
                    self._wake.wait(self._delivery.seconds_to_rest)
                self._hurry.wait(INTERVAL)
                self._hurry.clear()
                self._wake.clear()
                runner.run(self._round())
            runner.run(self._finish())

    async def _finish(self) -> None:
        await self._round()
        await self._delivery.finish()

    async def _round(self) -> None:
        tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
        # who does not wait any longer has cancelled, and from here on nobody can
        tickets = [ticket for ticket in tickets if ticket.set_running_or_notify_cancel()]
        durable = False
        try:
            self._work()
            self._collect(everything=bool(tickets))
            await self._delivery.deliver(now=bool(tickets))
            durable = self._delivery.durable
        except Exception as e:
            report_bug("write usage; it will try again", e)
        finally:
            for ticket in tickets:
                ticket.set_result(durable)

    def _work(self) -> None:
        while self._jobs:
            try:
                self._jobs.popleft()()
            except Exception as e:
                report_bug("do a job beside recording usage", e)

    def _collect(self, *, everything: bool) -> None:
        now = self._clock()
        tick = self._monotonic()
        today = self._today(now)
        while self._inbox:
            self._running.append(_Running(self._inbox[0], self._rows.first_part(self._inbox[0])))
            self._inbox.popleft()

        still: list[_Running] = []
        pause_at = self._monotonic() + SLICE
        for running in self._running:
            if self._monotonic() >= pause_at:
                time.sleep(PAUSE)
                pause_at = self._monotonic() + SLICE
            try:
                if not self._follow(running, today, tick, everything):
                    still.append(running)
            except Exception as e:
                report_bug("bring a row up to date; it will try again", e)
                running.meter.fault = fault_of(e)
                still.append(running)
        self._running = still

    @never_raises("find out which day it is", None)
    def _today(self, now: float) -> str | None:
        return self._day_of(now)

    def _follow(self, running: _Running, today: str | None, tick: float, everything: bool) -> bool:
        """Bring one row up to date; whether it is the request's last."""
        meter = running.meter
        closed = meter.status != "open"
        if not closed and today not in (None, running.part.day) and meter.request.modality == "stt":
            self._split_at_midnight(running, today)
        if closed or everything or running.written is None or tick - running.written_at >= REFRESH:
            self._put(running, tick)
        if closed:
            self._rows.learn(meter)
            if meter.span is not None and running.written is not None:
                meter.span.priced(running.written, last=True)
        return closed

    def _put(self, running: _Running, tick: float) -> None:
        row = self._rows.row(running.meter, running.part)
        unchanged = running.written is not None and _same_usage(row, running.written)
        if unchanged and tick - running.written_at < HEARTBEAT:
            return
        self._delivery.add(row)
        running.written, running.written_at = row, tick
        hold = running.meter.hold
        if hold is not None:
            try:
                hold.spend(row.cost_nanos or 0, row.day)
                if row.status != "open":
                    hold.release()
            except Exception as e:
                report_bug("settle a request with its budget", e)

    def _split_at_midnight(self, running: _Running, today: str) -> None:
        part = running.part
        if today > part.day:
            ends = begins = max(self._day_start(today), part.started_at)
        else:  # the clock was set back over midnight
            ends, begins = part.started_at, self._clock()
        ended = self._rows.row(running.meter, part, ended_at=ends)
        self._delivery.add(ended)
        if running.meter.span is not None:
            running.meter.span.priced(ended, last=False)
        running.part = self._rows.next_part(running.meter, part, today, begins)
        running.written = None


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
