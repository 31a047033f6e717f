"""Rows of usage on their way to the database and back.

SQLite takes them as lists of values, and as JSON in an outbox.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from ..metering.usage import UsageRow
from ..times import from_iso, to_iso

__all__ = [
    "as_it_is",
    "decode_row",
    "encode_rows",
    "from_what_it_was",
    "latest",
    "repaired",
    "values_of",
]

_COUNTS: Final = ("input_tokens", "cached_input_tokens", "output_tokens", "characters")
_SECONDS: Final = ("audio_seconds", "connection_seconds")
_MILLISECONDS: Final = ("ttfb_ms", "duration_ms")

_MOST: Final = 2**53
"""The greatest count and cost that is believed: thousands of them still add up to 64 bits."""

_GREATEST: Final[Mapping[str, float]] = {
    **dict.fromkeys((*_COUNTS, "cost_nanos"), _MOST),
    **dict.fromkeys((*_SECONDS, *_MILLISECONDS), _MOST / 1000),
}

_NAMES: Final = tuple(field.name for field in fields(UsageRow))


def encode_rows(rows: Sequence[UsageRow]) -> str:
    """Write rows as JSON arrays in column order, with commas between, without the outer brackets.

    Seconds are rounded to milliseconds: sums of them are then exact, whatever their order. A value
    that cannot be is `repaired`; one such row must not keep all others from being written.

    Raises:
        ValueError, TypeError: A row holds what no column takes, and cannot be repaired.
    """
    return json.dumps(values_of(rows), ensure_ascii=False, separators=(",", ":"))[1:-1]


def values_of(rows: Sequence[UsageRow]) -> list[list[Any]]:
    """Give the values of rows in column order, as `encode_rows` writes them.

    Raises:
        ValueError, TypeError: A row holds what no column takes, and cannot be repaired.
    """
    try:
        return _all_values(rows)
    except (ValueError, OverflowError, OSError):
        try:
            return _all_values([repaired(row) for row in rows])
        except (OverflowError, OSError) as e:
            raise ValueError(str(e)) from e


def latest(rows: Sequence[UsageRow]) -> Sequence[UsageRow]:
    """Leave one version of each row: the one that would stay if they were written one by one."""
    if len({row.id for row in rows}) == len(rows):
        return rows
    kept: dict[str, UsageRow] = {}
    for row in rows:
        before = kept.get(row.id)
        if (
            before is None
            or row.status != "open"
            or (before.status == "open" and (row.duration_ms or 0) >= (before.duration_ms or 0))
        ):
            kept[row.id] = row
    return list(kept.values())


def decode_row(values: Sequence[Any]) -> UsageRow:
    """Make a row from the columns of the query ``rows``."""
    fields = list(values)
    fields[2] = from_iso(fields[2])
    fields[3] = None if fields[3] is None else from_iso(fields[3])
    fields[11] = bool(fields[11])
    return UsageRow(*fields)


def as_it_is(row: UsageRow) -> str:
    """Write any row, whatever is in it, for people and for `from_what_it_was`."""
    values = [getattr(row, name) for name in _NAMES]
    text = json.dumps(values, default=repr, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def from_what_it_was(text: str) -> UsageRow:
    """Make a row of what `as_it_is` has written.

    Raises:
        ValueError, TypeError: That is none.
    """
    return UsageRow(*json.loads(text))


def _all_values(rows: Sequence[UsageRow]) -> list[list[Any]]:
    values = [_values(row) for row in rows]
    for row in rows:
        numbers = row.audio_seconds, row.connection_seconds, row.ttfb_ms, row.duration_ms
        if not math.isfinite(sum(number or 0.0 for number in numbers)):
            raise ValueError("a number is none")
    return values


def _values(row: UsageRow) -> list[Any]:
    if not (
        -_MOST <= row.input_tokens <= _MOST
        and -_MOST <= row.cached_input_tokens <= _MOST
        and -_MOST <= row.output_tokens <= _MOST
        and -_MOST <= row.characters <= _MOST
        and -_MOST <= (row.cost_nanos or 0) <= _MOST
    ):
        raise OverflowError("a count or a cost is out of range")
    if not _is_day(row.day):
        raise ValueError(f"{row.day!r} is no day")
    return [
        row.id,
        row.request_id,
        to_iso(row.started_at),
        None if row.ended_at is None else to_iso(row.ended_at),
        row.day,
        row.project,
        row.modality,
        row.provider,
        row.model,
        row.requested_model,
        row.status,
        1 if row.estimated else 0,
        row.room,
        row.job_id,
        row.speech_id,
        round(row.audio_seconds, 3),
        round(row.connection_seconds, 3),
        row.input_tokens,
        row.cached_input_tokens,
        row.output_tokens,
        row.characters,
        row.cost_nanos,
        row.price,
        None if row.ttfb_ms is None else round(row.ttfb_ms, 3),
        None if row.duration_ms is None else round(row.duration_ms, 3),
        row.error,
        row.owner,
    ]


def repaired(row: UsageRow) -> UsageRow:
    """Make a row storable where it is plain how: what it cost is recorded all the same.

    A number that is none is left out, one out of range is brought back into it, and a moment or a
    day that is none is taken from the other. Each is noted in ``error``.
    """
    changes: dict[str, Any] = {}
    notes = []
    if no_number := [name for name in (*_SECONDS, *_MILLISECONDS) if not _is_finite(row, name)]:
        notes.append(f"no number: {_shown(row, no_number)}")
        changes |= {name: 0.0 if name in _SECONDS else None for name in no_number}
    if too_much := [name for name in _GREATEST if not _is_in_range(row, name)]:
        notes.append(f"out of range: {_shown(row, too_much)}")
        changes |= {name: _nearest(row, name) for name in too_much}
    if no_time := _mended_times(row):
        notes.append(f"no time: {_shown(row, list(no_time))}")
        changes |= no_time
    if not notes:
        return row
    note = f"metering failed: {'; '.join(notes)}"
    error = f"{row.error}; {note}" if row.error else note
    return replace(row, **changes, estimated=True, error=error)


def _shown(row: UsageRow, names: Sequence[str]) -> str:
    return ", ".join(f"{name}={getattr(row, name)}" for name in names)


def _is_finite(row: UsageRow, name: str) -> bool:
    value = getattr(row, name)
    return not isinstance(value, float) or math.isfinite(value)


def _is_in_range(row: UsageRow, name: str) -> bool:
    value = getattr(row, name)
    if not isinstance(value, int | float) or not _is_finite(row, name):
        return True  # there is none, or it is something else
    return -_GREATEST[name] <= value <= _GREATEST[name]


def _nearest(row: UsageRow, name: str) -> float:
    most = _GREATEST[name]
    return -most if name not in _COUNTS and getattr(row, name) < 0 else most


def _mended_times(row: UsageRow) -> dict[str, Any]:
    """What is to be written instead of moments and a day that are none; nothing for good ones."""
    changes: dict[str, Any] = {}
    started_at = row.started_at
    if not _is_moment(started_at):
        with contextlib.suppress(ValueError, TypeError):
            started_at = datetime.fromisoformat(f"{row.day}T12:00:00Z").timestamp()
            changes["started_at"] = started_at
    if _is_moment(started_at) and not _is_day(row.day):
        changes["day"] = datetime.fromtimestamp(started_at, UTC).date().isoformat()
    if row.ended_at is not None and not _is_moment(row.ended_at):
        changes["ended_at"] = None if row.status == "open" else started_at
    return changes


def _is_moment(unix_time: object) -> bool:
    try:
        to_iso(unix_time)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError, OSError):
        return False
    return True


@lru_cache(maxsize=128)
def _is_day(day: object) -> bool:
    try:
        date.fromisoformat(day)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False
    return True
