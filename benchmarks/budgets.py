"""What a budget costs, and whether it holds: admissions, leases, eight processes on one budget.

    python benchmarks/budgets.py [--quick] [--json] [--only admissions|leases|experiment|sandbox]

Admissions are decided in memory. Leases are acquired from one ledger by real processes, alone and
while all of them write usage. The experiment spends one budget until it is gone (see
`shared_budget`); then again with two of the processes killed on the way, early, so that what they
had leased is back before the rest is spent, and late, so that it is not. The last section does the
same with real completions from a provider on loopback (see `sandbox_budget`). Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import chain
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from shared_budget import Outcome, Plan, spend_a_budget

from livekit_plugins_voicegateway.admission import Admission
from livekit_plugins_voicegateway.budgets import Budget, Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import Budgets
from livekit_plugins_voicegateway.ledger.base import Grant
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, UsageRow
from livekit_plugins_voicegateway.projects import Project

PROJECT = Project("prod", daily_budget=Decimal(1_000_000), budget_action="block")
DAYS = Days(ZoneInfo("UTC"))
REQUEST = 150_000  # nano-dollars
LIFE = 30.0
ROWS = 20
ROWS_EVERY = 0.2
"""A busy worker's recorder writes five times a second."""


class Size(NamedTuple):
    """How much is measured."""

    admissions: int
    rounds: int
    lease_seconds: float
    dollars: float
    kills: tuple[float | None, ...]
    completions: int
    callers: tuple[int, int]


FULL = Size(
    admissions=20_000,
    rounds=25,
    lease_seconds=5.0,
    dollars=6.00,
    kills=(None, 0.25, 0.85),
    completions=12_000,
    callers=(8, 50),
)
QUICK = Size(
    admissions=1_000,
    rounds=3,
    lease_seconds=0.5,
    dollars=0.10,
    kills=(None, 0.5),
    completions=2_000,
    callers=(8, 4),
)


KILLS_IN_SANDBOX = (None, 0.5)


@dataclass(frozen=True)
class Admissions:
    """Admissions on one thread.

    Attributes:
        what: What was measured.
        per_second: In a second of processor time, by the quieter rounds.
        microseconds: Of processor time for one.
    """

    what: str
    per_second: float
    microseconds: float


@dataclass(frozen=True)
class Leases:
    """Leases from one ledger; latencies in milliseconds.

    Attributes:
        what: Who asked for them, and what else happened.
        per_second: Leases of all processes together.
        median_ms: Until the answer.
        p99_ms: 99th percentile.
        max_ms: The longest.
    """

    what: str
    per_second: float
    median_ms: float
    p99_ms: float
    max_ms: float


def measure_admissions(size: Size) -> list[Admissions]:
    """Admit and release against a slice that is large enough."""
    budget = Budget(PROJECT, DAYS, clock=time.time, wake=lambda: None)
    _fill(budget)

    def admit_and_release() -> None:
        hold = budget.admit(REQUEST)
        assert isinstance(hold, Hold)
        hold.release()

    hold = budget.untaken()

    def extend() -> None:
        hold.extend(REQUEST)
        hold.release()

    return [
        _timed("Budget.admit", lambda: budget.admit(REQUEST), size),
        _timed("Budget.admit and release", admit_and_release, size),
        _timed("Hold.extend and release", extend, size),
        _admission_of_a_request(size),
    ]


def _admission_of_a_request(size: Size) -> Admissions:
    budgets = Budgets(DAYS, "benchmark")
    budget = budgets.of(PROJECT)
    assert budget is not None
    _fill(budget)
    admission = Admission(budgets, "throttle")

    async def measure() -> list[float]:
        rounds = []
        for _ in range(size.rounds):
            began = time.process_time()
            for _ in range(size.admissions):
                verdict = await admission.decide(PROJECT, REQUEST)
                assert verdict.hold is not None
                verdict.hold.release()
            rounds.append(time.process_time() - began)
        return rounds

    seconds = _of_quieter_rounds(asyncio.run(measure())) / size.admissions
    return Admissions("Admission.decide and release", 1 / seconds, seconds * 1e6)


def _fill(budget: Budget) -> None:
    budget.granted_by(
        Grant(10**9 * REQUEST, 0, 10**9 * REQUEST),
        day=budget.day,
        asked_for=0,
        expires_at=time.time() + 3600,
    )


def _timed(what: str, act: Callable[[], object], size: Size) -> Admissions:
    rounds = []
    for _ in range(size.rounds):
        began = time.process_time()
        for _ in range(size.admissions):
            act()
        rounds.append(time.process_time() - began)
    seconds = _of_quieter_rounds(rounds) / size.admissions
    return Admissions(what, 1 / seconds, seconds * 1e6)


def _of_quieter_rounds(seconds: list[float]) -> float:
    """The first quartile: processor time too is more while others use the same caches."""
    return statistics.quantiles(seconds, n=4)[0]


def measure_leases(size: Size) -> list[Leases]:
    """Acquire leases from real processes."""
    seconds = size.lease_seconds
    return [
        _leases("1 process, one after the other", seconds, processes=1),
        _leases("8 processes, one after the other", seconds, processes=8),
        _leases("8 processes, each 10 a second", seconds, processes=8, every=0.1),
        _leases(
            f"the same, while each writes {ROWS / ROWS_EVERY:g} rows a second",
            seconds,
            processes=8,
            every=0.1,
            writing=True,
        ),
    ]


