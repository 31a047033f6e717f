"""Requests whose whole course is written down, so that two of them can be compared.

What the user of a model object sees: results, metrics events, error events with all that can be
read on them, and the exception at the end. What varies from run to run is left out.
"""

from __future__ import annotations

import re
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import APIConnectOptions, llm, stt, tts

import livekit_plugins_voicegateway
from livekit import rtc
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Sandbox

__all__ = [
    "CLIP",
    "HASTY",
    "PATIENT",
    "Course",
    "chat",
    "frames",
    "gateway_on",
    "recognize",
    "speak",
    "transcribe",
]

SPEECH = Path(livekit_plugins_voicegateway.__file__).parent / "demo" / "speech"
CLIP = SPEECH / "austen-0880.wav"

PATIENT = APIConnectOptions(max_retry=2, retry_interval=0.02, timeout=5.0)
HASTY = APIConnectOptions(max_retry=1, retry_interval=0.02, timeout=0.4)

_VARYING = {
    "acquire_time",
    "connection_reused",
    "duration",
    "request_id",
    "segment_id",
    "speech_id",
    "timestamp",
    "tokens_per_second",
    "ttfb",
    "ttft",
}


@dataclass
class Course:
    """Everything that reached the user of one model object, in order.

    Attributes:
        results: Text, tool calls, transcripts or audio.
        metrics: Each metrics event.
        errors: Each error event, and with ``raised`` before it the exception at the end.
    """

    results: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)

    def raised(self, error: BaseException) -> None:
        """Write down the exception at the end."""
        self.errors.append(("raised", *_features(error)))


def listen(model: Any) -> Course:
    """Write down the events of ``model`` from now on."""
    course = Course()

    def on_metrics(event: Any) -> None:
        values = event.model_dump(exclude=_VARYING)
        values["metadata"] = _steady(str(values["metadata"]))
        if values["type"] == "stt_metrics":
            # the plugin reports the lifetime of its connection, which is never twice the same
            values["audio_duration"] = values["audio_duration"] > 0
        course.metrics.append(values)

    def on_error(event: Any) -> None:
        course.errors.append((event.type, event.label, event.recoverable, *_features(event.error)))

    model.on("metrics_collected", on_metrics)
    model.on("error", on_error)
    return course


async def chat(
    model: llm.LLM[Any],
    *,
    stop_after: int | None = None,
    conn_options: APIConnectOptions = PATIENT,
) -> Course:
    """Ask something; hang up after ``stop_after`` chunks of text."""
    course = listen(model)
    chat_ctx = llm.ChatContext.empty()
    chat_ctx.add_message(role="system", content="You talk about Jane Austen.")
    chat_ctx.add_message(role="user", content="Who was not an ill-disposed young man?")
    try:
        async with model.chat(chat_ctx=chat_ctx, conn_options=conn_options) as stream:
            async for chunk in stream:
                if chunk.delta is not None and chunk.delta.content:
                    course.results.append(chunk.delta.content)
                if stop_after is not None and len(course.results) >= stop_after:
                    break
    except Exception as e:
        course.raised(e)
    return course


async def speak(
    model: tts.TTS[Any],
    *,
    whole: bool = False,
    stop_after: int | None = None,
    conn_options: APIConnectOptions = PATIENT,
) -> Course:
    """Say something; hang up after ``stop_after`` frames of audio."""
    course = listen(model)
    text = "Indeed he was not. He was rather cold hearted, and rather selfish."
    heard: list[bytes] = []
    try:
        if whole:
            stream: Any = model.synthesize(text, conn_options=conn_options)
        else:
            stream = model.stream(conn_options=conn_options)
        async with stream:
            if not whole:
                for word in re.findall(r"\S+\s*", text):
                    stream.push_text(word)
                stream.end_input()
            async for event in stream:
                heard.append(bytes(event.frame.data))
                if stop_after is not None and len(heard) >= stop_after:
                    break
    except Exception as e:
        course.raised(e)
    # how audio is cut into frames depends on when it came; what is heard does not
    course.results.append(b"".join(heard) if stop_after is None else len(heard))
    return course


