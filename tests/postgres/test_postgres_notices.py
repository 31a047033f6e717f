"""A change of a project reaches running workers: at once where PostgreSQL says so, and otherwise by
looking."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.machine import PATIENCE
from support.postgres import run_sql

from livekit_plugins_voicegateway import project_watcher
from livekit_plugins_voicegateway.config import Config, load_config
from livekit_plugins_voicegateway.ledger.postgres import PostgresLedger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.project_watcher import ProjectWatcher

NEVER = 3600.0

OLDER_TRIGGER = """
CREATE OR REPLACE FUNCTION voicegw_project_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE projects_version SET version = version + 1;
    RETURN NULL;
END $$
"""

CONNECTIONS = """
SELECT count(*)::int FROM pg_stat_activity
WHERE application_name = 'voicegateway' AND datname = current_database()
"""


class Fleet:
    """A worker that watches projects, and somebody who changes them."""

    def __init__(self, url: str, config: Config) -> None:
        self._url = url
        self._config = config
        self._told: queue.SimpleQueue[Config] = queue.SimpleQueue()
        self.watcher = ProjectWatcher(config, env={}, take_in=self._told.put)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[ProjectAdmin]:
        async with PostgresLedger(self._url) as ledger:
            catalogue = ProjectCatalogue(self._config, ledger, env={})
            yield ProjectAdmin(catalogue, ledger, env={})

    async def change(self, **changes: Any) -> None:
        """Change the project, and wait until the worker knows it."""
        async with self.admin() as admin:
            project = await admin.update("night", changes, front="http")
        await self.until(lambda config: config.projects["night"] == project)

    async def until(self, holds: Callable[[Config], bool]) -> None:
        while not holds(await asyncio.to_thread(self._told.get, timeout=PATIENCE)):
            continue


@asynccontextmanager
async def fleet_on(url: str, folder: Path) -> AsyncIterator[Fleet]:
    path = folder / "voicegw.yaml"
    path.write_text(f"database: {{url: '{url}'}}\n")
    fleet = Fleet(url, load_config(path, env={}))
    async with fleet.admin() as admin:
        await admin.create({"project_id": "night"}, front="http")
    try:
        await asyncio.to_thread(fleet.watcher.start)
        await fleet.until(lambda config: "night" in config.projects)
        yield fleet
    finally:
        assert await asyncio.to_thread(fleet.watcher.close, PATIENCE)


async def test_a_change_is_said_to_workers_that_do_not_look(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_watcher, "ROUND_SECONDS", NEVER)
    async with fleet_on(url, tmp_path) as fleet:
        await fleet.change(daily_budget=5)
        await fleet.change(pricing={"acme/voice": {"characters": 45, "per": 1_000_000}})
        run_sql(url, "UPDATE managed_projects SET daily_budget = 7")
        await fleet.until(lambda config: config.projects["night"].daily_budget == 7)
        async with fleet.admin() as admin:
            await admin.delete("night", front="http")
        await fleet.until(lambda config: "night" not in config.projects)


async def test_listening_takes_no_connection_of_its_own(url: str) -> None:
    async with PostgresLedger(url, read_only=True) as ledger:
        told = asyncio.Event()
        await ledger.listen_for_projects(told.set)
        assert run_sql(url, CONNECTIONS) == [(1,)]
        run_sql(
            url,
            "INSERT INTO managed_projects (project_id, name, created_at, updated_at) "
            "VALUES ('night', 'Night', now(), now())",
        )
        await asyncio.wait_for(told.wait(), PATIENCE)


async def test_without_notifications_a_change_is_seen_by_looking(
    new_url: str, tmp_path: Path
) -> None:
    async with PostgresLedger(new_url):
        run_sql(new_url, OLDER_TRIGGER)
    async with fleet_on(new_url, tmp_path) as fleet:
        await fleet.change(daily_budget=5)


async def test_a_lost_connection_loses_no_change_and_listens_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_on(url, tmp_path) as fleet:
        ((lost,),) = run_sql(
            url,
            "SELECT count(pg_terminate_backend(pid, 60000))::int FROM pg_stat_activity "
            "WHERE application_name = 'voicegateway' AND datname = current_database()",
        )
        assert lost == 1
        await fleet.change(daily_budget=5)
        monkeypatch.setattr(project_watcher, "ROUND_SECONDS", NEVER)
        await fleet.change(daily_budget=6)  # perhaps in the last of the short rounds
        await fleet.change(daily_budget=7)


async def test_a_server_that_lets_nobody_listen_is_looked_at(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise asyncpg.ReadOnlySQLTransactionError("cannot execute LISTEN during recovery")

    monkeypatch.setattr(asyncpg.Connection, "add_listener", refuse)
    async with fleet_on(url, tmp_path) as fleet:
        await fleet.change(daily_budget=5)
