"""One simulated worker: a call that makes one request after the other, and its leases."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from livekit_plugins_voicegateway.admission import Admission
from livekit_plugins_voicegateway.budgets import Hold
from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.leases import ROUND_SECONDS, Budgets, LeaseLedger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.recorder import REFRESH
from livekit_plugins_voicegateway.metering.usage import UsageRow
from livekit_plugins_voicegateway.overspend import LONGEST_ANSWER
from livekit_plugins_voicegateway.projects import Project

from .log import HostLog
from .plan import EXPECTED_NANOS, EXPECTED_TOKENS, MODEL, NANOS_PER_TOKEN, PROJECT, Plan

__all__ = ["Answer", "Worker"]

SPREAD = 0.5
"""Standard deviation of the logarithm of an answer's length: one in six is longer than 1.6 times
the middle one."""


class Answer:
    """An answer that grows evenly to its length, and its row, as the recorder would keep it.

    Args:
        owner: The worker.
        day: Today, in the configured zone.
        hold: What it holds of the budget.
        seconds: How long it takes.
    """

    def __init__(self, owner: str, day: str, hold: Hold, seconds: float) -> None:
        length = random.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)
        self.tokens = min(LONGEST_ANSWER, max(1, round(EXPECTED_TOKENS * length)))
        self.seconds = seconds
        self.at = time.time()
        self.ended = False
        self._id, self._owner, self._day, self._hold = uuid7(), owner, day, hold
        self._written_at = 0.0

    def due(self, now: float) -> UsageRow | None:
        """The row if it is to be written; settles with the budget what it says."""
        if not self.ended and now - self._written_at < REFRESH:
            return None
        self._written_at = now
        share = 1.0 if self.ended else min(1.0, (now - self.at) / self.seconds)
        tokens = round(self.tokens * share)
        self._hold.spend(tokens * NANOS_PER_TOKEN, self._day)
        if self.ended:
            self._hold.release()
        provider, model = MODEL.split("/", 1)
        return UsageRow(
            id=self._id,
            request_id=self._id,
            started_at=self.at,
            ended_at=self.at + self.seconds if self.ended else None,
            day=self._day,
            project=PROJECT,
            modality="llm",
            provider=provider,
            model=model,
            requested_model=MODEL,
            status="completed" if self.ended else "open",
            output_tokens=tokens,
            cost_nanos=tokens * NANOS_PER_TOKEN,
            price="benchmark",
            duration_ms=round(1000 * (now - self.at), 3),
            owner=self._owner,
        )


class Worker:
    """A worker. Belongs to the event loop on which it is made.

    Args:
        owner: Its id among those that lease.
        plan: What is played.
        days: The calendar of the configured zone.
        log: Where it writes what happens.
        record: Told of each answer that begins.
        going: Whether it goes on.
    """

    def __init__(
        self,
        owner: str,
        plan: Plan,
        days: Days,
        log: HostLog,
        *,
        record: Callable[[Answer], None],
        going: Callable[[], bool],
    ) -> None:
        self._owner, self._plan, self._days, self._log = owner, plan, days, log
        self._record, self._going = record, going
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self.budgets = Budgets(days, owner, wake=self._woken)
        self._admission = Admission(self.budgets, "block")

    def _woken(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    async def first_slice(self, project: Project) -> None:
        """Ask for it, as making the first model object does, and wait for the answer."""
        budget = self.budgets.of(project)
        assert budget is not None
        answered = asyncio.Event()
        budget.on_answer(lambda: self._loop.call_soon_threadsafe(answered.set))
        await answered.wait()

    async def exchange(self, ledger: LeaseLedger) -> None:
        """What `LeaseThread` does, on this event loop."""
        while self._going():
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self.budgets.exchange(ledger)
        await self.budgets.leave(ledger)

    async def call(self, project: Project) -> None:
        """Make one request after the other."""
        await asyncio.sleep(random.uniform(0.0, self._plan.request[1] + self._plan.pause[1]))
        while self._going():
            verdict = await self._admission.decide(project, EXPECTED_NANOS)
            if verdict.refused is not None:
                unknown = "not answer" in str(verdict.refused)
                self._log.note("unanswered" if unknown else "refused", time.time())
            elif verdict.hold is not None:
                seconds = random.uniform(*self._plan.request)
                answer = Answer(self._owner, self._days.day_of(time.time()), verdict.hold, seconds)
                self._log.note("admitted", answer.at, seconds, answer.tokens * NANOS_PER_TOKEN)
                self._record(answer)
                await asyncio.sleep(seconds)
                answer.ended = True
            await asyncio.sleep(random.uniform(*self._plan.pause))
