"""The budgets of a process, and the leases that it exchanges with the ledger for them.

`Budgets` holds one `Budget` for each project that has one. Its `exchange` asks the ledger for what
they need, keeps leases alive and gives back what nobody needs; `LeaseThread` runs it whenever a
budget asks for it. That is a thread of its own, with its own connection to the ledger: a request
that waits for its answer must not wait for rows that are being written, or for a price that is
being looked up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Protocol

from .background import BackgroundThread
from .budgets import Budget, Wish
from .bugs import report_bug
from .days import Days
from .errors import VoiceGatewayError
from .log import logger
from .money import dollars
from .projects import Project

if TYPE_CHECKING:
    from .ledger.base import Grant

__all__ = ["LEASE_SECONDS", "Budgets", "LeaseLedger", "LeaseThread"]

LEASE_SECONDS = 30.0
"""Life of a lease: what a dead process held comes back after it."""

RENEW_SECONDS = 10.0
"""Seconds between two renewals of a lease; two may fail before it ends."""

SLICE_SHARE = 16
"""A slice is at most this part of what is left, so that slices shrink as the budget does and
little is stranded in the hands of idle processes."""

NEAR = 0.8
"""Share of a budget at which it is logged, and the local fallbacks begin to load."""

ROUND_SECONDS = 1.0
"""Seconds between two looks at leases that nobody asks about."""


class LeaseLedger(Protocol):
    """The ledger's part of the bargain; each method is one transaction. See `Ledger`."""

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

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        """Let all live leases of ``owner`` live on until ``expires_at``; their projects and
        days."""


class OpenLedger(LeaseLedger, Protocol):
    """A ledger that was opened for leases."""

    async def close(self) -> None:
        """Close it."""


