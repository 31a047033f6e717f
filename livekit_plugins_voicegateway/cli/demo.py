"""``voicegw demo``: a spoken conversation through the gateway, without keys or internet."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["demo"]


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    metavar="DIR",
    help="Where its configuration and its ledger go, for `voicegw costs` to read.",
)
@click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".models"),
    show_default=True,
    metavar="DIR",
    help="Where weights of local models are; without them a part of the demo is left out.",
)
def demo(directory: Path, models: Path) -> None:
    """Hold a spoken conversation, and show what it cost.

    Providers, caller and worker all run on this machine: no key, no account, no internet.
    """
    from ..demo.run import main

    sys.exit(main(directory, models))
