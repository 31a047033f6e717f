"""What workers and the server exchange beside rows: leases, projects made at run time, alerts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any, Final, TypedDict

from ..alerts.events import EVENTS, Alert
from ..errors import QueryProblem
from .base import Grant
from .http_values import (
    MOST_NANOS,
    Field,
    choice,
    day,
    moment,
    number,
    optional,
    read_fields,
    text,
    whole,
)
from .projects import ManagedRow, ManagedRows

__all__ = [
    "ALERT",
    "LEASE",
    "LONGEST_LEASE",
    "RENEWAL",
    "RETURN",
    "GrantMessage",
    "LeasesMessage",
    "ProjectsMessage",
    "alert_of",
    "fields_schema",
    "grant_of",
    "leases_of",
    "projects_message",
    "projects_of",
    "read_message",
]

LONGEST_LEASE: Final = 300.0
"""Seconds that a lease may be asked for; processes ask for 30 and renew them."""


def _fields(*of: Field) -> Mapping[str, Field]:
    return {field.name: field for field in of}


_SECONDS: Final = number("seconds", LONGEST_LEASE, default=None, least=0.001)

LEASE: Final = _fields(
    text("project", 200),
    day("day"),
    text("owner", 100),
    whole("budget_nanos", MOST_NANOS, required=True),
    whole("need_nanos", MOST_NANOS, required=True),
    whole("want_nanos", MOST_NANOS, required=True),
    whole("share", 1_000_000, least=1, required=True),
    Field("seconds", _SECONDS.read, _SECONDS.expected, _SECONDS.schema, required=True),
    optional(text("grant", 100)),
)
"""What a process says that asks for a slice of a budget."""

RETURN: Final = _fields(
    text("project", 200),
    day("day"),
    text("owner", 100),
    whole("nanos", MOST_NANOS, required=True),
    optional(text("grant", 100)),
)
"""What a process says that gives back: so much, and what it was granted under a name, if it has not
heard how much that is."""

RENEWAL: Final = _fields(
    text("owner", 100),
    Field("seconds", _SECONDS.read, _SECONDS.expected, _SECONDS.schema, required=True),
)
"""What a process says that goes on."""

ALERT: Final = _fields(
    text("id", 100),
    text("about", 1_000),
    choice("event", EVENTS),
    optional(text("project", 200)),
    day("day"),
    text("body", 8_000),
    moment("created_at"),
)
"""What a process says that has noticed something that somebody is to be told."""


class GrantMessage(TypedDict):
    """What a process may spend in addition to what it has, and what is spent and leased."""

    granted_nanos: int
    settled_nanos: int
    leased_nanos: int


class LeaseName(TypedDict):
    """Whose money, and of which day."""

    project: str
    day: str


class LeasesMessage(TypedDict):
    """The leases of a process that live on."""

    leases: list[LeaseName]


class ManagedProjectMessage(TypedDict):
    """A project made at run time, as the ledger keeps it: texts of JSON, and sealed options."""

    project_id: str
    name: str
    description: str
    daily_budget: str | None
    budget_action: str
    tags: str
    created_at: str
    updated_at: str
    fallback: str | None
    pricing: str | None
    provider_options: str | None
    providers: str | None


class ProjectsMessage(TypedDict):
    """All projects made at run time, and a number that every change of one raises."""

    version: int
    projects: list[ManagedProjectMessage]


def read_message(
    data: Mapping[str, object], message: Mapping[str, Field]
) -> tuple[dict[str, Any], list[QueryProblem]]:
    """Read the body of a request.

    Args:
        data: What was parsed.
        message: What may be in it.

    Returns:
        The values by field, and every one that cannot be.
    """
    problems: list[QueryProblem] = []
    return read_fields(data, message, "", problems), problems


def alert_of(values: Mapping[str, Any]) -> tuple[Alert, list[QueryProblem]]:
    """Make an alert of what `read_message` has read; its text has to say what it is."""
    alert = Alert(**values)
    try:
        said = json.loads(alert.body)
        given = (said["id"], said["event"], said["project"], said["day"])
        right = given == (alert.id, alert.event, alert.project, alert.day)
    except (ValueError, LookupError, TypeError, RecursionError):
        right = False
    expected = "JSON with the id, event, project and day of the alert"
    return alert, [] if right else [QueryProblem("body", "another text", expected)]


def grant_of(data: Any) -> Grant:
    """Read a `GrantMessage`.

    Raises:
        ValueError, LookupError, TypeError: It is none.
    """
    return Grant(*(int(data[field.name]) for field in fields(Grant)))


def leases_of(data: Any) -> Collection[tuple[str, str]]:
    """Read a `LeasesMessage`; raises as `grant_of`."""
    return {(str(one["project"]), str(one["day"])) for one in data["leases"]}


def projects_message(found: ManagedRows) -> ProjectsMessage:
    """Write all projects made at run time."""
    projects: list[Any] = []
    for row in found.rows.values():
        budget = None if row.daily_budget is None else str(row.daily_budget)
        projects.append({**asdict(row), "daily_budget": budget})
    return {"version": found.version, "projects": projects}


def projects_of(data: Any) -> ManagedRows:
    """Read what `projects_message` wrote; raises as `grant_of`."""
    rows = {}
    for one in data["projects"]:
        # a server that is newer may say more
        known = {field.name: one[field.name] for field in fields(ManagedRow)}
        budget = known["daily_budget"]
        known["daily_budget"] = None if budget is None else Decimal(budget)
        row = ManagedRow(**known)
        rows[row.project_id] = row
    return ManagedRows(int(data["version"]), rows)


def fields_schema(message: Mapping[str, Field]) -> dict[str, Any]:
    """Describe a body as JSON schema."""
    return {
        "type": "object",
        "required": [field.name for field in message.values() if field.required],
        "properties": {field.name: dict(field.schema) for field in message.values()},
        "additionalProperties": False,
    }
