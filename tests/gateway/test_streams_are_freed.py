"""A stream that is over is freed at once: passes of the garbage collector hold up all calls."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm
from livekit.agents.utils import http_context
from support.gateways import gateway_on
from support.machine import PATIENCE

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Sandbox


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _ask(model: llm.LLM[Any]) -> weakref.ref[Any]:
    chat_ctx = llm.ChatContext.empty()
    chat_ctx.add_message(role="user", content="Good day.")
    async with model.chat(chat_ctx=chat_ctx) as stream:
        async for _ in stream:
            pass
    return weakref.ref(stream)


async def _speak(model: Any) -> weakref.ref[Any]:
    async with model.stream() as stream:
        stream.push_text("Good day.")
        stream.end_input()
        async for _ in stream:
            pass
    return weakref.ref(stream)


@pytest.mark.usefixtures("_no_collector")
async def test_a_completion_is_freed_without_the_collector(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path) as gateway:
        model = inference.LLM("openai/gpt-4.1-mini", project="prod")
        stream = await _ask(model)
        await model.aclose()
        assert await gateway.flush(PATIENCE)

    assert stream() is None


@pytest.mark.usefixtures("_no_collector")
async def test_a_synthesis_is_freed_without_the_collector(tmp_path: Path) -> None:
    async with (
        Sandbox() as sandbox,
        http_context.open(),
        gateway_on(sandbox, tmp_path) as gateway,
    ):
        model = inference.TTS("cartesia/sonic-3", project="prod")
        stream = await _speak(model)
        await model.aclose()
        assert await gateway.flush(PATIENCE)

    assert stream() is None
