"""What is left of a process that was killed while its usage waited in the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from livekit.agents import utils

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.outbox import Outbox, outbox_file
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger

from .database_faults import locked
from .steady_calls import PATIENCE, Bill, answer, bill_of, emptied, gateway_in, providers

__all__ = ["leave_usage"]

REQUESTS = 5


async def leave_usage() -> tuple[Bill, Bill]:
    """Kill a process whose usage waits in the outbox, and let another one open the ledger.

    Returns:
        What the providers would bill, and what is in the ledger afterwards.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name, "voicegw.db")
        async with SqliteLedger(path):
            pass
        async with providers() as sandbox:
            with contextlib.ExitStack() as stack:
                await asyncio.to_thread(stack.enter_context, locked(path))
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "faulting.survivors"),
                    *(str(folder), str(path), json.dumps(sandbox.urls)),
                    cwd=Path(__file__).parents[1],
                    stdout=asyncio.subprocess.PIPE,
                )
                assert process.stdout is not None
                async with asyncio.timeout(PATIENCE):
                    assert await process.stdout.readline() == b"used\n"
                process.kill()
                await process.wait()
                await asyncio.to_thread(stack.close)
            async with gateway_in(folder, sandbox.urls, path) as gateway, utils.http_context.open():
                box = Outbox(outbox_file(folder / "outbox", gateway.config.database_url))
                assert box.count() > 0, "nothing waited"
                await answer("free")  # so that it opens the ledger
                await emptied(box)
                assert await gateway.flush(PATIENCE)
            billed = await sandbox.bill()
        async with SqliteLedger(path, read_only=True) as reader:
            rows = await reader.rows(RowFilter(), limit=100_000)
            assert (await reader.check_totals()).mismatches == []
        return billed, bill_of(rows)


async def _use(folder: Path, path: Path, urls: dict[str, str]) -> None:
    async with gateway_in(folder, urls, path) as gateway, utils.http_context.open():
        await asyncio.gather(*(answer("free") for _ in range(REQUESTS)))
        assert await gateway.flush(PATIENCE)
        print("used", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_use(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])))
