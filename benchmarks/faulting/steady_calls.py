"""Calls that go on, request after request, while something is done to what is around them.

`steady_calls` holds them on real plugins, with the providers in a process of their own, and a
`Pulse` says how long the event loop was kept from its next turn meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from livekit.agents import llm, utils

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.ledger.outbox import Outbox
from livekit_plugins_voicegateway.metering.usage import Modality, UsageRow
from livekit_plugins_voicegateway.provider_options import MODALITIES

from .watched_calls import PATIENT, frames

__all__ = [
    "PATIENCE",
    "Bill",
    "Pulse",
    "SteadyCalls",
    "answer",
    "bill_of",
    "emptied",
    "gateway_in",
    "providers",
]

PATIENCE: Final = 90.0
"""Seconds that anything may take on a busy machine."""

SENTENCE: Final = "Indeed he was not an ill-disposed young man."

SECOND: Final = 50
"""Frames of speech that a caller pushes, as they come."""

CONFIG: Final = """
database: {{url: 'sqlite:///{ledger}', outbox: '{folder}/outbox'}}
default_project: free
projects:
  free: {{}}
  limited: {{daily_budget: 1000}}
cost_tracking: {{on_ledger_failure: allow}}
providers:
  deepgram: {{api_key: any, stt: {{base_url: '{deepgram}'}}}}
  openai: {{api_key: any, llm: {{base_url: '{openai}'}}}}
  cartesia: {{api_key: any, tts: {{base_url: '{cartesia}'}}}}
"""


@dataclass(frozen=True, slots=True)
class Bill:
    """What was used, in the units in which providers bill.

    Attributes:
        requests: Of each modality.
        audio_seconds: Heard, to the hundredth.
        tokens: In and out.
        characters: Spoken.
    """

    requests: dict[str, int]
    audio_seconds: float
    tokens: int
    characters: int


def bill_of(rows: list[UsageRow]) -> Bill:
    """What rows of the ledger say was used."""
    requests = Counter[str](
        modality for modality, _ in {(row.modality, row.request_id) for row in rows}
    )
    return Bill(
        dict(sorted(requests.items())),
        round(sum(row.audio_seconds for row in rows if row.modality == "stt"), 2),
        sum(row.input_tokens + row.output_tokens for row in rows),
        sum(row.characters for row in rows),
    )


@dataclass(frozen=True, slots=True)
class Providers:
    """The sandbox in a process of its own, so that its work is not the gateway's.

    Attributes:
        urls: The base URL of each provider, and that of their record.
    """

    urls: dict[str, str]

    async def bill(self) -> Bill:
        """What they would bill for all requests until now."""
        record = await asyncio.to_thread(self._record)
        heard, written, said = (
            record[name]["totals"] for name in ("deepgram", "openai", "cartesia")
        )
        requests: dict[Modality, int] = {
            "llm": written["requests"],
            "stt": heard["requests"],
            "tts": said["requests"],
        }
        return Bill(
            {modality: count for modality, count in requests.items() if count},
            round(heard["audio_seconds"], 2),
            written["input_tokens"] + written["output_tokens"],
            said["characters"],
        )

    def _record(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.urls["record"], timeout=PATIENCE) as answer:
            record: dict[str, Any] = json.load(answer)
        return record


@contextlib.asynccontextmanager
async def providers() -> AsyncIterator[Providers]:
    """Start the sandbox."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "livekit_plugins_voicegateway.sandbox", "--reply", SENTENCE),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it has no words for what it hears, and says so
    )
    try:
        assert process.stdout is not None
        yield Providers(json.loads(await process.stdout.readline()))
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def gateway_in(folder: Path, urls: dict[str, str], ledger: Path) -> AsyncIterator[Gateway]:
    """Install a gateway for these providers.

    Args:
        folder: Of its configuration and its outbox.
        urls: The base URL of each provider.
        ledger: The ledger's file.
    """
    path = folder / "voicegw.yaml"
    path.write_text(CONFIG.format(folder=folder, ledger=ledger, **urls))
    gateway = Gateway(load_config(path, env={}), env={})
    previous = install(gateway)
    gateway.watcher.start()
    try:
        yield gateway
    finally:
        install(previous)
        await asyncio.to_thread(gateway.close, PATIENCE)


