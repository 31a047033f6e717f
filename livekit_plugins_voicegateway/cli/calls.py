"""``voicegw calls``: a receipt for each call, and for one call its turns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .asking import ask, nothing_recorded
from .options import config_option, cursor_option, json_option, limit_option, project_option
from .terminal import emit, emit_json

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ..answers import CallAnswer, CallReceipt, TurnEntry
    from .tables import Cell, Page

__all__ = ["calls"]


@click.command()
@click.argument("room", required=False)
@project_option
@limit_option
@cursor_option
@config_option
@json_option
def calls(
    room: str | None,
    project: str | None,
    limit: int,
    cursor: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show what calls cost; with ROOM the receipt of one.

    ROOM is the name of the call's LiveKit room. Its receipt goes turn by turn.
    """
    if room is None:
        _list(config, project, limit, cursor, as_json)
        return
    if inert := _given("project", "limit", "cursor"):
        raise click.UsageError(f"A receipt is of the whole call: leave --{inert[0]} out.")
    loaded, receipt = ask(config, lambda reports: reports.call(room))
    if as_json:
        emit_json(receipt)
        return

    from .tables import Page

    page = Page()
    _show_receipt(page, receipt, loaded.timezone)
    page.show()


def _given(*options: str) -> list[str]:
    source = click.get_current_context().get_parameter_source
    return [option for option in options if source(option) is ParameterSource.COMMANDLINE]


def _list(
    config: Path | None, project: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    loaded, answer = ask(config, lambda reports: reports.calls(project, limit, cursor))
    if as_json:
        emit_json(answer)
        return
    if not answer["calls"]:
        whose = f" that project {project} paid for" if project else ""
        emit(nothing_recorded(loaded, f"no call{whose}") + "\n")
        return

    from .formats import local_time
    from .tables import Cell, Column, Page

    page = Page()
    page.line(Cell("Calls ", "bold"), f"({loaded.timezone.key}), newest first")
    page.line()
    page.table(
        [
            Column("Began", "word", rank=3),
            Column("Room", "name"),
            Column("Project", "name", rank=4),
            Column("Lasted", "number", rank=5),
            Column("Cost", "money"),
            Column("Unpriced", "number", rank=1, style="yellow"),
            Column("STT", "money", rank=8, style="dim"),
            Column("LLM", "money", rank=7, style="dim"),
            Column("TTS", "money", rank=6, style="dim"),
            Column("Requests", "number", rank=9),
            Column("Reply", "number", rank=2),
        ],
        [
            [
                local_time(call["started_at"], loaded.timezone, "%Y-%m-%d %H:%M"),
                call["room"],
                ", ".join(call["projects"]),
                _lasted(call),
                _cost(call["cost"]),
                f"{call['unpriced_requests']:,}" if call["unpriced_requests"] else "",
                *(_share_of(call, modality) for modality in ("stt", "llm", "tts")),
                f"{call['requests']:,}",
                _median(call),
            ]
            for call in answer["calls"]
        ],
    )
    page.line()
    page.line(Cell("Reply: half of the completions began within so long.", "dim"))
    if answer["next_cursor"]:
        page.line(Cell(f"There are more than these {limit}: --limit shows more.", "dim"))
    page.show()


def _show_receipt(page: Page, call: CallAnswer, zone: ZoneInfo) -> None:
    from .formats import count, latency, local_time, name_of, summary, used
    from .tables import Cell, Column

    page.line(Cell(call["room"], "bold"), f"  {', '.join(call['projects'])}")
    ended = local_time(call["ended_at"], zone, "%H:%M:%S") or "still going on"
    page.line(
        f"{local_time(call['started_at'], zone)} to {ended} ({zone.key}), {_lasted(call)}".rstrip(
            ", "
        )
    )
    page.line(Cell(summary(call["cost"], call), "bold"))
    waits = [
        f"{entry['modality']} {latency(entry['median_ttfb_ms'])} "
        f"(longest {latency(entry['max_ttfb_ms'])})"
        for entry in call["latency"]
    ]
    if waits:
        page.line(f"Median wait for a first result: {', '.join(waits)}")
    page.line()
    rows: list[list[str | Cell]] = []
    for entry in call["by_model"]:
        rows.append(
            [
                entry["modality"],
                name_of(entry),
                _cost(entry["cost"]),
                f"{entry['requests']:,}",
                f"{entry['unpriced_requests']:,}" if entry["unpriced_requests"] else "",
                used(entry),
            ]
        )
    page.table(
        [
            Column("Kind", "word"),
            Column("Model", "name"),
            Column("Cost", "money"),
            Column("Requests", "number", rank=3),
            Column("Unpriced", "number", rank=1, style="yellow"),
            Column("Used", "word", rank=2, style="dim"),
        ],
        rows,
    )
    if not call["turns"]:
        return
    page.line()
    page.table(
        [
            Column("Turn", "number"),
            Column("Began", "word", rank=1),
            Column("LLM wait", "number", rank=2),
            Column("TTS wait", "number", rank=3),
            Column("In", "number", rank=5),
            Column("Out", "number", rank=4),
            Column("Chars", "number", rank=6),
            Column("Cost", "money"),
            Column("", "word", style="yellow"),
        ],
        [
            [
                f"{number}",
                local_time(turn["started_at"], zone, "%H:%M:%S"),
                latency(turn["llm_ttfb_ms"]),
                latency(turn["tts_ttfb_ms"]),
                count(turn["input_tokens"]),
                count(turn["output_tokens"]),
                count(turn["characters"]),
                _cost(turn["cost"]),
                _remarks(turn),
            ]
            for number, turn in enumerate(call["turns"], start=1)
        ],
    )


def _cost(cost: float | None) -> Cell:
    from .formats import dollars
    from .tables import Cell

    return Cell(dollars(cost), "" if cost is not None else "yellow")


def _share_of(call: CallReceipt, modality: str) -> str:
    """What one kind of model cost; empty where it was not used."""
    from .formats import dollars

    costs = (entry["cost"] for entry in call["by_modality"] if entry["modality"] == modality)
    return next((dollars(cost) for cost in costs), "")


def _lasted(call: CallReceipt) -> str:
    from .formats import span

    if call["ended_at"] is None:
        return ""
    began, ended = map(datetime.fromisoformat, (call["started_at"], call["ended_at"]))
    return span((ended - began).total_seconds())


def _median(call: CallReceipt) -> str:
    from .formats import latency

    waits = (entry for entry in call["latency"] if entry["modality"] == "llm")
    return next((latency(entry["median_ttfb_ms"]) for entry in waits), "")


def _remarks(turn: TurnEntry) -> str:
    from .formats import plural

    remarks = ["cut off"] if turn["cancelled"] else []
    if turn["unpriced_requests"]:
        remarks.append(f"{plural(turn['unpriced_requests'], 'request')} unpriced")
    return ", ".join(remarks)
