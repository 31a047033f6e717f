"""Many processes that open a new ledger at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

from .power_cut import usage_row

__all__ = ["open_at_once"]

PATIENCE = 300.0
"""Seconds that anything may take on a busy machine."""


async def open_at_once(count: int) -> int:
    """Let processes open a ledger that is not there yet, all at the same moment, and write.

    Returns:
        How many of their rows are not there afterwards.
    """
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "voicegw.db")
        async with contextlib.AsyncExitStack() as stack:
            started = []
            for _ in range(count):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "faulting.opened_at_once", str(path)),
                    cwd=Path(__file__).parents[1],
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                stack.push_async_callback(process.wait)
                started.append(process)
            async with asyncio.timeout(PATIENCE):
                for process in started:
                    assert process.stdout is not None
                    assert await process.stdout.readline() == b"ready\n"
                for process in started:
                    assert process.stdin is not None
                    process.stdin.write(b"go\n")
                answers = [(await process.communicate())[0] for process in started]
        async with SqliteLedger(path, read_only=True) as reader:
            rows = await reader.rows(RowFilter(), limit=count + 1)
            assert (await reader.check_totals()).mismatches == []
        return count - len(
            {row.id for row in rows} & {answer.decode().strip() for answer in answers}
        )


async def _open(path: Path) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    row = usage_row()
    async with SqliteLedger(path, busy_timeout=PATIENCE) as ledger:
        await ledger.write([row])
    print(row.id, flush=True)


if __name__ == "__main__":
    asyncio.run(_open(Path(sys.argv[1])))
