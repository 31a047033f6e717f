"""Calls held at once in one process: ``python -m crowd.calls`` prints one line of JSON.

A call is what a telephone call is to a worker: an STT stream that hears audio in real time, and
every few seconds a completion and a synthesis of its text. No call waits for another one. The
providers are the sandbox, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import random
import resource
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import llm, stt, tts
from livekit.agents.utils import http_context

from livekit import rtc
from livekit.plugins import cartesia, deepgram, openai
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install

__all__ = ["Report"]

FRAME_SECONDS = 0.1
RATE = 16_000
TICK = 0.01
"""Seconds between two looks at how late the event loop is."""

FRAME = rtc.AudioFrame(bytes(int(RATE * FRAME_SECONDS) * 2), RATE, 1, int(RATE * FRAME_SECONDS))


@dataclass
class Report:
    """What one process has done.

    Attributes:
        turns: Completions and syntheses that came to their end, in pairs.
        turns_in_time: Those that did before the time was over.
        errors: Turns that ended with an exception, by its type.
        lag_ms: How late the event loop was, in milliseconds, at each tick.
        memory_mb: Memory of the process after each tenth of the time, in megabytes.
        processor_seconds: Of the whole process until the time was over.
        loop_seconds: Of that, the event loop's thread.
        first_token_ms: From asking to the first token, of each turn, in milliseconds.
    """

    turns: int = 0
    turns_in_time: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    lag_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    processor_seconds: float = 0.0
    loop_seconds: float = 0.0
    first_token_ms: list[float] = field(default_factory=list)


@dataclass
class Models:
    """One of each kind, shared by the calls of a process."""

    stt: stt.STT[Any]
    llm: llm.LLM[Any]
    tts: tts.TTS[Any]


@contextlib.asynccontextmanager
async def direct(urls: dict[str, str]) -> AsyncIterator[Models]:
    """The plugins used directly."""
    async with http_context.open():
        models = Models(
            deepgram.STT(api_key="any", base_url=urls["deepgram"]),
            openai.LLM(model="gpt-4.1-mini", api_key="any", base_url=urls["openai"]),
            cartesia.TTS(api_key="any", base_url=urls["cartesia"]),
        )
        yield models
        for model in (models.tts, models.llm, models.stt):
            await model.aclose()


@contextlib.asynccontextmanager
async def through_gateway(config: Path) -> AsyncIterator[Models]:
    """The same through the gateway, with a budget that is never spent."""
    gateway = Gateway(load_config(config, env={}), env={})
    install(gateway)
    async with http_context.open():
        models = Models(
            inference.STT("deepgram/nova-3"),
            inference.LLM("openai/gpt-4.1-mini"),
            inference.TTS("cartesia/sonic-3"),
        )
        yield models
        for model in (models.tts, models.llm, models.stt):
            await model.aclose()
    await asyncio.to_thread(gateway.close, 60.0)


class Crowd:
    """Calls at once.

    Args:
        models: What they speak with.
        seconds: How long they go on.
        every: Seconds between two turns of a call.
        warm_up: Seconds at the beginning that are not reported: calls begin one after the other
            in its first half, and plugins and prices are imported.
    """

    def __init__(
        self, models: Models, *, seconds: float, every: float, warm_up: float = 0.0
    ) -> None:
        self._models = models
        self._seconds = warm_up + seconds
        self._warm_up = warm_up
        self._every = every
        self._prompt = llm.ChatContext.empty()
        self._prompt.add_message(role="user", content="When does the next train leave?")
        self.report = Report()

    async def hold(self, calls: int) -> Report:
        """Hold so many calls, and report."""
        # as a worker's forkserver does before it forks a job
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as tasks:
            for number in range(calls):
                tasks.create_task(self._call(random.Random(number)))
            await asyncio.sleep(self._warm_up)
            self.report.turns = 0
            self.report.first_token_ms.clear()
            self.report.errors.clear()
            tasks.create_task(self._watch_loop())
            tasks.create_task(self._watch_memory())
            began, loop_began = time.process_time(), time.thread_time()
            await asyncio.sleep(self._seconds - self._warm_up)
            self.report.turns_in_time = self.report.turns
            self.report.processor_seconds = time.process_time() - began
            self.report.loop_seconds = time.thread_time() - loop_began
        return self.report

    async def _call(self, chance: random.Random) -> None:
        await asyncio.sleep(chance.random() * max(self._every, self._warm_up / 2))
        stream = self._models.stt.stream()
        reading = asyncio.create_task(_read(stream))
        hung_up = asyncio.Event()
        turns = asyncio.create_task(self._turns(chance, hung_up))
        began = time.monotonic()
        frames = int((self._seconds - self._every) / FRAME_SECONDS)
        for frame in range(frames):
            stream.push_frame(FRAME)
            pause = began + (frame + 1) * FRAME_SECONDS - time.monotonic()
            await asyncio.sleep(max(0.0, pause))
        hung_up.set()
        stream.end_input()
        await reading
        await stream.aclose()
        await turns  # the last answer is heard to its end: only then is its bill exact

    async def _turns(self, chance: random.Random, hung_up: asyncio.Event) -> None:
        while True:
            pause = chance.uniform(0.8, 1.2) * self._every
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hung_up.wait(), pause)
            if hung_up.is_set():
                return
            try:
                await self._turn()
                self.report.turns += 1
            except Exception as e:
                name = f"{type(e).__name__}: {e}"
                self.report.errors[name] = self.report.errors.get(name, 0) + 1

    async def _turn(self) -> None:
        began, text = time.perf_counter(), ""
        async with self._models.llm.chat(chat_ctx=self._prompt) as answer:
            async for chunk in answer:
                if not text and chunk.delta and chunk.delta.content:
                    self.report.first_token_ms.append(1000 * (time.perf_counter() - began))
                if chunk.delta and chunk.delta.content:
                    text += chunk.delta.content
        async with self._models.tts.stream() as speech:
            speech.push_text(text)
            speech.end_input()
            async for _ in speech:
                pass

    async def _watch_loop(self) -> None:
        ends = time.monotonic() + self._seconds - self._warm_up
        while (now := time.perf_counter()) and time.monotonic() < ends:
            await asyncio.sleep(TICK)
            self.report.lag_ms.append(1000 * max(0.0, time.perf_counter() - now - TICK))

    async def _watch_memory(self) -> None:
        for _ in range(10):
            await asyncio.sleep((self._seconds - self._warm_up) / 10)
            gc.collect()
            self.report.memory_mb.append(_resident_mb())


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


async def _hold(options: argparse.Namespace) -> Report:
    side = (
        through_gateway(options.config)
        if options.config is not None
        else direct(json.loads(options.urls))
    )
    async with side as models:
        crowd = Crowd(models, seconds=options.seconds, every=options.every, warm_up=options.warm_up)
        return await crowd.hold(options.calls)


def main() -> None:
    """Read the command line, hold the calls, print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=0.0)
    parser.add_argument("--config", type=Path, help="voicegw.yaml; without it, the plugins alone")
    parser.add_argument("--urls", default="{}", help="where the sandbox listens, as JSON")
    print(json.dumps(asdict(asyncio.run(_hold(parser.parse_args())))), flush=True)


if __name__ == "__main__":
    main()
