"""Ways through all requests of a ledger, whichever SQL engine keeps it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from .passages import DailyTotals, Passages
from .row_codec import decode_row

if TYPE_CHECKING:
    from ..metering.usage import UsageRow
    from .base import Position
    from .queries import Value

__all__ = ["SqlPassages"]


class SqlPassages(Passages):
    """The part of a ledger that exports, and who follows the log, ask."""

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

    async def rows_of_days(
        self,
        first_day: str,
        last_day: str,
        project: str | None = None,
        *,
        limit: int,
        after: Position | None = None,
    ) -> list[UsageRow]:
        found = await self._fetch(
            "rows_of_days",
            {
                "first_day": first_day,
                "last_day": last_day,
                "project": project,
                "started_from": _shifted(first_day, -1),
                "started_before": _shifted(last_day, 2),
                # nothing sorts before two empty texts
                "after": after.time if after else "",
                "after_id": after.key if after else "",
                "limit": limit,
            },
        )
        return [decode_row(values) for values in found]

    async def totals_of_days(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[DailyTotals]:
        from .base import Totals

        found = await self._fetch(
            "totals_of_days", {"first_day": first_day, "last_day": last_day, "project": project}
        )
        return [DailyTotals._make((*line[:5], Totals(*line[5:]))) for line in found]

    async def newest_mark(self) -> int:
        ((mark,),) = await self._fetch("newest_mark")
        return int(mark)

    async def rows_written_after(self, mark: int, *, limit: int) -> list[tuple[int, UsageRow]]:
        found = await self._fetch("rows_written_after", {"mark": mark, "limit": limit})
        return [(values[0], decode_row(values[1:])) for values in found]

    async def rows_with_ids(self, ids: Sequence[str]) -> list[UsageRow]:
        return [decode_row(values) for values in await self._fetch("rows", {"ids": list(ids)})]


def _shifted(day: str, days: int) -> str:
    """The day that comes ``days`` after another; empty and ``~``, which bound all days, stay."""
    if day in ("", "~"):
        return day
    try:
        return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
    except OverflowError:
        return "~" if days > 0 else ""
