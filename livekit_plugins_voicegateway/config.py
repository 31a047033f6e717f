"""voicegw.yaml -> `Config`: where the file is looked for, and what a configuration means.

`load_config` reads the file once, when the gateway, the command line or the server starts. What may
stand in the file is described by `config_file.schema`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from .concealing import environment
from .config_file.variables import Template
from .days import Days
from .errors import ConfigError, ConfigProblem, UnknownProjectError, VoiceGatewayError
from .projects import DEFAULT_PROJECT, Fallback, Project
from .provider_options import ProviderOptions, normalise_ollama_url

if TYPE_CHECKING:
    from .alerts.endpoint import Endpoint
    from .pricing.spec import PriceSpec

__all__ = [
    "Alerts",
    "Config",
    "CostTracking",
    "Fallback",
    "LedgerFailureAction",
    "ProviderOptions",
    "Server",
    "UnpricedAction",
    "database_problem",
    "load_config",
    "normalise_ollama_url",
    "webhook_problem",
    "webhook_secret_problem",
    "write_starter",
]

UnpricedAction = Literal["allow", "block"]
LedgerFailureAction = Literal["allow", "throttle", "block"]

_FILE_NAME: Final = "voicegw.yaml"
_APP_NAME: Final = "voicegateway"
_SQLITE: Final = "sqlite:///"
_POSTGRESQL: Final = "postgresql://"
_POSTGRES: Final = ("postgres://", _POSTGRESQL)
_HTTP: Final = ("https://", "http://")
_WORKERS_VARIABLE: Final = "${VOICEGW_INGEST_TOKEN:-}"

_MAX_BYTES: Final = 1 << 20
"""Largest file that is read; a configuration of a hundred projects has some 50 kB."""


@dataclass(frozen=True, slots=True)
class CostTracking:
    """``cost_tracking``: what is metered, and what happens when money cannot be counted.

    Attributes:
        enabled: False for no metering and no budgets, only routing.
        unpriced: Whether a model whose price nobody knows may be used.
        on_ledger_failure: What a project with a budget does when its spend cannot be known.
        retention_days: Days that single requests are kept; daily totals stay for ever.
    """

    enabled: bool = True
    unpriced: UnpricedAction = "allow"
    on_ledger_failure: LedgerFailureAction = "throttle"
    retention_days: int = 400


@dataclass(frozen=True, slots=True)
class Server:
    """``server``: where ``voicegw serve`` listens, and who may ask.

    Attributes:
        host: Address to listen on.
        port: TCP port to listen on.
        token_text: The token as in the file; ask `token`.
        ingest_token_text: The token of workers as in the file; ask `ingest_token`.
        env: Environment variables that the tokens are filled from.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token_text: Template = field(
        default=Template("${VOICEGW_TOKEN:-}", "server.token", "", 0), repr=False
    )
    ingest_token_text: Template = field(
        default=Template(_WORKERS_VARIABLE, "server.ingest_token", "", 0), repr=False
    )
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)

    @property
    def token(self) -> str | None:
        """The token that a request must carry; None when none is needed.

        Raises:
            UnsetVariableError: It needs an environment variable that is not set.
        """
        return self.token_text.fill(self.env) or None

    @property
    def ingest_token(self) -> str | None:
        """The token with which workers record usage, and do nothing else; None without one.

        Raises:
            UnsetVariableError: It needs an environment variable that is not set.
        """
        return self.ingest_token_text.fill(self.env) or None


