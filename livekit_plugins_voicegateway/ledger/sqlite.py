"""The ledger on SQLite: one file in WAL mode that many processes write, through aiosqlite.

Each write is a single statement and so a single transaction: it needs one round trip to the
connection's thread, it holds the file's write lock only while SQLite works and never while Python
does, and triggers keep the totals inside it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from ..errors import LedgerError
from ..metering.usage import UsageRow
from ..times import to_iso
from .base import Grant
from .migrate import create, empty_script, is_current
from .queries import Value, load_queries
from .row_codec import encode_rows
from .sql_monitoring import SqlMonitoring
from .sql_overview import SqlWatching
from .sql_passages import SqlPassages
from .sql_reading import SqlReading
from .sqlite_connection import SqliteConnection
from .sqlite_errors import explain
from .sqlite_projects import SqliteManagedProjects

__all__ = ["SqliteLedger"]

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process's write before giving up; a write takes milliseconds."""

_CHUNK: Final = 64
"""Rows that are encoded before the event loop, or another thread, may go on: about 0.5 ms."""

_DELETED_AT_ONCE: Final = 5_000
"""Rows that retention deletes in one transaction: other processes write in between."""

_TRIES: Final = 50
"""Times that a lease is asked for while others change what is left: some 50 ms. A try fails only
when others have taken more than fifteen sixteenths of it meanwhile, or nearly all is gone."""

_MOST: Final = 2**63 - 1
"""The greatest number SQLite has; a budget beyond it, 9 billion dollars, is none."""


