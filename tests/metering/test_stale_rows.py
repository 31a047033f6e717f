"""Rows of a process that died are closed by those that live, without a restart."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from support.machine import PATIENCE
from support.usage_rows import NOON, usage_row

from livekit_plugins_voicegateway.ledger.base import STALE_AFTER, RowFilter
from livekit_plugins_voicegateway.ledger.outbox import Outbox
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering import courier as courier_module
from livekit_plugins_voicegateway.metering.courier import Courier, OutboxSink
from livekit_plugins_voicegateway.metering.delivery import TIDY, Delivery
from livekit_plugins_voicegateway.metering.recorder import Recorder
from livekit_plugins_voicegateway.metering.rows import RowBuilder
from livekit_plugins_voicegateway.pricing.book import PriceBook


class Clock:
    """Seconds that tests set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class WatchedLedger(SqliteLedger):
    """Says when it has closed rows."""

    def __init__(self, path: Path, clock: Clock, closed: threading.Event) -> None:
        super().__init__(path, clock=clock)
        self._closed = closed

    async def close_stale(self, older_than_seconds: float) -> int:
        count = await super().close_stale(older_than_seconds)
        if count:
            self._closed.set()
        return count


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "voicegw.db"


async def leave_open(path: Path, clock: Clock) -> None:
    """What a process has written that was killed just now."""
    async with SqliteLedger(path, clock=clock) as dying:
        await dying.write([usage_row(id="left", status="open", audio_seconds=4.2)])


async def status_of(path: Path, row_id: str) -> str:
    async with SqliteLedger(path, read_only=True) as reader:
        (row,) = [row for row in await reader.rows(RowFilter(), limit=9) if row.id == row_id]
        return row.status


async def test_a_process_that_writes_closes_them_when_a_minute_has_gone(
    path: Path, clock: Clock
) -> None:
    await leave_open(path, clock)
    ticks = Clock(1000.0)

    async def open_sink() -> SqliteLedger:
        ledger = SqliteLedger(path, clock=clock)
        await ledger.open()
        return ledger

    delivery = Delivery(open_sink, monotonic=ticks)
    delivery.add(usage_row())
    await delivery.deliver()
    clock.now += STALE_AFTER + 1
    ticks.now += TIDY - 1
    await delivery.deliver()
    assert await status_of(path, "left") == "open"  # not at each write
    ticks.now += 1
    await delivery.deliver()
    assert await status_of(path, "left") == "cancelled"
    await delivery.finish()


async def test_a_process_that_has_nothing_to_write_any_more_closes_them_too(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livekit_plugins_voicegateway.metering.delivery.TIDY", 0.01)
    closed = threading.Event()

    async def open_sink() -> SqliteLedger:
        ledger = WatchedLedger(path, clock, closed)
        await ledger.open()
        return ledger

    delivery = Delivery(open_sink)
    rows = RowBuilder(PriceBook({}, {}), new_id=lambda: "id", day_of=lambda _: "2027-01-15")
    recorder = Recorder(
        delivery, rows, day_of=lambda _: "2027-01-15", day_start=lambda _: 0.0, clock=clock
    )
    recorder.submit(lambda: delivery.add(usage_row()))
    assert await asyncio.wrap_future(recorder.flush())
    await leave_open(path, clock)
    clock.now += STALE_AFTER + 1
    assert await asyncio.to_thread(closed.wait, PATIENCE)
    assert await asyncio.to_thread(recorder.close, PATIENCE)
    assert await status_of(path, "left") == "cancelled"


async def test_the_process_that_carries_for_its_host_closes_them(
    path: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "TIDY", 0.01)
    monkeypatch.setattr(courier_module, "PAUSE", 0.01)
    await leave_open(path, clock)
    closed = threading.Event()

    async def open_ledger() -> SqliteLedger:
        ledger = WatchedLedger(path, clock, closed)
        await ledger.open()
        return ledger

    courier = Courier(open_ledger, lambda: [Outbox(tmp_path / "outbox.db")])
    sink = OutboxSink([Outbox(tmp_path / "outbox.db")], courier.wake)
    await sink.write([usage_row()])
    clock.now += STALE_AFTER + 1
    assert await asyncio.to_thread(closed.wait, PATIENCE)
    assert await asyncio.to_thread(courier.close, PATIENCE)
    await sink.close()
    assert await status_of(path, "left") == "cancelled"
