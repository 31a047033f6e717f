"""``voicegw init``: a commented configuration to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .terminal import clean, emit

__all__ = ["init"]


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write it. Without it: the file that VOICEGW_CONFIG names, else ./voicegw.yaml.",
)
def init(config: Path | None) -> None:
    """Write a commented voicegw.yaml to start from.

    Never over an existing file.
    """
    from ..config import write_starter

    # the file that the other commands, called in the same way, will read
    named = os.environ.get("VOICEGW_CONFIG")
    path = config or (Path(named).expanduser() if named else Path("voicegw.yaml"))
    written = write_starter(path)
    emit(
        f"Wrote {clean(str(written))}.\n"
        "It works as it is, with keys from the environment. Next:\n"
        "  voicegw check   what it says, and whether it is right\n"
        "  voicegw demo    a spoken conversation, priced, without keys or internet\n"
    )
