"""`cost_tracking.unpriced: block`: a model whose price nobody knows is refused when it is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateways import gateway_on

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.errors import UnpricedModelError
from livekit_plugins_voicegateway.sandbox import Sandbox

BLOCK = "cost_tracking: {unpriced: block}\nprojects: {prod: {}}\n"
PRICED = BLOCK + "pricing: {cartesia/sonic-99: {characters: 10, per: 1000000}}\n"


async def test_a_model_without_a_price_is_refused_when_it_is_made(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path, BLOCK):
        with pytest.raises(UnpricedModelError, match=r"cartesia/sonic-99.*pricing:"):
            inference.TTS("cartesia/sonic-99", project="prod")


async def test_the_users_own_price_lets_it_pass(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path, PRICED):
        model = inference.TTS("cartesia/sonic-99", project="prod")
        await model.aclose()


async def test_by_default_an_unknown_price_does_not_stop_a_call(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path):
        model = inference.TTS("cartesia/sonic-99", project="prod")
        await model.aclose()
