"""Jobs of a worker, held until they die, and what is left of them in the ledger.

A worker (`faulting.killed_worker`) runs jobs in processes of their own (`faulting.killed_call`).
The sandbox's record, in this process, says what was billed (`faulting.killed_bill`); whoever opens
the ledger afterwards says what is left of it. `faulting.kill` makes experiments of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.ledger import STALE_AFTER, make_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter, TotalsCheck
from livekit_plugins_voicegateway.ledger.outbox import drain
from livekit_plugins_voicegateway.metering.usage import Modality, Status, UsageRow
from livekit_plugins_voicegateway.sandbox import Sandbox

from .killed_bill import Bill, Stream, compare
from .killed_call import (
    ANSWER,
    MOMENTS,
    PROMPT_TOKENS,
    SENTENCES,
    Death,
    Plan,
    missed_turns,
    pulse_of,
)

__all__ = ["AT_ONCE", "Calls", "Outcome", "hold_calls"]

AT_ONCE = 3
"""Jobs that live at the same time."""

PATIENCE = 120.0
"""Seconds that anything may take on a busy machine."""

ON_ITS_WAY = {"stt": 0.15, "llm": PROMPT_TOKENS, "tts": max(map(len, SENTENCES)) + len(SENTENCES)}
"""What may be recorded and not billed of a stream that was under way: audio that the network had; a
prompt that had not left; text that the plugin held back until the sentence is whole, and blanks."""

_ENDS_AT_NOTE: frozenset[Death] = frozenset(
    {"statement", "commit", "exit", "crash", "no-memory", "stuck-loop", "stuck-process"}
)
"""Deaths after whose note a process takes in nothing more."""

CONFIG = """
database: {{url: 'sqlite:///{folder}/voicegw.db', outbox: '{folder}/outbox'}}
default_project: first
projects:
  first: {{}}
  second: {{daily_budget: 100, budget_action: block}}
