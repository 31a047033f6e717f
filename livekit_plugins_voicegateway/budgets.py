"""Budgets: whether a request may spend, decided in memory against a slice of the day's money.

A process leases slices of what is left of a project's daily budget from the ledger, admits
requests against its slice without asking anybody, and leases more in the background before the
slice is used up. `Budget` is the slice in memory; `Budgets` holds one for each project with a
budget, and exchanges them with the ledger on the recorder's thread.

A request holds what it is expected to cost; while it runs, what it really costs takes the place
of what it held. So the day's overspend is at most what running requests cost beyond what they
held, and `overspend` says how much that can be.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .days import Days
from .log import logger
from .metering.usage import NANOS_PER_DOLLAR
from .projects import Project

__all__ = [
    "Answer",
    "Budget",
    "Budgets",
    "Grant",
    "Hold",
    "LeaseLedger",
    "dollars",
]

LEASE_SECONDS = 30.0
"""Life of a lease: what a dead process held comes back after it."""

RENEW_SECONDS = 10.0
"""Seconds between two renewals of a lease; three may fail before it ends."""

IDLE_SECONDS = 5.0
"""Seconds without a request after which a slice that nobody needs goes back."""

ASK_AGAIN_SECONDS = 1.0
"""Seconds after which the ledger is asked again whether something has come back."""

SLICE_SHARE = 16
"""A slice is at most this part of what is left, so that slices shrink as the budget does and
little is stranded in the hands of idle processes."""

NEAR = 0.8
"""Share of a budget at which it is logged, and the local fallbacks begin to load."""


def dollars(nanos: int) -> str:
    """An amount for people: cents, or as many digits as a small one needs."""
    amount = nanos / NANOS_PER_DOLLAR
    return f"${amount:.2f}" if amount == 0 or abs(amount) >= 0.01 else f"${amount:.6f}"


class Answer(Enum):
    """What a budget says to a request."""

    ADMITTED = "admitted"
    WAIT = "wait"
    """The slice is too small; the ledger is being asked."""
    SPENT = "spent"
    """The ledger has said that nothing is left."""
    UNKNOWN = "unknown"
    """The ledger does not answer: ``on_ledger_failure`` decides."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The ledger's answer to a process that asks for money.

    Attributes:
        granted_nanos: What this process may spend in addition to what it has.
        settled_nanos: What is recorded as spent for this project and day, by everybody.
        leased_nanos: What is leased now and not spent yet, by everybody, this grant included.
    """

    granted_nanos: int
    settled_nanos: int
    leased_nanos: int


class LeaseLedger(Protocol):
    """The ledger's part of the bargain; each method is one transaction."""

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
        """Lease up to ``want_nanos``: at most a ``share``-th of what is left, or ``need_nanos``
        if that is more, never more than is left. Grants 0 when less than ``need_nanos`` is left.
        """

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        """Give back ``nanos`` of a lease."""

    async def renew_leases(self, owner: str, expires_at: float) -> None:
        """Let all leases of ``owner`` live on until ``expires_at``."""


class Hold:
    """What one request holds of a budget, and has spent of it. Made by `Budget.admit`."""

    __slots__ = ("_budget", "day", "held", "spent")

    def __init__(self, budget: Budget, held: int) -> None:
        self._budget = budget
        self.day = budget.day
        self.held = held
        self.spent = 0

    def roll(self) -> None:
        """Begin anew when the budget's day has: what was held belonged to yesterday's slice."""
        if self.day != self._budget.day:
            self.day, self.held, self.spent = self._budget.day, 0, 0

    def extend(self, nanos: int) -> Answer:
        """Hold ``nanos`` more, for a stream's next second."""
        return self._budget._extend(self, nanos)

    def spend(self, total_nanos: int) -> None:
        """Note what the request has cost until now, in place of what it held for it."""
        self._budget._spend(self, total_nanos)

    def release(self) -> None:
        """The request is over, and its cost is noted: let go of what it held beyond that."""
        self._budget._release(self)


