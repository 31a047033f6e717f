"""A connection to a ledger's file: queries by name, faults in plain words, a thread of its own.

`SqliteLink` has one for rows and reports, and an eager one for leases, which calls may be waiting
for.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiosqlite

from ..errors import LedgerError
from .queries import Value, load_queries
from .sqlite_errors import FileMoved, explain
from .sqlite_files import Files, Watch, look, put_in_place
from .sqlite_staging import stage_rows, storable

__all__ = ["SqliteConnection"]

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.0005
"""Seconds between two tries of an eager connection to get a lock, to begin with."""

_FIRST_PAUSE_OF_ROWS: Final = 0.001
"""The same of a connection for rows, which nobody waits for."""

_LONGER: Final = 1.25
"""How much longer each pause is than the one before."""

_LONGEST_PAUSE: Final = 0.01
"""Seconds between two tries when it has waited for long. SQLite itself sleeps longer and longer, up
to 100 ms, and with many who write nobody has the lock for much of the time."""


class SqliteConnection:
    """An open connection, made by `connect`. Belongs to the event loop that made it.

    Each statement is between two looks at the files: what was done in a file that is not at the
    ledger's path any more is not done.

    Args:
        path: The ledger's file.
        connection: What is behind it.
        watch: Looks at the files.
        wait: Seconds to wait for other processes' locks.
        eager: See `connect`.
    """

    def __init__(
        self,
        path: Path,
        connection: aiosqlite.Connection,
        watch: Watch,
        *,
        wait: float,
        eager: bool,
    ) -> None:
        self._path = path
        self._connection = connection
        self._watch = watch
        self._wait = wait
        self._eager = eager
        self._closed = False
        self._sql = load_queries("sqlite")

    @classmethod
    async def connect(
        cls, path: Path, database: str, script: str, *, wait: float, eager: bool = False
    ) -> Self:
        """Open a connection.

        Args:
            path: The ledger's file.
            database: SQLite's name for it, a URI; or another database, as long as there is none.
            script: Statements to run first; one of them reads.
            wait: Seconds to wait for other processes' locks.
            eager: Let the event loop wait for a lock, and not the connection's thread; and try
                sooner.

        Raises:
            sqlite3.Error: It cannot be opened, or the script fails.
            FileMoved: The file was replaced meanwhile.
        """
        before = look(str(path))
        connecting = aiosqlite.connect(database, timeout=wait, isolation_level=None, uri=True)
        # a process that ends without closing its ledger must end all the same; what is committed
        # is safe (aiosqlite/core.py: the thread is no daemon, and waits for work for ever)
        connecting._thread.daemon = True
        connection = await connecting
        try:
            await connection.executescript(script)
            watch = Watch(path, before)
        except BaseException:
            await connection.close()
            raise
        return cls(path, connection, watch, wait=wait, eager=eager)

    @property
    def files(self) -> Files:
        """What it has open."""
        return self._watch.files

    async def fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask, and return the lines of the answer.

        Args:
            query: Its name.
            parameters: Values by name.

        Raises:
            LedgerError: The database failed; says why.
        """
        sql, values = self._sql[query], _storable(parameters or {})

        def ask(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(sql, values).fetchall()

        return await self._with_lock(ask)

    async def change(self, query: str, parameters: Mapping[str, Value]) -> int:
        """Write in one transaction, and return how many rows were changed; arguments as `fetch`.

        Raises:
            LedgerError: The database failed; says why.
        """
        sql, values = self._sql[query], _storable(parameters)

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(sql, values).rowcount

        return await self._with_lock(write)

    async def write(self, rows: Sequence[Sequence[Any]], now: str) -> None:
        """Write rows of usage, all of them or none.

        Args:
            rows: Values in column order (`row_codec.values_of`), one version of each row.
            now: The time, as rows have it.

        Raises:
            LedgerError: The database failed, or does not take a value; says why.
        """

        staged = False

        def write(connection: sqlite3.Connection) -> None:
            nonlocal staged
            if not staged:  # and not again for another try to get the lock
                stage_rows(connection, rows)
                staged = True
            connection.execute(self._sql["write_rows"], {"now": now})

        await self._with_lock(write)

    async def put_in_place(self) -> bool:
        """Write the ledger anew, whose -wal or -shm was deleted; see `sqlite_files.put_in_place`.

        Raises:
            LedgerError: That failed; says why.
        """
        files = self._watch.files

        def put(connection: sqlite3.Connection) -> bool:
            return put_in_place(self._path, connection, files, wait=self._wait)

        return await self._explained(put)

    async def close(self) -> None:
        """Finish what is under way and disconnect.

        Raises:
            LedgerError: The database failed; says why.
        """
        self._closed = True
        try:
            await self._connection.close()
        except sqlite3.Error as e:
            raise explain(self._path, e, self._wait) from e
        finally:
            self._watch.end()

    async def _with_lock(self, statement: Callable[[sqlite3.Connection], T]) -> T:
        def watched(connection: sqlite3.Connection) -> T:
            if self._watch.check():
                # by another process, or by somebody who damages it, which what is in memory hides
                connection.execute(self._sql["forget_pages"])
            result = statement(connection)
            self._watch.check()
            return result

        if not self._eager:
            return await self._explained(lambda connection: self._patient(connection, watched))
        deadline = time.monotonic() + self._wait
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._explained(watched)
            except LedgerError as e:
                if not _is_busy(e.__cause__) or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * _LONGER, _LONGEST_PAUSE)

    def _patient(
        self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        deadline = time.monotonic() + self._wait
        pause = _FIRST_PAUSE_OF_ROWS
        while True:
            try:
                return work(connection)
            except sqlite3.OperationalError as e:
                if not _is_busy(e) or time.monotonic() >= deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * _LONGER, _LONGEST_PAUSE)

    async def _explained(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            return work(self._connection._conn)

        try:
            result: T = await self._connection._execute(run)  # type: ignore[no-untyped-call]
        except (sqlite3.Error, OSError, ValueError) as e:
            if self._closed:  # by another task, which has found that the file has moved
                raise FileMoved(self._path, self.files, look(str(self._path))) from None
            if isinstance(e, ValueError):
                raise
            raise explain(self._path, e, self._wait) from e
        return result


def _is_busy(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _storable(parameters: Mapping[str, Value]) -> dict[str, str | int | float | None]:
    return {name: _storable_value(value) for name, value in parameters.items()}


def _storable_value(value: Value) -> str | int | float | None:
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, Decimal):
        value = str(value)
    stored: str | int | float | None = storable(value)
    return stored
