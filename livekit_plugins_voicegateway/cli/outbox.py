"""``voicegw outbox``: usage that waits on this host until the ledger takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from .options import config_option, json_option
from .terminal import emit, emit_json

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["OutboxAnswer", "OutboxEntry", "outbox"]


class OutboxEntry(TypedDict):
    """One outbox.

    Attributes:
        path: Its file.
        rows: How many rows wait.
        bytes: How large the file is.
        oldest: When the request began that has waited longest, ISO 8601 UTC; None when none waits.
    """

    path: str
    rows: int
    bytes: int
    oldest: str | None


class OutboxAnswer(TypedDict):
    """What ``--json`` prints.

    Attributes:
        rows: How many rows wait in all.
        outboxes: Every place where usage of this ledger may wait; it is put into the first that
            can be written.
    """

    rows: int
    outboxes: list[OutboxEntry]


@click.command()
@config_option
@json_option
def outbox(config: Path | None, as_json: bool) -> None:
    """Show what waits on this host until the ledger takes it.

    A worker that records, or `voicegw serve`, sends it on when the ledger can be written.
    """
    from ..config import load_config

    loaded = load_config(config)
    answer = _look(loaded)
    if as_json:
        emit_json(answer)
    elif not answer["rows"]:
        emit("Nothing waits: the ledger has all usage.\n")
    else:
        _show(answer, loaded)


def _look(config: Config) -> OutboxAnswer:
    from ..ledger.outbox import open_outboxes
    from ..times import to_iso

    entries = []
    for waiting in open_outboxes(config):
        if not waiting.exists():
            entries.append(OutboxEntry(path=str(waiting.path), rows=0, bytes=0, oldest=None))
            continue
        rows = waiting.count()
        first, _ = waiting.after(0, 1) if rows else ([], 0)
        entries.append(
            OutboxEntry(
                path=str(waiting.path),
                rows=rows,
                bytes=waiting.path.stat().st_size,
                oldest=to_iso(first[0].row.started_at) if first else None,
            )
        )
        waiting.close()
    return OutboxAnswer(rows=sum(entry["rows"] for entry in entries), outboxes=entries)


def _show(answer: OutboxAnswer, config: Config) -> None:
    from .formats import local_time, plural
    from .tables import Cell, Column, Page

    page = Page()
    page.line(
        Cell(plural(answer["rows"], "row"), "yellow"),
        " of usage wait until the ledger can be written. `voicegw check` says what is wrong with "
        "it.",
    )
    page.table(
        [Column("Outbox"), Column("Rows", "number"), Column("Bytes", "number"), Column("Since")],
        [
            [
                entry["path"],
                f"{entry['rows']:,}",
                f"{entry['bytes']:,}",
                local_time(entry["oldest"], config.timezone),
            ]
            for entry in answer["outboxes"]
            if entry["rows"]
        ],
    )
    page.show()
