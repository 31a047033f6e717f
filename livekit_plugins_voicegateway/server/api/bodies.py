"""Bodies of requests: JSON that says one thing only, and what OpenAPI says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, NoReturn, get_args

from fastapi import Depends, Request

from ...errors import InvalidQueryError, QueryProblem
from ...projects import BudgetAction
from ..kinds import kind_of
from ..problems import Fault

__all__ = ["Fields", "check_media_type", "described", "parse_object"]

_MEDIA_TYPES: Final = ("application/json", "application/merge-patch+json")

_PROVIDERS: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "description": "Whose keys pay: options by provider. They are stored encrypted "
    "(`VOICEGW_SECRET_KEY`) and never shown again.",
    "additionalProperties": {"type": ["object", "null"]},
}

_FIELDS: Final[dict[str, Any]] = {
    "name": {"type": ["string", "null"], "maxLength": 200},
    "description": {"type": ["string", "null"], "maxLength": 4000},
    "daily_budget": {
        "type": ["number", "string", "null"],
        "description": "Dollars a day, as a number or as decimal text; `null` for no limit.",
    },
    "budget_action": {"enum": [*get_args(BudgetAction), None]},
    "tags": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 32},
    "providers": _PROVIDERS,
    "fallback": {
        "anyOf": [{"type": ["object", "null"]}, {"const": "none"}],
        "description": "Local models by `stt`, `llm`, `tts`, or `none`; `null` for the "
        "configuration's.",
    },
    "pricing": {
        "type": ["object", "null"],
        "description": "Negotiated rates by model, as `pricing:` in voicegw.yaml.",
    },
}

_NEW: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["project_id"],
    "properties": {
        "project_id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        **_FIELDS,
    },
    "additionalProperties": False,
}

_CHANGED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": _FIELDS,
    "additionalProperties": False,
}

_NEW_EXAMPLE: Final = {
    "project_id": "support",
    "name": "Support line",
    "daily_budget": 20,
    "budget_action": "throttle",
    "tags": ["production"],
}

_CHANGED_EXAMPLE: Final = {"daily_budget": 35.5, "tags": ["production", "support"]}


def described(*, new: bool) -> dict[str, Any]:
    """Describe the body of a route that makes or changes a project, for OpenAPI.

    Args:
        new: Whether it makes one.
    """
    content = {
        "schema": _NEW if new else _CHANGED,
        "example": _NEW_EXAMPLE if new else _CHANGED_EXAMPLE,
    }
    return {"requestBody": {"required": True, "content": {_MEDIA_TYPES[0]: content}}}


async def _fields(request: Request) -> Mapping[str, object]:
    """Read the body of a request.

    Raises:
        Fault: It is no JSON, or says two things at once.
        InvalidQueryError: It is no object.
    """
    check_media_type(request, _MEDIA_TYPES)
    return parse_object(await request.body())


Fields = Annotated[Mapping[str, object], Depends(_fields)]


def check_media_type(request: Request, taken: Sequence[str]) -> None:
    """Look at what kind of body a request has.

    Args:
        request: The request.
        taken: The media types that are read; the first is JSON's.

    Raises:
        Fault: It is of another one.
    """
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in taken:
        raise Fault(
            415,
            "media-type",
            "Another kind of body is needed",
            f"The body is {media_type or 'of no type'}; send JSON, with `Content-Type: "
            f"{taken[0]}`.",
            headers={"accept": ", ".join(taken)},
        )


def parse_object(content: bytes) -> Mapping[str, object]:
    """Read the fields of a body.

    Args:
        content: The body, unpacked.

    Raises:
        Fault: It is no JSON, or says two things at once.
        InvalidQueryError: It is no object.
    """
    try:
        body = json.loads(
            content,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError, InvalidOperation) as error:
        # JSONDecodeError and UnicodeDecodeError are ValueErrors
        detail = str(error)
        if isinstance(error, RecursionError):
            detail = "too many levels"
        elif isinstance(error, InvalidOperation):
            detail = "a number with an exponent beyond all measure"
        raise Fault(400, "json", "The body is no JSON", f"The body is no JSON: {detail}.") from None
    if not isinstance(body, dict):
        raise InvalidQueryError([QueryProblem("body", kind_of(body), "an object with fields")])
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice[:60]!r} stands there twice")
    return found
