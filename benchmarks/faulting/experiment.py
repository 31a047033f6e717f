"""What an experiment with a fault is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Experiment", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the table.

    Attributes:
        fault: What was done, in words.
        tries: How often.
        lost: What was used and is not recorded, in words and with its unit: ``nothing``, ``0.6 s
            of one stream at most (0.2 s at the median)``.
        twice: What was recorded more than once, as ``lost``.
        added_ms: By how much the slowest frame or chunk, or the longest turn of the event loop, was
            slower than in the same run without the fault, in milliseconds; None where no call is
            held, or it ends with the fault.
        note: What else is worth saying; empty for nothing.
    """

    fault: str
    tries: int
    lost: str
    twice: str = "nothing"
    added_ms: float | None = None
    note: str = ""


class Experiment(NamedTuple):
    """Something that is done to the gateway.

    Attributes:
        name: How it is chosen on the command line: ``kill``, ``disk-full``.
        run: Does it and measures; the argument is whether a short form will do.
    """

    name: str
    run: Callable[[bool], Coroutine[Any, Any, list[Finding]]]
