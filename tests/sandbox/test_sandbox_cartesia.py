"""The sandboxed Cartesia, driven by the real plugin."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, tts
from sandbox_speech import IMPATIENT, NO_RETRY

from livekit.plugins import cartesia
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox
from livekit_plugins_voicegateway.sandbox.voice import Voice

FIRST = "Hello there, how can I help you today?"
SECOND = "I can tell you about the weather, or book a table for tonight."
BOTH = f"{FIRST} {SECOND}"
HEADERS = {"X-API-Key": "k"}


@pytest.fixture
async def plugin(sandbox: Sandbox) -> AsyncIterator[cartesia.TTS]:
    voice = cartesia.TTS(base_url=sandbox.cartesia.base_url, api_key="ca-key")
    yield voice
    await voice.aclose()


async def speak(
    plugin: cartesia.TTS, text: str, options: APIConnectOptions = NO_RETRY
) -> list[tts.SynthesizedAudio]:
    async with plugin.stream(conn_options=options) as stream:
        stream.push_text(text)
        stream.end_input()
        return [audio async for audio in stream]


def seconds(audio: list[tts.SynthesizedAudio]) -> float:
    return sum(piece.frame.duration for piece in audio)


async def test_a_stream_is_spoken_and_its_characters_are_counted(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    audio = await speak(plugin, BOTH)
    await sandbox.settled()

    (request,) = sandbox.cartesia.record.requests
    # The plugin sends sentence by sentence and drops the blank between them.
    assert request.characters == len(FIRST) + len(SECOND)
    assert request.audio_seconds == pytest.approx((len(BOTH) + 1) / 15, abs=0.01)
    assert seconds(audio) == pytest.approx(request.audio_seconds, abs=0.02)
    assert (request.live, request.ending, request.status) == (True, "completed", 200)
    assert (request.key, request.model, request.language) == ("ca-key", "sonic-3", "en")
    assert request.headers["User-Agent"].startswith("LiveKit Agents Cartesia Plugin")
    assert request.voice


async def test_words_come_with_their_times(sandbox: Sandbox, plugin: cartesia.TTS) -> None:
    audio = await speak(plugin, BOTH)
    words = [
        word for piece in audio for word in piece.frame.userdata.get("lk.timed_transcripts", [])
    ]

    assert "".join(words).split() == BOTH.split()
    starts = [word.start_time for word in words]
    assert starts == sorted(starts)
    assert words[-1].end_time == pytest.approx(len(BOTH) / 15, abs=0.1)


async def test_the_voice_is_the_same_every_time_and_never_too_loud(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    first = b"".join([bytes(piece.frame.data) for piece in await speak(plugin, FIRST)])
    second = b"".join([bytes(piece.frame.data) for piece in await speak(plugin, FIRST)])

    assert first == second
    loudness = np.frombuffer(first, dtype=np.int16).astype(float) / 32768
    assert 0.1 < np.abs(loudness).max() < 0.7
    assert np.abs(np.diff(loudness)).max() < 0.2  # no clicks


def test_a_sound_begins_and_ends_softly() -> None:
    samples = np.abs(Voice("caller", 24000).speak("aaa").astype(float)) / 32768
    assert samples.max() > 0.1
    assert samples[:3].max() < 0.01
    assert samples[-3:].max() < 0.01


async def test_synthesize_takes_the_bytes_endpoint(sandbox: Sandbox, plugin: cartesia.TTS) -> None:
    async with plugin.synthesize(FIRST, conn_options=NO_RETRY) as stream:
        audio = [piece async for piece in stream]

    (request,) = sandbox.cartesia.record.requests
    assert (request.live, request.ending) == (False, "completed")
    assert request.characters == len(FIRST)
    assert request.audio_seconds == pytest.approx(len(FIRST) / 15, abs=0.001)
    assert seconds(audio) == pytest.approx(request.audio_seconds, abs=0.02)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
async def test_audio_has_the_sample_rate_that_was_asked_for(
    sandbox: Sandbox, sample_rate: int
) -> None:
    plugin = cartesia.TTS(base_url=sandbox.cartesia.base_url, api_key="k", sample_rate=sample_rate)
    audio = await speak(plugin, FIRST)
    await plugin.aclose()

    assert {piece.frame.sample_rate for piece in audio} == {sample_rate}
    assert seconds(audio) == pytest.approx((len(FIRST) + 1) / 15, abs=0.02)


async def test_an_interrupted_stream_is_cut_when_the_socket_is_closed(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    sandbox.cartesia.faults.append(Fault.stall(after=5))
    async with plugin.stream(conn_options=NO_RETRY) as stream:
        stream.push_text(BOTH)
        stream.end_input()
        await anext(stream)
    assert sandbox.cartesia.record.requests[0].ending == "open"
    # The plugin closes the socket of an interrupted stream only when it next needs one.
    await speak(plugin, FIRST)
    await sandbox.settled()

    interrupted, whole = sandbox.cartesia.record.requests
    assert (interrupted.ending, whole.ending) == ("client", "completed")
    assert interrupted.characters == len(FIRST) + len(SECOND)
    assert interrupted.audio_seconds == pytest.approx(0.5)


async def test_a_paced_synthesis_is_cut_by_a_client_that_hangs_up(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    sandbox.cartesia.pace = 0.001
    sandbox.cartesia.time_to_first_audio = 0.01
    async with plugin.synthesize(FIRST, conn_options=NO_RETRY) as stream:
        await anext(stream)
    await sandbox.settled()

    (request,) = sandbox.cartesia.record.requests
    assert (request.ending, request.audio_seconds) == ("client", 0.1)


def message(context_id: str, transcript: str, **more: Any) -> str:
    return json.dumps(
        {
            "context_id": context_id,
            "model_id": "sonic-3",
            "voice": {"mode": "id", "id": "v"},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
            "transcript": transcript,
            **more,
        }
    )


async def test_contexts_share_a_socket(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.pace = 100
    url = f"{sandbox.cartesia.base_url}/tts/websocket"
    async with http.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str(message("a", "One two. ", **{"continue": True, "flush": True}))
        await socket.send_str(message("b", "Three. ", **{"continue": True}))
        await socket.send_str(message("b", " "))
        await socket.send_str(message("a", " "))
        kinds: dict[str, list[str]] = {"a": [], "b": []}
        while not all("done" in seen for seen in kinds.values()):
            answer = await socket.receive_json()
            kinds[answer["context_id"]].append(answer["type"])

    assert kinds["a"] == [*["chunk"] * 6, "flush_done", "done"]
    assert kinds["b"] == [*["chunk"] * 5, "done"]
    requests = sandbox.cartesia.record.requests
    assert {request.id: request.characters for request in requests} == {"a": 8, "b": 6}


async def test_a_cancelled_context_does_not_begin_what_waits(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.faults.append(Fault.stall(0.05, after=0))
    url = f"{sandbox.cartesia.base_url}/tts/websocket"
    async with http.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str(message("a", "One two. ", **{"continue": True}))
        await socket.send_str(message("a", SECOND, **{"continue": True}))
        await socket.send_str('{"context_id": "a", "cancel": true}')
        while (await socket.receive_json())["type"] != "done":
            pass

    (request,) = sandbox.cartesia.record.requests
    assert request.ending == "client"
    assert request.audio_seconds < len(SECOND) / 15


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "context_id"),
        ('{"transcript": "a"}', "context_id"),
        ('{"context_id": "a", "transcript": 3}', "transcript"),
        (message("a", "x", model_id=""), "model_id"),
        (message("a", "x", voice="v"), "voice"),
        (message("a", "x", output_format=None), "output_format"),
        (message("a", "x", output_format={"container": "wav"}), "pcm_s16le"),
    ],
)
async def test_a_wrong_message_is_answered_with_an_error(
    sandbox: Sandbox, http: aiohttp.ClientSession, text: str, problem: str
) -> None:
    url = f"{sandbox.cartesia.base_url}/tts/websocket"
    async with http.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str(text)
        answer = await socket.receive_json()

    assert (answer["type"], answer["status_code"], answer["done"]) == ("error", 400, True)
    assert problem in answer["error"]
    assert sandbox.cartesia.record.requests == []


async def test_without_a_key_nothing_is_spoken(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    url = f"{sandbox.cartesia.base_url}/tts"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{url}/websocket")
    assert refused.value.status == 401
    async with http.post(f"{url}/bytes", json={}) as response:
        assert response.status == 401
    async with http.post(f"{url}/bytes", data=b"?", headers=HEADERS) as response:
        assert response.status == 400

    assert sandbox.cartesia.record.totals == sandbox.cartesia.record.failed


# What goes wrong on purpose


@pytest.mark.parametrize("code", [401, 429, 500])
async def test_the_plugin_is_told_an_error_status(
    sandbox: Sandbox, plugin: cartesia.TTS, code: int
) -> None:
    sandbox.cartesia.faults.append(Fault.status(code), times=2)
    with pytest.raises(APIStatusError) as refused:
        await speak(plugin, FIRST)
    assert refused.value.status_code == code
    with pytest.raises(APIStatusError) as refused:
        async with plugin.synthesize(FIRST, conn_options=NO_RETRY) as stream:
            [piece async for piece in stream]
    assert refused.value.status_code == code

    assert sandbox.cartesia.record.failed.requests == 2
    assert sandbox.cartesia.record.totals.characters == 0


async def test_a_refused_connection_is_an_error_of_the_connection(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    # aiohttp's client tries once more by itself when a connection is reset.
    sandbox.cartesia.faults.append(Fault.refuse(), times=2)
    with pytest.raises(APIConnectionError):
        await speak(plugin, FIRST)

    assert [request.ending for request in sandbox.cartesia.record.requests] == ["fault", "fault"]


@pytest.mark.parametrize(
    ("fault", "error", "ending", "sent"),
    [
        (Fault.cut(after=3), APIStatusError, "fault", 0.3),
        (Fault.garbage(after=3), APIConnectionError, "error", 0.3),
        (Fault.error("out of breath", after=3, done=False), APIError, "error", 0.3),
        (Fault.error("out of breath", done=False), APIError, "error", 0),
        (Fault.stall(after=3), APIError, "client", 0.3),
    ],
)
async def test_a_stream_that_breaks_is_an_error(
    sandbox: Sandbox,
    plugin: cartesia.TTS,
    fault: Fault,
    error: type[Exception],
    ending: str,
    sent: float,
) -> None:
    sandbox.cartesia.faults.append(fault)
    with pytest.raises(error):
        await speak(plugin, BOTH, IMPATIENT if fault.kind == "stall" else NO_RETRY)
    await plugin.aclose()
    await sandbox.settled()

    (request,) = sandbox.cartesia.record.requests
    assert (request.ending, request.fault) == (ending, str(fault))
    assert request.audio_seconds == pytest.approx(sent)
    assert request.characters > 0


async def test_an_error_that_says_done_passes_for_the_end(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    # The documented form; the plugin looks at `done` before it looks at the type.
    sandbox.cartesia.faults.append(Fault.error("out of breath", after=3))
    audio = await speak(plugin, FIRST)

    assert 0 < seconds(audio) <= 0.35
    assert sandbox.cartesia.record.failed.characters == len(FIRST)


async def test_text_after_an_error_is_counted_and_not_spoken(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.faults.append(Fault.error(done=False))
    url = f"{sandbox.cartesia.base_url}/tts/websocket"
    async with http.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str(message("a", "One. ", **{"continue": True}))
        assert (await socket.receive_json())["type"] == "error"
        await socket.send_str(message("a", "Two. ", **{"continue": True}))
        await socket.send_str(message("b", "Three."))
        assert (await socket.receive_json())["context_id"] == "b"
    await sandbox.settled()

    requests = sandbox.cartesia.record.requests
    assert [(request.id, request.characters) for request in requests] == [("a", 8), ("b", 6)]


@pytest.mark.parametrize("fault", [Fault.status(500), Fault.refuse()])
async def test_a_fault_strikes_the_next_context_of_an_open_socket(
    sandbox: Sandbox, plugin: cartesia.TTS, fault: Fault
) -> None:
    await speak(plugin, FIRST)
    sandbox.cartesia.faults.append(fault)
    with pytest.raises(APIError):
        await speak(plugin, FIRST)
    await sandbox.settled()

    assert sandbox.cartesia.record.requests[1].fault == str(fault)
    assert len(await speak(plugin, FIRST)) > 0


async def test_a_retry_sends_the_text_again(sandbox: Sandbox, plugin: cartesia.TTS) -> None:
    sandbox.cartesia.faults.append(Fault.cut(after=0))
    options = APIConnectOptions(max_retry=1, retry_interval=0.01)
    await speak(plugin, FIRST, options)
    await sandbox.settled()

    assert sandbox.cartesia.record.totals.characters == 2 * len(FIRST)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.cut(after=3), APIConnectionError),
        (Fault.error(), APIStatusError),
    ],
)
async def test_bytes_that_fail(
    sandbox: Sandbox, plugin: cartesia.TTS, fault: Fault, error: type[Exception]
) -> None:
    sandbox.cartesia.faults.append(fault)
    with pytest.raises(error):
        async with plugin.synthesize(FIRST, conn_options=NO_RETRY) as stream:
            [piece async for piece in stream]

    assert sandbox.cartesia.faults.struck == [fault]


async def test_bytes_with_a_pause_or_garbage_come_all_the_same(
    sandbox: Sandbox, plugin: cartesia.TTS
) -> None:
    sandbox.cartesia.faults.append(Fault.stall(0.01, after=2))
    sandbox.cartesia.faults.append(Fault.garbage(after=3))
    lengths = []
    for _ in range(2):
        async with plugin.synthesize(FIRST, conn_options=NO_RETRY) as stream:
            lengths.append(seconds([piece async for piece in stream]))

    assert lengths[0] > 2
    assert lengths[1] < 0.5
