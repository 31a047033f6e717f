"""Calls of a project that throttles, with real local models to take over."""

from __future__ import annotations

import json
import re
import time
import wave
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents import Agent, ModelSettings, stt, utils
from support.gateways import gateway_on

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.demo.call import CallEvent, CallResult, Turn, hold_call
from livekit_plugins_voicegateway.demo.local_models import LocalModels
from livekit_plugins_voicegateway.demo.script import REPLIES, SPEECH, recordings
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT
from livekit_plugins_voicegateway.sandbox import Sandbox

__all__ = ["Line", "edit_distance", "open_line", "speech_in", "turn", "words"]

PROJECTS = """
default_project: prod
projects:
  prod:
    daily_budget: {budget}
    budget_action: throttle
    fallback: {{stt: "local/whisper-base", llm: "ollama/smollm2:135m", tts: local/kokoro}}
    providers: {providers}
"""


def turn(name: str) -> Turn:
    """The caller says one of the demo's recordings."""
    return Turn(SPEECH / name, recordings()[SPEECH / name])


def words(text: str) -> list[str]:
    """The words of a text for comparison: lower case, no punctuation, numerals spelled out."""
    spelled = re.sub(r"\bmr\b", "mister", re.sub(r"\b10\b", "ten", text.lower()))
    return re.findall(r"[a-z']+", spelled)


def edit_distance(one: list[str], other: list[str]) -> int:
    """Words to be put in, taken out or changed to make one text the other."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, known in enumerate(other, 1):
            before, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, before + (word != known)),
            )
    return row[-1]


def speech_in(frames: Sequence[rtc.AudioFrame]) -> tuple[float, float]:
    """Where speech begins and ends in audio, in seconds from its beginning, by its loudness."""
    samples = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in frames])
    step = frames[0].sample_rate // 100
    loudness = np.abs(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1)
    loud = np.flatnonzero(loudness > 0.04 * loudness.max())
    return loud[0] / 100, (loud[-1] + 1) / 100


@dataclass
class Line:
    """A line to agents of the project ``prod``.

    Attributes:
        sandbox: The cloud.
        gateway: The gateway.
        audio: What the call's STT was given.
        audio_began: When that began, in seconds of the times of transcripts.
        heard: What came out of it: START_OF_SPEECH, FINAL_TRANSCRIPT, …
    """

    sandbox: Sandbox
    gateway: Gateway
    audio: list[rtc.AudioFrame] = field(default_factory=list)
    audio_began: float = 0.0
    heard: list[stt.SpeechEvent] = field(default_factory=list)

    async def call(
        self,
        *turns: Turn,
        greeting: str | None = None,
        when: Callable[[CallEvent], object] = lambda _: None,
    ) -> CallResult:
        """Hold a call with cloud models; ``when`` is told what happens in it."""
        return await hold_call(
            stt=inference.STT("deepgram/nova-3"),
            llm=inference.LLM("openai/gpt-4.1-mini"),
            tts=inference.TTS("cartesia/sonic-3"),
            turns=turns,
            greeting=greeting,
            agent=_Noting(self),
            patience=30.0,
            on_event=when,
        )

    async def whole(self, recording: Path) -> str:
        """What the local model hears in a whole recording."""
        options = self.gateway.config.provider_options("prod", "whisper")
        assert options is not None
        model = WhisperSTT("whisper-base", **options.resolve("stt", {}))
        with wave.open(str(recording)) as file:
            data = file.readframes(file.getnframes())
        event = await model.recognize(rtc.AudioFrame(data, 16_000, 1, len(data) // 2))
        await model.aclose()
        return event.alternatives[0].text

    async def ready(self) -> None:
        """Wait until weights are loaded, as they are when a worker has prewarmed."""
        project = self.gateway.project("prod")
        for modality in ("stt", "tts"):
            made = self.gateway.fallback(modality, project)
            assert made is not None
            assert isinstance(made[1], WhisperSTT | KokoroTTS)
            await made[1].ready()


class _Noting(Agent):
    """An agent that notes what its STT is given, and what it says."""

    def __init__(self, line: Line) -> None:
        super().__init__(instructions="You are on the telephone. Answer in one short sentence.")
        self._line = line

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        events: Any = Agent.default.stt_node(self, self._noted(audio), model_settings)
        async for event in events:
            self._line.heard.append(event)
            yield event

    async def _noted(self, audio: AsyncIterable[rtc.AudioFrame]) -> AsyncIterator[rtc.AudioFrame]:
        async for frame in audio:
            if not self._line.audio:
                model = self.session.stt
                assert isinstance(model, inference.STT)
                [stream] = model._streams
                self._line.audio_began = stream.start_time_offset
            self._line.audio.append(frame)
            yield frame


@asynccontextmanager
async def open_line(
    folder: Path,
    models: LocalModels,
    *,
    budget: str,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Line]:
    """Cloud models of the sandbox, local models of this machine, and a budget in dollars."""
    async with utils.http_context.open(), Sandbox() as sandbox:
        for recording, said in recordings().items():
            sandbox.deepgram.add_clip(recording, said)
        sandbox.openai.replies = REPLIES
        sandbox.ollama.models["smollm2:135m"] = ("completion",)
        sandbox.ollama.replies = ["I have no idea."] * 8
        with models.serve_llm() as url:
            ollama = {"base_url": url or sandbox.base_urls["ollama"]}
            providers = json.dumps({**models.options, "ollama": ollama})
            text = PROJECTS.format(budget=budget, providers=providers)
            async with gateway_on(sandbox, folder, text, clock=clock) as gateway:
                line = Line(sandbox, gateway)
                await line.ready()
                yield line