async def transcribe(
    model: stt.STT[Any],
    *,
    conn_options: APIConnectOptions = PATIENT,
    until: stt.SpeechEventType | None = stt.SpeechEventType.FINAL_TRANSCRIPT,
) -> Course:
    """Let a clip be heard, and hang up at the first event of a kind, or at the end.

    Who speaks says it again after each connection that was lost: its audio is lost with it.
    """
    course = listen(model)
    try:
        stream = model.stream(conn_options=conn_options)
    except Exception as e:
        course.raised(e)
        return course
    clip = frames()

    def say_again(event: Any) -> None:
        for frame in clip if event.recoverable else ():
            stream.push_frame(frame)

    if until is not None:
        model.on("error", say_again)
    try:
        for frame in clip:
            stream.push_frame(frame)
        if until is None:
            stream.end_input()
        async for event in stream:
            text = event.alternatives[0].text if event.alternatives else ""
            if event.type != stt.SpeechEventType.RECOGNITION_USAGE:
                course.results.append((event.type.value, text))
            if event.type == until:
                break
    except Exception as e:
        course.raised(e)
    finally:
        if until is not None:
            model.off("error", say_again)
        await stream.aclose()
    return course


async def recognize(model: stt.STT[Any], *, conn_options: APIConnectOptions = PATIENT) -> Course:
    """Let a clip be transcribed in one piece."""
    course = listen(model)
    try:
        event = await model.recognize(frames(), conn_options=conn_options)
        course.results.append(event.alternatives[0].text)
    except Exception as e:
        course.raised(e)
    return course


def frames(*, silence: float = 0.8, milliseconds: int = 20) -> list[rtc.AudioFrame]:
    """A recorded clip and some silence after it, cut into frames."""
    with wave.open(str(CLIP)) as file:
        rate = file.getframerate()
        pcm = file.readframes(file.getnframes()) + b"\0\0" * int(rate * silence)
    size = rate * milliseconds // 1000 * 2
    return [
        rtc.AudioFrame(pcm[i : i + size], rate, 1, len(pcm[i : i + size]) // 2)
        for i in range(0, len(pcm), size)
    ]


@asynccontextmanager
async def gateway_on(
    sandbox: Sandbox, folder: Path, text: str, **parts: Callable[[], Any]
) -> AsyncIterator[Gateway]:
    """Install a gateway whose providers are the sandbox, and whose ledger lies in ``folder``.

    Args:
        sandbox: The providers.
        folder: Of configuration and ledger.
        text: YAML beside ``database`` and ``providers``.
        **parts: Clocks and the like for the gateway's constructor.
    """
    urls = sandbox.base_urls
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: 'sqlite:///{folder}/voicegw.db', outbox: '{folder}/outbox'}}\n"
        f"{text}\nproviders:\n"
        f"  deepgram: {{api_key: any, stt: {{base_url: '{urls['deepgram']}'}}}}\n"
        f"  openai: {{api_key: any, llm: {{base_url: '{urls['openai']}'}}}}\n"
        f"  cartesia: {{api_key: any, tts: {{base_url: '{urls['cartesia']}'}}}}\n"
        f"  ollama: {{base_url: '{urls['ollama']}'}}\n"
    )
    gateway = Gateway(load_config(path, env={}), env={}, **parts)
    previous = install(gateway)
    try:
        yield gateway
    finally:
        install(previous)
        gateway.close()


def _features(error: BaseException) -> tuple[Any, ...]:
    """What a handler can read on an exception, and the chain behind it."""
    values = {
        name: _steady(repr(value))
        for name, value in vars(error).items()
        if name not in ("request_id", "body", "__notes__")
    }
    cause = error.__cause__
    behind = (type(cause).__name__, _steady(str(cause))) if cause is not None else None
    return (type(error).__name__, _steady(str(error)), sorted(values.items()), behind)


def _steady(text: str) -> str:
    """A text without ids and addresses, which differ from run to run."""
    text = re.sub(r"(request_id|context_id|id)['\"]?[=:] ?['\"]?[\w-]+", r"\1=…", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", text)
    return re.sub(r"0x[0-9a-f]+", "0x…", text)


Use = Callable[[Any], Awaitable[Course]]
