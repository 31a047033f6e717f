"""What a user of a model object sees, written down so that two of them can be compared."""

from __future__ import annotations

import re
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import APIConnectOptions, llm, stt, tts

from livekit import rtc

from .gateways import SPEECH
from .machine import PATIENCE

PATIENT = APIConnectOptions(max_retry=2, retry_interval=0.02, timeout=PATIENCE)
HASTY = APIConnectOptions(max_retry=1, retry_interval=0.02, timeout=0.4)


@dataclass
class Trace:
    """Everything that reached the user of one model object.

    Attributes:
        results: Text, tool calls, transcripts or audio, in order.
        metrics: Each metrics event without times and ids.
        errors: Each error event: exception type, text, status, recoverable.
        raised: The exception that ended it.
    """

    results: list[Any] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    errors: list[tuple[str, str, int | None, bool, str]] = field(default_factory=list)
    raised: tuple[str, str] | None = None


_VARYING = {
    "timestamp",
    "request_id",
    "segment_id",
    "ttft",
    "ttfb",
    "duration",
    "tokens_per_second",
    "acquire_time",
    "speech_id",
    "connection_reused",
}


def listen(model: Any, trace: Trace) -> None:
    """Write down the events of ``model``."""

    def on_metrics(event: Any) -> None:
        values = event.model_dump(exclude=_VARYING)
        values["metadata"] = _steady(str(values["metadata"]))
        if values["type"] == "stt_metrics":
            # the plugin reports the lifetime of its connection, which is never twice the same
            values["audio_duration"] = values["audio_duration"] > 0
        trace.metrics.append(values)

    def on_error(event: Any) -> None:
        error = event.error
        trace.errors.append(
            (
                type(error).__name__,
                _steady(str(error)),
                getattr(error, "status_code", None),
                event.recoverable,
                event.label,
            )
        )

    model.on("metrics_collected", on_metrics)
    model.on("error", on_error)


async def chat(
    model: llm.LLM[Any],
    *,
    text: str = "Who was not an ill-disposed young man?",
    stop_after: int | None = None,
    conn_options: APIConnectOptions = PATIENT,
    tools: list[llm.Tool] | None = None,
    **options: Any,
) -> Trace:
    """Ask ``model`` something; hang up after ``stop_after`` chunks of text."""
    trace = Trace()
    listen(model, trace)
    chat_ctx = llm.ChatContext.empty()
    chat_ctx.add_message(role="system", content="You talk about Jane Austen.")
    chat_ctx.add_message(role="user", content=text)
    try:
        async with model.chat(
            chat_ctx=chat_ctx, tools=tools, conn_options=conn_options, **options
        ) as stream:
            async for chunk in stream:
                if chunk.delta is not None and chunk.delta.content:
                    trace.results.append(chunk.delta.content)
                for call in chunk.delta.tool_calls if chunk.delta is not None else ():
                    trace.results.append((call.name, call.arguments))
                if stop_after is not None and len(trace.results) >= stop_after:
                    break
    except Exception as e:
        trace.raised = (type(e).__name__, _steady(str(e)))
    return trace


async def speak(
    model: tts.TTS[Any],
    text: str = "Indeed he was not. He was rather cold hearted, and rather selfish.",
    *,
    whole: bool = False,
    stop_after: int | None = None,
    conn_options: APIConnectOptions = PATIENT,
) -> Trace:
    """Let ``model`` say something; hang up after ``stop_after`` frames of audio."""
    trace = Trace()
    listen(model, trace)
    try:
        if whole:
            async with model.synthesize(text, conn_options=conn_options) as chunked:
                await _hear(chunked, trace, stop_after)
        else:
            async with model.stream(conn_options=conn_options) as stream:
                for word in text.split(" "):
                    stream.push_text(word + " ")
                stream.end_input()
                await _hear(stream, trace, stop_after)
    except Exception as e:
        trace.raised = (type(e).__name__, _steady(str(e)))
    if stop_after is None:
        # how audio is cut into frames depends on when it came; what is heard does not
        trace.results = [b"".join(trace.results)]
    return trace


async def _hear(stream: Any, trace: Trace, stop_after: int | None) -> None:
    count = 0
    async for event in stream:
        trace.results.append(bytes(event.frame.data))
        count += 1
        if stop_after is not None and count >= stop_after:
            trace.results = [True]
            break


def frames(clip: str, *, silence: float = 0.8, milliseconds: int = 20) -> list[rtc.AudioFrame]:
    """A recorded clip and some silence after it, cut into frames."""
    with wave.open(str(SPEECH / clip)) as file:
        rate = file.getframerate()
        pcm = file.readframes(file.getnframes()) + b"\0\0" * int(rate * silence)
    size = rate * milliseconds // 1000 * 2
    return [
        rtc.AudioFrame(pcm[i : i + size], rate, 1, len(pcm[i : i + size]) // 2)
        for i in range(0, len(pcm), size)
    ]


async def transcribe(
    model: stt.STT[Any],
    *,
    clip: str = "austen-0880.wav",
    conn_options: APIConnectOptions = PATIENT,
    between: Callable[[stt.RecognizeStream], None] | None = None,
    until: Callable[[Trace], bool] | None = None,
) -> Trace:
    """Let ``model`` hear a clip, pushed at once.

    Args:
        model: Who hears it.
        clip: File among the recorded speech.
        conn_options: Retries and timeout.
        between: Called with the stream after the first final transcript; the clip is then pushed
            once more.
        until: Hang up when this holds of the trace.
    """
    trace = Trace()
    listen(model, trace)
    stream = model.stream(conn_options=conn_options)
    audio = frames(clip)
    try:
        for frame in audio:
            stream.push_frame(frame)
        if until is None and between is None:
            stream.end_input()
        async for event in stream:
            text = event.alternatives[0].text if event.alternatives else ""
            if event.type != stt.SpeechEventType.RECOGNITION_USAGE:
                trace.results.append((event.type.value, text))
            if until is not None and until(trace):
                break
            if between is not None and event.type == stt.SpeechEventType.END_OF_SPEECH:
                between(stream)
                between = None
                for frame in audio:
                    stream.push_frame(frame)
                stream.end_input()
    except Exception as e:
        trace.raised = (type(e).__name__, _steady(str(e)))
    finally:
        await stream.aclose()
    return trace


async def recognize(
    model: stt.STT[Any],
    *,
    clip: str = "austen-0880.wav",
    conn_options: APIConnectOptions = PATIENT,
) -> Trace:
    """Let ``model`` transcribe a clip in one piece."""
    trace = Trace()
    listen(model, trace)
    try:
        event = await model.recognize(frames(clip), conn_options=conn_options)
        trace.results.append(event.alternatives[0].text)
    except Exception as e:
        trace.raised = (type(e).__name__, _steady(str(e)))
    return trace


def _steady(text: str) -> str:
    """An error's text without ids, which differ from request to request."""
    text = re.sub(r"(request_id|context_id|id)['\"]?[=:] ?['\"]?[\w-]+", r"\1=…", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", text)
    return re.sub(r"0x[0-9a-f]+", "0x…", text)
