"""A request through the gateway is traced as the plugin's, with one span of ours around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import telemetry, utils
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from plugin_pairs import direct, through
from support.gateways import gateway_on
from support.machine import PATIENCE
from support.traces import Trace, chat, speak

from livekit_plugins_voicegateway.sandbox import Fault, Sandbox


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is traced while the test runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.set_tracer_provider(provider)
    yield exporter
    telemetry.set_tracer_provider(trace.NoOpTracerProvider())


@dataclass(frozen=True)
class Case:
    """A request whose first attempt fails, and who is asked.

    Attributes:
        kind: Modality.
        use: The request.
        fault: What befalls the first attempt.
        model: Who is said to have served.
    """

    kind: str
    use: Callable[[Any], Awaitable[Trace]]
    fault: Fault
    model: str

    @property
    def ours(self) -> str:
        return f"voicegateway_{self.kind}"

    @property
    def request(self) -> str:
        return f"{self.kind}_request"


CASES = {
    "llm": Case("llm", chat, Fault.status(500), "gpt-4.1-mini"),
    "tts": Case("tts", speak, Fault.error(done=False), "sonic-3"),
    "tts, whole": Case("tts", lambda model: speak(model, whole=True), Fault.status(500), "sonic-3"),
}


async def traced(
    case: Case, folder: Path, exporter: InMemorySpanExporter
) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """The spans of a request to the plugin, and of the same through the gateway."""
    told: list[list[ReadableSpan]] = []
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder) as gateway,
    ):
        sandbox.openai.replies = ["Indeed he was not."]
        for model in (direct(case.kind, sandbox), through(case.kind)):
            provider = sandbox.openai if case.kind == "llm" else sandbox.cartesia
            provider.faults.append(case.fault, times=1)
            exporter.clear()
            async with model:
                with telemetry.tracer.start_as_current_span("caller"):
                    await case.use(model)
            assert await gateway.flush(PATIENCE)  # our span ends when its cost is known
            told.append(list(exporter.get_finished_spans()))
    return told[0], told[1]


def shape(span: ReadableSpan) -> tuple[str, frozenset[str]]:
    return span.name, frozenset(span.attributes or {})


def parent(span: ReadableSpan, spans: list[ReadableSpan]) -> str:
    names = {one.context.span_id: one.name for one in spans if one.context is not None}
    return names[span.parent.span_id] if span.parent is not None else ""


@pytest.mark.parametrize("name", CASES)
async def test_a_request_has_the_plugins_spans_and_one_of_ours(
    name: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    case = CASES[name]
    of_plugin, of_ours = await traced(case, tmp_path, spans)
    (own,) = [span for span in of_ours if span.name == case.ours]
    others = [span for span in of_ours if span.name not in (case.ours, "caller")]
    assert [shape(span) for span in others] == [
        shape(span) for span in of_plugin if span.name != "caller"
    ]
    assert [span.name for span in others].count(f"{case.request}_run") == 2
    assert parent(own, of_ours) == "caller"
    # a synthesis opens the plugin's stream, and its span, before there is one of ours
    above = case.ours if case.kind == "llm" else "caller"
    assert {parent(span, of_ours) for span in others if span.name == case.request} == {above}


@pytest.mark.parametrize("name", CASES)
async def test_usage_is_said_by_the_plugins_span_only(
    name: str, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    case = CASES[name]
    _, of_ours = await traced(case, tmp_path, spans)
    said = {span.name: span.attributes or {} for span in of_ours}
    usage = ("gen_ai.usage.", "gen_ai.operation.", "lk.llm_metrics", "lk.tts_metrics")
    assert [key for key in said[case.request] if key.startswith(usage)]
    assert not [key for key in said[case.ours] if key.startswith(usage)]
    for name in (case.ours, "caller"):
        assert said[name]["gen_ai.response.model"] == case.model
