"""Reads the files under ``sql/``: queries by name, and migrations by number.

A file of queries is a row of blocks. Each begins with a line ``-- name --`` and a comment that says
what the query does; the statement follows. Nothing of SQL stands in Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "Migration",
    "NumberedQuery",
    "Value",
    "load_migrations",
    "load_numbered_queries",
    "load_queries",
]

Value = str | int | float | Decimal | list[str] | None
"""What a parameter of a query may be."""

_SQL: Final = Path(__file__).parent / "sql"
_BLOCK: Final = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<!:):([a-z_]+)")
_MIGRATION_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_ADDITIVE: Final = re.compile(r"^-- additive: (yes|no)$", re.MULTILINE)


class Migration(NamedTuple):
    """One numbered change of the schema.

    Attributes:
        number: From 1, without gaps.
        name: What the file is called, ``0001_ledger``.
        additive: Whether programs that do not know this migration can go on with the database.
        script: The SQL statements.
    """

    number: int
    name: str
    additive: bool
    script: str


class NumberedQuery(NamedTuple):
    """A query whose parameters are numbered, ``$1``, for engines that know no names.

    Attributes:
        text: The SQL statement.
        parameters: Their names, in the order of their numbers.
    """

    text: str
    parameters: tuple[str, ...]


@cache
def load_queries(engine: str) -> dict[str, str]:
    """Return the queries of an engine by name.

    Args:
        engine: Folder under ``sql/queries``: ``sqlite``, ``postgres``.
    """
    queries: dict[str, str] = {}
    for file in sorted((_SQL / "queries" / engine).glob("*.sql")):
        for name, text in _blocks(file.read_text("utf-8")):
            if name in queries:
                raise ValueError(f"{file.name} names {name!r}, which is taken")
            queries[name] = text
    return queries


@cache
def load_numbered_queries(engine: str) -> dict[str, NumberedQuery]:
    """Return the queries of an engine by name, with ``$1`` for the first ``:name`` and so on.

    Args:
        engine: Folder under ``sql/queries``.
    """
    return {name: _numbered(text) for name, text in load_queries(engine).items()}


@cache
def load_migrations(engine: str) -> tuple[Migration, ...]:
    """Return the migrations of an engine in order.

    Args:
        engine: Folder under ``sql/migrations``: ``sqlite``, ``postgres``.
    """
    migrations = []
    for file in sorted((_SQL / "migrations" / engine).glob("*.sql")):
        named = _MIGRATION_FILE.fullmatch(file.name)
        script = file.read_text("utf-8")
        additive = _ADDITIVE.search(script)
        if named is None or additive is None:
            raise ValueError(
                f"{file.name}: a migration is NNNN_name.sql with `-- additive: yes|no`"
            )
        migrations.append(
            Migration(int(named[1]), file.stem, additive[1] == "yes", script),
        )
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"the migrations of {engine} are not numbered 1, 2, 3, …")
    return tuple(migrations)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    parts = _BLOCK.split(text)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = body.strip().splitlines()
        while lines and lines[0].startswith("--"):
            lines.pop(0)
        yield name, "\n".join(lines)


def _numbered(text: str) -> NumberedQuery:
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    number = {name: f"${place}" for place, name in enumerate(names, start=1)}
    return NumberedQuery(_PARAMETER.sub(lambda found: number[found[1]], text), names)
