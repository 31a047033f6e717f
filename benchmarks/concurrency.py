"""How many turns a process gets done with many calls at once, with the gateway and without it.

    python benchmarks/concurrency.py [--calls N …] [--every S] [--seconds S] [--rounds N]
                                     [--quick] [--json]

Each call hears audio in real time and asks for one completion and synthesis after the other, as
fast as they come, which is far more than a caller asks for: so that the processor is what limits
them. With ``--every 5`` a turn begins about five seconds after the last one has ended. The
providers are the sandbox, in processes of their own. Direct and gateway take turns. What a process
does once, while its first calls begin, is not measured. Prints Markdown: medians of the rounds, and
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from crowd.calls import Report
from crowd.run import config_for, hold, percentile, provider

Side = Literal["direct", "gateway"]
SIDES: tuple[Side, ...] = ("direct", "gateway")


@dataclass(frozen=True, slots=True)
class Measured:
    """One process that has held its calls.

    Attributes:
        side: How.
        calls: How many at once.
        turns_per_second: Completions with their syntheses.
        first_token_ms: From asking to the first token, in milliseconds, at the median.
        lag_ms: How late the event loop was, in milliseconds, at the 99th percentile.
        processor_ms: Processor time of a turn, audio included, in milliseconds.
        loop_ms: Of that, the event loop's thread.
        memory_mb: At the end, in megabytes.
        errors: Turns that failed.
    """

    side: Side
    calls: int
    turns_per_second: float
    first_token_ms: float
    lag_ms: float
    processor_ms: float
    loop_ms: float
    memory_mb: float
    errors: int


async def measure(
    side: Side, calls: int, seconds: float, warm_up: float, every: float = 0.0
) -> Measured:
    """Hold calls in a process of its own, once."""
    with tempfile.TemporaryDirectory() as folder:
        async with provider() as urls:
            config = config_for(Path(folder), urls) if side == "gateway" else None
            [report] = await hold(
                urls,
                processes=1,
                calls=calls,
                seconds=seconds,
                every=every,
                warm_up=warm_up,
                config=config,
            )
    return _measured(side, calls, seconds, report)


def _measured(side: Side, calls: int, seconds: float, report: Report) -> Measured:
    return Measured(
        side,
        calls,
        turns_per_second=report.turns_in_time / seconds,
        first_token_ms=statistics.median(report.first_token_ms),
        lag_ms=percentile(report.lag_ms, 0.99),
        processor_ms=1000 * report.processor_seconds / max(1, report.turns_in_time),
        loop_ms=1000 * report.loop_seconds / max(1, report.turns_in_time),
        memory_mb=report.memory_mb[-1],
        errors=sum(report.errors.values()),
    )


def table(found: list[Measured]) -> str:
    """Medians of each number of calls, as Markdown."""
    lines = [
        "| calls at once | what | direct | gateway | ratio |",
        "|---:|---|---:|---:|---:|",
    ]
    for calls in sorted({one.calls for one in found}):
        for name, unit in (
            ("turns_per_second", "turns per second"),
            ("processor_ms", "processor time of a turn, ms"),
            ("loop_ms", "of that, the event loop's thread, ms"),
            ("first_token_ms", "first token, median, ms"),
            ("lag_ms", "lag of the event loop, 99th percentile, ms"),
            ("memory_mb", "memory, MB"),
        ):
            direct, gateway = (
                statistics.median(
                    getattr(one, name) for one in found if (one.calls, one.side) == (calls, side)
                )
                for side in SIDES
            )
            ratio = f"{gateway / direct:.3f}" if direct else "–"
            lines.append(f"| {calls} | {unit} | {direct:.1f} | {gateway:.1f} | {ratio} |")
    return "\n".join(lines)


async def _run(
    calls: list[int], seconds: float, warm_up: float, rounds: int, every: float
) -> list[Measured]:
    found = []
    for number in calls:
        for turn in range(rounds):
            for side in SIDES if turn % 2 == 0 else reversed(SIDES):
                found.append(await measure(side, number, seconds, warm_up, every))
    return found


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--every", type=float, default=0.0, help="seconds between two turns")
    parser.add_argument("--seconds", type=float, default=25.0, help="length of a round")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few calls, one short round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    calls, seconds, rounds = options.calls, options.seconds, options.rounds
    warm_up = options.warm_up
    if options.quick:
        calls, seconds, warm_up, rounds = [5], 5.0, 1.0, 1
    before = os.getloadavg()[0]
    found = asyncio.run(_run(calls, seconds, warm_up, rounds, options.every))
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    print(table(found))
    print(f"\nLoad of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after.")
    failed = sum(one.errors for one in found)
    if failed:
        print(f"{failed} turns failed.")


if __name__ == "__main__":
    main()
