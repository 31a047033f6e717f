"""Power cuts, as far as they can be simulated: what the disk was not told to keep is torn.

A process writes rows and says when they are durable. Files are copied while it stands still in the
middle of its work; in the copy, whatever had not been synced by then is old, new or garbage by
chance, sector by sector, as a disk may leave it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow

__all__ = ["cut_power", "usage_row"]

SEED: Final = 20261123
SECTOR: Final = 512
ROWS: Final = 200

OF_ONE_FILE: Final = 100
"""Cuts after which a new file is begun: by then the -wal was copied and begun anew many times."""

LONGEST: Final = 0.02
"""Seconds after which the power is cut at most, counted from the last rows that were durable."""


def cut_power(tries: int) -> int:
    """Cut the power so many times.

    Returns:
        How many rows are not there afterwards of those that were said to be durable.

    Raises:
        AssertionError: A file cannot be used afterwards, or its totals are not the sums.
    """
    chance = random.Random(SEED)
    return sum(
        _cut_power(min(OF_ONE_FILE, tries - done), chance) for done in range(0, tries, OF_ONE_FILE)
    )


def _cut_power(tries: int, chance: random.Random) -> int:
    lost = 0
    durable: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        path, copy = Path(name, "voicegw.db"), Path(name, "copy.db")
        with subprocess.Popen(
            [sys.executable, "-m", "faulting.power_cut", str(path)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            try:
                for _ in range(tries):
                    durable.update(json.loads(writer.stdout.readline()))
                    synced = _files(path)
                    writer.stdin.write("go\n")
                    writer.stdin.flush()
                    time.sleep(chance.uniform(0, LONGEST))
                    os.kill(writer.pid, signal.SIGSTOP)
                    try:
                        _tear(synced, _files(path), copy, chance)
                    finally:
                        os.kill(writer.pid, signal.SIGCONT)
                    lost += len(durable - asyncio.run(_read(copy)))
            finally:
                writer.kill()
    return lost


def _files(path: Path) -> tuple[bytes, bytes]:
    return path.read_bytes(), Path(f"{path}-wal").read_bytes()


def _tear(
    synced: tuple[bytes, bytes], now: tuple[bytes, bytes], copy: Path, chance: random.Random
) -> None:
    """Write what a disk may have, of which ``synced`` is safe and what came since is not."""
    for suffix in ("-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    main, wal = now
    if main != synced[0]:
        # pages are copied to the file after all that is in the -wal has been synced
        if _salts(wal) == _salts(synced[1]):
            main = _torn(synced[0], main, chance)
        # else the -wal was begun anew, and before that the file was synced, too
    elif _salts(wal) == _salts(synced[1]):
        wal = _torn(synced[1], wal, chance)
    copy.write_bytes(main)
    Path(f"{copy}-wal").write_bytes(wal)


def _torn(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """A file of which some sectors were written and some not; what was not touched is as it was,
    within a sector, too, as SQLite takes it to be (its "powersafe overwrite")."""
    length = chance.choice([len(new), chance.randint(min(len(old), len(new)), len(new))])
    torn = bytearray(new[:length])
    for start in range(0, length, SECTOR):
        before, after = old[start : start + SECTOR], new[start : start + SECTOR]
        if before != after:
            both = zip(before, after, strict=False)
            same = next((i for i, (a, b) in enumerate(both) if a != b), len(before))
            before = before.ljust(len(after), b"\0")
            garbage = after[:same] + chance.randbytes(len(after) - same)
            torn[start : start + SECTOR] = chance.choice([before, after, garbage])[: length - start]
    return bytes(torn)


def _salts(wal: bytes) -> tuple[int, ...]:
    return struct.unpack(">2I", wal[16:24]) if len(wal) >= 24 else ()


async def _read(path: Path) -> set[str]:
    async with SqliteLedger(path) as ledger:
        check = await ledger.check_totals()
        assert check.mismatches == [], check.mismatches
        return {row.id for row in await ledger.rows(RowFilter(), limit=1_000_000)}


async def _write_for_ever(path: Path) -> None:
    """The process whose power is cut: says the ids of rows that are durable, waits, goes on."""
    async with SqliteLedger(path) as ledger:
        while True:
            rows = [usage_row() for _ in range(random.randint(1, ROWS))]
            await ledger.write(rows)
            print(json.dumps([row.id for row in rows]), flush=True)
            sys.stdin.readline()


def usage_row() -> UsageRow:
    """A completed, priced completion."""
    return UsageRow(
        id=uuid7(),
        request_id=uuid7(),
        started_at=time.time(),
        ended_at=time.time(),
        day="2027-01-15",
        project="prod",
        modality="llm",
        provider="openai",
        model="gpt-4.1-mini",
        requested_model="openai/gpt-4.1-mini",
        status="completed",
        input_tokens=100,
        output_tokens=20,
        cost_nanos=72_000,
        duration_ms=1000.0,
    )


if __name__ == "__main__":
    asyncio.run(_write_for_ever(Path(sys.argv[1])))
