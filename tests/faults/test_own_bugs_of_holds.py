"""Money that is held for a request comes back when the plugin will not make the request."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faulting.watched_calls import gateway_on
from livekit.agents import llm
from livekit.agents.utils import http_context

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

CONFIG = "projects: {prod: {daily_budget: 10, budget_action: block}}"


def refuse(*args: object, **kwargs: object) -> None:
    raise LookupError("no such voice")


def plugin(model: Any) -> Any:
    return model._delegates.current().instance


async def funded(gateway: Gateway) -> None:
    """Wait until there is a slice of the budget to hold of, and a price to hold."""
    budget = gateway.budgets.of(gateway.project("prod"))
    assert budget is not None
    while not budget.granted:
        answered = asyncio.Event()
        budget.on_answer(partial(asyncio.get_running_loop().call_soon_threadsafe, answered.set))
        await answered.wait()
    prices = Future[None]()
    gateway.recorder.submit(partial(prices.set_result, None))
    await asyncio.wrap_future(prices)


async def left(gateway: Gateway) -> tuple[int, int]:
    budget = gateway.budgets.of(gateway.project("prod"))
    assert budget is not None
    assert await gateway.flush(20)
    return budget.available, budget.granted - budget.spent


@pytest.mark.parametrize("method", ["stream", "synthesize"])
async def test_a_synthesis_that_the_plugin_will_not_make_holds_nothing(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, http_context.open():
        async with gateway_on(sandbox, tmp_path, CONFIG) as gateway:
            model = inference.TTS("cartesia/sonic-3", project="prod")
            await funded(gateway)
            monkeypatch.setattr(plugin(model), method, refuse)
            with pytest.raises(LookupError, match="no such voice"):
                model.stream() if method == "stream" else model.synthesize("Good day.")
            available, unspent = await left(gateway)
            await model.aclose()
    assert available == unspent


async def test_a_transcription_that_the_plugin_will_not_make_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, http_context.open():
        async with gateway_on(sandbox, tmp_path, CONFIG) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            await funded(gateway)
            monkeypatch.setattr(plugin(model), "stream", refuse)
            with pytest.raises(LookupError, match="no such voice"):
                model.stream()
            available, unspent = await left(gateway)
            await model.aclose()
    assert available == unspent


async def test_a_completion_that_the_plugin_will_not_make_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox, http_context.open():
        async with gateway_on(sandbox, tmp_path, CONFIG) as gateway:
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            await funded(gateway)
            monkeypatch.setattr(plugin(model), "chat", refuse)
            async with model.chat(chat_ctx=llm.ChatContext.empty()) as stream:
                with pytest.raises(LookupError, match="no such voice"):
                    await anext(stream)
            available, unspent = await left(gateway)
            await model.aclose()
    assert available == unspent
