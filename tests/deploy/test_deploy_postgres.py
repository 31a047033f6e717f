"""The commands of docs/deploy.md for PostgreSQL, run as they stand, as a role that owns no more
than its database: made, dumped, restored, verified.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from deploy_files import Shell, blocks
from support.postgres import PostgresServer, run_sql
from support.usage_rows import usage_row
from support.web_server import plain_environment

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.ledger.outbox import Outbox, outbox_file

DATABASES = ("voicegw", "voicegw_before", "voicegw_restored")


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The server, without a role and a database of ours before and after."""
    yield postgres_server
    for name in DATABASES:
        run_sql(postgres_server.url(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    run_sql(postgres_server.url(), "DROP ROLE IF EXISTS voicegw")


async def write(url: str, count: int) -> None:
    async with await open_ledger(url) as ledger:
        await ledger.write([usage_row() for _ in range(count)])


def administrator(server: PostgresServer, folder: Path) -> dict[str, str]:
    """The environment of a shell whose psql is the server's, and its superuser's."""
    env = plain_environment(folder)
    return env | {
        "PATH": f"{server.bin}:{env['PATH']}",
        "PGHOST": str(server.folder),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
    }


async def restored_while_connected(url: str, restore: Callable[[], str]) -> str:
    """What the commands say while a worker is connected, who writes before them and after."""
    async with await open_ledger(url) as ledger:
        await ledger.write([usage_row() for _ in range(11)])  # is not in the dump
        said = await asyncio.to_thread(restore)
        rows = [usage_row() for _ in range(5)]
        with contextlib.suppress(LedgerError):  # as long as it has not heard that it was cut off
            await ledger.write(rows)
        await ledger.write(rows)
    return said


def test_the_commands_run_as_they_stand_and_what_is_restored_adds_up(
    server: PostgresServer, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    env = administrator(server, tmp_path)
    env |= {
        "DB_HOST": quote(str(server.folder), safe=""),
        "DB_PASSWORD": "0123456789abcdef",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    url = f"postgresql://voicegw:{env['DB_PASSWORD']}@{env['DB_HOST']}/voicegw"
    making, sending, dumping, restoring, listing = blocks("postgres")
    shell = Shell(work, env)

    assert "No fault found." in shell.run(making)
    asyncio.run(write(url, 300))

    outbox = Outbox(outbox_file(tmp_path / "state" / "voicegateway", url))
    outbox.put([usage_row(), usage_row()])
    said = shell.run(sending)
    assert "2 rows of usage wait" in said
    assert "Nothing waits: the ledger has all usage." in said
    outbox.close()

    shell.run(dumping)
    # the role owns what was restored: it writes; and who was connected goes on with it
    said = asyncio.run(restored_while_connected(url, lambda: shell.run(restoring)))
    assert said.count("It adds up: 302 requests") == 2
    for table in ("SELECT count(*) FROM usage", "SELECT sum(requests)::int FROM usage_daily"):
        assert run_sql(server.url("voicegw"), table) == [(307,)]
    assert "0001_ledger" in shell.run(listing)


def test_the_commands_of_the_container_dump_and_restore(
    server: PostgresServer, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    env = administrator(server, tmp_path)
    run_sql(server.url(), "CREATE ROLE voicegw LOGIN", "CREATE DATABASE voicegw OWNER voicegw")
    asyncio.run(write(server.url("voicegw"), 40))
    (block,) = blocks("compose")
    Shell(work, env).run(block)
    ((requests,),) = run_sql(server.url("voicegw_restored"), "SELECT count(*) FROM usage")
    assert requests == 40
