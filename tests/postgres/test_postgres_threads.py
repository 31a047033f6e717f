"""A thread of the gateway that a bug has thrown out of its event loop uses PostgreSQL again on its
next one: a connection belongs to the loop on which it was made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.machine import PATIENCE
from support.postgres import run_sql

from livekit_plugins_voicegateway import background
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.metering.meter import Request, SpeechMeter
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR


class Bug:
    """Takes the place of a method, and raises once, after it has worked until it was let loose."""

    def __init__(self, owner: Any, name: str) -> None:
        self._method: Callable[..., Any] = getattr(owner, name)
        self._loose = False
        self.struck = threading.Event()
        setattr(owner, name, self)

    def __call__(self, *args: Any) -> Any:
        if self._loose:
            self._loose = False
            self.struck.set()
            raise LookupError("a bug")
        return self._method(*args)

    async def strikes(self) -> None:
        self._loose = True
        assert await asyncio.to_thread(self.struck.wait, PATIENCE)


@pytest.fixture
async def gateway(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(background, "RESTART", 0.01)
    path = tmp_path / "voicegw.yaml"
    path.write_text(
        f"database: {{url: '{url}', outbox: '{tmp_path}/outbox'}}\n"
        "projects: {prod: {daily_budget: 100, pricing: {acme/voice: {free: true}}}}\n"
    )
    gateway = Gateway(load_config(path, env={}), env={})
    yield gateway
    await asyncio.to_thread(gateway.close, PATIENCE)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(holds):
            continue


async def test_leases_are_granted_after_a_bug_on_their_thread(gateway: Gateway) -> None:
    bug = Bug(gateway.leases, "_exchange")
    budget = gateway.budgets.of(gateway.project("prod"))
    assert budget is not None
    await eventually(lambda: budget.granted > 0)
    await bug.strikes()
    before = budget.granted
    budget.admit(10 * NANOS_PER_DOLLAR)  # more than the first slice
    await eventually(lambda: budget.granted > before)
    assert not budget.failed


async def test_usage_is_carried_on_after_a_bug_on_the_couriers_thread(
    gateway: Gateway, url: str
) -> None:
    def use() -> None:
        request = Request(gateway.new_id(), "prod", "tts", "acme", "voice", "acme/voice")
        meter = SpeechMeter(request)
        meter.sent = True
        meter.push(100)
        gateway.track(meter)
        meter.close("completed")

    bug = Bug(gateway.courier._wake, "clear")
    use()
    await eventually(lambda: run_sql(url, "SELECT count(*)::int FROM usage") == [(1,)])
    await bug.strikes()
    use()
    await eventually(lambda: run_sql(url, "SELECT count(*)::int FROM usage") == [(2,)])


async def test_projects_are_watched_after_a_bug_on_the_watchers_thread(
    gateway: Gateway, url: str
) -> None:
    bug = Bug(gateway.watcher, "_work")
    await asyncio.to_thread(gateway.watcher.start)
    await eventually(lambda: gateway.watcher._listening)
    await bug.strikes()
    async with PostgresLedger(url) as ledger:
        catalogue = ProjectCatalogue(gateway.config, ledger, env={})
        await ProjectAdmin(catalogue, ledger, env={}).create({"project_id": "night"}, front="http")
    await eventually(lambda: "night" in gateway.config.projects)
