"""Projects made at run time as a ledger gives them, whichever SQL engine keeps it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from .projects import ManagedProjects, ManagedRow, ManagedRows, ProjectChange

if TYPE_CHECKING:
    from .queries import Value

__all__ = ["SqlManagedProjects"]

_COLUMNS: Final = tuple(field.name for field in fields(ManagedRow))


class SqlManagedProjects(ManagedProjects):
    """The part of a ledger that reads projects made at run time."""

    @abstractmethod
    async def _fetch(
        self, query: str, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Any, ...]]:
        """Ask a query by its name."""

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

    async def project_changes(self, project: str | None, *, limit: int) -> list[ProjectChange]:
        query = "project_changes" if project is None else "changes_of_project"
        found = await self._fetch(query, {"project": project, "limit": limit})
        return [ProjectChange(*line) for line in found]


def _number(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal("nan")  # somebody has written it by hand
