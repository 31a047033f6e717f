"""How long a caller waits for a local answer: from the last word to the first audio, by stage.

    python benchmarks/local_latency.py [--rounds 3] [--whisper whisper-base] [--answers free]

A real AgentSession hears recorded speech in real time, a real small language model answers over
HTTP, Kokoro speaks. Needs the weights of `python examples/models/setup_models.py`. Each row is one
way to set the session up; each figure the median over rounds and recordings, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents import (
    Agent,
    AgentSession,
    ModelSettings,
    inference,
    io,
    llm,
    stt,
    tts,
    utils,
)
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, FlushSentinel

from livekit import rtc
from livekit.plugins import openai
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT
from livekit_plugins_voicegateway.local.kokoro_engine import (
    Loading,
    Stopped,
    Wording,
    kokoro_engine,
    speak,
)

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / ".models"
SPEECH = ROOT / "tests" / "local" / "speech"
SERVER = ROOT / "examples" / "models" / "serve_llm.py"
RATE = 16_000
CLIPS = ("austen-0880", "austen-0890", "austen-0930", "goforward")
INSTRUCTIONS = "You are a friendly telephone agent. Answer in two short sentences."
ANSWERS = (
    "Of course, I can help you with that. Your balance is forty two dollars, and the next payment "
    "is due on the third of September.",
    "I would be happy to help you with that billing question today. Could you tell me the number "
    "of your account?",
    "Thank you for calling. The technician comes on Thursday, between eight and ten in the "
    "morning, and he will call you before that.",
)
PAUSE = 0.3
"""Seconds without audio inside an answer that count: between sentences a quarter is natural."""
ANSWER_TIMEOUT = 60.0


@dataclass(frozen=True)
class Setting:
    """One way to set the session up."""

    name: str
    short_window: bool = True
    adapters: bool = False
    endpointing: float = 0.5
    preemptive_tts: bool = False


SETTINGS = (
    Setting("LiveKit's StreamAdapters", short_window=False, adapters=True),
    Setting("full window", short_window=False),
    Setting("short window"),
    Setting("short window, 0.3 s", endpointing=0.3),
    Setting("short window, 0.3 s, preemptive TTS", endpointing=0.3, preemptive_tts=True),
)
"""The first is whisper and Kokoro behind LiveKit's own adapters, a sentence at a time. Seconds are
the session's endpointing delay, 0.5 unless it says otherwise."""


class PlainKokoro(tts.TTS[Any]):
    """Kokoro as a TTS that does not stream: what LiveKit's StreamAdapter expects."""

    class Stream(tts.ChunkedStream):
        """One sentence, in one inference."""

        async def _run(self, output_emitter: tts.AudioEmitter) -> None:
            assert isinstance(self._tts, PlainKokoro)
            kokoro, text = self._tts, self.input_text
            output_emitter.initialize(
                request_id="", sample_rate=24_000, num_channels=1, mime_type="audio/pcm"
            )
            engine = kokoro_engine(Loading(MODELS, 2))
            audio = await engine.run(lambda m: speak(m, text, kokoro.wording, Stopped()))
            output_emitter.push(audio.tobytes())
            output_emitter.flush()

    def __init__(self, voice: str) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=24_000, num_channels=1
        )
        self.wording = Wording(voice, language="en-us")

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Stream:
        return PlainKokoro.Stream(tts=self, input_text=text, conn_options=conn_options)


@dataclass
class Turn:
    """When things happened, in seconds of `time.perf_counter`; 0 where they did not."""

    speech_end: float = 0.0
    transcript: float = 0.0
    llm_request: float = 0.0
    llm_token: float = 0.0
    tts_text: float = 0.0
    first_audio: float = 0.0
    last_audio: float = 0.0
    playing_until: float = 0.0
    gaps: list[float] = field(default_factory=list)
    heard: str = ""
    answer: str = ""
    finished: asyncio.Event = field(default_factory=asyncio.Event)


