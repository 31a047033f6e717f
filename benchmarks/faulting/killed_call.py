"""The calls that `faulting.kill` ends: what a job's process does, and how it dies by itself.

A job is told by the name of its room what it is: ``<number>.<death>.<milliseconds>``. Two callers
are served at once, each with a stream of speech that is transcribed, and one completion and one
synthesis after the other, through `voicegateway.inference`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import math
import mmap
import os
import random
import resource
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from livekit.agents import JobContext, JobProcess
from livekit.agents.llm import ChatContext

from livekit import rtc
from livekit.plugins import cartesia, deepgram, openai  # noqa: F401  (before processes are forked)
from livekit_plugins_voicegateway.ledger.sqlite_connection import SqliteConnection
from voicegateway import inference

__all__ = [
    "ANSWER",
    "CALLERS",
    "MOMENTS",
    "PROMPT_TOKENS",
    "SENTENCES",
    "Death",
    "Plan",
    "entrypoint",
    "key_of",
    "missed_turns",
    "prewarm",
    "pulse_of",
]

CALLERS = ("first", "second")
"""The callers of a job; each is a project, so that rows tell them apart."""

ANSWER = " ".join(["and", "so", "it", "goes", "on", "for", "a", "while"] * 10)
"""What the language model says: words that are one token each by any rule, so that what an open
row estimates is what the sandbox counts."""

QUESTION = "tell me how it goes on"
PROMPT_TOKENS = 13
"""Of the question, by the sandbox and by the gateway's estimate."""

SENTENCES = (
    "It was a bright and cold day in the spring of that year.",
    "The clocks in the old town were all about to strike the hour.",
    "Nobody in the whole street had looked up from the morning paper.",
)
FRAME_SECONDS = 0.05
SAMPLE_RATE = 16_000

MOMENTS = "FAULTING_MOMENTS"
"""The environment variable with the file in which a job notes that it dies, right before, or that
it can take in nothing any more."""

_BEAT = 0.01
_LAST_SECONDS = 2.0

Death: TypeAlias = Literal[
    "living",  # it does not end by itself
    "killed",
    "statement",  # in the middle of the statement that writes rows
    "commit",  # at any moment between the beginning of a write and its end
    "exit",
    "crash",
    "no-memory",
    "too-big",
    "stuck-loop",
    "stuck-process",
    "bad-callback",
    "slow-callback",
]
"""How a job ends."""


class Plan(NamedTuple):
    """What becomes of a job.

    Attributes:
        number: Tells it apart.
        death: How it ends.
        delay: Seconds that it goes on before: from the first answer of a provider to each caller,
            or from the first row that is written, or from its first request.
    """

    number: int
    death: Death
    delay: float = 0.0

    @property
    def room(self) -> str:
        """The room that says so."""
        return f"{self.number}.{self.death}.{round(self.delay * 1000)}"

    @classmethod
    def of(cls, room: str) -> Plan:
        """The plan in a room's name."""
        number, death, delay = room.split(".")
        for known in get_args(Death):
            if known == death:
                return cls(int(number), known, int(delay) / 1000)
        raise ValueError(f"no such death: {death}")


def key_of(room: str, caller: str) -> str:
    """The API key of a caller's requests, by which the sandbox's record tells them apart."""
    return f"{room}/{caller}"


def prewarm(process: JobProcess) -> None:
    """Get a process ready for a job."""
    inference.prewarm()


async def entrypoint(ctx: JobContext) -> None:
    """Serve two callers, and end as planned."""
    room = ctx.job.room.name
    plan = Plan.of(room)
    threading.Thread(target=_beat, args=(room,), daemon=True).start()
    if plan.death in ("statement", "commit"):
        _strike_in_a_write(plan)
    answered = [asyncio.Event() for _ in CALLERS]
    calls = asyncio.gather(
        *(
            part(caller, key_of(room, caller), heard)
            for caller, heard in zip(CALLERS, answered, strict=True)
            for part in (_listen, _think, _speak)
        )
    )
    ctx.proc.userdata["calls"] = calls  # they go on when this has returned, as a session does
    if plan.death in _DEATHS:
        for heard in answered:
            await heard.wait()
        await asyncio.sleep(plan.delay)
        await _DEATHS[plan.death](ctx)


def pulse_of(folder: Path, room: str) -> Path:
    """The file with the pulse of the job in a room: see `missed_turns`."""
    return folder / f"{room}.pulse"


def missed_turns(file: Path, until: float) -> float:
    """For how long a process got no turn in its last seconds, or let no thread of its own have one.

    Args:
        file: Its pulse.
        until: When it ended, Unix time.
    """
    last, missed = struct.unpack("dd", file.read_bytes())
    return float(missed + max(0.0, until - last - _BEAT))


def _beat(room: str) -> None:
    file = pulse_of(Path(os.environ[MOMENTS]).parent, room)
    file.write_bytes(struct.pack("dd", time.time(), 0.0))
    missed: deque[tuple[float, float]] = deque()
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 16) as kept:
        last = time.time()
        while True:
            time.sleep(_BEAT)
            now = time.time()
            if now - last > 3 * _BEAT:
                missed.append((now, now - last - _BEAT))
            while missed and missed[0][0] < now - _LAST_SECONDS:
                missed.popleft()
            kept[:] = struct.pack("dd", now, sum(seconds for _, seconds in missed))
            last = now


