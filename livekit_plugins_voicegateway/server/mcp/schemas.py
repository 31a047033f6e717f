"""JSON schemas of tools: of what they answer, made of its types, and of what they take."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import (
    Any,
    Final,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ...errors import QueryProblem
from ..kinds import kind_of

__all__ = ["Schema", "arguments", "faults_of", "schema_of"]

Schema = dict[str, Any]

_SIMPLE: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Any: {},
}

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
}

_WORDS: Final[Mapping[str, str]] = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
}


def schema_of(answer: Any) -> Schema:
    """Return the schema of a type: a TypedDict, and what may stand in one.

    Args:
        answer: The type.
    """
    if answer in _SIMPLE:
        return _SIMPLE[answer]
    if is_typeddict(answer):
        described = inspect.cleandoc(vars(answer).get("__doc__") or "")
        # __required_keys__ knows nothing of NotRequired where annotations are texts
        hints = get_type_hints(answer, include_extras=True)
        return {
            "type": "object",
            **({"description": " ".join(described.split())} if described else {}),
            "properties": {name: schema_of(hint) for name, hint in hints.items()},
            "required": [
                name for name, hint in hints.items() if get_origin(hint) is not NotRequired
            ],
        }
    origin, parts = get_origin(answer), get_args(answer)
    if origin is NotRequired:
        return schema_of(parts[0])
    if origin is Literal:
        return {"type": "string", "enum": list(parts)}
    if origin is list:
        return {"type": "array", "items": schema_of(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(parts[1])}
    if origin in (Union, types.UnionType):
        alternatives = [schema_of(part) for part in parts if part is not type(None)]
        return {"anyOf": [*alternatives, {"type": "null"}]}
    raise TypeError(f"no schema is known for {answer!r}")


def arguments(properties: Mapping[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    """Return the schema of what a tool takes.

    Args:
        properties: Its arguments, each with its description.
        required: Those that it cannot do without.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def faults_of(given: Mapping[str, object], schema: Schema) -> list[QueryProblem]:
    """Return what is wrong with arguments as far as their schema says; values are not shown.

    Args:
        given: The arguments.
        schema: As `arguments` makes it, with simple types only.
    """
    known: Mapping[str, Schema] = schema["properties"]
    names = ", ".join(known) or "no argument"
    faults = [
        QueryProblem(name[:60], "an unknown argument", names) for name in given if name not in known
    ]
    faults += [
        QueryProblem(name, "nothing", _expected(known[name]))
        for name in schema["required"]
        if name not in given
    ]
    for name, value in given.items():
        if name in known and not _fits(value, known[name]):
            found = "another text" if _is_choice(value, known[name]) else kind_of(value)
            faults.append(QueryProblem(name, found, _expected(known[name])))
    return faults


def _fits(value: object, schema: Schema) -> bool:
    kind = str(schema.get("type"))
    if kind not in _TYPES:
        return True
    # True is an int to Python, and 1 no truth to JSON
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _TYPES[kind]) and ("enum" not in schema or value in schema["enum"])


def _is_choice(value: object, schema: Schema) -> bool:
    return isinstance(value, str) and "enum" in schema


def _expected(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = str(schema.get("type"))
    return _WORDS[kind] if kind in _WORDS else str(schema.get("description", "a value"))
