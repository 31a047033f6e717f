"""A stream of speech to text, what happens while it hears, and what it makes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from livekit.agents import stt
from numpy.typing import NDArray
from support.gateways import SPEECH
from support.traces import PATIENT

from livekit import rtc
from livekit_plugins_voicegateway.gateway import Gateway

__all__ = ["RATE", "Heard", "hear", "recording", "set_budget", "silence"]

RATE = 16_000
Samples = NDArray[np.int16]


def recording(name: str) -> Samples:
    """One of the demo's recordings, 16 kHz."""
    with wave.open(str(SPEECH / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def silence(seconds: float) -> Samples:
    """Samples of silence, 16 kHz."""
    return np.zeros(int(seconds * RATE), np.int16)


def set_budget(gateway: Gateway, dollars: str) -> None:
    """Change the budget of the project ``prod`` while its calls run."""
    project = gateway.project("prod")
    gateway.budgets.changed(dataclasses.replace(project, daily_budget=Decimal(dollars)))


@dataclass
class Heard:
    """What a stream made of it.

    Attributes:
        finals: The final transcripts.
        kinds: Starts and ends of speech, and final transcripts, in order.
    """

    finals: list[stt.SpeechData] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(final.text for final in self.finals)


async def hear(
    model: stt.STT[Any],
    *audio: Samples,
    at: Mapping[float, Callable[[], object]] | None = None,
    pace: float = 4.0,
    at_once: bool = False,
) -> Heard:
    """Push audio into a stream, and return what it heard.

    Args:
        model: Who hears.
        audio: 16 kHz samples, one after the other.
        at: What happens when so many seconds were pushed.
        pace: Seconds of audio per second.
        at_once: After what happens ``at`` that time, push all the rest in the same turn of the
            event loop.
    """
    due = sorted((at or {}).items())
    samples = np.concatenate(audio)
    stream = model.stream(conn_options=PATIENT)
    heard = Heard()

    async def push() -> None:
        size = RATE // 50
        for index, start in enumerate(range(0, len(samples), size)):
            while due and start / RATE >= due[0][0]:
                due.pop(0)[1]()
            part = samples[start : start + size]
            stream.push_frame(rtc.AudioFrame(part.tobytes(), RATE, 1, len(part)))
            if index % 5 == 0 and not (at_once and not due):
                await asyncio.sleep(0.1 / pace)
        stream.end_input()

    pushing = asyncio.create_task(push())
    async with stream:
        async for event in stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                heard.finals.append(event.alternatives[0])
            if event.type in _SHOWN:
                heard.kinds.append(_SHOWN[event.type])
    await pushing
    return heard


_SHOWN = {
    stt.SpeechEventType.START_OF_SPEECH: "start",
    stt.SpeechEventType.END_OF_SPEECH: "end",
    stt.SpeechEventType.FINAL_TRANSCRIPT: "final",
}
