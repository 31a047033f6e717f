"""That a ledger which was filled at once is as if its requests had been written one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import seeding.postgres
import seeding.sqlite
from seeding.pattern import Span
from support.ledger_places import Place, fresh_place
from support.postgres import PostgresServer, postgres_server
from support.usage_rows import NOON

from livekit_plugins_voicegateway.ledger.base import RowFilter

__all__ = ["postgres_server"]

REQUESTS = 2_000

KEPT = (
    "SELECT * FROM usage_daily ORDER BY day, project, modality, provider, model",
    "SELECT * FROM calls ORDER BY room, project",
)
SCHEMA = {
    "sqlite": ("SELECT type, name, sql FROM sqlite_master ORDER BY name",),
    "postgres": (
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename NOT LIKE 'usage_2%' ORDER BY 1",
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "SELECT * FROM usage_keys ORDER BY project, modality, provider, model",
    ),
}


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """A ledger that was filled, and one whose rows were written."""
    server: PostgresServer | None = None
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
    folders = tmp_path / "filled", tmp_path / "written"
    for folder in folders:
        folder.mkdir()
    with (
        fresh_place(server, folders[0], lambda: NOON) as filled,
        fresh_place(server, folders[1], lambda: NOON) as written,
    ):
        yield filled, written


async def test_totals_and_calls_are_those_that_writing_the_same_requests_gives(
    places: tuple[Place, Place],
) -> None:
    filled, written = places
    span = Span.until(NOON, REQUESTS)
    if filled.engine == "sqlite":
        await seeding.sqlite.fill(Path(filled.url.removeprefix("sqlite:///")), span)
    else:
        await seeding.postgres.fill(filled.url, span)
    async with filled.ledger() as ledger:
        rows = await ledger.rows(RowFilter(), limit=2 * REQUESTS)
        check = await ledger.check_totals()
    assert len(rows) == REQUESTS
    assert (check.requests, check.mismatches) == (REQUESTS, [])
    async with written.ledger() as ledger:
        await ledger.write(rows)
    for question in (*KEPT, *SCHEMA[filled.engine]):
        assert _asked(filled, question) == _asked(written, question)


def _asked(place: Place, question: str) -> list[tuple[Any, ...]]:
    found = place.sql(question)
    assert found
    return found
