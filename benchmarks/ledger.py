"""How many rows of usage a ledger takes, from one process and from many.

    python benchmarks/ledger.py [--processes N …] [--seconds S] [--rounds N] [--quick] [--json]

Each process writes batches as the recorder does, one after the other, to one ledger: new rows, and
the same again as their requests end. A row counts when the write that it was in is durable. Prints
Markdown: medians of the rounds, and how long a write took.
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
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow

BATCH = 200
"""Rows of a write: what a process with a few hundred calls has to say five times a second."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round.

    Attributes:
        engine: ``sqlite``.
        processes: How many wrote.
        rows_per_second: Durable rows of all of them.
        median_ms: A write of `BATCH` rows, in milliseconds.
        slowest_ms: The slowest one.
    """

    engine: str
    processes: int
    rows_per_second: float
    median_ms: float
    slowest_ms: float


class _Told(NamedTuple):
    rows: int
    writes_ms: list[float]


def batch(process: int, at: float) -> list[UsageRow]:
    """Rows of requests that have just begun, of a few projects and models."""
    day = time.strftime("%Y-%m-%d", time.gmtime(at))
    models = (("stt", "deepgram", "nova-3"), ("llm", "openai", "gpt-4.1-mini"))
    rows = []
    for number in range(BATCH):
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


async def _write(url: str, process: int, ready: Barrier, seconds: float) -> _Told:
    async with await open_ledger(url) as ledger:
        await asyncio.to_thread(ready.wait)
        ends, rows, took = time.monotonic() + seconds, 0, []
        while time.monotonic() < ends:
            now = time.time()
            begun = batch(process, now)
            ended = [
                replace(row, status="completed", ended_at=now + 1, duration_ms=1000.0)
                for row in begun
            ]
            for version in (begun, ended):
                began = time.perf_counter()
                await ledger.write(version)
                took.append(1000 * (time.perf_counter() - began))
                rows += len(version)
        return _Told(rows, took)


def _process(url: str, process: int, ready: Barrier, seconds: float, told: Connection) -> None:
    told.send(asyncio.run(_write(url, process, ready, seconds)))


def measure(engine: str, url: str, processes: int, seconds: float) -> Measured:
    """Let processes write for some seconds."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(processes)
    running, pipes = [], []
    for number in range(processes):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(url, number, ready, seconds, there))
        process.start()
        running.append(process)
        pipes.append(here)
    told = [pipe.recv() for pipe in pipes]
    for process in running:
        process.join()
    writes = [took for one in told for took in one.writes_ms]
    return Measured(
        engine,
        processes,
        rows_per_second=sum(one.rows for one in told) / seconds,
        median_ms=statistics.median(writes),
        slowest_ms=max(writes),
    )


def table(found: list[Measured]) -> str:
    """Medians of the rounds, as Markdown."""
    lines = [
        "| ledger | processes | rows per second | a write of "
        f"{BATCH} rows, median | slowest write |",
        "|---|---:|---:|---:|---:|",
    ]
    for engine, processes in dict.fromkeys((one.engine, one.processes) for one in found):
        rounds = [one for one in found if (one.engine, one.processes) == (engine, processes)]
        lines.append(
            f"| {engine} | {processes} "
            f"| {statistics.median(one.rows_per_second for one in rounds):,.0f} "
            f"| {statistics.median(one.median_ms for one in rounds):.1f} ms "
            f"| {max(one.slowest_ms for one in rounds):,.0f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 64])
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
    for number in processes:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{folder}/voicegw.db"
                found.append(measure("sqlite", url, number, seconds))
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    print(table(found))
    print(f"\nLoad of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after.")


if __name__ == "__main__":
    main()