class Line(io.AudioInput):
    """The caller's side: silence, and recordings when they are put in, in real time."""

    def __init__(self) -> None:
        super().__init__(label="recorded caller")
        self._pending = np.zeros(0, np.int16)
        self._spoken: asyncio.Future[float] | None = None
        self._speech_left = 0
        self._next = 0.0

    def say(self, samples: np.ndarray[Any, np.dtype[np.int16]], end: int) -> asyncio.Future[float]:
        """Put a recording in; the future has the time at which sample ``end`` was pushed."""
        self._pending = samples
        self._speech_left = end
        self._spoken = asyncio.get_running_loop().create_future()
        return self._spoken

    async def __anext__(self) -> rtc.AudioFrame:
        size = RATE // 50
        now = time.perf_counter()
        self._next = max(self._next, now - 0.1) + size / RATE
        await asyncio.sleep(max(0.0, self._next - now))
        frame, self._pending = self._pending[:size], self._pending[size:]
        if self._spoken and not self._spoken.done():
            self._speech_left -= size
            if self._speech_left <= 0:
                self._spoken.set_result(time.perf_counter())
        frame = np.pad(frame, (0, size - len(frame)))
        return rtc.AudioFrame(frame.tobytes(), RATE, 1, size)


class Ear(io.AudioOutput):
    """The caller's ear: plays in real time, and notices when it runs dry inside an answer."""

    def __init__(self) -> None:
        super().__init__(label="caller's ear", capabilities=io.AudioOutputCapabilities(pause=False))
        self.turn = Turn()
        self._played = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        now = time.perf_counter()
        turn = self.turn
        if not turn.first_audio:
            turn.first_audio = turn.playing_until = now
            self._played = 0.0
            self.on_playback_started(created_at=time.time())
        if now - turn.playing_until > PAUSE:
            turn.gaps.append(now - turn.playing_until)
        turn.playing_until = max(turn.playing_until, now) + frame.duration
        turn.last_audio = now
        self._played += frame.duration

    def flush(self) -> None:
        super().flush()
        delay = max(0.0, self.turn.playing_until - time.perf_counter())
        self._timer = asyncio.get_running_loop().call_later(delay, self._finish)

    def clear_buffer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool = False) -> None:
        self.on_playback_finished(playback_position=self._played, interrupted=interrupted)
        self.turn.finished.set()


class Timed(Agent):
    """An agent that writes down when its LLM and TTS begin."""

    def __init__(self, ear: Ear, answers: Iterator[str] | None) -> None:
        super().__init__(instructions=INSTRUCTIONS)
        self._ear = ear
        self._answers = answers

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterator[llm.ChatChunk | str | FlushSentinel]:
        """Let the language model work at its real pace; say a dictated answer in its place."""
        turn = self._ear.turn
        turn.llm_request = time.perf_counter()
        turn.llm_token = 0.0
        words = next(self._answers).split(" ") if self._answers else None
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            if isinstance(chunk, llm.ChatChunk) and not (chunk.delta and chunk.delta.content):
                continue
            turn.llm_token = turn.llm_token or time.perf_counter()
            if words is None:
                yield chunk
            elif words:
                yield words.pop(0) + " "
        for word in words or ():
            yield word + " "

    async def tts_node(
        self, text: AsyncIterable[str], model_settings: ModelSettings
    ) -> AsyncIterator[rtc.AudioFrame]:
        """Write down when the first text comes."""
        turn = self._ear.turn

        async def noted() -> AsyncIterator[str]:
            first = True
            async for part in text:
                if first:
                    turn.tts_text = time.perf_counter()
                    turn.answer = ""
                    first = False
                turn.answer += part
                yield part

        async for frame in Agent.default.tts_node(self, noted(), model_settings):
            yield frame


