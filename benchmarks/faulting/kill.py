"""The death of worker processes: what of live calls is lost with a job's process.

Jobs (`faulting.killed_jobs`) end in one way or another while each holds two calls, and the ledger
is compared with what the sandbox would bill for them.
"""

from __future__ import annotations

import random
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from livekit_plugins_voicegateway.ledger.base import TotalsCheck
from livekit_plugins_voicegateway.metering.usage import Modality

from .experiment import Experiment, Finding
from .killed_call import Death, Plan
from .killed_jobs import AT_ONCE, Outcome, hold_calls

__all__ = [
    "FAULTS",
    "OPTIONS",
    "SEED",
    "Fault",
    "Aftermath",
    "experiments",
    "random_deaths",
    "end_jobs",
]

SEED = 20261123
"""Of the random moments of death."""

UNITS: dict[Modality, str] = {"stt": "s of audio", "llm": "tokens", "tts": "characters"}

OPTIONS: Mapping[str, object] = {"job_memory_limit_mb": 450, "ping_timeout": 10.0}
"""Of a worker whose jobs take too much memory, or do not answer: LiveKit has no limit for the
first, and waits for 60 seconds for the second."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to die.

    Attributes:
        experiment: The experiment that it is a part of.
        text: What it is called in the table.
        death: What becomes of the jobs.
        tries: How many of them, in the long form.
        options: Of the worker.
        number: The signal that the worker gets, and that ends the jobs.
        locked: Whether another process locks the ledger meanwhile.
        note: What the table says of it.
    """

    experiment: str
    text: str
    death: Death
    tries: int
    options: Mapping[str, object] = field(default_factory=dict)
    number: signal.Signals | None = None
    locked: bool = False
    note: str = ""

    def plans(self, tries: int) -> list[Plan]:
        """Jobs that die of it, each after half a second to three of calls."""
        chance = random.Random(f"{SEED} {self.text}")
        return [Plan(number, self.death, chance.uniform(0.5, 3)) for number in range(tries)]


FAULTS = (
    Fault("kill-exit", "`os._exit` in a job", "exit", 12),
    Fault("kill-exit", "a crash in C code (SIGSEGV)", "crash", 12),
    Fault(
        "kill-locked",
        "SIGKILL while another process locks the ledger",
        "killed",
        24,
        locked=True,
        note="usage is in the outbox",
    ),
    Fault(
        "kill-memory",
        "out of memory: MemoryError wherever something is allocated, for half a second",
        "no-memory",
        6,
        OPTIONS,
        note="up to when there is none; what providers send afterwards nobody sees",
    ),
    Fault("kill-memory", "out of memory: killed at `job_memory_limit_mb`", "too-big", 6, OPTIONS),
    Fault(
        "kill-stuck",
        "an event loop that stands still, killed by LiveKit",
        "stuck-loop",
        6,
        OPTIONS,
        note="up to when it stands still; what providers send to it afterwards nobody sees",
    ),
    Fault(
        "kill-stuck",
        "the same with the interpreter's lock in hand",
        "stuck-process",
        6,
        OPTIONS,
        note="up to when it stands still; what providers send to it afterwards nobody sees",
    ),
    Fault("kill-shutdown", "SIGTERM of the worker", "living", 6, number=signal.SIGTERM),
    Fault(
        "kill-shutdown",
        "SIGTERM, and another shutdown callback outlasts the limit of 10 s",
        "slow-callback",
        6,
        number=signal.SIGTERM,
    ),
    Fault("kill-shutdown", "another shutdown callback raises", "bad-callback", 9),
    Fault("kill-shutdown", "SIGKILL of the worker", "living", 6, number=signal.SIGKILL),
)
"""All but the random moments of `random_deaths`."""


@dataclass(slots=True)
class Aftermath:
    """What is left of jobs that died.

    Attributes:
        outcomes: What became of each.
        checks: Whether totals were the sums of the requests, each time that the ledger was opened.
        leased: Nano-dollars that were still leased then.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    checks: list[TotalsCheck] = field(default_factory=list)
    leased: list[int] = field(default_factory=list)


def random_deaths(tries: int, *, seed: int = SEED) -> list[Plan]:
    """SIGKILL at random moments: of every five three at any time, one in the middle of the
    statement that writes rows, and one between a write's beginning and its end."""
    chance = random.Random(seed)
    deaths: tuple[Death, ...] = ("killed", "statement", "killed", "commit", "killed")
    return [
        Plan(number, deaths[number % len(deaths)], chance.uniform(0, 3)) for number in range(tries)
    ]


