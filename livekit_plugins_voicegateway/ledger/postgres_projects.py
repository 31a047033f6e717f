"""Projects made at run time in a PostgreSQL ledger: how a change is written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from .sql_projects import SqlManagedProjects

if TYPE_CHECKING:
    from .postgres_connection import Statements
    from .projects import ManagedRow, ProjectChange

__all__ = ["PostgresManagedProjects"]

T = TypeVar("T")


class PostgresManagedProjects(SqlManagedProjects):
    """The part of `PostgresLedger` that projects made at run time ask."""

    @abstractmethod
    async def _in_transaction(self, work: Callable[[Statements], Awaitable[T]]) -> T:
        """Change several things at once, or none of them."""

    @abstractmethod
    async def _listen(self, channel: str, told: Callable[[], None]) -> None:
        """Have ``told`` called for each notification on a channel."""

    async def listen_for_projects(self, changed: Callable[[], None]) -> None:
        await self._listen("voicegw_projects", changed)

    async def write_project(
        self, row: ManagedRow | None, change: ProjectChange, *, version: int
    ) -> bool:
        async def write(statements: Statements) -> bool:
            # whoever is first has the number to itself until all of this is written
            if await statements.fetch("projects_version_alone") != [(version,)]:
                return False
            if row is None:
                await statements.change("delete_project", {"project_id": change.project_id})
            else:
                await statements.change("put_project", asdict(row))
            await statements.change("record_project_change", asdict(change))
            return True

        return await self._in_transaction(write)
