"""Rows that a ledger does not take because of what is in them, and how the others are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..errors import RowsRefusedError
from ..metering.usage import UsageRow

__all__ = ["Refusal", "RowTaker", "write_all_but"]


class RowTaker(Protocol):
    """What takes rows in the end: a ledger."""

    async def write(self, rows: list[UsageRow]) -> None:
        """Write all rows in one transaction; raises when none was written."""


class Refusal(NamedTuple):
    """A row that is not taken.

    Attributes:
        row: The row.
        reason: What is wrong with it.
    """

    row: UsageRow
    reason: str


async def write_all_but(ledger: RowTaker, rows: Sequence[UsageRow]) -> list[Refusal]:
    """Write rows in their order, and find those that the ledger refuses.

    They are looked for by halves: one among a thousand costs some twenty writes.

    Args:
        ledger: Where they go.
        rows: In one transaction, unless some are refused.

    Returns:
        Those that were refused. All others are written.

    Raises:
        LedgerError: The ledger takes no rows at all now; some may have been written.
    """
    try:
        await ledger.write(list(rows))
    except RowsRefusedError as e:
        if len(rows) == 1:
            return [Refusal(rows[0], str(e))]
        middle = len(rows) // 2
        refused = await write_all_but(ledger, rows[:middle])
        return refused + await write_all_but(ledger, rows[middle:])
    return []
