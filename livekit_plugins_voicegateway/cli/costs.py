"""``voicegw costs``: what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import click

from .asking import ask, nothing_recorded
from .options import config_option, json_option, period_option, project_option
from .terminal import emit, emit_json

if TYPE_CHECKING:
    from ..answers import CostsAnswer
    from .tables import Page

__all__ = ["Grouping", "costs", "show_costs"]

Grouping = Literal["project", "modality", "model", "day"]

_TITLES: Final[Mapping[Grouping, str]] = {
    "project": "Project",
    "modality": "Kind",
    "model": "Model",
    "day": "Day",
}

_PERIODS: Final = {
    "today": "today, ",
    "yesterday": "yesterday, ",
    "7d": "of the last 7 days, ",
    "30d": "of the last 30 days, ",
    "month": "this month, ",
    "all": "of all time, ",
}


@click.command()
@project_option
@period_option
@click.option(
    "--by",
    type=click.Choice(get_args(Grouping)),
    help="Show one table only. --json has them all, whatever stands here.",
)
@config_option
@json_option
def costs(
    project: str | None, period: str, by: Grouping | None, config: Path | None, as_json: bool
) -> None:
    """Show what was spent, by project, kind of model, model and day."""
    loaded, answer = ask(config, lambda reports: reports.costs(period, project))
    if as_json:
        emit_json(answer)
        return
    if not answer["requests"]:
        emit(nothing_recorded(loaded, f"no request {_when(answer)}{_whose(answer)}") + "\n")
        return

    from .formats import summary
    from .tables import Cell, Page

    page = Page()
    page.line(Cell("Costs ", "bold"), _when(answer), _whose(answer))
    page.line(Cell(summary(answer["total_cost"], answer), "bold"))
    show_costs(page, answer, [by] if by else _groupings(answer))
    page.show()


def show_costs(page: Page, answer: CostsAnswer, groupings: list[Grouping]) -> None:
    """Add tables of an answer to a page.

    Args:
        page: Where.
        answer: What was spent.
        groupings: Which tables.
    """
    from .formats import bar, count, dollars, name_of, percent, used
    from .tables import Cell, Column

    tables: dict[Grouping, list[Any]] = {
        "project": list(answer["by_project"]),
        "modality": list(answer["by_modality"]),
        "model": list(answer["by_model"]),
        "day": list(answer["by_day"]),
    }
    total = answer["total_cost"] or 0
    for grouping in groupings:
        columns = [
            Column(_TITLES[grouping], "name"),
            Column("", "word", rank=4 if grouping == "model" else 0, style="dim"),
            Column("Cost", "money"),
            Column("Share", "word", rank=2),
            Column("Requests", "number", rank=3),
            Column("Unpriced", "number", style="yellow"),
            Column("Estimated", "money", rank=5),
            Column("Used", "word", rank=6, style="dim"),
        ]
        rows: list[list[str | Cell]] = []
        for entry in tables[grouping]:
            cost = entry["cost"]
            share = f"{bar(cost, total, 8)} {percent(cost, total):>5}" if cost and total else ""
            rows.append(
                [
                    name_of(entry) if grouping == "model" else entry[grouping],
                    entry["modality"] if grouping == "model" else "",
                    Cell(dollars(cost), "" if cost is not None else "yellow"),
                    Cell(share, "cyan"),
                    f"{entry['requests']:,}",
                    count(entry["unpriced_requests"]) if entry["unpriced_requests"] else "",
                    dollars(entry["estimated_cost"]) if entry["estimated_cost"] else "",
                    used(entry, brief=grouping in ("project", "day")),
                ]
            )
        page.line()
        page.table(columns, rows)


def _groupings(answer: CostsAnswer) -> list[Grouping]:
    """Every table that says more than the line above it."""
    groupings: list[Grouping] = [] if answer["project"] else ["project"]
    groupings += ["modality", "model"]
    return [*groupings, "day"] if answer["from"] != answer["to"] else groupings


def _when(answer: CostsAnswer) -> str:
    first, last, zone = answer["from"], answer["to"], answer["timezone"]
    named = _PERIODS.get(answer["period"], "")
    days = first if first == last else f"{first} to {last}"
    return f"{named}{days} ({zone})"


def _whose(answer: CostsAnswer) -> str:
    return f", project {answer['project']}" if answer["project"] else ""
