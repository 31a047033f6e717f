"""Alerts of real usage: what calls through the gateway make a webhook hear."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import stt, utils
from support.gateways import gateway_on, usage_rows
from support.machine import PATIENCE
from support.traces import Trace, chat, speak, transcribe
from support.usage_rows import start_process, usage_row
from support.webhooks import Received, Receiver

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.alerts.endpoint import sign
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.sandbox import Sandbox

BUDGET = "projects: {prod: {daily_budget: 0.0002, budget_action: warn}}\n"
FREE = "projects: {prod: {}}\n"


def alerts(receiver: Receiver) -> str:
    return f"alerts: {{webhook: '{receiver.url}', secret: s3cret}}\n"


async def until(
    receiver: Receiver, count: int, use: Callable[[], Awaitable[object]]
) -> list[Received]:
    """Use something again and again until so many messages have come."""
    waiting = asyncio.create_task(asyncio.to_thread(receiver.wait_for, count))
    while not waiting.done():
        await use()
    return await waiting


async def hear_the_beginning(model: stt.STT[Any]) -> Trace:
    return await transcribe(model, until=lambda trace: bool(trace.results))


async def once(modality: str, name: str) -> Trace:
    """Use a model once."""
    model: Any
    if modality == "llm":
        model, use = inference.LLM(name, project="prod"), chat
    elif modality == "tts":
        model, use = inference.TTS(name, project="prod"), speak
    else:
        model, use = inference.STT(name, project="prod"), hear_the_beginning
    trace = await use(model)
    await model.aclose()
    return trace


async def test_a_budget_that_is_spent_is_told_at_80_and_at_100_percent_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.openai.replies = ["Yes."]
        async with gateway_on(sandbox, tmp_path, BUDGET + alerts(receiver)) as gateway:
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            await until(receiver, 2, lambda: chat(model))
            for _ in range(3):
                await chat(model)
            await model.aclose()
            [*_, row] = await usage_rows(gateway)
        near, exceeded = receiver.received
    assert [near.json["event"], exceeded.json["event"]] == ["budget.near", "budget.exceeded"]
    assert 0 <= near.json["spent"] <= exceeded.json["spent"]
    for message in (near, exceeded):
        values = message.json
        assert (values["project"], values["day"]) == ("prod", row["day"])
        assert (values["limit"], values["currency"]) == (0.0002, "USD")
        assert (values["action"], values["resets_at"][10:]) == ("warn", "T00:00:00.000Z")
        timestamp = int(message.headers["webhook-timestamp"])
        assert message.headers["webhook-signature"] == sign(
            "s3cret", message.id, timestamp, message.body
        )


async def test_a_request_that_nothing_is_left_for_is_told_though_some_money_is_left(
    tmp_path: Path, receiver: Receiver
) -> None:
    text = "projects: {prod: {daily_budget: 0.0000001, budget_action: block}}\n"
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text + alerts(receiver)):
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            await chat(model)  # what it may cost is known when there was one
            trace = await chat(model)
            await model.aclose()
            _, message = await asyncio.to_thread(receiver.wait_for, 2)
    assert trace.raised is not None
    assert (message.json["event"], message.json["action"]) == ("budget.exceeded", "block")
    assert message.json["limit"] == 0.0000001


@pytest.mark.parametrize(
    ("modality", "name"),
    [("llm", "openai/gpt-99"), ("tts", "cartesia/sonic-99"), ("stt", "deepgram/nova-99")],
)
async def test_a_model_whose_price_nobody_knows_is_told_once(
    tmp_path: Path, receiver: Receiver, modality: str, name: str
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, FREE + alerts(receiver)) as gateway:
            for _ in range(2):
                await once(modality, name)
            rows = await usage_rows(gateway)
            await asyncio.to_thread(receiver.wait_for, 1)
    assert rows
    assert all(row["cost_nanos"] is None for row in rows)
    [message] = receiver.received
    values = message.json
    assert values["event"] == "price.unknown"
    assert (values["project"], values["day"]) == ("prod", rows[0]["day"])
    assert (values["modality"], f"{values['provider']}/{values['model']}") == (modality, name)


async def test_a_ledger_that_fails_is_told_while_calls_go_on(
    tmp_path: Path, receiver: Receiver
) -> None:
    (tmp_path / "voicegw.db").mkdir()
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, FREE + alerts(receiver)):
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            trace = await chat(model)
            await model.aclose()
            [message] = await asyncio.to_thread(receiver.wait_for, 1)
            (tmp_path / "voicegw.db").rmdir()
    assert trace.results
    values = message.json
    assert (values["event"], values["project"]) == ("ledger.failing", None)
    assert values["database"] == f"sqlite:///{tmp_path}/voicegw.db"
    assert "it is a directory" in values["error"]


async def test_a_receiver_that_never_answers_holds_up_neither_a_call_nor_its_rows(
    tmp_path: Path,
) -> None:
    with Receiver([0]) as stalled:
        async with utils.http_context.open(), Sandbox() as sandbox:
            async with gateway_on(sandbox, tmp_path, FREE + alerts(stalled)) as gateway:
                model = inference.LLM("openai/gpt-99", project="prod")
                await chat(model)
                await asyncio.to_thread(stalled.wait_for, 1)
                traces = [await chat(model) for _ in range(3)]
                rows = await usage_rows(gateway)
                await model.aclose()
    assert all(trace.results for trace in traces)
    assert [row["status"] for row in rows] == ["completed"] * 4


async def test_an_address_that_is_not_known_does_not_keep_calls_from_being_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = FREE + "alerts: {webhook: '${NOT_SET}'}\n"
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text):
            trace = await once("llm", "openai/gpt-99")
    assert trace.results
    assert "nobody is told of alerts: alerts.webhook needs" in caplog.text


async def test_without_a_webhook_no_alert_is_kept(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, FREE) as gateway:
            await once("llm", "openai/gpt-99")
            await gateway.flush(PATIENCE)
    async with SqliteLedger(tmp_path / "voicegw.db") as ledger:
        assert await ledger.next_alert() is None


async def test_many_workers_that_see_a_spent_budget_tell_it_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    path = tmp_path / "voicegw.yaml"
    path.write_text(f"database: {{url: 'sqlite:///voicegw.db'}}\n{BUDGET}{alerts(receiver)}")
    config = load_config(path, env={})
    async with SqliteLedger(tmp_path / "voicegw.db") as ledger:
        day = config.days.day_of(time.time())
        await ledger.write([usage_row(day=day, cost_nanos=300_000)])
        ended, ending = os.pipe()
        processes = [start_process(_worker, path, ended, ending) for _ in range(4)]
        messages = await asyncio.to_thread(receiver.wait_for, 2)
        os.close(ending)
        for process, results in processes:
            assert await asyncio.to_thread(results.poll, PATIENCE)
            assert results.recv() is True
            process.join()
        os.close(ended)
    assert len(receiver.received) == 2
    assert {m.json["event"] for m in messages} == {"budget.near", "budget.exceeded"}


async def _worker(path: Path, ended: int, ending: int) -> bool:
    os.close(ending)
    gateway = Gateway(load_config(path, env={}), env={})
    budget = gateway.budgets.of(gateway.config.project("prod"))
    assert budget is not None
    await asyncio.to_thread(os.read, ended, 1)  # until all have been told
    gateway.close()
    return budget.spent_noted
