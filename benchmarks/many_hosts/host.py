"""One host, a process: its workers, the connections on which they lease, its outbox and courier,
and its watchers."""

from __future__ import annotations

import asyncio
import datetime
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.ledger import Ledger, open_ledger
from livekit_plugins_voicegateway.ledger.base import Grant
from livekit_plugins_voicegateway.ledger.outbox import open_outboxes
from livekit_plugins_voicegateway.metering.courier import Courier
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.recorder import INTERVAL
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.pricing.book import PriceBook
from livekit_plugins_voicegateway.project_watcher import ProjectWatcher
from livekit_plugins_voicegateway.projects import Project

from .log import HostLog
from .plan import OTHER, PROJECT, Plan
from .worker import Answer, Worker

__all__ = ["owners_of", "play"]

T = TypeVar("T")


def owners_of(host: int) -> str:
    """What the ids of a host's workers begin with."""
    return f"host-{host}-"


def play(plan: Plan, host: int, folder: Path, ready: Barrier) -> None:
    """Be a host until SIGTERM.

    Args:
        plan: What is played.
        host: Its number, from 0.
        folder: Where its configuration is, ``host-0.yaml``, and its log is to be.
        ready: Passed when its workers have their first slices.
    """
    asyncio.run(_Host(plan, host, folder).run(ready))


class _Leases:
    """The connections of a host on which leases are exchanged; each serves one at a time."""

    def __init__(self, log: HostLog) -> None:
        self._log = log
        self._ledgers: list[Ledger] = []
        self._free: asyncio.Queue[Ledger] = asyncio.Queue()

    async def open(self, url: str, connections: int) -> None:
        for _ in range(connections):
            ledger = await open_ledger(url)
            self._ledgers.append(ledger)
            self._free.put_nowait(ledger)

    async def close(self) -> None:
        for ledger in self._ledgers:
            await ledger.close()

    async def acquire_lease(self, project: str, day: str, owner: str, **asked: Any) -> Grant:
        return await self._on_one(lambda on: on.acquire_lease(project, day, owner, **asked))

    async def return_lease(self, project: str, day: str, owner: str, nanos: int) -> None:
        await self._on_one(lambda on: on.return_lease(project, day, owner, nanos))

    async def renew_leases(self, owner: str, expires_at: float) -> Collection[tuple[str, str]]:
        return await self._on_one(lambda on: on.renew_leases(owner, expires_at))

    async def _on_one(self, work: Callable[[Ledger], Awaitable[T]]) -> T:
        began = time.perf_counter()  # with the time until a connection is free
        ledger = await self._free.get()
        try:
            return await work(ledger)
        finally:
            self._free.put_nowait(ledger)
            self._log.note("operation", time.time(), 1000 * (time.perf_counter() - began))


class _Group:
    """A watcher, and the workers that it tells."""

    def __init__(self, number: int, config: Config, log: HostLog) -> None:
        self.config = config
        self.workers: list[Worker] = []
        self._number, self._log = number, log
        self._prices = PriceBook({}, {})
        self._today = datetime.date.fromisoformat(config.days.day_of(time.time()))
        self.watcher = ProjectWatcher(config, env={}, take_in=self._take_in)

    def _take_in(self, config: Config) -> None:
        """What `Gateway` does with it, on the watcher's thread."""
        self._prices.change_projects({one.id: one.pricing for one in config.projects.values()})
        self.config = config
        project = config.projects.get(PROJECT)
        if project is None:
            return
        for worker in self.workers:
            worker.budgets.changed(project)
        provider, model = OTHER.split("/", 1)
        price = self._prices.find("llm", provider, model, project=PROJECT, day=self._today)
        cost = price.cost(Quantities(output_tokens=1_000_000)) if price is not None else None
        self._log.note("knew", time.time(), self._number, project.budget_nanos or 0, cost or 0)


class _Host:
    def __init__(self, plan: Plan, host: int, folder: Path) -> None:
        self._plan, self._host = plan, host
        self._config = load_config(folder / f"host-{host}.yaml", env={})
        self._log = HostLog(folder / f"host-{host}.log")
        self._running: list[Answer] = []
        self._stopped = asyncio.Event()
        self._leases = _Leases(self._log)
        self._groups = [_Group(n, self._config, self._log) for n in range(plan.watchers)]
        self._courier = Courier(self._open_ledger, lambda: open_outboxes(self._config))
        self._outbox = open_outboxes(self._config)[0]
        self._outbox_thread = ThreadPoolExecutor(1)

    async def run(self, ready: Barrier) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        await self._leases.open(self._config.database_url, self._plan.connections)
        exchanges = [
            asyncio.create_task(worker.exchange(self._leases))
            for group in self._groups
            for worker in await self._hired_by(group)
        ]
        await asyncio.gather(*(worker.first_slice(of) for worker, of in self._workers()))
        await asyncio.to_thread(ready.wait)
        recorder = asyncio.create_task(self._record())
        await asyncio.gather(*(worker.call(of) for worker, of in self._workers()))
        # nothing runs any more: the last rows, and then what is left of the leases
        await recorder
        await asyncio.to_thread(self._courier.close, 30.0)
        await asyncio.gather(*exchanges)
        await self._leases.close()
        for group in self._groups:
            await asyncio.to_thread(group.watcher.close)
        await self._on_outbox(self._outbox.close)

    async def _hired_by(self, group: _Group) -> list[Worker]:
        """Let a watcher begin, and make its share of the workers when it knows the project."""
        while PROJECT not in group.config.projects:
            await asyncio.to_thread(group.watcher.start)
            await asyncio.sleep(0.01)
        ours = range(self._host, self._plan.workers, self._plan.hosts)
        for number in ours[self._groups.index(group) :: self._plan.watchers]:
            worker = Worker(
                f"{owners_of(self._host)}{number}-{uuid7()}",
                self._plan,
                self._config.days,
                self._log,
                record=self._running.append,
                going=lambda: not self._stopped.is_set(),
            )
            group.workers.append(worker)
        return group.workers

    def _workers(self) -> Iterator[tuple[Worker, Project]]:
        for group in self._groups:
            for worker in group.workers:
                yield worker, group.config.projects[PROJECT]

    async def _record(self) -> None:
        """What the recorders of all workers do: rows go into the outbox of the host."""
        while self._running or not self._stopped.is_set():
            await asyncio.sleep(INTERVAL)
            now = time.time()
            rows = [row for answer in self._running if (row := answer.due(now)) is not None]
            self._running[:] = [answer for answer in self._running if not answer.ended]
            if rows:
                await self._on_outbox(self._outbox.put, rows)
                self._courier.wake()

    async def _on_outbox(self, work: Callable[..., None], *arguments: Any) -> None:
        # a connection of SQLite belongs to its thread
        await asyncio.get_running_loop().run_in_executor(self._outbox_thread, work, *arguments)

    async def _open_ledger(self) -> Ledger:
        return await open_ledger(self._config.database_url)
