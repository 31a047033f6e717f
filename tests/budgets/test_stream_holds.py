"""What a stream holds of its budget when its model or its price changes: all is settled, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from livekit.agents import utils
from support.gateways import SPEECH, gateway_on, usage_rows
from swap_streams import hear, recording, silence

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.budgets import Budget
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox

CLIP = "austen-0870.wav"
WORDS = "And Mr. John Dashwood had then leisure to consider."
PROJECTS = """
projects:
  prod:
    daily_budget: {budget}
    budget_action: throttle
    fallback: {{stt: "deepgram/nova-2", llm: none, tts: none}}
"""


def budget_of(gateway: Gateway) -> Budget:
    budget = gateway.budgets.of(gateway.project("prod"))
    assert budget is not None
    return budget


async def test_a_stream_that_changes_over_settles_its_last_seconds(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / CLIP, WORDS)
        # $0.0048 a minute: three seconds
        async with gateway_on(sandbox, tmp_path, PROJECTS.format(budget="0.00024")) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            await hear(model, recording(CLIP), silence(1.5))
            await model.aclose()
            rows = await usage_rows(gateway)
            budget = budget_of(gateway)
            left = budget.available, budget.granted - budget.spent
    assert [row["model"] for row in rows] == ["nova-3", "nova-2"]
    assert budget.spent == rows[0]["cost_nanos"]  # what takes over holds nothing here
    assert left[0] == left[1]


async def test_each_row_of_a_stream_settles_its_own_hold(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / CLIP, WORDS)
        async with gateway_on(sandbox, tmp_path, PROJECTS.format(budget="1.00")) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            change = {3.0: lambda: model.update_options(language="multi")}
            await hear(model, recording(CLIP), silence(1.5), at=change)
            await model.aclose()
            rows = await usage_rows(gateway)
            budget = budget_of(gateway)
            left = budget.available, budget.granted - budget.spent
    assert len(rows) == 2
    assert budget.spent == sum(row["cost_nanos"] for row in rows)
    assert left[0] == left[1]


async def test_a_fallback_that_fails_leaves_the_stream_as_it_was_and_metered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**options: Any) -> Any:
        raise RuntimeError("no such voice activity detector")

    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.deepgram.add_clip(SPEECH / CLIP, WORDS)
        async with gateway_on(sandbox, tmp_path, PROJECTS.format(budget="0.00024")) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            fallback = model._delegates.fallback(model._delegates.current())
            assert fallback is not None
            fallback.instance.stream = fail  # type: ignore[method-assign]
            heard = await hear(model, recording(CLIP), silence(1.5))
            await model.aclose()
            rows = await usage_rows(gateway)
    pushed = len(recording(CLIP)) / 16_000 + 1.5
    assert heard.text == WORDS
    assert [row["model"] for row in rows] == ["nova-3"]
    assert rows[0]["audio_seconds"] == pytest.approx(pushed, abs=0.1)
    assert "could not change over to another model; the call goes on" in caplog.text