async def end_jobs(
    plans: Sequence[Plan],
    *,
    options: Mapping[str, object] | None = None,
    number: signal.Signals | None = None,
    locked: bool = False,
) -> Aftermath:
    """Let jobs die, a few at a time.

    Args:
        plans: What becomes of them.
        options: Of the worker.
        number: The signal that the worker gets while a few of them live; others get a new worker.
        locked: Whether another process locks the ledger while they live.
    """
    left = Aftermath()
    workers = range(0, len(plans), AT_ONCE if number is not None else len(plans))
    for first in workers:
        async with hold_calls(**(options or {})) as calls:
            for start in range(first, min(first + workers.step, len(plans)), AT_ONCE):
                left.outcomes += await calls.end(
                    plans[start : start + AT_ONCE], number=number, locked=locked
                )
            left.checks += calls.checks
            left.leased += calls.leased
    return left


def finding(
    text: str, outcomes: Sequence[Outcome], checks: Sequence[TotalsCheck], note: str = ""
) -> Finding:
    """A line of the table.

    Args:
        text: What the fault is called.
        outcomes: What became of jobs.
        checks: Whether totals are the sums of requests.
        note: What else is said.
    """
    seconds = [lost for outcome in outcomes for lost in outcome.seconds_lost()]
    lost = "nothing"
    if max(seconds, default=0.0) > 0:
        median = statistics.median(seconds)
        lost = f"{max(seconds):.2f} s of one stream at most ({median:.2f} s at the median)"
    twice = [stream for outcome in outcomes for stream in outcome.twice]
    wrong = [check for check in checks if check.mismatches]
    left_open = sum(row.status == "open" for outcome in outcomes for row in outcome.rows)
    notes = [note] if note else []
    for modality, unit in UNITS.items():
        most = max(
            (
                stream.lost
                for outcome in outcomes
                for stream in outcome.streams
                if stream.modality == modality
            ),
            default=0.0,
        )
        of_one = [lost for outcome in outcomes for lost in outcome.seconds_lost(modality)]
        if of_one:
            notes.append(
                f"{modality.upper()} {max(of_one):.2f} s ({statistics.median(of_one):.2f} s), "
                f"{most:.4g} {unit}"
            )
    streams = [stream for outcome in outcomes for stream in outcome.streams]
    half = {m: sum(s.answering for s in streams if s.modality == m) for m in ("llm", "tts")}
    notes.append(f"{half['llm']} answers and {half['tts']} syntheses were half done")
    notes.append(f"{sum(outcome.left_open for outcome in outcomes)} rows left open")
    notes.append(f"{left_open} open afterwards" if left_open else "all closed")
    if wrong:
        notes.append(f"totals wrong {len(wrong)} times")
    return Finding(
        text,
        len(outcomes),
        lost,
        f"{len(twice)} streams" if twice else "nothing",
        note="; ".join(notes),
    )


async def _run_kills(quick: bool) -> list[Finding]:
    print(f"the random moments come from seed {SEED}", file=sys.stderr)
    left = await end_jobs(random_deaths(6 if quick else 200))
    groups: dict[str, Death] = {
        "SIGKILL at a random moment of calls": "killed",
        "SIGKILL in the middle of the statement that writes rows": "statement",
        "SIGKILL between beginning and end of a write": "commit",
    }
    return [
        finding(
            text,
            [outcome for outcome in left.outcomes if outcome.plan.death == death],
            left.checks,
        )
        for text, death in groups.items()
    ]


async def _run(experiment: str, quick: bool) -> list[Finding]:
    findings = []
    for fault in FAULTS:
        if fault.experiment == experiment:
            left = await end_jobs(
                fault.plans(AT_ONCE if quick else fault.tries),
                options=fault.options,
                number=fault.number,
                locked=fault.locked,
            )
            findings.append(finding(fault.text, left.outcomes, left.checks, fault.note))
    return findings


def experiments() -> list[Experiment]:
    """What `benchmarks/faults.py` runs."""
    others = dict.fromkeys(fault.experiment for fault in FAULTS)
    return [
        Experiment("kill", _run_kills),
        *(Experiment(name, partial(_run, name)) for name in others),
    ]
