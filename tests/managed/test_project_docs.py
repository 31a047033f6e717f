"""docs/projects.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livekit_plugins_voicegateway.cli import app
from livekit_plugins_voicegateway.managed import fields
from livekit_plugins_voicegateway.project_watcher import (
    FIRST_LOOK_SECONDS,
    QUICK_LOOK_SECONDS,
    ROUND_SECONDS,
)

PAGE = (Path(__file__).parents[2] / "docs" / "projects.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"voicegw (project [a-z-]+|[a-z]+)", PAGE)))


def test_every_field_is_named() -> None:
    (named,) = re.findall(r"same messages: ([^.]*)\.", PAGE)
    assert tuple(re.findall(r"`([a-z_]+)`", named)) == fields.FIELDS


def test_limits_are_those_of_the_code() -> None:
    name, description = fields._LENGTHS["name"], fields._LENGTHS["description"]
    assert (
        f"at most {name}, {description} and {fields._LONGEST_TAG} characters; "
        f"at most {fields._MOST_TAGS} tags"
    ) in PAGE
    assert f"at most {fields._LARGEST} characters" in PAGE


def test_times_are_those_of_the_code() -> None:
    assert (ROUND_SECONDS, FIRST_LOOK_SECONDS) == (1, 1)
    assert f"for {QUICK_LOOK_SECONDS * 1000:.0f} ms and at most once a second" in PAGE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str) -> None:
    group, _, name = command.partition(" ")
    found = app.app.get_command(None, group)  # type: ignore[arg-type]
    assert found is not None
    if name:
        assert name in found.commands  # type: ignore[attr-defined]


def test_the_line_that_makes_a_secret_key_makes_one() -> None:
    (program,) = re.findall(r"\$\(python -c '(.*)'\)", PAGE)
    printed: list[str] = []
    exec(program, {"print": printed.append})
    from cryptography.fernet import Fernet

    assert Fernet(printed[0])
