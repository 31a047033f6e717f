"""The ledger on SQLite: one file in WAL mode that many processes write, through aiosqlite.

Each write is a single statement and so a single transaction: it needs one round trip to the
connection's thread, it holds the file's write lock only while SQLite works and never while Python
does, and triggers keep the totals inside it. The rows are with SQLite before it asks for the lock
(`sqlite_staging`).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from ..errors import LedgerError, RowsRefusedError
from ..metering.usage import UsageRow
from ..times import to_iso
from .base import Grant
from .queries import Value
from .row_codec import latest, values_of
from .sql_monitoring import SqlMonitoring
from .sql_overview import SqlWatching
from .sql_passages import SqlPassages
from .sql_reading import SqlReading
from .sqlite_link import SqliteLink
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
        self._link = SqliteLink(self.path, read_only=read_only, wait=busy_timeout)

    async def open(self) -> None:
        await self._link.open()

    async def close(self) -> None:
        await self._link.close()

    async def write(self, rows: Sequence[UsageRow]) -> None:
        if not rows:
            return
        values: list[list[Any]] = []
        rows = latest(rows)
        try:
            for start in range(0, len(rows), _CHUNK):
                values += values_of(rows[start : start + _CHUNK])
                await asyncio.sleep(0)
        except (ValueError, TypeError) as e:
            raise RowsRefusedError(f"the ledger {self.path} does not take a row: {e}") from e
        self._check_writable()
        now = to_iso(self._clock())
        try:
            await self._link.on_rows(lambda connection: connection.write(values, now), mend=True)
        except LedgerError as e:
            if _is_refusal(e.__cause__):
                why = f"the ledger {self.path} does not take a row: {e.__cause__}"
                raise RowsRefusedError(why) from e
            raise

    async def close_stale(self, older_than_seconds: float) -> int:
        what = {"seen_before": to_iso(self._clock() - older_than_seconds)}
        self._check_writable()
        if not await self._fetch("any_stale", what):
            return 0  # without taking a lock: many processes look
        return await self._change("close_stale", what)

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
        settled, leased, *_ = await self._budget_status(project, day, owner=None)
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
            settled, leased, held, holders = await self._budget_status(project, day, owner)
            left = budget - settled - leased
            fair = (budget - settled) // max(1, share // 4) // holders - max(0, held)
            granted = max(need_nanos, min(want_nanos, left // share, fair))
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
        what: dict[str, Value] = {"owner": owner, "expires_at": expires_at, "now": self._clock()}
        renewed = await self._link.on_leases(lambda leases: leases.fetch("renew_leases", what))
        await self.delete_dead_leases("")
        return {(project, day) for project, day, of in renewed if of == owner}

    async def delete_dead_leases(self, today: str) -> None:
        what: dict[str, Value] = {"now": self._clock(), "day": today}
        if await self._fetch("any_dead_lease", what):
            await self._change_leases("delete_dead_leases", what)

    async def version(self) -> int:
        ((version,),) = await self._fetch("data_version")
        return (self._link.generation << 32) + int(version)

    async def _budget_status(
        self, project: str, day: str, owner: str | None
    ) -> tuple[int, int, int, int]:
        """What is settled, what is leased, what ``owner`` holds, below 0 if it overspent, and among
        how many what is left is to be divided, ``owner`` with them."""
        what: dict[str, Value] = {
            "project": project,
            "day": day,
            "owner": owner,
            "now": self._clock(),
        }
        ((settled, leased, held, others),) = await self._link.on_leases(
            lambda leases: leases.fetch("budget_status", what)
        )
        return settled, leased, held, others + 1

    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        return await self._link.on_rows(lambda rows: rows.fetch(query, parameters))

    async def _change(self, query: str, parameters: Mapping[str, Value]) -> int:
        self._check_writable()
        return await self._link.on_rows(lambda rows: rows.change(query, parameters), mend=True)

    async def _change_leases(self, query: str, parameters: Mapping[str, Value]) -> int:
        self._check_writable()
        return await self._link.on_leases(lambda leases: leases.change(query, parameters))

    def _check_writable(self) -> None:
        if self.read_only:
            raise LedgerError(f"the ledger {self.path} was opened for reading only")


def _is_refusal(error: BaseException | None) -> bool:
    """Whether SQLite does not take a value; not when the connection is of no use."""
    if isinstance(error, sqlite3.ProgrammingError):
        return "binding parameter" in str(error)  # a value of no type that SQLite has
    return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)


def _next_day(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
