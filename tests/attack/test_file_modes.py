"""What holds keys or usage is for its owner's eyes, whatever the umask."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import COMMAND
from support.usage_rows import usage_row
from support.web_server import plain_environment

from livekit_plugins_voicegateway.ledger.outbox import Outbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="NOT TESTED: needs POSIX modes")

USE = """
import asyncio, os, sys, time
sys.path[:0] = sys.argv[1:]
from support.usage_rows import usage_row
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import open_ledger

async def main():
    ledger = await open_ledger(load_config().database_url)
    await ledger.write([usage_row()])
    print(sorted(os.listdir()), flush=True)
    sys.stdin.readline()
    await ledger.close()

asyncio.run(main())
"""
"""Writes to the ledger, and keeps it open until it is told otherwise."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody may write to, and a process that keeps nothing from anybody."""
    tmp_path.chmod(0o777)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**plain_environment(folder), "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def open_to_others(folder: Path) -> dict[str, str]:
    """Files that somebody else may read or write, and folders that they may look into."""
    found = {}
    for path in folder.rglob("*"):
        above = [parent for parent in path.parents if parent.is_relative_to(folder)]
        hidden = any(not _mode(parent) & 0o077 for parent in above)
        mode = _mode(path)
        if path.is_file() and mode & 0o077 and not hidden:
            found[str(path.relative_to(folder))] = oct(mode)
    return found


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_ledger_and_what_sqlite_lays_beside_it(folder: Path) -> None:
    (folder / "voicegw.yaml").write_text("database: {url: 'sqlite:///deep/er/voicegw.db'}\n")
    (folder / "voicegw.yaml").chmod(0o600)
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", USE.replace("os.listdir()", "os.listdir('deep/er')"), str(tests)],
        cwd=folder,
        env=plain_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    listed = process.stdout.readline()
    try:
        assert "voicegw.db-wal" in listed
        assert "voicegw.db-shm" in listed
        assert open_to_others(folder) == {}
    finally:
        process.communicate("\n", timeout=60)
    assert open_to_others(folder) == {}


def test_a_ledger_that_is_moved_aside_stays_hidden(folder: Path) -> None:
    (folder / "voicegw.yaml").write_text("database: {url: 'sqlite:///voicegw.db'}\n")
    (folder / "voicegw.yaml").chmod(0o600)
    tests = Path(__file__).parents[1]
    use = [sys.executable, "-c", USE, str(tests)]
    env = plain_environment(folder)
    subprocess.run(use, cwd=folder, env=env, input="\n", text=True, check=True, timeout=60)
    with (folder / "voicegw.db").open("r+b") as file:
        file.write(b"no database any more" * 50)
    # whether it is moved aside is tested with the ledger; whatever is there then is looked at here
    subprocess.run(use, cwd=folder, env=env, input="\n", text=True, check=False, timeout=60)
    assert {path.name for path in folder.iterdir()} >= {"voicegw.db", "voicegw.yaml"}
    assert open_to_others(folder) == {}


def test_what_commands_write(folder: Path) -> None:
    command(folder, "init")
    assert (folder / "voicegw.yaml").exists()
    for name in ("requests.csv", "requests.jsonl", "requests.parquet"):
        command(folder, "export", "--period", "all", "--output", name)
        assert (folder / name).exists()
    assert open_to_others(folder) == {}


def test_the_folder_of_the_demo(folder: Path) -> None:
    from livekit_plugins_voicegateway.demo.directory import clear_directory, write_config

    clear_directory(folder / "shown")
    write_config(folder / "shown", {"projects": {}})
    assert (folder / "shown" / "voicegw.yaml").exists()
    assert open_to_others(folder) == {}


def test_usage_that_waits_on_disk(folder: Path) -> None:
    place = folder / "state" / "voicegateway"
    outbox = Outbox(place / "waiting.db")
    outbox.put([usage_row()])
    with outbox.draining():
        assert outbox.count() == 1
        assert open_to_others(folder) == {}
    outbox.close()
    # a file that is none is moved aside
    (place / "waiting.db").write_bytes(b"no database any more" * 500)
    outbox.put([usage_row()])
    outbox.close()
    assert len([path for path in place.iterdir() if "waiting" in path.name]) > 1
    for path in place.iterdir():
        assert _mode(path) & 0o077 == 0, path
    assert _mode(place) == 0o700


def test_a_file_that_was_there_with_another_mode_is_none_of_our_business(folder: Path) -> None:
    """Who has given others a ledger to read has meant to."""
    with sqlite3.connect(folder / "voicegw.db"):
        pass
    (folder / "voicegw.db").chmod(0o640)
    (folder / "voicegw.yaml").write_text("database: {url: 'sqlite:///voicegw.db'}\n")
    use = [sys.executable, "-c", USE, str(Path(__file__).parents[1])]
    env = plain_environment(folder)
    subprocess.run(use, cwd=folder, env=env, input="\n", text=True, check=True, timeout=60)
    assert _mode(folder / "voicegw.db") == 0o640
