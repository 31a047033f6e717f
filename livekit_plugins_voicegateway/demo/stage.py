"""What the demo's conversations need: providers on loopback, and a gateway that uses them.

Nothing of the user's is read or written: no voicegw.yaml, no ledger, no environment variable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from ..config import load_config
from ..gateway import Gateway, install
from ..ledger import make_ledger
from ..metering.usage import NANOS_PER_DOLLAR, Quantities
from ..router import ModelSpec, parse_model
from ..sandbox import Sandbox
from . import local_models
from .directory import LEDGER, write_config
from .local_models import LocalModels
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

    async def spend(self, project_id: str, seconds: float) -> Decimal:
        """Lower a project's budget to what it has spent, and some seconds of listening more.

        Returns:
            The new budget, in dollars.
        """
        await self.gateway.flush(2.0)
        project = self.gateway.project(project_id)
        async with make_ledger(self.gateway.config.database_url, read_only=True) as ledger:
            today = self.gateway.config.days.day_of(self.gateway.clock())
            spent, _ = await ledger.budget_status(project_id, today)
        price = self.gateway.price(
            "stt", ModelSpec(parse_model("stt", "deepgram/nova-3")), project, model="nova-3"
        )
        assert price is not None
        listening = price.cost(Quantities(audio_seconds=seconds)) or 0
        budget = Decimal(spent + listening) / NANOS_PER_DOLLAR
        self.gateway.budgets.changed(replace(project, daily_budget=budget))
        return budget

    async def settle(self) -> None:
        """Wait until the providers have seen the end of every request.

        Raises:
            TimeoutError: One does not end.
        """
        records = (self.sandbox.deepgram, self.sandbox.openai, self.sandbox.cartesia)
        requests = [request for each in records for request in each.record.requests]
        async with asyncio.timeout(30.0):
            # they end a few turns of the loop after the plugins have closed their connections
            while any(request.ended_at is None for request in requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def key_of(project: str, provider: str) -> str:
    """Return the key with which a project pays a provider of the sandbox."""
    return f"demo-{project}-{provider}"


@contextlib.asynccontextmanager
async def set_stage(directory: Path, local: LocalModels) -> AsyncIterator[Stage]:
    """Start the sandbox and a gateway that uses it, as long as the block runs.

    Args:
        directory: Where configuration and ledger go.
        local: The local models there are.
    """
    keep_from_proxies()
    with contextlib.ExitStack() as stack:
        llm_url = await asyncio.to_thread(stack.enter_context, local.serve_llm())
        async with _stage(directory, local, llm_url) as stage:
            yield stage


@contextlib.asynccontextmanager
async def _stage(directory: Path, local: LocalModels, llm_url: str | None) -> AsyncIterator[Stage]:
    async with Sandbox() as sandbox:
        for recording, text in recordings().items():
            sandbox.deepgram.add_clip(recording, text)
        sandbox.openai.replies = REPLIES
        sandbox.ollama.replies = REPLIES
        sandbox.openai.tokens_per_second = TOKENS_PER_SECOND
        llm_url = llm_url or sandbox.base_urls["ollama"]
        config_path = write_config(directory, _configuration(sandbox.base_urls, local, llm_url))
        # without the environment: a VOICEGW_DATABASE_URL would lead to the user's own ledger
        gateway = Gateway(load_config(config_path, env={}), env={})
        previous = install(gateway)
        gateway.prewarm()
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


def _configuration(
    base_urls: dict[str, str], local: LocalModels, llm_url: str
) -> dict[str, object]:
    projects: dict[str, object] = {
        project: {
            **options,
            "providers": {name: {"api_key": key_of(project, name)} for name in PROVIDERS},
        }
        for project, options in PROJECTS.items()
    }
    providers: dict[str, object] = {name: {"base_url": base_urls[name]} for name in PROVIDERS}
    providers["ollama"] = {"base_url": llm_url}
    configuration: dict[str, object] = {
        "default_project": next(iter(PROJECTS)),
        "database": {"url": f"sqlite:///{LEDGER}"},
        "projects": projects,
        "providers": providers,
    }
    if local.weights is None:
        del projects["development"]
        configuration["fallback"] = "none"
    else:
        providers.update(local.options)
        models = {"stt": local_models.STT, "llm": local_models.LLM, "tts": local_models.TTS}
        configuration["fallback"] = models
    return configuration
