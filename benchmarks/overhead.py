"""What the gateway costs a call, beside the plugin used directly and LiveKit's FallbackAdapter.

    python benchmarks/overhead.py [--quick] [--json] [--only lag]

All sides are measured in one run and take turns, so that whatever else the machine does falls on
all of them. "Direct again" is the plugin used directly a second time: by what it differs from
"direct", this run is imprecise. Prints a Markdown table, with what each may cost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from livekit.agents.testing import fake_job_context
from livekit.agents.utils import http_context
from side_by_side.loop_time import event_time, request_time, row_time, transcription
from side_by_side.sides import (
    ADAPTER,
    AGAIN,
    DIRECT,
    GATEWAY,
    Side,
    SyntheticGateway,
    in_turns,
    real_sides,
    sandbox,
    set_up,
    synthetic_sides,
)
from side_by_side.waiting import Quantiles, latencies, loop_lag

from livekit_plugins_voicegateway.metering.usage import Modality

SIDES = (DIRECT, AGAIN, ADAPTER, GATEWAY)
MODALITIES: tuple[Modality, ...] = ("stt", "llm", "tts")
EVENTS = {"stt": "an STT frame", "llm": "an LLM chunk", "tts": "a TTS frame"}
REQUESTS = {"stt": "an STT stream", "llm": "a completion", "tts": "a synthesis"}
RESULTS = {"stt": "final transcript", "llm": "first token", "tts": "first audio"}

IMPORT = """
import time
began = time.process_time()
import livekit.agents
from livekit.plugins import cartesia, deepgram, openai, silero
there = time.process_time()
import voicegateway.inference
print(there - began, time.process_time() - began)
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        unit: Of the values.
        values: By side.
        bound: What it may cost; empty where nothing is promised.
        met: Whether it costs no more; None without a bound.
    """

    what: str
    unit: str
    values: dict[str, float]
    bound: str = ""
    met: bool | None = None


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: Turns of each side, where only the loop's own time is counted.
        events: Frames or chunks in a turn.
        requests: Requests in a turn.
        rows: Usage rows in a turn.
        latency_rounds: Turns of each side for latencies.
        lag_rounds: Turns of each side with many calls.
        calls: Calls at once.
        seconds: Length of a turn with calls.
        imports: Processes that import, after a first one.
    """

    rounds: int
    events: int
    requests: int
    rows: int
    latency_rounds: int
    lag_rounds: int
    calls: int
    seconds: float
    imports: int


FULL = Plan(
    rounds=30,
    events=1000,
    requests=100,
    rows=50,
    latency_rounds=20,
    lag_rounds=9,
    calls=100,
    seconds=2.0,
    imports=9,
)
QUICK = Plan(
    rounds=2,
    events=50,
    requests=5,
    rows=10,
    latency_rounds=1,
    lag_rounds=1,
    calls=5,
    seconds=0.2,
    imports=0,
)

ROW_BOUND = 20.0
"""Microseconds of the loop for each usage row."""

WAIT_BOUND = 1.0
"""Milliseconds that one waits longer, at the 99th percentile."""

IMPORT_BOUND = 1.05
"""Of the time that the imports of a worker take anyway."""


class Bench(NamedTuple):
    """What the sections measure with.

    Attributes:
        plan: How much is measured.
        gateway: The gateway of this process.
        urls: Of the sandbox.
    """

    plan: Plan
    gateway: SyntheticGateway
    urls: dict[str, str]


async def measure_events(bench: Bench) -> list[Figure]:
    """Loop time of one frame or chunk."""
    figures = []
    for modality in MODALITIES:
        sides = synthetic_sides(modality, bench.gateway.baton)
        values = await medians(
            sides, bench.plan.rounds, partial(event_time, modality, events=bench.plan.events)
        )
        met = values[GATEWAY] < values[ADAPTER]
        what = f"{EVENTS[modality]}, loop time"
        figures.append(Figure(what, "µs", values, "adds less than FallbackAdapter", met))
    return figures


async def measure_requests(bench: Bench) -> list[Figure]:
    """Loop time of a whole request with one event in it."""
    figures = []
    for modality in MODALITIES:
        sides = synthetic_sides(modality, bench.gateway.baton)
        values = await medians(
            sides, bench.plan.rounds, partial(request_time, modality, requests=bench.plan.requests)
        )
        what = f"{REQUESTS[modality]} opened and closed, loop time"
        figures.append(Figure(what, "µs", values))
    return figures


async def measure_rows(bench: Bench) -> list[Figure]:
    """Loop time of a usage row, in a process that has a call, as all have that write rows."""
    figures = []
    call = synthetic_sides("stt", bench.gateway.baton)[-1]
    async with transcription(call.model):
        for modality in MODALITIES:
            side = synthetic_sides(modality, bench.gateway.baton)[-1]
            values = await medians(
                [side],
                bench.plan.rounds,
                partial(row_time, modality, gateway=bench.gateway, rows=bench.plan.rows),
            )
            bound, met = f"{ROW_BOUND:g} µs", values[GATEWAY] <= ROW_BOUND
            what = f"a usage row of {REQUESTS[modality]}, loop time"
            figures.append(Figure(what, "µs", values, bound, met))
    return figures


