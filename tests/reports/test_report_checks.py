"""Whether all adds up, and what things cost."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from support.ledger_places import Place
from support.usage_rows import DAY, usage_row

from livekit_plugins_voicegateway.errors import UnknownModelError, UnknownProjectError
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.reports import Reports


def on_sqlite(test: Any) -> Any:
    """Where the test changes totals by hand: elsewhere they are a view."""
    return pytest.mark.parametrize("place", ["sqlite"], indirect=True)(test)


async def test_a_ledger_that_adds_up_is_confirmed(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(), usage_row(project="dev", cost_nanos=None)])
    assert await reports.verify() == {
        "ok": True,
        "checked_from": None,
        "requests": 2,
        "lines": 2,
        "mismatches": [],
    }


@on_sqlite
async def test_every_value_that_does_not_add_up_is_named(
    reports: Reports, ledger: Ledger, place: Place
) -> None:
    await ledger.write([usage_row(cost_nanos=10), usage_row(project="dev", cost_nanos=None)])
    place.sql(
        "UPDATE usage_daily SET cost_nanos = 11, output_tokens = 50 WHERE project = 'prod'",
    )
    place.sql("UPDATE usage_daily SET cost_nanos = 0 WHERE project = 'dev'")
    key = {"day": DAY, "modality": "llm", "provider": "openai", "model": "gpt-4.1-mini"}
    found = await reports.verify()
    assert found["ok"] is False
    assert found["mismatches"] == [
        {**key, "project": "dev", "column": "cost_nanos", "total": 0, "sum": None},
        {**key, "project": "prod", "column": "output_tokens", "total": 50, "sum": 49},
        {**key, "project": "prod", "column": "cost_nanos", "total": 11, "sum": 10},
    ]


async def test_missing_requests_and_missing_totals_are_found(
    reports: Reports, ledger: Ledger, place: Place
) -> None:
    await ledger.write([usage_row(cost_nanos=10), usage_row(project="dev", cost_nanos=5)])
    place.sql("DELETE FROM usage WHERE project = 'prod'")
    totals = "usage_daily" if place.engine == "sqlite" else "usage_daily_slots"
    place.sql(f"DELETE FROM {totals} WHERE project = 'dev'")
    found = {
        (entry["project"], entry["column"]): (entry["total"], entry["sum"])
        for entry in (await reports.verify())["mismatches"]
    }
    assert found["prod", "requests"] == (1, 0)
    assert found["prod", "cost_nanos"] == (10, None)
    assert found["dev", "requests"] == (0, 1)
    assert found["dev", "cost_nanos"] == (None, 5)


async def test_days_whose_requests_were_deleted_are_not_checked(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(day="2027-01-10"), usage_row()])
    await ledger.delete_usage_before("2027-01-12")
    found = await reports.verify()
    assert found["ok"] is True
    assert found["checked_from"] == "2027-01-12"
    assert found["requests"] == 1
    assert (await reports.costs("all"))["requests"] == 2


async def test_a_price_comes_from_the_project_before_the_list(reports: Reports) -> None:
    minute = Quantities(audio_seconds=60)
    own = await reports.price("deepgram/nova-3", minute, project="prod")
    assert own["cost"] == 0.004
    assert own["source"] == "project"
    assert own["modality"] == "stt"
    listed = await reports.price("deepgram/nova-3", minute, project="dev")
    assert listed["source"] == "catalogue"
    assert listed["price"] is not None
    assert listed["price"].startswith("catalogue deepgram/nova-3")
    assert listed["currency"] == "USD"
    assert listed["quantities"]["audio_seconds"] == 60


async def test_a_price_that_nobody_knows_is_null(reports: Reports) -> None:
    answer = await reports.price("acme/unheard-of", Quantities(input_tokens=1000))
    assert answer["model"] == "acme/unheard-of"
    assert answer["cost"] is None
    assert answer["price"] is None
    assert answer["source"] is None
    assert answer["basis"] is None


async def test_a_free_model_costs_nothing(reports: Reports) -> None:
    answer = await reports.price("acme/in-house", Quantities(input_tokens=1000))
    assert answer["cost"] == 0.0
    assert answer["source"] == "config"


async def test_a_price_is_asked_for_a_model_and_a_project_that_are(reports: Reports) -> None:
    with pytest.raises(UnknownModelError):
        await reports.price("nova-3", Quantities())
    with pytest.raises(UnknownProjectError):
        await reports.price("deepgram/nova-3", Quantities(), project="nobody")
    with pytest.raises(UnknownProjectError):
        await reports.prices("nobody")


async def test_prices_name_their_source(reports: Reports) -> None:
    entries = (await reports.prices("prod"))["prices"]
    own = [entry for entry in entries if entry["source"] == "project"]
    assert [(entry["model"], entry["project"], entry["rate"]) for entry in own] == [
        ("deepgram/nova-3", "prod", own[0]["rate"])
    ]
    assert {entry["source"] for entry in entries} >= {"project", "config", "catalogue", "local"}
    others = (await reports.prices("dev"))["prices"]
    assert not [entry for entry in others if entry["source"] == "project"]


def test_reports_are_imported_without_what_they_do_not_need() -> None:
    code = (
        "import sys, livekit_plugins_voicegateway.reports, livekit_plugins_voicegateway.ledger\n"
        "print(*{'livekit.agents', 'aiosqlite', 'genai_prices', 'pydantic', 'rich', 'yaml'} "
        "& set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
