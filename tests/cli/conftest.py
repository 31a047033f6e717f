"""A folder to work in, a ledger to write to, and the command, called or started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.command_line import COMMAND, CONFIG, Book, Result, Run, zone_of_noon

from livekit_plugins_voicegateway.cli import main
from livekit_plugins_voicegateway.providers import KEY_VARIABLES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that says nothing."""
    known = [name for names in KEY_VARIABLES.values() for name in names]
    for name in [*known, *(name for name in os.environ if name.startswith("VOICEGW_"))]:
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def config(folder: Path) -> Path:
    """A voicegw.yaml with four projects, in a zone in which it is noon."""
    path = folder / "voicegw.yaml"
    path.write_text(CONFIG.format(zone=zone_of_noon()))
    return path


@pytest.fixture
def book(config: Path) -> Book:
    return Book()


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in this process."""

    def run(*arguments: str | Path) -> Result:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int | None)
        return Result(code or 0, out, err)

    return run


@pytest.fixture
def start(folder: Path) -> Run:
    """Start the command as a process of its own, and wait for its end."""

    def start(*arguments: str | Path, env: Mapping[str, str] | None = None, **how: Any) -> Result:
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        done = subprocess.run(
            [COMMAND, *arguments], env={**os.environ, **(env or {})}, check=False, **how
        )
        return Result(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())

    return start
