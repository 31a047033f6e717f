"""The calendar of the configured time zone: which day a moment belongs to, and where days end.

A budget is for one calendar day, and each row of the ledger stands under one. Days follow each
other without a gap; where clocks are changed they have 23 or 25 hours.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["Days"]

_ONE_DAY = timedelta(days=1)


class Days:
    """Days of one time zone. Safe to use from several threads.

    Args:
        zone: Where the days begin and end.
    """

    __slots__ = ("_current", "zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._current = (0.0, 0.0, "")  # start, end and name of the day that was asked for last

    def day_of(self, unix_time: float) -> str:
        """Return the day of a moment, ``YYYY-MM-DD``.

        Costs a comparison as long as the moments asked for are of one day.

        Args:
            unix_time: Unix time in seconds.
        """
        start, end, day = self._current
        if start <= unix_time < end:
            return day
        local = datetime.fromtimestamp(unix_time, self.zone).date()
        # the date on the clock is not always the day: a moment just before midnight is rounded up
        # to it, and a zone may set its clocks back over midnight
        while unix_time < (start := self._start(local)):
            local -= _ONE_DAY
        while unix_time >= (end := self._start(local + _ONE_DAY)):
            local += _ONE_DAY
            start = end
        day = local.isoformat()
        self._current = (start, end, day)
        return day

    def bounds(self, day: str) -> tuple[float, float]:
        """Return when a day begins and when the next one does, in Unix seconds.

        Args:
            day: ``YYYY-MM-DD``.

        Raises:
            ValueError: ``day`` is no date of the calendar, or beyond its ends.
        """
        try:
            first = date.fromisoformat(day)
            if first.isoformat() != day:
                raise ValueError(day)
            return self._start(first), self._start(first + _ONE_DAY)
        except (ValueError, OverflowError):
            raise ValueError(f"{day!r} is no day: write it as YYYY-MM-DD") from None

    def _start(self, day: date) -> float:
        # where clocks skip midnight, fold=0 gives the moment of the change: the day's first one
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        return midnight.astimezone(UTC).timestamp()

    def __repr__(self) -> str:
        return f"Days({self.zone.key})"
