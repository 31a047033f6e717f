"""Requests as they come: each when it begins, and again when it has ended.

`voicegw logs --follow` polls a `Follower`. It keeps its place from one look to the next, and not
the ledger, which may be away in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .entries import log_entry
from .ledger.base import RowFilter
from .metering.usage import UsageRow

if TYPE_CHECKING:
    from .answers import LogEntry
    from .ledger import Ledger

__all__ = ["Follower"]

_AT_ONCE: Final = 1_000
"""Rows that are read at once."""

_MOST_OPEN: Final = 20_000
"""Requests under way, at the start, whose end is waited for."""


class Follower:
    """Finds what is new.

    Args:
        wanted: Which requests; one is looked at as it is then, so that with a status it is found
            when it takes that status.
    """

    def __init__(self, wanted: RowFilter) -> None:
        self._wanted = wanted
        self._mark: int | None = None
        self._open: set[str] = set()
        self._given: dict[str, str] = {}

    @property
    def began(self) -> bool:
        """Whether `begin` has found its place."""
        return self._mark is not None

    async def begin(self, ledger: Ledger, before: int) -> list[LogEntry]:
        """Find the place to follow from.

        Args:
            ledger: An open ledger; reading is enough.
            before: How many of the newest requests to give that are there already.

        Returns:
            Those, oldest first.

        Raises:
            LedgerError: The ledger cannot be read; it may be tried again.
        """
        # the mark first: what comes meanwhile is then found twice, and told apart by its id
        mark = await ledger.newest_mark()
        under_way = await ledger.rows(RowFilter(status="open"), limit=_MOST_OPEN)
        newest = await ledger.rows(self._wanted, limit=before)
        self._open = {row.id for row in under_way}
        self._given = {row.id: row.status for row in newest}
        self._mark = mark
        return [log_entry(row) for row in reversed(newest)]

    async def look(self, ledger: Ledger) -> list[LogEntry]:
        """Return the requests that have begun or ended since the last look, in that order.

        Args:
            ledger: An open ledger; reading is enough.

        Raises:
            LedgerError: The ledger cannot be read; nothing is lost, and it may be tried again.
        """
        assert self._mark is not None
        mark = self._mark
        if await ledger.newest_mark() < mark:
            mark = 0  # all rows that were there are gone, or it is another file
        new: list[UsageRow] = []
        while page := await ledger.rows_written_after(mark, limit=_AT_ONCE):
            new += [row for _, row in page]
            mark = page[-1][0]
        ended = [
            row
            for row in reversed(await ledger.rows_with_ids(sorted(self._open)))
            if row.status != "open"
        ]
        self._mark = mark
        self._open -= {row.id for row in ended}
        self._open |= {row.id for row in new if row.status == "open"}
        found = [
            row
            for row in {row.id: row for row in [*new, *ended]}.values()
            if self._given.get(row.id) != row.status and _matches(row, self._wanted)
        ]
        # only what `begin` gave, and what came beside it, can be found twice
        self._given = {}
        return [log_entry(row) for row in found]


def _matches(row: UsageRow, wanted: RowFilter) -> bool:
    return all(
        asked is None or asked == found
        for asked, found in (
            (wanted.project, row.project),
            (wanted.modality, row.modality),
            (wanted.provider, row.provider),
            (wanted.model, row.model),
            (wanted.status, row.status),
            (wanted.room, row.room),
        )
    )
