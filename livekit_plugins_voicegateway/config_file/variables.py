"""``${VAR}`` and ``${VAR:-default}`` in the strings of voicegw.yaml.

A `Template` is such a string together with the place where it stands, so that a variable which is
not set can be reported when the string is needed, and not before: a laptop that only runs the
development project has no production keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..concealing import HoldsKeys
from ..errors import ConfigError, ConfigProblem, UnsetVariableError

__all__ = ["Template", "has_variables", "is_malformed"]

_VARIABLE = re.compile(
    r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"(?::-(?P<default>(?:[^}$]|\$(?!\{))*))?\}"
)


def has_variables(text: str) -> bool:
    """Return whether ``text`` has something to fill in; a lone ``$`` is only a character."""
    return "${" in text


def is_malformed(text: str) -> bool:
    """Return whether some ``${`` in ``text`` does not begin a variable that can be read."""
    return "${" in _VARIABLE.sub("\0", text)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True, repr=False)
class Template(HoldsKeys):
    """A string of the configuration with variables in it.

    Attributes:
        text: The string as it is written.
        key_path: The key as a user would say it, ``projects.prod.providers.openai.api_key``.
        source: The configuration file's path.
        line: Line in that file, from 1.
    """

    text: str
    key_path: str
    source: str
    line: int

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variables, in the order of the string."""
        return tuple(match["name"] for match in _VARIABLE.finditer(self.text))

    def fill(self, env: Mapping[str, str]) -> str:
        """Return the string with the values of ``env`` in it.

        As in a shell, a default stands in for a variable that is not set or is empty. What comes
        out of a variable is not searched for variables again.

        Raises:
            UnsetVariableError: A variable without a default is not set.
            ConfigError: What a variable holds is no text.
        """

        def value_of(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if default is not None:
                return env.get(name) or default
            if name not in env:
                raise UnsetVariableError(name, self.key_path, self.source, self.line)
            return env[name]

        filled = _VARIABLE.sub(value_of, self.text)
        if not _is_text(filled):
            found, expected = "bytes of the environment that are not UTF-8", "a text"
            raise ConfigError(
                self.source, [ConfigProblem(self.key_path, found, expected, self.line)]
            )
        return filled

    def __repr__(self) -> str:
        # names only: the rest of the string may be part of a key
        return f"<Template {' '.join((self.key_path, *self.variables))}>"
