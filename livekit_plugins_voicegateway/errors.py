"""Every exception that VoiceGateway raises, and how they are related.

VoiceGatewayError
├── ConfigError                    voicegw.yaml is wrong: all its faults at once
├── UnsetVariableError             a value names ${VAR}, and VAR is not set
├── UnknownProjectError
├── UnknownModelError              not "provider/model", or no such model class
├── ProviderNotInstalledError      the LiveKit plugin is missing: says the pip install
├── MissingCredentialsError        no key for a provider: says where one can be put
└── LedgerError                    the database cannot be opened, read or written

This module imports nothing of livekit-agents, so that the command line can show any of them.
Each message says what was found and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "LedgerError",
    "MissingCredentialsError",
    "ProviderNotInstalledError",
    "UnknownModelError",
    "UnknownProjectError",
    "UnsetVariableError",
    "VoiceGatewayError",
    "did_you_mean",
]


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


class MissingCredentialsError(VoiceGatewayError):
    """A project has no key for a provider. The message says where to put one."""

    def __init__(self, project: str, provider: str, reason: str) -> None:
        self.project = project
        self.provider = provider
        super().__init__(f"project {project!r} has no key for {provider!r}: {reason}")


class LedgerError(VoiceGatewayError):
    """The ledger's database cannot be opened, read or written. Says which file, and why."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or ``"."`` when nothing known is near to ``name``."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    if not near:
        return "."
    return f"; did you mean {' or '.join(repr(n) for n in near)}?"
