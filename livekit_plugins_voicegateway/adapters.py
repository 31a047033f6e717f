"""LiveKit's own adapters: around a fallback that hears or speaks whole pieces only, and around the
models that take over when a provider fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livekit.agents import APIConnectionError, inference, stt, tts

from .metering.usage import Modality

if TYPE_CHECKING:
    from .gateway import Gateway
    from .projects import Project

__all__ = ["as_stream", "reason_of"]


def as_stream(modality: Modality, instance: Any) -> Any:
    """A fallback that hears or speaks whole pieces only, as one that streams.

    A session asks the chosen model whether it streams, and adapts to the answer once.
    """
    if modality == "llm" or instance.capabilities.streaming:
        return instance
    if modality == "tts":
        return tts.StreamAdapter(tts=instance)
    return stt.StreamAdapter(stt=instance, vad=inference.VAD())


def reason_of(error: Exception, project: Project, gateway: Gateway) -> Exception:
    """Why an adapter around several models has failed.

    It says only that all of them have (``APIConnectionError``), and not that a budget has refused
    each.

    Args:
        error: What the adapter has raised.
        project: Whose models they are.
        gateway: Knows the project's budget.

    Returns:
        The budget's refusal, or ``error``.
    """
    if not isinstance(error, APIConnectionError):
        return error
    return gateway.admission.refusal(project) or error
