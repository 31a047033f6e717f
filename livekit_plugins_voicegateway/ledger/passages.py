"""Ways through all requests, one page after the other: for exports, and for who follows the log.

Each page is a reading of its own, so that a long walk holds up nobody who writes. `Ledger` has
these methods beside those that reports ask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..metering.usage import UsageRow
    from .base import Position, Totals

__all__ = ["DailyTotals", "Passages"]


class DailyTotals(NamedTuple):
    """One line of ``usage_daily``.

    Attributes:
        day: ``YYYY-MM-DD``.
        project: Who paid.
        modality: Kind of model.
        provider: Provider of the model.
        model: The model.
        totals: What was used.
    """

    day: str
    project: str
    modality: str
    provider: str
    model: str
    totals: Totals


class Passages(ABC):
    """What `Ledger` offers to those that read everything."""

    @abstractmethod
    async def rows_of_days(
        self,
        first_day: str,
        last_day: str,
        project: str | None = None,
        *,
        limit: int,
        after: Position | None = None,
    ) -> list[UsageRow]:
        """Return single requests of some days, oldest first.

        Args:
            first_day: ``YYYY-MM-DD``; empty for since ever.
            last_day: ``YYYY-MM-DD``, inclusive; ``~`` for ever.
            project: Only this project; None for all.
            limit: How many at most.
            after: Only those behind this place in the list; None from its start.
        """

    @abstractmethod
    async def totals_of_days(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[DailyTotals]:
        """Return the totals of some days as they are kept: by day, project and model.

        Arguments as `rows_of_days`. There are as many as days times models in use, not requests.
        """

    @abstractmethod
    async def newest_mark(self) -> int:
        """Return the mark of the row that was written first last; 0 without any."""

    @abstractmethod
    async def rows_written_after(self, mark: int, *, limit: int) -> list[tuple[int, UsageRow]]:
        """Return rows with their marks, in the order in which they were first written.

        A request whose process could not reach the ledger comes late: its mark is higher than those
        of requests that began after it.

        Args:
            mark: Only rows with higher ones.
            limit: How many at most.
        """

    @abstractmethod
    async def rows_with_ids(self, ids: Sequence[str]) -> list[UsageRow]:
        """Return the rows that have these ids, newest first; ids of no row are left out."""
