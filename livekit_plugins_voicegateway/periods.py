"""Periods of reports: what people call them, and which days they are.

``7d`` is today and the six days before it, and ``30d`` likewise, so that both hold the day that is
still running. ``month`` is the calendar month until today.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final, NamedTuple

__all__ = ["PERIODS", "Period", "parse_period"]

PERIODS: Final = ("today", "yesterday", "7d", "30d", "month", "all")
"""Every period that has a name; ``YYYY-MM-DD..YYYY-MM-DD`` is one without."""

_RANGE: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})", re.ASCII)


class Period(NamedTuple):
    """Calendar days of the configured zone.

    Attributes:
        name: As it was asked for.
        first_day: ``YYYY-MM-DD``; empty for since ever, which sorts before every day.
        last_day: ``YYYY-MM-DD``, inclusive; ``~`` for ever, which sorts after every day.
    """

    name: str
    first_day: str
    last_day: str


def parse_period(name: str, today: str) -> Period | None:
    """Return the days that a period names, or None when it names none.

    Args:
        name: One of `PERIODS`, or two days with ``..`` between them, both included.
        today: The day in the configured zone, ``YYYY-MM-DD``.
    """
    now = date.fromisoformat(today)
    if name == "today":
        return Period(name, today, today)
    if name == "yesterday":
        yesterday = (now - timedelta(days=1)).isoformat()
        return Period(name, yesterday, yesterday)
    if name in ("7d", "30d"):
        before = timedelta(days=int(name[:-1]) - 1)
        return Period(name, (now - before).isoformat(), today)
    if name == "month":
        return Period(name, now.replace(day=1).isoformat(), today)
    if name == "all":
        return Period(name, "", "~")
    return _parse_range(name)


def _parse_range(name: str) -> Period | None:
    days = _RANGE.fullmatch(name)
    if days is None:
        return None
    try:
        first, last = (date.fromisoformat(day) for day in days.groups())
    except ValueError:
        return None
    return Period(name, days[1], days[2]) if first <= last else None