class Budgets:
    """The budgets of this process.

    Args:
        days: The calendar of the configured zone.
        owner: Id of this process among those that lease.
        clock: Unix time in seconds.
        wake: Called, from any thread, when `exchange` should run now.

    Attributes:
        on_near: Called when most of a budget is spent, once a day.
        on_spent: Called when the ledger says that nothing is left of one, once a day.
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
        self._lock = threading.Lock()
        self._changed: dict[str, Project] = {}  # what is known better than by those who ask
        self._limited: dict[str, Budget] = {}
        self._all: dict[str, Budget] = {}  # those whose limit was taken away too
        self._asked_at: dict[str, float] = {}
        self._renewed_at = 0.0
        self._spent_before: dict[str, tuple[int, int]] = {}  # at the last two renewals
        self.on_near: Callable[[Budget], None] = lambda _: None
        self.on_spent: Callable[[Budget], None] = lambda _: None

    def of(self, project: Project) -> Budget | None:
        """The budget of a project; None when it has no limit. The first call asks for a slice.

        Args:
            project: As the caller knows it; what `changed` has said since counts more.
        """
        budget = self._limited.get(project.id)
        return budget if budget is not None else self._begin(project)

    def _begin(self, project: Project) -> Budget | None:
        project = self._changed.get(project.id, project)
        if project.daily_budget is None:
            return None
        with self._lock:
            project = self._changed.get(project.id, project)
            if project.daily_budget is None:
                return None
            budget = self._limited.get(project.id)
            if budget is None:
                budget = Budget(project, self._days, clock=self._clock, wake=self._wake)
                self._all[project.id] = self._limited[project.id] = budget
        budget.ask()
        return budget

    def changed(self, project: Project) -> None:
        """A project is this from now on: its budget or action was changed, while calls run.

        Args:
            project: The project as it is now; without a ``daily_budget`` its limit is gone.
        """
        with self._lock:
            self._changed[project.id] = project
            budget = self._all.get(project.id)
            if budget is None:
                return  # nobody has used it yet in this process
            if project.daily_budget is None:
                self._limited.pop(project.id, None)
            else:
                self._limited[project.id] = budget
            budget.changed(project)

    @property
    def active(self) -> bool:
        """Whether there are leases to be kept alive."""
        return bool(self._all)

    async def exchange(self, ledger: LeaseLedger) -> None:
        """Keep leases alive, give back what is not needed, and ask for what is.

        Never raises: a ledger that fails is noted, and ``on_ledger_failure`` decides what becomes
        of requests. What could not be given back is, in the next exchange.
        """
        try:
            now = self._clock()
            budgets = list(self._all.values())
            if budgets and not 0 <= now - self._renewed_at < RENEW_SECONDS:
                await self._renew(budgets, ledger, now)
            for budget in budgets:
                await self._give_back(budget, ledger, now)
            for budget in budgets:
                asked_at = self._asked_at.get(budget.project.id, 0.0)
                wish = budget.wish(asked_at, now)
                if wish is not None:
                    self._asked_at[budget.project.id] = now
                    await self._acquire(budget, wish, ledger, now)
        except Exception as e:
            self.fail(e)

    async def leave(self, ledger: LeaseLedger) -> None:
        """The process ends: give back all that it has leased.

        Raises:
            LedgerError: The ledger fails; the leases end by themselves.
        """
        now = self._clock()
        for budget in list(self._all.values()):
            budget.give_back_all()
            await self._give_back(budget, ledger, now)

    def fail(self, error: BaseException) -> None:
        """The ledger cannot be asked: tell everybody who waits."""
        if isinstance(error, (VoiceGatewayError, OSError)):
            logger.debug("the ledger does not answer for budgets: %s", error)
        else:
            report_bug("ask the ledger for money", error)
        for budget in list(self._all.values()):
            budget.not_answered()

    async def _renew(self, budgets: list[Budget], ledger: LeaseLedger, now: float) -> None:
        ends = now + LEASE_SECONDS
        renewed = await ledger.renew_leases(self._owner, ends)
        self._renewed_at = now
        for budget in budgets:
            budget.renewed({day for project, day in renewed if project == budget.project.id}, ends)
            self._look_after_last_request(budget)

    async def _give_back(self, budget: Budget, ledger: LeaseLedger, now: float) -> None:
        day, nanos = budget.unwanted(now)
        if nanos:
            await ledger.return_lease(budget.project.id, day, self._owner, nanos)
            budget.returned(day, nanos)

    async def _acquire(self, budget: Budget, wish: Wish, ledger: LeaseLedger, now: float) -> None:
        # never below one request: the next one of the usual size should fit as well
        least = wish.comfortable
        grant = await self._ask(budget, wish, least, ledger, now)
        if grant.granted_nanos < least and wish.needed < least:
            least = wish.needed
            grant = await self._ask(budget, wish, least, ledger, now)
        budget.granted_by(grant, day=wish.day, asked_for=least, expires_at=now + LEASE_SECONDS)
        if wish.budget and wish.day == budget.day and wish.budget == budget.limit_nanos:
            self._notice(budget, grant, refused=grant.granted_nanos < least)

    def _notice(self, budget: Budget, grant: Grant, *, refused: bool) -> None:
        """Say once a day that most of a budget is spent, and that all of it is."""
        limit, settled = budget.limit_nanos, grant.settled_nanos
        if settled >= limit * NEAR and not budget.near_logged:
            budget.near_logged = True
            logger.warning(
                "project %r has spent %.0f %% of today's budget of %s",
                budget.project.id,
                100 * settled / limit,
                dollars(limit),
            )
            self.on_near(budget)
        if (refused or settled >= limit) and not budget.spent_noted:
            budget.spent_noted = True
            self.on_spent(budget)

    def _look_after_last_request(self, budget: Budget) -> None:
        """Ask about a budget after its last request, which may have crossed a line.

        Looks twice: the first time, the request's row may not be in the ledger yet.
        """
        before, last = self._spent_before.get(budget.project.id, (0, 0))
        if budget.is_limited and budget.spent != before:
            budget.asking = True
        self._spent_before[budget.project.id] = last, budget.spent

    async def _ask(
        self, budget: Budget, wish: Wish, least: int, ledger: LeaseLedger, now: float
    ) -> Grant:
        return await ledger.acquire_lease(
            budget.project.id,
            wish.day,
            self._owner,
            budget_nanos=wish.budget,
            need_nanos=least,
            want_nanos=wish.wanted,
            share=SLICE_SHARE,
            expires_at=now + LEASE_SECONDS,
        )


class LeaseThread:
    """The thread on which a process exchanges its leases. It begins when it is woken first.

    Args:
        budgets: What is exchanged.
        open_ledger: Opens the ledger, on this thread; tried again when it fails.
    """

    def __init__(self, budgets: Budgets, open_ledger: Callable[[], Awaitable[OpenLedger]]) -> None:
        self._budgets = budgets
        self._open_ledger = open_ledger
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = BackgroundThread("leases", self._main)
        self._ledger: OpenLedger | None = None  # touched on the thread only

    def wake(self) -> None:
        """Do the next exchange now. From any thread."""
        self._wake.set()
        if not self._stopping.is_set():
            self._thread.begin()

    def close(self, timeout: float = 5.0) -> bool:
        """Give back what is leased, close the ledger and end the thread.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the thread has ended in time.
        """
        self._stopping.set()
        self._wake.set()
        return self._thread.join(timeout)

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            try:
                while not self._stopping.is_set():
                    self._wake.wait(ROUND_SECONDS if self._budgets.active else None)
                    self._wake.clear()
                    if not runner.run(self._exchange()):
                        self._stopping.wait(ROUND_SECONDS)  # not one try for each request
                runner.run(self._leave())
            finally:
                # what was opened on this event loop is of no use on another
                runner.run(self._close())

    async def _exchange(self) -> bool:
        if not self._budgets.active:
            return True
        try:
            if self._ledger is None:
                self._ledger = await self._open_ledger()
        except Exception as e:
            self._budgets.fail(e)
            return False
        await self._budgets.exchange(self._ledger)
        return True

    async def _leave(self) -> None:
        if self._ledger is None:
            return
        try:
            await self._budgets.leave(self._ledger)
        except Exception as e:
            logger.debug("the ledger did not take back the leases of this process: %s", e)
            if not isinstance(e, (VoiceGatewayError, OSError)):
                report_bug("give money back to the ledger", e)

    async def _close(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is None:
            return
        try:
            await ledger.close()
        except Exception as e:
            logger.debug("the ledger of leases could not be closed: %s", e)
            if not isinstance(e, (VoiceGatewayError, OSError)):
                report_bug("close the ledger of leases", e)
