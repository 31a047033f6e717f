"""Workers whose ledger is a server's: what they use, what they may spend, and when it is away."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from livekit.agents import utils
from serving_workers import SERVER_TOKEN, WORKERS_TOKEN, serving
from support.gateways import providers_yaml
from support.machine import PATIENCE
from support.traces import chat, speak
from support.web_server import WebServer

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Sandbox
from livekit_plugins_voicegateway.signals import BudgetExceededError

MODEL = "openai/gpt-4.1-mini"
PRICED = "pricing: {openai/gpt-4.1-mini: {input: 0, output: 0.01, per: 1}}\n"


def remote(
    server: WebServer, folder: Path, sandbox: Sandbox, text: str, env: dict[str, str]
) -> Gateway:
    """A worker's gateway that has nothing of the server but its address and a token."""
    folder.mkdir(exist_ok=True)
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: '{server.url}', outbox: outbox}}\n{text}{providers_yaml(sandbox)}"
    )
    env = {"VOICEGW_INGEST_TOKEN": WORKERS_TOKEN, **env}
    return Gateway(load_config(path, env=env), env=env)


@asynccontextmanager
async def working(
    server: WebServer,
    folder: Path,
    sandbox: Sandbox,
    text: str = "projects: {prod: {}}\n",
    env: dict[str, str] | None = None,
) -> AsyncIterator[Gateway]:
    gateway = remote(server, folder, sandbox, text, env or {})
    previous = install(gateway)
    try:
        yield gateway
    finally:
        install(previous)
        await asyncio.to_thread(gateway.close, PATIENCE)


def rows(server: WebServer) -> list[dict[str, Any]]:
    """What the server's ledger has, read from its file."""
    file = f"file:{server.folder}/voicegw.db?mode=ro"
    with closing(sqlite3.connect(file, uri=True)) as shell:
        shell.row_factory = sqlite3.Row
        return [dict(row) for row in shell.execute("SELECT * FROM usage ORDER BY id")]


async def until(come: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(PATIENCE):
        while not come():  # noqa: ASYNC110 (they set no event of ours)
            await asyncio.sleep(0.05)


def closed(server: WebServer, count: int) -> bool:
    found = [row for row in rows(server) if row["status"] != "open"]
    return len(found) >= count


async def ask(**arguments: Any) -> Any:
    model = inference.LLM(MODEL, **arguments)
    trace = await chat(model)
    await model.aclose()
    return trace


async def test_what_is_recorded_is_what_the_providers_bill(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path))
        async with utils.http_context.open(), Sandbox() as sandbox:
            async with working(server, tmp_path / "worker", sandbox):
                for _ in range(3):
                    await ask(project="prod")
                voice = inference.TTS("cartesia/sonic-3", project="prod")
                await speak(voice, whole=True)
                await voice.aclose()
            await until(lambda: closed(server, 4))
            billed, spoken = sandbox.openai.record.totals, sandbox.cartesia.record.totals
        found = rows(server)
        with server.client(headers={"authorization": f"Bearer {SERVER_TOKEN}"}) as client:
            costs = client.get("/v1/costs").json()
            verified = client.get("/v1/verify").json()
    assert len(found) == 4
    assert sum(row["input_tokens"] for row in found) == billed.input_tokens
    assert sum(row["output_tokens"] for row in found) == billed.output_tokens
    assert sum(row["characters"] for row in found) == spoken.characters
    assert costs["requests"] == 4
    assert costs["total_cost"] > 0
    assert verified["ok"]


