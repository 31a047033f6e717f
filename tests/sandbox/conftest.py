"""A running sandbox for each test, and speech to send to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from livekit.agents.utils import http_context

from livekit_plugins_voicegateway.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running, http_context.open():
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
