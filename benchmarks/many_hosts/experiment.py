"""Hosts spend a budget, its project is changed meanwhile, and some are killed: what comes of it."""

from __future__ import annotations

import asyncio
import bisect
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from postgres_server import PostgresServer, run_sql

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import Ledger, open_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR

from .host import owners_of, play
from .log import Knew, Story
from .plan import PROJECT, Plan, dollars, midday_zone, pricing

__all__ = ["Notice", "Outcome", "spend_a_budget"]

SAMPLED_EVERY = 0.2
"""Seconds between two looks of the experiment at what is settled and leased."""

SILENT = """
CREATE OR REPLACE FUNCTION voicegw_project_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE projects_version SET version = version + 1;
    RETURN NULL;
END $$
"""
"""The trigger on projects without its notification."""

HELD_BY = """
SELECT coalesce(sum(amount_nanos), 0)::bigint FROM leases
WHERE starts_with(owner, '{owners}') AND expires_at > extract(epoch FROM clock_timestamp())
"""


@dataclass(frozen=True)
class Notice:
    """How long live workers took to notice changes, from the moment at which one was asked for.

    Attributes:
        what: What was changed.
        notified: Whether PostgreSQL said so; otherwise they had to look.
        noticed: How many watchers have noticed how many changes.
        missed: How many have not.
        median_s: Seconds.
        longest_s: Seconds.
    """

    what: str
    notified: bool
    noticed: int
    missed: int
    median_s: float
    longest_s: float


@dataclass(frozen=True)
class Outcome:
    """How it went; amounts in dollars.

    Attributes:
        workers: How many spent.
        hosts: On how many hosts.
        killed: How many of these were killed, when half of the budget was spent.
        requests: Requests that were admitted.
        unanswered: Requests refused while there was money: the ledger took longer than 50 ms.
        seconds: Until nothing more was spent.
        operations_per_second: On leases, from the first request to the first refusal.
        operation_ms: What one took, median; with the time until a connection was free.
        operation_p99_ms: The 99th percentile.
        budget: The budget.
        spent: What all workers really spent, also what they could not record any more.
        recorded: What the ledger has.
        overspend: What was spent beyond the budget.
        bound: The most that it may be, as ``voicegw check`` says.
        used_at_first_refusal: Share of the budget that was spent when a request was refused first.
        leased_at_first_refusal: What was leased and not spent then.
        left_at_end: What of the budget nobody has spent although requests were refused.
        leased_at_end: What of that live workers had leased.
        held_by_killed: What the workers of killed hosts had leased when they were killed.
        held_by_killed_later: What of it was still kept for them 40 seconds later; None when that
            was not waited for.
        notices: How soon changes were noticed.
    """

    workers: int
    hosts: int
    killed: int
    requests: int
    unanswered: int
    seconds: float
    operations_per_second: float
    operation_ms: float
    operation_p99_ms: float
    budget: float
    spent: float
    recorded: float
    overspend: float
    bound: float
    used_at_first_refusal: float
    leased_at_first_refusal: float
    left_at_end: float
    leased_at_end: float
    held_by_killed: float
    held_by_killed_later: float | None
    notices: list[Notice]


class _Sample(NamedTuple):
    at: float
    settled: int
    leased: int


class _Change(NamedTuple):
    at: float
    notified: bool
    budget: int
    price: int

    def is_known_by(self, one: Knew) -> bool:
        """Whether a watcher that told this has noticed it; both only ever rise."""
        return one.budget_nanos >= self.budget and one.price >= self.price * NANOS_PER_DOLLAR


