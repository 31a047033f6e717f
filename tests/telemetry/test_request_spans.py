"""Spans of requests: project and cost are on them, exactly as in the ledger, and no key is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, telemetry, utils
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.gateways import KEYS, gateway_on, usage_rows
from support.traces import HASTY, chat, recognize, speak, transcribe
from support.usage_rows import usage_row

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.meter import RefusedMeter, Request
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox
from livekit_plugins_voicegateway.telemetry import RequestSpan, start_transcription, watch_request

Row = dict[str, Any]


def llm() -> Any:
    return inference.LLM("openai/gpt-4.1-mini", project="prod")


def tts() -> Any:
    return inference.TTS("cartesia/sonic-3", project="prod")


def stt() -> Any:
    return inference.STT("deepgram/nova-3", project="prod")


async def use(
    folder: Path,
    make: Callable[[], Any],
    do: Callable[[Any], Any],
    *,
    text: str = "projects: {prod: {}}\n",
    prepare: Callable[[Sandbox], None] = lambda sandbox: None,
) -> list[Row]:
    """Use a model on the sandbox; the rows of the ledger."""
    async with utils.http_context.open(), Sandbox() as sandbox:
        prepare(sandbox)
        async with gateway_on(sandbox, folder, text) as gateway:
            model = make()
            await do(model)
            await model.aclose()
            return await usage_rows(gateway)


def finished(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    [found] = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def ours(span: ReadableSpan) -> dict[str, Any]:
    prefix = "voicegateway."
    return {
        key.removeprefix(prefix): value
        for key, value in (span.attributes or {}).items()
        if key.startswith(prefix)
    }


def of_rows(rows: list[Row]) -> dict[str, Any]:
    """What a request's span must say, by the ledger."""
    newest = rows[-1]
    found = {
        "project": newest["project"],
        "requested_model": newest["requested_model"],
        "request_id": newest["request_id"],
        "provider": newest["provider"],
        "model": newest["model"],
        "status": newest["status"],
        "rows": len(rows),
        "estimated": any(row["estimated"] for row in rows),
        "priced": True,
        "price": newest["price"],
        "cost": sum(row["cost_nanos"] for row in rows) / 1e9,
    }
    for name in (
        "audio_seconds",
        "connection_seconds",
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "characters",
    ):
        used = sum(row[name] for row in rows)
        if used:
            found[name] = pytest.approx(used, abs=0.002)
    return found


@pytest.mark.parametrize(
    ("make", "do", "name"),
    [
        (llm, chat, "voicegateway_llm"),
        (tts, speak, "voicegateway_tts"),
        (tts, lambda model: speak(model, whole=True), "voicegateway_tts"),
        (stt, transcribe, "voicegateway_stt"),
        (stt, recognize, "voicegateway_stt"),
    ],
    ids=["llm", "tts", "tts-whole", "stt", "stt-whole"],
)
async def test_a_request_has_its_project_and_its_cost(
    tmp_path: Path, spans: InMemorySpanExporter, make: Any, do: Any, name: str
) -> None:
    rows = await use(tmp_path, make, do)
    assert len(rows) == 1
    assert rows[0]["cost_nanos"] > 0
    assert ours(finished(spans, name)) == of_rows(rows)


@pytest.mark.parametrize(
    ("make", "do", "name"),
    [
        (llm, lambda model: chat(model, stop_after=1), "voicegateway_llm"),
        (tts, lambda model: speak(model, stop_after=1), "voicegateway_tts"),
    ],
    ids=["llm", "tts"],
)
async def test_an_interrupted_request_has_the_cost_that_the_ledger_has(
    tmp_path: Path, spans: InMemorySpanExporter, make: Any, do: Any, name: str
) -> None:
    rows = await use(tmp_path, make, do)
    assert rows[0]["status"] == "cancelled"
    assert ours(finished(spans, name)) == of_rows(rows)


