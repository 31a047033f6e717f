"""What those who watch ask: spend by day, its forecast, what runs, latencies, charges."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from support.ledger_places import Place
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.errors import InvalidQueryError
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.ledger.queries import load_queries
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.reports import Reports

DOLLAR = 1_000_000_000


def spent(day: str, dollars: float | None, **changes: Any) -> Any:
    cost = None if dollars is None else int(dollars * DOLLAR)
    return usage_row(day=day, cost_nanos=cost, **changes)


async def test_sums_are_those_of_the_other_questions(
    reports: Reports, ledger: Ledger, place: Place
) -> None:
    await ledger.write(
        [
            spent(DAY, 1.5),
            spent(DAY, 0.25, project="dev", estimated=True),
            spent(DAY, None, project="dev"),
            spent("2027-01-03", 4),
            spent("2026-12-31", 8),
        ]
    )
    overview = await reports.overview(days=14)
    today, month = await reports.costs("today"), await reports.costs("month")
    assert overview["today"]["cost"] == today["total_cost"] == 1.75
    assert overview["today"]["unpriced_requests"] == today["unpriced_requests"] == 1
    assert overview["today"]["estimated_cost"] == today["estimated_cost"] == 0.25
    assert overview["month"]["cost"] == month["total_cost"] == 5.75
    assert overview["days"][0] == "2027-01-02"
    assert overview["days"][-1] == DAY
    assert len(overview["days"]) == 14

    view = place.sql(
        "SELECT CAST(day AS text), project, CAST(SUM(total_cost) AS double precision) "
        "FROM project_daily_costs "
        "WHERE day >= '2027-01-02' GROUP BY day, project ORDER BY day, project"
    )
    lines = overview["by_project_and_day"]
    assert [(line["day"], line["project"], line["cost"]) for line in lines] == view


async def test_a_day_ends_in_the_configured_zone(reports: Reports) -> None:
    # it is 13:00 in Berlin
    assert (await reports.overview())["resets_at"] == "2027-01-15T23:00:00.000Z"
    assert reports.resets_at() == "2027-01-15T23:00:00.000Z"


async def test_the_forecast_takes_the_rest_of_the_day_from_the_days_before(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([spent(DAY, 6), spent("2027-01-13", 12), spent("2027-01-14", 24)])
    forecast = (await reports.overview())["forecast"]
    # 11 of 24 hours are left, and a day of these two brought 18 dollars
    assert forecast == {"cost": 14.25, "method": "recent_days", "days": 2}


async def test_days_without_a_request_count_after_the_first_one_with(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([spent("2027-01-11", 24), spent("2027-01-01", 1000)])
    forecast = (await reports.overview())["forecast"]
    assert forecast == {"cost": 2.75, "method": "recent_days", "days": 4}


async def test_without_days_before_the_forecast_goes_on_at_the_same_pace(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([spent(DAY, 13)])
    forecast = (await reports.overview())["forecast"]
    assert forecast == {"cost": 24.0, "method": "pace", "days": 0}


@pytest.mark.parametrize("rows", [[], [spent(DAY, None)]])
async def test_where_nothing_is_known_nothing_is_forecast(
    reports: Reports, ledger: Ledger, rows: list[Any]
) -> None:
    await ledger.write(rows)
    assert (await reports.overview())["forecast"] is None


async def test_a_young_day_has_no_pace(reports: Reports, ledger: Ledger, clock: Any) -> None:
    clock.now = NOON - 12.5 * 3600  # half an hour after midnight in Berlin
    await ledger.write([spent(DAY, 1)])
    assert (await reports.overview())["forecast"] is None


@pytest.mark.parametrize("days", [0, 367, True, "14"])
async def test_days_that_cannot_be_are_refused(reports: Reports, days: Any) -> None:
    with pytest.raises(InvalidQueryError, match="days"):
        await reports.overview(days)


async def test_what_runs_is_counted_without_what_nobody_keeps_alive(
    reports: Reports, ledger: Ledger, clock: Any
) -> None:
    await ledger.write([usage_row(status="open", room="abandoned")])
    clock.now += 61
    await ledger.write(
        [usage_row(status="open", started_at=clock.now - age, room=f"r{age}") for age in (5, 1)]
    )
    await ledger.write([usage_row(status="open", modality="stt", project="dev"), usage_row()])
    live = await reports.live()
    assert live["requests"] == 3
    assert live["by_project"] == [
        {"project": "dev", "modality": "stt", "requests": 1},
        {"project": "prod", "modality": "llm", "requests": 2},
    ]
    assert [entry["room"] for entry in live["newest"]] == ["r1", "r5", None]
    assert (await reports.live("dev"))["requests"] == 1
    assert (await reports.live("lab"))["newest"] == []


async def test_latencies_are_those_of_the_latest_requests(reports: Reports, ledger: Ledger) -> None:
    # the oldest were slow, and are not looked at
    times = [9_000.0] * 50 + [float(number) for number in range(1, 51)]
    await ledger.write(
        [usage_row(started_at=NOON + n, ttfb_ms=ttfb) for n, ttfb in enumerate(times)]
    )
    await ledger.write([usage_row(project="dev", modality="tts", ttfb_ms=None)])
    assert await reports.latency("prod") == {
        "project": "prod",
        "latency": [
            {
                "modality": "llm",
                "provider": "openai",
                "model": "gpt-4.1-mini",
                "requests": 50,
                "median_ttfb_ms": 25.5,
                "p95_ttfb_ms": 48.0,
            }
        ],
    }
    assert (await reports.latency("dev"))["latency"] == []


async def test_models_of_unknown_price_come_first_among_the_charges(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write(
        [
            spent(DAY, 5, price="catalogue old", started_at=NOON - 50),
            spent(DAY, 5, price="catalogue new", started_at=NOON - 40),
            spent(DAY, 0, price=None, status="rejected", started_at=NOON - 30),
            spent(DAY, None, price=None, provider="acme", model="talker", project="dev"),
            spent(DAY, 7, modality="tts", price="project sonic", project="dev"),
            spent("2026-12-16", 1, model="gone", price="config gone"),
        ]
    )
    answer = await reports.charges()
    assert (answer["from"], answer["to"]) == ("2026-12-17", DAY)
    lines = [
        (line["project"], line["model"], line["price"], line["cost"]) for line in answer["charges"]
    ]
    assert lines == [
        ("dev", "talker", None, None),
        ("prod", "gpt-4.1-mini", "catalogue new", 10.0),
        ("dev", "gpt-4.1-mini", "project sonic", 7.0),
    ]
    assert [line["unpriced_requests"] for line in answer["charges"]] == [1, 0, 0]
    assert len((await reports.charges("prod"))["charges"]) == 1


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "query", ["daily_costs", "live_counts", "newest_live", "latencies", "charges"]
)
async def test_no_question_reads_all_requests(ledger: SqliteLedger, query: str) -> None:
    with closing(sqlite3.connect(ledger.path)) as connection:
        names = dict.fromkeys(
            ("first_day", "last_day", "project", "seen_after", "limit", "sample"), None
        )
        sql = f"EXPLAIN QUERY PLAN {load_queries('sqlite')[query]}"
        steps = [step for *_, step in connection.execute(sql, names)]
    assert not [step for step in steps if step.startswith(("SCAN usage", "SCAN found"))]
