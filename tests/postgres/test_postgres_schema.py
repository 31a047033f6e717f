"""Tables and view that others lean on, changes of the schema, and plans that read little."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from support.postgres import run_sql
from support.usage_rows import DAY, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger
from livekit_plugins_voicegateway.ledger.postgres_connection import PostgresConnection
from livekit_plugins_voicegateway.ledger.postgres_migrate import bring_up_to_date
from livekit_plugins_voicegateway.ledger.queries import (
    Migration,
    load_migrations,
    load_numbered_queries,
    load_queries,
)

PUBLISHED_QUERY = """
SELECT project, day, SUM(total_cost) as cost FROM project_daily_costs
WHERE day >= current_date - 7 GROUP BY project, day ORDER BY project, day
"""

COLUMNS = {
    "usage": """id request_id started_at ended_at day project modality provider model
        requested_model status estimated room job_id speech_id audio_seconds connection_seconds
        input_tokens cached_input_tokens output_tokens characters cost_nanos price ttfb_ms
        duration_ms error""",
    "usage_daily": """day project modality provider model requests unpriced_requests audio_seconds
        input_tokens cached_input_tokens output_tokens characters cost_nanos""",
    "managed_projects": """project_id name description daily_budget budget_action tags created_at
        updated_at""",
    "project_daily_costs": """project day modality provider model requests unpriced_requests
        audio_seconds input_tokens cached_input_tokens output_tokens characters total_cost""",
}

KNOWN = load_migrations("postgres")
NEXT = len(KNOWN) + 1
ADD_COLUMN = Migration(
    NEXT,
    f"{NEXT:04}_region",
    True,
    "ALTER TABLE usage ADD COLUMN region text; CREATE TABLE regions (name text);",
)


async def migrate(url: str, migrations: list[Migration]) -> None:
    connection = PostgresConnection(url, "test", wait=30, read_only=False)
    try:
        await bring_up_to_date(connection, "test", migrations)
    finally:
        await connection.close()


def applied(url: str) -> list[int]:
    return [n for (n,) in run_sql(url, "SELECT number FROM schema_migrations ORDER BY number")]


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_that_others_rely_on_come_first_and_in_order(url: str, table: str) -> None:
    found = run_sql(
        url,
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position",
    )
    expected = COLUMNS[table].split()
    assert [name for (name,) in found][: len(expected)] == expected


async def test_the_published_query_adds_up_exact_dollars(url: str, ledger: PostgresLedger) -> None:
    now = datetime.now(UTC)
    today, long_ago = f"{now:%Y-%m-%d}", f"{now - timedelta(days=9):%Y-%m-%d}"
    await ledger.write(
        [
            usage_row(day=today, cost_nanos=1_500_000_000),
            usage_row(day=today, cost_nanos=250_000_000, model="gpt-4.1"),
            usage_row(day=today, project="dev", cost_nanos=None),
            usage_row(day=today, project="staging", cost_nanos=1),
            usage_row(day=long_ago, cost_nanos=7),
        ]
    )
    assert [(project, cost) for project, _, cost in run_sql(url, PUBLISHED_QUERY)] == [
        ("dev", None),
        ("prod", Decimal("1.75")),
        ("staging", Decimal("0.000000001")),
    ]


async def test_whoever_changes_rows_by_hand_keeps_the_totals_right(
    url: str, ledger: PostgresLedger
) -> None:
    await ledger.write([usage_row(cost_nanos=5), usage_row(cost_nanos=6, room="r")])
    run_sql(url, "UPDATE usage SET cost_nanos = cost_nanos * 2, project = 'moved'")
    assert (await ledger.check_totals()).mismatches == []
    lines = await ledger.costs(DAY, DAY, "moved")
    assert lines[0].totals.cost_nanos == 22
    assert await ledger.has_project("moved")
    assert [call.key for call in await ledger.calls("moved", limit=5)] == ["r"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_daily_slots SET cost_nanos = cost_nanos + 1",
        "UPDATE usage_daily_slots SET audio_ms = 1",
        "DELETE FROM usage_daily_slots",
        "DELETE FROM usage",
    ],
)
async def test_totals_that_are_not_the_sum_of_the_rows_are_found(
    url: str, ledger: PostgresLedger, change: str
) -> None:
    await ledger.write([usage_row(cost_nanos=5)])
    run_sql(url, change)
    (found,) = (await ledger.check_totals()).mismatches
    assert (found.day, found.project) == (DAY, "prod")
    assert found.total != found.sum


async def test_a_worker_that_runs_goes_on_while_a_newer_one_adds_to_the_schema(
    new_url: str,
) -> None:
    async with PostgresLedger(new_url) as old_worker:
        row = usage_row(status="open", cost_nanos=1)
        await old_worker.write([row])
        await migrate(new_url, [*KNOWN, ADD_COLUMN])
        await old_worker.write([replace(row, cost_nanos=2), usage_row(cost_nanos=3)])
        assert await old_worker.budget_status("prod", DAY) == (5, 0)
        assert (await old_worker.check_totals()).mismatches == []
    async with PostgresLedger(new_url) as opened_later:
        await opened_later.write([usage_row()])
    assert applied(new_url) == [*range(1, NEXT + 1)]


async def test_an_older_version_refuses_what_a_newer_one_has_changed(new_url: str) -> None:
    await migrate(new_url, [*KNOWN, ADD_COLUMN._replace(additive=False)])
    for read_only in (False, True):
        with pytest.raises(LedgerError, match=rf"it has {NEXT:04}_region, this version knows up"):
            await PostgresLedger(new_url, read_only=read_only).open()


async def test_a_migration_that_fails_leaves_everything_as_it_was(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        await ledger.write([usage_row()])
        broken = ADD_COLUMN._replace(script="CREATE TABLE regions (name text); SELECT no_such;")
        with pytest.raises(LedgerError, match="no_such"):
            await migrate(new_url, [*KNOWN, broken])
        assert applied(new_url) == [*range(1, NEXT)]
        await migrate(new_url, [*KNOWN, ADD_COLUMN])  # `regions` is not there yet


async def test_whoever_comes_first_migrates_and_the_others_wait(new_url: str) -> None:
    ledgers = [PostgresLedger(new_url) for _ in range(8)]
    await asyncio.gather(*(ledger.open() for ledger in ledgers))
    await asyncio.gather(*(ledger.close() for ledger in ledgers))
    assert applied(new_url) == [*range(1, NEXT)]


def test_parameters_are_numbered_and_casts_are_left_alone() -> None:
    text, names = load_numbered_queries("postgres")["newest"]
    assert names == ("before", "before_id", "status", "limit")
    assert "($3::text IS NULL OR status = $3)" in text


def test_both_engines_answer_the_same_questions() -> None:
    only_here = {
        "settle_reading",
        "migrate_alone",
        "make_months",
        "months_before",
        "drop_month",
        "fold_slots",
        "projects_version_alone",
    }
    assert only_here <= load_queries("postgres").keys()
    shared = {"costs", "newest", "rows", "latencies", "charges", "mismatches", "rows_of_days"}
    assert shared <= load_queries("postgres").keys() & load_queries("sqlite").keys()


PAGES = ("newest", "newest_of_room", "newest_of_status", "newest_of_keys", "newest_calls", "rows")


async def plan_of(connection: asyncpg.Connection[asyncpg.Record], query: str) -> list[str]:
    text, names = load_numbered_queries("postgres")[query]
    given = {
        "limit": "50",
        "status": "'failed'",
        "before": "'~'",
        "ids": "'{a,b,c}'",
        "room": "'room-1'",
        "project": "NULL",
        "sample": "50",
        "first_day": "''",
    }
    values = ", ".join(
        given.get(name, "''" if name.startswith("before") else "NULL") for name in names
    )
    await connection.execute(f"PREPARE asked AS {text}")
    found = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) EXECUTE asked({values})")
    await connection.execute("DEALLOCATE asked")
    return [line[0] for line in found]


async def test_no_page_reads_or_sorts_all_requests(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        statuses = ("completed",) * 30 + ("failed", "cancelled")
        for batch in range(4):
            await ledger.write(
                [
                    usage_row(
                        room=f"room-{n // 30}", status=statuses[n % 32], model=f"model-{n % 7}"
                    )
                    for n in range(batch * 2000, batch * 2000 + 2000)
                ]
            )
    connection = await asyncpg.connect(new_url)
    await connection.execute("VACUUM ANALYZE usage, usage_keys, calls")
    await connection.execute(load_queries("postgres")["settle"])
    for query in (*PAGES, "charges", "latencies"):
        plan = await plan_of(connection, query)
        seen = [
            int(float(rows) * int(loops))
            for line in plan
            for rows, loops in re.findall(r"Scan .*rows=([0-9.]+) loops=(\d+)", line)
        ]
        assert seen, plan
        assert max(seen) < 1000, "\n".join([query, *plan])
    await connection.close()
