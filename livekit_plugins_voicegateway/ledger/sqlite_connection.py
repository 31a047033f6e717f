"""A connection to a ledger's file: queries by name, faults in plain words, a thread of its own.

`SqliteLedger` has one for rows and reports, and an eager one for leases, which calls may be waiting
for.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiosqlite

from .queries import Value, load_queries
from .sqlite_errors import explain

__all__ = ["SqliteConnection"]

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.0005
"""Seconds between two tries of an eager connection to get a lock, to begin with."""

_LONGEST_PAUSE: Final = 0.01
"""Seconds between two of its tries when it has waited for long."""


class SqliteConnection:
    """An open connection, made by `connect`. Belongs to the event loop that made it.

    Args:
        path: The ledger's file, for messages.
        connection: What is behind it.
        wait: Seconds to wait for other processes' locks.
        eager: See `connect`.
    """

    def __init__(
        self, path: Path, connection: aiosqlite.Connection, *, wait: float, eager: bool
    ) -> None:
        self._path = path
        self._connection = connection
        self._wait = wait
        self._eager = eager
        self._sql = load_queries("sqlite")

    @classmethod
    async def connect(
        cls,
        path: Path,
        database: str,
        script: str | None = None,
        *,
        wait: float,
        eager: bool = False,
    ) -> Self:
        """Open a connection.

        Args:
            path: The ledger's file, for messages.
            database: SQLite's name for it, a URI.
            script: Statements to run first.
            wait: Seconds to wait for other processes' locks.
            eager: Try every other millisecond to get a lock. SQLite itself sleeps longer and
                longer, up to 100 ms, and meanwhile others come and take it.

        Raises:
            sqlite3.Error: It cannot be opened, or the script fails.
        """
        connecting = aiosqlite.connect(
            database, timeout=0 if eager else wait, isolation_level=None, uri=True
        )
        # a process that ends without closing its ledger must end all the same; what is committed
        # is safe (aiosqlite/core.py: the thread is no daemon, and waits for work for ever)
        connecting._thread.daemon = True
        connection = await connecting
        if script is not None:
            try:
                await connection.executescript(script)
            except BaseException:
                await connection.close()
                raise
        return cls(path, connection, wait=wait, eager=eager)

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

        async def ask() -> list[tuple[Any, ...]]:
            found = await self._connection.execute_fetchall(self._sql[query], values)
            return [tuple(line) for line in found]

        values = _storable(parameters or {})
        return await self._with_lock(ask)

    async def change(self, query: str, parameters: Mapping[str, Value]) -> int:
        """Write in one transaction, and return how many rows were changed; arguments as `fetch`.

        Raises:
            LedgerError: The database failed; says why.
        """

        async def write() -> int:
            async with self._connection.execute(self._sql[query], values) as cursor:
                return cursor.rowcount

        values = _storable(parameters)
        return await self._with_lock(write)

    async def close(self) -> None:
        """Finish what is under way and disconnect.

        Raises:
            LedgerError: The database failed; says why.
        """
        try:
            await self._connection.close()
        except sqlite3.Error as e:
            raise explain(self._path, e, self._wait) from e

    async def _with_lock(self, statement: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._wait
        pause = _FIRST_PAUSE
        while True:
            try:
                return await statement()
            except sqlite3.Error as e:
                if not self._eager or not _is_busy(e) or time.monotonic() >= deadline:
                    raise explain(self._path, e, self._wait) from e
            await asyncio.sleep(pause)
            pause = min(pause * 1.25, _LONGEST_PAUSE)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _storable(parameters: Mapping[str, Value]) -> dict[str, str | int | float | None]:
    return {name: _storable_value(value) for name, value in parameters.items()}


def _storable_value(value: Value) -> str | int | float | None:
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, Decimal):
        value = str(value)
    # what is no text to SQLite, half of a surrogate pair, is replaced in questions as in rows
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
