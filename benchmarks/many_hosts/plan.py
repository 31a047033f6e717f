"""What is played: how many workers, how long, what is changed meanwhile and who is killed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR
from livekit_plugins_voicegateway.overspend import LONGEST_ANSWER, worst_overspend
from livekit_plugins_voicegateway.pricing.book import PriceBook
from livekit_plugins_voicegateway.pricing.spec import parse_prices

__all__ = [
    "EXPECTED_NANOS",
    "EXPECTED_TOKENS",
    "MODEL",
    "NANOS_PER_TOKEN",
    "OTHER",
    "PROJECT",
    "Plan",
    "dollars",
    "midday_zone",
    "pricing",
]

PROJECT = "fleet"
MODEL = "openai/gpt-4.1-mini"
"""What the workers use."""

OTHER = "openai/gpt-4.1"
"""The model whose price is changed: nobody uses it, so that the reckoning is simple."""

NANOS_PER_TOKEN = 1_000
EXPECTED_TOKENS = 150
EXPECTED_NANOS = EXPECTED_TOKENS * NANOS_PER_TOKEN
"""What a request holds when it is admitted: what one costs on average."""


def pricing(other: int) -> dict[str, dict[str, object]]:
    """The project's prices.

    Args:
        other: Dollars for a million tokens of the model whose price is changed.
    """
    return {
        MODEL: {"input": 0, "output": 1, "per": 1_000_000},
        OTHER: {"input": other, "output": other, "per": 1_000_000},
    }


class Plan(NamedTuple):
    """What is played.

    Attributes:
        workers: Simulated workers; each has one call.
        hosts: Processes that they are spread over.
        seconds: How long the budget lasts if all of them spend as they please.
        killed: How many of the hosts are killed, when half of the budget is spent.
        wait: Seconds that are waited after that at least.
        quiet: Seconds without spending after which nothing more is spent.
        changes: How often the budget is changed, and a price: with notifications, and without.
        connections: Of each host, for leases.
        watchers: Of each host: real threads, each with its connection, for a share of the workers.
        request: Seconds that a request takes, from and to.
        pause: Seconds between two requests of a call, from and to.
    """

    workers: int = 1_000
    hosts: int = 8
    seconds: float = 60.0
    killed: int = 2
    wait: float = 40.0
    quiet: float = 5.0
    changes: int = 3
    connections: int = 4
    watchers: int = 8
    request: tuple[float, float] = (0.5, 1.5)
    pause: tuple[float, float] = (1.0, 3.0)

    @property
    def budget_nanos(self) -> int:
        """The budget at the beginning, in nano-dollars, to a thousandth of a cent."""
        cycle = (sum(self.request) + sum(self.pause)) / 2
        return int(round(self.workers * EXPECTED_NANOS / cycle * self.seconds, -4))

    @property
    def raised_by(self) -> int:
        """Nano-dollars by which each change of the budget raises it."""
        return int(round(self.budget_nanos / 1000, -4)) or 10_000

    @property
    def last_budget_nanos(self) -> int:
        """The budget after all changes."""
        return self.budget_nanos + 2 * self.changes * self.raised_by

    @property
    def bound_nanos(self) -> int:
        """The worst overspend, as ``voicegw check --calls <workers>`` reckons it."""
        specs, _ = parse_prices(MODEL, pricing(1)[MODEL])
        price = PriceBook({MODEL: specs}, {}).find(
            "llm", *MODEL.split("/", 1), project=None, day=datetime.now(UTC).date()
        )
        assert price is not None
        worst = worst_overspend({"llm": price}, calls=self.workers, answer_tokens=LONGEST_ANSWER)
        assert worst is not None
        return worst


def dollars(nanos: float) -> float:
    """Nano-dollars as dollars."""
    return nanos / NANOS_PER_DOLLAR


def midday_zone() -> str:
    """A time zone in which it is about noon, so that no day turns while something is played."""
    return f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"
