"""A clock that is set back or forward: no day costs more than its budget, no money is stranded."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from faulting.clock import HOUR, spend_with_steps

from livekit_plugins_voicegateway.budgets import Answer, Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import LEASE_SECONDS, RENEW_SECONDS, Budgets
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.projects import Project
from livekit_plugins_voicegateway.times import from_iso

DOLLAR = 1_000_000_000
PROJECT = Project("prod", daily_budget=Decimal(1), budget_action="block")
FIRST_SECOND = "2027-01-16T00:00:01Z"


class Clock:
    def __init__(self, now: str) -> None:
        self.now = from_iso(now)

    def __call__(self) -> float:
        return self.now


def budgets_of(clock: Clock, owner: str) -> Budgets:
    return Budgets(Days(ZoneInfo("UTC")), owner, clock=clock)


@pytest.mark.parametrize("seed", range(3))
async def test_no_day_costs_more_than_its_budget_though_the_clock_is_set(
    seed: int, tmp_path: Path
) -> None:
    assert await spend_with_steps(seed, tmp_path) == (0, 0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
async def test_no_day_costs_more_than_its_budget_in_a_hundred_runs(tmp_path: Path) -> None:
    for seed in range(100):
        assert await spend_with_steps(seed, tmp_path) == (0, 0), seed


async def test_what_a_dead_process_held_comes_back_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    clock = Clock("2027-01-15T12:00:00Z")
    async with make_ledger(f"sqlite:///{tmp_path}/voicegw.db", clock=clock) as ledger:
        dead, alive = budgets_of(clock, "dead"), budgets_of(clock, "alive")
        for budgets in (dead, alive):
            assert budgets.of(PROJECT) is not None
            await budgets.exchange(ledger)
        clock.now -= HOUR
        for _ in range(int(LEASE_SECONDS + RENEW_SECONDS) + 1):
            clock.now += 1.0
            await alive.exchange(ledger)
        budget = alive.of(PROJECT)
        assert budget is not None
        _, leased = await ledger.budget_status("prod", "2027-01-15")
        assert leased == budget.granted


async def test_a_clock_set_back_over_midnight_spends_the_day_that_it_shows(tmp_path: Path) -> None:
    clock = Clock(FIRST_SECOND)
    async with make_ledger(f"sqlite:///{tmp_path}/voicegw.db", clock=clock) as ledger:
        budgets = budgets_of(clock, "one")
        budget = budgets.of(PROJECT)
        assert budget is not None
        await budgets.exchange(ledger)
        assert isinstance(budget.admit(1), Hold)
        clock.now -= HOUR
        assert budget.admit(1) is Answer.WAIT  # nothing is leased of that day
        await budgets.exchange(ledger)
        assert isinstance(budget.admit(1), Hold)
        assert (await ledger.budget_status("prod", "2027-01-16"))[1] <= 1  # what the first holds


async def test_a_ledger_that_failed_is_asked_again_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    clock = Clock("2027-01-15T12:00:00Z")
    async with make_ledger(f"sqlite:///{tmp_path}/voicegw.db", clock=clock) as ledger:
        budgets = budgets_of(clock, "one")
        budget = budgets.of(PROJECT)
        assert budget is not None
        await budgets.exchange(ledger)
        budgets.fail(OSError("disk I/O error"))
        assert budget.admit(DOLLAR // 2) is Answer.UNKNOWN
        clock.now -= HOUR
        await budgets.exchange(ledger)
        assert not budget.failed
        assert isinstance(budget.admit(DOLLAR // 2), Hold)
