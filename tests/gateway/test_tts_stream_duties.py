"""What a session does with a synthesis, on the plugin itself and through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectOptions, APIError, tts, utils
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, USERDATA_TTS_STARTED_TIME
from plugin_pairs import direct, plugin, through
from support.gateways import gateway_on, usage_rows
from support.machine import PATIENCE
from support.traces import PATIENT

from livekit.plugins import cartesia
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

NOWHERE = "http://127.0.0.1:1"
TEXT = "Indeed he was not. He was rather cold hearted, and rather selfish."


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder) as gateway,
    ):
        yield sandbox, gateway


async def spoken(model: tts.TTS[Any], *pieces: str) -> list[tts.SynthesizedAudio]:
    """All audio of a stream that is given these pieces of text."""
    async with model.stream(conn_options=PATIENT) as stream:
        for piece in pieces:
            stream.push_text(piece)
        stream.end_input()
        return [event async for event in stream]


def transcript(events: list[tts.SynthesizedAudio]) -> list[tuple[str, float, float]]:
    return [
        (str(word), round(word.start_time, 2), round(word.end_time, 2))
        for event in events
        for word in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
    ]


async def test_words_come_with_their_times_and_frames_with_their_start(tmp_path: Path) -> None:
    told = []
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("tts", sandbox), through("tts")):
            async with model:
                assert model.capabilities.aligned_transcript
                told.append(await spoken(model, *(f"{word} " for word in TEXT.split(" "))))
    of_plugin, of_ours = told
    words = transcript(of_plugin)
    assert len(words) > 5
    assert transcript(of_ours) == words
    for events in told:
        assert len({event.request_id for event in events}) == 1
        assert len({event.segment_id for event in events}) == 1
        assert [event.is_final for event in events].count(True) == 1
        assert events[-1].is_final
        # the session counts its time to the first audio from here (voice/generation.py)
        assert all(event.frame.userdata[USERDATA_TTS_STARTED_TIME] > 0 for event in events)


async def test_a_whole_text_is_collected_and_known_to_its_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        audio = []
        for model in (direct("tts", sandbox), through("tts")):
            async with model, model.synthesize(TEXT) as stream:
                assert stream.input_text == TEXT
                assert not stream.done
                audio.append(await stream.collect())
                assert stream.done
                assert stream.exception is None
    of_plugin, of_ours = audio
    assert of_ours.duration == of_plugin.duration > 1
    assert of_ours.sample_rate == of_plugin.sample_rate


async def test_a_text_that_cannot_be_spoken_leaves_its_exception_at_the_stream(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (sandbox, _):
        sandbox.cartesia.faults.append(Fault.status(500), times=None)
        for model in (direct("tts", sandbox), through("tts")):
            async with model, model.synthesize(TEXT, conn_options=PATIENT) as stream:
                with pytest.raises(APIError) as caught:
                    await stream.collect()
                assert stream.exception is caught.value


async def test_whether_a_turn_is_expressive_is_known_to_the_plugin_before_its_stream(
    tmp_path: Path,
) -> None:
    # plugins read it in the constructor of the stream (inference/tts.py)
    async with running(tmp_path), through("tts") as model:
        itself = plugin(model)
        seen = []
        make = itself.stream

        def stream(**options: Any) -> tts.SynthesizeStream:
            seen.append(itself._expressive)
            made: tts.SynthesizeStream = make(**options)
            return made

        itself.stream = stream
        for expressive in (True, False):
            model._set_expressive(expressive)
            assert model._expressive is expressive
            opened = model.stream()
            model._set_expressive(not expressive)
            await opened.aclose()
    assert seen == [True, False]


async def test_a_connection_that_was_opened_in_advance_is_used(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        reused = []
        for model in (direct("tts", sandbox), through("tts")):
            metrics: list[Any] = []
            async with model:
                model.on("metrics_collected", metrics.append)
                model.prewarm()
                await _pool(model)._prewarm_task()
                await spoken(model, TEXT)
            reused.append([one.connection_reused for one in metrics])
        rows = await usage_rows(gateway)
    assert reused == [[True], [True]]
    assert len(rows) == 1  # nothing was asked for in advance


def _pool(model: Any) -> Any:
    return (plugin(model) if isinstance(model, inference.TTS) else model)._pool


async def test_closing_closes_the_plugins_connections(tmp_path: Path) -> None:
    async with running(tmp_path):
        model = through("tts")
        await spoken(model, TEXT)
        pool = _pool(model)
        assert pool._connections
        await model.aclose()
        assert not pool._connections


async def test_text_that_the_plugin_does_not_take_is_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        for model in (direct("tts", sandbox), through("tts")):
            async with model, model.stream() as stream:
                stream.push_text("He was not an ill-disposed young man.")
                stream.flush()
                stream.push_text("A second segment, which livekit-agents drops.")
                stream.end_input()
                stream.push_text("Text after the end, which nobody speaks.")
                stream.flush()
                stream.end_input()
                assert [event async for event in stream]
        await sandbox.settled()
        said = [request.text for request in sandbox.cartesia.record.requests]
        (row,) = await usage_rows(gateway)
    assert [text.strip() for text in said] == 2 * ["He was not an ill-disposed young man."]
    assert row["characters"] == len("He was not an ill-disposed young man.")


async def test_a_stream_without_text_costs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, gateway):
        for model in (direct("tts", sandbox), through("tts")):
            async with model:
                assert await spoken(model) == []
                assert await spoken(model, "") == []
        await sandbox.settled()
        assert sandbox.cartesia.record.totals.characters == 0
        rows = await usage_rows(gateway)
    assert [row for row in rows if row["characters"] or row["cost_nanos"]] == []


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
    async with running(tmp_path) as (sandbox, _), through("tts", **options) as model:
        sandbox.cartesia.faults.append(Fault.status(500), times=None)
        errors: list[Any] = []
        model.on("error", errors.append)
        async with model.synthesize(TEXT, **of_call) as stream:
            with pytest.raises(APIError):
                await stream.collect()
        await sandbox.settled()
        assert len(sandbox.cartesia.record.requests) == attempts
    assert [error.recoverable for error in errors] == [True] * (attempts - 1) + [False]


async def test_livekits_own_fallback_adapter_takes_our_models(tmp_path: Path) -> None:
    told = []
    async with running(tmp_path) as (sandbox, gateway):
        for models in (
            [cartesia.TTS(api_key="k", base_url=NOWHERE), direct("tts", sandbox)],
            [through("tts", base_url=NOWHERE), through("tts")],
        ):
            adapter = tts.FallbackAdapter(models, max_retry_per_tts=0)
            async with models[0], models[1], adapter:
                metrics: list[Any] = []
                adapter.on("metrics_collected", metrics.append)
                events = await spoken(adapter, *(f"{word} " for word in TEXT.split(" ")))
                told.append([one.characters_count for one in metrics])
            assert sum(event.frame.duration for event in events) > 1
            assert all(event.frame.userdata[USERDATA_TTS_STARTED_TIME] > 0 for event in events)
        rows = await usage_rows(gateway)
    assert told == 2 * [[len(TEXT) + 1]]
    assert [row["status"] for row in rows if row["characters"]] == ["completed"]


async def test_livekits_own_stream_adapter_takes_our_models(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        metrics: list[Any] = []
        async with through("tts") as model, tts.StreamAdapter(tts=model) as adapted:
            assert adapted.markup._provider_key() == plugin(model).markup._provider_key() != ""
            adapted.on("metrics_collected", metrics.append)
            events = await spoken(adapted, "He was not an ill-disposed young man. ", TEXT)
            assert sum(event.frame.duration for event in events) > 1
        await sandbox.settled()
        assert [request.live for request in sandbox.cartesia.record.requests] == [False, False]
    assert [one.characters_count for one in metrics] == [37, len(TEXT)]
