"""Makes a SQLite ledger's file, and brings its schema up to date. `SqliteLedger.open` calls this.

Any number of processes may do it at once: what is missing is applied in one transaction under the
file's write lock, by whoever gets it first. A database that a newer version has migrated is used
as long as what is unknown here only adds to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..errors import LedgerError
from ..log import logger
from .queries import Migration, load_migrations, load_queries
from .sqlite_files import folder_lock, leave_behind

__all__ = ["create", "empty_script", "is_current"]

_RETRY: Final = 0.02
"""Seconds between two tries to switch a file to WAL, which SQLite does not wait for by itself."""


def create(path: Path, *, wait: float, migrations: Sequence[Migration] | None = None) -> None:
    """Make the file unless it is there, for its owner's eyes only, and apply what it lacks.

    Args:
        path: The file; its folder is made too.
        wait: Seconds to wait for a lock.
        migrations: What to apply; those of this version when left out.

    Raises:
        LedgerError: The file belongs to a newer version, or cannot keep a ledger.
        sqlite3.Error, OSError: It cannot be opened or written.
    """
    known = load_migrations("sqlite") if migrations is None else migrations
    _make_file(path, wait)
    sql = load_queries("sqlite")
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
    try:
        _use_wal(connection, sql["use_wal"], path, wait)
        if is_current(connection, path, known):
            return
        connection.execute(sql["begin"])
        try:
            connection.execute(sql["create_migrations"])
            applied = _applied(connection)
            for migration in known:
                if migration.number not in applied:
                    _apply(connection, migration)
            connection.execute(sql["commit"])
        except BaseException:
            connection.rollback()
            raise
    finally:
        connection.close()


def _make_file(path: Path, wait: float) -> None:
    if os.path.lexists(path):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder_lock(path, wait), contextlib.suppress(FileExistsError):
        kept = None if os.path.lexists(path) else leave_behind(path)
        if kept is not None:
            logger.warning(
                "the ledger %s was deleted, but not what was written to it last: that is in %s "
                "now. If the file is somewhere else, name it like that, without -wal, to have "
                "both.",
                path,
                kept,
            )
        # before SQLite opens it: -wal and -shm get the permissions of the file
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def is_current(
    connection: sqlite3.Connection, path: Path, known: Sequence[Migration] | None = None
) -> bool:
    """Return whether a database lacks none of our migrations.

    Raises:
        LedgerError: A newer version has changed it in a way that this one cannot go on with.
    """
    known = load_migrations("sqlite") if known is None else known
    if not connection.execute(load_queries("sqlite")["has_migrations"]).fetchone()[0]:
        return False
    applied = _applied(connection)
    newest = known[-1].number
    for number, (name, additive) in applied.items():
        if number > newest and not additive:
            raise LedgerError(
                f"the ledger {path} was migrated by a newer version of VoiceGateway (it has "
                f"{name}, this version knows up to {known[-1].name}): update this installation "
                "with `pip install -U livekit-plugins-voicegateway`"
            )
    return all(migration.number in applied for migration in known)


def empty_script() -> str:
    """Return the script that makes an empty ledger in a new database."""
    return "\n".join(migration.script for migration in load_migrations("sqlite"))


def _applied(connection: sqlite3.Connection) -> dict[int, tuple[str, bool]]:
    rows = connection.execute(load_queries("sqlite")["applied_migrations"])
    return {number: (name, bool(additive)) for number, name, additive in rows}


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in _statements(migration.script):
        connection.execute(statement)
    connection.execute(
        load_queries("sqlite")["record_migration"],
        {
            "number": migration.number,
            "name": migration.name,
            "additive": migration.additive,
        },
    )


def _statements(script: str) -> Iterator[str]:
    """Split a script, because `sqlite3.Connection.executescript` commits what is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _use_wal(connection: sqlite3.Connection, pragma: str, path: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            (mode,) = connection.execute(pragma).fetchone()
        except sqlite3.OperationalError as e:
            locked = e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not locked or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY)
            continue
        if mode != "wal":
            raise LedgerError(
                f"the ledger {path} cannot be used: its file system has no shared memory, which "
                "WAL needs; put it on a local disk"
            )
        return
