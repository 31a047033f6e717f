"""What the ledger answers to those who watch it: spend by day, what runs, how fast, what for.

`Ledger` has the methods of `Watching` beside those that reports ask; `overview` makes answers of
the lines. None of them takes longer because there are more requests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from ..metering.usage import Modality

if TYPE_CHECKING:
    from ..metering.usage import UsageRow
    from .base import Totals

__all__ = ["ChargeLine", "DayLine", "LatencyLine", "LiveLine", "Watching"]


class DayLine(NamedTuple):
    """Totals of one project on one day."""

    day: str
    project: str
    totals: Totals


class LiveLine(NamedTuple):
    """How many requests of one kind run now.

    Attributes:
        project: Who pays.
        modality: Kind of model.
        requests: How many.
    """

    project: str
    modality: Modality
    requests: int


class LatencyLine(NamedTuple):
    """How long the latest requests to a model waited for their first result.

    Attributes:
        modality: Kind of model.
        provider: Provider of the model.
        model: The model.
        requests: Requests that had a first result and were looked at.
        median_ms: Milliseconds.
        p95_ms: Milliseconds within which 95 of 100 came.
    """

    modality: Modality
    provider: str
    model: str
    requests: int
    median_ms: float
    p95_ms: float


class ChargeLine(NamedTuple):
    """What a project was charged for a model.

    Attributes:
        project: Who pays.
        modality: Kind of model.
        provider: Provider of the model.
        model: The model.
        requests: How many.
        unpriced_requests: How many of them have no known price.
        cost_nanos: Nano-dollars; None when no request has a known price.
        price: Label of the price of the latest request; None when it had none, or is deleted.
        last_used_at: When that request began, ISO 8601; None when it is deleted.
    """

    project: str
    modality: Modality
    provider: str
    model: str
    requests: int
    unpriced_requests: int
    cost_nanos: int | None
    price: str | None
    last_used_at: str | None


class Watching(ABC):
    """What `Ledger` offers to those who watch it."""

    @abstractmethod
    async def daily_costs(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[DayLine]:
        """Add up the totals of some days by day and project, in that order.

        Args:
            first_day: ``YYYY-MM-DD``.
            last_day: ``YYYY-MM-DD``, inclusive.
            project: Only this project; None for all.
        """

    @abstractmethod
    async def live_counts(self, project: str | None = None) -> list[LiveLine]:
        """Count what runs now, without the open rows of processes that are gone."""

    @abstractmethod
    async def live_rows(self, project: str | None = None, *, limit: int) -> list[UsageRow]:
        """Return what runs now, the request that began last first; as `live_counts`."""

    @abstractmethod
    async def latencies(
        self, first_day: str, project: str | None = None, *, sample: int
    ) -> list[LatencyLine]:
        """Return how long the latest requests waited for their first result, by model.

        Args:
            first_day: Models that were used since, ``YYYY-MM-DD``.
            project: Only requests of this project; None for all.
            sample: How many of the newest requests of each project and model are looked at.
        """

    @abstractmethod
    async def charges(self, first_day: str, project: str | None = None) -> list[ChargeLine]:
        """Return what was charged for each model, by project and model.

        Args:
            first_day: ``YYYY-MM-DD``; what was used since.
            project: Only this project; None for all.
        """
