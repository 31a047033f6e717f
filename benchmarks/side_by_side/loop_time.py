"""Processor time of the event loop's thread, in microseconds: for an event, a request, a row.

Processor time and not the clock's, because other processes cannot add to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import llm

from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.metering.estimates import Prompt, calibration_for
from livekit_plugins_voicegateway.metering.meter import (
    CompletionMeter,
    Meter,
    SpeechMeter,
    TranscriptionMeter,
)
from livekit_plugins_voicegateway.metering.usage import Modality

from .sides import Side
from .synthetic import FRAME

__all__ = ["REQUESTS", "chat_context", "drain", "event_time", "request_time", "row_time"]

WARM_UP = 50
"""Events of a stream that are not measured."""


def chat_context() -> llm.ChatContext:
    """A conversation of a system prompt and six turns."""
    context = llm.ChatContext.empty()
    context.add_message(role="system", content="You are a friendly telephone agent. " * 20)
    for _ in range(3):
        context.add_message(role="user", content="What did Mr. John Dashwood promise his father?")
        context.add_message(role="assistant", content="To do every thing in his power for them.")
    return context


CONTEXT = chat_context()


async def drain(stream: Any) -> None:
    """Read a stream to its end."""
    async for _ in stream:
        pass


@asynccontextmanager
async def transcription(model: Any) -> AsyncIterator[Any]:
    """An STT stream that somebody reads."""
    stream = model.stream()
    reading = asyncio.create_task(drain(stream))
    try:
        yield stream
    finally:
        await stream.aclose()
        await reading


async def event_time(modality: Modality, side: Side, events: int) -> float:
    """One STT frame pushed, one LLM chunk or one TTS frame that comes, in microseconds.

    Args:
        modality: Which.
        side: Where the synthetic plugin is.
        events: How many to measure.
    """
    side.plugin.baton.reset()
    if modality == "stt":
        return await _frame_time(side, events)
    side.plugin.events, side.plugin.pace = WARM_UP + events, None
    if modality == "llm":
        async with side.model.chat(chat_ctx=CONTEXT) as stream:
            return await _reading_time(side, stream, events)
    async with side.model.stream() as stream:
        stream.push_text("Hello.")
        stream.end_input()
        return await _reading_time(side, stream, events)


async def _frame_time(side: Side, events: int) -> float:
    took = side.plugin.baton.take
    async with transcription(side.model) as stream:
        for _ in range(WARM_UP):
            stream.push_frame(FRAME)
            await took()
        began = time.thread_time()
        for _ in range(events):
            stream.push_frame(FRAME)
            await took()
        return (time.thread_time() - began) / events * 1e6


async def _reading_time(side: Side, stream: Any, events: int) -> float:
    give = side.plugin.baton.give
    count, began, ended = 0, 0.0, 0.0
    async for _ in stream:
        count += 1
        if count == WARM_UP:
            began = time.thread_time()
        elif count == WARM_UP + events:
            ended = time.thread_time()
        give()
    return (ended - began) / events * 1e6


async def _transcribe(side: Side) -> None:
    async with transcription(side.model) as stream:
        stream.push_frame(FRAME)
        await side.plugin.baton.take()


async def _complete(side: Side) -> None:
    async with side.model.chat(chat_ctx=CONTEXT) as stream:
        async for _ in stream:
            side.plugin.baton.give()


async def _speak(side: Side) -> None:
    async with side.model.stream() as stream:
        stream.push_text("Hello.")
        stream.end_input()
        async for _ in stream:
            side.plugin.baton.give()


REQUESTS: dict[Modality, Callable[[Side], Awaitable[None]]] = {
    "stt": _transcribe,
    "llm": _complete,
    "tts": _speak,
}


async def request_time(modality: Modality, side: Side, requests: int) -> float:
    """A whole request of one event, from opening to closing, in microseconds."""
    request = REQUESTS[modality]
    if modality != "stt":
        side.plugin.events, side.plugin.pace = 1, None
    began = time.thread_time()
    for _ in range(requests):
        side.plugin.baton.reset()
        await request(side)
    return (time.thread_time() - began) / requests * 1e6


async def row_time(modality: Modality, side: Side, gateway: Gateway, rows: int) -> float:
    """One usage row: describe the request, make its meter, track it, end it; in microseconds.

    Args:
        modality: Of the row.
        side: The gateway's side.
        gateway: The gateway.
        rows: How many to measure.
    """
    # a call makes a row every few seconds, so it does not compete with the recorder for each one
    await gateway.flush()
    delegates = side.model._delegates
    delegate = delegates.current()
    clocks = {"clock": gateway.clock, "monotonic": gateway.monotonic}
    spent = 0.0
    for _ in range(rows):
        began = time.thread_time()
        request = delegates.request(delegate)
        meter: Meter
        if modality == "stt":
            meter = TranscriptionMeter(request, **clocks)
        elif modality == "llm":
            calibration = calibration_for(request.provider, request.model)
            meter = CompletionMeter(
                request, Prompt(CONTEXT.items.copy(), [], calibration), **clocks
            )
        else:
            meter = SpeechMeter(request, **clocks)
        gateway.track(meter)
        meter.close("completed")
        spent += time.thread_time() - began
        await asyncio.sleep(0)
    return spent / rows * 1e6
