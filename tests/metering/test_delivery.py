"""Rows reach the ledger, or are safe in the outbox while it is slow, away or full."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.ledger.outbox import Outbox
from livekit_plugins_voicegateway.metering import delivery as delivery_module
from livekit_plugins_voicegateway.metering.delivery import Delivery
from livekit_plugins_voicegateway.metering.usage import UsageRow


class Ledger:
    """Takes rows, unless it is told to refuse or to let one wait."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.refuse = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.closed = False

    async def write(self, rows: list[UsageRow]) -> None:
        await self.answers.wait()
        if self.refuse:
            raise OSError("no space left on device")
        self.rows.update({row.id: row for row in rows})

    async def close_stale(self, older_than_seconds: float) -> int:
        return 0

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def delivery_to(ledger: Ledger, *paths: Path) -> Delivery:
    async def open_sink() -> Ledger:
        return ledger

    return Delivery(open_sink, lambda: [Outbox(path) for path in paths])


async def test_a_healthy_ledger_gets_rows_at_once_and_no_outbox_is_made(
    ledger: Ledger, path: Path
) -> None:
    delivery = delivery_to(ledger, path)
    delivery.add(usage_row(id="a", status="open"))
    delivery.add(usage_row(id="a"))
    await delivery.deliver()
    assert ledger.rows["a"].status == "completed"
    assert delivery.idle
    assert not path.exists()
    await delivery.finish()
    assert ledger.closed


async def test_what_a_ledger_refuses_is_durable_and_written_when_it_is_back(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    failures: list[Exception] = []
    delivery = delivery_to(ledger, path)
    delivery.on_failure = failures.append
    ledger.refuse = True
    for row_id in "abc":
        delivery.add(usage_row(id=row_id))
        await delivery.deliver(now=True)
        assert delivery.durable
        assert not delivery.idle
    assert Outbox(path).count() == 3
    ledger.refuse = False
    delivery.add(usage_row(id="d"))
    await delivery.deliver(now=True)
    assert list(ledger.rows) == ["a", "b", "c", "d"]
    assert delivery.idle
    assert Outbox(path).count() == 0
    assert len(failures) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert f"usage waits in {path}" in caplog.records[0].message
    assert "4 waiting rows written" in caplog.records[1].message


async def test_what_one_process_leaves_behind_the_next_one_sends_on(
    ledger: Ledger, path: Path
) -> None:
    ledger.refuse = True
    dying = delivery_to(ledger, path)
    dying.add(usage_row(id="a"))
    await dying.deliver()
    ledger.refuse = False
    another = delivery_to(ledger, path)
    another.add(usage_row(id="b"))
    await another.deliver()
    assert list(ledger.rows) == ["a", "b"]


async def test_what_comes_while_the_ledger_is_slow_is_durable_without_waiting_for_it_again(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = delivery_to(ledger, path)
    ledger.answers.clear()
    delivery.add(usage_row(id="a"))
    await delivery.deliver()
    monkeypatch.setattr(delivery_module, "PATIENCE", 3600)
    delivery.add(usage_row(id="b"))
    delivering = asyncio.create_task(delivery.deliver())
    async with asyncio.timeout(30):
        while not delivery.durable:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not delivering.done()
    assert [waiting.row.id for waiting in Outbox(path).after(0, 9)[0]] == ["a", "b"]
    ledger.answers.set()
    await delivering


async def test_a_ledger_that_does_not_answer_holds_up_nothing(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = delivery_to(ledger, path)
    ledger.answers.clear()
    delivery.add(usage_row(id="a", status="open", output_tokens=1))
    await delivery.deliver()
    assert delivery.durable
    delivery.add(usage_row(id="a", status="open", output_tokens=2))
    delivery.add(usage_row(id="b"))
    await delivery.deliver()
    assert {w.row.id: w.row.output_tokens for w in Outbox(path).after(0, 9)[0]} == {"a": 2, "b": 49}
    assert not caplog.records  # slow is no fault yet
    ledger.answers.set()
    await delivery.deliver()  # the write that was under way
    await delivery.deliver(now=True)  # and what was put aside meanwhile
    assert {row.id: row.output_tokens for row in ledger.rows.values()} == {"a": 2, "b": 49}
    assert delivery.idle


async def test_the_next_outbox_is_used_where_the_first_cannot_be(
    ledger: Ledger, tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    delivery = delivery_to(ledger, tmp_path / "file" / "outbox.db", path)
    ledger.refuse = True
    delivery.add(usage_row(id="a"))
    await delivery.deliver()
    assert delivery.durable
    assert Outbox(path).count() == 1
    ledger.refuse = False
    await delivery.deliver(now=True)
    assert list(ledger.rows) == ["a"]


async def test_without_any_outbox_rows_wait_in_memory_and_it_is_said_once(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    delivery = delivery_to(ledger, tmp_path / "file" / "outbox.db")
    ledger.refuse = True
    for row_id in "ab":
        delivery.add(usage_row(id=row_id))
        await delivery.deliver(now=True)
        assert not delivery.durable
    ledger.refuse = False
    await delivery.deliver(now=True)
    assert sorted(ledger.rows) == ["a", "b"]
    assert len([r for r in caplog.records if "usage waits in memory, and is" in r.message]) == 1


async def test_memory_is_bounded_and_what_is_dropped_is_said(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "WAITING_ROWS", 10)
    delivery = delivery_to(ledger)
    ledger.refuse = True
    for number in range(25):
        delivery.add(usage_row(id=f"{number:02}"))
        await delivery.deliver(now=True)
    ledger.refuse = False
    await delivery.deliver(now=True)
    assert sorted(ledger.rows) == [f"{number:02}" for number in range(15, 25)]
    assert len([r for r in caplog.records if "drops the oldest usage" in r.message]) == 1


async def test_an_outbox_that_cannot_be_read_holds_up_no_new_rows(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    delivery = delivery_to(ledger, path)
    delivery.add(usage_row(id="a"))
    await delivery.deliver(now=True)
    assert list(ledger.rows) == ["a"]
    assert "cannot be used" in caplog.text