@dataclass(frozen=True, slots=True)
class Alerts:
    """``alerts``: who is told when money runs out, a price is unknown or the ledger fails.

    Attributes:
        webhook_text: The address as in the file; None to tell nobody. Ask `endpoint`.
        secret_text: What messages are signed with, as in the file.
        env: Environment variables that both are filled from.
    """

    webhook_text: Template | None = field(default=None, repr=False)
    secret_text: Template = field(
        default=Template("${VOICEGW_WEBHOOK_SECRET:-}", "alerts.secret", "", 0), repr=False
    )
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where alerts go; None when nobody is told.

        Raises:
            UnsetVariableError: It needs an environment variable that is not set.
            ConfigError: What a variable holds is no address, or no secret.
        """
        url = self.webhook_text.fill(self.env) if self.webhook_text is not None else ""
        if self.webhook_text is None or not url:
            return None
        from .alerts.endpoint import Endpoint

        secret = self.secret_text.fill(self.env)
        wrong = [
            problem
            for problem in (
                webhook_problem(url, self.webhook_text),
                webhook_secret_problem(secret, self.secret_text),
            )
            if problem is not None
        ]
        if wrong:
            raise ConfigError(self.webhook_text.source, wrong)
        return Endpoint(url, secret)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. ``Config()`` is what there is without a file.

    Attributes:
        path: The file it was read from, absolute; None without one.
        default_project: As in the file; `projects.resolve_project` says which project is active.
        timezone: Where a budget's day begins and ends.
        projects: By id; ``default`` alone when the file has none.
        providers: The top-level options by provider.
        fallback: The top-level fallback models; each `Project` has its own, merged.
        pricing: The top-level rates by model.
        cost_tracking: What is metered.
        server: Where ``voicegw serve`` listens.
        alerts: Who is told when money runs out.
        database_text: The ledger's URL as in the file; None for the default. Ask `database_url`.
        database_token_text: The token for a server that keeps the ledger, as in the file.
        outbox_text: The folder of the outbox as in the file; None for the default. Ask
            `outbox_folders`.
        env: Environment variables, for what is resolved when it is asked for.
        days: The calendar of `timezone`.
    """

    path: Path | None = None
    default_project: str | None = None
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    projects: Mapping[str, Project] = field(
        default_factory=lambda: {DEFAULT_PROJECT: Project(DEFAULT_PROJECT)}
    )
    providers: Mapping[str, ProviderOptions] = field(default_factory=dict)
    fallback: Fallback = field(default_factory=Fallback)
    pricing: Mapping[str, tuple[PriceSpec, ...]] = field(default_factory=dict)
    cost_tracking: CostTracking = field(default_factory=CostTracking)
    server: Server = field(default_factory=Server)
    alerts: Alerts = field(default_factory=Alerts)
    database_text: Template | None = field(default=None, repr=False)
    database_token_text: Template = field(
        default=Template(_WORKERS_VARIABLE, "database.token", "", 0), repr=False
    )
    outbox_text: Template | None = field(default=None, repr=False)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)
    days: Days = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "days", Days(self.timezone))

    @property
    def database_url(self) -> str:
        """The ledger's URL, ``VOICEGW_DATABASE_URL`` before the file's. A SQLite path is absolute;
        a server's has the token in it, as a PostgreSQL server's the password; its scheme is
        ``postgresql``, however it was written.

        Raises:
            UnsetVariableError: The file's URL needs an environment variable that is not set.
            ConfigError: What a variable holds is no database URL.
        """
        override = self.env.get("VOICEGW_DATABASE_URL")
        if override:
            url, problem = override, database_problem(override)
        elif self.database_text is not None:
            url = self.database_text.fill(self.env)
            problem = database_problem(url, self.database_text)
        else:
            import platformdirs

            folder = Path(platformdirs.user_data_dir(_APP_NAME))
            return f"{_SQLITE}{(folder / 'voicegw.db').as_posix()}"
        if problem is not None:
            raise ConfigError(str(self.path or "the environment"), [problem])
        if url.startswith(_HTTP):
            from .ledger.urls import with_token

            return with_token(url, self.database_token_text.fill(self.env))
        if url.startswith(_POSTGRES):
            # one name for one database: its outbox is named after it
            return _POSTGRESQL + url.partition("://")[2]
        folder = self.path.parent if self.path is not None else Path.cwd()
        file = folder / os.path.expanduser(url.removeprefix(_SQLITE))
        return f"{_SQLITE}{file.as_posix()}"

    @property
    def has_remote_ledger(self) -> bool:
        """Whether the ledger is a server's, so that each host sends usage on from its outbox.

        Raises:
            UnsetVariableError, ConfigError: As `database_url`.
        """
        return not self.database_url.startswith(_SQLITE)

    @property
    def outbox_folders(self) -> tuple[Path, ...]:
        """Where usage waits while the ledger cannot be written: in the first that can be used.

        Raises:
            UnsetVariableError: The folder needs an environment variable that is not set.
        """
        if self.outbox_text is not None:
            beside = self.path.parent if self.path is not None else Path.cwd()
            return (beside / os.path.expanduser(self.outbox_text.fill(self.env)),)
        import tempfile

        import platformdirs

        user = os.getuid() if hasattr(os, "getuid") else "user"
        return (
            Path(platformdirs.user_state_dir(_APP_NAME)),
            Path(tempfile.gettempdir(), f"{_APP_NAME}-{user}"),
        )

    def project(self, project_id: str) -> Project:
        """Return a project.

        Raises:
            UnknownProjectError: There is no such project; names the known ones.
        """
        if project_id not in self.projects:
            raise UnknownProjectError(project_id, self.projects)
        return self.projects[project_id]

    def with_projects(self, managed: Iterable[Project]) -> Config:
        """Return this configuration with projects made at run time beside those of the file.

        The file's project wins over one of the same id. The project ``default`` that there is when
        the file has none stands in no file, so it gives way.

        Args:
            managed: The projects made at run time.
        """
        added = {p.id: p for p in managed if not self.defines(p.id)}
        return replace(self, projects={**self.projects, **added})

    def defines(self, project_id: str) -> bool:
        """Return whether the configuration file has a project with this id."""
        project = self.projects.get(project_id)
        return project is not None and project.source == "yaml" and project.line > 0

    def provider_options(self, project_id: str, provider: str) -> ProviderOptions | None:
        """Return what the file says of a provider for a project: its own options over the shared.

        Raises:
            UnknownProjectError: There is no such project; names the known ones.
        """
        shared = self.providers.get(provider)
        own = self.project(project_id).providers.get(provider)
        return shared if own is None else own.over(shared)


