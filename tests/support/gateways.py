"""A gateway of one's own, on a sandbox, with a real ledger file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Sandbox

from .machine import PATIENCE

SPEECH = Path(__file__).parents[2] / "livekit_plugins_voicegateway" / "demo" / "speech"

KEYS = {
    "deepgram": "sandbox-deepgram-key",
    "openai": "sandbox-openai-key",
    "cartesia": "sandbox-cartesia-key",
}


def providers_yaml(sandbox: Sandbox) -> str:
    """The ``providers:`` section that leads to the sandbox."""
    urls = sandbox.base_urls
    return (
        "providers:\n"
        f"  deepgram: {{api_key: {KEYS['deepgram']}, stt: {{base_url: '{urls['deepgram']}'}}}}\n"
        f"  openai: {{api_key: {KEYS['openai']}, llm: {{base_url: '{urls['openai']}'}}}}\n"
        f"  cartesia: {{api_key: {KEYS['cartesia']}, tts: {{base_url: '{urls['cartesia']}'}}}}\n"
        f"  ollama: {{base_url: '{urls['ollama']}'}}\n"
    )


@asynccontextmanager
async def gateway_on(
    sandbox: Sandbox,
    folder: Path,
    text: str = "projects: {prod: {}, staging: {}}\n",
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Gateway]:
    """Install a gateway whose providers are the sandbox and whose ledger lies in ``folder``."""
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: 'sqlite:///{folder}/voicegw.db'}}\n{text}{providers_yaml(sandbox)}"
    )
    gateway = Gateway(load_config(path, env={}), env={}, clock=clock)
    previous = install(gateway)
    try:
        yield gateway
    finally:
        install(previous)
        gateway.close()


async def usage_rows(gateway: Gateway) -> list[dict[str, Any]]:
    """All rows of the ledger, oldest first, read from the file as anybody may."""
    assert await gateway.flush(PATIENCE)
    file = gateway.config.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM usage ORDER BY id")]
