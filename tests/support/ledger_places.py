"""Where a ledger of a test is: a file, or a database of the tests' own PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from livekit_plugins_voicegateway.ledger import Ledger, make_ledger
from support.postgres import PostgresServer, run_sql

__all__ = ["Engine", "Place", "fresh_place"]

Engine = Literal["sqlite", "postgres"]


@dataclass(frozen=True)
class Place:
    """A place for one ledger.

    Attributes:
        engine: What keeps it.
        url: As in ``database.url``.
        clock: What ledgers made here take for the time, unless told otherwise.
    """

    engine: Engine
    url: str
    clock: Callable[[], float] = time.time

    def ledger(
        self, *, read_only: bool = False, clock: Callable[[], float] | None = None
    ) -> Ledger:
        """Make a ledger here, not opened yet."""
        return make_ledger(self.url, read_only=read_only, clock=clock or self.clock)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the database's own shell would; return what the last one finds."""
        if self.engine == "postgres":
            return run_sql(self.url, *statements)
        found: list[tuple[Any, ...]] = []
        path = self.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as shell:
            for statement in statements:
                found = shell.execute(statement).fetchall()
        return found


@contextmanager
def fresh_place(
    server: PostgresServer | None,
    folder: Path,
    clock: Callable[[], float] = time.time,
) -> Iterator[Place]:
    """Give a place without anything in it: a database of ``server``, or a file in ``folder``."""
    if server is None:
        yield Place("sqlite", f"sqlite:///{folder / 'voicegw.db'}", clock)
        return
    url = server.fresh_database()
    try:
        yield Place("postgres", url, clock)
    finally:
        server.take_back(url)
