"""Projects made at run time in a SQLite ledger: written here, in a transaction of their own.

A change is rare, and is several statements: it gets a connection for itself, on a thread, so that
rows and leases are not held up.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .projects import ManagedProjects, ManagedRow, ManagedRows, ProjectChange
from .queries import load_queries
from .sqlite_errors import explain

if TYPE_CHECKING:
    from .sqlite_connection import Value

__all__ = ["SqliteManagedProjects"]

_COLUMNS: Final = tuple(field.name for field in fields(ManagedRow))


class SqliteManagedProjects(ManagedProjects):
    """The part of `SqliteLedger` that projects made at run time ask."""

    path: Path
    _wait: float

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

    @abstractmethod
    def _check_writable(self) -> None:
        """Raise `LedgerError` if it was opened for reading only."""

    async def open_requests(self, project: str) -> int:
        ((count,),) = await self._fetch("open_requests", {"project": project})
        return int(count)

    async def projects_version(self) -> int:
        ((version,),) = await self._fetch("projects_version")
        return int(version)

    async def managed_projects(self) -> ManagedRows:
        found = await self._fetch("managed_projects")
        rows = {}
        for _, *values in found:
            if values[0] is not None:
                row = dict(zip(_COLUMNS, values, strict=True))
                # SQLite gives a number as it keeps it; its shortest text is what was meant
                row["daily_budget"] = None if values[3] is None else _number(values[3])
                rows[values[0]] = ManagedRow(**row)
        return ManagedRows(found[0][0], rows)

    async def write_project(
        self, row: ManagedRow | None, change: ProjectChange, *, version: int
    ) -> bool:
        self._check_writable()
        try:
            return await asyncio.to_thread(
                _write, self.path, row, change, version=version, wait=self._wait
            )
        except sqlite3.Error as e:
            raise explain(self.path, e, self._wait) from e

    async def project_changes(self, project: str | None, *, limit: int) -> list[ProjectChange]:
        query = "project_changes" if project is None else "changes_of_project"
        found = await self._fetch(query, {"project": project, "limit": limit})
        return [ProjectChange(*line) for line in found]


def _write(
    path: Path, row: ManagedRow | None, change: ProjectChange, *, version: int, wait: float
) -> bool:
    sql = load_queries("sqlite")
    uri = f"{path.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, timeout=wait, isolation_level=None, uri=True)) as connection:
        connection.executescript(sql["settle"])
        connection.execute(sql["begin"])
        try:
            if connection.execute(sql["projects_version"]).fetchone()[0] != version:
                connection.rollback()
                return False
            if row is None:
                connection.execute(sql["delete_project"], {"project_id": change.project_id})
            else:
                budget = None if row.daily_budget is None else str(row.daily_budget)
                connection.execute(sql["put_project"], asdict(row) | {"daily_budget": budget})
            connection.execute(sql["record_project_change"], asdict(change))
            connection.execute(sql["commit"])
        except BaseException:
            connection.rollback()
            raise
    return True


def _number(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal("nan")  # somebody has written it by hand
