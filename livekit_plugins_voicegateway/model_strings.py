"""Model strings: ``provider/model[:language or voice]``, and what else was asked for with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .concealing import HoldsKeys
from .errors import UnknownModelError
from .metering.usage import Modality
from .plugin_classes import installed
from .providers import KNOWN_PLUGINS, PACKAGE_NAMES

__all__ = ["KIND", "ModelSpec", "Route", "parse_model"]

KIND = {"stt": "speech-to-text", "llm": "language", "tts": "text-to-speech"}
"""What a modality's models are called in a sentence."""

_EXAMPLE = {
    "stt": "deepgram/nova-3",
    "llm": "openai/gpt-4.1-mini",
    "tts": "cartesia/sonic-3",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A model string, taken apart.

    Attributes:
        requested: The whole string as the application wrote it.
        provider: The plugin's name, ``deepgram``.
        model: The model's name, ``nova-3``; empty for a bare provider, whose plugin then chooses.
        suffix: What followed the last colon: a language (STT) or a voice (TTS).
    """

    requested: str
    provider: str
    model: str
    suffix: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec(HoldsKeys):
    """What the application asked for: a model, and the arguments it gave.

    Attributes:
        route: The model string, taken apart.
        arguments: Arguments by the names of ``livekit.agents.inference``; only those given.
        extra: ``extra_kwargs``: options of the provider, as the provider or its plugin spells them.
    """

    route: Route
    # not shown: either may hold a key
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse_model(modality: Modality, text: object) -> Route:
    """Take a model string apart.

    The last colon separates the language of an STT model and the voice of a TTS model; an LLM's
    name has no suffix, so that ``ollama/qwen2.5:3b`` stays one name.

    Args:
        modality: Which kind of model the string names.
        text: ``provider/model[:suffix]``.

    Raises:
        UnknownModelError: It is no such string.
    """
    example = f'write it as "provider/model", for example "{_EXAMPLE[modality]}"'
    if not isinstance(text, str) or not text.strip():
        raise UnknownModelError(f"no {KIND[modality]} model was named: {example}")
    if text == "auto" or text.startswith("auto:"):
        raise UnknownModelError(
            f"{text!r} leaves the choice of a model to LiveKit Cloud, which is not asked here: "
            f"{example}"
        )
    provider, slash, model = text.partition("/")
    suffix: str | None = None
    if modality != "llm":
        if slash:
            model, colon, tail = model.rpartition(":") if ":" in model else (model, "", "")
        else:
            provider, colon, tail = provider.partition(":")
        suffix = tail if colon and tail else None
    provider = PACKAGE_NAMES.get(provider, provider)
    if not provider or (slash and not model):
        raise UnknownModelError(f"{text!r} is not a model: {example}")
    if not slash and provider not in KNOWN_PLUGINS and not installed(provider):
        raise UnknownModelError(f"{text!r} is not a model: {example}")
    return Route(text, provider, model, suffix)
