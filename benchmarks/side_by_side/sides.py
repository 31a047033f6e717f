"""The same plugin in four places: used directly, twice, in a FallbackAdapter, in the gateway.

Direct stands there twice because two measurements of the same thing differ too: what "direct
again" differs by is how far the figures of this run can be trusted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit.agents import llm, stt, tts

from livekit.plugins import cartesia, deepgram, openai
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.metering.usage import Modality
from livekit_plugins_voicegateway.projects import Project
from livekit_plugins_voicegateway.router import ModelSpec

from .synthetic import Baton, SyntheticLLM, SyntheticSTT, SyntheticTTS

__all__ = [
    "ADAPTER",
    "AGAIN",
    "DIRECT",
    "GATEWAY",
    "Side",
    "SyntheticGateway",
    "in_turns",
    "real_sides",
    "sandbox",
    "set_up",
    "synthetic_sides",
]

DIRECT = "direct"
AGAIN = "direct again"
ADAPTER = "FallbackAdapter"
GATEWAY = "gateway"

KEY = "sandbox"
MAKERS: dict[Modality, Callable[[Baton], Any]] = {
    "stt": SyntheticSTT,
    "llm": SyntheticLLM,
    "tts": SyntheticTTS,
}


@dataclass(frozen=True)
class Side:
    """One way to use a plugin.

    Attributes:
        name: `DIRECT`, `AGAIN`, `ADAPTER` or `GATEWAY`.
        model: What the application has in its hand.
        plugin: What makes the events behind it.
    """

    name: str
    model: Any
    plugin: Any

    async def aclose(self) -> None:
        """Close the model, and the plugin, which a FallbackAdapter leaves open."""
        await self.model.aclose()
        if self.model is not self.plugin:
            await self.plugin.aclose()


class SyntheticGateway(Gateway):
    """A gateway that knows one provider more: ``synthetic``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.baton = Baton()

    def build(self, modality: Modality, spec: ModelSpec, project: Project) -> Any:
        """Make a plugin instance."""
        if spec.route.provider == "synthetic":
            return MAKERS[modality](self.baton)
        return super().build(modality, spec, project)


@contextmanager
def sandbox(utterances: int) -> Iterator[dict[str, str]]:
    """The providers, in a process of their own.

    Args:
        utterances: How many will be heard.
    """
    command = [sys.executable, "-m", "livekit_plugins_voicegateway.sandbox"]
    command += ["--reply", "Good day to you."]
    command += ["--transcript", "Yes."] * utterances
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def set_up(folder: Path, urls: dict[str, str]) -> Iterator[SyntheticGateway]:
    """The gateway of this process, with its ledger in ``folder``.

    The project has a budget, so that each request asks it; it is never spent.
    """
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: 'sqlite:///{folder}/voicegw.db'}}\n"
        "projects: {prod: {daily_budget: 1000000}}\n"
        "pricing:\n"
        "  synthetic/stt: {audio: 0.0048, per: minute}\n"
        "  synthetic/llm: {input: 0.4, output: 1.6, per: 1000000}\n"
        "  synthetic/tts: {characters: 45, per: 1000000}\n"
        "providers:\n"
        f"  deepgram: {{api_key: {KEY}, stt: {{base_url: '{urls['deepgram']}'}}}}\n"
        f"  openai: {{api_key: {KEY}, llm: {{base_url: '{urls['openai']}'}}}}\n"
        f"  cartesia: {{api_key: {KEY}, tts: {{base_url: '{urls['cartesia']}'}}}}\n"
    )
    gateway = SyntheticGateway(load_config(path, env={}), env={})
    previous = install(gateway)
    try:
        yield gateway
    finally:
        install(previous)
        gateway.close()


def synthetic_sides(modality: Modality, baton: Baton) -> list[Side]:
    """The synthetic plugin in its four places; the gateway must be a `SyntheticGateway`."""
    return _sides(modality, lambda: MAKERS[modality](baton), f"synthetic/{modality}")


def real_sides(modality: Modality, urls: dict[str, str]) -> list[Side]:
    """Deepgram, OpenAI or Cartesia in its four places."""
    makers: dict[Modality, tuple[Callable[[], Any], str]] = {
        "stt": (
            lambda: deepgram.STT(model="nova-3", base_url=urls["deepgram"], api_key=KEY),
            "deepgram/nova-3",
        ),
        "llm": (
            lambda: openai.LLM(model="gpt-4.1-mini", base_url=urls["openai"], api_key=KEY),
            "openai/gpt-4.1-mini",
        ),
        "tts": (
            lambda: cartesia.TTS(model="sonic-3", base_url=urls["cartesia"], api_key=KEY),
            "cartesia/sonic-3",
        ),
    }
    return _sides(modality, *makers[modality])


def in_turns(sides: Sequence[Side], turns: int) -> Iterator[Side]:
    """Each side ``turns`` times, one after the other, and never in the same order twice running."""
    for turn in range(turns):
        first = turn % len(sides)
        yield from (*sides[first:], *sides[:first])


def _sides(modality: Modality, make: Callable[[], Any], name: str) -> list[Side]:
    adapters: dict[Modality, Any] = {
        "stt": stt.FallbackAdapter,
        "llm": llm.FallbackAdapter,
        "tts": tts.FallbackAdapter,
    }
    ours: dict[Modality, Any] = {
        "stt": inference.STT,
        "llm": inference.LLM,
        "tts": inference.TTS,
    }
    direct, again, wrapped = make(), make(), make()
    gateway = ours[modality](name, project="prod")
    sides = [
        Side(DIRECT, direct, direct),
        Side(AGAIN, again, again),
        Side(ADAPTER, adapters[modality]([wrapped]), wrapped),
        Side(GATEWAY, gateway, gateway._delegates.current().instance),
    ]
    for side in sides:
        # a session listens to both, whatever it talks to
        side.model.on("metrics_collected", _ignore)
        side.model.on("error", _ignore)
    return sides


def _ignore(_event: Any) -> None:
    pass
