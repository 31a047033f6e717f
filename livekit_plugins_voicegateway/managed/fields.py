"""What a project made at run time may be told, field by field, and how the ledger keeps it.

`read_fields` reads what a front brings, and says everything that is wrong with it. `row_fields` and
`project_of` read what the ledger has. A project of voicegw.yaml and one made at run time are read
by the same code, so the same value is right or wrong in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ..config_file.schema import SCHEMA, read_project
from ..config_file.sections import Reading
from ..config_file.variables import Template
from ..config_file.yaml_reader import Entry, MapNode, Scalar, join_path, shorten
from ..errors import ConfigProblem, InvalidQueryError, QueryProblem, SecretKeyError, did_you_mean
from ..ledger.projects import ManagedRow
from ..projects import PROJECT_ID, Fallback, Project
from ..provider_options import MODALITIES, Option, ProviderOptions, fault_of_key
from ..providers import KEY_ARGUMENTS
from .values import is_decimal_text, node, plain, problems_of, size_of
from .vault import Options, Vault

if TYPE_CHECKING:
    from ..metering.usage import Modality

__all__ = [
    "FIELDS",
    "is_provider_name",
    "names_of",
    "project_of",
    "read_fields",
    "row_fields",
    "stored_names",
]

FIELDS: Final = SCHEMA["projects.<id>"]
"""Every field but ``project_id``, as in voicegw.yaml."""

_SOURCE: Final = "the projects made at run time"
_LARGEST: Final = 64 * 1024
"""Characters that one project may have altogether."""

_MOST_LOOKED_UP: Final = 50
"""Fields of which an unknown one is compared with the known ones; a project has nine."""

_LENGTHS: Final[Mapping[str, int]] = {"name": 200, "description": 4_000}
_MOST_TAGS: Final = 32
_LONGEST_TAG: Final = 64
_KEYLESS: Final = frozenset({"ollama", "whisper", "kokoro"})
"""Providers that run on one's own machines, and take no key."""

_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_]{0,23}")

_ID: Final = "an id of at most 64 letters, digits, '.', '_' and '-', the first a letter or digit"


def read_fields(given: Mapping[str, object], *, new: bool, fallback: Fallback) -> dict[str, object]:
    """Read what a front brings.

    Args:
        given: Fields by name; None stands for what there is without the field. ``providers`` may
            have None for a provider, unless the project is new.
        new: Whether this makes a project: then there has to be a ``project_id``.
        fallback: The top-level fallback models.

    Returns:
        The fields as plain data that JSON can keep, ``daily_budget`` as Decimal; without
        ``project_id``.

    Raises:
        InvalidQueryError: All that is wrong.
    """
    if size_of(given) > _LARGEST:
        found = "more than a project has"
        raise InvalidQueryError([QueryProblem("", found, f"at most {_LARGEST} characters")])
    problems = list(_problems_of_names(given, new=new))
    fields = {name: given[name] for name in FIELDS if name in given}
    usable: dict[str, object] = {}
    for name, value in fields.items():
        faults = list(problems_of(value, name, secret=name == "providers"))
        if name == "providers":
            faults += _problems_of_provider_names(value)
        problems += [_query_problem(fault) for fault in faults]
        if not faults:
            usable[name] = value
    dropped = _dropped(usable.get("providers")) if not new else {}
    if dropped:
        usable["providers"] = {
            name: options
            for name, options in _mapping(usable["providers"]).items()
            if name not in dropped
        }
    project, faults = _read("", usable, fallback)
    problems += [_query_problem(fault) for fault in faults]
    known = {problem.field for problem in problems}
    for fault in _problems_beyond_the_file(project, usable):
        if not any(field.startswith(fault.key_path) for field in known):
            problems.append(_query_problem(fault))
    if problems:
        raise InvalidQueryError(problems)
    values = {name: plain(value) for name, value in usable.items()}
    if "daily_budget" in values:
        values["daily_budget"] = project.daily_budget
    if isinstance(values.get("name"), str):
        values["name"] = project.name.strip()
    if dropped:
        values["providers"] = {**_mapping(values["providers"]), **dropped}
    return values


def row_fields(row: ManagedRow) -> dict[str, object]:
    """Return what the ledger has of a project as fields, all but ``providers``."""
    return {
        "name": row.name,
        "description": row.description,
        "daily_budget": row.daily_budget,
        "budget_action": row.budget_action,
        "tags": _loaded(row.tags),
        "fallback": _loaded(row.fallback),
        "pricing": _loaded(row.pricing),
    }


