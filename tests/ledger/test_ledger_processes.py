"""Many processes on one ledger, and processes that are killed or suspended on the way."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.connection import Connection

from support.ledger_places import Place
from support.machine import PATIENCE
from support.usage_rows import NOON, in_process, start_process, usage_row

from livekit_plugins_voicegateway.ledger.base import Ledger, RowFilter
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger


def patient(place: Place) -> Ledger:
    """A ledger that waits longer for locks than calls would, where the test's work is too much."""
    ledger = place.ledger()
    if isinstance(ledger, SqliteLedger):
        ledger = SqliteLedger(ledger.path, clock=place.clock, busy_timeout=60)
    return ledger


PROJECTS = ("prod", "staging", "dev")


async def write_batches(place: Place, process: int, batches: int, size: int) -> int:
    """Write rows, each first open and then closed, and return the cost of all of them."""
    cost = 0
    async with patient(place) as ledger:
        for batch in range(batches):
            rows = [
                usage_row(
                    status="open",
                    project=PROJECTS[i % 3],
                    cost_nanos=1,
                    audio_seconds=0.001,
                    duration_ms=1.0,
                    room=f"room-{process}-{batch}",
                )
                for i in range(size)
            ]
            await ledger.write(rows)
            closed = [
                replace(
                    row,
                    status="completed",
                    ended_at=NOON,
                    cost_nanos=batch * 1000 + i,
                    audio_seconds=0.1,
                )
                for i, row in enumerate(rows)
            ]
            cost += sum(row.cost_nanos or 0 for row in closed)
            await ledger.write(closed)
    return cost


async def all_costs(ledger: Ledger) -> int:
    lines = await ledger.costs("", "~")
    return sum(line.totals.cost_nanos or 0 for line in lines if line.grouping == "day")


async def test_eight_processes_write_one_ledger_and_totals_are_exact(place: Place) -> None:
    started = [start_process(write_batches, place, n, 10, 40) for n in range(8)]
    costs = [results.recv() for _, results in started]
    for process, _ in started:
        process.join()
    assert all(isinstance(cost, int) for cost in costs), costs

    async with place.ledger(read_only=True) as ledger:
        check = await ledger.check_totals()
        assert check.requests == 8 * 10 * 40
        assert check.mismatches == []
        assert await all_costs(ledger) == sum(costs)
        days = [line for line in await ledger.costs("", "~") if line.grouping == "day"]
        assert days[0].totals.audio_seconds == 320.0
        assert len(await ledger.calls(limit=1000)) == 80


async def test_sixty_four_processes_open_a_new_ledger_at_once(place: Place) -> None:
    if place.engine == "postgres":
        place.sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    go_here, go_there = os.pipe()

    async def open_and_write() -> str:
        os.read(go_here, 1)
        async with patient(place) as ledger:
            await ledger.write([usage_row()])
        return "written"

    started = [start_process(open_and_write) for _ in range(64)]
    os.write(go_there, b"x" * 64)
    answers = [results.recv() for _, results in started]
    for process, _ in started:
        process.join()
    os.close(go_here)
    os.close(go_there)

    assert answers == ["written"] * 64
    async with place.ledger() as ledger:
        assert (await ledger.check_totals()) == (None, 64, 1, [])


async def write_for_ever(place: Place, progress: Connection) -> None:
    async with place.ledger() as ledger:
        while True:
            rows = [usage_row(cost_nanos=i) for i in range(100)]
            await ledger.write(rows)
            progress.send([row.id for row in rows])


async def test_a_killed_process_loses_nothing_that_was_committed(place: Place) -> None:
    committed: set[str] = set()
    for kills in range(5):
        here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
        process, _ = start_process(write_for_ever, place, there)
        there.close()
        for _ in range(kills + 1):
            committed.update(here.recv())
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)  # in the middle of whatever it does
        process.join()
        while True:
            try:
                committed.update(here.recv())
            except (EOFError, OSError):
                break
        here.close()

        async with place.ledger() as ledger:
            check = await ledger.check_totals()
            assert check.mismatches == []
            rows = await ledger.rows(RowFilter(), limit=1_000_000)
            assert committed <= {row.id for row in rows}
            assert len(rows) % 100 == 0, "a batch is there as a whole or not at all"


async def test_a_suspended_process_and_the_one_that_closed_its_row_agree(place: Place) -> None:
    row = usage_row(status="open", cost_nanos=100, duration_ms=100.0)
    resumed, resume = os.pipe()

    async def owner(progress: Connection) -> str:
        async with place.ledger(clock=lambda: NOON) as ledger:
            await ledger.write([row])
            progress.send("open")
            os.read(resumed, 1)
            await ledger.write([replace(row, cost_nanos=150, duration_ms=90_000.0)])
            await ledger.write(
                [replace(row, status="completed", cost_nanos=200, duration_ms=91_000.0)]
            )
        return "closed"

    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process, results = start_process(owner, there)
    assert here.recv() == "open"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    async with place.ledger(clock=lambda: NOON + 100) as ledger:
        assert await ledger.close_stale(60) == 1
        assert await all_costs(ledger) == 100
        os.kill(process.pid, signal.SIGCONT)
        os.write(resume, b"x")
        assert await asyncio.to_thread(results.recv) == "closed"
        process.join()
        (stored,) = await ledger.rows(RowFilter(), limit=10)
        assert stored.status == "completed"
        assert await all_costs(ledger) == 200
        assert (await ledger.check_totals()).mismatches == []
    for end in (resumed, resume):
        os.close(end)


async def test_a_ledger_is_not_used_across_a_fork(place: Place) -> None:
    async with place.ledger() as ledger:

        async def use() -> None:
            await ledger.write([usage_row()])

        said = in_process(use)
        assert isinstance(said, str)
        assert "opened before this process was forked" in said
        await ledger.write([usage_row()])


async def test_a_process_ends_although_its_ledger_is_not_closed(place: Place) -> None:
    async def forget() -> str:
        ledger = place.ledger()
        await ledger.open()
        await ledger.write([usage_row()])
        return "done"

    process, results = start_process(forget)
    assert results.recv() == "done"
    process.join(PATIENCE)
    status = process.exitcode
    process.kill()
    assert status == 0
