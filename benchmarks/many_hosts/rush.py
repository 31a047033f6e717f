"""How many leases of one budget PostgreSQL grants when everybody asks as fast as it goes."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from dataclasses import dataclass
from itertools import chain
from multiprocessing import Queue

from livekit_plugins_voicegateway.leases import LEASE_SECONDS, SLICE_SHARE
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR

from .host import owners_of
from .plan import EXPECTED_NANOS, PROJECT, Plan

__all__ = ["Rush", "rush"]

DAY = "2030-01-15"
BUDGET = 1_000_000 * NANOS_PER_DOLLAR


@dataclass(frozen=True)
class Rush:
    """One run.

    Attributes:
        workers: How many have leases.
        connections: On how many connections they ask, one after the other on each.
        projects: Of how many budgets.
        per_second: Leases granted.
        median_ms: What one took.
        p99_ms: The 99th percentile.
    """

    workers: int
    connections: int
    projects: int
    per_second: float
    median_ms: float
    p99_ms: float


def rush(plan: Plan, url: str, seconds: float, *, projects: int = 1) -> Rush:
    """Ask for leases on all connections of all hosts.

    Args:
        plan: How many workers, hosts and connections.
        url: An empty ledger.
        seconds: How long.
        projects: Over how many budgets the workers are spread.
    """
    context = multiprocessing.get_context("fork")
    results: Queue[list[float]] = context.Queue()
    ready = context.Barrier(plan.hosts)

    def work(host: int) -> None:
        results.put(asyncio.run(_ask(host)))

    async def _ask(host: int) -> list[float]:
        owners = [f"{owners_of(host)}{n}" for n in range(host, plan.workers, plan.hosts)]
        waited: list[float] = []

        async def on_one_connection(number: int) -> None:
            async with await open_ledger(url) as ledger:
                ours = owners[number :: plan.connections] or owners
                await asyncio.to_thread(ready.wait) if number == 0 else await started.wait()
                started.set()
                end, turn = time.perf_counter() + seconds, 0
                while (began := time.perf_counter()) < end:
                    owner = ours[turn % len(ours)]
                    turn += 1
                    grant = await ledger.acquire_lease(
                        f"{PROJECT}-{int(owner.rpartition('-')[2]) % projects}",
                        DAY,
                        owner,
                        budget_nanos=BUDGET,
                        need_nanos=EXPECTED_NANOS,
                        want_nanos=EXPECTED_NANOS,
                        share=SLICE_SHARE,
                        expires_at=time.time() + LEASE_SECONDS,
                    )
                    assert grant.granted_nanos == EXPECTED_NANOS
                    waited.append(1000 * (time.perf_counter() - began))

        started = asyncio.Event()
        await asyncio.gather(*(on_one_connection(n) for n in range(plan.connections)))
        return waited

    hosts = [context.Process(target=work, args=(host,)) for host in range(plan.hosts)]
    for process in hosts:
        process.start()
    waited = sorted(chain.from_iterable(results.get() for _ in hosts))
    for process in hosts:
        process.join()
    return Rush(
        workers=plan.workers,
        connections=plan.hosts * plan.connections,
        projects=projects,
        per_second=len(waited) / seconds,
        median_ms=statistics.median(waited),
        p99_ms=waited[int(0.99 * len(waited))],
    )
