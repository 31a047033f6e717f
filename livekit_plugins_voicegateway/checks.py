"""The shape of what ``voicegw check --json`` and the MCP tool ``check`` say."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from .projects import BudgetAction

__all__ = [
    "CheckAnswer",
    "CheckedDatabase",
    "CheckedKey",
    "CheckedProblem",
    "CheckedProject",
]


class CheckedKey(TypedDict):
    """Where a provider's key comes from; never the key."""

    provider: str
    state: Literal["set", "missing", "unneeded"]
    says: str


class CheckedDatabase(TypedDict):
    """The ledger's place, and whether it can be used; ``absent`` until the first call makes it."""

    url: str | None
    state: Literal["ok", "absent", "failed"]
    problem: str | None


class CheckedProject(TypedDict):
    """A project as it is understood; ``worst_overspend`` are dollars beyond the budget."""

    project_id: str
    name: str
    daily_budget: float | None
    budget_action: BudgetAction
    source: Literal["yaml", "managed"]
    line: int | None
    providers: list[CheckedKey]
    fallback: dict[str, str | None]
    worst_overspend: float | None


class CheckedProblem(TypedDict):
    """One fault: where it stands, what was found there and what would be right."""

    key_path: str
    found: str
    expected: str
    line: int | None


class CheckAnswer(TypedDict):
    """What the configuration means, and everything that is wrong with it.

    Of a file that cannot be read as a configuration there are only ``ok``, ``file`` and
    ``problems``.
    """

    ok: bool
    file: str | None
    problems: list[CheckedProblem]
    timezone: NotRequired[str]
    active_project: NotRequired[str | None]
    database: NotRequired[CheckedDatabase]
    projects: NotRequired[list[CheckedProject]]
    environment: NotRequired[list[CheckedKey]]
    notes: NotRequired[list[str]]
