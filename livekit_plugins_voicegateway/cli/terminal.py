"""What is written to the terminal, and how: any encoding, a closed pipe, hostile text.

Standard output may be a terminal, a file, or a pipe whose reader has gone. All commands write
through `emit`, `emit_json` and `complain`.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TextIO

__all__ = [
    "clean",
    "complain",
    "emit",
    "emit_json",
    "has_reader",
    "prepare_streams",
    "reader_left",
    "remark",
    "waiting",
]

_ERROR_HANDLER: Final = "voicegw"

_PLAIN: Final[Mapping[str, str]] = {
    "█": "#",
    "░": ".",
    "●": "*",
    "…": ".",
    "·": "-",
    "–": "-",
    "—": "-",
    "→": ">",
    "✓": "+",
    "✗": "x",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\N{NO-BREAK SPACE}": " ",
    **dict.fromkeys("─━═╌╴╶", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╞╡╪", "+"),
}
"""What stands in, at the same width, where a terminal cannot show a character."""


def prepare_streams() -> None:
    """Let standard output and error take any text, whatever encoding they have."""
    codecs.register_error(_ERROR_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        # a stream may be something else under a test or another program; it then is as it is
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_ERROR_HANDLER)


def emit(text: str) -> None:
    """Write to standard output, and give it to the reader at once.

    A reader that has gone (``voicegw logs | head``) has all it wanted: what is left goes nowhere,
    and the command ends with the status that it would have had.

    Args:
        text: Ends with a newline where a line ends.
    """
    _write(sys.stdout, text)


def emit_json(answer: object) -> None:
    """Write an answer as JSON for another program."""
    import json

    readable = _is_unicode(sys.stdout)
    emit(json.dumps(answer, indent=2, ensure_ascii=not readable, allow_nan=False) + "\n")


def complain(text: str) -> None:
    """Write a message to standard error, its first word in red where that can be seen.

    Args:
        text: One line or several, without a newline at the end.
    """
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.name != "nt"
    label = "\x1b[1;31mError:\x1b[0m" if colour else "Error:"
    lines = [clean(line) for line in text.splitlines()]
    _write(sys.stderr, f"{label} " + "\n".join(lines) + "\n")


def remark(text: str) -> None:
    """Write to standard error what is no error, beside what a program may read.

    Args:
        text: One line, without a newline at the end.
    """
    _write(sys.stderr, f"{clean(text)}\n")


@contextmanager
def waiting(why: str) -> Iterator[None]:
    """Show, on a terminal, what takes so long; nothing of it stays.

    Args:
        why: A few words.
    """
    shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if shown:
        _write(sys.stderr, f"{why} …")
    try:
        yield
    finally:
        if shown:
            _write(sys.stderr, "\r\x1b[K")


def reader_left(stream: TextIO) -> None:
    """Let what is still to be written to ``stream`` go nowhere, because its reader has gone.

    The interpreter flushes once more when it ends, and would complain.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def has_reader(stream: TextIO) -> bool:
    """Return whether somebody may still read what is written to ``stream``.

    A pipe tells before anything is written to it; where it does not, the next write does.
    """
    import select

    if not hasattr(select, "poll"):
        return True
    asked = select.poll()
    try:
        asked.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return True
    return not any(event & (select.POLLERR | select.POLLNVAL) for _, event in asked.poll(0))


def clean(text: str) -> str:
    """Return ``text`` on one line, without what would steer a terminal.

    Names of rooms and texts of errors come from outside: an escape sequence in one of them must not
    move the cursor or change a colour, nor a sign of direction turn a line around.
    """
    if text.isprintable():
        return text
    return "".join(
        " " if char in "\n\r\t" else char if char.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        reader_left(stream)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char, "?") for char in characters), error.end


def _is_unicode(stream: Any) -> bool:
    return (stream.encoding or "").lower().startswith("utf")
