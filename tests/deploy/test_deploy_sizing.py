"""The formulas of docs/deploy.md: how many connections a host and a server hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from deploy_files import PAGE
from support.machine import PATIENCE
from support.postgres import PostgresServer, run_sql
from support.web_server import TOKEN, web_server

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import VoiceGatewayError
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.meter import Request

PROCESSES = 3


def connections(server: PostgresServer, url: str) -> int:
    """How many there are to a database, without the one that asks."""
    (_, _, name) = url.partition("?")[0].rpartition("/")
    ((count,),) = run_sql(
        server.url(), f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    return int(count)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(so):
            continue


async def test_a_host_holds_one_connection_and_two_for_each_process(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    assert "`max_connections = hosts + 2 × processes + 5`" in PAGE
    url = postgres_server.fresh_database()
    path = tmp_path / "voicegw.yaml"
    path.write_text(
        f"database: {{url: '{url}', outbox: '{tmp_path}/outbox'}}\n"
        "default_project: prod\nprojects: {prod: {daily_budget: 100}}\n"
    )
    # each has all that a process has, threads and connections of its own among it
    host = [Gateway(load_config(path, env={}), env={}) for _ in range(PROCESSES)]
    try:
        for gateway in host:
            await asyncio.to_thread(gateway.watcher.start)
            gateway.budgets.of(gateway.project("prod"))
            request = Request(
                request_id=uuid7(),
                project="prod",
                modality="llm",
                provider="openai",
                model="gpt-4.1-mini",
                requested_model="openai/gpt-4.1-mini",
            )
            gateway.reject(request, VoiceGatewayError("no"))
        await until(lambda: run_sql(url, "SELECT count(*) FROM usage") == [(PROCESSES,)])
        await until(lambda: run_sql(url, "SELECT count(*) FROM leases") == [(PROCESSES,)])
        await until(lambda: connections(postgres_server, url) == 1 + 2 * PROCESSES)
    finally:
        for gateway in host:
            await asyncio.to_thread(gateway.close, PATIENCE)
    await until(lambda: connections(postgres_server, url) == 0)
    postgres_server.take_back(url)


async def test_the_server_holds_few_however_many_ask(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.fresh_database()
    (tmp_path / "voicegw.yaml").write_text("projects: {prod: {daily_budget: 5}}\n")
    env = {"VOICEGW_TOKEN": TOKEN, "VOICEGW_DATABASE_URL": url}
    with web_server(tmp_path, env=env) as server, server.client() as client:
        token = {"Authorization": f"Bearer {TOKEN}"}
        for worker in range(6):
            lease = {"project": "prod", "day": "2027-01-15", "owner": f"worker-{worker}"}
            amounts = {"budget_nanos": 10**9, "need_nanos": 10, "want_nanos": 10, "share": 16}
            asked = lease | amounts | {"seconds": 30}
            assert client.post("/v1/leases", headers=token, json=asked).status_code == 200
            assert client.get("/v1/costs", headers=token).status_code == 200
        # its own, and that of workers; once a minute it puts the ledger in order on a third
        assert 2 <= connections(postgres_server, url) <= 3
