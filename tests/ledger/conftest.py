from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.ledger_places import Place, fresh_place
from support.postgres import PostgresServer, postgres_server
from support.usage_rows import NOON

from livekit_plugins_voicegateway.ledger.base import Ledger

__all__ = ["postgres_server"]


class Clock:
    """Unix time that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "voicegw.db"


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> PostgresServer | None:
    """The server of tests that run on PostgreSQL, None for SQLite. What is here runs on both."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server


@pytest.fixture
def place(engine: PostgresServer | None, tmp_path: Path, clock: Clock) -> Iterator[Place]:
    with fresh_place(engine, tmp_path, clock) as place:
        yield place


@pytest.fixture
async def ledger(place: Place) -> AsyncIterator[Ledger]:
    async with place.ledger() as ledger:
        yield ledger
