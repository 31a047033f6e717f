"""A worker whose ledger is PostgreSQL: what it uses goes through the outbox of its host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from livekit.agents import llm, utils
from support.gateways import providers_yaml
from support.postgres import PostgresServer, run_sql

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.ledger.outbox import open_outboxes
from livekit_plugins_voicegateway.sandbox import Sandbox


async def converse(config_path: Path, completions: int) -> None:
    gateway = Gateway(load_config(config_path, env={}), env={})
    previous = install(gateway)
    try:
        async with utils.http_context.open():
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            prompt = llm.ChatContext.empty()
            prompt.add_message(role="user", content="When does the next train leave?")
            for _ in range(completions):
                async with model.chat(chat_ctx=prompt) as stream:
                    async for _ in stream:
                        pass
            await model.aclose()
        assert await gateway.flush(60)
    finally:
        install(previous)
        await asyncio.to_thread(gateway.close, 60.0)


def config_in(folder: Path, url: str, sandbox: Sandbox) -> Path:
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: '{url}', outbox: '{folder}/outbox'}}\n"
        "projects: {prod: {daily_budget: 100, budget_action: block}}\n"
        # the first answer of a server that is just being set up may take longer than a call waits
        "cost_tracking: {on_ledger_failure: allow}\n" + providers_yaml(sandbox)
    )
    return path


async def test_what_a_worker_uses_is_in_postgresql_and_no_longer_in_the_outbox(
    postgres_server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with Sandbox() as sandbox:
        path = config_in(tmp_path, url, sandbox)
        await converse(path, 3)
        billed = sandbox.openai.record.totals
    assert run_sql(
        url, "SELECT count(*), sum(input_tokens), sum(output_tokens), min(status) FROM usage"
    ) == [(3, billed.input_tokens, billed.output_tokens, "completed")]
    assert run_sql(url, "SELECT sum(requests)::int FROM project_daily_costs") == [(3,)]
    [outbox] = open_outboxes(load_config(path, env={}))
    assert outbox.exists()
    assert outbox.count() == 0
    outbox.close()


async def test_calls_go_on_while_postgresql_is_away_and_nothing_is_lost_or_counted_twice(
    postgres_server: PostgresServer, url: str, tmp_path: Path
) -> None:
    async with Sandbox() as sandbox:
        path = config_in(tmp_path, url, sandbox)
        postgres_server.stop()
        try:
            await converse(path, 2)
            [outbox] = open_outboxes(load_config(path, env={}))
            assert outbox.count() == 2
            outbox.close()
        finally:
            postgres_server.start()  # not on a thread that ends: it would end with it
        await converse(path, 1)  # another process of the host takes along what the first has left
        billed = sandbox.openai.record.totals
    assert run_sql(url, "SELECT count(*), sum(output_tokens) FROM usage") == [
        (3, billed.output_tokens)
    ]