class Budget:
    """One project's budget of one day, as far as this process has leased it. Thread-safe.

    Args:
        project: The project; its ``daily_budget`` may change while calls run.
        days: The calendar of the configured zone.
        clock: Unix time in seconds.
        ask: Called, from any thread and at most once until answered, when the ledger must be
            asked for more.
    """

    def __init__(
        self, project: Project, days: Days, *, clock: Callable[[], float], ask: Callable[[], None]
    ) -> None:
        self.project = project
        self._days = days
        self._clock = clock
        self._ask = ask
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], object]] = []
        self._begin_day(clock())

    def _begin_day(self, now: float) -> None:
        self.day = self._days.day_of(now)
        self._day_end = self._days.bounds(self.day)[1]
        self.granted = 0
        self.slice = 0
        self.spent = 0
        self.held = 0
        self.needed = 0
        self.lease_ends = 0.0
        self.refused_at: float | None = None
        self.refused_from: int | None = None
        self.failed = False
        self.settled_by_all = 0
        self.last_used = now
        self.typical = 0
        self.near_logged = False
        self.warned = False
        self.not_wanted = 0

    @property
    def limit_nanos(self) -> int:
        """The day's budget in nano-dollars."""
        return self.project.budget_nanos or 0

    @property
    def available(self) -> int:
        """What this process may still admit without asking, in nano-dollars."""
        return self.granted - self.spent - self.held

    @property
    def is_spent(self) -> bool:
        """Whether the ledger has said that nothing is left today."""
        with self._lock:
            now = self._clock()
            if now >= self._day_end:
                self._begin_day(now)
            return self.refused_from is not None or self.limit_nanos == 0

    @property
    def resets_at(self) -> float:
        """Unix time at which the next day begins."""
        return self._day_end

    @property
    def spent_by_all(self) -> int:
        """What everybody has spent today as far as this process knows, in nano-dollars."""
        return max(self.settled_by_all, self.spent)

    def admit(self, nanos: int) -> tuple[Answer, Hold | None]:
        """Ask to spend ``nanos``; decided in memory.

        Args:
            nanos: What the request is expected to cost; a free one is always admitted.

        Returns:
            The answer, and what the request holds when it is admitted.
        """
        with self._lock:
            now = self._clock()
            if now >= self._day_end:
                self._begin_day(now)
            self.last_used = now
            self.typical = max(nanos, self.typical - self.typical // 8)
            answer = self._take(nanos, now)
            hold = Hold(self, nanos) if answer is Answer.ADMITTED else None
        self._ask_if_needed(answer)
        return answer, hold

    def untaken(self) -> Hold:
        """A hold of nothing, for a request that goes on without having been admitted: what it
        costs still counts."""
        return Hold(self, 0)

    def _extend(self, hold: Hold, nanos: int) -> Answer:
        with self._lock:
            now = self._clock()
            if now >= self._day_end:
                self._begin_day(now)
            self.last_used = now
            self.typical = max(nanos, self.typical - self.typical // 8)
            hold.roll()
            answer = self._take(nanos, now)
            if answer is Answer.ADMITTED:
                hold.held += nanos
        self._ask_if_needed(answer)
        return answer

    def _take(self, nanos: int, now: float) -> Answer:
        if nanos <= 0:
            return Answer.ADMITTED
        if self.granted and now >= self.lease_ends:
            # the process slept through the life of its lease: the money may be somebody else's
            self.granted = self.spent + self.held
        if self.available >= nanos:
            self.held += nanos
            return Answer.ADMITTED
        if self.limit_nanos == 0:
            return Answer.SPENT
        if self.refused_from is not None:
            if nanos >= self.refused_from:
                return Answer.SPENT
            self.needed = 0  # a smaller request than those that were refused may still fit
        self.needed = max(self.needed, nanos)
        return Answer.UNKNOWN if self.failed else Answer.WAIT

    def _ask_if_needed(self, answer: Answer) -> None:
        # the slice is asked for again before it is used up: at half of it
        if answer is not Answer.ADMITTED or self.available < max(self.typical, self.slice // 2):
            self._ask()

    def _spend(self, hold: Hold, total_nanos: int) -> None:
        with self._lock:
            hold.roll()
            more = total_nanos - hold.spent
            if more <= 0:
                return
            freed = min(hold.held, more)
            hold.held -= freed
            hold.spent = total_nanos
            self.held = max(0, self.held - freed)
            self.spent += more

    def _release(self, hold: Hold) -> None:
        with self._lock:
            hold.roll()
            self.held = max(0, self.held - hold.held)
            hold.held = 0

    def on_answer(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, on the recorder's thread, when the ledger has answered."""
        with self._lock:
            self._waiters.append(callback)
        self._ask()

    def _answered(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody waits
                waiter()

    def granted_by(self, grant: Grant, *, day: str, asked_for: int, expires_at: float) -> None:
        """The ledger has answered.

        Args:
            grant: The answer.
            day: The day that was asked about; an answer about yesterday says nothing of today.
            asked_for: What was needed at least; less than that is a refusal.
            expires_at: Unix time at which the lease ends.
        """
        with self._lock:
            if day != self.day:
                return
            self.failed = False
            self.granted += grant.granted_nanos
            self.slice = self.available
            self.settled_by_all = grant.settled_nanos
            self.lease_ends = expires_at
            if grant.granted_nanos < asked_for or grant.settled_nanos >= self.limit_nanos:
                self.refused_at = self._clock()
                refused = max(1, self.available + asked_for)
                if grant.settled_nanos >= self.limit_nanos:
                    refused = 1
                self.refused_from = min(refused, self.refused_from or refused)
            else:
                self.refused_at = self.refused_from = None
                self.needed = 0
        self._answered()

    def renewed_until(self, expires_at: float) -> None:
        """The ledger has prolonged the lease."""
        with self._lock:
            self.lease_ends = expires_at

    def changed(self, project: Project) -> None:
        """The project has another budget from now on: what the ledger said is out of date.

        A slice of a larger budget would be spent beyond a lowered one, so it goes back.
        """
        with self._lock:
            if (project.budget_nanos or 0) < self.limit_nanos and self.available > 0:
                self.not_wanted += self.available
                self.granted -= self.available
            self.project = project
            self.refused_at = self.refused_from = None
            self.near_logged = False
            # what is leased was a slice of the old budget: it goes back, and is asked for anew
            unused = max(0, self.available)
            self.not_wanted += unused
            self.granted -= unused
        self._ask()

    def not_answered(self) -> None:
        """The ledger could not be asked."""
        with self._lock:
            self.failed = True
        self._answered()

    def surplus(self, now: float) -> int:
        """What goes back to the ledger: nobody has needed it for a while, or nobody may."""
        with self._lock:
            surplus, self.not_wanted = self.not_wanted, 0
            if self.granted and now - self.last_used >= IDLE_SECONDS and self.available > 0:
                surplus += self.available
                self.granted -= self.available
            return surplus


class Budgets:
    """The budgets of this process, and their exchange with the ledger.

    Args:
        days: The calendar of the configured zone.
        owner: Id of this process among those that lease.
        clock: Unix time in seconds.
        wake: Called, from any thread, when `exchange` should run now.
    """

    def __init__(
        self,
        days: Days,
        owner: str,
        *,
        clock: Callable[[], float] = time.time,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._days = days
        self._owner = owner
        self._clock = clock
        self._wake = wake
        self._budgets: dict[str, Budget] = {}
        self._lock = threading.Lock()
        self._asking: set[str] = set()
        self._asked_at: dict[str, float] = {}
        self._renewed_at = 0.0
        self.on_near: Callable[[Project], None] = lambda _: None

    def of(self, project: Project) -> Budget | None:
        """The budget of a project; None when it has no limit. The first call asks for a slice."""
        if project.daily_budget is None:
            return None
        budget = self._budgets.get(project.id)
        if budget is None:
            with self._lock:
                budget = self._budgets.get(project.id)
                if budget is None:
                    budget = Budget(
                        project, self._days, clock=self._clock, ask=self._asker(project.id)
                    )
                    self._budgets[project.id] = budget
            self._asker(project.id)()
        return budget

    def update(self, project: Project) -> None:
        """A project was changed while calls run."""
        budget = self._budgets.get(project.id)
        if budget is None:
            return
        if project.daily_budget is None:
            del self._budgets[project.id]  # its lease ends by itself
        else:
            budget.changed(project)

    @property
    def active(self) -> bool:
        """Whether there are leases to be kept alive."""
        return bool(self._budgets)

    async def exchange(self, ledger: LeaseLedger) -> None:
        """Ask for what is needed, keep leases alive, give back what is not needed.

        Runs on the recorder's thread. Never raises: a ledger that fails is noted, and
        ``on_ledger_failure`` decides what becomes of requests.
        """
        now = self._clock()
        try:
            if now - self._renewed_at >= RENEW_SECONDS and self._budgets:
                ends = now + LEASE_SECONDS
                await ledger.renew_leases(self._owner, ends)
                self._renewed_at = now
                for budget in self._budgets.values():
                    budget.renewed_until(ends)
            for budget in list(self._budgets.values()):
                surplus = budget.surplus(now)
                if surplus:
                    await ledger.return_lease(budget.project.id, budget.day, self._owner, surplus)
                if self._should_ask(budget, now):
                    await self._acquire(budget, ledger, now)
        except Exception as e:
            self.fail(e)

    def fail(self, error: BaseException) -> None:
        """The ledger cannot be asked: tell everybody who waits."""
        logger.debug("the ledger does not answer for budgets: %s", error)
        for budget in list(self._budgets.values()):
            self._asking.discard(budget.project.id)
            budget.not_answered()

    def _asker(self, project_id: str) -> Callable[[], None]:
        def ask() -> None:
            if project_id not in self._asking:
                self._asking.add(project_id)
                self._wake()

        return ask

    def _should_ask(self, budget: Budget, now: float) -> bool:
        project_id = budget.project.id
        asked_at = self._asked_at.get(project_id, 0.0)
        if project_id not in self._asking:
            return False
        smaller = budget.refused_from is not None and 0 < budget.needed < budget.refused_from
        if (budget.refused_at is not None or budget.failed) and not smaller:
            # what others give back is worth another try, but not one for each request
            return now - asked_at >= ASK_AGAIN_SECONDS
        return True

    async def _acquire(self, budget: Budget, ledger: LeaseLedger, now: float) -> None:
        project_id = budget.project.id
        self._asking.discard(project_id)
        self._asked_at[project_id] = now
        day = budget.day
        available = budget.available  # less than nothing where a request cost more than it held
        # never below one request: the next one of the usual size should fit as well
        need = max(0, max(budget.needed, budget.typical) - available)
        grant = await self._ask(budget, ledger, need, now)
        if grant.granted_nanos < need and budget.needed < budget.typical:
            need = max(0, budget.needed - available)
            grant = await self._ask(budget, ledger, need, now)
        budget.granted_by(grant, day=day, asked_for=need, expires_at=now + LEASE_SECONDS)
        limit = budget.limit_nanos
        if limit and not budget.near_logged and grant.settled_nanos >= limit * NEAR:
            budget.near_logged = True
            logger.warning(
                "project %r has spent %.0f %% of today's budget of %s",
                project_id,
                100 * grant.settled_nanos / limit,
                dollars(limit),
            )
            self.on_near(budget.project)

    async def _ask(self, budget: Budget, ledger: LeaseLedger, need: int, now: float) -> Grant:
        return await ledger.acquire_lease(
            budget.project.id,
            budget.day,
            self._owner,
            budget_nanos=budget.limit_nanos,
            need_nanos=need,
            want_nanos=max(2 * need, budget.limit_nanos // SLICE_SHARE),
            share=SLICE_SHARE,
            expires_at=now + LEASE_SECONDS,
        )
