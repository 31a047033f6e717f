"""What livekit-agents reads on a model object is what it would read on the plugin itself."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from livekit.agents import ConversationItemAddedEvent, llm, stt, tts, utils
from plugin_pairs import direct, plugin, through
from support.gateways import gateway_on

from livekit_plugins_voicegateway import inference, llm as our_llm, stt as our_stt, tts as our_tts
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

PROJECTS = """
projects:
  prod:
    providers:
      anthropic: {api_key: k}
      assemblyai: {api_key: k}
      azure: {stt: {speech_key: k, speech_region: x}, tts: {speech_key: k, speech_region: x}}
      elevenlabs: {api_key: k}
      groq: {api_key: k}
      inworld: {api_key: k}
      mistralai: {api_key: k}
      rime: {api_key: k}
      xai: {api_key: k}
  staging: {}
"""
HEARS = [
    "deepgram/nova-3",
    "deepgram/flux-general-en",
    "cartesia/ink-whisper",
    "openai/gpt-4o-mini-transcribe",
    "assemblyai/universal-streaming",
    "assemblyai/universal-3-6-pro",
    "azure/default",
    "elevenlabs/scribe_v2_realtime",
    "groq/whisper-large-v3-turbo",
    "inworld/inworld-stt-1",
    "xai/default",
    "local/whisper-base",
]
THINKS = [
    "openai/gpt-4.1-mini",
    "anthropic/claude-haiku-4-5",
    "groq/llama-3.3-70b-versatile",
    "mistralai/mistral-medium-latest",
    "xai/grok-4",
    "ollama/qwen2.5:3b",
]
SPEAKS = [
    "cartesia/sonic-3",
    "openai/gpt-4o-mini-tts",
    "azure/default",
    "elevenlabs/eleven_flash_v2_5",
    "groq/playai-tts",
    "inworld/inworld-tts-1",
    "rime/mistv2",
    "xai/default",
    "local/kokoro",
]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder, PROJECTS) as gateway,
    ):
        inference.set_project("prod")
        yield sandbox, gateway


def not_ours(base: type, ours: type) -> set[str]:
    """Names that a class of livekit-agents defines and ours does not define again."""
    kinds = (property, FunctionType, classmethod, staticmethod, type)
    defined = {name for name, value in vars(base).items() if isinstance(value, kinds)}
    return defined - vars(ours).keys()


CONTEXT = {"__aenter__", "__aexit__"}
ITERATION = {"__aiter__", "__anext__"}
MACHINERY = CONTEXT | ITERATION | {"_main_task"}


@pytest.mark.parametrize(
    ("base", "ours", "left"),
    [
        (stt.STT, our_stt.STT, CONTEXT | {"label", "_emit_error"}),
        (llm.LLM, our_llm.LLM, CONTEXT | {"label", "_prewarm_impl"}),
        (tts.TTS, our_tts.TTS, CONTEXT | {"label", "markup", "_synthesize_with_stream"}),
        (tts.TTS.Markup, our_tts.TTS.Markup, {"__init__"}),
        (
            stt.RecognizeStream,
            our_stt.RecognizeStream,
            MACHINERY
            | {"_FlushSentinel", "_check_input_not_ended", "_check_not_closed"}
            | {"_report_connection_acquired"},
        ),
        (
            llm.LLMStream,
            our_llm.LLMStream,
            MACHINERY
            | {"_attempt_span", "_record_genai_request", "aclose", "collect", "to_str_iterable"},
        ),
        (
            tts.ChunkedStream,
            our_tts.ChunkedStream,
            CONTEXT
            | ITERATION
            | {"_emit_error", "_set_token_usage", "collect", "done", "exception", "input_text"},
        ),
        (
            tts.SynthesizeStream,
            our_tts.SynthesizeStream,
            CONTEXT
            | ITERATION
            | {"_FlushSentinel", "_emit_error", "_mark_started", "_set_token_usage"}
            | {"_metrics_monitor_task"},  # which only the base's push_text would start
        ),
    ],
    ids=lambda value: value.__qualname__ if isinstance(value, type) else None,
)
def test_no_name_of_the_base_class_answers_in_the_plugins_place(
    base: type, ours: type, left: set[str]
) -> None:
    # a name that a later version adds appears here, and has to be passed on to the delegate
    assert not_ours(base, ours) == left


def said_of(model: Any) -> dict[str, Any]:
    """What spans, metrics and the session itself read on a model object."""
    said: dict[str, Any] = {
        "model": model.model,
        "provider": model.provider,
        "metadata": model.metrics_metadata,
    }
    if not isinstance(model, llm.LLM):
        said["capabilities"] = dataclasses.asdict(model.capabilities)
    if isinstance(model, tts.TTS):
        said["audio"] = (model.sample_rate, model.num_channels)
        taught = 'Well<expr type="sound" label="laugh">, <emotion value="happy">indeed.'
        said["markup"] = (
            model.markup._provider_key(),
            model.markup.info,
            model.markup.llm_instructions(),
            model.markup.llm_instructions(speech_steering={"nonverbal": False}),
            model.markup.normalize(taught),
            model.markup.convert(model.markup.normalize(taught)),
        )
    return said


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("STT", name) for name in HEARS),
        *(("LLM", name) for name in THINKS),
        *(("TTS", name) for name in SPEAKS),
    ],
)
async def test_a_model_says_of_itself_what_its_plugin_says(
    kind: str, name: str, tmp_path: Path
) -> None:
    async with running(tmp_path):
        model = getattr(inference, kind)(name)
        itself = plugin(model)
        assert said_of(model) == said_of(itself)
        assert model.label == f"livekit_plugins_voicegateway.{kind.lower()}.{kind}"
        await model.aclose()


def test_the_plugins_that_are_compared_have_markup_of_their_own() -> None:
    # or the comparison above would be of nothing with nothing
    from livekit.plugins import cartesia, inworld, xai

    for module in (cartesia, inworld, xai):
        assert module.TTS.Markup._provider_key is not tts.TTS.Markup._provider_key


async def test_what_a_plugin_has_on_top_is_reached_and_its_private_parts_are_not(
    tmp_path: Path,
) -> None:
    async with running(tmp_path):
        model = inference.TTS("elevenlabs/eleven_flash_v2_5")
        assert model.list_voices == plugin(model).list_voices
        assert not hasattr(model, "_opts")
        assert not hasattr(model, "no_such_thing")
        await model.aclose()


async def test_capabilities_are_the_plugins_own_as_they_are_now(tmp_path: Path) -> None:
    async with running(tmp_path):
        model = inference.STT("elevenlabs/scribe_v2_realtime")
        assert model.capabilities.manual_flush
        model.capabilities.manual_flush = False  # as an application with an STT node of its own
        assert not plugin(model).capabilities.manual_flush
        await model.aclose()


async def test_the_stream_of_a_session_belongs_to_our_model(tmp_path: Path) -> None:
    # the session reads manual_flush on it before each commit (voice/audio_recognition.py)
    async with running(tmp_path):
        model = inference.STT("deepgram/nova-3")
        stream = model.stream()
        assert stream._stt is model
        plugin(model).capabilities.manual_flush = True
        assert stream._stt.capabilities.manual_flush
        await stream.aclose()
        await model.aclose()


def reply(text: str) -> ConversationItemAddedEvent:
    return ConversationItemAddedEvent(item=llm.ChatMessage(role="assistant", content=[text]))


async def test_a_turn_of_the_conversation_reaches_the_plugin_that_can_use_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path):
        model = inference.STT("assemblyai/universal-3-6-pro")
        listener = model._push_conversation_item
        listener(reply("Which chapter shall we read?"))
        assert plugin(model)._opts.agent_context == "Which chapter shall we read?"
        model.update_options(model="deepgram/nova-3")
        listener(reply("The first."))
        assert listener == model._push_conversation_item  # or off() would not find it
        await model.aclose()


async def test_a_turn_of_the_conversation_is_kept_from_a_plugin_that_cannot_use_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path):
        model = inference.STT("deepgram/nova-3")
        model._push_conversation_item(reply("Which chapter?"))
        await model.aclose()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_keyterms_reach_a_plugin_that_takes_over_from_another(tmp_path: Path) -> None:
    async with running(tmp_path):
        model = inference.STT("deepgram/nova-3", extra_kwargs={"keyterm": ["Norland"]})
        model._update_session_keyterms(["Dashwood"])
        before = plugin(model)
        model.update_options(model="deepgram/flux-general-en")
        assert plugin(model) is not before
        assert plugin(model)._opts.keyterm == ["Norland", "Dashwood"]
        await model.aclose()


async def test_keyterms_reach_a_plugin_that_is_made_for_another_project(tmp_path: Path) -> None:
    async with running(tmp_path):
        # made where no project was chosen, as in a worker's setup_fnc
        model = contextvars.Context().run(inference.STT, "deepgram/flux-general-en")
        assert model._delegates.all() == []
        model._update_session_keyterms(["Dashwood"])
        for project in ("prod", "staging"):
            with inference.use_project(project):
                assert plugin(model)._opts.keyterm == ["Dashwood"]
        model._update_session_keyterms(["Norland"])
        for project in ("prod", "staging"):
            with inference.use_project(project):
                assert plugin(model)._opts.keyterm == ["Norland"]
        await model.aclose()


async def test_keyterms_that_a_plugin_does_not_know_are_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path):
        model = inference.STT("cartesia/ink-whisper", api_key="k")
        for terms in (["Dashwood"], ["Norland"], []):
            model._update_session_keyterms(terms)
        await model.aclose()
    said = [record.getMessage() for record in caplog.records if "keyterms" in record.message]
    assert len(said) == 1


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
async def test_events_of_the_plugin_reach_a_listener_once_and_no_longer_than_it_listens(
    kind: str, tmp_path: Path
) -> None:
    async with running(tmp_path):
        model = through(kind)
        model.prewarm()
        _ = model.capabilities if kind != "llm" else None
        heard: list[Any] = []
        for name in ("metrics_collected", "error"):
            model.on(name, heard.append)
            plugin(model).emit(name, name)
        assert heard == ["metrics_collected", "error"]
        for name in ("metrics_collected", "error"):
            model.off(name, heard.append)
            plugin(model).emit(name, name)
        assert len(heard) == 2
        await model.aclose()


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
async def test_closing_twice_does_no_harm_as_with_the_plugin(kind: str, tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        for model in (direct(kind, sandbox), through(kind)):
            async with model as entered:
                assert entered is model
            await model.aclose()
