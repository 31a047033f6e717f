"""What can be told: the four events, and the body of each.

An alert is about one thing ("prod is near the end of its 50 dollars of 2026-05-04"); `Alert.about`
says which, and the ledger keeps one alert for each.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, get_args

from ..metering.usage import NANOS_PER_DOLLAR, Modality
from ..projects import BudgetAction
from ..times import to_iso

__all__ = ["EVENTS", "Alert", "Event", "budget_alert", "ledger_alert", "price_alert"]

Event = Literal["budget.near", "budget.exceeded", "price.unknown", "ledger.failing"]

EVENTS: tuple[Event, ...] = get_args(Event)
"""All events."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody is to be told.

    Attributes:
        id: The ``webhook-id``: the same however often it is sent.
        about: What it is about; there is one alert for each.
        event: What has happened.
        project: Whose money it is about; None for none's.
        day: Calendar day in the configured zone, ``YYYY-MM-DD``.
        body: JSON, sent as it stands.
        created_at: Unix time in seconds.
    """

    id: str
    about: str
    event: Event
    project: str | None
    day: str
    body: str
    created_at: float


def budget_alert(
    event: Literal["budget.near", "budget.exceeded"],
    *,
    alert_id: str,
    at: float,
    project: str,
    day: str,
    limit_nanos: int,
    spent_nanos: int,
    action: BudgetAction,
    resets_at: float,
) -> Alert:
    """Tell that a project has spent 80 % of its day's budget, or all of it.

    A budget that is raised during the day has its own two alerts.

    Args:
        event: Which of the two.
        alert_id: The ``webhook-id``.
        at: Unix time at which it was noticed.
        project: Whose budget.
        day: Which day.
        limit_nanos: The budget, in nano-dollars.
        spent_nanos: What everybody has spent, as far as the ledger knows.
        action: What happens when the day's money is spent.
        resets_at: Unix time at which the next day begins.
    """
    return _alert(
        alert_id,
        f"{event} {project} {day} {limit_nanos}",
        event,
        project,
        day,
        at,
        {
            "currency": "USD",
            "limit": _dollars(limit_nanos),
            "spent": _dollars(spent_nanos),
            "action": action,
            "resets_at": to_iso(resets_at),
        },
    )


def price_alert(
    *,
    alert_id: str,
    at: float,
    project: str,
    day: str,
    modality: Modality,
    provider: str,
    model: str,
) -> Alert:
    """Tell that a project uses a model whose price nobody knows.

    Args:
        alert_id: The ``webhook-id``.
        at: Unix time at which it was noticed.
        project: Who uses it.
        day: Which day.
        modality: Kind of model.
        provider: Its provider.
        model: The model.
    """
    return _alert(
        alert_id,
        f"price.unknown {project} {day} {modality} {provider}/{model}",
        "price.unknown",
        project,
        day,
        at,
        {"modality": modality, "provider": provider, "model": model},
    )


def ledger_alert(*, at: float, day: str, host: str, database: str, error: str) -> Alert:
    """Tell that usage cannot be written.

    There is no ledger that could see to its being told once, so that every process that notices
    tells it: the id is the same for all processes of a host and an hour, for receivers to go by.

    Args:
        at: Unix time at which it was noticed.
        day: Which day.
        host: Name of the machine.
        database: The ledger's URL, without password.
        error: What is wrong with it, in words.
    """
    about = f"ledger.failing {host} {database} {int(at // 3600)}"
    return _alert(
        f"ledger_{hashlib.sha256(about.encode()).hexdigest()[:32]}",
        about,
        "ledger.failing",
        None,
        day,
        at,
        {"host": host, "database": database, "error": error},
    )


def _alert(
    alert_id: str,
    about: str,
    event: Event,
    project: str | None,
    day: str,
    at: float,
    values: dict[str, object],
) -> Alert:
    body = {
        "event": event,
        "id": alert_id,
        "at": to_iso(at),
        "project": project,
        "day": day,
        **values,
    }
    return Alert(alert_id, about, event, project, day, json.dumps(body, ensure_ascii=False), at)


def _dollars(nanos: int) -> float:
    return round(nanos / NANOS_PER_DOLLAR, 9)
