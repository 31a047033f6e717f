"""One process of a host carries usage to the ledger, and another one takes over when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.usage_rows import start_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.outbox import Outbox
from livekit_plugins_voicegateway.metering import courier as courier_module
from livekit_plugins_voicegateway.metering.courier import Courier, OutboxSink
from livekit_plugins_voicegateway.metering.usage import UsageRow

PATIENCE = 60.0


class Ledger:
    """Takes rows, and says so; refuses while it is told to."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.refuse = False
        self.refused, self.wrote = threading.Event(), threading.Event()

    async def write(self, rows: list[UsageRow]) -> None:
        if self.refuse:
            self.refused.set()
            raise LedgerError("the ledger is away")
        self.rows.update({row.id: row for row in rows})
        self.wrote.set()

    async def close_stale(self, older_than_seconds: float) -> int:
        return 0

    async def close(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def courier_to(ledger: Ledger, path: Path) -> Courier:
    async def open_it() -> Ledger:
        return ledger

    return Courier(open_it, lambda: [Outbox(path)])


async def put(path: Path, *ids: str) -> None:
    sink = OutboxSink([Outbox(path)], lambda: None)
    await sink.write([usage_row(id=row_id) for row_id in ids])
    await sink.close()


async def test_what_is_put_into_the_outbox_reaches_the_ledger(path: Path) -> None:
    ledger = Ledger()
    courier = courier_to(ledger, path)
    sink = OutboxSink([Outbox(path)], courier.wake)
    await sink.write([usage_row(id="a")])
    assert await asyncio.to_thread(ledger.wrote.wait, PATIENCE)
    assert await asyncio.to_thread(courier.close, PATIENCE)
    assert list(ledger.rows) == ["a"]
    assert Outbox(path).count() == 0


async def test_what_waits_when_a_process_ends_is_carried_before(path: Path) -> None:
    ledger = Ledger()
    courier = courier_to(ledger, path)
    ledger.refuse = True
    await put(path, "a")
    courier.wake()
    assert await asyncio.to_thread(ledger.refused.wait, PATIENCE)
    ledger.refuse = False
    assert await asyncio.to_thread(courier.close, PATIENCE)
    assert list(ledger.rows) == ["a"]


async def test_a_ledger_that_is_away_is_said_once_and_all_is_there_when_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    failures: list[Exception] = []
    ledger = Ledger()
    ledger.refuse = True
    courier = courier_to(ledger, path)
    courier.on_failure = failures.append
    for row_id in "abc":
        ledger.refused.clear()
        await put(path, row_id)
        courier.wake()
        assert await asyncio.to_thread(ledger.refused.wait, PATIENCE)
    ledger.refuse = False
    assert await asyncio.to_thread(ledger.wrote.wait, PATIENCE)
    assert await asyncio.to_thread(courier.close, PATIENCE)
    assert list(ledger.rows) == ["a", "b", "c"]
    assert len(failures) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_what_a_process_has_put_is_carried_though_all_of_a_host_end_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "HAND_OVER", PATIENCE)
    looks: list[bool] = []
    looked = threading.Event()

    class Watched(Outbox):
        @contextmanager
        def draining(self) -> Iterator[bool]:
            with super().draining() as ours:
                looks.append(ours)
                if len(looks) == 3:
                    looked.set()
                yield ours

    ledger = Ledger()

    async def open_it() -> Ledger:
        return ledger

    courier = Courier(open_it, lambda: [Watched(path)])
    await put(path, "a")
    with Outbox(path).draining() as theirs:  # of a process that looks no more, and ends
        assert theirs
        courier.wake()
        closing = asyncio.create_task(asyncio.to_thread(courier.close, PATIENCE))
        await asyncio.wait(
            {closing, asyncio.create_task(asyncio.to_thread(looked.wait, PATIENCE))},
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert looks[:3] == [False] * 3
    assert await closing
    assert list(ledger.rows) == ["a"]


async def test_another_process_takes_over_when_the_one_that_carries_is_killed(
    path: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/voicegw.db"

    async def carry() -> None:
        courier = Courier(lambda: open_ledger(url), lambda: [Outbox(path)])
        courier.wake()
        signal.pause()

    await put(path, "a")
    first = start_process(carry)[0]
    async with await open_ledger(url) as ledger:

        async def arrived(row_id: str) -> None:
            while row_id not in [row.id for row in await ledger.rows(RowFilter(), limit=10)]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        await asyncio.wait_for(arrived("a"), PATIENCE)
        second = start_process(carry)[0]
        os.kill(first.pid or 0, signal.SIGKILL)
        await asyncio.to_thread(first.join)
        await put(path, "b")
        await asyncio.wait_for(arrived("b"), PATIENCE)
        second.kill()
        await asyncio.to_thread(second.join)
        assert (await ledger.check_totals()).mismatches == []
