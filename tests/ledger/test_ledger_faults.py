"""A SQLite ledger whose files are deleted, replaced or damaged while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import faulting
import pytest
from support.usage_rows import DAY, start_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import sqlite_connection, sqlite_files
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.projects import ManagedRow, ProjectChange
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.ledger.sqlite_files import Files, look
from livekit_plugins_voicegateway.metering.usage import UsageRow

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


async def write(ledger: SqliteLedger, count: int = 1) -> set[str]:
    rows = [usage_row() for _ in range(count)]
    await ledger.write(rows)
    return {row.id for row in rows}


async def ids(ledger: SqliteLedger) -> set[str]:
    return {row.id for row in await ledger.rows(RowFilter(), limit=100_000)}


async def ids_in(path: Path) -> set[str]:
    async with SqliteLedger(path, read_only=True) as reader:
        return await ids(reader)


async def assert_sound(path: Path) -> None:
    async with SqliteLedger(path, read_only=True) as reader:
        assert (await reader.check_totals()).mismatches == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def asides(path: Path, what: str = "corrupt") -> list[Path]:
    found = path.parent.glob(f"{path.name}.{what}-*")
    return [file for file in found if not file.name.endswith(("-wal", "-shm"))]


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if words in r.getMessage()]


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


GONE = pytest.mark.parametrize("remove", [delete, delete_all, delete_folder])


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


@GONE
async def test_what_is_written_after_the_file_was_deleted_is_in_a_new_file(
    path: Path, remove: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        SqliteLedger(path) as ledger,
        SqliteLedger(path) as idle,
        SqliteLedger(path, read_only=True) as reader,
    ):
        before = await write(ledger)
        assert await ids(reader) == await ids(idle) == before
        remove(path)
        assert await ids(reader) == set(), "a file that is not there is an empty ledger"
        after = await write(ledger, 3)
        assert await ids(ledger) == await ids(idle) == await ids(reader) == after
        assert await ids_in(path) == after
        await ledger.acquire_lease(
            "prod", DAY, "me", budget_nanos=10**9, need_nanos=1, want_nanos=5, share=1,
            expires_at=time.time() + 60,
        )  # fmt: skip
        assert (await reader.budget_status("prod", DAY))[0] > 0
    await assert_sound(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(said(caplog, f"{path} was deleted while in use")) == 1


async def test_a_write_that_the_deletion_overtakes_is_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteLedger(path) as ledger:
        await write(ledger)
        looks = 0

        def look_and_delete(name: str) -> Files:
            nonlocal looks
            found = look(name)
            looks += 1
            if looks == 1:  # between the look before the statement and the statement
                path.unlink()
            return found

        monkeypatch.setattr(sqlite_files, "look", look_and_delete)
        after = await write(ledger)
        assert looks > 1
        assert await ids_in(path) == after


async def test_what_was_not_in_the_file_yet_when_it_was_deleted_is_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteLedger(path) as ledger:
        before = await write(ledger)
        path.rename(path.with_name("elsewhere.db"))
        await write(ledger)
    (wal,) = path.parent.glob("voicegw.db.deleted-*-wal")
    assert said(caplog, str(wal))
    path.with_name("elsewhere.db").rename(wal.with_name(wal.name.removesuffix("-wal")))
    assert await ids_in(wal.with_name(wal.name.removesuffix("-wal"))) == before


async def test_a_new_process_does_not_mix_a_new_file_with_what_another_left(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        await write(ledger, 100)
        path.unlink()

        async def write_there() -> list[str]:
            async with SqliteLedger(path) as other:
                return sorted(await write(other))

        process, results = start_process(write_there)
        new = set(results.recv())
        process.join()
        assert await ids(ledger) == new
        new |= await write(ledger)
        assert await ids_in(path) == new
    await assert_sound(path)


async def test_all_go_on_in_a_file_that_was_put_in_place_of_theirs(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteLedger(tmp_path / "backup.db") as backup:
        old = await write(backup, 2)
    async with (
        SqliteLedger(path) as ledger,
        SqliteLedger(path) as idle,
        SqliteLedger(path, read_only=True) as reader,
    ):
        await write(ledger, 50)
        assert len(await ids(reader)) == 50
        version = await reader.version()
        os.replace(tmp_path / "backup.db", path)
        new = await write(ledger)
        assert await ids(ledger) == await ids(idle) == await ids(reader) == old | new
        assert await reader.version() != version
    await assert_sound(path)
    assert await ids_in(path) == old | new
    assert len(said(caplog, f"{path} was replaced by another file while in use")) == 1


async def test_a_copy_that_sqlite_has_made_is_read_and_then_written(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        written = await write(ledger)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("VACUUM INTO ?", (f"{path}-copy",))  # which is not in WAL mode
    os.replace(f"{path}-copy", path)
    async with SqliteLedger(path, read_only=True) as reader:
        assert await ids(reader) == written
        async with SqliteLedger(path) as ledger:
            written |= await write(ledger)
            assert await ids(reader) == await ids(ledger) == written


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]])
async def test_nothing_is_lost_when_the_files_beside_it_are_deleted(
    path: Path, suffixes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    resume_here, resume = os.pipe()

    async def other() -> list[str]:
        async with SqliteLedger(path) as ledger:
            mine = await write(ledger, 5)
            ready.set()
            await asyncio.to_thread(os.read, resume_here, 1)
            return sorted(mine | await write(ledger, 5))

    ready = multiprocessing.get_context("fork").Event()
    process, results = start_process(other)
    ready.wait(30)
    async with (
        SqliteLedger(path) as ledger,
        SqliteLedger(path) as idle,
        SqliteLedger(path, read_only=True) as reader,
    ):
        written = await write(ledger, 100)
        assert len(await ids(reader)) == len(await ids(idle)) == 105
        for suffix in suffixes:
            os.unlink(f"{path}{suffix}")
        written |= await write(ledger, 100)
        os.write(resume, b"x")
        written |= set(await asyncio.to_thread(results.recv))
        process.join()
        written |= await write(idle, 10)
        assert await ids(ledger) == await ids(idle) == await ids(reader) == written
    await assert_sound(path)
    assert await ids_in(path) == written
    assert len(said(caplog, "never delete them by themselves")) == 1
    assert said(caplog, "was replaced") == []
    assert asides(path, "copy") == []
    for end in (resume_here, resume):
        os.close(end)


async def test_who_notices_late_that_they_were_deleted_loses_nothing_of_others(path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    async with (
        SqliteLedger(path) as ledger,
        SqliteLedger(path) as idle,
        SqliteLedger(path, read_only=True) as reader,
    ):
        mine = usage_row(day=today)
        await ledger.write([mine])
        assert await ids(idle) == await ids(reader) == {mine.id}
        os.unlink(f"{path}-wal")
        os.unlink(f"{path}-shm")
        # not forked: it would have what SQLite knows of the files in this process
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faulting.opened_at_once", str(path)),
            cwd=Path(faulting.__file__).parents[1],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said_there, _ = await other.communicate(b"go\n")
        written = {mine.id, said_there.decode().split()[-1]}
        written |= await write(ledger)
        assert await ids(ledger) == await ids(idle) == await ids(reader) == written
    await assert_sound(path)
    assert await ids_in(path) == written


async def test_who_reads_waits_for_a_writer_to_mend_the_files_beside_it(path: Path) -> None:
    async with SqliteLedger(path) as ledger, SqliteLedger(path, read_only=True) as reader:
        written = await write(ledger, 100)
        assert await ids(reader) == written
        os.unlink(f"{path}-wal")
        with pytest.raises(LedgerError, match="its -wal or -shm file was deleted while in use"):
            await ids(reader)
        assert not os.path.exists(f"{path}-wal")
        written |= await write(ledger)
        assert await ids(reader) == written


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


async def test_a_directory_in_place_of_an_open_file_is_named_until_it_is_gone(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        await write(ledger)
        path.unlink()
        path.mkdir()
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"it is a directory; set `database\.url`"):
                await write(ledger)
        path.rmdir()
        after = await write(ledger)
        assert await ids(ledger) == after


async def test_of_many_tasks_that_write_while_the_file_is_deleted_each_arrives(
    path: Path,
) -> None:
    async with SqliteLedger(path) as ledger:
        rows: list[UsageRow] = [usage_row() for _ in range(200)]
        tasks = [asyncio.create_task(ledger.write([row])) for row in rows[:100]]
        await asyncio.gather(*tasks)
        path.unlink()
        await asyncio.gather(*(ledger.write([row]) for row in rows[100:]))
        assert await ids(ledger) == {row.id for row in rows[100:]}
