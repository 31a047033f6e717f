"""An utterance keeps its audio and its times, also when it must be cut."""

from __future__ import annotations

import numpy as np
import pytest

from livekit_plugins_voicegateway.local.utterance import Utterance

WINDOW = 512  # samples in a window of the VAD, 32 ms
SECONDS = WINDOW / 16_000


def spoken(windows: int, *, quiet_at: int = -1, start: float = 1.0) -> Utterance:
    """An utterance whose windows have their number as samples."""
    utterance = Utterance(start, start)
    for number in range(windows):
        samples = np.full(WINDOW, number, np.int16)
        utterance.add(samples, 0.1 if number == quiet_at else 0.9)
    return utterance


def numbers(utterance: Utterance) -> list[int]:
    """The numbers of its windows."""
    return [round(value * 32_768) for value in utterance.audio()[::WINDOW]]


def test_audio_from_before_the_vad_was_sure_belongs_to_it() -> None:
    before = [(np.full(WINDOW, 7, np.int16), 0.2)]
    utterance = Utterance(2.0, 2.05, before)
    utterance.add(np.full(WINDOW, 8, np.int16), 0.9)
    assert numbers(utterance) == [7, 8]
    assert utterance.start == 2.0
    assert utterance.end == pytest.approx(2.05 + SECONDS)


def test_it_is_too_long_when_whisper_could_not_hear_it_at_once() -> None:
    assert not spoken(840).too_long
    assert spoken(850).too_long


def test_it_is_cut_where_it_was_quietest() -> None:
    utterance = spoken(850, quiet_at=800)
    following = utterance.cut()
    assert numbers(utterance) == list(range(800))
    assert numbers(following) == list(range(800, 850))
    assert utterance.end == following.start == pytest.approx(1.0 + 800 * SECONDS)
    assert following.end == pytest.approx(1.0 + 850 * SECONDS)


def test_only_its_last_seconds_are_searched_for_a_place_to_cut() -> None:
    utterance = spoken(850, quiet_at=100)
    utterance.cut()
    assert len(numbers(utterance)) > 850 - 160


def test_its_tail_is_whole_windows_and_all_of_a_short_one() -> None:
    assert [samples[0] for samples, _ in spoken(50).tail(3 * SECONDS)] == [47, 48, 49]
    assert len(spoken(2).tail(5.0)) == 2


def test_new_speech_is_counted_from_the_last_draft_on() -> None:
    utterance = spoken(10)
    assert utterance.new_speech == pytest.approx(10 * SECONDS)
    utterance.mark_draft()
    assert utterance.new_speech == 0.0
    utterance.add(np.zeros(WINDOW, np.int16), 0.9)
    assert utterance.new_speech == pytest.approx(SECONDS)
