"""A whole AgentSession on this machine: whisper hears, a small model answers, Kokoro speaks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import Agent, AgentSession, inference, io, utils
from local_speech import RATE, Clip, Samples, silence, words
from support.machine import PATIENCE

from livekit import rtc
from livekit.plugins import openai
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT

SERVER = Path(__file__).resolve().parents[2] / "examples" / "models" / "serve_llm.py"


class Caller(io.AudioInput):
    """Says a recording in real time, and is silent then."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(label="caller")
        self._samples = samples

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.02)
        size = RATE // 50
        part, self._samples = self._samples[:size], self._samples[size:]
        part = np.pad(part, (0, size - len(part)))
        return rtc.AudioFrame(part.tobytes(), RATE, 1, size)


class Listener(io.AudioOutput):
    """Hears an answer, faster than it would be played."""

    def __init__(self) -> None:
        super().__init__(label="listener", capabilities=io.AudioOutputCapabilities(pause=False))
        self.frames: list[rtc.AudioFrame] = []
        self.finished = asyncio.Event()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self.frames:
            self.on_playback_started(created_at=0.0)
        self.frames.append(frame)

    def flush(self) -> None:
        super().flush()
        length = sum(frame.duration for frame in self.frames)
        self.on_playback_finished(playback_position=length, interrupted=False)
        self.finished.set()

    def clear_buffer(self) -> None:
        """Nothing is buffered."""


@pytest.fixture
def language_server(language_model: Path) -> Iterator[str]:
    """The address of the small language model, served by the example's script."""
    pytest.importorskip("xllamacpp")
    with subprocess.Popen(
        [sys.executable, str(SERVER), "--name", "smollm2:135m"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(PATIENCE) == 0


async def test_a_caller_is_heard_and_answered_without_any_provider(
    whisper_weights: Path, kokoro_weights: Path, voice: str, language_server: str, robot: Clip
) -> None:
    whisper = WhisperSTT("whisper-base", language="en", weights=whisper_weights, short_window=True)
    kokoro = KokoroTTS(weights=kokoro_weights, voice=voice, language="en-us")
    model = openai.LLM(
        model="smollm2:135m",
        base_url=f"{language_server}/v1",
        api_key="none",
        max_completion_tokens=24,
    )
    listener = Listener()
    asked: list[str] = []
    replies: list[str] = []
    async with (
        utils.http_context.open(),
        AgentSession[None](
            stt=whisper,
            llm=model,
            tts=kokoro,
            vad=inference.VAD(),
            aec_warmup_duration=None,
            turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
        ) as session,
    ):

        @session.on("conversation_item_added")
        def added(event: Any) -> None:
            if event.item.type == "message":
                (asked if event.item.role == "user" else replies).append(event.item.text_content)

        session.input.audio = Caller(np.concatenate([silence(0.3), robot.samples]))
        session.output.audio = listener
        await session.start(Agent(instructions="You are a robot. Answer in one short sentence."))
        await listener.finished.wait()
        usage = {(use.provider, use.model): use for use in session.usage.model_usage}
    await model.aclose()
    assert words(asked[0]) == robot.words
    frame = utils.merge_frames(listener.frames)
    heard = words((await whisper.recognize([frame])).alternatives[0].text)
    said = words(replies[0])
    assert said
    assert len(set(said) & set(heard)) >= 0.6 * len(set(said))
    assert ("local", "whisper-base") in usage
    assert usage["local", "kokoro"].characters_count == len(replies[0])
