"""An experiment: several processes with many requests at once spend one budget until it is gone.

Every process has a gateway of its own, with its budgets, its recorder and its connection to the
ledger; requests are admitted, metered, priced and settled as a call's are. Only the provider is
left out: a request sleeps for a random time, while its answer grows to a random length. What was
really spent is written to a file by each process as it happens, for the reckoning afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from livekit_plugins_voicegateway import signals  # noqa: F401  what a refusal is made of: 2 s
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.leases import LEASE_SECONDS
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.meter import Meter, Request
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, Quantities
from livekit_plugins_voicegateway.overspend import LONGEST_ANSWER
from livekit_plugins_voicegateway.projects import Project

__all__ = ["Outcome", "Plan", "recorded_in", "spend_a_budget"]

NANOS_PER_TOKEN = 1_000
EXPECTED_TOKENS = 150
SPREAD = 0.5
"""Standard deviation of the logarithm of an answer's length: one in six is longer than 1.6 times
the middle one."""

QUIET_SECONDS = 3.0
"""Nothing more is spent after this time without spending."""

CONFIGURATION = """
database: {{url: 'sqlite:///{folder}/voicegw.db'}}
projects:
  prod:
    daily_budget: {dollars}
    budget_action: block
    fallback: none
    pricing: {{openai/gpt-4.1-mini: {{input: 0, output: 1.00, per: 1000000}}}}
"""


class Plan(NamedTuple):
    """What is played.

    Attributes:
        dollars: The budget.
        processes: How many share it.
        requests: Requests at once in each of them.
        seconds: Length of a request, from and to.
        killed: How many of the processes are killed when ``killed_at`` of the budget is spent.
        killed_at: Share of the budget.
    """

    dollars: float
    processes: int = 8
    requests: int = 50
    seconds: tuple[float, float] = (0.3, 0.7)
    killed: int = 0
    killed_at: float = 0.5

    @property
    def budget_nanos(self) -> int:
        """The budget in nano-dollars."""
        return round(self.dollars * NANOS_PER_DOLLAR)

    @property
    def bound_nanos(self) -> int:
        """The worst overspend by the formula that ``voicegw check`` prints: all requests at once
        are as long as they can be."""
        return self.processes * self.requests * LONGEST_ANSWER * NANOS_PER_TOKEN


@dataclass(frozen=True)
class Outcome:
    """How it went; amounts in dollars.

    Attributes:
        processes: How many spent.
        requests_at_once: Requests at once in each of them.
        killed: How many of them were killed.
        killed_at: Share of the budget that was spent then.
        requests: Requests that were admitted.
        seconds: Until the budget was gone.
        budget: The budget.
        spent: What all processes really spent, also what they could not record any more.
        recorded: What the ledger has.
        used_at_first_refusal: Share of the budget that was spent when a request was refused first.
        taken_at_first_refusal: The same with what the requests that ran then went on to spend.
        overspend: What was spent beyond the budget.
        bound: The most that it may be.
        unanswered: Requests refused while there was money: the ledger took longer than 50 ms.
    """

    processes: int
    requests_at_once: int
    killed: int
    killed_at: float
    requests: int
    seconds: float
    budget: float
    spent: float
    recorded: float
    used_at_first_refusal: float
    taken_at_first_refusal: float
    overspend: float
    bound: float
    unanswered: int


class Answer(Meter):
    """An answer that grows evenly to its length.

    Args:
        request: What it is recorded as.
        tokens: How long it gets.
        seconds: How long it takes.
    """

    __slots__ = ("seconds", "tokens")

    def __init__(self, request: Request, tokens: int, seconds: float) -> None:
        super().__init__(request)
        self.tokens = tokens
        self.seconds = seconds

    def measure(self) -> tuple[Quantities, bool]:
        share = 1.0 if self.status != "open" else min(1.0, self.age_ms / 1000 / self.seconds)
        return Quantities(output_tokens=round(self.tokens * share)), False


class Admitted(NamedTuple):
    """A request of a process's log."""

    at: float
    seconds: float
    tokens: int

    def spent_until(self, moment: float) -> float:
        """Nano-dollars that it has cost at a Unix time."""
        share = (moment - self.at) / self.seconds
        return self.tokens * NANOS_PER_TOKEN * min(1.0, max(0.0, share))


