"""``voicegw logs``: single requests, newest first."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, get_args

import click
from click.core import ParameterSource

from ..metering.usage import Modality, Status
from .asking import ask, nothing_recorded
from .options import config_option, cursor_option, json_option, limit_option, project_option
from .terminal import emit, emit_json

if TYPE_CHECKING:
    from ..answers import LogEntry
    from .tables import Cell

__all__ = ["STATUS_STYLES", "Wanted", "logs"]

_SHOWN_BEFORE: Final = 10
"""Requests that --follow begins with."""


class Wanted(TypedDict):
    """Which requests; None leaves a field open."""

    project: str | None
    modality: Modality | None
    model: str | None
    status: Status | None
    room: str | None


STATUS_STYLES: Final = {
    "open": "cyan",
    "completed": "green",
    "cancelled": "yellow",
    "failed": "red",
    "rejected": "magenta",
}


@click.command()
@project_option
@click.option("--modality", type=click.Choice(get_args(Modality)), help="Only this kind of model.")
@click.option("--model", metavar="MODEL", help="Only this model: gpt-4.1-mini, provider/model.")
@click.option(
    "--status", type=click.Choice(get_args(Status)), help="Only requests that ended like this."
)
@click.option("--room", metavar="ROOM", help="Only this call.")
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="Go on: show each request when it begins and when it has ended, until Ctrl-C. Begins with "
    "the last 10, or --limit. --json gives one object in a line.",
)
@limit_option
@cursor_option
@config_option
@json_option
def logs(
    project: str | None,
    modality: Modality | None,
    model: str | None,
    status: Status | None,
    room: str | None,
    follow: bool,
    limit: int,
    cursor: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show single requests, newest first.

    Each with what was used, what it cost, how it ended and how long it took: until its first
    result, and as a whole.
    """
    wanted: Wanted = {
        "project": project,
        "modality": modality,
        "model": model,
        "status": status,
        "room": room,
    }
    if follow:
        from .follow import follow_logs

        if cursor is not None:
            raise click.UsageError("--follow begins with the newest: leave --cursor out.")
        source = click.get_current_context().get_parameter_source("limit")
        chosen = source is not None and source is not ParameterSource.DEFAULT
        follow_logs(config, wanted, before=limit if chosen else _SHOWN_BEFORE, as_json=as_json)
        return
    loaded, answer = ask(config, lambda reports: reports.logs(limit=limit, cursor=cursor, **wanted))
    if as_json:
        emit_json(answer)
        return
    entries = answer["logs"]
    if not entries:
        emit(nothing_recorded(loaded, "no request that was asked for") + "\n")
        return

    from .formats import local_time, name_of, plural
    from .tables import Cell, Column, Page

    zone = loaded.timezone
    page = Page()
    one_day = len({entry["day"] for entry in entries}) == 1
    day = f"{entries[0]['day']} " if one_day else ""
    form = "%H:%M:%S" if one_day else "%Y-%m-%d %H:%M:%S"
    page.line(Cell("Requests ", "bold"), f"{day}({zone.key}), newest first")
    page.line()
    page.table(
        [
            Column("Time", "word"),
            Column("Project", "name", rank=4),
            Column("Kind", "word", rank=8),
            Column("Model", "name"),
            Column("Cost", "money"),
            Column("Status", "word", rank=1),
            Column("Used", "word", rank=5, style="dim"),
            Column("TTFB", "number", rank=3),
            Column("Took", "number", rank=6),
            Column("Room", "name", rank=7, style="dim"),
        ],
        [_row(entry, zone, form) for entry in entries],
    )
    notes = []
    if any(entry["estimated"] and entry["cost"] for entry in entries):
        notes.append("~ rests on estimated quantities.")
    if unpriced := sum(entry["cost"] is None for entry in entries):
        notes.append(f"{plural(unpriced, 'request')} unpriced: put a price under `pricing:`.")
    if answer["next_cursor"]:
        notes.append(f"There are more than these {len(entries)}: --limit shows more.")
    failures = [entry for entry in entries if entry["error"]]
    if failures:
        page.line()
    for entry in failures:
        moment = local_time(entry["started_at"], zone, form)
        page.line(Cell(f"{moment} {name_of(entry)}: ", "red"), entry["error"] or "")
    if notes:
        page.line()
    for note in notes:
        page.line(Cell(note, "dim"))
    page.show()


def _row(entry: LogEntry, zone: tzinfo, form: str) -> list[str | Cell]:
    from .formats import dollars, latency, local_time, name_of, used
    from .tables import Cell

    cost = entry["cost"]
    amount = f"{'~' if entry['estimated'] and cost else ''}{dollars(cost)}"
    return [
        local_time(entry["started_at"], zone, form),
        entry["project"],
        entry["modality"],
        name_of(entry),
        Cell(amount, "yellow" if cost is None else ""),
        Cell(entry["status"], STATUS_STYLES[entry["status"]]),
        used(entry, brief=True),
        latency(entry["ttfb_ms"]),
        latency(entry["duration_ms"]),
        entry["room"] or "",
    ]
