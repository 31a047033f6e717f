"""`KokoroTTS` says what it is given, soon, and so that whisper understands it. Real weights."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIError, tts, utils
from livekit.agents.metrics import TTSMetrics
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from local_speech import words

from livekit import rtc
from livekit_plugins_voicegateway.errors import WeightsMissingError
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT
from livekit_plugins_voicegateway.local.kokoro_engine import Stopped, Wording, speak, spoken

ANSWER = "Of course, I can help you with that. The next payment is due in September."


@pytest.fixture
def kokoro(kokoro_weights: Path, voice: str) -> KokoroTTS:
    """Kokoro with a voice that is there, speaking English."""
    return KokoroTTS(weights=kokoro_weights, voice=voice, language="en-us")


@pytest.fixture
def whisper(whisper_weights: Path) -> WhisperSTT:
    """Who listens."""
    return WhisperSTT("whisper-base", language="en", weights=whisper_weights, short_window=True)


async def say(kokoro: KokoroTTS, *tokens: str) -> list[tts.SynthesizedAudio]:
    """Say an answer that comes in tokens, as from an LLM."""
    async with kokoro.stream() as stream:
        for token in tokens:
            stream.push_text(token)
        stream.end_input()
        return [event async for event in stream]


def seconds(spoken: list[tts.SynthesizedAudio]) -> float:
    """How long it is."""
    return sum(event.frame.duration for event in spoken)


async def heard(whisper: WhisperSTT, frames: list[rtc.AudioFrame]) -> list[str]:
    """The words that whisper hears in it."""
    return words((await whisper.recognize(frames)).alternatives[0].text)


async def test_whisper_understands_an_answer_that_comes_in_tokens(
    kokoro: KokoroTTS, whisper: WhisperSTT
) -> None:
    spoken = await say(kokoro, *(word + " " for word in ANSWER.split(" ")))
    assert await heard(whisper, [event.frame for event in spoken]) == words(ANSWER)
    assert {(event.frame.sample_rate, event.frame.num_channels) for event in spoken} == {
        (24_000, 1)
    }
    assert [event.is_final for event in spoken] == [False] * (len(spoken) - 1) + [True]
    assert len({event.segment_id for event in spoken}) == 1


async def test_whisper_understands_a_text_that_is_there_as_a_whole(
    kokoro: KokoroTTS, whisper: WhisperSTT
) -> None:
    frame = await kokoro.synthesize(ANSWER).collect()
    assert await heard(whisper, [frame]) == words(ANSWER)


async def test_the_first_clause_is_heard_before_the_answer_is_written(
    kokoro: KokoroTTS, whisper: WhisperSTT
) -> None:
    await kokoro.ready()
    async with kokoro.stream() as stream:
        stream.push_text("Thank you for calling us, ")
        stream.push_text("I")
        first = await anext(stream)
        stream.push_text(" will look it up.")
        stream.end_input()
        rest = [event async for event in stream]
    frames = [first.frame, *(event.frame for event in rest)]
    assert await heard(whisper, frames) == words("Thank you for calling us I will look it up")


async def test_the_transcript_comes_with_the_audio_and_is_the_text(kokoro: KokoroTTS) -> None:
    spoken = await say(kokoro, "🙂 ", ANSWER, " 🙂")
    timed = [
        text for event in spoken for text in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
    ]
    assert kokoro.capabilities.aligned_transcript
    assert "".join(timed) == "🙂 " + ANSWER + " 🙂"
    assert [text.start_time for text in timed] == sorted(text.start_time for text in timed)
    assert timed[-1].end_time == pytest.approx(seconds(spoken), abs=0.05)


@pytest.mark.parametrize("text", ["🙂", "...", " !? ", "👍🏽 👍🏽"])
async def test_text_without_anything_to_say_is_passed_over(kokoro: KokoroTTS, text: str) -> None:
    errors: list[Any] = []
    kokoro.on("error", errors.append)
    spoken = await say(kokoro, text)
    assert 0 < seconds(spoken) < 0.1
    assert (await kokoro.synthesize(text).collect()).duration < 0.1
    assert errors == []


async def test_an_empty_answer_is_no_error(kokoro: KokoroTTS) -> None:
    errors: list[Any] = []
    kokoro.on("error", errors.append)
    assert seconds(await say(kokoro)) < 0.1
    assert errors == []


async def test_emoji_between_words_are_not_read_out(kokoro: KokoroTTS, whisper: WhisperSTT) -> None:
    frames = await collect_frames(kokoro, "🙂 Your order 📦 has shipped. 👍🏽")
    assert await heard(whisper, frames) == words("Your order has shipped")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" Hello 🙂 there! ", "Hello  there!"),
        ("1️⃣ 5 € at 20 °C", "1 5 € at 20 °C"),
        ("…", ""),
        ("👩‍👩‍👧", ""),
        ("お手伝いします。", "お手伝いします。"),
    ],
)
def test_what_is_said_of_a_text_is_its_words_and_signs(text: str, said: str) -> None:
    assert spoken(text) == said


async def test_no_inference_is_made_for_what_has_no_sound(kokoro_weights: Path, voice: str) -> None:
    model = await load(kokoro_weights)
    for text in ("—", "(...)", '"'):
        assert len(speak(model, text, Wording(voice, language="en-us"), Stopped())) == 0


async def load(weights: Path) -> Any:
    """The model itself, for tests of the engine's work."""
    kokoro = KokoroTTS(weights=weights)
    engine = kokoro._synthesizer._engine  # type: ignore[attr-defined]
    return await engine.run(lambda model: model)


