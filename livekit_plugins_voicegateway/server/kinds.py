"""What kind of JSON a value is, in the words of the answers that refuse it."""

from __future__ import annotations

__all__ = ["kind_of"]


def kind_of(value: object) -> str:
    """Return what a value of JSON is: ``a text``, ``a list``, …; the value itself is not shown."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
    return "a number"
