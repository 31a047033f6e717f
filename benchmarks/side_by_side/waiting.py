"""How long somebody waits: for the first transcript, token or audio, and for the event loop.

In milliseconds by the clock, to which other processes add. So quantiles are taken in each round,
and of them the lower quartile over the rounds: the quieter rounds say what the program costs, and
whatever it does to itself it does in all of them.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from livekit.agents import stt

from livekit import rtc
from livekit_plugins_voicegateway.metering.usage import Modality

from .loop_time import CONTEXT, drain, transcription
from .sides import Side, in_turns
from .synthetic import FRAME

__all__ = ["Quantiles", "latencies", "loop_lag"]

Quantiles = dict[str, tuple[float, float]]
"""Median and 99th percentile, in milliseconds, by side."""

TICK = 0.005
"""Seconds between two looks at how late the loop is."""

_NOISE = random.Random(1).randbytes(16_000)
UTTERANCE = [rtc.AudioFrame(_NOISE[i : i + 1_600], 16_000, 1, 800) for i in range(0, 16_000, 1_600)]
"""Half a second of something loud, in frames of 50 ms."""


async def latencies(
    modality: Modality, sides: Sequence[Side], rounds: int, requests: int
) -> Quantiles:
    """Wait for the first result of many requests, the sides taking turns.

    Args:
        modality: Which result: the final transcript after the end of an utterance, the first token
            after a completion was asked for, or the first audio after the text was given.
        sides: The real plugin in its places.
        rounds: How many rounds.
        requests: Requests of each side in a round.
    """
    found: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    waits = {side.name: _WAITS[modality](side.model) for side in sides}
    for side in in_turns(sides, 3):
        await waits[side.name].result()  # makes the connection
    for _ in range(rounds):
        waited: dict[str, list[float]] = {side.name: [] for side in sides}
        for side in in_turns(sides, requests):
            waited[side.name].append(await waits[side.name].result())
        for name, values in waited.items():
            found[name].append(_quantiles(values))
    for wait in waits.values():
        await wait.aclose()
    return _quieter(found)


class _FinalTranscript:
    """Says something on one stream, and waits until it has been understood."""

    def __init__(self, model: Any) -> None:
        self._stream = model.stream()

    async def result(self) -> float:
        for frame in UTTERANCE:
            self._stream.push_frame(frame)
        began = time.perf_counter()
        self._stream.flush()
        async for event in self._stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                break
        return time.perf_counter() - began

    async def aclose(self) -> None:
        await self._stream.aclose()


class _FirstToken:
    """Asks for completions."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def result(self) -> float:
        waited = 0.0
        began = time.perf_counter()
        async with self._model.chat(chat_ctx=CONTEXT) as stream:
            async for chunk in stream:
                if not waited and chunk.delta is not None and chunk.delta.content:
                    waited = time.perf_counter() - began
        return waited

    async def aclose(self) -> None:
        pass


class _FirstAudio:
    """Has a short sentence spoken."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def result(self) -> float:
        waited = 0.0
        began = time.perf_counter()
        async with self._model.stream() as stream:
            stream.push_text("Good day.")
            stream.end_input()
            async for _ in stream:
                waited = waited or time.perf_counter() - began
        return waited

    async def aclose(self) -> None:
        pass


_WAITS: dict[Modality, Callable[[Any], Any]] = {
    "stt": _FinalTranscript,
    "llm": _FirstToken,
    "tts": _FirstAudio,
}


async def loop_lag(
    calls: Sequence[dict[Modality, Side]], rounds: int, seconds: float, at_once: int
) -> Quantiles:
    """How late the event loop is for others while it carries many calls, the sides taking turns.

    A call pushes a frame every 50 ms for as long as it lasts; meanwhile the agent thinks for a
    tenth of a turn, speaks for half of it and listens for a little, again and again.

    Args:
        calls: For each side the synthetic STT, LLM and TTS.
        rounds: How many rounds.
        seconds: Length of a turn.
        at_once: Calls at once.
    """
    found: dict[str, list[tuple[float, float]]] = {call["stt"].name: [] for call in calls}
    for number in range(rounds):
        for index in range(len(calls)):
            call = calls[(number + index) % len(calls)]
            found[call["stt"].name].append(_quantiles(await _lag(call, seconds, at_once)))
    return _quieter(found)


async def _lag(call: dict[Modality, Side], seconds: float, at_once: int) -> list[float]:
    paces: dict[Modality, float] = {"llm": 0.01 * seconds, "tts": 0.05 * seconds}
    for modality, pace in paces.items():
        plugin = call[modality].plugin
        plugin.events, plugin.pace = 10, pace
    over = asyncio.Event()
    chance = random.Random(at_once)
    lead = 0.75 * seconds  # in which the calls begin
    pause = 0.15 * seconds
    tasks = [
        asyncio.create_task(_hold_call(call, over, chance.uniform(0, lead), pause))
        for _ in range(at_once)
    ]
    await asyncio.sleep(lead)
    late = []
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (due := loop.time() + TICK) < end:
        await asyncio.sleep(TICK)
        late.append(loop.time() - due)
    over.set()
    await asyncio.gather(*tasks)
    return late


async def _hold_call(
    call: dict[Modality, Side], over: asyncio.Event, begins_after: float, pause: float
) -> None:
    await asyncio.sleep(begins_after)
    async with transcription(call["stt"].model) as ear:
        listening = asyncio.create_task(_listen(ear, over))
        while not over.is_set():
            async with call["llm"].model.chat(chat_ctx=CONTEXT) as completion:
                await drain(completion)
            async with call["tts"].model.stream() as speech:
                speech.push_text("Good day.")
                speech.end_input()
                await drain(speech)
            await asyncio.sleep(pause)
        await listening


async def _listen(ear: Any, over: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not over.is_set():
        ear.push_frame(FRAME)
        due += FRAME.duration
        await asyncio.sleep(due - loop.time())


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


def _quieter(found: dict[str, list[tuple[float, float]]]) -> Quantiles:
    def lower_quartile(values: Iterable[float]) -> float:
        ordered = sorted(values)
        return ordered[len(ordered) // 4]

    return {
        name: (lower_quartile(p50 for p50, _ in turns), lower_quartile(p99 for _, p99 in turns))
        for name, turns in found.items()
    }
