"""``voicegw check``: what the configuration says, and everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..metering.usage import NANOS_PER_DOLLAR
from .options import config_option, json_option
from .terminal import complain, emit_json, waiting

if TYPE_CHECKING:
    from decimal import Decimal

    from ..checks import CheckAnswer, CheckedKey, CheckedProblem
    from ..errors import ConfigProblem
    from ..projects import Project
    from .exposure import Exposure
    from .inspection import Database, Findings, Key
    from .tables import Cell

__all__ = ["check"]

_KEY_STYLES: Final = {"set": "green", "missing": "yellow", "unneeded": "dim"}


@click.command()
@config_option
@click.option(
    "--calls",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Calls at once of each project, for the worst overspend of its budget.",
)
@click.option(
    "--answer-tokens",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    metavar="N",
    help="Tokens of the longest answer, for the same.",
)
@json_option
def check(config: Path | None, calls: int, answer_tokens: int, as_json: bool) -> None:
    """Say what the configuration means, and what is wrong in it.

    Names every fault at once, and where each key comes from, but never a key; and for each budget
    the most that can be spent beyond it. Ends with status 1 when something is wrong; a key that is
    not set on this machine is no fault.
    """
    from ..config import load_config
    from ..errors import ConfigError

    try:
        loaded = load_config(config)
    except ConfigError as error:
        if not as_json:
            raise
        problems = [_problem(problem) for problem in error.problems]
        unreadable: CheckAnswer = {"ok": False, "file": error.source, "problems": problems}
        emit_json(unreadable)
        sys.exit(1)

    from .asking import quiet
    from .inspection import inspect_config

    quiet()  # what is logged of projects made at run time is among the notes
    with waiting("Looking at the plugins that the file names"):
        findings = inspect_config(loaded, os.environ)
    from .exposure import budget_exposures, missing_fallbacks

    # those of the ledger are among the findings
    exposures = budget_exposures(findings.config, calls=calls, answer_tokens=answer_tokens)
    findings.notes.extend(missing_fallbacks(findings.config))
    if as_json:
        emit_json(_as_json(findings, exposures))
    else:
        _show(findings, exposures)
        if findings.problems:
            complain(str(ConfigError(str(loaded.path or "the environment"), findings.problems)))
        if findings.database.problem is not None:
            complain(findings.database.problem)
    if not findings.ok:
        sys.exit(1)


def _show(findings: Findings, exposures: list[Exposure]) -> None:
    from .exposure import describe
    from .tables import ACCENT_STYLES, Cell, Page

    overspend = {found.project: found for found in exposures}

    config = findings.config
    page = Page()
    page.facts(
        [
            ("File", str(config.path) if config.path else "none: the defaults hold"),
            ("Ledger", findings.database.url or "unknown"),
            ("", _database_state(findings.database)),
            ("Time zone", f"{config.timezone.key}, where a budget's day begins"),
            ("Project", _active(findings.active)),
            ("Costs", _tracking(findings)),
        ]
    )
    for project in config.projects.values():
        page.line()
        page.line(
            Cell(project.id, f"bold {ACCENT_STYLES[project.accent]}"), f"  {_headline(project)}"
        )
        keys = findings.keys[project.id]
        facts: list[tuple[str, str | Cell]] = [
            *_key_facts(keys),
            ("  fallback", _fallback(project)),
        ]
        if (found := overspend.get(project.id)) is not None:
            facts.append(("  worst overspend", describe(found)))
        page.facts(facts)
    if findings.others:
        page.line()
        page.line("Other providers, with a key from the environment:")
        page.facts(_key_facts(findings.others))
    for note in findings.notes:
        page.line()
        page.line(Cell("note: ", "yellow"), note)
    page.line()
    if findings.ok:
        page.line(Cell("No fault found.", "green"))
    page.show()


def _database_state(database: Database) -> Cell:
    from .tables import Cell

    if database.problem is not None:
        return Cell("cannot be used", "red")
    if database.state == "absent":
        return Cell("not there yet; the first call through the gateway makes it", "dim")
    return Cell("opens", "green")


def _active(active: str | None) -> str:
    if active is None:
        return "none by default; a worker has to choose with set_project()"
    return f"{active}, where a worker chooses none"


def _tracking(findings: Findings) -> str | Cell:
    from .tables import Cell

    tracking = findings.config.cost_tracking
    if not tracking.enabled:
        return Cell("not tracked: no metering, no budgets", "yellow")
    return (
        f"requests are kept for {tracking.retention_days} days; models without a price: "
        f"{tracking.unpriced}; when the ledger fails: {tracking.on_ledger_failure}"
    )


def _headline(project: Project) -> str:
    from .formats import dollars

    parts = [project.name] if project.name != project.id else []
    if project.daily_budget is None:
        parts.append("no budget")
    else:
        parts.append(f"{dollars(project.daily_budget)} a day, then {project.budget_action}")
    if project.source == "managed":
        parts.append("made at run time")
    elif project.line:
        parts.append(f"line {project.line}")
    return " · ".join(parts)


def _key_facts(keys: Iterable[Key]) -> list[tuple[str, Cell]]:
    from .tables import Cell

    return [(f"  {key.provider}", Cell(key.says, _KEY_STYLES[key.state])) for key in keys]


def _fallback(project: Project) -> str | Cell:
    from .tables import Cell

    if project.daily_budget is None or project.budget_action != "throttle":
        return Cell("unused: nothing throttles", "dim")
    models = _fallback_models(project)
    return ", ".join(f"{kind}: {model or 'never'}" for kind, model in models.items())


def _fallback_models(project: Project) -> dict[str, str | None]:
    fallback = project.fallback
    return {"stt": fallback.stt, "llm": fallback.llm, "tts": fallback.tts}


def _as_json(findings: Findings, exposures: list[Exposure]) -> CheckAnswer:
    config, database = findings.config, findings.database
    overspend = {found.project: found.nanos for found in exposures}
    return {
        "ok": findings.ok,
        "file": str(config.path) if config.path else None,
        "timezone": config.timezone.key,
        "active_project": findings.active,
        "database": {"url": database.url, "state": database.state, "problem": database.problem},
        "projects": [
            {
                "project_id": project.id,
                "name": project.name,
                "daily_budget": _number(project.daily_budget),
                "budget_action": project.budget_action,
                "source": project.source,
                "line": project.line or None,
                "providers": [_key_json(key) for key in findings.keys[project.id]],
                "fallback": _fallback_models(project),
                "worst_overspend": _dollars(overspend.get(project.id)),
            }
            for project in config.projects.values()
        ],
        "environment": [_key_json(key) for key in findings.others],
        "problems": [_problem(problem) for problem in findings.problems],
        "notes": findings.notes,
    }


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _dollars(nanos: int | None) -> float | None:
    return None if nanos is None else round(nanos / NANOS_PER_DOLLAR, 9)


def _key_json(key: Key) -> CheckedKey:
    return {"provider": key.provider, "state": key.state, "says": key.says}


def _problem(problem: ConfigProblem) -> CheckedProblem:
    return {
        "key_path": problem.key_path,
        "found": problem.found,
        "expected": problem.expected,
        "line": problem.line or None,
    }
