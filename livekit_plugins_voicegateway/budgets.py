"""A budget in memory: whether a request may spend, decided against a slice of the day's money.

A process leases slices of what is left of a project's daily budget (`leases`) and admits requests
against its slice without asking anybody. A request holds what it is expected to cost; while it
runs, what it really costs takes the place of what it held. So the day's overspend is at most what
running requests cost beyond what they held, and `overspend` says how much that can be.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from .days import Days
from .pace import Pace
from .projects import Project

if TYPE_CHECKING:
    from .ledger.base import Grant

__all__ = ["Answer", "Budget", "Hold", "Wish"]

IDLE_SECONDS = 5.0
"""Seconds without a request after which a slice that nobody needs goes back."""

ASK_AGAIN_SECONDS = 1.0
"""Seconds after which the ledger is asked again whether something has come back."""

FIRST_SLICE = 256
"""The first slice is this part of the budget, so that a first burst need not wait."""

SMALLEST_SLICE = 1024
"""A later one is at least this part of it."""

_FORGOTTEN = 0.93
"""What is kept, each second, of the largest request seen: half of it after ten seconds."""


class Answer(Enum):
    """Why a budget does not admit a request."""

    WAIT = "wait"
    """The slice is too small; the ledger is being asked."""
    SPENT = "spent"
    """The ledger has said that nothing is left."""
    UNKNOWN = "unknown"
    """The ledger does not answer: ``on_ledger_failure`` decides."""


class Wish(NamedTuple):
    """What a process asks the ledger for; amounts in nano-dollars.

    Attributes:
        day: The day that it is for.
        budget: The day's budget.
        needed: The least that is of use to a request that waits; 0 when none does.
        comfortable: The least with which the next request of the usual size fits as well.
        wanted: What the process would spend until it asks again.
    """

    day: str
    budget: int
    needed: int
    comfortable: int
    wanted: int


class _Lease:
    """Stands for the time in which what is held is covered by the ledger."""

    __slots__ = ("day",)

    def __init__(self, day: str) -> None:
        self.day = day


class Hold:
    """What one request holds of a budget, and has spent of it. Made by `Budget.admit`.

    Attributes:
        expected: What it may cost before it costs more than it held, in nano-dollars.
        spent: What it has cost until now, in nano-dollars.
    """

    __slots__ = ("_budget", "_lease", "expected", "spent")

    def __init__(self, budget: Budget, expected: int) -> None:
        self._budget = budget
        self._lease = budget._lease
        self.expected = expected
        self.spent = 0

    def extend(self, nanos: int) -> Hold | Answer:
        """Hold ``nanos`` more, for a stream's next second.

        Returns:
            The hold itself, or why the budget does not admit it.
        """
        return self._budget._extend(self, nanos)

    def spend(self, total_nanos: int, day: str) -> None:
        """Note what the request has cost until now, in place of what it held for it.

        Args:
            total_nanos: What its row says; less than before when an estimate was too high.
            day: The day of that row. What belongs to another day's budget changes nothing here.
        """
        self._budget._spend(self, total_nanos, day)

    def release(self) -> None:
        """The request is over, and its cost is noted: let go of what it held beyond that."""
        budget = self._budget
        with budget._lock:
            if self._lease is budget._lease and self.expected > self.spent:
                budget.available += self.expected - self.spent
            self.expected = 0


class Budget:
    """One project's budget, as far as this process has leased it. Thread-safe.

    Args:
        project: The project; its ``daily_budget`` may change while calls run.
        days: The calendar of the configured zone.
        clock: Unix time in seconds.
        wake: Called, from any thread, when the ledger should be asked for more.

    Attributes:
        project: The project as it is now.
        day: The day that is being spent.
        available: What this process may still admit without asking, in nano-dollars; below 0 when
            requests have cost more than they held.
        granted: What it has leased today and not given back, in nano-dollars.
        spent: What its requests have cost today, in nano-dollars.
        settled_by_all: What everybody had spent today when the ledger was asked last.
        asking: Whether it waits for the ledger.
        failed: Whether the ledger could not be asked the last time.
        near_logged: Whether it was said that the budget is nearly spent.
        spent_noted: Whether it was noticed that nothing is left of it.
        warned: Whether it was said that it is.
    """

    # `available` is granted - (what requests have spent and still hold), kept as one number: most
    # requests are admitted by one comparison with it and one with the time.

    def __init__(
        self, project: Project, days: Days, *, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self.project = project
        self.asking = False
        self._days = days
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], object]] = []
        self._left_over: list[tuple[str, int]] = []  # of other days: goes back
        self.day, self.available = "", 0
        self._begin_day(clock())

    def _begin_day(self, now: float) -> None:
        if self.available > 0:
            self._left_over.append((self.day, self.available))
        self.day = self._days.day_of(now)
        self._day_begins, self._day_end = self._days.bounds(self.day)
        self.available = 0
        self.granted = 0
        self.spent = 0
        self.settled_by_all = 0
        self.failed = False
        self.near_logged = self.spent_noted = self.warned = False
        self._lease = _Lease(self.day)
        self._lease_ends = 0.0
        self._valid_until = 0.0  # the end of the lease, or of the day if that comes first
        self._ask_below = 0
        self._needed = 0
        self._largest = 0
        self._largest_at = now
        self._pace = Pace(now)
        self._refused_at: float | None = None
        self._refused_from: int | None = None
        self._last_used = now
        self._unwanted = 0

    @property
    def limit_nanos(self) -> int:
        """The day's budget in nano-dollars; 0 when there is none."""
        return self.project.budget_nanos or 0

    @property
    def is_limited(self) -> bool:
        """Whether the project has a budget; it may be taken away while calls run."""
        return self.project.daily_budget is not None

    @property
    def is_spent(self) -> bool:
        """Whether the ledger has said that nothing is left today. Asks it again if so."""
        with self._lock:
            self._turn_day(self._clock())
            spent = self.is_limited and (self._refused_from is not None or not self.limit_nanos)
        if spent:
            self.ask()
        return spent

    @property
    def resets_at(self) -> float:
        """Unix time at which the next day begins."""
        return self._day_end

    @property
    def spent_by_all(self) -> int:
        """What everybody has spent today as far as this process knows, in nano-dollars."""
        return max(self.settled_by_all, self.spent)

    def admit(self, nanos: int) -> Hold | Answer:
        """Ask to spend ``nanos``; decided in memory.

        Args:
            nanos: What the request is expected to cost; a free one is always admitted.

        Returns:
            What the request holds when it is admitted, else why it is not.
        """
        with self._lock:
            now = self._clock()
            left = self.available - nanos
            if left >= 0 and self._day_begins <= now < self._valid_until:
                self.available = left
                self._last_used = now
                if nanos > self._largest:
                    self._note_largest(nanos)
                found: Hold | Answer = Hold(self, nanos)
            else:
                found = self._take(nanos, now) or Hold(self, nanos)
                left = -1
        # the slice is asked for again before it is used up: at half of it
        if left < self._ask_below and not self.asking:
            self.ask()
        return found

    def untaken(self) -> Hold:
        """A hold of nothing, for a request that goes on without having been admitted: what it
        costs still counts."""
        return Hold(self, 0)

    def _extend(self, hold: Hold, nanos: int) -> Hold | Answer:
        with self._lock:
            now = self._clock()
            answer = self._take(nanos, now)
            if answer is None:
                self._roll(hold, self.day)
                hold.expected = max(hold.expected, hold.spent) + nanos
            low = answer is not None or self.available < self._ask_below
        if low:
            self.ask()
        return hold if answer is None else answer

    def _take(self, nanos: int, now: float) -> Answer | None:
        """Take ``nanos`` out of what is available, or say why not."""
        self._turn_day(now)
        if self._lease_ends and now >= self._lease_ends:
            # the process slept through the life of its lease: the money may be somebody else's
            self._lose_lease()
        self._last_used = now
        if nanos > self._largest:
            self._note_largest(nanos)
        if nanos <= 0 or not self.is_limited:
            self.available -= nanos
            return None
        if self.available >= nanos:
            self.available -= nanos
            return None
        if self.limit_nanos == 0:
            return Answer.SPENT
        if self._refused_from is not None:
            if nanos >= self._refused_from:
                return Answer.SPENT
            self._needed = 0  # a smaller request than those that were refused may still fit
        self._needed = max(self._needed, nanos)
        return Answer.UNKNOWN if self.failed else Answer.WAIT

    def _note_largest(self, nanos: int) -> None:
        self._largest = nanos
        self._ask_below = max(self._ask_below, nanos)

    def _turn_day(self, now: float) -> None:
        if not self._day_begins <= now < self._day_end:
            self._begin_day(now)  # or the one before: a clock may be set back over midnight
        if now < self._last_used:  # the clock was set back: nothing is later than now
            self._last_used, self._largest_at = now, min(self._largest_at, now)

    def _lose_lease(self) -> None:
        if self.available > 0:
            self.granted -= self.available
            self.available = 0
        self._unwanted = 0
        self._lease = _Lease(self.day)
        self._lease_ends = self._valid_until = 0.0

    def _roll(self, hold: Hold, day: str) -> bool:
        """Bring a hold of an earlier lease up to date; False when ``day`` is not this one."""
        if day != self.day:
            return False
        if hold._lease is not self._lease:
            if hold._lease.day != day:
                hold.spent = 0
            hold.expected = hold.spent  # what it held beyond is covered by nothing any more
            hold._lease = self._lease
        return True

    def _spend(self, hold: Hold, total_nanos: int, day: str) -> None:
        with self._lock:
            if day != self.day:
                self._turn_day(self._clock())
            if self._roll(hold, day):
                before = max(hold.expected, hold.spent)
                self.spent += total_nanos - hold.spent
                hold.spent = total_nanos
                self.available -= max(hold.expected, total_nanos) - before

    # what the ledger says

    def ask(self) -> None:
        """Have the ledger asked for a slice."""
        if not self.asking:
            self.asking = True
            self._wake()

    def on_answer(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, on another thread, when the ledger has answered."""
        with self._lock:
            self._waiters.append(callback)
        self.ask()

    def _answered(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody waits
                waiter()

    def wish(self, asked_at: float, now: float) -> Wish | None:
        """What the ledger should be asked for now; None when it need not be.

        Args:
            asked_at: Unix time at which it was asked last.
            now: Unix time.
        """
        with self._lock:
            if not self.asking or not self.is_limited:
                return None
            self._turn_day(now)
            smaller = self._refused_from is not None and 0 < self._needed < self._refused_from
            patient = (self._refused_at is not None or self.failed) and not smaller
            if patient and 0 <= now - asked_at < ASK_AGAIN_SECONDS:
                # what others give back is worth another try, but not one for each request
                return None
            self.asking = False
            needed = max(0, self._needed - self.available)
            comfortable = max(needed, self._largest - self.available, 0)
            limit = self.limit_nanos
            enough = self.granted and not needed and self.available >= self._ask_below
            if enough or now - self._last_used >= IDLE_SECONDS:
                return Wish(self.day, limit, 0, 0, 0)  # only what the ledger says
            usual = self._pace.usual or limit // (SMALLEST_SLICE if self.granted else FIRST_SLICE)
            wanted = max(comfortable, usual, self._pace.slice(now, self.granted - self.available))
            return Wish(self.day, limit, needed, comfortable, wanted)

    def granted_by(self, grant: Grant, *, day: str, asked_for: int, expires_at: float) -> None:
        """The ledger has answered.

        Args:
            grant: The answer.
            day: The day that was asked about; an answer about yesterday says nothing of today.
            asked_for: What was needed at least; less than that is a refusal.
            expires_at: Unix time at which the lease ends.
        """
        with self._lock:
            if day == self.day:
                self._count_in(grant, asked_for, expires_at)
        self._answered()

    def _count_in(self, grant: Grant, asked_for: int, expires_at: float) -> None:
        now = self._clock()
        if self._lease_ends and now >= self._lease_ends:
            self._lose_lease()  # it may have ended before the ledger added to it
        self.failed = False
        self.granted += grant.granted_nanos
        self.available += grant.granted_nanos
        self.settled_by_all = grant.settled_nanos
        if grant.granted_nanos:
            self._live_until(expires_at)
        elif (lately := self._pace.lately(now, self.granted - self.available)) is not None:
            self._trim(grant, lately)
        self._ask_below = max(self._largest, self.available // 2)
        limit = self.limit_nanos
        left = limit - grant.settled_nanos - grant.leased_nanos + self.available
        if grant.granted_nanos < asked_for or grant.settled_nanos >= limit:
            self._refused_at = now
            refused = 1 if grant.settled_nanos >= limit else max(1, self.available + asked_for)
            self._refused_from = min(refused, self._refused_from or refused)
        elif asked_for or left >= (self._refused_from or 0):
            self._refused_at = self._refused_from = None
            self._needed = 0

    def _trim(self, grant: Grant, lately: int) -> None:
        """Let go of what lasts much longer than until the next slice; others may want it."""
        limit = self.limit_nanos
        crowded = 2 * grant.leased_nanos > limit - grant.settled_nanos
        keep = 2 * max(lately, self._largest, 0 if crowded else limit // SMALLEST_SLICE)
        self._pace.usual = keep if crowded else 0
        if self.available > 2 * keep:
            self._give_back(keep)

    def _live_until(self, expires_at: float) -> None:
        self._lease_ends = expires_at
        self._valid_until = min(expires_at, self._day_end)

    def renewed(self, days: set[str], expires_at: float) -> None:
        """The ledger has prolonged what leases were still alive.

        Args:
            days: The days for which there was one. Without one for today, nothing is left of what
                was leased: it ended before it was renewed, and may be somebody else's.
            expires_at: Unix time at which they end now.
        """
        with self._lock:
            if self.day in days:
                self._live_until(expires_at)
            else:
                self._lose_lease()

    def not_answered(self) -> None:
        """The ledger could not be asked."""
        with self._lock:
            self.asking = self.failed = True  # it is asked again, without anybody's request
        self._answered()

    def changed(self, project: Project) -> None:
        """The project is this from now on: with another budget, with none, or otherwise changed.

        When the budget is another, what the ledger said of the old one is out of date. A slice of
        a larger budget would be spent beyond a lowered one, so it goes back.
        """
        with self._lock:
            before, self.project = self.project, project
            if before.daily_budget == project.daily_budget:
                return
            if not self.is_limited or before.daily_budget is None:
                self._give_back_all()
            elif self.limit_nanos < (before.budget_nanos or 0):
                self._give_back()
            self._refused_at = self._refused_from = None
            self.near_logged = self.spent_noted = self.warned = False
        if self.available <= self._ask_below:  # not all of a fleet at once, whose budget is raised
            self.ask()
        self._answered()

    def give_back_all(self) -> None:
        """The process ends: whatever it has leased goes back."""
        with self._lock:
            self._give_back_all()

    def _give_back_all(self) -> None:
        # with what running requests hold: the ledger has no more of this process than was granted
        unwanted = self._unwanted + self.granted
        self._lose_lease()
        self.granted = self.available = 0
        self._pace = Pace(self._clock())
        self._unwanted = unwanted

    def _give_back(self, keep: int = 0) -> None:
        if self.available > keep:
            self._unwanted += self.available - keep
            self.granted -= self.available - keep
            self.available = keep

    def unwanted(self, now: float) -> tuple[str, int]:
        """What is to go back to the ledger, and of which day: nobody has needed it for a while, or
        nobody may. Tells the same until `returned` is called, or the lease has ended."""
        with self._lock:
            self._turn_day(now)
            if now - self._largest_at >= 1.0:
                self._largest = round(self._largest * _FORGOTTEN ** (now - self._largest_at))
                self._largest_at = now
            if now - self._last_used >= IDLE_SECONDS:
                self._give_back()
            return self._left_over[0] if self._left_over else (self.day, self._unwanted)

    def returned(self, day: str, nanos: int) -> None:
        """The ledger has taken back ``nanos`` of a day."""
        with self._lock:
            if (day, nanos) in self._left_over:
                self._left_over.remove((day, nanos))
            elif day == self.day:
                self._unwanted = max(0, self._unwanted - nanos)
