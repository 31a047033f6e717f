"""How many rows of usage a ledger takes, from one process and from many.

    python benchmarks/ledger.py [--engine sqlite|postgres …] [--processes N …] [--rows N]
                                [--seconds S] [--rounds N] [--quick] [--json]

Each process writes batches as the recorder does, one after the other, to one ledger: new rows, and
the same again as their requests end. A row counts when the write that it was in is durable. The
rows are made beforehand: what making them costs is in `overhead.py`. SQLite has one file;
PostgreSQL is a server of its own, on the same machine and set up as it is by itself, and a process
stands for a host there, of which one process sends rows on. Prints Markdown: medians of the rounds,
and how long a write took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Literal, NamedTuple, get_args

from postgres_server import PostgresServer

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow

Engine = Literal["sqlite", "postgres"]

ROWS = 500
"""Rows of a write: what each of 8 processes has to say five times a second, as recorders do, when
they come to 20,000 rows a second."""

MADE_PER_SECOND = 40_000
"""Rows that all processes make beforehand for each second; any more are made on the way."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round.

    Attributes:
        engine: What keeps the ledger.
        processes: How many wrote.
        rows: Rows of a write.
        rows_per_second: Durable rows of all of them.
        median_ms: A write, in milliseconds.
        slowest_ms: The slowest one.
        given_up: Writes that did not get the lock within 5 s, and were tried again.
        requests: Requests that the ledger has in the end, by its totals.
        written: Requests that were written.
    """

    engine: Engine
    processes: int
    rows: int
    rows_per_second: float
    median_ms: float
    slowest_ms: float
    given_up: int
    requests: int
    written: int


class _Told(NamedTuple):
    rows: int
    seconds: float
    writes_ms: list[float]
    given_up: int


def batch(process: int, count: int, at: float) -> list[UsageRow]:
    """Rows of requests that have just begun, of a few projects and models."""
    day = time.strftime("%Y-%m-%d", time.gmtime(at))
    models = (("stt", "deepgram", "nova-3"), ("llm", "openai", "gpt-4.1-mini"))
    rows = []
    for number in range(count):
        modality, provider, model = models[number % 2]
        rows.append(
            UsageRow(
                id=uuid7(),
                request_id=uuid7(),
                started_at=at,
                ended_at=None,
                day=day,
                project=f"project-{number % 4}",
                modality=modality,  # type: ignore[arg-type]
                provider=provider,
                model=model,
                requested_model=f"{provider}/{model}",
                status="open",
                room=f"call-{process}-{number % 50}",
                audio_seconds=1.5 if modality == "stt" else 0.0,
                input_tokens=0 if modality == "stt" else 250,
                cost_nanos=120_000,
                price="benchmark",
                duration_ms=700.0,
            )
        )
    return rows


def batches(process: int, count: int) -> Iterator[list[UsageRow]]:
    """Batches of a process: rows that have begun, then the same as they end, and so on."""
    while True:
        now = time.time()
        begun = batch(process, count, now)
        yield begun
        yield [
            replace(row, status="completed", ended_at=now + 1, duration_ms=1000.0) for row in begun
        ]


async def _write(url: str, process: int, work: _Work) -> _Told:
    made = batches(process, work.rows)
    ready = [next(made) for _ in range(work.prepared)]
    async with await open_ledger(url) as ledger:
        await asyncio.to_thread(work.start.wait)
        took: list[float] = []
        began, rows, given_up = time.perf_counter(), 0, 0
        while (now := time.perf_counter()) < began + work.seconds:
            version = ready[len(took)] if len(took) < len(ready) else next(made)
            while True:
                try:
                    await ledger.write(version)
                    break
                except LedgerError:  # others had the lock for 5 s; a recorder tries again, too
                    given_up += 1
            took.append(1000 * (time.perf_counter() - now))
            rows += len(version)
        return _Told(rows, time.perf_counter() - began, took, given_up)


class _Work(NamedTuple):
    rows: int
    seconds: float
    prepared: int
    start: Barrier


def _process(url: str, process: int, work: _Work, told: Connection) -> None:
    told.send(asyncio.run(_write(url, process, work)))


def measure(engine: Engine, url: str, processes: int, *, rows: int, seconds: float) -> Measured:
    """Let processes write for some seconds."""
    context = multiprocessing.get_context("fork")
    prepared = int(seconds * MADE_PER_SECOND / processes / rows)
    work = _Work(rows, seconds, prepared, context.Barrier(processes))
    running, pipes = [], []
    for number in range(processes):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(url, number, work, there))
        process.start()
        running.append(process)
        pipes.append(here)
    told: list[_Told] = [pipe.recv() for pipe in pipes]
    for process in running:
        process.join()
    writes = [took for one in told for took in one.writes_ms]
    return Measured(
        engine,
        processes,
        rows,
        rows_per_second=sum(one.rows for one in told) / max(one.seconds for one in told),
        median_ms=statistics.median(writes),
        slowest_ms=max(writes),
        given_up=sum(one.given_up for one in told),
        requests=asyncio.run(_requests(url)),
        written=sum((len(one.writes_ms) + 1) // 2 * rows for one in told),
    )


async def _requests(url: str) -> int:
    async with await open_ledger(url) as ledger:
        lines = await ledger.costs("", "~")
        return sum(line.totals.requests for line in lines if line.grouping == "day")


@contextmanager
def fresh(engine: Engine, server: PostgresServer | None) -> Iterator[str]:
    """Give the URL of a ledger without anything in it."""
    if server is not None:
        yield server.fresh_database()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/voicegw.db"


def run(
    engine: Engine, processes: list[int], *, rows: int, seconds: float, rounds: int
) -> list[Measured]:
    """Measure with each number of processes."""
    server = PostgresServer(durable=True) if engine == "postgres" else None
    found = []
    try:
        for number in processes:
            for _ in range(rounds):
                with fresh(engine, server) as url:
                    found.append(measure(engine, url, number, rows=rows, seconds=seconds))
    finally:
        if server is not None:
            server.remove()
    return found


def table(found: list[Measured]) -> str:
    """Medians of the rounds, as Markdown."""
    lines = [
        "| ledger | processes | rows per second | a write of "
        f"{found[0].rows} rows, median | slowest write | tried again |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for engine, processes in dict.fromkeys((one.engine, one.processes) for one in found):
        rounds = [one for one in found if (one.engine, one.processes) == (engine, processes)]
        lines.append(
            f"| {engine} | {processes} "
            f"| {statistics.median(one.rows_per_second for one in rounds):,.0f} "
            f"| {statistics.median(one.median_ms for one in rounds):.1f} ms "
            f"| {max(one.slowest_ms for one in rounds):,.0f} ms "
            f"| {sum(one.given_up for one in rounds)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", nargs="+", choices=get_args(Engine), default=get_args(Engine))
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rows", type=int, default=ROWS, help="of a write")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few processes, one short round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    processes, seconds, rounds = options.processes, options.seconds, options.rounds
    if options.quick:
        processes, seconds, rounds = [1, 2], 0.5, 1
    before = os.getloadavg()[0]
    found = []
    for engine in options.engine:
        found += run(engine, processes, rows=options.rows, seconds=seconds, rounds=rounds)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    print(table(found))
    print(f"\nLoad of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after.")


if __name__ == "__main__":
    main()
