"""YAML with line numbers, read strictly: `read_yaml` turns bytes into nodes.

A node knows the line it stands on, and a scalar keeps the text as it was written, so that a price
never passes through a float and a fault can be shown where it is. What is easily misread is
refused: duplicate keys, tags, merge keys, more than one document. So is what could be a trap for
the reader itself: nesting, values or aliases without measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import yaml

from ..errors import ConfigProblem

__all__ = [
    "Entry",
    "ListNode",
    "MapNode",
    "Node",
    "Scalar",
    "ScalarKind",
    "is_number",
    "join_path",
    "read_yaml",
    "shorten",
]

MAX_NODES: Final = 50_000
"""Most values in a file, those that aliases repeat included."""

MAX_DEPTH: Final = 24
"""Deepest nesting; it keeps every walk over the nodes far from the recursion limit."""

ScalarKind = Literal["text", "number", "boolean", "nothing"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NUMBER: Final = re.compile(
    r"[-+]?((0|[1-9][0-9]*(_[0-9]+)*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_BOOLEAN: Final = frozenset(
    spelling
    for word in ("true", "false", "yes", "no", "on", "off")
    for spelling in (word, word.capitalize(), word.upper())
)
_NOTHING: Final = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value without parts.

    Attributes:
        text: As it is written, without quotes.
        line: From 1.
        plain: Whether it is written without quotes.
    """

    text: str = field(repr=False)  # may be a key
    line: int
    plain: bool

    @property
    def kind(self) -> ScalarKind:
        """What YAML takes it for; anything in quotes is text."""
        if not self.plain:
            return "text"
        if self.text in _NOTHING:
            return "nothing"
        if self.text in _BOOLEAN:
            return "boolean"
        return "number" if is_number(self.text) else "text"


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list of values."""

    items: tuple[Node, ...]
    line: int


class Entry(NamedTuple):
    """A value of a mapping, and the line of its key."""

    value: Node
    line: int


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping; its keys are texts, in the order of the file."""

    entries: Mapping[str, Entry]
    line: int


Node = Scalar | ListNode | MapNode


def read_yaml(data: bytes) -> tuple[Node | None, list[ConfigProblem]]:
    """Read one YAML document.

    Args:
        data: UTF-8, with or without a byte order mark.

    Returns:
        The document, and everything that is wrong with it as YAML. The document is None when it is
        empty, and when it is too wrong to go on with.
    """
    text, problem = _decode(data)
    if problem is not None:
        return None, [problem]
    composer = _Composer(text)
    return composer.compose(), composer.problems


def is_number(text: str) -> bool:
    """Return whether YAML takes ``text`` for a number, ``.inf`` and ``.nan`` included.

    Decimal ones only: a leading zero, ``0x1f`` and ``1:30`` are other numbers to other readers.
    """
    return _NUMBER.fullmatch(text) is not None


def join_path(path: str, key: str) -> str:
    """Return the path of ``key`` in the mapping at ``path``, as a user would say it."""
    return f"{path}.{shorten(key)}" if path else shorten(key)


def shorten(text: str, length: int = 60) -> str:
    """Return ``text`` on one line and with at most ``length`` characters, to be shown."""
    text = "".join(character if character.isprintable() else "?" for character in text[:length])
    return text if len(text) < length else f"{text[: length - 1]}…"


def _decode(data: bytes) -> tuple[str, ConfigProblem | None]:
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    # outside of the handler: the exception carries the whole file, keys and all
    return "", ConfigProblem("", "bytes that are not UTF-8", "a file saved as UTF-8", line)


