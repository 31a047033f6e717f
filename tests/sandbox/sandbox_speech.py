"""Speech for the tests: the sandbox's own voice, in LiveKit's frames; how to read a stream."""

from __future__ import annotations

from livekit.agents import APIConnectOptions, stt
from support.machine import PATIENCE

from livekit import rtc
from livekit_plugins_voicegateway.sandbox.voice import Voice

SAMPLE_RATE = 16000

NO_RETRY = APIConnectOptions(max_retry=0, timeout=PATIENCE)
IMPATIENT = APIConnectOptions(max_retry=0, timeout=2.0)


def say(text: str) -> rtc.AudioFrame:
    samples = Voice("caller", SAMPLE_RATE).speak(text)
    return rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, len(samples))


def silence(seconds: float) -> rtc.AudioFrame:
    samples = round(seconds * SAMPLE_RATE)
    return rtc.AudioFrame(bytes(2 * samples), SAMPLE_RATE, 1, samples)


def part(frame: rtc.AudioFrame, begin: float, end: float) -> rtc.AudioFrame:
    """The frame from one second to another."""
    first, last = round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)
    samples = frame.data[first:last]
    return rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, len(samples))


async def hear(
    stream: stt.RecognizeStream, last: stt.SpeechEventType, count: int = 1
) -> list[stt.SpeechEvent]:
    """Read a stream's events up to the ``count``-th of this type, without reports of usage."""
    events: list[stt.SpeechEvent] = []
    async for event in stream:
        if event.type is not stt.SpeechEventType.RECOGNITION_USAGE:
            events.append(event)
        count -= event.type is last
        if count == 0:
            break
    return events


def texts(events: list[stt.SpeechEvent], kind: stt.SpeechEventType) -> list[str]:
    return [event.alternatives[0].text for event in events if event.type is kind]
