"""What Prometheus is told at ``/metrics``: spend, usage, budgets, latency, and what runs.

Everything is read from the ledger when it is asked for, so that any number of servers say the same,
and nothing of it costs more because there are more requests. docs/monitoring.md lists the metrics;
a test compares the list with what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..metering.usage import NANOS_PER_DOLLAR
from ..version import __version__

if TYPE_CHECKING:
    from ..answers import ProjectAnswer
    from ..ledger.base import Ledger, Totals
    from ..ledger.monitoring import FinishedTotals
    from ..ledger.overview import LiveLine
    from ..ledger.passages import DailyTotals
    from ..overview import LatencyAnswer
    from ..reports import Reports

__all__ = ["Metrics"]

_MODEL: Final = ("project", "modality", "provider", "model")

_STATES: Final = ("ok", "near", "exceeded")

_COUNTERS: Final[tuple[tuple[str, str, Callable[[Totals], float]], ...]] = (
    (
        "voicegateway_cost_dollars",
        "What finished requests have cost, in US dollars; those without a known price cost nothing "
        "here.",
        lambda totals: (totals.cost_nanos or 0) / NANOS_PER_DOLLAR,
    ),
    (
        "voicegateway_estimated_cost_dollars",
        "The part of the cost whose quantities were estimated.",
        lambda totals: totals.estimated_cost_nanos / NANOS_PER_DOLLAR,
    ),
    (
        "voicegateway_requests",
        "Requests that have finished, billed attempts and refusals included.",
        lambda totals: totals.requests,
    ),
    (
        "voicegateway_unpriced_requests",
        "Finished requests whose price nobody knows.",
        lambda totals: totals.unpriced_requests,
    ),
    (
        "voicegateway_input_tokens",
        "Prompt tokens, cached ones included.",
        lambda totals: totals.input_tokens,
    ),
    (
        "voicegateway_cached_input_tokens",
        "Prompt tokens that were read from a provider's cache.",
        lambda totals: totals.cached_input_tokens,
    ),
    (
        "voicegateway_output_tokens",
        "Completion tokens.",
        lambda totals: totals.output_tokens,
    ),
    (
        "voicegateway_characters",
        "Characters spoken.",
        lambda totals: totals.characters,
    ),
    (
        "voicegateway_audio_seconds",
        "Seconds of audio, heard (stt) or spoken (tts).",
        lambda totals: totals.audio_seconds,
    ),
)


class Metrics:
    """Answers ``/metrics``; there is one for each server.

    It remembers the highest value of each counter: a row that is corrected after its end would let
    a counter fall, and Prometheus would take that for a restart, and count all of it again.
    """

    def __init__(self) -> None:
        self._highest: dict[tuple[str, ...], float] = {}

    async def exposition(self, reports: Reports, ledger: Ledger) -> tuple[str, bytes]:
        """Return the type of the answer and its body.

        Args:
            reports: Of all projects there are now.
            ledger: What the reports ask; reading is enough.

        Raises:
            LedgerError: The ledger does not answer.
        """
        day = (await reports.costs("today"))["from"]
        families = [
            *self._counters(await ledger.finished_totals()),
            _today(await ledger.totals_of_days(day, day)),
            *_budgets((await reports.projects())["projects"]),
            _running(await ledger.live_counts()),
            *_latency(await reports.latency()),
            GaugeMetricFamily(
                "voicegateway_alerts_waiting",
                "Alerts that the webhook has not taken yet.",
                value=await ledger.waiting_alerts(),
            ),
            _build_info(),
        ]
        registry = CollectorRegistry()
        registry.register(_Collected(families))
        return CONTENT_TYPE_LATEST, generate_latest(registry)

    def _counters(self, lines: list[FinishedTotals]) -> Iterator[Metric]:
        for name, description, value_of in _COUNTERS:
            family = CounterMetricFamily(name, description, labels=_MODEL)
            for line in lines:
                key = (name, *line[:4])
                value = max(self._highest.get(key, 0.0), value_of(line.totals))
                self._highest[key] = value
                family.add_metric(line[:4], value)
            yield family


class _Collected(Collector):
    """Families that have been filled already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _today(lines: list[DailyTotals]) -> Metric:
    family = GaugeMetricFamily(
        "voicegateway_spend_today_dollars",
        "What was spent today, running requests included; from 0 again when the day turns. Absent "
        "where no price is known.",
        labels=_MODEL,
    )
    for line in lines:
        if line.totals.cost_nanos is not None:
            family.add_metric(line[1:5], line.totals.cost_nanos / NANOS_PER_DOLLAR)
    return family


def _budgets(projects: list[ProjectAnswer]) -> Iterator[Metric]:
    limit = GaugeMetricFamily(
        "voicegateway_budget_dollars", "The budget of a day.", labels=["project", "action"]
    )
    remaining = GaugeMetricFamily(
        "voicegateway_budget_remaining_dollars",
        "What is left of today's budget; never below 0.",
        labels=["project"],
    )
    state = GaugeMetricFamily(
        "voicegateway_budget_state",
        "1 for the state that today's budget is in: ok, near (80 % are spent), exceeded.",
        labels=["project", "state"],
    )
    for project in projects:
        name, budget, today = project["project_id"], project["daily_budget"], project["today"]
        if budget is None or today["remaining"] is None:
            continue
        limit.add_metric([name, project["budget_action"]], budget)
        remaining.add_metric([name], today["remaining"])
        for one in _STATES:
            state.add_metric([name, one], 1.0 if today["state"] == one else 0.0)
    yield from (limit, remaining, state)


def _running(lines: list[LiveLine]) -> Metric:
    family = GaugeMetricFamily(
        "voicegateway_open_requests",
        "Requests that run now; a stream of speech is one.",
        labels=["project", "modality"],
    )
    for line in lines:
        family.add_metric([line.project, line.modality], line.requests)
    return family


def _latency(answer: LatencyAnswer) -> Iterator[Metric]:
    waits = GaugeMetricFamily(
        "voicegateway_recent_ttfb_seconds",
        "Seconds to the first token, audio or transcript that half, or 95 of 100, of a model's "
        "newest requests stayed within.",
        labels=["modality", "provider", "model", "quantile"],
    )
    sample = GaugeMetricFamily(
        "voicegateway_recent_ttfb_requests",
        "How many requests voicegateway_recent_ttfb_seconds is taken of.",
        labels=["modality", "provider", "model"],
    )
    for entry in answer["latency"]:
        model = [entry["modality"], entry["provider"], entry["model"]]
        waits.add_metric([*model, "0.5"], entry["median_ttfb_ms"] / 1000)
        waits.add_metric([*model, "0.95"], entry["p95_ttfb_ms"] / 1000)
        sample.add_metric(model, entry["requests"])
    yield from (waits, sample)


def _build_info() -> Metric:
    family = GaugeMetricFamily(
        "voicegateway_build_info", "Always 1; says which version answers.", labels=["version"]
    )
    family.add_metric([__version__], 1.0)
    return family
