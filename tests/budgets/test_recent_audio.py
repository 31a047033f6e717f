"""The audio that a model hears again when it takes over."""

from __future__ import annotations

import numpy as np
import pytest

from livekit import rtc
from livekit_plugins_voicegateway.recent_audio import RecentAudio

RATE = 16_000
FRAME = RATE // 50


def speak(recent: RecentAudio, seconds: float, loudness: int = 8000) -> None:
    noise = np.random.default_rng(1).integers(-loudness, loudness + 1, int(seconds * RATE))
    for start in range(0, len(noise), FRAME):
        data = noise[start : start + FRAME].astype(np.int16)
        frame = rtc.AudioFrame(data.tobytes(), RATE, 1, len(data))
        recent.push(frame, frame.duration)


def again(recent: RecentAudio) -> float:
    return sum(frame.duration for frame in recent.restart())


def test_without_a_final_transcript_all_is_heard_again() -> None:
    recent = RecentAudio()
    speak(recent, 4.0)
    assert again(recent) == pytest.approx(4.0)


def test_what_a_final_transcript_covers_is_not_heard_again() -> None:
    recent = RecentAudio()
    speak(recent, 4.0)
    recent.heard_until(3.0)
    assert again(recent) == pytest.approx(1.0, abs=0.16)


def test_it_begins_in_the_pause_after_the_last_word_though_its_end_is_not_known_well() -> None:
    recent = RecentAudio()
    speak(recent, 1.04)
    speak(recent, 0.06, loudness=20)
    speak(recent, 1.0)
    recent.heard_until(1.0)
    assert again(recent) == pytest.approx(1.03, abs=0.02)


def test_a_final_transcript_without_times_covers_all_until_now() -> None:
    recent = RecentAudio()
    speak(recent, 4.0)
    recent.heard_until(0.0)
    speak(recent, 1.0)
    assert again(recent) == pytest.approx(1.0, abs=0.16)


def test_silence_before_speech_is_not_kept() -> None:
    recent = RecentAudio()
    speak(recent, 20.0, loudness=0)
    recent.speech_begins()
    speak(recent, 2.0)
    assert again(recent) == pytest.approx(5.0, abs=0.03)


def test_no_more_is_kept_than_a_model_hears_at_once() -> None:
    recent = RecentAudio()
    speak(recent, 40.0)
    assert again(recent) == pytest.approx(30.0, abs=0.03)


def test_what_is_heard_again_may_have_to_be_heard_a_third_time() -> None:
    recent = RecentAudio()
    speak(recent, 4.0)
    recent.heard_until(2.0)
    first = again(recent)
    speak(recent, 1.0)
    assert again(recent) == pytest.approx(first + 1.0)
