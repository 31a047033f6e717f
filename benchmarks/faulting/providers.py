"""What providers do wrong: each fault, with a plugin used directly and with the gateway around it.

The user must see the same events and exceptions, the provider the same requests; what is recorded
must be what the provider would bill; and when all is closed, no task, socket, file or thread may be
left.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from livekit.agents import APIConnectOptions
from livekit.agents.utils import http_context

from livekit.plugins import cartesia, deepgram, openai
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

from .experiment import Experiment, Finding
from .watched_calls import (
    CLIP,
    HASTY,
    Course,
    chat,
    frames,
    gateway_on,
    recognize,
    speak,
    transcribe,
)

__all__ = [
    "CASES",
    "LONG_CASES",
    "Case",
    "Result",
    "experiments",
    "remains",
    "try_at_once",
    "try_case",
]

Kind = Literal["stt", "llm", "tts"]

LATE = 0.8
"""Seconds after which a provider answers somebody who waits for `HASTY`'s 0.4."""

FIVE_MINUTES = 300.0

CLIP_SECONDS = sum(frame.duration for frame in frames())

CONFIG = """
projects: {prod: {daily_budget: 1000, budget_action: block}}
cost_tracking: {on_ledger_failure: allow}
"""


@dataclass(frozen=True)
class Case:
    """A request, and what the provider does to it.

    Attributes:
        name: In words.
        kind: Whose provider fails.
        use: The request.
        faults: Which fault, and for how many requests; None for each.
        again: Whether the same request is made once more, when the fault is over.
        rate: Chunks or tokens are sent at this pace; None at once.
    """

    name: str
    kind: Kind
    use: Callable[[Any], Awaitable[Course]]
    faults: tuple[tuple[Fault, int | None], ...]
    again: bool = False
    rate: float | None = None


@dataclass
class Result:
    """What came of a case.

    Attributes:
        case: Which one.
        direct: What the user of the plugin saw.
        through: What the user of the gateway saw.
        requests: How many reached the provider: of the plugin, of the gateway.
        left: What was not closed.
        rows: Of the ledger.
        billed: What the provider would bill at least, and at most.
        recorded: The same quantity, in the ledger.
        given_up: The part of it that the user has given up before it was answered.
        broken: How many connections have broken.
        estimated: Whether that is an estimate.
        seconds: How long it took: with the plugin, with the gateway.
    """

    case: Case
    direct: list[Course]
    through: list[Course] = field(default_factory=list)
    requests: tuple[int, int] = (0, 0)
    left: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    billed: tuple[float, float] = (0.0, 0.0)
    recorded: float = 0.0
    given_up: float = 0.0
    broken: int = 0
    estimated: bool = False
    seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def differences(self) -> list[str]:
        """What the two users have seen differently."""
        found = [
            f"{name}: {getattr(there, name)!r:.400} and not {getattr(here, name)!r:.400}"
            for here, there in zip(self.direct, self.through, strict=True)
            for name in ("results", "errors", "metrics")
            if getattr(here, name) != getattr(there, name)
        ]
        if self.requests[0] != self.requests[1]:
            found.append(f"{self.requests[1]} requests and not {self.requests[0]}")
        return found

    @property
    def is_billed_right(self) -> bool:
        """Whether the ledger has what the provider would bill.

        An estimate may be off by a third, and five tokens. What was given up before it was answered
        may be billed or not: it is recorded. So is audio that was on its way into a connection that
        broke; here that may be the whole clip, for it is pushed at once.
        """
        least, most = self.billed
        slack = 0.33 * most + 5 if self.estimated else 0.0
        if self.case.kind == "stt":
            slack = 0.06
            most += CLIP_SECONDS * self.broken
        most += self.given_up
        return least - slack <= self.recorded <= most + slack


def _requests(**options: Any) -> list[tuple[str, Kind, Callable[..., Awaitable[Course]]]]:
    return [
        ("completion", "llm", partial(chat, **options)),
        ("synthesis", "tts", partial(speak, **options)),
        ("synthesis of a whole text", "tts", partial(speak, whole=True, **options)),
        ("transcription", "stt", partial(transcribe, **options)),
        ("recognition", "stt", partial(recognize, **options)),
    ]


