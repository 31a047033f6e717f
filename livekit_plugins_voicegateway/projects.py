"""Projects, and which of them is active.

A project says whose keys pay, how much a day may cost, and what happens then. Which project a
request belongs to is decided by `resolve_project`; what `set_project` and `use_project` choose is
kept in one context variable, so that tasks beside each other never see each other's choice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from .errors import NoProjectChosenError, UnknownProjectError
from .metering.usage import NANOS_PER_DOLLAR

if TYPE_CHECKING:
    from .config import Config
    from .metering.usage import Modality
    from .pricing.spec import PriceSpec
    from .provider_options import ProviderOptions

__all__ = [
    "DEFAULT_PROJECT",
    "PROJECT_ID",
    "Accent",
    "BudgetAction",
    "Fallback",
    "Project",
    "get_project",
    "resolve_project",
    "set_project",
    "use_project",
]

BudgetAction = Literal["warn", "throttle", "block"]
Accent = Literal["green", "yellow", "blue", "pink"]

DEFAULT_PROJECT: Final = "default"
"""The project of a request for which none was chosen, and the only one without a configuration."""

PROJECT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a project's id looks like: it stands in URLs, on command lines and in the ledger."""

_ACCENTS: Final[tuple[tuple[str, Accent], ...]] = (
    ("prod", "green"),
    ("stag", "yellow"),
    ("dev", "blue"),
    ("test", "blue"),
)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The models that take over when a budget is spent and its action is ``throttle``.

    Attributes:
        stt: Model string, or None to never swap.
        llm: Model string, or None to never swap.
        tts: Model string, or None to never swap.
    """

    stt: str | None = "local/whisper-large-v3"
    llm: str | None = "ollama/qwen2.5:3b"
    tts: str | None = "local/kokoro"

    def model(self, modality: Modality) -> str | None:
        """Return the model that takes over for ``modality``, or None to never swap."""
        if modality == "stt":
            return self.stt
        return self.llm if modality == "llm" else self.tts


@dataclass(frozen=True, slots=True)
class Project:
    """One project: who pays, how much a day may cost, and what happens then.

    Attributes:
        id: As in ``projects:``, ``prod``.
        name: For people; the id when none is given.
        description: For people.
        daily_budget: Dollars per calendar day; None for no limit, 0 for nothing at all.
        budget_action: What happens when the day's money is spent.
        tags: The first one chooses the accent.
        providers: This project's own provider options by provider; they go before the top-level
            ones. `Config.provider_options` gives both together.
        fallback: Which models take over; the top-level ones are merged in already.
        pricing: Negotiated rates by model, before the top-level ones.
        source: ``yaml`` when it stands in voicegw.yaml, ``managed`` when in the database.
        line: Line of its key in voicegw.yaml; 0 when it does not stand there.
    """

    id: str
    name: str = ""
    description: str = ""
    daily_budget: Decimal | None = None
    budget_action: BudgetAction = "warn"
    tags: tuple[str, ...] = ()
    providers: Mapping[str, ProviderOptions] = field(default_factory=dict)
    fallback: Fallback = field(default_factory=Fallback)
    pricing: Mapping[str, tuple[PriceSpec, ...]] = field(default_factory=dict)
    source: Literal["yaml", "managed"] = "yaml"
    line: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.id)

    @property
    def budget_nanos(self) -> int | None:
        """The daily budget in nano-dollars; None for no limit."""
        return None if self.daily_budget is None else int(self.daily_budget * NANOS_PER_DOLLAR)

    @property
    def accent(self) -> Accent:
        """Colour by the first tag: production green, staging yellow, development or tests blue."""
        tag = self.tags[0].lower() if self.tags else ""
        return next((accent for part, accent in _ACCENTS if part in tag), "pink")


_chosen: ContextVar[str | None] = ContextVar("voicegateway_project", default=None)


def get_project() -> str | None:
    """Return the project that was chosen in this context, or None when none was."""
    return _chosen.get()


def set_project(project_id: str, known: Collection[str]) -> None:
    """Choose the project for this context, and for the tasks that it starts from now on.

    Args:
        project_id: Id of a project.
        known: The ids there are.

    Raises:
        UnknownProjectError: There is no such project.
    """
    _chosen.set(_checked(project_id, known))


@contextlib.contextmanager
def use_project(project_id: str, known: Collection[str]) -> Iterator[None]:
    """Choose a project for a ``with`` block; the previous choice comes back afterwards.

    Args:
        project_id: Id of a project.
        known: The ids there are.

    Raises:
        UnknownProjectError: There is no such project.
    """
    previous = _chosen.get()
    _chosen.set(_checked(project_id, known))
    try:
        yield
    finally:
        # set, not reset: a block may be left in another context than it was entered in
        _chosen.set(previous)


def resolve_project(argument: str | None, config: Config, env: Mapping[str, str]) -> str:
    """Return the project that a request belongs to.

    The first of these: ``argument``, what was chosen in this context, ``VOICEGW_PROJECT``,
    ``default_project``, the project ``default``.

    Args:
        argument: The ``project=`` argument, or the project that a model object was made for.
        config: Knows the projects and ``default_project``.
        env: Environment variables.

    Raises:
        UnknownProjectError: What came first names no project.
        NoProjectChosenError: Nothing names a project, and there is none called ``default``.
    """
    wanted = argument if argument is not None else _chosen.get()
    if wanted is None:
        wanted = env.get("VOICEGW_PROJECT") or config.default_project
    if wanted is not None:
        return _checked(wanted, config.projects)
    if DEFAULT_PROJECT not in config.projects:
        raise NoProjectChosenError(config.projects)
    return DEFAULT_PROJECT


def _checked(project_id: str, known: Collection[str]) -> str:
    if not isinstance(project_id, str):
        raise TypeError(f"a project is named by its id, a str, not by {project_id!r}")
    if project_id not in known:
        raise UnknownProjectError(project_id, known)
    return project_id