async def emptied(box: Outbox) -> None:
    """Wait until the ledger has all that waited in an outbox."""
    async with asyncio.timeout(PATIENCE):
        while box.count():  # noqa: ASYNC110 - other processes empty it, too
            await asyncio.sleep(0.05)
    box.close()


class SteadyCalls:
    """Requests, one after another and all kinds beside each other, while the block runs.

    At the end of the block each is let come to its own end.

    Attributes:
        ended: How many requests have ended.
        failures: What they raised.
    """

    def __init__(self) -> None:
        self.ended = Counter[Modality]()
        self.failures: list[BaseException] = []
        self._ending = False
        self._progress = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> SteadyCalls:
        self._http = utils.http_context.open()
        await self._http.__aenter__()
        for project in ("free", "limited"):
            kinds: dict[Modality, Callable[[str], Awaitable[None]]] = {
                "llm": answer,
                "tts": _speak,
                "stt": self._hear,
            }
            for modality, use in kinds.items():
                self._tasks.append(asyncio.create_task(self._go_on(modality, use, project)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending = True
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await self._http.__aexit__(kind, error, traceback)

    async def more(self, count: int = 1) -> None:
        """Wait until so many more requests of each kind have ended."""
        aim = {modality: self.ended[modality] + count for modality in MODALITIES}
        async with asyncio.timeout(PATIENCE), self._progress:
            await self._progress.wait_for(
                lambda: all(self.ended[modality] >= aim[modality] for modality in aim)
            )

    async def _go_on(
        self, modality: Modality, use: Callable[[str], Awaitable[None]], project: str
    ) -> None:
        while not self._ending:
            try:
                await use(project)
            except Exception as e:
                self.failures.append(e)
            async with self._progress:
                self.ended[modality] += 1
                self._progress.notify_all()
            await asyncio.sleep(0.02)  # as a caller would, and longer

    async def _hear(self, project: str) -> None:
        model = inference.STT("deepgram/nova-3", project=project)
        stream = model.stream(conn_options=PATIENT)
        due = time.monotonic()
        for frame in frames()[:SECOND]:
            stream.push_frame(frame)
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        stream.end_input()
        async for _ in stream:
            pass
        await stream.aclose()
        await model.aclose()


async def answer(project: str) -> None:
    """Ask a question, and read the answer.

    Args:
        project: Who pays.
    """
    model = inference.LLM("openai/gpt-4.1-mini", project=project)
    chat_ctx = llm.ChatContext.empty()
    chat_ctx.add_message(role="user", content="Who was not an ill-disposed young man?")
    async with model.chat(chat_ctx=chat_ctx, conn_options=PATIENT) as stream:
        async for _ in stream:
            pass
    await model.aclose()


async def _speak(project: str) -> None:
    model = inference.TTS("cartesia/sonic-3", project=project)
    async with model.stream(conn_options=PATIENT) as stream:
        stream.push_text(SENTENCE)
        stream.end_input()
        async for _ in stream:
            pass
    await model.aclose()


class Pulse:
    """How long the event loop was kept from its next turn while the block runs.

    By the clock on the wall, because a loop that waits for a disk uses no processor; less the time
    for which the system let others run on its processor, where it tells that (Linux).

    Attributes:
        longest_ms: Milliseconds.
        turns: How many were measured.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.turns = 0

    async def __aenter__(self) -> Pulse:
        # a collection goes through all that was ever imported, 0.2 s for it, fault or no fault
        await asyncio.to_thread(gc.collect)
        gc.freeze()
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        gc.unfreeze()

    async def _beat(self) -> None:
        with contextlib.ExitStack() as stack:
            statistics: int | None = None
            with contextlib.suppress(OSError):
                statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
                stack.callback(os.close, statistics)
            while True:
                before, waited = time.monotonic(), _waited(statistics)
                await asyncio.sleep(0.001)
                late = time.monotonic() - before - 0.001 - (_waited(statistics) - waited)
                self.longest_ms = max(self.longest_ms, 1000 * late)
                self.turns += 1


def _waited(statistics: int | None) -> float:
    """Seconds for which this thread could have run and was not let."""
    if statistics is None:
        return 0.0
    return int(os.pread(statistics, 100, 0).split()[1]) / 1e9