def project_of(
    row: ManagedRow, vault: Vault, fallback: Fallback
) -> tuple[Project | None, list[str]]:
    """Make the project that a row of the ledger stands for.

    Args:
        row: The row; somebody may have changed it by hand.
        vault: Opens its provider options.
        fallback: The top-level fallback models.

    Returns:
        The project, None when the row is not fit to be one; and what a person should know.
    """
    where = f"project {row.project_id!r}, made at run time"
    fields = row_fields(row)
    faults = [fault for name, value in fields.items() for fault in problems_of(value, name)]
    if not PROJECT_ID.fullmatch(row.project_id):
        faults.append(ConfigProblem("project_id", repr(shorten(row.project_id)), _ID))
    notes: list[str] = []
    unusable = ""
    if row.providers is not None:
        try:
            fields["providers"] = vault.open(row.project_id, row.providers)
        except SecretKeyError as error:
            unusable = str(error)
            notes.append(f"{where}, cannot use its own provider keys: {unusable}")
    project = None
    if not faults:
        project, faults = _read(row.project_id, fields, fallback)
        faults += _problems_beyond_the_file(project, fields)
    names = stored_names(row)
    if unusable and not names:
        faults = [ConfigProblem("providers", "what is sealed for nobody knows whom", "their names")]
    if faults or project is None:
        wrong = "; ".join(str(fault) for fault in faults)
        return None, [f"{where}, is left out: {wrong}"]
    if unusable:
        project = _with_sealed(project, names, unusable)
    return project, notes


def _read(
    project_id: str, fields: Mapping[str, object], fallback: Fallback
) -> tuple[Project, list[ConfigProblem]]:
    path = join_path("projects", project_id) if project_id else ""
    entries = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "daily_budget" and is_decimal_text(value):
            entries[name] = Entry(Scalar(str(value).strip(), 0, plain=True), 0)
        else:
            entries[name] = Entry(node(value, days=name == "pricing"), 0)
    reading = Reading(_SOURCE, {})
    project = read_project(reading, project_id, Entry(MapNode(entries, 0), 0), path, fallback)
    return replace(project, source="managed", line=0), reading.all_problems()


def _with_sealed(project: Project, names: Mapping[str, list[str]], unusable: str) -> Project:
    """Give a project providers of which nothing but the options' names is known."""
    providers = {}
    for provider, options in names.items():
        path = f"{join_path('projects', project.id)}.providers.{provider}"
        general: dict[str, Option] = {}
        blocks: dict[Modality, dict[str, Option]] = {}
        for name in options:
            block, _, inner = name.rpartition(".")
            modality = next((modality for modality in MODALITIES if modality == block), None)
            home = general if modality is None else blocks.setdefault(modality, {})
            home[inner] = Option(inner, None, f"{path}.{name}", 0, modality)
        providers[provider] = ProviderOptions(path, general, blocks, unusable=unusable)
    return replace(project, providers=providers)


def stored_names(row: ManagedRow) -> dict[str, list[str]]:
    """Return the names of a project's own options by provider, without opening anything."""
    found = _mapping(_loaded(row.provider_options))
    return {
        provider: [str(name) for name in names]
        for provider, names in found.items()
        if isinstance(names, list)
    }


def names_of(providers: Options) -> dict[str, list[str]]:
    """Return the names of options by provider, ``stt.base_url`` for one in a block."""
    return {
        provider: sorted(
            f"{name}.{inner}" if name in MODALITIES and isinstance(value, Mapping) else name
            for name, value in options.items()
            for inner in (value if name in MODALITIES and isinstance(value, Mapping) else ("",))
        )
        for provider, options in sorted(providers.items())
    }


def _problems_of_names(given: Mapping[str, object], *, new: bool) -> Iterator[QueryProblem]:
    known = ("project_id", *FIELDS) if new else FIELDS
    for position, name in enumerate(given):
        if name == "project_id" and not new:
            yield QueryProblem(name, "a new id", "no such field: an id stays what it is")
        elif name not in known:
            near = ""
            if position < _MOST_LOOKED_UP:
                near = did_you_mean(shorten(str(name)), known).rstrip(".")
            yield QueryProblem(
                shorten(str(name)), "an unknown field", f"one of {', '.join(known)}{near}"
            )
    if new:
        project_id = given.get("project_id")
        if project_id is None:
            yield QueryProblem("project_id", "nothing", _ID)
        elif not isinstance(project_id, str) or not PROJECT_ID.fullmatch(project_id):
            yield QueryProblem("project_id", repr(shorten(str(project_id))), _ID)


