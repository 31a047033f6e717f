"""The outbox keeps usage on this host until a ledger has taken it, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.usage_rows import in_process, start_process, usage_row

from livekit_plugins_voicegateway.errors import LedgerError, OutboxError
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.outbox import BATCH, Outbox, drain, outbox_file
from livekit_plugins_voicegateway.metering.usage import UsageRow


class Taker:
    """A ledger that remembers what it was given, and refuses what ``refuses`` says."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.refuse_after: int | None = None

    async def write(self, rows: list[UsageRow]) -> None:
        if self.refuse_after is not None and len(self.batches) >= self.refuse_after:
            raise LedgerError("the ledger is away")
        self.batches.append([row.id for row in rows])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


def rows_in(outbox: Outbox) -> list[UsageRow]:
    return [one.row for one in outbox.after(0, 100_000)[0]]


def test_rows_come_back_as_they_were_put_in_order_of_arrival(path: Path) -> None:
    rows = [
        usage_row(),
        usage_row(status="open", room="a 'room'\x00", error="caf\xe9"),
        usage_row(),
    ]
    outbox = Outbox(path)
    outbox.put(rows[:2])
    outbox.put(rows[2:])
    assert rows_in(outbox) == rows
    assert rows_in(Outbox(path)) == rows
    assert outbox.count() == 3


def test_a_text_that_is_no_text_to_a_database_is_kept_all_the_same(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row(error="half of a pair: \ud83d", duration_ms=float("nan"))])
    [row] = rows_in(outbox)
    assert "half of a pair: ?" in (row.error or "")
    assert "duration_ms=nan" in (row.error or "")


def test_a_newer_version_of_a_row_takes_the_place_of_the_older_one(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row(id="a", status="open", output_tokens=5)])
    read, _ = outbox.after(0, 10)
    outbox.put([usage_row(id="a", output_tokens=9)])
    outbox.remove(read)  # what was sent is the older one
    [row] = rows_in(outbox)
    assert (row.status, row.output_tokens) == ("completed", 9)


def test_only_its_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        outbox = Outbox(path)
        outbox.put([usage_row()])
        with outbox.draining():
            files = sorted(path.parent.iterdir())
            assert len(files) >= 2
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_folder_that_another_user_has_made_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "voicegateway-0"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(OutboxError, match="belongs to another user"):
        Outbox(folder / "outbox.db").put([usage_row()])
    assert list(folder.iterdir()) == []


def test_it_says_where_and_why_it_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outbox = Outbox(tmp_path / "file" / "outbox.db")
    with pytest.raises(OutboxError, match=r"file/outbox\.db cannot be used: (Not a dir|File exi)"):
        outbox.put([usage_row()])


def test_it_is_bounded_and_keeps_what_it_has(path: Path) -> None:
    outbox = Outbox(path, limit_bytes=80_000)

    def fill() -> None:
        for _ in range(1000):
            outbox.put([usage_row(error="x" * 500)])

    with pytest.raises(OutboxError, match="it is full: it has"):
        fill()
    kept = outbox.count()
    assert kept > 20
    outbox.remove(outbox.after(0, kept)[0])
    outbox.put([usage_row()])  # space that is free is used again
    assert outbox.count() == 1


def test_a_file_that_is_deleted_or_replaced_is_made_anew(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row()])
    for file in path.parent.iterdir():
        file.unlink()
    outbox.put([usage_row(id="b")])
    assert [row.id for row in rows_in(Outbox(path))] == ["b"]


def test_a_damaged_file_is_moved_aside_and_never_overwritten(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    garbage = b"no database at all " * 500
    path.write_bytes(garbage)
    outbox = Outbox(path)
    outbox.put([usage_row(id="a")])
    assert [row.id for row in rows_in(outbox)] == ["a"]
    [aside] = path.parent.glob("outbox.db.corrupt-*Z")
    assert aside.read_bytes() == garbage
    [record] = caplog.records
    assert str(aside) in record.message


def test_rows_of_a_newer_version_stay_for_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row(id="a"), usage_row(id="b")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE waiting SET row = '[\"a\", 1, 2]' WHERE id = 'a'")
    assert [row.id for row in rows_in(outbox)] == ["b"]
    assert outbox.count() == 2
    assert "cannot be read by this version" in caplog.text


async def test_draining_sends_in_order_of_arrival_and_empties_it(path: Path) -> None:
    outbox = Outbox(path)
    rows = [usage_row() for _ in range(BATCH + 5)]
    outbox.put(rows)
    taker = Taker()
    assert await drain(outbox, taker) == BATCH + 5
    assert [row_id for batch in taker.batches for row_id in batch] == [row.id for row in rows]
    assert outbox.count() == 0
    assert await drain(outbox, taker) == 0


async def test_what_the_ledger_has_not_committed_stays(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row() for _ in range(BATCH * 2)])
    taker = Taker()
    taker.refuse_after = 1
    with pytest.raises(LedgerError):
        await drain(outbox, taker)
    assert outbox.count() == BATCH
    taker.refuse_after = None
    assert await drain(outbox, taker) == BATCH