def _cases() -> list[Case]:
    middle: dict[Kind, float] = {"llm": 4, "tts": 3, "stt": 1.0}
    cases = []
    for name, kind, use in _requests():
        at = middle[kind]
        impatient = partial(use, conn_options=HASTY)
        cases += [
            Case(f"{name}: refused, then served", kind, use, ((Fault.refuse(), 2),)),
            Case(f"{name}: refused", kind, use, ((Fault.refuse(), None),)),
            Case(
                f"{name}: 429 with retry-after, then served",
                kind,
                use,
                ((Fault.status(429, retry_after=0.2), 1),),
            ),
            Case(f"{name}: 429", kind, use, ((Fault.status(429, retry_after=1), None),)),
            Case(f"{name}: 401", kind, use, ((Fault.status(401), None),)),
            Case(f"{name}: 503", kind, use, ((Fault.status(503), None),)),
            Case(f"{name}: garbage", kind, use, ((Fault.garbage(after=at), 1),)),
            Case(f"{name}: half a frame", kind, use, ((Fault.half(after=at), 1),)),
            Case(f"{name}: half a frame first", kind, use, ((Fault.half(), 1),)),
            Case(f"{name}: cut in the middle", kind, use, ((Fault.cut(at), 1),)),
            Case(f"{name}: an error", kind, use, ((Fault.error(after=at, done=False), 1),)),
            Case(
                f"{name}: answered when it was given up",
                kind,
                impatient,
                ((Fault.stall(LATE), None),),
                again=True,
            ),
        ]
        if kind != "stt":
            # what hears is not given up: silence is what it hears
            cases += [
                Case(
                    f"{name}: stalled after the first words",
                    kind,
                    impatient,
                    ((Fault.stall(LATE, after=at), 1),),
                    again=True,
                ),
                Case(
                    f"{name}: hung up in the middle",
                    kind,
                    partial(use, stop_after=3),
                    (),
                    rate=2.0 if kind == "tts" else 40.0,
                ),
            ]
    return cases


CASES = _cases()
"""Every fault, with every kind of request."""

_LONG = APIConnectOptions(max_retry=0, timeout=FIVE_MINUTES + 60)

LONG_CASES = [
    Case(f"{name}: silent for five minutes", kind, use, ((Fault.stall(FIVE_MINUTES, after=0), 1),))
    for name, kind, use in _requests(conn_options=_LONG)
]
"""The same with real time. All at once it takes a little more than five minutes."""


async def try_case(case: Case, *, alone: bool = True) -> Result:
    """Make the request directly and through the gateway, each on a sandbox of its own.

    Args:
        case: What is asked for, and what goes wrong.
        alone: Whether nothing else runs meanwhile: then it can be seen what is left open.
    """
    before = remains()
    began = time.monotonic()
    async with _sandbox(case) as sandbox:
        direct = await _use(case, sandbox, partial(_plugin, case.kind, sandbox))
        requests = len(_provider(case, sandbox).record.requests)
    result = Result(case, direct)
    between = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with _sandbox(case) as sandbox:
            async with gateway_on(sandbox, Path(folder), CONFIG) as gateway:
                result.through = await _use(case, sandbox, partial(_model, case.kind))
                await gateway.flush(10)
            provider = _provider(case, sandbox)
            result.requests = requests, len(provider.record.requests)
            result.rows = _rows(Path(folder))
            _weigh(result, provider.record)
    result.seconds = between - began, time.monotonic() - between
    if alone:
        result.left = await _left(before)
    return result


def remains() -> dict[str, set[str]]:
    """What this process has open, and what it is at."""
    links = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            links.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue  # the one with which the folder is read
    current = asyncio.current_task()
    return {
        "file": links,
        "task": {repr(task) for task in asyncio.all_tasks() if task is not current},
        "thread": {
            thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio")
        },
    }