async def test_metrics_count_every_character_once(kokoro: KokoroTTS) -> None:
    measured: list[TTSMetrics] = []
    kokoro.on("metrics_collected", measured.append)
    spoken = await say(kokoro, ANSWER, " 🙂")
    async with kokoro.synthesize("Goodbye.") as stream:
        whole = await stream.collect()
    assert [metrics.characters_count for metrics in measured] == [len(ANSWER) + 2, 8]
    assert measured[0].audio_duration == pytest.approx(seconds(spoken), abs=0.05)
    assert measured[1].audio_duration == pytest.approx(whole.duration, abs=0.05)
    assert all(metrics.ttfb > 0 for metrics in measured)
    assert {(m.metadata.model_provider, m.metadata.model_name) for m in measured} == {
        ("local", "kokoro")
    }


async def test_an_answer_that_is_interrupted_stops_the_work_on_it(
    kokoro: KokoroTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    ended: list[bool] = []
    session_options = Stopped.options

    def options(stopped: Stopped) -> Any:
        begun.set()
        return session_options(stopped)

    def watched(*arguments: Any) -> Any:
        try:
            return speak(*arguments)
        except Exception:
            ended.append(True)
            raise

    await kokoro.ready()
    monkeypatch.setattr(Stopped, "options", options)
    monkeypatch.setattr("livekit_plugins_voicegateway.local.kokoro.speak", watched)
    stream = kokoro.stream()
    stream.push_text("and this sentence goes on " * 7)
    stream.end_input()
    await asyncio.to_thread(begun.wait)
    await stream.aclose()
    # The engine is free again, and what it did was not done to its end.
    assert len(await collect_frames(kokoro, "Yes.")) > 0
    assert ended == [True]


async def collect_frames(kokoro: KokoroTTS, text: str) -> list[rtc.AudioFrame]:
    """The frames of a text."""
    return [event.frame for event in await say(kokoro, text)]


async def test_a_stopped_inference_raises_and_the_next_one_is_whole(
    kokoro_weights: Path, voice: str
) -> None:
    model = await load(kokoro_weights)
    wording = Wording(voice, language="en-us")
    stopped = Stopped()
    stopped.set()
    with pytest.raises(Exception, match="terminate"):
        speak(model, "Hello there.", wording, stopped)
    assert len(speak(model, "Hello there.", wording, Stopped())) > 12_000


async def test_speed_and_voice_can_be_changed(kokoro: KokoroTTS, voice: str) -> None:
    slow = await kokoro.synthesize("Your order has shipped.").collect()
    kokoro.update_options(speed=2.0)
    fast = await kokoro.synthesize("Your order has shipped.").collect()
    assert fast.duration < 0.75 * slow.duration
    kokoro.update_options(voice="af_hart", language=None)
    with pytest.raises(APIError, match=r"no voice 'af_hart'.*Known: "):
        await kokoro.synthesize("Hello.").collect()


@pytest.mark.parametrize("speed", [0.4, 2.1])
def test_a_speed_that_kokoro_cannot_speak_at_is_an_error(speed: float) -> None:
    with pytest.raises(ValueError, match=r"Kokoro speaks at 0\.5 to 2\.0"):
        KokoroTTS(speed=speed)


@pytest.mark.parametrize(
    ("voice", "language"),
    [("af_heart", "en-us"), ("bm_george", "en-gb"), ("ff_siwis", "fr-fr"), ("pm_alex", "pt-br")],
)
def test_the_first_letter_of_a_voice_is_its_language(voice: str, language: str) -> None:
    assert Wording(voice).pronunciation == language
    assert Wording(voice, language="it").pronunciation == "it"


async def test_absent_weights_are_named_with_the_command_that_fetches_them(
    tmp_path: Path,
) -> None:
    kokoro = KokoroTTS(weights=tmp_path)
    errors: list[Any] = []
    kokoro.on("error", errors.append)
    with pytest.raises(APIError, match=r"int8\.onnx is missing.*voicegw download-files") as caught:
        await say(kokoro, "Hello.")
    assert isinstance(caught.value.__cause__, WeightsMissingError)
    assert [error.recoverable for error in errors] == [False]
    with pytest.raises(APIError, match="download-files"):
        await kokoro.synthesize("Hello.").collect()


async def test_many_answers_at_once_are_all_said(kokoro: KokoroTTS, whisper: WhisperSTT) -> None:
    texts = ["Good morning.", "Your order has shipped.", "Thank you for calling."]
    spoken = await asyncio.gather(*(say(kokoro, text) for text in texts))
    for text, events in zip(texts, spoken, strict=True):
        frame = utils.merge_frames([event.frame for event in events])
        assert await heard(whisper, [frame]) == words(text)
