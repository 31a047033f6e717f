"""What those who watch the gateway ask: spend by day and its forecast, what runs, how fast it is.

`Reports` hands in what the ledger knows; the shapes of the answers stand here, as those of all
others do in `answers`. What each costs does not grow with the number of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final, Literal, TypedDict

from .answers import LogEntry, ProjectAnswer, TotalsEntry, dollars, totals_entry
from .ledger.base import Totals
from .ledger.overview import ChargeLine, DayLine, LatencyLine, LiveLine
from .metering.usage import Modality

__all__ = [
    "FORECAST_DAYS",
    "LATENCY_SAMPLE",
    "ChargeEntry",
    "ChargesAnswer",
    "DaySpend",
    "ForecastEntry",
    "LatencyAnswer",
    "LatencyEntry",
    "LiveAnswer",
    "LiveEntry",
    "OverviewAnswer",
    "charge_entries",
    "day_spends",
    "days_until",
    "forecast",
    "latency_entries",
    "live_answer",
    "totals_since",
]

FORECAST_DAYS: Final = 7
"""Days before today whose average says what the rest of today will bring."""

LATENCY_SAMPLE: Final = 50
"""Newest requests of each project and model that latencies are taken of."""

_SHORTEST_PACE: Final = 1 / 24
"""Part of a day that must have gone by before its pace says anything about the rest."""


class DaySpend(TotalsEntry):
    """Totals of a project on a day; days without a request have none."""

    day: str
    project: str


class ForecastEntry(TypedDict):
    """What today will have cost at its end, in dollars.

    ``method`` is ``recent_days``: spent so far, and for the rest of the day as much as the average
    of the ``days`` days before had in as long; or ``pace``, where no day came before: it goes on as
    it did. What has no known price is in neither.
    """

    cost: float
    method: Literal["recent_days", "pace"]
    days: int


class LiveEntry(TypedDict):
    """How many requests of one kind run now."""

    project: str
    modality: Modality
    requests: int


class LiveAnswer(TypedDict):
    """What runs now: all counted, and the newest."""

    requests: int
    by_project: list[LiveEntry]
    newest: list[LogEntry]


class OverviewAnswer(TypedDict):
    """Where everything stands.

    ``days`` are all days of ``by_project_and_day``, the last of them is today; ``resets_at`` is
    when it ends, and budgets begin anew. ``forecast`` is None when there is nothing to go by.
    """

    timezone: str
    currency: Literal["USD"]
    resets_at: str
    today: TotalsEntry
    month: TotalsEntry
    forecast: ForecastEntry | None
    days: list[str]
    by_project_and_day: list[DaySpend]
    live: LiveAnswer
    projects: list[ProjectAnswer]


class LatencyEntry(TypedDict):
    """Milliseconds to the first result, over the latest requests that had one."""

    modality: Modality
    provider: str
    model: str
    requests: int
    median_ttfb_ms: float
    p95_ttfb_ms: float


class LatencyAnswer(TypedDict):
    """How fast each model was lately."""

    project: str | None
    latency: list[LatencyEntry]


class ChargeEntry(TypedDict):
    """What a project was charged for a model, and the price of the latest request."""

    project: str
    modality: Modality
    provider: str
    model: str
    requests: int
    unpriced_requests: int
    cost: float | None
    price: str | None
    last_used_at: str | None


ChargesAnswer = TypedDict(
    "ChargesAnswer",
    {"from": str, "to": str, "currency": Literal["USD"], "charges": list[ChargeEntry]},
)
"""What was charged for each model in some days; those with requests of unknown price come first."""


def days_until(today: str, count: int) -> list[str]:
    """Return the last ``count`` days, oldest first; ``today`` is the last of them."""
    last = date.fromisoformat(today)
    return [(last - timedelta(days=back)).isoformat() for back in range(count - 1, -1, -1)]


def totals_since(first_day: str, lines: Iterable[DayLine]) -> Totals:
    """Add up the lines from ``first_day`` on."""
    return sum((line.totals for line in lines if line.day >= first_day), Totals())


def day_spends(days: Sequence[str], lines: Iterable[DayLine]) -> list[DaySpend]:
    """Return the lines of these days, by day and project."""
    wanted = set(days)
    return [
        {"day": line.day, "project": line.project, **totals_entry(line.totals)}
        for line in lines
        if line.day in wanted
    ]


def forecast(
    today: str, elapsed: float, lines: Iterable[DayLine], *, days: int = FORECAST_DAYS
) -> ForecastEntry | None:
    """Say what today will have cost at its end.

    Args:
        today: ``YYYY-MM-DD``.
        elapsed: Part of today that has gone by, 0 to 1.
        lines: Totals of today and of the days before it.
        days: How many days before today are looked at, from the first one on that had a request.

    Returns:
        None when no day before had a request and today is too young, or has no request of known
        price, to go by.
    """
    spent: dict[str, int] = {}
    priced = False
    for line in lines:
        spent[line.day] = spent.get(line.day, 0) + (line.totals.cost_nanos or 0)
        priced = priced or line.totals.cost_nanos is not None
    so_far = spent.get(today, 0)
    before = days_until(today, days + 1)[:-1]
    used = [day for day in before if day in spent]
    if not priced:
        return None
    if used:
        recent = before[before.index(used[0]) :]
        average = sum(spent.get(day, 0) for day in recent) / len(recent)
        total = so_far + average * (1 - elapsed)
        return {"cost": dollars(round(total)), "method": "recent_days", "days": len(recent)}
    if today not in spent or elapsed < _SHORTEST_PACE:
        return None
    return {"cost": dollars(round(so_far / elapsed)), "method": "pace", "days": 0}


def live_answer(counts: Iterable[LiveLine], newest: list[LogEntry]) -> LiveAnswer:
    """Say what runs now."""
    by_project: list[LiveEntry] = [
        {"project": line.project, "modality": line.modality, "requests": line.requests}
        for line in counts
    ]
    return {
        "requests": sum(entry["requests"] for entry in by_project),
        "by_project": by_project,
        "newest": newest,
    }


def latency_entries(lines: Iterable[LatencyLine]) -> list[LatencyEntry]:
    """Say how fast each model was."""
    return [
        {
            "modality": line.modality,
            "provider": line.provider,
            "model": line.model,
            "requests": line.requests,
            "median_ttfb_ms": round(line.median_ms, 3),
            "p95_ttfb_ms": round(line.p95_ms, 3),
        }
        for line in lines
    ]


def charge_entries(lines: Iterable[ChargeLine]) -> list[ChargeEntry]:
    """Say what was charged, what has no price first, and then the most expensive."""
    ordered = sorted(
        lines,
        key=lambda line: (-line.unpriced_requests, -(line.cost_nanos or 0), line[:4]),
    )
    return [
        {
            "project": line.project,
            "modality": line.modality,
            "provider": line.provider,
            "model": line.model,
            "requests": line.requests,
            "unpriced_requests": line.unpriced_requests,
            "cost": None if line.cost_nanos is None else dollars(line.cost_nanos),
            "price": line.price,
            "last_used_at": line.last_used_at,
        }
        for line in ordered
    ]
