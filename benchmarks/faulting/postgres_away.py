"""PostgreSQL is away while calls go on, and the process that carries to it is killed meanwhile.

Several processes of one host share an outbox. What the providers would bill is compared with what
PostgreSQL holds when it is back and the outbox is empty. Each process has providers of its own, so
that what the killed one loses is not mistaken for something of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from postgres_server import PostgresServer, run_sql

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.outbox import Outbox, open_outboxes

from .away_worker import Round
from .experiment import Experiment, Finding
from .steady_calls import PATIENCE, Bill, bill_of, providers

__all__ = ["HOUR", "QUICK", "Outcome", "Plan", "be_away", "experiments", "finding", "missing"]

CONFIG: Final = """
database: {{url: '{ledger}', outbox: '{folder}/outbox'}}
default_project: {project}
projects: {{{project}: {{daily_budget: 1000000}}}}
cost_tracking: {{on_ledger_failure: allow}}
providers:
  deepgram: {{api_key: any, stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: any, llm: {{base_url: '{openai}'}}}}
  cartesia: {{api_key: any, tts: {{base_url: '{cartesia}'}}}}
"""

_ALL: Final = 10_000_000

_LOOK: Final = 0.05
"""Seconds between two looks for something that is about to happen."""


class Plan(NamedTuple):
    """What is done.

    Attributes:
        away: Seconds for which PostgreSQL is away.
        survivors: Processes, beside the one that is killed.
        calls: Calls at once in each.
        seconds: How long a call lasts.
        every: Seconds between two turns of a call.
        before: How many times each process holds its calls before and after.
    """

    away: float
    survivors: int
    calls: int
    seconds: float
    every: float
    before: int


HOUR: Final = Plan(away=3600, survivors=2, calls=4, seconds=20, every=4, before=3)
QUICK: Final = Plan(away=2, survivors=1, calls=2, seconds=1.5, every=0.4, before=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Attributes:
        plan: What was done.
        billed: What the providers would bill of the processes that lived.
        recorded: What PostgreSQL has of them.
        killed_billed: What they would bill of the process that was killed.
        killed_recorded: What PostgreSQL has of that.
        errors: What calls ended with that did not end well, and how often.
        turns: Completions and syntheses, in pairs, of those that lived while it was away.
        calm_ms: Longest turn of the event loop of each round of calls before.
        away_ms: The same while it was away.
        rows: Rows in the outbox when it had most.
        megabytes: Size of the outbox when it was largest, journal included.
        seconds_to_take_over: From the kill until another process carried.
        seconds_to_drain: From PostgreSQL's first answer until all that had waited was in it.
        out_of_order: Rows that were written before one that had come earlier.
        mismatches: Lines of totals that are not the sum of their requests.
        left: Rows that still wait in the end.
    """

    plan: Plan
    billed: Bill
    recorded: Bill
    killed_billed: Bill
    killed_recorded: Bill
    errors: dict[str, int]
    turns: int
    calm_ms: Sequence[float]
    away_ms: Sequence[float]
    rows: int
    megabytes: float
    seconds_to_take_over: float
    seconds_to_drain: float
    out_of_order: int
    mismatches: int
    left: int


class _Worker:
    """A process that holds calls."""

    def __init__(self, process: asyncio.subprocess.Process, project: str, log: Path) -> None:
        self.process = process
        self.project = project
        self.rounds: list[Round] = []
        self._log = log
        self._progress = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def more(self, count: int) -> None:
        """Wait until so many more rounds of calls have ended."""
        aim = len(self.rounds) + count
        async with self._progress:
            await self._progress.wait_for(
                lambda: len(self.rounds) >= aim or self.process.returncode is not None
            )
        if self.process.returncode is not None:
            raise RuntimeError(f"a worker has ended:\n{self._log.read_text()[-4000:]}")

    async def end(self) -> None:
        """Let the calls that are held come to their end, and close the gateway."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            if await self.process.wait():
                raise RuntimeError(f"a worker failed:\n{self._log.read_text()[-4000:]}")
            await self._reading

    async def kill(self) -> None:
        """End it without letting it do anything."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.rounds.append(Round(**json.loads(line)))
            async with self._progress:
                self._progress.notify_all()
        await self.process.wait()
        async with self._progress:
            self._progress.notify_all()