providers:
  deepgram: {{api_key: any, base_url: '{deepgram}'}}
  openai: {{api_key: any, base_url: '{openai}'}}
  cartesia: {{api_key: any, base_url: '{cartesia}'}}
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job.

    Attributes:
        plan: How it was to end.
        at: When its process ended, or could take in nothing any more; Unix time.
        status: Exit status of the process, below 0 for the signal that ended it; None when the
            worker, which would know, ended before.
        stood_still: Seconds for which the machine had no time for it, or for who watched it, in the
            last two seconds: no promise covers them.
        streams: All its requests.
        left_open: Rows that it left open.
        rows: Its rows after the next process has opened the ledger.
    """

    plan: Plan
    at: float
    status: int | None
    stood_still: float
    streams: Sequence[Stream]
    left_open: int
    rows: Sequence[UsageRow]

    def seconds_lost(self, modality: Modality | None = None) -> list[float]:
        """Of each stream that was under way, the seconds of it that are not recorded."""
        return [
            stream.seconds_lost
            for stream in self.streams
            if (stream.under_way or stream.lost) and modality in (None, stream.modality)
        ]

    @property
    def twice(self) -> list[Stream]:
        """The streams of which more is recorded than was billed or on its way."""
        ended = {"stt": 0.0, "llm": 0.0, "tts": len(SENTENCES)}
        return [
            stream
            for stream in self.streams
            if stream.ahead > (ON_ITS_WAY if stream.under_way else ended)[stream.modality] + 1e-6
        ]


class Calls:
    """A worker, the providers of its calls, and the ledger; made by `hold_calls`.

    Attributes:
        sandbox: The providers.
        checks: Whether totals were the sums of the requests, each time that the ledger was opened.
        leased: Nano-dollars that were still leased then.
    """

    def __init__(
        self, sandbox: Sandbox, bill: Bill, process: asyncio.subprocess.Process, folder: Path
    ) -> None:
        self.sandbox = sandbox
        self.checks: list[TotalsCheck] = []
        self.leased: list[int] = []
        self._bill = bill
        self._process = process
        self._folder = folder
        self._config = load_config(folder / "voicegw.yaml", env={})
        self._events: dict[tuple[str, str], asyncio.Future[dict[str, Any]]] = {}
        self._process_ended = False
        self._reading = asyncio.create_task(self._read())

    async def end(
        self,
        plans: Sequence[Plan],
        *,
        number: signal.Signals | None = None,
        locked: bool = False,
    ) -> list[Outcome]:
        """Begin a job for each plan, let all of them end as planned, and reckon up.

        Args:
            plans: What is to become of them.
            number: Sent to the worker when the longest delay is over; it is its end.
            locked: Let nobody write the ledger from the moment when all of them hold calls.
        """
        ends = asyncio.gather(*(self._one(plan) for plan in plans))
        lock = None
        if number is not None or locked:
            await asyncio.gather(*(self._bill.begun(plan.room) for plan in plans))
        if locked:
            lock = await asyncio.to_thread(self._lock)
        if number is not None:
            await asyncio.sleep(max(plan.delay for plan in plans))
            self._process.send_signal(number)
        ended = await asyncio.wait_for(ends, PATIENCE)
        if lock is not None:
            lock.close()
        await self.sandbox.settled()
        await self._bill.looked()

        left_open = [len(await self._rows(plan.room, status="open")) for plan in plans]
        await self._open_next()
        return [
            await self._outcome(plan, at, status, left)
            for plan, (at, status), left in zip(plans, ended, left_open, strict=True)
        ]

    async def close(self) -> None:
        """End the worker, if it has not ended; by force when it takes long: it holds no calls."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        if self._process.returncode is None:
            self._process.kill()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _one(self, plan: Plan) -> tuple[float, int | None]:
        assert self._process.stdin is not None
        room = plan.room
        self._process.stdin.write(f"{room}\n".encode())
        pid = (await self.event("begun", room))["pid"]
        gone = asyncio.create_task(_gone(pid))
        at = None
        try:
            if plan.death == "killed":
                await self._bill.begun(room)
                await asyncio.sleep(plan.delay)
                at = time.time()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            gone_at = await gone
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
        ended = await self.event("ended job", room)
        return at or self._noted(plan) or gone_at, ended.get("status")

    async def _outcome(self, plan: Plan, at: float, status: int | None, left_open: int) -> Outcome:
        rows = await self._rows(plan.room)
        outcome = Outcome(
            plan,
            at,
            status,
            max(
                self._bill.stood_still(at),
                missed_turns(pulse_of(self._folder, plan.room), at),
            ),
            compare(self._bill, plan.room, rows, at=at),
            left_open,
            rows,
        )
        self._bill.forget(plan.room)
        return outcome

    async def _rows(self, room: str, status: Status | None = None) -> list[UsageRow]:
        async with make_ledger(self._config.database_url, read_only=True) as ledger:
            rows = await ledger.rows(RowFilter(room=room), limit=1000)
        return [row for row in rows if status in (None, row.status)]

    async def _open_next(self) -> None:
        """Open the ledger as the next processes do, a minute later and another one."""
        for later in (STALE_AFTER + 1, 2 * STALE_AFTER + 2):
            gateway = Gateway(self._config, env={}, clock=_ahead(later))
            ledger = await gateway._open_ledger()
            waited = 0
            try:
                for outbox in gateway._open_outboxes():
                    waited += await drain(outbox, ledger) or 0
                    outbox.close()
                self.checks.append(await ledger.check_totals())
                today = self._config.days.day_of(gateway.clock())
                _, leased = await ledger.budget_status("second", today)
                self.leased.append(leased)
            finally:
                await ledger.close()
                gateway.close()
            if not waited:
                return  # what came out of an outbox was seen last by whoever took it out

    def _lock(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._folder / "voicegw.db",
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def _noted(self, plan: Plan) -> float | None:
        """When the process noted that it dies, if it takes in nothing more afterwards."""
        if plan.death not in _ENDS_AT_NOTE:
            return None
        for line in (self._folder / "moments").read_text().splitlines():
            noted = json.loads(line)
            if noted["room"] == plan.room:
                return float(noted["at"])
        raise RuntimeError(f"the job in room {plan.room!r} did not die as planned")

    def event(self, name: str, room: str = "") -> asyncio.Future[dict[str, Any]]:
        found = self._events.setdefault((name, room), asyncio.get_running_loop().create_future())
        if self._process_ended and not found.done():
            found.set_result({})  # it ended without a word
        return found

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            event = json.loads(line)
            found = self.event(event["event"], event.get("room", ""))
            if not found.done():
                found.set_result(event)
        self._process_ended = True
        for event in list(self._events):
            self.event(*event)


def _ahead(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


async def _gone(pid: int) -> float:
    """Wait until a process has ended, and return when, Unix time."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[float] = loop.create_future()
    file = os.pidfd_open(pid)

    def note() -> None:
        if not ended.done():
            ended.set_result(time.time())

    loop.add_reader(file, note)
    try:
        return await ended
    finally:
        loop.remove_reader(file)
        os.close(file)


@contextlib.asynccontextmanager
async def hold_calls(**options: object) -> AsyncIterator[Calls]:
    """Start the providers and a worker for jobs that are to end.

    Args:
        options: Of LiveKit's ``AgentServer``, beside those that `faulting.killed_worker` sets.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with Sandbox() as sandbox, Bill(sandbox) as bill:
            sandbox.openai.replies = [ANSWER]
            sandbox.openai.tokens_per_second = 40
            sandbox.openai.time_to_first_token = 0.1
            sandbox.cartesia.pace = 6
            sandbox.cartesia.time_to_first_audio = 0.1
            (folder / "tmp").mkdir()
            (folder / "voicegw.yaml").write_text(CONFIG.format(folder=folder, **sandbox.base_urls))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "faulting.killed_worker",
                json.dumps({"num_idle_processes": AT_ONCE, **options}),
                cwd=Path(__file__).parents[1],
                env=_environment(folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if os.environ.get("FAULTING_LOG") else asyncio.subprocess.DEVNULL,
            )
            try:
                calls = Calls(sandbox, bill, process, folder)
                await asyncio.wait_for(calls.event("ready"), PATIENCE)
                yield calls
                await calls.close()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def _environment(folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIVEKIT_", "VOICEGW_")) and "API_KEY" not in name
    }
    return kept | {
        "VOICEGW_CONFIG": str(folder / "voicegw.yaml"),
        MOMENTS: str(folder / "moments"),
        "TMPDIR": str(folder / "tmp"),  # jobs that are killed leave their files behind
        "NO_PROXY": "127.0.0.1",
    }
