"""A budget that is changed while calls run, and requests that cost other than was expected."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from one_ledger import (
    DOLLAR,
    MIDNIGHT,
    TODAY,
    TOMORROW,
    Clock,
    OneLedger,
    budget_of,
    budgets_of,
    held,
    project,
)

from livekit_plugins_voicegateway.admission import Admission
from livekit_plugins_voicegateway.budgets import Answer, Hold
from livekit_plugins_voicegateway.leases import LEASE_SECONDS


async def test_a_raised_budget_admits_again(clock: Clock, ledger: OneLedger) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.is_spent
    budgets.changed(project("2.00"))
    await budgets.exchange(ledger)
    held(budget.admit(1000))


async def test_a_raised_budget_keeps_its_slice(clock: Clock, ledger: OneLedger) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    budgets.changed(project("2.00"))
    assert budget.available == before


async def test_a_lowered_budget_takes_back_what_was_leased_of_the_old_one(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets, "1.00")
    await budgets.exchange(ledger)
    held(budget.admit(10_000))
    budgets.changed(project("0.000015"))
    await budgets.exchange(ledger)
    assert ledger.leased <= 15_000
    assert budget.admit(10_000) is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(10_000) is Answer.SPENT


async def test_a_budget_that_is_lowered_to_nothing_refuses_at_once(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    budgets.changed(project("0"))
    assert budget.admit(1) is Answer.SPENT


async def test_an_action_that_is_changed_counts_from_the_next_request_and_keeps_the_slice(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    budgets.changed(replace(project(), budget_action="warn"))
    await budgets.exchange(ledger)
    assert budget.available == before
    ledger.settled = DOLLAR
    assert budget.admit(DOLLAR) is Answer.WAIT
    await budgets.exchange(ledger)
    # the application's model object still has the project of before
    verdict = Admission(budgets, "throttle").decide_now(project(), DOLLAR)
    assert verdict.refused is None


async def test_a_budget_that_appears_counts_for_those_who_know_of_none(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    without = project(None)
    assert budgets.of(without) is None
    budgets.changed(project("1.00"))
    budget = budgets.of(without)
    assert budget is not None
    assert budget.admit(1000) is Answer.WAIT
    await budgets.exchange(ledger)
    held(budget.admit(1000))


async def test_a_budget_that_is_taken_away_limits_nobody_and_gives_back_its_lease(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    held(budget.admit(1000))
    budgets.changed(project(None))
    assert budgets.of(project("1.00")) is None
    held(budget.admit(DOLLAR))  # by a request that found the budget a moment before
    await budgets.exchange(ledger)
    assert ledger.leased == 0


async def test_a_budget_that_comes_back_begins_with_what_the_ledger_says(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    running = held(budget.admit(1000))
    budgets.changed(project(None))
    running.spend(DOLLAR // 2, TODAY)
    ledger.spend(DOLLAR // 2)
    running.release()
    await budgets.exchange(ledger)
    budgets.changed(project("0.60"))
    assert budgets.of(project(None)) is budget
    assert budget.admit(1000) is Answer.WAIT
    await budgets.exchange(ledger)
    held(budget.admit(1000))
    assert 0 < budget.available + 1000 <= ledger.leased
    assert ledger.settled + ledger.leased <= 0.6 * DOLLAR


async def test_a_stream_whose_budget_is_taken_away_keeps_what_it_held_until_it_ends(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    stream = held(budget.admit(1000))
    budgets.changed(project(None))
    verdict = Admission(budgets, "throttle").extended(project(), stream, 1000)
    assert verdict.refused is None
    assert verdict.hold is stream


async def test_a_budget_is_changed_while_a_stream_runs_and_the_stream_is_refused(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    stream = held(budget.admit(1000))
    assert isinstance(stream.extend(1000), Hold)
    ledger.spend(2000)
    budgets.changed(replace(project(), daily_budget=Decimal("0.000001")))
    await budgets.exchange(ledger)
    assert stream.extend(1000) is Answer.SPENT


@pytest.mark.parametrize(("estimates", "final"), [((9_000,), 4_000), ((15_000, 12_000), 11_000)])
async def test_a_request_that_turns_out_cheaper_than_was_estimated_is_settled_lower(
    clock: Clock, ledger: OneLedger, estimates: tuple[int, ...], final: int
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    hold = held(budget.admit(10_000))
    for estimate in estimates:
        hold.spend(estimate, TODAY)
        assert budget.available == before - max(10_000, estimate)
    hold.spend(final, TODAY)
    hold.release()
    assert budget.available == before - final
    assert budget.spent == final


async def test_a_cost_that_is_corrected_after_the_end_is_settled_too(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = budget.available
    hold = held(budget.admit(10_000))
    hold.spend(8_000, TODAY)
    hold.release()
    hold.spend(5_000, TODAY)
    assert budget.available == before - 5_000


async def test_what_a_request_held_of_a_lease_that_has_ended_does_not_come_back(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    hold = held(budget.admit(100_000))
    clock.now += LEASE_SECONDS
    ledger.expire()
    budget.admit(1)
    await budgets.exchange(ledger)
    before = budget.available
    hold.spend(2_000, TODAY)
    hold.release()
    assert budget.available == before - 2_000


async def test_a_completion_over_midnight_is_paid_by_the_day_it_began_on(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    clock.now = MIDNIGHT - 1
    budget.admit(1)
    await budgets.exchange(ledger)
    completion = held(budget.admit(10_000))
    stream = held(budget.admit(10_000))
    clock.now = MIDNIGHT + 1
    budget.admit(1)
    await budgets.exchange(ledger)
    assert budget.day == TOMORROW
    before = budget.available
    completion.spend(9_000, TODAY)
    completion.release()
    assert (budget.available, budget.spent) == (before, 0)
    stream.spend(3_000, TOMORROW)  # a stream has a row of its own for the new day
    stream.release()
    assert (budget.available, budget.spent) == (before - 3_000, 3_000)
