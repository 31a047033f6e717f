"""What the reports answer, item by item: rows, totals and projects as plain data of `answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from .answers import (
    LogEntry,
    MismatchEntry,
    PriceEntry,
    ProjectAnswer,
    ProjectToday,
    QuantitiesEntry,
    dollars,
    totals_entry,
)
from .ledger.base import Mismatch, Totals
from .metering.usage import Quantities, UsageRow
from .times import to_iso

if TYPE_CHECKING:
    from .pricing.book import PriceListing
    from .projects import Project

__all__ = [
    "NEAR",
    "difference_entries",
    "log_entry",
    "price_entry",
    "project_entry",
    "quantities_entry",
]

NEAR: Final = 80
"""Per cent of its budget from which on a project is near its end."""


def project_entry(project: Project, spent: Totals) -> ProjectAnswer:
    """A project, and where it stands after ``spent`` today."""
    budget = project.daily_budget
    return {
        "project_id": project.id,
        "name": project.name,
        "description": project.description,
        "daily_budget": None if budget is None else float(budget),
        "budget_action": project.budget_action,
        "tags": list(project.tags),
        "accent": project.accent,
        "source": project.source,
        "providers": sorted(project.providers),
        "today": _where_it_stands(project.budget_nanos, spent),
    }


def _where_it_stands(budget_nanos: int | None, spent: Totals) -> ProjectToday:
    entry = totals_entry(spent)
    nanos = spent.cost_nanos or 0
    state: Literal["ok", "near", "exceeded"] = "ok"
    if budget_nanos is not None:
        if nanos >= budget_nanos:
            state = "exceeded"
        elif nanos * 100 >= budget_nanos * NEAR:
            state = "near"
    return {
        "cost": entry["cost"],
        "requests": entry["requests"],
        "unpriced_requests": entry["unpriced_requests"],
        "remaining": None if budget_nanos is None else dollars(max(0, budget_nanos - nanos)),
        "state": state,
    }


def log_entry(row: UsageRow) -> LogEntry:
    """One request."""
    return {
        "id": row.id,
        "request_id": row.request_id,
        "started_at": to_iso(row.started_at),
        "ended_at": None if row.ended_at is None else to_iso(row.ended_at),
        "day": row.day,
        "project": row.project,
        "modality": row.modality,
        "provider": row.provider,
        "model": row.model,
        "requested_model": row.requested_model,
        "status": row.status,
        "estimated": row.estimated,
        "room": row.room,
        "job_id": row.job_id,
        "speech_id": row.speech_id,
        "audio_seconds": row.audio_seconds,
        "connection_seconds": row.connection_seconds,
        "input_tokens": row.input_tokens,
        "cached_input_tokens": row.cached_input_tokens,
        "output_tokens": row.output_tokens,
        "characters": row.characters,
        "cost": None if row.cost_nanos is None else dollars(row.cost_nanos),
        "price": row.price,
        "ttfb_ms": row.ttfb_ms,
        "duration_ms": row.duration_ms,
        "error": row.error,
    }


def difference_entries(mismatch: Mismatch) -> list[MismatchEntry]:
    """The columns in which a line of totals is not the sum of its requests."""
    return [
        {
            "day": mismatch.day,
            "project": mismatch.project,
            "modality": mismatch.modality,
            "provider": mismatch.provider,
            "model": mismatch.model,
            "column": column,
            "total": getattr(mismatch.total, column),
            "sum": getattr(mismatch.sum, column),
        }
        for column in Totals.__slots__
        if getattr(mismatch.total, column) != getattr(mismatch.sum, column)
    ]


def quantities_entry(quantities: Quantities) -> QuantitiesEntry:
    """What would be used."""
    return {
        "audio_seconds": quantities.audio_seconds,
        "connection_seconds": quantities.connection_seconds,
        "channels": quantities.channels,
        "input_tokens": quantities.input_tokens,
        "cached_input_tokens": quantities.cached_input_tokens,
        "cache_write_tokens": quantities.cache_write_tokens,
        "output_tokens": quantities.output_tokens,
        "characters": quantities.characters,
        "add_ons": sorted(quantities.add_ons),
    }


def price_entry(listing: PriceListing) -> PriceEntry:
    """One price that is known."""
    return {
        "model": listing.model,
        "modality": listing.modality,
        "option": listing.option,
        "project": listing.project,
        "source": listing.source,
        "basis": listing.basis,
        "rate": listing.rate,
        "as_of": listing.as_of,
        "url": listing.url,
        "note": listing.note,
        "valid_from": None if listing.valid_from is None else listing.valid_from.isoformat(),
        "valid_until": None if listing.valid_until is None else listing.valid_until.isoformat(),
    }
