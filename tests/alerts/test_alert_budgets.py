"""When a budget's lines are crossed: noticed once, and after the last request too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.budgets import Budget, Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import RENEW_SECONDS, Budgets
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.projects import Project

DOLLAR = 10**9
OWNER = uuid7()


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """What one process knows of a budget of one dollar, and what it has noticed."""

    clock: Clock
    ledger: SqliteLedger

    def __post_init__(self) -> None:
        self.noticed: list[str] = []
        self.budgets = Budgets(Days(ZoneInfo("UTC")), OWNER, clock=self.clock)
        self.budgets.on_near = lambda budget: self.noticed.append("near")
        self.budgets.on_spent = lambda budget: self.noticed.append("spent")
        budget = self.budgets.of(Project("prod", daily_budget=Decimal(1)))
        assert budget is not None
        self.budget: Budget = budget

    async def exchange(self) -> None:
        await self.budgets.exchange(self.ledger)

    async def renew(self) -> None:
        self.clock.now += RENEW_SECONDS
        await self.exchange()

    async def spend(self, nanos: int) -> None:
        hold = self.budget.admit(1)
        assert isinstance(hold, Hold)
        await self.exchange()
        hold.spend(nanos, DAY)
        hold.release()
        await self.ledger.write([usage_row(cost_nanos=nanos, owner=OWNER)])


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    clock = Clock()
    async with SqliteLedger(tmp_path / "voicegw.db", clock=clock) as ledger:
        process = Process(clock, ledger)
        await process.exchange()
        yield process


@pytest.mark.parametrize(
    ("nanos", "noticed"),
    [
        (DOLLAR * 79 // 100, []),
        (DOLLAR * 80 // 100, ["near"]),
        (DOLLAR, ["near", "spent"]),
        (2 * DOLLAR, ["near", "spent"]),
    ],
)
async def test_what_the_last_request_has_crossed_is_noticed_without_another_one(
    process: Process, nanos: int, noticed: list[str]
) -> None:
    await process.spend(nanos)
    await process.renew()
    await process.renew()
    assert process.noticed == noticed


async def test_a_line_is_noticed_once_a_day(process: Process) -> None:
    await process.spend(DOLLAR)
    for _ in range(5):
        process.budget.ask()
        await process.renew()
    assert process.noticed == ["near", "spent"]


async def test_a_raised_budget_has_lines_of_its_own(process: Process) -> None:
    await process.spend(DOLLAR)
    await process.renew()
    process.budgets.changed(Project("prod", daily_budget=Decimal("1.2")))
    await process.exchange()
    assert process.noticed == ["near", "spent", "near"]


async def test_an_idle_process_does_not_ask_the_ledger_for_ever(process: Process) -> None:
    await process.spend(DOLLAR // 10)
    for _ in range(3):
        await process.renew()
    assert not process.budget.asking
    asked_at = process.budgets._asked_at["prod"]
    await process.renew()
    assert process.budgets._asked_at["prod"] == asked_at
