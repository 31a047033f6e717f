"""A worker in a process of its own sees what is changed elsewhere, and needs no restart for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from managed_sites import new_key, open_site
from support.gateways import providers_yaml
from support.machine import PATIENCE

from livekit_plugins_voicegateway.project_watcher import ROUND_SECONDS
from livekit_plugins_voicegateway.sandbox import Sandbox

WORKER = """
    import asyncio
    import contextvars
    import json
    import sys
    from livekit.agents import llm
    from voicegateway import inference

    def say(what):
        print(json.dumps(what), flush=True)

    def can_be_chosen():
        try:
            contextvars.copy_context().run(inference.set_project, "night")
        except Exception as e:
            return type(e).__name__
        return True

    async def ask(model):
        conversation = llm.ChatContext.empty()
        conversation.add_message(role="user", content="What time is it?")
        try:
            async with model.chat(chat_ctx=conversation) as stream:
                async for _ in stream:
                    pass
        except Exception as e:
            return type(e).__name__
        return "answered"

    async def work():
        model = None
        while sys.stdin.readline():
            chosen = can_be_chosen()
            if model is None and chosen is True:
                model = inference.LLM("openai/gpt-4.1-mini", project="night")
            say([chosen, await ask(model) if model is not None else None])
        await model.aclose()

    asyncio.run(work())
"""


class WorkerProcess:
    """A worker that makes a request for each line that it is sent, and says how it went."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self) -> list[Any]:
        """Whether the project can be chosen anew, and how a request of the held model went."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        found: list[Any] = json.loads(line)
        return found

    async def ask_until(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while not wanted(found := await self.ask()):
                pass
        return found


@asynccontextmanager
async def worker_process(config: Path, env: dict[str, str]) -> AsyncIterator[WorkerProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        dedent(WORKER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env, "VOICEGW_CONFIG": str(config)},
    )
    try:
        yield WorkerProcess(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_running_worker_takes_in_every_change(tmp_path: Path) -> None:
    env = {"VOICEGW_SECRET_KEY": new_key()}
    async with Sandbox() as sandbox:
        text = "projects: {prod: {}}\n" + providers_yaml(sandbox)
        async with (
            open_site(tmp_path, text, env=env) as site,
            worker_process(site.path, env) as worker,
        ):
            requests = sandbox.openai.record.requests
            assert await worker.ask() == ["UnknownProjectError", None]

            made = {"project_id": "night", "providers": {"openai": {"api_key": "first-key"}}}
            await site.admin.create(made, front="http")
            assert await worker.ask_until(lambda found: found[0] is True) == [True, "answered"]
            assert requests[-1].key == "first-key"

            again = {"openai": {"api_key": "second-key"}}
            await site.admin.update("night", {"providers": again}, front="dashboard")
            await worker.ask_until(lambda _: requests[-1].key == "second-key")

            no_money = {"daily_budget": 0, "budget_action": "block"}
            await site.admin.update("night", no_money, front="mcp")
            await worker.ask_until(lambda found: found[1] == "BudgetExceededError")

            await site.admin.update("night", {"daily_budget": 5}, front="cli")
            await worker.ask_until(lambda found: found[1] == "answered")

            await site.admin.delete("night", front="cli")
            gone = await worker.ask_until(lambda found: found[0] is not True)
            assert gone == ["UnknownProjectError", "answered"]
            assert await worker.ask() == gone
            assert requests[-1].key == "second-key"


def test_a_change_is_looked_for_often_enough_to_be_seen_within_two_seconds() -> None:
    # a look itself is one query; what follows from it is done at once
    assert ROUND_SECONDS <= 1
