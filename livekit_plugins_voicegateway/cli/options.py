"""Options that several commands share, with their help; each is a decorator."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = [
    "config_option",
    "cursor_option",
    "json_option",
    "limit_option",
    "period_option",
    "project_option",
]

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The configuration file. Without it: VOICEGW_CONFIG, ./voicegw.yaml, the user's "
    "configuration directory.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print what the HTTP API would answer, for programs."
)

project_option = click.option("--project", metavar="ID", help="Only this project.")

period_option = click.option(
    "--period",
    default="today",
    show_default=True,
    metavar="PERIOD",
    help="today, yesterday, 7d, 30d, month, all, or YYYY-MM-DD..YYYY-MM-DD.",
)

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    metavar="N",
    help="How many to show at most.",
)

cursor_option = click.option(
    "--cursor", metavar="CURSOR", help="Go on where a page ended: the next_cursor of its --json."
)