async def test_a_budget_holds_for_two_workers_together(tmp_path: Path) -> None:
    # a completion of the sandbox costs some dimes
    text = "projects: {prod: {daily_budget: 5, budget_action: block, fallback: none}}\n" + PRICED
    with serving(tmp_path, 'database: {url: "sqlite:///voicegw.db"}\n' + text) as server:
        async with utils.http_context.open(), Sandbox() as sandbox:
            sandbox.openai.replies = ["word " * 20]
            gateways = [
                remote(server, tmp_path / name, sandbox, text, {}) for name in ("one", "two")
            ]
            refused = [False, False]
            try:
                async with asyncio.timeout(PATIENCE):
                    while not all(refused):
                        for number, gateway in enumerate(gateways):
                            previous = install(gateway)
                            trace = await ask(project="prod")
                            install(previous)
                            assert await gateway.flush(PATIENCE)
                            # of a busy machine nothing may be known in time: it asks again
                            raised = trace.raised and trace.raised[0]
                            assert raised in (None, "BudgetExceededError", "BudgetThrottleSignal")
                            refused[number] = raised == "BudgetExceededError"
            finally:
                for gateway in gateways:
                    await asyncio.to_thread(gateway.close, PATIENCE)
        found = rows(server)
    costs = [row["cost_nanos"] for row in found]
    dearest = max(costs)
    answered = [row for row in found if row["status"] == "completed"]
    assert {row["status"] for row in found} == {"completed", "rejected"}
    assert len({row["owner"] for row in answered}) == 2
    # each may hold what it could not use, and have one request under way that cost more
    assert 5_000_000_000 - 4 * dearest <= sum(costs) <= 5_000_000_000 + 2 * dearest


async def test_a_server_that_is_killed_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    with ExitStack() as first, ExitStack() as second:
        server = first.enter_context(serving(tmp_path))
        async with utils.http_context.open(), Sandbox() as sandbox:
            async with working(server, tmp_path / "worker", sandbox) as gateway:
                await ask(project="prod")
                await until(lambda: closed(server, 1))
                server.process.kill()
                server.process.wait(PATIENCE)
                for _ in range(5):
                    trace = await ask(project="prod")
                    assert trace.results
                assert await gateway.flush(PATIENCE)  # safe, though not there
                assert len(rows(server)) == 1
                port = int(server.url.rpartition(":")[2])
                again = second.enter_context(serving(tmp_path, port=port))
                await until(lambda: closed(again, 6))
                await ask(project="prod")
                await until(lambda: closed(again, 7))
            billed = sandbox.openai.record.totals
        found = rows(again)
    assert (len(found), billed.requests) == (7, 7)
    assert sum(row["output_tokens"] for row in found) == billed.output_tokens


async def test_what_a_worker_leaves_in_its_outbox_the_next_one_sends(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        server = first.enter_context(serving(tmp_path))
        async with utils.http_context.open(), Sandbox() as sandbox:
            server.process.kill()
            server.process.wait(PATIENCE)
            async with working(server, tmp_path / "worker", sandbox) as gateway:
                await ask(project="prod")
                assert await gateway.flush(PATIENCE)
            port = int(server.url.rpartition(":")[2])
            again = second.enter_context(serving(tmp_path, port=port))
            async with working(again, tmp_path / "worker", sandbox):
                await ask(project="prod")
                await until(lambda: closed(again, 2))


async def test_a_project_made_at_the_server_is_used_by_a_worker_with_its_keys(
    tmp_path: Path,
) -> None:
    env = {"VOICEGW_SECRET_KEY": Fernet.generate_key().decode()}
    with serving(tmp_path, env=env) as server:
        async with utils.http_context.open(), Sandbox() as sandbox:
            async with working(server, tmp_path / "worker", sandbox, env=env) as gateway:
                gateway.watcher.start()
                with server.client(headers={"authorization": f"Bearer {SERVER_TOKEN}"}) as client:
                    made = client.post(
                        "/v1/projects",
                        json={
                            "project_id": "night",
                            "budget_action": "block",
                            "providers": {"openai": {"api_key": "key-of-the-night"}},
                        },
                    )
                    assert made.status_code == 201
                    await until(lambda: "night" in gateway.config.projects)
                    assert (await ask(project="night")).results
                    client.patch("/v1/projects/night", json={"daily_budget": 0})
                    await until(lambda: gateway.config.project("night").daily_budget == 0)
                with pytest.raises(BudgetExceededError):
                    inference.check_budget("night")
            (request,) = sandbox.openai.record.requests
    assert request.key == "key-of-the-night"
