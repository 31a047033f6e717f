"""What may stand in voicegw.yaml: every key, its kind and its default.

`read_config` goes through the file from top to bottom and notes every fault that it finds;
docs/configuration.md says the same to people, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args
from zoneinfo import ZoneInfo

from ..config import (
    Alerts,
    Config,
    CostTracking,
    LedgerFailureAction,
    Server,
    UnpricedAction,
    database_problem,
    webhook_problem,
    webhook_secret_problem,
)
from ..errors import ConfigError, ConfigProblem, UnsetVariableError, did_you_mean
from ..projects import DEFAULT_PROJECT, PROJECT_ID, BudgetAction, Fallback, Project
from ..provider_options import MODALITIES, Option, ProviderOptions
from .sections import Reading, Section, describe
from .variables import Template, has_variables
from .yaml_reader import Entry, ListNode, MapNode, Node, Scalar, join_path, read_yaml, shorten

if TYPE_CHECKING:
    from ..metering.usage import Modality
    from ..pricing.spec import PriceProblem, PriceSpec

__all__ = ["SCHEMA", "read_config", "read_project"]

SCHEMA: Final[Mapping[str, tuple[str, ...]]] = {
    "": (
        "default_project",
        "timezone",
        "database",
        "projects",
        "providers",
        "fallback",
        "pricing",
        "cost_tracking",
        "alerts",
        "server",
    ),
    "database": ("url", "token", "outbox"),
    "projects.<id>": (
        "name",
        "description",
        "daily_budget",
        "budget_action",
        "tags",
        "providers",
        "fallback",
        "pricing",
    ),
    "fallback": MODALITIES,
    "cost_tracking": ("enabled", "unpriced", "on_ledger_failure", "retention_days"),
    "alerts": ("webhook", "secret"),
    "server": ("host", "port", "token", "ingest_token"),
}
"""Every mapping of the file with fixed keys, by its path, and those keys."""

_LARGEST_BUDGET: Final = 1_000_000_000
_BUDGET: Final = "dollars a day such as 50.00; leave the key out for no limit"
_PROVIDER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[^\s/:]\S*(?<![/:])")
_SECRET_OPTION: Final = re.compile(r"(.*_)?(key|token|secret|password)")
_LOCAL_EXAMPLE: Final[Mapping[Modality, str]] = {
    "stt": "local/whisper-base",
    "llm": "ollama/qwen2.5:3b",
    "tts": "local/kokoro",
}


def read_config(
    data: bytes, path: Path, env: Mapping[str, str]
) -> tuple[Config, list[ConfigProblem]]:
    """Read a configuration file.

    Args:
        data: Its content.
        path: Where it is.
        env: Environment variables.

    Returns:
        The configuration, with a default wherever the file is wrong, and all faults in the order
        of the file.
    """
    reading = Reading(str(path), env)
    node, wrong = read_yaml(data)
    reading.add(wrong)
    entry = Entry(node, node.line) if node is not None else None
    top = reading.section(entry, "", SCHEMA[""])
    fallback = _fallback(reading, top.entries.get("fallback"), "fallback", Fallback())
    projects = _projects(reading, top.entries.get("projects"), fallback)
    database = reading.section(top.entries.get("database"), "database", SCHEMA["database"])
    config = Config(
        path=path.absolute(),
        default_project=_default_project(top, projects),
        timezone=_timezone(top),
        projects=projects,
        providers=_providers(reading, top.entries.get("providers"), "providers"),
        fallback=fallback,
        pricing=_pricing(reading, top.entries.get("pricing"), "pricing"),
        cost_tracking=_cost_tracking(reading, top.entries.get("cost_tracking")),
        alerts=_alerts(reading, top.entries.get("alerts")),
        server=_server(reading, top.entries.get("server")),
        database_text=_database(database),
        database_token_text=_token(database, Config().database_token_text),
        outbox_text=_outbox(database),
        env=env,
    )
    return config, reading.all_problems()


def _default_project(top: Section, projects: Mapping[str, Project]) -> str | None:
    entry = top.entries.get("default_project")
    if entry is None:
        return None
    expected = f"the id of a project: {', '.join(projects)}"
    name = top.reading.text(entry, "default_project", expected)
    if name is not None and name not in projects:
        near = did_you_mean(shorten(name), projects).rstrip(".")
        top.reading.wrong(entry, "default_project", f"{expected}{near}")
    return name


def _timezone(top: Section) -> ZoneInfo:
    entry = top.entries.get("timezone")
    expected = "an IANA time zone such as Europe/Berlin"
    name = top.reading.text(entry, "timezone", expected) if entry is not None else None
    if entry is None or name is None:
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        top.reading.wrong(entry, "timezone", f"{expected}{_near_zone(shorten(name))}")
        return ZoneInfo("UTC")


@cache
def _zones() -> tuple[str, ...]:
    from zoneinfo import available_timezones

    return tuple(sorted(available_timezones()))  # opens 600 files


def _near_zone(name: str) -> str:
    zones = _zones()
    wanted = name.lower().replace(" ", "_")
    spellings = {zone.lower().rpartition("/")[2]: zone for zone in zones}  # "berlin"
    spellings |= {zone.lower(): zone for zone in zones}  # "utc"
    if wanted in spellings:
        return f"; did you mean {spellings[wanted]!r}?"
    return did_you_mean(name, zones).rstrip(".")


def _database(section: Section) -> Template | None:
    reading, url = section.reading, section.entries.get("url")
    if url is None:
        return None
    text = reading.template(url, "database.url", "a URL such as sqlite:///voicegw.db")
    if text is not None:
        try:
            problem = database_problem(text.fill(reading.env), text)
        except UnsetVariableError:
            return text  # reported when the database is needed
        except ConfigError as error:
            reading.add(error.problems)
            return None
        if problem is not None:
            reading.problem(problem.key_path, problem.line, problem.found, problem.expected)
    return text


def _token(section: Section, default: Template) -> Template:
    """Read a token; ``default`` says where it stands."""
    entry = section.entries.get(default.key_path.rpartition(".")[2])
    if entry is None:
        return default
    expected = 'a text in quotes, or "" for none'
    return section.reading.template(entry, default.key_path, expected) or default


def _outbox(section: Section) -> Template | None:
    folder = section.entries.get("outbox")
    if folder is None:
        return None
    return section.reading.template(folder, "database.outbox", "a folder such as /var/lib/outbox")


def _projects(reading: Reading, entry: Entry | None, fallback: Fallback) -> Mapping[str, Project]:
    projects = {}
    for project_id, value in reading.mapping(entry, "projects", "a mapping of projects").items():
        path = join_path("projects", project_id)
        if not PROJECT_ID.fullmatch(project_id):
            expected = "an id of at most 64 letters, digits, '.', '_' and '-'"
            reading.problem(path, value.line, f"the id {shorten(project_id)!r}", expected)
        projects[project_id] = read_project(reading, project_id, value, path, fallback)
    return projects or {DEFAULT_PROJECT: Project(DEFAULT_PROJECT, fallback=fallback)}


def read_project(
    reading: Reading, project_id: str, entry: Entry, path: str, fallback: Fallback
) -> Project:
    """Read one project, of the file or made at run time.

    Args:
        reading: Gathers the faults.
        project_id: Its id, checked already.
        entry: What is written of it.
        path: Where, ``projects.prod``.
        fallback: The top-level fallback models, for those that it does not name.
    """
    section = reading.section(entry, path, SCHEMA["projects.<id>"])
    return Project(
        id=project_id,
        name=section.text("name"),
        description=section.text("description"),
        daily_budget=_budget(section),
        budget_action=section.choice("budget_action", "warn", get_args(BudgetAction)),
        tags=section.texts("tags", "a list of texts such as [production]"),
        providers=_providers(reading, section.entries.get("providers"), section.at("providers")),
        fallback=_fallback(
            reading, section.entries.get("fallback"), section.at("fallback"), fallback
        ),
        pricing=_pricing(reading, section.entries.get("pricing"), section.at("pricing")),
        line=entry.line,
    )


def _budget(section: Section) -> Decimal | None:
    entry, path = section.entries.get("daily_budget"), section.at("daily_budget")
    if entry is None:
        return None
    budget = section.reading.number(entry, path, _BUDGET)
    if budget is None:
        return None
    if not 0 <= budget <= _LARGEST_BUDGET:
        section.reading.wrong(entry, path, f"0 to {_LARGEST_BUDGET} dollars")
    elif budget * 10**9 % 1:
        section.reading.wrong(entry, path, "dollars with at most nine decimals")
    return abs(budget)  # -0 is 0


def _providers(reading: Reading, entry: Entry | None, path: str) -> Mapping[str, ProviderOptions]:
    expected = "a mapping of providers, such as {openai: {api_key: …}}"
    providers = {}
    for provider, value in reading.mapping(entry, path, expected, secret=True).items():
        if not _PROVIDER.fullmatch(provider):
            expected = "the name of a provider such as openai"
            reading.problem(path, value.line, "a key that names no provider", expected)
            continue
        if provider == "local":
            found, expected = "options of all local models", "those of 'whisper' or of 'kokoro'"
            reading.problem(join_path(path, provider), value.line, found, expected)
            continue
        providers[provider] = _provider(reading, value, join_path(path, provider))
    return providers


def _provider(reading: Reading, entry: Entry, path: str) -> ProviderOptions:
    expected = "a mapping of options such as {api_key: …}"
    general: dict[str, Option] = {}
    blocks: dict[Modality, Mapping[str, Option]] = {}
    entries = dict(reading.mapping(entry, path, expected, secret=True))
    for modality in MODALITIES:
        if modality in entries:
            at = join_path(path, modality)
            own = reading.mapping(entries.pop(modality), at, expected, secret=True)
            blocks[modality] = _options(reading, own, at, modality)
    general = _options(reading, entries, path, None)
    return ProviderOptions(path, general, blocks, entry.line)


def _options(
    reading: Reading, entries: Mapping[str, Entry], path: str, modality: Modality | None
) -> dict[str, Option]:
    options = {}
    for name, entry in entries.items():
        if not name.isidentifier():
            # not shown: `{sk-…}` is a key whose name was forgotten
            expected = "the name of an option such as api_key or base_url"
            reading.problem(path, entry.line, "a key that names no option", expected)
            continue
        at = join_path(path, name)
        value: object
        if _SECRET_OPTION.fullmatch(name) and isinstance(entry.value, Scalar):
            value = reading.template(entry, at, "a text in quotes, or ${NAME}")
            if entry.value.text == "" and not entry.value.plain:
                reading.problem(at, entry.line, "an empty text", "a text, or no such key")
        else:
            value = reading.option_data(entry, at)
        options[name] = Option(name, value, at, entry.line, modality)
    return options


def _fallback(reading: Reading, entry: Entry | None, path: str, base: Fallback) -> Fallback:
    if entry is None:
        return base
    if isinstance(entry.value, MapNode):
        section = reading.section(entry, path, SCHEMA["fallback"])
        models = {modality: _fallback_model(section, modality, base) for modality in MODALITIES}
        return Fallback(**models)
    expected = "a mapping with stt, llm, tts, or none to never swap"
    text = reading.text(entry, path, expected)
    if text is not None and text != "none":
        reading.wrong(entry, path, expected)
    return Fallback(None, None, None)


def _fallback_model(section: Section, modality: Modality, base: Fallback) -> str | None:
    entry, path = section.entries.get(modality), section.at(modality)
    if entry is None:
        return base.model(modality)
    expected = f"a model such as {_LOCAL_EXAMPLE[modality]}, or none to never swap"
    model = section.reading.text(entry, path, expected)
    if model == "none":
        return None
    if model is not None and not _can_serve(modality, model):
        section.reading.wrong(entry, path, expected)
    return model


def _can_serve(modality: Modality, model: str) -> bool:
    """Whether this is a model string that, as far as it is ours, names a model of this kind."""
    if not _MODEL.fullmatch(model):
        return False
    provider, _, name = model.partition("/")
    if provider == "local":
        kind = "stt" if name.startswith("whisper-") else "tts"
        known = kind == "stt" or name.partition(":")[0] == "kokoro"
        return known and kind == modality
    return provider != "ollama" or modality == "llm"


def _cost_tracking(reading: Reading, entry: Entry | None) -> CostTracking:
    section = reading.section(entry, "cost_tracking", SCHEMA["cost_tracking"])
    default = CostTracking()
    return CostTracking(
        enabled=section.boolean("enabled", default.enabled),
        unpriced=section.choice("unpriced", default.unpriced, get_args(UnpricedAction)),
        on_ledger_failure=section.choice(
            "on_ledger_failure", default.on_ledger_failure, get_args(LedgerFailureAction)
        ),
        retention_days=section.integer(
            "retention_days", default.retention_days, lowest=1, highest=36_500
        ),
    )


def _alerts(reading: Reading, entry: Entry | None) -> Alerts:
    section = reading.section(entry, "alerts", SCHEMA["alerts"], secret=True)
    return Alerts(
        webhook_text=_filled(
            section, "webhook", "a URL such as https://hooks.example.com/…", webhook_problem
        ),
        secret_text=_filled(
            section, "secret", 'a text in quotes, or "" for none', webhook_secret_problem
        )
        or Alerts().secret_text,
        env=reading.env,
    )


def _filled(
    section: Section,
    key: str,
    expected: str,
    problem_of: Callable[[str, Template], ConfigProblem | None],
) -> Template | None:
    """Return a text that may be a secret, checked if what it needs is set."""
    entry = section.entries.get(key)
    text = section.reading.template(entry, section.at(key), expected) if entry else None
    if text is None:
        return None
    try:
        filled = text.fill(section.reading.env)
    except UnsetVariableError:
        return text  # reported when it is needed
    except ConfigError as error:
        section.reading.add(error.problems)
        return None
    problem = problem_of(filled, text) if filled else None
    if problem is not None:
        section.reading.problem(problem.key_path, problem.line, problem.found, problem.expected)
    return text


def _server(reading: Reading, entry: Entry | None) -> Server:
    section = reading.section(entry, "server", SCHEMA["server"])
    default = Server(env=reading.env)
    host = section.text("host", default.host)
    if not host or any(character.isspace() for character in host):
        reading.wrong(section.entries["host"], "server.host", "an address such as 127.0.0.1")
    return Server(
        host=host,
        port=section.integer("port", default.port, lowest=1, highest=65_535),
        token_text=_token(section, default.token_text),
        ingest_token_text=_token(section, default.ingest_token_text),
        env=reading.env,
    )


def _pricing(
    reading: Reading, entry: Entry | None, path: str
) -> Mapping[str, tuple[PriceSpec, ...]]:
    entries = reading.mapping(entry, path, "a mapping of prices by model")
    if not entries:
        return {}
    from ..pricing.spec import parse_prices

    pricing = {}
    for model, value in entries.items():
        at = join_path(path, model)
        before = reading.count
        data = reading.price_data(value, at)
        if reading.count > before:
            continue
        pricing[model], problems = parse_prices(model, data)
        for problem in problems:
            _price_problem(reading, problem, value, at)
    return pricing


def _price_problem(reading: Reading, problem: PriceProblem, entry: Entry, path: str) -> None:
    """Note a price's fault where it stands; its key is relative to the model's entry."""
    key = problem.key
    at = entry
    if isinstance(at.value, ListNode) and (index := re.match(r"\[(\d+)\]\.?", key)):
        item: Node = at.value.items[int(index[1])]
        at, key = Entry(item, item.line), key[index.end() :]
    if isinstance(at.value, MapNode) and key in at.value.entries:
        at = at.value.entries[key]
    found = problem.found
    if isinstance(at.value, Scalar) and has_variables(at.value.text):
        found = describe(at.value)  # not what the variable holds
    where = problem.key
    full = f"{path}{where}" if where.startswith("[") or not where else join_path(path, where)
    reading.problem(full, at.line, found, problem.expected)
