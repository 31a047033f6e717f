"""Schema changes: applied once, all or nothing, beside workers of older and newer versions."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.migrate import create
from livekit_plugins_voicegateway.ledger.queries import Migration, load_migrations
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

KNOWN = load_migrations("sqlite")
NEXT = len(KNOWN) + 1

ADD_COLUMN = Migration(
    NEXT,
    f"{NEXT:04}_region",
    True,
    """
    ALTER TABLE usage ADD COLUMN region TEXT;
    CREATE TABLE regions (name TEXT);
    CREATE TRIGGER usage_region AFTER INSERT ON usage
    BEGIN
        INSERT INTO regions VALUES (NEW.region);
    END;
    """,
)


def applied(path: Path) -> list[tuple[int, str, int]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            "SELECT number, name, additive FROM schema_migrations ORDER BY number"
        ).fetchall()
    finally:
        connection.close()


def test_migrations_are_recorded_once(path: Path) -> None:
    create(path, wait=1)
    create(path, wait=1)
    assert applied(path) == [(m.number, m.name, int(m.additive)) for m in KNOWN]


def test_a_file_that_somebody_writes_before_it_is_wal_is_waited_for(path: Path) -> None:
    shell = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    shell.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.3, shell.rollback)
    letting_go.start()
    create(path, wait=30)
    letting_go.join()
    shell.close()
    assert len(applied(path)) == len(KNOWN)


async def test_a_worker_that_runs_goes_on_while_a_newer_one_adds_to_the_schema(path: Path) -> None:
    async with SqliteLedger(path) as old_worker:
        await old_worker.write([usage_row()])
        create(path, wait=1, migrations=[*KNOWN, ADD_COLUMN])
        await old_worker.write([usage_row()])
        assert len(await old_worker.rows(RowFilter(), limit=10)) == 2
        assert (await old_worker.check_totals()).mismatches == []


async def test_an_older_version_opens_what_a_newer_one_has_added_to(path: Path) -> None:
    create(path, wait=1, migrations=[*KNOWN, ADD_COLUMN])
    async with SqliteLedger(path) as ledger:
        await ledger.write([usage_row()])
        assert len(await ledger.rows(RowFilter(), limit=10)) == 1
    assert applied(path)[-1] == (NEXT, f"{NEXT:04}_region", 1)


async def test_an_older_version_refuses_what_a_newer_one_has_changed(path: Path) -> None:
    create(path, wait=1, migrations=[*KNOWN, ADD_COLUMN._replace(additive=False)])
    for read_only in (False, True):
        with pytest.raises(LedgerError) as refused:
            await SqliteLedger(path, read_only=read_only).open()
        assert str(refused.value) == (
            f"the ledger {path} was migrated by a newer version of VoiceGateway (it has "
            f"{NEXT:04}_region, this version knows up to {KNOWN[-1].name}): update this "
            "installation with `pip install -U livekit-plugins-voicegateway`"
        )


async def test_a_migration_that_fails_leaves_everything_as_it_was(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        await ledger.write([usage_row()])
    broken = ADD_COLUMN._replace(script="CREATE TABLE regions (name TEXT);\nSELECT no_such_thing;")
    with pytest.raises(sqlite3.OperationalError, match="no_such_thing"):
        create(path, wait=1, migrations=[*KNOWN, broken])
    assert len(applied(path)) == len(KNOWN)
    create(path, wait=1, migrations=[*KNOWN, ADD_COLUMN])  # `regions` is not there yet
    async with SqliteLedger(path) as ledger:
        assert len(await ledger.rows(RowFilter(), limit=10)) == 1


def test_every_migration_says_what_it_does_and_whether_older_workers_survive_it() -> None:
    for number, migration in enumerate(KNOWN, start=1):
        assert migration.number == number
        assert migration.script.startswith("-- ")
        assert migration.script.splitlines()[1].startswith("-- additive: ")
