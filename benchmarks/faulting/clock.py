"""The clock of the wall: set back and forward, over midnight, and on the days when zones change.

Real streams run while the clock that the gateway was given is set. Every second must be recorded
once, under the day that the clock showed, with nothing negative; and whatever a clock does to
leases, no day may cost more than its budget.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from livekit.agents import stt
from livekit.agents.utils import http_context

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.budgets import Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import Budgets
from livekit_plugins_voicegateway.ledger import make_ledger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.projects import Project
from livekit_plugins_voicegateway.sandbox import Sandbox
from livekit_plugins_voicegateway.times import from_iso

from .experiment import Experiment, Finding
from .watched_calls import CLIP, chat, frames, gateway_on, speak

__all__ = ["CASES", "Case", "Result", "Step", "experiments", "spend_with_steps", "try_case"]

HOUR, DAY = 3600.0, 86_400.0

DOLLAR = 1_000_000_000


class SetClock:
    """Unix time that goes on by itself, and can be set."""

    def __init__(self, now: float) -> None:
        self._ahead = now - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._ahead += seconds


Step = float


@dataclass(frozen=True)
class Case:
    """A stream during which the clock is set.

    Attributes:
        name: In words.
        zone: Where the days begin and end.
        begins: Local time.
        steps: Seconds by which the clock is set, one after the other.
    """

    name: str
    zone: str
    begins: str
    steps: tuple[Step, ...]


CHANGES = {
    "Europe/Berlin": ("2027-03-28", "2027-10-31"),
    "America/New_York": ("2027-03-14", "2027-11-07"),
    "Australia/Lord_Howe": ("2027-10-03", "2027-04-04"),
    "America/Santiago": ("2027-09-05", "2027-04-04"),
    "Asia/Beirut": ("2027-03-28", "2027-10-31"),
}
"""The days of a year that are shorter and longer. Two of these zones change at midnight."""

CASES = [
    Case("an hour back", "UTC", "2027-01-15T12:00:00", (-HOUR,)),
    Case("an hour forward", "UTC", "2027-01-15T12:00:00", (HOUR,)),
    Case("a day back", "UTC", "2027-01-15T12:00:00", (-DAY,)),
    Case("a day forward", "UTC", "2027-01-15T12:00:00", (DAY,)),
    Case("back over midnight", "UTC", "2027-01-16T00:00:01", (-HOUR,)),
    Case("back and forward over midnight", "UTC", "2027-01-16T00:00:01", (-HOUR, HOUR, -DAY, DAY)),
    Case("midnight", "UTC", "2027-01-15T23:59:00", (61.0,)),
    *(
        Case(f"the midnight that {what} {day} in {zone}", zone, f"{at}T23:59:00", (61.0,))
        for zone, days in CHANGES.items()
        for day in days
        for what, at in (
            ("begins", date.fromisoformat(day) - timedelta(1)),
            ("ends", day),
        )
    ),
]


@dataclass
class Result:
    """What came of a case.

    Attributes:
        case: Which one.
        rows: Of the ledger, oldest first.
        heard: Seconds of audio that the provider got.
        seconds: How long the stream was open, by a clock that never steps.
        problems: What is wrong with the rows.
    """

    case: Case
    rows: list[dict[str, Any]] = field(default_factory=list)
    heard: float = 0.0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def recorded(self) -> float:
        """Seconds of audio in the ledger, of the stream."""
        streams = (row for row in self.rows if row["modality"] == "stt")
        return float(sum(row["audio_seconds"] for row in streams))


async def try_case(case: Case) -> Result:
    """Hold a stream while the clock is set, with a completion and a synthesis after each step."""
    zone = ZoneInfo(case.zone)
    begins = datetime.fromisoformat(case.begins).replace(tzinfo=zone).timestamp()
    clock, result = SetClock(begins), Result(case)
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox() as sandbox, http_context.open():
            sandbox.deepgram.add_clip(CLIP, "He was not an ill-disposed young man.")
            text = (
                f"timezone: {case.zone}\n"
                "projects: {prod: {daily_budget: 1000, budget_action: block}}\n"
                "cost_tracking: {on_ledger_failure: allow}"
            )
            async with gateway_on(sandbox, Path(folder), text, clock=clock) as gateway:
                ears = inference.STT("deepgram/nova-3", project="prod")
                began = time.monotonic()
                stream = ears.stream()
                audio = frames()
                share = len(audio) // (len(case.steps) + 1) + 1
                for number, begin in enumerate(range(0, len(audio), share)):
                    if number:
                        clock.step(case.steps[number - 1])
                    for frame in audio[begin : begin + share]:
                        stream.push_frame(frame)
                    await gateway.flush(10)
                    await _others()
                async for event in stream:
                    if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                        break
                await stream.aclose()
                result.seconds = time.monotonic() - began
                await ears.aclose()
                await gateway.flush(10)
            await sandbox.settled()
            result.heard = sandbox.deepgram.record.totals.audio_seconds
        result.rows, daily = _read(Path(folder))
    result.problems = list(_problems(result, zone, daily))
    return result


async def _others() -> None:
    mind, voice = inference.LLM("openai/gpt-4.1-mini", project="prod"), None
    voice = inference.TTS("cartesia/sonic-3", project="prod")
    await chat(mind)
    await speak(voice, whole=True)
    await mind.aclose()
    await voice.aclose()


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, tuple[int, float]]]:
    with closing(sqlite3.connect(f"file:{folder}/voicegw.db?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM usage ORDER BY id")]
        daily = connection.execute(
            "SELECT day, sum(cost_nanos), sum(audio_seconds) FROM usage_daily GROUP BY day"
        )
        return rows, {day: (cost, seconds) for day, cost, seconds in daily}


def _problems(result: Result, zone: ZoneInfo, daily: dict[str, tuple[int, float]]) -> Iterator[str]:
    if abs(result.recorded - result.heard) > 0.06:
        yield f"{result.recorded} s recorded, and {result.heard} s heard"
    streams = [row for row in result.rows if row["modality"] == "stt"]
    if len({row["request_id"] for row in streams}) != 1:
        yield "the stream's rows are not of one request"
    total = sum(row["duration_ms"] for row in streams) / 1000
    if total > result.seconds + 0.001:
        yield f"the stream's rows last {total} s, and it was open for {result.seconds} s"
    for row in result.rows:
        if row["status"] == "open" or row["error"] is not None:
            yield f"a row is {row['status']}: {row['error']}"
        started, ended = from_iso(row["started_at"]), from_iso(row["ended_at"])
        if ended < started:
            yield "a row ends before it begins"
        if (
            min(row["duration_ms"], row["audio_seconds"], row["cost_nanos"], row["ttfb_ms"] or 0)
            < 0
        ):
            yield f"a row is negative: {row}"
        if row["day"] != (day := datetime.fromtimestamp(started, zone).date().isoformat()):
            yield f"a row that began on {day} stands under {row['day']}"
    for day, (cost, _) in daily.items():
        if cost != sum(row["cost_nanos"] for row in result.rows if row["day"] == day):
            yield f"the total of {day} is not the sum of its rows"


async def spend_with_steps(seed: int, folder: Path, *, requests: int = 150) -> tuple[int, int]:
    """Spend a dollar a day in three processes whose clock is set again and again.

    Requests cost what they hold, so that no day may cost more than its dollar.

    Args:
        seed: Of the random numbers.
        folder: For the ledger.
        requests: How many are tried.

    Returns:
        The most that a day has cost beyond its budget, and what is still leased of all days when
        nobody has spent anything for a minute, and one of the processes has died; in nano-dollars.
    """
    chance = random.Random(seed)
    now = [from_iso("2027-01-15T23:30:00Z")]
    days = Days(ZoneInfo("UTC"))
    project = Project("prod", daily_budget=Decimal(1), budget_action="block")
    ledger = make_ledger(f"sqlite:///{folder}/{seed}.db", clock=lambda: now[0])
    await ledger.open()
    try:
        owners = [uuid7() for _ in range(3)]
        processes = [Budgets(days, owner, clock=lambda: now[0]) for owner in owners]
        for _ in range(requests):
            now[0] += chance.choice((0.05, 0.2, 1.0, 8.0))
            if chance.random() < 0.1:
                now[0] += chance.choice((-DAY, -HOUR, -60.0, 60.0, HOUR, DAY))
            for budgets in processes:
                await budgets.exchange(ledger)
            which = chance.randrange(3)
            budget = processes[which].of(project)
            assert budget is not None
            nanos = chance.randrange(DOLLAR // 8)
            hold = budget.admit(nanos)
            if isinstance(hold, Hold):
                row = _row(owners[which], days.day_of(now[0]), now[0], nanos)
                await ledger.write([row])
                hold.spend(nanos, row.day)
                hold.release()
        over = 0
        for day in {days.day_of(now[0] + n * DAY) for n in range(-40, 41)}:
            settled, _ = await ledger.budget_status("prod", day)
            over = max(over, settled - DOLLAR)
        for _ in range(60):
            now[0] += 1.0
            for budgets in processes[1:]:
                await budgets.exchange(ledger)
        _, stranded = await ledger.budget_status("prod", days.day_of(now[0]))
        return over, stranded
    finally:
        await ledger.close()


def _row(owner: str, day: str, now: float, nanos: int) -> UsageRow:
    return UsageRow(
        id=uuid7(),
        request_id=uuid7(),
        started_at=now,
        ended_at=now,
        day=day,
        project="prod",
        modality="llm",
        provider="openai",
        model="gpt-4.1-mini",
        requested_model="openai/gpt-4.1-mini",
        status="completed",
        cost_nanos=nanos,
        owner=owner,
    )


async def _run(quick: bool) -> list[Finding]:
    results = [await try_case(case) for case in CASES[:: 6 if quick else 1]]
    worst = max(abs(result.recorded - result.heard) for result in results)
    wrong = sum(bool(result.problems) for result in results)
    seeds = 3 if quick else 100
    with tempfile.TemporaryDirectory() as folder:
        spent = [await spend_with_steps(seed, Path(folder)) for seed in range(seeds)]
    over, stranded = (max(amounts) for amounts in zip(*spent, strict=True))
    return [
        Finding(
            fault="the clock is set back or forward, or a day begins or ends, during a stream",
            tries=len(results),
            lost=f"{worst * 1000:.0f} ms of audio at most",
            note=f"{wrong} with a row that is negative, too long, or under a wrong day",
        ),
        Finding(
            fault="the clock is set 15 times while three processes spend a budget, and one dies",
            tries=len(spent),
            lost=f"${stranded / DOLLAR:.3f} of $1 still leased a minute later, at most",
            note=f"spent beyond the budget: ${over / DOLLAR:.3f} at most",
        ),
    ]


def experiments() -> list[Experiment]:
    """What this module tries."""
    return [Experiment("clock", _run)]
