"""What a session does with a transcription stream, on the plugin itself and through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectOptions, APIError, stt, utils
from plugin_pairs import direct, plugin, through
from pydantic import BaseModel
from support.gateways import SPEECH, gateway_on
from support.machine import PATIENCE
from support.traces import PATIENT, frames

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

CLIP = "austen-0880.wav"


@asynccontextmanager
async def running(
    folder: Path, text: str = "projects: {prod: {}}\n"
) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / CLIP, "He was not an ill-disposed young man.")
        async with gateway_on(sandbox, folder, text) as gateway:
            yield sandbox, gateway


async def heard(stream: stt.RecognizeStream) -> list[stt.SpeechEvent]:
    """The events of a stream that hears the clip once, to the end of speech."""
    for frame in frames(CLIP):
        stream.push_frame(frame)
    events = []
    async for event in stream:
        events.append(event)
        if event.type is stt.SpeechEventType.END_OF_SPEECH:
            break
    return events


def times(events: list[stt.SpeechEvent]) -> list[Any]:
    """Kind, text, times and words of each event."""
    return [
        (
            event.type,
            [
                (
                    said.text,
                    said.language,
                    said.confidence,
                    round(said.start_time, 2),
                    round(said.end_time, 2),
                    [
                        (str(word), round(word.start_time, 2), round(word.end_time, 2))
                        for word in said.words or []
                    ],
                )
                for said in event.alternatives
            ],
        )
        for event in events
        if event.type is not stt.SpeechEventType.RECOGNITION_USAGE
    ]


async def test_times_and_words_are_those_of_the_plugin_from_an_offset_that_comes_late(
    tmp_path: Path,
) -> None:
    told = []
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("stt", sandbox), through("stt")):
            async with model, model.stream() as stream:
                stream.start_time_offset = 100.0  # after stream(), as stt_node does it
                assert stream.start_time_offset == 100.0
                told.append(times(await heard(stream)))
    of_plugin, of_ours = told
    finals = [said for kind, said in of_plugin if kind is stt.SpeechEventType.FINAL_TRANSCRIPT]
    (text, _, _, start, _, words) = finals[0][0]
    assert text == "He was not an ill-disposed young man."
    assert start > 100
    assert len(words) == 7
    assert of_ours == of_plugin


@pytest.mark.parametrize("name", ["start_time_offset", "start_time"])
async def test_a_time_that_cannot_be_is_refused_and_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("stt", sandbox), through("stt")):
            async with model, model.stream() as stream:
                setattr(stream, name, 5.0)
                with pytest.raises(ValueError, match="non-negative"):
                    setattr(stream, name, -1.0)
                assert getattr(stream, name) == 5.0


async def test_what_the_plugin_learns_of_the_speaker_is_read_and_set_on_its_stream(
    tmp_path: Path,
) -> None:
    class Speaker(BaseModel):
        age: str

    async with running(tmp_path), through("stt") as model, model.stream() as stream:
        assert stream.context is None
        stream._inner.context = Speaker(age="old")
        assert stream.context == Speaker(age="old")
        stream.context = Speaker(age="young")
        assert stream._inner.context == Speaker(age="young")


async def test_audio_after_the_end_is_refused_as_the_plugin_refuses_it(tmp_path: Path) -> None:
    frame = frames(CLIP)[0]
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("stt", sandbox), through("stt")):
            async with model:
                async with model.stream() as stream:
                    stream.push_frame(frame)
                    stream.end_input()
                    for use in (lambda s=stream: s.push_frame(frame), stream.flush):
                        with pytest.raises(RuntimeError, match="input ended"):
                            use()
                with pytest.raises(RuntimeError, match=r"input ended|is closed"):
                    stream.push_frame(frame)


async def test_audio_of_another_rate_is_refused_as_the_plugin_refuses_it(tmp_path: Path) -> None:
    other = rtc.AudioFrame(b"\0\0" * 480, 48_000, 1, 480)
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("stt", sandbox), through("stt")):
            async with model, model.stream() as stream:
                stream.push_frame(frames(CLIP)[0])
                with pytest.raises(ValueError, match="sample rate"):
                    stream.push_frame(other)


async def test_the_plugins_own_methods_of_a_stream_are_reached(tmp_path: Path) -> None:
    async with running(tmp_path), through("stt") as model, model.stream() as stream:
        assert stream.update_options == stream._inner.update_options
        assert not hasattr(stream, "_opts")


async def test_a_stream_may_hear_another_language_than_its_model(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("stt", sandbox), through("stt")):
            async with model, model.stream(language="fr") as stream:
                await heard(stream)
        await sandbox.settled()
        assert [one.language for one in sandbox.deepgram.record.requests] == ["fr", "fr"]


ONCE = APIConnectOptions(max_retry=0, retry_interval=0.01, timeout=PATIENCE)
OFTEN = APIConnectOptions(max_retry=4, retry_interval=0.01, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("own", "called", "attempts"),
    [(None, PATIENT, 3), (ONCE, None, 1), (ONCE, PATIENT, 3), (OFTEN, None, 5)],
)
async def test_the_calls_retries_go_before_those_of_the_constructor(
    own: APIConnectOptions | None, called: APIConnectOptions | None, attempts: int, tmp_path: Path
) -> None:
    options = {} if own is None else {"conn_options": own}
    of_call = {} if called is None else {"conn_options": called}
    async with running(tmp_path) as (sandbox, _), through("stt", **options) as model:
        sandbox.deepgram.faults.append(Fault.status(500), times=None)
        errors: list[Any] = []
        model.on("error", errors.append)
        async with model.stream(**of_call) as stream:
            with pytest.raises(APIError):
                await heard(stream)
        with pytest.raises(APIError):
            await model.recognize(frames(CLIP), **of_call)
        await sandbox.settled()
        live = [one for one in sandbox.deepgram.record.requests if one.live]
        whole = [one for one in sandbox.deepgram.record.requests if not one.live]
    assert (len(live), len(whole)) == (attempts, attempts)
    assert [error.recoverable for error in errors] == 2 * ([True] * (attempts - 1) + [False])


async def test_the_session_keeps_its_stream_adapter_when_the_fallback_streams(
    tmp_path: Path,
) -> None:
    # a session asks once whether its STT streams, and then calls stream() or recognize() only
    text = """
