"""Projects made at run time in a SQLite ledger: written here, in a transaction of their own.

A change is rare, and is several statements: it gets a connection for itself, on a thread, so that
rows and leases are not held up.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import abstractmethod
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from .projects import ManagedRow, ProjectChange
from .queries import load_queries
from .sql_projects import SqlManagedProjects
from .sqlite_errors import FileMoved, explain
from .sqlite_files import look

__all__ = ["SqliteManagedProjects"]


class SqliteManagedProjects(SqlManagedProjects):
    """The part of `SqliteLedger` that projects made at run time ask."""

    path: Path
    _wait: float

    @abstractmethod
    def _check_writable(self) -> None:
        """Raise `LedgerError` if it was opened for reading only."""

    async def listen_for_projects(self, changed: Callable[[], None]) -> None:
        """Does nothing: a file tells nobody that it was changed."""

    async def write_project(
        self, row: ManagedRow | None, change: ProjectChange, *, version: int
    ) -> bool:
        self._check_writable()
        while await self.projects_version() == version:  # which notices that the file has moved
            try:
                return await asyncio.to_thread(
                    _write, self.path, row, change, version=version, wait=self._wait
                )
            except FileMoved:
                continue
            except sqlite3.Error as e:
                raise explain(self.path, e, self._wait) from e
        return False


def _write(
    path: Path, row: ManagedRow | None, change: ProjectChange, *, version: int, wait: float
) -> bool:
    sql = load_queries("sqlite")
    uri = f"{path.as_uri()}?mode=rw"
    before = look(str(path))
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
        after = look(str(path))
        if after.main != before.main:
            raise FileMoved(path, before, after)
    return True
