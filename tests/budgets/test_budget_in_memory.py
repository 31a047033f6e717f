"""A budget in memory: admissions against a slice, and its exchange with a ledger."""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from livekit_plugins_voicegateway.budgets import (
    ASK_AGAIN_SECONDS,
    IDLE_SECONDS,
    LEASE_SECONDS,
    Answer,
    Budgets,
    Grant,
)
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.projects import Project

DOLLAR = 1_000_000_000
NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z
MIDNIGHT = NOON + 12 * 3600


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class OneLedger:
    """Leases of one project and day, as the real ledger grants them."""

    def __init__(self) -> None:
        self.settled = 0
        self.leases: dict[tuple[str, str], int] = {}
        self.broken = False
        self.asked = 0

    async def acquire_lease(
        self,
        project: str,
        day: str,
        owner: str,
        *,
        budget_nanos: int,
        need_nanos: int,
        want_nanos: int,
        share: int,
        expires_at: float,
    ) -> Grant:
        if self.broken:
            raise OSError("disk I/O error")
        self.asked += 1
        leased = sum(nanos for (d, _), nanos in self.leases.items() if d == day)
        left = budget_nanos - self.settled - leased
        granted = min(left, max(need_nanos, min(want_nanos, left // share)))
        if left < need_nanos or granted <= 0:
            granted = 0
        self.leases[day, owner] = self.leases.get((day, owner), 0) + granted
        return Grant(granted, self.settled, leased + granted)

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        self.leases[day, owner] -= nanos

    async def renew_leases(self, owner: str, expires_at: float) -> None:
        if self.broken:
            raise OSError("disk I/O error")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> OneLedger:
    return OneLedger()


def budgets_of(clock: Clock, owner: str = "one") -> Budgets:
    return Budgets(Days(ZoneInfo("UTC")), owner, clock=clock)


def project(dollars: str = "1.00") -> Project:
    return Project("prod", daily_budget=Decimal(dollars), budget_action="block")


async def test_a_request_is_admitted_without_asking_once_there_is_a_slice(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    asked = ledger.asked
    answer, hold = budget.admit(DOLLAR // 1000)
    assert answer is Answer.ADMITTED
    assert hold is not None
    assert ledger.asked == asked


async def test_a_burst_that_outruns_the_slice_waits_and_is_then_admitted(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    answer, _ = budget.admit(DOLLAR // 2)
    assert answer is Answer.WAIT
    await budgets.exchange(ledger)
    answer, _ = budget.admit(DOLLAR // 2)
    assert answer is Answer.ADMITTED


async def test_a_request_is_refused_only_when_the_ledger_has_said_so(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    assert budget.admit(1)[0] is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(1)[0] is Answer.SPENT


async def test_what_a_request_really_costs_takes_the_place_of_what_it_held(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    before = budget.available
    _, hold = budget.admit(10_000)
    assert hold is not None
    assert budget.available == before - 10_000
    hold.spend(4_000)
    hold.release()
    assert budget.available == before - 4_000


async def test_a_request_dearer_than_it_held_is_counted_in_full(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    before = budget.available
    _, hold = budget.admit(10_000)
    assert hold is not None
    hold.spend(25_000)
    hold.release()
    assert budget.available == before - 25_000


async def test_a_slice_that_nobody_needs_goes_back(clock: Clock, ledger: OneLedger) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    assert sum(ledger.leases.values()) > 0
    clock.now += IDLE_SECONDS
    await budgets.exchange(ledger)
    assert sum(ledger.leases.values()) == 0
    assert budget.available == 0


async def test_a_process_that_slept_through_its_lease_spends_nothing_of_it(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    await budgets.exchange(ledger)
    clock.now += LEASE_SECONDS + 1
    assert budget.admit(1000)[0] is Answer.WAIT


async def test_a_new_day_begins_with_nothing_spent(clock: Clock, ledger: OneLedger) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.SPENT
    clock.now = MIDNIGHT
    ledger.settled = 0
    assert budget.admit(1000)[0] is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.ADMITTED


async def test_a_raised_budget_admits_again(clock: Clock, ledger: OneLedger) -> None:
    ledger.settled = DOLLAR
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.is_spent
    budgets.update(project("2.00"))
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.ADMITTED


async def test_what_others_give_back_is_found_after_a_while(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.leases["2027-01-15", "other"] = DOLLAR
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.SPENT
    ledger.leases["2027-01-15", "other"] = 0
    clock.now += ASK_AGAIN_SECONDS
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.ADMITTED


async def test_a_budget_of_zero_admits_only_what_is_free(clock: Clock) -> None:
    budget = budgets_of(clock).of(project("0"))
    assert budget is not None
    assert budget.admit(0)[0] is Answer.ADMITTED
    assert budget.admit(1)[0] is Answer.SPENT


async def test_a_ledger_that_fails_makes_the_answer_unknown(
    clock: Clock, ledger: OneLedger
) -> None:
    ledger.broken = True
    budgets = budgets_of(clock)
    budget = budgets.of(project())
    assert budget is not None
    budget.admit(1000)
    await budgets.exchange(ledger)
    assert budget.admit(1000)[0] is Answer.UNKNOWN


async def test_a_project_without_a_budget_has_none(clock: Clock) -> None:
    assert budgets_of(clock).of(Project("free")) is None


async def test_at_eighty_percent_it_is_said_once(
    clock: Clock, ledger: OneLedger, caplog: pytest.LogCaptureFixture
) -> None:
    near: list[str] = []
    budgets = budgets_of(clock)
    budgets.on_near = lambda project: near.append(project.id)
    budget = budgets.of(project())
    assert budget is not None
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
    budget = budgets.of(project())
    assert budget is not None
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
    budget = budgets.of(project())
    assert budget is not None
    assert budget.admit(1_000_000)[0] is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(1_000_000)[0] is Answer.SPENT
    admitted = 0
    while (answer := budget.admit(1_000)[0]) is not Answer.SPENT:
        admitted += answer is Answer.ADMITTED
        await budgets.exchange(ledger)
    assert admitted == 5


async def test_a_lowered_budget_takes_back_what_was_leased_of_the_old_one(
    clock: Clock, ledger: OneLedger
) -> None:
    budgets = budgets_of(clock)
    budget = budgets.of(project("1.00"))
    assert budget is not None
    await budgets.exchange(ledger)
    assert budget.admit(10_000)[0] is Answer.ADMITTED
    budgets.update(project("0.000015"))
    await budgets.exchange(ledger)
    assert budget.granted <= 15_000
    assert budget.admit(10_000)[0] is Answer.WAIT
    await budgets.exchange(ledger)
    assert budget.admit(10_000)[0] is Answer.SPENT
