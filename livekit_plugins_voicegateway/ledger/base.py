"""The ledger as the rest of the gateway sees it: what can be written, and what can be asked.

`Ledger` is the interface that each database engine implements. The recorder writes to it, budgets
and reports read from it; none of them knows which engine it is. The small classes here are the
answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from ..metering.usage import Modality, Status, UsageRow
from .monitoring import Monitoring
from .overview import Watching
from .passages import Passages
from .projects import ManagedProjects

__all__ = [
    "STALE_AFTER",
    "CallLatency",
    "CallLine",
    "CostLine",
    "Grant",
    "Grouping",
    "Ledger",
    "Mismatch",
    "Position",
    "RowFilter",
    "Totals",
    "TotalsCheck",
    "TurnLine",
]

STALE_AFTER: Final = 60.0
"""Seconds after which an open row that nobody brought up to date belongs to a process that is gone.

The recorder shows at least every 10 seconds that a row lives. A process that was only suspended
for longer loses nothing: its next version of the row opens it again.
"""

Grouping = Literal["project", "modality", "model", "day"]


@dataclass(frozen=True, slots=True)
class Totals:
    """Requests added up.

    Attributes:
        requests: How many.
        unpriced_requests: How many of them have no known price; they are in no cost.
        audio_seconds: Seconds of audio, exact to the millisecond.
        input_tokens: Prompt tokens, cached ones included.
        cached_input_tokens: Those read from a provider's cache.
        output_tokens: Completion tokens.
        characters: Characters spoken.
        cost_nanos: Nano-dollars; None when no request has a known price.
        estimated_cost_nanos: The part of the cost whose quantities were estimated.
    """

    requests: int = 0
    unpriced_requests: int = 0
    audio_seconds: float = 0.0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    cost_nanos: int | None = None
    estimated_cost_nanos: int = 0

    def __add__(self, other: Totals) -> Totals:
        costs = [cost for cost in (self.cost_nanos, other.cost_nanos) if cost is not None]
        return Totals(
            self.requests + other.requests,
            self.unpriced_requests + other.unpriced_requests,
            round(self.audio_seconds + other.audio_seconds, 3),
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.characters + other.characters,
            sum(costs) if costs else None,
            self.estimated_cost_nanos + other.estimated_cost_nanos,
        )


class CostLine(NamedTuple):
    """Totals of one project, modality, model or day; the other key fields are None.

    A model is known by modality, provider and model together.
    """

    grouping: Grouping
    day: str | None
    project: str | None
    modality: Modality | None
    provider: str | None
    model: str | None
    totals: Totals


class Position(NamedTuple):
    """A place in a list that is sorted newest first: after the item with this time and key.

    Attributes:
        time: When the item began, as `times.to_iso` writes it.
        key: The item's id or room, which decides between items of the same millisecond.
    """

    time: str
    key: str


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which requests are asked for; None leaves a field open."""

    project: str | None = None
    modality: Modality | None = None
    provider: str | None = None
    model: str | None = None
    status: Status | None = None
    room: str | None = None


class CallLine(NamedTuple):
    """What one model did in one call, for one project.

    Attributes:
        room: The call.
        project: Who pays.
        modality: Kind of model.
        provider: Provider of the model.
        model: The model.
        started_at: Unix time of the first request.
        ended_at: Unix time at which the last one ended; None while one is open.
        totals: What was used.
    """

    room: str
    project: str
    modality: Modality
    provider: str
    model: str
    started_at: float
    ended_at: float | None
    totals: Totals


class CallLatency(NamedTuple):
    """How long a call waited for first results of one modality.

    Attributes:
        room: The call.
        modality: Kind of model.
        requests: Requests that had a first result.
        median_ms: Milliseconds.
        max_ms: Milliseconds.
    """

    room: str
    modality: Modality
    requests: int
    median_ms: float
    max_ms: float


class TurnLine(NamedTuple):
    """What one modality did in one turn of a call.

    Attributes:
        speech_id: LiveKit's name for the turn.
        modality: Kind of model.
        started_at: Unix time of the first request.
        ended_at: Unix time at which the last one ended; None while one is open.
        requests: How many.
        unpriced_requests: How many of them have no known price.
        cost_nanos: Nano-dollars; None when no request has a known price.
        input_tokens: Prompt tokens.
        output_tokens: Completion tokens.
        characters: Characters spoken.
        ttfb_ms: Milliseconds to the first result of the fastest request.
        cancelled: Requests that were cut off, by the caller speaking for example.
    """

    speech_id: str
    modality: Modality
    started_at: float
    ended_at: float | None
    requests: int
    unpriced_requests: int
    cost_nanos: int | None
    input_tokens: int
    output_tokens: int
    characters: int
    ttfb_ms: float | None
    cancelled: int


class Mismatch(NamedTuple):
    """A line of totals that is not the sum of its requests.

    Attributes:
        day: Day of the line.
        project: Project of the line.
        modality: Modality of the line.
        provider: Provider of the line.
        model: Model of the line.
        total: What ``usage_daily`` says; zeros when the line is missing.
        sum: What the rows of ``usage`` add up to; zeros when there are none.
    """

    day: str
    project: str
    modality: str
    provider: str
    model: str
    total: Totals
    sum: Totals


class TotalsCheck(NamedTuple):
    """Whether totals equal the sum of the requests.

    Attributes:
        kept_from: First day that was checked, because requests of earlier days have been deleted
            by retention; None when all days were checked.
        requests: Rows of ``usage`` that were added up.
        lines: Lines of ``usage_daily`` that were compared.
        mismatches: Every line that differs.
    """

    kept_from: str | None
    requests: int
    lines: int
    mismatches: list[Mismatch]


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