@contextmanager
def language_server(threads: int) -> Iterator[str]:
    """The small language model in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--threads", str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def load_clip(name: str) -> tuple[np.ndarray[Any, np.dtype[np.int16]], int]:
    """A recording, and the sample at which its speech ends."""
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    step = RATE // 100
    loudness = np.abs(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1)
    return samples, int(np.flatnonzero(loudness > 0.04 * loudness.max())[-1] + 1) * step


async def measure(setting: Setting, url: str, options: argparse.Namespace) -> list[Turn]:
    """Hold one conversation and return its turns."""
    whisper = WhisperSTT(
        options.whisper, language="en", weights=MODELS, short_window=setting.short_window
    )
    kokoro = KokoroTTS(weights=MODELS, voice=options.voice, language="en-us")
    model = openai.LLM(
        model="smollm2:135m", base_url=f"{url}/v1", api_key="none", max_completion_tokens=48
    )
    await whisper.ready()
    await kokoro.ready()
    hearing: stt.STT[Any] = whisper
    voice: tts.TTS[Any] = kokoro
    if setting.adapters:
        hearing = stt.StreamAdapter(stt=whisper, vad=inference.VAD())
        voice = tts.StreamAdapter(tts=PlainKokoro(options.voice))
    line, ear = Line(), Ear()
    turns = []
    answers = (ANSWERS[i % len(ANSWERS)] for i in range(10**9))
    async with AgentSession[None](
        stt=hearing,
        llm=model,
        tts=voice,
        vad=inference.VAD(),
        aec_warmup_duration=None,
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": setting.endpointing},
            "interruption": {"mode": "vad"},
            "preemptive_generation": {"preemptive_tts": setting.preemptive_tts},
        },
    ) as session:
        session.input.audio = line
        session.output.audio = ear

        @session.on("user_input_transcribed")
        def heard(event: Any) -> None:
            if event.is_final:
                ear.turn.transcript = time.perf_counter()
                ear.turn.heard += " " + event.transcript

        agent = Timed(ear, answers if options.answers == "dictated" else None)
        await session.start(agent)
        await asyncio.sleep(0.5)
        for clip in options.clips * options.rounds:
            turn = ear.turn = Turn()
            samples, end = load_clip(clip)
            turn.speech_end = await line.say(samples, end)
            await asyncio.wait_for(turn.finished.wait(), ANSWER_TIMEOUT)
            turns.append(turn)
            if options.verbose:
                print(json.dumps(stages(turn) | {"heard": turn.heard, "answer": turn.answer}))
            await asyncio.sleep(0.3)
    await model.aclose()
    return turns


def stages(turn: Turn) -> dict[str, float]:
    """How long after the caller's last word each thing happened, in seconds."""
    moments = {
        "transcript": turn.transcript,
        "LLM asked": turn.llm_request,
        "first token": turn.llm_token,
        "TTS has text": turn.tts_text,
        "first audio": turn.first_audio,
        "all audio": turn.last_audio,
    }
    after = {name: round(moment - turn.speech_end, 3) for name, moment in moments.items()}
    return after | {"pause": round(sum(turn.gaps), 3)}


def table(results: dict[str, list[Turn]]) -> str:
    """A Markdown table: medians, the range of the first audio, and pauses inside answers."""
    names = list(stages(Turn()))[:-1]
    head = ["set-up", *names, "first audio from-to", "answers with a pause"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for setting, turns in results.items():
        measured = [stages(turn) for turn in turns]
        cells = [f"{statistics.median(m[name] for m in measured):.2f}" for name in names]
        first = [m["first audio"] for m in measured]
        gaps = [gap for turn in turns for gap in turn.gaps]
        paused = f"{sum(bool(turn.gaps) for turn in turns)} of {len(turns)}"
        if gaps:
            paused += f", longest {max(gaps):.2f} s"
        cells += [f"{min(first):.2f}-{max(first):.2f}", paused]
        lines.append("| " + " | ".join([setting, *cells]) + " |")
    return "\n".join(lines)


async def run(options: argparse.Namespace) -> None:
    """Measure every setting, one after the other."""
    results: dict[str, list[Turn]] = {}
    with language_server(options.llm_threads) as url:
        async with utils.http_context.open():
            for setting in SETTINGS:
                if options.only and options.only not in setting.name:
                    continue
                results[setting.name] = await measure(setting, url, options)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.whisper} and Kokoro, {os.cpu_count()} cores (load {load}), {options.answers}")
    print("answers; seconds after the caller's last word, medians:\n")
    print(table(results))


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="times that all clips are said")
    parser.add_argument("--clips", nargs="+", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--whisper", default="whisper-base")
    parser.add_argument("--voice", default="af_heart")
    parser.add_argument("--llm-threads", type=int, default=1)
    parser.add_argument("--answers", choices=["dictated", "free"], default="dictated")
    parser.add_argument("--only", help="measure settings whose name has this in it")
    parser.add_argument("--verbose", action="store_true", help="print every turn")
    options = parser.parse_args()
    if not MODELS.is_dir():
        parser.exit(1, "there are no weights: run `python examples/models/setup_models.py`\n")
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
