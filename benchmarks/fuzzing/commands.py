"""The target that is typed: arguments of ``voicegw``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Final

from livekit_plugins_voicegateway.cli import main

from .examples import HOSTILE, shell_lines
from .stage import site
from .statements import watched_statements
from .target import Broken, Check, Outcome, Target, no_errors_logged

__all__ = ["TARGETS"]

_ASKED: Final = (
    "costs",
    "projects",
    "project",
    "logs",
    "calls",
    "price",
    "prices",
    "verify",
    "export",
)
"""Commands that read, or write to the ledger only: the others serve, download or make files."""

_LEFT_OUT: Final = ("--output", "--config", "--follow", "--debug", "--fields=@", "--fields=-")
"""They would write files, read any, or go on for ever."""


@contextmanager
def _command() -> Iterator[Check]:
    with watched_statements() as watch, no_errors_logged() as logged, site() as config:
        assert config.path is not None
        before = os.getcwd(), sys.stdin, dict(os.environ)
        os.chdir(config.path.parent)
        os.environ.update(config.env)
        sys.stdin = io.StringIO()

        def check(data: bytes) -> Outcome:
            # as the operating system hands them on: any bytes but NUL
            parts = data.replace(b"\0", b"").split(b"\n")
            arguments = [part.decode("utf-8", "surrogateescape") for part in parts]
            if arguments[0] not in (*_ASKED, "--version", "--help", ""):
                arguments.insert(0, _ASKED[len(data) % len(_ASKED)])
            if any(argument.startswith(_LEFT_OUT) for argument in arguments):
                return "refused"
            status, out, err = _run(arguments)
            if "Traceback" in err or "fault of VoiceGateway" in err:
                raise Broken(f"{arguments}: {err}")
            if status not in (0, 1, 2):
                raise Broken(f"{arguments} ended with {status}")
            if status and not (err.strip() or out.strip()):
                raise Broken(f"{arguments} ended with {status} and without a word")
            watch.check()
            logged()
            return "refused" if status else "accepted"

        try:
            yield check
        finally:
            os.chdir(before[0])
            sys.stdin = before[1]
            os.environ.clear()
            os.environ.update(before[2])


def _run(arguments: list[str]) -> tuple[object, str, str]:
    out, err = _stream(), _stream()
    status: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code or 0
        out.flush()
        err.flush()
    return status, _said(out), _said(err)


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)


def _said(stream: io.TextIOWrapper) -> str:
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode("utf-8", "replace")


TARGETS: Final = (
    Target(
        "command",
        "arguments of the command line",
        _command,
        shell_lines,
        ("\n", "--json", "--limit", "--period=", "--project", *HOSTILE),
        6_000,
    ),
)
