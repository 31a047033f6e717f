"""Fields of a project, as HTTP, MCP and the command line bring them, read as voicegw.yaml is.

Plain data becomes the nodes that the configuration's reader knows, so that both say the same of the
same fault. What only a file may have is refused here: a variable of the environment, above all.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from ..config_file.yaml_reader import Entry, ListNode, MapNode, Node, Scalar, is_number, join_path
from ..errors import ConfigProblem

__all__ = ["is_decimal_text", "node", "plain", "problems_of", "size_of"]

_DEEPEST: Final = 10
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LARGEST_WHOLE: Final = 10**40


def problems_of(
    value: object, path: str, *, secret: bool = False, depth: int = 0
) -> Iterator[ConfigProblem]:
    """Give what no value of a project may be, wherever it stands.

    Args:
        value: What was given.
        path: Where.
        secret: Whether it may be a key, so that nothing of it is shown.
        depth: How many levels are above it.
    """
    if isinstance(value, str):
        yield from _problems_of_text(value, path)
    elif isinstance(value, Mapping):
        if depth >= _DEEPEST:
            yield ConfigProblem(path, "more levels than any project has", "a flatter value")
            return
        for key, item in value.items():
            if not isinstance(key, str):
                yield ConfigProblem(path, "a key that is no text", "texts as keys")
            elif any(_problems_of_text(key, path)):
                yield ConfigProblem(path, "a key with a ${ or a control character", "plain names")
            else:
                at = path if secret and not key.isidentifier() else join_path(path, key)
                yield from problems_of(item, at, secret=secret, depth=depth + 1)
    elif isinstance(value, list | tuple):
        if depth >= _DEEPEST:
            yield ConfigProblem(path, "more levels than any project has", "a flatter value")
            return
        for index, item in enumerate(value):
            yield from problems_of(item, f"{path}[{index}]", secret=secret, depth=depth + 1)
    elif not isinstance(value, bool | int | float | Decimal | dt.date | None):
        yield ConfigProblem(path, f"a {type(value).__name__}", "text, number, list or mapping")


def node(value: object, *, days: bool = False) -> Node:
    """Make what was given into what the configuration's reader reads.

    Args:
        value: Plain data without `problems_of`.
        days: Whether a text ``2027-01-01`` is a day, as in prices.
    """
    if isinstance(value, Mapping):
        entries = {str(key): Entry(node(item, days=days), 0) for key, item in value.items()}
        return MapNode(entries, 0)
    if isinstance(value, list | tuple):
        return ListNode(tuple(node(item, days=days) for item in value), 0)
    if isinstance(value, str):
        return Scalar(value, 0, plain=days and _DAY.fullmatch(value) is not None)
    return Scalar(_written(value), 0, plain=True)


def plain(value: object) -> object:
    """Return a value as JSON can keep it: exact numbers as decimal text where a float is not.

    Args:
        value: Plain data without `problems_of`.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value


def size_of(value: object, depth: int = 0) -> int:
    """Return how much there is: the characters of texts and keys, and one for any other value.

    Args:
        value: What was given.
        depth: How many levels are above it; what is deeper than any project is not looked into.
    """
    if depth <= _DEEPEST:
        if isinstance(value, Mapping):
            return 1 + sum(len(str(key)) + size_of(item, depth + 1) for key, item in value.items())
        if isinstance(value, list | tuple):
            return 1 + sum(size_of(item, depth + 1) for item in value)
    return 1 + (len(value) if isinstance(value, str) else 0)


def is_decimal_text(value: object) -> bool:
    """Return whether a value is a number that was written as text, to be exact."""
    return isinstance(value, str) and is_number(value.strip())


def _problems_of_text(text: str, path: str) -> Iterator[ConfigProblem]:
    if "${" in text:
        yield ConfigProblem(
            path,
            "a text with ${",
            "the value itself: a project made at run time cannot read the server's environment",
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text):
        yield ConfigProblem(path, "a control character, or half of a character", "plain text")


def _written(value: object) -> str:
    """Write a scalar as YAML would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        return ".inf"
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf"
    return value.isoformat() if isinstance(value, dt.date) else str(value)
