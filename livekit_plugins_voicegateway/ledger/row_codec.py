"""Rows of usage on their way to the database and back.

A batch goes to SQLite as one JSON text, so that a single statement writes it (see ``write_rows`` in
sql/queries/sqlite/writing.sql).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from ..metering.usage import UsageRow
from ..times import from_iso, to_iso

__all__ = ["decode_row", "encode_rows", "repaired"]

_FLOATS: Final = ("audio_seconds", "connection_seconds", "ttfb_ms", "duration_ms")


def encode_rows(rows: Sequence[UsageRow]) -> str:
    """Write rows as JSON arrays in column order, with commas between, without the outer brackets.

    Seconds are rounded to milliseconds: sums of them are then exact, whatever their order. A value
    that is no number is left out and noted in ``error``; one such row must not keep all others
    from being written.
    """
    try:
        return _dumps(rows)
    except (ValueError, OverflowError):
        return _dumps([repaired(row) for row in rows])


def decode_row(values: Sequence[Any]) -> UsageRow:
    """Make a row from the columns of the query ``rows``."""
    fields = list(values)
    fields[2] = from_iso(fields[2])
    fields[3] = None if fields[3] is None else from_iso(fields[3])
    fields[11] = bool(fields[11])
    return UsageRow(*fields)


def _dumps(rows: Sequence[UsageRow]) -> str:
    values = [_values(row) for row in rows]
    return json.dumps(values, allow_nan=False, ensure_ascii=False, separators=(",", ":"))[1:-1]


def _values(row: UsageRow) -> list[Any]:
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
    wrong = [name for name in _FLOATS if not math.isfinite(getattr(row, name) or 0.0)]
    if not wrong:
        return row
    found = ", ".join(f"{name}={getattr(row, name)}" for name in wrong)
    note = f"metering failed: no number: {found}"
    changes: dict[str, Any] = {name: 0.0 if name.endswith("_seconds") else None for name in wrong}
    error = f"{row.error}; {note}" if row.error else note
    return replace(row, **changes, estimated=True, error=error)
