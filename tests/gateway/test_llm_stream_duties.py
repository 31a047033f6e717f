"""What a session does with a completion, on the plugin itself and through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from livekit.agents import AgentSession, APIConnectOptions, APIError, llm, utils
from plugin_pairs import direct, plugin, through
from support.gateways import gateway_on, usage_rows
from support.machine import PATIENCE
from support.traces import PATIENT

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Fault, Reply, Sandbox, ToolCall

REPLY = "Indeed he was not. He was rather cold hearted, and rather selfish."


@llm.function_tool
async def look_up(name: str) -> str:
    """Look up a character of the novel."""
    return name


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Sandbox, Gateway]]:
    async with (
        utils.http_context.open(),
        Sandbox() as sandbox,
        gateway_on(sandbox, folder) as gateway,
    ):
        sandbox.openai.replies = [REPLY]
        yield sandbox, gateway


def question() -> llm.ChatContext:
    chat_ctx = llm.ChatContext.empty()
    chat_ctx.add_message(role="user", content="Was he an ill-disposed young man?")
    return chat_ctx


async def test_an_answer_is_collected_with_its_tool_calls(tmp_path: Path) -> None:
    told = []
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("llm", sandbox), through("llm")):
            sandbox.openai.replies = [Reply(tool_calls=[ToolCall("look_up", {"name": "John"})])]
            async with model:
                stream = model.chat(chat_ctx=question(), tools=[look_up], tool_choice="required")
                answer = await stream.collect()
                told.append(
                    (
                        answer.text,
                        [(call.name, call.arguments) for call in answer.tool_calls],
                        answer.usage and answer.usage.prompt_tokens,
                        stream.tools,
                        [item.text_content for item in stream.chat_ctx.messages()],
                    )
                )
        offered = [request.tools for request in sandbox.openai.record.requests]
    assert told[0] == told[1]
    assert told[1][1] == [("look_up", '{"name": "John"}')]
    assert told[1][3] == [look_up]
    assert offered == 2 * [("look_up",)]


async def test_an_answer_is_read_as_text(tmp_path: Path) -> None:
    async with running(tmp_path) as (sandbox, _):
        for model in (direct("llm", sandbox), through("llm")):
            async with model:
                stream = model.chat(chat_ctx=question())
                assert "".join([text async for text in stream.to_str_iterable()]) == REPLY


async def test_what_was_asked_is_known_before_and_after_the_answer(tmp_path: Path) -> None:
    # a detector of answering machines reads stream.tools (voice/amd/classifier.py)
    async with running(tmp_path), through("llm") as model:
        async with model.chat(chat_ctx=question(), tools=[look_up]) as stream:
            assert stream.tools == [look_up]
            assert len(stream.chat_ctx.items) == 1
            async for _ in stream:
                pass
            assert stream._inner is not None
            assert stream.tools is stream._inner.tools
            assert stream.chat_ctx is stream._inner.chat_ctx


@pytest.mark.parametrize("after_chunks", [False, True])
async def test_livekits_own_fallback_adapter_decides_on_a_retry_after_the_first_chunk(
    after_chunks: bool, tmp_path: Path
) -> None:
    told = []
    async with running(tmp_path) as (sandbox, gateway):
        for models in (
            [direct("llm", sandbox), direct("llm", sandbox)],
            [through("llm"), through("llm")],
        ):
            before = len(sandbox.openai.record.requests)
            sandbox.openai.faults.append(Fault.cut(5), times=1)
            adapter = llm.FallbackAdapter(
                models, max_retry_per_llm=2, retry_interval=0.01, retry_on_chunk_sent=after_chunks
            )
            async with models[0], models[1], adapter:
                metrics: list[Any] = []
                adapter.on("metrics_collected", metrics.append)
                text, raised = "", False
                try:
                    async with adapter.chat(chat_ctx=question()) as stream:
                        async for chunk in stream:
                            text += (chunk.delta.content or "") if chunk.delta else ""
                except APIError:
                    raised = True
            await sandbox.settled()
            requests = len(sandbox.openai.record.requests) - before
            told.append((text, raised, requests, len(metrics)))
        rows = await usage_rows(gateway)
    assert told[1] == told[0]
    # with a retry the second model answers, and the first is asked whether it is well again
    assert told[1][2] == (3 if after_chunks else 1)
    statuses = sorted(row["status"] for row in rows)
    assert statuses == [*["completed"] * (told[1][2] - 1), "failed"]


@pytest.mark.parametrize("retries", [0, 2])
async def test_an_answer_that_fails_is_asked_for_as_often_as_the_call_says(
    retries: int, tmp_path: Path
) -> None:
    options = APIConnectOptions(max_retry=retries, retry_interval=0.01, timeout=PATIENCE)
    async with running(tmp_path) as (sandbox, _), through("llm") as model:
        sandbox.openai.faults.append(Fault.status(500), times=None)
        errors: list[Any] = []
        model.on("error", errors.append)
        with pytest.raises(APIError):
            await model.chat(chat_ctx=question(), conn_options=options).collect()
        assert len(sandbox.openai.record.requests) == retries + 1
    assert [error.recoverable for error in errors] == [True] * retries + [False]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """A provider that notes what it is asked for, and its address."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def answer(request: web.Request) -> web.Response:
        asked.put_nowait(f"{request.method} {request.path}")
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


async def test_a_session_opens_the_connection_when_it_is_made(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, gateway), listening() as (url, asked):
        model = inference.LLM("openai/gpt-4.1-mini", base_url=url, project="prod")
        session: AgentSession[None] = AgentSession(
            llm=model, vad=None, turn_handling={"turn_detection": None}
        )
        assert session.llm is model
        assert await asyncio.wait_for(asked.get(), PATIENCE) == "GET /v1/models"
        model.prewarm(loop=asyncio.get_running_loop())
        await plugin(model)._prewarm_task
        assert asked.empty()  # once is enough
        await session.aclose()
        await model.aclose()
        assert await gateway.flush(PATIENCE)
    assert not (tmp_path / "voicegw.db").exists()  # nothing was used


async def test_an_option_that_the_plugins_chat_does_not_take_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path):
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        itself = plugin(model)
        chat = itself.chat

        def narrow(*, chat_ctx: Any, tools: Any = None, conn_options: Any = None) -> Any:
            return chat(chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)

        itself.chat = narrow
        answer = await model.chat(
            chat_ctx=question(), parallel_tool_calls=True, conn_options=PATIENT
        ).collect()
        await model.aclose()
    assert answer.text == REPLY
    assert "takes no parallel_tool_calls= in chat()" in caplog.text
