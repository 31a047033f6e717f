"""What docs/deploy.md and examples/deploy say, taken apart; and programs that stand for what tests
may not touch: systemd, other users, containers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "deploy"
PAGE: Final = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")

REASONS: Final = ("docker", "a cluster", "root, systemd and the package")
"""Why a command of the page cannot run in a test."""

DAY: Final = "2027-01-15"
"""What ``date`` says to a command: no midnight comes between a backup and its restore."""

STANDINS: Final = {
    "sudo": '[ "$1" = -u ] && [ "$2" = voicegw ] || exit 64\nshift 2\nexec "$@"',
    "systemctl": 'echo "$*" >> "$SYSTEMCTL_LOG"',
    "install": 'exec /usr/bin/install $(echo "$*" | sed "s/-o voicegw //")',
    "date": f"echo {DAY}",
    # the command that is to run in PostgreSQL's container runs here; its user is the owner there
    "docker": (
        '[ "$1 $2 $3 $4" = "compose exec -T postgres" ] || exit 64\nshift 4\n'
        'exec $(echo "$*" | sed "s/--username=voicegw/--username=postgres/")'
    ),
}
"""Shell scripts by the name of the program that each stands for."""


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the page.

    Attributes:
        stage: What they need: ``sqlite``, ``postgres`` or ``compose``; None where they cannot run.
        reason: Why they cannot.
        text: As they stand.
    """

    stage: str | None
    reason: str | None
    text: str


def blocks(stage: str | None = None) -> list[Block]:
    """The page's blocks of commands, in order; those of one stage, or all."""
    found = re.findall(
        r"(?:^<!-- (?:runs: (\w+)|not here: ([^>]+)) -->\n)?^```sh\n(.*?)^```", PAGE, re.M | re.S
    )
    every = [Block(*(value or None for value in one[:2]), one[2]) for one in found]
    return [one for one in every if stage is None or one.stage == stage]


def load(name: str) -> Any:
    """One document of a YAML file of the examples."""
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))


def variables_of(text: str) -> set[str]:
    """The environment variables that a configuration names, ``${NAME}`` or ``${NAME:…}``."""
    code = re.sub(r"#.*", "", text)
    return set(re.findall(r"\$\{([A-Z_]+)[}:]", code))


def named_in(environment: Path) -> set[str]:
    """The variables that a file of variables has."""
    return set(re.findall(r"^([A-Z_]+)=", environment.read_text(encoding="utf-8"), re.M))


def seconds(text: str) -> int:
    """A duration of a compose file: ``15s``, ``31m``."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def drain_timeout(command: Sequence[str]) -> int:
    """For how long a worker lets its calls go on, by its command line."""
    return int(command[list(command).index("--drain-timeout") + 1])


class Shell:
    """Runs blocks one after the other, with the variables that the ones before exported.

    Args:
        folder: Where they run; the programs that stand for others are beside it.
        env: Environment variables.
        places: What stands in the page, and what is there instead.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str], places: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._places = places or {}
        self._kept = folder.parent / "exported"
        self.systemctl_log = folder.parent / "systemctl.log"
        programs = folder.parent / "programs"
        programs.mkdir()
        for name, script in STANDINS.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), env["PATH"]])
        self._env = {**env, "PATH": path, "SYSTEMCTL_LOG": str(self.systemctl_log)}

    def run(self, block: Block) -> str:
        """Run a block as it stands; fails where a command does. Returns what it wrote."""
        text = block.text
        for shown, real in self._places.items():
            text = text.replace(shown, real)
        script = f"set -euo pipefail\n{text}\nenv -0 > '{self._kept}'\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        exported = self._kept.read_text().split("\0")
        self._env |= dict(one.split("=", 1) for one in exported if "=" in one)
        return done.stdout + done.stderr
