"""The experiment of `shared_budget` with real requests: LLMs, the OpenAI plugin, and a provider.

Several processes with many requests at once ask `inference.LLM` for completions until their
project's budget is gone. The provider is the sandbox, in a process of its own: its record says what
it would bill, whatever became of those who asked. Prompts are free here and answers are dear, so
that the printed bound is a small part of the budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from livekit.agents import llm
from livekit.agents.types import APIConnectOptions
from shared_budget import Outcome, recorded_in

from livekit.plugins import openai  # noqa: F401  before processes are forked: it takes a second
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.leases import LEASE_SECONDS
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, Quantities
from livekit_plugins_voicegateway.overspend import worst_overspend
from livekit_plugins_voicegateway.pricing.book import Price, PriceBook
from livekit_plugins_voicegateway.sandbox import text_tokens
from livekit_plugins_voicegateway.signals import BudgetExceededError

__all__ = ["SandboxPlan", "spend_in_sandbox"]

MODEL = "openai/gpt-4.1-mini"
DOLLARS_PER_MILLION = 10
WORDS = ("yes", "no", "well", "the", "train", "to", "Leeds", "leaves", "at", "nine", "or", "noon")
USUAL_WORDS = 12
LONGEST_WORDS = 40
PATIENCE = APIConnectOptions(max_retry=0, timeout=120.0)

QUIET_SECONDS = 2.0
"""Nothing more is spent after this time without spending, once everybody was refused."""

LONGEST_RUN = 900.0

CONFIGURATION = """
database: {{url: 'sqlite:///{folder}/voicegw.db'}}
cost_tracking: {{on_ledger_failure: block}}
projects:
  prod:
    daily_budget: {dollars}
    budget_action: block
    fallback: none
    pricing: {{{model}: {{input: 0, output: {price}, per: 1000000}}}}
providers:
  openai: {{api_key: any, llm: {{base_url: '{url}'}}}}
"""


class SandboxPlan(NamedTuple):
    """What is played.

    Attributes:
        completions: The budget, in answers of the usual length.
        processes: How many share it.
        requests: Requests at once in each of them.
        killed: How many of the processes are killed when ``killed_at`` of the budget is spent.
        killed_at: Share of the budget.
        wait_for_leases: Go on until what the killed ones had leased has come back and is spent.
    """

    completions: int
    processes: int = 8
    requests: int = 50
    killed: int = 0
    killed_at: float = 0.5
    wait_for_leases: bool = True


class Answers(NamedTuple):
    """What the provider says, one after the other.

    Attributes:
        texts: The answers.
        mean: Tokens of the average one.
        longest: Tokens of the longest.
    """

    texts: list[str]
    mean: float
    longest: int

    @classmethod
    def random(cls) -> Answers:
        """Answers of very different lengths."""
        texts = []
        for _ in range(40):
            words = min(LONGEST_WORDS, round(random.lognormvariate(0.0, 0.5) * USUAL_WORDS) + 1)
            texts.append(" ".join(random.choices(WORDS, k=words)) + ".")
        tokens = [len(text_tokens(text)) for text in texts]
        return cls(texts, sum(tokens) / len(tokens), max(tokens))


class Billed(NamedTuple):
    """A completion in the provider's record."""

    began: float
    ended: float
    nanos: int

    def until(self, moment: float) -> float:
        """Nano-dollars of what was sent of it at a Unix time."""
        length = max(1e-6, self.ended - self.began)
        return self.nanos * min(1.0, max(0.0, (moment - self.began) / length))


