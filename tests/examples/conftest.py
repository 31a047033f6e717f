"""A desk to start the example workers at, and providers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from example_workers import Desk

from livekit_plugins_voicegateway.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        sandbox.openai.replies = {"young man": "That is faint praise.", "": "Hello, caller."}
        yield sandbox


@pytest.fixture
def desk(tmp_path: Path, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, sandbox)
