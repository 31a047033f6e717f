"""What holds when many write at once: slots of totals, marks, leases by one clock, no circles."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import asyncpg
from support.postgres import run_sql
from support.usage_rows import DAY, usage_row

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger


def slots(url: str) -> list[int]:
    return [slot for (slot,) in run_sql(url, "SELECT slot FROM usage_daily_slots ORDER BY slot")]


async def somebody_waits(url: str) -> None:
    """Return when a statement waits for a lock that another one has."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted"
    while not await asyncio.to_thread(run_sql, url, waiting):
        continue


async def test_who_writes_the_same_project_does_not_wait_for_others(
    url: str, ledger: PostgresLedger
) -> None:
    others = [await asyncpg.connect(url) for _ in range(3)]
    await ledger.write([usage_row(id=str(n), cost_nanos=1) for n in range(4)])
    for n, other in enumerate(others):
        await other.execute("BEGIN")
        await other.execute("UPDATE usage SET cost_nanos = 10 WHERE id = $1", str(n))
    await ledger.write([usage_row(cost_nanos=100)])  # while none of them has committed
    assert (await ledger.budget_status("prod", DAY))[0] == 104
    for other in others:
        await other.execute("COMMIT")
        await other.close()
    assert slots(url) == [0, 1, 2, 3]
    assert (await ledger.budget_status("prod", DAY))[0] == 131
    assert (await ledger.check_totals()) == (None, 5, 1, [])


async def test_more_writers_than_slots_wait_for_one(url: str, ledger: PostgresLedger) -> None:
    others = [await asyncpg.connect(url) for _ in range(16)]
    await ledger.write([usage_row(id=str(n), cost_nanos=1) for n in range(16)])
    for n, other in enumerate(others):
        await other.execute("BEGIN")
        await other.execute("UPDATE usage SET cost_nanos = 10 WHERE id = $1", str(n))
    writing = asyncio.create_task(ledger.write([usage_row(cost_nanos=100)]))
    async with PostgresLedger(url, read_only=True) as reader:
        await somebody_waits(url)
        assert not writing.done()
        assert (await reader.budget_status("prod", DAY))[0] == 16
        for other in others:
            await other.execute("COMMIT")
        await writing
        assert (await reader.budget_status("prod", DAY))[0] == 260
    for other in others:
        await other.close()
    assert (await ledger.check_totals()).mismatches == []


async def test_days_that_are_over_are_folded_into_one_slot(
    url: str, ledger: PostgresLedger
) -> None:
    await ledger.write([usage_row(id="a", cost_nanos=1), usage_row(day="2027-01-20", id="b")])
    other = await asyncpg.connect(url)
    await other.execute("BEGIN; UPDATE usage SET cost_nanos = 10 WHERE id = 'a'")
    await ledger.write([usage_row(cost_nanos=5)])
    await ledger.write([usage_row(day="2027-01-20", cost_nanos=5)])
    await other.execute("COMMIT")
    await other.close()
    before = await ledger.totals_of_days("", "~")
    assert slots(url) == [0, 0, 1, 1] or slots(url) == [0, 0, 1]
    await ledger.housekeeping(retention_days=4000, today="2027-01-20")
    found = run_sql(url, "SELECT day::text, slot FROM usage_daily_slots WHERE day = '2027-01-15'")
    assert found == [(DAY, 0)]
    assert await ledger.totals_of_days("", "~") == before
    assert (await ledger.check_totals()).mismatches == []


async def test_a_row_that_is_committed_late_is_not_passed_over_by_who_follows(
    url: str, ledger: PostgresLedger
) -> None:
    slow = await asyncpg.connect(url)
    await slow.execute("BEGIN")
    await slow.execute(
        "INSERT INTO usage (id, request_id, started_at, day, project, modality, provider, model, "
        "requested_model, status) VALUES "
        "('slow', 'r', now(), now(), 'prod', 'llm', 'openai', 'gpt', 'openai/gpt', 'completed')"
    )
    await ledger.write([usage_row(id="fast")])
    mark = await ledger.newest_mark()
    assert await ledger.rows_written_after(mark, limit=10) == []
    await slow.execute("COMMIT")
    await slow.close()
    found = await ledger.rows_written_after(mark, limit=10)
    assert [row.id for _, row in found] == ["slow", "fast"]
    assert await ledger.newest_mark() == found[-1][0]


async def test_the_version_changes_when_somebody_commits(url: str, ledger: PostgresLedger) -> None:
    async with PostgresLedger(url, read_only=True) as reader:
        slow = await asyncpg.connect(url)
        await slow.execute("BEGIN; UPDATE projects_version SET version = 7")
        await ledger.write([usage_row()])
        before = await reader.version()
        await slow.execute("COMMIT")
        await slow.close()
        after = await reader.version()
        assert after != before, "one that began before others which have ended"
        await ledger.write([usage_row()])
        assert await reader.version() != after


async def test_a_lease_ends_by_the_clock_of_the_server(url: str) -> None:
    def runs_ahead() -> float:
        return time.time() + 3600

    async with PostgresLedger(url) as here, PostgresLedger(url) as there:
        lent = await here.acquire_lease(
            "prod",
            DAY,
            "here",
            budget_nanos=100,
            need_nanos=100,
            want_nanos=100,
            share=1,
            expires_at=time.time() + 60,
        )
        assert lent.granted_nanos == 100
        assert await there.budget_status("prod", DAY) == (0, 100)
    ((life,),) = run_sql(url, "SELECT expires_at - extract(epoch FROM now()) FROM leases")
    assert 0 < life <= 60
    async with PostgresLedger(url, clock=runs_ahead) as test_clock:
        # a clock of one's own is for tests: it decides by itself
        assert await test_clock.budget_status("prod", DAY) == (0, 0)


async def test_a_lease_waits_for_no_rows(url: str, ledger: PostgresLedger) -> None:
    blocker = await asyncpg.connect(url)
    await ledger.write([usage_row(id="a", cost_nanos=1)])
    await blocker.execute("BEGIN; UPDATE usage SET cost_nanos = 2 WHERE id = 'a'")
    writing = asyncio.create_task(ledger.write([usage_row(id="a", cost_nanos=3)]))
    await somebody_waits(url)
    grant = await ledger.acquire_lease(
        "prod",
        DAY,
        "a",
        budget_nanos=100,
        need_nanos=10,
        want_nanos=10,
        share=1,
        expires_at=time.time() + 60,
    )
    assert grant.granted_nanos == 10
    assert not writing.done()
    await blocker.execute("COMMIT")
    await blocker.close()
    await writing


async def test_batches_with_the_same_rows_in_any_order_do_not_wait_in_a_circle(url: str) -> None:
    rows = [usage_row(status="open", cost_nanos=n, duration_ms=1.0) for n in range(60)]
    async with PostgresLedger(url) as one, PostgresLedger(url) as other:
        for step in range(10):
            later = [replace(row, cost_nanos=n + step) for n, row in enumerate(rows)]
            await asyncio.gather(one.write(later), other.write(later[::-1]))
        assert len(await one.rows(RowFilter(), limit=100)) == 60
        assert (await one.check_totals()).mismatches == []
    ((deadlocks,),) = run_sql(
        url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0