class _Unreadable(Exception):
    """Reading cannot go on after this problem."""

    def __init__(self, problem: ConfigProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Anchored(NamedTuple):
    node: Node
    size: int
    height: int


class _Composer:
    """Makes nodes of the parser's events; PyYAML's own composer knows no limits."""

    def __init__(self, text: str) -> None:
        self.problems: list[ConfigProblem] = []
        self._text = text
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Anchored] = {}
        self._size = 0

    def compose(self) -> Node | None:
        try:
            return self._document()
        except yaml.YAMLError as error:
            problem = self._syntax_problem(error)
        except _Unreadable as error:
            problem = error.problem
        except UnicodeDecodeError:
            # libyaml takes %ED%A0%80 in a tag for what it stands for, and Python then does not;
            # where it stands neither says
            found, expected = "a YAML tag (!…) with % and what is no text", "a plain value"
            problem = ConfigProblem("", found, expected)
        self.problems.append(problem)
        return None

    def _document(self) -> Node | None:
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        node, _ = self._node(next(self._events), "", 0)
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _Unreadable(
                ConfigProblem("", "a second document", "one document in the file", _line(event))
            )
        return node

    def _node(self, event: yaml.Event, path: str, depth: int) -> tuple[Node, int]:
        """Make the node that begins with ``event``; returns it and its height."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        before = self._size
        self._grow(1, path, _line(event))
        if depth > MAX_DEPTH:
            raise _Unreadable(
                ConfigProblem(
                    path, "nesting without end", f"at most {MAX_DEPTH} levels", _line(event)
                )
            )
        if event.tag is not None:
            self._problem(
                path,
                "a YAML tag (!…)",
                "a plain value; a text that begins with ! needs quotes",
                event,
            )
        node: Node
        height = 0
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(event.value, _line(event), plain=not event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            node, height = self._list(event, path, depth)
        else:
            node, height = self._mapping(event, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(node, self._size - before, height)
        return node, height

    def _list(self, start: yaml.Event, path: str, depth: int) -> tuple[ListNode, int]:
        items: list[Node] = []
        height = 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item, below = self._node(event, f"{path}[{len(items)}]", depth + 1)
            items.append(item)
            height = max(height, below + 1)
        return ListNode(tuple(items), _line(start)), height

    def _mapping(self, start: yaml.Event, path: str, depth: int) -> tuple[MapNode, int]:
        entries: dict[str, Entry] = {}
        height = 0
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, _ = self._node(event, path, depth + 1)
            key_path = join_path(path, key.text) if isinstance(key, Scalar) else path
            value, below = self._node(next(self._events), key_path, depth + 1)
            height = max(height, below + 1)
            if not isinstance(key, Scalar):
                self._problem(path, "a list or a mapping as a key", "a name as the key", event)
            elif key.plain and key.text == "<<":
                self._problem(
                    path,
                    "the merge key <<",
                    "the keys written out; an alias (*name) can stand for a whole value",
                    event,
                )
            elif key.text in entries:
                first = entries[key.text].line
                self._problem(
                    key_path, "this key a second time", f"it once; it stands on line {first}", event
                )
            else:
                entries[key.text] = Entry(value, _line(event))
        return MapNode(entries, _line(start)), height

    def _alias(self, event: yaml.AliasEvent, path: str, depth: int) -> tuple[Node, int]:
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            # its name is not shown: it may be a key that begins with * and lacks its quotes
            raise _Unreadable(
                ConfigProblem(
                    path,
                    "an alias (*…) whose anchor does not stand before it",
                    "the anchor (&…) first; a text that begins with * needs quotes",
                    _line(event),
                )
            )
        self._grow(anchored.size, path, _line(event))
        if depth + anchored.height > MAX_DEPTH:
            raise _Unreadable(
                ConfigProblem(path, "aliases without end", f"{MAX_DEPTH} levels", _line(event))
            )
        return anchored.node, anchored.height

    def _grow(self, count: int, path: str, line: int) -> None:
        self._size += count
        if self._size > MAX_NODES:
            raise _Unreadable(
                ConfigProblem(path, f"more than {MAX_NODES} values", "a smaller file", line)
            )

    def _problem(self, path: str, found: str, expected: str, event: yaml.Event) -> None:
        self.problems.append(ConfigProblem(path, found, expected, _line(event)))

    def _syntax_problem(self, error: yaml.YAMLError) -> ConfigProblem:
        if isinstance(error, yaml.reader.ReaderError):
            line = self._text.count("\n", 0, error.position) + 1
            return ConfigProblem("", "a control character", "text without it", line)
        assert isinstance(error, yaml.MarkedYAMLError)
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        lines = self._text.split("\n")
        at_fault = lines[line - 1] if 0 < line <= len(lines) else ""
        if "\t" in at_fault[: len(at_fault) - len(at_fault.lstrip())]:
            return ConfigProblem("", "a tab in the indentation", "spaces; YAML takes no tabs", line)
        expected = "valid YAML"
        if error.problem == "mapping values are not allowed in this context":
            expected = "one `key: value` on a line; a text with a colon in it needs quotes"
        elif error.problem and "cannot start any token" in error.problem:
            expected = "a text that begins with @, ` or % in quotes"
        elif "${" in at_fault and "flow" in (error.context or ""):
            expected = "a text with ${…} in quotes, where it stands within { } or [ ]"
        elif error.context and error.context_mark is not None:
            begin = error.context_mark.line + 1
            expected = f"valid YAML ({error.context} that begins on line {begin})"
        return ConfigProblem("", f"a syntax error: {error.problem}", expected, line)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0