def note_death(room: str) -> None:
    """Write down that the process dies now, for whoever counts what is lost."""
    line = json.dumps({"room": room, "at": time.time()}) + "\n"
    file = os.open(os.environ[MOMENTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


async def _listen(caller: str, key: str, answered: asyncio.Event) -> None:
    stt = inference.STT("deepgram/nova-3", project=caller, api_key=key)
    samples = round(SAMPLE_RATE * FRAME_SECONDS)
    frame = rtc.AudioFrame(bytes(2 * samples), SAMPLE_RATE, 1, samples)

    async with stt.stream() as stream:
        hearing = asyncio.create_task(_read(stream, answered))
        due = time.monotonic()
        while True:
            stream.push_frame(frame)
            # what a busy machine has missed is not made up for: a second of a call is one of audio
            due = max(due + FRAME_SECONDS, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            if hearing.done():
                hearing.result()


async def _think(caller: str, key: str, answered: asyncio.Event) -> None:
    llm = inference.LLM("openai/gpt-4.1-mini", project=caller, api_key=key)
    while True:
        question = ChatContext.empty()
        question.add_message(role="user", content=QUESTION)
        async with llm.chat(chat_ctx=question) as stream:
            await _read(stream, answered)


async def _speak(caller: str, key: str, answered: asyncio.Event) -> None:
    tts = inference.TTS("cartesia/sonic-3", project=caller, api_key=key)
    while True:
        async with tts.stream() as stream:
            speaking = asyncio.create_task(_read(stream, answered))
            for sentence in SENTENCES:
                stream.push_text(f"{sentence} ")
                await asyncio.sleep(0.3)
            stream.end_input()
            await speaking


async def _read(stream: AsyncIterable[object], answered: asyncio.Event) -> None:
    async for _ in stream:
        answered.set()


async def _exit(ctx: JobContext) -> None:
    note_death(ctx.job.room.name)
    os._exit(3)


async def _crash(ctx: JobContext) -> None:
    note_death(ctx.job.room.name)
    ctypes.string_at(0)


async def _run_out_of_memory(ctx: JobContext) -> None:
    """Use up what the system gives, hold it for a while, and fail with it.

    Connections whose reading fails stay open, and providers go on to send into them.
    """
    note_death(ctx.job.room.name)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    taken = []
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + 64 * 1024 * 1024, most)
    )
    size = 1024 * 1024
    while size >= 1024:
        try:
            taken.append(bytearray(size))
        except MemoryError:
            size //= 2
    with contextlib.suppress(MemoryError):
        await asyncio.sleep(0.5)
    taken.clear()
    raise MemoryError("the job has run out of memory")


async def _outgrow(ctx: JobContext) -> None:
    """Take more than the worker allows, and go on."""
    ballast = ctx.proc.userdata["ballast"] = []
    for _ in range(512):
        ballast.append(os.urandom(1024 * 1024))
        await asyncio.sleep(0.002)


async def _block_loop(ctx: JobContext) -> None:
    note_death(ctx.job.room.name)
    time.sleep(3600)  # noqa: ASYNC251


async def _block_process(ctx: JobContext) -> None:
    """Block with the interpreter's lock in hand, as a library in C may."""
    note_death(ctx.job.room.name)
    ctypes.PyDLL(None).sleep(3600)


async def _end_badly(ctx: JobContext) -> None:
    async def fail() -> None:
        raise RuntimeError("this callback fails")

    ctx.add_shutdown_callback(fail)
    note_death(ctx.job.room.name)
    ctx.shutdown()


async def _end_slowly(ctx: JobContext) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    ctx.add_shutdown_callback(wait)


_DEATHS: Mapping[Death, Callable[[JobContext], Awaitable[None]]] = {
    "exit": _exit,
    "crash": _crash,
    "no-memory": _run_out_of_memory,
    "too-big": _outgrow,
    "stuck-loop": _block_loop,
    "stuck-process": _block_process,
    "bad-callback": _end_badly,
    "slow-callback": _end_slowly,
}


def _strike_in_a_write(plan: Plan) -> None:
    """Let the first write of rows after a while be this process's last."""
    chance = random.Random(plan.room).random()
    write = SqliteConnection.write
    due_at = math.inf
    seconds: list[float] = []
    steps: list[int] = []

    def strike() -> None:
        note_death(plan.room)
        os.kill(os.getpid(), signal.SIGKILL)

    def count() -> int:
        steps[-1] += 1
        if time.monotonic() >= due_at and steps[-1] >= chance * steps[-2]:
            strike()
        return 0

    async def struck(self: SqliteConnection, rows: Sequence[Sequence[Any]], now: str) -> None:
        nonlocal due_at
        if not seconds:
            due_at = time.monotonic() + plan.delay
        if plan.death == "statement":
            steps.append(0)
            await self._connection.set_progress_handler(count, 10)
        elif time.monotonic() >= due_at:
            threading.Timer(chance * seconds[-1], strike).start()
        began = time.monotonic()
        await write(self, rows, now)
        seconds.append(time.monotonic() - began)

    SqliteConnection.write = struck  # type: ignore[method-assign]
