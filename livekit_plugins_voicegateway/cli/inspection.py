"""What a configuration says, and what is wrong with it: the facts behind ``voicegw check``.

Keys are named by the variable or line that they come from; a value never gets here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from ..config import Config
from ..config_file.variables import Template
from ..errors import (
    ConfigError,
    ConfigProblem,
    UnknownProjectError,
    UnsetVariableError,
    VoiceGatewayError,
    did_you_mean,
)
from ..projects import resolve_project
from ..provider_options import fault_of_key
from ..providers import (
    KEY_ARGUMENTS,
    KEY_VARIABLES,
    KNOWN_PLUGINS,
    OPENAI_CONSTRUCTORS,
    PACKAGE_NAMES,
)

if TYPE_CHECKING:
    from ..provider_options import Option, ProviderOptions

__all__ = ["Database", "Findings", "Key", "inspect_config"]

_LOCAL: Final = frozenset({"ollama", "whisper", "kokoro"})
_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Key:
    """Where a provider's key comes from, for one project.

    Attributes:
        provider: ``openai``.
        state: ``set``, ``missing`` (it is named, or can be, and is not there), or ``unneeded``.
        says: The same for a person, ``key from PROD_OPENAI_KEY``.
    """

    provider: str
    state: Literal["set", "missing", "unneeded"]
    says: str


@dataclass(frozen=True, slots=True)
class Database:
    """The ledger's place, and whether it can be used.

    Attributes:
        url: Without a password; None when it cannot be told.
        state: ``ok``, ``absent`` (it is made by the first worker), or ``failed``.
        problem: Why it failed, or None.
    """

    url: str | None
    state: Literal["ok", "absent", "failed"]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is known of a configuration that can be read.

    Attributes:
        config: The configuration.
        active: The project of a worker that chooses none; None when it has to.
        database: The ledger's place.
        keys: By project, for each provider that the file names.
        others: Providers that the file does not name, and the environment has a key for.
        problems: What is wrong, in the order of the file.
        notes: What should be known, and is not wrong.
    """

    config: Config
    active: str | None
    database: Database
    keys: Mapping[str, list[Key]]
    others: list[Key]
    problems: list[ConfigProblem]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and self.database.state != "failed"


def inspect_config(config: Config, env: Mapping[str, str]) -> Findings:
    """Look at everything that a configuration names: projects, keys, plugins and the ledger.

    Args:
        config: The configuration.
        env: Environment variables.
    """
    config, managed_notes = asyncio.run(_with_managed(config, env))
    problems, notes = _provider_faults(config)
    notes += managed_notes
    notes += _without_effect(config)
    notes += _server_notes(config)
    alert_problems, alert_notes = _alert_faults(config)
    problems += alert_problems
    notes += alert_notes
    active: str | None = None
    try:
        active = resolve_project(None, config, env)
    except UnknownProjectError as error:
        # without a choice there is none to be wrong: workers then call set_project()
        if wanted := env.get("VOICEGW_PROJECT"):
            expected = f"one of {', '.join(error.known)}"
            problems.append(ConfigProblem("VOICEGW_PROJECT", repr(wanted), expected))
    keys = {project_id: _keys(config, project_id, env) for project_id in config.projects}
    named = {key.provider for of_project in keys.values() for key in of_project}
    return Findings(
        config=config,
        active=active,
        database=asyncio.run(_database(config)),
        keys=keys,
        others=[key for key in _environment_keys(env) if key.provider not in named],
        problems=sorted(problems, key=lambda problem: problem.line),
        notes=notes,
    )


