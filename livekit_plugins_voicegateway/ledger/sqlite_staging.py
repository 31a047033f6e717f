"""Rows on their way into a SQLite file: where a connection keeps them until it has the file's lock.

That is a table in memory which only the connection sees (``take_batches`` in
sql/queries/sqlite/writing.sql). So what Python does, and the way of each value to SQLite, is over
before others have to wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from .queries import load_queries

__all__ = ["stage_rows", "storable"]

_AT_ONCE: Final = (64, 8, 1)
"""Rows that are staged by one statement, which has 27 parameters for each. After each statement
Python waits until no other thread holds the interpreter's lock, so there must not be one a row."""


def stage_rows(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Put rows where ``write_rows`` finds them; those of before are taken out.

    Args:
        connection: On which ``take_batches`` was run.
        rows: Values in column order (`row_codec.values_of`), one version of each row.

    Raises:
        sqlite3.Error: SQLite has no type for a value.
    """
    connection.execute(load_queries("sqlite")["clear_batch"])
    start = 0
    for size in _AT_ONCE:
        while len(rows) - start >= size:
            values = [value for row in rows[start : start + size] for value in row]
            try:
                connection.execute(_statement(size), values)
            except UnicodeEncodeError:
                connection.execute(_statement(size), [storable(value) for value in values])
            start += size


@cache
def _statement(count: int) -> str:
    insert, values, row = load_queries("sqlite")["stage_rows"].partition("VALUES ")
    return f"{insert}{values}{', '.join([row.rstrip(';')] * count)};"


def storable(value: Any) -> Any:
    """A value as SQLite takes it: half of a surrogate pair is no text to it, and is replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
