"""``voicegw verify``: whether the ledger's totals equal the sum of its requests."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .asking import ask, nothing_recorded
from .options import config_option, json_option
from .terminal import complain, emit, emit_json

__all__ = ["verify"]


@click.command()
@config_option
@json_option
def verify(config: Path | None, as_json: bool) -> None:
    """Check that the totals equal the sum of the requests. Ends with status 1 if they do not."""
    loaded, answer = ask(config, lambda reports: reports.verify())
    if as_json:
        emit_json(answer)
    elif answer["ok"] and not answer["lines"]:
        emit(nothing_recorded(loaded, "there are no requests to add up") + "\n")
    else:
        from .formats import plural
        from .tables import Cell, Column, Page

        page = Page()
        since = f" from {answer['checked_from']} on" if answer["checked_from"] else ""
        checked = f"{plural(answer['requests'], 'request')} and {plural(answer['lines'], 'total')}"
        if answer["ok"]:
            page.line(Cell("It adds up: ", "green"), f"{checked}{since}.")
        else:
            page.table(
                [
                    Column("Day", "word"),
                    Column("Project", "name"),
                    Column("Kind", "word", rank=1),
                    Column("Model", "name"),
                    Column("Column"),
                    Column("Total says", "number"),
                    Column("Requests say", "number"),
                ],
                [
                    [
                        entry["day"],
                        entry["project"],
                        entry["modality"],
                        f"{entry['provider']}/{entry['model']}",
                        entry["column"],
                        _value(entry["total"]),
                        _value(entry["sum"]),
                    ]
                    for entry in answer["mismatches"]
                ],
            )
        page.show()
        if not answer["ok"]:
            wrong = plural(len(answer["mismatches"]), "value")
            complain(
                f"it does not add up: {wrong} of usage_daily and the requests in usage do not "
                f"agree. Compared were {checked}{since}; money is in nano-dollars. Please report "
                "this: VoiceGateway writes both together."
            )
    if not answer["ok"]:
        sys.exit(1)


def _value(number: float | None) -> str:
    return "none" if number is None else f"{number:,}"
