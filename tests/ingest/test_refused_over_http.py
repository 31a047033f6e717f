"""A row that the server refuses holds up none of a worker, and is set aside there."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from serving_workers import as_json, serving_here
from support.usage_rows import NOON, usage_row

from livekit_plugins_voicegateway.errors import LedgerError, RowsRefusedError
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.http import HttpLedger
from livekit_plugins_voicegateway.ledger.http_connection import HttpConnection
from livekit_plugins_voicegateway.ledger.outbox import Outbox, drain
from livekit_plugins_voicegateway.metering.usage import UsageRow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_here(tmp_path_factory.mktemp("here"), lambda: NOON) as url:
        yield url


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.db")


async def test_a_refused_row_is_set_aside_and_the_others_arrive(url: str, outbox: Outbox) -> None:
    rows = [usage_row(**({"status": "lost"} if index == 7 else {})) for index in range(20)]
    outbox.put([*rows, usage_row(id="mended", started_at=math.nan)])
    async with HttpLedger(url) as ledger:
        assert await drain(outbox, ledger) == 21
    assert (outbox.count(), outbox.count_refused()) == (0, 1)
    assert "rows[0].status: found " in outbox.refused(1)[0].reason


async def test_a_moment_that_is_none_is_mended_before_it_is_sent(url: str) -> None:
    async with HttpLedger(url) as ledger:
        await ledger.write([usage_row(started_at=math.inf), usage_row(ended_at=math.nan)])


async def test_what_the_servers_own_database_refuses_is_the_rows_fault_and_not_the_servers(
    tmp_path: Path,
) -> None:
    with serving_here(tmp_path, lambda: NOON) as url:
        async with make_ledger(f"sqlite:///{tmp_path}/voicegw.db"):
            pass
        with closing(sqlite3.connect(tmp_path / "voicegw.db")) as shell:
            shell.execute(
                "CREATE TRIGGER ours BEFORE INSERT ON usage WHEN NEW.room = 'nowhere' "
                "BEGIN SELECT RAISE(ABORT, 'no such room'); END"
            )
        outbox = Outbox(tmp_path / "outbox" / "outbox.db")
        outbox.put([usage_row(id="a"), usage_row(id="b", room="nowhere"), usage_row(id="c")])
        async with HttpLedger(url) as ledger:
            assert await drain(outbox, ledger) == 3
        [refused] = outbox.refused(5)
        assert "no such room" in refused.reason
        async with make_ledger(f"sqlite:///{tmp_path}/voicegw.db", read_only=True) as kept:
            rows = await kept.rows(RowFilter(), limit=10)
        assert {row.id for row in rows} == {"a", "c"}


async def test_a_server_that_knows_rows_of_another_shape_refuses_none(
    url: str,
) -> None:
    """It was updated before its workers, or after them: what they send waits."""
    row = as_json(usage_row())
    bodies = [
        {"version": 2, "rows": [row]},
        {"version": 1, "rows": [{**row, "colour": "red"}]},
        {"version": 1, "rows": [{name: row[name] for name in row if name != "project"}]},
    ]
    for body in bodies:
        connection = HttpConnection(url)
        with pytest.raises(LedgerError, match="it refuses what was sent") as raised:
            await connection.post("/v1/usage", json.dumps(body).encode())
        assert not isinstance(raised.value, RowsRefusedError)
        await connection.close()


async def test_a_body_that_is_too_large_is_halved(url: str, outbox: Outbox) -> None:
    class Narrow(HttpLedger):
        """A server behind something that lets few rows through at once."""

        async def write(self, rows: list[UsageRow]) -> None:  # type: ignore[override]
            if len(rows) > 3:
                refused = self._connection._refused(413, b'{"detail": "too large"}')
                assert isinstance(refused, RowsRefusedError)
                raise refused
            await super().write(rows)

    outbox.put([usage_row() for _ in range(20)])
    async with Narrow(url) as ledger:
        assert await drain(outbox, ledger) == 20
    assert (outbox.count(), outbox.count_refused()) == (0, 0)
