"""A SQLite ledger whose file is damaged while it is open: moved aside, never overwritten."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.ledger_files import asides, assert_sound, ids, ids_in, said, write
from support.usage_rows import start_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import sqlite_connection
from livekit_plugins_voicegateway.ledger.projects import ManagedRow, ProjectChange
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

PAGE = 4096

PROJECT = ManagedRow(
    project_id="acme",
    name="Acme",
    description="",
    daily_budget=None,
    budget_action="warn",
    tags="[]",
    created_at="2026-05-04T09:30:00.000Z",
    updated_at="2026-05-04T09:30:00.000Z",
    fallback=None,
    pricing=None,
    provider_options=None,
    providers=None,
)
CHANGE = ProjectChange(
    at="2026-05-04T09:30:00.000Z",
    front="cli",
    who="me",
    action="create",
    project_id="acme",
    fields="[]",
    before=None,
    after="{}",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "voicegw.db"


def overwrite(path: Path, start: int, data: bytes) -> None:
    """Change a file in place, in another process, as it would be."""
    process = os.fork()
    if process == 0:
        try:
            with path.open("r+b") as file:
                file.seek(start)
                file.write(data)
        finally:
            os._exit(0)
    os.waitpid(process, 0)


def zeroed_header(path: Path) -> None:
    overwrite(path, 0, bytes(100))


def garbage(path: Path) -> None:
    pages = path.stat().st_size // PAGE
    overwrite(path, PAGE, os.urandom(PAGE * (pages - 1)))


def cut_off(path: Path) -> None:
    os.truncate(path, PAGE * 3)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


DAMAGE = pytest.mark.parametrize("damage", [zeroed_header, garbage, cut_off, emptied])


@DAMAGE
async def test_a_damaged_file_is_moved_aside_and_usage_goes_on_in_a_new_one(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        SqliteLedger(path) as ledger,
        SqliteLedger(path) as idle,
        SqliteLedger(path, read_only=True) as reader,
    ):
        before = await write(ledger, 1000)
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA wal_checkpoint")
        damage(path)
        after = await write(ledger, 3)
        there = await ids(ledger)
        assert there == await ids(idle) == await ids(reader)
        assert there & before in (set(), before), "what could not be read is not there in part"
        assert there - before == after
    (aside,) = asides(path)
    assert os.path.exists(f"{aside}-wal")
    await assert_sound(path)
    assert await ids_in(path) == there
    (line,) = said(caplog, "is damaged")
    assert f"{path} is damaged" in line
    assert f"moved to {aside}" in line
    assert f"`sqlite3 {aside} .recover |" in line
    assert said(caplog, "in use") == []


@DAMAGE
async def test_a_damaged_file_is_moved_aside_by_whoever_opens_it_for_writing(
    path: Path, damage: Callable[[Path], None]
) -> None:
    async with SqliteLedger(path) as ledger:
        for _ in range(10):
            await write(ledger, 100)
        if damage is emptied:
            shutil.copy(f"{path}-wal", path.with_name("wal"))
    damage(path)
    if damage is emptied:
        path.with_name("wal").rename(f"{path}-wal")
    async with SqliteLedger(path) as ledger:
        after = await write(ledger, 100)
        assert after <= await ids(ledger)
    assert len(asides(path)) == 1
    await assert_sound(path)


async def test_who_reads_says_that_a_file_is_damaged_and_leaves_it_where_it_is(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        for _ in range(20):
            await write(ledger, 100)
    pages = path.stat().st_size // PAGE
    overwrite(path, 40 * PAGE, os.urandom(PAGE * (pages - 40)))  # behind the schema
    before = path.read_bytes()
    async with SqliteLedger(path, read_only=True) as reader:
        with pytest.raises(LedgerError, match="it is damaged; copy it, move it aside and recover"):
            await reader.check_totals()
    async with SqliteLedger(path) as ledger:
        with pytest.raises(LedgerError, match="it is damaged; copy it, move it aside and recover"):
            await ledger.check_totals()  # a report is no reason to begin a new ledger
    assert path.read_bytes() == before
    assert asides(path) == []


async def test_what_the_log_says_recovers_what_is_in_a_damaged_file(path: Path) -> None:
    if shutil.which("sqlite3") is None or not _shell("SELECT 1 FROM sqlite_dbpage;"):
        pytest.skip("there is no sqlite3 shell here whose .recover works")
    async with SqliteLedger(path) as ledger:
        written = set()
        for _ in range(10):
            written |= await write(ledger, 100)
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA wal_checkpoint")
        zeroed_header(path)
        await write(ledger)
    (aside,) = asides(path)
    recovered = path.with_name("recovered.db")
    command = f"sqlite3 '{aside}' .recover | sqlite3 '{recovered}'"
    recovery = await asyncio.create_subprocess_shell(command)
    assert await recovery.wait() == 0
    with closing(sqlite3.connect(recovered)) as connection:
        found = {row_id for (row_id,) in connection.execute("SELECT id FROM usage")}
    assert found == written


def _shell(statement: str) -> bool:
    asked = ["sqlite3", ":memory:", statement]
    return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0


async def test_a_new_ledger_takes_over_what_running_programs_need(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    rows = [usage_row(day=(today - n * datetime.timedelta(days=1)).isoformat()) for n in range(60)]
    async with SqliteLedger(path) as ledger, SqliteLedger(path) as other:
        await ledger.write(rows)
        await ledger.write([usage_row(day=today.isoformat()) for _ in range(500)])
        settled, _ = await ledger.budget_status("prod", today.isoformat())
        assert await ledger.write_project(PROJECT, CHANGE, version=1)
        projects = (await ledger.managed_projects()).rows
        changes = await ledger.project_changes(None, limit=10)
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA wal_checkpoint")
            (page,) = shell.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'usage_by_key'"
            ).fetchone()
        overwrite(path, (page - 1) * PAGE, os.urandom(PAGE))
        after = await write(ledger)
        assert (await ledger.budget_status("prod", today.isoformat()))[0] == settled
        assert (await ledger.managed_projects()).rows == projects
        assert await ledger.project_changes(None, limit=10) == changes
        assert await ids(other) == await ids(ledger) >= after | {rows[0].id, rows[1].id}
        assert rows[-1].id not in await ids(ledger)
    await assert_sound(path)
    assert len(said(caplog, "1 projects made at run time and 502 requests since")) == 1


async def test_a_file_that_never_was_a_ledger_is_not_moved(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(100_000))
    with pytest.raises(LedgerError, match="it is not a SQLite database; move it aside"):
        await SqliteLedger(path).open()
    assert asides(path) == []


async def test_of_many_processes_that_find_the_damage_one_moves_the_file(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        for _ in range(10):
            await write(ledger, 100)
    go_here, go = os.pipe()

    async def use() -> list[str]:
        async with SqliteLedger(path, busy_timeout=60) as ledger:
            await ids(ledger)
            ready.release()
            await asyncio.to_thread(os.read, go_here, 1)
            return sorted(await write(ledger, 5))

    ready = multiprocessing.get_context("fork").Semaphore(0)
    started = [start_process(use) for _ in range(8)]
    for _ in started:
        assert ready.acquire(timeout=60)
    garbage(path)
    os.write(go, b"x" * len(started))
    answers = [results.recv() for _, results in started]
    for process, _ in started:
        process.join()
    assert all(isinstance(answer, list) for answer in answers), answers
    assert await ids_in(path) == {row_id for answer in answers for row_id in answer}
    assert len(asides(path)) == 1
    await assert_sound(path)
    for end in (go_here, go):
        os.close(end)


async def test_a_sound_file_is_not_moved_because_one_connection_saw_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteLedger(path) as ledger:
        written = await write(ledger)
        execute = sqlite_connection.SqliteConnection._with_lock
        failures = 2

        async def fail(self: object, statement: object) -> object:
            nonlocal failures
            if failures:
                failures -= 1
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                from livekit_plugins_voicegateway.ledger.sqlite_errors import explain

                raise explain(path, error, 1)
            return await execute(self, statement)  # type: ignore[arg-type]

        monkeypatch.setattr(sqlite_connection.SqliteConnection, "_with_lock", fail)
        with contextlib.suppress(LedgerError):
            await write(ledger)
        written |= await write(ledger)
        assert written <= await ids(ledger)
    assert asides(path) == []
