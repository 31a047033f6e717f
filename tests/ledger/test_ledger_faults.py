"""A SQLite ledger whose files are deleted or replaced while it is open."""

from __future__ import annotations

import asyncio
import datetime
import multiprocessing
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import faulting
import pytest
from support.ledger_files import asides, assert_sound, ids, ids_in, said, write
from support.usage_rows import DAY, start_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError, RowsRefusedError
from livekit_plugins_voicegateway.ledger import sqlite_files
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.ledger.sqlite_files import Files, look
from livekit_plugins_voicegateway.metering.usage import UsageRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "voicegw.db"


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


GONE = pytest.mark.parametrize("remove", [delete, delete_all, delete_folder])


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


async def test_a_connection_that_is_of_no_use_refuses_no_row(path: Path) -> None:
    ledger = SqliteLedger(path)
    await ledger.open()
    assert ledger._link._rows is not None
    connection = ledger._link._rows._connection
    await connection._execute(connection._conn.close)  # type: ignore[no-untyped-call]  # aiosqlite
    with pytest.raises(LedgerError, match="closed database") as raised:
        await ledger.write([usage_row()])
    # which would have set the row aside, where it waits for somebody to look at it
    assert not isinstance(raised.value, RowsRefusedError)
    await ledger.close()