def load_config(path: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration.

    Looked for in this order: ``path``, the file that ``VOICEGW_CONFIG`` names, ``voicegw.yaml`` in
    the working directory, ``voicegw.yaml`` in the user's configuration directory. Without any of
    them there is one project ``default``, with no budget.

    Args:
        path: A file; it must exist.
        env: Environment variables.

    Raises:
        ConfigError: The file cannot be read, or is wrong; names all its faults.
    """
    env = environment(env)
    found = _find(path, env)
    override = env.get("VOICEGW_DATABASE_URL")
    problem = database_problem(override) if override else None
    problems = [problem] if problem is not None else []
    if found is None:
        config, source = Config(server=Server(env=env), env=env), "the environment"
    else:
        # not imported without a file, nor by who needs the values only: YAML takes 25 ms
        from .config_file.schema import read_config

        file, data = found
        config, in_file = read_config(data, file, env)
        problems += in_file
        source = str(file)
    if problems:
        raise ConfigError(source, problems)
    return config


def database_problem(url: str, text: Template | None = None) -> ConfigProblem | None:
    """Return what is wrong with a database's URL, or None. Shows no more of it than the scheme.

    Args:
        url: The URL, variables filled in.
        text: Where it stands; None for ``VOICEGW_DATABASE_URL``.
    """
    expected = "sqlite:///voicegw.db, postgresql://user@host/name or https://host"
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.isalpha():
        found = "a text that is no URL"
    elif url.startswith(_SQLITE):
        name = url.removeprefix(_SQLITE)
        if name and name != ":memory:" and not name.endswith("/") and "?" not in name:
            return None
        found, expected = "a SQLite URL without a file", f"{_SQLITE}voicegw.db"
        if "?" in name:
            found = "a SQLite URL with options"
    elif url.startswith(_POSTGRES) and rest.strip("/"):
        return None
    elif url.startswith(_HTTP):
        wrong = _server_problem(url)
        if wrong is None:
            return None
        found, expected = wrong
    elif scheme == "sqlite":
        found, expected = "two slashes", "three: sqlite:///voicegw.db, or four before a whole path"
    else:
        found = f"a URL that begins with {scheme}://"
    if text is None:
        return ConfigProblem("VOICEGW_DATABASE_URL", found, expected)
    return ConfigProblem(text.key_path, found, expected, text.line)


def _server_problem(url: str) -> tuple[str, str] | None:
    """What is wrong with the URL of a server that keeps the ledger, and what would be right."""
    from .server.hosts import is_loopback

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return "a URL without a host", "https://voicegw.example.com"
    if "@" in parts.netloc:
        return "a URL with a user or a token", "https://host; the token goes into database.token"
    if parts.query or parts.fragment:
        return "a URL with a query", "https://voicegw.example.com"
    if parts.scheme == "http" and not is_loopback(host):
        return "http:// to another machine, where the token can be read on its way", "https://"
    return None


def webhook_problem(url: str, text: Template) -> ConfigProblem | None:
    """Return what is wrong with a webhook's address, or None. Shows no more than the scheme.

    Args:
        url: The address, variables filled in.
        text: Where it stands.
    """
    from .alerts.endpoint import url_problem

    found = url_problem(url)
    if found is None:
        return None
    return ConfigProblem(text.key_path, found, "https://hooks.example.com/…", text.line)


def webhook_secret_problem(secret: str, text: Template) -> ConfigProblem | None:
    """Return what is wrong with a webhook's secret, or None. Shows nothing of it.

    Args:
        secret: The secret, variables filled in.
        text: Where it stands.
    """
    from .alerts.endpoint import secret_problem

    found = secret_problem(secret)
    if found is None:
        return None
    expected = "whsec_ and base64, or a text without whsec_"
    return ConfigProblem(text.key_path, found, expected, text.line)


def write_starter(path: Path) -> Path:
    """Write a commented configuration to start from.

    Args:
        path: Where; must not exist.

    Returns:
        The file that was written, absolute.

    Raises:
        VoiceGatewayError: The file exists, or cannot be written.
    """
    starter = Path(__file__).with_name("starter.yaml").read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8", opener=_for_us_only) as file:
            file.write(starter)
    except FileExistsError:
        raise VoiceGatewayError(
            f"{path} exists, and was left as it is. Name another file, or move this one away."
        ) from None
    except OSError as error:
        raise VoiceGatewayError(f"{path} cannot be written: {error.strerror}.") from None
    return path.absolute()


def _find(path: Path | None, env: Mapping[str, str]) -> tuple[Path, bytes] | None:
    """Return the configuration file and its content, or None when there is none."""
    if path is not None:
        return _read(path, "a configuration; `voicegw init` writes one to start from")
    if named := env.get("VOICEGW_CONFIG"):
        return _read(
            Path(os.path.expanduser(named)),
            "the file that VOICEGW_CONFIG names: correct the variable, or unset it",
        )
    if (file := _read(Path(_FILE_NAME))) is not None:
        return file
    import platformdirs

    return _read(Path(platformdirs.user_config_dir(_APP_NAME), _FILE_NAME))


def _read(path: Path, expected: str | None = None) -> tuple[Path, bytes] | None:
    """Read a file; one that need not exist has nothing ``expected`` of it."""
    try:
        with path.open("rb") as file:
            # never all of it: somebody may name a device
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if expected is None:
            return None
        found = "no such file"
    except (OSError, ValueError) as error:
        found = f"what cannot be read ({getattr(error, 'strerror', None) or error})"
        expected = "a file that can be read"
    else:
        if len(data) <= _MAX_BYTES:
            return path, data
        found, expected = "a larger file", f"one of at most {_MAX_BYTES} bytes"
    raise ConfigError(str(path), [ConfigProblem("", found, expected)])


def _for_us_only(path: str, flags: int) -> int:
    # keys may be written into it
    return os.open(path, flags, 0o600)
