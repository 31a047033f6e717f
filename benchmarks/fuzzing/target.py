"""What a target is, and what its promise is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NamedTuple

__all__ = ["Broken", "Check", "Outcome", "Target", "no_errors_logged"]

Outcome = Literal["accepted", "refused"]
"""Refused is: with a message that says why."""

Check = Callable[[bytes], Outcome]
"""Tries one input.

Raises:
    Broken: A promise is broken.
    Exception: Whatever escapes is a broken promise, too.
"""


class Broken(AssertionError):
    """A promise is broken: a traceback, an answer that is none, something that should not be."""


class Target(NamedTuple):
    """A place where somebody else's text comes in.

    Attributes:
        name: How it is chosen, ``yaml``.
        surface: What comes in there, in words.
        prepare: Prepares it once for many inputs.
        examples: What is known to be right there, from documentation and tests.
        words: Pieces that inputs are made of.
        runs: Inputs of the long form.
    """

    name: str
    surface: str
    prepare: Callable[[], AbstractContextManager[Check]]
    examples: Callable[[], Sequence[bytes]]
    words: Sequence[str]
    runs: int


class _Errors(logging.Handler):
    """Keeps what is logged as an error: each is a traceback, or a task that nobody waited for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))


@contextmanager
def no_errors_logged() -> Iterator[Callable[[], None]]:
    """Listen to what is logged anywhere; what is yielded raises `Broken` for an error."""
    handler = _Errors()
    root = logging.getLogger()
    root.addHandler(handler)

    def check() -> None:
        if handler.texts:
            text = "\n".join(handler.texts)
            handler.texts.clear()
            raise Broken(f"an error was logged:\n{text}")

    try:
        yield check
    finally:
        root.removeHandler(handler)
