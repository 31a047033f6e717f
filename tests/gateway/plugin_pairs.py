"""A provider's plugin used directly and the same model through the gateway, on one sandbox."""

from __future__ import annotations

from typing import Any

from support.gateways import KEYS

from livekit.plugins import cartesia, deepgram, openai
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Sandbox

__all__ = ["direct", "plugin", "through"]


def direct(kind: str, sandbox: Sandbox) -> Any:
    """The plugin itself."""
    if kind == "llm":
        return openai.LLM(
            model="gpt-4.1-mini", api_key=KEYS["openai"], base_url=sandbox.openai.base_url
        )
    if kind == "tts":
        return cartesia.TTS(
            model="sonic-3", api_key=KEYS["cartesia"], base_url=sandbox.cartesia.base_url
        )
    return deepgram.STT(
        model="nova-3", api_key=KEYS["deepgram"], base_url=sandbox.deepgram.base_url
    )


def through(kind: str, **options: Any) -> Any:
    """The same model of the project ``prod``."""
    if kind == "llm":
        return inference.LLM("openai/gpt-4.1-mini", project="prod", **options)
    if kind == "tts":
        return inference.TTS("cartesia/sonic-3", project="prod", **options)
    return inference.STT("deepgram/nova-3", project="prod", **options)


def plugin(model: Any) -> Any:
    """The plugin instance behind one of our model objects."""
    return model._delegates.current().instance
