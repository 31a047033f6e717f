"""The exchange of leases with the ledger: renewals, what goes back, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from livekit.agents import utils
from one_ledger import (
    DOLLAR,
    MIDNIGHT,
    TODAY,
    Clock,
    OneLedger,
    budget_of,
    budgets_of,
    held,
    project,
)
from support.gateways import gateway_on
from support.machine import PATIENCE

from livekit_plugins_voicegateway.budgets import IDLE_SECONDS, Answer, Budget
from livekit_plugins_voicegateway.leases import RENEW_SECONDS, Budgets
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.sandbox import Sandbox

BUDGET = "projects: {prod: {daily_budget: 5.00, budget_action: block, fallback: none}}\n"


async def answered(budget: Budget) -> None:
    """Wait until the ledger has answered."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    budget.on_answer(lambda: loop.call_soon_threadsafe(event.set))
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def test_a_lease_that_is_renewed_is_spent_on(clock: Clock, ledger: OneLedger) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    for _ in range(5):
        clock.now += RENEW_SECONDS - IDLE_SECONDS + 1
        held(budget.admit(0))
        clock.now += IDLE_SECONDS - 1
        await budgets.exchange(ledger)
        held(budget.admit(1000))


async def test_a_lease_that_ended_before_it_was_renewed_is_not_spent(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    ledger.expire()
    clock.now += RENEW_SECONDS
    budget.admit(0)
    await budgets.exchange(ledger)
    assert budget.available == 0
    assert budget.admit(1000) is Answer.WAIT


async def spend_a_little(budgets: Budgets, clock: Clock, ledger: OneLedger, seconds: int) -> None:
    """Spend a thousand nano-dollars in each second."""
    budget = budget_of(budgets)
    for _ in range(seconds):
        hold = held(budget.admit(1000))
        hold.spend(1000, TODAY)
        hold.release()
        ledger.spend(1000)
        clock.now += 1
        await budgets.exchange(ledger)


async def test_who_has_enough_leases_no_more(clock: Clock, ledger: OneLedger) -> None:
    budgets = budgets_of(clock)
    budget_of(budgets)
    await budgets.exchange(ledger)
    before = ledger.leased
    await spend_a_little(budgets, clock, ledger, 60)
    assert ledger.leased == before - 60_000


async def test_where_others_have_leased_most_what_lasts_long_goes_back(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    ledger.leases[TODAY, "others"] = DOLLAR // 2
    await spend_a_little(budgets, clock, ledger, 30)
    before = ledger.asked
    await spend_a_little(budgets, clock, ledger, 60)
    assert 2_000 <= budget.available <= 40_000, "for some seconds; the first slice was for an hour"
    assert ledger.leases[TODAY, "one"] == budget.available
    assert ledger.asked - before <= 20, "and it does not ask for each request"


async def test_a_fleet_does_not_ask_all_at_once_when_its_budget_is_raised(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    before = ledger.asked
    budgets.changed(project("2.00"))
    await budgets.exchange(ledger)
    assert ledger.asked == before
    held(budget.admit(1000))


async def test_what_could_not_be_given_back_is_given_back_later(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    assert ledger.leased > 0
    ledger.takes_back = False
    clock.now += IDLE_SECONDS
    await budgets.exchange(ledger)
    assert budget.available == 0
    assert ledger.leased > 0
    ledger.takes_back = True
    clock.now += RENEW_SECONDS
    await budgets.exchange(ledger)
    assert ledger.leased == 0


async def test_what_could_not_be_given_back_is_not_taken_from_a_later_lease(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    ledger.takes_back = False
    clock.now += IDLE_SECONDS
    await budgets.exchange(ledger)
    ledger.expire()
    ledger.takes_back = True
    clock.now += RENEW_SECONDS
    budget.admit(1000)
    await budgets.exchange(ledger)
    held(budget.admit(1000))
    assert ledger.leased == budget.available + 1000


async def test_what_could_not_be_given_back_before_midnight_is_not_taken_from_the_new_day(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    clock.now = MIDNIGHT - IDLE_SECONDS - 1
    budget.ask()
    await budgets.exchange(ledger)
    ledger.takes_back = False
    clock.now = MIDNIGHT - 1
    await budgets.exchange(ledger)
    ledger.takes_back = True
    clock.now = MIDNIGHT
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.available == sum(
        nanos for (day, _), nanos in ledger.leases.items() if day != TODAY
    )


async def test_a_ledger_that_is_back_is_asked_though_nobody_makes_a_request(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    ledger.broken = True
    await budgets.exchange(ledger)
    assert budget.admit(1000) is Answer.UNKNOWN
    ledger.broken = False
    clock.now += 1
    await budgets.exchange(ledger)
    held(budget.admit(1000))


async def test_a_slice_is_about_a_second_of_what_the_process_spends(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    request = DOLLAR // 2000
    await budgets.exchange(ledger)
    for _ in range(400):  # 20 a second
        clock.now += 0.05
        if budget.admit(request) is Answer.WAIT:
            await budgets.exchange(ledger)
            held(budget.admit(request))
        await budgets.exchange(ledger)
    assert 8 * request <= budget.available <= 40 * request


async def test_a_process_that_ends_gives_back_what_it_has_leased(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    await budgets.exchange(ledger)
    held(budget.admit(1000))
    await budgets.leave(ledger)
    assert ledger.leased == 0


async def test_a_gateway_that_is_closed_gives_back_what_it_has_leased(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, BUDGET) as gateway:
            budget = gateway.budgets.of(gateway.project("prod"))
            assert budget is not None
            await answered(budget)
            held(budget.admit(1000))
            day = budget.day
            async with make_ledger(gateway.config.database_url, read_only=True) as reader:
                assert (await reader.budget_status("prod", day))[1] > 0
        async with make_ledger(gateway.config.database_url, read_only=True) as reader:
            assert await reader.budget_status("prod", day) == (0, 0)


async def test_who_waits_for_the_ledger_does_not_wait_for_the_recorder(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, BUDGET) as gateway:
            busy, done = threading.Event(), threading.Event()

            def keep_busy() -> None:
                busy.set()
                done.wait(PATIENCE)

            # rows that wait for a lock, or a price that is being looked up
            gateway.recorder.submit(keep_busy)
            await asyncio.to_thread(busy.wait)
            try:
                budget = gateway.budgets.of(gateway.project("prod"))
                assert budget is not None
                while (found := budget.admit(DOLLAR)) is Answer.WAIT:
                    await answered(budget)
                held(found)
            finally:
                done.set()


@pytest.mark.parametrize("dollars", ["2.00", "0.10", None])
async def test_who_waits_learns_that_the_budget_was_changed(
    clock: Clock, dollars: str | None
) -> None:
    budgets = budgets_of(clock)
    budget = budget_of(budgets)
    told = threading.Event()
    budget.on_answer(told.set)
    budgets.changed(project(dollars))
    assert told.is_set()
