"""``voicegw project create|update|delete|changes|rotate-keys``: projects made at run time.

They are written to the ledger itself, so that no server has to run. Keys come from environment
variables or from standard input: what stands on a command line, every user of the machine can read.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import click

from ..errors import InvalidQueryError, QueryProblem
from ..projects import BudgetAction
from .options import config_option, json_option, limit_option
from .terminal import complain, emit, emit_json

if TYPE_CHECKING:
    from ..managed import DeletionAnswer, ProjectAdmin
    from ..projects import Project
    from ..reports import Reports

__all__ = ["changes", "create", "delete", "rotate_keys", "update"]

Answer = TypeVar("Answer")
Command = Callable[..., None]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROVIDER: Final = re.compile(r"([a-z0-9_]+)(?:\.([a-z0-9_.]+))?")
_STANDARD_INPUT: Final = "-"


def _fields_options(command: Command) -> Command:
    """Add the options that say what a project is."""
    for option in reversed(
        [
            click.option("--name", metavar="TEXT", help="A name for people."),
            click.option("--description", metavar="TEXT", help="What the project is for."),
            click.option(
                "--daily-budget",
                metavar="DOLLARS",
                help="What a calendar day may cost; none for no limit.",
            ),
            click.option(
                "--budget-action",
                type=click.Choice(get_args(BudgetAction)),
                help="What happens when the day's budget is spent.",
            ),
            click.option(
                "--tag",
                "tags",
                multiple=True,
                metavar="TAG",
                help="Any number of times, the first one gives the colour; takes the place of "
                "those that there are.",
            ),
            click.option(
                "--key",
                "keys",
                multiple=True,
                metavar="PROVIDER:VARIABLE",
                help="The environment variable that holds the project's own key for a provider; "
                "openai:- reads it from standard input. Any number of times.",
            ),
            click.option(
                "--fields",
                type=click.File(encoding="utf-8"),
                metavar="FILE",
                help="More, as JSON: the body that the HTTP API takes. Options go before it.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command()
@click.argument("project_id", metavar="ID")
@_fields_options
@config_option
@json_option
def create(project_id: str, config: Path | None, as_json: bool, **given: Any) -> None:
    """Make a project. Running workers know it within 2 seconds.

    Its own keys are kept encrypted with VOICEGW_SECRET_KEY; without any it uses those of the
    configuration.
    """
    fields = {**_read_fields(given), "project_id": project_id}

    async def make(admin: ProjectAdmin) -> Project:
        return await admin.create(fields, front="cli", who=_user())

    _say(config, make, as_json, "was created")


@click.command()
@click.argument("project_id", metavar="ID")
@_fields_options
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option(
    "--remove-key",
    "removed",
    multiple=True,
    metavar="PROVIDER",
    help="Take the project's own key for a provider away. Any number of times.",
)
@config_option
@json_option
def update(
    project_id: str,
    no_tags: bool,
    removed: tuple[str, ...],
    config: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change a project that was made at run time.

    What is not named stays as it is. A project of voicegw.yaml is changed in that file.
    """
    fields = _read_fields(given)
    if no_tags:
        if given["tags"]:
            raise click.UsageError("--tag and --no-tags exclude each other.")
        fields["tags"] = None
    if removed:
        providers = fields.setdefault("providers", {})
        for provider in removed:
            if provider in providers:
                raise click.UsageError(f"--key and --remove-key both name {provider}.")
            providers[provider] = None
    if not fields:
        raise click.UsageError("Say what to change; --help has the options.")

    async def change(admin: ProjectAdmin) -> Project:
        return await admin.update(project_id, fields, front="cli", who=_user())

    _say(config, change, as_json, "is now as you said")