async def test_one_process_drains_at_a_time_and_the_next_takes_over_when_it_is_killed(
    path: Path,
) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row(id="a")])

    async def hold() -> None:
        with Outbox(path).draining() as ours:
            print(ours)
            os.kill(os.getpid(), signal.SIGSTOP)

    process, _ = start_process(hold)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid or 0, os.WSTOPPED)
    taker = Taker()
    assert await drain(outbox, taker) is None
    assert taker.batches == []
    process.kill()
    process.join()
    assert await drain(outbox, taker) == 1


async def test_many_processes_put_and_a_ledger_gets_each_row_once(
    path: Path, tmp_path: Path
) -> None:
    async def put(number: int) -> None:
        outbox = Outbox(path)
        for index in range(50):
            row = usage_row(id=f"{number}-{index:02}", status="open", duration_ms=float(index))
            outbox.put([row])
            outbox.put([usage_row(id=row.id, duration_ms=float(index + 1))])
        os.kill(os.getpid(), signal.SIGKILL)  # nothing is closed, nothing is said goodbye to

    processes = [start_process(put, number)[0] for number in range(4)]
    for process in processes:
        process.join()
        assert process.exitcode == -signal.SIGKILL
    async with await open_ledger(f"sqlite:///{tmp_path}/voicegw.db") as ledger:
        outbox = Outbox(path)
        for _ in range(2):
            waiting, _ = outbox.after(0, 1000)
            assert await drain(outbox, ledger) == len(waiting)
            outbox.put([one.row for one in waiting])  # as if the process had died before it removed
        found = await ledger.rows(RowFilter(), limit=1000)
        assert len(found) == 200
        assert {row.status for row in found} == {"completed"}
        assert (await ledger.check_totals()).mismatches == []


def test_each_ledger_has_an_outbox_of_its_own_whatever_its_password(tmp_path: Path) -> None:
    files = {
        outbox_file(tmp_path, url).name
        for url in (
            "postgresql://voicegw:old@db/one",
            "postgresql://voicegw:new@db/one",
            "postgresql://voicegw:new@db/two",
        )
    }
    assert len(files) == 2
    assert not any("new" in name or "old" in name for name in files)


def test_nothing_is_made_where_nothing_was_put(path: Path) -> None:
    outbox = Outbox(path)
    assert outbox.count() == 0
    assert not path.parent.exists()
    assert in_process(_count_of, path) == 0


async def _count_of(path: Path) -> int:
    return Outbox(path).count()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who has a lock")
async def test_it_says_which_process_sends_on_what_waits(path: Path) -> None:
    outbox = Outbox(path)
    assert outbox.carrier() is None
    outbox.put([usage_row()])
    assert outbox.carrier() is None

    async def hold() -> None:
        with Outbox(path).draining():
            os.kill(os.getpid(), signal.SIGSTOP)

    process, _ = start_process(hold)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid or 0, os.WSTOPPED)
    assert outbox.carrier() == process.pid
    process.kill()
    process.join()
    assert outbox.carrier() is None


def test_who_only_looks_moves_no_damaged_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(OutboxError, match="not a database"):
        Outbox(path, mend=False).count()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_outbox_that_an_older_version_has_made_is_used_as_it_is(path: Path) -> None:
    Outbox(path).put([usage_row(id="a")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE refused")
    outbox = Outbox(path)
    assert outbox.count_refused() == 0
    assert [row.id for row in rows_in(outbox)] == ["a"]


def test_of_rows_of_a_newer_version_the_log_speaks_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(path)
    outbox.put([usage_row(id="a"), usage_row(id="b")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE waiting SET row = '[1, 2]'")
    for _ in range(3):
        assert rows_in(outbox) == []
    assert len(caplog.records) == 1
