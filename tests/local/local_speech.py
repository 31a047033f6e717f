"""Recorded speech, and what a stream of speech to text made of it."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from livekit.agents import stt
from numpy.typing import NDArray

from livekit import rtc

SPEECH = Path(__file__).resolve().parent / "speech"
RATE = 16_000

Samples = NDArray[np.int16]


class Clip:
    """One recording: its samples (16 kHz, mono) and its words."""

    def __init__(self, name: str) -> None:
        with wave.open(str(SPEECH / f"{name}.wav")) as file:
            self.samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        self.words = words(json.loads((SPEECH / "transcripts.json").read_text())[name])

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def words(text: str) -> list[str]:
    """The words of a text, for comparison: lower case, no punctuation, numerals spelled out."""
    spelled = re.sub(r"\b10\b", "ten", text.lower())
    return re.findall(r"[a-z']+", spelled)


def silence(seconds: float) -> Samples:
    """Samples of silence, 16 kHz."""
    return np.zeros(int(seconds * RATE), np.int16)


def frames(samples: Samples, rate: int = RATE) -> Iterator[rtc.AudioFrame]:
    """Samples as frames of 20 ms."""
    size = rate // 50
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        yield rtc.AudioFrame(part.tobytes(), rate, 1, len(part))


async def events(stream: stt.RecognizeStream) -> list[stt.SpeechEvent]:
    """All events until the stream ends, without the reports of usage; closes the stream."""
    async with stream:
        usage = stt.SpeechEventType.RECOGNITION_USAGE
        return [event async for event in stream if event.type != usage]


def finals(events: list[stt.SpeechEvent]) -> list[str]:
    """The final transcripts among events."""
    final = stt.SpeechEventType.FINAL_TRANSCRIPT
    return [event.alternatives[0].text for event in events if event.type == final]