@click.command()
@click.argument("project_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def delete(project_id: str, yes: bool, config: Path | None, as_json: bool) -> None:
    """Delete a project, after saying what goes.

    What it has used stays in the ledger, and calls that run go on. A project of voicegw.yaml is
    deleted in that file.
    """
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError("Nobody can be asked here: --yes deletes without asking.")
        doomed = _manage(config, lambda admin, _: admin.would_delete(project_id), writing=False)
        _show_doomed(doomed)
        click.confirm("Delete it?", abort=True, err=True)
    gone = _manage(config, lambda admin, _: admin.delete(project_id, front="cli", who=_user()))
    if as_json:
        emit_json(gone)
    else:
        emit(f"Project {project_id} was deleted.\n")


@click.command()
@click.argument("project_id", metavar="[ID]", required=False)
@limit_option
@config_option
@json_option
def changes(project_id: str | None, limit: int, config: Path | None, as_json: bool) -> None:
    """Show who changed projects at run time, newest first.

    ID shows those of one project, which may be gone.
    """
    found = _manage(config, lambda admin, _: admin.changes(limit, project_id), writing=False)
    if as_json:
        emit_json({"changes": found})
        return
    if not found:
        emit("No project was made, changed or deleted at run time.\n")
        return

    from .tables import Column, Page

    page = Page()
    page.table(
        [
            Column("When (UTC)", "word"),
            Column("Project", "name"),
            Column("What", "word"),
            Column("Fields"),
            Column("From", "word", rank=1),
            Column("Who", rank=2, style="dim"),
        ],
        [
            [
                each["at"].replace("T", " ")[:19],
                each["project_id"],
                each["action"],
                ", ".join(each["fields"]),
                each["front"],
                each["who"] or "",
            ]
            for each in found
        ],
    )
    page.show()


@click.command()
@config_option
@json_option
def rotate_keys(config: Path | None, as_json: bool) -> None:
    """Encrypt all projects' keys anew, with a new secret key.

    Put the new one before the old one in VOICEGW_SECRET_KEY, with a comma between them, run this,
    and take the old one away. Ends with status 1 when some could not be opened.
    """
    done = _manage(config, lambda admin, _: admin.rotate_keys(front="cli", who=_user()))
    if as_json:
        emit_json(done)
    else:
        for says, ids in (("now", done["resealed"]), ("already", done["current"])):
            if ids:
                emit(f"Encrypted with the first key {says}: {', '.join(ids)}\n")
        if not any(done.values()):
            emit("No project has keys of its own.\n")
    for why in done["unreadable"].values():
        complain(why)
    if done["unreadable"]:
        sys.exit(1)


def _manage(
    path: Path | None,
    act: Callable[[ProjectAdmin, Callable[[], Reports]], Awaitable[Answer]],
    *,
    writing: bool = True,
) -> Answer:
    """Do something with projects, on the ledger itself.

    Args:
        path: The configuration that was named on the command line, or None.
        act: What to do; what it is given second are the reports on what there is then.
        writing: Whether the ledger is to be made if there is none.
    """
    import asyncio

    from ..config import load_config
    from ..ledger import make_ledger
    from ..managed import ProjectAdmin, ProjectCatalogue
    from ..reports import Reports
    from .asking import quiet

    config = load_config(path)
    quiet()

    async def manage() -> Answer:
        async with make_ledger(config.database_url, read_only=not writing) as ledger:
            catalogue = ProjectCatalogue(config, ledger, env=config.env)
            await catalogue.refresh()
            admin = ProjectAdmin(catalogue, ledger, env=config.env)
            return await act(admin, lambda: Reports(catalogue.config, ledger))

    return asyncio.run(manage())


def _say(
    config: Path | None,
    act: Callable[[ProjectAdmin], Awaitable[Project]],
    as_json: bool,
    done: str,
) -> None:
    async def act_and_ask(admin: ProjectAdmin, reports: Callable[[], Reports]) -> Any:
        made = await act(admin)
        return await reports().project(made.id)

    answer = _manage(config, act_and_ask)
    if as_json:
        emit_json(answer)
        return
    project_id = answer["project_id"]
    emit(f"Project {project_id} {done}: `voicegw project show {project_id}`.\n")


def _read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the fields of a project from the options."""
    fields = _from_file(given["fields"]) if given["fields"] is not None else {}
    for name in ("name", "description", "daily_budget", "budget_action"):
        if given[name] is not None:
            fields[name] = given[name]
    if fields.get("daily_budget") == "none":
        fields["daily_budget"] = None
    if given["tags"]:
        fields["tags"] = list(given["tags"])
    if given["keys"]:
        own = fields.get("providers")
        fields["providers"] = {**(own if isinstance(own, dict) else {}), **_keys(given["keys"])}
    return fields


def _from_file(file: Any) -> dict[str, Any]:
    from decimal import Decimal, InvalidOperation

    try:
        found = json.load(file, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        # the text of the fault says where, and nothing of what stands there
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "not text"
        raise click.BadParameter(f"that is no JSON ({where})", param_hint="'--fields'") from None
    except InvalidOperation:
        fault = "a number in it has an exponent beyond all measure"
        raise click.BadParameter(fault, param_hint="'--fields'") from None
    if not isinstance(found, dict):
        raise click.BadParameter("an object is needed: {…}", param_hint="'--fields'")
    return found


def _keys(given: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Look keys up where the options say; never says what it found in a wrong place."""
    keys: dict[str, dict[str, str]] = {}
    from_input = False
    for text in given:
        named, _, source = text.partition(":")
        provider = _PROVIDER.fullmatch(named)
        if provider is None or not (source == _STANDARD_INPUT or _VARIABLE.fullmatch(source)):
            raise click.BadParameter(
                "PROVIDER:VARIABLE is needed, as openai:ACME_OPENAI_KEY. It names a variable and "
                "is not the key: a command line can be read by everybody on this machine, so a key "
                "that was typed here should be replaced at its provider.",
                param_hint="'--key'",
            )
        if source != _STANDARD_INPUT:
            value = os.environ.get(source, "")
        elif from_input:
            raise click.BadParameter("only one key can come from -", param_hint="'--key'")
        else:
            from_input = True
            value = _key_from_input(provider[1])
        if not value:
            raise InvalidQueryError(
                [
                    QueryProblem(
                        f"--key {provider[1]}",
                        "nothing on standard input"
                        if source == _STANDARD_INPUT
                        else "an environment variable that is not set",
                        "the name of a variable that holds the key",
                    )
                ]
            )
        keys.setdefault(provider[1], {})[provider[2] or "api_key"] = value
    return keys


def _key_from_input(provider: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Key for {provider}", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _show_doomed(doomed: DeletionAnswer) -> None:
    from .formats import dollars, plural
    from .tables import Page

    page = Page()
    budget = doomed["daily_budget"]
    stays = f"{plural(doomed['requests'], 'request')} in the ledger, {dollars(doomed['cost'])}"
    if doomed["unpriced_requests"] and doomed["cost"] is not None:
        stays += f" and {doomed['unpriced_requests']} unpriced"
    keys = [
        f"{provider} ({', '.join(names)})" for provider, names in doomed["provider_keys"].items()
    ]
    page.facts(
        [
            ("Project", f"{doomed['project_id']}  {doomed['name']}"),
            (
                "Goes",
                "no budget"
                if budget is None
                else f"a budget of {dollars(budget)} a day, then {doomed['budget_action']}",
            ),
            ("", f"keys: {', '.join(keys)}" if keys else "no keys of its own"),
            ("Goes on", f"{plural(doomed['live_requests'], 'request')} under way"),
            ("Stays", stays),
        ]
    )
    page.show()


def _user() -> str | None:
    """Return the name of the user of this machine, for the audit log."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
