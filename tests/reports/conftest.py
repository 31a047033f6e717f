from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.ledger_places import Place, fresh_place
from support.postgres import postgres_server
from support.usage_rows import NOON

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.pricing.spec import PriceSpec, parse_prices
from livekit_plugins_voicegateway.projects import Project
from livekit_plugins_voicegateway.reports import Reports

__all__ = ["postgres_server"]


def prices(model: str, **value: object) -> tuple[PriceSpec, ...]:
    specs, problems = parse_prices(model, value)
    assert not problems
    return specs


@dataclass
class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config() -> Config:
    return Config(
        timezone=ZoneInfo("Europe/Berlin"),
        projects={
            "prod": Project(
                "prod",
                name="Production",
                description="Customer-facing voice agents",
                daily_budget=Decimal("50.00"),
                budget_action="throttle",
                tags=("production", "customer-facing"),
                pricing={
                    "deepgram/nova-3": prices(
                        "deepgram/nova-3", audio=Decimal("0.0040"), per="minute"
                    )
                },
            ),
            "staging": Project("staging", daily_budget=Decimal(0), tags=("staging",)),
            "dev": Project("dev"),
        },
        pricing={
            "acme/in-house": prices("acme/in-house", free=True),
        },
    )


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Place]:
    """Where the ledger is; what is here runs on both engines."""
    server = None if request.param == "sqlite" else request.getfixturevalue("postgres_server")
    with fresh_place(server, tmp_path, clock) as place:
        yield place


@pytest.fixture
async def ledger(place: Place) -> AsyncIterator[Ledger]:
    async with place.ledger() as ledger:
        yield ledger


@pytest.fixture
def reports(config: Config, ledger: Ledger, clock: Clock) -> Reports:
    return Reports(config, ledger, clock=clock)
