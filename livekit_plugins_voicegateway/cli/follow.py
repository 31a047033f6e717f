"""``voicegw logs --follow``: requests as they come, on a terminal or as lines of JSON.

The ledger is opened anew for each look, so that one that is not there yet, is moved away or cannot
be read for a while is no more than a wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import load_config
from ..errors import LedgerError
from ..following import Follower
from ..ledger import make_ledger
from ..ledger.base import RowFilter
from ..reports import Reports, split_model
from .asking import nothing_recorded, with_managed
from .terminal import emit, has_reader, remark

if TYPE_CHECKING:
    from ..answers import LogEntry
    from ..config import Config
    from .logs import Wanted

__all__ = ["follow_logs"]

_INTERVAL: Final = 0.5
"""Seconds between two looks; a look at a ledger with nothing new takes some milliseconds."""


def follow_logs(path: Path | None, wanted: Wanted, *, before: int, as_json: bool) -> None:
    """Show requests until Ctrl-C, or until nobody reads any more.

    Args:
        path: The configuration that was named on the command line, or None.
        wanted: Which requests.
        before: How many to show of those that are there already.
        as_json: Whether a line is an object of JSON.
    """
    config = load_config(path)
    show = _show_json if as_json else _Lines(config.timezone)
    asyncio.run(_follow(config, wanted, before, show))


async def _follow(
    config: Config, wanted: Wanted, before: int, show: Callable[[LogEntry], None]
) -> None:
    provider, model = split_model(wanted["model"])
    follower = Follower(
        RowFilter(
            wanted["project"], wanted["modality"], provider, model, wanted["status"], wanted["room"]
        )
    )
    trouble = ""
    while has_reader(sys.stdout):
        try:
            async with make_ledger(config.database_url, read_only=True) as ledger:
                if follower.began:
                    entries = await follower.look(ledger)
                else:
                    # refuses wrong values, with its own words
                    reports = Reports(await with_managed(config, ledger), ledger)
                    there = await reports.logs(limit=1, **wanted)
                    entries = await follower.begin(ledger, before)
                    if not there["logs"]:
                        remark(nothing_recorded(config, "nothing yet that was asked for")[:400])
            trouble = ""
        except LedgerError as error:
            entries = []
            if str(error) != trouble:
                trouble = str(error)
                remark(f"Waiting: {trouble}")
        for entry in entries:
            show(entry)
        await asyncio.sleep(_INTERVAL)


def _show_json(entry: LogEntry) -> None:
    # ASCII in any encoding: a program reads it
    emit(json.dumps(entry, allow_nan=False) + "\n")


class _Lines:
    """Lines whose columns stand below each other, as far as one can know what is still to come."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._day = ""
        # of a usual line, to begin with
        self._widths = [8, 8, 3, 22, 9, 9, 18, 6, 6, 0]

    def __call__(self, entry: LogEntry) -> None:
        from .formats import dollars, latency, local_time, name_of, used
        from .logs import STATUS_STYLES
        from .tables import Cell, Page

        page = Page()
        day = local_time(entry["started_at"], self._zone, "%Y-%m-%d")
        if day != self._day:
            self._day = day
            page.line(Cell(day, "bold"))
        cost = entry["cost"]
        about = "~" if entry["estimated"] and cost else ""
        under_way = entry["status"] == "open"
        cells = [
            Cell(local_time(entry["started_at"], self._zone, "%H:%M:%S")),
            Cell(entry["project"]),
            Cell(entry["modality"]),
            Cell(name_of(entry)),
            Cell("" if under_way else f"{about}{dollars(cost)}", "yellow" if cost is None else ""),
            Cell(entry["status"], STATUS_STYLES[entry["status"]]),
            Cell("" if under_way else used(entry, brief=True), "dim"),
            Cell(latency(entry["ttfb_ms"])),
            Cell("" if under_way else latency(entry["duration_ms"])),
            Cell(entry["room"] or "", "dim"),
        ]
        self._widths = [
            max(width, len(cell.text)) for width, cell in zip(self._widths, cells, strict=True)
        ]
        parts: list[str | Cell] = []
        for width, cell in zip(self._widths[:-1], cells[:-1], strict=True):
            parts += [Cell(f"{cell.text:{width}}", cell.style), "  "]
        page.line(*parts, cells[-1])
        if entry["error"]:
            page.line(Cell(f"  {entry['error']}", "red"))
        page.show()
