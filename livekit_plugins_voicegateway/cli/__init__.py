"""The command line: ``voicegw``.

`main` is the entry point. It sets up the terminal, runs one command, and turns whatever goes wrong
into a line that a person can act on and an exit status: 0 done, 1 failed, 2 not a command that can
be run. The commands stand in the modules beside this one; they ask `reports` and only show what it
answers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its status.

    Args:
        arguments: What stands behind ``voicegw`` on the command line; `sys.argv` by default.
    """
    # nothing is imported before this, so that Ctrl-C ends quietly from the first moment on
    try:
        from .failures import status_of
        from .terminal import prepare_streams

        prepare_streams()
        try:
            from .app import app

            status = app.main(arguments, prog_name="voicegw", standalone_mode=False) or 0
        except Exception as error:
            status = status_of(error)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
