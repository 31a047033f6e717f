"""Rows of usage on their way to PostgreSQL: one array for each column, so that one statement writes
a batch (see ``write_rows`` in sql/queries/postgres/writing.sql).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date
from functools import lru_cache
from typing import Any, Final

from ..metering.usage import UsageRow
from .row_codec import repaired

__all__ = ["clean", "clean_key", "columns_of", "needs_repair", "repair"]

_COLUMNS: Final = tuple(field.name for field in fields(UsageRow))
_KEYS: Final = ("id", "project", "provider", "model", "room", "owner")
_SECONDS: Final = ("audio_seconds", "connection_seconds")
_MILLISECONDS: Final = ("ttfb_ms", "duration_ms")

_LONGEST_KEY: Final = 600
"""Bytes of a text that an index holds; three of them must fit into one entry, of 2,704 bytes."""

_YEAR_1: Final = -62_135_596_800
_YEAR_10000: Final = 253_402_300_800
"""Unix times at which years begin: what is not between them nobody could read."""

_CERTAINLY_SHORT: Final = _LONGEST_KEY // 4
"""Characters that are never more than that many bytes."""


def columns_of(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """Turn rows into columns by name. Seconds are rounded to milliseconds, so that sums are exact.

    Raises:
        ValueError, OverflowError: A day or a time is none.
    """
    columns: dict[str, Any] = dict(
        zip(_COLUMNS, zip(*map(_values, rows), strict=True), strict=True)
    )
    for name in (*_SECONDS, *_MILLISECONDS):
        columns[name] = [None if value is None else round(value, 3) for value in columns[name]]
    return columns


def needs_repair(columns: dict[str, Any]) -> bool:
    """Return whether some value cannot be stored as it is, as far as that is seen at a glance."""
    return any(
        value is not None and len(value) > _CERTAINLY_SHORT
        for name in _KEYS
        for value in columns[name]
    ) or not all(
        value is None or math.isfinite(value)
        for name in (*_SECONDS, *_MILLISECONDS)
        for value in columns[name]
    )


def repair(row: UsageRow) -> UsageRow:
    """Make a row storable: `repaired`, and its texts without NUL and half surrogate pairs."""
    row = repaired(row)
    texts: dict[str, Any] = {
        name: clean_key(value) if name in _KEYS else clean(value)
        for name in _COLUMNS
        if isinstance(value := getattr(row, name), str)
    }
    return replace(row, **texts)


def clean(text: str) -> str:
    """Replace what is no text to PostgreSQL, NUL and half of a surrogate pair."""
    if "\0" in text or not text.isascii():
        return text.encode("utf-8", "replace").decode().replace("\0", "?")
    return text


def clean_key(text: str) -> str:
    """The same for a text that is looked up: it is cut to what an index holds."""
    text = clean(text)
    if len(text) > _CERTAINLY_SHORT:
        return text.encode()[:_LONGEST_KEY].decode("utf-8", "ignore")
    return text


def _values(row: UsageRow) -> tuple[Any, ...]:
    return (
        row.id,
        row.request_id,
        _milliseconds(row.started_at),
        None if row.ended_at is None else _milliseconds(row.ended_at),
        None if row.day is None else _date(row.day),
        row.project,
        row.modality,
        row.provider,
        row.model,
        row.requested_model,
        row.status,
        bool(row.estimated),
        row.room,
        row.job_id,
        row.speech_id,
        row.audio_seconds,
        row.connection_seconds,
        row.input_tokens,
        row.cached_input_tokens,
        row.output_tokens,
        row.characters,
        row.cost_nanos,
        row.price,
        row.ttfb_ms,
        row.duration_ms,
        row.error,
        row.owner,
    )


def _milliseconds(unix_time: float) -> int:
    # as `to_iso`: to the microsecond, and digits below a millisecond are dropped
    if not _YEAR_1 <= unix_time < _YEAR_10000:
        raise ValueError(f"{unix_time} is no moment of the years 1 to 9999")
    return round(unix_time * 1e6) // 1000


@lru_cache(maxsize=128)
def _date(day: str) -> date:
    return date.fromisoformat(day)
