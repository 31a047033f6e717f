"""The caller's and the agent's end of the line, without a session between them."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import pytest
from demo_calls import SPEECH, YOUNG_MAN

from livekit import rtc
from livekit_plugins_voicegateway.demo.line import Loudspeaker, RecordedCaller, read_recording

FAST = 1000.0


def second_of_audio() -> rtc.AudioFrame:
    return rtc.AudioFrame(b"\1\0" * 24000, 24000, 1, 24000)


async def test_a_segment_ends_when_its_last_sample_was_played() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    await loudspeaker.capture_frame(second_of_audio())
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.flush()

    finished = await loudspeaker.wait_for_playout()

    assert (finished.playback_position, finished.interrupted) == (2.0, False)
    assert loudspeaker.segments[0].audio == b"\1\0" * 48000


async def test_each_flush_ends_a_segment() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    for _ in range(2):
        await loudspeaker.capture_frame(second_of_audio())
        loudspeaker.flush()
        await loudspeaker.wait_for_playout()

    assert [segment.played for segment in loudspeaker.segments] == [1.0, 1.0]


async def test_nothing_of_a_paused_segment_is_played() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    loudspeaker.pause()
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.flush()

    loudspeaker.clear_buffer()

    finished = await loudspeaker.wait_for_playout()
    assert (finished.playback_position, finished.interrupted) == (0.0, True)
    assert loudspeaker.segments[0].started_at is None


async def test_a_resumed_segment_is_played_to_its_end() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.pause()
    loudspeaker.flush()
    loudspeaker.resume()

    finished = await loudspeaker.wait_for_playout()

    assert (finished.playback_position, finished.interrupted) == (1.0, False)


async def test_an_interrupted_segment_stops_where_it_was() -> None:
    loudspeaker = Loudspeaker()
    await loudspeaker.capture_frame(second_of_audio())
    await loudspeaker.until_heard(0.01)

    loudspeaker.clear_buffer()

    finished = await loudspeaker.wait_for_playout()
    assert 0.01 <= finished.playback_position < 1.0
    assert finished.interrupted


async def test_frames_that_come_after_an_interruption_are_dropped_until_the_flush() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.clear_buffer()
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.flush()
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.flush()

    await loudspeaker.wait_for_playout()

    assert [len(segment.frames) for segment in loudspeaker.segments] == [1, 1]
    assert [segment.interrupted for segment in loudspeaker.segments] == [True, False]


async def test_waiting_for_more_than_a_segment_has_ends_with_the_segment() -> None:
    loudspeaker = Loudspeaker(pace=FAST)
    listening = asyncio.create_task(loudspeaker.until_heard(5.0))
    await loudspeaker.capture_frame(second_of_audio())
    loudspeaker.flush()

    await listening

    assert loudspeaker.segments[0].finished


async def test_a_caller_is_silent_until_told_to_say_something() -> None:
    caller = RecordedCaller(pace=FAST)
    sent = [await anext(caller)]
    saying = asyncio.create_task(caller.say(SPEECH / YOUNG_MAN))
    while not saying.done():
        sent.append(await anext(caller))

    audio = b"".join(bytes(frame.data) for frame in sent)
    assert {frame.duration for frame in sent} == {0.02}
    assert not any(sent[0].data)
    assert read_recording(SPEECH / YOUNG_MAN) in audio


def test_a_recording_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "telephone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(b"\0" * 400)

    with pytest.raises(ValueError, match=r"telephone\.wav: expected 16000 Hz.* not 8000 Hz"):
        read_recording(path)