class Ledger(Passages, Watching, Monitoring, ManagedProjects, ABC):
    """Where usage is kept. Every method raises `LedgerError` when the database fails it.

    A ledger belongs to the event loop and the process that opened it.
    """

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the schema up to date. Opening an open ledger does nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way and disconnect. Closing a closed ledger does nothing."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def write(self, rows: Sequence[UsageRow]) -> None:
        """Write rows and their totals, durably, in one transaction: all of them or none.

        A row is written as often as one likes; the same version twice is the same as once. A row
        that its owner has closed is not opened again by an older version that comes late.

        Args:
            rows: Each complete, in its latest state. The same row may be among them more than once.
        """

    @abstractmethod
    async def close_stale(self, older_than_seconds: float) -> int:
        """Close, as ``cancelled``, the open rows of processes that are gone.

        Args:
            older_than_seconds: Rows that were not written for so long.

        Returns:
            How many rows were closed.
        """

    @abstractmethod
    async def delete_usage_before(self, day: str) -> int:
        """Delete single requests of days before ``day``; their totals stay for ever.

        Open rows stay too, so that none is deleted while its owner still writes it.

        Args:
            day: First day that is kept, ``YYYY-MM-DD``.

        Returns:
            How many rows were deleted.
        """

    async def housekeeping(self, *, retention_days: int, today: str) -> None:
        """Do what whoever opens a ledger for writing owes it: close stale rows, delete old ones,
        old alerts, and the leases of dead processes and past days.

        Args:
            retention_days: Days that single requests are kept, beside today.
            today: The day in the configured zone, ``YYYY-MM-DD``.
        """
        await self.close_stale(STALE_AFTER)
        await self.delete_dead_leases(today)
        first_kept = date.fromisoformat(today) - timedelta(days=retention_days)
        await self.delete_usage_before(first_kept.isoformat())
        await self.delete_alerts_before(first_kept.isoformat())

    @abstractmethod
    async def budget_status(self, project: str, day: str) -> tuple[int, int]:
        """Return what is spent of a day's budget, and what is leased to processes.

        Args:
            project: Whose budget.
            day: ``YYYY-MM-DD``.

        Returns:
            Nano-dollars settled: the cost of all rows. Nano-dollars leased and not spent yet, by
            everybody whose lease has not expired.
        """

    @abstractmethod
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
        """Lease a slice of what is left of a day's budget, so that settled + leased <= budget.

        What the owner's rows cost is taken from its lease as they are written. Money that it has
        spent beyond its lease counts against what it is granted next.

        Args:
            project: Whose budget.
            day: ``YYYY-MM-DD``.
            owner: Id of the process, as in its rows.
            budget_nanos: The day's budget as the process knows it, in nano-dollars.
            need_nanos: The least that is of use to it. Nothing is granted when less is left.
            want_nanos: What it would like to have. 0, with a need of 0, only asks for the status.
            share: It gets at most one ``share``-th of what is left, or what it needs if that is
                more.
            expires_at: Unix time at which its whole lease ends, unless it is renewed before.

        Raises:
            LedgerError: Also when others keep changing what is left faster than this process can
                ask for a part of it; then nothing is known.
        """

    @abstractmethod
    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        """Give back ``nanos`` of a lease; all of it when it is not more than that."""

    @abstractmethod
    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        """Let all leases of ``owner`` that have not expired live on until ``expires_at``.

        One that has expired stays so: what it held may be in somebody else's hands.

        Returns:
            Project and day of each lease that lives on.
        """

    @abstractmethod
    async def delete_dead_leases(self, today: str) -> None:
        """Delete the leases that have expired, and those of days before ``today``."""

    @abstractmethod
    async def costs(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[CostLine]:
        """Add up the totals of some days by project, by modality, by model and by day.

        Args:
            first_day: ``YYYY-MM-DD``.
            last_day: ``YYYY-MM-DD``, inclusive.
            project: Only this project; None for all.
        """

    @abstractmethod
    async def has_project(self, project: str) -> bool:
        """Return whether anything was ever recorded for a project."""

    @abstractmethod
    async def version(self) -> int:
        """Return a number that is another one after anybody else has written anything; cheap."""

    @abstractmethod
    async def rows(
        self, wanted: RowFilter, *, limit: int, before: Position | None = None
    ) -> list[UsageRow]:
        """Return single requests, newest first.

        Args:
            wanted: Which.
            limit: How many at most.
            before: Only those after this place in the list; None from its start.
        """

    @abstractmethod
    async def calls(
        self, project: str | None = None, *, limit: int, before: Position | None = None
    ) -> list[Position]:
        """Return when each call began and its room, newest first.

        Args:
            project: Only calls that this project paid for; None for all.
            limit: How many at most.
            before: Only those after this place in the list; None from its start.
        """

    @abstractmethod
    async def call_lines(self, rooms: Sequence[str], project: str | None = None) -> list[CallLine]:
        """Return what was used in some calls, by project and model.

        Args:
            rooms: Which calls.
            project: Only what this project paid for; None for all.
        """

    @abstractmethod
    async def call_latencies(
        self, rooms: Sequence[str], project: str | None = None
    ) -> list[CallLatency]:
        """Return how long some calls waited for first results; arguments as `call_lines`."""

    @abstractmethod
    async def call_turns(self, room: str) -> list[TurnLine]:
        """Return the turns of one call, in the order in which they began."""

    @abstractmethod
    async def check_totals(self) -> TotalsCheck:
        """Compare every line of totals with the sum of its requests; reads all requests."""
