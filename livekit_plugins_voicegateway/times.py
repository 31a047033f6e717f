"""Moments as the ledger and the reports write them: ISO 8601, UTC, milliseconds.

Such texts sort in the order of time, in SQLite as in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["from_iso", "to_iso"]


def to_iso(unix_time: float) -> str:
    """Write a moment as ``2026-05-04T09:30:00.250Z``.

    Args:
        unix_time: Unix time in seconds; digits below a millisecond are dropped.

    Raises:
        ValueError, OverflowError: It is no moment of the years 1 to 9999.
    """
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def from_iso(text: str) -> float:
    """Read what `to_iso` wrote: Unix time in seconds.

    Raises:
        ValueError: ``text`` is no ISO 8601 time.
    """
    return datetime.fromisoformat(text).timestamp()
