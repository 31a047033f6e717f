"""Every exception that VoiceGateway raises, and how they are related.

VoiceGatewayError
├── ConfigError                    voicegw.yaml is wrong: all its faults at once
├── UnsetVariableError             a value names ${VAR}, and VAR is not set
├── UnknownProjectError
│   └── NoProjectChosenError       nothing says which project a request belongs to
├── ProjectExistsError             a project made at run time needs an id of its own
├── NotManagedError                a project of voicegw.yaml is changed there, not at run time
├── SecretKeyError                 provider keys cannot be sealed or opened: VOICEGW_SECRET_KEY
├── UnknownModelError              not "provider/model", or no such model class
├── ProviderNotInstalledError      the LiveKit plugin is missing: says the pip install
├── UnpricedModelError             nobody knows its price, and `unpriced: block` is set
├── MissingCredentialsError        no key for a provider: says where one can be put
├── WeightsMissingError            a local model's files are not on this machine
├── WeightsDownloadError           they could not be fetched, or came damaged
├── InvalidQueryError              a report was asked for with values that cannot be: all of them
├── UnknownCallError               no request was recorded in this room
├── OutboxError                    usage cannot be put aside on this host
└── LedgerError                    the database cannot be opened, read or written
    └── RowsRefusedError           it does not take a row because of what is in it

This module imports nothing of livekit-agents, so that the command line can show any of them.
Each message says what was found and how to mend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "InvalidQueryError",
    "LedgerError",
    "OutboxError",
    "MissingCredentialsError",
    "NoProjectChosenError",
    "NotManagedError",
    "ProjectExistsError",
    "ProviderNotInstalledError",
    "QueryProblem",
    "RowsRefusedError",
    "SecretKeyError",
    "UnknownCallError",
    "UnknownModelError",
    "UnknownProjectError",
    "UnpricedModelError",
    "UnsetVariableError",
    "VoiceGatewayError",
    "WeightsDownloadError",
    "WeightsMissingError",
    "did_you_mean",
]


_MAKE_A_KEY: Final = (
    "make one with `python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'`, and give it to the server and to every worker"
)


_MOST_PROBLEMS: Final = 100
"""Wrong values that are named; nobody reads more, and somebody may send a hundred thousand."""


class VoiceGatewayError(Exception):
    """Base of every exception of VoiceGateway; its text is fit to be shown to a user."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One fault of a configuration file.

    Attributes:
        key_path: The key as a user would say it, ``projects.prod.daily_budget``; empty for the
            file as a whole.
        found: What stands there, shortened; never the text of a key or token.
        expected: What would be right there.
        line: Line in the file, from 1; 0 when there is no file.
    """

    key_path: str
    found: str
    expected: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        path = f"{self.key_path}: " if self.key_path else ""
        return f"{where}{path}found {self.found}; expected {self.expected}"


class ConfigError(VoiceGatewayError):
    """A configuration is wrong. Lists every fault, each with line and key path.

    Args:
        source: The file's path, or another name of where the configuration came from.
        problems: All faults, in the order of the file.
    """

    def __init__(self, source: str, problems: Sequence[ConfigProblem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source} has {count}:\n{lines}")


class UnsetVariableError(VoiceGatewayError):
    """A value of the configuration names an environment variable that is not set.

    Args:
        variable: Name of the environment variable.
        key_path: Where in the configuration it is named.
        source: The configuration file's path.
        line: Line in that file, from 1.
    """

    def __init__(self, variable: str, key_path: str, source: str, line: int) -> None:
        self.variable = variable
        self.key_path = key_path
        self.source = source
        self.line = line
        super().__init__(
            f"{key_path} needs the environment variable {variable}, which is not set "
            f"({source} line {line})"
        )


class UnknownProjectError(VoiceGatewayError):
    """No project has this id. Names the known ones."""

    def __init__(self, project: str, known: Iterable[str]) -> None:
        self.project = project
        self.known = tuple(sorted(known))
        super().__init__(
            f"there is no project {project!r}{did_you_mean(project, self.known)} "
            f"Known projects: {', '.join(self.known)}. Add it under `projects:` in voicegw.yaml."
        )


class NoProjectChosenError(UnknownProjectError):
    """Nothing says which project a request belongs to. Names the ways to say it."""

    def __init__(self, known: Iterable[str]) -> None:
        self.project = "default"
        self.known = tuple(sorted(known))
        VoiceGatewayError.__init__(
            self,
            "no project was chosen, and there is none called 'default': pass project=, call "
            "set_project(), set VOICEGW_PROJECT, or write `default_project:` into voicegw.yaml. "
            f"Known projects: {', '.join(self.known)}.",
        )


class ProjectExistsError(VoiceGatewayError):
    """A project cannot be made, because there is one with its id. Says where.

    Args:
        project: The id.
        where: ``/etc/voicegw.yaml line 9``; empty when that one was made at run time, too.
    """

    def __init__(self, project: str, where: str = "") -> None:
        self.project = project
        self.where = where
        defined = f", defined in {where}" if where else ""
        super().__init__(
            f"there is a project {project!r} already{defined}: choose another id"
            f"{'' if where else ', or change that one'}."
        )


class NotManagedError(VoiceGatewayError):
    """A project that was not made at run time cannot be changed or deleted at run time.

    Args:
        project: The id.
        where: ``/etc/voicegw.yaml line 9``; empty for the project that there is without a file.
    """

    def __init__(self, project: str, where: str = "") -> None:
        self.project = project
        self.where = where
        if where:
            message = f"project {project!r} is defined in {where}: change it there."
        else:
            message = (
                f"project {project!r} is there as long as no configuration names a project: "
                "create one with this id to give it a budget or keys."
            )
        super().__init__(message)


class SecretKeyError(VoiceGatewayError):
    """Provider keys of projects made at run time cannot be sealed, or not opened.

    Args:
        reason: What is wrong with ``VOICEGW_SECRET_KEY``.
        remedy: What mends it; how to make a key when left out.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {remedy or _MAKE_A_KEY}")