async def _left(before: dict[str, set[str]]) -> list[str]:
    """What was not there before, and does not go away by itself."""
    deadline = time.monotonic() + 5
    while True:
        gc.collect()
        found = [f"{kind} {item}" for kind, now in remains().items() for item in now - before[kind]]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _sandbox(case: Case) -> AsyncIterator[Sandbox]:
    async with http_context.open(), Sandbox() as sandbox:
        sandbox.openai.replies = ["Indeed he was not. He was rather cold hearted, and selfish."]
        sandbox.deepgram.add_clip(CLIP, "He was not an ill-disposed young man.")
        if case.rate is not None:
            sandbox.openai.tokens_per_second = sandbox.cartesia.pace = case.rate
        for fault, times in case.faults:
            _provider(case, sandbox).faults.append(fault, times=times)
        yield sandbox


async def _use(case: Case, sandbox: Sandbox, make: Callable[[], Any]) -> list[Course]:
    model = make()
    courses = [await case.use(model)]
    if case.again:
        _provider(case, sandbox).faults.clear()
        courses.append(await case.use(model))
    await model.aclose()
    await sandbox.settled()
    return courses


def _provider(case: Case, sandbox: Sandbox) -> Any:
    return {"llm": sandbox.openai, "tts": sandbox.cartesia, "stt": sandbox.deepgram}[case.kind]


def _plugin(kind: Kind, sandbox: Sandbox) -> Any:
    if kind == "llm":
        return openai.LLM(model="gpt-4.1-mini", api_key="any", base_url=sandbox.openai.base_url)
    if kind == "tts":
        return cartesia.TTS(model="sonic-3", api_key="any", base_url=sandbox.cartesia.base_url)
    return deepgram.STT(model="nova-3", api_key="any", base_url=sandbox.deepgram.base_url)


def _model(kind: Kind) -> Any:
    if kind == "llm":
        return inference.LLM("openai/gpt-4.1-mini", project="prod")
    if kind == "tts":
        return inference.TTS("cartesia/sonic-3", project="prod")
    return inference.STT("deepgram/nova-3", project="prod")


def _rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{folder}/voicegw.db?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM usage ORDER BY id")]


def _weigh(result: Result, record: Any) -> None:
    """Compare what was sent and received with the rows: tokens, characters or seconds."""

    def amount(of: Any) -> float:
        if result.case.kind == "llm":
            return float(of.input_tokens + of.output_tokens)
        return float(of.characters if result.case.kind == "tts" else of.audio_seconds)

    most = amount(record.totals)
    result.billed = most - amount(record.failed), most
    if result.case.kind == "llm":
        result.recorded = sum(row["input_tokens"] + row["output_tokens"] for row in result.rows)
        result.given_up = sum(
            row["input_tokens"] for row in result.rows if row["error"] == "APITimeoutError"
        )
    else:
        name = "characters" if result.case.kind == "tts" else "audio_seconds"
        result.recorded = sum(row[name] for row in result.rows)
    result.broken = sum(request.ending in ("fault", "error") for request in record.requests)
    result.estimated = any(row["estimated"] for row in result.rows)


async def try_at_once(cases: list[Case]) -> list[Result]:
    """Try cases that wait most of the time."""
    return await asyncio.gather(*(try_case(case, alone=False) for case in cases))


async def _run(quick: bool) -> list[Finding]:
    await try_case(CASES[0])  # what is imported and kept for good comes with the first
    results = [await try_case(case) for case in CASES[:: 8 if quick else 1]]
    found = [_finding("each fault of a provider, with each kind of request", results)]
    if not quick:
        found.append(_finding("five minutes of silence", await try_at_once(LONG_CASES)))
    return found


def _finding(fault: str, results: list[Result]) -> Finding:
    wrong = [result.case.name for result in results if not result.is_billed_right]
    differ = sum(bool(result.differences) for result in results)
    left = sum(bool(result.left) for result in results)
    return Finding(
        fault=fault,
        tries=len(results),
        lost=", ".join(wrong) or "nothing",
        twice="nothing",
        note=f"seen differently than without the gateway: {differ}; left something open: {left}",
    )


def experiments() -> list[Experiment]:
    """What this module tries."""
    return [Experiment("providers", _run)]
