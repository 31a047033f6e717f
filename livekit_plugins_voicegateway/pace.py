"""How fast a process spends one budget: what it asks the ledger for and what it keeps follow."""

from __future__ import annotations

__all__ = ["Pace"]

SLICE_SECONDS = 0.5
"""A slice lasts about so long at the pace at which the process spends, so that a killed one strands
little; the ledger is asked about twice in this time."""

LOOK_BACK_SECONDS = 10.0
"""Seconds over which it is seen how much a process that makes a request now and then needs."""


class Pace:
    """What was taken of a budget, and since when.

    Args:
        now: Unix time.

    Attributes:
        usual: What a slice is at least where many share a budget; 0 where they do not.
    """

    __slots__ = ("_long_ago", "_recently", "usual")

    def __init__(self, now: float) -> None:
        self.usual = 0
        self._recently = self._long_ago = (now, 0)

    def slice(self, now: float, taken: int) -> int:
        """What is taken in `SLICE_SECONDS`, by the last second or more.

        Args:
            now: Unix time.
            taken: Nano-dollars taken since the beginning.
        """
        since, before = self._recently
        seconds = max(1.0, now - since)
        if now - since >= 1.0 or now < since:
            self._recently = (now, taken)
        return max(0, round((taken - before) / seconds * SLICE_SECONDS))

    def lately(self, now: float, taken: int) -> int | None:
        """What was taken in the last `LOOK_BACK_SECONDS`; None when they are not over yet.

        Args:
            now: Unix time.
            taken: Nano-dollars taken since the beginning.
        """
        since, before = self._long_ago
        if 0 <= now - since < LOOK_BACK_SECONDS:
            return None
        self._long_ago = (now, taken)
        return max(0, taken - before)
