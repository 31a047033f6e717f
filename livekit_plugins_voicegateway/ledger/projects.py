"""Projects made at run time, as the ledger keeps them: `ManagedRow`, and the audit log's lines.

The ledger knows nothing of what is in them: texts of JSON and a sealed text go in and come out.
`managed` gives them their meaning. `Ledger` has the methods of `ManagedProjects` beside those that
reports ask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

__all__ = ["ChangeAction", "Front", "ManagedProjects", "ManagedRow", "ManagedRows", "ProjectChange"]

Front = Literal["http", "dashboard", "mcp", "cli"]
"""From where a project was changed."""

ChangeAction = Literal["created", "changed", "deleted"]


@dataclass(frozen=True, slots=True)
class ManagedRow:
    """One row of ``managed_projects``.

    Attributes:
        project_id: The project's id.
        name: For people.
        description: For people.
        daily_budget: Dollars; None for no limit.
        budget_action: What happens when the day's money is spent.
        tags: A JSON array of texts.
        created_at: ISO 8601, UTC.
        updated_at: ISO 8601, UTC.
        fallback: JSON: a mapping, or ``"none"``; None for what the configuration says.
        pricing: JSON: prices by model; None for none of its own.
        provider_options: JSON: the names of the options by provider; None for none.
        providers: The options themselves, sealed; None for none.
    """

    project_id: str
    name: str
    description: str
    daily_budget: Decimal | None
    budget_action: str
    tags: str
    created_at: str
    updated_at: str
    fallback: str | None = None
    pricing: str | None = None
    provider_options: str | None = None
    providers: str | None = field(default=None, repr=False)


class ManagedRows(NamedTuple):
    """All projects made at run time.

    Attributes:
        version: The number that any later change raises.
        rows: By id.
    """

    version: int
    rows: dict[str, ManagedRow]


@dataclass(frozen=True, slots=True)
class ProjectChange:
    """One line of the audit log. Holds no key, and no option's value.

    Attributes:
        at: ISO 8601, UTC.
        front: From where it was changed.
        who: By whom, as far as that front knows.
        action: What was done.
        project_id: To which project.
        fields: A JSON array of what was changed: ``["daily_budget", "providers.openai"]``.
        before: JSON of the project as it was; None when it was created.
        after: JSON of the project as it is; None when it was deleted.
        id: Its number in the log; 0 until it is written.
    """

    at: str
    front: Front
    who: str | None
    action: ChangeAction
    project_id: str
    fields: str
    before: str | None
    after: str | None
    id: int = 0


class ManagedProjects(ABC):
    """What `Ledger` offers to `managed`."""

    @abstractmethod
    async def open_requests(self, project: str) -> int:
        """Return how many requests of a project run now."""

    @abstractmethod
    async def projects_version(self) -> int:
        """Return a number that every change of a project made at run time raises; cheap."""

    @abstractmethod
    async def listen_for_projects(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called as soon as somebody has changed a project, if the ledger can say.

        It is called on this event loop, while that runs and the ledger is open; perhaps more often
        than there are changes, and not for one that is made while the connection is lost. So who
        listens goes on looking at `projects_version`.
        """

    @abstractmethod
    async def managed_projects(self) -> ManagedRows:
        """Return all projects made at run time, and the number of `projects_version`."""

    @abstractmethod
    async def write_project(
        self, row: ManagedRow | None, change: ProjectChange, *, version: int
    ) -> bool:
        """Make, change or delete a project and note it in the audit log, in one transaction.

        Args:
            row: What the project ``change.project_id`` is from now on; None deletes it.
            change: What is noted.
            version: What `projects_version` was when this was decided.

        Returns:
            False when somebody has changed a project since; nothing is written then.
        """

    @abstractmethod
    async def project_changes(self, project: str | None, *, limit: int) -> list[ProjectChange]:
        """Return the audit log, newest first.

        Args:
            project: Only changes of this project; None for all.
            limit: How many at most.
        """
