"""A budget in memory with a clock that stands still, and the ledger that it leases from."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from zoneinfo import ZoneInfo

from livekit_plugins_voicegateway.budgets import Answer, Budget, Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import Budgets
from livekit_plugins_voicegateway.ledger.base import Grant
from livekit_plugins_voicegateway.projects import Project

DOLLAR = 1_000_000_000
NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z
MIDNIGHT = NOON + 12 * 3600
TODAY, TOMORROW = "2027-01-15", "2027-01-16"


class Clock:
    """Unix time that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class OneLedger:
    """Leases of one project, as the real ledger grants them.

    Attributes:
        settled: What is recorded as spent, by everybody.
        leases: What is leased, by day and owner.
        broken: Whether it fails.
        takes_back: Whether leases can be given back.
        asked: How often it was asked for a lease.
    """

    def __init__(self) -> None:
        self.settled = 0
        self.leases: dict[tuple[str, str], int] = {}
        self.broken = False
        self.takes_back = True
        self.asked = 0

    @property
    def leased(self) -> int:
        """What is leased, by everybody."""
        return sum(self.leases.values())

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
        self._answer()
        self.asked += 1
        leased = sum(nanos for (of, _), nanos in self.leases.items() if of == day)
        left = budget_nanos - self.settled - leased
        granted = max(need_nanos, min(want_nanos, left // share))
        if left < granted or granted <= 0:
            return Grant(0, self.settled, leased)
        self.leases[day, owner] = self.leases.get((day, owner), 0) + granted
        return Grant(granted, self.settled, leased + granted)

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        self._answer()
        if not self.takes_back:
            raise OSError("database is locked")
        if self.leases.get((day, owner), 0) <= nanos:
            self.leases.pop((day, owner), None)
        else:
            self.leases[day, owner] -= nanos

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        self._answer()
        return {("prod", day) for day, of in self.leases if of == owner}

    def expire(self, owner: str = "one") -> None:
        """Let the leases of an owner end, as if it had not renewed them in time."""
        self.leases = {key: nanos for key, nanos in self.leases.items() if key[1] != owner}

    def spend(self, nanos: int, owner: str = "one", day: str = TODAY) -> None:
        """Record what a request has cost: it is paid out of its owner's lease."""
        self.settled += nanos
        self.leases[day, owner] = max(0, self.leases.get((day, owner), 0) - nanos)

    def _answer(self) -> None:
        if self.broken:
            raise OSError("disk I/O error")


def project(dollars: str | None = "1.00") -> Project:
    """The project with a budget, or with none."""
    budget = None if dollars is None else Decimal(dollars)
    return Project("prod", daily_budget=budget, budget_action="block")


def budgets_of(clock: Clock, owner: str = "one") -> Budgets:
    """The budgets of one process."""
    return Budgets(Days(ZoneInfo("UTC")), owner, clock=clock)


def budget_of(budgets: Budgets, dollars: str | None = "1.00") -> Budget:
    """The project's budget in a process."""
    budget = budgets.of(project(dollars))
    assert budget is not None
    return budget


def held(found: Hold | Answer) -> Hold:
    """What was admitted."""
    assert isinstance(found, Hold), found
    return found
