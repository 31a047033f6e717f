"""What was used by one request, and the row of the ledger that says so.

`Quantities` is what a meter counts and a price turns into money; `UsageRow` is one line of the
ledger's table ``usage``, complete each time it is written, so that writing it twice is the same as
writing it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["NANOS_PER_DOLLAR", "Modality", "Quantities", "Status", "UsageRow"]

Modality = Literal["stt", "llm", "tts"]
Status = Literal["open", "completed", "cancelled", "failed", "rejected"]

NANOS_PER_DOLLAR = 1_000_000_000
"""Money is an integer of nano-dollars everywhere but where it is shown."""


@dataclass(frozen=True, slots=True)
class Quantities:
    """What one request has used, in the units that providers bill.

    Token fields are gross: ``input_tokens`` includes the cached and the cache-write tokens, as
    OpenTelemetry's GenAI conventions and LiveKit's ``CompletionUsage`` have it. The buckets that
    are priced apart are derived from them in one place, the price book.

    Attributes:
        audio_seconds: Seconds of audio sent to be transcribed (STT) or received (TTS).
        connection_seconds: Seconds that a streaming connection was open.
        channels: Audio channels; providers bill each.
        input_tokens: All prompt tokens, cached ones included.
        cached_input_tokens: Prompt tokens that were read from the provider's cache.
        cache_write_tokens: Prompt tokens that were written to the provider's cache.
        output_tokens: All completion tokens, hidden reasoning included.
        characters: Characters sent to be spoken.
        add_ons: Options that the provider bills on top, such as ``"keyterm"``.
    """

    audio_seconds: float = 0.0
    connection_seconds: float = 0.0
    channels: int = 1
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    add_ons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of ``usage``. Field order is column order; `owner` comes after the ledger's own.

    Attributes:
        id: UUIDv7 of this row.
        request_id: Same for all rows of one request: its billed attempts, and its parts before
            and after midnight or a swap.
        started_at: Unix time in seconds.
        ended_at: Unix time in seconds; None while the row is open.
        day: Calendar day in the configured zone, ``YYYY-MM-DD``.
        project: Id of the project that pays.
        modality: ``stt``, ``llm`` or ``tts``.
        provider: Name in the model string, ``openai``.
        model: Name in the model string without provider and suffix, ``gpt-4.1-mini``.
        requested_model: The whole string that the application asked for.
        status: ``open`` while it runs.
        estimated: Whether a quantity was estimated because the provider reported none.
        room: Name of the LiveKit room, or None outside a job.
        job_id: Id of the LiveKit job, or None outside a job.
        speech_id: LiveKit's name for the turn, where it gives one.
        audio_seconds: See `Quantities`.
        connection_seconds: See `Quantities`.
        input_tokens: See `Quantities`.
        cached_input_tokens: See `Quantities`.
        output_tokens: See `Quantities`.
        characters: See `Quantities`.
        cost_nanos: Cost in nano-dollars; None when the price is unknown, never 0 for unknown.
        price: Which price was used, or None when it is unknown.
        ttfb_ms: Milliseconds to the first token, audio or transcript; None before it came.
        duration_ms: Milliseconds from start to end, or until now while open.
        error: Type and text of the failure, without secrets; None when there was none.
        owner: Id of the process that writes the row, whose lease the cost is taken from; None
            when it leases nothing.
    """

    id: str
    request_id: str
    started_at: float
    ended_at: float | None
    day: str
    project: str
    modality: Modality
    provider: str
    model: str
    requested_model: str
    status: Status
    estimated: bool = False
    room: str | None = None
    job_id: str | None = None
    speech_id: str | None = None
    audio_seconds: float = 0.0
    connection_seconds: float = 0.0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    cost_nanos: int | None = None
    price: str | None = None
    ttfb_ms: float | None = None
    duration_ms: float | None = None
    error: str | None = None
    owner: str | None = None
