from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.postgres import PostgresServer, postgres_server

from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger

__all__ = ["postgres_server"]


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with an empty ledger, which the next test gets again."""
    url = postgres_server.fresh_database()
    yield url
    postgres_server.take_back(url)


@pytest.fixture
def new_url(postgres_server: PostgresServer) -> str:
    """A database without anything in it, for tests that change the schema."""
    return postgres_server.new_database()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    async with PostgresLedger(url) as ledger:
        yield ledger
