"""OpenAPI schemas of the answers, made of the very types that `Reports` gives.

Answers are `typing.TypedDict`, which pydantic reads from Python 3.12 on; `schema` gives it the same
dictionary in the form that it reads everywhere.
"""

from __future__ import annotations

import inspect
import types
from functools import cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints, is_typeddict

from typing_extensions import TypedDict

from ..problems import MEDIA_TYPE

__all__ = ["PROBLEM_SCHEMA", "problems", "schema"]

PROBLEM_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}

_REASONS: Final = {
    400: "The body is no JSON.",
    401: "No token, or a wrong one.",
    403: "Asked by another site, or under another name than the server's.",
    404: "There is no such thing.",
    409: "It collides with what is there.",
    413: "The body is too large.",
    415: "The body is of another type than JSON.",
    422: "Values that cannot be; `errors` names every one of them.",
    503: "The ledger does not answer; `Retry-After` says when to come again.",
}

Responses = dict[int | str, dict[str, Any]]


@cache
def schema(answer: Any) -> Any:
    """Return a TypedDict that pydantic can read, with the fields and words of ``answer``."""
    hints = get_type_hints(answer)
    model: Any = TypedDict(  # type: ignore[misc]  # its fields are known when it runs
        answer.__name__, {name: _readable(hint) for name, hint in hints.items()}
    )
    model.__doc__ = inspect.cleandoc(vars(answer).get("__doc__") or "")
    return model


def problems(*statuses: int) -> Responses:
    """Describe the problem bodies of a route; 401 and 403 may come from every one.

    Args:
        statuses: HTTP statuses.
    """
    return {
        status: {
            "description": _REASONS[status],
            "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}},
        }
        for status in (401, 403, *statuses)
    }


def _readable(hint: Any) -> Any:
    """Replace each TypedDict in a type, however deep it stands."""
    if is_typeddict(hint):
        return schema(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is list:
        return list[_readable(parts[0])]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        return Union[tuple(_readable(part) for part in parts)]  # noqa: UP007
    return hint
