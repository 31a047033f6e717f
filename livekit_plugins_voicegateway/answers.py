"""The shapes of reports: what the HTTP API, the MCP server and ``--json`` give, key by key.

Money is a number of dollars rounded to nine decimals, None where no price is known. Times are
ISO 8601 in UTC, days are those of the configured time zone.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from .ledger.base import Totals
from .metering.usage import NANOS_PER_DOLLAR, Modality, Status
from .pricing.spec import Basis, PriceSource
from .projects import Accent, BudgetAction

__all__ = [
    "CallAnswer",
    "CallLatencyEntry",
    "CallModalityEntry",
    "CallModelEntry",
    "CallReceipt",
    "CallsAnswer",
    "CostsAnswer",
    "DayEntry",
    "LogEntry",
    "LogsAnswer",
    "MismatchEntry",
    "ModalityEntry",
    "ModelEntry",
    "PriceAnswer",
    "PriceEntry",
    "PricesAnswer",
    "ProjectAnswer",
    "ProjectEntry",
    "ProjectToday",
    "ProjectsAnswer",
    "QuantitiesEntry",
    "TotalsEntry",
    "TurnEntry",
    "VerifyAnswer",
    "dollars",
    "totals_entry",
]


class TotalsEntry(TypedDict):
    """Requests added up.

    ``cost`` leaves out what has no known price (``unpriced_requests``), and is None when nothing
    has one. ``estimated_cost`` is the part of it that rests on estimated quantities.
    """

    cost: float | None
    requests: int
    unpriced_requests: int
    estimated_cost: float
    audio_seconds: float
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    characters: int


class ProjectEntry(TotalsEntry):
    """Totals of a project, which need not be in the configuration any more."""

    project: str


class ModalityEntry(TotalsEntry):
    """Totals of a kind of model."""

    modality: Modality


class ModelEntry(TotalsEntry):
    """Totals of a model."""

    modality: Modality
    provider: str
    model: str


class DayEntry(TotalsEntry):
    """Totals of a day; days without a request have no entry."""

    day: str


CostsAnswer = TypedDict(
    "CostsAnswer",
    {
        "period": str,
        "from": str,
        "to": str,
        "timezone": str,
        "project": str | None,
        "currency": Literal["USD"],
        "total_cost": float | None,
        "requests": int,
        "unpriced_requests": int,
        "estimated_cost": float,
        "by_project": list[ProjectEntry],
        "by_modality": list[ModalityEntry],
        "by_model": list[ModelEntry],
        "by_day": list[DayEntry],
    },
)
"""What was spent. ``from`` and ``to`` are days, both included. The most expensive comes first."""


class ProjectToday(TypedDict):
    """Where a project stands today.

    ``remaining`` is None without a budget, and never below 0. ``state`` is ``near`` from 80 % of
    the budget on, ``exceeded`` from 100 %.
    """

    cost: float | None
    requests: int
    unpriced_requests: int
    remaining: float | None
    state: Literal["ok", "near", "exceeded"]


class ProjectAnswer(TypedDict):
    """A project; ``providers`` are those that it has options of its own for, without the keys."""

    project_id: str
    name: str
    description: str
    daily_budget: float | None
    budget_action: BudgetAction
    tags: list[str]
    accent: Accent
    source: Literal["yaml", "managed"]
    providers: list[str]
    today: ProjectToday


class ProjectsAnswer(TypedDict):
    """All projects, in the order of the configuration."""

    projects: list[ProjectAnswer]


class LogEntry(TypedDict):
    """One request: a row of the table ``usage``, with the cost in dollars."""

    id: str
    request_id: str
    started_at: str
    ended_at: str | None
    day: str
    project: str
    modality: Modality
    provider: str
    model: str
    requested_model: str
    status: Status
    estimated: bool
    room: str | None
    job_id: str | None
    speech_id: str | None
    audio_seconds: float
    connection_seconds: float
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    characters: int
    cost: float | None
    price: str | None
    ttfb_ms: float | None
    duration_ms: float | None
    error: str | None


class LogsAnswer(TypedDict):
    """Requests, newest first; ``next_cursor`` is None on the last page."""

    logs: list[LogEntry]
    next_cursor: str | None


class CallModalityEntry(TotalsEntry):
    """What a kind of model did in a call."""

    modality: Modality


class CallModelEntry(TotalsEntry):
    """What a model did in a call."""

    modality: Modality
    provider: str
    model: str


class CallLatencyEntry(TypedDict):
    """Milliseconds to the first result, over the requests that had one."""

    modality: Modality
    requests: int
    median_ttfb_ms: float
    max_ttfb_ms: float


class CallReceipt(TotalsEntry):
    """A call: ``ended_at`` is None while a request of it runs."""

    room: str
    projects: list[str]
    started_at: str
    ended_at: str | None
    by_modality: list[CallModalityEntry]
    by_model: list[CallModelEntry]
    latency: list[CallLatencyEntry]


class CallsAnswer(TypedDict):
    """Calls, the one that began last first; ``next_cursor`` is None on the last page."""

    calls: list[CallReceipt]
    next_cursor: str | None


class TurnEntry(TypedDict):
    """A turn of a call, as far as its requests carry LiveKit's name for it.

    Transcription does not: an STT stream lasts over many turns.
    """

    speech_id: str
    started_at: str
    ended_at: str | None
    requests: int
    cancelled: int
    cost: float | None
    unpriced_requests: int
    input_tokens: int
    output_tokens: int
    characters: int
    llm_ttfb_ms: float | None
    tts_ttfb_ms: float | None


class CallAnswer(CallReceipt):
    """A call with its turns, in the order in which they began."""

    turns: list[TurnEntry]


class MismatchEntry(TypedDict):
    """A value of ``usage_daily`` that is not the sum of the requests; money in nano-dollars."""

    day: str
    project: str
    modality: str
    provider: str
    model: str
    column: str
    total: float | None
    sum: float | None


class VerifyAnswer(TypedDict):
    """Whether totals equal the sum of the requests.

    ``checked_from`` is the first day that was checked, because requests of earlier days have been
    deleted by retention; None when all days were.
    """

    ok: bool
    checked_from: str | None
    requests: int
    lines: int
    mismatches: list[MismatchEntry]


class QuantitiesEntry(TypedDict):
    """What a price was asked for."""

    audio_seconds: float
    connection_seconds: float
    channels: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    characters: int
    add_ons: list[str]


class PriceAnswer(TypedDict):
    """What something would cost; ``cost`` and the price are None when nobody knows."""

    model: str
    modality: Modality
    cost: float | None
    price: str | None
    source: PriceSource | None
    basis: Basis | None
    currency: Literal["USD"]
    quantities: QuantitiesEntry


class PriceEntry(TypedDict):
    """A price that is known, and where it comes from."""

    model: str
    modality: Modality | None
    option: str
    project: str | None
    source: PriceSource
    basis: Basis
    rate: str
    as_of: str | None
    url: str | None
    note: str
    valid_from: str | None
    valid_until: str | None


class PricesAnswer(TypedDict):
    """All prices but those of genai-prices."""

    currency: Literal["USD"]
    prices: list[PriceEntry]


def dollars(nanos: int) -> float:
    """Return nano-dollars as the number of dollars that is shown: nine decimals."""
    return round(nanos / NANOS_PER_DOLLAR, 9)


def totals_entry(totals: Totals) -> TotalsEntry:
    """Return totals as they are shown."""
    return {
        "cost": None if _unknown(totals) else dollars(totals.cost_nanos or 0),
        "requests": totals.requests,
        "unpriced_requests": totals.unpriced_requests,
        "estimated_cost": dollars(totals.estimated_cost_nanos),
        "audio_seconds": totals.audio_seconds,
        "input_tokens": totals.input_tokens,
        "cached_input_tokens": totals.cached_input_tokens,
        "output_tokens": totals.output_tokens,
        "characters": totals.characters,
    }


def _unknown(totals: Totals) -> bool:
    # without a request nothing was spent; with requests of unknown price nobody knows
    return totals.requests > 0 and totals.cost_nanos is None