async def measure_latencies(bench: Bench) -> list[Figure]:
    """How long one waits for the first result of the real plugins."""
    figures = []
    for modality in MODALITIES:
        sides = real_sides(modality, bench.urls)
        found = await latencies(modality, sides, bench.plan.latency_rounds, bench.plan.requests)
        figures += waiting_figures(RESULTS[modality], found, WAIT_BOUND)
        for side in sides:
            await side.aclose()
    return figures


async def measure_lag(bench: Bench) -> list[Figure]:
    """How late the loop is while many calls run."""
    baton = bench.gateway.baton
    by_modality = {modality: synthetic_sides(modality, baton) for modality in MODALITIES}
    calls = [
        {modality: by_modality[modality][index] for modality in MODALITIES}
        for index in range(len(SIDES))
    ]
    plan = bench.plan
    found = await loop_lag(calls, plan.lag_rounds, plan.seconds, plan.calls)
    return waiting_figures(f"lag of the loop with {plan.calls} calls", found)


async def measure_import(bench: Bench) -> list[Figure]:
    """Processor time of importing the drop-in after what a worker imports anyway."""
    with_it, without = [], []
    for _ in range(bench.plan.imports + 1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", IMPORT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        there, all_of_it = map(float, output.split())
        without.append(there * 1e3)
        with_it.append(all_of_it * 1e3)
    if bench.plan.imports:  # the first one may have compiled
        del without[0], with_it[0]
    values = {DIRECT: statistics.median(without), GATEWAY: statistics.median(with_it)}
    met = values[GATEWAY] <= IMPORT_BOUND * values[DIRECT]
    what = "import after a worker's other imports, processor time"
    return [Figure(what, "ms", values, "+5 %", met)]


SECTIONS: dict[str, Callable[[Bench], Awaitable[list[Figure]]]] = {
    "events": measure_events,
    "latencies": measure_latencies,
    "import": measure_import,
    "rows": measure_rows,
    "requests": measure_requests,
    "lag": measure_lag,
}


async def medians(
    sides: Sequence[Side], rounds: int, measure: Callable[[Side], Awaitable[float]]
) -> dict[str, float]:
    """Measure each side ``rounds`` times, the sides taking turns; the medians by side."""
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for side in in_turns(sides, rounds):
        found[side.name].append(await measure(side))
    for side in sides:
        await side.aclose()
    return {name: statistics.median(values) for name, values in found.items()}


def waiting_figures(what: str, found: Quantiles, bound: float | None = None) -> list[Figure]:
    """Two lines: the median, and the 99th percentile with its bound."""
    typical = {name: quantiles[0] for name, quantiles in found.items()}
    slow = {name: quantiles[1] for name, quantiles in found.items()}
    late = Figure(f"{what}, 99th percentile", "ms", slow)
    if bound is not None:
        met = slow[GATEWAY] - max(slow[DIRECT], slow[AGAIN]) <= bound
        late = replace(late, bound=f"+{bound:g} ms", met=met)
    return [Figure(f"{what}, median", "ms", typical), late]


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


async def run(plan: Plan, sections: Sequence[str]) -> list[Figure]:
    """Measure what was asked for."""
    utterances = len(SIDES) * (plan.latency_rounds * plan.requests + 3)
    figures: list[Figure] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        sandbox(utterances) as urls,
        set_up(Path(folder), urls) as gateway,
        fake_job_context(),
    ):
        async with http_context.open():
            # as a worker's forkserver does before it forks a job
            gc.collect()
            gc.freeze()
            for section in sections:
                figures += await SECTIONS[section](Bench(plan, gateway, urls))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """Markdown, ready for docs/performance.md."""
    lines = [
        f"| what | {' | '.join(SIDES)} | gateway adds | ratio | may cost | met |",
        "|---|" + "---:|" * (len(SIDES) + 2) + "---|---|",
    ]
    for figure in figures:
        values, unit = figure.values, figure.unit
        cells = [f"{number(values[side])} {unit}" if side in values else "" for side in SIDES]
        adds = ratio = ""
        if DIRECT in values:
            adds = f"{number(values[GATEWAY] - values[DIRECT])} {unit}"
            ratio = f"{values[GATEWAY] / values[DIRECT]:.3g}"
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        lines.append(
            "| " + " | ".join([figure.what, *cells, adds, ratio, figure.bound, met]) + " |"
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
    figures = asyncio.run(run(QUICK if options.quick else FULL, options.only or list(SECTIONS)))
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=1, ensure_ascii=False))
    else:
        print(table(figures))
        print(f"\n{os.cpu_count()} processors, load {before:.1f} before and", end=" ")
        print(f"{os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
