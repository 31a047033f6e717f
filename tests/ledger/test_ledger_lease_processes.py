"""Many processes that lease from one ledger, one that is killed, and workers of before leases."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from support.ledger_places import Place
from support.usage_rows import DAY, NOON, in_process, start_process, usage_row

from livekit_plugins_voicegateway.ledger.base import Grant, Ledger, RowFilter
from livekit_plugins_voicegateway.ledger.migrate import create
from livekit_plugins_voicegateway.ledger.queries import load_migrations
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger


def patient(place: Place) -> Ledger:
    """A ledger that waits longer for locks than calls would, where the test's work is too much."""
    ledger = place.ledger()
    if isinstance(ledger, SqliteLedger):
        ledger = SqliteLedger(ledger.path, clock=place.clock, busy_timeout=60)
    return ledger


BUDGET = 1_000_000_000
REQUEST = 500_000
LIFE = 30.0


async def acquire(ledger: Ledger, owner: str, *, budget: int = BUDGET, want: int = BUDGET) -> Grant:
    return await ledger.acquire_lease(
        "prod",
        DAY,
        owner,
        budget_nanos=budget,
        need_nanos=REQUEST,
        want_nanos=want,
        share=16,
        expires_at=NOON + LIFE,
    )


async def spend_all_it_gets(ledger: Ledger, owner: str) -> int:
    """Lease, spend most of it and give back the rest, until nothing is granted."""
    kept = 0
    while granted := (await acquire(ledger, owner)).granted_nanos:
        rows = [usage_row(owner=owner, cost_nanos=REQUEST) for _ in range(granted // REQUEST)]
        await ledger.write(rows)
        spent = len(rows) * REQUEST
        await ledger.return_lease("prod", DAY, owner, granted - spent)
        kept += spent
    return kept


async def lease_in_threads(place: Place, process: int) -> int:
    """Two threads, each with a ledger and an owner's name of its own, and three tasks in each."""

    async def three_tasks(owner: str) -> int:
        async with patient(place) as ledger:
            kept = await asyncio.gather(*(spend_all_it_gets(ledger, owner) for _ in range(3)))
        return sum(kept)

    kept = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, three_tasks(f"{process}-{thread}")) for thread in range(2))
    )
    return sum(kept)


async def test_eight_processes_never_get_more_than_there_is_and_use_nearly_all_of_it(
    place: Place,
) -> None:
    started = [start_process(lease_in_threads, place, process) for process in range(8)]
    kept: list[Any] = [results.recv() for _, results in started]
    for process, _ in started:
        process.join()
    assert all(isinstance(amount, int) for amount in kept), kept

    async with place.ledger() as ledger:
        settled, leased = await ledger.budget_status("prod", DAY)
        assert settled == sum(kept)
        assert leased == 0
        assert BUDGET * 0.95 <= settled <= BUDGET
        assert (await ledger.check_totals()).mismatches == []


async def lease_and_hang(place: Place, progress: Connection) -> None:
    async with place.ledger() as ledger:
        while (await acquire(ledger, "killed")).granted_nanos:
            pass
        await ledger.write([usage_row(owner="killed", cost_nanos=300_000_000)])
        progress.send("leased everything")
        await asyncio.Event().wait()


async def test_what_a_killed_process_had_leased_and_not_spent_comes_back(place: Place) -> None:
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process, _ = start_process(lease_and_hang, place, there)
    assert here.recv() == "leased everything"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    now = NOON + LIFE - 1
    async with place.ledger(clock=lambda: now) as ledger:
        settled, leased = await ledger.budget_status("prod", DAY)
        assert settled == 300_000_000
        assert settled + leased > BUDGET - REQUEST
        assert (await acquire(ledger, "survivor")).granted_nanos == 0
        now = NOON + LIFE
        assert await ledger.budget_status("prod", DAY) == (300_000_000, 0)
        assert (await acquire(ledger, "survivor")).granted_nanos == 700_000_000 // 16


BEFORE_LEASES = load_migrations("sqlite")[:1]


class OldWorker:
    """A worker of before leases: it writes the columns of that time, over a connection that stays.

    Args:
        path: The ledger's file.
    """

    WRITE = """
        INSERT INTO usage (
            id, request_id, started_at, day, project, modality, provider, model, requested_model,
            status, cost_nanos
        ) VALUES (
            :id, :id, '2027-01-15T12:00:00.000Z', :day, 'prod', 'llm', 'openai', 'gpt-4.1-mini',
            'openai/gpt-4.1-mini', 'completed', :cost_nanos
        )
        ON CONFLICT (id) DO UPDATE SET cost_nanos = excluded.cost_nanos
    """

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, timeout=60, isolation_level=None)

    def write(self, row_id: str, cost_nanos: int) -> None:
        self.connection.execute(self.WRITE, {"id": row_id, "day": DAY, "cost_nanos": cost_nanos})


async def test_a_ledger_of_before_leases_is_brought_up_to_date_with_all_that_is_in_it(
    path: Path,
) -> None:
    create(path, wait=1, migrations=BEFORE_LEASES)
    old_worker = OldWorker(path)
    for n in range(20):
        old_worker.write(f"row-{n}", 1_000_000)
    old_worker.connection.close()

    async with SqliteLedger(path, clock=lambda: NOON) as ledger:
        rows = await ledger.rows(RowFilter(), limit=100)
        assert [row.owner for row in rows] == [None] * 20
        assert await ledger.budget_status("prod", DAY) == (20_000_000, 0)
        assert (await acquire(ledger, "new", budget=20_000_000)).granted_nanos == 0
        assert (await acquire(ledger, "new", want=1)).granted_nanos == REQUEST
        assert (await ledger.check_totals()).mismatches == []


async def test_a_worker_of_before_leases_spends_beside_one_that_leases(path: Path) -> None:
    create(path, wait=1, migrations=BEFORE_LEASES)
    old_worker = OldWorker(path)
    old_worker.write("row-1", 1_000_000)
    async with SqliteLedger(path, clock=lambda: NOON) as ledger:
        granted = (await acquire(ledger, "new", want=10_000_000)).granted_nanos
        assert granted == 10_000_000
        # what it writes is settled, and taken from nobody's lease
        old_worker.write("row-1", 3_000_000)
        old_worker.write("row-2", 2_000_000)
        assert await ledger.budget_status("prod", DAY) == (5_000_000, 10_000_000)
        await ledger.write([usage_row(owner="new", cost_nanos=4_000_000)])
        assert await ledger.budget_status("prod", DAY) == (9_000_000, 6_000_000)
        old_worker.connection.close()
        assert (await ledger.check_totals()).mismatches == []


async def test_old_and_new_workers_write_at_the_same_time(path: Path) -> None:
    create(path, wait=1, migrations=BEFORE_LEASES)

    async def old(progress: Connection) -> str:
        worker = OldWorker(path)
        for n in range(200):
            worker.write(f"old-{n}", 1)
            if n == 20:
                progress.send("under way")
        worker.connection.close()
        return "done"

    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process, results = start_process(old, there)
    assert here.recv() == "under way"
    assert isinstance(
        in_process(lease_in_threads, Place("sqlite", f"sqlite:///{path}", lambda: NOON), 0), int
    )  # migrates, and writes
    assert results.recv() == "done"
    process.join()
    async with SqliteLedger(path, clock=lambda: NOON) as ledger:
        settled, leased = await ledger.budget_status("prod", DAY)
        assert BUDGET * 0.95 <= settled <= BUDGET + 200
        assert leased == 0
        check = await ledger.check_totals()
        assert check.mismatches == []
        assert check.requests == 200 + (settled - 200) // REQUEST
