"""The requests that a seeded ledger is full of.

A pattern of a thousand calls is made once, and repeated by the database itself, each time with
other names and times: that takes some microseconds a request, where writing takes many.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Final, NamedTuple

from livekit_plugins_voicegateway.metering.usage import Modality, Status

__all__ = [
    "CALL",
    "COLUMNS",
    "DAYS",
    "MODELS",
    "PATTERN",
    "PROJECTS",
    "PatternRow",
    "Span",
    "pattern",
]

DAYS: Final = 90
"""Days over which the requests are spread evenly, up to now."""

PROJECTS: Final = ("prod", "staging", "dev", "support", "sales", "billing", "qa", "lab")
MODELS: Final[tuple[tuple[Modality, str, str], ...]] = (
    ("stt", "deepgram", "nova-3"),
    ("stt", "assemblyai", "universal-streaming"),
    ("stt", "openai", "gpt-4o-transcribe"),
    ("llm", "openai", "gpt-4.1-mini"),
    ("llm", "openai", "gpt-4.1"),
    ("llm", "anthropic", "claude-haiku-4-5"),
    ("llm", "groq", "llama-3.3-70b-versatile"),
    ("llm", "acme", "in-house"),
    ("tts", "cartesia", "sonic-3"),
    ("tts", "elevenlabs", "eleven_flash_v2_5"),
    ("tts", "openai", "gpt-4o-mini-tts"),
    ("tts", "rime", "mistv2"),
)

CALL: Final = 30
"""Requests of a call."""

PATTERN: Final = 1_000 * CALL
"""Requests of the pattern."""


class PatternRow(NamedTuple):
    """What does not change from one repetition to the next; names as in the table ``usage``.

    Attributes:
        place: Number of the row in the pattern, from 0.
        speech: Whether it has a ``speech_id``.
    """

    place: int
    project: str
    modality: Modality
    provider: str
    model: str
    requested_model: str
    status: Status
    speech: bool
    audio_seconds: float
    input_tokens: int
    output_tokens: int
    characters: int
    cost_nanos: int | None
    price: str | None
    ttfb_ms: float
    error: str | None


COLUMNS: Final = PatternRow._fields


class Span(NamedTuple):
    """When the requests of a ledger began: request ``n`` at ``first_ms + n * span_ms / requests``.

    Attributes:
        requests: How many there are.
        first_ms: When the first one began, in Unix milliseconds.
        span_ms: How long after it the last one ends.
    """

    requests: int
    first_ms: int
    span_ms: int

    @classmethod
    def until(cls, now: float, count: int) -> Span:
        """The `DAYS` before ``now``, in Unix seconds."""
        length = DAYS * 86_400_000
        return cls(count, int(now * 1000) - length, length)


@cache
def pattern(seed: int = 1) -> tuple[PatternRow, ...]:
    """Make the pattern: calls of a project each, with three models that take turns."""
    chance = random.Random(seed)
    rows: list[PatternRow] = []
    project, models = "", MODELS[:3]
    for place in range(PATTERN):
        if place % CALL == 0:
            project = chance.choices(PROJECTS, (40, 20, 10, 10, 8, 6, 4, 2))[0]
            models = tuple(
                chance.choice([model for model in MODELS if model[0] == modality])
                for modality in ("stt", "llm", "tts")
            )
        modality, provider, model = models[place % 3]
        status: Status = chance.choices(
            ("completed", "cancelled", "failed", "rejected"), (90, 8, 1.5, 0.5)
        )[0]
        known = provider != "acme"
        rows.append(
            PatternRow(
                place=place,
                project=project,
                modality=modality,
                provider=provider,
                model=model,
                requested_model=f"{provider}/{model}",
                status=status,
                speech=modality != "stt",
                audio_seconds=12.5 if modality == "stt" else 3.25,
                input_tokens=900 if modality == "llm" else 0,
                output_tokens=60 if modality == "llm" else 0,
                characters=140 if modality == "tts" else 0,
                cost_nanos=chance.randrange(100_000, 900_000) if known else None,
                price="catalogue" if known else None,
                ttfb_ms=round(chance.uniform(80, 900), 3),
                error="APIStatusError 500" if status == "failed" else None,
            )
        )
    return tuple(rows)
