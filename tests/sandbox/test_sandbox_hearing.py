"""How the sandbox hears: real recordings are found, whole, in part, and changed on the way."""

from __future__ import annotations

import json
import wave
from collections import deque
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from livekit_plugins_voicegateway.sandbox import Sandbox
from livekit_plugins_voicegateway.sandbox.clips import Clip
from livekit_plugins_voicegateway.sandbox.hearing import Listener, Result, SpeechStarted
from livekit_plugins_voicegateway.sandbox.voice import Voice

SPEECH = Path(str(files("livekit_plugins_voicegateway.demo"))) / "speech"
TEXTS: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text("utf-8"))
RATE = 16000

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [Clip.from_wav(SPEECH / name, text) for name, text in TEXTS.items()]


def read(name: str) -> Samples:
    with wave.open(str(SPEECH / name)) as file:
        pcm = file.readframes(file.getnframes())
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def heard(clips: list[Clip], *audio: Samples, rate: int = RATE) -> str:
    """Return all words heard in the audio, sent in frames of 20 ms."""
    samples = np.concatenate(audio)
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    listener = Listener(rate, 1, clips=clips, texts=deque(), pause=0.4)
    frame = rate // 50 * 2
    events = [
        event for at in range(0, len(pcm), frame) for event in listener.hear(pcm[at : at + frame])
    ] + listener.finish()
    finals = [event for event in events if isinstance(event, Result) and event.final]
    return " ".join(word.text for event in finals for word in event.words)


@pytest.mark.parametrize("name", TEXTS)
def test_a_recording_is_heard_through_noise_and_at_another_volume(
    clips: list[Clip], name: str
) -> None:
    noise = np.random.default_rng(1)
    audio = np.concatenate([silence(0.313), 0.5 * read(name), silence(1)])
    audio += noise.normal(0, 0.0015, len(audio)).astype(np.float32)
    assert heard(clips, audio) == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_a_recording_is_heard_at_another_sample_rate(clips: list[Clip], name: str) -> None:
    audio = np.concatenate([silence(0.2), read(name), silence(1)])
    times = np.arange(0, len(audio) / RATE, 1 / 24000)
    resampled = np.interp(times, np.arange(len(audio)) / RATE, audio).astype(np.float32)
    assert heard(clips, resampled, rate=24000) == TEXTS[name]


@pytest.mark.parametrize("name", [name for name in TEXTS if name.startswith("austen")])
def test_two_connections_share_out_the_words_of_a_recording(clips: list[Clip], name: str) -> None:
    audio = read(name)
    middle = len(audio) // 2
    first = heard(clips, silence(0.2), audio[:middle])
    second = heard(clips, audio[middle:], silence(1))
    assert f"{first} {second}" == TEXTS[name]
    assert first
    assert second


@pytest.mark.parametrize(
    ("name", "second", "rest"),
    [
        (
            "austen-0870.wav",
            2.8,
            "And Mr. John Dashwood had then leisure to consider"
            " there might be prudently in his power to do for them.",
        ),
        (
            "austen-0920.wav",
            1.6,
            "Had he married a more amiable might have been made still more"
            " respectable than he was.",
        ),
        (
            "austen-0890.wav",
            2.5,
            "Unless to be rather cold-hearted selfish is to be ill-disposed.",
        ),
    ],
)
def test_the_words_of_a_lost_second_and_no_others_are_missing(
    clips: list[Clip], name: str, second: float, rest: str
) -> None:
    audio = read(name)
    begin, end = round(second * RATE), round((second + 1) * RATE)
    assert heard(clips, audio[:begin], audio[end:], silence(1)) == rest


def test_words_before_other_speech_are_not_made_up(clips: list[Clip]) -> None:
    audio = read("austen-0870.wav")
    babble = Voice("somebody", RATE).speak("somebody else is talking here all the time")
    other = babble.astype(np.float32) / 32768
    half = heard(clips, silence(0.2), audio[4 * RATE :], silence(1)).split()
    words = heard(clips, other, audio[4 * RATE :], silence(1)).split()

    assert words[-len(half) + 3 :] == half[3:]
    assert len(words) <= len(half) + 2


def test_recordings_that_follow_at_once_are_both_heard(clips: list[Clip]) -> None:
    names = ["austen-0880.wav", "austen-0930.wav"]
    audio = [read(name) for name in names]
    assert heard(clips, *audio, silence(1)) == " ".join(TEXTS[name] for name in names)


def test_words_have_the_times_of_the_stream(clips: list[Clip]) -> None:
    listener = Listener(RATE, 1, clips=clips, texts=deque(), pause=0.4)
    audio = np.concatenate([silence(2), read("austen-0880.wav"), silence(1)])
    events = listener.hear((audio * 32767).astype("<i2").tobytes())

    started = next(event for event in events if isinstance(event, SpeechStarted))
    final = next(event for event in events if isinstance(event, Result) and event.final)
    assert 2 <= started.at <= 2.5
    assert abs(final.words[0].start - started.at) < 0.3
    assert all(word.start < word.end <= 2 + 2.99 + 0.1 for word in final.words)


def test_both_channels_are_heard() -> None:
    with wave.open(str(SPEECH / "austen-0880.wav")) as file:
        left = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    stereo = np.stack([left, np.zeros_like(left)], axis=1).tobytes()
    listener = Listener(RATE, 2, clips=[], texts=deque(["Yes."]), pause=0.4)
    events = listener.hear(stereo) + listener.finish()
    finals = [event for event in events if isinstance(event, Result) and event.final]
    assert finals[0].words[0].text == "Yes."


@pytest.mark.parametrize(
    ("audio", "text", "rate", "problem"),
    [
        (bytes(32000), "Hello.", 16000, "is silent"),
        (b"\x00\x20\x00\xe0" * 8000, " ", 16000, "needs the text"),
        (bytes(32000), "Hello.", None, "need a sample_rate"),
    ],
)
def test_a_clip_that_cannot_be_recognised_is_an_error(
    audio: bytes, text: str, rate: int | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Sandbox().deepgram.add_clip(audio, text, sample_rate=rate)


def test_a_file_of_8_bits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with pytest.raises(ValueError, match="expected 16 bits a sample, not 8"):
        Sandbox().deepgram.add_clip(path, "Hello.")