def _leases(
    what: str, seconds: float, *, processes: int, every: float = 0.0, writing: bool = False
) -> Leases:
    context = multiprocessing.get_context("fork")
    results: Queue[list[float]] = context.Queue()

    def work(path: Path) -> None:
        results.put(asyncio.run(_lease(path, seconds, every, writing)))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voicegw.db"
        started = [context.Process(target=work, args=(path,)) for _ in range(processes)]
        for process in started:
            process.start()
        waited = sorted(chain.from_iterable(results.get() for _ in started))
        for process in started:
            process.join()
    quantiles = statistics.quantiles(waited, n=100)
    return Leases(
        what,
        len(waited) / seconds,
        quantiles[49] * 1000,
        quantiles[98] * 1000,
        waited[-1] * 1000,
    )


async def _lease(path: Path, seconds: float, every: float, writing: bool) -> list[float]:
    """Ask for leases for a while; the seconds that each took."""
    owner = uuid7()
    waited = []
    async with SqliteLedger(path, busy_timeout=60) as ledger:
        writer = asyncio.create_task(_write(ledger, owner)) if writing else None
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            grant = await ledger.acquire_lease(
                PROJECT.id,
                DAYS.day_of(time.time()),
                owner,
                budget_nanos=1_000_000 * NANOS_PER_DOLLAR,
                need_nanos=REQUEST,
                want_nanos=REQUEST,
                share=16,
                expires_at=time.time() + LIFE,
            )
            assert grant.granted_nanos == REQUEST
            waited.append(time.perf_counter() - began)
            await asyncio.sleep(every)
        if writer is not None:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
    return waited


async def _write(ledger: SqliteLedger, owner: str) -> None:
    while True:
        await ledger.write([_row(owner) for _ in range(ROWS)])
        await asyncio.sleep(ROWS_EVERY)


def _row(owner: str) -> UsageRow:
    now = time.time()
    return UsageRow(
        id=uuid7(),
        request_id=uuid7(),
        started_at=now,
        ended_at=now,
        day=DAYS.day_of(now),
        project=PROJECT.id,
        modality="llm",
        provider="openai",
        model="gpt-4.1-mini",
        requested_model="openai/gpt-4.1-mini",
        status="completed",
        cost_nanos=1_000,
        owner=owner,
    )


def measure_experiment(size: Size) -> list[Outcome]:
    """Spend a budget with nobody killed, and with two processes killed."""
    outcomes = []
    for share in size.kills:
        plan = Plan(size.dollars)
        if share is not None:
            plan = plan._replace(killed=2, killed_at=share)
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(spend_a_budget(plan, Path(folder)))
    return outcomes


def measure_sandbox(size: Size) -> list[Outcome]:
    """The same with real completions."""
    # here: it imports the OpenAI plugin, which takes a second
    from sandbox_budget import SandboxPlan, spend_in_sandbox

    outcomes = []
    for share in KILLS_IN_SANDBOX:
        plan = SandboxPlan(size.completions, *size.callers, wait_for_leases=size is FULL)
        if share is not None:
            plan = plan._replace(killed=2, killed_at=share)
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(spend_in_sandbox(plan, Path(folder)))
    return outcomes


Figures = list[Admissions] | list[Leases] | list[Outcome]

SECTIONS: dict[str, Callable[[Size], Figures]] = {
    "admissions": measure_admissions,
    "leases": measure_leases,
    "experiment": measure_experiment,
    "sandbox": measure_sandbox,
}


OUTCOMES = [
    "| processes | requests | budget | spent | in the ledger | used at the first refusal "
    "| with what then ran | overspent | may overspend | unanswered |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
]


def table(section: str, figures: Figures) -> str:
    """Markdown, ready for docs/budgets.md."""
    heads = {
        "admissions": ["| what | per second | microseconds |", "|---|---:|---:|"],
        "leases": [
            "| leases | per second | median | 99th percentile | longest |",
            "|---|---:|---:|---:|---:|",
        ],
    }
    lines = list(heads.get(section, OUTCOMES))
    for figure in figures:
        if isinstance(figure, Admissions):
            lines.append(
                f"| {figure.what} | {figure.per_second:,.0f} | {figure.microseconds:.2f} |"
            )
        elif isinstance(figure, Leases):
            lines.append(
                f"| {figure.what} | {figure.per_second:,.0f} | {figure.median_ms:.2f} ms "
                f"| {figure.p99_ms:.1f} ms | {figure.max_ms:.1f} ms |"
            )
        else:
            who = f"{figure.processes} with {figure.requests_at_once} requests at once each"
            if figure.killed:
                who += f", {figure.killed} of them killed at {figure.killed_at:.0%}"
            lines.append(
                f"| {who} | {figure.requests:,} | ${figure.budget:.2f} | ${figure.spent:.4f} "
                f"| ${figure.recorded:.4f} | {figure.used_at_first_refusal:.1%} "
                f"| {figure.taken_at_first_refusal:.1%} | ${figure.overspend:.4f} "
                f"| ${figure.bound:.4f} | {figure.unanswered:,} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Parse the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="see that it runs; says little")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="may be repeated")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    before = os.getloadavg()[0]
    size = QUICK if options.quick else FULL
    found = {name: SECTIONS[name](size) for name in options.only or SECTIONS}
    if options.json:
        print(
            json.dumps(
                {name: [asdict(figure) for figure in figures] for name, figures in found.items()},
                indent=1,
            )
        )
    else:
        print("\n\n".join(table(name, figures) for name, figures in found.items()))
        print(f"\n{os.cpu_count()} processors, load {before:.1f} before and", end=" ")
        print(f"{os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
