"""What a user is told when a command fails, and the exit status that goes with it."""

from __future__ import annotations

import os
import traceback
from typing import Final

import click

from ..errors import InvalidQueryError, VoiceGatewayError
from .terminal import complain

__all__ = ["FAILED", "INTERRUPTED", "MISUSED", "show_tracebacks", "status_of"]

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
"""What a shell gives a program that Ctrl-C has ended."""

_DEBUG_VARIABLE: Final = "VOICEGW_DEBUG"


def show_tracebacks() -> None:
    """Let an error show where it happened, from now on in this process."""
    os.environ[_DEBUG_VARIABLE] = "1"


def status_of(error: Exception) -> int:
    """Tell the user what went wrong.

    Args:
        error: What a command raised.

    Returns:
        The exit status.
    """
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if os.environ.get(_DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, VoiceGatewayError):
        complain(str(error))
        return MISUSED if isinstance(error, InvalidQueryError) else FAILED
    if isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return FAILED
    complain(
        f"{type(error).__name__}: {error}\n"
        "This is a fault of VoiceGateway and not of what you typed. Please report it, with the "
        "command and what it prints after `voicegw --debug`."
    )
    return FAILED