class Worker:
    """One process: its gateway, and many requests at once until it is told to stop.

    Args:
        folder: Where the configuration lies.
        log: Where it writes what it really does.
        plan: What is played.
    """

    def __init__(self, folder: Path, log: Path, plan: Plan) -> None:
        self._gateway = Gateway(load_config(folder / "voicegw.yaml", env={}), env={})
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._plan = plan
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        project = self._gateway.project("prod")
        await self._first_slice(project)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._plan.requests):
                tasks.create_task(self._one_after_the_other(project))
        self._gateway.close(timeout=30)

    async def _first_slice(self, project: Project) -> None:
        """Ask for it, as making the first model object does, long before the first request."""
        budget = self._gateway.budgets.of(project)
        assert budget is not None
        loop, answered = asyncio.get_running_loop(), asyncio.Event()
        budget.on_answer(lambda: loop.call_soon_threadsafe(answered.set))
        await answered.wait()

    async def _one_after_the_other(self, project: Project) -> None:
        while not self._stopped.is_set():
            verdict = await self._gateway.admission.decide(
                project, EXPECTED_TOKENS * NANOS_PER_TOKEN
            )
            if verdict.refused is not None:
                answered = "not answer" not in str(verdict.refused)
                self._note(f"{'refused' if answered else 'unanswered'} {time.time()}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), random.uniform(0.2, 0.6))
                continue
            tokens = min(LONGEST_ANSWER, round(EXPECTED_TOKENS * _around_one()))
            seconds = random.uniform(*self._plan.seconds)
            answer = Answer(_request(), tokens, seconds)
            answer.hold = verdict.hold
            self._gateway.track(answer)
            self._note(f"admitted {time.time()} {seconds} {tokens}")
            await asyncio.sleep(seconds)
            answer.close("completed")

    def _note(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())  # outlives the process however it ends


def spend_a_budget(plan: Plan, folder: Path) -> Outcome:
    """Play it in an empty folder, and reckon up."""
    (folder / "voicegw.yaml").write_text(
        CONFIGURATION.format(folder=folder, dollars=plan.dollars), encoding="utf-8"
    )
    logs = [folder / f"process-{n}.log" for n in range(plan.processes)]
    began = time.time()
    processes = [_start(folder, log, plan) for log in logs]
    killed_at = dict.fromkeys(logs, float("inf"))
    spent, spent_at = 0, time.time()
    last_kill = 0.0
    while True:
        time.sleep(0.05)
        now = time.time()
        if (found := recorded_in(folder)) != spent:
            spent, spent_at = found, now
        if not last_kill and plan.killed and spent >= plan.killed_at * plan.budget_nanos:
            last_kill = now
            for process, log in list(zip(processes, logs, strict=True))[: plan.killed]:
                killed_at[log] = time.time()
                process.kill()
        comes_back = last_kill + LEASE_SECONDS if last_kill else 0.0
        if spent and now - max(spent_at, comes_back) > QUIET_SECONDS:
            break
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join()
    return _reckon(plan, logs, killed_at, recorded_in(folder), spent_at - began)


def _start(folder: Path, log: Path, plan: Plan) -> BaseProcess:
    async def work() -> None:
        await Worker(folder, log, plan).run()

    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(work()))
    process.start()
    return process


def recorded_in(folder: Path) -> int:
    """Nano-dollars that the ledger in a folder has recorded."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{folder}/voicegw.db?mode=ro", uri=True)
        ) as ledger:
            ((total,),) = ledger.execute("SELECT sum(cost_nanos) FROM usage_daily")
    except sqlite3.OperationalError:  # nobody has made it yet
        return 0
    return total or 0


def _reckon(
    plan: Plan, logs: list[Path], killed_at: dict[Path, float], recorded: int, seconds: float
) -> Outcome:
    ended: list[tuple[Admitted, float]] = []  # with the moment after which it spends no more
    refused: list[float] = []
    unanswered: list[float] = []
    for log in logs:
        for line in log.read_text().splitlines():
            kind, *fields = line.split()
            if kind == "admitted":
                at, length, tokens = fields
                request = Admitted(float(at), float(length), int(tokens))
                ended.append((request, killed_at[log]))
            elif kind == "refused":
                refused.append(float(fields[0]))
            else:
                unanswered.append(float(fields[0]))
    first = min(refused, default=time.time())
    spent = sum(request.spent_until(end) for request, end in ended)
    used = sum(request.spent_until(min(end, first)) for request, end in ended)
    taken = sum(request.spent_until(end) for request, end in ended if request.at <= first)
    return Outcome(
        processes=plan.processes,
        requests_at_once=plan.requests,
        killed=plan.killed,
        killed_at=plan.killed_at,
        requests=len(ended),
        seconds=seconds,
        budget=plan.dollars,
        spent=spent / NANOS_PER_DOLLAR,
        recorded=recorded / NANOS_PER_DOLLAR,
        used_at_first_refusal=used / plan.budget_nanos,
        taken_at_first_refusal=taken / plan.budget_nanos,
        overspend=max(0.0, (spent - plan.budget_nanos) / NANOS_PER_DOLLAR),
        bound=plan.bound_nanos / NANOS_PER_DOLLAR,
        unanswered=sum(at <= first for at in unanswered),
    )


def _around_one() -> float:
    """A factor whose mean is 1."""
    return random.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)


def _request() -> Request:
    return Request(
        request_id=uuid7(),
        project="prod",
        modality="llm",
        provider="openai",
        model="gpt-4.1-mini",
        requested_model="openai/gpt-4.1-mini",
    )
