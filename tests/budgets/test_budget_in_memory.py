"""A budget in memory: admissions against a slice of the day's money."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from one_ledger import (
    DOLLAR,
    MIDNIGHT,
    TODAY,
    Clock,
    OneLedger,
    budget_of,
    budgets_of,
    held,
)

from livekit_plugins_voicegateway.budgets import (
    ASK_AGAIN_SECONDS,
    IDLE_SECONDS,
    Answer,
)
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import LEASE_SECONDS, Budgets
from livekit_plugins_voicegateway.projects import Project


async def test_a_request_is_admitted_without_asking_once_there_is_a_slice(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    asked = ledger.asked
    held(budget.admit(DOLLAR // 1000))
    assert ledger.asked == asked


async def test_a_burst_that_outruns_the_slice_waits_and_is_then_admitted(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    assert budget.admit(DOLLAR // 2) is Answer.WAIT
    await budgets.exchange(ledger)
    held(budget.admit(DOLLAR // 2))


async def test_a_request_is_refused_only_when_the_ledger_has_said_so(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    assert budget.admit(1) is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(1) is Answer.SPENT


async def test_what_a_request_really_costs_takes_the_place_of_what_it_held(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    hold = held(budget.admit(10_000))
    assert budget.available == before - 10_000
    hold.spend(4_000, TODAY)
    hold.release()
    assert budget.available == before - 4_000


async def test_a_request_dearer_than_it_held_is_counted_in_full(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    hold = held(budget.admit(10_000))
    hold.spend(25_000, TODAY)
    hold.release()
    assert budget.available == before - 25_000


async def test_a_slice_that_nobody_needs_goes_back(clock: Clock, ledger: OneLedger) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    assert ledger.leased > 0
    clock.now += IDLE_SECONDS
    await budgets.exchange(ledger)
    assert ledger.leased == 0
    assert budget.available == 0


async def test_a_process_that_slept_through_its_lease_spends_nothing_of_it(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    clock.now += LEASE_SECONDS + 1
    assert budget.admit(1000) is Answer.WAIT


async def test_a_new_day_begins_with_nothing_spent(clock: Clock, ledger: OneLedger) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000) is Answer.SPENT
    clock.now = MIDNIGHT
    ledger.settled = 0
    assert budget.admit(1000) is Answer.WAIT
    await budgets.exchange(ledger)
    held(budget.admit(1000))


async def test_what_others_give_back_is_found_after_a_while(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.leases[TODAY, "other"] = DOLLAR
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000) is Answer.SPENT
    ledger.leases[TODAY, "other"] = 0
    clock.now += ASK_AGAIN_SECONDS
    await budgets.exchange(ledger)
    held(budget.admit(1000))


async def test_a_budget_of_zero_admits_only_what_is_free(clock: Clock) -> None:
    budget = budget_of(budgets_of(clock), "0")
    held(budget.admit(0))
    assert budget.admit(1) is Answer.SPENT


async def test_a_ledger_that_fails_makes_the_answer_unknown(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.broken = True
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000) is Answer.UNKNOWN


async def test_a_project_without_a_budget_has_none(clock: Clock) -> None:
    assert budgets_of(clock).of(Project("free")) is None


async def test_at_eighty_percent_it_is_said_once(
    clock: Clock, ledger: OneLedger, caplog: pytest.LogCaptureFixture
) -> None:
    near: list[str] = []
    budgets = budgets_of(clock)
    budgets.on_near = lambda budget: near.append(budget.project.id)
    budget = budget_of(budgets)
    ledger.settled = DOLLAR * 8 // 10
    await budgets.exchange(ledger)
    budget.admit(DOLLAR // 20)
    await budgets.exchange(ledger)
    assert near == ["prod"]
    assert len([r for r in caplog.records if "80 %" in r.message]) == 1


@pytest.mark.parametrize(
    ("noon", "hours"),
    [
        (1_806_228_000.0, 23),  # 2027-03-28, clocks go forward
        (1_824_976_800.0, 25),  # 2027-10-31, clocks go back
    ],
)
async def test_a_day_on_which_clocks_change_has_one_budget_from_midnight_to_midnight(
    clock: Clock, ledger: OneLedger, noon: float, hours: int
) -> None:
    clock.now = noon
    days = Days(ZoneInfo("Europe/Berlin"))
    begins, ends = days.bounds(days.day_of(noon))
    assert ends - begins == hours * 3600
    budgets = Budgets(days, "one", clock=clock)
    clock.now = begins
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    day = budget.day
    assert budget.resets_at == ends
    clock.now = ends - 1
    budget.admit(1000)
    assert budget.day == day
    clock.now = ends
    budget.admit(1000)
    assert budget.day != day


async def test_what_is_too_little_for_a_large_request_still_pays_small_ones(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.settled = DOLLAR - 5_000
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    assert budget.admit(1_000_000) is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(1_000_000) is Answer.SPENT
    admitted = 0
    while (answer := budget.admit(1_000)) is not Answer.SPENT:
        admitted += answer is not Answer.WAIT
        await budgets.exchange(ledger)
    assert admitted == 5


async def test_a_spent_budget_stays_spent_while_nobody_makes_requests_until_something_comes_back(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.leases[TODAY, "other"] = DOLLAR
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    for _ in range(3):
        clock.now += IDLE_SECONDS
        assert budget.is_spent
        await budgets.exchange(ledger)
    ledger.leases[TODAY, "other"] = 0
    clock.now += IDLE_SECONDS
    assert budget.is_spent
    await budgets.exchange(ledger)
    assert not budget.is_spent
    assert ledger.leased == 0
