"""What was spent, and where each project stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.errors import InvalidQueryError, UnknownProjectError
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.reports import Reports

DOLLAR = 1_000_000_000

STT = {
    "modality": "stt",
    "provider": "deepgram",
    "model": "nova-3",
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
}

NOTHING = {
    "cost": 0.0,
    "requests": 0,
    "unpriced_requests": 0,
    "estimated_cost": 0.0,
    "audio_seconds": 0.0,
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
    "characters": 0,
}


async def test_costs_are_added_up_four_ways(reports: Reports, ledger: Ledger) -> None:
    await ledger.write(
        [
            usage_row(cost_nanos=1_500_000_001),
            usage_row(cost_nanos=500_000_000, estimated=True),
            usage_row(project="dev", cost_nanos=None, price=None),
            usage_row(**STT, audio_seconds=12.5, cost_nanos=80_000),
            usage_row(day="2027-01-14", cost_nanos=DOLLAR),
        ]
    )
    llm = {"input_tokens": 246, "cached_input_tokens": 40, "output_tokens": 49}
    assert await reports.costs("7d") == {
        "period": "7d",
        "from": "2027-01-09",
        "to": "2027-01-15",
        "timezone": "Europe/Berlin",
        "project": None,
        "currency": "USD",
        "total_cost": 3.000080001,
        "requests": 5,
        "unpriced_requests": 1,
        "estimated_cost": 0.5,
        "by_project": [
            {
                "project": "prod",
                **NOTHING,
                "cost": 3.000080001,
                "requests": 4,
                "estimated_cost": 0.5,
                "audio_seconds": 12.5,
                "input_tokens": 738,
                "cached_input_tokens": 120,
                "output_tokens": 147,
            },
            {
                "project": "dev",
                **NOTHING,
                **llm,
                "cost": None,
                "requests": 1,
                "unpriced_requests": 1,
            },
        ],
        "by_modality": [
            {
                "modality": "llm",
                **NOTHING,
                "cost": 3.000000001,
                "requests": 4,
                "unpriced_requests": 1,
                "estimated_cost": 0.5,
                "input_tokens": 984,
                "cached_input_tokens": 160,
                "output_tokens": 196,
            },
            {"modality": "stt", **NOTHING, "cost": 0.00008, "requests": 1, "audio_seconds": 12.5},
        ],
        "by_model": [
            {
                "modality": "llm",
                "provider": "openai",
                "model": "gpt-4.1-mini",
                **NOTHING,
                "cost": 3.000000001,
                "requests": 4,
                "unpriced_requests": 1,
                "estimated_cost": 0.5,
                "input_tokens": 984,
                "cached_input_tokens": 160,
                "output_tokens": 196,
            },
            {
                "modality": "stt",
                "provider": "deepgram",
                "model": "nova-3",
                **NOTHING,
                "cost": 0.00008,
                "requests": 1,
                "audio_seconds": 12.5,
            },
        ],
        "by_day": [
            {"day": "2027-01-14", **NOTHING, **llm, "cost": 1.0, "requests": 1},
            {
                "day": DAY,
                **NOTHING,
                "cost": 2.000080001,
                "requests": 4,
                "unpriced_requests": 1,
                "estimated_cost": 0.5,
                "audio_seconds": 12.5,
                "input_tokens": 738,
                "cached_input_tokens": 120,
                "output_tokens": 147,
            },
        ],
    }


async def test_without_usage_nothing_was_spent(reports: Reports) -> None:
    found = await reports.costs()
    assert (found["from"], found["to"]) == (DAY, DAY)
    assert found["total_cost"] == 0.0
    assert found["by_project"] == found["by_modality"] == found["by_model"] == found["by_day"] == []


async def test_a_cost_that_nobody_knows_is_not_zero(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(cost_nanos=None)])
    found = await reports.costs()
    assert found["total_cost"] is None
    assert found["unpriced_requests"] == 1


async def test_a_cost_of_zero_is_zero(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(status="rejected", cost_nanos=0)])
    assert (await reports.costs())["total_cost"] == 0.0


async def test_costs_of_one_project_leave_out_the_others(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(cost_nanos=5), usage_row(project="dev", cost_nanos=DOLLAR)])
    found = await reports.costs(project="prod")
    assert found["project"] == "prod"
    assert found["total_cost"] == 5e-09
    assert [entry["project"] for entry in found["by_project"]] == ["prod"]


async def test_days_are_those_of_the_configured_zone(
    reports: Reports, ledger: Ledger, clock: Any
) -> None:
    await ledger.write([usage_row(day="2027-01-16", cost_nanos=DOLLAR)])
    clock.now = NOON + 10.99 * 3600  # 23:59 in Berlin
    assert (await reports.costs())["total_cost"] == 0.0
    clock.now = NOON + 11 * 3600
    assert (await reports.costs())["total_cost"] == 1.0
    assert (await reports.costs("yesterday"))["to"] == DAY


async def test_all_goes_from_the_first_day_with_usage_to_today(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(day="2025-05-05"), usage_row(day="2026-06-06")])
    found = await reports.costs("all")
    assert (found["from"], found["to"]) == ("2025-05-05", DAY)
    assert found["requests"] == 2


async def test_a_range_is_answered_with_its_days(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(day=f"2027-01-{day:02}") for day in range(1, 11)])
    found = await reports.costs("2027-01-03..2027-01-05")
    assert found["period"] == "2027-01-03..2027-01-05"
    assert (found["from"], found["to"]) == ("2027-01-03", "2027-01-05")
    assert found["requests"] == 3


async def test_a_period_that_is_none_is_refused_with_those_that_are(reports: Reports) -> None:
    with pytest.raises(InvalidQueryError) as refused:
        await reports.costs("last week")
    (problem,) = refused.value.problems
    assert problem.field == "period"
    assert str(refused.value) == (
        "period: found 'last week'; expected today, yesterday, 7d, 30d, month, all, or two days in "
        "order: 2026-05-01..2026-05-31"
    )


async def test_a_project_that_has_left_the_configuration_keeps_its_costs(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(project="former", cost_nanos=DOLLAR)])
    assert (await reports.costs())["by_project"][0]["project"] == "former"
    assert (await reports.costs(project="former"))["total_cost"] == 1.0


async def test_a_project_that_never_was_is_refused(reports: Reports) -> None:
    with pytest.raises(UnknownProjectError, match="did you mean 'prod'"):
        await reports.costs(project="prd")


async def test_a_project_shows_what_it_is_and_where_it_stands(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write(
        [usage_row(cost_nanos=12_500_000_000), usage_row(day="2027-01-14", cost_nanos=DOLLAR)]
    )
    expected = {
        "project_id": "prod",
        "name": "Production",
        "description": "Customer-facing voice agents",
        "daily_budget": 50.0,
        "budget_action": "throttle",
        "tags": ["production", "customer-facing"],
        "accent": "green",
        "source": "yaml",
        "providers": [],
        "today": {
            "cost": 12.5,
            "requests": 1,
            "unpriced_requests": 0,
            "remaining": 37.5,
            "state": "ok",
        },
    }
    assert await reports.project("prod") == expected
    found = (await reports.projects())["projects"]
    assert [project["project_id"] for project in found] == ["prod", "staging", "dev"]
    assert found[0] == expected


@pytest.mark.parametrize(
    ("spent", "state", "remaining"),
    [
        (39 * DOLLAR, "ok", 11.0),
        (40 * DOLLAR - 1, "ok", 10.000000001),
        (40 * DOLLAR, "near", 10.0),
        (50 * DOLLAR - 1, "near", 1e-09),
        (50 * DOLLAR, "exceeded", 0.0),
        (60 * DOLLAR, "exceeded", 0.0),
    ],
)
async def test_a_budget_is_near_its_end_at_80_per_cent_and_exceeded_at_100(
    reports: Reports, ledger: Ledger, spent: int, state: str, remaining: float
) -> None:
    await ledger.write([usage_row(cost_nanos=spent)])
    today = (await reports.project("prod"))["today"]
    assert today["state"] == state
    assert today["remaining"] == remaining


async def test_a_budget_of_nothing_is_exceeded_from_the_start(reports: Reports) -> None:
    assert (await reports.project("staging"))["today"]["state"] == "exceeded"


async def test_a_project_without_a_budget_has_nothing_remaining(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(project="dev", cost_nanos=None)])
    project = await reports.project("dev")
    assert project["daily_budget"] is None
    assert project["today"] == {
        "cost": None,
        "requests": 1,
        "unpriced_requests": 1,
        "remaining": None,
        "state": "ok",
    }


async def test_an_unknown_project_is_refused(reports: Reports) -> None:
    with pytest.raises(UnknownProjectError):
        await reports.project("nobody")


async def test_answers_are_plain_json(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(room="room", speech_id="speech", cost_nanos=1)])
    for answer in (
        await reports.costs(),
        await reports.projects(),
        await reports.logs(),
        await reports.calls(),
        await reports.call("room"),
        await reports.verify(),
        await reports.prices(),
    ):
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
