"""The providers of the demo's calls, on loopback, who know the recordings that ship with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from demo_calls import SPEECH, TEXTS

from livekit_plugins_voicegateway.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        for name, text in TEXTS.items():
            sandbox.deepgram.add_clip(SPEECH / name, text)
        sandbox.openai.replies = {
            "young man": "That is faint praise.",
            "amiable": "But he was not. " + "And so the story could begin. " * 8,
            "ten meters": "Gladly.",
        }
        yield sandbox
