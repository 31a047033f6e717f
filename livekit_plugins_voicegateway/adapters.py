"""LiveKit's own adapters, for a fallback that hears or speaks whole pieces only."""

from __future__ import annotations

from typing import Any

from livekit.agents import inference, stt, tts

from .metering.usage import Modality

__all__ = ["as_stream"]


def as_stream(modality: Modality, instance: Any) -> Any:
    """A fallback that hears or speaks whole pieces only, as one that streams.

    A session asks the chosen model whether it streams, and adapts to the answer once.
    """
    if modality == "llm" or instance.capabilities.streaming:
        return instance
    if modality == "tts":
        return tts.StreamAdapter(tts=instance)
    return stt.StreamAdapter(stt=instance, vad=inference.VAD())
