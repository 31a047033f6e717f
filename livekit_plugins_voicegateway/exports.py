"""All requests or all totals of a period, page by page, for files that other programs read.

`voicegw export` writes them. A page is read when the one before has been taken, so that a ledger
of any size passes through little memory, and each is a short reading of its own, so that nobody who
writes waits for it. What is written meanwhile may be in it or not; totals are of one moment.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .ledger.base import Position
from .reports import Reports
from .times import to_iso

if TYPE_CHECKING:
    from .config import Config
    from .ledger.base import Ledger
    from .ledger.passages import DailyTotals
    from .metering.usage import UsageRow

__all__ = ["COSTS", "REQUESTS", "Column", "Exports", "Kind", "Value"]

Kind = Literal["text", "day", "time", "money", "count", "number", "flag"]
"""What a column holds: a text, ``YYYY-MM-DD``, Unix seconds, nano-dollars, a whole number, a number
with decimals, or yes and no."""

Value = str | int | float | bool | None

PAGE: Final = 2_000
"""Requests that are read at once: some 2 MB."""


class Column(NamedTuple):
    """A column of an export.

    Attributes:
        name: As in the answers of the reports.
        kind: What its values are; any of them may also be None.
    """

    name: str
    kind: Kind


REQUESTS: Final = (
    Column("id", "text"),
    Column("request_id", "text"),
    Column("started_at", "time"),
    Column("ended_at", "time"),
    Column("day", "day"),
    Column("project", "text"),
    Column("modality", "text"),
    Column("provider", "text"),
    Column("model", "text"),
    Column("requested_model", "text"),
    Column("status", "text"),
    Column("estimated", "flag"),
    Column("room", "text"),
    Column("job_id", "text"),
    Column("speech_id", "text"),
    Column("audio_seconds", "number"),
    Column("connection_seconds", "number"),
    Column("input_tokens", "count"),
    Column("cached_input_tokens", "count"),
    Column("output_tokens", "count"),
    Column("characters", "count"),
    Column("cost", "money"),
    Column("price", "text"),
    Column("ttfb_ms", "number"),
    Column("duration_ms", "number"),
    Column("error", "text"),
)
"""A request, as `answers.LogEntry` has it."""

COSTS: Final = (
    Column("day", "day"),
    Column("project", "text"),
    Column("modality", "text"),
    Column("provider", "text"),
    Column("model", "text"),
    Column("requests", "count"),
    Column("unpriced_requests", "count"),
    Column("audio_seconds", "number"),
    Column("input_tokens", "count"),
    Column("cached_input_tokens", "count"),
    Column("output_tokens", "count"),
    Column("characters", "count"),
    Column("cost", "money"),
    Column("estimated_cost", "money"),
)
"""What one model cost one project on one day."""


class Exports:
    """Gives everything, page by page; wrong values are refused as `Reports.costs` does.

    Args:
        config: Projects, and the time zone of days.
        ledger: An open ledger; reading is enough.
        clock: Unix time in seconds.
        page: Requests that are read at once.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
        page: int = PAGE,
    ) -> None:
        self._reports = Reports(config, ledger, clock=clock)
        self._ledger = ledger
        self._page = page

    async def requests(
        self, period: str = "today", project: str | None = None
    ) -> AsyncIterator[list[tuple[Value, ...]]]:
        """Give pages of requests, oldest first, each in the order of `REQUESTS`.

        Args:
            period: As for `Reports.costs`.
            project: Only this project; None for all.
        """
        days = await self._reports.days(period, project)
        after: Position | None = None
        while True:
            rows = await self._ledger.rows_of_days(
                days.first_day, days.last_day, project, limit=self._page, after=after
            )
            if rows:
                yield [_request(row) for row in rows]
            if len(rows) < self._page:
                return
            after = Position(to_iso(rows[-1].started_at), rows[-1].id)

    async def costs(
        self, period: str = "today", project: str | None = None
    ) -> AsyncIterator[list[tuple[Value, ...]]]:
        """Give the totals by day, project and model in one page, in the order of `COSTS`.

        Args:
            period: As for `Reports.costs`.
            project: Only this project; None for all.
        """
        days = await self._reports.days(period, project)
        lines = await self._ledger.totals_of_days(days.first_day, days.last_day, project)
        if lines:
            yield [_cost(line) for line in lines]


def _request(row: UsageRow) -> tuple[Value, ...]:
    return (
        row.id,
        row.request_id,
        row.started_at,
        row.ended_at,
        row.day,
        row.project,
        row.modality,
        row.provider,
        row.model,
        row.requested_model,
        row.status,
        row.estimated,
        row.room,
        row.job_id,
        row.speech_id,
        row.audio_seconds,
        row.connection_seconds,
        row.input_tokens,
        row.cached_input_tokens,
        row.output_tokens,
        row.characters,
        row.cost_nanos,
        row.price,
        row.ttfb_ms,
        row.duration_ms,
        row.error,
    )


def _cost(line: DailyTotals) -> tuple[Value, ...]:
    totals = line.totals
    return (
        *line[:5],
        totals.requests,
        totals.unpriced_requests,
        totals.audio_seconds,
        totals.input_tokens,
        totals.cached_input_tokens,
        totals.output_tokens,
        totals.characters,
        totals.cost_nanos,
        totals.estimated_cost_nanos,
    )
