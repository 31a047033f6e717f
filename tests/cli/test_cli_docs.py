"""docs/cli.md names every command and option, no others, and its command lines can be run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from livekit_plugins_voicegateway.answers import PriceAnswer, PriceEntry, VerifyAnswer
from livekit_plugins_voicegateway.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^## (voicegw [^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
)
BEFORE = PAGE[: PAGE.index("## voicegw init")]


def commands(
    group: click.Group = app, name: str = "voicegw"
) -> Iterator[tuple[str, click.Command]]:
    for command in group.commands.values():
        full = f"{name} {command.name}"
        if isinstance(command, click.Group):
            yield from commands(command, full)
        else:
            yield full, command


def names_of(command: click.Command) -> set[str]:
    return {
        parameter.opts[0]
        if isinstance(parameter, click.Option)
        else str(parameter.human_readable_name)
        for parameter in command.params
    }


def documented(section: str) -> set[str]:
    """What stands in the first column of the section's table, without values."""
    cells = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    return {cell.split()[0] for cell in cells}


COMMANDS = dict(commands())


def test_every_command_has_a_section_and_a_line_in_the_list() -> None:
    assert list(SECTIONS) == list(COMMANDS)
    assert re.findall(r"^\| \[`(voicegw [a-z -]+)`\]", BEFORE, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    assert documented(SECTIONS[name]) == names_of(COMMANDS[name])


def test_every_option_before_a_command_is_documented() -> None:
    for name in names_of(app) | {"--help"}:
        assert f"\n| `{name}`" in BEFORE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_choice_is_documented(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.type, click.Choice):
            (row,) = re.findall(rf"^\| `{parameter.opts[0]}.*$", SECTIONS[name], re.MULTILINE)
            assert [choice for choice in parameter.type.choices if choice not in row] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert len(command.get_short_help_str(limit=200)) <= 62  # one line in the list of commands
    assert [
        each.name for each in command.params if isinstance(each, click.Option) and not each.help
    ] == []


@pytest.mark.parametrize("line", re.findall(r"^\$ voicegw (.*)$", PAGE, re.MULTILINE))
def test_the_command_lines_of_the_page_can_be_run(line: str) -> None:
    command: click.Command = app
    context = click.Context(app, info_name="voicegw")
    arguments = shlex.split(line)
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
    # raises a usage error where an option or a value cannot be
    command.make_context(name, arguments, parent=context).close()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("voicegw price", PriceAnswer),
        ("voicegw verify", VerifyAnswer),
        ("voicegw prices", PriceEntry),
    ],
)
def test_the_shapes_of_the_page_are_those_of_the_answers(name: str, shape: type) -> None:
    (row,) = re.findall(r"^\| `--json`.*$", SECTIONS[name], re.MULTILINE)
    assert [key for key in shape.__annotations__ if not re.search(rf"`{key}(\[\])?`", row)] == []
