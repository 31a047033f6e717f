"""All commands of ``voicegw``, and the options that stand before a command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from ..version import __version__
from . import (
    calls,
    check,
    costs,
    demo,
    download,
    export,
    init,
    logs,
    managing,
    mcp,
    outbox,
    prices,
    projects,
    serve,
    verify,
)
from .failures import show_tracebacks

__all__ = ["app"]

for command in (
    managing.create,
    managing.update,
    managing.delete,
    managing.changes,
    managing.rotate_keys,
):
    projects.project.add_command(command)

_GROUPS: Final[Mapping[str, tuple[click.Command, ...]]] = {
    "Set up": (init.init, check.check, download.download_files, demo.demo),
    "Read the ledger": (
        projects.projects,
        projects.project,
        costs.costs,
        logs.logs,
        calls.calls,
        export.export,
        verify.verify,
        outbox.outbox,
    ),
    "Prices": (prices.price, prices.prices),
    "Serve": (serve.serve, mcp.mcp),
}


class _Commands(click.Group):
    """Commands in the order and under the headings of `_GROUPS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.commands))
        for heading, commands in _GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (f"{command.name:{longest}}", command.get_short_help_str(limit=80))
                        for command in commands
                    ]
                )


@click.group(
    cls=_Commands,
    commands=[command for commands in _GROUPS.values() for command in commands],
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="`voicegw COMMAND --help` says more of each. Commands that read take --json.",
)
@click.version_option(__version__, message="voicegw %(version)s")
@click.option(
    "--debug",
    is_flag=True,
    help="Show where in the program an error happened, for a report of it; VOICEGW_DEBUG=1 does "
    "the same.",
)
def app(debug: bool) -> None:
    """Projects, budgets and a ledger for LiveKit voice agents."""
    if debug:
        show_tracebacks()