class Worker:
    """One process: its gateway and its model, and many completions at once until it is stopped.

    Args:
        config: The configuration.
        log: Where it writes who was refused, and when.
    """

    def __init__(self, config: Config, log: Path) -> None:
        self._gateway = Gateway(config, env={})
        install(self._gateway)
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._stopped = asyncio.Event()
        self._prompt = llm.ChatContext.empty()
        self._prompt.add_message(role="user", content="When does the next train leave?")

    async def run(self, requests: int) -> None:
        """Make ``requests`` completions at once, again and again."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        model = inference.LLM(MODEL, project="prod")
        await self._first_slice()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(requests):
                tasks.create_task(self._one_after_the_other(model))
        await model.aclose()
        self._gateway.close(timeout=60)

    async def _first_slice(self) -> None:
        """Wait for it: in a worker, the model is made long before the first request."""
        budget = self._gateway.budgets.of(self._gateway.project("prod"))
        assert budget is not None
        loop, answered = asyncio.get_running_loop(), asyncio.Event()
        budget.on_answer(lambda: loop.call_soon_threadsafe(answered.set))
        await answered.wait()

    async def _one_after_the_other(self, model: inference.LLM) -> None:
        while not self._stopped.is_set():
            try:
                stream = model.chat(chat_ctx=self._prompt, conn_options=PATIENCE)
                async with stream:
                    async for _ in stream:
                        pass
            except BudgetExceededError as refused:
                answered = "not answer" not in str(refused)
                self._note(f"{'refused' if answered else 'unanswered'} {time.time()}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), random.uniform(0.2, 0.6))

    def _note(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())  # outlives the process however it ends


class _Log(NamedTuple):
    refused: list[float]
    unanswered: list[float]

    @classmethod
    def read(cls, path: Path) -> _Log:
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        kinds = [line.split() for line in lines]
        return cls(
            [float(at) for kind, at in kinds if kind == "refused"],
            [float(at) for kind, at in kinds if kind == "unanswered"],
        )


def spend_in_sandbox(plan: SandboxPlan, folder: Path) -> Outcome:
    """Play it in an empty folder, and reckon up.

    Raises:
        TimeoutError: The budget was not spent in a quarter of an hour.
        RuntimeError: A process has ended by itself.
    """
    answers = Answers.random()
    budget = round(plan.completions * answers.mean * DOLLARS_PER_MILLION * 1000)
    with _provider(answers) as urls:
        path = folder / "voicegw.yaml"
        path.write_text(
            CONFIGURATION.format(
                folder=folder,
                dollars=f"{budget / NANOS_PER_DOLLAR:.9f}",
                model=MODEL,
                price=DOLLARS_PER_MILLION,
                url=urls["openai"],
            )
        )
        config = load_config(path, env={})
        logs = [folder / f"process-{n}.log" for n in range(plan.processes)]
        began = time.time()
        seconds = _play(plan, budget, config, logs, folder) - began
        record = _record_of(urls)
    price = _price(config)
    bound = worst_overspend(
        {"llm": price}, calls=plan.processes * plan.requests, answer_tokens=answers.longest
    )
    assert bound is not None
    billed = [_billed(request, price) for request in record]
    first = min((at for log in logs for at in _Log.read(log).refused), default=time.time())
    total = sum(each.nanos for each in billed)
    return Outcome(
        processes=plan.processes,
        requests_at_once=plan.requests,
        killed=plan.killed,
        killed_at=plan.killed_at,
        requests=len(billed),
        seconds=seconds,
        budget=budget / NANOS_PER_DOLLAR,
        spent=total / NANOS_PER_DOLLAR,
        recorded=recorded_in(folder) / NANOS_PER_DOLLAR,
        used_at_first_refusal=sum(each.until(first) for each in billed) / budget,
        taken_at_first_refusal=sum(each.nanos for each in billed if each.began <= first) / budget,
        overspend=max(0, total - budget) / NANOS_PER_DOLLAR,
        bound=bound / NANOS_PER_DOLLAR,
        unanswered=sum(at <= first for log in logs for at in _Log.read(log).unanswered),
    )


def _play(plan: SandboxPlan, budget: int, config: Config, logs: list[Path], folder: Path) -> float:
    """Run the processes until nothing more is spent; when that was."""
    processes = [_start(config, log, plan.requests) for log in logs]
    living = list(zip(processes, logs, strict=True))
    try:
        spent, spent_at, killed_at = 0, time.time(), 0.0
        deadline = time.monotonic() + LONGEST_RUN
        while True:
            time.sleep(0.1)
            now = time.time()
            if (found := recorded_in(folder)) != spent:
                spent, spent_at = found, now
            if plan.killed and not killed_at and spent >= plan.killed_at * budget:
                for process, _ in living[: plan.killed]:
                    process.kill()
                living, killed_at = living[plan.killed :], now
            waits = killed_at + LEASE_SECONDS if killed_at and plan.wait_for_leases else 0.0
            quiet = now - max(spent_at, waits) > QUIET_SECONDS
            if quiet and all(_Log.read(log).refused for _, log in living):
                return spent_at
            if not all(process.is_alive() for process, _ in living):
                raise RuntimeError("a process has ended by itself; see above")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{spent / budget:.0%} was spent in {LONGEST_RUN:g} seconds")
    finally:
        for process, _ in living:
            process.terminate()
        for process in processes:
            process.join()


def _start(config: Config, log: Path, requests: int) -> BaseProcess:
    async def work() -> None:
        await Worker(config, log).run(requests)

    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(work()))
    process.start()
    return process


@contextlib.contextmanager
def _provider(answers: Answers) -> Iterator[dict[str, str]]:
    """The sandbox in a process of its own; its addresses by name."""
    replies = [argument for text in answers.texts for argument in ("--reply", text)]
    command = [sys.executable, "-m", "livekit_plugins_voicegateway.sandbox", *replies]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        try:
            yield json.loads(sandbox.stdout.readline())
        finally:
            sandbox.terminate()


def _record_of(urls: dict[str, str]) -> list[dict[str, Any]]:
    """The completions that the provider has served, when all of them have ended."""
    while True:
        with urllib.request.urlopen(urls["record"]) as answer:
            requests: list[dict[str, Any]] = json.load(answer)["openai"]["requests"]
        if all(request["ended_at"] is not None for request in requests):
            return requests
        time.sleep(0.1)


def _billed(request: dict[str, Any], price: Price) -> Billed:
    cost = price.cost(
        Quantities(input_tokens=request["input_tokens"], output_tokens=request["output_tokens"])
    )
    assert cost is not None
    return Billed(request["started_at"], request["ended_at"], cost)


def _price(config: Config) -> Price:
    project = config.project("prod")
    book = PriceBook(config.pricing, {project.id: project.pricing})
    provider, _, model = MODEL.partition("/")
    today = datetime.date.fromisoformat(config.days.day_of(time.time()))
    price = book.find("llm", provider, model, project=project.id, day=today)
    assert price is not None
    return price
