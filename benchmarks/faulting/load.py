"""Many calls at once: in one process, and in many processes that write one ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from crowd.calls import Report
from crowd.run import Sums, bill, config_for, hold, ledger_sums, percentile, provider

from livekit_plugins_voicegateway.ledger import make_ledger

from .experiment import Experiment, Finding

__all__ = ["Load", "Plan", "bear", "experiments"]


class Plan(NamedTuple):
    """How much is borne.

    Attributes:
        processes: Workers.
        calls: Calls at once in each.
        seconds: How long.
        every: Seconds between two turns of a call.
    """

    processes: int
    calls: int
    seconds: float
    every: float


ONE_PROCESS = Plan(processes=1, calls=200, seconds=600, every=15)
ONE_FILE = Plan(processes=16, calls=5, seconds=600, every=10)
QUICK = (Plan(1, 10, 8, 2), Plan(3, 2, 8, 2))


class Load(NamedTuple):
    """What came of it.

    Attributes:
        plan: What was borne.
        direct: What the processes report that use the plugins directly; none if not asked for.
        gateway: What those report that go through the gateway.
        billed: What the providers would bill for the latter.
        recorded: What the ledger has.
        still_open: Rows that are still open.
        mismatches: Lines of totals that are not the sum of their requests.
    """

    plan: Plan
    direct: list[Report]
    gateway: list[Report]
    billed: Sums
    recorded: Sums
    still_open: int
    mismatches: int


async def bear(plan: Plan, *, compare: bool) -> Load:
    """Hold the calls through the gateway, and before that without it, if ``compare``."""
    direct: list[Report] = []
    if compare:
        async with provider() as urls:
            direct = await hold(urls, **plan._asdict())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with provider() as urls:
            config = config_for(folder, urls)
            gateway = await hold(urls, **plan._asdict(), config=config)
            billed = bill(urls)
        recorded, still_open = ledger_sums(folder)
        async with make_ledger(f"sqlite:///{folder}/voicegw.db", read_only=True) as ledger:
            mismatches = len((await ledger.check_totals()).mismatches)
    return Load(plan, direct, gateway, billed, recorded, still_open, mismatches)


def finding(load: Load) -> Finding:
    """The line of the table."""
    plan = load.plan
    processes = f" in each of {plan.processes} processes on one file" if plan.processes > 1 else ""
    differences = {
        name: recorded - billed
        for name, billed, recorded in zip(
            Sums.__dataclass_fields__, astuple(load.billed), astuple(load.recorded), strict=True
        )
        if name != "streams"  # a connection that is made again is the same stream
    }
    less = [f"{-by:g} {name}" for name, by in differences.items() if by < 0]
    more = [f"{by:g} {name}" for name, by in differences.items() if by > 0]
    lags = [lag for report in load.gateway for lag in report.lag_ms]
    before = [lag for report in load.direct for lag in report.lag_ms]
    notes = [
        f"{load.recorded.completions} completions, {load.recorded.audio_seconds:.0f} s of audio",
        f"the event loop is late by {_lag(lags)}"
        + (f", without us {_lag(before)}" if before else ""),
        f"memory {_growth(load.gateway)}"
        + (f", without us {_growth(load.direct)}" if before else ""),
    ]
    if load.mismatches or load.still_open:
        notes.append(f"{load.mismatches} wrong totals, {load.still_open} rows open")
    return Finding(
        fault=f"{plan.calls} calls at once{processes}, {plan.seconds / 60:g} minutes",
        tries=1,
        lost=", ".join(less) or "nothing",
        twice=", ".join(more) or "nothing",
        added_ms=percentile(lags, 0.99) - percentile(before, 0.99) if before else None,
        note="; ".join(notes),
    )


def _lag(lags: Sequence[float]) -> str:
    return f"{percentile(lags, 0.5):.1f} ms (median), {percentile(lags, 0.99):.0f} ms (99 %)"


def _growth(reports: Sequence[Report]) -> str:
    # its second half: at first all connections are made
    grown = [
        report.memory_mb[-1] - report.memory_mb[len(report.memory_mb) // 2] for report in reports
    ]
    return f"{reports[0].memory_mb[-1]:.0f} MB, {max(grown):+.1f} MB in the second half"


async def _one_process(quick: bool) -> list[Finding]:
    return [finding(await bear(QUICK[0] if quick else ONE_PROCESS, compare=True))]


async def _one_file(quick: bool) -> list[Finding]:
    return [finding(await bear(QUICK[1] if quick else ONE_FILE, compare=False))]


def experiments() -> list[Experiment]:
    """Both."""
    return [Experiment("load", _one_process), Experiment("load-processes", _one_file)]
