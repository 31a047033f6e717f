"""Where the file is, who may read it, and what is said when it cannot be used."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.usage_rows import NOBODY, in_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import make_ledger, open_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


async def pragma(ledger: SqliteLedger, setting: str) -> object:
    """What only the ledger's own connection can be asked."""
    ((value,),) = await ledger._link._rows._connection.execute_fetchall(f"PRAGMA {setting}")
    return value


async def write_one(path: Path) -> str:
    async with SqliteLedger(path, busy_timeout=0.1) as ledger:
        await ledger.write([usage_row()])
    return "written"


async def count(path: Path) -> int:
    async with SqliteLedger(path, read_only=True) as ledger:
        return len(await ledger.rows(RowFilter(), limit=1000))


async def test_file_and_folder_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "voicegw.db"
    previous = os.umask(0)
    try:
        async with SqliteLedger(path) as ledger:
            await ledger.write([usage_row()])
            for suffix in ("", "-wal", "-shm"):
                mode = stat.S_IMODE(os.stat(f"{path}{suffix}").st_mode)
                assert mode == 0o600, suffix
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(previous)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_commits_reach_the_disk_and_readers_do_not_wait(ledger: SqliteLedger) -> None:
    assert await pragma(ledger, "journal_mode") == "wal"
    assert await pragma(ledger, "synchronous") == 2  # FULL


async def test_a_url_names_the_file(path: Path) -> None:
    ledger = await open_ledger(f"sqlite:///{path}")
    assert isinstance(ledger, SqliteLedger)
    assert ledger.path == path
    await ledger.close()
    assert path.exists()


async def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "Ordner mit %20 und ?mode=ro#é.db"
    assert await write_one(path) == "written"
    assert await count(path) == 1


async def test_a_relative_url_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with make_ledger("sqlite:///voicegw.db"):
        assert (tmp_path / "voicegw.db").exists()


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://x.db", "sqlite:///:memory:", "voicegw.db"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match=r"no place for a ledger: write sqlite:///voicegw\.db"):
        make_ledger(url)


def test_the_password_of_a_url_is_not_shown() -> None:
    with pytest.raises(LedgerError) as refused:
        make_ledger("mysql://user:hunter2@host/db")
    assert "hunter2" not in str(refused.value)


async def test_reading_a_ledger_that_does_not_exist_finds_it_empty_and_makes_none(
    path: Path,
) -> None:
    async with SqliteLedger(path, read_only=True) as ledger:
        assert await ledger.rows(RowFilter(), limit=10) == []
        assert await ledger.costs("", "~") == []
        assert await ledger.check_totals() == (None, 0, 0, [])
    assert not path.exists()


async def test_reading_a_file_that_was_never_finished_finishes_it(path: Path) -> None:
    path.touch()
    assert await count(path) == 0


async def test_a_ledger_opened_for_reading_refuses_to_write(path: Path) -> None:
    await write_one(path)
    async with SqliteLedger(path, read_only=True) as ledger:
        with pytest.raises(LedgerError, match="opened for reading only"):
            await ledger.write([usage_row()])
        with pytest.raises(LedgerError, match="opened for reading only"):
            await ledger.close_stale(60)


async def test_a_reader_sees_what_is_written_meanwhile(path: Path) -> None:
    async with SqliteLedger(path) as writer, SqliteLedger(path, read_only=True) as reader:
        await writer.write([usage_row()])
        assert len(await reader.rows(RowFilter(), limit=10)) == 1


async def test_opening_and_closing_twice_is_no_fault(path: Path) -> None:
    ledger = SqliteLedger(path)
    await ledger.close()
    await ledger.open()
    await ledger.open()
    await ledger.close()
    await ledger.close()
    await ledger.open()
    await ledger.write([usage_row()])
    await ledger.close()


async def test_a_ledger_that_is_not_open_says_how_to_open_it(path: Path) -> None:
    with pytest.raises(LedgerError, match=r"is not open: `await ledger\.open\(\)`"):
        await SqliteLedger(path).write([usage_row()])


async def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(LedgerError, match=rf"{tmp_path} cannot be used: it is a directory"):
            await SqliteLedger(tmp_path, read_only=read_only).open()


async def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file/voicegw\.db cannot be used: (File|Not a)"):
        await SqliteLedger(tmp_path / "file" / "voicegw.db").open()


async def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="it is not a SQLite database; move it aside"):
            await SqliteLedger(path, read_only=read_only).open()
    assert path.read_text().startswith("Dear diary")


async def test_a_locked_file_is_waited_for_and_then_named(path: Path) -> None:
    async with SqliteLedger(path, busy_timeout=0.05) as ledger:
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"another process has kept it locked for 0\.05 s"):
            await ledger.write([usage_row()])
        assert await ledger.rows(RowFilter(), limit=10) == [], "reading goes on"
        shell.execute("COMMIT")
        shell.close()
        await ledger.write([usage_row()])
        assert len(await ledger.rows(RowFilter(), limit=10)) == 1


async def test_opening_a_current_file_needs_no_lock(path: Path) -> None:
    await write_one(path)
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    async with SqliteLedger(path, busy_timeout=0.05) as ledger:
        assert len(await ledger.rows(RowFilter(), limit=10)) == 1
    shell.close()


async def test_a_read_only_file_can_be_read_and_says_why_it_cannot_be_written(
    shared_folder: Path,
) -> None:
    path = shared_folder / "voicegw.db"
    await write_one(path)
    path.chmod(0o444)
    assert in_process(count, path, user=NOBODY) == 1
    said = in_process(write_one, path, user=NOBODY)
    assert said == (
        f"LedgerError: the ledger {path} cannot be used: it is read-only for this user; make the "
        "file and its folder writable"
    )


async def test_a_file_in_a_read_only_folder_can_be_read(shared_folder: Path) -> None:
    path = shared_folder / "voicegw.db"
    await write_one(path)
    path.chmod(0o444)
    shared_folder.chmod(0o555)
    assert in_process(count, path, user=NOBODY) == 1


async def test_a_file_of_another_user_is_named(shared_folder: Path) -> None:
    path = shared_folder / "voicegw.db"
    await write_one(path)
    said = in_process(count, path, user=NOBODY)
    assert isinstance(said, str)
    assert "this user may not open it; look at the permissions" in said


async def test_a_full_disk_is_named(path: Path) -> None:
    async with SqliteLedger(path) as ledger:
        await ledger.write([usage_row()])
        # as full as a disk can be made without being root
        await pragma(ledger, "max_page_count=1")
        with pytest.raises(LedgerError, match="the disk is full; free some space on it"):
            await ledger.write([usage_row() for _ in range(1000)])
        await pragma(ledger, "max_page_count=1000000")
        await ledger.write([usage_row()])
        assert (await ledger.check_totals()).mismatches == []
