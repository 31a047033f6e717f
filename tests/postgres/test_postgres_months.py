"""Requests are kept by month, an id is there once, and retention drops whole months."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
from support.postgres import run_sql
from support.usage_rows import usage_row

from livekit_plugins_voicegateway.ledger.base import RowFilter
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger
from livekit_plugins_voicegateway.metering.usage import UsageRow


def id_of(day: str, hour: int = 12) -> str:
    """A UUIDv7 that was made then."""
    moment = datetime.fromisoformat(f"{day}T{hour:02}:00:00Z")
    milliseconds, chance = int(moment.timestamp() * 1000), os.urandom(16).hex()
    text = f"{milliseconds:012x}7{chance[:3]}8{chance[3:18]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def row_of(day: str, **changes: object) -> UsageRow:
    return usage_row(**{"id": id_of(day), "day": day, **changes})


def place_of(url: str, row_id: str) -> str:
    ((place,),) = run_sql(url, f"SELECT tableoid::regclass::text FROM usage WHERE id = '{row_id}'")
    return str(place)


def places(url: str) -> set[str]:
    found = run_sql(
        url, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass"
    )
    return {place for (place,) in found}


async def stored(ledger: PostgresLedger) -> set[str]:
    return {row.id for row in await ledger.rows(RowFilter(), limit=1000)}


async def test_the_months_around_now_have_a_place(url: str) -> None:
    now = datetime.now(UTC)
    following = now.year * 12 + now.month  # months from 0, of the next one
    assert {
        f"usage_{now:%Y_%m}",
        f"usage_{following // 12}_{following % 12 + 1:02}",
        "usage_other",
    } <= places(url)


async def test_a_row_is_kept_in_the_month_in_which_its_id_was_made(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        run_sql(new_url, "SELECT voicegw_make_month('2031-05-01')")
        last = row_of("2031-04-30", id=id_of("2031-04-30", hour=23))
        first = row_of("2031-05-01", id=id_of("2031-05-01", hour=0))
        await ledger.write([first, last, usage_row(id="a name of one's own")])
        assert place_of(new_url, first.id) == "usage_2031_05"
        assert place_of(new_url, last.id) == "usage_other"
        assert place_of(new_url, "a name of one''s own") == "usage_other"


async def test_a_row_whose_day_moves_to_another_month_is_there_once(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        run_sql(new_url, "SELECT voicegw_make_month('2031-05-01')")
        row = row_of("2031-05-31", status="open", cost_nanos=5)
        await ledger.write([row])
        await ledger.write([replace(row, day="2031-06-01", status="completed", cost_nanos=7)])
        await ledger.write([row])
        assert await stored(ledger) == {row.id}
        days = [line for line in await ledger.costs("", "~") if line.grouping == "day"]
        assert [(line.day, line.totals.cost_nanos) for line in days] == [("2031-06-01", 7)]
        assert (await ledger.check_totals()).mismatches == []


async def test_rows_that_came_before_their_month_had_a_place_move_into_it(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        early, other = row_of("2031-05-10", cost_nanos=3), row_of("2031-07-10", cost_nanos=4)
        await ledger.write([early, other])
        assert place_of(new_url, early.id) == "usage_other"
        run_sql(new_url, "SELECT voicegw_make_month('2031-05-01')")
        assert place_of(new_url, early.id) == "usage_2031_05"
        assert place_of(new_url, other.id) == "usage_other"
        await ledger.write([replace(early, cost_nanos=30)])
        check = await ledger.check_totals()
        assert (check.requests, check.mismatches) == (2, [])


async def test_retention_drops_whole_months_and_counts_what_was_in_them(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        for month in ("2025-01", "2025-02", "2025-03"):
            run_sql(new_url, f"SELECT voicegw_make_month('{month}-01')")
        old = [row_of("2025-01-05"), row_of("2025-01-31"), row_of("2025-02-01")]
        kept = [row_of("2025-02-20"), row_of("2025-03-01")]
        await ledger.write([*old, *kept])
        before = await ledger.costs("", "~")

        assert await ledger.delete_usage_before("2025-02-10") == 3

        assert await stored(ledger) == {row.id for row in kept}
        assert "usage_2025_01" not in places(new_url)
        assert {"usage_2025_02", "usage_2025_03"} <= places(new_url)
        assert await ledger.costs("", "~") == before, "totals stay"
        assert await ledger.check_totals() == ("2025-02-10", 2, 2, [])


async def test_a_month_with_a_row_that_is_to_be_kept_is_not_dropped(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        run_sql(new_url, "SELECT voicegw_make_month('2025-01-01')")
        run_sql(new_url, "SELECT voicegw_make_month('2025-02-01')")
        still_open = row_of("2025-01-05", status="open")
        of_a_later_day = replace(row_of("2025-06-05"), id=id_of("2025-02-05"))
        await ledger.write([still_open, of_a_later_day, row_of("2025-01-06"), row_of("2025-02-06")])

        assert await ledger.delete_usage_before("2025-05-01") == 2

        assert await stored(ledger) == {still_open.id, of_a_later_day.id}


async def test_a_month_that_somebody_reads_is_dropped_another_time(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        run_sql(new_url, "SELECT voicegw_make_month('2025-01-01')")
        await ledger.write([row_of("2025-01-05")])
        reader = await asyncpg.connect(new_url)
        await reader.execute("BEGIN; SELECT count(*) FROM usage")
        # its rows go all the same, one by one
        assert await ledger.delete_usage_before("2025-05-01") == 1
        assert "usage_2025_01" in places(new_url)
        await reader.close()
        await ledger.write([replace(row_of("2025-01-06"), id=id_of("2025-03-06"))])
        await ledger.delete_usage_before("2025-05-01")
        assert "usage_2025_01" not in places(new_url)


async def test_housekeeping_makes_the_months_that_come(new_url: str) -> None:
    async with PostgresLedger(new_url) as ledger:
        next_month = sorted(places(new_url) - {"usage_other"})[-1]
        run_sql(new_url, f"DROP TABLE {next_month}")
        await ledger.housekeeping(retention_days=400, today=f"{datetime.now(UTC):%Y-%m-%d}")
        assert next_month in places(new_url)