projects:
  prod:
    daily_budget: 0
    budget_action: throttle
    fallback: {stt: "deepgram/nova-2", llm: none, tts: none}
"""
    async with running(tmp_path, text):
        model = inference.STT("openai/whisper-1", project="prod")
        assert not model.capabilities.streaming
        event = await model.recognize(frames(CLIP))
        assert event.alternatives[0].text == "He was not an ill-disposed young man."
        assert model.metrics_metadata["model_name"] == "nova-2"
        assert model.model == "whisper-1"
        assert not plugin(model).capabilities.streaming
        assert not model.capabilities.streaming
        await model.aclose()


async def test_livekits_own_fallback_adapter_takes_our_models(tmp_path: Path) -> None:
    text = "projects: {prod: {providers: {deepgram: {api_key: k}}}}\n"
    async with running(tmp_path, text) as (sandbox, _):
        broken = inference.STT("deepgram/nova-3", base_url="http://127.0.0.1:1", project="prod")
        sound = through("stt")
        metrics: list[Any] = []
        given_up = asyncio.Event()
        async with (
            broken,
            sound,
            stt.FallbackAdapter([broken, sound], max_retry_per_stt=0, retry_interval=0.01) as both,
        ):
            both.on("metrics_collected", metrics.append)
            both.on("stt_availability_changed", lambda _: given_up.set())
            async with both.stream(conn_options=PATIENT) as stream:
                await given_up.wait()  # the adapter does not replay what was said until then
                events = await heard(stream)
        await sandbox.settled()
        assert len(sandbox.deepgram.record.requests) == 1
    texts = [e.alternatives[0].text for e in events if e.type.value == "final_transcript"]
    assert texts == ["He was not an ill-disposed young man."]
    connected = [one for one in metrics if not one.audio_duration]
    assert len(connected) == 1
