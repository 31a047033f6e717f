"""The sandboxed Deepgram, driven by the real plugin."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import aiohttp
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, stt
from livekit.agents.metrics import STTMetrics
from sandbox_speech import IMPATIENT, NO_RETRY, SAMPLE_RATE, hear, part, say, silence, texts

from livekit import rtc
from livekit.plugins import deepgram
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

FINAL = stt.SpeechEventType.FINAL_TRANSCRIPT
INTERIM = stt.SpeechEventType.INTERIM_TRANSCRIPT
START = stt.SpeechEventType.START_OF_SPEECH
END = stt.SpeechEventType.END_OF_SPEECH

WEATHER = "What is the weather in Paris today?"
THANKS = "No, thank you, that is all."


def plugin(sandbox: Sandbox, **options: Any) -> deepgram.STT:
    return deepgram.STT(base_url=sandbox.deepgram.base_url, api_key="dg-key", **options)


def push(stream: stt.RecognizeStream, *frames: rtc.AudioFrame) -> float:
    """Push all, in the 50 ms steps of a call; return how many seconds that is."""
    seconds = 0.0
    for frame in frames:
        for begin in range(0, frame.samples_per_channel, SAMPLE_RATE // 20):
            piece = part(frame, begin / SAMPLE_RATE, begin / SAMPLE_RATE + 0.05)
            stream.push_frame(piece)
            seconds += piece.duration
    return seconds


async def test_utterances_are_heard_in_the_order_of_the_transcripts(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER, THANKS]
    async with plugin(sandbox, keyterm=["Paris", "Rome"]).stream() as stream:
        pushed = push(stream, silence(0.5), say(WEATHER), silence(0.6), say(THANKS), silence(0.6))
        stream.end_input()
        events = await hear(stream, END, 2)
    await sandbox.settled()

    assert [event.type for event in events if event.type is not INTERIM] == [
        *(START, FINAL, END),
        *(START, FINAL, END),
    ]
    assert texts(events, FINAL) == [WEATHER, THANKS]
    assert sandbox.deepgram.transcripts == type(sandbox.deepgram.transcripts)()
    (request,) = sandbox.deepgram.record.requests
    assert request.audio_seconds == pytest.approx(pushed, abs=1e-9)
    assert request.transcripts == [WEATHER, THANKS]
    assert (request.live, request.status, request.ending) == (True, 101, "completed")
    assert (request.key, request.model, request.language) == ("dg-key", "nova-3", "en-US")
    assert (request.keyterms, request.channels) == (("Paris", "Rome"), 1)
    assert request.headers["Authorization"] == "Token dg-key"
    assert request.connection_seconds > 0


async def test_interim_results_grow_word_by_word(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        events = await hear(stream, FINAL)

    interims = texts(events, INTERIM)
    assert len(interims) > 3
    assert interims[0] == "What"
    assert all(WEATHER.startswith(text) for text in interims)
    assert interims == sorted(interims, key=len)


async def test_word_times_lie_within_the_speech(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    speech = say(WEATHER)
    async with plugin(sandbox).stream() as stream:
        push(stream, silence(1), speech, silence(0.6))
        (final,) = [e for e in await hear(stream, FINAL) if e.type is FINAL]

    words = final.alternatives[0].words
    assert words is not None
    assert [str(word) for word in words] == WEATHER.split()
    assert words[0].start_time == pytest.approx(1, abs=0.1)
    assert words[-1].end_time == pytest.approx(1 + speech.duration, abs=0.1)
    assert all(a.end_time <= b.start_time for a, b in itertools.pairwise(words))


async def test_a_known_clip_is_recognised_whatever_the_order(sandbox: Sandbox) -> None:
    for text in (WEATHER, THANKS):
        clip = say(text)
        sandbox.deepgram.add_clip(bytes(clip.data), text, sample_rate=SAMPLE_RATE)
    async with plugin(sandbox).stream() as stream:
        push(stream, silence(0.33), say(THANKS), silence(0.6), say(WEATHER), silence(0.6))
        events = await hear(stream, FINAL, 2)

    assert texts(events, FINAL) == [THANKS, WEATHER]
    assert texts(events, INTERIM)[0].startswith("No,")


async def test_a_connection_hears_only_the_words_whose_audio_it_got(sandbox: Sandbox) -> None:
    clip = say(WEATHER)
    sandbox.deepgram.add_clip(bytes(clip.data), WEATHER, sample_rate=SAMPLE_RATE)
    heard = []
    for begin, end in ((0.0, 1.2), (1.2, clip.duration)):
        async with plugin(sandbox).stream() as stream:
            push(stream, part(clip, begin, end))
            stream.flush()
            heard += texts(await hear(stream, FINAL), FINAL)

    assert " ".join(heard) == WEATHER
    assert all(heard)


async def test_finalize_ends_an_utterance_without_a_pause(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER))
        stream.flush()
        assert texts(await hear(stream, FINAL), FINAL) == [WEATHER]


async def test_a_reconnect_opens_a_second_connection(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER, THANKS]
    recognizer = plugin(sandbox)
    async with recognizer.stream() as stream:
        pushed = push(stream, say(WEATHER), silence(0.6))
        await hear(stream, END)
        recognizer.update_options(keyterm=["Paris"])
        await sandbox.settled()
        pushed += push(stream, say(THANKS), silence(0.6))
        assert texts(await hear(stream, END), FINAL) == [THANKS]
    await sandbox.settled()

    first, second = sandbox.deepgram.record.requests
    assert (first.keyterms, second.keyterms) == ((), ("Paris",))
    assert first.ending == "client"
    # The plugin sends 50 ms at a time and drops a rest when it reconnects or is closed.
    assert sandbox.deepgram.record.totals.audio_seconds == pytest.approx(pushed, abs=0.1)


async def test_an_utterance_that_was_cut_off_gives_its_text_back(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.cut(after=1))
    async with plugin(sandbox).stream(conn_options=NO_RETRY) as stream:
        push(stream, say(WEATHER))
        with pytest.raises(APIError):
            await hear(stream, FINAL)
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        assert texts(await hear(stream, FINAL), FINAL) == [WEATHER]


async def test_a_click_is_not_an_utterance(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    async with plugin(sandbox).stream() as stream:
        push(stream, part(say(WEATHER), 0.2, 0.26), silence(0.6), say(WEATHER), silence(0.6))
        (final,) = [e for e in await hear(stream, FINAL) if e.type is FINAL]

    assert final.alternatives[0].text == WEATHER
    assert final.alternatives[0].start_time > 0.6


async def test_utterance_end_comes_when_it_is_asked_for(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    # Without endpointing nothing but UtteranceEnd lets the plugin end the speech.
    async with plugin(sandbox, endpointing_ms=0, utterance_end_ms=1000).stream() as stream:
        push(stream, say(WEATHER), silence(1.2))
        events = await hear(stream, END)

    assert [event.type for event in events][-2:] == [FINAL, END]


async def test_a_transcript_is_bare_when_nothing_asks_for_punctuation(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    async with plugin(sandbox, punctuate=False, language="multi").stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        (final,) = [e for e in await hear(stream, FINAL) if e.type is FINAL]

    assert final.alternatives[0].text == "what is the weather in paris today"
    assert final.alternatives[0].language == "en"
    assert sandbox.deepgram.record.requests[0].language == "multi"


async def test_speech_without_words_is_reported_in_the_log(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        await hear(stream, END)

    assert "set `sandbox.deepgram.transcripts`" in caplog.text


async def test_the_socket_speaks_deepgrams_protocol(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    url = f"{sandbox.deepgram.base_url}?model=nova-3&sample_rate=16000&diarize=true"
    audio = bytes(say("Yes, please.").data)
    sandbox.deepgram.add_clip(audio, "Yes, please.", sample_rate=SAMPLE_RATE)
    async with http.ws_connect(url, headers={"Authorization": "Token k"}) as socket:
        await socket.send_str('{"type":"KeepAlive"}')
        await socket.send_str('{"type":"Sing"}')
        await socket.send_bytes(audio[:4001])  # an odd number of bytes
        await socket.send_bytes(audio[4001:])
        await socket.send_str('{"type":"CloseStream"}')
        messages = [json.loads(message.data) async for message in socket]
        assert socket.close_code == 1000

    error, results, metadata = messages
    assert (error["type"], error["variant"]) == ("Error", "UnparsableClientMessage")
    assert results["is_final"] is True
    assert results["speech_final"] is False
    words = results["channel"]["alternatives"][0]["words"]
    assert [(word["word"], word["speaker"]) for word in words] == [("yes", 0), ("please", 0)]
    assert metadata["type"] == "Metadata"
    assert metadata["duration"] == pytest.approx(len(audio) / 2 / 16000, abs=1e-6)
    assert metadata["request_id"] == sandbox.deepgram.record.requests[0].id


async def test_without_endpointing_only_utterance_end_tells_of_the_pause(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    url = f"{sandbox.deepgram.base_url}?endpointing=false&utterance_end_ms=1000"
    async with http.ws_connect(url, headers={"Authorization": "Token k"}) as socket:
        await socket.send_bytes(bytes(say(WEATHER).data) + bytes(silence(1.2).data))
        results, ended = [await socket.receive_json() for _ in range(2)]

    assert (results["is_final"], results["speech_final"]) == (True, False)
    last = results["channel"]["alternatives"][0]["words"][-1]
    assert ended == {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last["end"]}


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?encoding=opus", {"Authorization": "Token k"}, 400),
        ("?sample_rate=fast", {"Authorization": "Token k"}, 400),
        ("?channels=0", {"Authorization": "Token k"}, 400),
    ],
)
async def test_a_wrong_handshake_is_refused(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    query: str,
    headers: dict[str, str],
    status: int,
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(sandbox.deepgram.base_url + query, headers=headers)

    assert refused.value.status == status
    (request,) = sandbox.deepgram.record.requests
    assert (request.status, request.ending) == (status, "error")


async def test_a_file_is_transcribed_as_one_utterance(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER, THANKS]
    audio = [say("What is the weather"), silence(0.8), say("in Paris today?")]
    event = await plugin(sandbox, detect_language=True).recognize(audio, language="")

    assert event.alternatives[0].text == WEATHER
    assert event.alternatives[0].language == "en"
    (request,) = sandbox.deepgram.record.requests
    assert (request.live, request.status, request.ending) == (False, 200, "completed")
    assert request.audio_seconds == pytest.approx(sum(frame.duration for frame in audio))
    assert request.connection_seconds == 0
    assert list(sandbox.deepgram.transcripts) == [THANKS]


async def test_a_body_that_is_no_wav_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": "Token k"}
    async with http.post(sandbox.deepgram.base_url, data=b"mp3?", headers=headers) as response:
        assert response.status == 400
        assert "failed to process audio" in (await response.json())["err_msg"]


# What goes wrong on purpose, live


async def test_a_refused_connection_costs_nothing(sandbox: Sandbox) -> None:
    # aiohttp's client tries once more by itself when a connection is reset.
    sandbox.deepgram.faults.append(Fault.refuse(), times=2)
    async with plugin(sandbox).stream(conn_options=NO_RETRY) as stream:
        push(stream, say(WEATHER))
        with pytest.raises(APIConnectionError):
            await hear(stream, FINAL)

    for request in sandbox.deepgram.record.requests:
        assert (request.status, request.ending, request.fault) == (0, "fault", "refuse")
    assert len(sandbox.deepgram.record.requests) == 2
    assert sandbox.deepgram.record.totals.audio_seconds == 0


@pytest.mark.parametrize("code", [401, 429, 500])
async def test_the_plugin_is_told_an_error_status(sandbox: Sandbox, code: int) -> None:
    sandbox.deepgram.faults.append(Fault.status(code))
    async with plugin(sandbox).stream(conn_options=NO_RETRY) as stream:
        with pytest.raises(APIStatusError) as refused:
            await hear(stream, FINAL)

    assert refused.value.status_code == code
    assert sandbox.deepgram.record.failed.requests == 1


async def test_a_retry_after_a_failure_is_heard(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.status(500))
    options = APIConnectOptions(max_retry=1, retry_interval=0.1)
    async with plugin(sandbox).stream(conn_options=options) as stream:
        push(stream, say(WEATHER), silence(0.6))
        assert texts(await hear(stream, FINAL), FINAL) == [WEATHER]

    assert [request.status for request in sandbox.deepgram.record.requests] == [500, 101]


async def test_a_stalled_handshake_lets_the_plugin_give_up(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.append(Fault.stall())
    async with plugin(sandbox).stream(conn_options=IMPATIENT) as stream:
        with pytest.raises(APIConnectionError):
            await hear(stream, FINAL)
    await sandbox.settled()

    assert sandbox.deepgram.record.requests[0].ending == "client"


async def test_a_connection_stalled_for_ever_takes_audio_and_says_nothing(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.stall(after=0))
    audio = bytes(say(WEATHER).data)
    headers = {"Authorization": "Token k"}
    async with http.ws_connect(sandbox.deepgram.base_url, headers=headers) as socket:
        await socket.send_bytes(audio)
        await socket.send_str('{"type":"CloseStream"}')
    await sandbox.settled()

    (request,) = sandbox.deepgram.record.requests
    assert request.audio_seconds == len(audio) / 2 / 16000
    assert (request.ending, request.transcripts) == ("client", [])


async def test_a_connection_stalled_for_a_while_says_all_afterwards(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.stall(0.1, after=0.5))
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        stream.end_input()
        assert texts(await hear(stream, END), FINAL) == [WEATHER]

    assert sandbox.deepgram.record.requests[0].fault == "stall after 0.5"


async def test_what_a_stall_held_back_comes_with_the_next_message(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.stall(0.05, after=0))
    headers = {"Authorization": "Token k"}
    async with http.ws_connect(sandbox.deepgram.base_url, headers=headers) as socket:
        await socket.send_bytes(bytes(say(WEATHER).data) + bytes(silence(0.6).data))
        answer = asyncio.create_task(socket.receive_json())
        while not answer.done():
            await socket.send_str('{"type":"KeepAlive"}')
            await asyncio.wait([answer], timeout=0.02)

    assert answer.result()["type"] == "Results"


async def test_a_connection_cut_in_the_middle_is_replaced_by_the_plugin(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.cut(after=0.5))
    recognizer = plugin(sandbox)
    connected: asyncio.Queue[None] = asyncio.Queue()

    def on_metrics(metrics: STTMetrics) -> None:
        if metrics.audio_duration == 0:  # one for each new connection
            connected.put_nowait(None)

    recognizer.on("metrics_collected", on_metrics)
    options = APIConnectOptions(max_retry=1, retry_interval=0.1)
    async with recognizer.stream(conn_options=options) as stream:
        await connected.get()
        push(stream, part(say(WEATHER), 0, 0.5))
        await connected.get()
        push(stream, say(WEATHER), silence(0.6))
        assert texts(await hear(stream, FINAL), FINAL) == [WEATHER]

    first, second = sandbox.deepgram.record.requests
    assert (first.ending, first.fault) == ("fault", "cut after 0.5")
    assert first.audio_seconds == 0.5
    assert second.status == 101


async def test_an_error_message_closes_the_connection(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.append(Fault.error("out of ears", after=0.2))
    async with plugin(sandbox).stream(conn_options=NO_RETRY) as stream:
        push(stream, say(WEATHER))
        with pytest.raises(APIStatusError) as broken:
            await hear(stream, FINAL)

    assert broken.value.status_code == 1011
    assert sandbox.deepgram.record.failed.audio_seconds >= 0.2


async def test_garbage_does_not_stop_the_plugin(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.garbage())
    async with plugin(sandbox).stream() as stream:
        push(stream, say(WEATHER), silence(0.6))
        assert texts(await hear(stream, FINAL), FINAL) == [WEATHER]

    assert "failed to process deepgram message" in caplog.text


# What goes wrong on purpose, pre-recorded


async def test_files_answered_with_500_are_counted_and_marked_as_failed(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(Fault.status(500), times=2)
    options = APIConnectOptions(max_retry=2, retry_interval=0.01)
    event = await plugin(sandbox).recognize(say(WEATHER), conn_options=options)

    assert event.alternatives[0].text == WEATHER
    one = say(WEATHER).duration
    assert sandbox.deepgram.record.totals.audio_seconds == pytest.approx(3 * one)
    assert sandbox.deepgram.record.failed.audio_seconds == pytest.approx(2 * one)


@pytest.mark.parametrize("fault", [Fault.cut(0), Fault.garbage(), Fault.error(), Fault.refuse()])
async def test_a_file_that_fails_is_an_error_of_the_connection(
    sandbox: Sandbox, fault: Fault
) -> None:
    sandbox.deepgram.transcripts = [WEATHER]
    sandbox.deepgram.faults.append(fault)
    with pytest.raises(APIConnectionError):
        await plugin(sandbox).recognize(say(WEATHER), conn_options=NO_RETRY)

    (request,) = sandbox.deepgram.record.requests
    assert request.fault == str(fault)
    assert request.audio_seconds == (0 if fault.kind == "refuse" else say(WEATHER).duration)
    assert list(sandbox.deepgram.transcripts) == [WEATHER]


async def test_a_file_may_be_answered_late(sandbox: Sandbox) -> None:
    sandbox.deepgram.transcripts = [WEATHER, THANKS]
    sandbox.deepgram.faults.append(Fault.stall(0.05))
    sandbox.deepgram.faults.append(Fault.stall(0.05, after=0))
    for text in (WEATHER, THANKS):
        event = await plugin(sandbox).recognize(say(text), conn_options=NO_RETRY)
        assert event.alternatives[0].text == text

    assert [fault.kind for fault in sandbox.deepgram.faults.struck] == ["stall", "stall"]