async def _with_managed(config: Config, env: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Return the configuration with the projects made at run time, and what is to be known of them.

    A ledger that cannot be read has none; `_database` says what is wrong with it.
    """
    from ..ledger import make_ledger
    from ..managed import ProjectCatalogue

    try:
        async with make_ledger(config.database_url, read_only=True) as ledger:
            catalogue = ProjectCatalogue(config, ledger, env=env)
            await catalogue.refresh()
    except VoiceGatewayError:
        return config, []
    return catalogue.config, list(catalogue.notes)


def _keys(config: Config, project_id: str, env: Mapping[str, str]) -> list[Key]:
    """Say where the keys of a project come from, for each provider that the file names."""
    own = config.project(project_id).providers
    return [
        _key(provider, own.get(provider), config.providers.get(provider), env)
        for provider in sorted({*own, *config.providers})
    ]


def _environment_keys(env: Mapping[str, str]) -> list[Key]:
    """Name the providers whose own variable is set: they can be used without being configured."""
    return [
        _key(provider, None, None, env)
        for provider, variables in sorted(KEY_VARIABLES.items())
        if any(env.get(name) for name in variables)
    ]


def _provider_faults(config: Config) -> tuple[list[ConfigProblem], list[str]]:
    """Return what the file says of providers and no plugin understands, and what to know of them.

    Imports the plugins that the file names, which takes seconds.
    """
    problems: list[ConfigProblem] = []
    notes: list[str] = []
    for provider, options in _named_providers(config):
        if provider in _LOCAL or provider in OPENAI_CONSTRUCTORS or _is_installed(provider):
            continue
        if provider in KNOWN_PLUGINS:
            package = f"livekit-plugins-{provider.replace('_', '-')}"
            notes.append(
                f"{options.path}: its plugin is not installed; run `pip install {package}`"
            )
            continue
        known = {*KNOWN_PLUGINS, *OPENAI_CONSTRUCTORS, *_LOCAL}
        near = PACKAGE_NAMES.get(provider)
        expected = repr(near) if near else f"a LiveKit plugin{did_you_mean(provider, known)}"
        found = "a provider that does not exist"
        problems.append(ConfigProblem(options.path, found, expected.rstrip("."), options.line))
    with_options = {name for name, options in _named_providers(config) if any(options.options())}
    if with_options:
        from ..router import Router

        router = Router(config)
        for provider in sorted(with_options):
            try:
                problems += router.unknown_options(provider)
            except Exception as error:
                # a plugin may fail to import in any way; that is for its user to know
                notes.append(
                    f"the plugin for {provider!r} cannot be imported, so its options were not "
                    f"checked: {type(error).__name__}: {error}"
                )
                continue
            for project in config.projects.values():
                problems += router.unknown_options_of(project, provider)
    return problems, notes


def _without_effect(config: Config) -> list[str]:
    """Name the budgets that nothing keeps."""
    budgeted = [
        project.id for project in config.projects.values() if project.daily_budget is not None
    ]
    if config.cost_tracking.enabled or not budgeted:
        return []
    return [
        f"the budgets of {', '.join(budgeted)} stop nothing, because `cost_tracking.enabled` is "
        "false"
    ]


def _server_notes(config: Config) -> list[str]:
    """Say why ``voicegw serve`` would not start as it is configured."""
    try:
        from ..server.listener import UnsafeListenerError, check_listener
    except ImportError:
        return []  # without what a server needs there is none
    try:
        check_listener(config.server.host, config.server.token)
    except UnsafeListenerError as error:
        return [f"`voicegw serve` would not start: {error}"]
    except UnsetVariableError as error:
        return [f"`voicegw serve` would not start: {error}"]
    return []


def _alert_faults(config: Config) -> tuple[list[ConfigProblem], list[str]]:
    """Return what is wrong with the webhook of alerts, and what should be known of it."""
    from ..server.hosts import is_loopback

    try:
        endpoint = config.alerts.endpoint
    except UnsetVariableError as error:
        return [], [f"nobody is told of alerts, and `voicegw serve` would not start: {error}"]
    except ConfigError as error:
        return list(error.problems), []
    if endpoint is None:
        return [], []
    notes = []
    if not endpoint.secret:
        notes.append(
            f"alerts to {endpoint.host} are not signed, so that anybody could send it some: set "
            "VOICEGW_WEBHOOK_SECRET or `alerts.secret`"
        )
    parts = urlsplit(endpoint.url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        notes.append(
            f"alerts to {endpoint.host} can be read on their way: `alerts.webhook` begins with "
            "http:// and not https://"
        )
    return [], notes


async def _database(config: Config) -> Database:
    """Try to open the ledger, without making one."""
    from ..ledger import make_ledger
    from ..ledger.urls import is_server, without_credentials

    try:
        url = config.database_url
    except VoiceGatewayError as error:
        return Database(None, "failed", str(error))
    shown = without_credentials(url)
    try:
        async with make_ledger(url, read_only=True) as ledger:
            if is_server(url):
                await ledger.projects_version()  # it is asked for the first time only now
    except VoiceGatewayError as error:
        return Database(shown, "failed", str(error))
    if not url.startswith(_SQLITE):
        return Database(shown, "ok")
    path = Path(url.removeprefix(_SQLITE))
    if path.exists():
        if os.access(path, os.W_OK):
            return Database(shown, "ok")
        return Database(shown, "failed", f"{path} is read-only for this user")
    folder = next(parent for parent in path.parents if parent.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return Database(shown, "absent")
    return Database(shown, "failed", f"{path} cannot be made: {folder} is read-only for this user")


def _key(
    provider: str,
    own: ProviderOptions | None,
    shared: ProviderOptions | None,
    env: Mapping[str, str],
) -> Key:
    # as the router decides: a project that names a key of its own has nothing to do with others
    if own is not None and own.unusable:
        return Key(provider, "missing", f"no key: {own.unusable}")
    for options in (own, shared):
        named = [option for option in options.options() if _is_key(option)] if options else []
        if named:
            return _named_key(provider, named, env)
    if provider in _LOCAL:
        return Key(provider, "unneeded", "no key needed")
    variables = KEY_VARIABLES.get(provider, ())
    for variable in variables:
        if value := env.get(variable):
            if fault := fault_of_key("api_key", value):
                return Key(provider, "missing", f"no key: {variable} {fault}")
            return Key(provider, "set", f"key from {variable}")
    if not variables:
        return Key(provider, "unneeded", "no key named")
    return Key(provider, "missing", f"no key: {' or '.join(variables)} is not set")


def _named_key(provider: str, named: Collection[Option], env: Mapping[str, str]) -> Key:
    missing = False
    says = []
    for option in named:
        found, text = _value_of(option, env)
        missing = missing or not found
        says.append(f"{option.modality}: {text}" if option.modality else text)
    return Key(provider, "missing" if missing else "set", "; ".join(says))


def _value_of(option: Option, env: Mapping[str, str]) -> tuple[bool, str]:
    variables = option.value.variables if isinstance(option.value, Template) else ()
    if not isinstance(option.value, Template) or not variables:
        value = option.value.fill({}) if isinstance(option.value, Template) else option.value
        if fault := fault_of_key(option.name, value):
            return False, f"no key: line {option.line} {fault}"
        if not option.line:
            return True, "a key of its own, sealed in the ledger"
        return True, f"key in the file, line {option.line}"
    names = " and ".join(dict.fromkeys(variables))
    try:
        value = option.value.fill(env)
    except UnsetVariableError as error:
        return False, f"no key: {error.variable} is not set"
    if fault := fault_of_key(option.name, value):
        return False, f"no key: {names} {fault}"
    if not any(env.get(name) for name in variables):
        return True, f"key from the default of {names}, line {option.line}"
    return True, f"key from {names}"


def _is_key(option: Option) -> bool:
    return option.name in KEY_ARGUMENTS


def _named_providers(config: Config) -> Iterator[tuple[str, ProviderOptions]]:
    yield from config.providers.items()
    for project in config.projects.values():
        yield from project.providers.items()


def _is_installed(provider: str) -> bool:
    return importlib.util.find_spec(f"livekit.plugins.{provider}") is not None
