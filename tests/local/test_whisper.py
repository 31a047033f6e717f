"""`WhisperSTT` hears the words of recorded speech, whole and in a stream. Real weights."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import APIError, stt
from livekit.agents.metrics import STTMetrics
from local_speech import Clip, Samples, events, finals, frames, silence, words
from support.machine import PATIENCE

from livekit import rtc
from livekit.plugins import silero
from livekit_plugins_voicegateway.errors import UnknownModelError, WeightsMissingError
from livekit_plugins_voicegateway.local import WhisperSTT, utterance
from livekit_plugins_voicegateway.local.whisper_engine import repeats_itself

START = stt.SpeechEventType.START_OF_SPEECH
INTERIM = stt.SpeechEventType.INTERIM_TRANSCRIPT
FINAL = stt.SpeechEventType.FINAL_TRANSCRIPT
END = stt.SpeechEventType.END_OF_SPEECH


@pytest.fixture(params=[False, True], ids=["full-window", "short-window"])
def whisper(request: pytest.FixtureRequest, whisper_weights: Path) -> WhisperSTT:
    """whisper-base, in both ways to encode."""
    return WhisperSTT(
        "whisper-base", language="en", weights=whisper_weights, short_window=request.param
    )


@pytest.fixture
def short(whisper_weights: Path) -> WhisperSTT:
    """whisper-base with the short window."""
    return WhisperSTT("whisper-base", language="en", weights=whisper_weights, short_window=True)


def push(stream: stt.RecognizeStream, *parts: Samples, rate: int = 16_000) -> None:
    """Push audio all at once, as the replay after a swap does."""
    for part in parts:
        for frame in frames(part, rate):
            stream.push_frame(frame)


def kinds(heard: Iterable[stt.SpeechEvent]) -> list[stt.SpeechEventType]:
    """What happened, without the interim transcripts and reports of usage."""
    return [event.type for event in heard if event.type in (START, FINAL, END)]


async def test_a_whole_recording_is_transcribed(whisper: WhisperSTT, austen_long: Clip) -> None:
    event = await whisper.recognize(list(frames(austen_long.samples)))
    heard = event.alternatives[0]
    assert event.type == FINAL
    assert words(heard.text) == austen_long.words
    assert heard.language == "en"
    assert heard.end_time == pytest.approx(austen_long.seconds)
    assert 0.5 < heard.confidence <= 1.0


async def test_telephone_and_stereo_audio_is_heard_too(short: WhisperSTT, austen: Clip) -> None:
    down = rtc.AudioResampler(16_000, 8_000, quality=rtc.AudioResamplerQuality.HIGH)
    telephone = [*down.push(next(frames_of_all(austen.samples))), *down.flush()]
    assert words((await short.recognize(telephone)).alternatives[0].text) == austen.words
    both = np.repeat(austen.samples, 2)
    stereo = rtc.AudioFrame(both.tobytes(), 16_000, 2, len(austen.samples))
    assert words((await short.recognize(stereo)).alternatives[0].text) == austen.words


def frames_of_all(samples: Samples) -> Iterable[Any]:
    """One frame with all samples."""
    return iter([rtc.AudioFrame(samples.tobytes(), 16_000, 1, len(samples))])


async def test_without_a_language_whisper_finds_out(whisper_weights: Path, austen: Clip) -> None:
    for short_window in (False, True):
        whisper = WhisperSTT("whisper-base", weights=whisper_weights, short_window=short_window)
        heard = (await whisper.recognize(list(frames(austen.samples)))).alternatives[0]
        assert heard.language == "en"
        assert words(heard.text) == austen.words


async def test_a_language_that_is_asked_for_is_the_one_that_is_heard(
    short: WhisperSTT, austen: Clip
) -> None:
    short.update_options(language="de-DE")
    assert (await short.recognize(list(frames(austen.samples)))).alternatives[0].language == "de"
    event = await short.recognize(list(frames(austen.samples)), language="english")
    assert event.alternatives[0].language == "en"


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "clicks"])
async def test_what_is_no_speech_has_no_words(whisper: WhisperSTT, kind: str) -> None:
    random = np.random.default_rng(0)
    seconds = np.arange(32_000) / 16_000
    sound = {
        "silence": np.zeros(32_000),
        "noise": random.normal(0, 0.05, 32_000),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * seconds),
        "clicks": np.where(random.random(32_000) > 0.9995, 0.9, 0),
    }[kind]
    event = await whisper.recognize(list(frames((sound * 32_767).astype(np.int16))))
    assert event.alternatives[0].text == ""


async def test_no_audio_at_all_has_no_words(whisper: WhisperSTT) -> None:
    event = await whisper.recognize(rtc.AudioFrame(b"", 16_000, 1, 0))
    assert event.alternatives[0].text == ""


async def test_another_vad_can_find_the_utterances(
    whisper_weights: Path, austen_long: Clip, robot: Clip
) -> None:
    vad = await asyncio.to_thread(silero.VAD.load, min_silence_duration=0.3)
    whisper = WhisperSTT("whisper-base", weights=whisper_weights, language="en", vad=vad)
    stream = whisper.stream()
    push(stream, silence(0.5), austen_long.samples, silence(1), robot.samples)
    stream.end_input()
    heard = await events(stream)
    assert [words(text) for text in finals(heard)] == [austen_long.words, robot.words]


async def test_keyterms_are_heard_as_they_are_written(
    whisper_weights: Path, austen_long: Clip
) -> None:
    whisper = WhisperSTT("whisper-tiny.en", weights=whisper_weights, short_window=True)
    recording = list(frames(austen_long.samples))
    assert whisper.capabilities.keyterms
    assert "ill-disposed" not in (await whisper.recognize(recording)).alternatives[0].text
    whisper._update_session_keyterms(["ill-disposed"])
    assert "ill-disposed" in (await whisper.recognize(recording)).alternatives[0].text


async def test_a_stream_hears_each_utterance_in_order(
    whisper: WhisperSTT, austen_long: Clip, robot: Clip
) -> None:
    stream = whisper.stream()
    push(stream, silence(0.5), austen_long.samples, silence(1), robot.samples, silence(1))
    stream.end_input()
    heard = await events(stream)
    assert [words(text) for text in finals(heard)] == [austen_long.words, robot.words]
    assert heard[0].type == START
    assert heard[-1].type == END


async def test_no_word_is_lost_when_the_input_ends_with_the_last_one(
    whisper: WhisperSTT, austen: Clip
) -> None:
    spoken = np.flatnonzero(np.abs(austen.samples) > 1000)[-1]
    stream = whisper.stream()
    push(stream, austen.samples[: spoken + 1])
    stream.end_input()
    heard = await events(stream)
    assert [words(text) for text in finals(heard)] == [austen.words]
    assert kinds(heard) == [START, FINAL, END]


async def test_a_flush_loses_nothing_and_ends_nothing(short: WhisperSTT, austen: Clip) -> None:
    half = len(austen.samples) // 2
    stream = short.stream()
    push(stream, austen.samples[:half])
    stream.flush()
    push(stream, austen.samples[half:])
    stream.end_input()
    assert [words(text) for text in finals(await events(stream))] == [austen.words]


async def test_times_are_those_of_the_stream_from_its_offset_on(
    whisper: WhisperSTT, austen_long: Clip, robot: Clip
) -> None:
    stream = whisper.stream()
    stream.start_time_offset = 50.0
    push(stream, silence(2), austen_long.samples, silence(3), robot.samples)
    stream.end_input()
    first, second = (event for event in await events(stream) if event.type == FINAL)
    begin = 50 + 2
    end = begin + austen_long.seconds
    assert begin <= first.alternatives[0].start_time < begin + 0.5
    assert end - 0.5 < first.alternatives[0].end_time <= end
    assert end + 3 <= second.alternatives[0].start_time < end + 3.6
    assert second.alternatives[0].end_time <= end + 3 + robot.seconds


async def test_the_end_of_speech_is_dated_by_what_was_pushed_last(
    short: WhisperSTT, austen: Clip
) -> None:
    stream = short.stream()
    before = time.time()
    push(stream, austen.samples, silence(2))
    stream.end_input()
    heard = await events(stream)
    after = time.time()
    end = heard[-1].speech_end_time
    assert end is not None
    assert before - 3 < end < after - 2
    assert heard[-2].speech_end_time == end


async def test_telephone_audio_is_heard_in_a_stream(short: WhisperSTT, austen: Clip) -> None:
    stream = short.stream()
    push(stream, silence(0.5)[::2], austen.samples[::2], silence(0.5)[::2], rate=8_000)
    stream.end_input()
    assert [words(text) for text in finals(await events(stream))] == [austen.words]


async def test_the_short_window_tells_what_it_has_heard_so_far(
    short: WhisperSTT, austen_long: Clip
) -> None:
    await short.ready()
    stream = short.stream()
    heard: list[stt.SpeechEvent] = []
    seen = asyncio.Event()

    async def listen() -> None:
        async for event in stream:
            heard.append(event)
            seen.set()

    listening = asyncio.create_task(listen())
    # Half of it; then wait for the interim transcript; then the rest.
    half = len(austen_long.samples) // 2
    push(stream, silence(0.5), austen_long.samples[:half])
    while not any(event.type == INTERIM for event in heard):
        await seen.wait()
        seen.clear()
    push(stream, austen_long.samples[half:], silence(0.5))
    stream.end_input()
    await listening
    await stream.aclose()
    interim = next(event for event in heard if event.type == INTERIM).alternatives[0]
    assert words(interim.text)[:3] == austen_long.words[:3]
    assert len(words(interim.text)) < len(austen_long.words)
    assert [words(text) for text in finals(heard)] == [austen_long.words]
    assert [event.type for event in heard].index(INTERIM) > 0
    assert kinds(heard)[-1] == END


def test_interim_transcripts_are_promised_with_the_short_window_only() -> None:
    assert WhisperSTT("whisper-base", short_window=True).capabilities.interim_results
    assert not WhisperSTT("whisper-base").capabilities.interim_results
    assert WhisperSTT("whisper-base").capabilities.streaming


async def test_a_whisper_that_is_busy_delays_no_start_of_speech(
    short: WhisperSTT, austen: Clip, robot: Clip
) -> None:
    engine = short._recognizer._engine  # type: ignore[attr-defined]
    await engine.ready()
    may_go_on = threading.Event()
    blocked = asyncio.create_task(engine.run(lambda _: may_go_on.wait(PATIENCE)))
    stream = short.stream()
    heard: list[stt.SpeechEvent] = []
    push(stream, austen.samples, silence(1), robot.samples, silence(1))
    stream.end_input()
    async for event in stream:
        heard.append(event)
        if kinds(heard).count(START) == 2:
            may_go_on.set()
    await blocked
    await stream.aclose()
    assert kinds(heard) == [START, END, START, FINAL, FINAL, END]
    assert [words(text) for text in finals(heard)] == [austen.words, robot.words]


async def test_speech_too_long_for_one_window_is_cut_and_none_of_it_lost(
    short: WhisperSTT,
    austen_long: Clip,
    austen: Clip,
    robot: Clip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(utterance, "_LONGEST", 6.0)
    monkeypatch.setattr(utterance, "_CUT_WITHIN", 3.0)
    stream = short.stream()
    push(stream, silence(0.5), *map(without_pauses, (austen_long, austen, robot)))
    stream.end_input()
    heard = await events(stream)
    assert kinds(heard) == [START, FINAL, FINAL, END]
    said = words(" ".join(finals(heard)))
    expected = austen_long.words + austen.words + robot.words
    assert len(set(expected) - set(said)) <= 2
    assert abs(len(said) - len(expected)) <= 2
    times = [event.alternatives[0] for event in heard if event.type == FINAL]
    assert all(a.end_time == pytest.approx(b.start_time) for a, b in itertools.pairwise(times))


def without_pauses(clip: Clip) -> Samples:
    """Its speech without the silence around it, which would end an utterance."""
    loud = np.flatnonzero(np.abs(clip.samples) > 1000)
    return clip.samples[loud[0] : loud[-1]]


async def test_metrics_count_the_audio_that_was_pushed(short: WhisperSTT, austen: Clip) -> None:
    measured: list[STTMetrics] = []
    short.on("metrics_collected", measured.append)
    stream = short.stream()
    push(stream, silence(7), austen.samples, silence(1))
    stream.end_input()
    await events(stream)
    assert sum(metrics.audio_duration for metrics in measured) == pytest.approx(
        8 + austen.seconds, abs=0.03
    )
    assert {(m.metadata.model_provider, m.metadata.model_name) for m in measured} == {
        ("local", "whisper-base")
    }
    assert (short.provider, short.model) == ("local", "whisper-base")


async def test_absent_weights_end_a_stream_with_the_command_that_fetches_them(
    tmp_path: Path,
) -> None:
    whisper = WhisperSTT("whisper-base", weights=tmp_path)
    errors: list[Any] = []
    whisper.on("error", errors.append)
    with pytest.raises(APIError, match=r"model\.bin is missing.*voicegw download-files") as caught:
        await events(whisper.stream())
    assert isinstance(caught.value.__cause__, WeightsMissingError)
    assert [error.recoverable for error in errors] == [False]
    with pytest.raises(APIError, match="download-files"):
        await whisper.recognize(list(frames(silence(1))))


async def test_a_stream_that_is_closed_early_leaves_the_engine_to_others(
    short: WhisperSTT, austen: Clip
) -> None:
    stream = short.stream()
    push(stream, austen.samples, silence(1))
    async for event in stream:
        if event.type == START:
            break
    await stream.aclose()
    event = await short.recognize(list(frames(austen.samples)))
    assert words(event.alternatives[0].text) == austen.words


def test_equal_options_share_one_engine(whisper_weights: Path) -> None:
    def engine(**options: Any) -> object:
        whisper = WhisperSTT("whisper-base", weights=whisper_weights, **options)
        return whisper._recognizer._engine  # type: ignore[attr-defined]

    assert engine(language="en", short_window=True) is engine(short_window=True, beam_size=5)
    assert engine(cpu_threads=1) is not engine(cpu_threads=2)


@pytest.mark.parametrize("model", ["whisper-bass", "kokoro", ""])
def test_a_size_that_does_not_exist_is_an_error(model: str) -> None:
    with pytest.raises(UnknownModelError, match="whisper-base"):
        WhisperSTT(model)


def test_an_english_model_refuses_another_language() -> None:
    with pytest.raises(ValueError, match=r"English only, not 'fr': use local/whisper-base$"):
        WhisperSTT("whisper-base.en", language="fr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the weather in Paris? What is the weather in Paris?", True),
        ("no no no no", True),
        ("No, no, no.", False),
        ("I said no. I said so.", False),
        ("That is very, very good.", False),
        ("", False),
    ],
)
def test_whisper_repeating_itself_is_told_from_a_caller_who_does(text: str, expected: bool) -> None:
    assert repeats_itself(text) is expected