class UnknownModelError(VoiceGatewayError):
    """A model string names nothing that can be built. The message says the nearest names."""


class ProviderNotInstalledError(VoiceGatewayError):
    """The provider's LiveKit plugin is not installed. The message says the ``pip install``."""

    def __init__(self, provider: str, requirement: str) -> None:
        self.provider = provider
        self.requirement = requirement
        super().__init__(
            f"the plugin for {provider!r} is not installed: run `pip install {requirement}`"
        )


class UnpricedModelError(VoiceGatewayError):
    """Nobody knows what a model costs, and the configuration forbids such models."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"no price is known for {model!r}, and `cost_tracking.unpriced: block` forbids such "
            "models: put its price under `pricing:` in voicegw.yaml"
        )


class MissingCredentialsError(VoiceGatewayError):
    """A project has no key for a provider. The message says where to put one."""

    def __init__(self, project: str, provider: str, reason: str) -> None:
        self.project = project
        self.provider = provider
        super().__init__(f"project {project!r} has no key for {provider!r}: {reason}")


class WeightsMissingError(VoiceGatewayError):
    """Files of a local model are not on this machine. Names them, and the command that helps.

    Args:
        model: The model as it is asked for, ``local/whisper-base``.
        missing: The files, each with the place where it was looked for.
    """

    def __init__(self, model: str, missing: Sequence[str]) -> None:
        self.model = model
        self.missing = tuple(missing)
        super().__init__(
            f"{model} has no weights on this machine: {'; '.join(self.missing)}. "
            "Run `voicegw download-files`."
        )


class WeightsDownloadError(VoiceGatewayError):
    """Files of a local model could not be fetched, or came damaged. Says whence and why."""


@dataclass(frozen=True, slots=True)
class QueryProblem:
    """One wrong value of a question to the reports.

    Attributes:
        field: Name of the argument, as in the HTTP API.
        found: What was given, shortened.
        expected: What would be right there.
    """

    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; expected {self.expected}"


class InvalidQueryError(VoiceGatewayError):
    """A report was asked for with values that cannot be. Names every wrong field.

    Args:
        problems: All wrong values, in the order of the arguments; those after the first hundred
            are only counted.
    """

    def __init__(self, problems: Sequence[QueryProblem]) -> None:
        self.problems = tuple(problems[:_MOST_PROBLEMS])
        if omitted := len(problems) - len(self.problems):
            more = QueryProblem("", f"{omitted} more wrong values", "what is said of the others")
            self.problems += (more,)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class UnknownCallError(VoiceGatewayError):
    """No request was recorded in this room, or all of them have been deleted by retention."""

    def __init__(self, room: str) -> None:
        self.room = room
        super().__init__(
            f"no request was recorded in room {room!r}. `voicegw calls` lists the rooms; single "
            "requests are deleted after `cost_tracking.retention_days`."
        )


class LedgerError(VoiceGatewayError):
    """The ledger's database cannot be opened, read or written. Says which file, and why."""


class RowsRefusedError(LedgerError):
    """A ledger that works does not take rows because of what is in them. Says what that is.

    None of the rows was written. Without the ones that it means the others can be.
    """


class OutboxError(VoiceGatewayError):
    """Usage cannot be put aside on this host, or what waits cannot be read. Says where and why."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or ``"."`` when nothing known is near to ``name``."""
    import difflib  # 5 ms, which a command that finds no fault need not wait for

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    near = near or [other for other in names if name in other.split("_")][:2]  # url: base_url
    if not near:
        return "."
    return f"; did you mean {' or '.join(repr(n) for n in near)}?"
