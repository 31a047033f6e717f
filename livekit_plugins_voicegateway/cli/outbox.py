"""``voicegw outbox``: usage that waits on this host until the ledger takes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from .options import config_option, json_option
from .terminal import emit, emit_json

if TYPE_CHECKING:
    from ..config import Config
    from ..ledger.outbox import Outbox

__all__ = ["OutboxAnswer", "OutboxEntry", "outbox"]


class RefusalEntry(TypedDict):
    """A row that was refused for what is in it.

    Attributes:
        at: When it was set aside, ISO 8601 UTC.
        reason: Why.
        row: What is in it, by the ledger's columns; times in Unix seconds.
    """

    at: str
    reason: str
    row: dict[str, object]


class OutboxEntry(TypedDict):
    """One outbox.

    Attributes:
        path: Its file.
        rows: How many rows wait.
        bytes: How large the file is.
        oldest: When the request began that has waited longest, ISO 8601 UTC; None when none waits.
        sent_by: The process that sends on what waits, or is ready to; 0 when it is not to be seen
            from here; None when there is none, or that cannot be known (known on Linux only).
        refused: How many rows are set aside because the ledger refuses them for what is in them.
        refusals: The oldest of them, 100 at most.
        problem: Why the outbox cannot be read; None when it can.
        moved_aside: Files of outboxes that were damaged.
    """

    path: str
    rows: int
    bytes: int
    oldest: str | None
    sent_by: int | None
    refused: int
    refusals: list[RefusalEntry]
    problem: str | None
    moved_aside: list[str]


class OutboxAnswer(TypedDict):
    """What ``--json`` prints.

    Attributes:
        rows: How many rows wait in all.
        refused: How many are set aside in all.
        outboxes: Every place where usage of this ledger may wait; it is put into the first that
            can be written.
    """

    rows: int
    refused: int
    outboxes: list[OutboxEntry]


_MOST_SHOWN = 100
"""Rows that are set aside and shown."""


@click.command()
@click.option(
    "--send", is_flag=True, help="Send it on now: for a host, or a container, that goes away."
)
@config_option
@json_option
def outbox(send: bool, config: Path | None, as_json: bool) -> None:
    """Show what waits on this host until the ledger takes it.

    A worker that records, or `voicegw serve`, sends it on when the ledger can be written. With
    --send this command does, and ends with status 1 when something waits still.
    """
    from ..config import load_config

    loaded = load_config(config)
    if send:
        import asyncio

        asyncio.run(_send(loaded))
    answer = _look(loaded)
    if as_json:
        emit_json(answer)
    elif not (answer["rows"] or answer["refused"] or _troubles(answer)):
        emit("Nothing waits: the ledger has all usage.\n")
    else:
        _show(answer, loaded)
    if (send and answer["rows"]) or any(entry["problem"] for entry in answer["outboxes"]):
        sys.exit(1)


def _troubles(answer: OutboxAnswer) -> bool:
    return any(entry["problem"] or entry["moved_aside"] for entry in answer["outboxes"])


async def _send(config: Config) -> None:
    """Send on what waits, and once more what was refused, unless another process is at it."""
    from ..ledger import make_ledger
    from ..ledger.outbox import drain, open_outboxes

    waiting = [outbox for outbox in open_outboxes(config) if outbox.try_again() or outbox.count()]
    if not waiting:
        return  # no ledger has to be opened, or made, for that
    try:
        async with make_ledger(config.database_url) as ledger:
            for outbox in waiting:
                await drain(outbox, ledger)
    finally:
        for outbox in waiting:
            outbox.close()


def _look(config: Config) -> OutboxAnswer:
    from ..ledger.outbox import open_outboxes

    entries = [_entry(waiting) for waiting in open_outboxes(config, mend=False)]
    return OutboxAnswer(
        rows=sum(entry["rows"] for entry in entries),
        refused=sum(entry["refused"] for entry in entries),
        outboxes=entries,
    )


def _entry(waiting: Outbox) -> OutboxEntry:
    from ..errors import OutboxError
    from ..times import to_iso

    entry = OutboxEntry(
        path=str(waiting.path),
        rows=0,
        bytes=0,
        oldest=None,
        sent_by=waiting.carrier(),
        refused=0,
        refusals=[],
        problem=None,
        moved_aside=[str(aside) for aside in waiting.moved_aside()],
    )
    if not waiting.exists():
        return entry
    try:
        entry["bytes"] = waiting.path.stat().st_size
        entry["rows"] = waiting.count()
        first, _ = waiting.after(0, 1) if entry["rows"] else ([], 0)
        entry["oldest"] = to_iso(first[0].row.started_at) if first else None
        entry["refused"] = waiting.count_refused()
        entry["refusals"] = [
            RefusalEntry(at=refused.at, reason=refused.reason, row=_columns(refused.row))
            for refused in waiting.refused(_MOST_SHOWN)
        ]
    except OutboxError as e:
        entry["problem"] = str(e)
    finally:
        waiting.close()
    return entry


def _columns(row: str) -> dict[str, object]:
    import json
    from dataclasses import fields

    from ..metering.usage import UsageRow

    # what is no number is no JSON either
    values = json.loads(row, parse_constant=str)
    return dict(zip((field.name for field in fields(UsageRow)), values, strict=False))


def _show(answer: OutboxAnswer, config: Config) -> None:
    from .formats import local_time, plural
    from .tables import Cell, Column, Page

    page = Page()
    if answer["rows"]:
        page.line(
            Cell(plural(answer["rows"], "row"), "yellow"),
            f" of usage wait{'s' if answer['rows'] == 1 else ''}. {_what_now(answer)}",
        )
        page.table(
            [
                Column("Outbox"),
                Column("Rows", "number"),
                Column("Bytes", "number"),
                Column("Since"),
            ],
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
    if answer["refused"]:
        page.line(
            Cell(plural(answer["refused"], "row"), "red"),
            f" of usage {'was' if answer['refused'] == 1 else 'were'} refused by the ledger for "
            "what is in it, and set aside. After an update `voicegw outbox --send` tries again; "
            "--json shows all of it.",
        )
        page.table(
            [Column("Set aside"), Column("Why")],
            [
                [local_time(refusal["at"], config.timezone), refusal["reason"]]
                for entry in answer["outboxes"]
                for refusal in entry["refusals"]
            ],
        )
    for entry in answer["outboxes"]:
        if entry["problem"] is not None:
            page.line(
                Cell(entry["problem"], "red"),
                ". If it is damaged, nothing has to be done: the next worker that puts usage there "
                "moves it aside, and makes a new one.",
            )
        for aside in entry["moved_aside"]:
            page.line(
                Cell(aside, "yellow"),
                f" is an outbox that was damaged: `sqlite3 {aside} .recover` shows what can be "
                "saved. Delete it when you need it no more.",
            )
    page.show()


def _what_now(answer: OutboxAnswer) -> str:
    """Say who sends on what waits, and what to do when it stays."""
    for entry in answer["outboxes"]:
        if entry["rows"] and entry["sent_by"] is not None:
            who = f"Process {entry['sent_by']}" if entry["sent_by"] else "Another process"
            return (
                f"{who} sends on what waits as soon as the ledger takes it; if it stays, `voicegw "
                "check` says what is wrong with the ledger."
            )
    return (
        "When the ledger can be written, the next worker that records sends on what waits, or "
        "`voicegw outbox --send`; `voicegw check` says what is wrong with the ledger."
    )
