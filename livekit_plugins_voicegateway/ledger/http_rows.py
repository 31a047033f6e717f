"""Rows of usage as they go over HTTP: objects whose fields are the ledger's columns.

Times are ISO 8601 in UTC, money is an integer of nano-dollars. `encode_row` and
`bodies_of` are the worker's side, `read_rows` the server's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final, get_args

from ..errors import QueryProblem
from ..metering.usage import Modality, Status, UsageRow
from ..times import to_iso
from .http_values import (
    MOST_NANOS,
    Field,
    boolean,
    choice,
    day,
    fitting_text,
    moment,
    number,
    optional,
    read_fields,
    shown,
    text,
    whole,
)
from .row_codec import repaired

__all__ = ["MOST_ROWS", "ROWS", "VERSION", "bodies_of", "encode_row", "read_rows", "rows_schema"]

VERSION: Final = 1
"""Of the shape of rows; another number is refused by who does not know it."""

MOST_ROWS: Final = 1_000
"""Rows of one request: they are one transaction, and others write in between."""

_LARGEST_BATCH: Final = 900_000
"""Bytes of one request, before they are compressed; some 1,200 usual rows."""

_MOST_SECONDS: Final = 10.0**9
_MOST_MILLISECONDS: Final = 10.0**12
_MOST_UNITS: Final = 10**15

_LONGEST: Final[Mapping[str, int]] = {
    "id": 100,
    "request_id": 100,
    "owner": 100,
    "project": 200,
    "provider": 200,
    "model": 500,
    "requested_model": 500,
    "room": 500,
    "job_id": 500,
    "speech_id": 500,
    "price": 1_000,
    "error": 4_000,
}
"""Characters that a text may have."""


def _text(name: str) -> Field:
    return text(name, _LONGEST[name])


ROWS: Final[Mapping[str, Field]] = {
    field.name: field
    for field in (
        _text("id"),
        _text("request_id"),
        moment("started_at"),
        optional(moment("ended_at")),
        day("day"),
        _text("project"),
        choice("modality", get_args(Modality)),
        _text("provider"),
        _text("model"),
        _text("requested_model"),
        choice("status", get_args(Status)),
        boolean("estimated"),
        optional(_text("room")),
        optional(_text("job_id")),
        optional(_text("speech_id")),
        number("audio_seconds", _MOST_SECONDS),
        number("connection_seconds", _MOST_SECONDS),
        whole("input_tokens", _MOST_UNITS),
        whole("cached_input_tokens", _MOST_UNITS),
        whole("output_tokens", _MOST_UNITS),
        whole("characters", _MOST_UNITS),
        optional(whole("cost_nanos", MOST_NANOS // 1_000, default=None)),
        optional(_text("price")),
        optional(number("ttfb_ms", _MOST_MILLISECONDS)),
        optional(number("duration_ms", _MOST_MILLISECONDS)),
        optional(_text("error")),
        optional(_text("owner")),
    )
}
"""The fields of a row, by name, in the order of `UsageRow`."""

_NAMES: Final = tuple(field.name for field in fields(UsageRow))


def read_rows(data: Mapping[str, object]) -> tuple[list[UsageRow], list[QueryProblem]]:
    """Read the body of a request.

    Args:
        data: What was parsed.

    Returns:
        The rows, and every value that cannot be, by the row's number: ``rows[3].day``. With a
        problem the rows are not all.
    """
    problems = [
        QueryProblem(name[:60], "an unknown field", "version or rows")
        for name in data
        if name not in ("version", "rows")
    ]
    version, found = data.get("version"), data.get("rows")
    if isinstance(version, bool) or version != VERSION:
        problems.append(
            QueryProblem("version", "nothing" if version is None else shown(version), f"{VERSION}")
        )
    if not isinstance(found, list) or len(found) > MOST_ROWS:
        what = "nothing" if found is None else shown(found)
        what = f"{len(found)} rows" if isinstance(found, list) else what
        problems.append(QueryProblem("rows", what, f"a list of at most {MOST_ROWS} rows"))
        return [], problems
    rows = []
    for index, one in enumerate(found):
        before = len(problems)
        values = read_fields(one, ROWS, f"rows[{index}].", problems)
        if len(problems) == before:
            rows.append(UsageRow(**values))
    return rows, problems


def encode_row(row: UsageRow) -> bytes:
    """Write a row as JSON.

    What the server would refuse in it is left out or shortened, and noted in its ``error``: one
    such row must not keep all others from being written.
    """
    return json.dumps(_fitting(row), ensure_ascii=False, separators=(",", ":")).encode()


def bodies_of(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Make bodies of requests, mostly one, of what `encode_row` has written."""
    batch: list[bytes] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == MOST_ROWS or size + len(row) > _LARGEST_BATCH):
            yield _body(batch)
            batch, size = [], 0
        batch.append(row)
        size += len(row) + 1
    if batch:
        yield _body(batch)


def rows_schema() -> dict[str, Any]:
    """Describe the body of a request as JSON schema."""
    return {
        "type": "object",
        "required": ["version", "rows"],
        "properties": {
            "version": {"const": VERSION},
            "rows": {
                "type": "array",
                "maxItems": MOST_ROWS,
                "items": {
                    "type": "object",
                    "required": [field.name for field in ROWS.values() if field.required],
                    "properties": {field.name: dict(field.schema) for field in ROWS.values()},
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    }


def _body(batch: list[bytes]) -> bytes:
    return b'{"version":%d,"rows":[%s]}' % (VERSION, b",".join(batch))


def _fitting(row: UsageRow) -> dict[str, Any]:
    """A row as JSON that the server takes."""
    try:
        started_at, ended_at = _moments(row)
    except (ValueError, OverflowError, OSError):
        row = repaired(row)
        started_at, ended_at = _moments(row)
    data = {name: getattr(row, name) for name in _NAMES}
    data |= {"started_at": started_at, "ended_at": ended_at}
    wrong = []
    for name, value in data.items():
        if isinstance(value, float):
            # milliseconds: sums of them are then exact, whatever their order
            data[name] = round(value, 3)
        try:
            ROWS[name].read(data[name])
        except ValueError:
            if name in _LONGEST and isinstance(value, str):
                data[name] = fitting_text(value, _LONGEST[name]) if value else _empty(name)
            else:
                wrong.append(f"{name}={shown(value)}")
                data[name] = ROWS[name].default
    if wrong:
        note = f"metering failed: no number: {', '.join(wrong)}"
        error = f"{note}; {data['error']}" if data["error"] else note
        data |= {"estimated": True, "error": error[: _LONGEST["error"]]}
    return data


def _moments(row: UsageRow) -> tuple[str, str | None]:
    return to_iso(row.started_at), None if row.ended_at is None else to_iso(row.ended_at)


def _empty(name: str) -> str | None:
    return "?" if ROWS[name].required else None
