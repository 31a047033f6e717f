"""What a new ledger takes over from an old one: what running programs cannot do without.

That are the projects made at run time, which calls are paid by, and the latest requests, which
today's budgets are spent on. All the rest of a damaged file stays there, for whoever recovers it.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from .projects import ManagedRow, ProjectChange
from .queries import load_queries
from .row_codec import decode_row, values_of
from .sqlite_staging import stage_rows

__all__ = ["Rescued", "rescue", "take_over"]

_SECONDS: Final = 10.0
"""Seconds that it takes at most; usage waits in the outbox meanwhile."""

_AT_ONCE: Final = 500
"""Rows that are read and written at once."""

_PROJECT: Final = tuple(field.name for field in fields(ManagedRow))
_CHANGE: Final = tuple(field.name for field in fields(ProjectChange))

_DAY: Final = datetime.timedelta(days=1)


class Rescued(NamedTuple):
    """What was taken over.

    Attributes:
        projects: How many projects made at run time.
        requests: How many rows of usage.
        since: The first day whose rows were looked for: yesterday, in UTC.
    """

    projects: int
    requests: int
    since: str


def rescue(damaged: Path, path: Path, *, wait: float) -> Rescued:
    """Take over what can be read of a damaged file; as `take_over`.

    Args:
        damaged: The file, where it was moved to.
        path: The new ledger.
        wait: Seconds to wait for others' locks.
    """
    with contextlib.suppress(sqlite3.Error):
        if damaged.stat().st_size:  # SQLite would take it for new, and delete its -wal
            with _connected(damaged, "ro", wait) as old:
                return take_over(old, path, wait=wait)
    return Rescued(0, 0, _first_day().isoformat())


def take_over(old: sqlite3.Connection, path: Path, *, wait: float) -> Rescued:
    """Take over what can be read. Never raises for what cannot; what is there already stays.

    Args:
        old: Where it is read.
        path: The new ledger, which others may be writing already.
        wait: Seconds to wait for their locks.
    """
    since = _first_day()
    projects = requests = 0
    with contextlib.suppress(sqlite3.Error), _connected(path, "rw", wait) as new:
        with contextlib.suppress(sqlite3.Error):
            projects = _projects(old, new)
        for count in _requests(old, new, since):
            requests += count
    return Rescued(projects, requests, since.isoformat())


def _first_day() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date() - _DAY


@contextlib.contextmanager
def _connected(path: Path, mode: str, wait: float) -> Iterator[sqlite3.Connection]:
    uri = f"{path.as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, timeout=wait, isolation_level=None, uri=True)
    with contextlib.closing(connection):
        yield connection


def _projects(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    sql = load_queries("sqlite")
    known = {line[1] for line in new.execute(sql["managed_projects"])}
    found = [line[1:] for line in old.execute(sql["managed_projects"])]
    taken = 0
    for values in found:
        if values[0] is not None and values[0] not in known:
            new.execute(sql["put_project"], dict(zip(_PROJECT, values, strict=True)))
            taken += 1
    if taken and not new.execute(sql["project_changes"], {"limit": 1}).fetchall():
        for line in reversed(old.execute(sql["project_changes"], {"limit": -1}).fetchall()):
            new.execute(sql["record_project_change"], dict(zip(_CHANGE, line, strict=True)))
    return taken


def _requests(
    old: sqlite3.Connection, new: sqlite3.Connection, since: datetime.date
) -> Iterator[int]:
    """Take over rows, the oldest first, up to the first that cannot be read; yields how many."""
    sql = load_queries("sqlite")
    new.executescript(sql["take_batches"])
    until = time.monotonic() + _SECONDS
    what: dict[str, Any] = {
        "first_day": since.isoformat(),
        "last_day": "~",
        "project": None,
        "started_from": (since - _DAY).isoformat(),
        "started_before": "~",
        "after": "",
        "after_id": "",
        "limit": _AT_ONCE,
    }
    while time.monotonic() < until:
        found = old.execute(sql["rows_of_days"], what).fetchall()
        if not found:
            return
        rows = []
        for values in found:
            with contextlib.suppress(ValueError, TypeError):
                rows.append(decode_row(values))
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        stage_rows(new, values_of(rows))
        new.execute(sql["write_rows"], {"now": now})
        yield len(rows)
        what |= {"after": found[-1][2], "after_id": found[-1][0]}
