"""All requests, one page after the other: nothing twice, nothing left out, late ones included."""

from __future__ import annotations

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.ledger import Ledger
from livekit_plugins_voicegateway.ledger.base import Position
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.times import to_iso


async def walked(
    ledger: Ledger, first_day: str, last_day: str, project: str | None = None, *, page: int
) -> list[UsageRow]:
    found: list[UsageRow] = []
    while True:
        after = Position(to_iso(found[-1].started_at), found[-1].id) if found else None
        rows = await ledger.rows_of_days(first_day, last_day, project, limit=page, after=after)
        found += rows
        if len(rows) < page:
            return found


@pytest.mark.parametrize("page", [1, 3, 7, 100])
async def test_pages_hold_every_request_once_oldest_first(ledger: Ledger, page: int) -> None:
    # several in one millisecond, so that the id has to decide
    rows = [usage_row(started_at=NOON + index // 4) for index in range(14)]
    await ledger.write(rows)
    found = await walked(ledger, "", "~", page=page)
    assert [row.id for row in found] == [
        row.id for row in sorted(rows, key=lambda row: (row.started_at, row.id))
    ]


async def test_days_are_those_of_the_rows_and_not_of_utc(ledger: Ledger) -> None:
    east = usage_row(day=DAY, started_at=NOON - 25 * 3600, ended_at=None, status="open")
    west = usage_row(day=DAY, started_at=NOON + 23 * 3600)
    before = usage_row(day="2027-01-14")
    after = usage_row(day="2027-01-16")
    await ledger.write([east, west, before, after])
    found = await walked(ledger, DAY, DAY, page=2)
    assert [row.id for row in found] == [east.id, west.id]


async def test_a_walk_may_be_of_one_project(ledger: Ledger) -> None:
    await ledger.write([usage_row(project="dev"), usage_row(), usage_row(project="dev")])
    found = await walked(ledger, DAY, DAY, "dev", page=1)
    assert [row.project for row in found] == ["dev", "dev"]


async def test_the_first_and_the_last_of_all_days_can_be_asked_for(ledger: Ledger) -> None:
    await ledger.write([usage_row()])
    assert len(await walked(ledger, "0001-01-01", "9999-12-31", page=5)) == 1


async def test_totals_are_given_line_by_line_as_they_are_kept(ledger: Ledger) -> None:
    await ledger.write([usage_row(), usage_row(), usage_row(day="2027-01-14", project="dev")])
    lines = await ledger.totals_of_days("", "~")
    assert [(line.day, line.project, line.totals.requests) for line in lines] == [
        ("2027-01-14", "dev", 1),
        (DAY, "prod", 2),
    ]
    assert lines[1].totals.cost_nanos == 2 * 176_800
    assert await ledger.totals_of_days(DAY, DAY, "dev") == []


async def test_a_request_that_was_written_late_is_behind_the_mark(ledger: Ledger) -> None:
    assert await ledger.newest_mark() == 0
    await ledger.write([usage_row()])
    mark = await ledger.newest_mark()
    late = usage_row(started_at=NOON - 3600)
    await ledger.write([late])
    ((newer, row),) = await ledger.rows_written_after(mark, limit=10)
    assert (row.id, newer) == (late.id, await ledger.newest_mark())


async def test_a_row_that_is_brought_up_to_date_keeps_its_mark(ledger: Ledger) -> None:
    row = usage_row(id="a", status="open", duration_ms=1.0)
    await ledger.write([row])
    mark = await ledger.newest_mark()
    await ledger.write([usage_row(id="a", status="completed", duration_ms=2.0)])
    assert await ledger.rows_written_after(mark, limit=10) == []
    (now,) = await ledger.rows_with_ids(["a", "nobody"])
    assert now.status == "completed"


async def test_marks_go_on_where_a_page_of_them_ended(ledger: Ledger) -> None:
    rows = [usage_row() for _ in range(5)]
    await ledger.write(rows)
    found: list[str] = []
    mark = 0
    while page := await ledger.rows_written_after(mark, limit=2):
        found += [row.id for _, row in page]
        mark = page[-1][0]
    assert sorted(found) == sorted(row.id for row in rows)
