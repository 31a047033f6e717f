"""What the demo's conversations need: providers on loopback, and a gateway that uses them.

Nothing of the user's is read or written: no voicegw.yaml, no ledger, no environment variable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ..config import load_config
from ..gateway import Gateway, install
from ..sandbox import Sandbox
from .directory import LEDGER, write_config
from .script import PROJECTS, REPLIES, recordings

__all__ = ["PROVIDERS", "Stage", "key_of", "set_stage"]

PROVIDERS = ("deepgram", "openai", "cartesia")
"""The sandbox's providers that the demo's conversations use."""

TOKENS_PER_SECOND = 30.0
"""Pace of the sandbox's chat models: slow enough to be interrupted in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a conversation of the demo needs.

    Attributes:
        sandbox: The providers, and what each would bill.
        gateway: The gateway of this process while the stage stands.
    """

    sandbox: Sandbox
    gateway: Gateway

    async def settle(self) -> None:
        """Wait until the providers have seen the end of every request.

        Raises:
            TimeoutError: One does not end.
        """
        records = (self.sandbox.deepgram, self.sandbox.openai, self.sandbox.cartesia)
        requests = [request for each in records for request in each.record.requests]
        async with asyncio.timeout(5.0):
            # they end a few turns of the loop after the plugins have closed their connections
            while any(request.ended_at is None for request in requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def key_of(project: str, provider: str) -> str:
    """Return the key with which a project pays a provider of the sandbox."""
    return f"demo-{project}-{provider}"


@contextlib.asynccontextmanager
async def set_stage(directory: Path) -> AsyncIterator[Stage]:
    """Start the sandbox and a gateway that uses it, as long as the block runs.

    Args:
        directory: Where configuration and ledger go.
    """
    keep_from_proxies()
    async with Sandbox() as sandbox:
        for recording, text in recordings().items():
            sandbox.deepgram.add_clip(recording, text)
        sandbox.openai.replies = REPLIES
        sandbox.openai.tokens_per_second = TOKENS_PER_SECOND
        config_path = write_config(directory, _configuration(sandbox.base_urls))
        # without the environment: a VOICEGW_DATABASE_URL would lead to the user's own ledger
        gateway = Gateway(load_config(config_path, env={}), env={})
        previous = install(gateway)
        try:
            yield Stage(sandbox, gateway)
        finally:
            install(previous)
            await asyncio.to_thread(gateway.close)


def keep_from_proxies() -> None:
    """Let requests to the sandbox pass by a proxy that the environment names.

    The OpenAI client asks the environment for proxies, and has none of its own for loopback.
    """
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*hosts, "127.0.0.1"])


def _configuration(base_urls: dict[str, str]) -> dict[str, object]:
    projects = {
        project: {
            **options,
            "providers": {name: {"api_key": key_of(project, name)} for name in PROVIDERS},
        }
        for project, options in PROJECTS.items()
    }
    return {
        "default_project": next(iter(PROJECTS)),
        "database": {"url": f"sqlite:///{LEDGER}"},
        "projects": projects,
        "providers": {name: {"base_url": base_urls[name]} for name in PROVIDERS},
    }
