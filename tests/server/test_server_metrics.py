"""/metrics: what Prometheus reads is what the reports say, and counters never fall."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.alerts import some_alert
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger.queries import load_queries
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.reports import Reports
from livekit_plugins_voicegateway.server.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")

CONFIG = """
projects:
  prod: {daily_budget: 2.0, budget_action: block, providers: {openai: {api_key: sk-s3cret}}}
  dev: {daily_budget: 1.0}
  free: {}
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    async with SqliteLedger(tmp_path / "voicegw.db", clock=lambda: NOON) as ledger:
        yield ledger


@pytest.fixture
def reports(ledger: SqliteLedger, tmp_path: Path) -> Reports:
    path = tmp_path / "voicegw.yaml"
    path.write_text(CONFIG)
    return Reports(load_config(path, env={}), ledger, clock=lambda: NOON)


async def samples(metrics: Metrics, reports: Reports, ledger: SqliteLedger) -> Samples:
    content_type, body = await metrics.exposition(reports, ledger)
    assert content_type.startswith("text/plain; version=")
    assert b"s3cret" not in body
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


GPT = {"project": "prod", "modality": "llm", "provider": "openai", "model": "gpt-4.1-mini"}
NOVA = {"project": "dev", "modality": "stt", "provider": "deepgram", "model": "nova-3"}


def some_rows() -> list[object]:
    nova = {**NOVA, "requested_model": "deepgram/nova-3", "audio_seconds": 61.25}
    return [
        usage_row(cost_nanos=1_700_000_000),
        usage_row(cost_nanos=None, estimated=True),
        usage_row(day="2027-01-14", cost_nanos=40_000_000, estimated=True),
        usage_row(**nova, cost_nanos=1_000_000_000, ttfb_ms=200.0, input_tokens=0, output_tokens=0),
        usage_row(**nova, cost_nanos=4_900_000, ttfb_ms=400.0, input_tokens=0, output_tokens=0),
    ]


async def test_the_counters_are_what_the_reports_say(
    reports: Reports, ledger: SqliteLedger
) -> None:
    await ledger.write(some_rows())  # type: ignore[arg-type]
    found = await samples(Metrics(), reports, ledger)
    for project in ("prod", "dev"):
        answer = await reports.costs("all", project)
        for entry in answer["by_model"]:
            labels = {
                "project": project,
                **{
                    key: str(entry[key])
                    for key in (  # type: ignore[literal-required]
                        "modality",
                        "provider",
                        "model",
                    )
                },
            }
            for metric, key in {
                "voicegateway_cost_dollars_total": "cost",
                "voicegateway_estimated_cost_dollars_total": "estimated_cost",
                "voicegateway_requests_total": "requests",
                "voicegateway_unpriced_requests_total": "unpriced_requests",
                "voicegateway_input_tokens_total": "input_tokens",
                "voicegateway_cached_input_tokens_total": "cached_input_tokens",
                "voicegateway_output_tokens_total": "output_tokens",
                "voicegateway_characters_total": "characters",
                "voicegateway_audio_seconds_total": "audio_seconds",
            }.items():
                assert value(found, metric, **labels) == entry[key], metric  # type: ignore[literal-required]
        today = await reports.costs("today", project)
        spent = sum(
            amount
            for (name, labels_), amount in found.items()
            if name == "voicegateway_spend_today_dollars" and ("project", project) in labels_
        )
        assert spent == pytest.approx(today["total_cost"], abs=1e-9)


async def test_a_budget_has_a_limit_a_rest_and_one_state(
    reports: Reports, ledger: SqliteLedger
) -> None:
    await ledger.write(some_rows())  # type: ignore[arg-type]
    found = await samples(Metrics(), reports, ledger)
    for project in (await reports.projects())["projects"]:
        name = project["project_id"]
        states = {
            state: value(found, "voicegateway_budget_state", project=name, state=state)
            for state in ("ok", "near", "exceeded")
        }
        if project["daily_budget"] is None:
            assert set(states.values()) == {None}
            continue
        assert states == {s: float(s == project["today"]["state"]) for s in states}
        assert (
            value(found, "voicegateway_budget_remaining_dollars", project=name)
            == (project["today"]["remaining"])
        )
    assert value(found, "voicegateway_budget_dollars", project="prod", action="block") == 2.0
    assert value(found, "voicegateway_budget_state", project="prod", state="near") == 1.0
    assert value(found, "voicegateway_budget_state", project="dev", state="exceeded") == 1.0


