"""How each fault of the database is made, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.migrate import create
from livekit_plugins_voicegateway.ledger.queries import load_migrations, load_queries
from livekit_plugins_voicegateway.ledger.row_codec import decode_row
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow

from .steady_calls import PATIENCE

__all__ = ["FAULTS", "OTHER", "CannotBeMade", "Fault", "locked"]

OTHER: Final = "another-ledger"
"""Project of the rows of a ledger that is put in place of the calls' own."""

PAGE: Final = 4096

Gone = Sequence[UsageRow]
"""Rows that were done and are gone with their file, which nobody could keep."""


class CannotBeMade(Exception):
    """This machine, or this user, cannot make the fault; says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to a ledger.

    Attributes:
        name: Of its experiment.
        words: What is done, in words.
        make: Does it to a file, and ends it with the context. Yields what is `Gone`.
        seconds: How long it lasts.
        at_first: Whether it is done before the gateway has seen the ledger.
        on_small_disk: Whether the ledger needs a small disk of its own.
        waits: Whether usage has to wait for its end.
        moves: Whether the file is moved aside; None if that depends on what SQLite still has.
    """

    name: str
    words: str
    make: Callable[[Path], AbstractContextManager[Gone]]
    seconds: float = 10.0
    at_first: bool = False
    on_small_disk: bool = False
    waits: bool = False
    moves: bool | None = False


_HOLD: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""

_OVERWRITE: Final = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    file.write(sys.stdin.buffer.read())
"""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Gone]:
    """Another process holds the write lock."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield []
        process.communicate()


@contextlib.contextmanager
def _full(path: Path) -> Iterator[Gone]:
    ballast = path.with_name("ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    yield []
    ballast.unlink()


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[Gone]:
    """For those, too, who have the files open for writing.

    Not the -shm: whoever writes to the memory that is mapped to it would be ended by the kernel.
    """
    files = [str(path), f"{path}-wal"]
    try:
        done = subprocess.run(["chattr", "+i", *files], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotBeMade("there is no chattr, which makes open files read-only") from None
    try:
        if done.returncode:
            raise CannotBeMade(f"open files cannot be made read-only: {done.stderr.strip()}")
        yield []
    finally:
        subprocess.run(["chattr", "-i", *files], capture_output=True, check=False)


@contextlib.contextmanager
def _unlinked(path: Path) -> Iterator[Gone]:
    with _alone_with(path) as rows:
        path.unlink()
    yield rows


@contextlib.contextmanager
def _all_unlinked(path: Path) -> Iterator[Gone]:
    with _alone_with(path) as rows:
        for suffix in ("", "-wal", "-shm"):
            os.unlink(f"{path}{suffix}")
    yield rows


@contextlib.contextmanager
def _folder_removed(path: Path) -> Iterator[Gone]:
    with _alone_with(path) as rows:
        shutil.rmtree(path.parent)
    yield rows


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Gone]:
    other = path.with_name("other.db")
    asyncio.run(_make_other(path, other))
    with _alone_with(path) as rows:
        os.replace(other, path)
    yield rows


async def _make_other(path: Path, other: Path) -> None:
    async with SqliteLedger(path, read_only=True) as ledger, SqliteLedger(other) as copy:
        (row,) = await ledger.rows(RowFilter(status="completed"), limit=1)
        await copy.write([replace(row, id=uuid7(), request_id=uuid7(), project=OTHER)])


@contextlib.contextmanager
def _beside_unlinked(suffixes: Sequence[str], path: Path) -> Iterator[Gone]:
    for suffix in suffixes:
        os.unlink(f"{path}{suffix}")
    yield []


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[Gone]:
    with _alone_with(path) as rows:
        path.unlink()
        path.mkdir()
    yield rows
    path.rmdir()


@contextlib.contextmanager
def _damaged(how: str, path: Path) -> Iterator[Gone]:
    with _alone_with(path) as rows:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            connection.execute("PRAGMA wal_checkpoint")  # else what is damaged is not read again
        pages = path.stat().st_size // PAGE
        if how == "header":
            _overwrite(path, 0, bytes(100))
        elif how == "pages":
            _overwrite(path, PAGE, os.urandom((pages - 1) * PAGE))
        elif how == "cut":
            os.truncate(path, pages // 2 * PAGE)
        else:
            os.truncate(path, 0)
    yield rows


def _overwrite(path: Path, start: int, data: bytes) -> None:
    # not in this process, whose locks on the file would end with that
    command = [sys.executable, "-c", _OVERWRITE, str(path), str(start)]
    subprocess.run(command, input=data, check=True)


@contextlib.contextmanager
def _alone_with(path: Path) -> Iterator[Gone]:
    """Let nobody commit in the context: whoever comes then does it in a file that has gone."""
    sql = load_queries("sqlite")
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        ids = [row_id for (row_id,) in connection.execute("SELECT id FROM usage")]
        found = connection.execute(sql["rows"], {"ids": json.dumps(ids)})
        yield [row for row in map(decode_row, found) if row.status != "open"]
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def _older(path: Path) -> Iterator[Gone]:
    create(path, wait=PATIENCE, migrations=load_migrations("sqlite")[:1])
    yield []


@contextlib.contextmanager
def _newer(additive: bool, path: Path) -> Iterator[Gone]:
    create(path, wait=PATIENCE)
    note = (9999, "9999_from_the_future", int(additive))
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection, connection:
        if additive:
            connection.execute("ALTER TABLE usage ADD COLUMN region TEXT")
        connection.execute("INSERT INTO schema_migrations VALUES (?, ?, ?, datetime('now'))", note)
    yield []
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection, connection:
        connection.execute("DELETE FROM schema_migrations WHERE number = 9999")


FAULTS: Final = [
    Fault("database-locked", "locked by another process", locked, 60.0, waits=True),
    Fault("database-full", "the disk is full", _full, on_small_disk=True, waits=True),
    Fault("database-read-only", "file and -wal are made read-only in use", _read_only, waits=True),
    Fault("database-deleted", "the file is deleted in use", _unlinked),
    Fault("database-deleted", "the file, -wal and -shm are deleted in use", _all_unlinked),
    Fault("database-deleted", "its folder is deleted in use", _folder_removed),
    Fault("database-replaced", "replaced by another ledger in use", _replaced),
    *(
        Fault(
            "database-wal-deleted",
            f"{' and '.join(suffixes)} deleted in use",
            partial(_beside_unlinked, suffixes),
        )
        for suffixes in (["-wal"], ["-shm"], ["-wal", "-shm"])
    ),
    Fault("database-directory", "a directory is put in its place", _directory, waits=True),
    *(
        Fault(
            "database-damaged",
            words,
            partial(_damaged, how),
            moves=None
            if how == "header"
            else True,  # it may be in the -wal, and is mended from there
        )
        for how, words in {
            "header": "the header is zeroed in use",
            "pages": "all pages are overwritten with garbage in use",
            "cut": "cut to half its length in use",
            "emptied": "emptied in use",
        }.items()
    ),
    Fault("database-version", "an older schema", _older, at_first=True),
    Fault("database-version", "a newer schema that adds", partial(_newer, True), at_first=True),
    Fault(
        "database-version",
        "a newer schema that this version cannot use, until it is back",
        partial(_newer, False),
        at_first=True,
        waits=True,
    ),
]