def spend_a_budget(plan: Plan, server: PostgresServer, folder: Path) -> Outcome:
    """Play it in an empty folder, and reckon up."""
    url = server.fresh_database()
    for host in range(plan.hosts):
        (folder / f"host-{host}.yaml").write_text(
            f"timezone: {midday_zone()}\n"
            f"database: {{url: '{url}', outbox: '{folder}/outbox-{host}'}}\n"
            "cost_tracking: {on_ledger_failure: block}\n"
        )
    experiment = _Experiment(plan, url, folder)
    asyncio.run(experiment.prepare())
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(plan.hosts + 1)
    hosts: list[BaseProcess] = [
        context.Process(target=play, args=(plan, host, folder, ready)) for host in range(plan.hosts)
    ]
    for process in hosts:
        process.start()
    try:
        ready.wait(120)
        asyncio.run(experiment.play(hosts))
    finally:
        for process in hosts:
            process.terminate()
        for process in hosts:
            process.join()
    return experiment.outcome()


class _Experiment:
    def __init__(self, plan: Plan, url: str, folder: Path) -> None:
        self._plan, self._url, self._folder = plan, url, folder
        self._config = load_config(folder / "host-0.yaml", env={})
        self._samples: list[_Sample] = []
        self._changes: list[_Change] = []
        self._began = self._killed_at = 0.0
        self._held = 0
        self._held_later: int | None = None
        self._known = False

    async def prepare(self) -> None:
        """Make the project."""
        async with await open_ledger(self._url) as ledger:
            await self._admin(ledger).create(
                {
                    "project_id": PROJECT,
                    "daily_budget": _text(self._plan.budget_nanos),
                    "budget_action": "block",
                    "fallback": "none",
                    "pricing": pricing(1),
                },
                front="cli",
            )

    async def play(self, hosts: list[BaseProcess]) -> None:
        """Watch and disturb it until nothing more is spent."""
        self._began = time.time()
        async with await open_ledger(self._url) as ledger:
            changing = asyncio.create_task(self._change())
            spent, spent_at = 0, 0.0
            while True:
                settled, leased = await ledger.budget_status(PROJECT, self._today)
                now = time.time()
                self._samples.append(_Sample(now, settled, leased))
                if settled != spent:
                    spent, spent_at = settled, now
                if self._plan.killed and not self._killed_at and spent * 2 >= self._limit:
                    self._kill(hosts)
                waits = self._killed_at + self._plan.wait if self._killed_at else 0.0
                if self._plan.wait and self._held_later is None and 0 < waits <= now:
                    self._held_later = self._held_by_killed()
                over = spent and now > max(spent_at, waits) + self._plan.quiet
                # somebody may spend on and on, a little at a time
                too_long = now > self._began + 3 * self._plan.seconds + self._plan.wait
                if changing.done():
                    changing.result()  # which raises if it failed
                    if (over or too_long) and self._all_know():
                        break
                await asyncio.sleep(SAMPLED_EVERY)
            await changing

    @property
    def _today(self) -> str:
        return self._config.days.day_of(self._began)

    @property
    def _limit(self) -> int:
        return self._changes[-1].budget if self._changes else self._plan.budget_nanos

    def _admin(self, ledger: Ledger) -> ProjectAdmin:
        return ProjectAdmin(ProjectCatalogue(self._config, ledger, env={}), ledger, env={})

    def _kill(self, hosts: list[BaseProcess]) -> None:
        for process in hosts[: self._plan.killed]:
            process.kill()
        self._killed_at = time.time()
        self._held = self._held_by_killed()

    def _held_by_killed(self) -> int:
        return sum(
            run_sql(self._url, HELD_BY.format(owners=owners_of(host)))[0][0]
            for host in range(self._plan.killed)
        )

    def _all_know(self) -> bool:
        """Whether all watchers of the hosts that live know of the last change."""
        if not self._changes or self._known:
            return True
        last = self._changes[-1]
        first_alive = self._plan.killed if self._killed_at else 0
        self._known = all(
            any(last.is_known_by(one) for one in knew)
            for host in range(first_alive, self._plan.hosts)
            for knew in self._story(host).knew
        )
        return self._known

    def _story(self, host: int) -> Story:
        return Story.read(self._folder / f"host-{host}.log", watchers=self._plan.watchers)

    async def _change(self) -> None:
        """Raise the budget and a price, some times with notifications and some times without, all
        in the first half of the time."""
        plan = self._plan
        every = 0.4 * plan.seconds / (4 * plan.changes) if plan.changes else 0.0
        budget, price = plan.budget_nanos, 1
        async with await open_ledger(self._url) as ledger:
            admin = self._admin(ledger)
            for notified in (True, False):
                if not notified:
                    await asyncio.to_thread(run_sql, self._url, SILENT)
                for _ in range(plan.changes):
                    await asyncio.sleep(every)
                    budget += plan.raised_by
                    self._changes.append(_Change(time.time(), notified, budget, price))
                    await admin.update(PROJECT, {"daily_budget": _text(budget)}, front="cli")
                    await asyncio.sleep(every)
                    price += 1
                    self._changes.append(_Change(time.time(), notified, budget, price))
                    await admin.update(PROJECT, {"pricing": pricing(price)}, front="cli")

    def outcome(self) -> Outcome:
        """Reckon up what the hosts have written down."""
        plan = self._plan
        stories = [self._story(host) for host in range(plan.hosts)]
        killed = [self._killed_at if host < plan.killed else 1e12 for host in range(plan.hosts)]
        ended = [
            (one, until)
            for story, until in zip(stories, killed, strict=True)
            for one in story.admitted
        ]
        first = min((at for story in stories for at in story.refused), default=time.time())
        spent = sum(one.spent_until(until) for one, until in ended)
        used = sum(one.spent_until(min(until, first)) for one, until in ended)
        took = sorted(
            ms for story in stories for at, ms in story.operations if self._began <= at <= first
        )
        ((recorded,),) = run_sql(self._url, "SELECT sum(cost_nanos)::bigint FROM usage_daily")
        limit = self._limit
        last = self._samples[-1]
        at_first = self._samples[bisect.bisect([one.at for one in self._samples], first) - 1]
        return Outcome(
            workers=plan.workers,
            hosts=plan.hosts,
            killed=plan.killed,
            requests=len(ended),
            unanswered=sum(len(story.unanswered) for story in stories),
            seconds=self._spending_ended() - self._began,
            operations_per_second=len(took) / (first - self._began),
            operation_ms=statistics.median(took) if took else 0.0,
            operation_p99_ms=took[int(0.99 * len(took))] if took else 0.0,
            budget=dollars(limit),
            spent=dollars(spent),
            recorded=dollars(recorded),
            overspend=max(0.0, dollars(spent - limit)),
            bound=dollars(plan.bound_nanos),
            used_at_first_refusal=used / limit,
            leased_at_first_refusal=dollars(at_first.leased),
            left_at_end=max(0.0, dollars(limit - last.settled)),
            leased_at_end=dollars(last.leased),
            held_by_killed=dollars(self._held),
            held_by_killed_later=None if self._held_later is None else dollars(self._held_later),
            notices=list(self._notices(stories, killed)),
        )

    def _spending_ended(self) -> float:
        last = self._samples[-1]
        return next(one.at for one in self._samples if one.settled == last.settled)

    def _notices(self, stories: list[Story], killed: list[float]) -> Iterator[Notice]:
        before = self._plan.budget_nanos, 1
        took: dict[tuple[str, bool], list[float]] = {}
        missed: dict[tuple[str, bool], int] = {}
        for change in self._changes:
            what = "budget" if change.budget != before[0] else "price"
            before = change.budget, change.price
            for story, until in zip(stories, killed, strict=True):
                for knew in story.knew:
                    at = next((one.at for one in knew if change.is_known_by(one)), None)
                    key = what, change.notified
                    if at is not None:
                        took.setdefault(key, []).append(at - change.at)
                    elif until > change.at + 10:
                        missed[key] = missed.get(key, 0) + 1
        for (what, notified), seconds in took.items():
            yield Notice(
                what,
                notified,
                len(seconds),
                missed.get((what, notified), 0),
                statistics.median(seconds),
                max(seconds),
            )


def _text(nanos: int) -> str:
    return str(Decimal(nanos) / NANOS_PER_DOLLAR)
