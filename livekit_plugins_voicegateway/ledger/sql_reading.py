"""What reports ask of a ledger, whichever SQL engine keeps it.

The engines have queries of the same names, whose answers have the same columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..times import from_iso
from .base import (
    CallLatency,
    CallLine,
    CostLine,
    Ledger,
    Mismatch,
    Position,
    RowFilter,
    Totals,
    TotalsCheck,
    TurnLine,
)
from .row_codec import decode_row

if TYPE_CHECKING:
    from ..metering.usage import UsageRow
    from .queries import Value

__all__ = ["SqlReading"]

_NEWEST: Final = Position("~", "")
"""Sorts after every time: the start of a list that is sorted newest first."""


class SqlReading(Ledger):
    """The part of a ledger that reports ask."""

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

    async def costs(
        self, first_day: str, last_day: str, project: str | None = None
    ) -> list[CostLine]:
        found = await self._fetch(
            "costs", {"first_day": first_day, "last_day": last_day, "project": project}
        )
        return [CostLine._make((*line[:6], Totals(*line[6:]))) for line in found]

    async def has_project(self, project: str) -> bool:
        return bool((await self._fetch("has_project", {"project": project}))[0][0])

    async def rows(
        self, wanted: RowFilter, *, limit: int, before: Position | None = None
    ) -> list[UsageRow]:
        before = before or _NEWEST
        found = await self._fetch(
            _page_query(wanted),
            {
                "project": wanted.project,
                "modality": wanted.modality,
                "provider": wanted.provider,
                "model": wanted.model,
                "status": wanted.status,
                "room": wanted.room,
                "before": before.time,
                "before_id": before.key,
                "limit": limit,
            },
        )
        ids = [row_id for (row_id,) in found]
        return [decode_row(values) for values in await self._fetch("rows", {"ids": ids})]

    async def calls(
        self, project: str | None = None, *, limit: int, before: Position | None = None
    ) -> list[Position]:
        before = before or _NEWEST
        found = await self._fetch(
            "newest_calls" if project is None else "newest_calls_of_project",
            {
                "project": project,
                "before": before.time,
                "before_room": before.key,
                "limit": limit,
            },
        )
        return [Position(started_at, room) for room, started_at in found]

    async def call_lines(self, rooms: Sequence[str], project: str | None = None) -> list[CallLine]:
        found = await self._fetch("call_totals", {"rooms": list(rooms), "project": project})
        return [
            CallLine._make(
                (*line[:5], from_iso(line[5]), _time_or_none(line[6]), Totals(*line[7:]))
            )
            for line in found
        ]

    async def call_latencies(
        self, rooms: Sequence[str], project: str | None = None
    ) -> list[CallLatency]:
        found = await self._fetch("call_latencies", {"rooms": list(rooms), "project": project})
        return [CallLatency(*line) for line in found]

    async def call_turns(self, room: str) -> list[TurnLine]:
        found = await self._fetch("call_turns", {"room": room})
        return [
            TurnLine._make((*line[:2], from_iso(line[2]), _time_or_none(line[3]), *line[4:]))
            for line in found
        ]

    async def check_totals(self) -> TotalsCheck:
        ((kept_from,),) = await self._fetch("kept_from")
        since = {"first_day": kept_from or ""}
        found = await self._fetch("mismatches", since)
        ((requests, lines),) = await self._fetch("checked", since)
        mismatches = [
            Mismatch._make((*line[:5], Totals(*line[5:14]), Totals(*line[14:]))) for line in found
        ]
        return TotalsCheck(kept_from, requests, lines, mismatches)


def _page_query(wanted: RowFilter) -> str:
    """Choose the query whose index leads to the wanted rows without reading many others."""
    if wanted.room is not None:
        return "newest_of_room"
    by_key = any((wanted.project, wanted.modality, wanted.provider, wanted.model))
    if wanted.status in ("open", "failed", "rejected"):
        return "newest_of_status"
    if by_key:
        return "newest_of_keys"
    return "newest_of_status" if wanted.status == "cancelled" else "newest"


def _time_or_none(text: str | None) -> float | None:
    return None if text is None else from_iso(text)
