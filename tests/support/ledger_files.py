"""What tests look at in the files of a SQLite ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

from .usage_rows import usage_row


async def write(ledger: SqliteLedger, count: int = 1) -> set[str]:
    """Write new rows; their ids."""
    rows = [usage_row() for _ in range(count)]
    await ledger.write(rows)
    return {row.id for row in rows}


async def ids(ledger: SqliteLedger) -> set[str]:
    """The ids of all rows."""
    return {row.id for row in await ledger.rows(RowFilter(), limit=100_000)}


async def ids_in(path: Path) -> set[str]:
    """The ids of all rows of a file."""
    async with SqliteLedger(path, read_only=True) as reader:
        return await ids(reader)


async def assert_sound(path: Path) -> None:
    """Whether totals and file are as they should be."""
    async with SqliteLedger(path, read_only=True) as reader:
        assert (await reader.check_totals()).mismatches == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def asides(path: Path, what: str = "corrupt") -> list[Path]:
    """What was moved aside of a ledger."""
    found = path.parent.glob(f"{path.name}.{what}-*")
    return [file for file in found if not file.name.endswith(("-wal", "-shm"))]


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """The messages of the log that have some words in them."""
    return [r.getMessage() for r in caplog.records if words in r.getMessage()]