class SqliteLedger(SqlReading, SqlPassages, SqlWatching, SqlMonitoring, SqliteManagedProjects):
    """A ledger in one file of this machine.

    Args:
        path: The file. With its folder it is made when it is opened for writing, with permissions
            0600. Reading a file that does not exist yet finds an empty ledger, and makes none.
        read_only: Refuse to write; several may read while others write.
        clock: Unix time in seconds.
        busy_timeout: Seconds to wait for other processes' locks.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> None:
        self.path = path.expanduser().absolute()
        self.read_only = read_only
        self._clock = clock
        self._wait = busy_timeout
        self._connection: SqliteConnection | None = None
        self._leases: SqliteConnection | None = None
        self._pid = 0
        self._until: Path | None = None

    async def open(self) -> None:
        if self._connection is not None:
            return
        self._pid = os.getpid()
        try:
            if self.read_only:
                self._connection = await self._open_for_reading()
            else:
                await self._create()
                self._connection = await self._connect("settle")
                self._leases = await self._connect("settle_leases", eager=True)
        except BaseException as e:
            await self.close()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise explain(self.path, e, self._wait) from e
            raise

    async def close(self) -> None:
        connections = [self._leases, self._connection]
        self._leases = self._connection = None
        if self._pid == os.getpid():
            for connection in connections:
                if connection is not None:
                    await connection.close()

    async def write(self, rows: Sequence[UsageRow]) -> None:
        if not rows:
            return
        encoded = []
        for start in range(0, len(rows), _CHUNK):
            encoded.append(encode_rows(rows[start : start + _CHUNK]))
            await asyncio.sleep(0)
        await self._change(
            "write_rows", {"rows": f"[{','.join(encoded)}]", "now": to_iso(self._clock())}
        )

    async def close_stale(self, older_than_seconds: float) -> int:
        return await self._change(
            "close_stale", {"seen_before": to_iso(self._clock() - older_than_seconds)}
        )

    async def delete_usage_before(self, day: str) -> int:
        what = {"day": day, "started_before": _next_day(day)}
        if not await self._fetch("any_usage_before", what):
            return 0
        await self._change("keep_from", what)
        deleted = 0
        while count := await self._change("delete_usage", {**what, "limit": _DELETED_AT_ONCE}):
            deleted += count
        await self._change("forget_calls", what)
        return deleted

    async def budget_status(self, project: str, day: str) -> tuple[int, int]:
        settled, leased, _ = await self._budget_status(project, day, owner=None)
        return settled, leased

    async def acquire_lease(
        self,
        project: str,
        day: str,
        owner: str,
        *,
        budget_nanos: int,
        need_nanos: int,
        want_nanos: int,
        share: int,
        expires_at: float,
    ) -> Grant:
        budget = min(budget_nanos, _MOST)
        for _ in range(_TRIES):
            settled, leased, held = await self._budget_status(project, day, owner)
            left = budget - settled - leased
            granted = max(need_nanos, min(want_nanos, left // share))
            if left < granted or granted <= 0:
                # a question, or nothing left for it: answered without taking a lock
                return Grant(0, settled, leased)
            changed = await self._change_leases(
                "acquire_lease",
                {
                    "project": project,
                    "day": day,
                    "owner": owner,
                    "now": self._clock(),
                    "budget": budget,
                    "granted": granted,
                    "expires_at": expires_at,
                },
            )
            if changed:
                return Grant(granted, settled, leased + max(0, held + granted) - max(0, held))
            # others have taken it since we looked
        raise LedgerError(
            f"the ledger {self.path} gave no lease: other processes changed what is left of "
            f"project {project!r} {_TRIES} times while this one asked for a part of it"
        )

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        what: dict[str, Value] = {
            "project": project,
            "day": day,
            "owner": owner,
            "nanos": min(nanos, _MOST),
        }
        if not await self._change_leases("return_whole_lease", what):
            await self._change_leases("return_lease", what)

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        self._check_writable()
        renewed = await self._opened(self._leases).fetch(
            "renew_leases", {"owner": owner, "expires_at": expires_at, "now": self._clock()}
        )
        await self.delete_dead_leases("")
        return {(project, day) for project, day in renewed}

    async def delete_dead_leases(self, today: str) -> None:
        what: dict[str, Value] = {"now": self._clock(), "day": today}
        if await self._fetch("any_dead_lease", what):
            await self._change_leases("delete_dead_leases", what)

    async def version(self) -> int:
        ((version,),) = await self._fetch("data_version")
        return int(version)

    async def _budget_status(
        self, project: str, day: str, owner: str | None
    ) -> tuple[int, int, int]:
        """What is settled, what is leased, and what ``owner`` holds, below 0 if it overspent."""
        # not behind rows that wait for a lock; where nothing is written there is no such connection
        connection = self._opened(self._connection if self.read_only else self._leases)
        ((settled, leased, held),) = await connection.fetch(
            "budget_status", {"project": project, "day": day, "owner": owner, "now": self._clock()}
        )
        return settled, leased, held

    async def _create(self) -> None:
        if self.path.exists() and not os.access(self.path, os.W_OK) and not self.path.is_dir():
            raise LedgerError(
                f"the ledger {self.path} cannot be used: it is read-only for this user; make the "
                "file and its folder writable"
            )
        await asyncio.to_thread(create, self.path, wait=self._wait)

    async def _connect(self, settings: str, *, eager: bool = False) -> SqliteConnection:
        return await SqliteConnection.connect(
            self.path,
            f"{self.path.as_uri()}?mode=rw",
            load_queries("sqlite")[settings],
            wait=self._wait,
            eager=eager,
        )

    async def _open_for_reading(self) -> SqliteConnection:
        self._until = None
        if not self.path.exists():
            self._until = self.path
            return await SqliteConnection.connect(
                self.path, ":memory:", empty_script(), wait=self._wait
            )
        uri = f"{self.path.as_uri()}?mode=ro"
        wal = Path(f"{self.path}-wal")
        if not os.access(self.path.parent, os.W_OK) and not wal.exists():
            # nobody writes it now, and the files that readers share could not be made
            uri += "&immutable=1"
            self._until = wal
        if not await asyncio.to_thread(self._is_current, uri):
            # made by an older version, or not finished by whoever made it
            await asyncio.to_thread(create, self.path, wait=self._wait)
        return await SqliteConnection.connect(self.path, uri, wait=self._wait)

    def _is_current(self, uri: str) -> bool:
        connection = sqlite3.connect(uri, timeout=self._wait, isolation_level=None, uri=True)
        try:
            return is_current(connection, self.path)
        finally:
            connection.close()

    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        if self._until is not None and self._until.exists():
            await self._open_again()
        return await self._opened(self._connection).fetch(query, parameters)

    async def _open_again(self) -> None:
        """Look at what is there now: at first there was no file, or nobody who wrote it."""
        before, self._until = self._connection, None
        try:
            self._connection = await self._open_for_reading()
        except (sqlite3.Error, OSError) as e:
            self._until = self.path
            raise explain(self.path, e, self._wait) from e
        if before is not None:
            await before.close()

    async def _change(self, query: str, parameters: Mapping[str, Value]) -> int:
        self._check_writable()
        return await self._opened(self._connection).change(query, parameters)

    async def _change_leases(self, query: str, parameters: Mapping[str, Value]) -> int:
        self._check_writable()
        return await self._opened(self._leases).change(query, parameters)

    def _check_writable(self) -> None:
        if self.read_only:
            raise LedgerError(f"the ledger {self.path} was opened for reading only")

    def _opened(self, connection: SqliteConnection | None) -> SqliteConnection:
        if connection is None:
            raise LedgerError(
                f"the ledger {self.path} is not open: `await ledger.open()`, or use "
                "`async with ledger:`"
            )
        if self._pid != os.getpid():
            raise LedgerError(
                f"the ledger {self.path} was opened before this process was forked; open one here"
            )
        return connection


def _next_day(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
