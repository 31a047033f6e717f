"""The commands of docs/deploy.md for one machine, run as they stand: asked, backed up, restored."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from deploy_files import DAY, EXAMPLES, Shell, blocks
from support.usage_rows import start_process, usage_row
from support.web_server import TOKEN, plain_environment, web_server

from livekit_plugins_voicegateway.ledger import open_ledger

pytestmark = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3")


async def write_until_told(path: Path, stop: Path) -> int:
    """What a worker does meanwhile; how many rows it wrote."""
    written = 0
    async with await open_ledger(f"sqlite:///{path}") as ledger:
        while not stop.exists():
            await ledger.write([usage_row() for _ in range(20)])
            written += 20
            await asyncio.sleep(0.05)
    return written


async def write(path: Path, count: int) -> None:
    async with await open_ledger(f"sqlite:///{path}") as ledger:
        await ledger.write([usage_row() for _ in range(count)])


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((found,),) = connection.execute("SELECT count(*) FROM usage")
    return int(found)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The folders of a machine: state, configuration, backups."""
    for name in ("state", "etc", "work"):
        (tmp_path / name).mkdir()
    configuration = (EXAMPLES / "systemd" / "voicegw.yaml").read_text(encoding="utf-8")
    path = tmp_path / "etc" / "voicegw.yaml"
    path.write_text(configuration.replace("/var/lib/voicegateway", str(tmp_path / "state")))
    return tmp_path


def test_the_commands_run_as_they_stand_and_what_is_restored_adds_up(machine: Path) -> None:
    ledger, backups = machine / "state" / "voicegw.db", machine / "backups"
    asking, backing_up, restoring, *others = blocks("sqlite")
    asyncio.run(write(ledger, 500))
    env = {**plain_environment(machine), "VOICEGW_TOKEN": TOKEN}
    places = {
        "/var/lib/voicegateway": str(machine / "state"),
        "/var/backups/voicegateway": str(backups),
        "/etc/voicegateway": str(machine / "etc"),
        "/opt/voicegateway/bin": str(Path(sys.executable).parent),
    }

    config = ("--config", str(machine / "etc" / "voicegw.yaml"))
    with web_server(machine / "etc", *config, env=env) as server:
        where = {**places, "127.0.0.1:8080": server.host}
        shell = Shell(machine / "work", env, where)
        said = shell.run(asking)
        assert "No fault found." in said
        assert '"status":"ok"' in said

        stop = machine / "stop"
        worker, result = start_process(write_until_told, ledger, stop)
        try:
            shell.run(backing_up)
        finally:
            stop.touch()
        written = result.recv()
        worker.join()

    backup = backups / f"voicegw-{DAY}.db"
    kept = count(backup)
    assert 500 <= kept <= 500 + written == count(ledger)
    assert backups.stat().st_mode & 0o777 == 0o700

    assert f"It adds up: {kept:,} requests" in shell.run(restoring)
    assert shell.systemctl_log.read_text().splitlines() == [
        "stop voicegw-worker voicegw-serve",
        "start voicegw-serve voicegw-worker",
    ]
    assert count(machine / "state" / "before-restore" / "voicegw.db") == 500 + written

    asyncio.run(write(ledger, 7))  # and it is a ledger like any other
    assert count(ledger) == kept + 7
    assert not os.path.exists(f"{ledger}.corrupt")
    for block in others:
        assert "0001_ledger" in shell.run(block)