class _Host:
    """Processes that share an outbox."""

    def __init__(self, folder: Path, url: str, plan: Plan) -> None:
        self._folder = folder
        self._url = url
        self._plan = plan
        self._workers: list[_Worker] = []

    async def start(self, urls: dict[str, str]) -> _Worker:
        """Start a process that holds calls for a project of its own.

        Args:
            urls: The base URL of each provider.
        """
        project = f"project-{urls['openai'].rpartition(':')[2].partition('/')[0]}"
        config, log = self._folder / f"{project}.yaml", self._folder / f"{project}.log"
        config.write_text(
            CONFIG.format(folder=self._folder, ledger=self._url, project=project, **urls)
        )
        benchmarks, plan = Path(__file__).parents[1], self._plan
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "faulting.away_worker", str(config)),
                *("--calls", str(plan.calls), "--seconds", str(plan.seconds)),
                *("--every", str(plan.every)),
                cwd=benchmarks,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{benchmarks}:{os.environ.get('PYTHONPATH', '')}",
                },
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        worker = _Worker(process, project, log)
        self._workers.append(worker)
        return worker

    def outbox(self) -> Outbox:
        """What they share."""
        [config, *_] = self._folder.glob("*.yaml")
        [outbox] = open_outboxes(load_config(config, env={}))
        return outbox

    async def end(self) -> None:
        await asyncio.gather(*(worker.kill() for worker in self._workers))


class _Sizes:
    """Looks at an outbox once a second, at how much is in it."""

    def __init__(self, outbox: Outbox) -> None:
        self.rows = 0
        self.megabytes = 0.0
        self._outbox = outbox

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(1)

    def look(self) -> None:
        self.rows = max(self.rows, self._outbox.count())
        size = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(f"{self._outbox.path}{suffix}").st_size
        self.megabytes = max(self.megabytes, size / 1e6)


async def be_away(plan: Plan, server: PostgresServer) -> Outcome:
    """Take PostgreSQL away from a host whose processes hold calls, and give it back.

    Args:
        plan: What is done.
        server: The PostgreSQL.
    """
    url = server.fresh_database()
    with tempfile.TemporaryDirectory() as name:
        host = _Host(Path(name), url, plan)
        async with AsyncExitStack() as stack:
            # at once: each takes seconds to start
            sandboxes = await asyncio.gather(
                *(stack.enter_async_context(providers()) for _ in range(plan.survivors + 1))
            )
            try:
                workers = await asyncio.gather(*(host.start(one.urls) for one in sandboxes))
                outbox = host.outbox()
                killed = await _carried_by(outbox, *workers)
                living = [worker for worker in workers if worker is not killed]
                await asyncio.gather(*(one.more(plan.before) for one in living))

                server.stop()
                stopped_at = time.time()
                sizes = _Sizes(outbox)
                async with _beside(sizes.watch()):
                    await asyncio.sleep(plan.away / 2)
                    await asyncio.gather(*(one.more(1) for one in workers))
                    killed.process.kill()
                    killed_at = time.monotonic()
                    carrier = await _carried_by(outbox, *living)
                    seconds_to_take_over = time.monotonic() - killed_at
                    await killed.kill()
                    await asyncio.sleep(max(0.0, stopped_at + plan.away - time.time()))
                waiting, last = outbox.after(0, _ALL)
                sizes.look()

                server.start()  # on this thread: it ends with the one that has started it
                back_at, began = time.time(), time.monotonic()
                await _drained(outbox, last)
                seconds_to_drain = time.monotonic() - began

                await asyncio.gather(*(one.more(plan.before) for one in living))
                for one in sorted(living, key=lambda one: one is carrier):
                    await one.end()
                left = outbox.count()
                outbox.close()
            finally:
                await host.end()
                if server.process is None:
                    server.start()
            bills = dict(
                zip(workers, await asyncio.gather(*(one.bill() for one in sandboxes)), strict=True)
            )
    async with make_ledger(url, read_only=True) as ledger:
        rows = await ledger.rows(RowFilter(), limit=_ALL)
        mismatches = len((await ledger.check_totals()).mismatches)
    closed = [one.row.id for one in waiting if one.row.status != "open"]
    out_of_order = _out_of_order(url, closed)
    server.take_back(url)
    before, during = _rounds(living, stopped_at, back_at)
    return Outcome(
        plan=plan,
        billed=_added_up([bills[one] for one in living]),
        recorded=bill_of([row for row in rows if row.project != killed.project]),
        killed_billed=bills[killed],
        killed_recorded=bill_of([row for row in rows if row.project == killed.project]),
        errors=_errors([held for one in workers for held in one.rounds]),
        turns=sum(held.turns for held in during),
        calm_ms=[held.longest_ms for held in before],
        away_ms=[held.longest_ms for held in during],
        rows=sizes.rows,
        megabytes=sizes.megabytes,
        seconds_to_take_over=seconds_to_take_over,
        seconds_to_drain=seconds_to_drain,
        out_of_order=out_of_order,
        mismatches=mismatches,
        left=left,
    )