async def test_latency_is_in_seconds(reports: Reports, ledger: SqliteLedger) -> None:
    await ledger.write(some_rows())  # type: ignore[arg-type]
    found = await samples(Metrics(), reports, ledger)
    model = {key: NOVA[key] for key in ("modality", "provider", "model")}
    name = "voicegateway_recent_ttfb_seconds"
    assert value(found, name, **model, quantile="0.5") == pytest.approx(0.3)
    assert value(found, name, **model, quantile="0.95") == pytest.approx(0.4)
    assert value(found, "voicegateway_recent_ttfb_requests", **model) == 2


async def test_what_runs_is_counted_apart_until_it_has_ended(
    reports: Reports, ledger: SqliteLedger
) -> None:
    row = usage_row(status="open", cost_nanos=500, input_tokens=100)
    await ledger.write([row])
    metrics = Metrics()
    found = await samples(metrics, reports, ledger)
    assert value(found, "voicegateway_open_requests", project="prod", modality="llm") == 1
    assert value(found, "voicegateway_requests_total", **GPT) is None
    assert value(found, "voicegateway_spend_today_dollars", **GPT) == 5e-7
    # the provider reports less than was estimated
    await ledger.write([replace(row, status="completed", ended_at=NOON, cost_nanos=300)])
    found = await samples(metrics, reports, ledger)
    assert value(found, "voicegateway_open_requests", project="prod", modality="llm") is None
    assert value(found, "voicegateway_cost_dollars_total", **GPT) == 3e-7
    assert value(found, "voicegateway_spend_today_dollars", **GPT) == 3e-7


async def test_what_nobody_knows_the_price_of_has_no_spend_of_today(
    reports: Reports, ledger: SqliteLedger
) -> None:
    await ledger.write([usage_row(cost_nanos=None)])
    found = await samples(Metrics(), reports, ledger)
    assert value(found, "voicegateway_unpriced_requests_total", **GPT) == 1
    assert value(found, "voicegateway_spend_today_dollars", **GPT) is None
    await ledger.write([usage_row(cost_nanos=500)])
    found = await samples(Metrics(), reports, ledger)
    assert value(found, "voicegateway_spend_today_dollars", **GPT) == 5e-7


async def test_a_counter_does_not_fall_when_a_finished_row_is_corrected(
    reports: Reports, ledger: SqliteLedger
) -> None:
    row = usage_row(cost_nanos=500)
    await ledger.write([row])
    metrics = Metrics()
    await samples(metrics, reports, ledger)
    await ledger.write([replace(row, cost_nanos=300)])
    found = await samples(metrics, reports, ledger)
    assert value(found, "voicegateway_cost_dollars_total", **GPT) == 5e-7


async def test_alerts_that_nobody_took_are_counted(reports: Reports, ledger: SqliteLedger) -> None:
    await ledger.add_alert(some_alert(at=time.time()))
    found = await samples(Metrics(), reports, ledger)
    assert value(found, "voicegateway_alerts_waiting") == 1


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "two\nlines", "<b>é</b>", ""])
async def test_any_name_can_be_a_label(reports: Reports, ledger: SqliteLedger, name: str) -> None:
    await ledger.write([usage_row(project=name, model=name)])
    found = await samples(Metrics(), reports, ledger)
    labels = {**GPT, "project": name, "model": name}
    assert value(found, "voicegateway_requests_total", **labels) == 1


async def test_an_empty_ledger_has_metrics_too(reports: Reports, ledger: SqliteLedger) -> None:
    found = await samples(Metrics(), reports, ledger)
    assert value(found, "voicegateway_budget_remaining_dollars", project="prod") == 2.0
    assert value(found, "voicegateway_alerts_waiting") == 0


async def test_it_reads_totals_and_open_requests_only(ledger: SqliteLedger) -> None:
    with sqlite3.connect(ledger.path) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {load_queries('sqlite')['finished_totals']}"
        ).fetchall()
    connection.close()
    of_usage = [line[3] for line in plan if re.search(r"\busage\b", line[3])]
    assert of_usage
    assert all("usage_by_status" in line for line in of_usage), of_usage


async def test_every_metric_is_documented(reports: Reports, ledger: SqliteLedger) -> None:
    await ledger.write(some_rows())  # type: ignore[arg-type]
    _, body = await Metrics().exposition(reports, ledger)
    shown = set(re.findall(r"^# TYPE (\w+)", body.decode(), re.MULTILINE))
    named = set(re.findall(r"^\| `(voicegateway_\w+)` \|", PAGE, re.MULTILINE))
    assert shown == named
    assert DAY not in body.decode()
