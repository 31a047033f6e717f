"""Inside a job, LiveKit's own headers stay with LiveKit: no provider gets the worker's token."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents.testing import fake_job_context
from support.gateways import KEYS, gateway_on
from support.traces import Trace, chat

from livekit.plugins import groq, openai
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Fault, Reply, Sandbox, ToolCall

TOKEN = "token-of-a-hosted-worker"
GROQ = "projects: {{prod: {{providers: {{groq: {{api_key: k, llm: {{base_url: '{url}'}}}}}}}}}}\n"


def livekit_headers(provider: Any) -> list[str]:
    """Names of the headers that only LiveKit's own cloud should see, of all requests."""
    return [
        name
        for request in provider.record.requests
        for name in request.headers
        if name.lower().startswith("x-livekit-")
    ]


async def in_a_job(request: Awaitable[Trace]) -> Trace:
    with fake_job_context(job_id="a-job") as context:
        try:
            return await request
        finally:
            context._tempdir.cleanup()


@pytest.fixture(autouse=True)
def hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_WORKER_TOKEN", TOKEN)


@pytest.mark.parametrize("provider", ["openai", "ollama", "groq"])
async def test_the_plugin_itself_sends_them(provider: str) -> None:
    async with Sandbox() as sandbox:
        model: Any
        if provider == "openai":
            model = openai.LLM(model="gpt-4.1-mini", api_key="k", base_url=sandbox.openai.base_url)
        elif provider == "ollama":
            model = openai.LLM.with_ollama(
                model="qwen2.5:3b", base_url=f"{sandbox.ollama.base_url}/v1"
            )
        else:
            model = groq.LLM(model="gpt-4.1-mini", api_key="k", base_url=sandbox.openai.base_url)
        await in_a_job(chat(model))
        await model.aclose()
        received = sandbox.ollama if provider == "ollama" else sandbox.openai
    assert TOKEN in str(received.record.requests[0].headers)
    assert len(livekit_headers(received)) >= 3


@pytest.mark.parametrize(
    "model", ["openai/gpt-4.1-mini", "ollama/qwen2.5:3b", "groq/llama-3.3-70b-versatile"]
)
async def test_through_the_gateway_no_provider_gets_them(model: str, tmp_path: Path) -> None:
    async with Sandbox() as sandbox:
        text = GROQ.format(url=sandbox.openai.base_url)
        async with gateway_on(sandbox, tmp_path, text):
            sandbox.openai.replies = ["He was not an ill-disposed young man."]
            sandbox.ollama.replies = ["He was not an ill-disposed young man."]
            thinks = inference.LLM(model, project="prod")
            trace = await in_a_job(chat(thinks))
            await thinks.aclose()
        received = sandbox.ollama if model.startswith("ollama") else sandbox.openai
    assert "".join(trace.results) == "He was not an ill-disposed young man."
    assert len(trace.results) > 1  # it still streams
    assert livekit_headers(received) == []
    assert TOKEN not in str(received.record.as_dict())
    assert received.record.requests[0].headers["User-Agent"].startswith("LiveKit Agents/")


async def test_retries_tool_calls_and_changed_models_are_covered_too(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        sandbox.openai.faults.append(Fault.status(500), times=1)
        sandbox.openai.replies = [Reply(tool_calls=[ToolCall("look_up", {"name": "John"})])]
        model = inference.LLM("ollama/qwen2.5:3b", project="prod")
        model.update_options(model="openai/gpt-4.1-mini")
        trace = await in_a_job(chat(model, tool_choice="auto"))
        await model.aclose()
    assert [name for name, _ in trace.results] == ["look_up"]
    assert sandbox.openai.record.totals.requests == 2
    assert livekit_headers(sandbox.openai) == []
    assert sandbox.openai.record.requests[1].key == KEYS["openai"]
