"""`update_options`: a live change where the plugin can, another plugin where it cannot.

Each is looked at from the provider's side (what the sandbox received) and in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import stt, utils
from livekit.agents.metrics import STTMetrics
from support.gateways import SPEECH, gateway_on, usage_rows
from support.traces import chat, frames, recognize, speak

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.errors import UnknownModelError
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

WITH_CARTESIA_STT = (
    "projects: {prod: {providers: {cartesia: {api_key: k, stt: {base_url: 'http://127.0.0.1:1'}}}}}"
    "\n"
)


@asynccontextmanager
async def running(
    folder: Path, text: str = "projects: {prod: {}}\n"
) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder, text) as gateway,
    ):
        sandbox.deepgram.add_clip(SPEECH / "austen-0880.wav", "He was not an ill-disposed man.")
        inference.set_project("prod")
        yield sandbox, gateway


def plugin(model: Any) -> Any:
    """The plugin instance behind one of our model objects."""
    return model._delegates.current().instance


def models(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    in_order = sorted(rows, key=lambda row: (row["started_at"], row["id"]))
    return [(row["provider"], row["model"], row["requested_model"]) for row in in_order]


def rate(row: dict[str, Any]) -> float:
    """What a minute of audio cost in this row, in dollars."""
    dollars: float = row["cost_nanos"] / 1e9 / (row["audio_seconds"] / 60)
    return dollars


async def hear(stream: stt.RecognizeStream) -> str:
    """Let a stream hear the clip once, and return its transcript."""
    for frame in frames("austen-0880.wav"):
        stream.push_frame(frame)
    heard = ""
    async for event in stream:
        if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
            heard = f"{heard} {event.alternatives[0].text}".strip()
        if event.type == stt.SpeechEventType.END_OF_SPEECH:
            break
    return heard


async def change(hears: inference.STT, **options: Any) -> None:
    """Change options, and wait until the plugin has taken them to a connection of their own.

    What is pushed meanwhile may still go to the old connection, and ends there with it.
    """
    connected = asyncio.Event()

    def on_metrics(metrics: STTMetrics) -> None:
        if not metrics.audio_duration:  # how a plugin tells of a new connection
            connected.set()

    hears.on("metrics_collected", on_metrics)
    hears.update_options(**options)
    await connected.wait()
    hears.off("metrics_collected", on_metrics)


# STT


async def test_a_running_stt_stream_changes_model_and_its_row_ends_there(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        model = inference.STT("deepgram/nova-3")
        before = plugin(model)
        stream = model.stream()
        await hear(stream)
        await change(model, model="deepgram/nova-2")
        assert plugin(model) is before
        await hear(stream)
        await stream.aclose()
        await sandbox.settled()
        rows = await usage_rows(gateway)
        await model.aclose()
    received = sandbox.deepgram.record.requests
    assert [request.model for request in received] == ["nova-3", "nova-2"]
    assert models(rows) == [
        ("deepgram", "nova-3", "deepgram/nova-3"),
        ("deepgram", "nova-2", "deepgram/nova-2"),
    ]
    assert {row["status"] for row in rows} == {"completed"}
    assert len({row["request_id"] for row in rows}) == 1
    for row, request in zip(sorted(rows, key=lambda r: r["started_at"]), received, strict=True):
        assert row["audio_seconds"] == pytest.approx(request.audio_seconds, abs=0.1)


@pytest.mark.parametrize(
    ("options", "dollars_per_minute"),
    [
        ({"language": "multi"}, 0.0058),
        ({"model": "deepgram/nova-3:multi"}, 0.0058),
        ({"extra": {"keyterm": ["Dashwood"]}}, 0.0061),
    ],
)
async def test_what_changes_the_price_of_a_running_stt_stream_begins_a_row(
    options: dict[str, Any], dollars_per_minute: float, tmp_path: Path
) -> None:
    async with running(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3")
        stream = model.stream()
        await hear(stream)
        await change(model, **options)
        await hear(stream)
        await stream.aclose()
        rows = await usage_rows(gateway)
        await model.aclose()
    first, second = sorted(rows, key=lambda row: row["started_at"])
    assert first["request_id"] == second["request_id"]
    assert rate(first) == pytest.approx(0.0048, rel=1e-6)
    assert rate(second) == pytest.approx(dollars_per_minute, rel=1e-6)


async def test_what_does_not_change_the_price_begins_no_row(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3")
        stream = model.stream()
        await hear(stream)
        await change(model, extra={"endpointing": 50})
        await hear(stream)
        await stream.aclose()
        rows = await usage_rows(gateway)
        await model.aclose()
    assert len(rows) == 1


async def test_a_stream_opened_in_its_own_language_keeps_its_price(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3")
        stream = model.stream(language="multi")
        await hear(stream)
        await change(model, model="deepgram/nova-2")
        await change(model, model="deepgram/nova-3")
        await hear(stream)
        await stream.aclose()
        rows = await usage_rows(gateway)
        await model.aclose()
    rates = [rate(row) for row in rows if row["model"] == "nova-3" and row["audio_seconds"]]
    assert rates == pytest.approx([0.0058, 0.0058], rel=1e-6)


async def test_language_and_options_reach_the_running_plugin(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        model = inference.STT("deepgram/nova-3", extra_kwargs={"punctuate": True})
        before = plugin(model)
        stream = model.stream()
        await hear(stream)
        await change(model, language="fr", extra={"punctuate": False})
        assert plugin(model) is before
        await hear(stream)
        await stream.aclose()
        await model.aclose()
    first, second = sandbox.deepgram.record.requests
    assert (first.language, first.options["punctuate"]) == ("en-US", ["true"])
    assert (second.language, second.options["punctuate"]) == ("fr", ["false"])


async def test_an_stt_model_of_another_provider_serves_later_streams(tmp_path: Path) -> None:
    async with running(tmp_path, WITH_CARTESIA_STT) as (sandbox, gateway):
        model = inference.STT("cartesia/ink-whisper")
        model.update_options(model="deepgram/nova-3")
        assert (model.provider, model.model) == ("Deepgram", "nova-3")
        assert model.capabilities.keyterms
        stream = model.stream()
        assert await hear(stream) == "He was not an ill-disposed man."
        await stream.aclose()
        rows = await usage_rows(gateway)
        await model.aclose()
    assert models(rows) == [("deepgram", "nova-3", "deepgram/nova-3")]
    assert sandbox.deepgram.record.totals.requests == 1


async def test_a_running_stream_stays_with_its_provider_when_later_ones_change(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, WITH_CARTESIA_STT) as (_, gateway):
        model = inference.STT("deepgram/nova-3")
        stream = model.stream()
        await hear(stream)
        model.update_options(model="cartesia/ink-whisper")
        assert await hear(stream) == "He was not an ill-disposed man."
        assert stream._stt.capabilities.keyterms  # of the plugin that serves it
        await stream.aclose()
        rows = await usage_rows(gateway)
        await model.aclose()
    assert models(rows) == [("deepgram", "nova-3", "deepgram/nova-3")]


async def test_a_plugin_that_keeps_its_model_is_replaced(tmp_path: Path) -> None:
    async with running(tmp_path, WITH_CARTESIA_STT):
        model = inference.STT("cartesia/ink-whisper")
        model.update_options(model="cartesia/ink-2")
        assert model.model == plugin(model).model == "ink-2"
        await model.aclose()


async def test_a_model_that_another_class_serves_gets_that_class(tmp_path: Path) -> None:
    async with running(tmp_path):
        model = inference.STT("deepgram/nova-3")
        model.update_options(model="deepgram/flux-general-multi", language="fr")
        assert type(plugin(model)).__name__ == "STTv2"
        assert plugin(model)._opts.language_hint == ["fr"]
        same = plugin(model)
        model.update_options(language="de")
        assert plugin(model) is same
        assert same._opts.language_hint == ["de"]
        await model.aclose()


async def test_an_explicit_language_goes_before_the_new_models_suffix(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3")
        model.update_options(model="deepgram/nova-3:fr", language="multi")
        assert plugin(model)._opts.language == "multi"
        await recognize(model)
        assert gateway.router.language(model._delegates.spec) == "multi"
        await model.aclose()


# LLM


async def test_llm_options_replace_those_there_were(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        model = inference.LLM("openai/gpt-4.1-mini", extra_kwargs={"tool_choice": "none"})
        assert model._extra_kwargs == {"tool_choice": "none"}
        model.update_options(extra_kwargs={"user": "somebody"})
        assert model._extra_kwargs == {"user": "somebody"}
        model.update_options(extra_kwargs={})
        assert model._extra_kwargs == {}
        await chat(model)
        await model.aclose()
    assert sandbox.openai.record.totals.requests == 1


async def test_an_llm_of_another_provider_serves_the_next_completion(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        model = inference.LLM("openai/gpt-4.1-mini")
        await chat(model)
        model.update_options(model="ollama/qwen2.5:3b")
        await chat(model)
        model.update_options(model="openai/gpt-4.1")
        await chat(model)
        rows = await usage_rows(gateway)
        await model.aclose()
    assert models(rows) == [
        ("openai", "gpt-4.1-mini", "openai/gpt-4.1-mini"),
        ("ollama", "qwen2.5:3b", "ollama/qwen2.5:3b"),
        ("openai", "gpt-4.1", "openai/gpt-4.1"),
    ]
    assert [request.model for request in sandbox.ollama.record.requests] == ["qwen2.5:3b"]


# TTS


async def test_the_voice_of_the_same_plugin_changes_for_the_next_synthesis(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        model = inference.TTS("cartesia/sonic-3:one")
        before = plugin(model)
        await speak(model, whole=True)
        model.update_options(voice="two", language="fr")
        model.update_options(model="cartesia/sonic-2:three")
        assert plugin(model) is before
        await speak(model, whole=True)
        model.update_options(model="cartesia/sonic-3")
        await speak(model, whole=True)
        rows = await usage_rows(gateway)
        await model.aclose()
    assert [(r.model, r.voice, r.language) for r in sandbox.cartesia.record.requests] == [
        ("sonic-3", "one", "en"),
        ("sonic-2", "three", "fr"),
        ("sonic-3", "three", "fr"),
    ]
    assert [model for _, model, _ in models(rows)] == ["sonic-3", "sonic-2", "sonic-3"]


async def test_a_tts_model_of_another_provider_serves_the_next_synthesis(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        model = inference.TTS("deepgram/aura-2", base_url="http://127.0.0.1:1")
        assert model.provider == "Deepgram"
        model.update_options(model="cartesia/sonic-3")
        assert model.provider == "Cartesia"
        trace = await speak(model, whole=True)
        await model.aclose()
    assert trace.raised is None
    assert sandbox.cartesia.record.totals.requests == 1


# What must not happen


async def test_nothing_that_belongs_to_a_provider_goes_to_another(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        model = inference.LLM(
            "ollama/qwen2.5:3b",
            base_url=f"{sandbox.ollama.base_url}/v1",
        )
        model.update_options(model="openai/gpt-4.1-mini")
        assert str(plugin(model)._client.base_url).startswith(sandbox.openai.base_url)
        await model.aclose()

        hears = inference.STT(
            "deepgram/nova-3",
            api_key="deepgrams-key",
            base_url="http://127.0.0.1:1/deepgram",
            language="fr",
            extra_kwargs={"filler_words": True},
        )
        hears.update_options(model="openai/gpt-4o-mini-transcribe")
        assert plugin(hears)._client.api_key == "sandbox-openai-key"
        assert "deepgram" not in str(plugin(hears)._client.base_url)
        assert "fr" in repr(plugin(hears)._opts)  # a language is anybody's
        await hears.aclose()

        speaks = inference.TTS("cartesia/sonic-3:a-voice-of-cartesia", language="fr")
        speaks.update_options(model="openai/gpt-4o-mini-tts")
        assert plugin(speaks)._opts.voice != "a-voice-of-cartesia"
        await speaks.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"smart_fromat": True}},
        {"model": "deepgrm/nova-3"},
        {"model": "gpt-4.1"},
        {"model": "silero/x"},
        {"language": "fr", "smart_fromat": True},
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing(
    options: dict[str, Any], tmp_path: Path
) -> None:
    async with running(tmp_path) as (_, gateway):
        model = inference.STT("deepgram/nova-3", extra_kwargs={"smart_format": True})
        before, spec, settings = plugin(model), model._delegates.spec, repr(plugin(model)._opts)
        with pytest.raises(UnknownModelError):
            model.update_options(**options)
        assert plugin(model) is before
        assert repr(before._opts) == settings
        assert model._delegates.spec == spec
        trace = await recognize(model)
        assert trace.raised is None
        assert models(await usage_rows(gateway)) == [("deepgram", "nova-3", "deepgram/nova-3")]
        await model.aclose()


@pytest.mark.parametrize(
    ("kind", "model", "other"),
    [
        ("STT", "deepgram/nova-3", "openai/gpt-4o-mini-transcribe"),
        ("LLM", "openai/gpt-4.1-mini", "ollama/qwen2.5:3b"),
        ("TTS", "cartesia/sonic-3", "openai/gpt-4o-mini-tts"),
    ],
)
async def test_listeners_hear_of_old_and_new_plugin_until_both_are_closed(
    kind: str, model: str, other: str, tmp_path: Path
) -> None:
    async with running(tmp_path):
        ours = getattr(inference, kind)(model)
        heard: list[str] = []
        ours.on("metrics_collected", heard.append)
        old = plugin(ours)
        ours.update_options(model=other)
        new = plugin(ours)
        old.emit("metrics_collected", "of a request that still runs")
        new.emit("metrics_collected", "of the next request")
        await ours.aclose()
        old.emit("metrics_collected", "too late")
        new.emit("metrics_collected", "too late")
    assert heard == ["of a request that still runs", "of the next request"]


async def test_the_plugin_that_was_replaced_is_closed_with_the_object(tmp_path: Path) -> None:
    async with running(tmp_path):
        model = inference.LLM("openai/gpt-4.1-mini")
        old = plugin(model)
        model.update_options(model="ollama/qwen2.5:3b")
        new = plugin(model)
        assert not old._client.is_closed()
        await model.aclose()
        assert old._client.is_closed()
        assert new._client.is_closed()
