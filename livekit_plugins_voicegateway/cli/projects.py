"""``voicegw projects`` and ``voicegw project show``: budgets, and where they stand today."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .asking import ask
from .options import config_option, json_option
from .terminal import emit_json

if TYPE_CHECKING:
    from ..answers import CostsAnswer, ProjectAnswer
    from ..reports import Reports
    from .tables import Cell

__all__ = ["project", "projects"]

_BAR_WIDTH = 12


@click.command()
@config_option
@json_option
def projects(config: Path | None, as_json: bool) -> None:
    """Show every project: budget, spend today, what is left."""
    loaded, answer = ask(config, lambda reports: reports.projects())
    if as_json:
        emit_json(answer)
        return

    from .formats import dollars
    from .tables import ACCENT_STYLES, Cell, Column, Page

    page = Page()
    rows: list[list[str | Cell]] = []
    for project in answer["projects"]:
        today = project["today"]
        style = ACCENT_STYLES[project["accent"]]
        named = project["name"] != project["project_id"]
        rows.append(
            [
                Cell("●" if page.colour else "", style),
                Cell(project["project_id"], f"bold {style}"),
                project["name"] if named else "",
                _amount(project["daily_budget"]),
                _spent(project),
                _gauge(project),
                dollars(today["remaining"]) if today["remaining"] is not None else "",
                project["budget_action"] if project["daily_budget"] is not None else "",
                # a word, where the colour cannot be seen
                "" if page.colour else project["accent"],
                f"{today['requests']:,}",
                f"{today['unpriced_requests']:,}" if today["unpriced_requests"] else "",
            ]
        )
    page.line(Cell("Projects ", "bold"), f"today ({loaded.timezone.key})")
    page.line()
    page.table(
        [
            Column("", "word", rank=9),
            Column("Project", "name"),
            Column("Name", rank=8),
            Column("Budget", "money", rank=3),
            Column("Spent", "money"),
            Column("", "word", rank=2),
            Column("Left", "money", rank=1),
            Column("Action", "word", rank=5),
            Column("Accent", "word", rank=6),
            Column("Requests", "number", rank=7),
            Column("Unpriced", "number", rank=4, style="yellow"),
        ],
        rows,
    )
    page.show()


@click.group()
def project() -> None:
    """Show, create, update or delete one project."""


@project.command()
@click.argument("project_id", metavar="ID")
@config_option
@json_option
def show(project_id: str, config: Path | None, as_json: bool) -> None:
    """Show one project: budget, providers, spend of a week.

    ID is what it is called in voicegw.yaml, such as prod.
    """

    async def question(reports: Reports) -> tuple[ProjectAnswer, CostsAnswer | None]:
        project = await reports.project(project_id)
        return project, None if as_json else await reports.costs("7d", project_id)

    loaded, (project, week) = ask(config, question)
    if as_json or week is None:
        emit_json(project)
        return

    from .costs import show_costs
    from .formats import dollars, summary
    from .tables import ACCENT_STYLES, Cell, Page

    today = project["today"]
    style = ACCENT_STYLES[project["accent"]]
    page = Page()
    page.line(
        Cell(f"● {project['project_id']}", f"bold {style}"),
        f"  {project['name']}" if project["name"] != project["project_id"] else "",
    )
    if project["description"]:
        page.line(Cell(project["description"], "dim"))
    page.line()
    budget = project["daily_budget"]
    spent = _spent(project)
    facts: list[tuple[str, str | Cell]] = [
        (
            "Budget",
            f"{dollars(budget)} a day, then {project['budget_action']}"
            if budget is not None
            else "no limit",
        ),
        ("Spent today", spent),
    ]
    if today["remaining"] is not None:
        facts += [("", _gauge(project)), ("Left", dollars(today["remaining"]))]
    facts.append(("Last 7 days", summary(week["total_cost"], week) if week["requests"] else "–"))
    facts.append(("Tags", ", ".join(project["tags"]) or "none"))
    facts.append(("Accent", Cell(project["accent"], style)))
    facts.append(("Own providers", ", ".join(project["providers"]) or "none"))
    line = loaded.projects[project["project_id"]].line if project["source"] == "yaml" else 0
    where = f", line {line} of {loaded.path}" if line else ""
    facts.append(("Source", f"{project['source']}{where}"))
    page.facts(facts)
    if week["requests"]:
        show_costs(page, week, ["model", "day"])
    page.show()


def _amount(budget: float | None) -> str:
    from .formats import dollars

    return "no limit" if budget is None else dollars(budget)


def _spent(project: ProjectAnswer) -> Cell:
    from .formats import dollars
    from .tables import Cell

    cost = project["today"]["cost"]
    if cost is None and not project["today"]["unpriced_requests"]:
        return Cell("$0.00")
    return Cell(dollars(cost), "yellow" if cost is None else "")


def _gauge(project: ProjectAnswer) -> Cell:
    """A bar with a percentage and, when it is time to look, a word; empty without a budget."""
    from .formats import bar, percent
    from .tables import STATE_STYLES, Cell

    budget, today = project["daily_budget"], project["today"]
    if budget is None:
        return Cell("")
    spent, state = today["cost"] or 0, today["state"]
    word = "" if state == "ok" else f" {state}"
    text = f"{bar(spent, budget, _BAR_WIDTH)} {percent(spent, budget):>5}{word}"
    return Cell(text, STATE_STYLES[state])
