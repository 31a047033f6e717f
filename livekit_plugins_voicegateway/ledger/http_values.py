"""Values of the JSON that workers and the server exchange: what may stand where.

The server reads with it what a worker sends, and names every value that cannot be. A worker looks
with it at its own rows before it sends them, so that none is sent that would be refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from ..errors import QueryProblem, did_you_mean

__all__ = [
    "MOST_NANOS",
    "Field",
    "boolean",
    "choice",
    "day",
    "fitting_text",
    "moment",
    "number",
    "optional",
    "read_fields",
    "shown",
    "text",
    "whole",
]

MOST_NANOS: Final = 2**63 - 1
"""Nano-dollars at most: what a database keeps as an integer."""

_MOST_SHOWN: Final = 60
"""Characters of a wrong value that an answer shows."""

_MOST_UNKNOWN: Final = 20
"""Unknown fields of one object that are named."""

_LATEST: Final = 253_402_300_800.0
"""Unix time at which the year 10000 begins."""

_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII
)

Read = Callable[[object], Any]
"""Makes a value of what stands in JSON; raises `ValueError` for one that cannot be."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object.

    Attributes:
        name: Its key.
        read: Makes the value.
        expected: What stands there, in words.
        schema: The same as JSON schema.
        default: What it is when it is left out.
        required: Whether it must be there.
    """

    name: str
    read: Read
    expected: str
    schema: Mapping[str, Any]
    default: object = None
    required: bool = False


def read_fields(
    data: object, fields: Mapping[str, Field], path: str, problems: list[QueryProblem]
) -> dict[str, Any]:
    """Read an object of JSON.

    Args:
        data: What was parsed; numbers with a point may be `Decimal`.
        fields: What may be in it, by name.
        path: What stands before a field's name, ``rows[3].``.
        problems: Where every value that cannot be is noted.

    Returns:
        The values by field; those that cannot be are left out.
    """
    if not isinstance(data, dict):
        problems.append(QueryProblem(path.rstrip(".") or "body", shown(data), "an object"))
        return {}
    unknown = [name for name in data if name not in fields]
    for name in unknown[:_MOST_UNKNOWN]:
        near = did_you_mean(name[:_MOST_SHOWN], fields).rstrip(".")
        expected = f"one of {', '.join(fields)}{near}"
        problems.append(QueryProblem(f"{path}{name[:_MOST_SHOWN]}", "an unknown field", expected))
    if len(unknown) > _MOST_UNKNOWN:
        more = f"{len(unknown) - _MOST_UNKNOWN} more unknown fields"
        problems.append(QueryProblem(path.rstrip(".") or "body", more, "none"))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in data:
            if field.required:
                problems.append(QueryProblem(f"{path}{name}", "nothing", field.expected))
            values[name] = field.default
            continue
        try:
            values[name] = field.read(data[name])
        except ValueError:
            problems.append(QueryProblem(f"{path}{name}", shown(data[name]), field.expected))
    return values


def shown(value: object) -> str:
    """Return a value of JSON for an error's text: shortened, and printable."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None | bool():
            return json.dumps(value)
        case str():
            found = ascii(value[: _MOST_SHOWN + 1])
        case int() if abs(value) >= 10**_MOST_SHOWN:
            # Python writes no integer of more than 4,300 digits
            return "a number of too many digits"
        case _:
            found = str(value)
    return found if len(found) <= _MOST_SHOWN else f"{found[: _MOST_SHOWN - 1]}…"


def text(name: str, most: int, *, required: bool = True, pattern: str | None = None) -> Field:
    """A text of 1 to ``most`` characters, all of which a database can keep.

    Args:
        name: The field's.
        most: Characters at most.
        required: Whether it must be there.
        pattern: What the text looks like, for the schema only.
    """

    def read(value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= most or not _can_be_kept(value):
            raise ValueError
        return value

    schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": most}
    if pattern is not None:
        schema["pattern"] = pattern
    return Field(name, read, f"a text of at most {most} characters", schema, required=required)


def fitting_text(value: str, most: int) -> str:
    """Return a text that a field of `text` takes: shortened, with ? for what cannot be kept."""
    kept = value if _can_be_kept(value) else value.encode("utf-8", "replace").decode()
    return kept.replace("\0", "?")[:most] or "?"


def choice(name: str, known: tuple[str, ...]) -> Field:
    """One of some texts."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError
        return value

    return Field(name, read, ", ".join(known), {"enum": [*known]}, required=True)


def moment(name: str) -> Field:
    """A moment, ISO 8601 with a time zone; becomes Unix time."""

    def read(value: object) -> float:
        if not isinstance(value, str) or not _MOMENT.fullmatch(value):
            raise ValueError
        seconds = datetime.fromisoformat(value).timestamp()
        if not 0 <= seconds < _LATEST:
            raise ValueError
        return seconds

    schema = {"type": "string", "format": "date-time"}
    return Field(name, read, "a time such as 2026-05-04T09:30:00.250Z", schema, required=True)


def day(name: str) -> Field:
    """A calendar day, ``YYYY-MM-DD``."""

    def read(value: object) -> str:
        if not isinstance(value, str) or date.fromisoformat(value).isoformat() != value:
            raise ValueError
        return value

    schema = {"type": "string", "format": "date"}
    return Field(name, read, "a day such as 2026-05-04", schema, required=True)


def number(name: str, most: float, *, default: float | None = 0.0, least: float = 0.0) -> Field:
    """A number from ``least`` to ``most``."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError
        try:
            found = float(value)
        except OverflowError:
            raise ValueError from None
        if not math.isfinite(found) or not least <= found <= most:
            raise ValueError
        return found

    schema = {"type": "number", "minimum": least, "maximum": most}
    return Field(name, read, f"a number from {least:g} to {most:.0f}", schema, default)


def whole(
    name: str, most: int, *, default: int | None = 0, least: int = 0, required: bool = False
) -> Field:
    """A whole number from ``least`` to ``most``."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    schema = {"type": "integer", "minimum": least, "maximum": most}
    expected = f"a whole number from {least} to {most}"
    return Field(name, read, expected, schema, default, required)


def boolean(name: str) -> Field:
    """True or false; false when it is left out."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Field(name, read, "true or false", {"type": "boolean"}, default=False)


def optional(field: Field) -> Field:
    """The same field where ``null`` may stand as well, and nothing at all."""

    def read(value: object) -> object:
        return None if value is None else field.read(value)

    schema = {"anyOf": [field.schema, {"type": "null"}]}
    return Field(field.name, read, f"{field.expected}, or null", schema)


def _can_be_kept(value: str) -> bool:
    # not every database takes NUL, and none takes halves of a pair of UTF-16
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