async def _carried_by(outbox: Outbox, *workers: _Worker) -> _Worker:
    """Wait until one of these processes is the one that carries, and return it."""
    by_pid: dict[int | None, _Worker] = {worker.process.pid: worker for worker in workers}
    async with asyncio.timeout(PATIENCE):
        while (pid := outbox.carrier()) not in by_pid:  # noqa: ASYNC110 - another process's lock
            await asyncio.sleep(_LOOK)
    return by_pid[pid]


async def _drained(outbox: Outbox, last: int) -> None:
    """Wait until nothing waits that came before or with this number."""
    async with asyncio.timeout(10 * PATIENCE):
        while (first := outbox.after(0, 1)[0]) and first[0].sequence <= last:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)


def _out_of_order(url: str, ids: Sequence[str]) -> int:
    """How many rows were written by a later transaction than the one that comes after them."""
    written = {
        row_id: int(transaction)
        for row_id, transaction in run_sql(url, "SELECT id, xmin::text FROM usage")
    }
    order = [written[row_id] for row_id in ids if row_id in written]
    return sum(earlier > later for earlier, later in pairwise(order))


def _rounds(
    workers: Sequence[_Worker], stopped_at: float, back_at: float
) -> tuple[list[Round], list[Round]]:
    """Those that ended before PostgreSQL went away, and those of the time in which it was away.

    The first of each process is left out, if there are more: in that it makes its connections.
    """
    before: list[Round] = []
    during: list[Round] = []
    for worker in workers:
        calm = [held for held in worker.rounds if held.ended <= stopped_at]
        before += calm[1:] or calm
        during += [
            held for held in worker.rounds if held.began < back_at and held.ended > stopped_at
        ]
    return before, during


def _added_up(bills: Sequence[Bill]) -> Bill:
    requests = Counter[str]()
    for bill in bills:
        requests.update(bill.requests)
    return Bill(
        dict(sorted(requests.items())),
        round(sum(bill.audio_seconds for bill in bills), 2),
        sum(bill.tokens for bill in bills),
        sum(bill.characters for bill in bills),
    )


def _errors(rounds: Sequence[Round]) -> dict[str, int]:
    errors: dict[str, int] = {}
    for held in rounds:
        for error, count in held.errors.items():
            errors[error] = errors.get(error, 0) + count
    return errors


@contextlib.asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.wait([task])


def missing(whole: Bill, part: Bill) -> list[str]:
    """What is in the one bill and not in the other, in words.

    A connection that is made again is the same stream, so that these are not counted.
    """
    differences = {
        "s of audio": whole.audio_seconds - part.audio_seconds,
        "tokens": whole.tokens - part.tokens,
        "characters": whole.characters - part.characters,
        **{
            f"{modality} requests": count - part.requests.get(modality, 0)
            for modality, count in whole.requests.items()
            if modality != "stt"
        },
    }
    return [f"{by:.6g} {unit}" for unit, by in differences.items() if by > 0.01]


def finding(outcome: Outcome) -> Finding:
    """The line of the table."""
    plan = outcome.plan
    lost = missing(outcome.billed, outcome.recorded)
    killed = missing(outcome.killed_billed, outcome.killed_recorded)
    twice = missing(outcome.recorded, outcome.billed)
    how_long = f"{plan.away / 60:g} minutes" if plan.away >= 60 else f"{plan.away:g} s"
    notes = [
        f"{outcome.turns:,} turns meanwhile, {sum(outcome.errors.values())} failed",
        f"up to {outcome.rows:,} rows ({outcome.megabytes:.1f} MB) in the outbox",
        f"another process carried {outcome.seconds_to_take_over:.1f} s after the kill",
        f"drained in {outcome.seconds_to_drain:.1f} s, {outcome.out_of_order} rows out of order",
        "longest turn of the loop of a call, median: "
        f"{statistics.median(outcome.away_ms):.1f} ms, before "
        f"{statistics.median(outcome.calm_ms):.1f} ms",
    ]
    if outcome.mismatches or outcome.left:
        notes.append(f"{outcome.mismatches} wrong totals, {outcome.left} rows left behind")
    return Finding(
        fault=f"PostgreSQL is away for {how_long}, and the process that carries is killed",
        tries=1,
        lost=(", ".join(lost) or "nothing")
        + f"; of the {plan.calls} calls of the killed process {', '.join(killed) or 'nothing'}",
        twice=", ".join(twice) or "nothing",
        added_ms=max(outcome.away_ms) - max(outcome.calm_ms),
        note="; ".join(notes),
    )


async def _run(quick: bool) -> list[Finding]:
    server = PostgresServer()
    try:
        return [finding(await be_away(QUICK if quick else HOUR, server))]
    finally:
        server.remove()


def experiments() -> list[Experiment]:
    """The one."""
    return [Experiment("postgres-away", _run)]
