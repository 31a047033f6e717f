"""Rows that are written, written again, closed, found stale and deleted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger.base import CostLine, Ledger, RowFilter, Totals
from livekit_plugins_voicegateway.metering.usage import UsageRow


async def stored(ledger: Ledger) -> list[UsageRow]:
    return await ledger.rows(RowFilter(), limit=10_000)


async def only(ledger: Ledger) -> UsageRow:
    (row,) = await stored(ledger)
    return row


async def totals(ledger: Ledger, grouping: str = "day") -> list[CostLine]:
    return [line for line in await ledger.costs("", "~") if line.grouping == grouping]


async def total(ledger: Ledger) -> Totals:
    (line,) = await totals(ledger)
    return line.totals


async def adds_up(ledger: Ledger) -> bool:
    return not (await ledger.check_totals()).mismatches


async def test_a_row_is_read_as_it_was_written(ledger: Ledger) -> None:
    row = usage_row(
        modality="stt",
        status="failed",
        estimated=True,
        room="room-1",
        job_id="AJ_1",
        speech_id="speech_1",
        audio_seconds=12.345,
        connection_seconds=13.5,
        characters=7,
        error="APIStatusError: 500 “außer Betrieb”",
        owner="worker-1",
    )
    await ledger.write([row])
    assert await only(ledger) == row


async def test_unknown_values_stay_unknown(ledger: Ledger) -> None:
    row = usage_row(status="open", cost_nanos=None, price=None, ttfb_ms=None, duration_ms=None)
    await ledger.write([row])
    assert await only(ledger) == row


async def test_writing_a_row_again_changes_nothing(ledger: Ledger) -> None:
    row = usage_row()
    await ledger.write([row, row])
    await ledger.write([row])
    assert await only(ledger) == row
    assert (await total(ledger)).requests == 1


async def test_nothing_to_write_is_no_fault(ledger: Ledger) -> None:
    await ledger.write([])
    assert await stored(ledger) == []


async def test_many_rows_are_written_at_once(ledger: Ledger) -> None:
    await ledger.write([usage_row(cost_nanos=i) for i in range(1000)])
    assert (await total(ledger)).requests == 1000
    assert (await total(ledger)).cost_nanos == sum(range(1000))


async def test_an_open_row_grows_until_it_is_closed(ledger: Ledger) -> None:
    row = usage_row(status="open", output_tokens=1, duration_ms=100.0)
    await ledger.write([row])
    await ledger.write([replace(row, output_tokens=5, cost_nanos=500_000, duration_ms=200.0)])
    closed = replace(
        row,
        status="completed",
        ended_at=NOON + 1,
        output_tokens=9,
        cost_nanos=900_000,
        duration_ms=300.0,
    )
    await ledger.write([closed])
    assert await only(ledger) == closed
    assert (await total(ledger)).output_tokens == 9
    assert (await total(ledger)).cost_nanos == 900_000


async def test_an_older_open_version_that_comes_late_is_ignored(ledger: Ledger) -> None:
    older = usage_row(status="open", output_tokens=1, duration_ms=100.0)
    newer = replace(older, output_tokens=5, duration_ms=200.0)
    await ledger.write([newer])
    await ledger.write([older])
    assert await only(ledger) == newer


async def test_a_closed_row_is_not_opened_again(ledger: Ledger) -> None:
    closed = usage_row(duration_ms=300.0)
    late = replace(closed, status="open", ended_at=None, output_tokens=1, duration_ms=400.0)
    await ledger.write([closed])
    await ledger.write([late])
    assert await only(ledger) == closed


async def test_a_row_that_nobody_brings_up_to_date_is_closed(ledger: Ledger, clock: Any) -> None:
    abandoned = usage_row(status="open", duration_ms=100.0)
    await ledger.write([abandoned])
    clock.now += 50
    alive = usage_row(status="open")
    await ledger.write([alive])
    clock.now += 50

    assert await ledger.close_stale(60) == 1

    rows = {row.id: row for row in await stored(ledger)}
    assert rows[alive.id].status == "open"
    closed = rows[abandoned.id]
    assert closed.status == "cancelled"
    assert closed.ended_at == NOON
    assert closed.error == "the process ended before the request did"
    assert closed.cost_nanos == abandoned.cost_nanos
    assert await adds_up(ledger)


async def test_closing_stale_rows_keeps_an_error_that_is_known(ledger: Ledger, clock: Any) -> None:
    await ledger.write([usage_row(status="open", error="APITimeoutError")])
    clock.now += 100
    await ledger.close_stale(60)
    assert (await only(ledger)).error == "APITimeoutError"


async def test_the_owner_of_a_stale_row_has_the_last_word(ledger: Ledger, clock: Any) -> None:
    row = usage_row(status="open", cost_nanos=100, duration_ms=100.0)
    await ledger.write([row])
    clock.now += 100
    await ledger.close_stale(60)

    final = replace(
        row, status="completed", ended_at=NOON + 100, cost_nanos=700, duration_ms=100_000.0
    )
    await ledger.write([final])

    assert await only(ledger) == final
    assert (await total(ledger)).cost_nanos == 700
    assert (await total(ledger)).requests == 1
    await ledger.write([replace(row, duration_ms=200_000.0)])
    assert await only(ledger) == final, "closed by its owner, it is like any other row"


async def test_a_stale_row_is_opened_again_when_its_owner_goes_on(
    ledger: Ledger, clock: Any
) -> None:
    row = usage_row(status="open", duration_ms=100.0)
    await ledger.write([row])
    clock.now += 100
    await ledger.close_stale(60)

    await ledger.write([row])
    assert (await only(ledger)).status == "cancelled", "the same version shows nothing new"
    going_on = replace(row, duration_ms=100_500.0, output_tokens=80)
    await ledger.write([going_on])

    assert await only(ledger) == going_on
    clock.now += 100
    assert await ledger.close_stale(60) == 1


async def test_a_row_that_its_owner_closed_is_not_stale(ledger: Ledger, clock: Any) -> None:
    await ledger.write([usage_row(status="cancelled")])
    clock.now += 1000
    assert await ledger.close_stale(60) == 0


async def test_an_unknown_price_is_counted_and_adds_nothing(ledger: Ledger) -> None:
    await ledger.write([usage_row(cost_nanos=None, price=None)])
    assert (await total(ledger)).unpriced_requests == 1
    assert (await total(ledger)).cost_nanos is None

    await ledger.write([usage_row(cost_nanos=100)])
    assert (await total(ledger)).unpriced_requests == 1
    assert (await total(ledger)).cost_nanos == 100


async def test_a_price_that_becomes_known_later_is_added(ledger: Ledger) -> None:
    row = usage_row(status="open", cost_nanos=None, duration_ms=1.0)
    await ledger.write([row])
    await ledger.write([replace(row, cost_nanos=100, duration_ms=2.0)])
    assert await total(ledger) == replace(
        await total(ledger), requests=1, unpriced_requests=0, cost_nanos=100
    )

    await ledger.write([replace(row, cost_nanos=None, duration_ms=3.0)])
    assert (await total(ledger)).cost_nanos is None
    assert (await total(ledger)).unpriced_requests == 1


async def test_the_estimated_part_of_a_cost_is_known(ledger: Ledger) -> None:
    row = usage_row(status="open", estimated=True, cost_nanos=100, duration_ms=1.0)
    await ledger.write([row, usage_row(cost_nanos=30)])
    assert (await total(ledger)).estimated_cost_nanos == 100
    await ledger.write([replace(row, estimated=False, cost_nanos=90, duration_ms=2.0)])
    assert (await total(ledger)).estimated_cost_nanos == 0
    assert (await total(ledger)).cost_nanos == 120


async def test_a_row_that_changes_its_model_takes_its_totals_along(ledger: Ledger) -> None:
    row = usage_row(status="open", cost_nanos=100, duration_ms=1.0)
    other = usage_row(cost_nanos=7)
    await ledger.write([row, other])
    await ledger.write([replace(row, model="gpt-4.1", cost_nanos=500, duration_ms=2.0)])

    models = {line.model: line.totals for line in await totals(ledger, "model")}
    assert models["gpt-4.1"].cost_nanos == 500
    assert models["gpt-4.1-mini"].cost_nanos == 7
    assert await adds_up(ledger)

    await ledger.write([replace(other, day="2027-01-16")])
    assert {line.day for line in await totals(ledger)} == {DAY, "2027-01-16"}
    assert {line.model: line.totals.requests for line in await totals(ledger, "model")} == {
        "gpt-4.1": 1,
        "gpt-4.1-mini": 1,
    }
    assert await adds_up(ledger)


async def test_rows_of_a_batch_move_grow_come_late_and_begin_each_on_its_own(
    ledger: Ledger,
) -> None:
    moving, growing, closed = (
        usage_row(status="open", room="room-1", duration_ms=1.0),
        usage_row(status="open", room="room-1", duration_ms=1.0),
        usage_row(room="room-1", duration_ms=9.0),
    )
    await ledger.write([moving, growing, closed])
    moved = replace(moving, room="room-2", project="staging", started_at=NOON - 5, duration_ms=2.0)
    grown = replace(growing, output_tokens=70, duration_ms=2.0)
    late = replace(closed, status="open", ended_at=None, output_tokens=1, duration_ms=5.0)
    new = usage_row(room="room-3")
    await ledger.write([moved, grown, late, new])

    assert {row.id: row for row in await stored(ledger)} == {
        row.id: row for row in (moved, grown, closed, new)
    }
    for room, rows in (("room-1", [grown, closed]), ("room-2", [moved]), ("room-3", [new])):
        found = await ledger.rows(RowFilter(room=room), limit=10)
        assert {row.id for row in found} == {row.id for row in rows}
    assert {call.key for call in await ledger.calls(limit=10)} == {"room-1", "room-2", "room-3"}
    assert await adds_up(ledger)


async def test_sums_of_seconds_are_exact(ledger: Ledger) -> None:
    await ledger.write([usage_row(audio_seconds=0.1) for _ in range(1000)])
    assert (await total(ledger)).audio_seconds == 100.0
    third = usage_row(audio_seconds=1 / 3)
    await ledger.write([third])
    assert {row.audio_seconds for row in await stored(ledger) if row.id == third.id} == {0.333}
    assert (await total(ledger)).audio_seconds == 100.333
    assert await adds_up(ledger)


async def test_a_batch_with_a_row_that_cannot_be_written_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"/\S+ does not take a row: .*\bproject\b"):
        await ledger.write([usage_row(), usage_row(project=None), usage_row()])
    assert await stored(ledger) == []
    assert await totals(ledger) == []
    await ledger.write([usage_row()])
    assert (await total(ledger)).requests == 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
async def test_a_value_that_is_no_number_marks_its_row_and_spoils_no_other(
    ledger: Ledger, wrong: float
) -> None:
    spoiled = usage_row(audio_seconds=wrong, ttfb_ms=wrong, error="cut off")
    good = usage_row()
    await ledger.write([spoiled, good])
    rows = {row.id: row for row in await stored(ledger)}
    assert rows[good.id] == good
    assert rows[spoiled.id] == replace(
        spoiled,
        audio_seconds=0.0,
        ttfb_ms=None,
        estimated=True,
        error=f"cut off; metering failed: no number: audio_seconds={wrong}, ttfb_ms={wrong}",
    )


async def test_half_a_surrogate_pair_is_written_and_found(ledger: Ledger) -> None:
    await ledger.write([usage_row(room="caf\ud83d", error="\udc00")])
    (row,) = await ledger.rows(RowFilter(room="caf\ud83d"), limit=10)
    assert row.room == "caf?"
    assert row.error == "?"


async def test_text_of_a_row_is_never_run_as_sql(ledger: Ledger) -> None:
    evil = "'); DROP TABLE usage; --"
    await ledger.write([usage_row(project=evil, room=evil, model=evil)])
    (row,) = await ledger.rows(RowFilter(project=evil, room=evil, model=evil), limit=10)
    assert row.project == evil
    assert await ledger.has_project(evil)


async def test_retention_takes_requests_and_leaves_totals(ledger: Ledger) -> None:
    rows = [usage_row(day=f"2027-01-{day:02}") for day in range(10, 16)]
    await ledger.write(rows)
    before = await totals(ledger)

    assert await ledger.delete_usage_before("2027-01-13") == 3

    assert [row.day for row in await stored(ledger)] == ["2027-01-15", "2027-01-14", "2027-01-13"]
    assert await totals(ledger) == before
    check = await ledger.check_totals()
    assert check == ("2027-01-13", 3, 3, [])


async def test_retention_does_not_move_back(ledger: Ledger) -> None:
    await ledger.write([usage_row(day="2027-01-01"), usage_row(day="2027-01-10")])
    await ledger.delete_usage_before("2027-01-05")
    await ledger.write([usage_row(day="2027-01-02")])
    await ledger.delete_usage_before("2027-01-03")
    assert (await ledger.check_totals()).kept_from == "2027-01-05"


async def test_retention_with_nothing_to_delete_leaves_no_trace(ledger: Ledger) -> None:
    await ledger.write([usage_row()])
    assert await ledger.delete_usage_before("2027-01-01") == 0
    assert (await ledger.check_totals()).kept_from is None


async def test_retention_leaves_open_rows_to_their_owner(ledger: Ledger) -> None:
    row = usage_row(status="open", day="2026-01-01", cost_nanos=5)
    await ledger.write([row, usage_row(day="2026-01-01", cost_nanos=100)])
    assert await ledger.delete_usage_before("2027-01-01") == 1
    await ledger.write([replace(row, status="completed", cost_nanos=9)])
    assert (await total(ledger)).requests == 2
    assert (await total(ledger)).cost_nanos == 109


async def test_retention_finds_days_of_every_time_zone(ledger: Ledger) -> None:
    midnight = 1_800_057_600.0  # 2027-01-16T00:00:00Z
    await ledger.write(
        [
            usage_row(day="2027-01-16", started_at=midnight - 13 * 3600),  # Auckland
            usage_row(day="2027-01-15", started_at=midnight + 11 * 3600),  # Samoa
        ]
    )
    assert await ledger.delete_usage_before("2027-01-16") == 1
    assert (await only(ledger)).day == "2027-01-16"


async def test_retention_of_many_rows_deletes_all_of_them(ledger: Ledger) -> None:
    for _ in range(11):
        await ledger.write([usage_row() for _ in range(1000)])
    assert await ledger.delete_usage_before("2027-01-16") == 11_000
    assert await stored(ledger) == []


async def test_a_call_without_requests_is_forgotten(ledger: Ledger) -> None:
    await ledger.write([usage_row(room="old"), usage_row(room="new", day="2027-01-16")])
    await ledger.delete_usage_before("2027-01-16")
    assert [call.key for call in await ledger.calls(limit=10)] == ["new"]


async def test_housekeeping_closes_what_is_stale_and_deletes_what_is_old(
    ledger: Ledger, clock: Any
) -> None:
    kept, old = usage_row(), usage_row(day="2026-12-15")
    abandoned = usage_row(status="open")
    await ledger.write([kept, old, abandoned])
    clock.now += 3600
    await ledger.housekeeping(retention_days=30, today=DAY)
    assert {row.id: row.status for row in await stored(ledger)} == {
        kept.id: "completed",
        abandoned.id: "cancelled",
    }
    assert (await ledger.check_totals()).kept_from == "2026-12-16"
