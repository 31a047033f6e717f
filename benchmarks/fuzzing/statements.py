"""What SQLite is told: every statement, against those of the ``.sql`` files.

Hostile text is harmless as long as it is a value. So nothing may be executed whose text does not
stand in a file, and SQLite must run exactly that, with literals where the file has parameters.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from livekit_plugins_voicegateway.ledger import queries

from .target import Broken

__all__ = ["StatementWatch", "known_statements", "watched_statements"]

_LITERAL: Final = r"(?:NULL|-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|-?Inf|'(?:[^']|'')*')"

_TOKEN: Final = re.compile(r"(?P<kept>--[^\n]*|'(?:[^']|'')*')|:[a-z_]+|\?|(?P<other>.)", re.DOTALL)

_ROW_AGAIN: Final = re.compile(r"(\([\s?,]+\))(?:, \1)+")
"""A list of parameters that is repeated, one for each row that an INSERT has."""


@cache
def known_statements() -> dict[str, re.Pattern[str]]:
    """Return the statements of all files, each with what SQLite may make of it."""
    folder = Path(queries.__file__).parent / "sql"
    texts = [
        text
        for engine in sorted((folder / "queries").iterdir())
        for text in queries.load_queries(engine.name).values()
    ]
    texts += [
        migration.script
        for engine in sorted((folder / "migrations").iterdir())
        for migration in queries.load_migrations(engine.name)
    ]
    # PostgreSQL's have $1 and are no concern of SQLite, which would refuse most of them
    return {
        # SQLite does not see what stands behind the last semicolon
        statement: _expanded(re.sub(r";\s*--[^\n]*$", ";", statement))
        for text in texts
        for statement in _statements(text)
        if statement
    }


def _statements(script: str) -> Iterator[str]:
    """Split a script at the lines where a statement ends, without the comments before each."""
    statement = ""
    for line in script.splitlines(keepends=True):
        if not statement.strip() and line.lstrip().startswith("--"):
            continue
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if statement.strip():
        yield statement.strip()


def _expanded(statement: str) -> re.Pattern[str]:
    parts = []
    for token in _TOKEN.finditer(statement):
        if token["kept"] is None and token["other"] is None:
            parts.append(_LITERAL)
        else:
            parts.append(re.escape(token[0]))
    return re.compile("".join(parts))


class StatementWatch:
    """Looks at what connections are told, and at what SQLite makes of it.

    Attributes:
        used: The statements that were executed.
        traced: How many SQLite has run.
    """

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.traced = 0
        self._faults: list[str] = []

    def executed(self, text: str) -> list[re.Pattern[str]]:
        """Take note of what a program executes; returns what SQLite may make of it."""
        known = known_statements()
        patterns = []
        for statement in _statements(text):
            in_file = _ROW_AGAIN.sub(r"\1", statement)
            if in_file not in known:
                self._faults.append(f"executed, and in no file: {statement!r}")
                continue
            self.used.add(in_file)
            patterns.append(known[in_file] if in_file == statement else _expanded(statement))
        return patterns

    def ran(self, text: str, expected: list[re.Pattern[str]]) -> None:
        """Take note of what SQLite runs."""
        if text.startswith("--"):
            return  # a statement of a trigger, which stands in a migration
        self.traced += 1
        if not any(pattern.fullmatch(_without_comment(text)) for pattern in expected):
            self._faults.append(f"run, and not what was executed: {text!r}")

    def check(self) -> None:
        """Raise `Broken` if anything was executed that stands in no file."""
        if self._faults:
            faults, self._faults = self._faults, []
            raise Broken("\n".join(faults))


def _without_comment(statement: str) -> str:
    """Return a statement without the comment that stands before it."""
    lines = statement.strip().splitlines(keepends=True)
    while lines and lines[0].lstrip().startswith("--"):
        lines.pop(0)
    return "".join(lines).strip()


@contextmanager
def watched_statements() -> Iterator[StatementWatch]:
    """Look at every connection to SQLite that is opened from now on."""
    watch = StatementWatch()

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, arguments: Any = (), /) -> Self:
            _expect(self.connection, watch.executed(sql))
            return super().execute(sql, arguments)

        def executemany(self, sql: str, arguments: Any, /) -> Self:
            _expect(self.connection, watch.executed(sql))
            return super().executemany(sql, arguments)

        def executescript(self, sql: str, /) -> sqlite3.Cursor:
            _expect(self.connection, watch.executed(sql))
            return super().executescript(sql)

    class Connection(sqlite3.Connection):
        def __init__(self, *arguments: Any, **how: Any) -> None:
            super().__init__(*arguments, **how)
            self.expected: list[re.Pattern[str]] = []
            self.set_trace_callback(lambda text: watch.ran(text, self.expected))

        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, sql: str, arguments: Any = (), /) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor().execute(sql, arguments)
            return cursor

        def executemany(self, sql: str, arguments: Any, /) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor().executemany(sql, arguments)
            return cursor

        def executescript(self, sql: str, /) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor().executescript(sql)
            return cursor

    def _expect(connection: sqlite3.Connection, patterns: list[re.Pattern[str]]) -> None:
        assert isinstance(connection, Connection)
        connection.expected = patterns

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def watched(*arguments: Any, **how: Any) -> sqlite3.Connection:
        return connect(*arguments, **{"factory": Connection, **how})

    sqlite3.connect = watched  # type: ignore[assignment]  # it is overloaded
    try:
        yield watch
    finally:
        sqlite3.connect = connect  # type: ignore[assignment]