async def test_attempts_that_were_billed_are_added_up(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    def fall_silent_once(sandbox: Sandbox) -> None:
        sandbox.openai.faults.append(Fault.stall(after=0))

    rows = await use(
        tmp_path,
        llm,
        lambda model: chat(model, conn_options=HASTY),
        prepare=fall_silent_once,
    )
    assert len(rows) == 2
    assert ours(finished(spans, "voicegateway_llm")) == of_rows(rows)


async def test_a_price_that_nobody_knows_is_no_cost_of_0(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    await use(tmp_path, lambda: inference.LLM("openai/gpt-99", project="prod"), chat)
    found = ours(finished(spans, "voicegateway_llm"))
    assert found["priced"] is False
    assert "cost" not in found
    assert "price" not in found


@pytest.mark.parametrize(
    ("make", "do", "name"),
    [
        (llm, chat, "voicegateway_llm"),
        (tts, speak, "voicegateway_tts"),
        (stt, transcribe, "voicegateway_stt"),
    ],
    ids=["llm", "tts", "stt"],
)
async def test_a_refused_request_is_one_that_cost_nothing(
    tmp_path: Path, spans: InMemorySpanExporter, make: Any, do: Any, name: str
) -> None:
    text = "projects: {prod: {daily_budget: 0, budget_action: block}}\n"
    await use(tmp_path, make, do, text=text)
    found = ours(finished(spans, name))
    assert (found["project"], found["status"], found["cost"]) == ("prod", "rejected", 0.0)


async def test_without_metering_spans_end_and_say_who_would_pay(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    text = "projects: {prod: {}}\ncost_tracking: {enabled: false}\n"
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text):
            for make, do in ((llm, chat), (tts, speak), (stt, transcribe)):
                model = make()
                await do(model)
                await model.aclose()
    for name in ("voicegateway_llm", "voicegateway_tts", "voicegateway_stt"):
        assert set(ours(finished(spans, name))) == {"project", "requested_model", "request_id"}


async def test_a_session_has_costs_in_its_trace(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.openai.replies = ["Good evening."]
        async with gateway_on(sandbox, tmp_path) as gateway:
            model = llm()
            async with AgentSession(llm=model) as session:
                await session.start(Agent(instructions="You are kind."))
                await session.run(user_input="Good evening!")
            await model.aclose()
            rows = await usage_rows(gateway)
    node, request = finished(spans, "llm_node"), finished(spans, "voicegateway_llm")
    assert ours(node) == {"project": "prod", "requested_model": "openai/gpt-4.1-mini"}
    assert ours(request) == of_rows(rows)
    assert request.parent is not None
    assert node.context is not None
    assert request.parent.span_id == node.context.span_id


async def test_no_key_is_in_any_span(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path):
            for make, do in ((llm, chat), (tts, speak), (stt, transcribe)):
                model = make()
                await do(model)
                await model.aclose()
    text = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    assert "voicegateway.cost" in text
    for key in KEYS.values():
        assert key not in text


def request() -> Request:
    return Request(uuid7(), "prod", "llm", "openai", "gpt-4.1-mini", "openai/gpt-4.1-mini")


def begun(spans: InMemorySpanExporter) -> RequestSpan:
    span = watch_request(telemetry.tracer.start_span("some request"), request())
    assert span is not None
    return span


def test_a_span_ends_when_its_rows_are_priced_with_the_time_at_which_the_request_did(
    spans: InMemorySpanExporter,
) -> None:
    span, meters = begun(spans), [RefusedMeter(request()) for _ in range(2)]
    for meter in meters:
        span.follow(meter)
    span.priced(usage_row(cost_nanos=1), last=True)
    ended_at = 10**18
    span.end(ended_at)
    span.end(ended_at + 1)
    span.priced(usage_row(cost_nanos=2), last=False)  # a part of the second one
    assert spans.get_finished_spans() == ()
    span.priced(usage_row(cost_nanos=4), last=True)
    ended = finished(spans, "some request")
    assert ended.end_time == ended_at
    assert ours(ended)["cost"] == 7e-9


def test_a_span_processor_that_fails_fails_alone() -> None:
    class Broken(SimpleSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise OSError("no exporter")

    provider = TracerProvider()
    provider.add_span_processor(Broken(InMemorySpanExporter()))
    span = RequestSpan(provider.get_tracer("test").start_span("some request"), request())
    span.end()
    provider.shutdown()


def test_nothing_is_made_where_nobody_traces() -> None:
    assert watch_request(telemetry.tracer.start_span("some request"), request()) is None
    assert watch_request(None, request()) is None
    assert start_transcription(request()) is None


def test_every_attribute_is_documented(spans: InMemorySpanExporter) -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `voicegateway\.(\w+)` \|", page, re.MULTILINE))
    span, meter = begun(spans), RefusedMeter(request())
    span.follow(meter)
    used = {"audio_seconds": 1.0, "connection_seconds": 1.0, "characters": 1}
    span.priced(usage_row(**used), last=True)
    span.end()
    assert set(ours(finished(spans, "some request"))) == documented
