"""The ledger on PostgreSQL: one database that many hosts write, through asyncpg.

A write is one statement and so one transaction: triggers keep totals, calls and leases inside it.
What decides between hosts, such as when a lease ends, goes by the server's clock.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, TypeVar

import asyncpg

from ..errors import LedgerError, RowsRefusedError
from ..metering.usage import UsageRow
from .base import Grant
from .postgres_connection import LONG, PostgresConnection, Statements
from .postgres_errors import shown
from .postgres_migrate import bring_up_to_date, is_current
from .postgres_projects import PostgresManagedProjects
from .postgres_rows import columns_of, needs_repair, repair
from .queries import Value
from .row_codec import latest
from .sql_monitoring import SqlMonitoring
from .sql_overview import SqlWatching
from .sql_passages import SqlPassages
from .sql_reading import SqlReading

__all__ = ["PostgresLedger"]

TIMEOUT: Final = 10.0
"""Seconds to wait for the server: to connect, and for each answer but those that read all rows."""

_CHUNK: Final = 128
"""Rows that are prepared before the event loop, or another thread, may go on: about 0.5 ms."""

_DELETED_AT_ONCE: Final = 5_000
"""Rows that retention deletes in one transaction."""

_MOST: Final = 2**63 - 1
"""The greatest number that a bigint holds; a budget beyond it, 9 billion dollars, is none."""

_SETTLED_DAYS: Final = 2
"""Days after which hardly anybody changes the totals of a day."""

_LONG: Final = frozenset(("mismatches", "checked", "drop_month", "delete_usage", "forget_calls"))
"""What takes longer the more requests there are."""

_REPAIRABLE: Final = (
    asyncpg.DataError,  # among them: a number out of range, and what asyncpg cannot encode
    asyncpg.ProgramLimitExceededError,
    asyncpg.NotNullViolationError,
    asyncpg.CheckViolationError,  # also for a moment, when a month gets a place of its own
    UnicodeError,
)
"""What a row is not taken for because of what is in it."""

T = TypeVar("T")


class PostgresLedger(SqlReading, SqlPassages, SqlWatching, SqlMonitoring, PostgresManagedProjects):
    """A ledger in a PostgreSQL database. It has one connection, and a second one while leases
    would have to wait for rows.

    Args:
        url: ``postgresql://user:password@host:port/database``, with options as asyncpg has them
            (``?sslmode=verify-full``). The schema is made when it is opened first.
        read_only: Refuse to write; several may read while others write.
        clock: Unix time in seconds. With the system's clock, which may be another one on each
            host, the server's takes its place wherever hosts have to agree.
        timeout: Seconds to wait for the server.
    """

    def __init__(
        self,
        url: str,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        timeout: float = TIMEOUT,
    ) -> None:
        self.name = shown(url)
        self.read_only = read_only
        self._url = url
        self._clock = clock
        self._wait = timeout
        self._connection: PostgresConnection | None = None
        self._leases: PostgresConnection | None = None
        self._pid = 0

    async def open(self) -> None:
        if self._connection is not None:
            return
        self._pid = os.getpid()
        connection = self._connect(read_only=self.read_only)
        try:
            if not await is_current(connection, self.name):
                await self._migrate()
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        self._leases = self._connect(read_only=self.read_only)

    async def close(self) -> None:
        if self._pid != os.getpid():
            return  # they belong to the process that was forked
        connections = [self._leases, self._connection]
        self._leases = self._connection = None
        for connection in connections:
            if connection is not None:
                await connection.close()

    async def write(self, rows: Sequence[UsageRow]) -> None:
        if not rows:
            return
        rows = latest(rows)
        try:
            await self._write(rows)
        except RowsRefusedError:
            await self._write([repair(row) for row in rows])

    async def close_stale(self, older_than_seconds: float) -> int:
        return await self._change("close_stale", self._since(older_than_seconds))

    async def delete_usage_before(self, day: str) -> int:
        what: dict[str, Value] = {"day": day, "started_before": _shifted(day, 1)}
        if not await self._fetch("any_usage_before", what):
            return 0
        self._check_writable()
        await self._change("keep_from", what)
        deleted = 0
        for (place,) in await self._fetch("months_before", what):
            ((dropped,),) = await self._fetch("drop_month", {**what, "place": place})
            deleted += dropped or 0
        while count := await self._change("delete_usage", {**what, "limit": _DELETED_AT_ONCE}):
            deleted += count
        await self._change("forget_calls", what)
        return deleted

    async def housekeeping(self, *, retention_days: int, today: str) -> None:
        await super().housekeeping(retention_days=retention_days, today=today)
        await self._fetch("make_months")
        await self._fetch("fold_slots", {"day": _shifted(today, -_SETTLED_DAYS)})

    async def budget_status(self, project: str, day: str) -> tuple[int, int]:
        ((settled, leased),) = await self._for_leases().fetch(
            "budget_status", {"project": project, "day": day, "now": self._now()}
        )
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
        if need_nanos > 0 or want_nanos > 0:
            self._check_writable()
        ((granted, settled, leased),) = await self._for_leases().fetch(
            "acquire_lease",
            {
                "project": project,
                "day": day,
                "owner": owner,
                "budget": min(budget_nanos, _MOST),
                "need": min(need_nanos, _MOST),
                "want": min(want_nanos, _MOST),
                "share": share,
                "now": self._now(),
                "life": expires_at - self._clock(),
            },
        )
        return Grant(granted, settled, leased)

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        self._check_writable()
        what = {"project": project, "day": day, "owner": owner, "nanos": min(nanos, _MOST)}
        if not await self._for_leases().change("return_whole_lease", what):
            await self._for_leases().change("return_lease", what)

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        self._check_writable()
        renewed = await self._for_leases().fetch(
            "renew_leases",
            {"owner": owner, "life": expires_at - self._clock(), "now": self._now()},
        )
        await self.delete_dead_leases("")
        return {(project, day) for project, day in renewed}

    async def delete_dead_leases(self, today: str) -> None:
        what = {"now": self._now(), "day": today}
        leases = self._for_leases()
        if await leases.fetch("any_dead_lease", what):
            self._check_writable()
            await leases.change("delete_dead_leases", what)

    async def version(self) -> int:
        ((version,),) = await self._fetch("data_version")
        return int(version)

    def _connect(self, *, read_only: bool) -> PostgresConnection:
        return PostgresConnection(self._url, self.name, wait=self._wait, read_only=read_only)

    async def _migrate(self) -> None:
        connection = self._connect(read_only=False)
        try:
            await bring_up_to_date(connection, self.name)
        finally:
            await connection.close()

    async def _write(self, rows: Sequence[UsageRow]) -> None:
        columns: dict[str, list[Any]] = {}
        try:
            for start in range(0, len(rows), _CHUNK):
                for name, values in self._storable_columns(rows[start : start + _CHUNK]).items():
                    columns.setdefault(name, []).extend(values)
                await asyncio.sleep(0)
        except (ValueError, TypeError, OverflowError) as e:
            raise self._refused(e) from e
        try:
            await self._change("write_rows", {**columns, "now": self._now()})
        except LedgerError as e:
            if isinstance(e.__cause__, _REPAIRABLE):
                raise self._refused(e.__cause__) from e
            raise

    def _refused(self, reason: BaseException) -> RowsRefusedError:
        return RowsRefusedError(f"the ledger {self.name} does not take a row: {reason}")

    @staticmethod
    def _storable_columns(rows: Sequence[UsageRow]) -> dict[str, Any]:
        columns = columns_of(rows)
        return columns_of([repair(row) for row in rows]) if needs_repair(columns) else columns

    def _now(self) -> float | None:
        """The time that hosts have to agree on; None for the server's."""
        return None if self._clock is time.time else self._clock()

    def _since(self, seconds: float) -> dict[str, Value]:
        return {"seen_within": seconds, "now": self._now()}

    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        wait = LONG if query in _LONG else None
        return await self._opened(self._connection).fetch(query, parameters, wait=wait)

    async def _change(self, query: str, parameters: Mapping[str, Any]) -> int:
        self._check_writable()
        wait = LONG if query in _LONG else None
        return await self._opened(self._connection).change(query, parameters, wait=wait)

    async def _in_transaction(self, work: Callable[[Statements], Awaitable[T]]) -> T:
        self._check_writable()
        return await self._opened(self._connection).in_transaction(work)

    async def _listen(self, channel: str, told: Callable[[], None]) -> None:
        await self._opened(self._connection).listen(channel, told)

    def _for_leases(self) -> PostgresConnection:
        """The connection that is free: calls may be waiting for a lease, and nobody for rows."""
        connection = self._opened(self._connection)
        return self._opened(self._leases) if connection.is_busy else connection

    def _check_writable(self) -> None:
        if self.read_only:
            raise LedgerError(f"the ledger {self.name} was opened for reading only")

    def _opened(self, connection: PostgresConnection | None) -> PostgresConnection:
        if connection is None:
            raise LedgerError(
                f"the ledger {self.name} is not open: `await ledger.open()`, or use "
                "`async with ledger:`"
            )
        if self._pid != os.getpid():
            raise LedgerError(
                f"the ledger {self.name} was opened before this process was forked; open one here"
            )
        return connection


def _shifted(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
