"""What it costs the event loop when another model takes over."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from livekit.agents import utils
from numpy.typing import NDArray

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.demo.script import SPEECH

from .stage import Stage

__all__ = ["Switch", "measure_switches"]

Samples = NDArray[np.int16]

LOCAL_MODELS = ("whisper-base", "kokoro", "smollm2:135m", "qwen2.5:3b")

WATCHED = 0.3
"""Seconds before and after a switch in which the loop is watched."""

HEARD_OF = 0.05
"""Seconds in which the recorder's thread has usually dealt with a changed budget."""


@dataclass
class Switch:
    """Many switches of one kind, in milliseconds of the loop's processor time.

    Attributes:
        name: What changes over.
        call_ms: The call in which another model takes over.
        turn_ms: The longest turn of the loop in the time after it.
        before_ms: The longest turn of the loop in the time before it.
    """

    name: str
    call_ms: list[float] = field(default_factory=list)
    turn_ms: list[float] = field(default_factory=list)
    before_ms: list[float] = field(default_factory=list)


class LoopTurns:
    """Measures turns of the event loop while a block runs.

    By the processor time of its thread, to which neither other processes nor the models' own
    threads can add.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def __aenter__(self) -> LoopTurns:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_ms = max(self.longest_ms, 1000 * (time.thread_time() - before))


async def measure_switches(
    stage: Stage, backlogs: Sequence[tuple[int, int]], rounds: int
) -> list[Switch]:
    """Let other models take over, many times.

    Args:
        stage: Where.
        backlogs: Sample rates of the caller's audio, each with the seconds of it that no final
            transcript has covered, and that the local model hears again.
        rounds: How many times for each kind of switch.
    """
    kinds: dict[str, Callable[[Switch], Awaitable[None]]] = {
        f"STT to whisper, {again} s of {rate // 1000} kHz to be heard again": partial(
            _stt, stage, rate, again
        )
        for rate, again in backlogs
    }
    kinds["STT back to the cloud"] = partial(_stt_back, stage)
    kinds["TTS to Kokoro"] = partial(_tts, stage)
    switches = []
    async with utils.http_context.open():
        for name, measure in kinds.items():
            switches.append(switch := Switch(name))
            for _ in range(rounds):
                await measure(switch)
    return switches


async def _stt(stage: Stage, rate: int, again: int, switch: Switch) -> None:
    stage.pay()
    model = inference.STT("deepgram/nova-3", project="prod")
    await _stream(switch, model, _speech(rate, again), rate, stage.spend)


async def _stt_back(stage: Stage, switch: Switch) -> None:
    stage.spend()
    model = inference.STT("deepgram/nova-3", project="prod")
    await _stream(switch, model, np.zeros(24_000 * 4, np.int16), 24_000, stage.pay)


async def _stream(
    switch: Switch, model: inference.STT, audio: Samples, rate: int, change: Callable[[], None]
) -> None:
    """Push all audio but a second, change the budget, and measure each frame of that second: with
    one of them the stream asks its budget."""
    stream = model.stream()
    reading = asyncio.create_task(_read(stream))
    was_local = _is_local(model)
    for frame in _frames(audio[:-rate], rate):
        stream.push_frame(frame)
    await asyncio.sleep(WATCHED)
    async with LoopTurns() as before:
        await asyncio.sleep(WATCHED)
    change()
    took = 0.0
    async with LoopTurns() as after:
        while _is_local(model) is was_local:
            await asyncio.sleep(HEARD_OF)
            for frame in _frames(audio[-rate:], rate):
                began = time.thread_time()
                stream.push_frame(frame)
                took = max(took, 1000 * (time.thread_time() - began))
                await asyncio.sleep(0)
        await asyncio.sleep(WATCHED)
    _add(switch, before, took, after)
    await stream.aclose()
    await reading
    await model.aclose()


async def _tts(stage: Stage, switch: Switch) -> None:
    stage.pay()
    model = inference.TTS("cartesia/sonic-3", project="prod")
    async with LoopTurns() as before:
        await asyncio.sleep(WATCHED)
    stage.spend()
    took = 0.0
    async with LoopTurns() as after:
        while not _is_local(model):
            await asyncio.sleep(HEARD_OF)
            began = time.thread_time()
            stream = model.stream()
            took = 1000 * (time.thread_time() - began)
            await asyncio.sleep(0)
            await stream.aclose()
        await asyncio.sleep(WATCHED)
    _add(switch, before, took, after)
    await model.aclose()


def _add(switch: Switch, before: LoopTurns, took: float, after: LoopTurns) -> None:
    switch.call_ms.append(took)
    switch.turn_ms.append(after.longest_ms)
    switch.before_ms.append(before.longest_ms)


def _is_local(model: inference.STT | inference.TTS) -> bool:
    return model.metrics_metadata["model_name"] in LOCAL_MODELS


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


def _speech(rate: int, seconds: int) -> Samples:
    """Speech without a pause, so that no final transcript shortens what is to be heard again."""
    with wave.open(str(SPEECH / "austen-0890.wav")) as file:
        recorded = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    second = samples[int(0.8 * recorded) : int(1.8 * recorded)]
    if rate != recorded:
        at = np.linspace(0, len(second) - 1, rate)
        second = np.interp(at, np.arange(len(second)), second).astype(np.int16)
    return np.tile(second, seconds)


def _frames(samples: Samples, rate: int) -> Iterator[rtc.AudioFrame]:
    """Samples as frames of 20 ms."""
    size = rate // 50
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        yield rtc.AudioFrame(part.tobytes(), rate, 1, len(part))
