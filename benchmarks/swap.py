"""What a caller notices when a budget is spent, or raised, while they speak; and what it costs.

    python benchmarks/swap.py [--quick] [--json] [--only calls|switches]

Real AgentSessions hear recorded speech in real time. The cloud is the sandbox; whisper, Kokoro and
a small language model are real ones, from `python examples/models/setup_models.py`. In each call
the models change there and back; a turn is compared with one of the same call and recording in
which nothing changes. Switches are measured by themselves, in processor time of the event loop.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from swapping.calls import CHANGES, CLIPS, TURNS, Call, Said, TurnName, hold_calls
from swapping.stage import differences, set_stage, words
from swapping.switch import Switch, measure_switches

from livekit_plugins_voicegateway.demo.local_models import LocalModels, find_local_models

MODELS = Path(__file__).resolve().parents[1] / ".models"
BOUND_MS = 5.0


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        clips: The recordings.
        tries: Calls with each recording.
        turns: The turns of a call.
        pace: Seconds of audio per second in calls; their times say little at another pace than 1.
        backlogs: Sample rates of the caller's audio, and seconds of it to be heard again.
        rounds: Switches of each kind.
    """

    clips: tuple[str, ...]
    tries: int
    turns: tuple[TurnName, ...]
    pace: float
    backlogs: tuple[tuple[int, int], ...]
    rounds: int


FULL = Size(
    clips=CLIPS,
    tries=1,
    turns=TURNS,
    pace=1.0,
    backlogs=((16_000, 2), (24_000, 2), (24_000, 20), (48_000, 20)),
    rounds=10,
)
QUICK = Size(
    clips=("go-forward.wav",),
    tries=1,
    turns=("spent", "local"),
    pace=4.0,
    backlogs=((24_000, 2),),
    rounds=1,
)


def table_of_calls(calls: Sequence[Call]) -> str:
    """A line for each change."""
    lines = [
        "| the budget is … | utterances | STT moved in | words | wrong | whisper alone, wrong "
        "| heard otherwise than by whisper alone | last word to first audio "
        "| without the change | added |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for change in CHANGES:
        if change.turn not in calls[0]:
            continue
        turns = [call[change.turn] for call in calls]
        alone = [call["local"] for call in calls]
        without = [call[change.without] for call in calls]
        otherwise = sum(
            differences(words(turn.text), words(other.text))
            for turn, other in zip(turns, alone, strict=True)
        )
        added = [
            turn.answered_after - other.answered_after
            for turn, other in zip(turns, without, strict=True)
        ]
        lines.append(
            f"| {change.name} | {len(turns)} | {moved(turns)} | {sum(t.words for t in turns)} "
            f"| {share_wrong(turns)} | {share_wrong(alone)} | {otherwise} "
            f"| {median_answer(turns)} | {change.without}: {median_answer(without)} "
            f"| {statistics.median(added):+.2f} s |"
        )
    return "\n".join(lines)


def moved(turns: Sequence[Said]) -> str:
    """When STT changed over, in seconds of the utterance."""
    at = [turn.moved_at for turn in turns if turn.moved_at is not None]
    if not at:
        return "in none"
    return f"{len(at)} of {len(turns)}, {min(at):.1f}-{max(at):.1f} s after the first word"


def share_wrong(turns: Sequence[Said]) -> str:
    """Word error rate."""
    wrong, said = sum(turn.wrong for turn in turns), sum(turn.words for turn in turns)
    return f"{wrong} ({wrong / said:.1%})"


def median_answer(turns: Sequence[Said]) -> str:
    """From the last word to the first audio, by the median turn."""
    return f"{statistics.median(turn.answered_after for turn in turns):.2f} s"


def table_of_switches(switches: Sequence[Switch]) -> str:
    """A line for each kind of switch."""
    lines = [
        "| what changes over | the call, median | longest | longest turn of the loop after it, "
        f"median | longest | before it, longest | may cost {BOUND_MS:g} ms, met |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for switch in switches:
        met = max(statistics.median(switch.call_ms), statistics.median(switch.turn_ms)) <= BOUND_MS
        lines.append(
            f"| {switch.name} | {statistics.median(switch.call_ms):.2f} ms "
            f"| {max(switch.call_ms):.2f} ms | {statistics.median(switch.turn_ms):.2f} ms "
            f"| {max(switch.turn_ms):.2f} ms | {max(switch.before_ms):.2f} ms "
            f"| {'yes' if met else '**no**'} |"
        )
    return "\n".join(lines)


async def run(models: LocalModels, size: Size, only: str | None) -> tuple[list[Call], list[Switch]]:
    """Measure what was asked for."""
    async with set_stage(models) as stage:
        switches: list[Switch] = []
        calls: list[Call] = []
        if only != "calls":
            switches = await measure_switches(stage, size.backlogs, size.rounds)
        if only != "switches":
            calls = await hold_calls(
                stage, size.clips, size.tries, turns=size.turns, pace=size.pace
            )
    return calls, switches


def main() -> int:
    """Parse the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="see that it runs; says little")
    parser.add_argument("--json", action="store_true", help="print every turn and switch as JSON")
    parser.add_argument("--only", choices=["calls", "switches"])
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    models = find_local_models(MODELS)
    if models.weights is None:
        parser.exit(
            1, "\n".join(models.left_out) + "\nrun `python examples/models/setup_models.py`\n"
        )
    before = os.getloadavg()[0]
    size = QUICK if options.quick else FULL
    calls, switches = asyncio.run(run(models, size, options.only))
    if options.json:
        plain = [{name: asdict(said) for name, said in call.items()} for call in calls]
        print(json.dumps({"calls": plain, "switches": [asdict(s) for s in switches]}, indent=1))
        return 0
    if switches:
        print(table_of_switches(switches), end="\n\n")
    if calls:
        print(table_of_calls(calls), end="\n\n")
    print(f"{os.cpu_count()} processors, load {before:.1f} before", end=" ")
    print(f"and {os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
