"""A process that forks with a gateway in use: the child keeps its own books, the parent its own."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from processes import run_program
from support.gateways import providers_yaml

from livekit_plugins_voicegateway.sandbox import Sandbox

PROGRAM = """
    import asyncio
    import multiprocessing
    from livekit.agents import llm
    from livekit_plugins_voicegateway.gateway import current_gateway
    from voicegateway import inference

    def ask(model, question):
        conversation = llm.ChatContext.empty()
        conversation.add_message(role="user", content=question)
        return model.chat(chat_ctx=conversation)

    async def answered(model, question):
        async with ask(model, question) as stream:
            async for _ in stream:
                pass
        await model.aclose()

    async def in_child(results):
        inherited = current_gateway() is made_before
        await answered(inference.LLM("openai/gpt-4.1-mini"), "asked by the child")
        await answered(shared, "asked by the child of what the parent made")
        results.put([inherited, await current_gateway().flush(60)])

    async def in_parent():
        await answered(inference.LLM("openai/gpt-4.1-mini"), "asked by the parent")
        assert await current_gateway().flush(60)
        running = ask(inference.LLM("openai/gpt-4.1-mini"), "asked across the fork")
        await anext(running)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=lambda: asyncio.run(in_child(results)))
        child.start()
        said = await asyncio.to_thread(results.get)
        await asyncio.to_thread(child.join)
        async for _ in running:
            pass
        await running.aclose()
        assert await current_gateway().flush(60)
        return said

    made_before = current_gateway()
    inference.set_project("prod")
    shared = inference.LLM("openai/gpt-4.1-mini")
    answer(asyncio.run(in_parent()))
"""


async def test_a_forked_process_records_under_a_gateway_of_its_own(tmp_path: Path) -> None:
    async with Sandbox() as sandbox:
        sandbox.openai.replies = ["The house was large, and they lived there for generations."]
        path = tmp_path / "voicegw.yaml"
        path.write_text(
            f"database: {{url: 'sqlite:///{tmp_path}/voicegw.db'}}\n"
            f"projects: {{prod: {{}}}}\n{providers_yaml(sandbox)}"
        )
        said = await asyncio.to_thread(run_program, PROGRAM, env={"VOICEGW_CONFIG": str(path)})
        await sandbox.settled()
    inherited, flushed = said
    assert not inherited
    assert flushed
    with closing(sqlite3.connect(tmp_path / "voicegw.db")) as ledger:
        rows = ledger.execute("SELECT request_id, status, input_tokens FROM usage").fetchall()
    assert [status for _, status, _ in rows] == ["completed"] * 4
    assert len({request_id for request_id, *_ in rows}) == 4
    billed = sorted(request.input_tokens for request in sandbox.openai.record.requests)
    assert sorted(tokens for *_, tokens in rows) == billed


EXIT = """
    import asyncio
    from livekit.agents import llm
    from voicegateway import inference

    async def ask():
        conversation = llm.ChatContext.empty()
        conversation.add_message(role="user", content="asked just before the end")
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        async with model.chat(chat_ctx=conversation) as stream:
            async for _ in stream:
                pass
        await model.aclose()

    asyncio.run(ask())
    answer("done")
"""


async def test_a_program_that_ends_at_once_has_recorded_what_it_used(tmp_path: Path) -> None:
    async with Sandbox() as sandbox:
        path = tmp_path / "voicegw.yaml"
        path.write_text(
            f"database: {{url: 'sqlite:///{tmp_path}/voicegw.db'}}\n"
            f"projects: {{prod: {{}}}}\n{providers_yaml(sandbox)}"
        )
        await asyncio.to_thread(run_program, EXIT, env={"VOICEGW_CONFIG": str(path)})
    with closing(sqlite3.connect(tmp_path / "voicegw.db")) as ledger:
        rows = ledger.execute("SELECT status FROM usage").fetchall()
    assert rows == [("completed",)]