def _problems_beyond_the_file(
    project: Project, fields: Mapping[str, object]
) -> Iterator[ConfigProblem]:
    """Give the faults that only a project made at run time can have."""
    for name, longest in _LENGTHS.items():
        text = fields.get(name)
        if isinstance(text, str) and len(text) > longest:
            yield ConfigProblem(name, f"{len(text)} characters", f"at most {longest}")
    lines = {"name": fields.get("name")}
    tags = fields.get("tags")
    if isinstance(tags, list | tuple):
        lines |= {f"tags[{index}]": tag for index, tag in enumerate(tags)}
        if len(tags) > _MOST_TAGS:
            yield ConfigProblem("tags", f"{len(tags)} tags", f"at most {_MOST_TAGS}")
    for path, text in lines.items():
        if isinstance(text, str) and ("\n" in text or "\t" in text):
            yield ConfigProblem(path, "a text of several lines or with tabs", "one line")
        if path != "name" and isinstance(text, str) and len(text) > _LONGEST_TAG:
            yield ConfigProblem(path, f"{len(text)} characters", f"at most {_LONGEST_TAG}")
    budget = project.daily_budget
    if budget is not None and Decimal(repr(float(budget))) != budget:
        yield ConfigProblem("daily_budget", f"the number {budget}", "at most 15 digits")
    for provider, options in project.providers.items():
        yield from _problems_of_provider(f"providers.{provider}", provider, options)


def _problems_of_provider_names(providers: object) -> Iterator[ConfigProblem]:
    """A key that was typed where its provider belongs would be shown wherever that is named."""
    for provider, options in _mapping(providers).items():
        if options is not None and not is_provider_name(provider):
            expected = "the name of a provider such as openai"
            yield ConfigProblem("providers", "a key that names no provider", expected)


def is_provider_name(text: str) -> bool:
    """Return whether a text can be the name of a provider: no key of one is that short."""
    return _PROVIDER.fullmatch(text) is not None


def _problems_of_provider(
    path: str, provider: str, options: ProviderOptions
) -> Iterator[ConfigProblem]:
    """Whoever may make a project may not have other people's keys sent where he likes, nor use
    what lies on a worker's disk: its provider options stand on their own, with a key of their own.
    """
    for option in options.options():
        at = (
            f"{path}.{option.modality}.{option.name}"
            if option.modality
            else f"{path}.{option.name}"
        )
        if option.name == "credentials_file":
            yield ConfigProblem(at, "the name of a file", "the credentials themselves")
        elif option.name == "vertexai" and option.value is not False:
            yield ConfigProblem(at, "the credentials of the server", "api_key without vertexai")
        elif option.name == "client":
            yield ConfigProblem(at, "an object of a program", "a key, such as api_key")
        elif option.name in KEY_ARGUMENTS:
            value = option.value.text if isinstance(option.value, Template) else option.value
            if fault := fault_of_key(option.name, value):
                yield ConfigProblem(at, f"a key that {fault}", "the key and nothing else")
            elif not isinstance(value, str) and not option.name.startswith("credentials"):
                yield ConfigProblem(at, "a key that is no text", "the key in quotes")
            elif not isinstance(value, str | Mapping):
                yield ConfigProblem(at, "neither a text nor a mapping", "the credentials")
    if provider in _KEYLESS:
        return
    without = [
        modality
        for modality in MODALITIES
        if options.keys(modality) and not options.keys(modality) & KEY_ARGUMENTS
    ]
    if without or not any(options.keys(modality) for modality in MODALITIES):
        where = f"{path}.{without[0]}" if without and without[0] in options.blocks else path
        yield ConfigProblem(
            where,
            "options without a key",
            "a key of the project's own beside them, api_key for most providers; the server's "
            "keys are not used with the options of a project made at run time",
        )


def _loaded(text: str | None) -> object:
    """Return what a column's JSON says; the text itself when somebody has damaged it."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _dropped(providers: object) -> dict[str, None]:
    """Return the providers that a change takes away."""
    return {name: None for name, options in _mapping(providers).items() if options is None}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _query_problem(problem: ConfigProblem) -> QueryProblem:
    return QueryProblem(problem.key_path, problem.found, problem.expected)
