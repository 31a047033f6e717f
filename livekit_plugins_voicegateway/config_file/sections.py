"""Typed reading of the sections of a configuration, with every fault noted.

A `Reading` is one pass over one file: it gathers the faults, and turns nodes into plain values,
filling in variables. A `Section` is a mapping with known keys; asked for a key that is absent or
wrong it gives the default, so that reading goes on and all faults are reported at once.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar

from ..errors import ConfigError, ConfigProblem, UnsetVariableError, did_you_mean
from .variables import Template, has_variables, is_malformed
from .yaml_reader import Entry, ListNode, MapNode, Node, Scalar, is_number, join_path, shorten

__all__ = ["Reading", "Section"]

C = TypeVar("C", bound=str)

_VARIABLE_SYNTAX: Final = "${NAME} or ${NAME:-default}"
_LARGEST_EXPONENT: Final = 30
_TRUE: Final = frozenset(("true", "yes", "on"))
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

MAX_PROBLEMS: Final = 100
"""Faults after these are only counted; a file with more is no configuration."""


class Reading:
    """One pass over one configuration file.

    Args:
        source: The file's path, for messages.
        env: Environment variables.

    Attributes:
        problems: Every fault found so far.
    """

    def __init__(self, source: str, env: Mapping[str, str]) -> None:
        self.source = source
        self.env = env
        self.problems: list[ConfigProblem] = []
        self.omitted = 0

    def problem(self, path: str, line: int, found: str, expected: str) -> None:
        """Note a fault."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(ConfigProblem(path, found, expected, line))
        else:
            self.omitted += 1

    def add(self, problems: Iterable[ConfigProblem]) -> None:
        """Note faults that something else has found."""
        for problem in problems:
            self.problem(problem.key_path, problem.line, problem.found, problem.expected)

    @property
    def count(self) -> int:
        """How many faults were found so far."""
        return len(self.problems) + self.omitted

    def all_problems(self) -> list[ConfigProblem]:
        """Return the faults in the order of the file, and how many there are beside them."""
        problems = sorted(self.problems, key=lambda problem: problem.line)
        if self.omitted:
            problems.append(ConfigProblem("", f"{self.omitted} more problems", "a configuration"))
        return problems

    def wrong(self, entry: Entry, path: str, expected: str, *, secret: bool = False) -> None:
        """Note that what stands at ``path`` is something else than expected."""
        self.problem(path, entry.line, describe(entry.value, secret=secret), expected)

    def mapping(
        self, entry: Entry | None, path: str, expected: str, *, secret: bool = False
    ) -> Mapping[str, Entry]:
        """Return the entries of a mapping; a key with nothing after it is an empty one."""
        if entry is None or _is_nothing(entry.value):
            return {}
        if isinstance(entry.value, MapNode):
            return entry.value.entries
        self.wrong(entry, path, expected, secret=secret)
        return {}

    def section(
        self, entry: Entry | None, path: str, keys: Sequence[str], *, secret: bool = False
    ) -> Section:
        """Return a mapping with these keys and no other."""
        entries = self.mapping(entry, path, f"a mapping with {', '.join(keys)}", secret=secret)
        for key, value in entries.items():
            if key not in keys:
                # what is near is not looked for once the list is full: it takes its time
                near = did_you_mean(shorten(key), keys).rstrip(".") if not self.omitted else ""
                self.problem(
                    join_path(path, key),
                    value.line,
                    "an unknown key",
                    f"one of {', '.join(keys)}{near}",
                )
        return Section(self, {key: entries[key] for key in keys if key in entries}, path)

    def items(self, entry: Entry, path: str, expected: str) -> list[tuple[Entry, str]]:
        """Return the items of a list, each with its path."""
        if not isinstance(entry.value, ListNode):
            self.wrong(entry, path, expected)
            return []
        return [
            (Entry(item, item.line), f"{path}[{index}]")
            for index, item in enumerate(entry.value.items)
        ]

    def text(
        self, entry: Entry, path: str, expected: str = "text", *, secret: bool = False
    ) -> str | None:
        """Return a text with its variables filled in, or None after noting what is wrong."""
        if not isinstance(entry.value, Scalar) or entry.value.kind != "text":
            kind = entry.value.kind if isinstance(entry.value, Scalar) else None
            if kind in ("number", "boolean") and expected == "text":
                expected = "text, in quotes"
            self.wrong(entry, path, expected, secret=secret)
            return None
        return self.fill(entry.value, path, entry.line)

    def template(self, entry: Entry, path: str, expected: str) -> Template | None:
        """Return a text whose variables are filled when it is needed; it may be a secret."""
        if not isinstance(entry.value, Scalar) or entry.value.kind != "text":
            self.wrong(entry, path, expected, secret=True)
            return None
        if is_malformed(entry.value.text):
            self.problem(path, entry.line, "a ${ that begins no variable", _VARIABLE_SYNTAX)
            return None
        return Template(entry.value.text, path, self.source, entry.line)

    def fill(self, scalar: Scalar, path: str, line: int) -> str | None:
        """Return the text of a scalar with its variables, which must be set, filled in."""
        if not has_variables(scalar.text):
            return scalar.text
        if is_malformed(scalar.text):
            self.problem(path, line, "a ${ that begins no variable", _VARIABLE_SYNTAX)
            return None
        try:
            return Template(scalar.text, path, self.source, line).fill(self.env)
        except ConfigError as error:
            self.add(error.problems)
            return None
        except UnsetVariableError as error:
            self.problem(
                path,
                line,
                f"{shorten(scalar.text)!r}, and {error.variable} is not set",
                f"{error.variable} in the environment, or a default: ${{{error.variable}:-…}}",
            )
            return None

    def number(self, entry: Entry, path: str, expected: str) -> Decimal | None:
        """Return an exact, finite number of sensible size, or None after noting what is wrong."""
        scalar = entry.value
        if isinstance(scalar, Scalar) and scalar.kind == "text" and is_number(scalar.text):
            expected = f"{expected} (without quotes)"
        elif isinstance(scalar, Scalar) and scalar.kind in ("number", "text"):
            text = self.fill(scalar, path, entry.line)
            if text is None:
                return None
            if is_number(text.strip()) and (number := exact(text.strip())) is not None:
                return number
        self.wrong(entry, path, expected)
        return None

    def boolean(self, entry: Entry, path: str) -> bool | None:
        """Return true or false, or None after noting what is wrong."""
        scalar = entry.value
        if isinstance(scalar, Scalar) and (
            scalar.kind == "boolean" or (scalar.kind == "text" and has_variables(scalar.text))
        ):
            text = self.fill(scalar, path, entry.line)
            if text is None:
                return None
            filled = Scalar(text.strip(), entry.line, plain=True)
            if filled.kind == "boolean":
                return filled.text.lower() in _TRUE
        self.wrong(entry, path, "true or false")
        return None

    def price_data(self, entry: Entry, path: str) -> object:
        """Return what stands under ``pricing:`` as plain data: numbers exact, days as dates."""
        node = entry.value
        if isinstance(node, MapNode):
            return {
                key: self.price_data(value, join_path(path, key))
                for key, value in node.entries.items()
            }
        if isinstance(node, ListNode):
            return [self.price_data(item, at) for item, at in self.items(entry, path, "")]
        if node.kind == "nothing":
            return None
        if node.kind == "boolean":
            return node.text.lower() in _TRUE
        if node.kind == "number":
            return exact(node.text) if exact(node.text) is not None else node.text
        if node.plain and _DAY.fullmatch(node.text):
            try:
                return dt.date.fromisoformat(node.text)
            except ValueError:
                return node.text
        return self.fill(node, path, entry.line)

    def option_data(self, entry: Entry, path: str) -> object:
        """Return a provider's option as plain data, with a `Template` for text with variables."""
        node = entry.value
        if isinstance(node, MapNode):
            return {
                key: self.option_data(value, join_path(path, key))
                for key, value in node.entries.items()
            }
        if isinstance(node, ListNode):
            return [self.option_data(item, at) for item, at in self.items(entry, path, "")]
        if node.kind == "nothing":
            return None
        if node.kind == "boolean":
            if node.text.lower() in ("true", "false"):
                return node.text.lower() == "true"
            # `language: no` is Norwegian, `smart_format: no` is false: nobody can tell from here
            expected = f'true or false, or the text "{node.text}" in quotes'
            self.problem(path, entry.line, f"{node.text}, which could be either", expected)
            return None
        if node.kind == "number":
            number = exact(node.text)
            if number is None:
                self.wrong(
                    entry,
                    path,
                    "a finite number of sensible size, or a text in quotes",
                    secret=True,
                )
                return None
            whole = node.text.lstrip("+-").replace("_", "").isdigit()
            return int(number) if whole else float(number)
        return self.template(entry, path, "text") if has_variables(node.text) else node.text


