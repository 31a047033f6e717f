"""What a host writes down as it happens, so that it is there however the host ends."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["Admitted", "HostLog", "Knew", "Story"]


class Admitted(NamedTuple):
    """A request that was admitted.

    Attributes:
        at: Unix time.
        seconds: How long it takes.
        nanos: What it costs at its end, in nano-dollars; evenly until then.
    """

    at: float
    seconds: float
    nanos: int

    def spent_until(self, moment: float) -> float:
        """Nano-dollars that it has cost at a Unix time."""
        return self.nanos * min(1.0, max(0.0, (moment - self.at) / self.seconds))


class Knew(NamedTuple):
    """A watcher has told its workers of the project as it is now.

    Attributes:
        at: Unix time.
        budget_nanos: The project's budget.
        price: What a million tokens cost then of the model whose price is changed, nano-dollars.
    """

    at: float
    budget_nanos: int
    price: int


class HostLog:
    """The log of one host, from any of its threads.

    Args:
        path: The file; it is only added to.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, kind: str, *numbers: float) -> None:
        """Write a line; it outlives the process."""
        os.write(self._file, f"{kind} {' '.join(map(repr, numbers))}\n".encode())


@dataclass
class Story:
    """The log of one host, read.

    Attributes:
        admitted: Requests that were admitted.
        refused: Unix times at which requests were refused because nothing was left.
        unanswered: Those at which one was refused because the ledger took longer than it may.
        operations: Unix time and milliseconds of each operation on leases.
        knew: What watchers told.
    """

    admitted: list[Admitted] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    operations: list[tuple[float, float]] = field(default_factory=list)
    knew: list[list[Knew]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, watchers: int) -> Story:
        """Read a log.

        Args:
            path: The file.
            watchers: How many watchers the host has.
        """
        story = cls(knew=[[] for _ in range(watchers)])
        for line in path.read_text().splitlines():
            kind, *numbers = line.split()
            at, *more = map(float, numbers)
            match kind:
                case "admitted":
                    story.admitted.append(Admitted(at, more[0], int(more[1])))
                case "refused":
                    story.refused.append(at)
                case "unanswered":
                    story.unanswered.append(at)
                case "operation":
                    story.operations.append((at, more[0]))
                case "knew":
                    story.knew[int(more[0])].append(Knew(at, int(more[1]), int(more[2])))
        return story
