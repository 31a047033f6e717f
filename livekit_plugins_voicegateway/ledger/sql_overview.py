"""What a ledger answers to those who watch it, whichever SQL engine keeps it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..times import to_iso
from .base import STALE_AFTER, Totals
from .overview import ChargeLine, DayLine, LatencyLine, LiveLine, Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..metering.usage import UsageRow
    from .queries import Value

__all__ = ["SqlWatching"]


class SqlWatching(Watching):
    """The part of a ledger that those who watch it ask."""

    _clock: Callable[[], float]

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

    @abstractmethod
    async def rows_with_ids(self, ids: Sequence[str]) -> list[UsageRow]:
        """Return the requests with these ids, newest first."""

    async def daily_costs(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[DayLine]:
        found = await self._fetch(
            "daily_costs", {"first_day": first_day, "last_day": last_day, "project": project}
        )
        return [DayLine._make((*line[:2], Totals(*line[2:]))) for line in found]

    async def live_counts(self, project: str | None = None) -> list[LiveLine]:
        found = await self._fetch("live_counts", {**self._since(STALE_AFTER), "project": project})
        return [LiveLine._make(line) for line in found]

    async def live_rows(self, project: str | None = None, *, limit: int) -> list[UsageRow]:
        found = await self._fetch(
            "newest_live",
            {**self._since(STALE_AFTER), "project": project, "limit": limit},
        )
        return await self.rows_with_ids([row_id for (row_id,) in found])

    async def latencies(
        self, first_day: str, project: str | None = None, *, sample: int
    ) -> list[LatencyLine]:
        found = await self._fetch(
            "latencies", {"first_day": first_day, "project": project, "sample": sample}
        )
        return [LatencyLine._make(line) for line in found]

    async def charges(self, first_day: str, project: str | None = None) -> list[ChargeLine]:
        found = await self._fetch("charges", {"first_day": first_day, "project": project})
        return [ChargeLine._make(line) for line in found]

    def _since(self, seconds: float) -> dict[str, Value]:
        """Say to a query what was brought up to date within the last ``seconds``."""
        return {"seen_after": to_iso(self._clock() - seconds)}