class Section:
    """A mapping of the configuration with known keys.

    Args:
        reading: Gathers the faults.
        entries: What is written, of the known keys.
        path: The key path of the mapping; empty for the whole file.
    """

    def __init__(self, reading: Reading, entries: Mapping[str, Entry], path: str) -> None:
        self.reading = reading
        self.entries = entries
        self.path = path

    def at(self, key: str) -> str:
        """Return the path of a key."""
        return join_path(self.path, key)

    def text(self, key: str, default: str = "") -> str:
        """Return a text, variables filled in."""
        entry = self.entries.get(key)
        text = self.reading.text(entry, self.at(key)) if entry is not None else None
        return default if text is None else text

    def texts(self, key: str, expected: str) -> tuple[str, ...]:
        """Return a list of texts that are not empty."""
        entry = self.entries.get(key)
        if entry is None:
            return ()
        texts = []
        for item, path in self.reading.items(entry, self.at(key), expected):
            text = self.reading.text(item, path)
            if text is not None and not text.strip():
                self.reading.wrong(item, path, "a text that is not empty")
            elif text is not None:
                texts.append(text)
        return tuple(texts)

    def choice(self, key: str, default: C, choices: tuple[C, ...]) -> C:
        """Return one of ``choices``."""
        entry = self.entries.get(key)
        if entry is None:
            return default
        expected = f"one of {', '.join(choices)}"
        text = self.reading.text(entry, self.at(key), expected)
        for choice in choices:
            if text == choice:
                return choice
        if text is not None:
            near = did_you_mean(shorten(text), choices).rstrip(".")
            self.reading.wrong(entry, self.at(key), f"{expected}{near}")
        return default

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        entry = self.entries.get(key)
        value = self.reading.boolean(entry, self.at(key)) if entry is not None else None
        return default if value is None else value

    def integer(self, key: str, default: int, *, lowest: int, highest: int) -> int:
        """Return a whole number from ``lowest`` to ``highest``."""
        entry = self.entries.get(key)
        if entry is None:
            return default
        expected = f"a whole number from {lowest} to {highest}"
        number = self.reading.number(entry, self.at(key), expected)
        if number is None:
            return default
        if not lowest <= number <= highest or number % 1:
            self.reading.wrong(entry, self.at(key), expected)
            return default
        return int(number)


def describe(node: Node, *, secret: bool = False) -> str:
    """Say what stands there, for a message.

    Args:
        node: What stands there.
        secret: Whether it may be a key: then only its kind is said.
    """
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node.kind == "nothing":
        return "nothing"
    if secret:
        return {"text": "a text", "number": "a number", "boolean": "a boolean"}[node.kind]
    shown = shorten(node.text)
    if node.kind == "text" and has_variables(node.text):
        return f"what the environment gives for {shown!r}"
    return {
        "text": f"the text {shown!r}",
        "number": f"the number {shown}",
        "boolean": f"the boolean {shown}",
    }[node.kind]


def exact(text: str) -> Decimal | None:
    """Return a number exactly; None when it is not finite or of no sensible size."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > _LARGEST_EXPONENT:
        return None
    return number if abs(exponent) <= _LARGEST_EXPONENT else None


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "nothing"
